//! What the strict broker must not do itself: wrong moves of its own would be put down to the client.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rejoin_core::codec::packet::{Packet, Publish, PublishProperties, Qos, Version, Will};
use rejoin_core::codec::reason::ReasonCode;
use rejoin_lab::LedgerEntry;
use rejoin_lab::broker::{Answer, Manners};
use rejoin_lab::wire::{Ending, PacketKind, Times};

use crate::peer::{World, ack, connect, publish, subscribe, text};

const Q1: Qos = Qos::AtLeastOnce;
const Q2: Qos = Qos::ExactlyOnce;

fn publishes(packets: Vec<Packet>) -> Vec<Publish> {
    let publish = |packet| if let Packet::Publish(publish) = packet { Some(publish) } else { None };
    packets.into_iter().filter_map(publish).collect()
}

fn dying(delay: u32, expiry: Option<u32>) -> rejoin_core::codec::packet::Connect {
    let mut wish = connect("w", Version::V5, true, 60);
    wish.will = Some(Will {
        topic: text("will"),
        payload: Bytes::from_static(b"gone"),
        qos: Q1,
        retain: false,
        delay: Some(delay),
        properties: PublishProperties { message_expiry: expiry, ..PublishProperties::default() },
    });
    wish
}

#[test]
fn a_will_expires_by_the_time_since_it_was_published() {
    let mut world = World::new(Manners::default());
    let mut reader = world.kept(true);
    world.ask(&mut reader, &subscribe(1, "will", Q1));
    let (peer, _) = world.connect(dying(0, Some(5)));
    world.pass(Duration::from_secs(10));
    world.drop_connection(peer);
    let came = publishes(world.read(&mut reader));
    let expiry = came.first().and_then(|will| will.properties.as_ref()?.message_expiry);
    assert_eq!((came.len(), expiry), (1, Some(5)));
    world.send(&reader, &Packet::PubAck(ack(1)));
    // It does expire where it waits for its subscriber.
    world.drop_connection(reader);
    let (peer, _) = world.connect(dying(0, Some(5)));
    world.drop_connection(peer);
    world.pass(Duration::from_secs(6));
    world.kept(false);
    assert_eq!(world.broker.counters().dropped_expired, 1);
}

#[test]
fn a_will_that_waits_dies_with_its_broker() {
    let mut world = World::new(Manners::default());
    let mut reader = world.kept(true);
    world.ask(&mut reader, &subscribe(1, "will", Q1));
    let (peer, _) = world.connect(dying(5, None));
    world.drop_connection(peer);
    world.broker.restart(true);
    world.drop_connection(reader);
    let mut reader = world.kept(false);
    world.pass(Duration::from_secs(10));
    assert!(publishes(world.read(&mut reader)).is_empty());
}

#[test]
fn an_alias_the_client_never_heard_of_is_not_used() {
    let mut world = World::new(Manners { uses_topic_aliases: true, ..Manners::default() });
    let mut wish = connect("c", Version::V5, true, 0);
    wish.properties.topic_alias_maximum = Some(5);
    wish.properties.maximum_packet_size = Some(100);
    let (mut reader, _) = world.connect(wish);
    world.ask(&mut reader, &subscribe(1, "t", Qos::AtMostOnce));
    for payload in ["x".repeat(200), "small".into(), "again".into()] {
        world.broker.publish("t", payload, Qos::AtMostOnce, false);
    }
    let topics: Vec<String> =
        publishes(world.read(&mut reader)).iter().map(|publish| publish.topic.to_string()).collect();
    assert_eq!(topics, ["t", ""], "the large one was dropped, and its alias with it");
}

#[test]
fn nobody_owes_an_answer_to_a_lost_publish() {
    for (qos, answer) in [(Q1, Packet::PubAck(ack(2))), (Q2, Packet::PubRec(ack(2)))] {
        let mut world = World::new(Manners::default());
        let sent = Arc::new(Mutex::new(Vec::new()));
        let book = Arc::clone(&sent);
        world.broker.add_ledger(Box::new(move |entry| {
            if let LedgerEntry::Sent(delivery) = entry {
                book.lock().unwrap().push(delivery.payload.clone());
            }
        }));
        let mut reader = world.kept(true);
        world.ask(&mut reader, &subscribe(1, "t", qos));
        world.broker.manners_mut().lose(PacketKind::Publish, Times::Count(1));
        world.broker.publish("t", "lost", qos, false);
        world.broker.publish("t", "seen", qos, false);
        assert_eq!(publishes(world.read(&mut reader)).len(), 1);
        world.send(&reader, &answer);
        world.assert_clean();
        assert_eq!(*sent.lock().unwrap(), ["seen"], "{qos:?}");
        // It was not forgotten: the next link brings it, and then it counts.
        world.drop_connection(reader);
        world.kept(false);
        assert!(sent.lock().unwrap().iter().any(|payload| payload == "lost"), "{sent:?}");
    }
}

#[test]
fn a_qos_2_message_refused_once_at_3_1_1_is_taken_when_it_comes_again() {
    let mut world = World::new(Manners::default());
    world.broker.manners_mut().pubrec = Some(Answer::new(ReasonCode::QUOTA_EXCEEDED).times(1));
    let wish = || connect("c", Version::V311, false, 0);
    let (mut peer, _) = world.connect(wish());
    assert_eq!(world.ask(&mut peer, &publish(Q2, 1, false, "a")), []);
    assert_eq!(peer.ending, Some(Ending::Fin), "3.1.1 has no other way to say no");
    world.drop_connection(peer);
    let (mut peer, present) = world.connect(wish());
    assert!(present);
    assert_eq!(world.ask(&mut peer, &publish(Q2, 1, true, "a")), [Packet::PubRec(ack(1))]);
    assert_eq!(world.ask(&mut peer, &Packet::PubRel(ack(1))), [Packet::PubComp(ack(1))]);
    assert_eq!(world.broker.counters().accepted, 1);
    world.assert_clean();
}

#[test]
fn a_limit_that_nobody_was_told_of_is_enforced_and_not_held_against_the_client() {
    let mut world = World::new(Manners { maximum_packet_size: Some(100), ..Manners::default() });
    let (mut old, _) = world.connect(connect("old", Version::V311, true, 0));
    assert_eq!(world.ask(&mut old, &publish(Q1, 1, false, &"x".repeat(200))), []);
    assert_eq!(old.ending, Some(Ending::Fin));
    let mut new = world.open(Version::V5);
    let long = connect(&"c".repeat(200), Version::V5, true, 0);
    assert_eq!(world.ask(&mut new, &Packet::Connect(Box::new(long))), []);
    assert_eq!(new.ending, Some(Ending::Fin));
    assert_eq!(world.broker.counters().accepted, 0);
    world.assert_clean();
}
