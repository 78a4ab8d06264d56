//! Who gets in and who may use what: the defaults that follow from who can be told apart, and what does not fit.

use std::ops::Range;

use super::{listener, pool};
use crate::caller::Trust;
use crate::config::file::Problems;
use crate::config::model::{Identity, Listener, Protocol, UnknownSessions};

/// Gives each listener the `unknown_sessions` that it has, from itself, its pool or who its callers are.
pub(super) fn settle(
    listeners: &mut [listener::Draft],
    pools: &[pool::Draft],
    problems: &Problems<'_>,
) {
    for draft in listeners {
        let Some(listener) = &mut draft.listener else { continue };
        let of_pool = pools
            .iter()
            .filter(|p| p.name.as_ref().is_some_and(|name| *name.get_ref() == listener.pool))
            .find_map(|p| p.unknown_sessions);
        let default =
            if listener.proves() { UnknownSessions::Deny } else { UnknownSessions::Adopt };
        listener.unknown_sessions = draft.unknown_sessions.or(of_pool).unwrap_or(default);
        if listener.protocol == Protocol::Jsonrpc {
            unknown_sessions(listener, &draft.unknown_sessions_at, problems);
        }
    }
}

fn unknown_sessions(listener: &Listener, at: &Range<usize>, problems: &Problems<'_>) {
    let named = listener.identity.iter().any(|i| matches!(i, Identity::SessionId(_)));
    match listener.unknown_sessions {
        UnknownSessions::Pattern if !named => problems.error(
            at,
            format!(
                "listener {:?} cannot have unknown_sessions = \"pattern\": it has no identity with source = \"session_id\"",
                listener.name
            ),
        ),
        UnknownSessions::Adopt if listener.trust == Trust::User => problems.warn(
            at,
            format!(
                "listener {:?} adopts unknown sessions: whichever user asks first for a session that fairlead does not know gets it, whoever made it",
                listener.name
            ),
        ),
        UnknownSessions::Deny | UnknownSessions::Pattern | UnknownSessions::Adopt => {}
    }
}
