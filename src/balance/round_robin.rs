//! Smooth weighted round robin, as nginx does it: members of weight 5, 1, 1 are taken a a b a c a a.

use ahash::AHashMap;

use super::Candidate;
use crate::id::UpstreamId;

/// How far each member is ahead of its share.
#[derive(Debug, Default)]
pub(super) struct Turns {
    credit: AHashMap<UpstreamId, i64>,
}

impl Turns {
    /// The member whose turn it is among those that are in. Each of these gains its weight; the one that is taken pays
    /// what all gained. The others keep what they have.
    pub(super) fn next(
        &mut self,
        among: &[Candidate],
        is_in: impl Fn(&Candidate) -> bool,
    ) -> Option<UpstreamId> {
        let mut total = 0;
        let mut best: Option<(i64, UpstreamId)> = None;
        for member in among {
            let credit = self.credit.entry(member.id).or_insert(0);
            if !is_in(member) {
                continue;
            }
            *credit += i64::from(member.weight);
            total += i64::from(member.weight);
            if best.is_none_or(|(most, _)| *credit > most) {
                best = Some((*credit, member.id));
            }
        }
        if self.credit.len() > among.len() {
            self.credit.retain(|id, _| among.iter().any(|c| c.id == *id));
        }
        let (_, id) = best?;
        *self.credit.entry(id).or_insert(0) -= total;
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::super::candidate;
    use super::*;

    #[test]
    fn weights_are_smooth() {
        let mut members = [candidate(0), candidate(1), candidate(2)];
        members[0].weight = 5;
        let mut turns = Turns::default();
        let taken: Vec<u32> = (0..7).map(|_| turns.next(&members, |_| true).unwrap().0).collect();
        assert_eq!(taken, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn nine_sessions_on_three_members_are_three_each() {
        let members = [candidate(0), candidate(1), candidate(2)];
        let mut turns = Turns::default();
        let mut counts = [0; 3];
        for _ in 0..9 {
            counts[turns.next(&members, |_| true).unwrap().0 as usize] += 1;
        }
        assert_eq!(counts, [3, 3, 3]);
    }

    #[test]
    fn a_member_that_comes_back_owes_and_is_owed_nothing() {
        let all = [candidate(0), candidate(1)];
        let mut turns = Turns::default();
        for _ in 0..100 {
            turns.next(&all[..1], |_| true);
        }
        let taken: Vec<u32> = (0..4).map(|_| turns.next(&all, |_| true).unwrap().0).collect();
        assert_eq!(taken.iter().filter(|id| **id == 1).count(), 2);
        assert_eq!(turns.next(&[], |_| true), None);
    }
    #[test]
    fn who_is_not_in_neither_gains_nor_loses_a_turn() {
        let all = [candidate(0), candidate(1), candidate(2)];
        let mut turns = Turns::default();
        assert_eq!(turns.next(&all, |_| true), Some(UpstreamId(0)));
        for _ in 0..5 {
            assert_eq!(turns.next(&all, |c| c.id.0 == 0), Some(UpstreamId(0)));
        }
        assert_eq!(turns.next(&all, |_| true), Some(UpstreamId(1)));
        assert_eq!(turns.next(&all, |_| true), Some(UpstreamId(2)));
        assert_eq!(turns.next(&all, |_| false), None);
    }
}
