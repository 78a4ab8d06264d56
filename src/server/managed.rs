//! Managed CLIs as members: their addresses come and go with their processes.

use std::sync::Arc;

use tokio::sync::watch;

use crate::health::state::Seen;
use crate::observe::metrics::GaugeGuard;
use crate::upstream::member::Member;
use crate::upstream::pool::Pool;
use crate::upstream::source::managed::Status;

/// Follows a process, for as long as it is supervised.
pub(super) async fn follow(
    pool: Arc<Pool>,
    member: Arc<Member>,
    mut status: watch::Receiver<Status>,
) {
    let mut running = None;
    let mut last = 0;
    loop {
        let now = status.borrow_and_update().clone();
        match now {
            Status::Ready { addr, generation, .. } => {
                if last > 0 && generation != last {
                    member.metrics.restarts.inc("exited");
                }
                last = generation;
                running.get_or_insert_with(|| GaugeGuard::enter(&pool.metrics.spawned));
                member.set_address(Some(addr));
            }
            Status::Starting { .. } => member.set_address(None),
            Status::Stopping => {
                if let Some(change) = member.see(Seen::Leaving) {
                    pool.member_changed(&member, change);
                }
            }
            Status::Exited { .. } | Status::Backoff { .. } | Status::Stopped => {
                running = None;
                gone(&pool, &member);
            }
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

fn gone(pool: &Pool, member: &Member) {
    member.set_address(None);
    if let Some(change) = member.see(Seen::Gone) {
        pool.member_changed(member, change);
        pool.member_dead(member);
    }
}
