//! Whose the pool's sessions are. Asked before the table is, which knows only where they are: who may not use a session
//! hears what it would hear if there were none.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use ahash::AHashSet;
use parking_lot::Mutex;

use super::place::{Among, Sought};
use super::{Key, Pool};
use crate::caller::{Caller, Owner};
use crate::error::{Reason, Refusal};
use crate::id::{ConnId, SessionId};
use crate::ledger::{Class, Ledger, LedgerError, Receipt, Record};
use crate::rpc::mux::{Found, Ticket};
use crate::session::table::{Absence, LINGER, Table};
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
}

/// Whom else the owners of some sessions let in.
pub type Grants = dyn Fn(&SessionId, &Owner) -> Vec<Owner> + Send + Sync;

/// The book of a pool whose callers are told apart.
pub struct Owners {
    /// Whose each session is.
    pub ledger: Arc<Ledger>,
    /// What the configuration says beyond that.
    pub grants: Box<Grants>,
    /// Sessions that are gone, and whose owner will be forgotten.
    leaving: Mutex<AHashSet<SessionId>>,
}

/// That a caller may have a session.
pub(super) struct May {
    /// Whose it is, or will be.
    pub(super) owner: Owner,
    /// It is nobody's yet: that must be written before it is made or used.
    pub(super) unclaimed: bool,
}

impl Pool {
    /// Whether the caller may use the session, and whether that is to be written first: if it is nobody's yet, where it
    /// is known that it is to be had.
    pub(super) fn may<L>(
        &self,
        table: &Table<L>,
        session: &SessionId,
        want: &Want,
        absence: Option<Absence>,
        by: By<'_>,
    ) -> Result<May, Refusal> {
        let may = |owner, unclaimed| Ok(May { owner, unclaimed });
        let Some(owners) = &self.owners else { return may(by.owner_of_new(), false) };
        let refused = || Err(Refusal::session_not_found(session.as_str()));
        let exists = table.upstream_of(session).is_some();
        let creates = matches!(want, Want::Create | Want::CreateNew);
        if let Some(record) = owners.ledger.get(&self.name, session) {
            let own = owners.lets_in(&by.visitor.caller, session, &record);
            // It was deleted: what a CLI has under its name is another.
            let another = owners.is_leaving(session) && (exists || !creates);
            return if own && !another { may(record.owner.clone(), false) } else { refused() };
        }
        if (exists || !creates) && !by.takes_unknown() {
            return refused();
        }
        // One that could not be sought may be there, and somebody's.
        let nobodys = match absence {
            Some(Absence::Nobody | Absence::NobodyUp) => true,
            Some(Absence::Unsure | Absence::Twice | Absence::Unasked) | None => false,
        };
        let new = creates && (nobodys || *want == Want::CreateNew);
        may(by.owner_of_new(), exists || new)
    }

    /// Writes down whose the session is, and looks where it is. Nothing is written of a new one for which there is no
    /// room.
    pub(super) fn claim_and_look(
        self: &Arc<Self>,
        sought: &Sought<'_>,
        by: By<'_>,
    ) -> Option<Found> {
        let room = self.decide(|decisions| match decisions.table.upstream_of(sought.session) {
            Some(_) => Ok(()),
            None => self.reserve(decisions, sought, Among::default()),
        });
        match room.and_then(|()| self.claim(sought, by)) {
            Ok(claimed) => {
                let found = self.look(sought);
                if claimed && matches!(found, Some(Found::Refused(_))) {
                    self.disown(sought.session);
                }
                found
            }
            Err(answer) => answer,
        }
    }

    /// Whether the session was nobody's, and is this owner's now. `Err`: what to say instead, if not to wait.
    fn claim(self: &Arc<Self>, sought: &Sought<'_>, by: By<'_>) -> Result<bool, Option<Found>> {
        let Some(owners) = &self.owners else { return Ok(false) };
        let session = sought.session;
        let (now, class, owner) = (time::wall(), Class::Persistent, sought.owner.clone());
        let record =
            Record { owner, grants: Vec::new(), upstream: None, created: now, used: now, class };
        match owners.ledger.claim(&self.name, session, record) {
            Ok(receipt) => match self.written(receipt, session, sought.asker, sought.absence) {
                Some(written) => written.map(|()| true).map_err(Some),
                None => Err(None),
            },
            Err(record) if owners.lets_in(&by.visitor.caller, session, &record) => Ok(false),
            Err(_) => Err(Some(Found::Refused(Refusal::session_not_found(session.as_str())))),
        }
    }

    /// Whose the session is, or would be if this caller made it.
    pub fn owner_of(&self, session: &SessionId, by: By<'_>) -> Owner {
        let record = self.owners.as_ref().and_then(|o| o.ledger.get(&self.name, session));
        record.map_or_else(|| by.owner_of_new(), |record| record.owner.clone())
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
        self.decide(|decisions| decisions.claims.insert((conn, ticket), session.clone()));
        self.tasks.spawn_aside("claim", async move {
            let event = match receipt.await {
                Ok(()) => Event::Again(ticket, absence),
                Err(error) => {
                    pool.answered((conn, ticket));
                    pool.decide(|decisions| decisions.claims.remove(&(conn, ticket)));
                    Event::Found(ticket, unwritten(&session, &error))
                }
            };
            pool.hub.tell(conn, event);
        });
        None
    }

    /// Whether the caller may know of the session.
    pub fn sees(&self, visitor: &Visitor, session: &str) -> bool {
        let Some(owners) = &self.owners else { return true };
        let session = SessionId::new(session);
        match owners.ledger.get(&self.name, &session) {
            Some(record) => owners.lets_in(&visitor.caller, &session, &record),
            None => visitor.unknown == Unknown::Adopt,
        }
    }

    /// A session was made by a CLI under a name of its own, for this caller; `parent`: as a copy of this one.
    /// Returns whose it is.
    pub(super) fn own(
        &self,
        session: &SessionId,
        caller: &Caller,
        parent: Option<&SessionId>,
    ) -> Owner {
        let Some(owners) = &self.owners else { return tenancy::owner_of_new(caller, None) };
        let parent = parent.and_then(|parent| owners.ledger.get(&self.name, parent));
        let owner = parent
            .map_or_else(|| tenancy::owner_of_new(caller, None), |parent| parent.owner.clone());
        let (now, class) = (time::wall(), Class::Persistent);
        let record = Record {
            owner: owner.clone(),
            grants: Vec::new(),
            upstream: None,
            created: now,
            used: now,
            class,
        };
        if owners.ledger.claim(&self.name, session, record).is_err() {
            tracing::error!(
                kind = "audit", action = "taken", pool = self.name, session_id = %session,
                "a CLI gave a new session the name of one that belongs to somebody"
            );
        }
        owner
    }

    /// The session is not there, or no more: forgets whose it is, unless its owner makes it again by then: those whom it concerns are to hear first
    /// that it is gone. Until then it is nobody else's, and no other session of its name is its owner's.
    pub(super) fn disown(self: &Arc<Self>, session: &SessionId) {
        let Some(owners) = &self.owners else { return };
        if self.change(|table| table.upstream_of(session).is_some()) {
            return;
        }
        owners.leaving.lock().insert(session.clone());
        let (pool, session) = (Arc::clone(self), session.clone());
        self.tasks.spawn_aside("disown", async move {
            tokio::time::sleep(LINGER).await;
            let Some(owners) = &pool.owners else { return };
            let gone = owners.leaving.lock().remove(&session);
            if gone && let Err(error) = owners.ledger.release(&pool.name, &session).await {
                tracing::warn!(pool = pool.name, %error, "a session that is gone keeps its owner");
            }
        });
    }

    /// The session is its owner's again.
    pub(super) fn own_again(&self, session: &SessionId) {
        if let Some(owners) = &self.owners {
            owners.leaving.lock().remove(session);
        }
    }
}

impl By<'_> {
    /// Whose a session is that this caller makes.
    fn owner_of_new(&self) -> Owner {
        tenancy::owner_of_new(&self.visitor.caller, self.key.named.as_deref())
    }

    /// Whether a session that nobody is known to own is this caller's.
    fn takes_unknown(&self) -> bool {
        match (self.visitor.unknown, &self.key.named) {
            (Unknown::Adopt, _) => true,
            (Unknown::Deny, _) | (Unknown::Pattern, None) => false,
            (Unknown::Pattern, Some(named)) => {
                let owner = self.owner_of_new();
                owner.user.as_deref() == Some(named)
            }
        }
    }
}

impl Owners {
    /// Nobody is leaving.
    pub fn new(ledger: Arc<Ledger>, grants: Box<Grants>) -> Self {
        Owners { ledger, grants, leaving: Mutex::default() }
    }

    fn is_leaving(&self, session: &SessionId) -> bool {
        self.leaving.lock().contains(session)
    }

    fn lets_in(&self, caller: &Caller, session: &SessionId, record: &Record) -> bool {
        tenancy::may_use(caller, &record.owner, &record.grants)
            || tenancy::may_use(caller, &record.owner, &(self.grants)(session, &record.owner))
    }
}

/// Who owns a session that is to be made must be written before it is made.
fn unwritten(session: &SessionId, error: &LedgerError) -> Found {
    tracing::error!(kind = "audit", action = "claim", session_id = %session, %error, "not written");
    let message = "it cannot be written down whose the session is";
    Found::Refused(Refusal::new(Reason::Overloaded, message).of_session(session.as_str()))
}
