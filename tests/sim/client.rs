//! A client: it asks for anything, in any order, with ids that it uses again, answers what it is asked or does not,
//! reads slowly, and knows for each of its requests what the answer must carry.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use fairlead::rpc::frame::OVERSIZE_HEAD;
use fairlead::session::table::CreateExisting;

use super::truth::{Rule, Sent};
use super::wire::{Cutter, Pipe, number, raw, text};
use super::world::World;

pub(crate) struct Waiting {
    pub(crate) token: u64,
    pub(crate) id: String,
    pub(crate) method: &'static str,
    pub(crate) session: Option<String>,
    pub(crate) long: bool,
    /// It is larger than we take.
    pub(crate) large: bool,
    /// When its last byte was read.
    pub(crate) since: Option<Duration>,
}

impl Waiting {
    /// What is answered here, or by the whole fleet, is not kept for a CLI.
    pub(crate) fn apart(&self) -> bool {
        matches!(self.method, "connect" | "ping" | "session.list" | "runtime.shutdown")
            || self.large
    }

    /// Whether it may have to be asked of another CLI, or in other words.
    pub(crate) fn is_asked_again(&self) -> bool {
        self.method == "models.list" || self.method == "session.create" && self.session.is_some()
    }
}

#[derive(Default)]
pub(crate) struct Client {
    pub(crate) up: Pipe,
    pub(crate) down: Pipe,
    cutter: Cutter,
    next_id: u64,
    pub(crate) written: u64,
    /// Where each frame ends in what was written.
    pub(crate) ends: VecDeque<(u64, u64)>,
    pub(crate) waiting: Vec<Waiting>,
    /// Requests of CLIs that it may answer still.
    asked: Vec<(String, u64)>,
    open_asks: BTreeSet<String>,
    last: BTreeMap<(usize, usize), u64>,
    /// requestIds that it heard of.
    prompts: Vec<(String, String)>,
    pub(crate) finished: bool,
    /// When its FIN was seen.
    pub(crate) finished_at: Option<Duration>,
    /// It wrote what nobody can read on from: from this token on it is owed no answer.
    pub(crate) unruly: Option<u64>,
    /// Its conn ended in good order: what it asked is answered.
    pub(crate) due: bool,
    /// Which of its sessions were cut in a turn, and it did not hear of it yet.
    pub(crate) cut: BTreeSet<String>,
    /// Which of its sessions it heard of for the last time.
    over: BTreeSet<String>,
    /// What a bug made of what was not for it.
    pub(crate) strays: Vec<String>,
}

impl Client {
    /// Whether it must hear of this request.
    pub(crate) fn is_owed(&self, waiting: &Waiting) -> bool {
        waiting.since.is_some() && self.unruly.is_none_or(|from| waiting.token < from)
    }

    /// Whether it writes nothing any more.
    pub(crate) fn quiet(&self) -> bool {
        self.finished || self.unruly.is_some()
    }
}

const METHODS: [&str; 33] = [
    "session.send",
    "session.send",
    "session.send",
    "session.send",
    "session.create",
    "session.create",
    "session.create",
    "session.create",
    "session.resume",
    "session.resume",
    "session.resume",
    "session.resume",
    "session.getMessages",
    "session.getMessages",
    "session.mode.get",
    "session.getMetadata",
    "session.abort",
    "session.history.compact",
    "session.detach",
    "session.detach",
    "session.destroy",
    "session.delete",
    "session.shutdown",
    "sessions.fork",
    "session.tools.handlePendingToolCall",
    "session.tasks.startAgent",
    "session.tasks.startAgent",
    "connect",
    "models.list",
    "ping",
    "session.list",
    "runtime.shutdown",
    "session.notInAnyTable",
];

impl World {
    /// Something that the client does.
    pub(crate) fn client_acts(&mut self, c: usize) {
        let many = 1 + self.rng.below(3);
        for _ in 0..many {
            match self.rng.below(14) {
                0..8 => self.client_asks(c),
                8 => self.client_notifies(c),
                _ => self.client_answers(c),
            }
        }
    }

    fn write(&mut self, c: usize, body: &str, token: u64) {
        let client = &mut self.conns[c].client;
        let before = client.up.len();
        client.up.frame(body);
        client.written += (client.up.len() - before) as u64;
        client.ends.push_back((client.written, token));
        self.truth.note(|| format!("conn {c} writes {body}"));
    }

    /// Mostly one that it has; sometimes a prefix of one, or one that nobody has.
    fn a_session(&mut self, c: usize) -> String {
        if !self.rng.one_in(3) {
            let on = &self.conns[c].on;
            let at = self.rng.below(on.len());
            if let Some(session) = on.keys().nth(at) {
                return session.clone();
            }
        }
        let at = self.rng.below(self.sessions.len());
        let name = self.sessions[at].clone();
        match self.rng.below(30) {
            0 => name.chars().take(8).collect(),
            1 => name.chars().take(name.len() - 1).collect(),
            2 => format!("unknown-{}", self.rng.below(3)),
            _ => name,
        }
    }

    fn an_id(&mut self, c: usize) -> Option<String> {
        let client = &mut self.conns[c].client;
        client.next_id += 1;
        let id = match (c % 3, self.rng.below(12)) {
            // In flight already: one at a time, so that it is known which of the two is meant.
            (_, 0) => {
                let waiting = &self.conns[c].client.waiting;
                let id = self.rng.pick(waiting)?.id.clone();
                let twice = waiting.iter().filter(|w| w.id == id).count() > 1;
                return (!twice).then_some(id);
            }
            (0, _) => client.next_id.to_string(),
            (1, _) => format!("\"r-{}\"", client.next_id),
            (_, n) => (n / 2).to_string(),
        };
        let taken = self.conns[c].client.waiting.iter().any(|w| w.id == id);
        (!taken).then_some(id)
    }

    fn client_asks(&mut self, c: usize) {
        let at = self.rng.below(METHODS.len());
        let method = match METHODS[at] {
            "session.detach" | "session.delete" | "session.shutdown" if self.rng.one_in(2) => {
                "session.send"
            }
            "session.send" | "session.mode.get" if self.conns[c].on.is_empty() => "session.create",
            method => method,
        };
        let Some(id) = self.an_id(c) else { return };
        let back = self.insists.take_if(|(conn, _)| *conn == c).map(|(_, session)| session);
        let method = if back.is_some() { "session.resume" } else { method };
        let named = !matches!(
            method,
            "connect" | "models.list" | "ping" | "session.list" | "runtime.shutdown"
        );
        let mut session = Some(back.unwrap_or_else(|| self.a_session(c))).filter(|_| named);
        // Nobody can know what a resume and a detach that race give: the CLI runs them in any order.
        let races = |m: &str| {
            matches!(m, "session.create" | "session.resume" | "session.detach" | "session.destroy")
        };
        let waiting = &self.conns[c].client.waiting;
        if races(method) && waiting.iter().any(|w| races(w.method) && w.session == session) {
            if !self.rng.one_in(4) {
                return;
            }
            self.truth.muddled.extend(session.iter().map(|s| (c, s.clone())));
        }
        let token = self.truth.token();
        let mut params = format!(r#""tok":{token}"#);
        match method {
            "connect" => params = r#""supportedTaskKinds":["agent","client"]"#.into(),
            "session.create" if self.rng.one_in(6) => session = None,
            "session.create" if self.rng.one_in(12) => {
                session = None;
                params.push_str(r#","cloud":{"a":1}"#);
            }
            "ping" => params.push_str(&format!(r#","message":"p{token}""#)),
            "session.send" if self.rng.one_in(4) => params.push_str(r#","mode":"immediate""#),
            "session.tools.handlePendingToolCall" => {
                let known = self.rng.below(self.conns.len());
                let prompt = self.rng.pick(&self.conns[known].client.prompts).cloned();
                let (of, ask) = prompt.unwrap_or_else(|| (String::new(), "ask-none".into()));
                if self.rng.one_in(2) {
                    session = Some(of).filter(|s| !s.is_empty()).or(session);
                }
                params.push_str(&format!(r#","requestId":"{ask}""#));
            }
            _ => {}
        }
        if session.is_some() && self.rng.one_in(3) {
            params.push_str(r#","pad" : [ 1, {"sessionId":"no"} , "\u00e9"]"#);
        }
        let large = self.rng.one_in(60);
        let pad = if large { self.padding() } else { String::new() };
        let telemetry = matches!(method, "session.create" | "session.resume") && self.rng.one_in(3);
        let asked = session.as_ref().map(|s| format!(r#""sessionId":"{s}","#)).unwrap_or_default();
        let body = |method: &str, more: &str, order: bool| match order {
            false => format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{asked}{params}{more}}}}}"#
            ),
            true => format!(
                r#"{{ "params" : {{{asked}{params}{more}}}, "method": "{method}","id":{id} ,"jsonrpc":"2.0"}}"#
            ),
        };
        let order = self.rng.one_in(4);
        let more = if telemetry { r#","enableGitHubTelemetryForwarding":true"# } else { "" };
        let sent = body(method, &format!("{more}{pad}"), order);
        // What is too large arrives nowhere.
        let mut bodies = if large { Vec::new() } else { vec![body(method, "", order)] };
        if method == "session.create" && self.create_existing == CreateExisting::Resume && !large {
            bodies.push(body("session.resume", "", order));
        }
        // No one looks so far for its id.
        if order && pad.len() > OVERSIZE_HEAD {
            self.conns[c].client.unruly.get_or_insert(token);
        }
        let long = fairlead::rpc::methods::method(method).is_some_and(|m| m.is_long());
        let of = session.clone();
        let record = Sent::new(c, session, bodies);
        self.truth.sent.insert(token, record);
        let waiting = Waiting { token, id, method, session: of, long, large, since: None };
        self.conns[c].client.waiting.push(waiting);
        self.write(c, &sent, token);
    }

    fn client_notifies(&mut self, c: usize) {
        let (token, session) = (self.truth.token(), self.a_session(c));
        let large = self.rng.one_in(40);
        let pad = if large { self.padding() } else { String::new() };
        let body = format!(
            r#"{{"jsonrpc":"2.0","method":"session.told","params":{{"sessionId":"{session}","tok":{token}{pad}}}}}"#
        );
        let (session, bodies) = (Some(session), vec![body.clone()]);
        // It has no id to be refused by.
        if large {
            self.conns[c].client.unruly.get_or_insert(token);
        }
        let record = Sent::new(c, session, bodies);
        self.truth.sent.insert(token, record);
        self.write(c, &body, token);
    }

    /// It answers what a CLI asked: once, twice, under a wrong id, or not at all.
    fn client_answers(&mut self, c: usize) {
        let waiting = self.conns[c].client.asked.len();
        if waiting == 0 {
            return;
        }
        let at = self.rng.below(waiting);
        let how = self.rng.below(10);
        let (id, token) = self.conns[c].client.asked[at].clone();
        let id = match how {
            0 => format!("\"{id}\""),
            1 => format!("{}", 7_000_000 + self.rng.below(5)),
            _ => {
                if how > 2 {
                    self.conns[c].client.asked.remove(at);
                }
                self.conns[c].client.open_asks.remove(&id);
                id
            }
        };
        let large = self.rng.one_in(12);
        let pad = if large { self.padding() } else { String::new() };
        let said = if self.rng.one_in(5) {
            format!(r#""error":{{"code":-1,"message":"no","data":{{"tok":{token}{pad}}}}}"#)
        } else {
            format!(r#""result":{{"tok":{token}{pad}}}"#)
        };
        if large {
            self.truth.unreadable.insert(token);
            self.takes_answer_for_request(c, &id);
        }
        self.write(c, &format!(r#"{{"jsonrpc":"2.0","id":{id},{said}}}"#), 0);
    }

    /// It reads some of what waits for it.
    pub(crate) fn client_reads(&mut self, c: usize, most: usize) {
        let bytes = self.conns[c].client.down.take(most);
        if bytes.is_empty() {
            return;
        }
        match self.conns[c].client.cutter.add(&bytes) {
            Ok(bodies) => {
                for (to, body) in self.spoil(c, bodies) {
                    self.client_gets(to, &body);
                }
            }
            Err(what) => self.truth.fail(Rule::Bytes, what),
        }
    }

    fn client_gets(&mut self, c: usize, body: &str) {
        self.truth.note(|| format!("conn {c} gets {body}"));
        match (raw(body, "id"), text(body, "method")) {
            (_, Some("session.lifecycle" | "host.event")) => self.hears_broadcast(c, body),
            (_, Some("session.event")) => {
                self.hears_of_cut(c, body);
                let World { conns, truth, .. } = self;
                truth.heard(c, body, &mut conns[c].client.last);
                if let (Some(of), Some(ask)) = (text(body, "sessionId"), text(body, "requestId")) {
                    self.conns[c].client.prompts.push((of.to_owned(), ask.to_owned()));
                }
            }
            (Some(id), Some(_)) => {
                if !self.conns[c].client.open_asks.insert(id.to_owned()) {
                    self.truth.fail(Rule::Mixed, format!("conn {c} is asked twice as {id}"));
                }
                if let Some(token) = self.truth.asked(c, body) {
                    self.conns[c].client.asked.push((id.to_owned(), token));
                }
            }
            (Some(id), None) => self.client_is_answered(c, id, body),
            (None, _) => self.truth.fail(Rule::Mixed, format!("conn {c} gets {body}")),
        }
    }

    fn client_is_answered(&mut self, c: usize, id: &str, body: &str) {
        self.truth.checked[usize::from(number(body, "tok").is_none())] += 1;
        let refused = body.contains(r#""code":-32046"#);
        let waiting = &mut self.conns[c].client.waiting;
        let large = |w: &Waiting| w.large || self.truth.sent[&w.token].large_answer;
        if refused && !waiting.iter().any(|w| w.id == id && large(w)) {
            let what = format!("conn {c}: nothing of {id} is too large: {body}");
            return self.truth.fail(Rule::Mixed, what);
        }
        let fitting: Vec<usize> = (0..waiting.len()).filter(|w| waiting[*w].id == id).collect();
        let at = if body.contains("the id is in use") { fitting.last() } else { fitting.first() };
        let Some(&at) = at else {
            return self.truth.fail(Rule::Unanswered, format!("conn {c} never asked {id}: {body}"));
        };
        let token = number(body, "tok");
        let meant = fitting
            .iter()
            .copied()
            .find(|w| Some(waiting[*w].token) == token || refused && large(&waiting[*w]));
        let asked = waiting.remove(meant.unwrap_or(at));
        if token.is_some() && meant.is_none() {
            let what = format!("conn {c} asked {} and hears {body}", asked.token);
            return self.truth.fail(Rule::Mixed, what);
        }
        if asked.method == "ping"
            && body.contains("result")
            && !body.contains(&format!("pong: p{}\"", asked.token))
        {
            return self
                .truth
                .fail(Rule::Mixed, format!("conn {c} pinged {}: {body}", asked.token));
        }
        if asked.method == "session.shutdown" && body.contains("\"result\"") {
            self.truth.shut.insert(asked.token);
        }
        let said = self.truth.sent.get(&asked.token).and_then(|s| s.answer.as_deref());
        if token.is_some() && said.is_some_and(|said| said != body) {
            self.truth
                .fail(Rule::Bytes, format!("conn {c} hears another text: {body}\n was {said:?}"));
        }
    }

    /// When a conn is cut, the client hears of each turn that it is over, and then nothing more of it.
    fn hears_of_cut(&mut self, c: usize, body: &str) {
        let Some(session) = text(body, "sessionId") else { return };
        let client = &mut self.conns[c].client;
        if number(body, "tok").is_some() {
            if client.over.contains(session) {
                self.truth.fail(Rule::Turn, format!("conn {c} hears more after its end: {body}"));
            }
        } else if body.contains(r#""type":"session.idle""#) && client.cut.remove(session) {
            client.over.insert(session.to_owned());
        }
    }
}
