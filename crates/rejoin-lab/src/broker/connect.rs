//! CONNECT and DISCONNECT: who may come in, with which session, and how one leaves.

use std::num::NonZeroU16;
use std::time::Duration;

use bytes::Bytes;
use rejoin_core::codec::packet::{
    ConnAck, ConnAckProperties, Connect, Disconnect, Packet, Qos, Version, Will,
};
use rejoin_core::codec::reason::ReasonCode;
use rejoin_core::text::Text;
use rejoin_core::time::Timestamp;

use super::connection::Phase;
use super::session::{Memory, Message, Session};
use super::violation::Fault;
use super::{Address, Broker, ConnectionId, LedgerEntry};
use crate::wire::{Ending, Times};

/// What a CONNECT leads to besides a session.
struct Welcome {
    /// The name of the session.
    client: Text,
    /// The client id, where the client left it to us.
    assigned: Option<Text>,
    expiry: u32,
    keep_alive: u16,
    present: bool,
}

impl Broker {
    pub(super) fn on_connect(&mut self, id: ConnectionId, connect: Box<Connect>) -> Result<(), Fault> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        if connection.phase != Phase::Fresh {
            let detail = "a second CONNECT on one connection".into();
            return Err(Fault::fatal("MQTT-3.1.0-2", ReasonCode::PROTOCOL_ERROR, detail));
        }
        connection.version = connect.version;
        connection.expiry_was_zero = connect.properties.session_expiry.unwrap_or(0) == 0;
        if self.turns_away(id, &connect) {
            return Ok(());
        }
        if let Some((reason, fault)) = self.objection(&connect) {
            self.refuse(id, reason, None, None);
            return fault.map_or(Ok(()), Err);
        }
        if let Some(connect) = self.challenge(id, connect) {
            self.admit(id, &connect, None);
        }
        Ok(())
    }

    /// The client may come in; `proof` is what we prove to it.
    pub(super) fn admit(&mut self, id: ConnectionId, connect: &Connect, proof: Option<Bytes>) {
        let Some(connection) = self.connections.get(&id) else { return };
        let welcome = self.welcome(id, connection.address, connect);
        self.take_over(id, connect, &welcome);
        self.greet(id, connect, &welcome, proof);
    }

    /// The faults of the manners that end a connection at CONNECT.
    fn turns_away(&mut self, id: ConnectionId, connect: &Connect) -> bool {
        let v5 = connect.version == Version::V5;
        if self.manners.close_on_connect.take() || (v5 && self.manners.closes_on_v5) {
            self.cut(id, self.manners.ending);
            return true;
        }
        if v5 && self.manners.knows_only_v311 {
            self.send_raw(id, &[0x20, 0x02, 0x00, 0x01]);
            self.cut(id, Ending::Fin);
            return true;
        }
        if let Some(refusal) = &mut self.manners.refuse_connect
            && refusal.times.take()
        {
            let refusal = refusal.clone();
            self.refuse(id, refusal.reason, refusal.text, refusal.server_reference);
            return true;
        }
        false
    }

    /// Why a CONNECT cannot be accepted, and whether that is the client's fault.
    fn objection(&self, connect: &Connect) -> Option<(ReasonCode, Option<Fault>)> {
        let v5 = connect.version == Version::V5;
        if connect.client_id.is_empty() && !v5 && !connect.clean_start {
            let detail = "an empty client id without Clean Session".to_owned();
            let reason = ReasonCode::CLIENT_IDENTIFIER_NOT_VALID;
            return Some((reason, Some(Fault::noted("MQTT-3.1.3-8", detail))));
        }
        if self.has_no_method_for(connect) {
            return Some((ReasonCode::BAD_AUTHENTICATION_METHOD, None));
        }
        if let Some((user, password)) = &self.manners.credentials {
            let right = connect.user_name.as_ref().is_some_and(|name| name.as_str() == user)
                && connect.password.as_deref() == Some(password.as_bytes());
            if !right {
                return Some((ReasonCode::BAD_USER_NAME_OR_PASSWORD, None));
            }
        }
        let will = connect.will.as_ref()?;
        // The client cannot have known the limits: no fault of its.
        if v5 && will.qos > self.manners.maximum_qos {
            return Some((ReasonCode::QOS_NOT_SUPPORTED, None));
        }
        if v5 && will.retain && !self.manners.retain_available {
            return Some((ReasonCode::RETAIN_NOT_SUPPORTED, None));
        }
        None
    }

    pub(super) fn refuse(
        &mut self,
        id: ConnectionId,
        reason: ReasonCode,
        text: Option<String>,
        other: Option<String>,
    ) {
        let as_text = |text: Option<String>| text.and_then(|text| Text::try_from(text).ok());
        let properties = ConnAckProperties {
            reason_string: as_text(text),
            server_reference: as_text(other),
            ..ConnAckProperties::default()
        };
        // [MQTT-3.2.2-6] [MQTT-3.2.2-7]
        let connack = ConnAck { session_present: false, reason, v311_form: false, properties };
        self.send(id, &Packet::ConnAck(Box::new(connack)));
        self.cut(id, Ending::Fin);
    }

    /// What the server makes of the client's wishes; ends the old session where it has to.
    fn welcome(&mut self, id: ConnectionId, address: Address, connect: &Connect) -> Welcome {
        let v5 = connect.version == Version::V5;
        let choose = || Text::try_from(format!("lab-{}", id.0)).unwrap_or_default();
        let assigned = connect.client_id.is_empty().then(choose);
        let client = address.session_name(assigned.as_ref().unwrap_or(&connect.client_id));
        let mut expiry = match (v5, connect.clean_start) {
            (true, _) => connect.properties.session_expiry.unwrap_or(0),
            (false, true) => 0,
            (false, false) => u32::MAX,
        };
        if v5 && let Some(most) = self.manners.session_expiry_maximum {
            expiry = expiry.min(most);
        }
        let keep_alive = self.manners.server_keep_alive.filter(|_| v5).unwrap_or(connect.keep_alive);
        self.end_predecessor(&client);
        if connect.clean_start
            && let Some(mut old) = self.drop_session(&client)
            && let Some((_, will)) = old.will.take()
        {
            // The session ends, so its will is due [MQTT-3.1.2-8].
            self.publish_will(will);
        }
        let present = self.sessions.contains_key(&client);
        Welcome { client, assigned, expiry, keep_alive, present }
    }

    /// An older connection with this client id is closed [MQTT-3.1.4-3].
    fn end_predecessor(&mut self, client: &Text) {
        if let Some(old) = self.sessions.get(client).and_then(|session| session.connection) {
            self.disconnect(old, ReasonCode::SESSION_TAKEN_OVER);
        }
    }

    /// Ties the connection to its session.
    fn take_over(&mut self, id: ConnectionId, connect: &Connect, welcome: &Welcome) {
        if !welcome.present {
            self.last_session += 1;
            let number = self.last_session;
            self.sessions.insert(welcome.client.clone(), Session::new(number));
            let client = welcome.client.clone();
            self.write_ledger(|| LedgerEntry::SessionStarted { client, session: number });
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(session) = self.sessions.get_mut(&welcome.client) else { return };
        session.connection = Some(id);
        session.expiry = welcome.expiry;
        session.expires_at = None;
        session.will = None;
        connection.phase = Phase::Up;
        connection.client = welcome.client.clone();
        connection.keep_alive = Duration::from_secs(u64::from(welcome.keep_alive));
        connection.will = connect.will.as_ref().map(|will| will_message(will, &welcome.client));
        if connect.version == Version::V5 {
            let wishes = &connect.properties;
            connection.window_in = self.manners.receive_maximum.unwrap_or(u16::MAX);
            connection.alias_maximum_in = self.manners.topic_alias_maximum;
            connection.window_out = wishes.receive_maximum.map_or(u16::MAX, NonZeroU16::get);
            connection.packet_maximum_out =
                wishes.maximum_packet_size.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
            if self.manners.uses_topic_aliases {
                connection.alias_maximum_out = wishes.topic_alias_maximum.unwrap_or(0);
            }
        }
        connection.quota = connection.window_out;
        connection.sends_again_at =
            self.manners.sends_again_after.map_or(Timestamp::NEVER, |after| self.now + after);
        connection.to_resend = session.inflight.iter().map(|entry| entry.id).collect();
        self.deadline_moved = true;
    }

    /// Sends CONNACK and what the session has waiting.
    fn greet(&mut self, id: ConnectionId, connect: &Connect, welcome: &Welcome, proof: Option<Bytes>) {
        if std::mem::take(&mut self.manners.losses_end_at_connect) {
            self.manners.lost.clear();
        }
        let claims = !welcome.present && !connect.clean_start && self.manners.claim_session_present.take();
        let session_present = welcome.present || claims;
        let packet = ConnAck {
            session_present,
            reason: ReasonCode::SUCCESS,
            v311_form: false,
            properties: ConnAckProperties {
                // [MQTT-4.12.0-5]
                authentication_method: connect.properties.authentication_method.clone(),
                authentication_data: proof,
                ..self.announcement(connect, welcome)
            },
        };
        if !self.manners.withhold_connack.take() {
            self.counters.connected += 1;
            self.counters.resumed += u64::from(session_present);
            self.send(id, &Packet::ConnAck(Box::new(packet)));
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.acknowledged = true;
                connection.resumed = session_present;
                connection.arrivals_before = self.last_arrival;
            }
        }
        self.counters.claimed += u64::from(claims);
        if claims && let Some(session) = self.sessions.get_mut(&welcome.client) {
            session.memory = Memory::Doubtful;
        }
        if self.manners.close_after_connack != Times::Never && self.manners.close_after_connack.take() {
            if self.manners.close_after.is_zero() {
                self.cut(id, self.manners.ending);
            } else if let Some(connection) = self.connections.get_mut(&id) {
                connection.close_at = Some(self.now + self.manners.close_after);
            }
        }
        self.pump(&welcome.client);
    }

    fn announcement(&self, connect: &Connect, welcome: &Welcome) -> ConnAckProperties {
        if connect.version != Version::V5 {
            return ConnAckProperties::default();
        }
        let manners = &self.manners;
        let wished = connect.properties.session_expiry.unwrap_or(0);
        let denied = |available: bool| (!available).then_some(false);
        ConnAckProperties {
            session_expiry: (wished != welcome.expiry).then_some(welcome.expiry),
            receive_maximum: manners.receive_maximum.and_then(NonZeroU16::new),
            maximum_qos: (manners.maximum_qos != Qos::ExactlyOnce).then_some(manners.maximum_qos),
            retain_available: denied(manners.retain_available),
            maximum_packet_size: manners.maximum_packet_size,
            assigned_client_id: welcome.assigned.clone(),
            topic_alias_maximum: (manners.topic_alias_maximum > 0).then_some(manners.topic_alias_maximum),
            wildcard_available: denied(manners.wildcard_available),
            subscription_ids_available: denied(manners.subscription_ids_available),
            shared_available: denied(manners.shared_available),
            server_keep_alive: manners.server_keep_alive,
            ..ConnAckProperties::default()
        }
    }

    pub(super) fn on_disconnect(&mut self, id: ConnectionId, packet: &Disconnect) -> Result<(), Fault> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        if let Some(expiry) = packet.session_expiry {
            if expiry > 0 && connection.expiry_was_zero {
                let detail = "a Session Expiry Interval in DISCONNECT though CONNECT had none".into();
                return Err(Fault::fatal("u5-3.14.2.2.2", ReasonCode::PROTOCOL_ERROR, detail));
            }
            if let Some(session) = self.sessions.get_mut(&connection.client) {
                session.expiry = expiry;
            }
        }
        // Only an ordinary DISCONNECT takes the will back [MQTT-3.1.2-10].
        let keeps_will = packet.reason != ReasonCode::SUCCESS;
        self.end(id, keeps_will);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.ending = Some(Ending::Fin);
            connection.said_goodbye = true;
        }
        self.mark_dirty(id);
        Ok(())
    }
}

fn will_message(will: &Will, client: &Text) -> (Message, Duration) {
    let properties = &will.properties;
    let delay = Duration::from_secs(u64::from(will.delay.unwrap_or(0)));
    let message = Message {
        // The topic of a will that was read has no wildcard.
        topic: will.topic.clone().try_into().unwrap_or_default(),
        payload: Bytes::clone(&will.payload),
        qos: will.qos,
        retain: will.retain,
        properties: (!properties.is_empty()).then(|| Box::new(properties.clone())),
        // It begins to count when the message is published.
        expires_at: None,
        from: client.clone(),
    };
    (message, delay)
}
