//! What must be true, decided from the broker's ledger, the wire, the disk and the client's answers, never from its
//! counters. The names O1 to O25 are those of `docs/simulation.md`.

pub(super) mod account;
pub(super) mod books;
mod inbound;
pub(super) mod memory;
mod overruns;
pub(super) mod tap;
pub(super) mod watch;
mod windows;

use std::fmt;

/// Something that must be true is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Which of the oracles, as in `O5`.
    pub oracle: &'static str,
    /// What it saw.
    pub what: String,
}

impl Alarm {
    pub(crate) fn new(oracle: &'static str, what: impl Into<String>) -> Self {
        Self { oracle, what: what.into() }
    }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.oracle, self.what)
    }
}
