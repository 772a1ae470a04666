//! Servers that break their duties: what each gets for it, and that nothing worse comes of it.

use std::num::NonZeroU16;

use rejoin_core::codec::packet::{
    Ack, Auth, ConnAckProperties, Disconnect, Packet, Publish, PublishProperties, SubAck,
};
use rejoin_core::*;

use super::bench::{Bench, config, id};

fn v311() -> Config {
    let mut config = config();
    config.version = VersionPolicy::Only311;
    config
}

fn loss(b: &Bench) -> LossCause {
    b.engine.status().last_loss.expect("the link is lost")
}

/// The link ended over a fault of the server, and what was written last.
fn ended_with(b: &mut Bench, word: &str) {
    assert!(matches!(loss(b), LossCause::Protocol(_)), "{:?}", loss(b));
    assert_eq!(b.words(), [word]);
    assert_eq!(b.closed, 1);
}

fn message(topic: &'static str, alias: u16, payload: usize) -> Packet {
    let properties = PublishProperties { topic_alias: NonZeroU16::new(alias), ..Default::default() };
    Packet::Publish(Publish {
        dup: false,
        qos: Qos::AtMostOnce,
        retain: false,
        topic: PublishTopic::from_static(topic),
        packet_id: None,
        properties: Some(Box::new(properties)),
        payload: vec![b'.'; payload].into(),
    })
}

fn codes(n: u16, reasons: &[ReasonCode]) -> SubAck {
    SubAck { packet_id: id(n), properties: None, reasons: reasons.to_vec() }
}

#[test]
fn before_connack_nothing_else_may_come() {
    // [MQTT-3.2.0-1] [MQTT-3.14.0-1]
    for packet in [
        message("t", 0, 1),
        Packet::Disconnect(Disconnect::new(ReasonCode::SERVER_BUSY)),
        Packet::PingResp,
        Packet::PubAck(Ack::new(id(1), ReasonCode::SUCCESS)),
        Packet::SubAck(codes(1, &[ReasonCode::SUCCESS])),
    ] {
        let mut b = Bench::new(config());
        b.open();
        b.receive(&packet);
        assert!(matches!(loss(&b), LossCause::Protocol(_)), "{packet:?}: {:?}", loss(&b));
        assert_eq!((b.closed, b.messages().len()), (1, 0));
        assert!(b.words().is_empty(), "no DISCONNECT before CONNACK");
    }
}

#[test]
fn a_second_connack_ends_the_link() {
    let mut b = Bench::new(config());
    b.connect(false);
    b.connack(false, ConnAckProperties::default()); // [MQTT-3.2.0-2]
    ended_with(&mut b, "DISCONNECT 0x82");
}

#[test]
fn what_is_malformed_is_answered_with_its_code_at_5_0_and_with_a_close_at_3_1_1() {
    let mut b = Bench::new(config());
    b.connect(false);
    b.input(Input::Received(bytes::Bytes::from_static(&[0xD1, 0])));
    ended_with(&mut b, "DISCONNECT 0x81"); // [MQTT-4.13.1-1] [u5-4.13]
    let mut b = Bench::new(v311());
    b.connect(false);
    b.input(Input::Received(bytes::Bytes::from_static(&[0xD1, 0])));
    assert!(matches!(loss(&b), LossCause::Protocol(_)));
    assert!(b.words().is_empty());
    assert_eq!(b.closed, 1); // [MQTT311-4.8.0-1]
}

#[test]
fn a_packet_above_our_limit_ends_the_link_with_its_code() {
    let mut config = config();
    config.link.maximum_packet_size = 100;
    let mut b = Bench::new(config);
    assert_eq!(b.open().properties.maximum_packet_size, Some(100), "it was told"); // [MQTT-3.1.2-25]
    b.connack(false, ConnAckProperties::default());
    b.receive(&message("t", 0, 200));
    assert!(b.messages().is_empty());
    ended_with(&mut b, "DISCONNECT 0x95"); // [u5-3.1.2.11.4-b] [MQTT-3.1.2-24]
}

#[test]
fn every_alias_we_allow_is_taken_and_no_other() {
    let bench = || {
        let mut config = config();
        config.link.topic_alias_maximum = 3;
        let mut b = Bench::new(config);
        b.connect(false);
        b
    };
    let mut b = bench();
    for alias in 1..=3 {
        b.receive(&message("t", alias, 1));
        b.receive(&message("", alias, 1));
    }
    assert_eq!(b.messages().iter().filter(|m| m.topic.as_str() == "t").count(), 6); // [MQTT-3.3.2-10]
    b.receive(&message("t", 4, 1));
    ended_with(&mut b, "DISCONNECT 0x94"); // [MQTT-3.1.2-26] [MQTT-3.3.2-11]
    let mut b = bench();
    b.receive(&message("", 1, 1));
    ended_with(&mut b, "DISCONNECT 0x82"); // [u5-3.3.2.3.4-a]
}

#[test]
fn an_unsuback_that_does_not_fit_ends_the_link() {
    for answer in [codes(9, &[ReasonCode::SUCCESS]), codes(2, &[ReasonCode::SUCCESS; 2])] {
        let mut b = Bench::new(config());
        b.subscribe(1, "a");
        b.connect(false);
        b.suback(1, ReasonCode::GRANTED_QOS_1);
        b.engine.unsubscribe(SubscriptionId(1), b.now());
        b.drain();
        b.words();
        b.receive(&Packet::UnsubAck(answer)); // [MQTT-2.2.1-6] [MQTT-3.10.4-5] [MQTT-3.11.3-1]
        ended_with(&mut b, "DISCONNECT 0x82");
    }
}

#[test]
fn codes_belong_to_filters_by_their_place() {
    let mut b = Bench::new(config());
    for (n, filter) in [(1, "a"), (2, "b/#"), (3, "c")] {
        b.subscribe(n, filter);
    }
    b.open();
    b.connack(false, ConnAckProperties { subscription_ids_available: Some(false), ..Default::default() });
    assert_eq!(b.words(), ["SUBSCRIBE 1 a,b/#,c"]);
    let reasons =
        [ReasonCode::GRANTED_QOS_1, ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED, ReasonCode(0)];
    b.receive(&Packet::SubAck(codes(1, &reasons)));
    // [MQTT-3.9.3-1] [MQTT-3.8.4-7] [MQTT-3.8.4-2]
    for (n, result) in [
        (1, SubscribeResult::Granted(Qos::AtLeastOnce)),
        (2, SubscribeResult::Refused(ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED)),
        (3, SubscribeResult::Granted(Qos::AtMostOnce)),
    ] {
        assert!(b.events.contains(&Event::Subscribed { id: SubscriptionId(n), result }), "{n}");
    }
}

#[test]
fn an_auth_that_nobody_asked_for_ends_the_link() {
    let auth = Packet::Auth(Auth {
        reason: ReasonCode::CONTINUE_AUTHENTICATION,
        method: Some(Text::from_static("SCRAM")),
        data: None,
        properties: None,
    });
    let mut b = Bench::new(config());
    b.connect(false);
    b.receive(&auth);
    ended_with(&mut b, "DISCONNECT 0x82"); // [MQTT-4.12.0-6]
    let mut b = Bench::new(config());
    b.open();
    b.receive(&auth);
    assert!(matches!(loss(&b), LossCause::Protocol(_)));
    assert!(b.words().is_empty(), "we answer none"); // [MQTT-4.12.0-7]
}

#[test]
fn an_empty_id_that_the_server_leaves_empty_still_opens_a_link() {
    let mut config = config();
    config.client_id = Text::default();
    let mut b = Bench::new(config);
    assert!(b.open().client_id.is_empty()); // [MQTT-3.1.3-6]
    b.connack(false, ConnAckProperties::default()); // [MQTT-3.2.2-16]
    assert_eq!(b.engine.status().link, LinkState::Open);
    b.publish(Qos::AtLeastOnce);
    b.lose();
    assert!(b.open().client_id.is_empty());
    b.connack(false, ConnAckProperties::default());
    assert_eq!(b.words(), ["PUBLISH 2 q1 1"], "the session is another one, the message is not lost");
}

#[test]
fn a_disconnect_of_the_server_ends_the_link_here_too() {
    for reason in [ReasonCode::SERVER_SHUTTING_DOWN, ReasonCode::SESSION_TAKEN_OVER, ReasonCode::SUCCESS] {
        let mut b = Bench::new(config());
        b.connect(false);
        b.receive(&Packet::Disconnect(Disconnect::new(reason)));
        assert_eq!(b.closed, 1); // [MQTT-4.13.2-1]
        assert!(b.words().is_empty());
        assert!(matches!(loss(&b), LossCause::ServerDisconnect { .. }));
    }
}

#[test]
fn what_only_a_client_sends_ends_the_link() {
    let mut b = Bench::new(config());
    for packet in [
        Packet::PingReq,
        Packet::Unsubscribe(codec::packet::Unsubscribe {
            packet_id: id(1),
            user_properties: Vec::new(),
            filters: vec![Text::from_static("a")],
        }),
    ] {
        b.connect(false);
        b.receive(&packet);
        assert!(matches!(b.last_closed(), LossCause::Protocol(_)), "{packet:?}");
        b.until_open();
    }
}
