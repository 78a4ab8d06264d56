//! A CLI goes away under its clients: who hears what, in which order, and what comes after.

use fairlead::testing::Fault;
use fairlead::testing::client::{Client, Frame};
use serde_json::{Value, json};

use super::rig::*;

/// The frames from a mark on, without what the CLI itself said.
fn ours(client: &Client, from: usize) -> Vec<Value> {
    let is_ours = |f: &Frame| {
        f.value["error"]["data"]["reason"].is_string()
            || f.value["params"]["event"]["data"]["errorType"] == "upstream_lost"
            || (f.event_type() == "session.idle")
    };
    client.frames(from).into_iter().filter(is_ours).map(|f| f.value).collect()
}

#[tokio::test]
async fn errors_come_first_and_then_the_ends_of_turns_as_sdks_expect_them() {
    let rig = clis(2).start().await;
    let client = rig.client().await;
    for session in ["a", "b"] {
        create(&client, session).await;
    }
    let lost = rig.hold(&client, "a", "k").await;
    let other = rig.hold(&client, "b", "k").await;
    let parent = client.frames(0).into_iter().rfind(|f| {
        f.value["params"]["sessionId"] == "a"
            && f.method() == "session.event"
            && f.value["params"]["event"]["ephemeral"] != true
    });
    let parent = parent.unwrap().value["params"]["event"]["id"].clone();
    rig.clis[lost].fault("session.name.get", Fault::Never, 1);
    let from = client.received();
    let waiting = client.post("session.name.get", json!({"sessionId": "a"})).await.unwrap();
    let got = rig.clis[lost].until_received(|f| f.method() == "session.name.get");
    within("the CLI has it", got).await;
    rig.clis[lost].kill().await;
    client.next_event(from, "session.idle").await.unwrap();
    let heard = ours(&client, from);
    assert_eq!(heard.len(), 3, "{heard:#?}");
    assert_eq!(heard[0]["id"], waiting.id);
    assert_eq!(heard[0]["error"]["code"], -32040);
    // The CLI may have executed it.
    let data = json!({"reason": "upstream_lost", "retryable": false, "session": "a"});
    assert_eq!(heard[0]["error"]["data"], data);
    for (event, kind) in [(&heard[1], "session.error"), (&heard[2], "session.idle")] {
        assert_eq!((&event["jsonrpc"], &event["method"]), (&json!("2.0"), &json!("session.event")));
        assert_eq!(event["params"]["sessionId"], "a");
        let event = event["params"]["event"].as_object().unwrap();
        let keys: Vec<&str> = event.keys().map(String::as_str).collect();
        let mut expected = ["id", "timestamp", "parentId", "ephemeral", "type", "data"];
        expected.sort_unstable();
        assert_eq!(
            {
                let mut k = keys;
                k.sort_unstable();
                k
            },
            expected
        );
        assert_eq!(event["type"], kind);
        assert_eq!(event["ephemeral"], true);
        assert_eq!(event["parentId"], parent);
        let id = uuid::Uuid::parse_str(event["id"].as_str().unwrap()).unwrap();
        assert_eq!(id.get_version_num(), 4);
        let at = event["timestamp"].as_str().unwrap();
        assert!(at.ends_with('Z') && humantime::parse_rfc3339(at).is_ok(), "{at}");
    }
    assert_eq!(heard[1]["params"]["event"]["data"]["errorType"], "upstream_lost");
    let data = heard[1]["params"]["event"]["data"].as_object().unwrap();
    assert_eq!(data.keys().collect::<Vec<_>>(), ["errorType", "message"]);
    assert_eq!(heard[2]["params"]["event"]["data"], json!({"aborted": true}));
    assert_ne!(heard[1]["params"]["event"]["id"], heard[2]["params"]["event"]["id"]);
    // The other one is untouched.
    assert!(client.closed().is_none());
    rig.clis[other].release("k");
    let idle = client.next_frame(from, |f| {
        f.event_type() == "session.idle" && f.value["params"]["sessionId"] == "b"
    });
    assert_ne!(idle.await.unwrap().value["params"]["event"]["data"]["aborted"], true);
}

#[tokio::test]
async fn a_fin_says_the_same_as_a_reset() {
    let rig = clis(1).start().await;
    let client = rig.client().await;
    create(&client, "s").await;
    rig.clis[0].fault("session.name.get", Fault::EarlyFin, 1);
    let error = refused(&client, "session.name.get", json!({"sessionId": "s"})).await;
    is_ours(&error, -32040, "upstream_lost");
    rig.clis[0].fault("session.name.get", Fault::ResetMidAnswer, 1);
    create(&client, "t").await;
    let error = refused(&client, "session.name.get", json!({"sessionId": "t"})).await;
    is_ours(&error, -32040, "upstream_lost");
}

#[tokio::test]
async fn a_send_without_an_answer_is_answered_when_its_cli_dies() {
    let rig = clis(1).start().await;
    let client = rig.client().await;
    create(&client, "s").await;
    rig.clis[0].fault("session.send", Fault::Never, 1);
    let from = client.received();
    let send =
        client.post("session.send", json!({"sessionId": "s", "prompt": "hold k"})).await.unwrap();
    within("it runs", rig.clis[0].until_held("k")).await;
    rig.clis[0].kill().await;
    is_ours(&client.answer_to(&send).await.unwrap_err(), -32040, "upstream_lost");
    client.next_event(from, "session.idle").await.unwrap();
}

#[tokio::test]
async fn every_conn_of_a_session_hears_of_the_loss() {
    let rig = clis(1).start().await;
    let (a, b, idle) = (rig.client().await, rig.client().await, rig.client().await);
    used(&a, "s").await;
    resume(&b, "s").await;
    create(&idle, "quiet").await;
    let marks = (a.received(), b.received(), idle.received());
    rig.hold(&a, "s", "k").await;
    // b has seen the turn, too.
    b.next_event(marks.1, "user.message").await.unwrap();
    rig.clis[0].kill().await;
    a.next_event(marks.0, "session.idle").await.unwrap();
    b.next_event(marks.1, "session.idle").await.unwrap();
    rig.until_cli(0, "down").await;
    let error = refused(&idle, "session.mode.get", json!({"sessionId": "quiet"})).await;
    is_ours(&error, -32049, "session_lost");
    assert!(ours(&idle, marks.2).iter().all(|f| f.get("id").is_some()));
}

#[tokio::test]
async fn with_own_storage_the_session_is_lost_until_its_cli_is_back() {
    let mut rig = clis(2).health("interval = \"100ms\"").start().await;
    let client = rig.client().await;
    used(&client, "s").await;
    let lost = rig.owner("s");
    rig.clis[lost].kill().await;
    rig.until_cli(lost, "down").await;
    for method in ["session.send", "session.resume", "session.create", "session.mode.get"] {
        let mut params = opened("s");
        params["prompt"] = "x".into();
        let error = refused(&client, method, params).await;
        is_ours(&error, -32049, "session_lost");
        assert_eq!(
            (&error.data["session"], &error.data["retryable"]),
            (&json!("s"), &json!(false))
        );
    }
    rig.restart_cli(lost).await;
    rig.until_cli(lost, "up").await;
    // It is on its disk, and nobody is attached.
    let error = refused(&client, "session.mode.get", json!({"sessionId": "s"})).await;
    is_ours(&error, -32040, "upstream_lost");
    resume(&client, "s").await;
    assert_eq!(rig.owner("s"), lost);
    assert_eq!(turn(&client, "s", "x").await, "You said \"x\". I remember 1 earlier messages.");
}

#[tokio::test]
async fn with_shared_storage_another_cli_goes_on() {
    let rig = clis(3).shared_disk().start().await;
    let client = rig.client().await;
    used(&client, "s").await;
    let lost = rig.owner("s");
    rig.clis[lost].kill().await;
    rig.until_cli(lost, "down").await;
    let error = refused(&client, "session.send", json!({"sessionId": "s", "prompt": "x"})).await;
    is_ours(&error, -32040, "upstream_lost");
    assert!(error.message.contains("resume it first"), "{}", error.message);
    resume(&client, "s").await;
    assert_ne!(rig.owner("s"), lost);
    assert_eq!(turn(&client, "s", "x").await, "You said \"x\". I remember 1 earlier messages.");
    let metrics = rig.metrics().await;
    assert_eq!(metrics.sum("fairlead_upstream_sessions", &[]), 1.0);
    assert_eq!(metrics.sum("fairlead_session_failovers_total", &[("result", "ok")]), 1.0);
}

#[tokio::test]
async fn a_frame_that_is_no_message_ends_the_link() {
    let rig = clis(1).start().await;
    let client = rig.client().await;
    create(&client, "s").await;
    rig.clis[0].fault("session.name.get", Fault::WrongId("{".into()), 1);
    let error = refused(&client, "session.name.get", json!({"sessionId": "s"})).await;
    is_ours(&error, -32040, "upstream_lost");
    create(&client, "t").await;
}
