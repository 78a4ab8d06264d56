//! A request's body that is looked at before it goes on: read up to a bound, and kept as it came, so that the upstream gets
//! every byte of it.

use bytes::{Bytes, BytesMut};
use pingora::protocols::http::ServerSession as Exchange;
use smallvec::SmallVec;
use tokio::time::timeout_at;

use crate::proxy::budget::Kept;
use crate::time::Instant;

/// What was read of a body before it was sent on.
#[derive(Debug, Default)]
pub struct Stash {
    chunks: SmallVec<[Bytes; 2]>,
    len: usize,
    /// Its room among what all keep.
    kept: Option<Kept>,
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

    /// It has arrived, and is not sent again.
    pub fn release(&mut self) {
        self.chunks.clear();
        self.kept = None;
    }

    /// Returns whether there is room for it.
    fn push(&mut self, chunk: Bytes) -> bool {
        let bytes = chunk.len();
        self.len += bytes;
        if !chunk.is_empty() {
            self.chunks.push(chunk);
        }
        self.kept.as_mut().is_none_or(|kept| kept.more(bytes))
    }
}

/// Reads of a body what comes before its end, the bound or the deadline, as long as it may be JSON; it may be a little more
/// than the bound. Nobody has read of it before. `kept`: the room that it takes among what all keep.
pub async fn read(
    client: &mut Exchange,
    bound: usize,
    deadline: Instant,
    kept: Kept,
) -> Result<Stash, Stop> {
    let mut stash = Stash { kept: Some(kept), ..Stash::default() };
    while !client.is_body_done() {
        if stash.len >= bound {
            return Ok(stash);
        }
        match timeout_at(deadline, client.read_request_body()).await {
            Ok(Ok(Some(chunk))) => {
                let begins = stash.is_empty();
                let more = !begins || may_begin_json(&chunk);
                if !stash.push(chunk) {
                    return Err(Stop::Full);
                }
                if !more && !client.is_body_done() {
                    return Ok(stash);
                }
            }
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
    /// All conns together keep as much as they may.
    Full,
}

/// Types of JSON without its suffix, and what clients call it that do not care: `curl -d` says that it sends a form.
const LIKE_JSON: [&[u8]; 5] = [
    b"application/json",
    b"text/json",
    b"application/json-rpc",
    b"application/jsonrequest",
    b"application/x-www-form-urlencoded",
];

/// Whether a body of this type may be JSON (RFC 8259, RFC 6839).
pub fn may_be_json(content_type: &[u8]) -> bool {
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let suffix = essence.rsplit(|byte| *byte == b'+').next().filter(|s| s.len() < essence.len());
    suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case(b"json"))
        || LIKE_JSON.iter().any(|like| essence.eq_ignore_ascii_case(like))
}

/// Whether what begins so may be an object or an array.
fn may_begin_json(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().first().is_none_or(|byte| matches!(byte, b'{' | b'['))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_what_says_so_or_what_curl_sends() {
        for json in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/vnd.x+json",
            " application/json ",
            "text/json",
            "application/json-rpc",
            "application/x-www-form-urlencoded",
        ] {
            assert!(may_be_json(json.as_bytes()), "{json}");
        }
        for other in [
            "",
            "text/plain",
            "application/jsonl",
            "application/+jso",
            "application/octet-stream",
            "multipart/form-data; boundary=x+json",
            "application/x-json-stream",
            "json",
        ] {
            assert!(!may_be_json(other.as_bytes()), "{other}");
        }
        assert!(may_begin_json(b" \r\n{") && may_begin_json(b"[") && may_begin_json(b" "));
        assert!(!may_begin_json(b"a={}") && !may_begin_json(b"\"x\""));
    }

    #[test]
    fn a_stash_is_what_it_was_given() {
        let mut stash = Stash::default();
        assert!(stash.is_empty() && stash.joined().is_empty());
        for chunk in ["ab", "", "c"] {
            assert!(stash.push(Bytes::from_static(chunk.as_bytes())));
        }
        assert_eq!((stash.chunks().len(), stash.len()), (2, 3));
        assert_eq!(stash.joined(), "abc");
        stash.release();
        assert!(stash.joined().is_empty());
    }
}
