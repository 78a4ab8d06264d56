//! Up or down, from what probes and conns saw: `rise` good probes in a row make it up, `fall` bad ones down.
//!
//! A first good probe is enough for a CLI that never failed. Decides nothing about its links: a CLI that is down
//! may be busy, and only silence for long, or the end of its process, makes it dead.

/// What is known of a CLI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has not answered yet.
    Starting,
    /// It takes sessions.
    Up,
    /// It fails its probes, or is gone: no new sessions.
    Down,
    /// It says that it is shutting down: no new sessions.
    Leaving,
    /// It does not let us in: the token is wrong, missing, or not wanted.
    Misconfigured,
}

impl State {
    /// Every state's word, for metrics and logs.
    pub const SLUGS: [&'static str; 5] = ["starting", "up", "down", "leaving", "misconfigured"];

    /// The word for metrics and logs.
    pub const fn slug(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Up => "up",
            State::Down => "down",
            State::Leaving => "leaving",
            State::Misconfigured => "misconfigured",
        }
    }
}

/// A CLI went from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it was.
    pub from: State,
    /// What it is.
    pub to: State,
}

/// What was seen of a CLI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It answered a probe.
    Answered,
    /// A probe got no answer, and nothing else came from the CLI in its time.
    Silent,
    /// A link to it could not be made, or broke before it was of use.
    LinkFailed,
    /// Its `watch` connection ended, or its process.
    Gone,
    /// It said that it is shutting down.
    Leaving,
    /// It refused our token.
    Refused,
}

/// The state of one CLI, and how close it is to another.
#[derive(Clone, Debug)]
pub struct Health {
    state: State,
    rise: u32,
    fall: u32,
    good: u32,
    bad: u32,
}

impl Health {
    /// A CLI that has not answered yet. `rise` and `fall` are at least 1.
    pub fn new(rise: u32, fall: u32) -> Self {
        Health { state: State::Starting, rise: rise.max(1), fall: fall.max(1), good: 0, bad: 0 }
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes note of what was seen; returns what changed, if the state did.
    pub fn see(&mut self, seen: Seen) -> Option<Change> {
        let next = match seen {
            Seen::Answered => {
                self.bad = 0;
                self.good = self.good.saturating_add(1);
                match self.state {
                    State::Up | State::Leaving => self.state,
                    State::Starting => State::Up,
                    State::Down | State::Misconfigured if self.good >= self.rise => State::Up,
                    State::Down | State::Misconfigured => self.state,
                }
            }
            Seen::Silent | Seen::LinkFailed => {
                self.good = 0;
                self.bad = self.bad.saturating_add(1);
                let falls = matches!(self.state, State::Up | State::Starting);
                if falls && self.bad >= self.fall { State::Down } else { self.state }
            }
            Seen::Gone => State::Down,
            Seen::Leaving => State::Leaving,
            Seen::Refused => State::Misconfigured,
        };
        match seen {
            Seen::Answered | Seen::Silent | Seen::LinkFailed => {}
            Seen::Gone | Seen::Leaving | Seen::Refused => (self.good, self.bad) = (0, 0),
        }
        let from = std::mem::replace(&mut self.state, next);
        (from != next).then_some(Change { from, to: next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seen: &[Seen]) -> State {
        let mut health = Health::new(2, 3);
        for s in seen {
            health.see(*s);
        }
        health.state()
    }

    #[test]
    fn the_first_answer_makes_it_up() {
        assert_eq!(after(&[]), State::Starting);
        assert_eq!(after(&[Seen::Silent, Seen::Answered]), State::Up);
        assert_eq!(after(&[Seen::Silent, Seen::Silent, Seen::Silent]), State::Down);
    }

    #[test]
    fn it_falls_after_three_failures_in_a_row_of_any_kind() {
        use Seen::{Answered, LinkFailed, Silent};
        assert_eq!(after(&[Answered, Silent, LinkFailed]), State::Up);
        assert_eq!(after(&[Answered, Silent, LinkFailed, Answered, Silent, Silent]), State::Up);
        assert_eq!(after(&[Answered, Silent, LinkFailed, Silent]), State::Down);
    }

    #[test]
    fn it_rises_after_two_answers_in_a_row() {
        use Seen::{Answered, Gone, Silent};
        assert_eq!(after(&[Answered, Gone, Answered]), State::Down);
        assert_eq!(after(&[Answered, Gone, Answered, Silent, Answered]), State::Down);
        assert_eq!(after(&[Answered, Gone, Answered, Answered]), State::Up);
    }

    #[test]
    fn a_leaving_cli_stays_out_until_it_is_gone_and_another_came() {
        use Seen::{Answered, Gone, Leaving};
        assert_eq!(after(&[Answered, Leaving, Answered, Answered, Answered]), State::Leaving);
        assert_eq!(after(&[Answered, Leaving, Gone, Answered, Answered]), State::Up);
    }

    #[test]
    fn a_cli_that_refuses_us_is_misconfigured_until_it_answers() {
        assert_eq!(after(&[Seen::Refused]), State::Misconfigured);
        assert_eq!(after(&[Seen::Refused, Seen::Answered, Seen::Answered]), State::Up);
    }
}
