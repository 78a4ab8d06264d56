//! When a CLI is up, down, busy, leaving or misconfigured, and what that does to placements.

use fairlead::testing::Fault;
use serde_json::json;

use super::rig::*;

#[tokio::test]
async fn a_cli_that_is_silent_gets_no_more_sessions_and_keeps_what_it_has() {
    let setup =
        clis(2).health("interval = \"100ms\"\ntimeout = \"1s\"\nfall = 2\ndead_after = \"60s\"");
    let rig = setup.start().await;
    let client = rig.client().await;
    for session in ["a", "b"] {
        create(&client, session).await;
    }
    let silent = rig.owner("a");
    rig.clis[silent].wedge();
    rig.until_cli(silent, "down").await;
    for n in 0..4 {
        create(&client, &format!("s{n}")).await;
        assert_eq!(rig.owner(&format!("s{n}")), 1 - silent);
    }
    let waiting = client.post("session.mode.get", json!({"sessionId": "a"})).await.unwrap();
    rig.clis[silent].unwedge();
    assert_eq!(client.answer_to(&waiting).await.unwrap(), "interactive");
    rig.until_cli(silent, "up").await;
    create(&client, "again").await;
    create(&client, "and-again").await;
    assert_eq!(rig.clis[silent].sessions().len(), 2);
}

#[tokio::test]
async fn a_stored_session_of_a_silent_cli_may_come_back() {
    let setup =
        clis(1).health("interval = \"100ms\"\ntimeout = \"1s\"\nfall = 2\ndead_after = \"60s\"");
    let rig = setup.start().await;
    let client = rig.client().await;
    used(&client, "s").await;
    detach(&client, "s").await;
    rig.clis[0].wedge();
    rig.until_cli(0, "down").await;
    let error = refused(&client, "session.resume", opened("s")).await;
    is_ours(&error, -32041, "no_upstream");
    assert_eq!(error.data["session"], "s");
    rig.clis[0].unwedge();
    rig.until_cli(0, "up").await;
    resume(&client, "s").await;
}

#[tokio::test]
async fn a_cli_that_is_silent_for_too_long_is_dead_to_its_links() {
    let setup =
        clis(2).health("interval = \"100ms\"\ntimeout = \"1s\"\nfall = 2\ndead_after = \"4s\"");
    let rig = setup.start().await;
    let client = rig.client().await;
    for session in ["a", "b"] {
        create(&client, session).await;
    }
    let dead = rig.hold(&client, "a", "k").await;
    let from = client.received();
    rig.clis[dead].wedge();
    let waiting = client.post("session.mode.get", json!({"sessionId": "a"})).await.unwrap();
    let error = client.answer_to(&waiting).await.unwrap_err();
    is_ours(&error, -32040, "upstream_lost");
    client.next_event(from, "session.idle").await.unwrap();
    assert_eq!(turn(&client, "b", "x").await, "You said \"x\". I remember 0 earlier messages.");
}

#[tokio::test]
async fn a_cli_that_chews_is_busy_and_not_dead() {
    let setup =
        clis(1).health("interval = \"500ms\"\ntimeout = \"1500ms\"\nfall = 2\ndead_after = \"3s\"");
    let rig = setup.start().await;
    let client = rig.client().await;
    let mut params = opened("s");
    params["streaming"] = true.into();
    ask(&client, "session.create", params).await;
    // It answers no probe, and speaks on the client's link all the while.
    rig.clis[0].fault("ping", Fault::Never, 1_000);
    let from = client.received();
    send(&client, "s", "stream 120 50").await;
    let idle = client.next_event(from, "session.idle").await.unwrap();
    assert_ne!(idle["data"]["aborted"], true);
    let failed = [("result", "failed")];
    assert_eq!(rig.metrics().await.sum("fairlead_upstream_health_checks_total", &failed), 0.0);
}

#[tokio::test]
async fn a_cli_that_is_gone_is_down_at_once_and_up_when_it_is_back() {
    let mut rig = clis(2).health("interval = \"100ms\"\nrise = 2").start().await;
    let client = rig.client().await;
    rig.clis[0].kill().await;
    rig.until_cli(0, "down").await;
    for n in 0..3 {
        create(&client, &format!("s{n}")).await;
    }
    assert_eq!(rig.clis[1].sessions().len(), 3);
    rig.restart_cli(0).await;
    rig.until_cli(0, "up").await;
    for n in 3..5 {
        create(&client, &format!("s{n}")).await;
    }
    assert_eq!(rig.clis[0].sessions().len(), 1);
}

#[tokio::test]
async fn a_cli_that_wants_another_token_is_misconfigured_and_stays_so() {
    let setup = clis(2).token("right").cli(1, |cli| cli.token = Some("other".into()));
    let rig = setup.health("interval = \"50ms\"").start_unready().await;
    rig.until_cli(0, "up").await;
    rig.until_cli(1, "misconfigured").await;
    let checks = [("upstream", "cli-1"), ("result", "failed")];
    let mark = rig.metrics().await.sum("fairlead_upstream_health_checks_total", &checks);
    rig.until("it is tried again", |m| {
        assert_eq!(
            m.sum("fairlead_upstream_state", &[("upstream", "cli-1"), ("state", "misconfigured")]),
            1.0
        );
        m.sum("fairlead_upstream_health_checks_total", &checks) > mark + 3.0
    })
    .await;
    let client = rig.client().await;
    for n in 0..3 {
        create(&client, &format!("s{n}")).await;
    }
    assert_eq!(rig.clis[0].sessions().len(), 3);
}

#[tokio::test]
async fn a_cli_without_a_token_refuses_one_that_is_configured() {
    let rig = clis(1).token("t").cli(0, |cli| cli.token = None).start_unready().await;
    rig.until_cli(0, "misconfigured").await;
    let (status, text) = rig.gateway.get("/readyz").await.unwrap();
    assert_eq!(status, 503);
    assert!(text.contains("pool p"), "{text}");
}

#[tokio::test]
async fn a_leaving_cli_gets_nothing_new_and_what_any_can_answer_is_asked_of_another() {
    let setup = clis(2).cli(0, |cli| cli.term_delay = 10 * DEADLINE).health("interval = \"50ms\"");
    let rig = setup.start().await;
    let client = rig.client().await;
    create(&client, "a").await;
    create(&client, "b").await;
    assert_eq!(rig.owner("a"), 0);
    // The conn asks the CLI of its first link.
    assert_eq!(refused(&client, "models.list", json!({})).await.code, -32601);
    let stopping = rig.clis[0].stop();
    let meanwhile = async {
        within("it is told off", rig.clis[0].until(|cli| cli.sessions().is_empty())).await;
        let error = refused(&client, "session.resume", opened("a")).await;
        assert!(error.code == -32040 || error.code == -32041, "{error:?}");
        // Answered by the other one.
        assert_eq!(refused(&client, "models.list", json!({})).await.code, -32601);
        rig.until_cli(0, "leaving").await;
        for n in 0..3 {
            create(&client, &format!("s{n}")).await;
            assert_eq!(rig.owner(&format!("s{n}")), 1);
        }
        rig.clis[0].release("leave");
    };
    tokio::join!(stopping, meanwhile);
    rig.until_cli(0, "down").await;
}

#[tokio::test]
async fn a_watch_that_breaks_alone_cuts_nothing() {
    let setup =
        clis(1).health("interval = \"100ms\"\ntimeout = \"1s\"\nfall = 2\ndead_after = \"60s\"");
    let rig = setup.start().await;
    let client = rig.client().await;
    used(&client, "s").await;
    let from = client.received();
    rig.hold(&client, "s", "k").await;
    for _ in 0..3 {
        let before = rig
            .metrics()
            .await
            .sum("fairlead_upstream_health_checks_total", &[("result", "failed")]);
        rig.clis[0].fault("ping", Fault::ResetMidAnswer, 1);
        let failed = |m: &Metrics| {
            m.sum("fairlead_upstream_health_checks_total", &[("result", "failed")]) > before
        };
        rig.until("the watch breaks", failed).await;
    }
    rig.clis[0].release("k");
    let idle = client.next_event(from, "session.idle").await.unwrap();
    assert_ne!(idle["data"]["aborted"], true);
    assert!(client.frames(from).iter().all(|f| f.event_type() != "session.error"));
    let made = async || client.request("session.create", opened("new")).await.is_ok();
    eventually("it is watched again", made).await;
}
