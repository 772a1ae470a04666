//! Durations, counted in fixed buckets: eight to each doubling, from a microsecond to twelve days.

use std::time::Duration;

/// Buckets to each doubling, as a power of two.
const FINE: u32 = 3;
/// Longer durations are counted as this long: 2^40 µs, twelve days and a half.
const LONGEST: u32 = 40;
/// The same as a number.
pub(crate) const EACH: usize = 1 << FINE;
/// All buckets; the last one is for what is longer than the longest.
pub(crate) const BUCKETS: usize = ((LONGEST - FINE + 1) << FINE) as usize + 1;

/// The bucket of a duration in microseconds. Upper bounds belong to their bucket, as `le` has it at Prometheus.
pub(crate) const fn bucket(micros: u64) -> usize {
    let value = micros.saturating_sub(1);
    if value < 1 << FINE {
        return value as usize;
    }
    let doubling = value.ilog2();
    if doubling >= LONGEST {
        return BUCKETS - 1;
    }
    let within = (value >> (doubling - FINE)) & ((1 << FINE) - 1);
    (((doubling - FINE + 1) as usize) << FINE) + within as usize
}

/// Above which number of microseconds a bucket begins.
const fn lower(bucket: usize) -> u64 {
    let (doubling, within) = (bucket >> FINE, (bucket & ((1 << FINE) - 1)) as u64);
    match doubling {
        0 => within,
        _ => ((1 << FINE) + within) << (doubling - 1),
    }
}

/// The last number of microseconds that belongs to a bucket.
const fn upper(bucket: usize) -> u64 {
    lower(bucket + 1)
}

/// How often which duration was measured: plain data, the same buckets everywhere, so that any two can be compared.
///
/// The buckets are fixed: up to 16 µs each microsecond has its own, above that each doubling is cut into eight, up to
/// twelve days and a half. What [`Histogram::quantile`] answers is therefore within 6.25 % of a duration that was
/// measured. Durations are counted in whole microseconds.
///
/// ```
/// # fn example(client: &rejoin::Client) {
/// let before = client.metrics();
/// // ... a minute later ...
/// let minute = client.metrics().ack_duration[1].since(&before.ack_duration[1]);
/// println!("{} acknowledged, 99 % of them within {:?}", minute.count(), minute.quantile(0.99));
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Up to the last one that is not empty.
    counts: Vec<u64>,
    sum_micros: u64,
}

impl Histogram {
    pub(crate) fn from_counts(mut counts: Vec<u64>, sum_micros: u64) -> Self {
        let used = counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        counts.truncate(used);
        Self { counts, sum_micros }
    }

    /// How many were measured.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together.
    pub const fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_micros)
    }

    /// The mean; `None` when nothing was measured.
    pub fn mean(&self) -> Option<Duration> {
        self.sum_micros.checked_div(self.count()).map(Duration::from_micros)
    }

    /// The duration that this share of all did not exceed: `0.5` asks for the median, `0.99` for what one in a hundred
    /// exceeds. Within 6.25 % of a duration that was measured; what is longer than twelve days and a half counts as
    /// that. `None` when nothing was measured, or `share` is not between 0 and 1.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 || !(0.0..=1.0).contains(&share) {
            return None;
        }
        // The nearest rank. A count beyond 2^52 would lose its last digits, not more.
        let rank = ((share * count as f64).ceil() as u64).clamp(1, count);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        found.map(|bucket| Duration::from_micros(representative(bucket)))
    }

    /// What was measured after `earlier`, which is an older copy of the same histogram. Of another one the result has no
    /// meaning, and is never less than zero.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = earlier.counts.iter().copied().chain(std::iter::repeat(0));
        let counts = self.counts.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).collect();
        Self::from_counts(counts, self.sum_micros.saturating_sub(earlier.sum_micros))
    }

    /// Both together: of several clients, for example.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let counts = (0..self.counts.len().max(other.counts.len()))
            .map(|n| [self, other].iter().filter_map(|one| one.counts.get(n)).sum())
            .collect();
        Self::from_counts(counts, self.sum_micros.saturating_add(other.sum_micros))
    }

    /// Bounds with how many durations did not exceed them, exactly: one bound for each doubling, from 16 µs to the first
    /// that nothing exceeds. What exporters give is a section of it.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let first = FINE + 1;
        let last = (self.counts.len() >> FINE) as u32 + FINE;
        (first..=last.max(first)).map(|power| (Duration::from_micros(1 << power), self.up_to(power)))
    }

    /// The same for the bounds from 2^`first` to 2^`last` µs, whatever was measured.
    pub(crate) fn section(&self, first: u32, last: u32) -> impl Iterator<Item = (Duration, u64)> + '_ {
        (first..=last).map(|power| (Duration::from_micros(1 << power), self.up_to(power)))
    }

    /// How many took no longer than 2^`power` µs; `power` is above [`FINE`] and no more than [`LONGEST`].
    fn up_to(&self, power: u32) -> u64 {
        let bound = bucket(1 << power) + 1;
        self.counts.iter().take(bound).sum()
    }

    /// Each duration that stands for a bucket in use, with how many were measured that it stands for: for whoever takes
    /// durations one by one.
    pub fn samples(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let used = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        used.map(|(bucket, count)| (Duration::from_micros(representative(bucket)), *count))
    }
}

/// The duration that stands for all in a bucket: its middle.
const fn representative(bucket: usize) -> u64 {
    if bucket == BUCKETS - 1 {
        return 1 << LONGEST;
    }
    u64::midpoint(lower(bucket) + 1, upper(bucket))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(micros: impl IntoIterator<Item = u64>) -> Histogram {
        let mut counts = vec![0; BUCKETS];
        let mut sum = 0;
        for micros in micros {
            counts[bucket(micros)] += 1;
            sum += micros;
        }
        Histogram::from_counts(counts, sum)
    }

    #[test]
    fn buckets_follow_one_another_without_gap_or_overlap() {
        for bucket_number in 0..BUCKETS - 1 {
            assert_eq!(bucket(lower(bucket_number) + 1), bucket_number, "its first");
            assert_eq!(bucket(upper(bucket_number)), bucket_number, "its last");
            assert_eq!(bucket(upper(bucket_number) + 1), bucket_number + 1, "what follows");
        }
        assert_eq!(upper(BUCKETS - 2), 1 << LONGEST);
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn what_stands_for_a_bucket_is_within_the_promised_error_of_all_in_it() {
        for bucket_number in 0..BUCKETS - 1 {
            let stands = representative(bucket_number) as f64;
            for true_one in [lower(bucket_number) + 1, upper(bucket_number)] {
                let error = (stands - true_one as f64).abs() / true_one as f64;
                assert!(error <= 0.0625, "{error} in bucket {bucket_number}");
                assert!(true_one > 16 || error == 0.0, "exact up to 16 µs");
            }
        }
    }

    #[test]
    fn quantiles_are_those_of_the_durations_within_the_error() {
        let all: Vec<u64> = (1..=1000).map(|n| n * n).collect();
        let histogram = of(all.iter().copied());
        for share in [0.0, 0.001, 0.25, 0.5, 0.9, 0.99, 1.0] {
            let exact = all[((share * 1000.0_f64).ceil() as usize).max(1) - 1] as f64;
            let told = histogram.quantile(share).unwrap().as_micros() as f64;
            assert!((told - exact).abs() / exact <= 0.0625, "{share}: {told} for {exact}");
        }
        assert_eq!(histogram.count(), 1000);
        assert_eq!(histogram.sum(), Duration::from_micros(all.iter().sum()));
        assert_eq!(histogram.mean(), Some(Duration::from_micros(all.iter().sum::<u64>() / 1000)));
    }

    #[test]
    fn nothing_measured_has_no_quantile_and_no_nonsense_is_answered() {
        let empty = Histogram::default();
        assert_eq!((empty.count(), empty.quantile(0.5), empty.mean()), (0, None, None));
        assert_eq!(empty.buckets().last(), Some((Duration::from_micros(16), 0)));
        let one = of([5]);
        assert_eq!(one.quantile(0.0), Some(Duration::from_micros(5)));
        for share in [-0.1, 1.1, f64::NAN] {
            assert_eq!(one.quantile(share), None);
        }
        assert_eq!(of([u64::MAX]).quantile(0.5), Some(Duration::from_micros(1 << LONGEST)));
    }

    #[test]
    fn a_difference_has_what_came_in_between() {
        let before = of([3, 3, 500]);
        let after = of([3, 3, 500, 70_000, 500]);
        assert_eq!(after.since(&before), of([70_000, 500]));
        assert_eq!(after.since(&after), Histogram::default());
        assert_eq!(before.since(&after), Histogram::default(), "the wrong way round is nothing");
        assert_eq!(before.and(&of([70_000, 500])), after);
        assert_eq!(of([500]).and(&of([3])), of([3]).and(&of([500])));
    }

    #[test]
    fn bounds_tell_exactly_how_many_did_not_exceed_them() {
        let histogram = of([1, 16, 17, 32, 33, 1 << 20, (1 << 20) + 1]);
        let buckets: Vec<_> = histogram.buckets().collect();
        assert_eq!(buckets[..2], [(Duration::from_micros(16), 2), (Duration::from_micros(32), 4)]);
        assert!(buckets.contains(&(Duration::from_micros(1 << 20), 6)));
        assert_eq!(buckets.last(), Some(&(Duration::from_micros(1 << 21), 7)), "all, and no further");
        let section: Vec<_> = histogram.section(10, 12).map(|(_, count)| count).collect();
        assert_eq!(section, [5, 5, 5]);
        assert_eq!(histogram.samples().map(|(_, count)| count).sum::<u64>(), 7);
    }
}
