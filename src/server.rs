//! The composition root: the only place that knows everything. It builds what the config describes, runs it, and takes
//! it down in order.

mod build;
mod callers;
mod listeners;
mod managed;
mod members;
mod memory;
mod secrets;
mod shutdown;
mod signals;
mod workers;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::sync::mpsc;

use crate::config::Config;
use crate::drain::Mode;
use crate::ledger::LedgerError;
use crate::stream::files::TlsError;
use crate::upstream::source::managed::StateError;

use signals::Signals;

/// Orders to leave that may wait: more than anybody can mean.
const ORDERS: usize = 8;

/// Why fairlead could not start. Nothing is left behind.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be listened at.
    Bind(String, SocketAddr, io::Error),
    /// The state directory cannot be used.
    State(PathBuf, StateError),
    /// Whose sessions are cannot be read.
    Ledger(LedgerError),
    /// A listener cannot speak TLS.
    Tls(String, TlsError),
    /// TLS cannot be spoken with the upstreams of a pool.
    PoolTls(String, TlsError),
    /// The system refuses something basic: a thread, a runtime, a signal.
    System(&'static str, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Bind(what, address, error) => {
                write!(f, "cannot listen at {address} for {what}: {error}")
            }
            StartError::State(dir, error) => {
                write!(f, "cannot use the state directory {}: {error}", dir.display())
            }
            StartError::Ledger(error) => write!(f, "cannot use the ledger: {error}"),
            StartError::Tls(listener, error) => {
                write!(f, "listener {listener} cannot speak TLS: {error}")
            }
            StartError::PoolTls(pool, error) => {
                write!(f, "pool {pool} cannot speak TLS: {error}")
            }
            StartError::System(what, error) => write!(f, "cannot {what}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// Where a server listens.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Of each listener, in the order of the configuration.
    pub listeners: Vec<SocketAddr>,
    /// Of `/metrics`, `/livez` and `/readyz`.
    pub metrics: Option<SocketAddr>,
}

/// A server whose parts are built and started: its sockets listen, and nothing is accepted before [`Running::serve`].
pub struct Running {
    server: build::Server,
    addresses: Addresses,
}

impl Running {
    /// Builds what `config` describes. Must be called within a tokio runtime. Errors: it could not start.
    pub async fn start(
        config: &Config,
        dropped_lines: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let (server, addresses) = build::build(config, dropped_lines).await?;
        Ok(Running { server, addresses })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Serves until it is asked to leave, and leaves so; when it is asked again meanwhile, or nobody can ask any more:
    /// now. What it started runs on the caller's runtime, and ends with that at the latest.
    pub async fn serve(self, asked: mpsc::Receiver<Mode>) {
        shutdown::serve(self.server, asked).await;
    }
}

/// Serves what `config` describes until a signal ends it. Blocks. Errors: it could not start.
pub fn run(
    config: &Config,
    dropped_lines: impl Fn() -> u64 + Send + Sync + 'static,
) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| StartError::System("start the runtime", error))?;
    runtime.block_on(async {
        let signals =
            Signals::new().map_err(|error| StartError::System("listen to signals", error))?;
        let running = Running::start(config, dropped_lines).await?;
        let (orders, asked) = mpsc::channel(ORDERS);
        running.server.tasks.spawn_aside("signals", signals.forward(orders));
        running.serve(asked).await;
        Ok(())
    })
}
