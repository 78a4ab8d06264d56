//! How many sessions and turns there may be at once, and who is next when something ends.

use fairlead::drain::Mode;
use fairlead::testing::client::{Client, Pending};
use serde_json::{Value, json};

use super::owners::{Dir, guarded, known, tokens_of};
use super::rig::*;

fn caps(setup: Setup, keys: &str) -> Setup {
    setup.pool(&format!("[pool.caps]\n{keys}"))
}

async fn posted(client: &Client, session: &str) -> Pending {
    client.post("session.create", opened(session)).await.unwrap()
}

async fn wait_in_queue(rig: &Rig, count: usize) {
    let so = |m: &Metrics| m.sum("fairlead_queue_depth", &[]) == count as f64;
    rig.until(&format!("{count} wait"), so).await;
}

fn is_overloaded(error: &fairlead::testing::wire::RpcError) {
    is_ours(error, -32045, "overloaded");
    assert_eq!(error.data["retryable"], true);
    assert!(error.data["retry_after_ms"].is_u64(), "{error:?}");
}

/// Two conns with a session each, `a` and `b`. In `a` a turn runs, until `k` is released.
async fn one_works(rig: &Rig) -> (Client, Client) {
    let (first, second) = (rig.client().await, rig.client().await);
    create(&first, "a").await;
    create(&second, "b").await;
    rig.hold(&first, "a", "k").await;
    (first, second)
}

/// The second one asks for a turn in `b`, and waits.
async fn one_waits(rig: &Rig, second: &Client) -> Pending {
    let params = json!({"sessionId": "b", "prompt": "x"});
    let waits = second.post("session.send", params).await.unwrap();
    wait_in_queue(rig, 1).await;
    waits
}

async fn answered(client: &Client, posted: &Pending) -> Value {
    within("it is answered", client.answer_to(posted)).await.unwrap()
}

#[tokio::test]
async fn who_comes_when_all_is_full_waits_until_somebody_goes() {
    let rig = clis(2).upstreams("max_sessions = 1").start().await;
    let client = rig.client().await;
    create(&client, "a").await;
    create(&client, "b").await;
    let c = posted(&client, "c").await;
    wait_in_queue(&rig, 1).await;
    detach(&client, "b").await;
    assert_eq!(answered(&client, &c).await["sessionId"], "c");
    let metrics = rig.metrics().await;
    assert_eq!(metrics.sum("fairlead_queue_depth", &[]), 0.0);
    assert_eq!(metrics.sum("fairlead_queue_wait_seconds_count", &[]), 1.0);
    assert_eq!(metrics.sum("fairlead_upstream_sessions", &[]), 2.0);
    // A session that is only stored waits as a new one does.
    let b = client.post("session.resume", opened("b")).await.unwrap();
    wait_in_queue(&rig, 1).await;
    ask(&client, "session.delete", json!({"sessionId": "c"})).await;
    assert_eq!(rig.owner("a"), 0);
    // It was never sent to: its CLI has forgotten it.
    let error = within("it was tried", client.answer_to(&b)).await.unwrap_err();
    assert!(error.message.contains("Session not found"), "{error:?}");
    assert_eq!(rig.metrics().await.sum("fairlead_upstream_sessions", &[]), 1.0);
}

#[tokio::test]
async fn who_waited_for_too_long_is_told_so() {
    let setup = caps(clis(1), "max_sessions = 1\nqueue_timeout = \"200ms\"");
    let rig = setup.start().await;
    let client = rig.client().await;
    create(&client, "a").await;
    let (b, c) = (posted(&client, "b").await, posted(&client, "c").await);
    for waits in [&b, &c] {
        is_overloaded(&within("it is told", client.answer_to(waits)).await.unwrap_err());
    }
    wait_in_queue(&rig, 0).await;
    assert!(rig.clis[0].sessions().iter().all(|id| id == "a"));
    detach(&client, "a").await;
    create(&client, "b").await;
}

#[tokio::test]
async fn a_queue_that_is_full_turns_away_whoever_has_most_in_it() {
    let setup = caps(clis(1), "max_sessions = 1\nqueue_length = 2");
    let rig = setup.start().await;
    let client = rig.client().await;
    create(&client, "a").await;
    let (b, c) = (posted(&client, "b").await, posted(&client, "c").await);
    wait_in_queue(&rig, 2).await;
    is_overloaded(&refused(&client, "session.create", opened("d")).await);
    detach(&client, "a").await;
    answered(&client, &b).await;
    detach(&client, "b").await;
    answered(&client, &c).await;
}

#[tokio::test]
async fn each_cap_holds_by_itself_and_gauges_agree() {
    let dir = Dir::new();
    tokens_of(&dir, &[("al", "x"), ("bo", "x"), ("cy", "y"), ("di", "z")]);
    let keys = "max_sessions = 4\nmax_sessions_per_tenant = 3\nmax_sessions_per_user = 2\n\
                queue_timeout = \"0s\"";
    let rig = caps(guarded(&dir, clis(2)), keys).start().await;
    let (al, bo) = (known(&rig, "al").await, known(&rig, "bo").await);
    let (cy, di) = (known(&rig, "cy").await, known(&rig, "di").await);
    create(&al, "al-1").await;
    // Another conn of the same user.
    let again = known(&rig, "al").await;
    create(&again, "al-2").await;
    is_overloaded(&refused(&al, "session.create", opened("al-3")).await);
    create(&bo, "bo-1").await;
    is_overloaded(&refused(&bo, "session.create", opened("bo-2")).await);
    create(&cy, "cy-1").await;
    is_overloaded(&refused(&di, "session.create", opened("di-1")).await);
    assert_eq!(rig.metrics().await.sum("fairlead_sessions", &[("state", "live")]), 4.0);
    detach(&cy, "cy-1").await;
    create(&di, "di-1").await;
    // What was refused is nobody's: nothing was written of it.
    detach(&bo, "bo-1").await;
    create(&bo, "al-3").await;
}

#[tokio::test]
async fn tenants_take_turns_in_the_queue() {
    let dir = Dir::new();
    tokens_of(&dir, &[("al", "x"), ("bo", "x"), ("cy", "y")]);
    let rig = caps(guarded(&dir, clis(1)), "max_sessions = 1").start().await;
    let (al, bo, cy) = (known(&rig, "al").await, known(&rig, "bo").await, known(&rig, "cy").await);
    create(&al, "al-1").await;
    let al_2 = posted(&al, "al-2").await;
    wait_in_queue(&rig, 1).await;
    let bo_1 = posted(&bo, "bo-1").await;
    wait_in_queue(&rig, 2).await;
    let cy_1 = posted(&cy, "cy-1").await;
    wait_in_queue(&rig, 3).await;
    detach(&al, "al-1").await;
    answered(&al, &al_2).await;
    detach(&al, "al-2").await;
    // Before bo, who came earlier and is of the tenant that was served.
    answered(&cy, &cy_1).await;
    detach(&cy, "cy-1").await;
    answered(&bo, &bo_1).await;
}

#[tokio::test]
async fn who_goes_while_it_waits_leaves_nothing_behind() {
    let rig = caps(clis(1), "max_sessions = 1").start().await;
    let (first, second) = (rig.client().await, rig.client().await);
    create(&first, "a").await;
    posted(&second, "b").await;
    wait_in_queue(&rig, 1).await;
    second.reset().await;
    wait_in_queue(&rig, 0).await;
    detach(&first, "a").await;
    create(&first, "c").await;
    assert_eq!(rig.clis[0].sessions(), ["c"]);
}

#[tokio::test]
async fn a_turn_waits_until_another_ends() {
    let rig = caps(clis(1), "max_turns = 1").start().await;
    let (first, second) = one_works(&rig).await;
    let from = second.received();
    let params = json!({"sessionId": "b", "prompt": "x"});
    let waits = second.post("session.send", params).await.unwrap();
    // What comes behind it keeps its place, other sessions do not wait for it.
    let name = second.post("session.name.get", json!({"sessionId": "b"})).await.unwrap();
    wait_in_queue(&rig, 1).await;
    create(&second, "c").await;
    // What joins a turn that runs belongs to it.
    send(&first, "a", "more").await;
    let sends = |rig: &Rig| forwarded(&rig.clis[0]).iter().filter(|m| *m == "session.send").count();
    assert_eq!(sends(&rig), 2, "only those to the session that works");
    assert_eq!(rig.metrics().await.sum("fairlead_turns_active", &[]), 1.0);
    rig.clis[0].release("k");
    answered(&second, &waits).await;
    answered(&second, &name).await;
    let idle = |frame: &fairlead::testing::client::Frame| frame.event_type() == "session.idle";
    within("its turn ends", second.next_frame(from, idle)).await.unwrap();
    rig.until("no turn runs", |m| m.sum("fairlead_turns_active", &[]) == 0.0).await;
    assert!(!turn(&first, "a", "y").await.is_empty());
}

#[tokio::test]
async fn a_turn_that_waited_for_too_long_is_refused_and_holds_nothing() {
    let keys = "max_turns_per_upstream = 1\nqueue_timeout = \"200ms\"";
    let rig = caps(clis(1), keys).start().await;
    let (first, second) = one_works(&rig).await;
    let params = json!({"sessionId": "b", "prompt": "x"});
    is_overloaded(&refused(&second, "session.send", params).await);
    // Nor does one get through who is not attached.
    let params = json!({"sessionId": "b", "prompt": "x"});
    is_overloaded(&refused(&first, "session.send", params).await);
    rig.clis[0].release("k");
    rig.until("no turn runs", |m| m.sum("fairlead_turns_active", &[]) == 0.0).await;
    assert_eq!(turn(&second, "b", "x").await, "You said \"x\". I remember 0 earlier messages.");
    assert!(turn(&first, "a", "x").await.contains("You said"));
}

#[tokio::test]
async fn turns_of_a_user_and_of_a_tenant_are_counted() {
    let dir = Dir::new();
    tokens_of(&dir, &[("al", "x"), ("bo", "x"), ("cy", "y")]);
    let keys = "max_turns_per_user = 1\nmax_turns_per_tenant = 2\nqueue_timeout = \"0s\"";
    let rig = caps(guarded(&dir, clis(1)), keys).start().await;
    let (al, bo, cy) = (known(&rig, "al").await, known(&rig, "bo").await, known(&rig, "cy").await);
    for (client, sessions) in
        [(&al, ["al-1", "al-2"]), (&bo, ["bo-1", "bo-2"]), (&cy, ["cy-1", "cy-2"])]
    {
        for session in sessions {
            create(client, session).await;
        }
        rig.hold(client, sessions[0], sessions[0]).await;
        let params = json!({"sessionId": sessions[1], "prompt": "x"});
        is_overloaded(&refused(client, "session.send", params).await);
    }
    rig.clis[0].release("al-1");
    rig.until("it is over", |m| m.sum("fairlead_turns_active", &[]) == 2.0).await;
    turn(&al, "al-2", "x").await;
    let params = json!({"sessionId": "bo-2", "prompt": "x"});
    is_overloaded(&refused(&bo, "session.send", params).await);
}

#[tokio::test]
async fn a_turn_that_its_client_leaves_makes_room() {
    let rig = caps(clis(1), "max_turns = 1").start().await;
    let (first, second) = one_works(&rig).await;
    let waits = one_waits(&rig, &second).await;
    first.reset().await;
    answered(&second, &waits).await;
}

#[tokio::test]
async fn a_turn_that_waits_does_not_begin_while_fairlead_leaves() {
    let rig = caps(clis(1), "max_turns = 1").start().await;
    let (first, second) = one_works(&rig).await;
    let waits = one_waits(&rig, &second).await;
    rig.gateway.leave(Mode::Drain);
    within(
        "it has heard",
        eventually("creates are refused", async || {
            first.request("session.create", opened("c")).await.is_err_and(|e| e.code == -32047)
        }),
    )
    .await;
    rig.clis[0].release("k");
    let error = within("it is refused", second.answer_to(&waits)).await.unwrap_err();
    is_ours(&error, -32047, "draining");
    within("all ends", rig.gateway.ended()).await;
}
