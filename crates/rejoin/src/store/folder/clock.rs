//! Time that survives a restart: how much of a message's time is left, whatever the wall clock did meanwhile.
//!
//! A device without a battery begins in 1970 and leaps to the present when it hears of it. The uptime of a boot does
//! not leap, so within one boot only the uptime counts; across boots the wall clock does, where it can be believed.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::row::Names;

/// A wall clock before 2020 was never set. Milliseconds since the Unix epoch.
const PLAUSIBLE_SINCE_MS: u64 = 1_577_836_800_000;
/// A record waits for its commit no longer than this, in milliseconds; what seems older met a leap of the clock.
const COMMIT_DELAY_MOST_MS: u64 = 3_600_000;

/// The clocks a store asks. Tests drive it.
pub trait Clock: Send + fmt::Debug {
    /// All clocks at one moment.
    fn now(&self) -> Moment;
}

/// What the clocks of the machine say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since the Unix epoch; may leap.
    pub wall_ms: u64,
    /// Milliseconds since the machine was started, sleep included; never leaps. `None`: the system does not say.
    pub uptime_ms: Option<u64>,
    /// The system's name of this boot; zeros: it does not say.
    pub boot_id: [u8; 16],
}

/// The clocks of this machine. Linux tells boot and uptime; elsewhere the wall clock is all there is.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment { wall_ms: millis(wall), uptime_ms: uptime_ms(), boot_id: boot_id().unwrap_or_default() }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The first number of `/proc/uptime`, in seconds with two decimals.
fn uptime_ms() -> Option<u64> {
    let line = std::fs::read_to_string("/proc/uptime").ok()?;
    let (seconds, hundredths) = line.split_whitespace().next()?.split_once('.')?;
    let seconds: u64 = seconds.parse().ok()?;
    let hundredths: u64 = hundredths.parse().ok()?;
    Some(seconds * 1000 + hundredths * 10)
}

fn boot_id() -> Option<[u8; 16]> {
    let line = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: Vec<u8> = line
        .trim()
        .bytes()
        .filter(|b| *b != b'-')
        .filter_map(|b| char::from(b).to_digit(16))
        .map(|d| d as u8)
        .collect();
    let mut id = [0; 16];
    if digits.len() != 32 {
        return None;
    }
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    Some(id)
}

/// When a message was accepted, by both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Accepted {
    pub(super) wall_ms: u64,
    /// Counts the boots the store has seen; 0: not known.
    pub(super) boot: u32,
    /// Uptime within that boot.
    pub(super) uptime_ms: u64,
}

/// The present as a store sees it: its clocks, and which boot this is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Present {
    pub(super) now: Moment,
    /// 0: not known.
    pub(super) boot: u32,
}

impl Present {
    /// The present, if these are the boots the store has seen.
    pub(super) fn of(now: Moment, names: &Names) -> Self {
        let is_known = now.boot_id == names.boot_id && now.boot_id != [0; 16];
        Self { now, boot: if is_known { names.boot } else { 0 } }
    }

    /// When something the engine accepted at `wall_ms` was accepted by the clock that does not leap.
    pub(super) const fn accepted(&self, wall_ms: u64) -> Accepted {
        let Some(uptime_ms) = self.now.uptime_ms else { return Accepted { wall_ms, boot: 0, uptime_ms: 0 } };
        let waited = self.now.wall_ms.saturating_sub(wall_ms);
        let waited = if waited <= COMMIT_DELAY_MOST_MS { waited } else { 0 };
        Accepted { wall_ms, boot: self.boot, uptime_ms: uptime_ms.saturating_sub(waited) }
    }

    /// When a message expires by the wall clock of this moment.
    pub(super) fn expires_wall_ms(&self, accepted: Accepted, after: Option<Duration>) -> Option<u64> {
        let after = millis(after?);
        let left = after.saturating_sub(self.age_ms(accepted));
        let overdue = self.age_ms(accepted).saturating_sub(after);
        Some(self.now.wall_ms.saturating_add(left).saturating_sub(overdue))
    }

    /// How long ago it was accepted; 0 where nobody can know.
    fn age_ms(&self, accepted: Accepted) -> u64 {
        let wall_age = self.now.wall_ms.saturating_sub(accepted.wall_ms);
        match self.now.uptime_ms {
            Some(uptime) if accepted.boot != 0 && accepted.boot == self.boot => {
                uptime.saturating_sub(accepted.uptime_ms)
            }
            _ if accepted.wall_ms >= PLAUSIBLE_SINCE_MS => wall_age,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;
    const YEAR_2026: u64 = 1_770_000_000_000;

    fn present(wall_ms: u64, uptime_ms: u64, boot: u32) -> Present {
        Present { now: Moment { wall_ms, uptime_ms: Some(uptime_ms), boot_id: [1; 16] }, boot }
    }

    const HOUR: Option<Duration> = Some(Duration::from_secs(3600));

    #[test]
    fn a_clock_that_leaps_from_1970_expires_nothing() {
        let accepted = present(10_000, 10_000, 1).accepted(10_000);
        let later = present(YEAR_2026, 10_000 + MINUTE, 1);
        assert_eq!(later.expires_wall_ms(accepted, HOUR), Some(YEAR_2026 + 59 * MINUTE));
        let next_boot = present(YEAR_2026, 5_000, 2);
        assert_eq!(next_boot.expires_wall_ms(accepted, HOUR), Some(YEAR_2026 + 60 * MINUTE), "age unknown");
    }

    #[test]
    fn across_boots_a_plausible_wall_clock_counts() {
        let accepted = present(YEAR_2026, 10_000, 1).accepted(YEAR_2026);
        let next_boot = present(YEAR_2026 + 20 * MINUTE, 1_000, 2);
        assert_eq!(next_boot.expires_wall_ms(accepted, HOUR), Some(YEAR_2026 + 60 * MINUTE));
        let unset = present(30_000, 1_000, 2);
        assert_eq!(unset.expires_wall_ms(accepted, HOUR), Some(30_000 + 60 * MINUTE), "not set yet");
        let overdue = present(YEAR_2026 + 90 * MINUTE, 1_000, 2);
        assert_eq!(overdue.expires_wall_ms(accepted, HOUR), Some(YEAR_2026 + 60 * MINUTE));
    }

    #[test]
    fn a_commit_that_waited_does_not_make_a_message_younger() {
        let accepted = present(YEAR_2026 + 10_000, 500_000, 1).accepted(YEAR_2026);
        assert_eq!(accepted.uptime_ms, 490_000);
        let leapt = present(YEAR_2026, 500_000, 1).accepted(5_000);
        assert_eq!(leapt.uptime_ms, 500_000, "the difference of the wall clocks is a leap, not a wait");
    }

    #[test]
    fn this_machine_says_what_it_knows() {
        let now = SystemClock.now();
        assert!(now.wall_ms > PLAUSIBLE_SINCE_MS);
        if cfg!(target_os = "linux") {
            assert!(now.uptime_ms.is_some_and(|ms| ms > 0));
            assert_ne!(now.boot_id, [0; 16]);
        }
    }
}
