//! Both ends of a connection, for tests.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::Io;
use crate::wire::certificates::provider;

/// Who connected, and who accepted.
pub(crate) async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (near, listener.accept().await.unwrap().0)
}

/// Shakes hands in TLS over both ends.
pub(crate) async fn handshake(
    client: TcpStream,
    accepted: TcpStream,
) -> (TlsStream<TcpStream>, Io) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["fairlead".into()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    let chain = vec![certificate.der().clone()];
    let server = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key.serialize_der().try_into().unwrap());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let trusting = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (acceptor, connector) =
        (TlsAcceptor::from(Arc::new(server.unwrap())), TlsConnector::from(Arc::new(trusting)));
    let name = ServerName::try_from("fairlead").unwrap();
    let (client, server) = tokio::join!(connector.connect(name, client), acceptor.accept(accepted));
    (client.unwrap(), Io::tls(server.unwrap()))
}
