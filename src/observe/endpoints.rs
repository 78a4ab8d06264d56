//! `/metrics`, `/livez` and `/readyz` over HTTP/1.1, on Pingora's HTTP engine and a listener of their own.
//!
//! A slow or hostile scraper can use up its own slots and nothing else: conns, header, write and renderings are all
//! bounded, and rendering runs on no thread that serves clients. Takes no body, changes nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession as Exchange;
use pingora::protocols::l4::stream::Stream as L4Stream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::metrics::Metrics;
use super::readiness::Readiness;
use crate::drain::{Tasks, Watcher};

/// The content type of Prometheus' text format 0.0.4.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";
const ALLOWED: &str = "GET, HEAD";
/// How long to wait when the system cannot give us a conn (no descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What one listener gives to strangers.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Conns at a time; more wait in the kernel's backlog.
    pub conns: usize,
    /// From accept to the end of the request header.
    pub header: Duration,
    /// From the first byte of the answer to its last.
    pub write: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { conns: 64, header: Duration::from_secs(5), write: Duration::from_secs(10) }
    }
}

/// What the endpoints show.
pub struct Endpoints {
    metrics: Arc<Metrics>,
    readiness: Readiness,
    limits: Limits,
    /// One rendering at a time.
    rendering: Semaphore,
}

impl Endpoints {
    /// Shows these metrics and this readiness, within these limits.
    pub fn new(metrics: Arc<Metrics>, readiness: Readiness, limits: Limits) -> Self {
        Endpoints { metrics, readiness, limits, rendering: Semaphore::new(1) }
    }

    async fn answer(&self, method: &Method, path: &str) -> Answer {
        if method != Method::GET && method != Method::HEAD {
            return Answer::text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".into());
        }
        match path {
            "/metrics" => self.metrics().await,
            "/livez" => Answer::text(StatusCode::OK, "alive\n".into()),
            "/readyz" => self.ready(),
            _ => Answer::text(StatusCode::NOT_FOUND, "/metrics, /livez, /readyz\n".into()),
        }
    }

    fn ready(&self) -> Answer {
        let blockers = self.readiness.blockers();
        if blockers.is_empty() {
            return Answer::text(StatusCode::OK, "ready\n".into());
        }
        let text = blockers.into_iter().map(|name| name + "\n").collect();
        Answer::text(StatusCode::SERVICE_UNAVAILABLE, text)
    }

    async fn metrics(&self) -> Answer {
        let _turn = self.rendering.acquire().await;
        let metrics = Arc::clone(&self.metrics);
        match tokio::task::spawn_blocking(move || metrics.render()).await {
            Ok(Ok(text)) => Answer { status: StatusCode::OK, kind: METRICS_TYPE, body: text },
            Ok(Err(error)) => broken(&error),
            Err(error) => broken(&error),
        }
    }
}

fn broken(error: &(dyn std::error::Error + 'static)) -> Answer {
    tracing::error!(error, "metrics could not be rendered");
    Answer::text(StatusCode::INTERNAL_SERVER_ERROR, "metrics could not be rendered\n".into())
}

struct Answer {
    status: StatusCode,
    kind: &'static str,
    body: String,
}

impl Answer {
    fn text(status: StatusCode, body: String) -> Self {
        Answer { status, kind: TEXT_TYPE, body }
    }

    fn header(&self) -> pingora::Result<ResponseHeader> {
        let mut head = ResponseHeader::build(self.status, None)?;
        head.insert_header(header::CONTENT_TYPE, self.kind)?;
        head.insert_header(header::CONTENT_LENGTH, self.body.len())?;
        head.insert_header(header::CACHE_CONTROL, "no-store")?;
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            head.insert_header(header::ALLOW, ALLOWED)?;
        }
        Ok(head)
    }
}

/// Serves until its task is dropped. When the drain starts it turns readiness off, lets go of `watcher`, and goes on
/// answering: a drain never waits for it, and its probes are answered until the process ends.
pub async fn serve(
    listener: TcpListener,
    state: Arc<Endpoints>,
    tasks: Tasks,
    mut watcher: Watcher,
) {
    let readiness = state.readiness.clone();
    let leave = async move {
        watcher.signalled().await;
        readiness.drain();
        drop(watcher);
    };
    tokio::join!(leave, accept(listener, state, tasks));
}

async fn accept(listener: TcpListener, state: Arc<Endpoints>, tasks: Tasks) {
    let slots = Arc::new(Semaphore::new(state.limits.conns));
    while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
        match listener.accept().await {
            Ok((tcp, _)) => {
                let state = Arc::clone(&state);
                tasks.spawn_aside("endpoints", async move {
                    exchange(tcp, &state).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot accept a scraper");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One request, one answer, close: a slot is never held by an idle conn.
async fn exchange(tcp: TcpStream, state: &Endpoints) {
    let mut exchange = Exchange::new_http1(Box::new(L4Stream::from(tcp)));
    if !matches!(timeout(state.limits.header, exchange.read_request()).await, Ok(Ok(true))) {
        return;
    }
    // After the header: reading it sets what the client asked for.
    exchange.set_keepalive(None);
    let request = exchange.req_header();
    let (method, path) = (request.method.clone(), request.uri.path().to_owned());
    let answer = state.answer(&method, &path).await;
    // Too slow or gone: both end by closing, and concern nobody else.
    let _ = timeout(state.limits.write, send(exchange, &method, answer)).await;
}

async fn send(mut exchange: Exchange, method: &Method, answer: Answer) -> pingora::Result<()> {
    exchange.write_response_header(Box::new(answer.header()?)).await?;
    if method != Method::HEAD {
        exchange.write_response_body(Bytes::from(answer.body), true).await?;
    }
    exchange.finish().await.map(drop)
}
