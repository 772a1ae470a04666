//! The set of properties of each packet, read and written side by side.

use super::error::DecodeError;
use super::packet::{
    Auth, ConnAckProperties, ConnectProperties, Disconnect, PublishProperties, Qos, ReasonProperties,
    UserProperties,
};
use super::primitives::{Count, Cursor, Sink};
use super::property::{Properties, id, place};
use super::reason::ReasonCode;
use crate::text::Text;

/// What writes itself as a run of properties.
pub(super) trait PropertySet {
    fn put(&self, sink: &mut impl Sink);
}

/// Writes a set with its length in front; an empty set is a length of zero [MQTT-2.2.2-1].
pub(super) fn put_block(set: &impl PropertySet, sink: &mut impl Sink) {
    let mut count = Count::default();
    set.put(&mut count);
    sink.varint(u32::try_from(count.0).unwrap_or(u32::MAX));
    set.put(sink);
}

/// Whether a set would be written as nothing.
pub(super) fn is_empty(set: &impl PropertySet) -> bool {
    let mut count = Count::default();
    set.put(&mut count);
    count.0 == 0
}

fn put_text(sink: &mut impl Sink, property: u8, value: Option<&Text>) {
    if let Some(value) = value {
        sink.u8(property);
        sink.prefixed(value.as_bytes());
    }
}

fn put_binary(sink: &mut impl Sink, property: u8, value: Option<&bytes::Bytes>) {
    if let Some(value) = value {
        sink.u8(property);
        sink.prefixed(value);
    }
}

fn put_u32(sink: &mut impl Sink, property: u8, value: Option<u32>) {
    if let Some(value) = value {
        sink.u8(property);
        sink.u32(value);
    }
}

fn put_u16(sink: &mut impl Sink, property: u8, value: Option<u16>) {
    if let Some(value) = value {
        sink.u8(property);
        sink.u16(value);
    }
}

fn put_flag(sink: &mut impl Sink, property: u8, value: Option<bool>) {
    if let Some(value) = value {
        sink.u8(property);
        sink.u8(u8::from(value));
    }
}

fn put_users(sink: &mut impl Sink, users: &UserProperties) {
    for (name, value) in users {
        sink.u8(id::USER);
        sink.prefixed(name.as_bytes());
        sink.prefixed(value.as_bytes());
    }
}

pub(super) fn connect(cursor: &mut Cursor<'_>, limit: usize) -> Result<ConnectProperties, DecodeError> {
    let mut set = ConnectProperties::default();
    let mut from = Properties::open(cursor, place::CONNECT, limit)?;
    while let Some(property) = from.next()? {
        match property {
            id::SESSION_EXPIRY => set.session_expiry = Some(from.u32()?),
            id::RECEIVE_MAXIMUM => set.receive_maximum = Some(from.nonzero_u16()?),
            id::MAXIMUM_PACKET_SIZE => set.maximum_packet_size = Some(from.nonzero_u32()?),
            id::TOPIC_ALIAS_MAXIMUM => set.topic_alias_maximum = Some(from.u16()?),
            id::REQUEST_RESPONSE => set.request_response_information = Some(from.flag()?),
            id::REQUEST_PROBLEM => set.request_problem_information = Some(from.flag()?),
            id::AUTH_METHOD => set.authentication_method = Some(from.text()?),
            id::AUTH_DATA => set.authentication_data = Some(from.binary()?),
            id::USER => from.user(&mut set.user_properties)?,
            other => return Err(from.not_allowed(other)),
        }
    }
    // [u5-3.1.2.11.9]
    if set.authentication_data.is_some() && set.authentication_method.is_none() {
        return Err(cursor.protocol("authentication data", "comes without a method"));
    }
    Ok(set)
}

impl PropertySet for ConnectProperties {
    fn put(&self, sink: &mut impl Sink) {
        put_u32(sink, id::SESSION_EXPIRY, self.session_expiry);
        put_u16(sink, id::RECEIVE_MAXIMUM, self.receive_maximum.map(Into::into));
        put_u32(sink, id::MAXIMUM_PACKET_SIZE, self.maximum_packet_size);
        put_u16(sink, id::TOPIC_ALIAS_MAXIMUM, self.topic_alias_maximum);
        put_flag(sink, id::REQUEST_RESPONSE, self.request_response_information);
        put_flag(sink, id::REQUEST_PROBLEM, self.request_problem_information);
        put_text(sink, id::AUTH_METHOD, self.authentication_method.as_ref());
        put_binary(sink, id::AUTH_DATA, self.authentication_data.as_ref());
        put_users(sink, &self.user_properties);
    }
}

pub(super) fn connack(cursor: &mut Cursor<'_>, limit: usize) -> Result<ConnAckProperties, DecodeError> {
    let mut set = ConnAckProperties::default();
    let mut from = Properties::open(cursor, place::CONNACK, limit)?;
    while let Some(property) = from.next()? {
        match property {
            id::SESSION_EXPIRY => set.session_expiry = Some(from.u32()?),
            id::RECEIVE_MAXIMUM => set.receive_maximum = Some(from.nonzero_u16()?),
            id::MAXIMUM_QOS => {
                // [u5-3.2.2.3.4]
                set.maximum_qos = Some(if from.flag()? { Qos::AtLeastOnce } else { Qos::AtMostOnce });
            }
            id::RETAIN_AVAILABLE => set.retain_available = Some(from.flag()?),
            id::MAXIMUM_PACKET_SIZE => set.maximum_packet_size = Some(from.nonzero_u32()?),
            id::ASSIGNED_CLIENT_ID => set.assigned_client_id = Some(from.text()?),
            id::TOPIC_ALIAS_MAXIMUM => set.topic_alias_maximum = Some(from.u16()?),
            id::REASON_STRING => set.reason_string = Some(from.text()?),
            id::USER => from.user(&mut set.user_properties)?,
            id::WILDCARD_AVAILABLE => set.wildcard_available = Some(from.flag()?),
            id::SUBSCRIPTION_IDS_AVAILABLE => set.subscription_ids_available = Some(from.flag()?),
            id::SHARED_AVAILABLE => set.shared_available = Some(from.flag()?),
            id::SERVER_KEEP_ALIVE => set.server_keep_alive = Some(from.u16()?),
            id::RESPONSE_INFORMATION => set.response_information = Some(from.text()?),
            id::SERVER_REFERENCE => set.server_reference = Some(from.text()?),
            id::AUTH_METHOD => set.authentication_method = Some(from.text()?),
            id::AUTH_DATA => set.authentication_data = Some(from.binary()?),
            other => return Err(from.not_allowed(other)),
        }
    }
    Ok(set)
}

impl PropertySet for ConnAckProperties {
    fn put(&self, sink: &mut impl Sink) {
        put_u32(sink, id::SESSION_EXPIRY, self.session_expiry);
        put_u16(sink, id::RECEIVE_MAXIMUM, self.receive_maximum.map(Into::into));
        // Maximum QoS is written as 0 or 1 only; 2 is what its absence means [u5-3.2.2.3.4].
        put_flag(
            sink,
            id::MAXIMUM_QOS,
            self.maximum_qos.filter(|qos| *qos != Qos::ExactlyOnce).map(|qos| qos == Qos::AtLeastOnce),
        );
        put_flag(sink, id::RETAIN_AVAILABLE, self.retain_available);
        put_u32(sink, id::MAXIMUM_PACKET_SIZE, self.maximum_packet_size);
        put_text(sink, id::ASSIGNED_CLIENT_ID, self.assigned_client_id.as_ref());
        put_u16(sink, id::TOPIC_ALIAS_MAXIMUM, self.topic_alias_maximum);
        put_text(sink, id::REASON_STRING, self.reason_string.as_ref());
        put_users(sink, &self.user_properties);
        put_flag(sink, id::WILDCARD_AVAILABLE, self.wildcard_available);
        put_flag(sink, id::SUBSCRIPTION_IDS_AVAILABLE, self.subscription_ids_available);
        put_flag(sink, id::SHARED_AVAILABLE, self.shared_available);
        put_u16(sink, id::SERVER_KEEP_ALIVE, self.server_keep_alive);
        put_text(sink, id::RESPONSE_INFORMATION, self.response_information.as_ref());
        put_text(sink, id::SERVER_REFERENCE, self.server_reference.as_ref());
        put_text(sink, id::AUTH_METHOD, self.authentication_method.as_ref());
        put_binary(sink, id::AUTH_DATA, self.authentication_data.as_ref());
    }
}

/// The properties of a PUBLISH; `None` where the block is empty.
#[inline(always)]
pub(super) fn publish(
    cursor: &mut Cursor<'_>,
    limit: usize,
) -> Result<Option<Box<PublishProperties>>, DecodeError> {
    if cursor.skip_zero() {
        return Ok(None);
    }
    // A copy, so that the reader of a PUBLISH without properties need not be in memory.
    let mut reader = *cursor;
    let set = publish_block(&mut reader, limit)?;
    *cursor = reader;
    Ok(Some(set))
}

#[inline(never)]
fn publish_block(cursor: &mut Cursor<'_>, limit: usize) -> Result<Box<PublishProperties>, DecodeError> {
    let mut from = Properties::open(cursor, place::PUBLISH, limit)?;
    let mut set = Box::<PublishProperties>::default();
    while let Some(property) = from.next()? {
        match property {
            id::TOPIC_ALIAS => {
                // [MQTT-3.3.2-8] [u5-3.3.2.3.4-b]
                set.topic_alias =
                    Some(std::num::NonZeroU16::new(from.u16()?).ok_or(DecodeError::TopicAliasZero)?);
            }
            id::SUBSCRIPTION_ID => set.subscription_ids.push(from.subscription_id()?),
            other => message_property(other, &mut set, &mut from)?,
        }
    }
    Ok(set)
}

/// The properties of a will, with the Will Delay Interval.
pub(super) fn will(
    cursor: &mut Cursor<'_>,
    limit: usize,
) -> Result<(Option<u32>, PublishProperties), DecodeError> {
    let mut delay = None;
    let mut set = PublishProperties::default();
    let mut from = Properties::open(cursor, place::WILL, limit)?;
    while let Some(property) = from.next()? {
        match property {
            id::WILL_DELAY => delay = Some(from.u32()?),
            other => message_property(other, &mut set, &mut from)?,
        }
    }
    Ok((delay, set))
}

/// What PUBLISH and the will have in common.
fn message_property(
    property: u8,
    set: &mut PublishProperties,
    from: &mut Properties<'_>,
) -> Result<(), DecodeError> {
    match property {
        id::PAYLOAD_FORMAT => set.payload_is_utf8 = Some(from.flag()?),
        id::MESSAGE_EXPIRY => set.message_expiry = Some(from.u32()?),
        // [MQTT-3.3.2-13]
        id::RESPONSE_TOPIC => set.response_topic = Some(from.response_topic()?),
        id::CORRELATION_DATA => set.correlation_data = Some(from.binary()?),
        id::USER => from.user(&mut set.user_properties)?,
        // [MQTT-3.3.2-19]
        id::CONTENT_TYPE => set.content_type = Some(from.text()?),
        other => return Err(from.not_allowed(other)),
    }
    Ok(())
}

impl PropertySet for PublishProperties {
    fn put(&self, sink: &mut impl Sink) {
        put_flag(sink, id::PAYLOAD_FORMAT, self.payload_is_utf8);
        put_u32(sink, id::MESSAGE_EXPIRY, self.message_expiry);
        put_u16(sink, id::TOPIC_ALIAS, self.topic_alias.map(Into::into));
        put_text(sink, id::RESPONSE_TOPIC, self.response_topic.as_ref());
        put_binary(sink, id::CORRELATION_DATA, self.correlation_data.as_ref());
        put_users(sink, &self.user_properties);
        for subscription in &self.subscription_ids {
            sink.u8(id::SUBSCRIPTION_ID);
            sink.varint(*subscription);
        }
        put_text(sink, id::CONTENT_TYPE, self.content_type.as_ref());
    }
}

/// A will's Will Delay Interval and the properties of its message.
pub(super) struct WillProperties<'a>(pub(super) Option<u32>, pub(super) &'a PublishProperties);

impl PropertySet for WillProperties<'_> {
    fn put(&self, sink: &mut impl Sink) {
        put_u32(sink, id::WILL_DELAY, self.0);
        self.1.put(sink);
    }
}

/// Reason String and user properties; `None` where the block is empty.
pub(super) fn reason(
    cursor: &mut Cursor<'_>,
    place: u16,
    limit: usize,
) -> Result<Option<Box<ReasonProperties>>, DecodeError> {
    let mut from = Properties::open(cursor, place, limit)?;
    let mut set = None;
    while let Some(property) = from.next()? {
        reason_property(property, &mut set, &mut from)?;
    }
    Ok(set)
}

fn reason_property(
    property: u8,
    set: &mut Option<Box<ReasonProperties>>,
    from: &mut Properties<'_>,
) -> Result<(), DecodeError> {
    let set = set.get_or_insert_default();
    match property {
        id::REASON_STRING => set.reason_string = Some(from.text()?),
        id::USER => from.user(&mut set.user_properties)?,
        other => return Err(from.not_allowed(other)),
    }
    Ok(())
}

impl PropertySet for Option<Box<ReasonProperties>> {
    fn put(&self, sink: &mut impl Sink) {
        if let Some(set) = self {
            put_text(sink, id::REASON_STRING, set.reason_string.as_ref());
            put_users(sink, &set.user_properties);
        }
    }
}

/// Subscription Identifier and user properties of SUBSCRIBE or UNSUBSCRIBE.
pub(super) fn filters(
    cursor: &mut Cursor<'_>,
    place: u16,
    limit: usize,
) -> Result<(Option<u32>, UserProperties), DecodeError> {
    let mut subscription_id = None;
    let mut users = UserProperties::new();
    let mut from = Properties::open(cursor, place, limit)?;
    while let Some(property) = from.next()? {
        match property {
            id::SUBSCRIPTION_ID => subscription_id = Some(from.subscription_id()?),
            id::USER => from.user(&mut users)?,
            other => return Err(from.not_allowed(other)),
        }
    }
    Ok((subscription_id, users))
}

/// Subscription Identifier and user properties, as SUBSCRIBE and UNSUBSCRIBE write them.
pub(super) struct FilterProperties<'a>(pub(super) Option<u32>, pub(super) &'a UserProperties);

impl PropertySet for FilterProperties<'_> {
    fn put(&self, sink: &mut impl Sink) {
        if let Some(subscription_id) = self.0 {
            sink.u8(id::SUBSCRIPTION_ID);
            sink.varint(subscription_id);
        }
        put_users(sink, self.1);
    }
}

/// The rest of a DISCONNECT after its reason code.
pub(super) fn disconnect(
    cursor: &mut Cursor<'_>,
    reason: ReasonCode,
    limit: usize,
) -> Result<Disconnect, DecodeError> {
    let mut packet = Disconnect::new(reason);
    let mut from = Properties::open(cursor, place::DISCONNECT, limit)?;
    while let Some(property) = from.next()? {
        match property {
            id::SESSION_EXPIRY => packet.session_expiry = Some(from.u32()?),
            id::SERVER_REFERENCE => packet.server_reference = Some(from.text()?),
            other => reason_property(other, &mut packet.properties, &mut from)?,
        }
    }
    Ok(packet)
}

impl PropertySet for Disconnect {
    fn put(&self, sink: &mut impl Sink) {
        put_u32(sink, id::SESSION_EXPIRY, self.session_expiry);
        put_text(sink, id::SERVER_REFERENCE, self.server_reference.as_ref());
        self.properties.put(sink);
    }
}

/// The rest of an AUTH after its reason code.
pub(super) fn auth(cursor: &mut Cursor<'_>, reason: ReasonCode, limit: usize) -> Result<Auth, DecodeError> {
    let mut packet = Auth { reason, method: None, data: None, properties: None };
    let mut from = Properties::open(cursor, place::AUTH, limit)?;
    while let Some(property) = from.next()? {
        match property {
            id::AUTH_METHOD => packet.method = Some(from.text()?),
            id::AUTH_DATA => packet.data = Some(from.binary()?),
            other => reason_property(other, &mut packet.properties, &mut from)?,
        }
    }
    Ok(packet)
}

impl PropertySet for Auth {
    fn put(&self, sink: &mut impl Sink) {
        put_text(sink, id::AUTH_METHOD, self.method.as_ref());
        put_binary(sink, id::AUTH_DATA, self.data.as_ref());
        self.properties.put(sink);
    }
}
