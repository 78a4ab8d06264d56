//! Gives memory back to the system after a peak. The allocator does so by itself only while a thread allocates, and a
//! worker whose conns have all come to rest does not.

use tokio::time::{MissedTickBehavior, interval};

use crate::time::Duration;

/// Between two looks of a thread at what it no longer needs.
const EVERY: Duration = Duration::from_secs(2);

/// Runs for as long as the thread whose memory it is.
pub(super) async fn give_back() {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        collect();
    }
}

#[expect(unsafe_code, reason = "the allocator offers it in no other way")]
fn collect() {
    // SAFETY: `mi_collect` may be called at any time by any thread; it touches only free memory. `false`: only what has
    // been free for the allocator's own delay.
    unsafe { libmimalloc_sys::mi_collect(false) }
}
