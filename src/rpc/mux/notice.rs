//! What CLIs tell everybody: passed on once, to those whom it concerns.

use bytes::Bytes;

use super::{Mux, Oddity};
use crate::id::UpstreamId;
use crate::rpc::frame::Body;
use crate::time::Instant;

impl Mux {
    /// A broadcast about `session` came over the `watch` of `upstream`. What this conn hears over its own link to
    /// that CLI it hears there.
    pub fn notice(&mut self, upstream: UpstreamId, session: &str, body: Bytes, now: Instant) {
        // Nothing is anybody's affair who is not let in.
        if self.stranger.is_some() {
            return;
        }
        let link = self.hears_over(session, now);
        // A session that lives elsewhere by now is spoken of elsewhere.
        if link.is_some_and(|link| self.upstream_of(link) == Some(upstream)) {
            return;
        }
        if self.congested() {
            return self.odd(Oddity::StrayBroadcast);
        }
        self.client.frame(&Body::Owned(body));
    }
}
