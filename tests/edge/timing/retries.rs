//! Servers that close without an answer: what may be sent again is, and nothing else.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::client::Gone;

/// Closes without a word on the second request of each connection.
fn closes_on_the_second() -> Bed {
    let seen = Mutex::new(Vec::<usize>::new());
    bed(move |head, talk| {
        let again = {
            let mut seen = seen.lock().unwrap();
            let again = seen.contains(&talk.conn);
            seen.push(talk.conn);
            again
        };
        if again { Err(Closed) } else { talk.echo(head) }
    })
}

/// One answered request on a connection that is kept.
fn warm(bed: &Bed, nth: usize) {
    let mut client = bed.client();
    client.send(get(&format!("/warm/{nth}")));
    assert_eq!(client.answer("GET").unwrap().status, 200);
}

#[test]
fn a_get_that_met_a_closing_connection_is_sent_again() {
    let bed = closes_on_the_second();
    for nth in 0..10 {
        warm(&bed, nth);
        let mut client = bed.client();
        client.send(get(&format!("/again/{nth}")));
        let answer = client.answer("GET").unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[test]
fn a_post_is_never_sent_twice() {
    let bed = closes_on_the_second();
    let (mut lost, mut answered) = (0, 0);
    for nth in 0..20 {
        warm(&bed, nth);
        for (way, framing) in [
            ("length", "Content-Length: 5\r\n\r\nhello"),
            ("chunks", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
            ("none", "\r\n"),
        ] {
            let target = format!("/post/{way}/{nth}");
            let mut client = bed.client();
            client.send(format!("POST {target} HTTP/1.1\r\nHost: edge\r\n{framing}"));
            match client.answer("POST").unwrap() {
                answer if answer.status == 200 => answered += 1,
                answer => {
                    assert_problem(&answer, 502, "upstream_lost");
                    lost += 1;
                }
            }
            assert_eq!(bed.count(&target), 1, "{target} was sent more than once, or not at all");
        }
    }
    assert!(lost > 0, "no POST met a closing connection ({answered} were answered)");
}

#[test]
fn a_connection_that_closed_while_idle_is_not_used() {
    let bed = bed(|head, talk| {
        talk.echo(head)?;
        // Closes behind each answer, without having said so.
        Err(Closed)
    });
    for nth in 0..50 {
        let mut client = bed.client();
        let target = format!("/post/{nth}");
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: edge\r\nContent-Length: 5\r\n\r\nhello"
        ));
        assert_eq!(client.answer("POST").unwrap().status, 200);
        // It is seen to be closed before the next, as it would be after any pause.
        bed.until_closed(&target);
        bed.innocent();
    }
}

#[test]
fn a_server_that_only_closes_is_an_error_with_a_reason() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let bed = bed(move |_, talk| {
        counted.fetch_add(1, Ordering::SeqCst);
        talk.rest()?;
        Err(Closed)
    });
    for method in ["GET", "POST", "PUT"] {
        let mut client = bed.client();
        client
            .send(format!("{method} /closes HTTP/1.1\r\nHost: edge\r\nContent-Length: 0\r\n\r\n"));
        assert_problem(&client.answer(method).unwrap(), 502, "upstream_lost");
    }
    let tries = count.load(Ordering::SeqCst);
    assert!((3..=9).contains(&tries), "{tries} tries of three requests");
    bed.innocent();
}

#[test]
fn nothing_is_sent_again_once_the_client_has_heard_of_it() {
    let bed = bed(|_, talk| {
        talk.rest()?;
        talk.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")?;
        Err(Closed)
    });
    let mut client = bed.client();
    client.send(get("/half"));
    let answer = client.answer("GET");
    assert!(matches!(answer, Err(Gone::Cut(_))), "{answer:?}");
    bed.innocent();
    assert_eq!(bed.count("/half"), 1);
}

#[test]
fn a_server_that_is_not_there_is_an_error_with_a_reason() {
    let gone = {
        let backend = Backend::echo();
        backend.address
    };
    let peer = peers::lone_fairlead(gone);
    let mut client = Client::connect(peer.h1);
    client.send(get("/nobody"));
    let answer = client.answer("GET").unwrap();
    let problem: Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(matches!(answer.status, 502 | 503), "{answer:?}");
    assert!(
        matches!(problem["reason"].as_str(), Some("upstream_lost" | "no_upstream")),
        "{problem}"
    );
}
