//! Bytes to log lines: bounded in length and in number. Pure; reads no pipe and writes no log.

use crate::time::{Duration, Instant};

/// The longest piece of a line that is kept, in bytes; the rest of it is thrown away.
pub(super) const MAX_LINE: usize = 8 * 1024;
/// Lines that one CLI may put into the log per second.
const PER_SECOND: u32 = 100;
const SECOND: Duration = Duration::from_secs(1);

/// Shorter pieces of a value are words like `true`; to strike them out would garble the log.
const SHORTEST_SECRET: usize = 8;

/// What must be in no line: each line of each value, for a value may have many. The longest come first.
pub(super) fn secrets_in<'a>(values: impl Iterator<Item = &'a String>) -> Vec<String> {
    let lines = values.flat_map(|value| value.lines()).map(|line| shown(line.trim()));
    let mut secrets: Vec<String> = lines.filter(|line| line.len() >= SHORTEST_SECRET).collect();
    secrets.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    secrets.dedup();
    secrets
}

/// Control characters could draw on an operator's terminal.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

/// The first `limit` bytes of the text, with `***` for each secret that begins there.
fn strike(text: &str, secrets: &[String], limit: usize) -> String {
    let limit = text.floor_char_boundary(limit);
    let (mut out, mut at) = (String::new(), 0);
    while at < limit {
        let rest = text.get(at..).unwrap_or_default();
        let first = secrets.iter().filter_map(|secret| Some((rest.find(secret)?, secret.len())));
        // Of those that begin at one place the longest: it comes first.
        match first.min_by_key(|(start, _)| *start).filter(|(start, _)| at + start < limit) {
            Some((start, len)) => {
                out.push_str(rest.get(..start).unwrap_or_default());
                out.push_str("***");
                at += start + len;
            }
            None => {
                out.push_str(text.get(at..limit).unwrap_or_default());
                at = limit;
            }
        }
    }
    out
}

/// Cuts a stream into lines of at most [`MAX_LINE`] bytes, without secrets; holds the longest of these beyond that.
pub(super) struct Splitter<'a> {
    line: Vec<u8>,
    secrets: &'a [String],
}

impl<'a> Splitter<'a> {
    /// The lines of one stream.
    pub(super) fn new(secrets: &'a [String]) -> Self {
        Splitter { line: Vec::new(), secrets }
    }

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
        let whole = shown(&text);
        let mut text = strike(&whole, self.secrets, MAX_LINE);
        if whole.len() > MAX_LINE {
            text.push_str(" [cut]");
        }
        self.line.clear();
        if !text.trim().is_empty() {
            take(text);
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        // One more, so that it is seen that the line goes on.
        let most = MAX_LINE + self.secrets.first().map_or(0, String::len) + 1;
        let room = most - self.line.len();
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
        let mut splitter = Splitter::new(&[]);
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
    fn no_line_of_a_secret_is_shown_nor_the_beginning_of_one_at_the_end() {
        let key = "-----BEGIN KEY-----\nMIIcanary1\r\n  MIIcanary2\nx\n".to_owned();
        let secrets = secrets_in(
            [&key, &"canary-token-long".to_owned(), &"canary-token".to_owned()].into_iter(),
        );
        let show = |bytes: &[u8]| {
            let mut lines = Vec::new();
            let mut splitter = Splitter::new(&secrets);
            splitter.push(bytes, |line| lines.push(line));
            splitter.flush(|line| lines.push(line));
            lines.join("|")
        };
        assert_eq!(show(key.as_bytes()), "***|***|  ***|x");
        assert_eq!(show(b"a canary-token-long, canary-token."), "a ***, ***.");
        for before in MAX_LINE - 20..=MAX_LINE {
            for head in ["", "canary-token-long"] {
                let pad = "y".repeat(before - head.len());
                let shown = show(format!("{head}{pad}canary-token-long and more").as_bytes());
                assert!(!shown.contains('c') || shown.ends_with(" [cut]"), "{before}");
                assert!(!shown.trim_end_matches(" [cut]").contains('c'), "{before}: {shown}");
            }
        }
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
