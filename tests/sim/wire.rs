//! Bytes under way, and a frame reader that takes nothing but what fairlead says that it writes.

use std::collections::VecDeque;

/// One direction of one connection.
#[derive(Default)]
pub(crate) struct Pipe(VecDeque<u8>);

impl Pipe {
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    pub(crate) fn frame(&mut self, body: &str) {
        self.put(format!("Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
    }

    pub(crate) fn take(&mut self, most: usize) -> Vec<u8> {
        let n = most.min(self.0.len());
        self.0.drain(..n).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets all but the first `n` bytes.
    pub(crate) fn truncate(&mut self, n: usize) {
        self.0.truncate(n);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Cuts what a peer got into bodies.
#[derive(Default)]
pub(crate) struct Cutter(Vec<u8>);

impl Cutter {
    /// How much of a body is here that is not whole.
    pub(crate) fn part(&self) -> usize {
        self.0.len()
    }

    /// The bodies that are whole now; an error where the header is not exactly `Content-Length: N\r\n\r\n`.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<Vec<String>, String> {
        self.0.extend(bytes);
        let mut bodies = Vec::new();
        while let Some(end) = memchr::memmem::find(&self.0, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&self.0[..end]).into_owned();
            let need = head.strip_prefix("Content-Length: ").and_then(|n| n.parse::<usize>().ok());
            let need = need.ok_or_else(|| format!("a header that nobody wrote: {head:?}"))?;
            if self.0.len() < end + 4 + need {
                break;
            }
            let body = self.0[end + 4..end + 4 + need].to_vec();
            self.0.drain(..end + 4 + need);
            bodies.push(String::from_utf8(body).map_err(|e| e.to_string())?);
        }
        Ok(bodies)
    }
}

/// The raw text of the first `"name":` in a body, up to the next comma or brace. Enough for the numbers and ids of
/// this simulation, which hold neither.
pub(crate) fn raw<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let at = body.find(&format!("\"{name}\":"))? + name.len() + 3;
    let rest = body.get(at..)?.trim_start();
    rest.split([',', '}']).next().map(str::trim_end)
}

/// The same, as a number.
pub(crate) fn number(body: &str, name: &str) -> Option<u64> {
    raw(body, name)?.parse().ok()
}

/// The same, as a text without escapes.
pub(crate) fn text<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    raw(body, name)?.strip_prefix('"')?.strip_suffix('"')
}

/// A number that is written as a text.
pub(crate) fn number_in(body: &str, name: &str) -> Option<u64> {
    text(body, name)?.parse().ok()
}
