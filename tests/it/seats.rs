//! How many conns a listener, an address and a caller may have.

use std::net::SocketAddr;

use fairlead::testing::client::{Client, Closed};
use fairlead::testing::wire;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::owners::{Dir, guarded, known, tokens};
use super::rig::*;

/// A conn from another address of this machine.
async fn from(rig: &Rig, address: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(address.parse().unwrap(), 0)).unwrap();
    socket.connect(rig.gateway.addresses().listeners[0]).await.unwrap()
}

/// Whether a ping is answered; else the conn is closed.
async fn is_served(stream: &mut TcpStream) -> bool {
    let ping = wire::frame(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    let exchange = async {
        if stream.write_all(&ping).await.is_err() {
            return false;
        }
        stream.read(&mut [0; 64]).await.is_ok_and(|n| n > 0)
    };
    within("an answer or an end", exchange).await
}

fn rejected(reason: &'static str) -> impl Fn(&Metrics) -> bool {
    move |m| m.sum("fairlead_listener_rejected_total", &[("reason", reason)]) >= 1.0
}

#[tokio::test]
async fn an_address_has_so_many_conns_and_others_are_not_touched() {
    let rig = clis(1).listener("max_conns_per_address = 2").start().await;
    let mut all = [from(&rig, "127.0.0.1").await, from(&rig, "127.0.0.1").await];
    for stream in &mut all {
        assert!(is_served(stream).await);
    }
    assert!(!is_served(&mut from(&rig, "127.0.0.1").await).await);
    rig.until("it is counted", rejected("max_conns_per_address")).await;
    let mut other = from(&rig, "127.0.0.2").await;
    assert!(is_served(&mut other).await);
    let [_kept, gone] = all;
    drop(gone);
    let again = async || is_served(&mut from(&rig, "127.0.0.1").await).await;
    eventually("its place is free again", again).await;
}

#[tokio::test]
async fn a_listener_has_so_many_conns() {
    let rig = clis(1).listener("max_conns = 2").start().await;
    let mut all = [from(&rig, "127.0.0.1").await, from(&rig, "127.0.0.2").await];
    for stream in &mut all {
        assert!(is_served(stream).await);
    }
    assert!(!is_served(&mut from(&rig, "127.0.0.3").await).await);
    rig.until("it is counted", rejected("max_conns")).await;
    drop(all);
    let again = async || is_served(&mut from(&rig, "127.0.0.3").await).await;
    eventually("places are free again", again).await;
}

/// It is told so, and let go.
async fn is_one_too_many(client: &Client, method: &str, params: serde_json::Value) {
    let error = refused(client, method, params).await;
    is_ours(&error, -32045, "overloaded");
    assert_eq!(
        (&error.data["retryable"], &error.data["retry_after_ms"]),
        (&json!(true), &json!(1000))
    );
    assert_eq!(client.until_closed().await, Some(Closed::Fin));
}

#[tokio::test]
async fn a_caller_has_so_many_conns() {
    let dir = Dir::new();
    tokens(&dir, &["alice", "bob"]);
    let rig = guarded(&dir, clis(1).listener("max_conns_per_caller = 1")).start().await;
    let alice = known(&rig, "alice").await;
    // Again on the same conn is no other.
    ask(&alice, "connect", json!({"token": "alice-token"})).await;
    let token = json!({"token": "alice-token"});
    is_one_too_many(&rig.client().await, "connect", token.clone()).await;
    rig.until("it is counted", rejected("max_conns_per_caller")).await;
    known(&rig, "bob").await;
    drop(alice);
    let again = async || rig.client().await.request("connect", token.clone()).await.is_ok();
    eventually("her place is free again", again).await;
}

#[tokio::test]
async fn who_proves_nothing_is_counted_by_its_address() {
    let setup = clis(1).listener("max_conns_per_caller = 1");
    let rig = setup.limits("handshake_timeout = \"1s\"").start().await;
    let first = rig.client().await;
    ask(&first, "ping", json!({})).await;
    let silent = rig.client().await;
    for method in ["connect", "ping", "session.create"] {
        is_one_too_many(&rig.client().await, method, json!({})).await;
    }
    assert!(is_served(&mut from(&rig, "127.0.0.2").await).await);
    assert_eq!(
        silent.until_closed().await,
        Some(Closed::Fin),
        "it holds no conn by saying nothing"
    );
    ask(&first, "ping", json!({})).await;
}

#[tokio::test]
async fn who_proves_to_be_somebody_else_leaves_the_place_of_its_address() {
    let dir = Dir::new();
    tokens(&dir, &["alice"]);
    let listener = "max_conns_per_caller = 1\nauthentication = \"optional\"";
    let rig = guarded(&dir, clis(1).listener(listener)).start().await;
    let nobody = rig.client().await;
    ask(&nobody, "ping", json!({})).await;
    let alice = rig.client().await;
    ask(&alice, "connect", json!({"token": "alice-token"})).await;
    for _ in 0..40 {
        ask(&alice, "ping", json!({"message": "x".repeat(100_000)})).await;
    }
    is_one_too_many(&rig.client().await, "connect", json!({})).await;
    // Nobody becomes Alice, and another nobody may come.
    drop(alice);
    let one = |m: &Metrics| m.sum("fairlead_listener_connections", &[]) == 1.0;
    rig.until("her place is free again", one).await;
    ask(&nobody, "connect", json!({"token": "alice-token"})).await;
    ask(&rig.client().await, "ping", json!({})).await;
}
