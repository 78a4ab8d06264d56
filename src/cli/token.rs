//! `fairlead token ...`: tokens for clients. A token is shown once, when it is made; only its hash is written anywhere.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use ring::rand::{SecureRandom as _, SystemRandom};
use toml::{Table, Value};

use super::check::report;
use super::{Exit, Streams};
use crate::config::tokens;
use crate::identity::token::{PREFIX, hash, to_hex};
use crate::identity::{self, is_name};

/// Tokens that clients prove themselves with (`source = "token"`).
#[derive(Debug, Subcommand)]
pub(super) enum Token {
    New(New),
}

/// Make a token for one user, and show it once.
///
/// Give the token to the client, as the connection token of its SDK. fairlead keeps only its SHA-256, in a `[[token]]` of
/// the file that the listener names: [[listener.identity]] source = "token", tokens = { file = "tokens.toml" }.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  fairlead token new --user alice --tenant acme --file tokens.toml
  fairlead token new --user portal --tenant acme --trust backend --json")]
pub(super) struct New {
    /// Whom it stands for.
    #[arg(long, value_name = "NAME", value_parser = name)]
    user: String,
    /// The tenant of that user; without one it is among all users without a tenant.
    #[arg(long, value_name = "NAME", value_parser = name)]
    tenant: Option<String>,
    /// "user": its own sessions alone; "backend": those of all users of its tenant. Default: as the listener says.
    #[arg(long, value_name = "TRUST", value_parser = ["user", "backend"])]
    trust: Option<String>,
    /// What you call this token, to find it again.
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Option<String>,
    /// Append it to this file of tokens instead of showing what to append. Made if it is not there.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn name(text: &str) -> Result<String, String> {
    if is_name(text) {
        return Ok(text.to_owned());
    }
    Err(format!("a name has 1 to {} bytes and no control characters", identity::MAX_NAME))
}

impl Token {
    pub(super) fn run(&self, streams: &mut Streams<'_>) -> io::Result<Exit> {
        match self {
            Token::New(new) => new.run(streams),
        }
    }
}

impl New {
    fn run(&self, streams: &mut Streams<'_>) -> io::Result<Exit> {
        let Some(token) = made() else {
            writeln!(streams.err, "error: the system gives no random numbers")?;
            return Ok(Exit::Failure);
        };
        let entry = self.entry(&token);
        let text = to_toml(&entry)?;
        if let Some(file) = &self.file
            && let Some(exit) = append(file, &text, streams)?
        {
            return Ok(exit);
        }
        if self.json {
            let entry = serde_json::to_value(&entry).map_err(io::Error::other)?;
            let report = serde_json::json!({ "token": token, "entry": entry, "file": self.file });
            writeln!(streams.out, "{report:#}")?;
            return Ok(Exit::Clean);
        }
        writeln!(streams.err, "The token, shown this once:")?;
        writeln!(streams.out, "{token}")?;
        match &self.file {
            Some(file) => writeln!(streams.err, "Its hash is in {}.", file.display())?,
            None => {
                writeln!(streams.err, "Append this to the file of tokens:")?;
                write!(streams.out, "\n{text}")?;
            }
        }
        Ok(Exit::Clean)
    }

    fn entry(&self, token: &str) -> Table {
        let mut entry = Table::new();
        let sha256 = to_hex(&hash(token));
        let keys = [
            ("name", self.name.as_ref()),
            ("user", Some(&self.user)),
            ("tenant", self.tenant.as_ref()),
            ("trust", self.trust.as_ref()),
            ("sha256", Some(&sha256)),
        ];
        for (key, value) in keys {
            entry.extend(value.map(|value| (key.to_owned(), Value::String(value.clone()))));
        }
        entry
    }
}

/// 32 random bytes as text; nothing if the system has none.
fn made() -> Option<String> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

fn to_toml(entry: &Table) -> io::Result<String> {
    let list = Value::Array(vec![Value::Table(entry.clone())]);
    let file: Table = [("token".to_owned(), list)].into_iter().collect();
    toml::to_string(&file).map_err(io::Error::other)
}

/// Appends to a file that is right as it is, or says what is wrong with it.
fn append(path: &Path, text: &str, streams: &mut Streams<'_>) -> io::Result<Option<Exit>> {
    let there = path.exists();
    if there && let Err(problems) = tokens::load(path) {
        report(&problems, streams)?;
        return Ok(Some(Exit::BadConfig));
    }
    // One write, so that a reader sees the old file or the new one.
    let text = if there { format!("\n{text}") } else { text.to_owned() };
    let file = OpenOptions::new().append(true).create(true).open(path);
    if let Err(why) = file.and_then(|mut file| file.write_all(text.as_bytes())) {
        writeln!(streams.err, "error: cannot write {}: {why}", path.display())?;
        return Ok(Some(Exit::Failure));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::tests::run;
    use super::*;
    use crate::caller::Trust;

    fn path() -> PathBuf {
        std::env::temp_dir().join(format!("fairlead-tokens-{}.toml", uuid::Uuid::new_v4()))
    }

    #[test]
    fn a_token_is_shown_once_with_the_table_that_makes_it_work() {
        let (exit, out, err) =
            run(&["token", "new", "--user", "alice", "--tenant", "acme", "--trust", "backend"]);
        assert_eq!(exit, Exit::Clean);
        let (token, table) = out.split_once("\n\n").unwrap();
        assert!(token.starts_with("flt_") && token.len() == 4 + 43, "{token}");
        let claim = tokens::parse(table, "x").unwrap().0.find(token).unwrap();
        assert_eq!(claim.user.as_deref(), Some("alice"));
        assert_eq!((claim.tenant.as_deref(), claim.trust), (Some("acme"), Some(Trust::Backend)));
        assert_eq!(out.matches(token).count(), 1);
        assert!(!err.contains(token), "{err}");
    }

    #[test]
    fn tokens_are_appended_and_the_file_stays_right() {
        let path = path();
        let file = path.to_str().unwrap();
        let new = |user| run(&["token", "new", "--user", user, "--file", file]).1;
        let (one, two) = (new("alice"), new("bob \"the\" builder"));
        let (read, warnings) = tokens::load(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(warnings.is_empty());
        assert_eq!(read.find(one.trim()).unwrap().user.as_deref(), Some("alice"));
        assert_eq!(read.find(two.trim()).unwrap().user.as_deref(), Some("bob \"the\" builder"));
        assert_ne!(one, two);
        assert!(!text.contains("flt_"), "{text}");
    }

    #[test]
    fn a_broken_file_is_shown_and_left_alone() {
        let path = path();
        std::fs::write(&path, "[[tokn]]\n").unwrap();
        let (exit, out, err) =
            run(&["token", "new", "--user", "a", "--file", path.to_str().unwrap()]);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!((exit, out.as_str()), (Exit::BadConfig, ""));
        assert!(err.contains(":1:3: unknown key \"tokn\""), "{err}");
        assert_eq!(text, "[[tokn]]\n");
    }

    #[test]
    fn json_has_the_token_and_its_entry() {
        let (_, out, _) = run(&["token", "new", "--user", "alice", "--name", "laptop", "--json"]);
        let json: serde_json::Value = serde_json::from_str(&out).unwrap();
        let token = json["token"].as_str().unwrap();
        assert_eq!(json["entry"]["sha256"], to_hex(&hash(token)));
        assert_eq!(json["entry"]["name"], "laptop");
    }

    #[test]
    fn names_are_checked_and_the_help_says_what_to_do() {
        for bad in ["", "a\nb"] {
            let (exit, out, err) = run(&["token", "new", "--user", bad]);
            assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
            assert!(err.contains("no control characters"), "{err}");
        }
        let (exit, out, _) = run(&["token", "new", "--help"]);
        assert_eq!(exit, Exit::Clean);
        for word in ["--user", "--tenant", "backend", "tokens.toml", "SHA-256"] {
            assert!(out.contains(word), "{word}: {out}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_shows_no_token() {
        let (exit, out, err) =
            run(&["token", "new", "--user", "a", "--file", "/dev/null/tokens.toml"]);
        assert_eq!((exit, out.as_str()), (Exit::Failure, ""));
        assert!(err.starts_with("error: cannot write /dev/null/tokens.toml"), "{err}");
    }
}
