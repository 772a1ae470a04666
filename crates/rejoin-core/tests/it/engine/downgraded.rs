//! A broker that answers QoS 2 with PUBACK, or says beforehand that it offers no more than QoS 1.

use std::num::NonZero;
use std::time::Duration;

use rejoin_core::codec::packet::{ConnAckProperties, Packet};
use rejoin_core::*;

use super::bench::{Bench, kept};

fn downgrades(b: &Bench) -> usize {
    b.events.iter().filter(|event| matches!(event, Event::Downgraded { .. })).count()
}

fn is_downgraded(b: &Bench, n: u64) -> bool {
    matches!(b.outcome(n), Outcome::Delivered(receipt) if receipt.downgraded)
}

fn may_repeat(b: &Bench, n: u64) -> bool {
    matches!(b.outcome(n), Outcome::Delivered(receipt) if receipt.possible_duplicate)
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

/// The next link, with the session, offers QoS 1 and a window of one.
fn connect_lowering_one_at_a_time(b: &mut Bench) {
    b.open();
    let properties = ConnAckProperties {
        maximum_qos: Some(Qos::AtLeastOnce),
        receive_maximum: NonZero::new(1),
        ..ConnAckProperties::default()
    };
    b.connack(true, properties);
}

fn lowering() -> Config {
    let mut config = kept();
    config.session.lower_qos = true;
    config
}

fn lowering_with_a_store() -> Config {
    let mut config = lowering();
    config.session.durable = true;
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
    let config = lowering_with_a_store();
    let mut b = Bench::new(config.clone());
    connect_offering(&mut b, Qos::AtLeastOnce, false);
    b.publish(Qos::ExactlyOnce);
    b.lose();
    connect_offering(&mut b, Qos::AtLeastOnce, true);
    assert_eq!(b.words(), ["PUBLISH 1 q1 dup 1"]);
    assert_eq!(downgrades(&b), 1, "the second link only repeats it");

    // Nor does the next process take another identifier: the server has no exchange of QoS 2 under this one.
    let mut records = b.records;
    let mut b = Bench::restored(config, records.clone());
    connect_offering(&mut b, Qos::AtLeastOnce, true);
    assert_eq!(b.words(), ["PUBLISH 1 q1 dup 1"]);
    b.puback(1, ReasonCode::SUCCESS);
    assert!(is_downgraded(&b, 1) && may_repeat(&b, 1));
    assert_eq!(downgrades(&b), 1);
    records.append(&mut b.records);
    assert!(Recovered::replay(records).leased.is_empty(), "it would stay taken until the session ends");
}

/// A process that is killed while this is under way at QoS 1, which it goes on with where it is not new.
fn killed(config: &Config, records: &[Record], maximum_qos: Qos, word: &str) -> Vec<Record> {
    let mut b = Bench::restored(config.clone(), records.to_vec());
    connect_offering(&mut b, maximum_qos, !records.is_empty());
    if records.is_empty() {
        b.publish(Qos::ExactlyOnce);
    }
    assert_eq!(b.words(), [word]);
    [records.to_vec(), b.records].concat()
}

#[test]
fn processes_that_are_killed_over_a_lowered_message_use_up_no_identifiers() {
    let mut config = lowering_with_a_store();
    config.session.packet_id_max = 2;
    let mut records = killed(&config, &[], Qos::AtLeastOnce, "PUBLISH 1 q1 1");
    for _ in 0..3 {
        records = killed(&config, &records, Qos::AtLeastOnce, "PUBLISH 1 q1 dup 1");
    }
    assert!(Recovered::replay(records.iter().cloned()).leased.is_empty());
    // A process that finds QoS 2 offered uses it, and those after it know.
    records = killed(&config, &records, Qos::ExactlyOnce, "PUBLISH 1 q2 dup 1");
    records = killed(&config, &records, Qos::AtLeastOnce, "PUBLISH 2 q1 1");
    records = killed(&config, &records, Qos::AtLeastOnce, "PUBLISH 2 q1 1");
    let leased = Recovered::replay(records).leased;
    assert_eq!(leased.iter().map(|id| id.get()).collect::<Vec<_>>(), [1]);
}

#[test]
fn qos_2_under_an_identifier_that_left_at_qos_1_waits_for_the_store() {
    let config = lowering_with_a_store();
    let records = killed(&config, &[], Qos::AtLeastOnce, "PUBLISH 1 q1 1");
    let mut b = Bench::restored(config, records);
    b.open();
    b.fast_disk = false;
    b.connack(true, ConnAckProperties::default());
    assert!(b.words().is_empty(), "a process that dies now leaves one that believes in QoS 1");
    b.input(Input::Persisted(b.last_ticket));
    assert_eq!(b.words(), ["PUBLISH 1 q2 dup 1"]);
}

#[test]
fn one_that_was_sent_again_as_new_is_known_to_have_gone_at_qos_1() {
    let config = lowering_with_a_store();
    let mut b = Bench::new(config.clone());
    connect_offering(&mut b, Qos::AtLeastOnce, false);
    b.publish(Qos::ExactlyOnce);
    b.lose();
    connect_offering(&mut b, Qos::AtLeastOnce, false);
    assert_eq!(b.words(), ["PUBLISH 2 q1 1"], "the session was lost");
    b.puback(2, ReasonCode::QUOTA_EXCEEDED);
    b.pass(Duration::from_secs(1));
    assert_eq!(b.words(), ["PUBLISH 3 q1 1"]);
    killed(&config, &b.records, Qos::AtLeastOnce, "PUBLISH 3 q1 dup 1");
}

/// A message that left under 1 at QoS 2 and goes on under 2 at QoS 1, when the server has ended the exchange it had.
fn begun_anew(config: &Config) -> Bench {
    let mut b = Bench::new(config.clone());
    b.connect(false);
    b.publish(Qos::ExactlyOnce);
    b.lose();
    connect_offering(&mut b, Qos::AtLeastOnce, true);
    assert_eq!(b.words(), ["PUBLISH 2 q1 1"]);
    b.pubrec(1, ReasonCode::UNSPECIFIED_ERROR);
    b
}

/// The same, and another message goes under 1.
fn anothers_by_now(config: &Config) -> Bench {
    let mut b = begun_anew(config);
    b.publish(Qos::AtLeastOnce);
    b.publish(Qos::AtLeastOnce);
    assert_eq!(b.words(), ["PUBLISH 3 q1 2", "PUBLISH 1 q1 3"]);
    b.puback(3, ReasonCode::SUCCESS);
    b
}

fn three_identifiers() -> Config {
    let mut config = lowering_with_a_store();
    config.session.packet_id_max = 3;
    config
}

#[test]
fn what_leaves_at_qos_2_under_an_identifier_of_this_process_is_on_the_store_under_it() {
    // Stores of before did not hear that the message needs another identifier.
    for of_before in [true, false] {
        let config = three_identifiers();
        let mut records = anothers_by_now(&config).records;
        let lowered = records.iter().rposition(|record| matches!(record, Record::Lowered { .. })).unwrap();
        if of_before {
            records.remove(lowered);
        }
        let mut second = Bench::restored(config.clone(), records.clone());
        connect_offering(&mut second, Qos::ExactlyOnce, true);
        assert_eq!(second.words(), ["PUBLISH 2 q2 1", "PUBLISH 1 q1 dup 3"]);
        second.pubrec(2, ReasonCode::SUCCESS);
        let mut third = Bench::restored(config, [records, second.records].concat());
        connect_offering(&mut third, Qos::ExactlyOnce, true);
        assert_eq!(third.words(), ["PUBREL 2", "PUBLISH 1 q1 dup 3"], "of before: {of_before}");
        third.pubcomp(2);
        assert!(third.is_delivered(1) && may_repeat(&third, 1));
    }
}

#[test]
fn nor_does_doubt_about_the_session_keep_that_from_the_store() {
    let config = three_identifiers();
    let records = anothers_by_now(&config).records;
    let mut second = Bench::restored(config.clone(), records.clone());
    // A CONNACK that nobody saw may have begun another session.
    second.open();
    second.lose();
    connect_offering(&mut second, Qos::ExactlyOnce, true);
    assert_eq!(second.words(), ["PUBLISH 2 q2 1", "PUBLISH 1 q1 dup 3"]);
    second.pubrec(2, ReasonCode::SUCCESS);
    let mut third = Bench::restored(config, [records, second.records].concat());
    connect_offering(&mut third, Qos::ExactlyOnce, true);
    assert_eq!(third.words(), ["PUBREL 2", "PUBLISH 1 q1 dup 3"]);
}

#[test]
fn that_one_may_have_left_without_a_trace_is_known_to_every_later_process() {
    let config = lowering_with_a_store();
    // As QoS 1 a message waits for no store: it left, was passed on, and a store that was late has nothing of that.
    let without_a_trace = |b: Bench| -> Vec<Record> {
        let of_sending = |record: &Record| {
            matches!(record, Record::Assigned { .. } | Record::Lowered { .. } | Record::Leased { .. })
        };
        b.records.into_iter().filter(|record| !of_sending(record)).collect()
    };
    let mut first = Bench::new(config.clone());
    connect_offering(&mut first, Qos::AtLeastOnce, false);
    first.publish(Qos::ExactlyOnce);
    assert_eq!(first.words(), ["PUBLISH 1 q1 1"]);
    let new = without_a_trace(first);

    let mut first = Bench::new(config.clone());
    connect_offering(&mut first, Qos::ExactlyOnce, false);
    first.publish(Qos::ExactlyOnce);
    first.lose();
    let at_qos2 = std::mem::take(&mut first.records);
    connect_offering(&mut first, Qos::AtLeastOnce, true);
    assert_eq!(first.words(), ["PUBLISH 2 q1 1"]);
    let begun_anew = [at_qos2, without_a_trace(first)].concat();

    for (records, word) in [(new, "PUBLISH 1 q2 1"), (begun_anew, "PUBLISH 1 q2 dup 1")] {
        let mut second = Bench::restored(config.clone(), records.clone());
        connect_offering(&mut second, Qos::ExactlyOnce, true);
        assert_eq!(second.words(), [word]);
        second.pubrec(1, ReasonCode::SUCCESS);
        let mut third = Bench::restored(config.clone(), [records, second.records].concat());
        connect_offering(&mut third, Qos::ExactlyOnce, true);
        assert_eq!(third.words(), ["PUBREL 1"]);
        third.pubcomp(1);
        assert!(may_repeat(&third, 1), "{word}: it arrived twice");
    }
}

#[test]
fn an_exchange_that_the_server_ended_takes_no_identifier_in_the_next_process() {
    let config = three_identifiers();
    let records = begun_anew(&config).records;
    let mut next = Bench::restored(config, records.clone());
    connect_offering(&mut next, Qos::AtLeastOnce, true);
    assert_eq!(next.words(), ["PUBLISH 1 q1 dup 1"]);
    assert!(Recovered::replay([records, next.records].concat()).leased.is_empty(), "nothing is under it");
}

#[test]
fn an_identifier_that_another_message_keeps_taken_is_not_used_by_the_one_that_had_it_first() {
    let config = three_identifiers();
    let mut records = begun_anew(&config).records;
    // Another left at QoS 2 under it and was answered for without an answer of the server.
    let (id, packet_id) = (PublishId(2), super::bench::id(1));
    records.extend([
        Record::Assigned { id, packet_id },
        Record::Leased { packet_id },
        Record::Done { id },
        Record::Lowered { id: PublishId(1) },
    ]);
    let mut next = Bench::restored(config, records);
    connect_offering(&mut next, Qos::ExactlyOnce, true);
    assert_eq!(next.words(), ["PUBLISH 2 q2 1"], "under 1 it would be taken for a copy");
}

#[test]
fn one_that_was_to_leave_at_qos_2_and_did_not_goes_on_as_qos_1() {
    let config = lowering_with_a_store();
    let records = killed(&config, &[], Qos::AtLeastOnce, "PUBLISH 1 q1 1");
    let mut b = Bench::restored(config, records.clone());
    b.open();
    b.fast_disk = false;
    b.connack(true, ConnAckProperties::default());
    assert!(b.words().is_empty(), "it waits for the store");
    b.lose();
    // The store has it when the link is gone.
    b.fast_disk = true;
    b.input(Input::Persisted(b.last_ticket));
    connect_offering(&mut b, Qos::AtLeastOnce, true);
    assert_eq!(b.words(), ["PUBLISH 1 q1 dup 1"]);
    let assigned = b.records.iter().filter(|record| matches!(record, Record::Assigned { .. })).count();
    assert_eq!(assigned, 1);
    assert!(Recovered::replay([records, b.records].concat()).leased.is_empty(), "nothing left at QoS 2");
}

#[test]
fn an_identifier_that_is_anothers_by_now_belongs_to_that_one_after_a_restart() {
    let config = three_identifiers();
    let b = anothers_by_now(&config);
    let mut b = Bench::restored(config, b.records);
    connect_offering(&mut b, Qos::AtLeastOnce, true);
    assert_eq!(b.words(), ["PUBLISH 2 q1 1", "PUBLISH 1 q1 dup 3"]);
    b.puback(1, ReasonCode::SUCCESS);
    b.puback(2, ReasonCode::SUCCESS);
    assert!(b.is_delivered(1) && b.is_delivered(3) && may_repeat(&b, 1));
    assert_eq!(b.engine.in_flight(), 0);
}

#[test]
fn what_left_at_qos_2_is_sent_at_qos_1_as_another_message_and_its_identifier_rests() {
    let mut config = lowering();
    config.session.packet_id_max = 4;
    let mut b = Bench::new(config);
    connect_offering(&mut b, Qos::ExactlyOnce, false);
    let (one, two) = (b.publish(Qos::ExactlyOnce), b.publish(Qos::ExactlyOnce));
    b.lose();
    connect_offering(&mut b, Qos::AtLeastOnce, true);
    assert_eq!(b.words(), ["PUBLISH 3 q1 1", "PUBLISH 4 q1 2"], "in their order, as new");
    b.puback(3, ReasonCode::SUCCESS);
    b.puback(4, ReasonCode::SUCCESS);
    for n in [one, two] {
        assert!(is_downgraded(&b, n) && may_repeat(&b, n));
    }
    assert_eq!((downgrades(&b), b.engine.in_flight()), (1, 0));
    b.lose();
    // The server may hold 1 and 2 until the session ends: a message under them would be taken for a copy.
    connect_offering(&mut b, Qos::ExactlyOnce, true);
    b.publish(Qos::ExactlyOnce);
    b.publish(Qos::ExactlyOnce);
    b.publish(Qos::ExactlyOnce);
    assert_eq!(b.words(), ["PUBLISH 3 q2 3", "PUBLISH 4 q2 4"]);
}

#[test]
fn sent_as_another_message_it_keeps_its_place_and_the_store_its_first_identifier() {
    let config = lowering_with_a_store();
    let mut b = Bench::new(config.clone());
    connect_offering(&mut b, Qos::ExactlyOnce, false);
    b.publish(Qos::AtLeastOnce);
    b.puback(1, ReasonCode::SUCCESS);
    b.publish(Qos::ExactlyOnce);
    b.publish(Qos::ExactlyOnce);
    assert_eq!(b.words()[1..], ["PUBLISH 2 q2 2", "PUBLISH 3 q2 3"]);
    b.lose();
    connect_lowering_one_at_a_time(&mut b);
    assert_eq!(b.words(), ["PUBLISH 4 q1 2"], "the window is one");
    b.lose();
    connect_offering(&mut b, Qos::AtLeastOnce, true);
    assert_eq!(b.words(), ["PUBLISH 4 q1 dup 2", "PUBLISH 5 q1 3"]);
    // A process that dies now leaves exchanges under 2 and 3; those at QoS 1 are over with their answers.
    let mut next = Bench::restored(config, b.records);
    connect_offering(&mut next, Qos::ExactlyOnce, true);
    assert_eq!(next.words(), ["PUBLISH 2 q2 dup 2", "PUBLISH 3 q2 dup 3"]);
}

#[test]
fn one_that_begins_anew_is_sent_again_behind_what_was_sent_before_it() {
    let mut b = Bench::new(lowering());
    connect_offering(&mut b, Qos::ExactlyOnce, false);
    b.publish(Qos::ExactlyOnce);
    b.publish(Qos::AtLeastOnce);
    b.publish(Qos::AtLeastOnce);
    b.lose();
    connect_offering(&mut b, Qos::AtLeastOnce, true);
    assert_eq!(b.words(), ["PUBLISH 4 q1 1", "PUBLISH 2 q1 dup 2", "PUBLISH 3 q1 dup 3"]);
    b.puback(2, ReasonCode::SUCCESS);
    b.lose();
    connect_offering(&mut b, Qos::AtLeastOnce, true);
    assert_eq!(b.words(), ["PUBLISH 3 q1 dup 3", "PUBLISH 4 q1 dup 1"], "[MQTT-4.6.0-1]");
}

#[test]
fn one_that_did_not_leave_at_qos_1_goes_on_at_qos_2_where_that_is_offered_again() {
    let mut b = Bench::new(lowering());
    connect_offering(&mut b, Qos::ExactlyOnce, false);
    b.publish(Qos::AtLeastOnce);
    b.puback(1, ReasonCode::SUCCESS);
    b.publish(Qos::ExactlyOnce);
    b.publish(Qos::ExactlyOnce);
    b.lose();
    connect_lowering_one_at_a_time(&mut b);
    assert_eq!((b.words(), downgrades(&b)), (vec!["PUBLISH 4 q1 2".to_owned()], 1), "the window is one");
    b.lose();
    connect_offering(&mut b, Qos::ExactlyOnce, true);
    assert_eq!(
        b.words(),
        ["PUBLISH 3 q2 dup 3", "PUBLISH 4 q1 dup 2"],
        "in the order of their first PUBLISH"
    );
}

#[test]
fn without_an_identifier_to_spare_it_ends_as_if_nobody_had_asked_for_less() {
    let mut config = lowering();
    config.session.packet_id_max = 1;
    let mut b = Bench::new(config);
    connect_offering(&mut b, Qos::ExactlyOnce, false);
    let id = b.publish(Qos::ExactlyOnce);
    b.lose();
    connect_offering(&mut b, Qos::AtLeastOnce, true);
    assert_eq!(*b.outcome(id), Outcome::NotSentAgain(Rejected::NotAvailable("QoS 2")));
    assert!(b.words().is_empty());
    assert_eq!(downgrades(&b), 0);
}

#[test]
fn after_a_restart_nothing_of_qos_2_is_called_exactly_once() {
    let config = lowering_with_a_store();
    for stored in [true, false] {
        let mut b = Bench::new(config.clone());
        connect_offering(&mut b, Qos::AtLeastOnce, false);
        b.publish(Qos::ExactlyOnce);
        assert_eq!(b.words(), ["PUBLISH 1 q1 1"]);
        // Its identifier need not be on the store when it leaves.
        b.records.retain(|record| stored || !matches!(record, Record::Assigned { .. }));
        let mut b = Bench::restored(config.clone(), b.records);
        connect_offering(&mut b, Qos::ExactlyOnce, true);
        assert_eq!(b.words(), [if stored { "PUBLISH 1 q2 dup 1" } else { "PUBLISH 1 q2 1" }]);
        b.pubrec(1, ReasonCode::SUCCESS);
        b.pubcomp(1);
        assert!(may_repeat(&b, 1) && !is_downgraded(&b, 1), "stored: {stored}");
    }
}

#[test]
fn behind_its_pubrec_it_was_qos_2_and_is_exactly_once() {
    let config = lowering_with_a_store();
    let mut b = Bench::new(config.clone());
    connect_offering(&mut b, Qos::ExactlyOnce, false);
    b.publish(Qos::ExactlyOnce);
    b.pubrec(1, ReasonCode::SUCCESS);
    let mut b = Bench::restored(config, b.records);
    connect_offering(&mut b, Qos::AtLeastOnce, true);
    assert_eq!(b.words(), ["PUBREL 1"]);
    b.pubcomp(1);
    assert!(b.is_delivered(1) && !may_repeat(&b, 1) && !is_downgraded(&b, 1));
}

#[test]
fn one_that_is_not_sent_does_not_swallow_the_news_of_the_next() {
    let mut b = Bench::new(lowering());
    b.open();
    let properties = ConnAckProperties {
        maximum_qos: Some(Qos::AtLeastOnce),
        retain_available: Some(false),
        ..ConnAckProperties::default()
    };
    b.connack(false, properties);
    let retained = b.publish_with(Qos::ExactlyOnce, |publication| publication.retain = true);
    assert_eq!(*b.outcome(retained), Outcome::NotSupported("retained messages"));
    assert_eq!(downgrades(&b), 0);
    b.publish(Qos::ExactlyOnce);
    assert_eq!((b.words(), downgrades(&b)), (vec!["PUBLISH 2 q1 2".to_owned()], 1));
}

#[test]
fn the_identifier_a_lowered_message_had_is_free_when_the_server_is_done_with_it() {
    let mut config = lowering();
    config.session.packet_id_max = 3;
    let mut b = Bench::new(config);
    b.connect(false);
    b.publish(Qos::AtLeastOnce);
    let lowered = b.publish(Qos::ExactlyOnce);
    b.puback(1, ReasonCode::SUCCESS);
    b.lose();
    connect_offering(&mut b, Qos::AtLeastOnce, true);
    assert_eq!(b.words(), ["PUBLISH 3 q1 2"]);
    // The server ends the exchange it had under the old one.
    b.pubrec(2, ReasonCode::UNSPECIFIED_ERROR);
    assert_eq!(b.engine.stats().unexpected_acks, 0);
    b.publish(Qos::AtLeastOnce);
    b.publish(Qos::AtLeastOnce);
    assert_eq!(b.words(), ["PUBLISH 1 q1 3", "PUBLISH 2 q1 4"]);
    b.puback(3, ReasonCode::SUCCESS);
    assert!(is_downgraded(&b, lowered));
}

#[test]
fn a_lost_session_gives_what_began_anew_its_place_back() {
    let mut b = Bench::new(lowering());
    connect_offering(&mut b, Qos::ExactlyOnce, false);
    b.publish(Qos::ExactlyOnce);
    b.publish(Qos::ExactlyOnce);
    b.publish(Qos::ExactlyOnce);
    b.lose();
    connect_lowering_one_at_a_time(&mut b);
    assert_eq!(b.words(), ["PUBLISH 4 q1 1"]);
    b.lose();
    // Every PUBLISH is a new one now, so the order of publishing holds again [MQTT-4.6.0-6].
    connect_offering(&mut b, Qos::AtLeastOnce, false);
    assert_eq!(b.words(), ["PINGREQ"], "two links in a row were cut over it");
    b.receive(&Packet::PingResp);
    b.live(1);
    assert_eq!(b.words(), ["PUBLISH 5 q1 1"]);
    b.puback(5, ReasonCode::SUCCESS);
    assert_eq!(b.words(), ["PUBLISH 6 q1 2", "PUBLISH 7 q1 3"]);
}

#[test]
fn that_it_went_at_qos_1_is_known_to_every_later_process() {
    for goes_on_lowering in [true, false] {
        let mut config = lowering_with_a_store();
        let mut first = Bench::new(config.clone());
        connect_offering(&mut first, Qos::ExactlyOnce, false);
        first.publish(Qos::ExactlyOnce);
        first.lose();
        // Passed on at QoS 1; the answer is lost, and the process dies.
        connect_offering(&mut first, Qos::AtLeastOnce, true);
        assert_eq!(first.words(), ["PUBLISH 2 q1 1"]);
        config.session.lower_qos = goes_on_lowering;
        let mut second = Bench::restored(config.clone(), first.records.clone());
        connect_offering(&mut second, Qos::ExactlyOnce, true);
        assert_eq!(second.words(), ["PUBLISH 1 q2 dup 1"]);
        second.pubrec(1, ReasonCode::SUCCESS);
        let mut third = Bench::restored(config, [first.records, second.records].concat());
        connect_offering(&mut third, Qos::ExactlyOnce, true);
        assert_eq!(third.words(), ["PUBREL 1"]);
        third.pubcomp(1);
        assert!(third.is_delivered(1) && may_repeat(&third, 1), "it arrived twice");
    }
}

/// A message that left at QoS 2 and began anew at QoS 1, of which it is not known whether its session lives.
fn begun_anew_in_doubt() -> Bench {
    let mut b = Bench::new(lowering_with_a_store());
    connect_offering(&mut b, Qos::ExactlyOnce, false);
    b.publish(Qos::ExactlyOnce);
    b.lose();
    // A CONNACK that nobody saw may have begun another session.
    b.open();
    b.lose();
    connect_offering(&mut b, Qos::AtLeastOnce, true);
    assert_eq!(b.words(), ["PUBLISH 2 q1 1"]);
    b
}

#[test]
fn doubt_ends_with_the_message_it_was_about() {
    let mut b = begun_anew_in_doubt();
    assert!(Recovered::replay(b.records.iter().cloned()).connack_unseen, "of this one it is not known");
    b.puback(2, ReasonCode::SUCCESS);
    b.lose();
    connect_offering(&mut b, Qos::ExactlyOnce, true);
    assert!(!Recovered::replay(b.records).connack_unseen, "and nothing else is in doubt");
}

#[test]
fn doubt_about_a_message_stays_with_it_when_it_begins_anew() {
    let mut b = begun_anew_in_doubt();
    b.lose();
    connect_offering(&mut b, Qos::AtLeastOnce, true);
    assert!(Recovered::replay(b.records).connack_unseen);
}

#[test]
fn noted_again_under_its_identifier_it_keeps_its_place_and_under_another_it_has_a_new_one() {
    let mut b = Bench::new(lowering_with_a_store());
    connect_offering(&mut b, Qos::AtLeastOnce, false);
    b.publish(Qos::ExactlyOnce);
    b.publish(Qos::ExactlyOnce);
    for (packet_id, order) in [(1, [1, 2]), (3, [2, 1])] {
        let again = Record::Assigned { id: PublishId(1), packet_id: super::bench::id(packet_id) };
        let kept = Recovered::replay(b.records.iter().cloned().chain([again]));
        assert_eq!(kept.sent.iter().map(|sent| sent.id.0).collect::<Vec<_>>(), order);
    }
}

/// What waits for a lost store waits for ever, and nobody waits for it: each let the other pass, and the engine never came
/// back from that, as this test would not.
#[test]
fn what_begins_anew_does_not_wait_for_what_waits_for_a_lost_store() {
    let mut b = Bench::new(lowering_with_a_store());
    connect_offering(&mut b, Qos::ExactlyOnce, false);
    let first = b.publish_with(Qos::ExactlyOnce, |p| p.on_loss = Some(SessionLossPolicy::Ask));
    b.lose();
    connect_offering(&mut b, Qos::ExactlyOnce, false);
    b.publish(Qos::ExactlyOnce);
    b.words();
    b.fast_disk = false;
    b.engine.decide(PublishId(first), true, b.now());
    b.drain();
    b.input(Input::StoreLost(Vec::new()));
    b.lose();
    connect_offering(&mut b, Qos::AtLeastOnce, true);
    b.receive(&Packet::PingResp);
    b.live(1);
    let words = b.words();
    assert!(words.iter().any(|word| word.ends_with("q1 2")), "{words:?}");
}
