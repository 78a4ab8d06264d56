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
