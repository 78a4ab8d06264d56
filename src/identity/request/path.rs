//! A name in a segment of a path (RFC 3986, section 3.3).

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Segment `number`, counted from 1: in `/v1/users/alice` the third is `alice`.
pub fn find(path: &str, number: usize) -> Option<Cow<'_, str>> {
    let segment = path.strip_prefix('/')?.split('/').nth(number.checked_sub(1)?)?;
    percent_decode_str(segment).decode_utf8().ok()
}
