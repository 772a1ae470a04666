//! The one packet model for both versions: the fields of MQTT 5.0, of which 3.1.1 uses a part.
//!
//! Packets hold slices of the buffer they were read from, so decoding copies no topic and no payload.

use std::num::NonZeroU16;

use bytes::Bytes;

use super::header;
use super::reason::ReasonCode;
use crate::text::Text;
use crate::topic::PublishTopic;

/// The protocol version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// MQTT 3.1.1 (protocol level 4).
    V311,
    /// MQTT 5.0 (protocol level 5).
    V5,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V311 => "MQTT 3.1.1",
            Self::V5 => "MQTT 5.0",
        })
    }
}

/// Quality of service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Qos {
    /// QoS 0: sent once, never acknowledged.
    #[default]
    AtMostOnce = 0,
    /// QoS 1: acknowledged, may arrive twice.
    AtLeastOnce = 1,
    /// QoS 2: acknowledged in two steps, arrives once while both sides keep the session.
    ExactlyOnce = 2,
}

impl Qos {
    /// The QoS with this number, or `None` for anything above 2.
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// A packet identifier: the 16-bit name of an exchange on the wire, never zero [MQTT-2.2.1-3].
pub type PacketId = NonZeroU16;

/// User properties: pairs in the order they were written; names may repeat.
pub type UserProperties = Vec<(Text, Text)>;

/// Any control packet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is named after its packet, which is documented")]
pub enum Packet {
    Connect(Box<Connect>),
    ConnAck(Box<ConnAck>),
    Publish(Publish),
    PubAck(Ack),
    PubRec(Ack),
    PubRel(Ack),
    PubComp(Ack),
    Subscribe(Subscribe),
    SubAck(SubAck),
    Unsubscribe(Unsubscribe),
    UnsubAck(SubAck),
    PingReq,
    PingResp,
    Disconnect(Disconnect),
    Auth(Auth),
}

impl Packet {
    /// The name of the packet as the standard writes it, such as `PUBACK`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Connect(_) => "CONNECT",
            Self::ConnAck(_) => "CONNACK",
            Self::Publish(_) => "PUBLISH",
            Self::PubAck(_) => "PUBACK",
            Self::PubRec(_) => "PUBREC",
            Self::PubRel(_) => "PUBREL",
            Self::PubComp(_) => "PUBCOMP",
            Self::Subscribe(_) => "SUBSCRIBE",
            Self::SubAck(_) => "SUBACK",
            Self::Unsubscribe(_) => "UNSUBSCRIBE",
            Self::UnsubAck(_) => "UNSUBACK",
            Self::PingReq => "PINGREQ",
            Self::PingResp => "PINGRESP",
            Self::Disconnect(_) => "DISCONNECT",
            Self::Auth(_) => "AUTH",
        }
    }
}

/// CONNECT: the first packet of a client.
#[derive(Clone, PartialEq, Eq)]
pub struct Connect {
    /// Protocol version announced.
    pub version: Version,
    /// Clean Start (5.0) or Clean Session (3.1.1).
    pub clean_start: bool,
    /// Keep Alive in seconds; 0 turns the protocol's own off.
    pub keep_alive: u16,
    /// Client identifier; empty asks the server for one.
    pub client_id: Text,
    /// Will message.
    pub will: Option<Will>,
    /// User name.
    pub user_name: Option<Text>,
    /// Password. At 3.1.1 only with a user name [MQTT-3.1.2-22].
    pub password: Option<Bytes>,
    /// 5.0 properties.
    pub properties: ConnectProperties,
}

impl std::fmt::Debug for Connect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connect")
            .field("version", &self.version)
            .field("clean_start", &self.clean_start)
            .field("keep_alive", &self.keep_alive)
            .field("client_id", &self.client_id)
            .field("will", &self.will)
            .field("user_name", &self.user_name.as_ref().map(|_| "***"))
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("properties", &self.properties)
            .finish()
    }
}

/// Properties of CONNECT (5.0).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConnectProperties {
    /// Session Expiry Interval in seconds; `None` is 0, `u32::MAX` never expires.
    pub session_expiry: Option<u32>,
    /// Receive Maximum; `None` is 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// Maximum Packet Size in bytes; `None` is no limit.
    pub maximum_packet_size: Option<u32>,
    /// Topic Alias Maximum; `None` is 0.
    pub topic_alias_maximum: Option<u16>,
    /// Request Response Information.
    pub request_response_information: Option<bool>,
    /// Request Problem Information.
    pub request_problem_information: Option<bool>,
    /// Authentication Method.
    pub authentication_method: Option<Text>,
    /// Authentication Data; only with a method.
    pub authentication_data: Option<Bytes>,
    /// User properties.
    pub user_properties: UserProperties,
}

impl std::fmt::Debug for ConnectProperties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectProperties")
            .field("session_expiry", &self.session_expiry)
            .field("receive_maximum", &self.receive_maximum)
            .field("maximum_packet_size", &self.maximum_packet_size)
            .field("topic_alias_maximum", &self.topic_alias_maximum)
            .field("authentication_method", &self.authentication_method)
            .field("authentication_data", &self.authentication_data.as_ref().map(|_| "***"))
            .finish_non_exhaustive()
    }
}

/// The will message: what the server publishes when the client goes away without DISCONNECT 0x00.
#[derive(Clone, PartialEq, Eq)]
pub struct Will {
    /// Topic name.
    pub topic: Text,
    /// Payload.
    pub payload: Bytes,
    /// QoS.
    pub qos: Qos,
    /// Retain flag.
    pub retain: bool,
    /// Will Delay Interval in seconds (5.0). A session that ends sooner sends it with its end.
    pub delay: Option<u32>,
    /// Properties of the message (5.0).
    pub properties: PublishProperties,
}

/// Settings are printed more often than messages: its payload shows its length only.
impl std::fmt::Debug for Will {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Will")
            .field("topic", &self.topic)
            .field("payload_bytes", &self.payload.len())
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .field("delay", &self.delay)
            .finish_non_exhaustive()
    }
}

/// CONNACK: the server's answer to CONNECT. The return codes 1 to 5 of 3.1.1 come as 0x84, 0x85, 0x88, 0x86, 0x87.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnAck {
    /// Session Present.
    pub session_present: bool,
    /// Reason code; only [`ReasonCode::SUCCESS`] is a connection.
    pub reason: ReasonCode,
    /// Whether the packet came in the two-byte form of 3.1.1 though 5.0 was spoken (an old broker saying no).
    pub v311_form: bool,
    /// 5.0 properties.
    pub properties: ConnAckProperties,
}

/// Properties of CONNACK (5.0). `None` means absent; the default of the standard is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnAckProperties {
    /// Session Expiry Interval in seconds; absent: as asked for.
    pub session_expiry: Option<u32>,
    /// Receive Maximum; absent: 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// Maximum QoS; absent: 2.
    pub maximum_qos: Option<Qos>,
    /// Retain Available; absent: true.
    pub retain_available: Option<bool>,
    /// Maximum Packet Size in bytes; absent: no limit.
    pub maximum_packet_size: Option<u32>,
    /// Assigned Client Identifier.
    pub assigned_client_id: Option<Text>,
    /// Topic Alias Maximum; absent: 0.
    pub topic_alias_maximum: Option<u16>,
    /// Reason String.
    pub reason_string: Option<Text>,
    /// User properties.
    pub user_properties: UserProperties,
    /// Wildcard Subscription Available; absent: true.
    pub wildcard_available: Option<bool>,
    /// Subscription Identifiers Available; absent: true.
    pub subscription_ids_available: Option<bool>,
    /// Shared Subscription Available; absent: true.
    pub shared_available: Option<bool>,
    /// Server Keep Alive in seconds; absent: the client's own.
    pub server_keep_alive: Option<u16>,
    /// Response Information.
    pub response_information: Option<Text>,
    /// Server Reference.
    pub server_reference: Option<Text>,
    /// Authentication Method.
    pub authentication_method: Option<Text>,
    /// Authentication Data.
    pub authentication_data: Option<Bytes>,
}

/// PUBLISH: a message on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// DUP: this is a resend [MQTT-3.3.1-1].
    pub dup: bool,
    /// QoS.
    pub qos: Qos,
    /// RETAIN.
    pub retain: bool,
    /// Topic name; empty only with a topic alias (5.0).
    pub topic: PublishTopic,
    /// Packet identifier; present exactly when QoS is above 0.
    pub packet_id: Option<PacketId>,
    /// Properties (5.0); `None` where there are none, which is the common case and costs nothing.
    pub properties: Option<Box<PublishProperties>>,
    /// Payload.
    pub payload: Bytes,
}

/// Properties of PUBLISH and of the will message (5.0).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishProperties {
    /// Payload Format Indicator: the payload is UTF-8.
    pub payload_is_utf8: Option<bool>,
    /// Message Expiry Interval in seconds.
    pub message_expiry: Option<u32>,
    /// Topic Alias; never 0 [MQTT-3.3.2-8]. Set by the link alone.
    pub topic_alias: Option<NonZeroU16>,
    /// Response Topic, without wildcards [MQTT-3.3.2-14].
    pub response_topic: Option<Text>,
    /// Correlation Data.
    pub correlation_data: Option<Bytes>,
    /// User properties.
    pub user_properties: UserProperties,
    /// Subscription Identifiers; only from a server [MQTT-3.3.4-6].
    pub subscription_ids: Vec<u32>,
    /// Content Type.
    pub content_type: Option<Text>,
}

impl PublishProperties {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Which packet an [`Ack`] is, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(clippy::enum_variant_names, reason = "the packets are called that")]
pub(crate) enum AckKind {
    PubAck = header::PUBACK,
    PubRec = header::PUBREC,
    PubRel = header::PUBREL,
    PubComp = header::PUBCOMP,
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Packet identifier of the PUBLISH [MQTT-2.2.1-5].
    pub packet_id: PacketId,
    /// Reason code; always success at 3.1.1.
    pub reason: ReasonCode,
    /// Properties (5.0), where there are any.
    pub properties: Option<Box<ReasonProperties>>,
}

impl Ack {
    /// An acknowledgement without properties.
    pub const fn new(packet_id: PacketId, reason: ReasonCode) -> Self {
        Self { packet_id, reason, properties: None }
    }
}

/// Reason String and user properties, as many packets of 5.0 carry them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReasonProperties {
    /// Reason String: for people, not for programs.
    pub reason_string: Option<Text>,
    /// User properties.
    pub user_properties: UserProperties,
}

/// What to do with retained messages when a subscription is made (5.0).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RetainHandling {
    /// 0: send them at every SUBSCRIBE.
    #[default]
    Send = 0,
    /// 1: send them when the subscription did not exist.
    SendIfNew = 1,
    /// 2: never send them.
    Never = 2,
}

/// The options of one filter in SUBSCRIBE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionOptions {
    /// Maximum QoS wished.
    pub qos: Qos,
    /// No Local (5.0): do not send back what this client published. Not with `$share` [MQTT-3.8.3-4].
    pub no_local: bool,
    /// Retain As Published (5.0): keep the retain flag as it was.
    pub retain_as_published: bool,
    /// Retain Handling (5.0).
    pub retain_handling: RetainHandling,
}

/// SUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Packet identifier.
    pub packet_id: PacketId,
    /// Subscription Identifier (5.0), 1 to 268,435,455; one for all filters of the packet.
    pub subscription_id: Option<u32>,
    /// User properties (5.0).
    pub user_properties: UserProperties,
    /// Filters with their options; at least one [MQTT-3.8.3-2].
    pub filters: Vec<(Text, SubscriptionOptions)>,
}

/// SUBACK or UNSUBACK. An UNSUBACK of 3.1.1 has no codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubAck {
    /// Packet identifier.
    pub packet_id: PacketId,
    /// Reason String and user properties (5.0).
    pub properties: Option<Box<ReasonProperties>>,
    /// One code for each filter, in their order [MQTT-3.8.4-6].
    pub reasons: Vec<ReasonCode>,
}

/// UNSUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Packet identifier.
    pub packet_id: PacketId,
    /// User properties (5.0).
    pub user_properties: UserProperties,
    /// Filters; at least one [MQTT-3.10.3-2].
    pub filters: Vec<Text>,
}

/// DISCONNECT. At 3.1.1 only a client sends it and it carries nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// Reason code.
    pub reason: ReasonCode,
    /// Session Expiry Interval (5.0), only from a client [MQTT-3.14.2-2].
    pub session_expiry: Option<u32>,
    /// Server Reference (5.0), only from a server.
    pub server_reference: Option<Text>,
    /// Reason String and user properties (5.0).
    pub properties: Option<Box<ReasonProperties>>,
}

impl Disconnect {
    /// A DISCONNECT that carries only a reason.
    pub const fn new(reason: ReasonCode) -> Self {
        Self { reason, session_expiry: None, server_reference: None, properties: None }
    }
}

/// AUTH (5.0 only).
#[derive(Clone, PartialEq, Eq)]
pub struct Auth {
    /// 0x00, 0x18 or 0x19 [MQTT-3.15.2-1].
    pub reason: ReasonCode,
    /// Authentication Method.
    pub method: Option<Text>,
    /// Authentication Data.
    pub data: Option<Bytes>,
    /// Reason String and user properties.
    pub properties: Option<Box<ReasonProperties>>,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth")
            .field("reason", &self.reason)
            .field("method", &self.method)
            .field("data", &self.data.as_ref().map(|_| "***"))
            .finish_non_exhaustive()
    }
}
