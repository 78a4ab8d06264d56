//! A CLI: sessions in memory and on disk, connections that are told everything of the sessions that they attached.
//!
//! It does what was seen of a CLI 1.0.102: requests run in any order, ids of its requests count from 1 on each
//! connection, the last connection to leave a session ends it, UUID prefixes resume and delete. And it fails in every
//! way that a CLI can: says nothing, dies, leaves, answers a resume with another session.

use std::collections::{BTreeMap, BTreeSet};

use fairlead::session::table::Storage;

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
    pub(crate) reset: bool,
    pub(crate) greeted: bool,
    pub(crate) input: Pipe,
    pub(crate) output: Pipe,
    cutter: Cutter,
    todo: Vec<Request>,
    /// Answers that come late.
    late: Vec<String>,
    next_ask: u64,
    /// What it asked, by the raw id, with the token.
    asked: BTreeMap<String, u64>,
    /// The last frame of each session.
    last: BTreeMap<String, u64>,
}

#[derive(Default)]
pub(crate) struct Live {
    pub(crate) attached: BTreeSet<usize>,
    /// How far the turn that runs is.
    turn: Option<u8>,
    queue: u32,
    compacting: bool,
    pub(crate) batch: u64,
    halted: bool,
    /// Others sent to it too, or it was aborted: whose send a `user.message` is, nobody can tell, so that a send which
    /// crosses an idle may go unseen until its own events come.
    murky: bool,
}

impl Live {
    pub(crate) fn busy(&self) -> bool {
        self.turn.is_some() || self.compacting
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
}

impl World {
    pub(crate) fn cli_accepts(&mut self, u: usize, conn: usize) -> usize {
        self.clis[u].conns.push(CliConn {
            conn,
            open: true,
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
            if conn.reset {
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
        let Some(sent) = self.truth.sent.get(&token) else {
            return self.truth.fail(Rule::Bytes, format!("a frame that no client sent: {body}"));
        };
        let (from, on) = (sent.conn, sent.on);
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
        if let Some(ask) = text(body, "requestId") {
            if self.truth.asks.get(ask).is_none_or(|of| of != session) {
                return self.truth.fail(Rule::Misrouted, format!("a foreign requestId: {body}"));
            }
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
        if asked.is_none() && body.contains("did not answer in time") {
            return self
                .truth
                .fail(Rule::WrongAsker, format!("cli {u}.{cc} asked nothing: {body}"));
        }
        if body.contains("did not answer in time") {
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
    fn cli_conn_gone(&mut self, u: usize, cc: usize) {
        self.clis[u].conns[cc].open = false;
        self.truth.note(|| format!("cli {u}.{cc} is closed"));
        let sessions: Vec<String> = self.clis[u].live.keys().cloned().collect();
        for session in sessions {
            self.cli_detaches(u, cc, &session);
        }
    }

    fn cli_detaches(&mut self, u: usize, cc: usize, session: &str) {
        let Some(live) = self.clis[u].live.get_mut(session) else { return };
        if live.attached.remove(&cc) && live.attached.is_empty() {
            self.clis[u].live.remove(session);
        }
    }

    fn cli_works(&mut self, u: usize, cc: usize) {
        let late = self.clis[u].conns[cc].late.len();
        if late > 0 && self.rng.one_in(2) {
            let at = self.rng.below(late);
            let answer = self.clis[u].conns[cc].late.remove(at);
            return self.clis[u].conns[cc].output.frame(&answer);
        }
        let waiting = self.clis[u].conns[cc].todo.len();
        if waiting == 0 {
            return;
        }
        let at = if self.rng.one_in(2) { 0 } else { self.rng.below(waiting) };
        let request = self.clis[u].conns[cc].todo.remove(at);
        // Requests whose answers have no bound of ours are answered, or their CLI is found dead.
        let long = fairlead::rpc::methods::method(&request.method).is_some_and(|m| m.is_long());
        if !long && !self.settling && self.rng.one_in(40) {
            self.truth.note(|| format!("cli {u}.{cc} swallows {}", request.id));
            return;
        }
        let outcome = self.cli_runs(u, cc, &request);
        let (name, value) = match outcome {
            Ok(result) => ("result", format!(r#"{{"tok":{}{result}}}"#, request.token)),
            Err((code, why)) => (
                "error",
                format!(
                    r#"{{"code":{code},"message":"Request {} failed with message: {why}","data":{{"tok":{}}}}}"#,
                    request.method, request.token
                ),
            ),
        };
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{},"{name}":{value}}}"#, request.id);
        self.truth.note(|| format!("cli {u}.{cc} answers {answer}"));
        if let Some(sent) = self.truth.sent.get_mut(&request.token) {
            sent.answer = Some(answer.clone());
        }
        if self.swallows_answer(&request.method) {
            return;
        }
        // What a create or resume says comes before the session's events.
        let places = request.method == "session.create" || request.method == "session.resume";
        if self.rng.one_in(4) && !places {
            self.clis[u].conns[cc].late.push(answer.clone());
        } else {
            self.clis[u].conns[cc].output.frame(&answer);
        }
        if places && name == "result" {
            let session = request.session.or_else(|| text(&answer, "sessionId").map(str::to_owned));
            if let Some(session) = session.filter(|s| self.clis[u].live.contains_key(s)) {
                self.cli_tells(u, &session, "session.tools_updated", "");
            }
        }
    }

    /// What a request does. Gives the rest of the result, or code and message of the error.
    fn cli_runs(
        &mut self,
        u: usize,
        cc: usize,
        request: &Request,
    ) -> Result<String, (i64, String)> {
        if self.clis[u].leaving {
            return Err((-32000, "SERVER_SHUTTING_DOWN".into()));
        }
        let session = request.session.clone().unwrap_or_default();
        let not_found = || Err((-32603, format!("Session not found: {session}")));
        let disk = self.disk_of(u);
        match request.method.as_str() {
            "session.create" => self.cli_creates(u, cc, request),
            "session.resume" => self.cli_resumes(u, cc, &session),
            "session.detach" | "session.destroy" => {
                self.cli_detaches(u, cc, &session);
                Ok(r#","success":true"#.into())
            }
            "session.delete" => {
                self.cli_announces(u, &session, "session.deleted");
                let known = self.clis[u].live.remove(&session).is_some();
                let gone = self.disks[disk].remove(&session) || known;
                Ok(format!(r#","success":{gone}"#))
            }
            "session.getMetadata" if self.disks[disk].contains(&session) => {
                Ok(format!(r#","session":{{"sessionId":"{session}"}}"#))
            }
            "session.getMetadata" | "models.list" => Ok(String::new()),
            "sessions.fork" if self.disks[disk].contains(&session) => {
                let fork = format!("fork-{}", request.token);
                self.disks[disk].insert(fork.clone());
                self.truth.ever.insert(fork.clone());
                Ok(format!(r#","sessionId":"{fork}""#))
            }
            _ if !self.clis[u].live.contains_key(&session) => not_found(),
            "session.send" => self.cli_is_sent(u, cc, request, &session),
            "session.history.compact" => {
                self.cli_tells(u, &session, "session.compaction_start", "");
                if let Some(live) = self.clis[u].live.get_mut(&session) {
                    live.compacting = true;
                }
                Ok(String::new())
            }
            "session.abort" => {
                let live = self.clis[u].live.entry(session.clone()).or_default();
                if live.turn.take().is_some() {
                    (live.queue, live.murky) = (0, true);
                    self.cli_idles(u, &session, r#","data":{"aborted":true}"#);
                }
                Ok(r#","success":true"#.into())
            }
            "session.shutdown" => {
                self.cli_tells(u, &session, "session.shutdown", "");
                let live = self.clis[u].live.entry(session).or_default();
                (live.halted, live.turn, live.queue, live.compacting) = (true, None, 0, false);
                Ok(String::new())
            }
            "session.tools.handlePendingToolCall" => Ok(r#","success":true"#.into()),
            _ => Ok(r#","said":"something""#.into()),
        }
    }

    fn cli_creates(
        &mut self,
        u: usize,
        cc: usize,
        request: &Request,
    ) -> Result<String, (i64, String)> {
        let named = request.session.clone();
        let session = named.unwrap_or_else(|| format!("cloud-{}", request.token));
        if self.rng.one_in(30) {
            return Err((-32603, "the model is not there".into()));
        }
        let disk = self.disk_of(u);
        // With own storage nobody knows what lies on the disk of one that is down: a create goes elsewhere, and with
        // bad luck to that one, just when it is back.
        let known = self.storage == Storage::Shared || !self.members[u].was_down;
        let stored =
            !self.clis[u].live.contains_key(&session) && self.disks[disk].contains(&session);
        if known && stored {
            let what = format!("cli {u} starts {session} blank: {}", request.body);
            self.truth.fail(Rule::Misrouted, what);
        }
        self.cli_attaches(u, cc, &session);
        Ok(format!(r#","sessionId":"{session}""#))
    }

    fn cli_resumes(&mut self, u: usize, cc: usize, session: &str) -> Result<String, (i64, String)> {
        let disk = self.disk_of(u);
        if self.clis[u].live.get(session).is_some_and(|l| l.halted) {
            return Err((-32603, "Session event stream is closed".into()));
        }
        if self.rng.one_in(30) {
            return Err((-32603, "the provider is not there".into()));
        }
        if !self.clis[u].live.contains_key(session) && !self.disks[disk].contains(session) {
            return Err((
                -32603,
                format!("Failed to load session events: Session not found: {session}"),
            ));
        }
        self.cli_attaches(u, cc, session);
        let other = self.rng.one_in(50);
        let said = if other { format!("{session}-another") } else { session.to_owned() };
        Ok(format!(r#","sessionId":"{said}""#))
    }

    fn cli_attaches(&mut self, u: usize, cc: usize, session: &str) {
        self.truth.ever.insert(session.to_owned());
        if !self.clis[u].live.contains_key(session) {
            self.cli_announces(u, session, "session.created");
        }
        let batch = self.truth.token();
        let new = || Live { batch, ..Live::default() };
        self.clis[u].live.entry(session.to_owned()).or_insert_with(new).attached.insert(cc);
        let held = |cli: &Cli| {
            // One that was halted writes nothing any more, until it is closed.
            let live = cli.live.get(session).filter(|l| cli.alive && !l.halted);
            live.is_some_and(|l| l.attached.iter().any(|cc| !cli.conns[*cc].reset))
        };
        let holders: Vec<usize> = (0..self.clis.len()).filter(|u| held(&self.clis[*u])).collect();
        if holders.len() > 1 {
            self.truth.fail(Rule::TwoHolders, format!("{session} is in memory on {holders:?}"));
        }
    }

    fn cli_is_sent(
        &mut self,
        u: usize,
        cc: usize,
        request: &Request,
        session: &str,
    ) -> Result<String, (i64, String)> {
        if self.rng.one_in(15) {
            return Err((-32603, "no model".into()));
        }
        let (disk, conn) = (self.disk_of(u), self.clis[u].conns[cc].conn);
        self.disks[disk].insert(session.to_owned());
        let on = self.truth.sent.get(&request.token).is_some_and(|s| s.on == Some(u as u32));
        let Some(live) = self.clis[u].live.get_mut(session).filter(|l| !l.halted) else {
            return Ok(r#","messageId":"halted""#.into());
        };
        live.queue += 1;
        live.turn.get_or_insert(0);
        live.murky |= live.attached.len() != 1 || !live.attached.contains(&cc);
        if on && !live.murky && live.attached.contains(&cc) {
            self.truth.obliged.insert((conn, session.to_owned()), live.batch);
        }
        Ok(r#","messageId":"m""#.into())
    }

    /// A turn that runs takes its next step.
    fn cli_goes_on(&mut self, u: usize) {
        let busy: Vec<String> =
            self.clis[u].live.iter().filter(|(_, l)| l.busy()).map(|(s, _)| s.clone()).collect();
        let Some(session) = self.rng.pick(&busy).cloned() else { return };
        let asks = self.rng.below(6);
        let Some(live) = self.clis[u].live.get_mut(&session) else { return };
        if std::mem::take(&mut live.compacting) {
            return self.cli_tells(u, &session, "session.compaction_complete", "");
        }
        let Some(step) = live.turn else { return };
        live.turn = Some(step + 1);
        match step {
            0 => {
                live.queue = live.queue.saturating_sub(1);
                self.cli_tells(u, &session, "user.message", "");
            }
            1 => self.cli_tells(u, &session, "assistant.turn_start", ""),
            2 => match asks {
                0 => self.cli_asks(u, &session, "userInput.request"),
                1 => self.cli_asks(u, &session, "hooks.invoke"),
                2 => {
                    let ask = format!("ask-{}", self.truth.token());
                    self.truth.asks.insert(ask.clone(), session.clone());
                    let data = format!(r#","data":{{"requestId":"{ask}"}}"#);
                    self.cli_tells(u, &session, "external_tool.requested", &data);
                }
                _ => self.cli_tells(u, &session, "assistant.message", ""),
            },
            3 => self.cli_tells(u, &session, "assistant.turn_end", ""),
            _ => {
                live.turn = Some(0).filter(|_| live.queue > 0);
                if live.turn.is_none() {
                    self.cli_idles(u, &session, r#","data":{}"#);
                }
            }
        }
    }

    fn cli_idles(&mut self, u: usize, session: &str, data: &str) {
        self.cli_tells(u, session, "session.idle", data);
        let batch = self.truth.token();
        if let Some(live) = self.clis[u].live.get_mut(session) {
            live.batch = batch;
        }
    }

    fn listeners(&self, u: usize, session: &str) -> (Vec<usize>, u64) {
        let Some(live) = self.clis[u].live.get(session) else { return (Vec::new(), 0) };
        let open = |cc: &&usize| self.clis[u].conns[**cc].open;
        (live.attached.iter().filter(open).copied().collect(), live.batch)
    }

    /// Everybody who is attached is told.
    pub(crate) fn cli_tells(&mut self, u: usize, session: &str, kind: &'static str, more: &str) {
        let (listeners, batch) = self.listeners(u, session);
        for cc in listeners {
            let to = (self.clis[u].conns[cc].conn, u, cc);
            let (_, body) = self.truth.tells(to, session, kind, batch, |token| {
                format!(
                    r#"{{"jsonrpc":"2.0","method":"session.event","params":{{"sessionId":"{session}","event":{{"type":"{kind}","id":"e{token}","tok":{token}{more}}}}}}}"#
                )
            });
            self.clis[u].conns[cc].output.frame(&body);
        }
    }

    /// Every connection is told, whatever it has to do with the session.
    fn cli_announces(&mut self, u: usize, session: &str, kind: &str) {
        for cc in 0..self.clis[u].conns.len() {
            if !self.clis[u].conns[cc].open || !self.clis[u].conns[cc].greeted {
                continue;
            }
            let to = (self.clis[u].conns[cc].conn, u, cc);
            let (_, body) = self.truth.tells(to, session, "session.lifecycle", 0, |token| {
                format!(
                    r#"{{"jsonrpc":"2.0","method":"session.lifecycle","params":{{"type":"{kind}","sessionId":"{session}","tok":{token}}}}}"#
                )
            });
            self.clis[u].conns[cc].output.frame(&body);
        }
    }

    fn cli_asks(&mut self, u: usize, session: &str, method: &'static str) {
        let (listeners, batch) = self.listeners(u, session);
        for cc in listeners {
            let id = self.clis[u].conns[cc].next_ask;
            self.clis[u].conns[cc].next_ask += 1;
            let to = (self.clis[u].conns[cc].conn, u, cc);
            let (token, body) = self.truth.tells(to, session, method, batch, |token| {
                format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"sessionId":"{session}","tok":{token}}}}}"#
                )
            });
            let conn = &mut self.clis[u].conns[cc];
            conn.asked.insert(id.to_string(), token);
            conn.output.frame(&body);
        }
    }

    /// The process ends.
    pub(crate) fn cli_dies(&mut self, u: usize) {
        self.truth.note(|| format!("cli {u} dies"));
        let cut = self.rng.one_in(2);
        let cli = &mut self.clis[u];
        (cli.alive, cli.wedged, cli.leaving) = (false, false, false);
        cli.live.clear();
        for conn in cli.conns.iter_mut().filter(|c| c.open) {
            conn.open = false;
            if cut {
                conn.output.clear();
            }
        }
    }
}
