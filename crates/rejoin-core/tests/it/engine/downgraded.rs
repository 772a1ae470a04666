//! A broker that answers QoS 2 with PUBACK, or says beforehand that it offers no more than QoS 1.

use std::time::Duration;

use rejoin_core::codec::packet::ConnAckProperties;
use rejoin_core::*;

use super::bench::{Bench, kept};

fn downgrades(b: &Bench) -> usize {
    b.events.iter().filter(|event| matches!(event, Event::Downgraded { .. })).count()
}

fn is_downgraded(b: &Bench, n: u64) -> bool {
    matches!(b.outcome(n), Outcome::Delivered(receipt) if receipt.downgraded)
}

#[test]
fn a_puback_for_qos_2_is_delivered_told_once_a_link_and_never_sent_again() {
    let mut b = Bench::new(kept());
    b.connect(false);
    let (one, two) = (b.publish(Qos::ExactlyOnce), b.publish(Qos::ExactlyOnce));
    b.puback(1, ReasonCode::SUCCESS);
    b.puback(2, ReasonCode::NO_MATCHING_SUBSCRIBERS);
    assert!(is_downgraded(&b, one) && is_downgraded(&b, two));
    assert_eq!(downgrades(&b), 1);
    assert_eq!(b.words(), ["PUBLISH 1 q2 1", "PUBLISH 2 q2 2"], "and no PUBREL");
    assert_eq!((b.engine.in_flight(), b.closed), (0, 0));
    // A QoS 1 message is none.
    let plain = b.publish(Qos::AtLeastOnce);
    b.puback(3, ReasonCode::SUCCESS);
    assert!(b.is_delivered(plain) && !is_downgraded(&b, plain));
    b.lose();
    b.connect(true);
    assert!(b.words().is_empty(), "answered for");
    b.publish(Qos::ExactlyOnce);
    b.puback(4, ReasonCode::SUCCESS);
    assert_eq!(downgrades(&b), 2, "told on the next link, too");
}

#[test]
fn the_window_is_given_back() {
    let mut config = kept();
    config.session.in_flight_max = Some(1);
    let mut b = Bench::new(config);
    b.connect(false);
    for n in 1..=5 {
        let id = b.publish(Qos::ExactlyOnce);
        b.puback(n, ReasonCode::SUCCESS);
        assert!(is_downgraded(&b, id));
    }
}

#[test]
fn a_puback_that_cannot_mean_that_is_counted_and_believed_nothing() {
    // An error: RabbitMQ gives none, and what it would mean for the exchange nobody says.
    let mut b = Bench::new(kept());
    b.connect(false);
    b.publish(Qos::ExactlyOnce);
    b.puback(1, ReasonCode::NOT_AUTHORIZED);
    // For a message behind its PUBREC.
    b.pubrec(1, ReasonCode::SUCCESS);
    b.puback(1, ReasonCode::SUCCESS);
    // From a broker that has said PUBREC on this link: it speaks QoS 2, so this is a stray.
    b.publish(Qos::ExactlyOnce);
    b.puback(2, ReasonCode::SUCCESS);
    // For nothing at all.
    b.puback(9, ReasonCode::SUCCESS);
    assert_eq!(b.engine.stats().unexpected_acks, 4);
    assert!(b.outcomes.is_empty());
    assert_eq!(downgrades(&b), 0);
    // What waits for PUBREC on an old link is not ended by a PUBACK before it was sent again.
    b.lose();
    b.open();
    b.puback(2, ReasonCode::SUCCESS);
    assert!(b.outcomes.is_empty());
    b.pass(Duration::from_secs(1));
}

/// Opens a link of a server that offers no more than this.
fn connect_offering(b: &mut Bench, maximum_qos: Qos, session_present: bool) {
    b.open();
    let properties = ConnAckProperties { maximum_qos: Some(maximum_qos), ..ConnAckProperties::default() };
    b.connack(session_present, properties);
}

fn lowering() -> Config {
    let mut config = kept();
    config.session.lower_qos = true;
    config
}

#[test]
fn who_asked_for_it_gets_qos_2_sent_as_qos_1_and_is_told() {
    // [MQTT-3.2.2-11]
    let mut b = Bench::new(lowering());
    connect_offering(&mut b, Qos::AtLeastOnce, false);
    let (one, two, plain) =
        (b.publish(Qos::ExactlyOnce), b.publish(Qos::ExactlyOnce), b.publish(Qos::AtLeastOnce));
    assert_eq!(b.words(), ["PUBLISH 1 q1 1", "PUBLISH 2 q1 2", "PUBLISH 3 q1 3"]);
    b.puback(1, ReasonCode::SUCCESS);
    // It is refused like any other of QoS 1.
    b.puback(2, ReasonCode::NOT_AUTHORIZED);
    b.puback(3, ReasonCode::SUCCESS);
    assert!(is_downgraded(&b, one) && !is_downgraded(&b, plain));
    assert!(matches!(b.outcome(two), Outcome::Refused { reason: ReasonCode::NOT_AUTHORIZED, .. }));
    assert_eq!((downgrades(&b), b.engine.stats().unexpected_acks), (1, 0));
}

#[test]
fn a_server_that_offers_qos_2_gets_it_and_one_that_offers_nothing_gets_nothing() {
    let mut b = Bench::new(lowering());
    connect_offering(&mut b, Qos::ExactlyOnce, false);
    b.publish(Qos::ExactlyOnce);
    assert_eq!((b.words(), downgrades(&b)), (vec!["PUBLISH 1 q2 1".to_owned()], 0));
    let mut b = Bench::new(lowering());
    connect_offering(&mut b, Qos::AtMostOnce, false);
    let id = b.publish(Qos::ExactlyOnce);
    assert_eq!(*b.outcome(id), Outcome::NotSupported("QoS 1 and 2"));
}

#[test]
fn what_was_lowered_is_sent_again_like_qos_1_by_the_next_link_and_the_next_process() {
    let mut config = lowering();
    config.session.durable = true;
    let mut b = Bench::new(config.clone());
    connect_offering(&mut b, Qos::AtLeastOnce, false);
    b.publish(Qos::ExactlyOnce);
    b.lose();
    connect_offering(&mut b, Qos::AtLeastOnce, true);
    assert_eq!(b.words(), ["PUBLISH 1 q1 dup 1"]);
    assert_eq!(downgrades(&b), 1, "the second link only repeats it");

    let mut b = Bench::restored(config, b.records);
    connect_offering(&mut b, Qos::AtLeastOnce, true);
    assert_eq!(b.words(), ["PUBLISH 1 q1 dup 1"]);
    b.puback(1, ReasonCode::SUCCESS);
    assert!(is_downgraded(&b, 1));
    assert_eq!(downgrades(&b), 1);
}
