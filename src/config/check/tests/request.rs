//! Whom requests are for: what may be configured, and what does not fit.

use super::{LISTENER, POOL, after_pool, checked, right, show};
use crate::caller::Proof;
use crate::config::dump::dump;
use crate::config::model::{Balance, Listener};

const HTTP: &str = "protocol = \"http\"\n";

/// Every key that belongs to requests.
pub(super) const EVERYTHING: &str = r#"
[[listener.identity]]
source = "header"
name = "x-user-id"
yields = "user"
pattern = "(?<tenant>.+)/(?<user>.+)"
trusted = ["10.0.0.0/8"]

[[listener.identity]]
source = "cookie"
name = "sid"
yields = "session"

[[listener.identity]]
source = "query"
name = "user"
yields = "user"

[[listener.identity]]
source = "path"
segment = 3
yields = "user"

[[listener.identity]]
source = "basic"
yields = "user"

[[listener.identity]]
source = "json"
pointer = "/params/sessionId"
yields = "session"

[[listener.identity]]
source = "source_ip"
"#;

#[test]
fn a_name_that_is_asked_for_needs_tls_and_a_protocol_without_sessions() {
    wrong("source = \"sni\"", "10:10: source = \"sni\" needs [listener.tls]");
    let sdk = format!("{LISTENER}[[listener.identity]]\nsource = \"sni\"\n{POOL}");
    let found = super::problems(&sdk);
    assert!(
        found[0].contains("source = \"sni\" needs protocol = \"tcp\" or \"http\""),
        "{found:?}"
    );
}

/// A whole file with all of them.
pub(super) fn everything() -> String {
    format!("{LISTENER}{HTTP}{EVERYTHING}{POOL}")
}

fn listener(identity: &str) -> Listener {
    right(&format!("{LISTENER}{HTTP}{identity}{POOL}")).listeners.remove(0)
}

/// The one problem of an http listener whose identity begins on line 9.
#[track_caller]
fn wrong(identity: &str, expected: &str) {
    after_pool(&format!("{LISTENER}{HTTP}[[listener.identity]]\n{identity}\n"), expected);
}

#[test]
fn what_is_dumped_is_read_again_and_means_the_same() {
    let first = dump(&right(&everything())).to_string();
    assert_eq!(dump(&right(&first)).to_string(), first);
    let identity = EVERYTHING.trim_start().replace("source = \"source_ip\"\n", "");
    assert!(first.replace('\'', "\"").contains(identity.trim_end()), "{first}");
}

#[test]
fn a_header_is_asked_for_in_lower_case_and_proves_only_from_where_it_is_trusted() {
    let header = "[[listener.identity]]\nsource = \"header\"\nname = \"X-User-Id\"\n";
    let listener_of = |rest: &str| listener(&format!("{header}{rest}"));
    let listener = listener_of("");
    assert!(!listener.proves() && !listener.authenticates());
    let listener = listener_of("trusted = [\"10.0.0.0/8\"]\n");
    assert_eq!(listener.identity[0].proof(), Proof::Header);
    assert!(listener.proves() && listener.authenticates(), "what proves is asked for");
    assert!(!listener_of("trusted = [\"10.0.0.0/8\"]\nyields = \"session\"\n").proves());
}

#[test]
fn wrong_parts_of_requests_say_what_is_wanted() {
    wrong(
        "source = \"header\"\nname = \"x user\"",
        "11:8: name: \"x user\" is not the name of a header",
    );
    wrong("source = \"cookie\"\nname = \"a;b\"", "11:8: name: \"a;b\" is not the name of a cookie");
    wrong("source = \"query\"", "9:1: \"name\" is missing in [[listener.identity]]");
    wrong("source = \"path\"\nsegment = 0", "11:11: segment: 0 is out of range: from 1 to 64");
    wrong(
        "source = \"json\"\npointer = \"sessionId\"",
        "11:11: pointer: \"sessionId\": a JSON pointer begins with `/`, such as /params/sessionId",
    );
    wrong("source = \"json\"\npointer = \"/a\"\nname = \"a\"", "12:8: name belongs to source");
    wrong(
        "source = \"basic\"\ntrusted = [\"::1\"]",
        "11:11: trusted belongs to source = \"header\"",
    );
    wrong(
        "source = \"session_id\"\npattern = \"(?<user>.)\"",
        "10:10: source = \"session_id\" needs protocol = \"jsonrpc\"",
    );
}

#[test]
fn sources_belong_to_what_is_spoken() {
    after_pool(
        &format!("{LISTENER}[[listener.identity]]\nsource = \"header\"\nname = \"a\"\n"),
        "9:10: source = \"header\" needs protocol = \"http\"",
    );
    after_pool(
        &format!("{LISTENER}protocol = \"tcp\"\n[[listener.identity]]\nsource = \"basic\"\n"),
        "10:10: source = \"basic\" needs protocol = \"http\"",
    );
    let ip = "[[listener.identity]]\nsource = \"source_ip\"\n";
    after_pool(&format!("{LISTENER}{ip}"), "8:1: source = \"source_ip\" needs ranges");
    let tcp = right(&format!("{LISTENER}protocol = \"tcp\"\n{ip}{POOL}"));
    assert!(!tcp.listeners[0].proves());
}

#[test]
fn keys_of_sessions_belong_to_jsonrpc() {
    for key in [
        "session_id_required_pattern = \"a\"",
        "sessions = \"ephemeral\"",
        "ephemeral_pattern = \"a\"",
        "unknown_sessions = \"deny\"",
        "allow = []",
        "deny = []",
    ] {
        for protocol in ["tcp", "http"] {
            let text = format!("{LISTENER}protocol = \"{protocol}\"\n{key}\n{POOL}");
            let found = show(&checked(&text).unwrap_err());
            let message =
                format!("{} belongs to protocol = \"jsonrpc\"", key.split(' ').next().unwrap());
            assert!(found.contains(&message), "{found}");
        }
    }
}

#[test]
fn a_word_that_everybody_may_say_is_told() {
    let header = "source = \"header\"\nname = \"a\"\ntrusted = [\"0.0.0.0/0\"]";
    let text = format!("{LISTENER}{HTTP}[[listener.identity]]\n{header}\n{POOL}");
    let (_, warnings) = checked(&text).unwrap();
    let found = show(&warnings);
    assert!(found.contains("whoever connects can say who it is"), "{found}");
}

#[test]
fn a_key_of_conns_and_requests_is_bounded_only_where_that_is_asked_for() {
    let consistent = "balance = \"consistent\"\n";
    let of = |protocol: &str, rest: &str| {
        let text = format!("{LISTENER}protocol = \"{protocol}\"\n{POOL}{consistent}{rest}");
        match right(&text).pools[0].balance {
            Balance::Consistent { factor, .. } => factor,
            Balance::RoundRobin | Balance::LeastLoaded => 0.0,
        }
    };
    assert_eq!(of("jsonrpc", ""), 1.25);
    for protocol in ["tcp", "http"] {
        assert_eq!(of(protocol, ""), f64::INFINITY);
        assert_eq!(of(protocol, "balance_factor = 2\n"), 2.0);
    }
    let dumped = dump(&right(&format!("{LISTENER}{HTTP}{POOL}{consistent}"))).to_string();
    assert!(!dumped.contains("balance_factor"), "{dumped}");
    assert_eq!(dump(&right(&dumped)).to_string(), dumped);
}
