//! The audit: a line for each thing that somebody did or was refused, and no more lines than anybody can read.

use std::net::SocketAddr;

use fairlead::testing::client::Client;
use fairlead::testing::{FakeCli, Fault};
use serde_json::{Value, json};

use super::owners::{Dir, guarded, known, tokens};
use super::program::Program;
use super::rig::*;

/// A program in front of a CLI, whose callers are told apart by tokens.
struct Audited {
    program: Program,
    cli: FakeCli,
    address: SocketAddr,
    _dir: Dir,
}

impl Audited {
    async fn start() -> Audited {
        let cli = FakeCli::plain().await.unwrap();
        let dir = Dir::new();
        tokens(&dir, &["alice", "bob"]);
        let toml = format!(
            "[log]\nformat = \"json\"\n\
             [[listener]]\nname = \"sdk\"\nbind = \"127.0.0.1:0\"\npool = \"p\"\n\
             allow = [\"mcp.config.reload\"]\nunknown_sessions = \"adopt\"\n\
             session_id_required_pattern = \"[a-z0-9-]+\"\n\
             [[listener.identity]]\nsource = \"token\"\ntokens = {{ file = \"{}/tokens.toml\" }}\n\
             [[pool]]\nname = \"p\"\nupstreams = [\"{}\"]\nbalance = \"round_robin\"\n\
             [[pool.grant]]\nsession = \"shared-.*\"\nusers = [\"bob\"]\n",
            dir.0.display(),
            cli.addr
        );
        let mut program = Program::start(&toml, &[]).await;
        let listens = program.line("it listens", |l| l["kind"] == "listener").await;
        let address = listens["address"].as_str().unwrap().parse().unwrap();
        Audited { program, cli, address, _dir: dir }
    }

    async fn known(&self, user: &str) -> Client {
        let client = Client::connect(self.address).await.unwrap();
        ask(&client, "connect", json!({"token": format!("{user}-token")})).await;
        client
    }

    /// The next audit line, but for placements.
    async fn line(&mut self) -> Value {
        let fits = |l: &Value| l["kind"] == "audit" && l["action"] != "place";
        self.program.line("an audit line", fits).await
    }

    /// Asserts what the next line says; returns it.
    async fn says(&mut self, expected: Value) -> Value {
        let line = self.line().await;
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&line[name], value, "{name} of {line}, expected {expected}");
        }
        for name in ["conn_id", "client_addr", "listener", "pool", "level", "ts"] {
            assert!(!line[name].is_null(), "no {name} in {line}");
        }
        line
    }
}

#[tokio::test]
async fn what_is_done_has_a_line_that_says_who_and_to_which_session() {
    let mut it = Audited::start().await;
    let alice = it.known("alice").await;
    let by = |action: &str, session: &str, method: &str| {
        json!({"action": action, "decision": "allow", "session_id": session, "method": method,
            "identity": "alice", "proof": "token", "listener": "sdk", "pool": "p", "level": "info"})
    };
    create(&alice, "hers").await;
    it.says(by("create", "hers", "session.create")).await;
    turn(&alice, "hers", "hello").await;
    resume(&alice, "hers").await;
    it.says(by("resume", "hers", "session.resume")).await;
    create(&alice, "hers").await;
    it.says(by("resume", "hers", "session.create")).await;
    it.cli.fault("sessions.fork", Fault::Result(r#"{"sessionId":"forked"}"#.into()), 1);
    ask(&alice, "sessions.fork", json!({"sessionId": "hers"})).await;
    it.says(by("create", "forked", "sessions.fork")).await;
    it.cli.fault("mcp.config.reload", Fault::Result("null".into()), 1);
    ask(&alice, "mcp.config.reload", json!({})).await;
    let change =
        it.says(json!({"action": "change", "decision": "allow", "identity": "alice"})).await;
    assert_eq!(
        (&change["method"], &change["session_id"]),
        (&json!("mcp.config.reload"), &Value::Null)
    );
    ask(&alice, "session.delete", json!({"sessionId": "hers"})).await;
    let delete =
        it.says(json!({"action": "delete", "decision": "allow", "session_id": "hers"})).await;
    assert_eq!((&delete["identity"], &delete["method"]), (&json!("alice"), &Value::Null));
    used(&alice, "bulk").await;
    it.says(by("create", "bulk", "session.create")).await;
    ask(&alice, "sessions.bulkDelete", json!({"sessionIds": ["bulk", "none"]})).await;
    it.says(by("delete", "bulk", "sessions.bulkDelete")).await;
    // Made behind fairlead's back: hers now.
    let aside = Client::connect(it.cli.addr).await.unwrap();
    used(&aside, "old").await;
    resume(&alice, "old").await;
    it.says(
        json!({"action": "adopt", "decision": "allow", "session_id": "old", "identity": "alice"}),
    )
    .await;
    it.says(by("resume", "old", "session.resume")).await;
}

#[tokio::test]
async fn what_is_refused_has_a_line_that_says_why() {
    let mut it = Audited::start().await;
    let (alice, bob) = (it.known("alice").await, it.known("bob").await);
    used(&alice, "hers").await;
    used(&alice, "shared-1").await;
    it.line().await;
    it.line().await;
    resume(&bob, "shared-1").await;
    it.says(json!({"action": "grant", "decision": "allow", "session_id": "shared-1", "identity": "bob"})).await;
    it.says(json!({"action": "resume", "reason": "granted", "session_id": "shared-1", "identity": "bob"})).await;
    for (method, action, session, reason) in [
        ("session.resume", "resume", "hers", "not_owner"),
        ("session.create", "create", "hers", "not_owner"),
        ("session.delete", "delete", "hers", "not_owner"),
        ("session.send", "use", "hers", "not_owner"),
        ("session.notInAnyTable", "use", "hers", "not_owner"),
        ("session.resume", "resume", "none", "unknown_session"),
        ("session.create", "create", "UPPER", "session_id_pattern"),
    ] {
        refused(&bob, method, opened(session)).await;
        let method = if method == "session.notInAnyTable" { "other" } else { method };
        it.says(
            json!({"action": action, "decision": "deny", "reason": reason, "session_id": session,
            "method": method, "identity": "bob", "proof": "token", "level": "warn"}),
        )
        .await;
    }
    // A second has passed in some of these tests, in others not: each of the next has a conn of its own.
    let bob = it.known("bob").await;
    for (method, reason) in [
        ("user.settings.get", "tells_settings"),
        ("account.getCurrentAuth", "tells_account"),
        ("skills.discover", "tells_host"),
        ("user.settings.set", "changes_clis"),
        ("runtime.shutdown", "never_allowed"),
    ] {
        refused(&bob, method, json!({})).await;
        it.says(json!({"action": "call", "decision": "deny", "reason": reason, "method": method}))
            .await;
    }
    refused(&bob, "no.such.method", json!({})).await;
    it.says(json!({"action": "call", "decision": "deny", "reason": "unknown_method", "method": "other"})).await;
    let stranger = Client::connect(it.address).await.unwrap();
    refused(&stranger, "session.list", json!({})).await;
    let early =
        json!({"action": "authenticate", "reason": "unauthenticated", "method": "session.list"});
    it.says(early).await;
    refused(&stranger, "connect", json!({"token": "guessed"})).await;
    let line =
        it.says(json!({"action": "authenticate", "decision": "deny", "reason": "unknown"})).await;
    assert_eq!((&line["identity"], &line["proof"]), (&Value::Null, &Value::Null));
    refused(&bob, "connect", json!({"token": "alice-token"})).await;
    it.says(json!({"action": "authenticate", "decision": "deny", "reason": "another_caller", "identity": "bob"})).await;
}

#[tokio::test]
async fn a_flood_of_refusals_is_a_few_lines_and_a_number() {
    const FLOOD: u64 = 400;
    let mut it = Audited::start().await;
    let bob = it.known("bob").await;
    for n in 0..FLOOD {
        let error =
            refused(&bob, "session.mode.get", json!({"sessionId": format!("guess-{n}")})).await;
        is_ours(&error, -32042, "access_denied");
    }
    bob.close().await;
    let (mut lines, mut counted) = (0, 0);
    while lines + counted < FLOOD {
        let line = it.line().await;
        assert_eq!(
            (&line["decision"], &line["identity"]),
            (&json!("deny"), &json!("bob")),
            "{line}"
        );
        match line["count"].as_u64() {
            Some(count) => counted += count,
            None => lines += 1,
        }
    }
    assert_eq!(lines + counted, FLOOD);
    assert!(counted > 0, "{lines} lines");
}

#[tokio::test]
async fn a_strangers_text_is_harmless_in_a_line() {
    let mut it = Audited::start().await;
    let bob = it.known("bob").await;
    for (id, shown) in [
        ("a\nb\u{1b}[2J\u{9b}31m\u{202e}", r"a\u{a}b\u{1b}[2J\u{9b}31m\u{202e}".to_owned()),
        (&"é".repeat(120), "é".repeat(120)),
    ] {
        refused(&bob, "session.send", json!({"sessionId": id})).await;
        it.says(json!({"decision": "deny", "session_id": shown})).await;
    }
    refused(&bob, "session.send", json!({"sessionId": "x".repeat(100_000)})).await;
    let line = it.says(json!({"decision": "deny", "reason": "id_too_long"})).await;
    assert!(line.to_string().len() < 1000);
}

#[tokio::test]
async fn every_refusal_is_counted_whether_it_has_a_line_or_not() {
    let dir = Dir::new();
    tokens(&dir, &["alice", "bob"]);
    let rig = guarded(&dir, clis(1)).start().await;
    let (alice, bob) = (known(&rig, "alice").await, known(&rig, "bob").await);
    create(&alice, "hers").await;
    for _ in 0..30 {
        refused(&bob, "session.mode.get", json!({"sessionId": "hers"})).await;
    }
    for _ in 0..3 {
        refused(&bob, "user.settings.get", json!({})).await;
        refused(&bob, "no.such.method", json!({})).await;
        refused(&bob, "session.send", json!({"sessionId": "x".repeat(300)})).await;
        refused(&bob, "connect", json!({"token": "guessed"})).await;
        refused(&rig.client().await, "session.list", json!({})).await;
    }
    let metrics = rig.metrics().await;
    for (reason, count) in [
        ("access_denied", 33.0),
        ("method_denied", 3.0),
        ("unknown_method", 3.0),
        ("authentication", 3.0),
        ("unauthenticated", 3.0),
    ] {
        assert_eq!(metrics.sum("fairlead_denied_total", &[("reason", reason)]), count, "{reason}");
    }
}
