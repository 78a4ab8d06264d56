//! What the client waits for: every request that we took and did not answer yet.

use bytes::Bytes;

use super::{Action, Denied, Mux, Now, Outcome, Ticket, TurnEnd, Waiting};
use crate::error::{Reason, Refusal};
use crate::id::{LinkId, RawId, SessionId};
use crate::rpc::methods::{Method, Route};
use crate::rpc::turn::Starts;
use crate::time::Instant;

/// Where a request is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// Its CLI has it, or will get it first thing.
    Link(LinkId),
    /// It waits for the answer to a question.
    Ticket(Ticket),
    /// It waits behind a frame of its session that waits for the answer to a question.
    Queue(SessionId),
}

pub(super) struct Pending {
    /// `None`: a method that is in no table.
    pub(super) method: Option<&'static Method>,
    pub(super) session: Option<SessionId>,
    pub(super) at: At,
    pub(super) since: Instant,
    /// What its session's turn counts it as.
    pub(super) counted: Starts,
    /// Which life of its session it was sent to.
    pub(super) epoch: u64,
    /// Which attachment of the conn it was sent in; 0: none. A CLI answers in any order, so what it says of the
    /// session it may have said before a later attachment.
    pub(super) attachment: u64,
    /// What placing a session needs to remember.
    pub(super) place: Option<Place>,
    /// The client's frame, for a second try: [`Mux::keep_for_retry`].
    again: Option<Bytes>,
}

impl Pending {
    /// A request of the client that was just read.
    pub(super) fn new(
        method: Option<&'static Method>,
        session: Option<SessionId>,
        since: Instant,
    ) -> Self {
        Pending {
            method,
            session,
            at: At::Ticket(Ticket(0)),
            since,
            counted: Starts::Never,
            epoch: 0,
            attachment: 0,
            place: None,
            again: None,
        }
    }

    /// Bytes that it keeps.
    pub(super) fn kept(&self) -> usize {
        self.again.as_ref().map_or(0, Bytes::len)
    }

    /// The client's frame, if it was kept.
    pub(super) fn again(&self) -> Option<Bytes> {
        self.again.clone()
    }

    /// Whether it starts a session that no CLI has yet.
    pub(super) fn is_new(&self) -> bool {
        let create = self.method.is_some_and(|m| m.route() == Route::Create);
        create && self.place.as_ref().is_some_and(|p| !p.instead && !p.unnamed)
    }

    /// Whether its result is the client's affair alone.
    pub(super) fn is_plain(&self) -> bool {
        let ends = self.method.is_some_and(|m| m.end().is_some() || m.route() == Route::Fork);
        self.place.is_none() && self.counted == Starts::Never && !ends
    }

    /// What an answer that comes late still needs to know.
    fn late(&self, link: LinkId) -> Late {
        let ends = self.method.is_some_and(|m| m.end().is_some());
        let known = || Pending {
            session: self.session.clone(),
            at: At::Link(link),
            counted: Starts::Never,
            place: None,
            again: None,
            ..*self
        };
        Late { link, ends: ends.then(|| Box::new(known())) }
    }
}

/// A request that was given up, and that its CLI may carry out still.
pub(super) struct Late {
    pub(super) link: LinkId,
    /// What it asked, where it ends its session on this conn.
    pub(super) ends: Option<Box<Pending>>,
}

/// A create or resume under way.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) epoch: u64,
    /// It was a create, and went out as a resume.
    pub(super) instead: bool,
    /// No id was known when it went out.
    pub(super) unnamed: bool,
}

impl Mux {
    /// The requests that `which` is true of, oldest first: what the client hears depends on nothing but its input.
    pub(super) fn requests(&self, which: impl Fn(&Pending) -> bool) -> Vec<RawId> {
        let mut found: Vec<(Instant, &RawId)> =
            self.pending.iter().filter(|(_, p)| which(p)).map(|(id, p)| (p.since, id)).collect();
        found.sort_unstable_by_key(|(since, id)| (*since, id.as_bytes()));
        found.into_iter().map(|(_, id)| id.clone()).collect()
    }

    /// Takes a request off the table.
    pub(super) fn take_pending(&mut self, id: &[u8]) -> Option<Pending> {
        let pending = self.pending.remove(id)?;
        self.kept -= pending.kept();
        Some(pending)
    }

    /// Puts it back.
    pub(super) fn put_pending(&mut self, id: &RawId, pending: Pending) {
        self.kept += pending.kept();
        self.pending.insert(id.clone(), pending);
    }

    /// Keeps the client's frame with its request: it may have to go out again.
    pub(super) fn keep_for_retry(&mut self, id: &RawId, body: Bytes) {
        if let Some(pending) = self.pending.get_mut(id.as_bytes()) {
            self.kept -= pending.kept();
            self.kept += body.len();
            pending.again = Some(body);
        }
    }

    /// Takes a request off the table, and counts how it ended.
    pub(super) fn settle(&mut self, id: &[u8], outcome: Outcome, now: Instant) -> Option<Pending> {
        let pending = self.take_pending(id)?;
        let took = now.saturating_duration_since(pending.since);
        self.actions.push_back(Action::Answered(pending.method, outcome, took));
        Some(pending)
    }

    /// Answers a request that waits with an error of ours.
    pub(super) fn refuse(&mut self, id: &RawId, refusal: &Refusal, now: Instant) {
        let Some(pending) = self.settle(id.as_bytes(), Outcome::Refused(refusal.reason), now)
        else {
            return;
        };
        self.write_error(id.as_str(), &refusal.to_json());
        self.denied(&pending, refusal);
        self.abandon(id, &pending, TurnEnd::of_refusal(refusal.reason), now);
    }

    /// Tells of a refusal that says what the client may not have.
    pub(super) fn denied(&mut self, pending: &Pending, refusal: &Refusal) {
        let what = match refusal.reason {
            Reason::AccessDenied => Denied::Session,
            Reason::MethodDenied => match pending.method.map(|m| self.settings.policy.judge(m)) {
                Some(Err(why)) => Denied::Method(why),
                Some(Ok(())) | None => Denied::Name,
            },
            Reason::UpstreamLost
            | Reason::NoUpstream
            | Reason::SessionBusy
            | Reason::Overloaded
            | Reason::FrameTooLarge
            | Reason::Draining
            | Reason::UpstreamTimeout
            | Reason::SessionLost => return,
        };
        // The one that the refusal is about: a request may name two.
        let session = refusal.session.as_deref().map(SessionId::new);
        let session = session.or_else(|| pending.session.clone());
        self.actions.push_back(Action::Denied(pending.method, session, what));
    }

    /// Undoes what a request that will not be answered by a CLI had begun.
    pub(super) fn abandon(&mut self, id: &RawId, pending: &Pending, end: TurnEnd, now: Instant) {
        self.withdraw(id, &pending.at);
        let Some(session) = &pending.session else { return };
        self.turn_answered(session, pending.counted, Some(end), now);
        if let Some(place) = pending.place.as_ref().filter(|p| !p.unnamed) {
            self.not_placed(session, place.epoch, false, now);
        }
    }

    /// Takes back the frame of a request that is given up: its id may come again, for another request.
    fn withdraw(&mut self, id: &RawId, at: &At) {
        match at {
            At::Link(_) => {}
            At::Queue(session) => {
                self.with_frames(session, |slot| {
                    slot.queue.retain(|(of, _)| of.as_ref() != Some(id));
                });
            }
            At::Ticket(ticket) => match self.waiting.get(ticket) {
                // Its answer is what others queue for, too.
                Some(Waiting::Seek(session)) => {
                    let session = session.clone();
                    self.with_frames(&session, |slot| {
                        if let Some(seek) = &mut slot.seek {
                            seek.body = None;
                        }
                    });
                }
                Some(_) | None => {
                    self.waiting.remove(ticket);
                }
            },
        }
    }

    pub(super) fn expire_pending(&mut self, now: Now) {
        let settings = &self.settings;
        let late = self.requests(|pending| {
            let limit = match &pending.at {
                At::Link(_) if pending.method.is_some_and(Method::is_long) => return false,
                At::Link(_) => settings.request_timeout,
                At::Ticket(ticket) => match self.waiting.get(ticket) {
                    Some(Waiting::Greet(_)) => settings.greet_timeout,
                    Some(_) | None => settings.seek_timeout,
                },
                At::Queue(_) => settings.seek_timeout,
            };
            now.at >= pending.since + limit
        });
        for id in late {
            let Some(pending) = self.pending.get(id.as_bytes()) else { continue };
            let (at, places) = (pending.at.clone(), pending.place.is_some());
            let late = match &at {
                At::Link(link) => Some(pending.late(*link)),
                At::Ticket(_) | At::Queue(_) => None,
            };
            let mut refusal = match &at {
                At::Link(_) => Refusal::new(
                    Reason::UpstreamTimeout,
                    "the CLI took the request and did not answer in time",
                ),
                At::Ticket(_) | At::Queue(_) => {
                    Refusal::new(Reason::NoUpstream, "no CLI could be found for this in time")
                }
            };
            refusal.session = pending.session.as_ref().map(ToString::to_string);
            // The session may come to life there yet: nobody may resume it elsewhere before that link is gone.
            let reset = late.as_ref().map(|late| late.link).filter(|_| places);
            self.actions.extend(reset.map(Action::Reset));
            self.refuse(&id, &refusal, now.at);
            if let Some(late) = late {
                self.late.insert(id, late);
            }
            if let Some(link) = reset {
                self.link_lost(link, now);
            }
        }
    }
}
