//! The broker that wants to hear things backwards, and what it says of clients that do otherwise.

use rejoin_core::codec::packet::{Auth, ConnectProperties, Packet, Qos, Version};
use rejoin_core::codec::reason::ReasonCode;
use rejoin_lab::wire::Times;
use rejoin_lab::{Backwards, Manners};

use crate::peer::{Peer, World, connect, goodbye, publish, text};

const NAME: &str = "BACKWARDS";

fn world(rounds: u8) -> World {
    let method = Backwards { name: NAME.to_owned(), rounds };
    World::new(Manners { authentication: Some(method), ..Manners::default() })
}

fn connect_by(method: &str) -> Packet {
    connect_as("c", method)
}

fn connect_as(client: &str, method: &str) -> Packet {
    let mut connect = connect(client, Version::V5, true, 3600);
    let properties = connect.properties;
    connect.properties = ConnectProperties { authentication_method: Some(text(method)), ..properties };
    Packet::Connect(Box::new(connect))
}

fn auth(reason: ReasonCode, data: Option<&[u8]>) -> Packet {
    let data = data.map(bytes::Bytes::copy_from_slice);
    Packet::Auth(Auth { reason, method: Some(text(NAME)), data, properties: None })
}

/// The challenge that came.
fn challenge(packets: &[Packet]) -> bytes::Bytes {
    let [Packet::Auth(auth)] = packets else { panic!("no challenge: {packets:?}") };
    assert_eq!((auth.reason, &auth.method), (ReasonCode::CONTINUE_AUTHENTICATION, &Some(text(NAME))));
    auth.data.clone().expect("it has data")
}

fn answer(world: &mut World, peer: &mut Peer, challenge: &[u8]) -> Vec<Packet> {
    world.ask(peer, &auth(ReasonCode::CONTINUE_AUTHENTICATION, Some(&Backwards::answer(challenge))))
}

/// A client that proved who it is.
fn proved(world: &mut World) -> Peer {
    let mut peer = world.open(Version::V5);
    let mut answers = world.ask(&mut peer, &connect_by(NAME));
    while let [Packet::Auth(_)] = &answers[..] {
        let asked = challenge(&answers);
        answers = answer(world, &mut peer, &asked);
    }
    assert!(matches!(&answers[..], [Packet::ConnAck(_)]), "{answers:?}");
    peer
}

#[test]
fn connack_comes_when_all_is_proved_and_proves_the_broker() {
    let mut world = world(2);
    let mut peer = world.open(Version::V5);
    let answers = world.ask(&mut peer, &connect_by(NAME));
    let first = challenge(&answers);
    let answers = answer(&mut world, &mut peer, &first);
    let second = challenge(&answers);
    assert_ne!(first, second);
    let answers = answer(&mut world, &mut peer, &second);
    let [Packet::ConnAck(connack)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(connack.reason, ReasonCode::SUCCESS);
    assert_eq!(connack.properties.authentication_method, Some(text(NAME)));
    assert_eq!(connack.properties.authentication_data, Some(Backwards::answer(&second)));

    // And anew on the open connection, as often as the client likes.
    for _ in 0..2 {
        let answers = world.ask(&mut peer, &auth(ReasonCode::REAUTHENTICATE, None));
        let third = challenge(&answers);
        let answers = answer(&mut world, &mut peer, &third);
        let fourth = challenge(&answers);
        let answers = answer(&mut world, &mut peer, &fourth);
        let [Packet::Auth(end)] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!((end.reason, &end.data), (ReasonCode::SUCCESS, &Some(Backwards::answer(&fourth))));
    }
    world.assert_clean();
}

#[test]
fn what_is_not_proved_is_refused_and_breaks_no_rule() {
    let mut world = world(1);
    let refused = |answers: &[Packet], reason| {
        assert!(matches!(answers, [Packet::ConnAck(connack)] if connack.reason == reason), "{answers:?}");
    };
    let mut peer = world.open(Version::V5);
    let answers = world.ask(&mut peer, &connect_by("OTHER"));
    refused(&answers, ReasonCode::BAD_AUTHENTICATION_METHOD);

    let mut peer = world.open(Version::V5);
    let answers = world.ask(&mut peer, &connect_by(NAME));
    challenge(&answers);
    let answers = answer(&mut world, &mut peer, b"something else");
    refused(&answers, ReasonCode::NOT_AUTHORIZED);

    world.broker.manners_mut().refuse_proof = Times::ONCE;
    let mut peer = world.open(Version::V5);
    let answers = world.ask(&mut peer, &connect_by(NAME));
    let answers = answer(&mut world, &mut peer, &challenge(&answers));
    refused(&answers, ReasonCode::NOT_AUTHORIZED);

    let mut peer = proved(&mut world);
    let answers = world.ask(&mut peer, &auth(ReasonCode::REAUTHENTICATE, None));
    challenge(&answers);
    let answers = answer(&mut world, &mut peer, b"something else");
    let is_refusal = |d: &rejoin_core::codec::packet::Disconnect| d.reason == ReasonCode::NOT_AUTHORIZED;
    assert!(matches!(&answers[..], [Packet::Disconnect(d)] if is_refusal(d)), "{answers:?}");
    assert!(peer.ending.is_some());

    // Who leaves instead may do so.
    let mut peer = world.open(Version::V5);
    world.ask(&mut peer, &connect_by(NAME));
    world.send(&peer, &goodbye());
    world.assert_clean();
}

type Script = fn(&mut World, &mut Peer);

/// Clause, whether it is done behind CONNACK and not behind the first challenge, and what is done.
pub(crate) const BAD: &[(&str, bool, Script)] = &[
    ("MQTT-3.1.2-30", false, |world, peer| {
        world.send(peer, &publish(Qos::AtMostOnce, 0, false, "too early"));
    }),
    ("MQTT-4.13.1-1", true, |world, peer| {
        answer(world, peer, b"nothing");
    }),
    ("MQTT-4.12.0-3", false, |world, peer| {
        world.send(peer, &auth(ReasonCode::REAUTHENTICATE, None));
    }),
    ("MQTT-3.1.2-30", false, |world, peer| {
        // CONNACK is on its way, for all the client knows.
        world.broker.manners_mut().withhold_connack = Times::ONCE;
        let mut other = world.open(Version::V5);
        let answers = world.ask(&mut other, &connect_by(NAME));
        answer(world, &mut other, &challenge(&answers));
        world.send(&other, &publish(Qos::AtMostOnce, 0, false, "too early"));
        std::mem::swap(peer, &mut other);
    }),
    ("MQTT-3.15.2-1", true, |world, peer| {
        let bytes = [0xf0, 2, 0x00, 0x00];
        world.broker.received(peer.id, bytes::Bytes::copy_from_slice(&bytes), world.now);
    }),
    ("u5-3.15.2.2.2", true, |world, peer| {
        let bytes = [0xf0, 2, 0x19, 0x00];
        world.broker.received(peer.id, bytes::Bytes::copy_from_slice(&bytes), world.now);
    }),
    ("MQTT-4.12.0-3", true, |world, peer| {
        world.send(peer, &auth(ReasonCode::REAUTHENTICATE, None));
        world.send(peer, &auth(ReasonCode::REAUTHENTICATE, None));
    }),
    ("MQTT-4.12.0-5", true, |world, peer| {
        let reason = ReasonCode::REAUTHENTICATE;
        let method = Some(text("OTHER"));
        world.send(peer, &Packet::Auth(Auth { reason, method, data: None, properties: None }));
    }),
];

#[test]
fn each_wrong_step_is_named_by_its_clause() {
    for &(clause, after_connack, script) in BAD {
        let mut world = world(1);
        let mut peer = if after_connack {
            proved(&mut world)
        } else {
            let mut peer = world.open(Version::V5);
            world.ask(&mut peer, &connect_by(NAME));
            peer
        };
        script(&mut world, &mut peer);
        assert_eq!(world.clauses(), [clause], "after CONNACK: {after_connack}");
    }
}

#[test]
fn a_broker_that_is_content_early_takes_the_answer_that_crosses() {
    let mut world = world(2);
    world.broker.manners_mut().content_early = Times::ONCE;
    let mut peer = world.open(Version::V5);
    let answers = world.ask(&mut peer, &connect_by(NAME));
    assert!(matches!(&answers[..], [Packet::Auth(_), Packet::ConnAck(_)]), "{answers:?}");
    let asked = challenge(&answers[..1]);
    assert!(answer(&mut world, &mut peer, &asked).is_empty());
    world.assert_clean();
    answer(&mut world, &mut peer, &asked);
    assert_eq!(world.clauses(), ["MQTT-4.13.1-1"], "nothing is open any more");
}

#[test]
fn who_leaves_in_the_middle_may_ask_for_another_expiry() {
    let mut world = world(1);
    let mut peer = world.open(Version::V5);
    world.ask(&mut peer, &connect_by(NAME));
    let mut goodbye = rejoin_core::codec::packet::Disconnect::new(ReasonCode::SUCCESS);
    goodbye.session_expiry = Some(60);
    world.send(&peer, &Packet::Disconnect(goodbye));
    world.assert_clean();
}

#[test]
fn two_clients_without_a_name_that_prove_at_the_same_time_get_two() {
    let mut world = world(1);
    let mut peers = [world.open(Version::V5), world.open(Version::V5)];
    let asked: Vec<_> =
        peers.iter_mut().map(|peer| challenge(&world.ask(peer, &connect_as("", NAME)))).collect();
    let mut named = |n: usize| match &answer(&mut world, &mut peers[n], &asked[n])[..] {
        [Packet::ConnAck(connack)] => connack.properties.assigned_client_id.clone().expect("a name"),
        other => panic!("{other:?}"),
    };
    assert_ne!(named(0), named(1));
}
