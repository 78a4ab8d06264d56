//! What comes before the first frame of a conn: TLS, and what proxies say. Paths and words; no key is read here.

use std::path::PathBuf;

use crate::wire::cidr::Cidr;

/// `[listener.tls]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM file of the certificate and of those between it and its root. Absolute.
    pub certificate: PathBuf,
    /// PEM file of its private key. Absolute.
    pub key: PathBuf,
    /// Who signs clients' certificates; `None`: they are not asked for.
    pub client_ca: Option<ClientCa>,
    /// The oldest version that is spoken.
    pub min_version: MinVersion,
}

/// Clients' certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCa {
    /// PEM file of the certificates that theirs must lead to. Absolute.
    pub file: PathBuf,
    /// What becomes of clients without one.
    pub auth: ClientAuth,
}

/// Whether a client must show a certificate. A wrong one is refused in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientAuth {
    /// It must.
    Required,
    /// It may.
    Optional,
}

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MinVersion {
    /// 1.2 (RFC 5246)
    V12,
    /// 1.3 (RFC 8446)
    V13,
}

words! {
    ClientAuth { "required" => Required, "optional" => Optional }
    MinVersion { "1.2" => V12, "1.3" => V13 }
}

/// `[listener.proxy_protocol]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// From here a PROXY header must come first; from elsewhere none may come. At least one.
    pub trusted: Vec<Cidr>,
}
