//! A certificate of our own for `localhost`, and rustls with ring behind it.

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;

/// Writes the certificate where clients find it.
pub(super) fn server(file: &str) -> Result<Arc<ServerConfig>, String> {
    let told = |error: &dyn std::fmt::Display| format!("{file}: {error}");
    let key = KeyPair::generate().map_err(|error| told(&error))?;
    let certificate = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])
        .and_then(|params| params.self_signed(&key))
        .map_err(|error| told(&error))?;
    std::fs::write(file, certificate.pem()).map_err(|error| told(&error))?;
    let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| told(&error))?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], secret)
        .map_err(|error| told(&error))?;
    Ok(Arc::new(config))
}
