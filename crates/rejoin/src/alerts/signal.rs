//! What alerts look at: one number each, with its unit and the direction in which it is bad.

use std::fmt;
use std::time::Duration;

/// A signal: one number about a client, sampled over time.
///
/// | signal | unit | what it is | worse when |
/// |---|---|---|---|
/// | `Reconnects` | per hour | links lost, those we ended ourselves not counted | more |
/// | `LinkLife` | seconds | how long a link lived, once it is gone | less |
/// | `PingRoundTrip` | seconds | from PINGREQ to PINGRESP | more |
/// | `AckLatency` | seconds | from sending to the acknowledgement of what was sent once, the slowest hundredth since the last look | more |
/// | `QueueAge` | seconds | how long the oldest accepted message waits for its answer | more |
/// | `MessageSilence` | seconds | since the last message came, on an open link with subscriptions | more |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// Links lost, per hour.
    Reconnects,
    /// How long a link lived, in seconds. The only signal that is worse when it is small.
    LinkLife,
    /// From PINGREQ to PINGRESP, in seconds.
    PingRoundTrip,
    /// From sending to the acknowledgement, in seconds: how long the broker takes. What waits for us is in `QueueAge`.
    AckLatency,
    /// Age of the oldest message not answered for, in seconds.
    QueueAge,
    /// Time since the last message came, in seconds.
    MessageSilence,
}

impl Signal {
    /// All of them, in the order in which they are listed everywhere.
    pub const ALL: [Self; 6] = [
        Self::Reconnects,
        Self::LinkLife,
        Self::PingRoundTrip,
        Self::AckLatency,
        Self::QueueAge,
        Self::MessageSilence,
    ];

    /// A short stable name, for labels and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reconnects => "reconnects",
            Self::LinkLife => "link_life",
            Self::PingRoundTrip => "ping_round_trip",
            Self::AckLatency => "ack_latency",
            Self::QueueAge => "queue_age",
            Self::MessageSilence => "message_silence",
        }
    }

    /// Its unit: `s`, or `1/h` for reconnects.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Reconnects => "1/h",
            _ => "s",
        }
    }

    /// Whether a small value is the bad one: only of [`Signal::LinkLife`].
    pub const fn less_is_worse(self) -> bool {
        matches!(self, Self::LinkLife)
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Reconnects => "reconnects",
            Self::LinkLife => "link life",
            Self::PingRoundTrip => "ping round trip",
            Self::AckLatency => "ack latency",
            Self::QueueAge => "queue age",
            Self::MessageSilence => "message silence",
        }
    }

    /// A value of it, for people.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::Reconnects => number(value),
            _ => seconds(value),
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// A limit of a rule: a [`Duration`], or a plain number (seconds, or a count for reconnects).
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Amount(pub(crate) f64);

impl From<Duration> for Amount {
    fn from(time: Duration) -> Self {
        Self(time.as_secs_f64())
    }
}

impl From<f64> for Amount {
    fn from(value: f64) -> Self {
        Self(if value.is_finite() { value.max(0.0) } else { 0.0 })
    }
}

impl From<u32> for Amount {
    fn from(value: u32) -> Self {
        Self(f64::from(value))
    }
}

/// `3`, `2.5`.
pub(crate) fn number(value: f64) -> String {
    let rounded = (value * 10.0).round() / 10.0;
    if rounded.fract() == 0.0 { format!("{rounded:.0}") } else { format!("{rounded:.1}") }
}

/// `12 ms`, `3.1 s`, `31 s`, `12 min`, `3.5 h`, `2 d`: three digits are enough for a person.
pub(crate) fn seconds(value: f64) -> String {
    match value {
        v if v < 0.0005 => format!("{:.0} µs", v * 1e6),
        v if v < 0.9995 => format!("{:.0} ms", v * 1e3),
        v if v < 9.95 => format!("{v:.1} s"),
        v if v < 119.5 => format!("{v:.0} s"),
        v if v < 7195.0 => format!("{:.0} min", v / 60.0),
        v if v < 172_000.0 => format!("{} h", number(v / 3600.0)),
        v => format!("{} d", number(v / 86_400.0)),
    }
}

/// The same for a [`Duration`].
pub(crate) fn time(value: Duration) -> String {
    seconds(value.as_secs_f64())
}

/// The form of settings: `30s`, `10m`, `1h`.
pub(crate) fn setting(value: Duration) -> String {
    let seconds = value.as_secs();
    match seconds {
        0 => format!("{}ms", value.as_millis()),
        s if s % 3600 == 0 => format!("{}h", s / 3600),
        s if s % 60 == 0 && s >= 120 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

/// The middle of some values; the mean of the two middle ones where their number is even. `None` of none.
pub(crate) fn median(values: &mut [f64]) -> Option<f64> {
    let middle = values.len() / 2;
    let even = values.len().is_multiple_of(2);
    if values.is_empty() {
        return None;
    }
    let (below, at, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let at = *at;
    if !even {
        return Some(at);
    }
    let below = below.iter().copied().max_by(f64::total_cmp).unwrap_or(at);
    Some(f64::midpoint(below, at))
}

/// The middle distance from `center`: a spread that a few wild values do not move.
pub(crate) fn spread_about(center: f64, values: &mut [f64]) -> f64 {
    values.iter_mut().for_each(|value| *value = (*value - center).abs());
    median(values).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_the_middle() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [3.0]), Some(3.0));
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&mut [9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(spread_about(5.0, &mut [9.0, 1.0, 5.0]), 4.0);
    }

    #[test]
    fn values_read_as_people_say_them() {
        let shown = [0.000_12, 0.0124, 0.9, 2.34, 31.0, 125.0, 7200.0, 12_600.0, 200_000.0].map(seconds);
        assert_eq!(shown, ["120 µs", "12 ms", "900 ms", "2.3 s", "31 s", "2 min", "2 h", "3.5 h", "2.3 d"]);
        let settings = [30, 60, 90, 600, 3600].map(|s| setting(Duration::from_secs(s)));
        assert_eq!(settings, ["30s", "60s", "90s", "10m", "1h"]);
    }

    #[test]
    fn names_are_found_in_the_order_of_the_list() {
        for (n, signal) in Signal::ALL.into_iter().enumerate() {
            assert_eq!(signal.index(), n);
        }
    }
}
