//! What must not be in a flight is blanked on its way there: payloads, the login, authentication data. Lengths stay, so
//! that the engine, which never looks inside, does the same with it. It does compare the payloads of QoS 2 messages under
//! one identifier: see [`Alike`].

use super::alike::{self, Alike};
use crate::codec::packet::Version;

/// What stands for a byte that is not told. A letter, so that a text stays one.
pub(super) const BLANK: u8 = b'x';

const CONNECT: u8 = 1;
const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const AUTH: u8 = 15;
/// In the flags of PUBLISH.
const QOS_2: u8 = 0x04;

const SUBSCRIPTION_ID: u8 = 0x0B;
const AUTH_DATA: u8 = 0x16;
const USER: u8 = 0x26;

/// What the next bytes are.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// So many bytes.
    Bytes { left: u32, secret: bool },
    /// A length in two bytes and what it counts.
    Counted { high: Option<u8>, secret: bool },
    /// A whole block of properties, its length first.
    Properties { length: u32, shift: u32 },
    /// The rest of such a block.
    Block { left: u32, inside: Inside },
    /// The flags of CONNECT, which say what follows.
    ConnectFlags,
    /// The identifier of a QoS 2 message.
    PacketId { high: Option<u8> },
}

/// Where in a block of properties.
#[derive(Clone, Copy, Debug)]
enum Inside {
    /// An identifier comes.
    Id,
    /// So many bytes of a value; then as many more texts as `texts`.
    Value {
        left: u32,
        secret: bool,
        texts: u8,
    },
    /// A number whose last byte says so.
    Number,
    /// The first, then the second byte of a length.
    High {
        secret: bool,
        texts: u8,
    },
    Low {
        high: u8,
        secret: bool,
        texts: u8,
    },
}

impl Inside {
    /// What comes after this byte, and whether it is secret.
    const fn next(self, byte: u8) -> (Self, bool) {
        match self {
            Self::Id => (Self::value_of(byte), false),
            Self::Value { left, secret, texts } => (Self::value(left - 1, secret, texts), secret),
            Self::Number => (if byte & 0x80 != 0 { Self::Number } else { Self::Id }, false),
            Self::High { secret, texts } => (Self::Low { high: byte, secret, texts }, false),
            Self::Low { high, secret, texts } => {
                (Self::value(u16::from_be_bytes([high, byte]) as u32, secret, texts), false)
            }
        }
    }

    const fn value_of(property: u8) -> Self {
        match property {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => Self::value(1, false, 0),
            0x13 | 0x21 | 0x22 | 0x23 => Self::value(2, false, 0),
            0x02 | 0x11 | 0x18 | 0x27 => Self::value(4, false, 0),
            SUBSCRIPTION_ID => Self::Number,
            USER => Self::High { secret: false, texts: 1 },
            property => Self::High { secret: property == AUTH_DATA, texts: 0 },
        }
    }

    const fn value(left: u32, secret: bool, texts: u8) -> Self {
        match (left, texts) {
            (0, 0) => Self::Id,
            (0, more) => Self::High { secret, texts: more - 1 },
            _ => Self::Value { left, secret, texts },
        }
    }
}

/// Where a packet is.
#[derive(Clone, Copy, Debug, Default)]
enum At {
    #[default]
    Kind,
    Length {
        first: u8,
        length: u32,
        shift: u32,
    },
    Body {
        left: u32,
    },
}

/// Blanks one direction of one link, however its bytes are cut into chunks.
#[derive(Debug)]
pub(super) struct Blanker {
    version: Version,
    at: At,
    /// What comes next, the last one first.
    parts: Vec<Part>,
    level: bool,
    /// The identifier of the QoS 2 message that goes by.
    packet_id: Option<u16>,
    /// The checksum of what is secret in the packet, so far.
    sum: u64,
}

impl Blanker {
    pub(super) const fn new(version: Version) -> Self {
        Self { version, at: At::Kind, parts: Vec::new(), level: false, packet_id: None, sum: alike::EMPTY }
    }

    /// The version that CONNECT named, once it went by.
    pub(super) const fn version(&self) -> Version {
        self.version
    }

    pub(super) const fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// The chunk, with what must not be told blanked.
    pub(super) fn blank(&mut self, chunk: &[u8]) -> Vec<u8> {
        chunk.iter().map(|byte| if self.is_secret(*byte) { BLANK } else { *byte }).collect()
    }

    /// The same for what a server sends: the last byte of a QoS 2 payload says whether it came under its identifier before.
    pub(super) fn blank_inbound(&mut self, chunk: &[u8], alike: &mut Alike) -> Vec<u8> {
        let mut told = |byte: u8| {
            let secret = self.is_secret(byte);
            if secret {
                self.sum = alike::add(self.sum, byte);
            }
            let over = if matches!(self.at, At::Kind) { self.packet_id.take() } else { None };
            let letter = over.map_or(BLANK, |packet_id| alike.letter(packet_id, self.sum));
            if secret { letter } else { byte }
        };
        chunk.iter().map(|byte| told(*byte)).collect()
    }

    fn is_secret(&mut self, byte: u8) -> bool {
        match self.at {
            At::Kind => {
                self.at = At::Length { first: byte, length: 0, shift: 0 };
                false
            }
            At::Length { first, length, shift } => {
                let length = length | u32::from(byte & 0x7F) << shift;
                self.at = if byte & 0x80 != 0 && shift < 21 {
                    At::Length { first, length, shift: shift + 7 }
                } else if length == 0 {
                    At::Kind
                } else {
                    self.begin(first);
                    At::Body { left: length }
                };
                false
            }
            At::Body { left } => {
                let secret = self.step(byte);
                self.at = if left > 1 { At::Body { left: left - 1 } } else { At::Kind };
                secret
            }
        }
    }

    fn begin(&mut self, first: u8) {
        self.parts.clear();
        (self.packet_id, self.sum) = (None, alike::EMPTY);
        let is_v5 = self.version == Version::V5;
        let plain = |left| Part::Bytes { left, secret: false };
        let properties = Part::Properties { length: 0, shift: 0 };
        match first >> 4 {
            PUBLISH => {
                self.parts.push(Part::Bytes { left: u32::MAX, secret: true });
                if is_v5 {
                    self.parts.push(properties);
                }
                match first & 0x06 {
                    0 => {}
                    QOS_2 => self.parts.push(Part::PacketId { high: None }),
                    _ => self.parts.push(plain(2)),
                }
                self.parts.push(Part::Counted { high: None, secret: false });
            }
            CONNECT => {
                // The name of the protocol and its level.
                self.level = true;
                self.parts.extend([Part::ConnectFlags, plain(7)]);
            }
            CONNACK if is_v5 => self.parts.extend([properties, plain(2)]),
            AUTH => self.parts.extend([properties, plain(1)]),
            _ => {}
        }
    }

    fn connect_flags(&mut self, flags: u8) {
        let counted = |secret| Part::Counted { high: None, secret };
        let properties = Part::Properties { length: 0, shift: 0 };
        let is_v5 = self.version == Version::V5;
        if flags & 0x40 != 0 {
            self.parts.push(counted(true));
        }
        if flags & 0x80 != 0 {
            self.parts.push(counted(true));
        }
        if flags & 0x04 != 0 {
            self.parts.extend([counted(true), counted(false)]);
            if is_v5 {
                self.parts.push(properties);
            }
        }
        self.parts.push(counted(false));
        if is_v5 {
            self.parts.push(properties);
        }
        // Keep Alive.
        self.parts.push(Part::Bytes { left: 2, secret: false });
    }

    fn step(&mut self, byte: u8) -> bool {
        let Some(part) = self.parts.pop() else { return false };
        match part {
            Part::Bytes { left, secret } => {
                if left > 1 {
                    self.parts.push(Part::Bytes { left: left - 1, secret });
                } else if std::mem::take(&mut self.level) {
                    self.version = if byte >= 5 { Version::V5 } else { Version::V311 };
                }
                return secret;
            }
            Part::Counted { high: None, secret } => {
                self.parts.push(Part::Counted { high: Some(byte), secret });
            }
            Part::Counted { high: Some(high), secret } => {
                let left = u32::from(u16::from_be_bytes([high, byte]));
                if left > 0 {
                    self.parts.push(Part::Bytes { left, secret });
                }
            }
            Part::Properties { length, shift } => {
                let length = length | u32::from(byte & 0x7F) << shift;
                if byte & 0x80 != 0 && shift < 21 {
                    self.parts.push(Part::Properties { length, shift: shift + 7 });
                } else if length > 0 {
                    self.parts.push(Part::Block { left: length, inside: Inside::Id });
                }
            }
            Part::Block { left, inside } => {
                let (inside, secret) = inside.next(byte);
                if left > 1 {
                    self.parts.push(Part::Block { left: left - 1, inside });
                }
                return secret;
            }
            Part::ConnectFlags => self.connect_flags(byte),
            Part::PacketId { high: None } => self.parts.push(Part::PacketId { high: Some(byte) }),
            Part::PacketId { high: Some(high) } => self.packet_id = Some(u16::from_be_bytes([high, byte])),
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};

    use super::*;
    use crate::codec::encode;
    use crate::codec::packet::{
        Auth, Connect, ConnectProperties, Packet, PacketId, Publish, PublishProperties, Qos, Will,
    };
    use crate::codec::reason::ReasonCode;
    use crate::text::Text;
    use crate::topic::PublishTopic;

    const SECRET: &str = "s3cret";

    fn text(text: &'static str) -> Text {
        Text::from_static(text)
    }

    /// Packets with a secret wherever one can be, and a plain word beside it.
    fn packets(version: Version) -> Vec<Packet> {
        let secret = || Bytes::from_static(SECRET.as_bytes());
        let is_v5 = version == Version::V5;
        let properties = PublishProperties {
            payload_is_utf8: Some(true),
            message_expiry: Some(9),
            response_topic: Some(text("plain/answer")),
            user_properties: vec![(text("plain"), text("")), (text(""), text("plain"))],
            content_type: Some(text("")),
            ..PublishProperties::default()
        };
        let will = Will {
            topic: text("plain/will"),
            payload: secret(),
            qos: Qos::AtLeastOnce,
            retain: true,
            delay: is_v5.then_some(3),
            properties: if is_v5 { properties.clone() } else { PublishProperties::default() },
        };
        let connect = Connect {
            version,
            clean_start: true,
            keep_alive: 60,
            client_id: text("plain-id"),
            will: Some(will),
            user_name: Some(text(SECRET)),
            password: Some(secret()),
            properties: if is_v5 {
                ConnectProperties {
                    session_expiry: Some(1),
                    authentication_method: Some(text("plain-method")),
                    authentication_data: Some(secret()),
                    ..ConnectProperties::default()
                }
            } else {
                ConnectProperties::default()
            },
        };
        let publish = |qos, properties| {
            Packet::Publish(Publish {
                dup: false,
                qos,
                retain: false,
                topic: PublishTopic::from_static("plain/topic"),
                packet_id: (qos != Qos::AtMostOnce).then_some(PacketId::MIN),
                properties,
                payload: secret(),
            })
        };
        let mut all = vec![
            Packet::Connect(Box::new(connect)),
            Packet::PingReq,
            publish(Qos::AtMostOnce, None),
            publish(Qos::AtLeastOnce, is_v5.then(|| Box::new(properties))),
        ];
        if is_v5 {
            all.push(Packet::Auth(Auth {
                reason: ReasonCode(0x18),
                method: Some(text("plain-method")),
                data: Some(secret()),
                properties: None,
            }));
        }
        all.push(publish(Qos::ExactlyOnce, None));
        all
    }

    #[test]
    fn secrets_go_and_everything_else_stays_however_the_stream_is_cut() {
        for version in [Version::V5, Version::V311] {
            let mut stream = BytesMut::new();
            for packet in packets(version) {
                encode(&packet, version, &mut stream).unwrap();
            }
            let wanted = String::from_utf8_lossy(&stream).replace(SECRET, "xxxxxx");
            for size in [1, 2, 3, 7, stream.len()] {
                let mut blanker = Blanker::new(Version::V5);
                let blanked: Vec<u8> = stream.chunks(size).flat_map(|chunk| blanker.blank(chunk)).collect();
                assert_eq!(String::from_utf8_lossy(&blanked), wanted, "{version}, chunks of {size}");
                assert_eq!(blanker.version(), version);
            }
        }
    }

    #[test]
    fn only_the_last_letter_of_a_qos_2_payload_says_that_it_is_another_one() {
        let publish = |qos, payload: &'static str| {
            Packet::Publish(Publish {
                dup: false,
                qos,
                retain: false,
                topic: PublishTopic::from_static("plain"),
                packet_id: Some(PacketId::MIN),
                properties: None,
                payload: Bytes::from_static(payload.as_bytes()),
            })
        };
        let (two, one) = (Qos::ExactlyOnce, Qos::AtLeastOnce);
        let all = [(two, "21.5"), (one, "21.6"), (two, "21.5"), (two, "21.6"), (two, ""), (two, "21.5")];
        let mut stream = BytesMut::new();
        for (qos, payload) in all {
            encode(&publish(qos, payload), Version::V5, &mut stream).unwrap();
        }
        for size in [1, 3, stream.len()] {
            let (mut blanker, mut alike) = (Blanker::new(Version::V5), Alike::default());
            let blanked: Vec<u8> =
                stream.chunks(size).flat_map(|chunk| blanker.blank_inbound(chunk, &mut alike)).collect();
            let blanked = String::from_utf8_lossy(&blanked);
            let told: Vec<&str> =
                blanked.split("plain").skip(1).map(|one| &one[3..one.len().min(7)]).collect();
            assert_eq!(told, ["xxxx", "xxxx", "xxxx", "xxxy", told[4], "xxxx"], "chunks of {size}");
            assert!(!blanked.contains("21."));
        }
    }

    #[test]
    fn bytes_that_are_no_packets_do_no_harm() {
        let mut blanker = Blanker::new(Version::V5);
        for round in 0..2000_u32 {
            let chunk: Vec<u8> =
                (0..37).map(|at| (round.wrapping_mul(2_654_435_761) >> (at % 24)) as u8).collect();
            assert_eq!(blanker.blank(&chunk).len(), chunk.len());
        }
    }
}
