//! Clients of h2 that are slow, greedy or hostile: they cost little, and others do not feel them.

use std::time::Duration;

use super::*;
use crate::client::Gone;
use crate::frames::*;

/// A request without a body, as a block.
fn asking(target: &str) -> Vec<u8> {
    let fields: [(&[u8], &[u8]); 4] = [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":authority", b"edge"),
        (b":path", target.as_bytes()),
    ];
    block(&fields)
}

fn ask(stream: u32, target: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &asking(target))
}

/// A client that has said the preface, with these settings.
fn link(bed: &Bed, settings: &[u8]) -> Client {
    let mut client = Client::connect(bed.peer.h2).patience(Duration::from_millis(300));
    client.send([PREFACE, &frame(SETTINGS, 0, 0, settings)[..]].concat());
    client
}

/// The next frame: kind, flags, stream and payload.
fn next(client: &mut Client) -> Result<(u8, u8, u32, Vec<u8>), Gone> {
    let head = client.exactly(9)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
    Ok((head[3], head[4], stream, client.exactly(length)?))
}

/// Reads until this holds of a frame.
fn until(client: &mut Client, so: impl Fn(u8, u8, u32) -> bool) -> Result<(), Gone> {
    loop {
        let (kind, flags, stream, _) = next(client)?;
        if so(kind, flags, stream) {
            return Ok(());
        }
    }
}

/// What streams that are reset at once may have let through, and what they cost.
#[test]
fn streams_that_are_reset_as_soon_as_they_open_cost_little() {
    let bed = bed(|head, talk| talk.echo(head));
    bed.innocent();
    let before = bed.peer.peak();
    let mut client = link(&bed, &[]);
    for nth in 0..20_000_u32 {
        let stream = 2 * nth + 1;
        let pair = [ask(stream, "/reset"), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat();
        if !client.send(pair) {
            break;
        }
    }
    bed.innocent();
    let grown = bed.peer.peak() - before;
    assert!(grown < 16 << 20, "it grew by {grown} bytes");
    // It was sent away before the end.
    let (_, end) = client.until_end();
    assert_ne!(end, Err(Gone::Silent), "it stays open");
}

#[test]
fn a_client_that_opens_no_window_costs_little_memory() {
    const WHOLE: usize = 100 << 20;
    let bed = bed(|_, talk| {
        talk.rest()?;
        talk.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {WHOLE}\r\n\r\n"))?;
        talk.fill(WHOLE)
    });
    bed.innocent();
    let before = bed.peer.peak();
    // SETTINGS_INITIAL_WINDOW_SIZE of nothing.
    let mut client = link(&bed, &[0, 4, 0, 0, 0, 0]);
    for stream in [1, 3, 5, 7, 9] {
        client.send(ask(stream, "/endless"));
    }
    let sent = bed.backend.until_stuck(Duration::from_millis(300));
    assert!(sent < 40 << 20, "{sent} bytes were taken of the backend");
    let grown = bed.peer.peak() - before;
    assert!(grown < 16 << 20, "it grew by {grown} bytes");
    bed.innocent();
}

#[test]
fn floods_of_frames_that_want_an_answer_cost_little() {
    let bed = bed(|head, talk| talk.echo(head));
    bed.innocent();
    let before = bed.peer.peak();
    let floods: [(&str, Vec<u8>); 3] = [
        ("pings", frame(PING, 0, 0, &[7; 8])),
        ("settings", frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])),
        ("windows", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
    ];
    for (name, one) in floods {
        let mut client = link(&bed, &[]);
        let many = one.repeat(1000);
        // Nothing is read of what comes back.
        (0..200).take_while(|_| client.send(&many)).count();
        bed.innocent();
        let grown = bed.peer.peak().saturating_sub(before);
        assert!(grown < 32 << 20, "{name}: it grew by {grown} bytes");
    }
}

#[test]
fn streams_beside_a_slow_one_are_answered() {
    let gate = Gate::default();
    let held = gate.clone();
    let bed = bed(move |head, talk| {
        if head.target == "/slow" {
            held.wait();
        }
        talk.echo(head)
    });
    let mut client = link(&bed, &[]).patience(DEADLINE);
    client.send(ask(1, "/slow"));
    for stream in [3, 5, 7] {
        client.send(ask(stream, "/fast"));
        until(&mut client, |kind, flags, of| {
            assert_ne!(of, 1, "the slow one is not answered yet");
            kind == DATA && flags & END_STREAM != 0 && of == stream
        })
        .unwrap();
    }
    gate.open();
    until(&mut client, |kind, flags, of| kind == DATA && flags & END_STREAM != 0 && of == 1)
        .unwrap();
}

#[test]
fn a_stream_that_is_reset_is_let_go_behind() {
    let gate = Gate::default();
    let held = gate.clone();
    let bed = bed(move |head, talk| {
        if head.target == "/endless" {
            talk.rest()?;
            talk.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            loop {
                talk.send(format!("1000\r\n{}\r\n", "x".repeat(0x1000)))?;
            }
        }
        held.wait();
        talk.echo(head)
    });
    let mut client = link(&bed, &[]).patience(DEADLINE);
    client.send(ask(1, "/endless"));
    until(&mut client, |kind, _, stream| kind == DATA && stream == 1).unwrap();
    client.send(frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]));
    bed.until_closed("/endless");
    // The conn goes on, with the window that the other has used.
    gate.open();
    client.send(frame(WINDOW_UPDATE, 0, 0, &[0, 0x10, 0, 0]));
    client.send(ask(3, "/next"));
    until(&mut client, |kind, flags, of| kind == DATA && flags & END_STREAM != 0 && of == 3)
        .unwrap();
}

#[test]
fn an_h2_client_that_says_nothing_is_let_go() {
    let bed = hasty_bed(|head, talk| talk.echo(head));
    let mut silent = Client::connect(bed.peer.h2);
    let mut half = Client::connect(bed.peer.h2);
    half.send(&PREFACE[..10]);
    let mut idle = link(&bed, &[]).patience(DEADLINE);
    let mut unfinished = link(&bed, &[]).patience(DEADLINE);
    unfinished.send(frame(HEADERS, END_STREAM, 1, &asking("/unfinished")));
    for client in [&mut silent, &mut half, &mut idle, &mut unfinished] {
        assert_ne!(client.until_end().1, Err(Gone::Silent));
    }
    assert_eq!(bed.count("/unfinished"), 0);
}
