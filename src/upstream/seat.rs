//! What each owner takes of a pool: a seat for each live session, a second count while a turn runs in it. What a seat
//! took, it gives back when dropped. It decides nothing: [`Seats::has_room`] is asked by who places.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::caller::Owner;
use crate::session::quota::{Bounds, Quota};

/// The counts of a pool. Its locks are held for one look-up, inside the pool's.
#[derive(Debug)]
pub struct Seats {
    sessions: Mutex<Quota>,
    turns: Mutex<Quota>,
}

impl Seats {
    /// All are free. `None` if nothing is bounded: then nobody counts.
    pub fn new(sessions: Bounds, turns: Bounds) -> Option<Arc<Self>> {
        let bounded = sessions.is_bounded() || turns.is_bounded();
        bounded.then(|| {
            let (sessions, turns) = (Quota::new(sessions), Quota::new(turns));
            Arc::new(Seats { sessions: Mutex::new(sessions), turns: Mutex::new(turns) })
        })
    }

    /// Whether this owner may have one more session live.
    pub fn has_room(&self, owner: &Owner) -> bool {
        self.sessions.lock().has_room(owner)
    }

    /// Takes a seat. Whether there is room, the caller has seen to.
    pub fn take(self: &Arc<Self>, owner: Owner) -> Seat {
        self.sessions.lock().take(&owner);
        Seat { seats: Arc::clone(self), owner, busy: false }
    }
}

/// What a live session takes; given back when dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    owner: Owner,
    busy: bool,
}

impl Seat {
    /// Whether its owner may have one more turn running.
    pub fn has_room_for_turn(&self) -> bool {
        self.seats.turns.lock().has_room(&self.owner)
    }

    /// A turn runs in the session, or none does.
    pub fn set_busy(&mut self, busy: bool) {
        match (self.busy, busy) {
            (false, true) => self.seats.turns.lock().take(&self.owner),
            (true, false) => self.seats.turns.lock().give(&self.owner),
            (false, false) | (true, true) => {}
        }
        self.busy = busy;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.set_busy(false);
        self.seats.sessions.lock().give(&self.owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Realm;

    #[test]
    fn a_seat_gives_back_what_it_took() {
        let one = Bounds { user: Some(1), ..Bounds::default() };
        let owner = Owner { realm: Realm::Common, user: Some("al".into()) };
        let seats = Seats::new(one, one).unwrap();
        let mut seat = seats.take(owner.clone());
        assert!(!seats.has_room(&owner) && seat.has_room_for_turn());
        seat.set_busy(true);
        seat.set_busy(true);
        assert!(!seat.has_room_for_turn());
        drop(seat);
        assert!(seats.has_room(&owner) && seats.take(owner.clone()).has_room_for_turn());
        assert!(Seats::new(Bounds::default(), Bounds::default()).is_none());
    }
}
