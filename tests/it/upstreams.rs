//! Upstreams that are no CLIs: spoken to in TLS, probed by connections and requests, and found by name.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use fairlead::drain::Tasks;
use fairlead::testing::{FakeDns, Gateway, Says};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::certificates::{Ca, Folder, Signed};
use super::rig::{Metrics, eventually, within};

/// A gateway of conns in front of one pool.
struct Rig(Gateway);

/// `upstreams`: its list; `pool`: further keys and tables of it, and of what comes after it.
async fn start(upstreams: &str, pool: &str) -> Rig {
    let toml = format!(
        "[[listener]]\nname = \"l4\"\nbind = \"127.0.0.1:0\"\nprotocol = \"tcp\"\npool = \"p\"\n\
         [metrics]\nbind = \"127.0.0.1:0\"\n\
         [[pool]]\nname = \"p\"\nbalance = \"round_robin\"\nupstreams = [{upstreams}]\n{pool}"
    );
    Rig(Gateway::start(&toml).await.unwrap())
}

const QUICK: &str = "[pool.health]\ninterval = \"50ms\"\ntimeout = \"2s\"\n";

impl Rig {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.0.addresses().listeners[0]).await.unwrap()
    }

    /// What comes back to who says this and then no more.
    async fn says(&self, text: &[u8]) -> io::Result<Vec<u8>> {
        let mut conn = TcpStream::connect(self.0.addresses().listeners[0]).await?;
        conn.write_all(text).await?;
        conn.shutdown().await?;
        let mut heard = Vec::new();
        within("an end", conn.read_to_end(&mut heard)).await?;
        Ok(heard)
    }

    async fn metrics(&self) -> Metrics {
        Metrics(self.0.get("/metrics").await.unwrap().1)
    }

    async fn until_state(&self, state: &str, count: usize) {
        let labels = [("state", state)];
        eventually(&format!("{count} are {state}"), async || {
            self.metrics().await.sum("fairlead_upstream_state", &labels) == count as f64
        })
        .await;
    }
}

/// Says its number, and then back what it hears, until who speaks has said all.
async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin, number: u8) -> io::Result<()> {
    let mut buffer = [0; 1024];
    let mut first = true;
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return stream.shutdown().await;
        }
        if std::mem::take(&mut first) {
            stream.write_all(&[b'0' + number]).await?;
        }
        stream.write_all(&buffer[..n]).await?;
        stream.flush().await?;
    }
}

async fn plain(address: SocketAddr, number: u8) -> SocketAddr {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = Tasks::new();
    Tasks::new().spawn_aside("accept", async move {
        while let Ok((stream, _)) = listener.accept().await {
            served.spawn_aside("echo", async move {
                let _ = echo(stream, number).await;
            });
        }
    });
    address
}

fn acceptor(signed: &Signed) -> TlsAcceptor {
    let chain = vec![CertificateDer::from_pem_slice(signed.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes()).unwrap();
    let provider = fairlead::wire::certificates::provider();
    let config = ServerConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// The same within TLS.
async fn secure(signed: &Signed) -> SocketAddr {
    let acceptor = acceptor(signed);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = Tasks::new();
    Tasks::new().spawn_aside("accept", async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            served.spawn_aside("echo", async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    let _ = echo(stream, 7).await;
                }
            });
        }
    });
    address
}

fn tls(folder: &Folder, name: &str) -> String {
    let ca = folder.path("ca.crt");
    format!("[pool.tls]\nca = \"{ca}\"\nserver_name = \"{name}\"\n{QUICK}")
}

#[tokio::test]
async fn a_conn_goes_on_in_tls_to_an_upstream_that_shows_what_is_meant() {
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    let upstream = secure(&ca.server_of("app.example.com")).await;
    let rig = start(&format!("\"{upstream}\""), &tls(&folder, "app.example.com")).await;
    rig.until_state("up", 1).await;
    assert_eq!(rig.says(b"ping").await.unwrap(), b"7ping");
    let large = vec![b'x'; 3_000_000];
    let back = rig.says(&large).await.unwrap();
    assert_eq!((back.len(), back[0]), (large.len() + 1, b'7'));
}

#[tokio::test]
async fn nobody_is_taken_to_an_upstream_that_shows_another_name_or_is_signed_by_another() {
    let (ca, other) = (Ca::new(), Ca::new());
    let folder = Folder::new(&ca);
    for (signed, name) in [
        (ca.server_of("app.example.com"), "other.example.com"),
        (other.server_of("app.example.com"), "app.example.com"),
    ] {
        let upstream = secure(&signed).await;
        let rig = start(&format!("\"{upstream}\""), &tls(&folder, name)).await;
        rig.until_state("down", 1).await;
        assert!(rig.says(b"ping").await.is_err(), "it is cut, and hears nothing");
    }
}

/// Answers each request with the status that it is told to, and all else as an echo.
async fn web(well: Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    Tasks::new().spawn_aside("web", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 1024];
            let n = stream.read(&mut buffer).await.unwrap_or(0);
            let probe = buffer[..n].starts_with(b"GET /live HTTP/1.1\r\nHost: app.example.com\r\n");
            let answer = match (probe, well.load(Ordering::Relaxed)) {
                (true, true) => "HTTP/1.1 204 No Content\r\n\r\n",
                (true, false) => "HTTP/1.1 503 Service Unavailable\r\n\r\n",
                (false, _) => "hello",
            };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

#[tokio::test]
async fn an_upstream_is_up_as_long_as_it_answers_its_probes_with_a_good_status() {
    let well = Arc::new(AtomicBool::new(true));
    let upstream = web(Arc::clone(&well)).await;
    let http = "probe = \"http\"\npath = \"/live\"\nhost = \"app.example.com\"\n";
    let rig = start(&format!("\"{upstream}\""), &format!("{QUICK}{http}")).await;
    rig.until_state("up", 1).await;
    eventually("it is ready", async || rig.0.get("/readyz").await.unwrap().0 == 200).await;
    assert_eq!(rig.says(b"x").await.unwrap(), b"hello");
    well.store(false, Ordering::Relaxed);
    rig.until_state("down", 1).await;
    assert!(rig.says(b"x").await.is_err());
    well.store(true, Ordering::Relaxed);
    rig.until_state("up", 1).await;
    assert_eq!(rig.says(b"x").await.unwrap(), b"hello");
}

#[tokio::test]
async fn conns_go_to_all_the_addresses_of_a_name_and_stay_where_they_are() {
    let ip = |last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
    let first = plain("127.0.0.1:0".parse().unwrap(), 1).await;
    plain(SocketAddr::new(ip(2), first.port()), 2).await;
    let dns = FakeDns::start().await.unwrap();
    dns.says("app.example.com", Says::Addresses(vec![ip(1), ip(2)], 0));
    let resolver = format!("[dns]\nservers = [\"{}\"]\nmin_ttl = \"50ms\"\n", dns.addr);
    let upstreams = format!("\"app.example.com:{}\"", first.port());
    let rig = start(&upstreams, &format!("{QUICK}{resolver}")).await;
    rig.until_state("up", 2).await;
    // One on each, in turn.
    let mut open = [rig.connect().await, rig.connect().await];
    let mut numbers = Vec::new();
    for conn in &mut open {
        conn.write_all(b"a").await.unwrap();
        let mut heard = [0; 2];
        within("an answer", conn.read_exact(&mut heard)).await.unwrap();
        numbers.push(heard[0]);
    }
    numbers.sort_unstable();
    assert_eq!(numbers, *b"12");
    dns.says("app.example.com", Says::Addresses(vec![ip(2)], 0));
    let gone = first.to_string();
    let retired = async || {
        rig.metrics().await.sum("fairlead_upstream_retired", &[("upstream", gone.as_str())])
    };
    eventually("it is retired", async || retired().await == 1.0).await;
    for _ in 0..4 {
        assert_eq!(rig.says(b"x").await.unwrap(), b"2x");
    }
    for conn in &mut open {
        conn.write_all(b"b").await.unwrap();
        let mut heard = [0; 1];
        within("an answer", conn.read_exact(&mut heard)).await.unwrap();
        assert_eq!(&heard, b"b", "it goes on");
    }
    assert_eq!(retired().await, 1.0);
    drop(open);
    eventually("it is gone", async || !rig.metrics().await.0.contains(&gone)).await;
}

#[tokio::test]
async fn requests_go_on_in_tls_to_an_upstream_that_shows_what_is_meant_and_to_no_other() {
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    let (upstream, _) = secure_web(&ca.server_of("app.example.com")).await;
    for (name, status, body) in [("app.example.com", "200", "1"), ("other.example.com", "503", "")]
    {
        let toml = format!(
            "[[listener]]\nname = \"web\"\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"p\"\n\
             [metrics]\nbind = \"127.0.0.1:0\"\n\
             [[pool]]\nname = \"p\"\nupstreams = [\"{upstream}\"]\n{}",
            tls(&folder, name)
        );
        let rig = Rig(Gateway::start(&toml).await.unwrap());
        rig.until_state(if status == "200" { "up" } else { "down" }, 1).await;
        for n in 0..2 {
            let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            let mut conn = rig.connect().await;
            conn.write_all(request).await.unwrap();
            let mut heard = String::new();
            within("an answer", conn.read_to_string(&mut heard)).await.unwrap();
            assert!(heard.starts_with(&format!("HTTP/1.1 {status} ")), "{name} {n}: {heard}");
            assert!(body.is_empty() || heard.ends_with("\r\n\r\nhi"), "{heard}");
        }
    }
}

#[tokio::test]
async fn requests_in_tls_go_over_a_kept_connection() {
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    let (upstream, served) = secure_web(&ca.server_of("app.example.com")).await;
    let toml = format!(
        "[runtime]\nworkers = 1\n[[listener]]\nname = \"web\"\nbind = \"127.0.0.1:0\"\n\
         protocol = \"http\"\npool = \"p\"\n[metrics]\nbind = \"127.0.0.1:0\"\n\
         [[pool]]\nname = \"p\"\nupstreams = [\"{upstream}\"]\n{}",
        tls(&folder, "app.example.com")
    );
    let rig = Rig(Gateway::start(&toml).await.unwrap());
    rig.until_state("up", 1).await;
    for _ in 0..2 {
        let mut conn = rig.connect().await;
        for _ in 0..3 {
            conn.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            let mut heard = Vec::new();
            while !heard.ends_with(b"\r\n\r\nhi") {
                heard.push(within("an answer", conn.read_u8()).await.unwrap());
            }
        }
    }
    // Probes shake hands, too, and ask nothing.
    assert_eq!(*served.lock().unwrap(), [6]);
}

#[tokio::test]
async fn an_answer_in_tls_that_ends_without_a_word_is_not_whole() {
    let ca = Ca::new();
    let folder = Folder::new(&ca);
    for (protocol, says_so) in [("http", true), ("http", false), ("tcp", true), ("tcp", false)] {
        let upstream = ending(&ca.server_of("app.example.com"), says_so).await;
        let toml = format!(
            "[[listener]]\nname = \"l\"\nbind = \"127.0.0.1:0\"\nprotocol = \"{protocol}\"\npool = \"p\"\n\
             [metrics]\nbind = \"127.0.0.1:0\"\n\
             [[pool]]\nname = \"p\"\nupstreams = [\"{upstream}\"]\n{}",
            tls(&folder, "app.example.com")
        );
        let rig = Rig(Gateway::start(&toml).await.unwrap());
        rig.until_state("up", 1).await;
        let mut conn = rig.connect().await;
        conn.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut heard = Vec::new();
        let ended = within("an end", conn.read_to_end(&mut heard)).await;
        let heard = String::from_utf8(heard).unwrap();
        assert!(heard.contains("half"), "{protocol}: {heard}");
        let whole = ended.is_ok() && (protocol == "tcp" || heard.ends_with("\r\n0\r\n\r\n"));
        assert_eq!(whole, says_so, "{protocol}: {heard}");
    }
}

/// Answers with something whose end is that of its connection, within TLS.
async fn ending(signed: &Signed, says_so: bool) -> SocketAddr {
    let acceptor = acceptor(signed);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    Tasks::new().spawn_aside("accept", async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                // A probe asks nothing.
                let Ok(byte) = stream.read_u8().await else { break };
                asked.push(byte);
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf").await;
            let _ = stream.flush().await;
            if says_so {
                let _ = stream.shutdown().await;
            }
        }
    });
    address
}

/// Answers every request with `hi`, within TLS, and keeps the connection. Also: how many requests came over each that
/// brought any.
async fn secure_web(signed: &Signed) -> (SocketAddr, Arc<Mutex<Vec<usize>>>) {
    let served = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::clone(&served);
    let acceptor = acceptor(signed);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = Tasks::new();
    Tasks::new().spawn_aside("accept", async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, all) = (acceptor.clone(), Arc::clone(&all));
            tasks.spawn_aside("web", async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let (mut asked, mut place) = (Vec::new(), None);
                while let Ok(byte) = stream.read_u8().await {
                    asked.push(byte);
                    if asked.ends_with(b"\r\n\r\n") {
                        asked.clear();
                        {
                            let mut all = all.lock().unwrap();
                            let place = *place.get_or_insert_with(|| {
                                all.push(0);
                                all.len() - 1
                            });
                            all[place] += 1;
                        }
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
                        let _ = stream.write_all(answer).await;
                        let _ = stream.flush().await;
                    }
                }
            });
        }
    });
    (address, served)
}
