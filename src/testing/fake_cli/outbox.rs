//! What waits to be written to one connection. Unbounded, as in the CLI: a slow reader costs memory.

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::testing::wire;

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// What waits is written, then FIN.
    Fin,
    /// What waits is written, then RST.
    FlushAndReset,
    /// RST, now.
    Reset,
}

#[derive(Debug, Default)]
struct Inner {
    bytes: Vec<u8>,
    mute: bool,
    ending: Option<Ending>,
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    inner: Mutex<Inner>,
    /// Told when there is something to do for the writer.
    pub(super) ready: Notify,
    /// Told when something was written.
    pub(super) progress: Notify,
}

impl Outbox {
    /// Queues one frame.
    pub(super) fn push(&self, body: &[u8]) {
        self.push_with(|bytes| wire::push_frame(bytes, body));
    }

    /// Queues bytes that are framed already.
    pub(super) fn push_with(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut inner = self.inner.lock();
        if !inner.mute {
            write(&mut inner.bytes);
        }
        drop(inner);
        self.ready.notify_one();
    }

    /// Queues the first half of a frame, and nothing ever after.
    pub(super) fn push_half(&self, body: &[u8]) {
        let mut inner = self.inner.lock();
        let mut frame = Vec::new();
        wire::push_frame(&mut frame, body);
        frame.truncate(frame.len() - body.len().div_ceil(2));
        if !inner.mute {
            inner.bytes.extend(frame);
        }
        inner.mute = true;
        drop(inner);
        self.ready.notify_one();
    }

    pub(super) fn end(&self, ending: Ending) {
        let mut inner = self.inner.lock();
        inner.mute = true;
        if inner.ending != Some(Ending::Reset) {
            inner.ending = Some(ending);
        }
        drop(inner);
        self.ready.notify_one();
    }

    /// Everything that waits, into `bytes`; how it ends after that, if it does.
    pub(super) fn take(&self, bytes: &mut Vec<u8>) -> Option<Ending> {
        let mut inner = self.inner.lock();
        bytes.clear();
        std::mem::swap(&mut inner.bytes, bytes);
        inner.ending
    }

    pub(super) fn ending(&self) -> Option<Ending> {
        self.inner.lock().ending
    }

    pub(super) fn waiting(&self) -> usize {
        self.inner.lock().bytes.len()
    }
}
