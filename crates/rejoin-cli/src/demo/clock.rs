//! The time of the story, which stands still while somebody has paused it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The clock of one run.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    pauses: Mutex<Pauses>,
}

#[derive(Debug, Default)]
struct Pauses {
    before: Duration,
    since: Option<Instant>,
}

impl Clock {
    /// Starts now.
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), pauses: Mutex::default() }
    }

    /// Where the story is.
    pub(crate) fn now(&self) -> Duration {
        self.at(Instant::now())
    }

    /// Where the story was at a moment not long ago.
    pub(crate) fn at(&self, moment: Instant) -> Duration {
        let pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        let moment = pauses.since.map_or(moment, |since| moment.min(since));
        moment.saturating_duration_since(self.started).saturating_sub(pauses.before)
    }

    /// Pauses or goes on. Tells whether it stands still now.
    pub(crate) fn toggle(&self) -> bool {
        let mut pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        match pauses.since.take() {
            Some(since) => pauses.before += since.elapsed(),
            None => pauses.since = Some(Instant::now()),
        }
        pauses.since.is_some()
    }

    /// Whether it stands still.
    pub(crate) fn is_paused(&self) -> bool {
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner).since.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_takes_no_time_of_the_story() {
        let clock = Clock::start();
        assert!(clock.toggle() && clock.is_paused());
        let paused_at = clock.now();
        // waits: time has to pass that the story must not notice
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(clock.now(), paused_at);
        assert!(!clock.toggle());
        let later = Instant::now() + Duration::from_secs(1);
        let story = clock.at(later);
        assert!(story + Duration::from_millis(30) <= later.duration_since(clock.started), "{story:?}");
    }
}
