//! What the tests are made with.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::balance::Policy;
use crate::caller::{Caller, Trust};
use crate::config::CallerLimits;
use crate::drain::{self, Tasks, Trigger};
use crate::health::state::{Seen, State};
use crate::id::{ConnId, UpstreamId};
use crate::listen::door::Entered;
use crate::observe::metrics::{Metrics, Vocabulary};
use crate::proxy::admit::Keys;
use crate::proxy::budget::Budget;
use crate::proxy::callers::Callers;
use crate::proxy::edge::Edge;
use crate::proxy::http::guard::Bounds;
use crate::proxy::http::relay::Patience;
use crate::proxy::http::routes::Routes;
use crate::proxy::http::{Listener, Place, Settings, serve};
use crate::session::quota::Bounds as Quota;
use crate::session::table::{self, CreateExisting, Storage};
use crate::time::{self, Duration};
use crate::upstream::member::{self, Member};
use crate::upstream::pool::{self, Parameters, Pool, Unknown, Visitor};

/// How long a fact may take to come true.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for something that must come.
pub(super) async fn within<T>(waiting: impl Future<Output = T>) -> T {
    timeout(DEADLINE, waiting).await.expect("it did not come in time")
}

/// The head of what comes next.
pub(super) async fn head_of(reads: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(reads.read_u8().await.unwrap());
    }
    head
}

/// What an upstream got on one connection.
pub(super) type Seen1 = Arc<Mutex<Vec<u8>>>;

/// An upstream that writes down what it gets.
pub(super) struct Backend {
    pub(super) address: SocketAddr,
    pub(super) conns: Arc<Mutex<Vec<Seen1>>>,
}

/// One request as an upstream read it: head and decoded body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Got {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Got {
    pub(super) fn field(&self, name: &str) -> Option<String> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        let mut values = lines.filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let first = values.next().map(|(_, value)| value.to_owned());
        assert!(values.next().is_none(), "{name} twice in {}", self.head);
        first
    }

    pub(super) fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }
}

/// The first whole request in these bytes, and how long it is. A reader of its own, as simple as can be.
pub(super) fn parse(bytes: &[u8]) -> Option<(Got, usize)> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let got = Got { head, body: Vec::new() };
    if got.field("transfer-encoding").is_some() {
        let (mut at, mut body) = (end, Vec::new());
        loop {
            let line = bytes[at..].windows(2).position(|w| w == b"\r\n")?;
            let size =
                usize::from_str_radix(std::str::from_utf8(&bytes[at..at + line]).unwrap(), 16);
            let (size, begin) = (size.unwrap(), at + line + 2);
            let after = bytes.get(begin + size..begin + size + 2)?;
            assert_eq!(after, b"\r\n");
            body.extend_from_slice(&bytes[begin..begin + size]);
            at = begin + size + 2;
            if size == 0 {
                return Some((Got { body, ..got }, at));
            }
        }
    }
    let length = got.field("content-length").map_or(0, |l| l.parse().unwrap());
    let body = bytes.get(end..end + length)?.to_vec();
    Some((Got { body, ..got }, end + length))
}

impl Backend {
    /// One that answers each request with what `answer` makes of it; an answer that begins with `!` closes after it.
    pub(super) async fn answering(
        answer: impl Fn(&Got) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let answer = Arc::new(answer);
        Backend::serving(move |mut socket, seen| {
            let answer = Arc::clone(&answer);
            async move {
                let mut done = 0;
                loop {
                    let whole = parse(&seen.lock()[done..]);
                    let Some((got, length)) = whole else {
                        let mut buf = [0; 65536];
                        match socket.read(&mut buf).await {
                            Ok(n) if n > 0 => seen.lock().extend_from_slice(&buf[..n]),
                            _ => return,
                        }
                        continue;
                    };
                    done += length;
                    let text = answer(&got);
                    let (text, close) = match text.strip_prefix(b"!") {
                        Some(text) => (text, true),
                        None => (&text[..], false),
                    };
                    if socket.write_all(text).await.is_err() || close {
                        return;
                    }
                }
            }
        })
        .await
    }

    /// One that says 200 and what it got.
    pub(super) async fn new() -> Self {
        Backend::answering(|got| ok(&got.body)).await
    }

    /// One that does with each connection what it is told to.
    pub(super) async fn serving<F: Future<Output = ()> + Send + 'static>(
        serve: impl Fn(TcpStream, Seen1) -> F + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let conns = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&conns);
        let tasks = Tasks::new();
        let more = tasks.clone();
        tasks.spawn_aside("backend", async move {
            while let Ok((socket, _)) = listener.accept().await {
                let seen = Seen1::default();
                all.lock().push(Arc::clone(&seen));
                more.spawn_aside("backend conn", serve(socket, seen));
            }
        });
        Backend { address, conns }
    }

    /// Says half of its answer, and nothing more.
    pub(super) async fn halfway() -> Backend {
        Backend::serving(|mut socket, _| async move {
            let mut buf = [0; 4096];
            let _ = socket.read(&mut buf).await;
            let half = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
            let _ = socket.write_all(half).await;
            while matches!(socket.read(&mut buf).await, Ok(n) if n > 0) {}
        })
        .await
    }

    /// Everything it got, connection by connection.
    pub(super) fn bytes(&self) -> Vec<Vec<u8>> {
        self.conns.lock().iter().map(|seen| seen.lock().clone()).collect()
    }

    /// Every whole request that it got.
    pub(super) fn got(&self) -> Vec<Got> {
        let mut all = Vec::new();
        for bytes in self.bytes() {
            let mut at = 0;
            while let Some((got, length)) = parse(&bytes[at..]) {
                all.push(got);
                at += length;
            }
        }
        all
    }

    /// The only request that it got.
    pub(super) fn only(&self) -> Got {
        let mut got = self.got();
        assert_eq!(got.len(), 1, "{got:?}");
        got.remove(0)
    }
}

pub(super) fn ok(body: &[u8]) -> Vec<u8> {
    let mut text =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    text.extend_from_slice(body);
    text
}

/// What all conns of a listener keep together, in bytes.
pub(super) const BUFFERED: usize = 1024 * 1024;

/// A listener, and who leaves it.
pub(super) struct Rig {
    pub(super) address: SocketAddr,
    pub(super) listener: Arc<Listener>,
    pub(super) trigger: Trigger,
}

pub(super) fn settings() -> Settings {
    let second = Duration::from_secs(1);
    Settings {
        bounds: Bounds { head: 16 * 1024, target: 4096, fields: 64 },
        inspected: None,
        max_body: None,
        trusted: Vec::new(),
        spoofable: Vec::new(),
        naming: Vec::new(),
        affinity: None,
        patience: Patience {
            first_byte: 10 * second,
            body: 10 * second,
            idle: 10 * second,
            half: second,
        },
        connect_timeout: 5 * second,
        head_timeout: 10 * second,
        keep_alive: 10 * second,
        max_requests: 1000,
        retries: 2,
        challenge: None,
        log: false,
    }
}

impl Rig {
    /// In front of upstreams at these addresses.
    pub(super) async fn new(upstreams: &[SocketAddr], change: impl FnOnce(&mut Settings)) -> Self {
        let mut with = settings();
        change(&mut with);
        static SESSION_STATES: [&str; 1] = [table::State::ALL[0].slug()];
        let (upstream_states, session_states) = (&State::SLUGS, &SESSION_STATES);
        let words = Vocabulary { methods: vec![], upstream_states, session_states };
        let metrics = Metrics::new("0", "0", words);
        let pool = pool(&metrics, upstreams);
        let limits = CallerLimits {
            max_conns: None,
            max_conns_per_address: None,
            max_conns_per_caller: None,
            max_failed_connects: None,
            rate: None,
        };
        let series = metrics.listener("main");
        let listener = Arc::new(Listener {
            metrics: series.http(),
            edge: Edge {
                name: "main".into(),
                door: None,
                claims: Arc::new(|_, _| None),
                authenticates: false,
                trust: Trust::Backend,
                anonymous: Arc::new(Visitor {
                    caller: Caller::anonymous("main"),
                    unknown: Unknown::Deny,
                }),
                callers: Callers::new(&limits, false, time::now()),
                keys: Keys { identity: vec![], affinity: None },
                metrics: series,
            },
            routes: Routes::new(
                Vec::new(),
                Arc::new(Place { pool, keys: Keys { identity: vec![], affinity: None } }),
            ),
            with,
            buffered: Arc::new(Budget::new(BUFFERED)),
        });
        Rig::of(listener).await
    }

    pub(super) async fn of(listener: Arc<Listener>) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (trigger, watcher) = drain::new();
        let tasks = Tasks::new();
        let (all, served) = (tasks.clone(), Arc::clone(&listener));
        tasks.spawn_aside("accept", async move {
            let mut id = 0;
            while let Ok((client, peer)) = socket.accept().await {
                id += 1;
                let conn = serve(
                    Entered::plain(client, peer),
                    Arc::clone(&served),
                    ConnId(id),
                    watcher.clone(),
                );
                all.spawn_aside("conn", conn);
            }
        });
        Rig { address, listener, trigger }
    }

    pub(super) async fn client(&self) -> Client {
        Client { socket: TcpStream::connect(self.address).await.unwrap(), came: Vec::new() }
    }

    /// The only pool.
    pub(super) fn pool(&self) -> Arc<Pool> {
        Arc::clone(&self.listener.routes.find("", "/").pool)
    }

    /// Seconds since 1970.
    pub(super) fn listener_now(&self) -> u64 {
        time::wall().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
    }

    /// What one request is answered with, on a conn of its own that is closed then.
    pub(super) async fn ask(&self, request: &[u8]) -> Answer {
        let mut client = self.client().await;
        client.send(request).await;
        client.answer().await
    }
}

fn pool(metrics: &Arc<Metrics>, upstreams: &[SocketAddr]) -> Arc<Pool> {
    let member = |(number, address): (usize, &SocketAddr)| {
        let parameters = member::Parameters {
            name: format!("up-{number}"),
            address: Some(*address),
            weight: 1,
            max_sessions: None,
            max_turns: None,
            rise: 1,
            fall: 1,
            token: None,
        };
        let series = metrics.upstream("p", &parameters.name);
        let (member, _) = Member::new(UpstreamId(number as u32), parameters, series);
        member.see(Seen::Answered);
        Arc::new(member)
    };
    let second = Duration::from_secs(1);
    let parameters = Parameters {
        policy: Policy::RoundRobin,
        storage: Storage::Own,
        create_existing: CreateExisting::Resume,
        lookup_timeout: second,
        lookup_wait: second,
        fleet_timeout: second,
        ephemeral_grace: second,
        sessions: Quota::default(),
        turns: Quota::default(),
        patience: pool::Patience { length: 8, timeout: second },
    };
    let members = upstreams.iter().enumerate().map(member).collect();
    Pool::new("p".into(), members, parameters, None, metrics.pool("p"), Tasks::new())
}

/// A client that sends what it is told and reads answers by itself.
pub(super) struct Client {
    pub(super) socket: TcpStream,
    pub(super) came: Vec<u8>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn field(&self, name: &str) -> Option<String> {
        let head = format!("x\r\n{}", self.head);
        Got { head, body: Vec::new() }.field(name)
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }
}

impl Client {
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        // An error: it was closed, and what it said before is read.
        let _ = within(self.socket.write_all(bytes)).await;
    }

    /// Reads more; `false`: there is no more.
    pub(super) async fn more(&mut self) -> bool {
        let mut buf = [0; 65536];
        match within(self.socket.read(&mut buf)).await {
            Ok(n) if n > 0 => self.came.extend_from_slice(&buf[..n]),
            _ => return false,
        }
        true
    }

    /// Reads until this comes, and returns what came up to its end.
    pub(super) async fn until(&mut self, what: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.came.windows(what.len()).position(|w| w == what) {
                return self.came.drain(..at + what.len()).collect();
            }
            assert!(self.more().await, "closed after {}", self.came.escape_ascii());
        }
    }

    /// The next answer, interim ones included.
    pub(super) async fn answer_to(&mut self, method: &str) -> Answer {
        let head = String::from_utf8(self.until(b"\r\n\r\n").await).unwrap();
        let (line, fields) = head.split_once("\r\n").unwrap();
        let status: u16 = line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, head: fields.to_owned(), body: Vec::new() };
        if method == "HEAD" || matches!(status, 100..=199 | 204 | 304) {
            return answer;
        }
        if answer.field("transfer-encoding").is_some() {
            loop {
                let line = self.until(b"\r\n").await;
                let size = std::str::from_utf8(&line).unwrap().trim();
                let size = usize::from_str_radix(size, 16).unwrap();
                while self.came.len() < size + 2 {
                    assert!(self.more().await);
                }
                answer.body.extend(self.came.drain(..size));
                assert_eq!(self.came.drain(..2).as_slice(), b"\r\n");
                if size == 0 {
                    return answer;
                }
            }
        }
        match answer.field("content-length") {
            Some(length) => {
                let length: usize = length.parse().unwrap();
                while self.came.len() < length {
                    assert!(self.more().await, "cut off");
                }
                answer.body = self.came.drain(..length).collect();
            }
            None => {
                while self.more().await {}
                answer.body = std::mem::take(&mut self.came);
            }
        }
        answer
    }

    pub(super) async fn answer(&mut self) -> Answer {
        self.answer_to("GET").await
    }

    /// Whether it is closed, with nothing more said.
    pub(super) async fn is_closed(&mut self) -> bool {
        !self.more().await && self.came.is_empty()
    }
}
