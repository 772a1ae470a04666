//! A store whose panics are errors: its code may be the application's, and the thread that serves it must live on to tell
//! what becomes of every message.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rejoin_core::{Publication, PublishId, Record};

use super::{Store, StoreError, StoreStats};

/// Characters of a panic's words that are shown.
const SHOWN: usize = 256;

/// A store until it panics; from then on the error that says so, because what it holds may be half changed.
pub(super) struct Guarded(Result<Box<dyn Store>, StoreError>);

impl Guarded {
    pub(super) fn new(store: Box<dyn Store>) -> Self {
        Self(Ok(store))
    }

    pub(super) fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        self.call(|store| store.commit(records))
    }

    pub(super) fn load(&mut self, ids: &[PublishId]) -> Result<Vec<Option<Publication>>, StoreError> {
        self.call(|store| store.load(ids))
    }

    pub(super) fn maintain(&mut self) -> Result<(), StoreError> {
        self.call(Store::maintain)
    }

    /// A panic here is told by the next call that can fail, after a rest at the latest.
    pub(super) fn serve(&mut self) -> Vec<PublishId> {
        self.call(|store| Ok(store.serve())).unwrap_or_default()
    }

    pub(super) fn stats(&mut self) -> StoreStats {
        self.call(|store| Ok(store.stats())).unwrap_or_default()
    }

    fn call<T>(
        &mut self,
        call: impl FnOnce(&mut (dyn Store + 'static)) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let store = self.0.as_mut().map_err(|error| error.clone())?;
        let called = catch_unwind(AssertUnwindSafe(|| call(store.as_mut())));
        called.unwrap_or_else(|panic| {
            let error = StoreError::Panicked { what: words(&*panic) };
            self.end(error.clone());
            Err(error)
        })
    }

    fn end(&mut self, error: StoreError) {
        let store = std::mem::replace(&mut self.0, Err(error));
        // That is its code, too.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(store)));
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.end(StoreError::Panicked { what: String::new() });
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let words = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word");
    words.chars().take(SHOWN).collect::<String>().escape_debug().to_string()
}
