//! Packets to bytes. A packet is checked and counted first; only then is anything appended.

use bytes::BytesMut;

use super::error::EncodeError;
use super::header;
use super::packet::{
    Ack, AckKind, Auth, ConnAck, Connect, Disconnect, Packet, Publish, PublishProperties, SubAck, Subscribe,
    Version, Will,
};
use super::primitives::{Count, Sink, VARINT_MAX, varint_len};
use super::property_sets::{FilterProperties, WillProperties, is_empty, put_block};
use super::reason::ReasonCode;
use super::valid;

/// Appends a packet.
///
/// CONNECT is written at its own version, every other packet at `version`. What 3.1.1 has no field for
/// (properties, codes of UNSUBACK, options of a filter besides QoS) is left out there; what would change its
/// meaning without that field (a failure in an acknowledgement, a DISCONNECT other than normal, AUTH) is refused.
///
/// # Errors
/// What the standard forbids to send; nothing was appended then.
pub fn encode(packet: &Packet, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
    let Packet::Publish(publish) = packet else { return encode_other(packet, version, out) };
    put_publish_head(publish, version, publish.payload.len(), out)?;
    out.extend_from_slice(&publish.payload);
    Ok(())
}

/// Every packet but PUBLISH, out of its way.
#[inline(never)]
fn encode_other(packet: &Packet, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
    match packet {
        Packet::PubAck(ack) => encode_ack(AckKind::PubAck, ack, version, out),
        Packet::PubRec(ack) => encode_ack(AckKind::PubRec, ack, version, out),
        Packet::PubRel(ack) => encode_ack(AckKind::PubRel, ack, version, out),
        Packet::PubComp(ack) => encode_ack(AckKind::PubComp, ack, version, out),
        other => {
            valid::check(other, version)?;
            let mut count = Count::default();
            put_body(other, version, &mut count);
            let body = body_len(other.name(), count.0)?;
            out.reserve(1 + varint_len(body) + count.0);
            out.u8(first_byte(other));
            out.varint(body);
            put_body(other, version, out);
            Ok(())
        }
    }
}

/// Appends a PUBLISH up to its payload, so that a large payload can go out as its own buffer without a copy.
/// The lengths written count the payload, which must follow at once.
///
/// # Errors
/// As [`encode`].
pub fn encode_publish_head(
    publish: &Publish,
    version: Version,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    put_publish_head(publish, version, 0, out)
}

/// Whether [`encode`] would append this packet, which is none of those with a path of their own.
pub(crate) fn check(packet: &Packet, version: Version) -> Result<(), EncodeError> {
    valid::check(packet, version)?;
    let mut count = Count::default();
    put_body(packet, version, &mut count);
    body_len(packet.name(), count.0).map(drop)
}

/// How many bytes the properties of a message add to its PUBLISH.
pub(crate) fn properties_len(set: &PublishProperties) -> usize {
    let mut count = Count::default();
    put_block(set, &mut count);
    count.0
}

/// How many bytes [`encode`] appends for this packet, header included.
pub fn encoded_len(packet: &Packet, version: Version) -> usize {
    let mut count = Count::default();
    match packet {
        Packet::Publish(publish) => return publish_len(publish, version),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            put_ack(ack, version, &mut count);
        }
        other => put_body(other, version, &mut count),
    }
    with_header(count.0)
}

/// How many bytes [`encode`] appends for this PUBLISH, header and payload included.
pub fn publish_len(publish: &Publish, version: Version) -> usize {
    with_header(publish_body_len(publish, version))
}

fn with_header(body: usize) -> usize {
    1 + varint_len(u32::try_from(body).unwrap_or(u32::MAX)) + body
}

fn body_len(packet: &'static str, size: usize) -> Result<u32, EncodeError> {
    match u32::try_from(size) {
        Ok(len) if len <= VARINT_MAX => Ok(len),
        _ => Err(EncodeError::TooLarge { packet, size }),
    }
}

/// The bytes of a PUBLISH behind its fixed header, if it may be written.
#[inline(always)]
pub(crate) fn check_publish(publish: &Publish, version: Version) -> Result<u32, EncodeError> {
    valid::publish(publish, version)?;
    body_len("PUBLISH", publish_body_len(publish, version))
}

#[inline]
fn publish_body_len(publish: &Publish, version: Version) -> usize {
    let id = if publish.packet_id.is_some() { 2 } else { 0 };
    let properties = match (version, &publish.properties) {
        (Version::V311, _) => 0,
        (Version::V5, None) => 1,
        (Version::V5, Some(set)) => properties_len(set),
    };
    2 + publish.topic.len() + id + properties + publish.payload.len()
}

/// Appends a PUBLISH up to its payload and leaves `room` behind it.
#[inline(always)]
fn put_publish_head(
    publish: &Publish,
    version: Version,
    room: usize,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let body = check_publish(publish, version)?;
    // To know how long the header is would cost more than the bytes it may not need.
    out.reserve(header::MOST + body as usize - publish.payload.len() + room);
    let flags = u8::from(publish.dup) << 3 | (publish.qos as u8) << 1 | u8::from(publish.retain);
    put_header(header::PUBLISH << 4 | flags, body, out);
    // [MQTT-3.3.2-1]
    out.prefixed(publish.topic.as_bytes());
    let id = publish.packet_id.map(|id| id.get().to_be_bytes());
    match (version, &publish.properties, id) {
        // [MQTT-2.2.2-1]
        (Version::V5, None, Some([high, low])) => out.raw(&[high, low, 0]),
        (Version::V5, None, None) => out.u8(0),
        (_, set, id) => {
            if let Some(id) = id {
                out.raw(&id);
            }
            if let (Version::V5, Some(set)) = (version, set) {
                put_block(&**set, out);
            }
        }
    }
    Ok(())
}

/// Most packets have a length of two bytes, and three bytes of a number known beforehand are put down at once.
#[inline(always)]
fn put_header(first: u8, body: u32, out: &mut BytesMut) {
    if let 0x80..=0x3FFF = body {
        out.raw(&[first, body as u8 | 0x80, (body >> 7) as u8]);
    } else {
        out.u8(first);
        out.varint(body);
    }
}

/// Appends an acknowledgement.
///
/// # Errors
/// As [`encode`].
#[inline]
pub(crate) fn encode_ack(
    kind: AckKind,
    ack: &Ack,
    version: Version,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let kind = kind as u8;
    // [MQTT-2.1.3-1]: of these four only PUBREL has a flag, by [MQTT-3.6.1-1].
    let first = kind << 4 | if kind == header::PUBREL { 0x02 } else { 0 };
    let id = ack.packet_id.get().to_be_bytes();
    if ack.reason == ReasonCode::SUCCESS && ack.properties.is_none() {
        out.raw(&[first, 2, id[0], id[1]]);
        return Ok(());
    }
    encode_long_ack(kind, first, ack, version, out)
}

/// One that says more than that all is well.
#[inline(never)]
fn encode_long_ack(
    kind: u8,
    first: u8,
    ack: &Ack,
    version: Version,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    valid::ack(header::name(kind), ack, version)?;
    let mut count = Count::default();
    put_ack(ack, version, &mut count);
    let body = body_len(header::name(kind), count.0)?;
    out.reserve(1 + varint_len(body) + count.0);
    out.u8(first);
    out.varint(body);
    put_ack(ack, version, out);
    Ok(())
}

/// The body of PUBACK, PUBREC, PUBREL or PUBCOMP, in the shortest form [u5-3.4.2.1].
fn put_ack(ack: &Ack, version: Version, sink: &mut impl Sink) {
    sink.u16(ack.packet_id.get());
    if version == Version::V311 {
        return;
    }
    let bare = is_empty(&ack.properties);
    if bare && ack.reason == ReasonCode::SUCCESS {
        return;
    }
    sink.u8(ack.reason.0);
    if !bare {
        put_block(&ack.properties, sink);
    }
}

/// Kind and flags; the flags of PUBLISH are written with its head.
const fn first_byte(packet: &Packet) -> u8 {
    match packet {
        Packet::Connect(_) => header::CONNECT << 4,
        Packet::ConnAck(_) => header::CONNACK << 4,
        Packet::Publish(_) => header::PUBLISH << 4,
        Packet::PubAck(_) => header::PUBACK << 4,
        Packet::PubRec(_) => header::PUBREC << 4,
        // [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1]
        Packet::PubRel(_) => header::PUBREL << 4 | 0x02,
        Packet::PubComp(_) => header::PUBCOMP << 4,
        Packet::Subscribe(_) => header::SUBSCRIBE << 4 | 0x02,
        Packet::SubAck(_) => header::SUBACK << 4,
        Packet::Unsubscribe(_) => header::UNSUBSCRIBE << 4 | 0x02,
        Packet::UnsubAck(_) => header::UNSUBACK << 4,
        Packet::PingReq => header::PINGREQ << 4,
        Packet::PingResp => header::PINGRESP << 4,
        Packet::Disconnect(_) => header::DISCONNECT << 4,
        Packet::Auth(_) => header::AUTH << 4,
    }
}

/// The body of every packet that has no path of its own above.
fn put_body(packet: &Packet, version: Version, sink: &mut impl Sink) {
    match packet {
        Packet::Connect(connect) => put_connect(connect, sink),
        Packet::ConnAck(connack) => put_connack(connack, version, sink),
        Packet::Subscribe(subscribe) => put_subscribe(subscribe, version, sink),
        Packet::SubAck(suback) => put_suback(suback, version, sink),
        Packet::Unsubscribe(unsubscribe) => {
            sink.u16(unsubscribe.packet_id.get());
            if version == Version::V5 {
                put_block(&FilterProperties(None, &unsubscribe.user_properties), sink);
            }
            for filter in &unsubscribe.filters {
                sink.prefixed(filter.as_bytes());
            }
        }
        Packet::UnsubAck(unsuback) => put_unsuback(unsuback, version, sink),
        Packet::Disconnect(disconnect) if version == Version::V5 => put_disconnect(disconnect, sink),
        Packet::Auth(auth) => put_auth(auth, sink),
        Packet::Disconnect(_)
        | Packet::Publish(_)
        | Packet::PubAck(_)
        | Packet::PubRec(_)
        | Packet::PubRel(_)
        | Packet::PubComp(_)
        | Packet::PingReq
        | Packet::PingResp => {}
    }
}

fn put_connect(connect: &Connect, sink: &mut impl Sink) {
    let v5 = connect.version == Version::V5;
    // [MQTT-3.1.2-1]
    sink.prefixed(b"MQTT");
    sink.u8(if v5 { 5 } else { 4 });
    sink.u8(connect_flags(connect));
    sink.u16(connect.keep_alive);
    if v5 {
        put_block(&connect.properties, sink);
    }
    // [MQTT-3.1.3-1] [MQTT-3.1.3-3]
    sink.prefixed(connect.client_id.as_bytes());
    if let Some(will) = &connect.will {
        put_will(will, v5, sink);
    }
    if let Some(user_name) = &connect.user_name {
        sink.prefixed(user_name.as_bytes());
    }
    if let Some(password) = &connect.password {
        sink.prefixed(password);
    }
}

/// [MQTT-3.1.2-3], and without a will its bits are zero: [MQTT-3.1.2-11] [MQTT-3.1.2-13]. A flag for each field that
/// follows: [MQTT-3.1.2-16] [MQTT-3.1.2-17] [MQTT-3.1.2-18] [MQTT-3.1.2-19].
fn connect_flags(connect: &Connect) -> u8 {
    let will =
        connect.will.as_ref().map_or(0, |will| 0x04 | (will.qos as u8) << 3 | u8::from(will.retain) << 5);
    u8::from(connect.clean_start) << 1
        | will
        | u8::from(connect.password.is_some()) << 6
        | u8::from(connect.user_name.is_some()) << 7
}

/// [MQTT-3.1.2-9]
fn put_will(will: &Will, v5: bool, sink: &mut impl Sink) {
    if v5 {
        put_block(&WillProperties(will.delay, &will.properties), sink);
    }
    sink.prefixed(will.topic.as_bytes());
    sink.prefixed(&will.payload);
}

fn put_connack(connack: &ConnAck, version: Version, sink: &mut impl Sink) {
    sink.u8(u8::from(connack.session_present));
    if version == Version::V311 || connack.v311_form {
        // A reason without a return code was refused before.
        sink.u8(connack.reason.to_return_code().unwrap_or(0xFF));
        return;
    }
    sink.u8(connack.reason.0);
    put_block(&connack.properties, sink);
}

fn put_subscribe(subscribe: &Subscribe, version: Version, sink: &mut impl Sink) {
    sink.u16(subscribe.packet_id.get());
    if version == Version::V5 {
        put_block(&FilterProperties(subscribe.subscription_id, &subscribe.user_properties), sink);
    }
    for (filter, options) in &subscribe.filters {
        sink.prefixed(filter.as_bytes());
        let mut byte = options.qos as u8;
        // [MQTT-3.8.3-5]; at 3.1.1 QoS is all there is [MQTT311-3.8.3-4]
        if version == Version::V5 {
            byte |= u8::from(options.no_local) << 2
                | u8::from(options.retain_as_published) << 3
                | (options.retain_handling as u8) << 4;
        }
        sink.u8(byte);
    }
}

fn put_suback(suback: &SubAck, version: Version, sink: &mut impl Sink) {
    sink.u16(suback.packet_id.get());
    if version == Version::V5 {
        put_block(&suback.properties, sink);
    }
    for reason in &suback.reasons {
        // 3.1.1 knows one failure [MQTT311-3.9.3-2].
        let failure = version == Version::V311 && reason.is_error();
        sink.u8(if failure { 0x80 } else { reason.0 });
    }
}

fn put_unsuback(unsuback: &SubAck, version: Version, sink: &mut impl Sink) {
    sink.u16(unsuback.packet_id.get());
    if version == Version::V5 {
        put_block(&unsuback.properties, sink);
        for reason in &unsuback.reasons {
            sink.u8(reason.0);
        }
    }
}

/// In the shortest form [u5-3.14.2.1].
fn put_disconnect(disconnect: &Disconnect, sink: &mut impl Sink) {
    let bare = is_empty(disconnect);
    if bare && disconnect.reason == ReasonCode::SUCCESS {
        return;
    }
    sink.u8(disconnect.reason.0);
    if !bare {
        put_block(disconnect, sink);
    }
}

/// In the shortest form [u5-3.15.2.1].
fn put_auth(auth: &Auth, sink: &mut impl Sink) {
    if is_empty(auth) && auth.reason == ReasonCode::SUCCESS {
        return;
    }
    sink.u8(auth.reason.0);
    put_block(auth, sink);
}
