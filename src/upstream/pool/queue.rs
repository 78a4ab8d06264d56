//! Who waits for room: for a session to be placed, for a turn to start, for an upstream to take a conn or request. Fair between tenants, and with a deadline.
//!
//! Whenever something was given back, the next who fit are called, and what they need is kept for them until they have
//! come: nobody overtakes who waits. Who does not come, because its conn is gone or it has what it wants, gives it back.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::pick::{Pick, Room};
use super::place::{Among, Sought, after_a_while};
use super::{Claims, Decisions, Key, Pool};
use crate::caller::Owner;
use crate::error::{Reason, Refusal};
use crate::id::{ConnId, SessionId};
use crate::rpc::mux::{Found, Ticket};
use crate::session::quota::line_of;
use crate::session::table::{Absence, Table};
use crate::time::{self, Duration, Instant};
use crate::upstream::hub::Event;
use crate::upstream::member::Lease;

/// What somebody waits for.
pub(super) enum Asked {
    /// A CLI for a session.
    Place { key: Key, among: Among },
    /// A turn in this life of a session.
    Turn { epoch: u64 },
}

/// One who waits.
pub(super) struct Waiter {
    owner: Owner,
    since: Instant,
    who: Who,
}

enum Who {
    /// Somebody who wants a session.
    Seeker(Seeker),
    /// A conn or request that wants an upstream; if it is gone, nobody takes it.
    Picker { pick: Pick, reply: oneshot::Sender<Room> },
}

struct Seeker {
    asker: (ConnId, Ticket),
    session: SessionId,
    absence: Option<Absence>,
    asked: Asked,
}

impl Waiter {
    pub(super) fn seeker(sought: &Sought<'_>, asked: Asked) -> Self {
        let seeker = Seeker {
            asker: sought.asker,
            session: sought.session.clone(),
            absence: sought.absence,
            asked,
        };
        Waiter { owner: sought.owner.clone(), since: time::now(), who: Who::Seeker(seeker) }
    }

    pub(super) fn picker(pick: Pick, reply: oneshot::Sender<Room>) -> Self {
        let (owner, who) = (pick.owner.clone(), Who::Picker { pick, reply });
        Waiter { owner, since: time::now(), who }
    }

    fn asker(&self) -> Option<(ConnId, Ticket)> {
        match &self.who {
            Who::Seeker(seeker) => Some(seeker.asker),
            Who::Picker { .. } => None,
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        match &self.who {
            Who::Seeker(_) => false,
            Who::Picker { reply, .. } => reply.is_closed(),
        }
    }
}

/// How long one may wait, and how many.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How many wait at most.
    pub length: usize,
    /// How long each does.
    pub timeout: Duration,
}

impl Pool {
    /// One more waits: `Err(None)`; or is refused.
    pub(super) fn enqueue(
        self: &Arc<Self>,
        decisions: &mut Decisions,
        waiter: Waiter,
        refusal: Refusal,
    ) -> Result<(), Option<Refusal>> {
        if self.with.patience.timeout.is_zero() {
            return Err(Some(refusal));
        }
        let asker = waiter.asker();
        match decisions.queue.push(line_of(&waiter.owner), waiter) {
            Some(out) if out.asker() == asker => return Err(Some(refusal)),
            Some(out) => decisions.turn_away(&out),
            None => {}
        }
        self.see_to_queue(decisions);
        Err(None)
    }

    /// One more waits for an upstream, and is told by the end of its channel if it waits no more.
    pub(super) fn enqueue_picker(
        self: &Arc<Self>,
        decisions: &mut Decisions,
        pick: Pick,
        reply: oneshot::Sender<Room>,
    ) {
        if self.with.patience.timeout.is_zero() {
            return;
        }
        let waiter = Waiter::picker(pick, reply);
        if let Some(out) = decisions.queue.push(line_of(&waiter.owner), waiter) {
            decisions.turn_away(&out);
        }
        self.see_to_queue(decisions);
    }

    fn see_to_queue(self: &Arc<Self>, decisions: &mut Decisions) {
        if !std::mem::replace(&mut decisions.watched, true) {
            self.watch_queue();
        }
    }

    /// Whether the turn that is sought may start now; if not, its place in the queue is taken, or it is refused.
    pub(super) fn turn_room(
        self: &Arc<Self>,
        decisions: &mut Decisions,
        sought: &Sought<'_>,
        epoch: u64,
    ) -> Result<(), Option<Found>> {
        if begin_turn(&mut decisions.table, sought.session, epoch, sought.asker.0) {
            return Ok(());
        }
        let refusal = Refusal::new(Reason::Overloaded, "as many turns run as may be");
        let refusal = after_a_while(refusal, sought.session);
        let waiter = Waiter::seeker(sought, Asked::Turn { epoch });
        self.enqueue(decisions, waiter, refusal).map_err(|refusal| refusal.map(Found::Refused))
    }

    /// Calls all who fit by now, if anything was given back since the last time. What they need is theirs.
    pub(super) fn call(&self, decisions: &mut Decisions) {
        let freed = self.roster.freed();
        if std::mem::replace(&mut decisions.freed, freed) != freed {
            self.call_all(decisions);
        }
        let length = decisions.queue.len();
        self.metrics.queue_depth.set(i64::try_from(length).unwrap_or(i64::MAX));
    }

    fn call_all(&self, decisions: &mut Decisions) {
        let Decisions { table, balancer, queue, promises, told, .. } = decisions;
        while let Some(waiter) = queue.next(|waiter| self.fits(table, waiter)) {
            let Waiter { owner, since, who } = waiter;
            match who {
                Who::Seeker(Seeker { asker, session, absence, asked }) => {
                    match asked {
                        Asked::Place { key, among } => {
                            let promise = self.promise(balancer, &key, &owner, among);
                            promises.extend(promise.map(|promise| (asker, promise)));
                        }
                        Asked::Turn { epoch } => {
                            begin_turn(table, &session, epoch, asker.0);
                        }
                    }
                    told.push((asker.0, Event::Again(asker.1, absence)));
                }
                Who::Picker { pick, reply } => {
                    // Nobody may wait any more: what it would have had goes back.
                    let _ = self.pick_now(balancer, &pick).map(|room| reply.send(room));
                }
            }
            let waited = time::now().saturating_duration_since(since);
            self.metrics.queue_wait.observe(waited.as_secs_f64());
        }
    }

    fn fits(&self, table: &mut Table<Lease>, waiter: &Waiter) -> bool {
        match &waiter.who {
            Who::Seeker(Seeker { asked: Asked::Place { among, .. }, .. }) => {
                self.has_room(&waiter.owner, among.only)
            }
            Who::Seeker(Seeker { asked: Asked::Turn { epoch }, session, .. }) => {
                table.lease(session, *epoch).is_none_or(|lease| lease.has_room_for_turn())
            }
            Who::Picker { pick, .. } => self.has_room_for(pick),
        }
    }

    /// Somebody who asked has its answer: what was kept for it is not needed any more.
    pub(super) fn answered(&self, asker: (ConnId, Ticket)) {
        self.decide(|decisions| drop(decisions.promises.remove(&asker)));
    }

    /// A conn is gone: nothing is kept for it.
    pub fn leave(self: &Arc<Self>, conn: ConnId) {
        self.hub.leave(conn);
        let claimed = self.decide(|decisions| {
            decisions.promises.retain(|asker, _| asker.0 != conn);
            decisions.queue.remove(|waiter| waiter.asker().is_some_and(|asker| asker.0 == conn));
            let (gone, stay): (Claims, Claims) =
                decisions.claims.drain().partition(|(asker, _)| asker.0 == conn);
            decisions.claims = stay;
            gone
        });
        claimed.values().for_each(|session| self.disown(session));
    }

    /// Sends away who has waited for too long, until nobody waits.
    fn watch_queue(self: &Arc<Self>) {
        let pool = Arc::clone(self);
        self.tasks.spawn_aside("queue", async move {
            while let Some(until) = pool.decide(Decisions::first_deadline(pool.with.patience)) {
                tokio::time::sleep_until(until).await;
            }
        });
    }
}

impl Decisions {
    /// Sends away who has waited for so long, and says when the next has.
    fn first_deadline(patience: Patience) -> impl FnOnce(&mut Self) -> Option<Instant> {
        move |decisions| {
            let now = time::now();
            let late = decisions.queue.remove(|w| w.since + patience.timeout <= now);
            late.iter().for_each(|waiter| decisions.turn_away(waiter));
            let next = decisions.queue.iter().map(|w| w.since + patience.timeout).min();
            decisions.watched = next.is_some();
            next
        }
    }

    fn turn_away(&mut self, waiter: &Waiter) {
        let Who::Seeker(Seeker { asker: (conn, ticket), session, asked, .. }) = &waiter.who else {
            // It is told by the end of its channel.
            return;
        };
        let message = match asked {
            Asked::Place { .. } => {
                "as many sessions are open as may be, and none has ended in time"
            }
            Asked::Turn { .. } => "as many turns run as may be, and none has ended in time",
        };
        let refusal = after_a_while(Refusal::new(Reason::Overloaded, message), session);
        self.told.push((*conn, Event::Found(*ticket, Found::Refused(refusal))));
    }
}

/// Whether a turn may start in the session. One that a conn starts which is attached to it counts from now on; of the
/// others' turns those hear who are.
fn begin_turn(table: &mut Table<Lease>, session: &SessionId, epoch: u64, conn: ConnId) -> bool {
    if table.lease(session, epoch).is_some_and(|lease| !lease.has_room_for_turn()) {
        return false;
    }
    if table.is_attached(session, epoch, conn)
        && let Some((lease, busy)) = table.turn(session, epoch, conn, true)
    {
        lease.set_busy(busy);
    }
    true
}
