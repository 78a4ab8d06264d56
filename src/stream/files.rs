//! The files of certificates and keys that TLS uses: read, and looked at again. Never keeps or logs what is in one.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use tokio::time::Interval;

use crate::config::MinVersion;
use crate::time::Duration;
use crate::wire::certificates::{self, MAX_FILE};

/// How often the files are looked at.
pub const LOOK: Duration = Duration::from_secs(2);

/// Why TLS cannot be spoken with what is on disk.
#[derive(Debug)]
pub enum TlsError {
    /// A file cannot be read.
    Read(PathBuf, io::Error),
    /// What is in a file is of no use.
    Content(PathBuf, certificates::Error),
    /// The library refuses it.
    Refused(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Read(path, error) => write!(f, "cannot read {}: {error}", path.display()),
            TlsError::Content(path, error) => write!(f, "{}: {error}", path.display()),
            TlsError::Refused(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for TlsError {}

/// The beginning of a file, as far as it is looked at. Errors: it cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let cannot = |error| TlsError::Read(path.to_owned(), error);
    let mut bytes = Vec::new();
    File::open(path).map_err(cannot)?.take(MAX_FILE).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(bytes)
}

/// The same for the same contents in the same order: so that no key is kept to be compared.
pub fn fingerprint<'a>(contents: impl Iterator<Item = &'a Vec<u8>>) -> u64 {
    contents.fold(0, |hash, file| twox_hash::XxHash3_64::oneshot_with_seed(hash, file))
}

/// What may be spoken where this is the least.
pub fn versions(least: MinVersion) -> &'static [&'static SupportedProtocolVersion] {
    static FROM_12: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
    static FROM_13: [&SupportedProtocolVersion; 1] = [&TLS13];
    match least {
        MinVersion::V12 => &FROM_12,
        MinVersion::V13 => &FROM_13,
    }
}

/// Files that are looked at again and again.
#[derive(Debug)]
pub struct Watched {
    ticks: Interval,
    /// The fingerprint of what they held, or why they could not be read, when they were last looked at.
    last: Result<u64, String>,
}

impl Watched {
    /// They held this when they were read.
    pub fn new(fingerprint: u64) -> Self {
        Watched { ticks: tokio::time::interval(LOOK), last: Ok(fingerprint) }
    }

    /// Waits until they hold something else, or can be read no more; says each only once.
    pub async fn changed<F: Send + 'static>(
        &mut self,
        read: impl FnOnce() -> Result<F, TlsError> + Clone + Send + 'static,
        fingerprint: impl Fn(&F) -> u64,
    ) -> Result<F, TlsError> {
        loop {
            self.ticks.tick().await;
            let Ok(read) = tokio::task::spawn_blocking(read.clone()).await else { continue };
            let now = read.as_ref().map(&fingerprint).map_err(ToString::to_string);
            if now != self.last {
                self.last = now;
                return read;
            }
        }
    }
}
