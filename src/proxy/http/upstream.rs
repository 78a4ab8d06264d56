//! An upstream's stream as Pingora wants it, plain or within TLS. Nobody waits for an upstream that takes nothing: what it does
//! not take is held here, and goes out while its answer is read. So a request and its answer flow at the same time, and one
//! that is answered before it has ended cannot stall.
//!
//! Writes are held back until somebody reads, so that the head of a request and what is there of its body go out in one piece.
//! Bounds nothing: who writes looks at [`Outgoing`] before it writes more.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::bare::bare;
use crate::stream::Io;
use crate::time::Duration;

/// What is held back to go out in one piece, and what may be held before more is read for it.
const HOLD: usize = 16 * 1024;

/// What is on its way to an upstream: what its stream says to the task that has it. Both are of one task, so that nobody has
/// to be woken.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Bytes that are held.
    held: AtomicUsize,
    /// Bytes that it has taken after it was waited for. Wraps.
    taken: AtomicUsize,
    /// It takes no more.
    refused: AtomicBool,
    /// Nothing comes after what is held.
    last: AtomicBool,
    /// Nothing is read.
    paused: AtomicBool,
}

impl Outgoing {
    /// Whether all went out.
    pub fn is_clear(&self) -> bool {
        self.held.load(Ordering::Relaxed) == 0 && !self.is_refused()
    }

    /// Whether it is waited for.
    pub fn is_blocked(&self) -> bool {
        self.held.load(Ordering::Relaxed) > 0
    }

    /// Whether the upstream takes no more. It may have answered all the same.
    pub fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// Bytes that it has taken late. Wraps: only whether it changes is of use.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Ends our side once all is out.
    pub fn end(&self) {
        self.last.store(true, Ordering::Relaxed);
    }

    /// Whether nothing is read, as there is no room for it. What is held still goes out.
    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    /// Whether there is room for more, and somebody to take it.
    pub fn has_room(&self) -> bool {
        self.held.load(Ordering::Relaxed) < HOLD && !self.is_refused()
    }
}

/// See the module's head.
#[derive(Debug)]
pub struct UpstreamStream {
    io: Io,
    /// What was written and has not gone out yet.
    out: BytesMut,
    /// What TLS may hold, too.
    unflushed: bool,
    /// It is waited for.
    late: bool,
    /// A write told that it was reset: an end that is read after that is none.
    reset: bool,
    outgoing: Arc<Outgoing>,
}

impl UpstreamStream {
    /// Around an upstream's stream.
    pub fn new(io: Io) -> Self {
        let outgoing = Arc::default();
        let (unflushed, late, reset) = (false, false, false);
        UpstreamStream { io, out: BytesMut::new(), unflushed, late, reset, outgoing }
    }

    /// What its task and this stream share.
    pub fn outgoing(&self) -> &Arc<Outgoing> {
        &self.outgoing
    }

    /// Waits until something can be read.
    #[cfg(test)]
    pub async fn readable(&self) {
        self.io.socket().readable().await.unwrap();
    }

    /// Sends what is held, as far as the upstream takes it.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let n = ready!(Pin::new(&mut self.io).poll_write(cx, &self.out))?;
            self.took(n)?;
            self.out.advance(n);
        }
        if self.out.capacity() > HOLD {
            self.out = BytesMut::new();
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        if self.outgoing.last.load(Ordering::Relaxed) {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            self.outgoing.last.store(false, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }

    fn took(&mut self, n: usize) -> io::Result<()> {
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.unflushed = true;
        if self.late {
            self.outgoing.taken.fetch_add(n, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Makes sure that the upstream does not take the end of the connection for an end of what was said on it.
    pub fn break_off(&self) {
        // An error: it is gone already.
        let _ = socket2::SockRef::from(self.io.socket()).set_linger(Some(Duration::ZERO));
    }

    /// One that takes no more may have said why: that is for who reads, and no error here.
    fn note<T>(&mut self, sent: &Poll<io::Result<T>>) {
        if let Poll::Ready(Err(error)) = sent {
            // It closed after its last word, or before.
            self.reset = error.kind() != io::ErrorKind::BrokenPipe;
            self.out = BytesMut::new();
            self.unflushed = false;
            self.outgoing.refused.store(true, Ordering::Relaxed);
        }
        self.outgoing.held.store(self.out.len(), Ordering::Relaxed);
    }

    /// Sends what is held and what comes after it at once, without a copy, as far as the upstream takes it. Returns how much
    /// of the latter it took.
    fn poll_send_with(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let slices = [IoSlice::new(&self.out), IoSlice::new(bytes)];
            let n = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &slices))?;
            self.took(n)?;
            let of_held = n.min(self.out.len());
            self.out.advance(of_held);
            if self.out.is_empty() {
                return Poll::Ready(Ok(n - of_held));
            }
        }
    }
}

impl AsyncRead for UpstreamStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let sent = this.poll_send(cx);
        this.late = sent.is_pending();
        this.note(&sent);
        if this.outgoing.paused.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        if this.reset && buf.filled().len() == before {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for UpstreamStream {
    /// Takes all, always; what nobody wants any more is dropped.
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.outgoing.is_refused() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let mut sent = Poll::Pending;
        if this.out.len() + bytes.len() > HOLD {
            sent = this.poll_send_with(cx, bytes);
        }
        let left = match sent {
            Poll::Ready(Ok(sent)) => bytes.get(sent..).unwrap_or_default(),
            Poll::Ready(Err(_)) | Poll::Pending => bytes,
        };
        this.out.put_slice(left);
        this.note(&sent);
        Poll::Ready(Ok(bytes.len()))
    }

    /// It goes out when somebody reads.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// As far as that can be said at once: nobody waits for one that is of no more use.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.outgoing.end();
        // Whatever became of it: it is dropped next.
        let _ = this.poll_send(cx);
        Poll::Ready(Ok(()))
    }
}

bare!(UpstreamStream);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;
    use crate::stream::pairs;

    /// More than sockets hold.
    const MUCH: usize = 16 << 20;

    async fn pair() -> (UpstreamStream, TcpStream) {
        let (ours, theirs) = pairs::pair().await;
        (UpstreamStream::new(Io::Plain(ours)), theirs)
    }

    /// Reads once, without waiting.
    async fn look(ours: &mut UpstreamStream) -> Poll<io::Result<usize>> {
        let mut bytes = [0; 64];
        std::future::poll_fn(|cx| {
            let mut buf = ReadBuf::new(&mut bytes);
            let read = Pin::new(&mut *ours).poll_read(cx, &mut buf);
            Poll::Ready(read.map_ok(|()| buf.filled().len()))
        })
        .await
    }

    #[tokio::test]
    async fn what_is_written_goes_out_in_one_piece_once_somebody_reads() {
        let (mut ours, mut theirs) = pair().await;
        for part in [&b"head"[..], b"body"] {
            ours.write_all(part).await.unwrap();
            ours.flush().await.unwrap();
        }
        let mut bytes = [0; 64];
        assert_eq!(theirs.try_read(&mut bytes).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(ours.outgoing.is_blocked());
        assert!(look(&mut ours).await.is_pending());
        assert!(ours.outgoing.is_clear());
        assert_eq!(theirs.read(&mut bytes).await.unwrap(), 8);
        assert_eq!(&bytes[..8], b"headbody");
        assert_eq!(ours.outgoing.taken(), 0, "nothing was late");
    }

    #[tokio::test]
    async fn nobody_waits_for_one_that_takes_nothing() {
        let (mut ours, mut theirs) = pair().await;
        let all: Vec<u8> = (0..MUCH).map(|n| (n % 251) as u8).collect();
        ours.write_all(&all[..5]).await.unwrap();
        ours.write_all(&all[5..MUCH - 5]).await.unwrap();
        ours.write_all(&all[MUCH - 5..]).await.unwrap();
        let outgoing = Arc::clone(ours.outgoing());
        assert!(look(&mut ours).await.is_pending() && outgoing.is_blocked());
        assert!(!outgoing.has_room());
        let before = outgoing.taken();
        let reading = async {
            let mut got = vec![0; MUCH];
            theirs.read_exact(&mut got).await.unwrap();
            theirs.write_all(b"x").await.unwrap();
            got
        };
        let (got, said) = tokio::join!(reading, ours.read_u8());
        assert!(got == all && said.unwrap() == b'x');
        assert!(outgoing.is_clear() && outgoing.taken() != before);
        assert!(outgoing.has_room());
    }

    #[tokio::test]
    async fn what_one_said_that_takes_no_more_is_read() {
        let (mut ours, mut theirs) = pair().await;
        theirs.write_all(b"no").await.unwrap();
        drop(theirs);
        let all = vec![0; MUCH];
        while !ours.outgoing.is_refused() {
            ours.write_all(&all).await.unwrap();
        }
        assert!(!ours.outgoing.is_blocked() && !ours.outgoing.is_clear());
        assert!(!ours.outgoing.has_room());
        let mut said = [0; 2];
        ours.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"no");
    }

    #[tokio::test]
    async fn a_reset_that_a_write_was_told_of_is_no_end() {
        let (mut ours, theirs) = pair().await;
        socket2::SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).unwrap();
        drop(theirs);
        // The reset has come.
        ours.io.socket().ready(tokio::io::Interest::ERROR).await.unwrap();
        ours.write_all(b"more").await.unwrap();
        let mut said = Vec::new();
        let error = ours.read_to_end(&mut said).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(ours.outgoing.is_refused(), "the write was told");
    }

    #[tokio::test]
    async fn nothing_is_read_while_there_is_no_room_and_all_is_sent() {
        let (mut ours, mut theirs) = pair().await;
        theirs.write_all(b"x").await.unwrap();
        ours.io.socket().readable().await.unwrap();
        ours.outgoing().pause(true);
        ours.write_all(b"y").await.unwrap();
        assert!(look(&mut ours).await.is_pending());
        assert_eq!(theirs.read_u8().await.unwrap(), b'y');
        ours.outgoing().pause(false);
        assert_eq!(ours.read_u8().await.unwrap(), b'x');
    }

    #[tokio::test]
    async fn our_side_ends_once_all_is_out() {
        let (mut ours, mut theirs) = pair().await;
        let all = vec![7; MUCH];
        ours.outgoing().end();
        ours.write_all(&all).await.unwrap();
        let reading = async {
            let mut got = Vec::new();
            theirs.read_to_end(&mut got).await.unwrap();
            theirs.write_all(b"x").await.unwrap();
            got
        };
        let (got, said) = tokio::join!(reading, ours.read_u8());
        assert!(got == all && said.unwrap() == b'x');
    }
}
