//! How an end is coded: two letters, who ended it and in which phase. Says nothing of what it was that ended.

use std::fmt;

/// Who ended it: the first letter of `termination`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// `-`
    Nobody,
    /// `C`
    Client,
    /// `U`
    Upstream,
    /// `F`
    Fairlead,
    /// `T`
    Timeout,
    /// `D`
    Drain,
    /// `I`
    Internal,
}

impl EndedBy {
    /// All of them.
    pub const ALL: [EndedBy; 7] = [
        EndedBy::Nobody,
        EndedBy::Client,
        EndedBy::Upstream,
        EndedBy::Fairlead,
        EndedBy::Timeout,
        EndedBy::Drain,
        EndedBy::Internal,
    ];

    /// The letter, and what it says to operators.
    pub const fn told(self) -> (char, &'static str) {
        match self {
            EndedBy::Nobody => ('-', "nobody: it came to its own end"),
            EndedBy::Client => ('C', "the client: it closed, went away, or aborted the turn"),
            EndedBy::Upstream => (
                'U',
                "the upstream: it closed, died, fell silent, was marked down, or cannot be reached",
            ),
            EndedBy::Fairlead => {
                ('F', "fairlead: the client broke the protocol or a limit, or was not let in")
            }
            EndedBy::Timeout => (
                'T',
                "fairlead: something took too long: who had to take bytes took none, nobody said anything, or its age",
            ),
            EndedBy::Drain => ('D', "fairlead: it was leaving"),
            EndedBy::Internal => ('I', "a mistake of fairlead's; there is an error line about it"),
        }
    }
}

/// In which phase it was: the second letter of `termination`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// `-`
    Done,
    /// `H`
    Handshake,
    /// `I`
    Idle,
    /// `Q`
    Queue,
    /// `L`
    Link,
    /// `R`
    Request,
    /// `T`
    Turn,
    /// `B`
    Bytes,
}

impl Phase {
    /// All of them.
    pub const ALL: [Phase; 8] = [
        Phase::Done,
        Phase::Handshake,
        Phase::Idle,
        Phase::Queue,
        Phase::Link,
        Phase::Request,
        Phase::Turn,
        Phase::Bytes,
    ];

    /// The letter, and what it says to operators.
    pub const fn told(self) -> (char, &'static str) {
        match self {
            Phase::Done => ('-', "all was done"),
            Phase::Handshake => {
                ('H', "the client had not sent a whole frame yet, or was not let in")
            }
            Phase::Idle => ('I', "idle: no request waited for an answer, no turn ran"),
            Phase::Queue => (
                'Q',
                "requests waited for a session to be found or placed, or for the fleet; or the conn for an upstream",
            ),
            Phase::Link => ('L', "requests, or the conn, waited for the connection to an upstream"),
            Phase::Request => ('R', "requests waited for the answer of a CLI, no turn ran"),
            Phase::Turn => ('T', "a turn ran"),
            Phase::Bytes => ('B', "bytes were relayed, or could be"),
        }
    }
}

/// Who, and in which phase: `CI` is a client that left while idle, `UT` a CLI that was lost in mid-turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Termination(pub EndedBy, pub Phase);

impl Termination {
    /// It came to its own end.
    pub const DONE: Termination = Termination(EndedBy::Nobody, Phase::Done);
}

impl fmt::Display for Termination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.0.told().0, self.1.told().0)
    }
}
