//! What a client that must prove who it is may send before it has: so many frames, so many bytes, for so long.

use fairlead::testing::client::{Client, Closed};
use fairlead::testing::wire;
use serde_json::json;

use super::owners::{Dir, guarded, known, tokens};
use super::rig::*;

async fn rig(dir: &Dir, limits: &str) -> Rig {
    tokens(dir, &["alice"]);
    guarded(dir, clis(1)).limits(limits).start().await
}

/// The conn is ended, and it is counted why.
async fn let_go(rig: &Rig, stranger: &Client, reason: &str) {
    assert_eq!(stranger.until_closed().await, Some(Closed::Fin));
    let labels = [("reason", reason)];
    rig.until("it is counted", |m| m.sum("fairlead_frame_errors_total", &labels) >= 1.0).await;
}

/// So many frames of this kind, of which the last is one too many; how many were answered.
async fn frames(rig: &Rig, body: impl Fn(usize) -> String) -> usize {
    let (patient, loud) = (rig.client().await, rig.client().await);
    let send = async |client: &Client, from: usize, to: usize| {
        let frames: Vec<u8> = (from..to).flat_map(|n| wire::frame(&body(n))).collect();
        client.send_raw(&frames).await.unwrap();
    };
    send(&patient, 0, 31).await;
    send(&loud, 0, 33).await;
    assert_eq!(loud.until_closed().await, Some(Closed::Fin));
    // The 32nd.
    let error = refused(&patient, "ping", json!({})).await;
    assert_eq!((error.code, patient.closed()), (-32001, None));
    loud.received()
}

#[tokio::test]
async fn a_stranger_may_send_32_frames_of_whatever_kind() {
    let dir = Dir::new();
    let rig = rig(&dir, "").await;
    let request = |n| format!(r#"{{"jsonrpc":"2.0","id":"r{n}","method":"session.list"}}"#);
    assert_eq!(frames(&rig, request).await, 32);
    let notification =
        |_| r#"{"jsonrpc":"2.0","method":"x","params":{"sessionId":"s"}}"#.to_owned();
    assert_eq!(frames(&rig, notification).await, 0);
    let answer = |n| format!(r#"{{"jsonrpc":"2.0","id":{n},"result":{{}}}}"#);
    assert_eq!(frames(&rig, answer).await, 0);
    let invalid = |n| format!(r#"{{"jsonrpc":"1.0","id":"r{n}","method":"ping"}}"#);
    assert_eq!(frames(&rig, invalid).await, 32);
}

#[tokio::test]
async fn a_stranger_may_send_frames_of_64_kib() {
    let dir = Dir::new();
    let rig = rig(&dir, "").await;
    let stranger = rig.client().await;
    let error = refused(&stranger, "connect", json!({"token": "x".repeat(70_000)})).await;
    is_ours(&error, -32046, "frame_too_large");
    let error = refused(&stranger, "ping", json!({"message": "x".repeat(60_000)})).await;
    assert_eq!(error.code, -32001);
}

#[tokio::test]
async fn a_stranger_may_send_256_kib_altogether() {
    let dir = Dir::new();
    let rig = rig(&dir, "").await;
    let stranger = rig.client().await;
    for _ in 0..4 {
        let error = refused(&stranger, "ping", json!({"message": "x".repeat(60_000)})).await;
        assert_eq!(error.code, -32001);
    }
    stranger.post("ping", json!({"message": "x".repeat(60_000)})).await.unwrap();
    let_go(&rig, &stranger, "unauthenticated").await;
    assert_eq!(stranger.received(), 4);
}

#[tokio::test]
async fn a_stranger_may_send_headers_of_16_kib() {
    let dir = Dir::new();
    let rig = rig(&dir, "max_header_bytes = \"1MiB\"").await;
    let body = r#"{"jsonrpc":"2.0","id":99,"method":"ping"}"#;
    let long = format!("X: {}\r\nContent-Length: {}\r\n\r\n{body}", "x".repeat(20_000), body.len());
    let stranger = rig.client().await;
    stranger.send_raw(long.as_bytes()).await.unwrap();
    let_go(&rig, &stranger, "header_too_long").await;
    let friend = known(&rig, "alice").await;
    friend.send_raw(long.as_bytes()).await.unwrap();
    friend.next_frame(0, |f| f.value["id"] == 99).await.unwrap();
}

#[tokio::test]
async fn a_stranger_that_does_not_say_who_it_is_in_time_is_let_go() {
    let dir = Dir::new();
    let rig = rig(&dir, "handshake_timeout = \"1s\"").await;
    let (silent, half, busy) = (rig.client().await, rig.client().await, rig.client().await);
    let friend = known(&rig, "alice").await;
    half.send_raw(b"Content-Length: 10\r\n\r\n{").await.unwrap();
    assert_eq!(refused(&busy, "ping", json!({})).await.code, -32001);
    for stranger in [silent, half, busy] {
        let_go(&rig, &stranger, "unauthenticated").await;
    }
    ask(&friend, "ping", json!({})).await;
}

#[tokio::test]
async fn who_is_known_has_none_of_these_bounds() {
    let dir = Dir::new();
    let rig = rig(&dir, "").await;
    let friend = known(&rig, "alice").await;
    for _ in 0..40 {
        ask(&friend, "ping", json!({"message": "x".repeat(100_000)})).await;
    }
}

#[tokio::test]
async fn a_stranger_hears_nothing_of_sessions_that_are_nobodys() {
    let dir = Dir::new();
    tokens(&dir, &["alice"]);
    let rig = guarded(&dir, clis(1)).pool("unknown_sessions = \"adopt\"").start().await;
    let (stranger, friend) = (rig.client().await, known(&rig, "alice").await);
    let aside = Client::connect(rig.clis[0].addr).await.unwrap();
    create(&aside, "old").await;
    let lifecycle = friend.next_frame(0, |f| f.method() == "session.lifecycle").await;
    lifecycle.unwrap();
    assert_eq!(refused(&stranger, "ping", json!({})).await.code, -32001);
    assert_eq!(stranger.received(), 1);
}
