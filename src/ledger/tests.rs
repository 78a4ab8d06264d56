use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::caller::Realm;

const POOL: &str = "main";

fn record(user: &str) -> Record {
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
    assert_eq!(ledger.claim(POOL, &id("s"), record("al")).unwrap().await, Ok(()));
    let known = ledger.claim(POOL, &id("s"), record("bo")).err().unwrap();
    assert_eq!(*known, record("al"));
    assert_eq!(ledger.get(POOL, &id("s")).as_deref(), Some(&record("al")));
}

#[tokio::test]
async fn the_same_id_in_two_pools_is_two_sessions() {
    let ledger = Ledger::memory();
    ledger.claim("a", &id("s"), record("al")).unwrap().await.unwrap();
    ledger.claim("b", &id("s"), record("bo")).unwrap().await.unwrap();
    ledger.release("a", &id("s")).await.unwrap();
    assert_eq!(ledger.get("a", &id("s")), None);
    assert_eq!(ledger.get("b", &id("s")).as_deref(), Some(&record("bo")));
    assert_eq!(ledger.len(), 1);
}

#[tokio::test]
async fn a_change_is_seen_by_those_who_ask_afterwards_alone() {
    let ledger = Ledger::memory();
    ledger.claim(POOL, &id("s"), record("al")).unwrap().await.unwrap();
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
        ledger.claim(POOL, &id(&n.to_string()), record(owner)).unwrap().await.unwrap();
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
        let claim = |n: usize| ledger.claim(POOL, &id("s"), record(&n.to_string())).is_ok();
        let threads: Vec<_> = (0..8).map(|n| scope.spawn(move || usize::from(claim(n)))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(wins, 1);
}
