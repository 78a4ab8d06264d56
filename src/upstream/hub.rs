//! The inboxes of a pool's conns: how anybody tells a conn something, without ever waiting for it.
//!
//! What a conn asked for is never dropped: there is one answer for each of its questions, and those are bounded.
//! What it did not ask for (broadcasts) comes in batches that all conns share, and a batch is dropped and counted where
//! [`MAX_NOTICES`] broadcasts wait already: a conn that does not read loses broadcasts, and nothing else. A broadcast
//! wakes a conn once per batch, whatever is in it; a batch that comes to an inbox which is not empty wakes nobody.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use ahash::AHashMap;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::drain::Mode;
use crate::error::Refusal;
use crate::id::{ConnId, SessionId, UpstreamId};
use crate::rpc::mux::{Found, Hello, Ticket};
use crate::session::table::Absence;
use crate::time::Instant;

/// Broadcasts that may wait for one conn before it loses the next batch.
const MAX_NOTICES: usize = 1024;

/// A CLI told everybody something about a session: the session, the frame's body, and when. It does not concern those
/// who came later.
#[derive(Clone, Debug)]
pub struct Notice(pub SessionId, pub Bytes, pub Instant);

/// Something that a conn must hear of.
#[derive(Clone, Debug)]
pub enum Event {
    /// It may ask for its session again; with what a look-up did not find.
    Again(Ticket, Option<Absence>),
    /// Where its session is.
    Found(Ticket, Found),
    /// The fleet's joined answer.
    Answered(Ticket, Joined),
    /// What the pool's CLIs say of themselves; `None`: none answered in time.
    Greeted(Ticket, Option<Hello>),
    /// What this CLI told everybody, in its order.
    Notices(UpstreamId, Arc<[Notice]>),
    /// A session that was at work when the conn came to it is not any more, in this life.
    Rests(SessionId, u64),
    /// This life of a session that it is attached to was deleted by another conn.
    Gone(SessionId, u64),
    /// A CLI is dead: links to it are lost.
    Dead(UpstreamId),
    /// We are leaving.
    Leave(Mode),
}

/// What a fleet says as one.
#[derive(Clone, Debug)]
pub enum Joined {
    /// The JSON text of the result.
    Result(String),
    /// The client asked wrongly, or not every CLI did it: the JSON text of the `error` member, as a CLI words it.
    Error(String),
    /// Nobody answered.
    Refused(Refusal),
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    /// How many notices are in them.
    notices: usize,
    waker: Option<Waker>,
}

/// What waits for one conn.
#[derive(Default)]
pub struct Inbox(Mutex<Queue>);

impl Inbox {
    /// Adds an event and wakes the conn. Says whether there was room.
    pub fn push(&self, event: Event) -> bool {
        let mut queue = self.0.lock();
        if let Event::Notices(_, batch) = &event {
            if queue.notices >= MAX_NOTICES {
                return false;
            }
            queue.notices += batch.len();
        }
        queue.events.push_back(event);
        if let Some(waker) = queue.waker.take() {
            drop(queue);
            waker.wake();
        }
        true
    }

    /// The next event.
    pub fn poll_next(&self, cx: &Context<'_>) -> Poll<Event> {
        let mut queue = self.0.lock();
        if let Some(event) = queue.events.pop_front() {
            if let Event::Notices(_, batch) = &event {
                queue.notices -= batch.len();
            }
            if queue.events.is_empty() {
                queue.events = VecDeque::new();
            }
            return Poll::Ready(event);
        }
        match &mut queue.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => queue.waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

/// All conns of a pool.
#[derive(Default)]
pub struct Hub(Mutex<AHashMap<ConnId, Arc<Inbox>>>);

impl Hub {
    /// Takes in a conn.
    pub fn enter(&self, conn: ConnId) -> Arc<Inbox> {
        let inbox = Arc::new(Inbox::default());
        self.0.lock().insert(conn, Arc::clone(&inbox));
        inbox
    }

    /// Lets a conn go.
    pub fn leave(&self, conn: ConnId) {
        self.0.lock().remove(&conn);
    }

    /// Whether the conn is here.
    pub fn has(&self, conn: ConnId) -> bool {
        self.0.lock().contains_key(&conn)
    }

    /// Tells one conn; nobody, if it is gone.
    pub fn tell(&self, conn: ConnId, event: Event) {
        let inbox = self.0.lock().get(&conn).cloned();
        if let Some(inbox) = inbox {
            inbox.push(event);
        }
    }

    /// Tells all conns what a CLI told everybody. Returns how many conns had no room.
    pub fn broadcast(&self, from: UpstreamId, notices: Vec<Notice>) -> usize {
        if notices.is_empty() { 0 } else { self.tell_all(&Event::Notices(from, notices.into())) }
    }

    /// Tells all conns. Returns how many had no room.
    pub fn tell_all(&self, event: &Event) -> usize {
        let inboxes: Vec<Arc<Inbox>> = self.0.lock().values().cloned().collect();
        inboxes.iter().filter(|inbox| !inbox.push(event.clone())).count()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn notices(count: usize) -> Vec<Notice> {
        vec![Notice(SessionId::new("s"), Bytes::from_static(b"{}"), crate::time::now()); count]
    }

    fn read(inbox: &Inbox, cx: &Context<'_>) -> usize {
        let mut read = 0;
        while let Poll::Ready(event) = inbox.poll_next(cx) {
            if let Event::Notices(_, batch) = event {
                read += batch.len();
            }
        }
        read
    }

    #[test]
    fn broadcasts_are_dropped_when_nobody_reads_and_answers_are_not() {
        let hub = Hub::default();
        let inbox = hub.enter(ConnId(1));
        let dropped: usize =
            (0..MAX_NOTICES + 10).map(|_| hub.broadcast(UpstreamId(1), notices(1))).sum();
        assert_eq!(dropped, 10);
        hub.tell(ConnId(1), Event::Again(Ticket(7), None));
        let cx = Context::from_waker(Waker::noop());
        let mut last = None;
        while let Poll::Ready(event) = inbox.poll_next(&cx) {
            last = Some(event);
        }
        assert!(matches!(last, Some(Event::Again(Ticket(7), None))));
        assert_eq!(hub.broadcast(UpstreamId(1), notices(3)), 0);
        assert_eq!(read(&inbox, &cx), 3);
    }

    #[test]
    fn a_batch_wakes_a_conn_once_and_not_again_until_it_has_read() {
        let hub = Hub::default();
        let inbox = hub.enter(ConnId(1));
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let cx = Context::from_waker(&waker);
        for round in 1..=3 {
            assert_eq!(read(&inbox, &cx), if round == 1 { 0 } else { 75 });
            assert_eq!(
                hub.broadcast(UpstreamId(1), notices(50))
                    + hub.broadcast(UpstreamId(1), notices(25)),
                0
            );
            assert_eq!(woken.0.load(Ordering::Relaxed), round);
        }
    }

    #[test]
    fn all_conns_share_one_copy() {
        let hub = Hub::default();
        let inboxes = [hub.enter(ConnId(1)), hub.enter(ConnId(2))];
        hub.broadcast(UpstreamId(1), notices(1));
        let cx = Context::from_waker(Waker::noop());
        let batches = inboxes.map(|inbox| {
            let Poll::Ready(Event::Notices(_, batch)) = inbox.poll_next(&cx) else {
                panic!("none")
            };
            batch
        });
        assert!(Arc::ptr_eq(&batches[0], &batches[1]));
    }

    #[test]
    fn a_conn_that_left_is_told_nothing() {
        let hub = Hub::default();
        let inbox = hub.enter(ConnId(1));
        hub.leave(ConnId(1));
        hub.tell(ConnId(1), Event::Leave(Mode::Now));
        assert!(inbox.poll_next(&Context::from_waker(Waker::noop())).is_pending());
    }
}
