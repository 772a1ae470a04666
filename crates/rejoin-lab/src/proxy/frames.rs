//! Finds the packets in a stream, so that single ones can be swallowed.

use bytes::{Bytes, BytesMut};

use crate::wire::PacketKind;

/// Follows one direction of one connection. Streams that are not MQTT pass untouched.
#[derive(Debug)]
pub(super) struct Frames {
    state: State,
    /// Bytes of a header that were not passed on, because its packet may have to be swallowed.
    held: BytesMut,
}

#[derive(Debug)]
enum State {
    /// In a fixed header: its first byte, the length so far, and how many length bytes were read.
    Header { first: Option<u8>, length: u32, digits: u32 },
    /// In the rest of a packet.
    Body { left: u32, keep: bool },
    /// Not MQTT.
    Foreign,
}

const START: State = State::Header { first: None, length: 0, digits: 0 };

impl Frames {
    pub(super) fn new() -> Self {
        Self { state: START, held: BytesMut::new() }
    }

    /// Passes a chunk without loss. A header that is cut by the end of the chunk goes with it, so its packet
    /// cannot be swallowed any more.
    pub(super) fn follow(&mut self, chunk: &Bytes) {
        let mut ignored = BytesMut::new();
        self.walk(chunk, &mut ignored, None);
    }

    /// Whether nothing of a header is held back.
    pub(super) fn holds_nothing(&self) -> bool {
        self.held.is_empty()
    }

    /// Passes a chunk without the packets that `lose` names. The last bytes may be held until their packet is
    /// known.
    pub(super) fn filter(&mut self, chunk: &Bytes, lose: &mut dyn FnMut(PacketKind) -> bool) -> Bytes {
        let mut passed = BytesMut::with_capacity(chunk.len() + self.held.len());
        self.walk(chunk, &mut passed, Some(lose));
        passed.freeze()
    }

    fn walk(
        &mut self,
        chunk: &Bytes,
        passed: &mut BytesMut,
        mut lose: Option<&mut dyn FnMut(PacketKind) -> bool>,
    ) {
        let mut rest = &chunk[..];
        while let Some((&byte, after)) = rest.split_first() {
            match &mut self.state {
                State::Foreign => {
                    passed.extend_from_slice(rest);
                    return;
                }
                State::Body { left, keep } => {
                    let n = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    if *keep && lose.is_some() {
                        passed.extend_from_slice(&rest[..n]);
                    }
                    *left -= u32::try_from(n).unwrap_or(u32::MAX);
                    rest = &rest[n..];
                    if *left == 0 {
                        self.state = START;
                    }
                    continue;
                }
                State::Header { first: first @ None, .. } => *first = Some(byte),
                State::Header { length, digits, .. } => {
                    *length |= u32::from(byte & 0x7F) << (7 * *digits);
                    *digits += 1;
                }
            }
            self.held.extend_from_slice(&[byte]);
            rest = after;
            self.end_of_header(byte, passed, &mut lose);
        }
        if lose.is_none() {
            // The caller passes the whole chunk on, this header's beginning included.
            self.held.clear();
        }
    }

    /// Decides about a packet once its header is whole.
    fn end_of_header(
        &mut self,
        last: u8,
        passed: &mut BytesMut,
        lose: &mut Option<&mut dyn FnMut(PacketKind) -> bool>,
    ) {
        let State::Header { first: Some(first), length, digits } = self.state else { return };
        let kind = PacketKind::from_first_byte(first);
        let too_long = digits == 4 && last & 0x80 != 0;
        let Some(kind) = kind.filter(|_| !too_long) else {
            self.state = State::Foreign;
            passed.extend_from_slice(&self.held.split());
            return;
        };
        if digits == 0 || last & 0x80 != 0 {
            return;
        }
        // Only a header that is held in full can still be swallowed.
        let whole = self.held.len() == 1 + usize::try_from(digits).unwrap_or(0);
        let keep = match lose {
            Some(lose) if whole => !lose(kind),
            _ => true,
        };
        if keep {
            passed.extend_from_slice(&self.held);
        }
        self.held.clear();
        self.state = if length == 0 { START } else { State::Body { left: length, keep } };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = &[
        0x40, 2, 0, 1, // PUBACK
        0xD0, 0, // PINGRESP
        0x30, 3, 0, 1, b't', // PUBLISH
        0x40, 2, 0, 2, // PUBACK
    ];

    #[test]
    fn swallows_one_kind_wherever_the_chunks_are_cut() {
        for cut in 0..=STREAM.len() {
            let mut frames = Frames::new();
            let mut lose = |kind| kind == PacketKind::PubAck;
            let mut out = BytesMut::new();
            for chunk in [&STREAM[..cut], &STREAM[cut..]] {
                out.extend_from_slice(&frames.filter(&Bytes::from_static(chunk), &mut lose));
            }
            assert_eq!(&out[..], &STREAM[4..11], "cut at {cut}");
            assert!(frames.holds_nothing());
        }
    }

    #[test]
    fn stays_in_step_while_nothing_is_lost() {
        for cut in 0..=STREAM.len() {
            let mut frames = Frames::new();
            frames.follow(&Bytes::from_static(&STREAM[..cut]));
            let rest = frames.filter(&Bytes::from_static(&STREAM[cut..]), &mut |_| false);
            assert_eq!(&rest[..], &STREAM[cut..], "cut at {cut}");
        }
    }

    #[test]
    fn leaves_other_protocols_alone() {
        let text = Bytes::from_static(b"\x00 not MQTT at all");
        assert_eq!(Frames::new().filter(&text, &mut |_| true), text);
        let long = Bytes::from_static(&[0x40, 0x80, 0x80, 0x80, 0x80, 1, 2, 3]);
        assert_eq!(Frames::new().filter(&long, &mut |_| true), long);
    }
}
