//! Certificates and keys from PEM, and whether a file changed since.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use rejoin_core::TransportError;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Source;
use super::shop::ours;
use crate::secret::Secret;

/// What a file looked like: another print is another file. For a folder, that of everything in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Print(Vec<(std::path::PathBuf, Option<(u64, SystemTime)>)>);

pub(super) fn print(path: &Path) -> Print {
    let one = |path: &Path| {
        // A link is followed: that is how secrets are rotated in containers.
        let data = fs::metadata(path).ok();
        data.map(|data| (data.len(), data.modified().unwrap_or(SystemTime::UNIX_EPOCH)))
    };
    let mut prints = vec![(path.to_owned(), one(path))];
    if let Ok(folder) = fs::read_dir(path) {
        prints.extend(folder.flatten().map(|entry| entry.path()).map(|path| (path.clone(), one(&path))));
        prints.sort_unstable();
    }
    Print(prints)
}

fn read(source: &Source) -> Result<Secret, TransportError> {
    match source {
        Source::Pem(pem) => Ok(pem.clone()),
        Source::File(path) => match fs::read(path) {
            Ok(bytes) => Ok(Secret::from(bytes)),
            Err(error) => Err(ours(format!("{}: {error}", path.display()))),
        },
    }
}

pub(super) fn certificates(source: &Source) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let pem = read(source)?;
    let found = CertificateDer::pem_slice_iter(pem.expose()).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(ours(format!("{}: no certificate in it; PEM is expected", source.shown()))),
        Err(error) => Err(broken(source, &error)),
    }
}

pub(super) fn key(source: &Source) -> Result<PrivateKeyDer<'static>, TransportError> {
    let pem = read(source)?;
    PrivateKeyDer::from_pem_slice(pem.expose()).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            ours(format!("{}: no private key in it; PEM without a passphrase is expected", source.shown()))
        }
        error => broken(source, &error),
    })
}

/// Everything in a folder that is a certificate; the rest is left out, as everybody does.
pub(super) fn folder(path: &Path) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let entries = fs::read_dir(path).map_err(|error| ours(format!("{}: {error}", path.display())))?;
    let files = entries.flatten().map(|entry| Source::File(entry.path()));
    Ok(files.filter_map(|file| certificates(&file).ok()).flatten().collect())
}

/// Errors of the parser may quote what they read, so only their kind is told.
fn broken(source: &Source, error: &pem::Error) -> TransportError {
    let what = match error {
        pem::Error::MissingSectionEnd { .. } => "a PEM section without an end",
        pem::Error::IllegalSectionStart { .. } => "a PEM section with a broken first line",
        pem::Error::Base64Decode(_) => "a PEM section that is not base64",
        _ => "it cannot be read as PEM",
    };
    ours(format!("{}: {what}", source.shown()))
}
