//! Asks a CLI whether it has a session in memory that it was left with, before another one gets it.

use std::sync::Arc;

use super::Pool;
use super::look_up::{in_memory, params_of};
use crate::id::{SessionId, UpstreamId};
use crate::time::{self, Duration};

/// How soon a CLI is asked again that could not be asked, or is leaving: mostly it is known to be gone by then.
const AGAIN: Duration = Duration::from_millis(50);

impl Pool {
    /// Starts to ask, in a task of its own: the answer is the table's, whoever waits for it.
    pub(super) fn ask_left(
        self: &Arc<Self>,
        session: &SessionId,
        upstream: UpstreamId,
        epoch: u64,
    ) {
        let (pool, session) = (Arc::clone(self), session.clone());
        let until = time::now() + self.with.lookup_timeout;
        self.tasks.spawn_aside("ask_left", async move {
            let mut has = None;
            while let Some(member) = pool.member(upstream) {
                let left = until.saturating_duration_since(time::now());
                let params = params_of(&session);
                let reply = member.asker.ask("session.mode.get", params, left).await;
                has = reply.ok().as_ref().and_then(in_memory);
                let late = time::now() + AGAIN >= until;
                let asked = pool.decide(|d| d.table.is_asked(&session, epoch));
                if has.is_some() || late || !asked {
                    break;
                }
                tokio::time::sleep(AGAIN).await;
            }
            pool.change(|table| table.left_answered(&session, epoch, has, time::now()));
        });
    }
}
