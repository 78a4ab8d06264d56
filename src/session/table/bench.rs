//! A table with a clock that stands still, for the unit tests of its parts.

use std::rc::Rc;

use super::{Answer, Asker, CreateExisting, Storage, Table};
use crate::id::{ConnId, SessionId, UpstreamId};
use crate::placement::PlacementReason;
use crate::time::{self, Instant};
use crate::want::Want;

pub(super) const A: UpstreamId = UpstreamId(1);
pub(super) const B: UpstreamId = UpstreamId(2);
pub(super) const S: &str = "s";

impl From<&str> for SessionId {
    fn from(text: &str) -> Self {
        SessionId::new(text)
    }
}

pub(super) struct Bench {
    pub(super) table: Table<Rc<()>>,
    pub(super) now: Instant,
    lease: Rc<()>,
}

impl Bench {
    pub(super) fn new(storage: Storage, limit: usize) -> Self {
        let table = Table::new(storage, CreateExisting::Resume, limit);
        Bench { table, now: time::now(), lease: Rc::new(()) }
    }

    pub(super) fn conn(&self, conn: u64) -> ConnId {
        ConnId(conn)
    }

    /// How many leases the table holds.
    pub(super) fn leases(&self) -> usize {
        Rc::strong_count(&self.lease) - 1
    }

    pub(super) fn place(&mut self, session: &str, conn: u64, upstream: UpstreamId) -> u64 {
        let (lease, why) = (Rc::clone(&self.lease), PlacementReason::Sticky);
        self.table.place(&session.into(), ConnId(conn), upstream, why, lease, self.now)
    }

    /// A session that one conn is attached to. Gives its epoch.
    pub(super) fn live(&mut self, session: &str, conn: u64, upstream: UpstreamId) -> u64 {
        let epoch = self.place(session, conn, upstream);
        self.table.attached(&session.into(), ConnId(conn), epoch);
        epoch
    }

    pub(super) fn resume(&mut self, session: &str, conn: u64) -> Answer {
        let asker = Asker { conn: ConnId(conn), ticket: 0 };
        self.table.want(&session.into(), asker, &Want::Resume, None, |_| true, self.now)
    }

    pub(super) fn woken(&mut self) -> usize {
        self.table.take_wakes().len()
    }
}
