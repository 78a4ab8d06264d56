//! One copy of each name: many sessions have the same tenant, user and CLI. Knows nothing of what the names mean.

use std::sync::Arc;

use ahash::AHashSet;
use parking_lot::Mutex;

use super::Record;
use crate::caller::{Owner, Realm};

/// Names kept before the first look for those that nobody uses any more.
const SWEEP_FROM: usize = 1024;

#[derive(Default)]
struct Kept {
    names: AHashSet<Arc<str>>,
    sweep_at: usize,
}

/// See the module's head. Holds at most twice the names in use, and a thousand.
#[derive(Default)]
pub(super) struct Names(Mutex<Kept>);

impl Names {
    /// The one copy of this name.
    pub(super) fn share(&self, name: &str) -> Arc<str> {
        let mut kept = self.0.lock();
        if let Some(known) = kept.names.get(name) {
            return Arc::clone(known);
        }
        if kept.names.len() >= kept.sweep_at.max(SWEEP_FROM) {
            kept.names.retain(|name| Arc::strong_count(name) > 1);
            kept.sweep_at = kept.names.len() * 2;
        }
        let new: Arc<str> = name.into();
        kept.names.insert(Arc::clone(&new));
        new
    }

    /// Puts the one copy in the place of each name of the record, and lets go of room that it does not need.
    pub(super) fn share_all(&self, record: &mut Record) {
        record.grants.shrink_to_fit();
        for owner in record.grants.iter_mut().chain([&mut record.owner]) {
            self.share_owner(owner);
        }
        if let Some(upstream) = &mut record.upstream {
            *upstream = self.share(upstream);
        }
    }

    fn share_owner(&self, owner: &mut Owner) {
        match &mut owner.realm {
            Realm::Tenant(name) | Realm::Listener(name) => *name = self.share(name),
            Realm::Common => {}
        }
        if let Some(user) = &mut owner.user {
            *user = self.share(user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once() {
        let names = Names::default();
        assert!(Arc::ptr_eq(&names.share("a"), &names.share("a")));
        assert!(!Arc::ptr_eq(&names.share("a"), &names.share("b")));
    }

    #[test]
    fn names_that_nobody_uses_are_let_go() {
        let names = Names::default();
        let used: Vec<_> = (0..100).map(|n| names.share(&format!("used-{n}"))).collect();
        for n in 0..100_000 {
            names.share(&format!("unused-{n}"));
        }
        assert!(names.0.lock().names.len() <= SWEEP_FROM + used.len());
        assert!(used.iter().all(|name| Arc::ptr_eq(name, &names.share(name))));
    }
}
