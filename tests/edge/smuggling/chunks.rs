//! Chunked bodies: RFC 9112 7.1.

use super::case::{Case, Meaning, bytes, named, post, posting};

/// Chunk sizes that are none, before `hello`.
const WRONG: &[&[u8]] = &[
    b"",
    b" ",
    b"+5",
    b"-5",
    b"-0",
    b"0x5",
    b"0X5",
    b"x5",
    b"5x",
    b"5g",
    b"g",
    b" 5",
    b"\t5",
    b"5,5",
    b"5.0",
    b"5 5",
    b"5_",
    b"\xef\xbc\x95",
    b"5\0",
    b"\x005",
    b"5\x0b",
    b"\x0b5",
    b"5\x0c",
    b"5h",
    b"5:",
    b"\"5\"",
    b"five",
    b"5\r",
    b"\r5",
    b"\n5",
    b"5-",
    b"#5",
    b"5\x7f",
    b"%35",
    b"5\xa0",
    b";",
    b";a=b",
    b" ;a",
    b"5\r;a",
    b"5;a\r",
    b"5;a\rb",
    b"5;a\nb",
    b"5;a\n",
    b"5;a=\"\r\n\"",
    b"5;\0",
    b"10000000000000005",
    b"ffffffffffffffff5",
    b"100000000000000000000005",
    b"fffffffffffffffb",
];

/// Sizes that mean five, in unusual ways.
const CLEAR: &[&str] = &[
    "5",
    "05",
    "0005",
    "0000000000000005",
    "00000000000000000000000000000005",
    "5;",
    "5;a",
    "5;a=b",
    "5;a=\"b\"",
    "5;a=\"b;c\"",
    "5; a=b",
    "5 ;a=b",
    "5\t;\ta",
    "5 ",
    "5\t",
    "5;a;b;c=d",
    "5;\x20",
];

/// Line ends behind a size and behind a chunk that are none.
const ENDS: &[(&str, &[u8])] = &[
    ("LF behind a size", b"5\nhello\r\n0\r\n\r\n"),
    ("LF behind a chunk", b"5\r\nhello\n0\r\n\r\n"),
    ("LF everywhere", b"5\nhello\n0\n\n"),
    ("CR behind a size", b"5\rhello\r\n0\r\n\r\n"),
    ("CR behind a chunk", b"5\r\nhello\r0\r\n\r\n"),
    ("CR CR LF behind a size", b"5\r\r\nhello\r\n0\r\n\r\n"),
    ("CR CR LF behind a chunk", b"5\r\nhello\r\r\n0\r\n\r\n"),
    ("nothing behind a chunk", b"5\r\nhello0\r\n\r\n"),
    ("two bytes that are no line end", b"5\r\nhelloXX0\r\n\r\n"),
    ("a space behind a chunk", b"5\r\nhello \r\n0\r\n\r\n"),
    ("a chunk that is longer", b"5\r\nhello world\r\n0\r\n\r\n"),
    ("a chunk that is shorter", b"5\r\nhell\r\n0\r\n\r\n"),
    ("an empty line between", b"5\r\nhello\r\n\r\n0\r\n\r\n"),
    ("an empty line first", b"\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("LF behind the last size", b"5\r\nhello\r\n0\n\r\n"),
    ("LF at the end", b"5\r\nhello\r\n0\r\n\n"),
    ("LF twice at the end", b"5\r\nhello\r\n0\n\n"),
    ("CR at the end", b"5\r\nhello\r\n0\r\n\r\r\n\r\n"),
    ("two bytes for the end", b"5\r\nhello\r\n0\r\nXX"),
    ("a last chunk of minus nothing", b"5\r\nhello\r\n-0\r\n\r\n"),
    ("a last chunk with a bad extension", b"5\r\nhello\r\n0;a\nb\r\n\r\n"),
];

/// Trailers that are not to count as fields: refused, dropped, or passed as trailers.
const TRAILERS: &[&str] = &[
    "X-T: v",
    "Content-Length: 100",
    "Transfer-Encoding: chunked",
    "Host: evil",
    "Connection: close",
    "Authorization: Basic eDp5",
    "X-User-Id: mallory",
    "X-Forwarded-For: 10.0.0.1",
    "Trailer: x",
    "Cookie: a=b",
    "Expect: 100-continue",
    "Upgrade: websocket",
    "X-T: a\r\nX-T: b",
    "Content-Encoding: gzip",
    "Content-Range: bytes 0-1/2",
    "X-T:",
    "Te: trailers",
];

/// Trailer lines that are none.
const NO_TRAILERS: &[&[u8]] = &[
    b"X-T : v",
    b" X-T: v",
    b"X-T",
    b": v",
    b"X T: v",
    b"X-T: a\0b",
    b"X\0T: v",
    b"X-T: a\nX-U: b",
    b"X-T: a\rX-U: b",
    b"X-T: v\r\n folded",
    b"GET /hidden HTTP/1.1",
    b"X(T): v",
    b"X-T: v\n",
    b"\rX-T: v",
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for size in WRONG {
        let why = "a size that readers read differently, or not (RFC 9112 7.1)";
        let body = bytes(&[size, b"\r\nhello\r\n0\r\n\r\n"]);
        cases.push(chunked(named("chunk size", size), why, Meaning::Refused, &body));
    }
    for size in CLEAR {
        let why =
            "five, however it is written; extensions are no part of the body (RFC 9112 7.1.1)";
        let body = format!("{size}\r\nhello\r\n0\r\n\r\n");
        let meaning = if *size == "5" { Meaning::One } else { Meaning::Either };
        let name = named("chunk size that is clear", size.as_bytes());
        cases.push(chunked(name, why, meaning(post("hello")), body.as_bytes()));
    }
    for (name, body) in ENDS {
        let why = "a chunk ends with CRLF, and with nothing else (RFC 9112 7.1)";
        cases.push(chunked(*name, why, Meaning::Refused, body));
    }
    for line in TRAILERS {
        let why = "a trailer never frames, routes or proves anything (RFC 9110 6.5.1)";
        let body = format!("5\r\nhello\r\n0\r\n{line}\r\n\r\n");
        let case = chunked(
            named("trailer", line.as_bytes()),
            why,
            Meaning::Either(post("hello")),
            body.as_bytes(),
        );
        let may_be_there = line.starts_with("Host")
            || line.starts_with("Transfer")
            || line.starts_with("Connection");
        cases.push(if may_be_there || line.starts_with("X-Forwarded") {
            case
        } else {
            case.lacks(lone_name(line))
        });
    }
    for line in NO_TRAILERS {
        let why = "no field line: where the trailers end is in doubt (RFC 9112 7.1.2)";
        let body = bytes(&[b"5\r\nhello\r\n0\r\n", line, b"\r\n\r\n"]);
        cases.push(chunked(named("trailer line", line), why, Meaning::Refused, &body));
    }
    cases.extend(shapes());
    cases
}

/// The trailer's name may not come out as a field.
fn lone_name(line: &'static str) -> &'static [&'static str] {
    match line.split_once(':') {
        Some(("X-User-Id", _)) => &["x-user-id"],
        Some(("Authorization", _)) => &["authorization"],
        Some(("Cookie", _)) => &["cookie"],
        Some(("Content-Length", _)) => &["content-length"],
        Some(("Upgrade", _)) => &["upgrade"],
        _ => &["x-t"],
    }
}

fn chunked(name: impl Into<String>, why: &'static str, meaning: Meaning, body: &[u8]) -> Case {
    Case::new(name, why, meaning, posting("Transfer-Encoding: chunked\r\n", body))
}

/// Bodies cut, long, and in many pieces.
fn shapes() -> Vec<Case> {
    let mut cases = Vec::new();
    let why =
        "the body never ends: what came of it may not be taken for a whole request (RFC 9112 8)";
    let cut: [&[u8]; 12] = [
        b"",
        b"5",
        b"5\r",
        b"5\r\n",
        b"5\r\nhel",
        b"5\r\nhello",
        b"5\r\nhello\r",
        b"5\r\nhello\r\n",
        b"5\r\nhello\r\n0",
        b"5\r\nhello\r\n0\r\n",
        b"5\r\nhello\r\n0\r\nX-T: v\r\n",
        b"ffffffffffffff\r\nhello",
    ];
    for body in cut {
        cases.push(chunked(named("cut", body), why, Meaning::Refused, body).open());
    }
    let meant = |body: &[u8]| Meaning::One(post(body));
    let many: Vec<u8> = b"1\r\nx\r\n".repeat(5000);
    let ends: &[(&str, Vec<u8>, Vec<u8>)] = &[
        ("5000 chunks of a byte", bytes(&[&many, b"0\r\n\r\n"]), vec![b'x'; 5000]),
        ("an empty body", b"0\r\n\r\n".to_vec(), Vec::new()),
        ("zeros for the last", b"5\r\nhello\r\n000\r\n\r\n".to_vec(), b"hello".to_vec()),
        (
            "hex in both cases",
            b"a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n".to_vec(),
            b"01234567890123456789a".to_vec(),
        ),
    ];
    for (name, body, whole) in ends {
        cases.push(chunked(*name, "a body by the grammar", meant(whole), body));
    }
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(100_000));
    let why = "extensions without end hold memory and time";
    cases.push(chunked(
        "a very long extension",
        why,
        Meaning::Either(post("hello")),
        long.as_bytes(),
    ));
    let each: String = "1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n".repeat(2000);
    let body = format!("{each}0\r\n\r\n");
    cases.push(chunked(
        "2000 extensions",
        why,
        Meaning::Either(post("x".repeat(2000))),
        body.as_bytes(),
    ));
    let trailers = format!("0\r\n{}\r\n", "X-T: v\r\n".repeat(5000));
    cases.push(chunked("5000 trailers", why, Meaning::Either(post("")), trailers.as_bytes()));
    cases
}
