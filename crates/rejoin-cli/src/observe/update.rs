//! What changed in a run since the update before: the stream, the recording and the page carry nothing else.

use serde::{Deserialize, Serialize};

use super::document::{
    AlertView, Answers, BaselineView, ClockStep, Document, Happening, HealthView, Honesty, Injection, Lanes,
    Outage, RoundTrips, Span, StateView, Subject, Totals, VerdictView,
};
use super::run::EVENTS_MAX;
use super::samples::Samples;

/// A list from an index on: what a reader has from there is replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tail<T> {
    /// The first index that may be new.
    pub(crate) from: usize,
    /// What is there now, to the end.
    pub(crate) items: Vec<T>,
}

impl<T: Clone> Tail<T> {
    /// The end of a list.
    pub(crate) fn of(list: &[T], from: usize) -> Self {
        let from = from.min(list.len());
        Self { from, items: list[from..].to_vec() }
    }

    /// Replaces the end of a list.
    pub(crate) fn apply(self, list: &mut Vec<T>) {
        list.truncate(self.from);
        list.extend(self.items);
    }
}

/// The ends of the lanes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LaneTails {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) injected: Option<Tail<Injection>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) truth: Option<Tail<Span>>,
    pub(crate) client: Tail<Span>,
}

impl LaneTails {
    /// Replaces the ends of the lanes.
    pub(crate) fn apply(self, lanes: &mut Lanes) {
        if let Some(tail) = self.injected {
            tail.apply(lanes.injected.get_or_insert_default());
        }
        if let Some(tail) = self.truth {
            tail.apply(lanes.truth.get_or_insert_default());
        }
        self.client.apply(&mut lanes.client);
    }
}

/// What changed; `None` and nothing is what did not, and is left out where it is written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Update {
    /// When the document became this.
    pub(crate) now_ms: u64,
    /// The same by the clock on the wall.
    pub(crate) now_unix_ms: u64,
    /// All steps of that clock, only when there is a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) steps: Option<Vec<ClockStep>>,
    /// Only when it changed: the server assigned a client id, or named another server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client: Option<Subject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<StateView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) answers: Option<Answers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health: Option<HealthView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) alerts: Option<Vec<AlertView>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) baselines: Option<Vec<BaselineView>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) totals: Option<Totals>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) round_trips: Option<RoundTrips>,
    /// New rows.
    #[serde(skip_serializing_if = "Samples::is_empty")]
    pub(crate) samples: Samples,
    /// New events.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) events: Vec<Happening>,
    pub(crate) lanes: LaneTails,
    pub(crate) outages: Tail<Outage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) honesty: Option<Honesty>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) verdict: Option<VerdictView>,
}

/// What is new, where it is not what is known.
pub(crate) fn fresh<T: PartialEq>(new: T, known: &T) -> Option<T> {
    (new != *known).then_some(new)
}

/// The same for what is known once and then always.
pub(crate) fn fresh_or_none<T: PartialEq>(new: Option<T>, known: &Option<T>) -> Option<T> {
    if new == *known { None } else { new }
}

fn replace<T>(known: &mut T, new: Option<T>) {
    if let Some(new) = new {
        *known = new;
    }
}

impl Update {
    /// Makes a document that of this update; it must be that of the update before.
    pub(crate) fn apply(mut self, document: &mut Document) {
        document.clock.now_ms = self.now_ms;
        document.clock.now_unix_ms = self.now_unix_ms;
        if let Some(steps) = self.steps.take() {
            document.clock.steps = steps;
        }
        if let Some(subject) = self.client.take() {
            document.client = subject;
        }
        document.samples.append(&self.samples);
        let last = document.events.last().map_or(0, |event| event.id);
        document.events.extend(self.events.drain(..).filter(|event| event.id > last));
        std::mem::take(&mut self.lanes).apply(&mut document.lanes);
        std::mem::take(&mut self.outages).apply(&mut document.outages);
        // Forgets what is too old; at the same moments for all who hold the run, so that all hold the same.
        document.samples.bound();
        let many = document.events.len().saturating_sub(EVENTS_MAX);
        document.events.drain(..many);
        replace(&mut document.state, self.state);
        replace(&mut document.answers, self.answers);
        replace(&mut document.health, self.health);
        replace(&mut document.alerts, self.alerts);
        replace(&mut document.baselines, self.baselines);
        replace(&mut document.totals, self.totals);
        document.round_trips = self.round_trips.or(document.round_trips);
        document.honesty = self.honesty.or(document.honesty);
        if self.verdict.is_some() {
            document.verdict = self.verdict;
        }
    }
}
