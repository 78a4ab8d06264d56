//! The file that lists tokens: TOML, a `[[token]]` for each, with its hash and whom it stands for.
//!
//! Checked like the configuration: every mistake with its place, all at once. No token stands in it.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Spanned;
use toml::de::DeValue;

use super::file::{Problems, Source};
use super::keys;
use super::problem::Problem;
use super::reader::Reader;
use super::values::{self, Complaint, Read};
use crate::caller::Trust;
use crate::identity::token::{Entry, Hash, PREFIX, Tokens, from_hex};

/// The tokens with what is strange about them, or everything that is wrong.
pub type Checked = Result<(Tokens, Vec<Problem>), Vec<Problem>>;

/// Reads and checks the file at `path`.
pub fn load(path: &Path) -> Checked {
    let name = path.display().to_string();
    let bytes = super::read(path).map_err(|why| vec![Problem::of_file(&name, why)])?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|why| vec![super::not_utf8(&name, &bytes, why.valid_up_to())])?;
    parse(text, &name)
}

/// Checks `text`; `name` is what problems call the file.
pub fn parse(text: &str, name: &str) -> Checked {
    let (table, problems) = Problems::parse(Source::new(name, text));
    let entries = {
        let root = Reader::open(&keys::TOKEN_FILE, &table, 0..0, &problems);
        let mut seen = BTreeMap::new();
        let tables = root.tables("token", &keys::TOKEN);
        let read: Vec<_> = tables.iter().map(|r| entry(r, &mut seen, &problems)).collect();
        if tables.is_empty() && root.raw("token").is_none() {
            problems.warn(&root.at, "no [[token]]: nobody can connect with one");
        }
        read.into_iter().collect::<Option<Vec<_>>>()
    };
    let found = problems.finish();
    match entries {
        Some(entries) if !found.iter().any(Problem::is_error) => Ok((Tokens::new(entries), found)),
        Some(_) | None => Err(found),
    }
}

/// Nothing only if a problem was reported.
fn entry(
    r: &Reader<'_>,
    seen: &mut BTreeMap<Hash, String>,
    problems: &Problems<'_>,
) -> Option<Entry> {
    let sha256 = r.require("sha256", hash);
    let user = r.require("user", values::who);
    let tenant = r.read("tenant", values::who);
    let trust = r.read("trust", values::word(Trust::WORDS));
    let name = r.read("name", values::who);
    let called =
        name.as_deref().or_else(|| user.as_ref().map(|u| u.get_ref().as_ref())).unwrap_or("?");
    if let Some(hash) = &sha256
        && let Some(other) = seen.insert(*hash.get_ref(), called.to_owned())
    {
        let message =
            format!("this token is listed already, for {other:?}: one token is one caller");
        problems.error(&hash.span(), message);
    }
    Some(Entry {
        sha256: sha256.map(Spanned::into_inner)?,
        name,
        user: user.map(Spanned::into_inner)?,
        tenant,
        trust,
    })
}

/// Never shows what stands there: it may be the token itself.
fn hash(value: &DeValue<'_>) -> Read<Hash> {
    let what = "the SHA-256 of a token, 64 hexadecimal digits";
    let text = values::text(value, what)?;
    if text.starts_with(PREFIX) {
        let why = "this is the token itself: take it out, it is known now; its SHA-256 is wanted";
        return Err(Complaint::from(why.to_owned()));
    }
    let found = text.chars().count();
    from_hex(text).ok_or_else(|| format!("must be {what}, these are {found} characters").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::token::{hash, to_hex};

    fn problems(text: &str) -> Vec<String> {
        let found = match parse(text, "tokens.toml") {
            Ok((_, warnings)) => warnings,
            Err(problems) => problems,
        };
        found.iter().map(|p| p.to_string().lines().next().unwrap().to_owned()).collect()
    }

    fn token(secret: &str, rest: &str) -> String {
        format!("[[token]]\nsha256 = \"{}\"\n{rest}", to_hex(&hash(secret)))
    }

    #[test]
    fn a_file_lists_tokens_and_whom_they_stand_for() {
        let text = format!(
            "{}{}",
            token("one", "user = \"alice\"\ntenant = \"acme\"\nname = \"laptop\"\n"),
            token("two", "user = \"app\"\ntrust = \"backend\"\n"),
        );
        let (tokens, warnings) = parse(&text, "x").unwrap();
        assert!(warnings.is_empty());
        let alice = tokens.find("one").unwrap();
        assert_eq!((alice.user.as_deref(), alice.tenant.as_deref()), (Some("alice"), Some("acme")));
        assert_eq!(tokens.find("two").unwrap().trust, Some(Trust::Backend));
        assert_eq!(tokens.entries()[0].name.as_deref(), Some("laptop"));
    }

    #[test]
    fn every_mistake_has_its_place() {
        let text = format!(
            "{}{}[[token]]\nsha256 = \"abc\"\n[[token]]\nsha256 = 1\nuser = \"\"\n[tokens]\n",
            token("one", "usr = \"alice\"\nuser = \"alice\"\ntrust = \"backnd\"\n"),
            token("one", "user = \"bob\"\ntenant = \"a\\nb\"\n"),
        );
        assert_eq!(
            problems(&text),
            [
                "tokens.toml:3:1: unknown key \"usr\" in [[token]]; did you mean \"user\"?",
                "tokens.toml:5:9: trust: \"backnd\" must be one of \"user\", \"backend\"; did you mean \"backend\"?",
                "tokens.toml:7:10: this token is listed already, for \"alice\": one token is one caller",
                "tokens.toml:9:10: tenant: must be a name of 1 to 256 bytes without control characters",
                "tokens.toml:10:1: \"user\" is missing in [[token]]",
                "tokens.toml:11:10: sha256: must be the SHA-256 of a token, 64 hexadecimal digits, these are 3 characters",
                "tokens.toml:13:10: sha256: must be the SHA-256 of a token, 64 hexadecimal digits, not an integer",
                "tokens.toml:14:8: user: must be a name of 1 to 256 bytes without control characters",
                "tokens.toml:15:2: unknown key \"tokens\" in a file of tokens; did you mean \"token\"?",
            ]
        );
    }

    #[test]
    fn a_token_in_place_of_its_hash_is_not_shown() {
        let text = "[[token]]\nsha256 = \"flt_hunter2\"\nuser = \"alice\"\n";
        let shown = parse(text, "x").unwrap_err()[0].to_string();
        assert!(shown.starts_with("x:2:10: sha256: this is the token itself"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_file_without_tokens_is_strange() {
        assert_eq!(
            problems(""),
            ["tokens.toml:1:1: warning: no [[token]]: nobody can connect with one"]
        );
        assert_eq!(problems("token = 1"), ["tokens.toml:1:9: token: must be a list"]);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_one_problem() {
        let found = load(Path::new("/dev/null/tokens.toml")).unwrap_err();
        assert!(found[0].to_string().starts_with("/dev/null/tokens.toml: cannot read the file"));
    }
}
