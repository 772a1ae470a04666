//! Baselines and alerts: is this normal, and if not, what speaks for it and what can be done?
//!
//! Off until asked for, by [`Builder::alerts`](crate::Builder::alerts). One task per client then looks every 5 s; it
//! never holds up the client, nor does anybody who does not read what it tells.
//!
//! ```no_run
//! use std::time::Duration;
//! use rejoin::alerts::{Alerts, Rule, Signal};
//! # async fn example() -> rejoin::Result<()> {
//! let client = rejoin::Client::builder("mqtt://broker.example")
//!     .client_id("gw-17")
//!     .alerts(Alerts::default().rule(Rule::over(Signal::QueueAge, Duration::from_secs(10))))
//!     .start()?;
//! let mut events = client.events();
//! while let Some(event) = events.next().await {
//!     if let rejoin::Event::Alert { alert } = event {
//!         println!("{}: {}: {} ({})", alert.rule, alert.state.name(), alert.evidence, alert.hint);
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! Which signals there are says [`Signal`], which rules are on by default [`Alerts::default`], how well they do
//! `docs/alerts.md`.

mod baseline;
mod patterns;
mod rule;
mod signal;
#[cfg(test)]
mod trial;
mod watcher;

use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use baseline::{BaselineState, Learning, WINDOW_MAX};
pub(crate) use baseline::{RECORD_MAX, recall};
pub use patterns::{Finding, Losses, PatternRules};
pub use rule::{AlertState, RESOLVED_SHOWN, Rule};
pub use signal::{Amount, Signal};
pub(crate) use signal::{seconds, time};
pub(crate) use watcher::{Look, Watcher};

/// Which rules are watched, and how. Given to [`Builder::alerts`](crate::Builder::alerts).
#[derive(Clone, Debug)]
#[must_use = "give it to Builder::alerts"]
pub struct Alerts {
    pub(crate) rules: Vec<Rule>,
    pub(crate) learning: Learning,
    pub(crate) every: Duration,
    pub(crate) keep_in: Option<PathBuf>,
}

/// How often the observer looks, unless told otherwise.
pub(crate) const EVERY: Duration = Duration::from_secs(5);

impl Default for Alerts {
    /// Eight rules that need no knowledge of the program:
    ///
    /// | rule | why |
    /// |---|---|
    /// | reconnects over 3 within 10m | a network that is cut now and then is not worth a call; this is |
    /// | link life under 1/10 of its baseline within 1h | links break more often than they used to, if still rarely |
    /// | ping round trip over 4 times its baseline for 60s, at least 100 ms | the way to the broker got slow |
    /// | ack latency over 4 times its baseline for 60s, at least 250 ms | the broker got slow |
    /// | queue age over 60 s | what was accepted does not get out |
    /// | message silence over 3 times its baseline, at least 60 s and 16 spreads | nothing comes any more |
    /// | client id contest | two clients throw each other out |
    /// | flapping | links come and go |
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self::none()
            .rule(Rule::over(Signal::Reconnects, 3))
            .rule(Rule::times_baseline(Signal::LinkLife, 10.0))
            .rule(
                Rule::times_baseline(Signal::PingRoundTrip, 4.0)
                    .at_least(Duration::from_millis(100))
                    .hold_for(minute),
            )
            .rule(
                Rule::times_baseline(Signal::AckLatency, 4.0)
                    .at_least(Duration::from_millis(250))
                    .hold_for(minute),
            )
            .rule(Rule::over(Signal::QueueAge, minute))
            .rule(Rule::times_baseline(Signal::MessageSilence, 3.0).at_least(minute).spreads(16.0))
            .rule(Rule::contest())
            .rule(Rule::flapping())
    }
}

impl Alerts {
    /// No rules yet: baselines are learned, nothing fires.
    pub fn none() -> Self {
        Self { rules: Vec::new(), learning: Learning::default(), every: EVERY, keep_in: None }
    }

    /// One more rule.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// How baselines learn. Default: 5 min or 200 samples, see [`Learning`]. A window beyond [`WINDOW_MAX`] is as long as
    /// that.
    pub fn learning(mut self, change: impl FnOnce(&mut Learning)) -> Self {
        change(&mut self.learning);
        self.learning.window = self.learning.window.min(WINDOW_MAX);
        self
    }

    /// How often the rules look. Default 5 s; not below 10 ms nor above 1 h, nor more seldom than
    /// [`HealthRules::every`](crate::health::HealthRules::every) where health is watched, too.
    pub fn every(mut self, time: Duration) -> Self {
        self.every = crate::health::pause(time);
        self
    }

    /// Keeps what was learned in this folder, in the file `baselines`, so that the next process need not learn it anew.
    /// Default: the folder of the queue, where there is one; else nothing is kept. Written every 5 min and at the end: a
    /// shutdown waits for it, for 1 s at most. The folder is made at the start and not again. Each client needs its own:
    /// of two in one folder the first one keeps, the other one says so in the log.
    pub fn keep_in(mut self, folder: impl Into<PathBuf>) -> Self {
        self.keep_in = Some(folder.into());
        self
    }
}

/// Where one rule stands. See [`Client::alerts`](crate::Client::alerts).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AlertStatus {
    /// The rule in words: stable for the same settings, and good as a label. A rule with the same words as one before it
    /// has a number behind them: ` (2)`.
    pub rule: String,
    /// What it looks at.
    pub signal: Signal,
    /// Where it stands.
    pub state: AlertState,
    /// Since when.
    pub since: Instant,
    /// What the signal was when it was last looked at, in its unit. `None` when there was nothing to see.
    pub value: Option<f64>,
    /// The limit in force. `None` while a baseline is learning.
    pub limit: Option<f64>,
    /// What speaks for it, in words. Empty while all is well.
    pub evidence: String,
    /// What a person can do. Empty while all is well.
    pub hint: String,
}

/// What is usual for one signal. See [`Client::baselines`](crate::Client::baselines).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct BaselineStatus {
    /// Which.
    pub signal: Signal,
    /// How far it is.
    pub state: BaselineState,
    /// The rolling median, in the unit of the signal; shown while learning, too.
    pub median: Option<f64>,
    /// The median distance from it.
    pub spread: Option<f64>,
    /// What the signal was at the last look.
    pub now: Option<f64>,
    /// How many times worse than usual it is: 1 is usual.
    pub ratio: Option<f64>,
    /// Samples ever taken, those of earlier processes included.
    pub samples: u64,
}
