//! TLS to the upstreams of a pool. What they show is always verified: against the file that the pool names, and for the name
//! that is meant. Files that change on disk are used for the next connections; what is broken there changes nothing. Never
//! logs what is in a file.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::PoolTls;
use crate::stream::files::{self, TlsError, Watched, read};
use crate::wire::certificates;

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
    pub fn new(with: &PoolTls) -> Result<Self, TlsError> {
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
        let mut watched = Watched::new(self.seen);
        loop {
            let with = self.with.clone();
            let read = watched.changed(move || Files::read(&with), Files::fingerprint).await;
            self.renew(read, &pool);
        }
    }

    fn renew(&self, read: Result<Files, TlsError>, pool: &str) {
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
    fn read(with: &PoolTls) -> Result<Self, TlsError> {
        let own = with.own.as_ref().map(|(certificate, key)| Ok((read(certificate)?, read(key)?)));
        Ok(Files { ca: read(&with.ca)?, own: own.transpose()? })
    }

    fn fingerprint(&self) -> u64 {
        let own = self.own.iter().flat_map(|(certificate, key)| [certificate, key]);
        files::fingerprint(std::iter::once(&self.ca).chain(own))
    }

    fn config(&self, with: &PoolTls) -> Result<ClientConfig, TlsError> {
        let of = |path: &PathBuf, error| TlsError::Content(path.clone(), error);
        let roots = certificates::roots(&self.ca).map_err(|error| of(&with.ca, error))?;
        let builder = ClientConfig::builder_with_provider(certificates::provider());
        let builder = builder.with_protocol_versions(files::versions(with.min_version));
        let builder = builder.map_err(TlsError::Refused)?;
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

#[cfg(test)]
mod tests;
