//! TLS of a listener: its certificates, and the handshake. Certificates that change on disk are used from the next
//! handshake on; what is broken on disk changes nothing. Never logs what is in a file.

mod by_name;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;
use prometheus::IntGauge;
use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use self::by_name::ByName;
use crate::config::{ClientAuth, Tls};
use crate::stream::files::{self, TlsError, Watched, read};
use crate::wire::certificates;

/// What TLS keeps of what the socket does not take, in bytes.
const UNSENT: usize = 32 * 1024;

/// The TLS of one listener.
pub struct Terminator {
    with: Tls,
    /// What the next handshake uses: all of it is swapped together, and with it the sessions that could be resumed.
    current: RwLock<Arc<ServerConfig>>,
    /// In the order of the certificates.
    not_after: Vec<IntGauge>,
    /// What the files held when they were last looked at.
    seen: u64,
}

impl Terminator {
    /// Reads the files. `not_after` makes the gauge of a certificate, which is kept at its end, in seconds of Unix time: the
    /// first is called `default`, the others by their first name. Errors: the files cannot be used.
    pub fn new(with: &Tls, not_after: impl Fn(&str) -> IntGauge) -> Result<Self, TlsError> {
        let files = Files::read(with)?;
        let (config, ends) = files.config(with)?;
        let others = with.sni.iter().filter_map(|sni| sni.hosts.first().map(String::as_str));
        let not_after = std::iter::once("default").chain(others).map(not_after).collect();
        let (with, current) = (with.clone(), RwLock::new(Arc::new(config)));
        let terminator = Terminator { with, current, not_after, seen: files.fingerprint() };
        terminator.show(&ends);
        Ok(terminator)
    }

    fn show(&self, ends: &[i64]) {
        self.not_after.iter().zip(ends).for_each(|(gauge, end)| gauge.set(*end));
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
        let mut watched = Watched::new(self.seen);
        loop {
            let with = self.with.clone();
            let read = watched.changed(move || Files::read(&with), Files::fingerprint).await;
            match read.and_then(|files| files.config(&self.with)) {
                Ok((config, ends)) => {
                    *self.current.write() = Arc::new(config);
                    self.show(&ends);
                    tracing::info!(
                        kind = "tls",
                        listener,
                        not_after = ends.iter().min(),
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
    /// The first is for all names that no other is for.
    pairs: Vec<PairFiles>,
    client_ca: Option<Vec<u8>>,
}

struct PairFiles {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// Where the certificates are, the first one first.
fn paths(with: &Tls) -> impl Iterator<Item = (&PathBuf, &PathBuf)> {
    let others = with.sni.iter().map(|sni| (&sni.certificate, &sni.key));
    std::iter::once((&with.certificate, &with.key)).chain(others)
}

impl Files {
    fn read(with: &Tls) -> Result<Self, TlsError> {
        let client_ca = with.client_ca.as_ref().map(|ca| read(&ca.file)).transpose()?;
        let pair = |(certificate, key): (&PathBuf, &PathBuf)| {
            Ok(PairFiles { certificate: read(certificate)?, key: read(key)? })
        };
        Ok(Files { pairs: paths(with).map(pair).collect::<Result<_, _>>()?, client_ca })
    }

    fn fingerprint(&self) -> u64 {
        let pairs = self.pairs.iter().flat_map(|pair| [&pair.certificate, &pair.key]);
        files::fingerprint(pairs.chain(&self.client_ca))
    }

    /// What handshakes use, and when each of its certificates ends.
    fn config(&self, with: &Tls) -> Result<(ServerConfig, Vec<i64>), TlsError> {
        let (names, ends) = self.certificates(with)?;
        let builder = ServerConfig::builder_with_provider(certificates::provider());
        let builder = builder
            .with_protocol_versions(files::versions(with.min_version))
            .map_err(TlsError::Refused)?;
        let builder = match (&with.client_ca, &self.client_ca) {
            (Some(ca), Some(roots)) => {
                let required = ca.auth == ClientAuth::Required;
                let verifier = certificates::client_verifier(roots, required);
                let verifier = verifier.map_err(|e| TlsError::Content(ca.file.clone(), e))?;
                builder.with_client_cert_verifier(verifier)
            }
            (_, _) => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(names));
        config.alpn_protocols = with.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        if self.client_ca.is_some() {
            // A session that is resumed would let in a certificate that has ended since.
            config.session_storage = Arc::new(NoServerSessionStorage {});
        }
        Ok((config, ends))
    }

    fn certificates(&self, with: &Tls) -> Result<(ByName, Vec<i64>), TlsError> {
        let mut pairs = Vec::with_capacity(self.pairs.len());
        for (files, (certificate, key)) in self.pairs.iter().zip(paths(with)) {
            let pair = certificates::pair(&files.certificate, &files.key).map_err(|error| {
                let file = if error.is_of_key() { key } else { certificate };
                TlsError::Content(file.clone(), error)
            })?;
            pairs.push(pair);
        }
        let ends = pairs.iter().map(|pair| pair.not_after).collect();
        let first = pairs.first().map(|pair| Arc::clone(&pair.certified));
        let mut names = ByName::new(first.filter(|_| !with.strict_sni));
        for (sni, pair) in with.sni.iter().zip(pairs.iter().skip(1)) {
            names.add(&sni.hosts, &pair.certified);
        }
        // Where others are refused, those that stand in the first one are not.
        if let Some(first) = pairs.first() {
            names.add(&first.hosts, &first.certified);
        }
        Ok((names, ends))
    }
}
