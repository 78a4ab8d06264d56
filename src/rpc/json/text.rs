//! What strings say. Never changes a text that has no escapes, and never copies it.

use std::borrow::Cow;

use super::{Scanner, Span, Str};

/// The text of a string: borrowed where nothing is escaped.
pub fn decode<'a>(body: &'a [u8], string: &Str) -> Option<Cow<'a, str>> {
    let inner = std::str::from_utf8(string.inner.of(body)).ok()?;
    if !string.escaped {
        return Some(inner.into());
    }
    let quoted = body.get(string.inner.start.checked_sub(1)?..=string.inner.end)?;
    serde_json::from_slice::<String>(quoted).ok().map(Into::into)
}

/// The string at `value`, if it is one.
pub fn string_at(body: &[u8], value: Span) -> Option<Str> {
    Scanner::at(body, value.start).string().ok()
}

/// The text at `value`, if it is a string.
pub fn text_at(body: &[u8], value: Span) -> Option<Cow<'_, str>> {
    decode(body, &string_at(body, value)?)
}
