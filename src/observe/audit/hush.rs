//! How many lines of refusals one conn may write: a client that is refused for ever must not fill the log.
//!
//! Pure: `now` is an argument. Loses none: what has no line of its own is counted.

use crate::time::{Duration, Instant};

/// Lines of refusals that one conn may write in a second.
pub const MOST_LINES: u32 = 10;

const SECOND: Duration = Duration::from_secs(1);

/// What one conn has written, and what it kept to itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hush {
    /// When the second began.
    since: Option<Instant>,
    /// Lines since then.
    said: u32,
    /// Refusals without a line since then.
    kept: u64,
}

impl Hush {
    /// Whether one more refusal may have a line; else it is counted.
    pub fn may_say(&mut self, now: Instant) -> bool {
        let over = self.since.is_none_or(|since| now >= since + SECOND);
        // What was kept is told first: until then the second is not over.
        if over && self.kept == 0 {
            (self.since, self.said) = (Some(now), 0);
        }
        if self.said < MOST_LINES {
            self.said += 1;
            return true;
        }
        self.kept += 1;
        false
    }

    /// How many had no line, once their second is over: none of them is told again.
    pub fn take_kept(&mut self, now: Instant) -> Option<u64> {
        self.since.filter(|since| self.kept > 0 && now >= *since + SECOND)?;
        self.take_all()
    }

    /// The same, however long it is ago: the conn ends.
    pub fn take_all(&mut self) -> Option<u64> {
        let kept = std::mem::take(&mut self.kept);
        (kept > 0).then_some(kept)
    }

    /// Whether there is something to be told.
    pub fn keeps(&self) -> bool {
        self.kept > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;

    #[test]
    fn a_flood_is_a_few_lines_and_a_number() {
        let (mut hush, start) = (Hush::default(), time::now());
        let said = (0..1000).filter(|_| hush.may_say(start)).count();
        assert_eq!(said, MOST_LINES as usize);
        assert_eq!(hush.take_kept(start), None);
        assert!(hush.keeps());
        let later = start + SECOND;
        assert_eq!(hush.take_kept(later), Some(1000 - u64::from(MOST_LINES)));
        assert_eq!((hush.take_kept(later), hush.keeps()), (None, false));
        assert!(hush.may_say(later));
    }

    #[test]
    fn none_is_lost_however_they_come() {
        let (mut hush, start) = (Hush::default(), time::now());
        let (mut said, mut told) = (0, 0);
        for n in 0..5000_u32 {
            let now = start + Duration::from_millis(u64::from(n * 7));
            told += hush.take_kept(now).unwrap_or_default();
            said += u64::from(hush.may_say(now));
        }
        assert_eq!(said + told + hush.take_all().unwrap_or_default(), 5000);
        let seconds = u64::from(5000_u32 * 7 / 1000) + 1;
        assert!(said <= seconds * u64::from(MOST_LINES), "{said}");
    }

    #[test]
    fn who_is_seldom_refused_always_has_a_line() {
        let (mut hush, start) = (Hush::default(), time::now());
        assert!((0..100).all(|n| hush.may_say(start + SECOND * n)));
        assert_eq!(hush.take_all(), None);
    }
}
