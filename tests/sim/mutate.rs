//! Bugs that a multiplexer can have, made at the edge of the cores: what goes in or comes out is altered as the bug
//! would alter it. The cores themselves hold no switch for a test.

use super::wire::{raw, text};
use super::world::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Two answers to one client change their ids.
    IdSwap,
    /// An answer does not come out.
    LostReply,
    /// A CLI's request comes out at another conn.
    WrongConn,
    /// An answer of a CLI does not settle its request.
    LeakedPending,
    /// The turn tracker believes in a `session.idle` that no CLI meant.
    EarlyTurnEnd,
    /// A look-up takes a prefix for the id.
    PrefixAccepted,
    /// What comes over a link about sessions of others comes out.
    StrangersHear,
    /// Some of what comes over a `watch` does not come out.
    DeafWatch,
    /// A client's answer that is too large gets an error, as if it were a request.
    AnswerAsRequest,
    /// What was shut down is not closed.
    NeverClosed,
    /// A session goes to another CLI, and the one that it left is not asked.
    MovesUnasked,
    /// The room of a session that ends is not given back.
    LeakedLease,
    /// What is kept is counted by half.
    ForgetsBytes,
    /// A client that closes its side hears nothing any more.
    HalfCloseIsAll,
}

impl World {
    /// What the clients really get of what came out for one of them.
    pub(crate) fn spoil(&mut self, c: usize, mut bodies: Vec<String>) -> Vec<(usize, String)> {
        swap_ids(&mut bodies, self.mutation);
        let mut out = Vec::new();
        bodies.append(&mut self.conns[c].client.strays);
        for body in bodies {
            let answer = text(&body, "method").is_none();
            if self.mutation == Some(Mutation::LostReply) && answer && self.rng.one_in(20) {
                continue;
            }
            let asks = !answer && body.contains("\"id\":") && text(&body, "type").is_none();
            let stray = self.mutation == Some(Mutation::WrongConn) && asks && self.rng.one_in(4);
            let other = (0..self.conns.len()).find(|o| *o != c && self.conns[*o].alive);
            out.push((other.filter(|_| stray).unwrap_or(c), body));
        }
        out
    }

    pub(crate) fn takes_answer_for_request(&mut self, c: usize, id: &str) {
        if self.mutation == Some(Mutation::AnswerAsRequest) {
            let error = r#""error":{"code":-32046,"message":"the frame is larger"}"#;
            let body = format!(r#"{{"jsonrpc":"2.0","id":{id},{error}}}"#);
            self.conns[c].client.strays.push(body);
        }
    }

    pub(crate) fn swallows_answer(&mut self, method: &str) -> bool {
        let leaks = self.mutation == Some(Mutation::LeakedPending);
        leaks && method == "session.send" && self.rng.one_in(10)
    }

    /// A CLI seems to say that a session is idle, in the middle of its turn.
    pub(crate) fn ends_turn_early(&mut self, u: usize) {
        if self.mutation != Some(Mutation::EarlyTurnEnd) || !self.rng.one_in(8) {
            return;
        }
        let busy = self.clis[u].live.iter().find(|(_, l)| l.busy());
        if let Some(session) = busy.map(|(s, _)| s.clone()) {
            self.cli_tells(u, &session, "session.idle", r#","data":{}"#);
        }
    }

    pub(crate) fn is_named(&self, known: &str, asked: &str) -> bool {
        let loose = self.mutation == Some(Mutation::PrefixAccepted) && asked.len() > 6;
        known == asked || loose && known.starts_with(asked)
    }
}

fn swap_ids(bodies: &mut [String], mutation: Option<Mutation>) -> bool {
    let answers: Vec<usize> =
        (0..bodies.len()).filter(|n| bodies[*n].contains("\"result\":{\"tok\"")).collect();
    let (Some(Mutation::IdSwap), [a, b, ..]) = (mutation, answers.as_slice()) else { return false };
    let id = |n: usize| raw(&bodies[n], "id").map(|id| format!("\"id\":{id}"));
    let (Some(x), Some(y)) = (id(*a), id(*b)) else { return false };
    bodies[*a] = bodies[*a].replacen(&x, &y, 1);
    bodies[*b] = bodies[*b].replacen(&y, &x, 1);
    true
}
