//! A store that keeps records in memory: for tests, and as the plainest example of the contract.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rejoin_core::{MessageId, Publication, PublishId};

use super::{Record, Recovered, Store, StoreError, StoreStats};

/// Records of what is over are thrown away when there are this many, or twice as many as were left the last time.
const PRUNE_FROM: usize = 1024;
/// Attempts remembered for the budget, which counts twelve a minute.
const REACHED_MOST: usize = 12;

/// Keeps records for as long as it or a clone of it lives: it survives the client it was lent to, not the process.
/// Clones share what is kept, so a second client can go on where a first one ended.
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
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    records: Vec<Record>,
    bodies: BTreeMap<PublishId, Publication>,
    prune_at: usize,
    stats: StoreStats,
}

impl MemoryStore {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn recover(&mut self) -> Result<Recovered, StoreError> {
        Ok(Recovered::replay(self.shared().records.iter().cloned()))
    }

    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let mut shared = self.shared();
        for record in records {
            match record {
                Record::Enqueued { id, publication, .. } => {
                    shared.bodies.insert(*id, publication.clone());
                }
                Record::Done { id } | Record::Parked { id, .. } => {
                    shared.bodies.remove(id);
                }
                _ => {}
            }
        }
        shared.records.extend_from_slice(records);
        shared.stats.commits += 1;
        shared.stats.records += records.len() as u64;
        if shared.records.len() >= shared.prune_at.max(PRUNE_FROM) {
            shared.records = pruned(std::mem::take(&mut shared.records));
            shared.prune_at = 2 * shared.records.len();
        }
        Ok(())
    }

    fn load(&mut self, ids: &[PublishId]) -> Result<Vec<Option<Publication>>, StoreError> {
        let shared = self.shared();
        Ok(ids.iter().map(|id| shared.bodies.get(id).cloned()).collect())
    }

    fn maintain(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn stats(&self) -> StoreStats {
        self.shared().stats
    }
}

/// The records that still add up to the same: those of messages that are not over, the last ones of the rest.
fn pruned(records: Vec<Record>) -> Vec<Record> {
    let state = Recovered::replay(records.iter().cloned());
    let publishes: BTreeSet<PublishId> = (state.waiting.iter().map(|waits| waits.id))
        .chain(state.sent.iter().map(|sent| sent.id))
        .chain(state.undecided.iter().map(|(id, _)| *id))
        .chain([state.last_publish])
        .collect();
    let messages: BTreeSet<MessageId> =
        state.held.iter().map(|held| held.id).chain([state.last_message]).collect();
    // What a message was lowered to depends on whether its identifier was taken then.
    let leased: BTreeSet<_> =
        state.leased.iter().copied().chain(state.sent.iter().map(|sent| sent.packet_id)).collect();
    let mut reached = records.iter().filter(|record| matches!(record, Record::Reached { .. })).count();
    let last = |is: fn(&Record) -> bool| records.iter().rposition(is);
    let last_connect = last(|record| matches!(record, Record::ConnectSent | Record::ConnackSeen));
    let last_client = last(|record| matches!(record, Record::ClientId { .. }));
    let last_session = last(|record| matches!(record, Record::SessionStarted { .. }));
    // The end of a session says something only about what began in it.
    let mut began = false;
    let mut keep = Vec::with_capacity(records.len());
    for (at, record) in records.iter().enumerate() {
        keep.push(match record {
            Record::Assigned { id, .. } => {
                let is_open = publishes.contains(id);
                began |= is_open;
                is_open
            }
            Record::Held { id, .. } => {
                let is_open = messages.contains(id);
                began |= is_open;
                is_open
            }
            Record::Enqueued { id, .. }
            | Record::Received { id }
            | Record::Asked { id }
            | Record::Requeued { id }
            | Record::Lowered { id }
            | Record::MayRepeat { id }
            | Record::Done { id }
            | Record::Parked { id, .. } => publishes.contains(id),
            Record::Leased { packet_id } | Record::LeaseEnded { packet_id } => leased.contains(packet_id),
            Record::Taken { id, .. } | Record::Freed { id } => messages.contains(id),
            Record::ConnectSent | Record::ConnackSeen => Some(at) == last_connect,
            Record::ClientId { .. } => Some(at) == last_client,
            Record::SessionStarted { .. } => std::mem::take(&mut began) || Some(at) == last_session,
            Record::Reached { .. } => {
                reached -= 1;
                reached < REACHED_MOST
            }
            _ => true,
        });
    }
    records.into_iter().zip(keep).filter_map(|(record, keep)| keep.then_some(record)).collect()
}
