//! The load generator completes each of its scenarios through fairlead, and its counts agree: it ends with an error
//! where an answer or an event is missing, foreign, or one too many. Measures nothing.

#![expect(clippy::unwrap_used, reason = "a test's own functions")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use fairlead::testing::free_port;
use fairlead::time::{self, Duration};

use serde_json::Value;

const EVENTS: &str = "300";

/// A process that is gone when this is.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the load generator meets behind fairlead.
struct Rig {
    front: SocketAddr,
    proxy: Running,
    _back: Running,
    config: PathBuf,
}

impl Rig {
    /// In front of a fake CLI.
    fn start(name: &str) -> Rig {
        let cli = Command::new(env!("CARGO_BIN_EXE_fake-cli"))
            .args(["--events", EVENTS, "--answer-bytes", "360"])
            .stdout(Stdio::piped())
            .spawn();
        Rig::before(cli.unwrap(), name, "jsonrpc", "limits.max_client_queue = \"64KiB\"", "")
    }

    /// In front of what answers HTTP.
    fn web(name: &str, protocol: &str, identity: &str) -> Rig {
        let origin =
            Command::new(env!("CARGO_BIN_EXE_bench-origin")).stdout(Stdio::piped()).spawn();
        Rig::before(origin.unwrap(), name, protocol, "", identity)
    }

    /// `back`: prints the port that it listens on.
    fn before(mut back: Child, name: &str, protocol: &str, top: &str, listener: &str) -> Rig {
        let mut line = String::new();
        BufReader::new(back.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().rsplit(' ').next().unwrap().to_owned();
        let front = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let config = std::env::temp_dir().join(format!("fairlead-{name}-{}.toml", front.port()));
        let text = format!(
            r#"
            runtime.workers = 1
            {top}
            [[listener]]
            name = "bench"
            bind = "{front}"
            protocol = "{protocol}"
            pool = "back"
            {listener}
            [[pool]]
            name = "back"
            upstreams = ["127.0.0.1:{port}"]
            "#
        );
        std::fs::write(&config, text).unwrap();
        let proxy = Command::new(env!("CARGO_BIN_EXE_fairlead"))
            .args(["run", "--config"])
            .arg(&config)
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Rig { front, proxy: Running(proxy), _back: Running(back), config }
    }

    /// Waits until a request is answered with 200.
    fn answers(self) -> Rig {
        let deadline = time::now() + Duration::from_secs(20);
        while !asked(self.front).is_some_and(|answer| answer.starts_with(b"HTTP/1.1 200")) {
            assert!(time::now() < deadline, "nobody answers");
        }
        self
    }

    fn load(&self, arguments: &str) -> Value {
        let watch = format!("proxy={}", self.proxy.0.id());
        let done = Command::new(env!("CARGO_BIN_EXE_bench-load"))
            .args(["--addr", &self.front.to_string(), "--watch", &watch])
            .args(arguments.split(' '))
            .output()
            .unwrap();
        assert!(done.status.success(), "{arguments}: {}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice(&done.stdout).unwrap()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.config);
    }
}

/// The first bytes of an answer, if there is one.
fn asked(address: SocketAddr) -> Option<[u8; 12]> {
    let mut socket = TcpStream::connect(address).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").ok()?;
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn every_request_is_answered_in_a_closed_loop_and_at_a_rate() {
    let rig = Rig::start("rpc");
    for arguments in [
        "--conns 3 rpc --in-flight 1 --warm-up 0.05 --seconds 0.2",
        "--conns 3 rpc --in-flight 16 --warm-up 0.05 --seconds 0.2",
        "--conns 3 rpc --rate 500 --warm-up 0.05 --seconds 0.2",
    ] {
        let result = rig.load(arguments);
        assert!(result["messages"].as_u64().unwrap() > 0, "{arguments}: {result}");
    }
}

#[test]
fn every_event_of_every_turn_arrives() {
    let rig = Rig::start("events");
    let result = rig.load(&format!("--conns 3 events --turns 4 --events {EVENTS}"));
    assert_eq!(result["messages"], 3 * 3 * 300);
}

#[test]
fn idle_conns_come_through_a_peak() {
    let rig = Rig::start("idle");
    let result = rig.load("--conns 5 idle --settle 0.05");
    assert!(result["idle"].as_u64().unwrap() > 0, "{result}");
}

#[test]
fn every_request_over_http_is_answered_whatever_it_is_sticky_by() {
    let header = "[[listener.identity]]\nsource = \"header\"\nname = \"x-user-id\"";
    let json = "[[listener.identity]]\nsource = \"json\"\npointer = \"/sessionId\"";
    let span = "--warm-up 0.05 --seconds 0.2";
    for (name, identity, what) in [
        ("header", header, format!("--conns 3 http header {span}")),
        ("json", json, format!("--conns 3 http json {span}")),
        ("large", json, format!("--conns 3 http json --bytes 16384 {span}")),
    ] {
        let rig = Rig::web(name, "http", identity).answers();
        let result = rig.load(&what);
        assert!(result["messages"].as_u64().unwrap() > 0, "{name}: {result}");
    }
}

#[test]
fn every_event_of_a_stream_over_http_arrives() {
    let rig = Rig::web("sse", "http", "").answers();
    let result = rig.load("--conns 3 http events --events 20 --rate 100 --warm-up 0 --seconds 0.2");
    let events = result["messages"].as_u64().unwrap();
    assert!(events > 0 && events.is_multiple_of(20), "{result}");
}

#[test]
fn every_message_through_a_relay_is_answered() {
    let rig = Rig::web("tcp", "tcp", "").answers();
    let result = rig.load("--conns 3 http header --warm-up 0.05 --seconds 0.2");
    assert!(result["messages"].as_u64().unwrap() > 0, "{result}");
}
