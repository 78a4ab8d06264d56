//! The gate before the look-ups: how many may be under way at once, and how many may wait for their turn.
//!
//! Who waits is a name in a line, and no task: thousands that come at once cost next to nothing. A look-up's own deadline
//! begins when it is let in. Nobody is dropped: each is let in, in the order of arrival, or has waited longer than anybody
//! waits for it.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::id::SessionId;
use crate::time::{Duration, Instant};

/// Look-ups of a pool that are under way at once. Each is two questions to each CLI.
const UNDER_WAY: usize = 128;

/// Look-ups that wait for their turn; who comes then is refused.
const WAITING: usize = 8192;

/// See the module's head.
pub(super) struct Gate {
    line: Mutex<Line>,
    under_way: usize,
    waiting: usize,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<(SessionId, Instant)>,
    ushers: usize,
}

/// What became of one that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// It waits, and somebody sees to it.
    Waits,
    /// It waits, and an [`Usher`] must be started.
    Opens,
    /// The line is as long as it may be.
    Full,
}

/// Whose turn it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This one is let in.
    In(SessionId),
    /// This one has waited for too long.
    Late(SessionId),
}

/// Lets in one after the other, until nobody waits; there are no more of these than may be under way.
pub(super) struct Usher<'a> {
    gate: &'a Gate,
    left: bool,
}

impl Gate {
    pub(super) fn new() -> Self {
        Gate::of(UNDER_WAY, WAITING)
    }

    fn of(under_way: usize, waiting: usize) -> Self {
        Gate { line: Mutex::default(), under_way, waiting }
    }

    /// One more wants to be looked up.
    pub(super) fn come(&self, session: &SessionId, now: Instant) -> Came {
        let mut line = self.line.lock();
        if line.waiting.len() >= self.waiting {
            return Came::Full;
        }
        line.waiting.push_back((session.clone(), now));
        if line.ushers == self.under_way {
            return Came::Waits;
        }
        line.ushers += 1;
        Came::Opens
    }

    /// Who sees to the line, as [`Came::Opens`] asks for.
    pub(super) fn usher(&self) -> Usher<'_> {
        Usher { gate: self, left: false }
    }
}

impl Usher<'_> {
    /// Whose turn it is; who has waited longer than `patience` is late. `None`: nobody waits, and the usher has left.
    pub(super) fn next(&mut self, now: Instant, patience: Duration) -> Option<Next> {
        let mut line = self.gate.line.lock();
        let Some((session, since)) = line.waiting.pop_front() else {
            // Under the same lock: who comes next opens the gate anew.
            line.ushers -= 1;
            line.waiting.shrink_to_fit();
            self.left = true;
            return None;
        };
        drop(line);
        let late = now.saturating_duration_since(since) > patience;
        Some(if late { Next::Late(session) } else { Next::In(session) })
    }
}

impl Drop for Usher<'_> {
    fn drop(&mut self) {
        if !self.left {
            self.gate.line.lock().ushers -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;

    const SECOND: Duration = Duration::from_secs(1);

    fn id(n: usize) -> SessionId {
        SessionId::new(&n.to_string())
    }

    fn come(gate: &Gate, count: usize) -> Vec<Came> {
        let now = time::now();
        (0..count).map(|n| gate.come(&id(n), now)).collect()
    }

    #[tokio::test]
    async fn so_many_are_under_way_so_many_wait_and_the_next_is_refused() {
        let gate = Gate::of(2, 3);
        use Came::{Full, Opens, Waits};
        // Nobody has been let in yet.
        assert_eq!(come(&gate, 4), [Opens, Opens, Waits, Full]);
        let (mut one, mut two) = (gate.usher(), gate.usher());
        let now = time::now();
        assert_eq!(one.next(now, SECOND), Some(Next::In(id(0))));
        assert_eq!(two.next(now, SECOND), Some(Next::In(id(1))));
        assert_eq!(one.next(now, SECOND), Some(Next::In(id(2))));
        assert_eq!(one.next(now, SECOND), None);
        assert_eq!(come(&gate, 1), [Opens], "the first usher has left");
        assert_eq!(two.next(now, SECOND), Some(Next::In(id(0))), "the second stayed");
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_waited_too_long_is_not_let_in() {
        let gate = Gate::of(1, 2);
        come(&gate, 2);
        let mut usher = gate.usher();
        let begun = time::now();
        assert_eq!(usher.next(begun + SECOND, SECOND), Some(Next::In(id(0))));
        let late = begun + SECOND + Duration::from_nanos(1);
        assert_eq!(usher.next(late, SECOND), Some(Next::Late(id(1))));
    }

    #[tokio::test]
    async fn an_usher_that_falls_leaves_its_place() {
        let gate = Gate::of(1, 9);
        assert_eq!(come(&gate, 2), [Came::Opens, Came::Waits]);
        drop(gate.usher());
        assert_eq!(come(&gate, 1), [Came::Opens]);
        let mut usher = gate.usher();
        let all = std::iter::from_fn(|| usher.next(time::now(), SECOND)).count();
        assert_eq!((all, gate.line.lock().waiting.capacity()), (3, 0), "and nothing is kept");
    }
}
