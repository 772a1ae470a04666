//! What must not be written, checked before a packet is encoded.

use bytes::Bytes;

use super::error::EncodeError;
use super::packet::{
    Ack, Auth, ConnAck, Connect, ConnectProperties, Disconnect, Packet, Publish, PublishProperties, Qos,
    SubAck, Subscribe, Version, Will,
};
use super::primitives::VARINT_MAX;
use super::reason::ReasonCode;
use crate::plain::has_wildcard;
use crate::text::Text;

type Checked = Result<(), EncodeError>;

/// Fails with this problem unless the condition holds.
const fn ensure(holds: bool, packet: &'static str, field: &'static str, problem: &'static str) -> Checked {
    if holds { Ok(()) } else { Err(EncodeError::Invalid { packet, field, problem }) }
}

/// Checks every packet that is not on the fast path of PUBLISH and its acknowledgements.
pub(super) fn check(packet: &Packet, version: Version) -> Checked {
    match packet {
        Packet::Connect(connect) => self::connect(connect),
        Packet::ConnAck(connack) => self::connack(connack, version),
        Packet::Subscribe(subscribe) => self::subscribe(subscribe, version),
        // [MQTT-3.9.3-2]
        Packet::SubAck(suback) => codes("SUBACK", suback, ReasonCode::fits_suback),
        // [MQTT-3.10.3-2]
        Packet::Unsubscribe(unsubscribe) => {
            let filters = &unsubscribe.filters;
            ensure(!filters.is_empty(), "UNSUBSCRIBE", "topic filter", "is missing")?;
            // [MQTT-4.7.3-1]
            ensure(filters.iter().all(|f| !f.is_empty()), "UNSUBSCRIBE", "topic filter", "is empty")
        }
        // [MQTT-3.11.3-2]; an UNSUBACK of 3.1.1 has no codes
        Packet::UnsubAck(_) if version == Version::V311 => Ok(()),
        Packet::UnsubAck(unsuback) => codes("UNSUBACK", unsuback, ReasonCode::fits_unsuback),
        Packet::Disconnect(disconnect) => self::disconnect(disconnect, version),
        Packet::Auth(auth) => self::auth(auth, version),
        Packet::Publish(publish) => self::publish(publish, version),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            self::ack(packet.name(), ack, version)
        }
        Packet::PingReq | Packet::PingResp => Ok(()),
    }
}

#[inline(always)]
pub(super) fn publish(publish: &Publish, version: Version) -> Checked {
    const PUBLISH: &str = "PUBLISH";
    if publish.qos == Qos::AtMostOnce {
        // [MQTT-2.2.1-2]; [MQTT311-2.3.1-5]
        ensure(publish.packet_id.is_none(), PUBLISH, "packet identifier", "is given at QoS 0")?;
        // [MQTT-3.3.1-2]
        ensure(!publish.dup, PUBLISH, "DUP", "is set at QoS 0")?;
    } else {
        // [MQTT-2.2.1-3]; [MQTT311-2.3.1-1]
        ensure(publish.packet_id.is_some(), PUBLISH, "packet identifier", "is missing above QoS 0")?;
    }
    let set = if version == Version::V5 { publish.properties.as_deref() } else { None };
    if publish.topic.is_empty() {
        // [MQTT-4.7.3-1] [u5-3.3.2.1]
        let aliased = set.is_some_and(|set| set.topic_alias.is_some());
        ensure(aliased, PUBLISH, "topic name", "is empty without a topic alias")?;
    }
    match set {
        Some(set) => message_properties(PUBLISH, set),
        None => Ok(()),
    }
}

#[inline(never)]
fn message_properties(packet: &'static str, set: &PublishProperties) -> Checked {
    if let Some(topic) = &set.response_topic {
        // [MQTT-3.3.2-14]
        ensure(!has_wildcard(topic.as_bytes()), packet, "response topic", "holds a wildcard")?;
    }
    binary(packet, "correlation data", set.correlation_data.as_ref())?;
    // [u5-3.3.2.3.8]
    let fits = set.subscription_ids.iter().all(|id| (1..=VARINT_MAX).contains(id));
    ensure(fits, packet, "subscription identifier", "is not between 1 and 268,435,455")
}

/// Binary data has a two-byte length.
fn binary(packet: &'static str, field: &'static str, data: Option<&Bytes>) -> Checked {
    let fits = data.is_none_or(|data| data.len() <= Text::MAX_BYTES);
    ensure(fits, packet, field, "is longer than 65,535 bytes")
}

pub(super) fn ack(packet: &'static str, ack: &Ack, version: Version) -> Checked {
    let fits = match packet {
        // [MQTT-3.4.2-1] [MQTT-3.5.2-1]
        "PUBACK" | "PUBREC" => ack.reason.fits_publish_ack(),
        // [MQTT-3.6.2-1] [MQTT-3.7.2-1]
        _ => ack.reason.fits_release(),
    };
    ensure(fits, packet, "reason code", "is not one of this packet's")?;
    // It would arrive as success.
    let told = version == Version::V5 || !ack.reason.is_error();
    ensure(told, packet, "reason code", "cannot be told at MQTT 3.1.1")
}

fn connect(connect: &Connect) -> Checked {
    const CONNECT: &str = "CONNECT";
    binary(CONNECT, "password", connect.password.as_ref())?;
    if connect.version == Version::V311 {
        // [MQTT311-3.1.2-22]
        let named = connect.password.is_none() || connect.user_name.is_some();
        ensure(named, CONNECT, "password", "needs a user name at MQTT 3.1.1")?;
        // [MQTT311-3.1.3-7]
        let kept = !connect.client_id.is_empty() || connect.clean_start;
        ensure(kept, CONNECT, "client identifier", "must be given to keep a session at MQTT 3.1.1")?;
    } else {
        connect_properties(CONNECT, &connect.properties)?;
    }
    match &connect.will {
        Some(will) => self::will(CONNECT, will, connect.version),
        None => Ok(()),
    }
}

fn connect_properties(packet: &'static str, set: &ConnectProperties) -> Checked {
    // [u5-3.1.2.11.4-a]
    ensure(set.maximum_packet_size != Some(0), packet, "maximum packet size", "is zero")?;
    binary(packet, "authentication data", set.authentication_data.as_ref())?;
    // [u5-3.1.2.11.9]
    let methodical = set.authentication_data.is_none() || set.authentication_method.is_some();
    ensure(methodical, packet, "authentication data", "comes without a method")
}

fn will(packet: &'static str, will: &Will, version: Version) -> Checked {
    // [MQTT-4.7.3-1]
    ensure(!will.topic.is_empty(), packet, "will topic", "is empty")?;
    // [MQTT-4.7.0-1]; [MQTT311-4.7.1-1]
    ensure(!has_wildcard(will.topic.as_bytes()), packet, "will topic", "holds a wildcard")?;
    binary(packet, "will payload", Some(&will.payload))?;
    if version == Version::V311 {
        return Ok(());
    }
    let set = &will.properties;
    ensure(set.topic_alias.is_none(), packet, "topic alias", "has no place in a will")?;
    ensure(set.subscription_ids.is_empty(), packet, "subscription identifier", "has no place in a will")?;
    message_properties(packet, set)
}

fn connack(connack: &ConnAck, version: Version) -> Checked {
    const CONNACK: &str = "CONNACK";
    let success = connack.reason == ReasonCode::SUCCESS;
    // [MQTT-3.2.2-6]; [MQTT311-3.2.2-4]
    ensure(success || !connack.session_present, CONNACK, "session present", "is set in a refusal")?;
    if version == Version::V311 || connack.v311_form {
        let known = connack.reason.to_return_code().is_some();
        ensure(known, CONNACK, "reason code", "has no return code at MQTT 3.1.1")?;
        let refuses = version == Version::V311 || !success;
        return ensure(refuses, CONNACK, "form", "of MQTT 3.1.1 is no success at MQTT 5.0");
    }
    // [MQTT-3.2.2-8]
    let fits = success || connack.reason.is_error();
    ensure(fits, CONNACK, "reason code", "is not one of this packet's")?;
    let set = &connack.properties;
    // [u5-3.2.2.3.6]
    ensure(set.maximum_packet_size != Some(0), CONNACK, "maximum packet size", "is zero")?;
    binary(CONNACK, "authentication data", set.authentication_data.as_ref())
}

fn subscribe(subscribe: &Subscribe, version: Version) -> Checked {
    const SUBSCRIBE: &str = "SUBSCRIBE";
    // [MQTT-3.8.3-2]; [MQTT311-3.8.3-3]
    ensure(!subscribe.filters.is_empty(), SUBSCRIBE, "topic filter", "is missing")?;
    for (filter, options) in &subscribe.filters {
        // [MQTT-4.7.3-1]
        ensure(!filter.is_empty(), SUBSCRIBE, "topic filter", "is empty")?;
        // [MQTT-3.8.3-4]
        let shared = version == Version::V5 && filter.as_bytes().starts_with(b"$share/");
        ensure(!(options.no_local && shared), SUBSCRIBE, "no local", "is set on a shared subscription")?;
    }
    // [u5-3.8.2.1.2]
    let fits = subscribe.subscription_id.is_none_or(|id| (1..=VARINT_MAX).contains(&id));
    ensure(fits, SUBSCRIBE, "subscription identifier", "is not between 1 and 268,435,455")
}

fn codes(packet: &'static str, ack: &SubAck, fits: fn(ReasonCode) -> bool) -> Checked {
    ensure(!ack.reasons.is_empty(), packet, "reason code", "is missing")?;
    let all = ack.reasons.iter().all(|reason| fits(*reason));
    ensure(all, packet, "reason code", "is not one of this packet's")
}

fn disconnect(disconnect: &Disconnect, version: Version) -> Checked {
    const DISCONNECT: &str = "DISCONNECT";
    let reason = disconnect.reason;
    if version == Version::V311 {
        // It would say that all is well and suppress the will.
        let normal = reason == ReasonCode::SUCCESS;
        return ensure(normal, DISCONNECT, "reason code", "cannot be told at MQTT 3.1.1");
    }
    // [MQTT-3.14.2-1]; one side may say the session expiry [MQTT-3.14.2-2], the other the server reference.
    let client = reason.fits_client_disconnect() && disconnect.server_reference.is_none();
    let server = reason.fits_server_disconnect() && disconnect.session_expiry.is_none();
    ensure(client || server, DISCONNECT, "reason code", "and properties do not suit either side")
}

fn auth(auth: &Auth, version: Version) -> Checked {
    const AUTH: &str = "AUTH";
    ensure(version == Version::V5, AUTH, "packet", "is not known at MQTT 3.1.1")?;
    // [MQTT-3.15.2-1]
    let known = matches!(
        auth.reason,
        ReasonCode::SUCCESS | ReasonCode::CONTINUE_AUTHENTICATION | ReasonCode::REAUTHENTICATE
    );
    ensure(known, AUTH, "reason code", "is not one of this packet's")?;
    binary(AUTH, "authentication data", auth.data.as_ref())?;
    // [u5-3.15.2.2.2]; a bare success has neither [u5-3.15.2.1]
    let bare = auth.reason == ReasonCode::SUCCESS && auth.data.is_none() && auth.properties.is_none();
    ensure(auth.method.is_some() || bare, AUTH, "authentication method", "is missing")
}
