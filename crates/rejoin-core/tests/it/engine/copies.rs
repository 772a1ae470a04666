//! Which PUBLISH is a copy and which a new message, and which acknowledgement still means something.

use rejoin_core::codec::packet::{Packet, Publish};
use rejoin_core::*;

use super::bench::{Bench, config, id, kept};

fn durable() -> Config {
    let mut config = kept();
    config.session.durable = true;
    config
}

/// QoS 2 under identifier 7.
fn deliver(b: &mut Bench, dup: bool, topic: &'static str, payload: &'static str) -> usize {
    b.receive(&Packet::Publish(Publish {
        dup,
        qos: Qos::ExactlyOnce,
        retain: false,
        topic: PublishTopic::from_static(topic),
        packet_id: Some(id(7)),
        properties: None,
        payload: payload.into(),
    }));
    b.messages().len()
}

#[test]
fn another_topic_or_another_payload_on_a_later_link_is_another_message() {
    for (topic, payload, new) in [("t", "m", 0), ("u", "m", 1), ("t", "n", 1)] {
        let mut b = Bench::new(kept());
        b.connect(false);
        assert_eq!(deliver(&mut b, false, "t", "m"), 1);
        // On one link an identifier cannot change its meaning before PUBREL [MQTT-4.3.3-10].
        assert_eq!(deliver(&mut b, true, topic, payload), 0);
        b.lose();
        b.connect(true);
        assert_eq!(deliver(&mut b, true, topic, payload), new, "{topic} {payload}");
        b.words();
        // Whatever became of it, one PUBREL ends it and the identifier is new.
        b.lose();
        b.connect(true);
        assert_eq!(deliver(&mut b, true, topic, payload), 0);
    }
}

/// Records as versions wrote them that kept no digest of what was taken.
fn without_digests(records: Vec<Record>) -> Vec<Record> {
    let older = |record| match record {
        Record::Taken { id, .. } => Record::Taken { id, digest: None },
        other => other,
    };
    records.into_iter().map(older).collect()
}

#[test]
fn another_message_under_the_identifier_of_what_was_taken_is_handed_over_after_a_restart() {
    for dup in [true, false] {
        let mut b = Bench::new(durable());
        b.connect(false);
        deliver(&mut b, false, "t", "taken");
        b.ack(MessageId(1));
        assert_eq!(b.words(), ["PUBREC 7"]);
        let stored = b.records.clone();
        // The broker came back with an older session. We see it, and are killed before the store knows.
        b.lose();
        b.connect(true);
        assert_eq!(deliver(&mut b, false, "t", "another"), 1);
        let mut b = Bench::restored(durable(), stored);
        b.connect(true);
        assert_eq!(deliver(&mut b, dup, "t", "another"), 1, "nobody here has it, DUP {dup}");
        assert!(b.records.contains(&Record::Freed { id: MessageId(1) }), "{:?}", b.records);
        b.ack(MessageId(2));
        b.pubrel(7);
        assert_eq!(b.words(), ["PUBREC 7", "PUBCOMP 7"]);
    }
}

#[test]
fn what_an_earlier_process_took_is_not_handed_over_again_however_often_it_comes() {
    let mut b = Bench::new(durable());
    b.connect(false);
    deliver(&mut b, false, "t", "taken");
    b.ack(MessageId(1));
    let mut b = Bench::restored(durable(), b.records);
    // A session that nobody can vouch for, and a broker that sends again without DUP.
    b.open();
    b.lose();
    for _ in 0..2 {
        b.connect(true);
        assert_eq!(deliver(&mut b, false, "t", "taken"), 0, "it is the same to the byte");
        assert_eq!(b.words(), ["PUBREC 7"]);
        b.lose();
    }
    b.connect(true);
    assert_eq!(deliver(&mut b, true, "u", "taken"), 1, "the topic counts");
}

#[test]
fn what_was_taken_has_a_digest_on_the_store_while_its_identifier_is_held() {
    let taken = |b: &Bench| {
        b.records.iter().find_map(|record| match record {
            Record::Taken { digest, .. } => Some(*digest),
            _ => None,
        })
    };
    let mut b = Bench::new(durable());
    b.connect(false);
    deliver(&mut b, false, "t", "m");
    b.ack(MessageId(1));
    assert_eq!(taken(&b), Some(Some(Digest::of("t", "m".as_bytes()))));
    // Handed over again by the next process, it is taken there.
    b.records.retain(|record| !matches!(record, Record::Taken { .. }));
    let mut b = Bench::restored(durable(), b.records);
    b.input(Input::Tick);
    b.ack(MessageId(1));
    assert_eq!(taken(&b), Some(Some(Digest::of("t", "m".as_bytes()))));
    let mut b = Bench::new(durable());
    b.connect(false);
    deliver(&mut b, false, "t", "m");
    b.lose();
    b.connect(false);
    b.ack(MessageId(1));
    assert_eq!(taken(&b), Some(None), "its session is gone, and its identifier with it");
}

#[test]
fn without_a_digest_only_doubt_and_a_missing_dup_together_make_another_message() {
    for (doubtful, dup, new) in [(false, false, 0), (false, true, 0), (true, true, 0), (true, false, 1)] {
        let mut b = Bench::new(durable());
        b.connect(false);
        deliver(&mut b, false, "t", "m");
        b.engine.ack(MessageId(1), ReasonCode::SUCCESS, b.now());
        b.drain();
        // What the application took is not kept, so there is nothing to compare with.
        let mut b = Bench::restored(durable(), without_digests(b.records));
        if doubtful {
            b.open();
            b.lose();
        }
        b.connect(true);
        assert_eq!(deliver(&mut b, dup, "t", "m"), new, "doubtful {doubtful}, DUP {dup}");
    }
}

#[test]
fn a_copy_on_the_same_link_is_owed_one_answer() {
    let mut b = Bench::new(config());
    b.connect(false);
    b.deliver(Qos::ExactlyOnce, 6, false, "other");
    deliver(&mut b, false, "t", "m");
    deliver(&mut b, true, "t", "m");
    assert_eq!(b.engine.held().answers_owed, 2);
    b.ack(MessageId(1));
    b.ack(MessageId(2));
    assert_eq!(b.words(), ["PUBREC 6", "PUBREC 7"]);
    deliver(&mut b, true, "t", "m");
    assert_eq!(b.words(), ["PUBREC 7"], "it asked again");
}

#[test]
fn an_acknowledgement_counts_once() {
    let mut b = Bench::new(kept());
    b.connect(false);
    for n in 1..=3 {
        b.deliver(Qos::AtLeastOnce, n, false, "m");
    }
    b.ack(MessageId(2));
    b.engine.ack(MessageId(2), ReasonCode::UNSPECIFIED_ERROR, b.now());
    b.drain();
    assert_eq!(b.engine.stats().stale_acks, 1, "the second is too late");
    b.ack(MessageId(1));
    assert_eq!(b.words(), ["PUBACK 1", "PUBACK 2"], "the first holds");
    b.ack(MessageId(99));
    assert_eq!(b.engine.stats().stale_acks, 2);
    assert!(b.words().is_empty(), "an unknown name answers for nothing");
    assert_eq!(b.engine.held().answers_owed, 1);
}

#[test]
fn a_copy_of_an_older_message_is_answered_in_its_turn() {
    let mut b = Bench::new(kept());
    b.connect(false);
    deliver(&mut b, false, "t", "old");
    b.lose();
    b.connect(true);
    // The copy comes behind a newer message, so names do not ascend in the row.
    b.deliver(Qos::ExactlyOnce, 8, false, "new");
    assert_eq!(deliver(&mut b, true, "t", "old"), 1, "the new one");
    b.ack(MessageId(1));
    assert!(b.words().is_empty(), "the first in the row is not taken");
    b.ack(MessageId(2));
    assert_eq!(b.words(), ["PUBREC 8", "PUBREC 7"]);
}

#[test]
fn the_store_stands_in_for_the_application_up_to_our_receive_maximum() {
    let mut config = durable();
    config.link.receive_maximum = 2;
    let mut b = Bench::new(config);
    b.connect(false);
    for n in 1..=3 {
        b.deliver(Qos::ExactlyOnce, n, false, "m");
    }
    assert_eq!(b.words(), ["PUBREC 1", "PUBREC 2"], "two may lie there untaken");
    b.ack(MessageId(3));
    assert_eq!(b.words(), ["PUBREC 3"]);
}

#[test]
fn what_the_store_confirmed_is_not_refused_behind_its_back() {
    let mut b = Bench::new(durable());
    b.connect(false);
    b.deliver(Qos::ExactlyOnce, 1, false, "m");
    assert_eq!(b.words(), ["PUBREC 1"]);
    b.lose();
    b.refuse(MessageId(1));
    b.connect(true);
    b.words();
    b.deliver(Qos::ExactlyOnce, 1, true, "m");
    assert_eq!(b.words(), ["PUBREC 1"], "what was said once stands");
}

#[test]
fn a_refusal_that_did_not_leave_counts_as_taken_in_the_next_process() {
    let mut config = durable();
    config.link.receive_maximum = 1;
    let mut first = Bench::new(config.clone());
    first.connect(false);
    for n in 1..=2 {
        first.deliver(Qos::ExactlyOnce, n, false, "m");
    }
    first.lose();
    first.refuse(MessageId(2));
    let records = first.records.clone();
    first.connect(true);
    first.words();
    first.deliver(Qos::ExactlyOnce, 2, true, "m");
    assert_eq!(first.words(), ["PUBREC 2 0x83"], "this process knows why");
    let mut b = Bench::restored(config, records);
    b.connect(true);
    b.words();
    b.events.clear();
    b.deliver(Qos::ExactlyOnce, 2, true, "m");
    assert_eq!(b.words(), ["PUBREC 2"]);
    assert!(b.messages().is_empty(), "the application had it");
}

#[test]
fn at_3_1_1_reading_pauses_for_both_kinds_of_answers_together() {
    let mut config = config();
    config.version = VersionPolicy::Only311;
    config.link.receive_maximum = 2;
    let mut b = Bench::new(config);
    b.connect(false);
    b.deliver(Qos::AtLeastOnce, 1, false, "m");
    assert!(b.engine.wants_read());
    b.deliver(Qos::ExactlyOnce, 2, false, "m");
    assert!(!b.engine.wants_read());
}

#[test]
fn a_pubrel_before_our_pubrec_frees_nothing() {
    let mut b = Bench::new(kept());
    b.connect(false);
    deliver(&mut b, false, "t", "m");
    b.pubrel(7);
    assert_eq!(b.words(), ["PUBCOMP 7 0x92"], "we have said nothing yet that it could answer");
    assert_eq!(deliver(&mut b, true, "t", "m"), 0, "still the same message");
    b.ack(MessageId(1));
    b.pubrel(7);
    assert_eq!(b.words(), ["PUBREC 7", "PUBCOMP 7"]);
}

#[test]
fn names_go_on_behind_those_of_an_earlier_process() {
    let mut b = Bench::new(durable());
    b.connect(false);
    for n in 1..=3 {
        b.deliver(Qos::ExactlyOnce, n, false, "m");
    }
    let mut b = Bench::restored(durable(), b.records);
    b.connect(true);
    b.messages();
    b.deliver(Qos::ExactlyOnce, 4, false, "m");
    assert_eq!(b.messages()[0].id, Some(MessageId(4)));
}

#[test]
fn what_a_lost_store_had_taken_is_confirmed_and_the_rest_waits_for_the_application() {
    let mut b = Bench::new(durable());
    b.connect(false);
    b.deliver(Qos::ExactlyOnce, 1, false, "stored");
    b.fast_disk = false;
    b.deliver(Qos::ExactlyOnce, 2, false, "taken before it was stored");
    b.deliver(Qos::ExactlyOnce, 3, false, "neither");
    b.ack(MessageId(2));
    b.words();
    // Who goes on in memory says so before the next poll.
    b.engine.handle(Input::StoreLost(Vec::new()), b.now());
    b.input(Input::Persisted(b.last_ticket));
    assert_eq!(b.words(), ["PUBREC 2"], "the application has it");
    b.lose();
    b.connect(true);
    for n in 1..=3 {
        b.deliver(
            Qos::ExactlyOnce,
            n,
            true,
            ["stored", "taken before it was stored", "neither"][usize::from(n) - 1],
        );
    }
    assert_eq!(b.words(), ["PUBREC 1", "PUBREC 2"], "in their order, up to the one nobody has");
    b.ack(MessageId(3));
    assert_eq!(b.words(), ["PUBREC 3"]);
}

#[test]
fn what_the_store_has_is_confirmed_although_the_store_is_lost_before_its_turn_comes() {
    let mut config = durable();
    config.link.receive_maximum = 2;
    let mut b = Bench::new(config);
    b.connect(false);
    for n in 1..=3 {
        b.deliver(Qos::ExactlyOnce, n, false, "m");
    }
    b.ack(MessageId(1));
    b.ack(MessageId(2));
    // The third waits for the application, the fourth is on the store and waits for the third.
    b.deliver(Qos::ExactlyOnce, 4, false, "m");
    b.words();
    b.input(Input::StoreLost(Vec::new()));
    b.ack(MessageId(3));
    assert_eq!(b.words(), ["PUBREC 3", "PUBREC 4"]);
}

#[test]
fn a_message_whose_identifier_means_nothing_any_more_is_forgotten_without_a_store() {
    let mut b = Bench::new(kept());
    b.connect(false);
    deliver(&mut b, false, "t", "m");
    b.lose();
    b.connect(true);
    deliver(&mut b, false, "t", "another");
    assert_eq!(b.engine.held().untaken, 1);
    b.ack(MessageId(1));
    assert_eq!((b.engine.stats().stale_acks, b.words().len()), (1, 0));
}

#[test]
fn a_message_whose_identifier_means_nothing_any_more_is_still_the_stores() {
    let mut b = Bench::new(durable());
    b.connect(false);
    deliver(&mut b, false, "t", "m");
    b.pubrel(7);
    b.ack(MessageId(1));
    assert_eq!(b.engine.stats().stale_acks, 0);
    let taken = Record::Taken { id: MessageId(1), digest: None };
    assert!(b.records.contains(&taken), "no later process hands it over again");
}

#[test]
fn an_identifier_in_doubt_stays_in_doubt_over_a_restart() {
    let mut b = Bench::new(durable());
    b.connect(false);
    deliver(&mut b, false, "t", "one");
    b.ack(MessageId(1));
    // A CONNACK was missed, so the session may be another one, which the process after this one must know.
    b.lose();
    b.open();
    b.lose();
    b.connect(true);
    let mut b = Bench::restored(durable(), without_digests(b.records));
    b.connect(true);
    assert_eq!(deliver(&mut b, false, "t", "two"), 1, "it is not swallowed as a copy");
}

#[test]
fn what_is_handed_over_again_after_a_restart_is_taken_once() {
    let mut b = Bench::new(durable());
    b.connect(false);
    deliver(&mut b, false, "t", "m");
    let mut b = Bench::restored(durable(), b.records);
    b.input(Input::Tick);
    let id = b.messages()[0].id.unwrap();
    b.ack(id);
    let is_taken = |record: &Record| matches!(record, Record::Taken { id: taken, .. } if *taken == id);
    assert!(b.records.iter().any(is_taken));
    b.ack(id);
    assert_eq!(b.engine.stats().stale_acks, 1);
}

#[test]
fn an_identifier_that_pubrel_gave_back_is_free_after_a_restart_too() {
    let mut b = Bench::new(durable());
    b.connect(false);
    deliver(&mut b, false, "t", "m");
    b.pubrel(7);
    let mut b = Bench::restored(durable(), b.records);
    b.connect(true);
    assert_eq!(b.messages().len(), 1, "the application had not taken it");
    assert_eq!(deliver(&mut b, false, "t", "m"), 1, "a new message with the same content");
}

#[test]
fn a_message_is_handed_over_again_under_its_name_though_the_store_did_not_repeat_it_within() {
    let mut b = Bench::new(durable());
    b.connect(false);
    deliver(&mut b, false, "t", "m");
    let unnamed = |record| match record {
        Record::Held { id, packet_id, message } => {
            Record::Held { id, packet_id, message: Message { id: None, ..message } }
        }
        other => other,
    };
    let mut b = Bench::restored(durable(), b.records.into_iter().map(unnamed).collect());
    b.input(Input::Tick);
    assert_eq!(b.messages()[0].id, Some(MessageId(1)));
}
