//! How the broker behaves, and how it misbehaves on purpose.

use std::collections::BTreeMap;
use std::time::Duration;

use rejoin_core::codec::packet::Qos;
use rejoin_core::codec::reason::ReasonCode;
use rejoin_core::topic::TopicFilter;

use super::auth::Backwards;
use crate::wire::{Ending, PacketKind, Times};

/// How the broker behaves. Every field can be changed at any time; what was sent stays sent.
///
/// The default is a correct and generous broker. Fields of the first group are what a broker may well say
/// about itself; those of the second group are faults.
#[derive(Clone, Debug)]
pub struct Manners {
    /// Receive Maximum announced in CONNACK (5.0). Default 1,000; `None` announces nothing, so 65,535 holds.
    pub receive_maximum: Option<u16>,
    /// Maximum Packet Size in bytes announced in CONNACK (5.0). Default none. What is larger ends the connection, also at
    /// 3.1.1 and in CONNECT, where nobody told the client and it breaks no rule.
    pub maximum_packet_size: Option<u32>,
    /// Maximum QoS announced in CONNACK (5.0). Default QoS 2, which is not written.
    pub maximum_qos: Qos,
    /// Whether retained messages are kept. Default true.
    pub retain_available: bool,
    /// Whether wildcards may be subscribed to. Default true.
    pub wildcard_available: bool,
    /// Whether subscription identifiers may be used. Default true.
    pub subscription_ids_available: bool,
    /// Whether shared subscriptions may be used. Default true.
    pub shared_available: bool,
    /// Server Keep Alive in seconds, put in place of the client's own (5.0). Default none.
    pub server_keep_alive: Option<u16>,
    /// The longest Session Expiry Interval granted, in seconds; a longer wish is cut to it (5.0). Default none.
    pub session_expiry_maximum: Option<u32>,
    /// Topic Alias Maximum announced (5.0). Default 16.
    pub topic_alias_maximum: u16,
    /// Whether the broker sends topic aliases to clients that allow them (5.0). Default false.
    pub uses_topic_aliases: bool,
    /// When a QoS 2 message goes on to subscribers. Default at PUBREL, as mosquitto does.
    pub forwards_qos2: Forward,
    /// User name and password asked for. Default none.
    pub credentials: Option<(String, String)>,
    /// A method of enhanced authentication, for clients whose CONNECT names it (5.0); another one is refused. Default none.
    pub authentication: Option<Backwards>,
    /// Messages kept for one session that are not yet on their way; more are dropped and counted. Default 1,000,000.
    pub queue_maximum: usize,
    /// Bytes waiting for one connection beyond which QoS 0 messages for it are dropped and counted. Default 16 MiB.
    pub backlog_maximum: usize,

    /// Refuse CONNECT with a code.
    pub refuse_connect: Option<Refusal>,
    /// Refuse at the end of an exchange of enhanced authentication, though all was proved, with 0x87.
    pub refuse_proof: Times,
    /// Be content as soon as a challenge of enhanced authentication was sent, without waiting for its answer.
    pub content_early: Times,
    /// Speak as an old broker: answer a CONNECT of 5.0 with the two-byte CONNACK of 3.1.1 and return code 1.
    pub knows_only_v311: bool,
    /// Close on a CONNECT of 5.0 without a word, as some old brokers do.
    pub closes_on_v5: bool,
    /// Close on CONNECT, before CONNACK.
    pub close_on_connect: Times,
    /// Do all that CONNECT asks for, but never send the CONNACK.
    pub withhold_connack: Times,
    /// Close after CONNACK, [`Self::close_after`] later.
    pub close_after_connack: Times,
    /// How long after CONNACK [`Self::close_after_connack`] closes. Default at once.
    pub close_after: Duration,
    /// How the faults of this list end a connection. Default FIN.
    pub ending: Ending,
    /// Say Session Present although the session is new (not after Clean Start).
    pub claim_session_present: Times,
    /// Packets that are made but never sent, by kind. See [`Manners::lose`].
    pub lost: BTreeMap<PacketKind, Times>,
    /// The losses of [`Self::lost`] belong to the connections of this moment: the next CONNECT ends them all, and
    /// sets this back. Default false.
    pub losses_end_at_connect: bool,
    /// Answer PUBLISH at QoS 1 with a code instead of taking the message.
    pub puback: Option<Answer>,
    /// Answer PUBLISH at QoS 2 with a code instead of taking the message.
    pub pubrec: Option<Answer>,
    /// Take PUBLISH at QoS 2 as if it were QoS 1 and answer PUBACK, as RabbitMQ does. Default false.
    pub downgrades_qos2: bool,
    /// Answer filters in SUBSCRIBE with a code instead of subscribing.
    pub suback: Option<Answer>,
    /// Answer filters in UNSUBSCRIBE with a code instead of unsubscribing.
    pub unsuback: Option<Answer>,
    /// Acknowledgements of PUBLISH and PUBREL leave this much later. Default at once.
    pub ack_delay: Duration,
    /// Acknowledgements of PUBLISH and PUBREL leave in swapped pairs.
    pub swap_acks: bool,
    /// Send each PUBLISH that has no PUBACK or PUBREC again, with DUP, on the connection it was sent on, whenever this long
    /// has passed. 5.0 forbids it [MQTT-4.4.0-1], 3.1.1 does not. Default never.
    pub sends_again_after: Option<Duration>,
    /// Close the connection on each PUBLISH to such a topic, without taking it.
    pub poison: Option<TopicFilter>,
    /// Never close for keep-alive.
    pub ignores_keep_alive: bool,
    /// Something between client and broker swallows single packets (the proxy can): what the judge says about
    /// the order of acknowledgements is then a suspicion only. Default false.
    pub path_loses_packets: bool,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            receive_maximum: Some(1_000),
            maximum_packet_size: None,
            maximum_qos: Qos::ExactlyOnce,
            retain_available: true,
            wildcard_available: true,
            subscription_ids_available: true,
            shared_available: true,
            server_keep_alive: None,
            session_expiry_maximum: None,
            topic_alias_maximum: 16,
            uses_topic_aliases: false,
            forwards_qos2: Forward::AtPubrel,
            credentials: None,
            authentication: None,
            queue_maximum: 1_000_000,
            backlog_maximum: 16 << 20,
            refuse_connect: None,
            refuse_proof: Times::Never,
            content_early: Times::Never,
            knows_only_v311: false,
            closes_on_v5: false,
            close_on_connect: Times::Never,
            withhold_connack: Times::Never,
            close_after_connack: Times::Never,
            close_after: Duration::ZERO,
            ending: Ending::Fin,
            claim_session_present: Times::Never,
            lost: BTreeMap::new(),
            losses_end_at_connect: false,
            puback: None,
            pubrec: None,
            downgrades_qos2: false,
            suback: None,
            unsuback: None,
            ack_delay: Duration::ZERO,
            swap_acks: false,
            sends_again_after: None,
            poison: None,
            ignores_keep_alive: false,
            path_loses_packets: false,
        }
    }
}

impl Manners {
    /// From now on packets of this kind are made but not sent, so many times.
    pub fn lose(&mut self, kind: PacketKind, times: Times) {
        self.lost.insert(kind, times);
    }

    pub(super) fn loses(&mut self, kind: PacketKind) -> bool {
        // The common case has no faults and must cost nothing.
        !self.lost.is_empty() && self.lost.get_mut(&kind).is_some_and(Times::take)
    }
}

/// When a QoS 2 message goes on to subscribers; the standard allows both (4.3.3, figure 4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forward {
    /// At PUBREL. A session lost between PUBREC and PUBREL loses the message.
    #[default]
    AtPubrel,
    /// At the first PUBLISH.
    AtPublish,
}

/// A refusal of CONNECT.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The code; mapped to a return code for clients of 3.1.1.
    pub reason: ReasonCode,
    /// Reason String (5.0).
    pub text: Option<String>,
    /// Server Reference (5.0).
    pub server_reference: Option<String>,
    /// How often.
    pub times: Times,
}

impl Refusal {
    /// Always this code, without words.
    pub const fn new(reason: ReasonCode) -> Self {
        Self { reason, text: None, server_reference: None, times: Times::Always }
    }

    /// This code the next `n` times.
    pub const fn times(mut self, n: u32) -> Self {
        self.times = Times::Count(n);
        self
    }
}

/// A code given instead of doing what was asked.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The code.
    pub reason: ReasonCode,
    /// Only for these topics (PUBLISH) or exactly this filter (SUBSCRIBE, UNSUBSCRIBE); `None` for all.
    pub filter: Option<TopicFilter>,
    /// How often.
    pub times: Times,
}

impl Answer {
    /// Always this code, for everything.
    pub const fn new(reason: ReasonCode) -> Self {
        Self { reason, filter: None, times: Times::Always }
    }

    /// This code the next `n` times.
    pub const fn times(mut self, n: u32) -> Self {
        self.times = Times::Count(n);
        self
    }

    /// Only for these topics, or this filter.
    pub fn only_for(mut self, filter: TopicFilter) -> Self {
        self.filter = Some(filter);
        self
    }

    pub(super) fn for_topic(answer: &mut Option<Self>, topic: &str) -> Option<ReasonCode> {
        let answer = answer.as_mut()?;
        let meant = answer.filter.as_ref().is_none_or(|filter| filter.matches(topic));
        (meant && answer.times.take()).then_some(answer.reason)
    }

    pub(super) fn for_filter(answer: &mut Option<Self>, given: &str) -> Option<ReasonCode> {
        let answer = answer.as_mut()?;
        let meant = answer.filter.as_ref().is_none_or(|filter| filter.as_str() == given);
        (meant && answer.times.take()).then_some(answer.reason)
    }
}
