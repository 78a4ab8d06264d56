//! `[listener.tls]` and `[listener.proxy_protocol]`, and whether identities have what they are shown by.
//!
//! Reads the files that they name, to say now what would fail later; keeps nothing of what is in them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::World;
use crate::caller::Proof;
use crate::config::file::Problems;
use crate::config::keys;
use crate::config::model::{
    ClientAuth, ClientCa, MinVersion, PoolTls, Protocol, ProxyProtocol, Sni, Tls,
};
use crate::config::reader::Reader;
use crate::config::values;
use crate::wire::certificates::{self, MAX_FILE};
use crate::wire::cidr::Cidr;

/// Certificates of one listener beside the first.
const MAX_SNI: usize = 100;

/// What HTTP is called in TLS (RFC 7301), in the order in which it is preferred.
const HTTP: [&str; 2] = ["h2", "http/1.1"];

/// Nothing only if a problem was reported.
pub(super) fn tls(
    r: &Reader<'_>,
    protocol: Protocol,
    world: &World<'_>,
    problems: &Problems<'_>,
) -> Option<Tls> {
    let files = files(r, world, problems);
    let file = r.read_at("client_ca", values::path).map(|file| absolute(file, world));
    let auth = r.read_at("client_auth", values::word(ClientAuth::WORDS));
    let min_version = r.or("min_version", values::word(MinVersion::WORDS), MinVersion::V12);
    if let (None, Some(auth)) = (r.raw("client_ca"), &auth) {
        let message = "client_auth needs client_ca: who signs the clients' certificates";
        problems.error(&auth.span(), message);
    }
    if let Some(file) = &file {
        roots(file, "client_ca", problems);
    }
    let alpn = alpn(r, protocol, problems);
    let mut seen = BTreeSet::new();
    let tables = r.tables("sni", &keys::SNI);
    if tables.len() > MAX_SNI {
        problems.error(&r.place_of("sni"), format!("more than {MAX_SNI} certificates"));
    }
    // All of them first: a collect into an option would stop at the first problem.
    let read: Vec<_> = tables.iter().map(|r| sni(r, &mut seen, world, problems)).collect();
    let strict_sni = r.or("strict_sni", values::boolean, false);
    let (certificate, key) = files?;
    let auth = auth.map_or(ClientAuth::Required, Spanned::into_inner);
    Some(Tls {
        certificate,
        key,
        client_ca: file.map(|file| ClientCa { file: file.into_inner(), auth }),
        min_version,
        alpn,
        sni: read.into_iter().collect::<Option<_>>()?,
        strict_sni,
    })
}

fn absolute(found: Spanned<PathBuf>, world: &World<'_>) -> Spanned<PathBuf> {
    let at = found.span();
    Spanned::new(at, world.folder.join(found.into_inner()))
}

/// The files of a certificate and its key. Nothing only if a problem was reported.
fn files(r: &Reader<'_>, world: &World<'_>, problems: &Problems<'_>) -> Option<(PathBuf, PathBuf)> {
    let certificate = r.require("certificate", values::path).map(|file| absolute(file, world));
    let key = r.require("key", values::path).map(|file| absolute(file, world));
    let (certificate, key) = (certificate?, key?);
    pair(&certificate, &key, problems);
    Some((certificate.into_inner(), key.into_inner()))
}

fn sni(
    r: &Reader<'_>,
    seen: &mut BTreeSet<String>,
    world: &World<'_>,
    problems: &Problems<'_>,
) -> Option<Sni> {
    let hosts = r.require("hosts", values::hosts);
    let files = files(r, world, problems);
    let hosts = hosts?;
    for host in hosts.get_ref() {
        if !seen.insert(host.clone()) {
            problems.error(&hosts.span(), format!("there is already a certificate for {host:?}"));
        }
    }
    let (certificate, key) = files?;
    Some(Sni { hosts: hosts.into_inner(), certificate, key })
}

fn alpn(r: &Reader<'_>, protocol: Protocol, problems: &Problems<'_>) -> Vec<String> {
    let spoken = match protocol {
        Protocol::Http => HTTP.map(str::to_owned).to_vec(),
        Protocol::Jsonrpc | Protocol::Tcp => Vec::new(),
    };
    let Some(read) = r.read_at("alpn", values::alpn) else { return spoken };
    let strange = read.get_ref().iter().find(|name| !HTTP.contains(&name.as_str()));
    if let (Protocol::Http, Some(name)) = (protocol, strange) {
        let message = format!("alpn: {name:?} is not HTTP: \"h2\" and \"http/1.1\" are");
        problems.error(&read.span(), message);
    }
    read.into_inner()
}

/// Nothing only if a problem was reported.
pub(super) fn pool_tls(
    r: &Reader<'_>,
    world: &World<'_>,
    problems: &Problems<'_>,
) -> Option<PoolTls> {
    let ca = r.require("ca", values::path).map(|file| absolute(file, world));
    if let Some(ca) = &ca {
        roots(ca, "ca", problems);
    }
    let server_name = r.read("server_name", values::server_name);
    let shows = r.raw("certificate").is_some() || r.raw("key").is_some();
    let own = shows.then(|| files(r, world, problems));
    let min_version = r.or("min_version", values::word(MinVersion::WORDS), MinVersion::V12);
    let alpn = r.or("alpn", values::alpn, Vec::new());
    let own = match own {
        Some(own) => Some(own?),
        None => None,
    };
    Some(PoolTls { ca: ca?.into_inner(), server_name, own, min_version, alpn })
}

fn pair(certificate: &Spanned<PathBuf>, key: &Spanned<PathBuf>, problems: &Problems<'_>) {
    let found = (content(certificate, "certificate", problems), content(key, "key", problems));
    let (Some(pem), Some(key_pem)) = found else { return };
    if let Err(error) = certificates::pair(&pem, &key_pem) {
        let (what, at) =
            if error.is_of_key() { ("key", key) } else { ("certificate", certificate) };
        problems.error(&at.span(), format!("{what}: {}: {error}", at.get_ref().display()));
    }
}

fn roots(file: &Spanned<PathBuf>, key: &str, problems: &Problems<'_>) {
    let Some(pem) = content(file, key, problems) else { return };
    if let Err(error) = certificates::roots(&pem) {
        problems.error(&file.span(), format!("{key}: {}: {error}", file.get_ref().display()));
    }
}

fn content(file: &Spanned<PathBuf>, key: &str, problems: &Problems<'_>) -> Option<Vec<u8>> {
    let read = |path: &Path| {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    let shown = file.get_ref().display();
    let refused = |why| problems.error(&file.span(), format!("{key}: cannot read {shown}: {why}"));
    read(file.get_ref()).map_err(refused).ok()
}

/// Nothing only if a problem was reported.
pub(super) fn proxy_protocol(r: &Reader<'_>, problems: &Problems<'_>) -> Option<ProxyProtocol> {
    let trusted = r.require("trusted", values::cidrs)?;
    let everybody = |range: &Cidr| range.prefix() == 0;
    if trusted.get_ref().iter().any(everybody) {
        let message = "a range of all addresses is trusted: whoever connects can say who it is and where it comes from";
        problems.warn(&trusted.span(), message);
    }
    Some(ProxyProtocol { trusted: trusted.into_inner() })
}

/// Identities that need what the listener does not have.
pub(super) fn evidence(listener: &Reader<'_>, identities: &[Reader<'_>], problems: &Problems<'_>) {
    let client_ca = listener
        .raw("tls")
        .and_then(|tls| tls.get_ref().as_table())
        .is_some_and(|tls| tls.contains_key("client_ca"));
    let proxied = listener.raw("proxy_protocol").is_some();
    for r in identities {
        let source = r.raw("source").and_then(|source| source.get_ref().as_str());
        if source == Some("mtls") && !client_ca {
            let message = "source = \"mtls\" needs client_ca in [listener.tls]: no client is asked for a certificate";
            problems.error(&r.place_of("source"), message);
        }
        if source == Some("sni") && listener.raw("tls").is_none() {
            let message = "source = \"sni\" needs [listener.tls]: no name is asked for without TLS";
            problems.error(&r.place_of("source"), message);
        }
        if source == Some("proxy_tlv") && !proxied {
            let message =
                "source = \"proxy_tlv\" needs [listener.proxy_protocol]: no proxy is trusted";
            problems.error(&r.place_of("source"), message);
        }
    }
}

/// A token that is sent in the clear is everybody's who can listen.
pub(super) fn in_the_clear(
    r: &Reader<'_>,
    bind: &Spanned<SocketAddr>,
    proofs: &[Proof],
    problems: &Problems<'_>,
) {
    let (at, bind) = (bind.span(), bind.get_ref());
    let tokens = proofs.iter().any(|proof| matches!(proof, Proof::Token | Proof::Jwt));
    if tokens && !bind.ip().is_loopback() && r.raw("tls").is_none() {
        let message = format!(
            "{bind} can be reached from other machines, and clients send their tokens there in the clear: whoever listens on the \
             network can use them; add [listener.tls], or see to it that nobody can listen"
        );
        problems.warn(&at, message);
    }
}
