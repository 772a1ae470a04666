//! Lines in the log that could come with every message.

use std::time::{Duration, Instant};

/// How long nothing more of the kind is written after such a line.
const QUIET: Duration = Duration::from_secs(60);

/// A kind of line that may be due with every message: the first is written at once, then one in a while that says how many
/// were not.
#[derive(Debug, Default)]
pub(crate) struct Seldom {
    last: Option<Instant>,
    untold: u64,
}

impl Seldom {
    /// A line is due. If it is to be written: how many before it were not.
    pub(crate) fn turn(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < QUIET) {
            self.untold += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_then_one_in_a_while_with_the_number_of_the_others() {
        let (mut seldom, start) = (Seldom::default(), Instant::now());
        let told: Vec<_> = (0..130).map(|second| seldom.turn(start + Duration::from_secs(second))).collect();
        let lines = told.iter().enumerate().filter_map(|(second, told)| told.map(|untold| (second, untold)));
        assert_eq!(lines.collect::<Vec<_>>(), [(0, 0), (60, 59), (120, 59)]);
        assert_eq!(seldom.turn(start + QUIET * 10), Some(9));
        assert_eq!(seldom.turn(start + QUIET * 20), Some(0));
    }
}
