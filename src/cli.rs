//! The command line: arguments in, exit code out.
//!
//! Each command is a file. None of them writes anywhere but to the two streams that it is given.

mod check;
mod config;
mod describe;
mod healthcheck;
mod isolation;
mod run;
mod token;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::problem::Colours;

/// What `--version` says after the name: version and git revision (`cli/build.rs`).
pub const VERSION: &str = env!("FAIRLEAD_VERSION");

/// Layer-4/7 reverse proxy and load balancer for fleets of GitHub Copilot CLI servers.
#[derive(Debug, Parser)]
#[command(name = "fairlead", version = VERSION)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Check(check::Check),
    Healthcheck(healthcheck::Healthcheck),
    #[command(subcommand)]
    Config(config::Config),
    #[command(subcommand)]
    Token(token::Token),
}

/// Which configuration file.
#[derive(Args, Debug)]
struct ConfigFile {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/fairlead/fairlead.toml")]
    config: PathBuf,
}

/// How a command ended, as the shell sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Clean,
    /// It failed while running.
    Failure,
    /// The command line is wrong.
    Usage,
    /// The configuration is wrong (`EX_CONFIG` of sysexits).
    BadConfig,
}

impl Exit {
    /// The exit code.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Clean => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::BadConfig => 78,
        }
    }
}

/// Where a command writes.
pub struct Streams<'a> {
    /// What was asked for.
    pub out: &'a mut dyn Write,
    /// What is wrong.
    pub err: &'a mut dyn Write,
    /// Whether `err` is a terminal that shows colours.
    pub colours: Colours,
}

/// Runs the command line `arguments` (the program's name first) on the process's own streams.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colours = if io::stderr().is_terminal() && !plain { Colours::Yes } else { Colours::No };
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let mut streams = Streams { out: &mut out, err: &mut err, colours };
    ExitCode::from(execute(arguments, &mut streams).code())
}

/// Runs the command line `arguments` (the program's name first) on `streams`.
pub fn execute(arguments: impl IntoIterator<Item = OsString>, streams: &mut Streams<'_>) -> Exit {
    let command = match CommandLine::try_parse_from(arguments) {
        Ok(line) => line.command,
        Err(refusal) => return say(&refusal, streams),
    };
    let done = match command {
        Command::Run(run) => run.run(streams),
        Command::Check(check) => check.run(streams),
        Command::Healthcheck(check) => check.run(streams),
        Command::Config(config) => config.run(streams),
        Command::Token(token) => token.run(streams),
    };
    // A reader that went away (`| head`) leaves nobody to tell.
    done.unwrap_or(Exit::Failure)
}

/// Help and version are asked for; all else is a wrong command line.
fn say(refusal: &clap::Error, streams: &mut Streams<'_>) -> Exit {
    let text = refusal.render();
    let (to, exit): (&mut dyn Write, Exit) = if refusal.use_stderr() {
        (&mut *streams.err, Exit::Usage)
    } else {
        (&mut *streams.out, Exit::Clean)
    };
    match (streams.colours, refusal.use_stderr()) {
        (Colours::Yes, true) => write!(to, "{}", text.ansi()),
        (Colours::Yes | Colours::No, _) => write!(to, "{text}"),
    }
    .map_or(Exit::Failure, |()| exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exit, standard output and standard error of a command line.
    pub(super) fn run(arguments: &[&str]) -> (Exit, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut streams = Streams { out: &mut out, err: &mut err, colours: Colours::No };
        let line = std::iter::once("fairlead").chain(arguments.iter().copied());
        let exit = execute(line.map(OsString::from), &mut streams);
        (exit, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn the_version_has_the_git_revision() {
        let (exit, out, _) = run(&["--version"]);
        assert_eq!(exit, Exit::Clean);
        assert_eq!(out, format!("fairlead {VERSION}\n"));
        let plain = env!("CARGO_PKG_VERSION");
        if std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".git").exists() {
            let revision = VERSION.strip_prefix(&format!("{plain} (")).unwrap();
            assert!(revision.len() > 7, "{VERSION}");
        } else {
            assert!(VERSION.starts_with(plain));
        }
    }

    #[test]
    fn a_wrong_command_line_is_usage() {
        let (exit, out, err) = run(&["chek"]);
        assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
        assert!(err.contains("check"), "{err}");
    }

    #[test]
    fn clap_finds_no_fault_with_the_command_line() {
        use clap::CommandFactory as _;
        CommandLine::command().debug_assert();
    }

    #[test]
    fn a_reader_that_went_away_is_a_failure_not_a_panic() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (mut out, mut err) = (Gone, Gone);
        let mut streams = Streams { out: &mut out, err: &mut err, colours: Colours::No };
        let line = ["fairlead", "check", "--config", "/nonexistent"].map(OsString::from);
        assert_eq!(execute(line, &mut streams), Exit::Failure);
    }
}
