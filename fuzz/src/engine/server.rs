//! What a server says: well-formed packets, in any order and with any answer.

use std::num::NonZeroU16;

use bytes::{Bytes, BytesMut};
use rejoin_core::codec::encode;
use rejoin_core::codec::packet::{
    Ack, Auth, ConnAck, ConnAckProperties, Disconnect, Packet, PacketId, Publish, SubAck,
};
use rejoin_core::{Input, PublishTopic, Qos, ReasonCode, Text, Version};

use super::{Choices, World, drawn};

impl World {
    pub(super) fn greet(&mut self, choices: &mut Choices<'_>) {
        let mut properties = ConnAckProperties::default();
        if self.version == Version::V5 {
            let limits = choices.byte();
            properties.receive_maximum = NonZeroU16::new(u16::from(limits & 3));
            properties.topic_alias_maximum = (limits & 4 == 4).then_some(2);
            properties.maximum_qos = (limits & 8 == 8).then_some(Qos::AtLeastOnce);
            properties.server_keep_alive = (limits & 16 == 16).then_some(u16::from(choices.byte()));
            let asked = self.engine.config().authentication.is_some();
            properties.authentication_method = (asked && limits & 64 == 0).then_some(Text::from_static("m"));
        }
        let reason = if choices.byte() < 200 { ReasonCode::SUCCESS } else { drawn::code(choices) };
        let connack = ConnAck { session_present: choices.flag(), reason, v311_form: false, properties };
        self.packet(&Packet::ConnAck(Box::new(connack)));
    }

    pub(super) fn receive(&mut self, choices: &mut Choices<'_>) {
        let id = packet_id(choices);
        let ack = Ack { packet_id: id, reason: drawn::code(choices), properties: None };
        let packet = match choices.byte() % 10 {
            0 | 1 => Packet::PubAck(ack),
            2 => Packet::PubRec(ack),
            3 => Packet::PubRel(ack),
            4 => Packet::PubComp(ack),
            5 | 6 => {
                let qos = drawn::qos(choices.byte());
                Packet::Publish(Publish {
                    dup: choices.flag() && qos != Qos::AtMostOnce,
                    qos,
                    retain: false,
                    topic: drawn::topic(choices).into(),
                    packet_id: (qos != Qos::AtMostOnce).then_some(id),
                    properties: None,
                    payload: choices.bytes(30),
                })
            }
            7 => Packet::SubAck(SubAck { packet_id: id, reasons: vec![ack.reason], properties: None }),
            8 => Packet::PingResp,
            _ => Packet::Disconnect(Disconnect::new(ack.reason)),
        };
        self.packet(&packet);
    }

    /// Packets with all their fields, also several in one chunk.
    pub(super) fn receive_full(&mut self, choices: &mut Choices<'_>) {
        let mut out = BytesMut::new();
        for _ in 0..4 {
            let choice = choices.byte();
            let version = if choice % 16 == 15 { Version::V311 } else { self.version };
            // What does not exist in this version is not said.
            let _ = encode(&full(choice, choices), version, &mut out);
            if choice < 192 {
                break;
            }
        }
        if !out.is_empty() {
            self.input(Input::Received(out.freeze()));
        }
    }

    fn packet(&mut self, packet: &Packet) {
        let mut out = BytesMut::new();
        if encode(packet, self.version, &mut out).is_ok() {
            self.input(Input::Received(out.freeze()));
        }
    }
}

fn packet_id(choices: &mut Choices<'_>) -> PacketId {
    PacketId::new(u16::from(choices.byte() % 8)).unwrap_or(PacketId::MIN)
}

fn full(choice: u8, choices: &mut Choices<'_>) -> Packet {
    match choice % 16 {
        0 | 1 => Packet::Auth(auth(choices)),
        2 | 3 => Packet::UnsubAck(answers(choices)),
        4 => Packet::SubAck(answers(choices)),
        5..=8 => Packet::Publish(publish(choices)),
        9 => Packet::PubAck(ack(choices)),
        10 => Packet::PubRec(ack(choices)),
        11 => Packet::PubRel(ack(choices)),
        12 => Packet::Disconnect(disconnect(choices)),
        _ => Packet::ConnAck(Box::new(connack(choices))),
    }
}

fn auth(choices: &mut Choices<'_>) -> Auth {
    let (reason, method) = match choices.byte() {
        0..128 => (ReasonCode::CONTINUE_AUTHENTICATION, "m"),
        128..224 => (ReasonCode::SUCCESS, "m"),
        224..240 => (ReasonCode::REAUTHENTICATE, "m"),
        _ => (ReasonCode::CONTINUE_AUTHENTICATION, "another"),
    };
    let (data, properties) = (drawn::data(choices), drawn::reason(choices));
    Auth { reason, method: Some(Text::from_static(method)), data, properties }
}

fn ack(choices: &mut Choices<'_>) -> Ack {
    Ack { packet_id: packet_id(choices), reason: drawn::code(choices), properties: drawn::reason(choices) }
}

fn answers(choices: &mut Choices<'_>) -> SubAck {
    let Ack { packet_id, reason, properties } = ack(choices);
    let more = choices.byte() % 4;
    let reasons = std::iter::once(reason).chain((0..more).map(|_| drawn::code(choices))).collect();
    SubAck { packet_id, properties, reasons }
}

fn publish(choices: &mut Choices<'_>) -> Publish {
    let how = choices.byte();
    let qos = drawn::qos(how);
    let topic = if how & 64 == 64 { PublishTopic::default() } else { drawn::topic(choices).into() };
    // More than we said we take, now and then.
    let payload = if how >= 250 { Bytes::from(vec![0; 100]) } else { choices.bytes(30) };
    Publish {
        dup: how & 16 == 16 && qos != Qos::AtMostOnce,
        qos,
        retain: how & 32 == 32,
        topic,
        packet_id: (qos != Qos::AtMostOnce).then(|| packet_id(choices)),
        properties: Some(Box::new(drawn::properties(choices))),
        payload,
    }
}

fn disconnect(choices: &mut Choices<'_>) -> Disconnect {
    Disconnect {
        reason: drawn::any_code(usize::from(choices.byte())),
        session_expiry: None,
        server_reference: choices.flag().then(|| drawn::text(choices)),
        properties: drawn::reason(choices),
    }
}

fn connack(choices: &mut Choices<'_>) -> ConnAck {
    let (how, offers) = (choices.byte(), choices.byte());
    let is = |bit: u8| offers & bit == bit;
    let reason =
        if how & 1 == 1 { drawn::any_code(usize::from(choices.byte())) } else { ReasonCode::SUCCESS };
    let properties = ConnAckProperties {
        session_expiry: is(1).then(|| choices.number()),
        receive_maximum: if is(2) { NonZeroU16::new(u16::from(choices.byte())) } else { None },
        maximum_qos: is(4).then(|| drawn::qos(choices.byte() % 2)),
        retain_available: is(8).then_some(false),
        maximum_packet_size: is(16).then(|| choices.number()),
        assigned_client_id: (how & 4 == 4).then(|| drawn::text(choices)),
        topic_alias_maximum: is(32).then(|| u16::from(choices.byte() % 4)),
        reason_string: (how & 8 == 8).then(|| drawn::text(choices)),
        user_properties: Vec::new(),
        wildcard_available: is(64).then_some(false),
        subscription_ids_available: is(64).then_some(how & 128 == 128),
        shared_available: is(128).then_some(false),
        server_keep_alive: (how & 16 == 16).then(|| u16::from(choices.byte())),
        response_information: None,
        server_reference: (how & 32 == 32).then(|| drawn::text(choices)),
        authentication_method: (how & 64 == 64).then_some(Text::from_static("m")),
        authentication_data: if how & 64 == 64 { drawn::data(choices) } else { None },
    };
    let session_present = how & 2 == 2 && reason == ReasonCode::SUCCESS;
    ConnAck { session_present, reason, v311_form: false, properties }
}
