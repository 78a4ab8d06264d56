//! Where a session is, for what fairlead does itself: it is sought as a client's request is, so that one look-up serves
//! both, and what is found is known from then on.

use std::sync::Arc;

use ahash::AHashMap;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::place::Sought;
use super::{Key, Pool};
use crate::caller::{Owner, Realm};
use crate::error::Reason;
use crate::id::{ConnId, SessionId, UpstreamId};
use crate::rpc::mux::{Found, Ticket};
use crate::session::table::Absence;
use crate::want::Want;

/// Who seeks when fairlead itself does. No conn has this number: theirs count up from the start of the process.
pub(super) const OURSELVES: ConnId = ConnId(u64::MAX);

/// Who is told when an answer may be there: the table has only their tickets.
#[derive(Default)]
pub(super) struct Seekers(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    last: u32,
    told: AHashMap<u32, oneshot::Sender<Option<Absence>>>,
}

/// One that waits; forgotten when dropped.
struct Seeker<'a> {
    seekers: &'a Seekers,
    ticket: u32,
}

impl Seekers {
    fn enter(&self) -> (Seeker<'_>, oneshot::Receiver<Option<Absence>>) {
        let (tell, told) = oneshot::channel();
        let mut waiting = self.0.lock();
        waiting.last = waiting.last.wrapping_add(1);
        let ticket = waiting.last;
        waiting.told.insert(ticket, tell);
        (Seeker { seekers: self, ticket }, told)
    }

    pub(super) fn tell(&self, ticket: u32, absence: Option<Absence>) {
        let told = self.0.lock().told.remove(&ticket);
        if let Some(told) = told {
            // It may have given up: that is its affair.
            let _ = told.send(absence);
        }
    }
}

impl Drop for Seeker<'_> {
    fn drop(&mut self) {
        self.seekers.0.lock().told.remove(&self.ticket);
    }
}

/// Who answers for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// This CLI.
    Is(UpstreamId),
    /// Nobody has it.
    Nowhere,
    /// Somebody may have it, who cannot be asked now.
    Unknown,
}

impl Pool {
    /// Who answers for a session that need only be on a disk.
    pub(super) async fn home_of(self: &Arc<Self>, session: &SessionId) -> Home {
        let (want, key) = (Want::Use { on_disk: true }, Key::default());
        let mut absence = None;
        loop {
            let (seeker, told) = self.seekers.enter();
            let ticket = Ticket(seeker.ticket);
            let owner = Owner { realm: Realm::Common, user: None };
            let asker = (OURSELVES, ticket);
            match self.look(&Sought { asker, session, want: &want, absence, key: &key, owner }) {
                Some(Found::Go { upstream, .. }) => return Home::Is(upstream),
                Some(Found::Refused(refusal)) if refusal.reason == Reason::AccessDenied => {
                    return Home::Nowhere;
                }
                Some(Found::Refused(_) | Found::NotAsked) => return Home::Unknown,
                None => match told.await {
                    Ok(found) => absence = found,
                    Err(_) => return Home::Unknown,
                },
            }
        }
    }
}
