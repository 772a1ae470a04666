//! What goes wrong below, and what it means for the one who asked.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::place::is_full;
use super::row::{FORMAT, Kind};
use crate::store::StoreError;
use crate::store::wire::Flaw;

/// An error on the way up.
#[derive(Debug)]
pub(super) enum Trouble {
    Redb(redb::Error),
    /// A row that cannot be believed.
    Row {
        key: u64,
        flaw: Flaw,
    },
    Store(StoreError),
}

macro_rules! from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for Trouble {
            fn from(error: $error) -> Self {
                Self::Redb(error.into())
            }
        }
    )*};
}

from_redb!(
    redb::DatabaseError,
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError,
    redb::CompactionError
);

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Redb(redb::Error::Io(error))
    }
}

impl Trouble {
    pub(super) const fn row(key: u64, flaw: Flaw) -> Self {
        Self::Row { key, flaw }
    }

    /// What to tell.
    pub(super) fn tell(self, place: &str, sync_failed: bool) -> StoreError {
        let place = place.to_owned();
        match self {
            Self::Store(error) => error,
            Self::Row { key, flaw } => StoreError::Damaged { place, what: position(key, flaw) },
            Self::Redb(redb::Error::Io(error)) if is_full(error.kind()) && !sync_failed => {
                StoreError::NoSpace { place }
            }
            Self::Redb(redb::Error::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                StoreError::Damaged { place, what: format!("the file is not as it was written ({error})") }
            }
            Self::Redb(redb::Error::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                StoreError::Damaged { place, what: "the file ends too early".to_owned() }
            }
            Self::Redb(redb::Error::Io(error)) if sync_failed => StoreError::Io {
                place,
                what: format!(
                    "a sync failed ({error}), so nothing can be said of what was written since the last one; start again"
                ),
            },
            Self::Redb(redb::Error::Io(error)) => StoreError::Io { place, what: error.to_string() },
            Self::Redb(redb::Error::Corrupted(what)) => StoreError::Damaged { place, what },
            Self::Redb(redb::Error::UpgradeRequired(found)) => StoreError::Format {
                place,
                found: u32::from(found),
                reads: FORMAT,
                remedy: "the file is of another redb; use the rejoin that wrote it",
            },
            Self::Redb(redb::Error::DatabaseAlreadyOpen) => {
                StoreError::InUse { place, by: "another process".to_owned() }
            }
            Self::Redb(error) => StoreError::Io { place, what: error.to_string() },
        }
    }
}

/// Which row, for people.
pub(super) fn position(key: u64, flaw: Flaw) -> String {
    match Kind::of(key) {
        Some((kind, name)) => format!("{} {name}: {flaw}", kind.word()),
        None => format!("row {key:#018x}: {flaw}"),
    }
}

/// Runs what reads a file that may be damaged: redb panics on some pages that it did not write like that.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let what = words(panic.as_ref());
        Err(Trouble::Redb(redb::Error::Corrupted(format!("a page is not as it was written ({what})"))))
    })
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
    text.lines().next().unwrap_or_default().chars().take(120).collect()
}
