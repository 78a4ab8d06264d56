//! A member and who probes it.

use tokio::net::{TcpListener, TcpSocket};

use super::*;
use crate::config::Statuses;
use crate::health::state::State;
use crate::observe::logging::Format;
use crate::observe::logging::tests::logged;
use crate::session::table::Storage;
use crate::upstream::ask::NoAnswer;
use crate::upstream::pool::bench::Bench;

const INTERVAL: Duration = Duration::from_millis(20);

fn with(check: Check) -> Parameters {
    Parameters { interval: INTERVAL, timeout: Duration::from_secs(1), check, first: Vec::new() }
}

/// A member at this address, and the task that probes it.
fn visited(bench: &Bench, address: SocketAddr, check: Check) -> Arc<Member> {
    let (member, ears) = bench.member("u", Some(address));
    assert!(bench.pool.add(&member));
    bench.pool.expect_no_hello();
    let visit = visit(Arc::clone(&bench.pool), Arc::clone(&member), ears, with(check));
    bench.tasks.spawn_aside("visit", visit);
    member
}

async fn until(member: &Member, state: State) {
    let fact = async {
        while member.state() != state {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), fact).await.expect("it is in another state");
}

#[tokio::test]
async fn an_upstream_is_up_as_long_as_it_takes_connections() {
    let bench = Bench::new(Storage::Own);
    let socket = |address: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseport(true).unwrap();
        socket.bind(address.parse().unwrap()).unwrap();
        socket
    };
    // Holds the port, so that nobody else is given it, and does not listen.
    let held = socket("127.0.0.1:0");
    let address = held.local_addr().unwrap();
    let listener = socket(&address.to_string()).listen(8).unwrap();
    let member = visited(&bench, address, Check::Tcp);
    until(&member, State::Up).await;
    tokio::time::timeout(Duration::from_secs(20), bench.pool.settled()).await.unwrap();
    drop(listener);
    until(&member, State::Down).await;
    let _again = socket(&address.to_string()).listen(8).unwrap();
    until(&member, State::Up).await;
    let checks = |result| {
        let labels = format!(r#"{{pool="p",result="{result}",upstream="u"}}"#);
        bench.shows(&format!("fairlead_upstream_health_checks_total{labels}")).unwrap()
    };
    assert!(checks("ok") >= 3.0 && checks("failed") >= 2.0);
}

#[tokio::test]
async fn nobody_waits_for_an_answer_of_one_that_is_no_cli() {
    let bench = Bench::new(Storage::Own);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let member = visited(&bench, listener.local_addr().unwrap(), Check::Tcp);
    let asked = member.asker.ask("ping", "{}".into(), Duration::from_secs(20)).await;
    assert_eq!(asked.err(), Some(NoAnswer::Gone));
}

#[tokio::test]
async fn what_conns_saw_counts_and_has_it_probed_sooner() {
    let bench = Bench::new(Storage::Own);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (member, ears) = bench.member("u", Some(listener.local_addr().unwrap()));
    let rare = Parameters { interval: Duration::from_secs(3600), ..with(Check::Tcp) };
    let visit = visit(Arc::clone(&bench.pool), Arc::clone(&member), ears, rare);
    bench.tasks.spawn_aside("visit", visit);
    until(&member, State::Up).await;
    member.hint(Seen::LinkFailed);
    member.hint(Seen::LinkFailed);
    until(&member, State::Down).await;
    // One probe, which is not an hour off; the second good sign comes with the next.
    let checks = r#"fairlead_upstream_health_checks_total{pool="p",result="ok",upstream="u"}"#;
    let fact = async {
        while bench.shows(checks) != Some(2.0) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), fact).await.unwrap();
}

#[test]
fn the_log_says_why_an_upstream_is_down() {
    let log = logged("info", Format::Json, || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(async {
            let bench = Bench::new(Storage::Own);
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            bench.tasks.spawn_aside("answers", async move {
                use tokio::io::AsyncWriteExt as _;
                while let Ok((mut socket, _)) = listener.accept().await {
                    let _ = socket.write_all(b"HTTP/1.1 503 Busy\r\n\r\n").await;
                }
            });
            let expect = vec![Statuses { first: 200, last: 399 }];
            let http = HttpProbe { path: "/".into(), host: None, expect };
            let member = visited(&bench, address, Check::Http(http));
            until(&member, State::Down).await;
        });
    });
    let down = log.lines().find(|line| line.contains("upstream is down")).unwrap();
    assert!(down.contains(r#""reason":"status 503""#), "{down}");
}
