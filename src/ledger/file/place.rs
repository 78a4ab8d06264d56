//! Where the ledger's file is: a directory, held by a lock as long as the ledger is open. A new file is made aside and
//! renamed, so that one that is there was once whole: an empty one was emptied.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Builder, Database};

use super::{Problem, Store};
use crate::ledger::LedgerError;

/// What the library keeps of the file in memory. All records are in ours already.
const CACHE: usize = 4 << 20;
/// What every file of the library starts with.
const MAGIC: &[u8] = b"redb";

/// What a store is opened from; again after each error.
pub(in crate::ledger) trait Place: Send {
    /// Opens the database.
    fn open(&self) -> Result<Database, Problem>;
    /// The file, for errors.
    fn file(&self) -> Arc<Path>;
}

/// See the module's head.
pub(in crate::ledger) struct Directory {
    file: Arc<Path>,
    _lock: File,
}

impl Directory {
    /// Takes the directory; makes it, and an empty ledger in it, where they are missing.
    pub(in crate::ledger) fn take(dir: &Path) -> Result<Self, LedgerError> {
        let file: Arc<Path> = dir.join("ledger.redb").into();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(at(dir))?;
        let lock = lock(&dir.join("ledger.lock"), &file)?;
        if !file.try_exists().map_err(at(&file))? {
            make(&file)?;
            tracing::info!(file = %file.display(), "a new ledger: nobody owns a session yet");
        }
        Ok(Directory { file, _lock: lock })
    }
}

impl Place for Directory {
    fn open(&self) -> Result<Database, Problem> {
        let mut start = Vec::new();
        let read = File::open(&self.file).and_then(|file| file.take(4).read_to_end(&mut start));
        read.map_err(redb::Error::Io)?;
        if start.is_empty() {
            return Err(Problem::Damaged("it was emptied".to_owned()));
        }
        if start != MAGIC {
            return Err(Problem::Foreign);
        }
        Ok(library().open(&*self.file).map_err(redb::Error::from)?)
    }

    fn file(&self) -> Arc<Path> {
        Arc::clone(&self.file)
    }
}

/// How the library is to work. Checking a file of 100,000 records costs a fraction of a second, once.
pub(in crate::ledger) fn library() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
    builder
}

fn lock(path: &Path, file: &Arc<Path>) -> Result<File, LedgerError> {
    let lock = private_file().open(path).map_err(at(path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(LedgerError::InUse(Arc::clone(file))),
        Err(TryLockError::Error(error)) => Err(at(path)(error)),
    }
}

fn make(file: &Arc<Path>) -> Result<(), LedgerError> {
    let aside: PathBuf = file.with_extension("redb.new");
    private_file().truncate(true).open(&aside).map_err(at(&aside))?;
    let named: Arc<Path> = aside.as_path().into();
    super::guarded(&named, || {
        let database = library().create(&aside).map_err(redb::Error::from)?;
        Ok(Store::begin(&database)?)
    })?;
    let synced = || {
        File::open(&aside)?.sync_all()?;
        std::fs::rename(&aside, file)?;
        File::open(file.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    synced().map_err(at(file))
}

fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    options
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> LedgerError {
    let file: Arc<Path> = path.into();
    move |error| LedgerError::Failing { file, why: error.to_string().into() }
}
