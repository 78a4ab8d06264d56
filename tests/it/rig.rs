//! Fake CLIs, a gateway in front of them, and the few steps that most tests begin with.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::future::Future;
use std::time::Duration;

use fairlead::testing::client::{Client, Frame};
use fairlead::testing::fake_cli::Received;
use fairlead::testing::wire::RpcError;
use fairlead::testing::{Disk, FakeCli, FakeConfig, Gateway, free_port};
use serde_json::{Value, json};

/// How long a fact may take to come true.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for something that must come.
pub(crate) async fn within<T>(what: &str, waiting: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, waiting).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: not within {DEADLINE:?}"),
    }
}

/// What a test wants between its clients and its CLIs.
#[derive(Clone)]
pub(crate) struct Setup {
    fakes: Vec<FakeConfig>,
    upstreams: Vec<String>,
    env: BTreeMap<&'static str, &'static str>,
    top: String,
    listener: String,
    pool: String,
    health: String,
    limits: String,
    drain: String,
}

/// So many CLIs, each with its own disk, in turn.
pub(crate) fn clis(count: usize) -> Setup {
    Setup {
        fakes: (0..count).map(|_| FakeConfig::default()).collect(),
        upstreams: vec![String::new(); count],
        env: BTreeMap::new(),
        top: String::new(),
        listener: String::new(),
        pool: "balance = \"round_robin\"\n".to_owned(),
        health: String::new(),
        limits: String::new(),
        drain: String::new(),
    }
}

impl Setup {
    /// Changes how one CLI is.
    pub(crate) fn cli(mut self, number: usize, change: impl FnOnce(&mut FakeConfig)) -> Self {
        change(&mut self.fakes[number]);
        self
    }

    /// Members of one entry of `upstreams`, e.g. `weight = 2`.
    pub(crate) fn upstream(mut self, number: usize, members: &str) -> Self {
        self.upstreams[number] = format!(", {members}");
        self
    }

    /// The same members for all.
    pub(crate) fn upstreams(mut self, members: &str) -> Self {
        self.upstreams.fill(format!(", {members}"));
        self
    }

    /// One disk for all CLIs, and the pool knows.
    pub(crate) fn shared_disk(mut self) -> Self {
        let disk = Disk::new();
        for fake in &mut self.fakes {
            fake.disk = disk.clone();
        }
        self.pool.push_str("storage = \"shared\"\n");
        self
    }

    /// All CLIs want this token, and the pool has it.
    pub(crate) fn token(mut self, token: &'static str) -> Self {
        for fake in &mut self.fakes {
            fake.token = Some(token.to_owned());
        }
        self.pool.push_str("token = { env = \"TOKEN\" }\n");
        self.env.insert("TOKEN", token);
        self
    }

    /// How the pool places; the default is in turn.
    pub(crate) fn balance(mut self, keys: &str) -> Self {
        self.pool = self.pool.replace("balance = \"round_robin\"", keys);
        self
    }

    /// More keys of the pool.
    pub(crate) fn pool(mut self, keys: &str) -> Self {
        let _ = writeln!(self.pool, "{keys}");
        self
    }

    /// A way to learn who calls.
    pub(crate) fn session_id(mut self, pattern: &str) -> Self {
        let identity =
            format!("[[listener.identity]]\nsource = \"session_id\"\npattern = '{pattern}'\n");
        self.listener.push_str(&identity);
        self
    }

    /// More keys and tables of the listener.
    pub(crate) fn listener(mut self, keys: &str) -> Self {
        let _ = writeln!(self.listener, "{keys}");
        self
    }

    /// Keys before all tables.
    pub(crate) fn top(mut self, keys: &str) -> Self {
        let _ = writeln!(self.top, "{keys}");
        self
    }

    /// Keys of `[pool.health]`.
    pub(crate) fn health(mut self, keys: &str) -> Self {
        let _ = writeln!(self.health, "{keys}");
        self
    }

    /// Keys of `[limits]`.
    pub(crate) fn limits(mut self, keys: &str) -> Self {
        let _ = writeln!(self.limits, "{keys}");
        self
    }

    /// Keys of `[drain]`.
    pub(crate) fn drain(mut self, keys: &str) -> Self {
        let _ = writeln!(self.drain, "{keys}");
        self
    }

    /// Starts the CLIs and the gateway; returns when all CLIs are up.
    pub(crate) async fn start(self) -> Rig {
        let rig = self.start_unready().await;
        let count = rig.clis.len();
        rig.until_state("up", count).await;
        rig
    }

    /// Starts the CLIs and the gateway.
    pub(crate) async fn start_unready(mut self) -> Rig {
        let mut clis = Vec::new();
        for fake in &mut self.fakes {
            // It may be started again.
            fake.port = free_port();
            clis.push(FakeCli::start(fake.clone()).await.unwrap());
        }
        let gateway = self.gateway().await;
        Rig { clis, gateway, setup: self }
    }

    async fn gateway(&self) -> Gateway {
        Gateway::start_with(&self.toml(), &self.env).await.unwrap()
    }

    fn toml(&self) -> String {
        let mut upstreams = String::new();
        for (number, fake) in self.fakes.iter().enumerate() {
            let (port, more) = (fake.port, &self.upstreams[number]);
            let _ = writeln!(
                upstreams,
                "{{ address = \"127.0.0.1:{port}\", name = \"cli-{number}\"{more} }},"
            );
        }
        format!(
            "{}[runtime]\nworkers = 2\n\
             [[listener]]\nname = \"sdk\"\nbind = \"127.0.0.1:0\"\npool = \"p\"\n{}\
             [[pool]]\nname = \"p\"\nupstreams = [\n{upstreams}]\n{}\
             [pool.health]\n{}[metrics]\nbind = \"127.0.0.1:0\"\n[drain]\n{}[limits]\n{}",
            self.top, self.listener, self.pool, self.health, self.drain, self.limits
        )
    }
}

/// Ends a gateway, and starts another one.
pub(crate) async fn restarted(old: &Gateway, toml: &str, env: &BTreeMap<&str, &str>) -> Gateway {
    old.leave(fairlead::drain::Mode::Now);
    within("the gateway ends", old.ended()).await;
    // Of a process of its own nothing would be left; here a task may hold the ledger a moment longer.
    let started = async {
        loop {
            match Gateway::start_with(toml, env).await {
                Err(why) if why.contains("in use by another process") => {
                    tokio::task::yield_now().await;
                }
                started => return started.unwrap(),
            }
        }
    };
    within("the ledger is free", started).await
}

/// A gateway in front of its CLIs.
pub(crate) struct Rig {
    pub(crate) clis: Vec<FakeCli>,
    pub(crate) gateway: Gateway,
    setup: Setup,
}

impl Rig {
    /// A client that has said nothing.
    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.gateway.addresses().listeners[0]).await.unwrap()
    }

    /// Ends the gateway and starts another one like it, in front of the same CLIs.
    pub(crate) async fn restart_gateway(&mut self) {
        self.gateway = restarted(&self.gateway, &self.setup.toml(), &self.setup.env).await;
    }

    /// Starts a CLI again on its port and its disk, as a new process.
    pub(crate) async fn restart_cli(&mut self, number: usize) {
        self.clis[number] = FakeCli::start(self.setup.fakes[number].clone()).await.unwrap();
    }

    /// The metrics, now.
    pub(crate) async fn metrics(&self) -> Metrics {
        let (status, text) = self.gateway.get("/metrics").await.unwrap();
        assert_eq!(status, 200);
        Metrics(text)
    }

    /// Waits until the metrics are so.
    pub(crate) async fn until(&self, what: &str, so: impl Fn(&Metrics) -> bool) {
        eventually(what, async || so(&self.metrics().await)).await;
    }

    /// Waits until so many CLIs are in a state.
    pub(crate) async fn until_state(&self, state: &str, count: usize) {
        let what = format!("{count} CLIs are {state}");
        let so =
            |m: &Metrics| m.sum("fairlead_upstream_state", &[("state", state)]) == count as f64;
        self.until(&what, so).await;
    }

    /// Waits until one CLI is in a state.
    pub(crate) async fn until_cli(&self, number: usize, state: &str) {
        let cli = format!("cli-{number}");
        let labels = [("upstream", cli.as_str()), ("state", state)];
        let so = |m: &Metrics| m.sum("fairlead_upstream_state", &labels) == 1.0;
        self.until(&format!("{cli} is {state}"), so).await;
    }

    /// The number of the CLI that has a session in memory.
    pub(crate) fn owner(&self, session: &str) -> usize {
        let has = |cli: &FakeCli| cli.sessions().iter().any(|id| id == session);
        let owners: Vec<usize> =
            (0..self.clis.len()).filter(|number| has(&self.clis[*number])).collect();
        assert_eq!(owners.len(), 1, "{session} is on {owners:?}");
        owners[0]
    }

    /// Begins a turn that lasts until the key is released; returns the number of its CLI.
    pub(crate) async fn hold(&self, client: &Client, session: &str, key: &str) -> usize {
        let owner = self.owner(session);
        send(client, session, &format!("hold {key}")).await;
        within("the turn holds", self.clis[owner].until_held(key)).await;
        owner
    }
}

/// Waits until it is so, looking again and again.
pub(crate) async fn eventually(what: &str, so: impl AsyncFn() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    within(what, async {
        while !so().await {
            ticks.tick().await;
        }
    })
    .await;
}

/// A scrape.
pub(crate) struct Metrics(pub(crate) String);

impl Metrics {
    /// The sum of all series of a metric that have these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let of = |line: &&str| {
            let (series, _) = line.rsplit_once(' ').unwrap_or_default();
            let known = series.split('{').next() == Some(name);
            known
                && labels.iter().all(|(key, value)| series.contains(&format!("{key}=\"{value}\"")))
        };
        let value = |line: &str| line.rsplit_once(' ').and_then(|(_, v)| v.parse::<f64>().ok());
        self.0.lines().filter(of).filter_map(value).sum()
    }
}

/// What the CLI was told over links: not over the gateway's own connection to it.
pub(crate) fn over_links(cli: &FakeCli) -> Vec<Received> {
    let all = cli.received();
    let link = |frame: &&Received| frame.raw.starts_with(br#"{"jsonrpc":"2.0","id":"fairlead""#);
    let links: Vec<u64> = all.iter().filter(link).map(|frame| frame.conn).collect();
    all.into_iter().filter(|frame| links.contains(&frame.conn)).collect()
}

/// The methods among them, but our own `connect`.
pub(crate) fn forwarded(cli: &FakeCli) -> Vec<String> {
    let methods = over_links(cli).into_iter().map(|frame| frame.method().to_owned());
    methods.filter(|method| method != "connect" && !method.is_empty()).collect()
}

/// Params of a create or resume with which turns run.
pub(crate) fn opened(session: &str) -> Value {
    json!({"sessionId": session, "model": "fake", "provider": {"type": "openai"}})
}

pub(crate) async fn ask(client: &Client, method: &str, params: Value) -> Value {
    match client.request(method, params).await {
        Ok(result) => result,
        Err(error) => panic!("{method}: {error:?}"),
    }
}

pub(crate) async fn refused(client: &Client, method: &str, params: Value) -> RpcError {
    match client.request(method, params).await {
        Ok(result) => panic!("{method}: {result}"),
        Err(error) => error,
    }
}

pub(crate) async fn create(client: &Client, session: &str) -> Value {
    ask(client, "session.create", opened(session)).await
}

pub(crate) async fn resume(client: &Client, session: &str) -> Value {
    ask(client, "session.resume", opened(session)).await
}

pub(crate) async fn detach(client: &Client, session: &str) {
    let done = ask(client, "session.detach", json!({"sessionId": session})).await;
    assert_eq!(done["success"], true);
}

pub(crate) async fn send(client: &Client, session: &str, prompt: &str) -> Value {
    ask(client, "session.send", json!({"sessionId": session, "prompt": prompt})).await
}

/// A whole turn; what the assistant said.
pub(crate) async fn turn(client: &Client, session: &str, prompt: &str) -> String {
    let from = client.received();
    send(client, session, prompt).await;
    let idle = |frame: &Frame| {
        frame.event_type() == "session.idle" && frame.value["params"]["sessionId"] == session
    };
    client.next_frame(from, idle).await.unwrap();
    let said = client.frames(from).into_iter().filter(|frame| {
        frame.event_type() == "assistant.message" && frame.value["params"]["sessionId"] == session
    });
    said.map(|f| f.value["params"]["event"]["data"]["content"].as_str().unwrap().to_owned())
        .collect()
}

/// A session with one turn behind it.
pub(crate) async fn used(client: &Client, session: &str) {
    create(client, session).await;
    turn(client, session, "hello").await;
}

/// Asserts an error of ours, with its reason.
pub(crate) fn is_ours(error: &RpcError, code: i64, reason: &str) {
    assert_eq!((error.code, error.data["reason"].as_str()), (code, Some(reason)), "{error:?}");
}
