//! Sessions that fairlead itself deletes, or that no CLI has any more: nobody here may hold them.
//!
//! Once a CLI is asked to delete a session there is no way back, because one that did not answer may have deleted a part of
//! it: the session is gone for everybody, and who makes one of the same id waits until the CLI has said so. It never decides
//! that a session is to go.

use super::entry::{Delete, Entry, Stage};
use super::{Hold, Table};
use crate::id::SessionId;
use crate::time::Instant;

impl<L> Table<L> {
    /// Who has the session here.
    pub fn hold(&self, session: &SessionId) -> Hold {
        let Some(entry) = self.entries.get(session) else { return Hold::Unknown };
        let free = |entry: &Entry<L>| match entry.upstream {
            Some(upstream) if !entry.is_held() => {
                Hold::Free { upstream, epoch: entry.epoch, since: entry.free_since }
            }
            Some(_) | None => Hold::Held,
        };
        match entry.stage {
            // Somebody waits for it.
            _ if entry.asking => Hold::Changing,
            Stage::Sought | Stage::Halted(_) | Stage::Deleting(Delete::Asked) => Hold::Changing,
            Stage::Placing { .. } => Hold::Held,
            Stage::Live | Stage::Stored { .. } | Stage::Lost => free(entry),
            Stage::Deleting(Delete::Unanswered) => Hold::Undeleted(entry.upstream),
        }
    }

    /// Whether it is still as [`Table::hold`] said, and nobody has it.
    fn is_free(&self, session: &SessionId, hold: Hold) -> bool {
        match hold {
            Hold::Held | Hold::Changing => false,
            Hold::Unknown | Hold::Free { .. } | Hold::Undeleted(_) => self.hold(session) == hold,
        }
    }

    /// The session is gone from now on, if it is still as [`Table::hold`] said and nobody has it: then ask who has it to
    /// delete it, and report with [`Table::delete_answered`].
    pub fn delete(&mut self, session: &SessionId, hold: Hold, now: Instant) -> bool {
        let free = self.is_free(session, hold);
        if free && hold == Hold::Unknown {
            self.insert(session, Stage::Deleting(Delete::Asked), None, now);
        }
        if let Some(entry) = self.entries.get_mut(session).filter(|_| free) {
            entry.end_life();
            entry.stage = Stage::Deleting(Delete::Asked);
        }
        self.check(session);
        free
    }

    /// What became of asking; `gone`: nobody who was asked has it any more. Else it stays deleted, and is to be asked for
    /// again ([`Table::delete`]).
    pub fn delete_answered(&mut self, session: &SessionId, gone: bool) {
        let asked = |e: &&mut Entry<L>| e.stage == Stage::Deleting(Delete::Asked);
        let Some(entry) = self.entries.get_mut(session).filter(asked) else { return };
        entry.stage = Stage::Deleting(Delete::Unanswered);
        if gone {
            self.forget(session, None);
        } else {
            self.wake(session, None);
        }
    }

    /// No CLI has the session: it is not remembered either, if it is still as [`Table::hold`] said and nobody has it.
    pub fn forget_free(&mut self, session: &SessionId, hold: Hold) -> bool {
        let free = self.is_free(session, hold);
        if free {
            self.forget(session, None);
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::{A, Bench, S};
    use super::super::{Absence, Answer, Asker, Sighting, Storage};
    use super::*;
    use crate::error::Reason;
    use crate::id::ConnId;
    use crate::time::Duration;
    use crate::want::Want;

    const SECOND: Duration = Duration::from_secs(1);

    fn create(bench: &mut Bench, conn: u64, absence: Option<Absence>) -> Answer {
        let asker = Asker { conn: ConnId(conn), ticket: 0 };
        bench.table.want(&S.into(), asker, &Want::Create, absence, |_| true, bench.now)
    }

    /// A session that its only conn left a second ago.
    fn left(bench: &mut Bench) -> Hold {
        let epoch = bench.live(S, 1, A);
        assert_eq!(bench.table.hold(&S.into()), Hold::Held);
        bench.table.detached(&S.into(), bench.conn(1), epoch, false, bench.now);
        let since = bench.now;
        bench.now += SECOND;
        let hold = bench.table.hold(&S.into());
        assert_eq!(hold, Hold::Free { upstream: A, epoch, since });
        hold
    }

    fn refused(answer: &Answer, reason: Reason) -> bool {
        matches!(answer, Answer::Refused(refusal) if refusal.reason == reason)
    }

    #[test]
    fn a_session_that_somebody_came_back_to_is_not_deleted() {
        let mut bench = Bench::new(Storage::Own, 100);
        let hold = left(&mut bench);
        bench.place(S, 2, A);
        assert!(!bench.table.delete(&S.into(), hold, bench.now), "conn 2 is on the way");
        let hold = left(&mut bench);
        let epoch = bench.live(S, 2, A);
        bench.table.detached(&S.into(), bench.conn(2), epoch, false, bench.now);
        assert!(!bench.table.delete(&S.into(), hold, bench.now), "it was another life");
    }

    #[test]
    fn who_is_attached_or_joins_keeps_it() {
        let mut bench = Bench::new(Storage::Own, 100);
        let epoch = bench.live(S, 1, A);
        bench.live("other", 1, A);
        assert!(matches!(bench.resume(S, 2), Answer::Go { .. }));
        bench.table.detached(&S.into(), bench.conn(1), epoch, false, bench.now);
        assert_eq!(bench.table.hold(&S.into()), Hold::Held, "conn 2 is on the way");
        assert!(!bench.table.delete(&S.into(), Hold::Held, bench.now));
        bench.table.attached(&S.into(), bench.conn(2), epoch);
        assert_eq!(bench.table.hold(&S.into()), Hold::Held);
    }

    #[test]
    fn what_is_being_deleted_is_gone_for_who_wants_it_and_waited_for_by_who_makes_it_anew() {
        let mut bench = Bench::new(Storage::Own, 100);
        let hold = left(&mut bench);
        assert!(bench.table.delete(&S.into(), hold, bench.now));
        assert!(!bench.table.delete(&S.into(), hold, bench.now), "one asks");
        assert!(refused(&bench.resume(S, 2), Reason::AccessDenied));
        assert_eq!(create(&mut bench, 3, None), Answer::Wait);
        bench.table.deleted(&S.into(), A, 1);
        assert_eq!(create(&mut bench, 4, None), Answer::Wait, "ours is under way yet");
        bench.table.delete_answered(&S.into(), true);
        assert_eq!(bench.woken(), 2);
        assert_eq!(create(&mut bench, 3, None), Answer::LookUp);
        assert_eq!(bench.leases(), 0);
    }

    #[test]
    fn a_delete_that_is_not_confirmed_has_no_way_back() {
        let mut bench = Bench::new(Storage::Own, 100);
        let hold = left(&mut bench);
        assert!(bench.table.delete(&S.into(), hold, bench.now));
        assert_eq!(create(&mut bench, 3, None), Answer::Wait);
        bench.table.upstream_is(A, false);
        bench.table.delete_answered(&S.into(), false);
        assert_eq!(bench.woken(), 1);
        bench.table.upstream_is(A, true);
        assert!(refused(&bench.resume(S, 2), Reason::AccessDenied));
        assert!(refused(&create(&mut bench, 3, None), Reason::NoUpstream));
        let hold = bench.table.hold(&S.into());
        assert_eq!(hold, Hold::Undeleted(Some(A)));
        assert!(bench.table.delete(&S.into(), hold, bench.now), "asked for again");
        bench.table.delete_answered(&S.into(), true);
        assert_eq!(bench.table.hold(&S.into()), Hold::Unknown);
    }

    #[test]
    fn an_id_that_nobody_knows_is_deleted_only_as_long_as_nobody_looks_for_it() {
        let mut bench = Bench::new(Storage::Own, 100);
        assert_eq!(create(&mut bench, 1, None), Answer::LookUp);
        assert!(!bench.table.delete(&S.into(), Hold::Unknown, bench.now));
        assert_eq!(bench.table.hold(&S.into()), Hold::Changing);
        bench.table.looked_up(&S.into(), Sighting::Nobody { down: false });
        assert!(bench.table.delete(&S.into(), Hold::Unknown, bench.now));
        assert_eq!(create(&mut bench, 1, Some(Absence::Nobody)), Answer::Wait);
        bench.table.delete_answered(&S.into(), true);
        assert!(matches!(create(&mut bench, 1, Some(Absence::Nobody)), Answer::Place { .. }));
    }

    #[test]
    fn what_no_cli_has_is_forgotten_unless_somebody_came_to_it() {
        let mut bench = Bench::new(Storage::Own, 100);
        let hold = left(&mut bench);
        assert!(bench.table.forget_free(&S.into(), hold));
        assert_eq!(bench.table.upstream_of(&S.into()), None);
        let hold = left(&mut bench);
        bench.live(S, 2, A);
        assert!(!bench.table.forget_free(&S.into(), hold));
        assert!(!bench.table.forget_free(&S.into(), Hold::Unknown));
        assert_eq!(bench.table.upstream_of(&S.into()), Some(A));
    }
}
