use serde_json::{Value, json};

use super::*;
use crate::testing::client::{Client, Closed, Frame};

fn opened(session: &str) -> Value {
    json!({"sessionId": session, "model": "fake", "provider": {"type": "openai"}, "streaming": true})
}

async fn at(fake: &FakeCli) -> Client {
    Client::connect(fake.addr).await.unwrap()
}

async fn ask(client: &Client, method: &str, params: Value) -> Value {
    client.request(method, params).await.unwrap()
}

/// Sends a prompt and waits for the idle.
async fn turn(client: &Client, session: &str, prompt: &str) -> Vec<Frame> {
    let from = client.received();
    ask(client, "session.send", json!({"sessionId": session, "prompt": prompt})).await;
    client.next_event(from, "session.idle").await.unwrap();
    client.frames(from)
}

fn said(frames: &[Frame]) -> Vec<String> {
    let messages = frames.iter().filter(|f| f.event_type() == "assistant.message");
    messages.map(|f| f.value["params"]["event"]["data"]["content"].to_string()).collect()
}

#[tokio::test]
async fn two_sends_are_two_turns_and_one_idle() {
    let fake = FakeCli::plain().await.unwrap();
    let client = at(&fake).await;
    ask(&client, "session.create", opened("s")).await;
    let from = client.received();
    client.post("session.send", json!({"sessionId": "s", "prompt": "one"})).await.unwrap();
    client.post("session.send", json!({"sessionId": "s", "prompt": "two"})).await.unwrap();
    client.next_event(from, "session.idle").await.unwrap();
    ask(&client, "ping", json!({})).await;
    let frames = client.frames(from);
    assert_eq!(said(&frames).len(), 2);
    assert_eq!(frames.iter().filter(|f| f.event_type() == "session.idle").count(), 1);
}

#[tokio::test]
async fn an_abort_drops_the_queue_and_says_so_once() {
    let fake = FakeCli::plain().await.unwrap();
    let client = at(&fake).await;
    ask(&client, "session.create", opened("s")).await;
    let from = client.received();
    for prompt in ["hold k", "later"] {
        ask(&client, "session.send", json!({"sessionId": "s", "prompt": prompt})).await;
    }
    fake.until_held("k").await;
    assert_eq!(ask(&client, "session.abort", json!({"sessionId": "s"})).await["success"], true);
    let idle = client.next_event(from, "session.idle").await.unwrap();
    assert_eq!(idle["data"]["aborted"], true);
    assert_eq!(said(&client.frames(from)).len(), 0);
    assert!(fake.held().is_empty());
}

#[tokio::test]
async fn the_last_drop_ends_the_turn_and_the_session_but_not_its_history() {
    let fake = FakeCli::plain().await.unwrap();
    let (a, b) = (at(&fake).await, at(&fake).await);
    ask(&a, "session.create", opened("s")).await;
    ask(&a, "session.send", json!({"sessionId": "s", "prompt": "hold k"})).await;
    fake.until_held("k").await;
    ask(&b, "session.resume", opened("s")).await;
    a.reset().await;
    fake.until(|fake| fake.attached("s") == [2]).await;
    assert!(fake.busy("s"));
    b.close().await;
    fake.until(|fake| fake.sessions().is_empty()).await;
    let c = at(&fake).await;
    ask(&c, "session.resume", opened("s")).await;
    let kinds: Vec<String> = fake.disk().events("s").into_iter().map(|e| e.kind).collect();
    assert!(
        kinds.contains(&"user.message".to_owned()) && kinds.ends_with(&["session.resume".into()])
    );
    assert_eq!(
        said(&turn(&c, "s", "hi").await),
        [r#""You said \"hi\". I remember 1 earlier messages.""#]
    );
}

#[tokio::test]
async fn an_unsent_session_is_invisible_and_cannot_be_resumed() {
    let fake = FakeCli::plain().await.unwrap();
    let client = at(&fake).await;
    ask(&client, "session.create", opened("s")).await;
    assert_eq!(ask(&client, "session.list", json!({})).await, json!({"sessions": []}));
    ask(&client, "session.detach", json!({"sessionId": "s"})).await;
    let error = client.request("session.resume", opened("s")).await.unwrap_err();
    assert!(error.message.ends_with("Session not found: s"), "{error}");
}

#[tokio::test]
async fn two_fakes_on_one_disk_split_a_session_and_say_so() {
    let disk = Disk::new();
    let config = FakeConfig { disk: disk.clone(), ..FakeConfig::default() };
    let one = FakeCli::start(config.clone()).await.unwrap();
    let two = FakeCli::start(config).await.unwrap();
    let (a, b) = (at(&one).await, at(&two).await);
    ask(&a, "session.create", opened("s")).await;
    turn(&a, "s", "hi").await;
    let from = b.received();
    ask(&b, "session.resume", opened("s")).await;
    let resumed = b.next_event(from, "session.resume").await.unwrap();
    assert_eq!(resumed["data"]["alreadyInUse"], true);
    one.kill().await;
    assert_eq!(a.until_closed().await, Some(Closed::Reset));
    let in_use = ask(&b, "sessions.checkInUse", json!({"sessionIds": ["s"]})).await;
    assert_eq!(in_use, json!({"inUse": []}));
}

#[tokio::test]
async fn a_leaving_fake_refuses_and_then_closes_with_fin() {
    let config = FakeConfig { term_delay: Duration::from_secs(3600), ..FakeConfig::default() };
    let fake = FakeCli::start(config).await.unwrap();
    let client = at(&fake).await;
    ask(&client, "ping", json!({})).await;
    let refused = async {
        fake.until(|fake| fake.shared.model.lock().leaving).await;
        let error = client.request("ping", json!({})).await.unwrap_err();
        fake.release("leave");
        error
    };
    let (_, error) = tokio::join!(fake.stop(), refused);
    assert_eq!((error.code, error.message.as_str()), (-32000, "SERVER_SHUTTING_DOWN"));
    assert_eq!(client.until_closed().await, Some(Closed::Fin));
    assert!(Client::connect(fake.addr).await.is_err());
}

#[tokio::test]
async fn a_wedged_fake_accepts_and_says_nothing_until_it_is_let_go() {
    let fake = FakeCli::plain().await.unwrap();
    fake.wedge();
    let mut client = at(&fake).await;
    client.deadline = Duration::from_millis(100);
    let ping = client.post("ping", json!({})).await.unwrap();
    assert_eq!(client.answer_to(&ping).await.unwrap_err().code, 0);
    fake.unwedge();
    client.deadline = crate::testing::client::DEADLINE;
    assert_eq!(client.answer_to(&ping).await.unwrap()["message"], "pong");
    fake.wedge();
    fake.kill().await;
    assert_eq!(client.until_closed().await, Some(Closed::Reset));
}

#[tokio::test]
async fn faults_spoil_the_answers_that_they_name() {
    let fake = FakeCli::plain().await.unwrap();
    let client = at(&fake).await;
    fake.fault("ping", Fault::WrongId("777".to_owned()), 1);
    let from = client.received();
    client.post("ping", json!({})).await.unwrap();
    client.next_frame(from, |frame| frame.value["id"] == 777).await.unwrap();
    fake.fault("session.create", Fault::OtherSession("other".to_owned()), 1);
    assert_eq!(ask(&client, "session.create", opened("s")).await["sessionId"], "other");
    fake.fault("ping", Fault::Huge(3_000_000), 1);
    assert_eq!(ask(&client, "ping", json!({})).await.as_str().unwrap().len(), 3_000_000);
    fake.fault("ping", Fault::Error(-1, "no".to_owned()), 1);
    assert_eq!(client.request("ping", json!({})).await.unwrap_err().code, -1);
    fake.fault("ping", Fault::ResetMidAnswer, 1);
    client.post("ping", json!({})).await.unwrap();
    assert_eq!(client.until_closed().await, Some(Closed::Reset));
    let client = at(&fake).await;
    fake.fault("ping", Fault::EarlyFin, 1);
    client.post("ping", json!({})).await.unwrap();
    assert_eq!(client.until_closed().await, Some(Closed::Fin));
}

#[tokio::test]
async fn a_slow_answer_is_overtaken() {
    let fake = FakeCli::plain().await.unwrap();
    let client = at(&fake).await;
    fake.fault("status.get", Fault::Held("k".into()), 1);
    let slow = client.post("status.get", json!({})).await.unwrap();
    ask(&client, "ping", json!({})).await;
    fake.release("k");
    client.answer_to(&slow).await.unwrap();
    let ids: Vec<Value> = client.frames(0).iter().map(|f| f.value["id"].clone()).collect();
    assert_eq!(ids, [json!(2), json!(1)]);
}

#[tokio::test]
async fn every_attached_connection_is_asked_and_a_silent_hook_holds_the_turn() {
    let fake = FakeCli::plain().await.unwrap();
    let (a, b) = (at(&fake).await, at(&fake).await);
    let mut with_hooks = opened("s");
    with_hooks["hooks"] = true.into();
    ask(&a, "session.create", with_hooks.clone()).await;
    ask(&b, "session.resume", with_hooks).await;
    ask(&a, "session.send", json!({"sessionId": "s", "prompt": "hi"})).await;
    let asked = a.next_frame(0, |frame| frame.method() == "hooks.invoke").await.unwrap();
    b.next_frame(0, |frame| frame.method() == "hooks.invoke").await.unwrap();
    assert_eq!(asked.value["id"], 1);
    // An id of another type answers nothing.
    a.answer(&json!("1"), Ok(json!({}))).await.unwrap();
    a.answer(&json!(1), Ok(json!({}))).await.unwrap();
    ask(&a, "ping", json!({})).await;
    assert!(a.frames(0).iter().all(|frame| frame.event_type() != "hook.end"));
    b.reset().await;
    a.next_event(0, "hook.end").await.unwrap();
}

#[tokio::test]
async fn dropped_it_is_gone_with_its_connections() {
    let fake = FakeCli::plain().await.unwrap();
    let client = at(&fake).await;
    ask(&client, "ping", json!({})).await;
    drop(fake);
    assert!(client.until_closed().await.is_some());
}

#[tokio::test]
async fn the_hot_path_answers_what_the_slow_one_does() {
    let config = FakeConfig { record: false, ..FakeConfig::default() };
    let fake = FakeCli::start(config).await.unwrap();
    let client = at(&fake).await;
    ask(&client, "session.create", opened("s")).await;
    let fast = ask(&client, "session.mode.get", json!({"sessionId": "s"})).await;
    let slow = ask(&client, "session.mode.get", json!({"sessionId": "s", "x": 1})).await;
    assert_eq!((&fast, &slow), (&json!("interactive"), &json!("interactive")));
}

#[tokio::test]
async fn a_load_turn_streams_the_events_asked_for() {
    let bench = Some(Bench { events: 1000, event_bytes: 360, answer_bytes: 0, rate: 0 });
    let fake = FakeCli::start(FakeConfig { bench, ..FakeConfig::default() }).await.unwrap();
    let client = at(&fake).await;
    ask(&client, "session.create", opened("s")).await;
    let frames = turn(&client, "s", "go").await;
    let events = frames.iter().filter(|f| f.event_type() == "assistant.message_delta");
    assert_eq!(events.filter(|f| f.raw.len() == 360).count(), 1000);
}

#[tokio::test]
async fn an_answer_that_is_due_at_a_half_close_is_lost() {
    let fake = FakeCli::plain().await.unwrap();
    fake.fault("ping", Fault::Held("k".into()), 1);
    let client = at(&fake).await;
    client.post("ping", json!({})).await.unwrap();
    fake.until_held("k").await;
    client.half_close().await;
    assert_eq!(client.until_closed().await, Some(Closed::Fin));
    fake.release("k");
    assert_eq!(client.received(), 0);
}
