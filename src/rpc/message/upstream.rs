//! A CLI's frame, read as far as its destination needs.

use std::borrow::Cow;

use super::begin;
use crate::rpc::json::{self, Scanner, Span, Str};

/// What a CLI sent.
#[derive(Debug, PartialEq, Eq)]
pub enum UpstreamMessage<'a> {
    /// Answers a request.
    Response {
        /// The id as raw JSON text.
        id: &'a str,
        /// Whether it is an error.
        failed: bool,
    },
    /// Asks the client for something.
    Request {
        /// Where the id stands.
        id: Span,
        /// What is called.
        method: &'a str,
    },
    /// `session.event`: something happened in a session that this link is attached to.
    Event {
        /// `params.sessionId`.
        session: Cow<'a, str>,
        /// `params.event.type`.
        kind: &'a str,
        /// Where `params.event` starts.
        event: usize,
    },
    /// `session.lifecycle`: a CLI tells it to everybody.
    Lifecycle {
        /// `params.sessionId`.
        session: Cow<'a, str>,
        /// `params.type`.
        kind: &'a str,
    },
    /// Any other notification.
    Notification {
        /// What is called.
        method: &'a str,
        /// Where `params` stands, if it is an object.
        params: Option<Span>,
    },
}

/// Reads a CLI's frame; `None` if it is no JSON-RPC message.
pub fn read_upstream(body: &[u8]) -> Option<UpstreamMessage<'_>> {
    let (mut scan, usual) = begin(body);
    let mut id = None;
    let mut method = None;
    let mut params = None;
    let mut outcome = None;
    if !usual {
        scan.space();
        scan.expect(b'{').ok()?;
    }
    loop {
        scan.space();
        let key = scan.key().ok()?;
        match key.inner.of(body) {
            b"id" => id = Some(scan.value(1).ok()?),
            b"method" => {
                scan.space();
                method = Some(plain(body, scan.string().ok()?)?);
            }
            b"params" if method == Some("session.event") && id.is_none() => {
                let start = scan.pos();
                if let Some(event) = read_event(&mut scan, body) {
                    return Some(event);
                }
                params = Some(Scanner::at(body, start).skip().ok()?);
                scan = Scanner::at(body, params?.end);
            }
            b"params" => params = Some(scan.skip().ok()?),
            // An answer is known by here: what it holds is its client's affair.
            name @ (b"result" | b"error") if method.is_none() => {
                let failed = name == b"error";
                if let Some(id) = id {
                    return response(body, id, failed);
                }
                outcome = Some(failed);
                scan.skip().ok()?;
            }
            _ => {
                scan.skip().ok()?;
            }
        }
        scan.space();
        if !scan.take(b',') {
            scan.expect(b'}').ok()?;
            break;
        }
    }
    let object = params.filter(|p| body.get(p.start) == Some(&b'{'));
    let text = |name| object.and_then(|p| json::member(body, p, name));
    match (method, id) {
        (Some(method), Some(id)) => Some(UpstreamMessage::Request { id, method }),
        (Some(method), None) => {
            let kind = text("type").and_then(|t| json::string_at(body, t));
            let kind = kind.and_then(|kind| plain(body, kind));
            let session = text("sessionId").and_then(|s| json::text_at(body, s));
            Some(match (method, kind, session) {
                ("session.lifecycle", Some(kind), Some(session)) => {
                    UpstreamMessage::Lifecycle { session, kind }
                }
                _ => UpstreamMessage::Notification { method, params: object },
            })
        }
        (None, Some(id)) => response(body, id, outcome?),
        (None, None) => None,
    }
}

fn response(body: &[u8], id: Span, failed: bool) -> Option<UpstreamMessage<'_>> {
    let id = std::str::from_utf8(id.of(body)).ok()?;
    Some(UpstreamMessage::Response { id, failed })
}

fn plain(body: &[u8], text: Str) -> Option<&str> {
    if text.escaped { None } else { std::str::from_utf8(text.inner.of(body)).ok() }
}

/// `{"sessionId":S,"event":{"type":T,…`: stops at the type, which real CLIs write first.
fn read_event<'a>(scan: &mut Scanner<'a>, body: &'a [u8]) -> Option<UpstreamMessage<'a>> {
    let mut session = None;
    let mut event = None;
    scan.space();
    scan.expect(b'{').ok()?;
    loop {
        scan.space();
        let key = scan.key().ok()?;
        scan.space();
        match key.inner.of(body) {
            b"sessionId" => session = Some(json::decode(body, &scan.string().ok()?)?),
            b"event" => {
                let start = scan.pos();
                let kind = read_event_type(scan, body)?;
                if let Some(session) = session {
                    return Some(UpstreamMessage::Event { session, kind, event: start });
                }
                event = Some((kind, start));
                *scan = Scanner::at(body, start);
                scan.skip().ok()?;
            }
            _ => {
                scan.skip().ok()?;
            }
        }
        scan.space();
        if !scan.take(b',') {
            break;
        }
    }
    let (kind, start) = event?;
    Some(UpstreamMessage::Event { session: session?, kind, event: start })
}

fn read_event_type<'a>(scan: &mut Scanner<'a>, body: &'a [u8]) -> Option<&'a str> {
    scan.expect(b'{').ok()?;
    loop {
        scan.space();
        let key = scan.key().ok()?;
        scan.space();
        if key.inner.of(body) == b"type" {
            return plain(body, scan.string().ok()?);
        }
        scan.skip().ok()?;
        scan.space();
        scan.expect(b',').ok()?;
    }
}
