//! What the table is asked and told, and what it answers. It never holds a session.

use crate::error::Refusal;
use crate::id::{ConnId, UpstreamId};
use crate::placement::PlacementReason;
use crate::time::Instant;
pub use crate::want::LINGER;

/// Whether any CLI of the pool can resume any session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Each CLI has its own sessions on its own disk.
    Own,
    /// All CLIs see the same sessions.
    Shared,
}

/// What a create of an id that is taken becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateExisting {
    /// A resume: the session goes on.
    Resume,
    /// What the CLI makes of it: a session on disk starts blank.
    Pass,
    /// An error.
    Refuse,
}

/// What is known of an id from asking the CLIs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// This CLI has it in memory.
    Live(UpstreamId),
    /// These have it on disk.
    OnDisk(Vec<UpstreamId>),
    /// Two CLIs have it in memory.
    LiveTwice,
    /// All that are up were asked, none has it; `down`: but some are not up.
    Nobody {
        /// Whether a CLI that is not up may have it.
        down: bool,
    },
    /// One that is up did not answer.
    Unsure,
    /// Nobody was asked: too many others are asked for.
    Unasked,
}

/// What a look-up that found nothing tells those who wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// Nobody has it.
    Nobody,
    /// Nobody that is up has it.
    NobodyUp,
    /// It could not be found out.
    Unsure,
    /// It is on two CLIs.
    Twice,
    /// It was not tried: too many others are asked for.
    Unasked,
}

/// What to do for somebody who wants a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Go there.
    Go {
        /// The CLI.
        upstream: UpstreamId,
        /// The session's present life.
        epoch: u64,
        /// A create must go out as a resume.
        resume: bool,
        /// Why it is there, if we placed it.
        reason: Option<PlacementReason>,
    },
    /// Ask again when woken ([`Wake`]).
    Wait,
    /// Ask all CLIs, then report with [`Table::looked_up`]; then as for `Wait`.
    LookUp,
    /// Choose a CLI and report with [`Table::place`], or [`Table::unplaceable`].
    Place {
        /// The only CLI that can have it.
        only: Option<UpstreamId>,
        /// The CLI that may have it in memory still: better this one than another, if it has room.
        near: Option<UpstreamId>,
        /// The CLI that may have it in memory, for all that is known: unless it goes back there, that one is asked first
        /// ([`super::Table::ask_left`]).
        ask: Option<UpstreamId>,
        /// A create must go out as a resume.
        resume: bool,
    },
    /// It cannot be had.
    Refused(Refusal),
    /// The session did not ask for what is answered.
    NotAsked,
}

/// Who asks, and under which number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// Whose request it is.
    pub conn: ConnId,
    /// The conn's number for it.
    pub ticket: u32,
}

/// Somebody who may ask again now; with what a look-up found, if it found nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wake(pub Asker, pub Option<Absence>);

/// Whether somebody here has a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The table does not know it.
    Unknown,
    /// Conns are attached to it, or on the way.
    Held,
    /// It is being looked up, closed or deleted: ask again later.
    Changing,
    /// Nobody.
    Free {
        /// The CLI that has it, or had it.
        upstream: UpstreamId,
        /// The life that it is in, or was in last.
        epoch: u64,
        /// Since when.
        since: Instant,
    },
    /// Nobody: it is to be gone, and its CLI did not say that it is.
    Undeleted(Option<UpstreamId>),
}

/// The states that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is being looked up or placed.
    Placing,
    /// A CLI has it in memory.
    Live,
    /// It is on a disk, or may be.
    Stored,
    /// Its CLI is gone, and its disk with it.
    Lost,
}

impl State {
    /// Every state, in order.
    pub const ALL: [State; 4] = [State::Placing, State::Live, State::Stored, State::Lost];

    /// The word for metrics and logs.
    pub const fn slug(self) -> &'static str {
        match self {
            State::Placing => "placing",
            State::Live => "live",
            State::Stored => "stored",
            State::Lost => "lost",
        }
    }
}
