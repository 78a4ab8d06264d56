//! What a client answers to its CLIs, broken: it is refused to the CLI, and nobody takes it for a request.
//!
//! A client counts its own requests as we count what its CLIs ask it: the same id may be in flight both ways.

use fairlead::testing::client::{Client, Closed, Frame};
use fairlead::testing::wire::Message;
use serde_json::{Value, json};

use super::rig::*;

/// A session whose turn waits for the client to answer a hook.
async fn hooked(rig: &Rig) -> Client {
    let client = rig.client().await;
    let mut params = opened("s");
    params["hooks"] = true.into();
    ask(&client, "session.create", params).await;
    send(&client, "s", "x").await;
    client
}

/// The id under which the client is asked for the next hook.
async fn next_hook(client: &Client, last: Option<u64>) -> u64 {
    let new = |f: &Frame| f.method() == "hooks.invoke" && f.value["id"].as_u64() > last;
    client.next_frame(0, new).await.unwrap().value["id"].as_u64().unwrap()
}

/// What came under an id and is no request, from a mark on.
fn answers(client: &Client, from: usize, id: u64) -> Vec<Value> {
    let here = |f: &Frame| f.method().is_empty() && f.value["id"] == id;
    client.frames(from).into_iter().filter(here).map(|f| f.value).collect()
}

/// What the CLI was answered over links.
fn outcomes(rig: &Rig) -> Vec<Result<Value, Value>> {
    let outcome = |message| match message {
        Some(Message::Response { outcome, .. }) => Some(outcome),
        Some(Message::Request { .. } | Message::Notification { .. }) | None => None,
    };
    over_links(&rig.clis[0]).into_iter().filter_map(|f| outcome(f.message)).collect()
}

/// Sends a request of the client's own under the id of a hook, and a broken answer to the hook while that request is
/// in flight.
async fn answer_badly(rig: &Rig, client: &Client, id: u64, bad: &str) {
    let cli = &rig.clis[0];
    let (from, refused) = (client.received(), outcomes(rig).len());
    cli.wedge();
    let own = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"session.name.get","params":{{"sessionId":"s"}}}}"#
    );
    client.send_body(&own).await.unwrap();
    client.send_body(bad).await.unwrap();
    ask(client, "ping", json!({})).await;
    assert_eq!(answers(client, from, id), Vec::<Value>::new(), "{:.200}", bad);
    cli.unwedge();
    client.next_frame(from, |f| f.method().is_empty() && f.value["id"] == id).await.unwrap();
    eventually("the CLI hears of it", async || outcomes(rig).len() > refused).await;
    ask(client, "session.mode.get", json!({"sessionId": "s"})).await;
    let heard = answers(client, from, id);
    assert_eq!(heard.len(), 1, "{heard:?} for {bad:.200}");
    assert!(heard[0]["result"].is_object(), "{heard:?} for {bad:.200}");
    let outcomes = outcomes(rig);
    assert_eq!(outcomes.len(), refused + 1, "{outcomes:?} for {bad:.200}");
    assert_eq!(outcomes[refused].as_ref().unwrap_err()["code"], -32603, "{bad:.200}");
}

#[tokio::test]
async fn a_broken_answer_is_an_error_to_the_cli_and_settles_no_request_of_the_client() {
    let rig = clis(1).limits("max_client_frame = \"64KiB\"").start().await;
    let client = hooked(&rig).await;
    let (long, deep) = ("x".repeat(200_000), format!("{}{}", "[".repeat(70), "]".repeat(70)));
    let mut last = None;
    let bad: [&dyn Fn(u64) -> String; 10] = [
        &|id| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"\ud800"}}"#),
        &|id| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":1e999}}"#),
        &|id| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"{long}"}}"#),
        &|id| {
            format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"{long}"}}}}"#)
        },
        &|id| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{deep}}}"#),
        &|id| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":1,"result":2}}"#),
        &|id| format!(r#"{{"jsonrpc":"2.0","id":{id},"r\u0065sult":1}}"#),
        &|id| format!(r#"{{"jsonrpc":"1.0","id":{id},"result":{{}}}}"#),
        &|id| format!(r#"{{"id":{id},"result":{{}}}}"#),
        &|id| format!(r#"{{"jsonrpc":"2.0","id":{id}}}"#),
    ];
    for (n, bad) in bad.iter().enumerate() {
        let hook = next_hook(&client, last).await;
        answer_badly(&rig, &client, hook, &bad(hook)).await;
        last = Some(hook);
        // A turn has no more hooks than this.
        if n % 3 == 2 {
            send(&client, "s", "y").await;
        }
    }
    assert!(client.closed().is_none());
}

#[tokio::test]
async fn a_broken_answer_that_nobody_waits_for_settles_no_request_of_the_client() {
    let rig = clis(1).limits("max_client_frame = \"64KiB\"").start().await;
    let client = rig.client().await;
    create(&client, "s").await;
    let (long, deep) = ("x".repeat(200_000), format!("{}{}", "[".repeat(70), "]".repeat(70)));
    rig.clis[0].wedge();
    let body =
        r#"{"jsonrpc":"2.0","id":77,"method":"session.name.get","params":{"sessionId":"s"}}"#;
    client.send_body(body).await.unwrap();
    let bad = [
        format!(r#"{{"jsonrpc":"2.0","id":77,"result":"{long}"}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":77,"result":{deep}}}"#),
        r#"{"jsonrpc":"1.0","id":77,"result":{}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":77,"result":1,"result":2}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":77,"error":{"code":1,"message":"x"},"error":{}}"#.to_owned(),
    ];
    for bad in &bad {
        client.send_body(bad).await.unwrap();
    }
    ask(&client, "ping", json!({})).await;
    rig.clis[0].unwedge();
    client.next_frame(0, |f| f.value["id"] == 77).await.unwrap();
    ask(&client, "session.mode.get", json!({"sessionId": "s"})).await;
    let heard = answers(&client, 0, 77);
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(heard[0]["result"].is_object(), "{heard:?}");
    let odd = rig.metrics().await;
    let odd = odd.sum("fairlead_frame_errors_total", &[("reason", "unknown_reply")]);
    assert_eq!(odd, bad.len() as f64);
    assert!(outcomes(&rig).is_empty());
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_at_all_ends_the_conn_and_is_not_answered() {
    for bad in [
        &br#"{"jsonrpc":"2.0","id":ID,"result":"#[..],
        br#"{"jsonrpc":"2.0","id":ID,"id":ID,"result":1}"#,
    ] {
        let rig = clis(1).start().await;
        let client = hooked(&rig).await;
        let hook = next_hook(&client, None).await;
        let shown = String::from_utf8_lossy(bad).into_owned();
        rig.clis[0].wedge();
        let own = format!(
            r#"{{"jsonrpc":"2.0","id":{hook},"method":"session.name.get","params":{{"sessionId":"s"}}}}"#
        );
        client.send_body(&own).await.unwrap();
        let from = client.received();
        let mut body = Vec::new();
        for (n, part) in bad.split(|b| *b == b'I').enumerate() {
            // Behind each `I` but the first part stands the `D` of `ID`.
            if n > 0 {
                body.extend_from_slice(hook.to_string().as_bytes());
            }
            body.extend_from_slice(part.strip_prefix(b"D").unwrap_or(part));
        }
        let head = format!("Content-Length: {}\r\n\r\n", body.len());
        client.send_raw(&[head.as_bytes(), &body].concat()).await.unwrap();
        assert_eq!(client.until_closed().await, Some(Closed::Fin), "{shown}");
        let nobodys = |f: &Frame| f.method().is_empty() && f.value["id"].is_null();
        assert!(!client.frames(from).iter().any(nobodys), "{shown}");
        // Its own request of that id is: once.
        let heard = answers(&client, from, hook);
        assert_eq!(heard.len(), 1, "{heard:?} for {shown}");
        let message = heard[0]["error"]["message"].as_str().unwrap();
        assert!(message.starts_with("the conn ends"), "{message}");
        rig.clis[0].unwedge();
        within("its link is closed", rig.clis[0].until(|cli| cli.sessions().is_empty())).await;
        assert!(outcomes(&rig).is_empty(), "{shown}");
    }
}
