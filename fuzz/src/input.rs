//! Bytes read as choices. When they run out every choice is zero.

use bytes::Bytes;

pub(crate) struct Choices<'a> {
    rest: &'a [u8],
}

impl<'a> Choices<'a> {
    pub(crate) const fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    pub(crate) const fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub(crate) fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// Small numbers, mostly; now and then any.
    pub(crate) fn number(&mut self) -> u32 {
        match self.byte() {
            small @ 0..=0xF0 => u32::from(small),
            0xF1..=0xF8 => u32::from(self.word()),
            _ => u32::from_be_bytes([self.byte(), self.byte(), self.byte(), self.byte()]),
        }
    }

    pub(crate) fn bytes(&mut self, most: usize) -> Bytes {
        let wanted = usize::from(self.byte()).min(most).min(self.rest.len());
        let (taken, rest) = self.rest.split_at(wanted);
        self.rest = rest;
        Bytes::copy_from_slice(taken)
    }

    pub(crate) const fn all(&mut self) -> &'a [u8] {
        let all = self.rest;
        self.rest = &[];
        all
    }
}
