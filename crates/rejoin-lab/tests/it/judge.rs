//! Bad exchanges and the clause the judge names for each; good ones for which it must stay silent.

use rejoin_core::codec::packet::{
    Auth, ConnectProperties, Disconnect, Packet, PacketId, PublishProperties, Qos, Version,
};
use rejoin_core::codec::reason::ReasonCode;
use rejoin_lab::broker::Manners;
use rejoin_lab::wire::{Ending, PacketKind, Times};

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
    p.topic = crate::peer::text(topic).try_into().unwrap();
    p.properties =
        Some(Box::new(PublishProperties { topic_alias: PacketId::new(n), ..PublishProperties::default() }));
    Packet::Publish(p)
}

/// Bytes that no encoder writes.
fn raw(world: &mut World, peer: &Peer, bytes: &[u8]) {
    world.broker.received(peer.id, bytes::Bytes::copy_from_slice(bytes), world.now);
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
    (
        "MQTT-4.6.0-1",
        "a new one is sent again behind what had never arrived",
        Manners::default,
        |world, peer| {
            lose(world, PacketKind::PubAck);
            world.send(&peer, &publish(Q1, 9, false, "a"));
            let peer = again(world, peer);
            lose(world, PacketKind::PubAck);
            world.send(&peer, &publish(Q1, 3, true, "c"));
            let peer = again(world, peer);
            world.send(&peer, &publish(Q1, 3, true, "c"));
            world.send(&peer, &publish(Q1, 9, true, "a"));
        },
    ),
    ("MQTT-4.6.0-2", "PUBACKs out of order", Manners::default, |world, peer| {
        world.send(&peer, &subscribe(1, "t", Q1));
        world.broker.publish("t", "a", Q1, false);
        world.broker.publish("t", "b", Q1, false);
        world.send(&peer, &Packet::PubAck(ack(2)));
        world.send(&peer, &Packet::PubAck(ack(1)));
    }),
    ("MQTT-4.6.0-3", "PUBRECs out of order", Manners::default, |world, peer| {
        world.send(&peer, &subscribe(1, "t", Q2));
        world.broker.publish("t", "a", Q2, false);
        world.broker.publish("t", "b", Q2, false);
        world.send(&peer, &Packet::PubRec(ack(2)));
        world.send(&peer, &Packet::PubRec(ack(1)));
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
    ("MQTT-3.3.1-1", "resend without DUP of what was answered in vain", Manners::default, |world, peer| {
        world.send(&peer, &publish(Q1, 1, false, "a"));
        // The PUBACK is made, and the link is cut before it leaves.
        let peer = again(world, peer);
        world.send(&peer, &publish(Q1, 1, false, "a"));
    }),
    ("MQTT-4.3.3-6", "the same at QoS 2, after its PUBREL", Manners::default, |world, mut peer| {
        world.send(&peer, &publish(Q2, 1, false, "a"));
        world.read(&mut peer);
        world.send(&peer, &Packet::PubRel(ack(1)));
        let peer = again(world, peer);
        world.send(&peer, &publish(Q2, 1, false, "a"));
    }),
    ("MQTT-3.3.1-1", "the same where a reset takes the PUBACK away", Manners::default, |world, peer| {
        world.send(&peer, &publish(Q1, 1, false, "a"));
        world.broker.cut_all(Ending::Rst);
        let peer = again(world, peer);
        world.send(&peer, &publish(Q1, 1, false, "a"));
    }),
    ("MQTT-3.1.3-8", "an empty client id without a clean session", Manners::default, |world, _| {
        let peer = world.open(Version::V311);
        raw(world, &peer, &[0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 0, 0, 0, 0, 0]);
    }),
    ("MQTT-4.12.0-7", "AUTH without a method in CONNECT", Manners::default, |world, peer| {
        let reason = ReasonCode::REAUTHENTICATE;
        let method = Some(crate::peer::text("m"));
        world.send(&peer, &Packet::Auth(Auth { reason, method, data: None, properties: None }));
    }),
    ("MQTT-4.7.1-1", "a number sign in the middle", Manners::default, |world, peer| {
        world.send(&peer, &subscribe(1, "a/#/b", Q1));
    }),
    ("MQTT-4.7.1-2", "a plus sign beside other letters", Manners::default, |world, peer| {
        world.send(&peer, &subscribe(1, "a+", Q1));
    }),
    ("MQTT-4.8.2-2", "a shared filter without a filter", Manners::default, |world, peer| {
        world.send(&peer, &subscribe(1, "$share/g", Q1));
    }),
    ("MQTT-3.1.2-2", "a foreign version", Manners::default, |world, _| {
        let peer = world.open(Version::V5);
        raw(world, &peer, &[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 6, 2, 0, 0, 0, 1, b'c']);
    }),
    ("MQTT-3.3.1-2", "DUP at QoS 0", Manners::default, |world, peer| {
        raw(world, &peer, &[0x38, 4, 0, 1, b't', 0]);
    }),
    ("MQTT-3.3.2-2", "a wildcard in a topic name", Manners::default, |world, peer| {
        raw(world, &peer, &[0x30, 6, 0, 3, b'a', b'/', b'#', 0]);
    }),
    ("MQTT-3.3.2-8", "topic alias 0", Manners::default, |world, peer| {
        raw(world, &peer, &[0x30, 7, 0, 1, b't', 3, 0x23, 0, 0]);
    }),
    ("MQTT-3.3.4-6", "a subscription id from a client", Manners::default, |world, peer| {
        raw(world, &peer, &[0x30, 6, 0, 1, b't', 2, 0x0B, 1]);
    }),
    ("u5-3.3.2.1", "neither a topic name nor an alias", Manners::default, |world, peer| {
        raw(world, &peer, &[0x30, 3, 0, 0, 0]);
    }),
    ("MQTT-4.7.3-1", "an empty topic name at 3.1.1", Manners::default, |world, _| {
        let (peer, _) = world.connect(connect("old", Version::V311, true, 0));
        raw(world, &peer, &[0x30, 2, 0, 0]);
    }),
    ("MQTT-4.7.3-1", "an empty filter", Manners::default, |world, peer| {
        raw(world, &peer, &[0x82, 6, 0, 1, 0, 0, 0, 0]);
    }),
    ("MQTT-4.7.3-1", "an empty filter in UNSUBSCRIBE", Manners::default, |world, peer| {
        raw(world, &peer, &[0xA2, 5, 0, 1, 0, 0, 0]);
    }),
    ("MQTT-4.7.3-1", "a will without a topic", Manners::default, |world, _| {
        let peer = world.open(Version::V311);
        raw(world, &peer, &[0x10, 17, 0, 4, b'M', b'Q', b'T', b'T', 4, 6, 0, 0, 0, 1, b'w', 0, 0, 0, 0]);
    }),
    ("MQTT-4.7.0-1", "a wildcard in a will's topic", Manners::default, |world, _| {
        let peer = world.open(Version::V311);
        raw(
            world,
            &peer,
            &[0x10, 18, 0, 4, b'M', b'Q', b'T', b'T', 4, 6, 0, 0, 0, 1, b'w', 0, 1, b'#', 0, 0],
        );
    }),
    ("u5-3.8.2.1.2", "subscription id 0", Manners::default, |world, peer| {
        raw(world, &peer, &[0x82, 9, 0, 1, 2, 0x0B, 0, 0, 1, b't', 0]);
    }),
    ("MQTT-3.8.3-4", "No Local on a shared subscription", Manners::default, |world, peer| {
        raw(world, &peer, &[&[0x82, 16, 0, 1, 0, 0, 10][..], b"$share/g/t", &[4]].concat());
    }),
    ("MQTT-4.13.1-1", "bytes that are no packet", Manners::default, |world, peer| {
        raw(world, &peer, &[0x00, 0x00]);
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

/// Only a suspicion, so it stands with what a correct broker does: `model.rs`.
const ELSEWHERE: [&str; 1] = ["MQTT-3.1.2-20"];

#[test]
fn every_rule_of_the_judge_is_in_that_table() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/broker");
    let mut rules = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for quoted in
            text.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|line| line.split('"'))
        {
            let is_clause = quoted.starts_with("MQTT-") || quoted.starts_with("u5-");
            if !is_clause || ELSEWHERE.contains(&quoted) {
                continue;
            }
            rules += 1;
            let clauses = BAD.iter().map(|(clause, ..)| clause);
            let mut clauses = clauses.chain(crate::proves::BAD.iter().map(|(clause, ..)| clause));
            let has_row = clauses.any(|clause| *clause == quoted);
            assert!(has_row, "{}: {quoted} has no exchange in which it is found", path.display());
        }
    }
    assert!(rules > 40, "{rules} rules");
}

#[test]
fn a_resend_without_dup_of_what_may_have_been_acknowledged_is_a_suspicion() {
    for (qos, clause) in [(Q1, "MQTT-3.3.1-1"), (Q2, "MQTT-4.3.3-6")] {
        let mut world = World::new(Manners::default());
        let mut peer = world.kept(true);
        world.send(&peer, &publish(qos, 1, false, "a"));
        world.send(&peer, &Packet::PubRel(ack(1)));
        // The last acknowledgement left. Whether it arrived nobody here can know.
        world.read(&mut peer);
        world.broker.forgive();
        let peer = again(&mut world, peer);
        world.send(&peer, &publish(qos, 1, false, "a"));
        world.assert_clean();
        let found: Vec<&str> = world.broker.suspicions().map(|suspicion| suspicion.clause).collect();
        assert_eq!(found, [clause]);
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
    // The first PUBLISH 1 went with its link.
    ("what arrived first as a copy was sent before what its link brought first", |world, peer| {
        world.send(&peer, &publish(Q1, 3, false, "c"));
        let peer = again(world, peer);
        lose(world, PacketKind::PubAck);
        world.send(&peer, &publish(Q1, 2, false, "b"));
        world.send(&peer, &publish(Q1, 1, true, "a"));
        let peer = again(world, peer);
        world.send(&peer, &publish(Q1, 1, true, "a"));
        world.send(&peer, &publish(Q1, 2, true, "b"));
    }),
    // Begun anew while the rest still waited to be sent again, of which 3 had never arrived.
    ("what began anew among resends is sent again behind all that was sent before it", |world, peer| {
        world.send(&peer, &publish(Q1, 1, false, "z"));
        let peer = again(world, peer);
        lose(world, PacketKind::PubAck);
        world.send(&peer, &publish(Q1, 9, false, "a"));
        world.send(&peer, &publish(Q1, 2, true, "b"));
        let peer = again(world, peer);
        lose(world, PacketKind::PubAck);
        world.send(&peer, &publish(Q1, 2, true, "b"));
        world.send(&peer, &publish(Q1, 3, true, "c"));
        let peer = again(world, peer);
        world.send(&peer, &publish(Q1, 2, true, "b"));
        world.send(&peer, &publish(Q1, 3, true, "c"));
        world.send(&peer, &publish(Q1, 9, true, "a"));
    }),
    // Likewise, but the link went with 3, which should have come again behind it.
    (
        "what began anew where QoS 2 is not offered may be younger than what comes as a copy later",
        |world, peer| {
            world.broker.manners_mut().maximum_qos = Q1;
            world.send(&peer, &publish(Q1, 1, false, "z"));
            let peer = again(world, peer);
            lose(world, PacketKind::PubAck);
            world.send(&peer, &publish(Q1, 9, false, "a"));
            let peer = again(world, peer);
            lose(world, PacketKind::PubAck);
            lose(world, PacketKind::PubAck);
            world.send(&peer, &publish(Q1, 3, true, "c"));
            world.send(&peer, &publish(Q1, 9, true, "a"));
            let mut peer = peer;
            for _ in 0..2 {
                peer = again(world, peer);
                world.send(&peer, &publish(Q1, 3, true, "c"));
                world.send(&peer, &publish(Q1, 9, true, "a"));
            }
        },
    ),
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
