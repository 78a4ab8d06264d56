//! A name in a cookie (RFC 6265, section 4.2). Takes no cookie that is there twice with other words.

use http::{HeaderMap, header};

/// The value of the cookie, without the quotes that may stand around it.
pub fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut all = all(headers).filter(|(found, _)| *found == name).map(|(_, value)| value);
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}

/// Each cookie with its value. What is no cookie is passed over.
pub fn all(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let fields = headers.get_all(header::COOKIE).iter();
    let fields = fields.filter_map(|field| std::str::from_utf8(field.as_bytes()).ok());
    fields.flat_map(|field| field.split(';')).filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = value.trim_ascii();
        let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        Some((name.trim_ascii(), bare.unwrap_or(value)))
    })
}
