//! What a relay needs of a connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::listen::io::ClientIo;
use crate::upstream::io::UpstreamIo;

/// One side of a relay.
pub trait Side: AsyncWrite + Unpin {
    /// Reads, where an end that nobody vouches for is an error: of TLS, one without `close_notify`, because anybody on the
    /// way can cut a connection so.
    fn poll_take(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>>;

    /// The socket below.
    fn socket(&self) -> &TcpStream;

    /// Whether the socket carries the bytes as they are.
    fn is_plain(&self) -> bool;
}

impl Side for TcpStream {
    fn poll_take(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(self).poll_read(cx, into)
    }

    fn socket(&self) -> &TcpStream {
        self
    }

    fn is_plain(&self) -> bool {
        true
    }
}

impl Side for ClientIo {
    fn poll_take(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            ClientIo::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            // Not by way of `ClientIo`, which forgives a missing `close_notify`.
            ClientIo::Tls(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }

    fn socket(&self) -> &TcpStream {
        match self {
            ClientIo::Plain(stream) => stream,
            ClientIo::Tls(stream) => stream.get_ref().0,
        }
    }

    fn is_plain(&self) -> bool {
        match self {
            ClientIo::Plain(_) => true,
            ClientIo::Tls(_) => false,
        }
    }
}

impl Side for UpstreamIo {
    fn poll_take(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(self).poll_read(cx, into)
    }

    fn socket(&self) -> &TcpStream {
        self.socket()
    }

    fn is_plain(&self) -> bool {
        match self {
            UpstreamIo::Plain(_) => true,
            UpstreamIo::Tls(_) => false,
        }
    }
}
