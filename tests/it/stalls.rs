//! Clients that read slowly, or not at all: only who takes nothing for `stall_timeout` is given up.

use std::net::SocketAddr;
use std::time::Duration;

use fairlead::testing::Fault;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::bounds::{reluctant, say};
use super::rig::*;
use super::tell;

/// How the conns of clients at this address ended: those of other tests may have had it before.
fn ends_at(client: SocketAddr) -> Vec<Value> {
    let client = client.to_string();
    let there = |l: &Value| l["kind"] == "conn" && l["client_addr"] == client.as_str();
    tell::lines(there).into_iter().map(|l| l["result"].clone()).collect()
}

/// Asks for more than the kernel takes, and waits until fairlead has it.
async fn ask_for_much(rig: &Rig, client: &mut TcpStream, id: u64, session: &str) {
    rig.clis[0].fault("session.name.get", Fault::Huge(8_000_000), 1);
    let out = rig.metrics().await.sum("fairlead_bytes_total", &[("direction", "out")]);
    say(client, id, "session.name.get", json!({ "sessionId": session })).await;
    rig.until("some of it is written, and all is there", |m| {
        m.sum("fairlead_bytes_total", &[("direction", "out")]) > out
            && m.sum("fairlead_rpc_pending", &[]) == 0.0
    })
    .await;
}

/// Reads on until these bytes have come; broadcasts may come behind them.
async fn read_until(client: &mut TcpStream, end: &[u8]) {
    let (mut tail, mut buffer) = (Vec::new(), vec![0; 1 << 20]);
    let reading = async {
        while memchr::memmem::find(&tail, end).is_none() {
            tail.drain(..tail.len().saturating_sub(end.len()));
            let n = client.read(&mut buffer).await.unwrap();
            assert!(n > 0);
            tail.extend_from_slice(&buffer[..n]);
        }
    };
    within("all of it comes", reading).await;
}

/// How many conns are open.
async fn until_open(rig: &Rig, count: f64) {
    rig.until("so many conns", |m| m.sum("fairlead_listener_connections", &[]) == count).await;
}

#[tokio::test]
async fn a_client_that_stops_reading_in_a_turn_is_closed_and_so_are_its_links() {
    tell::log();
    let limits = "stall_timeout = \"300ms\"\nmax_client_queue = \"64KiB\"";
    let rig = clis(1).limits(limits).start().await;
    let cli = &rig.clis[0];
    let mut client = reluctant(&rig).await;
    let address = client.local_addr().unwrap();
    let earlier = ends_at(address).len();
    say(&mut client, 1, "session.create", opened("s")).await;
    within("it is made", cli.until(|cli| !cli.sessions().is_empty())).await;
    say(&mut client, 2, "session.send", json!({"sessionId": "s", "prompt": "hold k"})).await;
    within("the turn holds", cli.until_held("k")).await;
    // The CLI streams more than all buffers take.
    let event = format!(
        r#"{{"jsonrpc":"2.0","method":"session.event","params":{{"sessionId":"s","event":{{"type":"assistant.message_delta","data":{{"deltaContent":"{}"}}}}}}}}"#,
        "x".repeat(200_000)
    );
    for _ in 0..100 {
        cli.say(cli.attached("s")[0], &event);
    }
    eventually("the conn's line", async || ends_at(address).len() > earlier).await;
    assert_eq!(ends_at(address)[earlier], "stalled");
    within("its link is closed", cli.until(|cli| cli.sessions().is_empty())).await;
    let left = [("result", "client_left")];
    rig.until("the books are even", |m| {
        m.sum("fairlead_listener_connections", &[]) == 0.0
            && m.sum("fairlead_upstream_links", &[]) == 0.0
            && m.sum("fairlead_upstream_sessions", &[]) == 0.0
            && m.sum("fairlead_turns_active", &[]) == 0.0
            && m.sum("fairlead_turns_total", &left) == 1.0
    })
    .await;
    // The CLI is not to blame.
    assert_eq!(rig.metrics().await.sum("fairlead_upstream_lost_total", &[]), 0.0);
}

#[tokio::test]
async fn a_client_that_reads_slowly_and_steadily_is_served_to_the_end() {
    let rig = clis(1).limits("stall_timeout = \"1500ms\"").start().await;
    let other = rig.client().await;
    used(&other, "o").await;
    let mut client = TcpStream::connect(rig.gateway.addresses().listeners[0]).await.unwrap();
    rig.clis[0].fault("session.name.get", Fault::Huge(60_000_000), 1);
    say(&mut client, 1, "session.name.get", json!({"sessionId": "o"})).await;
    let (mut total, mut buffer) = (0, vec![0; 64 * 1024]);
    // A pace, not a wait: some 10 MB a second, so that all of it takes several times the timeout.
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    let begun = fairlead::time::now();
    while total < 60_000_000 {
        pace.tick().await;
        let room = &mut buffer[..];
        let n = within("it goes on", client.read(room)).await.unwrap();
        assert!(n > 0, "closed after {total} bytes");
        total += n;
    }
    assert!(begun.elapsed() > Duration::from_secs(4), "{:?}", begun.elapsed());
}

/// The kernel says that there is room only when a third of its buffer is free, which grows to megabytes.
#[tokio::test]
async fn a_client_that_takes_little_at_a_time_has_not_stalled() {
    let rig = clis(1).limits("stall_timeout = \"2s\"").start().await;
    let other = rig.client().await;
    used(&other, "o").await;
    let mut client = TcpStream::connect(rig.gateway.addresses().listeners[0]).await.unwrap();
    rig.clis[0].fault("session.name.get", Fault::Huge(20_000_000), 1);
    say(&mut client, 1, "session.name.get", json!({"sessionId": "o"})).await;
    let (mut total, mut some) = (0, vec![0; 16 * 1024]);
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    while total < 1_250_000 {
        pace.tick().await;
        let n = within("it goes on", client.read(&mut some)).await.unwrap();
        assert!(n > 0, "closed after {total} bytes");
        total += n;
    }
    // Nor was it given up meanwhile.
    until_open(&rig, 2.0).await;
}

#[tokio::test]
async fn a_client_that_caught_up_starts_anew_when_it_is_slow_again() {
    let rig = clis(1).limits("stall_timeout = \"2s\"").start().await;
    let other = rig.client().await;
    used(&other, "o").await;
    let mut client = reluctant(&rig).await;
    ask_for_much(&rig, &mut client, 1, "o").await;
    read_until(&mut client, b"x\"}").await;
    // Two that never read, one after the other: when the second one is given up, more than the timeout and a tick have
    // passed for the first.
    for _ in 0..2 {
        until_open(&rig, 2.0).await;
        let mut deaf = reluctant(&rig).await;
        ask_for_much(&rig, &mut deaf, 1, "o").await;
        until_open(&rig, 2.0).await;
    }
    ask_for_much(&rig, &mut client, 2, "o").await;
    read_until(&mut client, b"x\"}").await;
    say(&mut client, 3, "ping", json!({})).await;
    read_until(&mut client, b"\"protocolVersion\":3}}").await;
    assert_eq!(ask(&other, "session.mode.get", json!({"sessionId": "o"})).await, "interactive");
}
