//! Listeners that speak TLS: what a client sees, and what one sees that comes without what is wanted.

use fairlead::testing::client::{Client, Closed};
use fairlead::testing::wire;
use rustls::HandshakeKind;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::certificates::{Ca, Folder};
use super::rig::*;
use super::tell::{conn_line, lines, log};

async fn over_tls(rig: &Rig, config: std::sync::Arc<rustls::ClientConfig>) -> Client {
    let address = rig.gateway.addresses().listeners[0];
    within("a handshake", Client::connect_tls(address, config, b"")).await.unwrap()
}

async fn until_rejected(rig: &Rig, reason: &str) {
    let so = |m: &Metrics| m.sum("fairlead_listener_rejected_total", &[("reason", reason)]) == 1.0;
    rig.until(&format!("one is refused: {reason}"), so).await;
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
async fn a_client_whose_tls_ends_without_a_word_still_gets_its_answer() {
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    let rig = clis(1).listener(&folder.tls()).start().await;
    let connector = tokio_rustls::TlsConnector::from(ca.trusting(None));
    let socket = TcpStream::connect(rig.gateway.addresses().listeners[0]).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut client = connector.connect(name, socket).await.unwrap();
    let create =
        json!({"jsonrpc": "2.0", "id": 7, "method": "session.create", "params": opened("s")});
    client.write_all(&wire::frame(&create.to_string())).await.unwrap();
    client.flush().await.unwrap();
    // A FIN, and no close_notify.
    socket2::SockRef::from(client.get_ref().0).shutdown(std::net::Shutdown::Write).unwrap();
    let mut heard = String::new();
    within("a whole end", client.read_to_string(&mut heard)).await.unwrap();
    assert!(heard.contains(r#""id":7,"result""#), "{heard}");
}

#[tokio::test]
async fn a_client_without_the_certificate_that_is_wanted_is_refused_and_counted() {
    log();
    let (ca, other) = (Ca::new(), Ca::new());
    let folder = Folder::new(&ca);
    let rig = clis(1).listener(&folder.mtls("required")).start().await;
    let address = rig.gateway.addresses().listeners[0];
    let stranger = other.client("spiffe://test/mallory");
    let ended = ca.client_until(2020, "spiffe://test/alice");
    for config in [None, Some(&stranger), Some(&ended)].map(|own| ca.trusting(own)) {
        // With TLS 1.3 the client hears of it when it reads.
        if let Ok(client) = Client::connect_tls(address, config, b"").await {
            assert_eq!(client.until_closed().await, Some(Closed::Reset));
        }
    }
    let so = |m: &Metrics| {
        m.sum("fairlead_listener_rejected_total", &[("reason", "client_certificate")]) == 3.0
    };
    rig.until("all are counted", so).await;
    // Other tests refuse certificates, too.
    let is = |l: &Value| l["kind"] == "audit" && l["reason"] == "client_certificate";
    eventually("they are told", async || lines(|l| is(l) && l["decision"] == "deny").len() >= 3)
        .await;
    assert_eq!(rig.metrics().await.sum("fairlead_listener_accepted_total", &[]), 0.0);
}

const MTLS: &str = "[[listener.identity]]\nsource = \"mtls\"\nfield = \"san_uri\"\n\
                    pattern = '^spiffe://(?<tenant>[^/]+)/(?<user>.+)$'\n";

/// The sessions that a client sees.
async fn listed(client: &Client) -> Vec<String> {
    let list = ask(client, "session.list", json!({})).await;
    let ids = list["sessions"].as_array().unwrap().iter();
    ids.map(|s| s["sessionId"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_certificate_says_who_calls_and_where_its_sessions_go() {
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    let rig = clis(3)
        .top(&folder.state())
        .balance("balance = \"consistent\"\naffinity = \"user\"\nbalance_factor = 100.0")
        .listener(&format!("{}{MTLS}", folder.mtls("optional")))
        .start()
        .await;
    let alice = ca.client("spiffe://acme/alice");
    let client = over_tls(&rig, ca.trusting(Some(&alice))).await;
    let sessions: Vec<String> = (0..6).map(|n| format!("hers-{n}")).collect();
    for session in &sessions {
        used(&client, session).await;
    }
    let homes: std::collections::BTreeSet<_> = sessions.iter().map(|s| rig.owner(s)).collect();
    assert_eq!(homes.len(), 1, "all on the CLI of their user");
    for uri in ["spiffe://acme/bob", "spiffe://other/alice"] {
        let stranger = over_tls(&rig, ca.trusting(Some(&ca.client(uri)))).await;
        assert_eq!(listed(&stranger).await, Vec::<String>::new());
        let error = refused(&stranger, "session.resume", opened("hers-0")).await;
        is_ours(&error, -32042, "access_denied");
    }
    let again = over_tls(&rig, ca.trusting(Some(&alice))).await;
    assert_eq!(listed(&again).await.len(), 6);
}

#[tokio::test]
async fn who_shows_no_certificate_or_one_that_names_nobody_is_asked_for_proof() {
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    let listener = format!("{}{MTLS}", folder.mtls("optional"));
    let rig = clis(1).top(&folder.state()).listener(&listener).start().await;
    let nobody = ca.client("spiffe://acme/");
    for own in [None, Some(&nobody)] {
        let client = over_tls(&rig, ca.trusting(own)).await;
        let error = refused(&client, "session.create", opened("s")).await;
        assert_eq!((error.code, &*error.message), (-32001, "AUTHENTICATION_REQUIRED"));
        assert_eq!(refused(&client, "connect", json!({})).await.code, -32002);
    }
}

#[tokio::test]
async fn a_token_counts_for_more_than_a_certificate_where_it_is_asked_first() {
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    let hash = fairlead::identity::token::to_hex(&fairlead::identity::token::hash("secret"));
    folder.put("tokens.toml", &format!("[[token]]\nsha256 = \"{hash}\"\nuser = \"bob\"\n"));
    let path = folder.path("tokens.toml");
    let token =
        format!("[[listener.identity]]\nsource = \"token\"\ntokens = {{ file = \"{path}\" }}\n");
    let listener = format!("{}{token}{MTLS}", folder.mtls("required"));
    let rig = clis(1).top(&folder.state()).listener(&listener).start().await;
    let alice = ca.client("spiffe://acme/alice");
    let (hers, his) = (
        over_tls(&rig, ca.trusting(Some(&alice))).await,
        over_tls(&rig, ca.trusting(Some(&alice))).await,
    );
    ask(&his, "connect", json!({"token": "secret"})).await;
    used(&his, "his").await;
    used(&hers, "hers").await;
    assert_eq!(
        (listed(&his).await, listed(&hers).await),
        (vec!["his".into()], vec!["hers".into()])
    );
    // Once it was used, a conn does not change hands.
    assert_eq!(refused(&hers, "connect", json!({"token": "secret"})).await.code, -32002);
    assert_eq!(refused(&his, "connect", json!({"token": "wrong"})).await.code, -32002);
    assert_eq!(
        (listed(&his).await, listed(&hers).await),
        (vec!["his".into()], vec!["hers".into()])
    );
}

/// How often it was told that something in this folder is of no use.
fn told(folder: &Folder) -> usize {
    let path = folder.path("");
    let about = |l: &Value| l["error"].as_str().is_some_and(|error| error.contains(&path));
    lines(|l| l["kind"] == "tls" && l["level"] == "WARN" && about(l)).len()
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
    let ends =
        async || rig.metrics().await.sum("fairlead_tls_cert_not_after_timestamp_seconds", &[]);
    let first = ends().await;
    let fresh = new.server_until(2040);
    // Half of a pair is of no use: nothing changes.
    folder.put("server.crt", &fresh.certificate);
    eventually("it is told", async || told(&folder) > 0).await;
    over_tls(&rig, old.trusting(None)).await;
    assert_eq!(ends().await, first);
    folder.serve(&fresh);
    let served = async || Client::connect_tls(address, new.trusting(None), b"").await.is_ok();
    eventually("the new one is served", served).await;
    assert!(Client::connect_tls(address, old.trusting(None), b"").await.is_err());
    assert_eq!((told(&folder), ends().await), (1, 2_208_988_800.0));
    turn(&before, "s", "x").await;
}

#[tokio::test]
async fn who_signs_for_clients_is_taken_from_disk_too() {
    log();
    let (old, new) = (Ca::new(), Ca::new());
    let folder = Folder::new(&old);
    let listener = format!("{}{MTLS}", folder.mtls("required"));
    let rig = clis(1).top(&folder.state()).listener(&listener).start().await;
    let (before, after) = (old.client("spiffe://acme/alice"), new.client("spiffe://acme/bob"));
    let comes = async |own| {
        let address = rig.gateway.addresses().listeners[0];
        match Client::connect_tls(address, old.trusting(Some(own)), b"").await {
            Ok(client) => client.request("ping", json!({})).await.is_ok(),
            Err(_) => false,
        }
    };
    assert!(comes(&before).await && !comes(&after).await);
    folder.put("ca.crt", "not a certificate");
    eventually("it is told", async || told(&folder) > 0).await;
    assert!(comes(&before).await && !comes(&after).await, "the old one stays in force");
    folder.put("ca.crt", &new.pem);
    eventually("the new one is in force", async || comes(&after).await).await;
    assert!(!comes(&before).await);
    assert_eq!(told(&folder), 1);
}

/// How two handshakes of one client went.
async fn twice(rig: &Rig, config: &std::sync::Arc<rustls::ClientConfig>) -> Vec<HandshakeKind> {
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let socket = TcpStream::connect(rig.gateway.addresses().listeners[0]).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::clone(config));
        let mut stream = connector.connect("localhost".try_into().unwrap(), socket).await.unwrap();
        let ping = wire::frame(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
        stream.write_all(&ping).await.unwrap();
        within("an answer", stream.read_u8()).await.unwrap();
        kinds.extend(stream.get_ref().1.handshake_kind());
    }
    kinds
}

#[tokio::test]
async fn a_certificate_is_verified_each_time() {
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    let open = clis(1).listener(&folder.tls()).start().await;
    let listener = format!("{}{MTLS}", folder.mtls("required"));
    let closed = clis(1).top(&folder.state()).listener(&listener).start().await;
    let alice = ca.client("spiffe://acme/alice");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let (plain, own) = (ca.speaking(&[version], None), ca.speaking(&[version], Some(&alice)));
        assert_eq!(twice(&open, &plain).await, [HandshakeKind::Full, HandshakeKind::Resumed]);
        assert_eq!(twice(&closed, &own).await, [HandshakeKind::Full, HandshakeKind::Full]);
    }
}

#[tokio::test]
async fn a_version_that_is_too_old_is_refused() {
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    let rig = clis(1).listener(&format!("{}min_version = \"1.3\"", folder.tls())).start().await;
    let address = rig.gateway.addresses().listeners[0];
    let config = ca.speaking(&[&rustls::version::TLS12], None);
    assert!(Client::connect_tls(address, config, b"").await.is_err());
    until_rejected(&rig, "tls").await;
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
    // A handshake that says that it has 16 MiB is not waited for.
    let large = rig.client().await;
    let record = [&b"\x16\x03\x01\x40\x00\x01\xff\xff\xff"[..], &[3; 0x4000 - 4]].concat();
    large.send_raw(&record).await.unwrap();
    within("it is closed", large.until_closed()).await.unwrap();
    let so =
        |m: &Metrics| m.sum("fairlead_listener_rejected_total", &[("reason", "not_tls")]) == 2.0;
    rig.until("it is counted", so).await;
}

#[tokio::test]
async fn who_begins_no_handshake_is_given_up() {
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    let limits = "handshake_timeout = \"300ms\"";
    let rig = clis(1).limits(limits).listener(&folder.tls()).start().await;
    let (silent, slow) = (rig.client().await, rig.client().await);
    // The beginning of a handshake of 500 bytes.
    slow.send_raw(b"\x16\x03\x01\x01\xf4\x01").await.unwrap();
    for client in [silent, slow] {
        within("it is closed", client.until_closed()).await.unwrap();
    }
    let so = |m: &Metrics| {
        m.sum("fairlead_listener_rejected_total", &[("reason", "handshake_timeout")]) == 2.0
    };
    rig.until("both are counted", so).await;
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
    let limits = "handshake_timeout = \"60s\"";
    let rig = clis(1).limits(limits).listener(&folder.tls()).start().await;
    let tasks = |m: &Metrics| m.sum("fairlead_tasks", &[]);
    let before = tasks(&rig.metrics().await);
    let silent = rig.client().await;
    rig.until("it is on its way in", |m| tasks(m) > before).await;
    rig.gateway.leave(fairlead::drain::Mode::Now);
    // What does not end by itself is cut after 5 s.
    let soon = std::time::Duration::from_secs(3);
    tokio::time::timeout(soon, rig.gateway.ended()).await.unwrap();
    within("it is closed", silent.until_closed()).await.unwrap();
}

/// A handshake that asks for this name; what the listener shows and agrees to.
async fn shown_for(
    rig: &Rig,
    mut config: rustls::ClientConfig,
    name: &str,
    alpn: &[&str],
) -> std::io::Result<(Vec<u8>, Option<String>)> {
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let socket = TcpStream::connect(rig.gateway.addresses().listeners[0]).await?;
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let stream = connector.connect(name.to_owned().try_into().unwrap(), socket).await?;
    let (_, connection) = stream.get_ref();
    let leaf = connection.peer_certificates().unwrap()[0].to_vec();
    let agreed = connection.alpn_protocol().map(|p| String::from_utf8(p.to_vec()).unwrap());
    Ok((leaf, agreed))
}

/// The names that are shown to who asks for each of these; `None`: refused.
async fn picked(rig: &Rig, ca: &Ca, names: &[&str]) -> Vec<Option<String>> {
    let mut picked = Vec::new();
    for name in names {
        let config = std::sync::Arc::unwrap_or_clone(ca.trusting(None));
        // Whoever is shown another name than it asked for ends it itself: only that tells.
        picked.push(match shown_for(rig, config, name, &[]).await {
            Ok((leaf, _)) => fairlead::identity::mtls::Names::read(&leaf)
                .map(|names| names.of(fairlead::identity::mtls::Field::SanDns)[0].to_string()),
            Err(error) if error.to_string().contains("not valid for name") => {
                Some("another".into())
            }
            Err(_) => None,
        });
    }
    picked
}

#[tokio::test]
async fn a_client_is_shown_the_certificate_of_the_name_that_it_asks_for() {
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    let listener = format!(
        "{}{}{}",
        folder.tls(),
        folder.sni("one", &ca.server_of("a.example.com"), "[\"a.example.com\"]"),
        folder.sni("two", &ca.server_of("*.example.com"), "[\"*.example.com\"]")
    );
    let rig = clis(1).listener(&listener).start().await;
    let names = ["localhost", "a.example.com", "b.example.com", "c.b.example.com"];
    let text = |name: &str| Some(name.to_owned());
    let expected =
        [text("localhost"), text("a.example.com"), text("*.example.com"), text("another")];
    assert_eq!(picked(&rig, &ca, &names).await, expected);
    let ends = rig.metrics().await;
    for certificate in ["default", "a.example.com", "*.example.com"] {
        let labels = [("certificate", certificate)];
        let end = ends.sum("fairlead_tls_cert_not_after_timestamp_seconds", &labels);
        assert!(end > 1.7e9, "{certificate}: {end}");
    }
    // Each is taken from disk when it changes.
    let fresh = ca.server_of("a.example.com");
    let leaf = async || {
        let config = std::sync::Arc::unwrap_or_clone(ca.trusting(None));
        shown_for(&rig, config, "a.example.com", &[]).await.ok().map(|(leaf, _)| leaf)
    };
    let before = leaf().await;
    folder.put("one.crt", &fresh.certificate);
    folder.put("one.key", &fresh.key);
    eventually("the new one is shown", async || leaf().await.is_some_and(|l| Some(l) != before))
        .await;
}

#[tokio::test]
async fn who_asks_for_a_name_that_nobody_has_is_refused_where_that_is_wanted() {
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    let listener = format!(
        "{}strict_sni = true\n{}",
        folder.tls(),
        folder.sni("one", &ca.server_of("a.example.com"), "[\"a.example.com\"]")
    );
    let rig = clis(1).listener(&listener).start().await;
    let names = ["localhost", "a.example.com", "b.example.com", "127.0.0.1"];
    let text = |name: &str| Some(name.to_owned());
    let expected = [text("localhost"), text("a.example.com"), None, None];
    assert_eq!(picked(&rig, &ca, &names).await, expected);
    let so = |m: &Metrics| m.sum("fairlead_listener_rejected_total", &[("reason", "tls")]) == 2.0;
    rig.until("both are counted", so).await;
}

#[tokio::test]
async fn what_is_spoken_within_is_agreed_if_it_is_said() {
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    let config = || std::sync::Arc::unwrap_or_clone(ca.trusting(None));
    let mute = clis(1).listener(&folder.tls()).start().await;
    let (_, agreed) = shown_for(&mute, config(), "localhost", &["h2"]).await.unwrap();
    assert_eq!(agreed, None);
    let listener = format!("{}alpn = [\"x/2\", \"x/1\"]\n", folder.tls());
    let rig = clis(1).listener(&listener).start().await;
    let (_, agreed) = shown_for(&rig, config(), "localhost", &["x/1", "x/2"]).await.unwrap();
    assert_eq!(agreed.as_deref(), Some("x/2"), "the listener's own order counts");
    let (_, agreed) = shown_for(&rig, config(), "localhost", &[]).await.unwrap();
    assert_eq!(agreed, None);
    assert!(shown_for(&rig, config(), "localhost", &["h2"]).await.is_err());
    until_rejected(&rig, "tls").await;
}
