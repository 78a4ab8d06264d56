//! Bytes to log lines: bounded in length and in number. Pure; reads no pipe and writes no log.

use crate::time::{Duration, Instant};

/// The longest piece of a line that is kept, in bytes; the rest of it is thrown away.
pub(super) const MAX_LINE: usize = 8 * 1024;
/// Lines that one CLI may put into the log per second.
const PER_SECOND: u32 = 100;
const SECOND: Duration = Duration::from_secs(1);

/// Cuts a stream into lines of at most [`MAX_LINE`] bytes; holds no more than that.
#[derive(Default)]
pub(super) struct Splitter {
    line: Vec<u8>,
    cut: bool,
}

impl Splitter {
    /// Takes what was read and hands each line that it completes to `take`.
    pub(super) fn push(&mut self, mut bytes: &[u8], mut take: impl FnMut(String)) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end);
            self.keep(line);
            self.flush(&mut take);
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.keep(bytes);
    }

    /// The last line, where it has no end.
    pub(super) fn flush(&mut self, mut take: impl FnMut(String)) {
        let text = String::from_utf8_lossy(&self.line);
        // Control characters could draw on an operator's terminal.
        let mut text: String = text.chars().filter(|c| !c.is_control() || *c == '\t').collect();
        if self.cut {
            text.push_str(" [cut]");
        }
        self.line.clear();
        self.cut = false;
        if !text.trim().is_empty() {
            take(text);
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = MAX_LINE - self.line.len();
        self.cut |= bytes.len() > room;
        self.line.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }
}

/// How many lines of a CLI may still be logged in this second, and how many were not.
pub(super) struct Allowance {
    since: Instant,
    used: u32,
    dropped: u64,
}

impl Allowance {
    /// A full allowance from `now` on.
    pub(super) fn new(now: Instant) -> Self {
        Allowance { since: now, used: 0, dropped: 0 }
    }

    /// Whether one more line may be logged; counts it either way.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= SECOND {
            self.since = now;
            self.used = 0;
        }
        let granted = self.used < PER_SECOND;
        if granted {
            self.used += 1;
        } else {
            self.dropped += 1;
        }
        granted
    }

    /// When to say how many lines were dropped; `None`: none was.
    pub(super) fn report_at(&self) -> Option<Instant> {
        (self.dropped > 0).then(|| self.since + SECOND)
    }

    /// Lines dropped since the last report, which this is.
    pub(super) fn report(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<String> {
        let mut splitter = Splitter::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            splitter.push(chunk, |line| lines.push(line));
        }
        splitter.flush(|line| lines.push(line));
        lines
    }

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        assert_eq!(split(&[b"one\r\ntwo\n\nthr", b"ee"]), ["one", "two", "three"]);
        let bytes: Vec<&[u8]> = b"one\r\ntwo\n\nthree".chunks(1).collect();
        assert_eq!(split(&bytes), ["one", "two", "three"]);
    }

    #[test]
    fn a_long_line_is_cut_and_the_next_one_is_whole() {
        let long = vec![b'x'; MAX_LINE * 3];
        let lines = split(&[&long, b"y\nnext\n"]);
        assert_eq!(lines[0].len(), MAX_LINE + " [cut]".len());
        assert_eq!(lines[1..], ["next"]);
        let exact = vec![b'x'; MAX_LINE];
        assert_eq!(split(&[&exact, b"\n"])[0].len(), MAX_LINE);
    }

    #[test]
    fn terminal_escapes_and_broken_utf8_do_no_harm() {
        assert_eq!(split(&[b"\x1b[31mred\x07\n\xff\n"]), ["[31mred", "\u{fffd}"]);
    }

    #[test]
    fn a_chatty_cli_gets_a_hundred_lines_a_second_and_a_count_of_the_rest() {
        let start = crate::time::now();
        let mut allowance = Allowance::new(start);
        let granted = (0..1000).filter(|_| allowance.take(start)).count();
        assert_eq!(granted, 100);
        assert_eq!(allowance.report_at(), Some(start + SECOND));
        assert_eq!(allowance.report(), 900);
        assert_eq!(allowance.report_at(), None);
        assert!(allowance.take(start + SECOND));
    }
}
