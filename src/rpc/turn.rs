//! Whether a session is busy, as one conn sees it: a flag, never a count of sends against idles.
//!
//! Two queued sends give two turns and one `session.idle`; steering gives none of its own; so only the CLI's
//! `session.idle` ends what was started, and only for what the CLI had when it wrote it. A request that was
//! forwarded, and neither answered nor seen at work when an idle comes, is work that comes after it. (A CLI may
//! write the idle before the answer to the request that started the turn.)

use super::methods;

/// How many sub-agents of one session are told apart.
const MAX_AGENTS: usize = 256;

/// How surely a method starts work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Starts {
    /// It starts none.
    Never,
    /// It may; the events tell. Until it is answered, it counts as work.
    Maybe,
    /// An answer without error means work until `session.idle`.
    Surely,
}

impl Starts {
    /// What the method table says, in the tracker's terms. Steering joins the turn that runs, and starts one
    /// where none does.
    pub fn of(turn: methods::Turn) -> Self {
        match turn {
            methods::Turn::No => Starts::Never,
            methods::Turn::May => Starts::Maybe,
            methods::Turn::Starts | methods::Turn::Steers => Starts::Surely,
        }
    }
}

/// The events that say something of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnEvent {
    /// `user.message`, but for those of a sub-agent: a send is at work.
    UserMessage,
    /// `assistant.turn_start`, but for those of a sub-agent.
    Working,
    /// `subagent.started`, with a number made of its `agentId`.
    AgentStarted(u64),
    /// `subagent.completed`, `subagent.failed`, with the same number.
    AgentEnded(u64),
    /// `session.compaction_start`
    CompactionStart,
    /// `session.compaction_complete`
    CompactionEnd,
    /// `session.idle`
    Idle,
    /// `session.idle` with `aborted`: what was queued is dropped.
    Aborted,
    /// `session.shutdown`: the session left the CLI's memory.
    Shutdown,
}

/// The turn of one session on one conn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    flag: bool,
    seen: bool,
    compacting: bool,
    /// Those that were seen to start, by number: of one that ran before the conn came only the end is seen.
    agents: Vec<u64>,
    unanswered: u16,
    unanswered_sure: u16,
    /// Sends whose `user.message` did not come yet, as far as is known.
    awaited: u16,
}

impl Turn {
    /// Whether the session is busy.
    pub fn busy(&self) -> bool {
        self.flag || self.compacting || !self.agents.is_empty() || self.unanswered > 0
    }

    /// A request that may start work was forwarded.
    pub fn forwarded(&mut self, starts: Starts) {
        match starts {
            Starts::Never => {}
            Starts::Maybe => self.unanswered = self.unanswered.saturating_add(1),
            Starts::Surely => {
                self.flag = true;
                self.unanswered = self.unanswered.saturating_add(1);
                self.unanswered_sure = self.unanswered_sure.saturating_add(1);
                self.awaited = self.awaited.saturating_add(1);
            }
        }
    }

    /// It was answered.
    pub fn answered(&mut self, starts: Starts, failed: bool) {
        match starts {
            Starts::Never => return,
            Starts::Maybe => {}
            Starts::Surely => self.unanswered_sure = self.unanswered_sure.saturating_sub(1),
        }
        self.unanswered = self.unanswered.saturating_sub(1);
        if starts == Starts::Surely && failed {
            self.awaited = self.awaited.saturating_sub(1);
            self.flag &= self.seen || self.awaited > 0;
        }
    }

    /// The CLI said something.
    pub fn event(&mut self, event: TurnEvent) {
        match event {
            TurnEvent::UserMessage => {
                self.awaited = self.awaited.saturating_sub(1);
                self.event(TurnEvent::Working);
            }
            TurnEvent::Working => {
                self.flag = true;
                self.seen = true;
            }
            // An agent may work alone, and then end without an idle.
            TurnEvent::AgentStarted(agent) => {
                if !self.agents.contains(&agent) && self.agents.len() < MAX_AGENTS {
                    self.agents.push(agent);
                }
            }
            TurnEvent::AgentEnded(agent) => self.agents.retain(|known| *known != agent),
            TurnEvent::CompactionStart => self.compacting = true,
            TurnEvent::CompactionEnd => self.compacting = false,
            TurnEvent::Idle => self.idle(self.awaited.min(self.unanswered_sure)),
            TurnEvent::Aborted => self.idle(0),
            TurnEvent::Shutdown => *self = Turn::default(),
        }
    }
}

impl Turn {
    /// Nothing runs any more; `crossed`: how many sends the CLI had not yet got.
    fn idle(&mut self, crossed: u16) {
        self.awaited = crossed;
        self.flag = crossed > 0;
        self.seen = false;
        self.compacting = false;
        self.agents = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy_after(steps: &[fn(&mut Turn)]) -> bool {
        let mut turn = Turn::default();
        for step in steps {
            step(&mut turn);
        }
        turn.busy()
    }

    const SEND: fn(&mut Turn) = |t| t.forwarded(Starts::Surely);
    const SENT: fn(&mut Turn) = |t| t.answered(Starts::Surely, false);
    const REFUSED: fn(&mut Turn) = |t| t.answered(Starts::Surely, true);
    const MAYBE: fn(&mut Turn) = |t| t.forwarded(Starts::Maybe);
    const MAYBE_DONE: fn(&mut Turn) = |t| t.answered(Starts::Maybe, false);
    const WORKING: fn(&mut Turn) = |t| t.event(TurnEvent::UserMessage);
    const IDLE: fn(&mut Turn) = |t| t.event(TurnEvent::Idle);

    #[test]
    fn a_turn_lasts_from_the_send_to_the_idle() {
        assert!(busy_after(&[SEND]));
        assert!(busy_after(&[SEND, SENT]));
        assert!(busy_after(&[SEND, SENT, WORKING]));
        assert!(!busy_after(&[SEND, SENT, WORKING, IDLE]));
    }

    #[test]
    fn two_queued_sends_end_with_one_idle() {
        assert!(!busy_after(&[SEND, SENT, WORKING, SEND, SENT, WORKING, IDLE]));
    }

    #[test]
    fn a_send_that_crosses_an_idle_is_work_after_it() {
        assert!(busy_after(&[SEND, SENT, WORKING, SEND, IDLE]));
        assert!(busy_after(&[SEND, SENT, WORKING, SEND, IDLE, SENT]));
        assert!(!busy_after(&[SEND, SENT, WORKING, SEND, IDLE, SENT, WORKING, IDLE]));
    }

    #[test]
    fn an_answer_that_comes_after_the_idle_of_its_turn_starts_nothing() {
        assert!(busy_after(&[SEND, WORKING, IDLE]));
        assert!(!busy_after(&[SEND, WORKING, IDLE, SENT]));
        assert!(!busy_after(&[SEND, SEND, SENT, WORKING, WORKING, IDLE, SENT]));
        assert!(busy_after(&[SEND, WORKING, SEND, IDLE, SENT, SENT]));
        assert!(!busy_after(&[SEND, WORKING, SEND, |t| t.event(TurnEvent::Aborted), SENT, SENT]));
    }

    #[test]
    fn a_refused_send_starts_nothing_and_ends_nothing() {
        assert!(!busy_after(&[SEND, REFUSED]));
        assert!(busy_after(&[SEND, SENT, WORKING, SEND, REFUSED]));
        assert!(busy_after(&[SEND, SEND, REFUSED]));
        assert!(!busy_after(&[SEND, SEND, REFUSED, REFUSED]));
        assert!(busy_after(&[SEND, SEND, SENT, REFUSED]));
    }

    #[test]
    fn what_may_start_work_counts_until_answered_and_then_the_events_tell() {
        assert!(busy_after(&[MAYBE]));
        assert!(!busy_after(&[MAYBE, MAYBE_DONE]));
        assert!(busy_after(&[MAYBE, WORKING, MAYBE_DONE]));
        assert!(!busy_after(&[MAYBE, WORKING, MAYBE_DONE, IDLE]));
    }

    #[test]
    fn work_that_nobody_here_started_counts_too() {
        assert!(busy_after(&[WORKING]));
        assert!(!busy_after(&[WORKING, IDLE]));
        assert!(busy_after(&[|t| t.event(TurnEvent::AgentStarted(1))]));
        assert!(!busy_after(&[
            |t| t.event(TurnEvent::AgentStarted(1)),
            |t| t.event(TurnEvent::AgentEnded(1))
        ]));
        assert!(busy_after(&[
            |t| t.event(TurnEvent::AgentStarted(2)),
            |t| t.event(TurnEvent::AgentEnded(1)),
        ]));
        assert!(busy_after(&[|t| t.event(TurnEvent::CompactionStart)]));
        assert!(!busy_after(&[
            |t| t.event(TurnEvent::CompactionStart),
            |t| t.event(TurnEvent::CompactionEnd)
        ]));
    }
}
