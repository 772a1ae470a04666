//! What becomes of messages, for whoever handed them over: the answer, its times, the room that is free again.

use rejoin_core::{Outcome, PublishId};

use super::Driver;
use crate::Qos;
use crate::delivery::{Times, answer};
use crate::error::PublishError;
use crate::events::Event;

impl Driver {
    /// The engine answers for a message.
    pub(super) fn outcome(&mut self, id: PublishId, outcome: Outcome) {
        match outcome {
            Outcome::Sent | Outcome::Delivered(_) if self.closing => self.report.delivered += 1,
            // Counted when it is known whether the store has it.
            Outcome::Stopped { .. } if self.storage.is_some() => {}
            // Whether the end was asked for or not.
            Outcome::Stopped { maybe_delivered } => self.count_lost(maybe_delivered),
            _ => {}
        }
        if let (Outcome::Stopped { maybe_delivered }, Some(storage)) = (&outcome, &mut self.storage) {
            storage.part(id, *maybe_delivered);
            return;
        }
        self.finished(id, |times| answer(outcome, times));
    }

    pub(crate) fn finished(
        &mut self,
        id: PublishId,
        answer: impl FnOnce(Times) -> Result<crate::Receipt, Box<PublishError>>,
    ) {
        let Some(entry) = self.pending.remove(id) else {
            tracing::error!(target: "rejoin", id = id.0, "a message was answered for twice");
            return;
        };
        let now = self.now.mono;
        let times = Times {
            qos: entry.qos,
            attempts: entry.attempts.into(),
            queued_for: entry.first_sent.min(now).since(entry.accepted),
            took: now.since(entry.accepted),
        };
        let done = answer(times);
        let meters = &self.shared.meters;
        match &done {
            Ok(_) => {
                self.recorder.delivered(entry.qos, entry.took_micros(now), meters);
                // Sent again, nobody knows which one is answered, nor how long the link was down between them.
                if entry.attempts == 1 && entry.qos != Qos::AtMostOnce {
                    self.recorder.in_transit(now.since(entry.first_sent), meters);
                }
            }
            Err(why) => self.recorder.failed(why, meters),
        }
        self.shared.events.tell_delivery(|| match &done {
            Ok(receipt) => Event::Delivered { id, receipt: *receipt },
            Err(why) => Event::Failed { id, why: why.clone() },
        });
        self.freed_bytes += u64::from(entry.bytes);
        self.freed_messages += 1;
        if let Some(cell) = entry.cell {
            cell.finish(done);
        }
    }

    pub(crate) fn count_lost(&mut self, maybe_delivered: bool) {
        self.report.lost += 1;
        self.report.maybe_delivered += u64::from(maybe_delivered);
    }

    pub(crate) const fn count_still_queued(&mut self) {
        self.report.still_queued += 1;
    }
}
