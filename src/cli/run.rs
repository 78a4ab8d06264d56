//! `fairlead run`: serve until a signal ends it.

use std::io;

use clap::Args;

use super::check::report;
use super::{ConfigFile, Exit, Streams};
use crate::config::{self, LogFormat};
use crate::observe::lines;
use crate::observe::logging::{self, Format};
use crate::server;

/// Serve what the configuration describes. TERM drains, INT (or a second TERM) ends at once.
#[derive(Args, Debug)]
pub(super) struct Run {
    #[command(flatten)]
    file: ConfigFile,
}

impl Run {
    pub(super) fn run(&self, streams: &mut Streams<'_>) -> io::Result<Exit> {
        let config = match config::load(&self.file.config) {
            Ok((config, warnings)) => {
                report(&warnings, streams)?;
                config
            }
            Err(problems) => {
                report(&problems, streams)?;
                return Ok(Exit::BadConfig);
            }
        };
        let format = match config.log.format {
            LogFormat::Auto => None,
            LogFormat::Json => Some(Format::Json),
            LogFormat::Text => Some(Format::Text),
        };
        let mut level = config.log.level.word().to_owned();
        if !config.log.access {
            level = format!("{level},{}=off", lines::TARGET);
        }
        let log = match logging::start(&level, format) {
            Ok(log) => log,
            Err(error) => {
                writeln!(streams.err, "error: {error}")?;
                return Ok(Exit::Failure);
            }
        };
        tracing::info!(version = super::VERSION, config = %self.file.config.display(), "fairlead starts");
        let served = server::run(&config, log.dropped());
        drop(log);
        if let Err(error) = served {
            writeln!(streams.err, "error: {error}")?;
            return Ok(Exit::Failure);
        }
        Ok(Exit::Clean)
    }
}
