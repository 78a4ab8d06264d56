//! A disk in memory: what was not synced may be lost when it crashes, in any part and order; and it can fail.

use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::{Database, StorageBackend};

use crate::ledger::file::{Place, Problem, Store, library};

/// What a disk writes at once.
const SECTOR: usize = 512;

/// A small generator: the same seed, the same numbers.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        // Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (SplitMix64).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

#[derive(Clone, Debug)]
enum Unsynced {
    Length(usize),
    Bytes(usize, Vec<u8>),
}

impl Unsynced {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Unsynced::Length(length) => to.resize(*length, 0),
            Unsynced::Bytes(at, bytes) => {
                let end = at + bytes.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[*at..end].copy_from_slice(bytes);
            }
        }
    }

    /// Each sector as if written by itself.
    fn sectors(self) -> Vec<Unsynced> {
        match self {
            Unsynced::Length(_) => vec![self],
            Unsynced::Bytes(at, bytes) => bytes
                .chunks(SECTOR)
                .enumerate()
                .map(|(n, part)| Unsynced::Bytes(at + n * SECTOR, part.to_vec()))
                .collect(),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    synced: Vec<u8>,
    current: Vec<u8>,
    unsynced: Vec<Unsynced>,
    failing: bool,
    /// Writes until it crashes, and the seed of what is lost then.
    crash_after: Option<(u64, u64)>,
    /// What is left after the crash.
    crashed: Option<Vec<u8>>,
    syncs: u64,
}

/// See the module's head.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

impl Disk {
    /// With an empty ledger on it.
    pub(super) fn new() -> Self {
        let disk = Disk::default();
        Store::begin(&library().create_with_backend(disk.clone()).unwrap()).unwrap();
        disk
    }

    /// With these bytes on it.
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        let disk = Disk::default();
        *disk.0.lock() = State { synced: bytes.clone(), current: bytes, ..State::default() };
        disk
    }

    /// Whether everything fails from now on.
    pub(super) fn set_failing(&self, failing: bool) {
        self.0.lock().failing = failing;
    }

    /// Crashes at the write after so many more.
    pub(super) fn crash_after(&self, writes: u64, seed: u64) {
        self.0.lock().crash_after = Some((writes, seed));
    }

    /// What the crash has left, if it happened.
    pub(super) fn crashed(&self) -> Option<Vec<u8>> {
        self.0.lock().crashed.clone()
    }

    /// Whether it has crashed.
    pub(super) fn is_crashed(&self) -> bool {
        self.0.lock().crashed.is_some()
    }

    /// How often it was synced.
    pub(super) fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }

    /// All bytes, as they were last written.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.lock().current.clone()
    }
}

impl State {
    fn check(&self) -> io::Result<()> {
        match self.failing || self.crashed.is_some() {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }

    fn change(&mut self, change: Unsynced) -> io::Result<()> {
        self.check()?;
        change.apply(&mut self.current);
        self.unsynced.push(change);
        if let Some((left, seed)) = &mut self.crash_after {
            if *left == 0 {
                self.crashed = Some(remains(&self.synced, &self.unsynced, &mut Random(*seed)));
                return self.check();
            }
            *left -= 1;
        }
        Ok(())
    }
}

/// What was synced, and of the rest any sectors in any order.
fn remains(synced: &[u8], unsynced: &[Unsynced], random: &mut Random) -> Vec<u8> {
    let mut left = synced.to_vec();
    let mut sectors: Vec<_> = unsynced.iter().cloned().flat_map(Unsynced::sectors).collect();
    let (keep, orderly) = (random.below(5), random.below(2) == 0);
    while !sectors.is_empty() {
        let next = if orderly { 0 } else { random.below(sectors.len() as u64) as usize };
        let sector = sectors.remove(next);
        // From nothing of it to all of it.
        if random.below(4) < keep {
            sector.apply(&mut left);
        }
    }
    left
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock();
        state.check()?;
        let at = offset as usize;
        let bytes = state.current.get(at..at + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().change(Unsynced::Length(len as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        state.check()?;
        state.syncs += 1;
        let State { synced, unsynced, .. } = &mut *state;
        unsynced.drain(..).for_each(|change| change.apply(synced));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.lock().change(Unsynced::Bytes(offset as usize, data.to_vec()))
    }
}

impl Place for Disk {
    fn open(&self) -> Result<Database, Problem> {
        Ok(library().create_with_backend(self.clone()).map_err(redb::Error::from)?)
    }

    fn file(&self) -> Arc<Path> {
        Path::new("disk").into()
    }
}
