//! Whether a QoS 2 message is the one that came under its identifier before: told by a letter, without telling what it is.
//!
//! The engine looks into a payload for that question alone. The last byte of a blanked payload answers it: messages under
//! one identifier have the same letter if their payloads are the same, and different ones if not.

use std::collections::{BTreeMap, VecDeque};

use super::blank::BLANK;

/// Payloads remembered for each identifier: the one that is held, and some that the engine may not have read, since its
/// link ended before them.
const REMEMBERED: usize = 4;

/// What came under each identifier, as checksums. It outlives the link, as identifiers do.
#[derive(Debug, Default)]
pub(super) struct Alike(BTreeMap<u16, VecDeque<(u64, u8)>>);

impl Alike {
    /// The letter of a payload with this checksum, under this identifier.
    pub(super) fn letter(&mut self, packet_id: u16, sum: u64) -> u8 {
        let seen = self.0.entry(packet_id).or_default();
        if let Some((_, letter)) = seen.iter().find(|(other, _)| *other == sum) {
            return *letter;
        }
        let letter = seen.back().map_or(BLANK, |(_, letter)| after(*letter));
        if seen.len() == REMEMBERED {
            seen.pop_front();
        }
        seen.push_back((sum, letter));
        letter
    }
}

/// There are more letters than payloads remembered, so none comes twice among those.
const fn after(letter: u8) -> u8 {
    if letter == b'z' { b'a' } else { letter + 1 }
}

/// The checksum of nothing.
pub(super) const EMPTY: u64 = 0xcbf2_9ce4_8422_2325;

/// One byte more: FNV-1a, which tells two payloads apart, nothing more.
pub(super) const fn add(sum: u64, byte: u8) -> u64 {
    (sum ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3)
}

/// The checksum of some bytes.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(EMPTY, |sum, byte| add(sum, *byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_payload_has_the_same_letter_and_another_one_another() {
        let mut alike = Alike::default();
        assert_eq!(alike.letter(7, sum(b"21.5")), BLANK);
        assert_eq!(alike.letter(7, sum(b"21.6")), b'y');
        assert_eq!(alike.letter(7, sum(b"21.5")), BLANK);
        assert_eq!(alike.letter(8, sum(b"21.6")), BLANK, "identifiers have nothing to do with each other");
        let mut letters: Vec<u8> = (0..4).map(|n| alike.letter(9, n)).collect();
        assert_eq!(letters, *b"xyza");
        letters.extend((4..100).map(|n| alike.letter(9, n)));
        assert!(letters.iter().all(u8::is_ascii_lowercase));
        assert!(letters.windows(REMEMBERED).all(|w| (1..w.len()).all(|at| !w[at..].contains(&w[at - 1]))));
        assert_eq!(alike.0[&9].len(), REMEMBERED, "no more are remembered");
    }
}
