//! Identifiers that stay taken though nobody waits under them, from one process to the next: a new QoS 2 message under
//! one whose exchange the server still has would be answered as a copy, and never passed on.

use rejoin_core::codec::packet::ConnAckProperties;
use rejoin_core::*;

use super::bench::{Bench, kept};
use super::quarantine::serve;

/// Two identifiers, a store, QoS 2 as QoS 1 where no more is offered.
fn config() -> Config {
    let mut config = kept();
    config.session.durable = true;
    config.session.lower_qos = true;
    config.session.packet_id_max = 2;
    config
}

/// The next link, with the session, has these limits.
fn resume(b: &mut Bench, properties: ConnAckProperties) {
    b.open();
    b.connack(true, properties);
}

/// A message the server may hold under 1, and that its limit does not let through any more.
fn answered_for() -> Bench {
    let mut b = Bench::new(config());
    b.connect(false);
    let large = b.publish_with(Qos::ExactlyOnce, |p| p.payload = vec![0; 200].into());
    b.lose();
    resume(&mut b, ConnAckProperties { maximum_packet_size: Some(100), ..Default::default() });
    assert!(
        matches!(b.outcome(large), Outcome::NotSentAgain(Rejected::TooLarge { .. })),
        "it may be delivered"
    );
    b
}

/// The process that follows, connected, with two messages to send.
fn next(b: &Bench, session_present: bool) -> Bench {
    let mut next = Bench::restored(config(), b.records.clone());
    next.connect(session_present);
    next.publish(Qos::ExactlyOnce);
    next.publish(Qos::ExactlyOnce);
    next
}

#[test]
fn of_a_message_that_became_too_large() {
    let b = answered_for();
    let mut second = next(&b, true);
    assert_eq!(second.words(), ["PUBLISH 2 q2 1"], "1 is taken");
    // And the one after, which finds it in the same store.
    let mut records = b.records;
    records.append(&mut second.records);
    let mut third = Bench::restored(config(), records);
    third.connect(true);
    third.publish(Qos::ExactlyOnce);
    assert_eq!(third.words(), ["PUBLISH 2 q2 dup 1"]);
}

#[test]
fn until_the_server_ends_the_exchange() {
    let mut b = answered_for();
    b.pubcomp(1);
    assert_eq!(next(&b, true).words(), ["PUBLISH 1 q2 1", "PUBLISH 2 q2 2"]);
}

#[test]
fn until_the_session_ends() {
    let b = answered_for();
    assert_eq!(next(&b, false).words(), ["PUBLISH 2 q2 1", "PUBLISH 1 q2 2"]);
    // Nor does the store remember it afterwards.
    let mut lost = Bench::restored(config(), b.records.clone());
    lost.connect(false);
    let records = [b.records, lost.records].concat();
    assert!(Recovered::replay(records).leased.is_empty());
}

#[test]
fn of_a_message_that_was_parked() {
    let mut config = config();
    config.recovery = config.recovery.divided_by(10);
    let mut b = Bench::new(config);
    let poison = b.publish(Qos::ExactlyOnce);
    b.input(Input::Tick);
    serve(&mut b, "1", 120);
    assert!(matches!(b.outcome(poison), Outcome::Parked { .. }));
    assert_eq!(next(&b, true).words(), ["PUBLISH 2 q2 1"], "1 is taken");
}

#[test]
fn of_a_message_that_went_on_under_another() {
    let mut b = Bench::new(config());
    b.connect(false);
    let lowered = b.publish(Qos::ExactlyOnce);
    b.lose();
    b.words();
    resume(&mut b, ConnAckProperties { maximum_qos: Some(Qos::AtLeastOnce), ..Default::default() });
    assert_eq!(b.words(), ["PUBLISH 2 q1 1"]);
    b.puback(2, ReasonCode::SUCCESS);
    assert!(b.is_delivered(lowered));
    assert_eq!(next(&b, true).words(), ["PUBLISH 2 q2 1"], "1 is taken");
}

#[test]
fn but_not_of_one_that_never_left() {
    let mut b = Bench::new(config());
    b.connect(false);
    let large = b.publish_with(Qos::ExactlyOnce, |p| p.payload = vec![0; 200].into());
    b.lose();
    b.words();
    // It would begin anew under 2, and is too large for that.
    let limits = ConnAckProperties {
        maximum_qos: Some(Qos::AtLeastOnce),
        maximum_packet_size: Some(100),
        ..Default::default()
    };
    resume(&mut b, limits);
    assert!(matches!(b.outcome(large), Outcome::NotSentAgain(Rejected::TooLarge { .. })));
    b.publish(Qos::AtLeastOnce);
    assert_eq!(b.words(), ["PUBLISH 2 q1 2"]);
    assert_eq!(Recovered::replay(b.records).leased.len(), 1);
}

#[test]
fn but_not_of_one_that_went_on_under_another_and_is_under_way_under_the_first_again() {
    let mut b = Bench::new(config());
    b.connect(false);
    b.publish(Qos::ExactlyOnce);
    b.lose();
    resume(&mut b, ConnAckProperties { maximum_qos: Some(Qos::AtLeastOnce), ..Default::default() });
    // The process dies before PUBACK, and the next one finds a server that offers QoS 2.
    let mut second = Bench::restored(config(), b.records.clone());
    second.connect(true);
    assert_eq!(second.words(), ["PUBLISH 1 q2 dup 1"]);
    second.pubrec(1, ReasonCode::SUCCESS);
    second.pubcomp(1);
    let mut third = Bench::restored(config(), [b.records, second.records].concat());
    third.connect(true);
    third.publish(Qos::ExactlyOnce);
    third.publish(Qos::ExactlyOnce);
    assert_eq!(third.words(), ["PUBLISH 1 q2 1", "PUBLISH 2 q2 2"]);
}

#[test]
fn until_the_server_ends_the_exchange_with_the_next_process() {
    let mut b = answered_for();
    let waits = b.publish(Qos::ExactlyOnce);
    let mut next = Bench::restored(config(), b.records);
    next.connect(true);
    next.pubcomp(1);
    next.publish(Qos::ExactlyOnce);
    assert_eq!(next.words(), ["PUBLISH 2 q2 dup 2", "PUBLISH 1 q2 1"]);
    next.pubrec(2, ReasonCode::SUCCESS);
    next.pubcomp(2);
    assert!(next.is_delivered(waits));
}
