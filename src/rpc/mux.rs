//! The multiplexer: one conn, many links. Bytes of the client and of its links go in; bytes for them, and
//! [`Action`]s, come out.
//!
//! It keeps three tables: what the client waits for ([`pending`]), what its CLIs wait for ([`asked`]), and
//! which sessions the conn uses ([`slot`]). An answer goes out only to the request that it was found by, on the
//! link that the request was sent on; a request of a CLI goes only to the conn that owns the link. It knows
//! nothing of sockets, clocks, pools or other conns: where a session is, it asks ([`Action::Seek`]) and is told
//! ([`Mux::found`]).

mod action;
mod asked;
mod check;
mod client;
mod door;
mod greeting;
mod link;
mod notice;
mod pending;
mod place;
mod reply;
mod route;
mod settings;
mod slot;
mod told;
mod upstream;

use std::collections::VecDeque;
use std::time::Duration;

use ahash::AHashMap;
use bytes::Bytes;

use super::frame::Decoder;
use super::out::Outgoing;
use crate::error::{Reason, Refusal};
use crate::id::{LinkId, RawId, SessionId, UpstreamId};
use crate::rate::Share;
use crate::time::Instant;

pub use action::{
    Action, Attach, Denied, End, Found, Hello, Left, Oddity, Outcome, Ticket, Token, TurnEnd,
    Verdict,
};
use asked::Asked;
use door::{Stranger, client_frame};
use link::Link;
pub use link::LinkPhase;
use pending::{Late, Pending};
use reply::Code;
pub use settings::{Authentication, LinkToken, Now, Settings};
use slot::Slot;
pub use told::{Stage, Stay, TurnReport};

/// What a ticket was for.
#[derive(Debug)]
enum Waiting {
    Seek(SessionId),
    Unnamed(RawId, Bytes),
    Choose(RawId, Bytes),
    /// With the bytes that are copied for every CLI.
    Ask(RawId, usize),
    Authenticate(RawId, Box<str>),
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
    /// As long as the client must prove who it is, and has not.
    stranger: Option<Box<Stranger>>,
    /// How often the client may ask; `None`: as often as it likes.
    share: Option<std::sync::Arc<Share>>,
    draining: bool,
    discarding_since: Option<Instant>,
    finished_at: Option<Instant>,
    end: Option<End>,
}

impl Mux {
    /// A conn that was just accepted. `seed` makes the ids of sessions and events that the mux names.
    pub fn new(settings: std::sync::Arc<Settings>, seed: u64) -> Self {
        Mux {
            decoder: Decoder::new(client_frame(&settings)),
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
            stranger: (settings.authentication == Authentication::Required)
                .then(Box::<Stranger>::default),
            share: None,
            draining: false,
            discarding_since: None,
            finished_at: None,
            end: None,
            settings,
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
            || self.stranger.is_some()
    }

    /// Requests of the client without an answer.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Sessions of this conn that are busy.
    pub fn busy(&self) -> usize {
        self.slots.values().filter(|s| s.busy()).count()
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
        let refusal = Refusal::new(Reason::Draining, "fairlead is shutting down");
        self.break_off(
            now,
            Reason::Draining.slug(),
            TurnEnd::Drained,
            &refusal.message.clone(),
            |mux, id| {
                mux.refuse(id, &refusal, now.at);
            },
        );
        self.end = Some(End::Drained);
    }

    /// What proved who calls holds no longer: the conn ends, and whoever waits is told why.
    pub fn expire(&mut self, now: Now) {
        let message = "the proof of who calls has expired; connect again";
        let what = Reason::AccessDenied.slug();
        self.break_off(now, what, TurnEnd::ClientLeft, message, |mux, id| {
            mux.invalid(id, Code::AuthenticationRequired, "AUTHENTICATION_REQUIRED", now.at);
        });
        self.end = Some(End::Protocol("expired"));
    }

    /// The client broke the protocol so that nothing more can be read of it: the conn ends, and whoever waits is told so.
    fn give_up(&mut self, what: &'static str, now: Now) {
        if self.end.is_some() {
            return;
        }
        let message = format!("the conn ends, for its client broke the protocol ({what})");
        self.break_off(now, "protocol", TurnEnd::ClientLeft, &message, |mux, id| {
            mux.invalid(id, Code::InvalidRequest, &message, now.at);
        });
        self.end = Some(End::Protocol(what));
    }

    /// The client closed its side long ago: it waits no longer.
    fn finish(&mut self, now: Now) {
        if self.end.is_some() {
            return;
        }
        let refusal = Refusal::new(Reason::UpstreamTimeout, "the client closed its side long ago");
        let what = Reason::UpstreamTimeout.slug();
        self.break_off(now, what, TurnEnd::ClientLeft, &refusal.message, |mux, id| {
            mux.refuse(id, &refusal, now.at);
        });
        self.end = Some(End::Client);
    }

    /// Nothing goes on: all requests are answered, all turns ended in the client's eyes.
    fn break_off(
        &mut self,
        now: Now,
        error_type: &str,
        end: TurnEnd,
        message: &str,
        answer: impl Fn(&mut Self, &RawId),
    ) {
        let placing = self.reset_placing();
        self.ended_in.get_or_insert(self.stage());
        // Also one whose send is refused here: its CLI may be at work.
        let busy = self.sessions(Slot::busy);
        for id in self.requests(|_| true) {
            answer(self, &id);
        }
        for session in busy {
            self.tell_turn_cut(&session, error_type, message, now);
            self.end_turn(&session, end, now.at);
        }
        for link in placing {
            self.link_lost(link, now);
        }
    }

    /// What is being placed may come to life there yet: its link goes before anybody hears that it is free to be placed
    /// elsewhere. Returns the links.
    fn reset_placing(&mut self) -> Vec<LinkId> {
        let link_of = |pending: &Pending| match pending.at {
            pending::At::Link(link) if pending.place.is_some() => Some(link),
            pending::At::Link(_) | pending::At::Ticket(_) | pending::At::Queue(_) => None,
        };
        let mut placing: Vec<LinkId> = self.pending.values().filter_map(link_of).collect();
        placing.sort_unstable();
        placing.dedup();
        self.actions.extend(placing.iter().map(|link| Action::Reset(*link)));
        placing
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
        self.expire_stranger(now);
        let settings = &self.settings;
        let over = |since: Option<Instant>, limit| since.is_some_and(|at| now.at >= at + limit);
        let finished = over(self.finished_at, settings.finish_timeout);
        let discarded = over(self.discarding_since, settings.discard_timeout);
        if finished {
            self.finish(now);
        }
        if discarded {
            self.give_up("frame_too_large", now);
        }
    }

    /// The conn is over: what it held is given back, as actions. What it had yet to ask for is not asked.
    pub fn close(&mut self, now: Now) {
        self.actions.retain(|action| !action.asks());
        self.dropped |= self.ended_in.is_none() && self.end.is_none();
        self.ended_in.get_or_insert(self.stage());
        let placing = self.reset_placing();
        let links = self.links.iter().map(|l| l.id).filter(|link| !placing.contains(link));
        let links: Vec<LinkId> = links.collect();
        for id in self.requests(|p| p.place.is_some_and(|p| !p.unnamed)) {
            let Some(Pending { session: Some(session), place: Some(place), .. }) =
                self.take_pending(id.as_bytes())
            else {
                continue;
            };
            self.not_placed(&session, place.epoch, false, now.at);
        }
        for session in self.sessions(|_| true) {
            self.end_turn(&session, TurnEnd::ClientLeft, now.at);
            self.leave(&session, Left::Detached, now.at);
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
}
