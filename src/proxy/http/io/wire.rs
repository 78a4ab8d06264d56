//! What the task of a conn says to its stream, and hears from it, while Pingora has it. Both are of one task, so that nobody
//! has to be woken.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::proxy::http::guard::Flaw;
use crate::proxy::http::held::Level;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Wire {
    /// The client and its upstream have agreed to speak something else: all bytes pass.
    pub(super) opaque: AtomicBool,
    /// Writes are held back.
    pub(super) corked: AtomicBool,
    /// The client and its upstream speak what has no lengths that we know.
    pub(super) tunnel: AtomicBool,
    /// What is held back.
    pub level: Level,
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

    /// Whether writes are held back until the task waits for the client.
    pub fn cork(&self, corked: bool) {
        self.corked.store(corked, Ordering::Relaxed);
    }

    /// What was wrong with the body, if that is why it could not be read.
    pub fn flaw(&self) -> Option<Flaw> {
        *self.flaw.lock()
    }
}
