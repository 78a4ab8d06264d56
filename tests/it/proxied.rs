//! Conns that come through a balancer, and those that only say so.

use fairlead::testing::client::Client;
use serde_json::{Value, json};

use super::certificates::{Ca, Folder};
use super::rig::*;
use super::tell::{lines, log};

const TRUSTED: &str = "[listener.proxy_protocol]\ntrusted = [\"127.0.0.0/8\"]\n";
const ELSEWHERE: &str = "[listener.proxy_protocol]\ntrusted = [\"192.0.2.0/24\"]\n";

/// Version 2, from 203.0.113.9:4711, with TLVs.
fn v2(tlvs: &[(u8, &str)]) -> Vec<u8> {
    let mut body = vec![203, 0, 113, 9, 10, 0, 0, 1, 0x12, 0x67, 0, 80];
    for (kind, value) in tlvs {
        body.push(*kind);
        body.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        body.extend(value.as_bytes());
    }
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11", &length[..], &body].concat()
}

/// The address in the line of the conn that had a session, and who it was.
async fn seen(client: Client, session: &str) -> (Value, Value) {
    create(&client, session).await;
    client.close().await;
    let find = || {
        let lines = lines();
        let session =
            lines.iter().find(|l| l["kind"] == "session" && l["session_id"] == session)?;
        let is = |l: &&Value| l["kind"] == "conn" && l["conn_id"] == session["conn_id"];
        lines.iter().find(is).cloned()
    };
    eventually("the conn's line", async || find().is_some()).await;
    let line = find().unwrap();
    (line["client_addr"].clone(), line["identity"].clone())
}

async fn until_rejected(rig: &Rig, reason: &str, count: usize) {
    let so = |m: &Metrics| {
        m.sum("fairlead_listener_rejected_total", &[("reason", reason)]) == count as f64
    };
    rig.until(&format!("{count} refused: {reason}"), so).await;
}

#[tokio::test]
async fn a_trusted_proxy_says_where_the_client_is() {
    log();
    let rig = clis(1).listener(TRUSTED).start().await;
    let client = rig.client().await;
    client.send_raw(b"PROXY TCP4 203.0.113.7 10.0.0.1 5555 80\r\n").await.unwrap();
    assert_eq!(seen(client, "proxied-1").await.0, "203.0.113.7:5555");
    let client = rig.client().await;
    // In pieces, as a network may bring it.
    for piece in v2(&[]).chunks(5) {
        client.send_raw(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(seen(client, "proxied-2").await.0, "203.0.113.9:4711");
    let client = rig.client().await;
    client.send_raw(b"PROXY UNKNOWN\r\n").await.unwrap();
    let (own, _) = seen(client, "proxied-3").await;
    assert!(own.as_str().unwrap().starts_with("127.0.0.1:"), "{own}");
}

#[tokio::test]
async fn a_header_and_the_first_frame_may_come_at_once() {
    log();
    let rig = clis(1).listener(TRUSTED).start().await;
    let client = rig.client().await;
    let ping = fairlead::testing::wire::frame(r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#);
    client.send_raw(&[v2(&[]), ping.to_vec()].concat()).await.unwrap();
    within("pong", client.next_frame(0, |f| f.value["id"] == "p")).await.unwrap();
}

#[tokio::test]
async fn a_trusted_proxy_says_who_calls() {
    log();
    let identity = "[[listener.identity]]\nsource = \"proxy_tlv\"\ntlv = 0xE4\n";
    let rig = clis(1).listener(&format!("{TRUSTED}{identity}")).start().await;
    let client = rig.client().await;
    client.send_raw(&v2(&[(0xE4, "alice")])).await.unwrap();
    assert_eq!(seen(client, "proxied-4").await.1, "alice (proxy_tlv)");
    let client = rig.client().await;
    client.send_raw(&v2(&[(0xE5, "alice")])).await.unwrap();
    assert_eq!(seen(client, "proxied-5").await.1, json!(null));
}

#[tokio::test]
async fn tls_comes_behind_the_header() {
    log();
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    let rig = clis(1).listener(&format!("{TRUSTED}{}", folder.tls())).start().await;
    let address = rig.gateway.addresses().listeners[0];
    let client = Client::connect_tls(address, ca.trusting(None), &v2(&[])).await.unwrap();
    assert_eq!(seen(client, "proxied-6").await.0, "203.0.113.9:4711");
}

#[tokio::test]
async fn what_a_trusted_proxy_sends_must_be_a_header() {
    let rig = clis(1).listener(TRUSTED).start().await;
    let cut = b"PROXY TCP4 203.0.113.7\r\n";
    let frame = fairlead::testing::wire::frame(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    for garbage in [&b"\xff\x00garbage"[..], cut, &frame, &v2(&[(0xE4, "a"), (0xE4, "b")])] {
        let client = rig.client().await;
        client.send_raw(garbage).await.unwrap();
        within("it is closed", client.until_closed()).await.unwrap();
        assert_eq!(client.received(), 0);
    }
    until_rejected(&rig, "proxy_header", 4).await;
}

#[tokio::test]
async fn nobody_else_may_send_a_header() {
    let rig = clis(1).listener(ELSEWHERE).start().await;
    for header in [b"PROXY TCP6 ::1 ::1 1 2\r\n".to_vec(), v2(&[(0xE4, "alice")])] {
        let client = rig.client().await;
        client.send_raw(&header).await.unwrap();
        within("it is closed", client.until_closed()).await.unwrap();
    }
    until_rejected(&rig, "proxy_untrusted", 2).await;
    let client = rig.client().await;
    create(&client, "direct").await;
    turn(&client, "direct", "x").await;
}
