//! The lanes: what was injected, what was true, what the client said; and for how long the last two disagreed.

use super::document::{Honesty, Injection, Lanes, LinkWord, Span};
use super::open_time::OpenTime;

/// Spans held in each lane at most; above it the older ones are merged, then forgotten. At the fastest flapping the
/// budget of attempts allows, the last three hours in full.
pub(crate) const SPANS_MAX: usize = 4_000;

/// Faults held at most; the oldest go first.
pub(crate) const INJECTIONS_MAX: usize = 1_000;

/// What of a list changed since the last update: everything from an index on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changed(usize);

impl Default for Changed {
    fn default() -> Self {
        Self(usize::MAX)
    }
}

impl Changed {
    /// This element is not what it was.
    pub(crate) fn at(&mut self, index: usize) {
        self.0 = self.0.min(index);
    }

    /// The first changed index of a list of this length, once.
    pub(crate) fn take(&mut self, length: usize) -> usize {
        std::mem::take(self).0.min(length)
    }
}

/// Writes the lanes of one run.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) lanes: Lanes,
    pub(crate) client_changed: Changed,
    pub(crate) truth_changed: Changed,
    pub(crate) injected_changed: Changed,
    /// Of all that was claimed, forgotten or not.
    pub(crate) time: OpenTime,
    /// Of what was forgotten.
    before: Honesty,
}

impl Recorder {
    /// Empty lanes; those of injection and truth only where there is a proxy.
    pub(crate) fn new(proxied: bool) -> Self {
        let mut recorder = Self::default();
        if proxied {
            recorder.lanes.injected = Some(Vec::new());
            recorder.lanes.truth = Some(Vec::new());
        }
        recorder
    }

    /// The client says something about its link.
    pub(crate) fn claim(&mut self, at_ms: u64, state: LinkWord, reason: Option<String>) {
        self.time.claim(at_ms, state);
        let lane = &mut self.lanes.client;
        if extend(lane, at_ms, state, reason, &mut self.client_changed) && lane.len() > SPANS_MAX {
            self.bound_claims();
        }
    }

    /// What the proxy knows: bytes get through or not.
    pub(crate) fn truth(&mut self, at_ms: u64, passing: bool) {
        let state = if passing { LinkWord::Open } else { LinkWord::Closed };
        let lane = self.lanes.truth.get_or_insert_default();
        if extend(lane, at_ms, state, None, &mut self.truth_changed) && lane.len() > SPANS_MAX {
            let cut = lane[lane.len() / 4].from_ms;
            self.forget_before(cut);
        }
    }

    /// Somebody brings about a fault.
    pub(crate) fn inject(&mut self, at_ms: u64, what: &str, label: &str) {
        let lane = self.lanes.injected.get_or_insert_default();
        self.injected_changed.at(lane.len());
        lane.push(Injection { from_ms: at_ms, to_ms: None, what: what.to_owned(), label: label.to_owned() });
        if lane.len() > INJECTIONS_MAX {
            lane.drain(..INJECTIONS_MAX / 4);
            self.injected_changed.at(0);
        }
    }

    /// It is over.
    pub(crate) fn heal(&mut self, at_ms: u64, what: &str) {
        let lane = self.lanes.injected.get_or_insert_default();
        for (index, fault) in lane.iter_mut().enumerate() {
            if fault.what == what && fault.to_ms.is_none() {
                fault.to_ms = Some(at_ms.max(fault.from_ms));
                self.injected_changed.at(index);
            }
        }
    }

    /// The fault behind an outage that began about here: the newest that was on, or ended last.
    pub(crate) fn fault_near(&self, from_ms: u64) -> Option<&Injection> {
        let faults = self.lanes.injected.as_deref()?;
        faults.iter().rev().find(|fault| fault.to_ms.is_none_or(|to| to >= from_ms))
    }

    /// How long an open link was claimed over a closed one; `None` where the truth is not known.
    pub(crate) fn honesty(&self, now_ms: u64) -> Option<Honesty> {
        let truth = self.lanes.truth.as_deref().filter(|truth| !truth.is_empty())?;
        let seen = disagreement(truth, &self.lanes.client, now_ms);
        Some(Honesty {
            claimed_open_while_closed_ms: self.before.claimed_open_while_closed_ms
                + seen.claimed_open_while_closed_ms,
            longest_ms: self.before.longest_ms.max(seen.longest_ms),
        })
    }

    fn bound_claims(&mut self) {
        let lane = &mut self.lanes.client;
        let newest = lane.split_off(lane.len() * 3 / 4);
        let mut merged: Vec<Span> = Vec::new();
        for span in lane.drain(..) {
            let between = |word| matches!(word, LinkWord::Connecting | LinkWord::Waiting);
            match merged.last_mut() {
                // Of a long outage in which every attempt failed, it stays known that it was one.
                Some(last) if between(last.state) && between(span.state) => {
                    last.state = LinkWord::Waiting;
                    last.to_ms = span.to_ms;
                }
                _ => merged.push(span),
            }
        }
        merged.extend(newest);
        *lane = merged;
        self.client_changed.at(0);
        if lane.len() > SPANS_MAX * 3 / 4 {
            let cut = lane[lane.len() / 4].from_ms;
            self.forget_before(cut);
        }
    }

    fn forget_before(&mut self, cut_ms: u64) {
        if let Some(truth) = &mut self.lanes.truth {
            let lost = disagreement(truth, &self.lanes.client, cut_ms);
            self.before.claimed_open_while_closed_ms += lost.claimed_open_while_closed_ms;
            self.before.longest_ms = self.before.longest_ms.max(lost.longest_ms);
            clip(truth, cut_ms);
            self.truth_changed.at(0);
        }
        clip(&mut self.lanes.client, cut_ms);
        self.client_changed.at(0);
    }
}

fn clip(lane: &mut Vec<Span>, cut_ms: u64) {
    lane.retain(|span| span.to_ms.is_none_or(|to| to > cut_ms));
    if let Some(first) = lane.first_mut() {
        first.from_ms = first.from_ms.max(cut_ms);
    }
}

/// Tells whether a span was added.
fn extend(
    lane: &mut Vec<Span>,
    at_ms: u64,
    state: LinkWord,
    reason: Option<String>,
    changed: &mut Changed,
) -> bool {
    let index = lane.len();
    let mut at_ms = at_ms;
    if let Some(last) = lane.last_mut() {
        if last.state == state {
            if reason.is_some() && last.reason != reason {
                last.reason = reason;
                changed.at(index - 1);
            }
            return false;
        }
        at_ms = at_ms.max(last.from_ms);
        last.to_ms = Some(at_ms);
        changed.at(index - 1);
    }
    lane.push(Span { from_ms: at_ms, to_ms: None, state, reason });
    changed.at(index);
    true
}

/// Where the client said open and the truth was closed, until `end_ms`. Both lanes are in order.
fn disagreement(truth: &[Span], claims: &[Span], end_ms: u64) -> Honesty {
    let mut found = Honesty::default();
    let mut first = 0;
    for closed in truth.iter().filter(|span| span.state == LinkWord::Closed) {
        let back = closed.to_ms.unwrap_or(end_ms).min(end_ms);
        while claims.get(first).is_some_and(|claim| claim.to_ms.is_some_and(|to| to <= closed.from_ms)) {
            first += 1;
        }
        for claim in claims[first..].iter().take_while(|claim| claim.from_ms < back) {
            if claim.state == LinkWord::Open {
                let to = claim.to_ms.unwrap_or(end_ms).min(back);
                let lie = to.saturating_sub(claim.from_ms.max(closed.from_ms));
                found.claimed_open_while_closed_ms += lie;
                found.longest_ms = found.longest_ms.max(lie);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_open_claim_over_a_closed_path_is_a_lie() {
        let mut lanes = Recorder::new(true);
        assert_eq!(lanes.honesty(0), None, "nothing is known yet");
        for (at, passing) in [(0, true), (10, false), (20, true), (30, false)] {
            lanes.truth(at * 1000, passing);
        }
        for (at, state) in [
            (1, LinkWord::Open),
            (12, LinkWord::Suspect),
            (14, LinkWord::Waiting),
            (19, LinkWord::Open),
            (33, LinkWord::Waiting),
        ] {
            lanes.claim(at * 1000, state, None);
        }
        let honesty = lanes.honesty(40_000).unwrap();
        assert_eq!((honesty.claimed_open_while_closed_ms, honesty.longest_ms), (6_000, 3_000));
        lanes.forget_before(25_000);
        assert_eq!(lanes.honesty(40_000), Some(honesty), "what is forgotten still counts");
        assert_eq!(lanes.lanes.client[0].from_ms, 25_000);
    }

    #[test]
    fn an_outage_of_a_month_takes_a_bounded_lane_and_stays_visible() {
        let mut lanes = Recorder::new(false);
        lanes.claim(0, LinkWord::Open, None);
        let mut most = 0;
        for n in 1..100_000_u64 {
            lanes.claim(n * 20_000, LinkWord::Connecting, None);
            lanes.claim(n * 20_000 + 5_000, LinkWord::Waiting, Some("refused".to_owned()));
            most = most.max(lanes.lanes.client.len());
        }
        assert!(most <= SPANS_MAX + 1, "{most}");
        let lane = &lanes.lanes.client;
        assert_eq!((lane[0].state, lane[0].from_ms, lane[0].to_ms), (LinkWord::Open, 0, Some(20_000)));
        assert_eq!(lane[1].state, LinkWord::Waiting);
        assert!(lane.windows(2).all(|pair| pair[0].to_ms == Some(pair[1].from_ms)), "no hole");
    }

    #[test]
    fn flapping_for_a_month_forgets_the_oldest() {
        let mut lanes = Recorder::new(true);
        for n in 0..50_000_u64 {
            lanes.truth(n * 1_000, n % 2 == 0);
            lanes.claim(n * 1_000 + 100, if n % 2 == 0 { LinkWord::Open } else { LinkWord::Suspect }, None);
        }
        assert!(lanes.lanes.client.len() <= SPANS_MAX + 1);
        assert!(lanes.lanes.truth.as_ref().unwrap().len() <= SPANS_MAX + 1);
        // Each closed second began with 100 ms in which the client did not know yet.
        let honesty = lanes.honesty(50_000_000).unwrap();
        assert_eq!((honesty.claimed_open_while_closed_ms, honesty.longest_ms), (25_000 * 100, 100));
        let seen = lanes.lanes.client[0].from_ms;
        assert!(seen > 40_000_000, "most of it is forgotten: {seen}");
        let time = lanes.time;
        assert_eq!((time.open_ms(50_000_100), time.watched_ms(50_000_100)), (25_000_000, 50_000_000));
        for n in 0..INJECTIONS_MAX as u64 * 3 {
            lanes.inject(n, "cut", "the link is cut");
            lanes.heal(n, "cut");
        }
        assert!(lanes.lanes.injected.as_ref().unwrap().len() <= INJECTIONS_MAX);
    }
}
