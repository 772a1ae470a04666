//! Servers that send again, on a live link, what has no answer yet. 5.0 forbids it [MQTT-4.4.0-1], 3.1.1 does not, and
//! some that speak both do it whatever they speak.

use rejoin_core::*;

use super::bench::{Bench, config, kept};

fn strict(version: VersionPolicy) -> Config {
    let mut config = config();
    config.version = version;
    (config.link.receive_maximum, config.link.receive_overrun) = (2, 0);
    config
}

#[test]
fn a_copy_before_our_puback_is_handed_over_and_answered_once() {
    for version in [VersionPolicy::Only5, VersionPolicy::Only311] {
        let mut b = Bench::new(strict(version));
        b.connect(false);
        b.deliver(Qos::AtLeastOnce, 1, false, "m");
        let first = b.messages().remove(0).id.unwrap();
        b.deliver(Qos::AtLeastOnce, 1, true, "m");
        assert!(b.messages().is_empty(), "{version:?}: the application has it");
        assert_eq!(b.engine.stats().duplicates_suppressed, 1);
        b.ack(first);
        assert_eq!(b.words(), ["PUBACK 1"]);
        // A second PUBACK would confirm this one, which nobody has taken.
        b.deliver(Qos::AtLeastOnce, 1, false, "next");
        assert!(b.words().is_empty());
        assert_eq!((b.messages().len(), b.engine.held().answers_owed), (1, 1));
    }
}

#[test]
fn a_copy_that_waits_behind_an_older_message_is_the_same_one_still() {
    let mut b = Bench::new(config());
    b.connect(false);
    b.deliver(Qos::AtLeastOnce, 1, false, "first");
    b.deliver(Qos::AtLeastOnce, 2, false, "second");
    let names: Vec<_> = b.messages().iter().map(|m| m.id.unwrap()).collect();
    b.ack(names[1]);
    b.deliver(Qos::AtLeastOnce, 2, true, "second");
    assert!(b.messages().is_empty(), "its PUBACK has not left");
    b.ack(names[0]);
    assert_eq!(b.words(), ["PUBACK 1", "PUBACK 2"]);
}

#[test]
fn behind_our_puback_it_is_a_new_one() {
    let mut b = Bench::new(config());
    b.connect(false);
    b.deliver(Qos::AtLeastOnce, 1, false, "m");
    let first = b.messages().remove(0).id.unwrap();
    b.ack(first);
    b.words();
    b.deliver(Qos::AtLeastOnce, 1, true, "m"); // [MQTT-4.3.2-5]
    let again = b.messages().remove(0).id.unwrap();
    b.ack(again);
    assert_eq!(b.words(), ["PUBACK 1"]);
}

#[test]
fn one_without_dup_is_not_taken_for_a_copy_at_qos_1() {
    let mut b = Bench::new(config());
    b.connect(false);
    b.deliver(Qos::AtLeastOnce, 1, false, "m");
    b.deliver(Qos::AtLeastOnce, 1, false, "n");
    assert_eq!(b.messages().len(), 2, "the server is wrong, and loses nothing by it");
}

#[test]
fn copies_take_no_place_of_our_receive_maximum() {
    let mut b = Bench::new(strict(VersionPolicy::Only5));
    b.connect(false);
    for round in 0..3 {
        b.deliver(Qos::AtLeastOnce, 1, false, "m");
        b.deliver(Qos::ExactlyOnce, 2, false, "n");
        let names: Vec<_> = b.messages().iter().map(|m| m.id.unwrap()).collect();
        for _ in 0..5 {
            b.deliver(Qos::AtLeastOnce, 1, true, "m");
            b.deliver(Qos::ExactlyOnce, 2, true, "n");
        }
        names.iter().for_each(|name| b.ack(*name));
        assert_eq!(b.words(), ["PUBACK 1", "PUBREC 2"]);
        b.deliver(Qos::ExactlyOnce, 2, true, "n");
        assert_eq!(b.words(), ["PUBREC 2"], "it asked again before PUBREL");
        b.pubrel(2);
        assert_eq!(b.words(), ["PUBCOMP 2"]);
        assert_eq!((b.closed, b.engine.stats().receive_overruns), (0, 0), "round {round}");
    }
}

#[test]
fn pubrel_ends_what_a_copy_asked_for() {
    let mut b = Bench::new(config());
    b.connect(false);
    b.deliver(Qos::ExactlyOnce, 2, false, "m");
    let name = b.messages().remove(0).id.unwrap();
    b.ack(name);
    assert_eq!(b.words(), ["PUBREC 2"]);
    b.deliver(Qos::ExactlyOnce, 1, false, "slow");
    let slow = b.messages().remove(0).id.unwrap();
    b.deliver(Qos::ExactlyOnce, 2, true, "m");
    b.pubrel(2);
    assert_eq!(b.words(), ["PUBCOMP 2"]);
    b.deliver(Qos::ExactlyOnce, 2, false, "next");
    b.ack(slow);
    assert_eq!(b.words(), ["PUBREC 1"], "a second PUBREC would confirm the next one, which nobody has");
}

#[test]
fn on_a_later_link_a_copy_counts_once() {
    let mut config = strict(VersionPolicy::Only5);
    config.session = kept().session;
    let mut b = Bench::new(config);
    b.connect(false);
    b.deliver(Qos::ExactlyOnce, 1, false, "m");
    let name = b.messages().remove(0).id.unwrap();
    b.lose();
    b.connect(true);
    for _ in 0..3 {
        b.deliver(Qos::ExactlyOnce, 1, true, "m");
    }
    b.deliver(Qos::ExactlyOnce, 2, false, "n");
    assert!(b.words().is_empty());
    b.ack(name);
    assert_eq!(b.words(), ["PUBREC 1"]);
    b.deliver(Qos::AtLeastOnce, 3, false, "o");
    assert_eq!(b.words(), ["DISCONNECT 0x93"], "two are under way, the first until PUBCOMP");
}

#[test]
fn one_that_was_left_is_offered_again_by_its_copy_and_takes_no_room_twice() {
    let mut b = Bench::new(strict(VersionPolicy::Only5));
    b.connect(false);
    b.deliver(Qos::AtLeastOnce, 1, false, "m");
    let mut name = b.messages().remove(0).id.unwrap();
    for _ in 0..5 {
        assert!(!b.engine.leave(name, false, b.now()), "nobody drops it");
        b.events.clear();
        b.deliver(Qos::AtLeastOnce, 1, true, "m");
        assert!(b.events.contains(&Event::Again { earlier: name }), "{:?}", b.events);
        name = b.messages().remove(0).id.unwrap();
        assert_eq!((b.engine.held().answers_owed, b.closed), (1, 0));
    }
    b.ack(name);
    assert_eq!(b.words(), ["PUBACK 1"]);
    assert_eq!(b.engine.stats().stale_acks, 0);
}

#[test]
fn at_3_1_1_one_that_was_left_and_came_again_counts_for_the_pause_once() {
    let mut b = Bench::new(strict(VersionPolicy::Only311));
    b.connect(false);
    b.deliver(Qos::AtLeastOnce, 1, false, "m");
    let first = b.messages().remove(0).id.unwrap();
    assert!(!b.engine.leave(first, false, b.now()), "nobody drops it");
    b.deliver(Qos::AtLeastOnce, 1, true, "m");
    assert!(b.engine.wants_read(), "there is room beside it");
    b.deliver(Qos::AtLeastOnce, 2, false, "n");
    assert!(!b.engine.wants_read(), "two messages wait for the application");
    let names: Vec<_> = b.messages().iter().map(|m| m.id.unwrap()).collect();
    b.ack(names[0]);
    assert!(b.engine.wants_read());
}
