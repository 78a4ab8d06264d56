//! Bytes in and out of the sockets of a conn.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Conn, GOODBYE};
use crate::proxy::buffers::with_buffer;
use crate::rpc::mux::{End, Now};
use crate::rpc::out::Outgoing;
use crate::stream::{Io, forgiving};
use crate::time::{Duration, Instant};

/// How many slices one write takes.
const SLICES: usize = 16;

/// How a socket takes what is written to it.
#[derive(Default)]
pub(super) struct Flow {
    /// Since when it takes nothing, though something waits.
    stuck_since: Option<Instant>,
    /// What of it its peer had still to acknowledge when that was last looked at, in bytes.
    unacknowledged: u32,
    /// Since when nothing more came of a frame that has begun.
    half_since: Option<Instant>,
    /// It takes nothing any more.
    pub(super) broken: bool,
}

impl Flow {
    /// Whether the peer owes a step: it has something to take, or a frame to go on with.
    pub(super) fn waits(&self) -> bool {
        self.stuck_since.is_some() || self.half_since.is_some()
    }

    /// Bytes came; `half`: they end in the middle of a frame.
    pub(super) fn heard(&mut self, half: bool, now: Instant) {
        self.half_since = half.then_some(now);
    }

    /// It is not read: that nothing comes is not its fault.
    fn excuse(&mut self, now: Instant) {
        self.half_since = self.half_since.map(|_| now);
    }

    /// It takes what it was sent, though the socket has no room yet.
    fn look(&mut self, socket: &Io, now: Instant) {
        if self.stuck_since.is_some() {
            let before = std::mem::replace(&mut self.unacknowledged, socket.unacknowledged());
            if self.unacknowledged != before {
                self.stuck_since = Some(now);
            }
        }
    }

    fn stuck_for(&self, limit: Duration, now: Instant) -> bool {
        let over = |since: Option<Instant>| since.is_some_and(|at| now >= at + limit);
        over(self.stuck_since) || over(self.half_since)
    }

    /// Writes what waits, as far as the socket takes it. Returns how many bytes that were.
    pub(super) fn write(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut (impl AsyncWrite + Unpin),
        out: &mut Outgoing,
        now: Instant,
    ) -> io::Result<usize> {
        let mut written = 0;
        while !out.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let used = out.slices(&mut slices);
            let slices = slices.get(..used).unwrap_or_default();
            let poll = match slices {
                [one] => Pin::new(&mut *socket).poll_write(cx, one),
                many => Pin::new(&mut *socket).poll_write_vectored(cx, many),
            };
            match poll {
                Poll::Ready(Ok(taken)) => {
                    out.advance(taken);
                    written += taken;
                }
                Poll::Ready(Err(error)) => return self.breaks(error),
                Poll::Pending => return Ok(self.sticks(written, now)),
            }
        }
        // TLS keeps a little that the socket did not take.
        match Pin::new(socket).poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                self.stuck_since = None;
                Ok(written)
            }
            Poll::Ready(Err(error)) => self.breaks(error),
            Poll::Pending => Ok(self.sticks(written, now)),
        }
    }

    fn breaks(&mut self, error: io::Error) -> io::Result<usize> {
        self.broken = true;
        Err(error)
    }

    fn sticks(&mut self, written: usize, now: Instant) -> usize {
        if written > 0 || self.stuck_since.is_none() {
            self.stuck_since = Some(now);
        }
        written
    }

    /// Whether the socket has not taken all that was written.
    pub(super) fn sends(&self) -> bool {
        self.stuck_since.is_some()
    }
}

/// Reads once. `None`: nothing is there; 0 bytes: the peer is done, whether or not it ended its TLS: frames have lengths.
pub(super) fn read(
    cx: &mut Context<'_>,
    socket: &mut (impl AsyncRead + Unpin),
    buffer: &mut [u8],
) -> Option<io::Result<usize>> {
    let mut buf = ReadBuf::new(buffer);
    match Pin::new(socket).poll_read(cx, &mut buf) {
        Poll::Ready(read) => Some(forgiving(read).map(|()| buf.filled().len())),
        Poll::Pending => None,
    }
}

impl Conn {
    /// Whether the conn may take more bytes in.
    pub(super) fn may_read(&self) -> bool {
        !self.mux.congested() && self.listener.buffered.admits(self.id, self.kept)
    }

    /// Reads the client once. Says whether there may be more.
    pub(super) fn poll_client(&mut self, cx: &mut Context<'_>, now: Now) -> bool {
        if !self.mux.reads_client() {
            return false;
        }
        if !self.may_read() {
            self.held_back = true;
            return false;
        }
        let Conn { client, mux, listener, tally, client_flow, .. } = self;
        with_buffer(|buffer| match read(cx, client, buffer) {
            None => false,
            Some(Ok(0)) => {
                mux.client_finished(now.at);
                true
            }
            Some(Ok(n)) => {
                tally.bytes_in += n as u64;
                listener.edge.metrics.bytes_in.inc_by(n as u64);
                mux.client_bytes(buffer.get(..n).unwrap_or_default(), now);
                client_flow.heard(mux.client_mid_frame(), now.at);
                true
            }
            Some(Err(_)) => {
                client_flow.broken = true;
                mux.client_broke();
                true
            }
        })
    }

    /// All is said: the links are given back and our side of the conn is closed. The client's is waited for, because a
    /// socket that is closed with bytes unread is reset, and a reset takes from the client what it has not read yet.
    pub(super) fn say_goodbye(&mut self, cx: &mut Context<'_>, end: End, now: Now) -> Poll<End> {
        self.end = Some(end);
        self.mux.close(now);
        self.act(now);
        let closed = Pin::new(&mut self.client).poll_shutdown(cx);
        if self.client_flow.broken || matches!(closed, Poll::Ready(Err(_))) {
            return Poll::Ready(end);
        }
        self.timer = Some(Box::pin(tokio::time::sleep(GOODBYE)));
        self.poll_goodbye(cx)
    }

    pub(super) fn poll_goodbye(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let end = self.end.unwrap_or(End::Client);
        let late = self.timer.as_mut().is_none_or(|timer| timer.as_mut().poll(cx).is_ready());
        let Conn { client, .. } = self;
        if let Io::Tls(client) = client {
            // Its end may still be on its way; said again, it changes nothing, and who is gone is seen below.
            let _ = Pin::new(client).poll_shutdown(cx);
        }
        let over = with_buffer(|buffer| {
            loop {
                match read(cx, client, buffer) {
                    None => return false,
                    Some(Ok(n)) if n > 0 => {}
                    Some(_) => return true,
                }
            }
        });
        if late || over { Poll::Ready(end) } else { Poll::Pending }
    }

    /// Makes and reads the links, each once. Says whether there may be more.
    pub(super) fn poll_links(&mut self, cx: &mut Context<'_>, now: Now) -> bool {
        let mut moved = false;
        let may_read = self.may_read();
        self.held_back |= !may_read;
        let may_read = may_read && self.mux.reads_links();
        let Conn { links, mux, .. } = self;
        for link in links.iter_mut() {
            moved |= link.poll_connect(cx, mux, now);
            if may_read {
                moved |= link.poll_read(cx, mux, now);
            }
        }
        moved
    }

    /// Writes what waits, everywhere.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>, now: Now) -> Result<(), End> {
        let written = self.client_flow.write(cx, &mut self.client, self.mux.client_out(), now.at);
        match written {
            Ok(0) => {}
            Ok(n) => {
                self.tally.bytes_out += n as u64;
                self.listener.edge.metrics.bytes_out.inc_by(n as u64);
            }
            Err(_) => return Err(End::Client),
        }
        let mut lost = smallvec::SmallVec::<[_; 1]>::new();
        for link in &mut self.links {
            if link.flush(cx, &mut self.mux, now).is_err() {
                link.count_loss("reset");
                lost.push(link.id);
            }
        }
        for link in lost {
            self.mux.link_lost(link, now);
        }
        self.act(now);
        Ok(())
    }

    /// Gives up on peers that take nothing, or stopped in the middle of a frame.
    pub(super) fn expire_flows(&mut self, now: Now) {
        let limit = self.listener.stall_timeout;
        if !self.may_read() {
            self.client_flow.excuse(now.at);
            self.links.iter_mut().for_each(|l| l.flow.excuse(now.at));
        }
        self.client_flow.look(&self.client, now.at);
        if self.client_flow.stuck_for(limit, now.at) {
            self.client_flow.broken = true;
            self.mux.client_stalled();
        }
        let stuck = self.links.iter().filter(|l| l.flow.stuck_for(limit, now.at));
        let stuck: Vec<_> = stuck.inspect(|l| l.count_loss("stalled")).map(|l| l.id).collect();
        for link in stuck {
            self.mux.link_lost(link, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes all at once, and keeps it until it may flush.
    #[derive(Default)]
    struct Keeps {
        may_flush: bool,
    }

    impl AsyncWrite for Keeps {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if self.may_flush { Poll::Ready(Ok(())) } else { Poll::Pending }
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_tls_keeps_is_not_sent_yet() {
        let (mut flow, mut socket, mut out) =
            (Flow::default(), Keeps::default(), Outgoing::default());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let (now, limit) = (crate::time::now(), Duration::from_secs(1));
        out.parts(&[b"{}"]);
        assert!(flow.write(&mut cx, &mut socket, &mut out, now).unwrap() > 0);
        assert!(out.is_empty() && flow.sends() && flow.waits());
        assert_eq!(flow.write(&mut cx, &mut socket, &mut out, now + limit).unwrap(), 0);
        assert!(flow.stuck_for(limit, now + limit), "nothing was taken since");
        socket.may_flush = true;
        assert_eq!(flow.write(&mut cx, &mut socket, &mut out, now + limit).unwrap(), 0);
        assert!(!flow.sends() && !flow.waits());
    }
}
