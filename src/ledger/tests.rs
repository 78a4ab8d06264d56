//! The ledger beside a simple model, in memory and in a file; what a file may be; what a disk may do to it.

mod disk;
mod failing;
mod files;
mod model;
mod torn;

use std::time::UNIX_EPOCH;

use proptest::prelude::*;

use super::*;
use crate::caller::Realm;
use crate::time::{self, Duration};

const POOL: &str = "main";
/// How long a test waits for a fact.
const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until `fact` holds.
fn eventually(what: &str, fact: impl Fn() -> bool) {
    let deadline = time::now() + DEADLINE;
    while !fact() {
        assert!(time::now() < deadline, "not within {DEADLINE:?}: {what}");
        std::thread::yield_now();
    }
}

fn names() -> impl Strategy<Value = Arc<str>> {
    prop_oneof!["[a-c]", "[a-c\"\\\\\n\u{e9}-]{0,40}"].prop_map(|name| name.as_str().into())
}

fn owner() -> impl Strategy<Value = Owner> {
    let realm = prop_oneof![
        names().prop_map(Realm::Tenant),
        Just(Realm::Common),
        names().prop_map(Realm::Listener)
    ];
    (realm, prop::option::of(names())).prop_map(|(realm, user)| Owner { realm, user })
}

fn moment() -> impl Strategy<Value = SystemTime> {
    (0..1u64 << 42).prop_map(|millis| UNIX_EPOCH + Duration::from_millis(millis))
}

/// Any record.
pub(super) fn record() -> impl Strategy<Value = Record> {
    let class = prop_oneof![Just(Class::Persistent), Just(Class::Ephemeral)];
    let grants = prop::collection::vec(owner(), 0..3);
    (owner(), grants, prop::option::of(names()), moment(), moment(), class).prop_map(
        |(owner, grants, upstream, created, used, class)| Record {
            owner,
            grants,
            upstream,
            created,
            used,
            class,
        },
    )
}

fn of_user(user: &str) -> Record {
    Record {
        owner: Owner { realm: Realm::Common, user: Some(user.into()) },
        grants: Vec::new(),
        upstream: None,
        created: UNIX_EPOCH,
        used: UNIX_EPOCH,
        class: Class::Persistent,
    }
}

fn id(text: &str) -> SessionId {
    SessionId::new(text)
}

#[tokio::test]
async fn the_first_claim_wins_and_the_second_hears_whose_it_is() {
    let ledger = Ledger::memory();
    assert_eq!(ledger.claim(POOL, &id("s"), of_user("al")).unwrap().await, Ok(()));
    let known = ledger.claim(POOL, &id("s"), of_user("bo")).err().unwrap();
    assert_eq!(*known, of_user("al"));
    assert_eq!(ledger.get(POOL, &id("s")).as_deref(), Some(&of_user("al")));
}

#[tokio::test]
async fn the_same_id_in_two_pools_is_two_sessions() {
    let ledger = Ledger::memory();
    ledger.claim("a", &id("s"), of_user("al")).unwrap().await.unwrap();
    ledger.claim("b", &id("s"), of_user("bo")).unwrap().await.unwrap();
    ledger.release("a", &id("s")).await.unwrap();
    assert_eq!(ledger.get("a", &id("s")), None);
    assert_eq!(ledger.get("b", &id("s")).as_deref(), Some(&of_user("bo")));
    assert_eq!(ledger.len(), 1);
}

#[tokio::test]
async fn a_change_is_seen_by_those_who_ask_afterwards_alone() {
    let ledger = Ledger::memory();
    ledger.claim(POOL, &id("s"), of_user("al")).unwrap().await.unwrap();
    let before = ledger.get(POOL, &id("s")).unwrap();
    let later = UNIX_EPOCH + Duration::from_secs(9);
    ledger.change(POOL, &id("s"), |record| record.used = later).unwrap().await.unwrap();
    assert_eq!(before.used, UNIX_EPOCH);
    assert_eq!(ledger.get(POOL, &id("s")).unwrap().used, later);
    assert!(ledger.change(POOL, &id("t"), |_| ()).is_none());
}

#[tokio::test]
async fn sessions_are_found_by_what_is_known_of_them() {
    let ledger = Ledger::memory();
    for n in 0..100 {
        let owner = if n % 2 == 0 { "al" } else { "bo" };
        ledger.claim(POOL, &id(&n.to_string()), of_user(owner)).unwrap().await.unwrap();
    }
    let of_al = ledger.sessions_of(POOL, |record| record.owner.user.as_deref() == Some("al"));
    let mut numbers: Vec<u32> = of_al.iter().map(|id| id.as_str().parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..100).step_by(2).collect::<Vec<_>>());
    assert_eq!(ledger.sessions_of("other", |_| true).len(), 0);
}

#[test]
fn of_many_who_claim_at_once_one_wins() {
    let ledger = Ledger::memory();
    let wins: usize = std::thread::scope(|scope| {
        let claim = |n: usize| ledger.claim(POOL, &id("s"), of_user(&n.to_string())).is_ok();
        let threads: Vec<_> = (0..8).map(|n| scope.spawn(move || usize::from(claim(n)))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(wins, 1);
}
