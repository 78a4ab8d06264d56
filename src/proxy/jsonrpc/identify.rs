//! Who is at the other end of a conn: found out from where it comes from, and from the token of its `connect`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use super::Conn;
use crate::caller::Claim;
use crate::identity::Evidence;
use crate::rpc::mux::{Authentication, Now, Ticket, Token};
use crate::time;
use crate::upstream::pool::Visitor;

impl Conn {
    /// What the conn proves before its client has said a word.
    pub(super) fn identify(&mut self) {
        if let Some(Ok(claim)) = self.claim(None, time::wall()) {
            self.take(&claim);
            self.mux.admit();
        }
    }

    /// Judges a token, or that there is none.
    pub(super) fn authenticate(&mut self, ticket: Ticket, token: Option<Token>, now: Now) {
        let token = token.as_ref().map(|token| token.0.as_str());
        let required = self.listener.settings.authentication == Authentication::Required;
        let good = match self.claim(token, now.wall) {
            Some(Ok(claim)) => self.take(&claim),
            Some(Err(why)) => {
                self.deny(why);
                false
            }
            None if required && !self.proven => {
                self.deny("no_token");
                false
            }
            None => true,
        };
        self.mux.authenticated(ticket, good, now.at);
    }

    /// What a token, and all else that was presented, prove.
    fn claim(&self, token: Option<&str>, now: SystemTime) -> Option<Result<Claim, &'static str>> {
        let (peer, shown) = (self.origin.address(), self.origin.shown());
        (self.listener.claims)(&Evidence { token, peer, shown }, now)
    }

    /// The conn is this caller's from now on. A conn does not change hands once it was used: says whether it is the same
    /// as before.
    fn take(&mut self, claim: &Claim) -> bool {
        let caller = claim.caller(&self.listener.name, self.listener.trust);
        let used = self.mux.frames().0 > 1;
        if self.proven && used && self.visitor.caller != caller {
            self.deny("another_caller");
            return false;
        }
        let unknown = self.visitor.unknown;
        (self.visitor, self.proven) = (Arc::new(Visitor { caller, unknown }), true);
        self.expiry = claim.expires.map(|at| {
            let left = at.duration_since(time::wall()).unwrap_or_default();
            Box::pin(tokio::time::sleep(left))
        });
        // It wakes nobody before it was polled once.
        self.opened |= self.expiry.is_some();
        true
    }

    fn deny(&self, why: &str) {
        tracing::warn!(
            kind = "audit", action = "authenticate", decision = "deny", reason = why,
            conn_id = self.id.0, client_addr = %self.origin.peer(), listener = self.listener.name,
            "the client is not let in"
        );
    }

    /// Ends the conn when what proved its caller holds no longer.
    pub(super) fn poll_expiry(&mut self, cx: &mut Context<'_>, now: Now) {
        let Some(expiry) = &mut self.expiry else { return };
        if Pin::new(expiry).poll(cx) == Poll::Ready(()) {
            self.expiry = None;
            self.mux.expire(now);
        }
    }
}
