//! What clients publish, and the judge's view of it.
//!
//! ```text
//!  QoS 1   PUBLISH ──► Open ──PUBACK──► Finished
//!  QoS 2   PUBLISH ──► Open ──PUBREC──► Recorded ──PUBREL──► Released ──PUBCOMP──► Finished
//! ```

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use rejoin_core::codec::packet::{Ack, Packet, PacketId, Publish, Qos};
use rejoin_core::codec::reason::ReasonCode;
use rejoin_core::text::Text;

use super::connection::Connection;
use super::ledger::Accepted;
use super::manners::{Answer, Forward};
use super::session::{Exchange, Memory, Message, Session, Stage};
use super::violation::Fault;
use super::{Broker, ConnectionId, LedgerEntry};

/// What a PUBLISH above QoS 0 turns out to be.
enum Arrival {
    /// A new exchange.
    New,
    /// A resend of one that goes on.
    Again,
    /// The id belongs to another exchange that goes on: refused with 0x91.
    Clash,
}

impl Broker {
    pub(super) fn on_publish(&mut self, id: ConnectionId, mut publish: Publish) -> Result<(), Fault> {
        self.counters.resends_received += u64::from(publish.dup);
        self.resolve_alias(id, &mut publish)?;
        self.check_publish(id, &publish)?;
        if self.manners.poison.as_ref().is_some_and(|filter| filter.matches(publish.topic.as_str())) {
            self.cut(id, self.manners.ending);
            return Ok(());
        }
        match publish.packet_id {
            None => {
                self.accept(id, &publish);
                let message = self.message_of(id, publish);
                self.route(message);
                Ok(())
            }
            Some(packet_id) => self.on_exchange(id, packet_id, publish),
        }
    }

    /// Puts the topic in the place of its alias (5.0).
    fn resolve_alias(&mut self, id: ConnectionId, publish: &mut Publish) -> Result<(), Fault> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        let Some(alias) = publish.properties.as_deref_mut().and_then(|p| p.topic_alias.take()) else {
            return Ok(());
        };
        let alias = alias.get();
        if alias > connection.alias_maximum_in {
            let most = connection.alias_maximum_in;
            return Err(Fault::fatal(
                "MQTT-3.3.2-9",
                ReasonCode::TOPIC_ALIAS_INVALID,
                format!("topic alias {alias}, the maximum is {most}"),
            ));
        }
        if !publish.topic.is_empty() {
            connection.aliases_in.insert(alias, publish.topic.clone());
        } else if let Some(topic) = connection.aliases_in.get(&alias) {
            publish.topic = topic.clone();
        } else {
            let detail = format!("topic alias {alias} was never set on this connection");
            return Err(Fault::fatal("u5-3.3.2.3.4-a", ReasonCode::PROTOCOL_ERROR, detail));
        }
        Ok(())
    }

    fn check_publish(&self, id: ConnectionId, publish: &Publish) -> Result<(), Fault> {
        let v5 = self.connections.get(&id).is_some_and(Connection::is_v5);
        if !v5 {
            return Ok(());
        }
        if publish.qos > self.manners.maximum_qos {
            let detail = format!("{:?}, the maximum is {:?}", publish.qos, self.manners.maximum_qos);
            return Err(Fault::fatal("MQTT-3.2.2-11", ReasonCode::QOS_NOT_SUPPORTED, detail));
        }
        if publish.retain && !self.manners.retain_available {
            let detail = "RETAIN though Retain Available is 0".into();
            return Err(Fault::fatal("MQTT-3.2.2-14", ReasonCode::RETAIN_NOT_SUPPORTED, detail));
        }
        Ok(())
    }

    /// A PUBLISH at QoS 1 or 2.
    fn on_exchange(&mut self, id: ConnectionId, packet_id: PacketId, publish: Publish) -> Result<(), Fault> {
        self.check_window(id, packet_id)?;
        let digest = digest(&publish);
        self.note_new_and_copies(id, packet_id, publish.dup);
        match self.judge_arrival(id, packet_id, &publish, digest) {
            Arrival::Clash => {
                let reason = ReasonCode::PACKET_IDENTIFIER_IN_USE;
                self.reply(id, publish.qos, packet_id, reason);
            }
            Arrival::Again => self.on_resend(id, packet_id, publish),
            Arrival::New => {
                self.begin_exchange(id, packet_id, &publish, digest);
                self.take_or_refuse(id, packet_id, publish);
            }
        }
        Ok(())
    }

    fn check_window(&mut self, id: ConnectionId, packet_id: PacketId) -> Result<(), Fault> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        let window = connection.window_in;
        let used = connection.unfinished.len();
        let over = !connection.unfinished.contains(&packet_id) && used >= usize::from(window);
        connection.unfinished.insert(packet_id);
        if over && connection.is_v5() {
            let detail =
                format!("PUBLISH {packet_id} while {used} are unacknowledged, Receive Maximum is {window}");
            return Err(Fault::fatal("MQTT-3.3.4-7", ReasonCode::RECEIVE_MAXIMUM_EXCEEDED, detail));
        }
        Ok(())
    }

    /// Decides whether a PUBLISH is new or a resend, and writes down what is wrong with it.
    fn judge_arrival(
        &mut self,
        id: ConnectionId,
        packet_id: PacketId,
        publish: &Publish,
        digest: u64,
    ) -> Arrival {
        let Some(connection) = self.connections.get_mut(&id) else { return Arrival::Clash };
        let Some(session) = self.sessions.get(&connection.client) else { return Arrival::Clash };
        let whole = session.memory == Memory::Whole;
        let resumed = connection.resumed;
        if connection.asked.contains(&packet_id) {
            let detail = format!("PUBLISH takes id {packet_id}, which a SUBSCRIBE or UNSUBSCRIBE still uses");
            self.note(id, "MQTT-2.2.1-3", detail);
            return Arrival::Clash;
        }
        let Some(known) = session.inbound.get(&packet_id) else {
            if publish.dup && !resumed {
                let detail = format!("PUBLISH {packet_id} is sent for the first time with DUP");
                self.note(id, first_send_clause(publish.qos), detail);
            }
            return Arrival::New;
        };
        let (here, same) = (known.seen_on == id, known.digest == digest && known.qos == publish.qos);
        if known.stage == Stage::Finished {
            let kept = resumed && whole && same;
            let finding = match (publish.dup, here) {
                (true, true) => Some(("MQTT-4.4.0-1", "is sent again on a live connection")),
                (true, false) if !resumed => Some((first_send_clause(publish.qos), "is new but has DUP")),
                (_, false) if kept && known.released_on.is_some() => {
                    Some(("MQTT-4.3.3-6", "is sent again though its PUBREL was sent"))
                }
                (false, false) if kept => Some(("MQTT-3.3.1-1", "is sent again without DUP")),
                _ => None,
            };
            if let Some((clause, what)) = finding {
                let mut fault = Fault::noted(clause, format!("PUBLISH {packet_id} {what}"));
                // Who saw the exchange end may give its identifier, and even its content, to another message.
                fault.suspicion = !publish.dup && !known.unheard;
                self.convict(id, fault);
            }
            return Arrival::New;
        }
        if here {
            return self.judge_repeat_here(id, packet_id, publish.dup);
        }
        let (stage, overtaken) = (known.stage, connection.sends_again_late(known));
        if !whole {
            return if same { Arrival::Again } else { Arrival::New };
        }
        if stage == Stage::Released {
            let detail = format!("PUBLISH {packet_id} is sent again though its PUBREL was sent");
            self.note(id, "MQTT-4.3.3-6", detail);
        } else if !same {
            let detail =
                format!("PUBLISH {packet_id} takes the id of another message that was never acknowledged");
            self.note(id, "MQTT-2.2.1-3", detail);
            return Arrival::Clash;
        } else if !publish.dup {
            self.note(id, "MQTT-3.3.1-1", format!("PUBLISH {packet_id} is sent again without DUP"));
        }
        if overtaken {
            let detail = format!("PUBLISH {packet_id} is sent again after a younger one");
            self.note(id, "MQTT-4.6.0-1", detail);
        }
        Arrival::Again
    }

    /// An id that this very connection has used and that is not free.
    fn judge_repeat_here(&mut self, id: ConnectionId, packet_id: PacketId, dup: bool) -> Arrival {
        if dup {
            let detail = format!("PUBLISH {packet_id} is sent again on a live connection");
            self.note(id, "MQTT-4.4.0-1", detail);
            return Arrival::Again;
        }
        self.note(id, "MQTT-2.2.1-3", format!("PUBLISH takes id {packet_id}, which is in use"));
        Arrival::Clash
    }

    /// Finds out what began anew in the middle of what is sent again.
    fn note_new_and_copies(&mut self, id: ConnectionId, packet_id: PacketId, dup: bool) {
        let Some(connection) = self.connections.get_mut(&id).filter(|connection| connection.resumed) else {
            return;
        };
        if !dup {
            // No more can wait to be sent again.
            if connection.new_here.len() < usize::from(u16::MAX) {
                connection.new_here.push(packet_id);
            }
            return;
        }
        let Some(session) = self.sessions.get_mut(&connection.client) else { return };
        for earlier in connection.new_here.drain(..) {
            if let Some(exchange) = session.inbound.get_mut(&earlier) {
                exchange.may_be_younger = true;
            }
        }
    }

    fn begin_exchange(&mut self, id: ConnectionId, packet_id: PacketId, publish: &Publish, digest: u64) {
        self.last_arrival += 1;
        let newest = self.last_arrival;
        let qos = publish.qos;
        let (before, resumed) =
            self.connections.get(&id).map_or((0, false), |c| (c.arrivals_before, c.resumed));
        // Where QoS 2 is not offered a message may begin anew at QoS 1. What it waited before may be lost with the link.
        let lowers = self.manners.maximum_qos == Qos::AtLeastOnce;
        let Some(session) = self.session_of(id) else { return };
        // A resend of what was answered in vain keeps its place: the client still counts it by its first send.
        let resent = session
            .inbound
            .get(&packet_id)
            .filter(|known| publish.dup && known.seen_on != id && known.digest == digest && known.qos == qos);
        let order = resent.map_or(newest, |known| known.order);
        let first_sent = if publish.dup { (before, newest) } else { (newest, 0) };
        let sent = resent.map_or(first_sent, |known| known.sent);
        let exchange = Exchange {
            qos,
            stage: Stage::Open,
            digest,
            order,
            sent,
            may_be_younger: resent.is_some_and(|known| known.may_be_younger)
                || resumed && lowers && !publish.dup,
            seen_on: id,
            released_on: None,
            refused: false,
            unheard: false,
            message: None,
        };
        session.inbound.insert(packet_id, exchange);
    }

    /// Takes a new message over, or answers with the code the manners ask for.
    fn take_or_refuse(&mut self, id: ConnectionId, packet_id: PacketId, publish: Publish) {
        let qos = match self.manners.downgrades_qos2 {
            true => publish.qos.min(Qos::AtLeastOnce),
            false => publish.qos,
        };
        let topic = publish.topic.as_str();
        let code = match qos {
            Qos::ExactlyOnce => Answer::for_topic(&mut self.manners.pubrec, topic),
            _ => Answer::for_topic(&mut self.manners.puback, topic),
        };
        if let Some(reason) = code.filter(|reason| reason.is_error()) {
            if let Some(exchange) = self.session_of(id).and_then(|s| s.inbound.get_mut(&packet_id)) {
                exchange.refused = true;
            }
            return self.reply(id, qos, packet_id, reason);
        }
        let mut reason = code.unwrap_or(ReasonCode::SUCCESS);
        if qos == Qos::ExactlyOnce && self.manners.forwards_qos2 == Forward::AtPubrel {
            let message = self.message_of(id, publish);
            if let Some(exchange) = self.session_of(id).and_then(|s| s.inbound.get_mut(&packet_id)) {
                exchange.message = Some(message);
            }
        } else {
            self.accept(id, &publish);
            let message = self.message_of(id, publish);
            let matched = self.route(message);
            if !matched && code.is_none() {
                reason = ReasonCode::NO_MATCHING_SUBSCRIBERS;
            }
        }
        self.reply(id, qos, packet_id, reason);
    }

    /// A PUBLISH came again in an exchange that goes on.
    fn on_resend(&mut self, id: ConnectionId, packet_id: PacketId, publish: Publish) {
        let downgrades = self.manners.downgrades_qos2;
        let Some(exchange) = self.session_of(id).and_then(|s| s.inbound.get_mut(&packet_id)) else { return };
        exchange.seen_on = id;
        let refused = std::mem::take(&mut exchange.refused);
        let anew = (downgrades || refused) && exchange.stage == Stage::Open;
        if publish.qos == Qos::ExactlyOnce && !anew {
            // Recorded once, answered each time [MQTT-4.3.3-10].
            self.reply(id, publish.qos, packet_id, ReasonCode::SUCCESS);
        } else {
            self.take_or_refuse(id, packet_id, publish);
        }
    }

    pub(super) fn on_pubrel(&mut self, id: ConnectionId, ack: &Ack) -> Result<(), Fault> {
        let packet_id = ack.packet_id;
        let forward = self.manners.forwards_qos2;
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        let Some(session) = self.sessions.get_mut(&connection.client) else { return Ok(()) };
        let whole = session.memory == Memory::Whole;
        let place = connection.pubrels_owed.iter().position(|owed| *owed == packet_id);
        if let Some(place) = place {
            connection.pubrels_owed.remove(place);
        }
        let known = session.inbound.get_mut(&packet_id).filter(|e| e.qos == Qos::ExactlyOnce);
        let (finding, reason, message) = match known {
            Some(e) if e.stage == Stage::Recorded => {
                let finding = place.filter(|place| *place > 0).map(|_| {
                    ("MQTT-4.6.0-4", format!("PUBREL {packet_id} leaves before that of an earlier PUBREC"))
                });
                e.stage = Stage::Released;
                e.released_on = Some(id);
                (finding, ReasonCode::SUCCESS, e.message.take())
            }
            Some(e)
                if e.stage == Stage::Released || (e.stage == Stage::Finished && e.released_on.is_some()) =>
            {
                let finding = (e.released_on == Some(id) && place.is_none()).then(|| {
                    ("MQTT-4.4.0-1", format!("PUBREL {packet_id} is sent again on a live connection"))
                });
                e.released_on = Some(id);
                (finding, ReasonCode::SUCCESS, None)
            }
            _ => {
                let finding = whole.then(|| {
                    ("MQTT-4.3.3-4", format!("PUBREL {packet_id} though no PUBREC was sent for it"))
                });
                (finding, ReasonCode::PACKET_IDENTIFIER_NOT_FOUND, None)
            }
        };
        match finding {
            Some((clause @ "MQTT-4.6.0-4", detail)) => self.note_order(id, clause, detail),
            Some((clause, detail)) => self.note(id, clause, detail),
            None => {}
        }
        if let Some(message) = message
            && forward == Forward::AtPubrel
        {
            self.accept_released(id, packet_id, &message);
            self.route(message);
        }
        // 3.1.1 has no codes: an unknown identifier is answered like any other.
        let v5 = self.connections.get(&id).is_some_and(Connection::is_v5);
        let reason = if v5 { reason } else { ReasonCode::SUCCESS };
        if let Some(connection) = self.connections.get(&id) {
            let ack = connection.ack(packet_id, reason);
            self.answer(id, Packet::PubComp(ack));
        }
        Ok(())
    }

    fn reply(&mut self, id: ConnectionId, qos: Qos, packet_id: PacketId, reason: ReasonCode) {
        let Some(connection) = self.connections.get(&id) else { return };
        if !connection.is_v5() && reason.is_error() {
            // 3.1.1 has no way to say no: the connection is closed instead.
            return self.cut(id, self.manners.ending);
        }
        let ack = connection.ack(packet_id, reason);
        let packet = if qos == Qos::ExactlyOnce { Packet::PubRec(ack) } else { Packet::PubAck(ack) };
        self.answer(id, packet);
    }

    fn session_of(&mut self, id: ConnectionId) -> Option<&mut Session> {
        let connection = self.connections.get(&id)?;
        self.sessions.get_mut(&connection.client)
    }

    fn message_of(&self, id: ConnectionId, publish: Publish) -> Message {
        let from = self.connections.get(&id).map_or_else(Text::default, |c| c.client.clone());
        let expiry = publish.properties.as_ref().and_then(|p| p.message_expiry);
        Message {
            topic: publish.topic,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            properties: publish.properties,
            expires_at: expiry.map(|s| self.now + Duration::from_secs(u64::from(s))),
            from,
        }
    }

    /// Writes into the account that a message is now the broker's.
    fn accept(&mut self, id: ConnectionId, publish: &Publish) {
        self.counters.accepted += 1;
        self.last_arrival += u64::from(publish.packet_id.is_none());
        if self.ledgers.is_empty() {
            return;
        }
        let mut accepted = self.accepted(id, publish.topic.text().clone(), publish.packet_id);
        accepted.payload = publish.payload.clone();
        accepted.qos = publish.qos;
        accepted.retain = publish.retain;
        accepted.dup = publish.dup;
        self.write_ledger(|| LedgerEntry::Accepted(accepted));
    }

    fn accept_released(&mut self, id: ConnectionId, packet_id: PacketId, message: &Message) {
        self.counters.accepted += 1;
        if self.ledgers.is_empty() {
            return;
        }
        let mut accepted = self.accepted(id, message.topic.text().clone(), Some(packet_id));
        accepted.payload = message.payload.clone();
        accepted.qos = message.qos;
        accepted.retain = message.retain;
        self.write_ledger(|| LedgerEntry::Accepted(accepted));
    }

    fn accepted(&self, id: ConnectionId, topic: Text, packet_id: Option<PacketId>) -> Accepted {
        let connection = self.connections.get(&id);
        let client = connection.map(|c| c.client.clone()).unwrap_or_default();
        let session = self.sessions.get(&client);
        let exchange = packet_id.and_then(|packet_id| session?.inbound.get(&packet_id));
        Accepted {
            at: self.now,
            arrival: exchange.map_or(self.last_arrival, |exchange| exchange.order),
            connection: id,
            session: session.map_or(0, |session| session.number),
            client,
            window: connection.map_or(u16::MAX, |c| c.window_in),
            topic,
            payload: bytes::Bytes::new(),
            qos: Qos::AtMostOnce,
            retain: false,
            dup: false,
            packet_id,
        }
    }
}

const fn first_send_clause(qos: Qos) -> &'static str {
    match qos {
        Qos::ExactlyOnce => "MQTT-4.3.3-2",
        _ => "MQTT-4.3.2-2",
    }
}

fn digest(publish: &Publish) -> u64 {
    let mut hasher = DefaultHasher::new();
    publish.topic.as_bytes().hash(&mut hasher);
    publish.payload.hash(&mut hasher);
    hasher.finish()
}
