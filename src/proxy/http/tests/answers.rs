//! What clients get of what upstreams say.

use tokio::io::AsyncWriteExt;

use super::rig::{Backend, Rig, ok};

const GET: &[u8] = b"GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn requests_go_one_after_the_other_over_kept_connections() {
    let backend = Backend::new().await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    let mut client = rig.client().await;
    for _ in 0..3 {
        client.send(GET).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.body.len()), (200, 0));
        assert_eq!(answer.field("connection").as_deref(), Some("keep-alive"));
    }
    assert_eq!(backend.bytes().len(), 1, "one connection for all");
    let got = backend.got();
    assert_eq!(got.len(), 3);
    assert_eq!(got[0].line(), "GET /a?b HTTP/1.1");
    assert_eq!(got[0].field("host").as_deref(), Some("a"));
    assert_eq!(got[0].field("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(got[0].field("connection"), None);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let backend = Backend::answering(|got| ok(got.line().as_bytes())).await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    let mut client = rig.client().await;
    let mut all = Vec::new();
    for n in 0..5 {
        let body = if n % 2 == 0 {
            "Content-Length: 3\r\n\r\nabc"
        } else {
            "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"
        };
        all.extend_from_slice(format!("POST /{n} HTTP/1.1\r\nHost: a\r\n{body}").as_bytes());
    }
    client.send(&all).await;
    for n in 0..5 {
        let answer = client.answer().await;
        assert_eq!(String::from_utf8(answer.body).unwrap(), format!("POST /{n} HTTP/1.1"));
    }
    assert!(backend.got().iter().all(|got| got.body == b"abc"));
}

#[tokio::test]
async fn an_empty_line_before_a_request_is_passed_over() {
    let backend = Backend::new().await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    let mut client = rig.client().await;
    client.send(&[b"\r\n\r\n", GET, b"\r\n", GET].concat()).await;
    assert_eq!((client.answer().await.status, client.answer().await.status), (200, 200));
}

#[tokio::test]
async fn however_an_upstream_ends_its_answer_the_client_gets_all_of_it() {
    for (said, body) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            "hello",
        ),
        ("!HTTP/1.1 200 OK\r\n\r\nhello", "hello"),
        ("!HTTP/1.0 200 OK\r\n\r\nhello", "hello"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
    ] {
        let backend = Backend::answering(move |_| said.as_bytes().to_vec()).await;
        let rig = Rig::new(&[backend.address], |_| {}).await;
        let mut client = rig.client().await;
        for _ in 0..2 {
            client.send(GET).await;
            let mut answer = client.answer().await;
            if answer.status == 100 {
                answer = client.answer().await;
            }
            assert_eq!(String::from_utf8(answer.body).unwrap(), body, "{said}");
            assert_eq!(answer.status, 200);
        }
        let old = rig.ask(b"GET / HTTP/1.0\r\n\r\n").await;
        let host = backend.got().pop().and_then(|got| got.field("host"));
        assert_eq!(host, Some(backend.address.to_string()), "HTTP/1.1 needs one");
        assert_eq!(String::from_utf8(old.body.clone()).unwrap(), body, "{said}: {old:?}");
        assert_eq!(old.field("transfer-encoding"), None, "{said}");
    }
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    for (method, said, length) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Some("5")),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", None),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Some("5")),
    ] {
        let backend = Backend::answering(move |_| said.as_bytes().to_vec()).await;
        let rig = Rig::new(&[backend.address], |_| {}).await;
        let mut client = rig.client().await;
        for _ in 0..2 {
            client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await;
            let answer = client.answer_to(method).await;
            assert_eq!(answer.field("content-length").as_deref(), length, "{said}");
            assert!(client.came.is_empty(), "{}", client.came.escape_ascii());
        }
    }
}

#[tokio::test]
async fn a_stream_is_passed_on_as_it_comes() {
    let (tell, told) = tokio::sync::watch::channel(0);
    let backend = Backend::serving(move |mut socket, seen| {
        let mut told = told.clone();
        async move {
            let mut buf = [0; 4096];
            let n = tokio::io::AsyncReadExt::read(&mut socket, &mut buf).await.unwrap();
            seen.lock().extend_from_slice(&buf[..n]);
            let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
            socket.write_all(head).await.unwrap();
            for n in 1..=3 {
                told.wait_for(|told| *told >= n).await.unwrap();
                socket.write_all(format!("9\r\ndata: {n}\n\n\r\n").as_bytes()).await.unwrap();
            }
            socket.write_all(b"0\r\n\r\n").await.unwrap();
        }
    })
    .await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    let mut client = rig.client().await;
    client.send(GET).await;
    client.until(b"\r\n\r\n").await;
    for n in 1..=3 {
        // Each comes before the next one is sent.
        tell.send_replace(n);
        client.until(format!("data: {n}\n\n\r\n").as_bytes()).await;
    }
    client.until(b"0\r\n\r\n").await;
    client.send(GET).await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_made_whole() {
    for said in [
        "!HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        "!HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let backend = Backend::answering(move |_| said.as_bytes().to_vec()).await;
        let rig = Rig::new(&[backend.address], |_| {}).await;
        let mut client = rig.client().await;
        client.send(GET).await;
        while client.more().await {}
        let text = String::from_utf8_lossy(&client.came).into_owned();
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        assert!(!text.contains("\r\n0\r\n"), "{text}");
    }
}

#[tokio::test]
async fn what_is_no_answer_is_a_bad_gateway() {
    for (said, reason) in [
        ("!", "upstream_lost"),
        ("!HTTP/1.1 200", "upstream_lost"),
        ("!what", "bad_answer"),
        ("!HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "bad_answer"),
        ("!HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "bad_answer"),
        ("!HTTP/1.1 101 Switching Protocols\r\n\r\n", "bad_answer"),
        ("!garbage\r\n\r\n", "bad_answer"),
    ] {
        let backend = Backend::answering(move |_| said.as_bytes().to_vec()).await;
        let rig = Rig::new(&[backend.address], |_| {}).await;
        let answer = rig.ask(GET).await;
        assert_eq!(
            (answer.status, answer.json()["reason"].as_str()),
            (502, Some(reason)),
            "{said}"
        );
        let kind = answer.field("content-type");
        assert_eq!(kind.as_deref(), Some("application/problem+json"));
    }
}

#[tokio::test]
async fn a_problem_has_no_body_for_head() {
    let rig = Rig::new(&[], |_| {}).await;
    let mut client = rig.client().await;
    client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let answer = client.answer_to("HEAD").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.field("retry-after").as_deref(), Some("1"));
    let answer = client.answer().await;
    assert_eq!((answer.status, &answer.json()["reason"]), (503, &"no_upstream".into()));
}

#[tokio::test]
async fn to_http_1_0_an_answer_that_breaks_off_is_a_reset() {
    let backend = Backend::answering(|_| {
        b"!HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n".to_vec()
    })
    .await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    let mut client = rig.client().await;
    client.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    let mut buf = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut client.socket, &mut buf);
    let ended = super::rig::within(read).await;
    assert_eq!(ended.map_err(|e| e.kind()), Err(std::io::ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_client_that_has_said_all_it_wants_gets_its_answer() {
    let backend = Backend::new().await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    let mut client = rig.client().await;
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").await;
    client.socket.shutdown().await.unwrap();
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"hi"[..]));
    assert!(client.is_closed().await);
}
