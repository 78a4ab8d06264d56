//! How a listener learns who is calling. Decides nothing about what the caller may do.

use super::pool::Affinity;
use crate::identity::{Who, mtls, proxy_tlv};

/// One way to learn who is calling.
#[derive(Clone, Debug)]
pub enum Identity {
    /// From the id of the session, by the named groups of a pattern.
    SessionId(Pattern),
    /// From the client's certificate. Without a pattern, the name is the user.
    Mtls(mtls::Field, Option<Pattern>),
    /// From what a trusted proxy says. Without a pattern, that is the user.
    ProxyTlv(proxy_tlv::Field, Option<Pattern>),
}

impl Identity {
    /// Whether it can yield the key of this affinity. Every session has an id.
    pub fn yields(&self, affinity: Affinity) -> bool {
        match (affinity, self) {
            (Affinity::Session, _) => true,
            (
                Affinity::User | Affinity::Tenant,
                Identity::SessionId(pattern)
                | Identity::Mtls(_, Some(pattern))
                | Identity::ProxyTlv(_, Some(pattern)),
            ) => pattern.groups().any(|group| group == affinity.word()),
            (_, Identity::Mtls(_, None) | Identity::ProxyTlv(_, None)) => {
                affinity == Affinity::User
            }
        }
    }
}

/// Whom `text` names: by the pattern, if there is one; else it is the user.
pub fn who(pattern: Option<&Pattern>, text: &str) -> Option<Who> {
    let Some(pattern) = pattern else {
        return Some(Who { tenant: None, user: Some(text.into()) });
    };
    let Named { user, tenant } = pattern.named(text)?;
    Some(Who { tenant: tenant.map(Into::into), user: user.map(Into::into) })
}

/// A regular expression over a whole session id, or another text that names a caller, with the named groups `user`, `tenant` or both.
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
