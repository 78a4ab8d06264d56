//! Who is at the other end of a conn: found out from where it comes from, and from the token of its `connect`. And what
//! it may take, once that is known: a place among its caller's conns, and a share of the requests.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use super::Conn;
use crate::caller::{Caller, Claim};
use crate::error::Refusal;
use crate::identity::Evidence;
use crate::proxy::callers::Who;
use crate::rpc::mux::{Authentication, Now, Ticket, Token, Verdict};
use crate::time::{self, Instant};
use crate::upstream::pool::Visitor;

impl Conn {
    /// What the conn proves before its client has said a word.
    pub(super) fn identify(&mut self) {
        let now = time::now();
        let seated = match self.claim(None, time::wall()) {
            Some(Ok(claim)) => {
                let caller = self.caller_of(&claim);
                self.seat(&caller, now).map(|()| {
                    self.take(&claim, caller);
                    self.mux.admit();
                })
            }
            // Nobody yet: counted when it is known who.
            Some(Err(_)) | None if self.required() => Ok(()),
            Some(Err(_)) | None => self.seat_as_it_is(now),
        };
        if let Err(refusal) = seated {
            self.mux.turn_away(refusal);
        }
    }

    /// Judges a token, or that there is none.
    pub(super) fn authenticate(&mut self, ticket: Ticket, token: Option<Token>, now: Now) {
        let token = token.as_ref().map(|token| token.0.as_str());
        let address = self.origin.peer().ip();
        let verdict = match token.and_then(|_| self.listener.edge.callers.wait(address, now.at)) {
            Some(wait) => Verdict::TooOften(wait),
            None => self.judge(token, now),
        };
        self.mux.authenticated(ticket, verdict, now.at);
    }

    fn judge(&mut self, token: Option<&str>, now: Now) -> Verdict {
        match self.claim(token, now.wall) {
            Some(Ok(claim)) => {
                let caller = self.caller_of(&claim);
                let used = self.mux.frames().0 > 1;
                if self.proven && used && self.visitor.caller != caller {
                    // A conn does not change hands once it was used.
                    self.deny("another_caller");
                    return Verdict::Bad;
                }
                let seated = self.seat(&caller, now.at);
                let verdict = self.admit(seated, now);
                if verdict == Verdict::Good {
                    self.take(&claim, caller);
                }
                verdict
            }
            Some(Err(why)) => {
                self.listener.edge.callers.failed(self.origin.peer().ip(), now.at);
                self.deny(why);
                Verdict::Bad
            }
            None if self.required() && !self.proven => {
                self.deny("no_token");
                Verdict::Bad
            }
            None => {
                let seated = self.seat_as_it_is(now.at);
                self.admit(seated, now)
            }
        }
    }

    /// What a token, and all else that was presented, prove.
    fn claim(&self, token: Option<&str>, now: SystemTime) -> Option<Result<Claim, &'static str>> {
        let (peer, shown) = (self.origin.address(), self.origin.shown());
        (self.listener.edge.claims)(&Evidence { token, peer, shown, request: None }, now)
    }

    /// Lets a caller in that has a place, if its `connect` does not come too soon.
    fn admit(&self, seated: Result<(), Refusal>, now: Now) -> Verdict {
        match seated.map(|()| self.mux.charge(now.at)) {
            Ok(Ok(())) => Verdict::Good,
            Ok(Err(wait)) => Verdict::TooOften(wait),
            Err(refusal) => Verdict::TooMany(refusal),
        }
    }

    fn required(&self) -> bool {
        self.listener.settings.authentication == Authentication::Required
    }

    fn caller_of(&self, claim: &Claim) -> Caller {
        self.listener.edge.caller_of(claim)
    }

    /// The conn is this caller's from now on.
    fn take(&mut self, claim: &Claim, caller: Caller) {
        let unknown = self.visitor.unknown;
        (self.visitor, self.proven) = (Arc::new(Visitor { caller, unknown }), true);
        self.expiry = claim.expires.map(|at| {
            let left = at.duration_since(time::wall()).unwrap_or_default();
            Box::pin(tokio::time::sleep(left))
        });
        // It wakes nobody before it was polled once.
        self.opened |= self.expiry.is_some();
    }

    /// A place for the conn as that of whom it is known to be.
    fn seat_as_it_is(&mut self, now: Instant) -> Result<(), Refusal> {
        let visitor = Arc::clone(&self.visitor);
        self.seat(&visitor.caller, now)
    }

    /// Gives the conn a place among this caller's, and its share of the requests; the place that it had, it leaves.
    /// Fails if the caller has too many conns.
    fn seat(&mut self, caller: &Caller, now: Instant) -> Result<(), Refusal> {
        let who = Who::of(caller, self.origin.peer().ip());
        let callers = &self.listener.edge.callers;
        if let Some(seats) = callers.seats()
            && self.seat.as_ref().is_none_or(|seat| *seat.who() != who)
        {
            let Some(seat) = seats.take(who.clone()) else {
                self.listener.edge.metrics.rejected.inc("max_conns_per_caller");
                return Err(Refusal::too_many_conns());
            };
            self.seat = Some(Box::new(seat));
        }
        self.mux.set_share(callers.share(&who, now));
        Ok(())
    }

    /// Ends the conn when what proved its caller holds no longer.
    pub(super) fn poll_expiry(&mut self, cx: &mut Context<'_>, now: Now) {
        let Some(expiry) = &mut self.expiry else { return };
        if Pin::new(expiry).poll(cx) == Poll::Ready(()) {
            self.expiry = None;
            self.deny("expired");
            self.mux.expire(now);
        }
    }
}
