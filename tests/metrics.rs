//! The endpoints as a scraper, a probe and an attacker see them: raw HTTP/1.1 over TCP.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, its helpers too")]

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use fairlead::drain::{self, Mode, Tasks, Trigger};
use fairlead::observe::endpoints::{Endpoints, Limits, serve};
use fairlead::observe::healthcheck::{Health, healthcheck};
use fairlead::observe::metrics::{
    METRICS, MethodName, Metrics, RpcResult, UpstreamMetrics, Vocabulary, markdown,
};
use fairlead::observe::readiness::Readiness;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(60);

fn metrics() -> Arc<Metrics> {
    let methods = vec![MethodName { name: "session.send", class: "session" }];
    let upstream_states = &["starting", "up", "down"];
    let session_states = &["placing", "live", "stored"];
    Metrics::new("0.1.0", "abc", Vocabulary { methods, upstream_states, session_states })
}

/// Metrics with a value in every row of the table, and what must be held for that.
fn populated() -> (Arc<Metrics>, Box<dyn std::any::Any>) {
    let metrics = metrics();
    metrics.read_dropped_log_lines(|| 0);
    metrics.read_tasks(|| 1, || 0);
    metrics.ledger_errors.inc("get");
    metrics.rpc().answered(0, RpcResult::Ok, Duration::from_millis(1));
    let listener = metrics.listener("main");
    listener.rejected.inc("too_many");
    listener.frame_errors.inc("bad_header");
    listener.denied.inc("access_denied");
    listener.tls_not_after("default").set(1);
    let http = listener.http();
    http.requests.inc(200);
    http.retries.inc("connect");
    http.refused.inc("line");
    let pool = metrics.pool("p\"\\\n");
    pool.placements.inc("hash");
    pool.failovers.inc("ok");
    pool.lookups.inc("found");
    pool.evicted.inc("idle");
    pool.lookups.inc("found");
    pool.turns.inc("ok");
    pool.turn_duration.observe(12.0);
    let upstream = metrics.upstream("p", "cli-1");
    upstream.info.set(["3", "1.0.102"]);
    upstream.health_checks.inc("ok");
    upstream.lost.inc("reset");
    upstream.left_out.inc("late");
    upstream.restarts.inc("exited");
    upstream.crash_loop.set(false);
    metrics.ledger_up.set(true);
    (metrics, Box::new((listener, pool, upstream)))
}

struct Running {
    addr: SocketAddr,
    readiness: Readiness,
    trigger: Trigger,
}

async fn start(metrics: Arc<Metrics>, limits: Limits) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let readiness = Readiness::new();
    let (trigger, watcher) = drain::new();
    let tasks = Tasks::new();
    let state = Arc::new(Endpoints::new(metrics, readiness.clone(), limits));
    tasks.spawn_aside("metrics", serve(listener, state, tasks.clone(), watcher));
    Running { addr, readiness, trigger }
}

/// Sends `request` and reads to the end; the head and the body of the answer.
async fn raw(addr: SocketAddr, request: &str) -> (String, String) {
    let exchange = async {
        let mut tcp = TcpStream::connect(addr).await.unwrap();
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = timeout(SOON, exchange).await.expect("no answer in time");
    let (head, body) = answer.split_once("\r\n\r\n").expect("not HTTP");
    (head.to_lowercase(), body.to_owned())
}

async fn get(addr: SocketAddr, path: &str) -> (String, String) {
    raw(addr, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await
}

#[test]
fn every_metric_of_the_table_is_shown_and_nothing_else() {
    let (metrics, _held) = populated();
    let families = metrics.gather();
    let mut shown: Vec<_> = families.iter().map(|family| family.name()).collect();
    shown.retain(|name| !name.starts_with("process_"));
    let mut table: Vec<_> = METRICS.iter().map(|spec| spec.name).collect();
    table.sort_unstable();
    assert_eq!(shown, table);
}

#[test]
fn the_document_is_the_table() {
    let mut families = metrics().gather();
    families.retain(|family| family.name().starts_with("process_"));
    assert_eq!(families.len(), 7);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/METRICS.md");
    let wanted = markdown(&families);
    if std::env::var_os("FAIRLEAD_BLESS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "conf/METRICS.md is not the table; run: FAIRLEAD_BLESS=1 cargo test --test metrics"
    );
}

#[test]
fn promtool_finds_nothing_wrong() {
    let (metrics, _held) = populated();
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is missing; run: apt-get install prometheus");
    let text = metrics.render().unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let out = promtool.wait_with_output().unwrap();
    let said = [out.stdout, out.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(out.status.success() && said.concat().is_empty(), "{said:?}\n{text}");
}

#[tokio::test]
async fn metrics_come_in_the_text_format_with_its_content_type() {
    let (metrics, _held) = populated();
    let running = start(metrics, Limits::default()).await;
    let (head, body) = get(running.addr, "/metrics?x=y").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    assert!(head.contains("connection: close"), "{head}");
    assert!(body.contains("# TYPE fairlead_build_info gauge\n"));
    assert!(body.contains(r#"fairlead_turns_active{pool="p\"\\\n"} 0"#), "{body}");
}

#[tokio::test]
async fn readiness_names_what_blocks_and_a_drain_turns_it_off_but_answers_on() {
    let running = start(metrics(), Limits::default()).await;
    let blocker = running.readiness.block("listeners");
    let _other = running.readiness.block("config");
    let (head, body) = get(running.addr, "/readyz").await;
    assert!(head.starts_with("http/1.1 503 "), "{head}");
    assert_eq!(body, "config\nlisteners\n");
    drop((blocker, _other));
    let (head, body) = get(running.addr, "/readyz").await;
    assert!(head.starts_with("http/1.1 200 ") && body == "ready\n", "{head}");

    running.trigger.start(Mode::Drain);
    timeout(SOON, running.trigger.complete()).await.expect("the endpoints hold the drain up");
    let (head, body) = get(running.addr, "/readyz").await;
    assert!(head.starts_with("http/1.1 503 ") && body == "draining\n", "{head}");
    let (head, _) = get(running.addr, "/livez").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let running = start(metrics(), Limits::default()).await;
    let (head, _) = get(running.addr, "/").await;
    assert!(head.starts_with("http/1.1 404 "), "{head}");
    let post = "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
    let (head, _) = raw(running.addr, post).await;
    assert!(head.starts_with("http/1.1 405 ") && head.contains("allow: get, head"), "{head}");
    let (head, body) = raw(running.addr, "HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(head.starts_with("http/1.1 200 ") && head.contains("content-length: 6"), "{head}");
    assert_eq!(body, "");
}

/// Enough upstreams that their metrics fit in no pair of socket buffers.
fn large(metrics: &Metrics) -> Vec<Arc<UpstreamMetrics>> {
    (0..12_000).map(|n| metrics.upstream("pool", &format!("upstream-{n}"))).collect()
}

/// A conn with a tiny receive buffer that has sent `request` and reads nothing.
async fn slow(addr: SocketAddr, request: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    let mut tcp = socket.connect(addr).await.unwrap();
    tcp.write_all(request.as_bytes()).await.unwrap();
    tcp
}

#[tokio::test]
async fn a_scraper_that_reads_nothing_is_cut_off_and_holds_nobody_up() {
    let metrics = metrics();
    let _many = large(&metrics);
    let whole = metrics.render().unwrap().len();
    let limits = Limits { conns: 2, write: Duration::from_secs(1), ..Limits::default() };
    let running = start(metrics, limits).await;
    let mut stuck = slow(running.addr, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    // The other slot goes on serving.
    let (head, _) = get(running.addr, "/livez").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    // Its answer has begun; now take the other slot as well: a probe waits, and is served when the first is cut off.
    timeout(SOON, stuck.readable()).await.unwrap().unwrap();
    let _also = slow(running.addr, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let (head, _) = get(running.addr, "/livez").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    // The cut is to be seen: less than the whole arrives, then the end or a reset.
    let mut rest = Vec::new();
    let _ = timeout(SOON, stuck.read_to_end(&mut rest)).await.expect("never cut off");
    assert!(rest.len() < whole, "{} of {whole}", rest.len());
}

#[tokio::test]
async fn those_who_never_finish_their_header_lose_their_slots() {
    let limits = Limits { conns: 2, header: Duration::from_millis(200), ..Limits::default() };
    let running = start(metrics(), limits).await;
    let mut idlers = Vec::new();
    for _ in 0..4 {
        idlers.push(slow(running.addr, "GET /livez HTTP/1.1\r\nX-Half: ").await);
    }
    let (head, _) = get(running.addr, "/livez").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
}

#[tokio::test]
async fn what_is_not_http_ends_with_a_close() {
    let running = start(metrics(), Limits::default()).await;
    let mut tcp = slow(running.addr, "\u{16}\u{3}\u{1} nonsense\r\n\r\n").await;
    let mut answer = Vec::new();
    let _ = timeout(SOON, tcp.read_to_end(&mut answer)).await.expect("never closed");
    let (head, _) = get(running.addr, "/livez").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
}

#[tokio::test]
async fn the_health_check_agrees_with_the_endpoint() {
    let running = start(metrics(), Limits::default()).await;
    let ask = |addr| tokio::task::spawn_blocking(move || healthcheck(addr, SOON));
    assert!(matches!(ask(running.addr).await.unwrap(), Health::Ready));
    let _blocker = running.readiness.block("pool a");
    let not_ready = ask(running.addr).await.unwrap();
    assert!(matches!(not_ready, Health::NotReady(text) if text == "pool a"));
}
