//! Listeners with `protocol = "tcp"`, in front of upstreams that say back what they hear.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fairlead::drain::Mode;
use fairlead::wire::proxy_protocol::{Decoder, Header, Kind};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::certificates::{Ca, Folder};
use super::relays::*;
use super::rig::*;

/// Probed often; but a probe that is late on a busy machine is not taken for one that failed.
const OFTEN: &str = "probe = \"ping\"\ninterval = \"100ms\"\ntimeout = \"20s\"\nfall = 2\n";
/// The same, where probes are to be late.
const QUICK: &str =
    "probe = \"ping\"\ninterval = \"100ms\"\ntimeout = \"1s\"\nfall = 2\ndead_after = \"4s\"\n";

#[tokio::test]
async fn conns_go_round_and_their_ends_are_told() {
    // Probed as pools are that are no CLIs.
    let relays = relays(2, With { health: "", ..With::default() }).await;
    let mut seen = [0, 0];
    for _ in 0..4 {
        let mut client = relays.client().await;
        let (number, back) = said(&mut client, b"hello").await;
        assert_eq!(back, b"hello");
        seen[usize::from(number)] += 1;
        client.shutdown().await.unwrap();
        assert!(ends_well(&mut client).await);
        let line = is_told(&client, "ok", "--").await;
        assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&5.into(), &6.into()), "{line}");
        assert_eq!(line["upstream"], format!("echo-{number}"));
        assert_eq!((&line["placement_reason"], &line["links"]), (&"round_robin".into(), &1.into()));
        assert!(line["t_connect"].is_f64() && line.get("turns").is_none(), "{line}");
    }
    assert_eq!(seen, [2, 2]);
    let bytes = |m: &Metrics, to| m.sum("fairlead_bytes_total", &[("direction", to)]);
    let metrics = relays.metrics().await;
    assert_eq!((bytes(&metrics, "in"), bytes(&metrics, "out")), (20.0, 24.0));
    assert_eq!(metrics.sum("fairlead_listener_accepted_total", &[]), 4.0);
    relays
        .until("all is given back", |m| {
            m.sum("fairlead_listener_connections", &[("listener", "relay")])
                + m.sum("fairlead_upstream_links", &[])
                + m.sum("fairlead_upstream_sessions", &[])
                == 0.0
        })
        .await;
}

#[tokio::test]
async fn an_address_sticks_to_its_upstream() {
    let listener = "[[listener.identity]]\nsource = \"source_ip\"\n";
    let pool = "balance = \"consistent\"\naffinity = \"user\"\nbalance_factor = 100.0\n";
    let relays = relays(3, With { listener, pool, ..With::default() }).await;
    let mut used = std::collections::BTreeSet::new();
    for host in 1..=12 {
        let ip = format!("127.0.1.{host}");
        let first = said(&mut relays.client_from(&ip).await, b"x").await.0;
        let second = said(&mut relays.client_from(&ip).await, b"x").await.0;
        assert_eq!(first, second, "{ip}");
        used.insert(first);
    }
    assert!(used.len() > 1, "all on {used:?}");
}

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_is_passed_over() {
    let mut relays = relays(2, With::default()).await;
    relays.echoes[0].refuse().await;
    for _ in 0..3 {
        let mut client = relays.client().await;
        assert_eq!(said(&mut client, b"x").await.0, 1);
    }
    let metrics = relays.metrics().await;
    let retries = metrics.sum("fairlead_listener_connect_retries_total", &[]);
    assert!((1.0..=3.0).contains(&retries), "{retries}");
    let lost = [("reason", "connect"), ("upstream", "echo-0")];
    assert_eq!(metrics.sum("fairlead_upstream_lost_total", &lost), retries);
}

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_is_down_before_a_probe_says_so() {
    let health = "probe = \"ping\"\ninterval = \"1h\"\ndead_after = \"2h\"\nfall = 1\nrise = 2\n";
    let mut relays = relays(2, With { health, ..With::default() }).await;
    relays.echoes[0].refuse().await;
    for _ in 0..2 {
        assert_eq!(said(&mut relays.client().await, b"x").await.0, 1);
    }
    let down = [("upstream", "echo-0"), ("state", "down")];
    relays.until("it is down", |m| m.sum("fairlead_upstream_state", &down) == 1.0).await;
}

#[tokio::test]
async fn who_can_be_taken_nowhere_is_reset() {
    let listener = "[listener.tcp]\nconnect_retries = 1\n";
    let mut relays = relays(3, With { listener, ..With::default() }).await;
    for echo in &mut relays.echoes {
        echo.refuse().await;
    }
    let client = relays.is_reset(&relays.home).await;
    // The one that is tried, and one more: not the third.
    assert_eq!(is_told_of(client, "unreachable", "UL").await["links"], 2);
    relays.echoes.iter().for_each(Echo::sicken);
    relays.until_up(0).await;
    let client = relays.is_reset(&relays.home).await;
    is_told_of(client, "no_upstream", "UQ").await;
}

#[tokio::test]
async fn time_ends_conns_and_each_limit_is_its_own() {
    for (tcp, result) in
        [("idle_timeout = \"200ms\"", "idle"), ("max_lifetime = \"2s\"", "lifetime")]
    {
        let listener = format!("[listener.tcp]\n{tcp}\n");
        let relays = relays(1, With { listener: &listener, ..With::default() }).await;
        let mut client = relays.client().await;
        said(&mut client, b"x").await;
        assert!(!ends_well(&mut client).await, "{result}");
        is_told(&client, result, "TB").await;
    }
    let listener = "[listener.tcp]\nhalf_close_timeout = \"200ms\"\n";
    let half = relays(1, With { listener, ..With::default() }).await;
    let mut client = half.client().await;
    // It answers an end with one, unless it is told to say nothing.
    said(&mut client, b"hush").await;
    client.shutdown().await.unwrap();
    assert!(!ends_well(&mut client).await);
    is_told(&client, "half_closed", "TB").await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up() {
    let rest = "[limits]\nstall_timeout = \"200ms\"\n";
    let relays = relays(1, With { rest, ..With::default() }).await;
    let mut client = relays.client().await;
    let flood = vec![7; 1 << 20];
    within("it is cut", async { while client.write_all(&flood).await.is_ok() {} }).await;
    let (result, termination, line) = told(client.local_addr().unwrap()).await;
    // Both ways are full by then: which of the two is seen first is chance.
    assert!(["stalled", "upstream_stalled"].contains(&result.as_str()), "{line}");
    assert_eq!(termination, "TB");
}

#[tokio::test]
async fn conns_to_an_upstream_that_is_down_are_kept_or_cut() {
    for cut in [false, true] {
        let key = if cut { "cut" } else { "keep" };
        let listener = format!("[listener.tcp]\non_upstream_down = \"{key}\"\n");
        let relays =
            relays(2, With { listener: &listener, health: OFTEN, ..With::default() }).await;
        let (mut one, mut two) = (relays.client().await, relays.client().await);
        let (first, second) = (said(&mut one, b"x").await.0, said(&mut two, b"x").await.0);
        assert_ne!(first, second);
        relays.echoes[usize::from(first)].sicken();
        relays.until_up(1).await;
        if cut {
            assert!(!ends_well(&mut one).await);
            is_told(&one, "upstream_down", "UB").await;
        } else {
            one.write_all(b"still").await.unwrap();
            within("the echo", one.read_exact(&mut [0; 5])).await.unwrap();
        }
        two.write_all(b"here").await.unwrap();
        within("the echo", two.read_exact(&mut [0; 4])).await.unwrap();
    }
}

#[tokio::test]
async fn an_upstream_that_says_something_to_clients_is_not_down() {
    let relays = relays(1, With { health: QUICK, ..With::default() }).await;
    let mut client = relays.client().await;
    said(&mut client, b"x").await;
    relays.echoes[0].mute.store(true, Ordering::Relaxed);
    // Many times as long as its probes may fail.
    let end = fairlead::time::now() + std::time::Duration::from_secs(5);
    while fairlead::time::now() < end {
        client.write_all(b"x").await.unwrap();
        within("the echo", client.read_exact(&mut [0])).await.unwrap();
        tokio::time::timeout(std::time::Duration::from_millis(20), std::future::pending::<()>())
            .await
            .unwrap_err();
    }
    assert_eq!(relays.metrics().await.sum("fairlead_upstream_state", &[("state", "up")]), 1.0);
    relays.until_up(0).await;
}

/// The header that the upstream got, and what came after it.
async fn header(client: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Header {
    client.write_all(b"payload").await.unwrap();
    let (mut heard, mut decoder) = (Vec::new(), Decoder::default());
    within("the header comes back", client.read_u8()).await.unwrap();
    while !heard.ends_with(b"payload") {
        heard.push(within("all comes back", client.read_u8()).await.unwrap());
    }
    let mut rest = &heard[..];
    let header = decoder.next(&mut rest).unwrap().unwrap();
    assert_eq!(rest, b"payload", "nothing else came");
    header
}

#[tokio::test]
async fn upstreams_are_told_where_a_client_comes_from() {
    for version in ["v1", "v2"] {
        let pool = format!("send_proxy = \"{version}\"\n");
        let relays = relays(1, With { pool: &pool, ..With::default() }).await;
        let mut client = relays.client().await;
        let header = header(&mut client).await;
        let addresses = header.addresses.unwrap();
        assert_eq!(addresses.source, client.local_addr().unwrap());
        assert_eq!(addresses.destination, relays.address());
        let id = header.tlvs.get(Kind::UniqueId).map(<[u8]>::to_vec);
        drop(client);
        let conn = told(addresses.source).await.2["conn_id"].to_string();
        assert_eq!(id, (version == "v2").then(|| conn.into_bytes()));
    }
}

#[tokio::test]
async fn upstreams_are_told_what_a_trusted_proxy_says_and_no_more() {
    let listener = "[listener.proxy_protocol]\ntrusted = [\"127.0.0.0/8\"]\n";
    for version in ["v1", "v2"] {
        let pool = format!("send_proxy = \"{version}\"\n");
        let relays = relays(1, With { listener, pool: &pool, ..With::default() }).await;
        let mut client = relays.client().await;
        client.write_all(b"PROXY TCP4 203.0.113.7 10.0.0.1 5555 80\r\n").await.unwrap();
        let addresses = header(&mut client).await.addresses.unwrap();
        assert_eq!(addresses.source, "203.0.113.7:5555".parse().unwrap());
        assert_eq!(addresses.destination, "10.0.0.1:80".parse().unwrap());
        let mut client = relays.client().await;
        client.write_all(b"PROXY UNKNOWN\r\n").await.unwrap();
        assert_eq!(header(&mut client).await.addresses, None);
    }
}

#[tokio::test]
async fn upstreams_are_told_of_a_verified_certificate() {
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    let pool = "send_proxy = \"v2\"\n";
    let listener = folder.mtls("optional");
    let relays = relays(1, With { listener: &listener, pool, ..With::default() }).await;
    for own in [None, Some(ca.client("spiffe://x/alice"))] {
        let connector = tokio_rustls::TlsConnector::from(ca.trusting(own.as_ref()));
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = connector.connect(name, relays.client().await).await.unwrap();
        let header = header(&mut client).await;
        let ssl = header.tlvs.ssl().unwrap();
        assert_eq!((ssl.verified, ssl.version), (own.is_some(), Some("TLSv1.3")));
        assert_eq!(ssl.cn.is_some(), own.is_some());
    }
}

#[tokio::test]
async fn upstreams_are_told_what_a_client_asks_for_in_tls() {
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    let listener = format!("{}alpn = [\"echo/2\", \"echo/1\"]\n", folder.tls());
    let pool = "send_proxy = \"v2\"\n";
    let relays = relays(1, With { listener: &listener, pool, ..With::default() }).await;
    for (sni, alpn, agreed) in [
        (true, vec!["echo/1", "echo/0"], Some("echo/1")),
        (true, vec![], None),
        (false, vec![], None),
    ] {
        let mut with = (*ca.trusting(None)).clone();
        with.enable_sni = sni;
        with.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(with));
        let name = ServerName::try_from("LOCALHOST").unwrap();
        let mut client = connector.connect(name, relays.client().await).await.unwrap();
        let tlvs = header(&mut client).await.tlvs;
        assert_eq!(tlvs.get(Kind::Authority), sni.then_some(&b"localhost"[..]));
        assert_eq!(tlvs.get(Kind::Alpn), agreed.map(str::as_bytes));
    }
}

#[tokio::test]
async fn tls_that_ends_without_a_word_is_a_cut_and_no_end() {
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    let relays = relays(1, With { listener: &folder.tls(), ..With::default() }).await;
    let connector = tokio_rustls::TlsConnector::from(ca.trusting(None));
    for says_so in [true, false] {
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = connector.connect(name, relays.client().await).await.unwrap();
        said(&mut client, b"half of it").await;
        if says_so {
            client.shutdown().await.unwrap();
        } else {
            let socket = socket2::SockRef::from(client.get_ref().0);
            socket.shutdown(std::net::Shutdown::Write).unwrap();
        }
        assert_eq!(ends_well(client.get_mut().0).await, says_so);
        let (result, termination) = if says_so { ("ok", "--") } else { ("reset", "CB") };
        is_told(client.get_ref().0, result, termination).await;
    }
}

#[tokio::test]
async fn a_drain_lets_conns_go_on_until_its_time_is_up() {
    let rest = "[drain]\ndrain_timeout = \"1s\"\n";
    let relays = relays(1, With { rest, ..With::default() }).await;
    let mut client = relays.client().await;
    said(&mut client, b"x").await;
    relays.gateway.leave(Mode::Drain);
    within("nobody new", async {
        while TcpStream::connect(relays.address()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    client.write_all(b"still").await.unwrap();
    within("the echo", client.read_exact(&mut [0; 5])).await.unwrap();
    assert!(!ends_well(&mut client).await, "a cut is not an end");
    is_told(&client, "drained", "DB").await;
    within("the gateway ends", relays.gateway.ended()).await;
}

#[tokio::test]
async fn a_drain_is_over_when_the_last_conn_is() {
    let rest = "[drain]\ndrain_timeout = \"1h\"\n";
    let relays = relays(1, With { rest, ..With::default() }).await;
    let mut client = relays.client().await;
    said(&mut client, b"x").await;
    relays.gateway.leave(Mode::Drain);
    client.shutdown().await.unwrap();
    assert!(ends_well(&mut client).await);
    within("the gateway ends", relays.gateway.ended()).await;
}

#[tokio::test]
async fn a_caller_has_as_many_conns_as_it_may_and_an_upstream_too() {
    let listener = "max_conns_per_caller = 1\n";
    let callers = relays(1, With { listener, ..With::default() }).await;
    let (mut one, mut two) = (callers.client().await, callers.client_from("127.0.0.9").await);
    said(&mut one, b"x").await;
    said(&mut two, b"x").await;
    let more = callers.is_reset(&callers.home).await;
    is_told_of(more, "max_conns_per_caller", "FH").await;
    callers.until_rejected("max_conns_per_caller").await;

    let (upstream, rest) = (", max_sessions = 1", "[pool.caps]\nqueue_timeout = \"400ms\"\n");
    let full = relays(1, With { upstream, rest, ..With::default() }).await;
    let mut first = full.client().await;
    said(&mut first, b"x").await;
    let waits = full.is_reset(&full.home).await;
    is_told_of(waits, "overloaded", "FQ").await;
    let rest = "[pool.caps]\nqueue_timeout = \"1h\"\n";
    let patient = relays(1, With { upstream, rest, ..With::default() }).await;
    let mut first = patient.client().await;
    said(&mut first, b"x").await;
    let (leaves, mut waits) = (patient.client().await, patient.client().await);
    patient.until("two wait", |m| m.sum("fairlead_queue_depth", &[]) == 2.0).await;
    let left = leaves.local_addr().unwrap();
    socket2::SockRef::from(&leaves).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(leaves);
    let (result, termination, _) = told(left).await;
    assert_eq!((result.as_str(), termination.as_str()), ("reset", "CQ"));
    drop(first);
    assert_eq!(said(&mut waits, b"at last").await.1, b"at last");
}

#[tokio::test]
async fn who_proves_nothing_is_reset_where_proof_is_asked_for() {
    let listener = "authentication = \"required\"\n[[listener.identity]]\nsource = \"source_ip\"\n\
                    ranges = [{ cidr = \"127.0.0.5\", user = \"five\" }]\n";
    let folder = Folder::new(&Ca::new());
    let top = folder.state();
    let relays = relays(1, With { top: &top, listener, ..With::default() }).await;
    let mut five = relays.client_from("127.0.0.5").await;
    said(&mut five, b"x").await;
    let other = relays.is_reset("127.0.0.6").await;
    is_told_of(other, "unauthenticated", "FH").await;
    relays.until_rejected("unauthenticated").await;
    five.shutdown().await.unwrap();
    assert!(ends_well(&mut five).await);
    let line = is_told(&five, "ok", "--").await;
    assert_eq!((&line["identity"], &line["proof"]), (&"five".into(), &"source_ip".into()));
}

#[tokio::test]
async fn a_conn_counts_as_one_request_of_its_caller() {
    let listener = "rate = { requests = 2, per = \"1h\" }\n";
    let relays = relays(1, With { listener, ..With::default() }).await;
    for _ in 0..2 {
        said(&mut relays.client().await, b"x").await;
    }
    let third = relays.is_reset(&relays.home).await;
    is_told_of(third, "rate_limited", "FH").await;
}

#[tokio::test]
async fn an_sdk_reaches_a_cli_through_it() {
    let rig = clis(2).listener("protocol = \"tcp\"").health("probe = \"ping\"").start().await;
    let client = rig.client().await;
    create(&client, "opaque").await;
    assert!(!turn(&client, "opaque", "hello").await.is_empty());
    detach(&client, "opaque").await;
}
