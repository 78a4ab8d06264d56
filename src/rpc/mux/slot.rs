//! A session as one conn uses it.

use std::collections::VecDeque;

use bytes::Bytes;

use super::told::waited;
use super::{Action, Left, Mux, Stay, Ticket, TurnEnd, TurnReport, Waiting};
use crate::id::{AskId, LinkId, RawId, SessionId};
use crate::rpc::frame::Body;
use crate::rpc::methods::Method;
use crate::rpc::turn::{Starts, Turn};
use crate::time::{Duration, Instant};
use crate::want::{LINGER, Want};

/// What the conn has of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing: where it is must be asked each time.
    Away,
    /// Its create or resume is under way on the slot's link.
    Placing,
    /// Attached, over the slot's link.
    Attached,
}

/// A question where the session is, and the frame that needs to know.
pub(super) struct Seek {
    pub(super) ticket: Ticket,
    /// `None` once its request was given up.
    pub(super) body: Option<Bytes>,
    /// What it is told to have when it is told to go on.
    pub(super) gets: Gets,
}

/// What the pool counts for a conn that was told where to go: it is used, or given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gets {
    /// Nothing.
    Nothing,
    /// A place: it is a create or resume.
    Place,
    /// A turn that may start.
    Turn,
}

impl Gets {
    fn of(want: &Want) -> Self {
        match want {
            Want::Create | Want::CreateNew | Want::Resume => Gets::Place,
            Want::Turn => Gets::Turn,
            Want::Answer(_) | Want::Use { .. } => Gets::Nothing,
        }
    }
}

/// A turn that this conn started.
pub(super) struct Started {
    pub(super) method: &'static str,
    /// How long its request waited before that.
    pub(super) queue: Option<Duration>,
    pub(super) at: Instant,
    pub(super) first_event: Option<Duration>,
    pub(super) aborted: bool,
    pub(super) frames_in: u64,
    pub(super) bytes_in: u64,
}

pub(super) struct Slot {
    pub(super) phase: Phase,
    /// Where its events come from: also after it left, for the CLI tells every link of its sessions.
    pub(super) link: Option<LinkId>,
    /// When it left.
    left: Option<Instant>,
    pub(super) epoch: u64,
    /// The number of the attachment, unique on the conn; 0 while there is none.
    pub(super) attachment: u64,
    pub(super) turn: Turn,
    /// It was at work when the conn came to it, as others saw it: what began that is not heard any more, what ends it is.
    pub(super) joined: bool,
    pub(super) started: Option<Started>,
    /// From where it was told to go on.
    pub(super) stay: Option<Stay>,
    /// The id of the last lasting event.
    pub(super) last_event: Option<Box<str>>,
    pub(super) seek: Option<Seek>,
    /// What it asked for over this conn's link, and was not settled yet.
    pub(super) asks: Vec<AskId>,
    /// Frames that came while it was sought, in order, with the ids of requests.
    pub(super) queue: VecDeque<(Option<RawId>, Bytes)>,
}

impl Slot {
    fn new() -> Self {
        Slot {
            phase: Phase::Away,
            link: None,
            left: None,
            epoch: 0,
            attachment: 0,
            turn: Turn::default(),
            joined: false,
            started: None,
            stay: None,
            last_event: None,
            seek: None,
            asks: Vec::new(),
            queue: VecDeque::new(),
        }
    }

    /// Whether the conn would be as well off without it.
    fn says_nothing(&self) -> bool {
        let waits = self.seek.is_some() || !self.queue.is_empty();
        self.phase == Phase::Away && !waits && !self.busy()
    }

    /// Whether the session is at work, as far as this conn knows.
    pub(super) fn busy(&self) -> bool {
        self.turn.busy() || self.joined
    }

    /// Whether what its CLI tells everybody of it is for this conn: while it is here, and of its end for a moment. After
    /// that its name may be somebody else's.
    fn hears(&self, now: Instant) -> bool {
        self.phase != Phase::Away || self.left.is_some_and(|at| now < at + LINGER)
    }

    /// When the request came that goes out: if it started a turn, how long it waited is the turn's queue.
    pub(super) fn came(&mut self, came: Instant) {
        if let Some(started) = self.started.as_mut().filter(|s| s.frames_in == 0) {
            started.queue = waited(came, started.at);
        }
    }

    /// The client sent the session a frame: it counts for the turn that runs.
    pub(super) fn sent(&mut self, bytes: usize) {
        if let Some(started) = &mut self.started {
            started.frames_in += 1;
            started.bytes_in += bytes as u64;
        }
    }

    pub(super) fn buffered(&self) -> usize {
        self.queue.iter().map(|(_, body)| body.len()).sum::<usize>()
            + self.seek.as_ref().and_then(|s| s.body.as_ref()).map_or(0, Bytes::len)
    }
}

impl Mux {
    pub(super) fn slot(&mut self, session: &SessionId) -> &mut Slot {
        self.slots.entry(session.clone()).or_insert_with(|| Box::new(Slot::new()))
    }

    /// Lets `change` change the frames that wait for the session, and counts what they weigh.
    pub(super) fn with_frames<T>(
        &mut self,
        session: &SessionId,
        change: impl FnOnce(&mut Slot) -> T,
    ) -> Option<T> {
        let slot = self.slots.get_mut(session)?;
        let before = slot.buffered();
        let result = change(slot);
        self.kept = self.kept - before + slot.buffered();
        Some(result)
    }

    /// Puts a frame behind those that wait for the session; says whether there is room.
    pub(super) fn enqueue_frame(
        &mut self,
        session: &SessionId,
        id: Option<&RawId>,
        body: &Body<'_>,
    ) -> bool {
        let limit = self.settings.link_queue;
        let room = |slot: &Slot| slot.buffered() + body.bytes().len() <= limit;
        let queued = self.with_frames(session, |slot| {
            let room = slot.queue.is_empty() || room(slot);
            if room {
                slot.queue.push_back((id.cloned(), body.to_bytes()));
            }
            room
        });
        queued.unwrap_or_default()
    }

    /// The sessions whose slots `which` is true of, in order of their ids.
    pub(super) fn sessions(&self, which: impl Fn(&Slot) -> bool) -> Vec<SessionId> {
        let mut found: Vec<&SessionId> =
            self.slots.iter().filter(|(_, s)| which(s)).map(|(id, _)| id).collect();
        found.sort_unstable_by_key(|id| id.as_bytes());
        found.into_iter().cloned().collect()
    }

    /// Forgets slots that say nothing any more, once there are many.
    pub(super) fn sweep_slots(&mut self) {
        if self.slots.len() >= self.settings.slots {
            self.slots.retain(|_, s| !s.says_nothing());
        }
    }

    /// Asks where a session is, for the sake of this frame.
    pub(super) fn seek(&mut self, session: &SessionId, want: Want, body: Bytes) -> Ticket {
        let ticket = self.ticket(Waiting::Seek(session.clone()));
        let gets = Gets::of(&want);
        self.slot(session);
        self.with_frames(session, |slot| {
            slot.seek = Some(Seek { ticket, body: Some(body), gets });
        });
        self.actions.push_back(Action::Seek(ticket, Some(session.clone()), want));
        ticket
    }

    /// The CLI says that this conn has the session.
    pub(super) fn attach(&mut self, session: &SessionId, now: Instant) {
        self.next_attachment += 1;
        let attachment = self.next_attachment;
        let link = self.slots.get(session).and_then(|s| s.link);
        let ready_at = link.and_then(|l| self.link(l)).and_then(|l| l.ready_at);
        let slot = self.slot(session);
        if let Some(stay) = slot.stay.as_mut().filter(|_| slot.phase != Phase::Attached) {
            stay.connect = ready_at.and_then(|ready| waited(stay.since, ready));
            stay.since = now;
        }
        slot.phase = Phase::Attached;
        slot.attachment = attachment;
    }

    /// Whether this conn hears of the session over this link.
    pub(super) fn is_on(&self, session: &str, link: LinkId, now: Instant) -> bool {
        let slot = self.slots.get(session.as_bytes()).filter(|s| s.link == Some(link));
        slot.is_some_and(|s| s.hears(now))
    }

    /// The link over which this conn hears of the session, if it does.
    pub(super) fn hears_over(&self, session: &str, now: Instant) -> Option<LinkId> {
        self.slots.get(session.as_bytes()).filter(|s| s.hears(now))?.link
    }

    /// The session that this conn came to is at work for others.
    pub fn joined(&mut self, session: &SessionId, epoch: u64) {
        self.set_joined(session, epoch, true);
    }

    /// Its CLI said, after the conn came, that it is not.
    pub fn rests(&mut self, session: &SessionId, epoch: u64) {
        self.set_joined(session, epoch, false);
    }

    /// The session was deleted by another conn. Its CLI says so too, but it may be somebody else's name when that is read.
    pub fn gone(&mut self, session: &SessionId, epoch: u64, now: Instant) {
        let slot = self.slots.get(session);
        if slot.is_some_and(|s| s.phase == Phase::Attached && s.epoch == epoch) {
            self.end_turn(session, TurnEnd::ClientLeft, now);
            self.leave(session, Left::Detached, now);
        }
    }

    fn set_joined(&mut self, session: &SessionId, epoch: u64, joined: bool) {
        let here = |s: &&mut Box<Slot>| s.phase == Phase::Attached && s.epoch == epoch;
        if let Some(slot) = self.slots.get_mut(session).filter(here) {
            slot.joined = joined;
        }
    }

    /// This conn no longer has the session, for this reason.
    pub(super) fn leave(&mut self, session: &SessionId, how: Left, now: Instant) {
        let Some(slot) = self.slots.get_mut(session) else { return };
        let (phase, epoch, link) = (slot.phase, slot.epoch, slot.link);
        if phase != Phase::Away {
            slot.left = Some(now);
        }
        slot.phase = Phase::Away;
        slot.attachment = 0;
        slot.joined = false;
        let stay = slot.stay.take().map(Box::new);
        if how == Left::LinkLost {
            slot.link = None;
        }
        let Some(upstream) = link.and_then(|l| self.link(l)).map(|l| l.upstream) else { return };
        // A life that is not known yet is ended when it is: see `learned`.
        if phase == Phase::Attached && epoch != 0 {
            self.actions.push_back(Action::Left(session.clone(), upstream, epoch, how, stay));
        }
    }

    /// A create or resume came to nothing. Each that was told where to go ends in this or in [`Action::Attached`].
    pub(super) fn not_placed(
        &mut self,
        session: &SessionId,
        epoch: u64,
        absent: bool,
        now: Instant,
    ) {
        self.actions.push_back(Action::NotPlaced { session: session.clone(), epoch, absent });
        let another = self.pending.values().any(|p| {
            p.session.as_ref() == Some(session) && p.place.is_some_and(|p| p.epoch == epoch)
        });
        let placing =
            |s: &&mut Box<Slot>| s.phase == Phase::Placing && s.epoch == epoch && !another;
        if let Some(slot) = self.slots.get_mut(session).filter(placing) {
            slot.phase = Phase::Away;
            slot.left = Some(now);
        }
    }

    /// Lets `change` change the turn, and tells what became of it.
    pub(super) fn with_turn(
        &mut self,
        session: &[u8],
        now: Instant,
        change: impl FnOnce(&mut Turn),
    ) {
        self.with_turn_or(session, TurnEnd::Idle, now, change);
    }

    /// The same; `end` is how the turn ends, if this ends it.
    fn with_turn_or(
        &mut self,
        session: &[u8],
        end: TurnEnd,
        now: Instant,
        change: impl FnOnce(&mut Turn),
    ) {
        let Some((id, slot)) = self.slots.get_key_value(session) else { return };
        let (before, id) = (slot.turn.busy(), id.clone());
        let Some(slot) = self.slots.get_mut(session) else { return };
        change(&mut slot.turn);
        let (busy, epoch) = (slot.turn.busy(), slot.epoch);
        if busy != before {
            self.actions.push_back(Action::Busy(id.clone(), epoch, busy));
        }
        if before && !busy {
            let aborted = slot.started.as_ref().is_some_and(|s| s.aborted);
            self.report_turn(&id, if aborted { TurnEnd::Aborted } else { end }, now);
        }
    }

    /// A request goes out. Returns what its session's turn counts it as.
    pub(super) fn turn_forwarded(
        &mut self,
        session: &SessionId,
        method: &Method,
        now: Instant,
    ) -> Starts {
        let starts = Starts::of(method.turn());
        if starts == Starts::Never {
            return Starts::Never;
        }
        let Some(slot) = self.slots.get_mut(session) else { return Starts::Never };
        // Who is not attached hears no idle: the turn is its attached conns' to watch.
        if slot.phase != Phase::Attached {
            return Starts::Never;
        }
        if !slot.turn.busy() {
            slot.started = Some(Started {
                method: method.name,
                queue: None,
                at: now,
                first_event: None,
                aborted: false,
                frames_in: 0,
                bytes_in: 0,
            });
            self.awaits_first += 1;
        }
        self.with_turn(session.as_bytes(), now, |turn| turn.forwarded(starts));
        starts
    }

    /// A turn that was granted in this life of a session: given back if it did not start. Who is not attached got none.
    pub(super) fn granted(&mut self, session: &SessionId, epoch: u64) {
        let quiet = |s: &Slot| s.phase == Phase::Attached && s.epoch == epoch && !s.turn.busy();
        if self.slots.get(session).is_some_and(|slot| quiet(slot)) {
            self.actions.push_back(Action::Busy(session.clone(), epoch, false));
        }
    }

    /// Such a request was answered, or never will be. `failed`: how that ends the turn that it started.
    pub(super) fn turn_answered(
        &mut self,
        session: &SessionId,
        counted: Starts,
        failed: Option<TurnEnd>,
        now: Instant,
    ) {
        let attached = self.slots.get(session).is_some_and(|s| s.phase == Phase::Attached);
        if counted != Starts::Never && attached {
            let end = failed.unwrap_or(TurnEnd::Idle);
            self.with_turn_or(session.as_bytes(), end, now, |turn| {
                turn.answered(counted, failed.is_some());
            });
        }
    }

    /// The turn is over, whatever the CLI says.
    pub(super) fn end_turn(&mut self, session: &SessionId, end: TurnEnd, now: Instant) {
        let Some(slot) = self.slots.get_mut(session) else { return };
        slot.joined = false;
        if slot.turn.busy() {
            slot.turn = Turn::default();
            let epoch = slot.epoch;
            self.actions.push_back(Action::Busy(session.clone(), epoch, false));
            self.report_turn(session, end, now);
        }
    }

    fn report_turn(&mut self, session: &SessionId, end: TurnEnd, now: Instant) {
        let Some(slot) = self.slots.get_mut(session) else { return };
        let (started, link) = (slot.started.take(), slot.link);
        let (reason, turn) = slot.stay.as_mut().map_or((None, 0), |stay| {
            stay.turns += u64::from(started.is_some());
            stay.cut = end.is_cut();
            (stay.reason, stay.turns)
        });
        let quiet = started.as_ref().is_some_and(|s| s.first_event.is_none());
        self.awaits_first = self.awaits_first.saturating_sub(u32::from(quiet));
        let upstream = link.and_then(|l| self.link(l)).map(|l| l.upstream);
        if let (Some(started), Some(upstream)) = (started, upstream) {
            self.actions.push_back(Action::TurnEnded(Box::new(TurnReport {
                session: session.clone(),
                upstream,
                reason,
                turn,
                method: started.method,
                frames_in: started.frames_in,
                bytes_in: started.bytes_in,
                queue: started.queue,
                took: now.saturating_duration_since(started.at),
                first_event: started.first_event,
                end,
            })));
        }
    }
}
