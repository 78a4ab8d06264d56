//! `connect` and `ping`, both ways: the client's we answer, ours opens each link.

use std::fmt::Write as _;

use super::reply::Code;
use super::{Action, Hello, Mux, Now, Outcome, Ticket, Waiting};
use crate::error::{Reason, Refusal, push_json_string};
use crate::id::{LinkId, RawId};
use crate::rpc::json::{self, Span};
use crate::rpc::message::Call;
use crate::time::Instant;

/// The id of our own `connect` on a link. Nothing else goes out before its answer, so it meets no other.
pub(super) const OURS: &str = "\"fairlead\"";

impl Mux {
    pub(super) fn client_connect(&mut self, id: &RawId, body: &[u8], call: &Call<'_>, now: Now) {
        match read_connect(body, call.params) {
            Err(Bad::Token) => {
                let message = "AUTHENTICATION_NOT_CONFIGURED";
                self.invalid(id, Code::AuthenticationNotConfigured, message, now.at);
            }
            Err(Bad::Field(what)) => {
                let message = format!("Invalid connect request: {what}");
                self.invalid(id, Code::InvalidParams, &message, now.at);
            }
            Ok(fields) => {
                self.greeting = Some(fields.into_boxed_str());
                let ticket = self.ticket(Waiting::Greet(id.clone()));
                self.wait_for(id, ticket);
                self.actions.push_back(Action::Greet(ticket));
            }
        }
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

    /// The connection of a link is made: our `connect` goes out, alone.
    pub fn link_opened(&mut self, id: LinkId) {
        let mut params = String::from("{");
        if let Some(token) = &self.settings.token {
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
            let mut held = std::mem::take(&mut link.held);
            return link.out.append(&mut held);
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

/// The types of `connect`'s fields, as a CLI has them.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "only whether they can be read matters")]
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

/// What is wrong with a field, in words.
fn check<'a, T: serde::Deserialize<'a>>(raw: &'a [u8]) -> Result<(), Bad> {
    serde_json::from_slice::<Option<T>>(raw).map(drop).map_err(|why| Bad::Field(why.to_string()))
}

enum Bad {
    Token,
    Field(String),
}

/// The members of the client's `connect` that its links may repeat. As strict as a CLI is.
fn read_connect(body: &[u8], params: Option<Span>) -> Result<String, Bad> {
    let mut fields = String::new();
    let mut bad = None;
    let Some(params) = params else { return Ok(fields) };
    let _ = json::members(body, params, |key, value| {
        let (name, raw) = (key.inner.of(body), value.of(body));
        match name {
            b"token" if raw != b"null" => bad = Some(Bad::Token),
            b"token" => {}
            // Telemetry of all sessions of all clients: nobody behind us gets that.
            b"enableGitHubTelemetryForwarding" => bad = bad.take().or(check::<bool>(raw).err()),
            b"clientInfo" | b"supportedTaskKinds" => {
                let checked = match name {
                    b"clientInfo" => check::<ClientInfo>(raw),
                    _ => check::<Vec<TaskKind>>(raw),
                };
                bad = bad.take().or(checked.err());
                fields.push_str(if fields.is_empty() { "" } else { "," });
                let (name, raw) = (String::from_utf8_lossy(name), String::from_utf8_lossy(raw));
                let _ = write!(fields, r#""{name}":{raw}"#);
            }
            _ => {
                let name = String::from_utf8_lossy(name);
                bad = Some(Bad::Field(format!("unknown field `{name}`")));
            }
        }
    });
    bad.map_or(Ok(fields), Err)
}

fn asks_for_client_tasks(fields: &str) -> bool {
    let object = format!("{{{fields}}}");
    let kinds =
        json::member(object.as_bytes(), Span { start: 0, end: object.len() }, "supportedTaskKinds");
    kinds.is_some_and(|k| memchr::memmem::find(k.of(object.as_bytes()), b"\"client\"").is_some())
}
