//! Rules, and the state each of them is in. Time comes in as an argument.
//!
//! ```text
//!            beyond the limit        for long enough           within it again, for long enough
//!   ok ──────────────────────► pending ────────────► firing ──────────────────────────────► resolved ──► ok
//!    ▲                            │
//!    └──────── within it ─────────┘
//! ```

use std::fmt;
use std::time::{Duration, Instant};

use super::signal::{Amount, Signal, setting};

/// When to raise an alert.
///
/// ```
/// use std::time::Duration;
/// use rejoin::alerts::{Rule, Signal};
///
/// let rule = Rule::over(Signal::Reconnects, 3).within(Duration::from_secs(600));
/// assert_eq!(rule.to_string(), "reconnects over 3 within 10m");
/// let rule = Rule::times_baseline(Signal::AckLatency, 4.0).hold_for(Duration::from_secs(30));
/// assert_eq!(rule.to_string(), "ack latency over 4 times its baseline for 30s");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "give it to Alerts::rule"]
pub struct Rule {
    pub(crate) kind: Kind,
    pub(crate) signal: Signal,
    pub(crate) within: Duration,
    pub(crate) hold: Duration,
    pub(crate) clear: Duration,
    pub(crate) at_least: f64,
    pub(crate) spreads: f64,
    pub(crate) hint: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Over(f64),
    Under(f64),
    TimesBaseline(f64),
    Contest,
    Flapping,
}

/// How long a rule stays within its limit before its alert is resolved, unless it says otherwise.
const CLEAR: Duration = Duration::from_secs(60);
/// How far from the median a value has to be, in spreads, before it is unusual. Of noise with the shape of a bell, one
/// value of 15,000 is six spreads (four standard deviations) away.
const SPREADS: f64 = 6.0;

impl Rule {
    const fn new(signal: Signal, kind: Kind) -> Self {
        let within = match signal {
            Signal::Reconnects => Duration::from_secs(600),
            Signal::LinkLife => Duration::from_secs(3600),
            _ => Duration::from_secs(60),
        };
        Self {
            kind,
            signal,
            within,
            hold: Duration::ZERO,
            clear: CLEAR,
            at_least: 0.0,
            spreads: SPREADS,
            hint: None,
        }
    }

    /// The signal is above this limit: a [`Duration`], or for [`Signal::Reconnects`] a count within the time of the rule.
    pub fn over(signal: Signal, limit: impl Into<Amount>) -> Self {
        Self::new(signal, Kind::Over(limit.into().0))
    }

    /// The signal is below this limit. For [`Signal::LinkLife`].
    pub fn under(signal: Signal, limit: impl Into<Amount>) -> Self {
        Self::new(signal, Kind::Under(limit.into().0))
    }

    /// The signal is this many times what is usual for it, and further from the median than it usually spreads; for
    /// [`Signal::LinkLife`] a fraction of it. A factor below 1 counts as 1. Waits while the baseline is learning.
    pub const fn times_baseline(signal: Signal, times: f64) -> Self {
        Self::new(signal, Kind::TimesBaseline(if times >= 1.0 { times } else { 1.0 }))
    }

    /// Another client uses our client id; see [`Losses::contest`](super::Losses::contest). What makes one is set in
    /// [`HealthRules::patterns`](crate::health::HealthRules::patterns).
    pub const fn contest() -> Self {
        Self::new(Signal::Reconnects, Kind::Contest)
    }

    /// The link flaps; see [`Losses::flapping`](super::Losses::flapping). What makes it is set in
    /// [`HealthRules::patterns`](crate::health::HealthRules::patterns).
    pub const fn flapping() -> Self {
        Self::new(Signal::LinkLife, Kind::Flapping)
    }

    /// The time that is looked at: reconnects are counted in it, and of link lives, round trips and latencies the median in
    /// it is taken, so that one wild value does nothing. At most 1 h. Default 10 min for reconnects, 1 h for link life, 1
    /// min for the others; queue age and silence are always those of now.
    pub fn within(mut self, time: Duration) -> Self {
        self.within = time.min(WITHIN_MAX);
        self
    }

    /// How long it has to be so before the alert fires; pending meanwhile. Default: at once. (`for` in settings.)
    pub const fn hold_for(mut self, time: Duration) -> Self {
        self.hold = time;
        self
    }

    /// How long it has to be over before the alert is resolved. Default 60 s.
    pub const fn clear_after(mut self, time: Duration) -> Self {
        self.clear = time;
        self
    }

    /// A rule with a baseline fires only above this: four times next to nothing is still next to nothing. Default 0.
    pub fn at_least(mut self, value: impl Into<Amount>) -> Self {
        self.at_least = value.into().0;
        self
    }

    /// How many spreads (median distances from the median) a rule with a baseline allows beyond the median, whatever its
    /// factor is. Default 6. More for signals that are wild by nature.
    pub const fn spreads(mut self, spreads: f64) -> Self {
        self.spreads = if spreads > 0.0 { spreads } else { 0.0 };
        self
    }

    /// What a person is told to do, instead of the words that are built in.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// It measures by what is usual.
    pub(crate) const fn has_baseline(&self) -> bool {
        matches!(self.kind, Kind::TimesBaseline(_))
    }

    /// The limit, as far as it is known.
    pub(crate) fn limit(&self, usual: Option<super::baseline::Usual>) -> Option<f64> {
        match self.kind {
            Kind::Over(limit) | Kind::Under(limit) => Some(limit),
            Kind::Contest | Kind::Flapping => None,
            Kind::TimesBaseline(times) => usual.map(|usual| {
                let room = self.spreads * usual.spread;
                if self.signal.less_is_worse() {
                    // Lives are spread over magnitudes: below the median there is only so much room.
                    usual.median / times
                } else {
                    (usual.median * times).max(usual.median + room).max(self.at_least)
                }
            }),
        }
    }

    pub(crate) fn is_beyond(&self, value: f64, limit: f64) -> bool {
        let less = matches!(self.kind, Kind::Under(_))
            || (matches!(self.kind, Kind::TimesBaseline(_)) && self.signal.less_is_worse());
        if less { value < limit } else { value > limit }
    }
}

/// The longest time a rule can look back.
pub(crate) const WITHIN_MAX: Duration = Duration::from_secs(3600);

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signal = self.signal;
        match self.kind {
            Kind::Over(limit) => write!(f, "{signal} over {}", signal.show(limit))?,
            Kind::Under(limit) => write!(f, "{signal} under {}", signal.show(limit))?,
            Kind::TimesBaseline(times) if signal.less_is_worse() => {
                write!(f, "{signal} under 1/{} of its baseline", super::signal::number(times))?;
            }
            Kind::TimesBaseline(times) => {
                write!(f, "{signal} over {} times its baseline", super::signal::number(times))?;
            }
            Kind::Contest => return f.write_str("client id contest"),
            Kind::Flapping => return f.write_str("flapping"),
        }
        if matches!(signal, Signal::Reconnects | Signal::LinkLife) {
            write!(f, " within {}", setting(self.within))?;
        }
        if !self.hold.is_zero() {
            write!(f, " for {}", setting(self.hold))?;
        }
        Ok(())
    }
}

/// Where a rule stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AlertState {
    /// Within its limit.
    Ok,
    /// Beyond it, not yet for long enough.
    Pending,
    /// Beyond it for long enough.
    Firing,
    /// It fired and is over; shown for [`RESOLVED_SHOWN`], then `Ok`.
    Resolved,
}

impl AlertState {
    /// A short stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// How long an alert that is over is shown as resolved: 10 min, for people who come when called.
pub const RESOLVED_SHOWN: Duration = Duration::from_secs(600);

/// One rule and its state.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) rule: Rule,
    /// The rule in words, and which of those with the same words it is.
    pub(crate) name: String,
    pub(crate) state: AlertState,
    pub(crate) since: Instant,
    pub(crate) value: Option<f64>,
    pub(crate) limit: Option<f64>,
    pub(crate) evidence: String,
    pub(crate) hint: String,
    /// Since when it is within its limit again.
    clear_since: Option<Instant>,
}

impl Guard {
    pub(crate) const fn new(rule: Rule, name: String, now: Instant) -> Self {
        Self {
            rule,
            name,
            state: AlertState::Ok,
            since: now,
            value: None,
            limit: None,
            evidence: String::new(),
            hint: String::new(),
            clear_since: None,
        }
    }

    /// Looks at the signal: `beyond` its limit, within it, or `None`: nobody can say. True when the state changed.
    pub(crate) fn look(&mut self, beyond: Option<bool>, now: Instant) -> bool {
        let before = self.state;
        match (self.state, beyond) {
            (AlertState::Ok | AlertState::Resolved, Some(true)) => {
                self.enter(AlertState::Pending, now);
                self.fire_if_due(now);
            }
            (AlertState::Pending, Some(true)) => self.fire_if_due(now),
            (AlertState::Pending, _) => self.enter(AlertState::Ok, now),
            (AlertState::Firing, Some(true)) => self.clear_since = None,
            (AlertState::Firing, Some(false)) => {
                let since = *self.clear_since.get_or_insert(now);
                if now.saturating_duration_since(since) >= self.rule.clear {
                    self.enter(AlertState::Resolved, now);
                }
            }
            // What fires goes on firing while nobody can say: silence is no good news.
            (AlertState::Firing, None) => {}
            (AlertState::Resolved, _) => {
                if now.saturating_duration_since(self.since) >= RESOLVED_SHOWN {
                    self.enter(AlertState::Ok, now);
                }
            }
            (AlertState::Ok, _) => {}
        }
        self.state != before
    }

    fn fire_if_due(&mut self, now: Instant) {
        if now.saturating_duration_since(self.since) >= self.rule.hold {
            self.enter(AlertState::Firing, now);
        }
    }

    /// What it complains of is the new normal.
    pub(crate) fn accept(&mut self, now: Instant) {
        self.enter(AlertState::Resolved, now);
    }

    fn enter(&mut self, state: AlertState, now: Instant) {
        self.state = state;
        self.since = now;
        self.clear_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::super::baseline::Usual;
    use super::AlertState::{Firing, Ok, Pending, Resolved};
    use super::*;

    /// What is seen at each second, and the state that must follow. `.` within, `!` beyond, `?` nobody can say.
    fn follow(rule: Rule, steps: &[(&str, AlertState)]) {
        let start = Instant::now();
        let mut guard = Guard::new(rule, String::new(), start);
        let mut now = start;
        for (n, (seen, state)) in steps.iter().enumerate() {
            for look in seen.chars() {
                let beyond = match look {
                    '!' => Some(true),
                    '.' => Some(false),
                    _ => None,
                };
                guard.look(beyond, now);
                now += Duration::from_secs(1);
            }
            assert_eq!(guard.state, *state, "step {n}: {seen}");
        }
    }

    #[test]
    fn the_states_of_a_rule() {
        let second = Duration::from_secs(1);
        let rule = || Rule::over(Signal::QueueAge, 60).hold_for(second * 3).clear_after(second * 2);
        follow(rule(), &[("...", Ok), ("!", Pending), ("!!", Pending), ("!", Firing), ("!!!!", Firing)]);
        follow(rule(), &[("!!!", Pending), (".", Ok), ("!!!", Pending), ("!", Firing)]);
        follow(rule(), &[("!!!!", Firing), ("..", Firing), (".", Resolved), ("!", Pending), (".", Ok)]);
        follow(rule(), &[("!!!!", Firing), ("..!..", Firing), (".", Resolved)]);
        follow(rule(), &[("!!", Pending), ("?", Ok)]);
        follow(rule(), &[("!!!!", Firing), ("????????", Firing), ("...", Resolved)]);
        let shown = ".".repeat(599);
        follow(rule(), &[("!!!!...", Resolved), (&shown, Resolved), (".", Ok)]);
        follow(rule().hold_for(Duration::ZERO), &[("!", Firing)]);
    }

    #[test]
    fn a_limit_by_the_baseline_needs_distance_in_both_measures() {
        let usual = |median, spread| Some(Usual { median, spread });
        let rule = Rule::times_baseline(Signal::PingRoundTrip, 4.0).at_least(Duration::from_millis(50));
        assert_eq!(rule.limit(None), None);
        assert_eq!(rule.limit(usual(0.001, 0.0)), Some(0.05), "the floor");
        assert_eq!(rule.limit(usual(0.1, 0.001)), Some(0.4), "the factor");
        assert_eq!(rule.limit(usual(0.1, 0.1)), Some(0.1 + 6.0 * 0.1), "the spread");
        let life = Rule::times_baseline(Signal::LinkLife, 5.0);
        assert_eq!(life.limit(usual(3600.0, 900.0)), Some(720.0));
        assert!(life.is_beyond(600.0, 720.0) && !life.is_beyond(800.0, 720.0));
        assert!(Rule::under(Signal::LinkLife, 60).is_beyond(59.0, 60.0));
        assert!(!Rule::over(Signal::Reconnects, 3).is_beyond(3.0, 3.0));
        assert_eq!(Rule::times_baseline(Signal::QueueAge, f64::NAN).kind, Kind::TimesBaseline(1.0));
    }

    #[test]
    fn a_rule_reads_as_it_is_set() {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let rules = [
            (Rule::over(Signal::QueueAge, minutes(1)), "queue age over 60 s"),
            (Rule::under(Signal::LinkLife, minutes(5)), "link life under 5 min within 1h"),
            (Rule::times_baseline(Signal::LinkLife, 5.0), "link life under 1/5 of its baseline within 1h"),
            (
                Rule::times_baseline(Signal::PingRoundTrip, 2.5).hold_for(minutes(2)),
                "ping round trip over 2.5 times its baseline for 2m",
            ),
            (Rule::contest(), "client id contest"),
        ];
        for (rule, words) in rules {
            assert_eq!(rule.to_string(), words);
        }
        assert_eq!(Rule::over(Signal::Reconnects, 1).within(minutes(600)).within, WITHIN_MAX);
    }
}
