//! The records in memory, in parts that are locked one by one. Knows no file.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ahash::{AHashMap, RandomState};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::Record;
use crate::id::SessionId;

/// Parts, so that a walk over all records holds up few of those who ask for one.
pub(super) const SHARDS: usize = 32;

/// Every record. A session is in the part that its id says, whatever its pool.
pub(super) struct Table {
    shards: [RwLock<Shard>; SHARDS],
    hash: RandomState,
    len: AtomicUsize,
}

/// A part of the records, by pool and session.
#[derive(Default)]
pub(super) struct Shard(AHashMap<Arc<str>, AHashMap<SessionId, Arc<Record>>>);

impl Default for Table {
    fn default() -> Self {
        let (shards, hash) = (std::array::from_fn(|_| RwLock::default()), RandomState::new());
        Table { shards, hash, len: AtomicUsize::new(0) }
    }
}

impl Table {
    /// The part that this session is in.
    pub(super) fn read(&self, session: &SessionId) -> RwLockReadGuard<'_, Shard> {
        self.shard(session).read()
    }

    /// The same, to be changed.
    pub(super) fn write(&self, session: &SessionId) -> Part<'_> {
        Part { shard: self.shard(session).write(), len: &self.len }
    }

    /// Records in all parts.
    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// See [`super::Ledger::sessions_of`].
    pub(super) fn sessions_of(
        &self,
        pool: &str,
        wanted: impl Fn(&Record) -> bool,
    ) -> Vec<SessionId> {
        (0..SHARDS).flat_map(|part| self.part_of(part, pool, &wanted)).collect()
    }

    /// See [`super::Ledger::part_of`].
    pub(super) fn part_of(
        &self,
        part: usize,
        pool: &str,
        wanted: impl Fn(&Record) -> bool,
    ) -> Vec<SessionId> {
        let Some(shard) = self.shards.get(part) else { return Vec::new() };
        let shard = shard.read();
        let sessions = shard.0.get(pool).into_iter().flatten();
        let wanted = sessions.filter(|(_, record)| wanted(record));
        wanted.map(|(session, _)| session.clone()).collect()
    }

    fn shard(&self, session: &SessionId) -> &RwLock<Shard> {
        let [first, ..] = &self.shards;
        let place = self.hash.hash_one(session) as usize % SHARDS;
        // Never out of bounds.
        self.shards.get(place).unwrap_or(first)
    }
}

impl Shard {
    /// What is known of the session.
    pub(super) fn get(&self, pool: &str, session: &SessionId) -> Option<&Arc<Record>> {
        self.0.get(pool)?.get(session)
    }
}

/// A part that is held to be changed.
pub(super) struct Part<'a> {
    shard: RwLockWriteGuard<'a, Shard>,
    len: &'a AtomicUsize,
}

impl Part<'_> {
    /// What is known of the session.
    pub(super) fn get(&self, pool: &str, session: &SessionId) -> Option<&Arc<Record>> {
        self.shard.get(pool, session)
    }

    /// The same, to be replaced.
    pub(super) fn get_mut(&mut self, pool: &str, session: &SessionId) -> Option<&mut Arc<Record>> {
        self.shard.0.get_mut(pool)?.get_mut(session)
    }

    /// Adds a session that is not in yet.
    pub(super) fn insert(&mut self, pool: Arc<str>, session: SessionId, record: Arc<Record>) {
        let before = self.shard.0.entry(pool).or_default().insert(session, record);
        if before.is_none() {
            self.len.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes the session out; whether it was in.
    pub(super) fn remove(&mut self, pool: &str, session: &SessionId) -> bool {
        let Some(sessions) = self.shard.0.get_mut(pool) else { return false };
        let known = sessions.remove(session).is_some();
        if sessions.is_empty() {
            self.shard.0.remove(pool);
        } else if sessions.capacity() > 64 && sessions.len() < sessions.capacity() / 8 {
            let room = sessions.len() * 2;
            sessions.shrink_to(room);
        }
        if known {
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
        known
    }
}
