//! What proves who calls and stands in files of its own, which may change while fairlead runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::problem::Problem;
use crate::config::secret::Secret;
use crate::config::{read_text, tokens};
use crate::identity::jwt::{Algorithm, Key, Keys, Rules, Verifier};
use crate::identity::token::Tokens;

/// `source = "token"`: the tokens that the operator gave out.
#[derive(Clone, Debug)]
pub struct TokenFile {
    /// Where they are listed. Absolute.
    pub path: PathBuf,
    /// What was listed there when it was read.
    pub tokens: Arc<Tokens>,
}

impl TokenFile {
    /// Reads and checks the file: the tokens and what is strange about them, or everything that is wrong.
    pub fn read(path: &Path) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let (tokens, warnings) = tokens::load(path)?;
        Ok((TokenFile { path: path.to_owned(), tokens: Arc::new(tokens) }, warnings))
    }
}

/// Where the keys of an issuer are kept.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// One key: the secret, or a public key as PEM.
    Key(Secret),
    /// A JWK Set. Absolute.
    Jwks(PathBuf),
}

/// `source = "jwt"`: tokens of one issuer.
#[derive(Clone, Debug)]
pub struct Jwt {
    /// How they may be signed.
    pub algorithms: Vec<Algorithm>,
    /// With which keys.
    pub keys: KeySource,
    /// What verifies them.
    pub verifier: Arc<Verifier>,
}

impl Jwt {
    /// Reads the keys. Fails with a sentence for people, without a key.
    pub fn new(algorithms: Vec<Algorithm>, keys: KeySource, rules: Rules) -> Result<Self, String> {
        let read = match &keys {
            KeySource::Key(secret) => match algorithms.as_slice() {
                [algorithm] => Keys::one(Key::read(*algorithm, secret.expose())?),
                _ => return Err("one key serves one algorithm: name just that one".into()),
            },
            KeySource::Jwks(path) => Keys::of_set(&read_text(path)?, &algorithms)?,
        };
        let verifier = Arc::new(Verifier::new(read, rules));
        Ok(Jwt { algorithms, keys, verifier })
    }

    /// The file that the keys are in.
    pub fn file(&self) -> Option<&Path> {
        match &self.keys {
            KeySource::Key(secret) => secret.file(),
            KeySource::Jwks(path) => Some(path),
        }
    }

    /// The same with its keys read again.
    pub(super) fn reread(&self) -> Result<Self, Vec<Problem>> {
        let keys = match &self.keys {
            KeySource::Key(secret) => secret.reread().map(KeySource::Key),
            KeySource::Jwks(path) => Ok(KeySource::Jwks(path.clone())),
        };
        let rules = self.verifier.rules().clone();
        keys.and_then(|keys| Jwt::new(self.algorithms.clone(), keys, rules)).map_err(|why| {
            let file = self.file().map_or_else(|| "jwt".into(), |path| path.display().to_string());
            vec![Problem::of_file(&file, why)]
        })
    }
}
