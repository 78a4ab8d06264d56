//! What a conn may do and hold, and what time it is: what the mux is given and never changes.

use std::time::{Duration, SystemTime};

use crate::rpc::frame::FrameLimits;
use crate::rpc::policy::Policy;
use crate::time::Instant;

/// What a conn may do and hold. Shared by all conns of a listener.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Frames of the client, in bytes.
    pub client_frame: FrameLimits,
    /// Frames of a CLI, in bytes.
    pub upstream_frame: FrameLimits,
    /// What may wait for one link, in bytes.
    pub link_queue: usize,
    /// What may wait for the client before its links are no longer read, in bytes.
    pub client_queue: usize,
    /// Requests of the client without an answer.
    pub pending: usize,
    /// Sessions that one conn may use at a time.
    pub slots: usize,
    /// For a CLI's answer, but for methods that are known to take long.
    pub request_timeout: Duration,
    /// For a client's answer to a request that holds up a turn.
    pub client_request_timeout: Duration,
    /// For a link to be open and greeted.
    pub handshake_timeout: Duration,
    /// For a session to be found or placed, and for room for it or for its turn.
    pub seek_timeout: Duration,
    /// Whether a turn has to be asked for before it starts.
    pub bounds_turns: bool,
    /// For a CLI of the pool to have answered, so that the client can be greeted.
    pub greet_timeout: Duration,
    /// For the rest of a frame that is too large.
    pub discard_timeout: Duration,
    /// For answers still due after the client's FIN.
    pub finish_timeout: Duration,
    /// Whether a token is taken, and wanted, from the client.
    pub authentication: Authentication,
    /// For a client to prove who it is, where it must.
    pub authentication_timeout: Duration,
    /// What the client may call.
    pub policy: Policy,
}

/// What a listener makes of a token in `connect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Nobody knows what to do with one: who brings one is told so.
    NotConfigured,
    /// One is judged; who brings none is let in.
    Optional,
    /// Nothing is answered before one was found good, or the client was proven otherwise ([`super::Mux::admit`]).
    Required,
}

/// The CLIs' connection token. Shown nowhere.
#[derive(Clone)]
pub struct LinkToken(pub String);

impl std::fmt::Debug for LinkToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Now, on both clocks: the one that only goes forward, and the one that people read.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For deadlines and durations.
    pub at: Instant,
    /// For time stamps.
    pub wall: SystemTime,
}
