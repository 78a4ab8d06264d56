//! What is told of ends: to nobody's conn, but to those who read the log. Decides nothing.

use super::pending::At;
use super::{End, LinkPhase, Mux, TurnEnd};
use crate::error::Reason;
use crate::id::{SessionId, UpstreamId};
use crate::placement::PlacementReason;
use crate::time::{Duration, Instant};

/// What a conn is at: of all that goes on, the last of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The client sent no whole frame yet.
    Fresh,
    /// No request waits, no turn runs.
    Idle,
    /// A request waits for an answer to a question to the pool.
    Seeking,
    /// A request waits for its link to be ready.
    Linking,
    /// A request waits for a CLI's answer.
    Waiting,
    /// A turn runs.
    Turn,
}

/// What a conn has of a session that it is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    /// Why the session was placed there; `None`: it was there already.
    pub reason: Option<PlacementReason>,
    /// How long its create or resume waited to be told where.
    pub queue: Option<Duration>,
    /// How long it then waited for the link.
    pub connect: Option<Duration>,
    /// When it was told where; once attached, since when it is.
    pub since: Instant,
    /// Turns that the conn started in it, and that are over.
    pub turns: u64,
    /// Its last turn was not ended by its CLI.
    pub cut: bool,
}

impl Stay {
    /// A create or resume that came at `came` is told where to go.
    pub(super) fn begin(reason: Option<PlacementReason>, came: Instant, now: Instant) -> Self {
        let queue = waited(came, now);
        Stay { reason, queue, connect: None, since: now, turns: 0, cut: false }
    }
}

/// A turn that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnReport {
    /// Whose.
    pub session: SessionId,
    /// Where.
    pub upstream: UpstreamId,
    /// Why there; `None`: the session was there already.
    pub reason: Option<PlacementReason>,
    /// Counts those that the conn started in the session while attached.
    pub turn: u64,
    /// What started it.
    pub method: &'static str,
    /// Requests and notifications of the client to the session meanwhile, with the one that started it.
    pub frames_in: u64,
    /// Their bodies, in bytes.
    pub bytes_in: u64,
    /// How long what started it waited before it went out, if it did.
    pub queue: Option<Duration>,
    /// How long it took from then on.
    pub took: Duration,
    /// How long until the assistant said or did something.
    pub first_event: Option<Duration>,
    /// How it ended.
    pub end: TurnEnd,
}

impl TurnEnd {
    /// Whether the turn was cut: not ended by its CLI.
    pub(super) fn is_cut(self) -> bool {
        match self {
            TurnEnd::Idle | TurnEnd::Aborted | TurnEnd::Refused => false,
            TurnEnd::UpstreamLost | TurnEnd::ClientLeft | TurnEnd::Drained => true,
        }
    }

    /// How a turn ends whose start we refuse for this reason.
    pub(super) fn of_refusal(reason: Reason) -> Self {
        match reason {
            Reason::UpstreamLost => TurnEnd::UpstreamLost,
            Reason::Draining => TurnEnd::Drained,
            Reason::NoUpstream
            | Reason::AccessDenied
            | Reason::MethodDenied
            | Reason::SessionBusy
            | Reason::Overloaded
            | Reason::FrameTooLarge
            | Reason::UpstreamTimeout
            | Reason::SessionLost => TurnEnd::Refused,
        }
    }
}

/// The time between, if there is any.
pub(super) fn waited(from: Instant, to: Instant) -> Option<Duration> {
    Some(to.saturating_duration_since(from)).filter(|time| !time.is_zero())
}

impl Mux {
    /// What the conn is at; once it ends, what it was at when that began.
    pub fn stage(&self) -> Stage {
        if let Some(stage) = self.ended_in {
            return stage;
        }
        if self.busy() > 0 {
            return Stage::Turn;
        }
        let ready = |link| self.link(link).is_some_and(|l| l.phase == LinkPhase::Ready);
        let waits = self.pending.values().map(|pending| match &pending.at {
            At::Link(link) if ready(*link) => Stage::Waiting,
            At::Link(_) => Stage::Linking,
            At::Ticket(_) | At::Queue(_) => Stage::Seeking,
        });
        let rest = if self.frames_in == 0 { Stage::Fresh } else { Stage::Idle };
        waits.max().unwrap_or(rest)
    }

    /// Whether the end began, and why, if the mux knows. See [`Mux::cut`] and [`Mux::close`].
    pub fn ended(&self) -> Option<Option<End>> {
        self.ended_in.map(|_| self.end.filter(|_| !self.dropped))
    }

    /// Frames that came from the client, and frames that were queued for it.
    pub fn frames(&self) -> (u64, u64) {
        (self.frames_in, self.client.frames())
    }

    /// How long the first link took to be ready.
    pub fn connected(&self) -> Option<Duration> {
        self.connected
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Action, End, Found, Left, Now, Settings};
    use super::*;
    use crate::id::LinkId;
    use crate::rpc::frame::FrameLimits;
    use crate::time;

    const SECOND: Duration = Duration::from_secs(1);

    struct Conn {
        mux: Mux,
        now: Now,
    }

    impl Conn {
        fn new() -> Self {
            let frame = FrameLimits { header: 1 << 14, body: 1 << 20 };
            let settings = Settings {
                client_frame: frame,
                upstream_frame: frame,
                link_queue: 1 << 20,
                client_queue: 1 << 20,
                pending: 16,
                slots: 16,
                request_timeout: SECOND * 300,
                client_request_timeout: SECOND * 300,
                handshake_timeout: SECOND * 300,
                seek_timeout: SECOND * 300,
                bounds_turns: false,
                greet_timeout: SECOND * 300,
                discard_timeout: SECOND * 300,
                finish_timeout: SECOND * 300,
                authentication: crate::rpc::mux::Authentication::NotConfigured,
                authentication_timeout: Duration::from_secs(10),
                policy: crate::rpc::policy::Policy::default(),
            };
            let now = Now { at: time::now(), wall: time::wall() };
            Conn { mux: Mux::new(Arc::new(settings), 7), now }
        }

        fn client(&mut self, body: &str) {
            let frame = format!("Content-Length: {}\r\n\r\n{body}", body.len());
            self.mux.client_bytes(frame.as_bytes(), self.now);
        }

        fn link(&mut self, body: &str) {
            let frame = format!("Content-Length: {}\r\n\r\n{body}", body.len());
            self.mux.link_bytes(LinkId(0), frame.as_bytes(), self.now);
        }

        fn event(&mut self, kind: &str) {
            self.link(&format!(
                r#"{{"jsonrpc":"2.0","method":"session.event","params":{{"sessionId":"s","event":{{"id":"e","type":"{kind}","data":{{}}}}}}}}"#
            ));
        }

        fn later(&mut self) {
            self.now.at += SECOND;
        }

        fn actions(&mut self) -> Vec<Action> {
            std::iter::from_fn(|| self.mux.next_action()).collect()
        }

        fn report(&mut self) -> TurnReport {
            let turn = |action| {
                if let Action::TurnEnded(report) = action { Some(*report) } else { None }
            };
            self.actions().into_iter().find_map(turn).expect("no turn ended")
        }

        fn place(&mut self, reason: PlacementReason) {
            let actions = self.actions();
            let Some(Action::Seek(ticket, ..)) = actions.last() else { panic!("{actions:?}") };
            let (upstream, reason) = (UpstreamId(1), Some(reason));
            let found = Found::Go { upstream, epoch: 1, resume: false, reason };
            self.mux.found(*ticket, found, self.now);
        }

        /// A second for each step.
        fn attached() -> Self {
            let mut conn = Conn::new();
            conn.client(CREATE);
            conn.later();
            conn.place(PlacementReason::Sticky);
            conn.later();
            conn.mux.link_opened(LinkId(0), None);
            conn.link(r#"{"jsonrpc":"2.0","id":"fairlead","result":{}}"#);
            conn.later();
            conn.link(r#"{"jsonrpc":"2.0","id":1,"result":{"sessionId":"s"}}"#);
            conn
        }
    }

    const CREATE: &str =
        r#"{"jsonrpc":"2.0","id":1,"method":"session.create","params":{"sessionId":"s"}}"#;
    const SEND: &str = r#"{"jsonrpc":"2.0","id":2,"method":"session.send","params":{"sessionId":"s","prompt":"p"}}"#;
    const NOTE: &str = r#"{"jsonrpc":"2.0","method":"session.note","params":{"sessionId":"s"}}"#;

    #[test]
    fn a_conn_is_at_the_last_thing_that_goes_on() {
        let mut conn = Conn::new();
        assert_eq!(conn.mux.stage(), Stage::Fresh);
        conn.mux.client_bytes(b"Content-Len", conn.now);
        assert_eq!(conn.mux.stage(), Stage::Fresh);
        let mut conn = Conn::new();
        conn.client(CREATE);
        assert_eq!(conn.mux.stage(), Stage::Seeking);
        conn.place(PlacementReason::Sticky);
        assert_eq!(conn.mux.stage(), Stage::Linking);
        conn.mux.link_opened(LinkId(0), None);
        assert_eq!(conn.mux.stage(), Stage::Linking);
        conn.link(r#"{"jsonrpc":"2.0","id":"fairlead","result":{}}"#);
        assert_eq!(conn.mux.stage(), Stage::Waiting);
        conn.link(r#"{"jsonrpc":"2.0","id":1,"result":{"sessionId":"s"}}"#);
        assert_eq!(conn.mux.stage(), Stage::Idle);
        conn.client(SEND);
        assert_eq!(conn.mux.stage(), Stage::Turn);
    }

    #[test]
    fn an_end_keeps_what_the_conn_was_at() {
        let mut conn = Conn::attached();
        conn.client(SEND);
        conn.mux.cut(conn.now);
        assert_eq!((conn.mux.stage(), conn.mux.busy()), (Stage::Turn, 0));
        conn.mux.close(conn.now);
        assert_eq!((conn.mux.stage(), conn.mux.ended()), (Stage::Turn, Some(Some(End::Drained))));
        let mut conn = Conn::attached();
        assert_eq!(conn.mux.ended(), None);
        conn.mux.close(conn.now);
        conn.mux.close(conn.now);
        assert_eq!((conn.mux.stage(), conn.mux.ended()), (Stage::Idle, Some(None)));
    }

    #[test]
    fn a_turn_counts_what_the_client_sent_to_its_session_meanwhile() {
        let mut conn = Conn::attached();
        for turn in 1..=2 {
            conn.client(NOTE);
            conn.client(SEND);
            conn.client(NOTE);
            conn.client(&NOTE.replace("\"s\"", "\"other\""));
            conn.event("user.message");
            conn.later();
            conn.link(r#"{"jsonrpc":"2.0","id":2,"result":{}}"#);
            conn.event("session.idle");
            let report = conn.report();
            let bytes = (SEND.len() + NOTE.len()) as u64;
            assert_eq!((report.turn, report.frames_in, report.bytes_in), (turn, 2, bytes));
            assert_eq!(report.reason, Some(PlacementReason::Sticky));
            assert_eq!((report.queue, report.took), (None, SECOND));
        }
    }

    #[test]
    fn a_stay_says_how_long_it_took_to_begin_and_how_it_ended() {
        let mut conn = Conn::attached();
        conn.client(SEND);
        conn.later();
        conn.mux.link_lost(LinkId(0), conn.now);
        let stay = |action| {
            if let Action::Left(_, _, 1, Left::LinkLost, stay) = action { stay } else { None }
        };
        let stay = conn.actions().into_iter().find_map(stay).expect("it did not leave");
        assert_eq!(stay.reason, Some(PlacementReason::Sticky));
        assert_eq!((stay.queue, stay.connect), (Some(SECOND), Some(SECOND)));
        assert_eq!(conn.now.at - stay.since, SECOND);
        assert_eq!((stay.turns, stay.cut), (1, true));
        assert_eq!(conn.mux.connected(), Some(SECOND));
    }

    #[test]
    fn a_turn_whose_start_fails_is_not_told_as_done() {
        let mut conn = Conn::attached();
        conn.client(SEND);
        conn.link(r#"{"jsonrpc":"2.0","id":2,"error":{"code":-32603,"message":"no"}}"#);
        assert_eq!(conn.report().end, TurnEnd::Refused);
        conn.client(SEND);
        conn.mux.cut(conn.now);
        assert_eq!(conn.report().end, TurnEnd::Drained);
        let mut conn = Conn::attached();
        conn.client(SEND);
        conn.mux.link_lost(LinkId(0), conn.now);
        assert_eq!(conn.report().end, TurnEnd::UpstreamLost);
    }

    #[test]
    fn what_starts_a_turn_may_have_waited_for_its_session() {
        let mut conn = Conn::attached();
        conn.client(&CREATE.replace("\"id\":1", "\"id\":3"));
        conn.client(SEND);
        conn.later();
        conn.place(PlacementReason::Sticky);
        conn.event("user.message");
        conn.link(r#"{"jsonrpc":"2.0","id":2,"result":{}}"#);
        conn.event("session.idle");
        let report = conn.report();
        assert_eq!((report.queue, report.frames_in), (Some(SECOND), 1));
    }

    #[test]
    fn frames_are_counted_each_way() {
        let mut conn = Conn::attached();
        assert_eq!(conn.mux.frames(), (1, 1));
        conn.client(SEND);
        conn.event("user.message");
        conn.event("session.idle");
        assert_eq!(conn.mux.frames(), (2, 3));
    }

    fn place_of(actions: &[Action], is: impl Fn(&Action) -> bool) -> usize {
        actions.iter().position(is).unwrap_or_else(|| panic!("not in {actions:?}"))
    }

    #[test]
    fn a_link_is_reset_before_anybody_hears_that_what_was_on_it_is_free() {
        let reset = |a: &Action| matches!(a, Action::Reset(_));
        let mut conn = Conn::attached();
        conn.actions();
        conn.mux.link_lost(LinkId(0), conn.now);
        let actions = conn.actions();
        assert!(place_of(&actions, reset) < place_of(&actions, |a| matches!(a, Action::Left(..))));
        let ends: [fn(&mut Conn); 4] = [
            |conn| conn.mux.close(conn.now),
            |conn| conn.mux.cut(conn.now),
            |conn| conn.client("{"),
            |conn| {
                conn.now.at += SECOND * 300;
                conn.mux.tick(conn.now);
            },
        ];
        for end in ends {
            let mut conn = Conn::new();
            conn.client(CREATE);
            conn.place(PlacementReason::Sticky);
            conn.mux.link_opened(LinkId(0), None);
            conn.link(r#"{"jsonrpc":"2.0","id":"fairlead","result":{}}"#);
            conn.actions();
            end(&mut conn);
            let actions = conn.actions();
            let free = |a: &Action| matches!(a, Action::NotPlaced { .. });
            assert!(place_of(&actions, reset) < place_of(&actions, free), "{actions:?}");
        }
    }

    #[test]
    fn what_needs_no_answer_any_more_is_told() {
        let mut conn = Conn::attached();
        for (kind, told) in [("requested", true), ("completed", false)] {
            conn.actions();
            conn.link(&format!(
                r#"{{"jsonrpc":"2.0","method":"session.event","params":{{"sessionId":"s","event":{{"id":"e","type":"permission.{kind}","data":{{"requestId":"r"}}}}}}}}"#
            ));
            let (session, ask) = (SessionId::new("s"), crate::id::AskId::new("r"));
            let said = |a: &Action| match (told, a) {
                (true, Action::Announced(of, what)) | (false, Action::Settled(of, what)) => {
                    (of, what) == (&session, &ask)
                }
                (_, _) => false,
            };
            place_of(&conn.actions(), said);
        }
    }
}
