//! How many sessions, or turns, there may be at once: of a pool, of each tenant, of each user. It counts, and never waits.
//!
//! A tenant is one that was proven. A session that names no user counts for its tenant and its pool alone.

use std::hash::Hash;

use ahash::AHashMap;

use crate::caller::{Owner, Realm};

/// How many there may be; `None`: any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Of the pool.
    pub pool: Option<u32>,
    /// Of each tenant.
    pub tenant: Option<u32>,
    /// Of each user.
    pub user: Option<u32>,
}

impl Bounds {
    /// Whether there is any bound.
    pub fn is_bounded(&self) -> bool {
        self.pool.or(self.tenant).or(self.user).is_some()
    }
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct Quota {
    bounds: Bounds,
    pool: u32,
    tenants: AHashMap<Realm, u32>,
    users: AHashMap<Owner, u32>,
}

impl Quota {
    /// Nothing is counted yet.
    pub fn new(bounds: Bounds) -> Self {
        Quota { bounds, ..Quota::default() }
    }

    /// Whether this owner may have one more.
    pub fn has_room(&self, owner: &Owner) -> bool {
        let room = |bound: Option<u32>, count: u32| bound.is_none_or(|bound| count < bound);
        let count = |of: Option<&u32>| of.copied().unwrap_or_default();
        room(self.bounds.pool, self.pool)
            && room(self.bounds.tenant, count(tenant(owner).and_then(|t| self.tenants.get(t))))
            && room(self.bounds.user, count(user(owner).and_then(|u| self.users.get(u))))
    }

    /// One more, whether there is room or not: what a CLI does of its own accord is not stopped, but counts.
    pub fn take(&mut self, owner: &Owner) {
        self.pool += 1;
        if let Some(tenant) = tenant(owner).filter(|_| self.bounds.tenant.is_some()) {
            *self.tenants.entry(tenant.clone()).or_default() += 1;
        }
        if let Some(user) = user(owner).filter(|_| self.bounds.user.is_some()) {
            *self.users.entry(user.clone()).or_default() += 1;
        }
    }

    /// One less. Who has none is forgotten.
    pub fn give(&mut self, owner: &Owner) {
        debug_assert!(self.pool > 0, "given back twice");
        self.pool = self.pool.saturating_sub(1);
        if let Some(tenant) = tenant(owner) {
            less(&mut self.tenants, tenant);
        }
        if let Some(user) = user(owner) {
            less(&mut self.users, user);
        }
    }
}

fn less<K: Eq + Hash>(counts: &mut AHashMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

fn tenant(owner: &Owner) -> Option<&Realm> {
    match owner.realm {
        Realm::Tenant(_) => Some(&owner.realm),
        Realm::Common | Realm::Listener(_) => None,
    }
}

fn user(owner: &Owner) -> Option<&Owner> {
    owner.user.as_ref().map(|_| owner)
}

/// Whose turn it is in a queue that is fair between tenants: the tenant; without one, each user is its own.
pub fn line_of(owner: &Owner) -> Owner {
    match tenant(owner) {
        Some(realm) => Owner { realm: realm.clone(), user: None },
        None => owner.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn owner(tenant: Option<&str>, user: Option<&str>) -> Owner {
        let realm = tenant.map_or(Realm::Common, |t| Realm::Tenant(t.into()));
        Owner { realm, user: user.map(Into::into) }
    }

    fn quota(pool: u32, tenant: u32, user: u32) -> Quota {
        Quota::new(Bounds { pool: Some(pool), tenant: Some(tenant), user: Some(user) })
    }

    #[test]
    fn each_bound_holds_by_itself() {
        let (al, bo) = (owner(Some("a"), Some("al")), owner(Some("a"), Some("bo")));
        let cy = owner(Some("c"), Some("cy"));
        let mut quota = quota(4, 3, 2);
        quota.take(&al);
        quota.take(&al);
        assert!(!quota.has_room(&al) && quota.has_room(&bo));
        quota.take(&bo);
        assert!(!quota.has_room(&bo), "the tenant has three");
        assert!(quota.has_room(&cy));
        quota.take(&cy);
        assert!(!quota.has_room(&cy), "the pool has four");
        quota.give(&al);
        assert!([&al, &bo, &cy].into_iter().all(|who| quota.has_room(who)));
    }

    #[test]
    fn users_of_two_tenants_are_two() {
        let mut quota = quota(9, 9, 1);
        quota.take(&owner(Some("a"), Some("al")));
        assert!(quota.has_room(&owner(Some("b"), Some("al"))));
        assert!(quota.has_room(&owner(None, Some("al"))));
    }

    #[test]
    fn who_has_no_name_counts_for_the_pool_alone() {
        let mut quota = quota(2, 1, 1);
        let nobody = owner(None, None);
        quota.take(&nobody);
        assert!(quota.has_room(&nobody));
        quota.take(&nobody);
        assert!(!quota.has_room(&nobody));
    }

    #[test]
    fn a_queue_has_a_line_for_each_tenant_and_for_each_user_without_one() {
        let line = |tenant, user| line_of(&owner(tenant, user));
        assert_eq!(line(Some("a"), Some("al")), line(Some("a"), Some("bo")));
        assert_ne!(line(None, Some("al")), line(None, Some("bo")));
        assert_ne!(line(Some("a"), None), line(Some("b"), None));
    }

    proptest! {
        #[test]
        fn what_was_given_back_leaves_nothing(takes in prop::collection::vec((0..3u8, 0..3u8), 0..40)) {
            let names = ["a", "b", "c"];
            let mut quota = quota(9, 9, 9);
            let owners: Vec<Owner> = takes
                .iter()
                .map(|(t, u)| owner((*t > 0).then(|| names[*t as usize]), (*u > 0).then(|| names[*u as usize])))
                .collect();
            owners.iter().for_each(|owner| quota.take(owner));
            owners.iter().rev().for_each(|owner| quota.give(owner));
            prop_assert_eq!(quota.pool, 0);
            prop_assert!(quota.tenants.is_empty() && quota.users.is_empty());
        }
    }
}
