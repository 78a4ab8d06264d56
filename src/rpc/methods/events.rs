//! The types of `session.event` that fairlead acts on; all others only pass through.
//!
//! Never reads what an event says, but for `data.requestId` of those that ask or settle.

/// What an event means to fairlead.
///
/// An event that carries `agentId` comes from a sub-agent. Its `user.message` and `assistant.turn_start` do mean work:
/// a `session.idle` follows once the main agent has taken note of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// `user.message`: a turn is about to start.
    UserMessage,
    /// `assistant.turn_start`: a turn runs.
    TurnStart,
    /// `session.compaction_start`: work, in a turn or outside of one.
    CompactionStart,
    /// `session.compaction_complete`: ends work that was only a compaction.
    CompactionComplete,
    /// `session.idle`: the turn is over, and nothing is queued.
    Idle,
    /// `session.error`: a turn failed; a `session.idle` follows.
    Error,
    /// `session.shutdown`: the session is being unloaded.
    Shutdown,
    /// `data.requestId` is asked of whoever is attached; a method with [`super::Method::answers`] answers it.
    Asks,
    /// `data.requestId` needs no answer any more.
    Settled,
    /// Everything else.
    Other,
}

/// Every type that is not [`Event::Other`].
pub const EVENTS: [(&str, Event); 30] = [
    ("user.message", Event::UserMessage),
    ("assistant.turn_start", Event::TurnStart),
    ("session.idle", Event::Idle),
    ("session.error", Event::Error),
    ("session.shutdown", Event::Shutdown),
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
    EVENTS.iter().find(|(name, _)| *name == kind).map_or(Event::Other, |(_, event)| *event)
}
