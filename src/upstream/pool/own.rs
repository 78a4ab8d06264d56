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
use crate::observe::audit::{Act, Decision, Line, Who};
use crate::observe::shown::Shown;
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
    /// The same, for the audit.
    pub who: Who<'a>,
    /// What the listener reads in the session's id.
    pub key: &'a Key,
}

/// What a caller has to do with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grounds {
    /// The pool's callers are not told apart.
    OneCaller,
    /// It is its own.
    Owner,
    /// Its owner lets the caller in.
    Granted,
    /// It is somebody else's.
    NotOwner,
    /// Nobody is known to own it.
    Unknown,
}

impl Grounds {
    /// The word for the audit.
    pub const fn slug(self) -> &'static str {
        match self {
            Grounds::OneCaller => "one_caller",
            Grounds::Owner => "owner",
            Grounds::Granted => "granted",
            Grounds::NotOwner => "not_owner",
            Grounds::Unknown => "unknown_session",
        }
    }
}

/// Whom else the owners of some sessions let in.
pub type Grants = dyn Fn(&SessionId, &Owner) -> Vec<Owner> + Send + Sync;

/// The book of a pool whose callers are told apart.
pub struct Owners {
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
        if let Some(record) = owners.ledger.get(&self.name, session) {
            let own = owners.lets_in(&by.visitor.caller, session, &record);
            return if own { Ok(May::Use) } else { refused() };
        }
        let exists = table.upstream_of(session).is_some();
        let creates = matches!(want, Want::Create | Want::CreateNew);
        if (exists || !creates) && !by.takes_unknown() {
            return refused();
        }
        let sought = exists || absence.is_some() || *want == Want::CreateNew;
        if !sought || !exists && !creates {
            return Ok(May::Use);
        }
        let now = time::wall();
        let owner = tenancy::owner_of_new(&by.visitor.caller, by.key.named.as_deref());
        let class = Class::Persistent;
        let record =
            Record { owner, grants: Vec::new(), upstream: None, created: now, used: now, class };
        match owners.ledger.claim(&self.name, session, record) {
            Ok(receipt) => {
                if exists {
                    self.audit_adopted(session, by);
                }
                Ok(May::Claim(receipt))
            }
            Err(record) if owners.lets_in(&by.visitor.caller, session, &record) => Ok(May::Use),
            Err(_) => refused(),
        }
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
        let Some(owners) = &self.owners else { return true };
        let session = SessionId::new(session);
        match owners.ledger.get(&self.name, &session) {
            Some(record) => owners.lets_in(&visitor.caller, &session, &record),
            None => visitor.unknown == Unknown::Adopt,
        }
    }

    /// What the caller has to do with the session.
    pub fn grounds(&self, visitor: &Visitor, session: &SessionId) -> Grounds {
        let Some(owners) = &self.owners else { return Grounds::OneCaller };
        match owners.ledger.get(&self.name, session) {
            None => Grounds::Unknown,
            Some(record) if tenancy::may_use(&visitor.caller, &record.owner, &[]) => Grounds::Owner,
            Some(record) if owners.lets_in(&visitor.caller, session, &record) => Grounds::Granted,
            Some(_) => Grounds::NotOwner,
        }
    }

    fn audit_adopted(&self, session: &SessionId, by: By<'_>) {
        let reason = match by.visitor.unknown {
            Unknown::Deny => "deny",
            Unknown::Pattern => "pattern",
            Unknown::Adopt => "first",
        };
        Line {
            who: by.who,
            act: Act::Adopt,
            decision: Decision::Allow,
            reason,
            session: Some(session),
            method: None,
        }
        .log();
    }

    /// A session was made by a CLI under a name of its own, for this caller; `parent`: as a copy of this one.
    pub(super) fn own(&self, session: &SessionId, caller: &Caller, parent: Option<&SessionId>) {
        let Some(owners) = &self.owners else { return };
        let parent = parent.and_then(|parent| owners.ledger.get(&self.name, parent));
        let owner = parent
            .map_or_else(|| tenancy::owner_of_new(caller, None), |parent| parent.owner.clone());
        let (now, class) = (time::wall(), Class::Persistent);
        let record =
            Record { owner, grants: Vec::new(), upstream: None, created: now, used: now, class };
        if owners.ledger.claim(&self.name, session, record).is_err() {
            tracing::error!(
                kind = "audit", action = "taken", pool = self.name, session_id = %Shown(session.as_str()),
                "a CLI gave a new session the name of one that belongs to somebody"
            );
        }
    }

    /// Forgets whose the session is, unless it is there again by then: those whom it concerns are to hear first that it
    /// is gone.
    pub(super) fn disown(self: &Arc<Self>, session: &SessionId) {
        if self.owners.is_none() {
            return;
        }
        let (pool, session) = (Arc::clone(self), session.clone());
        self.tasks.spawn_aside("disown", async move {
            tokio::time::sleep(LINGER).await;
            let Some(owners) = &pool.owners else { return };
            let gone = pool.decide(|table| table.upstream_of(&session).is_none());
            if gone && let Err(error) = owners.ledger.release(&pool.name, &session).await {
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
        tenancy::may_use(caller, &record.owner, &record.grants)
            || tenancy::may_use(caller, &record.owner, &(self.grants)(session, &record.owner))
    }
}

/// Who owns a session that is to be made must be written before it is made.
fn unwritten(session: &SessionId, error: &LedgerError) -> Found {
    tracing::error!(kind = "audit", action = "claim", session_id = %Shown(session.as_str()), %error, "not written");
    let message = "it cannot be written down whose the session is";
    Found::Refused(Refusal::new(Reason::Overloaded, message).of_session(session.as_str()))
}
