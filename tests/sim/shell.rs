//! The shell around the cores, in the small: what `proxy::jsonrpc` and `upstream::pool` do with actions, answers and
//! wakes, with pipes for sockets.

use std::io::IoSlice;
use std::rc::Rc;
use std::time::Duration;

use fairlead::error::{Reason, Refusal};
use fairlead::id::{ConnId, LinkId, UpstreamId};
use fairlead::rpc::mux::{Action, End, Found, Hello, Ticket, Verdict};
use fairlead::rpc::out::Outgoing;
use fairlead::session::table::Absence;

use super::mutate::Mutation;
use super::pool::Task;
use super::truth::Rule;
use super::wire::{Cutter, number, number_in};
use super::world::{Lease, World};

pub(crate) struct LinkIo {
    pub(crate) upstream: usize,
    /// The CLI's end, once it is made.
    pub(crate) end: Option<usize>,
    /// What went into the mux, for the books of who knows what.
    seen: Cutter,
}

pub(crate) enum Event {
    Again(Ticket, Option<Absence>),
    Answered(Ticket, Result<String, Refusal>),
    Greeted(Ticket, bool),
    Dead(usize),
    /// A CLI told everybody something of a session.
    Notice(usize, String, String),
}

impl World {
    /// What the task of a conn does when it is woken.
    pub(crate) fn poll(&mut self, c: usize) {
        if !self.conns[c].alive {
            return;
        }
        while let Some(event) = self.conns[c].inbox.pop_front() {
            self.take_event(c, event);
            self.act(c);
        }
        let now = self.now();
        if self.conns[c].tick_at.is_some_and(|at| at <= self.elapsed) {
            self.conns[c].tick_at = None;
            self.conns[c].mux.tick(now);
        }
        if self.conns[c].broken {
            self.conns[c].mux.client_broke();
            return self.leave(c);
        }
        if self.mutation == Some(Mutation::HalfCloseIsAll)
            && self.conns[c].client.finished_at.is_some()
        {
            self.leave(c);
            self.conns[c].client.due = true;
            return;
        }
        let moved = self.poll_links(c);
        if moved && self.rng.one_in(2) {
            self.act(c);
            self.poll_client(c, true);
        } else {
            self.poll_client(c, !moved);
        }
        self.act(c);
        self.flush(c);
        let done = self.conns[c].mux.done().is_some();
        if done && self.conns[c].mux.client_out().is_empty() {
            return self.leave(c);
        }
        if self.conns[c].tick_at.is_none() && self.conns[c].mux.needs_ticks() {
            self.conns[c].tick_at = Some(self.elapsed + Duration::from_secs(1));
        }
    }

    fn leave(&mut self, c: usize) {
        let (now, conn) = (self.now(), &self.conns[c]);
        let due = match conn.mux.done() {
            Some(End::Client) => conn.client.finished_at.is_some(),
            Some(End::Drained | End::Protocol(_)) => true,
            Some(End::Stalled) | None => false,
        };
        self.conns[c].client.due = due && !self.conns[c].broken;
        self.truth.note(|| format!("conn {c} ends, due: {due}"));
        self.conns[c].mux.close(now);
        self.act(c);
        self.conns[c].alive = false;
        self.conns[c].inbox.clear();
    }

    fn take_event(&mut self, c: usize, event: Event) {
        let now = self.now();
        match event {
            Event::Again(ticket, absence) => {
                if let Some((session, want)) = self.conns[c].seeking.remove(&ticket) {
                    self.seek(c, ticket, session, want, absence);
                }
            }
            Event::Answered(ticket, answer) => {
                let answer = answer.as_ref().map(String::as_bytes).map_err(Clone::clone);
                self.conns[c].mux.answered(ticket, answer, now);
            }
            Event::Greeted(ticket, up) => {
                let hello = Hello { version: "1.0.102".into(), protocol: 3, task_kinds: vec![] };
                self.conns[c].mux.greeted(ticket, Some(&hello).filter(|_| up), now.at);
            }
            Event::Notice(u, session, body) => {
                self.conns[c].mux.notice(UpstreamId(u as u32), &session, body.into(), now.at);
            }
            Event::Dead(u) => {
                let link =
                    self.conns[c].links.iter().find(|(_, l)| l.upstream == u).map(|(id, _)| *id);
                if let Some(link) = link {
                    self.conns[c].mux.link_lost(link, now);
                }
            }
        }
    }

    fn poll_links(&mut self, c: usize) -> bool {
        let may_read = !self.conns[c].mux.congested();
        let ids: Vec<LinkId> = self.conns[c].links.keys().copied().collect();
        let mut moved = false;
        for id in ids {
            if self.rng.one_in(4) && !self.settling {
                continue;
            }
            let Some(link) = self.conns[c].links.get(&id) else { continue };
            match (link.end, link.upstream) {
                (None, u) => moved |= self.link_connects(c, id, u),
                (Some(cc), u) if may_read => moved |= self.link_reads(c, id, u, cc),
                (Some(_), _) => {}
            }
        }
        moved
    }

    fn link_connects(&mut self, c: usize, id: LinkId, u: usize) -> bool {
        let now = self.now();
        if !self.settling && self.rng.one_in(3) {
            return false;
        }
        if !self.clis[u].alive {
            self.conns[c].mux.link_lost(id, now);
            return true;
        }
        let cc = self.cli_accepts(u, c);
        if let Some(link) = self.conns[c].links.get_mut(&id) {
            link.end = Some(cc);
        }
        self.conns[c].mux.link_opened(id, self.token.as_ref());
        true
    }

    fn link_reads(&mut self, c: usize, id: LinkId, u: usize, cc: usize) -> bool {
        let now = self.now();
        let most = if self.settling { usize::MAX } else { 1 + self.rng.below(500) };
        let end = &mut self.clis[u].conns[cc];
        let bytes = end.output.take(most);
        if bytes.is_empty() {
            if !end.open {
                self.conns[c].mux.link_lost(id, now);
            }
            return !end.open;
        }
        let known = self.conns[c].mux.upstream_of(id).is_some();
        let mut strays = Vec::new();
        self.conns[c].mux.link_bytes(id, &bytes, now);
        let World { conns, truth, .. } = self;
        let conn = &mut conns[c];
        let Some(link) = conn.links.get_mut(&id).filter(|_| known) else { return true };
        let bodies = link.seen.add(&bytes).unwrap_or_default();
        // Answers to plain requests, and what is told: nothing in it is a reason to lose the link.
        let large = |body: &String| truth.answers_at_length(body);
        let harmless = |body: &String| large(body) || truth.tells_in_short(body);
        let large = bodies.iter().any(large) && bodies.iter().all(harmless);
        let large = large && link.seen.part() == 0;
        for body in bodies {
            truth.note(|| format!("conn {c} link {id:?} reads {body}"));
            let Some(token) = number(&body, "tok") else { continue };
            if truth.broadcasts.contains_key(&token) {
                strays.push(body);
            } else if let Some(told) = truth.told.get(&token) {
                let on = conn.on.get(&told.session).is_some_and(|on| *on as usize == u);
                let (who, agent) = ((c, told.session.clone()), number_in(&body, "agentId"));
                match (told.kind, agent) {
                    ("user.message" | "assistant.turn_start", None) if on => {
                        truth.obliged.insert(who, told.batch);
                    }
                    ("subagent.started", Some(agent)) if on => {
                        truth.agents.entry(who).or_default().insert(agent);
                    }
                    _ => {}
                }
            }
        }
        if large && self.conns[c].mux.upstream_of(id).is_none() {
            let what = format!("conn {c} loses {id:?} for an answer that is too large");
            self.truth.fail(Rule::Unanswered, what);
        }
        strays.iter().for_each(|body| self.strays(c, body));
        true
    }

    /// Lets the mux read its client. `sure`: what was said of the conn's sessions is up to date.
    fn poll_client(&mut self, c: usize, sure: bool) {
        let (now, elapsed) = (self.now(), self.elapsed);
        let most = if self.settling { 100_000 } else { 1 + self.rng.below(700) };
        let World { conns, truth, .. } = self;
        let conn = &mut conns[c];
        if !conn.mux.reads_client() || conn.mux.congested() {
            return;
        }
        let bytes = conn.client.up.take(most);
        if bytes.is_empty() {
            if conn.client.finished {
                conn.client.finished_at.get_or_insert(elapsed);
                conn.mux.client_finished(now.at);
            }
            return;
        }
        conn.fed += bytes.len() as u64;
        while let Some((_, token)) =
            conn.client.ends.front().copied().filter(|(end, _)| *end <= conn.fed)
        {
            conn.client.ends.pop_front();
            if let Some(waiting) = conn.client.waiting.iter_mut().find(|w| w.token == token) {
                waiting.since = Some(elapsed);
            }
            let Some(sent) = truth.sent.get_mut(&token) else { continue };
            let on = sent.session.as_ref().and_then(|s| conn.on.get(s));
            sent.on = on.copied().filter(|_| sure);
        }
        conn.mux.client_bytes(&bytes, now);
    }

    fn flush(&mut self, c: usize) {
        let most = if self.settling { usize::MAX } else { self.rng.below(900) };
        let World { conns, clis, .. } = self;
        let conn = &mut conns[c];
        let room = 4096usize.saturating_sub(conn.client.down.len()).min(most);
        conn.client.down.put(&taken(conn.mux.client_out(), room));
        for (id, link) in &conn.links {
            if let (Some(cc), Some(out)) = (link.end, conn.mux.link_out(*id)) {
                let end = &mut clis[link.upstream].conns[cc];
                let room = 4096usize.saturating_sub(end.input.len()).min(most);
                end.input.put(&taken(out, room));
            }
        }
    }

    pub(crate) fn act(&mut self, c: usize) {
        while let Some(action) = self.conns[c].mux.next_action() {
            self.truth.note(|| format!("conn {c} wants {action:?}").chars().take(260).collect());
            self.act_on(c, action);
            self.conns[c].mux.check_invariants();
        }
    }

    fn act_on(&mut self, c: usize, action: Action) {
        let (now, me) = (self.now(), ConnId(c as u64));
        match action {
            Action::Open(link, UpstreamId(u)) => {
                let io = LinkIo { upstream: u as usize, end: None, seen: Cutter::default() };
                self.conns[c].links.insert(link, io);
            }
            Action::Close(link) => self.ends_link(c, link, false),
            Action::Reset(link) => self.ends_link(c, link, true),
            Action::Seek(ticket, Some(session), want) => self.seek(c, ticket, session, want, None),
            Action::Seek(ticket, None, _) => {
                let found = match self.choose(None) {
                    Some(u) => Found::Go {
                        upstream: UpstreamId(u as u32),
                        epoch: 0,
                        resume: false,
                        reason: None,
                    },
                    None => Found::Refused(Refusal::new(Reason::NoUpstream, "no CLI is up")),
                };
                self.conns[c].mux.found(ticket, found, now);
            }
            Action::Choose(ticket) => {
                let chosen = self.choose(None).map(|u| UpstreamId(u as u32));
                self.conns[c].mux.chosen(ticket, chosen, now);
            }
            Action::Ask(ticket, method, body) => self.ask(c, ticket, method, &body),
            Action::Authenticate(ticket, _) => {
                self.conns[c].mux.authenticated(ticket, Verdict::Good, now.at);
            }
            Action::Greet(ticket) => self.tasks.push(Task::Greet(c, ticket)),
            Action::Attached(session, upstream, epoch, _) => {
                self.touches(c, session.as_str());
                self.conns[c].on.insert(session.to_string(), upstream.0);
                self.truth.since.insert((c, session.to_string()), self.truth.last_token);
                let count = Rc::clone(&self.leases);
                self.decide(|table| {
                    table.attached(&session, me, epoch);
                    table.lend(&session, |_| Some(Lease::take(&count)));
                });
            }
            Action::NotPlaced { session, epoch, absent } => {
                self.touches(c, session.as_str());
                self.decide(|table| table.not_placed(&session, me, epoch, absent, now.at));
            }
            Action::Left(session, upstream, epoch, how, _) => {
                self.touches(c, session.as_str());
                self.conns[c].on.remove(session.as_str());
                self.left(&session, me, upstream, epoch, how);
            }
            Action::Learned { session, upstream, attached, .. } => {
                if attached {
                    self.touches(c, session.as_str());
                }
                let life = attached.then(|| (me, Lease::take(&self.leases)));
                let epoch = self.decide(|t| t.learned(&session, upstream, life, now.at));
                if attached {
                    self.conns[c].on.insert(session.to_string(), upstream.0);
                }
                self.conns[c].mux.learned(&session, upstream, epoch);
            }
            Action::Busy(session, epoch, busy) => {
                let granted = self.conns[c].granted.remove(session.as_str());
                if busy == self.conns[c].busy.contains(session.as_str()) && !granted {
                    self.truth
                        .fail(Rule::Turn, format!("conn {c} says twice that {session} is {busy}"));
                }
                if busy {
                    self.conns[c].busy.insert(session.to_string());
                } else {
                    self.conns[c].busy.remove(session.as_str());
                }
                self.decide(|table| table.turn(&session, epoch, me, busy).is_some());
            }
            Action::Announced(session, ask) => self.decide(|t| t.announced(&session, ask)),
            Action::Settled(session, ask) => self.decide(|t| t.settled(&session, &ask)),
            Action::Leaving(UpstreamId(u)) => {
                self.members[u as usize].up = false;
                self.members[u as usize].was_down = true;
            }
            Action::TurnEnded(_)
            | Action::Denied(..)
            | Action::Deleted { .. }
            | Action::Answered(..)
            | Action::Misconfigured(..)
            | Action::LinkFailed(_)
            | Action::Odd(_) => {}
        }
    }
}

impl World {
    /// A link is closed, after all that was written, or reset, so that some of that may never be read.
    fn ends_link(&mut self, c: usize, link: LinkId, reset: bool) {
        let Some(LinkIo { upstream, end: Some(cc), .. }) = self.conns[c].links.remove(&link) else {
            return;
        };
        let reset = reset || !self.members[upstream].up;
        let lost = reset && self.rng.one_in(2);
        let end = &mut self.clis[upstream].conns[cc];
        (end.finished, end.reset) = (true, reset);
        if lost {
            end.input.clear();
        }
    }
}

fn taken(out: &mut Outgoing, most: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < most && !out.is_empty() {
        let mut slices = [IoSlice::new(&[]); 4];
        let used = out.slices(&mut slices);
        let before = bytes.len();
        for slice in &slices[..used] {
            let room = (most - bytes.len()).min(slice.len());
            bytes.extend(&slice[..room]);
        }
        let n = bytes.len() - before;
        out.advance(n);
    }
    bytes
}
