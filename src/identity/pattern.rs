//! Texts that name a user, a tenant or both: a regular expression finds them. Proves nothing: what a text is worth is known
//! to who has it.

use super::Who;

/// A regular expression over a whole text, such as the id of a session, with the named groups `user`, `tenant` or both.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    whole: regex::Regex,
}

/// What a pattern found in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named<'a> {
    /// The group `user`, where it took part.
    pub user: Option<&'a str>,
    /// The group `tenant`, where it took part.
    pub tenant: Option<&'a str>,
}

impl Pattern {
    /// Compiles `text`; it must match a text as a whole, with or without `^` and `$`.
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

    /// What the groups hold in `text`; `None` if the text as a whole does not match.
    pub fn named<'a>(&self, text: &'a str) -> Option<Named<'a>> {
        let found = self.whole.captures(text)?;
        let group = |name| found.name(name).map(|m| m.as_str()).filter(|text| !text.is_empty());
        Some(Named { user: group("user"), tenant: group("tenant") })
    }
}

/// Whom `text` names: by the pattern, where there is one; else it is the user. A pattern with a group for the user or
/// the tenant must find one: who has no name of its own would act for its realm.
pub fn who(pattern: Option<&Pattern>, text: &str) -> Option<Who> {
    let Some(pattern) = pattern else {
        return Some(Who { tenant: None, user: Some(text.into()) });
    };
    let Named { user, tenant } = pattern.named(text)?;
    let lacks = |group| match group {
        "user" => user.is_none(),
        "tenant" => tenant.is_none(),
        _ => false,
    };
    if pattern.groups().any(lacks) {
        return None;
    }
    Some(Who { tenant: tenant.map(Into::into), user: user.map(Into::into) })
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

    #[test]
    fn who_lacks_a_name_that_the_pattern_has_a_group_for_is_nobody() {
        let named = |pattern: &str, text| who(Some(&Pattern::new(pattern).unwrap()), text);
        let acme = || Some("acme".into());
        let both = "(?:(?<tenant>[a-z]+)/)?(?<user>.*)";
        let alice = Who { tenant: acme(), user: Some("alice".into()) };
        assert_eq!(named(both, "acme/alice"), Some(alice));
        assert_eq!((named(both, "acme/"), named(both, "alice")), (None, None));
        assert_eq!(named("(?<tenant>.+)", "acme"), Some(Who { tenant: acme(), user: None }));
        assert_eq!(named("[a-z]+(?<user>[0-9])", "alice"), None);
        assert_eq!(who(None, "alice"), Some(Who { tenant: None, user: Some("alice".into()) }));
    }
}
