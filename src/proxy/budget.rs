//! The bound on bytes that all conns of the process keep together.
//!
//! Over it, whoever keeps next to nothing goes on, and one conn at a time does: else those who wait in the middle of a
//! frame would wait for each other for ever. So it is passed by one frame, and a little for each conn, at most. It takes
//! no bytes away from anybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::id::ConnId;

/// What any conn may keep at any time, in bytes.
const LITTLE: usize = 16 * 1024;

/// Nobody's number: conns count from 1.
const NOBODY: u64 = 0;

/// See the module's head.
#[derive(Debug)]
pub struct Budget {
    used: AtomicUsize,
    limit: usize,
    /// The conn that goes on although there is no room.
    turn: AtomicU64,
}

impl Budget {
    /// Nothing is used yet.
    pub fn new(limit: usize) -> Self {
        Budget { used: AtomicUsize::new(0), limit, turn: AtomicU64::new(NOBODY) }
    }

    /// A conn keeps `after` bytes where it kept `before`. Whoever has little left gives up its turn.
    pub fn change(&self, conn: ConnId, before: usize, after: usize) {
        if after >= before {
            self.used.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.used.fetch_sub(before - after, Ordering::Relaxed);
        }
        if self.is_little(after) {
            // An error: it was not its turn.
            let _ =
                self.turn.compare_exchange(conn.0, NOBODY, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Whether more is kept than may be.
    pub fn is_over(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.limit
    }

    /// Whether nobody minds that a conn keeps so much.
    pub fn is_little(&self, kept: usize) -> bool {
        kept <= LITTLE
    }

    /// Whether a conn that keeps so much may take more in.
    pub fn admits(&self, conn: ConnId, kept: usize) -> bool {
        if !self.is_over() || self.is_little(kept) {
            return true;
        }
        let turn = self.turn.compare_exchange(NOBODY, conn.0, Ordering::Relaxed, Ordering::Relaxed);
        turn.unwrap_or_else(|other| if other == conn.0 { NOBODY } else { other }) == NOBODY
    }
}

/// What one request keeps until it can go on; given back when dropped.
#[derive(Debug)]
pub struct Kept {
    budget: Arc<Budget>,
    conn: ConnId,
    bytes: usize,
}

impl Kept {
    /// Nothing yet.
    pub fn new(budget: Arc<Budget>, conn: ConnId) -> Self {
        Kept { budget, conn, bytes: 0 }
    }

    /// Keeps so many bytes more. Returns whether there is room for all of it: who keeps little always finds some.
    pub fn more(&mut self, bytes: usize) -> bool {
        let after = self.bytes + bytes;
        self.budget.change(self.conn, self.bytes, after);
        self.bytes = after;
        !self.budget.is_over() || self.budget.is_little(after)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.budget.change(self.conn, self.bytes, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ConnId = ConnId(1);
    const B: ConnId = ConnId(2);

    #[test]
    fn over_the_bound_one_goes_on_and_then_the_next() {
        let budget = Budget::new(100_000);
        budget.change(A, 0, 90_000);
        assert!(budget.admits(A, 90_000) && budget.admits(B, 0));
        budget.change(B, 0, 90_000);
        assert!(budget.admits(B, 90_000));
        assert!(!budget.admits(A, 90_000));
        assert!(budget.admits(B, 90_000), "it is still its turn");
        budget.change(A, 90_000, 95_000);
        assert!(!budget.admits(A, 95_000));
        budget.change(B, 90_000, 10_000);
        assert!(budget.admits(B, 10_000) && budget.admits(A, 95_000));
    }

    #[test]
    fn who_keeps_little_is_never_stopped() {
        let budget = Budget::new(100_000);
        budget.change(A, 0, 200_000);
        assert!(budget.admits(A, 200_000));
        assert!(budget.admits(B, LITTLE) && !budget.admits(B, LITTLE + 1));
    }
    #[test]
    fn what_a_request_keeps_is_given_back() {
        let budget = Arc::new(Budget::new(100_000));
        let kept = || Kept::new(Arc::clone(&budget), A);
        let (mut one, mut other) = (kept(), kept());
        assert!(one.more(60_000) && one.more(40_000));
        assert!(other.more(LITTLE) && !other.more(1));
        drop(one);
        assert!(other.more(50_000));
        drop(other);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}
