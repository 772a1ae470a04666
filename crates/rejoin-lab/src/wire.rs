//! The words for what goes over a connection: kinds of packets, directions, ways to end, counts.

use std::fmt;
use std::str::FromStr;

use rejoin_core::codec::packet::Packet;

/// The kind of a control packet, as the first four bits of its fixed header say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each variant is named after its packet")]
pub enum PacketKind {
    Connect = 1,
    ConnAck = 2,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    SubAck = 9,
    Unsubscribe = 10,
    UnsubAck = 11,
    PingReq = 12,
    PingResp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketKind {
    /// Every kind, in the order of the numbers on the wire.
    pub const ALL: [Self; 15] = [
        Self::Connect,
        Self::ConnAck,
        Self::Publish,
        Self::PubAck,
        Self::PubRec,
        Self::PubRel,
        Self::PubComp,
        Self::Subscribe,
        Self::SubAck,
        Self::Unsubscribe,
        Self::UnsubAck,
        Self::PingReq,
        Self::PingResp,
        Self::Disconnect,
        Self::Auth,
    ];

    /// The kind that the first byte of a packet names; `None` for the reserved 0.
    pub fn from_first_byte(byte: u8) -> Option<Self> {
        match byte >> 4 {
            0 => None,
            n => Some(Self::ALL[usize::from(n) - 1]),
        }
    }

    /// The kind of a packet.
    pub const fn of(packet: &Packet) -> Self {
        match packet {
            Packet::Connect(_) => Self::Connect,
            Packet::ConnAck(_) => Self::ConnAck,
            Packet::Publish(_) => Self::Publish,
            Packet::PubAck(_) => Self::PubAck,
            Packet::PubRec(_) => Self::PubRec,
            Packet::PubRel(_) => Self::PubRel,
            Packet::PubComp(_) => Self::PubComp,
            Packet::Subscribe(_) => Self::Subscribe,
            Packet::SubAck(_) => Self::SubAck,
            Packet::Unsubscribe(_) => Self::Unsubscribe,
            Packet::UnsubAck(_) => Self::UnsubAck,
            Packet::PingReq => Self::PingReq,
            Packet::PingResp => Self::PingResp,
            Packet::Disconnect(_) => Self::Disconnect,
            Packet::Auth(_) => Self::Auth,
        }
    }

    /// The name as the standard writes it, such as `PUBACK`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::ConnAck => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::PingReq => "PINGREQ",
            Self::PingResp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }
}

impl fmt::Display for PacketKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for PacketKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| format!("no MQTT packet is called `{text}`; write it as in `PUBACK`"))
    }
}

/// Which way bytes go, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the client to the broker.
    Up,
    /// From the broker to the client.
    Down,
    /// Both ways.
    Both,
}

impl Direction {
    /// Whether this includes the way from the client to the broker.
    pub const fn is_up(self) -> bool {
        matches!(self, Self::Up | Self::Both)
    }

    /// Whether this includes the way from the broker to the client.
    pub const fn is_down(self) -> bool {
        matches!(self, Self::Down | Self::Both)
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Both => "both",
        })
    }
}

/// How a TCP connection is ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ending {
    /// Orderly: what was written arrives, then the end of the stream.
    #[default]
    Fin,
    /// A reset: what is under way may be lost.
    Rst,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fin => "FIN",
            Self::Rst => "RST",
        })
    }
}

/// How many more times something is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Times {
    /// Not at all.
    #[default]
    Never,
    /// So many times, then never again.
    Count(u32),
    /// Every time.
    Always,
}

impl Times {
    /// Just the next time.
    pub const ONCE: Self = Self::Count(1);

    /// Whether it is to be done now; a count goes down by one.
    pub fn take(&mut self) -> bool {
        match self {
            Self::Never | Self::Count(0) => false,
            Self::Count(n) => {
                *n -= 1;
                true
            }
            Self::Always => true,
        }
    }
}
