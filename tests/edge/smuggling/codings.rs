//! Transfer-Encoding, alone and beside a Content-Length: RFC 9112 6.1 and 6.3.

use super::case::{Case, Meaning, bytes, getting, named, post, posting};

/// Ends a chunked body, and begins what an attacker would like to be a request of its own.
const ENDED: &str = "0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: edge\r\n\r\n";

/// Fields that make some readers see a chunked body, and others none.
const OBSCURE: &[&[u8]] = &[
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunkedx",
    b"Transfer-Encoding: chunk",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: identity, chunked",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: chunked, gzip",
    b"Transfer-Encoding: gzip",
    b"Transfer-Encoding: chunked;q=1",
    b"Transfer-Encoding: chunked;",
    b"Transfer-Encoding: \"chunked\"",
    b"Transfer-Encoding: 'chunked'",
    b"Transfer-Encoding: chunked\x0b",
    b"Transfer-Encoding: \x0bchunked",
    b"Transfer-Encoding:\x0bchunked",
    b"Transfer-Encoding: chunked\x0c",
    b"Transfer-Encoding: \x0cchunked",
    b"Transfer-Encoding: chunked\0",
    b"Transfer-Encoding: \0chunked",
    b"Transfer-Encoding: chun\0ked",
    b"Transfer-Encoding: chun ked",
    b"Transfer-Encoding: ch\tunked",
    b"Transfer-Encoding: chunked x",
    b"Transfer-Encoding: x chunked",
    b"Transfer-Encoding: chunked\xa0",
    b"Transfer-Encoding: \xa0chunked",
    b"Transfer-Encoding: \xffchunked",
    b"Transfer-Encoding: chun\xe2\x84\xaaed",
    b"Transfer-Encoding: \x08chunked",
    b"Transfer-Encoding: chunked\x7f",
    b"Transfer-Encoding: chunked\x1f",
    b"Transfer-Encoding:",
    b"Transfer-Encoding: ",
    b"Transfer-Encoding: ,",
    b"Transfer-Encoding: x, chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: %63hunked",
    b"Transfer-Encoding: chunked\\r\\n",
    b"Transfer-Encoding: =?utf-8?Q?chunked?=",
    b"Transfer-Encoding: chunked:",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
    b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding:",
    b"Transfer-Encoding:\r\nTransfer-Encoding: chunked",
    b"transfer-encoding: cow\r\nTRANSFER-ENCODING: chunked",
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding\t: chunked",
    b"Transfer-Encoding\x0b: chunked",
    b"Transfer-Encoding\0: chunked",
    b"Transfer-Encoding\xa0: chunked",
    b"Transfer Encoding: chunked",
    b"Transfer-Encoding: x\r\n chunked",
    b"Transfer-Encoding: chunked\r\n , identity",
    b"Transfer-Encoding: chunked\r\n x",
    b"X: y\rTransfer-Encoding: chunked",
    b"X: y\r\rTransfer-Encoding: chunked",
    b"X\r\nTransfer-Encoding: chunked",
    b": x\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding chunked",
    b"\x0bTransfer-Encoding: chunked",
    b"\0Transfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r",
    b"Transfer-\r\nEncoding: chunked",
];

/// Ways to write `chunked` that are not the usual one, and mean it.
const CLEAR: &[&str] = &[
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: Chunked",
    "Transfer-Encoding: CHUNKED",
    "Transfer-Encoding:chunked",
    "transfer-encoding: chunked",
    "Transfer-Encoding: \t chunked \t ",
    "TRANSFER-ENCODING:chUnKeD",
];

/// Names that are like it, and another field for everybody who reads by the RFC.
const OTHERS: &[&str] = &[
    "Transfer_Encoding: chunked",
    "TransferEncoding: chunked",
    "Transfer--Encoding: chunked",
    "X-Transfer-Encoding: chunked",
    "Transfer-Encodin: chunked",
    "Transfer-Encodings: chunked",
    "Transfer.Encoding: chunked",
    "Content-Transfer-Encoding: chunked",
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let why =
        "who sees no chunked body here finds another end than who sees one (RFC 9112 6.3, 3 and 4)";
    for lines in OBSCURE {
        let length = format!("Content-Length: {}\r\n", ENDED.len());
        let short = "Content-Length: 3\r\n";
        let (first, line): (&[u8], &[u8]) = (length.as_bytes(), b"\r\n");
        let ways = [
            ("alone", bytes(&[lines, line])),
            ("after a length", bytes(&[first, lines, line])),
            ("before a length", bytes(&[lines, line, first])),
            ("before a short length", bytes(&[lines, line, short.as_bytes()])),
        ];
        for (way, fields) in ways {
            let name = format!("{}, {way}", named("coding", lines));
            cases.push(Case::new(name, why, Meaning::Refused, posting(fields, ENDED)));
        }
    }
    for lines in CLEAR {
        let fields = format!("{lines}\r\n");
        let whole = posting(&fields, "5\r\nhello\r\n0\r\n\r\n");
        cases.push(Case::new(
            named("chunked", lines.as_bytes()),
            "chunked",
            Meaning::One(post("hello")),
            whole,
        ));
        for (way, length) in [("the whole", ENDED.len()), ("a part", 3), ("none", 0)] {
            let why = "a length beside a coding: refused, or the coding counts and the connection ends (RFC 9112 6.1)";
            let fields = format!("Content-Length: {length}\r\n{lines}\r\n");
            let name = format!("{} with a length of {way}", named("chunked", lines.as_bytes()));
            cases.push(Case::new(name, why, Meaning::Last(post("")), posting(fields, ENDED)));
        }
    }
    for line in OTHERS {
        let why = "a name that is only like it: some servers fold it into the real one";
        let fields = format!("Content-Length: 5\r\n{line}\r\n");
        let case = Case::new(
            named("alias", line.as_bytes()),
            why,
            Meaning::Either(post("0\r\n\r\n")),
            posting(fields, "0\r\n\r\n"),
        );
        cases.push(case.lacks(&["transfer-encoding", "transfer_encoding"]));
    }
    cases.extend(lists());
    cases.extend(old());
    cases
}

/// A list with empty members is the list without them (RFC 9110 5.6.1), if it is taken at all.
fn lists() -> Vec<Case> {
    let values = [",chunked", "chunked,", " , chunked", "chunked ,,"];
    let case = |value: &&str| {
        let fields = format!("Transfer-Encoding: {value}\r\n");
        let why = "a list with an empty member is chunked, or refused";
        let bytes = posting(fields, "5\r\nhello\r\n0\r\n\r\n");
        Case::new(
            named("coding list", value.as_bytes()),
            why,
            Meaning::Either(post("hello")),
            bytes,
        )
    };
    let mut cases: Vec<Case> = values.iter().map(case).collect();
    let why = "a coding on GET is a body on GET";
    let bytes =
        [getting("Transfer-Encoding: chunked\r\n"), b"5\r\nhello\r\n0\r\n\r\n".to_vec()].concat();
    let mut meant = post("hello");
    meant.method = "GET".to_owned();
    cases.push(Case::new("chunked GET", why, Meaning::Either(meant), bytes));
    let why = "a folded coding is refused, or chunked (RFC 9112 5.2)";
    let bytes = posting("Transfer-Encoding:\r\n chunked\r\n", "5\r\nhello\r\n0\r\n\r\n");
    cases.push(Case::new("folded coding", why, Meaning::Either(post("hello")), bytes));
    cases
}

/// HTTP/1.0 knows no codings: the framing is faulty (RFC 9112 6.1).
fn old() -> Vec<Case> {
    let why = "HTTP/1.0 has no chunked: faulty, and the connection ends after it (RFC 9112 6.1)";
    let mut cases = Vec::new();
    for (name, more) in [
        ("", ""),
        (" that stays", "Connection: keep-alive\r\n"),
        (" with a length", "Content-Length: 5\r\n"),
    ] {
        let bytes = format!(
            "POST /case HTTP/1.0\r\nHost: edge\r\n{more}Transfer-Encoding: chunked\r\n\r\n{ENDED}"
        );
        cases.push(Case::new(
            format!("chunked in HTTP/1.0{name}"),
            why,
            Meaning::Last(post("")),
            bytes,
        ));
    }
    cases
}
