//! Callers behind tokens: each has its own sessions, and the rest of the world is not there.

use std::path::PathBuf;

use fairlead::identity::token;
use fairlead::testing::Fault;
use fairlead::testing::client::Client;
use serde_json::{Value, json};

use super::rig::*;

/// A directory of the test's own.
pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        let name = format!("fairlead-owners-{}", uuid::Uuid::new_v4());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Tokens `<user>-token` of these users, without a tenant.
pub(crate) fn tokens(dir: &Dir, users: &[&str]) {
    let users: Vec<_> = users.iter().map(|user| (*user, "")).collect();
    tokens_of(dir, &users);
}

/// The same, each with its tenant, if that has a name.
pub(crate) fn tokens_of(dir: &Dir, users: &[(&str, &str)]) {
    let mut text = String::new();
    for (user, tenant) in users {
        let hash = hex(&token::hash(&format!("{user}-token")));
        text.push_str(&format!("[[token]]\nsha256 = \"{hash}\"\nuser = \"{user}\"\n"));
        if !tenant.is_empty() {
            text.push_str(&format!("tenant = \"{tenant}\"\n"));
        }
    }
    std::fs::write(dir.0.join("tokens.toml"), text).unwrap();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn guarded(dir: &Dir, clis: Setup) -> Setup {
    let path = dir.0.display();
    clis.top(&format!("state_dir = \"{path}/state\"")).listener(&format!(
        "[[listener.identity]]\nsource = \"token\"\ntokens = {{ file = \"{path}/tokens.toml\" }}"
    ))
}

pub(crate) async fn known(rig: &Rig, user: &str) -> Client {
    let client = rig.client().await;
    ask(&client, "connect", json!({"token": format!("{user}-token")})).await;
    client
}

pub(crate) fn ids(list: &Value) -> Vec<&str> {
    list["sessions"].as_array().unwrap().iter().map(|s| s["sessionId"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn nothing_is_answered_before_a_good_token() {
    let dir = Dir::new();
    tokens(&dir, &["alice"]);
    let rig = guarded(&dir, clis(1)).start().await;
    let client = rig.client().await;
    for method in ["ping", "session.list", "session.create", "no.such.method"] {
        let error = refused(&client, method, json!({})).await;
        assert_eq!((error.code, &*error.message), (-32001, "AUTHENTICATION_REQUIRED"));
    }
    for params in [json!({}), json!({"token": "wrong"}), json!({"token": 7})] {
        let error = refused(&client, "connect", params).await;
        assert_eq!((error.code, &*error.message), (-32002, "AUTHENTICATION_FAILED"));
    }
    ask(&client, "connect", json!({"token": "alice-token"})).await;
    used(&client, "s").await;
}

#[tokio::test]
async fn a_stranger_hears_of_a_session_what_it_hears_of_none() {
    let dir = Dir::new();
    tokens(&dir, &["alice", "bob"]);
    let rig = guarded(&dir, clis(2)).start().await;
    let (alice, bob) = (known(&rig, "alice").await, known(&rig, "bob").await);
    used(&alice, "hers").await;
    used(&bob, "his").await;
    let methods = [
        "session.resume",
        "session.send",
        "session.abort",
        "session.getMessages",
        "session.getMetadata",
        "session.detach",
        "session.destroy",
        "session.delete",
        "session.shutdown",
        "session.name.get",
        "session.notInAnyTable",
        "sessions.close",
        "sessions.fork",
    ];
    for method in methods {
        let mut params = opened("hers");
        params["prompt"] = "x".into();
        let hers = refused(&bob, method, params.clone()).await;
        params["sessionId"] = "none".into();
        let none = refused(&bob, method, params).await;
        is_ours(&hers, -32042, "access_denied");
        let text = |error: &_| format!("{error:?}").replace("hers", "*").replace("none", "*");
        assert_eq!(text(&hers), text(&none), "{method}");
    }
    let create = refused(&bob, "session.create", opened("hers")).await;
    is_ours(&create, -32042, "access_denied");
    assert_eq!(turn(&alice, "hers", "y").await, "You said \"y\". I remember 1 earlier messages.");
}

#[tokio::test]
async fn lists_and_broadcasts_are_of_the_callers_own_sessions() {
    let dir = Dir::new();
    tokens(&dir, &["alice", "bob"]);
    let rig = guarded(&dir, clis(2)).start().await;
    let (alice, bob) = (known(&rig, "alice").await, known(&rig, "bob").await);
    let second = known(&rig, "alice").await;
    used(&alice, "hers").await;
    used(&bob, "his").await;
    assert_eq!(ids(&ask(&alice, "session.list", json!({})).await), ["hers"]);
    assert_eq!(ids(&ask(&bob, "session.list", json!({})).await), ["his"]);
    assert_eq!(ask(&bob, "session.getLastId", json!({})).await["sessionId"], "his");
    let named = json!({"sessionIds": ["hers", "his"]});
    let said = ask(&bob, "sessions.getClientMetadata", named).await;
    assert_eq!((&said[0]["status"], &said[1]["status"]), (&json!("notFound"), &json!("ok")));
    // Alice's other conn hears of her session; nothing of it ever reached Bob.
    let of_hers = |f: &fairlead::testing::client::Frame| {
        f.method() == "session.lifecycle" && f.value["params"]["sessionId"] == "hers"
    };
    within("she hears", second.next_frame(0, of_hers)).await.unwrap();
    ask(&bob, "ping", json!({})).await;
    let named = |f: &fairlead::testing::client::Frame| f.value.to_string().contains("hers");
    // He named it once himself.
    assert_eq!(bob.frames(0).iter().filter(|f| named(f)).count(), 1);
}

/// Who had a session of a name hears nothing of the one that another caller makes under it, though a CLI tells every link.
async fn is_deaf_to_hers(rig: &Rig, mallory: &Client, name: &str) {
    let alice = known(rig, "alice").await;
    let made = async || alice.request("session.create", opened(name)).await.is_ok();
    eventually("the name is free again", made).await;
    let from = mallory.received();
    turn(&alice, name, "x").await;
    // By now the CLI has told it over his link, too.
    ask(mallory, "session.name.get", json!({"sessionId": "his"})).await;
    let of_hers = |f: &&fairlead::testing::client::Frame| f.value.to_string().contains(name);
    let heard: Vec<_> = mallory.frames(from).into_iter().filter(|f| of_hers(&f)).collect();
    assert!(heard.is_empty(), "{heard:?}");
}

#[tokio::test]
async fn who_deleted_a_session_hears_nothing_of_another_callers_of_that_name() {
    let dir = Dir::new();
    tokens(&dir, &["alice", "mallory"]);
    let rig = guarded(&dir, clis(1)).start().await;
    let mallory = known(&rig, "mallory").await;
    used(&mallory, "his").await;
    used(&mallory, "alice-chat").await;
    ask(&mallory, "session.delete", json!({"sessionId": "alice-chat"})).await;
    is_deaf_to_hers(&rig, &mallory, "alice-chat").await;
}

#[tokio::test]
async fn who_could_not_make_a_session_hears_nothing_of_another_callers_of_that_name() {
    let dir = Dir::new();
    tokens(&dir, &["alice", "mallory"]);
    let rig = guarded(&dir, clis(1)).start().await;
    let mallory = known(&rig, "mallory").await;
    used(&mallory, "his").await;
    rig.clis[0].fault("session.create", Fault::Refused(-32603, "no model".into()), 1);
    refused(&mallory, "session.create", opened("alice-chat")).await;
    is_deaf_to_hers(&rig, &mallory, "alice-chat").await;
}

#[tokio::test]
async fn an_owner_outlives_the_process() {
    let dir = Dir::new();
    tokens(&dir, &["alice", "bob"]);
    let mut rig = guarded(&dir, clis(1)).start().await;
    used(&known(&rig, "alice").await, "hers").await;
    rig.restart_gateway().await;
    rig.until_state("up", 1).await;
    let (alice, bob) = (known(&rig, "alice").await, known(&rig, "bob").await);
    is_ours(&refused(&bob, "session.resume", opened("hers")).await, -32042, "access_denied");
    resume(&alice, "hers").await;
    assert_eq!(ids(&ask(&alice, "session.list", json!({})).await), ["hers"]);
}

#[tokio::test]
async fn what_nobody_is_known_to_own_is_nobodys_unless_it_may_be_adopted() {
    let dir = Dir::new();
    tokens(&dir, &["alice"]);
    let rig = guarded(&dir, clis(1)).start().await;
    // Made behind fairlead's back.
    let aside = Client::connect(rig.clis[0].addr).await.unwrap();
    used(&aside, "old").await;
    let alice = known(&rig, "alice").await;
    for method in ["session.resume", "session.create", "session.getMetadata"] {
        is_ours(&refused(&alice, method, opened("old")).await, -32042, "access_denied");
    }
    assert!(ids(&ask(&alice, "session.list", json!({})).await).is_empty());
}

#[tokio::test]
async fn an_adopted_session_is_the_first_ones() {
    let dir = Dir::new();
    tokens(&dir, &["alice", "bob"]);
    let setup = guarded(&dir, clis(1)).pool("unknown_sessions = \"adopt\"");
    let rig = setup.start().await;
    let aside = Client::connect(rig.clis[0].addr).await.unwrap();
    used(&aside, "old").await;
    let (alice, bob) = (known(&rig, "alice").await, known(&rig, "bob").await);
    resume(&alice, "old").await;
    is_ours(&refused(&bob, "session.resume", opened("old")).await, -32042, "access_denied");
}

#[tokio::test]
async fn who_cannot_make_a_session_does_not_own_it() {
    let dir = Dir::new();
    tokens(&dir, &["alice", "bob"]);
    let rig = guarded(&dir, clis(1)).start().await;
    let (alice, bob) = (known(&rig, "alice").await, known(&rig, "bob").await);
    rig.clis[0].fault("session.create", Fault::Refused(-32603, "no model".into()), 1);
    refused(&alice, "session.create", opened("s")).await;
    let made = async || bob.request("session.create", opened("s")).await.is_ok();
    eventually("the name is free again", made).await;
    is_ours(&refused(&alice, "session.resume", opened("s")).await, -32042, "access_denied");
}

#[tokio::test]
async fn a_session_is_made_only_under_a_name_that_fits() {
    let pattern = "session_id_required_pattern = 'user-[a-z]+-.+'";
    let rig = clis(1).listener(pattern).start().await;
    let client = rig.client().await;
    let error = refused(&client, "session.create", opened("mine")).await;
    is_ours(&error, -32043, "method_denied");
    assert_eq!(error.message, "the session id must match user-[a-z]+-.+");
    assert!(forwarded(&rig.clis[0]).is_empty(), "no CLI heard of it");
    used(&client, "user-al-1").await;
    let made = ask(&client, "session.create", json!({"model": "fake"})).await;
    assert!(made["sessionId"].is_string(), "ids that are made here fit always");
    // What was made before under another name goes on, and is not made anew under it.
    let aside = Client::connect(rig.clis[0].addr).await.unwrap();
    used(&aside, "old").await;
    aside.close().await;
    resume(&client, "old").await;
    assert_eq!(turn(&client, "old", "x").await, "You said \"x\". I remember 1 earlier messages.");
    is_ours(&refused(&client, "session.create", opened("old")).await, -32043, "method_denied");
}

#[tokio::test]
async fn a_conn_does_not_change_hands() {
    let dir = Dir::new();
    tokens(&dir, &["alice", "bob"]);
    let rig = guarded(&dir, clis(1)).start().await;
    let alice = known(&rig, "alice").await;
    used(&alice, "hers").await;
    let error = refused(&alice, "connect", json!({"token": "bob-token"})).await;
    assert_eq!(error.code, -32002);
    ask(&alice, "connect", json!({"token": "alice-token"})).await;
    turn(&alice, "hers", "x").await;
}

/// A session that a CLI had before anybody wrote down whose it is.
async fn older(rig: &Rig, cli: usize, session: &str) {
    let direct = Client::connect(rig.clis[cli].addr).await.unwrap();
    used(&direct, session).await;
    detach(&direct, session).await;
}

#[tokio::test]
async fn a_session_that_could_not_be_sought_is_nobodys() {
    let dir = Dir::new();
    tokens(&dir, &["mallory"]);
    let setup = guarded(&dir, clis(2)).limits("lookup_timeout = \"1s\"");
    let rig = setup.start().await;
    older(&rig, 0, "old").await;
    let mallory = known(&rig, "mallory").await;
    for method in ["session.mode.get", "session.getMetadata"] {
        rig.clis[0].fault(method, Fault::Never, usize::MAX);
    }
    is_ours(&refused(&mallory, "session.create", opened("old")).await, -32041, "no_upstream");
    rig.clis[0].clear_faults();
    for method in ["session.resume", "session.create"] {
        is_ours(&refused(&mallory, method, opened("old")).await, -32042, "access_denied");
    }
}

#[tokio::test]
async fn what_is_found_under_a_deleted_name_is_not_its_owners() {
    let dir = Dir::new();
    tokens(&dir, &["mallory"]);
    let mut rig = guarded(&dir, clis(2)).health("interval = \"100ms\"").start().await;
    older(&rig, 0, "old").await;
    rig.clis[0].kill().await;
    rig.until_cli(0, "down").await;
    let mallory = known(&rig, "mallory").await;
    create(&mallory, "old").await;
    assert_eq!(ask(&mallory, "session.delete", json!({"sessionId": "old"})).await["success"], true);
    rig.restart_cli(0).await;
    rig.until_cli(0, "up").await;
    for method in ["session.resume", "session.create", "session.resume"] {
        is_ours(&refused(&mallory, method, opened("old")).await, -32042, "access_denied");
    }
}

#[tokio::test]
async fn a_name_that_was_deleted_can_be_used_again_at_once() {
    let dir = Dir::new();
    tokens(&dir, &["alice", "bob"]);
    let rig = guarded(&dir, clis(2)).start().await;
    let (alice, bob) = (known(&rig, "alice").await, known(&rig, "bob").await);
    for _ in 0..3 {
        used(&alice, "s").await;
        ask(&alice, "session.delete", json!({"sessionId": "s"})).await;
    }
    used(&alice, "s").await;
    // When a name that was deleted later is nobody's, the first one's time is over as well.
    used(&alice, "t").await;
    ask(&alice, "session.delete", json!({"sessionId": "t"})).await;
    eventually("it is nobody's", async || bob.request("session.create", opened("t")).await.is_ok())
        .await;
    detach(&alice, "s").await;
    resume(&alice, "s").await;
}

#[tokio::test]
async fn who_did_not_hear_that_its_session_was_deleted_does_not_reach_the_next_of_its_name() {
    let dir = Dir::new();
    tokens(&dir, &["alice", "bob"]);
    // The CLI tells nobody.
    let rig = guarded(&dir, clis(1).cli(0, |c| c.hushed = true)).start().await;
    let (alice, deaf) = (known(&rig, "alice").await, known(&rig, "alice").await);
    used(&alice, "s").await;
    resume(&deaf, "s").await;
    ask(&alice, "session.delete", json!({"sessionId": "s"})).await;
    let bob = known(&rig, "bob").await;
    eventually("the name is free", async || {
        bob.request("session.create", opened("s")).await.is_ok()
    })
    .await;
    let before = forwarded(&rig.clis[0]).len();
    let send = json!({"sessionId": "s", "prompt": "x"});
    is_ours(&refused(&deaf, "session.send", send).await, -32042, "access_denied");
    assert_eq!(forwarded(&rig.clis[0]).len(), before);
}
