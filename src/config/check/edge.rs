//! `[listener.tls]` and `[listener.proxy_protocol]`, and whether identities have what they are shown by.
//!
//! Reads the files that they name, to say now what would fail later; keeps nothing of what is in them.

use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::World;
use crate::caller::Proof;
use crate::config::file::Problems;
use crate::config::model::{ClientAuth, ClientCa, MinVersion, ProxyProtocol, Tls};
use crate::config::reader::Reader;
use crate::config::values;
use crate::wire::certificates::{self, MAX_FILE};
use crate::wire::cidr::Cidr;

/// Nothing only if a problem was reported.
pub(super) fn tls(r: &Reader<'_>, world: &World<'_>, problems: &Problems<'_>) -> Option<Tls> {
    let path = |found: Spanned<PathBuf>| {
        let at = found.span();
        Spanned::new(at, world.folder.join(found.into_inner()))
    };
    let certificate = r.require("certificate", values::path).map(path);
    let key = r.require("key", values::path).map(path);
    let file = r.read_at("client_ca", values::path).map(path);
    let auth = r.read_at("client_auth", values::word(ClientAuth::WORDS));
    let min_version = r.or("min_version", values::word(MinVersion::WORDS), MinVersion::V12);
    if let (None, Some(auth)) = (r.raw("client_ca"), &auth) {
        let message = "client_auth needs client_ca: who signs the clients' certificates";
        problems.error(&auth.span(), message);
    }
    if let Some(file) = &file {
        roots(file, problems);
    }
    let (certificate, key) = (certificate?, key?);
    pair(&certificate, &key, problems);
    let auth = auth.map_or(ClientAuth::Required, Spanned::into_inner);
    Some(Tls {
        certificate: certificate.into_inner(),
        key: key.into_inner(),
        client_ca: file.map(|file| ClientCa { file: file.into_inner(), auth }),
        min_version,
    })
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

fn roots(file: &Spanned<PathBuf>, problems: &Problems<'_>) {
    let Some(pem) = content(file, "client_ca", problems) else { return };
    if let Err(error) = certificates::client_verifier(&pem, true) {
        problems.error(&file.span(), format!("client_ca: {}: {error}", file.get_ref().display()));
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
