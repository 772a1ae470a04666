//! Time as the core sees it: two clocks that come in as arguments, never read.

use std::time::Duration;

/// A point on a monotonic clock, in microseconds since an origin the caller chose.
///
/// Own type instead of `std::time::Instant`: it can be built, printed and written to a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The origin of the clock.
    pub const ZERO: Self = Self(0);
    /// A moment that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment `micros` microseconds after the origin.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the origin.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Time since `earlier`; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// Both clocks at one moment.
///
/// `mono` drives every timer and never goes backwards. `wall_ms` is only used for what must outlive the
/// process: the expiry of stored messages. A jump of the wall clock fires no timer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock.
    pub mono: Timestamp,
    /// Milliseconds since the Unix epoch.
    pub wall_ms: u64,
}

impl Now {
    /// A moment on both clocks.
    pub const fn new(mono: Timestamp, wall_ms: u64) -> Self {
        Self { mono, wall_ms }
    }
}

/// Why the engine wants to be woken. The first question in any stall is "what is it waiting for?".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TimerKind {
    /// The next connection attempt is due.
    Retry,
    /// The transport did not open in time.
    Connect,
    /// CONNACK did not come in time.
    Connack,
    /// One direction was idle: send a PINGREQ.
    Ping,
    /// A PINGRESP is late: the link becomes suspect.
    Suspect,
    /// No PINGRESP: the link is dead.
    PingTimeout,
    /// The socket takes no bytes.
    WriteStall,
    /// No acknowledgement of any kind came.
    AckProgress,
    /// The server does not go on with an exchange of AUTH on an open link.
    Auth,
    /// No PUBLISH came for the configured time.
    HealthWatch,
    /// The oldest queued message expires.
    Expiry,
    /// A message refused with a passing reason, or a refused filter, is due again.
    Redo,
    /// A link in quarantine has shown that it lives without the suspect message.
    Control,
    /// The shutdown deadline.
    Shutdown,
    /// Credentials are about to end, or the change-over to new ones is due.
    Renewal,
}
