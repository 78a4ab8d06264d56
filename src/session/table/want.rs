//! The decisions: what somebody who wants a session is told. A session that is known never moves here.

use super::entry::{Close, Delete, Entry, Left, Stage};
use super::{Absence, Answer, Asker, CreateExisting, Storage, Table};
use crate::error::{Reason, Refusal};
use crate::id::{SessionId, UpstreamId};
use crate::time::Instant;
use crate::want::Want;

impl<L> Table<L> {
    /// Somebody wants a session. `absence`: what the look-up that it waited for did not find. `up`: whether a CLI may
    /// be used.
    pub fn want(
        &mut self,
        session: &SessionId,
        asker: Asker,
        want: &Want,
        absence: Option<Absence>,
        up: impl Fn(UpstreamId) -> bool,
        now: Instant,
    ) -> Answer {
        let Some(entry) = self.entries.get_mut(session) else {
            return self.want_unknown(session, want, absence, now);
        };
        entry.touched = now;
        let (stage, epoch, reason) = (entry.stage, entry.epoch, entry.reason);
        if let Stage::Deleting(delete) = stage {
            return match (want, delete) {
                // The delete that is under way would end it.
                (Want::Create | Want::CreateNew, Delete::Asked) => {
                    entry.waiters.push(asker);
                    Answer::Wait
                }
                (Want::Create | Want::CreateNew, Delete::Unanswered) => undeleted(session),
                (Want::Resume | Want::Answer(_) | Want::Use { .. } | Want::Turn, _) => {
                    Answer::Refused(Refusal::session_not_found(session.as_str()))
                }
            };
        }
        let Some(upstream) = entry.upstream else {
            entry.waiters.push(asker);
            return Answer::Wait;
        };
        match stage {
            Stage::Sought | Stage::Placing { .. } | Stage::Deleting(_) => {
                entry.waiters.push(asker);
                Answer::Wait
            }
            Stage::Halted(Close::Waits | Close::Asked) => {
                entry.waiters.push(asker);
                Answer::Wait
            }
            // What is left of it is there, and must not be doubled elsewhere.
            Stage::Halted(Close::Unanswered) if !up(upstream) => down(session),
            Stage::Live | Stage::Halted(Close::Unanswered) => match want {
                Want::Create | Want::CreateNew | Want::Resume => {
                    let resume = match existing(want, self.create_existing, session) {
                        Ok(resume) => resume,
                        Err(refusal) => return Answer::Refused(refusal),
                    };
                    entry.joining.push(asker.conn);
                    Answer::Go { upstream, epoch, resume, reason }
                }
                Want::Answer(ask) if !entry.asks.contains(ask) => Answer::NotAsked,
                Want::Answer(_) | Want::Use { .. } | Want::Turn => {
                    Answer::Go { upstream, epoch, resume: false, reason }
                }
            },
            Stage::Lost => Answer::Refused(session_lost(session)),
            Stage::Stored { .. } if want.moves() && self.ending.contains(&upstream) => {
                entry.waiters.push(asker);
                Answer::Wait
            }
            Stage::Stored { cut } => {
                let places = matches!(want, Want::Create | Want::CreateNew | Want::Resume);
                if places && entry.asking {
                    entry.waiters.push(asker);
                    return Answer::Wait;
                }
                match want {
                    _ if places && absence == Some(Absence::Unsure) => {
                        unsure(session, "the CLI that had it does not say whether it has it still")
                    }
                    Want::Create | Want::CreateNew | Want::Resume => {
                        // One that was cut off is perhaps about to be found dead.
                        let near = entry.lingers_on(now).filter(|_| !cut);
                        let left = entry.left;
                        self.want_back(session, want, (upstream, up(upstream)), near, left, now)
                    }
                    Want::Answer(_) => Answer::NotAsked,
                    Want::Use { on_disk: false } | Want::Turn if cut => {
                        let why = "its CLI went away: resume it first";
                        let refusal = Refusal::new(Reason::UpstreamLost, why);
                        Answer::Refused(refusal.of_session(session.as_str()))
                    }
                    Want::Use { .. } | Want::Turn if !up(upstream) => down(session),
                    Want::Use { .. } | Want::Turn => {
                        Answer::Go { upstream, epoch, resume: false, reason }
                    }
                }
            }
        }
    }

    fn want_unknown(
        &mut self,
        session: &SessionId,
        want: &Want,
        absence: Option<Absence>,
        now: Instant,
    ) -> Answer {
        let found_out = match (absence, want) {
            (_, Want::CreateNew) => return ANYWHERE,
            (None, _) => {
                self.insert(session, Stage::Sought, None, now);
                return Answer::LookUp;
            }
            (Some(Absence::Nobody | Absence::NobodyUp), Want::Create) => {
                return ANYWHERE;
            }
            (Some(absence), _) => absence,
        };
        let unsure = |why| unsure(session, why);
        match found_out {
            Absence::Nobody => Answer::Refused(Refusal::session_not_found(session.as_str())),
            Absence::NobodyUp if self.storage == Storage::Shared => {
                Answer::Refused(Refusal::session_not_found(session.as_str()))
            }
            Absence::NobodyUp => unsure("no CLI that is up has the session, but one is down"),
            Absence::Unsure => unsure("a CLI did not say whether it has the session"),
            Absence::Twice => unsure("two CLIs have the session: it is left alone"),
            Absence::Unasked => Answer::Refused(Refusal::crowded(session.as_str())),
        }
    }

    /// On a shared disk any CLI finds a session: where the one that had it last is not up, `other` answers for it.
    pub fn rehome(
        &mut self,
        session: &SessionId,
        up: impl Fn(UpstreamId) -> bool,
        other: impl FnOnce() -> Option<UpstreamId>,
    ) {
        let shared = self.storage == Storage::Shared;
        let stored = |e: &&mut Entry<L>| shared && matches!(e.stage, Stage::Stored { .. });
        let Some(entry) = self.entries.get_mut(session).filter(stored) else { return };
        if entry.upstream.is_some_and(|had| !up(had) && !self.ending.contains(&had))
            && let Some(other) = other()
        {
            entry.upstream = Some(other);
        }
    }

    /// Somebody brings a stored session back to life.
    fn want_back(
        &self,
        session: &SessionId,
        want: &Want,
        (upstream, up): (UpstreamId, bool),
        near: Option<UpstreamId>,
        left: Option<Left>,
        now: Instant,
    ) -> Answer {
        let resume = match existing(want, self.create_existing, session) {
            Err(refusal) => return Answer::Refused(refusal),
            Ok(resume) => resume,
        };
        match (self.storage, left) {
            (Storage::Own, _) if !up => down(session),
            (Storage::Own, _) => Answer::Place { only: Some(upstream), near, ask: None, resume },
            (Storage::Shared, Some(left)) if left.has && left.is_fresh(now) => {
                Answer::Place { only: Some(left.by), near, ask: None, resume }
            }
            (Storage::Shared, left) => {
                Answer::Place { only: None, near, ask: left.map(|left| left.by), resume }
            }
        }
    }
}

const ANYWHERE: Answer = Answer::Place { only: None, near: None, ask: None, resume: false };

fn unsure(session: &SessionId, why: &str) -> Answer {
    Answer::Refused(Refusal::new(Reason::NoUpstream, why).of_session(session.as_str()))
}

fn down(session: &SessionId) -> Answer {
    let refusal = Refusal::new(Reason::NoUpstream, "the session's CLI is not up");
    Answer::Refused(refusal.of_session(session.as_str()))
}

fn undeleted(session: &SessionId) -> Answer {
    let why = "an earlier session of this id is not deleted yet: its CLI does not say that it is";
    Answer::Refused(Refusal::new(Reason::NoUpstream, why).of_session(session.as_str()))
}

/// Whether a create of an id that is taken goes out as a resume.
fn existing(want: &Want, policy: CreateExisting, session: &SessionId) -> Result<bool, Refusal> {
    match (want, policy) {
        (Want::Create | Want::CreateNew, CreateExisting::Resume) => Ok(true),
        (Want::Create | Want::CreateNew, CreateExisting::Refuse) => {
            let refusal = Refusal::new(Reason::MethodDenied, "a session of this id exists");
            Err(refusal.of_session(session.as_str()))
        }
        (Want::Create | Want::CreateNew, CreateExisting::Pass)
        | (Want::Resume | Want::Answer(_) | Want::Use { .. } | Want::Turn, _) => Ok(false),
    }
}

fn session_lost(session: &SessionId) -> Refusal {
    let message = "the session's CLI is gone and its state is not on shared storage";
    Refusal::new(Reason::SessionLost, message).of_session(session.as_str())
}

#[cfg(test)]
mod tests {
    use super::super::LINGER;
    use super::super::bench::{A, B, Bench, S};
    use super::*;
    use crate::placement::PlacementReason;
    use crate::time::Duration;

    fn near(bench: &mut Bench) -> Option<UpstreamId> {
        let answer = bench.resume(S, 2);
        let Answer::Place { only: None, near, .. } = answer else { panic!("{answer:?}") };
        near
    }

    #[test]
    fn a_session_that_was_just_left_goes_back_to_its_cli() {
        let mut bench = Bench::new(Storage::Shared, 100);
        let epoch = bench.live(S, 1, A);
        bench.table.detached(&S.into(), bench.conn(1), epoch, false, bench.now);
        bench.now += LINGER - Duration::from_millis(1);
        assert_eq!(near(&mut bench), Some(A));
        bench.now += Duration::from_millis(1);
        assert_eq!(near(&mut bench), None);
    }

    #[test]
    fn a_session_whose_cli_was_lost_goes_anywhere() {
        let mut bench = Bench::new(Storage::Shared, 100);
        let epoch = bench.live(S, 1, A);
        bench.table.detached(&S.into(), bench.conn(1), epoch, true, bench.now);
        assert_eq!(near(&mut bench), None);
        let epoch = bench.live(S, 1, A);
        bench.table.detached(&S.into(), bench.conn(1), epoch, false, bench.now);
        bench.table.upstream_is(A, false);
        assert_eq!(near(&mut bench), None);
    }

    #[test]
    fn a_session_of_a_cli_that_ends_goes_elsewhere_once_that_is_reaped() {
        let mut bench = Bench::new(Storage::Shared, 100);
        let epoch = bench.live(S, 1, A);
        bench.table.upstream_ending(A);
        bench.table.detached(&S.into(), bench.conn(1), epoch, true, bench.now);
        bench.table.upstream_is(A, false);
        bench.table.take_wakes();
        assert_eq!(bench.resume(S, 2), Answer::Wait);
        bench.table.rehome(&S.into(), |id| id != A, || Some(B));
        assert_eq!(bench.table.upstream_of(&S.into()), Some(A), "not for reading, either");
        bench.table.upstream_reaped(B);
        assert_eq!(bench.woken(), 0);
        bench.table.upstream_reaped(A);
        assert_eq!(bench.woken(), 1);
        assert!(matches!(bench.resume(S, 2), Answer::Place { only: None, .. }));
    }

    #[test]
    fn with_own_storage_nobody_waits_for_a_cli_that_ends() {
        let mut bench = Bench::new(Storage::Own, 100);
        let epoch = bench.live(S, 1, A);
        bench.table.upstream_ending(A);
        bench.table.detached(&S.into(), bench.conn(1), epoch, true, bench.now);
        assert!(matches!(bench.resume(S, 2), Answer::Place { only: Some(A), .. }));
    }

    #[test]
    fn whoever_goes_to_a_session_hears_why_it_is_there() {
        let mut bench = Bench::new(Storage::Own, 100);
        bench.live(S, 1, A);
        let answer = bench.resume(S, 2);
        assert!(
            matches!(answer, Answer::Go { reason: Some(PlacementReason::Sticky), .. }),
            "{answer:?}"
        );
    }
}
