//! How often a caller may ask: over all its conns, and whatever it asks, but for what a CLI waits for.

use fairlead::testing::client::Client;
use fairlead::time;
use serde_json::{Value, json};

use super::owners::{Dir, guarded, known, tokens};
use super::rig::*;

/// So many requests, and no more in the time of a test.
fn at_most(requests: u32) -> String {
    format!("rate = {{ requests = 1, per = \"1h\", burst = {requests} }}")
}

/// Asks until that is too often; how often it was not.
async fn exhaust(client: &Client) -> usize {
    let mut passed = 0;
    while client.request("ping", json!({})).await.is_ok() {
        passed += 1;
    }
    passed
}

async fn limited(rig: &Rig) -> f64 {
    rig.metrics().await.sum("fairlead_frame_errors_total", &[("reason", "rate_limited")])
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_again() {
    let rate = "rate = { requests = 2, per = \"1s\", burst = 3 }";
    let rig = clis(1).listener(rate).start().await;
    let client = rig.client().await;
    let began = time::now();
    let mut passed = 0;
    let error = loop {
        match client.request("session.create", opened(&format!("s{passed}"))).await {
            Ok(_) => passed += 1,
            Err(error) => break error,
        }
    };
    let (took, told) = (began.elapsed(), time::now());
    is_ours(&error, -32045, "overloaded");
    assert!(passed >= 3 && passed <= 4 + took.as_millis() / 500, "{passed} in {took:?}");
    assert_eq!(error.data["retryable"], true);
    // The CLI has not seen it.
    let created = forwarded(&rig.clis[0]).iter().filter(|m| *m == "session.create").count();
    assert_eq!(created as u128, passed);
    let wait = error.data["retry_after_ms"].as_u64().unwrap();
    assert!((1..=500).contains(&wait), "{wait}");
    eventually("it passes", async || client.request("ping", json!({})).await.is_ok()).await;
    // Rounded up to a millisecond, and told a moment after it was measured.
    assert!(told.elapsed().as_millis() as u64 + 50 >= wait.saturating_sub(1), "{wait}");
    let denied = [("reason", "overloaded")];
    assert!(rig.metrics().await.sum("fairlead_denied_total", &denied) >= 1.0);
    assert!(limited(&rig).await >= 1.0);
}

#[tokio::test]
async fn conns_of_a_caller_share_and_a_new_one_does_not_begin_anew() {
    let dir = Dir::new();
    tokens(&dir, &["alice", "bob"]);
    let rig = guarded(&dir, clis(1).listener(&at_most(5))).start().await;
    let (one, two) = (known(&rig, "alice").await, known(&rig, "alice").await);
    ask(&one, "ping", json!({})).await;
    assert_eq!(exhaust(&two).await, 2);
    is_ours(&refused(&one, "ping", json!({})).await, -32045, "overloaded");
    drop((one, two));
    let none = |m: &Metrics| m.sum("fairlead_listener_connections", &[]) == 0.0;
    rig.until("she is gone", none).await;
    let again = rig.client().await;
    let error = refused(&again, "connect", json!({"token": "alice-token"})).await;
    is_ours(&error, -32045, "overloaded");
    assert!(error.data["retry_after_ms"].as_u64().is_some_and(|ms| ms > 1000));
    assert_eq!(refused(&again, "ping", json!({})).await.code, -32001, "she is not let in");
    assert_eq!(exhaust(&known(&rig, "bob").await).await, 4);
}

#[tokio::test]
async fn who_proves_nothing_is_its_address() {
    let rig = clis(1).listener(&at_most(3)).start().await;
    let (one, two) = (rig.client().await, rig.client().await);
    ask(&one, "connect", json!({})).await;
    assert_eq!(exhaust(&two).await, 2);
    is_ours(&refused(&one, "connect", json!({})).await, -32045, "overloaded");
    // What is no request, and what is too large for one, is no way around it.
    let broken = r#"{"jsonrpc":"1.0","id":"broken","method":"ping"}"#;
    one.send_body(broken).await.unwrap();
    let answer = one.next_frame(0, |f| f.value["id"] == "broken").await.unwrap();
    assert_eq!(answer.value["error"]["code"], -32045);
}

#[tokio::test]
async fn what_is_too_large_counts_too() {
    let setup = clis(1).listener(&at_most(1)).limits("max_client_frame = \"1KiB\"");
    let rig = setup.start().await;
    let client = rig.client().await;
    let large = json!({"message": "x".repeat(2000)});
    is_ours(&refused(&client, "ping", large.clone()).await, -32046, "frame_too_large");
    is_ours(&refused(&client, "ping", large).await, -32045, "overloaded");
}

#[tokio::test]
async fn notifications_over_the_rate_are_dropped_and_counted() {
    let rig = clis(1).listener(&at_most(3)).start().await;
    let client = rig.client().await;
    create(&client, "s").await;
    client.notify("x.one", json!({"sessionId": "s"})).await.unwrap();
    within("it arrives", rig.clis[0].until_received(|f| f.method() == "x.one")).await;
    assert_eq!(exhaust(&client).await, 1);
    let before = limited(&rig).await;
    client.notify("x.two", json!({"sessionId": "s"})).await.unwrap();
    rig.until("it is counted", |m| {
        m.sum("fairlead_frame_errors_total", &[("reason", "rate_limited")]) == before + 1.0
    })
    .await;
    assert!(!forwarded(&rig.clis[0]).contains(&"x.two".to_owned()));
}

/// Answers every request of a CLI, until a turn ends; the kinds that were asked.
async fn answer_all(client: &Client, mut next: usize) -> Vec<String> {
    let mut asked = Vec::new();
    loop {
        let wanted = |kind: &str| {
            ["permission.requested", "external_tool.requested", "session.idle"].contains(&kind)
        };
        let is = |f: &fairlead::testing::client::Frame| {
            wanted(f.event_type()) || f.value.get("id").is_some() && f.value.get("method").is_some()
        };
        let frame = client.next_frame(next, is).await.unwrap();
        next = client.frames(0).iter().position(|f| f.raw == frame.raw).unwrap() + 1;
        let request = frame.value["params"]["event"]["data"]["requestId"].clone();
        let with =
            |result: Value| json!({"sessionId": "s", "requestId": request, "result": result});
        let method = match frame.event_type() {
            "session.idle" => return asked,
            "permission.requested" => {
                let decide = "session.permissions.handlePendingPermissionRequest";
                ask(client, decide, with(json!({"kind": "approve-once"}))).await;
                decide
            }
            "external_tool.requested" => {
                let done = "session.tools.handlePendingToolCall";
                ask(client, done, with("done".into())).await;
                done
            }
            _ => {
                client.answer(&frame.value["id"], Ok(json!({}))).await.unwrap();
                frame.method()
            }
        };
        asked.push(method.to_owned());
    }
}

#[tokio::test]
async fn what_a_cli_waits_for_always_passes() {
    let rig = clis(1).listener(&at_most(4)).start().await;
    let client = rig.client().await;
    let mut params = opened("s");
    params["hooks"] = true.into();
    params["requestPermission"] = true.into();
    params["tools"] = json!([{"name": "t"}]);
    ask(&client, "session.create", params).await;
    send(&client, "s", "tool t {}").await;
    exhaust(&client).await;
    let asked = within("the turn ends", answer_all(&client, 0)).await;
    for method in [
        "hooks.invoke",
        "session.permissions.handlePendingPermissionRequest",
        "session.tools.handlePendingToolCall",
    ] {
        assert!(asked.iter().any(|a| a == method), "{method} of {asked:?}");
    }
    is_ours(&refused(&client, "ping", json!({})).await, -32045, "overloaded");
}

#[tokio::test]
async fn who_presents_wrong_tokens_too_often_is_not_listened_to_for_a_while() {
    let dir = Dir::new();
    tokens(&dir, &["alice"]);
    let rig = guarded(&dir, clis(1).listener("max_failed_connects = 3")).start().await;
    let (friend, one, two) = (known(&rig, "alice").await, rig.client().await, rig.client().await);
    for client in [&one, &two, &one] {
        // Who presents none, or the right one, does not guess.
        ask(&friend, "connect", json!({"token": "alice-token"})).await;
        assert_eq!(refused(client, "connect", json!({})).await.code, -32002);
        let error = refused(client, "connect", json!({"token": "wrong"})).await;
        assert_eq!(error.code, -32002);
    }
    for (client, token) in [(&one, "wrong"), (&two, "alice-token"), (&friend, "alice-token")] {
        let error = refused(client, "connect", json!({"token": token})).await;
        is_ours(&error, -32045, "overloaded");
        let wait = error.data["retry_after_ms"].as_u64().unwrap();
        assert!((1000..=20_000).contains(&wait), "{wait}");
    }
    // Who is in stays in.
    ask(&friend, "ping", json!({})).await;
    assert_eq!(limited(&rig).await, 3.0);
}
