//! `connect` and `ping`: what may be said before anything else. Never closes a connection.

use serde_json::Value;

use super::model::Model;
use crate::testing::wire::RpcError;

const FIELDS: [&str; 3] = ["enableGitHubTelemetryForwarding", "clientInfo", "supportedTaskKinds"];
const INFO: [&str; 4] = ["editorName", "editorVersion", "extensionName", "extensionVersion"];
const KINDS: [&str; 3] = ["agent", "shell", "client"];

/// `pong`, or `pong: MESSAGE`.
pub(super) fn ping(params: &Value) -> String {
    let message = match params.get("message").and_then(Value::as_str) {
        Some(message) => format!("pong: {message}"),
        None => "pong".to_owned(),
    };
    let now = humantime::format_rfc3339_nanos(crate::time::wall());
    let message = Value::from(message);
    format!(r#"{{"message":{message},"timestamp":"{now}","protocolVersion":3}}"#)
}

/// Token first, then the fields.
pub(super) fn connect(model: &mut Model, conn: u64, params: &Value) -> Result<String, RpcError> {
    check_token(model, params)?;
    let client = check_fields(params)
        .map_err(|why| RpcError::new(-32602, format!("Invalid connect request: {why}")))?;
    if let Some(conn) = model.conns.get_mut(&conn) {
        conn.authenticated = true;
    }
    let kinds = if client { r#"["agent","shell","client"]"# } else { r#"["agent","shell"]"# };
    let version = &model.version;
    Ok(format!(r#"{{"ok":true,"protocolVersion":3,"version":"{version}","taskKinds":{kinds}}}"#))
}

fn check_token(model: &Model, params: &Value) -> Result<(), RpcError> {
    let given = params.get("token").and_then(Value::as_str).filter(|token| !token.is_empty());
    match (&model.token, given) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(RpcError::new(-32003, "AUTHENTICATION_NOT_CONFIGURED")),
        (Some(want), Some(given)) if want == given => Ok(()),
        (Some(_), _) => Err(RpcError::new(-32002, "AUTHENTICATION_FAILED")),
    }
}

fn one_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    format!("expected one of {}", quoted.join(", "))
}

fn only(object: &Value, names: &[&str]) -> Result<(), String> {
    let keys = object.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    match keys.filter(|key| *key != "token").find(|key| !names.contains(key)) {
        Some(key) => Err(format!("unknown field `{key}`, {}", one_of(names))),
        None => Ok(()),
    }
}

/// Whether `client` is among the task kinds asked for.
fn check_fields(params: &Value) -> Result<bool, String> {
    only(params, &FIELDS)?;
    if let Some(info) = params.get("clientInfo") {
        only(info, &INFO)?;
    }
    let forwarding = params.get("enableGitHubTelemetryForwarding").unwrap_or(&Value::Null);
    if let Value::Number(number) = forwarding {
        return Err(format!("invalid type: integer `{number}`, expected a boolean"));
    }
    let kinds = params.get("supportedTaskKinds").and_then(Value::as_array);
    let kinds: Vec<&str> = kinds.into_iter().flatten().filter_map(Value::as_str).collect();
    match kinds.iter().find(|kind| !KINDS.contains(kind)) {
        Some(kind) => Err(format!("unknown variant `{kind}`, {}", one_of(&KINDS))),
        None => Ok(kinds.contains(&"client")),
    }
}
