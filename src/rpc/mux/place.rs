//! Create and resume, and every other frame that had to wait until its session was found.

use bytes::Bytes;

use super::client::leaving;
use super::pending::{At, Pending, Place};
use super::reply::Code;
use super::slot::{Gets, Phase, Slot};
use super::{Action, Attach, Found, Left, Mux, Now, Oddity, Outcome, Stay, Ticket, Waiting};
use crate::error::Refusal;
use crate::id::{LinkId, RawId, SessionId, UpstreamId};
use crate::placement::PlacementReason;
use crate::rpc::frame::Body;
use crate::rpc::json::{self, Span};
use crate::rpc::message::{self, Call, ClientKind, SessionParam};
use crate::rpc::methods::{self, Method, Route};
use crate::rpc::out::Edit;
use crate::time::Instant;
use crate::want::Want;

const TELEMETRY: &str = "enableGitHubTelemetryForwarding";

impl Mux {
    pub(super) fn create(&mut self, id: &RawId, call: &Call<'_>, body: &Body<'_>, now: Now) {
        let Some(params) = call.params else {
            let message = "session.create wants params that are an object";
            return self.invalid(id, Code::InvalidParams, message, now.at);
        };
        if let SessionParam::NotAString(_) = call.session {
            return self.missing_session(id, methods::method(&call.method), now.at);
        }
        let bytes = body.bytes();
        if let Some(session) = call.session.id() {
            let body = without_telemetry(bytes, params);
            return self.begin(id, &SessionId::new(session), Want::Create, body, now.at);
        }
        let cloud = json::member(bytes, params, "cloud").map(|c| c.of(bytes));
        if cloud.is_some_and(|c| c != b"null" && c != b"false") {
            let body = without_telemetry(bytes, params);
            let ticket = self.ticket(Waiting::Unnamed(id.clone(), body));
            self.wait_for(id, ticket);
            return self.actions.push_back(Action::Seek(ticket, None, Want::CreateNew));
        }
        let made = SessionId::new(&self.made_uuid().to_string());
        let named = with_session(bytes, params, &call.session, made.as_str());
        let params = Span { start: params.start, end: params.end + named.len() - bytes.len() };
        let body = without_telemetry(&named, params);
        self.begin(id, &made, Want::CreateNew, body, now.at);
    }

    pub(super) fn resume(&mut self, id: &RawId, call: &Call<'_>, body: &Body<'_>, now: Now) {
        match (call.session.id(), call.params) {
            (Some(session), Some(params)) => {
                let body = without_telemetry(body.bytes(), params);
                self.begin(id, &SessionId::new(session), Want::Resume, body, now.at);
            }
            _ => self.missing_session(id, methods::method(&call.method), now.at),
        }
    }

    pub(super) fn begin(
        &mut self,
        id: &RawId,
        session: &SessionId,
        want: Want,
        body: Bytes,
        now: Instant,
    ) {
        self.set_session(id, session);
        if self.slots.get(session).is_some_and(|s| s.seek.is_some()) {
            return self.enqueue(id, session.clone(), &Body::Owned(body), now);
        }
        self.sweep_slots();
        let ticket = self.seek(session, want, body);
        self.wait_for(id, ticket);
    }

    /// The answer to [`Action::Seek`].
    pub fn found(&mut self, ticket: Ticket, found: Found, now: Now) {
        match self.waiting.remove(&ticket) {
            Some(Waiting::Seek(session)) => self.found_session(&session, found, now),
            Some(Waiting::Unnamed(id, body)) => match found {
                Found::Go { upstream, epoch, .. } => {
                    let place = Place { epoch, instead: false, unnamed: true };
                    self.send_place(&id, upstream, place, body, now);
                }
                Found::Refused(refusal) => self.refuse(&id, &refusal, now.at),
                Found::NotAsked => {}
            },
            Some(other) => {
                self.waiting.insert(ticket, other);
            }
            None => {}
        }
    }

    fn found_session(&mut self, session: &SessionId, found: Found, now: Now) {
        let seek = self.with_frames(session, |slot| slot.seek.take()).flatten();
        let Some(seek) = seek else { return };
        let life = match &found {
            Found::Go { epoch, .. } => Some(*epoch),
            Found::Refused(_) | Found::NotAsked => None,
        };
        match (seek.body, life, seek.gets) {
            (Some(body), Some(_), Gets::Turn) if self.draining => {
                self.land(session, body, Found::Refused(leaving()), now);
            }
            (Some(body), _, _) => self.land(session, body, found, now),
            // The client was told that it took too long: the place is given back.
            (None, Some(epoch), Gets::Place) => self.not_placed(session, epoch, false, now.at),
            (None, _, _) => {}
        }
        if let (Some(epoch), Gets::Turn) = (life, seek.gets) {
            self.granted(session, epoch);
        }
        // What queued behind it goes on in order, until one of them has to wait in its turn.
        loop {
            if self.slots.get(session).is_none_or(|s| s.seek.is_some()) {
                return;
            }
            let next = self.with_frames(session, |slot| slot.queue.pop_front());
            let Some((_, body)) = next.flatten() else { return };
            self.again(body, now);
        }
    }

    /// A frame whose session is found goes where that is.
    fn land(&mut self, session: &SessionId, body: Bytes, found: Found, now: Now) {
        let Ok(message) = message::read_client(&body) else { return };
        let ClientKind::Request { id, call } = &message.kind else { return };
        let id = RawId::new(id);
        let method = methods::method(&call.method);
        let places = matches!(method.map(Method::route), Some(Route::Create | Route::Resume));
        match found {
            Found::Go { upstream, epoch, resume, reason } if places => {
                let create = matches!(method.map(Method::route), Some(Route::Create));
                let place = Place { epoch, instead: create && resume, unnamed: false };
                let came = self.pending.get(&id).map_or(now.at, |p| p.since);
                let stay = Stay::begin(reason, came, now.at);
                self.take_slot(session, upstream, epoch, stay, now);
                self.send_place(&id, upstream, place, body.clone(), now);
            }
            Found::Go { upstream, epoch, .. } => {
                let link = self.link_to(upstream, now.at);
                if let Some(pending) = self.pending.get_mut(&id) {
                    pending.epoch = epoch;
                }
                self.forward(&id, session, method, link, &Body::Owned(body.clone()), now);
            }
            Found::Refused(refusal) => self.refuse(&id, &refusal, now.at),
            // The CLI's own answer to an id that it does not know.
            Found::NotAsked => self.not_asked(&id, session, method, call, &body, now),
        }
    }

    /// Whoever answers what its session did not ask hears what the CLI says of ids that it does not know.
    fn not_asked(
        &mut self,
        id: &RawId,
        session: &SessionId,
        method: Option<&Method>,
        call: &Call<'_>,
        body: &[u8],
        now: Now,
    ) {
        let ask = super::route::ask_of(call, body);
        let known = method.and_then(|m| m.answers().map(|unknown| (m, unknown)));
        let (Some((method, unknown)), Some(ask)) = (known, ask) else {
            return self.refuse(id, &Refusal::session_not_found(session.as_str()), now.at);
        };
        if self.settle(id.as_bytes(), Outcome::Ok, now.at).is_some() {
            self.write_member(id.as_str(), &unknown.to_member(method, ask.as_str()));
        }
    }

    /// A frame that had queued is routed as if it came now.
    fn again(&mut self, body: Bytes, now: Now) {
        let Ok(message) = message::read_client(&body) else { return };
        let frame = Body::Owned(body.clone());
        match &message.kind {
            ClientKind::Request { id, call } => {
                let id = RawId::new(id);
                let Some(pending) = self.pending.get(&id) else { return };
                match pending.method {
                    Some(method) => self.route(&id, method, call, &frame, now),
                    None => self.route_unknown(&id, call, &frame, now),
                }
            }
            ClientKind::Notification(call) => self.client_notification(call, &frame, now),
            ClientKind::Response { .. } => {}
        }
    }

    fn take_slot(
        &mut self,
        session: &SessionId,
        upstream: UpstreamId,
        epoch: u64,
        stay: Stay,
        now: Now,
    ) {
        let link = self.link_to(upstream, now.at);
        let slot = self.slot(session);
        if slot.link != Some(link) || slot.epoch != epoch {
            slot.phase = Phase::Away;
            slot.attachment = 0;
        }
        slot.link = Some(link);
        slot.epoch = epoch;
        if slot.phase == Phase::Away {
            slot.phase = Phase::Placing;
            slot.stay = Some(stay);
        }
    }

    fn send_place(
        &mut self,
        id: &RawId,
        upstream: UpstreamId,
        place: Place,
        body: Bytes,
        now: Now,
    ) {
        let link = self.link_to(upstream, now.at);
        let instead = place.instead;
        let Some(pending) = self.pending.get_mut(id) else { return };
        pending.place = Some(place);
        let create = pending.method.is_some_and(|m| m.route() == Route::Create);
        if create && !place.unnamed {
            self.keep_for_retry(id, body.clone());
        }
        if !self.room_on(link, body.len()) {
            return self.refuse(id, &super::route::too_slow(), now.at);
        }
        if let Some(pending) = self.pending.get_mut(id) {
            pending.at = At::Link(link);
        }
        let Some(link) = self.link_mut(link) else { return };
        match message::read_client(&body).map(|m| m.kind) {
            Ok(ClientKind::Request { call, .. }) if instead => {
                let edit = Edit { span: call.method_span, text: b"\"session.resume\"" };
                link.queue().edited(&body, &[edit]);
            }
            _ => link.queue().frame(&Body::Owned(body)),
        }
    }

    /// The CLI answered a create or resume with a result. Says whether the client may have it.
    pub(super) fn placed(
        &mut self,
        link: LinkId,
        pending: &Pending,
        place: &Place,
        body: &[u8],
        now: Instant,
    ) -> Result<(), Refusal> {
        let Some(upstream) = self.upstream_of(link) else { return Ok(()) };
        let result = json::member(body, message::whole(body), "result");
        let answered = result.and_then(|r| json::member(body, r, "sessionId"));
        let answered = answered.and_then(|s| json::text_at(body, s)).map(|s| SessionId::new(&s));
        if place.unnamed {
            let Some(session) = answered else { return Ok(()) };
            let slot = self.slot(&session);
            (slot.link, slot.epoch) = (Some(link), 0);
            slot.stay = Some(Stay::begin(Some(PlacementReason::Learned), now, now));
            self.attach(&session, now);
            self.actions.push_back(Action::Learned {
                session,
                parent: None,
                upstream,
                attached: true,
            });
            return Ok(());
        }
        let Some(session) = &pending.session else { return Ok(()) };
        if answered.is_some_and(|a| a != *session) {
            self.odd(Oddity::WrongSession);
            self.actions.push_back(Action::Reset(link));
            self.not_placed(session, place.epoch, false, now);
            return Err(Refusal::session_not_found(session.as_str()));
        }
        let slot = self.slots.get(session);
        if slot.is_some_and(|s| s.epoch == place.epoch && s.link == Some(link)) {
            self.attach(session, now);
            let how = match pending.method.map(Method::route) {
                Some(Route::Create) if place.instead => Attach::Reopened,
                Some(Route::Create) => Attach::Created,
                Some(_) | None => Attach::Resumed,
            };
            self.actions.push_back(Action::Attached(session.clone(), upstream, place.epoch, how));
        } else {
            self.not_placed(session, place.epoch, false, now);
        }
        Ok(())
    }

    /// The life of a session that a CLI named itself. The conn may have left it before that was known.
    pub fn learned(&mut self, session: &SessionId, upstream: UpstreamId, epoch: u64) {
        if epoch == 0 {
            return;
        }
        let new = |s: &&mut Box<Slot>| s.phase == Phase::Attached && s.epoch == 0;
        match self.slots.get_mut(session).filter(new) {
            Some(slot) => slot.epoch = epoch,
            None => {
                let left = Action::Left(session.clone(), upstream, epoch, Left::Detached, None);
                self.actions.push_back(left);
            }
        }
    }

    /// The CLI answered a create or resume with an error. Says whether another try is under way.
    pub(super) fn place_failed(
        &mut self,
        id: &RawId,
        pending: &mut Option<Pending>,
        link: LinkId,
        absent: bool,
        now: Now,
    ) -> bool {
        let Some(taken) = pending.take() else { return false };
        let again = taken.place.as_ref().is_some_and(|p| p.instead && absent);
        match (&taken.session, &taken.place, taken.again(), self.upstream_of(link)) {
            // Never sent to: on no disk, so the resume in its stead found nothing.
            (Some(_), Some(place), Some(body), Some(upstream)) if again => {
                let place = Place { epoch: place.epoch, instead: false, unnamed: false };
                self.put_pending(id, taken);
                self.send_place(id, upstream, place, body, now);
                return true;
            }
            (Some(session), Some(place), _, _) if !place.unnamed => {
                let (session, epoch) = (session.clone(), place.epoch);
                self.not_placed(&session, epoch, absent, now.at);
            }
            _ => {}
        }
        *pending = Some(taken);
        false
    }

    /// A session left, by the client's own request that its CLI carried out.
    pub(super) fn ended_by_request(
        &mut self,
        session: &SessionId,
        link: LinkId,
        pending: &Pending,
        how: Left,
        now: Now,
    ) {
        if self.is_still(session, pending) {
            self.end_turn(session, super::TurnEnd::ClientLeft, now.at);
            self.leave(session, how, now.at);
        } else if let (true, Some(upstream)) = (how != Left::Detached, self.upstream_of(link)) {
            let left = Action::Left(session.clone(), upstream, pending.epoch, how, None);
            self.actions.push_back(left);
        }
    }

    /// Whether the conn is attached as it was when the request went out.
    pub(super) fn is_still(&self, session: &SessionId, pending: &Pending) -> bool {
        let attachment = self.slots.get(session).map_or(0, |s| s.attachment);
        attachment != 0 && attachment == pending.attachment
    }
}

/// The frame without the field that would give the client telemetry of everybody's sessions.
fn without_telemetry(body: &[u8], params: Span) -> Bytes {
    let Some(gone) = json::member_with_comma(body, params, TELEMETRY) else {
        return Bytes::copy_from_slice(body);
    };
    let (head, tail) = (body.get(..gone.start), body.get(gone.end..));
    [head.unwrap_or_default(), tail.unwrap_or_default()].concat().into()
}

/// The frame with this session id among its params.
fn with_session(body: &[u8], params: Span, present: &SessionParam<'_>, id: &str) -> Vec<u8> {
    let (at, text) = match present {
        SessionParam::Id(_, span) | SessionParam::NotAString(span) => (*span, format!("\"{id}\"")),
        SessionParam::Absent => {
            let at = params.start + 1;
            let empty = json::members(body, params, |_, _| ()).is_ok()
                && body.get(at..params.end - 1).is_some_and(|inner| inner.trim_ascii().is_empty());
            let comma = if empty { "" } else { "," };
            (Span { start: at, end: at }, format!("\"sessionId\":\"{id}\"{comma}"))
        }
    };
    let (head, tail) = (body.get(..at.start), body.get(at.end..));
    [head.unwrap_or_default(), text.as_bytes(), tail.unwrap_or_default()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(body: &str) -> Span {
        json::member(body.as_bytes(), message::whole(body.as_bytes()), "params").unwrap()
    }

    #[test]
    fn a_made_id_is_spliced_in() {
        for (body, expected) in [
            (r#"{"params":{}}"#, r#"{"params":{"sessionId":"x"}}"#),
            (r#"{"params":{ "a":1}}"#, r#"{"params":{"sessionId":"x", "a":1}}"#),
        ] {
            let out = with_session(body.as_bytes(), params(body), &SessionParam::Absent, "x");
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        let body = r#"{"params":{"sessionId":"","a":1}}"#;
        let present = SessionParam::Id("".into(), Span { start: 23, end: 25 });
        let out = with_session(body.as_bytes(), params(body), &present, "x");
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"params":{"sessionId":"x","a":1}}"#);
    }

    #[test]
    fn the_telemetry_field_is_cut_out_wherever_it_stands() {
        for (body, expected) in [
            (r#"{"params":{"enableGitHubTelemetryForwarding":true}}"#, r#"{"params":{}}"#),
            (
                r#"{"params":{"enableGitHubTelemetryForwarding" : true , "b":2}}"#,
                r#"{"params":{ "b":2}}"#,
            ),
            (
                r#"{"params":{"a":1,"enableGitHubTelemetryForwarding":true}}"#,
                r#"{"params":{"a":1}}"#,
            ),
            (
                r#"{"params":{"a":1, "enableGitHubTelemetryForwarding":true,"b":2}}"#,
                r#"{"params":{"a":1,"b":2}}"#,
            ),
            (r#"{"params":{"a":1}}"#, r#"{"params":{"a":1}}"#),
        ] {
            assert_eq!(without_telemetry(body.as_bytes(), params(body)), expected);
        }
    }
}
