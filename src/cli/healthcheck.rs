//! `fairlead healthcheck`: whether a running fairlead wants traffic; for container probes.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use super::{ConfigFile, Exit, Streams};
use crate::config;
use crate::observe::healthcheck::{Health, healthcheck};

/// Ask a running fairlead whether it is ready.
#[derive(Args, Debug)]
pub(super) struct Healthcheck {
    #[command(flatten)]
    file: ConfigFile,
    /// The metrics listener; default: the one of the configuration.
    #[arg(long, value_name = "ADDRESS")]
    address: Option<SocketAddr>,
    /// How long to wait.
    #[arg(long, value_name = "DURATION", default_value = "3s")]
    timeout: humantime::Duration,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Healthcheck {
    pub(super) fn run(&self, streams: &mut Streams<'_>) -> io::Result<Exit> {
        let Some(address) = self.address.or_else(|| self.configured()) else {
            writeln!(streams.err, "error: no [metrics] listener is configured; give --address")?;
            return Ok(Exit::BadConfig);
        };
        let limit: Duration = self.timeout.into();
        let (state, why) = match healthcheck(address, limit) {
            Health::Ready => ("ready", String::new()),
            Health::NotReady(why) => ("not ready", why),
            Health::Unreachable(error) => ("unreachable", error.to_string()),
        };
        let why = why.trim();
        if self.json {
            let report = serde_json::json!({ "state": state, "why": why });
            writeln!(streams.out, "{report}")?;
        } else if why.is_empty() {
            writeln!(streams.out, "{state}")?;
        } else {
            writeln!(streams.out, "{state}: {why}")?;
        }
        Ok(if state == "ready" { Exit::Clean } else { Exit::Failure })
    }

    fn configured(&self) -> Option<SocketAddr> {
        let (config, _) = config::load(&self.file.config).ok()?;
        config.metrics.map(|m| m.bind)
    }
}
