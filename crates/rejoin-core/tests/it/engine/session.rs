//! Resume, loss, doubt: what becomes of exchanges when a link ends.

use std::time::Duration;

use rejoin_core::codec::packet::ConnAckProperties;
use rejoin_core::*;

use super::bench::{Bench, config, kept};

#[test]
fn a_resumed_session_repeats_the_same_identifiers_in_order() {
    let mut b = Bench::new(kept());
    b.connect(false);
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce, Qos::ExactlyOnce] {
        b.publish(qos);
    }
    b.pubrec(2, ReasonCode::SUCCESS);
    b.words();
    b.lose();
    b.connect(true);
    // [MQTT-3.3.1-1] [MQTT-4.4.0-1] [MQTT-3.1.2-23] [MQTT-4.1.0-1] [MQTT-3.1.2-5] [MQTT-3.2.2-3]: what waits for
    // PUBACK [MQTT-4.3.2-3], PUBREC [MQTT-4.3.3-3] or PUBCOMP [MQTT-4.3.3-5], and never a PUBLISH after PUBREL [MQTT-4.3.3-6].
    assert_eq!(b.words(), ["PUBREL 2", "PUBLISH 1 q1 dup 1", "PUBLISH 3 q2 dup 3"]);
    b.pubcomp(2);
    assert!(b.is_delivered(2));
}

#[test]
fn a_lost_session_loses_no_message() {
    for clean in [false, true] {
        let mut b = Bench::new(if clean { config() } else { kept() });
        b.connect(false);
        for _ in 0..40 {
            b.publish(Qos::AtLeastOnce);
        }
        for n in 1..=30 {
            b.puback(n, ReasonCode::SUCCESS);
        }
        b.words();
        b.lose();
        b.connect(false);
        assert!(b.events.iter().any(|e| matches!(
            e,
            Event::Opened { session: SessionState::Lost(SessionLoss { requeued: 10, unknown: 0 }), .. }
        )));
        let words = b.words();
        assert_eq!(words.len(), 10);
        // [MQTT-3.1.2-4] [MQTT-3.1.2-6] [MQTT-3.2.2-5] [MQTT-3.3.1-3]
        assert!(words.iter().all(|w| !w.contains("dup")), "a new session, new exchanges: {words:?}");
        for word in words {
            b.puback(word.split(' ').nth(1).unwrap().parse().unwrap(), ReasonCode::SUCCESS);
        }
        assert_eq!(b.outcomes.len(), 40);
        assert!(matches!(b.outcome(31), Outcome::Delivered(r) if r.possible_duplicate));
        assert!(matches!(b.outcome(30), Outcome::Delivered(r) if !r.possible_duplicate));
    }
}

#[test]
fn released_and_unconfirmed_is_never_called_success() {
    let mut b = Bench::new(kept());
    b.connect(false);
    let (released, sent) = (b.publish(Qos::ExactlyOnce), b.publish(Qos::ExactlyOnce));
    b.pubrec(1, ReasonCode::SUCCESS);
    b.words();
    b.lose();
    b.connect(false);
    assert_eq!(*b.outcome(released), Outcome::Unknown { released: true });
    assert_eq!(b.words(), ["PUBLISH 3 q2 2"]);
    b.pubrec(3, ReasonCode::SUCCESS);
    b.pubcomp(3);
    assert!(matches!(b.outcome(sent), Outcome::Delivered(r) if r.possible_duplicate));
}

#[test]
fn a_first_release_of_what_the_server_does_not_know_is_never_called_success() {
    let unknown = Outcome::Unknown { released: true };
    let not_found = ReasonCode::PACKET_IDENTIFIER_NOT_FOUND;
    let mut config = kept();
    config.session.durable = true;
    let sent = || {
        let mut b = Bench::new(config.clone());
        b.connect(false);
        b.publish(Qos::ExactlyOnce);
        b.words();
        b
    };
    // It said PUBREC and has forgotten since. Whether it passed the message on, nobody knows.
    let mut b = sent();
    b.pubrec(1, ReasonCode::SUCCESS);
    assert_eq!(b.words(), ["PUBREL 1"]);
    b.pubcomp_saying(1, not_found);
    assert_eq!(*b.outcome(1), unknown);
    // The same where the link ended before the first PUBREL could leave.
    let mut b = sent();
    b.fast_disk = false;
    b.pubrec(1, ReasonCode::SUCCESS);
    assert!(b.words().is_empty(), "its record is not on the store");
    b.fast_disk = true;
    b.lose();
    b.connect(true);
    assert_eq!(b.words(), ["PUBREL 1"]);
    b.pubcomp_saying(1, not_found);
    assert_eq!(*b.outcome(1), unknown);
    // Where one may have left before, by this process or an earlier one, the exchange was complete before.
    let mut b = sent();
    b.pubrec(1, ReasonCode::SUCCESS);
    let records = b.records.clone();
    b.lose();
    b.connect(true);
    b.pubcomp_saying(1, not_found);
    assert!(b.is_delivered(1));
    let mut b = Bench::restored(config, records);
    b.connect(true);
    assert_eq!(b.words(), ["PUBREL 1"]);
    b.pubcomp_saying(1, not_found);
    assert!(b.is_delivered(1));
}

#[test]
fn the_policy_for_a_lost_session_is_obeyed_per_message() {
    let mut b = Bench::new(kept());
    b.connect(false);
    let fail = b.publish_with(Qos::AtLeastOnce, |p| p.on_loss = Some(SessionLossPolicy::Fail));
    let ask = b.publish_with(Qos::AtLeastOnce, |p| p.on_loss = Some(SessionLossPolicy::Ask));
    b.words();
    b.lose();
    b.connect(false);
    assert_eq!(*b.outcome(fail), Outcome::Unknown { released: false });
    assert!(b.events.contains(&Event::Undecided { id: PublishId(ask) }));
    assert!(b.words().is_empty());
    b.engine.decide(PublishId(ask), true, b.now());
    b.drain();
    assert_eq!(b.words(), ["PUBLISH 3 q1 2"]);
}

#[test]
fn session_present_after_a_missed_connack_proves_nothing() {
    let mut b = Bench::new(kept());
    b.connect(false);
    let id = b.publish(Qos::ExactlyOnce);
    b.pubrec(1, ReasonCode::SUCCESS);
    b.deliver(Qos::ExactlyOnce, 5, false, "first");
    let first = b.messages().remove(0);
    b.ack(first.id.unwrap());
    b.lose();
    // The broker loses its sessions, and our CONNACK is lost too.
    b.open();
    b.lose();
    b.open();
    b.connack(true, ConnAckProperties::default());
    b.deliver(Qos::ExactlyOnce, 5, false, "second");
    assert_eq!(b.messages().len(), 1, "a new message under an old identifier");
    b.pubcomp(1);
    assert_eq!(
        *b.outcome(id),
        Outcome::Unknown { released: true },
        "PUBCOMP for an unknown id proves nothing"
    );
}

#[test]
fn a_fresh_session_is_fresh_once() {
    let mut b = Bench::new(config());
    let first = b.open();
    assert!(first.clean_start);
    assert_eq!(first.properties.session_expiry, Some(300));
    b.lose();
    assert!(b.open().clean_start, "no CONNACK was seen: there is no session to go on with");
    b.connack(false, ConnAckProperties::default());
    b.lose();
    assert!(!b.open().clean_start, "each cut would be a session loss otherwise");
}

#[test]
fn without_stored_state_the_first_connect_is_clean_unless_adopted() {
    let mut b = Bench::new(kept());
    assert!(b.open().clean_start);
    let mut config = kept();
    config.session.adopt = true;
    let mut b = Bench::new(config);
    assert!(!b.open().clean_start);
    b.connack(true, ConnAckProperties::default());
    assert!(matches!(b.engine.status().link, LinkState::Open));
}

#[test]
fn session_present_after_a_clean_start_is_a_protocol_error() {
    let mut b = Bench::new(kept());
    b.connect(true); // [MQTT-3.2.2-2]
    assert!(b.events.iter().any(|e| matches!(e, Event::AttemptFailed { cause: LossCause::Protocol(_), .. })));
}

#[test]
fn a_session_belongs_to_its_server() {
    for (clustered, clean) in [(false, true), (true, false)] {
        let mut config = kept();
        config.servers.push(Text::from_static("b"));
        config.session.clustered = clustered;
        let mut b = Bench::new(config);
        b.connect(false);
        b.lose();
        // The first server refuses; the next one is another.
        refuse_once(&mut b);
        let connect = b.open();
        assert_eq!(b.engine.status().server, 1);
        assert_eq!(connect.clean_start, clean, "clustered: {clustered}");
    }
}

#[test]
fn at_3_1_1_a_session_of_another_life_is_ended_first() {
    let mut config = kept();
    config.version = VersionPolicy::Only311;
    config.recovery.budget = None;
    let mut b = Bench::new(config);
    assert!(!b.open().clean_start);
    b.connack(true, ConnAckProperties::default()); // [MQTT-3.2.2-4]
    assert_eq!(b.last_words(), ["DISCONNECT 0x00"]);
    assert!(b.open().clean_start);
    b.connack(false, ConnAckProperties::default());
    assert_eq!(b.last_words(), ["DISCONNECT 0x00"]);
    assert!(!b.open().clean_start);
    b.connack(false, ConnAckProperties::default());
    assert!(matches!(b.engine.status().link, LinkState::Open));
}

/// A kept session at 3.1.1 on the first of two servers, whose link is lost and whose port is closed then: the next CONNECT is
/// for the other one.
fn moved_at_3_1_1() -> Bench {
    let mut config = kept();
    config.version = VersionPolicy::Only311;
    config.recovery.budget = None;
    config.servers.push(Text::from_static("b"));
    let mut b = Bench::new(config);
    b.connect(false);
    b.lose();
    refuse_once(&mut b);
    b
}

/// The port that is tried next is closed.
fn refuse_once(b: &mut Bench) {
    b.until_open();
    b.opening = false;
    let error = TransportError::new(TransportErrorKind::Refused, "refused");
    b.input(Input::OpenFailed { stage: Stage::Tcp, error });
}

fn sessions(b: &Bench) -> Vec<SessionState> {
    let of = |event: &Event| match event {
        Event::Opened { session, .. } => Some(*session),
        _ => None,
    };
    b.events.iter().filter_map(of).collect()
}

/// A clean session ends with its link there: what the user wants kept would be lost with the next cut.
#[test]
fn at_3_1_1_a_session_that_begins_at_another_server_is_kept_there() {
    let mut b = moved_at_3_1_1();
    assert!(!b.open().clean_start); // [MQTT311-3.1.2-6]
    assert_eq!(b.engine.status().server, 1);
    b.connack(false, ConnAckProperties::default());
    let lost = SessionState::Lost(SessionLoss::default());
    assert_eq!(sessions(&b), [SessionState::New, lost]);
    b.lose();
    assert!(!b.open().clean_start);
    b.connack(true, ConnAckProperties::default());
    assert_eq!(sessions(&b), [SessionState::New, lost, SessionState::Kept]);
}

#[test]
fn at_3_1_1_a_session_that_another_server_still_has_is_ended_first() {
    let mut b = moved_at_3_1_1();
    assert!(!b.open().clean_start);
    b.connack(true, ConnAckProperties::default());
    assert_eq!(b.last_words(), ["DISCONNECT 0x00"]);
    assert!(b.open().clean_start);
    assert_eq!(b.engine.status().server, 1);
    b.connack(false, ConnAckProperties::default());
    assert_eq!(b.last_words(), ["DISCONNECT 0x00"]);
    assert!(!b.open().clean_start);
    b.connack(false, ConnAckProperties::default());
    assert_eq!(sessions(&b), [SessionState::New, SessionState::Lost(SessionLoss::default())]);
}

#[test]
fn at_3_1_1_ending_what_another_server_has_leaves_our_own_session_alone() {
    let mut b = moved_at_3_1_1();
    b.open();
    b.connack(true, ConnAckProperties::default());
    refuse_once(&mut b);
    assert!(!b.open().clean_start, "the first server has our session");
    assert_eq!(b.engine.status().server, 0);
    b.connack(true, ConnAckProperties::default());
    assert_eq!(sessions(&b), [SessionState::New, SessionState::Kept]);
    b.lose();
    assert!(!b.open().clean_start);
}

/// Seed 538,459: a CONNACK that was never seen may have spoken of a new session, whatever became of another server's.
#[test]
fn at_3_1_1_ending_what_another_server_has_takes_no_doubt_away() {
    let mut config = kept();
    config.version = VersionPolicy::Only311;
    config.recovery.budget = None;
    config.session.resubscribe = Resubscribe::WhenAbsent;
    config.servers.push(Text::from_static("b"));
    let mut b = Bench::new(config);
    b.connect(false);
    b.subscribe(1, "t");
    b.suback(1, ReasonCode::SUCCESS);
    b.lose();
    assert_eq!((b.open().clean_start, b.engine.status().server), (false, 0));
    b.lose();
    refuse_until(&mut b, 1);
    b.open();
    b.connack(true, ConnAckProperties::default());
    assert_eq!(b.last_words(), ["DISCONNECT 0x00"]);
    refuse_until(&mut b, 0);
    b.open();
    b.connack(true, ConnAckProperties::default());
    assert_eq!(sessions(&b), [SessionState::New, SessionState::Kept]);
    assert!(b.words().iter().any(|word| word.starts_with("SUBSCRIBE")), "the session may be a new one");
}

#[test]
fn at_3_1_1_what_was_found_at_one_server_is_not_ended_at_the_next() {
    let mut config = kept();
    config.version = VersionPolicy::Only311;
    config.recovery.budget = None;
    config.servers.extend([Text::from_static("b"), Text::from_static("third")]);
    let mut b = Bench::new(config);
    b.connect(false);
    b.lose();
    refuse_until(&mut b, 1);
    b.open();
    b.connack(true, ConnAckProperties::default());
    refuse_until(&mut b, 2);
    assert!(!b.open().clean_start, "nothing was found here");
    b.connack(false, ConnAckProperties::default());
    assert_eq!(sessions(&b).len(), 2, "and nothing is in the way");
}

/// Ports are closed until this server is tried next.
fn refuse_until(b: &mut Bench, server: usize) {
    b.until_open();
    while b.engine.status().server != server {
        refuse_once(b);
        b.until_open();
    }
}

#[test]
fn at_3_1_1_qos_2_on_a_session_of_one_link_is_warned_about_once() {
    for (mut config, warnings) in [(config(), 1), (kept(), 0)] {
        config.version = VersionPolicy::Only311;
        let mut b = Bench::new(config);
        for _ in 0..3 {
            b.connect(false);
            b.lose();
        }
        assert_eq!(b.events.iter().filter(|event| **event == Event::Qos2MayRepeat).count(), warnings);
    }
}

#[test]
fn a_session_that_was_asked_to_be_new_is_not_lost() {
    let mut config = config();
    config.version = VersionPolicy::Only311;
    let mut b = Bench::new(config);
    b.connect(false);
    let id = b.publish(Qos::AtLeastOnce);
    b.lose();
    assert!(b.open().clean_start, "such a session ends with its link");
    b.connack(false, ConnAckProperties::default());
    assert_eq!(sessions(&b), [SessionState::New, SessionState::New]);
    assert_eq!(b.engine.stats().sessions_lost, 0);
    // For messages it is the same.
    assert_eq!(b.words(), ["PUBLISH 2 q1 1"]);
    b.puback(2, ReasonCode::SUCCESS);
    assert!(matches!(b.outcome(id), Outcome::Delivered(receipt) if receipt.possible_duplicate));
    // What another server has is left behind, and that is a loss.
    let mut b = moved_at_3_1_1();
    b.open();
    b.connack(false, ConnAckProperties::default());
    assert_eq!(sessions(&b), [SessionState::New, SessionState::Lost(SessionLoss::default())]);
    assert_eq!(b.engine.stats().sessions_lost, 1);
}

#[test]
fn an_assigned_client_id_is_kept() {
    let mut config = config();
    config.client_id = Text::default();
    let mut b = Bench::new(config);
    assert!(b.open().client_id.is_empty());
    let assigned_client_id = Some(Text::from_static("given"));
    b.connack(false, ConnAckProperties { assigned_client_id, ..Default::default() });
    b.lose();
    assert_eq!(b.open().client_id.as_str(), "given"); // [MQTT-3.1.3-7] [MQTT-3.2.2-16] [MQTT-3.1.3-2]
}

#[test]
fn closing_drains_says_goodbye_and_answers_for_the_rest() {
    let mut b = Bench::new(config());
    b.connect(false);
    let (done, left) = (b.publish(Qos::AtLeastOnce), b.publish(Qos::AtLeastOnce));
    b.words();
    b.engine.close(Duration::from_secs(5), b.now());
    b.drain();
    b.puback(1, ReasonCode::SUCCESS);
    assert!(b.is_delivered(done));
    b.pass(Duration::from_secs(5));
    assert_eq!(b.words(), ["DISCONNECT 0x00"]);
    assert_eq!(*b.outcome(left), Outcome::Stopped { maybe_delivered: true });
    assert!(matches!(b.engine.status().link, LinkState::Stopped(StopReason::Shutdown)));
    assert_eq!(b.engine.deadline(), None);
    let late = b.engine.publish(PublishId(99), Publication::new(TopicName::new("t").unwrap(), ""), b.now());
    assert_eq!(late, Err(Rejected::Stopped));
}

#[test]
fn closing_in_a_pause_is_over_at_once() {
    let mut b = Bench::new(config());
    b.input(Input::Tick);
    b.opening = false;
    b.input(Input::OpenFailed {
        stage: Stage::Tcp,
        error: TransportError::new(TransportErrorKind::Refused, "refused"),
    });
    b.engine.close(Duration::from_secs(30), b.now());
    b.drain();
    assert!(matches!(b.engine.status().link, LinkState::Stopped(_)));
}
