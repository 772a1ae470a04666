//! UTF-8 strings that share the buffer they were read from.

use std::fmt;

use bytes::Bytes;

use crate::plain::is_plain;

/// An MQTT UTF-8 string: well-formed, without U+0000, at most 65,535 bytes [MQTT-1.5.4-1] [MQTT-1.5.4-2]
/// [MQTT-4.7.3-2] [MQTT-4.7.3-3].
///
/// Cloning is cheap: the bytes are shared.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Bytes);

/// Why some bytes are not an MQTT string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TextError {
    /// Not well-formed UTF-8.
    NotUtf8,
    /// Holds U+0000.
    Nul,
    /// Longer than 65,535 bytes.
    TooLong(usize),
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 => f.write_str("not valid UTF-8"),
            Self::Nul => f.write_str("holds the character U+0000"),
            Self::TooLong(n) => write!(f, "{n} bytes long, the limit is {}", Text::MAX_BYTES),
        }
    }
}

impl std::error::Error for TextError {}

impl Text {
    /// The longest string the wire can carry, in bytes.
    pub const MAX_BYTES: usize = 65_535;

    /// Checks the bytes and takes them over without a copy.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, TextError> {
        let bytes = bytes.into();
        Self::check(&bytes)?;
        Ok(Self(bytes))
    }

    /// Whether these bytes are such a string.
    pub(crate) fn check(bytes: &[u8]) -> Result<(), TextError> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(TextError::TooLong(bytes.len()));
        }
        if is_plain(bytes) { Ok(()) } else { Self::check_closely(bytes) }
    }

    #[cold]
    fn check_closely(bytes: &[u8]) -> Result<(), TextError> {
        if std::str::from_utf8(bytes).is_err() {
            return Err(TextError::NotUtf8);
        }
        if bytes.contains(&0) {
            return Err(TextError::Nul);
        }
        Ok(())
    }

    /// Bytes that passed [`Text::check`].
    pub(crate) const fn checked_before(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// A string known at compile time. Checked when the program is built if used in a `const`.
    pub const fn from_static(text: &'static str) -> Self {
        assert!(text.len() <= Self::MAX_BYTES, "longer than 65,535 bytes");
        let bytes = text.as_bytes();
        let mut i = 0;
        while i < bytes.len() {
            assert!(bytes[i] != 0, "holds U+0000");
            i += 1;
        }
        Self(Bytes::from_static(bytes))
    }

    /// The string.
    pub fn as_str(&self) -> &str {
        // Checked when it was made; the fallback cannot be reached and keeps the crate free of `unsafe`.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The bytes, shared.
    pub const fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Length in bytes.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it is empty.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::ops::Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl TryFrom<&str> for Text {
    type Error = TextError;
    fn try_from(text: &str) -> Result<Self, TextError> {
        Self::new(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl TryFrom<String> for Text {
    type Error = TextError;
    fn try_from(text: String) -> Result<Self, TextError> {
        Self::new(text.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_the_standard_refuses() {
        assert_eq!(Text::new(vec![0xFF]), Err(TextError::NotUtf8));
        assert_eq!(Text::new(vec![0xED, 0xA0, 0x80]), Err(TextError::NotUtf8), "a surrogate");
        assert_eq!(Text::new(vec![b'a', 0]), Err(TextError::Nul));
        assert_eq!(Text::new(vec![b'a'; 65_536]), Err(TextError::TooLong(65_536)));
        assert!(Text::new(vec![b'a'; 65_535]).is_ok());
    }

    #[test]
    fn keeps_the_byte_order_mark() {
        // [MQTT-1.5.4-3]
        let text = Text::new(vec![0xEF, 0xBB, 0xBF, b'x']).unwrap();
        assert_eq!(text.as_str(), "\u{FEFF}x");
    }
}
