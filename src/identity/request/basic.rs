//! The user of `Authorization: Basic` (RFC 7617). Never looks at the password.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};

/// The user; of several fields that differ there is none.
pub fn find(headers: &HeaderMap) -> Option<String> {
    let text = super::header::find(headers, &header::AUTHORIZATION)?;
    let (scheme, credentials) = text.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(credentials.trim_ascii()).ok()?;
    let user = decoded.split(|byte| *byte == b':').next().filter(|u| u.len() < decoded.len())?;
    String::from_utf8(user.to_vec()).ok()
}
