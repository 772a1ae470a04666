//! A strict MQTT 3.1.1 and 5.0 broker as a pure model: bytes and times go in, bytes come out.
//!
//! ```text
//!   opened ──► Fresh ──CONNECT──► Up ──DISCONNECT, fault, cut──► Over ──► closed
//!                └─CONNECT─► Proving (AUTH) ─┘                    │
//!                                 └── Session (by client id) ◄────┘ kept until it expires
//! ```
//!
//! It is a test broker: it keeps everything in memory, matches subscriptions one by one, and **judges every
//! packet** it gets. Give each message its own payload: resends are told from new messages by their content.

mod answer;
mod auth;
mod connect;
mod connection;
mod control;
mod inbound;
mod ledger;
mod manners;
mod outbound;
mod owed;
mod route;
mod session;
mod subscribe;
mod unreadable;
mod violation;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use rejoin_core::codec::packet::Packet;
use rejoin_core::codec::reason::ReasonCode;
use rejoin_core::codec::{DecodeError, Decoded, Limits};
use rejoin_core::text::Text;
use rejoin_core::time::Timestamp;

use crate::wire::{Ending, PacketKind};
use connection::{Connection, Phase};
use session::{Memory, Message, Session};
use unreadable::fault_of;
use violation::{Fault, Penalty};

pub use auth::Backwards;
pub use ledger::{Accepted, Delivery, Ledger, LedgerEntry};
pub use manners::{Answer, Forward, Manners, Refusal};
pub use violation::Violation;

/// The number of a connection; never used twice by one broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {}", self.0)
    }
}

/// One of a broker's addresses. They share what is published; sessions belong to the address they began at, as they do where
/// servers stand beside one another and are no cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Address(pub u8);

impl Address {
    /// Under this name the broker keeps the session that a client id has here: what [`Broker::connection_of`],
    /// [`Broker::owed_to`] and [`Broker::subscriptions`] are asked for, and what its account and its objections say. At the
    /// first address it is the client id.
    ///
    /// ```
    /// use rejoin_core::Text;
    /// use rejoin_lab::Address;
    ///
    /// let id = Text::from_static("pump");
    /// assert_eq!(Address(0).session_name(&id).as_str(), "pump");
    /// assert_eq!(Address(1).session_name(&id).as_str(), "pump@1");
    /// ```
    pub fn session_name(self, client_id: &Text) -> Text {
        match self.0 {
            0 => client_id.clone(),
            // Only the longest of names has no room for it.
            other => Text::try_from(format!("{client_id}@{other}")).unwrap_or_else(|_| client_id.clone()),
        }
    }
}

/// What the broker wants done with a connection, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Write these bytes.
    Send(Bytes),
    /// End the connection; then report [`Broker::closed`].
    Close(Ending),
}

/// What the broker counted since it was made; a restart sets nothing back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Network connections.
    pub opened: u64,
    /// CONNECT packets that were answered with success.
    pub connected: u64,
    /// Of these, with Session Present.
    pub resumed: u64,
    /// CONNACK packets that claimed a session there was not.
    pub claimed: u64,
    /// Messages taken over, resends at QoS 1 included.
    pub accepted: u64,
    /// PUBLISH packets that came with DUP.
    pub resends_received: u64,
    /// PUBLISH packets sent to subscribers.
    pub sent: u64,
    /// Deliveries confirmed by subscribers.
    pub confirmed: u64,
    /// Messages dropped: QoS 0 without a live connection or beyond the backlog.
    pub dropped_qos0: u64,
    /// Messages dropped because the queue of a session was full.
    pub dropped_queue_full: u64,
    /// Messages dropped because they expired before they were sent.
    pub dropped_expired: u64,
    /// Messages dropped because the client takes no packet of that size.
    pub dropped_too_large: u64,
    received: [u64; 16],
}

impl Counters {
    /// Packets of a kind that were received.
    pub const fn received(&self, kind: PacketKind) -> u64 {
        self.received[kind as usize]
    }
}

/// The sessions and retained messages of a broker at one moment, as a store on disk would hold them.
#[derive(Clone, Debug)]
pub struct Snapshot {
    sessions: BTreeMap<Text, Session>,
    retained: BTreeMap<Text, Message>,
}

/// The broker. See the module.
pub struct Broker {
    manners: Manners,
    now: Timestamp,
    connections: BTreeMap<ConnectionId, Connection>,
    sessions: BTreeMap<Text, Session>,
    retained: BTreeMap<Text, Message>,
    /// Whose turn it is, for each shared filter.
    turns: BTreeMap<Text, usize>,
    violations: Vec<Violation>,
    ledgers: Vec<Ledger>,
    counters: Counters,
    last_connection: u64,
    last_session: u64,
    last_challenge: u64,
    last_arrival: u64,
    dirty: Vec<ConnectionId>,
    deadline_moved: bool,
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("connections", &self.connections.len())
            .field("sessions", &self.sessions.len())
            .field("violations", &self.violations)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl Default for Broker {
    fn default() -> Self {
        Self::new(Manners::default())
    }
}

impl Broker {
    /// A broker without sessions.
    pub const fn new(manners: Manners) -> Self {
        Self {
            manners,
            now: Timestamp::ZERO,
            connections: BTreeMap::new(),
            sessions: BTreeMap::new(),
            retained: BTreeMap::new(),
            turns: BTreeMap::new(),
            violations: Vec::new(),
            ledgers: Vec::new(),
            counters: Counters {
                opened: 0,
                connected: 0,
                resumed: 0,
                claimed: 0,
                accepted: 0,
                resends_received: 0,
                sent: 0,
                confirmed: 0,
                dropped_qos0: 0,
                dropped_queue_full: 0,
                dropped_expired: 0,
                dropped_too_large: 0,
                received: [0; 16],
            },
            last_connection: 0,
            last_session: 0,
            last_challenge: 0,
            last_arrival: 0,
            dirty: Vec::new(),
            deadline_moved: false,
        }
    }

    /// A client opened a network connection to the first address.
    pub fn opened(&mut self, now: Timestamp) -> ConnectionId {
        self.opened_at(Address::default(), now)
    }

    /// A client opened a network connection to this address.
    pub fn opened_at(&mut self, address: Address, now: Timestamp) -> ConnectionId {
        self.now = self.now.max(now);
        self.counters.opened += 1;
        self.last_connection += 1;
        let id = ConnectionId(self.last_connection);
        let limits = match self.manners.maximum_packet_size {
            Some(max) => Limits { max_packet_size: max, ..Limits::default() },
            None => Limits { max_packet_size: u32::MAX, ..Limits::default() },
        };
        self.connections.insert(id, Connection::new(id, address, limits, self.now));
        id
    }

    /// Bytes came on a connection. Unknown and finished connections are ignored.
    pub fn received(&mut self, id: ConnectionId, bytes: Bytes, now: Timestamp) {
        self.now = self.now.max(now);
        match self.connections.get_mut(&id) {
            Some(connection) => connection.decoder.push(bytes),
            None => return,
        }
        while let Some(connection) = self.connections.get_mut(&id) {
            if connection.phase == Phase::Over {
                if connection.said_goodbye && matches!(connection.decoder.next(), Ok(Some(_))) {
                    connection.said_goodbye = false;
                    self.note(id, "MQTT-3.14.4-1", "a packet after DISCONNECT".into());
                }
                return;
            }
            let outcome = match connection.decoder.next() {
                Ok(None) => return,
                Ok(Some(Decoded::Packet(packet))) => {
                    connection.last_heard = self.now;
                    self.take(id, packet)
                }
                Ok(Some(_)) | Err(DecodeError::TooLarge { .. }) if !connection.knows_limits() => {
                    self.disconnect(id, ReasonCode::PACKET_TOO_LARGE);
                    return;
                }
                Ok(Some(other)) => Err(Fault::fatal(
                    "MQTT-3.2.2-15",
                    ReasonCode::PACKET_TOO_LARGE,
                    format!("larger than the limit: {other:?}"),
                )),
                Err(error) => {
                    if let DecodeError::UnsupportedVersion { .. } = error {
                        // In the form every client understands (3.1.4, step 1).
                        self.send_raw(id, &[0x20, 0x02, 0x00, 0x01]);
                    }
                    Err(fault_of(&error))
                }
            };
            if let Err(fault) = outcome {
                self.convict(id, fault);
            }
        }
    }

    /// The network connection ended, from either side. Its will is sent if no DISCONNECT came before.
    pub fn closed(&mut self, id: ConnectionId, now: Timestamp) {
        self.now = self.now.max(now);
        self.lose_answers(id);
        self.end(id, true);
        self.connections.remove(&id);
    }

    /// Time passed: acknowledgements that were held, keep-alives, wills and sessions are looked after.
    pub fn tick(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        let now = self.now;
        let ignores = self.manners.ignores_keep_alive;
        let due: Vec<ConnectionId> =
            self.connections.values().filter(|c| c.deadline(ignores) <= now).map(|c| c.id).collect();
        for id in due {
            self.release_held(id);
            self.send_again(id);
            let Some(connection) = self.connections.get(&id) else { continue };
            if connection.phase == Phase::Over {
                continue;
            }
            if connection.close_at.is_some_and(|at| at <= now) {
                self.cut(id, self.manners.ending);
            } else if connection.deadline(ignores) <= now {
                let silent = now.since(connection.last_heard);
                let allowed = connection.keep_alive;
                let mut fault = Fault::fatal(
                    "MQTT-3.1.2-20",
                    ReasonCode::KEEP_ALIVE_TIMEOUT,
                    format!("nothing came for {silent:?}, keep-alive is {allowed:?}"),
                );
                fault.suspicion = true;
                self.convict(id, fault);
            }
        }
        self.lapse();
    }

    /// When [`Self::tick`] is due, if nothing else happens before.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let ignores = self.manners.ignores_keep_alive;
        let connections = self.connections.values().map(|c| c.deadline(ignores));
        let sessions = self.sessions.values().filter(|s| s.connection.is_none()).flat_map(|session| {
            [session.expires_at, session.will.as_ref().map(|(at, _)| *at)].into_iter().flatten()
        });
        connections.chain(sessions).min().filter(|at| *at != Timestamp::NEVER)
    }

    /// Whether [`Self::next_deadline`] may have come nearer since this was last asked.
    pub fn take_deadline_moved(&mut self) -> bool {
        std::mem::take(&mut self.deadline_moved)
    }

    /// The next thing to be done with a connection.
    pub fn take_output(&mut self, id: ConnectionId) -> Option<Output> {
        let connection = self.connections.get_mut(&id)?;
        connection.is_dirty = false;
        if !connection.output.is_empty() {
            connection.answers.clear();
            return Some(Output::Send(connection.output.split().freeze()));
        }
        connection.ending.take().map(Output::Close)
    }

    /// How a connection is to be ended once its output is written; a reset does not wait for that.
    pub(crate) fn ending_of(&self, id: ConnectionId) -> Option<Ending> {
        self.connections.get(&id)?.ending
    }

    /// The connections that have output since this was last asked.
    pub fn take_dirty(&mut self) -> Vec<ConnectionId> {
        std::mem::take(&mut self.dirty)
    }

    fn take(&mut self, id: ConnectionId, packet: Packet) -> Result<(), Fault> {
        let kind = PacketKind::of(&packet);
        self.counters.received[kind as usize] += 1;
        let fresh = self.connections.get(&id).is_none_or(|c| c.phase == Phase::Fresh);
        if let Packet::Connect(connect) = packet {
            return self.on_connect(id, connect);
        }
        if fresh {
            let detail = format!("{kind} came before CONNECT");
            return Err(Fault::fatal("MQTT-3.1.0-1", ReasonCode::PROTOCOL_ERROR, detail));
        }
        if self.comes_too_early(id, kind) {
            let detail = format!("{kind} came before CONNACK, in an exchange of AUTH");
            return Err(Fault::fatal("MQTT-3.1.2-30", ReasonCode::PROTOCOL_ERROR, detail));
        }
        self.trust_session(id);
        match packet {
            Packet::Publish(publish) => self.on_publish(id, publish),
            Packet::PubRel(ack) => self.on_pubrel(id, &ack),
            Packet::PubAck(ack) => self.on_puback(id, &ack),
            Packet::PubRec(ack) => self.on_pubrec(id, &ack),
            Packet::PubComp(ack) => self.on_pubcomp(id, &ack),
            Packet::Subscribe(subscribe) => self.on_subscribe(id, subscribe),
            Packet::Unsubscribe(unsubscribe) => self.on_unsubscribe(id, unsubscribe),
            Packet::PingReq => {
                self.send(id, &Packet::PingResp);
                Ok(())
            }
            Packet::Disconnect(disconnect) => self.on_disconnect(id, &disconnect),
            Packet::Auth(auth) => self.on_auth(id, &auth),
            other => Err(Fault::fatal(
                "MQTT-4.13.1-1",
                ReasonCode::PROTOCOL_ERROR,
                format!("a client must not send {}", other.name()),
            )),
        }
    }

    /// A client that goes on after a CONNACK has seen it: from then on both sides agree on a new session.
    fn trust_session(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(&id) else { return };
        if connection.acknowledged
            && !connection.resumed
            && let Some(session) = self.sessions.get_mut(&connection.client)
        {
            session.memory = Memory::Whole;
        }
    }

    /// Writes a fault in the order of acknowledgements down.
    fn note_order(&mut self, id: ConnectionId, clause: &'static str, detail: String) {
        let mut fault = Fault::noted(clause, detail);
        fault.suspicion = self.manners.path_loses_packets;
        self.convict(id, fault);
    }

    /// Writes a fault down without closing.
    fn note(&mut self, id: ConnectionId, clause: &'static str, detail: String) {
        self.convict(id, Fault::noted(clause, detail));
    }

    fn convict(&mut self, id: ConnectionId, fault: Fault) {
        let client = self.connections.get(&id).map(|c| c.client.to_string()).unwrap_or_default();
        let Fault { clause, detail, penalty, suspicion } = fault;
        let violation = Violation { connection: id, client, clause, detail, suspicion };
        tracing::debug!(target: "rejoin_lab::judge", "{violation}");
        self.violations.push(violation);
        if let Penalty::Close(reason) = penalty {
            self.disconnect(id, reason);
        }
    }

    fn write_ledger(&mut self, entry: impl FnOnce() -> LedgerEntry) {
        if self.ledgers.is_empty() {
            return;
        }
        let entry = entry();
        for ledger in &mut self.ledgers {
            ledger(&entry);
        }
    }

    /// Writes a packet to a connection unless the manners lose it.
    fn send(&mut self, id: ConnectionId, packet: &Packet) {
        if self.manners.loses(PacketKind::of(packet)) {
            return;
        }
        if let Some(connection) = self.connections.get_mut(&id)
            && connection.phase != Phase::Over
            && connection.write(packet)
        {
            self.mark_dirty(id);
        }
    }

    fn mark_dirty(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !connection.is_dirty
        {
            connection.is_dirty = true;
            self.dirty.push(id);
        }
    }

    /// Takes a connection out of its session; the session lives on until it expires.
    fn end(&mut self, id: ConnectionId, sends_will: bool) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.phase == Phase::Over {
            return;
        }
        connection.phase = Phase::Over;
        connection.held.clear();
        let will = connection.will.take().filter(|_| sends_will);
        let client = connection.client.clone();
        let Some(session) = self.sessions.get_mut(&client).filter(|s| s.connection == Some(id)) else {
            return;
        };
        session.connection = None;
        session.expires_at = expiry_moment(session.expiry, now);
        session.will = will.map(|(message, delay)| {
            // The end of the session sends it at the latest [MQTT-3.1.3-9].
            let kept = Duration::from_secs(u64::from(session.expiry));
            (now + delay.min(kept), message)
        });
        self.deadline_moved = true;
        self.lapse();
    }

    /// Sends wills that are due and drops sessions that have expired.
    fn lapse(&mut self) {
        let now = self.now;
        let mut wills = Vec::new();
        let mut gone = Vec::new();
        for (client, session) in &mut self.sessions {
            if session.connection.is_some() {
                continue;
            }
            let expired = session.expires_at.is_some_and(|at| at <= now);
            if let Some((_, message)) = session.will.take_if(|(at, _)| *at <= now || expired) {
                wills.push(message);
            }
            if expired {
                gone.push(client.clone());
            }
        }
        for client in gone {
            self.drop_session(&client);
        }
        for message in wills {
            self.publish_will(message);
        }
    }

    /// The Message Expiry Interval of a will begins now, whenever its client named it (3.1.3.2.4).
    fn publish_will(&mut self, mut message: Message) {
        let expiry = message.properties.as_ref().and_then(|properties| properties.message_expiry);
        message.expires_at = expiry.map(|seconds| self.now + Duration::from_secs(u64::from(seconds)));
        self.route(message);
    }

    fn drop_session(&mut self, client: &Text) -> Option<Session> {
        let session = self.sessions.remove(client)?;
        let (client, number) = (client.clone(), session.number);
        self.write_ledger(|| LedgerEntry::SessionEnded { client, session: number });
        Some(session)
    }
}

/// When a session without a connection ends; `None` is never.
fn expiry_moment(expiry: u32, now: Timestamp) -> Option<Timestamp> {
    (expiry != u32::MAX).then(|| now + Duration::from_secs(u64::from(expiry)))
}
