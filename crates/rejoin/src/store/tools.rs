//! What people ask a queue, resting or in use: the border behind `rejoin queue`.
//!
//! Every request is answered between two commits by the one who has the store, and does a bounded piece of work: long
//! lists come in pages, each naming where the next begins.

use rejoin_core::{Message, MessageId, Parking, Publication, PublishId, Qos, TopicFilter};

use super::StoreStats;

/// Most entries, or rows looked at, in one answer.
pub const PAGE_MOST: u32 = 4096;
/// Most bytes of bodies in one answer, unless a single one is larger.
pub const PAGE_BYTES_MOST: u64 = 8 << 20;

/// Where a list goes on. Opaque; an answer gives it, the next request takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(pub(crate) u64);

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request {
    /// How much there is: [`Answer::Stats`].
    Stats,
    /// What is there, in the order of acceptance, then parked messages, then inbound ones: [`Answer::Entries`].
    List {
        /// Where the last answer ended; `None`: from the beginning.
        after: Option<Cursor>,
        /// Entries wanted, at most [`PAGE_MOST`].
        most: u32,
    },
    /// The same with bodies, as far as it can be read: [`Answer::Bodies`].
    Export {
        /// As for [`Request::List`].
        after: Option<Cursor>,
        /// As for [`Request::List`].
        most: u32,
    },
    /// One message whole: [`Answer::Bodies`] with one entry, or with none.
    Show(PublishId),
    /// Reads rows and checks them: [`Answer::Verified`].
    Verify {
        /// As for [`Request::List`].
        after: Option<Cursor>,
        /// Rows wanted, at most [`PAGE_MOST`] times 16.
        most: u32,
    },
    /// Takes messages out: [`Answer::Purged`], or [`Answer::Withdraw`] from a queue in use.
    Purge(Selection),
    /// Makes the file as small as it can be: [`Answer::Compacted`].
    Compact,
}

/// Which messages a purge takes out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Selection {
    /// Everything that is or was to be sent, parked messages included. Inbound messages stay: the server may have
    /// forgotten them, and the application has not had them.
    All,
    /// Those to topics that match.
    Topic(TopicFilter),
    /// This one.
    Publish(PublishId),
    /// Those set aside.
    Parked,
    /// Rows that cannot be read, whatever they were; only from a queue at rest.
    Damaged,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// To [`Request::Stats`].
    Stats(QueueStats),
    /// To [`Request::List`].
    Entries {
        /// A page.
        entries: Vec<Entry>,
        /// Where the next one begins; `None`: this was the last.
        next: Option<Cursor>,
    },
    /// To [`Request::Export`] and [`Request::Show`].
    Bodies {
        /// A page.
        bodies: Vec<(Entry, Option<Body>)>,
        /// Where the next one begins; `None`: this was the last.
        next: Option<Cursor>,
    },
    /// To [`Request::Verify`].
    Verified {
        /// Rows looked at in this page.
        rows: u64,
        /// Rows there are in all, for a progress bar.
        of: u64,
        /// What is wrong, each with its position.
        damaged: Vec<String>,
        /// Where the next page begins; `None`: this was the last.
        next: Option<Cursor>,
    },
    /// To [`Request::Purge`].
    Purged {
        /// Messages taken out.
        messages: u64,
        /// Bytes of their rows.
        bytes: u64,
    },
    /// To [`Request::Purge`] of a queue in use: the client knows these messages, so it must withdraw them. Those that
    /// are under way stay. The one who has the store hands this to the client and answers with [`Answer::Purged`].
    Withdraw {
        /// Messages to withdraw.
        ids: Vec<PublishId>,
        /// Parked messages that were taken out already.
        messages: u64,
        /// Bytes of their rows.
        bytes: u64,
    },
    /// To [`Request::Compact`].
    Compacted {
        /// Size of the file in bytes before.
        before_bytes: u64,
        /// And after.
        after_bytes: u64,
    },
    /// It cannot be done; why, and what can.
    Refused(String),
}

/// How much is in a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Format of the file.
    pub format: u32,
    /// When the queue was begun, in milliseconds since the Unix epoch.
    pub created_wall_ms: u64,
    /// Whose it is.
    pub client_id: Option<String>,
    /// The servers it was used with last.
    pub servers: Vec<String>,
    /// The server that has the session.
    pub session_server: Option<String>,
    /// Counts the sessions.
    pub epoch: u64,
    /// Messages not sent in the present session.
    pub waiting: u64,
    /// Messages sent and not answered for.
    pub sent: u64,
    /// Those of them that only PUBCOMP is missing for.
    pub released: u64,
    /// Messages the application must decide on.
    pub undecided: u64,
    /// Messages set aside.
    pub parked: u64,
    /// Inbound messages that the application has not taken, or whose identifier is held.
    pub inbound: u64,
    /// When the oldest message was accepted, in milliseconds since the Unix epoch.
    pub oldest_accepted_wall_ms: Option<u64>,
    /// Bytes of all rows.
    pub live_bytes: u64,
    /// Size of the file, and what was done since it was opened.
    pub store: StoreStats,
}

/// A message in a queue, without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Our name of it.
    pub name: EntryName,
    /// How far it is.
    pub state: EntryState,
    /// Its topic; empty where it cannot be read.
    pub topic: String,
    /// QoS.
    pub qos: Qos,
    /// Retain flag.
    pub retain: bool,
    /// Size of the payload in bytes.
    pub payload_bytes: u64,
    /// When it was accepted, in milliseconds since the Unix epoch.
    pub accepted_wall_ms: Option<u64>,
    /// When it expires, in milliseconds since the Unix epoch.
    pub expires_wall_ms: Option<u64>,
}

/// Whose name it is: outbound and inbound messages are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryName {
    /// To be sent.
    Publish(PublishId),
    /// Received.
    Message(MessageId),
}

/// How far a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryState {
    /// Not sent in the present session.
    Waiting {
        /// It was sent in a former one.
        possible_duplicate: bool,
    },
    /// Sent and not answered for.
    Sent {
        /// Its packet identifier.
        packet_id: u16,
    },
    /// PUBREC came; PUBCOMP did not.
    Released {
        /// Its packet identifier.
        packet_id: u16,
    },
    /// The session was lost, and the application must decide.
    Undecided,
    /// Set aside for a person to look at.
    Parked {
        /// Why.
        why: Parking,
        /// When, in milliseconds since the Unix epoch.
        at_wall_ms: u64,
    },
    /// Inbound, and not taken by the application.
    Inbound {
        /// The server's packet identifier, while it is held.
        packet_id: Option<u16>,
    },
    /// It cannot be read.
    Damaged {
        /// Where and how.
        what: String,
    },
}

/// A body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Of a message to be sent.
    Publication(Box<Publication>),
    /// Of one received.
    Message(Box<Message>),
}
