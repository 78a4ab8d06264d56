use proptest::prelude::*;

use super::*;

/// As a CLI gives it (1.0.102), with a member that fairlead does not know.
fn record(id: &str, modified: &str, context: &str) -> String {
    format!(
        r#"{{"sessionId":"{id}","startTime":"2026-11-21T10:43:30.181Z","modifiedTime":"{modified}","isRemote":false,"isDetached":false,"summary":"hello from \"{id}\"","new":[1.50],"context":{context}}}"#
    )
}

fn at(id: &str, second: u32) -> String {
    record(id, &format!("2026-11-21T10:43:{second:02}.336Z"), r#"{"cwd":"/w"}"#)
}

fn list(records: &[String]) -> String {
    format!(r#"{{"sessions":{}}}"#, array(records.iter().map(String::as_str)))
}

fn all(_: &str) -> bool {
    true
}

fn ids(result: &str) -> Vec<String> {
    records(result).unwrap().iter().map(|record| record.head.session_id.to_string()).collect()
}

#[test]
fn lists_are_one_list_with_the_newest_first_and_each_session_once() {
    let one = list(&[at("a", 50), at("both", 40), at("c", 10)]);
    let two = list(&[at("b", 45), at("both", 30), at("d", 5)]);
    let joined = Merge::Sessions.join(None, &[&[&one], &[&two]], &all).unwrap();
    let expected = list(&[at("a", 50), at("b", 45), at("both", 40), at("c", 10), at("d", 5)]);
    assert_eq!(joined, expected);
}

#[test]
fn a_list_holds_only_what_the_caller_may_see() {
    let one = list(&[at("mine", 50), at("theirs", 40)]);
    let joined = Merge::Sessions.join(None, &[&[&one]], &|id| id == "mine").unwrap();
    assert_eq!(joined, list(&[at("mine", 50)]));
}

#[test]
fn no_cli_at_all_is_an_empty_list() {
    assert_eq!(Merge::Sessions.join(None, &[], &all).unwrap(), r#"{"sessions":[]}"#);
    assert_eq!(Merge::Sizes.join(None, &[], &all).unwrap(), r#"{"sizes":{}}"#);
    assert_eq!(Merge::NonEmptyIds.join(None, &[], &all).unwrap(), r#"{"sessionIds":[]}"#);
    assert_eq!(
        Merge::RemoteControl.join(None, &[], &all).unwrap(),
        r#"{"status":{"state":"off"}}"#
    );
}

#[test]
fn the_cli_that_talks_nonsense_is_named() {
    let fine = list(&[at("a", 1)]);
    let said: [Said<'_>; 3] = [&[&fine], &["{}"], &[&fine]];
    assert_eq!(Merge::Sessions.join(None, &said, &all), Err(Wrong::Answer(1)));
    let said: [Said<'_>; 2] = [&[&fine], &[]];
    assert_eq!(Single::LastId.join(None, &said, &all), Err(Wrong::Answer(1)));
}

#[test]
fn a_list_is_asked_for_in_the_clients_words() {
    let params = r#"{"filter":{"cwd":"/w"}}"#;
    assert_eq!(
        Merge::Sessions.asks("sessions.list", Some(params)),
        [Ask::new("sessions.list", params)]
    );
    assert_eq!(Merge::Sessions.asks("session.list", None), [Ask::new("session.list", "{}")]);
}

#[test]
fn ids_come_by_the_time_of_their_records_and_as_many_as_asked() {
    let said: [Said<'_>; 2] = [
        &[r#"{"sessionIds":["a","both","theirs"]}"#, &list(&[at("a", 50), at("both", 40)])],
        &[r#"{"sessionIds":["b","both"]}"#, &list(&[at("b", 45), at("both", 40)])],
    ];
    let join = |params| Merge::NonEmptyIds.join(params, &said, &|id| id != "theirs").unwrap();
    assert_eq!(join(None), r#"{"sessionIds":["a","b"]}"#);
    assert_eq!(join(Some(r#"{"limit":-1}"#)), r#"{"sessionIds":["a","b"]}"#);
    assert_eq!(join(Some(r#"{"limit":0}"#)), r#"{"sessionIds":[]}"#);
    assert_eq!(join(Some(r#"{"limit":9}"#)), r#"{"sessionIds":["a","b","both"]}"#);
}

#[test]
fn sizes_are_joined_by_id_and_filtered() {
    let said: [Said<'_>; 2] = [
        &[r#"{"sizes":{"user-d":27128,"theirs":1,"both":7}}"#],
        &[r#"{"sizes":{"both":8,"e":0}}"#],
    ];
    assert_eq!(
        Merge::Sizes.join(None, &said, &|id| id != "theirs").unwrap(),
        r#"{"sizes":{"user-d":27128,"both":7,"e":0}}"#
    );
}

#[test]
fn a_remote_control_of_somebody_else_is_off() {
    let off = r#"{"status":{"state":"off"}}"#;
    let failed = r#"{"status":{"state":"error","error":"no","attachedSessionId":"mine"}}"#;
    let mine = r#"{"status":{"state":"active","attachedSessionId":"mine","isSteerable":true}}"#;
    let theirs = r#"{"status":{"state":"active","attachedSessionId":"theirs","isSteerable":true}}"#;
    let nobodys = r#"{"status":{"state":"error","error":"Remote session has no token"}}"#;
    let join =
        |said: &[Said<'_>]| Merge::RemoteControl.join(None, said, &|id| id == "mine").unwrap();
    assert_eq!(join(&[&[off]]), off);
    assert_eq!(join(&[&[theirs], &[nobodys]]), off);
    assert_eq!(join(&[&[theirs], &[failed], &[off], &[mine]]), mine);
}

#[test]
fn the_last_session_is_the_callers_last() {
    let one = list(&[at("theirs", 50), at("old", 10)]);
    let two = list(&[at("new", 20)]);
    let said: [Said<'_>; 2] = [&[&one], &[&two]];
    let last = |sees: Sees<'_>| Single::LastId.join(None, &said, sees).unwrap();
    assert_eq!(last(&|id| id != "theirs"), r#"{"sessionId":"new"}"#);
    assert_eq!(last(&|_| false), "{}");
}

/// Found by asking a CLI about sessions in two clones of one repository.
#[test]
fn the_context_decides_in_the_steps_of_a_cli() {
    let git = |cwd: &str, root: &str, branch: &str| {
        format!(r#"{{"cwd":"{cwd}","gitRoot":"{root}","repository":"o/r","branch":"{branch}"}}"#)
    };
    let modified = "2026-11-21T10:50:54.424Z";
    let one = list(&[
        record("scratch", modified, r#"{"cwd":"/scratch"}"#),
        record("plain", modified, r#"{"cwd":"/plain"}"#),
        record("sub", modified, &git("/r1/sub", "/r1", "main")),
        record("r1b", modified, &git("/r1b", "/r1b", "feat")),
        record("r1", modified, &git("/r1", "/r1", "main")),
    ]);
    for (context, id) in [
        (r#"null"#, "scratch"),
        (r#"{"cwd":"/plain"}"#, "plain"),
        (r#"{"cwd":"/plain/"}"#, "scratch"),
        (r#"{"cwd":"/r1"}"#, "r1"),
        (r#"{"cwd":"/r1","gitRoot":"/r1"}"#, "sub"),
        (r#"{"cwd":"/r1/sub","gitRoot":"/r1b"}"#, "r1b"),
        (r#"{"cwd":"/plain","repository":"o/r"}"#, "sub"),
        (r#"{"cwd":"/zz","gitRoot":"/r1b","repository":"o/r"}"#, "sub"),
        (r#"{"cwd":"/zz","repository":"o/r","branch":"feat"}"#, "r1b"),
        (r#"{"cwd":"/zz","gitRoot":"/r1","repository":"o/r","branch":"zz"}"#, "sub"),
        (r#"{"cwd":"/zz","branch":"main"}"#, "scratch"),
        (r#"{"cwd":"/zz","repository":"O/R"}"#, "scratch"),
        (r#"{"cwd":"/plain","gitRoot":"","repository":""}"#, "plain"),
    ] {
        let params = format!(r#"{{"context":{context}}}"#);
        let found = Single::LastForContext.join(Some(&params), &[&[&one]], &all).unwrap();
        assert_eq!(found, format!(r#"{{"sessionId":"{id}"}}"#), "{context}");
    }
}

#[test]
fn a_prefix_finds_a_uuid_that_it_alone_names() {
    let (one, two) =
        ("33333333-1111-4111-8111-111111111111", "33333333-1111-4111-8111-111111111112");
    let other = "44444444-1111-4111-8111-aabbccddeeff";
    let said = list(&[at(one, 9), at(two, 8), at(other, 7), at("user-alice-chat", 6)]);
    let find = |prefix: &str, sees: Sees<'_>| {
        let params = format!(r#"{{"prefix":"{prefix}"}}"#);
        Single::ByPrefix.join(Some(&params), &[&[&said]], sees).unwrap()
    };
    let found = format!(r#"{{"sessionId":"{other}"}}"#);
    for prefix in ["4444444", "44444444-", "44444444-1111-4111-8111-AABB", &other[..35]] {
        assert_eq!(find(prefix, &all), found, "{prefix}");
    }
    for prefix in ["", "444444", "444444441", other, "3333333", "user-alice", "zzzzzzz", "é333333"]
    {
        assert_eq!(find(prefix, &all), "{}", "{prefix}");
    }
    assert_eq!(find("3333333", &|id| id != two), format!(r#"{{"sessionId":"{one}"}}"#));
    assert_eq!(find("4444444", &|_| false), "{}");
}

#[test]
fn a_task_finds_the_session_bound_to_it() {
    let said = r#"{"sessions":[{"sessionId":"a"},{"sessionId":"b","mcTaskId":"t-1"}]}"#;
    let find = |sees: Sees<'_>| {
        Single::ByTaskId.join(Some(r#"{"taskId":"t-1"}"#), &[&[said]], sees).unwrap()
    };
    assert_eq!(find(&all), r#"{"sessionId":"b"}"#);
    assert_eq!(find(&|id| id == "a"), "{}");
}

#[test]
fn wrong_params_are_refused_in_the_words_of_a_cli_before_anybody_is_asked() {
    for (single, params, why) in [
        (Single::ByPrefix, None, "missing or non-string parameter 'prefix'"),
        (Single::ByPrefix, Some(r#"{"prefix":5}"#), "missing or non-string parameter 'prefix'"),
        (Single::ByTaskId, Some("{}"), "missing or non-string parameter 'taskId'"),
        (Single::LastForContext, Some(r#"{"context":5}"#), "missing or non-string parameter 'cwd'"),
        (
            Single::LastForContext,
            Some(r#"{"context":{}}"#),
            "missing or non-string parameter 'cwd'",
        ),
    ] {
        assert_eq!(single.asks(params), Err(Wrong::Params(why.to_owned())), "{params:?}");
    }
    for (scatter, params, why) in [
        (Scatter::InUse, "{}", "missing or non-array parameter 'sessionIds'"),
        (Scatter::Enrich, r#"{"sessions":"a"}"#, "missing or non-array parameter 'sessions'"),
        (Scatter::Enrich, r#"{"sessions":[5]}"#, "session metadata entry must be an object"),
        (Scatter::Enrich, r#"{"sessions":[{}]}"#, "Invalid sessionId: undefined"),
        (Scatter::BulkDelete, r#"{"sessionIds":["b a d"]}"#, "Invalid sessionId: \"b a d\""),
        (Scatter::BulkDelete, r#"{"sessionIds":["a",null]}"#, "Invalid sessionId: null"),
        (Scatter::ClientMetadata, r#"{"sessionIds":[""]}"#, "Invalid sessionId: \"\""),
        (Scatter::InUse, r#"{"sessionIds":["é\n"]}"#, "Invalid sessionId: \"é\\n\""),
    ] {
        let wrong = scatter.split("m", Some(params), &|_| Some(0)).map(|_| ()).unwrap_err();
        assert_eq!(wrong, Wrong::Params(why.to_owned()), "{params}");
        let error: serde_json::Value = serde_json::from_str(&wrong.to_error("m").unwrap()).unwrap();
        assert_eq!(error["message"], format!("Request m failed with message: {why}"));
    }
}

/// Sessions that start with `x` are on CLI 'x', those with `y` on 'y', all others are nobody's.
fn owner(id: &str) -> Option<char> {
    id.chars().next().filter(|first| "xy".contains(*first))
}

fn split(scatter: Scatter, params: &str) -> Split<'_, char> {
    scatter.split("m", Some(params), &owner).unwrap()
}

fn asked(split: &Split<'_, char>) -> Vec<(char, String)> {
    split.parts().iter().map(|part| (part.owner, part.ask.params.clone())).collect()
}

#[test]
fn client_metadata_comes_in_the_order_of_the_request() {
    let ids = r#"{"sessionIds":["y1","nope","x1","y2","y1"],"keys":["k"]}"#;
    let split = split(Scatter::ClientMetadata, ids);
    assert_eq!(
        asked(&split),
        [
            ('y', r#"{"sessionIds":["y1","y2","y1"],"keys":["k"]}"#.to_owned()),
            ('x', r#"{"sessionIds":["x1"],"keys":["k"]}"#.to_owned())
        ]
    );
    let y = r#"[{"sessionId":"y1","status":"ok","metadata":{"k":"v"}},{"sessionId":"y2","status":"notFound"},{"sessionId":"y1","status":"ok","metadata":{"k":"v"}}]"#;
    assert_eq!(
        split.join(&[Some(y), None]).unwrap(),
        r#"[{"sessionId":"y1","status":"ok","metadata":{"k":"v"}},{"sessionId":"nope","status":"notFound"},{"sessionId":"x1","status":"unavailable","code":"upstream_lost","message":"the CLI of this session did not answer"},{"sessionId":"y2","status":"notFound"},{"sessionId":"y1","status":"ok","metadata":{"k":"v"}}]"#
    );
    assert_eq!(split.join(&[None, Some("[]")]), Err(Wrong::Answer(1)));
}

#[test]
fn in_use_keeps_the_order_and_the_doubles_of_the_request() {
    let split = split(Scatter::InUse, r#"{"sessionIds":["x1","nope","y1","x2","x1"]}"#);
    let said = [Some(r#"{"inUse":["x1","x1"]}"#), Some(r#"{"inUse":["y1"]}"#)];
    assert_eq!(split.join(&said).unwrap(), r#"{"inUse":["x1","y1","x1"]}"#);
    let said = [Some(r#"{"inUse":[]}"#), None];
    assert_eq!(split.join(&said).unwrap(), r#"{"inUse":["y1"]}"#);
}

#[test]
fn records_that_nobody_owns_come_back_as_from_a_cli_that_does_not_know_them() {
    let params = r#"{"sessions":[{"zzz":1,"sessionId":"nope"},{"sessionId":"x1"},{"sessionId":"no","isDetached":true}]}"#;
    let split = split(Scatter::Enrich, params);
    assert_eq!(asked(&split), [('x', r#"{"sessions":[{"sessionId":"x1"}]}"#.to_owned())]);
    let said = r#"{"sessions":[{"sessionId":"x1","summary":"hello","isDetached":false}]}"#;
    assert_eq!(
        split.join(&[Some(said)]).unwrap(),
        r#"{"sessions":[{"zzz":1,"sessionId":"nope","isDetached":false},{"sessionId":"x1","summary":"hello","isDetached":false},{"sessionId":"no","isDetached":true}]}"#
    );
}

#[test]
fn freed_bytes_are_of_each_id_once_and_nobody_is_asked_to_delete_a_foreign_one() {
    let split = split(Scatter::BulkDelete, r#"{"sessionIds":["x1","theirs","y1","x1","x2"]}"#);
    assert!(asked(&split).iter().all(|(_, params)| !params.contains("theirs")));
    let said = [Some(r#"{"freedBytes":{"x1":10,"x2":0}}"#), None];
    assert_eq!(split.join(&said).unwrap(), r#"{"freedBytes":{"x1":10,"theirs":0,"x2":0}}"#);
}

#[test]
fn no_ids_ask_nobody() {
    for (scatter, params, result) in [
        (Scatter::ClientMetadata, r#"{"sessionIds":[]}"#, "[]"),
        (Scatter::InUse, r#"{"sessionIds":[]}"#, r#"{"inUse":[]}"#),
        (Scatter::Enrich, r#"{"sessions":[]}"#, r#"{"sessions":[]}"#),
        (Scatter::BulkDelete, r#"{"sessionIds":[]}"#, r#"{"freedBytes":{}}"#),
    ] {
        let split = split(scatter, params);
        assert!(split.parts().is_empty());
        assert_eq!(split.join(&[]).unwrap(), result);
    }
}

proptest! {
    #[test]
    fn joining_one_list_changes_no_byte(
        seconds in proptest::collection::btree_map("[a-z0-9_-]{1,9}", 0u32..60, 0..12),
    ) {
        // Not sorted by time, on purpose: the order of one CLI is never touched.
        let text = list(&seconds.iter().map(|(id, second)| at(id, *second)).collect::<Vec<_>>());
        prop_assert_eq!(Merge::Sessions.join(None, &[&[&text]], &all).unwrap(), text.as_str());

        let ids: Vec<&str> = seconds.keys().map(String::as_str).collect();
        let non_empty = format!(r#"{{"sessionIds":{}}}"#, serde_json::to_string(&ids).unwrap());
        let said: [Said<'_>; 1] = [&[&non_empty, &text]];
        let joined = Merge::NonEmptyIds.join(Some(r#"{"limit":99}"#), &said, &all).unwrap();
        prop_assert_eq!(joined, non_empty);

        let sizes = format!(r#"{{"sizes":{}}}"#, serde_json::to_string(&seconds).unwrap());
        prop_assert_eq!(Merge::Sizes.join(None, &[&[&sizes]], &all).unwrap(), sizes);
    }

    #[test]
    fn joined_lists_hold_each_visible_session_once(
        placed in proptest::collection::vec(("[a-f]", 0usize..3, 0u32..60), 0..20),
    ) {
        let mut lists = [Vec::new(), Vec::new(), Vec::new()];
        for (id, cli, second) in &placed {
            lists[*cli].push(at(id, *second));
        }
        let texts = lists.map(|records| list(&records));
        let said: Vec<[&str; 1]> = texts.iter().map(|text| [text.as_str()]).collect();
        let said: Vec<Said<'_>> = said.iter().map(<[_; 1]>::as_slice).collect();
        let joined = Merge::Sessions.join(None, &said, &|id| id != "c").unwrap();
        let mut got = ids(&joined);
        got.sort();
        let mut expected: Vec<_> =
            placed.into_iter().map(|(id, ..)| id).filter(|id| id != "c").collect();
        expected.sort();
        expected.dedup();
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn scattered_to_one_cli_and_joined_changes_no_byte(
        ids in proptest::collection::vec("x[a-z0-9_-]{0,5}", 1..9),
    ) {
        let params = format!(r#"{{"sessionIds":{}}}"#, serde_json::to_string(&ids).unwrap());
        let split = split(Scatter::ClientMetadata, &params);
        prop_assert_eq!(asked(&split), [('x', params.clone())]);
        let entry = |id: &String| format!(r#"{{"sessionId":"{id}","status":"ok","metadata":{{}}}}"#);
        let said = array(ids.iter().map(entry).collect::<Vec<_>>().iter().map(String::as_str));
        prop_assert_eq!(split.join(&[Some(&said)]).unwrap(), said);
    }
}
