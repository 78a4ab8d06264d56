//! A CLI: sessions in memory and on disk, connections that are told everything of the sessions that they attached.
//!
//! It does what was seen of a CLI 1.0.102: requests run in any order, ids of its requests count from 1 on each
//! connection, the last connection to leave a session ends it, UUID prefixes resume and delete. And it fails in every
//! way that a CLI can: says nothing, dies, leaves, answers a resume with another session.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::truth::Rule;
use super::wire::{Cutter, Pipe, number, raw, text};
use super::world::World;

pub(crate) struct Request {
    pub(crate) id: String,
    pub(crate) token: u64,
    pub(crate) method: String,
    pub(crate) session: Option<String>,
    pub(crate) body: String,
}

/// One connection, which one link of one conn made.
pub(crate) struct CliConn {
    pub(crate) conn: usize,
    pub(crate) open: bool,
    /// We closed it.
    pub(crate) finished: bool,
    /// We reset it.
    pub(crate) reset: bool,
    pub(crate) greeted: bool,
    pub(crate) input: Pipe,
    pub(crate) output: Pipe,
    cutter: Cutter,
    pub(crate) todo: Vec<Request>,
    /// Answers that come late.
    pub(crate) late: Vec<String>,
    pub(crate) next_ask: u64,
    /// What it asked, by the raw id, with the token.
    pub(crate) asked: BTreeMap<String, u64>,
    /// The last frame of each session.
    last: BTreeMap<String, u64>,
}

#[derive(Default)]
pub(crate) struct Live {
    pub(crate) attached: BTreeSet<usize>,
    /// How far the turn that runs is.
    pub(crate) turn: Option<u8>,
    pub(crate) queue: u32,
    pub(crate) compacting: bool,
    /// Sub-agents at work.
    pub(crate) agents: BTreeSet<u64>,
    pub(crate) batch: u64,
    /// When it came into memory.
    pub(crate) born: Duration,
    /// By which request it was shut down: it stays in memory until it is closed.
    pub(crate) halted: Option<u64>,
    /// Others sent to it too, or from outside, or it was aborted: whose send a `user.message` is, nobody can tell, so that a send which
    /// crosses an idle may go unseen until its own events come.
    pub(crate) murky: bool,
}

impl Live {
    pub(crate) fn busy(&self) -> bool {
        self.turn.is_some() || self.compacting
    }

    pub(crate) fn works(&self) -> bool {
        self.busy() || !self.agents.is_empty()
    }
}

#[derive(Default)]
pub(crate) struct Cli {
    pub(crate) alive: bool,
    /// It takes bytes and does nothing.
    pub(crate) wedged: bool,
    pub(crate) leaving: bool,
    pub(crate) conns: Vec<CliConn>,
    pub(crate) live: BTreeMap<String, Live>,
    /// What its `watch` did not read yet: which session, and the frame.
    pub(crate) watch: VecDeque<(String, String)>,
}

impl Cli {
    /// How many bytes are under way to one of its connections.
    pub(crate) fn coming(&self, end: Option<usize>) -> usize {
        let conn = end.and_then(|cc| self.conns.get(cc));
        conn.map_or(0, |conn| conn.input.len() + conn.cutter.part())
    }
}

impl World {
    pub(crate) fn cli_accepts(&mut self, u: usize, conn: usize) -> usize {
        self.clis[u].conns.push(CliConn {
            conn,
            open: true,
            finished: false,
            reset: false,
            greeted: false,
            input: Pipe::default(),
            output: Pipe::default(),
            cutter: Cutter::default(),
            todo: Vec::new(),
            late: Vec::new(),
            next_ask: 1,
            asked: BTreeMap::new(),
            last: BTreeMap::new(),
        });
        self.clis[u].conns.len() - 1
    }

    /// One thing that the CLI does.
    pub(crate) fn cli_step(&mut self, u: usize) {
        if !self.clis[u].alive || self.clis[u].wedged {
            return;
        }
        let open: Vec<usize> =
            (0..self.clis[u].conns.len()).filter(|cc| self.clis[u].conns[*cc].open).collect();
        let Some(&cc) = self.rng.pick(&open) else { return };
        match self.rng.below(8) {
            0..3 => self.cli_reads(u, cc),
            3..6 => self.cli_works(u, cc),
            _ => self.cli_goes_on(u),
        }
    }

    fn cli_reads(&mut self, u: usize, cc: usize) {
        let most = 1 + self.rng.below(400);
        let conn = &mut self.clis[u].conns[cc];
        if conn.input.is_empty() {
            if conn.finished {
                self.cli_conn_gone(u, cc);
            }
            return;
        }
        let bytes = conn.input.take(most);
        match conn.cutter.add(&bytes) {
            Ok(bodies) => bodies.into_iter().for_each(|body| self.cli_gets(u, cc, body)),
            Err(what) => self.truth.fail(Rule::Bytes, what),
        }
    }

    /// A frame came: what may be wrong with it is found here.
    fn cli_gets(&mut self, u: usize, cc: usize, body: String) {
        let conn = self.clis[u].conns[cc].conn;
        self.truth.note(|| format!("cli {u}.{cc} (conn {conn}) gets {body}"));
        let Some(method) = text(&body, "method").map(str::to_owned) else {
            return self.cli_is_answered(u, cc, &body);
        };
        let id = raw(&body, "id").unwrap_or_default().to_owned();
        if method == "connect" {
            return self.cli_greets(u, cc, &id);
        }
        if !self.clis[u].conns[cc].greeted {
            return self.truth.fail(Rule::Misrouted, format!("before our connect: {body}"));
        }
        let session = text(&body, "sessionId").map(str::to_owned);
        let Some(token) = number(&body, "tok") else {
            return self.truth.fail(Rule::Bytes, format!("a frame that no client sent: {body}"));
        };
        self.check_frame(u, cc, token, session.as_deref(), &method, &body);
        if id.is_empty() {
            return;
        }
        self.clis[u].conns[cc].todo.push(Request { id, token, method, session, body });
    }

    fn check_frame(
        &mut self,
        u: usize,
        cc: usize,
        token: u64,
        session: Option<&str>,
        method: &str,
        body: &str,
    ) {
        let conn = self.clis[u].conns[cc].conn;
        let Some(sent) = self.truth.sent.get_mut(&token) else {
            return self.truth.fail(Rule::Bytes, format!("a frame that no client sent: {body}"));
        };
        let (from, on) = (sent.conn, sent.on);
        sent.arrived = true;
        // An id that we made is spliced in.
        let plain = match (&sent.session, session) {
            (None, Some(id)) => body.replacen(&format!("\"sessionId\":\"{id}\","), "", 1),
            _ => body.to_owned(),
        };
        if !sent.bodies.contains(&plain) {
            let was = sent.bodies.first().cloned();
            return self.truth.fail(Rule::Bytes, format!("changed: {body}\n was {was:?}"));
        }
        if from != conn {
            return self
                .truth
                .fail(Rule::Mixed, format!("conn {conn}'s link carries {from}'s: {body}"));
        }
        let Some(session) = session else { return };
        if method == "session.create" {
            self.truth.ever.insert(session.to_owned());
        }
        if !self.truth.ever.contains(session) {
            return self.truth.fail(Rule::Misrouted, format!("an id that nobody has: {body}"));
        }
        let places = method == "session.create" || method == "session.resume";
        if on.is_some_and(|on| on as usize != u) && !places {
            return self
                .truth
                .fail(Rule::Misrouted, format!("cli {u} gets what is on {on:?}: {body}"));
        }
        let ask = text(body, "requestId");
        if ask.is_some_and(|ask| self.truth.asks.get(ask).is_none_or(|of| of != session)) {
            return self.truth.fail(Rule::Misrouted, format!("a foreign requestId: {body}"));
        }
        let again = self.truth.sent.get(&token).is_some_and(|s| s.again);
        let before = self.clis[u].conns[cc].last.insert(session.to_owned(), token);
        if before.is_some_and(|before| before >= token) && !again {
            self.truth.fail(Rule::Misrouted, format!("out of order after {before:?}: {body}"));
        }
        let renamed = method == "session.resume"
            && self.truth.sent[&token].bodies.iter().any(|b| b.contains("\"session.create\""));
        if let Some(sent) = self.truth.sent.get_mut(&token).filter(|_| renamed) {
            sent.again = true;
        }
    }

    fn cli_is_answered(&mut self, u: usize, cc: usize, body: &str) {
        let id = raw(body, "id").unwrap_or_default().to_owned();
        let asked = self.clis[u].conns[cc].asked.get(&id).copied();
        let large = asked.is_some_and(|token| self.truth.unreadable.contains(&token));
        let late = body.contains("did not answer in time");
        if asked.is_some() && (late || large && body.contains("cannot be read")) {
            self.clis[u].conns[cc].asked.remove(&id);
            return;
        }
        if asked.is_none() || asked != number(body, "tok") {
            let what = format!("cli {u}.{cc} asked {asked:?} as {id} and hears {body}");
            return self.truth.fail(Rule::WrongAsker, what);
        }
        self.clis[u].conns[cc].asked.remove(&id);
    }

    fn cli_greets(&mut self, u: usize, cc: usize, id: &str) {
        if self.rng.one_in(60) {
            return;
        }
        self.clis[u].conns[cc].greeted = true;
        let answer = match self.rng.below(60) {
            0 => r#""error":{"code":-32002,"message":"AUTHENTICATION_FAILED"}"#,
            1..5 => r#""error":{"code":-32601,"message":"Unhandled method connect"}"#,
            _ => r#""result":{"ok":true,"protocolVersion":3,"version":"1.0.102","taskKinds":[]}"#,
        };
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},{answer}}}"#);
        self.clis[u].conns[cc].output.frame(&body);
    }

    /// Our end of a connection is closed.
    pub(crate) fn cli_conn_gone(&mut self, u: usize, cc: usize) {
        self.clis[u].conns[cc].open = false;
        self.truth.note(|| format!("cli {u}.{cc} is closed"));
        let sessions: Vec<String> = self.clis[u].live.keys().cloned().collect();
        for session in sessions {
            self.cli_detaches(u, cc, &session);
        }
    }

    pub(crate) fn cli_detaches(&mut self, u: usize, cc: usize, session: &str) {
        let Some(live) = self.clis[u].live.get_mut(session) else { return };
        if live.attached.remove(&cc) && live.attached.is_empty() {
            self.clis[u].live.remove(session);
        }
    }
}
