//! How a listener learns who is calling. Decides nothing about what the caller may do.

mod files;

use std::path::Path;
use std::sync::Arc;

pub use files::{Jwt, KeySource, TokenFile};

use super::pool::Affinity;
use crate::caller::Proof;
use crate::config::problem::Problem;
use crate::identity::Extractor;
use crate::identity::source_ip::Ranges;

/// One way to learn who is calling.
#[derive(Clone, Debug)]
pub enum Identity {
    /// From the id of the session, by the named groups of a pattern. Proves nothing.
    SessionId(Pattern),
    /// From a token that the operator gave out.
    Token(TokenFile),
    /// From a token that somebody else signed.
    Jwt(Jwt),
    /// From the address of the client.
    SourceIp(Arc<Ranges>),
}

impl Identity {
    /// What kind of proof it is; its slug is its word in the file.
    pub const fn proof(&self) -> Proof {
        match self {
            Identity::SessionId(_) => Proof::SessionId,
            Identity::Token(_) => Proof::Token,
            Identity::Jwt(_) => Proof::Jwt,
            Identity::SourceIp(_) => Proof::SourceIp,
        }
    }

    /// Whether it proves who calls, or only sorts sessions.
    pub const fn proves(&self) -> bool {
        match self {
            Identity::SessionId(_) => false,
            Identity::Token(_) | Identity::Jwt(_) | Identity::SourceIp(_) => true,
        }
    }

    /// Whether it can yield the key of this affinity. Every session has an id.
    pub fn yields(&self, affinity: Affinity) -> bool {
        let tenants = match affinity {
            Affinity::Session => return true,
            Affinity::Tenant => true,
            Affinity::User => false,
        };
        match self {
            Identity::SessionId(pattern) => pattern.groups().any(|group| group == affinity.word()),
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

    /// What asks it; nothing where it is read from each session.
    pub fn extractor(&self) -> Option<Extractor> {
        match self {
            Identity::SessionId(_) => None,
            Identity::Token(file) => Some(Extractor::Token(Arc::clone(&file.tokens))),
            Identity::Jwt(jwt) => Some(Extractor::Jwt(Arc::clone(&jwt.verifier))),
            Identity::SourceIp(ranges) => Some(Extractor::SourceIp(Arc::clone(ranges))),
        }
    }

    /// The file that it was read from and that may change while fairlead runs.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Identity::SessionId(_) | Identity::SourceIp(_) => None,
            Identity::Token(file) => Some(&file.path),
            Identity::Jwt(jwt) => jwt.file(),
        }
    }

    /// The same, with its file read again. Fails with all that is wrong with the file: keep the old one then.
    pub fn reread(&self) -> Result<Self, Vec<Problem>> {
        match self {
            Identity::SessionId(_) | Identity::SourceIp(_) => Ok(self.clone()),
            Identity::Token(file) => {
                TokenFile::read(&file.path).map(|(file, _)| Identity::Token(file))
            }
            Identity::Jwt(jwt) => jwt.reread().map(Identity::Jwt),
        }
    }
}

/// A regular expression over a whole session id, with the named groups `user`, `tenant` or both.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    whole: regex::Regex,
}

/// What a pattern found in a session id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named<'a> {
    /// The group `user`, where it took part.
    pub user: Option<&'a str>,
    /// The group `tenant`, where it took part.
    pub tenant: Option<&'a str>,
}

impl Pattern {
    /// Compiles `text`; it must match a session id as a whole, with or without `^` and `$`.
    /// Fails with the words of the regex crate.
    pub fn new(text: &str) -> Result<Self, regex::Error> {
        // Alone first: what is right only inside our own anchors (`a)|(b`) is a mistake.
        regex::Regex::new(text)?;
        let whole = regex::Regex::new(&format!(r"\A(?:{text})\z"))?;
        Ok(Pattern { text: text.to_owned(), whole })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names of its groups.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.whole.capture_names().flatten()
    }

    /// What the groups hold in `session`; `None` if the id as a whole does not match.
    pub fn named<'a>(&self, session: &'a str) -> Option<Named<'a>> {
        let found = self.whole.captures(session)?;
        let group = |name| found.name(name).map(|m| m.as_str()).filter(|text| !text.is_empty());
        Some(Named { user: group("user"), tenant: group("tenant") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_the_whole_id_or_not_at_all() {
        let pattern = Pattern::new("user-(?<user>.+)-[^-]+").unwrap();
        let user = |id| pattern.named(id).and_then(|n| n.user);
        assert_eq!(user("user-a-chat"), Some("a"));
        assert_eq!(user("user-a-b-chat"), Some("a-b"));
        assert_eq!(user("xuser-a-chat"), None);
        assert_eq!(user("user-a-chat\n"), Some("a"), "[^-] takes a line break");
        assert_eq!(Pattern::new("(?<user>[a-z]+)$").unwrap().named("ab\n"), None);
    }

    #[test]
    fn alternatives_do_not_escape_the_anchors() {
        let pattern = Pattern::new("a-(?<user>.)|b-(?<tenant>.)").unwrap();
        assert_eq!(pattern.named("a-1x"), None);
        assert_eq!(pattern.named("xb-1"), None);
        assert_eq!(pattern.named("b-1"), Some(Named { user: None, tenant: Some("1") }));
        assert!(Pattern::new("a)|(?<user>b").is_err());
    }

    #[test]
    fn an_empty_group_names_nobody() {
        let pattern = Pattern::new("u(?<user>.*)").unwrap();
        assert_eq!(pattern.named("u"), Some(Named { user: None, tenant: None }));
    }
}
