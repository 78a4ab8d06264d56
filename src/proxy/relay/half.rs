//! One direction of a relay: read, write at once, and read again only when all is written.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::patience::Sight;
use super::pipe::{self, Pipe};
use crate::proxy::buffers::{self, Buffer, READ};
use crate::stream::Io;

/// Reads in a row that each fill a buffer, after which bytes go through a pipe: the kernel then moves them without a copy.
const BULK: u8 = 4;

/// A pipe that brings less than this at once brings nothing over a copy, in bytes.
const LITTLE: usize = READ / 4;

/// Whose connection broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// That which is read.
    Source,
    /// That which is written.
    Sink,
}

/// What was read and is not written yet.
enum Held {
    Nothing,
    /// From this byte on.
    Copied(Buffer, u32),
    Piped(Pipe),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// The source has said all; the sink does not know yet.
    Ending,
    Over,
}

/// See the module's head.
pub(super) struct Half {
    held: Held,
    /// Bytes of it that wait to be written.
    waiting: u32,
    /// Reads in a row that filled a buffer.
    full: u8,
    /// Something was written that TLS may keep still.
    unflushed: bool,
    stage: Stage,
    taken: u64,
}

impl Default for Half {
    fn default() -> Self {
        Half {
            held: Held::Nothing,
            waiting: 0,
            full: 0,
            unflushed: false,
            stage: Stage::Open,
            taken: 0,
        }
    }
}

impl Half {
    /// Bytes that were read.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Bytes that were written.
    pub(super) fn given(&self) -> u64 {
        self.taken - u64::from(self.waiting)
    }

    /// Whether all was said, and the sink knows.
    pub(super) fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// Whether bytes go through our own memory.
    #[cfg(test)]
    pub(super) fn copies(&self) -> bool {
        self.full < BULK
    }

    #[cfg(test)]
    pub(super) fn holds_memory(&self) -> bool {
        !matches!(self.held, Held::Nothing)
    }

    pub(super) fn sight(&self) -> Sight {
        // It changes with each byte in or out, and with each stage.
        let mark = (self.taken + self.given()) * 3 + self.stage as u64;
        Sight { mark, holds: self.waiting > 0 || self.unflushed, over: self.is_over() }
    }

    /// One read and its write, or the end. `Pending`: nothing can be done now, or ever.
    pub(super) fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Io,
        sink: &mut Io,
    ) -> Poll<Result<(), Broken>> {
        ready!(self.poll_move(cx, source, sink))?;
        if self.stage == Stage::Ending {
            ready!(Pin::new(sink).poll_shutdown(cx)).map_err(|_| Broken::Sink)?;
            self.stage = Stage::Over;
        }
        Poll::Ready(Ok(()))
    }

    /// One read and its write. Says whether there may be more.
    pub(super) fn poll_move(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Io,
        sink: &mut Io,
    ) -> Poll<Result<bool, Broken>> {
        match self.stage {
            Stage::Open => {}
            Stage::Ending => return Poll::Ready(Ok(false)),
            Stage::Over => return Poll::Pending,
        }
        if !self.sight().holds {
            let plain = source.is_plain() && sink.is_plain();
            ready!(self.poll_take(cx, source, plain)).map_err(|_| Broken::Source)?;
        }
        ready!(self.poll_give(cx, sink)).map_err(|_| Broken::Sink)?;
        Poll::Ready(Ok(self.stage == Stage::Open))
    }

    /// Reads once.
    fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Io,
        plain: bool,
    ) -> Poll<io::Result<()>> {
        let pipe = if plain && self.full >= BULK { pipe::take() } else { None };
        let (n, held) = match pipe {
            Some(mut pipe) => {
                let n = ready!(pipe.poll_fill(cx, source.socket()))?;
                if n < LITTLE {
                    self.full = 0;
                }
                (n, Held::Piped(pipe))
            }
            None => {
                let mut buffer = buffers::take();
                let mut into = ReadBuf::new(&mut buffer);
                ready!(Pin::new(source).poll_read(cx, &mut into))?;
                let n = into.filled().len();
                self.full = if n == READ { self.full.saturating_add(1) } else { 0 };
                (n, Held::Copied(buffer, 0))
            }
        };
        if n == 0 {
            self.stage = Stage::Ending;
            return Poll::Ready(Ok(()));
        }
        // Neither a buffer nor a pipe holds as much as 4 GiB.
        self.waiting = u32::try_from(n).unwrap_or(u32::MAX);
        (self.held, self.unflushed) = (held, true);
        self.taken += n as u64;
        Poll::Ready(Ok(()))
    }

    /// Writes what waits; ready when nothing does.
    fn poll_give(&mut self, cx: &mut Context<'_>, sink: &mut Io) -> Poll<io::Result<()>> {
        while self.waiting > 0 {
            let n = match &mut self.held {
                Held::Nothing => 0,
                Held::Copied(buffer, from) => {
                    let range = *from as usize..(*from + self.waiting) as usize;
                    let bytes = buffer.get(range).unwrap_or_default();
                    let n = ready!(Pin::new(&mut *sink).poll_write(cx, bytes))? as u32;
                    *from += n;
                    n
                }
                Held::Piped(pipe) => ready!(pipe.poll_pour(cx, sink.socket()))? as u32,
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.waiting -= n;
        }
        self.held = Held::Nothing;
        if self.unflushed {
            ready!(Pin::new(sink).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}
