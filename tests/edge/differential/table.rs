//! The conversations: what clients really do, and what they may.

use super::exchange::{Exchange, May, Step};
use super::replies::{chunks, long};

/// A request without a body, and its answer.
pub(super) fn plain(method: &'static str, target: &str) -> Exchange {
    fielded(format!("{method} {}", &target[..target.len().min(80)]), method, target, "")
}

fn fielded(name: impl Into<String>, method: &'static str, target: &str, fields: &str) -> Exchange {
    let request = format!("{method} {target} HTTP/1.1\r\nHost: edge\r\n{fields}\r\n");
    Exchange::new(name, vec![Step::Send(request.into_bytes()), Step::Answer(method)])
}

/// A request with a body, framed as it says.
fn bodied(name: &str, method: &'static str, target: &str, fields: &str, body: &[u8]) -> Exchange {
    let head = format!("{method} {target} HTTP/1.1\r\nHost: edge\r\n{fields}\r\n");
    let whole = [head.as_bytes(), body].concat();
    Exchange::new(name, vec![Step::Send(whole), Step::Answer(method)])
}

/// What may be otherwise at each of them, and why.
fn known(exchange: Exchange) -> Exchange {
    let name = exchange.name.clone();
    let exchange = exchange.at("nginx", &[May::Field("server")], "it puts its own name there");
    match name.as_str() {
        "GET /reply/hints" | "GET /reply/interims" => {
            exchange.at("nginx", &[May::DropInterim], "1.22 knows no early hints")
        }
        "GET /reply/trailers" | "trailers up" => {
            let exchange = exchange.at("nginx", &[May::DropTrailers], "it drops trailers");
            let why = "its HTTP/1 drops trailers, as one may (RFC 9110 6.5.1)";
            exchange.at("fairlead", &[May::DropTrailers], why)
        }
        "GET /reply/hops" => {
            let why = "it is named in Connection: taken off (RFC 9110 7.6.1)";
            exchange.at("fairlead", &[May::Field("x-hop")], why)
        }
        "GET /status/407" => {
            let why = "meant for whoever asks a proxy, which nobody does here (RFC 9110 11.7.1)";
            exchange.at("fairlead", &[May::Field("proxy-authenticate")], why)
        }
        "two cookie fields" => {
            let why = "they become one, which means the same (RFC 6265 5.4, RFC 9113 8.2.3)";
            exchange.at("fairlead", &[May::Field("cookie")], why)
        }
        "odd names" => {
            exchange.at("nginx", &[May::Field("x!#$%&'*+-.^`|~9")], "it drops odd names")
        }
        _ => exchange,
    }
}

/// All of them.
pub(super) fn table() -> Vec<Exchange> {
    let mut table = Vec::new();
    for method in
        ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "PROPFIND", "FOO"]
    {
        table.push(plain(method, "/echo"));
    }
    table.extend(TARGETS.iter().map(|target| plain("GET", target)));
    table.extend(STATUSES.iter().map(|code| plain("GET", &format!("/status/{code}"))));
    table.extend(
        ["200", "204", "304", "404", "206"].map(|code| plain("HEAD", &format!("/status/{code}"))),
    );
    table.extend(REPLIES.iter().map(|name| plain("GET", &format!("/reply/{name}"))));
    table.extend(
        ["plain", "chunked", "big", "gzip", "until-close", "etag"]
            .map(|name| plain("HEAD", &format!("/reply/{name}"))),
    );
    for (name, fields) in FIELDS {
        table.push(fielded(*name, "GET", "/echo", fields));
    }
    let many: String = (0..60).map(|n| format!("X-Many: {n}\r\n")).collect();
    table.push(fielded("60 fields of one name", "GET", "/echo", &many));
    let names: String = (0..90).map(|n| format!("X-Field-{n}: {n}\r\n")).collect();
    table.push(fielded("90 fields", "GET", "/echo", &names));
    table.push(fielded(
        "a field of 20 kB",
        "GET",
        "/echo",
        &format!("X-Long: {}\r\n", "v".repeat(20_000)),
    ));
    table.push(fielded(
        "a cookie of 6 kB",
        "GET",
        "/echo",
        &format!("Cookie: a={}\r\n", "c".repeat(6_000)),
    ));
    table.push(plain("GET", &format!("/echo?{}", "q".repeat(6_000))));
    table.extend(bodies());
    table.extend(conversations());
    table.extend(super::inspected::table());
    table.into_iter().map(known).collect()
}

const TARGETS: &[&str] = &[
    "/",
    "/?",
    "/?a=b",
    "/echo?a=b&c=d&a=e",
    "/echo?a=%20b%26&c=",
    "/%7Euser/%C3%A9",
    "/a%2Fb%3Fc",
    "/a//b///c",
    "/a/./b",
    "/a/b;c=d;e",
    "/echo?a[]=1&b={x}",
    "/echo?x=http://other/y?z",
    "/echo?a=b+c",
    "/echo?%00",
    "/a:b@c",
    "/echo!$&'()*+,;=:@",
    "/echo?a=b=c",
    "/~",
    "/-._~",
    "/index.html",
    "/echo??",
    "/%25",
    "/echo?%E2%98%83",
];

const STATUSES: &[&str] = &[
    "200", "201", "202", "203", "204", "205", "206", "207", "226", "299", "300", "301", "302",
    "303", "304", "307", "308", "400", "401", "402", "403", "404", "405", "406", "407", "408",
    "409", "410", "411", "412", "413", "414", "415", "416", "417", "418", "421", "422", "423",
    "425", "426", "428", "429", "431", "451", "499", "500", "501", "502", "503", "504", "505",
    "507", "511", "599",
];

const REPLIES: &[&str] = &[
    "plain",
    "empty",
    "chunked",
    "chunked-empty",
    "chunk-extensions",
    "trailers",
    "until-close",
    "empty-until-close",
    "says-close",
    "old",
    "old-length",
    "hints",
    "interims",
    "gzip",
    "gzip-chunked",
    "cookies",
    "no-reason",
    "odd-reason",
    "utf8",
    "odd-fields",
    "names",
    "wide",
    "big",
    "big-chunked",
    "big-until-close",
    "events",
    "range",
    "ranges",
    "etag",
    "server",
    "hops",
    "bytes",
    "problem",
];

const FIELDS: &[(&str, &str)] = &[
    ("cookies", "Cookie: a=1; b=\"2\"; c=d=e\r\n"),
    ("two cookie fields", "Cookie: a=1\r\nCookie: b=2\r\n"),
    ("a range", "Range: bytes=2-5\r\nIf-Range: \"abc\"\r\n"),
    (
        "conditions",
        "If-None-Match: W/\"x\", \"y\"\r\nIf-Modified-Since: Wed, 21 Oct 2015 07:28:00 GMT\r\n",
    ),
    (
        "what a browser sends",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: text/html,*/*;q=0.8\r\nAccept-Language: de,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\nDNT: 1\r\nReferer: https://example.com/x?y#z\r\nSec-Fetch-Mode: navigate\r\n",
    ),
    ("credentials", "Authorization: Bearer abc.def.ghi\r\n"),
    ("other credentials", "Authorization: Basic YWxpY2U6c2VjcmV0\r\n"),
    ("an origin", "Origin: https://example.com\r\nAccess-Control-Request-Method: POST\r\n"),
    ("UTF-8", "X-Name: Gr\u{fc}\u{df}e \u{2603}\r\n"),
    (
        "odd values",
        "X-Empty:\r\nX-Tab: a\tb\r\nX-Quoted: \"a, \\\"b\\\"\"\r\nX-Spaces:   a  b   \r\n",
    ),
    ("odd names", "X!#$%&'*+-.^`|~9: tokens\r\nx-lower: 1\r\nX-UPPER: 2\r\n"),
    ("one name in several cases", "X-Case: 1\r\nx-case: 2\r\nX-CASE: 3\r\n"),
    ("close", "Connection: close\r\n"),
    ("keep-alive", "Connection: keep-alive\r\n"),
    ("trailers wanted", "TE: trailers\r\nConnection: TE\r\n"),
    ("no cache", "Cache-Control: no-cache\r\nPragma: no-cache\r\n"),
    ("max forwards", "Max-Forwards: 3\r\n"),
    ("a list over lines", "Accept: text/html\r\nAccept: text/plain\r\nVary: a\r\nVary: b\r\n"),
];

/// Bodies that go up.
fn bodies() -> Vec<Exchange> {
    let big = long(1_500_000);
    let length = |n: usize| format!("Content-Length: {n}\r\n");
    let json = "Content-Type: application/json\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let end: &[u8] = b"0\r\n\r\n";
    let gzip: &[u8] = &[
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 7, 0, 0x86, 0xa6, 0x10,
        0x36, 5, 0, 0, 0,
    ];
    vec![
        bodied("a body of 0", "POST", "/echo", &length(0), b""),
        bodied("a body of 1", "POST", "/echo", &length(1), b"x"),
        bodied("JSON", "POST", "/echo", &(json.to_owned() + &length(18)), br#"{"sessionId": "a"}"#),
        bodied(
            "JSON in chunks",
            "POST",
            "/echo",
            &(json.to_owned() + chunked),
            &[chunks(br#"{"sessionId": "a"}"#, &[3]), end.to_vec()].concat(),
        ),
        bodied(
            "no JSON that says so",
            "POST",
            "/echo",
            &(json.to_owned() + &length(5)),
            b"{\"a\":",
        ),
        bodied(
            "a form",
            "POST",
            "/echo",
            "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\n",
            b"a=b&c=d",
        ),
        bodied("PUT with a body", "PUT", "/echo", &length(5), b"hello"),
        bodied("PATCH with a body", "PATCH", "/echo", &length(5), b"hello"),
        bodied("DELETE with a body", "DELETE", "/echo", &length(5), b"hello"),
        bodied("GET with a body", "GET", "/echo", &length(5), b"hello"),
        bodied(
            "a chunked body",
            "POST",
            "/echo",
            chunked,
            b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        ),
        bodied("an empty chunked body", "POST", "/echo", chunked, end),
        bodied(
            "chunks of a byte",
            "POST",
            "/echo",
            chunked,
            &[chunks(&long(3000), &[1]), end.to_vec()].concat(),
        ),
        bodied(
            "trailers up",
            "POST",
            "/echo",
            &format!("{chunked}Trailer: X-Sum\r\n"),
            b"5\r\nhello\r\n0\r\nX-Sum: 532\r\n\r\n",
        ),
        bodied(
            "a gzip body",
            "POST",
            "/echo",
            &format!("Content-Encoding: gzip\r\n{}", length(gzip.len())),
            gzip,
        ),
        bodied("all bytes", "POST", "/reply/plain", &length(256), &(0..=255).collect::<Vec<u8>>()),
        bodied("a big body", "POST", "/reply/plain", &length(big.len()), &big),
        bodied(
            "a big chunked body",
            "POST",
            "/reply/plain",
            chunked,
            &[chunks(&big, &[1, 70_000, 17, 4096]), end.to_vec()].concat(),
        ),
        bodied("big both ways", "POST", "/reply/big", &length(big.len()), &big),
        bodied("a body of 64 KiB", "POST", "/reply/plain", &length(65_536), &long(65_536)),
        bodied("a body of 64 KiB and 1", "POST", "/reply/plain", &length(65_537), &long(65_537)),
        bodied(
            "a body like a request",
            "POST",
            "/echo",
            &length(36),
            b"GET /hidden HTTP/1.1\r\nHost: edge\r\n\r\n",
        ),
        bodied("a body like chunks", "POST", "/echo", &length(15), b"5\r\nhello\r\n0\r\n\r\n"),
    ]
}

fn get(target: &str, fields: &str) -> Step {
    Step::Send(format!("GET {target} HTTP/1.1\r\nHost: edge\r\n{fields}\r\n").into_bytes())
}

/// More than one request, or one in several pieces.
fn conversations() -> Vec<Exchange> {
    let send = |bytes: &str| Step::Send(bytes.as_bytes().to_vec());
    let answers = |count: usize| vec![Step::Answer("GET"); count];
    let mut table = Vec::new();
    for (name, reply) in [
        ("lengths", "plain"),
        ("chunks", "chunked"),
        ("nothing", "empty"),
        ("big ones", "big"),
        ("trailers", "chunk-extensions"),
    ] {
        let steps = (0..4)
            .flat_map(|n| [get(&format!("/reply/{reply}?{n}"), ""), Step::Answer("GET")])
            .collect();
        table.push(Exchange::new(format!("keep-alive with {name}"), steps));
    }
    let mixed: &[(&'static str, &str)] = &[
        ("HEAD", "/reply/big"),
        ("GET", "/status/204"),
        ("GET", "/status/304"),
        ("HEAD", "/reply/chunked"),
        ("GET", "/reply/plain"),
        ("OPTIONS", "/echo"),
    ];
    let steps = mixed.iter().flat_map(|(method, target)| {
        [
            Step::Send(format!("{method} {target} HTTP/1.1\r\nHost: edge\r\n\r\n").into_bytes()),
            Step::Answer(method),
        ]
    });
    table.push(Exchange::new("answers without bodies, one after another", steps.collect()));
    let five: String =
        (0..5).map(|n| format!("GET /echo?{n} HTTP/1.1\r\nHost: edge\r\n\r\n")).collect();
    table.push(Exchange::new("five at once", [vec![send(&five)], answers(5)].concat()));
    let posts: String = (0..3)
        .map(|n| {
            format!("POST /echo?{n} HTTP/1.1\r\nHost: edge\r\nContent-Length: 5\r\n\r\nhell{n}")
        })
        .collect();
    table.push(Exchange::new(
        "three with bodies at once",
        [vec![send(&posts)], vec![Step::Answer("POST"); 3]].concat(),
    ));
    let chunked = "POST /echo?1 HTTP/1.1\r\nHost: edge\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /echo?2 HTTP/1.1\r\nHost: edge\r\n\r\n";
    table.push(Exchange::new(
        "one behind a chunked one",
        [vec![send(chunked)], answers(2)].concat(),
    ));
    let many = format!(
        "POST /reply/plain?1 HTTP/1.1\r\nHost: edge\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\nGET /echo?2 HTTP/1.1\r\nHost: edge\r\n\r\n",
        "1\r\nx\r\n".repeat(5000)
    );
    table.push(Exchange::new("one behind 5000 chunks", [vec![send(&many)], answers(2)].concat()));
    for (name, more) in [
        ("a length", ("Content-Length: 5\r\n", "hello")),
        ("chunks", ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n")),
    ] {
        let head =
            format!("POST /echo HTTP/1.1\r\nHost: edge\r\nExpect: 100-continue\r\n{}\r\n", more.0);
        table.push(Exchange::new(
            format!("expect with {name}"),
            vec![send(&head), Step::Leave, send(more.1), Step::Answer("POST")],
        ));
        let both = head + more.1;
        table.push(Exchange::new(
            format!("expect with {name}, not waited for"),
            vec![send(&both), Step::Answer("POST")],
        ));
    }
    table.push(Exchange::new(
        "a body in pieces",
        vec![
            send("POST /echo HTTP/1.1\r\nHost: edge\r\nContent-Length: 10\r\n\r\n"),
            send("he"),
            send("llo"),
            send(" ther"),
            Step::Answer("POST"),
        ],
    ));
    table.push(Exchange::new(
        "a chunked body in pieces",
        vec![
            send("POST /echo HTTP/1.1\r\nHost: edge\r\nTransfer-Encoding: chunked\r\n\r\n"),
            send("5"),
            send("\r\nhe"),
            send("llo\r"),
            send("\n0\r\n"),
            send("\r\n"),
            Step::Answer("POST"),
        ],
    ));
    for (name, fields) in [("HTTP/1.0", ""), ("HTTP/1.0 that stays", "Connection: keep-alive\r\n")]
    {
        for target in ["/reply/plain", "/reply/chunked", "/reply/until-close", "/status/204"] {
            let request = format!("GET {target} HTTP/1.0\r\nHost: edge\r\n{fields}\r\n");
            table.push(Exchange::new(
                format!("{name} {target}"),
                vec![send(&request), Step::Answer("GET")],
            ));
        }
    }
    let old = "POST /echo HTTP/1.0\r\nHost: edge\r\nContent-Length: 5\r\n\r\nhello";
    table.push(Exchange::new("HTTP/1.0 with a body", vec![send(old), Step::Answer("POST")]));
    table
}
