//! How long a relay may go without a byte. Looks only now and then: each limit is kept to within a quarter of itself, and
//! never cuts short. Pure: `now` and the counts are arguments.

use super::Party;
use crate::time::{Duration, Instant};

/// In how many looks a limit passes.
const LOOKS: u32 = 4;

/// How often a relay is looked at of which one side has said all: if that one is reset then, nothing wakes us.
const HALF_CLOSED: Duration = Duration::from_secs(1);

/// What a relay may take; `None`: for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Without a byte in either direction.
    pub idle: Option<Duration>,
    /// The same, once one of them has said all.
    pub half_closed: Option<Duration>,
    /// Without taking a byte of what waits for it.
    pub stall: Option<Duration>,
}

/// What took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// Nobody said anything.
    Idle,
    /// One has said all, and the other nothing.
    HalfClosed,
    /// This one took nothing of what waited for it.
    Stalled(Party),
    /// It is as old as it may become.
    Lifetime,
}

/// A direction, as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sight {
    /// Another number whenever anything happened.
    pub(super) mark: u64,
    /// Something waits to be taken.
    pub(super) holds: bool,
    /// All was said.
    pub(super) over: bool,
}

impl Sight {
    /// Who takes what it is sent, and so makes no room yet, makes something happen as well.
    pub(super) fn notice(&mut self, unacknowledged: impl FnOnce() -> u32) {
        if self.holds {
            // Far from what bytes count to.
            self.mark ^= u64::from(unacknowledged()) << 32;
        }
    }
}

impl Limits {
    /// In what time to look again, while it is so.
    pub(super) fn pace(&self, up: Sight, down: Sight) -> Duration {
        let half = up.over != down.over;
        let stall = self.stall.filter(|_| up.holds || down.holds);
        let limits = [self.idle, self.half_closed.filter(|_| half), stall].into_iter().flatten();
        let pace = limits.min().map_or(Duration::MAX, |limit| limit / LOOKS);
        if half { pace.min(HALF_CLOSED) } else { pace }
    }
}

/// When a direction was last seen to have changed.
#[derive(Clone, Copy, Debug)]
struct Seen {
    mark: u64,
    at: Instant,
}

impl Seen {
    fn look(&mut self, mark: u64, now: Instant) -> Instant {
        if self.mark != mark {
            *self = Seen { mark, at: now };
        }
        self.at
    }
}

/// See the module's head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    up: Seen,
    down: Seen,
    until: Option<Instant>,
}

impl Patience {
    pub(super) fn new(now: Instant, until: Option<Instant>) -> Self {
        let seen = Seen { mark: 0, at: now };
        Patience { up: seen, down: seen, until }
    }

    /// Whether it is over at some time in any case.
    pub(super) fn ends(&self) -> bool {
        self.until.is_some()
    }

    /// No later than at the end.
    pub(super) fn within(&self, now: Instant, pace: Duration) -> Duration {
        let left = self.until.map(|until| until.saturating_duration_since(now));
        pace.min(left.unwrap_or(Duration::MAX))
    }

    /// Whether something took too long.
    pub(super) fn judge(
        &mut self,
        now: Instant,
        up: Sight,
        down: Sight,
        limits: &Limits,
    ) -> Option<Late> {
        let (up_at, down_at) = (self.up.look(up.mark, now), self.down.look(down.mark, now));
        let over = |limit: Option<Duration>, since: Instant| {
            limit.is_some_and(|limit| now.saturating_duration_since(since) >= limit)
        };
        let last = up_at.max(down_at);
        if self.until.is_some_and(|until| now >= until) {
            Some(Late::Lifetime)
        } else if up.holds && over(limits.stall, up_at) {
            Some(Late::Stalled(Party::Upstream))
        } else if down.holds && over(limits.stall, down_at) {
            Some(Late::Stalled(Party::Client))
        } else if up.over != down.over && over(limits.half_closed, last) {
            Some(Late::HalfClosed)
        } else if over(limits.idle, last) {
            Some(Late::Idle)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;

    const SECOND: Duration = Duration::from_secs(1);
    const QUIET: Sight = Sight { mark: 0, holds: false, over: false };
    const STUCK: Sight = Sight { holds: true, ..QUIET };
    const ENDED: Sight = Sight { over: true, ..QUIET };
    const LIMITS: Limits = Limits {
        idle: Some(Duration::from_secs(40)),
        half_closed: Some(Duration::from_secs(20)),
        stall: Some(Duration::from_secs(8)),
    };

    /// When a relay that looks so, and does not change, is given up, in seconds.
    fn given_up(
        up: Sight,
        down: Sight,
        limits: &Limits,
        until: Option<u64>,
    ) -> Option<(u64, Late)> {
        let start = time::now();
        let mut patience = Patience::new(start, until.map(|s| start + s as u32 * SECOND));
        let mut at = Duration::ZERO;
        while at < 1000 * SECOND {
            if let Some(late) = patience.judge(start + at, up, down, limits) {
                return Some((at.as_secs(), late));
            }
            at += patience.within(start + at, limits.pace(up, down).min(500 * SECOND));
        }
        None
    }

    #[test]
    fn each_limit_holds_for_what_it_is_about() {
        let of = |up, down| given_up(up, down, &LIMITS, None);
        assert_eq!(of(QUIET, QUIET), Some((40, Late::Idle)));
        assert_eq!(of(ENDED, QUIET), Some((20, Late::HalfClosed)));
        assert_eq!(of(QUIET, ENDED), Some((20, Late::HalfClosed)));
        assert_eq!(of(STUCK, QUIET), Some((8, Late::Stalled(Party::Upstream))));
        assert_eq!(of(QUIET, STUCK), Some((8, Late::Stalled(Party::Client))));
        assert_eq!(given_up(QUIET, QUIET, &LIMITS, Some(7)), Some((7, Late::Lifetime)));
    }

    #[test]
    fn without_limits_it_goes_on_for_ever() {
        assert_eq!(given_up(STUCK, ENDED, &Limits::default(), None), None);
        assert_eq!(Limits::default().pace(STUCK, QUIET), Duration::MAX);
    }

    #[test]
    fn a_byte_in_either_direction_begins_anew() {
        let start = time::now();
        let mut patience = Patience::new(start, None);
        let moved = |mark| Sight { mark, ..QUIET };
        for second in (10..200).step_by(10) {
            let (now, byte) = (start + second * SECOND, moved(u64::from(second)));
            let (up, down) = if second % 20 == 0 { (byte, QUIET) } else { (QUIET, byte) };
            assert_eq!(patience.judge(now, up, down, &LIMITS), None, "{second}");
        }
    }

    #[test]
    fn what_was_quiet_before_it_had_to_take_something_is_not_stalled_at_once() {
        let start = time::now();
        let mut patience = Patience::new(start, None);
        assert_eq!(patience.judge(start + 30 * SECOND, QUIET, QUIET, &LIMITS), None);
        let stuck = Sight { mark: 1, ..STUCK };
        assert_eq!(patience.judge(start + 32 * SECOND, stuck, QUIET, &LIMITS), None);
        assert_eq!(patience.judge(start + 39 * SECOND, stuck, QUIET, &LIMITS), None);
        let late = patience.judge(start + 40 * SECOND, stuck, QUIET, &LIMITS);
        assert_eq!(late, Some(Late::Stalled(Party::Upstream)));
    }
}
