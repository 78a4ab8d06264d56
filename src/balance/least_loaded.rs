//! The member with the least to do for its weight: sessions that live on it, a busy one counted twice.

use super::Candidate;
use crate::id::UpstreamId;

/// The least loaded; of equals, the one with fewer busy sessions, then the first.
pub(super) fn choose(among: &[Candidate]) -> Option<UpstreamId> {
    // load(a) / weight(a) < load(b) / weight(b), without division
    let load = |c: &Candidate| u64::from(c.sessions) + u64::from(c.busy);
    let less = |a: &Candidate, b: &Candidate| {
        let (left, right) = (load(a) * u64::from(b.weight), load(b) * u64::from(a.weight));
        left.cmp(&right).then(a.busy.cmp(&b.busy))
    };
    among.iter().min_by(|a, b| less(a, b)).map(|c| c.id)
}

#[cfg(test)]
mod tests {
    use super::super::candidate;
    use super::*;

    #[test]
    fn load_is_relative_to_weight() {
        let mut members = [candidate(0), candidate(1)];
        (members[0].sessions, members[0].weight) = (5, 3);
        members[1].sessions = 2;
        assert_eq!(choose(&members), Some(UpstreamId(0)));
        members[0].sessions = 7;
        assert_eq!(choose(&members), Some(UpstreamId(1)));
    }

    #[test]
    fn busy_sessions_weigh_more() {
        let mut members = [candidate(0), candidate(1)];
        (members[0].sessions, members[0].busy) = (2, 2);
        members[1].sessions = 3;
        assert_eq!(choose(&members), Some(UpstreamId(1)));
        assert_eq!(choose(&[]), None);
    }
}
