//! The auditor's judgement of ledgers.

use rejoin_core::codec::packet::{Packet, Qos};
use rejoin_lab::wire::{PacketKind, Times};
use rejoin_lab::{Auditor, Manners, Verdict};

use crate::peer::{Peer, World, ack, publish};

const Q1: Qos = Qos::AtLeastOnce;
const Q2: Qos = Qos::ExactlyOnce;

fn audited(published: u64) -> (World, Auditor, Peer) {
    let mut world = World::new(Manners::default());
    let auditor = Auditor::new("run");
    world.broker.add_ledger(auditor.ledger());
    for n in 1..=published {
        auditor.published(n);
    }
    let peer = world.kept(true);
    (world, auditor, peer)
}

fn verdict(world: &World, auditor: &Auditor) -> Verdict {
    auditor.verdict().with_violations(&world.broker)
}

#[test]
fn what_arrives_once_and_in_order_passes() {
    let (mut world, auditor, peer) = audited(3);
    for n in 1..=3 {
        world.send(&peer, &publish(Q1, n, false, &format!("run:{n}")));
        auditor.acknowledged(u64::from(n));
    }
    world.send(&peer, &publish(Q1, 4, false, "other:1"));
    let verdict = verdict(&world, &auditor);
    assert!(verdict.passes());
    assert_eq!(verdict.to_string(), "PASS  published 3, delivered 3, lost 0, duplicated 0");
}

#[test]
fn lost_invented_reordered_and_false_acknowledgements_fail() {
    let (mut world, auditor, peer) = audited(4);
    auditor.told_failed(4);
    auditor.acknowledged(2);
    for (id, n) in [(1, 3), (2, 1), (3, 9)] {
        world.send(&peer, &publish(Q1, id, false, &format!("run:{n}")));
    }
    let verdict = verdict(&world, &auditor);
    assert_eq!(verdict.lost, [2]);
    assert_eq!(
        verdict.to_string(),
        "FAIL  published 4, delivered 3, lost 1, duplicated 0, told failed 1, out of order 1, invented 1, \
         falsely acknowledged 1"
    );
}

#[test]
fn what_arrived_and_was_said_to_have_failed_is_a_lie() {
    let (mut world, auditor, peer) = audited(2);
    auditor.told_failed(1);
    world.send(&peer, &publish(Q1, 1, false, "run:1"));
    world.send(&peer, &publish(Q1, 2, false, "run:2"));
    auditor.told_failed(2);
    let verdict = verdict(&world, &auditor);
    assert!(!verdict.passes());
    assert_eq!(
        verdict.to_string(),
        "FAIL  published 2, delivered 2, lost 0, duplicated 0, told failed 2, falsely said to have failed 2"
    );
    assert_eq!(verdict.reasons.len(), 2);
}

#[test]
fn a_resend_after_a_lost_acknowledgement_is_explained() {
    let (mut world, auditor, peer) = audited(1);
    world.broker.manners_mut().lose(PacketKind::PubAck, Times::ONCE);
    world.send(&peer, &publish(Q1, 1, false, "run:1"));
    world.drop_connection(peer);
    let peer = world.kept(false);
    world.send(&peer, &publish(Q1, 1, true, "run:1"));
    let verdict = verdict(&world, &auditor);
    assert_eq!(
        verdict.to_string(),
        "PASS  published 1, delivered 1, lost 0, duplicated 1 (all explained)",
        "{verdict:#?}"
    );
}

#[test]
fn order_is_that_of_arrival_where_the_broker_itself_answered_late() {
    let (mut world, auditor, peer) = audited(2);
    world.broker.manners_mut().lose(PacketKind::PubRec, Times::ONCE);
    world.send(&peer, &publish(Q2, 1, false, "run:1"));
    world.send(&peer, &publish(Q2, 2, false, "run:2"));
    world.send(&peer, &Packet::PubRel(ack(2)));
    world.drop_connection(peer);
    let peer = world.kept(false);
    world.send(&peer, &publish(Q2, 1, true, "run:1"));
    world.send(&peer, &Packet::PubRel(ack(1)));
    let verdict = verdict(&world, &auditor);
    assert!(verdict.passes(), "{verdict}: {:?}", verdict.reasons);
}

#[test]
fn copies_without_an_excuse_fail() {
    // On the same connection.
    let (mut world, auditor, peer) = audited(1);
    world.send(&peer, &publish(Q1, 1, false, "run:1"));
    world.send(&peer, &publish(Q1, 2, false, "run:1"));
    assert_eq!(verdict(&world, &auditor).duplicates_unexplained, 1);

    // In the same session, but as a new message.
    let (mut world, auditor, peer) = audited(1);
    world.send(&peer, &publish(Q1, 1, false, "run:1"));
    world.drop_connection(peer);
    let peer = world.kept(false);
    world.send(&peer, &publish(Q1, 2, false, "run:1"));
    assert_eq!(verdict(&world, &auditor).duplicates_unexplained, 1);

    // QoS 2 in one session.
    let (mut world, auditor, peer) = audited(1);
    for id in 1..=2 {
        world.send(&peer, &publish(Q2, id, false, "run:1"));
        world.send(&peer, &Packet::PubRel(ack(id)));
    }
    assert_eq!(verdict(&world, &auditor).duplicates_unexplained, 1);
}

#[test]
fn after_a_lost_session_only_what_was_under_way_may_come_again() {
    for (window, explained) in [(2, true), (1, false)] {
        let (mut world, auditor, _) = audited(2);
        world.broker.manners_mut().receive_maximum = Some(window);
        let peer = world.kept(true);
        world.send(&peer, &publish(Q1, 1, false, "run:1"));
        world.send(&peer, &publish(Q1, 2, false, "run:2"));
        world.broker.forget_sessions();
        let peer = world.kept(false);
        world.send(&peer, &publish(Q1, 1, false, "run:1"));
        assert_eq!(verdict(&world, &auditor).passes(), explained, "window {window}");
    }
}

#[test]
fn what_was_never_acknowledged_may_come_again_however_late() {
    let (mut world, auditor, _) = audited(3);
    world.broker.manners_mut().receive_maximum = Some(2);
    let peer = world.kept(true);
    world.broker.manners_mut().lose(PacketKind::PubAck, Times::ONCE);
    for n in 1..=3 {
        world.send(&peer, &publish(Q1, n, false, &format!("run:{n}")));
    }
    world.broker.forget_sessions();
    let peer = world.kept(false);
    world.send(&peer, &publish(Q1, 1, false, "run:1"));
    assert!(verdict(&world, &auditor).passes());
}

#[test]
fn payloads_carry_their_number() {
    let auditor = Auditor::new("run");
    assert_eq!(auditor.number(&auditor.payload(7)), Some(7));
    let padded = auditor.payload_of(1234, 256);
    assert_eq!(padded.len(), 256);
    assert_eq!(auditor.number(&padded), Some(1234));
    assert_eq!(auditor.number(b"other:7"), None);
    assert_eq!(auditor.number(b"run:x"), None);
}
