//! What the judge writes down.

use std::fmt;

use rejoin_core::codec::reason::ReasonCode;

use super::ConnectionId;

/// A rule of the standard that a client broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The connection it happened on.
    pub connection: ConnectionId,
    /// The client id; empty before CONNECT.
    pub client: String,
    /// The clause, as in `MQTT-4.4.0-1`. Rules the standard does not number begin with `u5-`.
    pub clause: &'static str,
    /// What happened.
    pub detail: String,
    /// Whether a fault of the network or of the broker's own manners could look the same, so that this is a
    /// suspicion and no proof: a keep-alive overrun on a frozen path, for example.
    pub suspicion: bool,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.suspicion { "suspicion" } else { "violation" };
        write!(f, "{word} of [{}] by `{}` on {}: {}", self.clause, self.client, self.connection, self.detail)
    }
}

/// What the broker does about a violation besides writing it down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Penalty {
    /// Nothing: the exchange goes on.
    None,
    /// Close the connection, at 5.0 with this code in DISCONNECT.
    Close(ReasonCode),
}

/// A fault found while a packet is handled.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) clause: &'static str,
    pub(super) detail: String,
    pub(super) penalty: Penalty,
    pub(super) suspicion: bool,
}

impl Fault {
    pub(super) const fn noted(clause: &'static str, detail: String) -> Self {
        Self { clause, detail, penalty: Penalty::None, suspicion: false }
    }

    pub(super) const fn fatal(clause: &'static str, reason: ReasonCode, detail: String) -> Self {
        Self { clause, detail, penalty: Penalty::Close(reason), suspicion: false }
    }
}
