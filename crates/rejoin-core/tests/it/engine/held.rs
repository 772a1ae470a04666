//! What an engine says it holds is what it holds: the soak and the simulation watch these numbers for what grows.

use bytes::Bytes;
use rejoin_core::codec::packet::{ConnAckProperties, Packet, Publish, PublishProperties};
use rejoin_core::*;

use super::bench::{Bench, config, kept};

fn with_alias(b: &mut Bench, alias: u16) {
    let topic_alias = std::num::NonZeroU16::new(alias);
    b.receive(&Packet::Publish(Publish {
        dup: false,
        qos: Qos::AtMostOnce,
        retain: false,
        topic: PublishTopic::from_static("t"),
        packet_id: None,
        properties: Some(Box::new(PublishProperties { topic_alias, ..Default::default() })),
        payload: "m".into(),
    }));
}

#[test]
fn messages_are_counted_where_they_wait() {
    let mut b = Bench::new(kept());
    for _ in 0..3 {
        b.publish(Qos::AtLeastOnce);
    }
    b.publish_with(Qos::AtLeastOnce, |p| p.latest_only = true);
    let held = b.engine.held();
    assert_eq!((held.waiting_near, held.waiting_packed, held.waiting_far), (0, 4, 0));
    assert_eq!(held.waiting_latest, 1);

    let mut config = kept();
    config.session.durable = true;
    config.session.memory_window_bytes = 1;
    let mut b = Bench::new(config);
    for _ in 0..3 {
        b.publish(Qos::AtLeastOnce);
    }
    let held = b.engine.held();
    assert_eq!((held.waiting_near, held.waiting_packed, held.waiting_far), (1, 0, 2));
    assert_eq!(held.waiting_near_bytes, 2, "a topic and a payload of one byte each");
    b.connect(false);
    for n in 1..=3 {
        b.puback(n, ReasonCode::SUCCESS);
    }
    assert_eq!(b.outcomes.len(), 3);
    let held = b.engine.held();
    assert_eq!((held.waiting_near, held.waiting_near_bytes, held.waiting_far), (0, 0, 0));
}

#[test]
fn exchanges_are_counted_until_they_end() {
    let mut b = Bench::new(kept());
    b.connect(false);
    let ask = b.publish_with(Qos::AtLeastOnce, |p| p.on_loss = Some(SessionLossPolicy::Ask));
    b.lose();
    b.connect(false);
    assert!(b.events.contains(&Event::Undecided { id: PublishId(ask) }));
    for _ in 0..4 {
        b.publish(Qos::AtLeastOnce);
    }
    let held = b.engine.held();
    assert_eq!((held.in_flight, held.in_flight_places, held.packet_ids), (4, 4, 4));
    assert_eq!(held.put_off, 1, "the one nobody has decided on");
    b.puback(2, ReasonCode::QUOTA_EXCEEDED);
    b.puback(4, ReasonCode::SUCCESS);
    let held = b.engine.held();
    assert_eq!((held.in_flight, held.in_flight_places, held.packet_ids), (2, 3, 2));
    assert_eq!(held.put_off, 2, "and the one refused for now");
}

#[test]
fn what_came_is_counted_until_it_is_answered() {
    let mut config = kept();
    config.session.durable = true;
    let mut b = Bench::new(config);
    b.connect(false);
    b.deliver(Qos::AtLeastOnce, 1, false, "m");
    b.deliver(Qos::ExactlyOnce, 2, false, "m");
    b.deliver(Qos::ExactlyOnce, 3, false, "m");
    let held = b.engine.held();
    assert_eq!((held.answers_owed, held.ids_held, held.untaken), (1, 2, 2), "the store has taken two");
    let messages = b.messages();
    b.ack(messages[2].id.unwrap());
    b.fast_disk = false;
    b.pubrel(3);
    let held = b.engine.held();
    assert_eq!((held.answers_owed, held.ids_held, held.untaken), (2, 1, 1), "PUBCOMP waits for the store");
    b.input(Input::Persisted(b.last_ticket));
    assert_eq!(b.engine.held().answers_owed, 1);
}

#[test]
fn what_a_link_holds_goes_with_it() {
    let mut config = config();
    config.link.topic_alias_maximum = 2;
    let mut b = Bench::new(config);
    b.subscribe(1, "a");
    b.subscribe(2, "b");
    b.open();
    b.connack(false, ConnAckProperties { topic_alias_maximum: Some(1), ..Default::default() });
    let held = b.engine.held();
    assert_eq!((held.subscriptions, held.subscriptions_asked, held.aliases), (2, 2, 0));
    b.suback(1, ReasonCode::GRANTED_QOS_2);
    b.engine.unsubscribe(SubscriptionId(1), b.now());
    b.drain();
    let held = b.engine.held();
    assert_eq!((held.subscriptions, held.subscriptions_asked), (2, 2), "one is wanted, one is to end");
    with_alias(&mut b, 2);
    assert_eq!(b.engine.held().aliases, 1);
    b.fast_socket = false;
    b.publish(Qos::AtMostOnce);
    b.publish(Qos::AtMostOnce);
    b.input(Input::Received(Bytes::from_static(&[0x30])));
    let held = b.engine.held();
    assert_eq!((held.aliases, held.unsent, held.unread_bytes), (2, 2, 1));
    // Fixed header, length of the topic, property of the alias, payload; the first with the topic, too.
    assert_eq!(held.unwritten_bytes, 10 + 9);
    b.lose();
    let held = b.engine.held();
    assert_eq!((held.aliases, held.unsent, held.unread_bytes, held.unwritten_bytes), (0, 0, 0, 0));
    assert_eq!((held.subscriptions, held.subscriptions_asked), (2, 0));
}

#[test]
fn who_rests_forgets_nothing() {
    let mut b = Bench::new(kept());
    b.connect(false);
    b.deliver(Qos::ExactlyOnce, 7, false, "once");
    let sent = b.publish(Qos::ExactlyOnce);
    b.engine.rest();
    b.pubrec(1, ReasonCode::SUCCESS);
    b.engine.rest();
    b.pubcomp(1);
    assert!(b.is_delivered(sent));
    b.lose();
    b.engine.rest();
    b.connect(true);
    b.deliver(Qos::ExactlyOnce, 7, true, "once");
    assert_eq!(b.messages().len(), 1, "the second is a copy");
}

#[test]
fn each_answer_is_counted_once_until_the_transport_took_it() {
    let mut b = Bench::new(kept());
    b.connect(false);
    for n in 1..=3 {
        b.deliver(Qos::AtLeastOnce, n, false, "m");
    }
    b.fast_socket = false;
    // All three leave together.
    for message in b.messages().iter().rev() {
        b.ack(message.id.unwrap());
    }
    assert_eq!(b.engine.held().unwritten_bytes, 3 * 4);
    b.input(Input::Written(12));
    assert_eq!(b.engine.held().unwritten_bytes, 0);
}
