//! The ledger does not grow for ever: what no CLI has any more belongs to nobody, and nothing else is forgotten.

use std::time::Duration;

use fairlead::testing::Fault;
use fairlead::testing::client::Client;
use serde_json::json;

use super::owners::{Dir, guarded, known, tokens};
use super::rig::*;

fn records(metrics: &Metrics) -> f64 {
    metrics.sum("fairlead_ledger_records", &[])
}

fn forgotten(metrics: &Metrics) -> f64 {
    metrics.sum("fairlead_sessions_forgotten_total", &[])
}

#[tokio::test]
async fn what_a_client_deletes_belongs_to_nobody() {
    let dir = Dir::new();
    tokens(&dir, &["alice", "bob"]);
    let rig = guarded(&dir, clis(2)).start().await;
    let (alice, bob) = (known(&rig, "alice").await, known(&rig, "bob").await);
    let second = known(&rig, "alice").await;
    for session in ["a", "b", "c", "d", "kept"] {
        used(&alice, session).await;
    }
    rig.until("five are known", |m| records(m) == 5.0).await;
    ask(&alice, "session.delete", json!({"sessionId": "a"})).await;
    // By one that is not attached.
    ask(&second, "sessions.delete", json!({"sessionId": "b"})).await;
    let named = json!({"sessionIds": ["c", "d", "none"]});
    ask(&second, "sessions.bulkDelete", named).await;
    rig.until("one is known", |m| records(m) == 1.0).await;
    for session in ["a", "b", "c", "d"] {
        used(&bob, session).await;
        is_ours(&refused(&alice, "session.resume", opened(session)).await, -32042, "access_denied");
    }
    is_ours(&refused(&bob, "session.resume", opened("kept")).await, -32042, "access_denied");
    turn(&alice, "kept", "x").await;
}

#[tokio::test]
async fn what_is_not_deleted_after_all_keeps_its_owner() {
    let dir = Dir::new();
    tokens(&dir, &["alice"]);
    let rig = guarded(&dir, clis(1)).start().await;
    let alice = known(&rig, "alice").await;
    for session in ["a", "b", "gone"] {
        used(&alice, session).await;
    }
    let cli = &rig.clis[0];
    let refusal = json!({"success": false, "error": "in use"}).to_string();
    cli.fault("session.delete", Fault::Refused(-32603, "no".into()), 1);
    refused(&alice, "session.delete", json!({"sessionId": "a"})).await;
    let lies = json!({"freedBytes": {"b": 7}}).to_string();
    let gone = json!({"sessionIds": ["gone"]});
    ask(&alice, "sessions.bulkDelete", gone).await;
    cli.fault("sessions.bulkDelete", Fault::Instead(lies), 1);
    ask(&alice, "sessions.bulkDelete", json!({"sessionIds": ["b"]})).await;
    cli.fault("session.delete", Fault::Instead(refusal), 1);
    ask(&alice, "session.delete", json!({"sessionId": "a"})).await;
    rig.until("what is gone is forgotten", |m| records(m) == 2.0).await;
    turn(&alice, "a", "x").await;
    turn(&alice, "b", "x").await;
    assert_eq!(records(&rig.metrics().await), 2.0);
}

#[tokio::test]
async fn what_no_cli_has_any_more_is_forgotten_when_it_is_old() {
    let dir = Dir::new();
    tokens(&dir, &["alice", "bob"]);
    let setup = guarded(&dir, clis(2)).health("interval = \"100ms\"");
    let mut rig = setup.top("[ledger]\nforget_after = \"1s\"").start().await;
    let alice = known(&rig, "alice").await;
    for session in ["lost-1", "lost-2", "stored", "live"] {
        used(&alice, session).await;
    }
    detach(&alice, "stored").await;
    for session in ["lost-1", "lost-2"] {
        detach(&alice, session).await;
        for cli in &rig.clis {
            // Past the gateway.
            let aside = Client::connect(cli.addr).await.unwrap();
            let _ = aside.request("session.delete", json!({"sessionId": session})).await;
        }
    }
    rig.until("two are forgotten", |m| forgotten(m) == 2.0 && records(m) == 2.0).await;
    let bob = known(&rig, "bob").await;
    used(&bob, "lost-1").await;
    is_ours(&refused(&bob, "session.resume", opened("stored")).await, -32042, "access_denied");
    turn(&alice, "live", "x").await;
    // As long as one CLI cannot be asked, nothing is proven.
    detach(&bob, "lost-1").await;
    let home = (0..2).find(|n| rig.clis[*n].disk().sessions().contains(&"lost-1".to_owned()));
    let home = home.unwrap();
    rig.clis[1 - home].kill().await;
    rig.until_cli(1 - home, "down").await;
    let aside = Client::connect(rig.clis[home].addr).await.unwrap();
    ask(&aside, "session.delete", json!({"sessionId": "lost-1"})).await;
    let asked = || {
        let told = rig.clis[home].received();
        told.iter().filter(|f| f.method() == "session.getMetadata").count()
    };
    let before = asked();
    eventually("it is walked on", async || asked() > before + 3).await;
    assert_eq!(forgotten(&rig.metrics().await), 2.0);
    rig.restart_cli(1 - home).await;
    rig.until("the third is forgotten", |m| forgotten(m) == 3.0).await;
}

#[tokio::test]
async fn what_is_used_is_not_old() {
    let dir = Dir::new();
    tokens(&dir, &["alice"]);
    let setup = guarded(&dir, clis(1)).top("[ledger]\nforget_after = \"1s\"");
    let rig = setup.start().await;
    let alice = known(&rig, "alice").await;
    used(&alice, "s").await;
    detach(&alice, "s").await;
    alice.quiet(Duration::from_millis(1300)).await;
    let last = fairlead::time::now();
    resume(&alice, "s").await;
    detach(&alice, "s").await;
    // Past the gateway.
    let aside = Client::connect(rig.clis[0].addr).await.unwrap();
    ask(&aside, "session.delete", json!({"sessionId": "s"})).await;
    rig.until("it is forgotten", |m| forgotten(m) == 1.0).await;
    let known = fairlead::time::now() - last;
    assert!(known >= Duration::from_millis(999), "{known:?}");
}
