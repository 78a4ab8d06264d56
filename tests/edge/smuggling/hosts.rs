//! Host, and the authority of a target: RFC 9110 7.2, RFC 9112 3.2.

use super::case::{Case, Expected, Meaning, bytes, get, named};

/// Host values that name no host.
const HOSTS: &[&[u8]] = &[
    b"edge edge",
    b"edge,evil",
    b"edge, evil",
    b"a@edge",
    b"a:b@edge",
    b"edge/path",
    b"/edge",
    b"edge#x",
    b"edge?x",
    b"edge:abc",
    b"edge:80:90",
    b"[::1",
    b"::1]",
    b"(comment)edge",
    b"edge (comment)",
    b"edge\\evil",
    b"<edge>",
    b"http://edge",
    b"ed\xc3\xa9",
    b"edge\0",
    b"\0",
    b"ed\tge",
    b"\"edge\"",
    b"edge;x",
    b"edge|x",
    b"{edge}",
    b"edge^",
    b"edge`",
    b"edge\x0b",
    b"edge\x7f",
    b"edge:-80",
    b"edge: 80",
    b"edge :80",
    b"@",
    b"edge@",
    b"edge:80@evil",
];

/// Host values that name one, for whoever takes them.
const UNUSUAL: &[&str] = &[
    "edge:",
    "edge:80",
    "edge:99999",
    "[::1]",
    "[::1]:80",
    "EDGE",
    "edge.",
    "my_app",
    "%65dge",
    "edge!",
    "1.2.3.4",
    "edge:080",
    "xn--edge",
    "-edge",
    "a..b",
    "127.1",
    "0x7f.1",
    "edge%00",
    "edge=x",
    "edge'",
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = absolute();
    cases.extend(named_hosts());
    cases
}

/// The authority of an absolute target counts, not Host (RFC 9112 3.2.2).
fn absolute() -> Vec<Case> {
    let at = |host: &str| Expected { host: host.to_owned(), ..get() };
    let why = "the target's authority counts; a Host that differs may not come out beside it (RFC 9112 3.2.2)";
    let cases = [
        ("http://edge/case", "Host: edge", "edge"),
        ("http://EDGE/case", "Host: EDGE", "EDGE"),
        ("http://evil/case", "Host: edge", "evil"),
        ("http://edge/case", "Host: evil", "edge"),
        ("http://edge:80/case", "Host: edge:80", "edge:80"),
        ("HTTP://edge/case", "Host: edge", "edge"),
        ("https://edge/case", "Host: edge", "edge"),
    ];
    let case = |(target, host, meant): &(&str, &str, &str)| {
        let whole = format!("GET {target} HTTP/1.1\r\n{host}\r\n\r\n");
        Case::new(format!("absolute {target} with {host}"), why, Meaning::Either(at(meant)), whole)
    };
    let mut cases: Vec<Case> = cases.iter().map(case).collect();
    for (target, host) in [
        ("http://edge/case", ""),
        ("http://edge/case", "Host: edge\r\nHost: edge\r\n"),
        ("ftp://edge/case", "Host: edge\r\n"),
    ] {
        let whole = format!("GET {target} HTTP/1.1\r\n{host}\r\n");
        cases.push(Case::new(
            named("absolute", whole.as_bytes()),
            "no Host, two, or another scheme",
            Meaning::Refused,
            whole,
        ));
    }
    cases
}

fn named_hosts() -> Vec<Case> {
    let mut cases = Vec::new();
    let why = "no host: another one for who reads a part of it (RFC 9110 7.2, RFC 9112 3.2)";
    for host in HOSTS {
        let whole = bytes(&[b"GET /case HTTP/1.1\r\nHost: ", host, b"\r\n\r\n"]);
        cases.push(Case::new(named("Host", host), why, Meaning::Refused, whole));
    }
    for host in UNUSUAL {
        let why = "a host by the grammar comes out as it is, or is refused";
        let meant = Expected { host: (*host).to_owned(), ..get() };
        let whole = format!("GET /case HTTP/1.1\r\nHost: {host}\r\n\r\n");
        cases.push(Case::new(
            named("unusual Host", host.as_bytes()),
            why,
            Meaning::Either(meant),
            whole,
        ));
    }
    let why = "HTTP/1.1 has one Host (RFC 9112 3.2)";
    for fields in [
        "",
        "Host: edge\r\nHost: edge\r\n",
        "Host: edge\r\nHost: evil\r\n",
        "Host: evil\r\nHost: edge\r\n",
        "Host: edge\r\nHOST: evil\r\n",
        "Host: edge\r\nX: y\r\nHost: evil\r\n",
        "Host: edge\r\nHost:\r\n",
        "Host:\r\nHost: edge\r\n",
        "Host : edge\r\n",
        "Host: edge\r\n evil\r\n",
        "Host\r\n",
        "Host: edge\r\nHost : evil\r\n",
        " Host: evil\r\nHost: edge\r\n",
        "Hos: edge\r\n",
        "Host:edge\r\nHost\t:evil\r\n",
    ] {
        let whole = format!("GET /case HTTP/1.1\r\n{fields}\r\n");
        cases.push(Case::new(named("hosts", fields.as_bytes()), why, Meaning::Refused, whole));
    }
    let empty = Expected { host: String::new(), ..get() };
    cases.push(Case::new(
        "an empty Host",
        "empty is by the grammar",
        Meaning::Either(empty),
        "GET /case HTTP/1.1\r\nHost:\r\n\r\n",
    ));
    let why = "HTTP/1.0 may have a Host, once";
    cases.push(Case::new(
        "HTTP/1.0 with a Host",
        why,
        Meaning::One(get()),
        "GET /case HTTP/1.0\r\nHost: edge\r\n\r\n",
    ));
    cases.push(Case::new(
        "HTTP/1.0 with two",
        why,
        Meaning::Refused,
        "GET /case HTTP/1.0\r\nHost: edge\r\nHost: evil\r\n\r\n",
    ));
    cases
}
