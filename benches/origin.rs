//! What stands behind the proxies of `web.py`: answers HTTP/1.1 requests of one size, and streams events at a pace.
//!
//! It prints its ports, one a line; all are served by one thread. It reads requests only as far as the load generator
//! writes them.

#![expect(clippy::disallowed_methods, reason = "a load target has no drain")]

use std::io;

use clap::Parser;
use fairlead::time::{self, Duration};
use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Answers HTTP/1.1 on several ports of 127.0.0.1.
#[derive(Parser)]
struct Args {
    /// How many ports.
    #[arg(long, default_value_t = 1)]
    ports: usize,
    /// Bytes of each answer's body, and of each event.
    #[arg(long, default_value_t = 360)]
    bytes: usize,
}

#[expect(clippy::print_stdout, reason = "the ports are the program's output")]
fn main() -> io::Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut accepting = tokio::task::JoinSet::new();
        for _ in 0..args.ports {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            println!("{}", listener.local_addr()?.port());
            accepting.spawn(accept(listener, args.bytes));
        }
        accepting.join_next().await;
        Ok(())
    })
}

async fn accept(listener: TcpListener, bytes: usize) {
    while let Ok((socket, _)) = listener.accept().await {
        // A conn ends as its peer ends it.
        tokio::spawn(async move { drop(serve(socket, bytes).await) });
    }
}

async fn serve(mut socket: TcpStream, bytes: usize) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut input = Vec::new();
    let mut out = Vec::new();
    loop {
        while let Some((path, length)) = request(&input) {
            input.drain(..length);
            match path.strip_prefix("/events/").and_then(|rest| rest.split_once('/')) {
                Some((events, rate)) => {
                    let count = |text: &str| text.parse().unwrap_or_default();
                    stream(&mut socket, count(events), count(rate), bytes).await?;
                }
                None => answer(&mut out, &path, bytes),
            }
        }
        if !out.is_empty() {
            socket.write_all(&out).await?;
            out.clear();
        }
        if socket.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

/// The path and the length of the first whole request.
fn request(input: &[u8]) -> Option<(String, usize)> {
    let head = memmem::find(input, b"\r\n\r\n")?;
    let text = std::str::from_utf8(input.get(..head)?).ok()?;
    let path = text.split(' ').nth(1)?.to_owned();
    let lower = text.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
    let body: usize = length.map_or(Some(0), |length| length.trim().parse().ok())?;
    let chunked = lower.contains("transfer-encoding: chunked");
    let end = if chunked {
        head + 4 + memmem::find(input.get(head + 4..)?, b"0\r\n\r\n")? + 5
    } else {
        head + 4 + body
    };
    (input.len() >= end).then_some((path, end))
}

fn answer(out: &mut Vec<u8>, path: &str, bytes: usize) {
    let pad = "x".repeat(bytes.saturating_sub(path.len() + 1));
    let length = path.len() + 1 + pad.len();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
    out.extend(format!("{head}Content-Length: {length}\r\n\r\n{path} {pad}").into_bytes());
}

async fn stream(socket: &mut TcpStream, events: u64, rate: u64, bytes: usize) -> io::Result<()> {
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).await?;
    let begun = time::now();
    let pad = "x".repeat(bytes.saturating_sub(29));
    for number in 1..=events {
        let now = time::wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let event = format!("data: {:020} {pad}\n\n", now.as_nanos());
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        socket.write_all(chunk.as_bytes()).await?;
        if rate > 0 {
            let due = Duration::from_secs_f64(number as f64 / rate as f64);
            tokio::time::sleep_until(begun + due).await;
        }
    }
    socket.write_all(b"0\r\n\r\n").await
}
