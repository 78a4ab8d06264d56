//! What the file in the directory may be.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::disk::Random;
use super::*;

/// A directory that goes away with the test; it does not exist yet.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        Dir(std::env::temp_dir().join(format!("fairlead-ledger-{}", uuid::Uuid::new_v4())))
    }

    fn file(&self) -> PathBuf {
        self.0.join("ledger.redb")
    }

    /// Opens it; another test that forks holds a copy of each lock until its exec.
    fn open(&self) -> Result<Ledger, LedgerError> {
        let deadline = time::now() + DEADLINE;
        loop {
            match Ledger::open(&self.0) {
                Err(LedgerError::InUse(_)) if time::now() < deadline => std::thread::yield_now(),
                other => return other,
            }
        }
    }

    /// With this many sessions; closed.
    fn filled(sessions: usize) -> Self {
        let dir = Dir::new();
        let ledger = dir.open().unwrap();
        for n in 0..sessions {
            drop(ledger.claim(POOL, &id(&n.to_string()), of_user("al")).unwrap());
        }
        dir
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn error_of(opened: Result<Ledger, LedgerError>) -> LedgerError {
    match opened {
        Ok(ledger) => panic!("opened, with {} sessions", ledger.len()),
        Err(error) => error,
    }
}

/// The error names the file, and the file is as it was.
fn refuses(dir: &Dir, slug: &str) {
    let before = fs::read(dir.file()).unwrap();
    let error = error_of(dir.open());
    assert_eq!(error.slug(), slug, "{error}");
    assert!(error.to_string().contains(dir.file().to_str().unwrap()), "{error}");
    assert!(fs::read(dir.file()).unwrap() == before, "the file was changed");
}

#[test]
fn what_was_claimed_is_known_after_a_restart() {
    let dir = Dir::filled(100);
    let ledger = dir.open().unwrap();
    assert_eq!(ledger.len(), 100);
    assert_eq!(ledger.get(POOL, &id("7")).as_deref(), Some(&of_user("al")));
}

#[test]
fn nobody_else_may_read_the_file() {
    let dir = Dir::filled(1);
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(dir.0.clone()), mode(dir.file())), (0o700, 0o600));
}

#[test]
fn a_second_process_is_refused() {
    let dir = Dir::new();
    let _first = dir.open().unwrap();
    let error = error_of(Ledger::open(&dir.0));
    assert_eq!((error.slug(), error.fault()), ("in_use", Fault::Operator));
}

#[test]
fn a_file_of_somebody_else_is_refused() {
    let dir = Dir::filled(1);
    fs::write(dir.file(), "SQLite format 3").unwrap();
    refuses(&dir, "foreign");
}

#[test]
fn a_database_of_somebody_else_is_refused() {
    let dir = Dir::filled(1);
    fs::remove_file(dir.file()).unwrap();
    drop(redb::Database::create(dir.file()).unwrap());
    assert_eq!(error_of(dir.open()).slug(), "foreign");
}

#[test]
fn a_newer_layout_is_refused() {
    let dir = Dir::filled(1);
    let database = redb::Database::open(dir.file()).unwrap();
    let transaction = database.begin_write().unwrap();
    let meta = redb::TableDefinition::<&str, u64>::new("fairlead-ledger");
    transaction.open_table(meta).unwrap().insert("format", 2).unwrap();
    transaction.commit().unwrap();
    drop(database);
    assert_eq!(error_of(dir.open()).slug(), "newer");
}

#[test]
fn an_emptied_file_is_no_new_ledger() {
    let dir = Dir::filled(1);
    fs::write(dir.file(), "").unwrap();
    refuses(&dir, "damaged");
}

#[test]
fn a_file_whose_making_was_cut_short_is_made_anew() {
    let dir = Dir::new();
    fs::create_dir_all(&dir.0).unwrap();
    fs::write(dir.0.join("ledger.redb.new"), "redb, half of it").unwrap();
    assert!(dir.open().unwrap().is_empty());
}

#[test]
fn a_file_that_was_cut_is_refused() {
    let dir = Dir::filled(2000);
    let whole = fs::read(dir.file()).unwrap();
    for seed in 0..20 {
        let cut = 16 + Random(seed).below(whole.len() as u64 / 2) as usize;
        fs::write(dir.file(), whole.get(..cut).unwrap()).unwrap();
        let error = error_of(dir.open());
        assert_eq!(error.slug(), "damaged", "cut at {cut}: {error}");
    }
}

#[test]
fn a_file_that_was_garbled_is_refused_or_says_what_it_said() {
    let dir = Dir::filled(2000);
    let whole = fs::read(dir.file()).unwrap();
    let mut refused = 0;
    for seed in 0..40 {
        let mut random = Random(seed);
        let mut garbled = whole.clone();
        let at = random.below(whole.len() as u64 - 64) as usize;
        garbled[at..at + 64].iter_mut().for_each(|byte| *byte ^= 1 + random.below(255) as u8);
        fs::write(dir.file(), &garbled).unwrap();
        match dir.open() {
            Err(error) => {
                refused += 1;
                assert!(["damaged", "foreign"].contains(&error.slug()), "{error}");
            }
            Ok(ledger) => {
                // What was hit is not in use.
                assert_eq!(ledger.len(), 2000, "seed {seed}, at {at}");
                let al = ledger.sessions_of(POOL, |record| *record == of_user("al"));
                assert_eq!(al.len(), 2000, "seed {seed}, at {at}");
            }
        }
    }
    assert!(refused > 0, "no garbling hit what is in use");
}
