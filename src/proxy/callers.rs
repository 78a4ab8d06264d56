//! What a listener keeps of those who call, besides their conns: how many conns they have, how often they ask, and from
//! where wrong tokens come. Asked when a conn comes, and when it says whose it is; a message asks its caller's
//! [`Share`] alone.
//!
//! Everything is bounded: what is counted of conns by the conns, shares by [`KEPT`] besides, and wrong tokens by a table
//! of fixed size. Who rests is forgotten. Never decides who somebody is.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use ahash::{AHashMap, RandomState};
use parking_lot::Mutex;

use crate::caller::{Caller, Owner, Proof};
use crate::config::CallerLimits;
use crate::rate::{Meter, Rate, Share};
use crate::time::{Duration, Instant};

/// Shares that are remembered though no conn has them, because their callers would else begin anew by connecting again.
const KEPT: usize = 16 * 1024;

/// Below so many shares, nobody looks for those that can be forgotten.
const FEW: usize = 1024;

/// Meters in each row of [`Failures`].
const COLUMNS: u64 = 8 * 1024;

/// In which wrong tokens are counted.
const MINUTE: Duration = Duration::from_secs(60);

/// An address, as far as it is one party's: IPv4 as it is, of IPv6 the first 64 bits, because whoever has one address
/// there has all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Site(IpAddr);

impl Site {
    /// Where this address is.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            v4 @ IpAddr::V4(_) => Site(v4),
            IpAddr::V6(v6) => Site(IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (!0 << 64)))),
        }
    }
}

/// Whose conns are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// One who proved who it is.
    Proven(Owner),
    /// Those from one place who proved nothing.
    From(Site),
}

impl Who {
    /// Of this caller, at this address.
    pub fn of(caller: &Caller, address: IpAddr) -> Self {
        match caller.proof {
            Proof::Nothing | Proof::SessionId => Who::From(Site::of(address)),
            Proof::Token
            | Proof::Jwt
            | Proof::Mtls
            | Proof::ProxyTlv
            | Proof::SourceIp
            | Proof::Header => {
                Who::Proven(Owner { realm: caller.realm.clone(), user: caller.user.clone() })
            }
        }
    }
}

/// So many conns for each, at most.
pub struct Seats<K> {
    most: usize,
    taken: Mutex<AHashMap<K, usize>>,
}

impl<K: Hash + Eq + Clone> Seats<K> {
    fn new(most: usize) -> Arc<Self> {
        Arc::new(Seats { most, taken: Mutex::default() })
    }

    /// A seat for one more conn of `who`; `None`: all are taken.
    pub fn take(self: &Arc<Self>, who: K) -> Option<Seat<K>> {
        let mut taken = self.taken.lock();
        let count = taken.entry(who.clone()).or_default();
        // With no seat at all there is no entry that stays: `most` is 1 at least.
        if *count >= self.most {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Seat { seats: Arc::clone(self), who })
    }
}

/// One conn in the count, until dropped.
pub struct Seat<K: Hash + Eq> {
    seats: Arc<Seats<K>>,
    who: K,
}

impl<K: Hash + Eq> Seat<K> {
    /// Whose it is.
    pub fn who(&self) -> &K {
        &self.who
    }
}

impl<K: Hash + Eq> Drop for Seat<K> {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock();
        if let Some(count) = taken.get_mut(&self.who) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.who);
            }
        }
    }
}

/// How often each caller may ask.
struct Shares {
    rate: Rate,
    known: Mutex<Known>,
}

struct Known {
    shares: AHashMap<Who, Arc<Share>>,
    /// How many there may be before those that can be forgotten are looked for.
    sweep_at: usize,
}

impl Shares {
    fn new(rate: Rate) -> Self {
        Shares { rate, known: Mutex::new(Known { shares: AHashMap::new(), sweep_at: FEW }) }
    }

    fn of(&self, who: &Who, now: Instant) -> Arc<Share> {
        let mut known = self.known.lock();
        if let Some(share) = known.shares.get(who) {
            return Arc::clone(share);
        }
        if known.shares.len() >= known.sweep_at {
            known.sweep(now);
        }
        let share = Arc::new(Share::new(self.rate));
        known.shares.insert(who.clone(), Arc::clone(&share));
        share
    }
}

impl Known {
    fn sweep(&mut self, now: Instant) {
        let held = |share: &Arc<Share>| Arc::strong_count(share) > 1;
        self.shares.retain(|_, share| held(share) || !share.is_rested(now));
        let idle = self.shares.values().filter(|share| !held(share)).count();
        if idle > KEPT {
            self.shares.retain(|_, share| held(share));
        }
        self.shares.shrink_to(FEW);
        self.sweep_at = (2 * self.shares.len()).max(FEW);
    }
}

/// From where wrong tokens come, and how many. Each place has a meter in each of two rows, by hashes that nobody outside
/// can know; it failed too often if both say so. So the table never grows, and a place is mistaken for others only if it
/// meets one in each row.
struct Failures {
    rate: Rate,
    hashes: [RandomState; 2],
    rows: [Box<[Meter]>; 2],
}

impl Failures {
    fn new(rate: Rate) -> Self {
        let row = || (0..COLUMNS).map(|_| Meter::default()).collect();
        Failures { rate, hashes: [RandomState::new(), RandomState::new()], rows: [row(), row()] }
    }

    fn meters(&self, site: Site) -> impl Iterator<Item = &Meter> {
        let rows = self.rows.iter().zip(&self.hashes);
        rows.filter_map(move |(row, hash)| row.get((hash.hash_one(site) % COLUMNS) as usize))
    }

    /// How long nothing more is looked at from there.
    fn wait(&self, site: Site, now: Instant) -> Option<Duration> {
        let waits = self.meters(site).map(|meter| meter.wait(&self.rate, now));
        // As long as one of them says now, it is now.
        waits.min().flatten()
    }

    fn count(&self, site: Site, now: Instant) {
        for meter in self.meters(site) {
            // An error: it has failed too often as far as this one knows.
            let _ = meter.take(&self.rate, now);
        }
    }
}

/// See the module's head. Without a bound nothing is kept.
pub struct Callers {
    all: Option<Arc<Seats<()>>>,
    sites: Option<Arc<Seats<Site>>>,
    callers: Option<Arc<Seats<Who>>>,
    shares: Option<Shares>,
    failures: Option<Failures>,
}

/// A conn in the counts of its listener and its address, until dropped.
pub struct Entry {
    _all: Option<Seat<()>>,
    _site: Option<Seat<Site>>,
}

impl Callers {
    /// Nobody called yet. `tokens`: whether tokens are taken at all.
    pub fn new(limits: &CallerLimits, tokens: bool, now: Instant) -> Self {
        let failed = limits.max_failed_connects.filter(|_| tokens);
        Callers {
            all: limits.max_conns.map(Seats::new),
            sites: limits.max_conns_per_address.map(Seats::new),
            callers: limits.max_conns_per_caller.map(Seats::new),
            shares: limits.rate.map(|r| Shares::new(Rate::new(r.requests, r.per, r.burst, now))),
            failures: failed.map(|most| Failures::new(Rate::new(most, MINUTE, most, now))),
        }
    }

    /// Counts a conn that was accepted. Fails with the word for the metrics if it is one too many.
    pub fn enter(&self, address: IpAddr) -> Result<Option<Box<Entry>>, &'static str> {
        if self.all.is_none() && self.sites.is_none() {
            return Ok(None);
        }
        let all = self.all.as_ref().map(|seats| seats.take(()).ok_or("max_conns"));
        let site = Site::of(address);
        let of_site = |seats: &Arc<Seats<Site>>| seats.take(site).ok_or("max_conns_per_address");
        let site = self.sites.as_ref().map(of_site);
        Ok(Some(Box::new(Entry { _all: all.transpose()?, _site: site.transpose()? })))
    }

    /// The seats of callers, if they are counted.
    pub fn seats(&self) -> Option<&Arc<Seats<Who>>> {
        self.callers.as_ref()
    }

    /// How often this one may ask; `None`: as often as it likes.
    pub fn share(&self, who: &Who, now: Instant) -> Option<Arc<Share>> {
        self.shares.as_ref().map(|shares| shares.of(who, now))
    }

    /// How long no token from there is looked at, because too many were wrong.
    pub fn wait(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        self.failures.as_ref().and_then(|failures| failures.wait(Site::of(address), now))
    }

    /// A token from there was wrong.
    pub fn failed(&self, address: IpAddr, now: Instant) {
        if let Some(failures) = &self.failures {
            failures.count(Site::of(address), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::{Realm, Trust};
    use crate::config::CallerRate;
    use crate::time;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn nth(n: u32) -> Who {
        Who::From(Site::of(IpAddr::V4(n.into())))
    }

    fn limits() -> CallerLimits {
        CallerLimits {
            max_conns: None,
            max_conns_per_address: None,
            max_conns_per_caller: None,
            max_failed_connects: None,
            rate: None,
        }
    }

    #[test]
    fn a_site_is_an_ipv4_address_or_64_bits_of_ipv6() {
        let same = |a: &str, b: &str| Site::of(ip(a)) == Site::of(ip(b));
        assert!(same("10.0.0.1", "::ffff:10.0.0.1"));
        assert!(same("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff"));
        assert!(!same("2001:db8:0:1::1", "2001:db8:0:2::1"));
        assert!(!same("10.0.0.1", "10.0.0.2"));
    }

    #[test]
    fn who_proved_who_it_is_is_one_wherever_it_is() {
        let proof = |proof| Caller {
            realm: Realm::Common,
            user: Some("al".into()),
            proof,
            trust: Trust::User,
        };
        let who = |p, at: &str| Who::of(&proof(p), ip(at));
        assert_eq!(who(Proof::Token, "10.0.0.1"), who(Proof::Jwt, "10.0.0.2"));
        assert_ne!(who(Proof::SessionId, "10.0.0.1"), who(Proof::SessionId, "10.0.0.2"));
        assert_eq!(who(Proof::Nothing, "10.0.0.1"), who(Proof::SessionId, "10.0.0.1"));
    }

    #[test]
    fn a_seat_is_free_again_when_it_is_dropped() {
        let seats = Seats::new(2);
        let (one, two) = (seats.take(1), seats.take(1));
        assert!(one.is_some() && two.is_some() && seats.take(1).is_none());
        assert!(seats.take(2).is_some());
        drop(one);
        assert!(seats.take(1).is_some());
        drop(two);
        assert!(seats.taken.lock().is_empty());
    }

    #[test]
    fn a_conn_that_its_address_may_not_have_takes_no_seat_of_the_listener() {
        let now = time::now();
        let limits =
            CallerLimits { max_conns: Some(2), max_conns_per_address: Some(1), ..limits() };
        let callers = Callers::new(&limits, true, now);
        let enter = |at: &str| callers.enter(ip(at)).map(|entry| entry.map(|_| ()));
        let held = callers.enter(ip("10.0.0.1")).unwrap();
        assert_eq!(enter("::ffff:10.0.0.1"), Err("max_conns_per_address"));
        let other = callers.enter(ip("10.0.0.2")).unwrap();
        assert_eq!(enter("10.0.0.3"), Err("max_conns"));
        drop(held);
        assert_eq!(enter("10.0.0.3"), Ok(Some(())));
        drop(other);
    }

    #[test]
    fn without_bounds_nothing_is_kept() {
        let callers = Callers::new(&limits(), true, time::now());
        assert!(callers.enter(ip("10.0.0.1")).unwrap().is_none());
        assert!(callers.share(&nth(1), time::now()).is_none() && callers.seats().is_none());
    }

    fn shares() -> (Shares, Instant) {
        let now = time::now();
        (Shares::new(Rate::new(1, Duration::from_secs(10), 1, now)), now)
    }

    #[test]
    fn conns_of_one_caller_share_and_a_new_conn_does_not_begin_anew() {
        let (shares, now) = shares();
        let (one, two) = (shares.of(&nth(1), now), shares.of(&nth(1), now));
        assert!(one.take(now).is_ok() && two.take(now).is_err());
        drop((one, two));
        for n in 2..2 * FEW as u32 {
            shares.of(&nth(n), now);
        }
        assert!(shares.of(&nth(1), now).take(now).is_err());
        assert!(shares.of(&nth(2), now).take(now).is_ok());
    }

    #[test]
    fn who_rests_is_forgotten_and_who_is_there_is_not() {
        let (shares, now) = shares();
        let held = shares.of(&nth(0), now);
        let most = 4 * KEPT as u32;
        let mut peak = 0;
        for n in 1..most {
            // All owe something: the worst case.
            let _ = shares.of(&nth(n), now).take(now);
            peak = peak.max(shares.known.lock().shares.len());
        }
        assert!(peak <= 2 * (KEPT + 1) + 1, "{peak}");
        assert!(Arc::ptr_eq(&held, &shares.of(&nth(0), now)));
        let later = now + Duration::from_secs(10);
        shares.known.lock().sweep(later);
        assert_eq!(shares.known.lock().shares.len(), 1);
    }

    #[test]
    fn a_rate_is_the_configured_one() {
        let (now, rate) = (time::now(), CallerRate { requests: 2, per: MINUTE, burst: 3 });
        let callers = Callers::new(&CallerLimits { rate: Some(rate), ..limits() }, true, now);
        let share = callers.share(&nth(1), now).unwrap();
        assert_eq!((0..9).filter(|_| share.take(now).is_ok()).count(), 3);
        assert_eq!(share.take(now), Err(MINUTE / 2));
    }

    #[test]
    fn wrong_tokens_from_one_place_close_it_for_a_while_and_no_other() {
        let now = time::now();
        let limits = CallerLimits { max_failed_connects: Some(3), ..limits() };
        let callers = Callers::new(&limits, true, now);
        let (here, near) = (ip("2001:db8::1"), ip("2001:db8::2"));
        for _ in 0..3 {
            assert_eq!(callers.wait(here, now), None);
            callers.failed(near, now);
        }
        assert_eq!(callers.wait(here, now), Some(MINUTE / 3));
        assert_eq!(callers.wait(here, now + MINUTE / 3), None);
        let others = (0..1000u32).map(|n| IpAddr::V4((n << 8).into()));
        assert_eq!(others.filter(|other| callers.wait(*other, now).is_some()).count(), 0);
        assert_eq!(Callers::new(&limits, false, now).wait(here, now), None);
    }

    #[test]
    fn hundreds_of_closed_places_close_next_to_no_other() {
        let now = time::now();
        let failures = Failures::new(Rate::new(1, MINUTE, 1, now));
        let site = |n: u32| Site::of(IpAddr::V4(n.into()));
        (0..800).for_each(|n| failures.count(site(n), now));
        let closed = (1000..11_000).filter(|n| failures.wait(site(*n), now).is_some()).count();
        // A tenth of each row is taken: a hundredth of all meet it in both.
        assert!(closed < 300, "{closed}");
    }
}
