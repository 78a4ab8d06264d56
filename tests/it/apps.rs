//! An HTTP listener in front of small upstreams, and what asks it: what several suites are made with.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use fairlead::drain::Tasks;
use fairlead::testing::Gateway;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::certificates::{Ca, Signed};
use super::rig::{Metrics, within};

/// An upstream that answers with its name, and keeps the heads of what it is asked.
pub(super) struct App {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    pub(super) heads: Arc<Mutex<Vec<String>>>,
    /// Whether it answers.
    pub(super) answers: watch::Sender<bool>,
}

impl App {
    pub(super) async fn new(name: &'static str) -> App {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (answers, may) = watch::channel(true);
        let (tasks, all) = (Tasks::new(), Arc::clone(&heads));
        let more = tasks.clone();
        tasks.spawn_aside("app", async move {
            while let Ok((socket, _)) = listener.accept().await {
                more.spawn_aside("app conn", serve(socket, name, Arc::clone(&all), may.clone()));
            }
        });
        App { name, address, heads, answers }
    }

    pub(super) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// Head and body of the next message on a stream.
pub(super) async fn message(socket: &mut (impl AsyncRead + Unpin)) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(socket.read_u8().await.ok()?);
    }
    let head = String::from_utf8(bytes).unwrap();
    let length = field(&head, "content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.ok()?;
    Some((head, body))
}

pub(super) fn field(head: &str, name: &str) -> Option<String> {
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
}

pub(super) async fn serve(
    mut socket: TcpStream,
    name: &'static str,
    heads: Arc<Mutex<Vec<String>>>,
    mut may: watch::Receiver<bool>,
) {
    while let Some((head, _)) = message(&mut socket).await {
        heads.lock().unwrap().push(head);
        if may.wait_for(|may| *may).await.is_err() {
            return;
        }
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
        if socket.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A gateway in front of three of them, and one of another pool.
pub(super) struct Rig {
    pub(super) gateway: Gateway,
    pub(super) apps: Vec<App>,
}

pub(super) async fn rig(listener: &str, pool: &str) -> Rig {
    let apps = vec![
        App::new("a").await,
        App::new("b").await,
        App::new("c").await,
        App::new("other").await,
    ];
    // With names of their own: where a user belongs must not depend on chance.
    let at = |app: &App| format!("{{ address = \"{}\", name = \"{}\" }}", app.address, app.name);
    let (ours, other) = apps.split_at(3);
    let ours: Vec<_> = ours.iter().map(at).collect();
    let toml = format!(
        "[runtime]\nworkers = 2\n[[listener]]\nname = \"web\"\nbind = \"127.0.0.1:0\"\n\
         protocol = \"http\"\npool = \"app\"\n{listener}\n\
         [[pool]]\nname = \"app\"\nupstreams = [{}]\n{pool}\n\
         [[pool]]\nname = \"other\"\nupstreams = [{}]\n\
         [pool.health]\ninterval = \"100ms\"\n[metrics]\nbind = \"127.0.0.1:0\"\n",
        ours.join(", "),
        at(&other[0]),
    );
    let gateway = Gateway::start(&toml).await.unwrap();
    let rig = Rig { gateway, apps };
    rig.until("all are up", |m| m.sum("fairlead_upstream_state", &[("state", "up")]) == 4.0).await;
    rig
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

pub(super) async fn answer(socket: &mut (impl AsyncRead + Unpin)) -> Answer {
    let (head, body) = within("an answer", message(socket)).await.unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: String::from_utf8(body).unwrap() }
}

impl Rig {
    pub(super) fn address(&self) -> SocketAddr {
        self.gateway.addresses().listeners[0]
    }

    pub(super) async fn until(&self, what: &str, so: impl Fn(&Metrics) -> bool) {
        within(what, async {
            loop {
                let (_, text) = self.gateway.get("/metrics").await.unwrap();
                if so(&Metrics(text)) {
                    return;
                }
            }
        })
        .await;
    }

    pub(super) async fn ask(&self, request: &str) -> Answer {
        let mut socket = TcpStream::connect(self.address()).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        answer(&mut socket).await
    }

    pub(super) async fn get(&self, target: &str, fields: &str) -> Answer {
        self.ask(&format!("GET {target} HTTP/1.1\r\nHost: api.example.com\r\n{fields}\r\n")).await
    }

    pub(super) async fn post(&self, body: &str) -> Answer {
        let length = body.len();
        self.ask(&format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
        .await
    }
}

pub(super) const STICKY: &str =
    "balance = \"consistent\"\naffinity = \"user\"\nbalance_factor = 100.0";

pub(super) fn identity(source: &str, more: &str) -> String {
    format!("[[listener.identity]]\nsource = \"{source}\"\n{more}\n")
}

pub(super) async fn over_tls(
    rig: &Rig,
    ca: &Ca,
    protocols: &[&[u8]],
    own: Option<&Signed>,
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut config = (*ca.trusting(own)).clone();
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    let socket = TcpStream::connect(rig.address()).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    within("a handshake", connector.connect("localhost".try_into().unwrap(), socket)).await.unwrap()
}

pub(super) async fn send(stream: &mut (impl AsyncWrite + Unpin), text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
}
