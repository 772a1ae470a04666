//! What the simulation found: each of these failed in a world of faults before it was mended.

use std::num::NonZeroU16;

use rejoin_core::codec::packet::{ConnAckProperties, Packet, Publish};
use rejoin_core::*;

use super::bench::{Bench, id, kept};

fn durable() -> Config {
    let mut config = kept();
    config.session.durable = true;
    config
}

#[test]
fn a_message_refused_at_3_1_1_is_acknowledged_all_the_same() {
    let mut config = kept();
    config.version = VersionPolicy::Only311;
    let mut b = Bench::new(config);
    b.connect(false);
    b.words();
    b.deliver(Qos::AtLeastOnce, 1, false, "one");
    b.deliver(Qos::ExactlyOnce, 2, false, "two");
    for message in b.messages() {
        b.engine.ack(message.id.unwrap(), ReasonCode::UNSPECIFIED_ERROR, b.now());
    }
    b.drain();
    assert_eq!(b.words(), ["PUBACK 1", "PUBREC 2"]);
}

#[test]
fn what_no_store_has_is_not_left_to_the_store() {
    let mut config = durable();
    config.session.memory_window_bytes = 4;
    config.session.in_flight_max = Some(1);
    let mut b = Bench::new(config);
    b.connect(false);
    let first = b.publish(Qos::AtLeastOnce);
    let second = b.publish(Qos::AtLeastOnce);
    let third = b.publish(Qos::AtLeastOnce);
    let passing = b.publish(Qos::AtMostOnce);
    let latest = b.publish_with(Qos::AtMostOnce, |p| p.latest_only = true);
    for n in 1..=3 {
        b.puback(n, ReasonCode::SUCCESS);
    }
    for n in [first, second, third] {
        assert!(b.is_delivered(n));
    }
    assert_eq!(b.outcome(passing), &Outcome::Sent);
    assert_eq!(b.outcome(latest), &Outcome::Sent);
}

#[test]
fn an_unsubscribe_that_a_new_wish_makes_needless_is_answered() {
    let mut b = Bench::new(kept());
    b.connect(false);
    b.subscribe(1, "t");
    b.suback(1, ReasonCode(2));
    b.lose();
    b.engine.unsubscribe(SubscriptionId(1), b.now());
    b.drain();
    b.subscribe(2, "t");
    let ended = Event::Unsubscribed { id: SubscriptionId(1), reason: ReasonCode::SUCCESS };
    assert_eq!(b.events.iter().filter(|event| **event == ended).count(), 1);
    b.connect(true);
    assert_eq!(b.words(), ["SUBSCRIBE 2 t"]);
}

#[test]
fn an_identifier_freed_by_a_refusal_is_not_claimed_twice_after_a_restart() {
    let mut config = durable();
    config.session.packet_id_max = 1;
    let mut b = Bench::new(config.clone());
    b.connect(false);
    let refused = b.publish(Qos::AtLeastOnce);
    b.puback(1, ReasonCode::QUOTA_EXCEEDED);
    let other = b.publish(Qos::AtLeastOnce);
    assert_eq!(b.words().last().unwrap(), "PUBLISH 1 q1 2");
    let mut b = Bench::restored(config, b.records);
    b.connect(true);
    assert_eq!(b.words(), ["PUBLISH 1 q1 dup 2"]);
    b.puback(1, ReasonCode::SUCCESS);
    b.puback(1, ReasonCode::SUCCESS);
    assert!(b.is_delivered(refused) && b.is_delivered(other));
}

#[test]
fn a_topic_alias_does_not_push_a_packet_over_the_limit() {
    for limit in 20..60 {
        let mut b = Bench::new(kept());
        b.open();
        let properties = ConnAckProperties {
            maximum_packet_size: Some(limit),
            topic_alias_maximum: NonZeroU16::new(4).map(NonZeroU16::get),
            ..ConnAckProperties::default()
        };
        b.connack(false, properties);
        b.words();
        let n = b.publish_with(Qos::AtLeastOnce, |p| p.payload = vec![b'.'; 30].into());
        let written = |p: &Packet| match p {
            Packet::Publish(publish) => Some(codec::publish_len(publish, Version::V5)),
            _ => None,
        };
        match b.sent.iter().find_map(written) {
            Some(size) => assert!(size <= limit as usize, "{size} bytes, the limit is {limit}"),
            None => assert!(matches!(b.outcome(n), Outcome::TooLarge { .. })),
        }
    }
}

/// The server lost its session, made a new one for a CONNECT, and that CONNACK was lost.
fn resume_unproven(b: &mut Bench) {
    b.lose();
    b.open();
    b.lose();
    b.connect(true);
    b.words();
}

#[test]
fn qos_2_sent_into_a_session_that_may_be_another_one_may_arrive_twice_and_says_so() {
    let mut b = Bench::new(kept());
    b.connect(false);
    let n = b.publish(Qos::ExactlyOnce);
    resume_unproven(&mut b);
    b.pubrec(1, ReasonCode::SUCCESS);
    b.pubcomp(1);
    assert!(matches!(b.outcome(n), Outcome::Delivered(receipt) if receipt.possible_duplicate));
}

#[test]
fn an_identifier_held_for_a_session_that_may_be_another_one_does_not_swallow_a_message() {
    let mut b = Bench::new(durable());
    b.connect(false);
    b.deliver(Qos::ExactlyOnce, 1, false, "one");
    let one = b.messages().remove(0).id.unwrap();
    b.ack(one);
    let mut b = Bench::restored(durable(), b.records);
    // Two of another life of the session, without the content of the first at hand.
    b.open();
    b.lose();
    b.connect(true);
    b.deliver(Qos::ExactlyOnce, 1, false, "two");
    assert_eq!(b.messages().len(), 1);
    // With it at hand DUP does not matter.
    b.lose();
    b.connect(true);
    b.receive(&Packet::Publish(Publish {
        dup: true,
        qos: Qos::ExactlyOnce,
        retain: false,
        topic: PublishTopic::from_static("t"),
        packet_id: Some(id(1)),
        properties: None,
        payload: "three".into(),
    }));
    assert_eq!(b.messages().len(), 1);
}

/// A client of 3.1.1 that waits for an acknowledgement, and stops reading at each message.
fn reading_one_at_a_time() -> Bench {
    let mut config = kept();
    config.version = VersionPolicy::Only311;
    config.link.receive_maximum = 1;
    let mut b = Bench::new(config);
    b.connect(false);
    b.publish(Qos::AtLeastOnce);
    b
}

#[test]
fn an_acknowledgement_is_not_late_while_we_do_not_read() {
    let mut b = reading_one_at_a_time();
    b.deliver(Qos::AtLeastOnce, 1, false, "one");
    let slow = b.messages().remove(0).id.unwrap();
    assert!(!b.engine.wants_read());
    b.live(25);
    b.ack(slow);
    assert!(b.engine.wants_read());
    b.live(5);
    assert_eq!(b.engine.stats().losses, 0, "the acknowledgement had no time to be read");
    // What is read late has twice as long.
    b.live(40);
    assert!(matches!(b.last_closed(), LossCause::AckTimeout(_)));
}

#[test]
fn bursts_that_are_taken_at_once_do_not_hide_that_nothing_is_acknowledged() {
    let mut b = reading_one_at_a_time();
    for n in 1..=60 {
        b.deliver(Qos::AtLeastOnce, n, false, "one of many");
        assert!(!b.engine.wants_read());
        b.pass(std::time::Duration::from_millis(1));
        let taken = b.messages().remove(0).id.unwrap();
        b.ack(taken);
        assert!(b.engine.wants_read());
        b.live(1);
        if b.engine.stats().losses > 0 {
            break;
        }
    }
    assert!(matches!(b.last_closed(), LossCause::AckTimeout(_)));
}

#[test]
fn only_a_message_of_its_own_topic_is_superseded() {
    let mut config = durable();
    config.session.memory_window_bytes = 1;
    config.session.in_flight_max = Some(2);
    let mut b = Bench::new(config);
    b.connect(false);
    b.fast_disk = false;
    let sent: Vec<u64> = (0..2).map(|_| b.publish(Qos::AtLeastOnce)).collect();
    let near = b.publish(Qos::AtLeastOnce);
    let far = b.publish(Qos::AtLeastOnce);
    b.puback(1, ReasonCode::SUCCESS);
    assert!(b.is_delivered(sent[0]), "its place in flight is taken, and the next body is asked for");
    // The session is lost: what was in flight goes to the front, ahead of the body that has not come.
    b.lose();
    b.open();
    let ticket = b.last_ticket;
    b.input(Input::Persisted(ticket));
    b.connack(false, ConnAckProperties::default());
    let latest = |b: &mut Bench| {
        b.publish_with(Qos::AtMostOnce, |p| {
            p.topic = TopicName::new("latest").unwrap();
            p.latest_only = true;
        })
    };
    let older = latest(&mut b);
    let body = b.stored_body(far);
    b.input(Input::Loaded(vec![(PublishId(far), Some(body))]));
    latest(&mut b);
    assert_eq!(b.outcome(older), &Outcome::Superseded);
    let ended: Vec<u64> = b.outcomes.iter().map(|(n, _)| *n).collect();
    assert!(!ended.contains(&near) && !ended.contains(&far), "{:?}", b.outcomes);
}
