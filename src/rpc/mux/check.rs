//! What must hold after every call of the mux. For tests and debug builds.

use super::{Mux, Pending, pending, slot};

impl Mux {
    /// Asserts what must hold after every call. For tests and debug builds: it walks all tables.
    pub fn check_invariants(&self) {
        let again: usize = self.pending.values().map(Pending::kept).sum();
        let queued: usize = self.slots.values().map(|s| s.buffered()).sum();
        assert_eq!(self.kept, again + queued, "bytes are kept that are not counted");
        for (id, pending) in &self.pending {
            match &pending.at {
                pending::At::Link(link) => {
                    assert!(self.link(*link).is_some(), "{id} waits on a link that is gone");
                }
                pending::At::Ticket(ticket) => {
                    assert!(self.waiting.contains_key(ticket), "{id} waits for no question");
                }
                pending::At::Queue(session) => {
                    let slot = self.slots.get(session);
                    assert!(
                        slot.is_some_and(|s| s.seek.is_some()),
                        "{id} queues behind nothing in {session}"
                    );
                }
            }
        }
        for (id, late) in &self.late {
            assert!(self.link(late.link).is_some(), "{id} is late on a link that is gone");
            assert!(!self.pending.contains_key(id), "{id} is late and in flight");
        }
        for (id, asked) in &self.asked {
            assert!(*id < self.next_asked, "a request of a CLI has an id of the future");
            assert!(self.link(asked.link).is_some(), "a link that is gone waits for an answer");
        }
        for (session, slot) in &self.slots {
            if let Some(link) = slot.link {
                assert!(self.link(link).is_some(), "{session} is on a link that is gone");
            }
            if slot.phase != slot::Phase::Away {
                assert!(slot.link.is_some(), "{session} is attached to nothing");
            }
            if let Some(seek) = &slot.seek {
                assert!(self.waiting.contains_key(&seek.ticket), "{session} is sought by nobody");
            } else {
                assert!(slot.queue.is_empty(), "{session} holds frames for no reason");
            }
        }
        for (n, link) in self.links.iter().enumerate() {
            let twin = self.links.iter().skip(n + 1).find(|l| l.upstream == link.upstream);
            assert!(twin.is_none(), "two links to one upstream");
        }
    }
}
