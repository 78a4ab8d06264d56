//! The composition root: the only place that knows everything. It builds what the config describes, runs it, and takes
//! it down in order.

mod build;
mod managed;
mod memory;
mod shutdown;
mod workers;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::Config;
use crate::upstream::source::managed::StateError;

/// Why fairlead could not start. Nothing is left behind.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be listened at.
    Bind(String, SocketAddr, io::Error),
    /// The state directory cannot be used.
    State(PathBuf, StateError),
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
            StartError::System(what, error) => write!(f, "cannot {what}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

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
        let server = build::build(config, dropped_lines).await?;
        shutdown::serve(server).await;
        Ok(())
    })
}
