//! A CLI that says that it is shutting down, and words that only quote it.

use fairlead::testing::{FakeCli, Fault};
use serde_json::json;

use super::rig::*;

const WORDS: &str = "SERVER_SHUTTING_DOWN";

fn leaving() -> Fault {
    Fault::Refused(-32000, WORDS.to_owned())
}

fn asked(cli: &FakeCli, method: &str) -> usize {
    forwarded(cli).into_iter().filter(|m| m == method).count()
}

#[tokio::test]
async fn a_create_that_a_leaving_cli_did_not_take_goes_to_another_and_so_do_all_others() {
    let rig = clis(2).start().await;
    let client = rig.client().await;
    rig.clis[0].fault("session.create", leaving(), 1);
    for session in ["a", "b", "c", "d"] {
        create(&client, session).await;
        assert_eq!(rig.owner(session), 1);
    }
    rig.until_cli(0, "leaving").await;
    let creates: Vec<usize> = rig.clis.iter().map(|cli| asked(cli, "session.create")).collect();
    assert_eq!(creates, [1, 4]);
    // The place on the one that leaves was given back.
    let metrics = rig.metrics().await;
    assert_eq!(metrics.sum("fairlead_upstream_sessions", &[("upstream", "cli-0")]), 0.0);
    assert_eq!(metrics.sum("fairlead_upstream_sessions", &[]), 4.0);
    assert_eq!(turn(&client, "a", "x").await, "You said \"x\". I remember 0 earlier messages.");
}

#[tokio::test]
async fn a_create_is_refused_when_every_cli_leaves() {
    let rig = clis(2).start().await;
    let client = rig.client().await;
    for cli in &rig.clis {
        cli.fault("session.create", leaving(), 1);
    }
    let error = refused(&client, "session.create", opened("s")).await;
    is_ours(&error, -32041, "no_upstream");
    rig.until_state("leaving", 2).await;
    assert_eq!(rig.metrics().await.sum("fairlead_upstream_sessions", &[]), 0.0);
}

#[tokio::test]
async fn what_any_cli_can_answer_is_asked_of_another_than_the_one_that_leaves() {
    let rig = clis(2).start().await;
    let client = rig.client().await;
    rig.clis[0].fault("status.get", leaving(), 1);
    assert_eq!(ask(&client, "status.get", json!({})).await["version"], "1.0.102");
    assert_eq!((asked(&rig.clis[0], "status.get"), asked(&rig.clis[1], "status.get")), (1, 1));
    rig.until_cli(0, "leaving").await;
}

#[tokio::test]
async fn what_a_session_binds_to_a_leaving_cli_is_refused_and_asked_of_no_other() {
    let rig = clis(2).start().await;
    let client = rig.client().await;
    used(&client, "s").await;
    let cli = rig.owner("s");
    for method in ["session.name.get", "session.send", "session.resume"] {
        rig.clis[cli].fault(method, leaving(), 1);
        let mut params = opened("s");
        params["prompt"] = "x".into();
        let error = refused(&client, method, params).await;
        is_ours(&error, -32040, "upstream_lost");
        assert_eq!(error.data["session"], "s", "{method}");
        assert_eq!(asked(&rig.clis[cli], method) - usize::from(method == "session.send"), 1);
    }
    rig.until_cli(cli, "leaving").await;
    assert!(over_links(&rig.clis[1 - cli]).is_empty());
    // It is there still, and nothing else is lost.
    assert_eq!(ask(&client, "session.mode.get", json!({"sessionId": "s"})).await, "interactive");
}

#[tokio::test]
async fn words_that_only_quote_it_pass_and_the_cli_stays() {
    let rig = clis(1).health("interval = \"50ms\"").start().await;
    let client = rig.client().await;
    let cli = &rig.clis[0];
    create(&client, "s").await;
    let named = format!("session.{WORDS}");
    let error = refused(&client, &named, json!({"sessionId": "s"})).await;
    assert_eq!((error.code, error.message), (-32601, format!("Unhandled method {named}")));
    for (code, words) in
        [(-32601, WORDS.to_owned()), (-32603, WORDS.to_owned()), (-32000, format!("not {WORDS}"))]
    {
        for (method, session) in [("session.name.get", "s"), ("session.create", "never")] {
            cli.fault(method, Fault::Refused(code, words.clone()), 1);
            let error = refused(&client, method, opened(session)).await;
            assert_eq!((error.code, &error.message), (code, &words), "{method}");
        }
    }
    // In events, and in a result: the session is called what it was asked first.
    let said = turn(&client, "s", WORDS).await;
    assert_eq!(said, format!("You said \"{WORDS}\". I remember 0 earlier messages."));
    assert_eq!(ask(&client, "session.name.get", json!({"sessionId": "s"})).await["name"], WORDS);
    let whole = format!(r#"{{"error":{{"code":-32000,"message":"{WORDS}"}}}}"#);
    cli.fault("session.name.get", Fault::Result(whole.clone()), 1);
    let quoted = ask(&client, "session.name.get", json!({"sessionId": "s"})).await;
    assert_eq!(quoted.to_string(), whole);
    // And where fairlead itself asks.
    let pings = || cli.methods().iter().filter(|m| *m == "ping").count();
    cli.fault("ping", Fault::Refused(-32601, format!("Unhandled method {WORDS}")), 1);
    let before = pings();
    eventually("two probes later", async || pings() > before + 2).await;
    rig.until_cli(0, "up").await;
    create(&client, "t").await;
}
