//! Where a request of the client goes: one arm per class of method.

use bytes::Bytes;

use super::pending::At;
use super::reply::Code;
use super::slot::{Phase, Slot};
use super::{Action, Denied, Mux, Now, Outcome, Ticket, Waiting};
use crate::error::{Reason, Refusal};
use crate::id::{AskId, LinkId, RawId, SessionId, UpstreamId};
use crate::rpc::frame::Body;
use crate::rpc::json;
use crate::rpc::merge::Scatter;
use crate::rpc::message::{self, Call};
use crate::rpc::methods::{Method, Route};
use crate::rpc::turn::Starts;
use crate::time::Instant;
use crate::want::Want;

/// What is asked of every CLI is copied for every CLI.
const MAX_FLEET_REQUEST: usize = 1024 * 1024;

/// How many questions to every CLI one conn may have under way, and of how many bytes together.
const MAX_FLEET_REQUESTS: (usize, usize) = (128, 2 * MAX_FLEET_REQUEST);

/// What is asked of another CLI where the first one leaves. A larger request is refused then.
const MAX_RETRIED: usize = 64 * 1024;

impl Mux {
    pub(super) fn route(
        &mut self,
        id: &RawId,
        method: &'static Method,
        call: &Call<'_>,
        body: &Body<'_>,
        now: Now,
    ) {
        if self.settings.policy.judge(method).is_err() {
            return self.deny(id, method, now.at);
        }
        match method.route() {
            Route::Session | Route::Fork => self.session_request(id, Some(method), call, body, now),
            Route::Connect => self.client_connect(id, body.bytes(), call, now),
            Route::Ping => self.client_ping(id, body.bytes(), call, now),
            Route::Create => self.create(id, call, body, now),
            Route::Resume => self.resume(id, call, body, now),
            Route::AnyOne(_) => self.any_one(id, body, now),
            Route::Merge(_) | Route::Single(_) | Route::Scatter(_) | Route::EveryOne
                if body.bytes().len() > MAX_FLEET_REQUEST =>
            {
                let message = format!("{} takes at most {MAX_FLEET_REQUEST} bytes", method.name);
                self.refuse(id, &Refusal::new(Reason::FrameTooLarge, message), now.at);
            }
            Route::Merge(_) | Route::Single(_) | Route::Scatter(_) | Route::EveryOne
                if self.asks_enough(body.bytes().len()) =>
            {
                let message = "too many questions to the whole fleet wait on this conn";
                self.refuse(id, &Refusal::new(Reason::Overloaded, message), now.at);
            }
            Route::Merge(_) | Route::Single(_) | Route::Scatter(_) | Route::EveryOne => {
                let ticket = self.ticket(Waiting::Ask(id.clone(), body.bytes().len()));
                self.wait_for(id, ticket);
                self.actions.push_back(Action::Ask(ticket, method, body.to_bytes()));
            }
            Route::Local(result) => {
                if self.settle(id.as_bytes(), Outcome::Ok, now.at).is_some() {
                    self.write_result(id.as_str(), result.as_bytes());
                }
            }
            Route::Deny(_) => self.deny(id, method, now.at),
        }
    }

    /// The policy does not allow the method.
    fn deny(&mut self, id: &RawId, method: &Method, now: Instant) {
        let message = format!("{} is not allowed here", method.name);
        self.refuse(id, &Refusal::new(Reason::MethodDenied, message), now);
    }

    fn asks_enough(&self, more: usize) -> bool {
        let size = |waiting: &Waiting| match waiting {
            Waiting::Ask(_, size) => Some(*size),
            Waiting::Seek(_)
            | Waiting::Unnamed(..)
            | Waiting::Choose(..)
            | Waiting::Authenticate(..)
            | Waiting::Greet(_) => None,
        };
        let (count, bytes) = self
            .waiting
            .values()
            .filter_map(size)
            .fold((1, more), |sum, size| (sum.0 + 1, sum.1 + size));
        count > MAX_FLEET_REQUESTS.0 || bytes > MAX_FLEET_REQUESTS.1
    }

    /// A method that is in no table: only a session can say where it goes, and its CLI what it is.
    pub(super) fn route_unknown(&mut self, id: &RawId, call: &Call<'_>, body: &Body<'_>, now: Now) {
        if call.session.id().is_some() {
            return self.session_request(id, None, call, body, now);
        }
        let message = format!("Unhandled method {}", call.method);
        self.invalid(id, Code::MethodNotFound, &message, now.at);
        self.actions.push_back(Action::Denied(None, None, Denied::Unknown));
    }

    fn session_request(
        &mut self,
        id: &RawId,
        method: Option<&'static Method>,
        call: &Call<'_>,
        body: &Body<'_>,
        now: Now,
    ) {
        let Some(session) = call.session.id().map(SessionId::new) else {
            return self.missing_session(id, method, now.at);
        };
        if let Some(second) = self.stranger(method, call, body) {
            return self.refuse(id, &Refusal::session_not_found(&second), now.at);
        }
        if let Some(slot) = self.slots.get(session.as_bytes()) {
            if slot.seek.is_some() {
                return self.enqueue(id, session, body, now.at);
            }
            let here = slot.phase != Phase::Away && self.may_answer(&session, method, call, body);
            let here = here && !self.waits_for_turn(slot, method);
            if let (true, Some(link)) = (here, slot.link) {
                return self.forward(id, &session, method, link, body, now);
            }
        }
        let want = match method.and_then(Method::answers) {
            Some(_) => match ask_of(call, body.bytes()) {
                Some(ask) => Want::Answer(ask),
                None => Want::Use { on_disk: false },
            },
            None if self.settings.bounds_turns && starts_turn(method) => Want::Turn,
            None => Want::Use { on_disk: method.is_some_and(Method::is_on_disk) },
        };
        self.set_session(id, &session);
        self.sweep_slots();
        let ticket = self.seek(&session, want, body.to_bytes());
        self.wait_for(id, ticket);
    }

    /// Whether it starts a turn for which there must be room first. What joins a turn that runs belongs to it.
    fn waits_for_turn(&self, slot: &Slot, method: Option<&Method>) -> bool {
        let runs = slot.phase == Phase::Attached && slot.busy();
        self.settings.bounds_turns && starts_turn(method) && !runs
    }

    /// The second session that a request names, if the conn is not attached to it: a CLI would take a part of an id,
    /// and anybody's.
    fn stranger(
        &self,
        method: Option<&'static Method>,
        call: &Call<'_>,
        body: &Body<'_>,
    ) -> Option<String> {
        let second = param(call, body.bytes(), method?.second_id()?)?;
        let slot = self.slots.get(second.as_bytes());
        (!slot.is_some_and(|s| s.phase == Phase::Attached)).then_some(second)
    }

    /// As the CLI says it.
    pub(super) fn missing_session(&mut self, id: &RawId, method: Option<&Method>, now: Instant) {
        let error = method.map(Method::missing_session).unwrap_or_default();
        if self.settle(id.as_bytes(), Outcome::Invalid, now).is_some() {
            self.write_error(id.as_str(), &error);
        }
    }

    /// Whether an answer to a prompt, permission or tool call is for one that this session announced here.
    fn may_answer(
        &self,
        session: &SessionId,
        method: Option<&Method>,
        call: &Call<'_>,
        body: &Body<'_>,
    ) -> bool {
        if method.and_then(Method::answers).is_none() {
            return true;
        }
        let Some(ask) = ask_of(call, body.bytes()) else { return true };
        self.slots.get(session.as_bytes()).is_some_and(|s| s.asks.contains(&ask))
    }

    /// Behind another frame of its session that waits.
    pub(super) fn enqueue(
        &mut self,
        id: &RawId,
        session: SessionId,
        body: &Body<'_>,
        now: Instant,
    ) {
        self.set_session(id, &session);
        if !self.enqueue_frame(&session, Some(id), body) {
            let refusal = Refusal::new(Reason::Overloaded, "too much waits for the session");
            return self.refuse(id, &refusal.of_session(session.as_str()), now);
        }
        if let Some(pending) = self.pending.get_mut(id.as_bytes()) {
            pending.at = At::Queue(session);
        }
    }

    pub(super) fn set_session(&mut self, id: &RawId, session: &SessionId) {
        if let Some(pending) = self.pending.get_mut(id.as_bytes()) {
            pending.session = Some(session.clone());
        }
    }

    /// The frame goes out as it is.
    pub(super) fn forward(
        &mut self,
        id: &RawId,
        session: &SessionId,
        method: Option<&'static Method>,
        link: LinkId,
        body: &Body<'_>,
        now: Now,
    ) {
        if !self.room_on(link, body.bytes().len()) {
            return self.refuse(id, &too_slow().of_session(session.as_str()), now.at);
        }
        let counted = match method {
            Some(method) => self.turn_forwarded(session, method, now.at),
            None => Starts::Never,
        };
        let slot = self.slots.get_mut(session).filter(|s| s.phase != Phase::Away);
        if let Some(pending) = self.pending.get_mut(id.as_bytes()) {
            pending.at = At::Link(link);
            pending.counted = counted;
            let sent_in = slot.map(|slot| {
                slot.came(pending.since);
                slot.sent(body.bytes().len());
                (slot.epoch, slot.attachment)
            });
            (pending.epoch, pending.attachment) = sent_in.unwrap_or((pending.epoch, 0));
        }
        if let Some(link) = self.link_mut(link) {
            link.queue().frame(body);
        }
    }

    /// Whether a frame of this size still fits into what waits for the link.
    pub(super) fn room_on(&mut self, link: LinkId, size: usize) -> bool {
        let limit = self.settings.link_queue;
        self.link_mut(link).is_some_and(|l| l.queue().fits(size, limit))
    }

    fn any_one(&mut self, id: &RawId, body: &Body<'_>, now: Now) {
        match self.any.filter(|up| self.links.iter().any(|l| l.upstream == *up)) {
            Some(upstream) => self.ask_one(id, upstream, body, now),
            None => self.choose(id, body.to_bytes()),
        }
    }

    pub(super) fn choose(&mut self, id: &RawId, body: Bytes) {
        let ticket = self.ticket(Waiting::Choose(id.clone(), body));
        self.wait_for(id, ticket);
        self.actions.push_back(Action::Choose(ticket));
    }

    /// The CLI that answers for the fleet, or that there is none.
    pub fn chosen(&mut self, ticket: Ticket, upstream: Option<UpstreamId>, now: Now) {
        let Some(Waiting::Choose(id, body)) = self.waiting.remove(&ticket) else { return };
        match upstream {
            Some(upstream) => self.ask_one(&id, upstream, &Body::Owned(body), now),
            None => self.refuse(&id, &Refusal::new(Reason::NoUpstream, "no CLI is up"), now.at),
        }
    }

    fn ask_one(&mut self, id: &RawId, upstream: UpstreamId, body: &Body<'_>, now: Now) {
        self.any = Some(upstream);
        let link = self.link_to(upstream, now.at);
        if !self.room_on(link, body.bytes().len()) {
            return self.refuse(id, &too_slow(), now.at);
        }
        if let Some(pending) = self.pending.get_mut(id.as_bytes()) {
            pending.at = At::Link(link);
        }
        if body.bytes().len() <= MAX_RETRIED {
            self.keep_for_retry(id, body.to_bytes());
        }
        if let Some(link) = self.link_mut(link) {
            link.queue().frame(body);
        }
    }

    /// What the fleet answered, joined: the JSON text of the result.
    pub fn answered(&mut self, ticket: Ticket, answer: Result<&[u8], Refusal>, now: Now) {
        let Some(Waiting::Ask(id, _)) = self.waiting.remove(&ticket) else { return };
        match answer {
            Ok(result) => {
                let Some(pending) = self.settle(id.as_bytes(), Outcome::Ok, now.at) else { return };
                self.write_result(id.as_str(), result);
                let bulk = |m: &&Method| m.route() == Route::Scatter(Scatter::BulkDelete);
                if let Some(method) = pending.method.filter(bulk) {
                    let (freed, empty) = deleted(result);
                    self.actions.push_back(Action::Deleted { method, freed, empty });
                }
            }
            Err(refusal) => self.refuse(&id, &refusal, now.at),
        }
    }

    /// The fleet was asked wrongly: the JSON text of the `error` member that a CLI gives.
    pub fn asked_wrongly(&mut self, ticket: Ticket, error: &str, now: Instant) {
        let Some(Waiting::Ask(id, _)) = self.waiting.remove(&ticket) else { return };
        if self.settle(id.as_bytes(), Outcome::Invalid, now).is_some() {
            self.write_error(id.as_str(), error);
        }
    }
}

fn starts_turn(method: Option<&Method>) -> bool {
    method.is_some_and(|m| Starts::of(m.turn()) != Starts::Never)
}

pub(super) fn too_slow() -> Refusal {
    Refusal::new(Reason::Overloaded, "the CLI takes its requests too slowly")
}

/// The sessions that a `sessions.bulkDelete` has freed, by its result, and those of which there was nothing.
fn deleted(result: &[u8]) -> (Vec<SessionId>, Vec<SessionId>) {
    let (mut freed, mut empty) = (Vec::new(), Vec::new());
    if let Some(all) = json::member(result, message::whole(result), "freedBytes") {
        let _ = json::members(result, all, |key, bytes| {
            let list = if bytes.of(result) == b"0" { &mut empty } else { &mut freed };
            list.extend(json::decode(result, &key).map(|id| SessionId::new(&id)));
        });
    }
    (freed, empty)
}

/// A text among the params.
fn param(call: &Call<'_>, body: &[u8], name: &str) -> Option<String> {
    let value = json::member(body, call.params?, name)?;
    json::text_at(body, value).map(|t| t.into_owned()).filter(|t| !t.is_empty())
}

pub(super) fn ask_of(call: &Call<'_>, body: &[u8]) -> Option<AskId> {
    param(call, body, "requestId").map(|ask| AskId::new(&ask))
}
