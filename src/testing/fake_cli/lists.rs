//! Reads over all sessions: lists, metadata, messages. Changes nothing.

use serde_json::{Value, json};

use super::disk::Stored;
use super::model::Model;
use super::serve::failed;
use crate::testing::wire::RpcError;

fn entry(id: &str, stored: &Stored) -> Option<String> {
    let summary = Value::from(stored.summary.as_deref()?);
    Some(format!(
        concat!(
            r#"{{"sessionId":"{}","startTime":"{}","modifiedTime":"{}","isRemote":false,"isDetached":false,"#,
            r#""summary":{},"name":{},"clientName":"sdk","context":{{"cwd":"/fake"}}}}"#
        ),
        id, stored.start, stored.modified, summary, summary
    ))
}

/// Everything on the disk that had a message, the latest first.
pub(super) fn list(model: &Model) -> String {
    let disk = model.disk.lock();
    let mut all: Vec<(&String, &Stored)> = disk.iter().collect();
    all.sort_by(|(_, a), (_, b)| b.modified.cmp(&a.modified));
    let texts: Vec<String> = all.into_iter().filter_map(|(id, s)| entry(id, s)).collect();
    format!(r#"{{"sessions":[{}]}}"#, texts.join(","))
}

/// The latest of them, or `{}`.
pub(super) fn last_id(model: &Model) -> String {
    let disk = model.disk.lock();
    let sent = disk.iter().filter(|(_, stored)| stored.summary.is_some());
    match sent.max_by(|(_, a), (_, b)| a.modified.cmp(&b.modified)) {
        Some((id, _)) => json!({ "sessionId": id }).to_string(),
        None => "{}".to_owned(),
    }
}

/// `{session: ..}` of one on the disk.
pub(super) fn metadata(model: &Model, session: &str) -> Option<String> {
    let text = entry(session, model.disk.lock().get(session)?)?;
    Some(format!(r#"{{"session":{text}}}"#))
}

/// The ids that a request names.
pub(super) fn named(params: &Value) -> impl Iterator<Item = &str> {
    let ids = params.get("sessionIds").and_then(Value::as_array);
    ids.into_iter().flatten().filter_map(Value::as_str)
}

/// What clients noted of each session: nothing, where there is one.
pub(super) fn client_metadata(model: &Model, params: &Value) -> String {
    let disk = model.disk.lock();
    let one = |id: &str| match disk.contains_key(id) {
        true => json!({ "sessionId": id, "status": "ok", "metadata": {} }),
        false => json!({ "sessionId": id, "status": "notFound" }),
    };
    Value::from_iter(named(params).map(one)).to_string()
}

/// Which of the ids other processes have in memory.
pub(super) fn in_use(model: &Model, params: &Value) -> String {
    let disk = model.disk.lock();
    let other = |id: &&str| {
        disk.get(*id).is_some_and(|s| s.holders.iter().any(|holder| *holder != model.serial))
    };
    let ids: Vec<&str> = named(params).filter(other).collect();
    json!({ "inUse": ids }).to_string()
}

/// The history of a session in memory.
pub(super) fn messages(model: &Model, session: &str) -> Result<String, RpcError> {
    let Some(live) = model.live.get(session) else {
        return Err(failed("session.getMessages", &format!("Session not found: {session}")));
    };
    let texts: Vec<&str> = live.history.iter().map(|event| event.text.as_str()).collect();
    Ok(format!(r#"{{"events":[{}]}}"#, texts.join(",")))
}
