//! The limits both sides accepted in CONNECT and CONNACK; where 3.1.1 is spoken, its fixed ones.

use std::time::Duration;

use crate::codec::packet::{ConnAck, ConnAckProperties, Qos, Version};
use crate::codec::reason::ReasonCode;
use crate::text::Text;

/// What holds on one link. Dies with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Agreement {
    pub(crate) version: Version,
    /// QoS 1 and 2 messages the server takes unacknowledged.
    pub(crate) receive_maximum: u16,
    pub(crate) maximum_qos: Qos,
    pub(crate) retain_available: bool,
    /// Bytes; `None` is the limit of the protocol.
    pub(crate) maximum_packet_size: Option<u32>,
    pub(crate) topic_alias_maximum: u16,
    pub(crate) wildcard_available: bool,
    pub(crate) shared_available: bool,
    pub(crate) subscription_ids_available: bool,
    /// Effective keep-alive; zero is off.
    pub(crate) keep_alive: Duration,
    pub(crate) assigned_client_id: Option<Text>,
}

impl Agreement {
    /// Before CONNACK.
    pub(crate) fn none(version: Version) -> Self {
        let connack = ConnAck {
            session_present: false,
            reason: ReasonCode::SUCCESS,
            v311_form: false,
            properties: ConnAckProperties::default(),
        };
        Self::new(version, 0, &connack)
    }

    pub(crate) fn new(version: Version, keep_alive: u16, connack: &ConnAck) -> Self {
        let p = &connack.properties;
        // The server's keep-alive replaces ours [MQTT-3.1.2-21] [MQTT-3.2.2-21].
        let keep_alive = p.server_keep_alive.unwrap_or(keep_alive);
        Self {
            version,
            // [u5-3.2.2.3.3]
            receive_maximum: p.receive_maximum.map_or(u16::MAX, |n| n.get()),
            // [MQTT-3.2.2-9] [u5-3.2.2.3.4]
            maximum_qos: p.maximum_qos.unwrap_or(Qos::ExactlyOnce),
            // [u5-3.2.2.3.5]
            retain_available: p.retain_available.unwrap_or(true),
            maximum_packet_size: p.maximum_packet_size,
            topic_alias_maximum: p.topic_alias_maximum.unwrap_or(0),
            wildcard_available: p.wildcard_available.unwrap_or(true),
            shared_available: p.shared_available.unwrap_or(true),
            subscription_ids_available: version == Version::V5
                && p.subscription_ids_available.unwrap_or(true),
            keep_alive: Duration::from_secs(u64::from(keep_alive)),
            assigned_client_id: p.assigned_client_id.clone(),
        }
    }
}
