//! Sessions that live as long as a client has them: however it goes, they are deleted; as long as one is there, they are not.

use std::time::Duration;

use fairlead::drain::Mode;
use fairlead::testing::client::{Client, Frame};
use fairlead::testing::{FakeCli, Fault};
use serde_json::{Value, json};

use super::owners::{Dir, guarded, known, tokens};
use super::rig::*;

/// Long enough for what a test does within it.
const GRACE: Duration = Duration::from_secs(2);

/// Sessions `tmp-*` are ephemeral, all others are not.
fn mixed(dir: &Dir, count: usize) -> Setup {
    with_grace(dir, count, &format!("{}s", GRACE.as_secs()))
}

fn with_grace(dir: &Dir, count: usize, grace: &str) -> Setup {
    clis(count)
        .top(&format!("state_dir = \"{}/state\"", dir.0.display()))
        .listener("ephemeral_pattern = 'tmp-.*'")
        .pool(&format!("ephemeral_grace = \"{grace}\""))
}

fn on_disk(rig: &Rig, session: &str) -> bool {
    rig.clis.iter().any(|cli| cli.disk().sessions().iter().any(|id| id == session))
}

async fn until_gone(rig: &Rig, session: &str) {
    eventually(&format!("{session} is deleted"), async || !on_disk(rig, session)).await;
}

/// How often a CLI was told to delete it.
fn deletes(cli: &FakeCli, session: &str) -> usize {
    let told = cli.received();
    told.iter()
        .filter(|f| f.method() == "sessions.delete" && f.params()["sessionId"] == session)
        .count()
}

/// Another ephemeral session is made and left now, and deleted: what was to be deleted before is, by then.
async fn a_grace_later(rig: &Rig) {
    let client = rig.client().await;
    used(&client, "tmp-witness").await;
    client.close().await;
    until_gone(rig, "tmp-witness").await;
}

fn evicted(metrics: &Metrics) -> f64 {
    metrics.sum("fairlead_sessions_evicted_total", &[("reason", "ephemeral")])
}

#[tokio::test]
async fn it_is_deleted_however_its_client_goes_and_others_stay() {
    let dir = Dir::new();
    let rig = mixed(&dir, 2).start().await;
    for how in ["fin", "reset", "detach", "in mid-turn"] {
        let client = rig.client().await;
        used(&client, "tmp-1").await;
        used(&client, "kept").await;
        match how {
            "fin" => client.close().await,
            "reset" => client.reset().await,
            "detach" => {
                detach(&client, "tmp-1").await;
                until_gone(&rig, "tmp-1").await;
            }
            _ => {
                rig.hold(&client, "tmp-1", "k").await;
                client.reset().await;
            }
        }
        until_gone(&rig, "tmp-1").await;
        assert!(on_disk(&rig, "kept"), "{how}");
    }
    rig.until("four are counted", |m| evicted(m) == 4.0).await;
    rig.until("nothing is left of them", |m| {
        m.sum("fairlead_upstream_sessions", &[]) == 0.0
            && m.sum("fairlead_sessions", &[("state", "stored")]) == 1.0
            && m.sum("fairlead_ledger_records", &[]) == 0.0
    })
    .await;
    assert!(rig.clis.iter().all(|cli| deletes(cli, "kept") == 0));
}

#[tokio::test]
async fn all_sessions_of_a_listener_can_be_ephemeral() {
    let dir = Dir::new();
    let rig = clis(1)
        .top(&format!("state_dir = \"{}/state\"", dir.0.display()))
        .listener("sessions = \"ephemeral\"")
        .pool("ephemeral_grace = \"0s\"")
        .start()
        .await;
    let client = rig.client().await;
    let made = ask(&client, "session.create", json!({"model": "fake", "provider": {}})).await;
    let made = made["sessionId"].as_str().unwrap().to_owned();
    turn(&client, &made, "hello").await;
    assert!(on_disk(&rig, &made));
    client.reset().await;
    until_gone(&rig, &made).await;
}

#[tokio::test]
async fn who_comes_back_in_time_finds_it() {
    let dir = Dir::new();
    let rig = mixed(&dir, 2).start().await;
    let client = rig.client().await;
    used(&client, "tmp-1").await;
    used(&client, "tmp-2").await;
    client.reset().await;
    let client = rig.client().await;
    resume(&client, "tmp-1").await;
    // As clients do that make a conn for each request.
    create(&client, "tmp-2").await;
    a_grace_later(&rig).await;
    for session in ["tmp-1", "tmp-2"] {
        let said = turn(&client, session, "x").await;
        assert_eq!(said, "You said \"x\". I remember 1 earlier messages.");
    }
    client.close().await;
    until_gone(&rig, "tmp-1").await;
    until_gone(&rig, "tmp-2").await;
}

#[tokio::test]
async fn the_grace_begins_when_the_last_one_leaves() {
    let dir = Dir::new();
    let rig = mixed(&dir, 1).start().await;
    let client = rig.client().await;
    used(&client, "tmp-1").await;
    detach(&client, "tmp-1").await;
    client.quiet(GRACE / 4).await;
    resume(&client, "tmp-1").await;
    let last = fairlead::time::now();
    detach(&client, "tmp-1").await;
    until_gone(&rig, "tmp-1").await;
    let lived = fairlead::time::now() - last;
    assert!(lived >= GRACE, "{lived:?}");
}

#[tokio::test]
async fn it_lives_as_long_as_one_conn_has_it() {
    let dir = Dir::new();
    let rig = mixed(&dir, 1).start().await;
    let (a, b) = (rig.client().await, rig.client().await);
    used(&a, "tmp-1").await;
    resume(&b, "tmp-1").await;
    a.reset().await;
    a_grace_later(&rig).await;
    assert_eq!(turn(&b, "tmp-1", "x").await, "You said \"x\". I remember 1 earlier messages.");
    // Somebody past us, too.
    let aside = Client::connect(rig.clis[0].addr).await.unwrap();
    resume(&aside, "tmp-1").await;
    b.close().await;
    a_grace_later(&rig).await;
    assert_eq!(turn(&aside, "tmp-1", "x").await, "You said \"x\". I remember 2 earlier messages.");
    aside.close().await;
    until_gone(&rig, "tmp-1").await;
}

#[tokio::test]
async fn while_it_is_deleted_it_is_gone_and_can_be_made_anew() {
    let dir = Dir::new();
    let rig = mixed(&dir, 1).limits("lookup_timeout = \"1m\"").start().await;
    let client = rig.client().await;
    used(&client, "tmp-1").await;
    rig.clis[0].fault("sessions.delete", Fault::Held("k".into()), 1);
    detach(&client, "tmp-1").await;
    within("it is asked", rig.clis[0].until_held("k")).await;
    for method in ["session.resume", "session.getMetadata", "session.delete"] {
        let error = refused(&client, method, opened("tmp-1")).await;
        is_ours(&error, -32042, "access_denied");
    }
    let made = client.post("session.create", opened("tmp-1")).await.unwrap();
    ask(&client, "ping", json!({})).await;
    rig.clis[0].release("k");
    client.answer_to(&made).await.unwrap();
    assert_eq!(turn(&client, "tmp-1", "x").await, "You said \"x\". I remember 0 earlier messages.");
    assert_eq!(deletes(&rig.clis[0], "tmp-1"), 1);
    a_grace_later(&rig).await;
    assert_eq!(turn(&client, "tmp-1", "y").await, "You said \"y\". I remember 1 earlier messages.");
}

#[tokio::test]
async fn a_cli_that_does_not_do_it_is_asked_again() {
    let dir = Dir::new();
    let rig = mixed(&dir, 1).start().await;
    let client = rig.client().await;
    used(&client, "tmp-1").await;
    used(&client, "tmp-2").await;
    let cli = &rig.clis[0];
    cli.fault("sessions.delete", Fault::Refused(-32603, "not now".into()), 1);
    detach(&client, "tmp-1").await;
    until_gone(&rig, "tmp-1").await;
    assert_eq!(deletes(cli, "tmp-1"), 2);
    // It says that it did it, and still has it.
    let there = json!({"session": {"sessionId": "tmp-2"}}).to_string();
    cli.fault("session.getMetadata", Fault::Result(there), 1);
    detach(&client, "tmp-2").await;
    rig.until("the second is deleted", |m| evicted(m) == 2.0).await;
    assert_eq!(deletes(cli, "tmp-2"), 2);
    // One that had no message is in no list, whether it is there or not.
    create(&client, "tmp-3").await;
    cli.fault("sessions.delete", Fault::Refused(-32603, "not now".into()), 1);
    detach(&client, "tmp-3").await;
    eventually("it is asked again", async || deletes(cli, "tmp-3") == 2).await;
}

#[tokio::test]
async fn a_cli_that_is_down_meanwhile_deletes_it_when_it_is_back() {
    let dir = Dir::new();
    let mut rig = mixed(&dir, 2).health("interval = \"100ms\"").start().await;
    let client = rig.client().await;
    used(&client, "tmp-1").await;
    let home = rig.owner("tmp-1");
    client.reset().await;
    within("it is stored", rig.clis[home].until(|cli| cli.sessions().is_empty())).await;
    rig.clis[home].kill().await;
    rig.until_cli(home, "down").await;
    a_grace_later(&rig).await;
    assert!(on_disk(&rig, "tmp-1"));
    rig.restart_cli(home).await;
    until_gone(&rig, "tmp-1").await;
    // Its CLI dies under its client.
    let client = rig.client().await;
    rig.until_state("up", 2).await;
    used(&client, "tmp-2").await;
    let home = rig.owner("tmp-2");
    rig.clis[home].kill().await;
    rig.until_cli(home, "down").await;
    client.close().await;
    rig.restart_cli(home).await;
    until_gone(&rig, "tmp-2").await;
}

#[tokio::test]
async fn on_a_shared_disk_another_cli_deletes_it() {
    let dir = Dir::new();
    let rig = mixed(&dir, 2).shared_disk().health("interval = \"100ms\"").start().await;
    let client = rig.client().await;
    used(&client, "tmp-1").await;
    let home = rig.owner("tmp-1");
    client.reset().await;
    within("it is stored", rig.clis[home].until(|cli| cli.sessions().is_empty())).await;
    rig.clis[home].kill().await;
    until_gone(&rig, "tmp-1").await;
    assert_eq!(deletes(&rig.clis[1 - home], "tmp-1"), 1);
}

#[tokio::test]
async fn what_is_left_at_the_end_is_deleted_after_the_next_start() {
    let dir = Dir::new();
    let mut rig = mixed(&dir, 2).start().await;
    let client = rig.client().await;
    for session in ["tmp-1", "tmp-2", "tmp-kept", "other"] {
        used(&client, session).await;
    }
    rig.restart_gateway().await;
    assert!(on_disk(&rig, "tmp-1"), "nothing is begun at the end");
    rig.until_state("up", 2).await;
    let client = rig.client().await;
    resume(&client, "tmp-kept").await;
    until_gone(&rig, "tmp-1").await;
    until_gone(&rig, "tmp-2").await;
    a_grace_later(&rig).await;
    assert!(on_disk(&rig, "tmp-kept") && on_disk(&rig, "other"));
    client.close().await;
    until_gone(&rig, "tmp-kept").await;
    rig.until("three and the witness", |m| evicted(m) == 4.0).await;
}

#[tokio::test]
async fn a_drain_begins_no_deletion() {
    let dir = Dir::new();
    let mut rig = mixed(&dir, 1).start().await;
    let client = rig.client().await;
    used(&client, "tmp-1").await;
    used(&client, "tmp-2").await;
    rig.hold(&client, "tmp-1", "k").await;
    let other = rig.client().await;
    used(&other, "tmp-3").await;
    rig.gateway.leave(Mode::Drain);
    let create = async || client.request("session.create", opened("x")).await;
    let drains = async || create().await.is_err_and(|error| error.code == -32047);
    eventually("it drains", drains).await;
    within("who has nothing to do is let go", other.until_closed()).await.unwrap();
    // Longer than the grace, in a turn that holds the drain up.
    detach(&client, "tmp-2").await;
    client.quiet(GRACE * 3 / 2).await;
    assert!(on_disk(&rig, "tmp-2") && on_disk(&rig, "tmp-3"));
    rig.clis[0].release("k");
    within("the gateway ends", rig.gateway.ended()).await;
    assert!(on_disk(&rig, "tmp-1"));
    rig.restart_gateway().await;
    for session in ["tmp-1", "tmp-2", "tmp-3"] {
        until_gone(&rig, session).await;
    }
}

#[tokio::test]
async fn its_owner_hears_of_it_and_then_it_belongs_to_nobody() {
    let dir = Dir::new();
    tokens(&dir, &["alice", "bob"]);
    let setup = guarded(&dir, clis(1).listener("ephemeral_pattern = 'tmp-.*'"));
    let mut rig = setup.pool("ephemeral_grace = \"300ms\"").start().await;
    let (alice, bob) = (known(&rig, "alice").await, known(&rig, "bob").await);
    let other = known(&rig, "alice").await;
    used(&alice, "tmp-1").await;
    alice.reset().await;
    let deleted = |f: &Frame| {
        let params = &f.value["params"];
        (&params["type"], &params["sessionId"]) == (&json!("session.deleted"), &json!("tmp-1"))
    };
    within("she hears", other.next_frame(0, deleted)).await.unwrap();
    is_ours(&refused(&other, "session.resume", opened("tmp-1")).await, -32042, "access_denied");
    ask(&bob, "ping", json!({})).await;
    assert!(!bob.frames(0).iter().any(|f| f.value.to_string().contains("tmp-1")));
    let made = async || bob.request("session.create", opened("tmp-1")).await.is_ok();
    eventually("the name is free", made).await;
    is_ours(&refused(&other, "session.resume", opened("tmp-1")).await, -32042, "access_denied");
    // With an owner, after a restart.
    turn(&bob, "tmp-1", "x").await;
    rig.restart_gateway().await;
    until_gone(&rig, "tmp-1").await;
}

#[tokio::test]
async fn a_copy_is_of_the_class_of_what_it_is_copied_from() {
    let dir = Dir::new();
    let rig = mixed(&dir, 1).start().await;
    let client = rig.client().await;
    let mut copies = Vec::new();
    for session in ["tmp-1", "kept"] {
        used(&client, session).await;
        let copy = ask(&client, "sessions.fork", json!({"sessionId": session})).await;
        copies.push(copy["sessionId"].as_str().unwrap().to_owned());
    }
    until_gone(&rig, &copies[0]).await;
    assert!(on_disk(&rig, &copies[1]) && on_disk(&rig, "tmp-1"));
}

#[tokio::test]
async fn what_was_not_made_here_is_not_deleted() {
    let dir = Dir::new();
    tokens(&dir, &["alice"]);
    let setup = guarded(&dir, clis(1).listener("sessions = \"ephemeral\""));
    let setup = setup.pool("ephemeral_grace = \"300ms\"\nunknown_sessions = \"adopt\"");
    let rig = setup.start().await;
    let aside = Client::connect(rig.clis[0].addr).await.unwrap();
    used(&aside, "old").await;
    aside.close().await;
    let alice = known(&rig, "alice").await;
    resume(&alice, "old").await;
    used(&alice, "new").await;
    alice.close().await;
    until_gone(&rig, "new").await;
    assert!(on_disk(&rig, "old"));
    assert_eq!(deletes(&rig.clis[0], "old"), 0);
}

#[tokio::test]
async fn one_that_may_have_been_made_when_its_client_went_is_deleted() {
    let dir = Dir::new();
    let rig = with_grace(&dir, 1, "1h").start().await;
    rig.clis[0].fault("session.create", Fault::Held("k".into()), 1);
    let client = rig.client().await;
    client.post("session.create", opened("tmp-1")).await.unwrap();
    within("it is made", rig.clis[0].until_held("k")).await;
    client.reset().await;
    within("it is deleted", rig.clis[0].until_received(|f| f.method() == "sessions.delete")).await;
    let client = rig.client().await;
    create(&client, "tmp-1").await;
    // And one that its CLI refuses: the name is free.
    rig.clis[0].fault("session.create", Fault::Refused(-32603, "no model".into()), 1);
    refused(&client, "session.create", opened("tmp-2")).await;
    create(&client, "tmp-2").await;
    assert_eq!(turn(&client, "tmp-2", "x").await, "You said \"x\". I remember 0 earlier messages.");
}

#[tokio::test]
async fn a_session_that_is_made_anew_has_the_class_of_its_maker() {
    let dir = Dir::new();
    let setup = mixed(&dir, 1)
        .listener("[[listener]]\nname = \"keeps\"\nbind = \"127.0.0.1:0\"\npool = \"p\"");
    let rig = setup.start().await;
    let client = rig.client().await;
    used(&client, "tmp-1").await;
    detach(&client, "tmp-1").await;
    until_gone(&rig, "tmp-1").await;
    // Its record is there for a while yet.
    let keeps = Client::connect(rig.gateway.addresses().listeners[1]).await.unwrap();
    create(&keeps, "tmp-1").await;
    turn(&keeps, "tmp-1", "hello").await;
    keeps.close().await;
    a_grace_later(&rig).await;
    assert!(on_disk(&rig, "tmp-1"));
    let params: Value = ask(&client, "session.getMetadata", json!({"sessionId": "tmp-1"})).await;
    assert!(params.to_string().contains("tmp-1"), "{params}");
}

#[tokio::test]
async fn a_session_that_ended_is_its_clients_until_that_goes() {
    let dir = Dir::new();
    let rig = mixed(&dir, 1).start().await;
    let client = rig.client().await;
    used(&client, "tmp-1").await;
    used(&client, "tmp-2").await;
    ask(&client, "session.shutdown", json!({"sessionId": "tmp-1"})).await;
    // As a CLI does by itself, after a while.
    let aside = Client::connect(rig.clis[0].addr).await.unwrap();
    ask(&aside, "session.shutdown", json!({"sessionId": "tmp-2"})).await;
    a_grace_later(&rig).await;
    a_grace_later(&rig).await;
    for session in ["tmp-1", "tmp-2"] {
        resume(&client, session).await;
        let said = turn(&client, session, "x").await;
        assert_eq!(said, "You said \"x\". I remember 1 earlier messages.");
    }
    ask(&client, "session.shutdown", json!({"sessionId": "tmp-1"})).await;
    client.reset().await;
    until_gone(&rig, "tmp-1").await;
    until_gone(&rig, "tmp-2").await;
}
