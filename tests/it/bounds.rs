//! Everything has a bound: sizes, counts and times; and one peer that is slow stops no other.

use std::time::Duration;

use fairlead::testing::client::{Client, Closed};
use fairlead::testing::{Fault, wire};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::rig::*;

/// A client that reads only when told to, behind a small window.
pub(crate) async fn reluctant(rig: &Rig) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(rig.gateway.addresses().listeners[0]).await.unwrap()
}

pub(crate) async fn say(stream: &mut TcpStream, id: u64, method: &str, params: serde_json::Value) {
    let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    stream.write_all(&wire::frame(&body.to_string())).await.unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_nobody_else() {
    let rig = clis(1).limits("max_client_queue = \"64KiB\"").start().await;
    let other = rig.client().await;
    used(&other, "o").await;
    rig.clis[0].fault("session.name.get", Fault::Huge(1_000_000), 64);
    let mut slow = reluctant(&rig).await;
    say(&mut slow, 1, "session.create", opened("s")).await;
    for id in 2..50 {
        say(&mut slow, id, "session.name.get", json!({"sessionId": "o"})).await;
    }
    within("the CLI is asked", rig.clis[0].until_received(|f| f.method() == "session.name.get"))
        .await;
    for _ in 0..20 {
        assert_eq!(ask(&other, "session.mode.get", json!({"sessionId": "o"})).await, "interactive");
    }
    turn(&other, "o", "x").await;
    // Whatever was asked for is there when the client reads at last.
    let mut text = Vec::new();
    let reading = async {
        let mut buffer = vec![0; 1 << 20];
        while memchr::memmem::find(&text, br#","id":49,"#).is_none() {
            let n = slow.read(&mut buffer).await.unwrap();
            assert!(n > 0);
            text.drain(..text.len().saturating_sub(16));
            text.extend_from_slice(&buffer[..n]);
        }
    };
    within("all answers come", reading).await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_for_too_long_is_given_up() {
    let setup = clis(1).limits("stall_timeout = \"300ms\"\nmax_client_queue = \"64KiB\"");
    let rig = setup.start().await;
    let other = rig.client().await;
    used(&other, "o").await;
    rig.clis[0].fault("session.name.get", Fault::Huge(8_000_000), 2);
    let mut slow = reluctant(&rig).await;
    say(&mut slow, 1, "session.name.get", json!({"sessionId": "o"})).await;
    say(&mut slow, 2, "session.name.get", json!({"sessionId": "o"})).await;
    rig.until("two conns", |m| m.sum("fairlead_listener_accepted_total", &[]) == 2.0).await;
    rig.until("the slow one is gone", |m| m.sum("fairlead_listener_connections", &[]) == 1.0).await;
    assert_eq!(ask(&other, "session.mode.get", json!({"sessionId": "o"})).await, "interactive");
}

#[tokio::test]
async fn a_slow_cli_does_not_stop_a_fast_one_behind_the_same_conn() {
    let setup = clis(2)
        .limits("max_link_queue = \"256KiB\"\nstall_timeout = \"60s\"")
        .health("dead_after = \"60s\"");
    let rig = setup.start().await;
    let client = rig.client().await;
    for session in ["a", "b"] {
        create(&client, session).await;
    }
    rig.clis[rig.owner("a")].wedge();
    // More than the kernel's buffers take, and then more than the link's queue does.
    let prompt = "x".repeat(200_000);
    let mut posted = Vec::new();
    for _ in 0..100 {
        let params = json!({"sessionId": "a", "prompt": prompt});
        posted.push(client.post("session.send", params).await.unwrap());
    }
    assert_eq!(turn(&client, "b", "x").await, "You said \"x\". I remember 0 earlier messages.");
    let error = client.answer_to(posted.last().unwrap()).await.unwrap_err();
    is_ours(&error, -32045, "overloaded");
    assert_eq!((&error.data["retryable"], &error.data["session"]), (&json!(true), &json!("a")));
    assert!(client.closed().is_none());
    let owner = rig.owner("a");
    rig.clis[owner].unwedge();
    client.answer_to(&posted[0]).await.unwrap();
}

#[tokio::test]
async fn a_cli_that_takes_nothing_for_too_long_is_lost_to_that_conn() {
    let setup = clis(2).limits("stall_timeout = \"500ms\"").health("dead_after = \"60s\"");
    let rig = setup.start().await;
    let client = rig.client().await;
    for session in ["a", "b"] {
        create(&client, session).await;
    }
    rig.clis[rig.owner("a")].wedge();
    let params = json!({"sessionId": "a", "prompt": "x".repeat(7_000_000)});
    let error = client.request("session.send", params).await.unwrap_err();
    is_ours(&error, -32040, "upstream_lost");
    turn(&client, "b", "x").await;
}

#[tokio::test]
async fn a_conn_has_only_so_many_requests_pending() {
    let rig = clis(1).limits("max_pending = 4").start().await;
    let client = rig.client().await;
    create(&client, "s").await;
    rig.clis[0].fault("session.name.get", Fault::Never, 4);
    for _ in 0..4 {
        client.post("session.name.get", json!({"sessionId": "s"})).await.unwrap();
    }
    rig.until("they are pending", |m| m.sum("fairlead_rpc_pending", &[]) == 4.0).await;
    let error = refused(&client, "session.name.get", json!({"sessionId": "s"})).await;
    is_ours(&error, -32045, "overloaded");
    client.reset().await;
    rig.until("nothing is", |m| m.sum("fairlead_rpc_pending", &[]) == 0.0).await;
}

#[tokio::test]
async fn there_are_only_so_many_conns() {
    let rig = clis(1).limits("max_conns = 2").start().await;
    let (a, b) = (rig.client().await, rig.client().await);
    ask(&a, "ping", json!({})).await;
    ask(&b, "ping", json!({})).await;
    let c = rig.client().await;
    assert!(c.until_closed().await.is_some());
    let metrics = rig.metrics().await;
    assert_eq!(metrics.sum("fairlead_listener_rejected_total", &[("reason", "max_conns")]), 1.0);
    ask(&a, "ping", json!({})).await;
    b.close().await;
    let let_in = async || rig.client().await.request("ping", json!({})).await.is_ok();
    eventually("there is room for one", let_in).await;
}

#[tokio::test]
async fn what_all_conns_keep_is_bounded_and_those_who_keep_nothing_go_on() {
    let limits = "max_buffered_bytes = \"1MiB\"\nmax_client_frame = \"1MiB\"\nmax_upstream_frame = \"1MiB\"\nmax_client_queue = \"1MiB\"";
    let rig = clis(1).limits(limits).start().await;
    let other = rig.client().await;
    used(&other, "o").await;
    rig.clis[0].fault("session.name.get", Fault::Huge(900_000), 64);
    let mut greedy = Vec::new();
    for _ in 0..6 {
        let mut slow = reluctant(&rig).await;
        for id in 1..9 {
            say(&mut slow, id, "session.name.get", json!({"sessionId": "o"})).await;
        }
        greedy.push(slow);
    }
    let asked = |f: &fairlead::testing::fake_cli::Received| f.method() == "session.name.get";
    within("they are asked", rig.clis[0].until_received(asked)).await;
    for _ in 0..20 {
        assert_eq!(ask(&other, "session.mode.get", json!({"sessionId": "o"})).await, "interactive");
    }
    // They are all served in the end.
    let mut reading = tokio::task::JoinSet::new();
    for mut slow in greedy {
        reading.spawn(async move {
            let (mut total, mut buffer) = (0, vec![0; 1 << 20]);
            while total < 8 * 900_000 {
                match slow.read(&mut buffer).await.unwrap() {
                    0 => panic!("closed after {total} bytes"),
                    n => total += n,
                }
            }
        });
    }
    while let Some(read) = within("their answers come", reading.join_next()).await {
        read.unwrap();
    }
}

#[tokio::test]
async fn what_a_conn_kept_is_given_back_when_it_ends() {
    let limits = "max_buffered_bytes = \"1MiB\"\nmax_client_frame = \"1MiB\"\nmax_upstream_frame = \"1MiB\"\nmax_client_queue = \"1MiB\"";
    let rig = clis(1).limits(limits).start().await;
    let other = rig.client().await;
    used(&other, "o").await;
    rig.clis[0].fault("session.name.get", Fault::Huge(900_000), 64);
    for _ in 0..3 {
        let mut slow = reluctant(&rig).await;
        for id in 1..9 {
            say(&mut slow, id, "session.name.get", json!({"sessionId": "o"})).await;
        }
        rig.until("it has much to write", |m| {
            m.sum("fairlead_bytes_total", &[("direction", "in")]) > 0.0
        })
        .await;
        let two = |m: &Metrics| m.sum("fairlead_upstream_links", &[]) == 2.0;
        rig.until("its link is open", two).await;
        drop(slow);
        let one = |m: &Metrics| m.sum("fairlead_listener_connections", &[]) == 1.0;
        rig.until("it is gone", one).await;
    }
    rig.clis[0].clear_faults();
    rig.clis[0].fault("session.name.get", Fault::Huge(900_000), 64);
    for _ in 0..3 {
        ask(&other, "session.name.get", json!({"sessionId": "o"})).await;
    }
}

#[tokio::test]
async fn a_request_that_a_cli_does_not_answer_is_answered_in_time_and_only_once() {
    let rig = clis(1).limits("request_timeout = \"200ms\"").start().await;
    let client = rig.client().await;
    create(&client, "s").await;
    rig.clis[0].fault("session.name.get", Fault::Held("k".into()), 1);
    let from = client.received();
    let asked = client.post("session.name.get", json!({"sessionId": "s"})).await.unwrap();
    let error = client.answer_to(&asked).await.unwrap_err();
    is_ours(&error, -32048, "upstream_timeout");
    assert_eq!(error.data["session"], "s");
    rig.clis[0].release("k");
    let late = [("reason", "late_reply")];
    rig.until("the late one is counted", |m| m.sum("fairlead_frame_errors_total", &late) == 1.0)
        .await;
    ask(&client, "session.mode.get", json!({"sessionId": "s"})).await;
    let answers = client.frames(from).into_iter().filter(|f| f.value["id"] == asked.id).count();
    assert_eq!(answers, 1);
}

#[tokio::test]
async fn what_takes_long_by_nature_is_not_timed() {
    let rig = clis(1).limits("request_timeout = \"200ms\"").start().await;
    let client = rig.client().await;
    create(&client, "s").await;
    rig.clis[0].fault("session.send", Fault::Held("k".into()), 1);
    let sent = json!({"sessionId": "s", "prompt": "x"});
    let sent = client.post("session.send", sent).await.unwrap();
    // What was asked for later, and is timed.
    rig.clis[0].fault("session.name.get", Fault::Never, 1);
    let error = refused(&client, "session.name.get", json!({"sessionId": "s"})).await;
    is_ours(&error, -32048, "upstream_timeout");
    rig.clis[0].release("k");
    client.answer_to(&sent).await.unwrap();
}

#[tokio::test]
async fn a_hook_that_the_client_does_not_answer_does_not_hold_up_the_turn() {
    let rig = clis(1).limits("client_request_timeout = \"200ms\"").start().await;
    let client = rig.client().await;
    let mut params = opened("s");
    params["hooks"] = true.into();
    ask(&client, "session.create", params).await;
    let from = client.received();
    send(&client, "s", "x").await;
    client.next_event(from, "session.idle").await.unwrap();
    let hooks = client.frames(from).into_iter().filter(|f| f.method() == "hooks.invoke");
    let last = hooks.last().unwrap().value["id"].clone();
    // Too late: nobody waits for it.
    client.answer(&last, Ok(json!({}))).await.unwrap();
    let odd = [("reason", "unknown_reply")];
    rig.until("it is counted", |m| m.sum("fairlead_frame_errors_total", &odd) == 1.0).await;
}

#[tokio::test]
async fn a_person_is_waited_for() {
    let rig = clis(1)
        .limits("client_request_timeout = \"100ms\"\nrequest_timeout = \"100ms\"")
        .start()
        .await;
    let client = rig.client().await;
    let mut params = opened("s");
    params["requestUserInput"] = true.into();
    ask(&client, "session.create", params).await;
    let from = client.received();
    send(&client, "s", r#"tool ask_user {"question":"q"}"#).await;
    let asked = client.next_frame(from, |f| f.method() == "userInput.request").await.unwrap();
    client.quiet(Duration::from_millis(2200)).await;
    client.answer(&asked.value["id"], Ok(json!({"answer": "yes"}))).await.unwrap();
    client.next_event(from, "session.idle").await.unwrap();
    let said = client
        .frames(from)
        .into_iter()
        .any(|f| String::from_utf8_lossy(&f.raw).contains("User responded: yes"));
    assert!(said);
}

#[tokio::test]
async fn a_link_that_is_not_greeted_in_time_is_given_up() {
    let setup = clis(1)
        .limits("handshake_timeout = \"1s\"")
        .health("interval = \"60s\"\ndead_after = \"60s\"");
    let rig = setup.start().await;
    let client = rig.client().await;
    rig.clis[0].fault("connect", Fault::Never, 1);
    let error = refused(&client, "session.create", opened("s")).await;
    is_ours(&error, -32041, "no_upstream");
    create(&client, "s").await;
}

#[tokio::test]
async fn a_frame_that_is_never_finished_is_given_up_once_it_is_too_large() {
    let setup = clis(1).limits("max_client_frame = \"64KiB\"\ndiscard_timeout = \"200ms\"");
    let rig = setup.start().await;
    let client = rig.client().await;
    let head = format!(
        "Content-Length: 1000000\r\n\r\n{{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"ping\",\"x\":\"{}",
        "x".repeat(70_000)
    );
    client.send_raw(head.as_bytes()).await.unwrap();
    let refused = client.next_frame(0, |f| f.value["id"] == 3).await.unwrap();
    assert_eq!(refused.value["error"]["code"], -32046);
    assert_eq!(client.until_closed().await, Some(Closed::Fin));
}

#[tokio::test]
async fn the_hello_of_one_client_reaches_no_other() {
    let rig = clis(1).start().await;
    let (a, b) = (rig.client().await, rig.client().await);
    ask(&a, "connect", json!({"clientInfo": {"editorName": "alices"}})).await;
    create(&a, "a").await;
    create(&b, "b").await;
    let connects = over_links(&rig.clis[0]).into_iter().filter(|f| f.method() == "connect");
    let hellos: Vec<_> = connects.map(|f| f.params()).collect();
    assert_eq!(hellos, [json!({"clientInfo": {"editorName": "alices"}}), json!({})]);
}

#[tokio::test]
async fn twenty_thousand_pings_in_one_breath_are_answered() {
    let rig = clis(1).start().await;
    let client = Client::connect(rig.gateway.addresses().listeners[0]).await.unwrap();
    let mut bytes = Vec::new();
    for id in 0..20_000 {
        bytes.extend(wire::frame(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#)));
    }
    client.send_raw(&bytes).await.unwrap();
    client.next_frame(0, |f| f.value["id"] == 19_999).await.unwrap();
    assert_eq!(client.received(), 20_000);
}

#[tokio::test]
async fn a_close_that_is_on_its_way_is_waited_for_as_long_as_its_cli_lives() {
    let rig = clis(1).limits("lookup_timeout = \"1s\"").start().await;
    let (client, other) = (rig.client().await, rig.client().await);
    used(&client, "s").await;
    rig.clis[0].fault("sessions.close", Fault::Never, 1);
    ask(&client, "session.shutdown", json!({"sessionId": "s"})).await;
    let asked = rig.clis[0].until_received(|r| r.method() == "sessions.close");
    within("it is to be closed", asked).await;
    let resume = other.post("session.resume", opened("s")).await.unwrap();
    // Two look-ups that come to nothing take longer than a close was once waited for.
    rig.clis[0].fault("session.mode.get", Fault::Never, 2);
    for _ in 0..2 {
        is_ours(&refused(&client, "session.resume", opened("none")).await, -32041, "no_upstream");
    }
    assert!(!forwarded(&rig.clis[0]).contains(&"session.resume".to_owned()));
    rig.clis[0].kill().await;
    assert!(within("it is told", other.answer_to(&resume)).await.is_err());
}
