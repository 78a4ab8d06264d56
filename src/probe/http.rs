//! Whether an upstream answers a request as it should: one GET over HTTP/1.1 and a connection of its own. The body is not read.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::tcp;
use crate::config::HttpProbe;
use crate::time::Duration;
use crate::upstream::connect::{Watchfulness, dial};
use crate::upstream::tls::Way;

/// The longest head of an answer, in bytes, and the most fields in it.
const MAX_HEAD: usize = 16 * 1024;
const MAX_FIELDS: usize = 100;

/// Why an upstream is not well.
#[derive(Debug)]
pub enum Unwell {
    /// It cannot be reached, or ends the connection.
    Io(io::Error),
    /// It answers something else than HTTP/1.
    NoHttp,
    /// It answers with a status that is not good.
    Status(u16),
}

impl From<io::Error> for Unwell {
    fn from(error: io::Error) -> Self {
        Unwell::Io(error)
    }
}

/// Asks, and reads the answer's head. `first` is said before everything else. Errors: also `TimedOut` after `limit`.
pub async fn probe(
    address: SocketAddr,
    way: Option<&Way>,
    with: &HttpProbe,
    limit: Duration,
    first: &[u8],
) -> Result<impl Future<Output = ()> + use<>, Unwell> {
    let asking = async {
        let mut stream = dial(address, way, limit, Watchfulness::default(), first).await?;
        let status = ask(&mut stream, address, with).await?;
        if !with.expect.iter().any(|good| good.has(status)) {
            return Err(Unwell::Status(status));
        }
        Ok(tcp::close(stream))
    };
    tokio::time::timeout(limit, asking)
        .await
        .unwrap_or_else(|_| Err(Unwell::Io(io::ErrorKind::TimedOut.into())))
}

/// The status of the answer.
async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    address: SocketAddr,
    with: &HttpProbe,
) -> Result<u16, Unwell> {
    let host = with.host.clone().unwrap_or_else(|| address.to_string());
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: fairlead\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        with.path
    );
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut head = Vec::new();
    let mut buffer = [0; 2048];
    loop {
        let mut read = 0;
        while let Some((status, length)) = status(head.get(read..).unwrap_or_default())? {
            // 1xx is not the answer yet (RFC 9110, section 15.2).
            if status >= 200 || status == 101 {
                return Ok(status);
            }
            read += length;
        }
        head.drain(..read);
        if head.len() > MAX_HEAD {
            return Err(Unwell::NoHttp);
        }
        match stream.read(&mut buffer).await? {
            0 => return Err(Unwell::Io(io::ErrorKind::UnexpectedEof.into())),
            n => head.extend_from_slice(buffer.get(..n).unwrap_or_default()),
        }
    }
}

/// The status of the head that these bytes begin with, and its length; `None`: it is not whole.
fn status(bytes: &[u8]) -> Result<Option<(u16, usize)>, Unwell> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => Ok(response.code.map(|code| (code, length))),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(_) => Err(Unwell::NoHttp),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::Statuses;

    const SECOND: Duration = Duration::from_secs(1);

    fn with() -> HttpProbe {
        HttpProbe {
            path: "/live?x=1".into(),
            host: Some("app.example.com".into()),
            expect: vec![Statuses { first: 200, last: 299 }],
        }
    }

    /// What an upstream that answers like this is taken for, and what it was asked.
    async fn probed(pieces: &[&[u8]]) -> (Result<(), Unwell>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(socket.read_u8().await.unwrap());
            }
            for piece in pieces {
                socket.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            (String::from_utf8(asked).unwrap(), socket)
        };
        let with = with();
        let (probed, (asked, _open)) =
            tokio::join!(probe(address, None, &with, SECOND, b"PROXY UNKNOWN\r\n"), answers);
        (probed.map(drop), asked)
    }

    #[tokio::test]
    async fn a_good_status_is_well_and_the_body_does_not_matter() {
        let (probed, asked) =
            probed(&[b"HTTP/1.1 204 No", b" Content\r\nX: y\r", b"\n\r\nbody"]).await;
        assert!(probed.is_ok(), "{probed:?}");
        let asked = asked.strip_prefix("PROXY UNKNOWN\r\n").unwrap();
        assert!(
            asked.starts_with("GET /live?x=1 HTTP/1.1\r\nHost: app.example.com\r\n"),
            "{asked}"
        );
        assert!(asked.contains("\r\nConnection: close\r\n"), "{asked}");
        let early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
        assert!(self::probed(&[early]).await.0.is_ok());
    }

    #[tokio::test]
    async fn another_status_is_not() {
        for (answer, status) in [("HTTP/1.1 503 x\r\n\r\n", 503), ("HTTP/1.0 301 x\r\n\r\n", 301)] {
            let (probed, _) = probed(&[answer.as_bytes()]).await;
            assert!(matches!(probed, Err(Unwell::Status(s)) if s == status), "{probed:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_http_or_has_no_end_is_not() {
        let (probed, _) = probed(&[b"220 smtp.example.com\r\n"]).await;
        assert!(matches!(probed, Err(Unwell::NoHttp)), "{probed:?}");
        let endless = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &[b'x'; MAX_HEAD]];
        let (probed, _) = self::probed(&endless).await;
        assert!(matches!(probed, Err(Unwell::NoHttp)), "{probed:?}");
        let (probed, _) = self::probed(&[b"HTTP/1.1 200 OK\r\n"]).await;
        let late = matches!(&probed, Err(Unwell::Io(e)) if e.kind() == io::ErrorKind::TimedOut);
        assert!(late, "{probed:?}");
    }
}
