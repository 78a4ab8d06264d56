//! Who may be cut from outside: conns that only move bytes, and so hear of nothing by themselves. Asked for by whoever takes
//! an upstream out or leaves; a conn looks at one number when it is woken, and takes no lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Waker;

use ahash::AHashMap;
use parking_lot::Mutex;

use crate::id::{ConnId, UpstreamId};

/// Why a conn is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its upstream is down.
    UpstreamDown,
    /// We leave now.
    Leaving,
}

const NOT: u8 = 0;
const DOWN: u8 = 1;
const LEAVING: u8 = 2;

/// What one conn looks at.
#[derive(Debug)]
pub struct Cut {
    why: AtomicU8,
    waker: Waker,
}

impl Cut {
    /// Whether it is to end, and why.
    pub fn why(&self) -> Option<Why> {
        match self.why.load(Ordering::Acquire) {
            NOT => None,
            DOWN => Some(Why::UpstreamDown),
            _ => Some(Why::Leaving),
        }
    }

    fn now(&self, why: Why) {
        let why = match why {
            Why::UpstreamDown => DOWN,
            Why::Leaving => LEAVING,
        };
        self.why.store(why, Ordering::Release);
        self.waker.wake_by_ref();
    }
}

struct Entry {
    cut: Arc<Cut>,
    /// Where it leads, if it is to end when that is down.
    upstream: Option<UpstreamId>,
}

/// All conns of a pool that can be cut.
#[derive(Default)]
pub struct Cuts(Mutex<AHashMap<ConnId, Entry>>);

impl Cuts {
    /// Takes in a conn whose task this wakes.
    pub fn enter(&self, conn: ConnId, waker: &Waker) -> Arc<Cut> {
        let cut = Arc::new(Cut { why: AtomicU8::new(NOT), waker: waker.clone() });
        self.0.lock().insert(conn, Entry { cut: Arc::clone(&cut), upstream: None });
        cut
    }

    /// The conn is to end when this upstream is down.
    pub fn depend(&self, conn: ConnId, upstream: UpstreamId) {
        if let Some(entry) = self.0.lock().get_mut(&conn) {
            entry.upstream = Some(upstream);
        }
    }

    /// Lets a conn go.
    pub fn leave(&self, conn: ConnId) {
        self.0.lock().remove(&conn);
    }

    /// This upstream is down.
    pub fn down(&self, upstream: UpstreamId) {
        self.each(|entry| entry.upstream == Some(upstream), Why::UpstreamDown);
    }

    /// All are to end.
    pub fn all(&self) {
        self.each(|_| true, Why::Leaving);
    }

    fn each(&self, whom: impl Fn(&Entry) -> bool, why: Why) {
        let all = self.0.lock();
        all.values().filter(|entry| whom(entry)).for_each(|entry| entry.cut.now(why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_are_cut_that_depend_on_who_is_down_and_then_all() {
        let (cuts, waker) = (Cuts::default(), Waker::noop());
        let conns = [1, 2, 3].map(|n| cuts.enter(ConnId(n), waker));
        cuts.depend(ConnId(1), UpstreamId(1));
        cuts.depend(ConnId(2), UpstreamId(2));
        cuts.down(UpstreamId(1));
        let why = || conns.each_ref().map(|cut| cut.why());
        assert_eq!(why(), [Some(Why::UpstreamDown), None, None]);
        cuts.leave(ConnId(1));
        cuts.all();
        assert_eq!(why(), [Some(Why::UpstreamDown), Some(Why::Leaving), Some(Why::Leaving)]);
    }
}
