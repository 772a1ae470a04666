//! A window that grows with each failure, and the draws made from it.
//!
//! The cap is applied before the jitter: after it, every client that reached the cap would wait the same time.

use std::time::Duration;

use super::chance::Chance;
use crate::config::Window;

/// More steps than any sensible window needs to reach its cap; bounds the work of [`Backoff::width`].
const MOST_STEPS: u32 = 64;

/// How wide the next wait is. One for each signal: *absent*, *overloaded*, the slow lane, a ban. The windows are those of
/// the settings, and not kept a second time.
#[derive(Clone, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// A stable link, or a person, says that what was wrong is over.
    pub(super) const fn reset(&mut self) {
        self.failures = 0;
    }

    fn width(&self, of: Window, cap: Duration) -> Duration {
        if defect!(WindowWideAtOnce) {
            return cap;
        }
        let mut width = of.first;
        for _ in 0..self.failures {
            if width >= cap {
                break;
            }
            width = width.saturating_mul(of.growth_percent) / 100;
        }
        width.min(cap)
    }

    /// The window of this failure; the next one gets a wider one.
    fn widen(&mut self, of: Window, cap: Duration) -> Duration {
        let width = self.width(of, cap);
        if !defect!(WindowNotGrowing) {
            self.failures = (self.failures + 1).min(MOST_STEPS);
        }
        width
    }

    /// U(0, w): best where an attempt costs the broker nothing. Never wider than the outage so far, so that a
    /// broker that is back after five seconds is found within about five more.
    pub(super) fn full_jitter(
        &mut self,
        of: Window,
        cap: Duration,
        outage: Duration,
        chance: &mut Chance,
    ) -> Draw {
        let window = self.widen(of, cap).min(outage.max(of.first));
        Draw { wait: chance.between(Duration::ZERO, window), window }
    }

    /// U(w/2, w): where an attempt costs the broker something, nobody gets a short straw.
    pub(super) fn upper_half(&mut self, of: Window, chance: &mut Chance) -> Draw {
        let window = self.widen(of, of.cap);
        Draw { wait: chance.between(window / 2, window), window }
    }

    /// U(w, 5w/4): where coming too early makes it worse, the jitter is only ever added.
    pub(super) fn at_least(&mut self, of: Window, chance: &mut Chance) -> Draw {
        let window = self.widen(of, of.cap);
        Draw { wait: chance.between(window, window.saturating_add(window / 4)), window }
    }
}

/// A wait and the window it was drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Draw {
    pub(super) wait: Duration,
    pub(super) window: Duration,
}

impl Draw {
    /// No wait.
    pub(super) const AT_ONCE: Self = Self { wait: Duration::ZERO, window: Duration::ZERO };

    /// U(low, high), outside the growing windows.
    pub(super) fn between(low: Duration, high: Duration, chance: &mut Chance) -> Self {
        Self { wait: chance.between(low, high), window: high }
    }
}
