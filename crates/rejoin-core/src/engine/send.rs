//! What leaves: answers first, then wishes, then releases, then messages, as far as the link allows.

use std::time::Duration;

use super::Engine;
use crate::codec::packet::{Ack, AckKind, Packet, PacketId, Publish, Qos, Version};
use crate::codec::reason::ReasonCode;
use crate::codec::{self, publish_len};
use crate::error::{LocalCause, LossCause, Rejected};
use crate::event::{Event, Outcome, PublishId};
use crate::interface::Ticket;
use crate::link::{Agreement, Link, Qos2};
use crate::session::{Entry, Exchange, Gate, Offer, Parking, Record, Stage};

impl Engine {
    pub(super) fn ping(&mut self) {
        let now = self.now.mono;
        if let Some(link) = self.link.as_mut() {
            self.stats.pings += 1;
            link.send(&Packet::PingReq, &mut self.wire, now);
            link.liveness.ping_sent(now);
        }
    }

    pub(super) fn offer(&self) -> Option<Offer> {
        let link = self.link.as_ref().filter(|l| l.is_up())?;
        Some(Offer {
            wildcard: link.agreement.wildcard_available,
            shared: link.agreement.shared_available,
            subscription_ids: link.agreement.subscription_ids_available,
            v5: link.version() == Version::V5,
            session_present: self.present.session == Some(crate::event::SessionState::Kept),
            packet_size_max: link.agreement.maximum_packet_size,
        })
    }

    pub(super) fn pump(&mut self) {
        // Nothing leaves behind CONNECT before its answer [MQTT-3.1.4-6] [MQTT-3.1.2-30].
        if !self.is_up() || !self.session_is_safe() {
            return;
        }
        let now = self.now.mono;
        self.session.subscriptions.redo(now);
        self.session.outbox.redo(now);
        self.session.quarantine.gate(now);
        self.send_answers();
        self.send_wishes();
        self.send_releases();
        self.send_messages();
        self.check_quota();
    }

    fn send_answers(&mut self) {
        let now = self.now.mono;
        let Some(link) = self.link.as_mut() else { return };
        let can_refuse = link.version() == Version::V5;
        if self.journal.waits_for_ever() {
            self.session.inbox.drop_unanswerable(self.journal.durable);
        }
        while let Some(answer) = self.session.inbox.next_answer(self.journal.durable, can_refuse) {
            link.send_ack(answer.kind, &answer.ack, &mut self.wire, now);
            if answer.frees_window {
                link.inbound_answered();
            }
            if let Some(id) = answer.frees {
                self.journal.note(|| Record::Freed { id });
            }
        }
    }

    fn send_wishes(&mut self) {
        let gate = self.session.quarantine.gate(self.now.mono);
        let singly = gate != Gate::Open;
        if !self.session.subscriptions.has_next(singly) {
            return;
        }
        if gate == Gate::Shut || singly && self.session.outbox.in_flight.awaiting() > 0 {
            return;
        }
        self.refuse_locally();
        let (now, Some(offer)) = (self.now.mono, self.offer()) else { return };
        while self.session.subscriptions.has_next(singly)
            && let Some(id) = self.session.ids.take()
        {
            let packet = self.session.subscriptions.next_packet(id, offer, singly);
            let (Some(packet), Some(link)) = (packet, self.link.as_mut()) else {
                self.session.ids.free(id);
                break;
            };
            link.send(&packet, &mut self.wire, now);
            link.liveness.expects_ack();
            if singly {
                self.session.quarantine.sent(now);
            }
        }
    }

    fn send_releases(&mut self) {
        let now = self.now.mono;
        let Some(link) = self.link.as_mut() else { return };
        // PUBREL needs no quota [MQTT-3.3.4-8] [MQTT-4.9.0-3], only its record on the store [MQTT-4.3.3-6]. Without text
        // it passes no limit [MQTT-3.6.2-2] [MQTT-3.6.2-3].
        while let Some(id) = self.session.outbox.in_flight.next_release(self.journal.durable) {
            link.send_ack(AckKind::PubRel, &Ack::new(id, ReasonCode::SUCCESS), &mut self.wire, now);
            link.liveness.expects_ack();
        }
    }

    fn send_messages(&mut self) {
        let limit = if defect!(WriteBufferIgnored) { u64::MAX } else { self.config.link.write_buffer as u64 };
        loop {
            let Some(link) = self.link.as_ref() else { return };
            if link.liveness.unwritten() >= limit {
                return;
            }
            let in_flight = &mut self.session.outbox.in_flight;
            // What a lost store would have to know first is left to the next process; the others do not wait for it.
            let again = in_flight.has_resends()
                && (!self.journal.waits_for_ever() || in_flight.let_ready_pass(self.journal.durable));
            let sent = if again { self.send_again() } else { self.send_next() };
            if !sent {
                return;
            }
        }
    }

    /// With a store that takes nothing more, PUBREL waits for the next process, and what its PUBLISH took of the quota comes
    /// back with no answer [MQTT-4.9.0-1]. Where that is all of the quota, what is behind goes on with a new link, where a
    /// PUBREL takes none [MQTT-4.9.0-3]. Each message is released once, so this ends.
    fn check_quota(&mut self) {
        let in_flight = &mut self.session.outbox.in_flight;
        let is_stuck = self.journal.waits_for_ever()
            && in_flight.awaiting() == 0
            && self.link.as_ref().is_some_and(|link| !link.has_quota());
        if !is_stuck {
            return;
        }
        let again = in_flight.has_resends() && in_flight.let_ready_pass(self.journal.durable);
        let next = self.session.outbox.waiting.front().map(|entry| entry.publication.qos);
        if again || next == Some(Qos::AtLeastOnce) {
            self.lose(LossCause::Local(LocalCause::Restart));
        }
    }

    /// Whether a PUBLISH above QoS 0 may leave now.
    fn may_send(&mut self) -> bool {
        let gate = self.session.quarantine.gate(self.now.mono);
        let awaiting = self.session.outbox.in_flight.awaiting() + self.session.subscriptions.awaiting();
        let open = match gate {
            Gate::Open => true,
            Gate::Shut => false,
            Gate::One => awaiting == 0,
        };
        open && self.link.as_ref().is_some_and(Link::has_quota)
    }

    /// Sends the next PUBLISH that has its packet identifier already. `false`: nothing may leave.
    fn send_again(&mut self) -> bool {
        if !self.may_send() {
            return false;
        }
        let (now, durable) = (self.now.mono, self.journal.durable);
        let ever = if self.journal.waits_for_ever() { durable } else { Ticket(u64::MAX) };
        let Some(link) = self.link.as_mut() else { return false };
        let Some(exchange) = self.session.outbox.in_flight.peek_resend() else { return true };
        if exchange.needs > durable {
            return false;
        }
        let packet_id = exchange.packet_id;
        let Stage::Published(entry) = &mut exchange.stage else { return false };
        let lowered = self.config.session.lower_qos && is_beyond(entry, link);
        if lowered && entry.sent && !exchange.lowered && !defect!(LoweredUnderItsIdentifier) {
            return self.session.outbox.in_flight.let_earlier_pass(ever) || self.begin_anew(packet_id);
        }
        if lowered {
            entry.lower();
        }
        let publish = packet(entry, Some(packet_id), link.version(), now);
        if let Some(why) = unsendable(&publish, &link.agreement) {
            // A limit shrank. If it left, the identifier stays taken: the server may hold the exchange.
            let (id, left, outcome) = (entry.id, entry.sent, why.of(entry));
            if left {
                self.session.outbox.in_flight.lease(packet_id);
                self.journal.note(|| Record::Leased { packet_id });
            } else {
                self.session.outbox.in_flight.remove(packet_id);
                self.session.ids.free(packet_id);
            }
            self.not_sent(id, outcome);
            return true;
        }
        if publish.qos == Qos::ExactlyOnce {
            // From here on the server may hold an exchange of QoS 2 under it. If the link broke off before, it is as it was.
            exchange.lowered = false;
        }
        self.stats.resent += u64::from(entry.attempts > 0);
        entry.attempts += 1;
        entry.sent = true;
        let id = entry.id;
        let told = Event::Transmitted { id, attempts: entry.attempts };
        self.session.outbox.in_flight.resent();
        self.session.quarantine.sent(now);
        link.send_publish(publish, &mut self.wire, now);
        link.liveness.expects_ack();
        if lowered {
            self.journal.note(|| Record::Lowered { id });
            self.tell_downgraded(id);
        }
        self.tell(told);
        true
    }

    /// A message that left at QoS 2, where no more than QoS 1 is offered now. The server may hold its identifier in that
    /// exchange, so it goes as a new message under another [MQTT-2.2.1-3], and the old one stays taken. Of the new one
    /// the store hears nothing: a later process has to take care of the old one, too.
    fn begin_anew(&mut self, held: PacketId) -> bool {
        self.journal.note(|| Record::Leased { packet_id: held });
        let in_flight = &mut self.session.outbox.in_flight;
        if let Some(packet_id) = self.session.ids.take() {
            if let Some(entry) = in_flight.move_to(held, packet_id) {
                entry.sent = false;
                entry.possible_duplicate = true;
            }
        } else if let Some(entry) = in_flight.lease(held) {
            // Waiting for one could be for ever: those that would free it wait behind this.
            self.finish(entry.id, Unsendable::NotOffered("QoS 2").of(&entry));
        }
        true
    }

    /// Sends the next message that was never sent in this session. `false`: nothing may leave.
    fn send_next(&mut self) -> bool {
        let now = self.now.mono;
        let Some(entry) = self.session.outbox.waiting.front() else { return false };
        let qos = entry.publication.qos;
        if qos != Qos::AtMostOnce && (self.renewal.is_draining() || !self.may_send()) {
            return false;
        }
        if qos == Qos::ExactlyOnce && self.journal.waits_for_ever() {
            return false;
        }
        // [MQTT-4.3.2-1] [MQTT-4.3.3-1]
        let packet_id = match qos {
            Qos::AtMostOnce => None,
            _ => match self.session.ids.take() {
                Some(id) => Some(id),
                None => return false,
            },
        };
        let (Some(link), Some(mut entry)) = (self.link.as_mut(), self.session.outbox.waiting.pop_front())
        else {
            return false;
        };
        let lowered = self.config.session.lower_qos && is_beyond(&entry, link);
        if lowered {
            entry.lower();
        }
        let publish = packet(&entry, packet_id, link.version(), now);
        if let Some(outcome) = unsendable(&publish, &link.agreement).map(|why| why.of(&entry)) {
            packet_id.inspect(|id| self.session.ids.free(*id));
            self.not_sent(entry.id, outcome);
            return true;
        }
        let Some(packet_id) = packet_id else {
            // Once, and forgotten [MQTT-4.3.1-1].
            link.send_publish(publish, &mut self.wire, now);
            link.note_unsent(entry.id, entry.publication.is_queued());
            return true;
        };
        if lowered {
            self.tell_downgraded(entry.id);
        }
        self.assign(entry, packet_id, publish);
        true
    }

    /// Ends a message that no packet can be made of here.
    fn not_sent(&mut self, id: PublishId, outcome: Outcome) {
        match outcome {
            Outcome::Unreadable => self.park(id, outcome, Parking::Unreadable),
            _ => self.finish(id, outcome),
        }
    }

    /// Once a link.
    fn tell_downgraded(&mut self, id: PublishId) {
        let Some(link) = self.link.as_mut() else { return };
        if std::mem::replace(&mut link.qos2, Qos2::Downgraded) == Qos2::Unknown {
            self.tell(Event::Downgraded { id });
        }
    }

    fn assign(&mut self, mut entry: Entry, packet_id: PacketId, publish: Publish) {
        let now = self.now.mono;
        let id = entry.id;
        let mut noted = self.journal.note(|| Record::Assigned { id, packet_id });
        if entry.lowered {
            // Every later process knows at which QoS it left under this identifier, and that it may arrive twice.
            self.journal.note(|| Record::Lowered { id });
        } else if publish.qos == Qos::ExactlyOnce && entry.possible_duplicate {
            noted = self.journal.note(|| Record::MayRepeat { id });
        }
        // A QoS 2 message whose identifier is forgotten would be delivered twice, or taken for another's copy.
        let needs = if publish.qos == Qos::ExactlyOnce && !defect!(PublishBeforeDurable) {
            noted
        } else {
            Ticket::default()
        };
        let on_wire = needs <= self.journal.durable;
        let attempts = entry.attempts + u32::from(on_wire);
        entry.attempts = attempts;
        entry.sent = on_wire;
        let stage = Stage::Published(entry);
        let exchange = Exchange { on_wire, charged: on_wire, needs, ..Exchange::new(packet_id, stage) };
        self.session.outbox.in_flight.push(exchange);
        if !on_wire {
            return;
        }
        self.session.quarantine.sent(now);
        if let Some(link) = self.link.as_mut() {
            link.send_publish(publish, &mut self.wire, now);
            link.liveness.expects_ack();
        }
        self.tell(Event::Transmitted { id, attempts });
    }

    pub(super) fn check_recovered(&mut self) {
        let now = self.now.mono;
        if !self.is_up() || !self.session_is_safe() {
            return;
        }
        if !self.present.resubscribed && self.session.subscriptions.all_answered() {
            self.present.resubscribed = true;
            self.outage.resubscribed(now);
            if !self.session.subscriptions.is_empty() {
                let (granted, refused) = self.session.subscriptions.tally();
                self.tell(Event::Resubscribed { granted, refused });
            }
        }
        if let Some((bill, drained)) = self.outage.settled(now) {
            self.tell(Event::Recovered { bill, drained });
        }
    }
}

/// Whether a message is of QoS 2 and the server offers QoS 1.
fn is_beyond(entry: &Entry, link: &Link) -> bool {
    let offers_less = link.agreement.maximum_qos == Qos::AtLeastOnce || defect!(LoweredThoughOffered);
    entry.publication.qos == Qos::ExactlyOnce && offers_less
}

/// The packet for a message. DUP depends only on whether this exchange was sent before [MQTT-3.3.1-1] [MQTT-3.3.1-3]
/// [MQTT-4.3.2-2] [MQTT-4.3.3-2].
fn packet(
    entry: &Entry,
    packet_id: Option<PacketId>,
    version: Version,
    now: crate::time::Timestamp,
) -> Publish {
    let p = &entry.publication;
    let mut properties = p.properties.clone().filter(|_| version == Version::V5);
    if let (Version::V5, Some(at)) = (version, entry.expires) {
        let left = at.since(now).max(Duration::from_secs(1));
        let seconds = u32::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
        properties.get_or_insert_default().message_expiry = Some(seconds);
    }
    let mut is_resend = entry.sent;
    if defect!(ResendWithoutDup) {
        is_resend = false;
    }
    if defect!(DupOnFirstSend) {
        is_resend = true;
    }
    Publish {
        dup: packet_id.is_some() && is_resend,
        qos: p.qos,
        retain: p.retain,
        topic: p.topic.clone().into(),
        packet_id,
        properties,
        payload: p.payload.clone(),
    }
}

/// Why the server would not take a packet.
enum Unsendable {
    NotOffered(&'static str),
    TooLarge {
        size: u64,
        limit: u64,
    },
    /// No packet can hold it. It would have been refused when it was handed over, so it comes from a store.
    Invalid,
}

impl Unsendable {
    /// How the message ends: nobody may take one that left for one that did not, and publish it again.
    const fn of(self, entry: &Entry) -> Outcome {
        let may_have_left = entry.sent || entry.possible_duplicate;
        match self {
            Self::NotOffered(what) if may_have_left => Outcome::NotSentAgain(Rejected::NotAvailable(what)),
            Self::NotOffered(what) => Outcome::NotSupported(what),
            Self::TooLarge { size, limit } if may_have_left => {
                Outcome::NotSentAgain(Rejected::TooLarge { size, limit })
            }
            Self::TooLarge { size, limit } => Outcome::TooLarge { size, limit },
            Self::Invalid => Outcome::Unreadable,
        }
    }
}

fn unsendable(publish: &Publish, agreement: &Agreement) -> Option<Unsendable> {
    if publish.qos > agreement.maximum_qos {
        return Some(Unsendable::NotOffered(if agreement.maximum_qos == Qos::AtMostOnce {
            "QoS 1 and 2" // [MQTT-3.2.2-11]
        } else {
            "QoS 2"
        }));
    }
    if publish.retain && !agreement.retain_available {
        return Some(Unsendable::NotOffered("retained messages")); // [MQTT-3.2.2-14]
    }
    if let Some(properties) = &publish.properties
        && (super::check_properties(properties).is_err()
            || codec::check_publish(publish, agreement.version).is_err())
    {
        return Some(Unsendable::Invalid);
    }
    let limit = u64::from(agreement.maximum_packet_size?);
    let size = publish_len(publish, agreement.version) as u64;
    (size > limit).then_some(Unsendable::TooLarge { size, limit }) // [MQTT-3.2.2-15]
}
