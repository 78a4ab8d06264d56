//! A connection to a client or an upstream, plain or within TLS. Adds nothing to a plain one.

pub mod files;
#[cfg(test)]
pub(crate) mod pairs;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// See the module's head. Whoever writes must flush: TLS keeps what the socket did not take. A peer that ends TLS without
/// saying so (`close_notify`) is an error, `UnexpectedEof`: anybody on the way can cut a connection so.
#[derive(Debug)]
pub enum Io {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Io {
    /// Within TLS, once hands are shaken.
    pub fn tls(stream: impl Into<TlsStream<TcpStream>>) -> Io {
        Io::Tls(Box::new(stream.into()))
    }

    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Io::Plain(stream) => stream,
            Io::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Bytes that were sent and that the peer has not acknowledged yet (tcp(7), SIOCOUTQ): as long as this changes it takes
    /// what it is sent, however slowly, though the kernel says so only when a third of its buffer is free. 0 where nobody
    /// knows.
    pub fn unacknowledged(&self) -> u32 {
        // The same number on both.
        if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
            outq(self.socket()).and_then(|bytes| u32::try_from(bytes).ok()).unwrap_or_default()
        } else {
            0
        }
    }

    /// What is spoken within TLS, as the two agreed (ALPN, RFC 7301); `None`: they did not.
    pub fn alpn(&self) -> Option<&[u8]> {
        match self {
            Io::Plain(_) => None,
            Io::Tls(stream) => stream.get_ref().1.alpn_protocol(),
        }
    }

    /// Whether the socket carries the bytes as they are.
    pub fn is_plain(&self) -> bool {
        matches!(self, Io::Plain(_))
    }
}

/// What was read, where an end of TLS that nobody vouches for is an end like another: for those whose bytes have lengths, so
/// that nobody can cut them unseen. Errors: all others.
pub fn forgiving(read: io::Result<()>) -> io::Result<()> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        Ok(()) | Err(_) => read,
    }
}

#[expect(unsafe_code, reason = "no crate offers it in another way")]
fn outq(socket: &TcpStream) -> Option<std::ffi::c_int> {
    const SIOCOUTQ: rustix::ioctl::Opcode = 0x5411;
    // SAFETY: of a TCP socket the kernel writes one int, and does nothing else.
    unsafe { rustix::ioctl::ioctl(socket, rustix::ioctl::Getter::<SIOCOUTQ, _>::new()) }.ok()
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Io::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Io::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Io::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_stream_is_no_larger_than_its_socket() {
        assert_eq!(size_of::<Io>(), size_of::<TcpStream>());
    }
}
