//! What must be true, decided from the broker's ledger and the client's answers, never from its counters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use rejoin_core::{Outcome, PublishId, Qos};
use rejoin_lab::broker::LedgerEntry;

/// The broker's account of payloads, shared with the broker.
#[derive(Clone, Default)]
pub(crate) struct Account(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// How often each payload became the broker's own.
    accepted: BTreeMap<u64, u32>,
    /// First acceptances in order.
    order: Vec<u64>,
}

impl Account {
    pub(crate) fn ledger(&self) -> rejoin_lab::Ledger {
        let inner = Arc::clone(&self.0);
        Box::new(move |entry| {
            if let LedgerEntry::Accepted(accepted) = entry
                && let Some(n) = number(&accepted.payload)
            {
                let mut inner = inner.lock().unwrap();
                let count = inner.accepted.entry(n).or_default();
                *count += 1;
                if *count == 1 {
                    inner.order.push(n);
                }
            }
        })
    }

    pub(crate) fn copies(&self, n: u64) -> u32 {
        self.0.lock().unwrap().accepted.get(&n).copied().unwrap_or(0)
    }

    fn order(&self) -> Vec<u64> {
        self.0.lock().unwrap().order.clone()
    }
}

pub(crate) fn number(payload: &[u8]) -> Option<u64> {
    std::str::from_utf8(payload).ok()?.parse().ok()
}

/// What the application asked for and was told.
#[derive(Default)]
pub(crate) struct Application {
    pub(crate) published: BTreeMap<u64, (Qos, u8)>,
    pub(crate) answers: BTreeMap<u64, Vec<Outcome>>,
    /// Messages handed over, by payload and QoS granted.
    pub(crate) received: BTreeMap<u64, u32>,
    /// A process died with messages in memory only, or the broker forgot or rolled back a session.
    pub(crate) sessions_lost: u32,
    pub(crate) crashed: bool,
    /// Accepted, not yet stored, and then the process died: nobody was told that it was safe.
    pub(crate) forgotten: BTreeSet<u64>,
    pub(crate) reordering: bool,
    pub(crate) qos2_at_pubrel: bool,
}

impl Application {
    pub(crate) fn answered(
        &mut self,
        id: PublishId,
        outcome: Outcome,
        account: &Account,
    ) -> Result<(), String> {
        let n = id.0;
        if outcome.is_success() && self.published[&n].0 != Qos::AtMostOnce && account.copies(n) == 0 {
            return Err(format!("{n} is called delivered, but the broker never had it"));
        }
        self.answers.entry(n).or_default().push(outcome);
        Ok(())
    }

    /// Judges a run that has drained.
    pub(crate) fn judge(&self, account: &Account) -> Result<(), String> {
        for (n, (qos, _)) in &self.published {
            let answers = self.answers.get(n).map_or(&[][..], Vec::as_slice);
            // A crash between the answer and its record on the disk answers once more.
            if answers.is_empty() && self.forgotten.contains(n) {
                continue;
            }
            if answers.len() != 1 && !(self.crashed && answers.len() > 1) {
                return Err(format!("{n} has {} answers: {answers:?}", answers.len()));
            }
            let copies = account.copies(*n);
            let excused = answers.iter().any(|a| {
                matches!(a, Outcome::Delivered(r) if r.possible_duplicate)
                    || matches!(a, Outcome::Unknown { .. })
            });
            if *qos == Qos::ExactlyOnce && copies > 1 && !excused && self.sessions_lost == 0 {
                return Err(format!("{n} at QoS 2 reached the broker {copies} times: {answers:?}"));
            }
        }
        self.judge_order(account)
    }

    /// First arrivals keep the order of publishing, per topic and QoS.
    fn judge_order(&self, account: &Account) -> Result<(), String> {
        if self.reordering {
            return Ok(());
        }
        let mut last = BTreeMap::<(Qos, u8), u64>::new();
        for n in account.order() {
            let Some(lane) = self.published.get(&n) else { continue };
            // A broker that passes QoS 2 on at PUBREL orders it by its own PUBRECs.
            if lane.0 == Qos::ExactlyOnce && self.qos2_at_pubrel {
                continue;
            }
            if let Some(before) = last.insert(*lane, n)
                && before > n
            {
                return Err(format!("{n} arrived behind {before} on one topic, {lane:?}"));
            }
        }
        Ok(())
    }
}
