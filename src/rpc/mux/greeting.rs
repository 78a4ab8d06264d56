//! `connect` and `ping`, both ways: the client's we answer, ours opens each link.

use std::fmt::Write as _;

use super::reply::Code;
use super::{Action, Hello, LinkToken, Mux, Now, Outcome, Ticket, Token, Waiting};
use crate::error::{Reason, Refusal, push_json_string};
use crate::id::{LinkId, RawId};
use crate::rpc::json::{self, Span};
use crate::rpc::message::Call;
use crate::time::Instant;

/// The id of our own `connect` on a link. Nothing else goes out before its answer, so it meets no other.
pub(super) const OURS: &str = "\"fairlead\"";

impl Mux {
    pub(super) fn client_connect(&mut self, id: &RawId, body: &[u8], call: &Call<'_>, now: Now) {
        let takes_token = self.takes_tokens();
        match read_connect(body, call.params, takes_token) {
            Err(Bad::Token) => {
                let message = "AUTHENTICATION_NOT_CONFIGURED";
                self.invalid(id, Code::AuthenticationNotConfigured, message, now.at);
            }
            Err(Bad::Field(what)) => {
                let message = format!("Invalid connect request: {what}");
                self.invalid(id, Code::InvalidParams, &message, now.at);
            }
            Ok((fields, token)) if takes_token => {
                self.authenticate(id, token, fields.into_boxed_str());
            }
            Ok((fields, _)) => self.greet(id, fields.into_boxed_str()),
        }
    }

    /// The client may be greeted, as soon as a CLI has answered for the pool.
    pub(super) fn greet(&mut self, id: &RawId, fields: Box<str>) {
        self.greeting = Some(fields);
        let ticket = self.ticket(Waiting::Greet(id.clone()));
        self.wait_for(id, ticket);
        self.actions.push_back(Action::Greet(ticket));
    }

    /// What the pool's CLIs say of themselves, or that none has answered.
    pub fn greeted(&mut self, ticket: Ticket, hello: Option<&Hello>, now: Instant) {
        let Some(Waiting::Greet(id)) = self.waiting.remove(&ticket) else { return };
        let Some(hello) = hello else {
            let refusal = Refusal::new(Reason::NoUpstream, "no CLI has answered yet");
            return self.refuse(&id, &refusal, now);
        };
        let asked_client = self.greeting.as_deref().is_some_and(asks_for_client_tasks);
        let mut result = format!(r#"{{"ok":true,"protocolVersion":{},"version":"#, hello.protocol);
        push_json_string(&mut result, &hello.version);
        result.push_str(r#","taskKinds":["#);
        let kinds = hello.task_kinds.iter().map(String::as_str);
        let kinds = kinds.filter(|k| *k != "client").chain(asked_client.then_some("client"));
        for (n, kind) in kinds.enumerate() {
            result.push_str(if n > 0 { "," } else { "" });
            push_json_string(&mut result, kind);
        }
        result.push_str("]}");
        if self.settle(id.as_bytes(), Outcome::Ok, now).is_some() {
            self.write_result(id.as_str(), result.as_bytes());
        }
    }

    pub(super) fn client_ping(&mut self, id: &RawId, body: &[u8], call: &Call<'_>, now: Now) {
        let message = call.params.and_then(|p| json::member(body, p, "message"));
        let message = message.and_then(|m| json::text_at(body, m));
        let text = message.map_or_else(|| "pong".to_owned(), |m| format!("pong: {m}"));
        let mut result = String::from(r#"{"message":"#);
        push_json_string(&mut result, &text);
        let at = humantime::format_rfc3339_millis(now.wall);
        let _ = write!(result, r#","timestamp":"{at}","protocolVersion":3}}"#);
        if self.settle(id.as_bytes(), Outcome::Ok, now.at).is_some() {
            self.write_result(id.as_str(), result.as_bytes());
        }
    }

    /// The connection of a link is made: our `connect` goes out, alone. `token`: what its CLI wants to hear.
    pub fn link_opened(&mut self, id: LinkId, token: Option<&LinkToken>) {
        let mut params = String::from("{");
        if let Some(token) = token {
            params.push_str(r#""token":"#);
            push_json_string(&mut params, &token.0);
        }
        if let Some(fields) = self.greeting.as_deref().filter(|f| !f.is_empty()) {
            params.push_str(if params.len() > 1 { "," } else { "" });
            params.push_str(fields);
        }
        params.push('}');
        let Some(link) = self.link_mut(id) else { return };
        link.phase = super::LinkPhase::Greeting;
        let head = br#"{"jsonrpc":"2.0","id":"fairlead","method":"connect","params":"#;
        link.out.parts(&[head, params.as_bytes(), b"}"]);
    }

    /// The answer to our `connect`: the link is ready, or of no use.
    pub(super) fn link_greeted(&mut self, id: LinkId, body: &[u8], failed: bool, now: Now) {
        const NO_SUCH_METHOD: i64 = Code::MethodNotFound as i64;
        let Some(link) = self.link_mut(id) else { return };
        let upstream = link.upstream;
        let code = if failed { error_code(body).unwrap_or_default() } else { NO_SUCH_METHOD };
        // A CLI that knows no `connect` wants none.
        if code == NO_SUCH_METHOD {
            link.phase = super::LinkPhase::Ready;
            link.ready_at = Some(now.at);
            let took = now.at.saturating_duration_since(link.since);
            let mut held = std::mem::take(&mut link.held);
            link.out.append(&mut held);
            self.connected.get_or_insert(took);
            return;
        }
        if (-32003..=-32001).contains(&code) {
            self.actions.push_back(Action::Misconfigured(upstream, code));
        }
        self.link_lost(id, now);
    }
}

/// `error.code` of a response.
pub(super) fn error_code(body: &[u8]) -> Option<i64> {
    let error = json::member(body, super::super::message::whole(body), "error")?;
    let code = json::member(body, error, "code")?;
    std::str::from_utf8(code.of(body)).ok()?.parse().ok()
}

/// It is kept as long as the conn, and repeated on each link.
const MAX_CONNECT: usize = 16 * 1024;

/// As a CLI reads it, so that mistakes are told in its words.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read only to be judged")]
struct ConnectRequest {
    #[serde(rename = "enableGitHubTelemetryForwarding")]
    enable_github_telemetry_forwarding: Option<bool>,
    client_info: Option<ClientInfo>,
    supported_task_kinds: Option<Vec<TaskKind>>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read only to be judged")]
struct ClientInfo {
    editor_name: Option<String>,
    editor_version: Option<String>,
    extension_name: Option<String>,
    extension_version: Option<String>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum TaskKind {
    Agent,
    Shell,
    Client,
}

enum Bad {
    Token,
    Field(String),
}

/// The members of the client's `connect` that its links repeat.
fn read_connect(
    body: &[u8],
    params: Option<Span>,
    takes_token: bool,
) -> Result<(String, Option<Token>), Bad> {
    let Some(params) = params else { return Ok((String::new(), None)) };
    if params.end - params.start > MAX_CONNECT {
        return Err(Bad::Field(format!("more than {MAX_CONNECT} bytes")));
    }
    let mut value: serde_json::Value =
        serde_json::from_slice(params.of(body)).map_err(|error| Bad::Field(error.to_string()))?;
    // Only a token that is a text is one.
    let token = match value.as_object_mut().and_then(|params| params.remove("token")) {
        Some(serde_json::Value::String(token)) => Some(Token(token)),
        Some(_) | None => None,
    };
    if token.is_some() && !takes_token {
        return Err(Bad::Token);
    }
    serde_json::from_value::<ConnectRequest>(value).map_err(|e| Bad::Field(e.to_string()))?;
    // Not `enableGitHubTelemetryForwarding`: that is telemetry of all sessions of all clients.
    let mut fields = String::new();
    for name in ["clientInfo", "supportedTaskKinds"] {
        if let Some(value) = json::member(body, params, name) {
            let comma = if fields.is_empty() { "" } else { "," };
            let raw = String::from_utf8_lossy(value.of(body));
            let _ = write!(fields, r#"{comma}"{name}":{raw}"#);
        }
    }
    Ok((fields, token))
}

/// Whether a method is the one that a stranger may call.
pub(super) fn greets(method: &str) -> bool {
    method == "connect"
}

fn asks_for_client_tasks(fields: &str) -> bool {
    let object = format!("{{{fields}}}");
    let kinds =
        json::member(object.as_bytes(), Span { start: 0, end: object.len() }, "supportedTaskKinds");
    kinds.is_some_and(|k| memchr::memmem::find(k.of(object.as_bytes()), b"\"client\"").is_some())
}
