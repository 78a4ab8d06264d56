//! Telemetry of GitHub's, and what CLIs tell everybody: no client can ask for what others do, and none is told.

use fairlead::testing::client::{Client, Frame};
use fairlead::testing::{FakeCli, wire};
use serde_json::{Value, json};

use super::owners::{Dir, guarded, known, tokens};
use super::rig::*;

const FIELD: &str = "enableGitHubTelemetryForwarding";

/// Bodies in which the field may hide: `METHOD` and `ID` are put in, `MORE` are the other params.
const SPELLINGS: [&str; 8] = [
    r#"{"jsonrpc":"2.0","id":ID,"method":"METHOD","params":{"FIELD":true,MORE}}"#,
    r#"{"jsonrpc":"2.0","id":ID,"method":"METHOD","params":{MORE,"FIELD":true}}"#,
    r#"{ "params" : { MORE , "FIELD" : true , "clientInfo" : {} } , "method" : "METHOD" , "id" : ID , "jsonrpc" : "2.0" }"#,
    r#"{"jsonrpc":"2.0","id":ID,"method":"METHOD","params":{"FIELD":true,MORE,"FIELD":true}}"#,
    r#"{"jsonrpc":"2.0","id":ID,"method":"METHOD","params":{"FIELD":false,MORE,"FIELD":true}}"#,
    r#"{"jsonrpc":"2.0","id":ID,"method":"METHOD","params":{MORE,"enableGitHubTelemetry\u0046orwarding":true}}"#,
    r#"{"jsonrpc":"2.0","id":ID,"method":"METHOD","params":{MORE},"params":{MORE,"FIELD":true}}"#,
    r#"{"jsonrpc":"2.0","id":ID,"method":"METHOD","p\u0061rams":{MORE,"FIELD":true}}"#,
];

/// Says what is spelled so, and waits for whatever answer.
async fn spelled(client: &Client, spelling: &str, id: usize, method: &str, more: &str) {
    let body = spelling.replace("FIELD", FIELD).replace("METHOD", method).replace("MORE", more);
    let from = client.received();
    client.send_raw(&wire::frame(&body.replace("ID", &id.to_string()))).await.unwrap();
    let answer = |f: &Frame| f.value["id"] == id && f.method().is_empty();
    within(&body, client.next_frame(from, answer)).await.unwrap();
}

#[tokio::test]
async fn nobody_asks_for_everybodys_telemetry_however_it_is_spelled() {
    let rig = clis(1).start().await;
    let client = rig.client().await;
    for (n, spelling) in SPELLINGS.iter().enumerate() {
        let id = 1000 + 10 * n;
        spelled(&client, spelling, id, "connect", r#""supportedTaskKinds":["agent"]"#).await;
        let named = format!(r#""sessionId":"s-{n}","model":"fake","provider":{{"type":"openai"}}"#);
        spelled(&client, spelling, id + 1, "session.create", &named).await;
        spelled(&client, spelling, id + 2, "session.resume", &named).await;
        spelled(&client, spelling, id + 3, "session.create", r#""model":"fake""#).await;
        spelled(&client, spelling, id + 4, "session.create", r#""cloud":{"x":1}"#).await;
    }
    // Those that can be read in one way only went out, without it.
    let methods = forwarded(&rig.clis[0]);
    let count = |name: &str| methods.iter().filter(|m| *m == name).count();
    assert_eq!((count("session.create"), count("session.resume")), (9, 3), "{methods:?}");
    let told = rig.clis[0].received();
    let told = told.iter().map(|frame| String::from_utf8_lossy(&frame.raw).into_owned());
    let asks = |text: &String| text.contains("Telemetry") || text.contains("orwarding");
    assert_eq!(told.filter(asks).collect::<Vec<_>>(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_nested_is_not_what_asks_for_it() {
    let rig = clis(1).start().await;
    let client = rig.client().await;
    let error = refused(&client, "connect", json!({"clientInfo": {FIELD: true}})).await;
    assert_eq!(error.code, -32602);
    // A CLI ignores it there (1.0.102): what is the client's own goes on unchanged.
    let mut params = opened("s");
    params["config"] = json!({FIELD: true});
    ask(&client, "session.create", params.clone()).await;
    let received = rig.clis[0].received();
    let create = received.iter().find(|f| f.method() == "session.create").unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&create.raw).unwrap()["params"], params);
}

/// Broadcasts of a CLI about a session, or about none.
fn broadcasts(session: &Value) -> Vec<String> {
    let telemetry = json!({"sessionId": session, "event": {"name": "told"}});
    let scope = json!({"kind": "task_transition", "scope": {"sessionId": session}});
    let lifecycle = json!({"type": "session.updated", "sessionId": session});
    [("gitHubTelemetry.event", telemetry), ("host.event", scope), ("session.lifecycle", lifecycle)]
        .map(|(method, params)| {
            json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string()
        })
        .to_vec()
}

/// Tells it over every connection that fairlead has to the CLI, its own and its clients'.
fn tell_all(cli: &FakeCli, bodies: &[String]) {
    for conn in cli.connections() {
        bodies.iter().for_each(|body| cli.say(conn, body));
    }
}

/// What a client heard after `from` of telemetry and of its host, as `method of session`.
fn heard(client: &Client, from: usize) -> Vec<String> {
    let session = |f: &Frame| match f.method() {
        "host.event" => f.value["params"]["scope"]["sessionId"].to_string(),
        _ => f.value["params"]["sessionId"].to_string(),
    };
    let told = client.frames(from);
    let told = told.iter().filter(|f| {
        ["gitHubTelemetry.event", "host.event", "session.lifecycle"].contains(&f.method())
    });
    told.map(|f| format!("{} of {}", f.method(), session(f))).collect()
}

#[tokio::test]
async fn a_client_is_told_of_its_own_sessions_and_of_nothing_else() {
    let dir = Dir::new();
    tokens(&dir, &["alice", "bob"]);
    let rig = guarded(&dir, clis(1)).start().await;
    let (alice, bob) = (known(&rig, "alice").await, known(&rig, "bob").await);
    used(&alice, "hers").await;
    used(&bob, "his").await;
    // She has another conn, which hears only what is told over fairlead's own connection to the CLI.
    let second = known(&rig, "alice").await;
    let from = (alice.received(), bob.received());
    let nobody = [json!("none"), json!(""), json!(null), json!(7), json!({"sessionId": "his"})];
    for session in &nobody {
        tell_all(&rig.clis[0], &broadcasts(session));
    }
    let absent = |method: &str| {
        format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"event":{{}}}}}}"#)
    };
    let bare = |method: &str| format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#);
    for method in ["gitHubTelemetry.event", "host.event", "session.lifecycle", "something.new"] {
        tell_all(&rig.clis[0], &[absent(method), bare(method)]);
    }
    tell_all(&rig.clis[0], &broadcasts(&json!("hers")));
    tell_all(&rig.clis[0], &broadcasts(&json!("his")));
    let last = |session: &'static str| {
        move |f: &Frame| {
            f.method() == "session.lifecycle" && f.value["params"]["sessionId"] == session
        }
    };
    within("she hears", alice.next_frame(from.0, last("hers"))).await.unwrap();
    within("he hears", bob.next_frame(from.1, last("his"))).await.unwrap();
    // All conns are told at once: what she heard by now, he has been told or never will be.
    within("her other conn hears", second.next_frame(0, last("hers"))).await.unwrap();
    ask(&bob, "ping", json!({})).await;
    let own = |session: &str| {
        ["gitHubTelemetry.event", "host.event", "session.lifecycle"]
            .map(|m| format!("{m} of \"{session}\""))
    };
    assert_eq!(heard(&bob, from.1), own("his"));
    assert_eq!(heard(&alice, from.0), own("hers"));
    assert_eq!(heard(&second, 0), own("hers"));
}
