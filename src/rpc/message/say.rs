//! What is said in a frame of a CLI, for the few places that need to know.

use std::borrow::Cow;

use crate::rpc::json::{self, Scanner, Span};

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
