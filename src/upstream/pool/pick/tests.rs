//! Who gets an upstream, who waits, and who is turned away.

use std::collections::BTreeMap;
use std::task::Poll;

use super::*;
use crate::balance::Policy;
use crate::caller::Realm;
use crate::drain::Tasks;
use crate::health::state::{Seen, State};
use crate::observe::metrics::{Metrics, Vocabulary};
use crate::session::quota::Bounds;
use crate::session::table::{self, CreateExisting, Storage};
use crate::time::Duration;
use crate::upstream::member;
use crate::upstream::pool::{Parameters, Patience};

struct With {
    policy: Policy,
    members: u32,
    max_each: Option<u32>,
    wait: Duration,
    per_user: Option<u32>,
}

const BASE: With = With {
    policy: Policy::LeastLoaded,
    members: 1,
    max_each: Some(1),
    wait: Duration::from_secs(10),
    per_user: None,
};

fn pool(with: &With) -> Arc<Pool> {
    static SESSION_STATES: [&str; 1] = [table::State::ALL[0].slug()];
    let (upstream_states, session_states) = (&State::SLUGS, &SESSION_STATES);
    let words = Vocabulary { methods: vec![], upstream_states, session_states };
    let metrics = Metrics::new("0", "0", words);
    let member = |number: u32| {
        let parameters = member::Parameters {
            name: format!("up-{number}"),
            address: None,
            weight: 1,
            max_sessions: with.max_each,
            max_turns: None,
            rise: 1,
            fall: 1,
            token: None,
        };
        let series = metrics.upstream("p", &parameters.name);
        let (member, _) = Member::new(UpstreamId(number), parameters, series);
        member.see(Seen::Answered);
        Arc::new(member)
    };
    let parameters = Parameters {
        policy: with.policy,
        storage: Storage::Own,
        create_existing: CreateExisting::Resume,
        lookup_timeout: Duration::from_secs(1),
        lookup_wait: Duration::from_secs(1),
        fleet_timeout: Duration::from_secs(1),
        ephemeral_grace: Duration::from_secs(1),
        sessions: Bounds { user: with.per_user, ..Bounds::default() },
        turns: Bounds::default(),
        patience: Patience { length: 8, timeout: with.wait },
    };
    let members = (0..with.members).map(member).collect();
    Pool::new("p".into(), members, parameters, None, metrics.pool("p"), Tasks::new())
}

fn owner(user: &str) -> Owner {
    Owner { realm: Realm::Common, user: Some(user.into()) }
}

fn key(text: &str) -> Option<Key> {
    Some(Key { text: text.into(), ..Key::default() })
}

async fn now(pool: &Arc<Pool>, text: &str) -> Result<Picked, Refusal> {
    pool.pick(key(text), owner(text), &[]).await
}

fn reason(picked: Result<Picked, Refusal>) -> Option<Reason> {
    picked.err().map(|refusal| refusal.reason)
}

async fn waits<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> bool {
    let mut future = future;
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_served_before_who_comes_when_room_is_given_back() {
    let pool = pool(&BASE);
    let first = now(&pool, "a").await.unwrap();
    let mut second = std::pin::pin!(now(&pool, "b"));
    assert!(waits(second.as_mut()).await);
    drop(first);
    let mut third = std::pin::pin!(now(&pool, "c"));
    assert!(waits(third.as_mut()).await, "the room is the second's, though it was not polled");
    drop(second.await.unwrap());
    assert!(third.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_leaves_its_room_to_the_next() {
    let pool = pool(&BASE);
    let first = now(&pool, "a").await.unwrap();
    let mut third = std::pin::pin!(now(&pool, "c"));
    {
        let mut second = std::pin::pin!(now(&pool, "b"));
        assert!(waits(second.as_mut()).await);
        assert!(waits(third.as_mut()).await);
        drop(first);
        assert!(waits(third.as_mut()).await, "it is the second's");
    }
    {
        let mut fourth = std::pin::pin!(now(&pool, "d"));
        assert!(waits(fourth.as_mut()).await);
        assert_eq!(pool.metrics.queue_depth.get(), 1, "the third has its room");
    }
    assert_eq!(pool.metrics.queue_depth.get(), 0, "who is gone does not wait");
    assert!(third.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn without_room_in_time_it_is_overloaded_and_the_queue_is_empty() {
    let pool = pool(&BASE);
    let first = now(&pool, "a").await.unwrap();
    assert_eq!(reason(now(&pool, "b").await), Some(Reason::Overloaded));
    assert_eq!(pool.metrics.queue_depth.get(), 0);
    drop(first);
    assert!(now(&pool, "b").await.is_ok());
}

#[tokio::test]
async fn where_nobody_waits_it_is_overloaded_at_once() {
    let pool = pool(&With { wait: Duration::ZERO, ..BASE });
    let _first = now(&pool, "a").await.unwrap();
    assert_eq!(reason(now(&pool, "b").await), Some(Reason::Overloaded));
}

#[tokio::test]
async fn what_was_tried_is_not_tried_again() {
    let pool = pool(&With { members: 3, max_each: None, ..BASE });
    let mut tried = Tried::new();
    for _ in 0..3 {
        let picked = pool.pick(key("a"), owner("a"), &tried).await.unwrap();
        assert!(!tried.contains(&picked.member.id));
        tried.push(picked.member.id);
    }
    let refused = reason(pool.pick(key("a"), owner("a"), &tried).await);
    assert_eq!(refused, Some(Reason::NoUpstream));
}

#[tokio::test]
async fn a_user_has_no_more_than_its_share() {
    let with = With { members: 3, max_each: None, per_user: Some(1), wait: Duration::ZERO, ..BASE };
    let pool = pool(&with);
    let _first = now(&pool, "a").await.unwrap();
    assert_eq!(reason(now(&pool, "a").await), Some(Reason::Overloaded));
    assert!(now(&pool, "b").await.is_ok());
}

#[tokio::test]
async fn nobody_goes_to_an_upstream_that_is_down_or_back_to_one() {
    let pool = pool(&With { members: 2, max_each: None, ..BASE });
    let (down, up) = (UpstreamId(0), UpstreamId(1));
    pool.member(down).unwrap().see(Seen::Gone);
    for n in 0..10 {
        assert_eq!(now(&pool, &n.to_string()).await.unwrap().member.id, up);
    }
    assert!(pool.pick_this(down, &owner("a")).is_none());
    assert_eq!(pool.pick_this(up, &owner("a")).unwrap().member.id, up);
    pool.member(up).unwrap().see(Seen::Gone);
    assert_eq!(reason(now(&pool, "a").await), Some(Reason::NoUpstream));
}

/// Where each of 10,000 users goes, one at a time.
async fn homes(pool: &Arc<Pool>) -> Vec<UpstreamId> {
    let mut homes = Vec::new();
    for user in 0..10_000 {
        homes.push(now(pool, &format!("user-{user}")).await.unwrap().member.id);
    }
    homes
}

#[tokio::test]
async fn of_10000_users_only_those_of_a_lost_upstream_move() {
    let policy = Policy::Consistent { factor: f64::INFINITY };
    let pool = pool(&With { policy, members: 10, max_each: None, ..BASE });
    let before = homes(&pool).await;
    pool.member(UpstreamId(9)).unwrap().see(Seen::Gone);
    let after = homes(&pool).await;
    let moved = before.iter().zip(&after).filter(|(b, a)| b != a);
    let (all, own) =
        moved.fold((0, 0), |(all, own), (b, _)| (all + 1, own + usize::from(*b == UpstreamId(9))));
    assert_eq!(all, own, "nobody else moved");
    assert!((800..1200).contains(&all), "{all}");
}

#[tokio::test]
async fn under_skew_no_upstream_has_more_than_the_bound() {
    let policy = Policy::Consistent { factor: 1.25 };
    let pool = pool(&With { policy, members: 10, max_each: None, ..BASE });
    let mut held = Vec::new();
    for n in 0..1000 {
        // A third is one user's, the rest are few users'.
        let user = if n % 3 == 0 { "loud".to_owned() } else { format!("user-{}", n % 7) };
        held.push(now(&pool, &user).await.unwrap());
    }
    let mut counts = BTreeMap::new();
    for picked in &held {
        *counts.entry(picked.member.id.0).or_insert(0) += 1;
    }
    let most = counts.values().max().unwrap();
    assert!(*most <= 126, "{counts:?}");
    assert_eq!(counts.values().sum::<i32>(), 1000);
}

#[tokio::test]
async fn what_has_no_key_is_spread_where_a_key_is_asked_for() {
    let policy = Policy::Consistent { factor: f64::INFINITY };
    let pool = pool(&With { policy, members: 3, max_each: None, ..BASE });
    let mut held = Vec::new();
    for _ in 0..9 {
        let picked = pool.pick(None, owner("a"), &[]).await.unwrap();
        assert_eq!(picked.reason, PlacementReason::NoUser);
        held.push(picked);
    }
    for id in 0..3 {
        assert_eq!(held.iter().filter(|p| p.member.id == UpstreamId(id)).count(), 3);
    }
}

#[tokio::test]
async fn nobody_goes_to_an_upstream_that_is_to_go_and_what_is_there_stays() {
    let pool = pool(&With { members: 2, max_each: None, ..BASE });
    let (old, new) = (UpstreamId(0), UpstreamId(1));
    let there = pool.pick_this(old, &owner("a")).unwrap();
    pool.retire("up-0");
    for n in 0..10 {
        assert_eq!(now(&pool, &n.to_string()).await.unwrap().member.id, new);
    }
    assert!(pool.pick_this(old, &owner("a")).is_none(), "not even who was told to");
    assert!(pool.member(old).is_some() && !there.member.is_ended());
    drop(there);
    tokio::time::timeout(Duration::from_secs(20), async {
        while pool.member(old).is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    pool.retire("up-1");
    assert_eq!(reason(now(&pool, "a").await), Some(Reason::NoUpstream));
}
