//! A queue of bytes between those who log and one thread that writes.
//!
//! Bounded; never blocks who pushes; a line is in it whole or not at all. Says in the log itself where lines are missing.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::Format;

/// How much may wait to be written. As much again may be on its way.
pub(super) const MAX_QUEUED_BYTES: usize = 1 << 20;
/// A buffer that a burst made larger than this is given back.
const USUAL_BYTES: usize = 1 << 16;

/// The queue; one thread writes what is pushed.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    pending: Vec<u8>,
    writing: bool,
    dropped: u64,
    dropped_and_said: u64,
}

impl Queue {
    /// Starts the writer. It runs until the process ends: a sink that is stuck cannot be joined.
    pub(super) fn start(
        sink: impl Write + Send + 'static,
        format: Format,
    ) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Queue { state: Mutex::default(), changed: Condvar::new() });
        let writer = Arc::clone(&queue);
        std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || writer.write(sink, format))?;
        Ok(queue)
    }

    /// Queues one line, or drops and counts it.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.state.lock();
        if state.pending.len() + line.len() > MAX_QUEUED_BYTES {
            state.dropped += 1;
            return;
        }
        let idle = state.pending.is_empty();
        state.pending.extend_from_slice(line);
        drop(state);
        if idle {
            self.changed.notify_all();
        }
    }

    /// Lines dropped since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.state.lock().dropped
    }

    /// Waits until all that was pushed is written; false when `deadline` passed first.
    pub(super) fn flush(&self, deadline: Duration) -> bool {
        let mut state = self.state.lock();
        let busy = |state: &mut State| state.writing || !state.pending.is_empty();
        !self.changed.wait_while_for(&mut state, busy, deadline).timed_out()
    }

    fn write(&self, mut sink: impl Write, format: Format) {
        let mut lines = Vec::new();
        loop {
            let missing = self.take(&mut lines);
            if missing > 0 {
                let notice = format.dropped(crate::time::wall(), missing);
                lines.extend_from_slice(notice.as_bytes());
            }
            // Nobody is left to be told that nobody can be told.
            let _ = sink.write_all(&lines);
            lines.clear();
            lines.shrink_to(USUAL_BYTES);
            self.state.lock().writing = false;
            self.changed.notify_all();
        }
    }

    /// Waits for lines and takes them all; returns how many were dropped after them.
    fn take(&self, lines: &mut Vec<u8>) -> u64 {
        let mut state = self.state.lock();
        self.changed.wait_while(&mut state, |state| state.pending.is_empty());
        std::mem::swap(&mut state.pending, lines);
        state.writing = true;
        let missing = state.dropped - state.dropped_and_said;
        state.dropped_and_said = state.dropped;
        missing
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// A sink that says when a write arrives and then waits until it is let go.
    struct Stuck {
        arrived: mpsc::SyncSender<()>,
        go: mpsc::Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.arrived.try_send(());
            let _ = self.go.recv();
            self.written.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stalls_costs_lines_and_never_blocks_who_logs() {
        let (arrived, at_sink) = mpsc::sync_channel(1);
        let (let_go, go) = mpsc::sync_channel(1);
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = Stuck { arrived, go, written: Arc::clone(&written) };
        let queue = Queue::start(sink, Format::Json).unwrap();

        queue.push(b"first\n");
        at_sink.recv_timeout(SOON).unwrap();
        let line = [b'x'; 1024];
        for _ in 0..MAX_QUEUED_BYTES / line.len() {
            queue.push(&line);
        }
        assert_eq!(queue.dropped(), 0);
        queue.push(&line);
        queue.push(&line);
        assert_eq!(queue.dropped(), 2);
        assert!(!queue.flush(Duration::from_millis(1)));

        drop(let_go);
        assert!(queue.flush(SOON));
        let text = String::from_utf8(written.lock().clone()).unwrap();
        assert_eq!(text.matches(r#""dropped":2"#).count(), 1);
        assert!(text.ends_with("}\n"));

        queue.push(b"last\n");
        assert!(queue.flush(SOON));
        assert!(written.lock().ends_with(b"}\nlast\n"));
    }

    #[test]
    fn a_sink_that_fails_stops_nothing() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let queue = Queue::start(Broken, Format::Text).unwrap();
        for _ in 0..3 {
            queue.push(b"line\n");
            assert!(queue.flush(SOON));
        }
    }
}
