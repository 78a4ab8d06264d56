//! What was written to a stream and has not gone out yet. So nobody who writes waits for who reads: all is taken at once, and
//! goes out when the stream is polled. Bounds nothing: who writes looks at the [`Level`] before it writes more.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut as _, BytesMut};
use tokio::io::AsyncWrite;

use crate::stream::Io;

/// What is held to go out in one piece, and what may be held before more is read for it.
const HOLD: usize = 16 * 1024;

/// What a stream and the task that has it say to each other of what is held. Both are of one task.
#[derive(Debug, Default)]
pub struct Level {
    /// Bytes that are held.
    held: AtomicUsize,
    /// Bytes that were taken after they were waited for. Wraps.
    taken: AtomicUsize,
    /// Nothing is read.
    paused: AtomicBool,
}

impl Level {
    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.held.load(Ordering::Relaxed) == 0
    }

    /// Whether there is room for more.
    pub fn has_room(&self) -> bool {
        self.held.load(Ordering::Relaxed) < HOLD
    }

    /// Bytes that were taken late. Wraps: only whether it changes is of use.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Whether nothing is read of this stream, as the other has no room for it. What is held still goes out.
    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    /// What [`Level::pause`] says.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct Held {
    bytes: BytesMut,
    /// What TLS may hold, too.
    unflushed: bool,
    /// It is waited for.
    late: bool,
    /// What went out since it was last counted.
    sent: u64,
}

impl Held {
    /// Whether so many more bytes can go out in one piece with what is held.
    pub fn joins(&self, len: usize) -> bool {
        !self.bytes.is_empty() && self.bytes.len() + len <= HOLD
    }

    /// Bytes that went out since this was last asked.
    pub fn count(&mut self) -> u64 {
        std::mem::take(&mut self.sent)
    }

    /// Sends what is held, as far as it is taken. Errors: the stream's.
    pub fn poll_send(
        &mut self,
        io: &mut Io,
        level: &Level,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let full = !level.has_room();
        let sent = self.poll_all(io, level, cx);
        self.late = sent.is_pending();
        level.held.store(self.bytes.len(), Ordering::Relaxed);
        if full && level.has_room() {
            // Whoever reads for this stream was told that there is none.
            cx.waker().wake_by_ref();
        }
        sent
    }

    fn poll_all(
        &mut self,
        io: &mut Io,
        level: &Level,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.bytes.is_empty() {
            let n = ready!(Pin::new(&mut *io).poll_write(cx, &self.bytes))?;
            self.went(level, n)?;
            self.bytes.advance(n);
        }
        if self.bytes.capacity() > HOLD {
            self.bytes = BytesMut::new();
        }
        if self.unflushed {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes all: what is too much to be held goes out first, as far as it is taken, without a copy. Errors: the stream's.
    pub fn push(
        &mut self,
        io: &mut Io,
        level: &Level,
        cx: &mut Context<'_>,
        mut bytes: &[u8],
    ) -> io::Result<()> {
        while self.bytes.len() + bytes.len() > HOLD {
            let slices = [IoSlice::new(&self.bytes), IoSlice::new(bytes)];
            let Poll::Ready(n) = Pin::new(&mut *io).poll_write_vectored(cx, &slices)? else {
                break;
            };
            self.went(level, n)?;
            let of_held = n.min(self.bytes.len());
            self.bytes.advance(of_held);
            bytes = bytes.get(n - of_held..).unwrap_or_default();
        }
        self.bytes.put_slice(bytes);
        level.held.store(self.bytes.len(), Ordering::Relaxed);
        Ok(())
    }

    /// So many bytes were taken. Errors: none were, though there were some.
    pub fn went(&mut self, level: &Level, n: usize) -> io::Result<()> {
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.sent += n as u64;
        self.unflushed = true;
        if self.late {
            level.taken.fetch_add(n, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Forgets what is held: nobody takes it any more.
    pub fn clear(&mut self, level: &Level) {
        *self = Held::default();
        level.held.store(0, Ordering::Relaxed);
    }
}
