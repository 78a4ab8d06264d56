//! The bound on sessions that are only remembered. One that lives is never forgotten.

use super::Table;
use super::entry::Stage;
use crate::id::SessionId;
use crate::time::Instant;

impl<L> Table<L> {
    /// Forgets an eighth of the sessions that only lie on a disk, oldest first, once there are too many: whoever wants
    /// one again finds it by asking the CLIs.
    pub(super) fn make_room(&mut self) {
        if self.entries.len() < self.limit {
            return;
        }
        let mut idle: Vec<(Instant, SessionId)> = self
            .entries
            .iter()
            .filter(|(_, e)| matches!(e.stage, Stage::Stored { .. } | Stage::Lost))
            .map(|(id, e)| (e.touched, id.clone()))
            .collect();
        idle.sort_unstable_by(|(a, x), (b, y)| (a, x.as_bytes()).cmp(&(b, y.as_bytes())));
        for (_, session) in idle.into_iter().take(self.limit / 8 + 1) {
            self.forget(&session, None);
        }
    }
}
