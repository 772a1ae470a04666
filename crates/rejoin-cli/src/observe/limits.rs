//! Every bound of the server, by name. Whoever opens pages, reads slowly or not at all meets one of these, and the
//! client notices nothing: the server runs on a thread of its own.

use std::time::Duration;

/// The bounds. The defaults are for one program watched by a few people and one Prometheus.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections at a time. Above it a new one is answered with 503. A browser opens six at most.
    pub(crate) connections: usize,
    /// Event streams at a time, of these connections. Above it the answer is 503; the rest stays for snapshots, scrapes
    /// and probes.
    pub(crate) streams: usize,
    /// How long a connection may go on reading without anything having been written to it: for a request that comes
    /// slowly, for one that never comes, for a body. While somebody acts on what was asked for, `act` is the limit.
    pub(crate) quiet: Duration,
    /// How long a written byte may wait for a reader who does not read.
    pub(crate) write: Duration,
    /// A comment on a stream this long after its last byte, so that both ends see that it lives. Less than `quiet`.
    pub(crate) keep_alive: Duration,
    /// Updates held for readers who come back: five minutes at four a second.
    pub(crate) ring: usize,
    /// Bytes of them.
    pub(crate) ring_bytes: usize,
    /// Bytes the system holds for a reader who does not read; the kernel doubles it.
    pub(crate) send_buffer: u32,
    /// Bytes of the body of a request.
    pub(crate) body: usize,
    /// Two updates are at least this far apart; what happens in between comes together.
    pub(crate) apart: Duration,
    /// Requests to act that wait for their turn.
    pub(crate) asked: usize,
    /// How long one of them may take.
    pub(crate) act: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            streams: 32,
            quiet: Duration::from_secs(15),
            write: Duration::from_secs(10),
            keep_alive: Duration::from_secs(5),
            ring: 1_200,
            ring_bytes: 8 << 20,
            send_buffer: 64 << 10,
            body: 4 << 10,
            apart: Duration::from_millis(50),
            asked: 16,
            act: Duration::from_secs(10),
        }
    }
}
