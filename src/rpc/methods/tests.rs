use super::*;

fn named(name: &str) -> &'static Method {
    method(name).unwrap_or_else(|| panic!("{name} is not in the table"))
}

#[test]
fn every_name_is_in_the_table_once() {
    let mut seen = std::collections::HashSet::new();
    for method in methods() {
        assert!(seen.insert(method.name), "{} is there twice", method.name);
    }
    assert_eq!(BY_NAME.len(), methods().len());
}

#[test]
fn an_index_is_the_place_in_the_table() {
    for (place, method) in methods().iter().enumerate() {
        assert_eq!(usize::from(method.index), place);
        assert!(std::ptr::eq(named(method.name), method));
    }
}

#[test]
fn a_prefix_of_a_method_is_no_method() {
    for name in ["session", "session.", "session.sen", "session.sends", "Session.send", ""] {
        assert!(method(name).is_none(), "{name}");
    }
}

#[test]
fn whatever_ends_answers_or_works_names_a_session() {
    for method in methods() {
        let of_session = method.is_of_session();
        assert!(method.turn() == Turn::No || of_session, "{}", method.name);
        assert!(method.end().is_none() || of_session, "{}", method.name);
        assert!(method.answers().is_none() || of_session, "{}", method.name);
        assert!(method.second_id().is_none() || of_session, "{}", method.name);
        assert!(!method.is_on_disk() || of_session, "{}", method.name);
    }
}

#[test]
fn nobody_ends_a_cli_or_takes_it_over() {
    for name in [
        "runtime.shutdown",
        "agentRegistry.spawn",
        "sessionFs.setProvider",
        "llmInference.setProvider",
        "registerExtensionLaunchProvider",
        "plugins.builtin.set",
        "sessions.open",
        "sessions.connect",
    ] {
        assert!(matches!(named(name).route(), Route::Deny(_)), "{name}");
    }
}

#[test]
fn draining_lets_a_turn_end_and_takes_nothing_new() {
    for (name, draining) in [
        ("session.create", Draining::Refused),
        ("session.resume", Draining::Refused),
        ("sessions.fork", Draining::Refused),
        ("session.fleet.start", Draining::Refused),
        ("session.send", Draining::Steering),
        ("session.commands.invoke", Draining::InTurn),
        ("session.abort", Draining::Passes),
        ("session.permissions.handlePendingPermissionRequest", Draining::Passes),
        ("session.getMessages", Draining::Passes),
        ("session.list", Draining::Passes),
    ] {
        assert_eq!(named(name).draining(), draining, "{name}");
    }
}

#[test]
fn a_foreign_request_id_gets_the_words_of_an_unknown_one() {
    let told = |name: &str| {
        let method = named(name);
        method.answers().map(|unknown| unknown.to_member(method, "r-1"))
    };
    assert_eq!(
        told("session.tools.handlePendingToolCall").as_deref(),
        Some(r#""result":{"success":false}"#)
    );
    assert_eq!(
        told("session.commands.handlePendingCommand").as_deref(),
        Some(r#""result":{"success":true}"#)
    );
    assert_eq!(
        told("session.sandbox.disableForSession").as_deref(),
        Some(
            r#""error":{"code":-32603,"message":"Request session.sandbox.disableForSession failed with message: pending permission request 'r-1' was not found"}"#
        )
    );
}

#[test]
fn errors_are_in_the_words_of_a_cli() {
    for (name, why) in [
        ("session.mode.get", "Missing sessionId in session.mode.get request"),
        ("session.delete", "Missing sessionId parameter"),
        ("sessions.close", "Invalid sessionId: undefined"),
    ] {
        let text =
            format!(r#"{{"code":-32603,"message":"Request {name} failed with message: {why}"}}"#);
        assert_eq!(named(name).missing_session(), text);
    }
}

#[test]
fn a_local_answer_is_json() {
    for method in methods() {
        if let Route::Local(result) = method.route() {
            serde_json::from_str::<serde_json::Value>(result).unwrap();
        }
    }
}

#[test]
fn an_event_that_nobody_acts_on_only_passes() {
    assert_eq!(event("session.idle"), Event::Idle);
    assert_eq!(event("subagent.failed"), Event::AgentEnded);
    assert_eq!(event("subagent.selected"), Event::Other);
    assert_eq!(event("assistant.idle"), Event::Other);
    assert_eq!(event("assistant.turn_end"), Event::Other);
    assert_eq!(event("command.queued"), Event::Asks);
}

#[test]
fn a_broadcast_says_whom_it_concerns() {
    let at = |name: &str| outgoing(name).map(|row| row.session);
    assert_eq!(at("host.event"), Some(Where::Scope));
    assert_eq!(at("session.lifecycle"), Some(Where::SessionId));
    assert_eq!(at("llmInference.httpRequestChunk"), Some(Where::RequestId));
    assert_eq!(at("tool.call"), None);
}
