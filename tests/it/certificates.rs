//! Certificates that are made when a test asks for them.

use std::path::PathBuf;
use std::sync::Arc;

use fairlead::wire::certificates::provider;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

/// A folder with what a listener needs; gone when dropped.
pub(crate) struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

impl Folder {
    /// Holds `ca.crt`, and the first certificate of the server.
    pub(crate) fn new(ca: &Ca) -> Folder {
        let dir = std::env::temp_dir().join(format!("fairlead-tls-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&dir).unwrap();
        let folder = Folder(dir);
        folder.put("ca.crt", &ca.pem);
        folder.serve(&ca.server());
        folder
    }

    pub(crate) fn put(&self, name: &str, content: &str) {
        std::fs::write(self.0.join(name), content).unwrap();
    }

    /// The server's certificate from now on.
    pub(crate) fn serve(&self, signed: &Signed) {
        self.put("server.crt", &signed.certificate);
        self.put("server.key", &signed.key);
    }

    /// Where the ledger may be.
    pub(crate) fn state(&self) -> String {
        format!("state_dir = \"{}/state\"", self.0.display())
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// `[listener.tls]`
    pub(crate) fn tls(&self) -> String {
        let dir = self.0.display();
        format!("[listener.tls]\ncertificate = \"{dir}/server.crt\"\nkey = \"{dir}/server.key\"\n")
    }

    /// `[[listener.tls.sni]]`, behind the keys of `[listener.tls]`.
    pub(crate) fn sni(&self, name: &str, signed: &Signed, hosts: &str) -> String {
        self.put(&format!("{name}.crt"), &signed.certificate);
        self.put(&format!("{name}.key"), &signed.key);
        let path = self.path(name);
        format!(
            "[[listener.tls.sni]]\nhosts = {hosts}\ncertificate = \"{path}.crt\"\nkey = \"{path}.key\"\n"
        )
    }

    /// The same, with clients' certificates.
    pub(crate) fn mtls(&self, auth: &str) -> String {
        let dir = self.0.display();
        format!("{}client_ca = \"{dir}/ca.crt\"\nclient_auth = \"{auth}\"\n", self.tls())
    }
}

/// Somebody who signs.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate and its key, PEM.
pub(crate) struct Signed {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Ca {
    pub(crate) fn new() -> Ca {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "the CA of a test");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Ca { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for `localhost`.
    pub(crate) fn server(&self) -> Signed {
        self.sign(CertificateParams::new(vec!["localhost".to_owned()]).unwrap())
    }

    /// A certificate for this name.
    pub(crate) fn server_of(&self, name: &str) -> Signed {
        self.sign(CertificateParams::new(vec![name.to_owned()]).unwrap())
    }

    /// A certificate for `localhost` that ends at the begin of this year.
    pub(crate) fn server_until(&self, year: i32) -> Signed {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        self.sign(params)
    }

    /// A certificate of a client, with this URI.
    pub(crate) fn client(&self, uri: &str) -> Signed {
        self.client_until(4000, uri)
    }

    /// The same, until the begin of this year.
    pub(crate) fn client_until(&self, year: i32, uri: &str) -> Signed {
        let mut params = CertificateParams::default();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Signed {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Signed { certificate, key: key.serialize_pem() }
    }

    /// A client that believes this CA, and shows a certificate if it has one.
    pub(crate) fn trusting(&self, own: Option<&Signed>) -> Arc<ClientConfig> {
        self.speaking(rustls::DEFAULT_VERSIONS, own)
    }

    /// The same, with these versions of TLS.
    pub(crate) fn speaking(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<&Signed>,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = builder.with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        Arc::new(match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain =
                    vec![CertificateDer::from_pem_slice(own.certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        })
    }
}
