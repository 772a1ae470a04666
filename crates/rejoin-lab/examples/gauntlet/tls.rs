//! A certificate for 127.0.0.1, made for this run, and the server's side of TLS with it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rejoin_lab::Around;
use rejoin_lab::gauntlet::Secured;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Whom clients are told to trust. Its file lives as long as this.
pub(crate) struct Authority {
    ca_file: PathBuf,
    acceptor: TlsAcceptor,
}

impl Authority {
    pub(crate) fn new() -> io::Result<Self> {
        let made = generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).map_err(io::Error::other)?;
        let CertifiedKey { cert, signing_key } = made;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key))
            .map_err(io::Error::other)?;
        let ca_file = std::env::temp_dir().join(format!("rejoin-gauntlet-{}.pem", std::process::id()));
        std::fs::write(&ca_file, cert.pem())?;
        Ok(Self { ca_file, acceptor: Arc::new(config).into() })
    }

    pub(crate) fn secured(&self) -> Secured {
        let acceptor = self.acceptor.clone();
        let around = Around::new(move |stream| {
            let acceptor = acceptor.clone();
            async move { acceptor.accept(stream).await }
        });
        Secured { around, ca_file: self.ca_file.clone() }
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.ca_file);
    }
}
