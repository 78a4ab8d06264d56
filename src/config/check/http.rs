//! `[listener.http]` and `[[listener.route]]`.

use toml::Spanned;
use toml::de::DeValue;

use super::World;
use super::pool::secret;
use crate::config::file::Problems;
use crate::config::keys;
use crate::config::model::{Cookie, Http, Protocol, Route};
use crate::config::reader::Reader;
use crate::config::values::{self, MS, Read, WEEK};
use crate::time::Duration;
use crate::wire::cidr::Cidr;
use crate::wire::host::Host;
use crate::wire::target;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);
const YEAR: Duration = Duration::from_hours(365 * 24);
/// The largest head: what Pingora takes.
const MAX_HEAD: u64 = 512 * 1024;
/// More fields than these Pingora does not take.
const MAX_FIELDS: u32 = 250;
/// What one request may hold in memory before it goes on.
const MAX_INSPECTED: u64 = 16 * 1024 * 1024;
const MAX_BODY: u64 = 1 << 40;
const MAX_REQUESTS: u32 = 1_000_000_000;
const MAX_RETRIES: u32 = 10;
/// The shortest secret that is not easily guessed, in bytes.
const SECRET: usize = 16;

/// Reads both; with another protocol they have no place.
pub(super) fn read(
    r: &Reader<'_>,
    protocol: Protocol,
    world: &World<'_>,
    problems: &Problems<'_>,
) -> (Http, Vec<(Route, Spanned<String>)>) {
    if protocol != Protocol::Http {
        for key in ["http", "route"].into_iter().filter(|key| r.raw(key).is_some()) {
            let message = format!("{key} belongs to protocol = \"http\"");
            problems.error(&r.place_of(key), message);
        }
    }
    let http = http(&r.table_or_empty("http", &keys::HTTP), world, problems);
    let routes = r.tables("route", &keys::ROUTE);
    let routes: Vec<_> = routes.iter().filter_map(|r| Some((route(r)?, r))).collect();
    for (n, ((one, _), r)) in routes.iter().enumerate() {
        let same = |((other, _), _): &((Route, _), _)| {
            one.host == other.host && target::meaning(&one.path) == target::meaning(&other.path)
        };
        if routes.iter().take(n).any(same) {
            let message = format!("there is already a route for {} {}", one.host, one.path);
            problems.error(&r.at, message);
        }
    }
    (http, routes.into_iter().map(|(route, _)| route).collect())
}

fn http(r: &Reader<'_>, world: &World<'_>, problems: &Problems<'_>) -> Http {
    let default = Http::default();
    let time = || values::duration(MS..=WEEK);
    let trusted = r.read_at("trusted", values::cidrs);
    if let Some(trusted) = &trusted
        && trusted.get_ref().iter().any(|range: &Cidr| range.prefix() == 0)
    {
        let message =
            "a range of all addresses is trusted: whoever connects can say where it comes from";
        problems.warn(&trusted.span(), message);
    }
    let max_body = r.read("max_body", values::size(0..=MAX_BODY)).filter(|most| *most > 0);
    let http = Http {
        trusted: trusted.map(Spanned::into_inner).unwrap_or_default(),
        max_head: r.or("max_head", values::size(1024..=MAX_HEAD), default.max_head),
        max_target: r.or("max_target", values::size(256..=MAX_HEAD), default.max_target),
        max_fields: r.or("max_fields", values::count(8..=MAX_FIELDS), default.max_fields),
        max_inspected_body: r.or(
            "max_inspected_body",
            values::size(64..=MAX_INSPECTED),
            default.max_inspected_body,
        ),
        max_body,
        head_timeout: r.or("head_timeout", time(), default.head_timeout),
        keep_alive_timeout: r.or("keep_alive_timeout", time(), default.keep_alive_timeout),
        max_requests: r.or("max_requests", values::integer(1..=MAX_REQUESTS), default.max_requests),
        connect_timeout: r.or("connect_timeout", time(), default.connect_timeout),
        first_byte_timeout: r.or("first_byte_timeout", time(), default.first_byte_timeout),
        body_timeout: r.or("body_timeout", time(), default.body_timeout),
        idle_timeout: r.or("idle_timeout", time(), default.idle_timeout),
        retries: r.or("retries", values::integer(0..=MAX_RETRIES), default.retries),
        cookie: r.table("cookie", &keys::COOKIE).and_then(|r| cookie(&r, world, problems)),
    };
    if http.max_target > http.max_head {
        let message = "max_target is larger than max_head, which no head can be";
        problems.error(&r.place_of("max_target"), message);
    }
    http
}

/// Nothing only if a problem was reported.
fn cookie(r: &Reader<'_>, world: &World<'_>, problems: &Problems<'_>) -> Option<Cookie> {
    let name = r.require("name", values::cookie_name);
    let ttl = r.or("ttl", values::duration(SECOND..=YEAR), DAY);
    let secret = match r.raw("secret") {
        Some(value) => {
            let secret = secret("secret", value, world, problems)?;
            if secret.expose().len() < SECRET {
                let message =
                    format!("secret: a secret of less than {SECRET} bytes can be guessed");
                problems.error(&value.span(), message);
            }
            Some(secret)
        }
        None => None,
    };
    Some(Cookie { name: name?.into_inner(), ttl, secret })
}

/// Our cookies say who nobody is: no identity can be in them.
pub(super) fn own_cookies(
    cookie: &Cookie,
    pool: &str,
    routes: &[Route],
    identities: &[Reader<'_>],
    problems: &Problems<'_>,
) {
    let others = routes.iter().filter(|route| route.pool != pool);
    let names = others.map(|route| Cookie::name_for(&cookie.name, &route.pool));
    let names: Vec<String> = names.chain([cookie.name.clone()]).collect();
    for r in identities {
        let text = |key| r.raw(key).and_then(|value| value.get_ref().as_str());
        if text("source") != Some("cookie") {
            continue;
        }
        if let Some(name) = text("name").filter(|name| names.iter().any(|own| own == name)) {
            let message = format!(
                "name: {name:?} is a cookie of [listener.http.cookie]: fairlead writes it, and it names an upstream"
            );
            problems.error(&r.place_of("name"), message);
        }
    }
}

/// Nothing only if a problem was reported.
fn route(r: &Reader<'_>) -> Option<(Route, Spanned<String>)> {
    let host = r.or("host", host, Host::Any);
    let path = r.or("path", path, "/".to_owned());
    let pool = r.require("pool", values::string)?;
    Some((Route { host, path, pool: pool.get_ref().clone() }, pool))
}

fn host(value: &DeValue<'_>) -> Read<Host> {
    let what = "a host such as \"api.example.com\", \"*.example.com\" or \"*\"";
    let text = values::text(value, what)?;
    Host::read(text).ok_or_else(|| format!("{text:?} is not {what}").into())
}

fn path(value: &DeValue<'_>) -> Read<String> {
    let text = values::text(value, "a path such as \"/v1/\"")?;
    if text.contains('*') {
        let why =
            "a * stands for itself, and a path covers all that is below it: \"/v1/\" also /v1/x";
        return Err(format!("{text:?} has a *: {why}").into());
    }
    let is_plain =
        text.starts_with('/') && target::is_plain(text) && !text.contains(['?', '#', ';']);
    if is_plain && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is not a path that all would read alike, such as \"/v1/\"").into())
}
