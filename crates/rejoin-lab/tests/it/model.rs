//! What a correct broker does.

use std::time::Duration;

use bytes::Bytes;
use rejoin_core::codec::packet::{Packet, PublishProperties, Qos, RetainHandling, Version, Will};
use rejoin_core::codec::reason::ReasonCode;
use rejoin_lab::broker::{Answer, Manners, Refusal};
use rejoin_lab::wire::{Ending, PacketKind, Times};

use crate::peer::{World, ack, connect, goodbye, id, publish, publish_to, subscribe, text};

fn payloads(packets: &[Packet]) -> Vec<String> {
    packets
        .iter()
        .filter_map(|packet| match packet {
            Packet::Publish(publish) => Some(String::from_utf8_lossy(&publish.payload).into_owned()),
            _ => None,
        })
        .collect()
}

#[test]
fn qos_1_and_2_reach_a_subscriber_of_both_versions() {
    for version in [Version::V311, Version::V5] {
        let mut world = World::new(Manners::default());
        let (mut reader, _) = world.connect(connect("reader", version, true, 0));
        let (mut writer, _) = world.connect(connect("writer", version, true, 0));
        let suback = world.ask(&mut reader, &subscribe(1, "t", Qos::ExactlyOnce));
        assert!(matches!(&suback[..], [Packet::SubAck(a)] if a.reasons == [ReasonCode::GRANTED_QOS_2]));

        world.send(&writer, &publish(Qos::AtMostOnce, 0, false, "zero"));
        assert_eq!(payloads(&world.read(&mut reader)), ["zero"]);
        assert_eq!(
            world.ask(&mut writer, &publish(Qos::AtLeastOnce, 1, false, "one")),
            [Packet::PubAck(ack(1))]
        );
        let got = world.read(&mut reader);
        assert_eq!(payloads(&got), ["one"]);
        world.send(&reader, &Packet::PubAck(ack(1)));
        assert_eq!(
            world.ask(&mut writer, &publish(Qos::ExactlyOnce, 1, false, "two")),
            [Packet::PubRec(ack(1))]
        );
        assert_eq!(payloads(&world.read(&mut reader)), [""; 0], "forwarded at PUBREL, not before");
        assert_eq!(world.ask(&mut writer, &Packet::PubRel(ack(1))), [Packet::PubComp(ack(1))]);
        assert_eq!(payloads(&world.read(&mut reader)), ["two"]);
        assert_eq!(world.ask(&mut reader, &Packet::PubRec(ack(2))), [Packet::PubRel(ack(2))]);
        assert_eq!(world.ask(&mut reader, &Packet::PubComp(ack(2))), []);
        assert_eq!(world.broker.owed_to("reader"), 0);
        world.assert_clean();
    }
}

#[test]
fn a_kept_session_gets_what_came_while_it_was_away_and_what_it_did_not_acknowledge() {
    let mut world = World::new(Manners::default());
    let mut reader = world.kept(true);
    world.ask(&mut reader, &subscribe(1, "#", Qos::ExactlyOnce));
    world.broker.publish("a", "one", Qos::AtLeastOnce, false);
    world.broker.publish("b", "two", Qos::ExactlyOnce, false);
    let sent = world.read(&mut reader);
    assert_eq!(payloads(&sent), ["one", "two"]);
    world.send(&reader, &Packet::PubRec(ack(2)));
    world.drop_connection(reader);
    world.broker.publish("c", "three", Qos::AtLeastOnce, false);

    let (mut reader, present) = {
        let mut peer = world.open(Version::V5);
        world.send(&peer, &Packet::Connect(Box::new(connect("c", Version::V5, false, 3600))));
        let packets = world.read(&mut peer);
        let present = matches!(&packets[0], Packet::ConnAck(a) if a.session_present);
        let rest = &packets[1..];
        assert!(matches!(&rest[0], Packet::Publish(p) if p.dup && p.payload == "one"), "{rest:?}");
        assert_eq!(rest[1], Packet::PubRel(ack(2)), "never the PUBLISH again");
        assert!(matches!(&rest[2], Packet::Publish(p) if !p.dup && p.payload == "three"));
        (peer, present)
    };
    assert!(present);
    world.send(&reader, &Packet::PubAck(ack(1)));
    world.send(&reader, &Packet::PubComp(ack(2)));
    world.send(&reader, &Packet::PubAck(ack(3)));
    assert_eq!(world.read(&mut reader), []);
    assert_eq!(world.broker.owed_to("c"), 0);
    world.assert_clean();
}

#[test]
fn an_unknown_exchange_is_ended_in_the_words_of_each_version() {
    for version in [Version::V311, Version::V5] {
        let mut world = World::new(Manners::default());
        let (mut peer, _) = world.connect(connect("c", version, false, 3600));
        let unknown = match version {
            Version::V311 => ReasonCode::SUCCESS,
            Version::V5 => ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
        };
        let answer = world.ask(&mut peer, &Packet::PubRel(ack(7)));
        assert!(matches!(&answer[..], [Packet::PubComp(a)] if a.reason == unknown), "{version}: {answer:?}");
        let answer = world.ask(&mut peer, &Packet::PubRec(ack(7)));
        assert!(matches!(&answer[..], [Packet::PubRel(a)] if a.reason == unknown), "{version}: {answer:?}");
    }
}

#[test]
fn a_session_ends_when_its_time_is_over() {
    let mut world = World::new(Manners::default());
    let (peer, _) = world.connect(connect("c", Version::V5, true, 10));
    world.drop_connection(peer);
    world.pass(Duration::from_secs(9));
    assert_eq!(world.broker.clients(), ["c"]);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.broker.clients(), [""; 0]);
    let (_, present) = world.connect(connect("c", Version::V5, false, 10));
    assert!(!present);
}

#[test]
fn a_client_is_never_sent_more_than_its_receive_maximum() {
    let mut world = World::new(Manners::default());
    let mut wish = connect("c", Version::V5, true, 3600);
    wish.properties.receive_maximum = std::num::NonZeroU16::new(2);
    let (mut reader, _) = world.connect(wish);
    world.ask(&mut reader, &subscribe(1, "t", Qos::AtLeastOnce));
    for n in 0..5 {
        world.broker.publish("t", format!("{n}"), Qos::AtLeastOnce, false);
    }
    assert_eq!(payloads(&world.read(&mut reader)), ["0", "1"]);
    assert_eq!(payloads(&world.ask(&mut reader, &Packet::PubAck(ack(1)))), ["2"]);
}

#[test]
fn retained_messages_follow_retain_handling() {
    let mut world = World::new(Manners::default());
    world.broker.publish("r", "kept", Qos::AtMostOnce, true);
    let mut peer = world.kept(true);
    let ask = |handling| match subscribe(1, "r", Qos::AtLeastOnce) {
        Packet::Subscribe(mut s) => {
            s.filters[0].1.retain_handling = handling;
            Packet::Subscribe(s)
        }
        other => other,
    };
    let got = world.ask(&mut peer, &ask(RetainHandling::SendIfNew));
    assert!(matches!(&got[1], Packet::Publish(p) if p.retain && p.payload == "kept"), "{got:?}");
    assert_eq!(payloads(&world.ask(&mut peer, &ask(RetainHandling::SendIfNew))), [""; 0]);
    assert_eq!(payloads(&world.ask(&mut peer, &ask(RetainHandling::Send))), ["kept"]);
    assert_eq!(payloads(&world.ask(&mut peer, &ask(RetainHandling::Never))), [""; 0]);
    world.broker.publish("r", "", Qos::AtMostOnce, true);
    assert_eq!(world.broker.retained("r"), None);
}

#[test]
fn no_local_shared_and_subscription_ids() {
    let mut world = World::new(Manners::default());
    let (mut one, _) = world.connect(connect("one", Version::V5, true, 0));
    let (mut two, _) = world.connect(connect("two", Version::V5, true, 0));
    let with = |filter: &str, no_local, id| match subscribe(1, filter, Qos::AtMostOnce) {
        Packet::Subscribe(mut s) => {
            s.filters[0].1.no_local = no_local;
            s.subscription_id = id;
            Packet::Subscribe(s)
        }
        other => other,
    };
    world.ask(&mut one, &with("t", true, None));
    world.ask(&mut two, &with("t", false, Some(7)));
    world.send(&one, &publish(Qos::AtMostOnce, 0, false, "mine"));
    assert_eq!(payloads(&world.read(&mut one)), [""; 0]);
    let got = world.read(&mut two);
    assert!(
        matches!(&got[..], [Packet::Publish(p)] if p.properties.as_ref().unwrap().subscription_ids == [7])
    );
    world.ask(&mut one, &with("$share/g/jobs", false, None));
    world.ask(&mut two, &with("$share/g/jobs", false, None));
    for n in 0..4 {
        world.broker.publish("jobs", format!("{n}"), Qos::AtMostOnce, false);
    }
    assert_eq!(payloads(&world.read(&mut one)).len(), 2);
    assert_eq!(payloads(&world.read(&mut two)).len(), 2);
}

#[test]
fn a_will_is_sent_after_its_delay_and_not_after_disconnect() {
    let mut world = World::new(Manners::default());
    let mut reader = world.kept(true);
    world.ask(&mut reader, &subscribe(1, "will", Qos::AtMostOnce));
    let dying = |delay| {
        let mut wish = connect("w", Version::V5, true, 60);
        wish.will = Some(Will {
            topic: text("will"),
            payload: Bytes::from_static(b"gone"),
            qos: Qos::AtMostOnce,
            retain: false,
            delay: Some(delay),
            properties: PublishProperties::default(),
        });
        wish
    };
    let (peer, _) = world.connect(dying(5));
    world.drop_connection(peer);
    world.pass(Duration::from_secs(4));
    assert_eq!(payloads(&world.read(&mut reader)), [""; 0]);
    world.pass(Duration::from_secs(2));
    assert_eq!(payloads(&world.read(&mut reader)), ["gone"]);

    let (mut peer, _) = world.connect(dying(0));
    world.ask(&mut peer, &goodbye());
    assert_eq!(peer.ending, Some(Ending::Fin));
    world.drop_connection(peer);
    assert_eq!(payloads(&world.read(&mut reader)), [""; 0]);

    let (peer, _) = world.connect(dying(5));
    world.drop_connection(peer);
    let (_, _) = world.connect(connect("w", Version::V5, false, 60));
    world.pass(Duration::from_secs(10));
    assert_eq!(payloads(&world.read(&mut reader)), [""; 0], "the session was taken up in time");
}

#[test]
fn the_second_connection_of_a_client_takes_over() {
    let mut world = World::new(Manners::default());
    let mut first = world.kept(true);
    let (_, present) = world.connect(connect("c", Version::V5, false, 3600));
    assert!(present);
    let last = world.read(&mut first);
    assert!(
        matches!(&last[..], [Packet::Disconnect(d)] if d.reason == ReasonCode::SESSION_TAKEN_OVER),
        "{last:?}"
    );
    assert_eq!(first.ending, Some(Ending::Fin));
}

#[test]
fn silence_beyond_one_and_a_half_keep_alives_ends_the_connection_but_proves_nothing() {
    let mut world = World::new(Manners::default());
    let mut wish = connect("c", Version::V5, true, 0);
    wish.keep_alive = 10;
    let (mut peer, _) = world.connect(wish);
    world.pass(Duration::from_secs(14));
    assert_eq!(world.ask(&mut peer, &Packet::PingReq), [Packet::PingResp]);
    world.pass(Duration::from_millis(14_900));
    assert_eq!(peer.ending, None);
    world.pass(Duration::from_millis(200));
    let last = world.read(&mut peer);
    assert!(matches!(&last[..], [Packet::Disconnect(d)] if d.reason == ReasonCode::KEEP_ALIVE_TIMEOUT));
    world.assert_clean();
    assert_eq!(world.broker.suspicions().count(), 1);
}

#[test]
fn an_empty_client_id_is_assigned_one() {
    let mut world = World::new(Manners::default());
    let mut peer = world.open(Version::V5);
    let packets = world.ask(&mut peer, &Packet::Connect(Box::new(connect("", Version::V5, true, 0))));
    assert!(
        matches!(&packets[..], [Packet::ConnAck(a)] if a.properties.assigned_client_id.is_some()),
        "{packets:?}"
    );
}

#[test]
fn a_message_expires_while_it_waits() {
    let mut world = World::new(Manners::default());
    let mut reader = world.kept(true);
    world.ask(&mut reader, &subscribe(1, "t", Qos::AtLeastOnce));
    world.drop_connection(reader);
    let (writer, _) = world.connect(connect("w", Version::V5, true, 0));
    let Packet::Publish(mut message) = publish(Qos::AtLeastOnce, 1, false, "short") else { unreachable!() };
    message.properties =
        Some(Box::new(PublishProperties { message_expiry: Some(5), ..PublishProperties::default() }));
    world.send(&writer, &Packet::Publish(message));
    world.pass(Duration::from_secs(6));
    let mut reader = world.kept(false);
    assert_eq!(payloads(&world.read(&mut reader)), [""; 0]);
    assert_eq!(world.broker.counters().dropped_expired, 1);
}

#[test]
fn a_broker_may_send_again_on_a_live_link_and_takes_the_answer_to_a_copy_for_no_other_message() {
    let manners = Manners {
        sends_again_after: Some(Duration::from_secs(5)),
        receive_maximum: None,
        ..Manners::default()
    };
    let mut world = World::new(manners);
    let mut wish = connect("c", Version::V5, true, 3600);
    wish.properties.receive_maximum = std::num::NonZeroU16::new(1);
    let (mut reader, _) = world.connect(wish);
    world.ask(&mut reader, &subscribe(1, "t", Qos::AtLeastOnce));
    let (writer, _) = world.connect(connect("w", Version::V5, true, 0));
    for n in 1..=3 {
        world.send(&writer, &publish(Qos::AtLeastOnce, n, false, "m"));
    }
    let sent = |packets: Vec<Packet>| -> Vec<(u16, bool)> {
        let of = |packet: Packet| match packet {
            Packet::Publish(publish) => Some((publish.packet_id?.get(), publish.dup)),
            _ => None,
        };
        packets.into_iter().filter_map(of).collect()
    };
    assert_eq!(sent(world.read(&mut reader)), [(1, false)], "the window is one");
    world.pass(Duration::from_secs(5));
    assert_eq!(sent(world.read(&mut reader)), [(1, true)]);
    let ack = Packet::PubAck(rejoin_core::codec::packet::Ack::new(
        rejoin_core::codec::packet::PacketId::MIN,
        ReasonCode::SUCCESS,
    ));
    assert_eq!(sent(world.ask(&mut reader, &ack)), [(2, false)]);
    assert_eq!(sent(world.ask(&mut reader, &ack)), [], "it crossed the copy, and is no place in the window");
    world.assert_clean();
    world.broker.manners_mut().sends_again_after = None;
    world.pass(Duration::from_secs(6));
    assert_eq!(sent(world.read(&mut reader)), []);
}

#[test]
fn manners_refuse_lose_delay_and_close() {
    let manners = Manners {
        refuse_connect: Some(Refusal::new(ReasonCode::SERVER_BUSY).times(1)),
        withhold_connack: Times::ONCE,
        ..Manners::default()
    };
    let mut world = World::new(manners);
    let hello = || Packet::Connect(Box::new(connect("c", Version::V5, false, 3600)));
    let mut peer = world.open(Version::V5);
    let refused = world.ask(&mut peer, &hello());
    assert!(matches!(&refused[..], [Packet::ConnAck(a)] if a.reason == ReasonCode::SERVER_BUSY));
    assert_eq!(peer.ending, Some(Ending::Fin));
    let mut silent = world.open(Version::V5);
    assert_eq!(world.ask(&mut silent, &hello()), []);
    world.drop_connection(silent);

    // The session of the CONNECT whose CONNACK was withheld is there: Session Present without a client's half.
    let (mut peer, present) = world.connect(connect("c", Version::V5, false, 3600));
    assert!(present);
    world.broker.manners_mut().lose(PacketKind::PubAck, Times::Count(2));
    for n in 1..=2 {
        assert_eq!(world.ask(&mut peer, &publish(Qos::AtLeastOnce, n, false, "x")), []);
    }
    assert_eq!(world.ask(&mut peer, &publish(Qos::AtLeastOnce, 3, false, "y")).len(), 1);

    world.broker.manners_mut().ack_delay = Duration::from_millis(10);
    assert_eq!(world.ask(&mut peer, &publish(Qos::AtLeastOnce, 4, false, "z")), []);
    assert_eq!(world.broker.next_deadline().unwrap().since(world.now), Duration::from_millis(10));
    world.pass(Duration::from_millis(10));
    assert_eq!(world.read(&mut peer).len(), 1);

    world.broker.manners_mut().ack_delay = Duration::ZERO;
    world.broker.manners_mut().swap_acks = true;
    world.send(&peer, &publish(Qos::AtLeastOnce, 5, false, "v"));
    let acks = world.ask(&mut peer, &publish(Qos::AtLeastOnce, 6, false, "w"));
    assert!(
        matches!(&acks[..], [Packet::PubAck(a), Packet::PubAck(b)] if a.packet_id.get() == 6 && b.packet_id.get() == 5)
    );

    world.broker.manners_mut().swap_acks = false;
    world.broker.manners_mut().puback = Some(Answer::new(ReasonCode::QUOTA_EXCEEDED).times(1));
    let acks = world.ask(&mut peer, &publish(Qos::AtLeastOnce, 7, false, "u"));
    assert!(matches!(&acks[..], [Packet::PubAck(a)] if a.reason == ReasonCode::QUOTA_EXCEEDED));

    world.broker.manners_mut().poison = Some(rejoin_core::topic::TopicFilter::new("bad").unwrap());
    world.send(&peer, &publish_to("bad", Qos::AtLeastOnce, 8, false, "x"));
    world.read(&mut peer);
    assert_eq!(peer.ending, Some(Ending::Fin));
    world.assert_clean();
}

#[test]
fn a_restored_snapshot_is_an_older_session() {
    let mut world = World::new(Manners::default());
    let mut peer = world.kept(true);
    world.ask(&mut peer, &subscribe(1, "old", Qos::AtLeastOnce));
    let old = world.broker.snapshot();
    world.ask(&mut peer, &subscribe(2, "new", Qos::AtLeastOnce));
    world.broker.restore(old);
    world.read(&mut peer);
    assert_eq!(peer.ending, Some(Ending::Rst));
    let (_, present) = world.connect(connect("c", Version::V5, false, 3600));
    assert!(present);
    let filters: Vec<String> =
        world.broker.subscriptions("c").into_iter().map(|(filter, _)| filter).collect();
    assert_eq!(filters, ["old"]);
}

#[test]
fn losses_can_end_with_the_connection_they_belong_to() {
    let mut world = World::new(Manners::default());
    let mut peer = world.kept(true);
    world.broker.manners_mut().lose(PacketKind::PubAck, Times::Always);
    world.broker.manners_mut().losses_end_at_connect = true;
    assert_eq!(world.ask(&mut peer, &publish(Qos::AtLeastOnce, 1, false, "a")), []);
    world.drop_connection(peer);
    let mut peer = world.kept(false);
    let resend = publish(Qos::AtLeastOnce, 1, true, "a");
    assert!(matches!(&world.ask(&mut peer, &resend)[..], [Packet::PubAck(_)]));
    world.assert_clean();
}

#[test]
fn a_broker_without_qos_2_answers_it_with_puback() {
    let mut world = World::new(Manners { downgrades_qos2: true, ..Manners::default() });
    let mut peer = world.kept(true);
    let answers = world.ask(&mut peer, &publish(Qos::ExactlyOnce, 1, false, "x"));
    assert!(matches!(&answers[..], [Packet::PubAck(ack)] if ack.packet_id == id(1)), "{answers:?}");
    // The acknowledgement is lost: the same message is taken a second time, as at QoS 1.
    world.broker.manners_mut().lose(PacketKind::PubAck, Times::ONCE);
    assert_eq!(world.ask(&mut peer, &publish(Qos::ExactlyOnce, 2, false, "x")), []);
    world.drop_connection(peer);
    let mut peer = world.kept(false);
    let answers = world.ask(&mut peer, &publish(Qos::ExactlyOnce, 2, true, "x"));
    assert!(matches!(&answers[..], [Packet::PubAck(_)]), "{answers:?}");
    world.assert_clean();
}
