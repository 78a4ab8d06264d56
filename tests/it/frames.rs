//! Frames and ids: what goes through untouched, what is refused under its own id, what closes the conn.

use fairlead::testing::Fault;
use fairlead::testing::client::{Client, Ids};
use serde_json::{Value, json};

use super::rig::*;

#[tokio::test]
async fn frames_go_through_byte_for_byte() {
    let rig = clis(1).start().await;
    let client = rig.client().await;
    create(&client, "s").await;
    let body = "{ \"params\" :\t{\"x\":1.50e3,\"sessionId\":\"s\",\"y\":\"\\u00e9\\/é\"}, \"method\":\"session.mode.get\",\"id\":\"ab\",\"jsonrpc\":\"2.0\" }";
    let from = client.received();
    client.send_body(body).await.unwrap();
    let answer = client.next_frame(from, |f| f.method().is_empty()).await.unwrap();
    assert_eq!(answer.value["id"], "ab");
    assert_eq!(over_links(&rig.clis[0]).pop().unwrap().raw, body.as_bytes());
}

async fn invalid(client: &Client, body: &str, id: &str) -> Value {
    let from = client.received();
    client.send_body(body).await.unwrap();
    let frame = client.next_frame(from, |f| f.method().is_empty()).await.unwrap();
    let head = format!(r#"{{"jsonrpc":"2.0","id":{id},"error""#);
    assert!(frame.raw.starts_with(head.as_bytes()), "{:?} for {body}", frame.raw);
    frame.value["error"].clone()
}

#[tokio::test]
async fn what_could_be_read_in_two_ways_is_refused_under_its_own_id() {
    let rig = clis(1).start().await;
    let client = rig.client().await;
    create(&client, "s").await;
    let seen = over_links(&rig.clis[0]).len();
    let deep = format!("{}{}", "[".repeat(70), "]".repeat(70));
    for (body, id) in [
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"session.mode.get","params":{"sessionId":"s","sessionId":"t"}}"#,
            "7",
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"session.mode.get","params":{"sessionId":"s","session\u0049d":"t"}}"#,
            "7",
        ),
        (
            r#"{"jsonrpc":"2.0","id":"x","method":"session.mode.get","method":"ping","params":{"sessionId":"s"}}"#,
            r#""x""#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"session.mode.get","params":{"sessionId":"s"},"params":{}}"#,
            "7",
        ),
        (
            &format!(
                r#"{{"jsonrpc":"2.0","id":8,"method":"session.mode.get","params":{{"sessionId":"s","d":{deep}}}}}"#
            ),
            "8",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1.5,"method":"session.mode.get","params":{"sessionId":"s"}}"#,
            "1.5",
        ),
        (
            r#"{"jsonrpc":"2.0","id":9007199254740993,"method":"session.mode.get","params":{"sessionId":"s"}}"#,
            "9007199254740993",
        ),
        (
            r#"{"jsonrpc":"2.0","id":-9007199254740993,"method":"session.mode.get","params":{"sessionId":"s"}}"#,
            "-9007199254740993",
        ),
    ] {
        assert_eq!(invalid(&client, body, id).await["code"], -32600, "{body}");
    }
    assert_eq!(over_links(&rig.clis[0]).len(), seen);
    assert_eq!(ask(&client, "session.mode.get", json!({"sessionId": "s"})).await, "interactive");
}

#[tokio::test]
async fn half_a_character_fails_its_own_request_and_no_other() {
    let rig = clis(1).start().await;
    let client = rig.client().await;
    used(&client, "s").await;
    rig.hold(&client, "s", "key").await;
    let seen = over_links(&rig.clis[0]).len();
    for text in [r#""\ud83d""#, "1e999", "NaN", "\"\u{1}\""] {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":"x","method":"session.send","params":{{"sessionId":"s","prompt":{text}}}}}"#
        );
        assert_eq!(invalid(&client, &body, r#""x""#).await["code"], -32600, "{text}");
        client.send_body(&body.replace(r#""id":"x","#, "")).await.unwrap();
    }
    assert_eq!(over_links(&rig.clis[0]).len(), seen);
    let from = client.received();
    rig.clis[0].release("key");
    within("the turn goes on", client.next_frame(from, |f| f.event_type() == "session.idle"))
        .await
        .unwrap();
}

/// A client with a request that its CLI does not answer, and a session in mid-turn.
async fn waiting(rig: &Rig, session: &str) -> Client {
    let client = rig.client().await;
    used(&client, session).await;
    rig.hold(&client, session, session).await;
    rig.clis[0].fault("session.name.get", Fault::Never, 1);
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":"w","method":"session.name.get","params":{{"sessionId":"{session}"}}}}"#
    );
    client.send_body(&body).await.unwrap();
    client
}

/// What it hears before the conn ends: the answer, and that the turn is over.
async fn is_told_all(client: &Client, from: usize, code: i64, error_type: &str) {
    assert!(client.until_closed().await.is_some(), "the conn goes on");
    let said = client.frames(from);
    let answer = said.iter().position(|f| f.value["id"] == "w").unwrap();
    assert_eq!(said[answer].value["error"]["code"], code, "{said:?}");
    let is = |kind: &str| said.iter().position(|f| f.event_type() == kind);
    let (error, idle) = (is("session.error").unwrap(), is("session.idle").unwrap());
    assert!(answer < error && error < idle, "{said:?}");
    assert_eq!(said[error].value["params"]["event"]["data"]["errorType"], error_type);
}

#[tokio::test]
async fn a_client_that_breaks_the_protocol_is_told_what_becomes_of_its_requests_and_turns() {
    let rig = clis(1).start().await;
    for (n, bytes) in
        ["Content-Length: 3\r\n\r\n{{}", "Content-Length: x\r\n\r\n"].iter().enumerate()
    {
        let client = waiting(&rig, &format!("s{n}")).await;
        let from = client.received();
        client.send_raw(bytes.as_bytes()).await.unwrap();
        is_told_all(&client, from, -32600, "protocol").await;
    }
}

#[tokio::test]
async fn a_client_that_closed_its_side_hears_in_the_end_that_no_answer_came() {
    let rig = clis(1).start().await;
    let client = waiting(&rig, "s").await;
    let from = client.received();
    client.half_close().await;
    is_told_all(&client, from, -32048, "upstream_timeout").await;
}

#[tokio::test]
async fn an_id_in_flight_cannot_be_used_again() {
    let rig = clis(1).start().await;
    let client = rig.client().await;
    create(&client, "s").await;
    rig.clis[0].fault("session.name.get", Fault::Never, 1);
    let body =
        r#"{"jsonrpc":"2.0","id":55,"method":"session.name.get","params":{"sessionId":"s"}}"#;
    client.send_body(body).await.unwrap();
    assert_eq!(invalid(&client, body, "55").await["code"], -32600);
}

#[tokio::test]
async fn a_frame_without_an_id_that_can_be_answered_closes_the_conn() {
    let rig = clis(1).start().await;
    for body in [
        r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
        r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
        "not json",
        "",
        "42",
    ] {
        let client = rig.client().await;
        client.send_body(body).await.unwrap();
        assert!(client.until_closed().await.is_some(), "{body}");
        let said = client.frames(0);
        assert!(said.iter().all(|f| !f.value["id"].is_null()), "{body}: {said:?}");
    }
}

#[tokio::test]
async fn a_header_that_is_not_exactly_one_length_closes_the_conn() {
    let rig = clis(1).start().await;
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let n = body.len();
    for header in [
        format!("Content-Length: {n}\r\nContent-Length: {n}\r\n\r\n"),
        format!("Content-Length: +{n}\r\n\r\n"),
        format!("Content-Length: {n}, {n}\r\n\r\n"),
        format!("Content-Length: {n} \u{b}\r\n\r\n"),
        "Content-Length: 0x28\r\n\r\n".to_owned(),
        "Content-Length: -1\r\n\r\n".to_owned(),
        "Content-Type: x\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "\r\n\r\n".to_owned(),
        format!("X-Long: {}\r\n", "x".repeat(20_000)),
    ] {
        let client = rig.client().await;
        // The end may come while the rest is written.
        let _ = client.send_raw(format!("{header}{body}").as_bytes()).await;
        assert!(client.until_closed().await.is_some(), "{header}");
        assert!(client.frames(0).is_empty(), "{header}: {:?}", client.frames(0));
    }
    // A conn is counted when it has ended, a moment after the client saw its end.
    rig.until("all are counted", |m| m.sum("fairlead_frame_errors_total", &[]) >= 10.0).await;
}

#[tokio::test]
async fn a_frame_that_is_too_large_is_refused_and_the_conn_goes_on() {
    let rig = clis(1).limits("max_client_frame = \"64KiB\"").start().await;
    let client = rig.client().await;
    create(&client, "s").await;
    let prompt = "x".repeat(100_000);
    let error = refused(&client, "session.send", json!({"sessionId": "s", "prompt": prompt})).await;
    is_ours(&error, -32046, "frame_too_large");
    assert_eq!(turn(&client, "s", "x").await, "You said \"x\". I remember 0 earlier messages.");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_an_error_under_its_id() {
    let rig = clis(1).limits("max_upstream_frame = \"64KiB\"").start().await;
    let client = rig.client().await;
    create(&client, "s").await;
    rig.clis[0].fault("session.getMessages", Fault::Huge(200_000), 1);
    let error = refused(&client, "session.getMessages", json!({"sessionId": "s"})).await;
    is_ours(&error, -32046, "frame_too_large");
    assert_eq!(turn(&client, "s", "x").await, "You said \"x\". I remember 0 earlier messages.");
}

#[tokio::test]
async fn ids_come_back_with_their_type() {
    let rig = clis(2).start().await;
    let client =
        Client::connect_with(rig.gateway.addresses().listeners[0], Ids::Strings).await.unwrap();
    create(&client, "s").await;
    assert_eq!(ask(&client, "session.mode.get", json!({"sessionId": "s"})).await, "interactive");
    assert_eq!(refused(&client, "session.mode.get", json!({"sessionId": "t"})).await.code, -32042);
}

#[tokio::test]
async fn every_refusal_is_counted_also_of_what_never_was_taken() {
    let rig = clis(1).limits("max_client_frame = \"1KiB\"\nmax_pending = 1").start().await;
    let client = rig.client().await;
    create(&client, "s").await;
    let long = json!({"sessionId": "a".repeat(256)});
    assert_eq!(refused(&client, "session.mode.get", long).await.code, -32042);
    let large = json!({"sessionId": "s", "prompt": "x".repeat(2000)});
    assert_eq!(refused(&client, "session.send", large).await.code, -32046);
    rig.clis[0].fault("session.name.get", Fault::Never, 1);
    client.post("session.name.get", json!({"sessionId": "s"})).await.unwrap();
    let crowded = refused(&client, "session.name.get", json!({"sessionId": "s"})).await;
    is_ours(&crowded, -32045, "overloaded");
    invalid(&client, r#"{"jsonrpc":"2.0","id":77,"method":"ping","method":"ping"}"#, "77").await;

    let metrics = rig.metrics().await;
    for reason in ["access_denied", "frame_too_large", "overloaded"] {
        let denied = metrics.sum("fairlead_denied_total", &[("reason", reason)]);
        assert_eq!(denied, 1.0, "{reason}");
    }
    for method in ["session.mode.get", "session.name.get", "other"] {
        let labels = [("method", method), ("result", "refused")];
        assert_eq!(metrics.sum("fairlead_rpc_requests_total", &labels), 1.0, "{method}");
    }
    for reason in ["frame_too_large", "invalid"] {
        let errors = metrics.sum("fairlead_frame_errors_total", &[("reason", reason)]);
        assert_eq!(errors, 1.0, "{reason}");
    }
}
