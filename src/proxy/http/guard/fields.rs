//! The head of an HTTP/2 request, as its fields were decoded (RFC 9113, 8.2 and 8.3). What the codec has refused already
//! (capitals, pseudo-fields out of place, a length that its frames contradict) is not looked at again.

use http::header::{self, HeaderMap, HeaderName};
use http::{Method, Uri};

use super::{Bounds, Flaw, is_authority, is_target, names_field, number};

/// What frames messages on an HTTP/1 connection, or belongs to it.
const HOPS: [HeaderName; 6] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];

/// Checks the head of a request. `path` is `:path`, as it came. Returns how long the body says it is.
pub fn check(
    method: &Method,
    uri: &Uri,
    path: &[u8],
    headers: &HeaderMap,
    bounds: &Bounds,
) -> Result<Option<u64>, Flaw> {
    if *method == Method::CONNECT || *method == Method::TRACE {
        return Err(Flaw::Method);
    }
    if path.len() > bounds.target {
        return Err(Flaw::TargetTooLong);
    }
    let whole = path == b"*" && *method == Method::OPTIONS;
    if !is_target(path) || !(path.starts_with(b"/") || whole) {
        return Err(Flaw::Target);
    }
    if headers.len() > bounds.fields {
        return Err(Flaw::TooLarge);
    }
    if HOPS.iter().any(|name| headers.contains_key(name)) {
        return Err(Flaw::Hop);
    }
    if headers.get_all(header::TE).iter().any(|value| value.as_bytes() != b"trailers") {
        return Err(Flaw::Hop);
    }
    if headers.keys().any(|name| !names_field(name.as_str().as_bytes())) {
        return Err(Flaw::Name);
    }
    let size = |(name, value): (&HeaderName, &http::HeaderValue)| name.as_str().len() + value.len();
    if headers.iter().map(size).sum::<usize>() + path.len() > bounds.head {
        return Err(Flaw::TooLarge);
    }
    if headers
        .get_all(header::EXPECT)
        .iter()
        .any(|v| !v.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    {
        return Err(Flaw::Expectation);
    }
    if headers.get_all(header::AUTHORIZATION).iter().nth(1).is_some() {
        return Err(Flaw::Authorization);
    }
    host(uri, headers)?;
    length(headers)
}

/// One of `:authority` and Host names a host, or both the same.
fn host(uri: &Uri, headers: &HeaderMap) -> Result<(), Flaw> {
    let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
    let mut hosts = headers.get_all(header::HOST).iter().map(|value| value.as_bytes());
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Flaw::Host);
    }
    match (authority, host) {
        (Some(one), Some(other)) if !one.eq_ignore_ascii_case(other) => Err(Flaw::Authority),
        (Some(name), _) | (None, Some(name)) if is_authority(name) => Ok(()),
        (None | Some(_), _) => Err(Flaw::Host),
    }
}

fn length(headers: &HeaderMap) -> Result<Option<u64>, Flaw> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Ok(None) };
    if lengths.next().is_some() {
        return Err(Flaw::ContentLength);
    }
    number(length.as_bytes()).map(Some).ok_or(Flaw::ContentLength)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const BOUNDS: Bounds = Bounds { head: 1024, target: 64, fields: 5 };

    fn of(method: &str, uri: &str, fields: &[(&str, &str)]) -> Result<Option<u64>, Flaw> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
        check(&parts.method, &parts.uri, path.as_bytes(), &parts.headers, &BOUNDS)
    }

    fn with(name: &str, value: &str) -> Result<Option<u64>, Flaw> {
        of("GET", "http://a/", &[(name, value)])
    }

    #[test]
    fn what_belongs_to_a_connection_has_no_place() {
        for name in [
            "connection",
            "transfer-encoding",
            "upgrade",
            "keep-alive",
            "proxy-connection",
            "http2-settings",
        ] {
            assert_eq!(with(name, "x"), Err(Flaw::Hop), "{name}");
        }
        assert_eq!(with("te", "gzip"), Err(Flaw::Hop));
        assert_eq!(with("te", "trailers"), Ok(None));
    }

    #[test]
    fn names_that_alias_others_are_refused() {
        assert_eq!(with("x_user_id", "al"), Err(Flaw::Name));
        assert_eq!(with("x-user-id", "al"), Ok(None));
    }

    #[test]
    fn a_request_is_for_one_host() {
        assert_eq!(of("GET", "/", &[]), Err(Flaw::Host));
        assert_eq!(of("GET", "/", &[("host", "a")]), Ok(None));
        assert_eq!(with("host", "A"), Ok(None));
        assert_eq!(with("host", "b"), Err(Flaw::Authority));
        assert_eq!(of("GET", "/", &[("host", "a"), ("host", "a")]), Err(Flaw::Host));
        assert_eq!(of("GET", "http://u@a/", &[]), Err(Flaw::Host));
        assert_eq!(of("GET", "/", &[("host", "")]), Err(Flaw::Host));
    }

    #[test]
    fn a_request_has_the_credentials_of_one() {
        assert_eq!(with("authorization", "Bearer a"), Ok(None));
        let two = [("authorization", "Bearer a"), ("authorization", "Bearer a")];
        assert_eq!(of("GET", "http://a/", &two), Err(Flaw::Authorization));
    }

    #[test]
    fn a_length_is_one_number() {
        assert_eq!(with("content-length", "7"), Ok(Some(7)));
        assert_eq!(with("content-length", "+7"), Err(Flaw::ContentLength));
        assert_eq!(with("content-length", "7, 7"), Err(Flaw::ContentLength));
        let twice = [("content-length", "7"), ("content-length", "7")];
        assert_eq!(of("GET", "http://a/", &twice), Err(Flaw::ContentLength));
    }

    #[test]
    fn methods_targets_and_sizes_are_bounded() {
        assert_eq!(of("TRACE", "http://a/", &[]), Err(Flaw::Method));
        assert_eq!(of("CONNECT", "a:80", &[]), Err(Flaw::Method));
        let long = format!("http://a/{}", "x".repeat(BOUNDS.target));
        assert_eq!(of("GET", &long, &[]), Err(Flaw::TargetTooLong));
        assert_eq!(with("x", &"x".repeat(BOUNDS.head)), Err(Flaw::TooLarge));
        let many: Vec<_> = (0..=BOUNDS.fields).map(|_| ("x", "1")).collect();
        assert_eq!(of("GET", "http://a/", &many), Err(Flaw::TooLarge));
        assert_eq!(with("expect", "cake"), Err(Flaw::Expectation));
        let check = |path: &[u8]| {
            check(&Method::GET, &Uri::from_static("http://a/"), path, &HeaderMap::new(), &BOUNDS)
        };
        for path in [&b"x"[..], b"", b"*", b"/a b", b"/a\r\nx", b"/\\a", b"/#", b"/\xff"] {
            assert_eq!(check(path), Err(Flaw::Target), "{}", path.escape_ascii());
        }
    }
}
