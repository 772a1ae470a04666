//! What is below redb: a file, or what a test puts in its place; bytes written are counted on the way.

use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use redb::{BackendError, StorageBackend};

/// Opens what a store writes to, again after a full disk. [`super::Folder`] does it with its file; tests with a disk
/// whose power they can cut.
pub trait Medium: Send + std::fmt::Debug {
    /// The bytes as they are now. The former one was closed.
    ///
    /// # Errors
    /// It cannot be opened.
    fn open(&mut self) -> io::Result<Box<dyn StorageBackend>>;
}

/// What became of the medium, seen from below redb.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    written_bytes: AtomicU64,
    syncs: AtomicU64,
    len_bytes: AtomicU64,
    sync_failed: AtomicBool,
}

impl Gauge {
    pub(super) fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Size of the medium.
    pub(super) fn len_bytes(&self) -> u64 {
        self.len_bytes.load(Ordering::Relaxed)
    }

    /// A sync failed: the system may have forgotten what it could not write, and a second sync would not tell.
    pub(super) fn sync_failed(&self) -> bool {
        self.sync_failed.load(Ordering::Relaxed)
    }
}

/// A medium that is watched.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) inner: Box<dyn StorageBackend>,
    pub(super) gauge: Arc<Gauge>,
}

impl StorageBackend for Watched {
    fn len(&self) -> io::Result<u64> {
        let len = self.inner.len()?;
        self.gauge.len_bytes.store(len, Ordering::Relaxed);
        Ok(len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)?;
        self.gauge.len_bytes.store(len, Ordering::Relaxed);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.gauge.syncs.fetch_add(1, Ordering::Relaxed);
        let synced = self.inner.sync_data();
        if synced.is_err() {
            self.gauge.sync_failed.store(true, Ordering::Relaxed);
        }
        synced
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.gauge.written_bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        self.inner.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}
