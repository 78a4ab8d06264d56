//! How pools are probed.

use super::{LISTENER, POOL, after_pool, checked, right, show};
use crate::config::model::{Probe, Statuses};

const TCP: &str =
    "[[listener]]\nname = \"l4\"\nbind = \"127.0.0.1:4320\"\nprotocol = \"tcp\"\npool = \"cli\"\n";
const HTTP: &str = "[pool.health]\nprobe = \"http\"\npath = \"/live?x=1\"\nhost = \"app.example.com\"\n\
                    expect = [\"200-299\", \"404\"]\n";

/// Every key.
pub(super) fn everything() -> String {
    format!("{TCP}{POOL}{HTTP}")
}

/// A probe over HTTP that says nothing more.
pub(super) fn least() -> String {
    format!("{TCP}{POOL}[pool.health]\nprobe = \"http\"\n")
}

fn probe(text: &str) -> Probe {
    right(text).pools.remove(0).health.probe
}

#[test]
fn a_pool_that_speaks_jsonrpc_is_pinged_and_any_other_is_connected_to() {
    assert_eq!(probe(&format!("{LISTENER}{POOL}")), Probe::Ping);
    assert_eq!(probe(&format!("{TCP}{POOL}")), Probe::Tcp);
    let said = format!("{TCP}{POOL}[pool.health]\nprobe = \"ping\"\n");
    assert_eq!(probe(&said), Probe::Ping);
    for wrong in ["tcp", "http"] {
        after_pool(
            &format!("[pool.health]\nprobe = \"{wrong}\"\n{LISTENER}"),
            "5:9: listener \"sdk\" speaks jsonrpc with this pool: its CLIs need probe = \"ping\"",
        );
    }
}

#[test]
fn an_http_probe_has_a_path_a_host_and_good_statuses() {
    let Probe::Http(http) = probe(&everything()) else { panic!("another") };
    assert_eq!((http.path.as_str(), http.host.as_deref()), ("/live?x=1", Some("app.example.com")));
    let good = |status| http.expect.iter().any(|s: &Statuses| s.has(status));
    assert!(good(200) && good(299) && good(404) && !good(199) && !good(300) && !good(503));
    let Probe::Http(http) = probe(&least()) else { panic!("another") };
    assert_eq!((http.path.as_str(), http.host.as_deref()), ("/", None));
    assert_eq!(http.expect, [Statuses { first: 200, last: 399 }]);
}

#[test]
fn what_cannot_stand_in_a_request_is_refused() {
    let bad = |key: &str, message: &str| {
        let health = format!("[pool.health]\nprobe = \"http\"\n{key}\n");
        after_pool(&format!("{health}{TCP}"), message);
    };
    for path in ["x", "/a b", "/a\\r\\nX: y", "/#x", "/\u{e9}"] {
        bad(&format!("path = \"{path}\""), "6:8: path: ");
    }
    for host in ["", "a b", "a\\nb", "a/b"] {
        bad(&format!("host = \"{host}\""), "6:8: host: ");
    }
    for expect in [
        "[]",
        "[\"20\"]",
        "[\"300-200\"]",
        "[\"99\"]",
        "[\"600\"]",
        "[200]",
        "\"200\"",
        "[\"+20\"]",
    ] {
        bad(&format!("expect = {expect}"), "6:10: expect: must be a list of statuses");
    }
}

#[test]
fn keys_of_another_probe_are_warned_of() {
    let text = format!("{LISTENER}{POOL}[pool.health]\npath = \"/x\"\n");
    let (_, warnings) = checked(&text).unwrap_or_else(|p| panic!("{}", show(&p)));
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].message, "path has no effect without probe = \"http\"");
}
