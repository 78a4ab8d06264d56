//! A session whose end is written but of which its CLI keeps something in memory, until it is asked to close it.
//!
//! It counts as live, and has no other home, until the CLI has said that it is gone. Meanwhile everybody waits. A CLI that
//! does not answer keeps it: who wants it goes there, and nowhere else; once nobody does, the CLI is asked again.

use super::Table;
use super::entry::{Close, Entry, Stage};
use crate::id::{ConnId, SessionId, UpstreamId};
use crate::time::Instant;

impl<L> Table<L> {
    /// A conn saw its end written. Says whether its CLI is to be asked to close it: now (report with
    /// [`Table::close_answered`]), or when nobody is on the way to it ([`Table::close_again`]). `None`: it is not.
    pub fn halted(
        &mut self,
        session: &SessionId,
        conn: ConnId,
        upstream: UpstreamId,
        epoch: u64,
    ) -> Option<bool> {
        let here = |e: &&mut Entry<L>| e.upstream == Some(upstream) && e.epoch == epoch;
        let entry = self.entries.get_mut(session).filter(here)?;
        // A conn that lags may have said before that the life is over, of what was before its end was written.
        let there = matches!(entry.stage, Stage::Live | Stage::Stored { .. });
        let free = entry.joining.is_empty();
        if there {
            entry.stage = Stage::Halted(if free { Close::Asked } else { Close::Waits });
            entry.attached.clear();
            entry.asks.clear();
        }
        // Its resume came between the end and the close.
        entry.attached.retain(|c| *c != conn);
        self.check(session);
        there.then_some(free)
    }

    /// What became of asking; `closed`: the CLI said that it does not have it any more. Says whether to ask again, later,
    /// with [`Table::close_again`].
    pub fn close_answered(
        &mut self,
        session: &SessionId,
        epoch: u64,
        closed: bool,
        now: Instant,
    ) -> bool {
        let asked = |e: &&mut Entry<L>| e.epoch == epoch && e.stage == Stage::Halted(Close::Asked);
        let Some(entry) = self.entries.get_mut(session).filter(asked) else { return false };
        if closed {
            entry.stage = Stage::Live;
            self.wake(session, None);
            self.settle(session, false, now);
        } else {
            entry.stage = Stage::Halted(Close::Unanswered);
            self.wake(session, None);
        }
        !closed
    }

    /// Whether it is still to be closed, and nobody is on the way to it: then it is being asked for again. `None`: it
    /// never is any more.
    pub fn close_again(&mut self, session: &SessionId, epoch: u64) -> Option<bool> {
        let entry = self.entries.get_mut(session).filter(|e| e.epoch == epoch)?;
        let free = match entry.stage {
            Stage::Halted(Close::Waits) => entry.joining.is_empty(),
            Stage::Halted(Close::Unanswered) => !entry.is_held(),
            Stage::Halted(Close::Asked)
            | Stage::Sought
            | Stage::Placing { .. }
            | Stage::Live
            | Stage::Stored { .. }
            | Stage::Lost
            | Stage::Deleting(_) => return None,
        };
        if free {
            entry.stage = Stage::Halted(Close::Asked);
        }
        Some(free)
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::{A, B, Bench, S};
    use super::super::{Answer, Storage};

    #[test]
    fn a_halted_session_has_no_other_home_until_its_cli_has_closed_it() {
        let mut bench = Bench::new(Storage::Shared, 100);
        let epoch = bench.live(S, 1, A);
        let halted = bench.table.halted(&S.into(), bench.conn(1), A, epoch);
        assert_eq!(halted, Some(true));
        let again = bench.table.halted(&S.into(), bench.conn(1), A, epoch);
        assert_eq!(again, None, "one asks");
        assert_eq!(bench.resume(S, 2), Answer::Wait);
        assert_eq!(bench.leases(), 1, "what is left of it takes room");
        assert!(!bench.table.close_answered(&S.into(), epoch, true, bench.now));
        assert_eq!(bench.woken(), 1);
        assert!(matches!(bench.resume(S, 2), Answer::Place { only: None, near: Some(A), .. }));
        assert_eq!(bench.leases(), 0);
    }

    #[test]
    fn a_cli_that_does_not_answer_keeps_the_session_and_is_asked_again_when_nobody_wants_it() {
        let mut bench = Bench::new(Storage::Shared, 100);
        let epoch = bench.live(S, 1, A);
        assert_eq!(bench.table.halted(&S.into(), bench.conn(1), A, epoch), Some(true));
        assert_eq!(bench.resume(S, 2), Answer::Wait);
        assert!(bench.table.close_answered(&S.into(), epoch, false, bench.now), "ask again");
        assert_eq!(bench.woken(), 1);
        assert!(matches!(bench.resume(S, 2), Answer::Go { upstream: A, .. }));
        assert_eq!(bench.table.close_again(&S.into(), epoch), Some(false), "conn 2 is on its way");
        bench.table.not_placed(&S.into(), bench.conn(2), epoch, false, bench.now);
        assert_eq!(bench.table.close_again(&S.into(), epoch), Some(true));
        assert_eq!(bench.resume(S, 2), Answer::Wait);
    }

    #[test]
    fn nothing_is_closed_while_somebody_is_on_the_way() {
        let mut bench = Bench::new(Storage::Own, 100);
        let epoch = bench.live(S, 1, A);
        assert!(matches!(bench.resume(S, 2), Answer::Go { .. }));
        assert_eq!(bench.table.halted(&S.into(), bench.conn(1), A, epoch), Some(false));
        assert_eq!(bench.resume(S, 3), Answer::Wait);
        assert_eq!(bench.table.close_again(&S.into(), epoch), Some(false));
        // It found nothing there, and made it live anew.
        bench.table.attached(&S.into(), bench.conn(2), epoch);
        assert_eq!(bench.woken(), 1);
        assert_eq!(bench.table.close_again(&S.into(), epoch), None);
        assert!(matches!(bench.resume(S, 3), Answer::Go { .. }));
        // This one fails.
        assert_eq!(bench.table.halted(&S.into(), bench.conn(2), A, epoch), Some(false));
        bench.table.not_placed(&S.into(), bench.conn(3), epoch, false, bench.now);
        assert_eq!(bench.table.close_again(&S.into(), epoch), Some(true));
    }

    #[test]
    fn a_cli_that_dies_has_closed_all() {
        let mut bench = Bench::new(Storage::Shared, 100);
        let epoch = bench.live(S, 1, A);
        assert_eq!(bench.table.halted(&S.into(), bench.conn(1), A, epoch), Some(true));
        assert_eq!(bench.resume(S, 2), Answer::Wait);
        bench.table.upstream_is(A, false);
        assert_eq!(bench.woken(), 1);
        assert!(matches!(bench.resume(S, 2), Answer::Place { only: None, near: None, .. }));
        bench.place(S, 2, B);
        assert!(!bench.table.close_answered(&S.into(), epoch, true, bench.now), "a life later");
        assert_eq!(bench.leases(), 1);
    }
}
