//! Framing, envelopes, handshake parameters, unknown ids: one connection per case.

use std::time::Duration;

use fairlead::testing::wire::{Decoder, Piece, frame};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::target::Target;
use super::transcript::Names;

/// Nothing came for this long: nothing more does, from a real one with little of the machine.
const SILENCE: Duration = Duration::from_secs(2);
const PING: &str = r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#;

pub(crate) async fn run(target: &Target) -> Vec<String> {
    let all = all();
    let mut lines = vec![String::new(); all.len()];
    for chunk in (0..all.len()).collect::<Vec<_>>().chunks(24) {
        let mut tasks = tokio::task::JoinSet::new();
        for &n in chunk {
            let (name, bytes, fin) = all[n].clone();
            let addr = target.addr();
            tasks.spawn(async move { (n, format!("{name}: {}", one(addr, &bytes, fin).await)) });
        }
        while let Some(done) = tasks.join_next().await {
            let (n, line) = done.unwrap();
            lines[n] = line;
        }
    }
    lines
}

async fn one(addr: std::net::SocketAddr, bytes: &[u8], fin: bool) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    if fin {
        stream.shutdown().await.unwrap();
    }
    let mut decoder = Decoder::default();
    let end = loop {
        match tokio::time::timeout(SILENCE, stream.read_buf(decoder.buffer())).await {
            Err(_) => break "open".to_owned(),
            Ok(Ok(0)) => break "FIN".to_owned(),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => break error.kind().to_string(),
        }
    };
    let mut answers = Vec::new();
    while let Some(Piece::Body(body)) = decoder.next_piece() {
        let value: Value = serde_json::from_slice(&body).unwrap();
        let text = Names::default().value(&value).to_string();
        // How much was buffered when the header became too long is up to TCP.
        answers.push(match text.split_once("(buffered ") {
            Some((head, _)) => head.to_owned(),
            None => text,
        });
    }
    // Requests of one connection are answered in any order.
    answers.sort();
    format!("{end} {}", answers.join(" "))
}

type Case = (String, Vec<u8>, bool);

fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    let n = PING.len();
    for header in [
        format!("content-length:{n}"),
        format!("CONTENT-LENGTH: {n}  "),
        format!("Content-Length: +{n}"),
        format!("Content-Length: {n}, 5"),
        format!("Content-Length: {n} junk"),
        format!("Content-Length: {n}.5"),
        format!("Content-Length: 000{n}"),
        format!("Content-Length : {n}"),
        format!("Content-Length:\r\n {n}"),
        format!("Content-Type: x; charset=utf-16\r\nContent-Length: {n}\r\nX-Foo: 1"),
        format!("Content-Length: 5\r\nContent-Length: {n}"),
        format!("Content-Length: {n}\r\nContent-Length: 2"),
        "X: 1".to_owned(),
        "Content-Length:".to_owned(),
        "Content-Length: abc".to_owned(),
        "Content-Length: -4".to_owned(),
        "Content-Length: 1e30".to_owned(),
        "Content-Length: 0x29".to_owned(),
        "Content-Length: 99999999999999999999999".to_owned(),
        ": 3".to_owned(),
        "hello".to_owned(),
        "GET / HTTP/1.1\r\nHost: x".to_owned(),
        "\r\nContent-Length: 2".to_owned(),
    ] {
        let bytes = format!("{header}\r\n\r\n{PING}").into_bytes();
        cases.push((format!("header {header:?}"), bytes, false));
    }
    let lf = format!("Content-Length: {n}\n\n{PING}").into_bytes();
    cases.push(("bare LF".to_owned(), lf, false));
    cases.push(("header without end".to_owned(), vec![b'a'; 70_000], false));
    let whole = frame(PING);
    // Not compared: a FIN right behind a whole request. An answer that is not out when the FIN is
    // read is lost, so whether it comes is a matter of milliseconds.
    cases.push(("half-close in a frame".to_owned(), whole[..whole.len() - 4].to_vec(), true));
    cases.push(("half-close at once".to_owned(), Vec::new(), true));
    let mut invalid = br#"{"jsonrpc":"2.0","id":1,"method":"pi"#.to_vec();
    invalid.push(0xff);
    invalid.extend_from_slice(b"\"}");
    let mut bytes = format!("Content-Length: {}\r\n\r\n", invalid.len()).into_bytes();
    bytes.extend(invalid);
    cases.push(("invalid UTF-8".to_owned(), bytes, false));
    for body in bodies() {
        let bytes = [frame(&body), frame(PING)].concat();
        let name = if body.len() > 150 { format!("{}..", &body[..60]) } else { body };
        cases.push((name, bytes, false));
    }
    cases
}

fn bodies() -> Vec<String> {
    let mut bodies: Vec<String> = [
        "",
        "{bad",
        "42",
        "null",
        "{}",
        "[]",
        "true",
        "\"x\"",
        r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
        r#"{"id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"nope","method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"m\u0065thod":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":5}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":""}"#,
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}"#,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{"code":1,"message":"m"}}"#,
        r#"{"jsonrpc":"2.0","method":"ping"}"#,
        r#"{"jsonrpc":"2.0","method":"nope"}"#,
        r#"{"jsonrpc":"2.0","method":"connect","params":{}}"#,
        r#"{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":7}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","extra":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"}x"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"message":"\ud800"}}"#,
    ]
    .map(str::to_owned)
    .to_vec();
    for id in [
        "\"\"",
        "\"a\"",
        "-3",
        "0",
        "9007199254740993",
        "-9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "1.5",
        "1e3",
        "1.0",
        "null",
        "true",
        "{}",
        "[]",
    ] {
        bodies.push(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#));
    }
    for params in ["[]", "null", "5", "\"x\"", r#"{"message":5}"#, r#"{"message":"a\"b"}"#] {
        bodies.push(request("ping", params));
    }
    for depth in [100, 125, 126, 200] {
        let nested = format!(r#"{{"x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        bodies.push(request("ping", &nested));
    }
    bodies.extend(handshakes().into_iter().chain(unknown()));
    bodies
}

fn request(method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)
}

fn handshakes() -> Vec<String> {
    [
        "{}",
        "[]",
        "null",
        r#"{"token":"x"}"#,
        r#"{"token":""}"#,
        r#"{"token":null}"#,
        r#"{"token":5}"#,
        r#"{"bogus":1}"#,
        r#"{"supportedTaskKinds":["client"]}"#,
        r#"{"supportedTaskKinds":["zzz"]}"#,
        r#"{"clientInfo":{"editorName":"x"}}"#,
        r#"{"clientInfo":{"bogus":1}}"#,
        r#"{"enableGitHubTelemetryForwarding":3}"#,
    ]
    .map(|params| request("connect", params))
    .to_vec()
}

fn unknown() -> Vec<String> {
    let mut bodies = vec![request("nope", "{}"), request("status.get", "{}")];
    for method in [
        "session.mode.get",
        "session.getMetadata",
        "session.detach",
        "session.destroy",
        "session.delete",
        "session.send",
        "session.resume",
        "session.getMessages",
        "session.abort",
        "session.shutdown",
        "session.tools.handlePendingToolCall",
        "session.permissions.handlePendingPermissionRequest",
    ] {
        for params in ["{}", r#"{"sessionId":5}"#, r#"{"sessionId":""}"#, r#"{"sessionId":"zz"}"#] {
            bodies.push(request(method, params));
        }
    }
    for id in ["a/b", "a.b", "a:b", "é"] {
        bodies.push(request("session.create", &format!(r#"{{"sessionId":"{id}"}}"#)));
    }
    bodies
}
