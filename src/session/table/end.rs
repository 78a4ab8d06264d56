//! How a life ends: a session is left, closed, deleted, or its CLI goes away.

use super::entry::{Entry, Stage};
use super::{Absence, Storage, Table};
use crate::id::{ConnId, SessionId, UpstreamId};

impl<L> Table<L> {
    /// A conn is no longer attached; `cut`: because its CLI went away.
    pub fn detached(&mut self, session: &SessionId, conn: ConnId, epoch: u64, cut: bool) {
        let Some(entry) = self.entries.get_mut(session).filter(|e| e.epoch == epoch) else {
            return;
        };
        entry.attached.retain(|c| *c != conn);
        if entry.stage == Stage::Live {
            self.settle(session, cut);
        }
    }

    /// The CLI no longer has the session in memory.
    pub fn closed(&mut self, session: &SessionId, upstream: UpstreamId, epoch: u64) {
        let Some(entry) = self.entries.get_mut(session).filter(|e| e.epoch == epoch) else {
            return;
        };
        if entry.upstream == Some(upstream) && entry.stage == Stage::Live {
            entry.attached.clear();
            self.settle(session, false);
        }
    }

    /// The session was deleted there.
    pub fn deleted(&mut self, session: &SessionId, upstream: UpstreamId, epoch: u64) {
        let here = |e: &&mut Entry<L>| e.upstream == Some(upstream) && e.epoch == epoch;
        let Some(entry) = self.entries.get_mut(session).filter(here) else { return };
        match entry.stage {
            // Whoever is on the way may bring it to life again there, and says so.
            Stage::Placing { .. } => {}
            Stage::Live if !entry.joining.is_empty() => entry.attached.clear(),
            Stage::Live | Stage::Sought | Stage::Stored { .. } | Stage::Lost => {
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
        for entry in self.entries.values_mut().filter(|e| e.upstream == Some(upstream)) {
            let held = entry.is_held();
            entry.stage = match entry.stage {
                Stage::Live if !up && !held => {
                    entry.end_life();
                    if own { Stage::Lost } else { Stage::Stored { cut: true } }
                }
                Stage::Stored { .. } if !up && own => Stage::Lost,
                Stage::Lost if up => Stage::Stored { cut: true },
                same @ (Stage::Sought
                | Stage::Placing { .. }
                | Stage::Live
                | Stage::Stored { .. }
                | Stage::Lost) => same,
            };
        }
    }

    /// Nobody here holds it: it is stored; or somebody still does.
    pub(super) fn settle(&mut self, session: &SessionId, cut: bool) {
        if !self.entries.get(session).is_some_and(Entry::is_held) {
            self.store(session, cut);
        }
    }

    pub(super) fn store(&mut self, session: &SessionId, cut: bool) {
        let own = self.storage == Storage::Own;
        if let Some(entry) = self.entries.get_mut(session) {
            let gone = own && entry.upstream.is_some_and(|u| self.gone.contains(&u));
            entry.stage = if gone { Stage::Lost } else { Stage::Stored { cut } };
            entry.end_life();
        }
        self.wake(session, None);
        self.check(session);
    }

    pub(super) fn forget(&mut self, session: &SessionId, absence: Option<Absence>) {
        self.wake(session, absence);
        self.entries.remove(session);
    }
}
