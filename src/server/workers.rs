//! The threads that carry conns: each with a runtime of its own, so that a conn never changes threads.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::thread;

use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::memory;
use crate::drain::{Tasks, Watcher};
use crate::id::ConnId;
use crate::observe::metrics::RpcMetrics;
use crate::proxy::callers::Entry;
use crate::proxy::jsonrpc::{Conn, Listener};

/// Conns that may wait for one worker to take them.
const WAITING: usize = 1024;

/// A client that was accepted.
pub(super) struct Accepted {
    pub(super) id: ConnId,
    pub(super) socket: std::net::TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) listener: Arc<Listener>,
    /// Its place among those of its listener and its address.
    pub(super) entry: Option<Box<Entry>>,
    pub(super) watcher: Watcher,
}

struct Worker {
    conns: Arc<AtomicUsize>,
    queue: mpsc::Sender<Accepted>,
}

/// See the module's head.
pub(super) struct Workers(Vec<Worker>);

impl Workers {
    /// Starts `count` threads.
    pub(super) fn start(
        count: usize,
        tasks: &Tasks,
        rpc: impl Fn() -> Arc<RpcMetrics>,
    ) -> io::Result<Self> {
        let mut workers = Vec::with_capacity(count);
        for number in 0..count {
            let conns = Arc::new(AtomicUsize::new(0));
            let (queue, accepted) = mpsc::channel(WAITING);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (tasks, rpc, counted) = (tasks.clone(), rpc(), Arc::clone(&conns));
            thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || runtime.block_on(work(accepted, tasks, rpc, counted)))?;
            workers.push(Worker { conns, queue });
        }
        Ok(Workers(workers))
    }

    /// Conns that are served now.
    pub(super) fn conns(&self) -> usize {
        self.0.iter().map(|w| w.conns.load(Ordering::Relaxed)).sum()
    }

    /// Hands a client to the worker with the fewest. Gives it back if that one does not take it.
    pub(super) fn hand_over(&self, accepted: Accepted) -> Result<(), Accepted> {
        let least = self.0.iter().min_by_key(|w| w.conns.load(Ordering::Relaxed));
        let Some(worker) = least else { return Err(accepted) };
        worker.conns.fetch_add(1, Ordering::Relaxed);
        worker.queue.try_send(accepted).map_err(|error| {
            worker.conns.fetch_sub(1, Ordering::Relaxed);
            error.into_inner()
        })
    }
}

/// One conn in the count, until dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A conn, and its places in the counts.
struct Served {
    conn: Conn,
    _counted: Counted,
    _entry: Option<Box<Entry>>,
}

impl Future for Served {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.conn).poll(cx)
    }
}

async fn work(
    mut queue: mpsc::Receiver<Accepted>,
    tasks: Tasks,
    rpc: Arc<RpcMetrics>,
    conns: Arc<AtomicUsize>,
) {
    tasks.spawn_aside("memory", memory::give_back());
    while let Some(accepted) = queue.recv().await {
        let (rpc, counted) = (Arc::clone(&rpc), Counted(Arc::clone(&conns)));
        let Accepted { id, socket, peer, listener, entry, watcher } = accepted;
        let client = match TcpStream::from_std(socket) {
            Ok(client) => client,
            Err(error) => {
                tracing::warn!(%error, "a client's socket cannot be used");
                continue;
            }
        };
        let seed = uuid::Uuid::new_v4().as_u64_pair();
        // The version and variant bits of each half are fixed: mixed, none is.
        let seed = seed.0 ^ seed.1.rotate_left(32);
        let conn = Conn::new(id, client, peer, listener, rpc, seed);
        if let Some(mode) = watcher.mode() {
            conn.leave(mode);
        }
        tasks.spawn("conn", watcher, Served { conn, _counted: counted, _entry: entry });
    }
}
