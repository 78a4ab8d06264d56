//! What must hold for any bytes: the properties that the fuzz targets and their stable twin check.
//!
//! Each function panics where its property does not hold.

#![expect(
    clippy::panic,
    reason = "a property that does not hold is a panic: that is what fuzzers look for"
)]

mod identity;

pub use identity::{cidr, jwt, tokens};

use serde_json::Value;

use crate::identity::{is_name, proxy_tlv};
use crate::rpc::frame::{Decoder, Frame, FrameError, FrameLimits};
use crate::rpc::message::{self, ClientKind, SessionParam};
use crate::wire::proxy_protocol::{self, Header};

const LIMITS: FrameLimits = FrameLimits { header: 512, body: 4096 };

/// A stream of frames, read whole, byte by byte, and in chunks that its own bytes choose: always the same frames, always
/// the same end, never more kept than the limits allow.
pub fn frame(data: &[u8]) {
    let whole = read(&mut std::iter::once(data));
    let bytes = read(&mut data.chunks(1));
    let size = usize::from(data.first().copied().unwrap_or(1)).max(1);
    let chunks = read(&mut data.chunks(size));
    assert_eq!(whole.0, bytes.0, "whole and byte by byte");
    assert_eq!(whole.0, chunks.0, "whole and in chunks of {size}");
    assert_eq!(whole.1.is_some(), bytes.1.is_some(), "one ended: {:?} {:?}", whole.1, bytes.1);
    assert_eq!(whole.1.is_some(), chunks.1.is_some(), "one ended: {:?} {:?}", whole.1, chunks.1);
}

/// The bodies read (an oversize one as its head), and why the stream ended, if it did.
fn read(chunks: &mut dyn Iterator<Item = &'_ [u8]>) -> (Vec<(bool, Vec<u8>)>, Option<FrameError>) {
    let mut decoder = Decoder::new(LIMITS);
    let mut seen = Vec::new();
    for chunk in chunks {
        let mut input = chunk;
        loop {
            match decoder.next(&mut input) {
                Ok(Some(Frame::Whole(body))) => seen.push((true, body.bytes().to_vec())),
                Ok(Some(Frame::TooLarge(head))) => seen.push((false, head.to_vec())),
                Ok(None) => break,
                Err(error) => return (seen, Some(error)),
            }
            assert!(decoder.buffered() <= LIMITS.body.max(64 * 1024), "kept too much");
        }
    }
    (seen, None)
}

/// What comes from a trusted proxy: the same header or the same refusal however it arrives, not a byte behind it taken,
/// never more kept than the bound.
pub fn proxy_protocol(data: &[u8]) {
    let whole = header(&mut std::iter::once(data));
    assert_eq!(whole, header(&mut data.chunks(1)), "whole and byte by byte");
    let size = usize::from(data.last().copied().unwrap_or(1)).max(1);
    assert_eq!(whole, header(&mut data.chunks(size)), "whole and in chunks of {size}");
    if let (Ok(Some(found)), taken) = &whole {
        names(found, data);
        let alone = data.get(..*taken).unwrap_or_default();
        assert_eq!(whole, header(&mut std::iter::once(alone)), "what follows changes nothing");
        assert_eq!(proxy_protocol::is_meant(data), Some(true));
    }
}

/// Whom a header names is written in it, and fit to be a name.
fn names(header: &Header, data: &[u8]) {
    let custom = (0xE0..=0xEF).map(proxy_tlv::Field::Custom);
    for field in custom.chain([proxy_tlv::Field::Authority, proxy_tlv::Field::SslCn]) {
        if let Some(claim) = (proxy_tlv::Rule { field, pattern: None }).find(header) {
            let user = claim.user.unwrap_or_default();
            assert!(is_name(&user) && claim.tenant.is_none(), "{user:?}");
            assert!(memchr::memmem::find(data, user.as_bytes()).is_some(), "nobody said {user:?}");
        }
    }
}

/// What was read, and how many bytes were taken for it.
fn header(
    chunks: &mut dyn Iterator<Item = &'_ [u8]>,
) -> (Result<Option<Header>, proxy_protocol::Error>, usize) {
    let (mut decoder, mut taken) = (proxy_protocol::Decoder::default(), 0);
    for chunk in chunks {
        let mut rest = chunk;
        let read = decoder.next(&mut rest);
        taken += chunk.len() - rest.len();
        assert!(decoder.buffered() <= proxy_protocol::MAX, "kept too much");
        match read {
            Ok(None) => assert!(rest.is_empty(), "left bytes, and wants more"),
            found => return (found, taken),
        }
    }
    (Ok(None), taken)
}

/// A client's frame that is taken means to us what it means to a JSON parser: the same id, method and session. A frame
/// that is refused is refused with an id that stands in it.
pub fn message(data: &[u8]) {
    let _ = message::read_upstream(data);
    let _ = message::peek_id(data);
    let tree: Result<Value, _> = serde_json::from_slice(data);
    match message::read_client(data) {
        Ok(read) => {
            let tree = tree.unwrap_or_else(|error| panic!("taken, but no JSON: {error}"));
            match read.kind {
                ClientKind::Request { id, call } => {
                    assert_eq!(serde_json::from_str::<Value>(id).ok().as_ref(), tree.get("id"));
                    same_call(&tree, &call);
                }
                ClientKind::Notification(call) => {
                    assert!(tree.get("id").is_none());
                    same_call(&tree, &call);
                }
                ClientKind::Response { id } => {
                    assert!(tree.get("method").is_none());
                    let id = serde_json::from_slice::<Value>(id.of(data)).ok();
                    assert_eq!(id.as_ref(), tree.get("id"));
                }
            }
        }
        Err(message::Refused::Answerable(id, _)) => {
            let id: Value = serde_json::from_str(id).unwrap_or_else(|e| panic!("{id}: {e}"));
            assert!(id.is_number() || id.is_string());
        }
        Err(message::Refused::Untold | message::Refused::Hopeless(_)) => {}
    }
}

fn same_call(tree: &Value, call: &message::Call<'_>) {
    assert_eq!(tree.get("method").and_then(Value::as_str), Some(&*call.method));
    let session = tree.get("params").and_then(|params| params.get("sessionId"));
    match &call.session {
        SessionParam::Absent => assert!(session.is_none()),
        SessionParam::Id(id, _) => assert_eq!(session.and_then(Value::as_str), Some(&**id)),
        SessionParam::NotAString(_) => assert!(session.is_some_and(|s| !s.is_string())),
    }
}
