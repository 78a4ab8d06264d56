//! Moves bytes between a client and its upstream until both have said all. Reads nothing into them.
//!
//! - What one has said comes to the other, in order, and then its end: a FIN becomes a FIN, and the other direction goes on.
//! - A cut never looks like an end: where one side breaks, or we give up, the other is reset.
//! - A direction reads only when nothing of it waits to be written. It holds a buffer only as long as something does; so an
//!   idle conn holds none, and a slow reader slows its writer and nobody else.
//! - A message costs one read and one write. Time is looked at by a coarse tick, which compares counts.

mod half;
mod patience;
mod pipe;

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::net::TcpStream;
use tokio::time::Sleep;

use self::half::{Broken, Half};
use self::patience::Patience;
pub use self::patience::{Late, Limits};
use crate::stream::Io;
use crate::time::{self, Duration, Instant};

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// Who came to us.
    Client,
    /// Whom we went to.
    Upstream,
}

/// How a relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both said all they had to say, and heard it.
    Done,
    /// The connection to this one broke; the other's was reset.
    Broken(Party),
    /// It took too long; both were reset.
    Late(Late),
}

/// Has a connection be reset when it is closed: what its peer did not take yet is not sent any more.
pub fn reset(socket: &TcpStream) {
    // It fails only where the connection is gone already.
    let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

/// See the module's head. Polled by hand, so that whoever holds it is one future and not two.
pub struct Relay {
    client: Io,
    upstream: Io,
    /// From the client to the upstream.
    up: Half,
    down: Half,
    patience: Patience,
    timer: Option<Pin<Box<Sleep>>>,
    /// In what time the timer was to fire when it was set.
    pace: Duration,
}

impl Relay {
    /// Nothing has been moved yet. `until`: when it is over in any case.
    pub fn new(client: Io, upstream: Io, until: Option<Instant>) -> Self {
        Relay {
            client,
            upstream,
            up: Half::default(),
            down: Half::default(),
            patience: Patience::new(time::now(), until),
            timer: None,
            pace: Duration::MAX,
        }
    }

    /// Bytes that came from the client, and bytes that went to it.
    pub fn moved(&self) -> (u64, u64) {
        (self.up.taken(), self.down.given())
    }

    /// Whether one of them has said all, and the other has not.
    pub fn is_half_closed(&self) -> bool {
        self.up.is_over() != self.down.is_over()
    }

    /// Both connections are reset when they are dropped: neither can take that for an end.
    pub fn reset(&self) {
        reset(self.client.socket());
        reset(self.upstream.socket());
    }

    /// Moves what can be moved now. Wakes by the waker of the first call: it must always be the same task's.
    pub fn poll(&mut self, cx: &mut Context<'_>, limits: &Limits) -> Poll<End> {
        let Relay { client, upstream, .. } = self;
        let (mut up, mut down) = (true, true);
        // In turn, so that neither direction waits for the other to run dry.
        while up || down {
            if up {
                match self.up.poll_step(cx, client, upstream) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(Broken::Source)) => return self.broke(cx, Party::Client),
                    Poll::Ready(Err(Broken::Sink)) => return self.broke(cx, Party::Upstream),
                    Poll::Pending => up = false,
                }
            }
            if down {
                match self.down.poll_step(cx, upstream, client) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(Broken::Source)) => return self.broke(cx, Party::Upstream),
                    Poll::Ready(Err(Broken::Sink)) => return self.broke(cx, Party::Client),
                    Poll::Pending => down = false,
                }
            }
        }
        if self.up.is_over() && self.down.is_over() {
            return Poll::Ready(End::Done);
        }
        self.poll_timer(cx, limits)
    }

    /// One is gone. What it had said before is there in full, and the other gets of it what it takes at once; what looks
    /// like an end after that is none, for the error was told already.
    fn broke(&mut self, cx: &mut Context<'_>, party: Party) -> Poll<End> {
        let Relay { client, upstream, up, down, .. } = self;
        match party {
            Party::Client => while up.poll_move(cx, client, upstream) == Poll::Ready(Ok(true)) {},
            Party::Upstream => {
                while down.poll_move(cx, upstream, client) == Poll::Ready(Ok(true)) {}
            }
        }
        self.reset();
        Poll::Ready(End::Broken(party))
    }

    /// Who said all, and was reset since: as nothing is read from it any more, only its socket knows.
    fn gone(&self) -> Option<Party> {
        let (party, socket) = match (self.up.is_over(), self.down.is_over()) {
            (true, false) => (Party::Client, self.client.socket()),
            (false, true) => (Party::Upstream, self.upstream.socket()),
            (_, _) => return None,
        };
        let error = socket.take_error().unwrap_or_else(Some);
        error.map(|_| party)
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, limits: &Limits) -> Poll<End> {
        let (mut up, mut down) = (self.up.sight(), self.down.sight());
        let wanted = limits.pace(up, down);
        let fired = self.timer.as_ref().is_some_and(|timer| timer.is_elapsed());
        let unset = self.timer.is_none() && self.patience.ends();
        if !fired && !unset && wanted >= self.pace {
            return Poll::Pending;
        }
        let now = time::now();
        if fired && let Some(party) = self.gone() {
            return self.broke(cx, party);
        }
        if fired {
            up.notice(|| self.upstream.unacknowledged());
            down.notice(|| self.client.unacknowledged());
        }
        if fired && let Some(late) = self.patience.judge(now, up, down, limits) {
            self.reset();
            return Poll::Ready(End::Late(late));
        }
        self.pace = self.patience.within(now, wanted);
        self.timer = now.checked_add(self.pace).map(|at| Box::pin(tokio::time::sleep_until(at)));
        if let Some(timer) = &mut self.timer
            && timer.as_mut().poll(cx).is_ready()
        {
            // It is due already: it is looked at in the next round.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
