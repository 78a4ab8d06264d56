//! What can be read in two ways goes nowhere: the upstream's bytes are the judge.

use super::rig::{Backend, Rig};

/// No byte of it reaches an upstream, and what follows it is not read as a request.
async fn goes_nowhere(request: &[u8], status: u16) {
    let backend = Backend::new().await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    let mut client = rig.client().await;
    client.send(&[request, b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n"].concat()).await;
    let answer = client.answer().await;
    let shown = request.escape_ascii().to_string();
    assert_eq!(answer.status, status, "{shown}: {answer:?}");
    let json = answer.json();
    assert_eq!((&json["status"], &json["retryable"]), (&status.into(), &false.into()), "{shown}");
    assert_eq!(answer.field("connection").as_deref(), Some("close"), "{shown}");
    assert!(client.is_closed().await, "{shown}");
    assert!(backend.bytes().is_empty(), "{shown}: {:?}", backend.got());
}

#[tokio::test]
async fn a_head_that_is_not_sound_reaches_nobody() {
    for (request, status) in [
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nx_user_id: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\u{7f} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: cake\r\n\r\n", 417),
        ("\0\0\0\n\n", 400),
    ] {
        goes_nowhere(request.as_bytes(), status).await;
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(5000));
    goes_nowhere(long.as_bytes(), 414).await;
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    goes_nowhere(long.as_bytes(), 431).await;
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(64));
    goes_nowhere(many.as_bytes(), 431).await;
}

#[tokio::test]
async fn a_head_is_bounded_before_it_ends() {
    for (begin, fill, status) in
        [("GET /", "x", 414), ("GET / HTTP/1.1\r\nHost: a\r\n", "X: 1\r\n", 431)]
    {
        let rig = Rig::new(&[], |_| {}).await;
        let mut client = rig.client().await;
        client.send(begin.as_bytes()).await;
        client.send(fill.repeat(40_000 / fill.len()).as_bytes()).await;
        assert_eq!(client.answer().await.status, status);
    }
}

#[tokio::test]
async fn a_chunk_that_is_not_sound_ends_the_request_and_the_conn() {
    for body in [
        "5\r\nhello!\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "-1\r\n\r\n",
        "ffffffffffffffff1\r\n",
        "5;a=\0\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n",
        "5\r\nhello\r\n0\r\nx y: 3\r\n\r\n",
    ] {
        let backend = Backend::new().await;
        let rig = Rig::new(&[backend.address], |_| {}).await;
        let mut client = rig.client().await;
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let smuggled = "GET /second HTTP/1.1\r\nHost: a\r\n\r\n";
        client.send(format!("{head}{body}{smuggled}").as_bytes()).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 400, "{body:?}");
        assert!(client.is_closed().await, "{body:?}");
        assert!(backend.got().is_empty(), "{body:?}: {:?}", backend.got());
    }
}

#[tokio::test]
async fn an_absolute_target_goes_on_in_origin_form() {
    let backend = Backend::new().await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    let answer = rig.ask(b"GET http://a.b:80/x?y HTTP/1.1\r\nHost: a.b:80\r\n\r\n").await;
    assert_eq!(answer.status, 200);
    let got = backend.only();
    assert_eq!(got.line(), "GET /x?y HTTP/1.1");
    assert_eq!(got.field("host").as_deref(), Some("a.b:80"));
    assert_eq!(rig.ask(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").await.status, 200);
    assert_eq!(backend.got()[1].line(), "OPTIONS * HTTP/1.1");
}

#[tokio::test]
async fn a_slow_head_is_not_waited_for() {
    let short = std::time::Duration::from_millis(200);
    let rig = Rig::new(&[], |with| with.head_timeout = short).await;
    let mut client = rig.client().await;
    client.send(b"GET / HTTP/1.1\r\nHo").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, &answer.json()["reason"]), (408, &"client_timeout".into()));
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn nobody_has_taken_off_who_calls() {
    let backend = Backend::new().await;
    let name = http::HeaderName::from_static("x-user-id");
    let rig = Rig::new(&[backend.address], |with| with.naming = vec![name]).await;
    let ask = |option: &str| {
        format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {option}\r\nX-User-Id: al\r\n\r\n")
    };
    assert_eq!(rig.ask(ask("close, X-User-ID").as_bytes()).await.status, 400);
    assert_eq!(rig.ask(ask("close, x-other").as_bytes()).await.status, 200);
    assert_eq!(backend.only().field("x-user-id").as_deref(), Some("al"));
}
