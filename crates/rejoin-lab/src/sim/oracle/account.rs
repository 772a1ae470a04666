//! The broker's account of messages, reduced to what the books need.

use std::sync::{Arc, Mutex, PoisonError};

use crate::broker::LedgerEntry;
use crate::sim::app::number;

/// One line of it.
#[derive(Clone, Copy, Debug)]
pub(in crate::sim) enum Entry {
    /// The broker took a message over.
    Accepted { number: u64, arrival: u64, qos: u8 },
    /// It gave a message to a session for the first time.
    HandedOver { client: u8, number: u64 },
    /// A client confirmed one.
    Confirmed { client: u8, number: u64, qos: u8 },
    /// The session of a client ended, by its time or otherwise.
    SessionEnded { client: u8 },
}

impl Entry {
    /// For the trace.
    pub(in crate::sim) const fn fold(self) -> u64 {
        match self {
            Self::Accepted { number, arrival, .. } => number ^ (arrival << 16),
            Self::HandedOver { client, number } => number ^ ((client as u64) << 62) ^ 1,
            Self::Confirmed { client, number, qos } => {
                number ^ ((client as u64) << 62) ^ ((qos as u64) << 60) ^ 2
            }
            Self::SessionEnded { client } => ((client as u64) << 62) ^ 3,
        }
    }
}

/// Written by the broker, read by the world after each call.
#[derive(Clone, Debug, Default)]
pub(in crate::sim) struct Account(Arc<Mutex<Vec<Entry>>>);

impl Account {
    pub(in crate::sim) fn ledger(&self) -> crate::Ledger {
        let lines = Arc::clone(&self.0);
        Box::new(move |entry| {
            let line = match entry {
                LedgerEntry::Accepted(a) => number(&a.payload).map(|number| Entry::Accepted {
                    number,
                    arrival: a.arrival,
                    qos: a.qos as u8,
                }),
                LedgerEntry::Sent(d) if !d.dup => {
                    number(&d.payload).map(|number| Entry::HandedOver { client: client(&d.client), number })
                }
                LedgerEntry::Confirmed(d) => number(&d.payload).map(|number| Entry::Confirmed {
                    client: client(&d.client),
                    number,
                    qos: d.qos as u8,
                }),
                LedgerEntry::SessionEnded { client: name, .. } => {
                    Some(Entry::SessionEnded { client: client(name) })
                }
                _ => None,
            };
            if let Some(line) = line {
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        })
    }

    /// Takes what was written since, into an empty list whose room is used again.
    pub(in crate::sim) fn swap(&self, with: &mut Vec<Entry>) {
        std::mem::swap(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), with);
    }
}

/// Clients are called `c0`, `c1` and so on.
fn client(name: &rejoin_core::text::Text) -> u8 {
    name.as_bytes().get(1).map_or(u8::MAX, |digit| digit - b'0')
}
