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
use crate::observe::audit::{Act, Decision, Line, Who};
use crate::observe::shown::Shown;
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
    /// The same, for the audit.
    pub who: Who<'a>,
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

/// The book of a pool whose callers are told apart, or whose sessions are not all persistent.
pub struct Owners {
    /// Whether callers are told apart. If not, only ephemeral sessions are in the book.
    pub apart: bool,
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
    /// What is written of it.
    pub(super) book: Book,
}

/// What must be written of a session before it is made or used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Book {
    /// Nothing: it is written, or need not be.
    Stands,
    /// Whose it is, and its class.
    New(Class),
    /// That the one that is made now is of another class than the one that is gone.
    Changes(Class),
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
        let may = |owner, book| Ok(May { owner, book });
        let Some(owners) = &self.owners else { return may(by.owner_of_new(), Book::Stands) };
        let refused = || Err(Refusal::session_not_found(session.as_str()));
        let exists = table.upstream_of(session).is_some();
        let creates = matches!(want, Want::Create | Want::CreateNew);
        // One that could not be sought may be there, and somebody's.
        let nobodys = match absence {
            Some(Absence::Nobody | Absence::NobodyUp) => true,
            Some(Absence::Unsure | Absence::Twice | Absence::Unasked) | None => false,
        };
        let makes = !exists && creates && (nobodys || *want == Want::CreateNew);
        if let Some(record) = owners.ledger.get(&self.name, session) {
            let own = owners.lets_in(&by.visitor.caller, session, &record);
            // It was deleted: what a CLI has under its name is another.
            let another = owners.apart && owners.is_leaving(session) && (exists || !creates);
            if !own || another {
                return refused();
            }
            // What was there before is gone, and its record not yet. Where it may be on a CLI that is down, nothing
            // becomes ephemeral: what is deleted takes the record with it.
            let gone = absence != Some(Absence::NobodyUp) || by.class == Class::Persistent;
            let anew = makes && gone && table.hold(session) == Hold::Unknown;
            let changes = anew && record.class != by.class;
            let book = if changes { Book::Changes(by.class) } else { Book::Stands };
            return may(record.owner.clone(), book);
        }
        if (exists || !creates) && !by.takes_unknown() && owners.apart {
            return refused();
        }
        let adopts = exists && owners.apart;
        let books = owners.apart || by.class == Class::Ephemeral;
        // Only what was made as such is deleted.
        let class = if makes { by.class } else { Class::Persistent };
        let book = if adopts || makes && books { Book::New(class) } else { Book::Stands };
        may(by.owner_of_new(), book)
    }

    /// Writes what must be written of the session, and looks where it is. Nothing is written of a new one for which there
    /// is no room.
    pub(super) fn book_and_look(
        self: &Arc<Self>,
        sought: &Sought<'_>,
        book: Book,
        by: By<'_>,
    ) -> Option<Found> {
        let room = self.decide(|decisions| match decisions.table.upstream_of(sought.session) {
            Some(_) => Ok(()),
            None => self.reserve(decisions, sought, Among::default()),
        });
        match room.and_then(|()| self.book(sought, book, by)) {
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
    fn book(
        self: &Arc<Self>,
        sought: &Sought<'_>,
        book: Book,
        by: By<'_>,
    ) -> Result<bool, Option<Found>> {
        let Some(owners) = &self.owners else { return Ok(false) };
        let session = sought.session;
        let class = match book {
            Book::Stands => return Ok(false),
            Book::New(class) => class,
            Book::Changes(class) => {
                self.note_made(session, class);
                let change = |record: &mut Record| record.class = class;
                let receipt = owners.ledger.change(&self.name, session, change);
                return receipt.map_or(Ok(false), |r| self.wait_for(r, sought).map(|()| false));
            }
        };
        let (now, owner) = (time::wall(), sought.owner.clone());
        let record =
            Record { owner, grants: Vec::new(), upstream: None, created: now, used: now, class };
        match owners.ledger.claim(&self.name, session, record) {
            Ok(receipt) => {
                self.note_made(session, class);
                if self.change(|table| table.upstream_of(session).is_some()) {
                    self.audit_adopted(session, by);
                }
                self.wait_for(receipt, sought).map(|()| true)
            }
            Err(record) if owners.lets_in(&by.visitor.caller, session, &record) => Ok(false),
            Err(_) => Err(Some(Found::Refused(Refusal::session_not_found(session.as_str())))),
        }
    }

    /// Until it is written. `Err(None)`: it is not yet, and the conn is told when it is.
    fn wait_for(
        self: &Arc<Self>,
        receipt: Receipt,
        sought: &Sought<'_>,
    ) -> Result<(), Option<Found>> {
        match self.written(receipt, sought.session, sought.asker, sought.absence) {
            Some(written) => written.map_err(Some),
            None => Err(None),
        }
    }

    /// Whether it is written whose the session is, where that must be.
    pub(super) fn is_booked(&self, session: &SessionId) -> bool {
        let apart = self.owners.as_ref().filter(|owners| owners.apart);
        apart.is_none_or(|owners| owners.ledger.get(&self.name, session).is_some())
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
        let Some(owners) = self.owners.as_ref().filter(|owners| owners.apart) else { return true };
        let session = SessionId::new(session);
        match owners.ledger.get(&self.name, &session) {
            Some(record) => owners.lets_in(&visitor.caller, &session, &record),
            None => visitor.unknown == Unknown::Adopt,
        }
    }

    /// What the caller has to do with the session.
    pub fn grounds(&self, visitor: &Visitor, session: &SessionId) -> Grounds {
        let apart = self.owners.as_ref().filter(|owners| owners.apart);
        let Some(owners) = apart else { return Grounds::OneCaller };
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

    /// A session was made by a CLI under a name of its own. Returns whose it is.
    pub(super) fn own(
        &self,
        session: &SessionId,
        Origin { caller, parent, class }: Origin<'_>,
    ) -> Owner {
        let Some(owners) = &self.owners else { return tenancy::owner_of_new(caller, None) };
        let class = if parent.is_some() { Class::Persistent } else { class };
        let parent = parent.and_then(|parent| owners.ledger.get(&self.name, parent));
        let class = parent.as_ref().map_or(class, |parent| parent.class);
        let owner = parent
            .map_or_else(|| tenancy::owner_of_new(caller, None), |parent| parent.owner.clone());
        if !owners.apart && class == Class::Persistent {
            return owner;
        }
        let now = time::wall();
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
                kind = "audit", action = "taken", pool = self.name, session_id = %Shown(session.as_str()),
                "a CLI gave a new session the name of one that belongs to somebody"
            );
        }
        owner
    }

    /// The session is not there, or no more: forgets whose it is, unless its owner makes it again by then: those whom it
    /// concerns are to hear first that it is gone. Until then it is nobody else's, and no other session of its name is
    /// its owner's.
    pub(super) fn disown(self: &Arc<Self>, session: &SessionId) {
        let Some(owners) = &self.owners else { return };
        if owners.ledger.get(&self.name, session).is_none() {
            return;
        }
        match self.change(|table| table.hold(session)) {
            Hold::Held | Hold::Free { .. } | Hold::Undeleted(_) => return,
            Hold::Unknown | Hold::Changing => {}
        }
        owners.leaving.lock().insert(session.clone());
        let (pool, session) = (Arc::clone(self), session.clone());
        self.tasks.spawn_aside("disown", async move {
            let Some(owners) = &pool.owners else { return };
            let released = loop {
                tokio::time::sleep(LINGER).await;
                // Under the lock, so that nobody brings it to life between the two.
                let released = pool.change(|table| {
                    let hold = table.hold(&session);
                    let gone = hold != Hold::Changing && owners.leaving.lock().remove(&session);
                    let kept = matches!(hold, Hold::Changing | Hold::Undeleted(_));
                    let receipt =
                        (gone && !kept).then(|| owners.ledger.release(&pool.name, &session));
                    (hold != Hold::Changing).then_some(receipt)
                });
                if let Some(released) = released {
                    break released;
                }
            };
            if let Some(receipt) = released
                && let Err(error) = receipt.await
            {
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
    pub fn new(apart: bool, ledger: Arc<Ledger>, grants: Box<Grants>) -> Self {
        Owners { apart, ledger, grants, leaving: Mutex::default() }
    }

    fn is_leaving(&self, session: &SessionId) -> bool {
        self.leaving.lock().contains(session)
    }

    fn lets_in(&self, caller: &Caller, session: &SessionId, record: &Record) -> bool {
        !self.apart
            || tenancy::may_use(caller, &record.owner, &record.grants)
            || tenancy::may_use(caller, &record.owner, &(self.grants)(session, &record.owner))
    }
}

/// Who owns a session that is to be made must be written before it is made.
fn unwritten(session: &SessionId, error: &LedgerError) -> Found {
    tracing::error!(kind = "audit", action = "claim", session_id = %Shown(session.as_str()), %error, "not written");
    let message = "it cannot be written down whose the session is";
    Found::Refused(Refusal::new(Reason::Overloaded, message).of_session(session.as_str()))
}
