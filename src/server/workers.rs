//! The threads that carry conns: each with a runtime of its own, so that a conn never changes threads.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::thread;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::listeners::Listener;
use super::memory;
use crate::drain::{Tasks, Watcher};
use crate::id::ConnId;
use crate::listen::door::Entered;
use crate::observe::metrics::RpcMetrics;
use crate::proxy::callers::Entry;
use crate::proxy::http;
use crate::proxy::jsonrpc::Conn;
use crate::proxy::tcp;

/// Conns that may wait for one worker to take them. More wait in the kernel.
const WAITING: usize = 1024;

/// A client that was accepted.
pub(super) struct Accepted {
    pub(super) id: ConnId,
    pub(super) socket: std::net::TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) listener: Listener,
    /// Its place among those of its listener and its address.
    pub(super) entry: Entrance,
    pub(super) watcher: Watcher,
}

/// Whether a client is counted among those of its listener and its address.
pub(super) enum Entrance {
    /// It is, if they are.
    Counted(Option<Box<Entry>>),
    /// It will be, when its proxy has said where it comes from.
    ByProxy,
}

struct Worker<T> {
    conns: Arc<AtomicUsize>,
    queue: mpsc::Sender<T>,
}

/// See the module's head.
pub(super) struct Workers<T = Accepted>(Vec<Worker<T>>);

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
}

impl<T> Workers<T> {
    /// Conns that are served now.
    pub(super) fn conns(&self) -> usize {
        self.0.iter().map(|w| w.conns.load(Ordering::Relaxed)).sum()
    }

    /// Hands a client to the worker with the fewest, or where that one has no room, to the first that has. Waits until one
    /// does: whoever accepts waits so long, and the kernel keeps who comes meanwhile.
    pub(super) async fn hand_over(&self, accepted: T) {
        let least = self.0.iter().min_by_key(|worker| worker.conns.load(Ordering::Relaxed));
        let room = match least.map(|worker| (worker, worker.queue.try_reserve())) {
            Some((worker, Ok(room))) => Some((worker, room)),
            Some((_, Err(_))) | None => self.room().await,
        };
        // None: the workers have ended, and the client's socket is closed.
        let Some((worker, room)) = room else { return };
        worker.conns.fetch_add(1, Ordering::Relaxed);
        room.send(accepted);
    }

    /// The first room that there is.
    async fn room(&self) -> Option<(&Worker<T>, mpsc::Permit<'_, T>)> {
        let rooms =
            self.0.iter().map(async |worker| Some((worker, worker.queue.reserve().await.ok()?)));
        let mut rooms: FuturesUnordered<_> = rooms.collect();
        while let Some(room) = rooms.next().await {
            if room.is_some() {
                return room;
            }
        }
        None
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
struct Served<C> {
    conn: C,
    _counted: Counted,
    _entry: Option<Box<Entry>>,
}

impl<C: Future<Output = ()> + Unpin> Future for Served<C> {
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
    tasks.spawn_aside("upstreams", http::connect::let_go());
    while let Some(accepted) = queue.recv().await {
        let Accepted { id, socket, peer, listener, entry, watcher } = accepted;
        let counted = Counted(Arc::clone(&conns));
        let (rpc, tasks) = (Arc::clone(&rpc), tasks.clone());
        let coming = Coming { id, listener, watcher, rpc, tasks, counted, entry };
        match TcpStream::from_std(socket) {
            Ok(socket) => coming.on(socket, peer),
            Err(error) => tracing::warn!(%error, "a client's socket cannot be used"),
        }
    }
}

/// A client that is about to be a conn.
struct Coming {
    id: ConnId,
    listener: Listener,
    watcher: Watcher,
    rpc: Arc<RpcMetrics>,
    tasks: Tasks,
    counted: Counted,
    entry: Entrance,
}

impl Coming {
    /// At once, or through the door.
    fn on(self, socket: TcpStream, peer: SocketAddr) {
        if self.listener.edge().door.is_none() {
            return self.serve(Entered::plain(socket, peer));
        }
        let (tasks, watcher) = (self.tasks.clone(), self.watcher.clone());
        tasks.spawn("enter", watcher, self.enter(socket, peer));
    }

    async fn enter(self, socket: TcpStream, peer: SocketAddr) {
        let mut leaving = self.watcher.clone();
        let (listener, id) = (self.listener.clone(), self.id);
        let edge = listener.edge();
        let Some(door) = &edge.door else { return };
        let entered = tokio::select! {
            entered = door.enter(socket, peer) => entered,
            () = leaving.escalated() => return,
        };
        match entered {
            Ok(entered) => self.serve(entered),
            Err(refused) => {
                edge.metrics.rejected.inc(refused.slug());
                let (listener, reason) = (&edge.name, refused.slug());
                if refused.is_of_evidence() {
                    tracing::warn!(
                        kind = "audit", action = "authenticate", decision = "deny", reason,
                        conn_id = id.0, client_addr = %peer, listener, ?refused,
                        "the client is not let in"
                    );
                } else {
                    tracing::debug!(listener, %peer, ?refused, "not let in");
                }
            }
        }
    }

    fn serve(self, entered: Entered) {
        let Coming { id, listener, watcher, rpc, tasks, counted, entry } = self;
        let entry = match entry {
            Entrance::Counted(entry) => entry,
            Entrance::ByProxy => match listener.edge().callers.enter(entered.peer.ip()) {
                Ok(entry) => entry,
                Err(why) => return listener.edge().metrics.rejected.inc(why),
            },
        };
        match listener {
            Listener::Jsonrpc(listener) => {
                let seed = uuid::Uuid::new_v4().as_u64_pair();
                // The version and variant bits of each half are fixed: mixed, none is.
                let seed = seed.0 ^ seed.1.rotate_left(32);
                let conn = Conn::new(id, entered, listener, rpc, seed);
                if let Some(mode) = watcher.mode() {
                    conn.leave(mode);
                }
                tasks.spawn("conn", watcher, Served { conn, _counted: counted, _entry: entry });
            }
            Listener::Http(listener) => {
                let serve = http::serve(entered, listener, id, watcher.clone());
                tasks.spawn("http", watcher, async move {
                    serve.await;
                    drop((counted, entry));
                });
            }
            Listener::Tcp(listener) => {
                let conn = tcp::serve(entered, listener, id, watcher.clone());
                tasks.spawn("tcp", watcher, Served { conn, _counted: counted, _entry: entry });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: crate::time::Duration = crate::time::Duration::from_secs(20);

    fn workers(count: usize) -> (Workers<u32>, Vec<mpsc::Receiver<u32>>) {
        let worker = |_| {
            let (queue, taken) = mpsc::channel(1);
            (Worker { conns: Arc::default(), queue }, taken)
        };
        let (all, taken) = (0..count).map(worker).unzip();
        (Workers(all), taken)
    }

    #[tokio::test]
    async fn who_comes_while_all_workers_are_behind_waits_for_the_first_that_is_not() {
        let (workers, mut taken) = workers(3);
        for client in 0..3 {
            workers.hand_over(client).await;
        }
        let mut waiting = std::pin::pin!(workers.hand_over(3));
        let polled = std::future::poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx)));
        assert!(polled.await.is_pending());
        assert_eq!(workers.conns(), 3, "it is nobody's yet");
        assert!(taken[1].recv().await.is_some());
        tokio::time::timeout(DEADLINE, waiting).await.unwrap();
        assert_eq!((taken[1].recv().await, workers.conns()), (Some(3), 4));
    }

    #[tokio::test]
    async fn one_that_is_behind_stops_nobody() {
        let (workers, mut taken) = workers(2);
        for client in 0..9 {
            tokio::time::timeout(DEADLINE, workers.hand_over(client)).await.unwrap();
            // The first takes none.
            let _ = taken[1].try_recv();
        }
        assert_eq!(taken[0].try_recv(), Ok(0));
    }
}
