//! Reads what a frame is: its id, method, session; never builds a tree, never changes a byte.
//!
//! A client's frame is validated whole, because its CLI would answer a broken one without saying whose it
//! was. A frame of our own CLIs is read as far as its destination needs.

use std::borrow::Cow;

use super::json::{self, JsonError, Kind, MAX_DEPTH, Scanner, Span, Str};

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
}

/// Reads a client's frame.
pub fn read_client(body: &[u8]) -> Result<ClientMessage<'_>, Refused<'_>> {
    if !body.is_ascii() && std::str::from_utf8(body).is_err() {
        return Err(Refused::Hopeless("not_utf8"));
    }
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

/// The id of a client's frame that was read before; `None` if it is no request.
pub fn request_id(body: &[u8]) -> Option<&str> {
    match read_client(body).ok()?.kind {
        ClientKind::Request { id, .. } => Some(id),
        ClientKind::Notification(_) | ClientKind::Response { .. } => None,
    }
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

/// How every SDK and CLI begins its messages.
const USUAL: &[u8] = br#"{"jsonrpc":"2.0","#;

/// Behind the usual beginning, where the body has it.
#[inline]
fn begin(body: &[u8]) -> (Scanner<'_>, bool) {
    let usual = body.starts_with(USUAL);
    (Scanner::at(body, if usual { USUAL.len() } else { 0 }), usual)
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
    match raw.as_bytes().first() {
        Some(b'"') if raw.contains('\\') => Err(BadId::Refused("an id with escapes")),
        Some(b'"') => Ok(()),
        Some(b'-' | b'0'..=b'9') => match raw.parse::<i64>() {
            Ok(n) if (-EXACT..=EXACT).contains(&n) && raw != "-0" => Ok(()),
            _ => Err(BadId::Refused("an id that is no integer within 2^53")),
        },
        _ => Err(BadId::Unusable),
    }
}

/// The id of a frame that is otherwise refused, perhaps cut short: raw text, for the error to carry. Only
/// where the frame's own level shows exactly one, as far as it goes.
pub fn peek_id(head: &[u8]) -> Option<&str> {
    let value = peek(head, b"id")?;
    // A number that ends where the head ends may have lost digits.
    let whole = value.end < head.len();
    whole.then(|| std::str::from_utf8(value.of(head)).ok()).flatten()
}

/// Whether a frame that is otherwise refused, perhaps cut short, answers a request instead of making one.
pub fn is_answer(head: &[u8]) -> bool {
    let has = |name| peek(head, name).is_some();
    !has(b"method") && (has(b"result") || has(b"error"))
}

/// Whether a frame that is otherwise refused calls a method.
pub fn is_call(head: &[u8]) -> bool {
    peek(head, b"method").is_some()
}

/// The value of the one member of this name on the frame's own level, as far as the head goes.
fn peek(head: &[u8], name: &[u8]) -> Option<Span> {
    let mut found = None;
    let mut depth = 0u32;
    let mut scan = Scanner::new(head);
    let mut key = false;
    while let Some(&byte) = head.get(scan.pos()) {
        match byte {
            b'"' => {
                let Ok(text) = scan.skip() else { break };
                let named = head.get(text.start + 1..text.end - 1) == Some(name);
                if std::mem::take(&mut key) && depth == 1 && named {
                    scan.space();
                    scan.expect(b':').ok()?;
                    let start = scan.pos();
                    // Of a value that is cut off, its start is enough to know that it is there.
                    let value = scan.skip().unwrap_or(Span { start, end: head.len() });
                    if found.replace(value).is_some() {
                        return None;
                    }
                    scan = Scanner::at(head, value.end);
                }
                continue;
            }
            b'{' | b'[' => {
                depth += 1;
                key = byte == b'{';
            }
            b'}' | b']' => depth = depth.checked_sub(1)?,
            b',' => key = depth == 1,
            _ => {}
        }
        scan = Scanner::at(head, scan.pos() + 1);
    }
    found
}

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
            name @ (b"result" | b"error") if method.is_none() && id.is_some() => {
                let id = std::str::from_utf8(id?.of(body)).ok()?;
                return Some(UpstreamMessage::Response { id, failed: name == b"error" });
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
        (None, _) => None,
    }
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

/// What stands at `path` in the object that starts at `from`, as text; for the few places that need it.
pub fn text_in<'a>(body: &'a [u8], from: usize, path: &[&str]) -> Option<Cow<'a, str>> {
    let mut span = Scanner::at(body, from).skip().ok()?;
    for name in path {
        span = json::member(body, span, name)?;
    }
    json::text_at(body, span)
}

/// The session that a notification is about.
pub fn session_of<'a>(body: &'a [u8], method: &str, params: Option<Span>) -> Option<Cow<'a, str>> {
    let params = params?;
    let holder = match method {
        "host.event" => json::member(body, params, "scope")?,
        _ => params,
    };
    json::text_at(body, json::member(body, holder, "sessionId")?)
}

/// The raw text at `path` in the whole body.
fn raw_at<'a>(body: &'a [u8], path: &[&str]) -> Option<&'a [u8]> {
    let mut span = whole(body);
    for name in path {
        span = json::member(body, span, name)?;
    }
    Some(span.of(body))
}

/// Whether a CLI answers that it is leaving: the code and the words, for others may quote the words.
pub fn says_shutting_down(body: &[u8]) -> bool {
    raw_at(body, &["error", "code"]) == Some(b"-32000")
        && raw_at(body, &["error", "message"])
            .is_some_and(|m| m.starts_with(b"\"SERVER_SHUTTING_DOWN"))
}

/// Whether a CLI answers that it has no session of this id: at the end of the message, for others may quote the words.
pub fn says_not_found(body: &[u8], session: &str) -> bool {
    let Some(message) = text_in(body, 0, &["error", "message"]) else { return false };
    let Some(before) = message.trim_end().strip_suffix(session) else { return false };
    before.ends_with("Session not found: ") || before.ends_with("Session not found for sessionId: ")
}

/// Whether a result says that nothing was done.
pub fn says_no_success(body: &[u8]) -> bool {
    raw_at(body, &["result", "success"]) == Some(b"false")
}

/// The whole body as a span.
pub fn whole(body: &[u8]) -> Span {
    Span { start: 0, end: body.len() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(body: &str) -> (String, String, Option<String>) {
        match read_client(body.as_bytes()).unwrap().kind {
            ClientKind::Request { id, call } => {
                (id.into(), call.method.into_owned(), call.session.id().map(Into::into))
            }
            other @ (ClientKind::Notification(_) | ClientKind::Response { .. }) => {
                panic!("{other:?}")
            }
        }
    }

    #[test]
    fn a_request_shows_id_method_and_session_in_any_order() {
        let want = ("7".to_owned(), "session.send".to_owned(), Some("s-1".to_owned()));
        for body in [
            r#"{"jsonrpc":"2.0","id":7,"method":"session.send","params":{"sessionId":"s-1","prompt":"x"}}"#,
            r#" { "params" : { "a" : [ {"sessionId":"no"} ] , "sessionId" : "s-\u0031" } , "method" : "session\u002esend" , "id" : 7 , "jsonrpc" : "2.0" } "#,
        ] {
            assert_eq!(request(body), want);
        }
    }

    #[test]
    fn whoever_can_be_told_is_told_with_the_raw_id() {
        let deep = format!(
            r#"{{"jsonrpc":"2.0","method":"m","params":{}{},"id":"x"}}"#,
            "[".repeat(70),
            "]".repeat(70)
        );
        for (body, id) in [
            (r#"{"id":1,"method":"m"}"#, "1"),
            (r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#, "1"),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"m"}"#, "1.5"),
            (r#"{"jsonrpc":"2.0","id":9007199254740993,"method":"m"}"#, "9007199254740993"),
            (r#"{"jsonrpc":"2.0","id":-9223372036854775808,"method":"m"}"#, "-9223372036854775808"),
            (r#"{"jsonrpc":"2.0","id":01e2,"method":"m"}"#, ""),
            (r#"{"jsonrpc":"2.0","id":1,"method":"m","method":"n"}"#, "1"),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"sessionId":"a","sessionId":"b"}}"#,
                "1",
            ),
            (r#"{"jsonrpc":"2.0","id":1,"m\u0065thod":"m"}"#, "1"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"session\u0049d":"a"}}"#, "1"),
            (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, "1"),
            (r#"{"jsonrpc":"2.0","id":1}"#, "1"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"m","result":1}"#, "1"),
            (&deep, "\"x\""),
        ] {
            match read_client(body.as_bytes()) {
                Err(Refused::Answerable(raw, _)) => assert_eq!(raw, id, "{body}"),
                Err(Refused::Hopeless(_)) if id.is_empty() => {}
                other => panic!("{body}: {other:?}"),
            }
        }
    }

    #[test]
    fn nobody_is_told_where_there_is_no_usable_id() {
        for body in [
            "",
            "42",
            "null",
            "[]",
            r#"[{"jsonrpc":"2.0","id":1,"method":"m"}]"#,
            "{}",
            "{\"jsonrpc\":\"2.0\"",
            r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":true,"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":{},"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"x":"\ud800"}}"#,
            r#"{"method":"m"}"#,
        ] {
            assert!(matches!(read_client(body.as_bytes()), Err(Refused::Hopeless(_))), "{body}");
        }
        assert!(matches!(read_client(b"{\"id\":1,\"a\":\"\xff\"}"), Err(Refused::Hopeless(_))));
    }

    #[test]
    fn a_hundred_keys_are_compared_as_few_are() {
        let keys = |n: usize| (0..n).map(|k| format!("\"k{k}\":1,")).collect::<String>();
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{{}"sessionId":"s"}}}}"#,
            keys(100)
        );
        assert_eq!(request(&body).2.as_deref(), Some("s"));
        let twice = body.replace("\"k99\"", "\"k3\"");
        assert!(matches!(read_client(twice.as_bytes()), Err(Refused::Answerable("1", _))));
    }

    #[test]
    fn the_head_of_a_large_frame_shows_its_id_only_if_it_is_sure() {
        assert_eq!(peek_id(br#"{"jsonrpc":"2.0","id":12,"params":{"id":3,"x":"#), Some("12"));
        assert_eq!(peek_id(br#"{"a":{"id":3},"b":["id",{"id":4}],"id":"x","#), Some("\"x\""));
        assert_eq!(peek_id(br#"{"jsonrpc":"2.0","id":12"#), None);
        assert_eq!(peek_id(br#"{"id":1,"id":2,"params":"#), None);
        assert_eq!(peek_id(br#"{"x":"id","y":1"#), None);
        assert_eq!(peek_id(br#"["id",1]"#), None);
        assert!(is_answer(br#"{"jsonrpc":"2.0","id":0,"result":{"method":"x","big":"#));
        assert!(!is_answer(br#"{"jsonrpc":"2.0","id":0,"method":"x","params":{"result":1,"#));
    }

    #[test]
    fn a_clis_frames_are_told_apart() {
        let read = |body: &'static str| read_upstream(body.as_bytes()).unwrap();
        assert_eq!(
            read(r#"{"jsonrpc":"2.0","id":"a","result":{"method":"x"}}"#),
            UpstreamMessage::Response { id: "\"a\"", failed: false }
        );
        assert_eq!(
            read(r#"{"jsonrpc":"2.0","id":3,"error":{"code":1}}"#),
            UpstreamMessage::Response { id: "3", failed: true }
        );
        assert_eq!(
            read(r#"{"jsonrpc":"2.0","method":"hooks.invoke","params":{"sessionId":"s"},"id":3}"#),
            UpstreamMessage::Request { id: Span { start: 73, end: 74 }, method: "hooks.invoke" }
        );
        for body in [
            r#"{"jsonrpc":"2.0","method":"session.event","params":{"sessionId":"s","event":{"type":"session.idle","data":{}}}}"#,
            r#"{"jsonrpc":"2.0","method":"session.event","params":{"event":{"data":{"type":"no"},"type":"session.idle"},"sessionId":"s"}}"#,
        ] {
            assert!(
                matches!(read(body), UpstreamMessage::Event { session, kind: "session.idle", .. } if session == "s")
            );
        }
        assert_eq!(
            read(
                r#"{"jsonrpc":"2.0","method":"session.lifecycle","params":{"type":"session.created","sessionId":"s"}}"#
            ),
            UpstreamMessage::Lifecycle { session: "s".into(), kind: "session.created" }
        );
        // What a strict reader would refuse, and with it the link for all sessions on it.
        let lone = r#"{"jsonrpc":"2.0","method":"session.lifecycle","params":{"metadata":{"summary":"\ud83d"},"type":"session.updated","sessionId":"s"}}"#;
        assert_eq!(
            read(lone),
            UpstreamMessage::Lifecycle { session: "s".into(), kind: "session.updated" }
        );
        let nest = "[".repeat(200) + &"]".repeat(200);
        let deep = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"hooks.invoke","params":{{"a":{nest}}}}}"#
        );
        let deep = read_upstream(deep.as_bytes());
        assert!(matches!(deep, Some(UpstreamMessage::Request { method: "hooks.invoke", .. })));
        assert_eq!(read_upstream(b"{}"), None);
        assert_eq!(read_upstream(b"[1]"), None);
    }

    #[test]
    fn a_quotation_is_no_statement() {
        let says = |code: &str, message: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":{code},"message":"{message}"}}}}"#)
        };
        assert!(says_shutting_down(says("-32000", "SERVER_SHUTTING_DOWN").as_bytes()));
        assert!(!says_shutting_down(
            says("-32601", "Unhandled method session.SERVER_SHUTTING_DOWN").as_bytes()
        ));
        let absent = says(
            "-32603",
            "Request session.send failed with message: Session not found for sessionId: a-1",
        );
        assert!(says_not_found(absent.as_bytes(), "a-1"));
        assert!(!says_not_found(absent.as_bytes(), "1"));
        let quoted = says("-32603", "HTTP 404: Session not found");
        assert!(!says_not_found(quoted.as_bytes(), "a-1"));
        assert!(says_no_success(br#"{"id":1,"result":{"success":false}}"#));
        assert!(!says_no_success(
            br#"{"id":1,"result":{"text":"\"success\":false","success":true}}"#
        ));
    }

    #[test]
    fn a_path_leads_to_a_text() {
        let body = br#"{"event":{"data":{"requestId":"r-1"}}}"#;
        assert_eq!(text_in(body, 9, &["data", "requestId"]).unwrap(), "r-1");
        assert_eq!(text_in(body, 9, &["data", "none"]), None);
    }

    proptest! {
        #[test]
        fn bytes_never_make_a_reader_panic(body in prop::collection::vec(prop_oneof![
            Just(b'{'), Just(b'}'), Just(b'"'), Just(b':'), Just(b','), Just(b'i'), Just(b'd'), Just(b'1'), Just(b'\\'), any::<u8>()], 0..80)) {
            let _ = read_client(&body);
            let _ = read_upstream(&body);
            let _ = peek_id(&body);
        }
    }
}
