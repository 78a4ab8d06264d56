//! What a scrape shows of what was counted.

use std::sync::Arc;
use std::time::Duration;

use super::*;

fn metrics() -> Arc<Metrics> {
    let methods = vec![
        MethodName { name: "ping", class: "local" },
        MethodName { name: "session.send", class: "session" },
    ];
    Metrics::new(
        "0.1.0",
        "abc",
        Vocabulary { methods, upstream_states: &["starting", "up"], session_states: &["live"] },
    )
}

/// The value of the line that starts with `series`, a metric with its labels.
fn value(metrics: &Metrics, series: &str) -> Option<f64> {
    let text = metrics.render().unwrap();
    let line = text.lines().find(|line| line.split(' ').next() == Some(series))?;
    Some(line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[test]
fn two_upstreams_whose_names_run_together_alike_do_not_share_a_series() {
    let metrics = metrics();
    let one = metrics.upstream("ab", "c");
    let two = metrics.upstream("a", "bc");
    one.links.set(1);
    two.links.set(2);
    assert_eq!(value(&metrics, r#"fairlead_upstream_links{pool="ab",upstream="c"}"#), Some(1.0));
    assert_eq!(value(&metrics, r#"fairlead_upstream_links{pool="a",upstream="bc"}"#), Some(2.0));
}

#[test]
fn a_removed_upstream_takes_all_its_series_with_it_and_a_new_one_starts_at_zero() {
    let metrics = metrics();
    let upstream = metrics.upstream("p", "gone");
    upstream.info.set(["3", "1.0.102"]);
    upstream.health_checks.inc("ok");
    assert!(metrics.render().unwrap().contains("gone"));
    drop(upstream);
    assert!(!metrics.render().unwrap().contains("gone"));
    let _again = metrics.upstream("p", "gone");
    let checks = r#"fairlead_upstream_health_checks_total{pool="p",result="ok",upstream="gone"}"#;
    assert_eq!(value(&metrics, checks), None);
}

#[test]
fn the_same_upstream_is_one_set_of_series_while_anybody_holds_it() {
    let metrics = metrics();
    let old = metrics.upstream("p", "u");
    let new = metrics.upstream("p", "u");
    old.links.inc();
    drop(old);
    new.links.inc();
    assert_eq!(value(&metrics, r#"fairlead_upstream_links{pool="p",upstream="u"}"#), Some(2.0));
}

#[test]
fn an_upstream_is_in_exactly_one_state() {
    let metrics = metrics();
    let upstream = metrics.upstream("p", "u");
    let state = |state: &str| {
        let name = "fairlead_upstream_state";
        value(&metrics, &format!(r#"{name}{{pool="p",state="{state}",upstream="u"}}"#))
    };
    assert_eq!((state("starting"), state("up")), (Some(1.0), Some(0.0)));
    upstream.state.set("up");
    assert_eq!((state("starting"), state("up")), (Some(0.0), Some(1.0)));
}

#[test]
fn a_gauge_comes_back_when_its_holder_unwinds() {
    let metrics = metrics();
    let pool = metrics.pool("p");
    let turn = GaugeGuard::enter(&pool.turns_active);
    let live = pool.sessions.enter("live");
    assert_eq!(value(&metrics, r#"fairlead_turns_active{pool="p"}"#), Some(1.0));
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _held = (turn, live);
        panic!("our own mistake");
    }));
    assert!(unwound.is_err());
    assert_eq!(value(&metrics, r#"fairlead_turns_active{pool="p"}"#), Some(0.0));
    assert_eq!(value(&metrics, r#"fairlead_sessions{pool="p",state="live"}"#), Some(0.0));
}

#[test]
fn requests_of_all_workers_add_up_and_what_never_happened_is_absent() {
    let metrics = metrics();
    let workers = [metrics.rpc(), metrics.rpc()];
    for worker in &workers {
        worker.answered(1, RpcResult::Ok, Duration::from_micros(300));
    }
    let series =
        r#"fairlead_rpc_requests_total{class="session",method="session.send",result="ok"}"#;
    assert_eq!(value(&metrics, series), Some(2.0));
    let text = metrics.render().unwrap();
    assert!(!text.contains("method=\"ping\"") && !text.contains("result=\"error\""));
    let bucket = |le: &str| {
        let name = "fairlead_rpc_duration_seconds_bucket";
        value(&metrics, &format!(r#"{name}{{class="session",le="{le}"}}"#))
    };
    assert_eq!((bucket("0.00025"), bucket("0.0005")), (Some(0.0), Some(2.0)));
    let sum = value(&metrics, r#"fairlead_rpc_duration_seconds_sum{class="session"}"#).unwrap();
    assert!((sum - 0.0006).abs() < 1e-9);
}

#[test]
fn a_worker_that_ended_takes_no_counts_with_it() {
    let metrics = metrics();
    metrics.rpc().answered(0, RpcResult::Refused, Duration::ZERO);
    let series = r#"fairlead_rpc_requests_total{class="local",method="ping",result="refused"}"#;
    assert_eq!(value(&metrics, series), Some(1.0));
}

#[test]
fn an_index_beyond_the_table_counts_as_other() {
    let metrics = metrics();
    metrics.rpc().answered(u16::MAX, RpcResult::Error, Duration::ZERO);
    let series = r#"fairlead_rpc_requests_total{class="other",method="other",result="error"}"#;
    assert_eq!(value(&metrics, series), Some(1.0));
}

#[test]
fn the_labels_of_build_and_process_are_there() {
    let metrics = metrics();
    let build = r#"fairlead_build_info{revision="abc",version="0.1.0"}"#;
    assert_eq!(value(&metrics, build), Some(1.0));
    assert!(value(&metrics, "process_open_fds").unwrap() > 0.0);
}

#[test]
fn results_are_in_the_order_of_their_columns() {
    for (column, result) in RpcResult::ALL.iter().enumerate() {
        assert_eq!(*result as usize, column);
    }
}

#[test]
fn upstreams_that_came_and_went_are_forgotten_though_nobody_scrapes() {
    let metrics = metrics();
    let _stays = metrics.upstream("p", "stays");
    for n in 0..1000 {
        drop(metrics.upstream("p", &format!("u{n}")));
        assert!(metrics.all.upstreams.lock().all.len() <= FEW + 1);
    }
    assert!(metrics.render().unwrap().contains(r#"upstream="stays""#));
}
