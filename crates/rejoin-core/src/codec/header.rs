//! The fixed header: kind of packet, flags, length.

use super::decode::Sender;
use super::error::DecodeError;
use super::packet::{Qos, Version};
use super::primitives::{Varint, read_varint, varint_len};

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
    pub(super) kind: u8,
    pub(super) first: u8,
    /// Length of this header, in bytes.
    pub(super) len: usize,
    /// Length of what follows it, in bytes.
    pub(super) body: usize,
}

impl Header {
    /// Reads a header from the start of `bytes`: `None` when more are needed. What the first byte alone can
    /// tell is told at once.
    pub(super) fn parse(bytes: &[u8], version: Version, sender: Sender) -> Result<Option<Self>, DecodeError> {
        let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
        check_first(first, version, sender)?;
        let kind = first >> 4;
        let malformed =
            |problem| DecodeError::Malformed { packet: name(kind), field: "remaining length", problem };
        match read_varint(rest) {
            // Only 5.0 asks for the shortest form [MQTT-1.5.5-1].
            Varint::Whole { value, len } if version == Version::V311 || len == varint_len(value) => {
                Ok(Some(Self { kind, first, len: 1 + len, body: value as usize }))
            }
            Varint::Whole { .. } => Err(malformed("is not written in the fewest bytes")),
            Varint::Partial => Ok(None),
            Varint::TooLong => Err(malformed("is longer than four bytes")),
        }
    }

    /// Length of the whole packet, in bytes.
    pub(super) const fn total(&self) -> usize {
        self.len + self.body
    }

    pub(super) const fn name(&self) -> &'static str {
        name(self.kind)
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

/// Kind, flags and direction: all that the first byte tells.
const fn check_first(first: u8, version: Version, sender: Sender) -> Result<(), DecodeError> {
    let kind = first >> 4;
    let flags = first & 0x0F;
    let packet = name(kind);
    if kind == 0 {
        return Err(DecodeError::Malformed { packet, field: "packet type", problem: "is the reserved 0" });
    }
    if kind == PUBLISH {
        // [MQTT-3.3.1-4]
        if flags & 0x06 == 0x06 {
            return Err(DecodeError::Malformed { packet, field: "QoS", problem: "is 3" });
        }
        // [MQTT-3.3.1-2]
        if flags & 0x06 == 0 && flags & 0x08 != 0 {
            return Err(DecodeError::Malformed { packet, field: "DUP", problem: "is set at QoS 0" });
        }
        return Ok(());
    }
    // [MQTT-2.1.3-1], for single packets [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1] [MQTT-3.14.1-1]
    // [MQTT-3.15.1-1]; 3.1.1: [MQTT-2.2.2-2]
    let expected = match kind {
        PUBREL | SUBSCRIBE | UNSUBSCRIBE => 0x02,
        _ => 0,
    };
    if flags != expected {
        return Err(DecodeError::Malformed { packet, field: "reserved flags", problem: "are wrong" });
    }
    let client_may = !matches!(kind, CONNACK | SUBACK | UNSUBACK | PINGRESP);
    let server_may = !matches!(kind, CONNECT | SUBSCRIBE | UNSUBSCRIBE | PINGREQ);
    // A DISCONNECT of 3.1.1 comes from clients alone, and AUTH is of 5.0.
    let (client_may, server_may) = match (version, kind) {
        (Version::V311, DISCONNECT) => (true, false),
        (Version::V311, AUTH) => (false, false),
        _ => (client_may, server_may),
    };
    let problem = match sender {
        Sender::Client if !client_may => "may not come from a client here",
        Sender::Server if !server_may => "may not come from a server here",
        _ => return Ok(()),
    };
    Err(DecodeError::Protocol { packet, field: "packet type", problem })
}
