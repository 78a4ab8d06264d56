//! Upstreams by name: CLIs come and go with what DNS says, and nobody who works on one notices.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use fairlead::testing::{Client, Disk, FakeCli, FakeConfig, FakeDns, Gateway, Says, free_port};

use crate::owners::{Dir, tokens};
use crate::rig::{
    Metrics, ask, create, eventually, is_ours, opened, refused, restarted, resume, send, turn,
    used, within,
};

const NAME: &str = "cli.default.svc.cluster.local";

fn ip(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

fn addresses(last: &[u8]) -> Says {
    Says::Addresses(last.iter().copied().map(ip).collect(), 0)
}

/// CLIs on one port of several loopback addresses, a name that has some of them, and a gateway that knows the name.
struct Rig {
    dns: FakeDns,
    port: u16,
    clis: Vec<FakeCli>,
    gateway: Gateway,
    toml: String,
}

/// CLI 0 is at 127.0.0.1, and so on. The name has the first `named` of them.
async fn start(count: u8, named: u8, more: &str) -> Rig {
    let dns = FakeDns::start().await.unwrap();
    let first: Vec<u8> = (1..=named).collect();
    dns.says(NAME, if named == 0 { Says::NoSuchName } else { addresses(&first) });
    let mut rig = with(dns, "", more).await;
    for last in 1..=count {
        rig.start_cli(last, Disk::new()).await;
    }
    if named > 0 {
        rig.until_up(usize::from(named)).await;
    }
    rig
}

/// `top`: keys before all tables; `more`: keys of the pool.
async fn with(dns: FakeDns, top: &str, more: &str) -> Rig {
    // That is free on the first address is taken as free on the others.
    let port = free_port();
    let toml = format!(
        "{top}[[listener]]\nname = \"sdk\"\nbind = \"127.0.0.1:0\"\npool = \"p\"\n\
         [[pool]]\nname = \"p\"\nbalance = \"round_robin\"\n\
         upstreams = [{{ address = \"{NAME}:{port}\", headless = true }}]\n{more}\
         [pool.health]\ninterval = \"100ms\"\n[metrics]\nbind = \"127.0.0.1:0\"\n\
         [dns]\nservers = [\"{}\"]\nmin_ttl = \"100ms\"\nmax_ttl = \"1m\"\ntimeout = \"3s\"\n",
        dns.addr
    );
    let gateway = Gateway::start(&toml).await.unwrap();
    Rig { dns, port, clis: Vec::new(), gateway, toml }
}

impl Rig {
    async fn start_cli(&mut self, last: u8, disk: Disk) {
        let config = FakeConfig { ip: ip(last), port: self.port, disk, ..FakeConfig::default() };
        self.clis.push(FakeCli::start(config).await.unwrap());
    }

    async fn client(&self) -> Client {
        Client::connect(self.gateway.addresses().listeners[0]).await.unwrap()
    }

    async fn known(&self, user: &str) -> Client {
        let client = self.client().await;
        ask(&client, "connect", serde_json::json!({"token": format!("{user}-token")})).await;
        client
    }

    async fn metrics(&self) -> Metrics {
        Metrics(self.gateway.get("/metrics").await.unwrap().1)
    }

    async fn until(&self, what: &str, so: impl Fn(&Metrics) -> bool) {
        eventually(what, async || so(&self.metrics().await)).await;
    }

    async fn until_up(&self, count: usize) {
        let up = |m: &Metrics| m.sum("fairlead_upstream_state", &[("state", "up")]);
        self.until(&format!("{count} are up"), |m| up(m) == count as f64).await;
    }

    /// Waits until the name was asked for once more, and the answer is in.
    async fn until_asked(&self) {
        let asked = |m: &Metrics| m.sum("fairlead_dns_lookups_total", &[]);
        let before = asked(&self.metrics().await);
        self.until("it is asked for again", |m| asked(m) >= before + 2.0).await;
    }

    async fn restart_gateway(&mut self) {
        self.gateway = restarted(&self.gateway, &self.toml, &BTreeMap::new()).await;
        eventually("it is ready", async || self.ready().await.0 == 200).await;
    }

    fn name(&self, last: u8) -> String {
        format!("127.0.0.{last}:{}", self.port)
    }

    fn has(&self, number: usize, session: &str) -> bool {
        self.clis[number].sessions().iter().any(|id| id == session)
    }

    /// Whose disks have a session.
    fn homes(&self, session: &str) -> Vec<usize> {
        let has = |n: &usize| self.clis[*n].disk().sessions().iter().any(|id| id == session);
        (0..self.clis.len()).filter(has).collect()
    }

    async fn ready(&self) -> (u16, String) {
        self.gateway.get("/readyz").await.unwrap()
    }
}

fn retired(metrics: &Metrics, name: &str) -> f64 {
    metrics.sum("fairlead_upstream_retired", &[("upstream", name)])
}

#[tokio::test]
async fn a_cli_that_the_name_has_now_takes_sessions() {
    let rig = start(2, 1, "").await;
    let client = rig.client().await;
    used(&client, "a").await;
    assert!(rig.has(0, "a"));
    rig.dns.says(NAME, addresses(&[1, 2]));
    rig.until_up(2).await;
    used(&client, "b").await;
    used(&client, "c").await;
    assert!(rig.has(1, "b") || rig.has(1, "c"), "its turn comes");
}

#[tokio::test]
async fn a_turn_on_a_cli_that_the_name_has_no_more_goes_on_to_its_end() {
    let rig = start(2, 1, "").await;
    let client = rig.client().await;
    create(&client, "held").await;
    rig.dns.says(NAME, addresses(&[1, 2]));
    rig.until_up(2).await;
    send(&client, "held", "hold key").await;
    within("the turn holds", rig.clis[0].until_held("key")).await;
    let old = rig.name(1);
    rig.dns.says(NAME, addresses(&[2]));
    rig.until("it is retired", |m| retired(m, &old) == 1.0).await;
    for session in ["b", "c", "d"] {
        used(&client, session).await;
        assert!(rig.has(1, session), "{session} is where nothing new goes");
    }
    // Others may come to what lives there.
    let other = rig.client().await;
    resume(&other, "held").await;
    rig.until_asked().await;
    assert_eq!(retired(&rig.metrics().await, &old), 1.0, "it waits for its turn");
    let from = client.received();
    rig.clis[0].release("key");
    let idle = |frame: &fairlead::testing::client::Frame| frame.event_type() == "session.idle";
    client.next_frame(from, idle).await.unwrap();
    assert!(!turn(&client, "held", "still here").await.is_empty());
    drop((client, other));
    rig.until("it is gone", |m| !m.0.contains(&old)).await;
    rig.until_up(1).await;
}

#[tokio::test]
async fn no_answer_with_an_address_changes_nothing() {
    let rig = start(2, 2, "").await;
    let client = rig.client().await;
    used(&client, "a").await;
    let (first, second) = (rig.name(1), rig.name(2));
    for (says, result) in [
        (Says::Nothing, "empty"),
        (Says::NoSuchName, "no_such_name"),
        (Says::Failure, "failed"),
        (Says::Silence, "failed"),
    ] {
        rig.dns.says(NAME, says.clone());
        let count = |m: &Metrics| m.sum("fairlead_dns_lookups_total", &[("result", result)]);
        let before = count(&rig.metrics().await);
        rig.until(&format!("{says:?} is heard"), |m| count(m) > before).await;
        let metrics = rig.metrics().await;
        assert_eq!(retired(&metrics, &first) + retired(&metrics, &second), 0.0, "{says:?}");
        rig.until_up(2).await;
    }
    assert!(!turn(&client, "a", "x").await.is_empty());
}

#[tokio::test]
async fn a_cli_that_comes_back_while_it_has_work_is_the_same_one() {
    let rig = start(2, 1, "").await;
    let client = rig.client().await;
    used(&client, "a").await;
    let first = rig.name(1);
    rig.dns.says(NAME, addresses(&[2]));
    rig.until("it is retired", |m| retired(m, &first) == 1.0).await;
    rig.dns.says(NAME, addresses(&[1]));
    let second = rig.name(2);
    rig.until("the other is gone", |m| !m.0.contains(&second)).await;
    rig.until("it is back", |m| retired(m, &first) == 0.0 && m.0.contains(&first)).await;
    used(&client, "b").await;
    assert!(rig.has(0, "b"));
    assert!(!turn(&client, "a", "x").await.is_empty());
}

#[tokio::test]
async fn an_answer_is_believed_as_long_as_its_time_to_live_says() {
    let dns = FakeDns::start().await.unwrap();
    dns.says(NAME, Says::Addresses(vec![ip(1)], 3600));
    let mut rig = with(dns, "", "").await;
    rig.start_cli(1, Disk::new()).await;
    rig.until_up(1).await;
    let client = rig.client().await;
    for session in ["a", "b", "c"] {
        used(&client, session).await;
    }
    assert_eq!(rig.dns.asked(NAME), 1, "max_ttl is a minute");
    let short = start(1, 1, "").await;
    let asked = short.dns.asked(NAME);
    eventually("it is asked for again", async || short.dns.asked(NAME) > asked + 2).await;
}

#[tokio::test]
async fn fairlead_serves_before_the_name_is_resolved_and_says_that_it_is_not_ready() {
    let rig = start(1, 0, "").await;
    let (status, why) = rig.ready().await;
    assert_eq!(status, 503);
    assert!(why.contains("pool p: a name of its upstreams is not resolved\n"), "{why}");
    let client = rig.client().await;
    let none = refused(&client, "session.create", opened("a")).await;
    is_ours(&none, -32041, "no_upstream");
    rig.dns.says(NAME, addresses(&[1]));
    eventually("it is ready", async || rig.ready().await.0 == 200).await;
    used(&client, "b").await;
}

#[tokio::test]
async fn a_cli_that_lost_its_address_is_found_at_another_with_its_sessions() {
    let dns = FakeDns::start().await.unwrap();
    dns.says(NAME, addresses(&[1]));
    let mut rig = with(dns, "", "").await;
    let disk = Disk::new();
    rig.start_cli(1, disk.clone()).await;
    rig.until_up(1).await;
    let client = rig.client().await;
    used(&client, "a").await;
    // As a pod of a StatefulSet that is rescheduled.
    rig.clis.remove(0).kill().await;
    let first = rig.name(1);
    rig.dns.says(NAME, addresses(&[2]));
    rig.until("it is gone", |m| !m.0.contains(&first)).await;
    let lost = refused(&client, "session.resume", opened("a")).await;
    is_ours(&lost, -32049, "session_lost");
    rig.start_cli(2, disk).await;
    rig.until_up(1).await;
    resume(&client, "a").await;
    assert!(!turn(&client, "a", "x").await.is_empty());
}

#[tokio::test]
async fn sessions_are_where_they_were_after_a_restart_of_fairlead() {
    let mut rig = start(3, 3, "").await;
    let client = rig.client().await;
    let sessions = ["a", "b", "c", "d", "e", "f"];
    for session in sessions {
        used(&client, session).await;
    }
    let before: Vec<_> = sessions.iter().map(|session| rig.homes(session)).collect();
    assert!(before.iter().all(|homes| homes.len() == 1), "{before:?}");
    rig.restart_gateway().await;
    let client = rig.client().await;
    for session in sessions {
        resume(&client, session).await;
        turn(&client, session, "x").await;
    }
    let after: Vec<_> = sessions.iter().map(|session| rig.homes(session)).collect();
    assert_eq!(before, after);
}

#[tokio::test]
async fn sessions_are_their_owners_after_a_restart_of_fairlead() {
    let dns = FakeDns::start().await.unwrap();
    dns.says(NAME, addresses(&[1, 2, 3]));
    let dir = Dir::new();
    tokens(&dir, &["alice", "bob"]);
    let path = dir.0.display();
    let top = format!("state_dir = \"{path}/state\"\n");
    let identity = format!(
        "[[listener.identity]]\nsource = \"token\"\ntokens = {{ file = \"{path}/tokens.toml\" }}\n"
    );
    let mut rig = with(dns, &top, &identity).await;
    for last in 1..=3 {
        rig.start_cli(last, Disk::new()).await;
    }
    rig.until_up(3).await;
    let alice = rig.known("alice").await;
    let sessions = ["a", "b", "c", "d"];
    for session in sessions {
        used(&alice, session).await;
    }
    let before: Vec<_> = sessions.iter().map(|session| rig.homes(session)).collect();
    alice.close().await;
    rig.restart_gateway().await;
    let (alice, bob) = (rig.known("alice").await, rig.known("bob").await);
    for session in sessions {
        is_ours(&refused(&bob, "session.resume", opened(session)).await, -32042, "access_denied");
        resume(&alice, session).await;
        let said = turn(&alice, session, "x").await;
        assert_eq!(said, "You said \"x\". I remember 1 earlier messages.");
    }
    let after: Vec<_> = sessions.iter().map(|session| rig.homes(session)).collect();
    assert_eq!(before, after);
}
