//! The data types of the wire: integers, strings, binary data and variable byte integers.

use bytes::{BufMut, Bytes, BytesMut};

use super::error::DecodeError;
use super::header;
use super::packet::PacketId;
use crate::plain::{has_wildcard, is_plain};
use crate::text::{Text, TextError};
use crate::topic::PublishTopic;

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
    /// A whole one of `len` bytes, and whether fewer would not do.
    Whole { value: u32, len: usize, shortest: bool },
    /// The bytes end before it does.
    Partial,
    /// A fifth byte would be needed: no such integer exists.
    TooLong,
}

/// Reads a variable byte integer; whether it may be another than the shortest form is for the caller to judge.
#[inline(always)]
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
            return Varint::Whole { value, len, shortest: byte != 0 || len == 1 };
        }
    }
    Varint::TooLong
}

/// A bounds-checked reader over one packet; every failure names the packet and the field.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    /// What strings and payloads are shared with.
    frame: &'a Bytes,
    /// Where this reader ends in the frame.
    end: usize,
    /// What it has not read.
    rest: &'a [u8],
    kind: u8,
}

impl<'a> Cursor<'a> {
    /// Reads this part of `frame`, which may hold more than the packet.
    #[inline]
    pub(super) fn new(frame: &'a Bytes, part: std::ops::Range<usize>, kind: u8) -> Self {
        let (end, rest) = frame.get(part.clone()).map_or((0, &[][..]), |rest| (part.end, rest));
        Self { frame, end, rest, kind }
    }

    pub(super) const fn packet(&self) -> &'static str {
        header::name(self.kind)
    }

    pub(super) const fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline(always)]
    pub(super) const fn malformed(&self, field: &'static str, problem: &'static str) -> DecodeError {
        DecodeError::Malformed { packet: self.packet(), field, problem }
    }

    #[inline(always)]
    pub(super) const fn protocol(&self, field: &'static str, problem: &'static str) -> DecodeError {
        DecodeError::Protocol { packet: self.packet(), field, problem }
    }

    #[inline(always)]
    const fn too_short(&self, field: &'static str) -> DecodeError {
        self.malformed(field, "runs past the end of the packet")
    }

    /// A reader of the next `len` bytes, which this one skips.
    #[inline]
    fn part(&mut self, len: usize, field: &'static str) -> Result<Self, DecodeError> {
        let Some((part, rest)) = self.rest.split_at_checked(len) else { return Err(self.too_short(field)) };
        let part = Self { end: self.end - rest.len(), rest: part, ..*self };
        self.rest = rest;
        Ok(part)
    }

    /// The next bytes, of a number known beforehand.
    #[inline]
    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let Some((array, rest)) = self.rest.split_first_chunk() else { return Err(self.too_short(field)) };
        self.rest = rest;
        Ok(*array)
    }

    #[inline]
    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array(field).map(u8::from_be_bytes)
    }

    #[inline]
    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.array(field).map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_be_bytes)
    }

    /// A reader of what a variable byte integer says, which this one skips.
    pub(super) fn block(&mut self, field: &'static str) -> Result<Self, DecodeError> {
        let len = self.varint(field)?;
        self.part(len as usize, field)
    }

    /// A variable byte integer in its shortest form; a longer one is malformed [MQTT-1.5.5-1].
    #[inline]
    pub(super) fn varint(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        match read_varint(self.rest) {
            Varint::Whole { value, len, shortest: true } => {
                self.rest = self.rest.get(len..).unwrap_or_default();
                Ok(value)
            }
            Varint::Whole { .. } => Err(self.malformed(field, "is not written in the fewest bytes")),
            Varint::Partial => Err(self.too_short(field)),
            Varint::TooLong => Err(self.malformed(field, "is longer than four bytes")),
        }
    }

    /// Moves over a byte of zero, such as the length of no properties, if that comes next.
    #[inline]
    pub(super) fn skip_zero(&mut self) -> bool {
        let Some((0, rest)) = self.rest.split_first() else { return false };
        self.rest = rest;
        true
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
        let mut part = self.part(len, field)?;
        match Text::check(part.rest) {
            Ok(()) => Ok(Text::checked_before(part.rest())),
            Err(error) => Err(self.no_text(field, error)),
        }
    }

    /// A string without wildcards. Whether it may be empty is for the caller to judge.
    #[inline(always)]
    pub(super) fn topic_name(&mut self, field: &'static str) -> Result<CheckedTopic<'a>, DecodeError> {
        let len = usize::from(self.u16(field)?);
        let part = self.part(len, field)?;
        // Most are, and then one look is enough.
        if !is_plain(part.rest) {
            part.check_topic_name(field)?;
        }
        Ok(CheckedTopic(part))
    }

    #[inline(never)]
    fn check_topic_name(self, field: &'static str) -> Result<(), DecodeError> {
        if let Err(error) = Text::check(self.rest) {
            return Err(self.no_text(field, error));
        }
        if has_wildcard(self.rest) {
            return Err(self.malformed(field, "holds a wildcard"));
        }
        Ok(())
    }

    #[inline(always)]
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
        let start = self.end - self.rest.len();
        self.rest = &[];
        self.frame.slice(start..self.end)
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

/// A topic in which nothing is wrong, before it is shared with the packet's buffer. Sharing is paid for and makes what is
/// moved larger, so it comes last.
pub(super) struct CheckedTopic<'a>(Cursor<'a>);

impl CheckedTopic<'_> {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[inline]
    pub(super) fn share(mut self) -> PublishTopic {
        PublishTopic::checked_before(Text::checked_before(self.0.rest()))
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
    #[inline]
    fn prefixed(&mut self, bytes: &[u8]) {
        self.u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX));
        self.raw(bytes);
    }

    #[inline]
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
    #[inline]
    fn u8(&mut self, value: u8) {
        self.put_u8(value);
    }

    #[inline]
    fn raw(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}
