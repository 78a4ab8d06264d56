//! What goes wrong: processes die, hang and leave, connections break, framing is broken, frames are too large.

use std::time::Duration;

use fairlead::id::UpstreamId;

use super::shell::Event;
use super::world::{SECOND, World};

/// The largest body that fairlead takes here, either way.
pub(crate) const LARGEST: usize = 2048;
/// After this long a silent CLI is dead.
const DEAD_AFTER: Duration = Duration::from_secs(15);

/// Headers that nobody can read on from.
const BROKEN: [&str; 6] = [
    "Content-Length: x\r\n\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    "Content-Length: 5\n\nhello",
    "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "\r\n\r\n{}",
    "Content-Type: none\r\n\r\n{}",
];

impl World {
    pub(crate) fn fault(&mut self, cli: usize, conn: usize) {
        match self.rng.below(15) {
            0 => self.cli_dies(cli),
            1..3 => self.clis[cli].wedged = self.clis[cli].alive,
            3..5 => self.clis[cli].wedged = false,
            5 => self.clis[cli].leaving = self.clis[cli].alive,
            6 => self.conns[conn].client.finished = true,
            7 => self.conns[conn].broken = true,
            8 if self.rng.one_in(3) => self.leaves(conn),
            9 => self.client_breaks(conn),
            10 => self.cli_breaks(cli),
            11 | 12 => self.cli_shouts(cli),
            13 => self.comes_back(conn),
            _ => self.enter(),
        }
    }

    /// A client goes, and comes back for a session that it had; perhaps while its CLI does nothing.
    fn comes_back(&mut self, c: usize) {
        let on = &self.conns[c].on;
        let had = on.iter().nth(self.rng.below(on.len())).map(|(s, u)| (s.clone(), *u as usize));
        let Some((session, u)) = had.filter(|_| self.conns[c].alive) else { return };
        self.clis[u].wedged |= self.clis[u].alive && self.rng.one_in(2);
        self.conns[c].broken = true;
        self.poll(c);
        self.enter();
        let back = self.conns.len() - 1;
        self.insists = Some((back, session));
        self.client_acts(back);
    }

    /// Fairlead leaves; sometimes at once.
    fn leaves(&mut self, c: usize) {
        let now = self.now();
        self.act(c);
        self.conns[c].mux.drain();
        let cut = self.rng.one_in(3) && self.conns[c].alive && self.conns[c].mux.done().is_none();
        if cut {
            self.truth.note(|| format!("conn {c} is cut"));
            let busy = self.conns[c].busy.clone();
            self.conns[c].client.cut = busy;
            self.conns[c].mux.cut(now);
            self.act(c);
        }
    }

    /// The client writes what is no frame, or half of one, and then perhaps nothing any more.
    fn client_breaks(&mut self, c: usize) {
        if !self.conns[c].alive || self.conns[c].client.quiet() {
            return;
        }
        let half = self.rng.one_in(2);
        let at = self.rng.below(BROKEN.len());
        let text = if half { "Content-Length: 400\r\n\r\n{\"jsonrpc\"" } else { BROKEN[at] };
        let cut = if half { 1 + self.rng.below(text.len()) } else { text.len() };
        self.truth.note(|| format!("conn {c} writes {:?}", &text[..cut]));
        let client = &mut self.conns[c].client;
        client.up.put(&text.as_bytes()[..cut]);
        client.written += cut as u64;
        if half && self.rng.one_in(2) {
            self.conns[c].client.finished = true;
        } else if half {
            self.conns[c].broken = true;
        } else {
            let token = self.truth.token();
            self.conns[c].client.unruly.get_or_insert(token);
        }
    }

    /// A CLI does the same to one connection, or closes it in the middle of what it says.
    fn cli_breaks(&mut self, u: usize) {
        let open = |cc: &usize| self.clis[u].conns[*cc].open && self.clis[u].conns[*cc].greeted;
        let open: Vec<usize> = (0..self.clis[u].conns.len()).filter(open).collect();
        let Some(&cc) = self.rng.pick(&open).filter(|_| self.clis[u].alive) else { return };
        if self.rng.one_in(2) {
            let text = BROKEN[self.rng.below(BROKEN.len())];
            self.truth.note(|| format!("cli {u}.{cc} writes {text:?}"));
            return self.clis[u].conns[cc].output.put(text.as_bytes());
        }
        let most = self.clis[u].conns[cc].output.len();
        let left = self.rng.below(most + 1);
        self.clis[u].conns[cc].output.truncate(left);
        self.cli_conn_gone(u, cc);
    }

    /// A CLI says or asks something that is larger than we take: it can reach nobody.
    fn cli_shouts(&mut self, u: usize) {
        let live: Vec<String> = self.clis[u].live.keys().cloned().collect();
        let Some(session) = self.rng.pick(&live).cloned().filter(|_| self.clis[u].alive) else {
            return;
        };
        let pad = self.padding();
        if self.rng.one_in(2) {
            self.cli_tells(u, &session, "assistant.message", &pad);
        } else {
            self.cli_asks(u, &session, "userInput.request", &pad);
        }
    }

    /// A member that makes any frame too large; sometimes so large that its end is not looked at.
    pub(crate) fn padding(&mut self) -> String {
        let size = if self.rng.one_in(8) { 70_000 } else { LARGEST + self.rng.below(1000) };
        format!(r#","pad":"{}""#, "x".repeat(size))
    }

    /// The process ends.
    pub(crate) fn cli_dies(&mut self, u: usize) {
        self.truth.note(|| format!("cli {u} dies"));
        let how = self.rng.below(3);
        let cli = &mut self.clis[u];
        (cli.alive, cli.wedged, cli.leaving) = (false, false, false);
        cli.live.clear();
        cli.watch.clear();
        for conn in cli.conns.iter_mut().filter(|c| c.open) {
            conn.open = false;
            match how {
                0 => conn.output.clear(),
                1 => conn.output.truncate(conn.output.len() / 2),
                _ => {}
            }
        }
    }

    /// What the `watch` of a CLI finds.
    pub(crate) fn probe(&mut self, u: usize) {
        let cli = &mut self.clis[u];
        if cli.leaving && self.rng.one_in(2) {
            return self.cli_dies(u);
        }
        if !cli.alive && self.rng.one_in(2) {
            // What it left is told of before it comes back.
            if !self.members[u].up {
                cli.alive = true;
            }
        }
        self.notice_health(u);
    }

    pub(crate) fn notice_health(&mut self, u: usize) {
        let cli = &self.clis[u];
        let up = cli.alive && !cli.wedged && !cli.leaving;
        let member = &mut self.members[u];
        member.silent = if up { None } else { member.silent.or(Some(self.elapsed)) };
        if up != member.up {
            member.up = up;
            member.was_down |= !up;
            self.truth.note(|| format!("cli {u} is up: {up}"));
            if up {
                self.decide(|table| table.upstream_is(UpstreamId(u as u32), true));
            }
        }
    }

    pub(crate) fn pass(&mut self, by: Duration) {
        self.elapsed += by;
        for u in 0..self.members.len() {
            let silent = self.members[u].silent;
            if silent.is_some_and(|at| self.elapsed > at + DEAD_AFTER) {
                self.members[u].silent = Some(self.elapsed);
                self.decide(|table| table.upstream_is(UpstreamId(u as u32), false));
                // What was closed before can only be left to it: nothing more of ours ends it.
                self.clis[u].conns.iter_mut().for_each(|conn| conn.reset |= conn.finished);
                self.conns.iter_mut().for_each(|c| c.inbox.push_back(Event::Dead(u)));
            }
        }
        for c in 0..self.conns.len() {
            if self.conns[c].tick_at.is_some_and(|at| at <= self.elapsed) {
                self.poll(c);
            }
        }
    }

    /// What is longer under way than anything may be.
    pub(crate) fn bound(&self) -> Duration {
        self.settings.request_timeout + SECOND * 8
    }
}
