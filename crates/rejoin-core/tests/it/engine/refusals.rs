//! What is refused for now, what is set aside, and whose identifier is free when.

use std::time::Duration;

use rejoin_core::codec::packet::ConnAckProperties;
use rejoin_core::*;

use super::bench::{Bench, config, kept};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn each_pause_of_a_refused_message_is_twice_the_last_up_to_thirty_times_the_first() {
    let mut b = Bench::new(config());
    b.connect(false);
    let id = b.publish(Qos::AtLeastOnce);
    b.words();
    for (n, pause) in (1..).zip([1, 2, 4, 8, 16, 30, 30, 30]) {
        b.puback(n, ReasonCode::QUOTA_EXCEEDED);
        b.live(pause - 1);
        assert!(b.words().is_empty(), "{pause} s");
        b.live(1);
        assert_eq!(b.words(), [format!("PUBLISH {} q1 1", n + 1)], "{pause} s");
    }
    b.puback(9, ReasonCode::QUOTA_EXCEEDED);
    assert!(matches!(b.outcome(id), Outcome::Refused { .. }), "8 times, and then it is told");
}

#[test]
fn refused_messages_are_due_in_their_order_and_each_when_it_is_due() {
    let mut b = Bench::new(config());
    b.connect(false);
    for _ in 0..2 {
        b.publish(Qos::AtLeastOnce);
    }
    b.puback(1, ReasonCode::QUOTA_EXCEEDED);
    b.puback(2, ReasonCode::QUOTA_EXCEEDED);
    b.words();
    b.pass(secs(1));
    assert_eq!(b.words(), ["PUBLISH 3 q1 1", "PUBLISH 4 q1 2"]);
    // The second time the pause is two seconds; what is refused for the first time meanwhile is due earlier.
    b.puback(3, ReasonCode::QUOTA_EXCEEDED);
    b.puback(4, ReasonCode::SUCCESS);
    b.publish(Qos::AtLeastOnce);
    b.words();
    b.puback(5, ReasonCode::QUOTA_EXCEEDED);
    b.pass(secs(1));
    assert_eq!(b.words(), ["PUBLISH 6 q1 3"]);
    b.pass(secs(1));
    assert_eq!(b.words(), ["PUBLISH 7 q1 1"]);
}

#[test]
fn what_is_refused_for_now_is_waited_for_when_closing() {
    let mut b = Bench::new(config());
    b.connect(false);
    let id = b.publish(Qos::AtLeastOnce);
    b.puback(1, ReasonCode::QUOTA_EXCEEDED);
    b.engine.close(secs(5), b.now());
    b.drain();
    assert_eq!(b.engine.status().link, LinkState::Open);
    b.pass(secs(1));
    b.puback(2, ReasonCode::SUCCESS);
    assert!(b.is_delivered(id));
    assert!(matches!(b.engine.status().link, LinkState::Stopped(_)), "and then nothing is waited for");
}

#[test]
fn all_that_is_not_in_flight_is_queued_wherever_it_waits() {
    let mut b = Bench::new(kept());
    b.connect(false);
    b.publish_with(Qos::AtLeastOnce, |p| p.on_loss = Some(SessionLossPolicy::Ask));
    b.lose();
    b.connect(false);
    b.publish(Qos::AtLeastOnce);
    b.puback(2, ReasonCode::QUOTA_EXCEEDED);
    b.lose();
    b.publish(Qos::AtLeastOnce);
    let status = b.engine.status();
    assert_eq!((status.queued, status.in_flight), (3, 0), "undecided, refused for now, never sent");
}

/// A broker whose limit shrank on resume: the messages are answered for, their identifiers stay taken.
fn leased(qos: Qos) -> Bench {
    let mut config = kept();
    config.session.packet_id_max = 1;
    let mut b = Bench::new(config);
    b.connect(false);
    let large = b.publish_with(qos, |p| p.payload = vec![0; 200].into());
    b.lose();
    b.open();
    b.connack(true, ConnAckProperties { maximum_packet_size: Some(100), ..Default::default() });
    assert!(
        matches!(b.outcome(large), Outcome::NotSentAgain(Rejected::TooLarge { .. })),
        "it may be delivered"
    );
    assert_eq!(b.engine.in_flight(), 0, "nobody waits for it");
    b.publish(qos);
    assert!(b.words().is_empty(), "the only identifier is taken");
    b
}

#[test]
fn an_identifier_nobody_waits_for_is_free_when_the_server_ends_its_exchange() {
    let mut b = leased(Qos::AtLeastOnce);
    b.puback(1, ReasonCode::SUCCESS);
    assert_eq!(b.words(), ["PUBLISH 1 q1 2"]);

    let mut b = leased(Qos::ExactlyOnce);
    b.pubrec(1, ReasonCode::UNSPECIFIED_ERROR);
    assert_eq!(b.words(), ["PUBLISH 1 q2 2"]);

    let mut b = leased(Qos::ExactlyOnce);
    b.pubrec(1, ReasonCode::SUCCESS);
    assert!(b.words().is_empty(), "PUBREC frees nothing");
    b.pubcomp(1);
    assert_eq!(b.words(), ["PUBLISH 1 q2 2"]);
    assert_eq!((b.engine.stats().unexpected_acks, b.outcomes.len()), (0, 1));
    // The other one goes on as if nothing had been.
    b.pubrec(1, ReasonCode::SUCCESS);
    b.pubcomp(1);
    assert!(b.is_delivered(2));
    assert_eq!(b.engine.held().in_flight_places, 0);
}

#[test]
fn what_left_is_told_apart_from_what_never_did_when_the_server_takes_less() {
    let mut b = Bench::new(kept());
    b.connect(false);
    let large = |p: &mut Publication| p.payload = vec![0; 200].into();
    let sent = b.publish_with(Qos::AtLeastOnce, large);
    let refused = b.publish_with(Qos::AtLeastOnce, large);
    let retained = b.publish_with(Qos::AtLeastOnce, |p| p.retain = true);
    b.puback(2, ReasonCode::QUOTA_EXCEEDED);
    b.lose();
    let never = b.publish_with(Qos::AtLeastOnce, large);
    b.open();
    // The session is lost, too: what was sent would be sent as new.
    let limits = ConnAckProperties {
        maximum_packet_size: Some(100),
        retain_available: Some(false),
        ..Default::default()
    };
    b.connack(false, limits);
    b.pass(secs(1));
    let too_large = |n| match b.outcome(n) {
        Outcome::NotSentAgain(Rejected::TooLarge { limit: 100, .. }) => "sent",
        Outcome::TooLarge { limit: 100, .. } => "never",
        other => panic!("{other:?}"),
    };
    assert_eq!([sent, refused, never].map(too_large), ["sent", "never", "never"]);
    assert_eq!(*b.outcome(retained), Outcome::NotSentAgain(Rejected::NotAvailable("retained messages")));
}

#[test]
fn what_is_over_is_waited_for_no_more() {
    let mut b = Bench::new(kept());
    b.connect(false);
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce, Qos::ExactlyOnce, Qos::ExactlyOnce] {
        b.publish(qos);
    }
    b.puback(1, ReasonCode::SUCCESS);
    b.puback(3, ReasonCode::SUCCESS);
    b.pubrec(2, ReasonCode::UNSPECIFIED_ERROR);
    b.pubrec(4, ReasonCode::SUCCESS);
    b.pubcomp(4);
    assert_eq!((b.outcomes.len(), b.engine.in_flight()), (4, 0));
    b.live(60);
    assert_eq!(b.closed, 0, "no acknowledgement is late");
}

#[test]
fn a_pubrec_for_a_message_of_qos_1_means_nothing() {
    let mut b = Bench::new(kept());
    b.connect(false);
    let id = b.publish(Qos::AtLeastOnce);
    b.words();
    b.pubrec(1, ReasonCode::SUCCESS);
    assert_eq!((b.engine.stats().unexpected_acks, b.words().len()), (1, 0));
    b.puback(1, ReasonCode::SUCCESS);
    assert!(b.is_delivered(id));
}

#[test]
fn a_completed_exchange_stands_in_the_way_of_no_other_on_the_next_link() {
    for (completed, left) in [(1, 2), (2, 1)] {
        let mut b = Bench::new(kept());
        b.connect(false);
        for n in 1..=2 {
            b.publish(Qos::ExactlyOnce);
            b.pubrec(n, ReasonCode::SUCCESS);
        }
        b.pubcomp(completed);
        b.lose();
        b.connect(true);
        assert_eq!(b.words(), [format!("PUBREL {left}")]);
        b.pubcomp(left);
        assert_eq!(b.outcomes.len(), 2);
    }
}
