//! The data types of the wire: integers, strings, binary data and variable byte integers.

use bytes::{BufMut, Bytes, BytesMut};

use super::error::DecodeError;
use super::packet::PacketId;
use crate::text::{Text, TextError};

/// The largest value of a variable byte integer, and so the longest packet body, in bytes.
pub(super) const VARINT_MAX: u32 = 268_435_455;

/// How many bytes a value takes as a variable byte integer, always the fewest [MQTT-1.5.5-1].
pub(super) const fn varint_len(value: u32) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// A variable byte integer as it was found at the start of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Varint {
    /// A whole one.
    Whole { value: u32, len: usize },
    /// The bytes end before it does.
    Partial,
    /// A fifth byte would be needed: no such integer exists.
    TooLong,
}

/// Reads a variable byte integer; whether it is the shortest form is for the caller to judge.
pub(super) const fn read_varint(bytes: &[u8]) -> Varint {
    let mut value = 0u32;
    let mut len = 0;
    while len < 4 {
        if len == bytes.len() {
            return Varint::Partial;
        }
        let byte = bytes[len];
        value |= ((byte & 0x7F) as u32) << (7 * len);
        len += 1;
        if byte & 0x80 == 0 {
            return Varint::Whole { value, len };
        }
    }
    Varint::TooLong
}

/// A bounds-checked reader over one packet; every failure names the packet and the field.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    frame: &'a Bytes,
    at: usize,
    end: usize,
    packet: &'static str,
}

impl<'a> Cursor<'a> {
    /// Reads this part of `frame`, which may hold more than the packet.
    #[inline]
    pub(super) fn new(frame: &'a Bytes, part: std::ops::Range<usize>, packet: &'static str) -> Self {
        let end = part.end.min(frame.len());
        Self { frame, at: part.start.min(end), end, packet }
    }

    pub(super) const fn packet(&self) -> &'static str {
        self.packet
    }

    pub(super) const fn remaining(&self) -> usize {
        self.end - self.at
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.at == self.end
    }

    #[cold]
    pub(super) const fn malformed(&self, field: &'static str, problem: &'static str) -> DecodeError {
        DecodeError::Malformed { packet: self.packet, field, problem }
    }

    #[cold]
    pub(super) const fn protocol(&self, field: &'static str, problem: &'static str) -> DecodeError {
        DecodeError::Protocol { packet: self.packet, field, problem }
    }

    /// Moves over `len` bytes and says where they stand.
    #[inline]
    fn take(&mut self, len: usize, field: &'static str) -> Result<std::ops::Range<usize>, DecodeError> {
        if len > self.remaining() {
            return Err(self.malformed(field, "runs past the end of the packet"));
        }
        let range = self.at..self.at + len;
        self.at = range.end;
        Ok(range)
    }

    /// A cursor over the next `len` bytes, which this one skips.
    #[inline]
    pub(super) fn part(&mut self, len: usize, field: &'static str) -> Result<Self, DecodeError> {
        let range = self.take(len, field)?;
        Ok(Self { at: range.start, end: range.end, ..*self })
    }

    #[inline]
    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        let range = self.take(1, field)?;
        Ok(self.frame[range.start])
    }

    #[inline]
    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        let at = self.take(2, field)?.start;
        Ok(u16::from_be_bytes([self.frame[at], self.frame[at + 1]]))
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        let at = self.take(4, field)?.start;
        let bytes = &self.frame[at..at + 4];
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// A variable byte integer in its shortest form; a longer one is malformed [MQTT-1.5.5-1].
    #[inline]
    pub(super) fn varint(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        match read_varint(&self.frame[self.at..self.end]) {
            Varint::Whole { value, len } if len == varint_len(value) => {
                self.at += len;
                Ok(value)
            }
            Varint::Whole { .. } => Err(self.malformed(field, "is not written in the fewest bytes")),
            Varint::Partial => Err(self.malformed(field, "runs past the end of the packet")),
            Varint::TooLong => Err(self.malformed(field, "is longer than four bytes")),
        }
    }

    /// Moves over a byte of zero, such as the length of no properties, if that comes next.
    #[inline]
    pub(super) fn skip_zero(&mut self) -> bool {
        let is_zero = !self.is_empty() && self.frame[self.at] == 0;
        self.at += usize::from(is_zero);
        is_zero
    }

    /// Binary data with its two-byte length, shared with the packet's buffer.
    #[inline]
    pub(super) fn binary(&mut self, field: &'static str) -> Result<Bytes, DecodeError> {
        let len = usize::from(self.u16(field)?);
        let mut part = self.part(len, field)?;
        Ok(part.rest())
    }

    /// A string with its two-byte length [MQTT-1.5.4-1] [MQTT-1.5.4-2]; a byte order mark stays [MQTT-1.5.4-3].
    #[inline(always)]
    pub(super) fn text(&mut self, field: &'static str) -> Result<Text, DecodeError> {
        let len = usize::from(self.u16(field)?);
        let range = self.take(len, field)?;
        match Text::check(&self.frame[range.clone()]) {
            Ok(()) => Ok(Text::checked_before(self.frame.slice(range))),
            Err(error) => Err(self.no_text(field, error)),
        }
    }

    #[cold]
    const fn no_text(&self, field: &'static str, error: TextError) -> DecodeError {
        let problem = match error {
            TextError::NotUtf8 => "is not valid UTF-8",
            TextError::Nul => "holds the character U+0000",
            TextError::TooLong(_) => "is longer than 65,535 bytes",
        };
        self.malformed(field, problem)
    }

    /// A packet identifier, which is never zero [MQTT-2.2.1-3] [MQTT-2.2.1-4] [u5-2.2.1].
    #[inline]
    pub(super) fn packet_id(&mut self) -> Result<PacketId, DecodeError> {
        PacketId::new(self.u16("packet identifier")?)
            .ok_or_else(|| self.malformed("packet identifier", "is zero"))
    }

    /// All that is left, shared with the packet's buffer. Nothing left keeps no buffer alive.
    #[inline]
    pub(super) fn rest(&mut self) -> Bytes {
        let range = self.at..self.end;
        self.at = self.end;
        self.frame.slice(range)
    }

    /// Refuses bytes that no field accounts for.
    #[inline]
    pub(super) const fn finish(&self) -> Result<(), DecodeError> {
        if self.is_empty() {
            return Ok(());
        }
        Err(self.malformed("body", "is longer than its fields"))
    }
}

/// Where bytes go when a packet is written. One writing function serves counting and writing, so that the
/// lengths announced and the bytes that follow cannot disagree.
pub(super) trait Sink {
    fn u8(&mut self, value: u8);
    fn raw(&mut self, bytes: &[u8]);

    fn u16(&mut self, value: u16) {
        self.raw(&value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.raw(&value.to_be_bytes());
    }

    /// Strings and binary data: a two-byte length, then the bytes. Lengths are checked before anything is written.
    fn prefixed(&mut self, bytes: &[u8]) {
        self.u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX));
        self.raw(bytes);
    }

    fn varint(&mut self, value: u32) {
        let mut rest = value;
        while rest >= 0x80 {
            self.u8((rest & 0x7F) as u8 | 0x80);
            rest >>= 7;
        }
        self.u8(rest as u8);
    }
}

/// Counts what would be written.
#[derive(Default)]
pub(super) struct Count(pub(super) usize);

impl Sink for Count {
    fn u8(&mut self, _: u8) {
        self.0 += 1;
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

impl Sink for BytesMut {
    fn u8(&mut self, value: u8) {
        self.put_u8(value);
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}
