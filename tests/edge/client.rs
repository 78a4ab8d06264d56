//! A client that says exactly the bytes that it is given, and reads answers by the RFC. Never repairs one.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use super::backend::DEADLINE;
use super::reader::{Field, all, show};

/// An answer as a client saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Vec<Field>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<Field>,
    /// Status codes of what came before it (1xx).
    pub(crate) before: Vec<u16>,
}

impl Answer {
    /// Its first value of this name, as text.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        all(&self.fields, name).first().map(|v| String::from_utf8_lossy(v).into_owned())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// Closed before its first byte.
    Closed,
    /// Closed or reset in the middle.
    Cut(String),
    /// Nothing within the time that was given.
    Silent,
    /// No answer by the RFC.
    Malformed(String),
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    unread: Vec<u8>,
    patience: Duration,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, unread: Vec::new(), patience: DEADLINE }
    }

    /// How long it waits for the next byte.
    pub(crate) fn patience(mut self, patience: Duration) -> Client {
        self.patience = patience;
        self
    }

    /// Sends as much as the other side takes: it may have answered and closed before the end.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.set_write_timeout(Some(self.patience)).unwrap();
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Says that nothing more comes.
    pub(crate) fn finish(&mut self) {
        // It may be closed already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    pub(crate) fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Reads on; `None` at the end.
    fn more(&mut self) -> Result<Option<()>, Gone> {
        self.stream.set_read_timeout(Some(self.patience)).unwrap();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(count) => {
                    self.unread.extend_from_slice(&buffer[..count]);
                    return Ok(Some(()));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_silence(error.kind()) => return Err(Gone::Silent),
                Err(error) => {
                    return Err(Gone::Cut(format!("{error} after {:?}", show(&self.unread))));
                }
            }
        }
    }

    fn cut(&self) -> Gone {
        match self.unread.is_empty() {
            true => Gone::Closed,
            false => Gone::Cut(format!("closed after {:?}", show(&self.unread))),
        }
    }

    /// The bytes up to this one of the separators, without it.
    fn through(&mut self, end: &[u8]) -> Result<Vec<u8>, Gone> {
        loop {
            let at = self.unread.windows(end.len()).position(|w| w == end);
            if let Some(at) = at {
                let mut taken: Vec<u8> = self.unread.drain(..at + end.len()).collect();
                taken.truncate(at);
                return Ok(taken);
            }
            if self.more()?.is_none() {
                return Err(self.cut());
            }
        }
    }

    /// So many bytes.
    pub(crate) fn exactly(&mut self, count: usize) -> Result<Vec<u8>, Gone> {
        while self.unread.len() < count {
            if self.more()?.is_none() {
                return Err(Gone::Cut(format!("{} of {count} bytes", self.unread.len())));
            }
        }
        Ok(self.unread.drain(..count).collect())
    }

    /// Everything until the connection ends; how it ended.
    pub(crate) fn until_end(&mut self) -> (Vec<u8>, Result<(), Gone>) {
        loop {
            match self.more() {
                Ok(Some(())) => {}
                Ok(None) => return (std::mem::take(&mut self.unread), Ok(())),
                Err(gone) => return (std::mem::take(&mut self.unread), Err(gone)),
            }
        }
    }

    /// The head of an answer, interim ones included.
    pub(crate) fn head(&mut self) -> Result<Answer, Gone> {
        let mut lines = self.through(b"\r\n\r\n")?;
        lines.extend(b"\r\n");
        let mut lines = lines.split(|b| *b == b'\n').map(<[u8]>::trim_ascii_end);
        let first = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
        let status = first.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
        let Some(status) = status else { return Err(Gone::Malformed(first)) };
        let fields = lines.filter(|line| !line.is_empty()).map(field).collect::<Result<_, _>>()?;
        Ok(Answer { status, fields, ..Answer::default() })
    }

    /// The whole answer to a request with this method.
    pub(crate) fn answer(&mut self, method: &str) -> Result<Answer, Gone> {
        let mut before = Vec::new();
        let mut answer = loop {
            let head = self.head()?;
            match head.status {
                101 => break head,
                100..200 => before.push(head.status),
                _ => break head,
            }
        };
        answer.before = before;
        if method == "HEAD" || matches!(answer.status, 101 | 204 | 304) {
            return Ok(answer);
        }
        match (answer.field("transfer-encoding"), answer.field("content-length")) {
            (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => {
                self.chunks(&mut answer)?
            }
            (None, Some(length)) => match length.parse() {
                Ok(length) => answer.body = self.exactly(length)?,
                Err(_) => return Err(Gone::Malformed(format!("a length of {length:?}"))),
            },
            (None, None) => {
                let (body, end) = self.until_end();
                end?;
                answer.body = body;
            }
            other => return Err(Gone::Malformed(format!("framed by {other:?}"))),
        }
        Ok(answer)
    }

    fn chunks(&mut self, answer: &mut Answer) -> Result<(), Gone> {
        while let Some(chunk) = self.chunk()? {
            answer.body.extend(chunk);
        }
        loop {
            let line = self.through(b"\r\n")?;
            if line.is_empty() {
                return Ok(());
            }
            answer.trailers.push(field(&line)?);
        }
    }

    /// The next chunk; `None` after the last, before the trailers.
    pub(crate) fn chunk(&mut self) -> Result<Option<Vec<u8>>, Gone> {
        let line = self.through(b"\r\n")?;
        let digits = line.split(|b| *b == b';').next().unwrap_or_default();
        let size = std::str::from_utf8(digits).ok().and_then(|s| usize::from_str_radix(s, 16).ok());
        match size {
            None => Err(Gone::Malformed(format!("a chunk size of {:?}", show(&line)))),
            Some(0) => Ok(None),
            Some(size) => {
                let chunk = self.exactly(size)?;
                match &self.exactly(2)?[..] {
                    b"\r\n" => Ok(Some(chunk)),
                    other => Err(Gone::Malformed(format!("{:?} behind a chunk", show(other)))),
                }
            }
        }
    }
}

/// Whether nothing came in time.
fn is_silence(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn field(line: &[u8]) -> Result<Field, Gone> {
    let Some(colon) = line.iter().position(|b| *b == b':') else {
        return Err(Gone::Malformed(show(line)));
    };
    let name = String::from_utf8_lossy(&line[..colon]).into_owned();
    Ok((name, line[colon + 1..].trim_ascii().to_vec()))
}
