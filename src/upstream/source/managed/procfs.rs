//! What `/proc` says about processes: who belongs to a CLI, also after the CLI itself is gone.
//!
//! Reads only (proc(5)); signals go out elsewhere. A pid alone never counts: it is used again.

use std::io;

use super::environment::MARKER;

/// One line of `/proc/PID/stat`, as far as we need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    /// Field 22: clock ticks from boot to its start. Tells it from a later one with its pid.
    pub(super) start: u64,
    /// Ended, and not yet reaped by its parent.
    pub(super) dead: bool,
}

/// The process with this pid, dead or alive.
pub(super) fn process(pid: i32) -> Option<Process> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in parentheses may hold anything, also `)`: fields are counted after the last one.
fn parse(stat: &str) -> Option<Process> {
    let (head, tail) = stat.rsplit_once(')')?;
    let pid = head.split_once(' ')?.0.parse().ok()?;
    let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
    Some(Process {
        pid,
        dead: matches!(*fields.first()?, "Z" | "X"),
        group: fields.get(2)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        start: fields.get(19)?.parse().ok()?,
    })
}

/// Which boot of the machine this is: start times of another one mean nothing.
pub(super) fn boot_id() -> io::Result<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(id.trim().to_owned())
}

/// A CLI process, by what stays true of it and of everything that it starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family<'a> {
    pub(super) pid: i32,
    pub(super) start: u64,
    pub(super) marker: &'a str,
}

impl Family<'_> {
    /// Every living process of this CLI: of its group and session, and whoever carries its marker.
    ///
    /// The group's number counts only with proof that it is still this CLI's group: its leader, by
    /// pid and start time, or a member with the marker (a number is not given out again while a
    /// member of the old group lives).
    pub(super) fn living(self) -> Vec<Process> {
        let leader = process(self.pid).is_some_and(|leader| leader.start == self.start);
        let all: Vec<(Process, bool)> =
            all().filter(|p| !p.dead).map(|p| (p, carries(p.pid, self.marker))).collect();
        let within = |p: &Process| p.group == self.pid || p.session == self.pid;
        let proven = leader || all.iter().any(|(p, marked)| *marked && within(p));
        all.into_iter()
            .filter(|(p, marked)| *marked || (proven && within(p)))
            .map(|(p, _)| p)
            .collect()
    }
}

fn all() -> impl Iterator<Item = Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| process(entry.file_name().to_str()?.parse().ok()?))
}

/// Whether the process was started with this marker. No, where we may not look: not ours.
fn carries(pid: i32, marker: &str) -> bool {
    let Ok(environ) = std::fs::read(format!("/proc/{pid}/environ")) else { return false };
    environ.split(|byte| *byte == 0).any(|entry| {
        let value = entry.strip_prefix(MARKER.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
        value == Some(marker.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let stat = "42 (a) Z (b c) S 1 40 39 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 9 9";
        let expected = Process { pid: 42, group: 40, session: 39, start: 777, dead: false };
        assert_eq!(parse(stat), Some(expected));
        assert_eq!(parse("42 (cut) S 1"), None);
    }

    #[test]
    fn we_find_ourselves() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let me = process(pid).unwrap();
        assert!(!me.dead && me.start > 0);
        let family = Family { pid, start: me.start, marker: "nobody" };
        assert!(me.group != pid || family.living().contains(&me));
    }

    #[test]
    fn another_start_time_is_another_process() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let start = process(pid).unwrap().start + 1;
        assert_eq!(Family { pid, start, marker: "nobody" }.living(), []);
    }
}
