//! What a seed decides before the first second.

use std::time::Duration;

use fastrand::Rng;
use rejoin::VersionPolicy;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) tls: bool,
    pub(crate) version: VersionPolicy,
    /// Messages in flight, in each direction.
    pub(crate) window: u16,
    /// Messages the queue takes.
    pub(crate) queue: u64,
    /// A message whose handler failed is asked for again.
    pub(crate) handler_restarts: bool,
    /// The application ends after so many acts, whatever the weather.
    pub(crate) ends_after: Option<u32>,
    /// How long it takes a packet, at most.
    pub(crate) latency: Duration,
    /// How long faults happen.
    pub(crate) trouble: Duration,
    /// The mean time between two faults.
    pub(crate) every: Duration,
    pub(crate) applications: usize,
    /// The broker may come back without its sessions.
    pub(crate) loses_sessions: bool,
}

impl Setting {
    pub(crate) fn draw(dice: &mut Rng) -> Self {
        Self {
            tls: dice.u8(0..3) == 0,
            version: if dice.u8(0..3) == 0 { VersionPolicy::Only311 } else { VersionPolicy::Only5 },
            window: [1, 2, 5, 20, 100][dice.usize(0..5)],
            queue: [20, 500, 100_000][dice.usize(0..3)],
            handler_restarts: dice.u8(0..4) == 0,
            ends_after: (dice.u8(0..3) == 0).then(|| dice.u32(1..300)),
            latency: Duration::from_millis([5, 40, 300][dice.usize(0..3)]),
            trouble: Duration::from_secs(dice.u64(30..150)),
            every: Duration::from_secs([4, 15, 40][dice.usize(0..3)]),
            applications: dice.usize(1..3),
            loses_sessions: dice.bool(),
        }
    }
}
