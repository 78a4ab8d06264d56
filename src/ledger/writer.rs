//! Writes the ledger's file: one thread, one batch at a time. Claims that come while a batch is under way share the next
//! one, and its sync. What is written of a session is what memory says of it in that moment, so a batch can be tried
//! again; when the file fails, claims are undone and refused until it works again, and nothing else is lost.
//!
//! Locks: who holds a part of the table may take the queue, never the reverse.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use ahash::AHashSet;
use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::oneshot;

use super::file::{Key, Place, Store};
use super::memory::Table;
use super::{LedgerError, Receipt, Record};
use crate::observe::metrics::Metrics;
use crate::time::{self, Duration, Instant};

/// What the ledger was told: the words of `fairlead_ledger_errors_total`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Claim,
    Change,
    Release,
    /// Times of use, written now and then.
    Touch,
    /// The file, after it failed.
    Open,
}

impl Op {
    pub(super) const fn slug(self) -> &'static str {
        match self {
            Op::Claim => "claim",
            Op::Change => "change",
            Op::Release => "release",
            Op::Touch => "touch",
            Op::Open => "open",
        }
    }
}

/// When the writer does what nobody waits for.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    /// How long a time of use may be unwritten.
    pub(super) touch: Duration,
    /// Between two attempts at a file that failed.
    pub(super) retry: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { touch: Duration::from_secs(60), retry: Duration::from_secs(1) }
    }
}

/// Who waits for a batch.
struct Waiter {
    op: Op,
    answer: oneshot::Sender<Result<(), LedgerError>>,
}

/// What the next batch is. Its sets hold no more keys than there were records.
#[derive(Default)]
struct Batch {
    keys: AHashSet<Key>,
    /// Those of them that were claimed, and are to be undone if this fails.
    claimed: AHashSet<Key>,
    waiters: Vec<Waiter>,
}

#[derive(Default)]
struct Queue {
    next: Batch,
    touched: AHashSet<Key>,
    /// When `touched` is to be written.
    touch_at: Option<Instant>,
    /// Why nothing becomes durable now.
    down: Option<LedgerError>,
    closing: bool,
}

/// What the ledger and the thread share.
struct Shared {
    table: Arc<Table>,
    queue: Mutex<Queue>,
    wake: Condvar,
    pace: Pace,
    metrics: OnceLock<Arc<Metrics>>,
}

/// See the module's head. Dropping it writes what is left, and waits for that.
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(
        place: Box<dyn Place>,
        store: Store,
        table: Arc<Table>,
        pace: Pace,
    ) -> Result<Self, LedgerError> {
        let (queue, wake, metrics) = Default::default();
        let shared = Arc::new(Shared { table, queue, wake, pace, metrics });
        let (theirs, file) = (Arc::clone(&shared), place.file());
        let thread = thread::Builder::new().name("ledger".to_owned()).spawn(move || {
            let _ = catch_unwind(AssertUnwindSafe(|| theirs.run(&*place, store)));
            theirs.end();
        });
        let no_thread = |error: std::io::Error| LedgerError::Failing {
            file,
            why: format!("no thread to write it: {error}").into(),
        };
        Ok(Writer { shared, thread: Some(thread.map_err(no_thread)?) })
    }

    /// A claim: while the file fails it is refused, and must not be entered. Call it with the session's part locked.
    pub(super) fn claim(&self, key: Key) -> Result<Receipt, LedgerError> {
        let mut queue = self.shared.queue.lock();
        if let Some(error) = &queue.down {
            self.shared.count(Op::Claim);
            return Err(error.clone());
        }
        queue.next.claimed.insert(key.clone());
        Ok(self.enter(queue, key, Op::Claim))
    }

    /// A change that must last, or a release. Call it with the session's part locked.
    pub(super) fn write(&self, key: Key, op: Op) -> Receipt {
        let mut queue = self.shared.queue.lock();
        if let Some(error) = &queue.down {
            let receipt = Receipt::failed(error.clone());
            self.shared.count(op);
            queue.next.keys.insert(key);
            return receipt;
        }
        self.enter(queue, key, op)
    }

    /// A time of use. Call it with the session's part locked.
    pub(super) fn touch(&self, key: Key) {
        let mut queue = self.shared.queue.lock();
        queue.touched.insert(key);
        if queue.touch_at.is_none() {
            queue.touch_at = Some(time::now() + self.shared.pace.touch);
            self.shared.wake.notify_one();
        }
    }

    /// Whether what is written becomes durable.
    pub(super) fn up(&self) -> bool {
        self.shared.queue.lock().down.is_none()
    }

    /// Where to count errors and show the state.
    pub(super) fn report(&self, metrics: Arc<Metrics>) {
        let queue = self.shared.queue.lock();
        metrics.ledger_up.set(queue.down.is_none());
        let _ = self.shared.metrics.set(metrics);
    }

    fn enter(&self, mut queue: MutexGuard<'_, Queue>, key: Key, op: Op) -> Receipt {
        let (answer, receipt) = oneshot::channel();
        queue.next.keys.insert(key);
        queue.next.waiters.push(Waiter { op, answer });
        drop(queue);
        self.shared.wake.notify_one();
        Receipt::waiting(receipt)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.queue.lock().closing = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread is to do now.
enum Work {
    Write(Batch),
    Close,
}

impl Shared {
    fn run(&self, place: &dyn Place, store: Store) {
        let mut store = Some(store);
        loop {
            let Work::Write(batch) = self.next() else { return };
            store = match store {
                Some(store) => self.write(store, batch),
                None => self.recover(place, batch),
            };
            if store.is_none() && !self.wait_to_retry() {
                return;
            }
        }
    }

    /// Waits for something to write.
    fn next(&self) -> Work {
        let mut queue = self.queue.lock();
        loop {
            let due = queue.touch_at.is_some_and(|at| at <= time::now());
            if due || queue.closing {
                queue.touch_at = None;
                let touched = mem::take(&mut queue.touched);
                queue.next.keys.extend(touched);
            }
            // A file that failed is tried whether or not there is something to write.
            if !queue.next.keys.is_empty() || queue.down.is_some() {
                return Work::Write(mem::take(&mut queue.next));
            }
            if queue.closing {
                return Work::Close;
            }
            match queue.touch_at {
                Some(at) => drop(self.wake.wait_until(&mut queue, at.into_std())),
                None => self.wake.wait(&mut queue),
            }
        }
    }

    /// Writes the batch; gives the store back unless it failed.
    fn write(&self, store: Store, batch: Batch) -> Option<Store> {
        match store.write(&self.snapshot(&batch.keys)) {
            Ok(()) => {
                for waiter in batch.waiters {
                    let _ = waiter.answer.send(Ok(()));
                }
                Some(store)
            }
            Err(error) => {
                // Closed before anybody hears of it.
                drop(store);
                self.fail(batch, &error);
                None
            }
        }
    }

    /// What memory says of these sessions now.
    fn snapshot(&self, keys: &AHashSet<Key>) -> Vec<(Key, Option<Arc<Record>>)> {
        let now = |key: &Key| self.table.read(&key.session).get(&key.pool, &key.session).cloned();
        keys.iter().map(|key| (key.clone(), now(key))).collect()
    }

    /// Everybody who waits hears of it, those who came meanwhile too; claims are undone; the keys stay to be written,
    /// because what is in the file now may be either.
    fn fail(&self, failed: Batch, error: &LedgerError) {
        let mut queue = self.queue.lock();
        queue.down = Some(error.clone());
        let meanwhile = mem::take(&mut queue.next);
        queue.next.keys.extend(failed.keys);
        queue.next.keys.extend(meanwhile.keys);
        drop(queue);
        // Nobody enters a claim now, so these are all that are not durable.
        for key in failed.claimed.iter().chain(&meanwhile.claimed) {
            self.table.write(&key.session).remove(&key.pool, &key.session);
        }
        tracing::error!(%error, reason = error.slug(), "the ledger cannot be written: new sessions are refused");
        if let Some(metrics) = self.metrics.get() {
            metrics.ledger_up.set(false);
        }
        let waiters = failed.waiters.into_iter().chain(meanwhile.waiters);
        let mut heard = false;
        for waiter in waiters {
            heard = true;
            self.count(waiter.op);
            let _ = waiter.answer.send(Err(error.clone()));
        }
        if !heard {
            self.count(Op::Touch);
        }
    }

    /// Opens the file anew and writes what it may lack.
    fn recover(&self, place: &dyn Place, batch: Batch) -> Option<Store> {
        let written = Store::open(place).and_then(|store| {
            store.write(&self.snapshot(&batch.keys))?;
            Ok(store)
        });
        let mut queue = self.queue.lock();
        match written {
            Ok(store) => {
                queue.down = None;
                if let Some(metrics) = self.metrics.get() {
                    metrics.ledger_up.set(true);
                }
                tracing::info!("the ledger can be written again");
                Some(store)
            }
            Err(error) => {
                self.count(Op::Open);
                queue.next.keys.extend(batch.keys);
                queue.down = Some(error);
                None
            }
        }
    }

    /// Whether to try again; not when the ledger is closed.
    fn wait_to_retry(&self) -> bool {
        let until = (time::now() + self.pace.retry).into_std();
        let mut queue = self.queue.lock();
        while !queue.closing {
            if self.wake.wait_until(&mut queue, until).timed_out() {
                return true;
            }
        }
        let lost = queue.next.keys.len();
        tracing::error!(lost, "the ledger is closed before its last changes could be written");
        false
    }

    /// The thread is gone: nobody waits for it in vain.
    fn end(&self) {
        let mut queue = self.queue.lock();
        queue.down = Some(LedgerError::Closed);
        queue.next.waiters.clear();
    }

    fn count(&self, op: Op) {
        if let Some(metrics) = self.metrics.get() {
            metrics.ledger_errors.inc(op.slug());
        }
    }
}
