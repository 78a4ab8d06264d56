//! A raw JSON-RPC client for tests: every frame is recorded, nothing is answered by itself, every
//! wait has a deadline. Not an SDK: it knows no session.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, WriteHalf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::wire::{self, Decoder, Message, Piece, RpcError};

/// How long a wait takes at most, unless told otherwise.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// One frame from the server.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The body, byte for byte.
    pub raw: Bytes,
    /// The body as JSON; null where it is none.
    pub value: Value,
}

impl Frame {
    /// The method, or "".
    pub fn method(&self) -> &str {
        self.value["method"].as_str().unwrap_or_default()
    }

    /// `params.event.type` of a `session.event`, or "".
    pub fn event_type(&self) -> &str {
        self.value["params"]["event"]["type"].as_str().unwrap_or_default()
    }

    fn answers(&self, id: &Value) -> bool {
        self.value.get("method").is_none() && self.value.get("id") == Some(id)
    }
}

/// How the other side ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// FIN.
    Fin,
    /// RST, or another error.
    Reset,
}

#[derive(Debug, Default)]
struct Inbox {
    frames: Mutex<Vec<Frame>>,
    closed: Mutex<Option<Closed>>,
    changed: Notify,
}

/// Which ids requests get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// 1, 2, 3.
    Numbers,
    /// "r1", "r2", "r3".
    Strings,
}

/// Where the client writes.
enum Writing {
    Plain(OwnedWriteHalf),
    Tls(WriteHalf<TlsStream<TcpStream>>),
}

impl Writing {
    async fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Writing::Plain(write) => write.write_all(bytes).await,
            Writing::Tls(write) => {
                write.write_all(bytes).await?;
                write.flush().await
            }
        }
    }

    async fn shutdown(&mut self) -> std::io::Result<()> {
        match self {
            Writing::Plain(write) => write.shutdown().await,
            Writing::Tls(write) => write.shutdown().await,
        }
    }

    /// Dropping a half would be a FIN too: the reader keeps the connection.
    fn forget(self) {
        if let Writing::Plain(write) = self {
            write.forget();
        }
    }
}

/// A connection. Dropped, it closes with FIN.
pub struct Client {
    write: tokio::sync::Mutex<Option<Writing>>,
    inbox: Arc<Inbox>,
    last_id: Mutex<u64>,
    ids: Ids,
    /// How long each wait takes at most.
    pub deadline: Duration,
    tasks: JoinSet<()>,
}

/// A sent request.
#[derive(Debug, Clone)]
pub struct Pending {
    /// Its id, with its type.
    pub id: Value,
    from: usize,
}

impl Client {
    /// Connects; says nothing.
    ///
    /// # Errors
    /// The connection is refused.
    pub async fn connect(addr: SocketAddr) -> std::io::Result<Client> {
        Client::connect_with(addr, Ids::Numbers).await
    }

    /// Connects, with a choice of ids.
    ///
    /// # Errors
    /// The connection is refused.
    pub async fn connect_with(addr: SocketAddr, ids: Ids) -> std::io::Result<Client> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let (reading, writing) = stream.into_split();
        Ok(Client::over(reading, Writing::Plain(writing), ids))
    }

    /// Connects over TLS, to a server that is called `localhost`; `before` is written in front of it.
    ///
    /// # Errors
    /// The connection is refused, or the handshake fails. (With TLS 1.3 a server that wants another certificate says so
    /// only later.)
    pub async fn connect_tls(
        addr: SocketAddr,
        config: Arc<ClientConfig>,
        before: &[u8],
    ) -> std::io::Result<Client> {
        let mut stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        stream.write_all(before).await?;
        let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        let (reading, writing) = tokio::io::split(stream);
        Ok(Client::over(reading, Writing::Tls(writing), Ids::Numbers))
    }

    fn over(
        reading: impl AsyncRead + Unpin + Send + 'static,
        writing: Writing,
        ids: Ids,
    ) -> Client {
        let inbox = Arc::new(Inbox::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(receive(reading, inbox.clone()));
        Client {
            write: tokio::sync::Mutex::new(Some(writing)),
            inbox,
            last_id: Mutex::new(0),
            ids,
            deadline: DEADLINE,
            tasks,
        }
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn send_raw(&self, bytes: &[u8]) -> std::io::Result<()> {
        match self.write.lock().await.as_mut() {
            Some(write) => write.write_all(bytes).await,
            None => Err(std::io::ErrorKind::NotConnected.into()),
        }
    }

    /// Frames a body and writes it.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn send_body(&self, body: &str) -> std::io::Result<()> {
        self.send_raw(&wire::frame(body)).await
    }

    /// Sends a request and does not wait for its answer.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn post(&self, method: &str, params: Value) -> std::io::Result<Pending> {
        let id = {
            let mut last = self.last_id.lock();
            *last += 1;
            match self.ids {
                Ids::Numbers => Value::from(*last),
                Ids::Strings => Value::from(format!("r{last}")),
            }
        };
        let from = self.received();
        let method = Value::from(method);
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{method},"params":{params}}}"#);
        self.send_body(&body).await?;
        Ok(Pending { id, from })
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// The server's error; code 0 where none came: the deadline passed, or the connection closed.
    pub async fn answer_to(&self, pending: &Pending) -> Result<Value, RpcError> {
        let found = self.next_frame(pending.from, |frame| frame.answers(&pending.id)).await;
        let mut value = found.map_err(|why| RpcError::new(0, why))?.value;
        match value.get_mut("error") {
            Some(error) => Err(RpcError {
                code: error["code"].as_i64().unwrap_or_default(),
                message: error["message"].as_str().unwrap_or_default().to_owned(),
                data: error["data"].take(),
            }),
            None => Ok(value["result"].take()),
        }
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// As [`Client::answer_to`]; code 0 also where it could not be sent.
    pub async fn request(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        let pending = self.post(method, params).await;
        self.answer_to(&pending.map_err(|error| RpcError::new(0, error.to_string()))?).await
    }

    /// Sends a notification.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn notify(&self, method: &str, params: Value) -> std::io::Result<()> {
        let method = Value::from(method);
        let body = format!(r#"{{"jsonrpc":"2.0","method":{method},"params":{params}}}"#);
        self.send_body(&body).await
    }

    /// Answers a request of the server.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn answer(
        &self,
        id: &Value,
        outcome: Result<Value, RpcError>,
    ) -> std::io::Result<()> {
        let member = match outcome {
            Ok(result) => format!(r#""result":{result}"#),
            Err(error) => format!(r#""error":{}"#, error.to_json()),
        };
        self.send_body(&format!(r#"{{"jsonrpc":"2.0","id":{id},{member}}}"#)).await
    }

    /// How many frames have come: a mark for [`Client::next_frame`].
    pub fn received(&self) -> usize {
        self.inbox.frames.lock().len()
    }

    /// All frames from a mark on.
    pub fn frames(&self, from: usize) -> Vec<Frame> {
        self.inbox.frames.lock().iter().skip(from).cloned().collect()
    }

    /// The first frame from a mark on that fits.
    ///
    /// # Errors
    /// In words: the deadline passed, or the connection closed.
    pub async fn next_frame(
        &self,
        from: usize,
        fits: impl Fn(&Frame) -> bool,
    ) -> Result<Frame, String> {
        let waiting = async {
            let mut next = from;
            loop {
                let changed = self.inbox.changed.notified();
                // Each frame is looked at once, however often more come.
                let new = self.frames(next);
                next += new.len();
                if let Some(found) = new.into_iter().find(&fits) {
                    return Ok(found);
                }
                if let Some(closed) = self.closed() {
                    return Err(format!("closed: {closed:?}"));
                }
                changed.await;
            }
        };
        match tokio::time::timeout(self.deadline, waiting).await {
            Ok(found) => found,
            Err(_) => Err(format!("nothing came within {:?}", self.deadline)),
        }
    }

    /// The first notification of a method from a mark on that fits.
    ///
    /// # Errors
    /// As [`Client::next_frame`].
    pub async fn next_notification(
        &self,
        from: usize,
        method: &str,
        fits: impl Fn(&Value) -> bool,
    ) -> Result<Value, String> {
        let is = |frame: &Frame| {
            frame.method() == method
                && frame.value.get("id").is_none()
                && fits(&frame.value["params"])
        };
        Ok(self.next_frame(from, is).await?.value["params"].take())
    }

    /// The first `session.event` of a type from a mark on.
    ///
    /// # Errors
    /// As [`Client::next_frame`].
    pub async fn next_event(&self, from: usize, kind: &str) -> Result<Value, String> {
        let is = |params: &Value| params["event"]["type"] == kind;
        Ok(self.next_notification(from, "session.event", is).await?["event"].take())
    }

    /// Returns once nothing came for this long.
    pub async fn quiet(&self, silence: Duration) {
        loop {
            let changed = self.inbox.changed.notified();
            if tokio::time::timeout(silence, changed).await.is_err() {
                return;
            }
        }
    }

    /// How the server closed, if it did.
    pub fn closed(&self) -> Option<Closed> {
        *self.inbox.closed.lock()
    }

    /// Waits for the server's FIN or RST; `None` at the deadline.
    pub async fn until_closed(&self) -> Option<Closed> {
        let waiting = async {
            loop {
                let changed = self.inbox.changed.notified();
                if let Some(closed) = self.closed() {
                    return closed;
                }
                changed.await;
            }
        };
        tokio::time::timeout(self.deadline, waiting).await.ok()
    }

    /// FIN; answers still come.
    pub async fn half_close(&self) {
        if let Some(mut write) = self.write.lock().await.take() {
            let _ = write.shutdown().await;
            write.forget();
        }
    }

    /// FIN, and nothing is read any more.
    pub async fn close(mut self) {
        self.half_close().await;
        self.tasks.shutdown().await;
    }

    /// RST; over TLS: gone without a word of TLS.
    pub async fn reset(mut self) {
        if let Some(write) = self.write.lock().await.take() {
            if let Writing::Plain(write) = &write {
                let _ = write.as_ref().set_zero_linger();
            }
            write.forget();
        }
        self.tasks.shutdown().await;
    }
}

async fn receive(mut from: impl AsyncRead + Unpin, inbox: Arc<Inbox>) {
    let mut decoder = Decoder::default();
    let closed = loop {
        decoder.buffer().reserve(16 * 1024);
        match from.read_buf(decoder.buffer()).await {
            Ok(1..) => {}
            Ok(0) => break Closed::Fin,
            Err(_) => break Closed::Reset,
        }
        while let Some(Piece::Body(raw)) = decoder.next_piece() {
            let value = serde_json::from_slice(&raw).unwrap_or_default();
            inbox.frames.lock().push(Frame { raw, value });
        }
        inbox.changed.notify_waiters();
    };
    *inbox.closed.lock() = Some(closed);
    inbox.changed.notify_waiters();
}

/// A frame as the fake's wire module reads it: for tests that look at shapes.
///
/// # Errors
/// As [`wire::read`].
pub fn shape(frame: &Frame) -> Result<Message, RpcError> {
    wire::read(&frame.raw)
}
