//! The history of a run: what was injected, what was true, what the client claimed.

use std::time::{Duration, Instant};

use rejoin::Link;

use super::script::Fault;

/// What the client says about its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lamp {
    /// Open, and nothing speaks against it.
    Open,
    /// A ping is late.
    Suspect,
    /// Not open.
    Closed,
}

impl From<&Link> for Lamp {
    fn from(link: &Link) -> Self {
        match link {
            Link::Open { .. } => Self::Open,
            Link::Suspect { .. } => Self::Suspect,
            _ => Self::Closed,
        }
    }
}

/// One moment of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// The fault that was on.
    pub(crate) injected: Option<Fault>,
    /// Whether bytes got through, as the proxy knows it.
    pub(crate) passing: bool,
    /// What the client said.
    pub(crate) lamp: Lamp,
    /// Messages accepted and not answered for.
    pub(crate) queue: u64,
}

/// Samples at a fixed distance, from the start of the story.
#[derive(Debug)]
pub(crate) struct History {
    every: Duration,
    total: Duration,
    samples: Vec<Sample>,
}

impl History {
    /// An empty one for a story of this length.
    pub(crate) const fn new(every: Duration, total: Duration) -> Self {
        Self { every, total, samples: Vec::new() }
    }

    /// Adds what is so now; a moment that was missed repeats what came last.
    pub(crate) fn sample(&mut self, at: Duration, sample: Sample) {
        let every = self.every.as_nanos().max(1);
        let wanted = usize::try_from(at.as_nanos() / every).unwrap_or(usize::MAX).saturating_add(1);
        let most = usize::try_from(self.total.as_nanos() / every).unwrap_or(usize::MAX);
        while self.samples.len() < wanted.min(most) {
            self.samples.push(sample);
        }
    }

    /// The worst of each part of the story when it is cut into `width` parts; `None` for what is to come.
    pub(crate) fn columns(&self, width: usize) -> Vec<Option<Sample>> {
        let most = usize::try_from(self.total.as_nanos() / self.every.as_nanos().max(1)).unwrap_or(0);
        let column = |c: usize| {
            let (from, to) = (c * most / width, ((c + 1) * most / width).max(c * most / width + 1));
            let part = self.samples.get(from..to.min(self.samples.len()))?;
            part.iter().copied().reduce(worst)
        };
        (0..width).map(column).collect()
    }

    /// The longest queue so far.
    pub(crate) fn longest_queue(&self) -> u64 {
        self.samples.iter().map(|sample| sample.queue).max().unwrap_or(0)
    }
}

fn worst(a: Sample, b: Sample) -> Sample {
    Sample {
        injected: a.injected.or(b.injected),
        passing: a.passing && b.passing,
        lamp: a.lamp.max(b.lamp),
        queue: a.queue.max(b.queue),
    }
}

/// How long the client claimed an open link while nothing got through: in all, and at most in one piece. Both
/// histories are changes in order, each holding until the next one or `end`.
pub(crate) fn claimed_open_while_dead(
    truth: &[(Instant, bool)],
    claims: &[(Instant, Lamp)],
    end: Instant,
) -> (Duration, Duration) {
    let mut total = Duration::ZERO;
    let mut longest = Duration::ZERO;
    for (died, back) in spans(truth, end, |passing| !passing) {
        for (from, to) in spans(claims, end, |lamp| lamp == Lamp::Open) {
            let lie = to.min(back).saturating_duration_since(from.max(died));
            total += lie;
            longest = longest.max(lie);
        }
    }
    (total, longest)
}

fn spans<T: Copy>(
    changes: &[(Instant, T)],
    end: Instant,
    wanted: impl Fn(T) -> bool,
) -> impl Iterator<Item = (Instant, Instant)> {
    changes.iter().enumerate().filter(move |(_, (_, value))| wanted(*value)).map(move |(n, (from, _))| {
        let to = changes.get(n + 1).map_or(end, |(next, _)| *next);
        (*from, to)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Sample = Sample { injected: None, passing: true, lamp: Lamp::Open, queue: 0 };

    #[test]
    fn a_column_shows_the_worst_of_its_time_and_nothing_of_the_future() {
        let second = Duration::from_secs(1);
        let mut history = History::new(second / 10, second * 10);
        history.sample(second / 2, GOOD);
        let bad = Sample { lamp: Lamp::Suspect, queue: 9, passing: false, ..GOOD };
        history.sample(second * 6 / 10, bad);
        history.sample(second * 2, GOOD);
        let columns = history.columns(10);
        assert_eq!(columns[0], Some(bad));
        assert_eq!(columns[1], Some(GOOD));
        assert_eq!(columns[3], None);
        assert_eq!(history.longest_queue(), 9);
        history.sample(second * 60, GOOD);
        assert_eq!(history.samples.len(), 100);
        assert_eq!(history.columns(37).len(), 37);
        assert!(history.columns(300).iter().all(Option::is_some));
    }

    #[test]
    fn only_an_open_claim_over_a_dead_path_is_a_lie() {
        let zero = Instant::now();
        let at = |s| zero + Duration::from_secs(s);
        let truth = [(at(0), true), (at(10), false), (at(20), true), (at(30), false)];
        let claims = [
            (at(1), Lamp::Open),
            (at(12), Lamp::Suspect),
            (at(14), Lamp::Closed),
            (at(19), Lamp::Open),
            (at(33), Lamp::Closed),
        ];
        let (total, longest) = claimed_open_while_dead(&truth, &claims, at(40));
        assert_eq!((total.as_secs(), longest.as_secs()), (2 + 1 + 3, 3));
    }
}
