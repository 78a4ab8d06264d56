//! How a life begins, or does not: a session is found, placed, attached.

use super::entry::{Close, Entry, Stage};
use super::{Absence, Sighting, Storage, Table};
use crate::id::{ConnId, SessionId, UpstreamId};
use crate::placement::PlacementReason;
use crate::time::Instant;

impl<L> Table<L> {
    /// A CLI was chosen for a session that [`super::Answer::Place`] was said of. Returns the life that begins.
    pub fn place(
        &mut self,
        session: &SessionId,
        by: ConnId,
        upstream: UpstreamId,
        reason: PlacementReason,
        lease: L,
        now: Instant,
    ) -> u64 {
        self.epoch += 1;
        let epoch = self.epoch;
        let known = self.entries.contains_key(session);
        let stage = Stage::Placing { by, known, failover: self.fails_over(session, upstream) };
        if !known {
            self.insert(session, stage, Some(upstream), now);
        }
        if let Some(entry) = self.entries.get_mut(session) {
            entry.stage = stage;
            entry.upstream = Some(upstream);
            entry.epoch = epoch;
            entry.lease = Some(lease);
            entry.reason = Some(reason);
            (entry.left, entry.asking) = (None, false);
            entry.attached.clear();
            entry.joining.clear();
        }
        self.check(session);
        epoch
    }

    /// Whether a session goes to this CLI because the one that it was on was lost.
    fn fails_over(&self, session: &SessionId, to: UpstreamId) -> bool {
        let Some(Entry { stage, upstream: Some(from), .. }) = self.entries.get(session) else {
            return false;
        };
        let cut = matches!(stage, Stage::Stored { cut: true });
        *from != to && (cut || self.gone.contains(from))
    }

    /// What asking all CLIs for a session gave.
    pub fn looked_up(&mut self, session: &SessionId, sighting: Sighting) {
        let Some(entry) = self.entries.get_mut(session) else { return };
        if entry.stage != Stage::Sought {
            return;
        }
        let absence = match sighting {
            Sighting::Live(upstream) => {
                self.epoch += 1;
                entry.epoch = self.epoch;
                entry.upstream = Some(upstream);
                entry.stage = Stage::Live;
                return self.wake(session, None);
            }
            Sighting::OnDisk(upstreams) => match upstreams.as_slice() {
                [upstream, rest @ ..] if rest.is_empty() || self.storage == Storage::Shared => {
                    entry.upstream = Some(*upstream);
                    entry.stage = Stage::Stored { cut: false };
                    return self.wake(session, None);
                }
                [] => Absence::Nobody,
                [..] => Absence::Twice,
            },
            Sighting::LiveTwice => Absence::Twice,
            Sighting::Nobody { down: false } => Absence::Nobody,
            Sighting::Nobody { down: true } => Absence::NobodyUp,
            Sighting::Unsure => Absence::Unsure,
            Sighting::Unasked => Absence::Unasked,
        };
        self.forget(session, Some(absence));
    }

    /// A conn is attached: its create or resume was acknowledged. Says whether that ends a failover.
    pub fn attached(&mut self, session: &SessionId, conn: ConnId, epoch: u64) -> bool {
        let Some(entry) = self.entries.get_mut(session).filter(|e| e.epoch == epoch) else {
            return false;
        };
        let failover = matches!(entry.stage, Stage::Placing { failover: true, .. });
        entry.arrived(conn);
        // Nobody was on the way to it.
        if matches!(entry.stage, Stage::Deleting(_)) {
            return false;
        }
        if !entry.attached.contains(&conn) {
            entry.attached.push(conn);
        }
        // While the close is under way it may come after what is told here.
        if entry.stage != Stage::Halted(Close::Asked) {
            entry.stage = Stage::Live;
            self.wake(session, None);
        }
        self.check(session);
        failover
    }

    /// A live session that conns of ours hold takes room, also if it was found and not placed: its lease, if it has none.
    pub fn lend(&mut self, session: &SessionId, lease: impl FnOnce(UpstreamId) -> Option<L>) {
        let Some(entry) = self.entries.get_mut(session) else { return };
        if entry.stage == Stage::Live && !entry.attached.is_empty() && entry.lease.is_none() {
            entry.lease = entry.upstream.and_then(lease);
        }
    }

    /// A conn's create or resume came to nothing; `absent`: because its CLI has no such session. Says whether a failover
    /// failed by that.
    pub fn not_placed(
        &mut self,
        session: &SessionId,
        conn: ConnId,
        epoch: u64,
        absent: bool,
        now: Instant,
    ) -> bool {
        let Some(entry) = self.entries.get_mut(session).filter(|e| e.epoch == epoch) else {
            return false;
        };
        match entry.stage {
            Stage::Placing { by, known, failover } if by == conn => {
                if known && !absent {
                    self.store(session, false, now);
                } else {
                    self.forget(session, None);
                }
                return failover;
            }
            Stage::Live => {
                entry.arrived(conn);
                self.settle(session, false, now);
            }
            Stage::Halted(_) => entry.arrived(conn),
            Stage::Placing { .. }
            | Stage::Sought
            | Stage::Stored { .. }
            | Stage::Lost
            | Stage::Deleting(_) => {}
        }
        false
    }

    /// No CLI could be chosen for a session that [`super::Answer::Place`] was said of.
    pub fn unplaceable(&mut self, session: &SessionId) {
        self.wake(session, None);
    }

    /// A CLI made a session under a name of its own.
    pub fn learned(
        &mut self,
        session: &SessionId,
        upstream: UpstreamId,
        life: Option<(ConnId, L)>,
        now: Instant,
    ) -> u64 {
        match life {
            Some((conn, lease)) => {
                let epoch =
                    self.place(session, conn, upstream, PlacementReason::Learned, lease, now);
                self.attached(session, conn, epoch);
                epoch
            }
            None => {
                if !self.entries.contains_key(session) {
                    self.insert(session, Stage::Stored { cut: false }, Some(upstream), now);
                }
                0
            }
        }
    }

    pub(super) fn insert(
        &mut self,
        session: &SessionId,
        stage: Stage,
        upstream: Option<UpstreamId>,
        now: Instant,
    ) {
        // Not the epoch of a life that it had before it was forgotten.
        self.epoch += 1;
        let entry = Entry::new(stage, upstream, self.epoch, now);
        self.entries.insert(session.clone(), entry);
        self.make_room();
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::{A, B, Bench, S};
    use super::*;

    /// Whether a session that conn 2 resumes on `to` is one that fails over.
    fn fails_over(bench: &mut Bench, to: UpstreamId) -> bool {
        let epoch = bench.place(S, 2, to);
        bench.table.attached(&S.into(), bench.conn(2), epoch)
    }

    #[test]
    fn a_session_that_was_lost_and_goes_on_elsewhere_fails_over() {
        let mut bench = Bench::new(Storage::Shared, 100);
        let epoch = bench.live(S, 1, A);
        bench.table.detached(&S.into(), bench.conn(1), epoch, true, bench.now);
        assert!(fails_over(&mut bench, B), "cut off under its client");
        let epoch = bench.live("t", 1, A);
        bench.table.detached(&"t".into(), bench.conn(1), epoch, false, bench.now);
        bench.table.upstream_is(A, false);
        let epoch = bench.place("t", 2, B);
        assert!(bench.table.not_placed(&"t".into(), bench.conn(2), epoch, false, bench.now));
    }

    #[test]
    fn a_session_that_comes_back_or_was_left_in_order_does_not_fail_over() {
        let mut bench = Bench::new(Storage::Shared, 100);
        let epoch = bench.live(S, 1, A);
        bench.table.detached(&S.into(), bench.conn(1), epoch, true, bench.now);
        assert!(!fails_over(&mut bench, A), "on the CLI that it was on");
        let epoch = bench.live("t", 1, A);
        bench.table.detached(&"t".into(), bench.conn(1), epoch, false, bench.now);
        let epoch = bench.place("t", 2, B);
        assert!(!bench.table.attached(&"t".into(), bench.conn(2), epoch));
    }
}
