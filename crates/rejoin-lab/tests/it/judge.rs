//! Bad exchanges and the clause the judge names for each; good ones for which it must stay silent.

use rejoin_core::codec::packet::{
    ConnectProperties, Disconnect, Packet, PacketId, PublishProperties, Qos, Version,
};
use rejoin_core::codec::reason::ReasonCode;
use rejoin_lab::broker::Manners;
use rejoin_lab::wire::{PacketKind, Times};

use crate::peer::{Peer, World, ack, connect, goodbye, publish, subscribe};

const Q1: Qos = Qos::AtLeastOnce;
const Q2: Qos = Qos::ExactlyOnce;

fn lose(world: &mut World, kind: PacketKind) {
    world.broker.manners_mut().lose(kind, Times::Always);
}

/// The link breaks and the session is taken up again.
fn again(world: &mut World, peer: Peer) -> Peer {
    world.drop_connection(peer);
    world.broker.manners_mut().lost.clear();
    world.kept(false)
}

fn alias(n: u16, topic: &str) -> Packet {
    let Packet::Publish(mut p) = publish(Qos::AtMostOnce, 0, false, "x") else { unreachable!() };
    p.topic = crate::peer::text(topic);
    p.properties =
        Some(Box::new(PublishProperties { topic_alias: PacketId::new(n), ..PublishProperties::default() }));
    Packet::Publish(p)
}

type Script = fn(&mut World, Peer);
type BadExchange = (&'static str, &'static str, fn() -> Manners, Script);

/// Clause, what the broker is like, and what the client does after its first CONNECT (kept session).
const BAD: &[BadExchange] = &[
    ("MQTT-2.2.1-3", "id taken while in use", Manners::default, |world, peer| {
        lose(world, PacketKind::PubAck);
        world.send(&peer, &publish(Q1, 1, false, "a"));
        world.send(&peer, &publish(Q1, 1, false, "b"));
    }),
    ("MQTT-2.2.1-3", "SUBSCRIBE with the id of a PUBLISH", Manners::default, |world, peer| {
        lose(world, PacketKind::PubAck);
        world.send(&peer, &publish(Q1, 1, false, "a"));
        world.send(&peer, &subscribe(1, "t", Q1));
    }),
    ("MQTT-2.2.1-3", "PUBLISH with the id of a SUBSCRIBE", Manners::default, |world, peer| {
        lose(world, PacketKind::SubAck);
        world.send(&peer, &subscribe(1, "t", Q1));
        world.send(&peer, &publish(Q1, 1, false, "a"));
    }),
    ("MQTT-2.2.1-3", "another message on an id never acknowledged", Manners::default, |world, peer| {
        lose(world, PacketKind::PubAck);
        world.send(&peer, &publish(Q1, 1, false, "a"));
        let peer = again(world, peer);
        world.send(&peer, &publish(Q1, 1, false, "b"));
    }),
    ("MQTT-4.3.2-2", "DUP on a first send", Manners::default, |world, peer| {
        world.send(&peer, &publish(Q1, 1, true, "a"));
    }),
    ("MQTT-4.3.3-2", "DUP on a first send at QoS 2", Manners::default, |world, peer| {
        world.send(&peer, &publish(Q2, 1, true, "a"));
    }),
    ("MQTT-3.3.1-1", "resend without DUP", Manners::default, |world, peer| {
        lose(world, PacketKind::PubAck);
        world.send(&peer, &publish(Q1, 1, false, "a"));
        let peer = again(world, peer);
        world.send(&peer, &publish(Q1, 1, false, "a"));
    }),
    ("MQTT-4.4.0-1", "resend on a live connection, unacknowledged", Manners::default, |world, peer| {
        lose(world, PacketKind::PubAck);
        world.send(&peer, &publish(Q1, 1, false, "a"));
        world.send(&peer, &publish(Q1, 1, true, "a"));
    }),
    ("MQTT-4.4.0-1", "resend on a live connection, acknowledged", Manners::default, |world, peer| {
        world.send(&peer, &publish(Q1, 1, false, "a"));
        world.send(&peer, &publish(Q1, 1, true, "a"));
    }),
    ("MQTT-4.4.0-1", "PUBREL again on a live connection", Manners::default, |world, peer| {
        world.send(&peer, &publish(Q2, 1, false, "a"));
        world.send(&peer, &Packet::PubRel(ack(1)));
        world.send(&peer, &Packet::PubRel(ack(1)));
    }),
    ("MQTT-4.3.3-6", "PUBLISH after PUBREL, PUBCOMP lost", Manners::default, |world, peer| {
        lose(world, PacketKind::PubComp);
        world.send(&peer, &publish(Q2, 1, false, "a"));
        world.send(&peer, &Packet::PubRel(ack(1)));
        let peer = again(world, peer);
        world.send(&peer, &publish(Q2, 1, true, "a"));
    }),
    ("MQTT-4.3.3-6", "PUBLISH after PUBREL, PUBCOMP sent", Manners::default, |world, peer| {
        world.send(&peer, &publish(Q2, 1, false, "a"));
        world.send(&peer, &Packet::PubRel(ack(1)));
        let peer = again(world, peer);
        world.send(&peer, &publish(Q2, 1, true, "a"));
    }),
    ("MQTT-4.3.3-4", "PUBREL without PUBREC", Manners::default, |world, peer| {
        lose(world, PacketKind::PubRec);
        world.send(&peer, &publish(Q2, 1, false, "a"));
        world.send(&peer, &Packet::PubRel(ack(1)));
    }),
    ("MQTT-4.3.3-4", "PUBREL for an id never used", Manners::default, |world, peer| {
        world.send(&peer, &Packet::PubRel(ack(9)));
    }),
    ("MQTT-4.6.0-1", "resends in another order", Manners::default, |world, peer| {
        lose(world, PacketKind::PubAck);
        world.send(&peer, &publish(Q1, 1, false, "a"));
        world.send(&peer, &publish(Q1, 2, false, "b"));
        let peer = again(world, peer);
        world.send(&peer, &publish(Q1, 2, true, "b"));
        world.send(&peer, &publish(Q1, 1, true, "a"));
    }),
    ("MQTT-4.6.0-2", "PUBACKs out of order", Manners::default, |world, peer| {
        world.send(&peer, &subscribe(1, "t", Q1));
        world.broker.publish("t", "a", Q1, false);
        world.broker.publish("t", "b", Q1, false);
        world.send(&peer, &Packet::PubAck(ack(2)));
    }),
    ("MQTT-4.6.0-3", "PUBRECs out of order", Manners::default, |world, peer| {
        world.send(&peer, &subscribe(1, "t", Q2));
        world.broker.publish("t", "a", Q2, false);
        world.broker.publish("t", "b", Q2, false);
        world.send(&peer, &Packet::PubRec(ack(2)));
    }),
    ("MQTT-4.6.0-4", "PUBRELs out of order", Manners::default, |world, peer| {
        world.send(&peer, &publish(Q2, 1, false, "a"));
        world.send(&peer, &publish(Q2, 2, false, "b"));
        world.send(&peer, &Packet::PubRel(ack(2)));
    }),
    ("MQTT-4.3.2-4", "PUBACK for an unknown id", Manners::default, |world, peer| {
        world.send(&peer, &Packet::PubAck(ack(5)));
    }),
    ("MQTT-4.3.2-4", "PUBACK of an earlier connection", Manners::default, |world, peer| {
        world.send(&peer, &subscribe(1, "t", Q1));
        world.broker.publish("t", "a", Q1, false);
        world.send(&peer, &Packet::PubAck(ack(1)));
        let peer = again(world, peer);
        world.send(&peer, &Packet::PubAck(ack(1)));
    }),
    ("MQTT-4.3.3-8", "PUBREC for an unknown id", Manners::default, |world, peer| {
        world.send(&peer, &Packet::PubRec(ack(5)));
    }),
    ("MQTT-4.3.3-11", "PUBCOMP for an unknown id", Manners::default, |world, peer| {
        world.send(&peer, &Packet::PubComp(ack(5)));
    }),
    (
        "MQTT-3.3.4-7",
        "receive maximum passed",
        || Manners { receive_maximum: Some(2), ..Manners::default() },
        |world, peer| {
            world.send(&peer, &publish(Q2, 1, false, "a"));
            world.send(&peer, &publish(Q2, 2, false, "b"));
            world.send(&peer, &publish(Q2, 3, false, "c"));
        },
    ),
    (
        "MQTT-3.2.2-15",
        "packet too large",
        || Manners { maximum_packet_size: Some(100), ..Manners::default() },
        |world, peer| world.send(&peer, &publish(Q1, 1, false, &"x".repeat(200))),
    ),
    (
        "MQTT-3.2.2-11",
        "QoS above the maximum",
        || Manners { maximum_qos: Q1, ..Manners::default() },
        |world, peer| world.send(&peer, &publish(Q2, 1, false, "a")),
    ),
    (
        "MQTT-3.2.2-14",
        "retain not available",
        || Manners { retain_available: false, ..Manners::default() },
        |world, peer| {
            let Packet::Publish(mut p) = publish(Q1, 1, false, "a") else { unreachable!() };
            p.retain = true;
            world.send(&peer, &Packet::Publish(p));
        },
    ),
    ("MQTT-3.3.2-9", "topic alias out of range", Manners::default, |world, peer| {
        world.send(&peer, &alias(17, "t"));
    }),
    ("u5-3.3.2.3.4-a", "topic alias never set", Manners::default, |world, peer| {
        world.send(&peer, &alias(3, ""));
    }),
    ("u5-3.3.2.3.4-a", "topic alias of an earlier connection", Manners::default, |world, peer| {
        world.send(&peer, &alias(3, "t"));
        let peer = again(world, peer);
        world.send(&peer, &alias(3, ""));
    }),
    ("MQTT-3.1.0-2", "a second CONNECT", Manners::default, |world, peer| {
        world.send(&peer, &Packet::Connect(Box::new(connect("c", Version::V5, false, 3600))));
    }),
    ("MQTT-3.1.0-1", "a packet before CONNECT", Manners::default, |world, _| {
        let fresh = world.open(Version::V5);
        world.send(&fresh, &Packet::PingReq);
    }),
    ("MQTT-3.14.4-1", "a packet after DISCONNECT", Manners::default, |world, peer| {
        world.send(&peer, &goodbye());
        world.send(&peer, &Packet::PingReq);
    }),
    (
        "u5-3.2.2.3.12",
        "subscription id not available",
        || Manners { subscription_ids_available: false, ..Manners::default() },
        |world, peer| {
            let Packet::Subscribe(mut s) = subscribe(1, "t", Q1) else { unreachable!() };
            s.subscription_id = Some(1);
            world.send(&peer, &Packet::Subscribe(s));
        },
    ),
    (
        "u5-3.2.2.3.11",
        "wildcard not available",
        || Manners { wildcard_available: false, ..Manners::default() },
        |world, peer| world.send(&peer, &subscribe(1, "a/#", Q1)),
    ),
    (
        "u5-3.2.2.3.13",
        "shared subscription not available",
        || Manners { shared_available: false, ..Manners::default() },
        |world, peer| world.send(&peer, &subscribe(1, "$share/g/a", Q1)),
    ),
    ("u5-3.14.2.2.2", "expiry in DISCONNECT out of nothing", Manners::default, |world, _| {
        let (peer, _) = world.connect(connect("other", Version::V5, true, 0));
        let bye = Disconnect { session_expiry: Some(10), ..Disconnect::new(ReasonCode::SUCCESS) };
        world.send(&peer, &Packet::Disconnect(bye));
    }),
    ("MQTT-4.13.1-1", "bytes that are no packet", Manners::default, |world, peer| {
        world.broker.received(peer.id, bytes::Bytes::from_static(&[0x00, 0x00]), world.now);
    }),
];

#[test]
fn each_bad_exchange_is_found_and_named() {
    for (clause, what, manners, script) in BAD {
        let mut world = World::new(manners());
        let peer = world.kept(true);
        script(&mut world, peer);
        assert_eq!(world.clauses(), [*clause], "{what}");
    }
}

/// What a correct client may do, however odd it looks.
const GOOD: &[(&str, Script)] = &[
    ("resends of both kinds on a resumed session", |world, peer| {
        lose(world, PacketKind::PubAck);
        lose(world, PacketKind::PubRec);
        world.send(&peer, &publish(Q1, 1, false, "a"));
        world.send(&peer, &publish(Q2, 2, false, "b"));
        let peer = again(world, peer);
        world.send(&peer, &publish(Q1, 1, true, "a"));
        world.send(&peer, &publish(Q2, 2, true, "b"));
        world.send(&peer, &Packet::PubRel(ack(2)));
        world.send(&peer, &publish(Q1, 1, false, "c"));
    }),
    ("PUBREL again after a lost PUBCOMP, and its PUBLISH never", |world, peer| {
        world.send(&peer, &publish(Q2, 1, false, "a"));
        world.send(&peer, &Packet::PubRel(ack(1)));
        let peer = again(world, peer);
        world.send(&peer, &Packet::PubRel(ack(1)));
        world.send(&peer, &publish(Q2, 1, false, "b"));
    }),
    ("a resend whose first copy never arrived", |world, peer| {
        world.send(&peer, &publish(Q1, 1, false, "a"));
        let peer = again(world, peer);
        world.send(&peer, &publish(Q1, 2, true, "b"));
        world.send(&peer, &publish(Q2, 3, true, "c"));
    }),
    ("an id used again after its PUBACK, which was lost with the link or not", |world, peer| {
        world.send(&peer, &publish(Q1, 1, false, "a"));
        let peer = again(world, peer);
        world.send(&peer, &publish(Q1, 1, false, "b"));
        let peer = again(world, peer);
        world.send(&peer, &publish(Q1, 1, true, "b"));
    }),
    ("old exchanges of a session whose CONNACK was lost", |world, peer| {
        world.drop_connection(peer);
        world.broker.forget_sessions();
        world.broker.manners_mut().withhold_connack = Times::ONCE;
        let mut lost = world.open(Version::V5);
        assert_eq!(
            world.ask(&mut lost, &Packet::Connect(Box::new(connect("c", Version::V5, false, 3600)))),
            []
        );
        world.drop_connection(lost);
        let peer = world.kept(false);
        world.send(&peer, &publish(Q1, 1, true, "a"));
        world.send(&peer, &Packet::PubRel(ack(2)));
    }),
    ("old exchanges when Session Present was a lie", |world, peer| {
        world.drop_connection(peer);
        world.broker.forget_sessions();
        world.broker.manners_mut().claim_session_present = Times::ONCE;
        let peer = world.kept(false);
        world.send(&peer, &publish(Q1, 1, true, "a"));
        world.send(&peer, &Packet::PubRel(ack(2)));
    }),
    ("resends in their order, one of them answered in vain before", |world, peer| {
        world.broker.manners_mut().lose(PacketKind::PubRec, Times::Always);
        world.send(&peer, &publish(Q1, 1, false, "a"));
        world.send(&peer, &publish(Q2, 2, false, "b"));
        world.drop_connection(peer);
        world.broker.manners_mut().lose(PacketKind::PubAck, Times::Always);
        let peer = world.kept(false);
        world.send(&peer, &publish(Q1, 1, true, "a"));
        world.send(&peer, &publish(Q2, 2, true, "b"));
        let peer = again(world, peer);
        world.send(&peer, &publish(Q1, 1, true, "a"));
        world.send(&peer, &publish(Q2, 2, true, "b"));
    }),
    ("ids from the start after Clean Start", |world, peer| {
        lose(world, PacketKind::PubAck);
        world.send(&peer, &publish(Q1, 1, false, "a"));
        world.drop_connection(peer);
        let peer = world.kept(true);
        world.send(&peer, &publish(Q1, 1, false, "b"));
    }),
];

#[test]
fn what_is_allowed_is_not_called_a_violation() {
    for (what, script) in GOOD {
        let mut world = World::new(Manners::default());
        let peer = world.kept(true);
        script(&mut world, peer);
        let found: Vec<String> = world.broker.violations().map(ToString::to_string).collect();
        assert!(found.is_empty(), "{what}: {found:#?}");
    }
}

#[test]
fn a_violation_is_answered_with_its_code_at_5_and_with_a_close_at_3() {
    let mut world = World::new(Manners { receive_maximum: Some(1), ..Manners::default() });
    let mut peer = world.kept(true);
    world.send(&peer, &publish(Q2, 1, false, "a"));
    let answers = world.ask(&mut peer, &publish(Q2, 2, false, "b"));
    let last = answers.last();
    assert!(
        matches!(last, Some(Packet::Disconnect(d)) if d.reason == ReasonCode::RECEIVE_MAXIMUM_EXCEEDED),
        "{answers:?}"
    );
    assert!(peer.ending.is_some());

    let (mut old, _) = world.connect(connect("old", Version::V311, true, 0));
    let again = Packet::Connect(Box::new(connect("old", Version::V311, true, 0)));
    assert_eq!(world.ask(&mut old, &again), []);
    assert!(old.ending.is_some());
    assert_eq!(ConnectProperties::default().receive_maximum, None);
}
