//! A server that does not keep to what we announced: more than our Receive Maximum, a packet above our Maximum Packet
//! Size, a topic alias above our Topic Alias Maximum. The broker of the simulation is honest, so the bytes are made here.

use bytes::{Bytes, BytesMut};
use fastrand::Rng;
use rejoin_core::codec::encode;
use rejoin_core::codec::packet::{Packet, PacketId, Publish, PublishProperties, Qos};
use rejoin_core::{LinkConfig, ReasonCode, Text, Version};

use super::world::World;

/// What its messages say; no application takes one, so none is acknowledged that the broker knows nothing of.
pub(super) const NAME: &[u8] = b"overrun";
const TOPIC: &str = "e/overrun";
/// Limits above are not overrun: it would only cost time.
const LARGEST: u32 = 16 * 1024;

/// Whether a server can send too large a packet in this world.
pub(super) const fn has_small_packets(config: &LinkConfig) -> bool {
    config.maximum_packet_size <= LARGEST
}

impl World {
    pub(super) fn overrun(&mut self, c: usize, rng: &mut Rng) {
        let client = &self.clients[c];
        let Some(id) = client.wire.as_ref().map(|wire| wire.id).filter(|_| client.watch.is_up()) else {
            return;
        };
        let (link, version) = (&client.config.link, client.tap.version());
        let small = has_small_packets(link);
        let bytes = match rng.u8(..3) {
            _ if version == Version::V311 && !small => return,
            _ if version == Version::V311 => oversized(link, version, rng),
            0 if small => oversized(link, version, rng),
            1 => aliased(link, version, rng),
            _ => unacknowledged(link, version),
        };
        if small {
            self.clients[c].tap.sent_large();
        }
        self.broker.send_raw(id, &bytes);
    }
}

fn encoded(publish: Publish, version: Version, out: &mut BytesMut) {
    // Built from valid parts.
    let _ = encode(&Packet::Publish(publish), version, out);
}

fn publish(qos: Qos, packet_id: Option<PacketId>, payload: Bytes) -> Publish {
    let topic = Text::from_static(TOPIC);
    Publish { dup: false, qos, retain: false, topic, packet_id, properties: None, payload }
}

fn oversized(link: &LinkConfig, version: Version, rng: &mut Rng) -> Bytes {
    let mut payload = NAME.to_vec();
    payload.resize(link.maximum_packet_size as usize + rng.usize(..1000), b'.');
    let mut out = BytesMut::new();
    encoded(publish(Qos::AtMostOnce, None, payload.into()), version, &mut out);
    out.freeze()
}

fn aliased(link: &LinkConfig, version: Version, rng: &mut Rng) -> Bytes {
    let mut one = publish(Qos::AtMostOnce, None, Bytes::from_static(NAME));
    let alias = if rng.bool() { u16::MAX } else { link.topic_alias_maximum + 1 };
    let topic_alias = PacketId::new(alias);
    one.properties = Some(Box::new(PublishProperties { topic_alias, ..PublishProperties::default() }));
    let mut out = BytesMut::new();
    encoded(one, version, &mut out);
    out.freeze()
}

/// More messages than may be unacknowledged, whatever was acknowledged before.
fn unacknowledged(link: &LinkConfig, version: Version) -> Bytes {
    let mut out = BytesMut::new();
    for n in 0..link.receive_maximum * 2 + 2 {
        // Far above those the broker uses.
        let id = PacketId::new(u16::MAX - n);
        encoded(publish(Qos::AtLeastOnce, id, Bytes::from_static(NAME)), version, &mut out);
    }
    out.freeze()
}

/// The codes that say so.
pub(super) const fn is_code_of_overrun(reason: ReasonCode) -> bool {
    matches!(
        reason,
        ReasonCode::RECEIVE_MAXIMUM_EXCEEDED | ReasonCode::PACKET_TOO_LARGE | ReasonCode::TOPIC_ALIAS_INVALID
    )
}
