//! One `[[listener]]`: where clients connect, and how it is known who they are.

use std::net::SocketAddr;

use toml::Spanned;
use toml::de::DeValue;

use super::{World, edge};
use crate::config::file::Problems;
use crate::config::keys;
use crate::config::model::{Identity, Listener, Protocol};
use crate::config::reader::Reader;
use crate::config::values::{self, Complaint, Read, WEEK};
use crate::time::Duration;

/// Idle time before TCP probes a client that says nothing.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// What was understood of a listener, for the comparison with the others.
pub(super) struct Draft {
    pub(super) name: Option<Spanned<String>>,
    pub(super) bind: Option<Spanned<SocketAddr>>,
    pub(super) pool: Option<Spanned<String>>,
    /// Nothing only if a problem was reported.
    pub(super) listener: Option<Listener>,
}

pub(super) fn read(r: &Reader<'_>, world: &World<'_>, problems: &Problems<'_>) -> Draft {
    let name = r.require("name", values::name);
    let bind = r.require("bind", values::address);
    let pool = r.require("pool", values::string);
    let protocol = r.or("protocol", protocol, Protocol::Jsonrpc);
    let insecure = r.or("insecure", values::boolean, false);
    let keepalive = r.or("tcp_keepalive", values::duration(Duration::ZERO..=WEEK), KEEPALIVE);
    let tls = r.table("tls", &keys::TLS).map(|r| edge::tls(&r, world, problems));
    let proxy_protocol = r.table("proxy_protocol", &keys::PROXY_PROTOCOL);
    let proxy_protocol = proxy_protocol.map(|r| edge::proxy_protocol(&r, problems));
    let identities = r.tables("identity", &keys::IDENTITY);
    let identity: Option<Vec<_>> = identities.iter().map(identity).collect();
    edge::evidence(r, &identities, problems);
    if let Some(bind) = &bind
        && !bind.get_ref().ip().is_loopback()
        && !insecure
    {
        problems.error(
            &bind.span(),
            format!(
                "{} can be reached from other machines and no caller is authenticated: \
                 bind a loopback address, or accept it with insecure = true",
                bind.get_ref()
            ),
        );
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
            proxy_protocol,
            identity,
        }),
        (_, _, _, _) => None,
    };
    Draft { name, bind, pool, listener }
}

/// Nothing only if a problem was reported.
fn identity(r: &Reader<'_>) -> Option<Identity> {
    match r.require("source", source)?.into_inner() {
        Source::SessionId => {
            let pattern = r.require("pattern", values::pattern)?;
            Some(Identity::SessionId(pattern.into_inner()))
        }
        Source::Mtls => edge::mtls(r),
        Source::ProxyTlv => edge::proxy_tlv(r),
    }
}

#[derive(Clone, Copy)]
enum Source {
    SessionId,
    Mtls,
    ProxyTlv,
}

fn protocol(value: &DeValue<'_>) -> Read<Protocol> {
    not_yet(value, "protocol", &["tcp", "http"])?;
    values::word(Protocol::WORDS)(value)
}

fn source(value: &DeValue<'_>) -> Read<Source> {
    const LATER: [&str; 7] =
        ["token", "jwt", "header", "cookie", "query", "source_ip", "rpc_param"];
    not_yet(value, "identity source", &LATER)?;
    values::word(&[
        ("session_id", Source::SessionId),
        ("mtls", Source::Mtls),
        ("proxy_tlv", Source::ProxyTlv),
    ])(value)
}

fn not_yet(value: &DeValue<'_>, what: &str, later: &[&str]) -> Result<(), Complaint> {
    match value.as_str().filter(|word| later.contains(word)) {
        Some(word) => Err(format!("{what} `{word}` is not available in this version").into()),
        None => Ok(()),
    }
}
