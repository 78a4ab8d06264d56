//! A gateway that knows nothing, in front of CLIs that do: sessions are found by asking.

use fairlead::testing::Fault;
use fairlead::testing::client::Client;
use serde_json::json;

use super::rig::*;

#[tokio::test]
async fn a_session_on_a_disk_is_found_and_resumed_where_it_is() {
    let mut rig = clis(3).start().await;
    let client = rig.client().await;
    for session in ["a", "b", "c"] {
        used(&client, session).await;
    }
    let homes: Vec<usize> = ["a", "b", "c"].iter().map(|s| rig.owner(s)).collect();
    client.close().await;
    rig.restart_gateway().await;
    rig.until_state("up", 3).await;
    let client = rig.client().await;
    resume(&client, "a").await;
    create(&client, "b").await;
    let read = ask(&client, "session.getMetadata", json!({"sessionId": "c"})).await;
    assert!(read.to_string().contains("\"sessionId\":\"c\""), "{read}");
    assert_eq!([rig.owner("a"), rig.owner("b")], homes[..2]);
    for session in ["a", "b"] {
        assert_eq!(
            turn(&client, session, "x").await,
            "You said \"x\". I remember 1 earlier messages."
        );
    }
    assert_eq!(
        rig.metrics().await.sum("fairlead_session_placements_total", &[("reason", "storage")]),
        2.0
    );
}

#[tokio::test]
async fn a_session_that_lives_is_joined_where_it_lives() {
    let mut rig = clis(2).start().await;
    let direct = Client::connect(rig.clis[1].addr).await.unwrap();
    used(&direct, "s").await;
    rig.restart_gateway().await;
    rig.until_state("up", 2).await;
    let client = rig.client().await;
    assert_eq!(ask(&client, "session.mode.get", json!({"sessionId": "s"})).await, "interactive");
    create(&client, "s").await;
    assert_eq!(rig.clis[1].attached("s").len(), 2);
    assert_eq!(turn(&client, "s", "x").await, "You said \"x\". I remember 1 earlier messages.");
}

#[tokio::test]
async fn a_session_that_lives_twice_is_left_alone() {
    let rig = clis(2).start().await;
    let mut direct = Vec::new();
    for cli in &rig.clis {
        let client = Client::connect(cli.addr).await.unwrap();
        used(&client, "s").await;
        direct.push(client);
    }
    let client = rig.client().await;
    for method in ["session.resume", "session.create", "session.mode.get"] {
        let error = refused(&client, method, opened("s")).await;
        is_ours(&error, -32041, "no_upstream");
    }
    assert!(rig.clis.iter().all(|cli| over_links(cli).is_empty()));
}

#[tokio::test]
async fn where_a_cli_does_not_say_the_session_is_neither_denied_nor_started_blank() {
    let rig = clis(2).limits("lookup_timeout = \"1s\"").start().await;
    rig.clis[0].fault("session.mode.get", Fault::Never, 100);
    let client = rig.client().await;
    for method in ["session.resume", "session.create", "session.mode.get"] {
        let error = refused(&client, method, opened("s")).await;
        is_ours(&error, -32041, "no_upstream");
        assert_eq!(error.data["retryable"], true);
    }
    rig.clis[0].clear_faults();
    assert_eq!(refused(&client, "session.resume", opened("s")).await.code, -32042);
    create(&client, "s").await;
}

#[tokio::test]
async fn with_shared_storage_the_others_can_say_it() {
    let rig = clis(2).shared_disk().limits("lookup_timeout = \"1s\"").start().await;
    let direct = Client::connect(rig.clis[0].addr).await.unwrap();
    used(&direct, "s").await;
    direct.close().await;
    within("it is stored", rig.clis[0].until(|cli| cli.sessions().is_empty())).await;
    rig.clis[0].fault("session.mode.get", Fault::Never, 100);
    let client = rig.client().await;
    resume(&client, "s").await;
    assert_eq!(turn(&client, "s", "x").await, "You said \"x\". I remember 1 earlier messages.");
}

#[tokio::test]
async fn a_session_that_may_be_on_a_cli_that_is_down_is_not_denied() {
    let mut rig = clis(2).health("interval = \"100ms\"").start().await;
    let client = rig.client().await;
    used(&client, "s").await;
    let home = rig.owner("s");
    client.close().await;
    within("it is stored", rig.clis[home].until(|cli| cli.sessions().is_empty())).await;
    rig.clis[home].kill().await;
    rig.restart_gateway().await;
    rig.until_state("up", 1).await;
    let client = rig.client().await;
    is_ours(&refused(&client, "session.resume", opened("s")).await, -32041, "no_upstream");
    rig.restart_cli(home).await;
    rig.until_state("up", 2).await;
    resume(&client, "s").await;
    assert_eq!(rig.owner("s"), home);
}

#[tokio::test]
async fn a_look_up_serves_all_who_wait_for_it() {
    let rig = clis(2).start().await;
    let direct = Client::connect(rig.clis[0].addr).await.unwrap();
    used(&direct, "s").await;
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(rig.client().await);
    }
    let mut asked = Vec::new();
    for client in &clients {
        asked.push(client.post("session.mode.get", json!({"sessionId": "s"})).await.unwrap());
    }
    // One of them goes away while it waits.
    clients.remove(0).reset().await;
    for (client, asked) in clients.iter().zip(&asked[1..]) {
        assert_eq!(client.answer_to(asked).await.unwrap(), "interactive");
    }
    let looked_up = rig.clis[1].methods().into_iter().filter(|m| m == "session.mode.get").count();
    assert_eq!(looked_up, 1);
}

#[tokio::test]
async fn who_waits_for_another_conns_create_is_served_when_that_conn_goes_away() {
    let rig = clis(2).start().await;
    let (a, b) = (rig.client().await, rig.client().await);
    for cli in &rig.clis {
        cli.fault("session.create", Fault::Never, 1);
    }
    a.post("session.create", opened("s")).await.unwrap();
    rig.until("it is placed", |m| m.sum("fairlead_upstream_sessions", &[]) == 1.0).await;
    let waiting = b.post("session.create", opened("s")).await.unwrap();
    ask(&b, "ping", json!({})).await;
    a.reset().await;
    for cli in &rig.clis {
        cli.clear_faults();
    }
    assert_eq!(b.answer_to(&waiting).await.unwrap()["sessionId"], "s");
    assert_eq!(turn(&b, "s", "x").await, "You said \"x\". I remember 0 earlier messages.");
    assert_eq!(rig.metrics().await.sum("fairlead_upstream_sessions", &[]), 1.0);
}

#[tokio::test]
async fn a_create_that_came_too_late_for_its_client_can_be_joined() {
    let rig = clis(2).limits("request_timeout = \"1s\"").start().await;
    let client = rig.client().await;
    for cli in &rig.clis {
        cli.fault("session.create", Fault::Never, 1);
    }
    is_ours(&refused(&client, "session.create", opened("s")).await, -32048, "upstream_timeout");
    for cli in &rig.clis {
        cli.clear_faults();
    }
    create(&client, "s").await;
    rig.owner("s");
    assert_eq!(turn(&client, "s", "x").await, "You said \"x\". I remember 0 earlier messages.");
    assert_eq!(rig.metrics().await.sum("fairlead_upstream_sessions", &[]), 1.0);
}

#[tokio::test]
async fn a_session_that_its_cli_forgot_is_stored_and_can_be_resumed() {
    let rig = clis(2).start().await;
    let (a, b) = (rig.client().await, rig.client().await);
    used(&a, "s").await;
    let home = rig.owner("s");
    // Closed behind the gateway's back, without an event.
    let direct = Client::connect(rig.clis[home].addr).await.unwrap();
    ask(&direct, "sessions.close", json!({"sessionId": "s"})).await;
    let error = refused(&a, "session.mode.get", json!({"sessionId": "s"})).await;
    assert!(error.code == -32603 && error.message.contains("Session not found"), "{error:?}");
    resume(&b, "s").await;
    resume(&a, "s").await;
    assert_eq!(rig.owner("s"), home);
    assert_eq!(turn(&a, "s", "x").await, "You said \"x\". I remember 1 earlier messages.");
    rig.until("one place is taken", |m| m.sum("fairlead_upstream_sessions", &[]) == 1.0).await;
}

#[tokio::test]
async fn a_session_that_another_client_deletes_is_gone_for_all() {
    let rig = clis(2).start().await;
    let (a, b) = (rig.client().await, rig.client().await);
    used(&a, "s").await;
    ask(&b, "session.delete", json!({"sessionId": "s"})).await;
    for client in [&a, &b] {
        let error = refused(client, "session.send", json!({"sessionId": "s", "prompt": "x"})).await;
        assert!(error.message.contains("Session not found"), "{error:?}");
    }
    is_ours(&refused(&b, "session.resume", opened("s")).await, -32042, "access_denied");
    create(&a, "s").await;
    assert_eq!(turn(&a, "s", "x").await, "You said \"x\". I remember 0 earlier messages.");
    rig.until("one place is taken", |m| m.sum("fairlead_upstream_sessions", &[]) == 1.0).await;
}
