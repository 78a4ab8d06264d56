//! A client's stream as Pingora wants it: one request at a time, and of each only bytes that were checked.
//!
//! [`ClientStream::head`] reads the head of a request and has it checked before Pingora sees a byte. Then Pingora reads: the
//! head, the body to its last byte, and nothing of what follows it; a body that breaks its framing ends in an error.
//! While a response is relayed, writes never wait, and are held back a little, so that its head and what is already there of its body go out in
//! one piece: they go at the latest when the task waits for the client.

mod wire;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub use self::wire::Wire;
use super::bare::bare;
use super::guard::chunks::Chunks;
use super::guard::head::{self, Length};
use super::guard::{Bounds, Flaw};
use super::held::Held;
use crate::observe::metrics::ListenerMetrics;
use crate::stream::{Io, forgiving};
use crate::time::Duration;

/// What is read of the client at a time, while nobody has given a buffer for it.
const GLANCE: usize = 4096;
/// The first bytes of HTTP/2 (RFC 9113, 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the bytes that come next belong to.
#[derive(Debug)]
enum At {
    /// A head, of which so many bytes are still to be given to Pingora; then its body.
    Head(usize, Length),
    /// A body, which has so many bytes left.
    Bytes(u64),
    /// A body in chunks.
    Chunks(Chunks),
    /// The request is over.
    Over,
    /// The body broke its framing, after what was given.
    Broken(Flaw),
}

/// See the module's head.
pub struct ClientStream {
    io: Io,
    at: At,
    /// What came and was not read yet.
    came: BytesMut,
    held: Held,
    wire: Arc<Wire>,
    /// What is counted of its listener.
    metrics: Arc<ListenerMetrics>,
}

/// What a client begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// HTTP/2 without TLS.
    Http2,
    /// Something else.
    Http1,
    /// Nothing: it is gone.
    Nothing,
}

/// Why there is no head.
#[derive(Debug)]
pub enum NoHead {
    /// The client is gone, between requests.
    Gone,
    /// It went away, or its stream broke, within a head.
    Cut,
    /// What came is no request.
    Flawed(Flaw),
}

impl ClientStream {
    /// Around a client's stream.
    pub fn new(io: Io, wire: Arc<Wire>, metrics: Arc<ListenerMetrics>) -> Self {
        let (came, held) = (BytesMut::new(), Held::default());
        ClientStream { io, at: At::Over, came, held, wire, metrics }
    }

    /// What its task and this stream share.
    pub fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    /// What is spoken within TLS, as the two agreed.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.io.alpn()
    }

    /// Whether the request was read to its last byte.
    pub fn is_over(&self) -> bool {
        matches!(self.at, At::Over)
    }

    /// Makes sure that the client does not take the end of the conn for the end of an answer.
    pub fn break_off(&self) {
        // An error: it is gone already.
        let _ = socket2::SockRef::from(self.io.socket()).set_linger(Some(Duration::ZERO));
    }

    /// Whether something came that nobody has read.
    pub fn has_more(&self) -> bool {
        !self.came.is_empty()
    }

    /// Reads into what came; `Ok(0)`: the client has ended.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut glance = [std::mem::MaybeUninit::uninit(); GLANCE];
        let mut buf = ReadBuf::uninit(&mut glance);
        // What clients say has lengths.
        forgiving(ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf)))?;
        self.metrics.bytes_in.inc_by(buf.filled().len() as u64);
        self.came.extend_from_slice(buf.filled());
        Poll::Ready(Ok(buf.filled().len()))
    }

    async fn more(&mut self) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_more(cx)).await
    }

    /// Waits for the first byte of a request. `false`: the client is gone. Nothing is lost if this is dropped.
    pub async fn wake(&mut self) -> bool {
        self.has_more() || self.more().await.is_ok_and(|n| n > 0)
    }

    /// Sees which HTTP the client speaks, by its first bytes. Nothing is lost if this is dropped.
    pub async fn begins(&mut self) -> Begins {
        loop {
            let seen = self.came.len().min(PREFACE.len());
            if self.came.get(..seen) != PREFACE.get(..seen) {
                return Begins::Http1;
            }
            if seen == PREFACE.len() {
                return Begins::Http2;
            }
            match self.more().await {
                Ok(n) if n > 0 => {}
                Ok(_) | Err(_) if seen > 0 => return Begins::Http1,
                Ok(_) | Err(_) => return Begins::Nothing,
            }
        }
    }

    /// Reads the head of the next request, and checks it. Nothing is lost if this is dropped.
    pub async fn head(&mut self, bounds: &Bounds) -> Result<(), NoHead> {
        let mut seen = 0;
        loop {
            // An empty line before a request is not part of it (RFC 9112, 2.2).
            while self.came.starts_with(b"\r\n") {
                self.came.advance(2);
            }
            if let Some(end) = end_of_head(&self.came, seen) {
                let head = self.came.get(..end).unwrap_or_default();
                let length = head::check(head, bounds).map_err(NoHead::Flawed)?;
                self.at = At::Head(end, length);
                return Ok(());
            }
            if self.came.len() > bounds.head {
                return Err(NoHead::Flawed(self.early_flaw(bounds)));
            }
            seen = self.came.len().saturating_sub(3);
            match self.more().await {
                Ok(n) if n > 0 => {}
                Ok(_) | Err(_) if self.came.is_empty() => return Err(NoHead::Gone),
                Ok(_) | Err(_) => return Err(NoHead::Cut),
            }
        }
    }

    /// What is wrong with a head that has no end within its bound.
    fn early_flaw(&self, bounds: &Bounds) -> Flaw {
        let line = memchr::memchr(b'\n', &self.came).unwrap_or(self.came.len());
        if line > bounds.target + 64 { Flaw::TargetTooLong } else { Flaw::TooLarge }
    }

    /// Gives what came and is to be read now. `None`: nothing of it.
    fn give(&mut self, buf: &mut ReadBuf<'_>) -> Option<io::Result<()>> {
        let room = buf.remaining().min(self.came.len());
        if room == 0 {
            return None;
        }
        let fits = |left: u64| room.min(usize::try_from(left).unwrap_or(usize::MAX));
        let given = match &mut self.at {
            At::Head(left, length) => {
                let given = room.min(*left);
                *left -= given;
                if *left == 0 {
                    self.at = At::after_head(*length);
                }
                given
            }
            At::Bytes(left) => {
                let given = fits(*left);
                *left -= given as u64;
                given
            }
            At::Chunks(chunks) => match chunks.pass(self.came.get(..room).unwrap_or_default()) {
                Ok(given) => given,
                Err((given, flaw)) => {
                    self.wire.flaw.lock().replace(flaw);
                    self.at = At::Broken(flaw);
                    if given == 0 {
                        return Some(Err(broken(flaw)));
                    }
                    given
                }
            },
            At::Broken(flaw) => return Some(Err(broken(*flaw))),
            At::Over => return None,
        };
        buf.put_slice(self.came.get(..given).unwrap_or_default());
        self.came.advance(given);
        self.at.settle();
        Some(Ok(()))
    }

    /// Reads straight into the reader's buffer.
    fn poll_through(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, buf));
        if self.wire.tunnel.load(Ordering::Relaxed) { read } else { forgiving(read) }?;
        self.metrics.bytes_in.inc_by((buf.filled().len() - before) as u64);
        Poll::Ready(Ok(()))
    }

    /// Writes out what is held back, as far as the client takes it.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = self.held.poll_send(&mut self.io, &self.wire.level, cx);
        self.count();
        sent
    }

    /// Counts what went out. Each of a listener's conns does, on whatever core: so not where there is nothing to count.
    fn count(&mut self) {
        match self.held.count() {
            0 => {}
            sent => self.metrics.bytes_out.inc_by(sent),
        }
    }

    /// Whether so many bytes are held back: while an answer is relayed, and where they go out with what is.
    fn holds(&self, len: usize) -> bool {
        self.held.joins(len) || self.wire.corked.load(Ordering::Relaxed)
    }

    fn hold(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        let pushed = self.held.push(&mut self.io, &self.wire.level, cx, bytes);
        self.count();
        pushed
    }

    /// Takes note of what went out by itself.
    fn went(&mut self, n: usize) -> io::Result<usize> {
        self.held.went(&self.wire.level, n)?;
        self.count();
        Ok(n)
    }

    /// What is read while the request is over: only whether the client is still there. What it says is kept for later.
    fn poll_still_there(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_more() {
            // It said more already. Whether it is gone is seen when that is read.
            return Poll::Pending;
        }
        match ready!(self.poll_more(cx)) {
            Ok(0) => Poll::Ready(Ok(())),
            Ok(_) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

fn broken(flaw: Flaw) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, flaw)
}

impl At {
    fn after_head(length: Length) -> Self {
        match length {
            Length::Bytes(left) => At::Bytes(left),
            Length::Chunked => At::Chunks(Chunks::default()),
        }
    }

    /// A body that has ended is over.
    fn settle(&mut self) {
        let ended = match self {
            At::Bytes(left) => *left == 0,
            At::Chunks(chunks) => chunks.is_over(),
            At::Head(..) | At::Over | At::Broken(_) => false,
        };
        if ended {
            *self = At::Over;
        }
    }
}

/// Where the head ends, if it does: after its first empty line, however that is written.
fn end_of_head(bytes: &[u8], seen: usize) -> Option<usize> {
    let mut from = seen;
    loop {
        let at = from + memchr::memchr(b'\n', bytes.get(from..)?)?;
        match (bytes.get(at + 1), bytes.get(at + 2)) {
            (Some(b'\n'), _) => return Some(at + 2),
            (Some(b'\r'), Some(b'\n')) => return Some(at + 3),
            (Some(b'\r') | None, None) => return None,
            (Some(_) | None, _) => from = at + 1,
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.wire.level.is_paused() {
            let _ = this.poll_out(cx)?;
            return Poll::Pending;
        }
        if this.wire.opaque.load(Ordering::Relaxed) {
            if this.came.is_empty() {
                let _ = this.poll_out(cx)?;
                return this.poll_through(cx, buf);
            }
            let given = buf.remaining().min(this.came.len());
            buf.put_slice(this.came.get(..given).unwrap_or_default());
            this.came.advance(given);
            return Poll::Ready(Ok(()));
        }
        if let Some(given) = this.give(buf) {
            return Poll::Ready(given);
        }
        // Whoever waits for the client waits for what it has not been told yet, too.
        let _ = this.poll_out(cx)?;
        match &mut this.at {
            At::Over => this.poll_still_there(cx),
            At::Broken(flaw) => Poll::Ready(Err(broken(*flaw))),
            // Straight into the reader's buffer.
            At::Bytes(left) => {
                let (left, before) = (*left, buf.filled().len());
                match usize::try_from(left) {
                    Ok(end) if end < buf.remaining() => {
                        let mut part = ReadBuf::new(buf.initialize_unfilled_to(end));
                        ready!(this.poll_through(cx, &mut part))?;
                        let came = part.filled().len();
                        buf.advance(came);
                    }
                    Ok(_) | Err(_) => ready!(this.poll_through(cx, buf))?,
                }
                this.at = At::Bytes(left - (buf.filled().len() - before) as u64);
                this.at.settle();
                Poll::Ready(Ok(()))
            }
            At::Head(..) | At::Chunks(_) => match ready!(this.poll_more(cx))? {
                0 => Poll::Ready(Ok(())),
                _ => this.give(buf).unwrap_or(Ok(())).into(),
            },
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.holds(bytes.len()) {
            return Poll::Ready(this.hold(cx, bytes).map(|()| bytes.len()));
        }
        ready!(this.poll_out(cx))?;
        let n = ready!(Pin::new(&mut this.io).poll_write(cx, bytes))?;
        Poll::Ready(this.went(n))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        if this.holds(len) {
            for slice in slices {
                this.hold(cx, slice)?;
            }
            return Poll::Ready(Ok(len));
        }
        ready!(this.poll_out(cx))?;
        let n = ready!(Pin::new(&mut this.io).poll_write_vectored(cx, slices))?;
        Poll::Ready(this.went(n))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.wire.corked.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        this.poll_out(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_out(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

bare!(ClientStream);

impl std::fmt::Debug for ClientStream {
    /// Without what came: it may hold a token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientStream").field("at", &self.at).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
