//! The rustls configuration in use: made anew when a file it came from changes, and kept with its session tickets
//! otherwise.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rejoin_core::{TransportError, TransportErrorKind};
use rustls::ClientConfig;
use rustls::client::{ClientSessionMemoryCache, Resumption};
#[cfg(feature = "aws-lc")]
use rustls::crypto::aws_lc_rs as cryptography;
#[cfg(not(feature = "aws-lc"))]
use rustls::crypto::ring as cryptography;
use rustls::version::{TLS12, TLS13};

use super::files::{self, Print};
use super::{Source, Tls, TlsVersion, keylog, trust};
use crate::sync::lock;

/// Servers whose tickets are kept.
const TICKETS: usize = 64;

/// Makes and keeps configurations.
pub(crate) struct Shop {
    settings: Arc<Tls>,
    made: Mutex<Option<(Vec<Print>, Arc<ClientConfig>)>>,
}

impl fmt::Debug for Shop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl Shop {
    pub(crate) fn new(settings: Tls) -> Self {
        Self { settings: Arc::new(settings), made: Mutex::new(None) }
    }

    pub(super) fn server_name(&self) -> Option<&str> {
        self.settings.server_name.as_deref()
    }

    pub(crate) fn is_unverified(&self) -> bool {
        self.settings.is_unverified()
    }

    /// The configuration for a handshake now. Reading files may block, so that is done elsewhere.
    pub(super) async fn config(&self) -> Result<Arc<ClientConfig>, TransportError> {
        if let Some(given) = &self.settings.given {
            return Ok(Arc::clone(given));
        }
        let settings = Arc::clone(&self.settings);
        let known = lock(&self.made).clone();
        let work = move || {
            let prints = settings.prints();
            match known {
                Some((made_of, config)) if made_of == prints => Ok((prints, config)),
                // Caught in the middle of a rotation, most likely: the next attempt looks again.
                Some((made_of, config)) => Ok(match make(&settings) {
                    Ok(new) => (prints, Arc::new(new)),
                    Err(error) => {
                        tracing::warn!(target: "rejoin", %error, "the files of TLS cannot be used; using those before");
                        (made_of, config)
                    }
                }),
                None => make(&settings).map(|config| (prints, Arc::new(config))),
            }
        };
        let made = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
            Err(TransportError::new(
                TransportErrorKind::Other,
                format!("reading the certificates broke off: {error}"),
            ))
        })?;
        *lock(&self.made) = Some(made.clone());
        Ok(made.1)
    }

    /// Makes the first configuration, so that a wrong file is told before the start.
    pub(crate) fn check(&self) -> Result<(), TransportError> {
        if self.settings.given.is_some() {
            return Ok(());
        }
        // The prints first: a file that changes while it is read has another one at the next look.
        let prints = self.settings.prints();
        *lock(&self.made) = Some((prints, Arc::new(make(&self.settings)?)));
        Ok(())
    }
}

impl Tls {
    fn prints(&self) -> Vec<Print> {
        self.paths().iter().map(|path| files::print(path)).collect()
    }

    fn paths(&self) -> Vec<PathBuf> {
        let pair = self.identity.iter().flat_map(|(certificates, key)| [certificates, key]);
        let files = self.ca.iter().chain(pair).filter_map(|source| match source {
            Source::File(path) => Some(path.clone()),
            Source::Pem(_) => None,
        });
        files.chain(self.ca_folders.iter().cloned()).collect()
    }
}

fn make(settings: &Tls) -> Result<ClientConfig, TransportError> {
    let provider = Arc::new(cryptography::default_provider());
    let versions = match settings.lowest {
        TlsVersion::From12 => &[&TLS13, &TLS12][..],
        TlsVersion::From13 => &[&TLS13][..],
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| ours(format!("TLS: {error}")))?;
    let builder = if settings.trust_any {
        builder.dangerous().with_custom_certificate_verifier(trust::anybody(provider))
    } else {
        builder.with_root_certificates(roots(settings)?)
    };
    let mut config = match &settings.identity {
        None => builder.with_no_client_auth(),
        Some((certificates, key)) => {
            let chain = files::certificates(certificates)?;
            let key = files::key(key)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| ours(format!("our certificate and its key do not fit: {error}")))?
        }
    };
    config.alpn_protocols.clone_from(&settings.alpn);
    config.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(TICKETS)));
    if let Some(path) = &settings.key_log {
        config.key_log = Arc::new(keylog::open(path)?);
    }
    Ok(config)
}

fn roots(settings: &Tls) -> Result<rustls::RootCertStore, TransportError> {
    let mut roots = rustls::RootCertStore::empty();
    let named = !settings.ca.is_empty() || !settings.ca_folders.is_empty();
    for source in &settings.ca {
        for certificate in files::certificates(source)? {
            roots.add(certificate).map_err(|error| ours(format!("{}: {error}", source.shown())))?;
        }
    }
    for folder in &settings.ca_folders {
        roots.add_parsable_certificates(files::folder(folder)?);
    }
    if !named || settings.system_roots_too {
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::debug!(target: "rejoin", %error, "a certificate of the system was left out");
        }
        roots.add_parsable_certificates(system.certs);
    }
    if roots.is_empty() {
        let what = "no certificate authority is known, so no server can be trusted; install ca-certificates or name \
                    a CA file";
        return Err(ours(what));
    }
    Ok(roots)
}

impl Source {
    pub(super) fn shown(&self) -> String {
        match self {
            Self::File(path) => Path::display(path).to_string(),
            Self::Pem(_) => "the PEM text given".to_owned(),
        }
    }
}

/// Our own files are at fault: no server is to blame, and they may be mended.
pub(super) fn ours(what: impl Into<String>) -> TransportError {
    TransportError::new(TransportErrorKind::Credentials, what)
}
