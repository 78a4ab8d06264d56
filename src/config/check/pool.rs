//! One `[[pool]]`: the CLIs, or how to start them, and how sessions find theirs.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use super::{World, edge, effect, health, tables};
use crate::config::file::Problems;
use crate::config::keys;
use crate::config::model::{
    Address, Affinity, Balance, CreateExisting, EnvValue, Grant, Home, Managed, Pool, SendProxy,
    Storage, UnknownSessions, Upstream, Upstreams,
};
use crate::config::problem::names_secret;
use crate::config::reader::Reader;
use crate::config::secret::{Secret, SecretSource};
use crate::config::values::{self, MS, Read, WEEK};
use crate::health::outlier::Rule;
use crate::time::Duration;

const MAX_WEIGHT: u32 = 1000;
pub(super) const MAX_SESSIONS: u32 = 1_000_000;
/// CLIs that one fairlead starts for a pool.
const MAX_COUNT: u32 = 1000;
/// How long a client has to come back to its ephemeral session.
const GRACE: Duration = Duration::from_secs(10);
/// By default a CLI may have a quarter more than the average.
const FACTOR: f64 = 1.25;

/// What was understood of a pool, for the comparison with the others.
pub(super) struct Draft {
    pub(super) name: Option<Spanned<String>>,
    /// Where a remark on its balance belongs.
    pub(super) balance_at: Range<usize>,
    /// The places of its upstreams, in order.
    pub(super) upstreams: Vec<Spanned<Upstream>>,
    /// Where a remark on its grace belongs, if it has one of its own.
    pub(super) ephemeral_grace_at: Option<Range<usize>>,
    /// Where its TLS is, if it has any.
    pub(super) tls_at: Option<Range<usize>>,
    /// Where a remark on the header that its upstreams are sent belongs.
    pub(super) send_proxy_at: Range<usize>,
    /// Where it says how it is probed, if it does.
    pub(super) probe_at: Option<Range<usize>>,
    /// Where it says what counts with some listeners alone.
    pub(super) said: Vec<(&'static str, Range<usize>)>,
    /// Whether it says itself how uneven its load may be.
    pub(super) has_factor: bool,
    /// For its listeners that do not say it themselves.
    pub(super) unknown_sessions: Option<UnknownSessions>,
    /// Nothing only if a problem was reported.
    pub(super) pool: Option<Pool>,
}

pub(super) fn read(r: &Reader<'_>, world: &World<'_>, problems: &Problems<'_>) -> Draft {
    let name = r.require("name", pool_name);
    let token = match r.raw("token") {
        Some(value) => secret("token", value, world, problems).map(Some),
        None => Some(None),
    };
    let storage = r.or("storage", values::word(Storage::WORDS), Storage::Own);
    let (upstreams, fixed) = upstreams(r, world, storage, problems);
    let balance = balance(r, problems);
    let create_existing =
        r.or("create_existing", values::word(CreateExisting::WORDS), CreateExisting::Resume);
    let grace = values::duration(Duration::ZERO..=WEEK);
    let ephemeral_grace = r.or("ephemeral_grace", grace, GRACE);
    let tls = r.table("tls", &keys::POOL_TLS);
    let tls_at = tls.as_ref().map(|r| r.at.clone());
    let tls = tls.map(|r| edge::pool_tls(&r, world, problems));
    let outlier = r.table("outlier", &keys::OUTLIER).map(|r| outlier(&r));
    let send_proxy = r.read("send_proxy", values::word(SendProxy::WORDS));
    let (health, probe_at) = health::read(r, problems);
    let caps = tables::caps(r, problems);
    let unknown_sessions = r.read("unknown_sessions", values::word(UnknownSessions::WORDS));
    let grants: Vec<_> =
        r.tables("grant", &keys::GRANT).iter().map(|g| grant(g, problems)).collect();
    let grants: Option<Vec<_>> = grants.into_iter().collect();
    // Wrong tables leave problems, so that no configuration comes of them.
    let tls = tls.flatten();
    let pool = match (&name, upstreams, token, grants) {
        (Some(name), Some(upstreams), Some(token), Some(grants)) => Some(Pool {
            name: name.get_ref().clone(),
            upstreams,
            balance,
            storage,
            create_existing,
            ephemeral_grace,
            token,
            tls,
            send_proxy,
            health,
            outlier,
            caps,
            grants,
        }),
        (_, _, _, _) => None,
    };
    let balance_at = r.place_of(if r.raw("affinity").is_some() { "affinity" } else { "balance" });
    let send_proxy_at = r.place_of("send_proxy");
    let own_grace = r.raw("ephemeral_grace").is_some();
    let ephemeral_grace_at = own_grace.then(|| r.place_of("ephemeral_grace"));
    let upstreams = fixed;
    Draft {
        name,
        balance_at,
        upstreams,
        ephemeral_grace_at,
        tls_at,
        send_proxy_at,
        probe_at,
        said: effect::said(r),
        has_factor: r.raw("balance_factor").is_some(),
        unknown_sessions,
        pool,
    }
}

/// Who fails too often.
fn outlier(r: &Reader<'_>) -> Rule {
    let time = || values::duration(MS..=WEEK);
    let base = r.or("ejection_time", time(), Duration::from_secs(30));
    Rule {
        failures: r.or("failures", values::integer(1..=1_000_000), 5),
        base,
        most: r.or("max_ejection_time", time(), Duration::from_secs(300)).max(base),
        share: r.or("max_ejected", values::number(0.0..=0.99), 0.5),
    }
}

/// A pool's folder in `state_dir` has its name.
fn pool_name(value: &DeValue<'_>) -> Read<String> {
    /// What fairlead itself has there.
    const OURS: [&str; 5] =
        ["ledger", "lock", "managed.json", "managed.json.bad", "managed.json.new"];
    let name = values::name(value)?;
    if OURS.contains(&name.as_str()) {
        return Err(
            format!("{name:?} is what a file of fairlead's own in state_dir is called").into()
        );
    }
    Ok(name)
}

/// Nothing only if a problem was reported.
fn grant(r: &Reader<'_>, problems: &Problems<'_>) -> Option<Grant> {
    let session = r.require("session", values::id_pattern);
    let tenants = r.or("tenants", values::names, Vec::new());
    let users = r.or("users", values::names, Vec::new());
    if r.raw("tenants").is_none() && r.raw("users").is_none() {
        problems.missing(&r.at, "a [[pool.grant]] needs tenants, users or both: it lets nobody in");
    } else if tenants.is_empty() && users.is_empty() {
        problems.error(&r.at, "this [[pool.grant]] lets nobody in");
    }
    Some(Grant { session: session?.into_inner(), tenants, users })
}

fn balance(r: &Reader<'_>, problems: &Problems<'_>) -> Balance {
    let affinity = r.or("affinity", values::word(Affinity::WORDS), Affinity::User);
    let factor = r.or("balance_factor", values::number(1.01..=100.0), FACTOR);
    let consistent = Balance::Consistent { affinity, factor };
    let balance = match r.or("balance", values::word(BALANCES), Kind::LeastLoaded) {
        Kind::RoundRobin => Balance::RoundRobin,
        Kind::LeastLoaded => Balance::LeastLoaded,
        Kind::Consistent => return consistent,
    };
    for key in ["affinity", "balance_factor"] {
        if r.raw(key).is_some() {
            let message = format!("{key} has no effect without balance = \"consistent\"");
            problems.warn(&r.place_of(key), message);
        }
    }
    balance
}

#[derive(Clone, Copy)]
enum Kind {
    RoundRobin,
    LeastLoaded,
    Consistent,
}

const BALANCES: &[(&str, Kind)] = &[
    ("round_robin", Kind::RoundRobin),
    ("least_loaded", Kind::LeastLoaded),
    ("consistent", Kind::Consistent),
];

/// The CLIs (nothing only if a problem was reported), and the fixed ones with their places.
fn upstreams(
    r: &Reader<'_>,
    world: &World<'_>,
    storage: Storage,
    problems: &Problems<'_>,
) -> (Option<Upstreams>, Vec<Spanned<Upstream>>) {
    let managed = r.table("managed", &keys::MANAGED);
    let Some(list) = r.raw("upstreams") else {
        if r.raw("managed").is_none() {
            let message = "a [[pool]] needs upstreams = [...] or [pool.managed]";
            problems.missing(&r.at, message);
        }
        let managed = managed.and_then(|m| read_managed(&m, world, storage, problems));
        return (managed.map(Upstreams::Managed), Vec::new());
    };
    let items = r.items("upstreams");
    if list.get_ref().as_array().is_some_and(|list| list.is_empty()) {
        problems.error(&list.span(), "upstreams is empty: a [[pool]] needs at least one CLI");
    }
    let fixed: Vec<_> = items.iter().map(|item| upstream(item, problems)).collect();
    let known: Vec<_> = fixed.iter().flatten().cloned().collect();
    if let Some(managed) = managed {
        problems.error(&managed.at, "a [[pool]] has upstreams or [pool.managed], not both");
        // For its own problems.
        read_managed(&managed, world, storage, problems);
        return (None, known);
    }
    let all: Option<Vec<_>> = fixed.into_iter().map(|u| u.map(Spanned::into_inner)).collect();
    (all.filter(|all| !all.is_empty()).map(Upstreams::Fixed), known)
}

fn upstream<'a>(
    item: &'a Spanned<DeValue<'a>>,
    problems: &'a Problems<'a>,
) -> Option<Spanned<Upstream>> {
    let value = item.get_ref();
    let Some(table) = value.as_table() else {
        return match values::peer(value) {
            Ok(address) => {
                hides(&address, false, &item.span(), problems);
                let (name, headless) = (address.to_string(), false);
                let upstream = Upstream { name, address, headless, weight: 1, max_sessions: None };
                Some(Spanned::new(item.span(), upstream))
            }
            Err(complaint) => {
                let message = format!("upstreams: {}", complaint.message);
                problems.suggest(&item.span(), message, complaint.suggestion);
                None
            }
        };
    };
    let r = Reader::open(&keys::UPSTREAM, table, item.span(), problems);
    let address = r.require("address", values::peer);
    let name = r.read_at("name", values::upstream_name);
    let headless = r.or("headless", values::boolean, false);
    let weight = r.or("weight", values::integer(1..=MAX_WEIGHT), 1);
    let max_sessions = r.read("max_sessions", values::integer(1..=MAX_SESSIONS));
    let address = address?;
    let at = address.span();
    let address = address.into_inner();
    if let (Address::Name { .. }, Some(name)) = (&address, &name) {
        let message = format!("the upstreams that {address} names are called by their addresses");
        problems.error(&name.span(), message);
    }
    hides(&address, headless, &at, problems);
    if headless && !address.is_service() {
        let message = "headless has no effect: this is not the full name of a Service";
        problems.warn(&r.place_of("headless"), message);
    }
    let name = name.map_or_else(|| address.to_string(), Spanned::into_inner);
    Some(Spanned::new(at, Upstream { name, address, headless, weight, max_sessions }))
}

/// One address may hide many pods: whether it does, nothing in a name tells.
fn hides(address: &Address, headless: bool, at: &Range<usize>, problems: &Problems<'_>) {
    if address.is_service() && !headless {
        problems.warn(
            at,
            format!(
                "unless the Service {address} is headless (clusterIP: None), its name has one address for all of its pods, and \
                 fairlead would take them for one upstream; if it is, say so: {{ address = \"{address}\", headless = true }}"
            ),
        );
    }
}

/// Nothing only if a problem was reported.
fn read_managed(
    r: &Reader<'_>,
    world: &World<'_>,
    storage: Storage,
    problems: &Problems<'_>,
) -> Option<Managed> {
    let command = r.require("command", values::command);
    let count = r.require("count", values::integer(1..=MAX_COUNT));
    let env = env(r, world, problems);
    let home = r.or("home", values::word(Home::WORDS), Home::Cli);
    shared_home(r, home, storage, problems);
    let time = |key, seconds| r.or(key, values::duration(MS..=WEEK), Duration::from_secs(seconds));
    let ready_deadline = time("ready_deadline", 60);
    let stop_timeout = time("stop_timeout", 15);
    let restart_backoff_min = time("restart_backoff_min", 1);
    let restart_backoff_max = time("restart_backoff_max", 60);
    backoffs(r, restart_backoff_min, restart_backoff_max, problems);
    let max_sessions = r.read("max_sessions", values::integer(1..=MAX_SESSIONS));
    let weight = r.or("weight", values::integer(1..=MAX_WEIGHT), 1);
    // Everything is read by now: nothing above may leave early.
    Some(Managed {
        command: command?.into_inner(),
        count: count?.into_inner(),
        env: env?,
        home,
        ready_deadline,
        stop_timeout,
        restart_backoff_min,
        restart_backoff_max,
        max_sessions,
        weight,
    })
}

fn backoffs(r: &Reader<'_>, min: Duration, max: Duration, problems: &Problems<'_>) {
    if max < min {
        let given = ["restart_backoff_max", "restart_backoff_min"];
        let key =
            given.into_iter().find(|key| r.raw(key).is_some()).unwrap_or("restart_backoff_max");
        let message = format!(
            "restart_backoff_max ({}) is below restart_backoff_min ({})",
            values::show_duration(max),
            values::show_duration(min),
        );
        problems.error(&r.place_of(key), message);
    }
}

fn shared_home(r: &Reader<'_>, home: Home, storage: Storage, problems: &Problems<'_>) {
    match (home, storage) {
        (Home::Cli, Storage::Own) | (Home::Pool, Storage::Shared) => {}
        (Home::Cli, Storage::Shared) => problems.error(
            &r.place_of("home"),
            "storage = \"shared\" needs home = \"pool\": with a home for each CLI no other CLI finds its sessions",
        ),
        (Home::Pool, Storage::Own) => problems.warn(
            &r.place_of("home"),
            "the CLIs share a home, but with storage = \"own\" (the default) no session moves to another CLI",
        ),
    }
}

/// Nothing only if a problem was reported.
fn env(
    r: &Reader<'_>,
    world: &World<'_>,
    problems: &Problems<'_>,
) -> Option<BTreeMap<String, EnvValue>> {
    let entries = r.entries("env").into_iter();
    // All of them first: a collect into an option would stop at the first problem.
    let read: Vec<_> = entries
        .map(|(key, value)| {
            let name = key.get_ref().as_ref();
            if let Some(why) = not_for_env(name) {
                problems.error(&key.span(), format!("env: {name:?} {why}"));
                return None;
            }
            let value = env_value(name, value, world, problems)?;
            Some((name.to_owned(), value))
        })
        .collect();
    read.into_iter().collect()
}

fn not_for_env(name: &str) -> Option<&'static str> {
    match name {
        "COPILOT_HOME" => Some("is set by fairlead: see home"),
        "COPILOT_CONNECTION_TOKEN" => Some("is set by fairlead: see token of the [[pool]]"),
        _ if name.is_empty() || name.contains(['=', '\0']) => Some("is not a variable's name"),
        _ => None,
    }
}

fn env_value<'a>(
    name: &str,
    value: &'a Spanned<DeValue<'a>>,
    world: &World<'_>,
    problems: &Problems<'_>,
) -> Option<EnvValue> {
    let Some(text) = value.get_ref().as_str() else {
        return secret(&format!("env: {name}"), value, world, problems).map(EnvValue::Secret);
    };
    if text.contains('\0') {
        problems.error(&value.span(), format!("env: {name}: a value cannot have a NUL character"));
        return None;
    }
    if !names_secret(name) {
        return Some(EnvValue::Plain(text.to_owned()));
    }
    problems.warn(
        &value.span(),
        format!("env: {name} looks like a secret: keep it elsewhere with {{ env = \"...\" }} or {{ file = \"...\" }}"),
    );
    Some(EnvValue::Secret(Secret::inline(text.to_owned())))
}

pub(super) fn secret<'a>(
    what: &str,
    value: &'a Spanned<DeValue<'a>>,
    world: &World<'_>,
    problems: &Problems<'_>,
) -> Option<Secret> {
    let Some(table) = value.get_ref().as_table() else {
        let message = format!(
            "{what}: must be {{ env = \"NAME\" }} or {{ file = \"/path\" }}: a secret does not stand in this file"
        );
        problems.error(&value.span(), message);
        return None;
    };
    let r = Reader::open(&keys::SECRET, table, value.span(), problems);
    let env = r.read_at("env", values::string);
    let file = r.read_at("file", values::path);
    let (at, source) = match (env, file) {
        (Some(env), None) => (env.span(), SecretSource::Env(env.into_inner())),
        (None, Some(file)) => (file.span(), SecretSource::File(world.folder.join(file.get_ref()))),
        (Some(_), Some(_)) => {
            problems.error(&r.at, format!("{what}: has env and file; one of them"));
            return None;
        }
        (None, None) => {
            if r.raw("env").or(r.raw("file")).is_none() {
                problems.missing(&r.at, format!("{what}: needs env or file"));
            }
            return None;
        }
    };
    Secret::read(source, world.env)
        .map_err(|why| problems.error(&at, format!("{what}: {why}")))
        .ok()
}
