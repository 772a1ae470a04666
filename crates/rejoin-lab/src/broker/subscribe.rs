//! SUBSCRIBE and UNSUBSCRIBE.

use rejoin_core::codec::packet::{
    Packet, PacketId, RetainHandling, SubAck, Subscribe, SubscriptionOptions, Unsubscribe,
};
use rejoin_core::codec::reason::ReasonCode;
use rejoin_core::text::Text;
use rejoin_core::topic::{TopicErrorKind, TopicFilter};

use super::connection::Connection;
use super::manners::Answer;
use super::session::{Message, Outgoing, Subscription};
use super::violation::Fault;
use super::{Broker, ConnectionId};
use crate::wire::PacketKind;

impl Broker {
    pub(super) fn on_subscribe(&mut self, id: ConnectionId, packet: Subscribe) -> Result<(), Fault> {
        let Some(connection) = self.connections.get(&id) else { return Ok(()) };
        let (client, v5) = (connection.client.clone(), connection.is_v5());
        let packet_id = packet.packet_id;
        if packet.subscription_id.is_some() && !self.manners.subscription_ids_available {
            let detail = "a subscription id though they are not available".into();
            let reason = ReasonCode::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED;
            return Err(Fault::fatal("u5-3.2.2.3.12", reason, detail));
        }
        let free = self.take_id(id, packet_id, "SUBSCRIBE");
        let mut reasons = Vec::with_capacity(packet.filters.len());
        let mut retained = Vec::new();
        for (name, options) in &packet.filters {
            if !free {
                reasons.push(ReasonCode::PACKET_IDENTIFIER_IN_USE);
                continue;
            }
            let code =
                self.subscribe_one(id, &client, name, *options, packet.subscription_id, &mut retained)?;
            // 3.1.1 knows one failure only [MQTT311-3.9.3-2].
            reasons.push(if v5 || !code.is_error() { code } else { ReasonCode::UNSPECIFIED_ERROR });
        }
        self.answer_request(id, packet_id, reasons, PacketKind::SubAck);
        for outgoing in retained {
            self.enqueue(&client, outgoing);
        }
        Ok(())
    }

    fn subscribe_one(
        &mut self,
        id: ConnectionId,
        client: &Text,
        name: &Text,
        options: SubscriptionOptions,
        subscription_id: Option<u32>,
        retained: &mut Vec<Outgoing>,
    ) -> Result<ReasonCode, Fault> {
        let filter = match TopicFilter::new(name.as_bytes().clone()) {
            Ok(filter) => filter,
            Err(error) => {
                let clause = match error.kind() {
                    TopicErrorKind::Share => "MQTT-4.8.2-2",
                    TopicErrorKind::PlusMisplaced => "MQTT-4.7.1-2",
                    _ => "MQTT-4.7.1-1",
                };
                self.note(id, clause, error.to_string());
                return Ok(ReasonCode::TOPIC_FILTER_INVALID);
            }
        };
        if filter.is_shared() && !self.manners.shared_available {
            self.note(id, "u5-3.2.2.3.13", "a shared subscription though they are not available".into());
            return Ok(ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED);
        }
        if filter.has_wildcard() && !self.manners.wildcard_available {
            self.note(id, "u5-3.2.2.3.11", "a wildcard though they are not available".into());
            return Ok(ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED);
        }
        let code = Answer::for_filter(&mut self.manners.suback, name.as_str());
        if let Some(code) = code.filter(|code| code.is_error()) {
            return Ok(code);
        }
        let mut granted = options;
        granted.qos = options.qos.min(self.manners.maximum_qos);
        let shared = filter.is_shared();
        let subscription = Subscription { filter, options: granted, id: subscription_id };
        let Some(session) = self.sessions.get_mut(client) else { return Ok(ReasonCode::UNSPECIFIED_ERROR) };
        let existed = session.subscriptions.insert(name.clone(), subscription.clone()).is_some();
        let wants_retained = match options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => !existed,
            RetainHandling::Never => false,
        };
        // Shared subscriptions get no retained messages (4.8.2).
        if wants_retained && !shared {
            retained.extend(self.retained_for(&subscription));
        }
        Ok(code.unwrap_or(ReasonCode(granted.qos as u8)))
    }

    fn retained_for(&self, subscription: &Subscription) -> Vec<Outgoing> {
        let now = self.now;
        let fresh = |message: &&Message| message.expires_at.is_none_or(|at| at > now);
        self.retained
            .values()
            .filter(|message| subscription.filter.matches(message.topic.as_str()))
            .filter(fresh)
            .map(|message| Outgoing {
                message: message.clone(),
                qos: subscription.options.qos.min(message.qos),
                retain: true,
                ids: subscription.id.into_iter().collect(),
            })
            .collect()
    }

    pub(super) fn on_unsubscribe(&mut self, id: ConnectionId, packet: Unsubscribe) -> Result<(), Fault> {
        let Some(client) = self.connections.get(&id).map(|c| c.client.clone()) else { return Ok(()) };
        let packet_id = packet.packet_id;
        let free = self.take_id(id, packet_id, "UNSUBSCRIBE");
        let mut reasons = Vec::with_capacity(packet.filters.len());
        for name in &packet.filters {
            let code = Answer::for_filter(&mut self.manners.unsuback, name.as_str());
            let session = self.sessions.get_mut(&client);
            reasons.push(match (free, code) {
                (false, _) => ReasonCode::PACKET_IDENTIFIER_IN_USE,
                (true, Some(code)) if code.is_error() => code,
                _ if session.is_some_and(|s| s.subscriptions.remove(name).is_some()) => ReasonCode::SUCCESS,
                _ => ReasonCode::NO_SUBSCRIPTION_EXISTED,
            });
        }
        self.answer_request(id, packet_id, reasons, PacketKind::UnsubAck);
        Ok(())
    }

    /// Notes the id of a request; `false` when an exchange of the client still uses it.
    fn take_id(&mut self, id: ConnectionId, packet_id: PacketId, what: &str) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        let asked_twice = !connection.asked.insert(packet_id);
        let in_use = self.sessions.get(&connection.client).is_some_and(|s| s.uses(packet_id));
        if in_use && !asked_twice {
            connection.asked.remove(&packet_id);
        }
        if in_use || asked_twice {
            self.note(id, "MQTT-2.2.1-3", format!("{what} takes id {packet_id}, which is in use"));
        }
        !in_use && !asked_twice
    }

    fn answer_request(
        &mut self,
        id: ConnectionId,
        packet_id: PacketId,
        reasons: Vec<ReasonCode>,
        kind: PacketKind,
    ) {
        if self.manners.loses(kind) {
            return;
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let v5 = Connection::is_v5(connection);
        connection.asked.remove(&packet_id);
        let suback = |reasons| SubAck { packet_id, properties: None, reasons };
        let packet = match kind {
            PacketKind::UnsubAck if !v5 => Packet::UnsubAck(suback(Vec::new())),
            PacketKind::UnsubAck => Packet::UnsubAck(suback(reasons)),
            _ => Packet::SubAck(suback(reasons)),
        };
        if connection.write(&packet) {
            self.mark_dirty(id);
        }
    }
}
