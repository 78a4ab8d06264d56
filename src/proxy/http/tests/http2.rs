//! HTTP/2 from clients, without TLS: requests beside each other, whatever their bodies are like, in front of HTTP/1.

use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use http::{HeaderMap, Request, StatusCode};
use tokio::net::TcpStream;

use super::rig::{Backend, DEADLINE, Rig, ok, within};
use crate::drain::{Mode, Tasks};

async fn connect(rig: &Rig) -> SendRequest<Bytes> {
    let socket = TcpStream::connect(rig.address).await.unwrap();
    let (send, conn) = client::handshake(socket).await.unwrap();
    Tasks::new().spawn_aside("h2 client", async move {
        let _ = conn.await;
    });
    send
}

/// No more requests are taken.
async fn until_closing(send: &SendRequest<Bytes>) {
    within(async {
        while send.clone().ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Status, fields and body of an answer. `body`: in pieces; `None`: the request ends with its head.
async fn ask(
    send: &mut SendRequest<Bytes>,
    request: Request<()>,
    body: Option<&[&[u8]]>,
) -> Result<(StatusCode, HeaderMap, Vec<u8>), h2::Error> {
    let mut ready = within(send.clone().ready()).await?;
    let (answer, mut stream) = ready.send_request(request, body.is_none())?;
    for (n, part) in body.unwrap_or_default().iter().enumerate() {
        let mut part = Bytes::copy_from_slice(part);
        let last = n + 1 == body.unwrap_or_default().len();
        if part.is_empty() {
            stream.send_data(part, last)?;
            continue;
        }
        while !part.is_empty() {
            stream.reserve_capacity(part.len());
            let room = within(std::future::poll_fn(|cx| stream.poll_capacity(cx))).await;
            let Some(Ok(room)) = room else { break };
            let now = part.split_to(room.min(part.len()));
            stream.send_data(now, last && part.is_empty())?;
        }
    }
    let answer = within(answer).await?;
    let (parts, mut come) = answer.into_parts();
    let mut all = Vec::new();
    while let Some(data) = within(come.data()).await {
        let data = data?;
        let _ = come.flow_control().release_capacity(data.len());
        all.extend_from_slice(&data);
    }
    Ok((parts.status, parts.headers, all))
}

fn post() -> http::request::Builder {
    Request::post("http://a/x").header("content-type", "application/json")
}

#[tokio::test]
async fn bodies_of_all_sizes_go_on_whole() {
    const BOUND: usize = 100_000;
    for size in [0, 1, 16_384, 65_535, 65_536, 65_537, BOUND - 1, BOUND, BOUND + 1, 300_000] {
        for (length, inspected) in
            [(true, None), (false, None), (true, Some(BOUND)), (false, Some(BOUND))]
        {
            let backend = Backend::new().await;
            let rig = Rig::new(&[backend.address], |with| with.inspected = inspected).await;
            let mut send = connect(&rig).await;
            let mut body: Vec<u8> = (0..size).map(|n| b'a' + (n % 23) as u8).collect();
            // It may be JSON, as far as its beginning says.
            body.iter_mut().take(1).for_each(|first| *first = b'{');
            let request = if length { post().header("content-length", size) } else { post() };
            let parts: Vec<&[u8]> = body.chunks(10_000).collect();
            let parts = if parts.is_empty() { vec![&b""[..]] } else { parts };
            let answer = ask(&mut send, request.body(()).unwrap(), Some(&parts)).await.unwrap();
            let what = format!("{size} {length} {inspected:?}");
            assert_eq!(answer.0, 200, "{what}");
            let got = backend.only();
            assert!(got.body == body, "{what}: {} came", got.body.len());
            assert!(answer.2 == body, "{what}");
            assert_eq!(got.line(), "POST /x HTTP/1.1");
            assert_eq!(got.field("host").as_deref(), Some("a"));
        }
    }
}

#[tokio::test]
async fn requests_do_not_wait_for_each_other() {
    let (tell, told) = tokio::sync::watch::channel(false);
    let backend = Backend::serving(move |mut socket, _| {
        let mut told = told.clone();
        async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut buf = [0; 4096];
            let n = socket.read(&mut buf).await.unwrap();
            if buf[..n].starts_with(b"GET /slow") {
                told.wait_for(|told| *told).await.unwrap();
            }
            let _ = socket.write_all(&ok(b"done")).await;
        }
    })
    .await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    let (mut one, mut other) = (connect(&rig).await, None);
    let mut slow = Box::pin({
        let mut send = one.clone();
        async move { ask(&mut send, Request::get("http://a/slow").body(()).unwrap(), None).await }
    });
    for _ in 0..3 {
        tokio::select! {
            _ = &mut slow => panic!("it was not told to"),
            answer = ask(&mut one, Request::get("http://a/fast").body(()).unwrap(), None) => {
                other = Some(answer.unwrap());
            }
        }
    }
    assert_eq!(other.unwrap().2, b"done");
    tell.send_replace(true);
    assert_eq!(within(slow).await.unwrap().2, b"done");
}

#[tokio::test]
async fn what_is_not_sound_reaches_nobody() {
    let backend = Backend::new().await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    let mut send = connect(&rig).await;
    for request in [
        Request::get("http://a/").header("x_user_id", "b"),
        Request::get("http://a/").header("host", "b"),
        Request::get("http://a/\\x"),
        Request::get("http://a/").header("expect", "cake"),
        Request::get("http://a/").header("content-length", "5").header("content-length", "6"),
        Request::get(format!("http://a/{}", "x".repeat(5000))),
    ] {
        let shown = format!("{request:?}");
        match ask(&mut send, request.body(()).unwrap(), None).await {
            Ok((status, ..)) => assert!(status.is_client_error(), "{shown}: {status}"),
            Err(error) => assert!(error.is_reset(), "{shown}: {error}"),
        }
    }
    // One that lies about its length.
    let lie = post().header("content-length", "3").body(()).unwrap();
    let lied = ask(&mut send, lie, Some(&[b"hello"])).await;
    assert!(lied.is_err_and(|error| error.is_reset()));
    assert!(backend.got().is_empty(), "{:?}", backend.got());
    let empty = post().header("content-length", "0").body(()).unwrap();
    assert!(ask(&mut send, empty, Some(&[b"hello"])).await.is_err_and(|error| error.is_reset()));
    assert!(backend.got().is_empty(), "{:?}", backend.got());
    // The others of its conn are served all the same.
    let fine = ask(&mut send, Request::get("http://a/").body(()).unwrap(), None).await;
    assert_eq!(fine.unwrap().0, 200);
}

#[tokio::test]
async fn cookies_are_joined_and_lengths_kept() {
    let backend = Backend::new().await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    let mut send = connect(&rig).await;
    let request = Request::get("http://a/").header("cookie", "a=1").header("cookie", "b=2");
    let answer = ask(&mut send, request.body(()).unwrap(), None).await.unwrap();
    assert_eq!(answer.1["content-length"], "0");
    assert!(!answer.1.contains_key("connection"));
    let got = backend.only();
    assert_eq!(got.field("cookie").as_deref(), Some("a=1; b=2"));
    assert_eq!(got.field("transfer-encoding"), None);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_reset() {
    let backend = Backend::answering(|_| {
        b"!HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n".to_vec()
    })
    .await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    let mut send = connect(&rig).await;
    let answer = ask(&mut send, Request::get("http://a/").body(()).unwrap(), None).await;
    assert!(answer.is_err(), "{answer:?}");
}

#[tokio::test]
async fn leaving_is_said_and_what_runs_is_finished() {
    let (tell, told) = tokio::sync::watch::channel(false);
    let backend = Backend::serving(move |mut socket, seen| {
        let mut told = told.clone();
        async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut buf = [0; 4096];
            let n = socket.read(&mut buf).await.unwrap();
            seen.lock().extend_from_slice(&buf[..n]);
            told.wait_for(|told| *told).await.unwrap();
            let _ = socket.write_all(&ok(b"done")).await;
        }
    })
    .await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    let socket = TcpStream::connect(rig.address).await.unwrap();
    let (send, conn) = client::handshake(socket).await.unwrap();
    let (ended, mut over) = tokio::sync::watch::channel(false);
    Tasks::new().spawn_aside("h2 client", async move {
        let _ = conn.await;
        ended.send_replace(true);
    });
    let mut running = Box::pin({
        let mut send = send.clone();
        async move { ask(&mut send, Request::get("http://a/").body(()).unwrap(), None).await }
    });
    within(async {
        while backend.got().is_empty() {
            let short = Duration::from_millis(5);
            assert!(tokio::time::timeout(short, &mut running).await.is_err());
        }
    })
    .await;
    rig.trigger.start(Mode::Drain);
    // Whoever hears that we leave opens no more streams.
    within(async {
        while send.clone().ready().await.is_ok() {
            let short = Duration::from_millis(5);
            assert!(tokio::time::timeout(short, &mut running).await.is_err());
        }
    })
    .await;
    tell.send_replace(true);
    assert_eq!(tokio::time::timeout(DEADLINE, running).await.unwrap().unwrap().2, b"done");
    within(over.wait_for(|over| *over)).await.unwrap();
}

#[tokio::test]
async fn what_was_not_answered_when_all_ends_hears_why() {
    let backend = Backend::serving(|mut socket, seen| async move {
        use tokio::io::AsyncReadExt;
        let mut buf = [0; 4096];
        while let Ok(n) = socket.read(&mut buf).await
            && n > 0
        {
            seen.lock().extend_from_slice(&buf[..n]);
        }
    })
    .await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    let send = connect(&rig).await;
    let mut asked: Vec<_> = (0..8)
        .map(|_| {
            let mut send = send.clone();
            let request = Request::get("http://a/").body(()).unwrap();
            Box::pin(async move { ask(&mut send, request, None).await })
        })
        .collect();
    within(async {
        while backend.got().len() < asked.len() {
            for one in &mut asked {
                let short = Duration::from_millis(1);
                assert!(tokio::time::timeout(short, one).await.is_err());
            }
        }
    })
    .await;
    rig.trigger.escalate();
    for one in asked {
        let (status, _, body) = within(one).await.unwrap();
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status.as_u16(), &problem["reason"]), (503, &"draining".into()));
    }
    until_closing(&send).await;
}

#[tokio::test]
async fn a_conn_has_bounds_on_requests_at_a_time_and_in_all_and_on_silence() {
    let backend = Backend::new().await;
    let rig = Rig::new(&[backend.address], |with| with.max_requests = 2).await;
    let mut send = connect(&rig).await;
    let get = || Request::get("http://a/").body(()).unwrap();
    ask(&mut send, get(), None).await.unwrap();
    assert_eq!(send.current_max_send_streams(), 128);
    ask(&mut send, get(), None).await.unwrap();
    // It was the last one.
    until_closing(&send).await;
    let short = Duration::from_millis(100);
    let rig = Rig::new(&[backend.address], |with| with.keep_alive = short).await;
    let mut send = connect(&rig).await;
    ask(&mut send, get(), None).await.unwrap();
    until_closing(&send).await;
}

#[tokio::test]
async fn who_sends_nonsense_again_and_again_is_cut_off() {
    let rig = Rig::new(&[], |_| {}).await;
    let mut send = connect(&rig).await;
    let nonsense = || Request::get("http://a/").header("host", "b").body(()).unwrap();
    let mut refused = 0;
    while ask(&mut send, nonsense(), None).await.is_ok() {
        refused += 1;
        assert!(refused < 100);
    }
    assert_eq!(refused, 32);
}
