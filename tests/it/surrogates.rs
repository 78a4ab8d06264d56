//! Text of a CLI that is no text: a lone surrogate, which strict readers refuse. It reaches who it is for, byte for
//! byte, and cuts nothing.

use fairlead::testing::Fault;
use fairlead::testing::client::{Client, Frame};
use serde_json::json;

use super::rig::*;

async fn heard(client: &Client, body: &str) -> Frame {
    client.next_frame(0, |f| f.raw == body.as_bytes()).await.unwrap()
}

fn event(session: &str, event: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"session.event","params":{{"sessionId":"{session}","event":{event}}}}}"#
    )
}

fn lifecycle(session: &str, kind: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"session.lifecycle","params":{{"metadata":{{"summary":"\ud83d"}},"type":"session.{kind}","sessionId":"{session}"}}}}"#
    )
}

#[tokio::test]
async fn events_with_half_a_character_are_passed_on_and_their_link_stays() {
    let rig = clis(1).start().await;
    let client = rig.client().await;
    let cli = &rig.clis[0];
    used(&client, "s").await;
    let link = cli.attached("s")[0];
    let open = cli.connections();
    for body in [
        event(
            "s",
            r#"{"type":"assistant.message_delta","data":{"deltaContent":"\ud800"},"id":"e1"}"#,
        ),
        event(
            "s",
            r#"{"data":{"deltaContent":"\udc00 \ud800"},"id":"e2","type":"assistant.message_delta"}"#,
        ),
        event(
            "s",
            r#"{"type":"user.message","data":{"content":"\ud83d"},"id":"e3","parentId":"\ud800"}"#,
        ),
        event("s", r#"{"type":"tool.\ud800","data":{}}"#),
        event(
            "s",
            r#"{"type":"external_tool.requested","data":{"arguments":"\ud83d","requestId":"r-\ud83d"}}"#,
        ),
        event("s", r#"{"type":"session.idle","data":{"why":"\ud800"}}"#),
    ] {
        cli.say(link, &body);
        heard(&client, &body).await;
    }
    // The turn that began in one of them ended in another.
    rig.until("no turn runs", |m| m.sum("fairlead_turns_active", &[]) == 0.0).await;
    assert_eq!(turn(&client, "s", "x").await, "You said \"x\". I remember 1 earlier messages.");
    assert_eq!((cli.connections(), cli.attached("s")), (open, vec![link]));
    assert_eq!(rig.metrics().await.sum("fairlead_upstream_lost_total", &[]), 0.0);
}

#[tokio::test]
async fn broadcasts_with_half_a_character_reach_who_is_attached_and_who_is_not() {
    let rig = clis(1).start().await;
    let (a, b) = (rig.client().await, rig.client().await);
    let cli = &rig.clis[0];
    used(&a, "s").await;
    ask(&b, "ping", json!({})).await;
    let open = cli.connections();
    for kind in ["updated", "created", "renamed"] {
        // To the link, and to the watch.
        for conn in &open {
            cli.say(*conn, &lifecycle("s", kind));
        }
        heard(&a, &lifecycle("s", kind)).await;
        heard(&b, &lifecycle("s", kind)).await;
    }
    turn(&a, "s", "x").await;
    let probes = cli.methods().iter().filter(|m| *m == "ping").count();
    assert_eq!(cli.connections(), open, "after {probes} probes");
    rig.until_cli(0, "up").await;
    let lost = rig.metrics().await.sum("fairlead_upstream_lost_total", &[]);
    assert_eq!(lost, 0.0);
}

#[tokio::test]
async fn answers_and_requests_with_half_a_character_are_passed_on() {
    let rig = clis(1).start().await;
    let client = rig.client().await;
    let cli = &rig.clis[0];
    used(&client, "s").await;
    let link = cli.attached("s")[0];
    let from = client.received();
    cli.fault("session.getMessages", Fault::Result(r#"["\ud800"]"#.to_owned()), 1);
    client.post("session.getMessages", json!({"sessionId": "s"})).await.unwrap();
    let answer = client.next_frame(from, |f| f.method().is_empty()).await.unwrap();
    let raw = String::from_utf8_lossy(&answer.raw).into_owned();
    assert!(raw.ends_with(r#","result":["\ud800"]}"#), "{raw}");
    // An error in answer to what may start a turn is read further. The CLI's own answer goes to nobody.
    cli.fault("session.send", Fault::WrongId("1000".to_owned()), 1);
    let own = r#"{"jsonrpc":"2.0","id":"own","method":"session.send","params":{"sessionId":"s","prompt":"hold k"}}"#;
    client.send_body(own).await.unwrap();
    within("the turn holds", cli.until_held("k")).await;
    let error = r#"{"jsonrpc":"2.0","id":"own","error":{"code":-32603,"message":"Session not found: \ud800"}}"#;
    cli.say(link, error);
    heard(&client, error).await;
    cli.release("k");
    client.next_event(from, "session.idle").await.unwrap();
    // A CLI asks the client.
    let request = r#"{"jsonrpc":"2.0","id":900,"method":"hooks.invoke","params":{"sessionId":"s","input":"\udfff"}}"#;
    cli.say(link, request);
    let asked = client.next_frame(from, |f| f.raw.ends_with(br#""input":"\udfff"}}"#));
    assert!(asked.await.unwrap().raw.starts_with(br#"{"jsonrpc":"2.0","id":0,"method":"hooks"#));
    assert_eq!(ask(&client, "session.mode.get", json!({"sessionId": "s"})).await, "interactive");
    assert_eq!(rig.metrics().await.sum("fairlead_upstream_lost_total", &[]), 0.0);
}

#[tokio::test]
async fn a_list_with_half_a_character_is_joined_all_the_same() {
    let rig = clis(2).start().await;
    let client = rig.client().await;
    for session in ["a", "b"] {
        used(&client, session).await;
    }
    let odd = r#"{"sessionId":"odd","summary":"\ud83d","modifiedTime":"2020-01-01T00:00:00.000Z"}"#;
    let list = format!(r#"{{"sessions":[{odd}]}}"#);
    rig.clis[rig.owner("a")].fault("session.list", Fault::Result(list), 1);
    let from = client.received();
    client.post("session.list", json!({})).await.unwrap();
    let listed = client.next_frame(from, |f| f.method().is_empty()).await.unwrap();
    let raw = String::from_utf8_lossy(&listed.raw).into_owned();
    assert!(raw.contains(odd) && raw.contains(r#""sessionId":"b""#), "{raw}");
}
