//! What an engine holds, structure by structure, for whoever wants to see its memory bounded.

/// How much an engine holds at one moment, by [`crate::Engine::held`]. Numbers of things where no unit is named.
///
/// Each of them has a bound in the settings or in what the application handed over and was not answered for. The
/// simulation and the soak watch them; an application has [`crate::Status`] and [`crate::Stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldCounts {
    /// Waiting messages that are whole in memory.
    pub waiting_near: usize,
    /// Bytes of topics and payloads of [`HeldCounts::waiting_near`].
    pub waiting_near_bytes: u64,
    /// Waiting messages made small, without a store.
    pub waiting_packed: usize,
    /// Waiting messages whose bodies are on the store alone.
    pub waiting_far: usize,
    /// Waiting messages of topics of which only the latest counts.
    pub waiting_latest: usize,
    /// Messages refused for now, and messages the application must decide on.
    pub put_off: usize,
    /// Exchanges somebody waits for, and identifiers that stay taken though nobody does.
    pub in_flight: usize,
    /// Places kept for exchanges, those that are over included.
    pub in_flight_places: usize,
    /// Packet identifiers in use.
    pub packet_ids: usize,
    /// Answers owed to the server.
    pub answers_owed: usize,
    /// Inbound QoS 2 identifiers that must not be delivered twice.
    pub ids_held: usize,
    /// Inbound QoS 2 messages the application has not taken.
    pub untaken: usize,
    /// Wishes to receive, and those that are to end.
    pub subscriptions: usize,
    /// SUBSCRIBE and UNSUBSCRIBE without an answer on this link.
    pub subscriptions_asked: usize,
    /// Messages the store was given and has not reported.
    pub storing: usize,
    /// Bytes handed to the transport and not taken by it.
    pub unwritten_bytes: u64,
    /// Bytes of packets that have not come completely.
    pub unread_bytes: usize,
    /// Topic aliases, in both directions.
    pub aliases: usize,
    /// QoS 0 messages the transport has not taken.
    pub unsent: usize,
    /// Outputs nobody asked for yet.
    pub outputs: usize,
}
