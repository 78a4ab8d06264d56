//! An upstream for what is no session: a conn, or a request. The same policy, health, caps and queue as for sessions; the
//! session table has no part in it.

#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::sync::Arc;

use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::queue::Waiter;
use super::{Decisions, Key, Pool};
use crate::balance::{Balancer, Candidate, PlacementReason};
use crate::caller::Owner;
use crate::error::{Reason, Refusal};
use crate::id::UpstreamId;
use crate::time;
use crate::upstream::member::{Lease, Member};

/// When a client may try again that there was no room for.
const RETRY_AFTER_MS: u64 = 1000;

/// Upstreams that one conn or request was tried on.
pub type Tried = SmallVec<[UpstreamId; 4]>;

/// An upstream, and room on it for one conn or request, which is given back when dropped: who waits for it is called
/// before anybody else can take it.
pub struct Picked {
    /// Which.
    pub member: Arc<Member>,
    /// Why this one.
    pub reason: PlacementReason,
    pool: Arc<Pool>,
    lease: Option<Lease>,
}

impl Drop for Picked {
    fn drop(&mut self) {
        let lease = self.lease.take();
        self.pool.decide(|_| drop(lease));
    }
}

/// Room that was found under the pool's lock.
pub(super) struct Room {
    upstream: UpstreamId,
    reason: PlacementReason,
    lease: Lease,
}

/// What is looked for.
pub(super) struct Pick {
    key: Option<Key>,
    pub(super) owner: Owner,
    tried: Tried,
}

/// One that waits for room. What it was given and does not take goes back.
struct Waiting<'a> {
    pool: &'a Arc<Pool>,
    told: oneshot::Receiver<Room>,
    over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        self.told.close();
        let room = self.told.try_recv().ok();
        self.pool.decide(|decisions| {
            decisions.queue.remove(Waiter::is_gone);
            drop(room);
        });
    }
}

impl Pool {
    /// An upstream that was not tried yet, for what has this key, and counts for this owner. Where a cap is reached it
    /// waits in the queue. Errors: no upstream is up that was not tried ([`Reason::NoUpstream`]), or there was no room in
    /// time ([`Reason::Overloaded`]).
    pub async fn pick(
        self: &Arc<Self>,
        key: Option<Key>,
        owner: Owner,
        tried: &[UpstreamId],
    ) -> Result<Picked, Refusal> {
        let pick = Pick { key, owner, tried: tried.into() };
        let told = match self.decide(|decisions| self.pick_or_wait(decisions, pick))? {
            Found::Room(room) => return self.picked(room),
            Found::Line(told) => told,
        };
        let mut waiting = Waiting { pool: self, told, over: false };
        let told = (&mut waiting.told).await;
        waiting.over = true;
        match told {
            Ok(room) => self.picked(room),
            Err(_) => Err(refused(
                Reason::Overloaded,
                "as many connections or requests are served as may be",
            )),
        }
    }

    /// The upstream that is named, if it is up and has room: what a client was told to come back to. `None`: pick another.
    pub fn pick_this(self: &Arc<Self>, upstream: UpstreamId, owner: &Owner) -> Option<Picked> {
        let room = self.decide(|_| {
            // What nothing new goes to may be picked by nobody, whatever he was told.
            let takes = self.member(upstream).is_some_and(|m| m.takes() && !m.is_out(time::now()));
            let free = takes && self.has_room(owner, Some(upstream));
            free.then(|| self.room(upstream, PlacementReason::Sticky, owner)).flatten()
        })?;
        self.picked(room).ok()
    }

    fn picked(self: &Arc<Self>, room: Room) -> Result<Picked, Refusal> {
        let Room { upstream, reason, lease } = room;
        let Some(member) = self.member(upstream) else {
            return Err(refused(Reason::NoUpstream, "the upstream has just left"));
        };
        self.metrics.placements.inc(reason.slug());
        Ok(Picked { member, reason, pool: Arc::clone(self), lease: Some(lease) })
    }

    fn pick_or_wait(
        self: &Arc<Self>,
        decisions: &mut Decisions,
        pick: Pick,
    ) -> Result<Found, Refusal> {
        if let Some(room) = self.pick_now(&mut decisions.balancer, &pick) {
            return Ok(Found::Room(room));
        }
        if !self.members().iter().any(|m| m.takes() && !pick.tried.contains(&m.id)) {
            return Err(refused(Reason::NoUpstream, "no upstream can be reached"));
        }
        let (tell, told) = oneshot::channel();
        self.enqueue_picker(decisions, pick, tell);
        Ok(Found::Line(told))
    }

    /// Room on the upstream that the policy chooses, if there is any that has it.
    pub(super) fn pick_now(&self, balancer: &mut Balancer, pick: &Pick) -> Option<Room> {
        let candidates = self.untried(pick);
        let (id, reason) = match &pick.key {
            Some(key) => {
                let (id, reason) = balancer.choose(key.text.as_bytes(), &candidates)?;
                let no_user = key.no_user && reason == PlacementReason::Sticky;
                (id, if no_user { PlacementReason::NoUser } else { reason })
            }
            None => balancer.choose_keyless(&candidates)?,
        };
        self.room(id, reason, &pick.owner)
    }

    /// Whether there is room now.
    pub(super) fn has_room_for(&self, pick: &Pick) -> bool {
        !self.untried(pick).is_empty()
    }

    fn untried(&self, pick: &Pick) -> SmallVec<[Candidate; 8]> {
        if !self.has_seat(&pick.owner) {
            return SmallVec::new();
        }
        let members = self.members();
        let untried = members.iter().filter(|m| !pick.tried.contains(&m.id));
        let mut out = false;
        let now = OnceCell::new();
        let in_order = untried.clone().filter(|m| {
            let is_out = !m.is_steady() && m.is_out(*now.get_or_init(time::now));
            out |= is_out;
            !is_out
        });
        let all: SmallVec<[Candidate; 8]> = in_order.filter_map(|m| m.candidate()).collect();
        if all.is_empty() && out {
            // Rather one that fails than none.
            return untried.filter_map(|m| m.candidate()).collect();
        }
        all
    }

    fn room(&self, upstream: UpstreamId, reason: PlacementReason, owner: &Owner) -> Option<Room> {
        let lease = self.lease(&self.member(upstream)?, owner);
        Some(Room { upstream, reason, lease })
    }
}

/// What came of looking.
enum Found {
    Room(Room),
    /// It is told when there is room; if it is not, there was none in time.
    Line(oneshot::Receiver<Room>),
}

fn refused(reason: Reason, message: &str) -> Refusal {
    Refusal { retry_after_ms: Some(RETRY_AFTER_MS), ..Refusal::new(reason, message) }
}
