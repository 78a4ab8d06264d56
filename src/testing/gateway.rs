//! A whole gateway in the test's process: from TOML to sockets, on a thread of its own, left like by a signal.
//!
//! Adds nothing to the product and takes nothing away, but its signals and its log.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::{self, Config, World};
use crate::drain::Mode;
use crate::server::{Addresses, Running};

/// How long a scrape takes at most.
const SCRAPE: Duration = Duration::from_secs(10);

/// A running gateway. Dropped, it leaves now.
pub struct Gateway {
    addresses: Addresses,
    orders: mpsc::Sender<Mode>,
    ended: watch::Receiver<bool>,
}

impl Gateway {
    /// Starts what the text describes; port 0 is any free one.
    ///
    /// # Errors
    /// In words: all problems of the text, or why it cannot start.
    pub async fn start(toml: &str) -> Result<Gateway, String> {
        Gateway::start_with(toml, &BTreeMap::new()).await
    }

    /// The same, with these environment variables for the secrets in the text.
    ///
    /// # Errors
    /// As [`Gateway::start`].
    pub async fn start_with(toml: &str, env: &BTreeMap<&str, &str>) -> Result<Gateway, String> {
        let look_up = |name: &str| env.get(name).map(|value| (*value).to_owned());
        let world = World { env: &look_up, folder: Path::new("/") };
        let (config, _) = config::parse("test.toml", toml, &world).map_err(|problems| {
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        })?;
        let (started, start) = oneshot::channel();
        let (orders, asked) = mpsc::channel(8);
        let (ending, ended) = watch::channel(false);
        std::thread::Builder::new()
            .name("gateway".to_owned())
            .spawn(move || {
                serve(&config, started, asked);
                ending.send_replace(true);
            })
            .map_err(|error| error.to_string())?;
        let addresses = start.await.map_err(|_| "the gateway's thread ended".to_owned())??;
        Ok(Gateway { addresses, orders, ended })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// What a signal does: TERM is [`Mode::Drain`], INT [`Mode::Now`]; the second one is now, whatever it is.
    pub fn leave(&self, mode: Mode) {
        // An error: it has ended already.
        let _ = self.orders.try_send(mode);
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Returns once it has ended, with every task and socket of its. Has no deadline of its own.
    pub async fn ended(&self) {
        // An error means the same: its thread is gone.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    /// `GET path` on the metrics listener: the status, and the body.
    ///
    /// # Errors
    /// It is not configured, does not answer, or answers no HTTP.
    pub async fn get(&self, path: &str) -> io::Result<(u16, String)> {
        let address: SocketAddr = self.addresses.metrics.ok_or(io::ErrorKind::NotFound)?;
        let exchange = async {
            let mut stream = TcpStream::connect(address).await?;
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await?;
            Ok::<_, io::Error>(text)
        };
        let text = tokio::time::timeout(SCRAPE, exchange).await??;
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        match (status, text.split_once("\r\n\r\n")) {
            (Some(status), Some((_, body))) => Ok((status, body.to_owned())),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// The whole life of a gateway. Its runtime ends with it, and whatever it left there.
fn serve(
    config: &Config,
    started: oneshot::Sender<Result<Addresses, String>>,
    asked: mpsc::Receiver<Mode>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = started.send(Err(error.to_string()));
            return;
        }
    };
    runtime.block_on(async {
        match Running::start(config, || 0).await {
            Ok(running) => {
                let _ = started.send(Ok(running.addresses().clone()));
                running.serve(asked).await;
            }
            Err(error) => {
                let _ = started.send(Err(error.to_string()));
            }
        }
    });
}
