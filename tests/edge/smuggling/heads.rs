//! Request lines and Host: RFC 9112 3, RFC 9110 7.2 and 9.

use super::case::{Case, Expected, Meaning, bytes, expect, get, getting, named};

/// Versions that are not HTTP/1.0 or 1.1.
const VERSIONS: &[&[u8]] = &[
    b"HTTP/2.0",
    b"HTTP/2",
    b"HTTP/3.0",
    b"HTTP/0.9",
    b"HTTP/1.01",
    b"HTTP/01.1",
    b"HTTP/1.",
    b"HTTP/.1",
    b"HTTP/1,1",
    b"HTTP/11",
    b"http/1.1",
    b"Http/1.1",
    b"HTTP /1.1",
    b"HTTP/ 1.1",
    b"HTTP/1 .1",
    b"HTTPS/1.1",
    b"HTTP/1.1x",
    b"HTTP/1.1.1",
    b"HTTP/-1.1",
    b"HTTP/1.-1",
    b"HTTP/1.10",
    b"HTTP/+1.1",
    b"HTTP/4294967297.1",
    b"HTTP/1.4294967297",
    b"HTTP/x.y",
    b"HTTP",
    b"HTTP/",
    b"1.1",
    b"ICY/1.1",
    b"HTTP/\xd9\xa1.1",
    b"HTTP/1.1 HTTP/1.1",
    b"HTTP/1.1/1.1",
    b"HTTP/1.1;a",
];

/// Versions that mean 1.1 to whoever takes them (RFC 9110 2.5).
const NEAR: &[&str] = &["HTTP/1.2", "HTTP/1.9", "HTTP/1.1 ", " HTTP/1.1", "\tHTTP/1.1"];

/// Methods that are no tokens.
const METHODS: &[&[u8]] = &[
    b"",
    b"G ET",
    b"GET\t",
    b"G\tET",
    b"G(ET",
    b"GET,POST",
    b"GET;",
    b"{GET}",
    b"G\xc3\x89T",
    b"\"GET\"",
    b"GET:",
    b"G/T",
    b"<GET>",
    b"GET=",
    b"[GET]",
    b"GET\xa0",
    b"G@T",
];

/// Targets that have no form.
const TARGETS: &[&[u8]] = &[
    b"",
    b"case",
    b"*",
    b"edge:80",
    b"?a=b",
    b"#",
    b"/case#frag",
    b"/case?a#b",
    b"/ca se",
    b"/case x",
    b"/caf\xc3\xa9",
    b"/\xff",
    b"/case\t",
    b"http://",
    b"http:///case",
    b"http:/case",
    b"http:case",
    b"http://user@edge/case",
    b"http://user:pw@edge/case",
    b"http://ed ge/case",
    b"http://edge#/case",
    b"://edge/case",
    b"\\case",
    b"http:\\\\edge\\case",
    b"./case",
    b"../case",
    b"file:///etc/passwd",
    b"javascript:alert(1)",
];

/// A request line before the rest.
fn line(line: &[u8]) -> Vec<u8> {
    bytes(&[line, b"\r\nHost: edge\r\n\r\n"])
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for version in VERSIONS {
        let why = "no version of HTTP/1 (RFC 9112 2.3)";
        let whole = line(&bytes(&[b"GET /case ", version]));
        cases.push(Case::new(named("version", version), why, Meaning::Refused, whole));
    }
    for version in NEAR {
        let why = "may be taken for 1.1, or refused (RFC 9110 2.5, RFC 9112 3)";
        let whole = line(format!("GET /case {version}").as_bytes());
        cases.push(Case::new(
            named("version that is near", version.as_bytes()),
            why,
            Meaning::Either(get()),
            whole,
        ));
    }
    for method in METHODS {
        let why = "no method: another request for who splits it elsewhere (RFC 9112 3.1)";
        let whole = line(&bytes(&[method, b" /case HTTP/1.1"]));
        cases.push(Case::new(named("method", method), why, Meaning::Refused, whole));
    }
    for method in ["get", "gEt", "FOO", "M-SEARCH", "GET1", "G!#$%&'*+-.^_`|~", "PRI"] {
        let why = "a method that is a token is one, and its case counts (RFC 9110 9.1)";
        let whole = line(format!("{method} /case HTTP/1.1").as_bytes());
        let meaning = Meaning::Either(expect(method, "/case", ""));
        cases.push(Case::new(
            named("method that is a token", method.as_bytes()),
            why,
            meaning,
            whole,
        ));
    }
    for target in TARGETS {
        let why = "no form of target (RFC 9112 3.2)";
        let whole = line(&bytes(&[b"GET ", target, b" HTTP/1.1"]));
        cases.push(Case::new(named("target", target), why, Meaning::Refused, whole));
    }
    cases.extend(targets());
    cases.extend(long());
    cases
}

fn targets() -> Vec<Case> {
    let mut cases = Vec::new();
    for target in [
        "/case?x=%00",
        "/%0d%0aX:%20y",
        "/a/../b",
        "/%2e%2e/",
        "//case",
        "//evil/case",
        "/a//b",
        "/case;x",
        "/case?",
        "/case??a",
        "/\\case",
        "/<a>\"b\"",
        "/{x}|^`",
        "/%",
        "/%zz",
        "/case?http://x/y z".split(' ').next().unwrap_or_default(),
        "/@edge",
        "/:80",
        "/a%2fb",
        "/a%5cb",
        "/case?a=b&a=c",
    ] {
        let why = "a target means what it says: passed as it is, or refused; never another one";
        let whole = line(format!("GET {target} HTTP/1.1").as_bytes());
        let meaning = Meaning::Either(expect("GET", target, ""));
        cases.push(Case::new(named("target as it is", target.as_bytes()), why, meaning, whole));
    }
    for request in [
        "CONNECT edge:80",
        "CONNECT /case",
        "CONNECT edge",
        "CONNECT *",
        "CONNECT http://edge/case",
        "GET *",
        "OPTIONS edge:80",
        "OPTIONS x",
    ] {
        let why =
            "no form of this method, or a tunnel that nobody offers (RFC 9110 9.3.6, RFC 9112 3.2)";
        let whole = line(format!("{request} HTTP/1.1").as_bytes());
        cases.push(Case::new(format!("form {request}"), why, Meaning::Refused, whole));
    }
    let why = "asks the server as a whole (RFC 9112 3.2.4)";
    let whole = line(b"OPTIONS * HTTP/1.1");
    cases.push(Case::new("OPTIONS *", why, Meaning::Either(expect("OPTIONS", "*", "")), whole));
    let why = "HTTP/0.9 has no fields: an answer to it ends nowhere";
    cases.push(Case::new("GET without a version", why, Meaning::Refused, "GET /case\r\n\r\n"));
    cases.push(Case::new(
        "GET without a version, with fields",
        why,
        Meaning::Refused,
        "GET /case\r\nHost: edge\r\n\r\n",
    ));
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let why = "h2 begins a connection, or it does not begin (RFC 9113 3.4)";
    let second = bytes(&[&getting(""), preface.as_bytes()]);
    cases.push(Case::new(
        "the preface of h2 as a second request",
        why,
        Meaning::Last(get()),
        second,
    ));
    cases
}

/// Heads without measure: refused, or whole.
fn long() -> Vec<Case> {
    let why = "a bound refuses; it never cuts";
    let target = format!("/{}", "a".repeat(100_000));
    let huge = format!("/{}", "a".repeat(2_000_000));
    let either = |method: &str, target: &str| Meaning::Either(expect(method, target, ""));
    let long_method = "A".repeat(70_000);
    vec![
        Case::new(
            "a long target",
            why,
            either("GET", &target),
            line(format!("GET {target} HTTP/1.1").as_bytes()),
        ),
        Case::new(
            "a huge target",
            why,
            either("GET", &huge),
            line(format!("GET {huge} HTTP/1.1").as_bytes()),
        ),
        Case::new(
            "a long method",
            why,
            either(&long_method, "/case"),
            line(format!("{long_method} /case HTTP/1.1").as_bytes()),
        ),
        Case::new(
            "a long value",
            why,
            Meaning::Either(get()),
            getting(format!("X: {}\r\n", "a".repeat(1_000_000))),
        ),
        Case::new(
            "a long name",
            why,
            Meaning::Either(get()),
            getting(format!("{}: x\r\n", "X".repeat(100_000))),
        ),
        Case::new(
            "5000 fields",
            why,
            Meaning::Either(get()),
            getting("X-Many: y\r\n".repeat(5000)),
        ),
        Case::new(
            "100000 empty fields",
            why,
            Meaning::Either(get()),
            getting("X:\r\n".repeat(100_000)),
        ),
        Case::new(
            "a long Host",
            why,
            Meaning::Either(Expected { host: "a".repeat(70_000), ..get() }),
            format!("GET /case HTTP/1.1\r\nHost: {}\r\n\r\n", "a".repeat(70_000)),
        ),
        Case::new(
            "a long length",
            why,
            Meaning::Refused,
            getting(format!("Content-Length: {}5\r\n", "9".repeat(10_000))),
        ),
        Case::new(
            "many zeros before a length",
            why,
            Meaning::Either(get()),
            getting(format!("Content-Length: {}\r\n", "0".repeat(10_000))),
        ),
    ]
}
