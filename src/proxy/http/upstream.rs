//! An upstream's stream as Pingora wants it, plain or within TLS. Nobody waits for an upstream that takes nothing: what it does
//! not take is held here, and goes out while its answer is read. So a request and its answer flow at the same time, and one
//! that is answered before it has ended cannot stall.
//!
//! Writes are held back until somebody reads, so that the head of a request and what is there of its body go out in one piece.
//! Bounds nothing: who writes looks at [`Outgoing`] before it writes more.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::bare::bare;
use super::held::{Held, Level};
use crate::stream::Io;
use crate::time::Duration;

/// What is on its way to an upstream: what its stream and the task that has it say to each other.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// What is held.
    pub level: Level,
    /// It takes no more.
    refused: AtomicBool,
    /// Nothing comes after what is held.
    last: AtomicBool,
}

impl Outgoing {
    /// Whether all went out.
    pub fn is_clear(&self) -> bool {
        self.level.is_empty() && !self.is_refused()
    }

    /// Whether the upstream takes no more. It may have answered all the same.
    pub fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// Ends our side once all is out.
    pub fn end(&self) {
        self.last.store(true, Ordering::Relaxed);
    }

    /// Whether there is room for more, and somebody to take it.
    pub fn has_room(&self) -> bool {
        self.level.has_room() && !self.is_refused()
    }
}

/// See the module's head.
#[derive(Debug)]
pub struct UpstreamStream {
    io: Io,
    held: Held,
    /// A write told that it was reset: an end that is read after that is none.
    reset: bool,
    outgoing: Arc<Outgoing>,
}

impl UpstreamStream {
    /// Around an upstream's stream.
    pub fn new(io: Io) -> Self {
        UpstreamStream { io, held: Held::default(), reset: false, outgoing: Arc::default() }
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

    /// Sends what is held, and then the end if it is to, as far as the upstream takes it.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.held.poll_send(&mut self.io, &self.outgoing.level, cx))?;
        if self.outgoing.last.load(Ordering::Relaxed) {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            self.outgoing.last.store(false, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }

    /// Makes sure that the upstream does not take the end of the connection for an end of what was said on it.
    pub fn break_off(&self) {
        // An error: it is gone already.
        let _ = socket2::SockRef::from(self.io.socket()).set_linger(Some(Duration::ZERO));
    }

    /// It takes no more. It may have said why: that is for who reads, and no error here.
    fn refused(&mut self, error: &io::Error) {
        // It closed after its last word, or before.
        self.reset = error.kind() != io::ErrorKind::BrokenPipe;
        self.held.clear(&self.outgoing.level);
        self.outgoing.refused.store(true, Ordering::Relaxed);
    }
}

impl AsyncRead for UpstreamStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Poll::Ready(Err(error)) = this.poll_send(cx) {
            this.refused(&error);
        }
        if this.outgoing.level.is_paused() {
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
        if let Err(error) = this.held.push(&mut this.io, &this.outgoing.level, cx, bytes) {
            this.refused(&error);
        }
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
        assert!(!ours.outgoing.level.is_empty());
        assert!(look(&mut ours).await.is_pending());
        assert!(ours.outgoing.is_clear());
        assert_eq!(theirs.read(&mut bytes).await.unwrap(), 8);
        assert_eq!(&bytes[..8], b"headbody");
        assert_eq!(ours.outgoing.level.taken(), 0, "nothing was late");
    }

    #[tokio::test]
    async fn nobody_waits_for_one_that_takes_nothing() {
        let (mut ours, mut theirs) = pair().await;
        let all: Vec<u8> = (0..MUCH).map(|n| (n % 251) as u8).collect();
        ours.write_all(&all[..5]).await.unwrap();
        ours.write_all(&all[5..MUCH - 5]).await.unwrap();
        ours.write_all(&all[MUCH - 5..]).await.unwrap();
        let outgoing = Arc::clone(ours.outgoing());
        assert!(look(&mut ours).await.is_pending() && !outgoing.level.is_empty());
        assert!(!outgoing.has_room());
        let before = outgoing.level.taken();
        let reading = async {
            let mut got = vec![0; MUCH];
            theirs.read_exact(&mut got).await.unwrap();
            theirs.write_all(b"x").await.unwrap();
            got
        };
        let (got, said) = tokio::join!(reading, ours.read_u8());
        assert!(got == all && said.unwrap() == b'x');
        assert!(outgoing.is_clear() && outgoing.level.taken() != before);
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
        assert!(ours.outgoing.level.is_empty() && !ours.outgoing.is_clear());
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
        ours.outgoing().level.pause(true);
        ours.write_all(b"y").await.unwrap();
        assert!(look(&mut ours).await.is_pending());
        assert_eq!(theirs.read_u8().await.unwrap(), b'y');
        ours.outgoing().level.pause(false);
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
