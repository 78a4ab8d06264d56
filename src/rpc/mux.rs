//! The multiplexer: one conn, many links. Bytes of the client and of its links go in; bytes for them, and
//! [`Action`]s, come out.
//!
//! It keeps three tables: what the client waits for ([`pending`]), what its CLIs wait for ([`asked`]), and
//! which sessions the conn uses ([`slot`]). An answer goes out only to the request that it was found by, on the
//! link that the request was sent on; a request of a CLI goes only to the conn that owns the link. It knows
//! nothing of sockets, clocks, pools or other conns: where a session is, it asks ([`Action::Seek`]) and is told
//! ([`Mux::found`]).

mod asked;
mod client;
mod greeting;
mod link;
mod notice;
mod pending;
mod place;
mod reply;
mod route;
mod slot;
mod told;
mod upstream;

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use ahash::AHashMap;
use bytes::Bytes;

use super::frame::{Decoder, FrameLimits};
use super::methods::Method;
use super::out::Outgoing;
use crate::error::{Reason, Refusal};
use crate::id::{AskId, LinkId, RawId, SessionId, UpstreamId};
use crate::placement::PlacementReason;
use crate::time::Instant;
use crate::want::Want;

use asked::Asked;
use link::Link;
pub use link::LinkPhase;
use pending::{Late, Pending};
use slot::Slot;
pub use told::{Stage, Stay, TurnReport};

/// A question that the mux asked and that is answered once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u32);

/// What a conn may do and hold. Shared by all conns of a listener.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Frames of the client, in bytes.
    pub client_frame: FrameLimits,
    /// Frames of a CLI, in bytes.
    pub upstream_frame: FrameLimits,
    /// What may wait for one link, in bytes.
    pub link_queue: usize,
    /// What may wait for the client before its links are no longer read, in bytes.
    pub client_queue: usize,
    /// Requests of the client without an answer.
    pub pending: usize,
    /// Sessions that one conn may use at a time.
    pub slots: usize,
    /// For a CLI's answer, but for methods that are known to take long.
    pub request_timeout: Duration,
    /// For a client's answer to a request that holds up a turn.
    pub client_request_timeout: Duration,
    /// For a link to be open and greeted.
    pub handshake_timeout: Duration,
    /// For a session to be found or placed.
    pub seek_timeout: Duration,
    /// For the rest of a frame that is too large.
    pub discard_timeout: Duration,
    /// For answers still due after the client's FIN.
    pub finish_timeout: Duration,
    /// What each link presents to its CLI.
    pub token: Option<LinkToken>,
}

/// The CLIs' connection token. Shown nowhere.
#[derive(Clone)]
pub struct LinkToken(pub String);

impl std::fmt::Debug for LinkToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Now, on both clocks: the one that only goes forward, and the one that people read.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For deadlines and durations.
    pub at: Instant,
    /// For time stamps.
    pub wall: SystemTime,
}

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
}

impl Oddity {
    /// The word for metrics and logs.
    pub const fn slug(self) -> &'static str {
        match self {
            Oddity::LateReply => "late_reply",
            Oddity::UnknownReply => "unknown_reply",
            Oddity::StrayNotification => "stray_notification",
            Oddity::StrayBroadcast => "stray_broadcast",
            Oddity::BadUpstreamFrame => "bad_upstream_frame",
            Oddity::WrongSession => "wrong_session",
        }
    }
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

/// What the mux wants done, in order.
#[derive(Debug)]
pub enum Action {
    /// Open a link; answer with [`Mux::link_opened`] or [`Mux::link_lost`].
    Open(LinkId, UpstreamId),
    /// Close a link. It is forgotten here already.
    Close(LinkId),
    /// Close a link that was lost, so that nothing that still waits for its CLI arrives there.
    Reset(LinkId),
    /// Say where this session is: [`Mux::found`]. Without an id: choose a CLI for a session without a name.
    Seek(Ticket, Option<SessionId>, Want),
    /// Choose any CLI that is up: [`Mux::chosen`].
    Choose(Ticket),
    /// Ask the fleet and join its answers: [`Mux::answered`]. The bytes are the client's frame; the span its params.
    Ask(Ticket, &'static Method, Bytes),
    /// Say when a CLI has answered for the pool: [`Mux::greeted`].
    Greet(Ticket),
    /// A session is attached to this conn.
    Attached(SessionId, UpstreamId, u64),
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
    fn asks(&self) -> bool {
        match self {
            Action::Open(..)
            | Action::Seek(..)
            | Action::Choose(_)
            | Action::Ask(..)
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
            | Action::Answered(..)
            | Action::Misconfigured(..)
            | Action::Leaving(_)
            | Action::LinkFailed(_)
            | Action::Odd(_) => false,
        }
    }
}

/// What a ticket was for.
#[derive(Debug)]
enum Waiting {
    Seek(SessionId),
    Unnamed(RawId, Bytes),
    Choose(RawId, Bytes),
    Ask(RawId),
    Greet(RawId),
}

/// The state of one conn. See the module's head.
pub struct Mux {
    settings: std::sync::Arc<Settings>,
    decoder: Decoder,
    client: Outgoing,
    links: Vec<Link>,
    /// Boxed, because a map has room for four where there is one.
    slots: AHashMap<SessionId, Box<Slot>>,
    pending: AHashMap<RawId, Pending>,
    /// Requests that were given up, and that their link may answer still: their ids are taken until then.
    late: AHashMap<RawId, Late>,
    /// Bytes of frames that wait for their session, or are kept for a second try.
    kept: usize,
    asked: AHashMap<u64, Asked>,
    waiting: AHashMap<Ticket, Waiting>,
    actions: VecDeque<Action>,
    /// The client's own fields of `connect`, as members of a JSON object, for our `connect` on its links.
    greeting: Option<Box<str>>,
    /// The CLI that answers for the fleet where any may.
    any: Option<UpstreamId>,
    next_ticket: u32,
    next_link: u32,
    next_asked: u64,
    next_attachment: u64,
    random: u64,
    /// Turns that the client started and in which the assistant did nothing yet.
    awaits_first: u32,
    /// Frames that the client sent.
    frames_in: u64,
    /// How long the first link took to be ready.
    connected: Option<Duration>,
    /// What went on when the end began.
    ended_in: Option<Stage>,
    /// It was closed for no reason that is known here.
    dropped: bool,
    draining: bool,
    discarding_since: Option<Instant>,
    finished_at: Option<Instant>,
    end: Option<End>,
}

impl Mux {
    /// A conn that was just accepted. `seed` makes the ids of sessions and events that the mux names.
    pub fn new(settings: std::sync::Arc<Settings>, seed: u64) -> Self {
        Mux {
            decoder: Decoder::new(settings.client_frame),
            settings,
            client: Outgoing::default(),
            links: Vec::new(),
            slots: AHashMap::new(),
            pending: AHashMap::new(),
            late: AHashMap::new(),
            kept: 0,
            asked: AHashMap::new(),
            waiting: AHashMap::new(),
            actions: VecDeque::new(),
            greeting: None,
            any: None,
            next_ticket: 0,
            next_link: 0,
            next_asked: 0,
            next_attachment: 0,
            random: seed,
            awaits_first: 0,
            frames_in: 0,
            connected: None,
            ended_in: None,
            dropped: false,
            draining: false,
            discarding_since: None,
            finished_at: None,
            end: None,
        }
    }

    /// The next thing to do.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What waits for the client.
    pub fn client_out(&mut self) -> &mut Outgoing {
        &mut self.client
    }

    /// What waits for a link; `None` if the link is gone.
    pub fn link_out(&mut self, link: LinkId) -> Option<&mut Outgoing> {
        self.link_mut(link).map(|l| &mut l.out)
    }

    /// Whether the client reads slowly: neither it nor its links should be read now.
    pub fn congested(&self) -> bool {
        self.client.len() > self.settings.client_queue
    }

    /// Whether bytes of the client are still of use.
    pub fn reads_client(&self) -> bool {
        self.end.is_none() && self.finished_at.is_none()
    }

    /// Whether bytes of the links are still of use.
    pub fn reads_links(&self) -> bool {
        self.end.is_none()
    }

    /// Whether the client stopped in the middle of a frame, for now.
    pub fn client_mid_frame(&self) -> bool {
        !self.decoder.at_boundary()
    }

    /// Whether the CLI of a link did.
    pub fn link_mid_frame(&self, link: LinkId) -> bool {
        self.link(link).is_some_and(|l| !l.decoder.at_boundary())
    }

    /// All bytes that this conn keeps.
    pub fn buffered(&self) -> usize {
        let links: usize = self.links.iter().map(Link::buffered).sum();
        let greeting = self.greeting.as_ref().map_or(0, |g| g.len());
        self.client.len() + self.decoder.buffered() + self.kept + greeting + links
    }

    /// Whether something has a deadline, so that [`Mux::tick`] is needed.
    pub fn needs_ticks(&self) -> bool {
        !self.pending.is_empty()
            || self.asked.values().any(|a| a.deadline.is_some())
            || self.links.iter().any(|l| l.phase != LinkPhase::Ready)
            || self.finished_at.is_some()
            || self.decoder.discarding()
    }

    /// Requests of the client without an answer.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Sessions of this conn that are busy.
    pub fn busy(&self) -> usize {
        self.slots.values().filter(|s| s.turn.busy()).count()
    }

    /// Whether the conn can end without cutting anything: why, if so.
    pub fn done(&self) -> Option<End> {
        if let Some(end) = self.end {
            return Some(end);
        }
        let quiet = self.pending.is_empty();
        match (quiet, self.finished_at.is_some(), self.draining) {
            (true, true, _) => Some(End::Client),
            (true, false, true) if self.busy() == 0 => Some(End::Drained),
            _ => None,
        }
    }

    /// We are leaving: nothing new is taken from here on.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// The drain's time is up: whoever waits is told, in words that SDKs understand, and the conn ends.
    pub fn cut(&mut self, now: Now) {
        self.ended_in.get_or_insert(self.stage());
        // Also one whose send is refused here: its CLI may be at work.
        let busy = self.sessions(|s| s.turn.busy());
        for id in self.requests(|_| true) {
            self.refuse(&id, &Refusal::new(Reason::Draining, "fairlead is shutting down"), now.at);
        }
        for session in busy {
            self.tell_turn_cut(&session, Reason::Draining, "fairlead is shutting down", now);
            self.end_turn(&session, TurnEnd::Drained, now.at);
        }
        self.end = Some(End::Drained);
    }

    /// The client sent FIN: what it still waits for is delivered, for a while.
    pub fn client_finished(&mut self, now: Instant) {
        self.finished_at.get_or_insert(now);
    }

    /// The client is gone without a word.
    pub fn client_broke(&mut self) {
        self.end.get_or_insert(End::Client);
    }

    /// The client takes nothing, or does not go on with a frame.
    pub fn client_stalled(&mut self) {
        self.end.get_or_insert(End::Stalled);
    }

    /// Lets deadlines pass. Call it about once a second while [`Mux::needs_ticks`].
    pub fn tick(&mut self, now: Now) {
        self.expire_pending(now);
        self.expire_asked(now.at);
        self.expire_links(now);
        let settings = &self.settings;
        let over = |since: Option<Instant>, limit| since.is_some_and(|at| now.at >= at + limit);
        if over(self.finished_at, settings.finish_timeout) {
            self.end.get_or_insert(End::Client);
        }
        if over(self.discarding_since, settings.discard_timeout) {
            self.end.get_or_insert(End::Protocol("frame_too_large"));
        }
    }

    /// The conn is over: what it held is given back, as actions. What it had yet to ask for is not asked.
    pub fn close(&mut self, now: Now) {
        self.actions.retain(|action| !action.asks());
        self.dropped |= self.ended_in.is_none() && self.end.is_none();
        self.ended_in.get_or_insert(self.stage());
        let links: Vec<LinkId> = self.links.iter().map(|l| l.id).collect();
        for id in self.requests(|p| p.place.is_some_and(|p| !p.unnamed)) {
            let Some(Pending { session: Some(session), place: Some(place), .. }) =
                self.take_pending(id.as_bytes())
            else {
                continue;
            };
            self.not_placed(&session, place.epoch, false);
        }
        for session in self.sessions(|_| true) {
            self.end_turn(&session, TurnEnd::ClientLeft, now.at);
            self.leave(&session, Left::Detached);
        }
        for link in links {
            self.actions.push_back(Action::Close(link));
        }
        self.links.clear();
        self.pending.clear();
        self.late.clear();
        self.waiting.clear();
        self.asked.clear();
        self.slots.clear();
        self.kept = 0;
        self.end.get_or_insert(End::Client);
    }

    /// Gives back the room that tables grew to. For a conn that has come to rest: growing again costs more than a
    /// message.
    pub fn shrink(&mut self) {
        self.slots.shrink_to_fit();
        self.pending.shrink_to_fit();
        self.asked.shrink_to_fit();
        self.waiting.shrink_to_fit();
        self.actions.shrink_to_fit();
    }

    fn ticket(&mut self, what: Waiting) -> Ticket {
        self.next_ticket = self.next_ticket.wrapping_add(1);
        let ticket = Ticket(self.next_ticket);
        self.waiting.insert(ticket, what);
        ticket
    }

    fn odd(&mut self, what: Oddity) {
        self.actions.push_back(Action::Odd(what));
    }

    /// Asserts what must hold after every call. For tests and debug builds: it walks all tables.
    pub fn check_invariants(&self) {
        let again: usize = self.pending.values().map(Pending::kept).sum();
        let queued: usize = self.slots.values().map(|s| s.buffered()).sum();
        assert_eq!(self.kept, again + queued, "bytes are kept that are not counted");
        for (id, pending) in &self.pending {
            match &pending.at {
                pending::At::Link(link) => {
                    assert!(self.link(*link).is_some(), "{id} waits on a link that is gone");
                }
                pending::At::Ticket(ticket) => {
                    assert!(self.waiting.contains_key(ticket), "{id} waits for no question");
                }
                pending::At::Queue(session) => {
                    let slot = self.slots.get(session);
                    assert!(
                        slot.is_some_and(|s| s.seek.is_some()),
                        "{id} queues behind nothing in {session}"
                    );
                }
            }
        }
        for (id, late) in &self.late {
            assert!(self.link(late.link).is_some(), "{id} is late on a link that is gone");
            assert!(!self.pending.contains_key(id), "{id} is late and in flight");
        }
        for (id, asked) in &self.asked {
            assert!(*id < self.next_asked, "a request of a CLI has an id of the future");
            assert!(self.link(asked.link).is_some(), "a link that is gone waits for an answer");
        }
        for (session, slot) in &self.slots {
            if let Some(link) = slot.link {
                assert!(self.link(link).is_some(), "{session} is on a link that is gone");
            }
            if slot.phase != slot::Phase::Away {
                assert!(slot.link.is_some(), "{session} is attached to nothing");
            }
            if let Some(seek) = &slot.seek {
                assert!(self.waiting.contains_key(&seek.ticket), "{session} is sought by nobody");
            } else {
                assert!(slot.queue.is_empty(), "{session} holds frames for no reason");
            }
        }
        for (n, link) in self.links.iter().enumerate() {
            let twin = self.links.iter().skip(n + 1).find(|l| l.upstream == link.upstream);
            assert!(twin.is_none(), "two links to one upstream");
        }
    }
}
