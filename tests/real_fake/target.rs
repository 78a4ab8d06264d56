//! The two programs that the script talks to. The real one has its own home and its own model server.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use fairlead::testing::{FakeCli, FakeConfig, free_port};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::installed::package;

pub(crate) enum Target {
    Fake(FakeCli),
    Real(Box<Real>),
}

pub(crate) struct Real {
    addr: SocketAddr,
    model: SocketAddr,
    cli: Child,
    _model: Child,
    home: PathBuf,
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.cli.start_kill();
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

static HOMES: AtomicU32 = AtomicU32::new(0);

impl Target {
    pub(crate) async fn fake(token: Option<&str>) -> Target {
        let config = FakeConfig { token: token.map(str::to_owned), ..FakeConfig::default() };
        Target::Fake(FakeCli::start(config).await.unwrap())
    }

    pub(crate) async fn real(token: Option<&str>) -> Target {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real");
        let binary = package("copilot").join("copilot");
        let (model, model_addr) = start_model(&root.join("js/model_server.mjs")).await;
        let serial = HOMES.fetch_add(1, Ordering::Relaxed);
        let home =
            std::env::temp_dir().join(format!("fairlead-real-{}-{serial}", std::process::id()));
        std::fs::create_dir_all(&home).unwrap();
        let port = free_port();
        let mut command = Command::new(binary);
        command
            .args(["--headless", "--port", &port.to_string(), "--no-auto-update"])
            .env_remove("COPILOT_CONNECTION_TOKEN")
            .env("COPILOT_HOME", &home)
            .env("COPILOT_OFFLINE", "true")
            .env("COPILOT_PROVIDER_BASE_URL", format!("http://{model_addr}/v1"))
            .env("COPILOT_MODEL", "fake")
            .current_dir(&home);
        if let Some(token) = token {
            command.env("COPILOT_CONNECTION_TOKEN", token);
        }
        let (cli, _) = start(command, "listening on port").await;
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        Target::Real(Box::new(Real { addr, model: model_addr, cli, _model: model, home }))
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        match self {
            Target::Fake(fake) => fake.addr,
            Target::Real(real) => real.addr,
        }
    }

    /// What `provider` is in create and resume.
    pub(crate) fn provider(&self) -> serde_json::Value {
        let at = match self {
            Target::Fake(fake) => fake.addr,
            Target::Real(real) => real.model,
        };
        serde_json::json!({
            "type": "openai", "baseUrl": format!("http://{at}/v1"), "apiKey": "k",
            "wireApi": "completions",
        })
    }

    pub(crate) async fn release(&self, key: &str) {
        match self {
            Target::Fake(fake) => fake.release(key),
            Target::Real(real) => {
                let mut http = TcpStream::connect(real.model).await.unwrap();
                let request = format!(
                    "POST /release/{key} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                );
                http.write_all(request.as_bytes()).await.unwrap();
                http.read_to_end(&mut Vec::new()).await.unwrap();
            }
        }
    }

    /// SIGTERM, to the end; the exit code.
    pub(crate) async fn term(&mut self) -> i32 {
        match self {
            Target::Fake(fake) => {
                fake.stop().await;
                0
            }
            Target::Real(real) => {
                let pid = rustix::process::Pid::from_raw(real.cli.id().unwrap() as i32).unwrap();
                rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
                real.cli.wait().await.unwrap().code().unwrap()
            }
        }
    }
}

async fn start_model(script: &Path) -> (Child, SocketAddr) {
    let mut command = Command::new("node");
    command.arg(script);
    let (child, line) = start(command, "model server on").await;
    let host = line.split("http://").nth(1).unwrap().split('/').next().unwrap();
    (child, host.parse().unwrap())
}

/// Starts a program and waits for a line that it prints.
async fn start(mut command: Command, says: &str) -> (Child, String) {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let found = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("it ended before it was ready");
            if line.contains(says) {
                return line;
            }
        }
    };
    let deadline = std::time::Duration::from_secs(60);
    let line = tokio::time::timeout(deadline, found).await.expect("not ready in time");
    (child, line)
}
