//! What is counted while a client runs. One task writes, anybody reads: an ordinary addition is enough, no lock and no
//! locked instruction.

use std::iter;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};

use super::histogram::{BUCKETS, EACH, Histogram, bucket};
use super::names::{FAILURES, LINK_ENDS, PHASES, SESSIONS, STAGES};

/// A number with one writer.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// Only its one writer may do this.
    pub(crate) fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + more, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A histogram with one writer. It takes memory when the first duration comes, and as much again for each doubling that
/// one falls into: most clients never need most of them, and an idle one repeats itself.
#[derive(Debug, Default)]
pub(crate) struct Cells(OnceLock<Box<Filled>>);

#[derive(Debug)]
struct Filled {
    sum_micros: Count,
    first: Doubling,
}

/// The buckets of one doubling, and the way to the others, in the order in which they were needed: that of the durations
/// that come most is found soon.
#[derive(Debug)]
struct Doubling {
    number: usize,
    counts: [Count; EACH],
    next: OnceLock<Box<Self>>,
}

impl Doubling {
    fn new(number: usize) -> Self {
        Self { number, counts: Default::default(), next: OnceLock::new() }
    }

    fn count(&self, bucket: usize) -> &Count {
        let number = bucket / EACH;
        let mut doubling = self;
        while doubling.number != number {
            doubling = doubling.next.get_or_init(|| Box::new(Self::new(number)));
        }
        &doubling.counts[bucket % EACH]
    }

    /// Of all buckets, in order; some more than there are, which are empty.
    fn counts(&self) -> Vec<u64> {
        let mut counts = vec![0; BUCKETS.next_multiple_of(EACH)];
        for doubling in iter::successors(Some(self), |doubling| doubling.next.get().map(|next| &**next)) {
            let from = doubling.number * EACH;
            for (to, count) in counts[from..from + EACH].iter_mut().zip(&doubling.counts) {
                *to = count.get();
            }
        }
        counts
    }
}

impl Cells {
    /// Only its one writer may do this.
    pub(crate) fn record(&self, micros: u64, times: u64) {
        let bucket = bucket(micros);
        let filled = self.0.get_or_init(|| {
            Box::new(Filled { sum_micros: Count::default(), first: Doubling::new(bucket / EACH) })
        });
        filled.first.count(bucket).add(times);
        filled.sum_micros.add(micros.wrapping_mul(times));
    }

    pub(crate) fn histogram(&self) -> Histogram {
        let Some(filled) = self.0.get() else { return Histogram::default() };
        Histogram::from_counts(filled.first.counts(), filled.sum_micros.get())
    }
}

/// Figures that take memory when the first of them is counted. Until then those of [`Group::none`] are read.
#[derive(Debug, Default)]
pub(crate) struct Late<T>(OnceLock<Box<T>>);

/// Figures that are zero together.
pub(crate) trait Group: Default + 'static {
    /// All of them zero, for ever.
    fn none() -> &'static Self;
}

impl<T: Group> Late<T> {
    /// To count one of them.
    pub(crate) fn pen(&self) -> &T {
        self.0.get_or_init(Box::default)
    }

    /// To read them.
    pub(crate) fn figures(&self) -> &T {
        match self.0.get() {
            Some(figures) => figures,
            None => T::none(),
        }
    }
}

/// What goes wrong with links.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    pub(crate) failed_at: [Count; STAGES.len()],
    pub(crate) link_ends: [Count; LINK_ENDS.len()],
    pub(crate) gaps: Count,
    pub(crate) id_conflicts: Count,
    pub(crate) outage: Cells,
    pub(crate) recovery: [Cells; PHASES.len()],
}

impl Group for Trouble {
    fn none() -> &'static Self {
        static NONE: LazyLock<Trouble> = LazyLock::new(Trouble::default);
        &NONE
    }
}

/// What becomes of messages.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) acked: [Count; 3],
    pub(crate) failed: [Count; FAILURES.len()],
    /// By QoS, then by DUP.
    pub(crate) received: [[Count; 2]; 3],
    pub(crate) ack: [Cells; 3],
    pub(crate) wait: [Cells; 3],
    /// From sending to the acknowledgement, at QoS 1 and 2, of what was sent once: how long the broker takes.
    pub(crate) transit: Cells,
}

impl Group for Traffic {
    fn none() -> &'static Self {
        static NONE: LazyLock<Traffic> = LazyLock::new(Traffic::default);
        &NONE
    }
}

/// What the driver of one client counts.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    pub(crate) opened: Count,
    pub(crate) sessions: [Count; SESSIONS.len()],
    pub(crate) trouble: Late<Trouble>,
    pub(crate) traffic: Late<Traffic>,
    pub(crate) in_flight: Count,
    /// When the oldest message without an answer was accepted, plus one, in µs of the client's clock; 0: there is none.
    pub(crate) oldest: Count,
    /// Since when the state of the link has its name, in µs of the client's clock.
    pub(crate) state_since: Count,
    pub(crate) stages: [Cells; STAGES.len()],
    pub(crate) ping: Cells,
    /// Written by the thread of the store, where there is one.
    pub(crate) syncs: OnceLock<Arc<Cells>>,
}

/// Durations on their way to a histogram: equal ones in a row are counted first and recorded together, and whatever is
/// answered for within one turn of the driver mostly waited equally long.
#[derive(Debug, Default)]
pub(crate) struct Run {
    micros: u64,
    times: u64,
}

impl Run {
    pub(crate) fn record(&mut self, micros: u64, cells: &Cells) {
        if micros != self.micros {
            self.flush(cells);
            self.micros = micros;
        }
        self.times += 1;
    }

    pub(crate) fn flush(&mut self, cells: &Cells) {
        if self.times > 0 {
            cells.record(self.micros, std::mem::take(&mut self.times));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_run_of_equal_durations_loses_none() {
        let (cells, mut run) = (Cells::default(), Run::default());
        for micros in [7, 7, 7, 9, 7, 0, 0] {
            run.record(micros, &cells);
        }
        run.flush(&cells);
        run.flush(&cells);
        let histogram = cells.histogram();
        assert_eq!((histogram.count(), histogram.sum()), (7, Duration::from_micros(37)));
        assert_eq!(histogram.quantile(1.0), Some(Duration::from_micros(9)));
    }

    #[test]
    fn the_first_and_the_last_bucket_are_counted_like_those_between() {
        let cells = Cells::default();
        for micros in [0, 1, 8, 9, 1_000, 1 << 40, 1 << 50] {
            cells.record(micros, 1);
        }
        assert_eq!(cells.histogram().count(), 7);
        assert_eq!(cells.histogram().quantile(0.0), Some(Duration::from_micros(1)));
    }

    #[test]
    fn what_measured_nothing_takes_no_memory_and_what_repeats_itself_little() {
        let one = Cells::default();
        one.record(250, 3);
        one.record(253, 4);
        assert!(one.0.get().expect("it has two").first.next.get().is_none());
        assert!(size_of::<Filled>() <= 96, "{}", size_of::<Filled>());

        let cells = Cells::default();
        assert!(cells.0.get().is_none());
        assert_eq!(cells.histogram(), Histogram::default());
        assert!(size_of::<Meters>() <= 256, "{}", size_of::<Meters>());
    }
}
