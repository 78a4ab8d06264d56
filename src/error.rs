//! What a client may hear when fairlead itself has to say no: a closed list, with its codes.
//!
//! Knows nothing of sockets or JSON libraries. The cause of a failure goes to the log, never in here.

use std::fmt::Write as _;
use std::time::Duration;

/// Why fairlead answers a request with an error of its own (JSON-RPC codes -32040..-32049).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The CLI that had the request went away.
    UpstreamLost,
    /// No healthy CLI can take it.
    NoUpstream,
    /// The session belongs to somebody else, or does not exist: one answer for both.
    AccessDenied,
    /// A server-wide method that the policy does not allow.
    MethodDenied,
    /// Another caller's turn holds the session.
    SessionBusy,
    /// A cap is reached and the queue deadline passed.
    Overloaded,
    /// The frame is over the limit.
    FrameTooLarge,
    /// We are leaving; connect again.
    Draining,
    /// The CLI took the request and did not answer within the bound.
    UpstreamTimeout,
    /// The session's CLI is gone and its state is not on shared storage.
    SessionLost,
}

impl Reason {
    /// Every reason, in order of code.
    pub const ALL: [Reason; 10] = [
        Reason::UpstreamLost,
        Reason::NoUpstream,
        Reason::AccessDenied,
        Reason::MethodDenied,
        Reason::SessionBusy,
        Reason::Overloaded,
        Reason::FrameTooLarge,
        Reason::Draining,
        Reason::UpstreamTimeout,
        Reason::SessionLost,
    ];

    /// The JSON-RPC error code.
    pub const fn code(self) -> i32 {
        match self {
            Reason::UpstreamLost => -32040,
            Reason::NoUpstream => -32041,
            Reason::AccessDenied => -32042,
            Reason::MethodDenied => -32043,
            Reason::SessionBusy => -32044,
            Reason::Overloaded => -32045,
            Reason::FrameTooLarge => -32046,
            Reason::Draining => -32047,
            Reason::UpstreamTimeout => -32048,
            Reason::SessionLost => -32049,
        }
    }

    /// The word in `error.data.reason`, in metric labels and in logs.
    pub const fn slug(self) -> &'static str {
        match self {
            Reason::UpstreamLost => "upstream_lost",
            Reason::NoUpstream => "no_upstream",
            Reason::AccessDenied => "access_denied",
            Reason::MethodDenied => "method_denied",
            Reason::SessionBusy => "session_busy",
            Reason::Overloaded => "overloaded",
            Reason::FrameTooLarge => "frame_too_large",
            Reason::Draining => "draining",
            Reason::UpstreamTimeout => "upstream_timeout",
            Reason::SessionLost => "session_lost",
        }
    }

    /// Whether the same request may succeed when it is sent again.
    pub const fn retryable(self) -> bool {
        match self {
            Reason::NoUpstream | Reason::SessionBusy | Reason::Overloaded | Reason::Draining => {
                true
            }
            Reason::UpstreamLost
            | Reason::AccessDenied
            | Reason::MethodDenied
            | Reason::FrameTooLarge
            | Reason::UpstreamTimeout
            | Reason::SessionLost => false,
        }
    }
}

/// One refusal: the reason, a sentence for people, and what `error.data` says besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which of the closed list.
    pub reason: Reason,
    /// A sentence for people. Never a secret, never the text of an inner error.
    pub message: String,
    /// The session concerned, for `error.data.session`.
    pub session: Option<String>,
    /// When to try again, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// A refusal with its reason and sentence; no session, no retry time.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Refusal { reason, message: message.into(), session: None, retry_after_ms: None }
    }

    /// The same, naming the session.
    #[must_use]
    pub fn of_session(mut self, session: &str) -> Self {
        self.session = Some(session.to_owned());
        self
    }

    /// The one answer for "not yours" and "does not exist" (-32042).
    pub fn session_not_found(session: &str) -> Self {
        Refusal::new(Reason::AccessDenied, format!("Session not found: {session}"))
            .of_session(session)
    }

    /// Too many sessions are looked for that nobody knows (-32045); a second later there may be room.
    pub fn crowded(session: &str) -> Self {
        let message = "too many sessions are looked for that nobody knows";
        let mut refusal = Refusal::new(Reason::Overloaded, message).of_session(session);
        refusal.retry_after_ms = Some(1000);
        refusal
    }

    /// The caller asks more often than it may (-32045); one passes after `wait`.
    pub fn too_often(wait: Duration) -> Self {
        let ms = wait.as_nanos().div_ceil(1_000_000);
        Refusal {
            retry_after_ms: Some(u64::try_from(ms).unwrap_or(u64::MAX)),
            ..Refusal::new(Reason::Overloaded, "the caller asks more often than it may")
        }
    }

    /// The caller has as many conns as it may (-32045); nobody knows when one ends.
    pub fn too_many_conns() -> Self {
        let message = "the caller has as many connections as it may";
        Refusal { retry_after_ms: Some(1000), ..Refusal::new(Reason::Overloaded, message) }
    }

    /// The JSON text of the `error` member (JSON-RPC 2.0, section 5.1).
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(128);
        let _ = write!(out, r#"{{"code":{},"message":"#, self.reason.code());
        push_json_string(&mut out, &self.message);
        let _ = write!(
            out,
            r#","data":{{"reason":"{}","retryable":{}"#,
            self.reason.slug(),
            self.reason.retryable()
        );
        if let Some(ms) = self.retry_after_ms {
            let _ = write!(out, r#","retry_after_ms":{ms}"#);
        }
        if let Some(session) = &self.session {
            out.push_str(r#","session":"#);
            push_json_string(&mut out, session);
        }
        out.push_str("}}");
        out
    }
}

/// Appends `text` as a JSON string with its quotes (RFC 8259, section 7).
pub fn push_json_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_range_that_the_product_promises() {
        let codes: Vec<i32> = Reason::ALL.iter().map(|r| r.code()).collect();
        assert_eq!(codes, (-32049..=-32040).rev().collect::<Vec<_>>());
    }

    #[test]
    fn a_refusal_is_json_whatever_the_session_is_called() {
        let refusal = Refusal::session_not_found("a\"b\\c\n\u{1}é");
        let json: serde_json::Value = serde_json::from_str(&refusal.to_json()).unwrap();
        assert_eq!(json["data"]["session"], "a\"b\\c\n\u{1}é");
        assert_eq!(json["code"], -32042);
        assert!(json["message"].as_str().unwrap().contains("Session not found"));
    }
}
