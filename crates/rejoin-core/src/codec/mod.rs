//! Bytes to packets and back, for both versions.
//!
//! [`Decoder`] takes chunks as they were read and gives whole packets whose topics and payloads share those
//! chunks; [`encode()`] appends a packet to a buffer. Both are strict: what the standard forbids is an error that
//! names the packet and the field. Nothing here goes beyond the standards, so every server understands it
//! [MQTT311-7.0.0-2].

mod body;
mod decode;
mod encode;
mod error;
mod header;
pub mod packet;
mod primitives;
mod property;
mod property_sets;
pub mod reason;
mod valid;

pub use decode::{Decoded, Decoder, Limits, Sender};
pub(crate) use encode::{check, check_publish, encode_ack, properties_len};
pub use encode::{encode, encode_publish_head, encoded_len, publish_len};
pub use error::{DecodeError, EncodeError};
