//! What is found in requests, and what is not.

use base64::Engine as _;
use proptest::prelude::*;

use super::json::Pointer;
use super::*;

/// A request that names nobody.
fn empty() -> Request<'static> {
    static NO_HEADERS: std::sync::LazyLock<HeaderMap> = std::sync::LazyLock::new(HeaderMap::new);
    Request { headers: &NO_HEADERS, from: None, path: "/", query: None, body: None }
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

fn rule(source: Source) -> Rule {
    Rule { source, yields: Yields::User, pattern: None, trusted: None }
}

fn user(rule: &Rule, request: Request<'_>) -> Option<String> {
    let presented = Presented { request: Some(request), peer: "10.0.0.1".parse().ok(), sni: None };
    rule.named(&presented)?.user.map(|user| user.to_string())
}

fn in_headers(source: Source, fields: &[(&'static str, &str)]) -> Option<String> {
    let headers = headers(fields);
    let request = Request { headers: &headers, from: None, path: "/", query: None, body: None };
    user(&rule(source), request)
}

fn header() -> Source {
    Source::Header(HeaderName::from_static("x-user-id"))
}

#[test]
fn a_header_names_whom_it_says_and_two_that_differ_name_nobody() {
    let found = |fields: &[_]| in_headers(header(), fields);
    assert_eq!(found(&[("x-user-id", " alice ")]), Some("alice".into()));
    assert_eq!(found(&[("x-user-id", "alice"), ("x-user-id", "alice")]), Some("alice".into()));
    assert_eq!(found(&[("x-user-id", "alice"), ("x-user-id", "bob")]), None);
    assert_eq!(found(&[("x-user-id", "")]), None);
    assert_eq!(found(&[("x-user", "alice")]), None);
    assert_eq!(found(&[("x-user-id", &"a".repeat(257))]), None, "too long for a name");
}

#[test]
fn a_cookie_is_found_among_others_in_one_field_or_in_several() {
    let found = |fields: &[_]| in_headers(Source::Cookie("sid".into()), fields);
    assert_eq!(found(&[("cookie", "a=1; sid=alice; b=2")]), Some("alice".into()));
    assert_eq!(found(&[("cookie", "a=1"), ("cookie", "sid=\"alice\"")]), Some("alice".into()));
    assert_eq!(found(&[("cookie", "xsid=alice; sid2=bob; sid")]), None);
    assert_eq!(found(&[("cookie", "sid=alice; sid=bob")]), None);
    assert_eq!(found(&[("cookie", "sid=alice=1")]), Some("alice=1".into()));
}

#[test]
fn a_parameter_is_decoded_as_forms_are() {
    let found = |query| {
        let request = Request { query: Some(query), ..empty() };
        user(&rule(Source::Query("user".into())), request)
    };
    assert_eq!(found("a=1&user=al%2Bice+b&c"), Some("al+ice b".into()));
    assert_eq!(found("%75ser=alice"), Some("alice".into()));
    assert_eq!(found("user=alice&user=bob"), None);
    assert_eq!(found("user=alice&user=%61lice"), Some("alice".into()));
    assert_eq!(found("user=%ff"), None, "no text");
    assert_eq!(found("user=%0a"), None, "a line break is no name");
    assert_eq!(found("user"), None);
}

#[test]
fn a_segment_is_counted_from_one() {
    let found = |path, segment| user(&rule(Source::Path(segment)), Request { path, ..empty() });
    assert_eq!(found("/v1/users/al%20ice/chat", 3), Some("al ice".into()));
    assert_eq!(found("/v1", 1), Some("v1".into()));
    assert_eq!(found("/v1//x", 2), None);
    assert_eq!((found("/v1", 2), found("/v1", 0), found("*", 1)), (None, None, None));
}

#[test]
fn basic_names_its_user() {
    let basic = |text: &str| {
        let encoded = base64::engine::general_purpose::STANDARD.encode(text);
        in_headers(Source::Basic, &[("authorization", &format!("bAsIc  {encoded}"))])
    };
    assert_eq!(basic("alice:pass:word"), Some("alice".into()));
    assert_eq!(basic(":password"), None);
    assert_eq!(basic("alice"), None);
    assert_eq!(in_headers(Source::Basic, &[("authorization", "Bearer YWxpY2U6")]), None);
    assert_eq!(in_headers(Source::Basic, &[("authorization", "Basic !")]), None);
}

fn at(pointer: &str, bytes: &str, whole: bool) -> Option<String> {
    let body = Body { bytes: bytes.as_bytes(), whole };
    Pointer::new(pointer).unwrap().find(body).map(Cow::into_owned)
}

#[test]
fn a_field_is_found_by_its_pointer() {
    let body = r#" {"a":[1,{"b/~":"x"}],"params":{"sessionId":"s-\u0031"},"n":-15,"t":true} "#;
    assert_eq!(at("/params/sessionId", body, true), Some("s-1".into()));
    assert_eq!(at("/a/1/b~1~0", body, true), Some("x".into()));
    assert_eq!(at("/a/0", body, true), Some("1".into()));
    assert_eq!(at("/n", body, true), Some("-15".into()));
    for absent in ["/a/01", "/a/2", "/a/-", "/t", "/params", "/sessionId", "/n/x"] {
        assert_eq!(at(absent, body, true), None, "{absent}");
    }
    assert_eq!(at("/", r#"{"":"x"}"#, true), Some("x".into()));
    assert_eq!(at("/é", r#"{"\u00e9":"x"}"#, true), Some("x".into()));
}

#[test]
fn what_two_readers_would_read_in_two_ways_names_nobody() {
    for body in [
        r#"{"id":"a","id":"b"}"#,
        r#"{"id":"a","i\u0064":"b"}"#,
        r#"{"id":{"x":1},"id":"b"}"#,
        r#"{"id":"a"} {"id":"b"}"#,
        r#"{"id":"a",}"#,
        r#"{"id":"a"} //"#,
        r#"{"id":"a""#,
        r#"['id']"#,
        "",
    ] {
        assert_eq!(at("/id", body, true), None, "{body}");
    }
    let bad = Body { bytes: b"{\"id\":\"a\",\"x\":\"\xff\"}", whole: true };
    assert_eq!(Pointer::new("/id").unwrap().find(bad), None, "no UTF-8");
}

#[test]
fn of_a_beginning_only_what_stands_there_whole_counts() {
    let whole = r#"{"x":[1,2],"id":"alice","n":123,"y":"#;
    for end in 0..whole.len() {
        let found = at("/id", &whole[..end], false);
        assert_eq!(found.is_some(), end >= whole.find(",\"n\"").unwrap(), "{end}");
        assert!(found.is_none_or(|found| found == "alice"));
        let number = at("/n", &whole[..end], false);
        assert!(number.is_none_or(|number| number == "123"), "{end}");
    }
}

#[test]
fn pointers_that_are_none_are_refused() {
    for text in ["", "a", "/~", "/~2", "/a~", "/é~é"] {
        assert!(Pointer::new(text).is_err(), "{text}");
    }
    assert!(Pointer::new(&"/a".repeat(17)).is_err());
    assert_eq!(Pointer::new("/a~1b/0").unwrap().to_string(), "/a~1b/0");
}

#[test]
fn a_session_may_name_its_user_by_a_pattern() {
    let pattern = Pattern::new("user-(?<user>.+)-[^-]+").unwrap();
    let source = Source::Json(Pointer::new("/sessionId").unwrap());
    let rule = Rule { yields: Yields::Session, pattern: Some(pattern), ..rule(source) };
    let named = |body: &str| {
        let body = Some(Body { bytes: body.as_bytes(), whole: true });
        let presented =
            Presented { request: Some(Request { body, ..empty() }), ..Presented::default() };
        rule.named(&presented)
    };
    let alice =
        Named { tenant: None, user: Some("alice".into()), session: Some("user-alice-chat".into()) };
    assert_eq!(named(r#"{"sessionId":"user-alice-chat"}"#), Some(alice));
    let other = Named { session: Some("other".into()), ..Named::default() };
    assert_eq!(named(r#"{"sessionId":"other"}"#), Some(other));
}

#[test]
fn only_a_trusted_proxy_proves_anything_and_nobody_else_is_heard() {
    let trusted = Rule { trusted: Some(vec!["10.0.0.0/8".parse().unwrap()]), ..rule(header()) };
    let fields = headers(&[("x-user-id", "alice")]);
    let from = |peer: &str| Presented {
        request: Some(Request { headers: &fields, ..empty() }),
        peer: peer.parse().ok(),
        sni: None,
    };
    let claim = trusted.claim(&from("10.1.1.1")).unwrap();
    assert_eq!((claim.user.as_deref(), claim.proof), (Some("alice"), Proof::Header));
    for stranger in ["192.0.2.1", "not known"] {
        assert_eq!(trusted.claim(&from(stranger)), None);
        assert_eq!(trusted.named(&from(stranger)), None, "nor is it heard");
    }
    let anybody = rule(header());
    assert_eq!(anybody.claim(&from("10.1.1.1")), None, "it sorts, and proves nothing");
    assert!(anybody.named(&from("10.1.1.1")).is_some());
}

#[test]
fn an_address_is_the_same_in_both_its_forms() {
    let named = |peer: &str| {
        let presented = Presented { peer: peer.parse().ok(), ..Presented::default() };
        rule(Source::Address).named(&presented).and_then(|named| named.user)
    };
    assert_eq!(named("::ffff:10.0.0.1").as_deref(), Some("10.0.0.1"));
    assert_eq!(named("not known"), None);
}

#[test]
fn a_name_that_is_asked_for_in_tls_sorts_and_proves_nothing() {
    let presented = Presented { sni: Some("acme.example.com"), ..Presented::default() };
    let user = |rule: Rule| rule.named(&presented).and_then(|named| named.user);
    assert_eq!(user(rule(Source::Sni)).as_deref(), Some("acme.example.com"));
    let pattern = Some(Pattern::new(r"^(?<user>[a-z]+)\.example\.com$").unwrap());
    assert_eq!(user(Rule { pattern, ..rule(Source::Sni) }).as_deref(), Some("acme"));
    assert_eq!(rule(Source::Sni).claim(&presented), None);
    assert_eq!(rule(Source::Sni).named(&Presented::default()), None);
}

#[test]
fn a_tenant_is_taken_with_its_user() {
    let named = |tenant: Option<&str>, user: Option<&str>| Named {
        tenant: tenant.map(Into::into),
        user: user.map(Into::into),
        session: None,
    };
    let alice = named(None, Some("alice"));
    assert_eq!(alice.clone().or(named(Some("acme"), Some("bob"))), alice);
    assert_eq!(Named::default().or(alice.clone()), alice);
}

fn values() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z\"\\\\/~é\n]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[ab/~0\"]{0,2}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_pointer_finds_what_serde_json_finds(
        value in values(),
        steps in prop::collection::vec("(0|1|[ab/~]{1,2})", 1..4),
        pretty in any::<bool>(),
    ) {
        let escaped = |step: &String| step.replace('~', "~0").replace('/', "~1");
        let pointer: String = steps.iter().map(|s| format!("/{}", escaped(s))).collect();
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let expected = match value.pointer(&pointer) {
            Some(serde_json::Value::String(text)) => Some(text.clone()),
            Some(serde_json::Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        prop_assert_eq!(at(&pointer, &text.unwrap(), true), expected);
    }

    #[test]
    fn no_bytes_make_it_fall(bytes in prop::collection::vec(any::<u8>(), 0..64), whole in any::<bool>()) {
        let pointer = Pointer::new("/a/0/b").unwrap();
        pointer.find(Body { bytes: &bytes, whole });
    }
}
