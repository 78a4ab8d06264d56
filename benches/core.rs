//! What one message costs inside the multiplexer: no sockets, no threads, no clock. For an instruction counter, which
//! runs it with two values of N and divides the difference (`run.py --core`).
//!
//! Without a counter it tells nothing: it prints how many bytes came out, which checks that the work was done.

use std::sync::Arc;

use clap::{Parser, ValueEnum};
use fairlead::id::{LinkId, SessionId, UpstreamId};
use fairlead::rpc::frame::FrameLimits;
use fairlead::rpc::mux::{Action, Authentication, Found, Mux, Now, Settings};
use fairlead::rpc::policy::Policy;
use fairlead::testing::wire;
use fairlead::time::{self, Duration};

/// Pushes messages through one multiplexer.
#[derive(Parser)]
struct Args {
    /// What kind of message.
    work: Work,
    /// How many.
    messages: u64,
    /// How many come in one read.
    #[arg(long, default_value_t = 1)]
    batch: u64,
    /// Bytes of each body.
    #[arg(long, default_value_t = 360)]
    bytes: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Work {
    /// A request of a session, and its answer.
    Rpc,
    /// An event of a session that is in a turn.
    Event,
}

const SESSION: &str = "user-000001-0000000001";

struct Bench {
    mux: Mux,
    link: LinkId,
    now: Now,
    out: usize,
}

impl Bench {
    /// A conn with one link and one session.
    fn new() -> Self {
        let now = Now { at: time::now(), wall: time::wall() };
        let mut bench =
            Bench { mux: Mux::new(Arc::new(settings()), 7), link: LinkId(0), now, out: 0 };
        bench.client(&request(1, "connect", 0));
        bench.client(&request(2, "session.create", 0));
        bench.link(&answer(0, 0));
        bench.link(&answer(2, 0));
        bench
    }

    fn client(&mut self, bytes: &[u8]) {
        self.mux.client_bytes(bytes, self.now);
        self.act();
    }

    fn link(&mut self, bytes: &[u8]) {
        self.mux.link_bytes(self.link, bytes, self.now);
        self.act();
    }

    /// Does what the shell around a mux does, but for the sockets.
    fn act(&mut self) {
        while let Some(action) = self.mux.next_action() {
            if let Action::Seek(ticket, _, _) = action {
                let found =
                    Found::Go { upstream: UpstreamId(1), epoch: 1, resume: false, reason: None };
                self.mux.found(ticket, found, self.now);
            } else if let Action::Open(link, _) = action {
                self.link = link;
                self.mux.link_opened(link, None);
            }
        }
        if let Some(out) = self.mux.link_out(self.link) {
            self.out += out.len();
            out.advance(out.len());
        }
        let client = self.mux.client_out();
        self.out += client.len();
        client.advance(client.len());
        std::hint::black_box((self.mux.buffered(), self.mux.pending(), self.mux.done()));
    }

    fn rpc(&mut self, args: &Args) {
        let (mut asks, mut answers) = (Vec::new(), Vec::new());
        for id in 10..10 + args.batch {
            asks.extend(request(id, "session.mode.get", args.bytes));
            answers.extend(answer(id, args.bytes));
        }
        for _ in 0..args.messages / args.batch {
            self.client(&asks);
            self.link(&answers);
        }
    }

    fn event(&mut self, args: &Args) {
        self.client(&request(9, "session.send", 0));
        self.link(&event("user.message", 0));
        self.link(&event("assistant.message_delta", 0));
        self.link(&answer(9, 0));
        let events = event("assistant.message_delta", args.bytes).repeat(args.batch as usize);
        for _ in 0..args.messages / args.batch {
            self.link(&events);
        }
    }
}

fn settings() -> Settings {
    let frame = FrameLimits { header: 16 << 10, body: 32 << 20 };
    Settings {
        client_frame: frame,
        upstream_frame: frame,
        link_queue: 8 << 20,
        client_queue: 1 << 20,
        pending: 4096,
        slots: 4096,
        request_timeout: Duration::from_secs(300),
        client_request_timeout: Duration::from_secs(60),
        handshake_timeout: Duration::from_secs(5),
        seek_timeout: Duration::from_secs(5),
        bounds_turns: false,
        greet_timeout: Duration::from_secs(5),
        discard_timeout: Duration::from_secs(10),
        finish_timeout: Duration::from_secs(5),
        authentication: Authentication::NotConfigured,
        authentication_timeout: Duration::from_secs(10),
        policy: Policy::default(),
    }
}

fn padded(head: &str, tail: &str, bytes: usize) -> Vec<u8> {
    let padding = bytes.saturating_sub(head.len() + tail.len());
    wire::frame(&format!("{head}{}{tail}", "x".repeat(padding)))
}

fn request(id: u64, method: &str, bytes: usize) -> Vec<u8> {
    let head = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"sessionId":"{SESSION}","pad":""#
    );
    padded(&head, r#""}}"#, bytes)
}

fn answer(id: u64, bytes: usize) -> Vec<u8> {
    // The id of the mux's own `connect` is not a client's.
    let (id, result) = match id {
        0 => ("\"fairlead\"".to_owned(), r#"{"ok":true,"protocolVersion":3,"version":"1","pad":""#),
        2 => (id.to_string(), r#"{"sessionId":"user-000001-0000000001","pad":""#),
        id => (id.to_string(), r#"{"pad":""#),
    };
    padded(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}"#), r#""}}"#, bytes)
}

fn event(kind: &str, bytes: usize) -> Vec<u8> {
    let session = SessionId::new(SESSION);
    let head = format!(
        r#"{{"jsonrpc":"2.0","method":"session.event","params":{{"sessionId":"{session}","event":{{"type":"{kind}","data":{{"messageId":"m","deltaContent":""#
    );
    let tail = r#""},"ephemeral":true,"id":"4e2c1f0a-5b1e-4a52-9c56-0d2f6c1b7a10","timestamp":"2026-01-01T00:00:00.000Z","parentId":null}}}"#;
    padded(&head, tail, bytes)
}

#[expect(clippy::print_stdout, reason = "the result is the program's output")]
fn main() {
    let args = Args::parse();
    let mut bench = Bench::new();
    match args.work {
        Work::Rpc => bench.rpc(&args),
        Work::Event => bench.event(&args),
    }
    println!("{{\"messages\":{},\"bytes_out\":{}}}", args.messages, bench.out);
}
