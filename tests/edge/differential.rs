//! Well-formed requests get the same answers direct, through fairlead, through nginx and through HAProxy; and the backend sees
//! the same requests. What may differ is named, with its reason.

#[path = "differential/exchange.rs"]
mod exchange;
#[path = "differential/inspected.rs"]
mod inspected;
#[path = "differential/replies.rs"]
mod replies;
#[path = "differential/table.rs"]
mod table;

use std::net::SocketAddr;

use self::exchange::{Exchange, Outcome};
use super::backend::Backend;
use super::peers::{self, Peer};

/// Fields of an answer that belong to one hop, or that a proxy may write.
const OF_ANSWERS: &[(&str, &str)] = &[
    ("connection", "one hop's (RFC 9110 7.6.1)"),
    ("keep-alive", "one hop's"),
    ("transfer-encoding", "one hop's framing; the body is compared"),
    (
        "content-length",
        "a proxy may frame anew; the body is compared, and the length where there is none",
    ),
    ("date", "a proxy adds one where there is none (RFC 9110 6.6.1)"),
    ("via", "a proxy may say that it was there"),
    ("trailer", "announces trailers, which are compared where they pass"),
    ("traceparent", "written by each hop"),
];

/// Fields of a request that belong to one hop, or that a proxy writes.
const OF_REQUESTS: &[(&str, &str)] = &[
    ("connection", "one hop's (RFC 9110 7.6.1)"),
    ("keep-alive", "one hop's"),
    ("transfer-encoding", "one hop's framing; the body is compared"),
    ("content-length", "a proxy may frame anew; the body is compared"),
    ("te", "one hop's"),
    ("trailer", "announces trailers, which a proxy may drop (RFC 9110 6.5.1)"),
    ("expect", "a proxy may ask for the body itself (RFC 9110 10.1.1)"),
    ("via", "a proxy may say that it was there"),
    ("forwarded", "says who asked (RFC 7239)"),
    ("x-forwarded-for", "says who asked"),
    ("x-forwarded-proto", "says how"),
    ("x-forwarded-host", "says for what"),
    ("x-forwarded-port", "says where"),
    ("x-real-ip", "says who asked"),
    ("traceparent", "written by each hop"),
    ("tracestate", "written with traceparent"),
    ("x-request-id", "a proxy may name what has no name"),
];

/// Starts a proxy in front of a backend.
type Start = fn(SocketAddr) -> Peer;

/// Plays the table at this address, where this backend is reached.
fn play(table: &[Exchange], address: SocketAddr, backend: &Backend) -> Vec<Outcome> {
    table.iter().map(|exchange| exchange.play(address, backend)).collect()
}

fn through(table: &[Exchange], start: Start) -> Vec<Outcome> {
    let backend = Backend::start(replies::script);
    let peer = start(backend.address);
    play(table, peer.h1, &backend)
}

#[test]
fn answers_and_requests_are_the_same_direct_and_through_each_proxy() {
    let table = &table::table();
    let (direct, others) = std::thread::scope(|scope| {
        let starts: [(&str, Start); 3] =
            [("fairlead", peers::fairlead), ("nginx", peers::nginx), ("HAProxy", peers::haproxy)];
        let runs = starts.map(|(name, start)| (name, scope.spawn(move || through(table, start))));
        let backend = Backend::start(replies::script);
        let direct = play(table, backend.address, &backend);
        (direct, runs.map(|(name, run)| (name, run.join().unwrap())))
    });
    let mut wrong = Vec::new();
    for (nth, exchange) in table.iter().enumerate() {
        assert!(direct[nth].is_whole(), "{}: not even direct: {:#?}", exchange.name, direct[nth]);
        for (name, outcomes) in &others {
            let may = exchange.may(name);
            let differences = direct[nth].differences(&outcomes[nth], &may);
            wrong.extend(differences.map(|what| format!("{name}, {}: {what}", exchange.name)));
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_comparison_can_fail() {
    let table = [table::plain("GET", "/echo"), table::plain("GET", "/reply/plain")];
    let backend = Backend::start(replies::script);
    let [one, other] = &play(&table, backend.address, &backend)[..] else { panic!("two") };
    assert_eq!(one.differences(one, &[]).next(), None);
    for change in exchange::changes(one) {
        let differences: Vec<String> = one.differences(&change, &[]).collect();
        assert_eq!(differences.len(), 1, "{change:#?}: {differences:?}");
    }
    assert!(one.differences(other, &[]).count() > 1);
}
