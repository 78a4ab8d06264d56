//! What CLIs tell everybody: passed on once, to those whom it concerns.

use bytes::Bytes;

use super::{Mux, Oddity};
use crate::rpc::frame::Body;

impl Mux {
    /// A broadcast about `session` came over a `watch`. Sessions that this conn hears of over a link of its own
    /// it hears of there.
    pub fn notice(&mut self, session: &str, body: Bytes) {
        if self.slots.get(session.as_bytes()).is_some_and(|s| s.link.is_some()) {
            return;
        }
        if self.congested() {
            return self.odd(Oddity::StrayBroadcast);
        }
        self.client.frame(&Body::Owned(body));
    }
}
