//! The secrets of TLS sessions, for those who look at the traffic with Wireshark.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

use rejoin_core::TransportError;

use super::shop::ours;
use crate::sync::lock;

/// A key log file. One line per secret, as NSS defined it.
#[derive(Debug)]
pub(super) struct KeyLog(Mutex<File>);

pub(super) fn open(path: &Path) -> Result<KeyLog, TransportError> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(|error| ours(format!("key log {}: {error}", path.display())))?;
    tracing::warn!(target: "rejoin", file = %path.display(), "TLS secrets are written to a key log");
    Ok(KeyLog(Mutex::new(file)))
}

impl rustls::KeyLog for KeyLog {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let line = format!("{label} {} {}\n", hex(client_random), hex(secret));
        // A full disk must not end the link.
        let _ = lock(&self.0).write_all(line.as_bytes());
    }
}
