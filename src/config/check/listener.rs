//! One `[[listener]]`: where clients connect, and how it is known who they are.

use std::net::SocketAddr;
use std::ops::Range;

use toml::Spanned;

use super::{World, callers, edge, effect, http, identity, methods, tcp};
use crate::caller::{Proof, Trust};
use crate::config::file::Problems;
use crate::config::keys;
use crate::config::model::{Authentication, Listener, Protocol, Sessions, UnknownSessions};
use crate::config::reader::Reader;
use crate::config::values::{self, WEEK};
use crate::time::Duration;

/// Idle time before TCP probes a client that says nothing.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// What was understood of a listener, for the comparison with the others.
pub(super) struct Draft {
    pub(super) name: Option<Spanned<String>>,
    pub(super) bind: Option<Spanned<SocketAddr>>,
    pub(super) pool: Option<Spanned<String>>,
    /// The pools of its routes.
    pub(super) route_pools: Vec<Spanned<String>>,
    /// What it says itself.
    pub(super) unknown_sessions: Option<UnknownSessions>,
    /// Where a remark on that belongs.
    pub(super) unknown_sessions_at: Range<usize>,
    /// Nothing only if a problem was reported.
    pub(super) listener: Option<Listener>,
}

pub(super) fn read(r: &Reader<'_>, world: &World<'_>, problems: &Problems<'_>) -> Draft {
    let name = r.require("name", values::name);
    let bind = r.require("bind", values::address);
    let pool = r.require("pool", values::string);
    let protocol = r.or("protocol", values::word(Protocol::WORDS), Protocol::Jsonrpc);
    of_sessions(r, protocol, problems);
    let insecure = r.or("insecure", values::boolean, false);
    let keepalive = r.or("tcp_keepalive", values::duration(Duration::ZERO..=WEEK), KEEPALIVE);
    let tls = r.table("tls", &keys::TLS).map(|r| edge::tls(&r, protocol, world, problems));
    let tcp = tcp::read(r, protocol, problems);
    let proxy_protocol = r.table("proxy_protocol", &keys::PROXY_PROTOCOL);
    let proxy_protocol = proxy_protocol.map(|r| edge::proxy_protocol(&r, problems));
    let identities = r.tables("identity", &keys::IDENTITY);
    // All of them first: a collect into an option would stop at the first problem.
    let read: Vec<_> =
        identities.iter().map(|r| identity::read(r, protocol, world, problems)).collect();
    let proofs: Vec<_> = read.iter().filter_map(|read| read.proof).collect();
    edge::evidence(r, &identities, problems);
    let identity: Option<Vec<_>> = read.into_iter().map(|read| read.identity).collect();
    let authentication = authentication(r, &proofs, problems);
    let proves = proofs.iter().any(proves);
    let trust = if proves { Trust::User } else { Trust::Backend };
    let trust = r.or("trust", values::word(Trust::WORDS), trust);
    if let Some(identity) = &identity {
        effect::trust(r, protocol, identity, problems);
    }
    let required_id = r.read("session_id_required_pattern", values::id_pattern);
    let sessions = r.or("sessions", values::word(Sessions::WORDS), Sessions::Persistent);
    let ephemeral_pattern = r.read("ephemeral_pattern", values::id_pattern);
    if sessions == Sessions::Ephemeral && ephemeral_pattern.is_some() {
        problems.warn(
            &r.place_of("ephemeral_pattern"),
            "ephemeral_pattern has no effect with sessions = \"ephemeral\"",
        );
    }
    let unknown_sessions = r.read("unknown_sessions", values::word(UnknownSessions::WORDS));
    let callers = callers::read(r, problems);
    let (allow, deny) = methods::read(r, problems);
    let (http, routes) = http::read(r, protocol, world, problems);
    let (routes, route_pools): (Vec<_>, Vec<_>) = routes.into_iter().unzip();
    if let (Some(cookie), Some(pool)) = (&http.cookie, &pool) {
        http::own_cookies(cookie, pool.get_ref(), &routes, &identities, problems);
    }
    if let Some(bind) = &bind {
        reach(r, bind, authentication, insecure, problems);
        edge::in_the_clear(r, bind, &proofs, problems);
    }
    // Wrong tables leave problems, so that no configuration comes of them.
    let (tls, proxy_protocol) = (tls.flatten(), proxy_protocol.flatten());
    let listener = match (&name, &bind, &pool, identity) {
        (Some(name), Some(bind), Some(pool), Some(identity)) => Some(Listener {
            name: name.get_ref().clone(),
            bind: *bind.get_ref(),
            protocol,
            pool: pool.get_ref().clone(),
            insecure,
            tcp_keepalive: (!keepalive.is_zero()).then_some(keepalive),
            tls,
            tcp,
            proxy_protocol,
            identity,
            authentication,
            trust,
            required_id,
            sessions,
            ephemeral_pattern,
            unknown_sessions: UnknownSessions::Deny,
            callers,
            allow,
            deny,
            http,
            routes,
        }),
        (_, _, _, _) => None,
    };
    let unknown_sessions_at = r.place_of("unknown_sessions");
    Draft { name, bind, pool, route_pools, unknown_sessions, unknown_sessions_at, listener }
}

fn proves(proof: &Proof) -> bool {
    !matches!(proof, Proof::SessionId | Proof::Nothing)
}

/// Who is let in. By default nobody who presents nothing, where something is asked for that can be presented.
fn authentication(r: &Reader<'_>, proofs: &[Proof], problems: &Problems<'_>) -> Authentication {
    let asks = proofs.iter().any(|proof| match proof {
        Proof::Token | Proof::Jwt | Proof::Mtls | Proof::ProxyTlv | Proof::Header => true,
        Proof::SourceIp | Proof::SessionId | Proof::Nothing => false,
    });
    let default = if asks { Authentication::Required } else { Authentication::Optional };
    let read = r.or("authentication", values::word(Authentication::WORDS), default);
    let proves = proofs.iter().any(proves);
    if read == Authentication::Required && !proves && proofs.len() == r.items("identity").len() {
        problems.error(
            &r.place_of("authentication"),
            "authentication = \"required\", but no [[listener.identity]] proves who calls: nobody could connect",
        );
    }
    read
}

/// What can be reached from other machines should ask who calls.
fn reach(
    r: &Reader<'_>,
    bind: &Spanned<SocketAddr>,
    authentication: Authentication,
    insecure: bool,
    problems: &Problems<'_>,
) {
    let (at, bind) = (bind.span(), bind.get_ref());
    let open = !bind.ip().is_loopback() && authentication == Authentication::Optional;
    match (open, insecure) {
        (true, false) => problems.error(
            &at,
            format!(
                "{bind} can be reached from other machines and no caller is authenticated: bind a loopback address, \
                 require authentication (see [[listener.identity]]), or accept it with insecure = true"
            ),
        ),
        (true, true) => problems.warn(
            &at,
            format!("{bind} can be reached from other machines, and who reaches it need prove nothing: everybody is served"),
        ),
        (false, true) if !bind.ip().is_loopback() => problems.warn(
            &r.place_of("insecure"),
            "insecure = true has no effect: authentication is required here",
        ),
        (false, _) => {}
    }
}

/// Keys that say something of sessions of CLIs, where nothing is known of those.
fn of_sessions(r: &Reader<'_>, protocol: Protocol, problems: &Problems<'_>) {
    const KEYS: [&str; 6] = [
        "session_id_required_pattern",
        "sessions",
        "ephemeral_pattern",
        "unknown_sessions",
        "allow",
        "deny",
    ];
    if protocol == Protocol::Jsonrpc {
        return;
    }
    for key in KEYS.into_iter().filter(|key| r.raw(key).is_some()) {
        let message = format!("{key} belongs to protocol = \"jsonrpc\"");
        problems.error(&r.place_of(key), message);
    }
}
