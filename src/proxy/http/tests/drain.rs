//! Leaving: idle conns at once, what runs in its own time, and what does not end when it is told to.

use super::rig::{Backend, Rig, ok, within};
use crate::drain::Mode;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Answers when it is told to.
async fn held() -> (Backend, tokio::sync::watch::Sender<bool>) {
    let (tell, told) = tokio::sync::watch::channel(false);
    let backend = Backend::serving(move |mut socket, seen| {
        let mut told = told.clone();
        async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut buf = [0; 4096];
            while let Ok(n) = socket.read(&mut buf).await {
                if n == 0 {
                    return;
                }
                seen.lock().extend_from_slice(&buf[..n]);
                told.wait_for(|told| *told).await.unwrap();
                socket.write_all(&ok(b"done")).await.unwrap();
            }
        }
    })
    .await;
    (backend, tell)
}

async fn arrived(backend: &Backend) {
    within(async {
        while backend.got().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn all_gone(rig: &Rig) {
    within(async {
        while rig.listener.edge.metrics.connections.get() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn idle_conns_end_at_once_and_what_runs_is_finished() {
    let (backend, tell) = held().await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    let (mut idle, mut fresh, mut busy) =
        (rig.client().await, rig.client().await, rig.client().await);
    busy.send(GET).await;
    arrived(&backend).await;
    tell.send_replace(true);
    idle.send(GET).await;
    assert_eq!(idle.answer().await.status, 200);
    assert_eq!(busy.answer().await.status, 200);
    tell.send_replace(false);
    busy.send(GET).await;
    within(async {
        while backend.got().len() < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    rig.trigger.start(Mode::Drain);
    assert!(idle.is_closed().await && fresh.is_closed().await);
    tell.send_replace(true);
    let answer = busy.answer().await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"done"[..]));
    assert!(busy.is_closed().await);
    all_gone(&rig).await;
}

#[tokio::test]
async fn a_request_that_comes_while_we_leave_is_the_last_of_its_conn() {
    let backend = Backend::new().await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    let mut client = rig.client().await;
    let half = b"GET / HTTP/1.1\r\nHo";
    client.send(half).await;
    // Its head is under way: it is waited for.
    within(async {
        while rig.listener.edge.metrics.bytes_in.get() < half.len() as u64 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    rig.trigger.start(Mode::Drain);
    client.send(b"st: a\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("connection").as_deref(), Some("close"));
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn what_does_not_end_is_cut_when_it_is_time() {
    let (backend, _tell) = held().await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    let mut client = rig.client().await;
    client.send(GET).await;
    arrived(&backend).await;
    rig.trigger.start(Mode::Drain);
    rig.trigger.escalate();
    // Nothing of its answer was there: it hears why.
    let answer = client.answer().await;
    assert_eq!((answer.status, &answer.json()["reason"]), (503, &"draining".into()));
    assert_eq!(answer.json()["retryable"], true);
    assert!(client.is_closed().await);
    all_gone(&rig).await;
}

#[tokio::test]
async fn an_answer_that_is_cut_breaks_off() {
    let backend = Backend::halfway().await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    let mut client = rig.client().await;
    client.send(GET).await;
    client.until(b"half").await;
    rig.trigger.escalate();
    assert!(client.is_closed().await);
    all_gone(&rig).await;
}

#[tokio::test]
async fn a_conn_ends_after_so_many_requests_or_so_much_silence() {
    let backend = Backend::new().await;
    let rig = Rig::new(&[backend.address], |with| with.max_requests = 2).await;
    let mut client = rig.client().await;
    for connection in ["keep-alive", "close"] {
        client.send(GET).await;
        assert_eq!(client.answer().await.field("connection").as_deref(), Some(connection));
    }
    assert!(client.is_closed().await);
    let short = std::time::Duration::from_millis(100);
    let rig = Rig::new(&[backend.address], |with| with.keep_alive = short).await;
    let mut client = rig.client().await;
    client.send(GET).await;
    assert_eq!(client.answer().await.status, 200);
    assert!(client.is_closed().await);
}
