//! Consistent hashing with bounded load: rendezvous hashing (Thaler and Ravishankar, 1998), weighted as in
//! "Weighted Distributed Hash Tables" (Schindelhauer and Schomaker, 2005), bounded as in "Consistent Hashing
//! with Bounded Loads" (Mirrokni, Thorup and Zadimoghaddam, 2016).
//!
//! Every member has a score for the key; the highest takes it. A member that leaves moves only its own keys, each
//! to its next in order, and one that comes takes only what is its own. There is no ring to keep, and a pool has
//! few members: all scores are computed each time.

use twox_hash::XxHash3_64;

use super::{Candidate, PlacementReason};
use crate::id::UpstreamId;

/// A hash that is the same in every process and version.
pub(super) fn hash(bytes: &[u8], seed: u64) -> u64 {
    XxHash3_64::oneshot_with_seed(seed, bytes)
}

/// `-weight / ln(u)`, with u in (0, 1) drawn by key and member: the highest of these falls on each member in
/// proportion to its weight.
fn score(key: &[u8], member: &Candidate) -> f64 {
    const TWO_53: f64 = (1u64 << 53) as f64;
    let drawn = ((hash(key, member.key) >> 11) as f64 + 0.5) / TWO_53;
    -f64::from(member.weight) / drawn.ln()
}

/// The first member in the key's order whose load, with this session, is at most `factor` times its share.
pub(super) fn choose(
    key: &[u8],
    factor: f64,
    among: &[Candidate],
) -> Option<(UpstreamId, PlacementReason)> {
    let total: f64 = among.iter().map(|c| f64::from(c.sessions)).sum::<f64>() + 1.0;
    let weights: f64 = among.iter().map(|c| f64::from(c.weight)).sum();
    let within = |c: &&Candidate| {
        let share = (factor * total * f64::from(c.weight) / weights).ceil();
        f64::from(c.sessions) < share
    };
    let best = |members: &mut dyn Iterator<Item = &Candidate>| {
        members
            .map(|c| (score(key, c), c.id))
            .max_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))
            .map(|(_, id)| id)
    };
    let first = best(&mut among.iter())?;
    // The shares add up to more than the load, so somebody is within the bound.
    let chosen = best(&mut among.iter().filter(within)).unwrap_or(first);
    let own = chosen == first;
    Some((chosen, if own { PlacementReason::Sticky } else { PlacementReason::Overflow }))
}

#[cfg(test)]
mod tests {
    use super::super::candidate;
    use super::*;

    fn place(users: usize, members: &mut [Candidate], factor: f64) -> Vec<u32> {
        let mut placed = Vec::new();
        for user in 0..users {
            let (id, _) = choose(format!("user-{user}").as_bytes(), factor, members).unwrap();
            members.iter_mut().find(|m| m.id == id).unwrap().sessions += 1;
            placed.push(id.0);
        }
        placed
    }

    fn unloaded(users: usize, members: &[Candidate]) -> Vec<u32> {
        let key = |user| format!("user-{user}");
        let to = |user| choose(key(user).as_bytes(), f64::INFINITY, members).unwrap().0.0;
        (0..users).map(to).collect()
    }

    #[test]
    fn removing_one_of_ten_moves_only_its_own_tenth() {
        let members: Vec<Candidate> = (0..10).map(candidate).collect();
        let before = unloaded(10_000, &members);
        let after = unloaded(10_000, &members[..9]);
        let moved = before.iter().zip(&after).filter(|(b, a)| b != a).count();
        assert_eq!(moved, before.iter().filter(|b| **b == 9).count());
        assert!((800..1200).contains(&moved), "{moved}");
    }

    #[test]
    fn shares_follow_weights() {
        let mut members: Vec<Candidate> = (0..3).map(candidate).collect();
        members[0].weight = 2;
        let placed = unloaded(10_000, &members);
        let first = placed.iter().filter(|id| **id == 0).count();
        assert!((4700..5300).contains(&first), "{first}");
    }

    #[test]
    fn no_member_is_loaded_over_the_bound() {
        let mut members: Vec<Candidate> = (0..10).map(candidate).collect();
        place(10_000, &mut members, 1.25);
        let most = members.iter().map(|m| m.sessions).max().unwrap();
        assert!(most <= 1251, "{most}");
    }

    #[test]
    fn a_thousand_sessions_of_one_user_overflow_in_the_users_own_order() {
        let mut members: Vec<Candidate> = (0..4).map(candidate).collect();
        for _ in 0..1000 {
            let (id, _) = choose(b"one", 1.25, &members).unwrap();
            members.iter_mut().find(|m| m.id == id).unwrap().sessions += 1;
        }
        assert!(members.iter().all(|m| m.sessions <= 314));
        assert_eq!(choose(b"x", 1.25, &[]), None);
    }
}
