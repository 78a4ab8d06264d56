//! Which upstream gets a request, and when it is tried again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use super::rig::{Backend, Rig, ok};
use crate::health::outlier::Rule;
use crate::proxy::http::cookie::Affinity;
use crate::time::Duration;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Where nobody listens. Nobody else is given that port either: it is held as long as the process lives.
fn nobody() -> SocketAddr {
    static HELD: Mutex<Vec<TcpSocket>> = Mutex::new(Vec::new());
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    HELD.lock().push(socket);
    address
}

async fn named(name: &'static str) -> Backend {
    Backend::answering(move |_| ok(name.as_bytes())).await
}

#[tokio::test]
async fn where_nobody_is_another_one_is_tried_and_the_body_with_it() {
    let backend = Backend::new().await;
    let rig = Rig::new(&[nobody(), backend.address, nobody()], |with| {
        with.inspected = Some(100);
    })
    .await;
    for _ in 0..6 {
        let post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        let answer = rig.ask(post).await;
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"{}"[..]));
    }
    assert!(backend.got().iter().all(|got| got.body == b"{}"));
}

#[tokio::test]
async fn it_is_tried_so_often_and_no_more() {
    let backend = Backend::new().await;
    let upstreams = [nobody(), nobody(), nobody(), backend.address];
    let rig = Rig::new(&upstreams, |with| with.retries = 2).await;
    let answer = rig.ask(GET).await;
    // It was sent to nobody.
    assert_eq!((answer.status, &answer.json()["reason"]), (503, &"no_upstream".into()));
    assert!(backend.bytes().is_empty());
    let rig = Rig::new(&[nobody()], |_| {}).await;
    let answer = rig.ask(GET).await;
    assert_eq!((answer.status, &answer.json()["reason"]), (503, &"no_upstream".into()));
}

/// Answers one request on each connection, and closes when the next one comes.
async fn forgetful() -> Backend {
    Backend::serving(|mut socket, seen| async move {
        let mut buf = [0; 4096];
        let n = socket.read(&mut buf).await.unwrap();
        seen.lock().extend_from_slice(&buf[..n]);
        socket.write_all(&ok(b"once")).await.unwrap();
        let n = socket.read(&mut buf).await.unwrap_or(0);
        seen.lock().extend_from_slice(&buf[..n]);
    })
    .await
}

#[tokio::test]
async fn what_a_kept_connection_loses_is_sent_again_where_that_does_no_harm() {
    let backend = forgetful().await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    let mut client = rig.client().await;
    for _ in 0..3 {
        client.send(GET).await;
        assert_eq!(client.answer().await.status, 200);
    }
    assert_eq!(backend.bytes().len(), 3);
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, &answer.json()["reason"]), (502, &"upstream_lost".into()));
    assert_eq!(backend.bytes().len(), 3, "a POST is sent once");
}

#[tokio::test]
async fn silence_is_not_waited_for() {
    let backend = Backend::serving(|mut socket, _| async move {
        let mut buf = [0; 4096];
        while matches!(socket.read(&mut buf).await, Ok(n) if n > 0) {}
    })
    .await;
    let short = std::time::Duration::from_millis(200);
    let rig = Rig::new(&[backend.address], |with| with.patience.first_byte = short).await;
    let answer = rig.ask(GET).await;
    assert_eq!((answer.status, &answer.json()["reason"]), (504, &"upstream_timeout".into()));
    assert_eq!(backend.bytes().len(), 1, "it is not sent again");
}

#[tokio::test]
async fn silence_in_an_answer_ends_it() {
    let backend = Backend::halfway().await;
    let short = std::time::Duration::from_millis(200);
    let rig = Rig::new(&[backend.address], |with| with.patience.idle = short).await;
    let mut client = rig.client().await;
    client.send(GET).await;
    client.until(b"half").await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_request_with_it() {
    let (tell, mut told) = tokio::sync::watch::channel(0);
    let tell = Arc::new(tell);
    let backend = Backend::serving(move |mut socket, _| {
        let tell = Arc::clone(&tell);
        async move {
            let mut buf = [0; 4096];
            let _ = socket.read(&mut buf).await;
            tell.send_replace(1);
            while matches!(socket.read(&mut buf).await, Ok(n) if n > 0) {}
            tell.send_replace(2);
        }
    })
    .await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    let mut client = rig.client().await;
    client.send(GET).await;
    super::rig::within(told.wait_for(|told| *told == 1)).await.unwrap();
    drop(client);
    super::rig::within(told.wait_for(|told| *told == 2)).await.unwrap();
}

fn affinity() -> Arc<Affinity> {
    Arc::new(Affinity::new("stick", "p", &[], 3600, b"secret"))
}

async fn with_cookie(rig: &Rig, cookie: Option<&str>) -> (String, Option<String>) {
    let cookie = cookie.map_or(String::new(), |cookie| format!("Cookie: a=1; {cookie}; b=2\r\n"));
    let answer = rig.ask(format!("GET / HTTP/1.1\r\nHost: a\r\n{cookie}\r\n").as_bytes()).await;
    let set = answer.field("set-cookie").map(|set| set.split(';').next().unwrap().to_owned());
    (String::from_utf8(answer.body).unwrap(), set)
}

#[tokio::test]
async fn who_brings_its_cookie_back_comes_to_the_same_upstream() {
    let backends = [named("0").await, named("1").await, named("2").await];
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let rig = Rig::new(&addresses, |with| with.affinity = Some(affinity())).await;
    let mut seen = BTreeMap::new();
    for _ in 0..6 {
        let (name, cookie) = with_cookie(&rig, None).await;
        let cookie = cookie.unwrap();
        seen.insert(name.clone(), cookie.clone());
        for _ in 0..4 {
            assert_eq!(with_cookie(&rig, Some(&cookie)).await, (name.clone(), None));
        }
    }
    assert_eq!(seen.len(), 3, "without one they are spread");
    let fields: Vec<_> =
        backends.iter().flat_map(Backend::got).map(|got| got.field("cookie")).collect();
    assert!(fields.iter().flatten().all(|cookie| cookie == "a=1; b=2"), "{fields:?}");
    // One that is wrong is replaced.
    for wrong in ["stick=x", &seen["0"].replace('.', "x"), &format!("{}x", seen["0"])] {
        assert!(with_cookie(&rig, Some(wrong)).await.1.is_some(), "{wrong}");
    }
}

#[tokio::test]
async fn a_cookie_of_an_upstream_that_is_gone_is_replaced() {
    let backend = named("here").await;
    let gone = nobody();
    let rig = Rig::new(&[gone, backend.address], |with| with.affinity = Some(affinity())).await;
    let cookie = affinity().set("p", "up-0", rig.listener_now(), false).unwrap();
    let cookie = cookie.to_str().unwrap().split(';').next().unwrap();
    let (name, set) = with_cookie(&rig, Some(cookie)).await;
    assert_eq!(name, "here");
    assert_ne!(set.unwrap(), cookie);
}

#[tokio::test]
async fn who_fails_again_and_again_is_left_out() {
    let bad =
        Backend::answering(|_| b"HTTP/1.1 503 Not now\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    let good = named("good").await;
    let rig = Rig::new(&[bad.address, good.address], |_| {}).await;
    rig.pool().put_out(Rule {
        failures: 3,
        base: Duration::from_secs(60),
        most: Duration::from_secs(60),
        share: 0.5,
    });
    let mut bads = 0;
    for _ in 0..20 {
        bads += usize::from(rig.ask(GET).await.status == 503);
    }
    assert_eq!(bads, 3);
    // Where it is the only one, it serves all the same.
    let rig = Rig::new(&[bad.address], |_| {}).await;
    rig.pool().put_out(Rule {
        failures: 1,
        base: Duration::from_secs(60),
        most: Duration::from_secs(60),
        share: 0.5,
    });
    for _ in 0..3 {
        assert_eq!(rig.ask(GET).await.status, 503);
    }
    assert_eq!(bad.got().len(), 6);
}

#[tokio::test]
async fn a_kept_connection_that_its_upstream_closed_is_not_used() {
    let (tell, told) = tokio::sync::watch::channel(0);
    let tell = Arc::new(tell);
    let backend = Backend::serving(move |mut socket, seen| {
        let tell = Arc::clone(&tell);
        async move {
            let mut buf = [0; 4096];
            let n = socket.read(&mut buf).await.unwrap();
            seen.lock().extend_from_slice(&buf[..n]);
            socket.write_all(&ok(b"once")).await.unwrap();
            drop(socket);
            tell.send_modify(|n| *n += 1);
        }
    })
    .await;
    let rig = Rig::new(&[backend.address], |with| with.retries = 0).await;
    let mut client = rig.client().await;
    for n in 1..4 {
        // A POST, which would not be sent twice.
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(client.answer().await.status, 200);
        super::rig::within(told.clone().wait_for(|told| *told == n)).await.unwrap();
        // What came before has been heard of when this has.
        drop((rig.client().await, rig.client().await));
    }
    assert_eq!(backend.bytes().len(), 3);
}
