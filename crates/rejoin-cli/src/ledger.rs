//! What became of each message of `pub`. The exit code is read from here and nowhere else.

use std::collections::VecDeque;
use std::sync::Arc;

use rejoin::{Delivery, PublishError, Receipt};

use crate::exit::Exit;
use crate::narrator::Outages;
use crate::output::{Line, Teller, Weight};
use crate::quantity::short;
use crate::queue::stored::Reporting;
use crate::source;

/// How many failed messages get a line of their own; the summary counts them all.
const NAMED: u64 = 20;

/// Deliveries answered for behind one that is not are collected when so many wait.
const SWEEP: usize = 65_536;

/// How messages ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Handed to the client.
    pub(crate) published: u64,
    /// Acknowledged by the broker.
    pub(crate) acknowledged: u64,
    /// QoS 0, handed to the socket of an open link.
    pub(crate) sent: u64,
    /// Refused by the broker or by its limits, for good.
    pub(crate) refused: u64,
    /// Not acknowledged when the run ended, or lost with a session.
    pub(crate) unacknowledged: u64,
    /// Not acknowledged when the run ended, and safe in the queue folder.
    pub(crate) still_queued: u64,
    /// Of those, sent at least once.
    pub(crate) maybe_delivered: u64,
    /// Never handed over: too long, or not valid.
    pub(crate) not_accepted: u64,
    /// Acknowledged, and may have arrived twice.
    pub(crate) possible_duplicates: u64,
    /// Acknowledged, and nobody is subscribed.
    pub(crate) no_subscribers: u64,
}

impl Counts {
    /// The verdict over all messages: only what was acknowledged, or sent at QoS 0, counts as done.
    pub(crate) const fn exit(&self) -> Exit {
        let done = self.acknowledged + self.sent;
        if self.not_accepted > 0 || done + self.still_queued != self.published {
            Exit::Undelivered
        } else if self.still_queued > 0 {
            Exit::StillQueued
        } else {
            Exit::Done
        }
    }
}

/// Every message until it is answered for.
#[derive(Debug)]
pub(crate) struct Ledger {
    waiting: VecDeque<(u64, Arc<Delivery>)>,
    reporting: Option<Reporting>,
    sweep_at: usize,
    named: u64,
    counts: Counts,
    teller: Teller,
}

impl Ledger {
    /// An empty ledger; `reporting` is told of each message that waits to be stored.
    pub(crate) fn new(teller: Teller, reporting: Option<Reporting>) -> Self {
        Self {
            waiting: VecDeque::new(),
            reporting,
            sweep_at: SWEEP,
            named: 0,
            counts: Counts::default(),
            teller,
        }
    }

    /// How messages ended so far.
    pub(crate) const fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether every message was answered for.
    pub(crate) fn is_settled(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Notes a message that was handed over.
    pub(crate) fn published(&mut self, line: u64, delivery: Delivery) {
        self.counts.published += 1;
        let delivery = Arc::new(delivery);
        if let Some(reporting) = &self.reporting {
            reporting.wait_for(line, Arc::clone(&delivery));
        }
        self.waiting.push_back((line, delivery));
        if self.waiting.len() >= self.sweep_at {
            self.settle_ready();
            self.sweep_at = (self.waiting.len() * 2).max(SWEEP);
        }
    }

    /// Notes a message that could not be handed over.
    pub(crate) fn not_accepted(&mut self, line: u64, why: &str) {
        self.counts.not_accepted += 1;
        self.name("not-accepted", line, why, None);
    }

    /// Waits until the oldest message is answered for, and takes all answers in a row.
    pub(crate) async fn settle(&mut self) {
        let Some((_, oldest)) = self.waiting.front() else { return std::future::pending().await };
        // The answer stays in the delivery: nothing is lost when this wait is dropped.
        let _ = oldest.acked().await;
        while let Some((line, outcome)) = self.waiting.front().and_then(|(l, d)| Some((*l, d.outcome()?))) {
            self.waiting.pop_front();
            self.ended(line, outcome);
        }
    }

    /// Takes every answer that is there.
    pub(crate) fn settle_ready(&mut self) {
        for (line, delivery) in std::mem::take(&mut self.waiting) {
            match delivery.outcome() {
                Some(outcome) => self.ended(line, outcome),
                None => self.waiting.push_back((line, delivery)),
            }
        }
    }

    /// The end of the run: what is not answered for by now never will be.
    pub(crate) async fn close(&mut self) {
        if let Some(reporting) = self.reporting.take() {
            reporting.finish().await;
        }
        self.settle_ready();
        let left = self.waiting.len() as u64;
        self.waiting.clear();
        self.counts.unacknowledged += left;
        self.counts.maybe_delivered += left;
    }

    fn ended(&mut self, line: u64, outcome: Result<Receipt, PublishError>) {
        match outcome {
            Ok(receipt) if receipt.is_acknowledged() => {
                self.counts.acknowledged += 1;
                self.counts.possible_duplicates += u64::from(receipt.possible_duplicate);
                self.counts.no_subscribers += u64::from(receipt.no_subscribers());
            }
            Ok(_) => self.counts.sent += 1,
            Err(error) => self.failed(line, &error),
        }
    }

    fn failed(&mut self, line: u64, error: &PublishError) {
        if let PublishError::StillQueued { .. } = error {
            self.counts.still_queued += 1;
            return;
        }
        let refused = matches!(
            error,
            PublishError::Refused { .. }
                | PublishError::TooLarge { .. }
                | PublishError::NotSupported(_)
                | PublishError::Rejected(_)
        );
        if refused {
            self.counts.refused += 1;
        } else {
            self.counts.unacknowledged += 1;
            self.counts.maybe_delivered += u64::from(error.maybe_delivered());
        }
        let why = match error {
            PublishError::Stopped { maybe_delivered: true } => {
                "not acknowledged before the end; the broker may have it all the same".to_owned()
            }
            PublishError::Stopped { maybe_delivered: false } => "never sent before the end".to_owned(),
            PublishError::NotSupported("QoS 2") => format!("{error}; --lower-qos sends it as QoS 1"),
            other => other.to_string(),
        };
        self.name(error.name(), line, &why, error.reason_code().map(|code| code.0));
    }

    fn name(&mut self, class: &str, line: u64, why: &str, code: Option<u8>) {
        self.named += 1;
        let weight = if self.named <= NAMED { Weight::Error } else { Weight::Debug };
        let mut told = Line::state("failed", "failed", format!("{}: {why}", source::name(line)))
            .weighing(weight)
            .with("class", class)
            .with("detail", why)
            .with("reason_code", code);
        if line > 0 {
            told = told.with("line", line);
        }
        self.teller.tell(&told);
        if self.named == NAMED + 1 {
            let text = "more messages failed; the summary counts them, --events names them";
            self.teller.tell(&Line::state("failed", "note", text).weighing(Weight::Echo));
        }
    }
}

/// The last line of a run of `pub`.
pub(crate) fn summary(counts: Counts, outages: Outages, exit: Exit) -> Line {
    let mut text = format!("published {}", counts.published);
    let mut add = |what: &str, count: u64, always: bool| {
        if always || count > 0 {
            text.push_str(&format!(" · {what} {count}"));
        }
    };
    add("acknowledged", counts.acknowledged, counts.sent == 0);
    add("sent without acknowledgement", counts.sent, false);
    add("refused", counts.refused, false);
    add("unacknowledged", counts.unacknowledged, false);
    add("safe in the queue", counts.still_queued, false);
    add("of these maybe delivered", counts.maybe_delivered, false);
    add("not accepted", counts.not_accepted, false);
    add("possible duplicates", counts.possible_duplicates, false);
    add("without subscribers", counts.no_subscribers, false);
    text.push_str(&format!(" · outages {}", outages.count));
    if outages.count > 0 {
        text.push_str(&format!(" ({})", short(outages.time)));
    }
    Line::state("summary", "summary", text)
        .with("published", counts.published)
        .with("acknowledged", counts.acknowledged)
        .with("sent", counts.sent)
        .with("refused", counts.refused)
        .with("unacknowledged", counts.unacknowledged)
        .with("still_queued", counts.still_queued)
        .with("maybe_delivered", counts.maybe_delivered)
        .with("not_accepted", counts.not_accepted)
        .with("possible_duplicates", counts.possible_duplicates)
        .with("no_subscribers", counts.no_subscribers)
        .with("outages", outages.count)
        .with("outage_ms", outages.time.as_millis() as u64)
        .with("exit", exit.name())
        .with("exit_code", exit.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_zero_needs_every_message_acknowledged() {
        let all = Counts { published: 3, acknowledged: 3, ..Counts::default() };
        assert_eq!(all.exit(), Exit::Done);
        assert_eq!(Counts::default().exit(), Exit::Done, "nothing was asked for");
        for wrong in [
            Counts { acknowledged: 2, ..all },
            Counts { acknowledged: 2, refused: 1, ..all },
            Counts { acknowledged: 2, unacknowledged: 1, ..all },
            Counts { not_accepted: 1, ..all },
        ] {
            assert_eq!(wrong.exit(), Exit::Undelivered, "{wrong:?}");
        }
        assert_eq!(Counts { published: 2, sent: 2, ..Counts::default() }.exit(), Exit::Done);
        let safe = Counts { acknowledged: 2, still_queued: 1, ..all };
        assert_eq!(safe.exit(), Exit::StillQueued);
        assert_eq!(Counts { published: 4, ..safe }.exit(), Exit::Undelivered, "one is gone all the same");
    }

    #[test]
    fn the_summary_leaves_out_what_did_not_happen() {
        let counts = Counts { published: 812, acknowledged: 812, ..Counts::default() };
        let outages = Outages { count: 1, time: std::time::Duration::from_millis(27_900) };
        let line = summary(counts, outages, Exit::Done);
        assert_eq!(line.text, "published 812 · acknowledged 812 · outages 1 (27.9s)");
        let counts = Counts { published: 2, refused: 1, acknowledged: 1, ..Counts::default() };
        let line = summary(counts, Outages::default(), Exit::Undelivered);
        assert_eq!(line.text, "published 2 · acknowledged 1 · refused 1 · outages 0");
    }
}
