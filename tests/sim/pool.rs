//! The pool around the table, in the small: who is chosen, who is woken, who is asked what it has.

use std::time::Duration;

use fairlead::error::{Reason, Refusal};
use fairlead::id::{ConnId, SessionId, UpstreamId};
use fairlead::placement::PlacementReason;
use fairlead::rpc::methods::Method;
use fairlead::rpc::mux::{Found, Left, Ticket};
use fairlead::session::table::{Absence, Answer, Asker, Sighting, Storage, Table, Wake};
use fairlead::want::Want;

use super::mutate::Mutation;
use super::shell::Event;
use super::truth::Rule;
use super::wire::number;
use super::world::{Conn, Lease, World};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Has {
    InMemory,
    OnDisk,
    Nothing,
    NoAnswer,
}

/// What goes on beside the conns.
pub(crate) enum Task {
    LookUp {
        session: SessionId,
        asked: Vec<(usize, Option<Has>)>,
        since: Duration,
    },
    CloseHalted {
        session: SessionId,
        upstream: usize,
        epoch: u64,
        since: Duration,
    },
    CloseAgain {
        session: SessionId,
        upstream: usize,
        epoch: u64,
    },
    AskLeft {
        session: SessionId,
        upstream: usize,
        epoch: u64,
        since: Duration,
    },
    Ask(usize, Ticket, u64),
    Greet(usize, Ticket),
    /// A turn waits for room, since then.
    Call(usize, Ticket, Duration),
}

/// How many turns may run, where they are bounded, and how long one waits.
const TURNS: (usize, Duration) = (1, Duration::from_secs(3));

const LOOKUP: Duration = Duration::from_secs(2);

impl World {
    pub(crate) fn left(
        &mut self,
        session: &SessionId,
        me: ConnId,
        upstream: UpstreamId,
        epoch: u64,
        how: Left,
    ) {
        let now = self.now().at;
        if matches!(how, Left::Detached | Left::LinkLost) {
            self.conns[me.0 as usize].granted.remove(session.as_str());
            self.decide(|t| t.turn(session, epoch, me, false).is_some());
        }
        if self.mutation == Some(Mutation::LeakedLease) && self.rng.one_in(4) {
            std::mem::forget(Lease::take(&self.leases));
        }
        match how {
            Left::Detached => self.decide(|t| t.detached(session, me, epoch, false, now)),
            Left::LinkLost => self.decide(|t| t.detached(session, me, epoch, true, now)),
            Left::Closed => self.decide(|t| t.closed(session, upstream, epoch, now)),
            Left::Deleted => self.decide(|t| t.deleted(session, upstream, epoch)),
            Left::Halted => {
                let (id, since) = (session.clone(), self.elapsed);
                let (session, u) = (id.clone(), upstream.0 as usize);
                let task = match self.decide(|t| t.halted(&id, me, upstream, epoch)) {
                    Some(true) => Some(Task::CloseHalted { session, upstream: u, epoch, since }),
                    Some(false) => Some(Task::CloseAgain { session, upstream: u, epoch }),
                    None => None,
                };
                self.tasks.extend(task);
            }
        }
    }

    pub(crate) fn ask(&mut self, c: usize, ticket: Ticket, method: &'static Method, body: &[u8]) {
        let body = String::from_utf8_lossy(body);
        if method.name != "session.list" {
            self.truth.fail(Rule::Misrouted, format!("the fleet is asked {body}"));
        }
        self.tasks.push(Task::Ask(c, ticket, number(&body, "tok").unwrap_or_default()));
    }

    pub(crate) fn choose(&mut self, only: Option<UpstreamId>) -> Option<usize> {
        let fits = |u: &usize| self.members[*u].up && only.is_none_or(|id| id.0 as usize == *u);
        let up: Vec<usize> = (0..self.members.len()).filter(fits).collect();
        if self.rng.one_in(25) { None } else { self.rng.pick(&up).copied() }
    }

    pub(crate) fn seek(
        &mut self,
        c: usize,
        ticket: Ticket,
        session: SessionId,
        want: Want,
        absence: Option<Absence>,
    ) {
        self.touches(c, session.as_str());
        let (now, asker) = (self.now(), Asker { conn: ConnId(c as u64), ticket: ticket.0 });
        let members = self.members.clone();
        let up = |id: UpstreamId| members[id.0 as usize].up;
        // Up, and not full.
        let room = !self.rng.one_in(3);
        let near_up = |id: &UpstreamId| members[id.0 as usize].up && room;
        if want == (Want::Use { on_disk: true }) {
            let other = (0..members.len()).find(|u| members[*u].up);
            self.table.rehome(&session, up, || other.map(|u| UpstreamId(u as u32)));
        }
        let answer = self.table.want(&session, asker, &want, absence, up, now.at);
        self.truth.note(|| format!("conn {c} seeks {session} {want:?}: {answer:?}"));
        let found = match answer {
            Answer::Go { .. } if want == Want::Turn && !self.has_turn(&session) => {
                self.conns[c].seeking.insert(ticket, (session, want));
                return self.tasks.push(Task::Call(c, ticket, self.elapsed));
            }
            Answer::Go { upstream, epoch, resume, reason } => {
                if want == Want::Turn && self.table.is_attached(&session, epoch, asker.conn) {
                    self.decide(|t| t.turn(&session, epoch, asker.conn, true).is_some());
                    self.conns[c].granted.insert(session.to_string());
                }
                Found::Go { upstream, epoch, resume, reason }
            }
            Answer::Refused(refusal) => Found::Refused(refusal),
            Answer::NotAsked => Found::NotAsked,
            Answer::Wait | Answer::LookUp => {
                self.conns[c].seeking.insert(ticket, (session.clone(), want));
                if answer == Answer::LookUp {
                    self.table.wait(&session, asker);
                    let asked =
                        (0..members.len()).filter(|u| members[*u].up).map(|u| (u, None)).collect();
                    self.tasks.push(Task::LookUp { session, asked, since: self.elapsed });
                }
                return;
            }
            Answer::Place { ask: Some(by), near, .. }
                if !near.is_some_and(|near| near_up(&near)) =>
            {
                let unasked = self.mutation == Some(Mutation::MovesUnasked);
                let epoch = self.table.ask_left(&session, asker);
                self.conns[c].seeking.insert(ticket, (session.clone(), want));
                if let (Some(epoch), true) = (epoch, unasked) {
                    self.decide(|t| t.left_answered(&session, epoch, Some(false), now.at));
                } else if let Some(epoch) = epoch {
                    let (upstream, since) = (by.0 as usize, self.elapsed);
                    self.tasks.push(Task::AskLeft { session, upstream, epoch, since });
                }
                return;
            }
            Answer::Place { only, near, resume, .. } => {
                match self.choose(only.or(near.filter(near_up))) {
                    Some(u) => {
                        let (upstream, lease) = (UpstreamId(u as u32), Lease::take(&self.leases));
                        let reason = PlacementReason::RoundRobin;
                        let epoch = self.decide(|t| {
                            t.place(&session, ConnId(c as u64), upstream, reason, lease, now.at)
                        });
                        Found::Go { upstream, epoch, resume, reason: Some(reason) }
                    }
                    None => {
                        self.decide(|table| table.unplaceable(&session));
                        Found::Refused(Refusal::new(Reason::NoUpstream, "no CLI is up"))
                    }
                }
            }
        };
        self.decide(|_| ());
        self.conns[c].mux.found(ticket, found, now);
    }

    /// Whether a turn may start in the session: one runs, or there is room for it.
    fn has_turn(&self, session: &SessionId) -> bool {
        let runs = |conn: &Conn| conn.busy.contains(session.as_str());
        self.table.busy() < TURNS.0 || self.conns.iter().any(runs)
    }

    pub(crate) fn decide<T>(&mut self, decide: impl FnOnce(&mut Table<Lease>) -> T) -> T {
        let result = decide(&mut self.table);
        self.table.check_invariants();
        for Wake(asker, absence) in self.table.take_wakes() {
            let conn = &mut self.conns[asker.conn.0 as usize];
            if conn.alive {
                conn.inbox.push_back(Event::Again(Ticket(asker.ticket), absence));
            }
        }
        result
    }

    /// One thing beside the conns goes on.
    pub(crate) fn task_step(&mut self) {
        if self.tasks.is_empty() {
            return;
        }
        let at = self.rng.below(self.tasks.len());
        match self.tasks.swap_remove(at) {
            Task::LookUp { session, asked, since } => self.look_up(session, asked, since),
            Task::CloseHalted { session, upstream, epoch, since } => {
                self.close_halted(session, upstream, epoch, since);
            }
            Task::CloseAgain { session, upstream, epoch } => {
                let since = self.elapsed;
                let task = match self.decide(|t| t.close_again(&session, epoch)) {
                    Some(true) => Task::CloseHalted { session, upstream, epoch, since },
                    Some(false) => Task::CloseAgain { session, upstream, epoch },
                    None => return,
                };
                self.tasks.push(task);
            }
            Task::Call(c, ticket, since) => {
                let session =
                    self.conns[c].seeking.get(&ticket).map(|(session, _)| session.clone());
                let Some(session) = session.filter(|_| self.conns[c].alive) else { return };
                if self.elapsed >= since + TURNS.1 {
                    self.conns[c].seeking.remove(&ticket);
                    let late = Refusal::new(Reason::Overloaded, "as many turns run as may be");
                    let now = self.now();
                    self.conns[c].mux.found(ticket, Found::Refused(late), now);
                } else if self.has_turn(&session) {
                    self.conns[c].inbox.push_back(Event::Again(ticket, None));
                } else {
                    self.tasks.push(Task::Call(c, ticket, since));
                }
            }
            Task::AskLeft { session, upstream, epoch, since } => {
                let has = self.has(upstream, session.as_str());
                if has.is_none() && self.elapsed < since + LOOKUP {
                    return self.tasks.push(Task::AskLeft { session, upstream, epoch, since });
                }
                let has = match has {
                    Some(Has::InMemory) => Some(true),
                    Some(Has::OnDisk | Has::Nothing) => Some(false),
                    Some(Has::NoAnswer) | None => None,
                };
                self.truth.note(|| format!("cli {upstream} has {session} in memory: {has:?}"));
                let now = self.now().at;
                self.decide(|t| t.left_answered(&session, epoch, has, now));
            }
            Task::Ask(c, ticket, token) => {
                let answer = format!(r#"{{"sessions":[],"tok":{token}}}"#);
                let none = Refusal::new(Reason::NoUpstream, "no CLI answered");
                let answer = if self.rng.one_in(6) { Err(none) } else { Ok(answer) };
                self.conns[c].inbox.push_back(Event::Answered(ticket, answer));
            }
            Task::Greet(c, ticket) => {
                let up = !self.rng.one_in(5);
                self.conns[c].inbox.push_back(Event::Greeted(ticket, up));
            }
        }
    }

    /// Whether the close of this session is still to come.
    pub(crate) fn will_close(&self, u: usize, id: &str) -> bool {
        self.tasks.iter().any(|task| match task {
            Task::CloseHalted { session, upstream, .. }
            | Task::CloseAgain { session, upstream, .. } => {
                *upstream == u && session.as_str() == id
            }
            Task::LookUp { .. }
            | Task::AskLeft { .. }
            | Task::Ask(..)
            | Task::Greet(..)
            | Task::Call(..) => false,
        })
    }

    /// The close of a halted session arrives, or is given up and tried again.
    fn close_halted(&mut self, session: SessionId, u: usize, epoch: u64, since: Duration) {
        let now = self.now().at;
        if self.clis[u].alive && self.clis[u].wedged {
            // It is on its way for as long as the CLI lives.
            return self.tasks.push(Task::CloseHalted { session, upstream: u, epoch, since });
        }
        let cli = &mut self.clis[u];
        let closed = cli.alive && !cli.leaving && !self.rng.one_in(6);
        if closed && self.mutation != Some(Mutation::NeverClosed) {
            let live = cli.live.remove(session.as_str());
            if live.is_some_and(|l| l.halted.is_none() && l.born > since) {
                let what = format!("cli {u} closes {session}, which came after that was asked");
                self.truth.fail(Rule::Halted, what);
            }
        }
        self.truth.note(|| format!("cli {u} closes {session}: {closed}"));
        if self.decide(|t| t.close_answered(&session, epoch, closed, now)) {
            self.tasks.push(Task::CloseAgain { session, upstream: u, epoch });
        }
    }

    fn look_up(
        &mut self,
        session: SessionId,
        mut asked: Vec<(usize, Option<Has>)>,
        since: Duration,
    ) {
        let late = self.elapsed > since + LOOKUP;
        let open: Vec<usize> = (0..asked.len()).filter(|n| asked[*n].1.is_none()).collect();
        if let Some(&n) = self.rng.pick(&open) {
            asked[n].1 = self.has(asked[n].0, session.as_str()).or(late.then_some(Has::NoAnswer));
            return self.tasks.push(Task::LookUp { session, asked, since });
        }
        let who = |what| {
            asked
                .iter()
                .filter(move |(_, has)| *has == Some(what))
                .map(|(u, _)| UpstreamId(*u as u32))
        };
        let on_disk: Vec<UpstreamId> = who(Has::OnDisk).collect();
        let unsure = match self.storage {
            Storage::Own => asked.is_empty() || who(Has::NoAnswer).next().is_some(),
            Storage::Shared => asked.iter().all(|(_, has)| *has == Some(Has::NoAnswer)),
        };
        let sighting = match (who(Has::InMemory).collect::<Vec<_>>().as_slice(), on_disk.is_empty())
        {
            ([live], _) => Sighting::Live(*live),
            ([_, _, ..], _) => Sighting::LiveTwice,
            ([], false) => Sighting::OnDisk(on_disk),
            ([], true) if unsure => Sighting::Unsure,
            ([], true) => Sighting::Nobody { down: asked.len() < self.members.len() },
        };
        self.truth.note(|| format!("{session} is looked up: {sighting:?}"));
        self.decide(|table| table.looked_up(&session, sighting));
    }

    fn has(&self, u: usize, session: &str) -> Option<Has> {
        let cli = &self.clis[u];
        if !cli.alive || cli.leaving {
            return Some(Has::NoAnswer);
        }
        let live = cli.live.keys().any(|known| self.is_named(known, session));
        let disk = self.disks[self.disk_of(u)].iter().any(|known| self.is_named(known, session));
        (!cli.wedged).then_some(match (live, disk) {
            (true, _) => Has::InMemory,
            (false, true) => Has::OnDisk,
            (false, false) => Has::Nothing,
        })
    }
}
