//! What is measured at fixed distances, in columns; older parts are kept more coarsely, so that a run of a month takes
//! no more memory than one of an hour.

use serde::{Deserialize, Serialize};

use super::document::Figure;

/// Milliseconds between two samples: four a second are as many as an eye follows.
pub(crate) const EVERY_MS: u64 = 250;

/// Rows held at most; above it the older ones are merged. Thirty minutes in full, about 1 MB as JSON.
pub(crate) const ROWS_MAX: usize = 7_200;

/// The newest rows that are never merged: the last fifteen minutes.
const ROWS_FULL: usize = 3_600;

/// Into how many rows the older part is merged at most: of a month, one row in 24 minutes.
const ROWS_OLD: u64 = 1_800;

/// How two rows become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Merge {
    /// The mean over the time both cover.
    Mean,
    /// The higher one: nobody may miss a peak because time passed.
    Highest,
}

type Column = Vec<Option<Figure>>;

/// Columns of equal length; a hole where nothing was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Samples {
    /// Between two rows, where they were not merged.
    pub(crate) every_ms: u64,
    /// When; of a merged row the end.
    pub(crate) t_ms: Vec<u64>,
    /// Messages accepted per second.
    pub(crate) accepted_per_s: Column,
    /// Messages acknowledged per second.
    pub(crate) acked_per_s: Column,
    /// Messages received per second.
    pub(crate) received_per_s: Column,
    /// Messages accepted and not answered for.
    pub(crate) queue: Column,
    /// How many messages the queue holds at most, where it counts messages.
    pub(crate) queue_limit: Option<Figure>,
    /// How long the oldest of them waits.
    pub(crate) oldest_ms: Column,
    /// Messages sent and unacknowledged.
    pub(crate) in_flight: Column,
    /// From publish to acknowledgement: the median of this row.
    pub(crate) ack_p50_ms: Column,
    /// The 95th percentile.
    pub(crate) ack_p95_ms: Column,
    /// The 99th percentile.
    pub(crate) ack_p99_ms: Column,
    /// The round trip of a ping in this row.
    pub(crate) ping_ms: Column,
    /// How long nothing was heard from the broker.
    pub(crate) silent_ms: Column,
}

impl Default for Samples {
    fn default() -> Self {
        Self {
            every_ms: EVERY_MS,
            t_ms: Vec::new(),
            accepted_per_s: Vec::new(),
            acked_per_s: Vec::new(),
            received_per_s: Vec::new(),
            queue: Vec::new(),
            queue_limit: None,
            oldest_ms: Vec::new(),
            in_flight: Vec::new(),
            ack_p50_ms: Vec::new(),
            ack_p95_ms: Vec::new(),
            ack_p99_ms: Vec::new(),
            ping_ms: Vec::new(),
            silent_ms: Vec::new(),
        }
    }
}

/// One row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Row {
    pub(crate) accepted_per_s: Option<Figure>,
    pub(crate) acked_per_s: Option<Figure>,
    pub(crate) received_per_s: Option<Figure>,
    pub(crate) queue: Option<Figure>,
    pub(crate) oldest_ms: Option<Figure>,
    pub(crate) in_flight: Option<Figure>,
    pub(crate) ack_p50_ms: Option<Figure>,
    pub(crate) ack_p95_ms: Option<Figure>,
    pub(crate) ack_p99_ms: Option<Figure>,
    pub(crate) ping_ms: Option<Figure>,
    pub(crate) silent_ms: Option<Figure>,
}

impl Samples {
    /// How many rows there are.
    pub(crate) const fn rows(&self) -> usize {
        self.t_ms.len()
    }

    /// Whether there is none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.t_ms.is_empty()
    }

    /// Adds a row. One that is not later than the last is left out: time does not go back.
    pub(crate) fn push(&mut self, t_ms: u64, row: &Row) {
        if self.t_ms.last().is_some_and(|last| *last >= t_ms) {
            return;
        }
        self.t_ms.push(t_ms);
        let values = [
            row.accepted_per_s,
            row.acked_per_s,
            row.received_per_s,
            row.queue,
            row.oldest_ms,
            row.in_flight,
            row.ack_p50_ms,
            row.ack_p95_ms,
            row.ack_p99_ms,
            row.ping_ms,
            row.silent_ms,
        ];
        for ((_, column), value) in self.columns_mut().into_iter().zip(values) {
            column.push(value);
        }
    }

    /// Adds the rows of `later`, those that are later than the last one here.
    pub(crate) fn append(&mut self, later: &Self) {
        let last = self.t_ms.last().copied();
        let first = later.t_ms.partition_point(|t| last.is_some_and(|last| *t <= last));
        if !later.is_empty() {
            self.queue_limit = later.queue_limit;
        }
        self.t_ms.extend_from_slice(&later.t_ms[first..]);
        let rows = self.rows();
        for ((_, to), from) in self.columns_mut().into_iter().zip(later.columns()) {
            to.extend_from_slice(from.get(first..).unwrap_or_default());
            // Columns that came from a file may be of any length.
            to.resize(rows, None);
        }
    }

    /// Keeps to [`ROWS_MAX`]: the rows before the newest [`ROWS_FULL`] are merged by time, into at most about
    /// [`ROWS_OLD`]. The same rows always become the same rows, here and in whoever follows by updates.
    pub(crate) fn bound(&mut self) {
        if self.rows() <= ROWS_MAX {
            return;
        }
        let old = self.rows() - ROWS_FULL;
        let span = self.t_ms[old - 1].saturating_sub(self.t_ms[0]).max(1);
        let mut width = self.every_ms.max(1);
        while span / width > ROWS_OLD {
            width = width.saturating_mul(2);
        }
        // The end of a row is what it is named by; rows that end within the same stretch become one.
        let stretch = |t: u64| t.saturating_sub(1) / width;
        let mut groups: Vec<std::ops::Range<usize>> = Vec::new();
        for row in 0..old {
            match groups.last_mut() {
                Some(group) if stretch(self.t_ms[group.start]) == stretch(self.t_ms[row]) => {
                    group.end = row + 1
                }
                _ => groups.push(row..row + 1),
            }
        }
        let t_ms = std::mem::take(&mut self.t_ms);
        // A row covers the time since the one before; the first one, which may be a merged one, since the beginning.
        let length = |row: usize| t_ms[row] - row.checked_sub(1).map_or(0, |before| t_ms[before]);
        for (merge, column) in self.columns_mut() {
            let merged = groups.iter().map(|group| match merge {
                Merge::Highest => column[group.clone()].iter().copied().flatten().reduce(higher),
                Merge::Mean => mean(group.clone().filter_map(|row| column[row].map(|v| (v, length(row))))),
            });
            let merged: Column = merged.collect();
            column.splice(..old, merged);
        }
        self.t_ms =
            groups.iter().map(|group| t_ms[group.end - 1]).chain(t_ms[old..].iter().copied()).collect();
    }

    const fn columns_mut(&mut self) -> [(Merge, &mut Column); 11] {
        [
            (Merge::Mean, &mut self.accepted_per_s),
            (Merge::Mean, &mut self.acked_per_s),
            (Merge::Mean, &mut self.received_per_s),
            (Merge::Highest, &mut self.queue),
            (Merge::Highest, &mut self.oldest_ms),
            (Merge::Highest, &mut self.in_flight),
            (Merge::Highest, &mut self.ack_p50_ms),
            (Merge::Highest, &mut self.ack_p95_ms),
            (Merge::Highest, &mut self.ack_p99_ms),
            (Merge::Highest, &mut self.ping_ms),
            (Merge::Highest, &mut self.silent_ms),
        ]
    }

    const fn columns(&self) -> [&Column; 11] {
        [
            &self.accepted_per_s,
            &self.acked_per_s,
            &self.received_per_s,
            &self.queue,
            &self.oldest_ms,
            &self.in_flight,
            &self.ack_p50_ms,
            &self.ack_p95_ms,
            &self.ack_p99_ms,
            &self.ping_ms,
            &self.silent_ms,
        ]
    }
}

fn higher(a: Figure, b: Figure) -> Figure {
    if b.0 > a.0 { b } else { a }
}

fn mean(values: impl Iterator<Item = (Figure, u64)>) -> Option<Figure> {
    let (sum, length) =
        values.fold((0.0, 0), |(sum, length), (value, of)| (sum + value.0 * of as f64, length + of));
    (length > 0).then(|| Figure::new(sum / length as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(queue: u64, rate: f64) -> Row {
        Row {
            queue: Some(Figure(queue as f64)),
            accepted_per_s: Some(Figure::new(rate)),
            ping_ms: None,
            ..Row::default()
        }
    }

    #[test]
    fn a_run_of_a_month_keeps_its_peaks_and_its_sums_in_bounded_rows() {
        let mut samples = Samples::default();
        // A month at one row in 20 s here: 129,600 rows, merged as those of four a second are.
        let month = 30 * 24 * 3_600_000_u64;
        let (mut most, mut total) = (0, 0.0);
        for n in 1..=month / 20_000 {
            let peak = if n == 1_000 { 777 } else { n % 7 };
            samples.push(n * 20_000, &row(peak, (n % 5) as f64));
            total += (n % 5) as f64;
            samples.bound();
            most = most.max(samples.rows());
        }
        assert!(most <= ROWS_MAX, "{most}");
        assert!(samples.rows() > ROWS_FULL, "{}", samples.rows());
        assert!(samples.columns().iter().all(|column| column.len() == samples.rows()));
        assert!(samples.t_ms.is_sorted(), "time goes forward");
        assert_eq!(samples.t_ms.last(), Some(&month));
        let peak =
            samples.queue.iter().flatten().position(|value| value.0 == 777.0).expect("the peak is kept");
        let early = samples.t_ms[peak];
        assert!((20_000_000..24_000_000).contains(&early), "about where it was: {early}");
        assert!(samples.t_ms[1] - samples.t_ms[0] < 45 * 60_000, "the first day can still be seen");
        let sum: f64 = (1..samples.rows())
            .map(|row| {
                samples.accepted_per_s[row].unwrap().0 * (samples.t_ms[row] - samples.t_ms[row - 1]) as f64
            })
            .sum();
        assert!((sum / 20_000.0 / total - 1.0).abs() < 0.01, "{sum} {total}");
        assert!(samples.ping_ms.iter().all(Option::is_none), "what was not measured stays a hole");
    }

    #[test]
    fn the_first_row_weighs_what_it_covers() {
        let mut samples = Samples::default();
        for n in 1..=ROWS_MAX as u64 + 1 {
            // The first row is as long as each after it, and nothing came later.
            samples.push(n * 20_000, &row(0, if n == 1 { 9.0 } else { 0.0 }));
        }
        samples.bound();
        assert_eq!(samples.t_ms[0], 60_000, "three rows became one");
        assert_eq!(samples.accepted_per_s[0], Some(Figure(3.0)));
    }

    #[test]
    fn rows_and_their_merging_do_not_depend_on_how_they_came() {
        let mut whole = Samples::default();
        let mut followed = Samples::default();
        for n in 1..=ROWS_MAX as u64 * 2 {
            let mut one = Samples::default();
            one.push(n * EVERY_MS, &row(n % 11, 1.0 / (n % 3 + 1) as f64));
            whole.append(&one);
            whole.bound();
            let sent: Samples = serde_json::from_str(&serde_json::to_string(&one).unwrap()).unwrap();
            followed.append(&sent);
            followed.bound();
        }
        assert_eq!(whole, followed);
        followed.append(&whole.clone());
        assert_eq!(whole, followed, "what is known is not added again");
    }
}
