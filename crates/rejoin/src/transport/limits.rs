//! The limits of the stages of opening a link.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// How long each stage of opening a link may take. All stand under the two clocks of the attempt,
/// [`crate::Builder::connect_timeout`] up to the first handshake and [`crate::Builder::connack_timeout`] from there, but
/// for the credentials: while the application is asked, no clock of a server runs.
///
/// ```no_run
/// # fn example() -> Result<(), rejoin::BuildError> {
/// use std::time::Duration;
/// let client = rejoin::Client::builder("mqtt://broker.example")
///     .stage_limits(|limits| limits.dns = Duration::from_secs(2))
///     .start()?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StageLimits {
    /// The credential provider, and each step of enhanced authentication. Default 10 s, on a clock of its own.
    pub credentials: Duration,
    /// Name look-up. Default 5 s: what it leaves of the clock must be enough to connect. When it is over, addresses
    /// that worked before are used.
    pub dns: Duration,
    /// TCP connect to one address. Default 10 s; addresses are raced, so a dead one does not hold up the others.
    pub tcp: Duration,
    /// Head start of one address before the next is tried beside it. Default 250 ms [RFC 8305, 5].
    pub head_start: Duration,
    /// The tunnel through a proxy. Default 10 s.
    pub proxy: Duration,
    /// TLS handshake. Default 60 s, to which the clock of the handshakes grows: until then that one decides, because the
    /// broker may have a queue, and leaving it early wastes the slot.
    pub tls: Duration,
    /// WebSocket handshake. Default 60 s, for the same reason.
    pub websocket: Duration,
}

impl StageLimits {
    /// The default ones are in memory once, however many clients there are.
    pub(crate) fn shared(self) -> Arc<Self> {
        static DEFAULT: LazyLock<Arc<StageLimits>> = LazyLock::new(Arc::default);
        if self == **DEFAULT { Arc::clone(&DEFAULT) } else { Arc::new(self) }
    }
}

impl Default for StageLimits {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self {
            credentials: secs(10),
            dns: secs(5),
            tcp: secs(10),
            head_start: Duration::from_millis(250),
            proxy: secs(10),
            tls: secs(60),
            websocket: secs(60),
        }
    }
}
