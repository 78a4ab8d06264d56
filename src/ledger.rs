//! The ledger: whom each session belongs to, who else may use it, and where it was last.
//!
//! Everything is in memory, so that reads are cheap and never wait for a disk; a ledger that was opened in a directory
//! also writes it there (`ledger/writer.rs`). It decides nothing (`tenancy` does), and never sees a message.

mod error;
mod file;
mod memory;
mod names;
mod receipt;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::caller::Owner;
use crate::id::SessionId;
use crate::observe::metrics::Metrics;

pub use error::{Fault, LedgerError};
pub use receipt::Receipt;

use file::{Directory, Key, Place, Store};
use memory::Table;
use names::Names;
use writer::{Op, Pace, Writer};

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

/// See the module's head. Reads see a change at once, before it is durable; [`Receipt`] says when it is. Dropping it
/// writes what is left, and waits for the disk.
pub struct Ledger {
    table: Arc<Table>,
    names: Names,
    writer: Option<Writer>,
}

impl Ledger {
    /// A ledger that is gone when the process ends.
    pub fn memory() -> Self {
        Ledger { table: Arc::default(), names: Names::default(), writer: None }
    }

    /// The ledger in this directory, with all that it knows; makes both where they are missing. Reads and checks the whole
    /// file: not for a thread that serves clients. Errors name the file, and leave it as it is.
    pub fn open(dir: &Path) -> Result<Self, LedgerError> {
        Ledger::at(Box::new(Directory::take(dir)?), Pace::default())
    }

    fn at(place: Box<dyn Place>, pace: Pace) -> Result<Self, LedgerError> {
        let (table, names) = (Arc::<Table>::default(), Names::default());
        let store = Store::open(&*place)?;
        store.load(&names, |key, record| {
            table.write(&key.session).insert(key.pool, key.session.clone(), Arc::new(record));
        })?;
        let writer = Writer::start(place, store, Arc::clone(&table), pace)?;
        Ok(Ledger { table, names, writer: Some(writer) })
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
        let key = self.key(pool, session);
        let mut part = self.table.write(session);
        if let Some(known) = part.get(pool, session) {
            return Err(Arc::clone(known));
        }
        if self.table.len() >= RECORDS {
            return Ok(Receipt::failed(LedgerError::Crowded));
        }
        let taken = match &self.writer {
            None => Ok(Receipt::durable()),
            Some(writer) => writer.claim(key.clone()),
        };
        Ok(match taken {
            Err(error) => Receipt::failed(error),
            Ok(receipt) => {
                part.insert(key.pool, key.session, Arc::new(record));
                receipt
            }
        })
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
        let mut part = self.table.write(session);
        let known = part.get_mut(pool, session)?;
        let mut next = Record::clone(known);
        change(&mut next);
        let lasting = !next.lasts_as(known);
        if lasting {
            self.names.share_all(&mut next);
        }
        *known = Arc::new(next);
        let Some(writer) = &self.writer else { return Some(Receipt::durable()) };
        let key = self.key(pool, session);
        if lasting {
            return Some(writer.write(key, Op::Change));
        }
        writer.touch(key);
        Some(Receipt::durable())
    }

    /// Forgets the session. A failed receipt undoes nothing, as for [`Ledger::change`].
    pub fn release(&self, pool: &str, session: &SessionId) -> Receipt {
        let mut part = self.table.write(session);
        part.remove(pool, session);
        match &self.writer {
            None => Receipt::durable(),
            Some(writer) => writer.write(self.key(pool, session), Op::Release),
        }
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
        self.writer.as_ref().is_none_or(Writer::up)
    }

    /// Where to count failed operations and to show whether it is up, from now on. Call it once.
    pub fn report(&self, metrics: Arc<Metrics>) {
        match &self.writer {
            None => metrics.ledger_up.set(true),
            Some(writer) => writer.report(metrics),
        }
    }

    fn key(&self, pool: &str, session: &SessionId) -> Key {
        Key { pool: self.names.share(pool), session: session.clone() }
    }
}

#[cfg(test)]
mod tests;
