//! What the client sends: each frame is read, put on the table, and routed.

use std::collections::hash_map::Entry;

use super::pending::{At, Pending};
use super::reply::Code;
use super::slot::Phase;
use super::{Action, Denied, Mux, Now, Oddity, Outcome, Ticket};
use crate::error::{Reason, Refusal};
use crate::id::{RawId, SessionId};
use crate::rpc::frame::{Body, Frame};
use crate::rpc::json;
use crate::rpc::message::{self, Call, ClientKind, Refused, SessionParam};
use crate::rpc::methods::{self, Draining, Method};
use crate::time::Duration;

/// The longest id that is looked for, in bytes. A CLI names files by its sessions' ids: none is as long.
const MAX_SESSION_ID: usize = 255;

impl Mux {
    /// Bytes came from the client.
    pub fn client_bytes(&mut self, mut input: &[u8], now: Now) {
        self.strangers_bytes(input.len(), now);
        while self.end.is_none() {
            match self.decoder.next(&mut input) {
                Ok(Some(_)) if self.strangers_frame(now) => {}
                Ok(Some(Frame::Whole(body))) => {
                    self.frames_in += 1;
                    self.client_frame(&body, now);
                }
                Ok(Some(Frame::TooLarge(head))) => {
                    self.frames_in += 1;
                    self.client_frame_too_large(&head, now);
                }
                Ok(None) => break,
                Err(error) => self.give_up(error.slug(), now),
            }
        }
        if !self.decoder.discarding() {
            self.discarding_since = None;
        }
    }

    fn client_frame_too_large(&mut self, head: &[u8], now: Now) {
        self.discarding_since = Some(now.at);
        match message::peek_id(head) {
            Some(id) if message::is_answer(head) => {
                self.odd(Oddity::TooLarge);
                self.answer_refused(id);
            }
            Some(id) if self.refuse_hasty(id, None, now.at) => {}
            Some(id) => {
                self.odd(Oddity::TooLarge);
                let limit = self.settings.client_frame.body;
                let message = format!("the frame is larger than {limit} bytes");
                self.refuse_untaken(id, None, &Refusal::new(Reason::FrameTooLarge, message));
            }
            None => self.give_up("frame_too_large", now),
        }
    }

    fn client_frame(&mut self, body: &Body<'_>, now: Now) {
        match message::read_client(body.bytes()) {
            Ok(message) => match message.kind {
                ClientKind::Request { id, call } => self.client_request(id, &call, body, now),
                ClientKind::Notification(call) => self.client_notification(&call, body, now),
                ClientKind::Response { id } => self.client_response(body.bytes(), id, now),
            },
            // Answered, an answer would settle a request of the client's own.
            Err(Refused::Answerable(id, _)) if self.answers_asked(id, body.bytes()) => {
                self.odd(Oddity::Invalid);
                self.answer_refused(id);
            }
            Err(Refused::Answerable(id, _)) if self.refuse_hasty(id, None, now.at) => {}
            Err(Refused::Answerable(id, what)) => self.turn_back(id, what),
            Err(Refused::Untold) => self.odd(Oddity::StrayNotification),
            // An answer with `id: null` would kill the reader of some SDKs.
            Err(Refused::Hopeless(what)) => self.give_up(what, now),
        }
    }

    fn client_request(&mut self, id: &str, call: &Call<'_>, body: &Body<'_>, now: Now) {
        let method = methods::method(&call.method);
        if self.refuse_stranger(id, &call.method) || self.refuse_hasty(id, method, now.at) {
            return;
        }
        if self.late.contains_key(id.as_bytes()) {
            return self.turn_back(id, "the id is in use");
        }
        if call.session.id().is_some_and(|session| session.len() > MAX_SESSION_ID) {
            let message = "Session not found: its id is longer than any";
            self.actions.push_back(Action::Denied(method, None, Denied::LongId));
            return self.refuse_untaken(id, method, &Refusal::new(Reason::AccessDenied, message));
        }
        let full = self.pending.len() + self.late.len() >= self.settings.pending;
        let room = match self.pending.entry(RawId::new(id)) {
            Entry::Occupied(_) => return self.turn_back(id, "the id is in use"),
            Entry::Vacant(_) if full => {
                let message = "too many requests wait on this conn";
                return self.refuse_untaken(id, method, &Refusal::new(Reason::Overloaded, message));
            }
            Entry::Vacant(room) => room,
        };
        let id = room.key().clone();
        room.insert(Pending::new(method, call.session.id().map(SessionId::new), now.at));
        if let Some(refusal) = method.and_then(|m| self.refused_while_draining(m, call, body)) {
            return self.refuse(&id, &refusal, now.at);
        }
        match method {
            Some(method) => self.route(&id, method, call, body, now),
            None => self.route_unknown(&id, call, body, now),
        }
    }

    /// Refuses a request that never was on the table.
    pub(super) fn refuse_untaken(
        &mut self,
        id: &str,
        method: Option<&'static Method>,
        refusal: &Refusal,
    ) {
        self.write_error(id, &refusal.to_json());
        let outcome = Outcome::Refused(refusal.reason);
        self.actions.push_back(Action::Answered(method, outcome, Duration::ZERO));
    }

    /// Answers a frame that is no request that could be taken.
    fn turn_back(&mut self, id: &str, what: &str) {
        self.odd(Oddity::Invalid);
        self.write_invalid(id, Code::InvalidRequest, &format!("Invalid request: {what}"));
    }

    /// What a leaving fairlead no longer takes: anything that would start work.
    fn refused_while_draining(
        &self,
        method: &Method,
        call: &Call<'_>,
        body: &Body<'_>,
    ) -> Option<Refusal> {
        if !self.draining {
            return None;
        }
        let slot = call.session.id().and_then(|s| self.slots.get(s.as_bytes()));
        let busy = slot.is_some_and(|s| s.busy());
        let passes = match method.draining() {
            Draining::Passes => true,
            Draining::InTurn => busy,
            Draining::Steering => busy && is_immediate(call, body.bytes()),
            Draining::Refused => false,
        };
        (!passes).then(leaving)
    }

    pub(super) fn client_notification(&mut self, call: &Call<'_>, body: &Body<'_>, now: Now) {
        let limit = self.settings.link_queue;
        let SessionParam::Id(session, _) = &call.session else {
            return self.odd(Oddity::StrayNotification);
        };
        if self.stranger.is_some() {
            return self.odd(Oddity::Unauthenticated);
        }
        if self.charge(now.at).is_err() {
            return self.odd(Oddity::RateLimited);
        }
        let link = match self.slots.get_mut(session.as_bytes()) {
            // It must not overtake what waits for the session to be found.
            Some(slot) if slot.seek.is_some() => {
                if self.enqueue_frame(&SessionId::new(session), None, body) {
                    return;
                }
                None
            }
            Some(slot) if slot.phase != Phase::Away => {
                slot.sent(body.bytes().len());
                slot.link
            }
            Some(_) | None => None,
        };
        let Some(link) = link.and_then(|l| self.link_mut(l)) else {
            return self.odd(Oddity::StrayNotification);
        };
        if link.queue().fits(body.bytes().len(), limit) {
            link.queue().frame(body);
        } else {
            let id = link.id;
            self.link_lost(id, now);
        }
    }

    /// The request waits for the answer to a question.
    pub(super) fn wait_for(&mut self, id: &RawId, ticket: Ticket) {
        if let Some(pending) = self.pending.get_mut(id.as_bytes()) {
            pending.at = At::Ticket(ticket);
        }
    }
}

/// Whether a send joins the turn that runs, instead of starting one after it.
fn is_immediate(call: &Call<'_>, body: &[u8]) -> bool {
    let mode = call.params.and_then(|p| json::member(body, p, "mode"));
    mode.is_some_and(|m| m.of(body) == b"\"immediate\"")
}

/// What a leaving fairlead says to what it no longer takes.
pub(super) fn leaving() -> Refusal {
    Refusal::new(Reason::Draining, "fairlead is shutting down; connect again")
}
