//! HTTP/1.1 requests over kept connections, each with a user of its own; or streams of server-sent events.
//!
//! Every answer must name the path that was asked for: one that comes to somebody else is an error.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use clap::{Args, ValueEnum};
use fairlead::time::{self, Duration, Instant};
use memchr::memmem;
use rustix::event::{Timespec, epoll};
use serde_json::{Value, json};

use crate::fleet::{PATIENCE, wrong};
use crate::histogram::Histogram;
use crate::process::Watch;
use crate::seconds;

/// What one read can bring, in bytes.
const READ: usize = 64 * 1024;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// `GET`, the user in a header.
    Header,
    /// `POST`, the session in a field of a JSON body.
    Json,
    /// `GET` of a stream of events, until each conn has them all.
    Events,
}

#[derive(Args)]
pub(crate) struct Plan {
    /// What each conn asks for.
    #[arg(value_enum)]
    by: By,
    /// Bytes of a JSON body.
    #[arg(long, default_value_t = 360)]
    bytes: usize,
    /// Events of each stream.
    #[arg(long, default_value_t = 0)]
    events: u64,
    /// Events a second of each stream.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// For how long requests are made.
    #[arg(long, default_value = "3", value_parser = seconds)]
    seconds: Duration,
    /// What is not measured, before it.
    #[arg(long, default_value = "0.5", value_parser = seconds)]
    warm_up: Duration,
}

/// One conn.
struct Client {
    socket: TcpStream,
    number: usize,
    input: Vec<u8>,
    asked: Instant,
    path: String,
    requests: u64,
    /// Events of its stream that have come; `None`: the head has not.
    events: Option<u64>,
    done: bool,
}

struct Run<'a> {
    plan: &'a Plan,
    latency: Histogram,
    answered: u64,
    measuring: bool,
    asking: bool,
}

/// Runs it; the result as JSON.
pub(crate) fn run(plan: &Plan, addr: SocketAddr, conns: usize, watch: &Watch) -> io::Result<Value> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut clients = Vec::with_capacity(conns);
    for number in 0..conns {
        clients.push(Client::open(addr, number, &poll)?);
    }
    let mut run =
        Run { plan, latency: Histogram::new(), answered: 0, measuring: false, asking: true };
    for client in &mut clients {
        client.ask(plan)?;
    }
    let begin = time::now();
    let (from, to) = if plan.by == By::Events {
        let from = watch.mark();
        run.measuring = true;
        run.turns(&mut clients, &poll, begin + PATIENCE + PATIENCE)?;
        if clients.iter().any(|client| !client.done) {
            return Err(wrong("streams that do not end"));
        }
        (from, watch.mark())
    } else {
        run.turns(&mut clients, &poll, begin + plan.warm_up)?;
        let from = watch.mark();
        run.measuring = true;
        run.turns(&mut clients, &poll, begin + plan.warm_up + plan.seconds)?;
        let to = watch.mark();
        (run.measuring, run.asking) = (false, false);
        run.turns(&mut clients, &poll, time::now() + PATIENCE)?;
        if clients.iter().any(|client| !client.done) {
            return Err(wrong("requests without an answer"));
        }
        (from, to)
    };
    let (cpu, took) = watch.between(&from, &to);
    Ok(json!({
        "messages": run.answered, "seconds": took, "per_second": run.answered as f64 / took,
        "p50_us": run.latency.micros(0.5), "p99_us": run.latency.micros(0.99),
        "p999_us": run.latency.micros(0.999), "cpu_seconds": cpu,
    }))
}

impl Run<'_> {
    /// Takes what comes, until then, or until all conns are done.
    fn turns(
        &mut self,
        clients: &mut [Client],
        poll: &rustix::fd::OwnedFd,
        end: Instant,
    ) -> io::Result<()> {
        let mut ready: Vec<epoll::Event> = Vec::with_capacity(1024);
        let mut buffer = vec![0; READ];
        loop {
            let left = end.saturating_duration_since(time::now());
            if left.is_zero() || clients.iter().all(|client| client.done) {
                return Ok(());
            }
            let left = left.min(Duration::from_millis(100));
            let limit = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
            ready.clear();
            match epoll::wait(poll, rustix::buffer::spare_capacity(&mut ready), Some(&limit)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &ready {
                if let Some(client) = clients.get_mut(event.data.u64() as usize) {
                    client.read(&mut buffer)?;
                    self.take(client)?;
                }
            }
        }
    }

    fn take(&mut self, client: &mut Client) -> io::Result<()> {
        if self.plan.by == By::Events {
            return self.take_events(client);
        }
        while let Some(answer) = client.answer()? {
            let now = time::now();
            if self.measuring {
                self.latency.add(now - client.asked);
                self.answered += 1;
            }
            client.input.drain(..answer);
            if self.asking {
                client.ask(self.plan)?;
            } else {
                client.done = true;
            }
        }
        Ok(())
    }

    /// Each event is `data: NANOS ...` and an empty line, wherever chunks and reads cut the stream.
    fn take_events(&mut self, client: &mut Client) -> io::Result<()> {
        if client.events.is_none() {
            let Some(head) = memmem::find(&client.input, b"\r\n\r\n") else { return Ok(()) };
            client.begins(head)?;
            client.input.drain(..head + 4);
            client.events = Some(0);
        }
        let now = time::wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let mut at = 0;
        while let Some(found) = memmem::find(client.input.get(at..).unwrap_or_default(), b"data: ")
        {
            let start = at + found;
            let Some(end) = memmem::find(client.input.get(start..).unwrap_or_default(), b"\n\n")
            else {
                break;
            };
            let digits =
                client.input.get(start + 6..start + 26).and_then(|d| std::str::from_utf8(d).ok());
            let sent = digits.and_then(|d| d.parse().ok()).map(Duration::from_nanos);
            self.latency
                .add(now.saturating_sub(sent.ok_or_else(|| wrong("an event without its time"))?));
            self.answered += 1;
            client.events = client.events.map(|events| events + 1);
            at = start + end + 2;
        }
        client.input.drain(..at);
        let all = client.events == Some(self.plan.events);
        client.done = all && memmem::find(&client.input, b"0\r\n\r\n").is_some();
        if client.events > Some(self.plan.events) {
            return Err(wrong("more events than were asked for"));
        }
        Ok(())
    }
}

impl Client {
    fn open(addr: SocketAddr, number: usize, poll: &rustix::fd::OwnedFd) -> io::Result<Self> {
        let socket = TcpStream::connect(addr)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(poll, &socket, data, epoll::EventFlags::IN | epoll::EventFlags::ET)?;
        let (input, path, asked) = (Vec::new(), String::new(), time::now());
        Ok(Client { socket, number, input, asked, path, requests: 0, events: None, done: false })
    }

    fn ask(&mut self, plan: &Plan) -> io::Result<()> {
        self.requests += 1;
        let user = format!("user-{:06}", self.number);
        let head = "Host: bench.example\r\nAccept: */*\r\nUser-Agent: bench\r\n";
        let request = match plan.by {
            By::Header => {
                self.path = format!("/n/{}/{}", self.number, self.requests);
                format!("GET {} HTTP/1.1\r\n{head}X-User-Id: {user}\r\n\r\n", self.path)
            }
            By::Json => {
                self.path = format!("/n/{}/{}", self.number, self.requests);
                let body = format!(r#"{{"sessionId":"{user}","prompt":""#);
                let pad = "x".repeat(plan.bytes.saturating_sub(body.len() + 2));
                let body = format!("{body}{pad}\"}}");
                format!(
                    "POST {} HTTP/1.1\r\n{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                    self.path,
                    body.len()
                )
            }
            By::Events => {
                self.path = format!("/events/{}/{}", plan.events, plan.rate);
                format!("GET {} HTTP/1.1\r\n{head}X-User-Id: {user}\r\n\r\n", self.path)
            }
        };
        self.asked = time::now();
        // Requests are small, and the one before was answered.
        self.socket.write_all(request.as_bytes())
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            match self.socket.read(buffer) {
                Ok(0) if self.done => return Ok(()),
                Ok(0) => return Err(wrong("the server closed a conn")),
                Ok(got) => {
                    self.input.extend_from_slice(buffer.get(..got).unwrap_or_default());
                    if got < buffer.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn begins(&self, head: usize) -> io::Result<()> {
        let head = self.input.get(..head).unwrap_or_default();
        if head.starts_with(b"HTTP/1.1 200 ") {
            Ok(())
        } else {
            Err(wrong(String::from_utf8_lossy(head)))
        }
    }

    /// The length of a whole answer to what was asked last.
    fn answer(&self) -> io::Result<Option<usize>> {
        let Some(head) = memmem::find(&self.input, b"\r\n\r\n") else { return Ok(None) };
        self.begins(head)?;
        let lower = self.input.get(..head).unwrap_or_default().to_ascii_lowercase();
        let length = memmem::find(&lower, b"content-length: ").and_then(|at| {
            let digits = lower.get(at + 16..)?.split(|byte| !byte.is_ascii_digit()).next()?;
            std::str::from_utf8(digits).ok()?.parse::<usize>().ok()
        });
        let length = length.ok_or_else(|| wrong("an answer without a length"))?;
        let Some(body) = self.input.get(head + 4..head + 4 + length) else { return Ok(None) };
        let names =
            body.strip_prefix(self.path.as_bytes()).is_some_and(|rest| rest.starts_with(b" "));
        if names { Ok(Some(head + 4 + length)) } else { Err(wrong("an answer to something else")) }
    }
}
