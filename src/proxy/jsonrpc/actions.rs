//! What the mux wants done, done.

use std::sync::Arc;

use super::link::LinkIo;
use super::{Conn, report};
use crate::error::{Reason, Refusal};
use crate::health::state::Seen;
use crate::id::SessionId;
use crate::observe::audit::Act;
use crate::placement::PlacementReason;
use crate::rpc::message::{self, ClientKind};
use crate::rpc::methods::{Method, Route};
use crate::rpc::mux::{Action, Found, Left, Now, Outcome, Ticket};
use crate::session::table::Absence;
use crate::tenancy;
use crate::time::Duration;
use crate::upstream::hub::Event;
use crate::upstream::member::Linked;
use crate::upstream::pool::{By, Origin};
use crate::want::Want;

impl Conn {
    /// Does all that is to be done; what that brings about, too.
    pub(super) fn act(&mut self, now: Now) {
        while let Some(action) = self.mux.next_action() {
            self.act_on(action, now);
        }
    }

    fn act_on(&mut self, action: Action, now: Now) {
        // The one that each message brings.
        if let Action::Answered(method, outcome, took) = action {
            return self.count_answer(method, outcome, took);
        }
        let pool = Arc::clone(&self.listener.pool);
        match action {
            Action::Answered(..) => {}
            Action::Open(link, upstream) => {
                if let Some(member) = pool.member(upstream) {
                    let limit = self.listener.settings.handshake_timeout;
                    self.links.reserve_exact(1);
                    self.links.push(LinkIo::open(link, Linked::to(member), limit));
                    self.opened = true;
                    self.tally.links += 1;
                } else {
                    self.mux.link_lost(link, now);
                }
            }
            Action::Close(link) => {
                // What one that is stopped did not take in yet it is not to find when it goes on.
                let stopped = |l: &&LinkIo| l.id == link && !l.is_up();
                self.links.iter().filter(stopped).for_each(LinkIo::reset);
                self.links.retain(|l| l.id != link);
            }
            Action::Reset(link) => {
                self.links.iter().filter(|l| l.id == link).for_each(LinkIo::reset);
                self.links.retain(|l| l.id != link);
            }
            Action::Seek(ticket, Some(session), want) => {
                self.seek(ticket, session, want, None, now);
            }
            Action::Seek(ticket, None, _) => {
                let caller = &self.visitor.caller;
                // It has no name yet by which it could be told from others.
                let key = self.listener.edge.keys.of(caller, &uuid::Uuid::new_v4().to_string());
                let owner = tenancy::owner_of_new(caller, None);
                let found = match pool.choose_unnamed(&key, &owner) {
                    Ok(upstream) => {
                        let reason = Some(PlacementReason::Learned);
                        Found::Go { upstream, epoch: 0, resume: false, reason }
                    }
                    Err(refusal) => Found::Refused(refusal),
                };
                self.mux.found(ticket, found, now);
            }
            Action::Choose(ticket) => {
                // One that the conn has a link to already, if it can.
                let up = |id| pool.member(id).is_some_and(|m| m.is_up());
                let linked = self.links.iter().map(LinkIo::upstream).find(|id| up(*id));
                let upstream = linked.or_else(|| pool.any());
                self.mux.chosen(ticket, upstream, now);
            }
            Action::Ask(ticket, method, body) => self.ask_fleet(ticket, method, &body),
            Action::Authenticate(ticket, token) => self.authenticate(ticket, token, now),
            Action::Greet(ticket) => self.greet(ticket, now),
            Action::Attached(session, _, epoch, how) => {
                self.tally.sessions += 1;
                let key = self.listener.edge.keys.of(&self.visitor.caller, session.as_str());
                let class = self.listener.classes.of(&session);
                let by = By { visitor: &self.visitor, who: self.whoever(), key: &key, class };
                if pool.attached(&session, self.id, epoch, by) {
                    self.mux.joined(&session, epoch);
                }
                self.audit_attached(&session, how);
            }
            Action::NotPlaced { session, epoch, absent } => {
                pool.not_placed(&session, self.id, epoch, absent);
            }
            Action::Left(session, upstream, epoch, how, stay) => {
                if how == Left::Deleted {
                    self.audit_allowed(Act::Delete, &session, None);
                }
                pool.left(&session, self.id, upstream, epoch, how);
                self.report_session(&session, upstream, how, stay.as_deref(), now);
            }
            Action::Learned { session, parent, upstream, attached } => {
                let (caller, class) = (&self.visitor.caller, self.listener.classes.of(&session));
                let origin = Origin { caller, parent: parent.as_ref(), class };
                let epoch = pool.learned(&session, upstream, origin, attached.then_some(self.id));
                self.mux.learned(&session, upstream, epoch);
                let method = if parent.is_some() { "sessions.fork" } else { "session.create" };
                self.audit_allowed(Act::Create, &session, Some(method));
            }
            Action::Denied(method, session, what) => {
                self.audit_denied(method, session.as_ref(), what, now.at);
            }
            Action::Deleted { method, freed, empty } => {
                self.audit_deleted(method, &freed, &empty, now.at);
            }
            Action::Busy(session, epoch, busy) => pool.turn(&session, self.id, epoch, busy),
            Action::TurnEnded(turn) => self.report_turn(&turn),
            Action::Announced(session, ask) => pool.announced(&session, ask),
            Action::Settled(session, ask) => pool.settled_ask(&session, &ask),
            Action::Misconfigured(upstream, code) => {
                if let Some(member) = pool.member(upstream) {
                    tracing::debug!(upstream = member.name, code, "a link is refused");
                    // The first one says it for all.
                    pool.saw(&member, Seen::Refused);
                }
            }
            Action::Leaving(upstream) => {
                if let Some(member) = pool.member(upstream) {
                    pool.saw(&member, Seen::Leaving);
                }
            }
            Action::LinkFailed(upstream) => {
                let link = self.links.iter().find(|l| l.upstream() == upstream);
                if let Some(link) = link.filter(|l| !l.flow.broken) {
                    link.count_loss("handshake");
                }
                if let Some(member) = pool.member(upstream) {
                    member.hint(Seen::LinkFailed);
                }
            }
            Action::Odd(oddity) => {
                self.listener.edge.metrics.frame_errors.inc(report::oddity_word(oddity));
            }
        }
    }

    fn count_answer(&mut self, method: Option<&Method>, outcome: Outcome, took: Duration) {
        let index = method.map_or(u16::MAX, |m| m.index);
        self.rpc.answered(index, report::result_of(outcome), took);
        report::count_refusal(&self.listener.edge.metrics, outcome);
    }

    fn seek(
        &mut self,
        ticket: Ticket,
        session: SessionId,
        want: Want,
        absence: Option<Absence>,
        now: Now,
    ) {
        if let Some(refusal) = self.misnamed(&session, &want) {
            return self.mux.found(ticket, Found::Refused(refusal), now);
        }
        let key = self.listener.edge.keys.of(&self.visitor.caller, session.as_str());
        let class = self.listener.classes.of(&session);
        let by = By { visitor: &self.visitor, who: self.whoever(), key: &key, class };
        match self.listener.pool.seek(self.id, ticket, &session, &want, absence, by) {
            Some(found) => self.mux.found(ticket, found, now),
            None => {
                self.seeking.insert(ticket, (session, want));
            }
        }
    }

    /// Why a session of this name is not made here.
    fn misnamed(&self, session: &SessionId, want: &Want) -> Option<Refusal> {
        let required = self.listener.required_id.as_ref().filter(|_| *want == Want::Create)?;
        if required.named(session.as_str()).is_some() {
            return None;
        }
        let message = format!("the session id must match {}", required.as_str());
        Some(Refusal::new(Reason::MethodDenied, message).of_session(session.as_str()))
    }

    /// The answer to a question changed, or is there now.
    pub(super) fn seek_again(&mut self, ticket: Ticket, absence: Option<Absence>, now: Now) {
        if let Some((session, want)) = self.seeking.remove(&ticket) {
            self.seek(ticket, session, want, absence, now);
        }
    }

    fn ask_fleet(&mut self, ticket: Ticket, method: &'static Method, body: &[u8]) {
        let params = match message::read_client(body).map(|m| m.kind) {
            Ok(ClientKind::Request { call, .. }) => call.params,
            _ => None,
        };
        let params = params.map(|p| String::from_utf8_lossy(p.of(body)).into_owned());
        if method.route() == Route::EveryOne {
            self.audit_change(method);
        }
        let visitor = Arc::clone(&self.visitor);
        self.listener.pool.ask_fleet(self.id, ticket, method, params, visitor);
    }

    fn greet(&mut self, ticket: Ticket, now: Now) {
        let pool = Arc::clone(&self.listener.pool);
        if let Some(hello) = pool.hello() {
            return self.mux.greeted(ticket, Some(&hello), now.at);
        }
        let (inbox, limit) = (Arc::clone(&self.inbox), self.listener.connect_wait);
        self.listener.pool.spawn("greet", async move {
            let hello = pool.hello_within(limit).await;
            inbox.push(Event::Greeted(ticket, hello));
        });
    }
}
