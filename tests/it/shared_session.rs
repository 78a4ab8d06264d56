//! Two conns on one session: both hear it, either may answer it, and one that leaves takes nothing with it.

use fairlead::testing::Fault;
use fairlead::testing::client::{Client, Frame};
use serde_json::{Value, json};

use super::rig::*;

const DECIDE: &str = "session.permissions.handlePendingPermissionRequest";

/// Two conns on one session, both attached; a third one looks on from elsewhere.
async fn two(rig: &Rig, more: Value) -> (Client, Client) {
    let (a, b) = (rig.client().await, rig.client().await);
    let mut params = opened("s");
    for (key, value) in more.as_object().unwrap() {
        params[key] = value.clone();
    }
    ask(&a, "session.create", params.clone()).await;
    turn(&a, "s", "hello").await;
    params.as_object_mut().unwrap().remove("tools");
    ask(&b, "session.resume", params).await;
    (a, b)
}

fn events(client: &Client, from: usize) -> Vec<String> {
    let frames = client.frames(from).into_iter().filter(|f| f.method() == "session.event");
    let turn = frames.skip_while(|f| f.event_type() != "user.message");
    turn.map(|f| String::from_utf8_lossy(&f.raw).into_owned()).collect()
}

#[tokio::test]
async fn a_permission_is_given_by_whoever_is_first_and_the_late_one_is_told_so() {
    let rig = clis(2).start().await;
    let (a, b) = two(&rig, json!({"requestPermission": true, "tools": [{"name": "t"}]})).await;
    let (in_a, in_b) = (a.received(), b.received());
    send(&a, "s", "tool t {}").await;
    let asked = a.next_event(in_a, "permission.requested").await.unwrap();
    let also = b.next_event(in_b, "permission.requested").await.unwrap();
    assert_eq!(asked, also);
    let decision = |kind: &str| {
        let id = asked["data"]["requestId"].clone();
        json!({"sessionId": "s", "requestId": id, "result": {"kind": kind}})
    };
    assert_eq!(ask(&b, DECIDE, decision("approve-once")).await["success"], true);
    for (client, from) in [(&a, in_a), (&b, in_b)] {
        let done = client.next_event(from, "permission.completed").await.unwrap();
        assert_eq!(done["data"]["result"]["kind"], "approved");
    }
    // Too late, for both: it is as if nobody had asked.
    for client in [&a, &b] {
        assert_eq!(ask(client, DECIDE, decision("reject")).await, json!({"success": false}));
    }
    let call = a.next_event(in_a, "external_tool.requested").await.unwrap();
    let result = json!({"sessionId": "s", "requestId": call["data"]["requestId"], "result": "r"});
    ask(&a, "session.tools.handlePendingToolCall", result).await;
    for (client, from) in [(&a, in_a), (&b, in_b)] {
        client.next_event(from, "session.idle").await.unwrap();
    }
    let heard = events(&a, in_a);
    assert_eq!(heard, events(&b, in_b));
    assert!(heard.iter().any(|event| event.contains("The tool said: r")), "{heard:#?}");
}

#[tokio::test]
async fn a_question_to_both_is_answered_by_the_first_and_the_late_answer_changes_nothing() {
    let rig = clis(1).start().await;
    let (a, b) = two(&rig, json!({"requestUserInput": true})).await;
    let (in_a, in_b) = (a.received(), b.received());
    send(&a, "s", r#"tool ask_user {"question":"q"}"#).await;
    let question = |f: &Frame| f.method() == "userInput.request";
    let in_both =
        (a.next_frame(in_a, question).await.unwrap(), b.next_frame(in_b, question).await.unwrap());
    let answer = |text: &str| Ok(json!({"answer": text, "wasFreeform": true}));
    b.answer(&in_both.1.value["id"], answer("blue")).await.unwrap();
    a.next_event(in_a, "session.idle").await.unwrap();
    // Once to the CLI, which has moved on; the second time to nobody.
    for _ in 0..2 {
        a.answer(&in_both.0.value["id"], answer("red")).await.unwrap();
    }
    let late = [("reason", "unknown_reply")];
    rig.until("it is counted", |m| m.sum("fairlead_frame_errors_total", &late) == 1.0).await;
    b.next_event(in_b, "session.idle").await.unwrap();
    let said = turn(&a, "s", "x").await;
    assert!(said.starts_with("You said \"x\"."), "{said}");
    for (client, from) in [(&a, in_a), (&b, in_b)] {
        let heard = events(client, from).concat();
        assert!(heard.contains("User responded: blue") && !heard.contains("red"), "{heard}");
    }
}

#[tokio::test]
async fn a_conn_that_detaches_in_a_turn_leaves_the_turn_to_the_other() {
    let rig = clis(2).start().await;
    let (a, b) = two(&rig, json!({})).await;
    let cli = rig.hold(&a, "s", "k").await;
    b.next_event(0, "assistant.turn_start").await.unwrap();
    detach(&a, "s").await;
    assert_eq!(rig.clis[cli].attached("s").len(), 1);
    let (in_a, in_b) = (a.received(), b.received());
    rig.until("the turn is counted", |m| m.sum("fairlead_turns_active", &[]) == 1.0).await;
    let held = [("upstream", format!("cli-{cli}"))];
    let held = [(held[0].0, held[0].1.as_str())];
    assert_eq!(rig.metrics().await.sum("fairlead_upstream_sessions", &held), 1.0);
    rig.clis[cli].release("k");
    let idle = b.next_event(in_b, "session.idle").await.unwrap();
    assert_ne!(idle["data"]["aborted"], true);
    rig.until("it is over", |m| m.sum("fairlead_turns_active", &[]) == 0.0).await;
    // Who left hears nothing more, and may come back.
    ask(&a, "session.mode.get", json!({"sessionId": "s"})).await;
    assert!(a.frames(in_a).iter().all(|f| f.method() != "session.event"));
    assert_eq!(resume(&a, "s").await["sessionId"], "s");
    assert_eq!(turn(&b, "s", "x").await, "You said \"x\". I remember 2 earlier messages.");
    a.next_event(in_a, "session.idle").await.unwrap();
}

#[tokio::test]
async fn who_came_in_mid_turn_hears_that_it_is_cut() {
    let rig = clis(1).start().await;
    let (first, second) = (rig.client().await, rig.client().await);
    used(&first, "s").await;
    rig.hold(&first, "s", "k").await;
    resume(&second, "s").await;
    let from = second.received();
    rig.clis[0].kill().await;
    let error = second.next_event(from, "session.error").await.unwrap();
    assert_eq!(error["data"]["errorType"], "upstream_lost");
    second.next_event(from, "session.idle").await.unwrap();
}

#[tokio::test]
async fn who_comes_just_when_a_turn_has_ended_does_not_wait_for_its_end() {
    let rig = clis(1).drain("drain_timeout = \"60s\"").start().await;
    let (first, second) = (rig.client().await, rig.client().await);
    used(&first, "s").await;
    rig.hold(&first, "s", "k").await;
    // The others hear of the end late, and the CLI is asked after the second one came.
    let said = r#"{"processing":false}"#.to_owned();
    rig.clis[0].fault("session.metadata.isProcessing", Fault::Result(said), 1);
    resume(&second, "s").await;
    let asked = rig.clis[0].until_received(|r| r.method() == "session.metadata.isProcessing");
    within("it is asked", asked).await;
    // Its own answer comes later than what was asked before it.
    ask(&second, "session.list", json!({})).await;
    ask(&second, "session.list", json!({})).await;
    rig.gateway.leave(fairlead::drain::Mode::Drain);
    assert!(second.until_closed().await.is_some(), "it is not let go");
    assert!(rig.clis[0].busy("s"), "it was let go because the turn ended");
}
