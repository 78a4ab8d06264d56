//! Requests that are too much of something, each refused under its own id, and nothing else harmed.

use fairlead::testing::FakeCli;
use fairlead::testing::fake_cli::Received;
use serde_json::json;

use super::rig::*;

fn told(cli: &FakeCli, what: &str) -> bool {
    let holds = |f: &Received| memchr::memmem::find(&f.raw, what.as_bytes()).is_some();
    cli.received().iter().any(holds)
}

#[tokio::test]
async fn a_hello_is_repeated_on_links_only_up_to_a_bound() {
    let rig = clis(1).start().await;
    let client = rig.client().await;
    let name = |length: usize| json!({"clientInfo": {"editorName": "e".repeat(length)}});
    let error = refused(&client, "connect", name(16 * 1024)).await;
    assert_eq!(error.code, -32602);
    assert!(error.message.starts_with("Invalid connect request: "), "{}", error.message);
    create(&client, "s").await;
    assert!(!told(&rig.clis[0], "editorName"));
    let client = rig.client().await;
    assert_eq!(ask(&client, "connect", name(16 * 1024 - 64)).await["ok"], true);
    create(&client, "t").await;
    assert!(told(&rig.clis[0], "editorName"));
}

#[tokio::test]
async fn an_id_that_no_session_can_have_is_looked_for_nowhere() {
    let rig = clis(2).start().await;
    let client = rig.client().await;
    create(&client, "s").await;
    let long = "a".repeat(256);
    for method in ["session.create", "session.resume", "session.send", "session.getMetadata"] {
        let error = refused(&client, method, opened(&long)).await;
        is_ours(&error, -32042, "access_denied");
        assert!(error.message.contains("Session not found"), "{method}: {}", error.message);
    }
    client.notify("session.invented", json!({"sessionId": long})).await.unwrap();
    let fits = "b".repeat(255);
    let error = refused(&client, "session.mode.get", json!({"sessionId": fits})).await;
    is_ours(&error, -32042, "access_denied");
    for cli in &rig.clis {
        assert!(!told(cli, &long));
        // That one was looked for.
        assert!(told(cli, &fits));
    }
    let stray = [("reason", "stray_notification")];
    assert_eq!(rig.metrics().await.sum("fairlead_frame_errors_total", &stray), 1.0);
}

#[tokio::test]
async fn what_every_cli_is_asked_is_small() {
    let rig = clis(2).start().await;
    let client = rig.client().await;
    used(&client, "s").await;
    let much = "x".repeat(2 * 1024 * 1024);
    // Joined, single, split.
    for method in ["session.list", "sessions.findByPrefix", "sessions.checkInUse"] {
        let params = json!({"prefix": much, "sessionIds": [much], "filter": much});
        let error = refused(&client, method, params).await;
        is_ours(&error, -32046, "frame_too_large");
    }
    for cli in &rig.clis {
        assert!(cli.received().iter().all(|f| f.raw.len() < 10_000));
    }
    let list = ask(&client, "session.list", json!({"filter": "x".repeat(1000)})).await;
    assert_eq!(list["sessions"].as_array().unwrap().len(), 1);
    // What one CLI is asked may be larger.
    let params = json!({"sessionId": "s", "x": much});
    assert_eq!(ask(&client, "session.mode.get", params).await, "interactive");
}

#[tokio::test]
async fn requests_that_wait_for_their_session_to_be_found_count_as_pending() {
    let rig = clis(1).limits("max_pending = 3\nlookup_timeout = \"10s\"").start().await;
    let (client, other) = (rig.client().await, rig.client().await);
    create(&other, "o").await;
    rig.clis[0].wedge();
    for session in ["a", "a", "b"] {
        client.post("session.mode.get", json!({ "sessionId": session })).await.unwrap();
    }
    let error = refused(&client, "session.mode.get", json!({"sessionId": "a"})).await;
    is_ours(&error, -32045, "overloaded");
    // Each conn has its own bound.
    let own = other.post("session.mode.get", json!({"sessionId": "o"})).await.unwrap();
    rig.until("they are pending", |m| m.sum("fairlead_rpc_pending", &[]) == 4.0).await;
    rig.clis[0].unwedge();
    assert_eq!(other.answer_to(&own).await.unwrap(), "interactive");
    rig.until("nothing is", |m| m.sum("fairlead_rpc_pending", &[]) == 0.0).await;
    let error = refused(&client, "session.mode.get", json!({"sessionId": "a"})).await;
    is_ours(&error, -32042, "access_denied");
}
