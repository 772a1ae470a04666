//! Certificates for one test: an authority, and what it signs.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

use crate::broker::Folder;

/// A certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, in files.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Its certificate in a file.
    pub(crate) fn file(&self, folder: &Folder, name: &str) -> String {
        folder.write(name, &self.pem)
    }

    /// A certificate for these names, in files of this name.
    pub(crate) fn sign(&self, folder: &Folder, file: &str, names: &[&str]) -> Identity {
        self.signed(folder, file, names, false)
    }

    /// One that expired years ago.
    pub(crate) fn sign_expired(&self, folder: &Folder, file: &str, names: &[&str]) -> Identity {
        self.signed(folder, file, names, true)
    }

    fn signed(&self, folder: &Folder, file: &str, names: &[&str], expired: bool) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, file);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = if expired { date_time_ymd(2021, 3, 4) } else { date_time_ymd(2044, 1, 1) };
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.issuer).expect("a certificate");
        Identity {
            certificate: folder.write(&format!("{file}.pem"), &signed.pem()),
            key: folder.write(&format!("{file}.key"), &key.serialize_pem()),
        }
    }
}
