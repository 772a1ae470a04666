//! Durable before visible: what a crash must not forget is on the store before it leaves.

use std::time::Duration;

use rejoin_core::codec::packet::ConnAckProperties;
use rejoin_core::*;

use super::bench::{Bench, kept};

fn durable() -> Config {
    let mut config = kept();
    config.session.durable = true;
    config
}

fn slow(config: Config) -> Bench {
    let mut b = Bench::new(config);
    b.connect(false);
    b.words();
    b.fast_disk = false;
    b
}

fn persisted(b: &mut Bench) {
    let ticket = b.last_ticket;
    b.input(Input::Persisted(ticket));
}

#[test]
fn qos_2_waits_for_its_identifier_and_qos_1_for_nothing() {
    let mut b = slow(durable());
    b.publish(Qos::ExactlyOnce);
    assert!(b.words().is_empty());
    persisted(&mut b);
    assert_eq!(b.words(), ["PUBLISH 1 q2 1"], "a first send has no DUP");
    b.publish(Qos::AtLeastOnce);
    assert_eq!(b.words(), ["PUBLISH 2 q1 2"]);
}

#[test]
fn stored_is_told_when_it_is_true() {
    let mut b = slow(durable());
    let id = b.publish(Qos::AtLeastOnce);
    assert!(!b.events.contains(&Event::Stored { id: PublishId(id) }));
    persisted(&mut b);
    assert!(b.events.contains(&Event::Stored { id: PublishId(id) }));
}

#[test]
fn pubrel_waits_for_its_record() {
    let mut b = slow(durable());
    b.publish(Qos::ExactlyOnce);
    persisted(&mut b);
    b.words();
    b.pubrec(1, ReasonCode::SUCCESS);
    assert!(b.words().is_empty());
    persisted(&mut b);
    assert_eq!(b.words(), ["PUBREL 1"]);
}

#[test]
fn pubrec_and_pubcomp_wait_for_theirs() {
    let mut b = slow(durable());
    b.deliver(Qos::ExactlyOnce, 3, false, "m");
    assert!(b.words().is_empty());
    persisted(&mut b);
    // [MQTT311-4.8.0-2]: what the store has not taken is not acknowledged.
    assert_eq!(b.words(), ["PUBREC 3"], "a durable inbox does not wait for the application");
    b.pubrel(3);
    assert!(b.words().is_empty());
    persisted(&mut b);
    assert_eq!(b.words(), ["PUBCOMP 3"]);
}

#[test]
fn a_new_session_is_on_the_store_before_any_packet_of_it() {
    let mut b = slow(durable());
    b.publish(Qos::AtLeastOnce);
    b.words();
    b.lose();
    b.open();
    persisted(&mut b);
    b.words();
    b.connack(false, Default::default());
    assert!(b.words().is_empty());
    persisted(&mut b);
    assert_eq!(b.words(), ["PUBLISH 2 q1 1"], "a new exchange");
}

#[test]
fn a_crash_is_one_more_reconnect() {
    let mut b = Bench::new(durable());
    b.connect(false);
    let all: Vec<u64> = [Qos::AtLeastOnce, Qos::ExactlyOnce, Qos::ExactlyOnce].map(|q| b.publish(q)).to_vec();
    b.pubrec(2, ReasonCode::SUCCESS);
    b.deliver(Qos::ExactlyOnce, 9, false, "untaken");
    let mut c = Bench::restored(durable(), b.records.clone());
    c.input(Input::Tick);
    assert_eq!(c.messages().len(), 1, "what was received but not taken is handed over again");
    assert!(!c.open().clean_start, "the session is known");
    c.connack(true, Default::default());
    assert_eq!(c.words(), ["PUBREL 2", "PUBLISH 1 q1 dup 1", "PUBLISH 3 q2 dup 3"]);
    c.puback(1, ReasonCode::SUCCESS);
    c.pubcomp(2);
    c.pubrec(3, ReasonCode::SUCCESS);
    c.pubcomp(3);
    assert_eq!(c.outcomes.iter().map(|(id, _)| *id).collect::<Vec<_>>(), all);
    c.deliver(Qos::ExactlyOnce, 9, true, "untaken");
    assert!(c.messages().is_empty());
    let mut d = Bench::restored(durable(), [b.records, c.records].concat());
    d.connect(true);
    d.pass(Duration::from_secs(1));
    assert!(d.words().is_empty(), "nothing answered for is sent again");
}

#[test]
fn an_outage_ends_with_its_bill_though_all_that_waited_is_of_an_earlier_process() {
    let mut first = Bench::new(durable());
    for _ in 0..2 {
        first.publish(Qos::AtLeastOnce);
    }
    let mut b = Bench::restored(durable(), first.records);
    b.connect(false);
    b.lose();
    b.connect(true);
    let drained = |b: &Bench| {
        b.events.iter().find_map(|event| match event {
            Event::Recovered { drained, .. } => Some(*drained),
            _ => None,
        })
    };
    b.puback(1, ReasonCode::SUCCESS);
    assert_eq!(drained(&b), None);
    b.puback(2, ReasonCode::SUCCESS);
    assert_eq!(drained(&b), Some(2));
}

#[test]
fn a_crash_does_not_turn_doubt_into_certainty() {
    let mut b = Bench::new(durable());
    b.connect(false);
    b.publish(Qos::ExactlyOnce);
    b.pubrec(1, ReasonCode::SUCCESS);
    b.lose();
    b.open();
    b.lose();
    b.connect(true); // after a CONNACK that was missed: unproven
    for _ in 0..2 {
        let stored = b.records.clone();
        b = Bench::restored(durable(), stored.clone());
        b.connect(true);
        b.records = [stored, std::mem::take(&mut b.records)].concat();
    }
    b.pubcomp(1);
    assert_eq!(*b.outcome(1), Outcome::Unknown { released: true });
}

#[test]
fn a_second_sending_in_a_session_in_doubt_is_known_after_a_restart() {
    let mut b = Bench::new(durable());
    b.connect(false);
    b.publish(Qos::ExactlyOnce);
    b.lose();
    b.open();
    b.lose();
    b.words();
    b.open();
    b.fast_disk = false;
    b.connack(true, Default::default()); // after a CONNACK that was missed: unproven
    assert!(b.words().is_empty(), "the store has to know of it first");
    persisted(&mut b);
    assert_eq!(b.words(), ["PUBLISH 1 q2 dup 1"]);
    b.fast_disk = true;
    b.pubrec(1, ReasonCode::SUCCESS);
    b.lose();
    b.connect(true);
    let mut c = Bench::restored(durable(), b.records);
    c.connect(true);
    c.pubcomp(1);
    let Outcome::Delivered(receipt) = c.outcome(1) else { panic!("{:?}", c.outcome(1)) };
    assert!(receipt.possible_duplicate, "the first may have arrived in a session that was lost");
}

#[test]
fn a_connack_before_our_connect_has_left_opens_no_link() {
    let mut b = Bench::new(durable());
    b.fast_disk = false;
    b.pass(Duration::ZERO);
    b.input(Input::Opened);
    assert!(b.words().is_empty(), "CONNECT waits for the store");
    b.input(Input::Received(bytes::Bytes::from_static(&[0x20, 3, 0, 0, 0])));
    assert!(!matches!(b.engine.status().link, LinkState::Open), "{:?}", b.engine.status().link);
    assert!(matches!(b.engine.status().last_loss, Some(LossCause::Protocol(_))));
}

/// Nobody listens where the attempt went.
fn refused(b: &mut Bench) {
    b.until_open();
    let error = TransportError::new(TransportErrorKind::Refused, "nobody listens");
    b.input(Input::OpenFailed { stage: Stage::Tcp, error });
}

#[test]
fn pubcomp_on_the_next_link_waits_for_the_store_as_on_the_first() {
    let mut b = Bench::new(durable());
    b.connect(false);
    b.deliver(Qos::ExactlyOnce, 8, false, "held");
    // After a CONNACK that is never seen this exchange is in doubt: the store goes on doubting, and need not hear of the
    // CONNECTs that follow.
    b.lose();
    b.open();
    b.lose();
    b.open();
    b.connack(true, ConnAckProperties::default());
    b.deliver(Qos::ExactlyOnce, 9, false, "m");
    assert_eq!(b.words(), ["PUBREC 9"]);
    b.fast_disk = false;
    b.pubrel(9);
    assert!(b.words().is_empty(), "the store does not know that the identifier is free");
    b.lose();
    b.open();
    b.connack(true, ConnAckProperties::default());
    b.pubrel(9);
    assert!(b.words().is_empty(), "nor does it now");
    persisted(&mut b);
    assert_eq!(b.words(), ["PUBCOMP 9 0x92"]);
}

#[test]
fn a_connect_the_store_knows_of_does_not_wait_for_what_does_not_fit() {
    let mut b = Bench::new(durable());
    b.connect(false);
    b.lose();
    refused(&mut b);
    // The disk is full from here on.
    b.fast_disk = false;
    b.publish(Qos::AtLeastOnce);
    for _ in 0..2 {
        refused(&mut b);
    }
    b.open();
    assert_eq!(b.connects.len(), 2, "it says already that a CONNECT leaves");
    b.connack(true, ConnAckProperties::default());
    assert_eq!(b.words(), ["PUBLISH 1 q1 1"]);
    // That it was answered may be on the store before that the next one leaves is.
    b.lose();
    b.open();
    assert_eq!(b.connects.len(), 2);
    persisted(&mut b);
    assert_eq!(b.connects.len(), 3);
}

#[test]
fn while_messages_do_not_fit_on_the_disk_links_open_and_sessions_begin() {
    let session_persisted = |b: &mut Bench| {
        let ticket = b.last_ticket;
        b.input(Input::SessionPersisted(ticket));
    };
    let mut b = slow(durable());
    let first = b.publish(Qos::AtLeastOnce);
    b.words();
    b.lose();
    b.open();
    assert_eq!(b.connects.len(), 1, "the store does not know that a CONNECT leaves");
    session_persisted(&mut b);
    assert_eq!(b.connects.len(), 2);
    b.connack(false, ConnAckProperties::default());
    b.words();
    assert_eq!(b.engine.in_flight(), 0, "nor that another session began");
    session_persisted(&mut b);
    assert_eq!(b.words(), ["PUBLISH 2 q1 1"]);
    // What a restart must know of a message still waits.
    b.publish(Qos::ExactlyOnce);
    b.deliver(Qos::ExactlyOnce, 9, false, "m");
    session_persisted(&mut b);
    assert!(b.words().is_empty());
    assert!(!b.events.contains(&Event::Stored { id: PublishId(first) }));
    persisted(&mut b);
    assert_eq!(b.words(), ["PUBREC 9", "PUBLISH 3 q2 2"]);
    assert!(b.events.contains(&Event::Stored { id: PublishId(first) }));
}

#[test]
fn an_attempt_that_waits_for_the_disk_is_not_held_against_the_broker() {
    let mut b = Bench::new(durable());
    b.connect(false);
    b.fast_disk = false;
    b.lose();
    b.open();
    b.pass(Duration::from_secs(10));
    let failed = b.events.iter().rev().find_map(|event| match event {
        Event::AttemptFailed { cause, verdict, .. } => Some((cause, *verdict)),
        _ => None,
    });
    let Some((LossCause::Open { error, .. }, Verdict::Absent)) = failed else { panic!("{failed:?}") };
    assert_eq!(error.kind, TransportErrorKind::Resources, "{error}");
    assert_eq!(b.connects.len(), 1);
}

#[test]
fn what_a_lost_store_never_wrote_keeps_its_place_before_what_was_accepted_later() {
    let mut config = durable();
    config.session.memory_window_bytes = 1;
    let mut b = Bench::new(config);
    b.fast_disk = false;
    let unwritten: Vec<_> = (0..3).map(|_| PublishId(b.publish(Qos::AtLeastOnce))).collect();
    let bodies = |b: &Bench, ids: &[PublishId]| -> Vec<(PublishId, Publication)> {
        b.records
            .iter()
            .filter_map(|record| match record {
                Record::Enqueued { id, publication, .. } if ids.contains(id) => {
                    Some((*id, publication.clone()))
                }
                _ => None,
            })
            .collect()
    };
    let (first, rest) = (bodies(&b, &unwritten[..2]), bodies(&b, &unwritten[2..]));
    b.input(Input::StoreLost(first));
    b.publish(Qos::AtLeastOnce);
    // Those that were on their way when the store failed come later.
    b.input(Input::StoreLost(rest));
    b.connect(false);
    assert_eq!(b.words(), ["PUBLISH 1 q1 1", "PUBLISH 2 q1 2", "PUBLISH 3 q1 3", "PUBLISH 4 q1 4"]);
}

#[test]
fn without_its_store_nothing_is_called_stored_and_nothing_is_confirmed_before_it_was_taken() {
    let mut b = Bench::new(durable());
    b.connect(false);
    b.fast_disk = false;
    b.publish(Qos::AtLeastOnce);
    b.deliver(Qos::ExactlyOnce, 8, false, "on its way to the store");
    b.input(Input::StoreLost(Vec::new()));
    persisted(&mut b);
    b.fast_disk = true;
    b.publish(Qos::AtLeastOnce);
    assert!(!b.events.iter().any(|event| matches!(event, Event::Stored { .. })), "it is in memory");
    b.words();
    b.deliver(Qos::ExactlyOnce, 9, false, "only in memory");
    assert!(b.words().is_empty(), "a process that ends now must not have said PUBREC");
    for message in b.messages() {
        b.ack(message.id.unwrap());
    }
    assert_eq!(b.words(), ["PUBREC 8", "PUBREC 9"]);
}

#[test]
fn the_latest_message_of_a_topic_is_sent_though_the_store_that_has_the_one_before_is_lost() {
    let mut config = durable();
    config.session.memory_window_bytes = 1;
    let mut b = Bench::new(config);
    for _ in 0..3 {
        b.publish_with(Qos::AtLeastOnce, |publication| publication.latest_only = true);
        b.publish(Qos::AtLeastOnce);
    }
    b.input(Input::StoreLost(Vec::new()));
    let latest = b.publish_with(Qos::AtLeastOnce, |publication| publication.latest_only = true);
    b.connect(false);
    let words = b.words();
    assert!(words.iter().any(|word| word.ends_with(&format!(" {latest}"))), "{words:?}");
}

#[test]
fn what_a_lost_store_never_had_is_not_confirmed_on_the_next_link_either() {
    let mut b = slow(durable());
    b.deliver(Qos::ExactlyOnce, 9, false, "never stored");
    b.input(Input::StoreLost(Vec::new()));
    b.lose();
    b.connect(true);
    for message in b.messages() {
        b.ack(message.id.unwrap());
    }
    b.deliver(Qos::ExactlyOnce, 9, true, "never stored");
    assert!(b.words().is_empty(), "the next process has to be given it again");
}

#[test]
fn an_identifier_that_a_lost_store_still_holds_is_not_given_back_on_the_next_link_either() {
    let mut b = Bench::new(durable());
    b.connect(false);
    b.deliver(Qos::ExactlyOnce, 9, false, "stored");
    assert_eq!(b.words(), ["PUBREC 9"]);
    b.fast_disk = false;
    b.pubrel(9);
    b.input(Input::StoreLost(Vec::new()));
    b.lose();
    b.connect(true);
    b.pubrel(9);
    assert!(b.words().is_empty(), "the next process would take another message for a copy");
}

#[test]
fn what_waits_for_a_lost_store_holds_up_nothing_that_does_not() {
    // Sent in a session that nobody can vouch for since; and not sent yet.
    for sent in [true, false] {
        let mut b = Bench::new(durable());
        b.connect(false);
        b.fast_disk = sent;
        let waits = b.publish(Qos::ExactlyOnce);
        b.publish(Qos::AtLeastOnce);
        b.fast_disk = false;
        b.input(Input::StoreLost(Vec::new()));
        assert_eq!(b.words().last().unwrap(), "PUBLISH 2 q1 2");
        b.lose();
        b.open();
        b.lose();
        b.connect(true);
        assert_eq!(b.words(), ["PUBLISH 2 q1 dup 2"], "the other waits for the next process");
        b.puback(2, ReasonCode::SUCCESS);
        // What is accepted later goes on, too, up to the next that only a store could let go.
        let later = b.publish(Qos::AtLeastOnce);
        assert_eq!(b.words(), ["PUBLISH 3 q1 3"]);
        b.publish(Qos::ExactlyOnce);
        b.publish(Qos::ExactlyOnce);
        assert!(b.words().is_empty());
        assert_eq!((b.engine.in_flight(), b.engine.held().packet_ids), (2, 2), "they take no identifiers");
        b.puback(3, ReasonCode::SUCCESS);
        assert!(b.is_delivered(later) && !b.outcomes.iter().any(|(id, _)| *id == waits));
        assert!(b.engine.deadline().is_some(), "the link is watched");
    }
}

#[test]
fn exchanges_that_a_lost_store_keeps_from_ending_do_not_keep_the_window() {
    for waits in [true, false] {
        let mut b = Bench::new(durable());
        b.open();
        let receive_maximum = std::num::NonZeroU16::new(2);
        b.connack(false, ConnAckProperties { receive_maximum, ..Default::default() });
        for _ in 0..3 {
            b.publish(Qos::ExactlyOnce);
        }
        let waiting = if waits { Some(b.publish(Qos::AtLeastOnce)) } else { None };
        assert_eq!(b.words(), ["PUBLISH 1 q2 1", "PUBLISH 2 q2 2"]);
        b.pubrec(1, ReasonCode::UNSPECIFIED_ERROR);
        assert_eq!(b.words(), ["PUBLISH 3 q2 3"]);
        b.fast_disk = false;
        b.input(Input::StoreLost(Vec::new()));
        b.pubrec(2, ReasonCode::SUCCESS);
        assert_eq!(b.closed, 0, "the other is still to be answered");
        b.pubrec(3, ReasonCode::SUCCESS);
        let Some(waiting) = waiting else {
            b.live(60);
            assert_eq!(b.closed, 0, "nothing would leave on a new link either");
            continue;
        };
        assert_eq!(b.closed, 1, "the quota of this one never comes back");
        b.open();
        b.connack(true, ConnAckProperties { receive_maximum, ..Default::default() });
        assert_eq!(b.words(), ["PUBLISH 4 q1 4"], "the releases wait for the next process");
        b.puback(4, ReasonCode::SUCCESS);
        assert!(b.is_delivered(waiting));
        b.live(60);
        assert_eq!((b.closed, b.engine.in_flight()), (1, 2));
    }
}

#[test]
fn what_a_lost_store_keeps_from_being_answered_does_not_stop_reading() {
    let mut config = durable();
    config.version = VersionPolicy::Only311;
    let most = config.link.receive_maximum;
    let mut b = Bench::new(config);
    b.connect(false);
    b.words();
    b.fast_disk = false;
    // Before the store is lost, and after.
    for n in 1..=3 * most {
        if n == most / 2 {
            b.input(Input::StoreLost(Vec::new()));
        }
        b.deliver(Qos::ExactlyOnce, n, false, "m");
        for message in b.messages() {
            b.ack(message.id.unwrap());
        }
    }
    assert!(b.engine.wants_read() && b.words().is_empty());
    b.deliver(Qos::AtLeastOnce, 1000, false, "m");
    for message in b.messages() {
        b.ack(message.id.unwrap());
    }
    assert_eq!(b.words(), ["PUBACK 1000"]);
    // A slow application still stops it.
    for n in 1..=2 * most {
        b.deliver(Qos::ExactlyOnce, 2000 + n, false, "m");
    }
    assert!(!b.engine.wants_read());
    for message in b.messages() {
        b.ack(message.id.unwrap());
    }
    assert!(b.engine.wants_read() && b.words().is_empty());
}

#[test]
fn what_an_earlier_process_sent_is_never_called_unsent() {
    for policy in [SessionLossPolicy::Ask, SessionLossPolicy::Resend] {
        let mut config = durable();
        config.session.on_loss = policy;
        let mut b = Bench::new(config.clone());
        b.connect(false);
        let id = b.publish(Qos::ExactlyOnce);
        b.lose();
        b.connect(false);
        b.engine.decide(PublishId(id), true, b.now());
        b.drain();
        // The session was lost, and the process ends before the message is sent again as a new one.
        let again = b.records.iter().rposition(|record| matches!(record, Record::Assigned { .. }));
        b.records.truncate(again.unwrap());

        let mut b = Bench::restored(config, b.records);
        assert_eq!(b.engine.evict_oldest(b.now()), None, "{policy:?}");
        assert!(!b.engine.cancel(PublishId(id), b.now()), "{policy:?}");
        b.connect(true);
        assert_eq!(b.words().len(), 1, "it is sent again");
    }
}

#[test]
fn what_is_taken_after_the_end_is_on_the_store_of_the_next_process() {
    let mut b = Bench::new(durable());
    b.connect(false);
    b.deliver(Qos::ExactlyOnce, 9, false, "once");
    b.pubrel(9);
    b.engine.close(Duration::from_secs(1), b.now());
    b.drain();
    assert!(matches!(b.engine.status().link, LinkState::Stopped(_)));
    let message = b.messages().remove(0);
    b.ack(message.id.unwrap());
    assert!(Recovered::replay(b.records).held.is_empty(), "the next process has nothing to hand over again");
}

#[test]
fn a_program_restarted_in_a_loop_keeps_to_the_budget_of_its_attempts() {
    // The clock of the bench begins at a million milliseconds.
    let reached = |count: u64| (0..count).map(|n| Record::Reached { wall_ms: 990_000 + n }).collect();
    for (count, held) in [(1, false), (12, true)] {
        let mut b = Bench::restored(durable(), reached(count));
        b.input(Input::Tick);
        assert_eq!(b.opening, !held, "after {count} attempts in the last seconds");
        let waits = matches!(b.engine.status().link, LinkState::Waiting { held_by_budget: true, .. });
        assert_eq!(waits, held);
        b.until_open();
    }
}

/// What an older queue may hold, or one that another program wrote, and no packet of a client can.
fn spoiled(records: Vec<Record>, how: impl Fn(&mut PublishProperties)) -> Vec<Record> {
    let spoil = |mut record| {
        if let Record::Enqueued { publication, .. } = &mut record {
            how(publication.properties.get_or_insert_default());
        }
        record
    };
    records.into_iter().map(spoil).collect()
}

#[test]
fn a_stored_message_that_no_packet_can_hold_is_parked_and_holds_up_nothing() {
    let spoils: [fn(&mut PublishProperties); 4] = [
        |p| p.correlation_data = Some(vec![0; 70_000].into()),
        |p| p.response_topic = Some(Text::from_static("a/#")),
        |p| p.subscription_ids = vec![1],
        |p| p.topic_alias = std::num::NonZeroU16::new(1),
    ];
    let sendings = [(Qos::AtLeastOnce, false), (Qos::AtLeastOnce, true), (Qos::ExactlyOnce, true)];
    for (how, (qos, sent)) in spoils.into_iter().flat_map(|how| sendings.map(|sending| (how, sending))) {
        let mut b = Bench::new(durable());
        if sent {
            b.connect(false);
        }
        b.publish(qos);
        let mut next = Bench::restored(durable(), spoiled(b.records, how));
        next.connect(sent);
        assert_eq!(*next.outcome(1), Outcome::Unreadable, "{qos:?}, sent: {sent}");
        let parked = Record::Parked { id: PublishId(1), why: Parking::Unreadable };
        assert!(next.records.contains(&parked), "a person can look at it");
        assert_eq!((next.engine.in_flight(), next.words().len()), (0, 0));
    }
}
