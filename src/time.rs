//! The one clock. Everything below the shells takes `now` as an argument.

use std::time::SystemTime;

pub use std::time::Duration;
/// A moment on the clock that only goes forward. Stands still in paused tests.
pub use tokio::time::Instant;

/// Now, on the clock that only goes forward.
#[expect(clippy::disallowed_methods, reason = "this is the one clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Now, on the wall: for time stamps that people and clients read.
#[expect(clippy::disallowed_methods, reason = "this is the one clock")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}
