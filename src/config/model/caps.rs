//! How much of a pool may be in use at once, and who waits for the rest.

use crate::time::Duration;

/// `[pool.caps]`. `None`: no bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Sessions that live in the pool.
    pub max_sessions: Option<u32>,
    /// Those of one tenant.
    pub max_sessions_per_tenant: Option<u32>,
    /// Those of one user.
    pub max_sessions_per_user: Option<u32>,
    /// Turns that run in the pool.
    pub max_turns: Option<u32>,
    /// Those on one CLI.
    pub max_turns_per_upstream: Option<u32>,
    /// Those of one tenant.
    pub max_turns_per_tenant: Option<u32>,
    /// Those of one user.
    pub max_turns_per_user: Option<u32>,
    /// Requests that wait for room.
    pub queue_length: usize,
    /// How long each does; zero: none waits.
    pub queue_timeout: Duration,
}

impl Caps {
    /// Whether turns are bounded in any way.
    pub fn bounds_turns(&self) -> bool {
        let Caps { max_turns, max_turns_per_upstream, .. } = self;
        let owners = self.max_turns_per_tenant.or(self.max_turns_per_user);
        max_turns.or(*max_turns_per_upstream).or(owners).is_some()
    }
}

impl Default for Caps {
    fn default() -> Self {
        Caps {
            max_sessions: None,
            max_sessions_per_tenant: None,
            max_sessions_per_user: None,
            max_turns: None,
            max_turns_per_upstream: None,
            max_turns_per_tenant: None,
            max_turns_per_user: None,
            queue_length: 1024,
            queue_timeout: Duration::from_secs(10),
        }
    }
}
