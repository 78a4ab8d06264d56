//! What operators read: a line for each end, numbers that agree, and no secret anywhere.

use std::sync::{Mutex, OnceLock};

use fairlead::testing::Fault;
use fairlead::testing::client::Client;
use serde_json::{Value, json};

use super::log::Log;
use super::rig::*;

/// Everything that this process logs, of all its tests, at every level of ours.
pub(crate) fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        let writer = log.clone();
        tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_env_filter("fairlead=trace")
            .with_writer(move || writer.clone())
            .init();
        log
    })
}

/// Its lines of this kind, in order. Each is parsed once: there are many, and who waits for one asks again and again.
pub(crate) fn lines(of: impl Fn(&Value) -> bool) -> Vec<&'static Value> {
    static PARSED: Mutex<(usize, Vec<&Value>)> = Mutex::new((0, Vec::new()));
    let (bytes, parsed) = &mut *PARSED.lock().unwrap();
    let new = log().since(*bytes);
    *bytes += new.len();
    for line in new.lines() {
        parsed.push(Box::leak(Box::new(serde_json::from_str(line).unwrap())));
    }
    parsed.iter().copied().filter(|line| of(line)).collect()
}

/// Waits for the first line of this kind.
pub(crate) async fn line(what: &str, of: impl Fn(&Value) -> bool) -> &'static Value {
    eventually(&format!("a line of {what}"), async || !lines(&of).is_empty()).await;
    lines(of)[0]
}

/// The line of the conn that had this session.
pub(crate) async fn conn_line(session: &str) -> &'static Value {
    let conn_id = &about("session", session).await["conn_id"];
    line("the conn", |l| l["kind"] == "conn" && l["conn_id"] == *conn_id).await
}

/// Waits for a line of this kind about this session.
async fn about(kind: &str, session: &str) -> &'static Value {
    line(session, |l| l["kind"] == kind && l["session_id"] == session).await
}

#[tokio::test]
async fn a_turn_a_session_and_a_conn_end_with_a_line_each() {
    log();
    let rig = clis(1).start().await;
    let client = rig.client().await;
    used(&client, "told-1").await;
    let turn = about("turn", "told-1").await;
    assert_eq!((&turn["result"], &turn["method"]), (&json!("ok"), &json!("session.send")));
    assert_eq!((&turn["pool"], &turn["upstream"]), (&json!("p"), &json!("cli-0")));
    assert!(turn["t_total"].is_f64() && turn["t_first_event"].is_f64(), "{turn}");
    let placed = about("audit", "told-1").await;
    assert_eq!(
        (&placed["action"], &placed["placement_reason"]),
        (&json!("place"), &json!("round_robin"))
    );
    detach(&client, "told-1").await;
    // The CLI says that it ended before it says that it is done.
    assert_eq!(about("session", "told-1").await["result"], "closed");
    client.close().await;
    let conn_id = turn["conn_id"].clone();
    let conn = line("the conn", |l| l["kind"] == "conn" && l["conn_id"] == conn_id).await;
    assert_eq!((&conn["result"], &conn["termination"]), (&json!("ok"), &json!("CI")));
    assert_eq!(
        (&conn["sessions"], &conn["turns"], &conn["links"]),
        (&json!(1), &json!(1), &json!(1))
    );
    assert!(conn["bytes_in"].as_u64().unwrap() > 100 && conn["bytes_out"].as_u64().unwrap() > 1000);
}

#[tokio::test]
async fn turns_that_end_badly_say_how() {
    log();
    let rig = clis(3).start().await;
    let (a, b) = (rig.client().await, rig.client().await);
    for session in ["told-aborted", "told-lost"] {
        create(&a, session).await;
    }
    create(&b, "told-left").await;
    rig.hold(&a, "told-aborted", "k1").await;
    ask(&a, "session.abort", json!({"sessionId": "told-aborted"})).await;
    let lost = rig.hold(&a, "told-lost", "k2").await;
    rig.hold(&b, "told-left", "k3").await;
    rig.clis[lost].kill().await;
    b.reset().await;
    for (session, result) in
        [("told-aborted", "aborted"), ("told-lost", "upstream_lost"), ("told-left", "client_left")]
    {
        assert_eq!(about("turn", session).await["result"], result);
        let counted = [("result", result)];
        rig.until(result, |m| m.sum("fairlead_turns_total", &counted) == 1.0).await;
    }
    rig.until("no turn is left", |m| m.sum("fairlead_turns_active", &[]) == 0.0).await;
}

#[tokio::test]
async fn the_numbers_of_a_conns_life_agree() {
    let rig = clis(1).start().await;
    let client = rig.client().await;
    used(&client, "s").await;
    assert_eq!(refused(&client, "sessions.pruneOld", json!({})).await.code, -32043);
    assert_eq!(refused(&client, "tool.call", json!({})).await.code, -32601);
    let metrics = rig.metrics().await;
    let requests = |labels: &[(&str, &str)]| metrics.sum("fairlead_rpc_requests_total", labels);
    assert_eq!(
        requests(&[("method", "session.create"), ("result", "ok"), ("class", "place")]),
        1.0
    );
    assert_eq!(requests(&[("method", "session.send"), ("result", "ok")]), 1.0);
    assert_eq!(requests(&[("method", "sessions.pruneOld"), ("result", "refused")]), 1.0);
    assert_eq!(requests(&[("method", "other")]), 1.0);
    assert_eq!(requests(&[]), 4.0);
    assert_eq!(metrics.sum("fairlead_denied_total", &[("reason", "method_denied")]), 1.0);
    assert_eq!(metrics.sum("fairlead_turns_total", &[("result", "ok")]), 1.0);
    assert_eq!(metrics.sum("fairlead_turn_duration_seconds_count", &[]), 1.0);
    assert_eq!(metrics.sum("fairlead_turn_time_to_first_event_seconds_count", &[]), 1.0);
    assert_eq!(metrics.sum("fairlead_listener_connections", &[]), 1.0);
    assert_eq!(metrics.sum("fairlead_upstream_links", &[]), 1.0);
    let said = [("version", "1.0.102"), ("protocol", "3")];
    assert_eq!(metrics.sum("fairlead_upstream_info", &said), 1.0);
    assert!(!metrics.0.contains("fairlead_ledger_up "), "there is no ledger");
    assert_eq!(metrics.sum("fairlead_task_panics_total", &[]), 0.0);
    rig.until("the session is counted", |m| {
        m.sum("fairlead_sessions", &[("state", "live")]) == 1.0
    })
    .await;
}

#[tokio::test]
async fn a_link_that_ends_without_our_asking_is_counted() {
    let rig = clis(1).start().await;
    let client = rig.client().await;
    create(&client, "s").await;
    rig.clis[0].kill().await;
    // By its RST, or because its watch ended: once.
    let lost = [("upstream", "cli-0")];
    rig.until("it is counted", |m| m.sum("fairlead_upstream_lost_total", &lost) == 1.0).await;
}

const CANARY: &str = "canary5f1d";

#[tokio::test]
async fn no_secret_and_no_prompt_is_told() {
    log();
    let rig = clis(2).token("canary5f1dtoken").start().await;
    let client = rig.client().await;
    let secret = |session: &str| {
        json!({"sessionId": session, "provider": {"type": "openai", "apiKey": CANARY},
            "gitHubToken": CANARY, "hooks": true, "tools": [{"name": "t"}]})
    };
    assert_eq!(refused(&client, "connect", json!({"token": CANARY})).await.code, -32003);
    ask(&client, "session.create", secret("quiet-a")).await;
    let params = json!({"sessionId": "quiet-a", "prompt": format!("hold {CANARY}")});
    ask(&client, "session.send", params).await;
    let hook = client.next_frame(0, |f| f.method() == "hooks.invoke").await.unwrap();
    client.answer(&hook.value["id"], Ok(json!({"said": CANARY}))).await.unwrap();
    // Whatever goes wrong, its content is nobody's business.
    let invalid = format!(r#"{{"jsonrpc":"2.0","id":1,"id":2,"method":"{CANARY}"}}"#);
    for body in [invalid.as_str(), CANARY, &format!("\"{CANARY}\"")] {
        let other = rig.client().await;
        other.send_body(body).await.unwrap();
        other.until_closed().await;
    }
    let other = rig.client().await;
    other.send_raw(format!("X-Auth: {CANARY}\r\n\r\n").as_bytes()).await.unwrap();
    other.until_closed().await;
    refused(&client, &format!("tool.{CANARY}"), json!({})).await;
    let lost = rig.owner("quiet-a");
    rig.clis[lost].kill().await;
    client.next_event(0, "session.idle").await.unwrap();
    client.reset().await;
    about("turn", "quiet-a").await;
    let (metrics, log) = (rig.metrics().await.0, log().text());
    assert!(log.contains("quiet-a"));
    let leaks: Vec<&str> =
        log.lines().chain(metrics.lines()).filter(|l| l.contains(CANARY)).collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
    // The CLIs were told, of course.
    let told = |cli: &fairlead::testing::FakeCli| {
        cli.received().iter().any(|f| f.raw.windows(10).any(|w| w == CANARY.as_bytes()))
    };
    assert!(rig.clis.iter().all(told));
}

#[tokio::test]
async fn a_scraper_gets_text_that_parses() {
    let rig = clis(2).start().await;
    let client = Client::connect(rig.gateway.addresses().listeners[0]).await.unwrap();
    used(&client, "s").await;
    for line in rig.metrics().await.0.lines().filter(|l| !l.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(series.starts_with("fairlead_") || series.starts_with("process_"), "{line}");
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(!series.contains("session_id") && !series.contains("\"s\""), "{line}");
    }
}

#[tokio::test]
async fn links_that_are_refused_are_told_when_that_begins_and_when_it_ends() {
    log();
    let rig = clis(5).health("interval = \"50ms\"").start().await;
    let told = |words: &str| {
        let says = |l: &Value| l["message"].as_str().is_some_and(|m| m.contains(words));
        lines(|l| l["upstream"] == "cli-4" && l["level"] == "WARN" && says(l)).len()
    };
    let no = Fault::Error(-32002, "AUTHENTICATION_FAILED".into());
    rig.clis[4].fault("connect", no, 1_000);
    let mut clients = Vec::new();
    for _ in 0..15 {
        clients.push(rig.client().await);
    }
    let mut asked = Vec::new();
    for (n, client) in clients.iter().enumerate() {
        let params = opened(&format!("refused-{n}"));
        asked.push((client, client.post("session.create", params).await.unwrap()));
    }
    rig.until_cli(4, "misconfigured").await;
    let mut refused = 0;
    for (client, asked) in asked {
        if let Err(error) = client.answer_to(&asked).await {
            is_ours(&error, -32041, "no_upstream");
            refused += 1;
        }
    }
    // Those that were placed there before the first one was refused.
    assert!((1..=3).contains(&refused), "{refused}");
    let checks = [("upstream", "cli-4"), ("result", "failed")];
    rig.until("it is asked again", |m| {
        m.sum("fairlead_upstream_health_checks_total", &checks) >= 3.0
    })
    .await;
    assert_eq!((told("refuses the pool's token"), told("no longer known to refuse")), (1, 0));
    rig.clis[4].clear_faults();
    rig.until_cli(4, "up").await;
    eventually("its end is told", async || told("no longer known to refuse") == 1).await;
    assert_eq!(told("refuses the pool's token"), 1);
}
