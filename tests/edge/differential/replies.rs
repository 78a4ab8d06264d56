//! What the backend answers, by the target of the request: bytes, exactly.

use crate::backend::{Closed, Talk};
use crate::reader::Head;

/// What ends the connection once it is said.
const CLOSES: &[&str] =
    &["until-close", "empty-until-close", "old", "big-until-close", "says-close"];

/// `/reply/NAME` answers with a reply of this table, `/status/CODE` with that status; all else is answered with what it was.
pub(super) fn script(head: &Head, talk: &mut Talk) -> Result<(), Closed> {
    if head.one("expect").is_some_and(|e| e.eq_ignore_ascii_case("100-continue")) {
        talk.send("HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let path = head.target.split('?').next().unwrap_or_default();
    if let Some(name) = path.strip_prefix("/reply/") {
        talk.rest()?;
        let mut whole = reply(name);
        if head.method == "HEAD" {
            let end = whole.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
            whole.truncate(end);
        }
        talk.send(whole)?;
        return if CLOSES.contains(&name) { Err(Closed) } else { Ok(()) };
    }
    if let Some(code) = path.strip_prefix("/status/") {
        talk.rest()?;
        return talk.send(status(code, &head.method));
    }
    talk.echo_as_sent(head)
}

fn status(code: &str, method: &str) -> String {
    let more = match code {
        "301" | "302" | "303" | "307" | "308" => "Location: https://elsewhere.example/x?y=z\r\n",
        "401" => "WWW-Authenticate: Basic realm=\"a, b\"\r\nWWW-Authenticate: Bearer\r\n",
        "407" => "Proxy-Authenticate: Basic realm=\"x\"\r\n",
        "405" => "Allow: GET, HEAD\r\n",
        "429" | "503" => "Retry-After: 7\r\n",
        "206" => "Content-Range: bytes 0-3/10\r\n",
        "416" => "Content-Range: bytes */10\r\n",
        "304" => "ETag: \"abc\"\r\nCache-Control: max-age=5\r\n",
        _ => "",
    };
    let has_body = method != "HEAD" && !matches!(code, "204" | "304" | "205");
    let length = match code {
        "204" | "304" => "",
        "205" => "Content-Length: 0\r\n",
        _ => "Content-Length: 4\r\n",
    };
    format!("HTTP/1.1 {code} Said So\r\n{more}{length}\r\n{}", if has_body { "body" } else { "" })
}

/// No two pieces of a power of two in length are alike, so that a lost one is seen.
pub(super) fn long(length: usize) -> Vec<u8> {
    let round: Vec<u8> = (0..251).collect();
    let mut all = round.repeat(length / round.len() + 1);
    all.truncate(length);
    all
}

/// A body as chunks of these sizes, in turn.
pub(super) fn chunks(body: &[u8], sizes: &[usize]) -> Vec<u8> {
    let (mut all, mut rest, mut turn) = (Vec::new(), body, 0);
    while !rest.is_empty() {
        let (chunk, behind) = rest.split_at(sizes[turn % sizes.len()].min(rest.len()));
        all.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        all.extend(chunk);
        all.extend(b"\r\n");
        (rest, turn) = (behind, turn + 1);
    }
    all
}

fn with(head: &str, body: &[u8]) -> Vec<u8> {
    [b"HTTP/1.1 ", head.as_bytes(), b"\r\n\r\n", body].concat()
}

fn reply(name: &str) -> Vec<u8> {
    let gzip: &[u8] = &[
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 7, 0, 0x86, 0xa6, 0x10,
        0x36, 5, 0, 0, 0,
    ];
    let chunked = "200 OK\r\nTransfer-Encoding: chunked";
    match name {
        "plain" => with("200 OK\r\nContent-Length: 5", b"hello"),
        "empty" => with("200 OK\r\nContent-Length: 0", b""),
        "chunked" => with(chunked, b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"),
        "chunked-empty" => with(chunked, b"0\r\n\r\n"),
        "chunk-extensions" => with(chunked, b"5;a=b\r\nhello\r\n0;c\r\n\r\n"),
        "trailers" => with(
            &format!("{chunked}\r\nTrailer: X-Sum, X-Other"),
            b"5\r\nhello\r\n0\r\nX-Sum: 532\r\nX-Other: a\r\n\r\n",
        ),
        "until-close" => with("200 OK\r\nConnection: close", b"until the end"),
        "empty-until-close" => with("200 OK\r\nConnection: close", b""),
        "says-close" => with("200 OK\r\nConnection: close\r\nContent-Length: 5", b"hello"),
        "old" => b"HTTP/1.0 200 OK\r\nX-Old: yes\r\n\r\nold body".to_vec(),
        "old-length" => {
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nold".to_vec()
        }
        "hints" => [
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n".to_vec(),
            with("200 OK\r\nContent-Length: 5", b"hello"),
        ]
        .concat(),
        "interims" => [
            b"HTTP/1.1 102 Processing\r\n\r\n".repeat(3),
            with("200 OK\r\nContent-Length: 5", b"hello"),
        ]
        .concat(),
        "gzip" => with(
            &format!(
                "200 OK\r\nContent-Encoding: gzip\r\nVary: Accept-Encoding\r\nContent-Length: {}",
                gzip.len()
            ),
            gzip,
        ),
        "gzip-chunked" => with(
            &format!("{chunked}\r\nContent-Encoding: gzip"),
            &[chunks(gzip, &[3]), b"0\r\n\r\n".to_vec()].concat(),
        ),
        "cookies" => with(
            "200 OK\r\nSet-Cookie: a=1; Path=/; HttpOnly\r\nSet-Cookie: b=2; Expires=Wed, 21 Oct 2037 07:28:00 GMT\r\nSet-Cookie: c=\r\nContent-Length: 0",
            b"",
        ),
        "no-reason" => with("200 \r\nContent-Length: 2", b"ok"),
        "odd-reason" => with("200 It is (quite) fine; caf\u{e9}!\r\nContent-Length: 2", b"ok"),
        "utf8" => with(
            "200 OK\r\nX-Name: Gr\u{fc}\u{df}e \u{2603}\r\nContent-Disposition: attachment; filename=\"\u{e9}.txt\"\r\nContent-Length: 2",
            b"ok",
        ),
        "odd-fields" => with(
            "200 OK\r\nX-Empty:\r\nX-Spaces:    a  b   \r\nx-lower: 1\r\nX-LOWER: 2\r\nX!#$%&'*+-.^_`|~9: tokens\r\nX-Quoted: \"a, \\\"b\\\"\"\r\nContent-Length: 0",
            b"",
        ),
        "names" => {
            let fields = (0..90).map(|n| format!("\r\nX-Field-{n}: {n}"));
            let same = (0..30).map(|n| format!("\r\nX-Same: {n}"));
            let all: String = fields.chain(same).collect();
            with(&format!("200 OK\r\nContent-Length: 2{all}"), b"ok")
        }
        "wide" => {
            with(&format!("200 OK\r\nContent-Length: 2\r\nX-Wide: {}", "w".repeat(3000)), b"ok")
        }
        "big" => with("200 OK\r\nContent-Length: 3000000", &long(3_000_000)),
        "big-chunked" => with(
            chunked,
            &[chunks(&long(2_000_000), &[1, 70_000, 17, 4096, 65_536]), b"0\r\n\r\n".to_vec()]
                .concat(),
        ),
        "big-until-close" => with("200 OK\r\nConnection: close", &long(1_000_000)),
        "events" => with(
            &format!("{chunked}\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache"),
            &[
                chunks(
                    b"data: one\n\ndata: two\n\n: ping\n\nevent: end\ndata: three\n\n",
                    &[11, 11, 8],
                ),
                b"0\r\n\r\n".to_vec(),
            ]
            .concat(),
        ),
        "range" => with(
            "206 Partial Content\r\nContent-Range: bytes 2-5/10\r\nAccept-Ranges: bytes\r\nContent-Length: 4",
            b"2345",
        ),
        "ranges" => with(
            "206 Partial Content\r\nContent-Type: multipart/byteranges; boundary=B\r\nContent-Length: 68",
            b"--B\r\nContent-Range: bytes 0-0/9\r\n\r\n0\r\n--B\r\nContent-Range: bytes 8-8/9\r",
        ),
        "etag" => with(
            "200 OK\r\nETag: W/\"x\"\r\nLast-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\nAge: 3\r\nCache-Control: private\r\nContent-Length: 2",
            b"ok",
        ),
        "server" => with(
            "200 OK\r\nServer: mine/1.0\r\nX-Powered-By: tests\r\nDate: Wed, 21 Oct 2015 07:28:00 GMT\r\nContent-Length: 2",
            b"ok",
        ),
        "hops" => with(
            "200 OK\r\nConnection: X-Hop\r\nX-Hop: y\r\nKeep-Alive: timeout=9\r\nContent-Length: 2",
            b"ok",
        ),
        "bytes" => with(
            "200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 256",
            &(0..=255).collect::<Vec<u8>>(),
        ),
        "problem" => with(
            "422 Unprocessable Content\r\nContent-Type: application/problem+json\r\nContent-Length: 15",
            b"{\"status\": 422}",
        ),
        other => panic!("no reply {other}"),
    }
}
