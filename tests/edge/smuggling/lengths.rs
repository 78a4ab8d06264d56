//! Content-Length: RFC 9110 8.6, RFC 9112 6.2 and 6.3.

use super::case::{Case, Meaning, bytes, expect, get, getting, named, post, posting};

/// What an attacker would like to be a request of its own.
const HIDDEN: &[u8] = b"GET /hidden HTTP/1.1\r\nHost: edge\r\n\r\n";

/// Values that are no number for everybody. The body is five bytes.
const WRONG: &[&[u8]] = &[
    b"",
    b"+5",
    b"-5",
    b"-0",
    b"+0",
    b"0x5",
    b"0x",
    b"5x",
    b"5 5",
    b"5\t5",
    b"5.0",
    b"5,",
    b",5",
    b"5,6",
    b"5, 6",
    b"5;5",
    b"5e0",
    b"five",
    b"\"5\"",
    b"'5'",
    b"5-",
    b"1_0",
    b"5\xa0",
    b"\xa05",
    b"\xd9\xa5",
    b"\xef\xbc\x95",
    b"5\x0b",
    b"\x0b5",
    b"5\x0c",
    b"5\0",
    b"\x005",
    b"5\x7f",
    b"5\x85",
    b"0b101",
    b"05h",
    b"5,5,6",
    b"5:5",
    b"5/1",
    b"(5)",
    b"5\\r\\n",
    b"%35",
    // Overflows: 2^64 and so on, each of which wraps to 5 or 0 in some width.
    b"18446744073709551616",
    b"18446744073709551621",
    b"99999999999999999999999999",
    b"340282366920938463463374607431768211461",
    b"-18446744073709551611",
];

/// Two lines, with the names as they are.
const TWICE: &[(&str, &str)] = &[
    ("Content-Length: 5", "Content-Length: 6"),
    ("Content-Length: 6", "Content-Length: 5"),
    ("Content-Length: 0", "Content-Length: 5"),
    ("Content-Length: 5", "Content-Length: 0"),
    ("content-length: 5", "CONTENT-LENGTH: 0"),
    ("Content-Length: 5", "Content-Length: +5"),
    ("Content-Length: 5", "Content-Length: 05, 0"),
    ("Content-Length: 5", "Content-Length:"),
    ("Content-Length:", "Content-Length: 5"),
    ("Content-Length: 5", "Content-Length: x"),
    ("Content-Length: 5", "Content-Length : 0"),
    ("Content-Length : 5", "Content-Length: 0"),
    ("Content-Length: 5, 5", "Content-Length: 6"),
    ("Content-Length: 5", "X: y\r\nContent-Length: 6"),
];

/// Values and lines that can be read in one way only; refusing them is well too.
const CLEAR: &[&str] = &[
    "Content-Length: 05",
    "Content-Length: 0000000000000000000000005",
    "Content-Length: 5, 5",
    "Content-Length: 5,5",
    "Content-Length: 5\r\nContent-Length: 5",
    "Content-Length: 5\r\ncontent-length: 5",
    "Content-Length: 5\r\nContent-Length: 5\r\nContent-Length: 5",
    "Content-Length: 5\r\nContent_Length: 0",
    "Content_Length: 0\r\nContent-Length: 5",
    "Content-Length: 5\r\nContentLength: 0",
    "Content-Length: 5\r\nX-Content-Length: 0",
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for value in WRONG {
        let line = bytes(&[b"Content-Length: ", value, b"\r\n"]);
        let why =
            "no digits alone: a reader that takes a part of it finds another end (RFC 9112 6.3, 5)";
        cases.push(Case::new(
            named("length", value),
            why,
            Meaning::Refused,
            posting(line, "hello"),
        ));
    }
    for (first, second) in TWICE {
        let name = format!("lengths {first} and {second}").replace("\r\n", " ");
        let why = "two lengths: one reader takes the first, another the last (RFC 9112 6.3, 5)";
        let bytes = posting(format!("{first}\r\n{second}\r\n"), [b"hello", HIDDEN].concat());
        cases.push(Case::new(name, why, Meaning::Refused, bytes));
    }
    for lines in CLEAR {
        let name = format!("clear {lines}").replace("\r\n", " and ");
        let why = "one length, however it is written; a repair or a refusal (RFC 9110 8.6)";
        let bytes = posting(format!("{lines}\r\n"), "hello");
        cases.push(Case::new(name, why, Meaning::Either(post("hello")), bytes));
    }
    for (value, name) in [("5", "plain"), (" \t 5 \t ", "in white space"), ("0", "zero")] {
        let body = if value == "0" { "" } else { "hello" };
        let why = "a length by the grammar";
        let bytes = posting(format!("Content-Length:{value}\r\n"), body);
        cases.push(Case::new(format!("length {name}"), why, Meaning::One(post(body)), bytes));
    }
    cases.extend(by_method());
    cases.extend(unfinished());
    cases
}

/// A body where it is not usual is a body still.
fn by_method() -> Vec<Case> {
    let mut cases = Vec::new();
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "PATCH", "QUERY", "TRACE"] {
        let why = "a method says nothing of a body's end: who thinks so takes the body for the next request (RFC 9112 6)";
        let head = format!(
            "{method} /case HTTP/1.1\r\nHost: edge\r\nContent-Length: {}\r\n\r\n",
            HIDDEN.len()
        );
        let meaning = Meaning::Either(expect(method, "/case", HIDDEN));
        cases.push(Case::new(
            format!("body of {method}"),
            why,
            meaning,
            bytes(&[head.as_bytes(), HIDDEN]),
        ));
    }
    let why = "no length is no body (RFC 9112 6.3, 7): what follows is the next request";
    cases.push(Case::new("no length on POST", why, Meaning::Either(post("")), posting("", "")));
    let folded = "a folded line is refused, or a space: never a field of its own (RFC 9112 5.2)";
    for lines in [
        "X: a\r\n Content-Length: 5\r\n",
        "X: a\r\n\tContent-Length: 5\r\n",
        "X:\r\n Content-Length: 5\r\n",
    ] {
        cases.push(Case::new(
            named("folded length", lines.as_bytes()),
            folded,
            Meaning::Either(get()),
            getting(lines),
        ));
    }
    for lines in
        ["Content-Length:\r\n 5\r\n", "Content-Length: 5\r\n 6\r\n", "Content-Length: 1\r\n\t5\r\n"]
    {
        let bytes = posting(lines, "hello");
        let meaning = if lines.ends_with(" 5\r\n") {
            Meaning::Either(post("hello"))
        } else {
            Meaning::Refused
        };
        cases.push(Case::new(named("folded length", lines.as_bytes()), folded, meaning, bytes));
    }
    cases
}

/// Less comes than was said.
fn unfinished() -> Vec<Case> {
    let why =
        "the body never ends: what came of it may not be taken for a whole request (RFC 9112 8)";
    let lengths = [
        "6",
        "100",
        "4294967301",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
    ];
    let case = |length: &&str| {
        let bytes = posting(format!("Content-Length: {length}\r\n"), "hello");
        Case::new(format!("{length} bytes said, 5 sent"), why, Meaning::Refused, bytes).open()
    };
    lengths.iter().map(case).collect()
}
