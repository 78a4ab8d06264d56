//! JSON bodies, in which fairlead looks for the session before it sends them on: whole, of every length about its bound, and in
//! every framing.

use super::exchange::{Exchange, Step};
use super::replies::chunks;

/// Up to here fairlead looks, by default.
const BOUND: usize = 64 << 10;

/// A JSON text of this length that names a session, at its beginning or at its end.
fn json(length: usize, last: bool) -> Vec<u8> {
    let (begin, end) = match last {
        false => (r#"{"sessionId": "s-1", "p": ""#, r#""}"#),
        true => (r#"{"p": ""#, r#"", "sessionId": "s-1"}"#),
    };
    let padding = length.saturating_sub(begin.len() + end.len());
    [begin.as_bytes(), &b"p".repeat(padding), end.as_bytes()].concat()
}

/// Bodies that are looked at.
pub(super) fn table() -> Vec<Exchange> {
    let mut bodies: Vec<(String, Vec<u8>)> = Vec::new();
    for length in [40, 1000, BOUND - 1, BOUND, BOUND + 1, 3 * BOUND] {
        for last in [false, true] {
            let place = if last { "end" } else { "beginning" };
            bodies.push((
                format!("{length} bytes of JSON, session at the {place}"),
                json(length, last),
            ));
        }
    }
    for (name, text) in [
        ("nothing", ""),
        ("a space", " "),
        ("no JSON", "{\"sessionId\": "),
        ("a list", "[1, 2]"),
        ("no text for a session", "{\"sessionId\": {\"a\": [null]}}"),
        ("an escaped name", "{\"session\\u0049d\": \"s-1\"}"),
        ("no UTF-8", "\u{ff}"),
    ] {
        bodies.push((format!("{name} for JSON"), text.as_bytes().to_vec()));
    }
    bodies.iter().flat_map(|(name, body)| ways(name, body)).collect()
}

/// The same body in each framing.
fn ways(name: &str, body: &[u8]) -> Vec<Exchange> {
    let ended = |sizes: &[usize]| [chunks(body, sizes), b"0\r\n\r\n".to_vec()].concat();
    let length = format!("Content-Length: {}\r\n", body.len());
    let chunked = "Transfer-Encoding: chunked\r\n".to_owned();
    let leave = "Expect: 100-continue\r\n".to_owned();
    let ways: [(&str, String, Vec<u8>, bool); 6] = [
        ("a length", length.clone(), body.to_vec(), false),
        ("one chunk", chunked.clone(), ended(&[usize::MAX]), false),
        ("chunks", chunked.clone(), ended(&[1, 1000, 7, 20_000]), false),
        ("a length, after leave", leave.clone() + &length, body.to_vec(), true),
        ("chunks, after leave", leave.clone() + &chunked, ended(&[5000]), true),
        ("a length, leave not waited for", leave + &length, body.to_vec(), false),
    ];
    let exchange = |(way, fields, sent, waits): (&str, String, Vec<u8>, bool)| {
        let head = format!(
            "POST /echo?json HTTP/1.1\r\nHost: edge\r\nContent-Type: application/json\r\n{fields}\r\n"
        );
        let steps = match waits {
            true => vec![Step::Send(head.into_bytes()), Step::Leave, Step::Send(sent)],
            false => vec![Step::Send([head.into_bytes(), sent].concat())],
        };
        let next = b"GET /echo?next HTTP/1.1\r\nHost: edge\r\n\r\n".to_vec();
        let rest = vec![Step::Answer("POST"), Step::Send(next), Step::Answer("GET")];
        Exchange::new(format!("{name}: {way}"), [steps, rest].concat())
    };
    ways.into_iter().map(exchange).collect()
}
