//! A session gets its CLI: the balancer chooses among those that have room, and the lease takes it.

use std::sync::Arc;

use super::queue::{Asked, Waiter};
use super::{Decisions, Key, Pool};
use crate::balance::{Balancer, Candidate, PlacementReason};
use crate::caller::Owner;
use crate::error::{Reason, Refusal};
use crate::id::{ConnId, SessionId, UpstreamId};
use crate::observe::shown::Shown;
use crate::rpc::mux::{Found, Ticket};
use crate::session::table::Absence;
use crate::time;
use crate::upstream::hub::Event;
use crate::upstream::member::{Lease, Member};
use crate::upstream::seat::Seat;
use crate::want::Want;

/// When a client may try again after a cap was reached.
const RETRY_AFTER_MS: u64 = 1000;

/// Who wants a session, and as what.
pub(super) struct Sought<'a> {
    pub(super) asker: (ConnId, Ticket),
    pub(super) session: &'a SessionId,
    pub(super) want: &'a Want,
    /// What a look-up did not find.
    pub(super) absence: Option<Absence>,
    pub(super) key: &'a Key,
    /// Whom it counts for.
    pub(super) owner: Owner,
}

/// Which CLIs a session may go to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Among {
    /// The only one that can have it.
    pub(super) only: Option<UpstreamId>,
    /// Better this one than another.
    pub(super) near: Option<UpstreamId>,
}

/// Room that is kept for somebody who was called: it is given back when dropped.
pub(super) struct Promise {
    upstream: UpstreamId,
    reason: PlacementReason,
    lease: Lease,
}

impl Pool {
    /// Places the session where there is room for it, or puts it in the queue: then `Err(None)`.
    pub(super) fn place(
        self: &Arc<Self>,
        decisions: &mut Decisions,
        sought: &Sought<'_>,
        among: Among,
    ) -> Result<(UpstreamId, u64, PlacementReason), Option<Found>> {
        if !self.is_booked(sought.session) {
            // Its record went in this moment: it is asked for again, and written anew.
            let (conn, ticket) = sought.asker;
            decisions.told.push((conn, Event::Again(ticket, sought.absence)));
            return Err(None);
        }
        let reserved = self.reserve(decisions, sought, among);
        let Some(promise) = reserved.map(|()| decisions.promises.remove(&sought.asker))? else {
            return Err(None);
        };
        let Promise { upstream, reason, lease } = promise;
        let (session, conn) = (sought.session, sought.asker.0);
        self.own_again(session);
        let epoch = decisions.table.place(session, conn, upstream, reason, lease, time::now());
        self.metrics.placements.inc(reason.slug());
        tracing::info!(
            kind = "audit", action = "place", pool = self.name, session_id = %Shown(session.as_str()),
            upstream = self.member(upstream).as_ref().map(|m| m.name.as_str()),
            placement_reason = reason.slug(), conn_id = conn.0, "placed"
        );
        Ok((upstream, epoch, reason))
    }

    /// Keeps room for a session, or puts it in the queue: then `Err(None)`.
    pub(super) fn reserve(
        self: &Arc<Self>,
        decisions: &mut Decisions,
        sought: &Sought<'_>,
        among: Among,
    ) -> Result<(), Option<Found>> {
        let good = |promise: &Promise| {
            let member = self.member(promise.upstream);
            match among.only {
                Some(only) => only == promise.upstream && member.is_some_and(|m| m.is_up()),
                None => member.is_some_and(|m| m.takes()),
            }
        };
        if decisions.promises.get(&sought.asker).is_some_and(good) {
            return Ok(());
        }
        decisions.promises.remove(&sought.asker);
        let promise = self.promise(&mut decisions.balancer, sought.key, &sought.owner, among);
        if let Some(promise) = promise {
            decisions.promises.insert(sought.asker, promise);
            return Ok(());
        }
        let refusal = self.nobody(among.only, sought.session);
        if refusal.reason != Reason::Overloaded {
            decisions.table.unplaceable(sought.session);
            return Err(Some(Found::Refused(refusal)));
        }
        let asked = Asked::Place { key: sought.key.clone(), among };
        self.enqueue(decisions, Waiter::seeker(sought, asked), refusal).map_err(|refusal| {
            decisions.table.unplaceable(sought.session);
            refusal.map(Found::Refused)
        })
    }

    /// Room on the member that the policy chooses, if there is any that has it.
    pub(super) fn promise(
        &self,
        balancer: &mut Balancer,
        key: &Key,
        owner: &Owner,
        Among { only, near }: Among,
    ) -> Option<Promise> {
        if !self.has_seat(owner) {
            return None;
        }
        let candidates = self.candidates(only);
        let near = candidates.iter().find(|c| Some(c.id) == only.or(near));
        let (upstream, reason) = match (near, only) {
            (Some(candidate), _) => (candidate.id, PlacementReason::Storage),
            (None, Some(_)) => return None,
            (None, None) => balancer.choose(key.text.as_bytes(), &candidates)?,
        };
        let no_user = key.no_user && reason == PlacementReason::Sticky;
        let reason = if no_user { PlacementReason::NoUser } else { reason };
        let lease = self.lease(&self.member(upstream)?, owner);
        Some(Promise { upstream, reason, lease })
    }

    /// Whether a session of this owner could be placed now.
    pub(super) fn has_room(&self, owner: &Owner, only: Option<UpstreamId>) -> bool {
        self.has_seat(owner) && !self.candidates(only).is_empty()
    }

    pub(super) fn has_seat(&self, owner: &Owner) -> bool {
        self.seats.as_ref().is_none_or(|seats| seats.has_room(owner))
    }

    fn candidates(&self, only: Option<UpstreamId>) -> Vec<Candidate> {
        let members = self.members();
        match only {
            // One that takes nothing new still has what it has.
            Some(id) => {
                members.iter().find(|m| m.id == id).and_then(|m| m.room()).into_iter().collect()
            }
            None => members.iter().filter_map(|m| m.candidate()).collect(),
        }
    }

    /// Takes room on a member, and the owner's seat.
    pub(super) fn lease(&self, member: &Arc<Member>, owner: &Owner) -> Lease {
        let seat: Option<Seat> = self.seats.as_ref().map(|seats| seats.take(owner.clone()));
        Lease::take(member, seat)
    }

    /// Why no member can take the session: none is up, or there is no room.
    fn nobody(&self, only: Option<UpstreamId>, session: &SessionId) -> Refusal {
        let takes = |m: &Arc<Member>| match only {
            Some(only) => m.id == only && m.is_up(),
            None => m.takes(),
        };
        let up = self.members().iter().any(takes);
        let refusal = if up {
            Refusal::new(Reason::Overloaded, "as many sessions are open as may be")
        } else {
            Refusal::new(Reason::NoUpstream, "no CLI is up")
        };
        after_a_while(refusal, session)
    }

    /// A CLI for a session that the CLI itself will name. It does not wait for room.
    pub fn choose_unnamed(&self, key: &Key, owner: &Owner) -> Result<UpstreamId, Refusal> {
        let candidates = if self.has_seat(owner) { self.candidates(None) } else { Vec::new() };
        let chosen = self.decide(|d| d.balancer.choose(key.text.as_bytes(), &candidates));
        chosen.map(|(id, _)| id).ok_or_else(|| self.nobody(None, &SessionId::new("")))
    }
}

/// Who is refused for want of room may try again.
pub(super) fn after_a_while(mut refusal: Refusal, session: &SessionId) -> Refusal {
    refusal.retry_after_ms = Some(RETRY_AFTER_MS);
    refusal.of_session(session.as_str())
}
