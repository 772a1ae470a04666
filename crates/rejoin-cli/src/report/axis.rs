//! Axes: where a time or a value is drawn, and where it is written what that means.

use jiff::Timestamp;
use jiff::tz::TimeZone;

const SECOND: f64 = 1e3;
const MINUTE: f64 = 60.0 * SECOND;
const HOUR: f64 = 60.0 * MINUTE;
const DAY: f64 = 24.0 * HOUR;

/// Distances between two marks that people find natural, in milliseconds.
const STEPS: [f64; 34] = [
    1.0,
    2.0,
    5.0,
    10.0,
    20.0,
    50.0,
    100.0,
    200.0,
    500.0,
    SECOND,
    2.0 * SECOND,
    5.0 * SECOND,
    10.0 * SECOND,
    15.0 * SECOND,
    30.0 * SECOND,
    MINUTE,
    2.0 * MINUTE,
    5.0 * MINUTE,
    10.0 * MINUTE,
    15.0 * MINUTE,
    30.0 * MINUTE,
    HOUR,
    2.0 * HOUR,
    3.0 * HOUR,
    6.0 * HOUR,
    12.0 * HOUR,
    DAY,
    2.0 * DAY,
    7.0 * DAY,
    14.0 * DAY,
    28.0 * DAY,
    91.0 * DAY,
    364.0 * DAY,
    3_640.0 * DAY,
];

/// Runs longer than this are shown by the clock, shorter ones by the time since their start.
const BY_CLOCK: f64 = 2.0 * HOUR;

/// How many marks fit on a phone, and on anything wider.
const MARKS: (f64, f64) = (4.0, 10.0);

/// A place on an axis and what stands there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tick {
    /// From 0 (left or below) to 1.
    pub(crate) at: f64,
    /// What is written there.
    pub(crate) label: String,
    /// Only where there is room.
    pub(crate) minor: bool,
}

/// The axis all charts of a report share.
#[derive(Clone, Debug)]
pub(crate) struct TimeAxis {
    length: f64,
    /// Where the clock on the wall goes on evenly: from when on, and the Unix time of the left end by that clock.
    epochs: Vec<(f64, f64)>,
}

impl TimeAxis {
    /// An axis from the start of a run to its end, both in milliseconds. From each of the steps on, the clock on the
    /// wall was so far from where the start would have it.
    pub(crate) fn new(started_unix_ms: f64, steps: &[(f64, f64)], now_ms: f64) -> Self {
        let steps = steps.iter().map(|(at, offset)| (*at, started_unix_ms + offset));
        Self {
            length: now_ms.max(1.0),
            epochs: std::iter::once((0.0, started_unix_ms)).chain(steps).collect(),
        }
    }

    /// Where a time is: from 0 to 1.
    pub(crate) fn at(&self, ms: f64) -> f64 {
        (ms / self.length).clamp(0.0, 1.0)
    }

    /// How long it is, in milliseconds.
    pub(crate) const fn length(&self) -> f64 {
        self.length
    }

    /// What is written below it.
    pub(crate) fn ticks(&self) -> Vec<Tick> {
        let step = |most: f64, of: f64| {
            let fits = |step: &&f64| self.length / **step <= most && (**step / of).fract() == 0.0;
            STEPS.iter().find(fits).copied().unwrap_or(self.length)
        };
        let fine = step(MARKS.1, 1.0);
        let coarse = step(MARKS.0, fine);
        if self.length <= BY_CLOCK {
            return self.even(0.0, (0.0, f64::INFINITY), fine, coarse, since_start);
        }
        let ends = self.epochs.iter().skip(1).map(|(at, _)| *at).chain([f64::INFINITY]);
        let parts = self.epochs.iter().zip(ends);
        parts.flat_map(|((from, zero), to)| self.even(*zero, (*from, to), fine, coarse, clock)).collect()
    }

    /// Marks at whole steps of a clock that shows `zero` at the left end, where it goes on evenly.
    fn even(
        &self,
        zero: f64,
        (from, to): (f64, f64),
        fine: f64,
        coarse: f64,
        label: fn(f64, f64) -> String,
    ) -> Vec<Tick> {
        let first = ((zero + from) / fine).ceil() as i64;
        let count = (self.length / fine) as i64 + 1;
        let tick = |n: i64| {
            let place = n as f64 * fine;
            let since = place - zero;
            let at = since / self.length;
            let here = (from..to).contains(&since) && (0.0..=1.0).contains(&at);
            here.then(|| Tick { at, label: label(place, fine), minor: (place / coarse).fract() != 0.0 })
        };
        (first..=first.saturating_add(count)).filter_map(tick).collect()
    }
}

fn since_start(ms: f64, step: f64) -> String {
    match step {
        _ if ms == 0.0 => "0".to_owned(),
        ..SECOND if ms < SECOND => format!("{ms} ms"),
        ..MINUTE if ms < MINUTE => format!("{} s", ms / SECOND),
        ..MINUTE => format!("{}:{:02}", (ms / MINUTE) as u64, ((ms % MINUTE) / SECOND) as u64),
        _ => format!("{} min", ms / MINUTE),
    }
}

fn clock(unix_ms: f64, step: f64) -> String {
    let Ok(time) = Timestamp::from_millisecond(unix_ms as i64) else { return String::new() };
    let time = time.to_zoned(TimeZone::UTC);
    let midnight = time.hour() == 0 && time.minute() == 0;
    let form = match step {
        DAY.. if step >= 91.0 * DAY => "%b %Y",
        _ if midnight => "%b %-d",
        _ => "%H:%M",
    };
    time.strftime(form).to_string()
}

/// A scale for values, from below to above.
#[derive(Clone, Debug)]
pub(crate) enum Scale {
    /// From zero to this.
    Linear(f64),
    /// From one power of ten to another.
    Log(i32, i32),
}

impl Scale {
    /// A linear one that reaches at least this value.
    pub(crate) fn up_to(highest: f64) -> Self {
        let highest = if highest.is_finite() { highest.max(1.0) } else { 1.0 };
        let power = 10_f64.powf(highest.log10().floor());
        let top = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0].into_iter().map(|n| n * power);
        Self::Linear(top.into_iter().find(|top| *top >= highest).unwrap_or(highest))
    }

    /// A logarithmic one that holds all these.
    pub(crate) fn around(values: impl Iterator<Item = f64>) -> Self {
        let above = values.filter(|value| *value > 0.0 && value.is_finite());
        let (low, high) = above.fold((f64::MAX, 0.0_f64), |(low, high), v| (low.min(v), high.max(v)));
        if high <= 0.0 {
            return Self::Log(0, 1);
        }
        let low = (low.max(1e-3).log10().floor()) as i32;
        let high = (high.max(1e-3).log10().ceil()) as i32;
        Self::Log(low, high.max(low + 1))
    }

    /// Where a value is: from 0 to 1.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let place = match self {
            Self::Linear(top) => value / top,
            Self::Log(low, high) => {
                (value.max(f64::MIN_POSITIVE).log10() - f64::from(*low)) / f64::from(high - low)
            }
        };
        if place.is_finite() { place.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// What is written beside it; `say` makes a text of a value.
    pub(crate) fn ticks(&self, say: fn(f64) -> String) -> Vec<Tick> {
        let tick = |value: f64| Tick { at: self.at(value), label: say(value), minor: false };
        match self {
            Self::Linear(top) => vec![tick(0.0), tick(top / 2.0), tick(*top)],
            Self::Log(low, high) => {
                // Five marks are enough for any picture.
                let every = ((high - low) / 4).max(1);
                (*low..=*high).filter(|n| (n - low) % every == 0).map(|n| tick(10_f64.powi(n))).collect()
            }
        }
    }
}

/// A count: `1,250`, `2.5`, `1.2 M`.
pub(crate) fn count(value: f64) -> String {
    match value {
        1e6.. => format!("{} M", super::markup::Number(value / 1e6)),
        10.0.. => crate::quantity::count(value.round() as u64),
        _ => super::markup::Number(value).to_string(),
    }
}

/// A length of time in milliseconds, for people: `0.4 ms`, `41 ms`, `2.3 s`, `1 min 32 s`, `2 h 5 min`, `3 d 4 h`.
pub(crate) fn length(ms: f64) -> String {
    let seconds = (ms / SECOND).round() as u64;
    let two = |large: u64, unit: &str, rest: u64, of: &str| match rest {
        0 => format!("{large} {unit}"),
        rest => format!("{large} {unit} {rest} {of}"),
    };
    match ms {
        _ if seconds >= 86_400 => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
        _ if seconds >= 3_600 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        59_950.0.. => two(seconds / 60, "min", seconds % 60, "s"),
        999.5.. => format!("{} s", (ms / 100.0).round() / 10.0),
        10.0.. => format!("{} ms", ms.round()),
        0.005.. => format!("{} ms", super::markup::Number(ms)),
        _ => "0 ms".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(length: f64) -> Vec<(String, bool)> {
        let ticks = TimeAxis::new(1_764_150_000_000.0, &[], length).ticks();
        assert!(ticks.windows(2).all(|pair| pair[0].at < pair[1].at), "{ticks:?}");
        assert!(ticks.len() <= 12, "{ticks:?}");
        assert!(ticks.iter().filter(|tick| !tick.minor).count() <= 5, "{ticks:?}");
        ticks.into_iter().map(|tick| (tick.label, tick.minor)).collect()
    }

    #[test]
    fn times_are_marked_at_natural_places_whatever_their_length() {
        let of = |length| labels(length).into_iter().map(|(label, _)| label).collect::<Vec<_>>();
        assert_eq!(of(30_000.0), ["0", "5 s", "10 s", "15 s", "20 s", "25 s", "30 s"]);
        assert_eq!(of(1.0), ["0", "1 ms"]);
        assert!(of(90_000.0).contains(&"1:20".to_owned()), "{:?}", of(90_000.0));
        assert!(of(600_000.0).contains(&"5 min".to_owned()), "{:?}", of(600_000.0));
        assert!(of(86_400_000.0).contains(&"12:00".to_owned()), "{:?}", of(86_400_000.0));
        assert!(of(30.0 * 86_400_000.0).contains(&"Dec 4".to_owned()), "{:?}", of(30.0 * 86_400_000.0));
        for length in [0.0, 7.0, 1_234.0, 59_999.0, 7_200_001.0, 1e10, 1e11, 1e13, 1e14] {
            labels(length);
        }
    }

    #[test]
    fn marks_of_the_clock_follow_it_where_it_was_set() {
        // From 09:40 on, ten hours; after four of them the machine slept for eight.
        let steps = [(4.0 * HOUR, 8.0 * HOUR)];
        let ticks = TimeAxis::new(1_764_150_000_000.0, &steps, 10.0 * HOUR).ticks();
        let label = |at: f64| {
            let near = |tick: &&Tick| (tick.at * 10.0 - at).abs() < 1e-6;
            ticks.iter().find(near).map(|tick| tick.label.as_str())
        };
        let even = |hour: f64| label(hour + 20.0 / 60.0);
        assert_eq!((even(2.0), even(3.0)), (Some("12:00"), Some("13:00")), "{ticks:?}");
        assert_eq!((even(4.0), even(5.0)), (Some("22:00"), Some("23:00")), "{ticks:?}");
        assert!(ticks.windows(2).all(|pair| pair[0].at < pair[1].at), "{ticks:?}");
        let odd = [(f64::MAX, f64::MAX), (0.0, -1e14), (5.0, 1e14)];
        TimeAxis::new(1e14, &odd, 1e14).ticks();
    }

    #[test]
    fn a_linear_scale_reaches_a_round_number_above() {
        for (highest, top) in [(0.0, 1.0), (7.0, 8.0), (118.0, 150.0), (250.0, 300.0), (f64::NAN, 1.0)] {
            let Scale::Linear(found) = Scale::up_to(highest) else { panic!("linear") };
            assert_eq!(found, top, "{highest}");
        }
    }

    #[test]
    fn a_logarithmic_scale_holds_what_it_was_made_for() {
        let scale = Scale::around([0.4, 12.0, 2_100.0, 0.0, f64::NAN].into_iter());
        let labels: Vec<String> = scale.ticks(length).into_iter().map(|tick| tick.label).collect();
        assert_eq!(labels, ["0.1 ms", "1 ms", "10 ms", "100 ms", "1 s", "10 s"]);
        assert!(scale.at(0.4) > 0.0 && scale.at(2_100.0) < 1.0 && scale.at(0.0) == 0.0);
        assert!(Scale::around(std::iter::empty()).ticks(length).len() == 2);
    }

    #[test]
    fn lengths_read_like_words() {
        for (ms, said) in [
            (0.0, "0 ms"),
            (0.42, "0.42 ms"),
            (41.3, "41 ms"),
            (999.7, "1 s"),
            (2_340.0, "2.3 s"),
            (59_960.0, "1 min"),
            (92_000.0, "1 min 32 s"),
            (7_500_000.0, "2 h 5 min"),
            (273_600_000.0, "3 d 4 h"),
        ] {
            assert_eq!(length(ms), said);
        }
    }
}
