//! What outlives a CLI process: sessions that had a message. Shared by clones; no file is written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

/// One event as it was written: its type, and its JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `type`.
    pub kind: String,
    /// The whole event.
    pub text: String,
}

/// One session's directory.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// RFC 3339, of the first `session.start`.
    pub start: String,
    /// RFC 3339.
    pub modified: String,
    /// The first prompt; `None` until a message was sent, and then the session cannot be found.
    pub summary: Option<String>,
    /// `events.jsonl`.
    pub events: Vec<Event>,
    /// The fakes that have it in memory, by their serial numbers.
    pub holders: BTreeSet<u64>,
}

/// A storage directory that several fakes may share. A clone is the same directory.
#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Mutex<BTreeMap<String, Stored>>>);

impl Disk {
    /// An empty directory.
    pub fn new() -> Self {
        Disk::default()
    }

    /// The ids that a resume would find, in order.
    pub fn sessions(&self) -> Vec<String> {
        let map = self.lock();
        map.iter().filter(|(_, s)| s.summary.is_some()).map(|(id, _)| id.clone()).collect()
    }

    /// The events of a session, as they were appended; by several fakes, interleaved.
    pub fn events(&self, session: &str) -> Vec<Event> {
        self.lock().get(session).map(|stored| stored.events.clone()).unwrap_or_default()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Stored>> {
        self.0.lock()
    }

    /// The session that `asked` opens: the id itself, or the one UUID that begins so (from 7 characters on).
    pub(super) fn resolve(&self, asked: &str) -> Option<String> {
        let map = self.lock();
        if map.contains_key(asked) {
            return Some(asked.to_owned());
        }
        let prefix = asked.to_ascii_lowercase();
        let shape = prefix.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        if !shape || !(7..36).contains(&prefix.len()) {
            return None;
        }
        let mut found = map.iter().filter(|(id, stored)| {
            stored.summary.is_some() && id.starts_with(&prefix) && uuid::Uuid::parse_str(id).is_ok()
        });
        let first = found.next()?;
        found.next().is_none().then(|| first.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_opens_a_uuid_from_seven_characters_and_nothing_else() {
        let disk = Disk::new();
        let id = "baf5c5c4-a34d-4b7d-aeea-aa381e5ce803";
        for id in [id, "user-alice-chat"] {
            let stored = Stored { summary: Some("hi".to_owned()), ..Stored::default() };
            disk.lock().insert(id.to_owned(), stored);
        }
        for asked in [id, "baf5c5c", "BAF5C5C4", "baf5c5c4-a34d"] {
            assert_eq!(disk.resolve(asked).as_deref(), Some(id), "{asked}");
        }
        for asked in ["baf5", "baf5c5d", "user-alice", &id.to_uppercase()] {
            assert_eq!(disk.resolve(asked), None, "{asked}");
        }
    }
}
