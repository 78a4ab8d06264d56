//! HTTP listeners: what may be configured, and what does not fit.

use super::{LISTENER, POOL, after_pool, checked, right, show};
use crate::config::dump::dump;

const HTTP: &str = "protocol = \"http\"\n";

/// Every key of HTTP, none at its default.
pub(super) const EVERYTHING: &str = r#"
[listener.http]
trusted = ["10.0.0.0/8"]
max_head = "16KiB"
max_target = "2KiB"
max_fields = 50
max_inspected_body = "1MiB"
max_body = "3MiB"
head_timeout = "1s"
keep_alive_timeout = "2s"
max_requests = 3
connect_timeout = "4s"
first_byte_timeout = "5s"
body_timeout = "6s"
idle_timeout = "7s"
retries = 1

[listener.http.cookie]
name = "stick"
ttl = "8s"

[[listener.route]]
host = "*.example.com"
path = "/v1/"
pool = "cli"
"#;

const OUTLIER: &str = "[pool.outlier]\nfailures = 3\nejection_time = \"1s\"\nmax_ejection_time = \"2s\"\nmax_ejected = 0.25\n";

/// A whole file with all of them.
pub(super) fn everything() -> String {
    format!("{LISTENER}{HTTP}{EVERYTHING}{POOL}{OUTLIER}")
}

/// With the least of them.
pub(super) fn least() -> String {
    let cookie = "[listener.http.cookie]\nname = \"x\"\n";
    let route = "[[listener.route]]\npool = \"cli\"\n";
    format!("{LISTENER}{HTTP}{cookie}{route}{POOL}[pool.outlier]\n")
}

/// The one problem of an http listener with these tables, which begin on line 9.
#[track_caller]
fn wrong(tables: &str, expected: &str) {
    after_pool(&format!("{LISTENER}{HTTP}{tables}"), expected);
}

#[test]
fn what_is_dumped_means_the_same() {
    let dumped = dump(&right(&everything()));
    let again = dump(&right(&toml::to_string(&dumped).unwrap()));
    assert_eq!(dumped, again);
}

#[test]
fn routes_name_pools_that_there_are_and_each_place_once() {
    wrong(
        "[[listener.route]]\npool = \"clx\"\n",
        "10:8: there is no pool \"clx\"; did you mean \"cli\"?",
    );
    wrong("[[listener.route]]\n", "9:1: \"pool\" is missing in [[listener.route]]");
    let twice = "[[listener.route]]\nhost = \"A\"\npool = \"cli\"\n"
        .repeat(2)
        .replace("A\"\npool = \"cli\"\n[", "a\"\npool = \"cli\"\n[");
    wrong(&twice, "12:1: there is already a route for a /");
    let path = |path: &str| format!("[[listener.route]]\npath = \"{path}\"\npool = \"cli\"\n");
    let same = path("/admin") + &path("/%61dmin");
    wrong(&same, "12:1: there is already a route for * /%61dmin");
}

#[test]
fn hosts_and_paths_are_what_all_read_alike() {
    let route = |key: &str| format!("[[listener.route]]\npool = \"cli\"\n{key}\n");
    for host in ["a b", "*a", "a.*", "http://a"] {
        wrong(
            &route(&format!("host = \"{host}\"")),
            &format!("11:8: host: \"{host}\" is not a host"),
        );
    }
    for path in ["", "v1", "/v1/../x", "//", "/%2e", "/a?b", "/a;b"] {
        wrong(
            &route(&format!("path = \"{path}\"")),
            &format!("11:8: path: \"{path}\" is not a path"),
        );
    }
}

#[test]
fn a_cookie_needs_a_name_and_a_secret_that_cannot_be_guessed() {
    wrong("[listener.http.cookie]\n", "9:1: \"name\" is missing in [listener.http.cookie]");
    let weak = "[listener.http.cookie]\nname = \"a\"\nsecret = { env = \"CLI_TOKEN\" }\n";
    wrong(weak, "11:10: secret: a secret of less than 16 bytes");
    let plain = "[listener.http.cookie]\nname = \"a\"\nsecret = \"hunter2\"\n";
    wrong(plain, "11:10: secret: must be { env");
    wrong(
        "[listener.http.cookie]\nname = \"a b\"\n",
        "10:8: name: \"a b\" is not the name of a cookie",
    );
    let fine = format!(
        "{LISTENER}{HTTP}[listener.http.cookie]\nname = \"a\"\nsecret = {{ env = \"JWT_KEY\" }}\n{POOL}"
    );
    let dumped = toml::to_string(&dump(&right(&fine))).unwrap();
    assert!(dumped.contains("secret = \"***\"") && !dumped.contains("hunter2"), "{dumped}");
}

#[test]
fn bounds_that_cannot_be_are_refused() {
    wrong(
        "[listener.http]\nmax_head = \"1KiB\"\nmax_target = \"2KiB\"\n",
        "11:14: max_target is larger than max_head",
    );
    wrong("[listener.http]\nretries = 11\n", "10:11: retries: 11 is out of range");
    wrong("[listener.http]\nmax_requests = 0\n", "10:16: max_requests: 0 is out of range");
    wrong("[listener.http]\nmax_inspected_body = \"1GiB\"\n", "10:22: max_inspected_body");
}

#[test]
fn who_trusts_everybody_is_warned() {
    let text = format!("{LISTENER}{HTTP}[listener.http]\ntrusted = [\"0.0.0.0/0\"]\n{POOL}");
    let (_, warnings) = checked(&text).unwrap();
    assert!(show(&warnings).contains("a range of all addresses is trusted"), "{}", show(&warnings));
}

#[test]
fn other_protocols_have_none_of_it() {
    after_pool(&format!("{LISTENER}[listener.http]\n"), "8:1: http belongs to protocol = \"http\"");
    let route = format!("{LISTENER}[[listener.route]]\npool = \"cli\"\n");
    after_pool(&route, "8:1: route belongs to protocol = \"http\"");
}

/// What is said of a listener, and of what follows its pool, whether it is right or not.
fn said(listener: &str, pool: &str) -> String {
    show(&match checked(&format!("{LISTENER}{listener}{POOL}{pool}")) {
        Ok((_, warnings)) => warnings,
        Err(problems) => problems,
    })
}

#[test]
fn a_star_in_a_path_is_no_pattern() {
    for path in ["/v1/*", "/*", "*"] {
        let route = format!("[[listener.route]]\npool = \"cli\"\npath = \"{path}\"\n");
        wrong(&route, &format!("11:8: path: \"{path}\" has a *"));
    }
    for path in ["/a b", "/a#b", "/a?b"] {
        let route = format!("[[listener.route]]\npool = \"cli\"\npath = \"{path}\"\n");
        wrong(&route, &format!("11:8: path: \"{path}\" is not a path"));
    }
}

#[test]
fn a_header_that_would_be_refused_names_nobody() {
    let header = "[[listener.identity]]\nsource = \"header\"\nname = \"X_User\"\n";
    wrong(header, "11:8: name: a request with a header \"x_user\" is refused");
}

#[test]
fn no_identity_is_in_a_cookie_of_our_own() {
    let other = "[[pool]]\nname = \"chat\"\nupstreams = [\"127.0.0.1:9\"]\n";
    let cookies = "[listener.http.cookie]\nname = \"a\"\n[[listener.route]]\npath = \"/c\"\npool = \"chat\"\n\
                   [[listener.route]]\npath = \"/d\"\npool = \"cli\"\n";
    let with = |name: &str| {
        let identity = format!("[[listener.identity]]\nsource = \"cookie\"\nname = \"{name}\"\n");
        said(&format!("{HTTP}{cookies}{identity}"), other)
    };
    for own in ["a", "a-chat"] {
        let found = with(own);
        assert!(found.contains(&format!("name: {own:?} is a cookie of [listener.http")), "{found}");
    }
    assert_eq!(with("a-cli") + &with("b"), "");
}

#[test]
fn a_pool_that_speaks_http_is_pinged_by_nobody() {
    let ping = "[pool.health]\nprobe = \"ping\"\n";
    assert!(
        said(HTTP, ping).contains("probe: \"ping\" is JSON-RPC, which an upstream of listener")
    );
    assert_eq!(said("protocol = \"tcp\"\n", ping), "", "those may be CLIs");
    let managed =
        "[[pool]]\nname = \"m\"\n[pool.managed]\ncommand = [\"copilot\", \"{port}\"]\ncount = 1\n";
    let route = "[[listener.route]]\npath = \"/m\"\npool = \"m\"\n";
    for probe in ["", ping] {
        let found = said(&format!("{HTTP}{route}"), &format!("{managed}{probe}"));
        let expected = "x.toml:8:8: warning: fairlead starts CLIs for pool \"m\", and CLIs";
        assert!(found.contains(expected), "{found}");
        assert_eq!(found.matches("x.toml:").count(), 1, "{found}");
    }
}

#[test]
fn an_upstream_is_offered_what_is_spoken() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let path = std::env::temp_dir().join(format!("fairlead-{}.pem", uuid::Uuid::new_v4()));
    std::fs::write(&path, made.cert.pem()).unwrap();
    let with = |listener: &str, alpn: &str| {
        let pool = format!("[pool.tls]\nca = \"{}\"\nalpn = {alpn}\n", path.display());
        checked(&format!("{LISTENER}{listener}{POOL}{pool}"))
    };
    let message = "alpn: listener \"sdk\" speaks \"http/1.1\" with this pool";
    let found = show(&with(HTTP, "[\"h2\"]").unwrap_err());
    assert!(found.contains(message), "{found}");
    let (_, warnings) = with(HTTP, "[\"h2\", \"http/1.1\"]").unwrap();
    assert!(show(&warnings).contains(message), "{}", show(&warnings));
    for (listener, alpn) in
        [(HTTP, "[\"http/1.1\"]"), (HTTP, "[]"), ("protocol = \"tcp\"\n", "[\"h2\"]")]
    {
        assert_eq!(show(&with(listener, alpn).unwrap().1), "", "{alpn}");
    }
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn what_only_jsonrpc_has_is_told() {
    let keys = [
        ("create_existing", "create_existing = \"pass\"\n"),
        ("storage", "storage = \"shared\"\n"),
        ("unknown_sessions", "unknown_sessions = \"adopt\"\n"),
        ("token", "token = { env = \"CLI_TOKEN\" }\n"),
        ("grant", "[[pool.grant]]\nsession = \"a\"\nusers = [\"b\"]\n"),
        ("max_turns", "[pool.caps]\nmax_turns = 2\n"),
        ("max_turns_per_upstream", "[pool.caps]\nmax_turns_per_upstream = 2\n"),
        ("max_turns_per_tenant", "[pool.caps]\nmax_turns_per_tenant = 2\n"),
        ("max_turns_per_user", "[pool.caps]\nmax_turns_per_user = 2\n"),
        ("dead_after", "[pool.health]\ndead_after = \"9s\"\n"),
    ];
    for (key, text) in keys {
        for protocol in ["tcp", "http"] {
            let found = said(&format!("protocol = \"{protocol}\"\n"), text);
            assert!(found.contains(&format!("{key} has no effect")), "{protocol} {key}: {found}");
            assert_eq!(found.matches("x.toml:").count(), 1, "{found}");
        }
        assert_eq!(said("", text), "", "{key}");
    }
    let pinged =
        "token = { env = \"CLI_TOKEN\" }\n[pool.health]\nprobe = \"ping\"\ndead_after = \"9s\"\n";
    assert_eq!(said("protocol = \"tcp\"\n", pinged), "", "the probes have it");
}

#[test]
fn only_requests_put_upstreams_out() {
    let found = [HTTP, "protocol = \"tcp\"\n", ""].map(|l| said(l, "[pool.outlier]\n"));
    assert_eq!(found[0], "");
    assert!(
        found[1..]
            .iter()
            .all(|f| f.contains("outlier has no effect: no listener of the pool speaks http")),
        "{found:?}"
    );
}

#[test]
fn whom_a_caller_acts_for_counts_where_it_is_known_and_says() {
    let ip = "[[listener.identity]]\nsource = \"source_ip\"\nranges = [{ cidr = \"10.0.0.0/8\", user = \"a\" }]\n";
    let query = "[[listener.identity]]\nsource = \"query\"\nname = \"u\"\n";
    let told = |listener: &str| said(listener, "").contains("trust has no effect");
    let trust = "protocol = \"http\"\ntrust = \"backend\"\n";
    for identity in ["", ip, query] {
        assert!(told(&format!("{trust}{identity}")), "{identity}");
    }
    assert!(!told(&format!("{trust}{ip}{query}")));
    assert!(!told("trust = \"backend\"\n"));
    let user = said("protocol = \"http\"\ntrust = \"user\"\n", "");
    assert!(!user.contains("adopts"), "no session is known of: {user}");
}

#[test]
fn what_a_listener_of_requests_lacks_is_told_as_it_is() {
    let by = |affinity: &str| format!("balance = \"consistent\"\naffinity = \"{affinity}\"\n");
    let query = "[[listener.identity]]\nsource = \"query\"\nname = \"u\"\n";
    let json = "[[listener.identity]]\nsource = \"json\"\npointer = \"/id\"\n";
    for (identity, affinity, expected) in [
        ("", "user", "yields a user: each request goes where the load is least"),
        ("", "session", "yields a session: each request goes where the load is least"),
        (query, "session", "yields a session: each request is placed by its user"),
        (json, "user", "yields a user: each request is placed by its session"),
    ] {
        let found = said(&format!("{HTTP}{identity}"), &by(affinity));
        assert!(found.contains(expected), "{found}");
    }
    assert_eq!(said(&format!("{HTTP}{json}"), &by("session")), "");
    assert_eq!(said("", &by("session")), "");
    let route = "[[listener.route]]\npath = \"/b\"\npool = \"b\"\n";
    let routed =
        "[[pool]]\nname = \"b\"\nupstreams = [\"127.0.0.1:9\"]\nbalance = \"consistent\"\n";
    assert!(said(&format!("{HTTP}{route}"), routed).contains("yields a user"), "routes count too");
    let proxied = routed.replace("balance = \"consistent\"", "send_proxy = \"v1\"");
    let found = said(&format!("{HTTP}{route}"), &proxied);
    assert!(found.contains("send_proxy needs protocol = \"tcp\""), "{found}");
}
