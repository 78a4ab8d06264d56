//! One connection: reads frames and serves them, writes what waits. A slow reader never stops it
//! from reading. Knows no method but the one of the hot path.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::fast;
use super::model::{Conn, Reply};
use super::outbox::{Ending, Outbox};
use super::serve;
use super::shell::{Shared, body};
use crate::testing::client::Closed;
use crate::testing::wire::{self, Decoder, Message, Piece, RpcError};

/// Serves a connection to its end.
pub(super) async fn run(shared: Arc<Shared>, conn: u64, mut stream: TcpStream) {
    let outbox = Arc::new(Outbox::default());
    shared.boxes.lock().insert(conn, outbox.clone());
    let known = shared.config.token.is_none();
    shared.with(|model| model.conns.insert(conn, Conn { authenticated: known, ..Conn::default() }));
    let ending = exchange(&shared, conn, &outbox, &mut stream).await;
    shared.boxes.lock().remove(&conn);
    shared.with(|model| model.disconnect(conn));
    if ending == Ending::Fin {
        let _ = stream.shutdown().await;
    } else {
        let _ = stream.set_zero_linger();
    }
}

async fn exchange(
    shared: &Arc<Shared>,
    conn: u64,
    outbox: &Arc<Outbox>,
    stream: &mut TcpStream,
) -> Ending {
    let (reading, writing) = stream.split();
    let mut writing = pin!(write(shared, conn, outbox, writing));
    tokio::select! {
        ending = &mut writing => ending,
        ended = read(shared, conn, outbox, reading) => match ended {
            // Answers that are still due to a client that said FIN are lost.
            ReadEnd::Fin => Ending::Fin,
            ReadEnd::BadHeader => {
                outbox.end(Ending::Fin);
                writing.await
            }
        }
    }
}

/// Why nothing more is read.
enum ReadEnd {
    /// The client's FIN, or RST.
    Fin,
    /// It was refused in words, which are to be written yet.
    BadHeader,
}

async fn unwedged(shared: &Shared) {
    // An error means that the fake is gone, and this task with it.
    let _ = shared.wedged.subscribe().wait_for(|wedged| !*wedged).await;
}

async fn write(shared: &Shared, conn: u64, outbox: &Outbox, mut to: WriteHalf<'_>) -> Ending {
    let mut bytes = Vec::new();
    loop {
        if outbox.ending() == Some(Ending::Reset) {
            return Ending::Reset;
        }
        tokio::select! {
            biased;
            () = unwedged(shared) => {}
            () = outbox.ready.notified() => continue,
        }
        let ending = outbox.take(&mut bytes);
        if !bytes.is_empty() {
            if let Err(ending) = write_out(outbox, &mut to, &bytes).await {
                if ending == Ending::Fin {
                    shared.end_of(conn, Closed::Reset);
                }
                return ending;
            }
            bytes.clear();
            outbox.progress.notify_waiters();
            continue;
        }
        if let Some(ending) = ending {
            return ending;
        }
        outbox.ready.notified().await;
    }
}

/// Writes it all, unless a reset comes between.
async fn write_out(outbox: &Outbox, to: &mut WriteHalf<'_>, bytes: &[u8]) -> Result<(), Ending> {
    let mut written = pin!(to.write_all(bytes));
    loop {
        tokio::select! {
            biased;
            done = &mut written => {
                // Whatever came meanwhile is looked at next.
                outbox.ready.notify_one();
                return done.map_err(|_| Ending::Fin);
            }
            () = outbox.ready.notified() => {
                if outbox.ending() == Some(Ending::Reset) {
                    return Err(Ending::Reset);
                }
            }
        }
    }
}

/// Reads until the client's FIN, or a header that ends the connection.
async fn read(
    shared: &Arc<Shared>,
    conn: u64,
    outbox: &Arc<Outbox>,
    mut from: ReadHalf<'_>,
) -> ReadEnd {
    let mut decoder = Decoder::default();
    loop {
        unwedged(shared).await;
        decoder.buffer().reserve(16 * 1024);
        match from.read_buf(decoder.buffer()).await {
            Ok(1..) => {}
            ended @ (Ok(0) | Err(_)) => {
                shared.end_of(conn, if ended.is_ok() { Closed::Fin } else { Closed::Reset });
                return ReadEnd::Fin;
            }
        }
        unwedged(shared).await;
        while let Some(piece) = decoder.next_piece() {
            match piece {
                Piece::Body(raw) => take(shared, conn, outbox, &raw),
                Piece::BadHeader(text) => {
                    refuse(outbox, RpcError::new(-32700, text));
                    return ReadEnd::BadHeader;
                }
            }
        }
    }
}

fn refuse(outbox: &Outbox, error: RpcError) {
    outbox.push(body("null", &Err(error)).as_bytes());
}

fn take(shared: &Arc<Shared>, conn: u64, outbox: &Arc<Outbox>, raw: &Bytes) {
    if shared.config.record {
        shared.seen.push(conn, raw);
    } else if hot(shared, conn, outbox, raw).is_some() {
        return;
    }
    match wire::read(raw) {
        Err(error) => refuse(outbox, error),
        Ok(Message::Notification { .. }) => {}
        Ok(Message::Response { id, outcome }) => answer(shared, conn, &id, outcome),
        Ok(Message::Request { id, method, params }) => {
            let reply = Reply { conn, id: id.to_string(), method };
            request(shared, reply, params);
        }
    }
}

/// The hot path: `session.mode.get` of a live session, without a tree and without a record.
fn hot(shared: &Shared, conn: u64, outbox: &Outbox, raw: &[u8]) -> Option<()> {
    let plain = fast::read(raw).filter(|plain| plain.method == "session.mode.get")?;
    if shared.faults.any() {
        return None;
    }
    let model = shared.model.lock();
    let known = !model.leaving && model.conns.get(&conn)?.authenticated;
    let live = model.live.get(plain.session).filter(|_| known)?;
    let want = shared.config.bench.as_ref().map_or(0, |bench| bench.answer_bytes);
    outbox.push_with(|bytes| {
        let (head, middle) = (r#"{"jsonrpc":"2.0","id":"#, r#","result":""#);
        let length = head.len() + plain.id.len() + middle.len() + live.mode.len() + 2;
        let pad = want.saturating_sub(length);
        let length = length + pad;
        bytes.extend_from_slice(b"Content-Length: ");
        bytes.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
        for part in ["\r\n\r\n", head, plain.id, middle, &live.mode] {
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes.resize(bytes.len() + pad, b'x');
        bytes.extend_from_slice(b"\"}");
    });
    Some(())
}

/// An answer whose id has another type than ours is ignored, as is one that nobody waits for.
fn answer(shared: &Arc<Shared>, conn: u64, id: &Value, outcome: Result<Value, Value>) {
    let waiting = shared.with(|model| model.conns.get_mut(&conn)?.asked.remove(&id.as_u64()?));
    if let Some(waiting) = waiting {
        let _ = waiting.send(outcome);
    }
}

/// How long connect, create, resume and delete take; later requests overtake them.
const OPENS: Duration = Duration::from_millis(2);

/// What opens or closes something takes a moment, in which later requests are served already.
fn request(shared: &Arc<Shared>, reply: Reply, params: Value) {
    if let Some(answer) = shared.faults.take_answer(&reply.method) {
        return shared.with(|model| model.answer(reply, answer));
    }
    let slow = matches!(
        reply.method.as_str(),
        "connect" | "session.create" | "session.resume" | "session.delete"
    );
    if !slow {
        return shared.with(|model| serve::request(model, reply, &params));
    }
    let later = shared.clone();
    shared.spawn(async move {
        tokio::time::sleep(OPENS).await;
        later.with(|model| serve::request(model, reply, &params));
    });
}
