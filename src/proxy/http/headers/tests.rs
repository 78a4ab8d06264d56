//! What goes on, what is written anew, and what ends here.

use super::*;

fn origin(trusted: bool) -> Origin {
    Origin::new("192.0.2.1".parse().unwrap(), 8443, true, trusted).unwrap()
}

fn with(origin: &Origin) -> Outward<'_> {
    static SPOOFABLE: [HeaderName; 1] = [HeaderName::from_static("x-user-id")];
    let believed = origin.trusted;
    Outward {
        origin,
        from: None,
        host: None,
        framing: Framing::None,
        spoofable: if believed { &[] } else { &SPOOFABLE },
        affinity: None,
        token_is_ours: false,
        upgrade: false,
        expectation_met: false,
    }
}

fn parts(fields: &[(&str, &str)]) -> request::Parts {
    let mut request = http::Request::builder().uri("http://a/p?q");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn sent(fields: &[(&str, &str)], with: &Outward<'_>) -> HeaderMap {
    request(&parts(fields), with).0.headers
}

fn all(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).iter().map(|v| v.to_str().unwrap().to_owned()).collect()
}

#[test]
fn a_token_of_ours_is_for_us_alone() {
    let origin = origin(false);
    let fields = [("authorization", "Bearer secret")];
    assert_eq!(all(&sent(&fields, &with(&origin)), "authorization"), ["Bearer secret"]);
    let ours = Outward { token_is_ours: true, ..with(&origin) };
    assert!(all(&sent(&fields, &ours), "authorization").is_empty());
}

#[test]
fn what_belongs_to_a_connection_ends_here() {
    let origin = origin(false);
    let fields = [
        ("connection", "keep-alive, X-Mine"),
        ("x-mine", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "x"),
        ("proxy-authorization", "x"),
        ("te", "trailers"),
        ("trailer", "x"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("http2-settings", "x"),
        ("accept", "a"),
        ("accept", "b"),
    ];
    let headers = sent(&fields, &with(&origin));
    assert_eq!(all(&headers, "accept"), ["a", "b"]);
    for (name, _) in fields.iter().filter(|(name, _)| *name != "accept") {
        assert!(!headers.contains_key(*name), "{name}");
    }
}

#[test]
fn a_stranger_cannot_say_where_it_comes_from_or_who_it_is() {
    let origin = origin(false);
    let fields = [
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "evil"),
        ("x-forwarded-port", "1"),
        ("x-real-ip", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("x-user-id", "root"),
    ];
    let host = HeaderValue::from_static("a");
    let headers = sent(&fields, &Outward { host: Some(&host), ..with(&origin) });
    assert_eq!(all(&headers, "x-forwarded-for"), ["192.0.2.1"]);
    assert_eq!(all(&headers, "x-forwarded-proto"), ["https"]);
    assert_eq!(all(&headers, "x-forwarded-host"), ["a"]);
    assert_eq!(all(&headers, "x-forwarded-port"), ["8443"]);
    assert_eq!(all(&headers, "x-real-ip"), ["192.0.2.1"]);
    assert_eq!(all(&headers, "forwarded"), ["for=192.0.2.1;proto=https"]);
    assert!(!headers.contains_key("x-user-id"));
    assert_eq!(all(&headers, "host"), ["a"]);
}

#[test]
fn a_trusted_proxy_is_believed_and_added_to() {
    let origin = origin(true);
    let fields = [
        ("x-forwarded-for", "203.0.113.1, 10.0.0.1"),
        ("x-forwarded-for", "10.0.0.2"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "www"),
        ("x-real-ip", "203.0.113.1"),
        ("forwarded", "for=203.0.113.1"),
        ("x-user-id", "al"),
    ];
    let headers = sent(&fields, &with(&origin));
    assert_eq!(all(&headers, "x-forwarded-for"), ["203.0.113.1, 10.0.0.1, 10.0.0.2, 192.0.2.1"]);
    assert_eq!(all(&headers, "x-forwarded-proto"), ["http"]);
    assert_eq!(all(&headers, "x-forwarded-host"), ["www"]);
    assert_eq!(all(&headers, "x-real-ip"), ["203.0.113.1"]);
    assert_eq!(all(&headers, "forwarded"), ["for=203.0.113.1, for=192.0.2.1;proto=https"]);
    assert_eq!(all(&headers, "x-user-id"), ["al"]);
}

#[test]
fn the_client_of_a_proxy_that_tells_no_real_ip_is_told() {
    let origin = origin(true);
    let of = |from: Option<&str>| {
        let from = from.map(|from| from.parse().unwrap());
        let headers = sent(&[], &Outward { from, ..with(&origin) });
        all(&headers, "x-real-ip").join(",")
    };
    assert_eq!(of(Some("203.0.113.1")), "203.0.113.1");
    assert_eq!(of(None), "", "nobody knows");
}

#[test]
fn an_ipv6_address_is_quoted_where_it_must_be() {
    let origin = Origin::new("::1".parse().unwrap(), 80, false, false).unwrap();
    let headers = sent(&[], &with(&origin));
    assert_eq!(all(&headers, "forwarded"), ["for=\"[::1]\";proto=http"]);
    assert_eq!(all(&headers, "x-real-ip"), ["::1"]);
}

#[test]
fn a_body_is_framed_in_one_way() {
    let origin = origin(false);
    let fields = [("content-length", "5"), ("transfer-encoding", "chunked")];
    let of = |framing| sent(&fields, &Outward { framing, ..with(&origin) });
    let words = |headers: &HeaderMap| {
        (all(headers, "content-length").join(","), all(headers, "transfer-encoding").join(","))
    };
    assert_eq!(words(&of(Framing::None)), (String::new(), String::new()));
    assert_eq!(words(&of(Framing::Length(7))), ("7".into(), String::new()));
    assert_eq!(words(&of(Framing::Chunks)), (String::new(), "chunked".into()));
}

#[test]
fn cookies_are_one_field_without_ours() {
    let origin = origin(false);
    let affinity = Affinity::new("stick", "p", &["q"], 60, b"k");
    let of = |fields: &[(&str, &str)], affinity| {
        all(&sent(fields, &Outward { affinity, ..with(&origin) }), "cookie")
    };
    assert_eq!(of(&[("cookie", "a=1;b=2")], None), ["a=1;b=2"]);
    assert_eq!(of(&[("cookie", "a=1"), ("cookie", "b=2")], None), ["a=1; b=2"]);
    assert_eq!(of(&[("cookie", "a=1; stick=x"), ("cookie", "b=2")], Some(&affinity)), ["a=1; b=2"]);
    assert!(of(&[("cookie", "stick=x")], Some(&affinity)).is_empty());
    assert!(of(&[("cookie", "stick=x; stick-q=y")], Some(&affinity)).is_empty());
    assert_eq!(of(&[("cookie", "a=1;b=2")], Some(&affinity)), ["a=1;b=2"]);
}

#[test]
fn a_trace_goes_on_or_begins() {
    let origin = origin(false);
    let right = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let of = |fields: &[(&str, &str)]| {
        let (to, traced) = request(&parts(fields), &with(&origin));
        assert_eq!(to.headers.get("traceparent"), traced.as_ref());
        (traced.unwrap().to_str().unwrap().to_owned(), all(&to.headers, "tracestate"))
    };
    let kept = of(&[("traceparent", right), ("tracestate", "a=1")]);
    assert_eq!(kept, (right.to_owned(), vec!["a=1".to_owned()]));
    let (made, states) = of(&[("traceparent", "nonsense"), ("tracestate", "a=1")]);
    assert!(trace::is_traceparent(made.as_bytes()) && states.is_empty());
}

#[test]
fn an_expectation_that_was_met_is_not_passed_on() {
    let origin = origin(false);
    let fields = [("expect", "100-continue")];
    assert_eq!(all(&sent(&fields, &with(&origin)), "expect"), ["100-continue"]);
    let met = Outward { expectation_met: true, ..with(&origin) };
    assert!(all(&sent(&fields, &met), "expect").is_empty());
}

#[test]
fn only_a_whole_handshake_is_one() {
    let of = |method, version, fields: &[(&str, &str)]| {
        wants_websocket(&method, version, &parts(fields).headers)
    };
    let both = [("upgrade", "WebSocket"), ("connection", "keep-alive, Upgrade")];
    assert!(of(Method::GET, Version::HTTP_11, &both));
    assert!(!of(Method::POST, Version::HTTP_11, &both));
    assert!(!of(Method::GET, Version::HTTP_10, &both));
    assert!(!of(Method::GET, Version::HTTP_11, &both[..1]));
    assert!(!of(Method::GET, Version::HTTP_11, &both[1..]));
    assert!(!of(Method::GET, Version::HTTP_11, &[("upgrade", "h2c"), both[1]]));
    let origin = origin(false);
    let headers = sent(&both, &Outward { upgrade: true, ..with(&origin) });
    assert_eq!(all(&headers, "connection"), ["Upgrade"]);
    assert_eq!(all(&headers, "upgrade"), ["websocket"]);
}

#[test]
fn an_answer_is_framed_anew_and_keeps_the_rest() {
    let from = parts(&[
        ("connection", "close, x-hop"),
        ("x-hop", "1"),
        ("transfer-encoding", "chunked"),
        ("content-length", "9"),
        ("upgrade", "x"),
        ("server", "s"),
        ("set-cookie", "a=1"),
    ]);
    let cookie = Some(HeaderValue::from_static("stick=1"));
    let to = response(StatusCode::OK, &from.headers, Framing::Length(3), cookie);
    assert_eq!(all(&to.headers, "content-length"), ["3"]);
    assert_eq!(all(&to.headers, "set-cookie"), ["a=1", "stick=1"]);
    assert_eq!(all(&to.headers, "server"), ["s"]);
    for gone in ["connection", "x-hop", "transfer-encoding", "upgrade"] {
        assert!(!to.headers.contains_key(gone), "{gone}");
    }
}

#[test]
fn the_target_goes_on_in_origin_form() {
    let origin = origin(false);
    let (to, _) = request(&parts(&[]), &with(&origin));
    assert_eq!(to.uri.to_string(), "/p?q");
}
