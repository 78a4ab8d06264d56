//! What a request must be before anybody acts on it: bytes that can be read in one way only (RFC 9110, 9112, 9113).
//!
//! [`head`] looks at the raw bytes of an HTTP/1 request's head, before any parser has smoothed them; [`chunks`] at the
//! framing of a chunked body as it passes; [`fields`] at what HTTP/2 has decoded. Pure: knows no socket, repairs nothing,
//! and quotes nothing of what it refuses.

pub mod chunks;
pub mod fields;
pub mod head;

/// Why a request goes nowhere. Each is answered by its status, and the conn is closed, because nobody knows where the
/// next request begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// A line that does not end in CR LF, or a CR or LF within one.
    Line,
    /// The request line is not `method SP target SP HTTP/1.x`.
    RequestLine,
    /// A version that is not spoken here.
    Version,
    /// A method that is not passed: CONNECT, TRACE.
    Method,
    /// The target is of no form that its method takes, or has characters that some would read otherwise.
    Target,
    /// The target is longer than the bound.
    TargetTooLong,
    /// The head is longer than the bound, or has too many fields.
    TooLarge,
    /// A field name that is no token, is followed by white space, or has an underscore.
    Name,
    /// A field value with control characters.
    Value,
    /// A field that goes on in the next line.
    Fold,
    /// No Host, several, or one that names no host.
    Host,
    /// The target names another host than Host.
    Authority,
    /// Content-Length is no number, or there is more than one.
    ContentLength,
    /// A transfer coding that is not `chunked` alone.
    TransferEncoding,
    /// Both Content-Length and Transfer-Encoding.
    TwoLengths,
    /// A Connection field that names what a request cannot do without.
    Connection,
    /// An expectation that is not `100-continue`.
    Expectation,
    /// More than one Authorization field: which of them counts, each reader decides for itself.
    Authorization,
    /// A chunk's size or its line.
    ChunkSize,
    /// A chunk does not end where its size says.
    ChunkEnd,
    /// The fields after the last chunk.
    Trailer,
    /// A field that belongs to HTTP/1 connections, in HTTP/2.
    Hop,
}

impl Flaw {
    /// Every flaw.
    pub const ALL: [Flaw; 22] = [
        Flaw::Line,
        Flaw::RequestLine,
        Flaw::Version,
        Flaw::Method,
        Flaw::Target,
        Flaw::TargetTooLong,
        Flaw::TooLarge,
        Flaw::Name,
        Flaw::Value,
        Flaw::Fold,
        Flaw::Host,
        Flaw::Authority,
        Flaw::ContentLength,
        Flaw::TransferEncoding,
        Flaw::TwoLengths,
        Flaw::Connection,
        Flaw::Expectation,
        Flaw::Authorization,
        Flaw::ChunkSize,
        Flaw::ChunkEnd,
        Flaw::Trailer,
        Flaw::Hop,
    ];

    /// The word for logs and metrics.
    pub const fn slug(self) -> &'static str {
        match self {
            Flaw::Line => "line",
            Flaw::RequestLine => "request_line",
            Flaw::Version => "version",
            Flaw::Method => "method",
            Flaw::Target => "target",
            Flaw::TargetTooLong => "target_too_long",
            Flaw::TooLarge => "head_too_large",
            Flaw::Name => "field_name",
            Flaw::Value => "field_value",
            Flaw::Fold => "field_fold",
            Flaw::Host => "host",
            Flaw::Authority => "authority",
            Flaw::ContentLength => "content_length",
            Flaw::TransferEncoding => "transfer_encoding",
            Flaw::TwoLengths => "two_lengths",
            Flaw::Connection => "connection",
            Flaw::Expectation => "expectation",
            Flaw::Authorization => "authorization",
            Flaw::ChunkSize => "chunk_size",
            Flaw::ChunkEnd => "chunk_end",
            Flaw::Trailer => "trailer",
            Flaw::Hop => "hop_by_hop",
        }
    }

    /// The status that answers it.
    pub const fn status(self) -> u16 {
        match self {
            Flaw::Method => 405,
            Flaw::TargetTooLong => 414,
            Flaw::Expectation => 417,
            Flaw::TooLarge => 431,
            Flaw::Version => 505,
            Flaw::Line
            | Flaw::RequestLine
            | Flaw::Target
            | Flaw::Name
            | Flaw::Value
            | Flaw::Fold
            | Flaw::Host
            | Flaw::Authority
            | Flaw::ContentLength
            | Flaw::TransferEncoding
            | Flaw::TwoLengths
            | Flaw::Connection
            | Flaw::Authorization
            | Flaw::ChunkSize
            | Flaw::ChunkEnd
            | Flaw::Trailer
            | Flaw::Hop => 400,
        }
    }

    /// A sentence for the client.
    pub const fn detail(self) -> &'static str {
        match self {
            Flaw::Line => "a line of the head does not end in CR LF",
            Flaw::RequestLine => "the request line is malformed",
            Flaw::Version => "this version of HTTP is not spoken here",
            Flaw::Method => "this method is not passed on",
            Flaw::Target => "the request target is malformed or ambiguous",
            Flaw::TargetTooLong => "the request target is too long",
            Flaw::TooLarge => "the head of the request is too large",
            Flaw::Name => "a field name is malformed or has an underscore",
            Flaw::Value => "a field value has control characters",
            Flaw::Fold => "a field goes on in the next line",
            Flaw::Host => "Host is missing, malformed or there more than once",
            Flaw::Authority => "the request target and Host name two hosts",
            Flaw::ContentLength => "Content-Length is malformed or there more than once",
            Flaw::TransferEncoding => "the only transfer coding that is taken is chunked, once",
            Flaw::TwoLengths => "Content-Length and Transfer-Encoding exclude each other",
            Flaw::Connection => "Connection is malformed or names what it must not",
            Flaw::Expectation => "the only expectation that is met is 100-continue",
            Flaw::Authorization => "Authorization is there more than once",
            Flaw::ChunkSize => "the size of a chunk is malformed",
            Flaw::ChunkEnd => "a chunk does not end where its size says",
            Flaw::Trailer => "the fields after the last chunk are malformed",
            Flaw::Hop => "a field of HTTP/1 connections has no place in HTTP/2",
        }
    }
}

impl std::fmt::Display for Flaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.detail())
    }
}

impl std::error::Error for Flaw {}

/// How large the head of a request may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of the head, with its last empty line.
    pub head: usize,
    /// Bytes of the request target.
    pub target: usize,
    /// Fields.
    pub fields: usize,
}

/// Whether it may stand in a token (RFC 9110, 5.6.2).
pub const fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Whether it may stand in a field name here: a token without underscores, because many backends take `_` and `-` for one.
const fn is_name(byte: u8) -> bool {
    is_tchar(byte) && byte != b'_'
}

/// Whether it may stand in a field value: no control character but the tab.
const fn is_value(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7F)
}

/// Whether a text is the name of a field.
pub(super) fn names_field(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| is_name(*byte))
}

/// Whether a text is the value of a field.
pub(super) fn is_field_value(value: &[u8]) -> bool {
    value.iter().all(|byte| is_value(*byte))
}

/// A number without sign, in decimal digits alone; `None`: it is none, or larger than any body.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    const MOST: usize = 18;
    if text.is_empty() || text.len() > MOST {
        return None;
    }
    text.iter().try_fold(0u64, |sum, digit| {
        digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0'))
    })
}

/// Whether it names a host, perhaps with a port (RFC 3986, 3.2.2), as one would write it: no user, no empty name.
pub(super) fn is_authority(text: &[u8]) -> bool {
    let (host, port) = match text.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = memchr::memchr(b']', rest) else { return false };
            let (inner, port) = rest.split_at(end);
            let address = std::str::from_utf8(inner).ok();
            if address.is_none_or(|text| text.parse::<std::net::Ipv6Addr>().is_err()) {
                return false;
            }
            (&b"6"[..], port.get(1..).unwrap_or_default())
        }
        None => text.split_at(memchr::memchr(b':', text).unwrap_or(text.len())),
    };
    let named =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let port = match port.strip_prefix(b":") {
        Some(digits) => digits.len() <= 5 && number(digits).is_some_and(|port| port <= 65_535),
        None => port.is_empty(),
    };
    !host.is_empty() && host.len() <= 255 && host.iter().all(named) && port
}

/// Whether a request target can be read in one way only: printable ASCII, without what some take for a slash, an end or a
/// quote.
pub(super) fn is_target(text: &[u8]) -> bool {
    let taken =
        |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'#' | b'"' | b'<' | b'>');
    !text.is_empty() && text.iter().all(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flaws_are_told_apart() {
        let slugs: std::collections::BTreeSet<_> = Flaw::ALL.iter().map(|f| f.slug()).collect();
        let details: std::collections::BTreeSet<_> = Flaw::ALL.iter().map(|f| f.detail()).collect();
        assert_eq!((slugs.len(), details.len()), (Flaw::ALL.len(), Flaw::ALL.len()));
        assert!(Flaw::ALL.iter().all(|f| (400..600).contains(&f.status())));
    }

    #[test]
    fn a_number_is_digits_and_nothing_else() {
        assert_eq!(number(b"0"), Some(0));
        assert_eq!(number(b"0042"), Some(42));
        for wrong in [&b""[..], b"+1", b"-1", b" 1", b"1 ", b"0x1", b"1,1", b"1234567890123456789"]
        {
            assert_eq!(number(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn an_authority_is_a_host_and_perhaps_a_port() {
        for right in ["a", "a.b:80", "127.0.0.1", "[::1]", "[2001:db8::1]:8080", "a_b", "x:0"] {
            assert!(is_authority(right.as_bytes()), "{right}");
        }
        for wrong in [
            "", ":80", "a:b", "a:80:80", "u@a", "a b", "a/b", "[::1", "[a]", "a:65536", "[::1]x",
            "a,b", "a:", "a\\b", "a?b", "a:+80",
        ] {
            assert!(!is_authority(wrong.as_bytes()), "{wrong}");
        }
    }
}
