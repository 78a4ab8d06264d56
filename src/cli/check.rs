//! `fairlead check`: every mistake of a configuration, or in words what it will do.
//!
//! Starts nothing and binds nothing.

use std::io;

use clap::Args;
use serde_json::{Value, json};

use super::describe::describe;
use super::isolation::isolation;
use super::{ConfigFile, Exit, Streams};
use crate::config::{self, Problem};

/// Report every mistake in the configuration, or say in words what it does.
#[derive(Args, Debug)]
pub(super) struct Check {
    #[command(flatten)]
    file: ConfigFile,
    /// Treat warnings as errors.
    #[arg(long)]
    deny_warnings: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(&self, streams: &mut Streams<'_>) -> io::Result<Exit> {
        let (said, problems) = match config::load(&self.file.config) {
            Ok((config, warnings)) => (Some((describe(&config), isolation(&config))), warnings),
            Err(problems) => (None, problems),
        };
        let good = said.is_some() && (problems.is_empty() || !self.deny_warnings);
        let (lines, isolation) = said.filter(|_| good).unwrap_or_default();
        if self.json {
            let problems: Vec<Value> = problems.iter().map(Problem::to_json).collect();
            let report = json!({ "ok": good, "problems": problems, "summary": lines, "isolation": isolation });
            writeln!(streams.out, "{report:#}")?;
        } else {
            report(&problems, streams)?;
            for line in &lines {
                writeln!(streams.out, "{line}")?;
            }
            if good {
                writeln!(streams.out, "ok; who is kept apart from whom:")?;
            }
            for line in &isolation {
                writeln!(streams.out, "- {line}")?;
            }
        }
        Ok(if good { Exit::Clean } else { Exit::BadConfig })
    }
}

/// Writes the problems and how many there are; nothing where there are none.
pub(super) fn report(problems: &[Problem], streams: &mut Streams<'_>) -> io::Result<()> {
    for problem in problems {
        writeln!(streams.err, "{}", problem.render(streams.colours))?;
    }
    let errors = problems.iter().filter(|p| p.is_error()).count();
    let counts = [(errors, "error"), (problems.len() - errors, "warning")];
    let said: Vec<String> = counts
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("{n} {what}{}", if *n == 1 { "" } else { "s" }))
        .collect();
    if said.is_empty() { Ok(()) } else { writeln!(streams.err, "{}", said.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::run;
    use super::*;

    fn file(text: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("fairlead-{}.toml", uuid::Uuid::new_v4()));
        std::fs::write(&path, text).unwrap();
        path
    }

    fn check(text: &str, more: &[&str]) -> (Exit, String, String) {
        let path = file(text);
        let mut arguments = vec!["check", "--config", path.to_str().unwrap()];
        arguments.extend(more);
        let ended = run(&arguments);
        std::fs::remove_file(path).unwrap();
        ended
    }

    const GOOD: &str = "[[listener]]\nname = \"sdk\"\nbind = \"127.0.0.1:4320\"\npool = \"cli\"\n[[pool]]\nname = \"cli\"\nupstreams = [\"127.0.0.1:4321\"]\n";

    #[test]
    fn a_right_file_says_what_it_does() {
        let (exit, out, err) = check(GOOD, &[]);
        assert_eq!((exit, err.as_str()), (Exit::Clean, ""));
        assert!(out.starts_with("listener sdk: jsonrpc on 127.0.0.1:4320 -> pool cli"), "{out}");
        assert!(out.contains("\nok; who is kept apart from whom:\n- listener sdk: "), "{out}");
    }

    #[test]
    fn a_wrong_file_is_bad_config_and_all_its_problems_are_shown() {
        let (exit, out, err) = check(&GOOD.replace("name", "nam"), &[]);
        assert_eq!((exit, out.as_str()), (Exit::BadConfig, ""));
        assert!(
            err.contains(".toml:2:1: unknown key \"nam\" in [[listener]]; did you mean \"name\"?")
        );
        assert!(err.contains("\n2 | nam = \"sdk\"\n  | ^^^\n"), "{err}");
        assert!(err.ends_with("4 errors\n"), "{err}");
    }

    #[test]
    fn warnings_pass_unless_denied() {
        let text = format!("{GOOD}balance = \"consistent\"\n");
        let (exit, _, err) = check(&text, &[]);
        assert_eq!(exit, Exit::Clean);
        assert!(err.contains(": warning: ") && err.ends_with("1 warning\n"), "{err}");
        assert_eq!(check(&text, &["--deny-warnings"]).0, Exit::BadConfig);
    }

    #[test]
    fn json_has_the_problems_or_the_summary() {
        let (exit, out, _) = check(&GOOD.replace("cli\"\nup", "cle\"\nup"), &["--json"]);
        let json: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((exit, &json["ok"]), (Exit::BadConfig, &Value::Bool(false)));
        assert_eq!(json["problems"][0]["line"], 4);
        assert_eq!(json["problems"][0]["suggestion"], "cle");
        let (_, out, _) = check(GOOD, &["--json"]);
        let json: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(json["summary"].as_array().unwrap().len(), 2);
        assert!(json["isolation"][0].as_str().unwrap().contains("nobody proves who calls"));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_one_problem() {
        let (exit, _, err) = run(&["check", "--config", "/nonexistent/x.toml"]);
        assert_eq!(exit, Exit::BadConfig);
        assert!(err.starts_with("/nonexistent/x.toml: cannot read the file: "), "{err}");
    }
}
