//! Upstreams that say back what they hear, and a `tcp` listener in front of them.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use fairlead::drain::Tasks;
use fairlead::testing::Gateway;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use super::rig::{Metrics, eventually, within};
use super::tell::{lines, log};

/// Says its number, and then back what it hears; and ends when who speaks does, unless that one began with `hush`.
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    accepting: JoinHandle<()>,
    healthy: Arc<AtomicBool>,
    pub(crate) mute: Arc<AtomicBool>,
}

impl Echo {
    pub(crate) async fn start(number: usize) -> Echo {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let healthy = Arc::new(AtomicBool::new(true));
        let mute = Arc::new(AtomicBool::new(false));
        let (well, muted) = (Arc::clone(&healthy), Arc::clone(&mute));
        let served = Tasks::new();
        let accepting = Tasks::new().spawn_aside("accept", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let probed = (Arc::clone(&well), Arc::clone(&muted));
                served.spawn_aside("echo", async move {
                    // How it ends is its client's affair.
                    let _ = serve(stream, number, probed).await;
                });
            }
        });
        Echo { address, accepting, healthy, mute }
    }

    /// Nobody can connect any more; who has, stays.
    pub(crate) async fn refuse(&mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
    }

    /// Answers no probe any more.
    pub(crate) fn sicken(&self) {
        self.healthy.store(false, Ordering::Relaxed);
    }
}

type Flag = Arc<AtomicBool>;

async fn serve(mut stream: TcpStream, number: usize, probed: (Flag, Flag)) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let first = stream.read(&mut buffer).await?;
    if first == 0 {
        return Ok(());
    }
    if buffer[..first].starts_with(b"Content-") {
        return answer_probes(stream, buffer[..first].to_vec(), probed).await;
    }
    stream.write_all(&[b'0' + number as u8]).await?;
    stream.write_all(&buffer[..first]).await?;
    let hushed = buffer[..first].ends_with(b"hush");
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 && hushed {
            std::future::pending::<()>().await;
        }
        if n == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer[..n]).await?;
    }
}

/// As a CLI answers `connect` and `ping`.
async fn answer_probes(
    mut stream: TcpStream,
    mut kept: Vec<u8>,
    (well, muted): (Flag, Flag),
) -> io::Result<()> {
    let mut buffer = vec![0; 4096];
    loop {
        let text = String::from_utf8_lossy(&kept).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length: usize = head.rsplit(' ').next().unwrap().trim().parse().unwrap();
            if body.len() >= length {
                let id = serde_json::from_str::<Value>(&body[..length]).unwrap()["id"].clone();
                kept.drain(..head.len() + 4 + length);
                if !well.load(Ordering::Relaxed) {
                    return Ok(());
                }
                if muted.load(Ordering::Relaxed) {
                    continue;
                }
                let answer = serde_json::json!({"jsonrpc": "2.0", "id": id, "result": {
                    "ok": true, "protocolVersion": 3, "version": "1.0.0"}});
                stream.write_all(&fairlead::testing::wire::frame(&answer.to_string())).await?;
                continue;
            }
        }
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        kept.extend_from_slice(&buffer[..n]);
    }
}

pub(crate) struct Relays {
    pub(crate) echoes: Vec<Echo>,
    pub(crate) gateway: Gateway,
    /// Where its clients are: elsewhere a port may be another test's client's at the same time.
    pub(crate) home: String,
}

/// What a test wants of its gateway.
pub(crate) struct With<'a> {
    /// Keys before all tables, and tables.
    pub(crate) top: &'a str,
    pub(crate) listener: &'a str,
    /// Of each upstream.
    pub(crate) upstream: &'a str,
    pub(crate) pool: &'a str,
    pub(crate) health: &'a str,
    pub(crate) rest: &'a str,
}

impl Default for With<'_> {
    /// Probed by pings, so that one that refuses conns can be up.
    fn default() -> Self {
        let health = "probe = \"ping\"\n";
        With { top: "", listener: "", upstream: "", pool: "", health, rest: "" }
    }
}

pub(crate) async fn relays(count: usize, with: With<'_>) -> Relays {
    log();
    let mut echoes = Vec::new();
    for number in 0..count {
        echoes.push(Echo::start(number).await);
    }
    let upstreams: Vec<String> = echoes
        .iter()
        .enumerate()
        .map(|(n, echo)| {
            format!("{{ address = \"{}\", name = \"echo-{n}\"{} }}", echo.address, with.upstream)
        })
        .collect();
    let With { top, listener, pool, health, rest, .. } = with;
    let balance = if pool.contains("balance") { "" } else { "balance = \"round_robin\"\n" };
    let toml = format!(
        "{top}\n[runtime]\nworkers = 2\n[metrics]\nbind = \"127.0.0.1:0\"\n\
         [[listener]]\nname = \"relay\"\nbind = \"127.0.0.1:0\"\nprotocol = \"tcp\"\npool = \"p\"\n{listener}\n\
         [[pool]]\nname = \"p\"\n{balance}upstreams = [{}]\n{pool}\n[pool.health]\n{health}\n{rest}\n",
        upstreams.join(", ")
    );
    let gateway = Gateway::start_with(&toml, &BTreeMap::new()).await.unwrap();
    static HOMES: AtomicU16 = AtomicU16::new(0);
    let [high, low] = HOMES.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let relays = Relays { echoes, gateway, home: format!("127.77.{high}.{low}") };
    relays.until_up(count).await;
    relays
}

impl Relays {
    pub(crate) fn address(&self) -> SocketAddr {
        self.gateway.addresses().listeners[0]
    }

    pub(crate) async fn client(&self) -> TcpStream {
        self.client_from(&self.home).await
    }

    pub(crate) async fn client_from(&self, ip: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(ip.parse().unwrap(), 0)).unwrap();
        socket.connect(self.address()).await.unwrap()
    }

    /// A client that is reset, perhaps before it knows that it was connected; where it was.
    pub(crate) async fn is_reset(&self, ip: &str) -> SocketAddr {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(ip.parse().unwrap(), 0)).unwrap();
        let from = socket.local_addr().unwrap();
        if let Ok(mut client) = socket.connect(self.address()).await {
            assert!(!ends_well(&mut client).await);
        }
        from
    }

    pub(crate) async fn metrics(&self) -> Metrics {
        Metrics(self.gateway.get("/metrics").await.unwrap().1)
    }

    pub(crate) async fn until(&self, what: &str, so: impl Fn(&Metrics) -> bool) {
        eventually(what, async || so(&self.metrics().await)).await;
    }

    pub(crate) async fn until_up(&self, count: usize) {
        let up = |m: &Metrics| m.sum("fairlead_upstream_state", &[("state", "up")]) == count as f64;
        self.until(&format!("{count} are up"), up).await;
    }

    pub(crate) async fn until_rejected(&self, reason: &str) {
        let so =
            |m: &Metrics| m.sum("fairlead_listener_rejected_total", &[("reason", reason)]) == 1.0;
        self.until(reason, so).await;
    }
}

/// The upstream's number, and what it heard; after this was said.
pub(crate) async fn said(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    what: &[u8],
) -> (u8, Vec<u8>) {
    client.write_all(what).await.unwrap();
    let mut heard = vec![0; 1 + what.len()];
    within("the echo", client.read_exact(&mut heard)).await.unwrap();
    let back = heard.split_off(1);
    (heard[0] - b'0', back)
}

/// How the conn ends: `true`, as one that came to its end; `false`, as one that was cut.
pub(crate) async fn ends_well(client: &mut (impl AsyncRead + Unpin)) -> bool {
    let mut rest = Vec::new();
    within("it ends", client.read_to_end(&mut rest)).await.is_ok()
}

/// Result, termination, and the whole line of a conn from there.
pub(crate) async fn told(from: SocketAddr) -> (String, String, &'static Value) {
    let from = from.to_string();
    // The last, if a port was used twice.
    let find = || lines(|l| l["kind"] == "conn" && l["client_addr"] == from).pop();
    eventually("the conn's line", async || find().is_some()).await;
    let line = find().unwrap();
    let text = |key: &str| line[key].as_str().unwrap().to_owned();
    (text("result"), text("termination"), line)
}

pub(crate) async fn is_told(client: &TcpStream, result: &str, termination: &str) -> &'static Value {
    is_told_of(client.local_addr().unwrap(), result, termination).await
}

pub(crate) async fn is_told_of(
    client: SocketAddr,
    result: &str,
    termination: &str,
) -> &'static Value {
    let (told_result, told_termination, line) = told(client).await;
    assert_eq!((told_result.as_str(), told_termination.as_str()), (result, termination), "{line}");
    line
}
