//! A client goes away, politely or not: what it is still owed, and what it leaves behind.

use fairlead::testing::Fault;
use fairlead::testing::client::Closed;
use serde_json::json;

use super::rig::*;

#[tokio::test]
async fn answers_that_are_due_come_after_the_clients_fin() {
    let rig = clis(2).start().await;
    let client = rig.client().await;
    create(&client, "s").await;
    let cli = rig.owner("s");
    rig.clis[cli].fault("session.name.get", Fault::Held("k".into()), 1);
    let slow = client.post("session.name.get", json!({"sessionId": "s"})).await.unwrap();
    let list = client.post("session.list", json!({})).await.unwrap();
    let ping = client.post("ping", json!({})).await.unwrap();
    client.half_close().await;
    for asked in [&list, &ping] {
        client.answer_to(asked).await.unwrap();
    }
    ask(&rig.client().await, "ping", json!({})).await;
    rig.clis[cli].release("k");
    client.answer_to(&slow).await.unwrap();
    assert_eq!(client.until_closed().await, Some(Closed::Fin));
    within("its link is closed", rig.clis[cli].until(|cli| cli.sessions().is_empty())).await;
}

#[tokio::test]
async fn a_fin_right_behind_the_first_request_still_gets_its_answer() {
    let rig = clis(2).start().await;
    for method in ["ping", "connect", "session.list", "session.create", "models.list"] {
        let client = rig.client().await;
        let asked = client.post(method, json!({})).await.unwrap();
        client.half_close().await;
        let answer = client.answer_to(&asked).await;
        assert!(answer.as_ref().err().is_none_or(|e| e.code == -32601), "{method}: {answer:?}");
        assert_eq!(client.until_closed().await, Some(Closed::Fin), "{method}");
    }
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_not_waited_for() {
    let rig = clis(1).limits("finish_timeout = \"200ms\"").start().await;
    let client = rig.client().await;
    create(&client, "s").await;
    rig.clis[0].fault("session.name.get", Fault::Never, 1);
    client.post("session.name.get", json!({"sessionId": "s"})).await.unwrap();
    client.half_close().await;
    assert_eq!(client.until_closed().await, Some(Closed::Fin));
    rig.until("it is not pending", |m| m.sum("fairlead_rpc_pending", &[]) == 0.0).await;
}

#[tokio::test]
async fn a_notification_and_an_answer_before_the_fin_arrive() {
    let rig = clis(1).start().await;
    let client = rig.client().await;
    create(&client, "s").await;
    client.notify("session.invented", json!({"sessionId": "s"})).await.unwrap();
    client.half_close().await;
    within("it comes", rig.clis[0].until_received(|f| f.method() == "session.invented")).await;
    assert_eq!(client.until_closed().await, Some(Closed::Fin));
}

#[tokio::test]
async fn a_client_that_is_cut_off_leaves_its_sessions_stored() {
    let rig = clis(2).upstreams("max_sessions = 4").start().await;
    let client = rig.client().await;
    for session in ["a", "b"] {
        used(&client, session).await;
    }
    rig.hold(&client, "a", "k").await;
    client.reset().await;
    for cli in &rig.clis {
        within("its sessions are stored", cli.until(|cli| cli.sessions().is_empty())).await;
    }
    rig.until("the books are even", |m| {
        m.sum("fairlead_upstream_links", &[]) == 0.0
            && m.sum("fairlead_upstream_sessions", &[]) == 0.0
            && m.sum("fairlead_turns_active", &[]) == 0.0
            && m.sum("fairlead_sessions", &[("state", "stored")]) == 2.0
            && m.sum("fairlead_turns_total", &[("result", "client_left")]) == 1.0
    })
    .await;
    let client = rig.client().await;
    resume(&client, "a").await;
    assert_eq!(turn(&client, "a", "x").await, "You said \"x\". I remember 2 earlier messages.");
}

#[tokio::test]
async fn a_client_that_goes_while_its_session_is_made_leaves_no_room_taken() {
    let rig = clis(1).upstreams("max_sessions = 1").start().await;
    rig.clis[0].fault("session.create", Fault::Held("k".into()), 1);
    let client = rig.client().await;
    client.post("session.create", opened("s")).await.unwrap();
    within("it is made", rig.clis[0].until_held("k")).await;
    client.reset().await;
    rig.until("its room is given back", |m| m.sum("fairlead_upstream_sessions", &[]) == 0.0).await;
    let client = rig.client().await;
    create(&client, "t").await;
}

#[tokio::test]
async fn a_halted_session_is_closed_so_that_it_can_be_resumed() {
    let rig = clis(1).start().await;
    let client = rig.client().await;
    used(&client, "s").await;
    ask(&client, "session.shutdown", json!({"sessionId": "s"})).await;
    let closed = rig.clis[0].until_received(|f| f.method() == "sessions.close");
    let closed = within("it is closed", closed).await;
    assert_eq!(closed.params(), json!({"sessionId": "s"}));
    assert!(over_links(&rig.clis[0]).iter().all(|f| f.method() != "sessions.close"));
    resume(&client, "s").await;
    assert_eq!(turn(&client, "s", "x").await, "You said \"x\". I remember 1 earlier messages.");
}
