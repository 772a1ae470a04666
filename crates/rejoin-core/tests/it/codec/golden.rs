//! Golden bytes for every packet of both versions.

use std::num::NonZeroU16;

use bytes::{Bytes, BytesMut};
use rejoin_core::codec::packet::{
    Ack, Auth, ConnAck, ConnAckProperties, Connect, ConnectProperties, Disconnect, Packet, Publish,
    PublishProperties, Qos, ReasonProperties, RetainHandling, SubAck, Subscribe, SubscriptionOptions,
    Unsubscribe, Version, Will,
};
use rejoin_core::codec::reason::ReasonCode;
use rejoin_core::codec::{Decoded, Sender, encode, encode_publish_head, encoded_len, publish_len};
use rejoin_core::text::Text;
use rejoin_core::topic::PublishTopic;

use super::{decode, encoded, id, publish, text, wire};
use Sender::{Client, Server};
use Version::{V5, V311};

/// One packet as the standard has it written.
pub(super) struct Golden {
    pub(super) version: Version,
    pub(super) sender: Sender,
    pub(super) bytes: Vec<u8>,
    pub(super) packet: Packet,
}

fn row(version: Version, sender: Sender, notation: &str, packet: Packet) -> Golden {
    Golden { version, sender, bytes: wire(notation), packet }
}

pub(super) fn all() -> Vec<Golden> {
    let mut rows = v311_connection();
    rows.extend(v311_exchanges());
    rows.extend(v5_connection());
    rows.extend(v5_goodbyes());
    rows.extend(v5_messages());
    rows.extend(v5_subscriptions());
    rows
}

fn users(name: &str, value: &str) -> Vec<(Text, Text)> {
    vec![(text(name), text(value))]
}

fn connect(version: Version, client_id: &str) -> Connect {
    Connect {
        version,
        clean_start: true,
        keep_alive: 60,
        client_id: text(client_id),
        will: None,
        user_name: None,
        password: None,
        properties: ConnectProperties::default(),
    }
}

fn connack(session_present: bool, reason: u8) -> ConnAck {
    ConnAck {
        session_present,
        reason: ReasonCode(reason),
        v311_form: false,
        properties: ConnAckProperties::default(),
    }
}

fn suback(packet_id: u16, reasons: &[u8]) -> SubAck {
    SubAck {
        packet_id: id(packet_id),
        properties: None,
        reasons: reasons.iter().map(|code| ReasonCode(*code)).collect(),
    }
}

fn qos(qos: Qos) -> SubscriptionOptions {
    SubscriptionOptions { qos, ..SubscriptionOptions::default() }
}

fn subscribe(packet_id: u16, filters: Vec<(Text, SubscriptionOptions)>) -> Subscribe {
    Subscribe { packet_id: id(packet_id), subscription_id: None, user_properties: Vec::new(), filters }
}

fn unsubscribe(packet_id: u16, filters: &[&str]) -> Unsubscribe {
    Unsubscribe {
        packet_id: id(packet_id),
        user_properties: Vec::new(),
        filters: filters.iter().map(|filter| text(filter)).collect(),
    }
}

fn success(packet_id: u16) -> Ack {
    Ack::new(id(packet_id), ReasonCode::SUCCESS)
}

fn v311_connection() -> Vec<Golden> {
    let will = Will {
        topic: text("w/t"),
        payload: Bytes::from_static(b"bye"),
        qos: Qos::AtLeastOnce,
        retain: true,
        delay: None,
        properties: PublishProperties::default(),
    };
    let full = Connect {
        will: Some(will),
        user_name: Some(text("u")),
        password: Some(Bytes::from_static(b"pw")),
        ..connect(V311, "c")
    };
    vec![
        // [MQTT-3.1.2-1] [MQTT-3.1.2-3] [MQTT-3.1.2-11] [MQTT-3.1.2-13] [MQTT-3.1.2-16] [MQTT-3.1.2-18] [MQTT-3.1.3-3]
        row(
            V311,
            Client,
            "10 10 0004'MQTT' 04 02 003C 0004'rj-1'",
            Packet::Connect(connect(V311, "rj-1").into()),
        ),
        // [MQTT311-3.1.3-7]: an empty identifier goes with clean session.
        row(V311, Client, "10 0C 0004'MQTT' 04 02 003C 0000", Packet::Connect(connect(V311, "").into())),
        // [MQTT-3.1.3-1] [MQTT-3.1.2-9] [MQTT-3.1.2-17] [MQTT-3.1.2-19]
        row(
            V311,
            Client,
            "10 1E 0004'MQTT' 04 EE 003C 0001'c' 0003'w/t' 0003'bye' 0001'u' 0002'pw'",
            Packet::Connect(full.into()),
        ),
        row(V311, Server, "20 02 00 00", Packet::ConnAck(connack(false, 0).into())),
        row(V311, Server, "20 02 01 00", Packet::ConnAck(connack(true, 0).into())),
        // The return codes in the words of 5.0 [u311-3.2.2.3] [MQTT-3.1.2-2].
        row(V311, Server, "20 02 00 01", Packet::ConnAck(connack(false, 0x84).into())),
        row(V311, Server, "20 02 00 02", Packet::ConnAck(connack(false, 0x85).into())),
        row(V311, Server, "20 02 00 03", Packet::ConnAck(connack(false, 0x88).into())),
        row(V311, Server, "20 02 00 04", Packet::ConnAck(connack(false, 0x86).into())),
        row(V311, Server, "20 02 00 05", Packet::ConnAck(connack(false, 0x87).into())),
        row(V311, Client, "C0 00", Packet::PingReq),
        row(V311, Server, "D0 00", Packet::PingResp),
        // [MQTT311-3.14.1-1]
        row(V311, Client, "E0 00", Packet::Disconnect(Disconnect::new(ReasonCode::SUCCESS))),
    ]
}

fn v311_exchanges() -> Vec<Golden> {
    let filters = vec![(text("a/b"), qos(Qos::AtLeastOnce)), (text("c/#"), qos(Qos::ExactlyOnce))];
    vec![
        row(V311, Server, "30 08 0003'a/b' 'hey'", Packet::Publish(publish(Qos::AtMostOnce, None, "hey"))),
        row(
            V311,
            Client,
            "3B 0A 0003'a/b' 000A 'hey'",
            Packet::Publish(Publish {
                dup: true,
                retain: true,
                ..publish(Qos::AtLeastOnce, Some(10), "hey")
            }),
        ),
        row(
            V311,
            Server,
            "34 07 0003'a/b' FFFF",
            Packet::Publish(publish(Qos::ExactlyOnce, Some(65_535), "")),
        ),
        row(V311, Server, "40 02 0001", Packet::PubAck(success(1))),
        row(V311, Server, "50 02 0001", Packet::PubRec(success(1))),
        // [MQTT-3.6.1-1]
        row(V311, Client, "62 02 0001", Packet::PubRel(success(1))),
        row(V311, Server, "70 02 0100", Packet::PubComp(success(256))),
        // [MQTT-3.8.1-1]
        row(V311, Client, "82 0E 000A 0003'a/b' 01 0003'c/#' 02", Packet::Subscribe(subscribe(10, filters))),
        row(V311, Server, "90 06 000A 00 01 02 80", Packet::SubAck(suback(10, &[0, 1, 2, 0x80]))),
        // [MQTT-3.10.1-1]
        row(
            V311,
            Client,
            "A2 0A 000A 0003'a/b' 0001'#'",
            Packet::Unsubscribe(unsubscribe(10, &["a/b", "#"])),
        ),
        row(V311, Server, "B0 02 000A", Packet::UnsubAck(suback(10, &[]))),
    ]
}

fn full_v5_connect() -> Connect {
    let message = PublishProperties {
        payload_is_utf8: Some(true),
        message_expiry: Some(60),
        response_topic: Some(text("r")),
        correlation_data: Some(Bytes::from_static(&[7])),
        user_properties: users("a", "b"),
        content_type: Some(text("t")),
        ..PublishProperties::default()
    };
    Connect {
        clean_start: false,
        will: Some(Will {
            topic: text("w/t"),
            payload: Bytes::from_static(b"bye"),
            qos: Qos::ExactlyOnce,
            retain: false,
            delay: Some(5),
            properties: message,
        }),
        user_name: Some(text("u")),
        password: Some(Bytes::from_static(b"pw")),
        properties: ConnectProperties {
            session_expiry: Some(10),
            receive_maximum: NonZeroU16::new(20),
            maximum_packet_size: Some(4096),
            topic_alias_maximum: Some(10),
            request_response_information: Some(true),
            request_problem_information: Some(false),
            authentication_method: Some(text("m")),
            authentication_data: Some(Bytes::from_static(&[0xDE, 0xAD])),
            user_properties: users("k", "v"),
        },
        ..connect(V5, "c")
    }
}

fn full_v5_connack() -> ConnAck {
    ConnAck {
        properties: ConnAckProperties {
            session_expiry: Some(10),
            receive_maximum: NonZeroU16::new(20),
            maximum_qos: Some(Qos::AtLeastOnce),
            retain_available: Some(false),
            maximum_packet_size: Some(4096),
            assigned_client_id: Some(text("id")),
            topic_alias_maximum: Some(10),
            reason_string: Some(text("s")),
            user_properties: users("k", "v"),
            wildcard_available: Some(false),
            subscription_ids_available: Some(true),
            shared_available: Some(false),
            server_keep_alive: Some(30),
            response_information: Some(text("i")),
            server_reference: Some(text("h")),
            authentication_method: Some(text("m")),
            authentication_data: Some(Bytes::from_static(&[1])),
        },
        ..connack(false, 0)
    }
}

fn v5_connection() -> Vec<Golden> {
    let password_alone = Connect { password: Some(Bytes::from_static(b"pw")), ..connect(V5, "") };
    let old_broker = ConnAck { v311_form: true, ..connack(false, 0x84) };
    vec![
        // [MQTT-2.2.2-1]
        row(
            V5,
            Client,
            "10 11 0004'MQTT' 05 02 003C 00 0004'rj-1'",
            Packet::Connect(connect(V5, "rj-1").into()),
        ),
        // [MQTT-3.1.2-19]: a password alone is legal here.
        row(
            V5,
            Client,
            "10 11 0004'MQTT' 05 42 003C 00 0000 0002'pw'",
            Packet::Connect(password_alone.into()),
        ),
        // [MQTT-3.1.3-1]
        row(
            V5,
            Client,
            "10 63 0004'MQTT' 05 D4 003C \
             24 11 0000000A 21 0014 27 00001000 22 000A 19 01 17 00 15 0001'm' 16 0002 DEAD 26 0001'k'0001'v' \
             0001'c' 1F 18 00000005 01 01 02 0000003C 08 0001'r' 09 0001 07 26 0001'a'0001'b' 03 0001't' \
             0003'w/t' 0003'bye' 0001'u' 0002'pw'",
            Packet::Connect(full_v5_connect().into()),
        ),
        row(V5, Server, "20 03 00 00 00", Packet::ConnAck(connack(false, 0).into())),
        row(V5, Server, "20 03 01 00 00", Packet::ConnAck(connack(true, 0).into())),
        row(V5, Server, "20 03 00 87 00", Packet::ConnAck(connack(false, 0x87).into())),
        // A refusal from a broker newer than this client is still a refusal.
        row(V5, Server, "20 03 00 EE 00", Packet::ConnAck(connack(false, 0xEE).into())),
        row(V5, Server, "20 02 00 01", Packet::ConnAck(old_broker.into())),
        row(
            V5,
            Server,
            "20 40 00 00 3D 11 0000000A 21 0014 24 01 25 00 27 00001000 12 0002'id' 22 000A 1F 0001's' \
             26 0001'k'0001'v' 28 00 29 01 2A 00 13 001E 1A 0001'i' 1C 0001'h' 15 0001'm' 16 0001 01",
            Packet::ConnAck(full_v5_connack().into()),
        ),
    ]
}

fn v5_goodbyes() -> Vec<Golden> {
    let with_reason = |reason| Packet::Disconnect(Disconnect::new(ReasonCode(reason)));
    let auth = |reason, data: Option<&'static [u8]>| {
        let data = data.map(Bytes::from_static);
        Packet::Auth(Auth { reason: ReasonCode(reason), method: Some(text("m")), data, properties: None })
    };
    let moved = Disconnect {
        server_reference: Some(text("h")),
        properties: Some(Box::new(ReasonProperties {
            reason_string: Some(text("s")),
            user_properties: users("k", "v"),
        })),
        ..Disconnect::new(ReasonCode::SERVER_MOVED)
    };
    let expiring = Disconnect { session_expiry: Some(60), ..Disconnect::new(ReasonCode::SUCCESS) };
    vec![
        row(V5, Client, "C0 00", Packet::PingReq),
        row(V5, Server, "D0 00", Packet::PingResp),
        // [u5-3.14.2.1]
        row(V5, Client, "E0 00", with_reason(0)),
        row(V5, Server, "E0 00", with_reason(0)),
        row(V5, Client, "E0 01 04", with_reason(0x04)),
        row(V5, Server, "E0 01 8E", with_reason(0x8E)),
        row(V5, Client, "E0 07 00 05 11 0000003C", Packet::Disconnect(expiring)),
        row(V5, Server, "E0 11 9D 0F 1C 0001'h' 1F 0001's' 26 0001'k'0001'v'", Packet::Disconnect(moved)),
        // [u5-3.15.2.1]
        row(
            V5,
            Server,
            "F0 00",
            Packet::Auth(Auth { reason: ReasonCode::SUCCESS, method: None, data: None, properties: None }),
        ),
        row(V5, Server, "F0 0B 18 09 15 0001'm' 16 0002 0102", auth(0x18, Some(&[1, 2]))),
        row(V5, Client, "F0 06 19 04 15 0001'm'", auth(0x19, None)),
    ]
}

fn v5_messages() -> Vec<Golden> {
    let full = PublishProperties {
        payload_is_utf8: Some(true),
        message_expiry: Some(60),
        topic_alias: NonZeroU16::new(7),
        response_topic: Some(text("r")),
        correlation_data: Some(Bytes::from_static(&[1, 2])),
        user_properties: users("k", "v"),
        subscription_ids: vec![1, 268_435_455],
        content_type: Some(text("t")),
    };
    let aliased = PublishProperties { topic_alias: NonZeroU16::new(1), ..PublishProperties::default() };
    let reason = |reason, properties| Ack { packet_id: id(1), reason: ReasonCode(reason), properties };
    let full_queue = ReasonProperties { reason_string: Some(text("full")), user_properties: Vec::new() };
    let noted = ReasonProperties { reason_string: None, user_properties: users("k", "v") };
    vec![
        row(V5, Client, "30 09 0003'a/b' 00 'hey'", Packet::Publish(publish(Qos::AtMostOnce, None, "hey"))),
        row(
            V5,
            Server,
            "32 0B 0003'a/b' 0001 00 'hey'",
            Packet::Publish(publish(Qos::AtLeastOnce, Some(1), "hey")),
        ),
        row(
            V5,
            Server,
            "33 30 0003'a/b' 0009 25 01 01 02 0000003C 23 0007 08 0001'r' 09 0002 0102 26 0001'k'0001'v' \
             0B 01 0B FFFFFF7F 03 0001't' 'hey'",
            Packet::Publish(Publish {
                retain: true,
                properties: Some(Box::new(full)),
                ..publish(Qos::AtLeastOnce, Some(9), "hey")
            }),
        ),
        // [u5-3.3.2.1]: an empty topic stands for its alias.
        row(
            V5,
            Client,
            "30 06 0000 03 23 0001",
            Packet::Publish(Publish {
                topic: PublishTopic::default(),
                properties: Some(Box::new(aliased)),
                ..publish(Qos::AtMostOnce, None, "")
            }),
        ),
        // [u5-3.4.2.1]: the three lengths of an acknowledgement.
        row(V5, Server, "40 02 0001", Packet::PubAck(success(1))),
        row(V5, Server, "40 03 0001 10", Packet::PubAck(reason(0x10, None))),
        row(
            V5,
            Server,
            "40 0B 0001 97 07 1F 0004'full'",
            Packet::PubAck(reason(0x97, Some(full_queue.into()))),
        ),
        row(V5, Client, "50 0B 0001 00 07 26 0001'k'0001'v'", Packet::PubRec(reason(0, Some(noted.into())))),
        row(V5, Server, "50 03 0001 87", Packet::PubRec(reason(0x87, None))),
        row(V5, Client, "62 03 0001 92", Packet::PubRel(reason(0x92, None))),
        row(V5, Server, "62 02 0001", Packet::PubRel(success(1))),
        row(V5, Server, "70 03 0001 92", Packet::PubComp(reason(0x92, None))),
    ]
}

fn v5_subscriptions() -> Vec<Golden> {
    let options = SubscriptionOptions {
        qos: Qos::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::Never,
    };
    let new_only =
        SubscriptionOptions { retain_handling: RetainHandling::SendIfNew, ..qos(Qos::AtLeastOnce) };
    let filters = vec![(text("a/b"), options), (text("$share/g/t"), new_only)];
    let refused = SubAck {
        properties: Some(Box::new(ReasonProperties {
            reason_string: Some(text("no")),
            user_properties: Vec::new(),
        })),
        ..suback(10, &[0x87])
    };
    vec![
        row(
            V5,
            Client,
            "82 18 000A 02 0B 05 0003'a/b' 2E 000A'$share/g/t' 11",
            Packet::Subscribe(Subscribe { subscription_id: Some(5), ..subscribe(10, filters) }),
        ),
        row(
            V5,
            Client,
            "82 0E 000A 07 26 0001'k'0001'v' 0001'#' 00",
            Packet::Subscribe(Subscribe {
                user_properties: users("k", "v"),
                ..subscribe(10, vec![(text("#"), SubscriptionOptions::default())])
            }),
        ),
        row(V5, Server, "90 06 000A 00 00 02 A2", Packet::SubAck(suback(10, &[0, 2, 0xA2]))),
        row(V5, Server, "90 09 000A 05 1F 0002'no' 87", Packet::SubAck(refused)),
        row(
            V5,
            Client,
            "A2 0F 000A 07 26 0001'k'0001'v' 0003'a/b'",
            Packet::Unsubscribe(Unsubscribe {
                user_properties: users("k", "v"),
                ..unsubscribe(10, &["a/b"])
            }),
        ),
        row(V5, Server, "B0 05 000A 00 00 11", Packet::UnsubAck(suback(10, &[0, 0x11]))),
    ]
}

#[test]
fn every_packet_reads_and_writes_as_the_standards_have_it() {
    for golden in all() {
        let Golden { version, sender, bytes, packet } = golden;
        let read = decode(version, sender, &bytes);
        assert_eq!(read, Ok(Some(Decoded::Packet(packet.clone()))), "{version} {bytes:02X?}");
        let mut out = BytesMut::from(&b"before"[..]);
        encode(&packet, version, &mut out).unwrap();
        assert_eq!(&out[6..], &bytes, "{version} {packet:?}");
        assert_eq!(encoded_len(&packet, version), bytes.len(), "{version} {packet:?}");
        if let Packet::Publish(publish) = &packet {
            assert_eq!(publish_len(publish, version), bytes.len());
            let mut head = BytesMut::new();
            encode_publish_head(publish, version, &mut head).unwrap();
            head.extend_from_slice(&publish.payload);
            assert_eq!(&head[..], &bytes, "head and payload are the packet");
        }
    }
}

#[test]
fn every_kind_of_packet_is_in_the_table() {
    let rows = all();
    for version in [V311, V5] {
        let mut kinds: Vec<u8> =
            rows.iter().filter(|r| r.version == version).map(|r| r.bytes[0] >> 4).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let last = if version == V5 { 15 } else { 14 };
        assert_eq!(kinds, (1..=last).collect::<Vec<_>>(), "{version}");
    }
}

#[test]
fn longer_forms_read_like_the_shortest() {
    for (version, sender, long, short) in [
        (V5, Server, "40 03 0001 00", "40 02 0001"),
        (V5, Server, "40 04 0001 00 00", "40 02 0001"),
        (V5, Server, "70 04 0001 92 00", "70 03 0001 92"),
        (V5, Client, "E0 01 00", "E0 00"),
        (V5, Client, "E0 02 04 00", "E0 01 04"),
        // 3.1.1 does not ask for the fewest bytes in the remaining length [u311-2.2.3].
        (V311, Client, "C0 80 00", "C0 00"),
        (V311, Server, "40 82 80 80 00 0001", "40 02 0001"),
        // Properties come in any order.
        (V5, Server, "20 0B 00 00 08 22 000A 11 0000000A", "20 0B 00 00 08 11 0000000A 22 000A"),
    ] {
        let long = decode(version, sender, &wire(long)).unwrap();
        assert!(long.is_some());
        assert_eq!(long, decode(version, sender, &wire(short)).unwrap());
    }
}

#[test]
fn remaining_lengths_turn_over_where_table_2_4_says() {
    for (payload, header) in [
        (123, "30 7F"),
        (124, "30 80 01"),
        (16_379, "30 FF 7F"),
        (16_380, "30 80 80 01"),
        (2_097_147, "30 FF FF 7F"),
        (2_097_148, "30 80 80 80 01"),
    ] {
        let packet = Packet::Publish(Publish {
            payload: vec![7; payload].into(),
            topic: PublishTopic::from_static("ab"),
            ..publish(Qos::AtMostOnce, None, "")
        });
        let bytes = encoded(&packet, V311);
        let header = wire(header);
        assert_eq!(&bytes[..header.len()], &header[..], "[MQTT-1.5.5-1]");
        assert_eq!(bytes.len(), header.len() + 4 + payload);
        assert_eq!(decode(V311, Server, &bytes), Ok(Some(Decoded::Packet(packet))));
    }
}

#[test]
fn a_byte_order_mark_stays() {
    // [MQTT-1.5.4-3]; [MQTT311-1.5.3-3]
    for version in [V311, V5] {
        let bytes =
            if version == V5 { wire("30 07 0004 EFBBBF'x' 00") } else { wire("30 06 0004 EFBBBF'x'") };
        let Ok(Some(Decoded::Packet(Packet::Publish(publish)))) = decode(version, Server, &bytes) else {
            panic!("{version}: not read");
        };
        assert_eq!(publish.topic.as_str(), "\u{FEFF}x");
    }
}

#[test]
fn what_3_1_1_has_no_field_for_is_left_out() {
    let properties = PublishProperties { content_type: Some(text("t")), ..PublishProperties::default() };
    let message = Publish { properties: Some(properties.into()), ..publish(Qos::AtMostOnce, None, "hey") };
    assert_eq!(encoded(&Packet::Publish(message), V311), wire("30 08 0003'a/b' 'hey'"));
    let large =
        PublishProperties { correlation_data: Some(vec![0; 70_000].into()), ..PublishProperties::default() };
    let will = Will {
        topic: text("w"),
        payload: Bytes::new(),
        qos: Qos::AtMostOnce,
        retain: false,
        delay: Some(5),
        properties: large,
    };
    let willed = Connect { will: Some(will), ..connect(V311, "") };
    assert_eq!(
        encoded(&Packet::Connect(willed.into()), V311),
        wire("10 11 0004'MQTT' 04 06 003C 0000 0001'w' 0000")
    );
    let no_local = SubscriptionOptions { no_local: true, retain_as_published: true, ..qos(Qos::AtLeastOnce) };
    let wish = Subscribe { subscription_id: Some(3), ..subscribe(1, vec![(text("#"), no_local)]) };
    assert_eq!(encoded(&Packet::Subscribe(wish), V311), wire("82 06 0001 0001'#' 01"));
    let noted = ReasonProperties { reason_string: Some(text("s")), user_properties: Vec::new() };
    let ack = Ack { properties: Some(noted.into()), ..Ack::new(id(1), ReasonCode::NO_MATCHING_SUBSCRIBERS) };
    assert_eq!(encoded(&Packet::PubAck(ack), V311), wire("40 02 0001"));
    // 3.1.1 knows one failure of a subscription [MQTT311-3.9.3-2].
    assert_eq!(encoded(&Packet::SubAck(suback(1, &[1, 0x87])), V311), wire("90 04 0001 01 80"));
    assert_eq!(encoded(&Packet::UnsubAck(suback(1, &[0x11])), V311), wire("B0 02 0001"));
}

#[test]
fn reserved_return_codes_of_3_1_1_are_never_success() {
    for code in 6..=255 {
        let Ok(Some(Decoded::Packet(Packet::ConnAck(connack)))) = decode(V311, Server, &[0x20, 2, 0, code])
        else {
            panic!("return code {code} not read");
        };
        assert_eq!(connack.reason, ReasonCode(code), "[u311-3.2.2.3]");
        assert_ne!(connack.reason, ReasonCode::SUCCESS);
    }
}
