//! Requests to answers: one function per method, on the state alone. Unknown names and ids are
//! refused in the CLI's words.

use serde_json::{Value, json};

use super::disk::Stored;
use super::model::{Attach, Model, Out, Queued, Reply, fresh_id};
use super::{handshake, lists};
use crate::testing::wire::RpcError;

type Answer = Result<String, RpcError>;

const DONE: &str = r#"{"success":true}"#;
const NOT_DONE: &str = r#"{"success":false}"#;

/// Serves one request; its answer, now or later, is in the model's `out`.
pub(super) fn request(model: &mut Model, reply: Reply, params: &Value) {
    if model.leaving {
        model.answer(reply, Err(RpcError::new(-32000, "SERVER_SHUTTING_DOWN")));
        return;
    }
    let known = model.conns.get(&reply.conn).is_some_and(|conn| conn.authenticated);
    if !known && reply.method != "connect" {
        model.answer(reply, Err(RpcError::new(-32001, "AUTHENTICATION_REQUIRED")));
        return;
    }
    if reply.method == "session.abort" {
        return abort(model, reply, params);
    }
    if reply.method == "session.create" || reply.method == "session.resume" {
        return open(model, reply, params);
    }
    let conn = reply.conn;
    let answer = route(model, conn, &reply.method, params);
    model.answer(reply, answer);
}

fn route(model: &mut Model, conn: u64, method: &str, params: &Value) -> Answer {
    match method {
        "connect" => handshake::connect(model, conn, params),
        "ping" => Ok(handshake::ping(params)),
        "status.get" => Ok(format!(r#"{{"version":"{}","protocolVersion":3}}"#, model.version)),
        "session.list" | "sessions.list" => Ok(lists::list(model)),
        "session.getLastId" => Ok(lists::last_id(model)),
        "session.getForeground" => Ok("{}".to_owned()),
        "sessions.checkInUse" => Ok(lists::in_use(model, params)),
        "sessions.getClientMetadata" => Ok(lists::client_metadata(model, params)),
        "sessions.bulkDelete" => Ok(bulk_delete(model, params)),
        "sessions.fork" => fork(model, method, parameter(method, params)?),
        "session.getMetadata" => {
            let session = parameter(method, params)?;
            if session.is_empty() {
                return Err(failed(method, "Invalid sessionId: \"\""));
            }
            Ok(lists::metadata(model, session).unwrap_or("{}".to_owned()))
        }
        "session.getMessages" => lists::messages(model, parameter(method, params)?),
        "session.detach" => {
            model.detach(conn, parameter(method, params)?);
            Ok(DONE.to_owned())
        }
        "session.destroy" => {
            let done = model.detach(conn, parameter(method, params)?);
            Ok(if done { DONE } else { NOT_DONE }.to_owned())
        }
        "session.delete" => delete(model, parameter(method, params)?),
        "sessions.delete" => delete_exactly(model, method, parameter(method, params)?),
        "session.send" => send(model, &live(model, method, params)?, params),
        "session.mode.get" => {
            let session = live(model, method, params)?;
            let mode = model.live.get(&session).map(|live| live.mode.clone()).unwrap_or_default();
            Ok(format!("\"{mode}\""))
        }
        "session.metadata.isProcessing" => {
            let session = live(model, method, params)?;
            let processing = model.live.get(&session).is_some_and(|live| live.running);
            Ok(json!({ "processing": processing }).to_string())
        }
        "session.mode.set" => set_mode(model, &live(model, method, params)?, params),
        "session.name.get" => {
            let session = live(model, method, params)?;
            let name = model.live.get(&session).and_then(|live| live.summary.clone());
            Ok(json!({ "name": name }).to_string())
        }
        "session.permissions.handlePendingPermissionRequest" => {
            decide(model, &live(model, method, params)?, params)
        }
        "session.tools.handlePendingToolCall" => {
            live(model, method, params)?;
            tool_answer(model, params)
        }
        "session.shutdown" => {
            let session = live(model, method, params)?;
            model.evict(&session);
            Ok("null".to_owned())
        }
        "sessions.close" => {
            model.forget(parameter(method, params)?);
            Ok("{}".to_owned())
        }
        _ => Err(RpcError::new(-32601, format!("Unhandled method {method}"))),
    }
}

pub(super) fn failed(method: &str, why: &str) -> RpcError {
    RpcError::new(-32603, format!("Request {method} failed with message: {why}"))
}

fn parameter<'a>(method: &str, params: &'a Value) -> Result<&'a str, RpcError> {
    params
        .get("sessionId")
        .and_then(Value::as_str)
        .ok_or_else(|| failed(method, "Missing sessionId parameter"))
}

/// The id of a session in memory, matched exactly.
fn live(model: &Model, method: &str, params: &Value) -> Result<String, RpcError> {
    let Some(session) = params.get("sessionId").and_then(Value::as_str) else {
        return Err(failed(method, &format!("Missing sessionId in {method} request")));
    };
    if model.live.contains_key(session) {
        return Ok(session.to_owned());
    }
    Err(failed(method, &format!("Session not found for sessionId: {session}")))
}

fn open(model: &mut Model, reply: Reply, params: &Value) {
    let opened = if reply.method == "session.create" {
        create(model, params)
    } else {
        resume(model, reply.conn, params)
    };
    let (session, how) = match opened {
        Ok(opened) => opened,
        Err(error) => return model.answer(reply, Err(error)),
    };
    attach(model, reply, &session, how, params);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Opened {
    /// Brought to life blank.
    Blank,
    /// Created again while in memory.
    Again,
    /// Resumed, from memory or from the disk.
    Resumed { from_disk: bool },
}

fn valid(method: &str, session: &str) -> Result<(), RpcError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if session.is_empty() || session.len() > 250 || !session.bytes().all(plain) {
        let why = format!("Rejected {method} request with invalid sessionId: {session}");
        return Err(failed(method, &why));
    }
    Ok(())
}

fn create(model: &mut Model, params: &Value) -> Result<(String, Opened), RpcError> {
    let asked = params.get("sessionId").and_then(Value::as_str).unwrap_or_default();
    let session = if asked.is_empty() { fresh_id() } else { asked.to_owned() };
    valid("session.create", &session)?;
    if model.live.contains_key(&session) {
        return Ok((session, Opened::Again));
    }
    let live = model.enliven(&session, true);
    settle(live, params);
    model.lifecycle(&session, "created");
    Ok((session, Opened::Blank))
}

fn resume(model: &mut Model, conn: u64, params: &Value) -> Result<(String, Opened), RpcError> {
    let method = "session.resume";
    let asked = parameter(method, params)?;
    valid(method, asked)?;
    let found = model.disk.resolve(asked).filter(|id| {
        let sent = model.disk.lock().get(id).is_some_and(|stored| stored.summary.is_some());
        sent || model.live.contains_key(id)
    });
    let Some(session) = found else {
        let why = format!("Failed to load session events: Session not found: {asked}");
        return Err(failed(method, &why));
    };
    if let Some(live) = model.live.get(&session) {
        let others = || live.attached.iter().filter(|(other, _)| **other != conn);
        let clash = tools(params).into_iter().find(|t| others().any(|(_, a)| a.tools.contains(t)));
        if let Some(tool) = clash {
            let why = format!(
                "External tool name clash: {tool} already registered by another connection"
            );
            return Err(failed(method, &why));
        }
        return Ok((session, Opened::Resumed { from_disk: false }));
    }
    let live = model.enliven(&session, false);
    settle(live, params);
    Ok((session, Opened::Resumed { from_disk: true }))
}

fn settle(live: &mut super::model::Live, params: &Value) {
    let flag = |name: &str| params.get(name).and_then(Value::as_bool).unwrap_or(false);
    live.provider = params.get("provider").is_some_and(Value::is_object);
    live.model = params.get("model").and_then(Value::as_str).map(str::to_owned);
    live.streaming = flag("streaming");
    live.asks_permission = flag("requestPermission");
}

fn tools(params: &Value) -> Vec<String> {
    let list = params.get("tools").and_then(Value::as_array);
    let names = list.into_iter().flatten().filter_map(|tool| tool.get("name")?.as_str());
    names.map(str::to_owned).collect()
}

/// The answer, and what is told around it: all but the first `created` comes after it on the
/// connection that asked, before it on the others.
fn attach(model: &mut Model, reply: Reply, session: &str, how: Opened, params: &Value) {
    let flag = |name: &str| params.get(name).and_then(Value::as_bool).unwrap_or(false);
    let attach =
        Attach { hooks: flag("hooks"), user_input: flag("requestUserInput"), tools: tools(params) };
    let shared = elsewhere(model, session);
    let Some(live) = model.live.get_mut(session) else { return };
    let busy = live.running;
    live.attached.insert(reply.conn, attach);
    let answer = opened_json(session, live);
    let selected = live.model.clone();
    model.answer(reply, Ok(answer));
    match how {
        Opened::Blank => {
            let data = start_data(model, session, selected.as_deref(), shared);
            model.event(session, "session.start", &data);
            model.lifecycle(session, "created");
        }
        Opened::Again => model.lifecycle(session, "created"),
        Opened::Resumed { from_disk } => {
            let data = json!({
                "resumeTime": super::model::stamp(), "selectedModel": selected,
                "alreadyInUse": shared, "sessionWasActive": busy, "remoteSteerable": false,
            });
            model.event(session, "session.resume", &data);
            let title = model.live.get(session).and_then(|live| live.summary.clone());
            if let Some(title) = title.filter(|_| from_disk) {
                model.passing(session, "session.title_changed", &json!({ "title": title }));
            }
        }
    }
}

/// Whether another process has it in memory.
fn elsewhere(model: &Model, session: &str) -> bool {
    let other = |stored: &Stored| stored.holders.iter().any(|holder| *holder != model.serial);
    model.disk.lock().get(session).is_some_and(other)
}

fn start_data(model: &Model, session: &str, selected: Option<&str>, shared: bool) -> Value {
    let start = model.live.get(session).map(|live| live.start.clone()).unwrap_or_default();
    let mut data = json!({
        "sessionId": session, "version": 1, "producer": "copilot-agent",
        "copilotVersion": model.version, "startTime": start, "contextTier": null,
        "context": {"cwd": "/fake"}, "remoteSteerable": false, "alreadyInUse": shared,
    });
    if let (Some(map), Some(selected)) = (data.as_object_mut(), selected) {
        map.insert("selectedModel".to_owned(), selected.into());
    }
    data
}

fn opened_json(session: &str, live: &super::model::Live) -> String {
    let state = match &live.model {
        Some(model) => json!({ "modelId": model }),
        None => json!({}),
    };
    format!(
        concat!(
            r#"{{"sessionId":"{id}","nativeSessionId":"{id}","startTime":"{start}","isRemote":false,"#,
            r#""mode":"{mode}","workspacePath":"/fake/session-state/{id}","capabilities":{{"ui":"#,
            r#"{{"elicitation":false,"mcpApps":false,"canvases":false}},"extensions":false}},"#,
            r#""modelState":{state}}}"#
        ),
        id = session,
        start = live.start,
        mode = live.mode,
        state = state
    )
}

fn delete(model: &mut Model, asked: &str) -> Answer {
    let refuse = |why: String| Ok(json!({ "success": false, "error": why }).to_string());
    if asked.is_empty() {
        return refuse("Invalid sessionId".to_owned());
    }
    let Some(session) = model.disk.resolve(asked) else {
        return refuse(format!("Session file not found for {asked}"));
    };
    if !model.live.contains_key(&session) && elsewhere(model, &session) {
        return refuse(format!(
            "Cannot delete session {session}: it is currently in use by another process."
        ));
    }
    model.forget(&session);
    model.disk.lock().remove(&session);
    model.lifecycle(&session, "deleted");
    model.lifecycle(&session, "deleted");
    Ok(DONE.to_owned())
}

/// A copy on the disk, under an id of its own; told to nobody.
fn fork(model: &mut Model, method: &str, session: &str) -> Answer {
    let mut disk = model.disk.lock();
    let Some(stored) = disk.get(session).filter(|stored| stored.summary.is_some()).cloned() else {
        return Err(failed(method, &format!("Session not found: {session}")));
    };
    let id = fresh_id();
    disk.insert(id.clone(), Stored { holders: Default::default(), ..stored });
    Ok(json!({ "sessionId": id }).to_string())
}

/// By its whole id; told once.
fn delete_exactly(model: &mut Model, method: &str, session: &str) -> Answer {
    if !model.disk.lock().contains_key(session) {
        return Err(failed(method, &format!("Session file not found for {session}")));
    }
    if !model.live.contains_key(session) && elsewhere(model, session) {
        let why =
            format!("Cannot delete session {session}: it is currently in use by another process.");
        return Err(failed(method, &why));
    }
    model.forget(session);
    model.disk.lock().remove(session);
    model.lifecycle(session, "deleted");
    Ok("{}".to_owned())
}

/// What each was freed of, in bytes.
fn bulk_delete(model: &mut Model, params: &Value) -> String {
    let mut freed = serde_json::Map::new();
    for id in lists::named(params) {
        let bytes: usize = model.disk.events(id).iter().map(|event| event.text.len()).sum();
        freed.insert(id.to_owned(), bytes.into());
        model.forget(id);
        model.disk.lock().remove(id);
        model.lifecycle(id, "deleted");
    }
    json!({ "freedBytes": freed }).to_string()
}

fn send(model: &mut Model, session: &str, params: &Value) -> Answer {
    let prompt = params.get("prompt").and_then(Value::as_str).unwrap_or_default().to_owned();
    let message = fresh_id();
    model.passing(session, "pending_messages.modified", &json!({}));
    if let Some(live) = model.live.get_mut(session) {
        let delivery = if live.running { "queued" } else { "idle" };
        live.queue.push_back(Queued { message: message.clone(), prompt, delivery });
        if !live.running {
            live.running = true;
            let epoch = live.epoch;
            model.out.push(Out::Drive { session: session.to_owned(), epoch });
        }
    }
    Ok(format!(r#"{{"messageId":"{message}"}}"#))
}

fn abort(model: &mut Model, reply: Reply, params: &Value) {
    let session = match live(model, &reply.method, params) {
        Ok(session) => session,
        Err(error) => return model.answer(reply, Err(error)),
    };
    let Some(live) = model.live.get_mut(&session) else { return };
    if !live.running {
        return model.answer(reply, Ok(DONE.to_owned()));
    }
    live.queue.clear();
    live.abort_replies.push(reply);
    let first = !live.abort.send_replace(true);
    if first {
        model.event(&session, "abort", &json!({"reason": "user_initiated"}));
    }
}

fn set_mode(model: &mut Model, session: &str, params: &Value) -> Answer {
    let mode = params.get("mode").and_then(Value::as_str).unwrap_or_default();
    if !["interactive", "plan", "autopilot"].contains(&mode) {
        let why =
            format!("unknown variant `{mode}`, expected one of `interactive`, `plan`, `autopilot`");
        return Err(failed("session.mode.set", &why));
    }
    let Some(live) = model.live.get_mut(session) else { return Ok("{}".to_owned()) };
    let before = std::mem::replace(&mut live.mode, mode.to_owned());
    if before != mode {
        let data = json!({ "previousMode": before, "newMode": mode });
        model.event(session, "session.mode_changed", &data);
    }
    Ok(r#"{"status":"unchanged","modelChanged":false,"modeApplied":true}"#.to_owned())
}

fn request_id(params: &Value) -> &str {
    params.get("requestId").and_then(Value::as_str).unwrap_or_default()
}

fn decide(model: &mut Model, session: &str, params: &Value) -> Answer {
    let waiting =
        model.live.get_mut(session).and_then(|live| live.permissions.remove(request_id(params)));
    Ok(hand_over(waiting, params).to_owned())
}

/// Looks in every session: the CLI does not check whose request it is.
fn tool_answer(model: &mut Model, params: &Value) -> Answer {
    let waiting = model.live.values_mut().find_map(|live| live.tools.remove(request_id(params)));
    Ok(hand_over(waiting, params).to_owned())
}

fn hand_over(waiting: Option<tokio::sync::oneshot::Sender<Value>>, params: &Value) -> &'static str {
    let Some(waiting) = waiting else { return NOT_DONE };
    if waiting.send(params.clone()).is_ok() { DONE } else { NOT_DONE }
}
