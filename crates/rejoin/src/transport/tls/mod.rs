//! TLS by rustls: whom to trust, who we are, and what is kept from one link to the next.

mod explain;
mod facts;
mod files;
mod keylog;
mod shop;
mod trust;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rejoin_core::Stage;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::{BoxStream, OpenError, Trip};
use crate::secret::Secret;
use crate::url::ServerUrl;
pub(super) use explain::explain;
pub(crate) use shop::Shop;

/// Lowest version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2 and whatever is newer.
    #[default]
    From12,
    /// TLS 1.3 and whatever is newer.
    From13,
}

/// Where something of TLS comes from. What comes from a file is read again when the file changes.
#[derive(Clone)]
enum Source {
    File(PathBuf),
    Pem(Secret),
}

/// Settings of TLS: whom to trust, and who we are.
///
/// ```no_run
/// # fn example() -> Result<(), rejoin::BuildError> {
/// use rejoin::{Client, Tls};
/// let client = Client::builder("mqtts://broker.example")
///     .tls(Tls::new().ca_file("ca.pem").identity_files("client.pem", "client.key"))
///     .start()?;
/// # Ok(()) }
/// ```
///
/// Certificates and keys in files are read again before the first handshake after they changed, so that they can be
/// rotated under a running client. Session tickets are kept from one link to the next, so that a reconnect costs the
/// broker less.
#[derive(Clone, Default)]
pub struct Tls {
    ca: Vec<Source>,
    ca_folders: Vec<PathBuf>,
    system_roots_too: bool,
    identity: Option<(Source, Source)>,
    alpn: Vec<Vec<u8>>,
    lowest: TlsVersion,
    server_name: Option<String>,
    key_log: Option<PathBuf>,
    trust_any: bool,
    given: Option<Arc<ClientConfig>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("verified", &!self.trust_any)
            .field("identity", &self.identity.as_ref().map(|_| "***"))
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// The certificate authorities of the system, and no certificate of our own.
    pub fn new() -> Self {
        Self::default()
    }

    /// A rustls configuration of the application's own, which then decides everything but the name of the server. How well it
    /// verifies cannot be seen from here: [`TlsFacts::verified`](crate::TlsFacts::verified) and
    /// [`State::unverified`](crate::State::unverified) take it at its word.
    pub fn from_config(config: Arc<ClientConfig>) -> Self {
        Self { given: Some(config), ..Self::default() }
    }

    /// Trusts the authorities in this PEM file instead of those of the system. May be called several times.
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca.push(Source::File(path.into()));
        self
    }

    /// Trusts the authorities in the PEM files of this folder instead of those of the system.
    #[must_use]
    pub fn ca_folder(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_folders.push(path.into());
        self
    }

    /// Trusts the authorities in this PEM text instead of those of the system.
    #[must_use]
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca.push(Source::Pem(Secret::from(pem.into())));
        self
    }

    /// Trusts the authorities of the system besides those named. Default: only those named, where any are.
    #[must_use]
    pub const fn and_system_roots(mut self) -> Self {
        self.system_roots_too = true;
        self
    }

    /// Our certificate chain and its key, from PEM files.
    #[must_use]
    pub fn identity_files(mut self, certificates: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.identity = Some((Source::File(certificates.into()), Source::File(key.into())));
        self
    }

    /// Our certificate chain and its key, as PEM text.
    #[must_use]
    pub fn identity_pem(mut self, certificates: impl Into<Vec<u8>>, key: impl Into<Secret>) -> Self {
        self.identity = Some((Source::Pem(Secret::from(certificates.into())), Source::Pem(key.into())));
        self
    }

    /// Offers this protocol by ALPN, as `mqtt` or `x-amzn-mqtt-ca`. May be called several times. Default: none.
    #[must_use]
    pub fn alpn(mut self, protocol: impl Into<Vec<u8>>) -> Self {
        self.alpn.push(protocol.into());
        self
    }

    /// Lowest version. Default: 1.2.
    #[must_use]
    pub const fn lowest(mut self, version: TlsVersion) -> Self {
        self.lowest = version;
        self
    }

    /// The name that the server's certificate must have, where it is not the host of its URL.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Writes the secrets of each TLS session to this file, in the format Wireshark reads. Who has the file can read
    /// the traffic. Default: none.
    #[must_use]
    pub fn key_log_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.key_log = Some(path.into());
        self
    }

    /// Takes every server for the one that is meant, whatever its certificate says. Whoever is on the way can then read
    /// and change everything, passwords included. Told in the log at each link, and in
    /// [`crate::State::unverified`].
    #[must_use]
    pub const fn dangerously_trust_any_server(mut self) -> Self {
        self.trust_any = true;
        self
    }

    pub(crate) const fn is_unverified(&self) -> bool {
        self.trust_any
    }
}

/// Wraps a stream in TLS.
pub(super) async fn secure(
    shop: &Shop,
    target: &ServerUrl,
    stream: BoxStream,
    until: Instant,
    trip: &mut Trip,
) -> Result<BoxStream, OpenError> {
    let named = shop.server_name().unwrap_or(&target.host);
    let work = async {
        let config = shop.config().await?;
        let name = ServerName::try_from(named.to_owned()).map_err(|_| explain::bad_name(named))?;
        let connected = TlsConnector::from(config).connect(name, stream).await;
        connected.map_err(|error| explain::handshake(&error, named))
    };
    let stream = trip.within(Stage::Tls, until, work).await?;
    trip.stages.tls = Some(facts::of(stream.get_ref().1, !shop.is_unverified()));
    if shop.is_unverified() {
        tracing::warn!(target: "rejoin", server = target.place(), "the server's certificate is NOT verified");
    }
    Ok(Box::new(stream))
}
