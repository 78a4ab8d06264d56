//! A client's frame, validated whole.

use std::borrow::Cow;

use super::begin;
use super::peek::peek_id;
use crate::rpc::json::{self, JsonError, Kind, MAX_DEPTH, Scanner, Span, Str};

/// The longest id that is taken, in bytes of raw JSON.
const MAX_ID: usize = 256;

/// What a client sent.
#[derive(Debug)]
pub struct ClientMessage<'a> {
    /// The whole body.
    pub body: &'a [u8],
    /// What it is.
    pub kind: ClientKind<'a>,
}

/// The three kinds of JSON-RPC message.
#[derive(Debug)]
pub enum ClientKind<'a> {
    /// Wants an answer.
    Request {
        /// The id as raw JSON text.
        id: &'a str,
        /// What is called.
        call: Call<'a>,
    },
    /// Wants none.
    Notification(Call<'a>),
    /// Answers a request of a CLI.
    Response {
        /// Where the id stands.
        id: Span,
    },
}

/// A method and its parameters.
#[derive(Debug)]
pub struct Call<'a> {
    /// The method's name.
    pub method: Cow<'a, str>,
    /// Where the name stands, with its quotes.
    pub method_span: Span,
    /// Where `params` stands, if it is an object.
    pub params: Option<Span>,
    /// `params.sessionId`.
    pub session: SessionParam<'a>,
}

/// What stands at `params.sessionId`.
#[derive(Debug, PartialEq, Eq)]
pub enum SessionParam<'a> {
    /// No such key.
    Absent,
    /// A string.
    Id(Cow<'a, str>, Span),
    /// Something else, at this place.
    NotAString(Span),
}

impl SessionParam<'_> {
    /// The id; `None` where there is none or it is empty.
    pub fn id(&self) -> Option<&str> {
        match self {
            SessionParam::Id(id, _) if !id.is_empty() => Some(id),
            SessionParam::Id(..) | SessionParam::Absent | SessionParam::NotAString(_) => None,
        }
    }
}

/// Why a client's frame is not routed.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused<'a> {
    /// The client can be told: here is the id, and what is wrong.
    Answerable(&'a str, &'static str),
    /// It is a notification: nobody waits to be told.
    Untold,
    /// Nobody can be told, for there is no usable id: the word says why. The conn ends.
    Hopeless(&'static str),
}

struct Fields<'a> {
    id: Option<Span>,
    method: Option<Str>,
    params: Option<Span>,
    session: SessionParam<'a>,
    version: bool,
    outcome: bool,
    /// What is wrong within a text or number.
    flaw: Option<&'static str>,
}

/// Reads a client's frame.
pub fn read_client(body: &[u8]) -> Result<ClientMessage<'_>, Refused<'_>> {
    let text = body.is_ascii() || std::str::from_utf8(body).is_ok();
    let fields = match read_fields(body) {
        Ok(fields) => fields,
        Err(Flaw::NotAnObject) => return Err(Refused::Hopeless("not_an_object")),
        Err(Flaw::Syntax) => return Err(Refused::Hopeless("not_json")),
        Err(Flaw::Id) => return Err(Refused::Hopeless("two_ids")),
        Err(Flaw::Shape(what)) => {
            let id = peek_id(body).filter(|id| usable(id).is_ok());
            return Err(id.map_or(Refused::Hopeless("no_id"), |id| Refused::Answerable(id, what)));
        }
    };
    let id = match fields.id {
        None => None,
        Some(span) => {
            let raw = std::str::from_utf8(span.of(body)).unwrap_or_default();
            match usable(raw) {
                Ok(()) => Some((raw, span)),
                Err(BadId::Unusable) => return Err(Refused::Hopeless("unusable_id")),
                Err(BadId::Refused(what)) => return Err(Refused::Answerable(raw, what)),
            }
        }
    };
    let refuse = |what| match id {
        Some((raw, _)) => Refused::Answerable(raw, what),
        None => Refused::Hopeless("not_a_message"),
    };
    // A CLI would refuse it without saying whose it was; where it ends, and what it asks, is sure all the same.
    if let Some(flaw) = fields.flaw.or((!text).then_some("a text that is not UTF-8")) {
        return Err(match (id, &fields.method) {
            (None, Some(_)) => Refused::Untold,
            (Some(_) | None, _) => refuse(flaw),
        });
    }
    if !fields.version {
        return Err(refuse("jsonrpc must be \"2.0\""));
    }
    let Some(method) = fields.method else {
        return match id {
            Some((_, span)) if fields.outcome => {
                Ok(ClientMessage { body, kind: ClientKind::Response { id: span } })
            }
            _ => Err(refuse("neither a request, nor a notification, nor a response")),
        };
    };
    if fields.outcome {
        return Err(refuse("a message with a method has no result and no error"));
    }
    let name = json::decode(body, &method).ok_or_else(|| refuse("the method is not a text"))?;
    let call = Call {
        method: name,
        method_span: Span { start: method.inner.start - 1, end: method.inner.end + 1 },
        params: fields.params,
        session: fields.session,
    };
    let kind = match id {
        Some((raw, _)) => ClientKind::Request { id: raw, call },
        None => ClientKind::Notification(call),
    };
    Ok(ClientMessage { body, kind })
}

enum Flaw {
    Syntax,
    NotAnObject,
    Id,
    Shape(&'static str),
}

impl From<JsonError> for Flaw {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Syntax(_) => Flaw::Syntax,
            JsonError::TooDeep => Flaw::Shape("nested deeper than 64 levels"),
        }
    }
}

/// The keys of one object: refuses a key that comes twice, and one that hides behind escapes.
#[derive(Default)]
struct Keys<'a> {
    few: smallvec::SmallVec<[&'a [u8]; 24]>,
    many: Option<ahash::AHashSet<&'a [u8]>>,
}

impl<'a> Keys<'a> {
    fn add(&mut self, body: &'a [u8], key: &Str) -> Result<&'a [u8], Flaw> {
        if key.escaped {
            return Err(Flaw::Shape("an escaped key"));
        }
        let name = key.inner.of(body);
        let twice = match &mut self.many {
            Some(many) => !many.insert(name),
            None if self.few.len() < self.few.inline_size() => {
                let twice = self.few.contains(&name);
                self.few.push(name);
                twice
            }
            None => !self.many.insert(self.few.iter().copied().collect()).insert(name),
        };
        match (twice, name) {
            (false, _) => Ok(name),
            (true, b"id") => Err(Flaw::Id),
            (true, _) => Err(Flaw::Shape("a key that comes twice")),
        }
    }
}

fn read_fields(body: &[u8]) -> Result<Fields<'_>, Flaw> {
    let (mut scan, usual) = begin(body);
    let mut fields = Fields {
        id: None,
        method: None,
        params: None,
        session: SessionParam::Absent,
        version: usual,
        outcome: false,
        flaw: None,
    };
    let mut keys = Keys::default();
    let mut more = true;
    if usual {
        keys.few.push(b"jsonrpc");
    } else {
        if scan.kind()? != Kind::Object {
            scan.value(MAX_DEPTH)?;
            return Err(Flaw::NotAnObject);
        }
        scan.expect(b'{')?;
        scan.space();
        more = !scan.take(b'}');
    }
    while more {
        scan.space();
        let key = scan.key()?;
        match keys.add(body, &key)? {
            b"id" => fields.id = Some(scan.value(MAX_DEPTH - 1)?),
            b"jsonrpc" => fields.version = scan.value(MAX_DEPTH - 1)?.of(body) == b"\"2.0\"",
            b"method" => {
                fields.method = match scan.kind()? {
                    Kind::String => Some(scan.string()?),
                    Kind::Object | Kind::Array | Kind::Number | Kind::Bool | Kind::Null => {
                        return Err(Flaw::Shape("the method is not a text"));
                    }
                }
            }
            b"params" if scan.kind()? == Kind::Object => read_params(&mut scan, body, &mut fields)?,
            b"result" | b"error" => {
                fields.outcome = true;
                scan.value(MAX_DEPTH - 1)?;
            }
            _ => {
                scan.value(MAX_DEPTH - 1)?;
            }
        }
        scan.space();
        more = scan.take(b',');
        if !more {
            scan.expect(b'}')?;
        }
    }
    scan.end()?;
    fields.flaw = scan.flaw();
    Ok(fields)
}

fn read_params<'a>(
    scan: &mut Scanner<'a>,
    body: &'a [u8],
    fields: &mut Fields<'a>,
) -> Result<(), Flaw> {
    let start = scan.pos();
    scan.expect(b'{')?;
    scan.space();
    let mut keys = Keys::default();
    let mut more = !scan.take(b'}');
    while more {
        scan.space();
        let key = scan.key()?;
        let name = keys.add(body, &key)?;
        if name == b"sessionId" {
            fields.session = read_session(scan, body)?;
        } else {
            scan.value(MAX_DEPTH - 2)?;
        }
        scan.space();
        more = scan.take(b',');
        if !more {
            scan.expect(b'}')?;
        }
    }
    fields.params = Some(Span { start, end: scan.pos() });
    Ok(())
}

fn read_session<'a>(scan: &mut Scanner<'a>, body: &'a [u8]) -> Result<SessionParam<'a>, Flaw> {
    if scan.kind()? != Kind::String {
        return Ok(SessionParam::NotAString(scan.value(MAX_DEPTH - 2)?));
    }
    let start = scan.pos();
    let text = scan.string()?;
    let span = Span { start, end: scan.pos() };
    let id = json::decode(body, &text);
    Ok(id.map_or(SessionParam::NotAString(span), |id| SessionParam::Id(id, span)))
}

enum BadId {
    /// Echoing it would tell nobody.
    Unusable,
    /// It can be echoed, but not be routed by.
    Refused(&'static str),
}

/// Whether a request may carry this id: a string, or an integer that a double holds exactly.
fn usable(raw: &str) -> Result<(), BadId> {
    const EXACT: i64 = (1 << 53) - 1;
    if raw.len() > MAX_ID {
        return Err(BadId::Unusable);
    }
    let refused = |what| match serde_json::from_str::<serde_json::Value>(raw) {
        Ok(_) => Err(BadId::Refused(what)),
        Err(_) => Err(BadId::Unusable),
    };
    match raw.as_bytes().first() {
        Some(b'"') if raw.bytes().any(|b| b == b'\\' || b < b' ') => refused("an id with escapes"),
        Some(b'"') => Ok(()),
        Some(b'-' | b'0'..=b'9') => match raw.parse::<i64>() {
            Ok(n) if (-EXACT..=EXACT).contains(&n) && raw != "-0" => Ok(()),
            _ => refused("an id that is no integer within 2^53"),
        },
        _ => Err(BadId::Unusable),
    }
}
