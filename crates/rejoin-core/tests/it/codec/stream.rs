//! Streams: packets in any slices, packets above the limit, and what is held meanwhile.

use bytes::Bytes;
use rejoin_core::codec::packet::{Packet, Publish, Qos, Version};
use rejoin_core::codec::{DecodeError, Decoded, Decoder, Limits, Sender};
use rejoin_core::topic::PublishTopic;

use super::golden::{Golden, all};
use super::{WIDE, decode, decoder, encoded, id, publish, wire};
use Sender::{Client, Server};
use Version::{V5, V311};

fn drain(decoder: &mut Decoder, into: &mut Vec<Decoded>) {
    while let Some(decoded) = decoder.next().unwrap() {
        into.push(decoded);
    }
}

/// All golden packets of one writer at one version. CONNECT would change the version, so it is left out.
fn conversation(version: Version, sender: Sender) -> (Vec<u8>, Vec<Decoded>) {
    let rows = all().into_iter().filter(|row| {
        row.version == version && row.sender == sender && !matches!(row.packet, Packet::Connect(_))
    });
    let (mut bytes, mut packets) = (Vec::new(), Vec::new());
    for row in rows {
        bytes.extend(row.bytes);
        packets.push(Decoded::Packet(row.packet));
    }
    (bytes, packets)
}

#[test]
fn any_slicing_of_a_stream_gives_the_same_packets() {
    for (version, sender) in [(V311, Client), (V311, Server), (V5, Client), (V5, Server)] {
        let (bytes, packets) = conversation(version, sender);
        assert!(packets.len() >= 6);
        for size in 1..=bytes.len() {
            let mut decoder = decoder(version, sender, WIDE);
            let mut read = Vec::new();
            for chunk in bytes.chunks(size) {
                decoder.push(Bytes::copy_from_slice(chunk));
                drain(&mut decoder, &mut read);
            }
            assert_eq!(read, packets, "{version} {sender:?} in chunks of {size}");
            assert!(!decoder.is_mid_packet());
            assert_eq!(decoder.buffered(), 0);
        }
    }
}

#[test]
fn chunks_may_be_pushed_before_they_are_asked_for() {
    let (bytes, packets) = conversation(V5, Server);
    for size in [1, 2, 3, 7, 64] {
        let mut decoder = decoder(V5, Server, WIDE);
        let mut read = Vec::new();
        for (i, chunk) in bytes.chunks(size).enumerate() {
            decoder.push(Bytes::copy_from_slice(chunk));
            // One packet at a time, so that pushing meets every state the decoder can be in.
            if i % 3 == 0 {
                read.extend(decoder.next().unwrap());
            }
        }
        drain(&mut decoder, &mut read);
        assert_eq!(read, packets, "in chunks of {size}");
    }
}

#[test]
fn a_packet_cut_at_any_byte_is_waited_for() {
    for Golden { version, sender, bytes, packet } in all() {
        for cut in 1..bytes.len() {
            let mut decoder = decoder(version, sender, WIDE);
            assert!(!decoder.is_mid_packet());
            decoder.push(Bytes::copy_from_slice(&bytes[..cut]));
            assert_eq!(decoder.next(), Ok(None), "{packet:?} cut at {cut}");
            assert!(decoder.is_mid_packet());
            assert_eq!(decoder.buffered(), cut);
            decoder.push(Bytes::copy_from_slice(&bytes[cut..]));
            assert_eq!(decoder.next(), Ok(Some(Decoded::Packet(packet.clone()))), "cut at {cut}");
            assert!(!decoder.is_mid_packet());
        }
    }
}

#[test]
fn a_body_cut_at_any_byte_with_a_lying_length_is_refused_or_a_shorter_packet() {
    for Golden { version, sender, bytes, packet } in all() {
        let body = &bytes[2..];
        for cut in 0..body.len() {
            let lie = [&[bytes[0], u8::try_from(cut).unwrap()], &body[..cut]].concat();
            let read = match decode(version, sender, &lie) {
                Err(_) => continue,
                Ok(Some(Decoded::Packet(read))) => read,
                other => panic!("{other:?}"),
            };
            // Only packets with a tail of free length can be shorter and whole.
            let has_tail = match &packet {
                Packet::Publish(publish) => cut + publish.payload.len() >= body.len(),
                Packet::ConnAck(connack) => cut == 2 && connack.reason.is_error(),
                Packet::Connect(_) => false,
                _ => true,
            };
            assert!(has_tail, "{version} {packet:?} cut at {cut} was read as {read:?}");
            if matches!(read, Packet::ConnAck(_)) {
                continue;
            }
            assert!(encoded(&read, version).len() <= lie.len() + 2, "{read:?} grew out of {lie:02X?}");
        }
    }
}

#[test]
fn topics_and_payloads_share_the_chunk_they_came_in() {
    let message = Publish { payload: vec![9; 256].into(), ..publish(Qos::AtLeastOnce, Some(1), "") };
    let chunk = Bytes::from(encoded(&Packet::Publish(message), V5));
    let within = chunk.as_ptr_range();
    let mut decoder = decoder(V5, Server, WIDE);
    decoder.push(chunk);
    let Ok(Some(Decoded::Packet(Packet::Publish(read)))) = decoder.next() else { panic!("not read") };
    assert!(within.contains(&read.topic.as_bytes().as_ptr()));
    assert!(within.contains(&read.payload.as_ptr()));
}

#[test]
fn a_large_packet_in_small_chunks_arrives_whole() {
    let payload: Vec<u8> = (0..32 * 1024 * 1024u32).map(|i| (i % 251) as u8).collect();
    let message = Publish { payload: payload.into(), ..publish(Qos::AtLeastOnce, Some(1), "") };
    let packet = Packet::Publish(message);
    let bytes = Bytes::from([encoded(&packet, V5), wire("D0 00")].concat());
    let mut decoder = decoder(V5, Server, WIDE);
    let mut read = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let end = bytes.len().min(at + 16 * 1024);
        decoder.push(bytes.slice(at..end));
        drain(&mut decoder, &mut read);
        at = end;
    }
    assert_eq!(read, [Decoded::Packet(packet), Decoded::Packet(Packet::PingResp)]);
}

#[test]
fn a_server_reads_at_the_version_of_the_connect() {
    let mut decoder = Decoder::new(V311, Client, WIDE);
    decoder.push(wire("10 11 0004'MQTT' 05 02 003C 00 0004'rj-1' E0 01 04").into());
    assert!(matches!(decoder.next(), Ok(Some(Decoded::Packet(Packet::Connect(_))))));
    assert!(matches!(decoder.next(), Ok(Some(Decoded::Packet(Packet::Disconnect(_))))));
    let mut decoder = Decoder::new(V5, Client, WIDE);
    decoder.push(wire("10 10 0004'MQTT' 04 02 003C 0004'rj-1' E0 01 04").into());
    assert!(matches!(decoder.next(), Ok(Some(Decoded::Packet(Packet::Connect(_))))));
    assert!(decoder.next().is_err(), "a DISCONNECT of 3.1.1 carries nothing");
}

#[test]
fn a_packet_above_the_limit_is_refused_by_its_header_alone() {
    // [MQTT-3.1.2-24]
    let limits = Limits { max_packet_size: 100, ..WIDE };
    // 2 + 98 bytes are 100, 2 + 99 are 101.
    for (version, sender, header, packet) in [
        (V5, Server, "30 63", "PUBLISH"),
        (V5, Client, "30 63", "PUBLISH"),
        (V311, Client, "30 63", "PUBLISH"),
        (V311, Server, "90 63", "SUBACK"),
    ] {
        let mut decoder = decoder(version, sender, limits);
        decoder.push(wire(header).into());
        let error = decoder.next().unwrap_err();
        assert_eq!(error, DecodeError::TooLarge { packet, size: 101, limit: 100 });
        assert_eq!(error.reason().0, 0x95);
    }
    let mut decoder = decoder(V5, Server, limits);
    decoder.push(wire("30 62").into());
    assert_eq!(decoder.next(), Ok(None), "at the limit is not above it");
}

fn oversized(payload: usize) -> Vec<u8> {
    let message =
        Publish { payload: vec![1; payload].into(), dup: true, ..publish(Qos::AtLeastOnce, Some(7), "") };
    encoded(&Packet::Publish(message), V311)
}

#[test]
fn at_3_1_1_a_message_above_the_limit_is_skipped_and_told() {
    let limits = Limits { max_packet_size: 100, ..WIDE };
    let large = oversized(500);
    let told = Decoded::Oversized {
        qos: Qos::AtLeastOnce,
        packet_id: Some(id(7)),
        topic: PublishTopic::from_static("a/b"),
        size: u32::try_from(large.len()).unwrap(),
        dup: true,
    };
    let bytes = [wire("D0 00"), large, oversized(1_000)[..].to_vec(), wire("40 02 0001")].concat();
    for size in 1..=bytes.len() {
        let mut decoder = decoder(V311, Server, limits);
        let mut read = Vec::new();
        for chunk in bytes.chunks(size) {
            decoder.push(Bytes::copy_from_slice(chunk));
            drain(&mut decoder, &mut read);
            assert!(decoder.buffered() <= 16, "the payload is not held: {}", decoder.buffered());
        }
        assert_eq!(read.len(), 4, "in chunks of {size}: {read:?}");
        assert_eq!(read[1], told);
        assert!(matches!(read[2], Decoded::Oversized { size: 1_010, .. }), "{:?}", read[2]);
        assert!(matches!(read[3], Decoded::Packet(Packet::PubAck(_))));
        assert!(!decoder.is_mid_packet());
    }
}

#[test]
fn a_skipped_message_may_lie_in_chunks_that_already_wait() {
    let mut decoder = decoder(V311, Server, Limits { max_packet_size: 100, ..WIDE });
    let bytes = [oversized(500), wire("D0 00")].concat();
    for chunk in bytes.chunks(64) {
        decoder.push(Bytes::copy_from_slice(chunk));
    }
    assert!(matches!(decoder.next(), Ok(Some(Decoded::Oversized { .. }))));
    assert_eq!(decoder.next(), Ok(Some(Decoded::Packet(Packet::PingResp))));
    assert_eq!(decoder.next(), Ok(None));
}

#[test]
fn a_skipped_message_is_still_held_to_the_rules() {
    let limits = Limits { max_packet_size: 10, ..WIDE };
    for (bytes, message) in [
        ("32 20 0001'#' 0001", "malformed PUBLISH: topic name holds a wildcard"),
        ("32 20 0001 FF 0001", "malformed PUBLISH: topic name is not valid UTF-8"),
        ("32 20 0001'a' 0000", "malformed PUBLISH: packet identifier is zero"),
        ("30 20 0000 00", "malformed PUBLISH: topic name is empty"),
        ("30 20 0000", "malformed PUBLISH: topic name is empty"),
        ("32 20 001D", "malformed PUBLISH: topic name runs past the end of the packet"),
    ] {
        let mut decoder = decoder(V311, Server, limits);
        decoder.push(wire(bytes).into());
        let error = match decoder.next() {
            Ok(None) => panic!("{bytes} was waited for"),
            other => other.unwrap_err(),
        };
        assert_eq!(error.to_string(), message, "{bytes}");
    }
}

#[test]
fn a_skipped_message_in_mid_way_counts_as_mid_packet() {
    let mut decoder = decoder(V311, Server, Limits { max_packet_size: 100, ..WIDE });
    let large = oversized(500);
    decoder.push(Bytes::copy_from_slice(&large[..large.len() - 1]));
    assert_eq!(decoder.next(), Ok(None));
    assert!(decoder.is_mid_packet());
    assert_eq!(decoder.buffered(), 0);
    decoder.push(Bytes::copy_from_slice(&large[large.len() - 1..]));
    assert!(matches!(decoder.next(), Ok(Some(Decoded::Oversized { .. }))));
    assert!(!decoder.is_mid_packet());
}

#[test]
fn another_service_is_recognised_in_any_slicing() {
    let greeting = b"220 mail.example ESMTP";
    for version in [V5, V311] {
        let mut decoder = Decoder::new(version, Server, WIDE);
        let found = greeting.iter().find_map(|byte| {
            decoder.push(Bytes::copy_from_slice(&[*byte]));
            decoder.next().err()
        });
        assert_eq!(found, Some(DecodeError::NotMqtt { looks_like: Some("SMTP or FTP") }));
    }
}
