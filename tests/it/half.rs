//! What never becomes whole, and what piles up meanwhile: half frames, frames that wait for their session, questions to
//! the whole fleet.

use fairlead::testing::{Fault, wire};
use serde_json::json;

use super::rig::*;

#[tokio::test]
async fn a_client_that_stops_in_mid_frame_is_given_up_and_an_idle_one_is_not() {
    let rig = clis(1).limits("stall_timeout = \"300ms\"").start().await;
    for half in ["Content-Le", "Content-Length: 100\r\n\r\n{\"jsonrpc\""] {
        let (idle, client) = (rig.client().await, rig.client().await);
        create(&idle, "s").await;
        client.send_raw(half.as_bytes()).await.unwrap();
        within("the conn ends", client.until_closed()).await.unwrap();
        assert!(idle.closed().is_none());
        ask(&idle, "session.mode.get", json!({"sessionId": "s"})).await;
    }
}

#[tokio::test]
async fn a_frame_that_goes_on_slowly_is_waited_for() {
    let rig = clis(1).limits("stall_timeout = \"2s\"").start().await;
    let client = rig.client().await;
    let frame = wire::frame(r#"{"jsonrpc":"2.0","id":"slow","method":"ping","params":{}}"#);
    // In all it takes longer than that and a tick.
    for byte in frame.chunks(4) {
        client.send_raw(byte).await.unwrap();
        client.quiet(std::time::Duration::from_millis(200)).await;
    }
    within("pong", client.next_frame(0, |f| f.value["id"] == "slow")).await.unwrap();
}

#[tokio::test]
async fn a_cli_that_stops_in_mid_frame_is_lost_to_that_conn() {
    let rig = clis(1).limits("stall_timeout = \"300ms\"").start().await;
    let (client, other) = (rig.client().await, rig.client().await);
    used(&client, "s").await;
    used(&other, "o").await;
    // Nothing but the CLI's health bounds an abort, and the CLI is well.
    rig.clis[0].fault("session.abort", Fault::HalfFrame, 1);
    let error = refused(&client, "session.abort", json!({"sessionId": "s"})).await;
    is_ours(&error, -32040, "upstream_lost");
    resume(&client, "s").await;
    turn(&client, "s", "x").await;
    turn(&other, "o", "x").await;
}

#[tokio::test]
async fn what_waits_for_a_session_to_be_found_is_bounded() {
    let rig = clis(1).limits("max_link_queue = \"64KiB\"\nlookup_timeout = \"20s\"").start().await;
    let client = rig.client().await;
    rig.clis[0].fault("session.mode.get", Fault::Never, 1);
    let create = client.post("session.create", opened("s")).await.unwrap();
    let mut sends = Vec::new();
    for _ in 0..5 {
        let params = json!({"sessionId": "s", "prompt": "x".repeat(20_000)});
        sends.push(client.post("session.send", params).await.unwrap());
    }
    let error = within("no", client.answer_to(&sends[4])).await.unwrap_err();
    is_ours(&error, -32045, "overloaded");
    assert_eq!(error.data["session"], "s");
    drop(create);
}

#[tokio::test]
async fn a_conn_has_only_so_many_questions_to_the_fleet() {
    let rig = clis(2).limits("lookup_timeout = \"20s\"").start().await;
    let client = rig.client().await;
    rig.clis[0].fault("session.list", Fault::Never, 128);
    let mut asked = Vec::new();
    for _ in 0..129 {
        asked.push(client.post("session.list", json!({})).await.unwrap());
    }
    let error = within("no", client.answer_to(&asked[128])).await.unwrap_err();
    is_ours(&error, -32045, "overloaded");
    assert_eq!(ask(&client, "ping", json!({})).await["message"], "pong");
    // Large ones count for more.
    let other = rig.client().await;
    rig.clis[0].fault("session.list", Fault::Never, 3);
    let large = json!({"filter": {"cwd": "x".repeat(900_000)}});
    let mut asked = Vec::new();
    for _ in 0..3 {
        asked.push(other.post("session.list", large.clone()).await.unwrap());
    }
    let error = within("no", other.answer_to(&asked[2])).await.unwrap_err();
    is_ours(&error, -32045, "overloaded");
}
