//! Messages that come: acknowledged when taken, in order, never handed over twice.

use rejoin_core::codec::packet::{Packet, Publish, PublishProperties};
use rejoin_core::*;

use super::bench::{Bench, config, id, kept};

#[test]
fn answers_wait_for_the_application_and_leave_in_order() {
    let mut b = Bench::new(config());
    b.connect(false);
    for n in 1..=3 {
        b.deliver(Qos::AtLeastOnce, n, false, "m");
    }
    let messages = b.messages();
    let names: Vec<_> = messages.iter().map(|m| m.id.unwrap().0).collect();
    assert!(names.is_sorted(), "handed over as they came"); // [MQTT-4.6.0-5]
    assert!(b.words().is_empty(), "not taken yet");
    b.ack(messages[2].id.unwrap());
    b.ack(messages[1].id.unwrap());
    assert!(b.words().is_empty(), "the first holds back the others"); // [MQTT-4.6.0-2]
    b.ack(messages[0].id.unwrap());
    assert_eq!(b.words(), ["PUBACK 1", "PUBACK 2", "PUBACK 3"]);
}

#[test]
fn qos_2_is_handed_over_once_whatever_is_repeated() {
    let mut b = Bench::new(kept());
    b.connect(false);
    b.deliver(Qos::ExactlyOnce, 7, false, "m");
    let message = b.messages().remove(0);
    b.lose();
    b.connect(true);
    b.deliver(Qos::ExactlyOnce, 7, true, "m");
    assert!(b.messages().is_empty(), "the application has it"); // [MQTT-4.3.3-10]
    assert!(b.words().is_empty(), "and has not taken it");
    // A late acknowledgement of QoS 2 is valid after a resume.
    b.ack(message.id.unwrap());
    assert_eq!(b.words(), ["PUBREC 7"]);
    b.lose();
    b.connect(true);
    b.deliver(Qos::ExactlyOnce, 7, true, "m");
    assert_eq!(b.words(), ["PUBREC 7"], "PUBREC again, nothing handed over");
    b.pubrel(7);
    assert_eq!(b.words(), ["PUBCOMP 7"]);
    b.deliver(Qos::ExactlyOnce, 7, false, "next");
    assert_eq!(b.messages().len(), 1, "after PUBCOMP the identifier is new");
}

#[test]
fn a_late_acknowledgement_of_qos_1_is_stale() {
    let mut b = Bench::new(kept());
    b.connect(false);
    b.deliver(Qos::AtLeastOnce, 1, false, "m");
    let old = b.messages().remove(0);
    b.lose();
    b.connect(true);
    b.deliver(Qos::AtLeastOnce, 1, true, "m");
    b.ack(old.id.unwrap());
    assert!(b.words().is_empty(), "it belongs to another link");
    assert_eq!(b.engine.stats().stale_acks, 1);
}

#[test]
fn a_copy_on_a_later_link_names_the_earlier_one_while_it_can_be_meant() {
    // Sent again with DUP; the same identifier without; what was acknowledged; what a lost session had.
    for (acked, present, dup, named) in [
        (false, true, true, true),
        (false, true, false, false),
        (true, true, true, false),
        (false, false, true, false),
    ] {
        let mut b = Bench::new(kept());
        b.connect(false);
        b.deliver(Qos::AtLeastOnce, 1, false, "m");
        let first = b.messages().remove(0).id.unwrap();
        if acked {
            b.ack(first);
        }
        // Over two links as over one.
        b.lose();
        b.connect(true);
        b.lose();
        b.connect(present);
        b.events.clear();
        b.deliver(Qos::AtLeastOnce, 1, dup, "m");
        let again = Event::Again { earlier: first };
        assert_eq!(b.events.contains(&again), named, "acked {acked}, present {present}, DUP {dup}");
        assert_eq!(b.messages().len(), 1, "handed over in any case");
    }
}

#[test]
fn pubrel_for_an_unknown_identifier_is_answered() {
    let mut b = Bench::new(config());
    b.connect(false);
    b.pubrel(9);
    assert_eq!(b.words(), ["PUBCOMP 9 0x92"]);
    let mut old = config();
    old.version = VersionPolicy::Only311;
    let mut b = Bench::new(old);
    b.connect(false);
    b.pubrel(9);
    assert_eq!(b.words(), ["PUBCOMP 9"], "3.1.1 has no code for it");
}

#[test]
fn more_than_our_receive_maximum_ends_the_link_with_its_code() {
    let mut config = config();
    config.link.receive_maximum = 2;
    config.link.receive_overrun = 1;
    let mut b = Bench::new(config);
    b.connect(false);
    for n in 1..=3 {
        b.deliver(Qos::AtLeastOnce, n, false, "m");
    }
    assert_eq!((b.closed, b.engine.stats().receive_overruns), (0, 1), "put up with, and counted");
    b.deliver(Qos::AtLeastOnce, 4, false, "m");
    assert_eq!(b.words(), ["DISCONNECT 0x93"]); // [MQTT-3.3.4-9] [u5-3.3.4]
}

#[test]
fn the_window_towards_us_counts_until_the_last_answer() {
    let mut config = config();
    config.link.receive_maximum = 1;
    config.link.receive_overrun = 0;
    let mut b = Bench::new(config);
    b.connect(false);
    for n in 1..=3 {
        b.deliver(Qos::ExactlyOnce, n, false, "m");
        let message = b.messages().remove(0);
        b.ack(message.id.unwrap());
        b.pubrel(n);
        assert_eq!(b.words(), [format!("PUBREC {n}"), format!("PUBCOMP {n}")]);
    }
}

#[test]
fn a_refusal_of_the_application_ends_the_exchange() {
    let mut b = Bench::new(config());
    b.connect(false);
    b.deliver(Qos::ExactlyOnce, 1, false, "m");
    let message = b.messages().remove(0);
    b.refuse(message.id.unwrap());
    assert_eq!(b.words(), ["PUBREC 1 0x83"]);
    b.deliver(Qos::ExactlyOnce, 1, false, "new");
    assert_eq!(b.messages().len(), 1, "the identifier is free"); // [MQTT-4.3.3-9]
}

/// Two messages of QoS 2 came and the second was refused: before its turn to be answered, or without a link.
fn refused_and_not_answered(config: Config, on_the_link: bool) -> Bench {
    let mut b = Bench::new(config);
    b.connect(false);
    b.deliver(Qos::ExactlyOnce, 1, false, "a");
    b.deliver(Qos::ExactlyOnce, 2, false, "b");
    let messages = b.messages();
    if !on_the_link {
        b.lose();
    }
    b.refuse(messages[1].id.unwrap());
    assert!(!b.words().iter().any(|word| word.starts_with("PUBREC")));
    if on_the_link {
        b.lose();
    }
    b
}

#[test]
fn what_was_refused_and_comes_again_on_a_later_link_is_refused_there() {
    for on_the_link in [true, false] {
        let mut b = refused_and_not_answered(kept(), on_the_link);
        for _ in 0..2 {
            b.connect(true);
            b.words();
            b.deliver(Qos::ExactlyOnce, 1, true, "a");
            b.deliver(Qos::ExactlyOnce, 2, true, "b");
            assert!(b.words().is_empty(), "the first is not answered yet"); // [MQTT-4.6.0-3]
            b.lose();
        }
        b.connect(true);
        b.words();
        b.deliver(Qos::ExactlyOnce, 2, true, "b");
        assert_eq!(b.words(), ["PUBREC 2 0x83"], "refused on the link: {on_the_link}");
        assert!(b.messages().is_empty(), "the application has refused it and is not asked again");
        b.deliver(Qos::ExactlyOnce, 2, false, "c");
        assert_eq!(b.messages().len(), 1, "the identifier is free"); // [MQTT-4.3.3-9]
    }
}

#[test]
fn a_refusal_is_an_acknowledgement_only_where_it_leaves_at_3_1_1() {
    let mut old = kept();
    old.version = VersionPolicy::Only311;
    for on_the_link in [true, false] {
        let mut b = refused_and_not_answered(old.clone(), on_the_link);
        b.connect(true);
        b.words();
        b.deliver(Qos::ExactlyOnce, 2, true, "b");
        assert_eq!(b.words(), ["PUBREC 2"]);
        b.deliver(Qos::ExactlyOnce, 2, true, "b");
        assert!(b.messages().is_empty(), "an exchange that goes on until PUBREL");
        assert_eq!(b.words(), ["PUBREC 2"]);
        b.pubrel(2);
        assert_eq!(b.words(), ["PUBCOMP 2"]);
    }
    let mut b = Bench::new(old);
    b.connect(false);
    b.deliver(Qos::AtLeastOnce, 1, false, "m");
    let message = b.messages().remove(0);
    b.refuse(message.id.unwrap());
    assert_eq!(b.words(), ["PUBACK 1"]);
}

#[test]
fn aliases_of_the_server_stay_within_what_we_allow() {
    let aliased = |alias, topic| {
        let properties = PublishProperties {
            topic_alias: std::num::NonZeroU16::new(alias),
            ..PublishProperties::default()
        };
        Packet::Publish(Publish {
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            topic: PublishTopic::from_static(topic),
            packet_id: None,
            properties: Some(Box::new(properties)),
            payload: "m".into(),
        })
    };
    let mut b = Bench::new(config());
    b.connect(false);
    b.receive(&aliased(1, "t"));
    assert_eq!(b.words(), ["DISCONNECT 0x94"]); // [MQTT-3.1.2-27]
    let mut config = config();
    config.link.topic_alias_maximum = 2;
    let mut b = Bench::new(config);
    b.connect(false);
    b.receive(&aliased(2, "t"));
    b.receive(&aliased(2, ""));
    assert_eq!(b.messages().iter().map(|m| m.topic.as_str().to_owned()).collect::<Vec<_>>(), ["t", "t"]);
    b.receive(&aliased(1, ""));
    assert_eq!(b.words(), ["DISCONNECT 0x82"], "never set on this link");
}

#[test]
fn at_3_1_1_reading_pauses_when_the_application_is_slow() {
    let mut config = config();
    config.version = VersionPolicy::Only311;
    config.link.receive_maximum = 2;
    let mut b = Bench::new(config);
    b.connect(false);
    b.deliver(Qos::AtLeastOnce, 1, false, "m");
    assert!(b.engine.wants_read());
    b.deliver(Qos::AtLeastOnce, 2, false, "m");
    assert!(!b.engine.wants_read()); // [MQTT311-4.8.0-2]
    // Bytes we do not read are no silence of the peer.
    b.pass(std::time::Duration::from_secs(300));
    assert_eq!(b.closed, 0);
    assert_eq!(b.words(), ["PINGREQ"; 20], "and the peer goes on hearing from us"); // [MQTT-3.1.2-20]
    for message in b.messages() {
        b.ack(message.id.unwrap());
    }
    assert!(b.engine.wants_read());
}

#[test]
fn at_3_1_1_what_is_too_large_is_acknowledged_counted_and_told() {
    let mut config = config();
    config.version = VersionPolicy::Only311;
    config.link.maximum_packet_size = 64;
    let mut b = Bench::new(config);
    b.connect(false);
    b.receive(&Packet::Publish(Publish {
        dup: false,
        qos: Qos::AtLeastOnce,
        retain: false,
        topic: PublishTopic::from_static("big"),
        packet_id: Some(id(4)),
        properties: None,
        payload: vec![0; 100].into(),
    }));
    assert_eq!(b.words(), ["PUBACK 4"]);
    assert!(b.events.iter().any(|e| matches!(e, Event::Oversized { topic, .. } if topic.as_str() == "big")));
    assert!(b.messages().is_empty());
}

#[test]
fn an_identifier_of_an_earlier_link_without_dup_is_a_new_message() {
    let mut b = Bench::new(kept());
    b.connect(false);
    b.deliver(Qos::ExactlyOnce, 2, false, "taken late");
    let late = b.messages().remove(0);
    // The broker comes back with a session from before that message, and says Session Present.
    b.lose();
    b.connect(true);
    b.ack(late.id.unwrap());
    b.deliver(Qos::ExactlyOnce, 2, false, "another");
    let message = b.messages().remove(0);
    b.ack(message.id.unwrap());
    assert_eq!(b.words(), ["PUBREC 2"]);
}

#[test]
fn an_identifier_that_the_server_uses_for_qos_1_is_held_no_longer_and_the_same_words_are_news() {
    let mut config = kept();
    config.session.durable = true;
    let mut b = Bench::new(config);
    b.connect(false);
    b.deliver(Qos::ExactlyOnce, 25, false, "21.5");
    let first = b.messages().remove(0);
    b.ack(first.id.unwrap());
    b.lose();
    // The session ended meanwhile, and the CONNACK that said so was lost: this one speaks of the session after it.
    b.connect(true);
    b.deliver(Qos::AtLeastOnce, 25, false, "another");
    let another = b.messages().remove(0);
    b.ack(another.id.unwrap());
    assert_eq!(b.engine.held().ids_held, 0, "nobody will ever release it");
    let freed = Record::Freed { id: first.id.unwrap() };
    assert!(b.records.contains(&freed), "nor does the next process hold it: {:?}", b.records);
    b.words();
    b.deliver(Qos::ExactlyOnce, 25, false, "21.5");
    assert_eq!(b.messages().len(), 1, "the same reading, taken anew");
    assert_eq!(b.words(), ["PUBREC 25"]);
}

#[test]
fn an_identifier_that_the_server_repeated_on_this_link_is_its_own_until_pubrel() {
    let mut b = Bench::new(kept());
    b.connect(false);
    b.deliver(Qos::ExactlyOnce, 4, false, "m");
    let message = b.messages().remove(0);
    b.lose();
    b.connect(true);
    b.deliver(Qos::ExactlyOnce, 4, true, "m");
    // A server that counts QoS 1 and QoS 2 apart breaks a rule; it loses and doubles nothing by that.
    b.deliver(Qos::AtLeastOnce, 4, false, "other");
    assert_eq!(b.engine.held().ids_held, 1);
    b.ack(message.id.unwrap());
    assert_eq!(b.words(), ["PUBREC 4"]);
    b.pubrel(4);
    assert_eq!(b.words(), ["PUBCOMP 4"]);
    assert_eq!(b.engine.held().ids_held, 0);
}

#[test]
fn what_was_too_large_takes_an_identifier_over_on_the_store_as_well() {
    let mut config = kept();
    config.version = VersionPolicy::Only311;
    config.link.maximum_packet_size = 64;
    config.session.durable = true;
    let mut b = Bench::new(config);
    b.connect(false);
    b.deliver(Qos::ExactlyOnce, 6, false, "m");
    let first = b.messages().remove(0);
    b.lose();
    b.connect(true);
    b.words();
    b.receive(&Packet::Publish(Publish {
        dup: false,
        qos: Qos::ExactlyOnce,
        retain: false,
        topic: PublishTopic::from_static("big"),
        packet_id: Some(id(6)),
        properties: None,
        payload: vec![0; 100].into(),
    }));
    assert_eq!(b.words(), ["PUBREC 6"]);
    assert!(b.records.contains(&Record::Freed { id: first.id.unwrap() }), "{:?}", b.records);
    b.ack(first.id.unwrap());
    let taken = Record::Taken { id: first.id.unwrap(), digest: None };
    assert!(b.records.contains(&taken), "it waits on the store for the application: {:?}", b.records);
}

fn old_with_window(window: u16) -> Bench {
    let mut config = kept();
    config.version = VersionPolicy::Only311;
    config.link.receive_maximum = window;
    let mut b = Bench::new(config);
    b.connect(false);
    b
}

fn leave(b: &mut Bench, message: &Message, forget: bool) -> bool {
    let forgotten = b.engine.leave(message.id.unwrap(), forget, b.now());
    b.drain();
    forgotten
}

#[test]
fn at_3_1_1_what_nobody_is_there_for_does_not_keep_us_from_reading() {
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let answer = if qos == Qos::AtLeastOnce { "PUBACK" } else { "PUBREC" };
        let mut b = old_with_window(2);
        for n in 1..=3 {
            b.deliver(qos, n, false, "m");
        }
        let messages = b.messages();
        assert!(!b.engine.wants_read());
        assert!(!leave(&mut b, &messages[0], false) && !leave(&mut b, &messages[1], false));
        assert!(b.engine.wants_read());
        // Taken before anything behind it, it is answered all the same.
        b.ack(messages[0].id.unwrap());
        assert_eq!(b.words(), [format!("{answer} 1")]);
        b.ack(messages[2].id.unwrap());
        assert_eq!(b.words(), [format!("{answer} 3")], "it does not wait for what is left"); // [MQTT-4.6.0-2] [MQTT-4.6.0-3]
        b.ack(messages[1].id.unwrap());
        assert!(b.words().is_empty(), "an answer to it would come after one to what came later");
        assert_eq!(b.engine.held().answers_owed, 0);
        b.lose();
        b.connect(true);
        b.deliver(qos, 2, true, "m");
        if qos == Qos::AtLeastOnce {
            let again = Event::Again { earlier: messages[1].id.unwrap() };
            assert!(b.events.contains(&again), "it takes the place of the copy that was left");
            b.ack(b.events.iter().rev().find_map(name).unwrap());
        }
        assert_eq!(b.words(), [format!("{answer} 2")], "the next link brings it again");
    }
}

fn name(event: &Event) -> Option<MessageId> {
    if let Event::Message(message) = event { message.id } else { None }
}

#[test]
fn a_copy_of_a_qos_2_message_that_nobody_took_yet_keeps_nobody_waiting_either() {
    let mut b = old_with_window(2);
    b.deliver(Qos::ExactlyOnce, 1, false, "m");
    let message = b.messages().remove(0);
    leave(&mut b, &message, false);
    b.lose();
    b.connect(true);
    b.deliver(Qos::ExactlyOnce, 1, true, "m");
    b.deliver(Qos::ExactlyOnce, 2, false, "other");
    assert!(b.engine.wants_read());
    let other = b.messages();
    assert_eq!(other.len(), 1, "a copy is not handed over");
    b.ack(other[0].id.unwrap());
    assert_eq!(b.words(), ["PUBREC 2"]);
}

#[test]
fn what_nobody_keeps_is_new_when_it_comes_again() {
    for durable in [false, true] {
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let mut config = kept();
            config.session.durable = durable;
            config.link.receive_maximum = 1;
            config.link.receive_overrun = 1;
            let mut b = Bench::new(config.clone());
            b.connect(false);
            // With a store the first of QoS 2 is answered at once: the broker may have forgotten it.
            b.deliver(qos, 1, false, "first");
            b.deliver(qos, 2, false, "m");
            let messages = b.messages();
            let safe = durable && qos == Qos::ExactlyOnce;
            assert_eq!(leave(&mut b, &messages[0], true), !safe);
            assert!(leave(&mut b, &messages[1], true));
            assert_eq!(b.words().len(), usize::from(safe));
            assert_eq!(b.engine.held().untaken, usize::from(safe));
            let kept = Recovered::replay(b.records.clone()).held;
            assert_eq!(kept.len(), usize::from(safe), "on the store: {kept:?}");
            b.lose();
            b.connect(true);
            b.deliver(qos, 2, true, "m");
            assert_eq!(b.messages().len(), 1, "durable: {durable}, {qos:?}");
        }
    }
}

/// Three messages of these QoS under 1, 2 and 3, not taken yet.
fn three(qos: [Qos; 3]) -> (Bench, Vec<MessageId>) {
    let mut b = Bench::new(kept());
    b.connect(false);
    for (n, qos) in (1..).zip(qos) {
        b.deliver(qos, n, false, "m");
    }
    let names = b.messages().iter().filter_map(|message| message.id).collect();
    (b, names)
}

#[test]
fn who_takes_a_message_of_one_qos_answers_none_of_the_other() {
    let (mut b, names) = three([Qos::AtLeastOnce, Qos::ExactlyOnce, Qos::AtLeastOnce]);
    b.ack(names[1]);
    assert_eq!(b.words(), ["PUBREC 2"]);
    b.ack(names[0]);
    assert_eq!(b.words(), ["PUBACK 1"], "3 is not taken");
}

#[test]
fn an_acknowledgement_that_comes_too_late_takes_no_other_message() {
    let (mut b, names) = three([Qos::ExactlyOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]);
    b.lose();
    b.connect(true);
    b.deliver(Qos::ExactlyOnce, 1, true, "m");
    b.deliver(Qos::ExactlyOnce, 3, true, "m");
    b.ack(names[1]);
    assert_eq!((b.engine.held().untaken, b.engine.stats().stale_acks), (2, 1));
    b.ack(names[0]);
    b.ack(names[2]);
    assert_eq!(b.words(), ["PUBREC 1", "PUBREC 3"]);
}

#[test]
fn a_copy_of_what_is_still_to_be_taken_holds_back_what_came_behind_it() {
    let mut b = Bench::new(kept());
    b.connect(false);
    b.deliver(Qos::ExactlyOnce, 1, false, "m");
    b.lose();
    b.connect(true);
    b.deliver(Qos::ExactlyOnce, 1, true, "m");
    b.deliver(Qos::ExactlyOnce, 2, false, "other");
    let messages = b.messages();
    b.ack(messages[1].id.unwrap());
    assert!(b.words().is_empty(), "somebody is there for the first"); // [MQTT-4.6.0-3]
    b.ack(messages[0].id.unwrap());
    assert_eq!(b.words(), ["PUBREC 1", "PUBREC 2"]);
}

#[test]
fn what_is_left_behind_all_that_is_answered_can_still_be_answered() {
    for (qos, answer) in [(Qos::AtLeastOnce, "PUBACK"), (Qos::ExactlyOnce, "PUBREC")] {
        let (mut b, names) = three([qos; 3]);
        b.engine.leave(names[2], false, b.now());
        b.ack(names[1]);
        assert!(b.words().is_empty());
        b.ack(names[0]);
        assert_eq!(b.words(), [format!("{answer} 1"), format!("{answer} 2")]);
        b.ack(names[2]);
        assert_eq!(b.words(), [format!("{answer} 3")]);
    }
}

#[test]
fn what_nobody_keeps_holds_up_no_answer_and_what_is_answered_is_kept() {
    for (qos, answer) in [(Qos::AtLeastOnce, "PUBACK"), (Qos::ExactlyOnce, "PUBREC")] {
        let (mut b, names) = three([qos; 3]);
        b.ack(names[2]);
        assert!(!b.engine.leave(names[2], true, b.now()), "its answer waits for those before it");
        assert!(b.engine.leave(names[0], true, b.now()));
        b.ack(names[1]);
        assert_eq!(b.words(), [format!("{answer} 2"), format!("{answer} 3")]);
    }
}

#[test]
fn at_3_1_1_what_was_left_and_is_kept_by_nobody_then_makes_room_once() {
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let mut b = old_with_window(2);
        b.deliver(qos, 1, false, "m");
        let message = b.messages().remove(0);
        assert!(!leave(&mut b, &message, false) && leave(&mut b, &message, true));
        b.deliver(qos, 2, false, "m");
        assert!(b.engine.wants_read());
        b.deliver(qos, 3, false, "m");
        assert!(!b.engine.wants_read(), "two wait");
    }
}
