//! The socket of a link.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::net::TcpStream;

use super::flow::{self, Flow};
use crate::id::{LinkId, UpstreamId};
use crate::proxy::buffers::with_buffer;
use crate::rpc::mux::{Mux, Now};
use crate::time::Duration;
use crate::upstream::connect::connect;
use crate::upstream::member::Linked;

type Connecting = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

enum Socket {
    Connecting(Connecting),
    Open(TcpStream),
}

pub(super) struct LinkIo {
    pub(super) id: LinkId,
    pub(super) flow: Flow,
    member: Linked,
    socket: Socket,
}

impl LinkIo {
    /// Begins to connect, for at most `limit`.
    pub(super) fn open(id: LinkId, member: Linked, limit: Duration) -> Self {
        let address = member.address();
        let connecting = async move {
            match address {
                Some(address) => connect(address, limit).await,
                None => Err(io::ErrorKind::NotConnected.into()),
            }
        };
        LinkIo {
            id,
            flow: Flow::default(),
            member,
            socket: Socket::Connecting(Box::pin(connecting)),
        }
    }

    /// It ends without our asking: counts why.
    pub(super) fn count_loss(&self, why: &'static str) {
        self.member.metrics.lost.inc(why);
    }

    /// Has the connection be reset when it is dropped: what the CLI did not take yet is not sent any more.
    pub(super) fn reset(&self) {
        if let Socket::Open(socket) = &self.socket {
            // It fails only where the connection is gone already.
            let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }

    /// Whether its CLI answers.
    pub(super) fn is_up(&self) -> bool {
        self.member.is_up()
    }

    pub(super) fn upstream(&self) -> UpstreamId {
        self.member.id
    }

    pub(super) fn poll_connect(&mut self, cx: &mut Context<'_>, mux: &mut Mux, now: Now) -> bool {
        let Socket::Connecting(connecting) = &mut self.socket else { return false };
        match connecting.as_mut().poll(cx) {
            Poll::Pending => false,
            Poll::Ready(Ok(socket)) => {
                self.socket = Socket::Open(socket);
                mux.link_opened(self.id, self.member.token().as_ref());
                true
            }
            Poll::Ready(Err(error)) => {
                tracing::debug!(upstream = self.member.name, %error, "cannot connect");
                self.flow.broken = true;
                self.count_loss("connect");
                mux.link_lost(self.id, now);
                true
            }
        }
    }

    /// Reads once. Says whether there may be more.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, mux: &mut Mux, now: Now) -> bool {
        let Socket::Open(socket) = &mut self.socket else { return false };
        if self.flow.broken {
            return false;
        }
        with_buffer(|buffer| match flow::read(cx, socket, buffer) {
            None => false,
            Some(Ok(n)) if n > 0 => {
                self.member.heard(now.at);
                mux.link_bytes(self.id, buffer.get(..n).unwrap_or_default(), now);
                self.flow.heard(mux.link_mid_frame(self.id), now.at);
                true
            }
            Some(end @ (Ok(_) | Err(_))) => {
                self.flow.broken = true;
                self.member.metrics.lost.inc(if end.is_ok() { "fin" } else { "reset" });
                mux.link_lost(self.id, now);
                true
            }
        })
    }

    /// Writes what waits for the CLI.
    pub(super) fn flush(
        &mut self,
        cx: &mut Context<'_>,
        mux: &mut Mux,
        now: Now,
    ) -> io::Result<usize> {
        match (&mut self.socket, mux.link_out(self.id)) {
            (Socket::Open(socket), Some(out)) if !self.flow.broken && !out.is_empty() => {
                self.flow.write(cx, socket, out, now.at)
            }
            _ => Ok(0),
        }
    }
}
