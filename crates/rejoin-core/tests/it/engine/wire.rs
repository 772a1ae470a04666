//! What a link writes, to the byte: limits are reached and not passed, and nothing is copied or sent that need not be.

use bytes::Bytes;
use rejoin_core::codec::packet::{ConnAckProperties, Packet, Publish};
use rejoin_core::*;

use super::bench::{Bench, config, kept};

/// What the engine writes for one message of this size, piece by piece.
fn pieces(payload: usize) -> Vec<usize> {
    let mut b = Bench::new(config());
    b.connect(false);
    let mut publication = Publication::new(TopicName::new("t").unwrap(), vec![0; payload]);
    publication.qos = Qos::AtLeastOnce;
    b.engine.publish(PublishId(1), publication, b.now()).unwrap();
    let mut pieces = Vec::new();
    while let Some(output) = b.engine.poll() {
        if let Output::Transmit(bytes) = output {
            pieces.push(bytes.len());
        }
    }
    pieces
}

#[test]
fn a_large_payload_is_handed_over_as_it_is_and_a_small_one_shares_a_buffer() {
    // Fixed header of two or three bytes, topic of three, identifier of two, no properties.
    assert_eq!(pieces(8191), [9 + 8191]);
    assert_eq!(pieces(8192), [9, 8192]);
}

#[test]
fn an_alias_is_put_on_as_soon_as_there_is_room_for_it() {
    let aliased = |limit: u32| {
        let mut b = Bench::new(config());
        b.open();
        let properties = ConnAckProperties {
            maximum_packet_size: Some(limit),
            topic_alias_maximum: Some(4),
            ..ConnAckProperties::default()
        };
        b.connack(false, properties);
        b.publish_with(Qos::AtMostOnce, |p| p.payload = vec![0; 20].into());
        let sent = b.sent.iter().find_map(|p| match p {
            Packet::Publish(publish) => {
                Some(publish.properties.as_ref().is_some_and(|p| p.topic_alias.is_some()))
            }
            _ => None,
        });
        sent.expect("it is small enough")
    };
    // 26 bytes without an alias, which may add five.
    assert_eq!([26, 30, 31, 32].map(aliased), [false, false, true, true]);
}

#[test]
fn a_qos_0_message_is_sent_when_its_last_byte_is_taken() {
    let mut b = Bench::new(config());
    b.connect(false);
    b.fast_socket = false;
    let (first, second) = (b.publish(Qos::AtMostOnce), b.publish(Qos::AtMostOnce));
    // Seven bytes each.
    b.input(Input::Written(6));
    assert!(b.outcomes.is_empty());
    b.input(Input::Written(1));
    assert_eq!(b.outcomes, [(first, Outcome::Sent)]);
    b.input(Input::Written(7));
    assert_eq!(*b.outcome(second), Outcome::Sent);
}

#[test]
fn an_attempt_reaches_a_broker_once_however_many_handshakes_it_takes() {
    let mut config = kept();
    config.session.durable = true;
    let mut b = Bench::new(config);
    b.input(Input::Tick);
    let reached = |b: &Bench| b.records.iter().filter(|r| matches!(r, Record::Reached { .. })).count();
    b.input(Input::Reached(Stage::Tcp));
    assert_eq!(reached(&b), 0, "no connection stands yet");
    for stage in [Stage::Tls, Stage::WebSocket] {
        b.input(Input::Reached(stage));
        assert_eq!(reached(&b), 1);
    }
    b.input(Input::Opened);
    assert_eq!(reached(&b), 1);
}

#[test]
fn what_a_link_did_not_write_is_not_written_on_the_next() {
    let mut b = Bench::new(kept());
    b.connect(false);
    let mut publication = Publication::new(TopicName::new("t").unwrap(), "m");
    publication.qos = Qos::AtLeastOnce;
    b.engine.publish(PublishId(1), publication, b.now()).unwrap();
    // The link ends before anybody asks what to write.
    b.engine.handle(Input::Received(Bytes::from_static(&[0xf0, 0])), b.now());
    b.drain();
    b.connect(true);
    assert_eq!(b.words(), ["PUBLISH 1 q1 m"]);
}

#[test]
fn the_window_is_what_both_sides_bear_and_no_answer_widens_it() {
    let mut config = kept();
    config.session.in_flight_max = Some(2);
    let mut b = Bench::new(config);
    b.open();
    b.connack(
        false,
        ConnAckProperties { receive_maximum: std::num::NonZeroU16::new(9), ..Default::default() },
    );
    for _ in 0..6 {
        b.publish(Qos::AtLeastOnce);
    }
    assert_eq!(b.words().len(), 2);
    b.puback(1, ReasonCode::SUCCESS);
    assert_eq!(b.words().len(), 1);
    b.puback(1, ReasonCode::SUCCESS);
    assert!(b.words().is_empty(), "an answer to nothing gives nothing back");
    b.puback(2, ReasonCode::SUCCESS);
    b.puback(3, ReasonCode::SUCCESS);
    assert_eq!(b.words().len(), 2);
}

#[test]
fn a_message_before_connack_ends_the_attempt_even_one_too_large_to_be_read() {
    let mut config = config();
    config.version = VersionPolicy::Only311;
    config.link.maximum_packet_size = 64;
    let mut b = Bench::new(config);
    b.open();
    b.receive(&Packet::Publish(Publish {
        dup: false,
        qos: Qos::AtMostOnce,
        retain: false,
        topic: PublishTopic::from_static("t"),
        packet_id: None,
        properties: None,
        payload: vec![0; 100].into(),
    }));
    assert!(matches!(b.engine.status().last_loss, Some(LossCause::Protocol(_)))); // [MQTT-3.2.0-1]
}
