//! The types of `session.event` that fairlead acts on; all others only pass through.
//!
//! Never reads what an event says, but for `data.requestId` of those that ask or settle.

/// What an event means to fairlead.
///
/// An event with an `agentId` comes from a sub-agent. Its `user.message` and `assistant.turn_start` are no sign of a
/// turn: an agent that works alone and is cancelled ends without a `session.idle` (CLI 1.0.102). A session is busy
/// while its own turn runs or one of its agents does; `session.idle` ends both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// `user.message`: a turn is about to start.
    UserMessage,
    /// `assistant.turn_start`: a turn runs.
    TurnStart,
    /// `subagent.started`: the agent of its `agentId` works, in a turn or outside of one.
    AgentStarted,
    /// `subagent.completed` (cancelled ones too), `subagent.failed`: it does not any more.
    AgentEnded,
    /// `session.compaction_start`: work, in a turn or outside of one.
    CompactionStart,
    /// `session.compaction_complete`: ends work that was only a compaction.
    CompactionComplete,
    /// `session.idle`: the turn is over, nothing is queued, no agent works. It can come before the answer to
    /// the request that started the turn.
    Idle,
    /// `session.error`: a turn failed.
    Error,
    /// `session.shutdown`: the session is being unloaded; a turn that ran ends here, without a `session.idle`.
    Shutdown,
    /// `data.requestId` is asked of whoever is attached; a method with [`super::Method::answers`] answers it.
    Asks,
    /// `data.requestId` needs no answer any more.
    Settled,
    /// Everything else.
    Other,
}

/// Every type that is not [`Event::Other`].
pub const EVENTS: [(&str, Event); 33] = [
    ("user.message", Event::UserMessage),
    ("assistant.turn_start", Event::TurnStart),
    ("session.idle", Event::Idle),
    ("session.error", Event::Error),
    ("session.shutdown", Event::Shutdown),
    ("subagent.started", Event::AgentStarted),
    ("subagent.completed", Event::AgentEnded),
    ("subagent.failed", Event::AgentEnded),
    ("session.compaction_start", Event::CompactionStart),
    ("session.compaction_complete", Event::CompactionComplete),
    ("permission.requested", Event::Asks),
    ("permission.completed", Event::Settled),
    ("external_tool.requested", Event::Asks),
    ("external_tool.completed", Event::Settled),
    ("user_input.requested", Event::Asks),
    ("user_input.completed", Event::Settled),
    ("elicitation.requested", Event::Asks),
    ("elicitation.completed", Event::Settled),
    ("sampling.requested", Event::Asks),
    ("sampling.completed", Event::Settled),
    ("exit_plan_mode.requested", Event::Asks),
    ("exit_plan_mode.completed", Event::Settled),
    ("auto_mode_switch.requested", Event::Asks),
    ("auto_mode_switch.completed", Event::Settled),
    ("session_limits_exhausted.requested", Event::Asks),
    ("session_limits_exhausted.completed", Event::Settled),
    ("mcp.oauth_required", Event::Asks),
    ("mcp.oauth_completed", Event::Settled),
    ("mcp.headers_refresh_required", Event::Asks),
    ("mcp.headers_refresh_completed", Event::Settled),
    ("command.queued", Event::Asks),
    ("command.execute", Event::Asks),
    ("command.completed", Event::Settled),
];

/// What an event of that type means.
pub fn event(kind: &str) -> Event {
    // What streams, a turn's text above all, is among these.
    if kind.starts_with("assistant.") {
        return if kind == "assistant.turn_start" { Event::TurnStart } else { Event::Other };
    }
    EVENTS.iter().find(|(name, _)| *name == kind).map_or(Event::Other, |(_, event)| *event)
}
