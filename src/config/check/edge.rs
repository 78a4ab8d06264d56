//! `[listener.tls]`, `[listener.proxy_protocol]`, and the identities that are shown there.
//!
//! Reads the files that they name, to say now what would fail later; keeps nothing of what is in them.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeValue;

use super::World;
use crate::config::file::Problems;
use crate::config::model::{ClientAuth, ClientCa, Identity, MinVersion, ProxyProtocol, Tls};
use crate::config::reader::Reader;
use crate::config::values::{self, Read};
use crate::identity::{mtls, proxy_tlv};
use crate::wire::certificates::{self, MAX_FILE};
use crate::wire::network::Network;

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
    let trusted = r.require("trusted", networks)?;
    if trusted.get_ref().is_empty() {
        problems.error(&trusted.span(), "trusted is empty: nobody could send a PROXY header");
    }
    Some(ProxyProtocol { trusted: trusted.into_inner() })
}

fn networks(value: &DeValue<'_>) -> Read<Vec<Network>> {
    let texts = values::strings(value)?;
    Ok(texts.iter().map(|text| text.parse()).collect::<Result<_, String>>()?)
}

/// Identities that need what the listener does not have, and keys that belong to another source.
pub(super) fn evidence(listener: &Reader<'_>, identities: &[Reader<'_>], problems: &Problems<'_>) {
    let client_ca = listener
        .raw("tls")
        .and_then(|tls| tls.get_ref().as_table())
        .is_some_and(|tls| tls.contains_key("client_ca"));
    let proxied = listener.raw("proxy_protocol").is_some();
    for r in identities {
        let source = r.raw("source").and_then(|source| source.get_ref().as_str());
        let at = r.place_of("source");
        if source == Some("mtls") && !client_ca {
            let message = "source \"mtls\" needs client_ca in [listener.tls]: no client is asked for a certificate";
            problems.error(&at, message);
        }
        if source == Some("proxy_tlv") && !proxied {
            let message =
                "source \"proxy_tlv\" needs [listener.proxy_protocol]: no proxy is trusted";
            problems.error(&at, message);
        }
        for (key, of) in [("field", "mtls"), ("tlv", "proxy_tlv")] {
            if r.raw(key).is_some() && source.is_some_and(|source| source != of) {
                let message = format!("{key} belongs to source {of:?}");
                problems.error(&r.place_of(key), message);
            }
        }
    }
}

const FIELDS: &[(&str, mtls::Field)] =
    &[("cn", mtls::Field::Cn), ("san_dns", mtls::Field::SanDns), ("san_uri", mtls::Field::SanUri)];

/// Nothing only if a problem was reported.
pub(super) fn mtls(r: &Reader<'_>) -> Option<Identity> {
    let field = r.require("field", values::word(FIELDS))?;
    Some(Identity::Mtls(field.into_inner(), r.read("pattern", values::pattern)))
}

/// Nothing only if a problem was reported.
pub(super) fn proxy_tlv(r: &Reader<'_>) -> Option<Identity> {
    let field = r.require("tlv", tlv)?;
    Some(Identity::ProxyTlv(field.into_inner(), r.read("pattern", values::pattern)))
}

fn tlv(value: &DeValue<'_>) -> Read<proxy_tlv::Field> {
    if value.as_integer().is_some() {
        let number = values::integer(0xE0..=0xEF)(value);
        let number = number.map_err(|_| "a custom TLV is from 0xE0 to 0xEF".to_owned())?;
        let number = u8::try_from(number).map_err(|why| why.to_string())?;
        return Ok(proxy_tlv::Field::Custom(number));
    }
    const WORDS: &[(&str, proxy_tlv::Field)] =
        &[("authority", proxy_tlv::Field::Authority), ("ssl_cn", proxy_tlv::Field::SslCn)];
    values::word(WORDS)(value)
}
