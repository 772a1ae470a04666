//! The way of a client to the broker: the simulated network in place of DNS and TCP, with TLS on top or without.

use std::sync::{Arc, LazyLock};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rejoin::{Builder, Client, Tls};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use turmoil::net::TcpStream;

use crate::broker;

/// The broker's end of TLS, and the certificate to trust.
static SERVER: LazyLock<(TlsAcceptor, String)> = LazyLock::new(|| {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec![broker::HOST.to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    (Arc::new(config).into(), cert.pem())
});

/// What the broker's end needs.
pub(crate) fn acceptor(tls: bool) -> Option<TlsAcceptor> {
    tls.then(|| SERVER.0.clone())
}

/// A client of the broker. To be started inside a host.
pub(crate) fn to_broker(tls: bool) -> Builder {
    let scheme = if tls { "mqtts" } else { "mqtt" };
    let builder = Client::builder(&format!("{scheme}://{}", broker::HOST))
        .connector(|_| TcpStream::connect((broker::HOST, broker::PORT)));
    if tls { builder.tls(Tls::new().ca_pem(SERVER.1.as_bytes())) } else { builder }
}

/// A client that asks for a WebSocket on the broker's port.
pub(crate) fn over_websocket() -> Builder {
    Client::builder(&format!("ws://{}", broker::HOST))
        .connector(|_| TcpStream::connect((broker::HOST, broker::PORT)))
}
