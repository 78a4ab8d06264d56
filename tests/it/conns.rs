//! Several conns: what each hears, what each is asked, and what none hears of another.

use std::time::Duration;

use fairlead::testing::client::{Client, Frame};
use fairlead::testing::wire::RpcError;
use serde_json::{Value, json};

use super::rig::*;

fn hooked(session: &str) -> Value {
    let mut params = opened(session);
    params["hooks"] = true.into();
    params["requestUserInput"] = true.into();
    params
}

async fn asked(client: &Client, from: usize, method: &str) -> Frame {
    client.next_frame(from, |f| f.method() == method && f.value.get("id").is_some()).await.unwrap()
}

#[tokio::test]
async fn two_conns_on_one_session_hear_the_same_events() {
    let rig = clis(2).start().await;
    let (a, b) = (rig.client().await, rig.client().await);
    used(&a, "s").await;
    resume(&b, "s").await;
    let marks = (a.received(), b.received());
    turn(&a, "s", "x").await;
    b.next_event(marks.1, "session.idle").await.unwrap();
    let events = |client: &Client, from| -> Vec<String> {
        let frames = client.frames(from).into_iter().filter(|f| f.method() == "session.event");
        let turn = frames.skip_while(|f| f.event_type() != "user.message");
        turn.map(|f| String::from_utf8_lossy(&f.raw).into_owned()).collect()
    };
    let heard = events(&a, marks.0);
    assert!(heard.len() > 3);
    assert_eq!(heard, events(&b, marks.1));
}

#[tokio::test]
async fn a_conn_that_leaves_does_not_end_what_another_uses() {
    let rig = clis(2).start().await;
    let (a, b) = (rig.client().await, rig.client().await);
    used(&a, "s").await;
    resume(&b, "s").await;
    let cli = rig.hold(&a, "s", "k").await;
    let from = b.received();
    a.reset().await;
    within("one is left", rig.clis[cli].until(|cli| cli.attached("s").len() == 1)).await;
    rig.clis[cli].release("k");
    let idle = b.next_event(from, "session.idle").await.unwrap();
    assert_ne!(idle["data"]["aborted"], true);
    assert_eq!(turn(&b, "s", "x").await, "You said \"x\". I remember 2 earlier messages.");
}

#[tokio::test]
async fn a_cli_asks_exactly_the_conns_that_it_means() {
    let rig = clis(1).start().await;
    let (a, b, c) = (rig.client().await, rig.client().await, rig.client().await);
    ask(&a, "session.create", hooked("s")).await;
    resume(&b, "s").await;
    create(&c, "other").await;
    let from = a.received();
    send(&b, "s", r#"tool ask_user {"question":"q"}"#).await;
    let mut next = from;
    loop {
        let frame = a
            .next_frame(next, |f| f.value.get("id").is_some() && f.value.get("method").is_some())
            .await
            .unwrap();
        next = a.frames(0).iter().position(|f| f.raw == frame.raw).unwrap() + 1;
        if frame.method() == "userInput.request" {
            a.answer(&frame.value["id"], Ok(json!({"answer": "blue", "wasFreeform": true})))
                .await
                .unwrap();
            break;
        }
        assert_eq!(frame.method(), "hooks.invoke");
        a.answer(&frame.value["id"], Ok(json!({}))).await.unwrap();
    }
    let answering = async {
        loop {
            let frame = asked(&a, next, "hooks.invoke").await;
            next = a.frames(0).iter().position(|f| f.raw == frame.raw).unwrap() + 1;
            a.answer(&frame.value["id"], Ok(json!({}))).await.unwrap();
        }
    };
    let idle = async {
        let said = b.next_frame(0, |f| {
            f.event_type() == "assistant.message" && f.raw.windows(4).any(|w| w == b"blue")
        });
        said.await.unwrap();
        b.next_event(0, "session.idle").await.unwrap();
    };
    tokio::select! {
        () = answering => {}
        () = idle => {}
    }
    for other in [&b, &c] {
        assert!(
            other
                .frames(0)
                .iter()
                .all(|f| f.value.get("method").is_none() || f.value.get("id").is_none())
        );
    }
}

#[tokio::test]
async fn ids_of_two_clis_that_collide_are_told_apart_and_keep_their_type() {
    let rig = clis(2).start().await;
    let client = rig.client().await;
    for session in ["a", "b"] {
        ask(&client, "session.create", hooked(session)).await;
    }
    assert_ne!(rig.owner("a"), rig.owner("b"));
    let from = client.received();
    send(&client, "a", "x").await;
    send(&client, "b", "y").await;
    let of = |session: &'static str| {
        move |f: &Frame| f.method() == "hooks.invoke" && f.value["params"]["sessionId"] == session
    };
    let (a, b) = (
        client.next_frame(from, of("a")).await.unwrap(),
        client.next_frame(from, of("b")).await.unwrap(),
    );
    assert_ne!(a.value["id"], b.value["id"]);
    assert!(a.value["id"].is_u64() && b.value["id"].is_u64());
    // Only b's is answered: b's session goes on to its next hook, a's does not.
    client.answer(&b.value["id"], Ok(json!({}))).await.unwrap();
    let on = |f: &Frame| of("b")(f) && f.value["id"] != b.value["id"];
    client.next_frame(from, on).await.unwrap();
    let hooks = client.frames(from).into_iter().filter(|f| of("a")(f)).count();
    assert_eq!(hooks, 1);
    client.answer(&a.value["id"], Err(RpcError::new(-32601, "no hooks here"))).await.unwrap();
    client.next_frame(from, |f| of("a")(f) && f.value["id"] != a.value["id"]).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_counted_and_dropped() {
    let rig = clis(1).start().await;
    let client = rig.client().await;
    create(&client, "s").await;
    let seen = over_links(&rig.clis[0]).len();
    client.answer(&json!(4711), Ok(json!({}))).await.unwrap();
    client.answer(&json!("fairlead"), Ok(json!({}))).await.unwrap();
    client.notify("session.invented", json!({})).await.unwrap();
    ask(&client, "session.mode.get", json!({"sessionId": "s"})).await;
    assert_eq!(over_links(&rig.clis[0]).len(), seen + 1);
    let metrics = rig.metrics().await;
    let count = |reason| metrics.sum("fairlead_frame_errors_total", &[("reason", reason)]);
    assert_eq!((count("unknown_reply"), count("stray_notification")), (2.0, 1.0));
}

#[tokio::test]
async fn a_notification_follows_its_session() {
    let rig = clis(2).start().await;
    let client = rig.client().await;
    create(&client, "s").await;
    client.notify("session.invented", json!({"sessionId": "s"})).await.unwrap();
    let cli = &rig.clis[rig.owner("s")];
    within("it comes", cli.until_received(|f| f.method() == "session.invented")).await;
}

fn notices(client: &Client, session: &str, kind: &str) -> usize {
    let is = |f: &Frame| {
        f.method() == "session.lifecycle"
            && f.value["params"]["sessionId"] == session
            && f.value["params"]["type"] == kind
    };
    client.frames(0).iter().filter(|f| is(f)).count()
}

#[tokio::test]
async fn a_conn_hears_of_a_session_as_often_as_its_cli_says_it() {
    let rig = clis(2).start().await;
    let (a, b) = (rig.client().await, rig.client().await);
    // b has a link to each CLI already.
    for session in ["x", "y"] {
        create(&b, session).await;
    }
    create(&a, "s").await;
    ask(&a, "session.delete", json!({"sessionId": "s"})).await;
    for client in [&a, &b] {
        client
            .next_notification(0, "session.lifecycle", |p| {
                p["sessionId"] == "s" && p["type"] == "session.deleted"
            })
            .await
            .unwrap();
    }
    // A CLI says each of them twice.
    let kinds = ["session.created", "session.deleted"];
    let twice = |client| kinds.iter().all(|kind| notices(client, "s", kind) >= 2);
    eventually("both hear it twice", async || twice(&a) && twice(&b)).await;
    a.quiet(Duration::from_millis(200)).await;
    b.quiet(Duration::from_millis(200)).await;
    for client in [&a, &b] {
        assert_eq!(notices(client, "s", "session.created"), 2);
        assert_eq!(notices(client, "s", "session.deleted"), 2);
    }
}
