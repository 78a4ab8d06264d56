//! Asks another fairlead process whether it is ready: what a container's health check runs.
//!
//! Blocking, without a runtime; one GET, one deadline over all of it, a bounded answer.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::time::{Duration, Instant, now};

/// What `/readyz` said.
#[derive(Debug)]
pub enum Health {
    /// 200.
    Ready,
    /// Any other answer, with its text: the blockers' names, one per line.
    NotReady(String),
    /// No answer within the deadline.
    Unreachable(io::Error),
}

/// The most of an answer that is read.
const MAX_ANSWER: usize = 64 * 1024;

/// Asks the metrics listener at `addr`; returns within `deadline`.
pub fn healthcheck(addr: SocketAddr, deadline: Duration) -> Health {
    match ask(addr, now() + deadline).and_then(|answer| parse(&answer)) {
        Ok((200, _)) => Health::Ready,
        Ok((_, body)) => Health::NotReady(body),
        Err(error) => Health::Unreachable(error),
    }
}

fn ask(addr: SocketAddr, until: Instant) -> io::Result<Vec<u8>> {
    let mut tcp = TcpStream::connect_timeout(&addr, left(until)?)?;
    tcp.set_write_timeout(Some(left(until)?))?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        tcp.set_read_timeout(Some(left(until)?))?;
        let read = tcp.read(&mut chunk)?;
        answer.extend(chunk.iter().take(read));
        if read == 0 || answer.len() >= MAX_ANSWER {
            return Ok(answer);
        }
    }
}

/// The time left, or an error when there is none.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Status and body (RFC 9112, section 4).
fn parse(answer: &[u8]) -> io::Result<(u16, String)> {
    let text = String::from_utf8_lossy(answer);
    let status = text.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
    match (status, text.split_once("\r\n\r\n")) {
        (Some(status), Some((_, body))) => Ok((status, body.trim_end().to_owned())),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP/1")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// What `healthcheck` makes of a server that says `answer` and then `hangs` or closes.
    fn against(answer: &'static str) -> Health {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut tcp, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let read = tcp.read(&mut request).unwrap();
            tcp.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request[..read].to_vec()).unwrap()
        });
        let health = healthcheck(addr, SOON);
        assert!(server.join().unwrap().starts_with("GET /readyz HTTP/1.1\r\n"));
        health
    }

    #[test]
    fn an_answer_is_ready_or_says_what_blocks() {
        assert!(matches!(against("HTTP/1.1 200 OK\r\n\r\nready\n"), Health::Ready));
        let not = against("HTTP/1.1 503 Service Unavailable\r\nX: y\r\n\r\npool a\ndraining\n");
        assert!(matches!(not, Health::NotReady(text) if text == "pool a\ndraining"));
    }

    #[test]
    fn what_is_not_http_is_not_ready() {
        assert!(matches!(against("220 smtp\r\n"), Health::Unreachable(_)));
    }

    #[test]
    fn a_server_that_accepts_and_says_nothing_is_unreachable_at_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let health = healthcheck(listener.local_addr().unwrap(), Duration::from_millis(50));
        assert!(matches!(health, Health::Unreachable(_)));
    }

    #[test]
    fn nobody_there_is_unreachable() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        drop(listener);
        assert!(matches!(healthcheck(addr, SOON), Health::Unreachable(_)));
    }
}
