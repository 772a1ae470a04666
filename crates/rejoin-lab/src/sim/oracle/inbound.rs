//! Which inbound QoS 2 identifiers a client can be right to hold, by what went over its wire (O19).

use std::collections::BTreeMap;

use rejoin_core::codec::packet::{Packet, PacketId, Qos};

/// At least those that are held. It forgets one only by what the client itself sent, since of a chunk in which a link ends
/// the client may not have read the rest.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    held: BTreeMap<PacketId, Stage>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Published,
    /// PUBREC left.
    Recorded,
    /// PUBREL came on this link.
    Released,
}

impl Inbound {
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether PUBREC left for what is held under this identifier. If not, a PUBREL is about another message.
    pub(super) fn was_recorded(&self, id: PacketId) -> bool {
        self.held.get(&id) != Some(&Stage::Published)
    }

    /// A transport opened: what came in on the last one and was not answered may not have been read.
    pub(super) fn opened(&mut self) {
        self.held.values_mut().filter(|stage| **stage == Stage::Released).for_each(|stage| {
            *stage = Stage::Recorded;
        });
    }

    /// The process is another one: it holds what its disk says.
    pub(super) fn crashed(&mut self, on_disk: impl Iterator<Item = PacketId>) {
        for id in on_disk {
            self.held.entry(id).or_insert(Stage::Recorded);
        }
    }

    /// A packet of the server reached the client.
    pub(super) fn receives(&mut self, packet: &Packet) {
        match packet {
            // The session is gone, and its identifiers with it.
            Packet::ConnAck(connack) if !connack.reason.is_error() && !connack.session_present => {
                self.held.clear();
            }
            Packet::Publish(publish) if publish.qos == Qos::ExactlyOnce => {
                if let Some(id) = publish.packet_id {
                    let stage = self.held.entry(id).or_insert(Stage::Published);
                    if !publish.dup {
                        *stage = Stage::Published;
                    }
                }
            }
            Packet::PubRel(ack) => {
                // One that overtakes PUBREC frees nothing.
                if let Some(stage) =
                    self.held.get_mut(&ack.packet_id).filter(|stage| **stage == Stage::Recorded)
                {
                    *stage = Stage::Released;
                }
            }
            _ => {}
        }
    }

    /// A packet of the client leaves.
    pub(super) fn answers(&mut self, packet: &Packet) {
        match packet {
            // The server uses it for a message of QoS 1, so it knows of no other.
            Packet::PubAck(ack) => {
                self.held.remove(&ack.packet_id);
            }
            Packet::PubRec(ack) if ack.reason.is_error() => {
                self.held.remove(&ack.packet_id);
            }
            Packet::PubRec(ack) => {
                if let Some(stage) = self.held.get_mut(&ack.packet_id) {
                    *stage = Stage::Recorded;
                }
            }
            Packet::PubComp(ack) if self.held.get(&ack.packet_id) == Some(&Stage::Released) => {
                self.held.remove(&ack.packet_id);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rejoin_core::PublishTopic;
    use rejoin_core::ReasonCode;
    use rejoin_core::codec::packet::{Ack, Publish};

    fn publish(qos: Qos) -> Packet {
        Packet::Publish(Publish {
            dup: false,
            qos,
            retain: false,
            topic: PublishTopic::from_static("e/0"),
            packet_id: Some(PacketId::MIN),
            properties: None,
            payload: bytes::Bytes::new(),
        })
    }

    fn ack() -> Ack {
        Ack::new(PacketId::MIN, ReasonCode::SUCCESS)
    }

    #[test]
    fn an_identifier_may_be_held_until_its_release_was_answered() {
        let mut inbound = Inbound::default();
        inbound.receives(&publish(Qos::ExactlyOnce));
        inbound.receives(&Packet::PubRel(ack()));
        inbound.answers(&Packet::PubRec(ack()));
        inbound.answers(&Packet::PubComp(ack()));
        assert_eq!(inbound.len(), 1, "that release came before PUBREC");
        inbound.receives(&Packet::PubRel(ack()));
        inbound.opened();
        inbound.answers(&Packet::PubComp(ack()));
        assert_eq!(inbound.len(), 1, "that release may not have been read");
        inbound.receives(&Packet::PubRel(ack()));
        inbound.answers(&Packet::PubComp(ack()));
        assert_eq!(inbound.len(), 0);
        inbound.crashed([PacketId::MIN].into_iter());
        assert_eq!(inbound.len(), 1, "the disk did not know it yet");
    }

    #[test]
    fn an_identifier_that_is_used_for_qos_1_must_not_be_held_any_longer() {
        let mut inbound = Inbound::default();
        inbound.receives(&publish(Qos::ExactlyOnce));
        inbound.opened();
        inbound.receives(&publish(Qos::AtLeastOnce));
        assert_eq!(inbound.len(), 1);
        inbound.answers(&Packet::PubAck(ack()));
        assert_eq!(inbound.len(), 0);
    }
}
