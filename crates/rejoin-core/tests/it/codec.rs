//! The codec against the two standards: golden bytes written by hand, what must be refused, and streams.

#![allow(clippy::unwrap_used, reason = "a test says by it what must hold")]

mod fuzz;
mod golden;
mod refused;
mod stream;
mod unsendable;

use bytes::{Bytes, BytesMut};
use rejoin_core::codec::packet::{Packet, PacketId, Publish, Qos, Version};
use rejoin_core::codec::{DecodeError, Decoded, Decoder, Limits, Sender, encode};
use rejoin_core::text::Text;
use rejoin_core::topic::PublishTopic;

/// Bytes in a notation that can be held against the standard: hexadecimal, and text in quotes.
fn wire(notation: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (i, part) in notation.split('\'').enumerate() {
        if i % 2 == 1 {
            bytes.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: Vec<u8> = part.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        assert!(digits.len().is_multiple_of(2), "odd number of digits in {part:?}");
        for pair in digits.chunks(2) {
            bytes.push(u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
        }
    }
    bytes
}

fn text(value: &str) -> Text {
    Text::try_from(value).unwrap()
}

fn id(value: u16) -> PacketId {
    PacketId::new(value).unwrap()
}

fn publish(qos: Qos, packet_id: Option<u16>, payload: &'static str) -> Publish {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: PublishTopic::from_static("a/b"),
        packet_id: packet_id.map(id),
        properties: None,
        payload: Bytes::from_static(payload.as_bytes()),
    }
}

/// Limits that no packet of these tests reaches by chance.
const WIDE: Limits = Limits { max_packet_size: u32::MAX, max_user_properties: 256 };

/// A decoder that is past the first packet of its connection.
fn decoder(version: Version, sender: Sender, limits: Limits) -> Decoder {
    let mut decoder = Decoder::new(version, sender, limits);
    if sender == Sender::Server {
        let connack = if version == Version::V5 { wire("20 03 00 00 00") } else { wire("20 02 00 00") };
        decoder.push(connack.into());
        assert!(matches!(decoder.next(), Ok(Some(Decoded::Packet(Packet::ConnAck(_))))));
    }
    decoder
}

/// The first result for these bytes.
fn decode(version: Version, sender: Sender, bytes: &[u8]) -> Result<Option<Decoded>, DecodeError> {
    let mut decoder = decoder(version, sender, WIDE);
    decoder.push(Bytes::copy_from_slice(bytes));
    decoder.next()
}

fn encoded(packet: &Packet, version: Version) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(packet, version, &mut out).unwrap();
    out.to_vec()
}
