//! The broker's account of messages, reduced to what the books need.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rejoin_core::Text;

use crate::broker::LedgerEntry;
use crate::sim::app::number;

/// One line of it.
#[derive(Clone, Debug)]
pub(in crate::sim) enum Entry {
    /// The broker took a message over.
    Accepted { number: u64, arrival: u64, qos: u8, retain: bool, topic: Text, payload: Bytes },
    /// It gave a message to a session for the first time.
    HandedOver { session: Text, number: u64 },
    /// A client confirmed one.
    Confirmed { session: Text, number: u64, qos: u8 },
    /// A session ended, by its time or otherwise.
    SessionEnded { session: Text },
}

impl Entry {
    /// For the trace.
    pub(in crate::sim) fn fold(&self) -> u64 {
        match self {
            Self::Accepted { number, arrival, .. } => number ^ (arrival << 16),
            Self::HandedOver { session, number } => number ^ folded(session) ^ 1,
            Self::Confirmed { session, number, qos } => {
                number ^ folded(session) ^ (u64::from(*qos) << 60) ^ 2
            }
            Self::SessionEnded { session } => folded(session) ^ 3,
        }
    }
}

/// The end of its name tells it from the others.
fn folded(session: &Text) -> u64 {
    session.as_bytes().iter().fold(0, |all: u64, byte| all.rotate_left(8) ^ u64::from(*byte)) << 48
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
                    retain: a.retain,
                    topic: a.topic.clone(),
                    payload: a.payload.clone(),
                }),
                LedgerEntry::Sent(d) if !d.dup => {
                    number(&d.payload).map(|number| Entry::HandedOver { session: d.client.clone(), number })
                }
                LedgerEntry::Confirmed(d) => number(&d.payload).map(|number| Entry::Confirmed {
                    session: d.client.clone(),
                    number,
                    qos: d.qos as u8,
                }),
                LedgerEntry::SessionEnded { client, .. } => {
                    Some(Entry::SessionEnded { session: client.clone() })
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
