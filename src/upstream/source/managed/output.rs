//! What a CLI prints: to our log, line by line; the port that it announces; its last words.
//!
//! Never logs a configured value: the token and every value of `env` are struck out.

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{ChildStderr, ChildStdout};
use tokio::sync::{Notify, watch};

use super::Spec;
use super::lines::{Allowance, Splitter, secrets_in};
use crate::time;

/// What a CLI says once it listens (so do its SDKs read it).
const LISTENING: &str = "listening on port ";
/// Bytes of the last line that a status shows.
const LAST_WORDS: usize = 300;

/// The reader of one CLI process's output.
pub(super) struct Output {
    pool: String,
    upstream: String,
    pid: u32,
    secrets: Vec<String>,
    port: watch::Sender<Option<u16>>,
    dropping: Notify,
    told: Mutex<Told>,
}

struct Told {
    allowance: Allowance,
    last: String,
}

impl Output {
    pub(super) fn new(spec: &Spec, pid: u32) -> Self {
        let values = spec.env.iter().map(|(_, value)| value).chain(&spec.token);
        Output {
            pool: spec.pool.clone(),
            upstream: spec.upstream(),
            pid,
            secrets: secrets_in(values),
            port: watch::Sender::new(None),
            dropping: Notify::new(),
            told: Mutex::new(Told { allowance: Allowance::new(time::now()), last: String::new() }),
        }
    }

    /// The port that the CLI said it listens on; waits for it. It comes from our own pipe, so it
    /// is our process that has it, not one that took the port in between.
    pub(super) async fn port(&self) -> Option<u16> {
        *self.port.subscribe().wait_for(Option::is_some).await.ok()?
    }

    /// The last line that was printed, shortened; empty where there was none.
    pub(super) fn last_words(&self) -> String {
        self.told.lock().last.clone()
    }

    /// Reads both pipes to their end.
    pub(super) async fn pump(&self, stdout: ChildStdout, stderr: ChildStderr) {
        let both = async { tokio::join!(self.read("stdout", stdout), self.read("stderr", stderr)) };
        tokio::select! {
            _ = both => {}
            () = self.report_dropped() => {}
        }
        self.tell_dropped();
    }

    async fn read(&self, stream: &'static str, mut pipe: impl AsyncRead + Unpin) {
        let mut splitter = Splitter::new(&self.secrets);
        let mut buffer = vec![0; 4096];
        while let Ok(n) = pipe.read(&mut buffer).await
            && n > 0
        {
            let bytes = buffer.get(..n).unwrap_or_default();
            splitter.push(bytes, |line| self.line(stream, line));
        }
        splitter.flush(|line| self.line(stream, line));
    }

    fn line(&self, stream: &'static str, line: String) {
        if let Some(port) = announced(&line) {
            self.port.send_replace(Some(port));
        }
        let granted = {
            let mut told = self.told.lock();
            told.last = line.chars().take(LAST_WORDS).collect();
            told.allowance.take(time::now())
        };
        if granted {
            tracing::info!(
                target: "fairlead::cli",
                pool = %self.pool, upstream = %self.upstream, pid = self.pid, stream, "{line}"
            );
        } else {
            self.dropping.notify_one();
        }
    }

    /// Never ends. Says how many lines were dropped, once a second while there are any.
    async fn report_dropped(&self) {
        loop {
            self.dropping.notified().await;
            let at = self.told.lock().allowance.report_at();
            if let Some(at) = at {
                tokio::time::sleep_until(at).await;
                self.tell_dropped();
            }
        }
    }

    fn tell_dropped(&self) {
        let dropped = self.told.lock().allowance.report();
        if dropped > 0 {
            tracing::warn!(
                target: "fairlead::cli",
                pool = %self.pool, upstream = %self.upstream, pid = self.pid, dropped,
                "{dropped} lines dropped: the CLI prints more than the log takes"
            );
        }
    }
}

fn announced(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once(LISTENING)?;
    let digits: &str = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output() -> Output {
        let mut spec = Spec::new("p", 1, vec!["copilot".into()], "/h".into());
        spec.env = vec![("KEY".into(), "canary-value".into()), ("ON".into(), "true".into())];
        spec.token = Some("canary-token".into());
        Output::new(&spec, 7)
    }

    #[test]
    fn the_port_is_read_from_the_line_that_cli_and_sdks_agree_on() {
        assert_eq!(announced("CLI server listening on port 40123"), Some(40123));
        assert_eq!(announced("listening on port 1x"), Some(1));
        for line in ["listening on port ", "listening on port 70000", "listening on port 0", "x"] {
            assert_eq!(announced(line), None, "{line}");
        }
    }

    #[tokio::test]
    async fn configured_values_are_struck_out_before_anybody_sees_the_line() {
        let output = output();
        output.read("stderr", &b"true: canary-value and canary-token"[..]).await;
        assert_eq!(output.last_words(), "true: *** and ***");
    }
}
