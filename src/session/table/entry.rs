//! One session's record. It decides nothing.

use smallvec::SmallVec;

use super::{Asker, LINGER, State};
use crate::id::{AskId, ConnId, SessionId, UpstreamId};
use crate::placement::PlacementReason;
use crate::time::Instant;

/// Where a session is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The CLIs are being asked.
    Sought,
    /// A conn's create or resume is under way; `known`: it was stored before; `failover`: it was lost with another CLI.
    Placing { by: ConnId, known: bool, failover: bool },
    /// In memory.
    Live,
    /// Its end is written, but its CLI keeps what is left of it in memory.
    Halted(Close),
    /// On disk; `cut`: its CLI went away under it, and who used it must resume it.
    Stored { cut: bool },
    /// On the disk of a CLI that is not up.
    Lost,
    /// It is to be gone, and may be in part.
    Deleting(Delete),
}

/// How far it is asked for that a session be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delete {
    /// Its CLI is asked.
    Asked,
    /// It did not say that the session is gone.
    Unanswered,
}

/// How far its CLI is asked to close what is left of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Close {
    /// Not yet: resumes that are on their way may find it closed already, and would be cut.
    Waits,
    /// It is asked; everybody waits.
    Asked,
    /// It did not answer.
    Unanswered,
}

/// A CLI that was left with a session, and may have it in memory still.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    pub(super) by: UpstreamId,
    /// When that was, or when the CLI said that it has it.
    pub(super) at: Instant,
    /// It said so.
    pub(super) has: bool,
}

impl Left {
    /// Whether a CLI may take so long to give up what nobody uses.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) < LINGER
    }
}

/// What is remembered of one session.
pub(super) struct Entry<L> {
    pub(super) stage: Stage,
    pub(super) upstream: Option<UpstreamId>,
    pub(super) epoch: u64,
    pub(super) attached: SmallVec<[ConnId; 2]>,
    /// Conns whose resume of the live session is under way.
    pub(super) joining: SmallVec<[ConnId; 1]>,
    pub(super) lease: Option<L>,
    pub(super) waiters: Vec<Asker>,
    pub(super) asks: Vec<AskId>,
    /// The conns that see a turn in it.
    pub(super) busy: SmallVec<[ConnId; 1]>,
    pub(super) touched: Instant,
    /// Since when nobody here holds it, while nobody does.
    pub(super) free_since: Instant,
    /// Which CLI was left with it, unless that is gone or said since that it does not have it.
    pub(super) left: Option<Left>,
    /// That CLI is being asked.
    pub(super) asking: bool,
    pub(super) reason: Option<PlacementReason>,
}

impl<L> Entry<L> {
    /// A record of nobody's.
    pub(super) fn new(
        stage: Stage,
        upstream: Option<UpstreamId>,
        epoch: u64,
        now: Instant,
    ) -> Self {
        Entry {
            stage,
            upstream,
            epoch,
            attached: SmallVec::new(),
            joining: SmallVec::new(),
            lease: None,
            waiters: Vec::new(),
            asks: Vec::new(),
            busy: SmallVec::new(),
            touched: now,
            free_since: now,
            left: None,
            asking: false,
            reason: None,
        }
    }

    /// The state that it counts for.
    pub(super) fn state(&self) -> State {
        match self.stage {
            Stage::Sought | Stage::Placing { .. } => State::Placing,
            Stage::Live | Stage::Halted(_) => State::Live,
            Stage::Stored { .. } | Stage::Deleting(_) => State::Stored,
            Stage::Lost => State::Lost,
        }
    }

    /// Whether it only lies on a disk.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Stored { .. } | Stage::Lost)
    }

    /// The CLI that may have it in memory still, though nobody uses it.
    pub(super) fn lingers_on(&self, now: Instant) -> Option<UpstreamId> {
        self.left.filter(|left| left.is_fresh(now)).map(|left| left.by)
    }

    /// Whether this CLI may have it in memory, for all that is known.
    pub(super) fn may_live_on(&self, upstream: UpstreamId) -> bool {
        let left = self.left.is_some_and(|left| left.by == upstream);
        left || self.state() == State::Live && self.upstream == Some(upstream)
    }

    /// Whether a conn of ours is attached to it or on the way.
    pub(super) fn is_held(&self) -> bool {
        !self.attached.is_empty() || !self.joining.is_empty()
    }

    /// A conn's resume of the live session is over, however it ended.
    pub(super) fn arrived(&mut self, conn: ConnId) {
        if let Some(at) = self.joining.iter().position(|c| *c == conn) {
            self.joining.remove(at);
        }
    }

    /// What belongs to a life goes with it.
    pub(super) fn end_life(&mut self) {
        self.lease = None;
        self.busy.clear();
        self.asks.clear();
        self.attached.clear();
        self.joining.clear();
    }

    /// Asserts what must hold after every call.
    pub(super) fn check(&self, session: &SessionId) {
        match self.stage {
            Stage::Sought => assert!(self.lease.is_none() && self.upstream.is_none(), "{session}"),
            Stage::Placing { .. } => {
                assert!(self.lease.is_some(), "{session} is placed without a lease");
                assert!(self.attached.is_empty(), "{session} is placed while it lives");
            }
            Stage::Live | Stage::Halted(_) => {
                assert!(self.upstream.is_some(), "{session} lives nowhere");
            }
            Stage::Stored { .. } | Stage::Lost | Stage::Deleting(_) => {
                assert!(self.left.is_some() || !self.asking, "{session} is asked for of nobody");
                assert!(self.lease.is_none(), "{session} holds a lease for nothing");
                assert!(self.attached.is_empty(), "{session} has conns but no life");
                assert!(self.busy.is_empty(), "{session} works without a life");
            }
        }
        let gone = matches!(self.stage, Stage::Deleting(_));
        assert!(!gone || !self.is_held(), "{session} is deleted under its conns");
    }
}

#[cfg(test)]
mod tests {
    use super::super::Storage;
    use super::super::bench::{A, Bench};
    use super::*;

    /// As large as the pool's lease.
    struct Lease(#[expect(dead_code, reason = "only its size counts")] (u64, u64, bool));

    #[test]
    fn a_session_of_ten_thousand_takes_at_most_512_bytes() {
        let sessions = 10_000;
        let mut bench = Bench::new(Storage::Shared, 100);
        for n in 0..sessions {
            bench.live(&format!("{n:036}"), 1, A);
        }
        // The map keeps one slot in eight free, and a byte for each slot.
        let slots = (bench.table.entries.capacity() * 8).div_ceil(7);
        let slot = size_of::<(SessionId, Entry<Lease>)>() + 1;
        let each = slots * slot / sessions;
        assert!(each <= 512, "{each} bytes a session, {slot} a slot");
        assert!(slot <= 300, "{slot} bytes a slot");
    }
}
