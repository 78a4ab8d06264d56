//! Each message to where it belongs, and to nobody else.

use fairlead::testing::Fault;
use fairlead::testing::client::Client;
use serde_json::{Value, json};

use super::rig::*;

#[tokio::test]
async fn connect_and_ping_are_answered_without_a_link() {
    let setup =
        clis(2).cli(0, |c| c.version = "1.0.9".into()).cli(1, |c| c.version = "1.0.10".into());
    let rig = setup.start().await;
    let client = rig.client().await;
    let hello = ask(&client, "connect", json!({"supportedTaskKinds": ["agent"]})).await;
    assert_eq!((&hello["ok"], &hello["protocolVersion"]), (&json!(true), &json!(3)));
    assert_eq!(
        (&hello["version"], &hello["taskKinds"]),
        (&json!("1.0.9"), &json!(["agent", "shell"]))
    );
    let asked = ask(&client, "connect", json!({"supportedTaskKinds": ["client"]})).await;
    assert_eq!(asked["taskKinds"], json!(["agent", "shell", "client"]));
    assert_eq!(ask(&client, "ping", json!({"message": "m"})).await["message"], "pong: m");
    assert_eq!(ask(&client, "ping", json!({})).await["message"], "pong");
    assert!(rig.clis.iter().all(|cli| over_links(cli).is_empty()));
}

#[tokio::test]
async fn a_bad_connect_is_refused_as_a_cli_does() {
    let rig = clis(1).start().await;
    let client = rig.client().await;
    let error = refused(&client, "connect", json!({"token": "t"})).await;
    assert_eq!((error.code, error.message.as_str()), (-32003, "AUTHENTICATION_NOT_CONFIGURED"));
    for bad in [
        json!({"who": 1}),
        json!({"supportedTaskKinds": ["bogus"]}),
        json!({"clientInfo": {"bogus": "1"}}),
        json!({"enableGitHubTelemetryForwarding": 1}),
    ] {
        let direct = Client::connect(rig.clis[0].addr).await.unwrap();
        let (here, there) = (
            client.request("connect", bad.clone()).await,
            direct.request("connect", bad.clone()).await,
        );
        assert_eq!(here.map_err(|e| e.code), there.map_err(|e| e.code), "{bad}");
    }
}

#[tokio::test]
async fn what_a_client_says_of_itself_reaches_its_clis() {
    let rig = clis(1).token("t").start().await;
    let client = rig.client().await;
    let fields = json!({"clientInfo": {"editorName": "e"}, "supportedTaskKinds": ["client"],
        "enableGitHubTelemetryForwarding": true});
    ask(&client, "connect", fields).await;
    create(&client, "s").await;
    let connect = over_links(&rig.clis[0]).remove(0).params();
    let expected =
        json!({"token": "t", "clientInfo": {"editorName": "e"}, "supportedTaskKinds": ["client"]});
    assert_eq!(connect, expected);
}

#[tokio::test]
async fn a_fleet_that_never_answered_is_said_within_the_bound() {
    let setup = clis(1).limits("connect_wait = \"200ms\"");
    let mut rig = setup.start_unready().await;
    rig.clis[0].wedge();
    rig.restart_gateway().await;
    let client = rig.client().await;
    is_ours(&refused(&client, "connect", json!({})).await, -32041, "no_upstream");
    is_ours(&refused(&client, "session.create", opened("s")).await, -32041, "no_upstream");
    assert_eq!(ask(&client, "ping", json!({})).await["message"], "pong");
}

#[tokio::test]
async fn a_client_waits_for_a_fleet_as_long_as_connect_wait_says_whatever_other_waits_are() {
    let others =
        "lookup_timeout = \"50ms\"\nhandshake_timeout = \"50ms\"\nfleet_timeout = \"50ms\"\n";
    let setup = clis(1).limits(others).limits("connect_wait = \"2500ms\"");
    let mut rig = setup.start_unready().await;
    rig.clis[0].wedge();
    rig.restart_gateway().await;
    let client = rig.client().await;
    let asked = fairlead::time::now();
    let error = refused(&client, "connect", json!({})).await;
    is_ours(&error, -32041, "no_upstream");
    assert_eq!(error.message, "no CLI has answered yet");
    assert!(asked.elapsed().as_millis() >= 2500, "after {:?}", asked.elapsed());
}

#[tokio::test]
async fn a_create_without_an_id_gets_one_of_ours() {
    let rig = clis(1).start().await;
    let client = rig.client().await;
    for params in [json!({"model": "fake"}), json!({"model": "fake", "sessionId": ""}), json!({})] {
        let made = ask(&client, "session.create", params).await["sessionId"].clone();
        let made = uuid::Uuid::parse_str(made.as_str().unwrap()).unwrap();
        assert_eq!(made.get_version_num(), 4);
        assert_eq!(rig.owner(&made.to_string()), 0);
        let told = over_links(&rig.clis[0]).pop().unwrap().params();
        assert_eq!(told["sessionId"], json!(made.to_string()));
    }
    // Ids of our own making are nobody's: nothing was looked up.
    assert!(!rig.clis[0].methods().contains(&"session.getMetadata".to_owned()));
}

#[tokio::test]
async fn a_create_of_a_live_id_joins_it() {
    let rig = clis(3).start().await;
    let (a, b) = (rig.client().await, rig.client().await);
    used(&a, "s").await;
    let owner = rig.owner("s");
    create(&b, "s").await;
    assert_eq!(rig.clis[owner].attached("s").len(), 2);
    assert_eq!(forwarded(&rig.clis[owner]), ["session.create", "session.send", "session.resume"]);
    assert_eq!(turn(&b, "s", "x").await, "You said \"x\". I remember 1 earlier messages.");
}

#[tokio::test]
async fn a_create_of_a_stored_id_resumes_it() {
    let rig = clis(3).start().await;
    let a = rig.client().await;
    used(&a, "s").await;
    let owner = rig.owner("s");
    detach(&a, "s").await;
    let b = rig.client().await;
    create(&b, "s").await;
    assert_eq!(rig.owner("s"), owner);
    assert_eq!(turn(&b, "s", "x").await, "You said \"x\". I remember 1 earlier messages.");
}

#[tokio::test]
async fn a_create_of_an_id_that_was_never_sent_to_starts_it() {
    let rig = clis(2).start().await;
    let a = rig.client().await;
    create(&a, "s").await;
    detach(&a, "s").await;
    create(&a, "s").await;
    assert_eq!(turn(&a, "s", "x").await, "You said \"x\". I remember 0 earlier messages.");
}

#[tokio::test]
async fn create_existing_may_pass_or_refuse() {
    let rig = clis(2).pool("create_existing = \"pass\"").start().await;
    let a = rig.client().await;
    used(&a, "s").await;
    detach(&a, "s").await;
    create(&a, "s").await;
    assert_eq!(turn(&a, "s", "x").await, "You said \"x\". I remember 0 earlier messages.");

    let rig = clis(2).pool("create_existing = \"refuse\"").start().await;
    let a = rig.client().await;
    used(&a, "s").await;
    assert_eq!(refused(&a, "session.create", opened("s")).await.code, -32043);
    detach(&a, "s").await;
    assert_eq!(refused(&a, "session.create", opened("s")).await.code, -32043);
    resume(&a, "s").await;
    assert_eq!(turn(&a, "s", "x").await, "You said \"x\". I remember 1 earlier messages.");
}

#[tokio::test]
async fn frames_of_a_session_keep_their_order_while_it_is_sought() {
    let rig = clis(3).start().await;
    let a = rig.client().await;
    used(&a, "s").await;
    detach(&a, "s").await;
    let b = rig.client().await;
    let asked = [
        b.post("session.resume", opened("s")).await.unwrap(),
        b.post("session.mode.get", json!({"sessionId": "s"})).await.unwrap(),
        b.post("session.name.get", json!({"sessionId": "s"})).await.unwrap(),
    ];
    b.answer_to(&asked[0]).await.unwrap();
    let owner = rig.owner("s");
    let last: Vec<String> = forwarded(&rig.clis[owner]).into_iter().rev().take(3).collect();
    assert_eq!(last, ["session.name.get", "session.mode.get", "session.resume"]);
}

#[tokio::test]
async fn two_sends_run_one_after_the_other() {
    let rig = clis(2).start().await;
    let a = rig.client().await;
    create(&a, "s").await;
    let from = a.received();
    let cli = rig.hold(&a, "s", "k").await;
    for prompt in ["one", "two"] {
        let params = json!({"sessionId": "s", "prompt": prompt});
        a.post("session.send", params).await.unwrap();
    }
    within("both come", rig.clis[cli].until_received(|f| f.params()["prompt"] == "two")).await;
    rig.clis[cli].release("k");
    a.next_event(from, "session.idle").await.unwrap();
    let messages: Vec<Value> = a
        .frames(from)
        .into_iter()
        .filter(|f| f.event_type() == "user.message")
        .map(|f| f.value["params"]["event"]["data"]["content"].clone())
        .collect();
    assert_eq!(messages, ["hold k", "one", "two"]);
}

#[tokio::test]
async fn methods_go_to_the_cli_that_has_the_session() {
    let rig = clis(3).start().await;
    let client = rig.client().await;
    for session in ["a", "b", "c"] {
        create(&client, session).await;
    }
    for session in ["a", "b", "c", "a"] {
        ask(&client, "session.mode.set", json!({"sessionId": session, "mode": "plan"})).await;
        assert_eq!(ask(&client, "session.mode.get", json!({"sessionId": session})).await, "plan");
    }
    let owners: Vec<usize> = ["a", "b", "c"].iter().map(|s| rig.owner(s)).collect();
    assert_eq!(owners.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
    for (session, owner) in ["a", "b", "c"].iter().zip(owners) {
        let told = over_links(&rig.clis[owner]);
        let named = told.iter().filter(|f| f.method() != "connect");
        assert!(named.clone().all(|f| f.params()["sessionId"] == **session));
        assert!(named.count() >= 3);
    }
}

#[tokio::test]
async fn a_session_that_another_conn_has_can_be_used_without_attaching() {
    let rig = clis(3).start().await;
    let (a, b) = (rig.client().await, rig.client().await);
    create(&a, "s").await;
    assert_eq!(ask(&b, "session.mode.get", json!({"sessionId": "s"})).await, "interactive");
    assert_eq!(rig.clis[rig.owner("s")].attached("s").len(), 1);
}

#[tokio::test]
async fn what_any_cli_can_answer_is_asked_of_one_and_the_same() {
    let rig = clis(3).start().await;
    let client = rig.client().await;
    for _ in 0..3 {
        // The fake serves no models; its own words come back.
        assert_eq!(
            refused(&client, "models.list", json!({})).await.message,
            "Unhandled method models.list"
        );
    }
    let counts: Vec<usize> = rig.clis.iter().map(|cli| forwarded(cli).len()).collect();
    assert_eq!(counts.iter().sum::<usize>(), 3);
    assert!(counts.contains(&3), "{counts:?}");
}

fn ids(list: &Value) -> Vec<String> {
    let sessions = list["sessions"].as_array().unwrap().iter();
    let mut ids: Vec<String> =
        sessions.map(|s| s["sessionId"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn lists_are_joined_and_a_dead_cli_does_not_fail_them() {
    let rig = clis(3).limits("fleet_timeout = \"1s\"").start().await;
    let client = rig.client().await;
    for session in ["a", "b", "c"] {
        used(&client, session).await;
    }
    assert_eq!(ids(&ask(&client, "session.list", json!({})).await), ["a", "b", "c"]);
    let (silent, gone) = (rig.owner("a"), rig.owner("b"));
    rig.clis[silent].wedge();
    assert_eq!(ids(&ask(&client, "session.list", json!({})).await), ["b", "c"]);
    rig.clis[gone].kill().await;
    assert_eq!(ids(&ask(&client, "session.list", json!({})).await), ["c"]);
}

#[tokio::test]
async fn a_session_on_a_shared_disk_is_listed_once() {
    let rig = clis(3).shared_disk().start().await;
    let client = rig.client().await;
    for session in ["a", "b"] {
        used(&client, session).await;
    }
    assert_eq!(ids(&ask(&client, "session.list", json!({})).await), ["a", "b"]);
}

#[tokio::test]
async fn single_answers_are_made_over_the_whole_fleet() {
    let rig = clis(3).start().await;
    let client = rig.client().await;
    for session in ["a", "b", "c"] {
        used(&client, session).await;
    }
    assert_eq!(ask(&client, "session.getLastId", json!({})).await, json!({"sessionId": "c"}));
    turn(&client, "b", "again").await;
    assert_eq!(ask(&client, "session.getLastId", json!({})).await, json!({"sessionId": "b"}));
}

#[tokio::test]
async fn questions_about_many_sessions_are_split_by_owner() {
    let rig = clis(3).start().await;
    let client = rig.client().await;
    for session in ["a", "b", "c"] {
        used(&client, session).await;
    }
    ask(&client, "sessions.checkInUse", json!({"sessionIds": ["a", "c", "nobodys"]})).await;
    let error = refused(&client, "sessions.checkInUse", json!({"sessionIds": 7})).await;
    assert_eq!(error.code, -32603);
    for (session, other) in [("a", "c"), ("c", "a")] {
        let cli = &rig.clis[rig.owner(session)];
        let asked = cli.received().into_iter().filter(|f| f.method() == "sessions.checkInUse");
        let asked: Vec<Value> = asked.map(|f| f.params()["sessionIds"].clone()).collect();
        assert!(asked.iter().any(|ids| ids == &json!([session])), "{asked:?} has not {session}");
        assert!(asked.iter().all(|ids| !ids.as_array().unwrap().contains(&json!(other))));
    }
}

#[tokio::test]
async fn methods_that_concern_everybody_are_refused_and_not_forwarded() {
    let rig = clis(2).start().await;
    let client = rig.client().await;
    create(&client, "s").await;
    for method in [
        "runtime.shutdown",
        "agentRegistry.spawn",
        "llmInference.setProvider",
        "sessionFs.setProvider",
        "plugins.builtin.set",
        "sessions.pruneOld",
        "sessions.open",
        "sessions.connect",
        "account.logout",
    ] {
        let error = refused(&client, method, json!({"sessionId": "s"})).await;
        is_ours(&error, -32043, "method_denied");
        assert!(rig.clis.iter().all(|cli| !cli.methods().contains(&method.to_owned())));
    }
}

#[tokio::test]
async fn a_method_that_nobody_knows_is_answered_like_a_cli() {
    let rig = clis(1).start().await;
    let client = rig.client().await;
    let direct = Client::connect(rig.clis[0].addr).await.unwrap();
    let (here, there) = (
        refused(&client, "tool.call", json!({})).await,
        refused(&direct, "tool.call", json!({})).await,
    );
    assert_eq!((here.code, here.message), (there.code, there.message));
    create(&client, "s").await;
    let error = refused(&client, "session.invented", json!({"sessionId": "s"})).await;
    assert_eq!((error.code, error.message.as_str()), (-32601, "Unhandled method session.invented"));
}

#[tokio::test]
async fn a_session_that_nobody_has_is_refused_and_its_id_never_forwarded() {
    let rig = clis(3).start().await;
    let client = rig.client().await;
    for method in [
        "session.resume",
        "session.send",
        "session.delete",
        "session.getMessages",
        "session.mode.get",
        "session.abort",
        "session.permissions.handlePendingPermissionRequest",
    ] {
        let params = json!({"sessionId": "nobodys", "requestId": "r", "prompt": "x"});
        let error = refused(&client, method, params).await;
        is_ours(&error, -32042, "access_denied");
        assert!(error.message.contains("Session not found"), "{method}: {}", error.message);
    }
    assert!(rig.clis.iter().all(|cli| over_links(cli).is_empty()));
}

#[tokio::test]
async fn the_beginning_of_a_uuid_opens_and_deletes_nothing() {
    let rig = clis(2).start().await;
    let a = rig.client().await;
    let session = ask(&a, "session.create", json!({"provider": {}})).await["sessionId"].clone();
    let session = session.as_str().unwrap().to_owned();
    turn(&a, &session, "hi").await;
    let b = rig.client().await;
    for length in [7, 8, 12, 13, 35] {
        for method in ["session.resume", "session.delete", "session.create"] {
            let sent = forwarded(&rig.clis[0]).len() + forwarded(&rig.clis[1]).len();
            let answer = b.request(method, opened(&session[..length])).await;
            if method == "session.create" {
                // A name like any other: a session of its own.
                assert_eq!(answer.unwrap()["sessionId"], session[..length]);
                ask(&b, "session.delete", json!({"sessionId": session[..length]})).await;
            } else {
                is_ours(&answer.unwrap_err(), -32042, "access_denied");
                assert_eq!(forwarded(&rig.clis[0]).len() + forwarded(&rig.clis[1]).len(), sent);
            }
        }
    }
    assert_eq!(turn(&a, &session, "x").await, "You said \"x\". I remember 1 earlier messages.");
}

#[tokio::test]
async fn a_resume_that_is_answered_with_another_session_is_refused_and_its_link_closed() {
    let rig = clis(1).start().await;
    let a = rig.client().await;
    used(&a, "s").await;
    detach(&a, "s").await;
    rig.clis[0].fault("session.resume", Fault::OtherSession("t".into()), 1);
    let b = rig.client().await;
    let error = refused(&b, "session.resume", opened("s")).await;
    is_ours(&error, -32042, "access_denied");
    within("the link is closed", rig.clis[0].until(|cli| cli.sessions().is_empty())).await;
    let odd = [("reason", "wrong_session")];
    rig.until("it is counted", |m| m.sum("fairlead_frame_errors_total", &odd) == 1.0).await;
    resume(&b, "s").await;
}

#[tokio::test]
async fn only_who_was_asked_can_answer_a_tool_call_or_a_permission() {
    let rig = clis(1).start().await;
    let (a, b) = (rig.client().await, rig.client().await);
    let with = |session: &str| {
        json!({"sessionId": session, "provider": {}, "requestPermission": true,
            "tools": [{"name": format!("tool_{session}")}]})
    };
    ask(&a, "session.create", with("a")).await;
    ask(&b, "session.create", with("b")).await;
    let from = a.received();
    send(&a, "a", "tool tool_a {}").await;
    let asked = a.next_event(from, "permission.requested").await.unwrap();
    let permission = asked["data"]["requestId"].clone();
    let yes = |session: &str, id: &Value| json!({"sessionId": session, "requestId": id, "result": {"kind": "approve-once"}});
    let decide = "session.permissions.handlePendingPermissionRequest";
    let foreign = ask(&b, decide, yes("b", &permission)).await;
    let unknown = ask(&b, decide, yes("b", &json!("nothing"))).await;
    assert_eq!((&foreign, &unknown), (&json!({"success": false}), &json!({"success": false})));
    assert_eq!(ask(&a, decide, yes("a", &permission)).await, json!({"success": true}));
    let called = a.next_event(from, "external_tool.requested").await.unwrap();
    let call = called["data"]["requestId"].clone();
    let result = |session: &str| json!({"sessionId": session, "requestId": call, "result": "r"});
    let tool = "session.tools.handlePendingToolCall";
    assert_eq!(ask(&b, tool, result("b")).await, json!({"success": false}));
    assert!(rig.clis[0].busy("a"));
    assert_eq!(ask(&a, tool, result("a")).await, json!({"success": true}));
    a.next_event(from, "session.idle").await.unwrap();
    let answers = forwarded(&rig.clis[0]);
    assert_eq!(answers.iter().filter(|m| m.contains("handlePending")).count(), 2, "{answers:?}");
}

#[tokio::test]
async fn nobody_behind_us_gets_everybodys_telemetry() {
    let rig = clis(1).start().await;
    let client = rig.client().await;
    ask(&client, "connect", json!({"enableGitHubTelemetryForwarding": true})).await;
    for method in ["session.create", "session.resume"] {
        let mut params = opened("s");
        params["enableGitHubTelemetryForwarding"] = true.into();
        ask(&client, method, params).await;
    }
    let told = over_links(&rig.clis[0]);
    assert_eq!(told.len(), 3);
    assert!(told.iter().all(|f| !String::from_utf8_lossy(&f.raw).contains("Telemetry")));
}

#[tokio::test]
async fn a_second_session_in_a_request_is_one_that_the_conn_has() {
    let rig = clis(1).start().await;
    let (client, other) = (rig.client().await, rig.client().await);
    used(&client, "s").await;
    used(&client, "t").await;
    used(&other, "abcdef12-0000-4000-8000-000000000000").await;
    for second in ["abcdef12", "abcdef12-0000-4000-8000-000000000000", "nobody"] {
        let params =
            json!({"sessionId": "s", "mode": "plan", "inheritPlanBaseFromSessionId": second});
        let error = refused(&client, "session.mode.set", params).await;
        is_ours(&error, -32042, "access_denied");
    }
    assert!(!rig.clis[0].methods().contains(&"session.mode.set".to_owned()));
    let params = json!({"sessionId": "s", "mode": "plan", "inheritPlanBaseFromSessionId": "t"});
    // Whatever the CLI makes of it: it gets it.
    let _ = client.request("session.mode.set", params).await;
    assert!(rig.clis[0].methods().contains(&"session.mode.set".to_owned()));
}

#[tokio::test]
async fn an_answer_over_another_link_than_the_request_went_over_is_nobodys() {
    let rig = clis(2).start().await;
    let client = rig.client().await;
    used(&client, "a").await;
    used(&client, "b").await;
    let (asked, liar) = (rig.owner("a"), rig.owner("b"));
    rig.clis[asked].wedge();
    let body =
        r#"{"jsonrpc":"2.0","id":"w","method":"session.name.get","params":{"sessionId":"a"}}"#;
    client.send_body(body).await.unwrap();
    let link = rig.clis[liar].attached("b")[0];
    rig.clis[liar].say(link, r#"{"jsonrpc":"2.0","id":"w","result":{"name":"forged"}}"#);
    // What comes behind it over that link is there: it was read.
    ask(&client, "session.mode.get", json!({"sessionId": "b"})).await;
    assert!(client.frames(0).iter().all(|f| f.value["id"] != "w"));
    let late = rig.metrics().await.sum("fairlead_frame_errors_total", &[("reason", "late_reply")]);
    assert_eq!(late, 1.0);
    rig.clis[asked].unwedge();
    let answer = client.next_frame(0, |f| f.value["id"] == "w").await.unwrap();
    assert_ne!(answer.value["result"]["name"], "forged");
}
