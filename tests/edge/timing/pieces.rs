//! Bytes that arrive in pieces, one at a time, split at each place: always the same message.

use std::sync::{Arc, Mutex};

use super::*;

const LENGTH: &str =
    "POST /one?x=y HTTP/1.1\r\nHost: edge\r\nX-A: b\r\nContent-Length: 11\r\n\r\nhello world";
const CHUNKED: &str = "POST /one?x=y HTTP/1.1\r\nHost: edge\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";

/// That the answer tells of the request above, and of nothing else.
fn assert_told(answer: &Answer, how: &str) {
    let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let seen = (answer.status, told["target"].as_str(), told["body"].as_str());
    assert_eq!(seen, (200, Some("/one?x=y"), Some("hello world")), "{how}: {}", answer.text());
}

#[test]
fn a_request_that_comes_byte_by_byte_is_the_same() {
    let bed = bed(|head, talk| talk.echo(head));
    for whole in [LENGTH, CHUNKED] {
        let mut client = bed.client();
        for byte in whole.as_bytes().chunks(1) {
            assert!(client.send(byte));
        }
        assert_told(&client.answer("POST").unwrap(), "byte by byte");
    }
}

#[test]
fn a_request_that_is_split_anywhere_is_the_same() {
    let bed = bed(|head, talk| talk.echo(head));
    for whole in [LENGTH, CHUNKED] {
        let mut clients: Vec<(usize, Client)> =
            (1..whole.len()).map(|at| (at, bed.client())).collect();
        for (at, client) in &mut clients {
            assert!(client.send(&whole[..*at]));
        }
        bed.innocent();
        for (at, client) in &mut clients {
            assert!(client.send(&whole[*at..]));
            assert_told(&client.answer("POST").unwrap(), &format!("split at {at}"));
        }
    }
    let faults: Vec<_> = bed.backend.conns().into_iter().filter_map(|c| c.fault).collect();
    assert_eq!(faults, [""; 0]);
}

#[test]
fn an_answer_that_is_split_anywhere_is_the_same() {
    let answers = [
        "HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 11\r\n\r\nhello world",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world",
    ];
    for whole in answers {
        let (begun, gate) = (Count::default(), Gate::default());
        let (counted, held) = (begun.clone(), gate.clone());
        let bed = bed(move |head, talk| {
            talk.rest()?;
            let at: usize = head.target.trim_start_matches("/split/").parse().unwrap();
            talk.send(&whole[..at])?;
            counted.add();
            held.wait();
            talk.send(&whole[at..])
        });
        let mut clients: Vec<(usize, Client)> =
            (1..whole.len()).map(|at| (at, bed.client())).collect();
        for (at, client) in &mut clients {
            assert!(client.send(get(&format!("/split/{at}"))));
        }
        begun.until(clients.len());
        bed.innocent();
        gate.open();
        for (at, client) in &mut clients {
            let answer = client.answer("GET");
            let seen = answer.as_ref().map(|a| (a.status, a.text()));
            assert_eq!(seen, Ok((200, "hello world".to_owned())), "split at {at}: {answer:?}");
        }
    }
}

#[test]
fn a_slow_body_goes_up_as_it_comes() {
    let bed = bed(|head, talk| talk.echo(head));
    for (framing, pieces) in [
        ("Content-Length: 9", ["one", "two", "six"]),
        ("Transfer-Encoding: chunked", ["3\r\none\r\n", "3\r\ntwo\r\n", "3\r\nsix\r\n0\r\n\r\n"]),
    ] {
        let target = format!("/slow/{}", framing.len());
        let mut client = bed.client();
        client.send(format!("POST {target} HTTP/1.1\r\nHost: edge\r\n{framing}\r\n\r\n"));
        for (nth, piece) in pieces.iter().enumerate() {
            client.send(piece);
            // What was sent is there before the next is sent: nothing is held back.
            bed.until_seen(&target, 3 * (nth + 1));
        }
        let told: Value = serde_json::from_slice(&client.answer("POST").unwrap().body).unwrap();
        assert_eq!(told["body"], "onetwosix");
    }
}

#[test]
fn pipelined_requests_are_answered_in_their_order_beside_a_slow_first() {
    let gate = Gate::default();
    let held = gate.clone();
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = order.clone();
    let bed = bed(move |head, talk| {
        seen.lock().unwrap().push(head.target.clone());
        if head.target == "/slow" {
            held.wait();
        }
        talk.echo(head)
    });
    let mut client = bed.client();
    client.send([get("/slow"), get("/second"), get("/third")].concat());
    bed.until_seen("/slow", 0);
    // Others are not held up by it.
    bed.innocent();
    gate.open();
    for target in ["/slow", "/second", "/third"] {
        let answer = client.answer("GET").unwrap();
        let told: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(told["target"], target);
    }
    assert_eq!(*order.lock().unwrap(), ["/slow", "/second", "/third"]);
}
