//! The bodies of packets: what stands after the fixed header.

use bytes::Bytes;

use super::decode::{Limits, Sender};
use super::error::DecodeError;
use super::header::{self, Header};
use super::packet::{
    Ack, Auth, ConnAck, ConnAckProperties, Connect, ConnectProperties, Disconnect, Packet, PacketId, Publish,
    PublishProperties, Qos, RetainHandling, SubAck, Subscribe, SubscriptionOptions, Unsubscribe, Version,
    Will,
};
use super::primitives::{CheckedTopic, Cursor};
use super::property::place;
use super::property_sets as properties;
use super::reason::ReasonCode;
use crate::text::Text;

/// What the rules of a body depend on, besides its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) version: Version,
    pub(super) sender: Sender,
    pub(super) limits: Limits,
}

impl Rules {
    const fn is_v5(&self) -> bool {
        matches!(self.version, Version::V5)
    }

    const fn users(&self) -> usize {
        self.limits.max_user_properties
    }
}

/// Decodes a packet at the start of `bytes`, of which all has come, that is no PUBLISH.
pub(super) fn other(header: &Header, bytes: &Bytes, rules: &Rules) -> Result<Packet, DecodeError> {
    let mut cursor = Cursor::new(bytes, header.len()..header.total(), header.kind());
    let cursor = &mut cursor;
    let packet = match header.kind() {
        header::PUBACK => Packet::PubAck(ack(cursor, rules, ReasonCode::fits_publish_ack)?),
        header::PUBREC => Packet::PubRec(ack(cursor, rules, ReasonCode::fits_publish_ack)?),
        header::PUBREL => Packet::PubRel(ack(cursor, rules, ReasonCode::fits_release)?),
        header::PUBCOMP => Packet::PubComp(ack(cursor, rules, ReasonCode::fits_release)?),
        header::CONNECT => Packet::Connect(Box::new(connect(cursor, rules)?)),
        header::CONNACK => Packet::ConnAck(Box::new(connack(cursor, rules)?)),
        header::SUBSCRIBE => Packet::Subscribe(subscribe(cursor, rules)?),
        header::SUBACK => Packet::SubAck(suback(cursor, rules)?),
        header::UNSUBSCRIBE => Packet::Unsubscribe(unsubscribe(cursor, rules)?),
        header::UNSUBACK => Packet::UnsubAck(unsuback(cursor, rules)?),
        header::PINGREQ => Packet::PingReq,
        header::PINGRESP => Packet::PingResp,
        header::DISCONNECT => Packet::Disconnect(disconnect(cursor, rules)?),
        _ => Packet::Auth(auth(cursor, rules)?),
    };
    cursor.finish()?;
    Ok(packet)
}

/// Topic name and packet identifier: the part of a PUBLISH both versions share. An empty name is for the
/// caller to judge, as it needs the topic alias.
#[inline(always)]
pub(super) fn publish_name<'a>(
    cursor: &mut Cursor<'a>,
    qos: Qos,
) -> Result<(CheckedTopic<'a>, Option<PacketId>), DecodeError> {
    // [MQTT-3.3.2-1] [MQTT-3.3.2-2]
    let topic = cursor.topic_name("topic name")?;
    // [MQTT-2.2.1-2]
    let packet_id = if qos == Qos::AtMostOnce { None } else { Some(cursor.packet_id()?) };
    Ok((topic, packet_id))
}

/// A PUBLISH in which nothing is wrong, before its topic and payload are shared.
pub(super) struct CheckedPublish<'a> {
    header: Header,
    topic: CheckedTopic<'a>,
    packet_id: Option<PacketId>,
    properties: Option<Box<PublishProperties>>,
    payload: Cursor<'a>,
}

impl CheckedPublish<'_> {
    #[inline(always)]
    pub(super) fn share(mut self) -> Publish {
        Publish {
            dup: self.header.dup(),
            qos: self.header.qos(),
            retain: self.header.retain(),
            topic: self.topic.share(),
            packet_id: self.packet_id,
            properties: self.properties,
            payload: self.payload.rest(),
        }
    }
}

/// Checks a PUBLISH at the start of `bytes`, of which all has come.
#[inline(always)]
pub(super) fn publish<'a>(
    header: &Header,
    bytes: &'a Bytes,
    rules: &Rules,
) -> Result<CheckedPublish<'a>, DecodeError> {
    let mut cursor = Cursor::new(bytes, header.len()..header.total(), header::PUBLISH);
    let (topic, packet_id) = publish_name(&mut cursor, header.qos())?;
    let set = if rules.is_v5() { properties::publish(&mut cursor, rules.users())? } else { None };
    if let Some(set) = &set {
        // [MQTT-3.3.4-6]
        if rules.sender == Sender::Client && !set.subscription_ids.is_empty() {
            return Err(cursor.protocol("subscription identifier", "may not come from a client"));
        }
    }
    if topic.is_empty() && set.as_ref().is_none_or(|set| set.topic_alias.is_none()) {
        return Err(if rules.is_v5() {
            // [u5-3.3.2.1]
            cursor.protocol("topic name", "is empty without a topic alias")
        } else {
            // [MQTT-4.7.3-1]
            cursor.malformed("topic name", "is empty")
        });
    }
    Ok(CheckedPublish { header: *header, topic, packet_id, properties: set, payload: cursor })
}

#[inline]
fn ack(cursor: &mut Cursor<'_>, rules: &Rules, fits: fn(ReasonCode) -> bool) -> Result<Ack, DecodeError> {
    let packet_id = cursor.packet_id()?;
    // A length of 2 is success, a length of 3 has no properties [u5-3.4.2.1].
    if !rules.is_v5() || cursor.is_empty() {
        return Ok(Ack::new(packet_id, ReasonCode::SUCCESS));
    }
    let reason = reason_code(cursor, fits)?;
    if cursor.is_empty() {
        return Ok(Ack::new(packet_id, reason));
    }
    let properties = properties::reason(cursor, place::ACK, rules.users())?;
    Ok(Ack { packet_id, reason, properties })
}

fn reason_code(
    cursor: &mut Cursor<'_>,
    fits: impl FnOnce(ReasonCode) -> bool,
) -> Result<ReasonCode, DecodeError> {
    let reason = ReasonCode(cursor.u8("reason code")?);
    if fits(reason) {
        return Ok(reason);
    }
    Err(cursor.protocol("reason code", "is not one of this packet's"))
}

fn connect(cursor: &mut Cursor<'_>, rules: &Rules) -> Result<Connect, DecodeError> {
    let name = cursor.binary("protocol name")?;
    let level = cursor.u8("protocol level")?;
    // [MQTT-3.1.2-1]; MQIsdp is the name MQTT 3.1 used.
    let version = match (&name[..], level) {
        (b"MQTT", 4) => Version::V311,
        (b"MQTT", 5) => Version::V5,
        (b"MQTT" | b"MQIsdp", level) => return Err(DecodeError::UnsupportedVersion { level }),
        _ => return Err(cursor.protocol("protocol name", "is not MQTT")),
    };
    let is_v5 = version == Version::V5;
    let flags = ConnectFlags::read(cursor, version)?;
    let keep_alive = cursor.u16("keep alive")?;
    let set = if is_v5 { properties::connect(cursor, rules.users())? } else { ConnectProperties::default() };
    // [MQTT-3.1.3-1] [MQTT-3.1.3-3] [MQTT-3.1.3-4]
    let client_id = cursor.text("client identifier")?;
    let will = match flags.will {
        Some((qos, retain)) => Some(will(cursor, is_v5, qos, retain, rules)?),
        None => None,
    };
    // [MQTT-3.1.2-16] [MQTT-3.1.2-17] [MQTT-3.1.2-18] [MQTT-3.1.2-19] [MQTT-3.1.3-12]
    let user_name = if flags.user_name { Some(cursor.text("user name")?) } else { None };
    let password = if flags.password { Some(cursor.binary("password")?) } else { None };
    let clean_start = flags.clean_start;
    Ok(Connect { version, clean_start, keep_alive, client_id, will, user_name, password, properties: set })
}

/// The connect flags, checked.
struct ConnectFlags {
    clean_start: bool,
    will: Option<(Qos, bool)>,
    user_name: bool,
    password: bool,
}

impl ConnectFlags {
    fn read(cursor: &mut Cursor<'_>, version: Version) -> Result<Self, DecodeError> {
        let flags = cursor.u8("connect flags")?;
        // [MQTT-3.1.2-3]
        if flags & 0x01 != 0 {
            return Err(cursor.malformed("connect flags", "have the reserved bit set"));
        }
        let retain = flags & 0x20 != 0;
        // [MQTT-3.1.2-12]; [MQTT311-3.1.2-14]
        let qos = Qos::from_u8((flags >> 3) & 0x03).ok_or_else(|| cursor.malformed("will QoS", "is 3"))?;
        let will = if flags & 0x04 != 0 { Some((qos, retain)) } else { None };
        // [MQTT-3.1.2-11] [MQTT-3.1.2-13]
        if will.is_none() && (retain || qos != Qos::AtMostOnce) {
            return Err(cursor.malformed("connect flags", "have will QoS or will retain without a will"));
        }
        let user_name = flags & 0x80 != 0;
        let password = flags & 0x40 != 0;
        // [MQTT311-3.1.2-22]
        if version == Version::V311 && password && !user_name {
            return Err(cursor.malformed("connect flags", "have a password without a user name"));
        }
        Ok(Self { clean_start: flags & 0x02 != 0, will, user_name, password })
    }
}

fn will(
    cursor: &mut Cursor<'_>,
    is_v5: bool,
    qos: Qos,
    retain: bool,
    rules: &Rules,
) -> Result<Will, DecodeError> {
    let (delay, set) =
        if is_v5 { properties::will(cursor, rules.users())? } else { (None, PublishProperties::default()) };
    // [MQTT-3.1.3-11]
    let topic = cursor.topic_name("will topic")?;
    // [MQTT-4.7.3-1]
    if topic.is_empty() {
        return Err(cursor.malformed("will topic", "is empty"));
    }
    let payload = cursor.binary("will payload")?;
    Ok(Will { topic: topic.share().into(), payload, qos, retain, delay, properties: set })
}

fn connack(cursor: &mut Cursor<'_>, rules: &Rules) -> Result<ConnAck, DecodeError> {
    let flags = cursor.u8("acknowledge flags")?;
    // [MQTT-3.2.2-1]
    if flags & 0xFE != 0 {
        return Err(cursor.malformed("acknowledge flags", "have reserved bits set"));
    }
    let session_present = flags & 0x01 != 0;
    let code = cursor.u8("reason code")?;
    // [MQTT-3.2.2-6]; [MQTT311-3.2.2-4]
    if session_present && code != 0 {
        return Err(cursor.protocol("session present", "is set in a refusal"));
    }
    // An old broker refuses MQTT 5.0 in the only form it knows; success in that form would be no 5.0 session.
    // [MQTT-3.1.2-2]
    let v311_form = rules.is_v5() && cursor.is_empty() && code != 0;
    if !rules.is_v5() || v311_form {
        let reason = ReasonCode::from_return_code(code);
        return Ok(ConnAck { session_present, reason, v311_form, properties: ConnAckProperties::default() });
    }
    // [MQTT-3.2.2-8], but a refusal this client does not know is still a refusal.
    if code != 0 && code < 0x80 {
        return Err(cursor.protocol("reason code", "is not one of this packet's"));
    }
    let set = properties::connack(cursor, rules.users())?;
    Ok(ConnAck { session_present, reason: ReasonCode(code), v311_form, properties: set })
}

fn subscribe(cursor: &mut Cursor<'_>, rules: &Rules) -> Result<Subscribe, DecodeError> {
    let packet_id = cursor.packet_id()?;
    let (subscription_id, user_properties) = if rules.is_v5() {
        properties::filters(cursor, place::SUBSCRIBE, rules.users())?
    } else {
        Default::default()
    };
    let mut filters = Vec::new();
    while !cursor.is_empty() {
        let filter = topic_filter(cursor)?;
        let options = options(cursor, rules)?;
        // [MQTT-3.8.3-4]
        if options.no_local && filter.as_bytes().starts_with(b"$share/") {
            return Err(cursor.protocol("no local", "is set on a shared subscription"));
        }
        filters.push((filter, options));
    }
    // [MQTT-3.8.3-2]; [MQTT311-3.8.3-3]
    if filters.is_empty() {
        return Err(cursor.protocol("topic filter", "is missing"));
    }
    Ok(Subscribe { packet_id, subscription_id, user_properties, filters })
}

/// A topic filter has at least one character [MQTT-4.7.3-1]. Its grammar is for the server to answer in SUBACK.
fn topic_filter(cursor: &mut Cursor<'_>) -> Result<Text, DecodeError> {
    // [MQTT-3.8.3-1] [MQTT-3.10.3-1]
    let filter = cursor.text("topic filter")?;
    if filter.is_empty() {
        return Err(cursor.malformed("topic filter", "is empty"));
    }
    Ok(filter)
}

fn options(cursor: &mut Cursor<'_>, rules: &Rules) -> Result<SubscriptionOptions, DecodeError> {
    let byte = cursor.u8("subscription options")?;
    // [MQTT-3.8.3-5]; at 3.1.1 six bits are reserved [MQTT311-3.8.3-4]
    let reserved = if rules.is_v5() { 0xC0 } else { 0xFC };
    if byte & reserved != 0 {
        return Err(cursor.malformed("subscription options", "have reserved bits set"));
    }
    // [u5-3.8.3.1-a] [u5-3.8.3.1-b]
    let qos = Qos::from_u8(byte & 0x03).ok_or_else(|| cursor.protocol("maximum QoS", "is 3"))?;
    let retain_handling = match (byte >> 4) & 0x03 {
        0 => RetainHandling::Send,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::Never,
        _ => return Err(cursor.protocol("retain handling", "is 3")),
    };
    let (no_local, retain_as_published) = (byte & 0x04 != 0, byte & 0x08 != 0);
    Ok(SubscriptionOptions { qos, no_local, retain_as_published, retain_handling })
}

fn suback(cursor: &mut Cursor<'_>, rules: &Rules) -> Result<SubAck, DecodeError> {
    if rules.is_v5() {
        return codes(cursor, rules, ReasonCode::fits_suback);
    }
    let packet_id = cursor.packet_id()?;
    // [MQTT311-3.9.3-2]
    let reasons = reasons(cursor, |reason| matches!(reason.0, 0x00..=0x02 | 0x80))?;
    Ok(SubAck { packet_id, properties: None, reasons })
}

fn unsuback(cursor: &mut Cursor<'_>, rules: &Rules) -> Result<SubAck, DecodeError> {
    if rules.is_v5() {
        return codes(cursor, rules, ReasonCode::fits_unsuback);
    }
    Ok(SubAck { packet_id: cursor.packet_id()?, properties: None, reasons: Vec::new() })
}

/// A SUBACK or UNSUBACK of 5.0.
fn codes(
    cursor: &mut Cursor<'_>,
    rules: &Rules,
    fits: fn(ReasonCode) -> bool,
) -> Result<SubAck, DecodeError> {
    let packet_id = cursor.packet_id()?;
    let properties = properties::reason(cursor, place::SUBACK, rules.users())?;
    let reasons = reasons(cursor, fits)?;
    Ok(SubAck { packet_id, properties, reasons })
}

/// The codes up to the end of the packet: one for each filter, and no request is without a filter.
fn reasons(cursor: &mut Cursor<'_>, fits: fn(ReasonCode) -> bool) -> Result<Vec<ReasonCode>, DecodeError> {
    if cursor.is_empty() {
        return Err(cursor.protocol("reason code", "is missing"));
    }
    let mut reasons = Vec::with_capacity(cursor.remaining());
    while !cursor.is_empty() {
        reasons.push(reason_code(cursor, fits)?);
    }
    Ok(reasons)
}

fn unsubscribe(cursor: &mut Cursor<'_>, rules: &Rules) -> Result<Unsubscribe, DecodeError> {
    let packet_id = cursor.packet_id()?;
    let user_properties = if rules.is_v5() {
        properties::filters(cursor, place::UNSUBSCRIBE, rules.users())?.1
    } else {
        Vec::new()
    };
    let mut filters = Vec::new();
    while !cursor.is_empty() {
        filters.push(topic_filter(cursor)?);
    }
    // [MQTT-3.10.3-2]
    if filters.is_empty() {
        return Err(cursor.protocol("topic filter", "is missing"));
    }
    Ok(Unsubscribe { packet_id, user_properties, filters })
}

fn disconnect(cursor: &mut Cursor<'_>, rules: &Rules) -> Result<Disconnect, DecodeError> {
    // A length of 0 is normal, a length of 1 has no properties [u5-3.14.2.1]. At 3.1.1 there is nothing else.
    if !rules.is_v5() || cursor.is_empty() {
        return Ok(Disconnect::new(ReasonCode::SUCCESS));
    }
    // [MQTT-3.14.2-1]; a server newer than this client is still heard when it says goodbye.
    let sender = rules.sender;
    let reason = reason_code(cursor, |reason| match sender {
        Sender::Client => reason.fits_client_disconnect(),
        Sender::Server => reason == ReasonCode::SUCCESS || reason.is_error(),
    })?;
    if cursor.is_empty() {
        return Ok(Disconnect::new(reason));
    }
    let packet = properties::disconnect(cursor, reason, rules.users())?;
    // [MQTT-3.14.2-2]
    if sender == Sender::Server && packet.session_expiry.is_some() {
        return Err(cursor.protocol("session expiry interval", "may not come from a server"));
    }
    // 3.14.2.2.5: the server says where else to go
    if sender == Sender::Client && packet.server_reference.is_some() {
        return Err(cursor.protocol("server reference", "may not come from a client"));
    }
    Ok(packet)
}

fn auth(cursor: &mut Cursor<'_>, rules: &Rules) -> Result<Auth, DecodeError> {
    // [MQTT-3.15.2-1] [MQTT-4.12.0-2], by direction: the server ends with success, only the client re-authenticates.
    let sender = rules.sender;
    if cursor.is_empty() && sender == Sender::Server {
        // A length of 0 is success [u5-3.15.2.1].
        return Ok(Auth { reason: ReasonCode::SUCCESS, method: None, data: None, properties: None });
    }
    let reason = reason_code(cursor, |reason| match sender {
        Sender::Client => {
            matches!(reason, ReasonCode::CONTINUE_AUTHENTICATION | ReasonCode::REAUTHENTICATE)
        }
        Sender::Server => matches!(reason, ReasonCode::SUCCESS | ReasonCode::CONTINUE_AUTHENTICATION),
    })?;
    let packet = properties::auth(cursor, reason, rules.users())?;
    // [u5-3.15.2.2.2]
    if packet.method.is_none() {
        return Err(cursor.protocol("authentication method", "is missing"));
    }
    Ok(packet)
}
