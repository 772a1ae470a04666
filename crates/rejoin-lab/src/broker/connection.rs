//! What the broker keeps for one network connection; all of it dies with the connection.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::BytesMut;
use rejoin_core::codec::packet::{Ack, Packet, PacketId, Publish, Version};
use rejoin_core::codec::reason::ReasonCode;
use rejoin_core::codec::{Decoder, Limits, Sender, encode};
use rejoin_core::text::Text;
use rejoin_core::time::Timestamp;
use rejoin_core::topic::PublishTopic;

use super::auth::Proving;
use super::owed::Owed;
use super::session::{Exchange, Message};
use super::{Address, ConnectionId};
use crate::wire::Ending;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// CONNECT has not come.
    Fresh,
    /// CONNECT came, and the client proves who it is.
    Proving,
    /// CONNECT was taken.
    Up,
    /// Nothing more is read from it, and nothing written but what is already there.
    Over,
}

/// An acknowledgement that waits for its time.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) due: Timestamp,
    pub(super) packet: Packet,
}

/// One network connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) address: Address,
    pub(super) decoder: Decoder,
    pub(super) phase: Phase,
    pub(super) version: Version,
    /// Enhanced authentication, where CONNECT named a method.
    pub(super) proving: Option<Proving>,
    /// The name of its session.
    pub(super) client: Text,
    /// Whether CONNACK left, so that DISCONNECT may be sent [MQTT-3.14.0-1].
    pub(super) acknowledged: bool,
    /// Whether CONNACK said Session Present.
    pub(super) resumed: bool,
    /// Whether the client sent DISCONNECT.
    pub(super) said_goodbye: bool,
    pub(super) last_heard: Timestamp,
    /// Effective keep-alive; zero is off.
    pub(super) keep_alive: Duration,
    pub(super) will: Option<(Message, Duration)>,
    /// The client's Session Expiry Interval in CONNECT was zero or absent.
    pub(super) expiry_was_zero: bool,
    /// When to close because the manners say so.
    pub(super) close_at: Option<Timestamp>,

    pub(super) output: BytesMut,
    pub(super) ending: Option<Ending>,
    pub(super) held: VecDeque<Held>,
    /// What the acknowledgements in `output` answer.
    pub(super) answers: Vec<PacketId>,
    pub(super) is_dirty: bool,

    /// Receive Maximum in force for what the client sends.
    pub(super) window_in: u16,
    pub(super) alias_maximum_in: u16,
    pub(super) aliases_in: BTreeMap<u16, PublishTopic>,
    /// QoS 1 and 2 PUBLISHes of this connection whose window place was not given back.
    pub(super) unfinished: BTreeSet<PacketId>,
    /// SUBSCRIBE and UNSUBSCRIBE whose answer did not leave.
    pub(super) asked: BTreeSet<PacketId>,
    /// PUBRECs sent here whose PUBREL did not come, in order.
    pub(super) pubrels_owed: VecDeque<PacketId>,
    /// The latest among the resends of this connection, in the order of first sendings.
    pub(super) resent_up_to: Option<(u64, u64)>,
    /// What came for the first time, and not as a copy, since the last copy came; where a session goes on.
    pub(super) new_here: Vec<PacketId>,
    /// How many messages had arrived when it was accepted.
    pub(super) arrivals_before: u64,

    /// Receive Maximum of the client.
    pub(super) window_out: u16,
    /// What is left of it.
    pub(super) quota: u16,
    pub(super) packet_maximum_out: usize,
    pub(super) alias_maximum_out: u16,
    pub(super) aliases_out: BTreeMap<PublishTopic, u16>,
    /// QoS 1 PUBLISHes sent here and not acknowledged, in order.
    pub(super) pubacks_owed: Owed,
    /// QoS 2 PUBLISHes sent here whose PUBREC did not come, in order.
    pub(super) pubrecs_owed: Owed,
    /// Exchanges of the session to be sent again, in order.
    pub(super) to_resend: VecDeque<PacketId>,
    /// When what was sent here and is not answered is sent again, because the manners say so.
    pub(super) sends_again_at: Timestamp,
    /// What was sent more than once here: an answer too many may be on its way.
    pub(super) sent_again: BTreeSet<PacketId>,
}

impl Connection {
    pub(super) fn new(id: ConnectionId, address: Address, limits: Limits, now: Timestamp) -> Self {
        Self {
            id,
            address,
            decoder: Decoder::new(Version::V5, Sender::Client, limits),
            phase: Phase::Fresh,
            version: Version::V5,
            proving: None,
            client: Text::default(),
            acknowledged: false,
            resumed: false,
            said_goodbye: false,
            last_heard: now,
            keep_alive: Duration::ZERO,
            will: None,
            expiry_was_zero: true,
            close_at: None,
            output: BytesMut::new(),
            ending: None,
            held: VecDeque::new(),
            answers: Vec::new(),
            is_dirty: false,
            window_in: u16::MAX,
            alias_maximum_in: 0,
            aliases_in: BTreeMap::new(),
            unfinished: BTreeSet::new(),
            asked: BTreeSet::new(),
            pubrels_owed: VecDeque::new(),
            resent_up_to: None,
            new_here: Vec::new(),
            arrivals_before: 0,
            window_out: u16::MAX,
            quota: u16::MAX,
            packet_maximum_out: usize::MAX,
            alias_maximum_out: 0,
            aliases_out: BTreeMap::new(),
            pubacks_owed: Owed::default(),
            pubrecs_owed: Owed::default(),
            to_resend: VecDeque::new(),
            sends_again_at: Timestamp::NEVER,
            sent_again: BTreeSet::new(),
        }
    }

    pub(super) fn is_v5(&self) -> bool {
        self.version == Version::V5
    }

    /// Whether CONNACK told the client what it may send: at 3.1.1 it says nothing of the kind.
    pub(super) fn knows_limits(&self) -> bool {
        self.acknowledged && self.is_v5()
    }

    /// An acknowledgement as the version can say it: 3.1.1 has no codes.
    pub(super) fn ack(&self, packet_id: PacketId, reason: ReasonCode) -> Ack {
        Ack::new(packet_id, if self.is_v5() { reason } else { ReasonCode::SUCCESS })
    }

    /// Appends a packet; `false` when it is too large for the client and was dropped [MQTT-3.1.2-24].
    pub(super) fn write(&mut self, packet: &Packet) -> bool {
        let before = self.output.len();
        let written = encode(packet, self.version, &mut self.output);
        if let Err(error) = &written {
            tracing::error!(target: "rejoin_lab", "{}: the broker's own {error}", self.id);
        }
        let fits = written.is_ok() && self.output.len() - before <= self.packet_maximum_out;
        if !fits {
            self.output.truncate(before);
        }
        fits
    }

    /// Puts a topic alias in place of the topic where the client allows one. Gives a new one, to be remembered once the
    /// packet is written: of one that is dropped the client never hears.
    pub(super) fn alias(&self, publish: &mut Publish) -> Option<(PublishTopic, u16)> {
        let known = self.aliases_out.get(&publish.topic).copied();
        let next = u16::try_from(self.aliases_out.len() + 1).unwrap_or(u16::MAX);
        if known.is_none() && next > self.alias_maximum_out {
            return None;
        }
        publish.properties.get_or_insert_default().topic_alias = PacketId::new(known.unwrap_or(next));
        if known.is_some() {
            publish.topic = PublishTopic::default();
            return None;
        }
        Some((publish.topic.clone(), next))
    }

    /// Whether what is sent again here should have been before what was.
    pub(super) fn sends_again_late(&mut self, exchange: &Exchange) -> bool {
        // Of what first arrived as a copy it is not known how long before it was sent.
        let may_be_older = |latest: (u64, u64)| exchange.may_be_younger && latest.1 > 0;
        let late = self.resent_up_to.is_some_and(|latest| exchange.sent < latest && !may_be_older(latest));
        self.resent_up_to = self.resent_up_to.max(Some(exchange.sent));
        late
    }

    /// The moment this connection wants to be looked at, if nothing comes.
    pub(super) fn deadline(&self, ignores_keep_alive: bool) -> Timestamp {
        if self.phase == Phase::Over {
            return Timestamp::NEVER;
        }
        let mut deadline = self.close_at.unwrap_or(Timestamp::NEVER);
        deadline = deadline.min(self.sends_again_at);
        if let Some(held) = self.held.front() {
            deadline = deadline.min(held.due);
        }
        if self.phase == Phase::Up && !self.keep_alive.is_zero() && !ignores_keep_alive {
            deadline = deadline.min(self.last_heard + self.keep_alive * 3 / 2);
        }
        deadline
    }

    /// The id an acknowledgement names, and whether it gives a place in the window back once it leaves.
    pub(super) fn gives_back(packet: &Packet) -> Option<PacketId> {
        match packet {
            Packet::PubAck(Ack { packet_id, .. }) | Packet::PubComp(Ack { packet_id, .. }) => {
                Some(*packet_id)
            }
            Packet::PubRec(ack) if ack.reason.is_error() => Some(ack.packet_id),
            _ => None,
        }
    }
}
