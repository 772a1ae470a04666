//! The last word on each message when a session is lost or the client stops: no more and no less than is known.

use std::time::Duration;

use rejoin_core::codec::packet::ConnAckProperties;
use rejoin_core::*;

use super::bench::{Bench, kept};

fn durable() -> Config {
    let mut config = kept();
    config.session.durable = true;
    config
}

fn loss(b: &Bench) -> SessionLoss {
    let lost = b.events.iter().rev().find_map(|event| match event {
        Event::Opened { session: SessionState::Lost(loss), .. } => Some(*loss),
        _ => None,
    });
    lost.expect("a session was lost")
}

#[test]
fn a_lost_session_says_how_many_messages_nobody_can_vouch_for() {
    let mut b = Bench::new(kept());
    b.connect(false);
    for policy in [SessionLossPolicy::Resend, SessionLossPolicy::Fail, SessionLossPolicy::Ask] {
        b.publish_with(Qos::AtLeastOnce, |p| p.on_loss = Some(policy));
    }
    b.publish(Qos::ExactlyOnce);
    b.pubrec(4, ReasonCode::SUCCESS);
    b.lose();
    b.connect(false);
    assert_eq!(loss(&b), SessionLoss { requeued: 1, unknown: 3 }, "given up, asked about, released");
    b.engine.decide(PublishId(3), false, b.now());
    b.drain();
    assert_eq!(*b.outcome(3), Outcome::Unknown { released: false });
}

#[test]
fn what_never_left_is_not_called_a_possible_duplicate() {
    for present in [false, true] {
        let mut b = Bench::new(durable());
        b.connect(false);
        b.fast_disk = false;
        let id = b.publish(Qos::ExactlyOnce);
        assert!(b.words().is_empty(), "its identifier is not on the store");
        b.fast_disk = true;
        b.lose();
        b.input(Input::Persisted(b.last_ticket));
        // A CONNACK was missed: Session Present proves nothing, and does not have to.
        b.open();
        b.lose();
        b.connect(present);
        let words = b.words();
        assert!(words.len() == 1 && !words[0].contains("dup"), "{words:?}");
        let n = words[0].split(' ').nth(1).unwrap().parse().unwrap();
        b.pubrec(n, ReasonCode::SUCCESS);
        b.pubcomp(n);
        assert!(
            matches!(b.outcome(id), Outcome::Delivered(r) if !r.possible_duplicate && r.attempts == 1),
            "{:?}",
            b.outcome(id)
        );
    }
}

#[test]
fn a_client_that_stops_says_of_each_message_whether_it_may_have_arrived() {
    let mut b = Bench::new(durable());
    b.connect(false);
    let undecided = b.publish_with(Qos::AtLeastOnce, |p| p.on_loss = Some(SessionLossPolicy::Ask));
    b.lose();
    b.connect(false);
    let refused = b.publish(Qos::AtLeastOnce);
    b.puback(2, ReasonCode::QUOTA_EXCEEDED);
    let sent = b.publish(Qos::AtLeastOnce);
    b.fast_disk = false;
    let not_sent = b.publish(Qos::ExactlyOnce);
    b.lose();
    let waiting = b.publish(Qos::AtLeastOnce);
    b.engine.close(Duration::ZERO, b.now());
    b.drain();
    for (id, maybe_delivered) in
        [(undecided, true), (refused, true), (sent, true), (not_sent, false), (waiting, false)]
    {
        assert_eq!(*b.outcome(id), Outcome::Stopped { maybe_delivered }, "{id}");
    }
}

#[test]
fn what_a_lost_session_had_sent_and_is_on_the_store_alone_may_have_arrived() {
    let mut config = durable();
    config.session.memory_window_bytes = 1;
    let mut b = Bench::new(config.clone());
    b.connect(false);
    let sent: Vec<u64> = (0..2).map(|_| b.publish(Qos::AtLeastOnce)).collect();
    b.lose();
    b.connect(false);
    // The process ends before it sends them in the new session.
    let again = b.records.iter().rposition(|r| matches!(r, Record::SessionStarted { .. })).unwrap();
    b.records.truncate(again + 1);
    let mut b = Bench::restored(config, b.records);
    b.engine.close(Duration::ZERO, b.now());
    b.drain();
    for id in sent {
        assert_eq!(*b.outcome(id), Outcome::Stopped { maybe_delivered: true }, "{id}");
    }
}

#[test]
fn a_resumed_link_says_how_many_packets_it_repeats() {
    let mut b = Bench::new(kept());
    b.connect(false);
    for qos in [Qos::AtLeastOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
        b.publish(qos);
    }
    b.pubrec(3, ReasonCode::SUCCESS);
    b.lose();
    b.open();
    b.connack(true, ConnAckProperties::default());
    let resending = b.events.iter().rev().find_map(|event| match event {
        Event::Opened { resending, .. } => Some(*resending),
        _ => None,
    });
    assert_eq!(resending, Some(3), "two PUBLISH and one PUBREL");
}

#[test]
fn after_a_restart_only_what_may_have_left_without_a_trace_is_a_possible_duplicate() {
    for (qos, lower_qos, may_repeat) in
        [(Qos::AtLeastOnce, false, true), (Qos::ExactlyOnce, false, false), (Qos::ExactlyOnce, true, true)]
    {
        // Waiting, and sent under an identifier that the store knows.
        for connected in [false, true] {
            let mut config = durable();
            config.session.lower_qos = lower_qos;
            let mut b = Bench::new(config.clone());
            b.connect(false);
            if !connected {
                b.lose();
            }
            let id = b.publish(qos);
            let mut b = Bench::restored(config, b.records);
            b.connect(true);
            if qos == Qos::ExactlyOnce {
                b.pubrec(1, ReasonCode::SUCCESS);
                b.pubcomp(1);
            } else {
                b.puback(1, ReasonCode::SUCCESS);
            }
            assert!(
                matches!(b.outcome(id), Outcome::Delivered(r) if r.possible_duplicate == may_repeat),
                "{qos:?}, lowered {lower_qos}, sent {connected}: {:?}",
                b.outcome(id)
            );
        }
    }
}

#[test]
fn a_released_message_of_an_earlier_process_is_no_possible_duplicate() {
    let mut config = durable();
    config.session.lower_qos = true;
    let mut b = Bench::new(config.clone());
    b.connect(false);
    let id = b.publish(Qos::ExactlyOnce);
    b.pubrec(1, ReasonCode::SUCCESS);
    let mut b = Bench::restored(config, b.records);
    b.connect(true);
    b.pubcomp(1);
    assert!(matches!(b.outcome(id), Outcome::Delivered(r) if !r.possible_duplicate), "{:?}", b.outcome(id));
}

#[test]
fn the_latest_of_a_topic_supersedes_one_of_an_earlier_process_unless_that_was_sent() {
    for was_sent in [false, true] {
        let mut b = Bench::new(durable());
        b.connect(false);
        if !was_sent {
            b.lose();
        }
        let older = b.publish_with(Qos::AtLeastOnce, |p| p.latest_only = true);
        if was_sent {
            b.lose();
            b.connect(false);
            // The process ends before it is sent in the new session.
            let again = b.records.iter().rposition(|r| matches!(r, Record::SessionStarted { .. })).unwrap();
            b.records.truncate(again + 1);
        }
        let mut b = Bench::restored(durable(), b.records);
        let mut latest = Publication::new(TopicName::new("t").unwrap(), "latest");
        (latest.qos, latest.latest_only) = (Qos::AtLeastOnce, true);
        b.engine.publish(PublishId(older + 1), latest, b.now()).unwrap();
        b.drain();
        let superseded = b.outcomes.contains(&(older, Outcome::Superseded));
        assert_eq!(superseded, !was_sent);
    }
}

#[test]
fn sessions_are_counted() {
    let mut b = Bench::new(durable());
    for _ in 0..3 {
        b.connect(false);
        b.lose();
    }
    let epochs = |b: &Bench| {
        let of = |r: &Record| match r {
            Record::SessionStarted { epoch, .. } => Some(*epoch),
            _ => None,
        };
        b.records.iter().filter_map(of).collect::<Vec<_>>()
    };
    assert_eq!(epochs(&b), [1, 2, 3]);
    let mut b = Bench::restored(durable(), b.records);
    b.connect(false);
    assert_eq!(epochs(&b), [4], "on from where the last process was");
}

#[test]
fn a_message_of_an_earlier_process_expires_by_the_wall_clock() {
    let mut b = Bench::new(durable());
    let id = b.publish_with(Qos::AtLeastOnce, |p| p.expires_after = Some(Duration::from_secs(5)));
    let mut b = Bench::restored(durable(), b.records);
    b.pass(Duration::from_millis(4999));
    assert!(b.outcomes.is_empty());
    b.pass(Duration::from_millis(1));
    assert_eq!(*b.outcome(id), Outcome::Expired);
}

#[test]
fn what_an_earlier_process_was_to_decide_on_is_still_to_be_decided() {
    for resend in [false, true] {
        let mut b = Bench::new(durable());
        b.connect(false);
        let id = b.publish_with(Qos::AtLeastOnce, |p| p.on_loss = Some(SessionLossPolicy::Ask));
        b.lose();
        b.connect(false);
        let mut b = Bench::restored(durable(), b.records);
        b.connect(true);
        assert!(b.events.contains(&Event::Undecided { id: PublishId(id) }) && b.words().is_empty());
        b.engine.decide(PublishId(id), resend, b.now());
        b.drain();
        if resend {
            assert_eq!(b.words().len(), 1);
        } else {
            assert_eq!(*b.outcome(id), Outcome::Unknown { released: false });
        }
    }
}

#[test]
fn what_never_left_goes_out_in_the_new_session_whatever_the_policy() {
    for policy in [SessionLossPolicy::Resend, SessionLossPolicy::Fail, SessionLossPolicy::Ask] {
        let mut b = Bench::new(durable());
        b.connect(false);
        b.fast_disk = false;
        let id = b.publish_with(Qos::ExactlyOnce, |p| p.on_loss = Some(policy));
        assert!(b.words().is_empty(), "its identifier is not on the store yet");
        b.fast_disk = true;
        b.lose();
        b.input(Input::Persisted(b.last_ticket));
        b.connect(false);
        let words = b.words();
        assert!(words.len() == 1 && words[0].ends_with(" q2 1"), "{policy:?}: {words:?} {:?}", b.outcomes);
        let n = words[0].split(' ').nth(1).unwrap().parse().unwrap();
        b.pubrec(n, ReasonCode::SUCCESS);
        b.pubcomp(n);
        assert!(b.is_delivered(id));
    }
}

#[test]
fn an_earlier_process_is_followed_in_the_order_in_which_it_sent() {
    let mut b = Bench::new(durable());
    b.connect(false);
    b.publish(Qos::AtLeastOnce);
    b.puback(1, ReasonCode::QUOTA_EXCEEDED);
    b.publish(Qos::AtLeastOnce);
    b.pass(Duration::from_secs(1));
    let order = ["PUBLISH 2 q1 dup 2", "PUBLISH 3 q1 dup 1"];
    let mut b = Bench::restored(durable(), b.records);
    b.connect(true);
    assert_eq!(b.words(), order); // [MQTT-4.6.0-1]
}

#[test]
fn what_never_left_expires_in_the_new_session_too() {
    for policy in [SessionLossPolicy::Resend, SessionLossPolicy::Fail, SessionLossPolicy::Ask] {
        let mut b = Bench::new(durable());
        b.connect(false);
        b.fast_disk = false;
        let id = b.publish_with(Qos::ExactlyOnce, |p| {
            p.on_loss = Some(policy);
            p.expires_after = Some(Duration::from_secs(10));
        });
        b.lose();
        b.pass(Duration::from_secs(60));
        b.fast_disk = true;
        b.input(Input::Persisted(b.last_ticket));
        b.connect(false);
        let words = b.words();
        assert_eq!(*b.outcome(id), Outcome::Expired, "{policy:?}: {words:?}");
    }
}
