//! The script: what a client could do to sessions, step by step.

use serde_json::{Value, json};

use super::target::Target;
use super::transcript::Script;

fn of(session: &str) -> Value {
    json!({ "sessionId": session })
}

pub(crate) async fn token(target: &Target) -> Vec<String> {
    let mut s = Script::new(target, "A").await;
    s.call('A', "ping", json!({})).await;
    s.call('A', "nope", json!({})).await;
    for token in [json!("wrong"), json!(""), Value::Null, json!(5)] {
        s.call('A', "connect", json!({ "token": token })).await;
    }
    s.client('A').notify("connect", json!({"token": "t0k"})).await.unwrap();
    s.call('A', "ping", json!({})).await;
    s.call('A', "connect", json!({"token": "t0k", "supportedTaskKinds": ["client"]})).await;
    s.call('A', "connect", json!({"token": "wrong"})).await;
    s.call('A', "status.get", json!({})).await;
    s.connect('B').await;
    let created = s.with("s1", json!({}));
    s.call('A', "session.create", created).await;
    s.step("a create that an unauthenticated connection must not hear of").await;
    s.lines
}

pub(crate) async fn sessions(target: &Target) -> Vec<String> {
    let mut s = Script::new(target, "AB").await;
    for (method, params) in [
        ("session.list", json!({})),
        ("session.getLastId", json!({})),
        ("session.getForeground", json!({})),
    ] {
        s.call('A', method, params).await;
    }
    let first = s.with("s1", json!({}));
    s.call('A', "session.create", first.clone()).await;
    s.step("create").await;
    s.call('B', "session.list", json!({})).await;
    s.call('B', "session.getMetadata", of("s1")).await;
    s.call('B', "session.mode.get", of("s1")).await;
    s.call('B', "session.getMessages", of("s1")).await;
    s.call('B', "session.destroy", of("s1")).await;
    s.call('B', "session.detach", of("s1")).await;
    s.step("reads of an unsent session by one not attached").await;
    s.call('A', "session.create", first.clone()).await;
    s.step("create of a live id").await;
    s.call('A', "session.detach", of("s1")).await;
    s.call('A', "session.mode.get", of("s1")).await;
    s.call('A', "session.resume", first.clone()).await;
    s.step("detach of an unsent session, and its resume").await;
    stored(&mut s).await;
    prefixes(&mut s).await;
    made_ids(&mut s).await;
    s.lines
}

async fn stored(s: &mut Script<'_>) {
    let params = s.with("s2", json!({}));
    s.call('A', "session.create", params.clone()).await;
    s.send('A', "s2", "hello there").await;
    s.event('A', "session.idle").await;
    s.step("a first turn").await;
    s.call('B', "session.list", json!({})).await;
    s.call('B', "session.getMetadata", of("s2")).await;
    s.call('B', "session.getLastId", json!({})).await;
    s.call('B', "session.mode.set", json!({"sessionId": "s2", "mode": "plan"})).await;
    s.call('B', "session.mode.set", json!({"sessionId": "s2", "mode": "zz"})).await;
    s.call('B', "session.mode.set", json!({"sessionId": "s2", "mode": "interactive"})).await;
    s.call('B', "session.name.get", of("s2")).await;
    s.step("reads and a mode by one not attached").await;
    s.call('B', "session.resume", params.clone()).await;
    s.step("a second connection attaches").await;
    s.call('A', "session.detach", of("s2")).await;
    s.step("the first detaches").await;
    s.call('B', "session.destroy", of("s2")).await;
    s.step("the last destroys").await;
    s.call('B', "session.getMessages", of("s2")).await;
    s.call('B', "session.getMetadata", of("s2")).await;
    s.call('B', "session.send", json!({"sessionId": "s2", "prompt": "x"})).await;
    s.call('A', "session.resume", params.clone()).await;
    s.step("a resume from the disk").await;
    s.send('A', "s2", "again").await;
    s.event('A', "session.idle").await;
    s.step("a turn that remembers").await;
    s.call('A', "session.detach", of("s2")).await;
    s.call('A', "session.create", params.clone()).await;
    s.send('A', "s2", "blank?").await;
    s.event('A', "session.idle").await;
    s.step("a create of an id on the disk").await;
    s.call('B', "session.delete", of("s2")).await;
    s.step("a delete by one not attached").await;
    s.call('A', "session.send", json!({"sessionId": "s2", "prompt": "x"})).await;
    s.call('A', "session.resume", params).await;
    s.call('A', "session.delete", of("s2")).await;
    s.call('A', "session.list", json!({})).await;
    s.step("uses of a deleted id").await;
}

async fn prefixes(s: &mut Script<'_>) {
    let id = "baf5c5c4-a34d-4b7d-aeea-aa381e5ce803";
    let params = s.with(id, json!({}));
    s.call('A', "session.create", params).await;
    s.send('A', id, "mine").await;
    s.event('A', "session.idle").await;
    s.step("a session with a UUID").await;
    for asked in ["baf5", "baf5c5c", "BAF5C5C4", &id[..13], &id[..35], &id.to_uppercase()] {
        let params = s.with(asked, json!({}));
        s.call('B', "session.resume", params).await;
        s.step(&format!("a resume of {asked}")).await;
    }
    for method in ["session.mode.get", "session.getMetadata", "session.getMessages"] {
        s.call('B', method, of(&id[..8])).await;
    }
    s.call('B', "session.delete", of(&id[..4])).await;
    s.call('B', "session.delete", of(&id[..8])).await;
    s.step("a delete by prefix").await;
}

async fn made_ids(s: &mut Script<'_>) {
    for asked in [None, Some("")] {
        let mut params = s.with("", json!({}));
        if asked.is_none() {
            params.as_object_mut().unwrap().remove("sessionId");
        }
        s.call('A', "session.create", params).await;
        s.step("a create without an id").await;
    }
    let params = s.with("s3", json!({}));
    s.call('A', "session.create", params).await;
    s.call('B', "session.delete", of("s3")).await;
    s.call('A', "session.mode.get", of("s3")).await;
    s.step("a delete of an unsent session").await;
    s.call('A', "session.create", of("s4")).await;
    s.send('A', "s4", "x").await;
    s.event('A', "session.idle").await;
    s.step("a turn without a provider").await;
    s.call('B', "sessions.close", of("s4")).await;
    s.step("a close by one not attached").await;
}

pub(crate) async fn turns(target: &Target) -> Vec<String> {
    let mut s = Script::new(target, "ABC").await;
    let params = s.with("t1", json!({}));
    s.call('A', "session.create", params.clone()).await;
    // Acknowledged one by one: the real one may swap two sends that are on their way together.
    s.send('A', "t1", "hold k0").await;
    s.send('A', "t1", "two").await;
    target.release("k0").await;
    s.event('A', "session.idle").await;
    s.step("a send behind a running turn").await;
    s.send('A', "t1", "hold k1").await;
    s.event('A', "assistant.message_delta").await;
    s.send('A', "t1", "dropped").await;
    s.call('A', "session.abort", of("t1")).await;
    s.event('A', "session.idle").await;
    s.step("an abort with a queue").await;
    s.call('A', "session.abort", of("t1")).await;
    s.step("an abort of nothing").await;
    s.send('A', "t1", "stream 3 5").await;
    s.event('A', "session.idle").await;
    s.step("a stream").await;
    s.send('A', "t1", "hold k2").await;
    s.event('A', "assistant.message_delta").await;
    s.call('B', "session.resume", params.clone()).await;
    s.call('C', "session.send", json!({"sessionId": "t1", "prompt": "from outside"})).await;
    s.step("an attach and a foreign send in mid-turn").await;
    s.call('A', "session.detach", of("t1")).await;
    target.release("k2").await;
    s.event('B', "session.idle").await;
    s.step("the turn goes on with the other").await;
    s.send('B', "t1", "hold k3").await;
    s.event('B', "assistant.message_delta").await;
    s.call('B', "session.detach", of("t1")).await;
    s.call('B', "session.mode.get", of("t1")).await;
    s.step("the last detaches in mid-turn").await;
    s.call('C', "session.resume", params.clone()).await;
    s.send('C', "t1", "hold k4").await;
    s.event('C', "assistant.message_delta").await;
    s.call('A', "session.resume", params.clone()).await;
    s.step("a resume after that, and one in mid-turn").await;
    s.leave('C').reset().await;
    s.step("one of two drops in mid-turn").await;
    target.release("k4").await;
    s.event('A', "session.idle").await;
    s.step("its turn ends").await;
    s.send('A', "t1", "hold k5").await;
    s.event('A', "assistant.message_delta").await;
    s.leave('A').reset().await;
    s.step("the last drops in mid-turn").await;
    s.call('B', "session.mode.get", of("t1")).await;
    s.call('B', "session.resume", params.clone()).await;
    s.send('B', "t1", "after").await;
    s.event('B', "session.idle").await;
    s.step("a turn after the drop").await;
    s.send('B', "t1", "hold k6").await;
    s.event('B', "assistant.message_delta").await;
    s.connect('D').await;
    s.call('D', "session.delete", of("t1")).await;
    s.step("a delete in mid-turn").await;
    s.lines
}

pub(crate) async fn asking(target: &Target) -> Vec<String> {
    let mut s = Script::new(target, "AB").await;
    let tool = json!([{"name": "lookup", "description": "d", "parameters": {
        "type": "object", "properties": {"q": {"type": "string"}}}}]);
    let create = s.with("p1", json!({"tools": tool, "requestPermission": true}));
    s.call('A', "session.create", create.clone()).await;
    s.call('B', "session.resume", create).await;
    s.step("a resume with a tool that another connection has").await;
    let resume = s.with("p1", json!({"requestPermission": true}));
    s.call('B', "session.resume", resume.clone()).await;
    s.step("a resume without it").await;
    tool_call(&mut s).await;
    rejected(&mut s).await;
    aborted(&mut s).await;
    let hooks = s.with("p2", json!({"hooks": true, "requestUserInput": true}));
    s.call('A', "session.create", hooks.clone()).await;
    s.call('B', "session.resume", hooks).await;
    asked(&mut s).await;
    s.lines
}

async fn request_id(s: &Script<'_>, kind: &str) -> Value {
    s.event('A', kind).await["data"]["requestId"].clone()
}

const PERMIT: &str = "session.permissions.handlePendingPermissionRequest";
const RESULT: &str = "session.tools.handlePendingToolCall";

async fn permit(s: &mut Script<'_>, name: char, id: &Value, kind: &str) {
    s.call(name, PERMIT, json!({"sessionId": "p1", "requestId": id, "result": {"kind": kind}}))
        .await;
}

async fn result(s: &mut Script<'_>, name: char, session: &str, id: &Value) {
    let params = json!({"sessionId": session, "requestId": id, "result": "an answer"});
    s.call(name, RESULT, params).await;
}

async fn tool_call(s: &mut Script<'_>) {
    s.send('A', "p1", r#"tool lookup {"q":"x"}"#).await;
    let id = request_id(s, "permission.requested").await;
    s.step("a permission is asked for").await;
    permit(s, 'B', &json!("nope"), "approve-once").await;
    permit(s, 'B', &id, "approve-once").await;
    permit(s, 'A', &id, "approve-once").await;
    let id = request_id(s, "external_tool.requested").await;
    s.step("it is given by one not asked first").await;
    result(s, 'A', "p1", &json!("nope")).await;
    result(s, 'A', "zzz", &id).await;
    // Another session of one's own opens a foreign tool call.
    let own = s.with("own", json!({}));
    s.call('B', "session.create", own).await;
    result(s, 'B', "own", &id).await;
    result(s, 'A', "p1", &id).await;
    s.event('A', "session.idle").await;
    s.step("a tool answers").await;
}

async fn rejected(s: &mut Script<'_>) {
    s.send('A', "p1", r#"tool lookup {"q":"y"}"#).await;
    let id = request_id(s, "permission.requested").await;
    permit(s, 'A', &id, "reject").await;
    s.event('A', "session.idle").await;
    s.step("a permission is refused").await;
}

async fn aborted(s: &mut Script<'_>) {
    s.send('A', "p1", r#"tool lookup {"q":"z"}"#).await;
    let id = request_id(s, "permission.requested").await;
    permit(s, 'A', &id, "approve-once").await;
    let id = request_id(s, "external_tool.requested").await;
    s.call('A', "session.abort", of("p1")).await;
    s.event('A', "session.idle").await;
    result(s, 'A', "p1", &id).await;
    s.step("an abort while a tool works").await;
}

/// Answers every hook of both, until the session is idle.
async fn answer_hooks(s: &Script<'_>, from: [usize; 2], input: &Value) {
    let one = async |name: char, mut at: usize| {
        loop {
            let client = s.client(name);
            let next = client
                .next_frame(at, |frame| {
                    frame.value.get("id").is_some() && !frame.method().is_empty()
                        || frame.event_type() == "session.idle"
                })
                .await
                .unwrap();
            if next.event_type() == "session.idle" {
                return;
            }
            let place = client.frames(at).iter().position(|frame| frame.raw == next.raw);
            at += place.unwrap() + 1;
            let reply = if next.method() == "hooks.invoke" { json!({}) } else { input.clone() };
            client.answer(&next.value["id"], Ok(reply)).await.unwrap();
        }
    };
    tokio::join!(one('A', from[0]), one('B', from[1]));
}

async fn asked(s: &mut Script<'_>) {
    s.step("a session with hooks on two connections").await;
    for prompt in ["hi", r#"tool ask_user {"question":"colour?","choices":["red","blue"]}"#] {
        let from = [s.client('A').received(), s.client('B').received()];
        s.send('A', "p2", prompt).await;
        answer_hooks(s, from, &json!({"answer": "blue", "wasFreeform": true})).await;
        s.step(&format!("hooks of {prompt}")).await;
    }
}

pub(crate) async fn leaving(mut target: Target) -> Vec<String> {
    let (client, mut lines) = {
        let mut s = Script::new(&target, "A").await;
        let params = s.with("l1", json!({}));
        s.call('A', "session.create", params).await;
        s.send('A', "l1", "hold k").await;
        s.event('A', "assistant.message_delta").await;
        s.step("a turn").await;
        (s.leave('A'), s.lines)
    };
    let code = target.term().await;
    lines.push(format!("exit {code}, closed {:?}", client.until_closed().await));
    let again = fairlead::testing::Client::connect(target.addr()).await;
    lines.push(format!("accepts {}", again.is_ok()));
    lines
}
