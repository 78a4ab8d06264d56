//! h2 made into HTTP/1.1: RFC 9113 8. What is only bytes in a frame is a line or a second request where it comes out.

#[path = "two/fields.rs"]
mod fields;

use std::net::SocketAddr;
use std::time::Duration;

use super::case::{Case, Meaning, expect, get, post};
use crate::client::{Client, Gone};
use crate::frames::*;

/// The stream of every case. What is behind it has the next.
const STREAM: u32 = 1;
const BEHIND: u32 = 3;

type Fields<'a> = Vec<(&'a [u8], &'a [u8])>;

/// Sends the frames, a request for `behind` after them, and reads until both are answered, or the connection ends.
pub(super) fn send(to: SocketAddr, frames: &[u8], behind: &[u8], patience: Duration) {
    let mut client = Client::connect(to).patience(patience);
    let mut asked = request("GET", "");
    asked.pop();
    asked.push((b":path", behind));
    let mut first = PREFACE.to_vec();
    first.extend(frame(SETTINGS, 0, 0, &[]));
    first.extend(frames);
    first.extend(frame(HEADERS, END_STREAM | END_HEADERS, BEHIND, &block(&asked)));
    client.send(first);
    let mut open = vec![STREAM, BEHIND];
    while !open.is_empty() {
        let Ok((kind, flags, stream)) = one(&mut client) else { return };
        match kind {
            GOAWAY => return,
            SETTINGS if flags & ACK == 0 => drop(client.send(frame(SETTINGS, ACK, 0, &[]))),
            RST_STREAM => open.retain(|s| *s != stream),
            DATA | HEADERS if flags & END_STREAM != 0 => open.retain(|s| *s != stream),
            _ => {}
        }
    }
}

fn one(client: &mut Client) -> Result<(u8, u8, u32), Gone> {
    let head = client.exactly(9)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    client.exactly(length)?;
    Ok((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff))
}

/// The pseudo fields of a request.
fn request<'a>(method: &'a str, path: &'a str) -> Fields<'a> {
    vec![
        (b":method", method.as_bytes()),
        (b":scheme", b"http"),
        (b":authority", b"edge"),
        (b":path", path.as_bytes()),
    ]
}

/// A GET with these fields behind the pseudo fields.
fn getting(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let all = [&request("GET", "/case")[..], fields].concat();
    frame(HEADERS, END_STREAM | END_HEADERS, STREAM, &block(&all))
}

/// A POST with these fields, and a body in frames of DATA.
fn posting(fields: &[(&[u8], &[u8])], body: &[&[u8]]) -> Vec<u8> {
    let all = [&request("POST", "/case")[..], fields].concat();
    let mut frames = frame(HEADERS, END_HEADERS, STREAM, &block(&all));
    for (nth, data) in body.iter().enumerate() {
        let flags = if nth + 1 == body.len() { END_STREAM } else { 0 };
        frames.extend(frame(DATA, flags, STREAM, data));
    }
    frames
}

/// A request of just these fields, pseudo ones included.
fn bare(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, STREAM, &block(fields))
}

fn case(name: impl Into<String>, why: &'static str, meaning: Meaning, frames: Vec<u8>) -> Case {
    Case::new(format!("h2 {}", name.into()), why, meaning, frames).frames()
}

/// A stream may be refused alone; what is on another stream is another request. So `Refused` is said of the stream.
fn refused() -> Meaning {
    Meaning::Alone
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = fields::cases();
    cases.extend(bodies());
    cases.extend(shapes());
    cases
}

/// Lengths and DATA (RFC 9113 8.1.1).
fn bodies() -> Vec<Case> {
    let mut cases = Vec::new();
    let hidden: &[u8] = b"GET /hidden HTTP/1.1\r\nhost: edge\r\n\r\n";
    let why = "a length that is not the sum of the frames of DATA: malformed (RFC 9113 8.1.1)";
    for (name, length) in [
        ("less", "1"),
        ("nothing", "0"),
        ("more", "100"),
        ("a sign", "+37"),
        ("a list", "36, 36"),
        ("hex", "0x24"),
        ("empty", ""),
        ("a space", "3 6"),
        ("over", "18446744073709551652"),
    ] {
        let frames = posting(&[(b"content-length", length.as_bytes())], &[hidden]);
        let meaning = if name == "a list" { Meaning::Either(post(hidden)) } else { refused() };
        cases.push(case(format!("length of {name}"), why, meaning, frames));
    }
    let frames = posting(&[(b"content-length", b"36"), (b"content-length", b"1")], &[hidden]);
    cases.push(case("two lengths", why, refused(), frames));
    let frames = posting(&[(b"content-length", b"5"), (b"content-length", b"5")], &[b"hello"]);
    cases.push(case("one length twice", why, Meaning::Either(post("hello")), frames));
    cases.push(case(
        "a length without a body",
        why,
        refused(),
        getting(&[(b"content-length", b"5")]),
    ));
    cases.push(case(
        "a length of zero without a body",
        why,
        Meaning::Either(get()),
        getting(&[(b"content-length", b"0")]),
    ));
    let why = "a body is what is in the frames of DATA";
    cases.push(case(
        "a body without a length",
        why,
        Meaning::One(post(hidden)),
        posting(&[], &[hidden]),
    ));
    cases.push(case(
        "a body in pieces",
        why,
        Meaning::One(post("hello")),
        posting(&[(b"content-length", b"5")], &[b"he", b"", b"llo", b""]),
    ));
    cases.push(case("an empty body", why, Meaning::One(post("")), posting(&[], &[b""])));
    cases.push(case(
        "a body like chunks",
        why,
        Meaning::One(post("0\r\n\r\n")),
        posting(&[], &[b"0\r\n\r\n"]),
    ));
    let mut get_body = frame(HEADERS, END_HEADERS, STREAM, &block(&request("GET", "/case")));
    get_body.extend(frame(DATA, END_STREAM, STREAM, hidden));
    cases.push(case(
        "a body on GET",
        why,
        Meaning::Either(expect("GET", "/case", hidden)),
        get_body,
    ));
    let trailers: [(&str, Fields<'_>); 5] = [
        ("trailers", vec![(b"x-t", b"v")]),
        ("a pseudo field in trailers", vec![(b":path", b"/hidden")]),
        (
            "a line in trailers",
            vec![(b"x-t", b"v\r\n\r\nGET /hidden HTTP/1.1\r\nhost: edge\r\n\r\n")],
        ),
        ("a length in trailers", vec![(b"content-length", b"5")]),
        ("a coding in trailers", vec![(b"transfer-encoding", b"chunked")]),
    ];
    for (name, fields) in trailers {
        let mut frames = posting(&[], &[b"hello", b""]);
        // The last frame of DATA does not end the stream; the trailers do.
        let at = frames.len() - 9 + 4;
        frames[at] = 0;
        frames.extend(frame(HEADERS, END_STREAM | END_HEADERS, STREAM, &block(&fields)));
        let why = "trailers frame and route nothing (RFC 9113 8.1)";
        let case = case(name, why, Meaning::Either(post("hello")), frames);
        cases.push(case.passes("trailers are dropped, whatever is in them"));
    }
    cases
}

/// Frames in the wrong order, number or place.
fn shapes() -> Vec<Case> {
    let mut cases = Vec::new();
    let block_of =
        |fields: &[(&[u8], &[u8])]| block(&[&request("GET", "/case")[..], fields].concat());
    let why = "a block without end holds memory (RFC 9113 10.5.1)";
    let mut flood = frame(HEADERS, END_STREAM, STREAM, &block_of(&[]));
    for _ in 0..20_000 {
        flood.extend(frame(CONTINUATION, 0, STREAM, &block(&[(b"x", b"y")])));
    }
    cases.push(case("20000 continuations", why, Meaning::Refused, flood));
    let mut empty = frame(HEADERS, END_STREAM, STREAM, &block_of(&[]));
    for _ in 0..20_000 {
        empty.extend(frame(CONTINUATION, 0, STREAM, &[]));
    }
    cases.push(case("20000 empty continuations", why, Meaning::Refused, empty));
    let big = vec![b'y'; 10_000];
    let mut wide = frame(HEADERS, END_STREAM, STREAM, &block_of(&[]));
    for nth in 0..200 {
        wide.extend(frame(
            CONTINUATION,
            if nth == 199 { END_HEADERS } else { 0 },
            STREAM,
            &block(&[(b"x", &big)]),
        ));
    }
    cases.push(case("two megabytes of fields", why, Meaning::Alone, wide));
    let why = "a frame where none may be ends the connection (RFC 9113 5.1, 6.10)";
    let broken: Vec<u8> =
        [frame(HEADERS, END_STREAM, STREAM, &block_of(&[])), frame(PING, 0, 0, &[0; 8])].concat();
    cases.push(case("a frame inside a block", why, Meaning::Refused, broken));
    let closed =
        [getting(&[]), frame(DATA, END_STREAM, STREAM, b"GET /hidden HTTP/1.1\r\n\r\n")].concat();
    cases.push(case("data on a closed stream", why, Meaning::Either(get()), closed));
    let again = [getting(&[]), bare(&request("GET", "/hidden"))].concat();
    cases.push(case("a request on a closed stream", why, Meaning::Either(get()), again));
    let even = frame(HEADERS, END_STREAM | END_HEADERS, 2, &block_of(&[]));
    cases.push(case("a request on an even stream", why, Meaning::Refused, even));
    let zero = frame(HEADERS, END_STREAM | END_HEADERS, 0, &block_of(&[]));
    cases.push(case("a request on stream 0", why, Meaning::Refused, zero));
    let data = frame(DATA, END_STREAM, STREAM, b"hello");
    cases.push(case("data on an idle stream", why, Meaning::Refused, data));
    let lone = frame(CONTINUATION, END_HEADERS, STREAM, &block_of(&[]));
    cases.push(case("a continuation of nothing", why, Meaning::Refused, lone));
    let push =
        frame(PUSH_PROMISE, END_HEADERS, STREAM, &[&[0, 0, 0, 2][..], &block_of(&[])].concat());
    cases.push(case("a promise by the client", why, Meaning::Refused, push));
    let cut = frame(HEADERS, END_STREAM | END_HEADERS, STREAM, &block_of(&[])[..20]);
    cases.push(case("a block that is cut", why, Meaning::Refused, cut));
    let index = frame(
        HEADERS,
        END_STREAM | END_HEADERS,
        STREAM,
        &[&block_of(&[])[..], &[0xff, 0xff, 0xff, 0xff, 0x0f]].concat(),
    );
    cases.push(case("an index that is not there", why, Meaning::Refused, index));
    let table = frame(
        HEADERS,
        END_STREAM | END_HEADERS,
        STREAM,
        &[&[0x3f, 0xff, 0xff, 0xff, 0x0f], &block_of(&[])[..]].concat(),
    );
    cases.push(case("a table larger than allowed", why, Meaning::Refused, table));
    let reset = [posting(&[], &[b"hel"]), frame(RST_STREAM, 0, STREAM, &[0, 0, 0, 8])].concat();
    let mut reset_open = reset;
    let at = reset_open.len() - 13 - 3 - 9 + 4;
    reset_open[at] = 0;
    cases.push(case("a reset in the body", "half a request is none", Meaning::Alone, reset_open));
    let window = frame(WINDOW_UPDATE, 0, STREAM, &[0, 0, 0, 1]);
    cases.push(case("a window for an idle stream", why, Meaning::Refused, window));
    let padded = frame(
        HEADERS,
        END_STREAM | END_HEADERS | 8,
        STREAM,
        &[&[255][..], &block_of(&[])].concat(),
    );
    cases.push(case("more padding than frame", why, Meaning::Refused, padded));
    cases
}
