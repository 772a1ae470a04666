//! Mutated packets, from a fixed seed: no panic, and whatever is read can be written and read again.

use bytes::{Bytes, BytesMut};
use rejoin_core::codec::packet::{Packet, Version};
use rejoin_core::codec::{Decoded, Limits, Sender, encode, encoded_len};

use super::golden::all;
use super::{decode, decoder};

/// How many inputs a run tries.
const INPUTS: usize = 240_000;

/// Marsaglia's xorshift64.
struct XorShift(u64);

impl XorShift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        // The values next to the borders of the formats come more often than chance would have them.
        const BORDERS: &[u8] = &[0x00, 0x01, 0x02, 0x7F, 0x80, 0x81, 0xFF, 0x26, 0x0B, 0x23, 0x1F];
        let value = self.next();
        if value & 0x100 == 0 { value as u8 } else { BORDERS[self.below(BORDERS.len())] }
    }
}

fn mutate(bytes: &mut Vec<u8>, other: &[u8], chance: &mut XorShift) {
    let at = chance.below(bytes.len());
    match chance.below(7) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << chance.below(8),
        1 if !bytes.is_empty() => bytes[at] = chance.byte(),
        2 => bytes.insert(at, chance.byte()),
        3 if !bytes.is_empty() => drop(bytes.remove(at)),
        4 => bytes.truncate(at),
        5 => {
            // Mostly keep the length true, so that the body is reached.
            if bytes.len() > 2 && bytes.len() < 129 {
                bytes.insert(2 + chance.below(bytes.len() - 2), chance.byte());
                bytes[1] = (bytes.len() - 2) as u8;
            }
        }
        _ => {
            let from = chance.below(other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
    }
}

/// Packets that are read but that this codec would not write itself.
fn is_read_only(packet: &Packet) -> bool {
    match packet {
        // The server is to answer with return code 2.
        Packet::Connect(connect) => connect.client_id.is_empty() && !connect.clean_start,
        // Reserved return codes, and codes newer than the standard.
        Packet::ConnAck(_) | Packet::Disconnect(_) => true,
        _ => false,
    }
}

#[test]
fn mutated_packets_never_panic_and_what_is_read_survives_a_round_trip() {
    let rows = all();
    let mut chance = XorShift(0x5EED_CAFE_F00D_D00D);
    let limits = Limits { max_packet_size: 4096, max_user_properties: 8 };
    let (mut read, mut refused) = (0, 0);
    for i in 0..INPUTS {
        let row = &rows[i % rows.len()];
        let mut bytes = row.bytes.clone();
        for _ in 0..=chance.below(4) {
            let other = &rows[chance.below(rows.len())].bytes;
            mutate(&mut bytes, other, &mut chance);
        }
        let version = if chance.below(8) == 0 { Version::V311 } else { row.version };
        let mut decoder = decoder(version, row.sender, limits);
        let cut = chance.below(bytes.len() + 1);
        decoder.push(Bytes::copy_from_slice(&bytes[..cut]));
        let mut results = vec![decoder.next()];
        decoder.push(Bytes::copy_from_slice(&bytes[cut..]));
        while matches!(results.last(), Some(Ok(Some(_)))) || results.len() == 1 {
            let version = decoder.version();
            results.push(decoder.next());
            if let Some(Ok(Some(Decoded::Packet(packet)))) = results.last() {
                // A CONNECT sets the version it is written at.
                assert!(version == decoder.version() || matches!(packet, Packet::Connect(_)));
                read += 1;
                round_trip(packet, decoder.version(), row.sender, &bytes);
            }
        }
        refused += results.iter().filter(|result| result.is_err()).count();
    }
    assert!(read > INPUTS / 20, "only {read} inputs were read: the mutations are too wild to prove much");
    assert!(refused > INPUTS / 20, "only {refused} inputs were refused");
}

fn round_trip(packet: &Packet, version: Version, sender: Sender, origin: &[u8]) {
    let mut out = BytesMut::new();
    if let Err(error) = encode(packet, version, &mut out) {
        assert!(is_read_only(packet), "{error}: {packet:?} from {origin:02X?}");
        assert!(out.is_empty(), "a refused packet leaves no bytes");
        return;
    }
    assert_eq!(out.len(), encoded_len(packet, version));
    assert_eq!(decode(version, sender, &out), Ok(Some(Decoded::Packet(packet.clone()))));
}

#[test]
fn noise_never_panics() {
    let mut chance = XorShift(0x0BAD_5EED);
    for i in 0..40_000 {
        let noise: Vec<u8> = (0..chance.below(64)).map(|_| chance.byte()).collect();
        let version = if i % 2 == 0 { Version::V5 } else { Version::V311 };
        let sender = if i % 3 == 0 { Sender::Client } else { Sender::Server };
        let mut decoder = decoder(version, sender, Limits { max_packet_size: 32, max_user_properties: 2 });
        let held = noise.len();
        decoder.push(noise.into());
        while let Ok(Some(_)) = decoder.next() {}
        assert!(decoder.buffered() <= held);
    }
}
