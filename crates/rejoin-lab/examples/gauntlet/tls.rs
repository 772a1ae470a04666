//! A certificate for 127.0.0.1, made for this run, and the server's side of TLS with it.

use std::io;
use std::path::PathBuf;

use rejoin_lab::Around;
use rejoin_lab::gauntlet::Secured;
use tokio_rustls::TlsAcceptor;

use crate::self_signed;

/// Whom clients are told to trust. Its file lives as long as this.
pub(crate) struct Authority {
    ca_file: PathBuf,
    acceptor: TlsAcceptor,
}

impl Authority {
    pub(crate) fn new() -> io::Result<Self> {
        let (acceptor, pem) = self_signed::server("127.0.0.1")?;
        let ca_file = std::env::temp_dir().join(format!("rejoin-gauntlet-{}.pem", std::process::id()));
        std::fs::write(&ca_file, pem)?;
        Ok(Self { ca_file, acceptor })
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
