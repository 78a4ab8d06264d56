//! Serving, and leaving in order: readiness first, then no accepts, then turns, then what is left, then the CLIs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{interval, timeout};

use super::build::Server;
use super::listeners::Listener;
use super::memory;
use super::workers::{Accepted, Entrance, Workers};
use crate::drain::{Mode, Watcher};
use crate::id::ConnId;
use crate::listen::bind::tune;
use crate::time::{self, Duration};
use crate::upstream::hub::Event;

/// How long conns have to say goodbye once they are told to end now.
const GOODBYE: Duration = Duration::from_secs(5);

/// How long to wait when the system cannot give us a conn (no descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

static NEXT_CONN: AtomicU64 = AtomicU64::new(1);

/// Serves until it is asked to leave, and leaves.
pub(super) async fn serve(mut server: Server, mut asked: mpsc::Receiver<Mode>) {
    let mut accepting = Vec::new();
    for (socket, listener, keepalive) in std::mem::take(&mut server.accepting) {
        if let Ok(address) = socket.local_addr() {
            tracing::info!(kind = "listener", listener = listener.edge().name, %address, "listening");
        }
        let (workers, watcher) = (Arc::clone(&server.workers), server.watcher.clone());
        let max = server.config.limits.max_conns;
        let task = accept(socket, listener, keepalive, workers, watcher, max);
        accepting.push(server.tasks.spawn_aside("accept", task));
    }
    server.tasks.spawn_aside("memory", memory::give_back());
    let mut mode = next(&mut asked).await;
    server.readiness.drain();
    if mode == Mode::Drain && !server.config.drain.shutdown_delay.is_zero() {
        tracing::info!(kind = "drain", "not ready any more; accepting for a while yet");
        if timeout(server.config.drain.shutdown_delay, next(&mut asked)).await.is_ok() {
            mode = Mode::Now;
        }
    }
    for task in accepting {
        task.abort();
    }
    leave(server, &mut asked, mode).await;
}

/// The next time that we are asked to leave, and how. Nobody is left who could ask: now.
async fn next(asked: &mut mpsc::Receiver<Mode>) -> Mode {
    asked.recv().await.unwrap_or(Mode::Now)
}

async fn leave(server: Server, asked: &mut mpsc::Receiver<Mode>, mode: Mode) {
    let Server { config, pools, managed, tasks, metrics, trigger, watcher, _state, .. } = server;
    let since = time::now();
    let turns = || pools.iter().map(|pool| pool.counts().1).sum::<usize>();
    tracing::info!(kind = "drain", turns = turns(), ?mode, "leaving");
    drop(watcher);
    let tell = |mode| {
        trigger.start(mode);
        for pool in &pools {
            pool.hub.tell_all(&Event::Leave(mode));
            if mode == Mode::Now {
                pool.cuts.all();
            }
        }
    };
    if mode == Mode::Drain {
        tell(mode);
        let mut ticks = interval(Duration::from_millis(200));
        let waiting = async {
            loop {
                tokio::select! {
                    () = trigger.complete() => return,
                    _ = next(asked) => return,
                    _ = ticks.tick() => metrics.drain_remaining_turns.set(turns() as i64),
                }
            }
        };
        if timeout(config.drain.drain_timeout, waiting).await.is_err() {
            tracing::warn!(kind = "drain", "the drain's time is up");
        }
    }
    let turns_cut = turns();
    tell(Mode::Now);
    let stop = async {
        let mut stopping = tokio::task::JoinSet::new();
        for cli in managed.clone() {
            stopping.spawn(async move { cli.stop().await });
        }
        while stopping.join_next().await.is_some() {}
    };
    if timeout(GOODBYE, trigger.complete()).await.is_err() {
        tracing::warn!(kind = "drain", conns = trigger.watchers(), "conns that did not end");
    }
    tokio::pin!(stop);
    tokio::select! {
        () = &mut stop => {}
        _ = next(asked) => {
            for cli in &managed {
                cli.kill().await;
            }
        }
    }
    let seconds = time::now().saturating_duration_since(since).as_secs_f64();
    tracing::info!(kind = "drain", turns_cut, seconds, tasks = tasks.running(), "left");
}

async fn accept(
    socket: TcpListener,
    listener: Listener,
    keepalive: Option<Duration>,
    workers: Arc<Workers>,
    watcher: Watcher,
    max_conns: usize,
) {
    let edge = listener.edge();
    loop {
        let (stream, peer) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(listener = edge.name, %error, "cannot accept a client");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if workers.conns() >= max_conns {
            edge.metrics.rejected.inc("max_conns");
            continue;
        }
        let proxied = edge.door.as_ref().is_some_and(|door| door.trusts(peer.ip()));
        let entry = if proxied {
            Entrance::ByProxy
        } else {
            match edge.callers.enter(peer.ip()) {
                Ok(entry) => Entrance::Counted(entry),
                Err(why) => {
                    edge.metrics.rejected.inc(why);
                    continue;
                }
            }
        };
        let Ok(stream) = stream.into_std() else { continue };
        if let Err(error) = tune(&stream, keepalive) {
            tracing::debug!(listener = edge.name, %error, "the client is gone already");
            continue;
        }
        let id = ConnId(NEXT_CONN.fetch_add(1, Ordering::Relaxed));
        let (watcher, listener) = (watcher.clone(), listener.clone());
        workers.hand_over(Accepted { id, socket: stream, peer, listener, entry, watcher }).await;
    }
}
