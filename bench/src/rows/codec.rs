//! PUBLISH to bytes and back, 256 B at QoS 1 and 5.0: our codec, the peers', and two ways written by hand.

use super::Effort;
use crate::cast::{Cast, OURS};
use crate::client::TOPIC;
use crate::figures::Figures;
use crate::wire;
use bytes::{BufMut, Bytes, BytesMut};
use rejoin_core::codec::packet::{Packet, Publish, Version};
use rejoin_core::codec::{Decoder, Limits, Sender, encode};
use std::hint::black_box;
use std::time::Instant;

/// Packets of one measurement: the clock must not be what is measured.
const PACKETS: usize = 100;
const TIMES: usize = 2_000;
const SIZE: usize = 256;
const BOUND: &str = "by hand";
/// With what the standard asks of this packet's two ends.
const CHECKED: &str = "by hand, checked";

pub(super) fn measure(_: &Cast, effort: Effort, figures: &mut Figures) -> Result<(), String> {
    let stream = stream();
    // In turns, so that a disturbance meets all of them.
    for _ in 0..effort.rounds.max(3) {
        figures.add("encode", BOUND, "ns", encoding(|out| by_hand(out)));
        figures.add("decode", BOUND, "ns", decoding(&stream, |input| walk(&input.freeze())));
        let message = black_box(Message::new());
        figures.add("encode", CHECKED, "ns", encoding(|out| assert!(black_box(message.write(out)).is_ok())));
        figures.add("decode", CHECKED, "ns", decoding(&stream, |input| walk_checking(&input.freeze())));
        let packet = ours()?;
        figures.add(
            "encode",
            OURS,
            "ns",
            encoding(|out| {
                let _ = black_box(encode(&packet, Version::V5, out));
            }),
        );
        let limits = Limits::default();
        figures.add(
            "decode",
            OURS,
            "ns",
            decoding(&stream, |input| {
                let mut decoder = Decoder::new(Version::V5, Sender::Client, limits);
                decoder.push(input.freeze());
                let mut count = 0;
                while let Ok(Some(packet)) = decoder.next() {
                    black_box(packet);
                    count += 1;
                }
                count
            }),
        );
        #[cfg(feature = "peers")]
        peers::measure(&stream, figures);
    }
    Ok(())
}

/// Median nanoseconds for one packet.
fn encoding(mut one: impl FnMut(&mut BytesMut)) -> f64 {
    let mut out = BytesMut::with_capacity(PACKETS * (SIZE + 64));
    median((0..TIMES).map(|_| {
        out.clear();
        let begun = Instant::now();
        for _ in 0..PACKETS {
            one(&mut out);
        }
        let took = begun.elapsed();
        black_box(&out);
        took.as_nanos() as f64 / PACKETS as f64
    }))
}

/// Median nanoseconds for one packet; the input is copied outside of the clock.
fn decoding(stream: &[u8], mut all: impl FnMut(BytesMut) -> usize) -> f64 {
    median((0..TIMES).map(|_| {
        let input = BytesMut::from(stream);
        let begun = Instant::now();
        let count = all(input);
        let took = begun.elapsed();
        assert_eq!(count, PACKETS, "every packet is read");
        took.as_nanos() as f64 / PACKETS as f64
    }))
}

fn median(all: impl Iterator<Item = f64>) -> f64 {
    crate::figures::Spread::of(all.collect()).median
}

fn stream() -> Vec<u8> {
    let mut stream = Vec::new();
    for id in 1..=PACKETS as u16 {
        wire::publish(&mut stream, 5, TOPIC, 1, id, SIZE);
    }
    stream
}

fn ours() -> Result<Packet, String> {
    let found = {
        let mut decoder = Decoder::new(Version::V5, Sender::Client, Limits::default());
        decoder.push(Bytes::from(stream()));
        decoder.next().map_err(|error| error.to_string())?
    };
    match found {
        Some(rejoin_core::codec::Decoded::Packet(Packet::Publish(publish))) => {
            Ok(Packet::Publish(Publish { ..publish }))
        }
        _ => Err("a PUBLISH was not read as one".to_owned()),
    }
}

/// What has to be written, and nothing else is asked.
fn by_hand(out: &mut BytesMut) {
    const PAYLOAD: [u8; SIZE] = [b'x'; SIZE];
    let body = 2 + TOPIC.len() + 2 + 1 + SIZE;
    out.reserve(body + 5);
    out.put_u8(0x32);
    out.put_u8((body & 0x7F) as u8 | 0x80);
    out.put_u8((body >> 7) as u8);
    out.put_u16(TOPIC.len() as u16);
    out.put_slice(black_box(TOPIC).as_bytes());
    out.put_u16(black_box(7));
    out.put_u8(0);
    out.put_slice(black_box(&PAYLOAD));
}

/// A message of which nothing is known beforehand.
struct Message {
    dup: bool,
    qos: u8,
    topic: Bytes,
    id: u16,
    payload: Bytes,
}

impl Message {
    fn new() -> Self {
        let (topic, payload) = (Bytes::from_static(TOPIC.as_bytes()), Bytes::from(vec![b'x'; SIZE]));
        Self { dup: false, qos: 1, topic, id: 7, payload }
    }

    /// The same bytes, once it is sure that they may be sent.
    fn write(&self, out: &mut BytesMut) -> Result<(), &'static str> {
        if self.qos > 2 || (self.qos == 0) != (self.id == 0) || self.dup && self.qos == 0 {
            return Err("flags and identifier do not fit");
        }
        if is_no_topic(&self.topic) {
            return Err("the topic is no topic name");
        }
        let body = 2 + self.topic.len() + 2 * usize::from(self.qos > 0) + 1 + self.payload.len();
        if body > 268_435_455 {
            return Err("too large");
        }
        out.reserve(body + 5);
        out.put_u8(0x30 | u8::from(self.dup) << 3 | self.qos << 1);
        let mut rest = body;
        while rest >= 0x80 {
            out.put_u8((rest & 0x7F) as u8 | 0x80);
            rest >>= 7;
        }
        out.put_u8(rest as u8);
        out.put_u16(self.topic.len() as u16);
        out.put_slice(&self.topic);
        if self.qos > 0 {
            out.put_u16(self.id);
        }
        out.put_u8(0);
        out.put_slice(&self.payload);
        Ok(())
    }
}

fn is_no_topic(topic: &[u8]) -> bool {
    topic.is_empty() || topic.len() > 65_535 || topic.iter().any(|byte| matches!(byte, b'+' | b'#' | 0))
}

/// The same as [`walk`], and what a receiver has to refuse is refused: flags, a length that is not the shortest or runs past
/// the end, a topic that is none, an identifier of zero.
fn walk_checking(input: &Bytes) -> usize {
    let (mut at, mut count) = (0, 0);
    while let Some(next) = publish_at(input, at) {
        at = next;
        count += 1;
    }
    count
}

/// Reads one PUBLISH without properties and says where it ends.
fn publish_at(input: &Bytes, at: usize) -> Option<usize> {
    let first = *input.get(at)?;
    let qos = first >> 1 & 3;
    if first >> 4 != 3 || qos == 3 || qos == 0 && first & 8 != 0 {
        return None;
    }
    let (mut body, mut start) = (0, at + 1);
    loop {
        let byte = *input.get(start)?;
        body |= usize::from(byte & 0x7F) << (7 * (start - at - 1));
        start += 1;
        match byte {
            0 if start > at + 2 => return None,
            0..=0x7F => break,
            _ if start == at + 5 => return None,
            _ => {}
        }
    }
    let fields = input.get(start..start + body)?;
    let (length, fields) = fields.split_first_chunk()?;
    let (topic, mut fields) = fields.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    if std::str::from_utf8(topic).is_err() || is_no_topic(topic) {
        return None;
    }
    let mut id = 0;
    if qos > 0 {
        let (two, rest) = fields.split_first_chunk()?;
        (id, fields) = (u16::from_be_bytes(*two), rest);
        if id == 0 {
            return None;
        }
    }
    let (0, payload) = fields.split_first()? else { return None };
    let end = start + body;
    let topic = input.slice(start + 2..start + 2 + topic.len());
    black_box((first, topic, id, input.slice(end - payload.len()..end)));
    Some(end)
}

/// What has to be read: lengths, topic as text, identifier, payload, the last two slices sharing the input.
fn walk(input: &Bytes) -> usize {
    let mut at = 0;
    let mut count = 0;
    while let Some([low, high]) = input.get(at + 1..at + 3) {
        let body = usize::from(low & 0x7F) | usize::from(*high) << 7;
        let start = at + 3;
        let length = usize::from(u16::from_be_bytes([input[start], input[start + 1]]));
        let topic = input.slice(start + 2..start + 2 + length);
        if std::str::from_utf8(&topic).is_err() {
            break;
        }
        let after = start + 2 + length;
        let id = u16::from_be_bytes([input[after], input[after + 1]]);
        let payload = input.slice(after + 3..start + body);
        black_box((topic, id, payload));
        at = start + body;
        count += 1;
    }
    count
}

#[cfg(feature = "peers")]
mod peers {
    use super::{PACKETS, SIZE, TOPIC, decoding, encoding};
    use crate::figures::Figures;
    use bytes::{Bytes, BytesMut};
    use mqtt5_protocol::packet::{FixedHeader, MqttPacket as _, Packet, publish::PublishPacket};
    use std::hint::black_box;

    pub(super) fn measure(stream: &[u8], figures: &mut Figures) {
        rumqttc(stream, figures);
        next(stream, figures);
        mqtt5(stream, figures);
        flowsdk(stream, figures);
        figures.add(
            "decode",
            "mqrstt",
            "ns",
            decoding(stream, |mut input| {
                let mut count = 0;
                while let Ok(packet) = mqrstt::packets::Packet::read(&mut input) {
                    black_box(packet);
                    count += 1;
                }
                count
            }),
        );
        figures.note("encode", "mqrstt", "ns", "not public");
    }

    fn rumqttc(stream: &[u8], figures: &mut Figures) {
        use rumqttc::v5::mqttbytes::v5::Packet;
        let mut input = BytesMut::from(stream);
        let Ok(packet) = Packet::read(&mut input, None) else { return };
        figures.add("encode", "rumqttc", "ns", encoding(|out| drop(packet.write(out, None))));
        figures.add(
            "decode",
            "rumqttc",
            "ns",
            decoding(stream, |mut input| {
                let mut count = 0;
                while let Ok(packet) = Packet::read(&mut input, None) {
                    black_box(packet);
                    count += 1;
                }
                count
            }),
        );
    }

    fn next(stream: &[u8], figures: &mut Figures) {
        use rumqttc_next::Packet;
        let mut input = BytesMut::from(stream);
        let Ok(packet) = Packet::read(&mut input, None) else { return };
        figures.add("encode", "rumqttc-next", "ns", encoding(|out| drop(packet.write(out, None))));
        figures.add(
            "decode",
            "rumqttc-next",
            "ns",
            decoding(stream, |mut input| {
                let mut count = 0;
                while let Ok(packet) = Packet::read(&mut input, None) {
                    black_box(packet);
                    count += 1;
                }
                count
            }),
        );
    }

    fn mqtt5(stream: &[u8], figures: &mut Figures) {
        let packet =
            PublishPacket::new(TOPIC, vec![b'x'; SIZE], mqtt5_protocol::QoS::AtLeastOnce).with_packet_id(7);
        figures.add("encode", "mqtt5", "ns", encoding(|out| drop(packet.encode(out))));
        figures.add(
            "decode",
            "mqtt5",
            "ns",
            decoding(stream, |input| {
                let mut input: Bytes = input.freeze();
                let mut count = 0;
                while let Ok(header) = FixedHeader::decode(&mut input) {
                    let mut body = input.split_to(header.remaining_length as usize);
                    let Ok(packet) = Packet::decode_from_body(header.packet_type, &header, &mut body) else {
                        break;
                    };
                    black_box(packet);
                    count += 1;
                }
                count
            }),
        );
    }

    fn flowsdk(stream: &[u8], figures: &mut Figures) {
        use flowsdk::mqtt_serde::control_packet::MqttPacket;
        use flowsdk::mqtt_serde::mqttv5::publishv5::MqttPublish;
        use flowsdk::mqtt_serde::parser::ParseOk;
        let packet = MqttPacket::Publish5(MqttPublish::new(
            1,
            TOPIC.to_owned(),
            Some(7),
            vec![b'x'; SIZE],
            false,
            false,
        ));
        figures.add(
            "encode",
            "flowsdk",
            "ns",
            encoding(|out| {
                if let Ok(bytes) = packet.to_bytes() {
                    out.extend_from_slice(&bytes);
                }
            }),
        );
        figures.add(
            "decode",
            "flowsdk",
            "ns",
            decoding(stream, |input| {
                let (mut at, mut count) = (0, 0);
                while at < input.len() && count < PACKETS {
                    let Ok(ParseOk::Packet(packet, used)) = MqttPacket::from_bytes_v5(&input[at..]) else {
                        break;
                    };
                    black_box(packet);
                    at += used;
                    count += 1;
                }
                count
            }),
        );
    }
}
