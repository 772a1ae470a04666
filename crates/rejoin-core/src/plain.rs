//! A quick look at the bytes of a string, eight at a time: most hold nothing that any rule is about.

/// Each byte of a word.
const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
const TOPS: u64 = u64::from_ne_bytes([0x80; 8]);

/// Whether all bytes are ASCII and none is U+0000 or a wildcard. Such a string is well-formed and may be a topic name; of any
/// other nothing is known yet.
#[inline(always)]
pub(crate) fn is_plain(bytes: &[u8]) -> bool {
    // One less than ASCII has a top bit only where it was zero, and from there on upwards.
    is_free_of(bytes, |word| word | word.wrapping_sub(ONES) | wildcards(word))
}

/// Whether a topic name holds what only filters may hold [MQTT-4.7.0-1] [MQTT311-4.7.1-1].
#[inline(always)]
pub(crate) fn has_wildcard(topic: &[u8]) -> bool {
    !is_free_of(topic, wildcards) && topic.iter().any(|byte| matches!(byte, b'+' | b'#'))
}

/// Sets a top bit where a wildcard was, and perhaps others where no ASCII was and from there on upwards.
#[inline(always)]
const fn wildcards(word: u64) -> u64 {
    // `#` is `+` without one bit, and with it no other byte is: now both are zero.
    ((word | (ONES * 0x08)) ^ (ONES * b'+' as u64)).wrapping_sub(ONES)
}

/// Whether this finds no top bit in any word.
#[inline(always)]
fn is_free_of(bytes: &[u8], find: impl Fn(u64) -> u64) -> bool {
    let find = |word| find(u64::from_ne_bytes(word));
    let found = match bytes.last_chunk() {
        // The last eight may overlap those before them, so that no byte is left over.
        Some(last) => bytes.as_chunks().0.iter().fold(find(*last), |found, &word| found | find(word)),
        None => bytes.iter().fold(0, |found, &byte| found | find([byte; 8])),
    };
    found & TOPS == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_counts_wherever_it_stands() {
        for len in 0..40 {
            for at in 0..len {
                for byte in 0..=u8::MAX {
                    for filler in [b'a', 1, 0x7F, b'*', b'"', 0x80, 0xFF] {
                        let mut bytes = vec![filler; len];
                        bytes[at] = byte;
                        let wildcard = byte == b'+' || byte == b'#';
                        assert_eq!(has_wildcard(&bytes), wildcard, "{bytes:?}");
                        let plain = !wildcard && bytes.iter().all(|byte| (1..=0x7F).contains(byte));
                        assert_eq!(is_plain(&bytes), plain, "{bytes:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_is_plain() {
        assert!(is_plain(&[]));
        assert!(!has_wildcard(&[]));
    }
}
