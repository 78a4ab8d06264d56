//! The state of a CLI process: connections, sessions in memory, what is to be written.
//! Pure: no socket, no task, no timer. The shell carries out what lies in `out`.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

use super::disk::{Disk, Event, Stored};
use crate::testing::wire::RpcError;

/// The answer that a request waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) conn: u64,
    /// The id's JSON text, with its type.
    pub(super) id: String,
    pub(super) method: String,
}

/// What the shell has to do, in order.
#[derive(Debug)]
pub(super) enum Out {
    /// Write this body to this connection.
    Body(u64, String),
    /// Answer a request; faults apply.
    Answer(Reply, Result<String, RpcError>),
    /// Run the turns of a session's queue.
    Drive { session: String, epoch: u64 },
}

#[derive(Debug, Default)]
pub(super) struct Conn {
    pub(super) authenticated: bool,
    pub(super) last_id: u64,
    pub(super) asked: HashMap<u64, oneshot::Sender<Result<Value, Value>>>,
}

/// How one connection is attached to a session.
#[derive(Debug, Clone, Default)]
pub(super) struct Attach {
    pub(super) hooks: bool,
    pub(super) user_input: bool,
    pub(super) tools: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Queued {
    pub(super) message: String,
    pub(super) prompt: String,
    /// `idle` or `queued`: whether a turn ran when it came.
    pub(super) delivery: &'static str,
}

/// A session in memory.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// Differs for each time that an id came to life.
    pub(super) epoch: u64,
    pub(super) start: String,
    pub(super) modified: String,
    pub(super) attached: BTreeMap<u64, Attach>,
    pub(super) model: Option<String>,
    pub(super) provider: bool,
    pub(super) streaming: bool,
    pub(super) asks_permission: bool,
    pub(super) mode: String,
    pub(super) summary: Option<String>,
    pub(super) history: Vec<Event>,
    last_event: Option<String>,
    pub(super) queue: VecDeque<Queued>,
    pub(super) running: bool,
    pub(super) greeted: bool,
    /// Turned on to abort the running turn.
    pub(super) abort: watch::Sender<bool>,
    pub(super) abort_replies: Vec<Reply>,
    pub(super) permissions: HashMap<String, oneshot::Sender<Value>>,
    pub(super) tools: HashMap<String, oneshot::Sender<Value>>,
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) serial: u64,
    pub(super) version: String,
    pub(super) token: Option<String>,
    pub(super) disk: Disk,
    pub(super) conns: BTreeMap<u64, Conn>,
    pub(super) live: BTreeMap<String, Live>,
    pub(super) leaving: bool,
    pub(super) out: Vec<Out>,
    /// Tells no lifecycle: with a thousand connections, each start would be a thousand frames.
    pub(super) hushed: bool,
    epochs: u64,
}

/// Now, as the CLI writes it.
pub(super) fn stamp() -> String {
    humantime::format_rfc3339_millis(crate::time::wall()).to_string()
}

pub(super) fn fresh_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

impl Model {
    pub(super) fn new(serial: u64, version: String, token: Option<String>, disk: Disk) -> Self {
        Model {
            serial,
            version,
            token,
            disk,
            conns: BTreeMap::new(),
            live: BTreeMap::new(),
            leaving: false,
            out: Vec::new(),
            hushed: false,
            epochs: 0,
        }
    }

    pub(super) fn answer(&mut self, reply: Reply, result: Result<String, RpcError>) {
        self.out.push(Out::Answer(reply, result));
    }

    /// Sends a request of ours to one connection; its id is the next of that connection.
    pub(super) fn ask(
        &mut self,
        conn: u64,
        method: &str,
        params: &Value,
    ) -> Option<oneshot::Receiver<Result<Value, Value>>> {
        let entry = self.conns.get_mut(&conn)?;
        entry.last_id += 1;
        let id = entry.last_id;
        let (tx, rx) = oneshot::channel();
        entry.asked.insert(id, tx);
        let body =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
        self.out.push(Out::Body(conn, body));
        Some(rx)
    }

    /// An event that is kept: to all attached, into the history, onto the disk, and the broadcast.
    pub(super) fn event(&mut self, session: &str, kind: &str, data: &Value) {
        self.emit(session, kind, data, false);
        self.lifecycle(session, "updated");
    }

    /// An event that nobody keeps.
    pub(super) fn passing(&mut self, session: &str, kind: &str, data: &Value) {
        self.emit(session, kind, data, true);
    }

    fn emit(&mut self, session: &str, kind: &str, data: &Value, ephemeral: bool) {
        let Some(live) = self.live.get_mut(session) else { return };
        let (id, now) = (fresh_id(), stamp());
        let mark = if ephemeral { r#""ephemeral":true,"# } else { "" };
        let parent = match &live.last_event {
            Some(id) => format!("\"{id}\""),
            None => "null".to_owned(),
        };
        let text = format!(
            r#"{{"type":"{kind}","data":{data},{mark}"id":"{id}","timestamp":"{now}","parentId":{parent}}}"#
        );
        let body = format!(
            r#"{{"jsonrpc":"2.0","method":"session.event","params":{{"sessionId":"{session}","event":{text}}}}}"#
        );
        self.out.extend(live.attached.keys().map(|conn| Out::Body(*conn, body.clone())));
        if !ephemeral {
            live.last_event = Some(id);
            live.modified = now;
            let event = Event { kind: kind.to_owned(), text };
            live.history.push(event.clone());
            if let Some(stored) = self.disk.lock().get_mut(session) {
                stored.modified = live.modified.clone();
                stored.summary = live.summary.clone().or(stored.summary.take());
                stored.events.push(event);
            }
        }
    }

    /// `session.lifecycle`, to every connection that is authenticated.
    pub(super) fn lifecycle(&mut self, session: &str, what: &str) {
        if self.hushed {
            return;
        }
        let metadata = match self.live.get(session) {
            Some(live) if what != "deleted" => format!(
                r#","metadata":{{"startTime":"{}","modifiedTime":"{}"}}"#,
                live.start, live.modified
            ),
            _ => String::new(),
        };
        let body = format!(
            r#"{{"jsonrpc":"2.0","method":"session.lifecycle","params":{{"type":"session.{what}","sessionId":"{session}"{metadata}}}}}"#
        );
        for (conn, state) in &self.conns {
            if state.authenticated {
                self.out.push(Out::Body(*conn, body.clone()));
            }
        }
    }

    /// Brings an id to life: blank (create), or with the history of the disk (resume).
    pub(super) fn enliven(&mut self, session: &str, blank: bool) -> &mut Live {
        self.epochs += 1;
        let now = stamp();
        let mut disk = self.disk.lock();
        let stored = disk.entry(session.to_owned()).or_insert_with(|| Stored {
            start: now.clone(),
            modified: now.clone(),
            ..Stored::default()
        });
        stored.holders.insert(self.serial);
        let history = if blank { Vec::new() } else { stored.events.clone() };
        let live = Live {
            epoch: self.epochs,
            start: if blank { now.clone() } else { stored.start.clone() },
            modified: now,
            mode: "interactive".to_owned(),
            // A blank session keeps the name of the one that it takes the place of.
            summary: stored.summary.clone(),
            last_event: history.last().and_then(|event| field(&event.text, "id")),
            history,
            ..Live::default()
        };
        drop(disk);
        self.live.entry(session.to_owned()).insert_entry(live).into_mut()
    }

    /// Ends a session in memory; its turn is cut. A session that was never sent leaves nothing.
    pub(super) fn evict(&mut self, session: &str) {
        if !self.live.contains_key(session) {
            return;
        }
        self.event(session, "session.shutdown", &json!({"shutdownType": "routine"}));
        self.forget(session);
    }

    /// Takes it out of memory without a word.
    pub(super) fn forget(&mut self, session: &str) {
        let Some(live) = self.live.remove(session) else { return };
        for reply in live.abort_replies {
            self.answer(reply, Ok(r#"{"success":true}"#.to_owned()));
        }
        let mut disk = self.disk.lock();
        if let Some(stored) = disk.get_mut(session) {
            stored.holders.remove(&self.serial);
            if stored.summary.is_none() && stored.holders.is_empty() {
                disk.remove(session);
            }
        }
    }

    /// Takes a connection off a session; the last one ends it. Whether it was attached.
    pub(super) fn detach(&mut self, conn: u64, session: &str) -> bool {
        let Some(live) = self.live.get_mut(session) else { return false };
        if !live.attached.contains_key(&conn) {
            return false;
        }
        if live.attached.len() == 1 {
            self.evict(session);
        } else {
            live.attached.remove(&conn);
        }
        true
    }

    /// A connection is gone: what it was asked is void, what it alone held ends.
    pub(super) fn disconnect(&mut self, conn: u64) {
        self.conns.remove(&conn);
        let sessions: Vec<String> = self.live.keys().cloned().collect();
        for session in sessions {
            self.detach(conn, &session);
        }
    }

    /// What the CLI says on SIGTERM: every session is written off.
    pub(super) fn leave(&mut self) {
        self.leaving = true;
        let sessions: Vec<String> = self.live.keys().cloned().collect();
        for session in sessions {
            self.evict(&session);
        }
    }
}

fn field(text: &str, name: &str) -> Option<String> {
    let value: Value = serde_json::from_str(text).ok()?;
    value.get(name)?.as_str().map(str::to_owned)
}
