//! Bytes that came: packets to the machine they concern, and what follows from them.

use bytes::Bytes;

use super::Engine;
use crate::codec::Decoded;
use crate::codec::packet::{Ack, Packet, PacketId, Publish, Qos, Version};
use crate::codec::reason::ReasonCode;
use crate::error::LossCause;
use crate::event::{Event, Message, Outcome, PublishId, SubscribeResult};
use crate::link::{Qos2, malformed};
use crate::session::{Answered, Arrival, Record, SubscriptionAnswer};

impl Engine {
    pub(super) fn received(&mut self, bytes: Bytes) {
        let now = self.now.mono;
        let Some(link) = self.link.as_mut() else { return };
        self.stats.bytes_received += bytes.len() as u64;
        if link.received(bytes, now) {
            self.refresh_status();
            self.tell(Event::Trusted);
        }
        // The link may end in the middle of a chunk; what is left of it then means nothing.
        while let Some(link) = self.link.as_mut() {
            let mut next = link.next();
            let admitted = match &mut next {
                Ok(Some(came)) => {
                    let is_copy = matches!(came, Decoded::Packet(Packet::Publish(publish))
                        if self.session.inbox.is_under_way(publish));
                    link.admit(came, is_copy, now)
                }
                Ok(None) => break,
                Err(error) => Err(malformed(*error)),
            };
            self.stats.receive_overruns += std::mem::take(&mut link.overruns);
            if let Err(cause) = admitted {
                self.lose(cause);
                continue;
            }
            match next {
                // What comes most is not moved once more than it must be.
                Ok(Some(Decoded::Packet(Packet::Publish(publish)))) => self.publish_arrived(publish),
                Ok(Some(came)) => self.arrived(came),
                _ => {}
            }
        }
    }

    fn arrived(&mut self, came: Decoded) {
        match came {
            Decoded::Packet(Packet::ConnAck(connack)) => self.connected(&connack),
            Decoded::Packet(packet) => self.answer_arrived(packet),
            Decoded::Oversized { qos, packet_id, topic, size, .. } => {
                self.stats.oversized += 1;
                self.tell(Event::Oversized { topic: topic.text().clone(), size });
                let (dup, retain, payload) = (false, false, Bytes::new());
                let skipped = Publish { dup, qos, retain, topic, packet_id, properties: None, payload };
                // Acknowledged unseen: closing the link would bring it back for ever.
                let arrival = self.session.inbox.publish(&skipped, self.journal.keeps(), 0);
                let Arrival::New { id: Some(id), instead_of, .. } = arrival else { return };
                if let Some(id) = instead_of {
                    self.journal.note(|| Record::Freed { id });
                }
                if self.session.inbox.ack(id, ReasonCode::SUCCESS).is_err() {
                    self.stats.stale_acks += 1;
                }
            }
        }
    }

    fn publish_arrived(&mut self, publish: Publish) {
        let durable = self.journal.keeps() || defect!(PubrecBeforeTakenInMemory) && self.journal.enabled;
        // More than that are not answered before the application took some: a slow one must not fill the store.
        let most_untaken = usize::from(self.config.link.receive_maximum);
        let id = match self.session.inbox.publish(&publish, durable, most_untaken) {
            Arrival::New { id, instead_of, again } => {
                if let Some(id) = instead_of {
                    self.journal.note(|| Record::Freed { id });
                }
                if let Some(earlier) = again {
                    self.tell(Event::Again { earlier });
                }
                id
            }
            Arrival::Copy => {
                self.stats.duplicates_suppressed += 1;
                return;
            }
        };
        self.stats.received += 1;
        let Publish { dup, qos, retain, topic, packet_id, properties, payload } = publish;
        // As it came, expired or not [MQTT-3.3.2-6] [MQTT-4.3.3-13], and in the order in which it came [MQTT-4.6.0-5].
        let message = Message { id, topic: topic.into(), payload, qos, retain, dup, properties };
        if let (true, Qos::ExactlyOnce, Some(packet_id), Some(id)) = (durable, qos, packet_id, id) {
            // The server may forget the message after PUBREC: it must be ours by then.
            let ticket = self.journal.note(|| Record::Held { id, packet_id, message: message.clone() });
            if !defect!(PubrecBeforeDurable) {
                self.session.inbox.last_needs(ticket);
            }
        }
        self.tell(Event::Message(message));
    }

    fn answer_arrived(&mut self, packet: Packet) {
        match packet {
            Packet::PubAck(ack) => self.puback(&ack),
            Packet::PubRec(ack) => self.pubrec(&ack),
            Packet::PubComp(ack) => self.pubcomp(&ack),
            Packet::PubRel(ack) => self.pubrel(&ack),
            Packet::SubAck(ack) => {
                let Some(offer) = self.offer() else { return };
                let pause = self.config.recovery.overload.first;
                let answers = self.session.subscriptions.suback(&ack, offer, pause, self.now.mono);
                self.subscriptions_answered(ack.packet_id, answers);
            }
            Packet::UnsubAck(ack) => {
                let answers = self.session.subscriptions.unsuback(&ack);
                self.subscriptions_answered(ack.packet_id, answers);
            }
            Packet::PingResp => {
                let now = self.now.mono;
                if let Some(took) = self.link.as_mut().and_then(|link| link.liveness.pingresp(now)) {
                    self.stats.pings_answered += 1;
                    self.stats.pings_took += took;
                }
                self.session.quarantine.proven(now);
            }
            Packet::Auth(auth) => self.auth_arrived(auth),
            // The link lets nothing else up.
            _ => {}
        }
    }

    fn subscriptions_answered(
        &mut self,
        packet_id: PacketId,
        answers: Result<Vec<SubscriptionAnswer>, crate::error::ProtocolError>,
    ) {
        match answers {
            Err(error) => self.lose(LossCause::Protocol(error)),
            Ok(answers) => {
                // Before anybody hears of it.
                self.refresh_status();
                for answer in answers {
                    self.tell_answer(answer);
                }
                self.session.ids.free(packet_id);
                // Of messages it says nothing: the one that the link is cut over may come right behind it, and each link
                // asks for all subscriptions again.
                if self.session.outbox.is_drained() {
                    self.ack_timeout = self.config.link.ack_timeout;
                }
                let wishes = &self.session.subscriptions;
                let all = wishes.awaiting() == 0 && !wishes.has_next(false);
                self.session.quarantine.wish_answered(all && self.session.outbox.is_drained());
                self.answered_in_time();
            }
        }
    }

    pub(super) fn tell_answer(&mut self, answer: SubscriptionAnswer) {
        self.tell(match answer {
            SubscriptionAnswer::Subscribed(id, result) => Event::Subscribed { id, result },
            SubscriptionAnswer::Unsubscribed(id, reason) => Event::Unsubscribed { id, reason },
        });
    }

    fn puback(&mut self, ack: &Ack) {
        let now = self.now.mono;
        let session = &mut self.session;
        let charged = session.outbox.is_charged(ack.packet_id);
        if let Some(id) = session.outbox.waits_for_pubrec(ack.packet_id)
            && !ack.reason.is_error()
            && let Some(link) = self.link.as_mut()
            && link.qos2 != Qos2::Spoken
            && !defect!(DowngradeNotUnderstood)
        {
            let first = std::mem::replace(&mut link.qos2, Qos2::Downgraded) == Qos2::Unknown;
            let answered = session.outbox.downgraded(ack, &mut session.ids);
            if first {
                self.tell(Event::Downgraded { id });
            }
            return self.answered(answered, charged);
        }
        let answered = session.outbox.puback(ack, &self.config.session, &mut session.ids, now);
        self.answered(answered, charged);
    }

    fn pubrec(&mut self, ack: &Ack) {
        let journal = &mut self.journal;
        let needs = match self.session.outbox.waits_for_pubrec(ack.packet_id) {
            Some(id) if !ack.reason.is_error() => journal.note(|| Record::Received { id }),
            _ => journal.durable,
        };
        if let Some(link) = self.link.as_mut() {
            link.qos2 = Qos2::Spoken;
        }
        let charged = self.session.outbox.is_charged(ack.packet_id);
        let answered = self.session.outbox.pubrec(ack, needs, &mut self.session.ids);
        // An error ends the exchange and gives the quota back; a success does neither [MQTT-4.9.0-1].
        self.answered(answered, charged && (ack.reason.is_error() || defect!(QuotaGivenTwice)));
    }

    fn pubcomp(&mut self, ack: &Ack) {
        let charged = self.session.outbox.is_charged(ack.packet_id);
        let answered = self.session.outbox.pubcomp(ack, &mut self.session.ids);
        self.answered(answered, charged);
    }

    fn answered(&mut self, answered: Answered, quota_back: bool) {
        if answered == Answered::Unexpected {
            self.stats.unexpected_acks += 1;
            return;
        }
        if quota_back && let Some(link) = self.link.as_mut() {
            link.quota_back();
        }
        self.ack_timeout = self.config.link.ack_timeout;
        self.answered_in_time();
        let in_flight = &self.session.outbox.in_flight;
        let backlog = in_flight.has_resends() || in_flight.awaiting() > 0;
        self.session.quarantine.acknowledged(backlog);
        match answered {
            Answered::Finished(id, outcome) => self.finish(id, outcome),
            Answered::Later(id, reason, at) => {
                self.journal.note(|| Record::Requeued { id });
                self.tell(Event::Retrying { id, reason, at });
            }
            Answered::LeaseEnded(packet_id) => {
                self.journal.note(|| Record::LeaseEnded { packet_id });
                if let Some(id) = self.session.outbox.in_flight.began_under(packet_id) {
                    // Under the identifier the store knows it by there is no exchange of QoS 2 any more.
                    self.journal.note(|| Record::Lowered { id });
                }
            }
            Answered::Release(_) | Answered::Leased | Answered::Unexpected => {}
        }
    }

    /// An acknowledgement of any kind came: the others have as long as it had.
    fn answered_in_time(&mut self) {
        let now = self.now.mono;
        let in_flight = &self.session.outbox.in_flight;
        let more = in_flight.awaiting() + self.session.subscriptions.awaiting() > 0;
        if let Some(link) = self.link.as_mut() {
            link.liveness.acknowledged(more, self.ack_timeout, now);
        }
    }

    fn pubrel(&mut self, ack: &Ack) {
        let packet_id = ack.packet_id;
        let known = self.session.inbox.pubrel(packet_id, self.journal.enabled);
        let needs = match known {
            Some(id) if defect!(PubcompBeforeDurable) => {
                self.journal.note(|| Record::Freed { id });
                self.journal.durable
            }
            Some(id) => self.journal.note(|| Record::Freed { id }),
            // Freed on an earlier link, perhaps, and the store does not know yet; one that is lost never will.
            None if self.journal.enabled => self.journal.issued,
            None => self.journal.durable,
        };
        let known = known.is_some();
        let v5 = self.link.as_ref().is_some_and(|l| l.version() == Version::V5);
        let reason = match known || !v5 {
            true => ReasonCode::SUCCESS,
            false => ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
        };
        self.session.inbox.owe_pubcomp(packet_id, reason, needs); // [MQTT-4.3.3-11]
    }

    pub(super) fn written(&mut self, bytes: usize) {
        let now = self.now.mono;
        if let Some(link) = self.link.as_mut() {
            link.liveness.written(bytes, now);
        }
        while let Some((id, queued)) = self.link.as_mut().and_then(crate::link::Link::next_sent) {
            self.qos0_over(id, queued, Outcome::Sent);
        }
    }

    /// A QoS 0 message ends. Only one that was to wait for a link is on the store.
    pub(super) fn qos0_over(&mut self, id: PublishId, queued: bool, outcome: Outcome) {
        if queued {
            self.finish(id, outcome);
        } else {
            self.end(id, outcome);
        }
    }

    /// What the broker would answer to a filter, or end the link over, if it were asked.
    pub(super) fn refuse_locally(&mut self) {
        let Some(offer) = self.offer() else { return };
        for (id, reason) in self.session.subscriptions.keep_what_is_too_large(offer) {
            self.tell(Event::Unsubscribed { id, reason });
        }
        for (id, rejected) in self.session.subscriptions.reject_unavailable(offer) {
            self.tell(Event::Subscribed { id, result: SubscribeResult::Rejected(rejected) });
        }
    }
}
