//! What must not be written: refused by name, and nothing is appended.

use bytes::{Bytes, BytesMut};
use rejoin_core::codec::packet::{
    Ack, Auth, ConnAck, ConnAckProperties, Connect, ConnectProperties, Disconnect, Packet, Publish,
    PublishProperties, Qos, SubAck, Subscribe, SubscriptionOptions, Unsubscribe, Version, Will,
};
use rejoin_core::codec::reason::ReasonCode;
use rejoin_core::codec::{EncodeError, encode};
use rejoin_core::topic::PublishTopic;

use super::{id, publish, text};
use Version::{V5, V311};

type Row = (Version, Packet, &'static str);

fn connect(version: Version) -> Connect {
    Connect {
        version,
        clean_start: true,
        keep_alive: 0,
        client_id: text(""),
        will: None,
        user_name: None,
        password: None,
        properties: ConnectProperties::default(),
    }
}

fn will() -> Will {
    Will {
        topic: text("w"),
        payload: Bytes::new(),
        qos: Qos::AtMostOnce,
        retain: false,
        delay: None,
        properties: PublishProperties::default(),
    }
}

fn too_long() -> Bytes {
    Bytes::from(vec![0; 65_536])
}

fn publishes() -> Vec<Row> {
    let base = || publish(Qos::AtMostOnce, None, "");
    let with = |properties| Packet::Publish(Publish { properties: Some(Box::new(properties)), ..base() });
    let none = PublishProperties::default;
    let unnamed = || Packet::Publish(Publish { topic: PublishTopic::default(), ..base() });
    vec![
        // [MQTT-2.2.1-2]; [MQTT311-2.3.1-5]
        (
            V5,
            Packet::Publish(publish(Qos::AtMostOnce, Some(1), "")),
            "PUBLISH cannot be sent: packet identifier is given at QoS 0",
        ),
        // [MQTT-2.2.1-3]; [MQTT311-2.3.1-1]
        (
            V311,
            Packet::Publish(publish(Qos::AtLeastOnce, None, "")),
            "PUBLISH cannot be sent: packet identifier is missing above QoS 0",
        ),
        // [MQTT-3.3.1-2]
        (V5, Packet::Publish(Publish { dup: true, ..base() }), "PUBLISH cannot be sent: DUP is set at QoS 0"),
        // [MQTT-4.7.3-1] [u5-3.3.2.1]
        (V5, unnamed(), "PUBLISH cannot be sent: topic name is empty without a topic alias"),
        (V311, unnamed(), "PUBLISH cannot be sent: topic name is empty without a topic alias"),
        // An alias is no topic where there are no properties.
        (
            V311,
            Packet::Publish(Publish {
                topic: PublishTopic::default(),
                properties: Some(Box::new(PublishProperties { topic_alias: Some(id(1)), ..none() })),
                ..base()
            }),
            "PUBLISH cannot be sent: topic name is empty without a topic alias",
        ),
        // [MQTT-3.3.2-14]
        (
            V5,
            with(PublishProperties { response_topic: Some(text("r/#")), ..none() }),
            "PUBLISH cannot be sent: response topic holds a wildcard",
        ),
        (
            V5,
            with(PublishProperties { correlation_data: Some(too_long()), ..none() }),
            "PUBLISH cannot be sent: correlation data is longer than 65,535 bytes",
        ),
        // [u5-3.3.2.3.8]
        (
            V5,
            with(PublishProperties { subscription_ids: vec![0], ..none() }),
            "PUBLISH cannot be sent: subscription identifier is not between 1 and 268,435,455",
        ),
    ]
}

fn connections() -> Vec<Row> {
    let with = |connect: Connect| Packet::Connect(Box::new(connect));
    let set = ConnectProperties::default;
    let v5 = |properties| Packet::Connect(Box::new(Connect { properties, ..connect(V5) }));
    let willed = |will| Packet::Connect(Box::new(Connect { will: Some(will), ..connect(V5) }));
    let password = Some(Bytes::from_static(b"pw"));
    let none = PublishProperties::default;
    vec![
        // [MQTT311-3.1.2-22]
        (
            V311,
            with(Connect { password, ..connect(V311) }),
            "CONNECT cannot be sent: password needs a user name at MQTT 3.1.1",
        ),
        // [MQTT311-3.1.3-7]
        (
            V311,
            with(Connect { clean_start: false, ..connect(V311) }),
            "CONNECT cannot be sent: client identifier must be given to keep a session at MQTT 3.1.1",
        ),
        (
            V5,
            with(Connect { password: Some(too_long()), ..connect(V5) }),
            "CONNECT cannot be sent: password is longer than 65,535 bytes",
        ),
        // [u5-3.1.2.11.4-a]
        (
            V5,
            v5(ConnectProperties { maximum_packet_size: Some(0), ..set() }),
            "CONNECT cannot be sent: maximum packet size is zero",
        ),
        // [u5-3.1.2.11.9]
        (
            V5,
            v5(ConnectProperties { authentication_data: Some(Bytes::new()), ..set() }),
            "CONNECT cannot be sent: authentication data comes without a method",
        ),
        (V5, willed(Will { topic: text(""), ..will() }), "CONNECT cannot be sent: will topic is empty"),
        // [MQTT-4.7.0-1]
        (
            V5,
            willed(Will { topic: text("+"), ..will() }),
            "CONNECT cannot be sent: will topic holds a wildcard",
        ),
        (
            V5,
            willed(Will { payload: too_long(), ..will() }),
            "CONNECT cannot be sent: will payload is longer than 65,535 bytes",
        ),
        (
            V5,
            willed(Will { properties: PublishProperties { topic_alias: Some(id(1)), ..none() }, ..will() }),
            "CONNECT cannot be sent: topic alias has no place in a will",
        ),
        (
            V5,
            willed(Will { properties: PublishProperties { subscription_ids: vec![1], ..none() }, ..will() }),
            "CONNECT cannot be sent: subscription identifier has no place in a will",
        ),
    ]
}

fn answers() -> Vec<Row> {
    let connack = |session_present, reason, v311_form, properties| {
        Packet::ConnAck(Box::new(ConnAck {
            session_present,
            reason: ReasonCode(reason),
            v311_form,
            properties,
        }))
    };
    let none = ConnAckProperties::default;
    let ack = |reason| Ack::new(id(1), ReasonCode(reason));
    let codes = |reasons: &[u8]| SubAck {
        packet_id: id(1),
        properties: None,
        reasons: reasons.iter().map(|code| ReasonCode(*code)).collect(),
    };
    vec![
        // [MQTT-3.2.2-6]; [MQTT311-3.2.2-4]
        (
            V5,
            connack(true, 0x87, false, none()),
            "CONNACK cannot be sent: session present is set in a refusal",
        ),
        // [MQTT-3.2.2-8]
        (
            V5,
            connack(false, 0x01, false, none()),
            "CONNACK cannot be sent: reason code is not one of this packet's",
        ),
        (
            V311,
            connack(false, 0x97, false, none()),
            "CONNACK cannot be sent: reason code has no return code at MQTT 3.1.1",
        ),
        (
            V5,
            connack(false, 0, true, none()),
            "CONNACK cannot be sent: form of MQTT 3.1.1 is no success at MQTT 5.0",
        ),
        (
            V5,
            connack(false, 0, false, ConnAckProperties { maximum_packet_size: Some(0), ..none() }),
            "CONNACK cannot be sent: maximum packet size is zero",
        ),
        // [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1]
        (V5, Packet::PubAck(ack(0x95)), "PUBACK cannot be sent: reason code is not one of this packet's"),
        (V5, Packet::PubRec(ack(0x92)), "PUBREC cannot be sent: reason code is not one of this packet's"),
        (V5, Packet::PubRel(ack(0x80)), "PUBREL cannot be sent: reason code is not one of this packet's"),
        (V5, Packet::PubComp(ack(0x10)), "PUBCOMP cannot be sent: reason code is not one of this packet's"),
        // At 3.1.1 these would arrive as success.
        (V311, Packet::PubAck(ack(0x87)), "PUBACK cannot be sent: reason code cannot be told at MQTT 3.1.1"),
        (
            V311,
            Packet::PubComp(ack(0x92)),
            "PUBCOMP cannot be sent: reason code cannot be told at MQTT 3.1.1",
        ),
        // [MQTT-3.9.3-2] [MQTT-3.11.3-2]
        (V5, Packet::SubAck(codes(&[])), "SUBACK cannot be sent: reason code is missing"),
        (
            V5,
            Packet::SubAck(codes(&[0x11])),
            "SUBACK cannot be sent: reason code is not one of this packet's",
        ),
        (
            V5,
            Packet::UnsubAck(codes(&[0x01])),
            "UNSUBACK cannot be sent: reason code is not one of this packet's",
        ),
    ]
}

fn requests() -> Vec<Row> {
    let subscribe = |subscription_id, filters| {
        Packet::Subscribe(Subscribe {
            packet_id: id(1),
            subscription_id,
            user_properties: Vec::new(),
            filters,
        })
    };
    let unsubscribe =
        |filters| Packet::Unsubscribe(Unsubscribe { packet_id: id(1), user_properties: Vec::new(), filters });
    let options = SubscriptionOptions::default();
    let no_local = SubscriptionOptions { no_local: true, ..options };
    let goodbye = |reason| Disconnect::new(ReasonCode(reason));
    let auth = |reason, method, data: Option<Bytes>| {
        Packet::Auth(Auth { reason: ReasonCode(reason), method, data, properties: None })
    };
    vec![
        // [MQTT-3.8.3-2]; [MQTT311-3.8.3-3]
        (V311, subscribe(None, Vec::new()), "SUBSCRIBE cannot be sent: topic filter is missing"),
        (V5, subscribe(None, vec![(text(""), options)]), "SUBSCRIBE cannot be sent: topic filter is empty"),
        // [MQTT-3.8.3-4]
        (
            V5,
            subscribe(None, vec![(text("$share/g/t"), no_local)]),
            "SUBSCRIBE cannot be sent: no local is set on a shared subscription",
        ),
        // [u5-3.8.2.1.2]
        (
            V5,
            subscribe(Some(0), vec![(text("t"), options)]),
            "SUBSCRIBE cannot be sent: subscription identifier is not between 1 and 268,435,455",
        ),
        // [MQTT-3.10.3-2]
        (V5, unsubscribe(Vec::new()), "UNSUBSCRIBE cannot be sent: topic filter is missing"),
        (V5, unsubscribe(vec![text("")]), "UNSUBSCRIBE cannot be sent: topic filter is empty"),
        // It would say that all is well.
        (
            V311,
            Packet::Disconnect(goodbye(0x04)),
            "DISCONNECT cannot be sent: reason code cannot be told at MQTT 3.1.1",
        ),
        // [MQTT-3.14.2-1] [MQTT-3.14.2-2]
        (
            V5,
            Packet::Disconnect(goodbye(0x05)),
            "DISCONNECT cannot be sent: reason code and properties do not suit either side",
        ),
        (
            V5,
            Packet::Disconnect(Disconnect { session_expiry: Some(1), ..goodbye(0x8B) }),
            "DISCONNECT cannot be sent: reason code and properties do not suit either side",
        ),
        (V311, auth(0x18, Some(text("m")), None), "AUTH cannot be sent: packet is not known at MQTT 3.1.1"),
        // [MQTT-3.15.2-1]
        (
            V5,
            auth(0x1A, Some(text("m")), None),
            "AUTH cannot be sent: reason code is not one of this packet's",
        ),
        // [u5-3.15.2.2.2]
        (V5, auth(0x18, None, None), "AUTH cannot be sent: authentication method is missing"),
        (V5, auth(0x00, None, Some(Bytes::new())), "AUTH cannot be sent: authentication method is missing"),
    ]
}

#[test]
fn what_must_not_be_sent_is_refused_by_name() {
    let rows = [publishes(), connections(), answers(), requests()].concat();
    for (version, packet, message) in rows {
        let mut out = BytesMut::new();
        match encode(&packet, version, &mut out) {
            Err(error) => assert_eq!(error.to_string(), message, "{version} {packet:?}"),
            Ok(()) => panic!("{version} {packet:?} was written as {out:02X?}, should be: {message}"),
        }
        assert!(out.is_empty(), "{packet:?} left bytes behind");
    }
}

#[test]
fn a_packet_longer_than_mqtt_can_say_is_refused() {
    // Topic and payload together one byte above 268,435,455.
    let payload = Bytes::from(vec![0; 268_435_456 - 5]);
    let packet = |payload| Packet::Publish(Publish { payload, ..publish(Qos::AtMostOnce, None, "") });
    let mut out = BytesMut::new();
    let error = encode(&packet(payload.clone()), V311, &mut out).unwrap_err();
    assert_eq!(error, EncodeError::TooLarge { packet: "PUBLISH", size: 268_435_456 });
    assert!(out.is_empty());
    let Packet::Publish(fits) = packet(payload.slice(1..)) else { return };
    rejoin_core::codec::encode_publish_head(&fits, V311, &mut out).unwrap();
    assert_eq!(&out[..5], [0x30, 0xFF, 0xFF, 0xFF, 0x7F]);
}
