//! The load generator completes each of its scenarios through fairlead, and its counts agree: it ends with an error
//! where an answer or an event is missing, foreign, or one too many. Measures nothing.

#![expect(clippy::unwrap_used, reason = "a test's own functions")]

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

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

/// A fake CLI behind fairlead.
struct Rig {
    front: SocketAddr,
    proxy: Running,
    _cli: Running,
    config: PathBuf,
}

impl Rig {
    fn start(name: &str) -> Rig {
        let mut cli = Command::new(env!("CARGO_BIN_EXE_fake-cli"))
            .args(["--events", EVENTS, "--answer-bytes", "360"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(cli.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().rsplit_once(' ').unwrap().1.to_owned();
        let front = free();
        let config = std::env::temp_dir().join(format!("fairlead-{name}-{}.toml", front.port()));
        let text = format!(
            r#"
            runtime.workers = 1
            limits.max_client_queue = "64KiB"
            [[listener]]
            name = "bench"
            bind = "{front}"
            protocol = "jsonrpc"
            pool = "cli"
            [[pool]]
            name = "cli"
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
        Rig { front, proxy: Running(proxy), _cli: Running(cli), config }
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

fn free() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
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
