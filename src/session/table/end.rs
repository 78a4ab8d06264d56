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
