//! Leaving: one [`Trigger`], many [`Watcher`]s; the drain is complete when every watcher is dropped.
//! And [`Tasks`], the only place that starts tokio tasks.
//!
//! Decides nothing: when to drain, for how long, and what to say to whom is its callers' business.
//! Never ends a task from outside.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Let turns end, take nothing new.
    Drain,
    /// Close what is open, cleanly, and go.
    Now,
}

/// A new drain: the side that starts it, and the first watcher (clone it for each one who must be waited for).
pub fn new() -> (Trigger, Watcher) {
    let (signal, heard) = watch::channel(None);
    (Trigger { signal }, Watcher { signal: heard })
}

/// Starts the drain and waits for its end. Dropping it tells every watcher [`Mode::Now`].
#[derive(Debug)]
pub struct Trigger {
    signal: watch::Sender<Option<Mode>>,
}

impl Trigger {
    /// Tells every watcher. A later call can only raise the mode, never lower it.
    pub fn start(&self, mode: Mode) {
        self.signal.send_if_modified(|now| {
            let raised = *now < Some(mode);
            if raised {
                *now = Some(mode);
            }
            raised
        });
    }

    /// The deadline passed, or the operator asked twice: [`Mode::Now`] for everybody.
    pub fn escalate(&self) {
        self.start(Mode::Now);
    }

    /// Returns when every watcher is dropped. Has no deadline of its own.
    pub async fn complete(&self) {
        self.signal.closed().await;
    }

    /// How many watchers hold the drain up.
    pub fn watchers(&self) -> usize {
        self.signal.receiver_count()
    }
}

/// Hears of the drain, and holds it up until dropped.
#[derive(Clone, Debug)]
pub struct Watcher {
    signal: watch::Receiver<Option<Mode>>,
}

impl Watcher {
    /// Returns the mode once the drain has started; at once if it has.
    pub async fn signalled(&mut self) -> Mode {
        match self.signal.wait_for(|now| *now >= Some(Mode::Drain)).await {
            Ok(now) => now.unwrap_or(Mode::Drain),
            // The trigger is gone, so nobody is left who could wait for a drain.
            Err(_) => Mode::Now,
        }
    }

    /// The mode, or `None` while nobody leaves. Costs a read lock: for each conn and placement, not for each byte.
    pub fn mode(&self) -> Option<Mode> {
        *self.signal.borrow()
    }
}

/// Starts tasks, counts them, and logs the panic of each one that panics.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    running: AtomicU64,
    panicked: AtomicU64,
}

impl Tasks {
    /// No task yet.
    pub fn new() -> Self {
        Tasks::default()
    }

    /// Starts `task`; the drain is not complete before it has ended. A panic ends it, is logged with `name`, and
    /// reaches nobody else: what the task held is given back by `Drop`.
    pub fn spawn<F>(&self, name: &'static str, watcher: Watcher, task: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.start(name, Some(watcher), task)
    }

    /// The same, but no drain waits for it: for what serves until the process ends.
    pub fn spawn_aside<F>(&self, name: &'static str, task: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.start(name, None, task)
    }

    /// How many tasks are running.
    pub fn running(&self) -> u64 {
        self.counts.running.load(Ordering::Relaxed)
    }

    /// How many tasks have panicked since the start.
    pub fn panicked(&self) -> u64 {
        self.counts.panicked.load(Ordering::Relaxed)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that starts tasks")]
    fn start<F>(&self, name: &'static str, hold: Option<Watcher>, task: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        tokio::spawn(Guarded { task, name, counted: Counted::new(&self.counts), hold })
    }
}

/// One running task in the count, until dropped.
struct Counted(Arc<Counts>);

impl Counted {
    fn new(counts: &Arc<Counts>) -> Self {
        counts.running.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(counts))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

pin_project! {
    // A hand-made future, because an async block would hold the task twice: once as its capture, once as what it awaits.
    // Fields drop in this order: the task's own values, the count, and the hold on the drain last.
    struct Guarded<F> {
        #[pin]
        task: F,
        name: &'static str,
        counted: Counted,
        hold: Option<Watcher>,
    }
}

impl<F: Future<Output = ()>> Future for Guarded<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        match catch_unwind(AssertUnwindSafe(|| this.task.poll(cx))) {
            Ok(poll) => poll,
            Err(panic) => {
                this.counted.0.panicked.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    kind = "task",
                    task = *this.name,
                    panic = panic_text(&*panic),
                    "a task panicked"
                );
                Poll::Ready(())
            }
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn a_drain_is_complete_exactly_when_the_last_watcher_is_dropped() {
        let (trigger, first) = new();
        let second = first.clone();
        trigger.start(Mode::Drain);
        drop(first);
        assert!(timeout(SOON, trigger.complete()).await.is_err());
        assert_eq!(trigger.watchers(), 1);
        drop(second);
        timeout(SOON, trigger.complete()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_watcher_hears_a_drain_that_began_before_it_listened() {
        let (trigger, watcher) = new();
        trigger.start(Mode::Drain);
        let mut late = watcher.clone();
        assert_eq!(timeout(SOON, late.signalled()).await.unwrap(), Mode::Drain);
        assert_eq!(late.mode(), Some(Mode::Drain));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_hears_of_a_drain_before_it_starts() {
        let (_trigger, mut watcher) = new();
        assert_eq!(watcher.mode(), None);
        assert!(timeout(SOON, watcher.signalled()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_escalation_reaches_those_who_drain_and_is_never_taken_back() {
        let (trigger, mut watcher) = new();
        trigger.start(Mode::Drain);
        assert_eq!(timeout(SOON, watcher.signalled()).await.unwrap(), Mode::Drain);
        trigger.escalate();
        assert_eq!(timeout(SOON, watcher.signalled()).await.unwrap(), Mode::Now);
        trigger.start(Mode::Drain);
        assert_eq!(watcher.mode(), Some(Mode::Now));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_trigger_means_now() {
        let (trigger, mut watcher) = new();
        drop(trigger);
        assert_eq!(timeout(SOON, watcher.signalled()).await.unwrap(), Mode::Now);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_waits_for_a_task_but_not_for_one_aside() {
        let (trigger, watcher) = new();
        let tasks = Tasks::new();
        let (finish, finished) = oneshot::channel::<()>();
        tasks.spawn("turn", watcher, async {
            let _ = finished.await;
        });
        let aside = tasks.spawn_aside("metrics", std::future::pending());
        trigger.start(Mode::Drain);
        assert!(timeout(SOON, trigger.complete()).await.is_err());
        assert_eq!(tasks.running(), 2);
        finish.send(()).unwrap();
        timeout(SOON, trigger.complete()).await.unwrap();
        assert_eq!(tasks.running(), 1);
        aside.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_counted_gives_back_what_the_task_held_and_stops_nobody_else() {
        let (trigger, watcher) = new();
        let tasks = Tasks::new();
        let held = Arc::new(());
        let inside = Arc::clone(&held);
        let task = tasks.spawn("bad", watcher.clone(), async move {
            let _inside = inside;
            panic!("our own mistake");
        });
        let good = tasks.spawn("good", watcher, async {});
        task.await.unwrap();
        good.await.unwrap();
        timeout(SOON, trigger.complete()).await.unwrap();
        assert_eq!((tasks.panicked(), tasks.running()), (1, 0));
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn guarding_a_task_does_not_double_its_size() {
        let task = async {
            let large = [0u8; 4096];
            std::future::ready(()).await;
            std::hint::black_box(&large);
        };
        let alone = size_of_val(&task);
        let counts = Arc::new(Counts::default());
        let guarded = Guarded { task, name: "t", counted: Counted::new(&counts), hold: None };
        assert!(size_of_val(&guarded) <= alone + 64, "{} for {alone}", size_of_val(&guarded));
    }

    #[test]
    fn a_panic_message_is_found_in_both_forms_that_rust_makes() {
        assert_eq!(panic_text(&"literal"), "literal");
        assert_eq!(panic_text(&String::from("made")), "made");
        assert_eq!(panic_text(&7_u8), "no message");
    }
}
