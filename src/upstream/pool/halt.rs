//! Clears what a halted session left in its CLI's memory. Until the CLI has answered, the session is nowhere else.

use std::sync::Arc;

use super::Pool;
use super::look_up::params_of;
use crate::id::{SessionId, UpstreamId};
use crate::time::{self, Duration};

/// How long after a close without an answer the CLI is asked again.
const CLOSE_AGAIN: Duration = Duration::from_secs(5);

/// How often it is looked whether those who were on the way have arrived.
const ARRIVED: Duration = Duration::from_millis(50);

impl Pool {
    /// Starts to ask, in a task of its own, which ends with the session's life there. `now`: nobody is on the way to it.
    pub(super) fn close_halted(
        self: &Arc<Self>,
        session: &SessionId,
        upstream: UpstreamId,
        epoch: u64,
        mut now: bool,
    ) {
        let Some(member) = self.member(upstream) else { return };
        let (pool, session) = (Arc::clone(self), session.clone());
        let params = params_of(&session);
        self.tasks.spawn_aside("close_halted", async move {
            let mut pause = ARRIVED;
            loop {
                while !now {
                    tokio::time::sleep(pause).await;
                    match pool.change(|table| table.close_again(&session, epoch)) {
                        Some(free) => now = free,
                        None => return,
                    }
                }
                let reply = member.asker.ask_until_gone("sessions.close", params.clone()).await;
                // One that does not have it says `{}`, too.
                let closed = reply.is_ok_and(|reply| reply.result().is_some());
                let at = time::now();
                if !pool.change(|table| table.close_answered(&session, epoch, closed, at)) {
                    return;
                }
                tracing::warn!(upstream = member.name, "a halted session is not closed");
                (now, pause) = (false, CLOSE_AGAIN);
            }
        });
    }
}
