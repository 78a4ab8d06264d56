//! A request's body that is looked at before it goes on: read up to a bound, and kept as it came, so that the upstream gets
//! every byte of it.

use bytes::{Bytes, BytesMut};
use pingora::protocols::http::ServerSession as Exchange;
use smallvec::SmallVec;
use tokio::time::timeout_at;

use crate::time::Instant;

/// What was read of a body before it was sent on.
#[derive(Debug, Default)]
pub struct Stash {
    chunks: SmallVec<[Bytes; 2]>,
    len: usize,
    /// The body has ended with what is here.
    pub is_whole: bool,
}

impl Stash {
    /// What was read, in order.
    pub fn chunks(&self) -> &[Bytes] {
        &self.chunks
    }

    /// How much was read.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was read.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of it in one piece.
    pub fn joined(&self) -> Bytes {
        if let [only] = self.chunks.as_slice() {
            return only.clone();
        }
        let mut all = BytesMut::with_capacity(self.len);
        self.chunks.iter().for_each(|chunk| all.extend_from_slice(chunk));
        all.freeze()
    }

    fn push(&mut self, chunk: Bytes) {
        self.len += chunk.len();
        if !chunk.is_empty() {
            self.chunks.push(chunk);
        }
    }
}

/// Reads of a body what comes before its end, the bound or the deadline; it may be a little more than the bound. Nobody has
/// read of it before.
pub async fn read(client: &mut Exchange, bound: usize, deadline: Instant) -> Result<Stash, Stop> {
    let mut stash = Stash::default();
    while !client.is_body_done() {
        if stash.len >= bound {
            return Ok(stash);
        }
        match timeout_at(deadline, client.read_request_body()).await {
            Ok(Ok(Some(chunk))) => stash.push(chunk),
            Ok(Ok(None)) => break,
            Ok(Err(_)) => return Err(Stop::Broken),
            Err(_) => return Err(Stop::Late),
        }
    }
    stash.is_whole = true;
    Ok(stash)
}

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It did not come in time.
    Late,
    /// The body broke off, or its framing.
    Broken,
}

/// Whether a media type is JSON (RFC 8259, RFC 6839).
pub fn is_json(content_type: &[u8]) -> bool {
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let Some(subtype) = strip(essence, b"application/") else { return false };
    let suffix = subtype.rsplit(|byte| *byte == b'+').next().unwrap_or_default();
    suffix.eq_ignore_ascii_case(b"json")
}

fn strip<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (begin, rest) = text.split_at_checked(prefix.len())?;
    begin.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_what_says_so() {
        for json in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/vnd.x+json",
            " application/json ",
        ] {
            assert!(is_json(json.as_bytes()), "{json}");
        }
        for other in [
            "",
            "text/plain",
            "application/jsonl",
            "application/+jso",
            "text/json",
            "application/x-json-stream",
            "json",
        ] {
            assert!(!is_json(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn a_stash_is_what_it_was_given() {
        let mut stash = Stash::default();
        assert!(stash.is_empty() && stash.joined().is_empty());
        for chunk in ["ab", "", "c"] {
            stash.push(Bytes::from_static(chunk.as_bytes()));
        }
        assert_eq!((stash.chunks().len(), stash.len()), (2, 3));
        assert_eq!(stash.joined(), "abc");
    }
}
