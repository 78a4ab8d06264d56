//! Connections that end in the middle: by a half-close, a reset, or a server that has said enough.

use std::time::Duration;

use super::*;
use crate::client::Gone;

/// What a server that closes too early may leave a client with.
fn is_cut_or_refused(answer: &Result<Answer, Gone>) -> bool {
    match answer {
        Ok(answer) => answer.status == 502,
        Err(gone) => matches!(gone, Gone::Closed | Gone::Cut(_)),
    }
}

#[test]
fn a_client_that_says_no_more_after_its_request_gets_its_answer() {
    let gate = Gate::default();
    let held = gate.clone();
    let bed = bed(move |head, talk| {
        if head.target == "/held" {
            held.wait();
        }
        talk.echo(head)
    });
    let request = "POST /at-once HTTP/1.1\r\nHost: edge\r\nContent-Length: 5\r\n\r\nhello";
    for _ in 0..20 {
        let mut client = bed.client();
        client.send(request);
        client.finish();
        assert_eq!(client.answer("POST").unwrap().status, 200);
        assert_eq!(client.until_end().1, Ok(()), "the conn ends after it");
    }
    let mut client = bed.client();
    client.send(get("/held"));
    bed.until_seen("/held", 0);
    client.finish();
    bed.innocent();
    gate.open();
    assert_eq!(client.answer("GET").unwrap().status, 200);
}

#[test]
fn a_client_that_says_no_more_is_not_worked_for_without_end() {
    let gate = Gate::default();
    let left = gate.clone();
    let bed = bed(move |head, talk| {
        if head.target != "/never" {
            return talk.echo(head);
        }
        talk.rest()?;
        // It says nothing, and sees whether anybody still listens.
        let over = talk.read();
        left.open();
        over.map(drop)
    });
    let mut client = bed.client();
    client.send(get("/never"));
    bed.until_seen("/never", 0);
    client.finish();
    gate.wait();
    assert_ne!(client.answer("GET").map(|a| a.status), Ok(200));
}

#[test]
fn half_a_request_is_never_taken_for_a_whole_one() {
    let bed = bed(|head, talk| talk.echo(head));
    let halves = [
        ("/length", "Content-Length: 100\r\n\r\nhello"),
        ("/chunks", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
    ];
    for (target, rest) in halves {
        for resets in [false, true] {
            let target = format!("{target}/{resets}");
            let mut client = bed.client();
            client.send(format!("POST {target} HTTP/1.1\r\nHost: edge\r\n{rest}"));
            bed.until_seen(&target, 5);
            match resets {
                true => client.reset(),
                false => {
                    client.finish();
                    let (_, end) = client.until_end();
                    assert_ne!(end, Err(Gone::Silent), "{target}: nothing hangs");
                }
            }
            bed.until_closed(&target);
            let conns = bed.backend.conns();
            let request = conns.iter().flat_map(|c| &c.requests).find(|r| r.head.target == target);
            assert!(!request.unwrap().complete, "{target}");
        }
    }
    bed.innocent();
}

#[test]
fn a_client_that_goes_away_in_the_middle_of_an_answer_stops_it() {
    let bed = bed(|_, talk| {
        talk.rest()?;
        talk.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        // Without end: only the client's leaving ends it.
        loop {
            talk.send(format!("1000\r\n{}\r\n", "x".repeat(0x1000)))?;
        }
    });
    for resets in [false, true] {
        let target = format!("/endless/{resets}");
        let mut client = bed.client();
        client.send(get(&target));
        client.head().unwrap();
        client.chunk().unwrap();
        if resets {
            client.reset();
        } else {
            drop(client);
        }
        bed.until_closed(&target);
    }
    bed.innocent();
}

#[test]
fn a_server_that_resets_in_the_middle_of_an_answer_leaves_no_whole_one() {
    let bed = bed(|head, talk| {
        talk.rest()?;
        talk.send(match head.target.as_str() {
            "/length" => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello",
            "/chunks" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "/chunk" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100\r\nhello",
            "/head" => "HTTP/1.1 200 OK\r\nContent-Le",
            _ => "HTTP/1.1 200 OK\r\n\r\nhello",
        })?;
        // Only when the client has it, so that the reset cannot overtake it.
        if head.target != "/head" {
            talk.wait_for_leave();
        }
        Err(talk.reset())
    });
    for target in ["/length", "/chunks", "/chunk", "/until-close"] {
        let mut client = bed.client();
        client.send(get(target));
        let mut head = client.head().unwrap();
        assert_eq!(head.status, 200);
        assert_eq!(head.body, b"");
        head.body = first_bytes(&mut client, &head);
        bed.backend.go_on();
        let (rest, end) = client.until_end();
        let whole = end.is_ok() && ends_whole(&head, &rest);
        assert!(!whole, "{target}: {:?} then {end:?}", String::from_utf8_lossy(&rest));
    }
    let mut client = bed.client();
    client.send(get("/head"));
    assert_problem(&client.answer("GET").unwrap(), 502, "upstream_lost");
    bed.innocent();
}

/// The first five bytes of the body, framed or not.
fn first_bytes(client: &mut Client, head: &Answer) -> Vec<u8> {
    match head.field("transfer-encoding") {
        Some(_) => client.chunk().unwrap().unwrap(),
        None => client.exactly(5).unwrap(),
    }
}

/// Whether this is how an answer with such a head ends.
fn ends_whole(head: &Answer, rest: &[u8]) -> bool {
    match (head.field("transfer-encoding"), head.field("content-length")) {
        (Some(_), _) => rest.ends_with(b"0\r\n\r\n"),
        (None, Some(length)) => rest.len() + head.body.len() == length.parse::<usize>().unwrap(),
        (None, None) => true,
    }
}

#[test]
fn a_server_that_answers_before_it_has_the_body_is_heard() {
    let bed = bed(|head, talk| {
        talk.send(
            "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno!",
        )?;
        match head.target.as_str() {
            // Reads it to the end, as it should.
            "/reads" => talk.rest().and(Err(Closed)),
            // Says that it says no more, and reads what comes.
            "/half" => {
                talk.finish()?;
                talk.rest().and(Err(Closed))
            }
            _ => Err(Closed),
        }
    });
    for target in ["/reads", "/half", "/closes"] {
        for (framing, body) in [
            (format!("Content-Length: {}", 3_000_000), vec![b'x'; 3_000_000]),
            ("Content-Length: 5".to_owned(), b"hello".to_vec()),
            ("Expect: 100-continue\r\nContent-Length: 5".to_owned(), Vec::new()),
        ] {
            let mut client = bed.client();
            let head = format!("POST {target} HTTP/1.1\r\nHost: edge\r\n{framing}\r\n\r\n");
            client.send(head);
            // As much as it takes.
            client.send(&body);
            let answer = client.answer("POST");
            // A server that closes over unread bytes resets, and a reset overtakes: then there is no answer to be had.
            let reset = target == "/closes" && is_cut_or_refused(&answer);
            let seen = answer.as_ref().map(|a| (a.status, a.text()));
            assert!(reset || seen == Ok((413, "no!".to_owned())), "{target} {framing}: {seen:?}");
        }
    }
    bed.innocent();
}

#[test]
fn an_answer_before_the_body_does_not_make_the_body_the_next_request() {
    let hidden = get("/hidden");
    let bed = bed(|_, talk| {
        // A keep-alive answer at once; the body is read after it.
        talk.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly")?;
        talk.rest().map(drop)
    });
    for _ in 0..10 {
        let mut client = bed.client();
        let length = hidden.len();
        client.send(format!(
            "POST /early HTTP/1.1\r\nHost: edge\r\nContent-Length: {length}\r\n\r\n"
        ));
        assert_eq!(client.answer("POST").unwrap().text(), "early");
        client.send(&hidden);
        client.send(get("/behind"));
        // It is answered, or the conn is closed; what was the body is no request.
        let _ = client.answer("GET");
        bed.innocent();
    }
    assert_eq!(bed.count("/hidden"), 0);
    let faults: Vec<_> = bed.backend.conns().into_iter().filter_map(|c| c.fault).collect();
    assert_eq!(faults, [""; 0]);
}

#[test]
fn a_server_that_says_more_than_its_answer_is_not_heard_by_the_next() {
    let bed = bed(|_, talk| {
        talk.rest()?;
        let stray = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstray!";
        talk.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello{stray}"))
    });
    for nth in 0..20 {
        let mut client = bed.client();
        client.send(get(&format!("/more/{nth}")));
        assert_eq!(client.answer("GET").unwrap().text(), "hello", "{nth}");
        client.send(get("/again"));
        match client.answer("GET") {
            Ok(answer) => assert_eq!(answer.text(), "hello", "{nth}: the same conn"),
            Err(gone) => assert_eq!(gone, Gone::Closed),
        }
        bed.innocent();
    }
}

#[test]
fn an_answer_that_can_be_read_in_two_ways_reaches_nobody() {
    let answers = [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!!\r\n0\r\n\r\n",
        "HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello",
        "HTTP/1.1 101 Switching Protocols\r\n\r\nhello",
        "ICY 200 OK\r\n\r\nhello",
        "\r\n\r\nhello",
        "hello",
        "\0\0\0\0",
    ];
    let bed = bed(move |head, talk| {
        talk.rest()?;
        let nth: usize = head.target.trim_start_matches("/odd/").parse().unwrap();
        talk.send(answers[nth])?;
        Err(Closed)
    });
    for (nth, bytes) in answers.iter().enumerate() {
        let mut client = bed.client();
        client.send(get(&format!("/odd/{nth}")));
        let answer = client.answer("GET");
        assert!(is_cut_or_refused(&answer), "{bytes:?}: {answer:?}");
        bed.innocent();
    }
}

#[test]
fn a_client_that_does_not_read_costs_little_memory() {
    const WHOLE: usize = 200 << 20;
    let bed = bed(|_, talk| {
        talk.rest()?;
        talk.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {WHOLE}\r\n\r\n"))?;
        talk.fill(WHOLE)
    });
    bed.innocent();
    let before = bed.peer.peak();
    let mut client = bed.client();
    client.send(get("/endless"));
    client.head().unwrap();
    // The backend cannot go on, because nobody takes it any more.
    let sent = bed.backend.until_stuck(Duration::from_millis(300));
    assert!(sent < 32 << 20, "{sent} bytes were taken of the backend");
    let grown = bed.peer.peak() - before;
    assert!(grown < 16 << 20, "it grew by {grown} bytes");
    // And when it reads, all is there.
    assert_eq!(client.exactly(WHOLE).unwrap().len(), WHOLE);
}

#[test]
fn a_server_that_does_not_read_costs_little_memory() {
    let gate = Gate::default();
    let held = gate.clone();
    let bed = bed(move |head, talk| {
        held.wait();
        talk.echo(head)
    });
    bed.innocent();
    let before = bed.peer.peak();
    let mut client = bed.client().patience(Duration::from_millis(300));
    let piece = vec![b'x'; 1 << 20];
    client.send("POST /up HTTP/1.1\r\nHost: edge\r\nContent-Length: 1000000000\r\n\r\n");
    let sent = (0..100).take_while(|_| client.send(&piece)).count();
    assert!(sent < 32, "{sent} MiB were taken of the client");
    let grown = bed.peer.peak() - before;
    assert!(grown < 16 << 20, "it grew by {grown} bytes");
    gate.open();
}
