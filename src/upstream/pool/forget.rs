//! What the ledger has of sessions that no CLI has any more goes, so that it does not grow for ever.
//!
//! Only where that is proven: every CLI of the pool is up, was asked for the exact id, and said that it has no such session;
//! and nobody here came to it meanwhile. A record that goes too early would leave its session to whoever adopts it.

use std::sync::Arc;
use std::time::SystemTime;

use super::Pool;
use crate::id::SessionId;
use crate::ledger::{self, Record};
use crate::observe::shown::Shown;
use crate::session::table::{Hold, LINGER};
use crate::time::{self, Duration};
use crate::upstream::member::Member;

/// Between two sessions that are asked for.
const PACE: Duration = Duration::from_millis(100);

/// From one walk over the whole ledger to the next, at most.
const WALK_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Whether nobody has used the session for so long. A clock that was set back makes nothing old.
fn is_unused(record: &Record, now: SystemTime, after: Duration) -> bool {
    now.duration_since(record.used).is_ok_and(|unused| unused >= after)
}

impl Pool {
    /// Takes note that the session is used, and where.
    pub(super) fn used(&self, session: &SessionId, at: Option<&Member>) {
        let Some(owners) = &self.owners else { return };
        let now = time::wall();
        let change = |record: &mut Record| {
            record.used = now;
            if let Some(member) = at.filter(|m| record.upstream.as_deref() != Some(&*m.name)) {
                record.upstream = Some(member.name.as_str().into());
            }
        };
        drop(owners.ledger.change(&self.name, session, change));
    }

    /// Walks over the ledger again and again, slowly, and forgets sessions that nobody has used for `after` and that no CLI
    /// has.
    pub async fn forget_unused(self: Arc<Self>, after: Duration) {
        let Some(owners) = &self.owners else { return };
        loop {
            tokio::time::sleep(after.min(WALK_EVERY)).await;
            for part in 0..ledger::PARTS {
                let now = time::wall();
                let unused = |record: &Record| is_unused(record, now, after);
                for session in owners.ledger.part_of(part, &self.name, unused) {
                    if self.forget_absent(&session, &unused).await {
                        self.metrics.forgotten.inc();
                        tracing::info!(
                            kind = "audit", action = "forget", reason = "unused",
                            pool = self.name, session_id = %Shown(session.as_str()),
                            "no CLI has the session any more: it belongs to nobody"
                        );
                    }
                    tokio::time::sleep(PACE).await;
                }
            }
        }
    }

    /// Forgets those of the sessions that a request deleted past the table: those whom it concerns hear of it first.
    pub(super) fn forget_deleted(self: &Arc<Self>, sessions: Vec<SessionId>) {
        if self.owners.is_none() || sessions.is_empty() {
            return;
        }
        let pool = Arc::clone(self);
        self.tasks.spawn_aside("forget", async move {
            tokio::time::sleep(LINGER).await;
            for session in sessions {
                pool.forget_absent(&session, &|_| true).await;
            }
        });
    }

    /// Forgets the session and whose it is, if no CLI has it and its record is `still` so; whether it did.
    async fn forget_absent(&self, session: &SessionId, still: &impl Fn(&Record) -> bool) -> bool {
        let Some(owners) = &self.owners else { return false };
        let before = self.change(|table| table.hold(session));
        match before {
            Hold::Unknown | Hold::Free { .. } => {}
            Hold::Held | Hold::Changing | Hold::Undeleted(_) => return false,
        }
        let members = self.members();
        if members.is_empty() || !self.misses_nobody() {
            return false;
        }
        for member in members.iter() {
            if !member.is_up() || !self.lacks(member, session).await {
                return false;
            }
        }
        let receipt = self.change(|table| {
            let record = owners.ledger.get(&self.name, session);
            let goes = record.is_some_and(|r| still(&r)) && table.forget_free(session, before);
            goes.then(|| owners.ledger.release(&self.name, session))
        });
        match receipt {
            Some(receipt) => {
                // It holds, and is written once the file takes it.
                if let Err(error) = receipt.await {
                    tracing::warn!(pool = self.name, %error, "a session that is gone keeps its owner");
                }
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::caller::{Owner, Realm};
    use crate::ledger::Class;

    #[test]
    fn what_was_used_lately_or_in_the_future_is_not_unused() {
        let day = Duration::from_secs(24 * 3600);
        let used = UNIX_EPOCH + 1000 * day;
        let record = Record {
            owner: Owner { realm: Realm::Common, user: None },
            grants: Vec::new(),
            upstream: None,
            created: UNIX_EPOCH,
            used,
            class: Class::Persistent,
        };
        let second = Duration::from_secs(1);
        assert!(!is_unused(&record, used + 90 * day - second, 90 * day));
        assert!(is_unused(&record, used + 90 * day, 90 * day));
        assert!(!is_unused(&record, used - second, Duration::ZERO));
    }
}
