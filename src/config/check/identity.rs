//! One `[[listener.identity]]`: how it is known who calls, with the files that it names.

use std::collections::BTreeSet;
use std::sync::Arc;

use toml::Spanned;
use toml::de::DeValue;

use super::listener::not_yet;
use super::{World, pool};
use crate::caller::Proof;
use crate::config::file::Problems;
use crate::config::keys;
use crate::config::model::{Identity, Jwt, KeySource, TokenFile};
use crate::config::reader::Reader;
use crate::config::values::{self, Read};
use crate::identity::jwt::{Algorithm, Rules};
use crate::identity::source_ip::{Range, Ranges};
use crate::time::Duration;

/// How far an issuer's clock may be off.
const LEEWAY: Duration = Duration::from_secs(30);
const MAX_LEEWAY: Duration = Duration::from_mins(10);

/// What was understood of an identity.
pub(super) struct Draft {
    /// What kind it is, if that could be read.
    pub(super) proof: Option<Proof>,
    /// Nothing only if a problem was reported.
    pub(super) identity: Option<Identity>,
}

const SOURCES: &[(&str, Proof)] = &[
    ("session_id", Proof::SessionId),
    ("token", Proof::Token),
    ("jwt", Proof::Jwt),
    ("source_ip", Proof::SourceIp),
];

/// Which source each key belongs to.
const KEYS: [(Proof, &[&str]); 4] = [
    (Proof::SessionId, &["pattern"]),
    (Proof::Token, &["tokens"]),
    (
        Proof::Jwt,
        &[
            "algorithms",
            "key",
            "jwks",
            "issuer",
            "audience",
            "user_claim",
            "tenant_claim",
            "leeway",
        ],
    ),
    (Proof::SourceIp, &["ranges"]),
];

pub(super) fn read(r: &Reader<'_>, world: &World<'_>, problems: &Problems<'_>) -> Draft {
    let proof = r.require("source", source).map(Spanned::into_inner);
    let Some(proof) = proof else { return Draft { proof, identity: None } };
    strays(r, proof, problems);
    let identity = match proof {
        Proof::Token => token(r, world, problems),
        Proof::Jwt => jwt(r, world, problems),
        Proof::SourceIp => source_ip(r, problems),
        Proof::SessionId | Proof::Nothing | Proof::Mtls | Proof::ProxyTlv => r
            .require("pattern", values::pattern)
            .map(|pattern| Identity::SessionId(pattern.into_inner())),
    };
    Draft { proof: Some(proof), identity }
}

fn source(value: &DeValue<'_>) -> Read<Proof> {
    const LATER: [&str; 6] = ["mtls", "proxy_tlv", "header", "cookie", "query", "rpc_param"];
    not_yet(value, "identity source", &LATER)?;
    values::word(SOURCES)(value)
}

/// Keys of another source: all that an identity can have, but those of this one.
fn strays(r: &Reader<'_>, proof: Proof, problems: &Problems<'_>) {
    for key in keys::IDENTITY.keys.iter().filter(|key| r.raw(key).is_some()) {
        let homes = homes_of(key);
        if *key != "source" && !homes.contains(&proof) {
            let homes: Vec<_> = homes.iter().map(|home| format!("{:?}", home.slug())).collect();
            let message = format!("{key} belongs to source = {}", homes.join(" or "));
            problems.error(&r.place_of(key), message);
        }
    }
}

/// The sources that a key belongs to.
fn homes_of(key: &str) -> Vec<Proof> {
    KEYS.iter().filter(|(_, keys)| keys.contains(&key)).map(|(proof, _)| *proof).collect()
}

fn token(r: &Reader<'_>, world: &World<'_>, problems: &Problems<'_>) -> Option<Identity> {
    if r.raw("tokens").is_none() {
        problems.missing(&r.at, "source = \"token\" needs tokens = { file = \"tokens.toml\" }");
    }
    let file = r.table("tokens", &keys::TOKENS)?.require("file", values::path)?;
    match TokenFile::read(&world.folder.join(file.get_ref())) {
        Ok((read, warnings)) => {
            problems.include(&file.span(), warnings);
            Some(Identity::Token(read))
        }
        Err(others) => {
            elsewhere("tokens", &file, others, problems);
            None
        }
    }
}

/// A file that cannot be read is a mistake here; what is wrong in it has its own place.
fn elsewhere(
    what: &str,
    file: &Spanned<std::path::PathBuf>,
    others: Vec<crate::config::Problem>,
    problems: &Problems<'_>,
) {
    let (placed, whole): (Vec<_>, Vec<_>) = others.into_iter().partition(|p| p.place.is_some());
    problems.include(&file.span(), placed);
    for problem in whole {
        problems.error(&file.span(), format!("{what}: {}: {}", problem.file, problem.message));
    }
}

fn jwt(r: &Reader<'_>, world: &World<'_>, problems: &Problems<'_>) -> Option<Identity> {
    let algorithms = r.require("algorithms", values::words(Algorithm::WORDS));
    let keys = keys_of(r, world, problems);
    let rules = Rules {
        issuer: r.read("issuer", values::string),
        audience: r.or("audience", values::one_or_more, Vec::new()),
        user_claim: r.or("user_claim", values::string, "sub".to_owned()),
        tenant_claim: r.read("tenant_claim", values::string),
        leeway: r.or("leeway", values::duration(Duration::ZERO..=MAX_LEEWAY), LEEWAY),
    };
    let algorithms = algorithms?;
    let (at, keys) = keys?;
    if let KeySource::Jwks(_) = &keys {
        if algorithms.get_ref().contains(&Algorithm::Hs256) {
            let why = "algorithms: HS256 needs key, a secret: a JWK Set is public";
            problems.error(&algorithms.span(), why);
            return None;
        }
        if rules.issuer.is_none() && rules.audience.is_empty() {
            let why = "neither issuer nor audience: a token that these keys signed for anybody else is taken too";
            problems.warn(&r.at, why);
        }
    }
    match Jwt::new(algorithms.into_inner(), keys, rules) {
        Ok(jwt) => Some(Identity::Jwt(jwt)),
        Err(why) => {
            problems.error(&at, why);
            None
        }
    }
}

/// Where the keys are, and the place of that. Nothing only if a problem was reported.
fn keys_of(
    r: &Reader<'_>,
    world: &World<'_>,
    problems: &Problems<'_>,
) -> Option<(std::ops::Range<usize>, KeySource)> {
    match (r.raw("key"), r.raw("jwks")) {
        (Some(key), None) => {
            let secret = pool::secret("key", key, world, problems)?;
            Some((key.span(), KeySource::Key(secret)))
        }
        (None, Some(_)) => {
            let file = r.table("jwks", &keys::JWKS)?.require("file", values::path)?;
            let path = world.folder.join(file.get_ref());
            Some((file.span(), KeySource::Jwks(path)))
        }
        (Some(_), Some(jwks)) => {
            problems.error(&jwks.span(), "an identity has key or jwks, not both");
            None
        }
        (None, None) => {
            let why = "source = \"jwt\" needs key = { env = \"NAME\" }, key = { file = \"key.pem\" } or jwks = { file = \"keys.json\" }";
            problems.missing(&r.at, why);
            None
        }
    }
}

fn source_ip(r: &Reader<'_>, problems: &Problems<'_>) -> Option<Identity> {
    if r.raw("ranges").is_none() {
        let why =
            "source = \"source_ip\" needs ranges = [{ cidr = \"10.1.0.0/16\", tenant = \"a\" }]";
        problems.missing(&r.at, why);
        return None;
    }
    let mut seen = BTreeSet::new();
    let tables = r.tables("ranges", &keys::RANGE);
    // All of them first: a collect into an option would stop at the first problem.
    let read: Vec<_> = tables.iter().map(|r| range(r, &mut seen, problems)).collect();
    if r.raw("ranges").is_some_and(|v| v.get_ref().as_array().is_some_and(|list| list.is_empty())) {
        problems.error(&r.place_of("ranges"), "ranges is empty: nobody could be known");
    }
    let ranges: Option<Vec<_>> = read.into_iter().collect();
    ranges.map(|ranges| Identity::SourceIp(Arc::new(Ranges::new(ranges))))
}

/// Nothing only if a problem was reported.
fn range(r: &Reader<'_>, seen: &mut BTreeSet<String>, problems: &Problems<'_>) -> Option<Range> {
    let cidr = r.require("cidr", values::cidr);
    let tenant = r.read("tenant", values::who);
    let user = r.read("user", values::who);
    if r.raw("tenant").is_none() && r.raw("user").is_none() {
        problems.missing(&r.at, "a range needs tenant, user or both: it says who comes from there");
    }
    let cidr = cidr?;
    if !seen.insert(cidr.get_ref().to_string()) {
        problems.error(&cidr.span(), format!("the range {} is listed already", cidr.get_ref()));
    }
    Some(Range { cidr: cidr.into_inner(), tenant, user })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_an_identity_belongs_to_a_source_and_every_key_of_a_source_is_one() {
        for key in keys::IDENTITY.keys.iter().filter(|key| **key != "source") {
            assert!(!homes_of(key).is_empty(), "{key}");
        }
        for key in KEYS.iter().flat_map(|(_, keys)| *keys) {
            assert!(keys::IDENTITY.keys.contains(key), "{key}");
        }
    }
}
