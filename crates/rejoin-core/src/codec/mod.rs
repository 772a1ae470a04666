//! Bytes to packets and back, for both versions.
pub mod packet;
pub mod reason;
