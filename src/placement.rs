//! Why a session is where it is: the word that the balancer finds, the session table keeps, and logs and metrics show.

/// Why a session went where it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PlacementReason {
    /// It was this member's turn.
    RoundRobin,
    /// It had the least to do.
    LeastLoaded,
    /// The key's own member.
    Sticky,
    /// The key's own member is over the bound: the next in the key's order.
    Overflow,
    /// There is no user in the session's id: the id itself is the key.
    NoUser,
    /// The session's state is there.
    Storage,
    /// The CLI made it itself.
    Learned,
}

impl PlacementReason {
    /// Every reason.
    pub const ALL: [PlacementReason; 7] = [
        PlacementReason::RoundRobin,
        PlacementReason::LeastLoaded,
        PlacementReason::Sticky,
        PlacementReason::Overflow,
        PlacementReason::NoUser,
        PlacementReason::Storage,
        PlacementReason::Learned,
    ];

    /// The word for metrics and logs.
    pub const fn slug(self) -> &'static str {
        match self {
            PlacementReason::RoundRobin => "round_robin",
            PlacementReason::LeastLoaded => "least_loaded",
            PlacementReason::Sticky => "sticky",
            PlacementReason::Overflow => "overflow",
            PlacementReason::NoUser => "no_user",
            PlacementReason::Storage => "storage",
            PlacementReason::Learned => "learned",
        }
    }
}
