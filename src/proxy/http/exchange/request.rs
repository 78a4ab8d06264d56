//! What the head of a request says, read once. Judges nothing: the guard has.

use std::net::IpAddr;

use http::Method;
use http::header::{self, HeaderValue};
use pingora::protocols::http::ServerSession as Exchange;

use crate::proxy::http::body::Stash;
use crate::proxy::http::conn::Client;
use crate::proxy::http::guard;
use crate::proxy::http::headers::{self, Framing};

/// What is known of a request once its head was read.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) host: Option<HeaderValue>,
    /// Where its client is; `None`: a proxy stands between, and does not say.
    pub(super) from: Option<IpAddr>,
    /// How long its body says it is; `None`: it does not say.
    pub(super) length: Option<u64>,
    pub(super) has_body: bool,
    pub(super) upgrade: bool,
}

impl Request {
    /// What a head says.
    pub(super) fn of(client: &Client, exchange: &mut Exchange) -> Self {
        let length = length_of(exchange);
        if length == Some(0) && exchange.is_http2() {
            // Pingora would believe it, and not wait for the end of the stream.
            exchange.req_header_mut().remove_header(&header::CONTENT_LENGTH);
        }
        let has_body = !exchange.is_body_empty();
        let head = exchange.req_header();
        let host = head.headers.get(header::HOST).cloned().or_else(|| {
            let authority = head.uri.authority()?;
            HeaderValue::from_str(authority.as_str()).ok()
        });
        let upgrade = headers::wants_websocket(&head.method, head.version, &head.headers);
        let (method, from) = (head.method.clone(), client.from(&head.headers));
        Request { method, host, from, length, has_body, upgrade: upgrade && !has_body }
    }

    pub(super) fn framing(&self, stash: &Stash) -> Framing {
        match self.length {
            Some(length) => Framing::Length(length),
            None if stash.is_whole && stash.is_empty() => Framing::None,
            None if self.has_body => Framing::Chunks,
            None => Framing::None,
        }
    }

    /// Whether it may be sent twice (RFC 9110, 9.2.2).
    pub(super) fn is_idempotent(&self) -> bool {
        let safe = [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE];
        safe.contains(&self.method) && !self.upgrade
    }

    pub(super) fn host(&self) -> &str {
        self.host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default()
    }
}

/// How long a body says it is, once.
fn length_of(exchange: &Exchange) -> Option<u64> {
    let mut lengths = exchange.req_header().headers.get_all(header::CONTENT_LENGTH).iter();
    let length = guard::number(lengths.next()?.as_bytes());
    length.filter(|_| lengths.next().is_none())
}
