//! A server that does not keep to what we announced: more than our Receive Maximum, a packet above our Maximum Packet
//! Size, a topic alias above our Topic Alias Maximum. The broker of the simulation is honest, so the bytes are made here.

use bytes::{Bytes, BytesMut};
use fastrand::Rng;
use rejoin_core::codec::encode;
use rejoin_core::codec::packet::{Packet, PacketId, Publish, PublishProperties, Qos};
use rejoin_core::{LinkConfig, PublishTopic, ReasonCode, Version};

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
        let Some((bytes, large)) = draw(&client.config.link, client.tap.version(), rng) else { return };
        if large {
            self.clients[c].tap.sent_large();
        }
        self.broker.send_raw(id, &bytes);
    }
}

/// What overruns, and whether it is too large a packet; the client may say 0x95 to that alone.
fn draw(link: &LinkConfig, version: Version, rng: &mut Rng) -> Option<(Bytes, bool)> {
    let small = has_small_packets(link);
    Some(match rng.u8(..3) {
        _ if version == Version::V311 && !small => return None,
        _ if version == Version::V311 => (oversized(link, version, rng), true),
        0 if small => (oversized(link, version, rng), true),
        1 => (aliased(link, version, rng), false),
        _ => (unacknowledged(link, version), false),
    })
}

fn encoded(publish: Publish, version: Version, out: &mut BytesMut) {
    // Built from valid parts.
    let _ = encode(&Packet::Publish(publish), version, out);
}

fn publish(qos: Qos, packet_id: Option<PacketId>, payload: Bytes) -> Publish {
    let topic = PublishTopic::from_static(TOPIC);
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

#[cfg(test)]
mod tests {
    use super::*;
    use rejoin_core::codec::{Decoded, Decoder, Limits, Sender, encoded_len};

    #[test]
    fn no_other_overrun_lets_a_client_speak_of_too_large_a_packet() {
        let mut link = LinkConfig::default();
        link.maximum_packet_size = 4096;
        let any = Limits { max_packet_size: u32::MAX, max_user_properties: 8 };
        let mut seen = [0; 2];
        for seed in 0..64 {
            let (bytes, large) =
                draw(&link, Version::V5, &mut Rng::with_seed(seed)).expect("5.0 has them all");
            let mut decoder = Decoder::new(Version::V5, Sender::Server, any);
            decoder.push(bytes);
            let Ok(Some(Decoded::Packet(packet))) = decoder.next() else {
                panic!("seed {seed} is no packet")
            };
            assert_eq!(encoded_len(&packet, Version::V5) > 4096, large, "seed {seed}");
            seen[usize::from(large)] += 1;
        }
        assert!(seen[0] > 8 && seen[1] > 8, "{seen:?}");
    }
}
