//! Where accepted messages are kept so that they survive this process: the border every store implements.
//!
//! ```text
//!   engine ── Persist(records) ──► driver ──► keeper thread ── commit(all that waits) ──► Store ──► disk
//!          ◄── Persisted(ticket) ─────────────────┘ on return: it survives a power cut
//! ```
//! A store knows no MQTT. It keeps [`Record`]s, gives back what they add up to, and says so when it cannot.

#[cfg(all(feature = "store-redb", unix))]
mod door;
#[cfg(feature = "store-redb")]
mod folder;
mod guarded;
pub(crate) mod keeper;
mod memory;
pub mod tools;
#[cfg(feature = "store-redb")]
mod wire;

use std::fmt;
use std::time::Duration;

#[cfg(all(feature = "store-redb", unix))]
pub use door::{Door, Knock, Visitor};
#[cfg(feature = "store-redb")]
pub use folder::{Backend, Clock, Folder, FolderOptions, Identity, Medium, Moment, PARKED_MOST, SystemClock};
pub use memory::MemoryStore;
pub use rejoin_core::{Digest, Parking, Record, Recovered, Waits, WasHeld, WasSent};
use rejoin_core::{Publication, PublishId};

/// A place that keeps records. All calls come from one thread, one at a time, and may block; nothing of the client
/// but the store waits for them.
///
/// The contract, which `rejoin-lab` checks for any store:
///
/// 1. A commit is all or nothing.
/// 2. What a commit that returned holds survives a power cut.
/// 3. If a commit survives, so do all before it.
/// 4. [`Store::recover`] gives the same answer however often it is asked.
/// 5. After an error of [`StoreError::is_fatal`] the store takes nothing more: an operating system that failed to
///    write forgets what it failed to write, so trying again would only look like success.
/// 6. A store never starts empty in silence where there should be something.
pub trait Store: Send + fmt::Debug {
    /// Reads back what the records add up to. The first call.
    ///
    /// # Errors
    /// What is there cannot be read; the error names the place and what can be saved.
    fn recover(&mut self) -> Result<Recovered, StoreError>;

    /// Puts these records on the store, in order, as one.
    ///
    /// # Errors
    /// Nothing of it is on the store. After [`StoreError::NoSpace`] the same records may be tried again.
    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError>;

    /// Reads bodies back, in the order asked; `None` for one that is not there or is damaged.
    ///
    /// # Errors
    /// The store cannot be read at all.
    fn load(&mut self, ids: &[PublishId]) -> Result<Vec<Option<Publication>>, StoreError>;

    /// Called when nothing was to be done for a while: give space back, check that the place is still there.
    ///
    /// # Errors
    /// As [`Store::commit`].
    fn maintain(&mut self) -> Result<(), StoreError>;

    /// Called once, with a bell that another thread may ring when it wants [`Store::serve`] to be called soon, for
    /// example because somebody asks what is in the queue. Ignored by default.
    fn attend(&mut self, bell: Bell) {
        drop(bell);
    }

    /// The bell was rung. Called between commits. Gives messages that the client is to withdraw, because a person wants
    /// them gone; those under way stay.
    fn serve(&mut self) -> Vec<PublishId> {
        Vec::new()
    }

    /// Figures for people.
    fn stats(&self) -> StoreStats;

    /// Answers a tool such as `rejoin queue`, between two commits. A store without tools, the default, refuses.
    ///
    /// # Errors
    /// As [`Store::commit`]. A request that cannot be served is no error but [`tools::Answer::Refused`].
    fn answer(&mut self, request: &tools::Request) -> Result<tools::Answer, StoreError> {
        let _ = request;
        Ok(tools::Answer::Refused("this store has no tools".to_owned()))
    }
}

/// Asks the thread that serves a store to call [`Store::serve`].
pub type Bell = Box<dyn Fn() + Send + Sync>;

/// Figures of a store; they are cheap to ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStats {
    /// Commits that returned.
    pub commits: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of records handed to the medium, before what the store adds.
    pub record_bytes: u64,
    /// Size of the file in bytes; 0 where there is none.
    pub file_bytes: u64,
    /// Bytes written to the medium, all in all; 0 where there is none.
    pub written_bytes: u64,
    /// Times the medium was told to make all of it last.
    pub syncs: u64,
    /// How long the slowest commit took.
    pub slowest_commit: Duration,
}

/// Why a store cannot be opened, read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No space is left. What waits is kept in memory and tried again.
    #[error("no space left for the queue in {place}; make room, it goes on by itself")]
    NoSpace {
        /// The folder.
        place: String,
    },
    /// The disk stands still or is too slow: so much that was accepted, and perhaps delivered already, is still to be
    /// written. Nothing more is taken until half of it is.
    #[error("the disk of the queue does not keep up, {bytes} bytes wait to be written; it goes on by itself")]
    Behind {
        /// What waits, in bytes of messages with their overhead.
        bytes: u64,
    },
    /// Another process has it.
    #[error("the queue in {place} is in use by {by}; one client has a queue at a time")]
    InUse {
        /// The folder.
        place: String,
        /// Who, as far as it is known.
        by: String,
    },
    /// It belongs to another client or another server.
    #[error("the queue in {place} belongs to {what} `{stored}`, not `{given}`; {}", not_ours(what))]
    NotOurs {
        /// The folder.
        place: String,
        /// `client` or `server`.
        what: &'static str,
        /// Whose it is.
        stored: String,
        /// Who asked.
        given: String,
    },
    /// Written by another version of rejoin.
    #[error("the queue in {place} has format {found}, this program reads {reads}; {remedy}")]
    Format {
        /// The folder.
        place: String,
        /// What was found.
        found: u32,
        /// What can be read.
        reads: u32,
        /// What to do.
        remedy: &'static str,
    },
    /// What is there is damaged.
    #[error(
        "the queue in {place} is damaged: {what}; `rejoin queue verify` shows the extent, `rejoin queue export` saves what can be read"
    )]
    Damaged {
        /// The folder.
        place: String,
        /// What and where.
        what: String,
    },
    /// The folder or its file is gone, or cannot be used.
    #[error("the queue folder {place} cannot be used: {what}")]
    Place {
        /// The folder.
        place: String,
        /// Why, and what to do.
        what: String,
    },
    /// The code of the store panicked. What was not on the store before may or may not be; nothing more is asked of it.
    #[error("the store of the queue panicked: {what}; it takes nothing more until it is opened anew")]
    Panicked {
        /// What the panic said.
        what: String,
    },
    /// The operating system could not read or write. What was not on the store before is not.
    #[error("the queue in {place}: {what}")]
    Io {
        /// The folder.
        place: String,
        /// What the system said.
        what: String,
    },
}

/// What to do with a queue of another client, or of a server that may have moved.
fn not_ours(what: &str) -> &'static str {
    if what == "server" {
        "use a folder of its own, or, if this is where its server went: `rejoin queue drain DIR -L URL --moved`"
    } else {
        "use a folder of its own"
    }
}

impl StoreError {
    /// Whether the store takes nothing more until it is opened anew. Only [`StoreError::NoSpace`] and
    /// [`StoreError::Behind`] pass by themselves.
    pub const fn is_fatal(&self) -> bool {
        !matches!(self, Self::NoSpace { .. } | Self::Behind { .. })
    }
}
