//! Which CLI gets a session, and why.

use std::collections::BTreeMap;

use serde_json::json;

use super::rig::*;

fn spread(rig: &Rig) -> Vec<usize> {
    rig.clis.iter().map(|cli| cli.sessions().len()).collect()
}

fn placed(metrics: &Metrics, reason: &str) -> f64 {
    metrics.sum("fairlead_session_placements_total", &[("reason", reason)])
}

#[tokio::test]
async fn nine_sessions_of_one_conn_go_three_each() {
    let rig = clis(3).start().await;
    let client = rig.client().await;
    for n in 0..9 {
        create(&client, &format!("s{n}")).await;
    }
    assert_eq!(spread(&rig), [3, 3, 3]);
    assert_eq!(placed(&rig.metrics().await, "round_robin"), 9.0);
}

#[tokio::test]
async fn weights_are_shares() {
    let rig = clis(2).upstream(1, "weight = 3").start().await;
    let client = rig.client().await;
    for n in 0..8 {
        create(&client, &format!("s{n}")).await;
    }
    assert_eq!(spread(&rig), [2, 6]);
}

#[tokio::test]
async fn the_least_loaded_gets_the_next() {
    let rig = clis(3).balance("balance = \"least_loaded\"").start().await;
    let client = rig.client().await;
    for n in 0..6 {
        create(&client, &format!("s{n}")).await;
    }
    assert_eq!(spread(&rig), [2, 2, 2]);
    let freed = rig.owner("s3");
    for session in ["s3"] {
        ask(&client, "session.delete", json!({"sessionId": session})).await;
    }
    create(&client, "next").await;
    assert_eq!(rig.owner("next"), freed);
    assert_eq!(placed(&rig.metrics().await, "least_loaded"), 7.0);
}

#[tokio::test]
async fn of_two_with_as_many_sessions_the_one_without_a_turn_gets_the_next() {
    let rig = clis(2).balance("balance = \"least_loaded\"").start().await;
    let client = rig.client().await;
    for session in ["a", "b"] {
        create(&client, session).await;
    }
    let turns = async |count: f64| {
        rig.until("the turns are counted", |m| m.sum("fairlead_turns_active", &[]) == count).await;
    };
    for (busy, next, after) in [("a", "c", "d"), ("b", "e", "f")] {
        let owner = rig.hold(&client, busy, "k").await;
        turns(1.0).await;
        create(&client, next).await;
        assert_eq!(rig.owner(next), 1 - owner);
        rig.clis[owner].release("k");
        turns(0.0).await;
        // Two and one, and nobody busy.
        create(&client, after).await;
        assert_eq!(rig.owner(after), owner);
    }
}

#[tokio::test]
async fn sessions_of_a_user_stick_and_a_restart_forgets_nothing() {
    let setup = clis(3)
        .balance("balance = \"consistent\"\naffinity = \"user\"\nbalance_factor = 100.0")
        .session_id("^user-(?<user>.+)-[^-]+$");
    let mut rig = setup.start().await;
    let client = rig.client().await;
    let mut homes = BTreeMap::new();
    for user in ["alice", "bob", "carol", "dave", "a-b"] {
        for purpose in ["one", "two"] {
            let session = format!("user-{user}-{purpose}");
            create(&client, &session).await;
            let home = *homes.entry(user).or_insert_with(|| rig.owner(&session));
            assert_eq!(rig.owner(&session), home, "{session}");
        }
    }
    create(&client, "nobody").await;
    let metrics = rig.metrics().await;
    assert_eq!((placed(&metrics, "sticky"), placed(&metrics, "no_user")), (10.0, 1.0));
    client.close().await;
    rig.restart_gateway().await;
    rig.until_state("up", 3).await;
    let client = rig.client().await;
    for (user, home) in homes {
        let session = format!("user-{user}-three");
        create(&client, &session).await;
        assert_eq!(rig.owner(&session), home, "{session}");
    }
}

#[tokio::test]
async fn one_users_load_is_bounded() {
    let setup = clis(3)
        .balance("balance = \"consistent\"\naffinity = \"user\"\nbalance_factor = 1.25")
        .session_id("^(?<user>.+)-[^-]+$");
    let rig = setup.start().await;
    let client = rig.client().await;
    for n in 0..30 {
        create(&client, &format!("alice-{n}")).await;
    }
    // 1.25 times the mean of 10, rounded up.
    assert!(spread(&rig).iter().all(|count| *count <= 13), "{:?}", spread(&rig));
    assert!(placed(&rig.metrics().await, "overflow") > 0.0);
}

#[tokio::test]
async fn a_full_fleet_says_so_and_takes_the_next_when_one_left() {
    let now = "[pool.caps]\nqueue_timeout = \"0s\"";
    let rig = clis(2).upstreams("max_sessions = 2").pool(now).start().await;
    let client = rig.client().await;
    for n in 0..4 {
        create(&client, &format!("s{n}")).await;
    }
    assert_eq!(spread(&rig), [2, 2]);
    let error = refused(&client, "session.create", opened("s4")).await;
    is_ours(&error, -32045, "overloaded");
    assert_eq!(error.data["retryable"], true);
    assert!(error.data["retry_after_ms"].is_u64());
    let metrics = rig.metrics().await;
    assert_eq!(metrics.sum("fairlead_upstream_sessions", &[]), 4.0);
    assert_eq!(metrics.sum("fairlead_session_capacity", &[]), 4.0);
    assert_eq!(metrics.sum("fairlead_denied_total", &[("reason", "overloaded")]), 1.0);
    // A second conn on a session takes no room.
    let other = rig.client().await;
    create(&other, "s0").await;
    detach(&other, "s0").await;
    assert_eq!(refused(&client, "session.create", opened("s4")).await.code, -32045);
    // Detached.
    detach(&client, "s0").await;
    create(&client, "s4").await;
    assert_eq!(refused(&client, "session.create", opened("s5")).await.code, -32045);
    // Deleted.
    ask(&client, "session.delete", json!({"sessionId": "s1"})).await;
    create(&client, "s5").await;
    // The client gone.
    client.reset().await;
    rig.until("all room is given back", |m| m.sum("fairlead_upstream_sessions", &[]) == 0.0).await;
    for n in 10..14 {
        create(&other, &format!("s{n}")).await;
    }
}

#[tokio::test]
async fn a_create_that_the_cli_refuses_takes_no_room() {
    let rig = clis(1).upstreams("max_sessions = 1").start().await;
    let client = rig.client().await;
    for _ in 0..3 {
        let error = refused(&client, "session.create", opened("no/good")).await;
        assert_eq!(error.code, -32603, "{error:?}");
    }
    create(&client, "good").await;
}

#[tokio::test]
async fn parallel_creates_of_one_id_are_one_session() {
    let rig = clis(3).start().await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(rig.client().await);
    }
    let mut posted = Vec::new();
    for client in &clients {
        posted.push(client.post("session.create", opened("s")).await.unwrap());
    }
    for (client, posted) in clients.iter().zip(&posted) {
        assert_eq!(client.answer_to(posted).await.unwrap()["sessionId"], "s");
    }
    assert_eq!(rig.clis[rig.owner("s")].attached("s").len(), 8);
    assert_eq!(rig.metrics().await.sum("fairlead_upstream_sessions", &[]), 1.0);
}

#[tokio::test]
async fn a_thousand_short_conns_leave_nothing_behind() {
    let rig = clis(2).start().await;
    let first = rig.client().await;
    used(&first, "s").await;
    detach(&first, "s").await;
    for _ in 0..200 {
        let client = rig.client().await;
        resume(&client, "s").await;
        client.close().await;
    }
    rig.until("no link is left but the first conn's", |m| {
        m.sum("fairlead_upstream_links", &[]) == 1.0
            && m.sum("fairlead_listener_connections", &[]) == 1.0
    })
    .await;
    resume(&first, "s").await;
    assert_eq!(turn(&first, "s", "x").await, "You said \"x\". I remember 1 earlier messages.");
}

#[tokio::test]
async fn a_session_does_not_leave_a_cli_that_does_not_say_that_it_has_let_go() {
    let rig = clis(2).shared_disk().start().await;
    let client = rig.client().await;
    used(&client, "s").await;
    let had = rig.owner("s");
    rig.clis[had].wedge();
    let body = r#"{"jsonrpc":"2.0","method":"session.note","params":{"sessionId":"s"}}"#;
    client.send_body(body).await.unwrap();
    client.reset().await;
    rig.until("it is gone", |m| m.sum("fairlead_listener_connections", &[]) == 0.0).await;
    let other = rig.client().await;
    // At first back to where it was; later the policy would choose another.
    for _ in 0..2 {
        is_ours(&refused(&other, "session.resume", opened("s")).await, -32041, "no_upstream");
        assert!(!rig.clis[1 - had].sessions().contains(&"s".to_owned()));
    }
    rig.clis[had].unwedge();
    let back = async || other.request("session.resume", opened("s")).await.is_ok();
    eventually("it lets go", back).await;
    rig.owner("s");
    assert_eq!(turn(&other, "s", "x").await, "You said \"x\". I remember 1 earlier messages.");
}
