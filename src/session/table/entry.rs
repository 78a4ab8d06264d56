//! One session's record. It decides nothing.

use smallvec::SmallVec;

use super::{Asker, State};
use crate::id::{AskId, ConnId, SessionId, UpstreamId};
use crate::time::Instant;

/// Where a session is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The CLIs are being asked.
    Sought,
    /// A conn's create or resume is under way; `known`: it was stored before.
    Placing { by: ConnId, known: bool },
    /// In memory.
    Live,
    /// On disk; `cut`: its CLI went away under it, and who used it must resume it.
    Stored { cut: bool },
    /// On the disk of a CLI that is not up.
    Lost,
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
    /// How many conns see a turn in it.
    pub(super) busy: u32,
    pub(super) touched: Instant,
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
            busy: 0,
            touched: now,
        }
    }

    /// The state that it counts for.
    pub(super) fn state(&self) -> State {
        match self.stage {
            Stage::Sought | Stage::Placing { .. } => State::Placing,
            Stage::Live => State::Live,
            Stage::Stored { .. } => State::Stored,
            Stage::Lost => State::Lost,
        }
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
        self.busy = 0;
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
            Stage::Live => assert!(self.upstream.is_some(), "{session} lives nowhere"),
            Stage::Stored { .. } | Stage::Lost => {
                assert!(self.lease.is_none(), "{session} holds a lease for nothing");
                assert!(self.attached.is_empty(), "{session} has conns but no life");
                assert!(self.busy == 0, "{session} works without a life");
            }
        }
    }
}
