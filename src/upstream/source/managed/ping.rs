//! One JSON-RPC `ping` to a CLI that has just come up: is there an event loop behind the port?
//!
//! A TCP connect proves only the kernel's backlog. With a token set the CLI answers -32001 before
//! any `connect`; that proves as much, and needs no secret. Health after start is not judged here.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::time::Duration;

const BODY: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{}}"#;
/// A CLI's code for "say `connect` with a token first".
const AUTHENTICATION_REQUIRED: i64 = -32001;
const MAX_HEADER: u64 = 16 * 1024;
const MAX_FRAME: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks once. An error names what was wrong; the caller may ask again.
pub(super) async fn ask(addr: SocketAddr) -> io::Result<()> {
    let asked = tokio::time::timeout(PATIENCE, exchange(addr)).await;
    asked.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer to ping")))
}

async fn exchange(addr: SocketAddr) -> io::Result<()> {
    let mut stream = BufReader::new(TcpStream::connect(addr).await?);
    let frame = format!("Content-Length: {}\r\n\r\n{BODY}", BODY.len());
    stream.write_all(frame.as_bytes()).await?;
    loop {
        let body = read_frame(&mut stream).await?;
        match judge(&body) {
            Some(true) => return Ok(()),
            Some(false) => return Err(bad("ping was answered with an unexpected error")),
            None => {} // a broadcast; ours is still to come
        }
    }
}

async fn read_frame(stream: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut length = None;
    let mut header = stream.take(MAX_HEADER);
    loop {
        let mut line = String::new();
        if header.read_line(&mut line).await? == 0 {
            return Err(bad("the answer to ping ended in its header"));
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse::<usize>().ok();
        }
    }
    let length = length.filter(|n| *n <= MAX_FRAME).ok_or_else(|| bad("no usable length"))?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

/// `None`: not the answer to our ping. Otherwise whether it shows a CLI that is well.
fn judge(body: &[u8]) -> Option<bool> {
    let message: serde_json::Value = serde_json::from_slice(body).ok()?;
    if message.get("id")?.as_i64()? != 1 || message.get("method").is_some() {
        return None;
    }
    let code = message.get("error").and_then(|error| error.get("code"));
    let code = code.and_then(serde_json::Value::as_i64);
    Some(message.get("result").is_some() || code == Some(AUTHENTICATION_REQUIRED))
}

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_or_authentication_required_is_well_and_shutting_down_is_not() {
        let result = br#"{"jsonrpc":"2.0","id":1,"result":{"message":"pong"}}"#;
        assert_eq!(judge(result), Some(true));
        let asked = br#"{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"x"}}"#;
        assert_eq!(judge(asked), Some(true));
        let leaving = br#"{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"x"}}"#;
        assert_eq!(judge(leaving), Some(false));
    }

    #[test]
    fn broadcasts_and_other_ids_are_not_the_answer() {
        for body in [
            &br#"{"jsonrpc":"2.0","method":"session.lifecycle","params":{}}"#[..],
            br#"{"jsonrpc":"2.0","id":2,"result":{}}"#,
            br#"{"jsonrpc":"2.0","id":1,"method":"hooks.invoke"}"#,
            b"not json",
        ] {
            assert_eq!(judge(body), None);
        }
    }
}
