//! What really happened: who sent what, who was told what. The checkers compare everything with it.

use std::collections::{BTreeMap, BTreeSet};

use super::broadcast::Broadcast;
use super::faults::LARGEST;
use super::wire::{number, raw};

/// Which promise is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// An answer, event or request reached somebody else.
    Mixed,
    /// A request got no answer, or two.
    Unanswered,
    /// Two CLIs have one session in memory.
    TwoHolders,
    /// A client's answer reached another CLI, or another request of it.
    WrongAsker,
    /// A frame went to a CLI that does not have its session, or out of order.
    Misrouted,
    /// A turn is taken for over, or for running, and is not.
    Turn,
    /// Room is kept for a session that does not live, or the reverse.
    Lease,
    /// A frame was changed.
    Bytes,
    /// A broadcast reached somebody twice, or nobody.
    Stray,
    /// What was shut down is kept in a CLI's memory.
    Halted,
    /// The mux keeps more than it says.
    Kept,
    /// An invariant of the core itself.
    Panic,
}

#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) rule: Rule,
    pub(crate) what: String,
}

/// A request or notification of a client.
pub(crate) struct Sent {
    pub(crate) conn: usize,
    pub(crate) session: Option<String>,
    /// What may arrive for it.
    pub(crate) bodies: Vec<String>,
    /// Where the conn had its session when its last byte was read.
    pub(crate) on: Option<u32>,
    /// What its CLI answered.
    pub(crate) answer: Option<String>,
    /// It went out under another method, and may come once more.
    pub(crate) again: bool,
    /// A CLI got it.
    pub(crate) arrived: bool,
    /// Its answer is larger than we take.
    pub(crate) large_answer: bool,
}

impl Sent {
    pub(crate) fn new(conn: usize, session: Option<String>, bodies: Vec<String>) -> Self {
        Sent {
            conn,
            session,
            bodies,
            on: None,
            answer: None,
            again: false,
            arrived: false,
            large_answer: false,
        }
    }

    /// How many bytes of it are kept while it waits: until it arrived, and where it may be `asked_again`, for longer.
    pub(crate) fn kept(&self, asked_again: bool) -> usize {
        let size = self.bodies.first().map_or(0, String::len);
        if self.arrived && !asked_again { 0 } else { size }
    }
}

/// An event or request of a CLI.
pub(crate) struct Told {
    pub(crate) conn: usize,
    pub(crate) cli: usize,
    /// The CLI's connection.
    pub(crate) cc: usize,
    pub(crate) session: String,
    pub(crate) body: String,
    pub(crate) kind: &'static str,
    /// Which turn of the session it belongs to.
    pub(crate) batch: u64,
    pub(crate) got: bool,
}

#[derive(Default)]
pub(crate) struct Truth {
    pub(crate) sent: BTreeMap<u64, Sent>,
    pub(crate) told: BTreeMap<u64, Told>,
    /// Every session id that a CLI ever had.
    pub(crate) ever: BTreeSet<String>,
    /// Which session asked under this requestId.
    pub(crate) asks: BTreeMap<String, String>,
    /// Who must see a session as busy: it started the turn, or was told of it.
    pub(crate) obliged: BTreeMap<(usize, String), u64>,
    /// What was written before a conn's latest attachment to a session may have gone out before it.
    pub(crate) since: BTreeMap<(usize, String), u64>,
    /// Whose client raced with itself: what its conn knows of its turn proves nothing.
    pub(crate) muddled: BTreeSet<(usize, String)>,
    /// Which sub-agents a conn saw start.
    pub(crate) agents: BTreeMap<(usize, String), BTreeSet<u64>>,
    pub(crate) broadcasts: BTreeMap<u64, Broadcast>,
    /// When a conn's hold on a session changed last.
    pub(crate) touched: BTreeMap<(usize, String), u64>,
    /// Requests of CLIs whose answers were too large to be passed on.
    pub(crate) unreadable: BTreeSet<u64>,
    /// Shutdowns whose answer reached the client.
    pub(crate) shut: BTreeSet<u64>,
    pub(crate) violation: Option<Violation>,
    pub(crate) trace: Option<Vec<String>>,
    /// Answers of CLIs, answers of ours, events, requests of CLIs, broadcasts: how many of each were checked.
    pub(crate) checked: [usize; 5],
    pub(crate) last_token: u64,
}

impl Truth {
    pub(crate) fn token(&mut self) -> u64 {
        self.last_token += 1;
        self.last_token
    }

    pub(crate) fn fail(&mut self, rule: Rule, what: impl Into<String>) {
        let what = what.into();
        self.note(|| format!("VIOLATION {rule:?}: {what}"));
        self.violation.get_or_insert(Violation { rule, what });
    }

    pub(crate) fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(what());
        }
    }

    /// Whether this is an answer that is too large, and starts no session.
    pub(crate) fn answers_at_length(&self, body: &str) -> bool {
        let sent = number(body, "tok").and_then(|token| self.sent.get(&token));
        sent.is_some_and(|sent| sent.large_answer) && !body.contains("\"sessionId\":")
    }

    /// Whether this is something of a CLI's own that is not too large.
    pub(crate) fn tells_in_short(&self, body: &str) -> bool {
        let said = |token| self.told.contains_key(&token) || self.broadcasts.contains_key(&token);
        body.len() <= LARGEST && number(body, "tok").is_some_and(said)
    }

    /// A CLI writes an event or request to one of its connections.
    pub(crate) fn tells(
        &mut self,
        (conn, cli, cc): (usize, usize, usize),
        session: &str,
        kind: &'static str,
        batch: u64,
        body: impl FnOnce(u64) -> String,
    ) -> (u64, String) {
        let token = self.token();
        let body = body(token);
        let told = Told {
            conn,
            cli,
            cc,
            session: session.to_owned(),
            body: body.clone(),
            kind,
            batch,
            got: false,
        };
        self.told.insert(token, told);
        (token, body)
    }

    /// A client got an event: is it its own, whole, and in order?
    pub(crate) fn heard(
        &mut self,
        conn: usize,
        body: &str,
        last: &mut BTreeMap<(usize, usize), u64>,
    ) {
        let Some(token) = number(body, "tok") else {
            let ours = body.contains("\"errorType\":") || body.contains(r#"{"aborted":true}"#);
            if !ours {
                self.fail(Rule::Mixed, format!("conn {conn} hears what nobody said: {body}"));
            }
            return;
        };
        let Some(told) = self.told.get_mut(&token) else {
            return self.fail(Rule::Mixed, format!("conn {conn} hears what nobody said: {body}"));
        };
        let again = std::mem::replace(&mut told.got, true);
        let (to, from, same) = (told.conn, (told.cli, told.cc), told.body == body);
        if to != conn {
            return self
                .fail(Rule::Mixed, format!("conn {conn} hears what conn {to} was told: {body}"));
        }
        if again || last.insert(from, token).is_some_and(|before| before >= token) {
            return self.fail(Rule::Mixed, format!("conn {conn} hears out of order: {body}"));
        }
        self.checked[2] += 1;
        if !same {
            self.fail(Rule::Bytes, format!("conn {conn} hears another text: {body}"));
        }
    }

    /// A client got a request of a CLI.
    pub(crate) fn asked(&mut self, conn: usize, body: &str) -> Option<u64> {
        let token = number(body, "tok")?;
        let Some(told) = self.told.get_mut(&token) else {
            self.fail(Rule::Mixed, format!("conn {conn} is asked what nobody asked: {body}"));
            return None;
        };
        let again = std::mem::replace(&mut told.got, true);
        let (to, was) = (told.conn, told.body.clone());
        if to != conn || again {
            self.fail(
                Rule::Mixed,
                format!("conn {conn} is asked what conn {to} was asked: {body}"),
            );
            return None;
        }
        self.checked[3] += 1;
        let (Some(ours), Some(theirs)) = (raw(body, "id"), raw(&was, "id")) else { return None };
        let back = body.replacen(&format!("\"id\":{ours}"), &format!("\"id\":{theirs}"), 1);
        if back != was {
            self.fail(Rule::Bytes, format!("conn {conn} is asked in another text: {body}"));
        }
        Some(token)
    }
}
