//! The ledger's file: one redb database in a directory that one process has at a time. Whole batches are written, or
//! nothing of them. Knows nothing of who waits for what (`writer.rs` does), and never makes a new file in the place of one
//! that it cannot read.

mod place;
mod row;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use redb::{Database, Error, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::names::Names;
use super::{LedgerError, Record};
use crate::id::SessionId;

#[cfg(test)]
pub(super) use place::library;
pub(super) use place::{Directory, Place};

/// The layout that this fairlead writes. Another number: another layout.
const FORMAT: u64 = 1;
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("fairlead-ledger");
const SESSIONS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("sessions");
/// Counts commits, so that each one writes something.
const COMMITS: &str = "commits";

/// A session, wherever it is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) pool: Arc<str>,
    pub(super) session: SessionId,
}

/// The open file. After an error it is of no use: open it anew.
pub(super) struct Store {
    database: Database,
    file: Arc<Path>,
}

impl Store {
    /// Opens what is there, and checks all of it.
    pub(super) fn open(place: &dyn Place) -> Result<Self, LedgerError> {
        let file = place.file();
        guarded(&file, || {
            let database = place.open()?;
            let store = Store { database, file: Arc::clone(&file) };
            store.check()?;
            Ok(store)
        })
    }

    /// Makes an empty ledger of an empty database.
    pub(super) fn begin(database: &Database) -> Result<(), Error> {
        let transaction = database.begin_write()?;
        transaction.open_table(META)?.insert("format", FORMAT)?;
        transaction.open_table(SESSIONS)?;
        Ok(transaction.commit()?)
    }

    fn check(&self) -> Result<(), Problem> {
        let transaction = self.database.begin_read().map_err(Error::from)?;
        let meta = transaction.open_table(META).map_err(|_| Problem::Foreign)?;
        let format = meta.get("format").map_err(Error::from)?.map(|found| found.value());
        match format {
            Some(FORMAT) => Ok(()),
            Some(newer) if newer > FORMAT => Err(Problem::Newer),
            Some(_) | None => Err(Problem::Foreign),
        }
    }

    /// Reads every record.
    pub(super) fn load(
        &self,
        names: &Names,
        mut each: impl FnMut(Key, Record),
    ) -> Result<(), LedgerError> {
        guarded(&self.file, || {
            let transaction = self.database.begin_read().map_err(Error::from)?;
            let sessions = transaction.open_table(SESSIONS).map_err(Error::from)?;
            for entry in sessions.iter().map_err(Error::from)? {
                let (key, value) = entry.map_err(Error::from)?;
                let (pool, session) = key.value();
                let record = row::decode(value.value(), names).map_err(Problem::Damaged)?;
                each(Key { pool: names.share(pool), session: SessionId::new(session) }, record);
            }
            Ok(())
        })
    }

    /// Writes these records, and takes out those that are none: all of it or nothing, and durable on return. After an
    /// error it may be either.
    pub(super) fn write(&self, batch: &[(Key, Option<Arc<Record>>)]) -> Result<(), LedgerError> {
        guarded(&self.file, || Ok(self.commit(batch)?))
    }

    fn commit(&self, batch: &[(Key, Option<Arc<Record>>)]) -> Result<(), Error> {
        // Immediate durability is the library's default: one sync for the batch.
        let transaction = self.database.begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            let commits = meta.get(COMMITS)?.map_or(0, |count| count.value());
            meta.insert(COMMITS, commits.wrapping_add(1))?;
            let mut sessions = transaction.open_table(SESSIONS)?;
            for (key, record) in batch {
                let name = (&*key.pool, key.session.as_str());
                match record {
                    Some(record) => sessions.insert(name, row::encode(record).as_slice())?,
                    None => sessions.remove(name)?,
                };
            }
        }
        Ok(transaction.commit()?)
    }
}

/// What is wrong, before the file is named.
pub(super) enum Problem {
    Foreign,
    Newer,
    Damaged(String),
    Library(Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Problem::Library(error)
    }
}

impl Problem {
    fn of(self, file: &Arc<Path>) -> LedgerError {
        let file = Arc::clone(file);
        match self {
            Problem::Foreign => LedgerError::Foreign(file),
            Problem::Newer => LedgerError::Newer(file),
            Problem::Damaged(why) => LedgerError::Damaged { file, why: why.into() },
            Problem::Library(error) => of_library(file, &error),
        }
    }
}

fn of_library(file: Arc<Path>, error: &Error) -> LedgerError {
    let why = error.to_string().into();
    if let Error::Io(io) = error {
        let broken = [std::io::ErrorKind::InvalidData, std::io::ErrorKind::UnexpectedEof];
        return match broken.contains(&io.kind()) {
            true => LedgerError::Damaged { file, why },
            false => LedgerError::Failing { file, why },
        };
    }
    if matches!(error, Error::DatabaseAlreadyOpen | Error::LockProtocolMismatch) {
        return LedgerError::InUse(file);
    }
    if matches!(error, Error::PreviousIo | Error::Unsupported) {
        return LedgerError::Failing { file, why };
    }
    LedgerError::Damaged { file, why }
}

/// The library may panic on a file that was changed by others: then the file is damaged, and we go on.
fn guarded<T>(
    file: &Arc<Path>,
    work: impl FnOnce() -> Result<T, Problem>,
) -> Result<T, LedgerError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|problem| problem.of(file)),
        Err(_) => {
            let why = "it cannot be made sense of".into();
            Err(LedgerError::Damaged { file: Arc::clone(file), why })
        }
    }
}
