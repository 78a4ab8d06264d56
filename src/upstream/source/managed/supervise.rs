//! The life of one managed CLI, again and again: start, ready, ended, wait.
//!
//! Says what happens through `Status` and the log; never touches a session or a link.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::pin::pin;

use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, sleep_until, timeout};

use super::backoff::Backoff;
use super::output::Output;
use super::process::Process;
use super::thread::Thread;
use super::{Spec, Status, ping};
use crate::time::{self, Duration, Instant};

/// Fresh ports tried at once when somebody else took ours; then it counts as a failure.
const PORT_ATTEMPTS: u32 = 5;
/// Between two pings of a CLI that says it listens.
const PING_PAUSE: Duration = Duration::from_millis(100);
/// For the last lines in a pipe, once nobody is left to write.
const LAST_LINES: Duration = Duration::from_millis(200);

/// What the owner of a CLI may ask for.
pub(super) enum Order {
    /// End it (TERM) and start it again at once.
    Restart(String),
    /// End it (TERM) for good.
    Stop,
    /// End it (KILL) for good.
    Kill,
}

/// The orders that come in. All senders gone means: stop.
pub(super) struct Orders {
    pub(super) queue: mpsc::Receiver<Order>,
    pub(super) closed: bool,
}

impl Orders {
    async fn next(&mut self) -> Order {
        match self.queue.recv().await {
            Some(order) => order,
            None if self.closed => std::future::pending().await,
            None => {
                self.closed = true;
                Order::Stop
            }
        }
    }
}

/// How one life ended.
enum End {
    Stop,
    Restart,
    Failed(Failure),
}

struct Failure {
    why: String,
    reason: Reason,
    ready_for: Option<Duration>,
}

/// Why a CLI is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// It ended by itself, having been ready.
    Exited,
    /// It ended before it was ready.
    ExitedEarly,
    /// It was not ready in time.
    TooSlow,
    /// There was no process at all.
    NotStarted,
    /// Somebody else took its port.
    PortTaken,
    /// Somebody wanted it.
    Asked,
}

impl Reason {
    /// The word for metrics and logs.
    const fn slug(self) -> &'static str {
        match self {
            Reason::Exited => "exited",
            Reason::ExitedEarly => "exited_early",
            Reason::TooSlow => "too_slow",
            Reason::NotStarted => "not_started",
            Reason::PortTaken => "port_taken",
            Reason::Asked => "asked",
        }
    }
}

/// Why a life is over, before anything is done about it.
enum Cause {
    Exited,
    TooLate(String),
    Asked(Order),
}

/// The supervisor of one CLI.
pub(super) struct Supervisor {
    pub(super) spec: Spec,
    pub(super) thread: Thread,
    pub(super) status: watch::Sender<Status>,
    pub(super) orders: Orders,
    pub(super) backoff: Backoff,
    pub(super) generation: u64,
}

impl Supervisor {
    /// Runs until it is stopped.
    pub(super) async fn run(mut self) {
        let mut port_attempts = 0;
        loop {
            self.set(Status::Starting { attempt: self.backoff.failures() + 1 });
            match self.live().await {
                End::Stop => break,
                End::Restart => {
                    port_attempts = 0;
                    self.spec.restarts.inc(Reason::Asked.slug());
                }
                End::Failed(Failure { reason: Reason::PortTaken, .. })
                    if port_attempts < PORT_ATTEMPTS =>
                {
                    port_attempts += 1;
                    self.spec.restarts.inc(Reason::PortTaken.slug());
                }
                End::Failed(failure) => {
                    port_attempts = 0;
                    let reason = failure.reason;
                    if !self.pause(failure).await {
                        break;
                    }
                    self.spec.restarts.inc(reason.slug());
                }
            }
        }
        self.set(Status::Stopped);
    }

    fn set(&self, status: Status) {
        self.status.send_replace(status);
    }

    /// Waits before the next start; false: stop instead.
    async fn pause(&mut self, failure: Failure) -> bool {
        let wait = self.backoff.failed(failure.ready_for);
        let failures = self.backoff.failures();
        let until = time::now() + wait;
        let status = Status::Backoff { until, failures, last: failure.why.clone() };
        tracing::warn!(
            pool = %self.spec.pool, upstream = %self.spec.upstream(), failures,
            crash_loop = status.is_crash_loop(), reason = failure.reason.slug(), why = %failure.why,
            wait_seconds = wait.as_secs_f64(), "CLI failed; it is started again after a wait"
        );
        self.set(status);
        tokio::select! {
            order = self.orders.next() => matches!(order, Order::Restart(_)),
            () = sleep_until(until) => true,
        }
    }

    /// From one start to the moment when nothing of that process is left.
    async fn live(&mut self) -> End {
        self.spec.refresh();
        let started = match free_port() {
            Ok(port) => {
                Process::start(&self.spec, port, &self.thread).await.map(|started| (port, started))
            }
            Err(error) => Err(error),
        };
        let (port, (process, stdout, stderr)) = match started {
            Ok(started) => started,
            Err(error) => {
                let why = format!("cannot be started: {error}");
                return End::Failed(Failure { why, reason: Reason::NotStarted, ready_for: None });
            }
        };
        tracing::info!(
            pool = %self.spec.pool, upstream = %self.spec.upstream(), pid = process.pid(), port,
            "CLI started"
        );
        let output = Output::new(&self.spec, process.pid());
        let pump = output.pump(stdout, stderr);
        let ended = alongside(self.attend(process, &output), pump).await;
        self.judge(ended, &output, port)
    }

    /// Says what became of a process that is dead and reaped by now.
    fn judge(&self, ended: Ended, output: &Output, port: u16) -> End {
        tracing::info!(
            pool = %self.spec.pool, upstream = %self.spec.upstream(), pid = ended.pid,
            exit = %ended.exit, "CLI ended"
        );
        let (why, reason) = match ended.cause {
            Cause::Asked(Order::Stop | Order::Kill) => return End::Stop,
            Cause::Asked(Order::Restart(_)) => return End::Restart,
            Cause::TooLate(why) => (why, Reason::TooSlow),
            Cause::Exited if ended.ready_for.is_some() => (ended.exit, Reason::Exited),
            Cause::Exited => (ended.exit, Reason::ExitedEarly),
        };
        let last = output.last_words();
        let why = if last.is_empty() { why } else { format!("{why}: {last}") };
        let port_taken = ended.ready_for.is_none() && is_taken(port);
        let reason = if port_taken { Reason::PortTaken } else { reason };
        End::Failed(Failure { why, reason, ready_for: ended.ready_for })
    }

    async fn attend(&mut self, process: Process, output: &Output) -> Ended {
        let pid = process.pid();
        let mut ready_at = None;
        let mut cause = match self.until_ready(&process, output).await {
            Ok(addr) => self.while_ready(&process, addr, &mut ready_at).await,
            Err(cause) => cause,
        };
        let ready_for = ready_at.map(|at: Instant| time::now().saturating_duration_since(at));
        if let Cause::Asked(order) = cause {
            self.set(Status::Stopping);
            cause = Cause::Asked(self.stop_politely(&process, order).await);
        }
        // At once, before the clean-up: links are lost now.
        self.set(Status::Exited { pid });
        let exit = match process.end(&self.thread).await {
            Ok(status) => status.to_string(),
            Err(error) => format!("how it ended is not known ({error})"),
        };
        Ended { pid, cause, ready_for, exit }
    }

    async fn until_ready(
        &mut self,
        process: &Process,
        output: &Output,
    ) -> Result<SocketAddr, Cause> {
        let mut ready = pin!(timeout(self.spec.ready_deadline, is_ready(output)));
        loop {
            tokio::select! {
                biased;
                () = process.exited() => return Err(Cause::Exited),
                order = self.orders.next() => match order {
                    Order::Restart(_) => {} // it is being started already
                    Order::Stop | Order::Kill => return Err(Cause::Asked(order)),
                },
                ready = &mut ready => {
                    return ready.map_err(|_| {
                        Cause::TooLate(format!("not ready after {:?}", self.spec.ready_deadline))
                    });
                }
            }
        }
    }

    async fn while_ready(
        &mut self,
        process: &Process,
        addr: SocketAddr,
        ready_at: &mut Option<Instant>,
    ) -> Cause {
        *ready_at = Some(time::now());
        self.generation += 1;
        let (pid, generation) = (process.pid(), self.generation);
        self.set(Status::Ready { addr, pid, generation });
        tracing::info!(
            pool = %self.spec.pool, upstream = %self.spec.upstream(), pid, %addr, generation,
            "CLI ready"
        );
        tokio::select! {
            biased;
            () = process.exited() => Cause::Exited,
            order = self.orders.next() => {
                self.say_asked(&order, pid);
                Cause::Asked(order)
            }
        }
    }

    fn say_asked(&self, order: &Order, pid: u32) {
        let reason = match order {
            Order::Restart(reason) => reason.as_str(),
            Order::Stop => "stop",
            Order::Kill => "stop now",
        };
        tracing::info!(
            pool = %self.spec.pool, upstream = %self.spec.upstream(), pid, reason,
            "CLI is asked to end"
        );
    }

    /// TERM to the group, and time to obey; returns what was asked for in the end.
    async fn stop_politely(&mut self, process: &Process, mut order: Order) -> Order {
        if matches!(order, Order::Kill) {
            return order;
        }
        process.terminate();
        let until = time::now() + self.spec.stop_timeout;
        loop {
            tokio::select! {
                biased;
                () = process.exited() => return order,
                next = self.orders.next() => match next {
                    Order::Kill => return next,
                    Order::Stop => order = next,
                    Order::Restart(_) => {}
                },
                () = sleep_until(until) => return order,
            }
        }
    }
}

/// A process that is dead, with all that it started.
struct Ended {
    pid: u32,
    cause: Cause,
    ready_for: Option<Duration>,
    exit: String,
}

/// Waits until the CLI has announced its port and answers there.
async fn is_ready(output: &Output) -> SocketAddr {
    let Some(port) = output.port().await else { return std::future::pending().await };
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    while let Err(error) = ping::ask(addr).await {
        tracing::debug!(%addr, %error, "CLI does not answer yet");
        sleep(PING_PAUSE).await;
    }
    addr
}

/// A port that nobody has at this moment.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn is_taken(port: u16) -> bool {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    bound.is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
}

/// Runs `main` to its end while `side` runs too; `side` gets [`LAST_LINES`] more.
async fn alongside<T>(main: impl Future<Output = T>, side: impl Future<Output = ()>) -> T {
    let (mut main, mut side) = (pin!(main), pin!(side));
    let done = tokio::select! {
        done = &mut main => done,
        () = &mut side => return main.await,
    };
    let _ = timeout(LAST_LINES, side).await;
    done
}
