//! Fields of h2, and those that stand for the request line (RFC 9113 8.2 and 8.3).

use super::{Fields, STREAM, bare, case, getting, posting, refused, request};
use crate::frames::{END_HEADERS, END_STREAM, HEADERS, block, frame};
use crate::smuggling::case::{Case, Expected, Meaning, get, named};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = plain();
    cases.extend(pseudo());
    cases
}

/// Names and values that are lines of their own in HTTP/1.1 (RFC 9113 8.2.1), or count for one hop (8.2.2).
fn plain() -> Vec<Case> {
    let mut cases = Vec::new();
    let hops: [(&[u8], &[u8]); 12] = [
        (b"connection", b"close"),
        (b"connection", b"x-user-id"),
        (b"connection", b"content-length"),
        (b"keep-alive", b"timeout=5"),
        (b"proxy-connection", b"keep-alive"),
        (b"transfer-encoding", b"chunked"),
        (b"transfer-encoding", b"identity"),
        (b"transfer-encoding", b"xchunked"),
        (b"upgrade", b"websocket"),
        (b"upgrade", b"h2c"),
        (b"te", b"chunked"),
        (b"te", b"gzip, trailers"),
    ];
    for (name, value) in hops {
        let why = "a field of the connection has no place in h2: malformed (RFC 9113 8.2.2)";
        let called = format!("{} {}", name.escape_ascii(), value.escape_ascii());
        let meaning = if name == b"te" { Meaning::Either(get()) } else { refused() };
        let frames = getting(&[(b"x-user-id", b"alice"), (name, value)]);
        cases.push(case(format!("field {called}"), why, meaning, frames));
        if name == b"transfer-encoding" {
            let frames = posting(
                &[(name, value)],
                &[b"0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: edge\r\n\r\n"],
            );
            cases.push(case(format!("field {called} with a body"), why, refused(), frames));
            let frames = posting(
                &[(b"content-length", b"38"), (name, value)],
                &[b"0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: e\r\n\r\n"],
            );
            cases.push(case(format!("field {called} with a length"), why, refused(), frames));
        }
    }
    let why = "a byte that ends a line or a name in HTTP/1.1: malformed (RFC 9113 8.2.1)";
    let names: [&[u8]; 22] = [
        b"",
        b"X",
        b"x-Upper",
        b"x y",
        b"x:",
        b"x: y",
        b":x",
        b"x\r\ny",
        b"x\ny",
        b"x\ry",
        b"x\0y",
        b"x\x7f",
        b"x\x0b",
        b"x\xc3\xa9",
        b" x",
        b"x ",
        b"\tx",
        b"x: y\r\ntransfer-encoding",
        b"x\r\n\r\nGET /hidden HTTP/1.1\r\nhost: edge\r\ny",
        b"x(",
        b"x\"",
        b"x/y",
    ];
    for name in names {
        cases.push(case(named("name", name), why, refused(), getting(&[(name, b"chunked")])));
    }
    let values: [&[u8]; 13] = [
        b"a\r\nb: c",
        b"a\nb: c",
        b"a\rb: c",
        b"a\0b",
        b"\r\n",
        b"\n",
        b"a\r\n",
        b"a\n",
        b"a\r\n\r\nGET /hidden HTTP/1.1\r\nhost: edge\r\n\r\n",
        b"a\r\ntransfer-encoding: chunked",
        b"a\n b",
        b"a\r\n b",
        b"\0",
    ];
    for value in values {
        cases.push(case(named("value", value), why, refused(), getting(&[(b"x", value)])));
    }
    let why = "white space around a value is malformed, or is nothing";
    for value in [&b" a"[..], b"a ", b"\ta", b" "] {
        cases.push(case(
            named("value", value),
            why,
            Meaning::Either(get()),
            getting(&[(b"x", value)]),
        ));
    }
    for byte in [1_u8, 8, 0x0b, 0x0c, 0x1b, 0x1f, 0x7f] {
        let value = [b'a', byte, b'b'];
        let why = "a control byte is refused, or never comes out";
        cases.push(case(
            named("value", &value),
            why,
            Meaning::Either(get()),
            getting(&[(b"x", &value)]),
        ));
    }
    let why = "an alias of a name that says who calls";
    let frames = getting(&[(b"x-user-id", b"alice"), (b"x_user_id", b"mallory")]);
    cases.push(case("alias x_user_id", why, Meaning::Either(get()), frames).lacks(&["x_user_id"]));
    let why = "cookies in pieces are one (RFC 9113 8.2.3)";
    let frames = getting(&[(b"cookie", b"a=b"), (b"cookie", b"c=d")]);
    cases.push(case("cookies in pieces", why, Meaning::One(get()), frames));
    cases
}

/// Pseudo fields (RFC 9113 8.3).
fn pseudo() -> Vec<Case> {
    let mut cases = Vec::new();
    let (m, s, a, p): (&[u8], &[u8], &[u8], &[u8]) =
        (b":method", b":scheme", b":authority", b":path");
    let whole: Fields<'_> = request("GET", "/case");
    let why = "a pseudo field that is missing, repeated, unknown, empty or late: malformed (RFC 9113 8.3)";
    let without =
        |name: &[u8]| whole.iter().copied().filter(|(n, _)| *n != name).collect::<Fields<'_>>();
    for name in [m, s, p] {
        cases.push(case(named("without", name), why, refused(), bare(&without(name))));
    }
    for (name, value) in [
        (m, &b"POST"[..]),
        (s, b"https"),
        (a, b"evil"),
        (p, b"/hidden"),
        (b":status", b"200"),
        (b":x", b"y"),
        (b":", b"y"),
        (b":protocol", b"websocket"),
    ] {
        let twice = [&whole[..], &[(name, value)]].concat();
        cases.push(case(named("also", name), why, refused(), bare(&twice)));
    }
    for name in [m, s, a, p] {
        let value = whole.iter().find(|(n, _)| *n == name).map_or(&b""[..], |(_, v)| v);
        let late = [&without(name)[..], &[(b"x", b"y"), (name, value)]].concat();
        cases.push(case(named("late", name), why, refused(), bare(&late)));
    }
    let odd: [(&[u8], &[u8]); 29] = [
        (m, b""),
        (m, b"GET /hidden HTTP/1.1\r\nx: y"),
        (m, b"GET\r\n"),
        (m, b"G T"),
        (m, b"GET\n"),
        (m, b"G\0T"),
        (m, b"GET:"),
        (m, b"\xc3\xa9"),
        (m, b"CONNECT"),
        (p, b""),
        (p, b"case"),
        (p, b"/case x"),
        (p, b"/case HTTP/1.1\r\nhost: edge\r\n\r\nGET /hidden"),
        (p, b"/case\r\nx: y"),
        (p, b"/case\n"),
        (p, b"/ca\0se"),
        (p, b"/ca\tse"),
        (p, b"*"),
        (p, b"http://evil/case"),
        (p, b"/caf\xc3\xa9"),
        (p, b"/\x7f"),
        (a, b"edge evil"),
        (a, b"edge\r\nx: y"),
        (a, b"a@edge"),
        (a, b"edge/x"),
        (a, b"edge\0"),
        (a, b"edge\n"),
        (s, b"http\r\nx: y"),
        (s, b"http://evil/?"),
    ];
    for (name, value) in odd {
        let fields = changed(&whole, name, value);
        let called = format!("{} \"{}\"", name.escape_ascii(), value.escape_ascii());
        let why = "a request line or a Host that is none, or several lines (RFC 9113 8.3.1)";
        cases.push(case(called, why, refused(), bare(&fields)));
    }
    for scheme in ["https", "ftp", ""] {
        let why = "a scheme that is not the connection's is refused, or without effect";
        let frames = bare(&changed(&whole, s, scheme.as_bytes()));
        let case = case(format!(":scheme \"{scheme}\""), why, Meaning::Either(get()), frames);
        cases.push(case.passes("a scheme has no effect, and never comes out"));
    }
    let why = "a fragment is no part of a path (RFC 9113 8.3.1): it never comes out";
    let frames = bare(&changed(&whole, p, b"/case#x"));
    let case = case(":path with a fragment", why, Meaning::Either(get()), frames);
    cases.push(case.passes("the decoder has dropped it before anybody acts on the path"));
    cases.extend(authorities(&whole));
    cases
}

/// The same with another value for one of them.
fn changed<'a>(whole: &Fields<'a>, name: &[u8], value: &'a [u8]) -> Fields<'a> {
    whole.iter().map(|(n, v)| (*n, if *n == name { value } else { *v })).collect()
}

/// `:authority` and `host` (RFC 9113 8.3.1).
fn authorities(whole: &Fields<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    let none: Fields<'_> = whole.iter().copied().filter(|(n, _)| *n != b":authority").collect();
    let with = |hosts: &[&'static [u8]], rest: &Fields<'_>| {
        let hosts: Vec<(&[u8], &[u8])> = hosts.iter().map(|h| (&b"host"[..], *h)).collect();
        frame(HEADERS, END_STREAM | END_HEADERS, STREAM, &block(&[&rest[..], &hosts[..]].concat()))
    };
    let why = "one host: `:authority` counts; a `host` that differs is malformed, or dropped (RFC 9113 8.3.1)";
    cases.push(case("host as well", why, Meaning::Either(get()), with(&[b"edge"], whole)));
    cases.push(case("host that differs", why, Meaning::Either(get()), with(&[b"evil"], whole)));
    cases.push(case("host instead", why, Meaning::Either(get()), with(&[b"edge"], &none)));
    cases.push(case("two hosts instead", why, refused(), with(&[b"edge", b"evil"], &none)));
    cases.push(case(
        "two hosts as well",
        why,
        Meaning::Either(get()),
        with(&[b"edge", b"evil"], whole),
    ));
    cases.push(case("host with a line", why, refused(), with(&[b"edge\r\nx: y"], &none)));
    cases.push(case("no host", why, refused(), with(&[], &none)));
    let empty = Expected { host: String::new(), ..get() };
    let fields: Fields<'_> =
        whole.iter().map(|(n, v)| (*n, if *n == b":authority" { &b""[..] } else { *v })).collect();
    cases.push(case("empty :authority", why, Meaning::Either(empty), with(&[], &fields)));
    cases
}
