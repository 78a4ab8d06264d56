//! Asks a CLI whether a session is at work still that a conn came to in mid-turn. Decides nothing.

use std::sync::Arc;

use super::Pool;
use super::look_up::params_of;
use crate::id::{ConnId, SessionId};
use crate::upstream::hub::Event;

impl Pool {
    /// Starts to ask, in a task of its own. The others may hear of a turn's end a moment after it ended, and the conn may
    /// have come in that moment: then it never hears of it. Asked after it came, the CLI knows.
    pub(super) fn ask_whether_it_works(
        self: &Arc<Self>,
        session: &SessionId,
        conn: ConnId,
        epoch: u64,
    ) {
        let upstream = self.decide(|d| d.table.upstream_of(session));
        let Some(member) = upstream.and_then(|id| self.member(id)) else { return };
        let (pool, session) = (Arc::clone(self), session.clone());
        self.tasks.spawn_aside("ask_work", async move {
            let (params, limit) = (params_of(&session), pool.with.lookup_timeout);
            let reply = member.asker.ask("session.metadata.isProcessing", params, limit).await;
            let reply = reply.ok();
            let says = reply.as_ref().and_then(|reply| reply.result());
            if says.is_some_and(|says| says.contains("\"processing\":false")) {
                pool.hub.tell(conn, Event::Rests(session, epoch));
            }
        });
    }
}
