//! Who is a member by name: decides from what the names of a pool have now and had before. It asks nobody, and has no clock.
//!
//! Only an answer with an address changes anything: one that is empty, or none at all, may be a mistake of those who answer,
//! and whether the upstreams are well their probes say.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::time::{Duration, Instant};

/// How many addresses of one name count.
const MAX_ADDRESSES: usize = 256;

/// The longest pause after a try that came to nothing.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// What is said of the addresses of one family that a name has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// These.
    Addresses(Vec<IpAddr>),
    /// The name is there, and has none.
    Nothing,
    /// There is no such name.
    NoSuchName,
    /// There is no answer, or one that says nothing.
    Failed(String),
}

/// What is said of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its IPv4 addresses; `None`: nobody was asked.
    pub v4: Option<Said>,
    /// Its IPv6 addresses, likewise.
    pub v6: Option<Said>,
    /// How long that holds.
    pub ttl: Duration,
}

/// What came of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The name has addresses.
    Found,
    /// It has, and for one of the families there was no answer.
    Partly,
    /// It has none.
    Empty,
    /// There is no such name.
    NoSuchName,
    /// There was no answer.
    Failed,
}

impl Outcome {
    /// The word for metrics and logs.
    pub const fn slug(self) -> &'static str {
        match self {
            Outcome::Found => "found",
            Outcome::Partly => "partly",
            Outcome::Empty => "empty",
            Outcome::NoSuchName => "no_such_name",
            Outcome::Failed => "failed",
        }
    }

    const fn has_addresses(self) -> bool {
        matches!(self, Outcome::Found | Outcome::Partly)
    }
}

/// What follows from an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Who comes.
    pub add: Vec<SocketAddr>,
    /// Who is named no more.
    pub retire: Vec<SocketAddr>,
    /// When the name is asked for next.
    pub next: Instant,
    /// What it came to.
    pub outcome: Outcome,
    /// It came to something else before, or nobody had asked.
    pub news: bool,
    /// Nobody had asked before.
    pub first: bool,
    /// It had no address before.
    pub resolved: bool,
    /// How many addresses the name has.
    pub addresses: usize,
    /// How many more it would have.
    pub too_many: usize,
}

/// How often a name is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// At most: the shortest time between two tries.
    pub min_ttl: Duration,
    /// At least.
    pub max_ttl: Duration,
}

/// The names of a pool.
#[derive(Debug)]
pub struct Names {
    names: Vec<Name>,
    /// Addresses that are members whatever a name says.
    fixed: BTreeSet<SocketAddr>,
    bounds: Bounds,
}

#[derive(Debug)]
struct Name {
    port: u16,
    v4: BTreeSet<IpAddr>,
    v6: BTreeSet<IpAddr>,
    last: Option<Outcome>,
    resolved: bool,
    /// Tries in a row that came to nothing.
    vain: u32,
}

impl Names {
    /// Names of which nothing is known, by their ports, beside addresses that are fixed.
    pub fn new(ports: &[u16], fixed: BTreeSet<SocketAddr>, bounds: Bounds) -> Self {
        let name = |port: &u16| Name {
            port: *port,
            v4: BTreeSet::new(),
            v6: BTreeSet::new(),
            last: None,
            resolved: false,
            vain: 0,
        };
        Names { names: ports.iter().map(name).collect(), fixed, bounds }
    }

    /// What follows from an answer for the name of this number; `None`: there is no such number.
    pub fn heard(&mut self, number: usize, answer: Answer, now: Instant) -> Option<Step> {
        let before = self.wanted();
        let bounds = self.bounds;
        let name = self.names.get_mut(number)?;
        let v4 = answer.v4.map(only_usable);
        let v6 = answer.v6.map(only_usable);
        let outcome = judge(v4.as_ref(), v6.as_ref());
        let first = name.last.is_none();
        let news = name.last.replace(outcome) != Some(outcome);
        let mut resolved = false;
        let pause = if outcome.has_addresses() {
            resolved = !std::mem::replace(&mut name.resolved, true);
            name.vain = 0;
            take(&mut name.v4, v4);
            take(&mut name.v6, v6);
            answer.ttl.clamp(bounds.min_ttl, bounds.max_ttl)
        } else {
            let longest = MAX_BACKOFF.min(bounds.max_ttl).max(bounds.min_ttl);
            let pause = bounds.min_ttl.saturating_mul(1 << name.vain.min(16));
            name.vain = name.vain.saturating_add(1);
            pause.min(longest)
        };
        let all = name.v4.len() + name.v6.len();
        let after = self.wanted();
        Some(Step {
            add: after.difference(&before).copied().collect(),
            retire: before.difference(&after).copied().collect(),
            next: now + pause,
            outcome,
            news,
            first,
            resolved,
            addresses: all.min(MAX_ADDRESSES),
            too_many: all.saturating_sub(MAX_ADDRESSES),
        })
    }

    /// Everybody who is to be a member.
    fn wanted(&self) -> BTreeSet<SocketAddr> {
        let named = self.names.iter().flat_map(Name::addresses);
        self.fixed.iter().copied().chain(named).collect()
    }
}

impl Name {
    fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let all = self.v4.iter().chain(&self.v6).take(MAX_ADDRESSES);
        all.map(|ip| SocketAddr::new(*ip, self.port))
    }
}

/// An address that nobody can be reached at is none.
fn only_usable(said: Said) -> Said {
    let Said::Addresses(all) = said else { return said };
    let usable = |ip: &IpAddr| !ip.is_unspecified() && !ip.is_multicast();
    // An IPv4 address in IPv6 clothes would be a second upstream.
    let all: Vec<_> = all.into_iter().map(|ip| ip.to_canonical()).filter(usable).collect();
    if all.is_empty() { Said::Nothing } else { Said::Addresses(all) }
}

fn judge(v4: Option<&Said>, v6: Option<&Said>) -> Outcome {
    let any = |which: fn(&Said) -> bool| v4.is_some_and(which) || v6.is_some_and(which);
    let failed = any(|said| matches!(said, Said::Failed(_)));
    if any(|said| matches!(said, Said::Addresses(_))) {
        return if failed { Outcome::Partly } else { Outcome::Found };
    }
    match (failed, any(|said| *said == Said::Nothing)) {
        (true, _) => Outcome::Failed,
        (false, true) => Outcome::Empty,
        (false, false) => Outcome::NoSuchName,
    }
}

/// What a family has now, where the name has anything.
fn take(known: &mut BTreeSet<IpAddr>, said: Option<Said>) {
    match said {
        Some(Said::Addresses(all)) => *known = all.into_iter().collect(),
        Some(Said::Nothing | Said::NoSuchName) | None => known.clear(),
        Some(Said::Failed(_)) => {}
    }
}

#[cfg(test)]
mod tests;
