//! A store that keeps records in memory: for tests, and as the plainest example of the contract.

use std::collections::BTreeMap;

use rejoin_core::{Publication, PublishId};

use super::{Record, Recovered, Store, StoreError, StoreStats};

/// Keeps records for as long as it lives. It survives the client it was lent to, not the process.
///
/// ```
/// use rejoin::store::{MemoryStore, Store};
///
/// let mut store = MemoryStore::default();
/// assert!(store.recover()?.waiting.is_empty());
/// # Ok::<(), rejoin::store::StoreError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    records: Vec<Record>,
    bodies: BTreeMap<PublishId, Publication>,
    stats: StoreStats,
}

impl Store for MemoryStore {
    fn recover(&mut self) -> Result<Recovered, StoreError> {
        Ok(Recovered::replay(self.records.iter().cloned()))
    }

    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        for record in records {
            match record {
                Record::Enqueued { id, publication, .. } => {
                    self.bodies.insert(*id, publication.clone());
                }
                Record::Done { id } | Record::Parked { id, .. } => {
                    self.bodies.remove(id);
                }
                _ => {}
            }
        }
        self.records.extend_from_slice(records);
        self.stats.commits += 1;
        self.stats.records += records.len() as u64;
        Ok(())
    }

    fn load(&mut self, ids: &[PublishId]) -> Result<Vec<Option<Publication>>, StoreError> {
        Ok(ids.iter().map(|id| self.bodies.get(id).cloned()).collect())
    }

    fn maintain(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn stats(&self) -> StoreStats {
        self.stats
    }
}
