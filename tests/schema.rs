//! The method table against the schema that the installed CLI ships, both ways, by name.
//!
//! Never passes by skipping: without the schema it fails and says how to get it.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "all of it is a test"
)]

#[path = "shared/installed.rs"]
mod installed;

use std::collections::{BTreeMap, BTreeSet};

use fairlead::rpc::methods::{
    EVENTS, Event, Method, OUTGOING, Outgoing, Route, Shape, Where, event, method, methods,
    outgoing,
};
use serde_json::Value;

use self::installed::package;

/// Served and used by SDKs, but not in the schema.
const BESIDE: [&str; 13] = [
    "auth.getStatus",
    "session.create",
    "session.delete",
    "session.destroy",
    "session.detach",
    "session.getForeground",
    "session.getLastId",
    "session.getMessages",
    "session.getMetadata",
    "session.list",
    "session.resume",
    "session.setForeground",
    "status.get",
];

/// Sent by CLIs and handled by SDKs, but not in the schema.
const SENT_BESIDE: [&str; 7] = [
    "autoModeSwitch.request",
    "exitPlanMode.request",
    "host.event",
    "session.event",
    "session.lifecycle",
    "systemMessage.transform",
    "userInput.request",
];

/// Their requestId is of the caller's own making, and counts within its session.
const OWN_REQUEST_ID: [&str; 4] = [
    "session.mcp.cancelSamplingExecution",
    "session.mcp.executeSampling",
    "session.shell.cancelUserRequested",
    "session.shell.executeUserRequested",
];

/// They carry a requestId that nobody answers: of a model call, or of a permission once more.
const MENTIONS_REQUEST_ID: [&str; 6] = [
    "assistant.message",
    "permission.assentDetected",
    "permission.carriedForward",
    "permission.contextualAuthorization",
    "session.compaction_complete",
    "ui.ephemeral_query",
];

fn schema(file: &str) -> Value {
    let path = package("copilot-sdk").join("schemas").join(file);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; run `make deps`", path.display()));
    serde_json::from_str(&text).unwrap()
}

fn resolve<'a>(root: &'a Value, mut node: &'a Value) -> &'a Value {
    while let Some(name) = node["$ref"].as_str() {
        node = &root["definitions"][name.rsplit('/').next().unwrap()];
    }
    node
}

/// The names of the properties of an object schema, and of its alternatives.
fn properties(root: &Value, node: &Value) -> BTreeSet<String> {
    let node = resolve(root, node);
    let own = node["properties"].as_object().into_iter().flat_map(|o| o.keys().cloned());
    let branches = ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|key| node[key].as_array());
    own.chain(branches.flatten().flat_map(|branch| properties(root, branch))).collect()
}

/// Each `rpcMethod` below `node`, with its params' properties.
fn served(root: &Value, node: &Value) -> BTreeMap<String, BTreeSet<String>> {
    if let Some(name) = node["rpcMethod"].as_str() {
        return [(name.to_owned(), properties(root, &node["params"]))].into();
    }
    let below = node.as_object().into_iter().flat_map(|o| o.values());
    below.flat_map(|child| served(root, child)).collect()
}

fn groups(names: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let root = schema("api.schema.json");
    names.iter().flat_map(|name| served(&root, &root[*name])).collect()
}

fn incoming() -> Vec<(&'static Method, BTreeSet<String>)> {
    let row = |(name, props): (String, _)| {
        (method(&name).unwrap_or_else(|| panic!("{name} is not in the table")), props)
    };
    groups(&["server", "session"]).into_iter().map(row).collect()
}

/// The types of `session.event`, with the properties of their data.
fn event_types() -> BTreeMap<String, BTreeSet<String>> {
    let root = schema("session-events.schema.json");
    let all = resolve(&root, &root);
    let of = |node: &Value| {
        let node = resolve(&root, node);
        let kind = node["properties"]["type"]["const"].as_str()?.to_owned();
        Some((kind, properties(&root, &node["properties"]["data"])))
    };
    all["anyOf"].as_array().unwrap().iter().filter_map(of).collect()
}

fn set<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

#[test]
fn the_table_is_what_the_schema_names_and_what_is_served_beside_it() {
    let mut expected: BTreeSet<String> = groups(&["server", "session"]).into_keys().collect();
    assert_eq!(expected.len(), 91 + 268);
    expected.extend(BESIDE.map(str::to_owned));
    assert_eq!(set(methods().iter().map(|m| m.name)), expected);
}

#[test]
fn the_outgoing_table_is_what_the_schema_names_and_what_is_sent_beside_it() {
    let mut expected: BTreeSet<String> =
        groups(&["clientSession", "clientGlobal"]).into_keys().collect();
    assert_eq!(expected.len(), 22 + 6);
    expected.extend(SENT_BESIDE.map(str::to_owned));
    assert_eq!(set(OUTGOING.iter().map(|row| row.name)), expected);
}

#[test]
fn a_method_of_a_session_has_a_session_id() {
    for (method, props) in incoming() {
        if method.is_of_session() {
            assert!(props.contains("sessionId"), "{}: {props:?}", method.name);
        }
    }
}

#[test]
fn a_method_with_a_session_id_goes_to_that_session_or_is_denied() {
    for (method, props) in incoming() {
        let denied = matches!(method.route(), Route::Deny(_));
        assert!(
            !props.contains("sessionId") || method.is_of_session() || denied,
            "{}",
            method.name
        );
    }
}

#[test]
fn a_method_of_the_session_group_goes_to_its_session() {
    for name in groups(&["session"]).into_keys() {
        assert_eq!(method(&name).map(Method::route), Some(Route::Session), "{name}");
    }
}

#[test]
fn every_further_session_id_is_known() {
    let names_a_session = |prop: &String| {
        let prop = prop.to_lowercase();
        prop.contains("session") && prop.contains("id") && prop != "sessionid"
    };
    for (method, props) in incoming() {
        let further: Vec<_> = props.iter().filter(|prop| names_a_session(prop)).collect();
        match method.route() {
            Route::Scatter(_) | Route::EveryOne | Route::Deny(_) => {}
            Route::Connect
            | Route::Ping
            | Route::Create
            | Route::Resume
            | Route::Session
            | Route::Fork
            | Route::AnyOne(_)
            | Route::Merge(_)
            | Route::Single(_)
            | Route::Local(_) => {
                assert_eq!(further, Vec::from_iter(method.second_id()), "{}", method.name);
            }
        }
    }
}

#[test]
fn a_request_id_is_answered_made_by_the_caller_or_of_no_use() {
    for (method, props) in incoming() {
        let of_no_use = matches!(method.route(), Route::Local(_));
        let own = OWN_REQUEST_ID.contains(&method.name);
        let expected = method.answers().is_some() || own || of_no_use;
        assert_eq!(props.contains("requestId"), expected, "{}", method.name);
    }
}

#[test]
fn an_outgoing_request_names_its_session_where_the_table_says() {
    for (name, props) in groups(&["clientSession", "clientGlobal"]) {
        let row: &Outgoing = outgoing(&name).unwrap();
        let named = match row.session {
            Where::SessionId | Where::MaybeSessionId => props.contains("sessionId"),
            Where::RequestId => props.contains("requestId") && !props.contains("sessionId"),
            Where::Nowhere => !props.contains("sessionId") && !props.contains("requestId"),
            Where::Scope => false,
        };
        assert!(named, "{name}: {props:?}");
    }
}

#[test]
fn an_outgoing_notification_is_one_in_the_schema() {
    fn flags(node: &Value, out: &mut BTreeMap<String, bool>) {
        if let Some(name) = node["rpcMethod"].as_str() {
            out.insert(name.to_owned(), node["notification"].as_bool().unwrap_or(false));
            return;
        }
        node.as_object().into_iter().flat_map(|o| o.values()).for_each(|child| flags(child, out));
    }
    let root = schema("api.schema.json");
    let mut out = BTreeMap::new();
    flags(&root["clientSession"], &mut out);
    flags(&root["clientGlobal"], &mut out);
    for (name, notification) in out {
        let shape = outgoing(&name).unwrap().shape;
        let waits = matches!(shape, Shape::Request | Shape::Bounded);
        assert_eq!(waits, !notification, "{name}");
    }
}

#[test]
fn every_event_that_matters_exists() {
    let types = event_types();
    assert!(types.len() > 100, "{}", types.len());
    for (name, _) in EVENTS {
        assert!(types.contains_key(name), "{name}");
    }
}

#[test]
fn an_event_with_a_request_id_asks_settles_or_only_mentions_it() {
    for (name, props) in event_types() {
        let asks_or_settles = matches!(event(&name), Event::Asks | Event::Settled);
        let expected = asks_or_settles || MENTIONS_REQUEST_ID.contains(&name.as_str());
        assert_eq!(props.contains("requestId"), expected, "{name}");
    }
}

#[test]
fn what_is_served_beside_the_schema_is_not_in_it() {
    let all = groups(&["server", "session", "clientSession", "clientGlobal"]);
    for name in BESIDE.iter().chain(&SENT_BESIDE) {
        assert!(!all.contains_key(*name), "{name} is in the schema now");
    }
}
