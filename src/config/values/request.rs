//! Values that name a part of a request.

use http::HeaderName;
use toml::de::DeValue;

use super::{Read, text};
use crate::identity::request::json::Pointer;

/// The name of a header field (RFC 9110, section 5.1), in lower case.
pub(in crate::config) fn header_name(value: &DeValue<'_>) -> Read<HeaderName> {
    let text = text(value, "the name of a header such as \"x-user-id\"")?;
    let name = HeaderName::from_bytes(text.as_bytes());
    name.map_err(|_| format!("{text:?} is not the name of a header").into())
}

/// The name of a cookie: a token (RFC 6265, section 4.1.1).
pub(in crate::config) fn cookie_name(value: &DeValue<'_>) -> Read<String> {
    let text = text(value, "the name of a cookie such as \"session\"")?;
    // Names of fields are tokens too.
    match HeaderName::from_bytes(text.as_bytes()) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!("{text:?} is not the name of a cookie").into()),
    }
}

/// Where a field of a JSON body is.
pub(in crate::config) fn pointer(value: &DeValue<'_>) -> Read<Pointer> {
    let text = text(value, "a JSON pointer such as \"/params/sessionId\"")?;
    Pointer::new(text).map_err(|why| format!("{text:?}: {why}").into())
}
