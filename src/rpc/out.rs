//! What waits to be written to one socket: bytes in order, bounded, joined where they are small.
//!
//! Knows nothing of sockets: it shows slices, and is told how much of them was taken.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

use super::frame::Body;
use super::json::Span;

/// Bodies from here on are queued by reference, smaller ones are copied to the end of what waits.
const BY_REFERENCE: usize = 16 * 1024;

/// What a header needs at most, in bytes.
const HEADER: usize = 40;
/// How much room is made at least, where several frames wait.
const MORE: usize = 8 * 1024;

/// A replacement in a body: the bytes at `span` give way to `text`.
#[derive(Clone, Copy, Debug)]
pub struct Edit<'a> {
    /// What is replaced; empty to insert.
    pub span: Span,
    /// What stands there instead.
    pub text: &'a [u8],
}

/// The outgoing queue of one socket.
#[derive(Default)]
pub struct Outgoing {
    whole: VecDeque<Bytes>,
    tail: BytesMut,
    len: usize,
    frames: u64,
}

impl Outgoing {
    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// How many frames were queued so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether a frame with a body of `body` bytes still fits under `limit`. One that is larger than the
    /// limit fits where nothing else waits.
    pub fn fits(&self, body: usize, limit: usize) -> bool {
        self.len == 0 || self.len + body <= limit
    }

    /// Queues a frame with this body.
    pub fn frame(&mut self, body: &Body<'_>) {
        self.header(body.bytes().len());
        match body {
            Body::Owned(bytes) if bytes.len() >= BY_REFERENCE => self.by_reference(bytes.clone()),
            Body::Borrowed(_) | Body::Owned(_) => self.copy(body.bytes()),
        }
    }

    /// Queues a frame with this body, changed at `edits`, which are in order and do not overlap.
    pub fn edited(&mut self, body: &[u8], edits: &[Edit<'_>]) {
        let gone: usize = edits.iter().map(|e| e.span.end - e.span.start).sum();
        let come: usize = edits.iter().map(|e| e.text.len()).sum();
        self.header(body.len() + come - gone);
        let mut from = 0;
        for edit in edits {
            self.copy(body.get(from..edit.span.start).unwrap_or_default());
            self.copy(edit.text);
            from = edit.span.end;
        }
        self.copy(body.get(from..).unwrap_or_default());
    }

    /// Queues a frame whose body is these parts, one after the other.
    pub fn parts(&mut self, parts: &[&[u8]]) {
        self.header(parts.iter().map(|p| p.len()).sum());
        for part in parts {
            self.copy(part);
        }
    }

    /// Moves all that waits in `other` to the end of this queue.
    pub fn append(&mut self, other: &mut Outgoing) {
        for whole in other.whole.drain(..) {
            self.by_reference(whole);
        }
        self.copy(&std::mem::take(&mut other.tail));
        other.len = 0;
    }

    /// Shows what waits, in order, in as many slices as `slices` has room for; returns how many.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let parts = self.whole.iter().map(|b| &b[..]).chain([&self.tail[..]]);
        let mut used = 0;
        for (slot, part) in slices.iter_mut().zip(parts.filter(|p| !p.is_empty())) {
            *slot = IoSlice::new(part);
            used += 1;
        }
        used
    }

    /// Takes `taken` bytes off the front: they are written.
    pub fn advance(&mut self, mut taken: usize) {
        self.len -= taken.min(self.len);
        while let Some(front) = self.whole.front_mut() {
            if taken < front.len() {
                front.advance(taken);
                return;
            }
            taken -= front.len();
            self.whole.pop_front();
        }
        if self.whole.capacity() > 0 {
            self.whole = VecDeque::new();
        }
        if taken < self.tail.len() {
            self.tail.advance(taken);
        } else {
            // An idle conn holds no buffer.
            self.tail = BytesMut::new();
        }
    }

    fn header(&mut self, body: usize) {
        self.frames += 1;
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(body).as_bytes();
        let need = HEADER + body.min(BY_REFERENCE);
        if self.tail.capacity() - self.tail.len() < need {
            // One frame takes what it needs; a second one is a sign of more.
            self.tail.reserve(if self.tail.is_empty() { need } else { need.max(MORE) });
        }
        self.copy(b"Content-Length: ");
        self.copy(digits);
        self.copy(b"\r\n\r\n");
    }

    fn copy(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.len += bytes.len();
    }

    fn by_reference(&mut self, bytes: Bytes) {
        if !self.tail.is_empty() {
            self.whole.push_back(std::mem::take(&mut self.tail).freeze());
        }
        self.len += bytes.len();
        self.whole.push_back(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drain(out: &mut Outgoing, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while !out.is_empty() {
            let mut slices = [IoSlice::new(&[]); 3];
            let used = out.slices(&mut slices);
            let seen: Vec<u8> = slices[..used].iter().flat_map(|s| s.to_vec()).collect();
            let taken = step.min(seen.len());
            all.extend(&seen[..taken]);
            out.advance(taken);
        }
        assert_eq!(out.tail.capacity(), 0);
        all
    }

    #[test]
    fn an_edit_replaces_its_span_and_the_length_is_right() {
        let mut out = Outgoing::default();
        let cut = Span { start: 1, end: 3 };
        let end = Span { start: 5, end: 5 };
        out.edited(b"abcde", &[Edit { span: cut, text: b"XYZ" }, Edit { span: end, text: b"!" }]);
        assert_eq!(drain(&mut out, 7), b"Content-Length: 7\r\n\r\naXYZde!");
    }

    #[test]
    fn a_frame_over_the_limit_fits_only_where_nothing_waits() {
        let mut out = Outgoing::default();
        assert!(out.fits(100, 10));
        out.parts(&[b"x"]);
        assert!(!out.fits(100, 10));
        assert!(out.fits(1, 100));
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out_in_order(sizes in prop::collection::vec(0usize..40_000, 0..8), owned in any::<u8>(), step in 1usize..70_000) {
            let mut out = Outgoing::default();
            let mut expected = Vec::new();
            for (n, size) in sizes.iter().enumerate() {
                let body = vec![b'a' + n as u8; *size];
                expected.extend(format!("Content-Length: {size}\r\n\r\n").bytes());
                expected.extend(&body);
                if owned >> n & 1 == 1 { out.frame(&Body::Owned(body.into())) } else { out.frame(&Body::Borrowed(&body)) }
            }
            prop_assert_eq!(out.len(), expected.len());
            prop_assert_eq!(out.frames(), sizes.len() as u64);
            prop_assert_eq!(drain(&mut out, step), expected);
            prop_assert_eq!(out.len(), 0);
        }
    }
}
