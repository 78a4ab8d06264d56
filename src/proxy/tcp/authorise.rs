//! Whether a client is let in: who it is, and whether it may have one conn more.

use std::sync::Arc;

use super::Conn;
use crate::identity::Evidence;
use crate::observe::audit::{self, Act, Decision, Line};
use crate::proxy::callers::Who;
use crate::time;
use crate::upstream::pool::Visitor;

impl Conn {
    /// The conn is its caller's from now on. Fails with the word for metrics and log if it is not let in.
    pub(super) fn authorise(&mut self) -> Result<(), &'static str> {
        let edge = &self.listener.edge;
        let (peer, shown) = (self.origin.address(), self.origin.shown());
        let evidence = Evidence { token: None, peer, shown, request: None };
        let now = time::now();
        match (edge.claims)(&evidence, time::wall()) {
            Some(Ok(claim)) => {
                let (caller, unknown) = (edge.caller_of(&claim), self.visitor.unknown);
                self.visitor = Arc::new(Visitor { caller, unknown });
                // Nothing that can be shown without a word expires: that is for tokens.
            }
            Some(Err(why)) if edge.authenticates => return Err(self.deny(why)),
            None if edge.authenticates => return Err(self.deny("no_evidence")),
            Some(Err(_)) | None => {}
        }
        let who = Who::of(&self.visitor.caller, self.origin.peer().ip());
        if let Some(seats) = edge.callers.seats() {
            let Some(seat) = seats.take(who.clone()) else {
                return Err(self.reject("max_conns_per_caller"));
            };
            self.seat = Some(Box::new(seat));
        }
        // A conn is all that is asked for here.
        let share = self.listener.edge.callers.share(&who, now);
        if share.is_some_and(|share| share.take(now).is_err()) {
            return Err(self.reject("rate_limited"));
        }
        Ok(())
    }

    fn deny(&self, reason: &'static str) -> &'static str {
        let who = audit::Who {
            caller: &self.visitor.caller,
            conn_id: self.id,
            client_addr: self.origin.peer(),
            listener: &self.listener.edge.name,
            pool: &self.listener.pool.name,
        };
        let (act, decision) = (Act::Authenticate, Decision::Deny);
        Line { who, act, decision, reason, session: None, method: None }.log();
        self.reject("unauthenticated")
    }

    fn reject(&self, why: &'static str) -> &'static str {
        self.listener.edge.metrics.rejected.inc(why);
        why
    }
}
