//! Finds members of an object by their names. Never judges what their values hold.

use super::{JsonError, Scanner, Span, Str};

/// A member of an object, found by its name among the object's own keys; `None` if it is not there,
/// or if `object` does not span an object. A key with escapes is never found.
pub fn member(body: &[u8], object: Span, name: &str) -> Option<Span> {
    let mut found = None;
    let _ = members(body, object, |key, value| {
        if found.is_none() && !key.escaped && key.inner.of(body) == name.as_bytes() {
            found = Some(value);
        }
    });
    found
}

/// A member with its key, and one comma that goes with it: cut it out, and an object stays behind.
pub fn member_with_comma(body: &[u8], object: Span, name: &str) -> Option<Span> {
    let mut before = object.start + 1;
    let mut found: Option<Span> = None;
    let mut first = true;
    let _ = members(body, object, |key, value| {
        if found.is_none() && !key.escaped && key.inner.of(body) == name.as_bytes() {
            let start = if first { key.inner.start - 1 } else { before };
            found = Some(Span { start, end: value.end });
        }
        before = value.end;
        first = false;
    });
    let mut gone = found?;
    if body.get(gone.start) == Some(&b'"') {
        let mut scan = Scanner::at(body, gone.end);
        scan.space();
        if scan.take(b',') {
            gone.end = scan.pos();
        }
    }
    Some(gone)
}

/// Shows each member of the object at `object` to `each`. Whether the values are right JSON it does not judge.
pub fn members(
    body: &[u8],
    object: Span,
    mut each: impl FnMut(Str, Span),
) -> Result<(), JsonError> {
    let mut scan = Scanner::at(body, object.start);
    scan.expect(b'{')?;
    scan.space();
    if scan.take(b'}') {
        return Ok(());
    }
    loop {
        scan.space();
        let key = scan.key()?;
        let value = scan.skip()?;
        each(key, value);
        scan.space();
        if !scan.take(b',') {
            return scan.expect(b'}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::text_at;
    use super::*;

    #[test]
    fn a_member_is_found_among_the_objects_own_keys_only() {
        let body = br#"{"x":{"id":1},"id":"two"}"#;
        let all = Span { start: 0, end: body.len() };
        let id = member(body, all, "id").unwrap();
        assert_eq!(text_at(body, id).unwrap(), "two");
        assert_eq!(member(body, all, "none"), None);
    }
}
