//! Those who take their time: nobody waits for them without a bound.

use std::time::Duration;

use super::*;
use crate::client::Gone;

/// Longer than the bounds of the configuration, far shorter than what a client would wait by itself.
const BOUND: Duration = Duration::from_secs(10);

/// Between two bytes of a client that wants to stay.
const DRIP: Duration = Duration::from_millis(50);

/// Sends a byte, and again, until it is sent away; `false` if it never is.
fn drips(bed: &Bed, begins: &str, drop: &str) -> bool {
    let mut client = bed.client().patience(DRIP);
    client.send(begins);
    let rounds = BOUND.as_millis() / DRIP.as_millis();
    (0..rounds).any(|_| {
        // The wait for an answer is the pause.
        !client.send(drop) || !matches!(client.answer("GET"), Err(Gone::Silent))
    })
}

#[test]
fn a_head_that_comes_for_ever_is_sent_away() {
    let bed = hasty_bed(|head, talk| talk.echo(head));
    std::thread::scope(|scope| {
        let bed = &bed;
        let ways = [
            ("a byte at a time", "GET /slow HTTP/1.1\r\nHost: edge\r\nX: ", "y"),
            ("a field at a time", "GET /slow HTTP/1.1\r\nHost: edge\r\n", "X: y\r\n"),
            ("an empty line at a time", "", "\r\n"),
            ("a letter of the method at a time", "", "G"),
        ];
        let runs =
            ways.map(|(way, begins, drop)| (way, scope.spawn(move || drips(bed, begins, drop))));
        for (way, run) in runs {
            assert!(run.join().unwrap(), "{way}");
        }
    });
    assert_eq!(bed.count("/slow"), 0);
    bed.innocent();
}

#[test]
fn a_conn_without_a_request_is_let_go() {
    let bed = hasty_bed(|head, talk| talk.echo(head));
    let mut silent = bed.client().patience(BOUND);
    let mut idle = bed.client().patience(BOUND);
    idle.send(get("/one"));
    assert_eq!(idle.answer("GET").unwrap().status, 200);
    for client in [&mut silent, &mut idle] {
        assert_ne!(client.until_end().1, Err(Gone::Silent));
    }
}

#[test]
fn a_body_that_stops_is_not_waited_for() {
    let bed = hasty_bed(|head, talk| talk.echo(head));
    let mut client = bed.client().patience(BOUND);
    client.send("POST /stops HTTP/1.1\r\nHost: edge\r\nContent-Length: 100\r\n\r\nhello");
    bed.until_seen("/stops", 5);
    assert_ne!(client.until_end().1, Err(Gone::Silent));
    bed.until_closed("/stops");
}

#[test]
fn a_server_that_never_answers_is_an_error_with_a_reason() {
    let gate = Gate::default();
    let held = gate.clone();
    let bed = hasty_bed(move |_, talk| {
        talk.rest()?;
        held.wait();
        Err(Closed)
    });
    let mut clients: Vec<_> =
        ["GET", "POST"].map(|method| (method, bed.client().patience(BOUND))).into();
    for (method, client) in &mut clients {
        client.send(format!(
            "{method} /never/{method} HTTP/1.1\r\nHost: edge\r\nContent-Length: 0\r\n\r\n"
        ));
    }
    for (method, client) in &mut clients {
        assert_problem(&client.answer(method).unwrap(), 504, "upstream_timeout");
        assert_eq!(bed.count(&format!("/never/{method}")), 1, "it was not sent again");
    }
    gate.open();
    bed.innocent();
}

#[test]
fn an_answer_that_stops_is_cut() {
    let gate = Gate::default();
    let held = gate.clone();
    let bed = hasty_bed(move |_, talk| {
        talk.rest()?;
        talk.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")?;
        held.wait();
        Err(Closed)
    });
    let mut client = bed.client().patience(BOUND);
    client.send(get("/stops"));
    let answer = client.answer("GET");
    gate.open();
    assert!(matches!(answer, Err(Gone::Cut(_))), "{answer:?}");
}
