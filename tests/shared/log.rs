//! A log in memory, for a subscriber to write to.

use std::io;
use std::sync::{Arc, Mutex};

/// What was logged so far.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn text(&self) -> String {
        self.since(0)
    }

    /// What was logged after so many bytes.
    pub(crate) fn since(&self, bytes: usize) -> String {
        String::from_utf8(self.0.lock().unwrap()[bytes..].to_vec()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
