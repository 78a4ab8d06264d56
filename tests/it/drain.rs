//! Leaving: turns go on, nothing new begins, and at the end everybody is told.

use std::time::Duration;

use fairlead::drain::Mode;
use fairlead::testing::client::{Client, Closed};
use serde_json::{Value, json};

use super::rig::*;

#[tokio::test]
async fn idle_conns_are_closed_at_once_and_the_gateway_ends() {
    let rig = clis(2).drain("drain_timeout = \"60s\"").start().await;
    let (idle, silent) = (rig.client().await, rig.client().await);
    used(&idle, "s").await;
    rig.until("both are in", |m| m.sum("fairlead_listener_connections", &[]) == 2.0).await;
    rig.gateway.leave(Mode::Drain);
    assert_eq!(idle.until_closed().await, Some(Closed::Fin));
    assert_eq!(silent.until_closed().await, Some(Closed::Fin));
    within("it ends", rig.gateway.ended()).await;
    assert!(Client::connect(rig.gateway.addresses().listeners[0]).await.is_err());
    for cli in &rig.clis {
        within("nothing is left", cli.until(|cli| cli.connections().is_empty())).await;
    }
}

#[tokio::test]
async fn a_client_has_a_moment_for_the_end_of_its_turn_before_its_conn_ends() {
    let rig = clis(1).drain("drain_timeout = \"60s\"").start().await;
    let client = rig.client().await;
    create(&client, "s").await;
    rig.hold(&client, "s", "k").await;
    rig.gateway.leave(Mode::Drain);
    eventually("it drains", async || rig.gateway.get("/readyz").await.unwrap().0 == 503).await;
    let released = fairlead::time::now();
    rig.clis[0].release("k");
    assert_eq!(client.until_closed().await, Some(Closed::Fin));
    client.next_event(0, "session.idle").await.unwrap();
    assert!(released.elapsed() >= Duration::from_millis(250), "{:?}", released.elapsed());
}

#[tokio::test]
async fn a_turn_goes_on_to_its_end_and_nothing_new_begins() {
    let rig = clis(2).drain("drain_timeout = \"60s\"").start().await;
    let (a, b) = (rig.client().await, rig.client().await);
    create(&a, "s").await;
    create(&a, "quiet").await;
    let cli = rig.hold(&a, "s", "k").await;
    let from = a.received();
    rig.gateway.leave(Mode::Drain);
    assert_eq!(b.until_closed().await, Some(Closed::Fin));
    assert_eq!(rig.gateway.get("/readyz").await.unwrap().0, 503);
    assert_eq!(rig.gateway.get("/livez").await.unwrap().0, 200);
    assert!(Client::connect(rig.gateway.addresses().listeners[0]).await.is_err());
    for (method, params) in [
        ("session.create", opened("new")),
        ("session.resume", opened("quiet")),
        ("sessions.fork", json!({"sessionId": "s"})),
        ("session.send", json!({"sessionId": "quiet", "prompt": "x"})),
        ("session.send", json!({"sessionId": "s", "prompt": "queued"})),
    ] {
        let error = refused(&a, method, params).await;
        is_ours(&error, -32047, "draining");
    }
    assert_eq!(ask(&a, "session.mode.get", json!({"sessionId": "s"})).await, "interactive");
    let steer = json!({"sessionId": "s", "prompt": "steer", "mode": "immediate"});
    ask(&a, "session.send", steer).await;
    rig.clis[cli].release("k");
    let idle = a.next_event(from, "session.idle").await.unwrap();
    assert_ne!(idle["data"]["aborted"], true);
    assert_eq!(a.until_closed().await, Some(Closed::Fin));
    within("it ends", rig.gateway.ended()).await;
}

#[tokio::test]
async fn a_turn_that_waits_for_permission_or_is_aborted_can_end() {
    let rig = clis(1).drain("drain_timeout = \"60s\"").start().await;
    let (a, b) = (rig.client().await, rig.client().await);
    let mut params = opened("s");
    params["requestPermission"] = true.into();
    params["tools"] = json!([{"name": "t"}]);
    ask(&a, "session.create", params).await;
    create(&b, "held").await;
    let from = a.received();
    send(&a, "s", "tool t {}").await;
    let asked =
        a.next_event(from, "permission.requested").await.unwrap()["data"]["requestId"].clone();
    rig.hold(&b, "held", "k").await;
    rig.gateway.leave(Mode::Drain);
    rig.until("it drains", |m| m.sum("fairlead_drain_remaining_turns", &[]) == 2.0).await;
    ask(&b, "session.abort", json!({"sessionId": "held"})).await;
    assert_eq!(b.until_closed().await, Some(Closed::Fin));
    let yes = json!({"sessionId": "s", "requestId": asked, "result": {"kind": "approve-once"}});
    ask(&a, "session.permissions.handlePendingPermissionRequest", yes).await;
    let call =
        a.next_event(from, "external_tool.requested").await.unwrap()["data"]["requestId"].clone();
    let result = json!({"sessionId": "s", "requestId": call, "result": "r"});
    ask(&a, "session.tools.handlePendingToolCall", result).await;
    a.next_event(from, "session.idle").await.unwrap();
    assert_eq!(a.until_closed().await, Some(Closed::Fin));
    within("it ends", rig.gateway.ended()).await;
}

#[tokio::test]
async fn a_request_that_is_pending_is_answered_before_its_conn_is_closed() {
    let rig = clis(1).drain("drain_timeout = \"60s\"").start().await;
    let client = rig.client().await;
    create(&client, "s").await;
    let held = fairlead::testing::Fault::Held("k".into());
    rig.clis[0].fault("session.name.get", held, 1);
    let asked = client.post("session.name.get", json!({"sessionId": "s"})).await.unwrap();
    within("it is taken", rig.clis[0].until_held("k")).await;
    rig.gateway.leave(Mode::Drain);
    eventually("it drains", async || rig.gateway.get("/readyz").await.unwrap().0 == 503).await;
    rig.clis[0].release("k");
    client.answer_to(&asked).await.unwrap();
    assert_eq!(client.until_closed().await, Some(Closed::Fin));
    within("it ends", rig.gateway.ended()).await;
}

/// What the client hears when its turn is cut: the kinds, in order.
fn told(client: &Client, from: usize) -> Vec<String> {
    let frames = client.frames(from).into_iter().filter_map(|f| {
        let ours = f.value["error"]["code"] == -32047
            || f.value["params"]["event"]["data"]["errorType"] == "draining"
            || f.value["params"]["event"]["data"] == json!({"aborted": true});
        let kind = match f.event_type() {
            "" => f.value["error"]["code"].to_string(),
            kind => kind.to_owned(),
        };
        ours.then_some(kind)
    });
    frames.collect()
}

async fn cut(rig: &Rig, client: &Client, leave: impl AsyncFnOnce()) {
    create(client, "s").await;
    let cli = rig.hold(client, "s", "k").await;
    rig.clis[cli].fault("session.name.get", fairlead::testing::Fault::Never, 1);
    let from = client.received();
    let asked = client.post("session.name.get", json!({"sessionId": "s"})).await.unwrap();
    within("it is taken", rig.clis[cli].until_received(|f| f.method() == "session.name.get")).await;
    leave().await;
    let error = client.answer_to(&asked).await.unwrap_err();
    is_ours(&error, -32047, "draining");
    assert_eq!(client.until_closed().await, Some(Closed::Fin));
    assert_eq!(told(client, from), ["-32047", "session.error", "session.idle"]);
    within("it ends", rig.gateway.ended()).await;
    within("the turn is over", rig.clis[cli].until(|cli| cli.sessions().is_empty())).await;
}

#[tokio::test]
async fn at_the_deadline_everybody_is_told_and_closed() {
    let rig = clis(1).drain("drain_timeout = \"300ms\"").start().await;
    let client = rig.client().await;
    cut(&rig, &client, async || rig.gateway.leave(Mode::Drain)).await;
}

#[tokio::test]
async fn to_be_asked_twice_means_now() {
    let rig = clis(1).drain("drain_timeout = \"60s\"").start().await;
    let client = rig.client().await;
    cut(&rig, &client, async || {
        rig.gateway.leave(Mode::Drain);
        rig.until("it drains", |m| m.sum("fairlead_drain_remaining_turns", &[]) == 1.0).await;
        rig.gateway.leave(Mode::Drain);
    })
    .await;
}

#[tokio::test]
async fn now_means_now() {
    let rig = clis(1).drain("drain_timeout = \"60s\"").start().await;
    let client = rig.client().await;
    cut(&rig, &client, async || rig.gateway.leave(Mode::Now)).await;
}

#[tokio::test]
async fn readiness_goes_first_and_clients_are_taken_for_a_while() {
    let rig = clis(1).drain("shutdown_delay = \"60s\"").start().await;
    assert_eq!(rig.gateway.get("/readyz").await.unwrap().0, 200);
    rig.gateway.leave(Mode::Drain);
    eventually("it is not ready", async || rig.gateway.get("/readyz").await.unwrap().0 == 503)
        .await;
    let client = rig.client().await;
    used(&client, "s").await;
    rig.gateway.leave(Mode::Drain);
    assert_eq!(client.until_closed().await, Some(Closed::Fin));
    within("it ends", rig.gateway.ended()).await;
}

#[tokio::test]
async fn after_the_delay_it_drains() {
    let rig = clis(1).drain("shutdown_delay = \"200ms\"\ndrain_timeout = \"60s\"").start().await;
    let client = rig.client().await;
    used(&client, "s").await;
    rig.gateway.leave(Mode::Drain);
    assert_eq!(client.until_closed().await, Some(Closed::Fin));
    within("it ends", rig.gateway.ended()).await;
}

#[tokio::test]
async fn after_a_drain_the_session_is_where_it_was() {
    let mut rig = clis(2).start().await;
    let client = rig.client().await;
    used(&client, "s").await;
    rig.gateway.leave(Mode::Drain);
    within("it ends", rig.gateway.ended()).await;
    rig.restart_gateway().await;
    rig.until_state("up", 2).await;
    let client = rig.client().await;
    let resumed: Value = resume(&client, "s").await;
    assert_eq!(resumed["sessionId"], "s");
    assert_eq!(turn(&client, "s", "x").await, "You said \"x\". I remember 1 earlier messages.");
}

#[tokio::test]
async fn who_came_in_mid_turn_holds_the_turn_when_the_others_have_left() {
    let rig = clis(1).drain("drain_timeout = \"60s\"").start().await;
    let (first, second) = (rig.client().await, rig.client().await);
    used(&first, "s").await;
    rig.hold(&first, "s", "k").await;
    resume(&second, "s").await;
    first.reset().await;
    within("the first is gone", rig.clis[0].until(|cli| cli.attached("s").len() == 1)).await;
    let from = second.received();
    rig.gateway.leave(Mode::Drain);
    rig.until("it drains", |m| m.sum("fairlead_listener_connections", &[]) == 1.0).await;
    let steer = json!({"sessionId": "s", "prompt": "steer", "mode": "immediate"});
    ask(&second, "session.send", steer).await;
    rig.clis[0].release("k");
    let idle = second.next_event(from, "session.idle").await.unwrap();
    assert_ne!(idle["data"]["aborted"], true);
    assert_eq!(second.until_closed().await, Some(Closed::Fin));
}
