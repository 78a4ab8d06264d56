//! `fairlead run` as a process: its configuration in a folder of its own, its log line by line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

/// How long a line may take to come.
const SOON: Duration = Duration::from_secs(30);

/// A running `fairlead run`, killed when dropped.
pub(crate) struct Program {
    pub(crate) child: Child,
    pub(crate) log: Lines<BufReader<ChildStderr>>,
    /// What it logged, as far as it was read.
    pub(crate) seen: Vec<String>,
    folder: PathBuf,
}

impl Program {
    /// Starts it with this configuration, and a state directory of its own.
    pub(crate) async fn start(toml: &str, env: &[(&str, &str)]) -> Program {
        let folder = std::env::temp_dir().join(format!("fairlead-test-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let config = folder.join("fairlead.toml");
        let state = format!("state_dir = {:?}\n", folder.join("state"));
        std::fs::write(&config, state + toml).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_fairlead"))
            .arg("run")
            .arg("--config")
            .arg(&config)
            .envs(env.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Program { child, log, seen: Vec::new(), folder }
    }

    /// Waits for the next line of the log that fits.
    pub(crate) async fn line(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let found = timeout(SOON, async {
            while let Some(line) = self.log.next_line().await.unwrap() {
                let value: Value = serde_json::from_str(&line).unwrap_or_default();
                self.seen.push(line);
                if fits(&value) {
                    return value;
                }
            }
            panic!("{what}: the log ended after {:#?}", self.seen);
        });
        found.await.unwrap_or_else(|_| panic!("{what}: not in the log"))
    }

    /// Where its first listener listens, once it does. Ask once.
    pub(crate) async fn address(&mut self) -> SocketAddr {
        let line = self.line("it listens", |l| l["kind"] == "listener").await;
        line["address"].as_str().unwrap().parse().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Whatever is left of it is nobody's business.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
