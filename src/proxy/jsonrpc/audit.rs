//! What a conn tells the audit: what its client did with sessions, and what it was refused. Nothing here is on the way of
//! a message: a session's own are judged when the conn attaches.

use super::Conn;
use crate::id::SessionId;
use crate::observe::audit::{self, Act, Decision, Line, Who};
use crate::rpc::methods::{Method, Route};
use crate::rpc::mux::{Attach, Denied};
use crate::time::{self, Instant};
use crate::upstream::pool::Grounds;

impl Conn {
    /// Who calls, and from where.
    pub(super) fn whoever(&self) -> Who<'_> {
        Who {
            caller: &self.visitor.caller,
            conn_id: self.id,
            client_addr: self.origin.peer(),
            listener: &self.listener.edge.name,
            pool: &self.listener.pool.name,
        }
    }

    fn grounds(&self, session: &SessionId) -> Grounds {
        self.listener.pool.grounds(&self.visitor, session)
    }

    /// A session was made or resumed, and is attached.
    pub(super) fn audit_attached(&self, session: &SessionId, how: Attach) {
        if self.grounds(session) == Grounds::Granted {
            self.audit_allowed(Act::Grant, session, None);
        }
        let (act, method) = match how {
            Attach::Created => (Act::Create, "session.create"),
            Attach::Resumed => (Act::Resume, "session.resume"),
            Attach::Reopened => (Act::Resume, "session.create"),
        };
        self.audit_allowed(act, session, Some(method));
    }

    /// The client did something with a session.
    pub(super) fn audit_allowed(&self, act: Act, session: &SessionId, method: Option<&str>) {
        let (who, decision, reason) =
            (self.whoever(), Decision::Allow, self.grounds(session).slug());
        Line { who, act, decision, reason, session: Some(session), method }.log();
    }

    /// The client has all CLIs changed.
    pub(super) fn audit_change(&self, method: &Method) {
        let (who, act, decision) = (self.whoever(), Act::Change, Decision::Allow);
        let method = Some(method.name);
        Line { who, act, decision, reason: "allowed_by_config", session: None, method }.log();
    }

    /// The client had several sessions deleted; of those that are empty, some may never have been there, or be others'.
    pub(super) fn audit_deleted(
        &mut self,
        method: &'static Method,
        freed: &[SessionId],
        empty: &[SessionId],
        now: Instant,
    ) {
        for session in freed {
            self.audit_allowed(Act::Delete, session, Some(method.name));
        }
        for session in empty {
            match self.grounds(session) {
                Grounds::Owner | Grounds::Granted => {
                    self.audit_allowed(Act::Delete, session, Some(method.name));
                }
                Grounds::NotOwner => {
                    self.audit_denied(Some(method), Some(session), Denied::Session, now);
                }
                Grounds::OneCaller | Grounds::Unknown => {}
            }
        }
    }

    /// The client was refused what it may not have.
    pub(super) fn audit_denied(
        &mut self,
        method: Option<&'static Method>,
        session: Option<&SessionId>,
        what: Denied,
        now: Instant,
    ) {
        let grounds = session.map(|session| self.grounds(session));
        let reason = match (what, grounds) {
            (Denied::Session, Some(grounds @ (Grounds::NotOwner | Grounds::Unknown))) => {
                grounds.slug()
            }
            (Denied::Session, _) => "not_found",
            (Denied::LongId, _) => "id_too_long",
            (Denied::Name, _) => "session_id_pattern",
            (Denied::Method(why), _) => why.slug(),
            (Denied::Unknown, _) => "unknown_method",
            (Denied::Stranger, _) => "unauthenticated",
        };
        // The others are counted where they are answered, under the reason that the client hears.
        match what {
            Denied::Unknown | Denied::Stranger => {
                self.listener.edge.metrics.denied.inc(reason);
            }
            Denied::Session | Denied::LongId | Denied::Name | Denied::Method(_) => {}
        }
        self.audit_deny(
            act_of(method, what),
            reason,
            session,
            method.map_or("other", |m| m.name),
            now,
        );
    }

    /// The client is not let in.
    pub(super) fn deny(&mut self, why: &'static str) {
        self.listener.edge.metrics.denied.inc("authentication");
        self.audit_deny(Act::Authenticate, why, None, "connect", time::now());
    }

    /// One line, if there were not too many; else it is counted.
    fn audit_deny(
        &mut self,
        act: Act,
        reason: &str,
        session: Option<&SessionId>,
        method: &str,
        now: Instant,
    ) {
        self.audit_kept(now);
        if self.hush.get_or_insert_default().may_say(now) {
            let (who, decision, method) = (self.whoever(), Decision::Deny, Some(method));
            Line { who, act, decision, reason, session, method }.log();
        }
    }

    /// Tells how many refusals had no line, once their second is over.
    pub(super) fn audit_kept(&mut self, now: Instant) {
        if let Some(count) = self.hush.as_mut().and_then(|hush| hush.take_kept(now)) {
            audit::log_more(self.whoever(), count);
        }
    }

    /// The same, at the end of the conn.
    pub(super) fn audit_rest(&mut self) {
        if let Some(count) = self.hush.as_mut().and_then(|hush| hush.take_all()) {
            audit::log_more(self.whoever(), count);
        }
    }
}

/// What was asked for.
fn act_of(method: Option<&Method>, what: Denied) -> Act {
    match what {
        Denied::Method(_) | Denied::Unknown => return Act::Call,
        Denied::Stranger => return Act::Authenticate,
        Denied::Session | Denied::LongId | Denied::Name => {}
    }
    match method.map(|m| (m.route(), m.end())) {
        Some((Route::Create | Route::Fork, _)) => Act::Create,
        Some((Route::Resume, _)) => Act::Resume,
        Some((Route::Scatter(_), _) | (_, Some(crate::rpc::methods::End::Delete))) => Act::Delete,
        Some(_) | None => Act::Use,
    }
}
