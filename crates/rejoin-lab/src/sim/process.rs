//! One process of a client: its engine, and when that wants to be called, which is asked far more often than it changes.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

use rejoin_core::flight::Flight;

/// An engine; whatever may change it makes what is known of its plans unknown.
#[derive(Debug)]
pub(super) struct Process {
    flight: Flight,
    plans: Cell<Option<Plans>>,
}

/// What an engine waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plans {
    /// When it wants to be called at the latest, in microseconds; never is the largest number.
    pub(super) due: u64,
    /// Whether it takes bytes.
    pub(super) reads: bool,
}

impl Process {
    pub(super) const fn new(flight: Flight) -> Self {
        Self { flight, plans: Cell::new(None) }
    }

    pub(super) fn plans(&self) -> Plans {
        if let Some(plans) = self.plans.get() {
            return plans;
        }
        let due = self.flight.deadline().map_or(u64::MAX, |(at, _)| at.as_micros());
        let plans = Plans { due, reads: self.flight.wants_read() };
        self.plans.set(Some(plans));
        plans
    }
}

impl Deref for Process {
    type Target = Flight;
    fn deref(&self) -> &Flight {
        &self.flight
    }
}

impl DerefMut for Process {
    fn deref_mut(&mut self) -> &mut Flight {
        self.plans.set(None);
        &mut self.flight
    }
}
