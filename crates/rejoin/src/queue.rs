//! Settings of the queue: where accepted messages are kept, how many, and what happens when there is no room.

use std::fmt;
use std::time::Duration;

use crate::store::Store;

/// Room for accepted messages, when nothing else is said.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// What happens to a message when the queue has no room for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// It is given back in the error: nothing is lost without the caller's knowledge.
    #[default]
    Reject,
    /// The message that waits longest and was never sent makes room; it ends as
    /// [`PublishError::Evicted`](crate::PublishError::Evicted). For values of which the newest counts: the newest is kept
    /// in any case. What was sent and is not answered counts, too, and cannot make room: with a limit no higher than
    /// [`Builder::max_in_flight`](crate::Builder::max_in_flight) it may be that in an outage the newest alone waits. So
    /// memory is bounded by the limit and, beside it, by what may be in flight: set that lower where messages are large. A
    /// message is given back only where as many as the limit came at once, before the client's task had its turn.
    DropOldest,
    /// It is accepted and ends at once as [`PublishError::Evicted`](crate::PublishError::Evicted). For callers that
    /// look at outcomes only.
    DropNewest,
    /// An awaited publish waits for room. [`enqueue`](crate::PublishBuilder::enqueue), which cannot wait, gives it back. Who
    /// gives up an awaited publish that still waits gives up the message, which is counted as not accepted;
    /// [`enqueue_within`](crate::PublishBuilder::enqueue_within) gives it back.
    Block,
}

/// What happens when the store failed for good: a sync or a write that the system refused, a folder that is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenStoreFails {
    /// Nothing more is accepted; what is under way at QoS 1 goes on. Started anew, the program finds what was stored.
    #[default]
    Refuse,
    /// Goes on with the queue in memory, and says so: an error in the log, an event, `durable: false` in the state. What
    /// the store had may be sent again by the next start.
    GoOnInMemory,
}

/// The queue of accepted messages. Given to [`Builder::queue`](crate::Builder::queue).
///
/// ```
/// use rejoin::{Queue, WhenFull};
///
/// let queue = Queue::in_memory().max_bytes(16 * 1024 * 1024).when_full(WhenFull::DropOldest);
/// # drop(queue);
/// ```
#[must_use = "give it to Builder::queue"]
pub struct Queue {
    pub(crate) place: Place,
    pub(crate) max_bytes: u64,
    pub(crate) max_messages: u64,
    pub(crate) when_full: WhenFull,
    pub(crate) when_store_fails: WhenStoreFails,
    pub(crate) memory_window_bytes: Option<u64>,
    pub(crate) expires_after: Option<Duration>,
    pub(crate) latest_only: bool,
}

/// Where messages are kept.
pub(crate) enum Place {
    Memory,
    Store(Box<dyn Store>),
    #[cfg(feature = "store-redb")]
    Folder {
        path: std::path::PathBuf,
        quick_repair: bool,
    },
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match &self.place {
            Place::Memory => "memory".to_owned(),
            Place::Store(store) => format!("{store:?}"),
            #[cfg(feature = "store-redb")]
            Place::Folder { path, .. } => path.display().to_string(),
        };
        f.debug_struct("Queue")
            .field("place", &place)
            .field("max_bytes", &self.max_bytes)
            .field("max_messages", &self.max_messages)
            .field("when_full", &self.when_full)
            .finish_non_exhaustive()
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self::in_memory()
    }
}

impl Queue {
    const fn new(place: Place) -> Self {
        Self {
            place,
            max_bytes: MAX_BYTES,
            max_messages: u64::MAX,
            when_full: WhenFull::Reject,
            when_store_fails: WhenStoreFails::Refuse,
            memory_window_bytes: None,
            expires_after: None,
            latest_only: false,
        }
    }

    /// In the memory of this process: gone when it ends before they were delivered. The default.
    pub const fn in_memory() -> Self {
        Self::new(Place::Memory)
    }

    /// The folder of the queue, where there is one.
    pub(crate) fn folder(&self) -> Option<std::path::PathBuf> {
        match &self.place {
            #[cfg(feature = "store-redb")]
            Place::Folder { path, .. } => Some(path.clone()),
            _ => None,
        }
    }

    /// In this folder, which is made if it is not there: accepted messages survive this process, and a power cut once
    /// [`Delivery::stored`](crate::Delivery::stored) said so. One client has a folder at a time, and it keeps the session
    /// state, the client id and the budget of attempts too.
    #[cfg(feature = "store-redb")]
    pub fn in_dir(path: impl Into<std::path::PathBuf>) -> Self {
        Self::new(Place::Folder { path: path.into(), quick_repair: false })
    }

    /// In a store of your own.
    ///
    /// ```
    /// use rejoin::{Queue, store::MemoryStore};
    /// let shelf = MemoryStore::default(); // outlives each client it is lent to
    /// let queue = Queue::in_store(shelf.clone());
    /// # drop((queue, shelf));
    /// ```
    pub fn in_store(store: impl Store + 'static) -> Self {
        Self::new(Place::Store(Box::new(store)))
    }

    /// Makes a folder open in milliseconds after the process was killed, however full it is, for one more sync with each
    /// commit. Default off: reading 1,000,000 messages back after a kill takes some seconds. Only for [`Queue::in_dir`].
    #[cfg(feature = "store-redb")]
    pub fn quick_repair(mut self) -> Self {
        if let Place::Folder { quick_repair, .. } = &mut self.place {
            *quick_repair = true;
        }
        self
    }

    /// Room in bytes; each message counts 128 more than topic, payload and properties. Default 64 MiB.
    pub const fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Room in messages. Default: only the bytes count.
    pub const fn max_messages(mut self, messages: u64) -> Self {
        self.max_messages = messages;
        self
    }

    /// What happens when there is no room. Default: the message is given back.
    pub const fn when_full(mut self, policy: WhenFull) -> Self {
        self.when_full = policy;
        self
    }

    /// What happens when the store failed for good. Default: nothing more is accepted.
    pub const fn when_store_fails(mut self, policy: WhenStoreFails) -> Self {
        self.when_store_fails = policy;
        self
    }

    /// Bytes of topics and payloads of waiting messages kept in memory although a store has them. Default 4 MiB.
    pub const fn memory_window_bytes(mut self, bytes: u64) -> Self {
        self.memory_window_bytes = Some(bytes);
        self
    }

    /// For messages that say nothing themselves: end as expired when not sent within this time. Default: never.
    pub const fn expires_after(mut self, time: Duration) -> Self {
        self.expires_after = Some(time);
        self
    }

    /// Of each topic only the latest message counts: while one was never sent, a newer one takes its place in the queue,
    /// and the older ends as [`PublishError::Superseded`](crate::PublishError::Superseded). Default off; a single message
    /// can ask for it with [`PublishBuilder::latest_only`](crate::PublishBuilder::latest_only).
    pub const fn latest_only(mut self) -> Self {
        self.latest_only = true;
        self
    }
}
