//! Topic names and topic filters: parsed once, trusted afterwards.

use std::fmt;

use crate::text::{Text, TextError};

/// A topic name one can publish to: not empty, no wildcard, no U+0000, at most 65,535 bytes.
///
/// ```
/// use rejoin_core::TopicName;
/// assert!(TopicName::new("room/1/temp").is_ok());
/// let error = TopicName::new("room/+/temp").unwrap_err();
/// assert_eq!(error.to_string(), "topic `room/+/temp`: a topic name must not hold the wildcard `+`; wildcards belong in subscriptions");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Text);

/// The topic of a PUBLISH: without a wildcard [MQTT-3.3.2-2], and empty only where a topic alias stands for it (5.0).
///
/// It has what it is made of checked once, so that nothing has to be looked at again when the packet is written.
///
/// ```
/// use rejoin_core::{PublishTopic, Text, TopicName};
/// let topic = PublishTopic::from(TopicName::new("room/1/temp")?);
/// assert_eq!(topic.as_str(), "room/1/temp");
/// assert!(PublishTopic::try_from(Text::from_static("room/#")).is_err());
/// assert!(PublishTopic::default().is_empty());
/// # Ok::<(), rejoin_core::TopicError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublishTopic(Text);

/// A topic filter one can subscribe to, shared ones (`$share/group/filter`) included.
///
/// ```
/// use rejoin_core::{TopicFilter, TopicName};
/// let filter = TopicFilter::new("$share/workers/jobs/#")?;
/// assert!(filter.matches("jobs/7"));
/// assert!(filter.is_shared());
/// # Ok::<(), rejoin_core::TopicError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter(Text);

/// Why a topic name or filter was refused. Holds the text as it was given, cut to 256 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicError {
    text: String,
    kind: TopicErrorKind,
}

/// What is wrong with a topic name or filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicErrorKind {
    /// Not an MQTT string.
    Text(TextError),
    /// Zero characters [MQTT-4.7.3-1].
    Empty,
    /// A wildcard in a topic name [MQTT-3.3.2-2].
    WildcardInName(char),
    /// `#` not alone in its level or not last [MQTT-4.7.1-1].
    HashMisplaced,
    /// `+` not alone in its level [MQTT-4.7.1-2].
    PlusMisplaced,
    /// `$share/` without a group name, with a wildcard in it, or without a filter [MQTT-4.8.2-1] [MQTT-4.8.2-2].
    Share,
}

impl TopicError {
    fn new(text: &[u8], kind: TopicErrorKind) -> Self {
        Self { text: String::from_utf8_lossy(text).chars().take(256).collect(), kind }
    }

    /// What is wrong.
    pub const fn kind(&self) -> TopicErrorKind {
        self.kind
    }
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "topic `{}`: ", self.text.escape_debug())?;
        match self.kind {
            TopicErrorKind::Text(e) => write!(f, "{e}"),
            TopicErrorKind::Empty => f.write_str("empty; give at least one character"),
            TopicErrorKind::WildcardInName(c) => {
                write!(f, "a topic name must not hold the wildcard `{c}`; wildcards belong in subscriptions")
            }
            TopicErrorKind::HashMisplaced => {
                f.write_str("the wildcard `#` must be the last level and stand alone in it")
            }
            TopicErrorKind::PlusMisplaced => f.write_str("the wildcard `+` must stand alone in its level"),
            TopicErrorKind::Share => f.write_str(
                "a shared filter is `$share/GROUP/FILTER` with a group name without `/`, `+` and `#`",
            ),
        }
    }
}

impl std::error::Error for TopicError {}

fn text(given: impl Into<bytes::Bytes>) -> Result<Text, TopicError> {
    let bytes = given.into();
    match Text::new(bytes.clone()) {
        Ok(text) if text.is_empty() => Err(TopicError::new(&bytes, TopicErrorKind::Empty)),
        Ok(text) => Ok(text),
        Err(e) => Err(TopicError::new(&bytes[..bytes.len().min(1024)], TopicErrorKind::Text(e))),
    }
}

impl TopicName {
    /// Checks and takes over a topic name. An owned string or `Bytes` is not copied.
    pub fn new(name: impl Into<bytes::Bytes>) -> Result<Self, TopicError> {
        Self::try_from(text(name)?)
    }

    /// A text that came out of a `TopicName`.
    pub(crate) const fn checked_before(text: Text) -> Self {
        Self(text)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The name as an MQTT string.
    pub const fn text(&self) -> &Text {
        &self.0
    }
}

impl TryFrom<Text> for TopicName {
    type Error = TopicError;
    fn try_from(text: Text) -> Result<Self, TopicError> {
        if text.is_empty() {
            return Err(TopicError::new(&[], TopicErrorKind::Empty));
        }
        PublishTopic::try_from(text).map(|topic| Self(topic.0))
    }
}

impl PublishTopic {
    /// A topic known at compile time. Checked when the program is built if used in a `const`.
    ///
    /// # Panics
    /// If it is no topic of a PUBLISH.
    pub const fn from_static(topic: &'static str) -> Self {
        let mut i = 0;
        while i < topic.len() {
            assert!(!matches!(topic.as_bytes()[i], b'+' | b'#'), "holds a wildcard");
            i += 1;
        }
        Self(Text::from_static(topic))
    }

    /// A text in which no wildcard was found.
    pub(crate) const fn checked_before(text: Text) -> Self {
        Self(text)
    }

    /// The topic as an MQTT string.
    pub const fn text(&self) -> &Text {
        &self.0
    }
}

impl From<TopicName> for PublishTopic {
    fn from(name: TopicName) -> Self {
        Self(name.0)
    }
}

impl From<PublishTopic> for Text {
    fn from(topic: PublishTopic) -> Self {
        topic.0
    }
}

impl TryFrom<Text> for PublishTopic {
    type Error = TopicError;
    fn try_from(text: Text) -> Result<Self, TopicError> {
        match text.as_bytes().iter().find(|b| matches!(b, b'+' | b'#')) {
            Some(b) => Err(TopicError::new(text.as_bytes(), TopicErrorKind::WildcardInName(char::from(*b)))),
            None => Ok(Self(text)),
        }
    }
}

impl std::ops::Deref for PublishTopic {
    type Target = Text;
    fn deref(&self) -> &Text {
        &self.0
    }
}

impl fmt::Debug for PublishTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TopicFilter {
    /// Checks and takes over a topic filter.
    pub fn new(filter: impl Into<bytes::Bytes>) -> Result<Self, TopicError> {
        let text = text(filter)?;
        let plain = match text.as_bytes().strip_prefix(b"$share/") {
            None => &text.as_bytes()[..],
            Some(rest) => {
                let group_end = rest.iter().position(|b| *b == b'/').unwrap_or(0);
                let group_ok = group_end > 0 && !rest[..group_end].iter().any(|b| matches!(b, b'+' | b'#'));
                if !group_ok || rest.len() == group_end + 1 {
                    return Err(TopicError::new(text.as_bytes(), TopicErrorKind::Share));
                }
                &rest[group_end + 1..]
            }
        };
        let mut levels = plain.split(|b| *b == b'/').peekable();
        while let Some(level) = levels.next() {
            if level.contains(&b'#') && (level.len() > 1 || levels.peek().is_some()) {
                return Err(TopicError::new(text.as_bytes(), TopicErrorKind::HashMisplaced));
            }
            if level.contains(&b'+') && level.len() > 1 {
                return Err(TopicError::new(text.as_bytes(), TopicErrorKind::PlusMisplaced));
            }
        }
        Ok(Self(text))
    }

    /// The filter as it was given, `$share/...` included.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The filter as an MQTT string.
    pub const fn text(&self) -> &Text {
        &self.0
    }

    /// Whether it is a shared subscription.
    pub fn is_shared(&self) -> bool {
        self.0.as_bytes().starts_with(b"$share/")
    }

    /// Whether it holds a wildcard.
    pub fn has_wildcard(&self) -> bool {
        self.plain().iter().any(|b| matches!(b, b'+' | b'#'))
    }

    /// The part that is matched against topics: of `$share/g/f` it is `f`.
    fn plain(&self) -> &[u8] {
        match self.0.as_bytes().strip_prefix(b"$share/") {
            None => self.0.as_bytes(),
            Some(rest) => rest.iter().position(|b| *b == b'/').map_or(&[], |at| &rest[at + 1..]),
        }
    }

    /// Whether a message on `topic` belongs to this filter. Byte for byte, no normalisation [MQTT-4.7.3-4].
    pub fn matches(&self, topic: &str) -> bool {
        self.matches_bytes(topic.as_bytes())
    }

    /// The same for a topic as a message holds it, whose text is not looked at once more.
    pub fn matches_text(&self, topic: &Text) -> bool {
        self.matches_bytes(topic.as_bytes())
    }

    fn matches_bytes(&self, topic: &[u8]) -> bool {
        let filter = self.plain();
        // Most filters have no wildcard, and one that is the topic itself matches whatever it holds.
        if filter == topic {
            return true;
        }
        // A leading wildcard never matches a topic that begins with `$` [MQTT-4.7.2-1].
        if topic.first() == Some(&b'$') && matches!(filter.first(), Some(b'+' | b'#')) {
            return false;
        }
        let mut topic_levels = topic.split(|b| *b == b'/');
        for level in filter.split(|b| *b == b'/') {
            // `a/#` matches `a` as well [MQTT 5.0, 4.7.1.2].
            if level == b"#" {
                return true;
            }
            match topic_levels.next() {
                Some(given) if level == b"+" || level == given => {}
                _ => return false,
            }
        }
        topic_levels.next().is_none()
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! from_text {
    ($($type:ty),*) => {$(
        impl TryFrom<&str> for $type {
            type Error = TopicError;
            fn try_from(text: &str) -> Result<Self, TopicError> {
                Self::new(bytes::Bytes::copy_from_slice(text.as_bytes()))
            }
        }
        impl TryFrom<String> for $type {
            type Error = TopicError;
            fn try_from(text: String) -> Result<Self, TopicError> {
                Self::new(text.into_bytes())
            }
        }
        impl TryFrom<&String> for $type {
            type Error = TopicError;
            fn try_from(text: &String) -> Result<Self, TopicError> {
                Self::try_from(text.as_str())
            }
        }
        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str { self.as_str() }
        }
    )*};
}
from_text!(TopicName, TopicFilter);

/// Lets functions take anything that becomes a topic, a checked topic included.
impl From<std::convert::Infallible> for TopicError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl From<TopicName> for TopicFilter {
    fn from(name: TopicName) -> Self {
        Self(name.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_standard_says() {
        let cases = [
            ("a/b", "a/b", true),
            ("a/b", "a/c", false),
            ("a/+", "a/b", true),
            ("a/+", "a", false),
            ("a/+", "a/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("sport/#", "sport", true),
            ("sport/#", "sport/a/b", true),
            ("#", "a/b", true),
            // [MQTT-4.7.2-1]
            ("#", "$SYS/uptime", false),
            ("+/uptime", "$SYS/uptime", false),
            ("$SYS/#", "$SYS/uptime", true),
            ("$SYS/+", "$SYS/uptime", true),
            // [MQTT-4.7.3-4]
            ("ACCOUNTS", "accounts", false),
            ("a//b", "a/b", false),
            ("$share/g/a/+", "a/b", true),
            ("$share/g/a/+", "g/a/b", false),
            ("$share/g/#", "$SYS/x", false),
        ];
        for (filter, topic, expected) in cases {
            let parsed = TopicFilter::try_from(filter).unwrap();
            assert_eq!(parsed.matches(topic), expected, "{filter} ~ {topic}");
            assert_eq!(parsed.matches_text(&Text::try_from(topic).unwrap()), expected, "{filter} ~ {topic}");
        }
    }

    #[test]
    fn refuses_what_the_standard_refuses() {
        let cases = [
            ("", TopicErrorKind::Empty),                   // [MQTT-4.7.3-1]
            ("a/#/b", TopicErrorKind::HashMisplaced),      // [MQTT-4.7.1-1]
            ("a#", TopicErrorKind::HashMisplaced),         // [MQTT-4.7.1-1]
            ("a+/b", TopicErrorKind::PlusMisplaced),       // [MQTT-4.7.1-2]
            ("$share//a", TopicErrorKind::Share),          // [MQTT-4.8.2-1]
            ("$share/g", TopicErrorKind::Share),           // [MQTT-4.8.2-2]
            ("$share/g/", TopicErrorKind::Share),          // [MQTT-4.8.2-2]
            ("$share/g+/a", TopicErrorKind::Share),        // [MQTT-4.8.2-2]
            ("a\0", TopicErrorKind::Text(TextError::Nul)), // [MQTT-4.7.3-2]
        ];
        for (filter, expected) in cases {
            assert_eq!(TopicFilter::try_from(filter).unwrap_err().kind(), expected, "{filter:?}");
        }
        // [MQTT-4.7.3-3]
        let long = "a".repeat(65_536);
        assert_eq!(
            TopicName::try_from(long).unwrap_err().kind(),
            TopicErrorKind::Text(TextError::TooLong(65_536))
        );
        // [MQTT-3.3.2-2] [MQTT-4.7.0-1]
        assert_eq!(TopicName::try_from("a/#").unwrap_err().kind(), TopicErrorKind::WildcardInName('#'));
    }
}
