//! TLS to the upstreams of a pool. What they show is always verified: against the file that the pool names, and for the name
//! that is meant. Files that change on disk are used for the next connections; what is broken there changes nothing. Never
//! logs what is in a file.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::{MinVersion, PoolTls};
use crate::time::Duration;
use crate::wire::certificates::{self, MAX_FILE};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Why TLS cannot be spoken with what is on disk, in words. Has nothing of a file but its name.
#[derive(Debug)]
pub struct Unusable(String);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unusable {}

/// The TLS of one pool.
pub struct Client {
    with: PoolTls,
    /// What the next handshake uses: all of it is swapped together, and with it the sessions that could be resumed.
    current: RwLock<Arc<ClientConfig>>,
    /// What the files held when they were last looked at.
    seen: u64,
}

impl Client {
    /// Reads the files. Errors: they cannot be used.
    pub fn new(with: &PoolTls) -> Result<Self, Unusable> {
        let files = Files::read(with)?;
        let current = RwLock::new(Arc::new(files.config(with)?));
        Ok(Client { with: with.clone(), current, seen: files.fingerprint() })
    }

    /// What a handshake uses that begins now: for whoever speaks TLS by itself.
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.current.read())
    }

    /// What was asked for.
    pub fn with(&self) -> &PoolTls {
        &self.with
    }

    /// Follows the files for ever: what is right on disk comes into force, what is not is told once.
    pub async fn follow(self: Arc<Self>, pool: String) {
        let mut ticks = tokio::time::interval(LOOK);
        let mut last = Ok(self.seen);
        loop {
            ticks.tick().await;
            self.look(&pool, &mut last).await;
        }
    }

    /// Looks at the files once. `last`: what was seen in them before.
    async fn look(&self, pool: &str, last: &mut Result<u64, String>) {
        let with = self.with.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || Files::read(&with)).await else {
            return;
        };
        let now = read.as_ref().map(Files::fingerprint).map_err(ToString::to_string);
        if now == *last {
            return;
        }
        *last = now;
        match read.and_then(|files| files.config(&self.with)) {
            Ok(config) => {
                *self.current.write() = Arc::new(config);
                tracing::info!(kind = "tls", pool, "other certificates are in force");
            }
            Err(error) => {
                tracing::warn!(
                    kind = "tls", pool, %error,
                    "the files on disk cannot be used: what is in force stays"
                );
            }
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("with", &self.with).finish_non_exhaustive()
    }
}

/// How TLS is spoken with one upstream.
#[derive(Clone, Debug)]
pub struct Way {
    client: Arc<Client>,
    name: ServerName<'static>,
}

impl Way {
    /// `name`: the name or address that the upstream must have in its certificate. `None`: it is neither.
    pub fn new(client: &Arc<Client>, name: &str) -> Option<Self> {
        let name = ServerName::try_from(name.trim_end_matches('.').to_owned()).ok()?;
        Some(Way { client: Arc::clone(client), name })
    }

    /// The TLS of its pool.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// What the certificate must be for.
    pub fn name(&self) -> &ServerName<'static> {
        &self.name
    }

    /// Shakes hands. Has no deadline of its own. Errors: the system's, or the library's as the inner one.
    pub async fn shake(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsConnector::from(self.client.config()).connect(self.name.clone(), socket).await
    }
}

/// What the files hold.
struct Files {
    ca: Vec<u8>,
    /// Our certificate and key.
    own: Option<(Vec<u8>, Vec<u8>)>,
}

impl Files {
    fn read(with: &PoolTls) -> Result<Self, Unusable> {
        let own = with.own.as_ref().map(|(certificate, key)| Ok((read(certificate)?, read(key)?)));
        Ok(Files { ca: read(&with.ca)?, own: own.transpose()? })
    }

    /// The same for the same files: so that no key is kept to be compared.
    fn fingerprint(&self) -> u64 {
        let own = self.own.iter().flat_map(|(certificate, key)| [certificate, key]);
        std::iter::once(&self.ca)
            .chain(own)
            .fold(0, |hash, file| twox_hash::XxHash3_64::oneshot_with_seed(hash, file))
    }

    fn config(&self, with: &PoolTls) -> Result<ClientConfig, Unusable> {
        let of = |path: &Path, error: certificates::Error| {
            Unusable(format!("{}: {error}", path.display()))
        };
        let roots = certificates::roots(&self.ca).map_err(|error| of(&with.ca, error))?;
        let versions: &[_] = match with.min_version {
            MinVersion::V12 => &[&TLS12, &TLS13],
            MinVersion::V13 => &[&TLS13],
        };
        let builder = ClientConfig::builder_with_provider(certificates::provider());
        let builder = builder.with_protocol_versions(versions);
        let builder = builder.map_err(|error| Unusable(error.to_string()))?;
        let builder = builder.with_root_certificates(roots);
        let mut config = match (&self.own, &with.own) {
            (Some((certificate, key)), Some((certificate_path, key_path))) => {
                let pair = certificates::pair(certificate, key).map_err(|error| {
                    of(if error.is_of_key() { key_path } else { certificate_path }, error)
                })?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair.certified)))
            }
            (_, _) => builder.with_no_client_auth(),
        };
        config.alpn_protocols = with.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(config)
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, Unusable> {
    let cannot = |error| Unusable(format!("cannot read {}: {error}", path.display()));
    let mut bytes = Vec::new();
    File::open(path).map_err(cannot)?.take(MAX_FILE).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
