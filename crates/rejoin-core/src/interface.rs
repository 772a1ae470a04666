//! All that crosses the border of the core: one enum in, one enum out.

use std::time::Duration;

use bytes::Bytes;

use crate::error::TransportError;
use crate::event::{Event, Publication, PublishId};
use crate::session::Record;

/// A position in the order of records. Durability is a watermark: everything up to a ticket is on the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What the world tells the engine.
#[derive(Clone, Debug)]
pub enum Input {
    /// Opening the transport came to this stage. From the first handshake on, the clock of the handshakes runs.
    Reached(crate::error::Stage),
    /// The transport asked for by [`Output::Open`] is open.
    Opened,
    /// It could not be opened.
    OpenFailed {
        /// How far it came.
        stage: crate::error::Stage,
        /// Why.
        error: TransportError,
    },
    /// Bytes came, as they were read. A chunk is not copied unless a packet straddles its end.
    Received(Bytes),
    /// The transport took this many of the bytes of [`Output::Transmit`].
    Written(usize),
    /// The transport ended. [`crate::error::TransportErrorKind::Closed`] for an orderly end of stream.
    Lost(TransportError),
    /// Everything up to this ticket is on the store and survives a power cut.
    Persisted(Ticket),
    /// Of everything up to this ticket, that a CONNECT leaves ([`Record::ConnectSent`]) and that a session began
    /// ([`Record::SessionStarted`]) is on the store and survives a power cut; the rest is still to come. For a store that
    /// has no room for messages now: links open and sessions begin all the same.
    SessionPersisted(Ticket),
    /// The bodies asked for by [`Output::Load`], in that order; `None` where the store cannot give one back.
    Loaded(Vec<(PublishId, Option<Publication>)>),
    /// The store takes nothing more. The bodies are those it was given and never wrote: they are in memory only from
    /// here on, and so is everything accepted later. What it has stays there for the next process. Who goes on in memory
    /// says [`Input::Persisted`] before the next poll; else what may not leave without the store waits, and is passed.
    StoreLost(Vec<(PublishId, Publication)>),
    /// A deadline passed.
    Tick,
}

/// What the engine wants done, in this order.
#[derive(Clone, Debug)]
pub enum Output {
    /// Open a transport. Answer with `Opened` or `OpenFailed`; a `Close` in between withdraws it.
    Open {
        /// Index of the server.
        server: usize,
        /// Which attempt, from 1.
        attempt: u32,
        /// Limit up to the first handshake. The engine keeps the time too and withdraws an attempt that overruns.
        limit: Duration,
        /// Limit from the first handshake above TCP to CONNACK: from there the client is in the broker's queue.
        handshake_limit: Duration,
    },
    /// Write these bytes to the transport, after all before them. Report progress with `Written`.
    Transmit(Bytes),
    /// Close the transport; nothing that comes from it afterwards may be reported.
    Close {
        /// Let the bytes handed over go out first (half-close, read to the end), within a short limit; else drop
        /// the transport at once.
        graceful: bool,
    },
    /// Put these records on the store, in order and as one; then report `Persisted(ticket)`. Do not wait for
    /// it: whatever must, is held inside the engine.
    Persist {
        /// The position of the last record.
        ticket: Ticket,
        /// The facts.
        records: Vec<Record>,
    },
    /// Read the bodies of these messages from the store and answer with `Loaded`, once. Every `Persist` before it
    /// counts as done: a store that has not written a body yet gives it back from memory. Only with a store.
    Load(Vec<PublishId>),
    /// Tell the application.
    Event(Event),
}
