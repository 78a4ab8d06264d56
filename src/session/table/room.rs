//! The bound on sessions that are only remembered. One that lives is never forgotten.

use super::Table;
use super::entry::Entry;
use crate::id::SessionId;
use crate::time::Instant;

/// How many sessions that only lie on a disk are remembered, and when they are counted next.
pub(super) struct Room {
    limit: usize,
    /// How many may have come to lie there since they were last counted.
    moved: usize,
}

impl Room {
    pub(super) fn of(limit: usize) -> Self {
        Room { limit, moved: 0 }
    }

    /// One more may lie there.
    pub(super) fn moved(&mut self) {
        self.moved += 1;
    }
}

impl<L> Table<L> {
    /// Forgets the oldest of the sessions that only lie on a disk, down to seven eighths of the limit, when there are
    /// too many: whoever wants one again finds it by asking the CLIs. Counting costs a walk over the table, so it is
    /// done once in an eighth of the limit: there are never more than nine eighths of it.
    pub(super) fn make_room(&mut self) {
        let slack = self.room.limit / 8;
        self.room.moved();
        if self.entries.len() <= self.room.limit || self.room.moved < slack {
            return;
        }
        self.room.moved = 0;
        let mut idle: Vec<(Instant, &SessionId)> = self
            .entries
            .iter()
            .filter(|(_, e)| Entry::is_idle(e))
            .map(|(id, e)| (e.touched, id))
            .collect();
        if idle.len() <= self.room.limit {
            return;
        }
        let excess = idle.len() - (self.room.limit - slack);
        if excess < idle.len() {
            idle.select_nth_unstable_by(excess, |(a, x), (b, y)| {
                (a, x.as_bytes()).cmp(&(b, y.as_bytes()))
            });
        }
        let oldest: Vec<SessionId> =
            idle.iter().take(excess).map(|(_, id)| (*id).clone()).collect();
        for session in oldest {
            self.forget(&session, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::{A, Bench};
    use super::super::{State, Storage};
    use crate::time::Duration;

    fn stored(bench: &Bench) -> usize {
        bench.table.counts()[State::Stored as usize]
    }

    #[test]
    fn idle_sessions_are_never_more_than_nine_eighths_of_the_limit_and_live_ones_all_stay() {
        let mut bench = Bench::new(Storage::Shared, 80);
        for n in 0..1000 {
            let session = format!("s{n}");
            let epoch = bench.live(&session, 1, A);
            if n % 2 == 0 {
                bench.table.detached(
                    &session.as_str().into(),
                    bench.conn(1),
                    epoch,
                    false,
                    bench.now,
                );
            }
            bench.now += Duration::from_millis(1);
            assert!(stored(&bench) <= 90, "{} after {n}", stored(&bench));
        }
        assert!(stored(&bench) >= 70);
        assert_eq!(bench.table.counts()[State::Live as usize], 500);
        assert!(bench.table.upstream_of(&"s998".into()).is_some(), "the latest is remembered");
        assert!(bench.table.upstream_of(&"s0".into()).is_none(), "the oldest is forgotten");
    }

    #[test]
    fn sessions_that_cannot_be_forgotten_are_counted_once_in_an_eighth_of_the_limit() {
        let mut bench = Bench::new(Storage::Shared, 80);
        for n in 0..81 {
            bench.live(&format!("s{n}"), 1, A);
        }
        let mut counted = 0;
        for n in 81..1081 {
            let before = bench.table.room.moved;
            bench.live(&format!("s{n}"), 1, A);
            counted += usize::from(bench.table.room.moved < before);
        }
        assert!(counted <= 100, "{counted} walks for 1000 sessions");
    }
}
