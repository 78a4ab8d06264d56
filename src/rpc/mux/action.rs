//! What the mux wants done, and in which words: of sessions, requests, turns and ends. Nothing here does anything.

use bytes::Bytes;

use super::{Stay, TurnReport};
use crate::error::{Reason, Refusal};
use crate::id::{AskId, LinkId, SessionId, UpstreamId};
use crate::placement::PlacementReason;
use crate::rpc::methods::Method;
use crate::rpc::policy::Why;
use crate::time::Duration;
use crate::want::Want;

/// A question that the mux asked and that is answered once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u32);

/// Where a session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// There.
    Go {
        /// The CLI that has it, or gets it.
        upstream: UpstreamId,
        /// Which life of the session this is.
        epoch: u64,
        /// Whether a create must go out as a resume.
        resume: bool,
        /// Why it is there, if we placed it.
        reason: Option<PlacementReason>,
    },
    /// The client cannot have it.
    Refused(Refusal),
    /// The session is there, but did not ask for what is answered.
    NotAsked,
}

/// What the pool's CLIs say of themselves, for our answer to `connect` and `ping`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The lowest version.
    pub version: String,
    /// The protocol version that all speak.
    pub protocol: u32,
    /// The task kinds that all share.
    pub task_kinds: Vec<String>,
}

/// How a session left a conn, or the CLI's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// This conn is no longer attached.
    Detached,
    /// The CLI no longer has it in memory.
    Closed,
    /// Its end is written, but the CLI may keep what is left of it in memory: it must be closed there.
    Halted,
    /// It is deleted.
    Deleted,
    /// The link to its CLI broke.
    LinkLost,
}

/// How a session came to be attached to a conn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// It was made.
    Created,
    /// It was resumed.
    Resumed,
    /// The client asked to make it, and it was there: it was resumed.
    Reopened,
}

/// How a turn ended, as the conn that started it saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnEnd {
    /// `session.idle`.
    Idle,
    /// What started it was answered with an error, or not in time.
    Refused,
    /// `session.idle` with `aborted`.
    Aborted,
    /// Its CLI went away.
    UpstreamLost,
    /// Its client went away, or left the session.
    ClientLeft,
    /// We cut it, at the end of a drain.
    Drained,
}

/// How a request ended, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a result.
    Ok,
    /// With an error of the CLI's.
    Failed,
    /// With an error of ours.
    Refused(Reason),
    /// With an error of the protocol (-326xx) that we gave.
    Invalid,
}

/// Things that are counted, and that nobody is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Oddity {
    /// A client's frame that is no message we can take: answered with -32600, or, in its place, the CLI that it was for.
    Invalid,
    /// A client's frame over the limit, of which the id could be read.
    TooLarge,
    /// An answer that nobody waits for any more.
    LateReply,
    /// A client's answer to a request that no CLI made.
    UnknownReply,
    /// A client's notification without a session, or of one that it does not use.
    StrayNotification,
    /// A CLI's notification that is not for this conn.
    StrayBroadcast,
    /// A frame of a CLI that is no message.
    BadUpstreamFrame,
    /// A resume that was answered with another session.
    WrongSession,
    /// A client that must prove who it is did not.
    Unauthenticated,
    /// A request, or a notification, of a caller that asks more often than it may.
    RateLimited,
}

impl Oddity {
    /// The word for metrics and logs.
    pub const fn slug(self) -> &'static str {
        match self {
            Oddity::Invalid => "invalid",
            Oddity::TooLarge => "frame_too_large",
            Oddity::LateReply => "late_reply",
            Oddity::UnknownReply => "unknown_reply",
            Oddity::StrayNotification => "stray_notification",
            Oddity::StrayBroadcast => "stray_broadcast",
            Oddity::BadUpstreamFrame => "bad_upstream_frame",
            Oddity::WrongSession => "wrong_session",
            Oddity::Unauthenticated => "unauthenticated",
            Oddity::RateLimited => "rate_limited",
        }
    }
}

/// What a client may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// A session that is not the client's, or is not there.
    Session,
    /// A session whose id is longer than any.
    LongId,
    /// A session under this name.
    Name,
    /// A method that is not allowed.
    Method(Why),
    /// A method that is in no table, without a session.
    Unknown,
    /// Anything, before the client has proven who it is.
    Stranger,
}

/// Why a conn ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client closed it.
    Client,
    /// The client broke the framing or the protocol; the word says how.
    Protocol(&'static str),
    /// We are leaving.
    Drained,
    /// The client took nothing for too long, or did not finish a frame.
    Stalled,
}

/// What a client presents to be let in. Shown nowhere.
pub struct Token(pub String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// What became of what a client presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is let in.
    Good,
    /// It is not.
    Bad,
    /// It comes too often; it may try again here, after so long.
    TooOften(Duration),
    /// It is who it says, and has too many conns: this one ends.
    TooMany(Refusal),
}

/// What the mux wants done, in order.
#[derive(Debug)]
pub enum Action {
    /// Open a link; answer with [`super::Mux::link_opened`] or [`super::Mux::link_lost`].
    Open(LinkId, UpstreamId),
    /// Close a link. It is forgotten here already.
    Close(LinkId),
    /// Close a link that was lost, so that nothing that still waits for its CLI arrives there.
    Reset(LinkId),
    /// Say where this session is: [`super::Mux::found`]. Without an id: choose a CLI for a session without a name.
    Seek(Ticket, Option<SessionId>, Want),
    /// Choose any CLI that is up: [`super::Mux::chosen`].
    Choose(Ticket),
    /// Ask the fleet and join its answers: [`super::Mux::answered`]. The bytes are the client's frame; the span its params.
    Ask(Ticket, &'static Method, Bytes),
    /// Say whether this token is good, or none is wanted: [`super::Mux::authenticated`].
    Authenticate(Ticket, Option<Token>),
    /// Say when a CLI has answered for the pool: [`super::Mux::greeted`].
    Greet(Ticket),
    /// A session is attached to this conn.
    Attached(SessionId, UpstreamId, u64, Attach),
    /// A session was not attached after all; `absent`: because no CLI has it.
    NotPlaced {
        /// Which.
        session: SessionId,
        /// Which life.
        epoch: u64,
        /// The CLI said that there is no such session.
        absent: bool,
    },
    /// A session left. With what the conn had of it, if it was attached.
    Left(SessionId, UpstreamId, u64, Left, Option<Box<Stay>>),
    /// A session was made by a CLI, under a name that it chose.
    Learned {
        /// Which.
        session: SessionId,
        /// The one that it is a copy of.
        parent: Option<SessionId>,
        /// Where.
        upstream: UpstreamId,
        /// Whether this conn is attached to it.
        attached: bool,
    },
    /// A session became busy or idle, as this conn sees it.
    Busy(SessionId, u64, bool),
    /// A turn that this conn started has ended.
    TurnEnded(Box<TurnReport>),
    /// A session asked its clients for something.
    Announced(SessionId, AskId),
    /// It needs no answer any more.
    Settled(SessionId, AskId),
    /// A request was refused because the client may not have what it asks for: its method, where that is known, and its
    /// session.
    Denied(Option<&'static Method>, Option<SessionId>, Denied),
    /// A request that names several sessions deleted them; `empty`: those of which nothing was left to free, if they were
    /// there and the client's.
    Deleted {
        /// By which method.
        method: &'static Method,
        /// What they took on disk is free.
        freed: Vec<SessionId>,
        /// The others.
        empty: Vec<SessionId>,
    },
    /// A request of the client was answered.
    Answered(Option<&'static Method>, Outcome, Duration),
    /// A CLI does not let us in; the number is its error code.
    Misconfigured(UpstreamId, i64),
    /// A CLI says that it is leaving.
    Leaving(UpstreamId),
    /// A CLI's link broke before it was greeted, or was too slow.
    LinkFailed(UpstreamId),
    /// Count it.
    Odd(Oddity),
}

impl Action {
    /// Whether it asks for something that the mux is to be told later.
    pub(super) fn asks(&self) -> bool {
        match self {
            Action::Open(..)
            | Action::Seek(..)
            | Action::Choose(_)
            | Action::Ask(..)
            | Action::Authenticate(..)
            | Action::Greet(_) => true,
            Action::Close(_)
            | Action::Reset(_)
            | Action::Attached(..)
            | Action::NotPlaced { .. }
            | Action::Left(..)
            | Action::Learned { .. }
            | Action::Busy(..)
            | Action::TurnEnded(_)
            | Action::Announced(..)
            | Action::Denied(..)
            | Action::Deleted { .. }
            | Action::Settled(..)
            | Action::Answered(..)
            | Action::Misconfigured(..)
            | Action::Leaving(_)
            | Action::LinkFailed(_)
            | Action::Odd(_) => false,
        }
    }
}
