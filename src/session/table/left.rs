//! A stored session that the CLI which was left with it may have in memory still: what was sent to it last may not even
//! have been read there. Before another CLI gets the session, that one is asked, or known to be gone. Asks nobody itself.

use super::Table;
use super::entry::{Entry, Left};
use super::{Absence, Asker, Wake};
use crate::id::{SessionId, UpstreamId};
use crate::time::Instant;

impl<L> Table<L> {
    /// Somebody waits until the CLI of [`super::Answer::Place`] (`ask`) has said whether it has the session in memory: ask
    /// it, and report with [`Table::left_answered`]. Returns the life that it was left in; `None`: somebody asks already.
    pub fn ask_left(&mut self, session: &SessionId, asker: Asker) -> Option<u64> {
        let entry = self.entries.get_mut(session)?;
        entry.waiters.push(asker);
        (!std::mem::replace(&mut entry.asking, true)).then_some(entry.epoch)
    }

    /// Whether that is still worth knowing.
    pub fn is_asked(&self, session: &SessionId, epoch: u64) -> bool {
        self.entries.get(session).is_some_and(|e| e.epoch == epoch && e.asking)
    }

    /// What it said; `None`: nothing.
    pub fn left_answered(
        &mut self,
        session: &SessionId,
        epoch: u64,
        has: Option<bool>,
        now: Instant,
    ) {
        let asked = |e: &&mut Entry<L>| e.epoch == epoch && e.asking;
        let Some(entry) = self.entries.get_mut(session).filter(asked) else { return };
        entry.asking = false;
        let absence = match has {
            Some(has) => {
                entry.left = entry.left.filter(|_| has).map(|left| Left { at: now, has, ..left });
                None
            }
            None => Some(Absence::Unsure),
        };
        self.wake(session, absence);
        self.check(session);
    }

    /// A CLI is gone, and what it had in memory with it.
    pub(super) fn left_is_gone(&mut self, upstream: UpstreamId) {
        let on = |e: &&mut Entry<L>| e.left.is_some_and(|left| left.by == upstream);
        for entry in self.entries.values_mut().filter(on) {
            entry.left = None;
            if std::mem::take(&mut entry.asking) {
                self.wakes.extend(entry.waiters.drain(..).map(|asker| Wake(asker, None)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::{A, B, Bench, S};
    use super::super::{Answer, LINGER, Storage};
    use super::*;
    use crate::error::Reason;
    use crate::id::ConnId;

    /// A session on a shared disk that conn 1 left some time ago.
    fn left(cut: bool) -> Bench {
        let mut bench = Bench::new(Storage::Shared, 100);
        let epoch = bench.live(S, 1, A);
        bench.table.detached(&S.into(), bench.conn(1), epoch, cut, bench.now);
        bench.now += LINGER;
        bench
    }

    fn asks(bench: &mut Bench) -> u64 {
        let answer = bench.resume(S, 2);
        let ask_a = matches!(answer, Answer::Place { only: None, near: None, ask: Some(A), .. });
        assert!(ask_a, "{answer:?}");
        let asker = Asker { conn: ConnId(2), ticket: 0 };
        let epoch = bench.table.ask_left(&S.into(), asker).unwrap();
        assert_eq!(bench.resume(S, 3), Answer::Wait, "one asks");
        epoch
    }

    #[test]
    fn a_session_goes_elsewhere_once_its_cli_says_that_it_has_it_no_more() {
        for cut in [false, true] {
            let mut bench = left(cut);
            let epoch = asks(&mut bench);
            bench.table.left_answered(&S.into(), epoch, Some(false), bench.now);
            assert_eq!(bench.woken(), 2);
            assert!(matches!(bench.resume(S, 2), Answer::Place { only: None, ask: None, .. }));
        }
    }

    #[test]
    fn a_session_that_its_cli_has_goes_back_and_later_it_is_asked_again() {
        let mut bench = left(false);
        let epoch = asks(&mut bench);
        bench.table.left_answered(&S.into(), epoch, Some(true), bench.now);
        assert_eq!(bench.woken(), 2);
        assert!(matches!(bench.resume(S, 2), Answer::Place { only: Some(A), ask: None, .. }));
        bench.now += LINGER;
        asks(&mut bench);
    }

    #[test]
    fn a_session_whose_cli_does_not_answer_stays_until_that_is_gone() {
        let mut bench = left(false);
        let epoch = asks(&mut bench);
        bench.table.left_answered(&S.into(), epoch, None, bench.now);
        let wakes = bench.table.take_wakes();
        assert!(wakes.iter().all(|Wake(_, absence)| *absence == Some(Absence::Unsure)));
        let asker = Asker { conn: ConnId(2), ticket: 0 };
        let (want, up) = (crate::want::Want::Resume, |_| true);
        let absence = Some(Absence::Unsure);
        let answer = bench.table.want(&S.into(), asker, &want, absence, up, bench.now);
        assert!(matches!(answer, Answer::Refused(r) if r.reason == Reason::NoUpstream));
        asks(&mut bench);
        bench.table.upstream_is(B, false);
        assert_eq!(bench.woken(), 0);
        bench.table.upstream_is(A, false);
        assert_eq!(bench.woken(), 2);
        assert!(!bench.table.is_asked(&S.into(), epoch));
        assert!(matches!(bench.resume(S, 2), Answer::Place { only: None, ask: None, .. }));
    }

    #[test]
    fn who_only_reads_it_elsewhere_does_not_make_it_forgotten() {
        let mut bench = left(false);
        bench.table.rehome(&S.into(), |id| id != A, || Some(B));
        assert_eq!(bench.table.upstream_of(&S.into()), Some(B));
        asks(&mut bench);
    }
}
