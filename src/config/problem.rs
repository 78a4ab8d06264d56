//! What is wrong with a file, where, and what was probably meant; as text with a caret, or as JSON.
//!
//! Never shows a line that seems to hold a secret, and never passes control characters on to a terminal.

use std::fmt;
use std::fmt::Write as _;

use serde_json::{Value, json};

/// Longer source lines are not shown, in characters.
const MAX_SHOWN: usize = 200;

/// Whether a problem forbids the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but it probably does not do what was meant.
    Warning,
}

impl Severity {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// A stretch of one line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// How many characters are meant, at least 1.
    pub width: usize,
    /// The line itself, unless it is long or seems to hold a secret.
    pub text: Option<String>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// The file, as the caller named it.
    pub file: String,
    /// Where; `None` if it is the file as a whole.
    pub place: Option<Place>,
    /// What is wrong: one line, no full stop.
    pub message: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

impl Problem {
    /// An error of the file as a whole.
    pub fn of_file(file: &str, message: String) -> Self {
        Problem {
            severity: Severity::Error,
            file: file.to_owned(),
            place: None,
            message,
            suggestion: None,
        }
    }

    /// Whether it forbids the start.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// `file:line:column: message` and, below it, the line with a caret. Ends without a newline.
    pub fn render(&self, colours: Colours) -> String {
        let mut out = String::new();
        let _ = self.write(&mut out, colours);
        out
    }

    /// The same as a JSON object, without the source line.
    pub fn to_json(&self) -> Value {
        json!({
            "severity": self.severity.word(),
            "file": self.file,
            "line": self.place.as_ref().map(|p| p.line),
            "column": self.place.as_ref().map(|p| p.column),
            "message": self.message,
            "suggestion": self.suggestion,
        })
    }

    fn write(&self, out: &mut String, colours: Colours) -> fmt::Result {
        let paint = Paint::of(self.severity, colours);
        write!(out, "{}{}", paint.bold, self.file)?;
        if let Some(place) = &self.place {
            write!(out, ":{}:{}", place.line, place.column)?;
        }
        write!(out, ":{} ", paint.reset)?;
        if self.severity == Severity::Warning {
            write!(out, "{}warning:{} ", paint.colour, paint.reset)?;
        }
        write!(out, "{}", self.message)?;
        if let Some(suggestion) = &self.suggestion {
            write!(out, "; did you mean {suggestion:?}?")?;
        }
        match &self.place {
            Some(place) => place.write(out, &paint),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Colours::No))
    }
}

impl Place {
    fn write(&self, out: &mut String, paint: &Paint) -> fmt::Result {
        let Some(text) = &self.text else { return Ok(()) };
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        // Tabs stay tabs, so that the caret stands where the terminal puts the text.
        let before: String =
            text.chars().take(self.column - 1).map(|c| if c == '\t' { c } else { ' ' }).collect();
        write!(out, "\n{gutter} |\n{number} | {text}\n{gutter} | {before}")?;
        write!(out, "{}{}{}", paint.colour, "^".repeat(self.width), paint.reset)
    }
}

/// Whether to colour what is rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    /// ANSI sequences, for a terminal.
    Yes,
    /// Plain text.
    No,
}

struct Paint {
    bold: &'static str,
    colour: &'static str,
    reset: &'static str,
}

impl Paint {
    fn of(severity: Severity, colours: Colours) -> Self {
        match (colours, severity) {
            (Colours::No, _) => Paint { bold: "", colour: "", reset: "" },
            (Colours::Yes, Severity::Error) => {
                Paint { bold: "\x1b[1m", colour: "\x1b[1;31m", reset: "\x1b[0m" }
            }
            (Colours::Yes, Severity::Warning) => {
                Paint { bold: "\x1b[1m", colour: "\x1b[1;33m", reset: "\x1b[0m" }
            }
        }
    }
}

/// The line as it may be shown: `None` if it is too long or seems to hold a secret.
pub(super) fn shown(line: &str) -> Option<String> {
    if line.chars().nth(MAX_SHOWN).is_some() || holds_secret(line) {
        return None;
    }
    let plain = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
    Some(line.chars().map(plain).collect())
}

/// Whether a key or variable of this name is likely to hold a secret.
pub(super) fn names_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let within = ["token", "secret", "passw", "credential", "apikey", "authorization"];
    let alone = ["key", "pat"];
    within.iter().any(|word| name.contains(word))
        || name.split(|c: char| !c.is_alphanumeric()).any(|part| alone.contains(&part))
}

/// Whether `line` assigns a literal string to a name that [`names_secret`].
fn holds_secret(line: &str) -> bool {
    line.match_indices('=').any(|(at, _)| {
        let (before, after) = line.split_at(at);
        let name = before.rsplit(['{', ',']).next().unwrap_or(before);
        let name_is = |word: &str| name.trim() == word;
        let literal = after.trim_start_matches(['=', ' ', '\t']).starts_with(['"', '\'']);
        // Where a hash belongs, somebody may have put what it is the hash of.
        literal && (names_secret(name) || name_is("sha256"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem() -> Problem {
        Problem {
            severity: Severity::Error,
            file: "conf/x.toml".into(),
            place: Some(Place {
                line: 12,
                column: 2,
                width: 8,
                text: shown("\tupstream = [\"127.0.0.1:1\"]"),
            }),
            message: "unknown key \"upstream\" in [[pool]]".into(),
            suggestion: Some("upstreams".into()),
        }
    }

    #[test]
    fn a_problem_shows_its_line_with_a_caret_under_it() {
        assert_eq!(
            problem().to_string(),
            "conf/x.toml:12:2: unknown key \"upstream\" in [[pool]]; did you mean \"upstreams\"?\n   \
             |\n12 | \tupstream = [\"127.0.0.1:1\"]\n   | \t^^^^^^^^"
        );
    }

    #[test]
    fn a_warning_says_so() {
        let warning = Problem { severity: Severity::Warning, place: None, ..problem() };
        assert!(warning.to_string().starts_with("conf/x.toml: warning: unknown key"));
    }

    #[test]
    fn colours_are_only_for_those_who_ask() {
        assert!(!problem().render(Colours::No).contains('\x1b'));
        assert!(problem().render(Colours::Yes).contains("\x1b[1;31m^^^^^^^^\x1b[0m"));
    }

    #[test]
    fn json_has_place_and_suggestion() {
        let json = problem().to_json();
        assert_eq!(json["line"], 12);
        assert_eq!(json["column"], 2);
        assert_eq!(json["severity"], "error");
        assert_eq!(json["suggestion"], "upstreams");
    }

    #[test]
    fn lines_with_literal_secrets_are_not_shown() {
        for line in [
            "token = \"hunter2\"",
            "  \"API_KEY\"='x'",
            "env = { A = \"1\", GITHUB_TOKEN = \"ghp\" }",
            "x_password =\t\"\"\"",
        ] {
            assert_eq!(shown(line), None, "{line}");
        }
        assert!(shown("token = { env = \"CLI_TOKEN\" }").is_some());
        assert!(shown("name = \"token\"").is_some());
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(shown("a\x1b[2Jb").unwrap(), "a\u{fffd}[2Jb");
    }
}
