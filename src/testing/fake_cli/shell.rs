//! Between the state and the sockets: one lock, tasks that end with the fake, answers and faults.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::faults::{Fault, Faults};
use super::model::{Model, Out, Reply};
use super::outbox::{Ending, Outbox};
use super::script::Keys;
use super::seen::Seen;
use super::{FakeConfig, bench, turn};
use crate::testing::client::Closed;
use crate::testing::wire::RpcError;

pub(super) struct Shared {
    pub(super) config: FakeConfig,
    pub(super) model: Mutex<Model>,
    pub(super) boxes: Mutex<HashMap<u64, Arc<Outbox>>>,
    /// How others ended their connections.
    pub(super) ended: Mutex<BTreeMap<u64, Closed>>,
    pub(super) tasks: Mutex<JoinSet<()>>,
    pub(super) faults: Faults,
    pub(super) seen: Seen,
    pub(super) keys: Keys,
    pub(super) wedged: watch::Sender<bool>,
    /// Told after each change of the state.
    pub(super) changed: Notify,
}

impl Shared {
    /// Runs a task that ends with the fake at the latest.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Changes the state and carries out what follows, before anybody else may change it.
    pub(super) fn with<T>(self: &Arc<Self>, change: impl FnOnce(&mut Model) -> T) -> T {
        let mut model = self.model.lock();
        let result = change(&mut model);
        for out in std::mem::take(&mut model.out) {
            self.carry(out);
        }
        drop(model);
        self.changed.notify_waiters();
        result
    }

    /// The other side ended a connection; what shows first is how.
    pub(super) fn end_of(&self, conn: u64, how: Closed) {
        self.ended.lock().entry(conn).or_insert(how);
    }

    pub(super) fn outbox(&self, conn: u64) -> Option<Arc<Outbox>> {
        self.boxes.lock().get(&conn).cloned()
    }

    fn carry(self: &Arc<Self>, out: Out) {
        match out {
            Out::Body(conn, body) => {
                if let Some(outbox) = self.outbox(conn) {
                    outbox.push(body.as_bytes());
                }
            }
            Out::Answer(reply, result) => self.answer(reply, result),
            Out::Drive { session, epoch } => match self.config.bench.clone() {
                Some(bench) => self.spawn(bench::drive(self.clone(), session, epoch, bench)),
                None => self.spawn(turn::drive(self.clone(), session, epoch)),
            },
        }
    }

    fn answer(self: &Arc<Self>, reply: Reply, result: Result<String, RpcError>) {
        let Some(outbox) = self.outbox(reply.conn) else { return };
        let Some(fault) = self.faults.take(&reply.method) else {
            return outbox.push(body(&reply.id, &result).as_bytes());
        };
        let whole = body(&reply.id, &result);
        match fault {
            Fault::Held(key) => {
                let shared = Arc::clone(self);
                self.spawn(async move {
                    shared.keys.hold(&key).await;
                    outbox.push(whole.as_bytes());
                });
            }
            Fault::Never => {}
            Fault::HalfFrame => outbox.push_half(whole.as_bytes()),
            Fault::ResetMidAnswer => {
                outbox.push_half(whole.as_bytes());
                outbox.end(Ending::FlushAndReset);
            }
            Fault::EarlyFin => outbox.end(Ending::Fin),
            Fault::WrongId(id) => outbox.push(body(&id, &result).as_bytes()),
            Fault::OtherSession(other) => {
                outbox.push(body(&reply.id, &other_session(result, &other)).as_bytes());
            }
            Fault::Huge(bytes) => {
                let text = Ok(format!("\"{}\"", "x".repeat(bytes)));
                outbox.push(body(&reply.id, &text).as_bytes());
            }
            Fault::Error(code, message) | Fault::Refused(code, message) => {
                outbox.push(body(&reply.id, &Err(RpcError::new(code, message))).as_bytes());
            }
            Fault::Result(text) | Fault::Instead(text) => {
                outbox.push(body(&reply.id, &Ok(text)).as_bytes())
            }
        }
    }
}

pub(super) fn body(id: &str, result: &Result<String, RpcError>) -> String {
    match result {
        Ok(result) => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#),
        Err(error) => {
            format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{}}}"#, error.to_json())
        }
    }
}

fn other_session(result: Result<String, RpcError>, other: &str) -> Result<String, RpcError> {
    let text = result?;
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    if let Some(id) = value.get_mut("sessionId") {
        *id = other.into();
    }
    Ok(value.to_string())
}
