//! Reads what a frame is: its id, method, session; never builds a tree, never changes a byte.
//!
//! A client's frame is validated whole, because its CLI would answer a broken one without saying whose it
//! was. A frame of our own CLIs is read as far as its destination needs.

mod client;
mod peek;
mod say;
mod upstream;

pub use client::{Call, ClientKind, ClientMessage, Refused, SessionParam, read_client};
pub use peek::{is_answer, is_call, peek_id};
pub use say::{says_no_success, says_not_found, says_shutting_down, session_of, text_in, whole};
pub use upstream::{UpstreamMessage, read_upstream};

use super::json::Scanner;

/// How every SDK and CLI begins its messages.
const USUAL: &[u8] = br#"{"jsonrpc":"2.0","#;

/// Behind the usual beginning, where the body has it.
#[inline]
fn begin(body: &[u8]) -> (Scanner<'_>, bool) {
    let usual = body.starts_with(USUAL);
    (Scanner::at(body, if usual { USUAL.len() } else { 0 }), usual)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::json::Span;
    use proptest::prelude::*;

    fn request(body: &str) -> (String, String, Option<String>) {
        match read_client(body.as_bytes()).unwrap().kind {
            ClientKind::Request { id, call } => {
                (id.into(), call.method.into_owned(), call.session.id().map(Into::into))
            }
            other @ (ClientKind::Notification(_) | ClientKind::Response { .. }) => {
                panic!("{other:?}")
            }
        }
    }

    #[test]
    fn a_request_shows_id_method_and_session_in_any_order() {
        let want = ("7".to_owned(), "session.send".to_owned(), Some("s-1".to_owned()));
        for body in [
            r#"{"jsonrpc":"2.0","id":7,"method":"session.send","params":{"sessionId":"s-1","prompt":"x"}}"#,
            r#" { "params" : { "a" : [ {"sessionId":"no"} ] , "sessionId" : "s-\u0031" } , "method" : "session\u002esend" , "id" : 7 , "jsonrpc" : "2.0" } "#,
        ] {
            assert_eq!(request(body), want);
        }
    }

    #[test]
    fn whoever_can_be_told_is_told_with_the_raw_id() {
        let deep = format!(
            r#"{{"jsonrpc":"2.0","method":"m","params":{}{},"id":"x"}}"#,
            "[".repeat(70),
            "]".repeat(70)
        );
        for (body, id) in [
            (r#"{"id":1,"method":"m"}"#, "1"),
            (r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#, "1"),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"m"}"#, "1.5"),
            (r#"{"jsonrpc":"2.0","id":9007199254740993,"method":"m"}"#, "9007199254740993"),
            (r#"{"jsonrpc":"2.0","id":-9223372036854775808,"method":"m"}"#, "-9223372036854775808"),
            (r#"{"jsonrpc":"2.0","id":01e2,"method":"m"}"#, ""),
            (r#"{"jsonrpc":"2.0","id":1,"method":"m","method":"n"}"#, "1"),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"sessionId":"a","sessionId":"b"}}"#,
                "1",
            ),
            (r#"{"jsonrpc":"2.0","id":1,"m\u0065thod":"m"}"#, "1"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"session\u0049d":"a"}}"#, "1"),
            (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, "1"),
            (r#"{"jsonrpc":"2.0","id":1}"#, "1"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"m","result":1}"#, "1"),
            (&deep, "\"x\""),
        ] {
            match read_client(body.as_bytes()) {
                Err(Refused::Answerable(raw, _)) => assert_eq!(raw, id, "{body}"),
                Err(Refused::Hopeless(_)) if id.is_empty() => {}
                other => panic!("{body}: {other:?}"),
            }
        }
    }

    #[test]
    fn nobody_is_told_where_there_is_no_usable_id() {
        for body in [
            "",
            "42",
            "null",
            "[]",
            r#"[{"jsonrpc":"2.0","id":1,"method":"m"}]"#,
            "{}",
            "{\"jsonrpc\":\"2.0\"",
            r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":true,"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":{},"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":1e999,"id":1,"method":"m"}"#,
            "{\"jsonrpc\":\"2.0\",\"id\":\"\u{1}\",\"method\":\"m\"}",
            r#"{"method":"m"}"#,
        ] {
            assert!(matches!(read_client(body.as_bytes()), Err(Refused::Hopeless(_))), "{body}");
        }
    }

    /// Half an emoji is what a program cuts out of its user's text: others use the conn, too.
    #[test]
    fn what_is_wrong_within_a_text_or_number_is_its_requests_affair_alone() {
        for flaw in [
            &br#""\ud83d""#[..],
            br#"1e999"#,
            br#"[NaN]"#,
            br#"{"\ud83d":1}"#,
            br#""\x""#,
            b"\"\x01\"",
            b"\"\xff\"",
        ] {
            let body = |head: &str| {
                let head = format!(r#"{{"jsonrpc":"2.0",{head}"params":{{"x":"#);
                [head.as_bytes(), flaw, b"}}"].concat()
            };
            let request = body(r#""id":7,"method":"m","#);
            assert!(matches!(read_client(&request), Err(Refused::Answerable("7", _))));
            let notification = body(r#""method":"m","#);
            assert!(matches!(read_client(&notification), Err(Refused::Untold)));
            let answer = body(r#""id":7,"result":1,"#);
            assert!(matches!(read_client(&answer), Err(Refused::Answerable("7", _))));
            assert!(is_answer(&answer));
        }
    }

    #[test]
    fn a_hundred_keys_are_compared_as_few_are() {
        let keys = |n: usize| (0..n).map(|k| format!("\"k{k}\":1,")).collect::<String>();
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{{}"sessionId":"s"}}}}"#,
            keys(100)
        );
        assert_eq!(request(&body).2.as_deref(), Some("s"));
        let twice = body.replace("\"k99\"", "\"k3\"");
        assert!(matches!(read_client(twice.as_bytes()), Err(Refused::Answerable("1", _))));
    }

    #[test]
    fn the_head_of_a_large_frame_shows_its_id_only_if_it_is_sure() {
        assert_eq!(peek_id(br#"{"jsonrpc":"2.0","id":12,"params":{"id":3,"x":"#), Some("12"));
        assert_eq!(peek_id(br#"{"a":{"id":3},"b":["id",{"id":4}],"id":"x","#), Some("\"x\""));
        assert_eq!(peek_id(br#"{"jsonrpc":"2.0","id":12"#), None);
        assert_eq!(peek_id(br#"{"id":1,"id":2,"params":"#), None);
        assert_eq!(peek_id(br#"{"x":"id","y":1"#), None);
        assert_eq!(peek_id(br#"["id",1]"#), None);
        assert!(is_answer(br#"{"jsonrpc":"2.0","id":0,"result":{"method":"x","big":"#));
        assert!(is_answer(br#"{"jsonrpc":"2.0","id":0,"result":1,"result":2}"#));
        assert!(!is_answer(br#"{"jsonrpc":"2.0","id":0,"method":"x","params":{"result":1,"#));
        assert!(!is_answer(br#"{"jsonrpc":"2.0","id":0,"method":"x","method":"y","result":1}"#));
    }

    #[test]
    fn a_clis_frames_are_told_apart() {
        let read = |body: &'static str| read_upstream(body.as_bytes()).unwrap();
        assert_eq!(
            read(r#"{"jsonrpc":"2.0","id":"a","result":{"method":"x"}}"#),
            UpstreamMessage::Response { id: "\"a\"", failed: false }
        );
        assert_eq!(
            read(r#"{"jsonrpc":"2.0","result":{"id":4,"method":"x"},"id":3}"#),
            UpstreamMessage::Response { id: "3", failed: false }
        );
        assert_eq!(
            read(r#"{"error":{"code":1},"id":3,"jsonrpc":"2.0"}"#),
            UpstreamMessage::Response { id: "3", failed: true }
        );
        assert_eq!(
            read(r#"{"jsonrpc":"2.0","id":3,"error":{"code":1}}"#),
            UpstreamMessage::Response { id: "3", failed: true }
        );
        assert_eq!(
            read(r#"{"jsonrpc":"2.0","method":"hooks.invoke","params":{"sessionId":"s"},"id":3}"#),
            UpstreamMessage::Request { id: Span { start: 73, end: 74 }, method: "hooks.invoke" }
        );
        for body in [
            r#"{"jsonrpc":"2.0","method":"session.event","params":{"sessionId":"s","event":{"type":"session.idle","data":{}}}}"#,
            r#"{"jsonrpc":"2.0","method":"session.event","params":{"event":{"data":{"type":"no"},"type":"session.idle"},"sessionId":"s"}}"#,
        ] {
            assert!(
                matches!(read(body), UpstreamMessage::Event { session, kind: "session.idle", .. } if session == "s")
            );
        }
        assert_eq!(
            read(
                r#"{"jsonrpc":"2.0","method":"session.lifecycle","params":{"type":"session.created","sessionId":"s"}}"#
            ),
            UpstreamMessage::Lifecycle { session: "s".into(), kind: "session.created" }
        );
        // What a strict reader would refuse, and with it the link for all sessions on it.
        let lone = r#"{"jsonrpc":"2.0","method":"session.lifecycle","params":{"metadata":{"summary":"\ud83d"},"type":"session.updated","sessionId":"s"}}"#;
        assert_eq!(
            read(lone),
            UpstreamMessage::Lifecycle { session: "s".into(), kind: "session.updated" }
        );
        let nest = "[".repeat(200) + &"]".repeat(200);
        let deep = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"hooks.invoke","params":{{"a":{nest}}}}}"#
        );
        let deep = read_upstream(deep.as_bytes());
        assert!(matches!(deep, Some(UpstreamMessage::Request { method: "hooks.invoke", .. })));
        assert_eq!(read_upstream(b"{}"), None);
        assert_eq!(read_upstream(b"[1]"), None);
    }

    #[test]
    fn a_quotation_is_no_statement() {
        let says = |code: &str, message: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":{code},"message":"{message}"}}}}"#)
        };
        assert!(says_shutting_down(says("-32000", "SERVER_SHUTTING_DOWN").as_bytes()));
        assert!(!says_shutting_down(
            says("-32601", "Unhandled method session.SERVER_SHUTTING_DOWN").as_bytes()
        ));
        let absent = says(
            "-32603",
            "Request session.send failed with message: Session not found for sessionId: a-1",
        );
        assert!(says_not_found(absent.as_bytes(), "a-1"));
        assert!(!says_not_found(absent.as_bytes(), "1"));
        let quoted = says("-32603", "HTTP 404: Session not found");
        assert!(!says_not_found(quoted.as_bytes(), "a-1"));
        assert!(says_no_success(br#"{"id":1,"result":{"success":false}}"#));
        assert!(!says_no_success(
            br#"{"id":1,"result":{"text":"\"success\":false","success":true}}"#
        ));
    }

    #[test]
    fn a_path_leads_to_a_text() {
        let body = br#"{"event":{"data":{"requestId":"r-1"}}}"#;
        assert_eq!(text_in(body, 9, &["data", "requestId"]).unwrap(), "r-1");
        assert_eq!(text_in(body, 9, &["data", "none"]), None);
    }

    proptest! {
        #[test]
        fn bytes_never_make_a_reader_panic(body in prop::collection::vec(prop_oneof![
            Just(b'{'), Just(b'}'), Just(b'"'), Just(b':'), Just(b','), Just(b'i'), Just(b'd'), Just(b'1'), Just(b'\\'), any::<u8>()], 0..80)) {
            let _ = read_client(&body);
            let _ = read_upstream(&body);
            let _ = peek_id(&body);
        }
    }
}
