//! A link over TLS that trusts the sink and nobody else.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

pub(super) fn trusting(file: &Path) -> Result<Arc<ClientConfig>, String> {
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(file).map_err(|error| told(&error))?;
    roots.add(certificate).map_err(|error| told(&error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| told(&error))?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// The blocking stream of the raw client.
pub(super) fn stream(
    socket: TcpStream,
    file: &Path,
) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
    let name = ServerName::try_from("localhost").map_err(|error| error.to_string())?;
    let connection = ClientConnection::new(trusting(file)?, name).map_err(|error| error.to_string())?;
    Ok(StreamOwned::new(connection, socket))
}
