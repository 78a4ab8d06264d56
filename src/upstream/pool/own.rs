//! Whose the pool's sessions are. Asked before the table is, which knows only where they are: who may not use a session
//! hears what it would hear if there were none.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::{Key, Pool};
use crate::caller::{Caller, Owner};
use crate::error::{Reason, Refusal};
use crate::id::{ConnId, SessionId};
use crate::ledger::{Class, Ledger, LedgerError, Receipt, Record};
use crate::rpc::mux::{Found, Ticket};
use crate::session::table::{Absence, Hold, LINGER, Table};
use crate::tenancy;
use crate::time;
use crate::upstream::hub::Event;
use crate::want::Want;

/// What becomes of a session that a CLI has and the ledger does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// It is nobody's.
    Deny,
    /// It belongs to the user that its id names, if that is who asks.
    Pattern,
    /// It belongs to whoever asks first.
    Adopt,
}

/// A caller, and what its listener makes of sessions that the ledger does not know.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// Who.
    pub caller: Caller,
    /// Whose such a session is.
    pub unknown: Unknown,
}

/// Who wants a session, and what its id says.
#[derive(Clone, Copy, Debug)]
pub struct By<'a> {
    /// Who.
    pub visitor: &'a Visitor,
    /// What the listener reads in the session's id.
    pub key: &'a Key,
    /// The class of a session that is made under this id.
    pub class: Class,
}

/// Where a session comes from that a CLI named itself.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// Who had it made.
    pub caller: &'a Caller,
    /// The session that it is a copy of, whose owner and class it has.
    pub parent: Option<&'a SessionId>,
    /// Its class, if it is no copy.
    pub class: Class,
}

/// Whom else the owners of some sessions let in.
pub type Grants = dyn Fn(&SessionId, &Owner) -> Vec<Owner> + Send + Sync;

/// The book of a pool whose callers are told apart, or whose sessions are not all persistent.
pub struct Owners {
    /// Whether callers are told apart. If not, only ephemeral sessions are in the book.
    pub apart: bool,
    /// Whose each session is.
    pub ledger: Arc<Ledger>,
    /// What the configuration says beyond that.
    pub grants: Box<Grants>,
}

/// What a caller may have of a session.
pub(super) enum May {
    /// It is its own, or will be: nothing is to be written.
    Use,
    /// It is its own from now on, once that is written.
    Claim(Receipt),
}

impl Pool {
    /// Whether the caller may use the session. Claims one that is nobody's yet, where it is known that it is to be had.
    pub(super) fn may<L>(
        &self,
        table: &Table<L>,
        session: &SessionId,
        want: &Want,
        absence: Option<Absence>,
        by: By<'_>,
    ) -> Result<May, Refusal> {
        let Some(owners) = &self.owners else { return Ok(May::Use) };
        let refused = || Err(Refusal::session_not_found(session.as_str()));
        let exists = table.upstream_of(session).is_some();
        let creates = matches!(want, Want::Create | Want::CreateNew);
        let absent = matches!(absence, Some(Absence::Nobody | Absence::NobodyUp));
        let makes = !exists && creates && (absent || *want == Want::CreateNew);
        if let Some(record) = owners.ledger.get(&self.name, session) {
            if !owners.lets_in(&by.visitor.caller, session, &record) {
                return refused();
            }
            // What was there before is gone, and its record not yet. Where it may be on a CLI that is down, nothing
            // becomes ephemeral: what is deleted takes the record with it.
            let gone = absence != Some(Absence::NobodyUp) || by.class == Class::Persistent;
            let anew = makes && gone && table.hold(session) == Hold::Unknown;
            let other = anew && record.class != by.class;
            return Ok(if other { self.reclass(owners, session, by.class) } else { May::Use });
        }
        if (exists || !creates) && !by.takes_unknown() && owners.apart {
            return refused();
        }
        let adopts = exists && owners.apart;
        let books = owners.apart || by.class == Class::Ephemeral;
        if !(adopts || makes && books) {
            return Ok(May::Use);
        }
        let now = time::wall();
        let owner = tenancy::owner_of_new(&by.visitor.caller, by.key.named.as_deref());
        // Only what was made as such is deleted.
        let class = if makes { by.class } else { Class::Persistent };
        let record =
            Record { owner, grants: Vec::new(), upstream: None, created: now, used: now, class };
        match owners.ledger.claim(&self.name, session, record) {
            Ok(receipt) => {
                self.note_made(session, class);
                Ok(May::Claim(receipt))
            }
            Err(record) if owners.lets_in(&by.visitor.caller, session, &record) => Ok(May::Use),
            Err(_) => refused(),
        }
    }

    fn reclass(&self, owners: &Owners, session: &SessionId, class: Class) -> May {
        self.note_made(session, class);
        let change = |record: &mut Record| record.class = class;
        owners.ledger.change(&self.name, session, change).map_or(May::Use, May::Claim)
    }

    /// Waits until a claim is written, if it is not: then the conn asks again. Says what it may be told now.
    pub(super) fn written(
        self: &Arc<Self>,
        receipt: Receipt,
        session: &SessionId,
        (conn, ticket): (ConnId, Ticket),
        absence: Option<Absence>,
    ) -> Option<Result<(), Found>> {
        let mut receipt = Box::pin(receipt);
        match pin!(&mut receipt).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => return Some(Ok(())),
            Poll::Ready(Err(error)) => return Some(Err(unwritten(session, &error))),
            Poll::Pending => {}
        }
        let (pool, session) = (Arc::clone(self), session.clone());
        self.tasks.spawn_aside("claim", async move {
            let event = match receipt.await {
                Ok(()) => Event::Again(ticket, absence),
                Err(error) => Event::Found(ticket, unwritten(&session, &error)),
            };
            pool.hub.tell(conn, event);
        });
        None
    }

    /// Whether the caller may know of the session.
    pub fn sees(&self, visitor: &Visitor, session: &str) -> bool {
        let Some(owners) = self.owners.as_ref().filter(|owners| owners.apart) else { return true };
        let session = SessionId::new(session);
        match owners.ledger.get(&self.name, &session) {
            Some(record) => owners.lets_in(&visitor.caller, &session, &record),
            None => visitor.unknown == Unknown::Adopt,
        }
    }

    /// A session was made by a CLI under a name of its own.
    pub(super) fn own(&self, session: &SessionId, Origin { caller, parent, class }: Origin<'_>) {
        let Some(owners) = &self.owners else { return };
        let class = if parent.is_some() { Class::Persistent } else { class };
        let parent = parent.and_then(|parent| owners.ledger.get(&self.name, parent));
        let class = parent.as_ref().map_or(class, |parent| parent.class);
        if !owners.apart && class == Class::Persistent {
            return;
        }
        let owner = parent
            .map_or_else(|| tenancy::owner_of_new(caller, None), |parent| parent.owner.clone());
        let now = time::wall();
        let record =
            Record { owner, grants: Vec::new(), upstream: None, created: now, used: now, class };
        if owners.ledger.claim(&self.name, session, record).is_err() {
            tracing::error!(
                kind = "audit", action = "taken", pool = self.name, session_id = %session,
                "a CLI gave a new session the name of one that belongs to somebody"
            );
        }
    }

    /// Forgets whose the session is, unless it is there again by then: those whom it concerns are to hear first that it
    /// is gone.
    pub(super) fn disown(self: &Arc<Self>, session: &SessionId) {
        let known = self.owners.as_ref().and_then(|o| o.ledger.get(&self.name, session));
        if known.is_none() {
            return;
        }
        let (pool, session) = (Arc::clone(self), session.clone());
        self.tasks.spawn_aside("disown", async move {
            let Some(owners) = &pool.owners else { return };
            let released = loop {
                tokio::time::sleep(LINGER).await;
                // Under the lock, so that nobody brings it to life between the two.
                let (hold, receipt) = pool.decide(|table| {
                    let hold = table.hold(&session);
                    let gone = hold == Hold::Unknown;
                    (hold, gone.then(|| owners.ledger.release(&pool.name, &session)))
                });
                if hold != Hold::Changing {
                    break receipt;
                }
            };
            if let Some(receipt) = released
                && let Err(error) = receipt.await
            {
                tracing::warn!(pool = pool.name, %error, "a session that is gone keeps its owner");
            }
        });
    }
}

impl By<'_> {
    /// Whether a session that nobody is known to own is this caller's.
    fn takes_unknown(&self) -> bool {
        match (self.visitor.unknown, &self.key.named) {
            (Unknown::Adopt, _) => true,
            (Unknown::Deny, _) | (Unknown::Pattern, None) => false,
            (Unknown::Pattern, Some(named)) => {
                let owner = tenancy::owner_of_new(&self.visitor.caller, Some(named));
                owner.user.as_deref() == Some(named)
            }
        }
    }
}

impl Owners {
    fn lets_in(&self, caller: &Caller, session: &SessionId, record: &Record) -> bool {
        !self.apart
            || tenancy::may_use(caller, &record.owner, &record.grants)
            || tenancy::may_use(caller, &record.owner, &(self.grants)(session, &record.owner))
    }
}

/// Who owns a session that is to be made must be written before it is made.
fn unwritten(session: &SessionId, error: &LedgerError) -> Found {
    tracing::error!(kind = "audit", action = "claim", session_id = %session, %error, "not written");
    let message = "it cannot be written down whose the session is";
    Found::Refused(Refusal::new(Reason::Overloaded, message).of_session(session.as_str()))
}
