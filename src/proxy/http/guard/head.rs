//! The head of an HTTP/1 request, byte by byte, as it came. Says how long the body is; never touches a byte.

use memchr::memchr;

use super::{Bounds, Flaw, is_authority, is_field_value, is_target, is_tchar, names_field, number};

/// The longest method that is looked at, in bytes.
const MAX_METHOD: usize = 32;

/// Where the body of a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// After so many bytes.
    Bytes(u64),
    /// After its last chunk.
    Chunked,
}

/// What has been seen of the fields that frame a request, or say whom it is for and from.
#[derive(Default)]
struct Seen<'a> {
    host: Option<&'a [u8]>,
    length: Option<u64>,
    chunked: bool,
    authorized: bool,
}

/// Checks a whole head, from its first byte to its empty line. Returns how long the body is.
pub fn check(head: &[u8], bounds: &Bounds) -> Result<Length, Flaw> {
    if head.len() > bounds.head {
        return Err(Flaw::TooLarge);
    }
    let (line, mut rest) = next_line(head)?;
    let (method, target, minor) = request_line(line)?;
    let named = check_target(method, target, bounds)?;
    let mut seen = Seen::default();
    let mut fields = 0;
    loop {
        let (line, after) = next_line(rest)?;
        rest = after;
        if line.is_empty() {
            break;
        }
        fields += 1;
        if fields > bounds.fields {
            return Err(Flaw::TooLarge);
        }
        seen.field(line)?;
    }
    if !rest.is_empty() {
        return Err(Flaw::Line);
    }
    seen.judge(named, minor)
}

/// A line and what follows it. A line ends in CR LF, and has neither of them elsewhere.
fn next_line(bytes: &[u8]) -> Result<(&[u8], &[u8]), Flaw> {
    let end = memchr(b'\n', bytes).ok_or(Flaw::Line)?;
    let (line, rest) = bytes.split_at(end);
    let line = line.strip_suffix(b"\r").ok_or(Flaw::Line)?;
    if memchr(b'\r', line).is_some() {
        return Err(Flaw::Line);
    }
    Ok((line, rest.get(1..).unwrap_or_default()))
}

/// Method, target and minor version.
fn request_line(line: &[u8]) -> Result<(&[u8], &[u8], u8), Flaw> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Flaw::RequestLine);
    };
    if method.is_empty() || method.len() > MAX_METHOD || !method.iter().all(|b| is_tchar(*b)) {
        return Err(Flaw::RequestLine);
    }
    let minor = match version {
        b"HTTP/1.1" => 1,
        b"HTTP/1.0" => 0,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(Flaw::Version);
        }
        _ => return Err(Flaw::RequestLine),
    };
    Ok((method, target, minor))
}

/// The host that the target names, if it does.
fn check_target<'a>(
    method: &[u8],
    target: &'a [u8],
    bounds: &Bounds,
) -> Result<Option<&'a [u8]>, Flaw> {
    if matches!(method, b"CONNECT" | b"TRACE") {
        return Err(Flaw::Method);
    }
    if target.len() > bounds.target {
        return Err(Flaw::TargetTooLong);
    }
    if !is_target(target) {
        return Err(Flaw::Target);
    }
    if target == b"*" {
        return if method == b"OPTIONS" { Ok(None) } else { Err(Flaw::Target) };
    }
    if target.starts_with(b"/") {
        return Ok(None);
    }
    let after = |scheme: &[u8]| {
        let (begin, rest) = target.split_at_checked(scheme.len())?;
        begin.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let rest = after(b"http://").or_else(|| after(b"https://")).ok_or(Flaw::Target)?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let authority = rest.get(..end).unwrap_or_default();
    if is_authority(authority) { Ok(Some(authority)) } else { Err(Flaw::Target) }
}

impl<'a> Seen<'a> {
    fn field(&mut self, line: &'a [u8]) -> Result<(), Flaw> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(Flaw::Fold);
        }
        let colon = memchr(b':', line).ok_or(Flaw::Name)?;
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default();
        if !names_field(name) {
            return Err(Flaw::Name);
        }
        if !is_field_value(value) {
            return Err(Flaw::Value);
        }
        // By its length first: most fields are none of these.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(trim(value)),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.length(trim(value)),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.coding(trim(value)),
            13 if name.eq_ignore_ascii_case(b"authorization") => self.credentials(),
            10 if name.eq_ignore_ascii_case(b"connection") => connection(value),
            6 if name.eq_ignore_ascii_case(b"expect") => {
                let known = trim(value).eq_ignore_ascii_case(b"100-continue");
                known.then_some(()).ok_or(Flaw::Expectation)
            }
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: &'a [u8]) -> Result<(), Flaw> {
        if self.host.is_some() || !is_authority(value) {
            return Err(Flaw::Host);
        }
        self.host = Some(value);
        Ok(())
    }

    fn credentials(&mut self) -> Result<(), Flaw> {
        let twice = std::mem::replace(&mut self.authorized, true);
        (!twice).then_some(()).ok_or(Flaw::Authorization)
    }

    fn length(&mut self, value: &[u8]) -> Result<(), Flaw> {
        let length = number(value).filter(|_| self.length.is_none());
        self.length = Some(length.ok_or(Flaw::ContentLength)?);
        Ok(())
    }

    fn coding(&mut self, value: &[u8]) -> Result<(), Flaw> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Flaw::TransferEncoding);
        }
        self.chunked = true;
        Ok(())
    }

    fn judge(self, named: Option<&[u8]>, minor: u8) -> Result<Length, Flaw> {
        match (self.host, named) {
            (None, None) if minor == 0 => {}
            // A target that names one does not stand in for it: who reads only one of the two would go elsewhere.
            (None, _) => return Err(Flaw::Host),
            (Some(host), Some(named)) if !host.eq_ignore_ascii_case(named) => {
                return Err(Flaw::Authority);
            }
            (Some(_), _) => {}
        }
        match (self.length, self.chunked) {
            (Some(_), true) => Err(Flaw::TwoLengths),
            (None, true) if minor == 0 => Err(Flaw::TransferEncoding),
            (None, true) => Ok(Length::Chunked),
            (length, false) => Ok(Length::Bytes(length.unwrap_or(0))),
        }
    }
}

/// What a client cannot ask to have removed on the way: what frames a request, and whom it is for.
const KEPT: [&[u8]; 6] =
    [b"host", b"content-length", b"content-type", b"authorization", b"cookie", b"expect"];

/// The names that a Connection field gives (RFC 9110, 7.6.1).
fn connection(value: &[u8]) -> Result<(), Flaw> {
    for option in value.split(|byte| *byte == b',').map(trim).filter(|option| !option.is_empty()) {
        let is_kept = |kept: &&[u8]| option.eq_ignore_ascii_case(kept);
        if !option.iter().all(|byte| is_tchar(*byte)) || KEPT.iter().any(is_kept) {
            return Err(Flaw::Connection);
        }
    }
    Ok(())
}

/// Without white space around it (RFC 9110, 5.5).
pub(super) fn trim(value: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let begin = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
    let value = value.get(begin..).unwrap_or_default();
    let end = value.iter().rposition(|byte| !blank(byte)).map_or(0, |last| last + 1);
    value.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { head: 4096, target: 256, fields: 20 };

    fn of(head: &str) -> Result<Length, Flaw> {
        check(head.as_bytes(), &BOUNDS)
    }

    /// A request with these lines after `Host`.
    fn with(lines: &str) -> Result<Length, Flaw> {
        of(&format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"))
    }

    fn line(line: &str) -> Result<Length, Flaw> {
        of(&format!("{line}\r\nHost: a\r\n\r\n"))
    }

    #[test]
    fn a_body_is_as_long_as_one_field_says() {
        assert_eq!(with(""), Ok(Length::Bytes(0)));
        assert_eq!(with("Content-Length: 12\r\n"), Ok(Length::Bytes(12)));
        assert_eq!(with("cOnTent-lEngth:\t 12 \t\r\n"), Ok(Length::Bytes(12)));
        assert_eq!(with("Transfer-Encoding: Chunked\r\n"), Ok(Length::Chunked));
    }

    #[test]
    fn two_lengths_are_none() {
        let both = "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n";
        assert_eq!(with(both), Err(Flaw::TwoLengths));
        let both = "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n";
        assert_eq!(with(both), Err(Flaw::TwoLengths));
        for wrong in ["1\r\nContent-Length: 1", "1, 1", "", "+1", "-1", "1 1", "0x10", "1e1", "1;"]
        {
            let flaw = with(&format!("Content-Length: {wrong}\r\n"));
            assert_eq!(flaw, Err(Flaw::ContentLength), "{wrong:?}");
        }
    }

    #[test]
    fn the_only_coding_is_chunked_once() {
        for wrong in [
            "gzip",
            "chunked, chunked",
            "gzip, chunked",
            "chunked;q=1",
            "xchunked",
            "chunked\r\nTransfer-Encoding: chunked",
            "",
            "identity",
            "\u{b}chunked",
            "chunked,",
        ] {
            let flaw = with(&format!("Transfer-Encoding: {wrong}\r\n")).unwrap_err();
            assert!(matches!(flaw, Flaw::TransferEncoding | Flaw::Value), "{wrong:?}: {flaw:?}");
        }
        let old = "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(of(old), Err(Flaw::TransferEncoding));
    }

    #[test]
    fn lines_end_in_cr_lf_and_in_nothing_else() {
        for wrong in [
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r2\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nmore",
            "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
        ] {
            assert_eq!(of(wrong), Err(Flaw::Line), "{wrong:?}");
        }
    }

    #[test]
    fn a_field_is_a_token_a_colon_and_text() {
        for wrong in ["X : 1", "X\t: 1", ": 1", "X", "x_user_id: 1", "X(: 1", "Ü: 1", "X\0: 1"] {
            assert_eq!(with(&format!("{wrong}\r\n")), Err(Flaw::Name), "{wrong:?}");
        }
        for wrong in ["X: a\0b", "X: \u{1}", "X: \u{7f}", "X: a\u{8}"] {
            assert_eq!(with(&format!("{wrong}\r\n")), Err(Flaw::Value), "{wrong:?}");
        }
        for wrong in ["X: 1\r\n y", "X: 1\r\n\ty"] {
            assert_eq!(with(&format!("{wrong}\r\n")), Err(Flaw::Fold), "{wrong:?}");
        }
        assert_eq!(of("GET / HTTP/1.1\r\n Host: a\r\n\r\n"), Err(Flaw::Fold));
        assert!(with("X: \t ü \"q\" \r\nEmpty:\r\n").is_ok());
    }

    #[test]
    fn the_request_line_is_three_words() {
        for wrong in [
            "GET  / HTTP/1.1",
            "GET / HTTP/1.1 ",
            " GET / HTTP/1.1",
            "GET\t/ HTTP/1.1",
            "GET / HTTP/1.1 x",
            "GET /",
            "GET",
            "",
            "G(T / HTTP/1.1",
            "GET / HTTP/1.10",
            "GET / http/1.1",
            "GET / HTTP/11",
            "GET /a b HTTP/1.1",
        ] {
            assert_eq!(line(wrong), Err(Flaw::RequestLine), "{wrong:?}");
        }
        for wrong in ["GET / HTTP/2.0", "GET / HTTP/1.2", "GET / HTTP/0.9"] {
            assert_eq!(line(wrong), Err(Flaw::Version), "{wrong:?}");
        }
    }

    #[test]
    fn a_target_has_the_form_that_its_method_takes() {
        for right in [
            "GET /",
            "GET /a?b=%20",
            "OPTIONS *",
            "GET http://a/x",
            "GET HTTP://A?x",
            "GET https://a",
        ] {
            assert!(line(&format!("{right} HTTP/1.1")).is_ok(), "{right}");
        }
        for wrong in [
            "GET *",
            "GET a",
            "GET ftp://a/",
            "GET http:///x",
            "GET http://u@a/",
            "GET /\\x",
            "GET /#x",
            "GET /\u{7f}",
            "GET /ü",
            "GET a:80",
            "GET http://",
            "GET /\"",
            "GET /<",
        ] {
            assert_eq!(line(&format!("{wrong} HTTP/1.1")), Err(Flaw::Target), "{wrong}");
        }
        for wrong in ["CONNECT a:80", "TRACE /"] {
            assert_eq!(line(&format!("{wrong} HTTP/1.1")), Err(Flaw::Method), "{wrong}");
        }
    }

    #[test]
    fn a_request_is_for_one_host() {
        assert_eq!(of("GET / HTTP/1.1\r\n\r\n"), Err(Flaw::Host));
        assert_eq!(of("GET http://a/ HTTP/1.1\r\n\r\n"), Err(Flaw::Host));
        assert_eq!(of("GET http://a/ HTTP/1.0\r\n\r\n"), Err(Flaw::Host));
        assert!(of("GET / HTTP/1.0\r\n\r\n").is_ok());
        for wrong in ["", "a\r\nHost: a", "a b", "a,b", "u@a", "a/b", "a:x", "[::1", ":80"] {
            let head = format!("GET / HTTP/1.1\r\nHost: {wrong}\r\n\r\n");
            assert_eq!(of(&head), Err(Flaw::Host), "{wrong:?}");
        }
        assert_eq!(line("GET http://b/ HTTP/1.1"), Err(Flaw::Authority));
        assert_eq!(line("GET http://a:80/ HTTP/1.1"), Err(Flaw::Authority));
    }

    #[test]
    fn connection_cannot_take_away_what_counts() {
        assert!(with("Connection: keep-alive, X-Mine ,, te\r\n").is_ok());
        for wrong in ["host", "Content-Length", "x y", "authorization", "Cookie", "a:b", "\"x\""] {
            let flaw = with(&format!("Connection: close, {wrong}\r\n"));
            assert_eq!(flaw, Err(Flaw::Connection), "{wrong}");
        }
    }

    #[test]
    fn a_request_has_the_credentials_of_one() {
        assert!(with("Authorization: Bearer a\r\n").is_ok());
        let two = "Authorization: Bearer a\r\nauthorization: Basic b\r\n";
        assert_eq!(with(two), Err(Flaw::Authorization));
        let same = "Authorization: Bearer a\r\n".repeat(2);
        assert_eq!(with(&same), Err(Flaw::Authorization));
    }

    #[test]
    fn one_expectation_is_met() {
        assert!(with("Expect: 100-Continue\r\n").is_ok());
        assert_eq!(with("Expect: cake\r\n"), Err(Flaw::Expectation));
    }

    #[test]
    fn a_head_has_bounds() {
        let long = "x".repeat(BOUNDS.target);
        assert_eq!(line(&format!("GET /{long} HTTP/1.1")), Err(Flaw::TargetTooLong));
        assert!(line(&format!("GET /{} HTTP/1.1", &long[1..])).is_ok());
        let fits = BOUNDS.fields - 1;
        assert!(with(&"X: 1\r\n".repeat(fits)).is_ok());
        assert_eq!(with(&"X: 1\r\n".repeat(fits + 1)), Err(Flaw::TooLarge));
        let room = BOUNDS.head - "POST / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
        assert!(with(&format!("X: {}\r\n", "x".repeat(room))).is_ok());
        assert_eq!(with(&format!("X: {}\r\n", "x".repeat(room + 1))), Err(Flaw::TooLarge));
    }
}
