//! Pipes through which the kernel moves bytes from one socket to another without showing them to us (splice(2)).
//! Bounded in number; a thread keeps a few for the next. Never used with TLS: there the bytes must be changed.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What a pipe is asked to hold, in bytes.
const SIZE: usize = 256 * 1024;

/// Pipes of the process, at most: half of what the kernel gives a user in this size (`pipe-user-pages-soft`). Who finds
/// none copies.
const MOST: usize = 128;

/// Of these, how many a thread keeps that nobody uses.
const KEPT: usize = 8;

static PIPES: Count = Count { made: AtomicUsize::new(0), most: MOST };

/// How many pipes there are.
struct Count {
    made: AtomicUsize,
    most: usize,
}

thread_local! {
    static KEEP: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
}

/// Both ends of a pipe, counted until they are closed.
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
    count: &'static Count,
}

impl Ends {
    fn new(count: &'static Count) -> Option<Self> {
        let one_more = |made| (made < count.most).then_some(made + 1);
        count.made.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        let Ok((read, write)) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK) else {
            count.made.fetch_sub(1, Ordering::Relaxed);
            return None;
        };
        // A smaller one will do, where this user has too many.
        let _ = fcntl_setpipe_size(&write, SIZE);
        Some(Ends { read, write, count })
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.count.made.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An empty pipe for one conn, until dropped; `None`: there are too many.
pub(super) fn take() -> Option<Pipe> {
    let kept = KEEP.with_borrow_mut(Vec::pop);
    kept.or_else(|| Ends::new(&PIPES)).map(|ends| Pipe { ends: Some(ends), holds: 0 })
}

/// See [`take`].
pub(super) struct Pipe {
    /// There until dropped.
    ends: Option<Ends>,
    /// Bytes in it.
    holds: usize,
}

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

impl Pipe {
    /// Fills an empty pipe with what the socket has. 0 bytes: the peer is done.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: &TcpStream,
    ) -> Poll<io::Result<usize>> {
        let Some(ends) = &self.ends else { return Poll::Ready(Ok(0)) };
        let fill = || Ok(splice(from, None, &ends.write, None, SIZE, FLAGS)?);
        loop {
            ready!(from.poll_read_ready(cx))?;
            match from.try_io(Interest::READABLE, fill) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                filled => {
                    self.holds = filled?;
                    return Poll::Ready(Ok(self.holds));
                }
            }
        }
    }

    /// Gives the socket what it takes of what is in the pipe, which must not be empty.
    pub(super) fn poll_pour(
        &mut self,
        cx: &mut Context<'_>,
        to: &TcpStream,
    ) -> Poll<io::Result<usize>> {
        let Some(ends) = &self.ends else { return Poll::Ready(Ok(0)) };
        let pour = || Ok(splice(&ends.read, None, to, None, self.holds, FLAGS)?);
        loop {
            ready!(to.poll_write_ready(cx))?;
            match to.try_io(Interest::WRITABLE, pour) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                poured => {
                    let n = poured?;
                    self.holds = self.holds.saturating_sub(n);
                    return Poll::Ready(Ok(n));
                }
            }
        }
    }
}

impl Drop for Pipe {
    /// One that holds bytes of somebody is never used for somebody else.
    fn drop(&mut self) {
        let Some(ends) = self.ends.take().filter(|_| self.holds == 0) else { return };
        // An error: the thread ends.
        let _ = KEEP.try_with(|keep| {
            let mut keep = keep.borrow_mut();
            if keep.len() < KEPT {
                keep.push(ends);
            }
        });
    }
}

/// How many pipes this thread keeps.
#[cfg(test)]
pub(super) fn kept() -> usize {
    KEEP.with_borrow(Vec::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_that_holds_bytes_is_not_used_again() {
        let mut pipe = take().unwrap();
        pipe.holds = 1;
        drop(pipe);
        assert_eq!(kept(), 0);
        drop(take().unwrap());
        assert_eq!(kept(), 1);
        drop((0..2 * KEPT).map_while(|_| take()).collect::<Vec<_>>());
        assert_eq!(kept(), KEPT);
    }

    #[test]
    fn there_are_only_so_many() {
        static TWO: Count = Count { made: AtomicUsize::new(0), most: 2 };
        let (one, two) = (Ends::new(&TWO), Ends::new(&TWO));
        assert!(one.is_some() && two.is_some() && Ends::new(&TWO).is_none());
        drop(one);
        assert!(Ends::new(&TWO).is_some());
    }
}
