//! Content-Length framing and JSON-RPC shapes, as a CLI server takes them: forgiving where it is,
//! with its own words where it is not. Never used by the product.

use bytes::{Buf as _, Bytes, BytesMut};
use serde_json::Value;

/// The longest header block that is taken, in bytes.
pub const MAX_HEADER: usize = 65_536;

/// One piece cut from a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// The body of a frame.
    Body(Bytes),
    /// A header that cannot be read; the text is what the CLI says before it closes.
    BadHeader(String),
}

/// Cuts a byte stream into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buf: BytesMut,
    /// The body length, once the header was read.
    want: Option<usize>,
}

impl Decoder {
    /// Where the next bytes read from the socket go.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buf
    }

    /// Whether a frame has begun that is not complete.
    pub fn is_mid_frame(&self) -> bool {
        self.want.is_some() || !self.buf.is_empty()
    }

    /// The next whole frame, or a header that cannot be read; `None` until more bytes are there.
    pub fn next_piece(&mut self) -> Option<Piece> {
        let want = match self.want {
            Some(want) => want,
            None => match self.read_header()? {
                Ok(want) => want,
                Err(text) => return Some(Piece::BadHeader(text)),
            },
        };
        if self.buf.len() < want {
            self.want = Some(want);
            return None;
        }
        self.want = None;
        Some(Piece::Body(self.buf.split_to(want).freeze()))
    }

    fn read_header(&mut self) -> Option<Result<usize, String>> {
        let Some(end) = memchr::memmem::find(&self.buf, b"\r\n\r\n") else {
            let buffered = self.buf.len();
            return (buffered > MAX_HEADER).then(|| {
                Err(format!(
                    "Message header exceeds maximum length {MAX_HEADER} (buffered {buffered})"
                ))
            });
        };
        let block = self.buf.split_to(end);
        self.buf.advance(4);
        Some(content_length(&String::from_utf8_lossy(&block)))
    }
}

fn content_length(block: &str) -> Result<usize, String> {
    let mut found = None;
    for line in block.split("\r\n") {
        let Some((key, value)) = line.split_once(':') else {
            return Err("Message header must separate key and value using ':'".to_owned());
        };
        if key.eq_ignore_ascii_case("content-length") {
            found = Some(value.trim());
        }
    }
    let Some(value) = found.filter(|value| !value.is_empty()) else {
        return Err("Header must provide a Content-Length property.".to_owned());
    };
    let digits: String =
        value.trim_start_matches('+').chars().take_while(char::is_ascii_digit).collect();
    digits.parse().map_err(|_| format!("Content-Length value must be a number. Got {value}"))
}

/// Appends one frame with the one header that a CLI writes.
pub fn push_frame(out: &mut Vec<u8>, body: &[u8]) {
    let mut length = itoa::Buffer::new();
    out.extend_from_slice(b"Content-Length: ");
    out.extend_from_slice(length.format(body.len()).as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

/// One frame, header and body.
pub fn frame(body: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 32);
    push_frame(&mut out, body.as_bytes());
    out
}

/// An error member, on either side.
#[derive(Debug, Clone, PartialEq)]
pub struct RpcError {
    /// The JSON-RPC code.
    pub code: i64,
    /// The sentence for people.
    pub message: String,
    /// `error.data`, or null.
    pub data: Value,
}

impl RpcError {
    /// An error without data.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        RpcError { code, message: message.into(), data: Value::Null }
    }

    /// The JSON text of the member, in the CLI's field order.
    pub fn to_json(&self) -> String {
        let message = Value::from(self.message.as_str());
        if self.data.is_null() {
            format!(r#"{{"code":{},"message":{message}}}"#, self.code)
        } else {
            format!(r#"{{"code":{},"message":{message},"data":{}}}"#, self.code, self.data)
        }
    }
}

impl std::fmt::Display for RpcError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} {}", self.code, self.message)
    }
}

impl std::error::Error for RpcError {}

/// What a body turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// Wants an answer with this id (a string or an integer).
    Request {
        /// As sent, with its type.
        id: Value,
        /// The method's name.
        method: String,
        /// Null where there were none.
        params: Value,
    },
    /// Wants none.
    Notification {
        /// The method's name.
        method: String,
        /// Null where there were none.
        params: Value,
    },
    /// Answers a request of the other side.
    Response {
        /// As sent, with its type.
        id: Value,
        /// The result or error member.
        outcome: Result<Value, Value>,
    },
}

const UNKNOWN: &str = "not a recognizable JSON-RPC request, notification, or response";

/// Reads a body as the CLI does: duplicate keys: the last wins; no batches; ids are strings or 64-bit
/// integers.
///
/// # Errors
/// What the CLI answers, with `id: null`, to a body that it cannot read.
pub fn read(body: &[u8]) -> Result<Message, RpcError> {
    let value: Value =
        serde_json::from_slice(body).map_err(|error| RpcError::new(-32700, error.to_string()))?;
    let Value::Object(mut map) = value else { return Err(RpcError::new(-32600, UNKNOWN)) };
    let id = map.remove("id");
    let method = match map.remove("method") {
        Some(Value::String(method)) => Some(method),
        _ => None,
    };
    let answered = map.contains_key("result") || map.contains_key("error");
    let recognised = match (&id, &method) {
        (None | Some(Value::Number(_) | Value::String(_)), Some(_)) => true,
        (Some(_), None) => answered,
        _ => false,
    };
    if !recognised {
        return Err(RpcError::new(-32600, UNKNOWN));
    }
    check_version(map.get("jsonrpc"))?;
    let params = map.remove("params").unwrap_or(Value::Null);
    match (id, method) {
        (None, Some(method)) => Ok(Message::Notification { method, params }),
        (Some(id), Some(method)) => {
            if id.is_number() && !id.is_i64() {
                let text = "data did not match any variant of untagged enum RequestId";
                return Err(RpcError::new(-32600, text));
            }
            Ok(Message::Request { id, method, params })
        }
        (id, None) => {
            let outcome = match map.remove("error") {
                Some(error) => Err(error),
                None => Ok(map.remove("result").unwrap_or(Value::Null)),
            };
            Ok(Message::Response { id: id.unwrap_or(Value::Null), outcome })
        }
    }
}

fn check_version(version: Option<&Value>) -> Result<(), RpcError> {
    match version {
        Some(Value::String(two)) if two == "2.0" => Ok(()),
        None => Err(RpcError::new(-32600, "missing field `jsonrpc`")),
        Some(other) => Err(RpcError::new(
            -32600,
            format!("unsupported jsonrpc version: expected \"2.0\", got {other}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(bytes: &[u8]) -> Vec<Piece> {
        let mut decoder = Decoder::default();
        decoder.buffer().extend_from_slice(bytes);
        std::iter::from_fn(|| decoder.next_piece()).take(4).collect()
    }

    fn body(text: &'static str) -> Piece {
        Piece::Body(Bytes::from_static(text.as_bytes()))
    }

    fn bad(text: &str) -> Vec<Piece> {
        cut(format!("{text}\r\n\r\n{{}}").as_bytes()).into_iter().take(1).collect()
    }

    #[test]
    fn what_was_framed_is_cut_again_however_it_arrives() {
        let mut bytes = frame("{\"a\":1}");
        bytes.extend(frame(""));
        bytes.extend(frame("xyz"));
        assert_eq!(cut(&bytes), [body("{\"a\":1}"), body(""), body("xyz")]);
        let mut decoder = Decoder::default();
        let mut got = Vec::new();
        for byte in bytes {
            decoder.buffer().extend_from_slice(&[byte]);
            got.extend(decoder.next_piece());
        }
        assert_eq!(got.len(), 3);
        assert!(!decoder.is_mid_frame());
    }

    #[test]
    fn a_length_is_its_leading_digits_and_the_last_one_wins() {
        for header in [
            "content-length:2",
            "Content-Length: 2  ",
            "Content-Length: +2",
            "Content-Length: 2, 7",
        ] {
            assert_eq!(bad(header), [body("{}")], "{header}");
        }
        assert_eq!(bad("Content-Length: 9\r\nX: 1\r\nContent-Length: 0x2"), [body("")]);
    }

    #[test]
    fn an_unreadable_header_has_the_words_of_the_cli() {
        for (header, text) in [
            ("X: 1", "Header must provide a Content-Length property."),
            ("Content-Length : 2", "Header must provide a Content-Length property."),
            ("Content-Length:", "Header must provide a Content-Length property."),
            ("Content-Length: -4", "Content-Length value must be a number. Got -4"),
            ("GET / HTTP/1.1", "Message header must separate key and value using ':'"),
        ] {
            assert_eq!(bad(header), [Piece::BadHeader(text.to_owned())]);
        }
    }

    #[test]
    fn a_header_without_end_is_refused_past_its_bound() {
        assert_eq!(cut(&[b'a'; MAX_HEADER]), []);
        assert!(matches!(cut(&[b'a'; MAX_HEADER + 1]).first(), Some(Piece::BadHeader(_))));
    }

    #[test]
    fn an_id_is_a_string_or_a_64_bit_integer() {
        for (id, taken) in [
            ("\"\"", true),
            ("-3", true),
            ("9007199254740993", true),
            ("9223372036854775808", false),
            ("1.5", false),
            ("1.0", false),
            ("null", false),
            ("true", false),
        ] {
            let got = read(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#).as_bytes());
            assert_eq!(got.is_ok(), taken, "{id}: {got:?}");
        }
    }

    #[test]
    fn the_last_of_two_keys_wins_and_a_method_outranks_a_result() {
        let got = read(br#"{"jsonrpc":"2.0","id":1,"method":"a","m\u0065thod":"b","result":1}"#);
        let want = Message::Request { id: 1.into(), method: "b".to_owned(), params: Value::Null };
        assert_eq!(got, Ok(want));
    }
}
