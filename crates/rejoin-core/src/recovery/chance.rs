//! The generator all jitter is drawn from: small, our own, seeded from outside.

use std::time::Duration;

/// SplitMix64: one word of state, equally good from any seed, which is all that jitter needs. Nothing secret is
/// ever drawn from it.
#[derive(Clone, Debug)]
pub(super) struct Chance(u64);

impl Chance {
    /// The same seed gives the same run.
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`; zero for an empty range.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        // The upper half of the product instead of a remainder: no bias worth naming for our small bounds.
        let product = u128::from(self.next()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// U(low, high) in whole microseconds, both ends included.
    pub(super) fn between(&mut self, low: Duration, high: Duration) -> Duration {
        if defect!(NoJitter) {
            return high;
        }
        let span = u64::try_from(high.saturating_sub(low).as_micros()).unwrap_or(u64::MAX);
        low.saturating_add(Duration::from_micros(self.below(span.saturating_add(1))))
    }

    /// A random order, by Fisher and Yates.
    pub(super) fn shuffle(&mut self, list: &mut [usize]) {
        for i in (1..list.len()).rev() {
            let j = self.below(i as u64 + 1);
            list.swap(i, usize::try_from(j).unwrap_or(0));
        }
    }
}
