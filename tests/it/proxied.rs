//! Conns that come through a balancer, and those that only say so.

use fairlead::testing::client::Client;
use serde_json::{Value, json};

use super::certificates::{Ca, Folder};
use super::rig::*;
use super::tell::{conn_line, log};

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

/// The address in the line of the conn that had a session.
async fn seen(client: Client, session: &str) -> Value {
    create(&client, session).await;
    client.close().await;
    conn_line(session).await["client_addr"].clone()
}

/// A client that a proxy says this of.
async fn behind(rig: &Rig, header: &[u8]) -> Client {
    let client = rig.client().await;
    client.send_raw(header).await.unwrap();
    client
}

/// The sessions that a client sees; nothing if it must prove first who it is.
async fn listed(client: &Client) -> Option<Vec<String>> {
    let list = match client.request("session.list", json!({})).await {
        Ok(list) => list,
        Err(error) => {
            assert_eq!(error.code, -32001, "{error:?}");
            return None;
        }
    };
    let ids = list["sessions"].as_array().unwrap().iter();
    Some(ids.map(|s| s["sessionId"].as_str().unwrap().to_owned()).collect())
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
    assert_eq!(seen(client, "proxied-1").await, "203.0.113.7:5555");
    let client = rig.client().await;
    // In pieces, as a network may bring it.
    for piece in v2(&[]).chunks(5) {
        client.send_raw(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(seen(client, "proxied-2").await, "203.0.113.9:4711");
    let client = rig.client().await;
    client.send_raw(b"PROXY UNKNOWN\r\n").await.unwrap();
    let own = seen(client, "proxied-3").await;
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
    let folder = Folder::new(&Ca::new());
    let identity = "[[listener.identity]]\nsource = \"proxy_tlv\"\ntlv = 0xE4\n";
    let listener = format!("{TRUSTED}{identity}");
    let rig = clis(1).top(&folder.state()).listener(&listener).start().await;
    let alice = behind(&rig, &v2(&[(0xE4, "alice")])).await;
    used(&alice, "hers").await;
    let bob = behind(&rig, &v2(&[(0xE4, "bob")])).await;
    assert_eq!(listed(&bob).await, Some(vec![]));
    is_ours(&refused(&bob, "session.resume", opened("hers")).await, -32042, "access_denied");
    let again = behind(&rig, &v2(&[(0xE4, "alice")])).await;
    assert_eq!(listed(&again).await, Some(vec!["hers".into()]));
    for nobody in [v2(&[(0xE5, "alice")]), v2(&[]), b"PROXY UNKNOWN\r\n".to_vec()] {
        assert_eq!(listed(&behind(&rig, &nobody).await).await, None);
    }
}

#[tokio::test]
async fn an_address_is_the_clients_where_a_trusted_proxy_says_it_and_nobodys_where_it_does_not() {
    let folder = Folder::new(&Ca::new());
    let identity = "authentication = \"required\"\n[[listener.identity]]\nsource = \"source_ip\"\n\
                    ranges = [{ cidr = \"127.0.0.0/8\", user = \"here\" }, { cidr = \"203.0.113.7\", user = \"alice\" }]\n";
    let (keys, identity) = identity.split_once('\n').unwrap();
    let listener = format!("{keys}\n{TRUSTED}{identity}");
    let rig = clis(1).top(&folder.state()).listener(&listener).start().await;
    let alice = b"PROXY TCP4 203.0.113.7 10.0.0.1 5555 80\r\n";
    let client = behind(&rig, alice).await;
    used(&client, "hers").await;
    assert_eq!(listed(&behind(&rig, alice).await).await, Some(vec!["hers".into()]));
    // The socket comes from 127.0.0.1: that is where the proxy is, not the client.
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    for nobody in [&v2(&[])[..], b"PROXY UNKNOWN\r\n", local] {
        assert_eq!(listed(&behind(&rig, nobody).await).await, None);
    }
    let folder = Folder::new(&Ca::new());
    let listener = format!("{keys}\n{ELSEWHERE}{identity}");
    let direct = clis(1).top(&folder.state()).listener(&listener).start().await;
    assert_eq!(listed(&direct.client().await).await, Some(vec![]));
}

#[tokio::test]
async fn tls_comes_behind_the_header() {
    log();
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    let rig = clis(1).listener(&format!("{TRUSTED}{}", folder.tls())).start().await;
    let address = rig.gateway.addresses().listeners[0];
    let client = Client::connect_tls(address, ca.trusting(None), &v2(&[])).await.unwrap();
    assert_eq!(seen(client, "proxied-6").await, "203.0.113.9:4711");
}

#[tokio::test]
async fn what_a_trusted_proxy_sends_must_be_a_header() {
    let rig = clis(1).listener(TRUSTED).start().await;
    let cut = b"PROXY TCP4 203.0.113.7\r\n";
    let frame = fairlead::testing::wire::frame(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    // One byte more than the longest of each version.
    let (line, huge) =
        ([&b"PROXY UNKNOWN "[..], &[b'x'; 94]].concat(), b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x10\x01");
    let twice = v2(&[(0xE4, "a"), (0xE4, "b")]);
    for garbage in [&b"\xff\x00garbage"[..], cut, &frame, &twice, &line, huge] {
        let client = rig.client().await;
        client.send_raw(garbage).await.unwrap();
        within("it is closed", client.until_closed()).await.unwrap();
        assert_eq!(client.received(), 0);
    }
    until_rejected(&rig, "proxy_header", 6).await;
}

#[tokio::test]
async fn who_sends_half_a_header_or_nothing_is_given_up() {
    for listener in [TRUSTED, ELSEWHERE] {
        let limits = "handshake_timeout = \"300ms\"";
        let rig = clis(1).limits(limits).listener(listener).start().await;
        let silent = rig.client().await;
        within("the silent one is closed", silent.until_closed()).await.unwrap();
        let mut count = 1;
        if listener == TRUSTED {
            let slow = behind(&rig, b"PROXY TCP4 203.").await;
            within("the slow one is closed", slow.until_closed()).await.unwrap();
            count += 1;
        }
        until_rejected(&rig, "handshake_timeout", count).await;
    }
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
