//! What the task of a conn says to its stream, and hears from it, while Pingora has it. Both are of one task, so that nobody
//! has to be woken.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::proxy::http::guard::Flaw;

/// How much of a response is held back at most, to go out in one piece, and what may be held before more is read for it.
pub(super) const HOLD: usize = 16 * 1024;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Wire {
    /// The client and its upstream have agreed to speak something else: all bytes pass.
    pub(super) opaque: AtomicBool,
    /// Writes are held back.
    pub(super) corked: AtomicBool,
    /// Nothing is read.
    pub(super) paused: AtomicBool,
    /// The client and its upstream speak what has no lengths that we know.
    pub(super) tunnel: AtomicBool,
    /// Bytes that are held back.
    pub(super) held: AtomicUsize,
    /// Bytes that the client has taken after it was waited for. Wraps.
    pub(super) taken: AtomicUsize,
    /// A body broke its framing.
    pub(super) flaw: parking_lot::Mutex<Option<Flaw>>,
}

impl Wire {
    /// From now on all bytes pass.
    pub fn open(&self) {
        self.opaque.store(true, Ordering::Relaxed);
    }

    /// The same, and an end of TLS that nobody vouches for is none.
    pub fn tunnel(&self) {
        self.tunnel.store(true, Ordering::Relaxed);
        self.open();
    }

    /// Whether there is room for more of an answer.
    pub fn has_room(&self) -> bool {
        self.held.load(Ordering::Relaxed) < HOLD
    }

    /// Bytes that the client has taken late. Wraps: only whether it changes is of use.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Whether writes are held back until the task waits for the client.
    pub fn cork(&self, corked: bool) {
        self.corked.store(corked, Ordering::Relaxed);
    }

    /// Whether nothing is read, as there is no room for it. What is held back still goes out.
    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    /// What was wrong with the body, if that is why it could not be read.
    pub fn flaw(&self) -> Option<Flaw> {
        *self.flaw.lock()
    }
}
