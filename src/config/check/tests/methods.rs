//! `allow` and `deny`: names that exist, and that can be allowed or taken away.

use super::identity::JWT;
use super::*;

fn warnings(rest: &str) -> Vec<String> {
    let (_, found) = checked(&format!("{LISTENER}{rest}{JWT}{POOL}")).unwrap();
    found.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn in_listener(rest: &str, expected: &str) {
    after_pool(&format!("{LISTENER}{rest}"), expected);
}

#[test]
fn names_are_those_of_methods() {
    in_listener(
        "allow = [\"user.setings.get\"]\n",
        "8:10: allow: \"user.setings.get\" is no method that fairlead knows; did you mean \"user.settings.get\"?",
    );
    in_listener("deny = [7]\n", "8:9: deny: must be the name of a method, not an integer");
    in_listener("deny = \"ping\"\n", "8:8: deny: must be a list");
    let listener = right(&format!(
        "{LISTENER}allow = [\"user.settings.get\", \"user.settings.get\"]\ndeny = [\"session.shell.exec\"]\n{JWT}{POOL}"
    ));
    let names = |list: &[&'static crate::rpc::methods::Method]| {
        list.iter().map(|m| m.name).collect::<Vec<_>>()
    };
    assert_eq!(names(&listener.listeners[0].allow), ["user.settings.get"]);
    assert_eq!(names(&listener.listeners[0].deny), ["session.shell.exec"]);
}

#[test]
fn what_can_never_be_allowed_says_why() {
    in_listener(
        "allow = [\"runtime.shutdown\"]\n",
        "8:10: runtime.shutdown can never be allowed: it ends the CLI for everybody",
    );
    for name in ["sessions.pruneOld", "llmInference.setProvider", "sessions.startRemoteControl"] {
        let found = checked(&format!("{LISTENER}allow = [\"{name}\"]\n{POOL}")).unwrap_err();
        assert!(show(&found).contains("can never be allowed: it "), "{name}: {}", show(&found));
    }
}

#[test]
fn what_cannot_be_denied_or_is_in_both_lists_is_an_error() {
    in_listener("deny = [\"connect\"]\n", "8:9: connect cannot be denied: no client could connect");
    in_listener(
        "allow = [\"mcp.config.list\"]\ndeny = [\"mcp.config.list\"]\n",
        "9:9: mcp.config.list is both in allow and in deny",
    );
}

#[test]
fn what_has_no_effect_or_tells_of_the_account_is_a_warning() {
    let has = |found: &[String], what: &str| {
        assert!(found.iter().any(|w| w.contains(what)), "{found:#?}");
    };
    has(&warnings("allow = [\"session.send\"]\n"), "session.send in allow has no effect");
    has(&warnings("allow = [\"account.getCurrentAuth\"]\n"), "of the account that the CLIs are");
    assert!(warnings("allow = [\"mcp.config.reload\"]\n").is_empty());
}
