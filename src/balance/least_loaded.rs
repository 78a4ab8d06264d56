//! The member that would have the least to do for its weight if it took one more: sessions that live on it, a busy one
//! counted twice. Where that says nothing, because nobody has anything to do, or several are equal, they take turns by
//! weight: else the first, or the heaviest, would get all that comes one after the other.

use std::cmp::Ordering;

use super::Candidate;
use super::round_robin::Turns;
use crate::id::UpstreamId;

/// The least loaded; of equals one with fewer busy sessions, and of those the one whose turn it is.
pub(super) fn choose(turns: &mut Turns, among: &[Candidate]) -> Option<UpstreamId> {
    let best = among.iter().min_by(|a, b| compare(a, b))?;
    let idle = among.iter().all(|c| load(c) == 0);
    let equals = |c: &Candidate| idle || compare(c, best).is_eq();
    if among.iter().filter(|c| equals(c)).count() == 1 {
        return Some(best.id);
    }
    turns.next(among, equals)
}

fn load(member: &Candidate) -> u64 {
    u64::from(member.sessions) + u64::from(member.busy)
}

/// (load(a) + 1) / weight(a) against (load(b) + 1) / weight(b), without division.
fn compare(a: &Candidate, b: &Candidate) -> Ordering {
    let left = (load(a) + 1) * u64::from(b.weight);
    let right = (load(b) + 1) * u64::from(a.weight);
    left.cmp(&right).then(a.busy.cmp(&b.busy))
}

#[cfg(test)]
mod tests {
    use super::super::candidate;
    use super::*;

    fn chosen(among: &[Candidate]) -> Option<u32> {
        choose(&mut Turns::default(), among).map(|id| id.0)
    }

    /// How many of so many each gets, of what stays where it comes, or of what is over before the next comes.
    fn shares(n: u32, members: &mut [Candidate], stays: bool) -> Vec<u32> {
        let mut turns = Turns::default();
        let mut counts = vec![0; members.len()];
        for _ in 0..n {
            let id = choose(&mut turns, members).unwrap().0 as usize;
            counts[id] += 1;
            members[id].sessions += u32::from(stays);
        }
        counts
    }

    fn weighing<const N: usize>(weights: [u32; N]) -> [Candidate; N] {
        let mut n = 0;
        weights.map(|weight| {
            n += 1;
            Candidate { weight, ..candidate(n - 1) }
        })
    }

    #[test]
    fn load_is_relative_to_weight() {
        let mut members = weighing([3, 1]);
        (members[0].sessions, members[1].sessions) = (7, 2);
        assert_eq!(chosen(&members), Some(0));
        members[0].sessions = 9;
        assert_eq!(chosen(&members), Some(1));
    }

    #[test]
    fn busy_sessions_weigh_more() {
        let mut members = [candidate(0), candidate(1)];
        (members[0].sessions, members[0].busy) = (2, 2);
        members[1].sessions = 3;
        assert_eq!(chosen(&members), Some(1));
        members[1].sessions = 4;
        assert_eq!(chosen(&members), Some(1), "of equals the one with fewer that are busy");
        assert_eq!(chosen(&[]), None);
    }

    #[test]
    fn what_comes_one_after_the_other_is_spread_by_weight() {
        assert_eq!(shares(30, &mut weighing([1, 1, 1]), false), [10, 10, 10]);
        assert_eq!(shares(36, &mut weighing([1, 10, 1]), false), [3, 30, 3]);
    }

    #[test]
    fn what_stays_is_spread_by_weight() {
        assert_eq!(shares(30, &mut weighing([1, 1, 1]), true), [10, 10, 10]);
        assert_eq!(shares(36, &mut weighing([10, 1, 1]), true), [30, 3, 3]);
    }

    #[test]
    fn equals_take_turns_beside_one_that_is_busier() {
        let mut members = weighing([1, 1, 2]);
        members[2].sessions = 9;
        assert_eq!(shares(10, &mut members, false), [5, 5, 0]);
    }

    #[test]
    fn a_heavy_one_that_works_is_still_less_loaded_than_a_light_one_that_rests() {
        let mut members = weighing([1, 10]);
        members[1].sessions = 5;
        assert_eq!(chosen(&members), Some(1));
    }
}
