//! Which path a request is for, as far as routes care: what is decoded once, and refused where a backend could read more
//! than one path in it.
//!
//! The path goes on as it came. A route is found by what it means ([`meaning`]): dots are resolved by nobody here, because whoever
//! resolved them would have to be sure that the backend does so in the same way. So a path with `.` or `..` in it, with
//! an empty segment or an encoded slash, backslash, dot, semicolon or NUL, is refused where a listener has routes by path.

use std::borrow::Cow;

/// Whether all who read this path (without its query) read the same: no dot segments, no empty ones but the last, and
/// nothing encoded that would make them.
pub fn is_plain(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else { return path == "*" };
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        // `;` begins parameters for some: `/..;/` is `/../` to them.
        let name = segment.split(';').next().unwrap_or_default();
        if matches!(name, "." | "..") || (name.is_empty() && !(segment.is_empty() && is_last)) {
            return false;
        }
    }
    encoded(path).all(|byte| !matches!(byte, Some(b'/' | b'\\' | b'.' | b'%' | b';' | 0) | None))
}

/// A plain path as its readers understand it: decoded, and without the parameters of its segments, which many strip before
/// they look for what a path names (RFC 3986, 3.3). Not for sending on.
pub fn meaning(path: &str) -> Cow<'_, [u8]> {
    if !path.contains(['%', ';']) {
        return Cow::Borrowed(path.as_bytes());
    }
    let segments = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
    let mut meant = Vec::with_capacity(path.len());
    for (number, segment) in segments.enumerate() {
        if number > 0 {
            meant.push(b'/');
        }
        meant.extend(percent_encoding::percent_decode_str(segment));
    }
    Cow::Owned(meant)
}

/// What is percent-encoded; `None`: a `%` that encodes nothing.
fn encoded(path: &str) -> impl Iterator<Item = Option<u8>> {
    path.split('%').skip(1).map(|after| {
        let digits = after.get(..2).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
        u8::from_str_radix(digits, 16).ok()
    })
}

/// The path and the query of a request target of any form.
pub fn split(target: &str) -> (&str, Option<&str>) {
    let origin = match target.find("://").filter(|_| !target.starts_with('/')) {
        // Absolute form: after the authority.
        Some(at) => {
            let rest = target.get(at + 3..).unwrap_or_default();
            rest.find(['/', '?']).and_then(|begin| rest.get(begin..)).unwrap_or("/")
        }
        None => target,
    };
    match origin.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (origin, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_some_read_otherwise_is_not_plain() {
        for plain in
            ["/", "/a", "/a/", "/a.b/..c/...", "/a%20b", "/%41", "*", "/a;b=c", "/.well-known/x"]
        {
            assert!(is_plain(plain), "{plain}");
        }
        for other in [
            "",
            "a",
            "//",
            "//a",
            "/a//b",
            "/./a",
            "/a/.",
            "/..",
            "/v1/../admin",
            "/v1/..;x/admin",
            "/;/admin",
            "/admin%3bx",
            "/v1/..%3B/admin",
            "/;x",
            "/%2e%2e/a",
            "/.%2E/a",
            "/v1%2fadmin",
            "/v1%5Cadmin",
            "/a%00",
            "/%",
            "/%4",
            "/%zz",
            "/%252e",
            "/a%",
        ] {
            assert!(!is_plain(other), "{other}");
        }
    }

    #[test]
    fn a_path_means_what_it_says_decoded_and_without_parameters() {
        for (path, meant) in [
            ("/admin/x", "/admin/x"),
            ("/%61dmin", "/admin"),
            ("/adm%69n/", "/admin/"),
            ("/admin;a=b/x;c", "/admin/x"),
            ("/a%20b", "/a b"),
            ("/", "/"),
        ] {
            assert_eq!(*meaning(path), *meant.as_bytes(), "{path}");
        }
        assert_eq!(*meaning("/%ff"), *b"/\xff");
    }

    #[test]
    fn the_path_of_any_form_of_target_is_found() {
        assert_eq!(split("/a?b=c?d"), ("/a", Some("b=c?d")));
        assert_eq!(split("/a"), ("/a", None));
        assert_eq!(split("http://h/a?b"), ("/a", Some("b")));
        assert_eq!(split("http://h"), ("/", None));
        assert_eq!(split("/x://y"), ("/x://y", None));
        assert_eq!(split("/?u=http://h/"), ("/", Some("u=http://h/")));
        assert_eq!(split("*"), ("*", None));
        assert_eq!(split("http://h?q=1"), ("?q=1".split_once('?').unwrap().0, Some("q=1")));
    }
}
