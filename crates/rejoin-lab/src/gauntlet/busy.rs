//! What a busy machine costs: time in which a thread was ready to run and had no core.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

/// How long each thread of a program waited for a core so far, as Linux counts it. Empty where it is not told.
#[derive(Clone, Debug, Default)]
pub(super) struct Waits(BTreeMap<OsString, Duration>);

impl Waits {
    /// Of the program with this number, or of this one: `self`.
    pub(super) fn of(process: &str) -> Self {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else { return Self::default() };
        let waits = threads.flatten().filter_map(|thread| {
            let line = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
            Some((thread.file_name(), waited(&line)?))
        });
        Self(waits.collect())
    }

    /// What the thread waited since that waited most. Others may have waited at the same time, so no sum of them.
    pub(super) fn most_since(&self, before: &Self) -> Duration {
        let since = |(thread, waited): (&OsString, &Duration)| {
            waited.saturating_sub(before.0.get(thread).copied().unwrap_or_default())
        };
        self.0.iter().map(since).max().unwrap_or_default()
    }
}

/// The line has the time on a core, that waited for one, both in nanoseconds, and the number of turns.
fn waited(line: &str) -> Option<Duration> {
    line.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_that_waited_most_counts_and_only_since_then() {
        let waits = |threads: &[(&str, u64)]| {
            Waits(threads.iter().map(|(name, ms)| ((*name).into(), Duration::from_millis(*ms))).collect())
        };
        let before = waits(&[("1", 500), ("2", 10)]);
        let after = waits(&[("1", 520), ("2", 50), ("3", 30)]);
        assert_eq!(after.most_since(&before), Duration::from_millis(40));
        assert_eq!(Waits::default().most_since(&before), Duration::ZERO, "not told: nothing is taken off");
        assert_eq!(
            waited("1201948252671 581217466257 192504\n"),
            Some(Duration::from_nanos(581_217_466_257))
        );
        assert_eq!(waited("0"), None);
    }
}
