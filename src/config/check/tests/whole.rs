//! Whole files: read and dumped again, and damaged in every way.

use std::path::Path;

use proptest::prelude::*;

use super::{LISTENER, MANAGED, POOL, checked, right, show};
use crate::config::dump::dump;

/// Every key of `keys.rs` that a file may have, none at its default.
pub(super) const EVERYTHING: &str = r#"state_dir = "/s"

[runtime]
workers = 3

[[listener]]
name = "sdk"
bind = "0.0.0.0:4320"
protocol = "jsonrpc"
pool = "a"
insecure = true
tcp_keepalive = "5s"
authentication = "optional"
trust = "user"
unknown_sessions = "pattern"
sessions = "persistent"
ephemeral_pattern = "tmp-.*"
session_id_required_pattern = "[a-z]+-.*"
allow = ["mcp.config.reload"]
deny = ["session.shell.exec"]
max_conns = 70
max_conns_per_address = 71
max_conns_per_caller = 72
max_failed_connects = 73

[listener.rate]
requests = 74
per = "7s"
burst = 76

[[listener.identity]]
source = "session_id"
pattern = "^(?<tenant>[a-z]+)-(?<user>.+)$"

[[listener]]
name = "sdk2"
bind = "127.0.0.1:4330"
protocol = "jsonrpc"
pool = "b"
insecure = false
tcp_keepalive = "0s"
authentication = "required"
trust = "backend"
unknown_sessions = "deny"
sessions = "ephemeral"
max_failed_connects = 0

[[listener.identity]]
source = "source_ip"

[[listener.identity.ranges]]
cidr = "10.1.0.0/16"
tenant = "a"

[[listener.identity.ranges]]
cidr = "2001:db8::/32"
tenant = "a"
user = "x"

[[pool]]
name = "a"
balance = "consistent"
affinity = "tenant"
balance_factor = 1.5
storage = "shared"
create_existing = "refuse"
ephemeral_grace = "9s"

[[pool.upstreams]]
address = "127.0.0.1:1"
name = "one"
weight = 2
max_sessions = 50

[[pool.upstreams]]
address = "cli.default.svc.cluster.local:4321"
weight = 3
headless = true

[pool.health]
probe = "ping"
interval = "3s"
timeout = "4s"
rise = 5
fall = 6
dead_after = "7s"

[pool.caps]
max_sessions = 99
max_sessions_per_tenant = 33
max_sessions_per_user = 11
max_turns = 44
max_turns_per_upstream = 22
max_turns_per_tenant = 8
max_turns_per_user = 4
queue_length = 77
queue_timeout = "8s"

[[pool.grant]]
session = "team-.*"
tenants = ["a", "b"]
users = ["x"]

[[pool]]
name = "b"
balance = "round_robin"
storage = "shared"
create_existing = "pass"
ephemeral_grace = "8s"

[pool.managed]
command = ["copilot", "{port}"]
count = 2
home = "pool"
ready_deadline = "1s"
stop_timeout = "2s"
restart_backoff_min = "3s"
restart_backoff_max = "4s"
weight = 5
max_sessions = 6

[pool.managed.env]
A = "1"

[pool.health]
probe = "ping"
interval = "2s"
timeout = "1s"
rise = 2
fall = 3
dead_after = "15s"

[pool.caps]
queue_length = 1024
queue_timeout = "10s"

[dns]
timeout = "2s"
min_ttl = "3s"
max_ttl = "4s"
family = "ipv4"
servers = ["127.0.0.1:5353", "[::1]:53"]

[ledger]
forget_after = "9days"

[metrics]
bind = "127.0.0.1:1234"

[drain]
drain_timeout = "1s"
shutdown_delay = "2s"

[limits]
max_header_bytes = "1KiB"
max_client_frame = "2KiB"
max_upstream_frame = "3KiB"
max_link_queue = "4KiB"
max_client_queue = "5KiB"
max_buffered_bytes = "6KiB"
max_conns = 7
max_pending = 8
stall_timeout = "9s"
request_timeout = "10s"
client_request_timeout = "11s"
handshake_timeout = "12s"
lookup_timeout = "13s"
fleet_timeout = "17s"
connect_wait = "14s"
discard_timeout = "15s"
finish_timeout = "16s"

[log]
format = "json"
level = "debug"
access = false
"#;

#[test]
fn a_dump_is_the_file_again_when_nothing_is_left_to_defaults() {
    let (config, warnings) = checked(EVERYTHING).unwrap_or_else(|p| panic!("{}", show(&p)));
    // What is strange about it is strange on purpose.
    assert_eq!(warnings.len(), 1, "{}", show(&warnings));
    assert_eq!(toml::to_string(&dump(&config)).unwrap(), EVERYTHING);
}

#[test]
fn a_dump_of_defaults_means_the_same_when_it_is_read() {
    for pool in [POOL, MANAGED] {
        let dumped = toml::to_string(&dump(&right(&format!("{LISTENER}{pool}")))).unwrap();
        assert_eq!(toml::to_string(&dump(&right(&dumped))).unwrap(), dumped);
    }
}

#[test]
fn a_dump_hides_every_secret() {
    let text = format!(
        "{LISTENER}{MANAGED}env = {{ A_KEY = \"hunter2\", B = {{ env = \"CLI_TOKEN\" }} }}\n"
    )
    .replace("[pool.managed]", "token = { env = \"CLI_TOKEN\" }\n[pool.managed]");
    let config = right(&text);
    let shown = format!("{} {config:?}", toml::to_string(&dump(&config)).unwrap());
    assert!(!shown.contains("hunter2"));
    assert_eq!(shown.matches("token = \"***\"").count(), 1);
    assert_eq!(config.pools[0].token.as_ref().unwrap().expose(), "hunter2");
}

#[test]
fn relative_paths_are_relative_to_the_file() {
    let config = right(&format!("state_dir = \"s\"\n{LISTENER}{POOL}"));
    assert_eq!(config.state_dir, Path::new("/etc/fairlead/s"));
}

/// Text that looks like a configuration, right and wrong.
fn toml_like() -> impl Strategy<Value = String> {
    let keys: Vec<&str> =
        crate::config::keys::ALL.iter().flat_map(|s| s.keys.iter().copied()).collect();
    let headers = crate::config::keys::ALL.iter().map(|s| s.title).collect::<Vec<_>>();
    let value = prop_oneof![
        Just("\"127.0.0.1:1\"".to_owned()),
        Just("{ env = \"CLI_TOKEN\" }".to_owned()),
        Just("[\"a\", { address = 1 }, {}]".to_owned()),
        Just("{ managed = { env = { A = 1 } } }".to_owned()),
        "[\"'\\[{]?[a-z0-9.:é\n]{0,6}[\"'\\]}]?",
        any::<i64>().prop_map(|n| n.to_string()),
    ];
    let line = prop_oneof![
        4 => (prop::sample::select(keys), value).prop_map(|(k, v)| format!("{k} = {v}\n")),
        2 => prop::sample::select(headers).prop_map(|h| format!("{h}\n")),
        1 => "\\PC{0,20}\n",
    ];
    prop::collection::vec(line, 0..30).prop_map(|lines| lines.concat())
}

/// Every problem is on a line of the text and can be shown; no configuration without all of it being right.
fn holds(text: &str) {
    let lines = text.split('\n').count();
    let found = checked(text).map_or_else(
        |p| p,
        |(config, warnings)| {
            assert!(toml::to_string(&dump(&config)).is_ok());
            warnings
        },
    );
    for problem in &found {
        let line = problem.place.as_ref().unwrap().line;
        assert!(line >= 1 && line <= lines, "{problem}");
        assert!(!problem.to_string().is_empty());
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "(?s).{0,200}") {
        holds(&text);
    }

    #[test]
    fn no_likely_text_makes_the_reader_panic(text in toml_like()) {
        holds(&text);
    }

    #[test]
    fn no_damage_to_a_right_file_makes_the_reader_panic(
        at in 0..EVERYTHING.len(), len in 0usize..40, with in "\\PC{0,5}",
    ) {
        let end = (at + len).min(EVERYTHING.len());
        holds(&format!("{}{with}{}", &EVERYTHING[..at], &EVERYTHING[end..]));
    }
}
