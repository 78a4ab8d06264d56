//! A request and its answer flow at the same time: neither waits for the other.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::rig::{Backend, Client, DEADLINE, Rig, head_of, within};
use crate::time::Duration;

/// More than all buffers on the way hold.
const MUCH: usize = 24 << 20;

fn head(length: usize) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")
}

/// One that says each byte of a body so many times, as it comes; it reads nothing while it says something.
async fn echo(times: usize) -> Backend {
    Backend::serving(move |mut socket, _| async move {
        head_of(&mut socket).await;
        let mut buf = vec![0; 8192];
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", MUCH * times);
        socket.write_all(head.as_bytes()).await.unwrap();
        while let Ok(n @ 1..) = socket.read(&mut buf).await {
            let mut said = Vec::with_capacity(n * times);
            for byte in &buf[..n] {
                said.resize(said.len() + times, *byte);
            }
            if socket.write_all(&said).await.is_err() {
                return;
            }
        }
    })
    .await
}

#[tokio::test]
async fn an_upstream_that_answers_while_it_reads_is_not_stalled() {
    for times in [1, 2] {
        let backend = echo(times).await;
        let rig = Rig::new(&[backend.address], |_| {}).await;
        let Client { socket, .. } = rig.client().await;
        let (mut reads, mut writes) = socket.into_split();
        let body: Vec<u8> = (0..MUCH).map(|n| (n % 251) as u8).collect();
        let writing = async {
            writes.write_all(head(MUCH).as_bytes()).await.unwrap();
            writes.write_all(&body).await.unwrap();
        };
        let reading = async {
            head_of(&mut reads).await;
            let mut said = vec![0; MUCH * times];
            reads.read_exact(&mut said).await.unwrap();
            said
        };
        let ((), said) = within(async { tokio::join!(writing, reading) }).await;
        assert!(said.iter().enumerate().all(|(n, byte)| *byte == body[n / times]), "{times}");
    }
}

#[tokio::test]
async fn a_client_that_says_all_before_it_listens_is_not_stalled() {
    let backend = Backend::serving(|socket, _| async move {
        let (mut reads, mut writes) = socket.into_split();
        head_of(&mut reads).await;
        let writing = async {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {MUCH}\r\n\r\n");
            writes.write_all(head.as_bytes()).await.unwrap();
            let _ = writes.write_all(&vec![b'y'; MUCH]).await;
        };
        let reading = async {
            let mut body = vec![0; MUCH];
            reads.read_exact(&mut body).await.unwrap();
        };
        tokio::join!(writing, reading);
        std::future::pending().await
    })
    .await;
    let rig = Rig::new(&[backend.address], |with| with.patience.idle = 10 * DEADLINE).await;
    let mut client = rig.client().await;
    client.send(head(MUCH).as_bytes()).await;
    client.send(&vec![b'x'; MUCH]).await;
    let answer = client.answer().await;
    assert!(answer.body.len() == MUCH && answer.body.iter().all(|byte| *byte == b'y'));
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up() {
    let backend = Backend::serving(|mut socket, _| async move {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {MUCH}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        let _ = socket.write_all(&vec![b'y'; MUCH]).await;
    })
    .await;
    let short = Duration::from_millis(300);
    let rig = Rig::new(&[backend.address], |with| with.patience.idle = short).await;
    let mut client = rig.client().await;
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    within(async {
        // Until it is no conn of the listener any more.
        while rig.listener.edge.metrics.connections.get() == 0 {
            tokio::task::yield_now().await;
        }
        while rig.listener.edge.metrics.connections.get() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut said = 0;
    while client.more().await {
        said += std::mem::take(&mut client.came).len();
    }
    assert!(said < MUCH, "it was cut");
}

/// What is answered to a body that is still being sent.
async fn answer(rig: &Rig) -> Vec<u8> {
    let Client { socket, .. } = rig.client().await;
    let (mut reads, mut writes) = socket.into_split();
    let body = vec![0; MUCH];
    let writing = async {
        writes.write_all(head(MUCH).as_bytes()).await.unwrap();
        // An error: the answer came before all was read.
        let _ = writes.write_all(&body).await;
    };
    within(async { tokio::join!(writing, head_of(&mut reads)) }).await.1
}

#[tokio::test]
async fn what_one_says_that_takes_nothing_is_told_at_once() {
    let (blocked, block) = tokio::sync::watch::channel(false);
    let backend = Backend::serving(move |mut socket, _| {
        let mut block = block.clone();
        async move {
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            socket.write_all(head).await.unwrap();
            block.wait_for(|blocked| *blocked).await.unwrap();
            socket.write_all(b"5\r\nfirst\r\n").await.unwrap();
            std::future::pending().await
        }
    })
    .await;
    // Nobody is given up meanwhile.
    let rig = Rig::new(&[backend.address], |with| with.patience.idle = 10 * DEADLINE).await;
    let Client { socket, .. } = rig.client().await;
    let (mut reads, mut writes) = socket.into_split();
    writes.write_all(head(MUCH).as_bytes()).await.unwrap();
    let (body, mut sent) = (vec![0; MUCH], 0);
    // As much as there is room for.
    let limit = Duration::from_millis(300);
    while let Ok(n) = tokio::time::timeout(limit, writes.write(&body[sent..])).await {
        sent += n.unwrap();
    }
    assert!(0 < sent && sent < MUCH, "{sent}");
    blocked.send_replace(true);
    let mut said = Vec::new();
    within(async {
        while !said.ends_with(b"first\r\n") {
            said.push(reads.read_u8().await.unwrap());
        }
    })
    .await;
}

#[tokio::test]
async fn one_that_takes_nothing_is_given_up() {
    let backend = Backend::serving(|socket, _| async move {
        let _held = socket;
        std::future::pending().await
    })
    .await;
    let short = Duration::from_millis(300);
    let rig = Rig::new(&[backend.address], |with| with.patience.body = short).await;
    assert!(answer(&rig).await.starts_with(b"HTTP/1.1 504"));
}

#[tokio::test]
async fn one_that_goes_away_meanwhile_is_lost() {
    let backend = Backend::serving(|socket, _| async move { drop(socket) }).await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    assert!(answer(&rig).await.starts_with(b"HTTP/1.1 502"));
}

#[tokio::test]
async fn what_one_said_before_it_went_away_is_told() {
    let backend = Backend::serving(|mut socket, _| async move {
        head_of(&mut socket).await;
        let text = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        socket.write_all(text).await.unwrap();
    })
    .await;
    let rig = Rig::new(&[backend.address], |_| {}).await;
    for _ in 0..20 {
        let answer = answer(&rig).await;
        assert!(answer.starts_with(b"HTTP/1.1 413"), "{}", answer.escape_ascii());
    }
}
