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
        if !known {
            self.insert(session, Stage::Placing { by, known }, Some(upstream), now);
        }
        if let Some(entry) = self.entries.get_mut(session) {
            entry.stage = Stage::Placing { by, known };
            entry.upstream = Some(upstream);
            entry.epoch = epoch;
            entry.lease = Some(lease);
            entry.reason = Some(reason);
            entry.left = None;
            entry.attached.clear();
            entry.joining.clear();
        }
        self.check(session);
        epoch
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

    /// A conn is attached: its create or resume was acknowledged.
    pub fn attached(&mut self, session: &SessionId, conn: ConnId, epoch: u64) {
        let Some(entry) = self.entries.get_mut(session).filter(|e| e.epoch == epoch) else {
            return;
        };
        entry.arrived(conn);
        // Nobody was on the way to it.
        if matches!(entry.stage, Stage::Deleting(_)) {
            return;
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
    }

    /// A live session that conns of ours hold takes room, also if it was found and not placed: its lease, if it has none.
    pub fn lend(&mut self, session: &SessionId, lease: impl FnOnce(UpstreamId) -> Option<L>) {
        let Some(entry) = self.entries.get_mut(session) else { return };
        if entry.stage == Stage::Live && !entry.attached.is_empty() && entry.lease.is_none() {
            entry.lease = entry.upstream.and_then(lease);
        }
    }

    /// A conn's create or resume came to nothing; `absent`: because its CLI has no such session.
    pub fn not_placed(
        &mut self,
        session: &SessionId,
        conn: ConnId,
        epoch: u64,
        absent: bool,
        now: Instant,
    ) {
        let Some(entry) = self.entries.get_mut(session).filter(|e| e.epoch == epoch) else {
            return;
        };
        match entry.stage {
            Stage::Placing { by, known } if by == conn => {
                if known && !absent {
                    self.store(session, false, now);
                } else {
                    self.forget(session, None);
                }
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
