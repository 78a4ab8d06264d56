//! What concerns the CLIs as a whole: who may read it, who may change it, and that a change is made by all.

use fairlead::testing::Fault;
use serde_json::{Value, json};

use super::owners::{Dir, guarded, known, tokens};
use super::rig::*;

/// CLIs that answer a method with these results, as often as it is asked.
fn answering(rig: &Rig, method: &str, results: &[&str]) {
    for (cli, result) in rig.clis.iter().zip(results) {
        cli.fault(method, Fault::Result((*result).to_owned()), usize::MAX);
    }
}

/// How often each CLI was asked.
fn asked(rig: &Rig, method: &str) -> Vec<usize> {
    rig.clis.iter().map(|cli| cli.methods().iter().filter(|m| *m == method).count()).collect()
}

#[tokio::test]
async fn what_tells_of_others_is_refused_where_callers_are_told_apart() {
    let dir = Dir::new();
    tokens(&dir, &["alice"]);
    let rig = guarded(&dir, clis(1)).start().await;
    let alice = known(&rig, "alice").await;
    for method in
        ["user.settings.get", "account.getCurrentAuth", "skills.discover", "mcp.config.list"]
    {
        answering(&rig, method, &["{}"]);
        is_ours(&refused(&alice, method, json!({})).await, -32043, "method_denied");
        assert_eq!(asked(&rig, method), [0], "{method}");
    }
    answering(&rig, "models.list", &[r#"{"models":[]}"#]);
    assert_eq!(ask(&alice, "models.list", json!({})).await, json!({"models": []}));
    assert!(ask(&alice, "status.get", json!({})).await["version"].is_string());
}

#[tokio::test]
async fn one_anonymous_caller_reads_it_and_a_shared_pool_has_none() {
    let rig = clis(1).start().await;
    answering(&rig, "user.settings.get", &["{}"]);
    ask(&rig.client().await, "user.settings.get", json!({})).await;
    // Another listener of the same pool tells its callers apart: the CLIs are not one caller's any more.
    let dir = Dir::new();
    tokens(&dir, &["alice"]);
    let path = dir.0.display();
    let second = format!(
        "[[listener]]\nname = \"second\"\nbind = \"127.0.0.1:0\"\npool = \"p\"\n\
         [[listener.identity]]\nsource = \"token\"\ntokens = {{ file = \"{path}/tokens.toml\" }}"
    );
    let top = format!("state_dir = \"{path}/state\"");
    let rig = clis(1).top(&top).listener(&second).start().await;
    answering(&rig, "user.settings.get", &["{}"]);
    let error = refused(&rig.client().await, "user.settings.get", json!({})).await;
    is_ours(&error, -32043, "method_denied");
}

#[tokio::test]
async fn a_listener_allows_by_name_and_takes_away_by_name() {
    let dir = Dir::new();
    tokens(&dir, &["alice"]);
    let lists = "allow = [\"user.settings.get\"]\ndeny = [\"session.getMessages\", \"session.create\", \"models.list\"]";
    let rig = guarded(&dir, clis(1).listener(lists)).start().await;
    let alice = known(&rig, "alice").await;
    answering(&rig, "user.settings.get", &[r#"{"settings":{}}"#]);
    answering(&rig, "models.list", &["{}"]);
    assert_eq!(ask(&alice, "user.settings.get", json!({})).await, json!({"settings": {}}));
    for (method, params) in [
        ("account.getAllUsers", json!({})),
        ("models.list", json!({})),
        ("session.create", opened("s")),
        ("session.getMessages", json!({"sessionId": "s"})),
    ] {
        is_ours(&refused(&alice, method, params).await, -32043, "method_denied");
        assert_eq!(asked(&rig, method), [0], "{method}");
    }
}

#[tokio::test]
async fn a_change_is_refused_unless_it_is_allowed() {
    let rig = clis(1).start().await;
    let client = rig.client().await;
    for method in
        ["mcp.config.reload", "user.settings.set", "sessions.pruneOld", "runtime.shutdown"]
    {
        is_ours(&refused(&client, method, json!({})).await, -32043, "method_denied");
        assert_eq!(asked(&rig, method), [0], "{method}");
    }
}

#[tokio::test]
async fn an_allowed_change_is_made_by_every_cli_that_is_up() {
    let rig = clis(3)
        .health("interval = \"100ms\"")
        .listener("allow = [\"mcp.config.add\"]")
        .start()
        .await;
    let client = rig.client().await;
    let results = [r#"{"n":0}"#, r#"{"n":1}"#, r#"{"n":2}"#];
    answering(&rig, "mcp.config.add", &results);
    let params = json!({"name": "x", "config": {"command": "y"}});
    assert_eq!(ask(&client, "mcp.config.add", params.clone()).await, json!({"n": 0}));
    assert_eq!(asked(&rig, "mcp.config.add"), [1, 1, 1]);
    for cli in &rig.clis {
        let received = cli.received();
        let told = received.iter().find(|frame| frame.method() == "mcp.config.add").unwrap();
        let body: Value = serde_json::from_slice(&told.raw).unwrap();
        assert_eq!(body["params"], params);
    }
    rig.clis[2].clear_faults();
    rig.clis[2].fault("mcp.config.add", Fault::Refused(-32603, "it is there".into()), 1);
    let error = refused(&client, "mcp.config.add", params.clone()).await;
    assert_eq!(error.code, -32603);
    assert!(
        error.message.ends_with("1 of 3 CLIs did not do it; the first of them: it is there"),
        "{error:?}"
    );
    // One that is not up is not asked, and is not missed.
    rig.clis[0].kill().await;
    rig.until_cli(0, "down").await;
    answering(&rig, "mcp.config.add", &results);
    assert_eq!(ask(&client, "mcp.config.add", params).await, json!({"n": 1}));
}

#[tokio::test]
async fn an_unknown_method_goes_to_a_session_of_the_callers_or_nowhere() {
    let dir = Dir::new();
    tokens(&dir, &["alice", "bob"]);
    let rig = guarded(&dir, clis(1)).start().await;
    let (alice, bob) = (known(&rig, "alice").await, known(&rig, "bob").await);
    used(&alice, "hers").await;
    let of = json!({"sessionId": "hers"});
    assert_eq!(refused(&alice, "server.dumpAll", json!({})).await.code, -32601);
    assert_eq!(asked(&rig, "server.dumpAll"), [0]);
    is_ours(&refused(&bob, "server.dumpAll", of.clone()).await, -32042, "access_denied");
    assert_eq!(asked(&rig, "server.dumpAll"), [0]);
    assert_eq!(refused(&alice, "server.dumpAll", of).await.code, -32601);
    assert_eq!(asked(&rig, "server.dumpAll"), [1]);
}

#[tokio::test]
async fn one_change_waits_for_the_other_so_that_all_clis_end_alike() {
    let rig = clis(2).listener("allow = [\"mcp.config.add\"]").start().await;
    let (first, second) = (rig.client().await, rig.client().await);
    rig.clis[0].fault("mcp.config.add", Fault::Never, 1);
    first.post("mcp.config.add", json!({"name": "a"})).await.unwrap();
    eventually("both are asked", async || asked(&rig, "mcp.config.add") == [1, 1]).await;
    second.post("mcp.config.add", json!({"name": "b"})).await.unwrap();
    // These go the same way, behind it.
    for _ in 0..3 {
        ask(&second, "session.list", json!({})).await;
    }
    assert_eq!(asked(&rig, "mcp.config.add"), [1, 1]);
    rig.clis[0].kill().await;
    eventually("then it is the other's turn", async || asked(&rig, "mcp.config.add")[1] == 2).await;
}
