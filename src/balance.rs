//! Which CLI takes a new session: one file a policy, each a pure function of the members that may take it.
//!
//! Policies never see health, and never a member that is full: the pool hands them only those that may take traffic.

mod consistent;
mod least_loaded;
mod round_robin;

use crate::id::UpstreamId;
pub use crate::placement::PlacementReason;

/// A member that may take a session.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Which.
    pub id: UpstreamId,
    /// The same for the same address, in every process.
    pub key: u64,
    /// Its share, relative to the others'; at least 1.
    pub weight: u32,
    /// Sessions that live on it.
    pub sessions: u32,
    /// Those of them in which a turn runs.
    pub busy: u32,
}

/// How sessions are placed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Policy {
    /// In turn, by weight, over sessions.
    RoundRobin,
    /// Where the least lives and works, by weight; in turn where that says nothing.
    LeastLoaded,
    /// The same key to the same member, within `factor` times the mean load.
    Consistent {
        /// At least 1; infinite for no bound.
        factor: f64,
    },
}

/// A policy with what it remembers from one choice to the next.
#[derive(Debug)]
pub struct Balancer {
    policy: Policy,
    turns: round_robin::Turns,
}

impl Balancer {
    /// Remembers nothing yet.
    pub fn new(policy: Policy) -> Self {
        Balancer { policy, turns: round_robin::Turns::default() }
    }

    /// The member that takes the session with this key, and why; `None` if there is none.
    pub fn choose(
        &mut self,
        key: &[u8],
        among: &[Candidate],
    ) -> Option<(UpstreamId, PlacementReason)> {
        match self.policy {
            Policy::RoundRobin => {
                self.turns.next(among, |_| true).map(|id| (id, PlacementReason::RoundRobin))
            }
            Policy::LeastLoaded => {
                let chosen = least_loaded::choose(&mut self.turns, among);
                chosen.map(|id| (id, PlacementReason::LeastLoaded))
            }
            Policy::Consistent { factor } => consistent::choose(key, factor, among),
        }
    }

    /// The same for what has no key: where a key is asked for, the least loaded takes it.
    pub fn choose_keyless(&mut self, among: &[Candidate]) -> Option<(UpstreamId, PlacementReason)> {
        match self.policy {
            Policy::RoundRobin | Policy::LeastLoaded => self.choose(&[], among),
            Policy::Consistent { .. } => {
                let chosen = least_loaded::choose(&mut self.turns, among);
                chosen.map(|id| (id, PlacementReason::NoUser))
            }
        }
    }
}

#[cfg(test)]
fn candidate(n: u32) -> Candidate {
    let key = consistent::hash(&n.to_le_bytes(), 0);
    Candidate { id: UpstreamId(n), key, weight: 1, sessions: 0, busy: 0 }
}

/// The stable number of an address.
pub fn member_key(address: &str) -> u64 {
    consistent::hash(address.as_bytes(), 0)
}
