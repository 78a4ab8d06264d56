//! What must be written down nowhere: tokens, keys, prompts, tool arguments. Each is a canary that really passes through,
//! with the log at its most verbose; then every byte that fairlead wrote is searched for them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use fairlead::identity::token;
use fairlead::testing::client::Client;
use fairlead::testing::{FakeCli, FakeConfig, Fault, free_port, wire};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::owners::Dir;
use super::program::Program;
use super::rig::*;

/// What must not be seen. Hex where a bearer token may only have that; each is found again by its number.
fn canary(what: &str) -> String {
    let number = CANARIES.iter().position(|known| *known == what).unwrap();
    format!("c0ffee{number:02}feedface{number:02}")
}

const CANARIES: [&str; 20] = [
    "client token",
    "wrong token",
    "token that is no text",
    "pool token",
    "jwt key",
    "managed env",
    "provider key",
    "gitHub token",
    "prompt",
    "system message",
    "tool argument",
    "tool result",
    "cli error",
    "bad header",
    "bad body",
    "too large",
    "half a frame",
    "unknown method",
    "forged answer",
    "cli garbage",
];

/// Every way in which a log may spell it: as it is, in base64 at any place, as hex, as a list of bytes.
fn spellings(canary: &str) -> Vec<String> {
    let bytes = canary.as_bytes();
    let list = |hex: bool| {
        let one = |b: &u8| if hex { format!("{b:02x}") } else { b.to_string() };
        bytes.iter().map(one).collect::<Vec<_>>()
    };
    let in_base64 = (0..3).map(|shift| {
        let text = [&vec![0; shift], bytes].concat();
        let coded = base64::engine::general_purpose::STANDARD_NO_PAD.encode(text);
        coded[if shift == 0 { 0 } else { shift + 1 }..coded.len() - 2].to_owned()
    });
    let mut all: Vec<String> = in_base64.collect();
    all.extend([
        canary.to_owned(),
        list(false).join(", "),
        list(true).join(""),
        list(true).join(" "),
    ]);
    all
}

/// The canaries that stand in a text.
fn found(text: &[u8]) -> Vec<&'static str> {
    let has = |what: &&&str| {
        spellings(&canary(what)).iter().any(|s| memchr::memmem::find(text, s.as_bytes()).is_some())
    };
    CANARIES.iter().filter(has).copied().collect()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all
}

#[test]
fn a_canary_is_found_however_it_is_spelled() {
    let prompt = canary("prompt");
    assert_eq!(found(format!("x{prompt}y").as_bytes()), ["prompt"]);
    assert_eq!(found(format!("{:?}", prompt.as_bytes()).as_bytes()), ["prompt"]);
    for shift in 0..6 {
        let text = format!("{}{prompt}tail", "x".repeat(shift));
        let coded = base64::engine::general_purpose::STANDARD.encode(text);
        assert_eq!(found(coded.as_bytes()), ["prompt"], "{shift}");
    }
    assert_eq!(found(b"c0ffee feedface"), Vec::<&str>::new());
}

/// The files of a configuration that names every secret there can be.
fn configuration(dir: &Dir, cli: &FakeCli, metrics: u16) -> String {
    let path = dir.0.display();
    let hash = |secret: &str| token::to_hex(&token::hash(secret));
    let tokens =
        format!("[[token]]\nsha256 = \"{}\"\nuser = \"alice\"\n", hash(&canary("client token")));
    std::fs::write(dir.0.join("tokens.toml"), tokens).unwrap();
    std::fs::write(dir.0.join("jwt.key"), canary("jwt key").repeat(2)).unwrap();
    let fake = env!("CARGO_BIN_EXE_fake-cli");
    format!(
        "[log]\nformat = \"json\"\nlevel = \"trace\"\n[metrics]\nbind = \"127.0.0.1:{metrics}\"\n\
         [limits]\nmax_client_frame = \"64KiB\"\n\
         [[listener]]\nname = \"sdk\"\nbind = \"127.0.0.1:0\"\npool = \"p\"\nallow = [\"mcp.config.add\", \"account.login\"]\n\
         [[listener.identity]]\nsource = \"token\"\ntokens = {{ file = \"{path}/tokens.toml\" }}\n\
         [[listener.identity]]\nsource = \"jwt\"\nalgorithms = [\"HS256\"]\nkey = {{ file = \"{path}/jwt.key\" }}\n\
         [[pool]]\nname = \"p\"\nupstreams = [\"{}\"]\nbalance = \"round_robin\"\ntoken = {{ env = \"POOL_TOKEN\" }}\n\
         [[listener]]\nname = \"own\"\nbind = \"127.0.0.1:0\"\npool = \"m\"\n\
         [[pool]]\nname = \"m\"\n[pool.managed]\ncommand = [\"{fake}\", \"--port\", \"{{port}}\"]\ncount = 1\n\
         env = {{ PROVIDER_KEY = {{ env = \"MANAGED_KEY\" }} }}\n",
        cli.addr
    )
}

async fn scrape(port: u16) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    socket.write_all(request).await.unwrap();
    let mut text = String::new();
    within("a scrape", socket.read_to_string(&mut text)).await.unwrap();
    assert!(text.contains("fairlead_denied_total"), "{text}");
    text
}

/// A signed token for a user.
fn jwt(user: &str) -> String {
    let coded = |text: String| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let head = coded(json!({"alg": "HS256"}).to_string());
    let claims = coded(json!({"sub": user, "exp": 4_000_000_000_u64}).to_string());
    let message = format!("{head}.{claims}");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, canary("jwt key").repeat(2).as_bytes());
    let signature = ring::hmac::sign(&key, message.as_bytes());
    let signature = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(signature);
    format!("{message}.{signature}")
}

/// What a client of a good will does: every secret that an SDK sends, on its way to the CLI and back.
async fn serves(alice: &Client, cli: &FakeCli) {
    let mut params = opened("hers");
    params["gitHubToken"] = canary("gitHub token").into();
    params["provider"]["apiKey"] = canary("provider key").into();
    params["systemMessage"] = json!({"mode": "append", "content": canary("system message")});
    params["tools"] = json!([{"name": "t"}]);
    ask(alice, "session.create", params.clone()).await;
    let from = alice.received();
    let prompt =
        format!("tool t {{\"a\":\"{}\",\"b\":\"{}\"}}", canary("tool argument"), canary("prompt"));
    send(alice, "hers", &prompt).await;
    let call = alice.next_event(from, "external_tool.requested").await.unwrap();
    let result = json!({"sessionId": "hers", "requestId": call["data"]["requestId"], "result": canary("tool result")});
    ask(alice, "session.tools.handlePendingToolCall", result).await;
    alice.next_event(from, "session.idle").await.unwrap();
    ask(alice, "session.resume", params.clone()).await;
    ask(alice, "session.list", json!({})).await;
    let quoted = format!("HTTP 401 for key {}: {prompt}", canary("cli error"));
    for method in
        ["session.name.get", "session.send", "session.create", "mcp.config.add", "session.list"]
    {
        cli.fault(method, Fault::Refused(-32603, quoted.clone()), 1);
        let _ = alice.request(method, params.clone()).await;
    }
    let login = json!({"host": "https://github.com", "token": canary("gitHub token")});
    let _ = alice.request("account.login", login).await;
}

/// What strangers and broken clients send.
async fn breaks(address: SocketAddr) {
    let stranger = Client::connect(address).await.unwrap();
    for params in [
        json!({"token": canary("wrong token")}),
        json!({"token": {"a": canary("token that is no text")}}),
        json!({"token": format!("{}.{}.x", canary("wrong token"), canary("wrong token"))}),
        json!({"token": jwt("mallory").replace('A', "B")}),
        json!({"clientInfo": canary("bad body")}),
        json!({canary("bad body"): 1}),
    ] {
        refused(&stranger, "connect", params).await;
    }
    refused(&stranger, &canary("unknown method"), json!({"prompt": canary("prompt")})).await;
    let (header, body) = (canary("bad header"), canary("bad body"));
    let raw = [
        format!("{header}\r\n\r\n").into_bytes(),
        format!("GET /{header} HTTP/1.1\r\nAuthorization: Bearer {header}\r\n\r\n").into_bytes(),
        format!("Content-Length: {header}\r\n\r\n").into_bytes(),
        wire::frame(&format!("{{\"{body}\"")),
        wire::frame(&format!("[\"{body}\"]")),
        wire::frame(&format!("{{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"{body}\"}}")),
        wire::frame(&format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{body}\",\"method\":\"x\"}}"
        )),
        wire::frame(&format!("{{\"jsonrpc\":\"2.0\",\"id\":\"{body}\",\"method\":\"ping\"}}")),
        [&wire::frame(&format!("{{\"x\":\"{body}\"}}")), &b"\xff\xfe"[..]].concat(),
        format!("Content-Length: 999\r\n\r\n{}", canary("half a frame")).into_bytes(),
    ];
    for bytes in raw {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(&bytes).await.unwrap();
        socket.shutdown().await.unwrap();
        // FIN or RST: both are ends.
        let _ = within("it ends", socket.read_to_end(&mut Vec::new())).await;
    }
}

/// What a client that was let in sends, and what the CLI does, that is not right.
async fn confuses(alice: &Client, cli: &FakeCli) {
    let large = canary("too large").repeat(6000);
    let _ = alice.request("session.send", json!({"sessionId": "hers", "prompt": large})).await;
    let _ = alice.request(&canary("unknown method"), json!({"x": canary("prompt")})).await;
    let own = json!({"sessionId": "hers", "prompt": canary("prompt")});
    let _ = alice.request(&canary("unknown method"), own.clone()).await;
    alice.notify(&canary("unknown method"), own).await.unwrap();
    let forged = json!({"jsonrpc": "2.0", "id": 77, "result": canary("forged answer")});
    alice.send_body(&forged.to_string()).await.unwrap();
    ask(alice, "ping", json!({"message": canary("prompt")})).await;
    let link = cli.attached("hers")[0];
    let garbage = canary("cli garbage");
    cli.say(
        link,
        &json!({"jsonrpc": "2.0", "method": garbage, "params": {"x": garbage}}).to_string(),
    );
    cli.say(link, &json!({"jsonrpc": "2.0", "id": garbage, "result": garbage}).to_string());
    cli.say(
        link,
        &json!({"jsonrpc": "2.0", "id": 9, "method": garbage, "params": {"sessionId": "hers"}})
            .to_string(),
    );
    ask(alice, "session.mode.get", json!({"sessionId": "hers"})).await;
    send(alice, "hers", &format!("hold {}", canary("prompt"))).await;
    within("it holds", cli.until_held(&canary("prompt"))).await;
    // A frame that is none ends the link, in mid-turn.
    cli.say(link, &format!("{{\"{garbage}\""));
    alice.next_event(0, "session.error").await.unwrap();
}

#[tokio::test]
async fn no_secret_and_nothing_that_was_said_is_written_anywhere() {
    let dir = Dir::new();
    let with = FakeConfig { token: Some(canary("pool token")), ..FakeConfig::default() };
    let cli = FakeCli::start(with).await.unwrap();
    let metrics = free_port();
    let toml = configuration(&dir, &cli, metrics);
    let secrets = [canary("pool token"), canary("managed env")];
    let env =
        [("POOL_TOKEN", &*secrets[0]), ("MANAGED_KEY", &*secrets[1]), ("FAIRLEAD_LOG", "trace")];
    let mut program = Program::start(&toml, &env).await;
    let listens = program.line("it listens", |l| l["kind"] == "listener").await;
    let address: SocketAddr = listens["address"].as_str().unwrap().parse().unwrap();
    program
        .line("both pools are up", |l| {
            l["kind"] == "upstream" && l["pool"] == "m" && l["state"] == "up"
        })
        .await;

    let alice = Client::connect(address).await.unwrap();
    ask(&alice, "connect", json!({"token": canary("client token")})).await;
    serves(&alice, &cli).await;
    let signed = Client::connect(address).await.unwrap();
    ask(&signed, "connect", json!({"token": jwt("bob")})).await;
    refused(&signed, "session.send", json!({"sessionId": "hers", "prompt": canary("prompt")}))
        .await;
    breaks(address).await;
    confuses(&alice, &cli).await;

    let metrics = scrape(metrics).await;
    let mut said = Vec::new();
    for command in
        [&["config", "dump"][..], &["config", "dump", "--json"], &["check"], &["check", "--json"]]
    {
        said.extend(program.output(command, &env).await);
    }
    assert!(String::from_utf8_lossy(&said).contains("***"), "the dump has no secret to hide");
    // A file that is not right is complained about, without what is in it.
    std::fs::write(dir.0.join("jwt.key"), canary("jwt key")).unwrap();
    said.extend(program.output(&["check"], &env).await);
    cli.kill().await;
    program.line("what only a verbose log says", |l| l["level"] == "debug").await;
    program.signal(Signal::TERM);
    drop((alice, signed));
    assert_eq!(program.end().await, Some(0));

    // It was all there to be told, and the log tells much.
    let heard: Vec<u8> = cli.received().iter().flat_map(|frame| frame.raw.to_vec()).collect();
    let passed = [
        "pool token",
        "provider key",
        "gitHub token",
        "prompt",
        "system message",
        "tool argument",
        "tool result",
    ];
    let missed: Vec<_> = passed.iter().filter(|what| !found(&heard).contains(what)).collect();
    assert!(missed.is_empty(), "the CLI never got {missed:?}");
    let lines: Vec<Value> =
        program.seen.iter().filter_map(|l| serde_json::from_str(l).ok()).collect();
    for kind in ["audit", "conn", "session", "turn", "upstream", "drain"] {
        assert!(lines.iter().any(|l| l["kind"] == kind), "no line of {kind}");
    }
    assert!(metrics.contains("fairlead_log_lines_dropped_total 0\n"), "lines are missing");

    let log = program.seen.join("\n");
    assert_eq!(found(log.as_bytes()), Vec::<&str>::new(), "in the log: {log}");
    assert_eq!(found(metrics.as_bytes()), Vec::<&str>::new(), "in the metrics");
    assert_eq!(found(&said), Vec::<&str>::new(), "said by the command line");
    let kept = files(&program.folder.join("state"));
    assert!(kept.iter().any(|f| f.to_string_lossy().contains("ledger")), "{kept:?}");
    for file in kept {
        assert_eq!(
            found(&std::fs::read(&file).unwrap()),
            Vec::<&str>::new(),
            "in {}",
            file.display()
        );
    }
}
