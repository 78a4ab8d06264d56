//! What counts for one hop only: Connection, Upgrade, Expect, TE: RFC 9110 7.6, 7.8 and 10.1.

use super::case::{Case, Expected, Meaning, bytes, expect, get, getting, named, post, posting};

/// Refused by any proxy that still reads requests; whoever lets it through after a failed upgrade has made a tunnel.
const RAW: &[u8] =
    b"GET /tunnelled HTTP/1.1\r\nHost: edge\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n";

/// Fields that a client may not have taken off by naming them as options of its connection, with what must come out still.
const NAMED: &[(&str, &str, &[&str])] = &[
    ("close, content-length", "Content-Length: 5", &[]),
    ("content-length", "Content-Length: 5", &[]),
    ("Content-Length, keep-alive", "Content-Length: 5", &[]),
    ("close, host", "Content-Length: 5", &["host"]),
    ("host", "Content-Length: 5", &["host"]),
    ("x-forwarded-for", "Content-Length: 5", &["x-forwarded-for"]),
    (
        "close, X-Forwarded-For",
        "X-Forwarded-For: 192.0.2.1\r\nContent-Length: 5",
        &["x-forwarded-for"],
    ),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (option, fields, keeps) in NAMED {
        let why = "a proxy that takes off what is named takes off what frames or names the request (RFC 9110 7.6.1)";
        let whole = posting(format!("Connection: {option}\r\n{fields}\r\n"), "hello");
        let name = format!("{} {}", named("connection option", option.as_bytes()), fields.len());
        cases.push(Case::new(name, why, Meaning::Either(post("hello")), whole).keeps(keeps));
    }
    for option in ["transfer-encoding", "close, Transfer-Encoding"] {
        let why = "a coding that is taken off leaves a body without an end";
        let fields = format!("Connection: {option}\r\nTransfer-Encoding: chunked\r\n");
        let whole = posting(fields, "5\r\nhello\r\n0\r\n\r\n");
        cases.push(Case::new(
            named("connection option", option.as_bytes()),
            why,
            Meaning::Either(post("hello")),
            whole,
        ));
    }
    for option in ["x-user-id", "close, x-user-id", "X-USER-ID", "authorization", "cookie"] {
        let why = "who is named as an option is taken off: a server behind sees nobody, whom it may trust";
        let fields = format!(
            "Connection: {option}\r\nX-User-Id: alice\r\nAuthorization: Basic eDp5\r\nCookie: a=b\r\n"
        );
        let case = Case::new(
            named("connection option", option.as_bytes()),
            why,
            Meaning::Either(get()),
            getting(fields),
        );
        cases.push(case.keeps(&["x-user-id", "authorization", "cookie"]));
    }
    for value in [
        "",
        ",",
        ", ,",
        "keep-alive, close",
        "\"close\"",
        "close;x",
        "x y",
        "close\r\nConnection: keep-alive",
        "@",
        "upgrade",
    ] {
        let why = "options without sense frame nothing";
        let fields = format!("Connection: {value}\r\n");
        cases.push(Case::new(
            named("connection", value.as_bytes()),
            why,
            Meaning::Either(get()),
            getting(fields),
        ));
    }
    for (line, name) in [
        ("Connection: x-hop\r\nX-Hop: y", "x-hop"),
        ("Connection: close, X-Hop\r\nX-Hop: y", "x-hop"),
        ("Proxy-Connection: keep-alive", "proxy-connection"),
        ("Keep-Alive: timeout=100", "keep-alive"),
        ("TE: chunked", "te"),
    ] {
        let why = "meant for this hop: a proxy takes it off (RFC 9110 7.6.1)";
        let case = Case::new(
            format!("hop {name} {}", line.len()),
            why,
            Meaning::Either(get()),
            getting(format!("{line}\r\n")),
        );
        cases.push(case.lacks(if name == "x-hop" { &["x-hop"] } else { &[] }));
    }
    cases.extend(aliases());
    cases.extend(expects());
    cases.extend(upgrades());
    cases.extend(pipelined());
    cases
}

/// Names that gateways to CGI and WSGI take for another.
fn aliases() -> Vec<Case> {
    let names = ["X_User_Id", "x-user_id", "X_USER-ID", "x_user_id"];
    let case = |name: &&str| {
        let why = "many servers read `_` as `-`: beside the real one, or in its place, it says who somebody else is";
        let fields = format!("X-User-Id: alice\r\n{name}: mallory\r\n");
        let case = Case::new(format!("alias {name}"), why, Meaning::Either(get()), getting(fields));
        case.lacks(&["x_user_id", "x-user_id"])
    };
    names.iter().map(case).collect()
}

fn expects() -> Vec<Case> {
    let mut cases = Vec::new();
    let why = "an expectation that is not 100-continue is refused or passed; the body stays a body (RFC 9110 10.1.1)";
    let lines = [
        "Expect: 100-continue",
        "Expect: 100-Continue",
        "Expect: 100-continue, 100-continue",
        "Expect: 200-ok",
        "Expect: ",
        "Expect: x=y",
        "Expect: 100-continue\r\nExpect: 100-continue",
        "Expect: 100-continue;q=1",
        "Expect:100-continue\r\nExpect: x",
        "Expect: 100 continue",
        "Expect: y 100-continue",
    ];
    for lines in lines {
        for (way, framing, body) in [
            ("length", "Content-Length: 5\r\n", "hello"),
            ("chunked", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
            ("no body", "", ""),
        ] {
            let whole = posting(format!("{lines}\r\n{framing}"), body);
            let meant = post(if way == "no body" { "" } else { "hello" });
            let name = format!("{}, {way}", named("expect", lines.as_bytes()));
            cases.push(Case::new(name, why, Meaning::Either(meant), whole));
        }
    }
    let whole = "POST /case HTTP/1.0\r\nHost: edge\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello";
    cases.push(Case::new("expect in HTTP/1.0", why, Meaning::Either(post("hello")), whole));
    let whole = getting("Expect: 100-continue\r\n");
    cases.push(Case::new("expect on GET", why, Meaning::Either(get()), whole));
    cases
}

/// The backend answers all of these with 200: no tunnel may be left.
fn upgrades() -> Vec<Case> {
    let why = "an upgrade that the server refuses leaves no tunnel: what follows is read as requests (RFC 9110 7.8)";
    let mut cases = Vec::new();
    let fields = [
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        "Connection: Upgrade\r\nUpgrade: WebSocket\r\n",
        "Connection: upgrade, keep-alive\r\nUpgrade: websocket\r\n",
        "Upgrade: websocket\r\n",
        "Connection: Upgrade\r\n",
        "Connection: Upgrade\r\nUpgrade: x\r\n",
        "Connection: Upgrade\r\nUpgrade: \r\n",
        "Connection: close, Upgrade\r\nUpgrade: websocket\r\n",
        "Connection: Upgrade\r\nUpgrade: TLS/1.0, HTTP/1.1\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: x\r\n",
    ];
    for fields in fields {
        let whole = bytes(&[&getting(fields), RAW]);
        cases.push(Case::new(
            named("upgrade", &fields.as_bytes()[..fields.len().min(60)])
                + &fields.len().to_string(),
            why,
            Meaning::Last(get()),
            whole,
        ));
    }
    let body = bytes(&[
        &posting("Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n", "hello"),
        RAW,
    ]);
    cases.push(Case::new("upgrade with a body", why, Meaning::Last(post("hello")), body));
    let chunked = "Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n";
    let body = bytes(&[&posting(chunked, "5\r\nhello\r\n0\r\n\r\n"), RAW]);
    cases.push(Case::new("upgrade with a chunked body", why, Meaning::Last(post("hello")), body));
    let old = bytes(&[
        b"GET /case HTTP/1.0\r\nHost: edge\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        RAW,
    ]);
    cases.push(Case::new("upgrade in HTTP/1.0", why, Meaning::Last(get()), old));
    let head = bytes(&[
        b"HEAD /case HTTP/1.1\r\nHost: edge\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        RAW,
    ]);
    cases.push(Case::new("upgrade of HEAD", why, Meaning::Last(expect("HEAD", "/case", "")), head));
    let why = "h2c past a proxy is a tunnel for requests that it never sees: the offer may not come out (RFC 9113 3.1)";
    for (name, upgrade) in [
        ("h2c", "h2c"),
        ("H2C", "H2C"),
        ("websocket, h2c", "websocket, h2c"),
        ("h2c, websocket", "h2c, websocket"),
        ("h2", "h2"),
    ] {
        for option in ["Upgrade, HTTP2-Settings", "Upgrade", "HTTP2-Settings"] {
            let fields = format!(
                "Connection: {option}\r\nUpgrade: {upgrade}\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
            );
            let whole = bytes(&[&getting(fields), RAW]);
            let case =
                Case::new(format!("offer of {name}, {option}"), why, Meaning::Last(get()), whole);
            cases.push(case.lacks(&["upgrade: h2", "http2-settings"]));
        }
    }
    cases
}

/// A first request that is well, and a second that is not.
fn pipelined() -> Vec<Case> {
    let why = "what is behind a request is judged as if it were alone";
    let seconds: [(&str, &[u8]); 6] = [
        ("two lengths", b"POST /second HTTP/1.1\r\nHost: edge\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
        ("a length and a coding", b"POST /second HTTP/1.1\r\nHost: edge\r\nContent-Length: 5\r\nTransfer-Encoding: xchunked\r\n\r\nhello"),
        ("no Host", b"GET /second HTTP/1.1\r\n\r\n"),
        ("noise", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"),
        ("a bad chunk", b"POST /second HTTP/1.1\r\nHost: edge\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n"),
        ("a space before the colon", b"GET /second HTTP/1.1\r\nHost: edge\r\nX : y\r\n\r\n"),
    ];
    let mut cases = Vec::new();
    for (name, second) in seconds {
        let firsts: [(&str, Vec<u8>, Expected); 3] = [
            ("a GET", getting(""), get()),
            ("a POST", posting("Content-Length: 5\r\n", "hello"), post("hello")),
            (
                "a chunked POST",
                posting("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
                post("hello"),
            ),
        ];
        for (first, bytes_first, meant) in firsts {
            let whole = bytes(&[&bytes_first, second]);
            cases.push(Case::new(
                format!("{name} behind {first}"),
                why,
                Meaning::Last(meant),
                whole,
            ));
        }
    }
    cases
}
