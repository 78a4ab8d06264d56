//! The log of a whole process: what its lines say of conns, sessions and turns; and that it goes on when nobody reads it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test may panic, its helpers too"
)]

#[path = "shared/program.rs"]
mod program;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use fairlead::observe::lines::{EndedBy, Phase};
use fairlead::observe::logging::{Format, LEVEL_VARIABLE, start};
use fairlead::testing::client::Client;
use fairlead::testing::{FakeCli, FakeConfig, wire};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use self::program::Program;

const SOON: Duration = Duration::from_secs(30);
const IS_CHILD: &str = "FAIRLEAD_TEST_LOGGING_CHILD";
const LINES: u64 = 50_000;

/// Logs far more than a pipe and the queue hold, panics in a thread, and says on stdout what was dropped.
fn child() {
    let log = start("info", Some(Format::Json)).unwrap();
    let dropped = log.dropped();
    for n in 0..LINES {
        tracing::info!(
            kind = "flood",
            n,
            "a line that fills the pipe, then the queue, then nothing"
        );
    }
    assert!(std::thread::spawn(|| panic!("and a panic is logged too")).join().is_err());
    drop(log);
    println!("\ndropped {}", dropped());
}

#[tokio::test]
async fn a_stderr_that_nobody_reads_stops_neither_the_work_nor_the_exit() {
    if std::env::var_os(IS_CHILD).is_some() {
        return child();
    }
    let name = "a_stderr_that_nobody_reads_stops_neither_the_work_nor_the_exit";
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(IS_CHILD, "1")
        .env_remove(LEVEL_VARIABLE)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
    let status = timeout(SOON, process.wait()).await.expect("stuck on stderr").unwrap();
    assert!(status.success(), "{status}");
    let mut dropped = None;
    while let Some(line) = said.next_line().await.unwrap() {
        dropped = dropped.or(line.strip_prefix("dropped ").map(|n| n.parse::<u64>().unwrap()));
    }
    let dropped = dropped.expect("the child said nothing");
    assert!(dropped > 0 && dropped < LINES, "{dropped} of {LINES} dropped");

    let first = BufReader::new(process.stderr.take().unwrap()).lines().next_line().await.unwrap();
    let first: serde_json::Value = serde_json::from_str(&first.unwrap()).unwrap();
    assert_eq!((&first["kind"], &first["n"]), (&"flood".into(), &0.into()));
}

const TOKEN: &str = "canary-token-4711";
const PROMPT: &str = "canary-prompt-4711";
const ARGUMENT: &str = "canary-argument-4711";

/// A running fairlead in front of one fake CLI, logging at level debug.
struct Watched {
    program: Program,
    cli: FakeCli,
    address: std::net::SocketAddr,
}

impl Watched {
    async fn start() -> Watched {
        let with = FakeConfig { token: Some(TOKEN.to_owned()), ..FakeConfig::default() };
        let cli = FakeCli::start(with).await.unwrap();
        let toml = format!(
            "[[listener]]\nname = \"sdk\"\nbind = \"127.0.0.1:0\"\npool = \"p\"\n\
             [[pool]]\nname = \"p\"\nbalance = \"round_robin\"\ntoken = {{ env = \"TOKEN\" }}\n\
             upstreams = [{{ address = \"{}\", name = \"cli-0\" }}]\n",
            cli.addr
        );
        let env = [("TOKEN", TOKEN), (LEVEL_VARIABLE, "debug")];
        let mut program = Program::start(&toml, &env).await;
        let address = program.address().await;
        Watched { program, cli, address }
    }

    async fn ended(&mut self, kind: &str) -> Value {
        self.program.line(kind, |l| l["kind"] == kind).await
    }

    /// A client that has heard of the CLI.
    async fn client(&self) -> Client {
        let client = Client::connect(self.address).await.unwrap();
        client.request("connect", json!({})).await.unwrap();
        client
    }
}

/// Sends requests and counts their bodies, as [`Client`] writes them.
struct Counted {
    client: Client,
    sent: Vec<u64>,
}

impl Counted {
    async fn ask(&mut self, method: &str, params: Value) -> Value {
        let pending = self.client.post(method, params.clone()).await.unwrap();
        let body = json!({"jsonrpc": "2.0", "id": pending.id, "method": method, "params": params});
        self.sent.push(body.to_string().len() as u64);
        self.client.answer_to(&pending).await.unwrap()
    }

    /// Bytes of frames on the wire.
    fn on_the_wire(bodies: impl Iterator<Item = u64>) -> u64 {
        bodies.map(|body| wire::frame(&"x".repeat(body as usize)).len() as u64).sum()
    }
}

/// The fields that the document marks for a kind.
fn documented(kind: &str) -> Vec<String> {
    let column = ["conn", "session", "turn"].iter().position(|k| *k == kind).unwrap() + 2;
    let rows = document().lines().map(str::to_owned).collect::<Vec<_>>();
    let cells = rows.iter().map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    let marked = cells.filter(|cells| cells.len() == 7 && cells[column] == "x");
    let mut names: Vec<String> = marked.map(|cells| cells[1].replace('`', "")).collect();
    names.sort_unstable();
    names
}

fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/LOGS.md");
    std::fs::read_to_string(path).unwrap()
}

/// The line has exactly the documented fields, but for `absent`.
fn whole(line: &Value, absent: &[&str]) {
    let mut names: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
    names.retain(|name| !["ts", "level", "kind"].contains(name));
    names.sort_unstable();
    let mut wanted = documented(line["kind"].as_str().unwrap());
    for name in absent {
        assert!(wanted.iter().any(|w| w == name), "{name} is not documented");
    }
    wanted.retain(|name| !absent.contains(&name.as_str()));
    assert_eq!(names, wanted, "{line}");
    assert_eq!(line["level"], "info");
}

fn number(line: &Value, name: &str) -> f64 {
    line[name].as_f64().unwrap_or_else(|| panic!("no {name} in {line}"))
}

/// What a line says, of the fields that are words or counts.
fn says(line: &Value, expected: &Value) {
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&line[name], value, "{name} of {line}");
    }
}

const NO_IDENTITY: [&str; 3] = ["identity", "tenant", "traceparent"];

#[tokio::test]
async fn a_turn_a_session_and_a_conn_say_what_was_and_nothing_of_what_was_said() {
    let mut watched = Watched::start().await;
    let client = Client::connect(watched.address).await.unwrap();
    let mut client = Counted { client, sent: Vec::new() };
    client.ask("connect", json!({})).await;
    let create = json!({"sessionId": "s-1", "model": "fake", "tools": [{"name": "t"}],
        "provider": {"type": "openai", "apiKey": TOKEN}});
    client.ask("session.create", create).await;
    let before = client.sent.len();
    let prompt = format!("tool t {{\"a\":\"{ARGUMENT}\",\"b\":\"{PROMPT}\"}}");
    client.ask("session.send", json!({"sessionId": "s-1", "prompt": prompt})).await;
    let call = client.client.next_event(0, "external_tool.requested").await.unwrap();
    let params =
        json!({"sessionId": "s-1", "requestId": call["data"]["requestId"], "result": ARGUMENT});
    client.ask("session.tools.handlePendingToolCall", params).await;
    let turn = watched.ended("turn").await;
    whole(&turn, &[&NO_IDENTITY[..], &["t_queue"]].concat());
    let in_turn = &client.sent[before..];
    says(
        &turn,
        &json!({"conn_id": turn["conn_id"], "session_id": "s-1", "turn": 1, "method": "session.send",
            "pool": "p", "upstream": "cli-0", "placement_reason": "round_robin", "result": "ok",
            "termination": "--", "frames_in": in_turn.len(), "bytes_in": in_turn.iter().sum::<u64>()}),
    );
    assert_eq!(in_turn.len(), 2);
    assert!(number(&turn, "t_first_event") <= number(&turn, "t_total"));

    client.client.next_event(0, "session.idle").await.unwrap();
    let from = client.client.received();
    client.ask("session.mode.get", json!({"sessionId": "s-1"})).await;
    assert!(client.client.received() > from);
    let received = client.client.frames(0);
    client.client.close().await;

    let session = watched.ended("session").await;
    // The CLI was asked for the id first, then a link was opened.
    whole(&session, &NO_IDENTITY);
    says(
        &session,
        &json!({"conn_id": turn["conn_id"], "session_id": "s-1", "turns": 1, "pool": "p",
            "upstream": "cli-0", "placement_reason": "round_robin", "result": "detached",
            "termination": "CI"}),
    );
    assert!(number(&session, "t_total") >= number(&turn, "t_total"));
    let conn = watched.ended("conn").await;
    whole(&conn, &[&NO_IDENTITY[..], &["tls"]].concat());
    let bytes_out = Counted::on_the_wire(received.iter().map(|f| f.raw.len() as u64));
    says(
        &conn,
        &json!({"conn_id": turn["conn_id"], "listener": "sdk", "pool": "p", "sessions": 1,
            "turns": 1, "links": 1, "result": "ok", "termination": "CI",
            "frames_in": client.sent.len(), "frames_out": received.len(), "bytes_out": bytes_out,
            "bytes_in": Counted::on_the_wire(client.sent.iter().copied())}),
    );
    assert!(conn["client_addr"].as_str().unwrap().starts_with("127.0.0.1:"), "{conn}");
    assert!(number(&conn, "t_connect") > 0.0);
    assert!(number(&conn, "t_total") >= number(&session, "t_total"));

    watched.cli.kill().await;
    watched.program.line("a line at level debug", |l| l["level"] == "debug").await;
    for canary in [TOKEN, PROMPT, ARGUMENT] {
        let told: Vec<_> =
            watched.program.seen.iter().filter(|line| line.contains(canary)).collect();
        assert!(told.is_empty(), "{told:#?}");
    }
    // They were there to be told.
    let heard =
        received.iter().any(|f| f.raw.windows(PROMPT.len()).any(|w| w == PROMPT.as_bytes()));
    assert!(heard);
}

#[tokio::test]
async fn the_letters_say_who_ended_it_and_in_which_phase() {
    let mut watched = Watched::start().await;
    let idle = watched.client().await;
    idle.close().await;
    assert_eq!(watched.ended("conn").await["termination"], "CI");
    Client::connect(watched.address).await.unwrap().close().await;
    assert_eq!(watched.ended("conn").await["termination"], "CH");
    let broken = watched.client().await;
    broken.send_raw(b"no header\r\n\r\n").await.unwrap();
    broken.until_closed().await;
    says(&watched.ended("conn").await, &json!({"termination": "FI", "result": "bad_header"}));
    let open = json!({"sessionId": "s-2", "model": "fake", "provider": {"type": "openai"}});
    let busy = watched.client().await;
    busy.request("session.create", open).await.unwrap();
    let hold = json!({"sessionId": "s-2", "prompt": "hold k"});
    busy.request("session.send", hold).await.unwrap();
    busy.close().await;
    says(&watched.ended("turn").await, &json!({"termination": "CT", "result": "client_left"}));
    says(&watched.ended("session").await, &json!({"termination": "CT", "result": "detached"}));
    assert_eq!(watched.ended("conn").await["termination"], "CT");
}

#[test]
fn the_document_has_every_letter() {
    let table = |rows: Vec<(char, &str)>| {
        rows.into_iter()
            .map(|(letter, told)| format!("| `{letter}` | {told} |\n"))
            .collect::<String>()
    };
    let document = document();
    let who = table(EndedBy::ALL.map(EndedBy::told).to_vec());
    assert!(document.contains(&format!("|---|---|\n{who}\n")), "wanted:\n{who}");
    let phases = table(Phase::ALL.map(Phase::told).to_vec());
    assert!(document.ends_with(&format!("|---|---|\n{phases}")), "wanted:\n{phases}");
}
