//! What becomes of the fields of a request and of a response on their way. What belongs to one connection ends here (RFC
//! 9110, 7.6.1); what says where a client is, is our own word, unless a trusted proxy stands before us.
//!
//! Pure: makes new heads, and changes none. No Via is added, as other gateways do not either; Host stays as it is.

use std::net::IpAddr;

use bytes::{BufMut, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version, request, response};
use smallvec::SmallVec;

use super::cookie::Affinity;
use super::forwarded::X_FORWARDED_FOR;
use super::trace;

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const FORWARDED: HeaderName = header::FORWARDED;

/// Where a client is, as its upstream is told. Made once for each conn.
#[derive(Debug)]
pub struct Origin {
    /// It is a proxy whose word counts.
    pub trusted: bool,
    ip: HeaderValue,
    forwarded: HeaderValue,
    port: HeaderValue,
    proto: HeaderValue,
}

impl Origin {
    /// A client at this address, that came to this port of ours. `None`: its address cannot be written.
    pub fn new(address: IpAddr, port: u16, secure: bool, trusted: bool) -> Option<Self> {
        let proto = if secure { "https" } else { "http" };
        let address = address.to_canonical();
        let node = match address {
            IpAddr::V4(v4) => v4.to_string(),
            // RFC 7239, 6.
            IpAddr::V6(v6) => format!("\"[{v6}]\""),
        };
        Some(Origin {
            trusted,
            ip: value(&address.to_string())?,
            forwarded: value(&format!("for={node};proto={proto}"))?,
            port: value(&port.to_string())?,
            proto: HeaderValue::from_static(proto),
        })
    }
}

fn value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

/// How the body of a message is framed from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none, and nothing says so.
    None,
    /// So long.
    Length(u64),
    /// In chunks, or frames.
    Chunks,
}

/// What a request's head is made with.
pub struct Outward<'a> {
    /// Where its client is.
    pub origin: &'a Origin,
    /// Where the client of this request is, as far as is known.
    pub from: Option<IpAddr>,
    /// For which host it is; `None`: its client did not say.
    pub host: Option<&'a HeaderValue>,
    /// How long its body is.
    pub framing: Framing,
    /// Fields that say who calls, and do not count from where this comes from.
    pub spoofable: &'a [HeaderName],
    /// The cookie that its upstream does not see.
    pub affinity: Option<&'a Affinity>,
    /// Its `Authorization` was for us alone: a token that our operator gave out.
    pub token_is_ours: bool,
    /// It wants to go on as WebSocket.
    pub upgrade: bool,
    /// `Expect: 100-continue` was answered here, or cannot be.
    pub expectation_met: bool,
}

/// Fields that belong to one connection.
fn is_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

/// The fields that Connection names besides.
fn nominated(headers: &HeaderMap) -> SmallVec<[&[u8]; 4]> {
    let values = headers.get_all(header::CONNECTION).iter();
    let options = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let known = |option: &&[u8]| {
        [&b"close"[..], b"keep-alive", b"upgrade", b""]
            .iter()
            .any(|k| option.eq_ignore_ascii_case(k))
    };
    options.map(<[u8]>::trim_ascii).filter(|option| !known(option)).collect()
}

fn is_among(nominated: &[&[u8]], name: &HeaderName) -> bool {
    nominated.iter().any(|option| option.eq_ignore_ascii_case(name.as_str().as_bytes()))
}

/// Whether Connection names one of these fields.
pub fn takes_off(headers: &HeaderMap, names: &[HeaderName]) -> bool {
    let nominated = nominated(headers);
    !nominated.is_empty() && names.iter().any(|name| is_among(&nominated, name))
}

/// Whether a request asks to go on as WebSocket (RFC 6455, 4.1).
pub fn wants_websocket(method: &Method, version: Version, headers: &HeaderMap) -> bool {
    *method == Method::GET
        && version == Version::HTTP_11
        && lists(headers, header::UPGRADE, b"websocket")
        && lists(headers, header::CONNECTION, b"upgrade")
}

/// Whether an upstream that switches protocols says that it goes on as WebSocket, and nothing else (RFC 6455, 4.2.2).
pub fn is_to_websocket(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::UPGRADE).iter();
    let only = values.next().filter(|_| values.next().is_none());
    only.is_some_and(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket"))
}

/// Whether one of the words that a field lists is this one.
fn lists(headers: &HeaderMap, name: HeaderName, word: &[u8]) -> bool {
    let values = headers.get_all(name).iter();
    let mut words = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    words.any(|it| it.trim_ascii().eq_ignore_ascii_case(word))
}

/// The head that goes to the upstream.
pub fn request(from: &request::Parts, with: &Outward<'_>) -> (request::Parts, Option<HeaderValue>) {
    let (mut to, ()) = http::Request::new(()).into_parts();
    to.method = from.method.clone();
    to.version = Version::HTTP_11;
    if let Some(path) = from.uri.path_and_query() {
        to.uri = path.clone().into();
    }
    let mut headers = HeaderMap::with_capacity(from.headers.len() + 8);
    if let Some(host) = with.host {
        headers.insert(header::HOST, host.clone());
    }
    let nominated = nominated(&from.headers);
    for (name, value) in &from.headers {
        if !goes_on(name, with) || is_among(&nominated, name) {
            continue;
        }
        headers.append(name.clone(), value.clone());
    }
    cookies(&from.headers, &mut headers, with.affinity);
    frame(&mut headers, with.framing);
    if with.upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    forward(&from.headers, &mut headers, with);
    let traced = traced(&from.headers, &mut headers);
    to.headers = headers;
    (to, traced)
}

/// Whether a field of the client's goes on as it is.
fn goes_on(name: &HeaderName, with: &Outward<'_>) -> bool {
    if is_hop(name) || is_ours(name) {
        return false;
    }
    if *name == header::EXPECT {
        return !with.expectation_met;
    }
    if *name == header::AUTHORIZATION {
        return !with.token_is_ours;
    }
    !with.spoofable.contains(name)
}

/// Fields that are written anew.
fn is_ours(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "host"
            | "content-length"
            | "cookie"
            | "forwarded"
            | "x-forwarded-for"
            | "x-forwarded-host"
            | "x-forwarded-port"
            | "x-forwarded-proto"
            | "x-real-ip"
            | "traceparent"
            | "tracestate"
    )
}

fn frame(headers: &mut HeaderMap, framing: Framing) {
    match framing {
        Framing::None => {}
        Framing::Length(length) => {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
        Framing::Chunks => {
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
}

/// All cookies in one field (RFC 9113, 8.2.3), without ours.
fn cookies(from: &HeaderMap, to: &mut HeaderMap, affinity: Option<&Affinity>) {
    let mut all = from.get_all(header::COOKIE).iter();
    let Some(first) = all.next() else { return };
    let ours = |value: &HeaderValue| affinity.is_some_and(|ours| ours.is_in(value.as_bytes()));
    let second = all.next();
    if second.is_none() && !ours(first) {
        to.insert(header::COOKIE, first.clone());
        return;
    }
    let mut joined = BytesMut::new();
    for value in [first].into_iter().chain(second).chain(all) {
        let left = match affinity {
            Some(ours) => ours.strip(value.as_bytes()),
            None => Some(value.as_bytes().to_vec()),
        };
        if let Some(left) = left.filter(|left| !left.is_empty()) {
            if !joined.is_empty() {
                joined.put_slice(b"; ");
            }
            joined.put_slice(&left);
        }
    }
    if !joined.is_empty()
        && let Ok(value) = HeaderValue::from_maybe_shared(joined.freeze())
    {
        to.insert(header::COOKIE, value);
    }
}

/// Says where the client is: after what a trusted proxy says, else instead.
fn forward(from: &HeaderMap, to: &mut HeaderMap, with: &Outward<'_>) {
    let Outward { origin, host, .. } = with;
    let trusted = origin.trusted;
    let after = |name, own| if trusted { after(from, name, own) } else { Some(own.clone()) };
    let or = |name: HeaderName, own: Option<&HeaderValue>| {
        from.get(name).filter(|_| trusted).or(own).cloned()
    };
    let said = [
        (X_FORWARDED_FOR, after(X_FORWARDED_FOR, &origin.ip)),
        (FORWARDED, after(FORWARDED, &origin.forwarded)),
        (X_FORWARDED_PROTO, or(X_FORWARDED_PROTO, Some(&origin.proto))),
        (X_FORWARDED_HOST, or(X_FORWARDED_HOST, *host)),
        (X_FORWARDED_PORT, or(X_FORWARDED_PORT, Some(&origin.port))),
        (X_REAL_IP, real_ip(from, with)),
    ];
    for (name, value) in said {
        if let Some(value) = value {
            to.insert(name, value);
        }
    }
}

/// What a trusted proxy says that it is, else what is known.
fn real_ip(from: &HeaderMap, with: &Outward<'_>) -> Option<HeaderValue> {
    if !with.origin.trusted {
        return Some(with.origin.ip.clone());
    }
    from.get(X_REAL_IP).cloned().or_else(|| value(&with.from?.to_string()))
}

/// What others said, and then what we say.
fn after(from: &HeaderMap, name: HeaderName, own: &HeaderValue) -> Option<HeaderValue> {
    let mut joined = BytesMut::new();
    for value in from.get_all(name) {
        joined.put_slice(value.as_bytes());
        joined.put_slice(b", ");
    }
    joined.put_slice(own.as_bytes());
    HeaderValue::from_maybe_shared(joined.freeze()).ok()
}

/// Passes the trace context on, or begins one. Returns what the request is traced as.
fn traced(from: &HeaderMap, to: &mut HeaderMap) -> Option<HeaderValue> {
    let (parent, states) = match trace::sent(from) {
        Some(parent) => (Some(parent.clone()), true),
        None => (trace::made(), false),
    };
    to.insert(trace::TRACEPARENT, parent.clone()?);
    for state in from.get_all(trace::TRACESTATE).iter().filter(|_| states) {
        to.append(trace::TRACESTATE, state.clone());
    }
    parent
}

/// The head that goes to the client. `framing`: as far as it is not what the upstream said.
pub fn response(
    status: StatusCode,
    from: &HeaderMap,
    framing: Framing,
    cookie: Option<HeaderValue>,
) -> response::Parts {
    let (mut to, ()) = http::Response::new(()).into_parts();
    to.status = status;
    to.version = Version::HTTP_11;
    let mut headers = HeaderMap::with_capacity(from.len() + 4);
    let nominated = nominated(from);
    for (name, value) in from {
        if is_hop(name) || *name == header::CONTENT_LENGTH || is_among(&nominated, name) {
            continue;
        }
        headers.append(name.clone(), value.clone());
    }
    frame(&mut headers, framing);
    if status == StatusCode::SWITCHING_PROTOCOLS {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    if let Some(cookie) = cookie {
        headers.append(header::SET_COOKIE, cookie);
    }
    to.headers = headers;
    to
}

#[cfg(test)]
mod tests;
