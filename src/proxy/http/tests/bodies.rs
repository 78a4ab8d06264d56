//! Every byte of a body goes on, however it is framed and whether or not it is looked at.

use std::time::Duration;

use super::rig::{BUFFERED, Backend, Client, Rig, within};

const KIB: usize = 1024;
const BOUND: usize = 128 * KIB;
const SIZES: [usize; 12] = [
    0,
    1,
    100,
    16 * KIB,
    64 * KIB - 1,
    64 * KIB,
    64 * KIB + 1,
    BOUND - 1,
    BOUND,
    BOUND + 1,
    200 * KIB,
    300 * KIB,
];

fn body(len: usize) -> Vec<u8> {
    // No period that a buffer's size divides; and it may be JSON as far as its beginning says.
    (0..len).map(|n| if n == 0 { b'{' } else { b'a' + (n % 23) as u8 }).collect()
}

fn head(framing: &str, expect: bool) -> String {
    let expect = if expect { "Expect: 100-continue\r\n" } else { "" };
    format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{framing}\r\n{expect}\r\n"
    )
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut all = Vec::new();
    for chunk in body.chunks(size) {
        all.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        all.extend_from_slice(chunk);
        all.extend_from_slice(b"\r\n");
    }
    all.extend_from_slice(b"0\r\n\r\n");
    all
}

/// Sends head and body, and returns the status; the client reads while it writes.
async fn post(client: &mut Client, head: &str, body: Vec<u8>, expect: bool) -> u16 {
    client.send(head.as_bytes()).await;
    let mut answer = None;
    if expect {
        let first = client.answer().await;
        assert_eq!(first.status, 100);
    }
    client.send(&body).await;
    while answer.as_ref().is_none_or(|status| *status == 100) {
        answer = Some(client.answer().await.status);
    }
    answer.unwrap()
}

async fn all_sizes(inspected: Option<usize>) {
    for size in SIZES {
        for (framing, expect) in
            [("length", false), ("chunks", false), ("length", true), ("chunks", true)]
        {
            let backend = Backend::new().await;
            let rig = Rig::new(&[backend.address], |with| with.inspected = inspected).await;
            let mut client = rig.client().await;
            let (line, wire) = if framing == "length" {
                (format!("Content-Length: {size}"), body(size))
            } else {
                ("Transfer-Encoding: chunked".to_owned(), chunked(&body(size), 10_000))
            };
            // Nobody answers what needs no body.
            let expect = expect && size > 0;
            let what = format!("{size} {framing} {expect} {inspected:?}");
            if expect && inspected.is_none() {
                // The upstream here never says 100: its client would wait in vain.
                continue;
            }
            let status = post(&mut client, &head(&line, expect), wire, expect).await;
            assert_eq!(status, 200, "{what}");
            let got = backend.only();
            assert!(got.body == body(size), "{what}: {} came", got.body.len());
            assert_eq!(got.field("expect"), None, "{what}");
            // And the conn goes on.
            client.send(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n").await;
            assert_eq!(client.answer().await.status, 200, "{what}");
        }
    }
}

#[tokio::test]
async fn bodies_of_all_sizes_go_on_whole() {
    all_sizes(None).await;
}

#[tokio::test]
async fn bodies_that_are_looked_at_go_on_whole() {
    all_sizes(Some(BOUND)).await;
}

#[tokio::test]
async fn only_what_may_be_json_is_looked_at() {
    for (kind, begin) in [("text/plain", "{"), ("application/json", "  x"), ("text/json", "1")] {
        let backend = Backend::new().await;
        let rig = Rig::new(&[backend.address], |with| with.inspected = Some(10)).await;
        let mut client = rig.client().await;
        let length = begin.len() + 3;
        let head = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{begin}"
        );
        client.send(head.as_bytes()).await;
        // It goes on before it has ended.
        within(async {
            while !backend.bytes().concat().ends_with(format!("\r\n\r\n{begin}").as_bytes()) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        client.send(b"abc").await;
        assert_eq!(client.answer().await.status, 200, "{kind} {begin}");
        assert_eq!(backend.only().body, format!("{begin}abc").as_bytes());
    }
}

#[tokio::test]
async fn an_older_http_is_told_nothing_before_its_answer() {
    let backend = Backend::new().await;
    let rig = Rig::new(&[backend.address], |with| with.inspected = Some(10)).await;
    let mut client = rig.client().await;
    let fields = "Content-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue";
    client.send(format!("POST / HTTP/1.0\r\nHost: a\r\n{fields}\r\n\r\n{{}}").as_bytes()).await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(backend.only().field("expect"), None);
}

#[tokio::test]
async fn a_body_may_have_a_bound() {
    for (framing, inspected) in
        [("length", None), ("chunks", None), ("length", Some(BOUND)), ("chunks", Some(BOUND))]
    {
        let backend = Backend::new().await;
        let rig = Rig::new(&[backend.address], |with| {
            with.max_body = Some(1000);
            with.inspected = inspected;
        })
        .await;
        for (size, status) in [(1000, 200), (1001, 413)] {
            let (line, wire) = if framing == "length" {
                (format!("Content-Length: {size}"), body(size))
            } else {
                ("Transfer-Encoding: chunked".to_owned(), chunked(&body(size), 100))
            };
            let mut client = rig.client().await;
            assert_eq!(
                post(&mut client, &head(&line, false), wire, false).await,
                status,
                "{framing}"
            );
        }
        assert_eq!(backend.only().body.len(), 1000);
    }
}

#[tokio::test]
async fn bodies_that_are_looked_at_are_kept_within_what_all_may_keep() {
    let (tell, told) = tokio::sync::watch::channel(false);
    let backend = Backend::serving(move |mut socket, seen| {
        let mut told = told.clone();
        async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut buf = vec![0; 65_536];
            while !seen.lock().ends_with(b"last") {
                let n = socket.read(&mut buf).await.unwrap();
                seen.lock().extend_from_slice(&buf[..n]);
            }
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n";
            socket.write_all(head).await.unwrap();
            let _ = told.wait_for(|told| *told).await;
            let _ = socket.write_all(b"done").await;
        }
    })
    .await;
    let rig = Rig::new(&[backend.address], |with| with.inspected = Some(BUFFERED)).await;
    let large = BUFFERED - 100_000;
    let head_of = |length: usize| head(&format!("Content-Length: {length}"), false).into_bytes();
    let request = [head_of(large), body(large - 4)].concat();
    let (mut first, mut second) = (rig.client().await, rig.client().await);
    first.send(&request).await;
    within(async {
        while rig.listener.edge.metrics.bytes_in.get() < large as u64 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // It has not ended, and is held: there is no room for another, but for a little.
    second.send(&request[..200_000]).await;
    let answer = second.answer().await;
    assert_eq!((answer.status, &answer.json()["reason"]), (503, &"overloaded".into()));
    let mut little = rig.client().await;
    let small = [head_of(1000), body(996), b"last".to_vec()].concat();
    little.send(&small).await;
    assert!(little.until(b"\r\n\r\n").await.starts_with(b"HTTP/1.1 200"));
    // Once it is answered it is let go, however long the answer takes.
    first.send(b"last").await;
    assert!(first.until(b"\r\n\r\n").await.starts_with(b"HTTP/1.1 200"));
    let mut third = rig.client().await;
    third.send(&[&request[..], b"last"].concat()).await;
    assert!(third.until(b"\r\n\r\n").await.starts_with(b"HTTP/1.1 200"));
    tell.send_replace(true);
}

#[tokio::test]
async fn a_body_that_comes_in_pieces_goes_on_in_pieces() {
    let backend = Backend::new().await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    let mut client = rig.client().await;
    client.send(head("Transfer-Encoding: chunked", false).as_bytes()).await;
    for part in ["5\r\nhel", "lo\r", "\n", "1\r\n!\r\n"] {
        client.send(part.as_bytes()).await;
    }
    // It is there before the body has ended.
    within(async {
        loop {
            let text = backend.bytes().concat();
            if text.windows(3).any(|w| w == b"!\r\n") {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    client.send(b"0\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(backend.only().body, b"hello!");
}

#[tokio::test]
async fn a_slow_body_is_not_waited_for() {
    let short = Duration::from_millis(200);
    for inspected in [None, Some(BOUND)] {
        let backend = Backend::new().await;
        let rig = Rig::new(&[backend.address], |with| {
            with.inspected = inspected;
            with.head_timeout = short;
            with.patience.body = short;
        })
        .await;
        let mut client = rig.client().await;
        client.send(head("Content-Length: 5", false).as_bytes()).await;
        client.send(b"{h").await;
        let answer = client.answer().await;
        assert_eq!((answer.status, &answer.json()["reason"]), (408, &"client_timeout".into()));
        assert!(client.is_closed().await);
        assert!(backend.got().is_empty());
    }
}

#[tokio::test]
async fn an_upstream_may_answer_before_it_has_read_all() {
    let backend = Backend::serving(|mut socket, _| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut buf = [0; 1024];
        let _ = socket.read(&mut buf).await;
        let _ = socket
            .write_all(
                b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno",
            )
            .await;
        let _ = socket.shutdown().await;
        while matches!(socket.read(&mut buf).await, Ok(n) if n > 0) {}
    })
    .await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    let mut client = rig.client().await;
    client.send(head("Content-Length: 1000000", false).as_bytes()).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.body.as_slice()), (413, &b"no"[..]));
    assert_eq!(answer.field("connection").as_deref(), Some("close"));
}
