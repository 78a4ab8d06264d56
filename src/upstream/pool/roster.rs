//! The members of a pool: a list that is replaced as a whole when one comes or goes. It is read when a session is sought
//! or placed and at a scrape, never for a message on its way. It decides nothing, and removes nobody whom anything lives on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::RwLock;
use tokio::task::JoinSet;

use super::Pool;
use super::look_up::{in_memory, params_of};
use crate::id::UpstreamId;
use crate::time::{self, Duration};
use crate::upstream::hub::Event;
use crate::upstream::member::Member;

/// How often it is looked whether somebody is still on the way to a member that is to go, and that nothing lives on.
const LOOK: Duration = Duration::from_secs(1);

/// Sessions that a CLI is asked for at once.
const AT_ONCE: usize = 256;

/// See the module's head.
pub(super) struct Roster {
    all: RwLock<Arc<[Arc<Member>]>>,
    /// Names of which it is not known yet whether they name anybody.
    untried: AtomicUsize,
    /// Names that have not named anybody yet.
    unresolved: AtomicUsize,
    /// Members say nothing of themselves.
    mute: AtomicBool,
}

impl Roster {
    pub(super) fn of(members: Vec<Arc<Member>>) -> Self {
        Roster {
            all: RwLock::new(members.into()),
            untried: AtomicUsize::new(0),
            unresolved: AtomicUsize::new(0),
            mute: AtomicBool::new(false),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Member>>)) {
        let mut all = self.all.write();
        let mut next = all.to_vec();
        change(&mut next);
        *all = next.into();
    }

    /// How often there came to be more room on any of them.
    pub(super) fn freed(&self) -> u64 {
        self.all.read().iter().map(|m| m.freed()).fold(0, u64::wrapping_add)
    }
}

impl Pool {
    /// Its members as they are now, those too that are to go.
    pub fn members(&self) -> Arc<[Arc<Member>]> {
        Arc::clone(&self.roster.all.read())
    }

    /// The member of this number.
    pub fn member(&self, id: UpstreamId) -> Option<Arc<Member>> {
        self.roster.all.read().iter().find(|m| m.id == id).cloned()
    }

    /// The members, if all of them are up and nobody may be missing: what they do not know, nobody knows.
    pub(super) fn whole(&self) -> Option<Arc<[Arc<Member>]>> {
        let all = self.members();
        let whole = !all.is_empty() && self.misses_nobody() && all.iter().all(|m| m.is_up());
        whole.then_some(all)
    }

    /// Whether each name of the pool has named somebody.
    pub(super) fn misses_nobody(&self) -> bool {
        self.roster.unresolved.load(Ordering::Relaxed) == 0
    }

    /// Whether each name of the pool was asked for.
    pub(super) fn tried_all(&self) -> bool {
        self.roster.untried.load(Ordering::Relaxed) == 0
    }

    /// Returns once each name was asked for, and somebody is a member.
    pub async fn named(&self) {
        loop {
            let changed = self.changed.notified();
            if self.tried_all() && !self.members().is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// Its members are no CLIs: they say nothing of themselves.
    pub fn expect_no_hello(&self) {
        self.roster.mute.store(true, Ordering::Relaxed);
    }

    /// Whether members that are up say who they are.
    pub(super) fn is_greeted(&self) -> bool {
        !self.roster.mute.load(Ordering::Relaxed)
    }

    /// So many names will say who is a member.
    pub fn expect_names(&self, names: usize) {
        self.roster.untried.fetch_add(names, Ordering::Relaxed);
        self.roster.unresolved.fetch_add(names, Ordering::Relaxed);
    }

    /// One of them was asked for, for the first time.
    pub fn name_tried(&self) {
        self.roster.untried.fetch_sub(1, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// One of them named somebody, for the first time.
    pub fn name_resolved(&self) {
        self.roster.unresolved.fetch_sub(1, Ordering::Relaxed);
    }

    /// A member comes. `false`: one of this name is here already, and stays what it is.
    pub fn add(&self, member: &Arc<Member>) -> bool {
        let added = self.decide(|_| {
            let new = !self.roster.all.read().iter().any(|m| m.name == member.name);
            if new {
                self.roster.change(|all| all.push(Arc::clone(member)));
            }
            new
        });
        if added {
            self.note_coming(member, "added");
        }
        added
    }

    /// A member that was to go stays, if it has not gone yet. Says whether there is one of this name.
    pub fn recall(&self, name: &str) -> bool {
        let found = self.decide(|_| {
            let found = self.roster.all.read().iter().find(|m| m.name == name).cloned();
            found.map(|member| (member.stay(), member))
        });
        if let Some((true, member)) = &found {
            self.note_coming(member, "recalled");
        }
        found.is_some()
    }

    fn note_coming(&self, member: &Member, how: &'static str) {
        tracing::info!(
            kind = "upstream",
            pool = self.name,
            upstream = member.name,
            membership = how,
            "an upstream may take sessions once it is up"
        );
        self.changed.notify_waiters();
    }

    /// A member takes nothing new from now on, and goes once nothing lives on it.
    pub fn retire(self: &Arc<Self>, name: &str) {
        let retired = self.decide(|_| {
            let found = self.roster.all.read().iter().find(|m| m.name == name).cloned();
            found.filter(|member| member.retire())
        });
        let Some(member) = retired else { return };
        tracing::info!(
            kind = "upstream",
            pool = self.name,
            upstream = member.name,
            membership = "retired",
            "an upstream takes nothing new, and goes once nothing lives on it"
        );
        self.changed.notify_waiters();
        let pool = Arc::clone(self);
        self.tasks.spawn_aside("retire", async move {
            while member.is_retired() && !pool.remove(&member) {
                if !member.is_used() && pool.ask_what_lives_on(&member).await {
                    continue;
                }
                // Whoever is on the way to it holds nothing of it yet, and so does not say when that ends.
                let _ = tokio::time::timeout(LOOK, member.unused()).await;
            }
        });
    }

    /// A turn may go on though its client has left: the CLI is asked for sessions that were left with it whether it has them
    /// in memory still. Says whether it has them no more.
    async fn ask_what_lives_on(&self, member: &Arc<Member>) -> bool {
        let sessions = self.change(|table| table.may_live_on(member.id, AT_ONCE));
        let mut asked = JoinSet::new();
        for session in sessions {
            let (member, limit) = (Arc::clone(member), self.with.lookup_timeout);
            asked.spawn(async move {
                let asked = member.asker.ask("session.mode.get", params_of(&session), limit).await;
                (asked.ok().as_ref().and_then(in_memory) == Some(false)).then_some(session)
            });
        }
        let mut none = !asked.is_empty();
        while let Some(answer) = asked.join_next().await {
            match answer.ok().flatten() {
                Some(session) => {
                    self.change(|t| t.lives_no_more(&session, member.id, time::now()));
                }
                None => none = false,
            }
        }
        none
    }

    /// Removes a member that is to go, if nothing lives on it. Says whether it is gone.
    fn remove(&self, member: &Member) -> bool {
        let removed = self.decide(|decisions| {
            let goes = member.is_retired() && !member.is_used();
            let removed = goes && decisions.table.upstream_removed(member.id, member.is_up());
            if removed {
                self.roster.change(|all| all.retain(|m| m.id != member.id));
                // What it counted is not counted any more: that is no news for who waits for room.
                decisions.freed = decisions.freed.wrapping_sub(member.freed());
            }
            removed
        });
        if removed {
            member.end();
            // A conn may have begun to open a link in that moment.
            self.hub.tell_all(&Event::Dead(member.id));
            self.changed.notify_waiters();
            tracing::info!(
                kind = "upstream",
                pool = self.name,
                upstream = member.name,
                membership = "removed",
                "an upstream is gone"
            );
        }
        removed || member.is_ended()
    }
}

#[cfg(test)]
mod tests;
