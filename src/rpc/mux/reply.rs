//! What we say ourselves: results, errors, and the events that stand in for those of a CLI that is gone.

use std::fmt::Write as _;

use super::{Mux, Now, Outcome, TurnEnd};
use crate::error::push_json_string;
use crate::id::{RawId, SessionId};
use crate::time::Instant;

/// JSON-RPC 2.0, section 5.1.
#[derive(Clone, Copy, Debug)]
pub(super) enum Code {
    InvalidRequest = -32600,
    MethodNotFound = -32601,
    InvalidParams = -32602,
    /// The CLI's own: a token is wanted first.
    AuthenticationRequired = -32001,
    /// The CLI's own: the token is not good.
    AuthenticationFailed = -32002,
    /// The CLI's own: a token came where none is configured.
    AuthenticationNotConfigured = -32003,
}

impl Mux {
    /// `result` is the member's JSON text.
    pub(super) fn write_result(&mut self, id: &str, result: &[u8]) {
        let head: &[u8] = br#"{"jsonrpc":"2.0","id":"#;
        self.client.parts(&[head, id.as_bytes(), br#","result":"#, result, b"}"]);
    }

    /// `error` is the member's JSON text.
    pub(super) fn write_error(&mut self, id: &str, error: &str) {
        let head: &[u8] = br#"{"jsonrpc":"2.0","id":"#;
        self.client.parts(&[head, id.as_bytes(), br#","error":"#, error.as_bytes(), b"}"]);
    }

    /// `member` is `"result":…` or `"error":…`.
    pub(super) fn write_member(&mut self, id: &str, member: &str) {
        let head: &[u8] = br#"{"jsonrpc":"2.0","id":"#;
        self.client.parts(&[head, id.as_bytes(), b",", member.as_bytes(), b"}"]);
    }

    /// Answers with an error of the protocol.
    pub(super) fn write_invalid(&mut self, id: &str, code: Code, message: &str) {
        let mut error = format!(r#"{{"code":{},"message":"#, code as i32);
        push_json_string(&mut error, message);
        error.push('}');
        self.write_error(id, &error);
    }

    /// The same, for a request that is on the table.
    pub(super) fn invalid(&mut self, id: &RawId, code: Code, message: &str, now: Instant) {
        if let Some(pending) = self.settle(id.as_bytes(), Outcome::Invalid, now) {
            self.write_invalid(id.as_str(), code, message);
            self.abandon(id, &pending, TurnEnd::ClientLeft, now);
        }
    }

    /// Ends a turn in the client's eyes: `session.error`, then `session.idle`, as SDKs expect them.
    pub(super) fn tell_turn_cut(
        &mut self,
        session: &SessionId,
        error_type: &str,
        message: &str,
        now: Now,
    ) {
        let parent = self.slots.get(session).and_then(|s| s.last_event.clone());
        let mut data = format!(r#"{{"errorType":"{error_type}","message":"#);
        push_json_string(&mut data, message);
        data.push('}');
        self.event(session, parent.as_deref(), "session.error", &data, now);
        self.event(session, parent.as_deref(), "session.idle", r#"{"aborted":true}"#, now);
    }

    fn event(
        &mut self,
        session: &SessionId,
        parent: Option<&str>,
        kind: &str,
        data: &str,
        now: Now,
    ) {
        let mut body = String::with_capacity(400);
        body.push_str(r#"{"jsonrpc":"2.0","method":"session.event","params":{"sessionId":"#);
        push_json_string(&mut body, session.as_str());
        let id = self.made_uuid();
        let at = humantime::format_rfc3339_millis(now.wall);
        let _ = write!(body, r#","event":{{"id":"{id}","timestamp":"{at}","parentId":"#);
        match parent {
            Some(parent) => push_json_string(&mut body, parent),
            None => body.push_str("null"),
        }
        let _ = write!(body, r#","ephemeral":true,"type":"{kind}","data":{data}}}}}}}"#);
        self.client.parts(&[body.as_bytes()]);
    }

    /// A version 4 UUID (RFC 9562) from this conn's own random sequence (splitmix64).
    pub(super) fn made_uuid(&mut self) -> uuid::Uuid {
        let mut next = || {
            self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = self.random;
            z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ z >> 31
        };
        uuid::Builder::from_u128(u128::from(next()) << 64 | u128::from(next()))
            .with_version(uuid::Version::Random)
            .with_variant(uuid::Variant::RFC4122)
            .into_uuid()
    }
}
