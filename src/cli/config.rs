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

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::super::Exit;
    use super::super::tests::run;

    /// Every place of the configuration that a secret can have, from a file, and one that stands in it.
    fn config(dir: &Path) -> PathBuf {
        let secret = |name: &str| {
            let path = dir.join(name);
            std::fs::write(&path, format!("canary-{name}-{}\n", "x".repeat(32))).unwrap();
            format!("{{ file = \"{}\" }}", path.display())
        };
        let text = format!(
            "[[listener]]\nname = \"l\"\nbind = \"127.0.0.1:1\"\npool = \"p\"\n\
             [[listener.identity]]\nsource = \"jwt\"\nalgorithms = [\"HS256\"]\nkey = {}\n\
             [[pool]]\nname = \"p\"\ntoken = {}\n\
             [pool.managed]\ncommand = [\"c\", \"{{port}}\"]\ncount = 1\n\
             env = {{ PLAIN = \"shown\", OF_FILE = {}, INLINE_KEY = \"canary-inline\" }}\n",
            secret("jwt"),
            secret("token"),
            secret("env"),
        );
        let path = dir.join("fairlead.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_dump_shows_stars_for_every_secret() {
        let dir = std::env::temp_dir().join(format!("fairlead-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = config(&dir);
        for more in [&[][..], &["--json"]] {
            let arguments = ["config", "dump", "--config", path.to_str().unwrap()];
            let (exit, out, err) = run(&[&arguments, more].concat());
            assert_eq!((exit, err.as_str()), (Exit::Clean, ""));
            assert!(!out.contains("canary"), "{out}");
            let stars = |key: &str| {
                let (toml, json) = (format!("{key} = \"***\""), format!("\"{key}\": \"***\""));
                out.contains(&toml) || out.contains(&json)
            };
            for key in ["key", "token", "OF_FILE", "INLINE_KEY"] {
                assert!(stars(key), "{key} in {out}");
            }
            assert_eq!(out.matches("***").count(), 4, "{out}");
            assert!(out.contains("shown"));
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
