//! Audit lines: who asked for what, of which session, what was decided, and why. Decides nothing.
//!
//! A line has no field for a prompt, a tool argument, a token or a key.

mod hush;

use std::net::SocketAddr;

pub use hush::{Hush, MOST_LINES};

use super::shown::Shown;
use crate::caller::{Caller, Proof};
use crate::id::{ConnId, SessionId};

/// The target of these lines: `FAIRLEAD_LOG=info,fairlead::audit=off` silences them alone.
pub const TARGET: &str = "fairlead::audit";

/// Who asks, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// As far as it is proven.
    pub caller: &'a Caller,
    /// The conn.
    pub conn_id: ConnId,
    /// Where the client is.
    pub client_addr: SocketAddr,
    /// The listener that accepted it.
    pub listener: &'a str,
    /// The pool that serves it.
    pub pool: &'a str,
}

impl Who<'_> {
    /// The user, if one was proven.
    pub fn identity(&self) -> Option<&str> {
        self.caller.user.as_deref()
    }

    /// How it was proven who calls, if it was.
    pub fn proof(&self) -> Option<&'static str> {
        proof(self.caller)
    }
}

/// How it was proven who calls, if it was.
pub fn proof(caller: &Caller) -> Option<&'static str> {
    (caller.proof != Proof::Nothing).then(|| caller.proof.slug())
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// To be let in, by a token or otherwise.
    Authenticate,
    /// A new session.
    Create,
    /// A session that is there.
    Resume,
    /// A session's end, on disk too.
    Delete,
    /// Anything else of a session.
    Use,
    /// A session that nobody was known to own: it is the caller's from now on.
    Adopt,
    /// Another's session, whose owner lets the caller in.
    Grant,
    /// A change of all CLIs.
    Change,
    /// A method that concerns no session.
    Call,
}

impl Act {
    /// Each, with what it is.
    pub const ALL: [(Act, &'static str); 9] = [
        (Act::Authenticate, "the client is let in: only where it is not"),
        (Act::Create, "a session is made, also by a fork; or would have been"),
        (Act::Resume, "a session is resumed, also by a create of its id"),
        (Act::Delete, "a session is deleted"),
        (Act::Use, "anything else of a session: only where it is refused"),
        (Act::Adopt, "a session that nobody was known to own becomes the caller's"),
        (Act::Grant, "a caller is let into another's session"),
        (Act::Change, "all CLIs are asked to change; whether they did, the client is told"),
        (Act::Call, "a method that concerns no session: only where it is refused"),
    ];

    /// Its word.
    pub const fn slug(self) -> &'static str {
        match self {
            Act::Authenticate => "authenticate",
            Act::Create => "create",
            Act::Resume => "resume",
            Act::Delete => "delete",
            Act::Use => "use",
            Act::Adopt => "adopt",
            Act::Grant => "grant",
            Act::Change => "change",
            Act::Call => "call",
        }
    }
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It was done, or may be done.
    Allow,
    /// It was refused.
    Deny,
}

/// One decision.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Who asked.
    pub who: Who<'a>,
    /// What for.
    pub act: Act,
    /// What was decided.
    pub decision: Decision,
    /// Why.
    pub reason: &'a str,
    /// Of which session.
    pub session: Option<&'a SessionId>,
    /// By which method.
    pub method: Option<&'a str>,
}

/// Writes a line at a level; `more` are fields of its own.
macro_rules! line {
    ($level:ident, $who:expr, $line:expr, { $($more:tt)* }) => {{
        let (who, line): (&Who<'_>, &Line<'_>) = ($who, $line);
        tracing::$level!(
            target: TARGET,
            kind = "audit",
            action = line.act.slug(),
            decision = match line.decision { Decision::Allow => "allow", Decision::Deny => "deny" },
            reason = line.reason,
            conn_id = who.conn_id.0,
            client_addr = %who.client_addr,
            listener = who.listener,
            identity = who.identity(),
            tenant = who.caller.tenant(),
            proof = who.proof(),
            pool = who.pool,
            session_id = line.session.map(|id| tracing::field::display(Shown(id.as_str()))),
            method = line.method,
            $($more)*
        );
    }};
}

impl Line<'_> {
    /// Writes it: what was allowed at level info, what was refused at level warn.
    pub fn log(&self) {
        match self.decision {
            Decision::Allow => line!(info, &self.who, self, {}),
            Decision::Deny => line!(warn, &self.who, self, {}),
        }
    }
}

/// Writes that so many refusals of this conn had no line of their own.
pub fn log_more(who: Who<'_>, count: u64) {
    let (act, decision) = (Act::Call, Decision::Deny);
    let line = Line { who, act, decision, reason: "more", session: None, method: None };
    line!(warn, &line.who, &line, { count, });
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::caller::{Realm, Trust};
    use crate::observe::logging::Format;
    use crate::observe::logging::tests::logged;

    fn caller() -> Caller {
        let (realm, user) = (Realm::Tenant("acme".into()), Some("alice".into()));
        Caller { realm, user, proof: Proof::Token, trust: Trust::User }
    }

    fn who(caller: &Caller) -> Who<'_> {
        let client_addr = "10.0.0.1:4000".parse().unwrap();
        Who { caller, conn_id: ConnId(7), client_addr, listener: "sdk", pool: "p" }
    }

    fn written(line: &Line<'_>) -> Value {
        serde_json::from_str(&logged("info", Format::Json, || line.log())).unwrap()
    }

    #[test]
    fn a_line_says_who_what_which_and_why() {
        let (caller, session) = (caller(), SessionId::new("s-1"));
        let line = Line {
            who: who(&caller),
            act: Act::Resume,
            decision: Decision::Deny,
            reason: "not_owner",
            session: Some(&session),
            method: Some("session.resume"),
        };
        let mut written = written(&line);
        assert!(written["ts"].is_string());
        written.as_object_mut().unwrap().remove("ts");
        let expected = serde_json::json!({
            "level": "warn", "kind": "audit", "action": "resume", "decision": "deny",
            "reason": "not_owner", "conn_id": 7, "client_addr": "10.0.0.1:4000", "listener": "sdk",
            "identity": "alice", "tenant": "acme", "proof": "token", "pool": "p",
            "session_id": "s-1", "method": "session.resume",
        });
        assert_eq!(written, expected);
    }

    #[test]
    fn who_proved_nothing_has_no_name() {
        let caller = Caller::anonymous("sdk");
        let line = Line {
            who: who(&caller),
            act: Act::Call,
            decision: Decision::Allow,
            reason: "x",
            session: None,
            method: None,
        };
        let written = written(&line);
        for name in ["identity", "tenant", "proof", "session_id", "method"] {
            assert!(written.get(name).is_none(), "{name} of {written}");
        }
        assert_eq!((&written["level"], &written["decision"]), (&"info".into(), &"allow".into()));
    }

    #[test]
    fn a_hostile_id_is_one_line_and_does_nothing_to_a_terminal() {
        let session = SessionId::new(&format!(
            "a\n{{\"kind\":\"audit\"}}\u{1b}[2J\u{9b}{}",
            "x".repeat(10_000)
        ));
        let caller = caller();
        let line = Line {
            who: who(&caller),
            act: Act::Use,
            decision: Decision::Deny,
            reason: "unknown_session",
            session: Some(&session),
            method: None,
        };
        for format in [Format::Json, Format::Text] {
            let text = logged("info", format, || line.log());
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(text.len() < 1_000, "{}", text.len());
            assert!(!text.trim_end().chars().any(char::is_control), "{text:?}");
        }
        assert!(written(&line)["session_id"].as_str().unwrap().starts_with(r"a\u{a}{"));
    }

    #[test]
    fn what_had_no_line_is_counted_in_one() {
        let caller = caller();
        let text = logged("info", Format::Json, || log_more(who(&caller), 41));
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["reason"], &line["count"]), (&"more".into(), &41.into()));
    }
}
