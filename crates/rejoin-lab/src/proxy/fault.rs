//! What can be done to a connection, and the state of a path.

use std::fmt;
use std::time::Duration;

use crate::wire::{Direction, Ending, PacketKind, Times};

/// Something that goes wrong between client and broker. The direction is given when it is injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// New connections are refused, as if nobody listened; live ones go on. The direction does not matter.
    Refuse,
    /// Bytes are held, and go on when it heals. Nothing ends, nothing is lost: a Wi-Fi gap, a suspended machine.
    Freeze,
    /// Nothing more is read, so that the sender's buffers fill. Bytes already taken go on.
    Stall,
    /// Bytes are dropped for good: connections it has touched are dead until somebody closes them, and neither
    /// FIN nor RST gets through. A lost NAT entry, a firewall. Healing helps new connections only.
    BlackHole,
    /// Each chunk arrives later, by this and a random part of the jitter. The order stays, as TCP has it. At most 1 MiB is
    /// under way in each direction; what comes beyond that waits for room.
    Latency {
        /// The least delay.
        delay: Duration,
        /// The most that is added.
        jitter: Duration,
    },
    /// At most so many bytes per second, for each connection. At least 1.
    Bandwidth(u64),
    /// Chunks of 1 to this many bytes, each in a write of its own.
    Slice(usize),
    /// Packets of a kind are swallowed. TCP cannot do this: it stands for a broker that never answered.
    Lose(PacketKind, Times),
    /// The first connection that has passed this many bytes since its start is ended right there, then this
    /// fault is over.
    CutAfter {
        /// Bytes that still pass.
        bytes: u64,
        /// How it is ended.
        ending: Ending,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refuse => f.write_str("refuse"),
            Self::Freeze => f.write_str("freeze"),
            Self::Stall => f.write_str("stall"),
            Self::BlackHole => f.write_str("black hole"),
            Self::Latency { delay, jitter } if jitter.is_zero() => write!(f, "latency {delay:?}"),
            Self::Latency { delay, jitter } => write!(f, "latency {delay:?} + {jitter:?}"),
            Self::Bandwidth(rate) => write!(f, "bandwidth {rate} B/s"),
            Self::Slice(most) => write!(f, "slice 1..{most} B"),
            Self::Lose(kind, Times::Count(n)) => write!(f, "lose {n} {kind}"),
            Self::Lose(kind, _) => write!(f, "lose {kind}"),
            Self::CutAfter { bytes, ending } => write!(f, "{ending} after {bytes} B"),
        }
    }
}

/// The conditions of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OneWay {
    pub(super) frozen: bool,
    pub(super) stalled: bool,
    pub(super) black_hole: bool,
    pub(super) latency: Option<(Duration, Duration)>,
    pub(super) bandwidth: Option<u64>,
    pub(super) slice: Option<usize>,
    pub(super) losses: Vec<(PacketKind, Times)>,
    pub(super) cut: Option<(u64, Ending)>,
}

/// The conditions of a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    pub(super) refusing: bool,
    /// The broker is known to be down ([`super::Proxy::follow`]); no fault of ours, so nothing heals it.
    pub(super) broker_down: bool,
    pub(super) up: OneWay,
    pub(super) down: OneWay,
}

impl OneWay {
    fn is_passing(&self) -> bool {
        !self.frozen && !self.stalled && !self.black_hole
    }

    fn set(&mut self, fault: Fault, on: bool) {
        match fault {
            Fault::Refuse => {}
            Fault::Freeze => self.frozen = on,
            Fault::Stall => self.stalled = on,
            Fault::BlackHole => self.black_hole = on,
            Fault::Latency { delay, jitter } => self.latency = on.then_some((delay, jitter)),
            Fault::Bandwidth(rate) => self.bandwidth = on.then_some(rate.max(1)),
            Fault::Slice(most) => self.slice = on.then_some(most.max(1)),
            Fault::Lose(kind, times) => {
                self.losses.retain(|(lost, _)| *lost != kind);
                if on {
                    self.losses.push((kind, times));
                }
            }
            Fault::CutAfter { bytes, ending } => self.cut = on.then_some((bytes, ending)),
        }
    }
}

impl Conditions {
    /// Whether bytes get through, both ways, and new connections are taken.
    pub(super) fn is_passing(&self) -> bool {
        self.is_open() && self.up.is_passing() && self.down.is_passing()
    }

    /// Whether new connections are taken.
    pub(super) fn is_open(&self) -> bool {
        !self.refusing && !self.broker_down
    }

    pub(super) fn set(&mut self, fault: Fault, direction: Direction, on: bool) {
        if fault == Fault::Refuse {
            self.refusing = on;
        }
        if direction.is_up() {
            self.up.set(fault, on);
        }
        if direction.is_down() {
            self.down.set(fault, on);
        }
    }
}
