//! The last bytes of a conn: they arrive, whatever the client sends meanwhile; and nobody waits long for its end.

use fairlead::drain::Mode;
use fairlead::testing::Fault;
use fairlead::testing::client::Frame;
use fairlead::testing::wire::{Decoder, Piece};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::bounds::{reluctant, say};
use super::rig::*;

/// More than fairlead reads at once.
const MUCH: usize = 512 * 1024;

/// All that is still to come, as frames; it ends with a FIN.
async fn read_to_fin(stream: &mut TcpStream) -> Vec<Frame> {
    let mut bytes = Vec::new();
    within("the conn ends", stream.read_to_end(&mut bytes)).await.unwrap();
    let mut decoder = Decoder::default();
    decoder.buffer().extend_from_slice(&bytes);
    let mut frames = Vec::new();
    while let Some(Piece::Body(raw)) = decoder.next_piece() {
        let value: Value = serde_json::from_slice(&raw).unwrap_or_default();
        frames.push(Frame { raw, value });
    }
    assert!(!decoder.is_mid_frame());
    frames
}

/// A client that reads nothing, with a turn that runs and more answers to come than the kernel takes.
async fn deaf(rig: &Rig) -> TcpStream {
    let mut client = reluctant(rig).await;
    let cli = &rig.clis[0];
    say(&mut client, 1, "session.create", opened("s")).await;
    within("it is made", cli.until(|cli| !cli.sessions().is_empty())).await;
    say(&mut client, 2, "session.send", json!({"sessionId": "s", "prompt": "hold k"})).await;
    within("the turn holds", cli.until_held("k")).await;
    cli.fault("session.name.get", Fault::Huge(6_000_000), 2);
    for id in [3, 4] {
        say(&mut client, id, "session.name.get", json!({"sessionId": "s"})).await;
    }
    let asked = || cli.methods().iter().filter(|m| *m == "session.name.get").count();
    eventually("the CLI is asked", async || asked() == 2).await;
    rig.until("it has answered", |m| m.sum("fairlead_rpc_pending", &[]) == 0.0).await;
    client
}

#[tokio::test]
async fn the_last_events_of_a_drain_reach_a_client_that_is_slow_and_talks_on() {
    let rig = clis(1).drain("drain_timeout = \"60s\"").start().await;
    let mut client = deaf(&rig).await;
    rig.gateway.leave(Mode::Now);
    // From here on, nothing of it is read before all that it is told is written.
    let drained = [("result", "drained")];
    rig.until("the turn is cut", |m| m.sum("fairlead_turns_total", &drained) == 1.0).await;
    client.write_all(&vec![b'x'; MUCH]).await.unwrap();
    let frames = read_to_fin(&mut client).await;
    let last: Vec<&str> = frames.iter().rev().take(2).map(Frame::event_type).collect();
    assert_eq!(last, ["session.idle", "session.error"]);
    within("it ends", rig.gateway.ended()).await;
}

#[tokio::test]
async fn a_client_that_broke_the_protocol_gets_the_answers_that_it_was_slow_to_read() {
    let rig = clis(1).start().await;
    let mut client = deaf(&rig).await;
    let mut bytes = b"What: ever\r\n\r\n".to_vec();
    bytes.resize(bytes.len() + MUCH, b'x');
    client.write_all(&bytes).await.unwrap();
    let frames = read_to_fin(&mut client).await;
    let answered: Vec<u64> = frames.iter().filter_map(|f| f.value["id"].as_u64()).collect();
    assert_eq!(answered, [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_client_that_does_not_close_is_dropped() {
    let rig = clis(1).start().await;
    let mut client = TcpStream::connect(rig.gateway.addresses().listeners[0]).await.unwrap();
    client.write_all(b"What: ever\r\n\r\n").await.unwrap();
    // It is told, and keeps its side open.
    assert!(read_to_fin(&mut client).await.is_empty());
    rig.until("it is gone", |m| m.sum("fairlead_listener_connections", &[]) == 0.0).await;
    let written = async { while client.write_all(&[b'x'; 1024]).await.is_ok() {} };
    within("nobody is there", written).await;
}

#[tokio::test]
async fn a_drain_does_not_wait_for_clients_that_do_not_close() {
    let rig = clis(1).drain("drain_timeout = \"60s\"").start().await;
    let mut clients = Vec::new();
    for id in 0..3 {
        let mut client = TcpStream::connect(rig.gateway.addresses().listeners[0]).await.unwrap();
        say(&mut client, id, "ping", json!({})).await;
        clients.push(client);
    }
    let answered = |m: &Metrics| m.sum("fairlead_rpc_requests_total", &[]);
    rig.until("they are answered", |m| answered(m) == 3.0).await;
    rig.gateway.leave(Mode::Drain);
    within("it ends", rig.gateway.ended()).await;
    for client in &mut clients {
        assert_eq!(read_to_fin(client).await.len(), 1);
    }
}
