//! One attempt to open a link: what recovery decided and the link obeys, on ground that belongs to neither.

use std::time::Duration;

use crate::codec::packet::Version;

/// An attempt that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Consecutive attempts since the last link, from 1.
    pub number: u32,
    /// Index of the server.
    pub server: usize,
    /// The version to speak.
    pub version: Version,
    /// Limit of opening the transport.
    pub connect_limit: Duration,
    /// Limit from the open transport to CONNACK.
    pub connack_limit: Duration,
    /// Use no topic aliases: this server does not understand ours.
    pub clean_of_aliases: bool,
    /// So often the window is halved: this server counts differently.
    pub window_halvings: u32,
    /// So often a quarter is taken off the silence before a ping: this server found our pings late.
    pub ping_quarters: u32,
}
