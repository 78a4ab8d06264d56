//! One `[[listener.identity]]`: how it is known who calls, with the files that it names.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::HeaderName;
use toml::Spanned;
use toml::de::DeValue;

use super::{World, pool};
use crate::caller::Proof;
use crate::config::file::Problems;
use crate::config::keys;
use crate::config::model::{Identity, Jwt, KeySource, Pattern, Protocol, TokenFile};
use crate::config::reader::Reader;
use crate::config::values::{self, Read};
use crate::identity::jwt::{Algorithm, Rules};
use crate::identity::request::{Rule, Source, Yields};
use crate::identity::source_ip::{Range, Ranges};
use crate::identity::{mtls, proxy_tlv};
use crate::time::Duration;
use crate::wire::cidr::Cidr;

/// How far an issuer's clock may be off.
const LEEWAY: Duration = Duration::from_secs(30);
const MAX_LEEWAY: Duration = Duration::from_mins(10);
/// The last segment of a path that may be meant.
const MAX_SEGMENT: u32 = 64;

/// What was understood of an identity.
pub(super) struct Draft {
    /// What it proves with, if that could be read; nothing, where it only sorts.
    pub(super) proof: Option<Proof>,
    /// Nothing only if a problem was reported.
    pub(super) identity: Option<Identity>,
}

/// The sources of an identity.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    SessionId,
    Token,
    Jwt,
    Mtls,
    ProxyTlv,
    SourceIp,
    Header,
    Cookie,
    Query,
    Path,
    Basic,
    Json,
    Sni,
}

const SOURCES: &[(&str, From)] = &[
    ("session_id", From::SessionId),
    ("token", From::Token),
    ("jwt", From::Jwt),
    ("mtls", From::Mtls),
    ("proxy_tlv", From::ProxyTlv),
    ("source_ip", From::SourceIp),
    ("header", From::Header),
    ("cookie", From::Cookie),
    ("query", From::Query),
    ("path", From::Path),
    ("basic", From::Basic),
    ("json", From::Json),
    ("sni", From::Sni),
];

impl From {
    fn word(self) -> &'static str {
        SOURCES.iter().find(|(_, from)| *from == self).map_or("", |(word, _)| word)
    }

    /// What it proves with, whatever else is wrong with it.
    fn proof(self) -> Option<Proof> {
        match self {
            From::SessionId => Some(Proof::SessionId),
            From::Token => Some(Proof::Token),
            From::Jwt => Some(Proof::Jwt),
            From::Mtls => Some(Proof::Mtls),
            From::ProxyTlv => Some(Proof::ProxyTlv),
            From::SourceIp => Some(Proof::SourceIp),
            // It is as its other keys say.
            From::Header => None,
            From::Cookie | From::Query | From::Path | From::Basic | From::Json | From::Sni => {
                Some(Proof::Nothing)
            }
        }
    }

    /// What is spoken where it can be read.
    fn protocols(self) -> &'static [Protocol] {
        match self {
            From::SessionId => &[Protocol::Jsonrpc],
            From::Token | From::Jwt => &[Protocol::Jsonrpc, Protocol::Http],
            From::Mtls | From::ProxyTlv | From::SourceIp => {
                &[Protocol::Jsonrpc, Protocol::Tcp, Protocol::Http]
            }
            From::Sni => &[Protocol::Tcp, Protocol::Http],
            From::Header | From::Cookie | From::Query | From::Path | From::Basic | From::Json => {
                &[Protocol::Http]
            }
        }
    }
}

/// Which sources each key belongs to.
const KEYS: [(&[From], &[&str]); 11] = [
    (
        &[
            From::SessionId,
            From::Mtls,
            From::ProxyTlv,
            From::Header,
            From::Cookie,
            From::Query,
            From::Path,
            From::Basic,
            From::Json,
            From::Sni,
        ],
        &["pattern"],
    ),
    (&[From::Token], &["tokens"]),
    (
        &[From::Jwt],
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
    (&[From::Mtls], &["field"]),
    (&[From::ProxyTlv], &["tlv"]),
    (&[From::SourceIp], &["ranges"]),
    (&[From::Header, From::Cookie, From::Query], &["name"]),
    (&[From::Path], &["segment"]),
    (&[From::Json], &["pointer"]),
    (&[From::Header, From::Cookie, From::Query, From::Path, From::Basic, From::Json], &["yields"]),
    (&[From::Header], &["trusted"]),
];

pub(super) fn read(
    r: &Reader<'_>,
    protocol: Protocol,
    world: &World<'_>,
    problems: &Problems<'_>,
) -> Draft {
    let from = r.require("source", values::word(SOURCES)).map(Spanned::into_inner);
    let Some(from) = from else { return Draft { proof: None, identity: None } };
    strays(r, from, problems);
    if !from.protocols().contains(&protocol) {
        let homes = from.protocols().iter().map(|home| format!("{:?}", home.word()));
        let message = format!(
            "source = {:?} needs protocol = {}",
            from.word(),
            homes.collect::<Vec<_>>().join(" or ")
        );
        problems.error(&r.place_of("source"), message);
    }
    let identity = match from {
        From::Token => token(r, world, problems),
        From::Jwt => jwt(r, world, problems),
        From::SourceIp if protocol != Protocol::Jsonrpc && r.raw("ranges").is_none() => {
            Some(sorted(Source::Address, Yields::User, None, None))
        }
        From::SourceIp => source_ip(r, problems),
        From::Mtls => mtls(r),
        From::ProxyTlv => proxy_tlv(r),
        From::SessionId => r
            .require("pattern", values::pattern)
            .map(|pattern| Identity::SessionId(pattern.into_inner())),
        From::Sni => {
            Some(sorted(Source::Sni, Yields::User, r.read("pattern", values::pattern), None))
        }
        From::Header | From::Cookie | From::Query | From::Path | From::Basic | From::Json => {
            request(r, from, problems)
        }
    };
    let proof = identity.as_ref().map_or_else(|| from.proof(), |i| Some(i.proof()));
    Draft { proof, identity }
}

/// Keys of another source: all that an identity can have, but those of this one.
fn strays(r: &Reader<'_>, from: From, problems: &Problems<'_>) {
    for key in keys::IDENTITY.keys.iter().filter(|key| r.raw(key).is_some()) {
        let homes = homes_of(key);
        if *key != "source" && !homes.contains(&from) {
            let homes: Vec<_> = homes.iter().map(|home| format!("{:?}", home.word())).collect();
            let message = format!("{key} belongs to source = {}", homes.join(" or "));
            problems.error(&r.place_of(key), message);
        }
    }
}

/// The sources that a key belongs to.
fn homes_of(key: &str) -> Vec<From> {
    let homes = KEYS.iter().filter(|(_, keys)| keys.contains(&key));
    homes.flat_map(|(sources, _)| *sources).copied().collect()
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

const FIELDS: &[(&str, mtls::Field)] = &[
    ("cn", mtls::Field::Cn),
    ("san_dns", mtls::Field::SanDns),
    ("san_uri", mtls::Field::SanUri),
    ("san_email", mtls::Field::SanEmail),
];

fn mtls(r: &Reader<'_>) -> Option<Identity> {
    let field = r.require("field", values::word(FIELDS))?.into_inner();
    let pattern = r.read("pattern", values::pattern);
    Some(Identity::Mtls(Arc::new(mtls::Rule { field, pattern })))
}

fn proxy_tlv(r: &Reader<'_>) -> Option<Identity> {
    let field = r.require("tlv", tlv)?.into_inner();
    let pattern = r.read("pattern", values::pattern);
    Some(Identity::ProxyTlv(Arc::new(proxy_tlv::Rule { field, pattern })))
}

fn tlv(value: &DeValue<'_>) -> Read<proxy_tlv::Field> {
    const WORDS: &[(&str, proxy_tlv::Field)] =
        &[("authority", proxy_tlv::Field::Authority), ("ssl_cn", proxy_tlv::Field::SslCn)];
    if value.as_integer().is_none() {
        return values::word(WORDS)(value);
    }
    let number = values::integer(0xE0..=0xEF)(value);
    let number = number.map_err(|_| "a custom TLV is from 0xE0 to 0xEF".to_owned())?;
    let number = u8::try_from(number).map_err(|why| why.to_string())?;
    Ok(proxy_tlv::Field::Custom(number))
}

/// Nothing only if a problem was reported.
fn request(r: &Reader<'_>, from: From, problems: &Problems<'_>) -> Option<Identity> {
    let source = match from {
        From::Header => r.require("name", values::header_name).map(|n| header(n, problems)),
        From::Cookie => {
            r.require("name", values::cookie_name).map(|n| Source::Cookie(n.into_inner().into()))
        }
        From::Query => {
            r.require("name", values::string).map(|n| Source::Query(n.into_inner().into()))
        }
        From::Path => r
            .require("segment", values::integer(1..=MAX_SEGMENT))
            .map(|n| Source::Path(n.into_inner() as usize)),
        From::Json => r.require("pointer", values::pointer).map(|p| Source::Json(p.into_inner())),
        From::Basic => Some(Source::Basic),
        From::SessionId
        | From::Token
        | From::Jwt
        | From::Mtls
        | From::ProxyTlv
        | From::SourceIp
        | From::Sni => None,
    };
    let default = if from == From::Json { Yields::Session } else { Yields::User };
    let yields = r.or("yields", values::word(Yields::WORDS), default);
    let pattern = r.read("pattern", values::pattern);
    let trusted = r.read_at("trusted", values::cidrs);
    if let Some(trusted) = &trusted {
        if yields == Yields::Session {
            let message =
                "trusted has no effect where a session is yielded: a session proves nothing";
            problems.warn(&trusted.span(), message);
        }
        if trusted.get_ref().iter().any(|range| range.prefix() == 0) {
            let message = "a range of all addresses is trusted: whoever connects can say who it is";
            problems.warn(&trusted.span(), message);
        }
    }
    Some(sorted(source?, yields, pattern, trusted.map(Spanned::into_inner)))
}

/// What has an underscore in its name some take for another: such requests go nowhere.
fn header(name: Spanned<HeaderName>, problems: &Problems<'_>) -> Source {
    if name.get_ref().as_str().contains('_') {
        let message = format!(
            "name: a request with a header {:?} is refused: names with underscores are read in two ways",
            name.get_ref().as_str()
        );
        problems.error(&name.span(), message);
    }
    Source::Header(name.into_inner())
}

fn sorted(
    source: Source,
    yields: Yields,
    pattern: Option<Pattern>,
    trusted: Option<Vec<Cidr>>,
) -> Identity {
    Identity::Request(Arc::new(Rule { source, yields, pattern, trusted }))
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
