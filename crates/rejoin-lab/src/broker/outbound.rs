//! What subscribers are sent, and what they answer.

use rejoin_core::codec::packet::{Ack, Packet, PacketId, Qos};
use rejoin_core::codec::reason::ReasonCode;
use rejoin_core::text::Text;
use rejoin_core::time::Timestamp;

use super::connection::{Connection, Phase};
use super::ledger::Delivery;
use super::session::{Inflight, OutboundStage, Outgoing};
use super::violation::Fault;
use super::{Broker, ConnectionId, LedgerEntry};
use crate::wire::PacketKind;

/// What became of a PUBLISH that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Written,
    /// The manners lose it.
    Lost,
    /// The client takes no packet of that size.
    TooLarge,
}

impl Broker {
    pub(super) fn send_qos0(&mut self, client: &Text, outgoing: &Outgoing) {
        let (now, backlog) = (self.now, self.manners.backlog_maximum);
        let live = self.sessions.get(client).and_then(|session| session.connection);
        let connection = live.and_then(|id| self.connections.get_mut(&id));
        let Some(connection) = connection.filter(|c| c.acknowledged && c.output.len() < backlog) else {
            self.counters.dropped_qos0 += 1;
            return;
        };
        let id = connection.id;
        if self.write_publish(id, outgoing, None, false, now) == Fate::Written {
            self.record(id, outgoing, None, false, LedgerEntry::Sent);
        }
    }

    /// Sends what the session has for its connection, as far as the window allows: what is to be sent again
    /// first, in its old order [MQTT-4.6.0-1].
    pub(super) fn pump(&mut self, client: &Text) {
        let live = self.sessions.get(client).and_then(|session| session.connection);
        let Some(id) = live else { return };
        while self.resend_next(id, client) || self.send_next(id, client) {}
    }

    /// Sends the next unsettled exchange again. `false` when there is none, or no room.
    fn resend_next(&mut self, id: ConnectionId, client: &Text) -> bool {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        let Some(session) = self.sessions.get_mut(client) else { return false };
        let ready = connection.phase == Phase::Up && connection.acknowledged;
        let Some(&packet_id) = connection.to_resend.front().filter(|_| ready) else { return false };
        let Some(entry) = session.inflight.iter_mut().find(|entry| entry.id == packet_id) else {
            connection.to_resend.pop_front();
            return true;
        };
        if entry.stage == OutboundStage::Released {
            entry.sent_on = id;
            connection.to_resend.pop_front();
            self.send(id, &Packet::PubRel(Ack::new(packet_id, ReasonCode::SUCCESS)));
            return true;
        }
        if connection.quota == 0 {
            return false;
        }
        connection.to_resend.pop_front();
        connection.quota -= 1;
        entry.sent_on = id;
        let outgoing = entry.outgoing.clone();
        self.deliver(id, client, &outgoing, packet_id, true, now);
        true
    }

    /// Sends the next waiting message. `false` when there is none, or no room.
    fn send_next(&mut self, id: ConnectionId, client: &Text) -> bool {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        let Some(session) = self.sessions.get_mut(client) else { return false };
        let ready =
            connection.phase == Phase::Up && connection.acknowledged && connection.to_resend.is_empty();
        if !ready || connection.quota == 0 {
            return false;
        }
        let Some(outgoing) = session.queue.pop_front() else { return false };
        if outgoing.message.expires_at.is_some_and(|at| at <= now) {
            self.counters.dropped_expired += 1;
            return true;
        }
        let Some(packet_id) = session.unused_id(&connection.sent_again) else {
            session.queue.push_front(outgoing);
            return false;
        };
        let (stage, sent_on) = (OutboundStage::Published, id);
        session.inflight.push_back(Inflight { id: packet_id, outgoing: outgoing.clone(), stage, sent_on });
        connection.quota -= 1;
        self.deliver(id, client, &outgoing, packet_id, false, now);
        true
    }

    /// Sends again what was sent on this connection and has no PUBACK or PUBREC, where the manners say so.
    pub(super) fn send_again(&mut self, id: ConnectionId) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.sends_again_at > now || connection.phase != Phase::Up {
            return;
        }
        let after = self.manners.sends_again_after;
        connection.sends_again_at = after.map_or(Timestamp::NEVER, |after| now + after);
        let client = connection.client.clone();
        let Some(session) = self.sessions.get(&client).filter(|_| after.is_some()) else { return };
        let unanswered: Vec<(PacketId, Outgoing)> = session
            .inflight
            .iter()
            .filter(|entry| entry.stage == OutboundStage::Published && entry.sent_on == id)
            .map(|entry| (entry.id, entry.outgoing.clone()))
            .collect();
        for (packet_id, outgoing) in unanswered {
            if self.write_publish(id, &outgoing, Some(packet_id), true, now) != Fate::Written {
                continue;
            }
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.sent_again.insert(packet_id);
                owe(connection, outgoing.qos, packet_id);
            }
            self.record(id, &outgoing, Some(packet_id), true, LedgerEntry::Sent);
        }
    }

    fn deliver(
        &mut self,
        id: ConnectionId,
        client: &Text,
        outgoing: &Outgoing,
        packet_id: PacketId,
        dup: bool,
        now: Timestamp,
    ) {
        match self.write_publish(id, outgoing, Some(packet_id), dup, now) {
            Fate::Written => {
                if let Some(connection) = self.connections.get_mut(&id) {
                    owe(connection, outgoing.qos, packet_id);
                }
                self.record(id, outgoing, Some(packet_id), dup, LedgerEntry::Sent);
            }
            // The client owes no answer to what it never got.
            Fate::Lost => {}
            // Dropped as if it had been delivered [MQTT-3.1.2-25].
            Fate::TooLarge => {
                self.counters.dropped_too_large += 1;
                self.give_back(id);
                if let Some(session) = self.sessions.get_mut(client) {
                    session.inflight.retain(|entry| entry.id != packet_id);
                }
            }
        }
    }

    fn write_publish(
        &mut self,
        id: ConnectionId,
        outgoing: &Outgoing,
        packet_id: Option<PacketId>,
        dup: bool,
        now: Timestamp,
    ) -> Fate {
        if self.manners.loses(PacketKind::Publish) {
            return Fate::Lost;
        }
        let Some(connection) = self.connections.get_mut(&id) else { return Fate::TooLarge };
        let mut publish = outgoing.packet(packet_id, dup, connection.is_v5(), now);
        let uses_aliases = connection.alias_maximum_out > 0;
        let alias = if uses_aliases { connection.alias(&mut publish) } else { None };
        if !connection.write(&Packet::Publish(publish)) {
            return Fate::TooLarge;
        }
        connection.aliases_out.extend(alias);
        self.counters.sent += 1;
        self.mark_dirty(id);
        Fate::Written
    }

    fn record(
        &mut self,
        id: ConnectionId,
        outgoing: &Outgoing,
        packet_id: Option<PacketId>,
        dup: bool,
        entry: fn(Delivery) -> LedgerEntry,
    ) {
        if self.ledgers.is_empty() {
            return;
        }
        let client = self.connections.get(&id).map(|c| c.client.clone()).unwrap_or_default();
        let delivery = Delivery {
            at: self.now,
            connection: id,
            client,
            topic: outgoing.message.topic.text().clone(),
            payload: outgoing.message.payload.clone(),
            qos: outgoing.qos,
            dup,
            packet_id,
        };
        self.write_ledger(|| entry(delivery));
    }

    pub(super) fn on_puback(&mut self, id: ConnectionId, ack: &Ack) -> Result<(), Fault> {
        let packet_id = ack.packet_id;
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        let client = connection.client.clone();
        let Some(in_order) = connection.pubacks_owed.answered(packet_id) else {
            let detail = format!("PUBACK {packet_id} though no such PUBLISH awaits it on this connection");
            self.note(id, "MQTT-4.3.2-4", detail);
            return Ok(());
        };
        if !in_order {
            let detail = format!("PUBACK {packet_id} leaves behind that of a later PUBLISH");
            self.note_order(id, "MQTT-4.6.0-2", detail);
        }
        self.settle(id, &client, packet_id, ack.reason);
        self.pump(&client);
        Ok(())
    }

    pub(super) fn on_pubrec(&mut self, id: ConnectionId, ack: &Ack) -> Result<(), Fault> {
        let packet_id = ack.packet_id;
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        let client = connection.client.clone();
        let Some(in_order) = connection.pubrecs_owed.answered(packet_id) else {
            let detail = format!("PUBREC {packet_id} though no such PUBLISH awaits it on this connection");
            // The client's half is ended all the same.
            let ending = connection.ack(packet_id, ReasonCode::PACKET_IDENTIFIER_NOT_FOUND);
            self.note(id, "MQTT-4.3.3-8", detail);
            self.send(id, &Packet::PubRel(ending));
            return Ok(());
        };
        if !in_order {
            let detail = format!("PUBREC {packet_id} leaves behind that of a later PUBLISH");
            self.note_order(id, "MQTT-4.6.0-3", detail);
        }
        if ack.reason.is_error() {
            self.settle(id, &client, packet_id, ack.reason);
            self.pump(&client);
            return Ok(());
        }
        let entry = self
            .sessions
            .get_mut(&client)
            .and_then(|session| session.inflight.iter_mut().find(|entry| entry.id == packet_id));
        if let Some(entry) = entry {
            if entry.stage == OutboundStage::Released && entry.sent_on == id {
                // Its PUBREL left for the first of two copies.
                return Ok(());
            }
            entry.stage = OutboundStage::Released;
            entry.sent_on = id;
            let outgoing = entry.outgoing.clone();
            self.counters.confirmed += 1;
            self.record(id, &outgoing, Some(packet_id), false, LedgerEntry::Confirmed);
        }
        self.send(id, &Packet::PubRel(Ack::new(packet_id, ReasonCode::SUCCESS)));
        Ok(())
    }

    pub(super) fn on_pubcomp(&mut self, id: ConnectionId, ack: &Ack) -> Result<(), Fault> {
        let packet_id = ack.packet_id;
        let Some(client) = self.connections.get(&id).map(|c| c.client.clone()) else { return Ok(()) };
        let place = self.sessions.get(&client).and_then(|session| {
            session.inflight.iter().position(|entry| {
                entry.id == packet_id && entry.stage == OutboundStage::Released && entry.sent_on == id
            })
        });
        let Some(place) = place else {
            // An answer to the PUBREL that ended an unknown exchange is in order.
            let sent_again = self.connections.get(&id).is_some_and(|c| c.sent_again.contains(&packet_id));
            if ack.reason != ReasonCode::PACKET_IDENTIFIER_NOT_FOUND && !sent_again {
                let detail = format!("PUBCOMP {packet_id} though no PUBREL awaits it on this connection");
                self.note(id, "MQTT-4.3.3-11", detail);
            }
            return Ok(());
        };
        if let Some(session) = self.sessions.get_mut(&client) {
            session.inflight.remove(place);
        }
        self.give_back(id);
        self.pump(&client);
        Ok(())
    }

    fn give_back(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.quota = connection.quota.saturating_add(1).min(connection.window_out);
        }
    }

    /// Takes a settled exchange out of the session, and gives its place in the window back; the answer to a copy that
    /// crossed the first one settles nothing.
    fn settle(&mut self, id: ConnectionId, client: &Text, packet_id: PacketId, reason: ReasonCode) {
        let settled = self.sessions.get_mut(client).and_then(|session| {
            let place = session.inflight.iter().position(|entry| entry.id == packet_id)?;
            session.inflight.remove(place)
        });
        let crossed = self.connections.get(&id).is_some_and(|c| c.sent_again.contains(&packet_id));
        if settled.is_some() || !crossed {
            self.give_back(id);
        }
        let Some(entry) = settled else { return };
        if !reason.is_error() {
            self.counters.confirmed += 1;
            self.record(id, &entry.outgoing, Some(packet_id), false, LedgerEntry::Confirmed);
        }
    }
}

fn owe(connection: &mut Connection, qos: Qos, packet_id: PacketId) {
    match qos {
        Qos::AtMostOnce => {}
        Qos::AtLeastOnce => connection.pubacks_owed.sent(packet_id),
        Qos::ExactlyOnce => connection.pubrecs_owed.sent(packet_id),
    }
}
