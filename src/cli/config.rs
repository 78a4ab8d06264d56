//! `fairlead config ...`: the configuration as fairlead understands it.

use std::io;

use clap::{Args, Subcommand};

use super::{ConfigFile, Exit, Streams, check};
use crate::config;
use crate::config::dump::dump;

/// Show the configuration as it is understood.
#[derive(Debug, Subcommand)]
pub(super) enum Config {
    Dump(Dump),
}

/// Print the configuration with every default filled in, secrets as ***.
#[derive(Args, Debug)]
pub(super) struct Dump {
    #[command(flatten)]
    file: ConfigFile,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Config {
    pub(super) fn run(&self, streams: &mut Streams<'_>) -> io::Result<Exit> {
        match self {
            Config::Dump(dump) => dump.run(streams),
        }
    }
}

impl Dump {
    fn run(&self, streams: &mut Streams<'_>) -> io::Result<Exit> {
        let config = match config::load(&self.file.config) {
            Ok((config, _)) => config,
            Err(problems) => {
                check::report(&problems, streams)?;
                return Ok(Exit::BadConfig);
            }
        };
        let table = dump(&config);
        if self.json {
            let json = serde_json::to_string_pretty(&table).map_err(io::Error::other)?;
            writeln!(streams.out, "{json}")?;
        } else {
            write!(streams.out, "{}", toml::to_string(&table).map_err(io::Error::other)?)?;
        }
        Ok(Exit::Clean)
    }
}
