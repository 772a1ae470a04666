//! The fixed header: kind of packet, flags, length.

use super::decode::Sender;
use super::error::DecodeError;
use super::packet::{Qos, Version};
use super::primitives::{Varint, read_varint};

/// The most bytes that a fixed header takes.
pub(super) const MOST: usize = 5;

pub(super) const CONNECT: u8 = 1;
pub(super) const CONNACK: u8 = 2;
pub(super) const PUBLISH: u8 = 3;
pub(super) const PUBACK: u8 = 4;
pub(super) const PUBREC: u8 = 5;
pub(super) const PUBREL: u8 = 6;
pub(super) const PUBCOMP: u8 = 7;
pub(super) const SUBSCRIBE: u8 = 8;
pub(super) const SUBACK: u8 = 9;
pub(super) const UNSUBSCRIBE: u8 = 10;
pub(super) const UNSUBACK: u8 = 11;
pub(super) const PINGREQ: u8 = 12;
pub(super) const PINGRESP: u8 = 13;
pub(super) const DISCONNECT: u8 = 14;
pub(super) const AUTH: u8 = 15;

/// A checked fixed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    first: u8,
    len: usize,
    body: usize,
}

/// What is wrong with a header. Small, because every packet passes through here; the words come when needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    ReservedKind,
    QosIs3,
    DupAtQos0,
    Flags,
    FromClient,
    FromServer,
    LongForm,
    TooLong,
    WrongLength,
}

impl Fault {
    /// The fault in words.
    #[cold]
    pub(super) const fn explain(self, first: u8) -> DecodeError {
        let packet = name(first >> 4);
        let (field, problem) = match self {
            Self::ReservedKind => ("packet type", "is the reserved 0"),
            Self::QosIs3 => ("QoS", "is 3"),
            Self::DupAtQos0 => ("DUP", "is set at QoS 0"),
            Self::Flags => ("reserved flags", "are wrong"),
            Self::FromClient => ("packet type", "may not come from a client here"),
            Self::FromServer => ("packet type", "may not come from a server here"),
            Self::LongForm => ("remaining length", "is not written in the fewest bytes"),
            Self::TooLong => ("remaining length", "is longer than four bytes"),
            Self::WrongLength => ("remaining length", "is not what this packet has"),
        };
        match self {
            Self::FromClient | Self::FromServer => DecodeError::Protocol { packet, field, problem },
            _ => DecodeError::Malformed { packet, field, problem },
        }
    }
}

impl Header {
    /// Reads a header from the start of `bytes`: `None` when more are needed. What the first byte alone can
    /// tell is told at once, and so are lengths that no packet of this kind has.
    #[inline(always)]
    pub(super) const fn parse(bytes: &[u8], version: Version, sender: Sender) -> Result<Option<Self>, Fault> {
        let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
        if let Some(fault) = FAULTS[version as usize][sender as usize][first as usize] {
            return Err(fault);
        }
        let is_v5 = matches!(version, Version::V5);
        match read_varint(rest) {
            // Only 5.0 asks for the shortest form [MQTT-1.5.5-1].
            Varint::Whole { shortest: false, .. } if is_v5 => Err(Fault::LongForm),
            Varint::Whole { value, len, .. } => {
                let header = Self { first, len: 1 + len, body: value as usize };
                if header.has_a_possible_length(is_v5) { Ok(Some(header)) } else { Err(Fault::WrongLength) }
            }
            Varint::Partial => Ok(None),
            // [u5-1.5.5]
            Varint::TooLong => Err(Fault::TooLong),
        }
    }

    const fn has_a_possible_length(&self, is_v5: bool) -> bool {
        match self.kind() {
            PUBLISH => true,
            PINGREQ | PINGRESP => self.body == 0,
            // [MQTT311-3.14.1-1]
            DISCONNECT => is_v5 || self.body == 0,
            PUBACK | PUBREC | PUBREL | PUBCOMP | UNSUBACK | CONNACK => is_v5 || self.body == 2,
            _ => true,
        }
    }

    pub(super) const fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// Length of this header, in bytes.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Length of what follows it, in bytes.
    pub(super) const fn body(&self) -> usize {
        self.body
    }

    /// Length of the whole packet, in bytes.
    pub(super) const fn total(&self) -> usize {
        self.len + self.body
    }

    /// The same as it is told: a body has at most 268,435,455 bytes, so it always fits.
    pub(super) const fn size(&self) -> u32 {
        self.total() as u32
    }

    pub(super) const fn name(&self) -> &'static str {
        name(self.kind())
    }

    pub(super) const fn dup(&self) -> bool {
        self.first & 0x08 != 0
    }

    pub(super) const fn retain(&self) -> bool {
        self.first & 0x01 != 0
    }

    /// QoS of a PUBLISH; 3 was refused with the first byte.
    pub(super) const fn qos(&self) -> Qos {
        match self.first & 0x06 {
            0x00 => Qos::AtMostOnce,
            0x02 => Qos::AtLeastOnce,
            _ => Qos::ExactlyOnce,
        }
    }
}

/// The name of a kind of packet as the standard writes it.
pub(super) const fn name(kind: u8) -> &'static str {
    match kind {
        CONNECT => "CONNECT",
        CONNACK => "CONNACK",
        PUBLISH => "PUBLISH",
        PUBACK => "PUBACK",
        PUBREC => "PUBREC",
        PUBREL => "PUBREL",
        PUBCOMP => "PUBCOMP",
        SUBSCRIBE => "SUBSCRIBE",
        SUBACK => "SUBACK",
        UNSUBSCRIBE => "UNSUBSCRIBE",
        UNSUBACK => "UNSUBACK",
        PINGREQ => "PINGREQ",
        PINGRESP => "PINGRESP",
        DISCONNECT => "DISCONNECT",
        AUTH => "AUTH",
        _ => "packet",
    }
}

/// What is wrong with each first byte, if anything.
type Faults = [Option<Fault>; 256];

/// By version and sender, in the order in which these are declared. Every packet has a first byte, so it is looked up.
static FAULTS: [[Faults; 2]; 2] = [
    [faults(Version::V311, Sender::Client), faults(Version::V311, Sender::Server)],
    [faults(Version::V5, Sender::Client), faults(Version::V5, Sender::Server)],
];

const fn faults(version: Version, sender: Sender) -> Faults {
    let mut faults = [None; 256];
    let mut first = 0;
    while first < faults.len() {
        faults[first] = check_first(first as u8, version, sender);
        first += 1;
    }
    faults
}

/// Kind, flags and direction: all that the first byte tells.
const fn check_first(first: u8, version: Version, sender: Sender) -> Option<Fault> {
    let kind = first >> 4;
    let flags = first & 0x0F;
    if kind == 0 {
        return Some(Fault::ReservedKind);
    }
    if kind == PUBLISH {
        // [MQTT-3.3.1-4]
        if flags & 0x06 == 0x06 {
            return Some(Fault::QosIs3);
        }
        // [MQTT-3.3.1-2]
        return if flags & 0x0E == 0x08 { Some(Fault::DupAtQos0) } else { None };
    }
    // [MQTT-2.1.3-1], for single packets [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1] [MQTT-3.14.1-1]
    // [MQTT-3.15.1-1]; [MQTT311-2.2.2-2]
    let expected = match kind {
        PUBREL | SUBSCRIBE | UNSUBSCRIBE => 0x02,
        _ => 0,
    };
    if flags != expected {
        return Some(Fault::Flags);
    }
    // A DISCONNECT of 3.1.1 comes from clients alone, and AUTH is of 5.0.
    let is_v311 = matches!(version, Version::V311);
    match sender {
        Sender::Client => match kind {
            CONNACK | SUBACK | UNSUBACK | PINGRESP => Some(Fault::FromClient),
            AUTH if is_v311 => Some(Fault::FromClient),
            _ => None,
        },
        Sender::Server => match kind {
            CONNECT | SUBSCRIBE | UNSUBSCRIBE | PINGREQ => Some(Fault::FromServer),
            DISCONNECT | AUTH if is_v311 => Some(Fault::FromServer),
            _ => None,
        },
    }
}
