//! How a life ends: a session is left, closed, deleted, or its CLI goes away.

use super::entry::{Close, Entry, Left, Stage};
use super::{Absence, Storage, Table, Wake};
use crate::id::{ConnId, SessionId, UpstreamId};
use crate::time::Instant;

impl<L> Table<L> {
    /// A conn is no longer attached; `cut`: because its CLI went away.
    pub fn detached(
        &mut self,
        session: &SessionId,
        conn: ConnId,
        epoch: u64,
        cut: bool,
        now: Instant,
    ) {
        let Some(entry) = self.entries.get_mut(session).filter(|e| e.epoch == epoch) else {
            return;
        };
        entry.attached.retain(|c| *c != conn);
        if entry.stage == Stage::Live {
            self.settle(session, cut, now);
        }
    }

    /// The CLI no longer has the session in memory.
    pub fn closed(&mut self, session: &SessionId, upstream: UpstreamId, epoch: u64, now: Instant) {
        let here = |e: &&mut Entry<L>| e.upstream == Some(upstream) && e.epoch == epoch;
        let Some(entry) = self.entries.get_mut(session).filter(here) else { return };
        match entry.stage {
            Stage::Live | Stage::Halted(Close::Waits | Close::Unanswered) => {
                entry.attached.clear();
                entry.stage = Stage::Live;
                self.settle(session, false, now);
            }
            // A close of ours is on its way, and would end the next life there.
            Stage::Halted(Close::Asked) => entry.attached.clear(),
            Stage::Sought
            | Stage::Placing { .. }
            | Stage::Stored { .. }
            | Stage::Lost
            | Stage::Deleting(_) => {}
        }
    }

    /// The session was deleted there.
    pub fn deleted(&mut self, session: &SessionId, upstream: UpstreamId, epoch: u64) {
        let here = |e: &&mut Entry<L>| e.upstream == Some(upstream) && e.epoch == epoch;
        let Some(entry) = self.entries.get_mut(session).filter(here) else { return };
        match entry.stage {
            // Whoever is on the way may bring it to life again there, and says so. A delete of ours may be on its way, and
            // would end the next life there.
            Stage::Placing { .. } | Stage::Deleting(_) => {}
            Stage::Live | Stage::Halted(Close::Waits) if !entry.joining.is_empty() => {
                entry.attached.clear();
            }
            // A close of ours is on its way, and would end the next life there.
            Stage::Halted(Close::Asked) => entry.attached.clear(),
            Stage::Live
            | Stage::Halted(Close::Waits | Close::Unanswered)
            | Stage::Sought
            | Stage::Stored { .. }
            | Stage::Lost => {
                self.forget(session, None);
            }
        }
    }

    /// A CLI went away, or came back. With own storage its sessions go and come with it. Those that conns hold end when
    /// the conns say so.
    pub fn upstream_is(&mut self, upstream: UpstreamId, up: bool) {
        self.gone.retain(|gone| *gone != upstream);
        if !up {
            self.gone.push(upstream);
        }
        let own = self.storage == Storage::Own;
        if !up {
            self.left_is_gone(upstream);
        }
        let wakes = &mut self.wakes;
        for entry in self.entries.values_mut().filter(|e| e.upstream == Some(upstream)) {
            let held = entry.is_held();
            entry.stage = match entry.stage {
                Stage::Live | Stage::Halted(_) if !up && !held => {
                    wakes.extend(entry.waiters.drain(..).map(|asker| Wake(asker, None)));
                    self.room.moved();
                    entry.end_life();
                    // The end of one that was halted is written.
                    let cut = entry.stage == Stage::Live;
                    if own { Stage::Lost } else { Stage::Stored { cut } }
                }
                // Nobody will answer the close; the conns that hold it end its life.
                Stage::Halted(_) if !up => {
                    wakes.extend(entry.waiters.drain(..).map(|asker| Wake(asker, None)));
                    Stage::Live
                }
                Stage::Stored { .. } if !up && own => Stage::Lost,
                Stage::Lost if up => Stage::Stored { cut: true },
                same @ (Stage::Sought
                | Stage::Placing { .. }
                | Stage::Live
                | Stage::Halted(_)
                | Stage::Stored { .. }
                | Stage::Lost
                | Stage::Deleting(_)) => same,
            };
        }
        self.make_room();
    }

    /// A CLI is gone for good, unless a conn holds one of its sessions or is on the way to one; or unless it is `up` and may
    /// have one in memory. Says whether it is.
    pub fn upstream_removed(&mut self, upstream: UpstreamId, up: bool) -> bool {
        let held =
            |e: &Entry<L>| e.upstream == Some(upstream) && (e.is_held() || e.lease.is_some());
        let stays = |e: &Entry<L>| held(e) || up && e.may_live_on(upstream);
        if self.entries.values().any(stays) {
            return false;
        }
        self.upstream_is(upstream, false);
        self.upstream_reaped(upstream);
        // Nothing can be left with it any more.
        self.gone.retain(|gone| *gone != upstream);
        true
    }

    /// Sessions that this CLI may have in memory though no conn holds them, at most so many.
    pub fn may_live_on(&self, upstream: UpstreamId, limit: usize) -> Vec<SessionId> {
        let there = self.entries.iter().filter(|(_, e)| !e.is_held() && e.may_live_on(upstream));
        there.take(limit).map(|(session, _)| session.clone()).collect()
    }

    /// This CLI says that it does not have the session in memory.
    pub fn lives_no_more(&mut self, session: &SessionId, upstream: UpstreamId, now: Instant) {
        let there = |e: &&mut Entry<L>| !e.is_held() && e.may_live_on(upstream) && !e.asking;
        let Some(entry) = self.entries.get_mut(session).filter(there) else { return };
        if entry.stage == Stage::Live {
            self.store(session, false, now);
        }
        if let Some(entry) = self.entries.get_mut(session) {
            entry.left = None;
        }
    }

    /// Forgets the sessions that were lost with CLIs that are `gone` for good: another one may have come to have them,
    /// and whoever wants one finds out by asking.
    pub fn forget_lost(&mut self, gone: impl Fn(UpstreamId) -> bool) {
        let lost = |e: &Entry<L>| e.stage == Stage::Lost && e.upstream.is_some_and(&gone);
        self.entries.retain(|_, entry| !lost(entry));
    }

    /// The process of a CLI has ended, and something that it started may write still: whoever wants one of its sessions
    /// elsewhere waits until it is [`Table::upstream_reaped`].
    pub fn upstream_ending(&mut self, upstream: UpstreamId) {
        if self.storage == Storage::Shared && !self.ending.contains(&upstream) {
            self.ending.push(upstream);
        }
    }

    /// Nothing of an earlier process of the CLI lives any more.
    pub fn upstream_reaped(&mut self, upstream: UpstreamId) {
        if !self.ending.contains(&upstream) {
            return;
        }
        self.ending.retain(|ending| *ending != upstream);
        for entry in self.entries.values_mut().filter(|e| e.upstream == Some(upstream)) {
            if matches!(entry.stage, Stage::Stored { .. }) {
                self.wakes.extend(entry.waiters.drain(..).map(|asker| Wake(asker, None)));
            }
        }
    }

    /// Nobody here holds it: it is stored; or somebody still does.
    pub(super) fn settle(&mut self, session: &SessionId, cut: bool, now: Instant) {
        if !self.entries.get(session).is_some_and(Entry::is_held) {
            self.store(session, cut, now);
        }
    }

    pub(super) fn store(&mut self, session: &SessionId, cut: bool, now: Instant) {
        let own = self.storage == Storage::Own;
        if let Some(entry) = self.entries.get_mut(session) {
            let gone = entry.upstream.is_some_and(|u| self.gone.contains(&u));
            entry.stage = if own && gone { Stage::Lost } else { Stage::Stored { cut } };
            entry.end_life();
            entry.touched = now;
            entry.free_since = now;
            let by = entry.upstream.filter(|_| !gone);
            entry.left = by.map(|by| Left { by, at: now, has: false });
        }
        self.wake(session, None);
        self.check(session);
        self.make_room();
    }

    pub(super) fn forget(&mut self, session: &SessionId, absence: Option<Absence>) {
        self.wake(session, absence);
        self.entries.remove(session);
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::{A, B, Bench, S};
    use super::super::{Answer, State};
    use super::*;
    use crate::error::Reason;

    fn lost(bench: &Bench) -> usize {
        bench.table.counts()[State::Lost as usize]
    }

    fn left(storage: Storage) -> Bench {
        let mut bench = Bench::new(storage, 100);
        let epoch = bench.live(S, 1, A);
        bench.table.detached(&S.into(), bench.conn(1), epoch, false, bench.now);
        bench
    }

    #[test]
    fn a_cli_is_not_removed_while_a_conn_has_a_session_on_it() {
        let mut bench = Bench::new(Storage::Own, 100);
        let placing = bench.place(S, 1, A);
        assert!(!bench.table.upstream_removed(A, false), "somebody is on the way");
        bench.table.attached(&S.into(), bench.conn(1), placing);
        assert!(!bench.table.upstream_removed(A, false));
        assert!(bench.table.upstream_removed(B, false), "nothing is there");
        bench.table.detached(&S.into(), bench.conn(1), placing, false, bench.now);
        assert!(bench.table.upstream_removed(A, false));
        assert_eq!(bench.leases(), 0);
    }

    #[test]
    fn a_cli_that_is_up_is_not_removed_while_it_may_have_a_session_in_memory() {
        for storage in [Storage::Own, Storage::Shared] {
            let mut bench = left(storage);
            assert!(!bench.table.upstream_removed(A, true));
            assert_eq!(bench.table.may_live_on(A, 9), [S.into()]);
            bench.table.lives_no_more(&S.into(), B, bench.now);
            assert!(!bench.table.upstream_removed(A, true));
            bench.table.lives_no_more(&S.into(), A, bench.now);
            assert!(bench.table.may_live_on(A, 9).is_empty());
            assert!(bench.table.upstream_removed(A, true));
        }
    }

    #[test]
    fn sessions_of_a_removed_cli_are_lost_until_another_cli_comes() {
        let mut bench = left(Storage::Own);
        assert!(bench.table.upstream_removed(A, false));
        assert_eq!(lost(&bench), 1);
        let answer = bench.resume(S, 2);
        assert!(matches!(answer, Answer::Refused(r) if r.reason == Reason::SessionLost));
        bench.table.forget_lost(|id| id != A);
        assert_eq!(lost(&bench), 1, "it may come back itself");
        bench.table.forget_lost(|id| id == A);
        assert_eq!(bench.resume(S, 2), Answer::LookUp);
    }

    #[test]
    fn sessions_of_a_removed_cli_go_anywhere_where_storage_is_shared() {
        let mut bench = left(Storage::Shared);
        assert!(bench.table.upstream_removed(A, false));
        let answer = bench.resume(S, 2);
        assert!(matches!(answer, Answer::Place { only: None, ask: None, .. }), "{answer:?}");
    }

    #[test]
    fn clis_that_are_removed_are_not_remembered() {
        let mut bench = Bench::new(Storage::Shared, 100);
        for n in 0..1000 {
            bench.table.upstream_ending(UpstreamId(n));
            bench.table.upstream_is(UpstreamId(n), false);
            assert!(bench.table.upstream_removed(UpstreamId(n), false));
        }
        assert!(bench.table.gone.is_empty() && bench.table.ending.is_empty());
    }
}
