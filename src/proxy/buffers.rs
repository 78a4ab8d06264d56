//! Buffers into which the conns of a thread read: what an idle conn holds is nothing.
//!
//! One of them is lent for the time of a call ([`with_buffer`]); who must keep bytes for longer takes one of its own
//! ([`take`]), which the thread keeps for the next when it comes back.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// What one read can bring, in bytes.
pub const READ: usize = 64 * 1024;

/// Buffers that came back and that a thread keeps, at most; the rest is given back to the system.
const KEPT: usize = 16;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(fresh());
    static KEEP: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

fn fresh() -> Box<[u8]> {
    vec![0; READ].into_boxed_slice()
}

/// Lends this thread's buffer. Must not be called from within `with`.
pub fn with_buffer<T>(with: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFER.with_borrow_mut(|buffer| with(buffer))
}

/// [`READ`] bytes for one conn, until dropped. What is in them is of no meaning.
pub fn take() -> Buffer {
    let kept = KEEP.with_borrow_mut(Vec::pop);
    Buffer(kept.unwrap_or_else(fresh))
}

/// See [`take`].
pub struct Buffer(Box<[u8]>);

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        // An error: the thread ends.
        let _ = KEEP.try_with(|keep| {
            let mut keep = keep.borrow_mut();
            if keep.len() < KEPT {
                keep.push(buffer);
            }
        });
    }
}

/// How many came back to this thread and wait for the next.
#[cfg(test)]
pub(super) fn kept() -> usize {
    KEEP.with_borrow(Vec::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_is_used_again_and_no_more_is_kept_than_may_be() {
        let at = {
            let mut buffer = take();
            buffer[0] = 1;
            buffer.as_ptr()
        };
        assert_eq!((kept(), take().as_ptr()), (1, at));
        drop((0..2 * KEPT).map(|_| take()).collect::<Vec<_>>());
        assert_eq!(kept(), KEPT);
    }
}
