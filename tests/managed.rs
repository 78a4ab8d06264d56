//! Managed CLIs, on real processes: a stand-in that fails in every way that a CLI can.

#[cfg(test)]
#[path = "shared/log.rs"]
mod log;
#[cfg(test)]
#[path = "managed/rig.rs"]
mod rig;

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use fairlead::time::{self, Duration};
use fairlead::upstream::source::managed::{Credentials, StateDir, Status};

use self::log::Log;
use self::rig::{
    DEADLINE, Dir, Rig, STAND_IN, eventually, kids, kill, lives, ready, reopen, supervise, until,
};

/// Two children that ignore TERM, one of them in a session of its own, then the stand-in itself.
const STUBBORN: &str = r#"trap '' TERM; sleep 1000 & a=$!; setsid sleep 1000 & b=$!;
    echo $a $b > "$COPILOT_HOME/kids"; exec "$0" ok "$@""#;
/// The same, but everybody obeys TERM.
const OBEDIENT: &str = r#"sleep 1000 & a=$!; setsid sleep 1000 & b=$!;
    echo $a $b > "$COPILOT_HOME/kids"; exec "$0" ok "$@""#;

#[tokio::test]
async fn a_cli_is_ready_once_it_answers_ping_and_stopped_when_nothing_is_left() {
    let mut rig = Rig::new();
    let cli = rig.start(rig.spec(&[STAND_IN, "ok"]));
    let (port, pid, generation) = ready(&cli).await;
    assert_eq!(generation, 1);
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let home = rig.dir.0.join("p/cli-0");
    assert_eq!(home.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    cli.stop().await;
    assert_eq!(*cli.status().borrow(), Status::Stopped);
    rig.finished().await;
    assert!(!lives(pid));
    assert!(std::net::TcpListener::bind(("127.0.0.1", port)).is_ok());
}

#[tokio::test]
async fn a_cli_that_wants_a_token_is_ready_too() {
    let mut rig = Rig::new();
    let cli = rig.start(rig.spec(&[STAND_IN, "token"]));
    ready(&cli).await;
    cli.stop().await;
}

#[tokio::test]
async fn the_process_leads_its_own_session_and_sees_only_the_environment_that_is_meant_for_it() {
    let mut rig = Rig::new();
    let mut spec = rig.spec(&[STAND_IN, "ok"]);
    spec.env = vec![("MINE".into(), "yes".into())];
    spec.token = Some("a-token-of-the-pool".into());
    assert!(!format!("{spec:?}").contains("a-token-of-the-pool"));
    let cli = rig.start(spec);
    let (_, pid, _) = ready(&cli).await;
    let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let environ = String::from_utf8(environ).unwrap();
    for set in ["MINE=yes", "COPILOT_AUTO_UPDATE=false", "COPILOT_CONNECTION_TOKEN=a-token-of"] {
        assert!(environ.contains(set), "{set}");
    }
    assert!(std::env::vars_os().any(|(name, _)| name == "CARGO_MANIFEST_DIR"));
    assert!(!environ.contains("CARGO"));
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    assert_eq!(fields[2..4], [pid.to_string(), pid.to_string()]);
    cli.stop().await;
}

#[tokio::test]
async fn each_process_is_given_what_its_secrets_are_when_it_starts() {
    let mut rig = Rig::new();
    let mut spec = rig.spec(&[STAND_IN, "ok"]);
    let starts = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    spec.renew = Some(std::sync::Arc::new(move || {
        let start = starts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let env = vec![("MINE".into(), format!("env-{start}"))];
        Credentials { env, token: Some(format!("token-{start}")) }
    }));
    let cli = rig.start(spec);
    let given = |pid: i32| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
        let environ = String::from_utf8(environ).unwrap();
        let of =
            |name: &str| environ.split('\0').find_map(|v| v.strip_prefix(name).map(str::to_owned));
        (of("MINE=").unwrap(), of("COPILOT_CONNECTION_TOKEN=").unwrap())
    };
    let (_, first, _) = ready(&cli).await;
    assert_eq!(given(first), ("env-0".to_owned(), "token-0".to_owned()));
    cli.restart("another token");
    until(&cli, |status| matches!(status, Status::Ready { generation: 2, .. })).await;
    let (_, second, _) = ready(&cli).await;
    assert_eq!(given(second), ("env-1".to_owned(), "token-1".to_owned()));
    cli.stop().await;
}

#[tokio::test]
async fn a_port_that_somebody_took_is_replaced_at_once_and_the_stranger_is_not_taken_for_the_cli() {
    let mut rig = Rig::new();
    let mut spec = rig.spec(&[STAND_IN, "robbed"]);
    spec.backoff_min = DEADLINE * 10;
    spec.backoff_max = DEADLINE * 10;
    let cli = rig.start(spec);
    let (port, ..) = ready(&cli).await;
    let stolen = std::fs::read_to_string(rig.dir.0.join("p/cli-0/robbed")).unwrap();
    assert_ne!(port.to_string(), stolen);
    cli.stop().await;
    // The thief holds the port still, so it was nobody of ours; this sends it away.
    drop(std::net::TcpStream::connect(format!("127.0.0.1:{stolen}")).unwrap());
}

#[tokio::test]
async fn a_cli_that_ends_before_it_is_ready_is_tried_again_later_and_its_last_words_are_shown() {
    let mut rig = Rig::new();
    let cli = rig.start(rig.spec(&[STAND_IN, "crash"]));
    let status = until(&cli, |s| matches!(s, Status::Backoff { failures: 3, .. })).await;
    let Status::Backoff { until, last, .. } = &status else { panic!("{status:?}") };
    assert_eq!(last, "exit status: 1: no model, no service");
    assert!(*until <= time::now() + Duration::from_millis(200));
    assert!(status.is_crash_loop() && status.earlier_is_dead());
    cli.stop().await;
}

#[tokio::test]
async fn a_cli_that_ends_after_it_was_ready_is_replaced_by_the_next_generation() {
    let mut rig = Rig::new();
    let mut spec = rig.spec(&[STAND_IN, "ok"]);
    spec.backoff_min = Duration::from_millis(1);
    let cli = rig.start(spec);
    let (_, pid, generation) = ready(&cli).await;
    kill(pid);
    until(&cli, |s| matches!(s, Status::Ready { generation: g, .. } if *g > generation)).await;
    assert!(!lives(pid));
    cli.stop().await;
}

#[tokio::test]
async fn a_cli_that_never_answers_is_killed_at_the_deadline() {
    let mut rig = Rig::new();
    let mut spec = rig.spec(&[STAND_IN, "mute"]);
    spec.ready_deadline = Duration::from_millis(100);
    let cli = rig.start(spec);
    let status = until(&cli, |s| matches!(s, Status::Backoff { .. })).await;
    let Status::Backoff { last, .. } = status else { panic!("{status:?}") };
    assert_eq!(last, "not ready after 100ms");
    cli.stop().await;
}

#[tokio::test]
async fn a_command_that_is_not_there_says_what_to_install() {
    let mut rig = Rig::new();
    let cli = rig.start(rig.spec(&["no-such-copilot"]));
    let status = until(&cli, |s| matches!(s, Status::Backoff { .. })).await;
    let Status::Backoff { last, .. } = status else { panic!("{status:?}") };
    assert!(last.contains("npm install -g @github/copilot"), "{last}");
    cli.stop().await;
}

#[tokio::test]
async fn who_ignores_term_is_killed_after_the_stop_timeout_with_all_that_it_started() {
    let mut rig = Rig::new();
    let mut spec = rig.spec(&["/bin/sh", "-c", STUBBORN, STAND_IN]);
    spec.stop_timeout = Duration::from_millis(300);
    let cli = rig.start(spec);
    let (_, pid, _) = ready(&cli).await;
    let kids = rig.kids();
    assert!(kids.len() == 2 && kids.iter().all(|kid| lives(*kid)), "{kids:?}");
    let asked = time::now();
    cli.stop().await;
    assert!(time::now() - asked >= Duration::from_millis(300));
    assert!(!lives(pid) && !kids.iter().any(|kid| lives(*kid)));
}

#[tokio::test]
async fn kill_does_not_wait_also_while_a_stop_does() {
    let mut rig = Rig::new();
    let mut spec = rig.spec(&["/bin/sh", "-c", STUBBORN, STAND_IN]);
    spec.stop_timeout = DEADLINE * 10;
    let cli = rig.start(spec);
    ready(&cli).await;
    let now = async {
        until(&cli, |s| *s == Status::Stopping).await;
        cli.kill().await;
    };
    tokio::time::timeout(DEADLINE, async { tokio::join!(cli.stop(), now) }).await.unwrap();
    assert!(!rig.kids().iter().any(|kid| lives(*kid)));
}

#[tokio::test]
async fn a_cli_that_dies_leaves_nothing_behind_before_the_next_one_starts() {
    let mut rig = Rig::new();
    let mut spec = rig.spec(&["/bin/sh", "-c", STUBBORN, STAND_IN]);
    spec.backoff_min = DEADLINE * 10;
    spec.backoff_max = DEADLINE * 10;
    let cli = rig.start(spec);
    let (_, pid, _) = ready(&cli).await;
    kill(pid);
    let status = until(&cli, Status::earlier_is_dead).await;
    assert!(matches!(&status, Status::Backoff { last, .. } if last.starts_with("signal: 9")));
    assert!(!rig.kids().iter().any(|kid| lives(*kid)));
    cli.stop().await;
}

#[tokio::test]
async fn a_restart_replaces_the_process_without_a_wait_and_cuts_a_wait_short() {
    let mut rig = Rig::new();
    let mut spec = rig.spec(&[STAND_IN, "ok"]);
    spec.backoff_min = DEADLINE * 10;
    spec.backoff_max = DEADLINE * 10;
    let cli = rig.start(spec);
    let (_, pid, _) = ready(&cli).await;
    cli.restart("too old");
    until(&cli, |s| matches!(s, Status::Ready { generation: 2, .. })).await;
    assert!(!lives(pid));
    kill(ready(&cli).await.1);
    until(&cli, |s| matches!(s, Status::Backoff { .. })).await;
    cli.restart("now");
    until(&cli, |s| matches!(s, Status::Ready { generation: 3, .. })).await;
    cli.stop().await;
}

#[tokio::test]
async fn a_supervisor_that_is_dropped_takes_its_cli_with_it() {
    let mut rig = Rig::new();
    let cli = rig.start(rig.spec(&[STAND_IN, "ok"]));
    let (_, pid, _) = ready(&cli).await;
    drop(rig);
    eventually("the CLI is dead", || !lives(pid)).await;
    tokio::time::timeout(DEADLINE, cli.stop()).await.unwrap();
}

#[tokio::test]
async fn output_reaches_the_log_within_bounds_and_without_the_token() {
    // Where there is a single subscriber, whoever comes by a line first says for all threads whether it is wanted.
    let _beside = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new());
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut rig = Rig::new();
    let mut spec = rig.spec(&[STAND_IN, "chatty"]);
    spec.token = Some("canary-token".into());
    let cli = rig.start(spec);
    let (_, pid, _) = ready(&cli).await;
    cli.stop().await;

    let log = log.text();
    assert!(!log.contains("canary-token"), "a token in the log");
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ours: Vec<&serde_json::Value> =
        lines.iter().filter(|line| line["target"] == "fairlead::cli").collect();
    let first = &ours[0]["fields"];
    assert_eq!(first["message"], format!("{} [cut]", "x".repeat(8192)));
    assert_eq!((&first["pool"], &first["upstream"]), (&"p".into(), &"cli-0".into()));
    assert_eq!((&first["stream"], &first["pid"]), (&"stdout".into(), &pid.into()));
    let dropped: u64 = ours.iter().filter_map(|line| line["fields"]["dropped"].as_u64()).sum();
    let printed = ours.iter().filter(|line| line["fields"]["stream"].is_string()).count();
    assert!(printed < 1000, "{printed} lines of 5003 went to the log");
    assert_eq!(u64::try_from(printed).unwrap() + dropped, 5003);
}

#[tokio::test]
async fn two_on_one_state_directory_are_refused() {
    let rig = Rig::new();
    let refused = StateDir::open(&rig.dir.0).err().unwrap().to_string();
    assert!(refused.contains("in use by another fairlead"), "{refused}");
}

#[tokio::test]
async fn after_a_kill_the_next_start_ends_what_is_left() {
    let dir = Dir::new();
    let (mut supervisor, cli) = supervise(&dir, OBEDIENT);
    let kids = kids(&dir.0.join("home"));
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    eventually("the CLI died with fairlead", || !lives(cli)).await;
    assert!(kids.iter().all(|kid| lives(*kid)), "the test needs leftovers");

    let state = reopen(&dir).await;
    assert_eq!(state.end_leftovers(DEADLINE).await.unwrap(), 2);
    assert!(!kids.iter().any(|kid| lives(*kid)));
    drop(state);
    assert_eq!(reopen(&dir).await.end_leftovers(DEADLINE).await.unwrap(), 0);
}

#[tokio::test]
async fn leftovers_that_ignore_term_are_killed() {
    let dir = Dir::new();
    let (mut supervisor, _) = supervise(&dir, STUBBORN);
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    let state = reopen(&dir).await;
    assert!(state.end_leftovers(Duration::from_millis(100)).await.unwrap() >= 2);
    assert!(!kids(&dir.0.join("home")).iter().any(|kid| lives(*kid)));
}

#[tokio::test]
async fn a_stranger_who_got_the_pid_of_a_leftover_is_left_alone() {
    use std::os::unix::process::CommandExt as _;
    let dir = Dir::new();
    let mut stranger = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", stranger.id())).unwrap();
    let start: u64 = stat.split_whitespace().nth(21).unwrap().parse().unwrap();
    for (start, expected) in [(start - 1, 0), (start, 1)] {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let book = serde_json::json!({ "boot": boot.trim(), "clis": [{
            "pool": "p", "cli": 0, "pid": stranger.id(), "start": start, "marker": "none" }] });
        std::fs::write(dir.0.join("managed.json"), book.to_string()).unwrap();
        let state = reopen(&dir).await;
        assert_eq!(state.end_leftovers(DEADLINE).await.unwrap(), expected);
        assert_eq!(lives(i32::try_from(stranger.id()).unwrap()), expected == 0);
    }
    stranger.wait().unwrap();
}
