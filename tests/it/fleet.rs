//! What fairlead asks the fleet for itself: look-ups, lists, requests that name several sessions.

use fairlead::testing::client::Client;
use fairlead::testing::fake_cli::Bench;
use fairlead::testing::wire::RpcError;
use fairlead::testing::{FakeCli, Fault};
use serde_json::{Value, json};

use super::rig::*;

const LEFT_OUT: &str = "fairlead_upstream_left_out_total";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_sessions_can_be_created_at_once_under_their_own_ids() {
    const EACH: usize = 750;
    // Only the number of look-ups matters, not how long this machine takes for all of them.
    let mut setup = clis(3).limits("lookup_timeout = \"10s\"\nfleet_timeout = \"1h\"");
    for number in 0..3 {
        setup = setup.cli(number, |cli| {
            // Without broadcasts.
            let bench = Bench { events: 0, event_bytes: 0, answer_bytes: 0, rate: 0 };
            cli.bench = Some(bench);
            cli.record = false;
        });
    }
    let rig = setup.start().await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(rig.client().await);
    }
    for (c, client) in clients.iter().enumerate() {
        for n in 0..EACH {
            let params = opened(&format!("own-{c}-{n}"));
            client.post("session.create", params).await.unwrap();
        }
    }
    for client in &clients {
        let answers = async || {
            let frames = client.frames(0).into_iter().map(|frame| frame.value);
            frames.filter(|value| value["id"].is_u64()).collect::<Vec<_>>()
        };
        eventually("all are answered", async || answers().await.len() == EACH).await;
        for answer in answers().await {
            assert!(answer["result"].is_object(), "{answer}");
        }
    }
    let made: Vec<usize> = rig.clis.iter().map(|cli| cli.sessions().len()).collect();
    assert_eq!(made, [4 * EACH / 3; 3]);
}

#[tokio::test]
async fn who_comes_when_too_many_wait_for_a_look_up_is_told_to_come_again() {
    let rig = clis(1).limits("lookup_timeout = \"1h\"").start().await;
    rig.clis[0].fault("session.mode.get", Fault::Never, 1_000);
    let mut clients = Vec::new();
    // As many as may be under way and wait: none of them is answered.
    for c in 0..10 {
        let client = rig.client().await;
        for n in 0..832 {
            client.post("session.resume", opened(&format!("s-{c}-{n}"))).await.unwrap();
        }
        ask(&client, "ping", json!({})).await;
        clients.push(client);
    }
    // The CLI is not asked for all of them: what waits does not run into its deadline.
    let asked = |cli: &FakeCli| cli.methods().iter().filter(|m| *m == "session.mode.get").count();
    within("the first are asked for", rig.clis[0].until(|cli| asked(cli) >= 128)).await;
    let last = rig.client().await;
    for method in ["session.create", "session.resume", "session.mode.get"] {
        let error = refused(&last, method, opened("one-too-many")).await;
        is_ours(&error, -32045, "overloaded");
        assert_eq!(
            (&error.data["retryable"], &error.data["retry_after_ms"]),
            (&json!(true), &json!(1000))
        );
    }
    assert!(clients.iter().all(|client| client.received() == 1));
    assert_eq!(asked(&rig.clis[0]), 128);
}

#[tokio::test]
async fn a_list_waits_for_a_slow_cli_longer_than_a_look_up_does() {
    let rig = clis(2).limits("lookup_timeout = \"1s\"\nfleet_timeout = \"1m\"").start().await;
    let client = rig.client().await;
    for session in ["a", "b"] {
        used(&client, session).await;
    }
    rig.clis[0].fault("session.list", Fault::Held("k".into()), 1);
    let list = client.post("session.list", json!({})).await.unwrap();
    within("it is asked", rig.clis[0].until_held("k")).await;
    // What was looked up later, and in vain.
    rig.clis[0].fault("session.mode.get", Fault::Never, 1);
    let error = refused(&client, "session.resume", opened("c")).await;
    is_ours(&error, -32041, "no_upstream");
    rig.clis[0].release("k");
    let list = client.answer_to(&list).await.unwrap();
    assert_eq!(list["sessions"].as_array().unwrap().len(), 2);
    assert_eq!(rig.metrics().await.sum(LEFT_OUT, &[]), 0.0);
}

#[tokio::test]
async fn a_cli_that_is_left_out_of_an_answer_is_counted_by_what_it_did() {
    let rig = clis(2).limits("fleet_timeout = \"1s\"").start().await;
    let client = rig.client().await;
    for session in ["a", "b"] {
        used(&client, session).await;
    }
    let faults = [
        ("late", Fault::Never),
        ("error", Fault::Error(-32603, "no".into())),
        ("unreadable", Fault::Huge(3)),
    ];
    for (reason, fault) in faults {
        rig.clis[0].fault("session.list", fault, 1);
        let list = ask(&client, "session.list", json!({})).await;
        assert_eq!(list["sessions"].as_array().unwrap().len(), 1, "{reason}");
        let labels = [("upstream", "cli-0"), ("reason", reason)];
        assert_eq!(rig.metrics().await.sum(LEFT_OUT, &labels), 1.0, "{reason}");
    }
    assert_eq!(rig.metrics().await.sum(LEFT_OUT, &[("upstream", "cli-1")]), 0.0);
    rig.clis[0].kill().await;
    rig.until_cli(0, "down").await;
    ask(&client, "session.list", json!({})).await;
    assert_eq!(rig.metrics().await.sum(LEFT_OUT, &[("reason", "down")]), 1.0);
}

/// What each of three sessions, of which nobody has the third, is said to be.
async fn said_of(client: &Client) -> Value {
    let ids = json!({"sessionIds": ["a", "b", "nobodys", "a"]});
    ask(client, "sessions.getClientMetadata", ids).await
}

#[tokio::test]
async fn a_restart_does_not_change_what_is_said_of_several_sessions() {
    let mut rig = clis(2).start().await;
    let client = rig.client().await;
    for session in ["a", "b"] {
        used(&client, session).await;
        detach(&client, session).await;
    }
    let before = said_of(&client).await;
    let status = |n: usize| before[n]["status"].clone();
    assert_eq!([status(0), status(1), status(2), status(3)], ["ok", "ok", "notFound", "ok"]);
    rig.restart_gateway().await;
    rig.until_state("up", 2).await;
    let client = rig.client().await;
    assert_eq!(said_of(&client).await, before);
    // What was found is known.
    let asked = |rig: &Rig| {
        let all = rig.clis.iter().flat_map(|cli| cli.received());
        all.filter(|f| String::from_utf8_lossy(&f.raw).contains("{\"sessionId\":\"a\"}")).count()
    };
    let mark = asked(&rig);
    said_of(&client).await;
    assert_eq!(asked(&rig), mark);
}

#[tokio::test]
async fn a_session_that_cannot_be_looked_for_is_not_said_to_be_nobodys() {
    let mut rig = clis(2).limits("lookup_timeout = \"1s\"").start().await;
    let client = rig.client().await;
    for session in ["a", "b"] {
        used(&client, session).await;
        detach(&client, session).await;
    }
    let home = usize::from(rig.clis[1].disk().sessions() == ["a"]);
    rig.restart_gateway().await;
    rig.until_state("up", 2).await;
    rig.clis[home].fault("session.getMetadata", Fault::Never, 100);
    let client = rig.client().await;
    let said = said_of(&client).await;
    assert_eq!((&said[0]["status"], &said[1]["status"]), (&json!("unavailable"), &json!("ok")));
    let freed = ask(&client, "sessions.bulkDelete", json!({"sessionIds": ["a", "b"]})).await;
    assert!(freed["freedBytes"]["a"].is_null() && freed["freedBytes"]["b"].is_u64(), "{freed}");
    assert_eq!(rig.clis[home].disk().sessions(), ["a"]);
}

#[tokio::test]
async fn a_request_may_name_only_so_many_sessions() {
    let rig = clis(1).start().await;
    let client = rig.client().await;
    let named = |count: usize| {
        let ids: Vec<String> = (0..count).map(|n| format!("s{n}")).collect();
        json!({ "sessionIds": ids })
    };
    let said = ask(&client, "sessions.getClientMetadata", named(1024)).await;
    assert!(said.as_array().unwrap().iter().all(|one| one["status"] == "notFound"));
    let RpcError { code, message, .. } =
        refused(&client, "sessions.getClientMetadata", named(1025)).await;
    assert_eq!(code, -32602);
    assert!(message.contains("at most 1024 sessions"), "{message}");
}

#[tokio::test]
async fn what_is_on_a_shared_disk_is_read_and_deleted_by_any_cli_that_is_up() {
    let rig = clis(2).shared_disk().start().await;
    let client = rig.client().await;
    used(&client, "s").await;
    let home = rig.owner("s");
    detach(&client, "s").await;
    rig.clis[home].kill().await;
    rig.until_cli(home, "down").await;
    let read = ask(&client, "session.getMetadata", json!({"sessionId": "s"})).await;
    assert_eq!(read["session"]["sessionId"], "s");
    let several = json!({"sessionIds": ["s"]});
    let read = ask(&client, "sessions.getClientMetadata", several).await;
    assert_eq!(read[0]["status"], "ok");
    // What needs the session in memory loads it nowhere.
    let send = json!({"sessionId": "s", "prompt": "x"});
    assert_eq!(refused(&client, "session.send", send).await.data["reason"], Value::Null);
    assert!(rig.clis[1 - home].sessions().is_empty());
    ask(&client, "session.delete", json!({"sessionId": "s"})).await;
    assert!(rig.clis[1 - home].disk().sessions().is_empty());
    is_ours(&refused(&client, "session.resume", opened("s")).await, -32042, "access_denied");
}
