//! What an upstream must show, and what it is shown.

use std::net::SocketAddr;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{CertificateError, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::MinVersion;
use crate::stream::Io;
use crate::time::Duration;
use crate::upstream::connect::{Watchfulness, dial};

const SECONDS: Duration = Duration::from_secs(20);

/// Somebody who signs, and a folder; gone when dropped.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    dir: PathBuf,
}

impl Drop for Ca {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Ca {
    /// Its own certificate is in `ca.crt`.
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("fairlead-up-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "the CA of a test");
        let key = KeyPair::generate().unwrap();
        let ca = Ca { dir, issuer: Issuer::new(params.clone(), key) };
        let pem = params.self_signed(ca.issuer.key()).unwrap().pem();
        ca.put("ca.crt", &pem);
        ca
    }

    fn put(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A certificate for this name until the begin of this year, in `NAME.crt` and `NAME.key`.
    fn sign(&self, name: &str, year: i32) -> certificates::Pair {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        self.put(&format!("{name}.crt"), &certificate);
        self.put(&format!("{name}.key"), &key.serialize_pem());
        certificates::pair(certificate.as_bytes(), key.serialize_pem().as_bytes()).unwrap()
    }

    fn trusted(&self) -> PoolTls {
        PoolTls {
            ca: self.path("ca.crt"),
            server_name: None,
            own: None,
            min_version: MinVersion::V12,
            alpn: Vec::new(),
        }
    }
}

/// An upstream that says back what it hears; `asks`: for a certificate that this one signed.
async fn upstream(pair: certificates::Pair, asks: Option<&Ca>) -> SocketAddr {
    let builder = ServerConfig::builder_with_provider(certificates::provider());
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = match asks {
        Some(ca) => {
            let pem = std::fs::read(ca.path("ca.crt")).unwrap();
            let verifier = certificates::client_verifier(&pem, true).unwrap();
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(pair.certified)));
    config.alpn_protocols = vec![b"x/1".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    crate::drain::Tasks::new().spawn_aside("upstream", async move {
        while let Ok((socket, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(socket).await else { continue };
            let mut heard = [0; 4];
            if stream.read_exact(&mut heard).await.is_ok() {
                let _ = stream.write_all(&heard).await;
                let _ = stream.shutdown().await;
            }
        }
    });
    address
}

fn way(with: &PoolTls, name: &str) -> Way {
    Way::new(&Arc::new(Client::new(with).unwrap()), name).unwrap()
}

/// What comes back, or why nothing does.
async fn said(address: SocketAddr, way: &Way) -> io::Result<Io> {
    let mut stream = dial(address, Some(way), SECONDS, Watchfulness::default(), b"").await?;
    stream.write_all(b"ping").await?;
    stream.flush().await?;
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await?;
    assert_eq!(heard, b"ping");
    Ok(stream)
}

fn wrong(result: io::Result<Io>) -> rustls::Error {
    let error = result.unwrap_err().into_inner().unwrap();
    *error.downcast().unwrap()
}

#[tokio::test]
async fn an_upstream_that_shows_what_is_meant_is_spoken_to() {
    let ca = Ca::new();
    let address = upstream(ca.sign("app.example.com", 4000), None).await;
    let with = PoolTls { alpn: vec!["x/1".into()], ..ca.trusted() };
    let stream = said(address, &way(&with, "app.example.com.")).await.unwrap();
    assert_eq!(stream.alpn(), Some(b"x/1".as_slice()));
    assert_eq!(stream.socket().peer_addr().unwrap(), address);
}

#[tokio::test]
async fn an_upstream_of_another_ca_or_name_or_time_is_not() {
    let (ca, other) = (Ca::new(), Ca::new());
    let address = upstream(ca.sign("app.example.com", 4000), None).await;
    let stranger = wrong(said(address, &way(&other.trusted(), "app.example.com")).await);
    let unknown = matches!(stranger, rustls::Error::InvalidCertificate(_));
    assert!(unknown, "{stranger:?}");
    for name in ["other.example.com", "127.0.0.1"] {
        let error = wrong(said(address, &way(&ca.trusted(), name)).await);
        let named = matches!(
            error,
            rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })
        );
        assert!(named, "{name}: {error:?}");
    }
    let ended = upstream(ca.sign("old.example.com", 2020), None).await;
    let error = wrong(said(ended, &way(&ca.trusted(), "old.example.com")).await);
    let expired =
        matches!(error, rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { .. }));
    assert!(expired, "{error:?}");
}

#[tokio::test]
async fn an_upstream_that_asks_who_we_are_is_shown_our_certificate() {
    let ca = Ca::new();
    let address = upstream(ca.sign("app.example.com", 4000), Some(&ca)).await;
    assert!(said(address, &way(&ca.trusted(), "app.example.com")).await.is_err());
    ca.sign("us", 4000);
    let own = Some((ca.path("us.crt"), ca.path("us.key")));
    let with = PoolTls { own, ..ca.trusted() };
    said(address, &way(&with, "app.example.com")).await.unwrap();
}

#[tokio::test]
async fn one_that_does_not_shake_hands_is_given_up() {
    let ca = Ca::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let way = way(&ca.trusted(), "app.example.com");
    let limit = Duration::from_millis(100);
    let address = listener.local_addr().unwrap();
    let dialing = dial(address, Some(&way), limit, Watchfulness::default(), b"");
    let error = dialing.await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn what_changes_on_disk_comes_into_force_if_it_is_right() {
    let (old, new) = (Ca::new(), Ca::new());
    let address = upstream(new.sign("app.example.com", 4000), None).await;
    let client = Arc::new(Client::new(&old.trusted()).unwrap());
    let way = Way::new(&client, "app.example.com").unwrap();
    let look = || client.renew(Files::read(client.with()), "p");
    assert!(said(address, &way).await.is_err());
    let first = client.config();
    old.put("ca.crt", "not a certificate");
    look();
    assert!(Arc::ptr_eq(&first, &client.config()), "the old one stays");
    old.put("ca.crt", &std::fs::read_to_string(new.path("ca.crt")).unwrap());
    look();
    said(address, &way).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn files_are_looked_at_again_and_again() {
    let (old, new) = (Ca::new(), Ca::new());
    let client = Arc::new(Client::new(&old.trusted()).unwrap());
    let first = client.config();
    let changed = async {
        tokio::time::sleep(10 * files::LOOK).await;
        assert!(Arc::ptr_eq(&first, &client.config()), "nothing has changed");
        old.put("ca.crt", &std::fs::read_to_string(new.path("ca.crt")).unwrap());
        tokio::time::sleep(2 * files::LOOK).await;
        assert!(!Arc::ptr_eq(&first, &client.config()), "it is in force");
    };
    tokio::select! {
        () = Arc::clone(&client).follow("p".into()) => unreachable!("it ends with the process"),
        () = changed => {}
    }
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let ca = Ca::new();
    let missing = PoolTls { ca: ca.path("none"), ..ca.trusted() };
    assert!(Client::new(&missing).unwrap_err().to_string().contains("cannot read"));
    ca.sign("a", 4000);
    ca.sign("b", 4000);
    let own = Some((ca.path("a.crt"), ca.path("b.key")));
    let error = Client::new(&PoolTls { own, ..ca.trusted() }).unwrap_err().to_string();
    assert!(error.contains("b.key: the key does not fit the certificate"), "{error}");
}
