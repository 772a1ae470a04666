//! What a message was, in eight bytes: enough to tell a copy of it from another message when the message itself is not
//! kept any more.

/// The digest of a message's topic and payload.
///
/// A store keeps it of an inbound QoS 2 message that the application took, until the server releases the identifier: a
/// server that came back with an older session uses the identifier for another message, and without this a process
/// that began since would take that one for a copy. It tells messages apart by chance, as a checksum does; it keeps no
/// secret, and who can choose both messages can make two that look alike.
///
/// It is the same on every machine and in every version, as stores keep it. `sum` begins as the eight letters `rejoin 1`;
/// then, for the topic and after it for the payload, come the number of bytes and the bytes, all as words of eight bytes,
/// little-endian, the last one filled up with zeros. Each word makes `sum` into `mix(sum ^ word)`, where `mix` is the last
/// step of SplitMix64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub u64);

const WORD: usize = size_of::<u64>();

impl Digest {
    /// The digest of a message with this topic and payload; its cost is that of reading them once.
    pub fn of(topic: &str, payload: &[u8]) -> Self {
        let mut sum = u64::from_le_bytes(*b"rejoin 1");
        for part in [topic.as_bytes(), payload] {
            sum = mix(sum ^ part.len() as u64);
            let (words, rest) = part.as_chunks::<WORD>();
            sum = words.iter().fold(sum, |sum, word| mix(sum ^ u64::from_le_bytes(*word)));
            if !rest.is_empty() {
                let mut word = [0; WORD];
                word[..rest.len()].copy_from_slice(rest);
                sum = mix(sum ^ u64::from_le_bytes(word));
            }
        }
        Self(sum)
    }
}

/// Each bit of the word changes about half of those of the outcome, and no two words have the same one.
const fn mix(word: u64) -> u64 {
    let word = (word ^ word >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ word >> 31
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Reckoned by another program, from the words above. Stores have them: they never change.
    #[test]
    fn a_message_has_the_digest_that_stores_have_of_it() {
        let every_byte: Vec<u8> = (0..=255).collect();
        let known: [(&str, &[u8], u64); 5] = [
            ("", b"", 0xBE37_4486_5FA6_C4CD),
            ("t", b"m", 0xADFB_7422_EA1B_C991),
            ("room/1/temp", b"21.5", 0xEA8D_0935_3C8C_EF98),
            ("straße/ä", b"12345678", 0x3F49_BC45_C96F_6897),
            ("a", &every_byte, 0xF291_4833_37BC_1F32),
        ];
        for (topic, payload, digest) in known {
            assert_eq!(Digest::of(topic, payload), Digest(digest), "{topic} {payload:?}");
        }
    }

    #[test]
    fn what_differs_anywhere_has_another_digest() {
        let whole = (0..64).map(|n| n * 3).collect::<Vec<u8>>();
        let mut seen = BTreeSet::new();
        for bit in 0..8 * whole.len() {
            let mut other = whole.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            seen.insert(Digest::of("t", &other));
        }
        // The same letters, the border between topic and payload elsewhere; and zeros that are not there.
        let letters = "abcdefghijklmnopqrst";
        seen.extend((0..=20).map(|at| Digest::of(&letters[..at], &letters.as_bytes()[at..])));
        seen.extend((0..40).map(|zeros| Digest::of("t", &vec![0; zeros])));
        seen.insert(Digest::of("t", &whole));
        assert_eq!(seen.len(), 8 * whole.len() + 21 + 40 + 1);
    }
}
