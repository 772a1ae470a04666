//! Messages on their way out: flow, windows, refusals, limits.

use std::num::NonZero;
use std::time::Duration;

use rejoin_core::codec::packet::{ConnAckProperties, Disconnect, Packet};
use rejoin_core::*;

use super::bench::{Bench, config, kept};

fn limits(change: impl FnOnce(&mut ConnAckProperties)) -> ConnAckProperties {
    let mut properties = ConnAckProperties::default();
    change(&mut properties);
    properties
}

#[test]
fn each_qos_goes_through_its_exchange_and_ends_once() {
    let mut b = Bench::new(config());
    b.connect(false);
    let (zero, one, two) =
        (b.publish(Qos::AtMostOnce), b.publish(Qos::AtLeastOnce), b.publish(Qos::ExactlyOnce));
    // [MQTT-4.3.1-1] [MQTT-4.3.2-1] [MQTT-4.3.2-2] [MQTT-4.3.3-1] [MQTT-4.3.3-2]
    assert_eq!(b.words(), ["PUBLISH - q0 1", "PUBLISH 1 q1 2", "PUBLISH 2 q2 3"]);
    assert_eq!(*b.outcome(zero), Outcome::Sent);
    b.puback(1, ReasonCode::SUCCESS);
    assert!(b.is_delivered(one));
    b.pubrec(2, ReasonCode::SUCCESS);
    assert_eq!(b.words(), ["PUBREL 2"]); // [MQTT-4.3.3-4]
    assert_eq!(b.outcomes.len(), 2, "PUBREC is not the end");
    b.pubcomp(2);
    assert!(b.is_delivered(two));
}

#[test]
fn every_publish_refused_at_pubrec_frees_id_and_window() {
    let mut b = Bench::new(config());
    b.open();
    b.connack(false, limits(|p| p.receive_maximum = std::num::NonZeroU16::new(5)));
    for _ in 0..12 {
        b.publish(Qos::ExactlyOnce);
    }
    for n in 1..=12 {
        assert!(b.sent.len() <= 5, "the window is 5"); // [MQTT-3.3.4-7]
        b.words();
        b.pubrec(n, ReasonCode::NOT_AUTHORIZED);
    }
    assert_eq!(b.outcomes.len(), 12);
    assert!(
        b.outcomes
            .iter()
            .all(|(_, o)| matches!(o, Outcome::Refused { reason: ReasonCode::NOT_AUTHORIZED, .. }))
    );
}

#[test]
fn a_smaller_window_on_resume_is_kept_and_dup_says_the_truth() {
    let mut b = Bench::new(kept());
    b.connect(false);
    for _ in 0..10 {
        b.publish(Qos::AtLeastOnce);
    }
    b.words();
    b.lose();
    b.publish(Qos::AtLeastOnce);
    b.open();
    b.connack(true, limits(|p| p.receive_maximum = std::num::NonZeroU16::new(2)));
    let mut unacked = 0;
    let mut seen = Vec::new();
    for _ in 0..11 {
        for word in b.words() {
            unacked += 1;
            seen.push(word);
        }
        assert!(unacked <= 2, "never more than 2 in flight: {seen:?}"); // [MQTT-4.9.0-1] [MQTT-3.3.4-7]
        let n: u16 = seen[seen.len() - unacked].split(' ').nth(1).unwrap().parse().unwrap();
        b.puback(n, ReasonCode::SUCCESS);
        unacked -= 1;
    }
    // [MQTT-4.6.0-1] the first order; [MQTT-3.3.1-3] DUP only on what was sent before.
    let dups = seen.iter().filter(|w| w.contains("dup")).count();
    assert_eq!((seen.len(), dups), (11, 10));
    assert_eq!(seen[10], "PUBLISH 11 q1 11");
    assert_eq!(b.outcomes.len(), 11);
}

#[test]
fn nothing_is_sent_again_on_a_live_link() {
    let mut b = Bench::new(config());
    b.connect(false);
    b.publish(Qos::AtLeastOnce);
    b.words();
    b.pass(Duration::from_secs(14));
    assert!(b.words().is_empty());
}

#[test]
fn quota_exceeded_is_told_and_tried_again_behind_the_others() {
    let mut b = Bench::new(config());
    b.connect(false);
    let (first, second) = (b.publish(Qos::AtLeastOnce), b.publish(Qos::AtLeastOnce));
    b.words();
    b.puback(1, ReasonCode::QUOTA_EXCEEDED);
    b.puback(2, ReasonCode::SUCCESS);
    assert!(b.is_delivered(second));
    assert!(b.events.iter().any(|e| matches!(e, Event::Retrying { id, .. } if id.0 == first)));
    b.pass(Duration::from_secs(1));
    // After the refusal the exchange was over: a new identifier, no DUP.
    assert_eq!(b.words(), ["PUBLISH 3 q1 1"]);
    b.puback(3, ReasonCode::SUCCESS);
    assert!(matches!(b.outcome(first), Outcome::Delivered(r) if r.refusals == 1 && r.attempts == 2));
}

#[test]
fn quota_exceeded_reaches_the_caller_in_the_end() {
    let mut config = config();
    config.session.quota_retries = 2;
    let mut b = Bench::new(config);
    b.connect(false);
    let id = b.publish(Qos::AtLeastOnce);
    for n in 1..=3 {
        b.puback(n, ReasonCode::QUOTA_EXCEEDED);
        b.pass(Duration::from_secs(3));
    }
    assert!(matches!(b.outcome(id), Outcome::Refused { reason: ReasonCode::QUOTA_EXCEEDED, .. }));
}

#[test]
fn what_the_server_cannot_take_fails_alone() {
    let mut b = Bench::new(config());
    b.open();
    b.connack(
        false,
        limits(|p| {
            p.maximum_packet_size = Some(100);
            p.maximum_qos = Some(Qos::AtLeastOnce);
            p.retain_available = Some(false);
        }),
    );
    let large = b.publish_with(Qos::AtLeastOnce, |p| p.payload = vec![0; 200].into());
    let two = b.publish(Qos::ExactlyOnce);
    let retained = b.publish_with(Qos::AtLeastOnce, |p| p.retain = true);
    let fine = b.publish(Qos::AtLeastOnce);
    assert!(matches!(b.outcome(large), Outcome::TooLarge { size: 209, limit: 100 })); // [MQTT-3.2.2-15]
    assert_eq!(*b.outcome(two), Outcome::NotSupported("QoS 2")); // [MQTT-3.2.2-9] [MQTT-3.2.2-11]
    assert_eq!(*b.outcome(retained), Outcome::NotSupported("retained messages")); // [MQTT-3.2.2-14]
    assert_eq!(b.words(), ["PUBLISH 4 q1 4"]);
    b.puback(4, ReasonCode::SUCCESS);
    assert!(b.is_delivered(fine));
    assert_eq!(b.closed, 0, "the link is untouched");
}

#[test]
fn a_limit_that_shrinks_on_resume_leaves_the_identifier_taken() {
    let mut config = kept();
    config.session.packet_id_max = 2;
    let mut b = Bench::new(config);
    b.connect(false);
    let large = b.publish_with(Qos::AtLeastOnce, |p| p.payload = vec![0; 200].into());
    b.lose();
    b.open();
    b.connack(true, limits(|p| p.maximum_packet_size = Some(100)));
    assert!(matches!(b.outcome(large), Outcome::NotSentAgain(Rejected::TooLarge { .. })));
    b.words();
    b.publish(Qos::AtLeastOnce);
    b.publish(Qos::AtLeastOnce);
    assert_eq!(b.words(), ["PUBLISH 2 q1 2"], "identifier 1 may still be held by the server");
}

#[test]
fn qos_0_is_answered_truthfully() {
    let mut b = Bench::new(config());
    let before = b.publish(Qos::AtMostOnce);
    assert_eq!(*b.outcome(before), Outcome::Dropped);
    let queued = b.publish_with(Qos::AtMostOnce, |p| p.queue_qos0 = true);
    b.fast_socket = false;
    b.connect(false);
    assert!(b.outcomes.iter().all(|(id, _)| *id != queued), "handed over, but not taken by the socket");
    b.lose();
    assert_eq!(*b.outcome(queued), Outcome::Dropped);
}

#[test]
fn expiry_ends_what_was_never_sent_and_shortens_the_rest() {
    let mut b = Bench::new(config());
    let short = b.publish_with(Qos::AtLeastOnce, |p| p.expires_after = Some(Duration::from_secs(5)));
    let long = b.publish_with(Qos::AtLeastOnce, |p| p.expires_after = Some(Duration::from_secs(60)));
    b.pass(Duration::from_secs(5));
    assert_eq!(*b.outcome(short), Outcome::Expired);
    b.connect(false);
    let sent = b.sent.iter().find_map(|p| match p {
        Packet::Publish(p) => p.properties.as_ref().and_then(|p| p.message_expiry),
        _ => None,
    });
    let left = 60 - b.at / 1_000_000;
    assert!(sent.is_some_and(|s| u64::from(s).abs_diff(left) <= 1), "{sent:?} of {left}");
    // [MQTT-4.3.3-7] once sent it never expires.
    b.pass(Duration::from_secs(13));
    b.puback(1, ReasonCode::SUCCESS);
    assert!(b.is_delivered(long));
}

#[test]
fn a_message_is_cancelled_only_before_it_is_sent() {
    let mut b = Bench::new(config());
    let id = b.publish(Qos::AtLeastOnce);
    assert!(b.engine.cancel(PublishId(id), b.now()));
    b.drain();
    assert_eq!(*b.outcome(id), Outcome::Cancelled);
    b.connect(false);
    let sent = b.publish(Qos::AtLeastOnce);
    assert!(!b.engine.cancel(PublishId(sent), b.now()));
}

#[test]
fn topic_aliases_die_with_the_link() {
    let mut b = Bench::new(kept());
    b.open();
    b.connack(false, limits(|p| p.topic_alias_maximum = Some(1)));
    b.publish(Qos::AtMostOnce);
    b.publish(Qos::AtMostOnce);
    let topics = |b: &mut Bench| {
        let of = |p: &Packet| match p {
            Packet::Publish(p) => Some(p.topic.as_str().to_owned()),
            _ => None,
        };
        b.sent.drain(..).filter_map(|p| of(&p)).collect::<Vec<_>>()
    };
    assert_eq!(topics(&mut b), ["t", ""]);
    b.lose();
    b.open();
    b.connack(true, limits(|p| p.topic_alias_maximum = Some(1)));
    b.publish(Qos::AtMostOnce);
    assert_eq!(topics(&mut b), ["t"], "full topic on a new link"); // [MQTT-3.3.2-7]
}

#[test]
fn ids_run_out_and_the_rest_waits() {
    let mut config = config();
    config.session.packet_id_max = 2;
    let mut b = Bench::new(config);
    b.connect(false);
    for _ in 0..5 {
        b.publish(Qos::AtLeastOnce);
    }
    assert_eq!(b.words(), ["PUBLISH 1 q1 1", "PUBLISH 2 q1 2"]);
    b.puback(2, ReasonCode::SUCCESS);
    assert_eq!(b.words(), ["PUBLISH 2 q1 3"], "never an identifier in use"); // [MQTT-2.2.1-3]
}

#[test]
fn unknown_acknowledgements_change_nothing() {
    let mut b = Bench::new(config());
    b.connect(false);
    let id = b.publish(Qos::ExactlyOnce);
    b.puback(7, ReasonCode::SUCCESS);
    b.pubcomp(1);
    b.pubrec(9, ReasonCode::SUCCESS);
    assert!(b.outcomes.is_empty());
    assert_eq!(b.engine.stats().unexpected_acks, 3);
    b.pubrec(1, ReasonCode::SUCCESS);
    b.pubcomp(1);
    assert!(b.is_delivered(id));
}

#[test]
fn a_qos_0_message_that_the_socket_has_not_taken_has_its_answer_when_the_shutdown_is_over() {
    let mut b = Bench::new(config());
    b.connect(false);
    b.fast_socket = false;
    let stuck = b.publish(Qos::AtMostOnce);
    b.engine.close(Duration::from_secs(1), b.now());
    b.pass(Duration::from_secs(2));
    assert_eq!(b.outcome(stuck), &Outcome::Stopped { maybe_delivered: true });
    assert!(b.engine.deadline().is_none());
}

#[test]
fn what_a_server_that_counted_differently_gets_grows_again_with_each_link_that_held() {
    let mut b = Bench::new(kept());
    let mut first = true;
    let mut link = |b: &mut Bench| {
        b.open();
        b.connack(!std::mem::take(&mut first), limits(|p| p.receive_maximum = NonZero::new(8)));
    };
    for _ in 0..2 {
        link(&mut b);
        b.receive(&Packet::Disconnect(Disconnect::new(ReasonCode::RECEIVE_MAXIMUM_EXCEEDED)));
    }
    let mut windows = Vec::new();
    for _ in 0..4 {
        link(&mut b);
        for _ in 0..10 {
            b.publish(Qos::AtLeastOnce);
        }
        windows.push(b.sent.iter().filter(|packet| matches!(packet, Packet::Publish(_))).count());
        while let Some(packet) = (!b.sent.is_empty()).then(|| b.sent.remove(0)) {
            if let Packet::Publish(publish) = packet {
                b.puback(publish.packet_id.unwrap().get(), ReasonCode::SUCCESS);
            }
        }
        b.live(60);
        b.lose();
    }
    assert_eq!(windows, [2, 4, 8, 8], "and never beyond the server's own limit");
}

#[test]
fn a_server_that_counts_differently_gets_half_of_what_it_got() {
    let mut b = Bench::new(kept());
    let offered = || limits(|properties| properties.receive_maximum = NonZero::new(8));
    b.open();
    b.connack(false, offered());
    for _ in 0..10 {
        b.publish(Qos::AtLeastOnce);
    }
    assert_eq!(b.words().len(), 8);
    for window in [4, 2, 1, 1] {
        b.receive(&Packet::Disconnect(Disconnect::new(ReasonCode::RECEIVE_MAXIMUM_EXCEEDED)));
        b.until_open();
        b.open();
        b.connack(true, offered());
        let sent = b.words().iter().filter(|word| word.starts_with("PUBLISH")).count();
        assert_eq!(sent, window);
    }
}
