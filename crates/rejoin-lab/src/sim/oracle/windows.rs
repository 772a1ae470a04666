//! How wide the waits may be by now: windows begin small and grow with each failure, and the waits drawn from them are not
//! all the same (O17).

use std::time::Duration;

use rejoin_core::{LossCause, RecoveryConfig, TransportErrorKind, Verdict, Window};

use super::Alarm;
use crate::sim::world::Ruling;

/// A window this much wider than the first has grown.
const GROWN: u32 = 8;
/// So many waits in a row within the first window, though theirs has grown, are no chance: one in 8^10.
const SHORT: u32 = 10;
/// Nor are so many at the very end of their windows, which are thousands of microseconds wide.
const AT_AN_END: u32 = 4;
/// More failures widen no sensible window.
const MOST_FAILURES: u32 = 64;

/// Failures in a row since the last stable link: how many there are at least, and at most. Whether a link was stable depends
/// on windows that are not known for sure.
#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    least: u32,
    most: u32,
}

impl Failures {
    fn stable(&mut self, doubtful: bool) {
        self.least = 0;
        if !doubtful {
            self.most = 0;
        }
    }

    fn another(&mut self) {
        self.least = (self.least + 1).min(MOST_FAILURES);
        self.most = (self.most + 1).min(MOST_FAILURES);
    }
}

/// What is known of the windows of one process.
#[derive(Debug, Default)]
pub(super) struct Windows {
    absent: Failures,
    overloaded: Failures,
    /// When the last link ended that was stable for sure, and the last that may have been.
    stable_until: Option<u64>,
    perhaps_until: u64,
    /// Waits in a row: no longer than the first window, and at an end of their own.
    short: u32,
    at_an_end: u32,
}

impl Windows {
    /// A link or an attempt ended.
    pub(super) fn lost(&mut self, stable: bool, doubtful: bool, now: u64) {
        if !stable {
            return;
        }
        self.absent.stable(doubtful);
        self.overloaded.stable(doubtful);
        self.perhaps_until = now;
        if !doubtful {
            self.stable_until = Some(now);
        }
    }

    /// The wait that follows. `held`: the budget decides.
    pub(super) fn waits(
        &mut self,
        (verdict, cause): (Verdict, &LossCause),
        wait: Duration,
        held: bool,
        config: &RecoveryConfig,
        now: u64,
    ) -> Ruling {
        let (width, known_for_sure, counted) = match verdict {
            Verdict::Absent if !asked_nobody(cause) => {
                let (width, sure) = self.absent(config, now);
                if !held {
                    self.grows(wait, config, now)?;
                }
                (width, sure, &mut self.absent)
            }
            Verdict::Overloaded | Verdict::Quarantine => {
                let Failures { least, most } = self.overloaded;
                (nth(config.overload, most), least == most, &mut self.overloaded)
            }
            Verdict::Adapt(_) => {
                self.overloaded.most = (self.overloaded.most + 1).min(MOST_FAILURES);
                return Ok(());
            }
            _ => return Ok(()),
        };
        counted.another();
        if held || wait.is_zero() && verdict == Verdict::Quarantine {
            return Ok(());
        }
        if wait > width {
            let what =
                format!("{verdict:?} waits {wait:?}, and its window is {width:?} wide by now ({cause})");
            return Err(Alarm::new("O17", what));
        }
        let at_an_end = known_for_sure && (wait == width || wait.is_zero());
        self.at_an_end = if at_an_end { self.at_an_end + 1 } else { 0 };
        if self.at_an_end >= AT_AN_END {
            return Err(Alarm::new(
                "O17",
                format!("{AT_AN_END} waits in a row were drawn by nobody: {wait:?}"),
            ));
        }
        Ok(())
    }

    /// The least that the window of *overloaded* may be.
    pub(super) fn overloaded_at_least(&self, config: &RecoveryConfig) -> Duration {
        nth(config.overload, self.overloaded.least)
    }

    /// The widest that the window of *absent* may be, and whether it is just that.
    fn absent(&self, config: &RecoveryConfig, now: u64) -> (Duration, bool) {
        let Failures { least, most } = self.absent;
        let outage = Duration::from_micros(now.saturating_sub(self.stable_until.unwrap_or(0)));
        let is_long = outage >= config.long_outage;
        let cap = if is_long { config.absent.cap.max(config.absent_cap_long) } else { config.absent.cap };
        let width = nth(Window { cap, ..config.absent }, most).min(outage.max(config.absent.first));
        let sure = least == most && !is_long && self.stable_until == Some(self.perhaps_until);
        (width, sure)
    }

    /// A window that has grown is used.
    fn grows(&mut self, wait: Duration, config: &RecoveryConfig, now: u64) -> Ruling {
        let outage = Duration::from_micros(now.saturating_sub(self.perhaps_until));
        let cap = config.absent.cap.min(config.absent_cap_long);
        let width = nth(Window { cap, ..config.absent }, self.absent.least).min(outage);
        if width < config.absent.first.saturating_mul(GROWN) {
            return Ok(());
        }
        self.short = if wait <= config.absent.first { self.short + 1 } else { 0 };
        if self.short < SHORT {
            return Ok(());
        }
        Err(Alarm::new(
            "O17",
            format!("{SHORT} waits in a row within the first window: it is {width:?} by now"),
        ))
    }
}

/// The application gave no credentials, so no server was asked: a window of its own.
fn asked_nobody(cause: &LossCause) -> bool {
    matches!(cause, LossCause::Open { error, .. } if error.kind == TransportErrorKind::Credentials)
}

/// A fleet that lost its broker after a stable link does not come back all at once.
pub(super) fn spreads(verdict: Verdict, cause: &LossCause, config: &RecoveryConfig) -> Ruling {
    if config.fleet && verdict == Verdict::Now && is_of_all(cause) {
        return Err(Alarm::new("O17", format!("a fleet that lost its broker comes back together ({cause})")));
    }
    Ok(())
}

/// Whether a loss may have struck everybody: the broker's end, not our own path or doing.
fn is_of_all(cause: &LossCause) -> bool {
    match cause {
        LossCause::PeerClosed | LossCause::ServerDisconnect { .. } => true,
        LossCause::Transport(error) => error.kind != TransportErrorKind::TimedOut,
        _ => false,
    }
}

/// The window of the n-th failure, from 0.
fn nth(window: Window, n: u32) -> Duration {
    let mut width = window.first;
    for _ in 0..n {
        if width >= window.cap {
            break;
        }
        width = width.checked_mul(window.growth_percent).map_or(window.cap, |grown| grown / 100);
    }
    width.min(window.cap)
}
