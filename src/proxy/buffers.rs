//! One buffer a thread, into which every conn of the thread reads: what an idle conn holds is nothing.

use std::cell::RefCell;

/// What one read can bring, in bytes.
pub const READ: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

/// Lends this thread's buffer. Must not be called from within `with`.
pub fn with_buffer<T>(with: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFER.with_borrow_mut(|buffer| with(buffer))
}
