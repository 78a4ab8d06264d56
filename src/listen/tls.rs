//! TLS of a listener: its certificate, and the handshake. Certificates that change on disk are used from the next
//! handshake on; what is broken on disk changes nothing. Never logs what is in a file.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use prometheus::IntGauge;
use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::{ClientAuth, MinVersion, Tls};
use crate::time::Duration;
use crate::wire::certificates::{self, MAX_FILE};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// What TLS keeps of what the socket does not take, in bytes.
const UNSENT: usize = 32 * 1024;

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

/// The TLS of one listener.
pub struct Terminator {
    with: Tls,
    /// What may be spoken within it, the best first (RFC 7301); none: nobody is asked.
    protocols: Vec<Vec<u8>>,
    /// What the next handshake uses: all of it is swapped together, and with it the sessions that could be resumed.
    current: RwLock<Arc<ServerConfig>>,
    not_after: IntGauge,
    /// What the files held when they were last looked at.
    seen: u64,
}

impl Terminator {
    /// Reads the files. `not_after` is kept at the end of the certificate in force, in seconds of Unix time.
    /// `protocols`: what may be spoken within it, the best first. Errors: they cannot be used.
    pub fn new(with: &Tls, protocols: &[&[u8]], not_after: IntGauge) -> Result<Self, TlsError> {
        let files = Files::read(with)?;
        let protocols: Vec<_> = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let (config, ends) = files.config(with, &protocols)?;
        not_after.set(ends);
        let (with, current) = (with.clone(), RwLock::new(Arc::new(config)));
        Ok(Terminator { with, protocols, current, not_after, seen: files.fingerprint() })
    }

    /// Shakes hands. Has no deadline of its own. Errors: the client's, or the library's as the inner one.
    pub async fn accept(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.current.read()));
        let with = |connection: &mut rustls::ServerConnection| {
            connection.set_buffer_limit(Some(UNSENT));
        };
        acceptor.accept_with(socket, with).await
    }

    /// Follows the files for ever: what is right on disk comes into force, what is not is told once.
    pub async fn follow(self: Arc<Self>, listener: String) {
        let mut ticks = tokio::time::interval(LOOK);
        let mut last = Ok(self.seen);
        loop {
            ticks.tick().await;
            let with = self.with.clone();
            let read = tokio::task::spawn_blocking(move || Files::read(&with));
            let Ok(read) = read.await else { continue };
            let now = read.as_ref().map(Files::fingerprint).map_err(ToString::to_string);
            if now == last {
                continue;
            }
            last = now;
            match read.and_then(|files| files.config(&self.with, &self.protocols)) {
                Ok((config, ends)) => {
                    *self.current.write() = Arc::new(config);
                    self.not_after.set(ends);
                    tracing::info!(
                        kind = "tls",
                        listener,
                        not_after = ends,
                        "another certificate is in force"
                    );
                }
                Err(error) => {
                    tracing::warn!(
                        kind = "tls",
                        listener,
                        %error,
                        "the files on disk cannot be used: the certificate in force stays"
                    );
                }
            }
        }
    }
}

impl fmt::Debug for Terminator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminator").field("with", &self.with).finish_non_exhaustive()
    }
}

/// What the files hold.
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Files {
    fn read(with: &Tls) -> Result<Self, TlsError> {
        let client_ca = with.client_ca.as_ref().map(|ca| read(&ca.file)).transpose()?;
        Ok(Files { certificate: read(&with.certificate)?, key: read(&with.key)?, client_ca })
    }

    /// The same for the same files: so that no key is kept to be compared.
    fn fingerprint(&self) -> u64 {
        let files = [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()];
        files.into_iter().fold(0, |hash, file| {
            twox_hash::XxHash3_64::oneshot_with_seed(hash, file.map_or(&[], Vec::as_slice))
        })
    }

    /// What handshakes use, and when its certificate ends.
    fn config(&self, with: &Tls, protocols: &[Vec<u8>]) -> Result<(ServerConfig, i64), TlsError> {
        let pair = certificates::pair(&self.certificate, &self.key).map_err(|error| {
            let file = if error.is_of_key() { &with.key } else { &with.certificate };
            TlsError::Content(file.clone(), error)
        })?;
        let versions: &[_] = match with.min_version {
            MinVersion::V12 => &[&TLS12, &TLS13],
            MinVersion::V13 => &[&TLS13],
        };
        let builder = ServerConfig::builder_with_provider(certificates::provider());
        let builder = builder.with_protocol_versions(versions).map_err(TlsError::Refused)?;
        let builder = match (&with.client_ca, &self.client_ca) {
            (Some(ca), Some(roots)) => {
                let required = ca.auth == ClientAuth::Required;
                let verifier = certificates::client_verifier(roots, required);
                let verifier = verifier.map_err(|e| TlsError::Content(ca.file.clone(), e))?;
                builder.with_client_cert_verifier(verifier)
            }
            (_, _) => builder.with_no_client_auth(),
        };
        let resolver = SingleCertAndKey::from(pair.certified);
        let mut config = builder.with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = protocols.to_vec();
        if self.client_ca.is_some() {
            // A session that is resumed would let in a certificate that has ended since.
            config.session_storage = Arc::new(NoServerSessionStorage {});
        }
        Ok((config, pair.not_after))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let cannot = |error| TlsError::Read(path.to_owned(), error);
    let mut bytes = Vec::new();
    File::open(path).map_err(cannot)?.take(MAX_FILE).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(bytes)
}
