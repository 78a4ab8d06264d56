//! A CLI server without a model: on the wire it behaves as `copilot --headless` does, and it does
//! what tests need besides: it fails on command, and tells what it was told.
//!
//! Left out: all methods that `serve` does not name (-32601), the events of [`LEFT_OUT`], `host.event`,
//! tools of its own. It calls no model: a prompt is a directive (see `script`) or is echoed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

mod bench;
mod conn;
mod disk;
mod fast;
mod faults;
mod handshake;
mod lists;
mod model;
mod outbox;
mod script;
mod seen;
mod serve;
mod shell;
mod tool;
mod turn;

pub use bench::Bench;
pub use disk::{Disk, Event, Stored};
pub use faults::Fault;
pub use seen::Received;

use super::client::Closed;
use outbox::Ending;
use shell::Shared;

/// Event types that a real CLI sends in the situations that the fake knows, and the fake does not.
pub const LEFT_OUT: [&str; 25] = [
    "agent.interrupted",
    "assistant.usage",
    "model.call_final_result",
    "model.call_finished",
    "model.call_start",
    "model.log",
    "model.message",
    "model.messages_snapshot",
    "model.model_call_started",
    "model.model_call_success",
    "model.response",
    "model.telemetry",
    "model.tool_execution",
    "model.turn_ended",
    "model.turn_failed",
    "model.turn_started",
    "session.background_tasks_changed",
    "session.indexed_search",
    "session.info",
    "session.managed_settings_resolved",
    "session.mcp_servers_loaded",
    "session.skills_loaded",
    "session.tools_updated",
    "session.usage_info",
    "system.message",
];

/// How a fake is started.
#[derive(Debug, Clone)]
pub struct FakeConfig {
    /// What `connect` must bring; `None`: no authentication.
    pub token: Option<String>,
    /// Its storage; a clone of another fake's is shared with it.
    pub disk: Disk,
    /// What `connect` and `status.get` say.
    pub version: String,
    /// Where it listens.
    pub ip: IpAddr,
    /// 0: any free port.
    pub port: u16,
    /// Keep every frame for assertions. Without it requests may take the hot path.
    pub record: bool,
    /// Between SIGTERM and FIN, unless the key `leave` is released before; requests are refused meanwhile.
    pub term_delay: Duration,
    /// What a send streams, instead of a turn.
    pub bench: Option<Bench>,
    /// Tells nobody what becomes of sessions.
    pub hushed: bool,
}

impl Default for FakeConfig {
    fn default() -> Self {
        FakeConfig {
            token: None,
            disk: Disk::new(),
            version: "1.0.102".to_owned(),
            ip: IpAddr::from([127, 0, 0, 1]),
            port: 0,
            record: true,
            term_delay: Duration::from_millis(20),
            bench: None,
            hushed: false,
        }
    }
}

/// A running fake. Dropped, it is gone, with all its tasks and connections.
pub struct FakeCli {
    /// Where it listens.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
}

static SERIAL: AtomicU64 = AtomicU64::new(1);

impl FakeCli {
    /// Starts one; it listens when this returns.
    ///
    /// # Errors
    /// The port cannot be bound.
    pub async fn start(config: FakeConfig) -> std::io::Result<FakeCli> {
        let listener = TcpListener::bind((config.ip, config.port)).await?;
        let addr = listener.local_addr()?;
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let (version, token, disk) =
            (config.version.clone(), config.token.clone(), config.disk.clone());
        let mut model = model::Model::new(serial, version, token, disk);
        model.hushed = config.hushed || config.bench.is_some();
        let shared = Arc::new(Shared {
            model: Mutex::new(model),
            config,
            boxes: Mutex::default(),
            ended: Mutex::default(),
            tasks: Mutex::new(JoinSet::new()),
            faults: faults::Faults::default(),
            seen: seen::Seen::default(),
            keys: script::Keys::default(),
            wedged: watch::Sender::new(false),
            changed: Notify::new(),
        });
        shared.spawn(accept(shared.clone(), listener));
        Ok(FakeCli { addr, shared })
    }

    /// One with the defaults.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn plain() -> std::io::Result<FakeCli> {
        FakeCli::start(FakeConfig::default()).await
    }

    /// SIGTERM: requests get -32000, sessions are written off, then FIN to all. Returns when the
    /// port and all connections are closed.
    pub async fn stop(&self) {
        self.shared.with(model::Model::leave);
        let leave = self.shared.keys.hold("leave");
        let _ = tokio::time::timeout(self.shared.config.term_delay, leave).await;
        self.end(Ending::Fin).await;
    }

    /// SIGKILL: RST to all, nothing written. Returns when the port and all connections are closed.
    pub async fn kill(&self) {
        self.end(Ending::Reset).await;
        // A dead process holds nothing: what it had in memory is as it was on the disk.
        let mut model = self.shared.model.lock();
        let sessions: Vec<String> = model.live.keys().cloned().collect();
        for session in sessions {
            model.forget(&session);
        }
        model.out.clear();
    }

    async fn end(&self, ending: Ending) {
        let outboxes: Vec<_> = self.shared.boxes.lock().values().cloned().collect();
        for outbox in outboxes {
            outbox.end(ending);
        }
        self.until(|fake| fake.shared.boxes.lock().is_empty()).await;
        let mut tasks = std::mem::take(&mut *self.shared.tasks.lock());
        tasks.shutdown().await;
    }

    /// SIGSTOP: connections are taken by the kernel, nothing is read or written.
    pub fn wedge(&self) {
        self.shared.wedged.send_replace(true);
    }

    /// From now on who connects must say this. Who is there stays.
    pub fn set_token(&self, token: &str) {
        self.shared.model.lock().token = Some(token.to_owned());
    }

    /// SIGCONT.
    pub fn unwedge(&self) {
        self.shared.wedged.send_replace(false);
    }

    /// Spoils the next `times` answers of a method (`*`: of any).
    pub fn fault(&self, method: &str, fault: Fault, times: usize) {
        self.shared.faults.arm(method, fault, times);
    }

    /// Takes all faults back.
    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// Lets turns and answers that wait for the key go on, or the next one that will.
    pub fn release(&self, key: &str) {
        self.shared.keys.release(key);
    }

    /// The keys that turns and answers wait for now.
    pub fn held(&self) -> Vec<String> {
        self.shared.keys.held()
    }

    /// Waits until a turn or an answer waits for the key.
    pub async fn until_held(&self, key: &str) {
        loop {
            let changed = self.shared.keys.changed().notified();
            if self.held().iter().any(|held| held == key) {
                return;
            }
            changed.await;
        }
    }

    /// Every frame received, in order. Empty where `record` is off.
    pub fn received(&self) -> Vec<Received> {
        self.shared.seen.all()
    }

    /// The methods received, in order, of all connections.
    pub fn methods(&self) -> Vec<String> {
        self.received().iter().map(|frame| frame.method().to_owned()).collect()
    }

    /// Waits for a frame that fits; the first one, from the start of the record.
    pub async fn until_received(&self, fits: impl Fn(&Received) -> bool) -> Received {
        loop {
            let changed = self.shared.seen.changed.notified();
            if let Some(found) = self.received().into_iter().find(|frame| fits(frame)) {
                return found;
            }
            changed.await;
        }
    }

    /// The open connections, numbered from 1 in the order of accepting.
    pub fn connections(&self) -> Vec<u64> {
        self.shared.model.lock().conns.keys().copied().collect()
    }

    /// How the other side ended a connection; `None` while it is open, or where the fake ended it.
    pub fn ended(&self, conn: u64) -> Option<Closed> {
        self.shared.ended.lock().get(&conn).copied()
    }

    /// Writes a frame to a connection, whatever it says; to nobody where there is none.
    pub fn say(&self, conn: u64, body: &str) {
        if let Some(outbox) = self.shared.outbox(conn) {
            outbox.push(body.as_bytes());
        }
    }

    /// The sessions in memory.
    pub fn sessions(&self) -> Vec<String> {
        self.shared.model.lock().live.keys().cloned().collect()
    }

    /// The connections attached to a session.
    pub fn attached(&self, session: &str) -> Vec<u64> {
        let model = self.shared.model.lock();
        model.live.get(session).map(|l| l.attached.keys().copied().collect()).unwrap_or_default()
    }

    /// Whether a turn of the session runs.
    pub fn busy(&self, session: &str) -> bool {
        self.shared.model.lock().live.get(session).is_some_and(|live| live.running)
    }

    /// Its storage.
    pub fn disk(&self) -> Disk {
        self.shared.config.disk.clone()
    }

    /// Waits until the fake is so; looked at after each change of its state.
    pub async fn until(&self, so: impl Fn(&FakeCli) -> bool) {
        loop {
            let changed = self.shared.changed.notified();
            if so(self) {
                return;
            }
            changed.await;
        }
    }
}

impl Drop for FakeCli {
    fn drop(&mut self) {
        self.shared.tasks.lock().abort_all();
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let mut wedged = shared.wedged.subscribe();
    let mut last = 0;
    loop {
        if wedged.wait_for(|wedged| !*wedged).await.is_err() {
            return;
        }
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        last += 1;
        shared.spawn(conn::run(shared.clone(), last, stream));
    }
}

#[cfg(test)]
mod tests;
