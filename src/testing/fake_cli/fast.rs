//! The hot path of a load target: reads a plain request without building a tree.
//!
//! It takes only what it is sure of (flat, no escapes, no key twice); all else goes the slow way.

/// A plain request for one session.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plain<'a> {
    /// The id as it stands in the body, quotes included.
    pub(super) id: &'a str,
    pub(super) method: &'a str,
    pub(super) session: &'a str,
}

/// Reads `{"jsonrpc":"2.0","id":..,"method":"..","params":{"sessionId":".."}}` in any key order; a text `pad` may
/// follow the session.
pub(super) fn read(body: &[u8]) -> Option<Plain<'_>> {
    let mut at = Cursor { rest: std::str::from_utf8(body).ok()? };
    let (mut version, mut id, mut method, mut session) = (None, None, None, None);
    at.take('{')?;
    loop {
        let key = at.string()?;
        at.take(':')?;
        match key {
            "jsonrpc" if version.is_none() => version = Some(at.string()?),
            "id" if id.is_none() => id = Some(at.scalar()?),
            "method" if method.is_none() => method = Some(at.string()?),
            "params" if session.is_none() => {
                at.take('{')?;
                session = Some(at.session()?);
            }
            _ => return None,
        }
        if at.take(',').is_none() {
            break;
        }
    }
    at.take('}')?;
    if !at.rest.is_empty() || version? != "2.0" {
        return None;
    }
    Some(Plain { id: id?, method: method?, session: session? })
}

struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, c: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(c)?;
        Some(())
    }

    fn string(&mut self) -> Option<&'a str> {
        let rest = self.rest.strip_prefix('"')?;
        let (text, rest) = rest.split_at(memchr::memchr(b'"', rest.as_bytes())?);
        if text.bytes().fold(false, |bad, b| bad | (b == b'\\') | (b < 0x20)) {
            return None;
        }
        self.rest = rest.get(1..)?;
        Some(text)
    }

    /// The rest of an object that holds `sessionId`, and at most a text `pad` after it.
    fn session(&mut self) -> Option<&'a str> {
        if self.string()? != "sessionId" {
            return None;
        }
        self.take(':')?;
        let session = self.string()?;
        if self.take(',').is_some() {
            if self.string()? != "pad" {
                return None;
            }
            self.take(':')?;
            self.string()?;
        }
        self.take('}')?;
        Some(session)
    }

    /// A string with its quotes, or up to 15 digits.
    fn scalar(&mut self) -> Option<&'a str> {
        let whole = self.rest;
        let length = if whole.starts_with('"') {
            self.string()?.len() + 2
        } else {
            whole.bytes().take_while(u8::is_ascii_digit).count()
        };
        let (text, rest) = whole.split_at_checked(length)?;
        let leading_zero = text.len() > 1 && text.starts_with('0');
        if text.is_empty() || leading_zero || (!text.starts_with('"') && text.len() > 15) {
            return None;
        }
        self.rest = rest;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_requests_are_read_in_any_key_order() {
        let want = Plain { id: "7", method: "session.mode.get", session: "s1" };
        for text in [
            r#"{"jsonrpc":"2.0","id":7,"method":"session.mode.get","params":{"sessionId":"s1"}}"#,
            r#"{"params":{"sessionId":"s1"},"method":"session.mode.get","id":7,"jsonrpc":"2.0"}"#,
            r#"{"jsonrpc":"2.0","id":7,"method":"session.mode.get","params":{"sessionId":"s1","pad":"x"}}"#,
        ] {
            assert_eq!(read(text.as_bytes()), Some(Plain { ..want }), "{text}");
        }
        let text = r#"{"jsonrpc":"2.0","id":"a","method":"m","params":{"sessionId":"s"}}"#;
        assert_eq!(read(text.as_bytes()).map(|plain| plain.id), Some("\"a\""));
    }

    #[test]
    fn whatever_is_not_plain_goes_the_slow_way() {
        for text in [
            r#"{"jsonrpc":"2.0","id":7,"id":8,"method":"m","params":{"sessionId":"s"}}"#,
            r#"{"jsonrpc":"2.0","id":7.5,"method":"m","params":{"sessionId":"s"}}"#,
            r#"{"jsonrpc":"2.0","id":07,"method":"m","params":{"sessionId":"s"}}"#,
            r#"{"jsonrpc":"2.0","id":7,"method":"m\u0065","params":{"sessionId":"s"}}"#,
            r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"sessionId":"s","x":1}}"#,
            r#"{"jsonrpc":"2.0","method":"m","params":{"sessionId":"s"}}"#,
            r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"sessionId":"s"}}x"#,
            r#"{"jsonrpc":"2.0","id":,"method":"m","params":{"sessionId":"s"}}"#,
        ] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
    }
}
