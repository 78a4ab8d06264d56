//! What a CLI tells every connection: over each link, where most of it concerns nobody, and over its `watch`, which
//! fairlead passes on to all conns. A conn hears each of them once.

use super::mutate::Mutation;
use super::shell::Event;
use super::truth::Rule;
use super::wire::{number, text};
use super::world::World;

/// One thing that a CLI told everybody.
pub(crate) struct Broadcast {
    pub(crate) session: String,
    pub(crate) body: String,
    /// How often each conn heard it.
    pub(crate) heard: Vec<u8>,
}

impl World {
    /// Every connection is told, whatever it has to do with the session, and so is the `watch`.
    pub(crate) fn cli_announces(&mut self, u: usize, session: &str, method: &str, kind: &str) {
        let token = self.truth.token();
        let body = if method == "host.event" {
            format!(
                r#"{{"jsonrpc":"2.0","method":"host.event","params":{{"kind":"{kind}","scope":{{"sessionId":"{session}"}},"tok":{token}}}}}"#
            )
        } else {
            format!(
                r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"type":"{kind}","sessionId":"{session}","tok":{token}}}}}"#
            )
        };
        let cli = &mut self.clis[u];
        cli.conns.iter_mut().filter(|c| c.open && c.greeted).for_each(|c| c.output.frame(&body));
        cli.watch.push_back((session.to_owned(), body.clone()));
        let told = Broadcast { session: session.to_owned(), body, heard: Vec::new() };
        self.truth.broadcasts.insert(token, told);
    }

    /// The `watch` of a CLI reads one of them, and all conns get it.
    pub(crate) fn watch_reads(&mut self, u: usize) -> bool {
        if self.clis[u].wedged {
            return false;
        }
        let Some((session, body)) = self.clis[u].watch.pop_front() else { return false };
        if self.mutation == Some(Mutation::DeafWatch) && self.rng.one_in(4) {
            return true;
        }
        for conn in self.conns.iter_mut().filter(|c| c.alive) {
            conn.inbox.push_back(Event::Notice(u, session.clone(), body.clone()));
        }
        true
    }

    /// The conn's hold on a session changes: over which connection it hears of it is not certain for a moment.
    pub(crate) fn touches(&mut self, c: usize, session: &str) {
        let now = self.truth.last_token;
        self.truth.touched.insert((c, session.to_owned()), now);
    }

    /// A client got a broadcast: as it was told, and once.
    pub(crate) fn hears_broadcast(&mut self, c: usize, body: &str) {
        let told = number(body, "tok").and_then(|t| Some((t, self.truth.broadcasts.get_mut(&t)?)));
        let Some((token, told)) = told else {
            let what = format!("conn {c} hears what nobody said: {body}");
            return self.truth.fail(Rule::Mixed, what);
        };
        told.heard.resize(told.heard.len().max(c + 1), 0);
        told.heard[c] += 1;
        let (times, same, session) = (told.heard[c], told.body == body, told.session.clone());
        let touched = self.truth.touched.get(&(c, session.clone()));
        let on = self.conns[c].on.contains_key(&session);
        let most = if touched.is_none_or(|at| on && *at < token) { 1 } else { 2 };
        self.truth.checked[4] += 1;
        if !same {
            self.truth.fail(Rule::Bytes, format!("conn {c} hears another text: {body}"));
        }
        if times > most {
            self.truth.fail(Rule::Stray, format!("conn {c} hears {times} times: {body}"));
        }
    }

    /// Notes what came over a link and is not for its conn, for the bug that passes it on.
    pub(crate) fn strays(&mut self, c: usize, body: &str) {
        let Some(session) = text(body, "sessionId") else { return };
        let known = self.truth.touched.contains_key(&(c, session.to_owned()));
        if self.mutation == Some(Mutation::StrangersHear) && !known {
            self.conns[c].client.strays.push(body.to_owned());
        }
    }

    /// When all is at rest, what is told reaches every conn, once.
    pub(crate) fn check_broadcasts(&mut self) {
        let mut sessions: Vec<(usize, String)> = Vec::new();
        for (u, cli) in self.clis.iter().enumerate() {
            sessions.extend(cli.live.keys().map(|s| (u, s.clone())));
            let disk = &self.disks[self.disk_of(u)];
            // Who has it in memory speaks of it; where nobody has, whoever finds it on its disk.
            let lives = |s: &&String| self.clis.iter().any(|cli| cli.live.contains_key(*s));
            sessions.extend(disk.iter().filter(|s| !lives(s)).map(|s| (u, s.clone())));
        }
        for n in 0..3 {
            let Some((u, session)) = self.rng.pick(&sessions).cloned() else { return };
            let method = ["session.lifecycle", "host.event", "session.lifecycle"][n];
            self.cli_announces(u, &session, method, "session.updated");
            let token = self.truth.last_token;
            (0..2).for_each(|_| self.round(std::time::Duration::from_millis(20)));
            let told = &self.truth.broadcasts[&token];
            let listens = |c: &usize| {
                let conn = &self.conns[*c];
                conn.alive && conn.mux.done().is_none()
            };
            let heard = |c: &usize| told.heard.get(*c).copied().unwrap_or_default();
            let all = (0..self.conns.len()).filter(listens);
            let wrong = all.map(|c| (c, heard(&c))).find(|(_, times)| *times != 1);
            if let Some((c, times)) = wrong {
                let what = format!("at rest conn {c} hears {times} times: {}", told.body);
                return self.truth.fail(Rule::Stray, what);
            }
        }
    }
}
