//! What is told bit by bit: events, and connections that were upgraded.

use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::client::Gone;

const UPGRADE: &str = "GET /link HTTP/1.1\r\nHost: edge\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const UPGRADED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

#[test]
fn each_event_comes_before_the_next_is_sent() {
    let (tell, told) = channel();
    let told = Mutex::new(told);
    let bed = bed(move |head, talk| {
        talk.rest()?;
        let chunked = head.target == "/chunked";
        let framing = if chunked { "Transfer-Encoding: chunked" } else { "Connection: close" };
        talk.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{framing}\r\n\r\n"
        ))?;
        let told: &Receiver<usize> = &told.lock().unwrap();
        for nth in 0..20 {
            let event = format!("data: {nth:03}\n\n");
            talk.send(if chunked { format!("{:x}\r\n{event}\r\n", event.len()) } else { event })?;
            // Goes on only when the client has it.
            assert_eq!(told.recv_timeout(DEADLINE), Ok(nth));
        }
        match chunked {
            true => talk.send("0\r\n\r\n"),
            false => Err(Closed),
        }
    });
    for target in ["/chunked", "/until-close"] {
        let mut client = bed.client();
        client.send(get(target));
        let head = client.head().unwrap();
        let chunked = head.field("transfer-encoding").is_some();
        for nth in 0..20 {
            let event = match chunked {
                true => client.chunk().unwrap().unwrap(),
                false => client.exactly(11).unwrap(),
            };
            assert_eq!(String::from_utf8_lossy(&event), format!("data: {nth:03}\n\n"));
            tell.send(nth).unwrap();
        }
    }
}

/// Upgrades, then sends back what comes, in other pieces, until the other side says no more.
fn mirror() -> Bed {
    bed(|head, talk| {
        talk.rest()?;
        if head.one("upgrade").is_none() {
            return talk.send("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n");
        }
        // The first words come with the head.
        talk.send(format!("{UPGRADED}first words"))?;
        let early = talk.unread();
        talk.send(early)?;
        while let Ok(bytes) = talk.read() {
            for piece in bytes.chunks(1000) {
                talk.send(piece)?;
            }
        }
        talk.send("last words")?;
        Err(Closed)
    })
}

#[test]
fn an_upgraded_conn_carries_every_byte_both_ways() {
    let bed = mirror();
    let mut client = bed.client();
    // The client's first words come with its request.
    client.send([UPGRADE, "early"].concat());
    let answer = client.answer("GET").unwrap();
    assert_eq!((answer.status, answer.field("upgrade").as_deref()), (101, Some("websocket")));
    assert_eq!(client.exactly(11).unwrap(), b"first words");
    assert_eq!(client.exactly(5).unwrap(), b"early");
    let bytes: Vec<u8> = (0..400_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    for piece in bytes.chunks(40_000) {
        client.send(piece);
        assert_eq!(client.exactly(piece.len()).unwrap(), piece);
    }
    client.finish();
    let (rest, end) = client.until_end();
    assert_eq!((String::from_utf8_lossy(&rest).as_ref(), end), ("last words", Ok(())));
}

#[test]
fn an_upgraded_conn_ends_with_its_other_side() {
    let bed = bed(|_, talk| {
        talk.rest()?;
        talk.send(UPGRADED)?;
        talk.read()?;
        Err(Closed)
    });
    let mut client = bed.client();
    client.send(UPGRADE);
    assert_eq!(client.answer("GET").unwrap().status, 101);
    client.send("end");
    assert_ne!(client.until_end().1, Err(Gone::Silent));
    let bed = mirror();
    let mut client = bed.client();
    client.send(UPGRADE);
    assert_eq!(client.answer("GET").unwrap().status, 101);
    client.reset();
    bed.until_closed("/link");
}

#[test]
fn an_upgrade_that_is_refused_leaves_a_conn_for_requests_or_none() {
    let bed = bed(|head, talk| {
        talk.rest()?;
        match head.target.as_str() {
            "/link" => talk.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"),
            _ => talk.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"),
        }
    });
    let mut client = bed.client();
    client.send(UPGRADE);
    let answer = client.answer("GET").unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
    // What is no request goes nowhere.
    client.send("GET /tunnelled HTTP/1.1\r\nHost : edge\r\n\r\n");
    let answer = client.answer("GET");
    assert!(
        matches!(&answer, Ok(a) if a.status == 400) || answer == Err(Gone::Closed),
        "{answer:?}"
    );
    bed.innocent();
    assert_eq!(bed.count("/tunnelled"), 0);
    assert!(bed.backend.conns().iter().all(|c| c.fault.is_none()));
}
