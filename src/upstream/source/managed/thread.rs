//! The one thread that starts CLIs and writes the state file.
//!
//! A thread of its own, because the kernel sends the parent-death signal when the THREAD that
//! forked ends, not the process: a CLI started from a pool thread would be killed when the pool
//! shrinks. And because `fork` and `fsync` take milliseconds that the data path does not have.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::state::State;

type Job = Box<dyn FnOnce(&mut State) + Send>;

/// A handle of the thread. The last one that is dropped ends it, and with it the lock on the state
/// directory and any CLI that was left.
#[derive(Clone)]
pub(super) struct Thread(Arc<Inner>);

struct Inner {
    jobs: Option<mpsc::Sender<Job>>,
    handle: Option<JoinHandle<()>>,
}

impl Thread {
    pub(super) fn start(mut state: State) -> io::Result<Self> {
        let (jobs, mut queue) = mpsc::channel::<Job>(64);
        let work = move || {
            while let Some(job) = queue.blocking_recv() {
                job(&mut state);
            }
        };
        let handle = std::thread::Builder::new().name("fairlead-cli".into()).spawn(work)?;
        Ok(Thread(Arc::new(Inner { jobs: Some(jobs), handle: Some(handle) })))
    }

    /// Runs `job` on the thread. What it returns is dropped there if nobody waits any more.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> io::Result<T> {
        let gone = || io::Error::other("the thread that starts CLIs has ended");
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |state| {
            let _ = answer.send(job(state));
        });
        self.0.jobs.as_ref().ok_or_else(gone)?.send(job).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(handle) = self.handle.take() {
            let _ = handle.join();
        }
    }
}
