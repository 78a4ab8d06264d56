//! Values that must not be seen: read from the environment or from a file, never printed.
//!
//! `Debug` and `Display` give `***`; the text comes out of [`Secret::expose`] alone, so that a
//! search for that word finds every use.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The largest secret, in bytes.
const MAX_SECRET: u64 = 64 * 1024;

/// Where a secret is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable of fairlead.
    Env(String),
    /// A file; one line break at its end does not belong to the secret.
    File(PathBuf),
    /// The configuration file itself (a variable of a managed CLI whose name says that it is a secret).
    Inline,
}

/// A secret and where it came from.
#[derive(Clone)]
pub struct Secret {
    source: SecretSource,
    value: String,
}

impl Secret {
    /// Reads the secret from `source`; `env` looks up environment variables.
    /// Fails with a sentence for people, without the value.
    pub fn read(
        source: SecretSource,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let value = match &source {
            SecretSource::Env(name) => {
                env(name).ok_or_else(|| format!("environment variable {name:?} is not set"))?
            }
            SecretSource::File(path) => read_file(path)?,
            SecretSource::Inline => return Err("this secret has no source to read".into()),
        };
        if value.is_empty() {
            return Err(match &source {
                SecretSource::Env(name) => format!("environment variable {name:?} is empty"),
                SecretSource::File(path) => format!("{} is empty", path.display()),
                SecretSource::Inline => "the secret is empty".into(),
            });
        }
        Ok(Secret { source, value })
    }

    /// A secret that stands in the configuration file.
    pub(super) fn inline(value: String) -> Self {
        Secret { source: SecretSource::Inline, value }
    }

    /// Reads it again from where it came from; an inline one stays as it is.
    pub fn reread(&self) -> Result<Self, String> {
        match &self.source {
            SecretSource::Inline => Ok(self.clone()),
            source @ (SecretSource::Env(_) | SecretSource::File(_)) => {
                Secret::read(source.clone(), &|name| std::env::var(name).ok())
            }
        }
    }

    /// The file that it is in.
    pub fn file(&self) -> Option<&Path> {
        match &self.source {
            SecretSource::File(path) => Some(path),
            SecretSource::Env(_) | SecretSource::Inline => None,
        }
    }

    /// The secret itself. For the wire and for a child's environment, never for a log.
    pub fn expose(&self) -> &str {
        &self.value
    }

    /// Where it came from.
    pub fn source(&self) -> &SecretSource {
        &self.source
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

fn read_file(path: &PathBuf) -> Result<String, String> {
    let cannot = |why: String| format!("cannot read the secret in {}: {why}", path.display());
    let file = std::fs::File::open(path).map_err(|e| cannot(e.to_string()))?;
    let mut bytes = Vec::new();
    file.take(MAX_SECRET + 1).read_to_end(&mut bytes).map_err(|e| cannot(e.to_string()))?;
    if bytes.len() as u64 > MAX_SECRET {
        return Err(cannot(format!("it is larger than {MAX_SECRET} bytes")));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| cannot("it is not UTF-8".into()))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "hunter2";

    #[test]
    fn a_secret_never_prints_itself() {
        let read = Secret::read(SecretSource::Env("T".into()), &|_| Some(CANARY.into()));
        let secret = read.unwrap();
        assert_eq!(format!("{secret} {secret:?} {:#?}", Some(&secret)).matches(CANARY).count(), 0);
        assert_eq!(secret.expose(), CANARY);
    }

    #[test]
    fn a_file_is_read_again_and_loses_one_line_break() {
        let path = std::env::temp_dir().join(format!("fairlead-secret-{}", uuid::Uuid::new_v4()));
        std::fs::write(&path, "one\n\r\n").unwrap();
        let secret = Secret::read(SecretSource::File(path.clone()), &|_| None).unwrap();
        assert_eq!(secret.expose(), "one\n");
        std::fs::write(&path, "two").unwrap();
        assert_eq!(secret.reread().unwrap().expose(), "two");
        std::fs::remove_file(&path).unwrap();
        assert!(secret.reread().unwrap_err().contains("cannot read the secret"));
    }

    #[test]
    fn an_empty_or_missing_variable_is_an_error() {
        let read = |value: Option<&str>| {
            let value = value.map(str::to_owned);
            Secret::read(SecretSource::Env("T".into()), &|_| value.clone()).unwrap_err()
        };
        assert_eq!(read(None), "environment variable \"T\" is not set");
        assert_eq!(read(Some("")), "environment variable \"T\" is empty");
    }
}
