//! CLIs that fairlead starts, as operators see them: what is counted when they end.

use std::path::PathBuf;

use fairlead::testing::Gateway;
use serde_json::Value;

use super::rig::*;
use super::tell;

/// A gateway in front of one CLI that it starts itself.
struct Started {
    gateway: Gateway,
    pool: String,
    folder: PathBuf,
}

impl Started {
    async fn new(command: &[&str]) -> Started {
        tell::log();
        let pool = format!("m-{}", uuid::Uuid::new_v4());
        let folder = std::env::temp_dir().join(format!("fairlead-it-{pool}"));
        let toml = format!(
            "state_dir = {folder:?}\n[metrics]\nbind = \"127.0.0.1:0\"\n\
             [[listener]]\nname = \"sdk\"\nbind = \"127.0.0.1:0\"\npool = \"{pool}\"\n\
             [[pool]]\nname = \"{pool}\"\n\
             [pool.managed]\ncommand = {command:?}\ncount = 1\nrestart_backoff_min = \"1ms\"\n"
        );
        let gateway = Gateway::start(&toml).await.unwrap();
        Started { gateway, pool, folder }
    }

    async fn until(&self, what: &str, so: impl Fn(&Metrics) -> bool) {
        let metrics = async || Metrics(self.gateway.get("/metrics").await.unwrap().1);
        eventually(what, async || so(&metrics().await)).await;
    }

    /// The lines that say this of its CLI.
    fn told(&self, message: &str) -> Vec<&'static Value> {
        tell::lines(|l| l["pool"] == self.pool.as_str() && l["message"] == message)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // Whatever is left of it is nobody's business.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test]
async fn each_start_of_a_cli_that_never_comes_up_is_counted_and_the_loop_is_shown() {
    let started = Started::new(&["/bin/sh", "-c", "exit 3", "{port}"]).await;
    let early = [("reason", "exited_early")];
    started
        .until("it is started again and again", |m| {
            m.sum("fairlead_upstream_restarts_total", &early) >= 3.0
                && m.sum("fairlead_upstream_crash_loop", &[]) == 1.0
        })
        .await;
    let loops: Vec<bool> = started
        .told("CLI failed; it is started again after a wait")
        .iter()
        .map(|l| l["crash_loop"].as_bool().unwrap())
        .collect();
    assert_eq!(loops[..3], [false, false, true]);
}

#[tokio::test]
async fn a_cli_that_ended_is_replaced_and_counted_and_says_its_version_when_it_is_up() {
    let fake = env!("CARGO_BIN_EXE_fake-cli");
    let started = Started::new(&[fake, "--port", "{port}"]).await;
    let up = |m: &Metrics| m.sum("fairlead_upstream_state", &[("state", "up")]) == 1.0;
    started.until("it is up", up).await;
    let said = started.told("upstream is up");
    assert_eq!(
        (said[0]["version"].as_str(), said[0]["protocol"].as_u64()),
        (Some("1.0.102"), Some(3))
    );
    let pid = started.told("CLI ready")[0]["pid"].as_i64().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let exited = [("reason", "exited")];
    started
        .until("it is counted", |m| m.sum("fairlead_upstream_restarts_total", &exited) == 1.0)
        .await;
    started.until("it is up again", up).await;
    started.until("no loop", |m| m.0.contains("fairlead_upstream_crash_loop{")).await;
    let metrics = Metrics(started.gateway.get("/metrics").await.unwrap().1);
    assert_eq!(metrics.sum("fairlead_upstream_restarts_total", &[]), 1.0);
    assert_eq!(metrics.sum("fairlead_upstream_crash_loop", &[]), 0.0);
}
