//! Each mistake that a file can have, with the place where it must be found.

mod edge;
mod health;
mod http;
mod identity;
mod methods;
mod request;
mod shipped;
mod tcp;
mod whole;

use std::path::Path;

use super::World;
use crate::config::model::*;
use crate::config::problem::Severity;
use crate::config::{Checked, parse};
use crate::time::Duration;

const LISTENER: &str = "[[listener]]\nname = \"sdk\"\nbind = \"127.0.0.1:4320\"\npool = \"cli\"\n";
const POOL: &str = "[[pool]]\nname = \"cli\"\nupstreams = [\"127.0.0.1:4321\"]\n";
const MANAGED: &str =
    "[[pool]]\nname = \"cli\"\n[pool.managed]\ncommand = [\"copilot\", \"{port}\"]\ncount = 1\n";

fn checked(text: &str) -> Checked {
    let env = |name: &str| match name {
        "CLI_TOKEN" => Some("hunter2".to_owned()),
        "JWT_KEY" => Some("hunter2".repeat(5)),
        "HOME" => Some("/home/me".to_owned()),
        _ => None,
    };
    parse("x.toml", text, &World { env: &env, folder: Path::new("/etc/fairlead") })
}

fn right(text: &str) -> Config {
    checked(text).unwrap_or_else(|problems| panic!("{}", show(&problems))).0
}

fn show(problems: &[crate::config::Problem]) -> String {
    problems.iter().map(|p| format!("{p}\n")).collect()
}

/// Severity, place and text of every problem, as `line:column: message`.
fn problems(text: &str) -> Vec<String> {
    let found = match checked(text) {
        Ok((_, warnings)) => warnings,
        Err(problems) => problems,
    };
    found
        .iter()
        .map(|p| {
            let place = p.place.as_ref().unwrap();
            let mut line = format!("{}:{}: ", place.line, place.column);
            if p.severity == Severity::Warning {
                line.push_str("warning: ");
            }
            line.push_str(&p.message);
            if let Some(suggestion) = &p.suggestion {
                line.push_str(&format!("; did you mean {suggestion:?}?"));
            }
            line
        })
        .collect()
}

/// The one problem of `text` starts with `expected`.
#[track_caller]
fn one(text: &str, expected: &str) {
    let found = problems(text);
    assert!(
        found.len() == 1 && found[0].starts_with(expected),
        "expected {expected:?}, found {found:#?}"
    );
}

/// The one problem of a good listener followed by `pool`, which starts at line 5.
#[track_caller]
fn in_pool(pool: &str, expected: &str) {
    one(&format!("{LISTENER}{pool}"), expected);
}

/// The one problem of a good pool (three lines), followed by `rest` from line 4 on.
#[track_caller]
fn after_pool(rest: &str, expected: &str) {
    one(&format!("{POOL}{rest}"), expected);
}

#[test]
fn the_least_configuration_has_every_default() {
    let config = right(&format!("{LISTENER}{POOL}"));
    assert_eq!(config.state_dir, Path::new("/home/me/.local/state/fairlead"));
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.drain, Drain::default());
    assert_eq!(config.log, Log::default());
    assert!(config.metrics.is_none());
    let listener = &config.listeners[0];
    assert_eq!(listener.protocol, Protocol::Jsonrpc);
    assert_eq!(listener.tcp_keepalive, Some(Duration::from_secs(60)));
    let pool = config.pool(&listener.pool).unwrap();
    assert_eq!(pool.balance, Balance::LeastLoaded);
    assert_eq!(pool.storage, Storage::Own);
    assert_eq!(pool.health, Health::default());
}

#[test]
fn a_file_with_ten_mistakes_reports_all_ten_in_order() {
    let text = r#"stat_dir = "/x"
[runtime]
workers = 0
[[listener]]
name = "sdk"
bind = "127.0.0.1"
protocol = "tcpp"
pool = "clu"
[[pool]]
name = "cli"
upstream = ["127.0.0.1:1"]
upstreams = ["127.0.0.1:1", "127.0.0.1:1"]
balance = "consistant"
token = { env = "NOT_SET" }
[pool.health]
interval = "2 parsecs"
[drain]
drain_timeout = 30
"#;
    let found = problems(text);
    let places: Vec<_> = found.iter().map(|p| p.split(": ").next().unwrap()).collect();
    let expected =
        ["1:1", "3:11", "6:8", "7:12", "8:8", "11:1", "12:29", "13:11", "14:17", "16:12", "18:17"];
    assert_eq!(places, expected, "{found:#?}");
}

#[test]
fn unknown_keys_are_refused_with_what_was_meant() {
    in_pool(
        "[[pool]]\nname = \"cli\"\nupstreams = [\"127.0.0.1:1\"]\nstorrage = \"own\"\n",
        "8:1: unknown key \"storrage\" in [[pool]]; did you mean \"storage\"?",
    );
    after_pool(
        &format!("{LISTENER}drain_timeout = \"1s\"\n"),
        "8:1: unknown key \"drain_timeout\" in [[listener]]; it belongs in [drain]",
    );
    one(
        &format!("{LISTENER}{POOL}[limit]\n"),
        "8:2: unknown key \"limit\" in the top level; did you mean \"limits\"?",
    );
    in_pool(
        "[[pool]]\nname = \"cli\"\nupstreams = [{ address = \"127.0.0.1:1\", wieght = 2 }]\n",
        "7:41: unknown key \"wieght\" in an upstream; did you mean \"weight\"?",
    );
    one(&format!("{LISTENER}{POOL}[nothing.like.it]\n"), "8:2: unknown key \"nothing\"");
}

#[test]
fn wrong_types_say_what_is_wanted() {
    after_pool(
        &format!("{LISTENER}insecure = 1\n"),
        "8:12: insecure: must be true or false, not an integer",
    );
    one(&format!("runtime = 3\n{LISTENER}{POOL}"), "1:11: runtime: must be a table, not integer");
    one("listener = 3\n", "1:12: listener: must be a list");
}

#[test]
fn a_single_table_where_a_list_is_wanted_says_how_to_write_it() {
    let text = format!("{LISTENER}[pool]\nname = \"cli\"\n");
    one(&text, "5:1: pool is a list of tables: write [[pool]], not [pool]");
}

#[test]
fn values_out_of_range_say_the_range() {
    one(
        &format!("[runtime]\nworkers = 0\n{LISTENER}{POOL}"),
        "2:11: workers: 0 is out of range: from 1 to 1024",
    );
    one(
        &format!("[limits]\nmax_buffered_bytes = \"1MiB\"\n{LISTENER}{POOL}"),
        "2:22: max_buffered_bytes (1MiB) cannot hold one frame: max_client_frame and max_upstream_frame allow 64MiB",
    );
}

#[test]
fn missing_keys_are_missed_at_their_table() {
    one(
        &format!("{POOL}[[listener]]\nbind = \"127.0.0.1:1\"\npool = \"cli\"\n"),
        "4:1: \"name\" is missing in [[listener]]",
    );
    one(POOL, "1:1: no [[listener]]");
    in_pool(
        "[[pool]]\nname = \"cli\"\n",
        "5:1: a [[pool]] needs upstreams = [...] or [pool.managed]",
    );
    in_pool(
        "[[pool]]\nname = \"cli\"\n[pool.managed]\ncommand = [\"c\", \"{port}\"]\n",
        "7:1: \"count\" is missing in [pool.managed]",
    );
}

#[test]
fn a_pool_is_not_called_like_what_fairlead_keeps_in_its_state_directory() {
    for name in ["ledger", "lock", "managed.json", "managed.json.new", "managed.json.bad"] {
        let pool = POOL.replace("\"cli\"", &format!("{name:?}"));
        let found = problems(&format!("{LISTENER}{pool}"));
        assert!(found.iter().any(|p| p.contains("a file of fairlead's own")), "{name}: {found:?}");
    }
}

#[test]
fn names_and_binds_are_unique() {
    after_pool(
        &format!("{LISTENER}{}", LISTENER.replace("4320", "4330")),
        "9:8: there is already a listener named \"sdk\"",
    );
    after_pool(
        &format!("{LISTENER}{}", LISTENER.replace("sdk", "sdk2")),
        "10:8: 127.0.0.1:4320 is taken: listener \"sdk\" binds 127.0.0.1:4320",
    );
    after_pool(
        &format!("{LISTENER}[metrics]\nbind = \"0.0.0.0:4320\"\n"),
        "9:8: 0.0.0.0:4320 is taken: listener \"sdk\"",
    );
    in_pool(
        &format!("{POOL}{}", POOL.replace("4321", "4322")),
        "9:8: there is already a pool named \"cli\"",
    );
}

#[test]
fn an_unknown_pool_is_refused_with_what_was_meant() {
    let text = LISTENER.replace("\"cli\"", "\"clii\"");
    one(&format!("{text}{POOL}"), "4:8: there is no pool \"clii\"; did you mean \"cli\"?");
    let unreadable = POOL.replace("\"cli\"", "\"c l i\"");
    in_pool(&unreadable, "6:8: name: \"c l i\" is not a name");
}

#[test]
fn upstreams_are_one_kind_not_empty_and_unique() {
    in_pool("[[pool]]\nname = \"cli\"\nupstreams = []\n", "7:13: upstreams is empty");
    in_pool(
        &format!("{POOL}[pool.managed]\ncommand = [\"c\", \"{{port}}\"]\ncount = 1\n"),
        "8:1: a [[pool]] has upstreams or [pool.managed], not both",
    );
    in_pool(
        "[[pool]]\nname = \"cli\"\nupstreams = [\n\"127.0.0.1:1\",\n{ address = \"127.0.0.1:1\" },\n]\n",
        "9:13: 127.0.0.1:1 is already in this pool",
    );
    in_pool(
        "[[pool]]\nname = \"cli\"\nupstreams = [{ address = \"127.0.0.1:1\", name = \"a\" }, { address = \"127.0.0.1:2\", name = \"a\" }]\n",
        "7:67: an upstream of this pool is already named \"a\"",
    );
    in_pool(&POOL.replace("4321", "4320"), "7:14: 127.0.0.1:4320 is a listener of this fairlead");
    in_pool(
        "[[pool]]\nname = \"cli\"\nupstreams = [\"cli.a:1\", { address = \"CLI.a:1\" }]\n",
        "7:37: cli.a:1 is already in this pool",
    );
    in_pool(
        "[[pool]]\nname = \"cli\"\nupstreams = [{ address = \"cli.a:1\", name = \"x\" }]\n",
        "7:44: the upstreams that cli.a:1 names are called by their addresses",
    );
    in_pool(
        &POOL.replace("127.0.0.1:4321", "localhost:4321"),
        "7:14: upstreams: \"localhost:4321\" is two addresses of one upstream, which would be taken for two; \
         did you mean \"127.0.0.1:4321\"?",
    );
}

/// The one warning of a good listener and a pool with these upstreams, if there is one.
fn warning(upstreams: &str) -> Option<String> {
    let text = format!("{LISTENER}[[pool]]\nname = \"cli\"\nupstreams = [{upstreams}]\n");
    let (_, warnings) = checked(&text).unwrap_or_else(|p| panic!("{}", show(&p)));
    assert!(warnings.len() < 2, "{}", show(&warnings));
    warnings.first().map(|w| w.message.clone())
}

#[test]
fn a_service_that_may_hide_many_pods_is_warned_of_unless_it_is_said_to_be_headless() {
    for name in ["cli.default.svc:1", "cli.default.svc.cluster.local:1", "cli.default.svc.x.:1"] {
        let said = warning(&format!("{name:?}")).unwrap();
        assert!(said.starts_with(&format!("unless the Service {name} is headless")), "{said}");
        assert_eq!(warning(&format!("{{ address = {name:?}, headless = true }}")), None);
    }
    // A pod's own name, and what is no Service's full name.
    for name in ["cli-0.cli.default.svc:1", "svc.example.com:1", "cli:1", "10.0.0.1:1"] {
        assert_eq!(warning(&format!("{name:?}")), None);
    }
    let said = warning("{ address = \"cli.a:1\", headless = true }").unwrap();
    assert!(said.starts_with("headless has no effect"), "{said}");
}

#[test]
fn the_longest_ttl_is_not_below_the_shortest() {
    after_pool(
        &format!("{LISTENER}[dns]\nmin_ttl = \"1m\"\nmax_ttl = \"59s\"\n"),
        "10:11: max_ttl (59s) is below min_ttl (1m)",
    );
    after_pool(
        &format!("{LISTENER}[dns]\nservers = [\"127.0.0.1:0\"]\n"),
        "9:11: servers: 127.0.0.1:0 is not an address to connect to",
    );
}

#[test]
fn a_bind_that_others_reach_must_be_accepted() {
    let open = LISTENER.replace("127.0.0.1", "0.0.0.0");
    after_pool(&open, "6:8: 0.0.0.0:4320 can be reached from other machines");
    assert!(right(&format!("{POOL}{open}insecure = true\n")).listeners[0].insecure);
}

#[test]
fn what_callers_may_take_has_bounds_and_defaults() {
    let limits = right(&format!("{LISTENER}{POOL}")).listeners.remove(0).callers;
    let none = CallerLimits {
        max_conns: None,
        max_conns_per_address: None,
        max_conns_per_caller: None,
        max_failed_connects: Some(600),
        rate: None,
    };
    assert_eq!(limits, none);
    let said = "rate = { requests = 5 }\nmax_failed_connects = 0\nmax_conns_per_caller = 3\n";
    let limits = right(&format!("{LISTENER}{said}{POOL}")).listeners.remove(0).callers;
    let rate = CallerRate { requests: 5, per: Duration::from_secs(1), burst: 5 };
    let said = CallerLimits { max_failed_connects: None, max_conns_per_caller: Some(3), ..none };
    assert_eq!(limits, CallerLimits { rate: Some(rate), ..said });
    let wrong = |key: &str, expected: &str| after_pool(&format!("{LISTENER}{key}\n"), expected);
    for key in ["max_conns", "max_conns_per_address", "max_conns_per_caller"] {
        let at = 4 + key.len();
        wrong(
            &format!("{key} = 0"),
            &format!("8:{at}: {key}: 0 is out of range: from 1 to 10000000"),
        );
    }
    wrong("max_failed_connects = -1", "8:23: max_failed_connects: -1 is out of range: from 0");
    wrong("rate = { per = \"1s\" }", "8:8: \"requests\" is missing in [listener.rate]");
    wrong("rate = { requests = 0 }", "8:21: requests: 0 is out of range: from 1 to 1000000");
    wrong("rate = { requests = 9, burst = 0 }", "8:32: burst: 0 is out of range");
    wrong("rate = { requests = 9, per = \"0s\" }", "8:30: per: 0s is out of range: from 1ms");
    wrong(
        "rate = { requests = 1001, per = \"1ms\" }",
        "8:21: more than a million requests in a second",
    );
    wrong(
        "rate = { request = 9, requests = 9 }",
        "8:10: unknown key \"request\" in [listener.rate]",
    );
    wrong("rate = 9", "8:8: rate: must be a table");
}

#[test]
fn patterns_name_user_or_tenant_and_nothing_else() {
    let pattern = |pattern: &str, expected: &str| {
        let identity =
            format!("[[listener.identity]]\nsource = \"session_id\"\npattern = '{pattern}'\n");
        after_pool(&format!("{LISTENER}{identity}"), &format!("10:11: pattern: {expected}"));
    };
    pattern("(", "not a regular expression: unclosed group");
    pattern(
        "(?<usr>.+)",
        "the group \"usr\" means nothing here: the groups are user and tenant; did you mean \"user\"?",
    );
    pattern("^user-(.+)$", "the pattern names nobody");
}

#[test]
fn a_secret_is_named_never_written() {
    in_pool(&format!("{POOL}token = \"hunter2\"\n"), "8:9: token: must be { env");
    in_pool(
        &format!("{POOL}token = {{ env = \"NOT_SET\" }}\n"),
        "8:17: token: environment variable \"NOT_SET\" is not set",
    );
    in_pool(
        &format!("{POOL}token = {{ file = \"/nonexistent/x\" }}\n"),
        "8:18: token: cannot read the secret in /nonexistent/x",
    );
    in_pool(
        &format!("{POOL}token = {{ env = \"CLI_TOKEN\", file = \"x\" }}\n"),
        "8:9: token: has env and file",
    );
    in_pool(&format!("{POOL}token = {{}}\n"), "8:9: token: needs env or file");
}

#[test]
fn no_problem_shows_a_secret() {
    for text in [
        "[[pool]]\ntoken = \"hunter2\"\n",
        "[[pool]]\ntoken = \"hunter2\n",
        "token = 'hunter2'\n",
        "[[pool]]\n[pool.managed]\nenv = { API_KEY = \"hunter2\", COPILOT_HOME = \"x\", B = 1 }\n",
    ] {
        let problems = checked(text).unwrap_err();
        assert!(!show(&problems).contains("hunter2"), "{}", show(&problems));
    }
}

#[test]
fn managed_clis_are_started_so_that_they_can_be_found() {
    let managed =
        |from: &str, to: &str, expected: &str| in_pool(&MANAGED.replace(from, to), expected);
    managed("\"{port}\"", "\"1\"", "8:11: command: no argument has {port}");
    managed("[\"copilot\", \"{port}\"]", "[]", "8:11: command: is empty");
    managed("count = 1", "count = 0", "9:9: count: 0 is out of range");
    managed(
        "count = 1",
        "count = 1\nenv = { COPILOT_HOME = \"/x\" }",
        "10:9: env: \"COPILOT_HOME\" is set by fairlead",
    );
    managed("count = 1", "count = 1\nenv = { A = 1 }", "10:13: env: A: must be { env");
    managed(
        "count = 1",
        "count = 1\nenv = { A_KEY = \"1\" }",
        "10:17: warning: env: A_KEY looks like a secret",
    );
    managed(
        "count = 1",
        "count = 1\nrestart_backoff_min = \"5m\"",
        "10:23: restart_backoff_max (1m) is below restart_backoff_min (5m)",
    );
    managed(
        "[pool.managed]",
        "storage = \"shared\"\n[pool.managed]",
        "8:1: storage = \"shared\" needs home = \"pool\"",
    );
    managed("count = 1", "count = 1\nhome = \"pool\"", "10:8: warning: the CLIs share a home");
}

#[test]
fn what_has_no_effect_is_a_warning() {
    in_pool(
        &format!("{POOL}balance = \"consistent\"\naffinity = \"user\"\n"),
        "9:12: warning: pool \"cli\" is consistent by user, but no identity of listener \"sdk\" yields a user",
    );
    in_pool(&format!("{POOL}affinity = \"user\"\n"), "8:12: warning: affinity has no effect");
    in_pool(
        &format!("{POOL}[pool.health]\ninterval = \"20s\"\n"),
        "8:1: warning: dead_after (15s) is shorter",
    );
    in_pool(
        &format!("{POOL}[[pool]]\nname = \"b\"\nupstreams = [\"127.0.0.1:1\"]\n"),
        "9:8: warning: no listener uses the pool \"b\"",
    );
    let b = format!(
        "{}{}",
        POOL.replace("cli", "b"),
        LISTENER.replace("cli", "b").replace("sdk", "b").replace("4320", "4330")
    );
    in_pool(&format!("{POOL}{b}"), "10:14: warning: 127.0.0.1:4321 is in pool \"cli\" too");
}

#[test]
fn several_syntax_errors_are_reported_with_the_rest() {
    let found =
        problems("[limits]\nmax_conns = 0\n[[listener]]\nname = \nbind = \"127.0.0.1\"\n[drain\n");
    let places: Vec<_> = found.iter().map(|p| p.split(": ").next().unwrap()).collect();
    assert_eq!(places, ["2:13", "4:8", "5:8", "6:7"], "{found:#?}");
}

#[test]
fn what_says_which_sessions_are_ephemeral_must_have_an_effect() {
    in_pool(
        &format!("{POOL}ephemeral_grace = \"1s\"\n"),
        "8:19: warning: ephemeral_grace has no effect: no listener of the pool makes ephemeral sessions",
    );
    one(
        &format!("{LISTENER}sessions = \"ephemeral\"\nephemeral_pattern = \"a\"\n{POOL}"),
        "6:21: warning: ephemeral_pattern has no effect with sessions = \"ephemeral\"",
    );
    let some = format!("{LISTENER}ephemeral_pattern = \"a\"\n{POOL}ephemeral_grace = \"1s\"\n");
    let config = right(&some);
    assert!(config.listeners[0].makes_ephemeral() && config.listeners[0].keeps_books());
    assert!(!right(&format!("{LISTENER}{POOL}")).listeners[0].keeps_books());
}

#[test]
fn the_ledger_forgets_after_a_time_or_never() {
    let after = |text: &str| right(&format!("{LISTENER}{POOL}{text}")).ledger.forget_after;
    let days = |n: u64| Some(Duration::from_secs(n * 24 * 3600));
    assert_eq!(after(""), days(90));
    assert_eq!(after("[ledger]\nforget_after = \"7d\"\n"), days(7));
    assert_eq!(after("[ledger]\nforget_after = \"0s\"\n"), None);
}
