//! Numbers and strings of a row: little-endian, lengths in front, every read checked.

use bytes::Bytes;
use rejoin_core::Text;

/// A row that ends early, or holds what cannot be.
pub(crate) type Flaw = &'static str;

/// Reads a row from its front.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Flaw> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or("it ends too early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or("it ends too early")?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Flaw> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Flaw> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Flaw> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Flaw> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Flaw> {
        Ok(self.u8()? != 0)
    }

    /// A two-byte length and as many bytes.
    pub(crate) fn short(&mut self) -> Result<&'a [u8], Flaw> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// A four-byte length and as many bytes.
    pub(crate) fn long(&mut self) -> Result<&'a [u8], Flaw> {
        let len = self.u32()?;
        self.take(usize::try_from(len).unwrap_or(usize::MAX))
    }

    pub(crate) fn text(&mut self) -> Result<Text, Flaw> {
        text(self.short()?)
    }

    pub(crate) fn string(&mut self) -> Result<String, Flaw> {
        String::from_utf8(self.short()?.to_vec()).map_err(|_| "a string is not UTF-8")
    }
}

pub(crate) fn text(bytes: &[u8]) -> Result<Text, Flaw> {
    Text::new(Bytes::copy_from_slice(bytes)).map_err(|_| "a string is not an MQTT string")
}

/// Writes a row.
pub(crate) trait Put {
    fn put(&mut self, bytes: &[u8]);

    fn put_u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    fn put_u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }

    /// Strings of MQTT have at most 65,535 bytes; what is longer is cut at a border of characters.
    fn put_short(&mut self, value: &str) {
        let mut end = value.len().min(usize::from(u16::MAX));
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        self.put_u16(u16::try_from(end).unwrap_or(u16::MAX));
        self.put(&value.as_bytes()[..end]);
    }

    fn put_long(&mut self, value: &[u8]) {
        self.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.put(value);
    }
}

impl Put for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}
