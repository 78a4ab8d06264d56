//! The server behind the proxies: it records what comes on each connection, byte for byte, reads it with the strict reader, and
//! answers as its script says. Never repairs a request: on the first fault it closes the connection.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use socket2::SockRef;

use super::reader::{Field, Head, Part, Reader};

/// How long a fact may take to come true.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A request as the backend saw it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<Field>,
    /// Its end was seen.
    pub(crate) complete: bool,
}

/// What came on one connection, and what became of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conn {
    pub(crate) bytes: Vec<u8>,
    pub(crate) requests: Vec<Request>,
    /// Why its bytes are no requests.
    pub(crate) fault: Option<String>,
    pub(crate) closed: bool,
}

/// Ends a connection; nothing went wrong.
#[derive(Debug)]
pub(crate) struct Closed;

impl From<std::io::Error> for Closed {
    fn from(_: std::io::Error) -> Closed {
        Closed
    }
}

/// Answers one request of which the head was read. `Ok` keeps the connection.
pub(crate) type Script = dyn Fn(&Head, &mut Talk) -> Result<(), Closed> + Send + Sync;

/// A server on a port of its own; its connections are cut when it is dropped.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Box<Script>,
    conns: Mutex<Vec<Conn>>,
    changed: Condvar,
    open: Mutex<Option<Vec<TcpStream>>>,
    /// How often a script may go on.
    leave: Mutex<usize>,
    /// What `fill` has sent.
    filled: AtomicUsize,
}

impl Shared {
    fn conns(&self) -> MutexGuard<'_, Vec<Conn>> {
        self.conns.lock().unwrap()
    }

    fn change(&self, conn: usize, change: impl FnOnce(&mut Conn)) {
        change(&mut self.conns()[conn]);
        self.changed.notify_all();
    }
}

impl Backend {
    /// Answers every request with what it saw, in JSON.
    pub(crate) fn echo() -> Backend {
        Backend::start(|head, talk| talk.echo(head))
    }

    pub(crate) fn start(
        script: impl Fn(&Head, &mut Talk) -> Result<(), Closed> + Send + Sync + 'static,
    ) -> Backend {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            conns: Mutex::default(),
            changed: Condvar::new(),
            open: Mutex::new(Some(Vec::new())),
            leave: Mutex::new(0),
            filled: AtomicUsize::new(0),
        });
        let ours = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let conn = {
                    let mut open = ours.open.lock().unwrap();
                    let Some(open) = &mut *open else { return };
                    open.push(stream.try_clone().unwrap());
                    let mut conns = ours.conns();
                    conns.push(Conn::default());
                    conns.len() - 1
                };
                let ours = ours.clone();
                std::thread::spawn(move || serve(stream, conn, ours));
            }
        });
        Backend { address, shared }
    }

    /// What came so far, connection by connection.
    pub(crate) fn conns(&self) -> Vec<Conn> {
        self.shared.conns().clone()
    }

    /// Looks at what came so far, without a copy.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&[Conn]) -> T) -> T {
        look(&self.shared.conns())
    }

    /// Waits until what came is so, and returns what this finds.
    pub(crate) fn until<T>(&self, what: &str, mut so: impl FnMut(&[Conn]) -> Option<T>) -> T {
        let found = self.within(DEADLINE, &mut so);
        found.unwrap_or_else(|| panic!("{what}: not so within {DEADLINE:?}: {:#?}", self.conns()))
    }

    /// Lets one script go on that waits.
    pub(crate) fn go_on(&self) {
        *self.shared.leave.lock().unwrap() += 1;
        self.shared.changed.notify_all();
    }

    /// Waits until `fill` gets no further for so long; returns how far it got.
    pub(crate) fn until_stuck(&self, still: Duration) -> usize {
        let filled = || self.shared.filled.load(Ordering::SeqCst);
        for _ in 0..DEADLINE.as_millis() / still.as_millis() {
            let before = filled();
            self.within(still, |_| (filled() != before).then_some(()));
            if before > 0 && filled() == before {
                return before;
            }
        }
        panic!("it goes on and on: {} bytes", filled())
    }

    /// The same, with a deadline of its own.
    pub(crate) fn within<T>(
        &self,
        deadline: Duration,
        mut so: impl FnMut(&[Conn]) -> Option<T>,
    ) -> Option<T> {
        let mut found = None;
        let still = |conns: &mut Vec<Conn>| {
            found = so(conns);
            found.is_none()
        };
        drop(self.shared.changed.wait_timeout_while(self.shared.conns(), deadline, still).unwrap());
        found
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let open = self.shared.open.lock().unwrap().take();
        for stream in open.into_iter().flatten() {
            // It may be gone.
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: TcpStream, conn: usize, shared: Arc<Shared>) {
    // Nobody may wait for ever.
    stream.set_read_timeout(Some(DEADLINE * 3)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut talk =
        Talk { stream, reader: Reader::new(), conn, shared: shared.clone(), resets: false };
    loop {
        match talk.part() {
            Ok(Part::Head(head)) => {
                if (shared.script)(&head, &mut talk).is_err() {
                    break;
                }
            }
            // What the script left of the request before.
            Ok(_) => {}
            Err(Closed) => break,
        }
    }
    if !talk.resets {
        // Both may be over already.
        let _ = talk.stream.shutdown(Shutdown::Both);
    }
    drop(talk);
    shared.change(conn, |c| c.closed = true);
}

/// The backend's side of one connection.
pub(crate) struct Talk {
    stream: TcpStream,
    reader: Reader,
    /// Its number.
    pub(crate) conn: usize,
    shared: Arc<Shared>,
    resets: bool,
}

impl Talk {
    /// The next part of what comes, recorded.
    pub(crate) fn part(&mut self) -> Result<Part, Closed> {
        loop {
            match self.reader.next() {
                Err(fault) => {
                    self.shared.change(self.conn, |c| c.fault = Some(fault));
                    return Err(Closed);
                }
                Ok(Some(part)) => {
                    self.shared.change(self.conn, |c| record(c, &part));
                    return Ok(part);
                }
                Ok(None) => {
                    let bytes = self.read()?;
                    self.reader.push(&bytes);
                }
            }
        }
    }

    /// Whatever comes next, recorded as bytes only.
    pub(crate) fn read(&mut self) -> Result<Vec<u8>, Closed> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(Closed),
                Ok(count) => {
                    buffer.truncate(count);
                    self.shared.change(self.conn, |c| c.bytes.extend_from_slice(&buffer));
                    return Ok(buffer);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Closed),
            }
        }
    }

    /// The rest of the request: its body and trailers.
    pub(crate) fn rest(&mut self) -> Result<(Vec<u8>, Vec<Field>), Closed> {
        let mut body = Vec::new();
        loop {
            match self.part()? {
                Part::Body(more) => body.extend(more),
                Part::End(trailers) => return Ok((body, trailers)),
                Part::Head(_) => return Err(Closed),
            }
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Closed> {
        self.stream.write_all(bytes.as_ref())?;
        Ok(())
    }

    /// Says that nothing more comes, and leaves the other direction open.
    pub(crate) fn finish(&mut self) -> Result<(), Closed> {
        self.stream.shutdown(Shutdown::Write)?;
        Ok(())
    }

    /// Resets the connection, once the script has returned this.
    pub(crate) fn reset(&mut self) -> Closed {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
        let gone = self.stream.peer_addr().ok();
        if let Some(open) = &mut *self.shared.open.lock().unwrap() {
            // What `Drop` would cut holds the socket open.
            open.retain(|s| s.peer_addr().ok() != gone);
        }
        self.resets = true;
        Closed
    }

    /// Sends so many bytes.
    pub(crate) fn fill(&mut self, bytes: usize) -> Result<(), Closed> {
        let piece = vec![b'x'; 64 << 10];
        let mut left = bytes;
        while left > 0 {
            let sent = self.stream.write(&piece[..left.min(piece.len())])?;
            left -= sent;
            self.shared.filled.fetch_add(sent, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Waits for the test to say that it may go on.
    pub(crate) fn wait_for_leave(&self) {
        let conns = self.shared.conns();
        let none = |_: &mut Vec<Conn>| {
            let mut leave = self.shared.leave.lock().unwrap();
            let wait = *leave == 0;
            *leave -= usize::from(!wait);
            wait
        };
        drop(self.shared.changed.wait_timeout_while(conns, DEADLINE, none).unwrap());
    }

    /// What came and belongs to no request.
    pub(crate) fn unread(&mut self) -> Vec<u8> {
        self.reader.take_unread()
    }

    /// Reads the request to its end and answers what it was.
    pub(crate) fn echo(&mut self, head: &Head) -> Result<(), Closed> {
        let (body, trailers) = self.rest()?;
        self.answer(head, &seen(head, &body, &trailers, self.conn))
    }

    /// The same, without what a proxy may change.
    pub(crate) fn echo_as_sent(&mut self, head: &Head) -> Result<(), Closed> {
        let (body, _) = self.rest()?;
        self.answer(head, &own_words(head, &body))
    }

    fn answer(&mut self, head: &Head, said: &Value) -> Result<(), Closed> {
        let text = said.to_string();
        let length = text.len();
        let body = if head.method == "HEAD" { "" } else { &text };
        self.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }
}

fn record(conn: &mut Conn, part: &Part) {
    if let Part::Head(head) = part {
        let head = head.clone();
        let request = Request { head, body: Vec::new(), trailers: Vec::new(), complete: false };
        conn.requests.push(request);
        return;
    }
    let Some(request) = conn.requests.last_mut() else { return };
    match part {
        Part::Head(_) => {}
        Part::Body(more) => request.body.extend_from_slice(more),
        Part::End(trailers) => {
            request.trailers = trailers.clone();
            request.complete = true;
        }
    }
}

/// The request's own words, without what proxies may change.
fn own_words(head: &Head, body: &[u8]) -> Value {
    json!({ "method": head.method, "target": head.target, "body": String::from_utf8_lossy(body) })
}

/// What `echo` tells.
fn seen(head: &Head, body: &[u8], trailers: &[Field], conn: usize) -> Value {
    let of = |fields: &[Field]| -> Vec<Value> {
        fields.iter().map(|(n, v)| json!([n, String::from_utf8_lossy(v)])).collect()
    };
    json!({
        "method": head.method, "target": head.target, "headers": of(&head.fields),
        "body": String::from_utf8_lossy(body), "trailers": of(trailers), "conn": conn,
    })
}
