//! What can be wrong with bytes that came, and with packets that are to be written.

use std::fmt;

use super::reason::ReasonCode;

/// Why bytes from the peer are not the next packet. The stream cannot be read any further: close the connection,
/// at MQTT 5.0 with a DISCONNECT that carries [`DecodeError::reason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes do not parse as the packet they claim to be.
    Malformed {
        /// Packet, as the standard writes it.
        packet: &'static str,
        /// Field of the packet.
        field: &'static str,
        /// What is wrong with the field.
        problem: &'static str,
    },
    /// The bytes parse, but the standard forbids what they say.
    Protocol {
        /// Packet, as the standard writes it.
        packet: &'static str,
        /// Field of the packet.
        field: &'static str,
        /// What is wrong with the field.
        problem: &'static str,
    },
    /// A PUBLISH with topic alias 0 [MQTT-3.3.2-8].
    TopicAliasZero,
    /// A CONNECT of another protocol version; answer with the code of [`DecodeError::reason`].
    UnsupportedVersion {
        /// Protocol level asked for.
        level: u8,
    },
    /// More user properties than [`super::Limits::max_user_properties`].
    TooManyUserProperties {
        /// Packet that carries them.
        packet: &'static str,
        /// The limit that was passed.
        limit: usize,
    },
    /// A packet above [`super::Limits::max_packet_size`], told by its header alone.
    TooLarge {
        /// Packet, as the standard writes it.
        packet: &'static str,
        /// Size of the whole packet, in bytes.
        size: u32,
        /// The limit that was passed, in bytes.
        limit: u32,
    },
    /// The first bytes of the connection are no MQTT: most likely another service listens on that port.
    NotMqtt {
        /// What the bytes look like, such as `HTTP`, where they can be recognised.
        looks_like: Option<&'static str>,
    },
}

impl DecodeError {
    /// The code that tells the peer, for DISCONNECT or CONNACK.
    pub const fn reason(&self) -> ReasonCode {
        match self {
            Self::Malformed { .. } | Self::NotMqtt { .. } => ReasonCode::MALFORMED_PACKET,
            Self::Protocol { .. } => ReasonCode::PROTOCOL_ERROR,
            Self::TopicAliasZero => ReasonCode::TOPIC_ALIAS_INVALID,
            Self::UnsupportedVersion { .. } => ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
            Self::TooManyUserProperties { .. } => ReasonCode::QUOTA_EXCEEDED,
            Self::TooLarge { .. } => ReasonCode::PACKET_TOO_LARGE,
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Malformed { packet, field, problem } => write!(f, "malformed {packet}: {field} {problem}"),
            Self::Protocol { packet, field, problem } => {
                write!(f, "protocol error in {packet}: {field} {problem}")
            }
            Self::TopicAliasZero => f.write_str("protocol error in PUBLISH: topic alias is zero"),
            Self::UnsupportedVersion { level } => {
                write!(f, "unsupported protocol level {level} in CONNECT, use 4 (MQTT 3.1.1) or 5 (MQTT 5.0)")
            }
            Self::TooManyUserProperties { packet, limit } => {
                write!(f, "more than {limit} user properties in {packet}, raise the limit or send fewer")
            }
            Self::TooLarge { packet, size, limit } => write!(
                f,
                "{packet} of {size} bytes is above the limit of {limit}, raise the limit on inbound packets"
            ),
            Self::NotMqtt { looks_like: Some(what) } => {
                write!(f, "the peer does not speak MQTT but {what}, check host, port and scheme")
            }
            Self::NotMqtt { looks_like: None } => {
                f.write_str("the peer does not speak MQTT, check host, port and scheme")
            }
        }
    }
}

impl std::error::Error for DecodeError {}

/// Why a packet must not be written. Nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// A field holds what the standard forbids.
    Invalid {
        /// Packet, as the standard writes it.
        packet: &'static str,
        /// Field of the packet.
        field: &'static str,
        /// What is wrong with the field.
        problem: &'static str,
    },
    /// Above what a packet can be: 268,435,455 bytes after the fixed header.
    TooLarge {
        /// Packet, as the standard writes it.
        packet: &'static str,
        /// Size of the packet without its fixed header, in bytes.
        size: usize,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Invalid { packet, field, problem } => {
                write!(f, "{packet} cannot be sent: {field} {problem}")
            }
            Self::TooLarge { packet, size } => {
                write!(f, "{packet} cannot be sent: {size} bytes are more than MQTT's 268,435,455, split it")
            }
        }
    }
}

impl std::error::Error for EncodeError {}
