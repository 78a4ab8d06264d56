//! Line ends, white space and control bytes: RFC 9112 2.2 and 5, RFC 9110 5.

use super::case::{Case, Meaning, bytes, get, getting, named};

/// A bare LF may be taken for a line end, or refused; it may not be passed on.
const LONE_LF: &[&[u8]] = &[
    b"GET /case HTTP/1.1\nHost: edge\r\n\r\n",
    b"GET /case HTTP/1.1\r\nHost: edge\n\r\n",
    b"GET /case HTTP/1.1\r\nHost: edge\r\n\n",
    b"GET /case HTTP/1.1\nHost: edge\n\n",
    b"GET /case HTTP/1.1\r\nHost: edge\n\n",
    b"GET /case HTTP/1.1\r\nX: a\nY: b\r\nHost: edge\r\n\r\n",
];

/// Line ends that no reader is to take.
const WRONG: &[(&str, &[u8])] = &[
    ("CR as line ends", b"GET /case HTTP/1.1\rHost: edge\r\r"),
    ("CR CR LF", b"GET /case HTTP/1.1\r\r\nHost: edge\r\n\r\n"),
    ("LF CR", b"GET /case HTTP/1.1\n\rHost: edge\n\r\n\r"),
    ("CR before the empty line", b"GET /case HTTP/1.1\r\nHost: edge\r\n\r\r\n\r\n"),
    ("CR in the request line", b"GET /case\r HTTP/1.1\r\nHost: edge\r\n\r\n"),
    ("CR in a name", b"GET /case HTTP/1.1\r\nX\rY: a\r\nHost: edge\r\n\r\n"),
    ("CR in Host", b"GET /case HTTP/1.1\r\nHost: ed\rge\r\n\r\n"),
    ("a space before the request", b" GET /case HTTP/1.1\r\nHost: edge\r\n\r\n"),
    ("a tab before the request", b"\tGET /case HTTP/1.1\r\nHost: edge\r\n\r\n"),
    ("a CR before the request", b"\rGET /case HTTP/1.1\r\nHost: edge\r\n\r\n"),
    ("a NUL before the request", b"\0GET /case HTTP/1.1\r\nHost: edge\r\n\r\n"),
    (
        "a byte order mark before the request",
        b"\xef\xbb\xbfGET /case HTTP/1.1\r\nHost: edge\r\n\r\n",
    ),
    ("a space before the first field", b"GET /case HTTP/1.1\r\n Host: edge\r\n\r\n"),
    ("a tab before the first field", b"GET /case HTTP/1.1\r\n\tX: y\r\nHost: edge\r\n\r\n"),
    ("a line of one space first", b"GET /case HTTP/1.1\r\n \r\nHost: edge\r\n\r\n"),
];

/// Field lines that are none.
const NO_FIELD: &[&[u8]] = &[
    b"X : y",
    b"X\t: y",
    b"X  : y",
    b": y",
    b" : y",
    b"X",
    b"X y",
    b"X y: z",
    b"X\xa0: y",
    b"\xc3\xa9: y",
    b"X(: y",
    b"X@: y",
    b"X,Y: z",
    b"X;: y",
    b"X<: y",
    b"X=: y",
    b"X?: y",
    b"[X]: y",
    b"X\\: y",
    b"{X}: y",
    b"\"X\": y",
    b"X/Y: z",
    b"X\x80: y",
    b"GET /hidden HTTP/1.1",
];

/// A folded value is refused, or a space stands for the fold (RFC 9112 5.2).
const FOLDED: &[&str] = &[
    "X: a\r\n b\r\n",
    "X: a\r\n\tb\r\n",
    "X: a\r\n   b\r\n c\r\n",
    "X:\r\n b\r\n",
    "X: a\r\n \r\n",
    "X: a\r\n\t\r\nY: b\r\n",
    "X: a\r\n X-Hidden: b\r\n",
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for whole in LONE_LF {
        let why = "a bare LF is a line end for some (RFC 9112 2.2): refused, or made a CRLF";
        cases.push(Case::new(named("LF", whole), why, Meaning::Either(get()), *whole));
    }
    for (name, whole) in WRONG {
        let why = "a line that begins or ends elsewhere for another reader (RFC 9112 2.2, 3)";
        cases.push(Case::new(*name, why, Meaning::Refused, *whole));
    }
    for line in NO_FIELD {
        let why = "no field line: skipped by one reader, a field for another (RFC 9112 5.1)";
        for (place, fields) in
            [("last", bytes(&[line, b"\r\n"])), ("first", bytes(&[line, b"\r\nY: z\r\n"]))]
        {
            let name = format!("{}, {place}", named("line", line));
            cases.push(Case::new(name, why, Meaning::Refused, getting(fields)));
        }
    }
    for fields in FOLDED {
        let why = "a folded line is refused, or becomes one line (RFC 9112 5.2)";
        cases.push(Case::new(
            named("fold", fields.as_bytes()),
            why,
            Meaning::Either(get()),
            getting(fields),
        ));
    }
    for count in [1, 2, 10] {
        let why = "empty lines before a request may be skipped (RFC 9112 2.2)";
        let whole = bytes(&[&b"\r\n".repeat(count), &getting("")]);
        cases.push(Case::new(
            format!("{count} empty lines first"),
            why,
            Meaning::Either(get()),
            whole,
        ));
    }
    let why = "an LF alone before a request may be skipped";
    cases.push(Case::new("LF first", why, Meaning::Either(get()), bytes(&[b"\n", &getting("")])));
    cases.extend(controls());
    cases
}

/// Each control byte, in each place. CR and LF are above; a tab is white space.
fn controls() -> Vec<Case> {
    let mut cases = Vec::new();
    for byte in (0..=0x1f).chain([0x7f]).filter(|b| !matches!(b, b'\t' | b'\n' | b'\r')) {
        let why = "a control byte ends or splits what it is in, for some reader (RFC 9110 5.5)";
        let value = getting(bytes(&[b"X: a", &[byte], b"b\r\n"]));
        cases.push(Case::new(
            format!("byte {byte:02x} in a value"),
            why,
            Meaning::Either(get()),
            value,
        ));
        let name = getting(bytes(&[b"X", &[byte], b"Y: b\r\n"]));
        cases.push(Case::new(format!("byte {byte:02x} in a name"), why, Meaning::Refused, name));
        for (place, line) in [
            ("the method", bytes(&[b"G", &[byte], b"T /case HTTP/1.1"])),
            ("the target", bytes(&[b"GET /ca", &[byte], b"se HTTP/1.1"])),
            ("the version", bytes(&[b"GET /case HTTP/1", &[byte], b".1"])),
        ] {
            let whole = bytes(&[&line, b"\r\nHost: edge\r\n\r\n"]);
            cases.push(Case::new(
                format!("byte {byte:02x} in {place}"),
                why,
                Meaning::Refused,
                whole,
            ));
        }
    }
    for value in [&b"a\rb"[..], b"\ra", b"a\r", b"a\rX-Hidden: b", b"a\r X-Hidden: b"] {
        let why = "a bare CR is refused, or a space stands for it (RFC 9112 2.2)";
        let whole = getting(bytes(&[b"X: ", value, b"\r\n"]));
        cases.push(
            Case::new(named("CR in a value", value), why, Meaning::Either(get()), whole)
                .lacks(&["x-hidden"]),
        );
    }
    for byte in [0x80_u8, 0xa0, 0xc3, 0xff] {
        let why = "bytes above ASCII in a value are passed or refused (RFC 9110 5.5)";
        let whole = getting(bytes(&[b"X: a", &[byte], b"b\r\n"]));
        cases.push(Case::new(
            format!("byte {byte:02x} in a value"),
            why,
            Meaning::Either(get()),
            whole,
        ));
    }
    cases
}
