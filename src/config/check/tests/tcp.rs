//! Listeners that relay bytes: their keys, and what does not go with them.

use super::{LISTENER, POOL, checked, right, show};
use crate::config::model::{SendProxy, Tcp};

pub(super) const TCP: &str = "protocol = \"tcp\"\n";

fn said(listener: &str, pool: &str) -> String {
    show(&match checked(&format!("{LISTENER}{listener}{POOL}{pool}")) {
        Ok((_, warnings)) => warnings,
        Err(problems) => problems,
    })
}

#[test]
fn what_is_not_said_has_its_default_and_zero_is_never() {
    let config = right(&format!("{LISTENER}{TCP}{POOL}"));
    assert_eq!(config.listeners[0].tcp, Tcp::default());
    assert_eq!(config.pools[0].send_proxy, None);
    let zero = "[listener.tcp]\nidle_timeout = \"0s\"\nhalf_close_timeout = \"0s\"\nupstream_keepalive = \"0s\"\nupstream_user_timeout = \"0s\"\nconnect_retries = 0\n";
    let config = right(&format!("{LISTENER}{TCP}{zero}{POOL}send_proxy = \"v2\"\n"));
    let never = Tcp {
        connect_retries: 0,
        idle_timeout: None,
        half_close_timeout: None,
        upstream_keepalive: None,
        upstream_user_timeout: None,
        ..Tcp::default()
    };
    assert_eq!(config.listeners[0].tcp, never);
    assert_eq!(config.pools[0].send_proxy, Some(SendProxy::V2));
}

#[test]
fn what_can_have_no_effect_is_told() {
    let table = "[listener.tcp]\nconnect_retries = 1\n";
    assert!(said(table, "").contains("[listener.tcp] belongs to protocol = \"tcp\""));
    let shorter =
        format!("{TCP}[listener.tcp]\nidle_timeout = \"1m\"\nhalf_close_timeout = \"2m\"\n");
    assert!(said(&shorter, "").contains("half_close_timeout has no effect"));
    let only_idle = format!("{TCP}[listener.tcp]\nidle_timeout = \"1m\"\n");
    assert_eq!(said(&only_idle, ""), "");
    assert!(said("", "send_proxy = \"v1\"\n").contains("send_proxy needs protocol = \"tcp\""));
    assert_eq!(said(TCP, "send_proxy = \"v1\"\n"), "");
}

#[test]
fn a_way_past_what_is_kept_apart_is_told() {
    let open = LISTENER.replace("sdk", "open").replace("4320", "4330");
    let apart = "[[listener.identity]]\nsource = \"source_ip\"\nranges = [{ cidr = \"10.0.0.0/8\", user = \"a\" }]\n";
    let said = said(apart, &format!("{open}{TCP}"));
    assert!(said.contains("but not from those of listener \"open\""), "{said}");
    let said = self::said("", &format!("{open}{TCP}{apart}"));
    assert!(!said.contains("but not from"), "nobody is kept apart by either: {said}");
}

#[test]
fn everything_is_read_and_dumped_again() {
    let dumped = toml::to_string(&crate::config::dump::dump(&right(&everything()))).unwrap();
    assert!(dumped.contains(EVERYTHING), "{dumped}");
    assert!(dumped.contains("send_proxy = \"v1\"\n"), "{dumped}");
}

/// A file with every key of `[listener.tcp]`, and what only pools of such listeners have.
pub(super) fn everything() -> String {
    format!("{LISTENER}{TCP}{EVERYTHING}{POOL}send_proxy = \"v1\"\n")
}

/// Every key, none at its default.
const EVERYTHING: &str = r#"[listener.tcp]
connect_timeout = "1s"
connect_retries = 9
idle_timeout = "3s"
half_close_timeout = "2s"
max_lifetime = "4s"
upstream_keepalive = "5s"
upstream_user_timeout = "6s"
on_upstream_down = "cut"
"#;
