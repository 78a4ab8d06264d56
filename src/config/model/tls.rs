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
    /// What is spoken within, as ALPN names it, the dearest first; none: nobody is asked.
    pub alpn: Vec<String>,
    /// Other certificates, for who asks for these names.
    pub sni: Vec<Sni>,
    /// Who asks for a name that is in none of the certificates, or for none, is refused.
    pub strict_sni: bool,
}

/// `[pool.tls]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolTls {
    /// PEM file of the certificates that the upstreams' must lead to. Absolute.
    pub ca: PathBuf,
    /// What their certificates must be for; `None`: the name or address that each is configured with.
    pub server_name: Option<String>,
    /// PEM files of our certificate and of its key; `None`: we show none. Absolute.
    pub own: Option<(PathBuf, PathBuf)>,
    /// The oldest version that is spoken.
    pub min_version: MinVersion,
    /// What is spoken within, as ALPN names it; none: it is not said.
    pub alpn: Vec<String>,
}

/// `[[listener.tls.sni]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sni {
    /// Lower case; `*.` at the start stands for one label. No name is twice on a listener.
    pub hosts: Vec<String>,
    /// As [`Tls::certificate`].
    pub certificate: PathBuf,
    /// As [`Tls::key`].
    pub key: PathBuf,
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
