//! What was said, in lines that two programs can be compared by. Decides what is compared.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fairlead::testing::Client;
use fairlead::testing::client::{Frame, Pending};
use fairlead::testing::fake_cli::LEFT_OUT;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Value, json};

use super::target::Target;

/// Nothing came for this long: the step is over.
const SILENCE: Duration = Duration::from_secs(1);

/// Methods whose answer has its place among the events. That of an abort has none: it races them.
const PLACED: [&str; 4] = ["session.create", "session.resume", "session.detach", "session.destroy"];

/// The fields of `event.data` that are compared.
const FIELDS: [&str; 36] = [
    "sessionId",
    "version",
    "producer",
    "copilotVersion",
    "alreadyInUse",
    "sessionWasActive",
    "remoteSteerable",
    "selectedModel",
    "content",
    "messageId",
    "delivery",
    "turnId",
    "interactionId",
    "originatingMessageId",
    "deltaContent",
    "totalResponseSizeBytes",
    "reason",
    "aborted",
    "mode",
    "errorType",
    "message",
    "shutdownType",
    "toolName",
    "arguments",
    "success",
    "error",
    "requestId",
    "hookType",
    "title",
    "previousMode",
    "newMode",
    "question",
    "choices",
    "answer",
    "wasFreeform",
    "inputDelta",
];

#[derive(Default)]
pub(crate) struct Names(BTreeMap<String, String>);

impl Names {
    /// Ids, times and paths are replaced: ids by their order of appearance.
    fn text(&mut self, text: &str) -> String {
        if humantime::parse_rfc3339(text).is_ok() {
            return "TIME".to_owned();
        }
        if text.starts_with('/') && text.contains("/session-state/") {
            return "PATH".to_owned();
        }
        let mut out = String::new();
        let mut rest = text;
        while !rest.is_empty() {
            let id = rest.get(..36).filter(|id| uuid::Uuid::parse_str(id).is_ok());
            let call = rest.strip_prefix("call_");
            let (known, length) = match (id, call) {
                (Some(id), _) => (id, 36),
                (None, Some(tail)) => {
                    let end = tail.find(|c: char| !c.is_ascii_hexdigit() && c != '-');
                    let length = 5 + end.unwrap_or(tail.len());
                    (&rest[..length], length)
                }
                (None, None) => {
                    let c = rest.chars().next().unwrap();
                    out.push(c);
                    rest = &rest[c.len_utf8()..];
                    continue;
                }
            };
            let next = format!("<{}>", self.0.len() + 1);
            out.push_str(self.0.entry(known.to_owned()).or_insert(next));
            rest = &rest[length..];
        }
        out
    }

    pub(crate) fn value(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::from(self.text(text)),
            Value::Array(list) => list.iter().map(|item| self.value(item)).collect(),
            Value::Object(map) => {
                let kept = map.iter().filter(|(key, _)| *key != "context");
                kept.map(|(key, item)| (key.clone(), self.value(item))).collect()
            }
            plain @ (Value::Null | Value::Bool(_) | Value::Number(_)) => plain.clone(),
        }
    }
}

/// The keys of an object, as they stand in the text.
struct Keys(Vec<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Walk;
        impl<'de> Visitor<'de> for Walk {
            type Value = Keys;
            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Keys, M::Error> {
                let mut keys = Vec::new();
                while let Some((key, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                    keys.push(key);
                }
                Ok(Keys(keys))
            }
        }
        from.deserialize_map(Walk)
    }
}

#[derive(serde::Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    event: &'a serde_json::value::RawValue,
}

#[derive(serde::Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    params: Params<'a>,
}

/// The order in which an event's fields stand.
fn field_order(frame: &Frame) -> String {
    let body: Body<'_> = serde_json::from_slice(&frame.raw).unwrap();
    let keys: Keys = serde_json::from_str(body.params.event.get()).unwrap();
    keys.0.join(",")
}

pub(crate) struct Script<'a> {
    pub(crate) target: &'a Target,
    clients: BTreeMap<char, (Client, usize, BTreeMap<String, String>)>,
    names: Names,
    pub(crate) lines: Vec<String>,
}

impl<'a> Script<'a> {
    pub(crate) async fn new(target: &'a Target, clients: &str) -> Script<'a> {
        let mut script =
            Script { target, clients: BTreeMap::new(), names: Names::default(), lines: Vec::new() };
        for name in clients.chars() {
            script.connect(name).await;
        }
        script
    }

    pub(crate) async fn connect(&mut self, name: char) {
        let client = Client::connect(self.target.addr()).await.unwrap();
        client.request("connect", json!({})).await.ok();
        self.clients.insert(name, (client, 0, BTreeMap::new()));
    }

    pub(crate) fn client(&self, name: char) -> &Client {
        &self.clients[&name].0
    }

    pub(crate) fn leave(&mut self, name: char) -> Client {
        self.clients.remove(&name).unwrap().0
    }

    /// Parameters of create and resume.
    pub(crate) fn with(&self, session: &str, more: Value) -> Value {
        let mut params = json!({
            "sessionId": session, "model": "fake", "provider": self.target.provider(),
            "streaming": true,
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            params[key] = value.clone();
        }
        params
    }

    pub(crate) async fn post(&mut self, name: char, method: &str, params: Value) -> Pending {
        let (client, _, placed) = self.clients.get_mut(&name).unwrap();
        let pending = client.post(method, params).await.unwrap();
        if PLACED.contains(&method) {
            placed.insert(pending.id.to_string(), method.to_owned());
        }
        pending
    }

    /// Asks, and writes the answer down; the raw one.
    pub(crate) async fn call(&mut self, name: char, method: &str, params: Value) -> Value {
        let pending = self.post(name, method, params).await;
        let answer = self.clients[&name].0.answer_to(&pending).await;
        match answer {
            Ok(result) => {
                let shown = self.names.value(&result);
                self.lines.push(format!("{name} {method} -> {shown}"));
                result
            }
            Err(error) => {
                let shown = self.names.text(&error.to_string());
                self.lines.push(format!("{name} {method} -> error {shown}"));
                Value::Null
            }
        }
    }

    pub(crate) async fn send(&mut self, name: char, session: &str, prompt: &str) {
        self.call(name, "session.send", json!({"sessionId": session, "prompt": prompt})).await;
    }

    /// Waits for an event of this step.
    pub(crate) async fn event(&self, name: char, kind: &str) -> Value {
        let (client, mark, _) = &self.clients[&name];
        client.next_event(*mark, kind).await.unwrap_or_else(|why| panic!("{name} {kind}: {why}"))
    }

    /// Ends a step: writes down what came to each connection, once all are silent.
    pub(crate) async fn step(&mut self, what: &str) {
        // One that has little of the machine answers late: it is silent once it has answered this, too. Or has gone.
        let silent = self.clients.values().map(async |(client, _, _)| {
            let _ = client.request("ping", json!({})).await;
            client.quiet(SILENCE).await;
        });
        futures_util::future::join_all(silent).await;
        for (name, (client, mark, placed)) in &mut self.clients {
            let frames = client.frames(*mark);
            *mark += frames.len();
            let mut broadcast = BTreeSet::new();
            // Events and requests overtake each other; the session's start hook runs beside all that the start brings.
            let (mut events, mut asked, mut starting) = (Vec::new(), Vec::new(), Vec::new());
            for frame in &frames {
                if frame.method() == "session.lifecycle" {
                    let params = &frame.value["params"];
                    let session = self.names.text(params["sessionId"].as_str().unwrap());
                    broadcast.insert(format!("{}:{session}", params["type"].as_str().unwrap()));
                } else if let Some(line) = show(&mut self.names, frame, placed) {
                    let lines = if line.starts_with("asked") {
                        &mut asked
                    } else if line.starts_with("event hook.") && line.contains("sessionStart") {
                        &mut starting
                    } else {
                        &mut events
                    };
                    lines.push(format!("{name} {line}"));
                }
            }
            self.lines.append(&mut events);
            self.lines.append(&mut asked);
            self.lines.append(&mut starting);
            self.lines.push(format!("{name} broadcasts {broadcast:?}"));
        }
        self.lines.push(format!("== after {what}"));
    }
}

fn show(names: &mut Names, frame: &Frame, placed: &BTreeMap<String, String>) -> Option<String> {
    let params = &frame.value["params"];
    match frame.method() {
        "" => placed.get(&frame.value["id"].to_string()).map(|method| format!("answered {method}")),
        "session.event" => {
            let kind = frame.event_type();
            if LEFT_OUT.contains(&kind) || kind == "pending_messages.modified" {
                return None;
            }
            let data = &params["event"]["data"];
            let kept = FIELDS.iter().filter_map(|key| Some((*key, data.get(key)?)));
            let kept: BTreeMap<&str, Value> =
                kept.map(|(key, value)| (key, names.value(value))).collect();
            let kept = serde_json::to_string(&kept).unwrap();
            Some(format!("event {kind} {kept} [{}]", field_order(frame)))
        }
        "host.event" => None,
        method => {
            let session = names.text(params["sessionId"].as_str().unwrap_or_default());
            let (hook, id) = (&params["hookType"], &frame.value["id"]);
            Some(format!("asked {id} {method} {session} {hook} {}", params["question"]))
        }
    }
}
