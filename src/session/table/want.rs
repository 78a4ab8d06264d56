//! The decisions: what somebody who wants a session is told. A session that is known never moves here.

use super::entry::Stage;
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
        let (stage, epoch) = (entry.stage, entry.epoch);
        let Some(upstream) = entry.upstream else {
            entry.waiters.push(asker);
            return Answer::Wait;
        };
        match stage {
            Stage::Sought | Stage::Placing { .. } => {
                entry.waiters.push(asker);
                Answer::Wait
            }
            Stage::Live => match want {
                Want::Create | Want::CreateNew | Want::Resume => {
                    let resume = match existing(want, self.create_existing, session) {
                        Ok(resume) => resume,
                        Err(refusal) => return Answer::Refused(refusal),
                    };
                    entry.joining.push(asker.conn);
                    Answer::Go { upstream, epoch, resume }
                }
                Want::Answer(ask) if !entry.asks.contains(ask) => Answer::NotAsked,
                Want::Answer(_) | Want::Use { .. } => Answer::Go { upstream, epoch, resume: false },
            },
            Stage::Lost => Answer::Refused(session_lost(session)),
            Stage::Stored { cut } => self.want_stored(session, want, upstream, cut, up(upstream)),
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
            (_, Want::CreateNew) => return Answer::Place { only: None, resume: false },
            (None, _) => {
                self.make_room();
                self.insert(session, Stage::Sought, None, now);
                return Answer::LookUp;
            }
            (Some(Absence::Nobody | Absence::NobodyUp), Want::Create) => {
                return Answer::Place { only: None, resume: false };
            }
            (Some(absence), _) => absence,
        };
        let unsure = |why: &str| Refusal::new(Reason::NoUpstream, why).of_session(session.as_str());
        Answer::Refused(match found_out {
            Absence::Nobody => Refusal::session_not_found(session.as_str()),
            Absence::NobodyUp if self.storage == Storage::Shared => {
                Refusal::session_not_found(session.as_str())
            }
            Absence::NobodyUp => unsure("no CLI that is up has the session, but one is down"),
            Absence::Unsure => unsure("a CLI did not say whether it has the session"),
            Absence::Twice => unsure("two CLIs have the session: it is left alone"),
        })
    }

    fn want_stored(
        &mut self,
        session: &SessionId,
        want: &Want,
        upstream: UpstreamId,
        cut: bool,
        up: bool,
    ) -> Answer {
        let own = self.storage == Storage::Own;
        let down = || {
            let refusal = Refusal::new(Reason::NoUpstream, "the session's CLI is not up");
            Answer::Refused(refusal.of_session(session.as_str()))
        };
        let epoch = self.entries.get(session).map_or(0, |e| e.epoch);
        match want {
            Want::Create | Want::CreateNew | Want::Resume => {
                match existing(want, self.create_existing, session) {
                    Err(refusal) => Answer::Refused(refusal),
                    Ok(_) if own && !up => down(),
                    Ok(resume) => Answer::Place { only: own.then_some(upstream), resume },
                }
            }
            Want::Answer(_) => Answer::NotAsked,
            Want::Use { on_disk: false } if cut => {
                let refusal =
                    Refusal::new(Reason::UpstreamLost, "its CLI went away: resume it first");
                Answer::Refused(refusal.of_session(session.as_str()))
            }
            Want::Use { .. } if !up => down(),
            Want::Use { .. } => Answer::Go { upstream, epoch, resume: false },
        }
    }
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
        | (Want::Resume | Want::Answer(_) | Want::Use { .. }, _) => Ok(false),
    }
}

fn session_lost(session: &SessionId) -> Refusal {
    let message = "the session's CLI is gone and its state is not on shared storage";
    Refusal::new(Reason::SessionLost, message).of_session(session.as_str())
}
