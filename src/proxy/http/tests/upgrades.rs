//! WebSocket: what both ends say after they agreed passes as it is.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::rig::{Backend, Rig, head_of, ok, within};

const ASK: &[u8] =
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const YES: &[u8] = b"HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Agrees, and then says back what it hears, until it hears `bye`.
async fn echoing() -> Backend {
    Backend::serving(|mut socket, seen| async move {
        let mut buf = [0; 4096];
        while !seen.lock().ends_with(b"\r\n\r\n") {
            let n = socket.read(&mut buf).await.unwrap();
            seen.lock().extend_from_slice(&buf[..n]);
        }
        let yes = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nfirst";
        socket.write_all(yes).await.unwrap();
        loop {
            match socket.read(&mut buf).await {
                Ok(n) if n > 0 && !buf[..n].ends_with(b"bye") => {
                    seen.lock().extend_from_slice(&buf[..n]);
                    socket.write_all(&buf[..n]).await.unwrap();
                }
                _ => return,
            }
        }
    })
    .await
}

#[tokio::test]
async fn both_ends_say_what_they_like() {
    let backend = echoing().await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    let mut client = rig.client().await;
    client.send(ASK).await;
    let head = String::from_utf8(client.until(b"\r\n\r\n").await).unwrap();
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    let head = head.to_ascii_lowercase();
    for field in ["connection: upgrade", "upgrade: websocket", "sec-websocket-accept: x"] {
        assert!(head.contains(field), "{head}");
    }
    client.until(b"first").await;
    // What would be a request, and what would be no request, are neither.
    for said in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x81\x05hello\0\n\r", &[0xff; 100_000]] {
        client.send(said).await;
        client.until(said).await;
    }
    let text = String::from_utf8_lossy(&backend.bytes()[0]).to_ascii_lowercase();
    assert!(text.contains("connection: upgrade\r\n") && text.contains("upgrade: websocket\r\n"));
    client.send(b"bye").await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn an_upstream_that_always_says_something_hears_its_client() {
    let backend = Backend::serving(|socket, _| async move {
        let (mut reads, mut writes) = socket.into_split();
        head_of(&mut reads).await;
        writes.write_all(YES).await.unwrap();
        let flood = vec![b'.'; 65536];
        let heard = reads.read_u8();
        tokio::pin!(heard);
        loop {
            tokio::select! {
                biased;
                byte = &mut heard => return assert_eq!(byte.unwrap(), b'x'),
                written = writes.write_all(&flood) => written.unwrap(),
            }
        }
    })
    .await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    let mut client = rig.client().await;
    client.send(ASK).await;
    client.until(b"....").await;
    client.send(b"x").await;
    while client.more().await {
        client.came.clear();
    }
}

#[tokio::test]
async fn a_tunnel_that_is_cut_has_not_ended() {
    let backend = Backend::serving(|mut socket, _| async move {
        let mut buf = [0; 4096];
        let _ = socket.read(&mut buf).await;
        socket.write_all(YES).await.unwrap();
        let _ = socket.read(&mut buf).await;
        socket2::SockRef::from(&socket).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    })
    .await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    let mut client = rig.client().await;
    client.send(ASK).await;
    client.until(b"\r\n\r\n").await;
    client.send(b"x").await;
    let end = within(client.socket.read(&mut [0])).await;
    assert!(end.is_err(), "{end:?}");
}

#[tokio::test]
async fn an_upgrade_of_an_older_http_is_none() {
    let backend = Backend::answering(|_| {
        b"HTTP/1.0 101 Yes\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".to_vec()
    })
    .await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    assert_eq!(rig.ask(ASK).await.status, 502);
}

#[tokio::test]
async fn what_a_client_says_at_once_is_not_lost() {
    let backend = echoing().await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    let mut client = rig.client().await;
    client.send(&[ASK, b"early"].concat()).await;
    client.until(b"first").await;
    client.until(b"early").await;
}

#[tokio::test]
async fn a_client_that_closes_closes_the_upstream() {
    let (tell, told) = tokio::sync::watch::channel(false);
    let tell = std::sync::Arc::new(tell);
    let backend = Backend::serving(move |mut socket, _| {
        let tell = std::sync::Arc::clone(&tell);
        async move {
            let mut buf = [0; 4096];
            let _ = socket.read(&mut buf).await;
            socket.write_all(YES).await.unwrap();
            while matches!(socket.read(&mut buf).await, Ok(n) if n > 0) {}
            tell.send_replace(true);
        }
    })
    .await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    let mut client = rig.client().await;
    client.send(ASK).await;
    client.until(b"\r\n\r\n").await;
    drop(client);
    let mut told = told;
    within(told.wait_for(|told| *told)).await.unwrap();
}

#[tokio::test]
async fn an_upstream_may_say_no() {
    let backend =
        Backend::answering(|got| ok(got.field("upgrade").unwrap_or_default().as_bytes())).await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    let mut client = rig.client().await;
    for _ in 0..2 {
        client.send(ASK).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"websocket"[..]));
    }
}

#[tokio::test]
async fn nothing_else_is_upgraded_to() {
    let backend =
        Backend::answering(|got| ok(got.field("upgrade").unwrap_or_default().as_bytes())).await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nhi",
    ] {
        let answer = rig.ask(request.as_bytes()).await;
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b""[..]), "{request}");
    }
}

#[tokio::test]
async fn an_upstream_that_goes_on_as_something_else_is_not_understood() {
    for other in ["Upgrade: h2c\r\n", "Upgrade: websocket, x\r\n", ""] {
        let yes = format!("HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\n{other}\r\n");
        let backend = Backend::answering(move |_| yes.clone().into_bytes()).await;
        let rig = Rig::new(&[backend.address], |_| {}).await;
        let answer = rig.ask(ASK).await;
        assert_eq!((answer.status, &answer.json()["reason"]), (502, &"bad_answer".into()));
    }
}

#[tokio::test]
async fn an_upstream_has_last_words_when_its_client_has_none() {
    let backend = Backend::serving(|mut socket, _| async move {
        let mut buf = [0; 4096];
        let _ = socket.read(&mut buf).await;
        socket.write_all(YES).await.unwrap();
        while matches!(socket.read(&mut buf).await, Ok(n) if n > 0) {}
        let _ = socket.write_all(b"last words").await;
    })
    .await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    let mut client = rig.client().await;
    client.send(ASK).await;
    client.until(b"\r\n\r\n").await;
    client.socket.shutdown().await.unwrap();
    client.until(b"last words").await;
    assert!(client.is_closed().await);
}
