//! What is usual for one signal: a rolling median and spread. Time comes in as an argument.
//!
//! ```text
//!              enough samples             an alert on the signal fires
//!   learning ──────────────────► ready ◄──────────────────────────────► frozen
//!      ▲                                                                   │
//!      └──────────────── frozen too long: the new normal ──────────────────┘
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::signal::{Signal, median, spread_about};

/// How baselines learn. Given to [`Alerts::learning`](super::Alerts::learning).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Learning {
    /// A baseline is learning until its first sample is this old. Default 5 min: long enough for the noise of a start to
    /// be over, short enough that a watch of ten minutes has some use of it.
    pub time: Duration,
    /// Or until it has this many samples, if that comes first. Default 200.
    pub samples: usize,
    /// But never with fewer than this many samples. Default 10: a median of less says little.
    pub samples_min: usize,
    /// One sample is the median of what was seen in this time. Default 30 s.
    pub every: Duration,
    /// How many samples count. Default 480: four hours of samples of 30 s, so that the shape of a day is followed and an
    /// outage of an hour is not learned. Also the bound of memory: 8 bytes for each. At most [`WINDOW_MAX`].
    pub window: usize,
    /// After an alert fired for this long, what it complains of is taken as the new normal and learned from the start.
    /// Default 24 h.
    pub frozen_max: Duration,
}

impl Default for Learning {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(300),
            samples: 200,
            samples_min: 10,
            every: Duration::from_secs(30),
            window: 480,
            frozen_max: Duration::from_secs(24 * 3600),
        }
    }
}

/// The longest window of a baseline: 7,200 samples, two days and a half of samples of 30 s. More would not fit the file it
/// is kept in.
pub const WINDOW_MAX: usize = 7200;

/// How far a baseline is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BaselineState {
    /// It does not know yet what is usual; rules that need it wait.
    Learning,
    /// It knows, and follows.
    Ready,
    /// An alert on its signal fires: what is unusual must not become usual.
    Frozen,
}

impl BaselineState {
    /// A short stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Learning => "learning",
            Self::Ready => "ready",
            Self::Frozen => "frozen",
        }
    }
}

/// What is usual.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Usual {
    pub(crate) median: f64,
    /// Median distance from the median.
    pub(crate) spread: f64,
}

/// Most values of one sample that are looked at.
const BUCKET_MAX: usize = 64;

/// The baseline of one signal.
#[derive(Debug)]
pub(crate) struct Baseline {
    signal: Signal,
    learning: Learning,
    samples: VecDeque<f64>,
    /// Samples ever taken.
    count: u64,
    first: Option<Instant>,
    bucket: Vec<f64>,
    bucket_began: Option<Instant>,
    learned: bool,
    frozen: bool,
    usual: Option<Usual>,
}

impl Baseline {
    pub(crate) fn new(signal: Signal, learning: Learning) -> Self {
        Self {
            signal,
            learning,
            samples: VecDeque::new(),
            count: 0,
            first: None,
            bucket: Vec::new(),
            bucket_began: None,
            learned: false,
            frozen: false,
            usual: None,
        }
    }

    /// The signal had this value now. Ignored while frozen.
    pub(crate) fn offer(&mut self, value: f64, now: Instant) {
        if self.frozen || !value.is_finite() || value < 0.0 {
            return;
        }
        self.first.get_or_insert(now);
        let began = self.bucket_began.unwrap_or(now);
        if now.saturating_duration_since(began) >= self.learning.every {
            self.close_bucket(now);
        }
        self.bucket_began.get_or_insert(now);
        if self.bucket.len() < BUCKET_MAX {
            self.bucket.push(value);
        }
        if self.learning.every.is_zero() {
            self.close_bucket(now);
        }
    }

    fn close_bucket(&mut self, now: Instant) {
        self.bucket_began = None;
        let mut values = std::mem::take(&mut self.bucket);
        let longest = values.iter().copied().max_by(f64::total_cmp);
        // Of silences the longest counts: how long it can get is what is to be known.
        let sample = if self.signal == Signal::MessageSilence { longest } else { median(&mut values) };
        if let Some(sample) = sample {
            self.take(sample, now);
        }
    }

    /// Something lasted for this long until now. It counts for as many samples as it took, or the many short ones beside
    /// it would hide how long it usually gets; and for no more than an eighth of the window, or one outage would be a rule.
    pub(crate) fn offer_length(&mut self, value: f64, now: Instant) {
        let every = self.learning.every.as_secs_f64();
        if self.frozen || every <= 0.0 || value < every {
            return self.offer(value, now);
        }
        self.close_bucket(now);
        self.first.get_or_insert(now);
        let most = (self.learning.window / 8).max(1);
        // A float beyond the integers ends at the highest of them.
        let times = ((value / every) as usize).clamp(1, most);
        for _ in 1..times {
            self.push(value);
        }
        self.take(value, now);
    }

    fn push(&mut self, sample: f64) {
        while self.samples.len() >= self.learning.window.max(1) {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    fn take(&mut self, sample: f64, now: Instant) {
        self.push(sample);
        self.count = self.count.saturating_add(1);
        let age = self.first.map_or(Duration::ZERO, |first| now.saturating_duration_since(first));
        let enough = self.samples.len() >= self.learning.samples || age >= self.learning.time;
        // A window smaller than the least number would never be enough.
        let least = self.learning.samples_min.min(self.learning.window.max(1));
        self.learned |= enough && self.count >= least as u64;
        // Of many samples one more changes little.
        if self.samples.len() < 64 || self.count.is_multiple_of(4) {
            self.usual = self.work_out();
        }
    }

    fn work_out(&self) -> Option<Usual> {
        let mut values: Vec<f64> = self.samples.iter().copied().collect();
        let median = median(&mut values)?;
        Some(Usual { median, spread: spread_about(median, &mut values) })
    }

    /// What is usual, once it is known.
    pub(crate) fn usual(&self) -> Option<Usual> {
        self.usual.filter(|_| self.learned)
    }

    /// The same, also while learning: to be shown, not to be judged by.
    pub(crate) const fn so_far(&self) -> Option<Usual> {
        self.usual
    }

    pub(crate) fn freeze(&mut self, frozen: bool) {
        if frozen && !self.frozen {
            // What came in this bucket belongs to what fires.
            self.bucket.clear();
            self.bucket_began = None;
        }
        self.frozen = frozen;
    }

    #[cfg(test)]
    pub(crate) fn longest(&self) -> Option<f64> {
        self.samples.iter().chain(&self.bucket).copied().max_by(f64::total_cmp)
    }

    /// Forgets everything.
    pub(crate) fn begin_anew(&mut self) {
        *self = Self::new(self.signal, self.learning);
    }

    pub(crate) const fn state(&self) -> BaselineState {
        match (self.learned, self.frozen) {
            (_, true) => BaselineState::Frozen,
            (true, false) => BaselineState::Ready,
            (false, false) => BaselineState::Learning,
        }
    }

    pub(crate) const fn count(&self) -> u64 {
        self.count
    }
}

/// First line of a record, with its format.
const HEAD: &str = "rejoin baselines 1";
/// Most bytes of a record that are read: more than the largest window writes.
pub(crate) const RECORD_MAX: u64 = 1024 * 1024;

/// All baselines as a text for the next process. Only those that have learned: half a lesson is worth less than a new one.
pub(crate) fn record(baselines: &[Baseline; 6]) -> String {
    use std::fmt::Write;
    let mut text = String::from(HEAD);
    text.push('\n');
    for signal in Signal::ALL {
        let baseline = &baselines[signal.index()];
        if !baseline.learned {
            continue;
        }
        let _ = write!(text, "{} {}", signal.name(), baseline.count);
        for sample in &baseline.samples {
            let _ = write!(text, " {sample:e}");
        }
        text.push('\n');
    }
    let sum = checksum(text.as_bytes());
    let _ = writeln!(text, "end {sum:016x}");
    text
}

/// Reads a record back.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn recall(text: &str, learning: Learning) -> Result<[Baseline; 6], &'static str> {
    let mut baselines = Signal::ALL.map(|signal| Baseline::new(signal, learning));
    let (body, end) = text.rsplit_once("end ").ok_or("its end is missing")?;
    let sum = u64::from_str_radix(end.trim(), 16).map_err(|_| "its end is damaged")?;
    if sum != checksum(body.as_bytes()) {
        return Err("its checksum does not fit");
    }
    let mut lines = body.lines();
    if lines.next() != Some(HEAD) {
        return Err("it has another format");
    }
    for line in lines {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        let signal = Signal::ALL.into_iter().find(|signal| signal.name() == name);
        let baseline = &mut baselines[signal.ok_or("it names a signal that is not known")?.index()];
        baseline.count = words.next().and_then(|count| count.parse().ok()).ok_or("a count is damaged")?;
        for word in words {
            let sample: f64 = word.parse().map_err(|_| "a sample is damaged")?;
            if !sample.is_finite() || sample < 0.0 {
                return Err("a sample is no size or time");
            }
            baseline.samples.push_back(sample);
        }
        while baseline.samples.len() > learning.window.max(1) {
            baseline.samples.pop_front();
        }
        baseline.usual = baseline.work_out();
        baseline.learned = baseline.usual.is_some();
    }
    Ok(baselines)
}

/// FNV-1a, 64 bits: enough against a torn write, and nobody attacks a file of his own.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn each_sample(window: usize) -> Learning {
        Learning { every: Duration::ZERO, window, ..Learning::default() }
    }

    #[test]
    fn learning_ends_with_the_time_or_the_samples() {
        let start = Instant::now();
        let mut by_time = Baseline::new(Signal::QueueAge, Learning::default());
        for n in 0..=60 {
            assert_eq!(by_time.usual(), None, "after {n} samples of 5 s");
            by_time.offer(1.0, start + SECOND * 5 * n);
        }
        assert_eq!(by_time.state(), BaselineState::Ready);

        let mut by_samples = Baseline::new(Signal::QueueAge, each_sample(480));
        for n in 0..199 {
            by_samples.offer(1.0, start + Duration::from_millis(n));
        }
        assert_eq!(by_samples.state(), BaselineState::Learning);
        by_samples.offer(1.0, start + SECOND);
        assert_eq!(by_samples.state(), BaselineState::Ready);
    }

    #[test]
    fn frozen_it_learns_nothing_and_memory_is_bounded() {
        let start = Instant::now();
        let mut baseline = Baseline::new(Signal::QueueAge, each_sample(480));
        for n in 0..10_000 {
            baseline.offer(2.0, start + SECOND * n);
        }
        assert_eq!((baseline.samples.len(), baseline.count()), (480, 10_000));
        baseline.freeze(true);
        assert_eq!(baseline.state(), BaselineState::Frozen);
        for n in 10_000..20_000 {
            baseline.offer(9.0, start + SECOND * n);
        }
        assert_eq!(baseline.usual(), Some(Usual { median: 2.0, spread: 0.0 }));
        baseline.freeze(false);
        for n in 20_000..20_300 {
            baseline.offer(9.0, start + SECOND * n);
        }
        assert_eq!(baseline.usual().map(|usual| usual.median), Some(9.0), "and follows again");
        let mut crowded = Baseline::new(Signal::QueueAge, Learning::default());
        (0..100_000).for_each(|_| crowded.offer(1.0, start));
        assert_eq!(crowded.bucket.len(), BUCKET_MAX);
    }

    #[test]
    fn the_longest_window_fits_its_file() {
        let learning = each_sample(WINDOW_MAX);
        let baselines = Signal::ALL.map(|signal| {
            let mut baseline = Baseline::new(signal, learning);
            // The longest number there is.
            baseline.samples = std::iter::repeat_n(1.234_567_890_123_456_7e-300, WINDOW_MAX).collect();
            (baseline.count, baseline.learned) = (u64::MAX, true);
            baseline
        });
        let text = record(&baselines);
        assert!((text.len() as u64) < RECORD_MAX, "{}", text.len());
        assert_eq!(recall(&text, learning).unwrap()[0].samples.len(), WINDOW_MAX);
        let alerts = super::super::Alerts::none().learning(|learning| learning.window = usize::MAX);
        assert_eq!(alerts.learning.window, WINDOW_MAX);
    }

    #[test]
    fn what_was_learned_survives_to_the_bit_and_damage_is_told() {
        let start = Instant::now();
        let mut baselines = Signal::ALL.map(|signal| Baseline::new(signal, each_sample(64)));
        for n in 0..310u32 {
            baselines[2].offer(0.012 + f64::from(n % 7) / 3000.0, start + SECOND * n);
            baselines[4].offer(f64::from(n % 3), start + SECOND * n);
        }
        baselines[0].offer(1.0, start);
        let text = record(&baselines);
        let read = recall(&text, each_sample(64)).unwrap();
        assert_eq!(read[2].usual(), baselines[2].usual());
        assert_eq!((read[4].usual(), read[4].count()), (baselines[4].usual(), 310));
        assert_eq!(read[0].state(), BaselineState::Learning, "half a lesson is not kept");
        for cut in 0..text.len() {
            assert!(recall(&text[..cut], each_sample(64)).is_err() || text[cut..].trim().is_empty(), "{cut}");
        }
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'7' { b'8' } else { b'7' };
            let damaged = String::from_utf8(bytes).unwrap();
            assert!(recall(&damaged, each_sample(64)).is_err(), "byte {at}");
        }
        assert!(recall("", each_sample(64)).is_err());
        let empty = recall(
            &record(&Signal::ALL.map(|signal| Baseline::new(signal, each_sample(64)))),
            each_sample(64),
        );
        assert!(empty.unwrap().iter().all(|baseline| baseline.usual().is_none()));
    }
}
