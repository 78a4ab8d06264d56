//! The state directory: one fairlead at a time, and a file that names the CLIs that it started.
//!
//! `lock` is held (flock) as long as this fairlead lives; the kernel lets go of it, however we end.
//! `managed.json` is replaced as a whole (written aside, synced, renamed), so a reader finds the
//! old list or the new one. Holds no secret and signals nobody.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::procfs::{self, Family};

/// Why a state directory cannot be used.
#[derive(Debug)]
pub enum StateError {
    /// Another fairlead has it.
    InUse {
        /// The directory.
        dir: PathBuf,
        /// Its pid, as it wrote it down; empty if it has not yet.
        by: String,
    },
    /// It cannot be made, locked, read or written.
    Io {
        /// The file or directory concerned.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StateError::InUse { dir, by } => write!(
                f,
                "state directory {} is in use by another fairlead (pid {by}); \
                 give each one its own `state_dir`",
                dir.display()
            ),
            StateError::Io { path, source } => write!(f, "{}: {source}", path.display()),
        }
    }
}

impl std::error::Error for StateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StateError::InUse { .. } => None,
            StateError::Io { source, .. } => Some(source),
        }
    }
}

/// One CLI process that was started and not yet seen dead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) pool: String,
    pub(super) cli: usize,
    /// Its group and session have the same number.
    pub(super) pid: i32,
    /// `/proc/PID/stat`, field 22.
    pub(super) start: u64,
    pub(super) marker: String,
}

impl Entry {
    pub(super) fn family(&self) -> Family<'_> {
        Family { pid: self.pid, start: self.start, marker: &self.marker }
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Book {
    boot: String,
    clis: Vec<Entry>,
}

/// The directory, locked, with its list.
pub(super) struct State {
    dir: PathBuf,
    _lock: File,
    book: Book,
}

impl State {
    /// Makes the directory (0700) if need be and locks it; reads what an earlier fairlead left.
    pub(super) fn open(dir: &Path) -> Result<State, StateError> {
        make_private_dir(dir).map_err(at(dir))?;
        let lock = take_lock(dir)?;
        let boot = procfs::boot_id().map_err(at(Path::new("/proc/sys/kernel/random/boot_id")))?;
        let file = dir.join("managed.json");
        let mut book = read_book(&file).map_err(at(&file))?;
        if book.boot != boot {
            book = Book { boot, clis: Vec::new() };
        }
        Ok(State { dir: dir.to_owned(), _lock: lock, book })
    }

    /// Everything on the list.
    pub(super) fn entries(&self) -> Vec<Entry> {
        self.book.clis.clone()
    }

    /// Puts a process on the list.
    pub(super) fn add(&mut self, entry: Entry) -> io::Result<()> {
        self.book.clis.push(entry);
        self.write()
    }

    /// Takes a process off the list: nothing of it is left.
    pub(super) fn remove(&mut self, marker: &str) -> io::Result<()> {
        self.book.clis.retain(|entry| entry.marker != marker);
        self.write()
    }

    fn write(&self) -> io::Result<()> {
        let aside = self.dir.join("managed.json.new");
        let mut file = private_file().truncate(true).open(&aside)?;
        file.write_all(&serde_json::to_vec_pretty(&self.book)?)?;
        file.sync_all()?;
        std::fs::rename(&aside, self.dir.join("managed.json"))?;
        File::open(&self.dir)?.sync_all()
    }
}

/// Makes a directory and what is missing above it, for us alone (0700).
pub(super) fn make_private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options
}

fn take_lock(dir: &Path) -> Result<File, StateError> {
    let path = dir.join("lock");
    let mut file = private_file().read(true).open(&path).map_err(at(&path))?;
    match file.try_lock() {
        Ok(()) => {
            let written = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
            written.map_err(at(&path))?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut by = String::new();
            let _ = file.read_to_string(&mut by);
            Err(StateError::InUse { dir: dir.to_owned(), by: by.trim().to_owned() })
        }
        Err(TryLockError::Error(source)) => Err(StateError::Io { path, source }),
    }
}

/// A list that cannot be understood is no reason to stay down: it is put aside, and said.
fn read_book(file: &Path) -> io::Result<Book> {
    let text = match std::fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Book::default()),
        Err(error) => return Err(error),
    };
    match serde_json::from_slice(&text) {
        Ok(book) => Ok(book),
        Err(error) => {
            let aside = file.with_extension("json.bad");
            std::fs::rename(file, &aside)?;
            tracing::error!(
                file = %aside.display(), %error,
                "the list of CLIs that an earlier fairlead started is unreadable: \
                 what it left running, if anything, will not be ended"
            );
            Ok(Book::default())
        }
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn dir() -> PathBuf {
        std::env::temp_dir().join(format!("fairlead-state-{}", uuid::Uuid::new_v4()))
    }

    /// A process that another test forks in this moment holds a copy of the lock until its exec.
    fn eventually_open(dir: &Path) -> State {
        let deadline = crate::time::now() + crate::time::Duration::from_secs(10);
        loop {
            match State::open(dir) {
                Ok(state) => return state,
                Err(error) => assert!(crate::time::now() < deadline, "{error}"),
            }
            std::thread::yield_now();
        }
    }

    fn entry(marker: &str) -> Entry {
        Entry { pool: "p".into(), cli: 0, pid: 1, start: 2, marker: marker.into() }
    }

    #[test]
    fn what_was_written_is_found_again_and_the_directory_is_private() {
        let dir = dir();
        let mut state = State::open(&dir).unwrap();
        state.add(entry("a")).unwrap();
        state.add(entry("b")).unwrap();
        state.remove("a").unwrap();
        drop(state);
        assert_eq!(eventually_open(&dir).entries(), [entry("b")]);
        assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_second_one_is_refused_and_told_who_has_it() {
        let dir = dir();
        let first = State::open(&dir).unwrap();
        let refused = State::open(&dir).err().unwrap().to_string();
        assert!(refused.contains("in use by another fairlead"), "{refused}");
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
        drop(first);
        eventually_open(&dir);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_list_of_another_boot_is_forgotten_and_a_broken_one_put_aside() {
        let dir = dir();
        make_private_dir(&dir).unwrap();
        let file = dir.join("managed.json");
        let book = Book { boot: "another".into(), clis: vec![entry("a")] };
        std::fs::write(&file, serde_json::to_vec(&book).unwrap()).unwrap();
        assert_eq!(eventually_open(&dir).entries(), []);
        std::fs::write(&file, "{").unwrap();
        assert_eq!(eventually_open(&dir).entries(), []);
        assert!(dir.join("managed.json.bad").exists());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
