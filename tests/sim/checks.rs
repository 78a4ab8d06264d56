//! What must hold after every step, and when all has come to its end.

use std::time::Duration;

use super::cli::Live;
use super::client::Waiting;
use super::mutate::Mutation;
use super::truth::Rule;
use super::world::{Conn, SECOND, World};

impl World {
    pub(crate) fn check_all(&mut self, c: usize) {
        self.table.check_invariants();
        if self.conns[c].alive {
            self.conns[c].mux.check_invariants();
        }
        self.check_turns(c);
        self.check_waits(c, self.bound());
        self.check_kept(c);
        let [placing, live, _, _] = self.table.counts();
        if self.leases.get() > placing + live {
            let what = format!("{} leases for {placing} + {live} sessions", self.leases.get());
            self.truth.fail(Rule::Lease, what);
        }
    }

    /// Whoever must see work sees it.
    fn check_turns(&mut self, c: usize) {
        let conn = &self.conns[c];
        if !conn.alive || conn.mux.done().is_some() {
            return;
        }
        let must_see = |session: &String, live: &Live| {
            let who = (c, session.clone());
            let turn = live.busy() && self.truth.obliged.get(&who) == Some(&live.batch);
            let agents = self.truth.agents.get(&who);
            turn || agents.is_some_and(|seen| live.agents.intersection(seen).next().is_some())
        };
        let blind = conn.on.iter().find(|(session, u)| {
            let cli = &self.clis[**u as usize];
            let Some(live) = cli.live.get(*session).filter(|l| cli.alive && l.works()) else {
                return false;
            };
            let here = live.attached.iter().any(|cc| {
                let cc = &cli.conns[*cc];
                cc.conn == c && cc.open && !cc.finished
            });
            let clear = !self.truth.muddled.contains(&(c, (*session).clone()));
            clear && here && must_see(session, live) && !conn.busy.contains(*session)
        });
        if let Some((session, _)) = blind {
            let what = format!("conn {c} takes {session} for idle");
            self.truth.fail(Rule::Turn, what);
        }
    }

    /// Requests that wait longer than anything may.
    fn check_waits(&mut self, c: usize, bound: Duration) {
        let (now, conn) = (self.elapsed, &mut self.conns[c]);
        let client = &conn.client;
        if !conn.alive || client.unruly.is_some() || !client.down.is_empty() {
            return;
        }
        if !conn.mux.client_out().is_empty() {
            return;
        }
        // What takes long ends with its CLI, once everything comes to its end.
        let bound = |w: &Waiting| if w.long { SECOND * 38 } else { bound };
        let late = client
            .waiting
            .iter()
            .find(|w| (!w.long || self.settling) && w.since.is_some_and(|at| now > at + bound(w)));
        if let Some(late) = late {
            let what =
                format!("conn {c}: {} {} ({}) waits for ever", late.method, late.id, late.token);
            self.truth.fail(Rule::Unanswered, what);
        }
    }

    /// The mux owns up to what it keeps: requests that it took, did not answer, and did not pass on; and creates and
    /// reads of any CLI until they are answered, because they may have to be asked again.
    fn check_kept(&mut self, c: usize) {
        let conn = &mut self.conns[c];
        let silent = conn.client.down.is_empty() && conn.mux.client_out().is_empty();
        // Whose answer a bug took still waits, and is kept nowhere.
        let sure = !matches!(self.mutation, Some(Mutation::LostReply | Mutation::IdSwap));
        if !conn.alive || !silent || !sure || conn.mux.done().is_some() {
            return;
        }
        let Conn { mux, client, links, seeking, .. } = conn;
        let passed: usize = links.values().map(|l| self.clis[l.upstream].coming(l.end)).sum();
        let kept = client.waiting.iter().filter(|w| w.since.is_some() && !w.apart());
        let kept = kept.map(|w| self.truth.sent[&w.token].kept(w.is_asked_again()));
        let (least, says) = (kept.sum::<usize>().saturating_sub(passed), mux.buffered());
        let forgets = self.mutation == Some(Mutation::ForgetsBytes);
        let says = if forgets { says / 2 } else { says };
        if says < least {
            let what = format!("conn {c} keeps {least} bytes, says {says}; {} seek", seeking.len());
            self.truth.fail(Rule::Kept, what);
        }
    }

    pub(crate) fn check_end(&mut self, c: usize) {
        let conn = &self.conns[c];
        let client = &conn.client;
        let left = client.waiting.iter().find(|w| client.is_owed(w));
        if let Some(left) = left.filter(|_| client.due) {
            let what = format!("conn {c} ends and owes {} {} its answer", left.method, left.token);
            return self.truth.fail(Rule::Unanswered, what);
        }
        if let Some(session) = client.cut.first().filter(|_| client.due) {
            let what = format!("conn {c} is cut and never hears that {session} is idle");
            return self.truth.fail(Rule::Turn, what);
        }
        if client.unruly.is_some() && conn.alive {
            return self
                .truth
                .fail(Rule::Bytes, format!("conn {c} goes on after what is no frame"));
        }
        if !conn.alive || client.quiet() {
            return;
        }
        if let Some(left) = client.waiting.first() {
            let what = format!("conn {c}: {} {} has no answer", left.method, left.token);
            return self.truth.fail(Rule::Unanswered, what);
        }
        let stuck = conn.busy.iter().find(|session| {
            let live = self.clis.iter().find_map(|cli| cli.live.get(*session));
            live.is_none_or(|live| !live.works())
                && !self.truth.muddled.contains(&(c, (*session).clone()))
        });
        if let Some(session) = stuck.cloned() {
            return self
                .truth
                .fail(Rule::Turn, format!("conn {c} takes {session} for busy for ever"));
        }
        let unheard = self.truth.told.values().find(|told| {
            let cc = &self.clis[told.cli].conns[told.cc];
            told.conn == c && !told.got && cc.open && !cc.finished
        });
        if let Some(told) = unheard {
            let what = format!("conn {c} never heard {}", told.body);
            self.truth.fail(Rule::Unanswered, what);
        }
    }

    /// What a client shut down and was told of is closed, or will be: else nobody could resume it.
    pub(crate) fn check_halted(&mut self) {
        let left = self.clis.iter().enumerate().find_map(|(u, cli)| {
            let shut = |l: &Live| l.halted.is_some_and(|by| self.truth.shut.contains(&by));
            let forgotten =
                |(session, live): &(&String, &Live)| shut(live) && !self.will_close(u, session);
            cli.live.iter().find(forgotten).map(|(session, _)| (u, session.clone()))
        });
        if let Some((u, session)) = left {
            self.truth.fail(Rule::Halted, format!("cli {u} keeps {session}, which was shut down"));
        }
    }
}
