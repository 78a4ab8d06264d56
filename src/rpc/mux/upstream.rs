//! What CLIs send over the conn's links: answers, requests, events.

use super::asked::Asked;
use super::pending::{At, Pending};
use super::slot::{Phase, Slot};
use super::{Action, Left, LinkPhase, Mux, Now, Oddity, Outcome, TurnEnd};
use crate::error::{Reason, Refusal};
use crate::id::{AskId, LinkId, RawId, SessionId};
use crate::rpc::frame::{Body, Frame};
use crate::rpc::message::{self, UpstreamMessage};
use crate::rpc::methods::{self, End, Event, Route};
use crate::rpc::turn::TurnEvent;
use crate::want::Want;

/// How many prompts, permissions and tool calls of one session may be open, as one conn remembers them.
const MAX_ASKS: usize = 256;

/// The `session.lifecycle` that a delete brings about.
const DELETED: &str = "session.deleted";

impl Mux {
    /// Bytes came over a link.
    pub fn link_bytes(&mut self, id: LinkId, mut input: &[u8], now: Now) {
        // Who was told that all is over hears nothing more.
        while self.end.is_none() {
            let Some(link) = self.links.iter_mut().find(|l| l.id == id) else { return };
            match link.decoder.next(&mut input) {
                Ok(Some(Frame::Whole(body))) => self.link_frame(id, &body, now),
                Ok(Some(Frame::TooLarge(head))) => self.link_frame_too_large(id, &head, now),
                Ok(None) => return,
                Err(_) => return self.link_lost(id, now),
            }
        }
    }

    fn link_frame(&mut self, link: LinkId, body: &Body<'_>, now: Now) {
        let bytes = body.bytes();
        let message = message::read_upstream(bytes);
        if self.link(link).is_some_and(|l| l.phase != LinkPhase::Ready) {
            // Broadcasts come before the answer to our `connect`, and are none of ours.
            if let Some(UpstreamMessage::Response { id: super::greeting::OURS, failed }) = message {
                self.link_greeted(link, bytes, failed, now);
            }
            return;
        }
        match message {
            Some(UpstreamMessage::Response { id, failed }) => {
                self.link_response(link, id, failed, body, now);
            }
            Some(UpstreamMessage::Event { session, kind, event }) => {
                self.link_event(link, &session, kind, event, body, now);
            }
            Some(UpstreamMessage::Request { id, method }) => {
                self.ask_client(link, bytes, id, method, now.at);
            }
            Some(UpstreamMessage::Lifecycle { session, kind }) => {
                if self.is_on(&session, link, now.at) {
                    self.client.frame(body);
                    if kind == DELETED {
                        self.deleted_by_another(&session, now);
                    }
                } else {
                    self.odd(Oddity::StrayBroadcast);
                }
            }
            Some(UpstreamMessage::Notification { method, params }) => {
                let session = message::session_of(bytes, method, params);
                if session.is_some_and(|s| self.is_on(&s, link, now.at)) {
                    self.client.frame(body);
                } else {
                    self.odd(Oddity::StrayBroadcast);
                }
            }
            None => {
                self.odd(Oddity::BadUpstreamFrame);
                self.link_lost(link, now);
            }
        }
    }

    /// Its CLI says nothing else to those who are attached: no idle, no shutdown.
    fn deleted_by_another(&mut self, session: &str, now: Now) {
        if self.slots.get(session.as_bytes()).is_some_and(|s| s.phase == Phase::Attached) {
            let session = SessionId::new(session);
            self.end_turn(&session, TurnEnd::ClientLeft, now.at);
            self.leave(&session, Left::Closed, now.at);
        }
    }

    fn link_response(&mut self, link: LinkId, id: &str, failed: bool, body: &Body<'_>, now: Now) {
        let here = self.pending.get(id.as_bytes()).filter(|p| p.at == At::Link(link));
        let Some(plain) = here.map(Pending::is_plain) else {
            self.settle_late(link, id, failed, body.bytes(), now);
            return self.odd(Oddity::LateReply);
        };
        let outcome = if failed { Outcome::Failed } else { Outcome::Ok };
        if plain && !failed {
            self.settle(id.as_bytes(), outcome, now.at);
            return self.client.frame(body);
        }
        let id = RawId::new(id);
        let mut pending = self.take_pending(id.as_bytes());
        let bytes = body.bytes();
        if failed && self.answer_is_void(&id, &mut pending, link, bytes, now) {
            return;
        }
        let Some(pending) = pending else { return };
        let verdict = self.answer_changes_state(link, &pending, failed, bytes, now);
        let took = now.at.saturating_duration_since(pending.since);
        match verdict {
            Ok(()) => {
                self.client.frame(body);
                self.actions.push_back(Action::Answered(pending.method, outcome, took));
            }
            Err(refusal) => {
                self.write_error(id.as_str(), &refusal.to_json());
                self.denied(&pending, &refusal);
                let refused = Outcome::Refused(refusal.reason);
                self.actions.push_back(Action::Answered(pending.method, refused, took));
                self.link_lost(link, now);
            }
        }
    }

    /// The answer to a request that was given up came after all: its id is free, and what it ended is over.
    fn settle_late(&mut self, link: LinkId, id: &str, failed: bool, body: &[u8], now: Now) {
        if self.late.get(id.as_bytes()).is_none_or(|late| late.link != link) {
            return;
        }
        let ends = self.late.remove(id.as_bytes()).and_then(|late| late.ends);
        if let Some(pending) = ends.filter(|_| !failed) {
            // It placed nothing, so that there is nothing that the client may not have.
            let _ = self.answer_changes_state(link, &pending, failed, body, now);
        }
    }

    /// Whether this error is not the client's to see, because the request goes out again or is refused by us.
    fn answer_is_void(
        &mut self,
        id: &RawId,
        pending: &mut Option<Pending>,
        link: LinkId,
        body: &[u8],
        now: Now,
    ) -> bool {
        if message::says_shutting_down(body) {
            return self.upstream_is_leaving(id, pending, link, now);
        }
        let places = pending.as_ref().is_some_and(|p| p.place.is_some());
        let session = pending.as_ref().and_then(|p| p.session.as_ref());
        let absent = session.is_some_and(|s| message::says_not_found(body, s.as_str()));
        places && self.place_failed(id, pending, link, absent, now)
    }

    /// A leaving CLI did not execute the request: it is asked of another one where no session binds it.
    fn upstream_is_leaving(
        &mut self,
        id: &RawId,
        pending: &mut Option<Pending>,
        link: LinkId,
        now: Now,
    ) -> bool {
        let Some(upstream) = self.upstream_of(link) else { return false };
        self.actions.push_back(Action::Leaving(upstream));
        let Some(mut taken) = pending.take() else { return false };
        self.any = self.any.filter(|up| *up != upstream);
        let free = taken.method.is_some_and(|m| matches!(m.route(), Route::AnyOne(_)));
        match taken.again() {
            Some(body) if free => {
                self.put_pending(id, taken);
                self.choose(id, body);
            }
            Some(body) if taken.is_new() => {
                let session = taken.session.clone();
                let place = taken.place.take();
                self.put_pending(id, taken);
                if let (Some(session), Some(place)) = (session, place) {
                    self.not_placed(&session, place.epoch, true, now.at);
                    self.begin(id, &session, Want::Create, body, now.at);
                }
            }
            _ => {
                let mut refusal = Refusal::new(Reason::UpstreamLost, "the CLI is shutting down");
                refusal.session = taken.session.as_ref().map(ToString::to_string);
                self.put_pending(id, taken);
                self.refuse(id, &refusal, now.at);
            }
        }
        true
    }

    /// What an answer says of the session that it is about.
    fn answer_changes_state(
        &mut self,
        link: LinkId,
        pending: &Pending,
        failed: bool,
        body: &[u8],
        now: Now,
    ) -> Result<(), Refusal> {
        if let (Some(place), false) = (&pending.place, failed) {
            return self.placed(link, pending, place, body, now.at);
        }
        let Some(session) = &pending.session else { return Ok(()) };
        let refused = failed.then_some(TurnEnd::Refused);
        self.turn_answered(session, pending.counted, refused, now.at);
        if failed {
            let absent = message::says_not_found(body, session.as_str());
            if absent && self.is_still(session, pending) {
                self.end_turn(session, TurnEnd::ClientLeft, now.at);
                self.leave(session, Left::Closed, now.at);
            }
            return Ok(());
        }
        let Some(method) = pending.method else { return Ok(()) };
        let how = match method.end() {
            _ if message::says_no_success(body) => None,
            Some(End::Detach) => Some(Left::Detached),
            Some(End::Store) => Some(Left::Closed),
            Some(End::Halt) => Some(Left::Halted),
            Some(End::Delete) => Some(Left::Deleted),
            None => None,
        };
        if let Some(how) = how {
            self.ended_by_request(session, link, pending, how, now);
        }
        if let (Route::Fork, Some(upstream)) = (method.route(), self.upstream_of(link))
            && let Some(forked) = message::text_in(body, 0, &["result", "sessionId"])
        {
            let (parent, session) = (Some(session.clone()), SessionId::new(&forked));
            self.actions.push_back(Action::Learned { session, parent, upstream, attached: false });
        }
        Ok(())
    }

    fn link_event(
        &mut self,
        link: LinkId,
        session: &str,
        kind: &str,
        event: usize,
        body: &Body<'_>,
        now: Now,
    ) {
        // A link carries the events of the sessions that its conn attached, and of no others.
        self.client.frame(body);
        let class = methods::event(kind);
        if class == Event::Other && self.awaits_first == 0 {
            return;
        }
        let here = |s: &&mut Box<Slot>| s.link == Some(link) && s.phase != Phase::Away;
        let Some(slot) = self.slots.get_mut(session.as_bytes()).filter(here) else { return };
        if kind.starts_with("assistant.")
            && let Some(started) = slot.started.as_mut().filter(|s| s.first_event.is_none())
        {
            started.first_event = Some(now.at.saturating_duration_since(started.at));
            self.awaits_first = self.awaits_first.saturating_sub(1);
        }
        let bytes = body.bytes();
        match class {
            Event::UserMessage | Event::TurnStart => {
                if message::text_in(bytes, event, &["agentId"]).is_none() {
                    let send = class == Event::UserMessage;
                    let turn = if send { TurnEvent::UserMessage } else { TurnEvent::Working };
                    self.turn_event(session, turn, bytes, event, now);
                }
            }
            Event::AgentStarted => {
                let turn = TurnEvent::AgentStarted(agent_of(bytes, event));
                self.turn_event(session, turn, bytes, event, now);
            }
            Event::AgentEnded => {
                let turn = TurnEvent::AgentEnded(agent_of(bytes, event));
                self.turn_event(session, turn, bytes, event, now);
            }
            Event::CompactionStart => {
                self.turn_event(session, TurnEvent::CompactionStart, bytes, event, now);
            }
            Event::CompactionComplete => {
                self.turn_event(session, TurnEvent::CompactionEnd, bytes, event, now);
            }
            Event::Idle => {
                let aborted = says(bytes, r#""aborted":true"#);
                if let Some(started) = slot.started.as_mut() {
                    started.aborted = aborted;
                }
                slot.joined = false;
                let turn = if aborted { TurnEvent::Aborted } else { TurnEvent::Idle };
                self.with_turn(session.as_bytes(), now.at, |t| t.event(turn));
            }
            Event::Shutdown => {
                self.with_turn(session.as_bytes(), now.at, |t| t.event(TurnEvent::Shutdown));
                let session = SessionId::new(session);
                // Whether its CLI keeps something of it in memory, the event does not say.
                let how = if self.is_leaving(&session) { Left::Closed } else { Left::Halted };
                self.leave(&session, how, now.at);
            }
            Event::Asks => {
                if let Some(ask) = message::text_in(bytes, event, &["data", "requestId"]) {
                    self.announced(session, AskId::new(&ask));
                }
            }
            Event::Settled => {
                if let Some(ask) = message::text_in(bytes, event, &["data", "requestId"]) {
                    slot.asks.retain(|known| known.as_bytes() != ask.as_bytes());
                    let (session, ask) = (SessionId::new(session), AskId::new(&ask));
                    self.actions.push_back(Action::Settled(session, ask));
                }
            }
            Event::Error | Event::Other => {}
        }
    }

    /// Whether the conn has asked for what ends the session in its CLI's memory, too. To ask once more would race with
    /// what the CLI does, and make a delete behind it fail.
    fn is_leaving(&self, session: &SessionId) -> bool {
        let ends = |p: &Pending| match p.method.and_then(methods::Method::end) {
            Some(End::Detach | End::Store | End::Delete) => p.session.as_ref() == Some(session),
            Some(End::Halt) | None => false,
        };
        self.pending.values().any(ends)
    }

    fn turn_event(&mut self, session: &str, turn: TurnEvent, body: &[u8], event: usize, now: Now) {
        if let Some(slot) = self.slots.get_mut(session.as_bytes()) {
            slot.last_event = message::text_in(body, event, &["id"]).map(|id| id.into());
        }
        self.with_turn(session.as_bytes(), now.at, |t| t.event(turn));
    }

    fn announced(&mut self, session: &str, ask: AskId) {
        let Some(slot) = self.slots.get_mut(session.as_bytes()) else { return };
        if slot.asks.len() >= MAX_ASKS {
            slot.asks.remove(0);
        }
        slot.asks.push(ask.clone());
        self.actions.push_back(Action::Announced(SessionId::new(session), ask));
    }

    fn link_frame_too_large(&mut self, link: LinkId, head: &[u8], now: Now) {
        // Its own requests are counted from 1, too.
        let id = message::peek_id(head).filter(|_| message::is_answer(head)).map(RawId::new);
        if id.as_ref().and_then(|id| self.late.get(id)).is_some_and(|late| late.link == link) {
            // What nobody waits for any more harms nobody by its size.
            self.late.retain(|late, _| Some(late) != id.as_ref());
            return self.odd(Oddity::LateReply);
        }
        let ours = id.filter(|id| self.pending.get(id).is_some_and(|p| p.at == At::Link(link)));
        let Some(id) = ours else { return self.link_lost(link, now) };
        let places = self.pending.get(&id).is_some_and(|p| p.place.is_some());
        let limit = self.settings.upstream_frame.body;
        let message = format!("the CLI's answer is larger than {limit} bytes");
        if places {
            self.actions.push_back(Action::Reset(link));
        }
        self.refuse(&id, &Refusal::new(Reason::FrameTooLarge, message), now.at);
        // What became of the session is not known: it is left to nobody.
        if places {
            self.link_lost(link, now);
        }
    }

    /// A link broke, was never made, or must not be trusted any more. Everybody who waited is told, in the
    /// order: errors for what is pending, then the ends of its turns; then it is reset.
    pub fn link_lost(&mut self, link: LinkId, now: Now) {
        let Some((phase, upstream)) = self.link(link).map(|l| (l.phase, l.upstream)) else {
            return;
        };
        let (reason, message) = match phase {
            LinkPhase::Ready => (Reason::UpstreamLost, "the CLI went away"),
            LinkPhase::Opening | LinkPhase::Greeting => {
                (Reason::NoUpstream, "the CLI could not be reached")
            }
        };
        if phase != LinkPhase::Ready {
            self.actions.push_back(Action::LinkFailed(upstream));
        }
        // Before anybody hears that what was there is free to go elsewhere.
        self.actions.push_back(Action::Reset(link));
        let waiting = self.requests(|p| p.at == At::Link(link));
        let sessions = self.sessions(|s| s.link == Some(link));
        let busy = self.sessions(|s| s.link == Some(link) && s.busy());
        for id in waiting {
            let mut refusal = Refusal::new(reason, message);
            let session = self.pending.get(&id).and_then(|p| p.session.as_ref());
            refusal.session = session.map(ToString::to_string);
            self.refuse(&id, &refusal, now.at);
        }
        for session in &busy {
            self.tell_turn_cut(session, Reason::UpstreamLost.slug(), message, now);
            self.end_turn(session, TurnEnd::UpstreamLost, now.at);
        }
        for session in &sessions {
            self.leave(session, Left::LinkLost, now.at);
        }
        self.any = self.any.filter(|up| *up != upstream);
        self.asked.retain(|_, asked: &mut Asked| asked.link != link);
        self.late.retain(|_, late| late.link != link);
        self.links.retain(|l| l.id != link);
    }
}

/// A number for the sub-agent that an event is about. Two that share one end together: nothing else depends on it.
fn agent_of(body: &[u8], event: usize) -> u64 {
    use std::hash::{BuildHasher as _, BuildHasherDefault};
    let name = |path: &[&str]| message::text_in(body, event, path);
    let agent = name(&["agentId"]).or_else(|| name(&["data", "toolCallId"]));
    BuildHasherDefault::<std::hash::DefaultHasher>::default().hash_one(agent.as_deref())
}

fn says(body: &[u8], what: &str) -> bool {
    memchr::memmem::find(body, what.as_bytes()).is_some()
}
