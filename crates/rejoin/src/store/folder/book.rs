//! A queue on a medium: one table, one transaction and one sync for each commit.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use redb::{Database, ReadableDatabase, TableDefinition};
use rejoin_core::codec::packet::PacketId;
use rejoin_core::{Publication, PublishId};

use super::body::{self, MessageRow};
use super::clock::{Clock, Moment, Present};
use super::medium::{Gauge, Medium, Watched};
use super::plan::{Index, Plan};
use super::row::{self, Exchange, IDENTITY, Identity, Kind, LAST_NAME, NAMES, Names, ParkedHead, SESSION};
use super::trouble::{Trouble, guarded};
use super::{FolderOptions, PARKED_MOST, recover};
use crate::store::{Record, Recovered, StoreError, StoreStats};

pub(super) const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rejoin");

pub(super) type Rows<'txn> = redb::Table<'txn, u64, &'static [u8]>;

/// The queue, wherever its bytes are.
pub(super) struct Book {
    medium: Box<dyn Medium>,
    gauge: Arc<Gauge>,
    /// `None` while a full disk keeps it from being opened again.
    pub(super) database: Option<Database>,
    pub(super) options: FolderOptions,
    clock: Box<dyn Clock>,
    pub(super) place: String,
    /// `None` before the first recovery.
    pub(super) index: Option<Index>,
    /// The error that ended it.
    dead: Option<StoreError>,
    stats: StoreStats,
    /// Size of the file after the last compaction.
    compacted_bytes: u64,
}

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Book").field("place", &self.place).field("dead", &self.dead).finish_non_exhaustive()
    }
}

impl Drop for Book {
    fn drop(&mut self) {
        self.close();
    }
}

/// Writes a database that holds nothing but whose it is, and closes it.
pub(super) fn create(
    backend: Box<dyn redb::StorageBackend>,
    identity: &Identity,
    place: &str,
) -> Result<(), StoreError> {
    guarded(|| {
        let backend = Watched { inner: backend, gauge: Arc::default() };
        let database = Database::builder().create_with_backend(backend)?;
        let txn = database.begin_write()?;
        {
            let mut rows = txn.open_table(ROWS)?;
            rows.insert(IDENTITY, identity.encode().as_slice())?;
            rows.insert(NAMES, Names::default().encode().as_slice())?;
        }
        txn.commit()?;
        Ok(())
    })
    .map_err(|trouble| trouble.tell(place, false))
}

impl Book {
    /// Opens what is on the medium, which must hold a queue.
    pub(super) fn open(
        medium: Box<dyn Medium>,
        place: String,
        options: FolderOptions,
        clock: Box<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let mut book = Self {
            medium,
            gauge: Arc::default(),
            database: None,
            options,
            clock,
            place,
            index: None,
            dead: None,
            stats: StoreStats::default(),
            compacted_bytes: 0,
        };
        book.reopen()?;
        Ok(book)
    }

    /// Closing writes too, and may meet a page that is not as it was written.
    fn close(&mut self) {
        let database = self.database.take();
        let _ = guarded(|| {
            drop(database);
            Ok(())
        });
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        self.close();
        let opened = guarded(|| {
            let inner = self.medium.open()?;
            let backend = Watched { inner, gauge: Arc::clone(&self.gauge) };
            let mut builder = Database::builder();
            builder.set_cache_size(self.options.cache_bytes);
            Ok(builder.create_with_backend(backend)?)
        });
        self.database = Some(opened.map_err(|trouble| self.told(trouble))?);
        Ok(())
    }

    fn told(&self, trouble: Trouble) -> StoreError {
        trouble.tell(&self.place, self.gauge.sync_failed())
    }

    /// Runs a read; what it finds does not end the store.
    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&redb::ReadOnlyTable<u64, &'static [u8]>) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        self.alive()?;
        guarded(|| {
            let database = self.database.as_ref().ok_or_else(|| self.full())?;
            let txn = database.begin_read()?;
            work(&txn.open_table(ROWS)?)
        })
        .map_err(|trouble| self.told(trouble))
    }

    /// Runs a write as one commit; gives what the work gives. `None` from it: nothing changed, nothing is committed.
    pub(super) fn write<T>(
        &mut self,
        two_phase: bool,
        work: impl FnOnce(&mut Rows<'_>) -> Result<Option<T>, Trouble>,
    ) -> Result<Option<T>, StoreError> {
        self.alive()?;
        if self.database.is_none() {
            self.reopen()?;
        }
        let outcome = guarded(|| {
            let database = self.database.as_ref().ok_or_else(|| self.full())?;
            let mut txn = database.begin_write()?;
            txn.set_quick_repair(self.options.quick_repair);
            txn.set_two_phase_commit(two_phase);
            let done = {
                let mut rows = txn.open_table(ROWS)?;
                work(&mut rows)?
            };
            if done.is_some() {
                txn.commit()?;
            } else {
                txn.abort()?;
            }
            Ok(done)
        });
        outcome.map_err(|trouble| self.failed(trouble))
    }

    fn full(&self) -> StoreError {
        StoreError::NoSpace { place: self.place.clone() }
    }

    fn alive(&self) -> Result<(), StoreError> {
        self.dead.clone().map_or(Ok(()), Err)
    }

    /// A write failed: redb takes nothing more, so it is opened again where that can help, and ended where not.
    fn failed(&mut self, trouble: Trouble) -> StoreError {
        let error = self.told(trouble);
        self.close();
        if error.is_fatal() {
            self.dead = Some(error.clone());
        } else if let Err(reopening) = self.reopen()
            && reopening.is_fatal()
        {
            self.dead = Some(reopening.clone());
            return reopening;
        }
        error
    }

    /// Whose queue it is; reads one row.
    pub(super) fn identity(&self) -> Result<Identity, StoreError> {
        self.read(|rows| {
            let Some(found) = rows.get(IDENTITY)? else {
                return Err(Trouble::row(IDENTITY, "it is missing"));
            };
            if let Some(format) = Identity::format_of(found.value())
                && format != row::FORMAT
            {
                let folder = std::path::Path::new(&self.place);
                return Err(super::place::other_format(folder, format).into());
            }
            Identity::decode(found.value()).map_err(|flaw| Trouble::row(IDENTITY, flaw))
        })
    }

    /// Notes whose queue it is.
    pub(super) fn set_identity(&mut self, identity: &Identity) -> Result<(), StoreError> {
        let row = identity.encode();
        self.write(false, |rows| {
            rows.insert(IDENTITY, row.as_slice())?;
            Ok(Some(()))
        })?;
        if let Some(index) = &mut self.index {
            index.identity = identity.clone();
        }
        Ok(())
    }

    /// The client id the server chose, if it did.
    pub(super) fn assigned_client_id(&self) -> Result<Option<rejoin_core::Text>, StoreError> {
        self.read(|rows| {
            let Some(found) = rows.get(SESSION)? else { return Ok(None) };
            let session = row::SessionRow::decode(found.value());
            Ok(session.map_err(|flaw| Trouble::row(SESSION, flaw))?.assigned_client_id)
        })
    }

    /// Reads everything back. What is not known of the present boot is noted.
    pub(super) fn recover(&mut self) -> Result<Recovered, StoreError> {
        self.alive()?;
        if self.database.is_none() {
            self.reopen()?;
        }
        let now = self.clock.now();
        let found = self.read(|rows| recover::read(rows, now))?;
        self.index = Some(found.index);
        self.note_boot()?;
        Ok(found.recovered)
    }

    /// Uptimes mean something within one boot only, so a new boot gets a number.
    fn note_boot(&mut self) -> Result<(), StoreError> {
        let boot_id = self.clock.now().boot_id;
        let Some(index) = &self.index else { return Ok(()) };
        if boot_id == [0; 16] || index.names.boot_id == boot_id {
            return Ok(());
        }
        let names = Names { boot: index.names.boot + 1, boot_id, ..index.names };
        match self.write(false, |rows| {
            rows.insert(NAMES, names.encode().as_slice())?;
            Ok(Some(()))
        }) {
            // Reading needs no space; until there is some, expiry goes by the wall clock.
            Ok(_) | Err(StoreError::NoSpace { .. }) => {}
            Err(error) => return Err(error),
        }
        if let Some(index) = &mut self.index {
            index.names = names;
        }
        Ok(())
    }

    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Puts records on the medium.
    pub(super) fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        if self.index.is_none() {
            self.recover()?;
        }
        let Some(index) = self.index.take() else { return Err(self.full()) };
        let began = Instant::now();
        let plan = Plan::new(&index, records);
        if plan.names.publish_most > LAST_NAME || plan.names.message_most > LAST_NAME {
            self.index = Some(index);
            let what = format!("names of messages end at {LAST_NAME}");
            return Err(StoreError::Io { place: self.place.clone(), what });
        }
        let present = Present::of(self.now(), &plan.names);
        // Payloads from the network: only the second phase keeps a crafted one from passing for a whole page.
        let two_phase = !plan.inbox.is_empty();
        let written = self.write(two_phase, |rows| Writing::new(&plan, &index, present, rows).run());
        let mut after = match written {
            Ok(tally) => {
                let tally = tally.unwrap_or_default();
                self.stats.record_bytes += tally.put_bytes;
                Index {
                    live_bytes: (index.live_bytes + tally.put_bytes).saturating_sub(tally.removed_bytes),
                    parked: tally.parked.unwrap_or_else(|| index.parked.clone()),
                    session: plan.session,
                    names: plan.names,
                    next_order: plan.next_order,
                    ..Index::default()
                }
            }
            Err(error) => {
                self.index = Some(index);
                return Err(error);
            }
        };
        let (exchanges, holdings) = (plan.exchanges.changed, plan.holdings.changed);
        after.identity = index.identity;
        after.exchanges = merged(index.exchanges, exchanges);
        after.holdings = merged(index.holdings, holdings);
        self.index = Some(after);
        self.stats.commits += 1;
        self.stats.records += records.len() as u64;
        self.stats.slowest_commit = self.stats.slowest_commit.max(began.elapsed());
        Ok(())
    }

    /// Bodies by name.
    pub(super) fn load(&mut self, ids: &[PublishId]) -> Result<Vec<Option<Publication>>, StoreError> {
        if self.database.is_none() {
            self.alive()?;
            self.reopen()?;
        }
        self.read(|rows| {
            let mut bodies = Vec::with_capacity(ids.len());
            for id in ids {
                let key = row::message_key(*id);
                let found = rows.get(key)?;
                let body = found.and_then(|found| {
                    let reader = row::unseal(key, found.value()).ok()?;
                    MessageRow::decode(reader).ok()?.publication().ok()
                });
                bodies.push(body);
            }
            Ok(bodies)
        })
    }

    /// Gives space back where most of the file is empty.
    pub(super) fn compact_if_worth_it(&mut self) -> Result<(), StoreError> {
        let Some(index) = &self.index else { return Ok(()) };
        let file_bytes = self.gauge.len_bytes();
        let is_large = file_bytes > self.options.compact_above_bytes.max(2 * self.compacted_bytes);
        if is_large && index.live_bytes < file_bytes / 4 {
            self.compact()?;
        }
        Ok(())
    }

    /// Sizes of the file in bytes before and after.
    pub(super) fn compact(&mut self) -> Result<(u64, u64), StoreError> {
        self.alive()?;
        if self.database.is_none() {
            self.reopen()?;
        }
        let before = self.gauge.len_bytes();
        let outcome = guarded(|| {
            let mut database = self.database.take().ok_or_else(|| self.full())?;
            database.compact()?;
            Ok(database)
        });
        match outcome {
            Ok(database) => self.database = Some(database),
            Err(trouble) => return Err(self.failed(trouble)),
        }
        self.compacted_bytes = self.gauge.len_bytes();
        Ok((before, self.compacted_bytes))
    }

    pub(super) fn stats(&self) -> StoreStats {
        StoreStats {
            file_bytes: self.gauge.len_bytes(),
            written_bytes: self.gauge.written_bytes(),
            syncs: self.gauge.syncs(),
            ..self.stats
        }
    }
}

fn merged<K: Ord, V>(
    mut base: std::collections::BTreeMap<K, V>,
    changed: std::collections::BTreeMap<K, Option<V>>,
) -> std::collections::BTreeMap<K, V> {
    for (key, value) in changed {
        match value {
            Some(value) => base.insert(key, value),
            None => base.remove(&key),
        };
    }
    base
}

/// What a commit did.
#[derive(Debug, Default)]
struct Tally {
    put_bytes: u64,
    removed_bytes: u64,
    changed: bool,
    /// What is parked now, if that changed.
    parked: Option<std::collections::BTreeSet<PublishId>>,
}

/// One commit being written.
struct Writing<'a, 'txn> {
    plan: &'a Plan<'a>,
    index: &'a Index,
    present: Present,
    rows: &'a mut Rows<'txn>,
    tally: Tally,
}

impl<'a, 'txn> Writing<'a, 'txn> {
    fn new(plan: &'a Plan<'a>, index: &'a Index, present: Present, rows: &'a mut Rows<'txn>) -> Self {
        Self { plan, index, present, rows, tally: Tally::default() }
    }

    fn run(mut self) -> Result<Option<Tally>, Trouble> {
        let (plan, index) = (self.plan, self.index);
        self.park()?;
        for id in &plan.gone {
            self.remove(row::message_key(*id))?;
        }
        for (id, change) in &plan.exchanges.changed {
            self.exchange(*id, *change)?;
        }
        for (id, (publication, accepted_wall_ms)) in &plan.new {
            let key = row::message_key(*id);
            let accepted = self.present.accepted(*accepted_wall_ms);
            let row = body::message_row(key, publication, accepted, self.assigned_at_once(*id));
            self.put(key, &row)?;
        }
        for (id, holding) in &plan.holdings.changed {
            let key = row::inbox_state_key(*id);
            match holding {
                Some(holding) if !holding.is_plain() => self.put(key, &holding.encode(key))?,
                _ => self.remove(key)?,
            }
            if holding.is_none_or(|holding| holding.taken) {
                self.remove(row::inbox_key(*id))?;
            }
        }
        for (id, (packet_id, message)) in &plan.inbox {
            let key = row::inbox_key(*id);
            self.put(key, &body::inbox_row(key, *packet_id, message))?;
        }
        if plan.session != index.session {
            self.put(SESSION, &plan.session.encode())?;
        }
        if plan.names != index.names {
            self.put(NAMES, &plan.names.encode())?;
        }
        Ok(self.tally.changed.then_some(self.tally))
    }

    fn put(&mut self, key: u64, row: &[u8]) -> Result<(), Trouble> {
        self.tally.changed = true;
        self.tally.put_bytes += row.len() as u64;
        if let Some(old) = self.rows.insert(key, row)? {
            self.tally.removed_bytes += old.value().len() as u64;
        }
        Ok(())
    }

    fn remove(&mut self, key: u64) -> Result<(), Trouble> {
        if let Some(old) = self.rows.remove(key)? {
            self.tally.changed = true;
            self.tally.removed_bytes += old.value().len() as u64;
        }
        Ok(())
    }

    /// The exchange a new message begins with, which its own row can say.
    fn assigned_at_once(&self, id: PublishId) -> Option<(PacketId, u64)> {
        let exchange = self.plan.exchanges.changed.get(&id).copied().flatten()?;
        let packet_id = exchange.packet_id?;
        exchange.is_plain().then_some((packet_id, exchange.order))
    }

    fn exchange(&mut self, id: PublishId, change: Option<Exchange>) -> Result<(), Trouble> {
        let key = row::exchange_key(id);
        match change {
            Some(exchange) if exchange.is_plain() && self.plan.new.contains_key(&id) => self.remove(key),
            Some(exchange) => self.put(key, &exchange.encode(key)),
            None => self.remove(key),
        }
    }

    /// Moves messages aside and lets the oldest of those go.
    fn park(&mut self) -> Result<(), Trouble> {
        if self.plan.parked.is_empty() {
            return Ok(());
        }
        let mut parked = self.index.parked.clone();
        for (id, why, publication) in &self.plan.parked {
            let content = match publication {
                Some((publication, accepted_wall_ms)) => {
                    let mut content = Vec::new();
                    let accepted = self.present.accepted(*accepted_wall_ms);
                    body::put_message(&mut content, publication, accepted, None);
                    content
                }
                None => self.content_of(*id)?,
            };
            let key = row::parked_key(*id);
            let head = ParkedHead { why: *why, at_wall_ms: self.present.now.wall_ms };
            self.put(key, &head.encode(key, &content))?;
            parked.insert(*id);
        }
        while parked.len() > PARKED_MOST
            && let Some(oldest) = parked.pop_first()
        {
            self.remove(row::parked_key(oldest))?;
        }
        self.tally.parked = Some(parked);
        Ok(())
    }

    /// What is in the row of a message, damaged or not, without its envelope.
    fn content_of(&self, id: PublishId) -> Result<Vec<u8>, Trouble> {
        use redb::ReadableTable;
        let Some(found) = self.rows.get(Kind::Message.key(id.0))? else { return Ok(Vec::new()) };
        let row = found.value();
        Ok(row.get(1..row.len().saturating_sub(4)).unwrap_or_default().to_vec())
    }
}
