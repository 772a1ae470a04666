//! What the broker keeps for a client across connections, with the judge's memory of what the client did.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use rejoin_core::codec::packet::{PacketId, Publish, PublishProperties, Qos, SubscriptionOptions};
use rejoin_core::text::Text;
use rejoin_core::time::Timestamp;
use rejoin_core::topic::{PublishTopic, TopicFilter};

use super::ConnectionId;

/// A message as it is routed.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) topic: PublishTopic,
    pub(super) payload: Bytes,
    pub(super) qos: Qos,
    pub(super) retain: bool,
    pub(super) properties: Option<Box<PublishProperties>>,
    pub(super) expires_at: Option<Timestamp>,
    /// The publisher, for No Local.
    pub(super) from: Text,
}

/// A subscription of a session.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    pub(super) filter: TopicFilter,
    pub(super) options: SubscriptionOptions,
    pub(super) id: Option<u32>,
}

/// A message chosen for a subscriber, with what its subscriptions make of it.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) message: Message,
    pub(super) qos: Qos,
    pub(super) retain: bool,
    pub(super) ids: Vec<u32>,
}

/// How far an outbound exchange has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutboundStage {
    Published,
    Released,
}

/// A message that was sent to the client and is not settled.
#[derive(Clone, Debug)]
pub(super) struct Inflight {
    pub(super) id: PacketId,
    pub(super) outgoing: Outgoing,
    pub(super) stage: OutboundStage,
    /// The connection its PUBLISH or PUBREL last left on.
    pub(super) sent_on: ConnectionId,
}

/// How far an exchange the client began has come, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Received; nothing was answered yet.
    Open,
    /// PUBREC sent, PUBREL awaited.
    Recorded,
    /// PUBREL received, PUBCOMP not sent yet.
    Released,
    /// PUBACK, PUBCOMP or a refusal was sent.
    Finished,
}

/// The last exchange a client began with one packet id.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) qos: Qos,
    pub(super) stage: Stage,
    /// Digest of topic and payload: tells a resend from a new message.
    pub(super) digest: u64,
    /// Position in the order of first arrivals at this broker.
    pub(super) order: u64,
    /// Position in the order of first sendings, as far as this broker knows it: what arrived first as a copy was sent before
    /// whatever its connection brought for the first time.
    pub(super) sent: (u64, u64),
    /// It came as a new one, and copies came behind it on the same connection, or may have been about to: it began anew while
    /// others still waited to be sent again, and was sent after those of them that had never arrived.
    pub(super) may_be_younger: bool,
    /// The connection its PUBLISH last came on.
    pub(super) seen_on: ConnectionId,
    /// The connection its PUBREL last came on.
    pub(super) released_on: Option<ConnectionId>,
    /// Whether the message was refused, so that it is not taken yet.
    pub(super) refused: bool,
    /// Its last answer was made and never left: no client has seen it.
    pub(super) unheard: bool,
    /// The message of a QoS 2 exchange until it is routed.
    pub(super) message: Option<Message>,
}

/// Whether this broker's memory of a session is known to be the client's too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// The client may have more, or other, state than is kept here: judge only what one connection shows.
    Doubtful,
    /// Both sides began together.
    Whole,
}

/// The state of a session.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) number: u64,
    pub(super) memory: Memory,
    /// The live connection, if there is one.
    pub(super) connection: Option<ConnectionId>,
    /// Session Expiry Interval in seconds.
    pub(super) expiry: u32,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) subscriptions: BTreeMap<Text, Subscription>,
    pub(super) queue: VecDeque<Outgoing>,
    pub(super) inflight: VecDeque<Inflight>,
    pub(super) next_id: u16,
    pub(super) inbound: BTreeMap<PacketId, Exchange>,
    /// A will that waits for its delay.
    pub(super) will: Option<(Timestamp, Message)>,
}

impl Session {
    pub(super) const fn new(number: u64) -> Self {
        Self {
            number,
            memory: Memory::Doubtful,
            connection: None,
            expiry: 0,
            expires_at: None,
            subscriptions: BTreeMap::new(),
            queue: VecDeque::new(),
            inflight: VecDeque::new(),
            next_id: 0,
            inbound: BTreeMap::new(),
            will: None,
        }
    }

    /// A packet id that no exchange of ours uses, or `None` when all 65,535 are taken.
    /// `spoilt`: not to be used, because answers to an earlier message under them may be on their way.
    pub(super) fn unused_id(&mut self, spoilt: &BTreeSet<PacketId>) -> Option<PacketId> {
        if self.inflight.len() + spoilt.len() >= usize::from(u16::MAX) {
            return None;
        }
        loop {
            self.next_id = if self.next_id == u16::MAX { 1 } else { self.next_id + 1 };
            let id = PacketId::new(self.next_id)?;
            // Ids are given out in order, so a short window cannot collide and need not be searched.
            let collides = self.inflight.front().is_some_and(|oldest| {
                oldest.id.get() >= self.next_id
                    || self.inflight.back().is_some_and(|b| b.id.get() >= self.next_id)
            });
            let is_free = !collides || !self.inflight.iter().any(|entry| entry.id == id);
            if is_free && !spoilt.contains(&id) {
                return Some(id);
            }
        }
    }

    /// Whether a client's packet id belongs to an exchange that has not ended.
    pub(super) fn uses(&self, id: PacketId) -> bool {
        self.inbound.get(&id).is_some_and(|exchange| exchange.stage != Stage::Finished)
    }

    /// The best of the session's subscriptions that match, not counting shared ones: the highest QoS, and the
    /// subscription ids of all of them [MQTT-3.3.4-2] [MQTT-3.3.4-3].
    pub(super) fn wants(&self, topic: &str, from_itself: bool) -> Option<(Qos, bool, Vec<u32>)> {
        let mut wanted: Option<(Qos, bool, Vec<u32>)> = None;
        for subscription in self.subscriptions.values() {
            // [MQTT-3.8.3-3]
            let own = subscription.options.no_local && from_itself;
            if own || subscription.filter.is_shared() || !subscription.filter.matches(topic) {
                continue;
            }
            let (qos, as_published, ids) = wanted.get_or_insert((Qos::AtMostOnce, false, Vec::new()));
            *qos = (*qos).max(subscription.options.qos);
            *as_published |= subscription.options.retain_as_published;
            ids.extend(subscription.id);
        }
        wanted
    }
}

impl Outgoing {
    /// The PUBLISH for it; the expiry is what is left of it [MQTT-3.3.2-6].
    pub(super) fn packet(&self, id: Option<PacketId>, dup: bool, v5: bool, now: Timestamp) -> Publish {
        let mut properties = self.message.properties.clone().filter(|_| v5);
        if v5 && !self.ids.is_empty() {
            properties.get_or_insert_default().subscription_ids.clone_from(&self.ids);
        }
        if let (Some(properties), Some(at)) = (&mut properties, self.message.expires_at) {
            let left = at.since(now).as_micros().div_ceil(1_000_000);
            properties.message_expiry = Some(u32::try_from(left).unwrap_or(u32::MAX));
        }
        Publish {
            dup,
            qos: self.qos,
            retain: self.retain,
            topic: self.message.topic.clone(),
            packet_id: id,
            properties,
            payload: self.message.payload.clone(),
        }
    }
}
