//! Work in a session: turns, compactions, sub-agents, and what those who are attached are told and asked of them.

use super::world::World;

impl World {
    /// Work that runs takes its next step.
    pub(crate) fn cli_goes_on(&mut self, u: usize) {
        let busy: Vec<String> =
            self.clis[u].live.iter().filter(|(_, l)| l.works()).map(|(s, _)| s.clone()).collect();
        let Some(session) = self.rng.pick(&busy).cloned() else { return };
        if self.rng.one_in(2) && self.agent_goes_on(u, &session) {
            return;
        }
        let asks = self.rng.below(7);
        let Some(live) = self.clis[u].live.get_mut(&session) else { return };
        if std::mem::take(&mut live.compacting) {
            return self.cli_tells(u, &session, "session.compaction_complete", "");
        }
        let Some(step) = live.turn else { return };
        // A turn is not over before its agents are.
        if step >= 4 && !live.agents.is_empty() {
            return;
        }
        live.turn = Some(step + 1);
        match step {
            0 => {
                live.queue = live.queue.saturating_sub(1);
                self.cli_tells(u, &session, "user.message", "");
            }
            1 => self.cli_tells(u, &session, "assistant.turn_start", ""),
            2 => match asks {
                0 => self.cli_asks(u, &session, "userInput.request", ""),
                1 => self.cli_asks(u, &session, "hooks.invoke", ""),
                2 => {
                    let ask = format!("ask-{}", self.truth.token());
                    self.truth.asks.insert(ask.clone(), session.clone());
                    let data = format!(r#","data":{{"requestId":"{ask}"}}"#);
                    self.cli_tells(u, &session, "external_tool.requested", &data);
                    self.cli_announces(u, &session, "host.event", "task_transition");
                }
                3 => self.agent_starts(u, &session),
                _ => self.cli_tells(u, &session, "assistant.message", ""),
            },
            3 => self.cli_tells(u, &session, "assistant.turn_end", ""),
            _ => {
                live.turn = Some(0).filter(|_| live.queue > 0);
                if live.turn.is_none() {
                    self.cli_idles(u, &session, r#","data":{}"#);
                    self.cli_announces(u, &session, "session.lifecycle", "session.updated");
                }
            }
        }
    }

    /// A sub-agent begins to work, in a turn or outside of one.
    pub(crate) fn agent_starts(&mut self, u: usize, session: &str) {
        let agent = self.truth.token();
        if let Some(live) = self.clis[u].live.get_mut(session) {
            live.agents.insert(agent);
        }
        self.cli_tells(u, session, "subagent.started", &format!(r#","agentId":"{agent}""#));
    }

    /// It says something, which is no sign of a turn, or ends, which is no idle.
    fn agent_goes_on(&mut self, u: usize, session: &str) -> bool {
        let how = self.rng.below(6);
        let Some(live) = self.clis[u].live.get_mut(session) else { return false };
        let agents: Vec<u64> = live.agents.iter().copied().collect();
        let Some(&agent) = self.rng.pick(&agents) else { return false };
        let kind = match how {
            0 => "user.message",
            1 => "assistant.turn_start",
            2 => "assistant.message",
            3 => "subagent.failed",
            _ => "subagent.completed",
        };
        if how >= 3 {
            live.agents.remove(&agent);
        }
        self.cli_tells(u, session, kind, &format!(r#","agentId":"{agent}""#));
        true
    }

    pub(crate) fn cli_idles(&mut self, u: usize, session: &str, data: &str) {
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

    pub(crate) fn cli_asks(&mut self, u: usize, session: &str, method: &'static str, more: &str) {
        let (listeners, batch) = self.listeners(u, session);
        for cc in listeners {
            let id = self.clis[u].conns[cc].next_ask;
            self.clis[u].conns[cc].next_ask += 1;
            let to = (self.clis[u].conns[cc].conn, u, cc);
            let (token, body) = self.truth.tells(to, session, method, batch, |token| {
                format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"sessionId":"{session}","tok":{token}{more}}}}}"#
                )
            });
            let conn = &mut self.clis[u].conns[cc];
            conn.asked.insert(id.to_string(), token);
            conn.output.frame(&body);
        }
    }
}
