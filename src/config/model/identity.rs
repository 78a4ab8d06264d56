//! How a listener learns who is calling. Decides nothing about what the caller may do.

mod files;

use std::path::Path;
use std::sync::Arc;

pub use files::{Jwt, KeySource, TokenFile};

pub use crate::identity::pattern::{Named, Pattern};

use super::pool::Affinity;
use crate::caller::Proof;
use crate::config::problem::Problem;
use crate::identity::request::{self, Yields};
use crate::identity::source_ip::Ranges;
use crate::identity::{Extractor, mtls, proxy_tlv};

/// One way to learn who is calling.
#[derive(Clone, Debug)]
pub enum Identity {
    /// From the id of the session, by the named groups of a pattern. Proves nothing.
    SessionId(Pattern),
    /// From a token that the operator gave out.
    Token(TokenFile),
    /// From a token that somebody else signed.
    Jwt(Jwt),
    /// From the certificate of the client.
    Mtls(Arc<mtls::Rule>),
    /// From what a trusted proxy says of the conn.
    ProxyTlv(Arc<proxy_tlv::Rule>),
    /// From the address of the client.
    SourceIp(Arc<Ranges>),
    /// From what a request or a conn says of itself.
    Request(Arc<request::Rule>),
}

impl Identity {
    /// Its word in the file.
    pub fn source(&self) -> &'static str {
        match self {
            Identity::SessionId(_)
            | Identity::Token(_)
            | Identity::Jwt(_)
            | Identity::Mtls(_)
            | Identity::ProxyTlv(_)
            | Identity::SourceIp(_) => self.proof().slug(),
            Identity::Request(rule) => rule.source.word(),
        }
    }

    /// What kind of proof it is.
    pub fn proof(&self) -> Proof {
        match self {
            Identity::SessionId(_) => Proof::SessionId,
            Identity::Token(_) => Proof::Token,
            Identity::Jwt(_) => Proof::Jwt,
            Identity::Mtls(_) => Proof::Mtls,
            Identity::ProxyTlv(_) => Proof::ProxyTlv,
            Identity::SourceIp(_) => Proof::SourceIp,
            Identity::Request(rule) if rule.proves() => Proof::Header,
            Identity::Request(_) => Proof::Nothing,
        }
    }

    /// Whether it proves who calls, or only sorts sessions.
    pub fn proves(&self) -> bool {
        match self {
            Identity::SessionId(_) => false,
            Identity::Request(rule) => rule.proves(),
            Identity::Token(_)
            | Identity::Jwt(_)
            | Identity::Mtls(_)
            | Identity::ProxyTlv(_)
            | Identity::SourceIp(_) => true,
        }
    }

    /// Whether it can yield the key of this affinity.
    pub fn yields(&self, affinity: Affinity) -> bool {
        let tenants = match affinity {
            Affinity::Session => return self.names_sessions(),
            Affinity::Tenant => true,
            Affinity::User => false,
        };
        // Without a pattern, the whole text is the user.
        let has = |pattern: Option<&Pattern>| match pattern {
            Some(pattern) => pattern.groups().any(|group| group == affinity.word()),
            None => !tenants,
        };
        match self {
            Identity::SessionId(pattern) => has(Some(pattern)),
            Identity::Request(rule) => match rule.yields {
                Yields::User => has(rule.pattern.as_ref()),
                Yields::Session => rule.pattern.as_ref().is_some_and(|pattern| has(Some(pattern))),
            },
            Identity::Mtls(rule) => has(rule.pattern.as_ref()),
            Identity::ProxyTlv(rule) => has(rule.pattern.as_ref()),
            Identity::Token(file) => {
                !tenants || file.tokens.entries().iter().any(|entry| entry.tenant.is_some())
            }
            Identity::Jwt(jwt) => !tenants || jwt.verifier.rules().tenant_claim.is_some(),
            Identity::SourceIp(ranges) => ranges
                .ranges()
                .iter()
                .any(|range| if tenants { range.tenant.is_some() } else { range.user.is_some() }),
        }
    }

    fn names_sessions(&self) -> bool {
        match self {
            Identity::SessionId(_) => true,
            Identity::Request(rule) => rule.yields == Yields::Session,
            Identity::Token(_)
            | Identity::Jwt(_)
            | Identity::Mtls(_)
            | Identity::ProxyTlv(_)
            | Identity::SourceIp(_) => false,
        }
    }

    /// What asks it; nothing where it is read from each session.
    pub fn extractor(&self) -> Option<Extractor> {
        match self {
            Identity::SessionId(_) => None,
            Identity::Token(file) => Some(Extractor::Token(Arc::clone(&file.tokens))),
            Identity::Jwt(jwt) => Some(Extractor::Jwt(Arc::clone(&jwt.verifier))),
            Identity::Mtls(rule) => Some(Extractor::Mtls(Arc::clone(rule))),
            Identity::ProxyTlv(rule) => Some(Extractor::ProxyTlv(Arc::clone(rule))),
            Identity::SourceIp(ranges) => Some(Extractor::SourceIp(Arc::clone(ranges))),
            Identity::Request(rule) => rule.proves().then(|| Extractor::Request(Arc::clone(rule))),
        }
    }

    /// The file that it was read from and that may change while fairlead runs.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Identity::SessionId(_)
            | Identity::Mtls(_)
            | Identity::ProxyTlv(_)
            | Identity::SourceIp(_)
            | Identity::Request(_) => None,
            Identity::Token(file) => Some(&file.path),
            Identity::Jwt(jwt) => jwt.file(),
        }
    }

    /// The same, with its file read again. Fails with all that is wrong with the file: keep the old one then.
    pub fn reread(&self) -> Result<Self, Vec<Problem>> {
        match self {
            Identity::SessionId(_)
            | Identity::Mtls(_)
            | Identity::ProxyTlv(_)
            | Identity::SourceIp(_)
            | Identity::Request(_) => Ok(self.clone()),
            Identity::Token(file) => {
                TokenFile::read(&file.path).map(|(file, _)| Identity::Token(file))
            }
            Identity::Jwt(jwt) => jwt.reread().map(Identity::Jwt),
        }
    }
}
