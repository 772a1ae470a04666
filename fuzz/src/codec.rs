//! Bytes to packets: no panic, bounded memory, the same in any slicing, and back again.

use bytes::{Bytes, BytesMut};
use rejoin_core::Version;
use rejoin_core::codec::packet::Packet;
use rejoin_core::codec::{DecodeError, Decoded, Decoder, Limits, Sender, encode, encoded_len};

use super::input::Choices;

/// More packets than any input of a fuzzer holds.
const PACKETS_MAX: usize = 1 << 20;

/// Bytes as MQTT 5.0.
pub fn decode_v5(data: &[u8]) {
    decode(Version::V5, data);
}

/// Bytes as MQTT 3.1.1.
pub fn decode_v311(data: &[u8]) {
    decode(Version::V311, data);
}

fn decode(version: Version, data: &[u8]) {
    let mut choices = Choices::new(data);
    let (mut decoder, _) = decoder(version, &mut choices);
    let bytes = choices.all();
    decoder.push(Bytes::copy_from_slice(bytes));
    let found = everything(&mut decoder);
    assert!(decoder.buffered() <= bytes.len(), "more is held than came");
    if let Some(Err(error)) = found.last() {
        let _ = (error.to_string(), error.reason());
        assert_eq!(decoder.next().as_ref(), Err(error), "a failed stream stays failed");
    }
}

/// What is read can be written, and reads the same again.
pub fn round_trip(data: &[u8]) {
    let mut choices = Choices::new(data);
    let version = if choices.flag() { Version::V5 } else { Version::V311 };
    let (mut decoder, sender) = decoder(version, &mut choices);
    decoder.push(Bytes::copy_from_slice(choices.all()));
    while let Ok(Some(decoded)) = decoder.next() {
        let Decoded::Packet(packet) = decoded else { continue };
        // CONNECT may name another version than the stream had.
        again(&packet, decoder.version(), sender);
    }
}

fn again(packet: &Packet, version: Version, sender: Sender) {
    let mut out = BytesMut::new();
    if encode(packet, version, &mut out).is_err() {
        assert!(out.is_empty(), "a refused packet leaves no bytes");
        assert!(is_read_only(packet), "read, and refused to be written: {packet:?}");
        return;
    }
    assert_eq!(out.len(), encoded_len(packet, version), "{packet:?}");
    let mut decoder = Decoder::new(version, sender, Limits::default());
    if sender == Sender::Server && !matches!(packet, Packet::ConnAck(_)) {
        greet(&mut decoder, version);
    }
    decoder.push(out.freeze());
    assert_eq!(decoder.next(), Ok(Some(Decoded::Packet(packet.clone()))));
    assert_eq!(decoder.buffered(), 0);
}

/// What others may send and we never write: codes newer than the standard, and what a server must answer with a
/// refusal.
fn is_read_only(packet: &Packet) -> bool {
    match packet {
        Packet::Connect(connect) => connect.client_id.is_empty() && !connect.clean_start,
        Packet::ConnAck(_) | Packet::Disconnect(_) => true,
        _ => false,
    }
}

/// The same bytes in any slicing give the same packets and the same error.
pub fn slicing(data: &[u8]) {
    let mut choices = Choices::new(data);
    let version = if choices.flag() { Version::V5 } else { Version::V311 };
    let settings = [choices.byte(), choices.byte(), choices.byte()];
    let step = choices.bytes(8);
    let bytes = choices.all();

    let (mut whole, _) = decoder(version, &mut Choices::new(&settings));
    whole.push(Bytes::copy_from_slice(bytes));
    let expected = everything(&mut whole);

    let (mut sliced, _) = decoder(version, &mut Choices::new(&settings));
    let mut found = Vec::new();
    let mut rest = bytes;
    let mut steps = step.iter().cycle();
    while !rest.is_empty() && !matches!(found.last(), Some(Err(_))) {
        let wanted = steps.next().map_or(1, |step| usize::from(*step)).clamp(1, rest.len());
        let (chunk, after) = rest.split_at(wanted);
        rest = after;
        sliced.push(Bytes::copy_from_slice(chunk));
        if !wanted.is_multiple_of(3) {
            found.extend(everything(&mut sliced));
        }
    }
    if !matches!(found.last(), Some(Err(_))) {
        found.extend(everything(&mut sliced));
    }
    assert_eq!(without_guesses(expected), without_guesses(found));
    assert_eq!(whole.is_mid_packet(), sliced.is_mid_packet());
}

/// What a stream that is not MQTT looks like is guessed from what came so far, so it depends on the slicing.
fn without_guesses(mut found: Vec<Result<Decoded, DecodeError>>) -> Vec<Result<Decoded, DecodeError>> {
    if let Some(Err(DecodeError::NotMqtt { looks_like })) = found.last_mut() {
        *looks_like = None;
    }
    found
}

fn everything(decoder: &mut Decoder) -> Vec<Result<Decoded, DecodeError>> {
    let mut found = Vec::new();
    loop {
        match decoder.next() {
            Ok(None) => return found,
            Ok(Some(decoded)) => found.push(Ok(decoded)),
            Err(error) => {
                found.push(Err(error));
                return found;
            }
        }
        assert!(found.len() < PACKETS_MAX, "packets out of nothing");
    }
}

fn decoder(version: Version, choices: &mut Choices<'_>) -> (Decoder, Sender) {
    let sender = if choices.flag() { Sender::Client } else { Sender::Server };
    let limits = Limits {
        max_packet_size: [32, 256, 4096, 1024 * 1024][usize::from(choices.byte() % 4)],
        max_user_properties: [1, 8, 256][usize::from(choices.byte() % 3)],
    };
    let mut decoder = Decoder::new(version, sender, limits);
    // Half of the streams of a server are past their CONNACK.
    if sender == Sender::Server && limits.max_user_properties > 1 {
        greet(&mut decoder, version);
    }
    (decoder, sender)
}

fn greet(decoder: &mut Decoder, version: Version) {
    let connack: &'static [u8] = if version == Version::V5 { &[0x20, 3, 0, 0, 0] } else { &[0x20, 2, 0, 0] };
    decoder.push(Bytes::from_static(connack));
    assert!(matches!(decoder.next(), Ok(Some(Decoded::Packet(Packet::ConnAck(_))))));
}
