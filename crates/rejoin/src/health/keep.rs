//! The file what was learned is kept in for the next process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::path::{Path, PathBuf};

use crate::alerts::RECORD_MAX;

/// The file, and the one that says whose it is.
const RECORD: &str = "baselines";
const LOCK: &str = "baselines.lock";

/// A folder in which one client, and no other, keeps what it learned.
#[derive(Debug)]
pub(crate) struct Keep {
    path: PathBuf,
    /// Held for as long as this lives.
    _lock: File,
}

impl Keep {
    /// Makes the folder unless it is there, and reads what is in it. Of two clients the first one keeps; the other one
    /// reads and gets an error.
    pub(crate) fn begin(folder: &Path) -> (Result<Self>, Option<String>) {
        let path = folder.join(RECORD);
        let kept = read(&path);
        (lock(folder).map(|lock| Self { path, _lock: lock }), kept)
    }

    /// Whole or not at all. A folder that was removed meanwhile is not made again.
    pub(crate) fn write(&self, text: &str) -> Result<()> {
        let unfinished = self.path.with_extension("new");
        match std::fs::remove_file(&unfinished) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // New, or a link somebody left there would lead us elsewhere.
        let mut file = OpenOptions::new().write(true).create_new(true).open(&unfinished)?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        std::fs::rename(&unfinished, &self.path)
    }
}

fn lock(folder: &Path) -> Result<File> {
    std::fs::create_dir_all(folder)?;
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(folder.join(LOCK))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::new(
            ErrorKind::WouldBlock,
            "another client keeps its baselines in this folder: give each its own with keep_in()",
        )),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// `None` when there is nothing yet.
fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(target: "rejoin", %error, "the file of baselines cannot be read: they are learned anew");
            return None;
        }
    };
    // What is not text is damaged, and found to be.
    let _ = file.take(RECORD_MAX).read_to_string(&mut text);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own, removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let name = format!("rejoin-keep-{}-{:016x}", std::process::id(), fastrand::u64(..));
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn of_two_clients_in_one_folder_the_first_keeps_and_the_other_reads() {
        let folder = Folder::new();
        let first = Keep::begin(&folder.0).0.unwrap();
        first.write("learned").unwrap();
        let (second, kept) = Keep::begin(&folder.0);
        assert_eq!(kept.as_deref(), Some("learned"));
        let why = second.unwrap_err().to_string();
        assert!(why.contains("another client keeps its baselines in this folder"), "{why}");
        drop(first);
        Keep::begin(&folder.0).0.unwrap();
    }

    #[test]
    fn a_folder_that_was_removed_is_not_made_again() {
        let folder = Folder::new();
        let keep = Keep::begin(&folder.0).0.unwrap();
        std::fs::remove_dir_all(&folder.0).unwrap();
        assert!(keep.write("learned").is_err());
        assert!(!folder.0.exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_lies_in_the_way_is_not_followed() {
        let folder = Folder::new();
        let keep = Keep::begin(&folder.0).0.unwrap();
        let other = folder.0.join("other");
        std::fs::write(&other, "precious").unwrap();
        std::os::unix::fs::symlink(&other, folder.0.join("baselines.new")).unwrap();
        keep.write("learned").unwrap();
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "precious");
        assert_eq!(Keep::begin(&folder.0).1.as_deref(), Some("learned"));
    }
}
