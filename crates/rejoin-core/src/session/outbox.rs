//! What the application handed over: it survives every link and every session, and each message ends once.
//!
//! ```text
//!   accepted ──► waiting ──► in flight (see `in_flight`) ──► answered for
//!                 ▲   ▲            │            │
//!                 │   └── session lost (as new) ┘
//!                 └────── redo: refused for now, due later
//! ```

use std::collections::{BTreeMap, VecDeque};

use super::in_flight::{Exchange, InFlight, Stage};
use super::packet_ids::PacketIds;
use super::waiting::Waiting;
use crate::codec::packet::{Ack, PacketId, Qos};
use crate::codec::reason::ReasonCode;
use crate::config::{SessionConfig, SessionLossPolicy};
use crate::event::{Outcome, Publication, PublishId, Receipt, SessionLoss};
use crate::held::HeldCounts;
use crate::interface::Ticket;
use crate::time::Timestamp;

/// A message on its way out.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: PublishId,
    pub(crate) publication: Publication,
    /// Its place in the queue; ascends from the front.
    pub(crate) place: u64,
    /// When it expires if it was never sent.
    pub(crate) expires: Option<Timestamp>,
    pub(crate) attempts: u32,
    /// It was sent under its present packet identifier: the next time is a resend.
    pub(crate) sent: bool,
    pub(crate) possible_duplicate: bool,
    /// It was accepted at QoS 2 and goes at QoS 1, because the server offers no more.
    pub(crate) lowered: bool,
    pub(crate) refusals: u32,
}

impl Entry {
    /// A message that was never sent.
    pub(crate) const fn new(id: PublishId, publication: Publication, expires: Option<Timestamp>) -> Self {
        Self {
            id,
            publication,
            place: 0,
            expires,
            attempts: 0,
            sent: false,
            possible_duplicate: false,
            lowered: false,
            refusals: 0,
        }
    }

    /// Makes it one of QoS 1.
    pub(crate) const fn lower(&mut self) {
        self.publication.qos = Qos::AtLeastOnce;
        self.lowered = true;
    }

    fn receipt(&self, reason: ReasonCode) -> Receipt {
        Receipt {
            reason,
            attempts: self.attempts,
            possible_duplicate: self.possible_duplicate,
            refusals: self.refusals,
            downgraded: self.lowered,
        }
    }

    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        // Only what was never sent may expire [MQTT-4.3.3-7].
        (self.attempts == 0 || defect!(ExpiresAfterSend)) && self.expires.is_some_and(|at| at <= now)
    }
}

/// The answer to an acknowledgement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// The message ended.
    Finished(PublishId, Outcome),
    /// PUBREL is due.
    Release(PublishId),
    /// Refused for now, due again later.
    Later(PublishId, ReasonCode, Timestamp),
    /// An exchange nobody waits for any more goes on.
    Leased,
    /// It ended, and its identifier is free.
    LeaseEnded(PacketId),
    /// No such exchange.
    Unexpected,
}

/// Everything accepted and not yet answered for.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) waiting: Waiting,
    pub(crate) in_flight: InFlight,
    /// Messages refused for now, with the time they are due again.
    redo: VecDeque<(Timestamp, Entry)>,
    /// Messages the application must decide on.
    undecided: BTreeMap<PublishId, Entry>,
}

impl Outbox {
    /// `window_bytes`: see [`Waiting`].
    pub(crate) fn new(window_bytes: Option<u64>) -> Self {
        Self {
            waiting: Waiting::new(window_bytes),
            in_flight: InFlight::default(),
            redo: VecDeque::new(),
            undecided: BTreeMap::new(),
        }
    }

    /// See [`HeldCounts`].
    pub(crate) fn count(&self, held: &mut HeldCounts) {
        self.waiting.count(held);
        self.in_flight.count(held);
        held.put_off = self.redo.len() + self.undecided.len();
    }

    /// Accepted and never sent in this session.
    pub(crate) fn queued(&self) -> usize {
        self.waiting.len() + self.redo.len() + self.undecided.len()
    }

    /// Nothing is waited for. Undecided messages do not count: only the application can end them.
    pub(crate) fn is_drained(&self) -> bool {
        self.waiting.is_empty() && self.redo.is_empty() && self.in_flight.len() == 0
    }

    /// `may_go`: a link is there to send it. Gives the older message that this one replaced.
    pub(crate) fn accept(
        &mut self,
        id: PublishId,
        publication: Publication,
        may_go: bool,
        now: Timestamp,
    ) -> Option<PublishId> {
        let expires = publication.expires_after.map(|after| now + after);
        self.waiting.accept(Entry::new(id, publication, expires), may_go)
    }

    pub(crate) fn next_redo(&self) -> Option<Timestamp> {
        self.redo.front().map(|(due, _)| *due)
    }

    /// Puts messages that are due again behind the others.
    pub(crate) fn redo(&mut self, now: Timestamp) {
        while self.next_redo().is_some_and(|due| due <= now)
            && let Some((_, entry)) = self.redo.pop_front()
        {
            self.waiting.push_again(entry);
        }
    }

    /// The QoS 2 message that waits for PUBREC under this identifier.
    pub(crate) fn waits_for_pubrec(&mut self, id: PacketId) -> Option<PublishId> {
        match self.in_flight.exchange(id).map(|x| (&x.stage, x.on_wire)) {
            Some((Stage::Published(e), true)) if e.publication.qos == Qos::ExactlyOnce => Some(e.id),
            _ => None,
        }
    }

    /// Whether the end of this exchange gives one back of the link's quota: only a PUBLISH sent on this link
    /// took one [MQTT-3.3.4-7].
    pub(crate) fn is_charged(&mut self, id: PacketId) -> bool {
        self.in_flight.exchange(id).is_some_and(|x| x.charged)
    }

    /// PUBACK for a QoS 2 message that waits for PUBREC, as brokers without QoS 2 give it: it says that the broker has the
    /// message, and there is nothing to release.
    pub(crate) fn downgraded(&mut self, ack: &Ack, ids: &mut PacketIds) -> Answered {
        match self.in_flight.remove(ack.packet_id) {
            Some(Stage::Published(entry)) => {
                ids.free(ack.packet_id);
                let downgraded = !defect!(DowngradeNotTold);
                let receipt = Receipt { downgraded, ..entry.receipt(ack.reason) };
                Answered::Finished(entry.id, Outcome::Delivered(receipt))
            }
            _ => Answered::Unexpected,
        }
    }

    /// PUBACK.
    pub(crate) fn puback(
        &mut self,
        ack: &Ack,
        config: &SessionConfig,
        ids: &mut PacketIds,
        now: Timestamp,
    ) -> Answered {
        match self.in_flight.exchange(ack.packet_id).map(|x| (&x.stage, x.on_wire)) {
            Some((Stage::Published(e), true)) if e.publication.qos == Qos::AtLeastOnce => {}
            Some((Stage::Leased, _)) => {
                self.in_flight.remove(ack.packet_id);
                ids.free(ack.packet_id);
                return Answered::LeaseEnded(ack.packet_id);
            }
            _ => return Answered::Unexpected,
        }
        if !defect!(IdLeaked) {
            ids.free(ack.packet_id);
        }
        let Some(Stage::Published(mut entry)) = self.in_flight.remove(ack.packet_id) else {
            return Answered::Unexpected;
        };
        if ack.reason == ReasonCode::QUOTA_EXCEEDED && entry.refusals < config.quota_retries {
            let doubled = config.quota_pause.saturating_mul((1 << entry.refusals.min(5)).min(30));
            entry.refusals += 1;
            entry.sent = false;
            let (id, due) = (entry.id, now + doubled);
            let at = self.redo.partition_point(|(other, _)| *other <= due);
            self.redo.insert(at, (due, entry));
            return Answered::Later(id, ack.reason, due);
        }
        Answered::Finished(entry.id, ended(&entry, ack))
    }

    /// PUBREC.
    pub(crate) fn pubrec(&mut self, ack: &Ack, needs: Ticket, ids: &mut PacketIds) -> Answered {
        match self.in_flight.exchange(ack.packet_id).map(|x| (&x.stage, x.on_wire)) {
            Some((Stage::Published(e), true)) if e.publication.qos == Qos::ExactlyOnce => {
                let id = e.id;
                if ack.reason.is_error() {
                    ids.free(ack.packet_id);
                    let Some(Stage::Published(entry)) = self.in_flight.remove(ack.packet_id) else {
                        return Answered::Unexpected;
                    };
                    return Answered::Finished(id, ended(&entry, ack)); // [MQTT-4.4.0-2]
                }
                if defect!(FinishedAtPubrec) {
                    ids.free(ack.packet_id);
                    if let Some(Stage::Published(entry)) = self.in_flight.remove(ack.packet_id) {
                        return Answered::Finished(id, ended(&entry, ack));
                    }
                }
                self.in_flight.mark_released(ack.packet_id, needs);
                Answered::Release(id)
            }
            Some((Stage::Leased, _)) if ack.reason.is_error() => {
                self.in_flight.remove(ack.packet_id);
                ids.free(ack.packet_id);
                Answered::LeaseEnded(ack.packet_id)
            }
            // Nobody waits, so no PUBREL follows: who lowered a message sent it anew, who parked one keeps it from
            // the subscribers. The identifier stays taken.
            Some((Stage::Leased, _)) => Answered::Leased,
            _ => Answered::Unexpected,
        }
    }

    /// PUBCOMP.
    pub(crate) fn pubcomp(&mut self, ack: &Ack, ids: &mut PacketIds) -> Answered {
        match self.in_flight.exchange(ack.packet_id).map(|x| (&x.stage, x.on_wire)) {
            Some((Stage::Released(_), true)) => {}
            Some((Stage::Leased, _)) => {
                self.in_flight.remove(ack.packet_id);
                ids.free(ack.packet_id);
                return Answered::LeaseEnded(ack.packet_id);
            }
            _ => return Answered::Unexpected,
        }
        // A server that forgot the session answers PUBREL too, so its PUBCOMP proves nothing then. Otherwise 0x92 only says
        // that the exchange was complete before, unless no PUBREL before this one can have completed it.
        let forgotten = ack.reason == ReasonCode::PACKET_IDENTIFIER_NOT_FOUND;
        let proves_nothing = |x: &mut Exchange| x.doubtful || forgotten && !x.completed;
        let unknown = self.in_flight.exchange(ack.packet_id).is_some_and(proves_nothing);
        ids.free(ack.packet_id);
        let Some(Stage::Released(entry)) = self.in_flight.remove(ack.packet_id) else {
            return Answered::Unexpected;
        };
        let outcome = if unknown {
            Outcome::Unknown { released: true }
        } else {
            Outcome::Delivered(entry.receipt(ReasonCode::SUCCESS))
        };
        Answered::Finished(entry.id, outcome)
    }

    /// A new session began: identifiers are void, messages are not.
    pub(crate) fn session_lost(
        &mut self,
        policy: SessionLossPolicy,
    ) -> (SessionLoss, Vec<(PublishId, Outcome)>, Vec<PublishId>) {
        let (mut loss, mut ended, mut asked) = (SessionLoss::default(), Vec::new(), Vec::new());
        let mut again = Vec::new();
        for stage in self.in_flight.drain() {
            match stage {
                Stage::Released(entry) if defect!(ReleasedCalledDelivered) => {
                    let outcome = Outcome::Delivered(entry.receipt(ReasonCode::SUCCESS));
                    ended.push((entry.id, outcome));
                }
                Stage::Released(mut entry) if defect!(ReleasedSentAgain) => {
                    entry.sent = false;
                    again.push(entry);
                }
                Stage::Released(entry) => {
                    loss.unknown += 1;
                    ended.push((entry.id, Outcome::Unknown { released: true }));
                }
                Stage::Published(mut entry) => {
                    let was_sent = entry.attempts > 0;
                    entry.possible_duplicate |= was_sent && !defect!(SilentDuplicate);
                    entry.sent = false;
                    match entry.publication.on_loss.unwrap_or(policy) {
                        // One that never left, because the store did not have its identifier, is in no doubt.
                        _ if !was_sent => again.push(entry),
                        SessionLossPolicy::Resend => again.push(entry),
                        SessionLossPolicy::Fail => {
                            loss.unknown += 1;
                            ended.push((entry.id, Outcome::Unknown { released: false }));
                        }
                        SessionLossPolicy::Ask => {
                            loss.unknown += 1;
                            asked.push(entry.id);
                            self.undecided.insert(entry.id, entry);
                        }
                    }
                }
                Stage::Leased | Stage::Gone => {}
            }
        }
        // Nothing is sent *again* in a new session, so what stood behind others because it had begun anew does no longer.
        again.sort_unstable_by_key(|entry| entry.id);
        if defect!(DroppedOnSessionLoss) {
            again.clear();
        }
        if defect!(RequeueReversed) {
            again.reverse();
        }
        loss.requeued = again.len();
        for entry in again.into_iter().rev() {
            self.waiting.push_front(entry);
        }
        (loss, ended, asked)
    }

    /// The application decided on a message of a lost session. `None`: there is nothing to decide.
    pub(crate) fn decide(&mut self, id: PublishId, resend: bool) -> Option<Option<Outcome>> {
        let entry = self.undecided.remove(&id)?;
        if resend {
            self.waiting.push_again(entry);
            return Some(None);
        }
        Some(Some(Outcome::Unknown { released: false }))
    }

    /// Ends everything: the client stops.
    pub(crate) fn stop(&mut self) -> Vec<(PublishId, Outcome)> {
        let mut ended = Vec::new();
        for stage in self.in_flight.drain() {
            if let Stage::Published(e) | Stage::Released(e) = stage {
                ended.push((e.id, Outcome::Stopped { maybe_delivered: e.attempts > 0 }));
            }
        }
        // What was refused for now, or is asked about, was sent before.
        let undecided = std::mem::take(&mut self.undecided).into_keys();
        let rest = self.redo.drain(..).map(|(_, e)| e.id).chain(undecided).map(|id| (id, true));
        for (id, maybe_delivered) in rest.chain(self.waiting.drain()) {
            ended.push((id, Outcome::Stopped { maybe_delivered }));
        }
        ended.sort_by_key(|(id, _)| *id);
        ended
    }

    /// Takes up a message that was sent before the process ended.
    pub(crate) fn restore_sent(&mut self, exchange: Exchange, released: bool) {
        let packet_id = exchange.packet_id;
        self.in_flight.push(Exchange { completed: released, ..exchange });
        if released {
            self.in_flight.mark_released(packet_id, Ticket::default());
        }
    }

    /// Takes up a message the application must still decide on.
    pub(crate) fn restore_undecided(&mut self, entry: Entry) {
        self.undecided.insert(entry.id, entry);
    }
}

fn ended(entry: &Entry, ack: &Ack) -> Outcome {
    if ack.reason.is_error() {
        let text = ack.properties.as_ref().and_then(|p| p.reason_string.as_ref());
        return Outcome::Refused { reason: ack.reason, text: text.map(|t| t.as_str().to_owned()) };
    }
    let receipt = entry.receipt(ack.reason);
    let downgraded = receipt.downgraded || defect!(DowngradeAlwaysTold);
    Outcome::Delivered(Receipt { downgraded, ..receipt })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Now;

    #[test]
    fn a_pause_without_end_is_no_longer_after_the_second_refusal() {
        let config = SessionConfig { quota_pause: std::time::Duration::MAX, ..SessionConfig::default() };
        let mut outbox = Outbox::new(None);
        let mut publication = Publication::new("a".try_into().unwrap(), "1");
        publication.qos = Qos::AtLeastOnce;
        let entry = Entry { refusals: 1, ..Entry::new(PublishId(1), publication, None) };
        let mut ids = PacketIds::new(1);
        let packet_id = ids.take().unwrap();
        outbox.restore_sent(Exchange::new(packet_id, Stage::Published(entry)), false);
        assert!(outbox.in_flight.peek_resend().is_some());
        outbox.in_flight.resent();
        let ack = Ack::new(packet_id, ReasonCode::QUOTA_EXCEEDED);
        let answered = outbox.puback(&ack, &config, &mut ids, Now::default().mono);
        assert_eq!(answered, Answered::Later(PublishId(1), ReasonCode::QUOTA_EXCEEDED, Timestamp::NEVER));
    }
}
