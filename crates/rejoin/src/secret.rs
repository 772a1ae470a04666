//! What must not be read by others: wiped when it is dropped, and never printed.

use std::fmt;

use bytes::Bytes;
use zeroize::Zeroizing;

/// A password, a token or a key. Its bytes are overwritten when the last copy goes away, and `Debug` shows `***`.
///
/// Copies that are not ours cannot be wiped: the string it was made from, and what the system keeps in its socket
/// buffers.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The bytes. Whoever copies them is responsible for the copy.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as the protocol wants them: shared, and wiped with the last share.
    pub(crate) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        text.as_bytes().to_vec().into()
    }
}

impl From<&[u8]> for Secret {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

impl From<Bytes> for Secret {
    fn from(bytes: Bytes) -> Self {
        Vec::from(bytes).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::from("hunter2");
        assert_eq!(format!("{secret:?} {secret:#?}"), "*** ***");
        assert_eq!(secret.clone().into_bytes(), "hunter2");
        assert_eq!(secret.expose(), b"hunter2");
    }
}
