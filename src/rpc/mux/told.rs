//! What is told of ends: to nobody's conn, but to those who read the log. Decides nothing.

use super::pending::At;
use super::{End, LinkPhase, Mux, TurnEnd};
use crate::balance::PlacementReason;
use crate::id::{SessionId, UpstreamId};
use crate::time::{Duration, Instant};

/// What a conn is at: of all that goes on, the last of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The client sent no whole frame yet.
    Fresh,
    /// No request waits, no turn runs.
    Idle,
    /// A request waits for an answer to a question to the pool.
    Seeking,
    /// A request waits for its link to be ready.
    Linking,
    /// A request waits for a CLI's answer.
    Waiting,
    /// A turn runs.
    Turn,
}

/// What a conn has of a session that it is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    /// Why the session was placed there; `None`: it was there already.
    pub reason: Option<PlacementReason>,
    /// How long its create or resume waited to be told where.
    pub queue: Option<Duration>,
    /// How long it then waited for the link.
    pub connect: Option<Duration>,
    /// When it was told where; once attached, since when it is.
    pub since: Instant,
    /// Turns that the conn started in it, and that are over.
    pub turns: u64,
    /// Its last turn was not ended by its CLI.
    pub cut: bool,
}

impl Stay {
    /// A create or resume that came at `came` is told where to go.
    pub(super) fn begin(reason: Option<PlacementReason>, came: Instant, now: Instant) -> Self {
        let queue = waited(came, now);
        Stay { reason, queue, connect: None, since: now, turns: 0, cut: false }
    }
}

/// A turn that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnReport {
    /// Whose.
    pub session: SessionId,
    /// Where.
    pub upstream: UpstreamId,
    /// Why there; `None`: the session was there already.
    pub reason: Option<PlacementReason>,
    /// Counts those that the conn started in the session while attached.
    pub turn: u64,
    /// What started it.
    pub method: &'static str,
    /// Requests and notifications of the client to the session meanwhile, with the one that started it.
    pub frames_in: u64,
    /// Their bodies, in bytes.
    pub bytes_in: u64,
    /// How long what started it waited before it went out, if it did.
    pub queue: Option<Duration>,
    /// How long it took from then on.
    pub took: Duration,
    /// How long until the assistant said or did something.
    pub first_event: Option<Duration>,
    /// How it ended.
    pub end: TurnEnd,
}

/// The time between, if there is any.
pub(super) fn waited(from: Instant, to: Instant) -> Option<Duration> {
    Some(to.saturating_duration_since(from)).filter(|time| !time.is_zero())
}

impl Mux {
    /// What the conn is at; once it ends, what it was at when that began.
    pub fn stage(&self) -> Stage {
        if let Some((stage, _)) = self.ended {
            return stage;
        }
        if self.busy() > 0 {
            return Stage::Turn;
        }
        let ready = |link| self.link(link).is_some_and(|l| l.phase == LinkPhase::Ready);
        let waits = self.pending.values().map(|pending| match &pending.at {
            At::Link(link) if ready(*link) => Stage::Waiting,
            At::Link(_) => Stage::Linking,
            At::Ticket(_) | At::Queue(_) => Stage::Seeking,
        });
        let rest = if self.frames_in == 0 { Stage::Fresh } else { Stage::Idle };
        waits.max().unwrap_or(rest)
    }

    /// Whether the end began, and why, if the mux knows. See [`Mux::cut`] and [`Mux::close`].
    pub fn ended(&self) -> Option<Option<End>> {
        self.ended.map(|(_, end)| end)
    }

    /// Frames that came from the client, and frames that were queued for it.
    pub fn frames(&self) -> (u64, u64) {
        (self.frames_in, self.client.frames())
    }

    /// How long the first link took to be ready.
    pub fn connected(&self) -> Option<Duration> {
        self.connected
    }
}
