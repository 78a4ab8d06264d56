//! What a turn asks of clients: hooks, permissions, tools, questions. Waits without a time limit.

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::model::{Attach, fresh_id};
use super::turn::{End, Speech, Turn};

type Asked = oneshot::Receiver<Result<Value, Value>>;

/// Asks those attached that take such requests.
fn ask(turn: &Turn, method: &str, params: &Value, takes: fn(&Attach) -> bool) -> Vec<Asked> {
    let asked = turn.with(|model| {
        let live = model.live.get(&turn.session)?;
        let takers = live.attached.iter().filter(|(_, attach)| takes(attach));
        let takers: Vec<u64> = takers.map(|(conn, _)| *conn).collect();
        Some(takers.into_iter().filter_map(|conn| model.ask(conn, method, params)).collect())
    });
    asked.flatten().unwrap_or_default()
}

/// Asks every attached connection that has hooks, and waits for ALL of them; an abort does not help.
pub(super) async fn hook(turn: &Turn, kind: &str, input: Value) {
    let hooked = turn.live(|live| live.attached.values().any(|attach| attach.hooks));
    if hooked != Some(true) {
        return;
    }
    let invocation = fresh_id();
    let data = json!({"hookInvocationId": invocation, "hookType": kind, "input": input});
    turn.event("hook.start", data);
    let params = json!({"sessionId": turn.session, "hookType": kind, "input": input});
    let asked = ask(turn, "hooks.invoke", &params, |attach| attach.hooks);
    for answer in asked {
        // An error is as good as an answer, and a connection that is gone owes none.
        let _ = answer.await;
    }
    let data = json!({"hookInvocationId": invocation, "hookType": kind, "success": true});
    turn.event("hook.end", data);
}

/// Calls a tool: what it said, or how the turn ended instead.
pub(super) async fn call(turn: &Turn, name: &str, written: &str) -> Result<String, End> {
    let call = format!("call_{}", fresh_id());
    let args: Value = serde_json::from_str(written).unwrap_or_default();
    announce(turn, &call, name, written, &args);
    hook(turn, "preToolUse", json!({"toolName": name, "toolArgs": args})).await;
    let outcome = if name == "ask_user" {
        ask_user(turn, &args).await
    } else {
        permitted(turn, &call, name, &args).await?;
        external(turn, &call, name, &args).await?
    };
    hook(turn, "postToolUse", json!({"toolName": name, "toolArgs": args})).await;
    complete(turn, &call, Ok(&outcome));
    Ok(outcome)
}

fn announce(turn: &Turn, call: &str, name: &str, written: &str, args: &Value) {
    if turn.live(|live| live.streaming) == Some(true) {
        turn.streamed(name.len() + written.len());
        let data = json!({
            "toolCallId": call, "toolName": name, "toolType": "function",
            "inputDelta": written,
        });
        turn.passing("assistant.tool_call_delta", data);
    }
    let request = json!({"toolCallId": call, "name": name, "arguments": args, "type": "function"});
    Speech::new(turn).end("0", &[request]);
    let data = json!({"toolCallId": call, "toolName": name, "arguments": args, "turnId": "0"});
    turn.event("tool.execution_start", data);
}

fn complete(turn: &Turn, call: &str, outcome: Result<&str, Value>) {
    let data = match outcome {
        Ok(text) => json!({
            "toolCallId": call, "interactionId": turn.interaction, "turnId": "0",
            "success": true,
            "result": {"content": text, "detailedContent": text},
        }),
        Err(error) => {
            json!({
                "toolCallId": call, "interactionId": turn.interaction, "turnId": "0",
                "success": false, "error": error,
            })
        }
    };
    turn.event("tool.execution_complete", data);
}

async fn permitted(turn: &Turn, call: &str, name: &str, args: &Value) -> Result<(), End> {
    if turn.live(|live| live.asks_permission) != Some(true) {
        return Ok(());
    }
    let kind = if name == "bash" { "shell" } else { "custom-tool" };
    let request = json!({"kind": kind, "toolCallId": call, "toolName": name, "args": args});
    let id = fresh_id();
    let (tx, rx) = oneshot::channel();
    turn.live(|live| live.permissions.insert(id.clone(), tx));
    turn.event(
        "permission.requested",
        json!({
            "requestId": id, "permissionRequest": request, "promptRequest": request,
            "agentMode": "interactive", "permissionMode": "manual",
            "ownerSessionId": turn.session,
        }),
    );
    let decision = tokio::select! {
        decision = rx => decision.map_err(|_| End::Gone)?,
        () = turn.aborted() => return Err(End::Aborted),
    };
    let kind = match decision.pointer("/result/kind").and_then(Value::as_str) {
        Some("approve-once") => "approved",
        Some("reject") => "denied-interactively-by-user",
        other => other.unwrap_or("user-not-available"),
    };
    let data = json!({"requestId": id, "toolCallId": call, "result": {"kind": kind}});
    turn.event("permission.completed", data);
    if kind == "approved" {
        return Ok(());
    }
    let error = json!({"message": "The user rejected this tool call.", "code": "rejected"});
    complete(turn, call, Err(error));
    Err(End::Rejected)
}

async fn external(turn: &Turn, call: &str, name: &str, args: &Value) -> Result<String, End> {
    let id = fresh_id();
    let (tx, rx) = oneshot::channel();
    turn.live(|live| live.tools.insert(id.clone(), tx));
    turn.event(
        "external_tool.requested",
        json!({
            "requestId": id, "sessionId": turn.session, "toolCallId": call, "toolName": name,
            "arguments": args, "workingDirectory": "/fake",
        }),
    );
    let answer = tokio::select! {
        answer = rx => Ok(answer.map_err(|_| End::Gone)?),
        () = turn.aborted() => Err(End::Aborted),
    };
    turn.live(|live| live.tools.remove(&id));
    turn.event("external_tool.completed", json!({ "requestId": id }));
    answer.map(|answer| text_of(&answer))
}

fn text_of(answer: &Value) -> String {
    let result = answer.get("result").or_else(|| answer.get("error")).unwrap_or(&Value::Null);
    match result.as_str().or_else(|| result.get("textResultForLlm")?.as_str()) {
        Some(text) => text.to_owned(),
        None => result.to_string(),
    }
}

/// Asks every attached connection that takes questions; the first answer counts.
async fn ask_user(turn: &Turn, args: &Value) -> String {
    let id = fresh_id();
    let (question, choices) = (args.get("question"), args.get("choices"));
    let data = json!({
        "requestId": id, "question": question, "choices": choices, "allowFreeform": true,
    });
    turn.passing("user_input.requested", data);
    let params = json!({
        "sessionId": turn.session, "question": question, "choices": choices, "allowFreeform": true,
    });
    let asked = ask(turn, "userInput.request", &params, |attach| attach.user_input);
    let answer = first(asked).await;
    let text = answer.as_ref().and_then(|answer| answer.get("answer")?.as_str());
    let Some(text) = text else {
        return "The user was unable to respond due to an error".to_owned();
    };
    let data = json!({"requestId": id, "answer": text, "wasFreeform": true});
    turn.passing("user_input.completed", data);
    format!("User responded: {text}")
}

/// The first result of several; `None` where all failed.
async fn first(asked: Vec<Asked>) -> Option<Value> {
    let mut asked = asked;
    std::future::poll_fn(|cx| {
        let mut won = None;
        asked.retain_mut(|answer| match std::pin::Pin::new(answer).poll(cx) {
            std::task::Poll::Ready(Ok(Ok(value))) => {
                won.get_or_insert(value);
                false
            }
            std::task::Poll::Ready(_) => false,
            std::task::Poll::Pending => true,
        });
        match won {
            Some(value) => std::task::Poll::Ready(Some(value)),
            None if asked.is_empty() => std::task::Poll::Ready(None),
            None => std::task::Poll::Pending,
        }
    })
    .await
}
