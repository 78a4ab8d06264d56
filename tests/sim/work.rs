//! What a CLI does with requests: it runs them, tells those who are attached, and lets turns go on.

use fairlead::session::table::{CreateExisting, Storage};

use super::cli::{Cli, Live, Request};
use super::truth::Rule;
use super::wire::text;
use super::world::World;

impl World {
    pub(crate) fn cli_works(&mut self, u: usize, cc: usize) {
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
        // An answer that is larger than we take.
        let grows = matches!(
            request.method.as_str(),
            "session.getMessages" | "session.mode.get" | "models.list" | "session.notInAnyTable"
        ) || self.rng.one_in(3)
            && (request.method == "session.create" || request.method == "session.resume");
        let large = outcome.is_ok() && grows && self.rng.one_in(12);
        let pad = if large { self.padding() } else { String::new() };
        let (name, value) = match outcome {
            Ok(result) => ("result", format!(r#"{{"tok":{}{result}{pad}}}"#, request.token)),
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
            sent.large_answer = large;
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
                self.cli_announces(u, &session, "session.lifecycle", "session.deleted");
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
            "session.tasks.startAgent" => {
                if self.clis[u].live.get(&session).is_some_and(|l| l.halted.is_none()) {
                    self.agent_starts(u, &session);
                }
                Ok(String::new())
            }
            "session.abort" => {
                let live = self.clis[u].live.entry(session.clone()).or_default();
                if live.turn.take().is_some() {
                    live.agents.clear();
                    (live.queue, live.murky) = (0, true);
                    self.cli_idles(u, &session, r#","data":{"aborted":true}"#);
                }
                Ok(r#","success":true"#.into())
            }
            "session.shutdown" => {
                self.cli_tells(u, &session, "session.shutdown", "");
                // The event is the same for one of which nothing is left.
                if self.rng.one_in(3) {
                    self.clis[u].live.remove(&session);
                    return Ok(String::new());
                }
                let live = self.clis[u].live.entry(session).or_default();
                live.halted = Some(request.token);
                (live.turn, live.queue, live.compacting) = (None, 0, false);
                live.agents.clear();
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
        if self.clis[u].live.get(&session).is_some_and(|l| l.halted.is_some()) {
            return Err((-32603, "Session event stream is closed".into()));
        }
        if self.rng.one_in(30) {
            return Err((-32603, "the model is not there".into()));
        }
        let disk = self.disk_of(u);
        // With own storage nobody knows what lies on the disk of one that is down: a create goes elsewhere, and with
        // bad luck to that one, just when it is back.
        let known = self.storage == Storage::Shared || !self.members[u].was_down;
        // What came over a link that was given up may be run when another one has the session.
        let given_up = self.clis[u].conns[cc].reset;
        let known = known && !given_up && self.create_existing != CreateExisting::Pass;
        let held = |l: &Live| l.attached.iter().any(|cc| !self.clis[u].conns[*cc].reset);
        let live = self.clis[u].live.get(&session).is_some_and(held);
        if live && !given_up && self.create_existing == CreateExisting::Refuse {
            let what = format!("cli {u} has {session} already: {}", request.body);
            self.truth.fail(Rule::Misrouted, what);
        }
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
        if self.clis[u].live.get(session).is_some_and(|l| l.halted.is_some()) {
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
            self.cli_announces(u, session, "session.lifecycle", "session.created");
        }
        let batch = self.truth.token();
        let born = self.elapsed;
        let new = || Live { batch, born, ..Live::default() };
        self.clis[u].live.entry(session.to_owned()).or_insert_with(new).attached.insert(cc);
        let held = |cli: &Cli| {
            let live = cli.live.get(session).filter(|_| cli.alive);
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
        let since = self.truth.since.get(&(conn, session.to_owned())).copied();
        let on = on && since.is_some_and(|since| request.token > since);
        let Some(live) = self.clis[u].live.get_mut(session).filter(|l| l.halted.is_none()) else {
            return Ok(r#","messageId":"halted""#.into());
        };
        live.queue += 1;
        live.turn.get_or_insert(0);
        live.murky |= !on || live.attached.len() != 1 || !live.attached.contains(&cc);
        if on && !live.murky && live.attached.contains(&cc) {
            self.truth.obliged.insert((conn, session.to_owned()), live.batch);
        }
        Ok(r#","messageId":"m""#.into())
    }
}
