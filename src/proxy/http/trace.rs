//! W3C trace context: what a client sent is passed on if it is right, and made anew if not. Says nothing of spans of our
//! own: there are none.

use std::cell::Cell;
use std::fmt::Write as _;

use ahash::RandomState;
use http::HeaderValue;
use http::header::{HeaderMap, HeaderName};

/// The field that carries it.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What goes with it, and is worth nothing without it.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The length of version 00.
const LENGTH: usize = 55;

/// Whether it is a `traceparent` (W3C Trace Context, 3.2.2): of version 00, or of one to come that begins in the same way.
pub fn is_traceparent(value: &[u8]) -> bool {
    let hex = |from: usize, to: usize| {
        let part = value.get(from..to).unwrap_or_default();
        let right = part.len() == to - from
            && part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        right.then(|| part.iter().any(|byte| *byte != b'0'))
    };
    let dashes = [2, 35, 52].iter().all(|at| value.get(*at) == Some(&b'-'));
    let version = value.get(..2).filter(|version| *version != b"ff");
    let length = match version {
        Some(b"00") => value.len() == LENGTH,
        Some(_) => value.len() == LENGTH || value.get(LENGTH) == Some(&b'-'),
        None => false,
    };
    let ids = hex(3, 35) == Some(true) && hex(36, 52) == Some(true);
    dashes && length && ids && hex(0, 2).is_some() && hex(53, LENGTH).is_some()
}

/// The one that a request has, if it has one and it is right.
pub fn sent(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut all = headers.get_all(TRACEPARENT).iter();
    let first = all.next().filter(|value| is_traceparent(value.as_bytes()))?;
    all.next().is_none().then_some(first)
}

thread_local! {
    static KEYS: RandomState = RandomState::new();
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// A new one, not sampled. Its ids are those of nobody else, and tell nothing.
pub fn made() -> Option<HeaderValue> {
    let count = COUNT.with(|count| count.replace(count.get().wrapping_add(3)));
    let part = |n: u64| KEYS.with(|keys| keys.hash_one(count.wrapping_add(n))).max(1);
    let mut text = String::with_capacity(LENGTH);
    let _ = write!(text, "00-{:016x}{:016x}-{:016x}-00", part(0), part(1), part(2));
    HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_right_is_told_from_what_is_not() {
        assert!(is_traceparent(RIGHT.as_bytes()));
        assert!(is_traceparent(format!("01{}-more", &RIGHT[2..]).as_bytes()));
        let zero = |from: usize, to: usize| {
            let mut text = RIGHT.to_owned();
            text.replace_range(from..to, &"0".repeat(to - from));
            text
        };
        for wrong in [
            String::new(),
            zero(3, 35),
            zero(36, 52),
            format!("ff{}", &RIGHT[2..]),
            format!("{RIGHT}-more"),
            format!("01{}more", &RIGHT[2..]),
            RIGHT.to_uppercase(),
            RIGHT.replace('-', "_"),
            RIGHT[..54].to_owned(),
            format!("0g{}", &RIGHT[2..]),
            format!("{}0x", &RIGHT[..53]),
        ] {
            assert!(!is_traceparent(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn two_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, HeaderValue::from_static(RIGHT));
        assert!(sent(&headers).is_some());
        headers.append(TRACEPARENT, HeaderValue::from_static(RIGHT));
        assert!(sent(&headers).is_none());
    }

    #[test]
    fn those_that_are_made_are_right_and_differ() {
        let (one, other) = (made().unwrap(), made().unwrap());
        assert!(is_traceparent(one.as_bytes()) && is_traceparent(other.as_bytes()));
        assert_ne!(one, other);
        assert_ne!(one.as_bytes()[36..52], one.as_bytes()[3..19]);
    }
}
