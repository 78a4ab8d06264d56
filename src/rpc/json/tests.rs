//! What is taken, skipped and refused, compared with `serde_json`.

use super::*;
use proptest::prelude::*;

fn accepts(text: &[u8]) -> Result<Span, JsonError> {
    let mut scan = Scanner::new(text);
    let span = scan.value(MAX_DEPTH)?;
    scan.end()?;
    if scan.flaw().is_some() { Err(JsonError::Syntax(0)) } else { Ok(span) }
}

#[test]
fn what_is_wrong_within_a_text_or_number_ends_nothing() {
    for text in [
        "\"\u{1}\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\"\\ud800\\\"\"",
        "\"\\ud800\\ud800\\udc00\"",
        "1e999",
        "-1e999",
        "NaN",
        "-Infinity",
    ] {
        let all = format!("[{text},{{\"a\":1}}]");
        let mut scan = Scanner::new(all.as_bytes());
        assert_eq!(scan.value(MAX_DEPTH), Ok(Span { start: 0, end: all.len() }), "{text}");
        assert!(scan.flaw().is_some(), "{text}");
    }
    assert!(Scanner::new(b"\"\\").string().is_err());
    assert!(Scanner::new(b"Nope").value(1).is_err());
}

#[test]
fn plain_json_is_taken_whole() {
    let text = br#" {"a":[1,-2.5e+3,{"b":"c\n\u00e9\ud83d\ude00"}],"d":null,"e":[],"f":{}} "#;
    assert_eq!(accepts(text), Ok(Span { start: 1, end: text.len() - 1 }));
}

#[test]
fn what_is_not_json_is_refused() {
    for text in [
        "",
        "{",
        "[1,]",
        "{\"a\":1,}",
        "01",
        "1.",
        ".5",
        "+1",
        "nul",
        "\"a",
        "\"\u{1}\"",
        "\"\\x\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "1e999",
        "{\"a\" 1}",
        "{1:2}",
        "[1}",
        "{\"a\":1]",
        "1 2",
    ] {
        assert!(accepts(text.as_bytes()).is_err(), "{text:?}");
    }
}

#[test]
fn sixty_four_levels_pass_and_one_more_does_not() {
    let nest = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert!(accepts(nest(64).as_bytes()).is_ok());
    assert_eq!(accepts(nest(65).as_bytes()), Err(JsonError::TooDeep));
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(|f| serde_json::json!(f)),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::hash_map(any::<String>(), inner, 0..6)
                .prop_map(|m| m.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #[test]
    fn every_value_that_serde_json_writes_is_taken_whole(value in json(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        prop_assert_eq!(accepts(text.as_bytes()), Ok(Span { start: 0, end: text.len() }));
    }

    #[test]
    fn mutated_texts_are_judged_as_serde_json_judges_them(value in json(), cut in any::<prop::sample::Index>(), byte in any::<u8>(), how in 0..3) {
        let mut text = serde_json::to_vec(&value).unwrap();
        let at = cut.index(text.len());
        match how { 0 => text[at] = byte, 1 => { text.remove(at); } _ => text.insert(at, byte) }
        prop_assume!(std::str::from_utf8(&text).is_ok());
        let ours = accepts(&text).is_ok();
        let theirs = serde_json::from_slice::<serde_json::Value>(&text).is_ok();
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn a_value_is_skipped_as_far_as_it_is_taken(value in json(), after in "[,}\\] ]?") {
        let text = serde_json::to_string(&value).unwrap();
        let all = format!("{text}{after}");
        let skipped = Scanner::new(all.as_bytes()).skip();
        prop_assert_eq!(skipped, Ok(Span { start: 0, end: text.len() }));
    }

    #[test]
    fn any_bytes_are_refused_or_taken_without_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = accepts(&text);
        let _ = Scanner::new(&text).skip();
    }
}
