//! Every bound on what others can make fairlead hold or wait for.

use crate::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// `[limits]`. Sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The header block of one frame.
    pub max_header_bytes: usize,
    /// The body of one frame from a client.
    pub max_client_frame: usize,
    /// The body of one frame from a CLI.
    pub max_upstream_frame: usize,
    /// What waits to go out on one link; one larger frame is allowed when nothing waits.
    pub max_link_queue: usize,
    /// What waits to go out to one client; one larger frame is allowed when nothing waits.
    pub max_client_queue: usize,
    /// What all buffers of the process hold together; not below either frame limit.
    pub max_buffered_bytes: usize,
    /// Connections of clients, over all listeners.
    pub max_conns: usize,
    /// Unanswered requests of one conn.
    pub max_pending: usize,
    /// A write that makes no progress for so long, or half a frame of which nothing more comes: the peer is lost.
    pub stall_timeout: Duration,
    /// A CLI's answer to an ordinary request.
    pub request_timeout: Duration,
    /// A client's answer to a hook or a transform, which the CLI waits for.
    pub client_request_timeout: Duration,
    /// A CLI's answer to our own `connect` on a new link.
    pub handshake_timeout: Duration,
    /// Asking all CLIs where a session is.
    pub lookup_timeout: Duration,
    /// An answer that is joined over all CLIs; who has not answered by then is left out.
    pub fleet_timeout: Duration,
    /// How long a client's `connect` waits for a CLI that answers.
    pub connect_wait: Duration,
    /// Reading the rest of a frame that is too large, before the conn is closed.
    pub discard_timeout: Duration,
    /// Delivering the answers still due after a client has finished sending.
    pub finish_timeout: Duration,
}

impl Limits {
    /// The deepest nesting of a frame's JSON. Not configurable: a CLI fails somewhere above 100 levels.
    pub const MAX_DEPTH: usize = 64;
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_header_bytes: 16 * KIB,
            max_client_frame: 32 * MIB,
            max_upstream_frame: 64 * MIB,
            max_link_queue: 8 * MIB,
            max_client_queue: 8 * MIB,
            max_buffered_bytes: 512 * MIB,
            max_conns: 10_000,
            max_pending: 1024,
            stall_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_mins(5),
            client_request_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(5),
            lookup_timeout: Duration::from_secs(2),
            fleet_timeout: Duration::from_secs(10),
            connect_wait: Duration::from_secs(5),
            discard_timeout: Duration::from_secs(10),
            finish_timeout: Duration::from_secs(5),
        }
    }
}
