//! Is this client well? A status, and one check for each thing that can be wrong, with words for people and the time
//! since when it is so. And the answers for probes.
//!
//! ```no_run
//! use rejoin::health::{HealthStatus, Ready, livez, readyz};
//! # fn example(client: &rejoin::Client) {
//! let health = client.health();
//! if health.status != HealthStatus::Healthy {
//!     for check in health.checks.iter().filter(|check| check.status != HealthStatus::Healthy) {
//!         eprintln!("{}: {}", check.name, check.detail);
//!     }
//! }
//! // For any HTTP server: a status code and a body.
//! let alive = livez(client);
//! let ready = readyz(client, Ready::WillDeliver, true);
//! println!("{} {}", alive.status, ready.body);
//! # }
//! ```

mod gap;
mod judge;
mod keep;
pub(crate) mod loopback;
pub(crate) mod observer;
mod probe;
mod vitals;
mod watch;

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use crate::alerts::{Alerts, PatternRules};

pub use gap::{Gap, GapCause};
pub(crate) use gap::{Gaps, Refused};
pub use probe::{Answer, Ready, livez, readyz};
#[cfg(feature = "axum")]
pub(crate) use probe::{livez_of, readyz_of};
pub(crate) use vitals::Ward;
pub use watch::HealthWatch;

/// How well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HealthStatus {
    /// Nothing speaks against it.
    Healthy,
    /// It works, or will again by itself; somebody may want to know.
    Degraded,
    /// It does not do what it is for, and somebody should look.
    Unhealthy,
}

impl HealthStatus {
    /// A short stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One thing that can be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    /// Which: `link`, `subscriptions`, `queue`, `disk`, `latency`, `flapping`, `identity`, `clock` or `handlers`.
    pub name: &'static str,
    /// How it is.
    pub status: HealthStatus,
    /// What is so, in words.
    pub detail: String,
    /// Since when it has this status. Without a task that looks, since somebody first asked.
    pub since: Instant,
}

/// How a client is. See [`Client::health`](crate::Client::health).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// The worst of the checks.
    pub status: HealthStatus,
    /// All checks, always the same ones in the same order.
    pub checks: Vec<Check>,
    /// When it was looked.
    pub at: Instant,
}

impl Health {
    /// The check of this name.
    pub fn check(&self, name: &str) -> Option<&Check> {
        self.checks.iter().find(|check| check.name == name)
    }

    /// As JSON: `{"status": …, "checks": [{"name": …, "status": …, "detail": …, "for_s": 12.3}, …]}`.
    pub fn to_json(&self) -> String {
        let mut json = format!("{{\"status\":\"{}\",\"checks\":[", self.status.name());
        for (n, check) in self.checks.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            let lasted = self.at.saturating_duration_since(check.since).as_secs_f64();
            json.push_str(&format!(
                "{comma}{{\"name\":\"{}\",\"status\":\"{}\",\"detail\":{},\"for_s\":{lasted:.1}}}",
                check.name,
                check.status.name(),
                quoted(&check.detail)
            ));
        }
        json.push_str("]}");
        json
    }

    /// The status code of a health page: 200, or 503 when unhealthy. A degraded client does its work. For probes of an
    /// orchestrator take [`livez`] and [`readyz`]: this one is 503 after a minute without a broker.
    pub const fn http_status(&self) -> u16 {
        if matches!(self.status, HealthStatus::Unhealthy) { 503 } else { 200 }
    }

    /// What is not healthy, in words; empty when all is.
    pub(crate) fn why(&self) -> String {
        let ill = self.checks.iter().filter(|check| check.status != HealthStatus::Healthy);
        ill.map(|check| format!("{}: {}", check.name, check.detail)).collect::<Vec<_>>().join("; ")
    }
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            letter if u32::from(letter) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

/// When something is wrong. Given to [`Builder::health`](crate::Builder::health); change what does not fit:
///
/// ```
/// use std::time::Duration;
/// use rejoin::health::HealthRules;
///
/// let mut rules = HealthRules::default();
/// rules.link_unhealthy_after = Duration::from_secs(300);
/// # drop(rules);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HealthRules {
    /// A link that is not open is degraded at once and unhealthy after this. Default 60 s: a restart of a broker is over
    /// by then.
    pub link_unhealthy_after: Duration,
    /// What a broker that refuses us makes of the link: retrying does not help by itself. Default unhealthy.
    pub refused: HealthStatus,
    /// Share of the queue in percent from which it is degraded, and from which [`Event::QueueHigh`](crate::Event::QueueHigh)
    /// tells. Default 80. A full queue is unhealthy.
    pub queue_high_percent: u8,
    /// A message that waits longer for its answer is degraded. Default 5 min.
    pub queue_oldest: Duration,
    /// What an error of the store makes of the disk. Default unhealthy.
    pub disk_error: HealthStatus,
    /// A ping, or a loopback message, that takes longer is degraded. Default 2 s. What is unusual is for alerts to say: one
    /// that fires on a latency is degraded, too.
    pub slow: Duration,
    /// A stream that takes no message for so long while the window is full holds up all others, and is named. Default 30 s.
    /// A broker may have a smaller window than we ask for: ten messages or more that wait while for as long none is taken
    /// and none comes are a full one, too.
    pub stream_idle: Duration,
    /// The wall clock stepped when it moved further than this from the monotonic one. Default 2 s; above what an adjustment
    /// by NTP does.
    pub clock_step: Duration,
    /// How long a step of the clock is shown. Default 10 min.
    pub clock_shown: Duration,
    /// What is flapping and what a contest about the client id, for health and for alerts. See [`PatternRules`].
    pub patterns: PatternRules,
    /// The driver that does not answer for so long is stuck: [`livez`] fails. Default 30 s.
    pub stuck_after: Duration,
    /// How often the task that watches looks. Default 5 s, or [`Alerts::every`](crate::alerts::Alerts::every) where only
    /// alerts are watched; not below 10 ms nor above 1 h. What happens to the link it sees at once.
    pub every: Duration,
}

impl HealthRules {
    /// The rules asked for, or the default ones that look as often as the alerts.
    pub(crate) fn in_force(asked: Option<Self>, alerts: Option<&Alerts>) -> Arc<Self> {
        static DEFAULT: LazyLock<Arc<HealthRules>> = LazyLock::new(Arc::default);
        let every = alerts.filter(|_| asked.is_none()).map(|alerts| alerts.every);
        let rules = asked.unwrap_or_default();
        let rules = Self { every: pause(every.unwrap_or(rules.every)), ..rules };
        // One for all clients that have no rules of their own.
        if rules == **DEFAULT { Arc::clone(&DEFAULT) } else { Arc::new(rules) }
    }
}

/// The pause between two looks that was asked for, within what makes sense: none would look all the time.
pub(crate) fn pause(every: Duration) -> Duration {
    every.clamp(Duration::from_millis(10), Duration::from_secs(3600))
}

impl Default for HealthRules {
    fn default() -> Self {
        Self {
            link_unhealthy_after: Duration::from_secs(60),
            refused: HealthStatus::Unhealthy,
            queue_high_percent: 80,
            queue_oldest: Duration::from_secs(300),
            disk_error: HealthStatus::Unhealthy,
            slow: Duration::from_secs(2),
            stream_idle: Duration::from_secs(30),
            clock_step: Duration::from_secs(2),
            clock_shown: Duration::from_secs(600),
            patterns: PatternRules::default(),
            stuck_after: Duration::from_secs(30),
            every: crate::alerts::EVERY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_comes_neither_all_the_time_nor_never() {
        assert_eq!(pause(Duration::ZERO), Duration::from_millis(10));
        assert_eq!(pause(Duration::MAX), Duration::from_secs(3600));
        assert_eq!(pause(Duration::from_secs(7)), Duration::from_secs(7));
        let asked = |every| Some(HealthRules { every, ..HealthRules::default() });
        assert_eq!(HealthRules::in_force(asked(Duration::MAX), None).every, Duration::from_secs(3600));
    }

    #[test]
    fn alerts_alone_look_as_seldom_as_they_want() {
        let minute = Duration::from_secs(60);
        let alerts = Alerts::default().every(minute);
        assert_eq!(HealthRules::in_force(None, Some(&alerts)).every, minute);
        assert_eq!(
            HealthRules::in_force(Some(HealthRules::default()), Some(&alerts)).every,
            crate::alerts::EVERY
        );
        assert_eq!(*HealthRules::in_force(None, None), HealthRules::default());
    }
}
