//! Listeners that speak TLS: what a client sees, and what one sees that comes without what is wanted.

use fairlead::testing::client::{Client, Closed};
use fairlead::testing::wire;
use serde_json::{Value, json};

use super::certificates::{Ca, Folder};
use super::rig::*;
use super::tell::{lines, log};

async fn over_tls(rig: &Rig, config: std::sync::Arc<rustls::ClientConfig>) -> Client {
    let address = rig.gateway.addresses().listeners[0];
    within("a handshake", Client::connect_tls(address, config, b"")).await.unwrap()
}

async fn until_rejected(rig: &Rig, reason: &str) {
    let so = |m: &Metrics| m.sum("fairlead_listener_rejected_total", &[("reason", reason)]) == 1.0;
    rig.until(&format!("one is refused: {reason}"), so).await;
}

/// The line of the conn that had this session.
async fn conn_line(session: &str) -> Value {
    let find = || {
        let lines = lines();
        let session =
            lines.iter().find(|l| l["kind"] == "session" && l["session_id"] == session)?;
        let is = |l: &&Value| l["kind"] == "conn" && l["conn_id"] == session["conn_id"];
        lines.iter().find(is).cloned()
    };
    eventually("the conn's line", async || find().is_some()).await;
    find().unwrap()
}

#[tokio::test]
async fn a_client_works_over_tls_as_without() {
    log();
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    let rig = clis(2).listener(&folder.tls()).start().await;
    let client = over_tls(&rig, ca.trusting(None)).await;
    used(&client, "tls-1").await;
    // More than TLS and the socket take at a time, both ways.
    let large = "x".repeat(3_000_000);
    let said = turn(&client, "tls-1", &large).await;
    assert_eq!(said, format!("You said \"{large}\". I remember 1 earlier messages."));
    let ends = rig.metrics().await.sum("fairlead_tls_cert_not_after_timestamp_seconds", &[]);
    assert!(ends > 1.7e9, "{ends}");
    client.close().await;
    let line = conn_line("tls-1").await;
    assert!(line["tls"].as_str().unwrap().starts_with("TLSv1.3 TLS13_"), "{line}");
    assert_eq!((&line["result"], &line["termination"]), (&json!("ok"), &json!("CI")));
}

#[tokio::test]
async fn a_client_that_ends_its_side_of_tls_still_gets_its_answer_and_a_whole_end() {
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    let rig = clis(1).listener(&folder.tls()).start().await;
    let client = over_tls(&rig, ca.trusting(None)).await;
    create(&client, "s").await;
    let asked = client.post("session.mode.get", json!({"sessionId": "s"})).await.unwrap();
    client.half_close().await;
    within("the answer", client.answer_to(&asked)).await.unwrap();
    // Without the server's close_notify this would be an error.
    assert_eq!(client.until_closed().await, Some(Closed::Fin));
}

#[tokio::test]
async fn a_client_without_the_certificate_that_is_wanted_is_refused_and_counted() {
    let (ca, other) = (Ca::new(), Ca::new());
    let folder = Folder::new(&ca);
    let rig = clis(1).listener(&folder.mtls("required")).start().await;
    let address = rig.gateway.addresses().listeners[0];
    let stranger = other.client("spiffe://test/mallory");
    for config in [ca.trusting(None), ca.trusting(Some(&stranger))] {
        // With TLS 1.3 the client hears of it when it reads.
        if let Ok(client) = Client::connect_tls(address, config, b"").await {
            assert_eq!(client.until_closed().await, Some(Closed::Reset));
        }
    }
    let so = |m: &Metrics| {
        m.sum("fairlead_listener_rejected_total", &[("reason", "client_certificate")]) == 2.0
    };
    rig.until("both are counted", so).await;
    assert_eq!(rig.metrics().await.sum("fairlead_listener_accepted_total", &[]), 0.0);
}

#[tokio::test]
async fn a_certificate_says_who_calls_and_where_its_sessions_go() {
    log();
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    let identity = "[[listener.identity]]\nsource = \"mtls\"\nfield = \"san_uri\"\n\
                    pattern = '^spiffe://(?<tenant>[^/]+)/(?<user>.+)$'";
    let rig = clis(3)
        .balance("balance = \"consistent\"\naffinity = \"user\"\nbalance_factor = 100.0")
        .listener(&format!("{}{identity}", folder.mtls("optional")))
        .start()
        .await;
    let alice = ca.client("spiffe://acme/alice");
    let client = over_tls(&rig, ca.trusting(Some(&alice))).await;
    let sessions: Vec<String> = (0..6).map(|n| format!("by-certificate-{n}")).collect();
    for session in &sessions {
        create(&client, session).await;
    }
    let homes: std::collections::BTreeSet<_> = sessions.iter().map(|s| rig.owner(s)).collect();
    assert_eq!(homes.len(), 1, "all on the CLI of their user");
    client.close().await;
    let line = conn_line("by-certificate-0").await;
    assert_eq!((&line["identity"], &line["tenant"]), (&json!("alice (mtls)"), &json!("acme")));
    let nobody = over_tls(&rig, ca.trusting(None)).await;
    create(&nobody, "by-nobody").await;
    nobody.close().await;
    assert!(conn_line("by-nobody").await.get("identity").is_none());
}

#[tokio::test]
async fn another_certificate_on_disk_is_for_those_who_come_then() {
    log();
    let (old, new) = (Ca::new(), Ca::new());
    let folder = Folder::new(&old);
    let rig = clis(1).listener(&folder.tls()).start().await;
    let address = rig.gateway.addresses().listeners[0];
    let before = over_tls(&rig, old.trusting(None)).await;
    create(&before, "s").await;
    let fresh = new.server();
    // Half of a pair is of no use: nothing changes.
    folder.put("server.crt", &fresh.certificate);
    let told = || {
        let is = |l: &Value| l["kind"] == "tls" && l["level"] == "WARN";
        lines().iter().filter(|l| is(l)).count()
    };
    eventually("it is told", async || told() > 0).await;
    over_tls(&rig, old.trusting(None)).await;
    folder.serve(&fresh);
    let served = async || Client::connect_tls(address, new.trusting(None), b"").await.is_ok();
    eventually("the new one is served", served).await;
    assert!(Client::connect_tls(address, old.trusting(None), b"").await.is_err());
    assert_eq!(told(), 1);
    turn(&before, "s", "x").await;
}

#[tokio::test]
async fn who_speaks_no_tls_is_closed_at_once_and_counted() {
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    let rig = clis(1).listener(&folder.tls()).start().await;
    let plain = rig.client().await;
    plain.send_raw(&wire::frame(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#)).await.unwrap();
    within("it is closed", plain.until_closed()).await.unwrap();
    until_rejected(&rig, "not_tls").await;
    assert_eq!(plain.received(), 0);
}

#[tokio::test]
async fn who_begins_no_handshake_is_given_up() {
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    let rig = clis(1).listener(&folder.tls()).start().await;
    let silent = rig.client().await;
    within("it is closed", silent.until_closed()).await.unwrap();
    until_rejected(&rig, "handshake_timeout").await;
}

#[tokio::test]
async fn what_came_in_while_nothing_could_go_out_is_not_forgotten() {
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    let limits = "max_link_queue = \"64KiB\"\nmax_client_queue = \"64KiB\"";
    let rig = clis(1).limits(limits).listener(&folder.tls()).start().await;
    let client = over_tls(&rig, ca.trusting(None)).await;
    create(&client, "s").await;
    // Answers larger than the queue, asked for in one write: most requests wait within TLS while answers go out.
    let text = "y".repeat(20_000);
    let ping = |n: usize| {
        wire::frame(&json!({"jsonrpc": "2.0", "id": n + 1000, "method": "ping", "params": {"message": text}}).to_string())
    };
    let all: Vec<u8> = (0..200).flat_map(|n| ping(n).to_vec()).collect();
    client.send_raw(&all).await.unwrap();
    for n in 0..200 {
        within("an answer", client.next_frame(0, |f| f.value["id"] == n + 1000)).await.unwrap();
    }
}

#[tokio::test]
async fn a_handshake_does_not_hold_up_an_end_at_once() {
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    let rig = clis(1).listener(&folder.tls()).start().await;
    let silent = rig.client().await;
    let so = |m: &Metrics| m.sum("fairlead_tasks", &[]) > 0.0;
    rig.until("it runs", so).await;
    rig.gateway.leave(fairlead::drain::Mode::Now);
    within("the gateway ends", rig.gateway.ended()).await;
    within("it is closed", silent.until_closed()).await.unwrap();
}
