//! A conn of an `http` listener: which HTTP its client speaks, its requests one after the other or beside each other, and its
//! end. Idle conns end at once when fairlead leaves; what runs goes on until it is told to end.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Version, request};
use pingora::protocols::Digest;
use pingora::protocols::http::ServerSession as Exchange;
use pingora::protocols::http::v2::server::{self, H2Accept, HttpSession as Http2Exchange};
use tokio::io::AsyncReadExt as _;
use tokio::time::{sleep_until, timeout};

use super::Listener;
use super::exchange::{self, After};
use super::forwarded;
use super::guard::Flaw;
use super::headers::Origin;
use super::io::{Begins, ClientStream, NoHead, Wire};
use super::problem::Problem;
use super::report::{Ended, Report};
use crate::caller::Caller;
use crate::drain::Watcher;
use crate::error::Reason;
use crate::id::ConnId;
use crate::identity::request::{Body, Request};
use crate::identity::{Evidence, Shown};
use crate::listen::door::Entered;
use crate::observe::metrics::GaugeGuard;
use crate::proxy::callers::{Seat, Who};
use crate::time::{self, Duration};
use crate::wire::cidr::Cidr;

/// How long a client has to take our last bytes and close, before the conn is dropped.
pub(super) const GOODBYE: Duration = Duration::from_secs(1);
/// What is read of it meanwhile, at a time.
const LEFTOVERS: usize = 1024;
/// Requests that an HTTP/2 conn may have at a time.
const STREAMS: u32 = 128;
/// Requests of an HTTP/2 conn that its codec may refuse before it is closed.
const MALFORMED: u32 = 32;

/// A client that was let in.
pub struct Client {
    pub(super) id: ConnId,
    pub(super) listener: Arc<Listener>,
    pub(super) peer: SocketAddr,
    pub(super) tls: Option<String>,
    pub(super) origin: Origin,
    /// Fields that name who calls, and do not count from here.
    pub(super) spoofable: Vec<HeaderName>,
    pub(super) watcher: Watcher,
    shown: Shown,
}

/// Serves a client until it, or we, have done.
pub async fn serve(entered: Entered, listener: Arc<Listener>, id: ConnId, watcher: Watcher) {
    let Entered { io, peer, tls, shown } = entered;
    let metrics = Arc::clone(&listener.edge.metrics);
    metrics.accepted.inc();
    let _counted = GaugeGuard::enter(&metrics.connections);
    // Where a proxy does not say who its client is, that one is nobody to be believed.
    let address = address(peer, &shown);
    let believed =
        |ranges: &[Cidr]| ranges.iter().any(|range| address.is_some_and(|at| range.contains(at)));
    let trusted = believed(&listener.with.trusted);
    let origin = Origin::new(
        peer.ip(),
        io.socket().local_addr().map_or(0, |at| at.port()),
        tls.is_some(),
        trusted,
    );
    let Some(origin) = origin else { return };
    let names = listener.with.spoofable.iter().filter(|(_, ranges)| !believed(ranges));
    let spoofable = names.map(|(name, _)| name.clone()).collect();
    let client = Client { id, listener, peer, tls, origin, spoofable, shown, watcher };
    let Ok(_seat) = client.seat() else {
        return metrics.rejected.inc("max_conns_per_caller");
    };
    client.serve(ClientStream::new(io, Arc::new(Wire::default()), Arc::clone(&metrics))).await;
}

impl Client {
    /// The name that it asked for in TLS.
    pub(super) fn sni(&self) -> Option<&str> {
        self.shown.sni.as_deref()
    }

    /// A place among the conns of whom the conn itself proves to be; else of its address. `Err`: there is none.
    fn seat(&self) -> Result<Option<Seat<Who>>, ()> {
        let edge = &self.listener.edge;
        let Some(seats) = edge.callers.seats() else { return Ok(None) };
        let (peer, shown) = (self.address(), Some(&self.shown));
        let evidence = Evidence { token: None, peer, shown, request: None };
        let who = match (edge.claims)(&evidence, time::wall()) {
            Some(Ok(claim)) => Who::of(&edge.caller_of(&claim), self.peer.ip()),
            Some(Err(_)) | None => Who::of(&edge.anonymous.caller, self.peer.ip()),
        };
        seats.take(who).map(Some).ok_or(())
    }

    async fn serve(&self, mut stream: ClientStream) {
        let mut leaving = self.watcher.clone();
        let begins = tokio::select! {
            biased;
            begins = timeout(self.listener.with.head_timeout, stream.begins()) => begins,
            _ = leaving.signalled() => return,
        };
        let agreed = stream.alpn() == Some(b"h2");
        match begins {
            Ok(Begins::Http2) if agreed || self.tls.is_none() => self.http2(stream).await,
            // Within TLS, HTTP/2 is spoken where that was agreed, and nothing else then (RFC 9113, 3.2).
            Ok(Begins::Http1 | Begins::Http2) if !agreed => self.http1(stream).await,
            Ok(Begins::Http1 | Begins::Http2 | Begins::Nothing) | Err(_) => {}
        }
    }

    /// Requests one after the other.
    async fn http1(&self, mut stream: ClientStream) {
        let mut cut = self.watcher.clone();
        let mut cut = pin!(cut.escalated());
        let wire = Arc::clone(stream.wire());
        let mut left = self.listener.with.max_requests;
        loop {
            if !self.wake(&mut stream).await {
                return;
            }
            let head = stream.head(&self.listener.with.bounds);
            let head = tokio::select! {
                biased;
                head = timeout(self.listener.with.head_timeout, head) => head,
                () = cut.as_mut() => return,
            };
            left = left.saturating_sub(1);
            let mut exchange = match head {
                Ok(Ok(())) => Exchange::new_http1(Box::new(stream)),
                Ok(Err(NoHead::Flawed(flaw))) => {
                    let exchange = Exchange::new_http1(Box::new(stream));
                    return self.turn_away(exchange, Problem::Flawed(flaw)).await;
                }
                Ok(Err(NoHead::Gone | NoHead::Cut)) => return,
                Err(_) => {
                    let exchange = Exchange::new_http1(Box::new(stream));
                    return self.turn_away(exchange, Problem::TooSlow).await;
                }
            };
            exchange.set_read_timeout(None);
            exchange.set_write_timeout(Some(self.listener.with.patience.idle));
            // What was checked is there: nothing is waited for.
            if !matches!(exchange.read_request().await, Ok(true)) {
                return self.turn_away(exchange, Problem::Flawed(Flaw::RequestLine)).await;
            }
            if left == 0 || self.watcher.mode().is_some() {
                exchange.set_keepalive(None);
            }
            let after = exchange::carry(self, &mut exchange, Some(&wire), cut.as_mut()).await;
            match self.next(exchange, after).await {
                Some(next) => stream = next,
                None => return,
            }
        }
    }

    /// The stream of a request that is over, for the next one. `None`: it was closed.
    async fn next(&self, exchange: Exchange, after: After) -> Option<ClientStream> {
        let Exchange::H1(session) = exchange else { return None };
        if after == After::Again && session.will_keepalive() {
            let stream = session.into_inner().into_any().downcast::<ClientStream>().ok()?;
            return Some(*stream).filter(ClientStream::is_over);
        }
        let ends_with_it =
            session.req_header().version == Version::HTTP_10 || session.was_upgraded();
        if after == After::Broken && ends_with_it {
            // To HTTP/1.0 an answer may end with its conn, as all may in a tunnel.
            session.stream().as_any().downcast_ref::<ClientStream>()?.break_off();
            return None;
        }
        self.part(Exchange::H1(session), None).await;
        None
    }

    /// Waits for the first byte of a request. `false`: there will be none.
    async fn wake(&self, stream: &mut ClientStream) -> bool {
        let mut leaving = self.watcher.clone();
        tokio::select! {
            biased;
            awake = timeout(self.listener.with.keep_alive, stream.wake()) => awake == Ok(true),
            _ = leaving.signalled() => false,
        }
    }

    /// Answers what is no request, and closes.
    async fn turn_away(&self, exchange: Exchange, problem: Problem) {
        Report::new(time::now(), self.address()).end(
            self,
            None,
            Some(&Ended::Refused(problem.clone())),
        );
        self.part(exchange, Some(problem)).await;
    }

    /// Says the last thing and closes: our side first, then we read what the client still says, so that it is not reset
    /// before it has read what we said.
    async fn part(&self, mut exchange: Exchange, problem: Option<Problem>) {
        let goodbye = async {
            if let Some(problem) = &problem {
                exchange::refuse(&mut exchange, problem, self.challenge(problem)).await;
            }
            let Exchange::H1(session) = exchange else { return };
            let mut stream = session.into_inner();
            if let Some(stream) = stream.as_any().downcast_ref::<ClientStream>() {
                // What is still said is no request any more.
                stream.wire().open();
            }
            stream.shutdown().await;
            let mut leftovers = [0; LEFTOVERS];
            while matches!(stream.read(&mut leftovers).await, Ok(n) if n > 0) {}
        };
        // Too slow or gone: both end by closing.
        let _ = timeout(GOODBYE, goodbye).await;
    }

    /// Requests beside each other.
    async fn http2(&self, stream: ClientStream) {
        let with = &self.listener.with;
        stream.wire().open();
        let mut options = server::default_h2_options();
        options
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(u32::try_from(with.bounds.head).unwrap_or(u32::MAX));
        let shake = timeout(with.head_timeout, server::handshake(Box::new(stream), Some(options)));
        let Ok(Ok(mut conn)) = shake.await else { return };
        let digest = Arc::new(Digest::default());
        let (mut leaving, mut cut) = (self.watcher.clone(), self.watcher.clone());
        let (mut leaving, mut cut) = (pin!(leaving.signalled()), pin!(cut.escalated()));
        let mut ends = None;
        let (mut left, mut malformed, mut left_yet) = (with.max_requests, 0, false);
        let mut running = FuturesUnordered::new();
        let mut idle = pin!(tokio::time::sleep(with.keep_alive));
        loop {
            if left == 0 && !left_yet {
                left_yet = true;
                conn.graceful_shutdown();
            }
            let accepted = tokio::select! {
                biased;
                Some(()) = running.next(), if !running.is_empty() => {
                    idle.as_mut().reset(time::now() + with.keep_alive);
                    continue;
                }
                accepted = Http2Exchange::from_h2_conn(&mut conn, Arc::clone(&digest)) => accepted,
                _ = leaving.as_mut(), if !left_yet => {
                    left_yet = true;
                    conn.graceful_shutdown();
                    continue;
                }
                () = idle.as_mut(), if running.is_empty() => return,
                () = cut.as_mut(), if ends.is_none() => {
                    // Each request is told the last thing, and that has to go out.
                    ends = Some(time::now() + GOODBYE);
                    conn.graceful_shutdown();
                    continue;
                }
                () = sleep_until(ends.unwrap_or_else(time::now)), if ends.is_some() => return,
            };
            match accepted {
                Ok(Some(H2Accept::Session(session))) => {
                    left = left.saturating_sub(1);
                    running.push(self.stream(Exchange::new_http2(session)));
                }
                Ok(Some(H2Accept::Rejected)) if malformed < MALFORMED => malformed += 1,
                Ok(Some(H2Accept::Rejected) | None) | Err(_) => return,
            }
        }
    }

    /// One request of an HTTP/2 conn.
    async fn stream(&self, mut exchange: Exchange) {
        let mut cut = self.watcher.clone();
        exchange.set_write_timeout(Some(self.listener.with.patience.idle));
        let cut = pin!(cut.escalated());
        match exchange::carry(self, &mut exchange, None, cut).await {
            // An error: the client has gone.
            After::Again | After::Last => drop(exchange.finish().await),
            After::Broken => exchange.shutdown().await,
        }
    }

    /// Where the client is for sure; `None`: a proxy stands between, and does not say.
    pub(super) fn address(&self) -> Option<IpAddr> {
        address(self.peer, &self.shown)
    }

    /// What a request says of whom it is for.
    pub(super) fn shows<'a>(
        &self,
        request: &'a request::Parts,
        from: Option<IpAddr>,
        body: Option<Body<'a>>,
    ) -> Request<'a> {
        let (path, query) = (request.uri.path(), request.uri.query());
        Request { headers: &request.headers, from, path, query, body }
    }

    /// Where the client of a request is: who sent it, or whom a trusted proxy sent it for.
    pub(super) fn from(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let address = self.address()?;
        if !self.origin.trusted {
            return Some(address);
        }
        forwarded::client(headers, &self.listener.with.trusted, address)
    }

    /// Who calls, by what the conn and this request show. `from`: where its client is.
    pub(super) fn identify(
        &self,
        request: &request::Parts,
        from: Option<IpAddr>,
    ) -> Result<Caller, Problem> {
        let edge = &self.listener.edge;
        // Where no token is asked for here, it is for the upstream.
        let asked = self.listener.with.challenge.is_some();
        let token = bearer(&request.headers).filter(|_| asked);
        let (now, site) = (time::now(), from.unwrap_or(self.peer.ip()));
        if let Some(wait) = token.and_then(|_| edge.callers.wait(site, now)) {
            return Err(Problem::TooManyFailures(wait));
        }
        let shown = Some(&self.shown);
        let request = Some(self.shows(request, from, None));
        let evidence = Evidence { token, peer: self.address(), shown, request };
        match (edge.claims)(&evidence, time::wall()) {
            Some(Ok(claim)) => Ok(edge.caller_of(&claim)),
            Some(Err(reason)) => {
                edge.callers.failed(site, now);
                tracing::warn!(
                    kind = "audit",
                    action = "authenticate",
                    decision = "deny",
                    reason,
                    conn_id = self.id.0,
                    client_addr = self.named(from),
                    listener = edge.name,
                    "the credentials are not accepted"
                );
                Err(Problem::BadCredentials)
            }
            None if edge.authenticates => Err(match self.listener.with.challenge {
                Some(_) => Problem::Unauthenticated,
                // There is nothing that it could send.
                None => Problem::Refused(Reason::AccessDenied, None),
            }),
            None => Ok(edge.anonymous.caller.clone()),
        }
    }

    /// Where a client is, for log lines. The port of one behind a proxy is not known.
    pub(super) fn named(&self, from: Option<IpAddr>) -> String {
        match from {
            Some(from) if from != self.peer.ip() => from.to_string(),
            Some(_) | None => self.peer.to_string(),
        }
    }

    /// Takes one request of the caller's share.
    pub(super) fn charge(&self, caller: &Caller, from: Option<IpAddr>) -> Result<(), Problem> {
        let now = time::now();
        let who = Who::of(caller, from.unwrap_or(self.peer.ip()));
        let share = self.listener.edge.callers.share(&who, now);
        share.map_or(Ok(()), |share| share.take(now)).map_err(Problem::TooOften)
    }

    /// What who has to prove who it is is asked for.
    pub(super) fn challenge(&self, problem: &Problem) -> Option<&HeaderValue> {
        let asked = matches!(problem, Problem::Unauthenticated | Problem::BadCredentials);
        self.listener.with.challenge.as_ref().filter(|_| asked)
    }

    /// Seconds since 1970.
    pub(super) fn wall(&self) -> u64 {
        let since = time::wall().duration_since(std::time::UNIX_EPOCH);
        since.unwrap_or_default().as_secs()
    }
}

/// Where a client is for sure; `None`: a proxy stands between, and does not say.
fn address(peer: SocketAddr, shown: &Shown) -> Option<IpAddr> {
    match &shown.proxied {
        Some(header) => header.addresses.map(|addresses| addresses.source.ip()),
        None => Some(peer.ip()),
    }
}

/// The token of an Authorization field (RFC 6750, 2.1).
fn bearer(headers: &http::HeaderMap) -> Option<&str> {
    let text = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
