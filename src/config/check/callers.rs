//! What one listener, one address and one caller may take: the keys of a `[[listener]]` that say so.

use crate::config::file::Problems;
use crate::config::keys;
use crate::config::model::{CallerLimits, CallerRate};
use crate::config::reader::Reader;
use crate::config::values::{self, MS, WEEK};
use crate::time::Duration;

/// As `limits.max_conns`.
const MAX_CONNS: u32 = 10_000_000;
const MAX_REQUESTS: u32 = 1_000_000;
/// Wrong tokens from one address in a minute. No guesser gets far with so few, and clients that share an address are not
/// shut out as soon as some of them come with an old token.
const FAILED_CONNECTS: u32 = 600;

pub(super) fn read(r: &Reader<'_>, problems: &Problems<'_>) -> CallerLimits {
    let conns = |key| r.read(key, values::count(1..=MAX_CONNS));
    let failed = r.or("max_failed_connects", values::integer(0..=MAX_REQUESTS), FAILED_CONNECTS);
    CallerLimits {
        max_conns: conns("max_conns"),
        max_conns_per_address: conns("max_conns_per_address"),
        max_conns_per_caller: conns("max_conns_per_caller"),
        max_failed_connects: (failed > 0).then_some(failed),
        rate: r.table("rate", &keys::RATE).and_then(|r| rate(&r, problems)),
    }
}

/// Nothing only if a problem was reported.
fn rate(r: &Reader<'_>, problems: &Problems<'_>) -> Option<CallerRate> {
    let count = || values::integer(1..=MAX_REQUESTS);
    let requests = r.require("requests", count());
    let per = r.or("per", values::duration(MS..=WEEK), Duration::from_secs(1));
    let burst = r.read("burst", count());
    let requests = requests?.into_inner();
    if per.as_nanos() < u128::from(requests) * 1000 {
        let message = "more than a million requests in a second are as good as no bound";
        problems.error(&r.place_of("requests"), message);
    }
    Some(CallerRate { requests, per, burst: burst.unwrap_or(requests) })
}
