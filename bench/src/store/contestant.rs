//! What is compared: stores that all do the same work, each in the way its documentation asks for.

use super::log::Log;
use ::rejoin::store::{Folder, FolderOptions, Identity, Record, Store, SystemClock};
use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use rejoin_core::text::Text;
use rejoin_core::{Publication, PublishId, TopicName};
use rusqlite::{Connection, params};
use std::fmt::Display;
use std::path::Path;

pub(super) const OURS: &str = "rejoin";
pub(super) const QUICK_REPAIR: &str = "rejoin-qr";
pub(super) const LOG: &str = "log";

/// Names of contestants, and what they are, for the page.
pub(super) const CONTESTANTS: [(&str, &str); 5] = [
    (
        LOG,
        "bare append-only log, for reference: records with a CRC-32 behind each other in growing files of 16 MiB, one write and one `fdatasync` for each commit, a file is removed when nothing in it is pending, nothing is known about the session, nothing can be looked up",
    ),
    (OURS, "`rejoin::store::Folder`, default options: what `Queue::in_dir` uses"),
    (QUICK_REPAIR, "the same with `quick_repair`: a second sync for each commit"),
    (
        "fjall",
        "fjall 3.1.13, default options, no compression, a batch for each commit with `PersistMode::SyncData`",
    ),
    (
        "sqlite",
        "SQLite (rusqlite 0.43.0, bundled), `journal_mode=WAL`, `synchronous=FULL`, one table by integer key, a transaction for each commit",
    ),
];

const TOPIC: &str = "bench/one/two/three";
/// Bytes that payloads are cut from: random, so that nothing compresses them.
const POOL: usize = 1 << 16;

/// The messages of a run.
pub(super) struct Messages {
    pool: Bytes,
    topic: TopicName,
    size: usize,
}

impl Messages {
    pub(super) fn new(size: usize) -> Result<Self, String> {
        let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
        let pool = (0..(POOL + size).div_ceil(8)).flat_map(|_| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed.to_le_bytes()
        });
        let topic = TopicName::try_from(TOPIC).map_err(told)?;
        Ok(Self { pool: pool.collect::<Vec<_>>().into(), topic, size })
    }

    pub(super) const fn size(&self) -> usize {
        self.size
    }

    pub(super) fn topic(&self) -> TopicName {
        self.topic.clone()
    }

    pub(super) fn payload(&self, id: u64) -> Bytes {
        let at = (id.wrapping_mul(0x9E37_79B9) % POOL as u64) as usize;
        self.pool.slice(at..at + self.size)
    }

    /// What a store without a notion of topics keeps.
    fn body(&self, id: u64) -> Vec<u8> {
        [self.topic.text().as_bytes(), self.payload(id).as_ref()].concat()
    }
}

/// A queue on disk.
pub(super) trait Contestant {
    /// Takes these in and lets those go, as one; on return it survives a power cut.
    fn commit(&mut self, new: &[u64], gone: &[u64]) -> Result<(), String>;

    /// How many are pending; every body is read. Once, after the opening.
    fn pending(&mut self) -> Result<u64, String>;

    /// Bytes handed to the medium, where the store counts them itself.
    fn counted(&self) -> Option<u64> {
        None
    }
}

pub(super) fn open(name: &str, folder: &Path, size: usize) -> Result<Box<dyn Contestant>, String> {
    let messages = Messages::new(size)?;
    Ok(match name {
        OURS => Box::new(Ours::open(folder, messages, false)?),
        QUICK_REPAIR => Box::new(Ours::open(folder, messages, true)?),
        "fjall" => Box::new(Fjall::open(folder, messages)?),
        "sqlite" => Box::new(Sqlite::open(folder, messages)?),
        LOG => Box::new(BareLog { log: Log::open(folder).map_err(told)?, messages }),
        other => return Err(format!("--store {other}: there is none of that name")),
    })
}

pub(super) fn told(error: impl Display) -> String {
    error.to_string()
}

struct Ours {
    folder: Folder,
    messages: Messages,
    records: Vec<Record>,
    pending: u64,
}

impl Ours {
    fn open(folder: &Path, messages: Messages, quick_repair: bool) -> Result<Self, String> {
        let identity =
            Identity { client_id: Some(Text::try_from("bench").map_err(told)?), servers: Vec::new() };
        let options = FolderOptions { quick_repair, ..FolderOptions::default() };
        let mut folder = Folder::open_with(folder, &identity, options, SystemClock).map_err(told)?;
        let pending = folder.recover().map_err(told)?.waiting.len() as u64;
        Ok(Self { folder, messages, records: Vec::new(), pending })
    }
}

impl Contestant for Ours {
    fn commit(&mut self, new: &[u64], gone: &[u64]) -> Result<(), String> {
        self.records.clear();
        for &id in new {
            let mut publication = Publication::new(self.messages.topic(), self.messages.payload(id));
            publication.qos = rejoin_core::Qos::AtLeastOnce;
            let accepted_wall_ms = 1_700_000_000_000 + id;
            // Names begin with 1.
            self.records.push(Record::Enqueued { id: PublishId(id + 1), publication, accepted_wall_ms });
        }
        self.records.extend(gone.iter().map(|id| Record::Done { id: PublishId(id + 1) }));
        self.folder.commit(&self.records).map_err(told)
    }

    fn pending(&mut self) -> Result<u64, String> {
        Ok(self.pending)
    }

    fn counted(&self) -> Option<u64> {
        Some(self.folder.stats().written_bytes)
    }
}

struct Fjall {
    database: Database,
    queue: Keyspace,
    messages: Messages,
}

impl Fjall {
    fn open(folder: &Path, messages: Messages) -> Result<Self, String> {
        let database = Database::builder(folder).open().map_err(told)?;
        let queue = database.keyspace("queue", KeyspaceCreateOptions::default).map_err(told)?;
        Ok(Self { database, queue, messages })
    }
}

impl Contestant for Fjall {
    fn commit(&mut self, new: &[u64], gone: &[u64]) -> Result<(), String> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for id in new {
            batch.insert(&self.queue, id.to_be_bytes(), self.messages.body(*id));
        }
        for id in gone {
            batch.remove(&self.queue, id.to_be_bytes());
        }
        batch.commit().map_err(told)
    }

    fn pending(&mut self) -> Result<u64, String> {
        let mut found = 0;
        for entry in self.queue.iter() {
            let body = entry.value().map_err(told)?;
            found += u64::from(body.len() > self.messages.size());
        }
        Ok(found)
    }
}

struct Sqlite {
    connection: Connection,
    messages: Messages,
}

impl Sqlite {
    fn open(folder: &Path, messages: Messages) -> Result<Self, String> {
        std::fs::create_dir_all(folder).map_err(told)?;
        let connection = Connection::open(folder.join("queue.sqlite")).map_err(told)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(told)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(told)?;
        connection
            .execute_batch("CREATE TABLE IF NOT EXISTS queue (id INTEGER PRIMARY KEY, body BLOB NOT NULL)")
            .map_err(told)?;
        Ok(Self { connection, messages })
    }

    fn transaction(&mut self, new: &[u64], gone: &[u64]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO queue (id, body) VALUES (?1, ?2)")?;
            for id in new {
                insert.execute(params![*id as i64, self.messages.body(*id)])?;
            }
            let mut remove = transaction.prepare_cached("DELETE FROM queue WHERE id = ?1")?;
            for id in gone {
                remove.execute(params![*id as i64])?;
            }
        }
        transaction.commit()
    }
}

impl Contestant for Sqlite {
    fn commit(&mut self, new: &[u64], gone: &[u64]) -> Result<(), String> {
        self.transaction(new, gone).map_err(told)
    }

    fn pending(&mut self) -> Result<u64, String> {
        let mut select = self.connection.prepare("SELECT body FROM queue ORDER BY id").map_err(told)?;
        let mut rows = select.query([]).map_err(told)?;
        let mut found = 0;
        while let Some(row) = rows.next().map_err(told)? {
            let body = row.get_ref(0).map_err(told)?.as_blob().map_err(told)?;
            found += u64::from(body.len() > self.messages.size());
        }
        Ok(found)
    }
}

struct BareLog {
    log: Log,
    messages: Messages,
}

impl Contestant for BareLog {
    fn commit(&mut self, new: &[u64], gone: &[u64]) -> Result<(), String> {
        for id in new {
            self.log.put(*id, &[self.messages.topic.text().as_bytes(), self.messages.payload(*id).as_ref()]);
        }
        for id in gone {
            self.log.remove(*id);
        }
        self.log.commit().map_err(told)
    }

    fn pending(&mut self) -> Result<u64, String> {
        Ok(self.log.pending())
    }
}
