//! Certificates and keys as they stand in PEM files (RFC 7468), and what fits what. Reads bytes, never files.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The most bytes of one PEM file that are looked at.
pub const MAX_FILE: u64 = 1024 * 1024;

/// A certificate with its chain and its key.
#[derive(Clone, Debug)]
pub struct Pair {
    /// For the handshake.
    pub certified: Arc<CertifiedKey>,
    /// When the certificate ends, in seconds of Unix time.
    pub not_after: i64,
    /// The names of hosts that it is for, lower case; `*.` at the start of one stands for a label.
    pub hosts: Vec<String>,
}

/// What is wrong with PEM files. Names no content: one of them is a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// No `CERTIFICATE` in the certificate's file.
    NoCertificate,
    /// What stands there as a certificate is none.
    BadCertificate,
    /// No private key in the key's file.
    NoKey,
    /// The key is of a kind that is not supported, or broken.
    BadKey,
    /// The key belongs to another certificate.
    OtherKey,
    /// No `CERTIFICATE` in the file of those who sign clients' certificates.
    NoRoot,
    /// One of them cannot be used as such.
    BadRoot,
}

impl Error {
    /// Whether it is the key's file that is wrong.
    pub const fn is_of_key(self) -> bool {
        matches!(self, Error::NoKey | Error::BadKey | Error::OtherKey)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Error::NoCertificate => "there is no certificate in it (PEM, BEGIN CERTIFICATE)",
            Error::BadCertificate => "its certificate cannot be read",
            Error::NoKey => "there is no unencrypted private key in it (PEM, BEGIN PRIVATE KEY)",
            Error::BadKey => "its key is broken, or of a kind that is not supported",
            Error::OtherKey => "the key does not fit the certificate",
            Error::NoRoot => "there is no certificate in it (PEM, BEGIN CERTIFICATE)",
            Error::BadRoot => "one of its certificates cannot be used to verify others",
        })
    }
}

impl std::error::Error for Error {}

/// The one provider of cryptography.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A certificate, the ones that lead to its root, and the key. Errors: they are not there, or do not fit.
pub fn pair(certificate: &[u8], key: &[u8]) -> Result<Pair, Error> {
    let chain = certificates(certificate).ok_or(Error::BadCertificate)?;
    let first = chain.first().ok_or(Error::NoCertificate)?;
    let (_, leaf) = X509Certificate::from_der(first).map_err(|_| Error::BadCertificate)?;
    let not_after = leaf.validity().not_after.timestamp();
    let hosts = hosts(&leaf);
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| Error::NoKey)?;
    let key = ring::sign::any_supported_type(&key).map_err(|_| Error::BadKey)?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) => Ok(Pair { certified: Arc::new(certified), not_after, hosts }),
        Err(rustls::Error::InconsistentKeys(_)) => Err(Error::OtherKey),
        Err(_) => Err(Error::BadCertificate),
    }
}

fn hosts(leaf: &X509Certificate<'_>) -> Vec<String> {
    let names = leaf.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|found| &found.value.general_names);
    let host = |name: &GeneralName<'_>| {
        if let GeneralName::DNSName(name) = name { Some(name.to_ascii_lowercase()) } else { None }
    };
    names.filter_map(host).collect()
}

/// The certificates that others must lead to. Errors: there is none, or one cannot be used as such.
pub fn roots(pem: &[u8]) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    for root in certificates(pem).ok_or(Error::BadRoot)? {
        store.add(root).map_err(|_| Error::BadRoot)?;
    }
    if store.is_empty() { Err(Error::NoRoot) } else { Ok(store) }
}

/// What verifies clients' certificates against those in `pem`. `required`: who shows none is refused.
pub fn client_verifier(pem: &[u8], required: bool) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let store = Arc::new(roots(pem)?);
    let builder = WebPkiClientVerifier::builder_with_provider(store, provider());
    let builder = if required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|_| Error::BadRoot)
}

/// All certificates of a file; `None`: one is broken.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()
}
