//! The way to the broker of a row: plain TCP.

use std::net::SocketAddr;

use rejoin::{Builder, Client};

/// A client of the broker at this address.
pub(crate) fn to(addr: SocketAddr) -> Builder {
    Client::builder(&format!("mqtt://{addr}"))
}
