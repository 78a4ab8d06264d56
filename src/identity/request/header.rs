//! A name in a header field. Fields that a client repeats with other words name nobody.

use http::{HeaderMap, HeaderName};

/// The value of the field, without white space around it.
pub fn find<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.any(|other| other != first) {
        return None;
    }
    std::str::from_utf8(first.as_bytes()).ok().map(str::trim_ascii)
}
