//! What leaves is as the standards have it: one test for each duty of a client that no story elsewhere tells.

use std::num::NonZeroU16;
use std::time::Duration;

use bytes::Bytes;
use rejoin_core::codec::packet::{
    Auth, ConnAck, ConnAckProperties, Packet, Publish, PublishProperties, SubAck,
};
use rejoin_core::*;

use super::bench::{Bench, config, id, kept};

fn limits(change: impl FnOnce(&mut ConnAckProperties)) -> ConnAckProperties {
    let mut properties = ConnAckProperties::default();
    change(&mut properties);
    properties
}

fn window(n: u16) -> ConnAckProperties {
    limits(|p| p.receive_maximum = NonZeroU16::new(n))
}

fn v311(mut config: Config) -> Config {
    config.version = VersionPolicy::Only311;
    config
}

fn authenticated() -> Config {
    let mut config = config();
    config.authentication = Some(Box::new(Authentication { method: Text::from_static("SCRAM"), data: None }));
    config
}

#[test]
fn nothing_follows_connect_before_its_answer_and_connect_comes_once() {
    // [MQTT-3.1.0-1] [MQTT-3.1.0-2] [MQTT-3.1.4-6] [MQTT-3.1.2-30]
    for config in [config(), kept(), authenticated(), v311(config())] {
        let mut b = Bench::new(config);
        b.subscribe(1, "a");
        b.publish_with(Qos::AtMostOnce, |p| p.queue_qos0 = true);
        b.publish(Qos::AtLeastOnce);
        b.input(Input::Tick);
        b.until_open();
        b.input(Input::Opened);
        b.pass(Duration::from_secs(29));
        assert_eq!(b.words(), ["CONNECT"]);
    }
}

#[test]
fn what_was_queued_behind_a_refused_connect_is_still_there() {
    let mut b = Bench::new(config());
    b.publish(Qos::AtLeastOnce);
    b.open();
    // [MQTT-3.2.2-7] [MQTT-4.13.2-1]: the link ends here, whatever the server does.
    b.receive(&Packet::ConnAck(Box::new(ConnAck {
        session_present: false,
        reason: ReasonCode::SERVER_BUSY,
        v311_form: false,
        properties: ConnAckProperties::default(),
    })));
    assert_eq!((b.closed, b.outcomes.len()), (1, 0));
    assert!(b.words().is_empty());
    b.connect(false);
    assert_eq!(b.words(), ["PUBLISH 1 q1 1"], "unsent, so without DUP"); // [MQTT-3.1.4-6]
}

#[test]
fn what_we_say_carries_no_text_so_that_no_limit_of_the_server_is_passed() {
    let mut b = Bench::new(authenticated());
    let connect = b.open();
    // [MQTT-3.1.2-28] [MQTT-3.1.2-29]: neither is asked for.
    assert_eq!(connect.properties.request_response_information, None);
    assert_eq!(connect.properties.request_problem_information, None);
    let method = Some(Text::from_static("SCRAM"));
    let reason = ReasonCode::CONTINUE_AUTHENTICATION;
    b.receive(&Packet::Auth(Auth { reason, method: method.clone(), data: None, properties: None }));
    let now = b.now();
    b.engine.authenticate(None, now);
    b.drain();
    b.connack(false, limits(|p| p.authentication_method = method));
    b.publish(Qos::ExactlyOnce);
    b.pubrec(1, ReasonCode::SUCCESS);
    b.deliver(Qos::AtLeastOnce, 1, false, "one");
    b.deliver(Qos::ExactlyOnce, 2, false, "two");
    for message in b.messages() {
        b.engine.ack(message.id.unwrap(), ReasonCode::UNSPECIFIED_ERROR, b.now());
    }
    b.drain();
    b.pubrel(9);
    b.engine.close(Duration::ZERO, b.now());
    b.drain();
    let mut seen = Vec::new();
    for packet in &b.sent {
        // [MQTT-3.4.2-2] [MQTT-3.4.2-3] [MQTT-3.5.2-2] [MQTT-3.5.2-3] [MQTT-3.6.2-2] [MQTT-3.6.2-3] [MQTT-3.7.2-2]
        // [MQTT-3.7.2-3] [MQTT-3.14.2-3] [MQTT-3.14.2-4] [MQTT-3.15.2-2] [MQTT-3.15.2-3]
        let text = match packet {
            Packet::PubAck(a) | Packet::PubRec(a) | Packet::PubRel(a) | Packet::PubComp(a) => &a.properties,
            Packet::Disconnect(disconnect) => &disconnect.properties,
            Packet::Auth(auth) => &auth.properties,
            _ => continue,
        };
        assert!(text.is_none(), "{packet:?}");
        seen.push(packet.name());
    }
    seen.sort_unstable();
    assert_eq!(seen, ["AUTH", "DISCONNECT", "PUBACK", "PUBCOMP", "PUBREC", "PUBREL"]);
}

#[test]
fn each_qos_gets_its_answer_under_its_identifier_whether_anybody_asked_for_it_or_not() {
    // [MQTT-3.3.4-1] [MQTT-2.2.1-5] [MQTT-4.5.0-2] [MQTT-3.10.4-3] [MQTT-3.3.2-3]
    let mut b = Bench::new(config());
    b.connect(false);
    b.deliver(Qos::AtMostOnce, 0, false, "zero");
    b.deliver(Qos::AtLeastOnce, 40_000, false, "one");
    b.deliver(Qos::ExactlyOnce, 50_000, false, "two");
    assert!(b.words().is_empty(), "nobody has taken them"); // [MQTT-4.3.2-4] [MQTT-4.3.3-8]
    for message in b.messages() {
        message.id.into_iter().for_each(|id| b.ack(id));
    }
    assert_eq!(b.words(), ["PUBACK 40000", "PUBREC 50000"]);
    b.pubrel(50_000);
    assert_eq!(b.words(), ["PUBCOMP 50000"]); // [MQTT-4.3.3-11]
}

#[test]
fn after_puback_the_same_identifier_is_a_new_message_whatever_dup_says() {
    let mut b = Bench::new(config());
    b.connect(false);
    for dup in [false, true, true] {
        b.deliver(Qos::AtLeastOnce, 1, dup, "same");
        let message = b.messages().pop().expect("handed over"); // [MQTT-4.3.2-5]
        b.ack(message.id.unwrap());
        assert_eq!(b.words(), ["PUBACK 1"]);
    }
}

#[test]
fn after_pubcomp_the_same_identifier_is_a_new_message_even_with_the_same_content() {
    let mut b = Bench::new(config());
    b.connect(false);
    for _ in 0..2 {
        b.deliver(Qos::ExactlyOnce, 1, false, "same");
        let message = b.messages().pop().expect("handed over"); // [MQTT-4.3.3-12]
        b.ack(message.id.unwrap());
        b.pubrel(1);
        assert_eq!(b.words(), ["PUBREC 1", "PUBCOMP 1"]);
    }
}

#[test]
fn several_copies_of_one_message_are_acknowledged_each() {
    let mut b = Bench::new(config());
    b.connect(false);
    for n in 1..=3 {
        b.deliver(Qos::AtLeastOnce, n, false, "copy");
    }
    let messages = b.messages();
    assert_eq!(messages.len(), 3);
    for message in messages {
        b.ack(message.id.unwrap());
    }
    assert_eq!(b.words(), ["PUBACK 1", "PUBACK 2", "PUBACK 3"]); // [MQTT-3.3.4-5]
}

#[test]
fn an_expired_message_is_handed_on_with_its_time_and_its_exchange_goes_on() {
    let mut b = Bench::new(config());
    b.connect(false);
    b.receive(&Packet::Publish(Publish {
        dup: false,
        qos: Qos::ExactlyOnce,
        retain: false,
        topic: PublishTopic::from_static("t"),
        packet_id: Some(id(7)),
        properties: Some(Box::new(PublishProperties { message_expiry: Some(1), ..Default::default() })),
        payload: Bytes::from_static(b"late"),
    }));
    let message = b.messages().remove(0);
    let expiry = message.properties.as_ref().and_then(|p| p.message_expiry);
    assert_eq!(expiry, Some(1), "what is left, as the server said it"); // [MQTT-3.3.2-6]
    b.pass(Duration::from_secs(10));
    b.ack(message.id.unwrap());
    b.pubrel(7);
    assert_eq!(b.words(), ["PUBREC 7", "PUBCOMP 7"]); // [MQTT-4.3.3-13]
}

#[test]
fn a_used_up_window_holds_back_publishes_and_nothing_else() {
    let mut b = Bench::new(config());
    b.open();
    b.connack(false, window(1));
    b.publish(Qos::ExactlyOnce);
    b.publish(Qos::ExactlyOnce);
    assert_eq!(b.words(), ["PUBLISH 1 q2 1"]); // [MQTT-4.9.0-1] [MQTT-4.9.0-2]
    // [MQTT-3.3.4-8] [MQTT-4.9.0-3]
    b.subscribe(1, "a");
    b.deliver(Qos::AtLeastOnce, 1, false, "m");
    let message = b.messages().remove(0);
    b.ack(message.id.unwrap());
    b.pubrec(1, ReasonCode::SUCCESS);
    b.pass(Duration::from_secs(15));
    assert_eq!(b.words(), ["SUBSCRIBE 2 a", "PUBACK 1", "PUBREL 1", "PINGREQ"]);
    b.pubcomp(1);
    assert_eq!(b.words(), ["PUBLISH 3 q2 2"]);
}

#[test]
fn the_end_of_an_exchange_of_an_earlier_link_widens_no_window() {
    let mut b = Bench::new(kept());
    b.open();
    b.connack(false, window(1));
    b.publish(Qos::ExactlyOnce);
    b.pubrec(1, ReasonCode::SUCCESS);
    b.lose();
    b.publish(Qos::AtLeastOnce);
    b.publish(Qos::AtLeastOnce);
    b.open();
    b.connack(true, window(1));
    assert_eq!(b.words(), ["PUBREL 1", "PUBLISH 2 q1 2"]);
    b.pubcomp(1);
    assert!(b.words().is_empty(), "the window is still used up"); // [MQTT-4.9.0-1]
    b.puback(2, ReasonCode::SUCCESS);
    assert_eq!(b.words(), ["PUBLISH 3 q1 3"]);
}

#[test]
fn pubrecs_leave_in_the_order_in_which_the_messages_came() {
    let mut b = Bench::new(config());
    b.connect(false);
    for n in 1..=3 {
        b.deliver(Qos::ExactlyOnce, n, false, "m");
    }
    let ids: Vec<_> = b.messages().into_iter().map(|m| m.id.unwrap()).collect();
    b.ack(ids[2]);
    b.ack(ids[0]);
    assert_eq!(b.words(), ["PUBREC 1"]); // [MQTT-4.6.0-3]
    b.ack(ids[1]);
    assert_eq!(b.words(), ["PUBREC 2", "PUBREC 3"]);
}

#[test]
fn pubrels_leave_in_the_order_of_their_pubrecs_also_on_the_next_link_and_after_a_restart() {
    let mut config = kept();
    config.session.durable = true;
    let mut b = Bench::new(config.clone());
    b.connect(false);
    for _ in 0..3 {
        b.publish(Qos::ExactlyOnce);
    }
    b.words();
    for n in [3, 1, 2] {
        b.pubrec(n, ReasonCode::SUCCESS);
    }
    let order = ["PUBREL 3", "PUBREL 1", "PUBREL 2"];
    assert_eq!(b.words(), order); // [MQTT-4.6.0-4]
    b.lose();
    b.connect(true);
    assert_eq!(b.words(), order);
    let mut b = Bench::restored(config, b.records);
    b.connect(true);
    assert_eq!(b.words(), order);
}

#[test]
fn both_directions_count_their_identifiers_apart() {
    let mut b = Bench::new(config());
    b.connect(false);
    let ours = b.publish(Qos::ExactlyOnce);
    b.deliver(Qos::ExactlyOnce, 1, false, "theirs");
    let theirs = b.messages().remove(0);
    b.words();
    b.pubrec(1, ReasonCode::SUCCESS);
    b.ack(theirs.id.unwrap());
    let mut words = b.words();
    words.sort();
    assert_eq!(words, ["PUBREC 1", "PUBREL 1"]); // [MQTT-2.2.1-4]
    b.pubrel(1);
    assert_eq!(b.words(), ["PUBCOMP 1"]);
    assert!(b.outcomes.is_empty());
    b.pubcomp(1);
    assert!(b.is_delivered(ours));
}

#[test]
fn an_identifier_is_taken_until_its_last_acknowledgement() {
    let mut config = config();
    config.session.packet_id_max = 1;
    let mut b = Bench::new(config);
    b.connect(false);
    b.publish(Qos::ExactlyOnce);
    b.publish(Qos::ExactlyOnce);
    b.words();
    b.pubrec(1, ReasonCode::SUCCESS);
    assert_eq!(b.words(), ["PUBREL 1"], "PUBREC frees nothing"); // [MQTT311-2.3.1-3] [MQTT-4.3.3-1]
    b.pubcomp(1);
    assert_eq!(b.words(), ["PUBLISH 1 q2 2"]);
}

#[test]
fn a_refused_message_is_over_and_not_sent_again() {
    let mut b = Bench::new(kept());
    b.connect(false);
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        b.publish(qos);
    }
    b.puback(1, ReasonCode::NOT_AUTHORIZED);
    b.pubrec(2, ReasonCode::NOT_AUTHORIZED);
    assert_eq!(b.outcomes.len(), 2);
    b.words();
    b.lose();
    b.connect(true);
    b.pass(Duration::from_secs(10));
    assert!(b.words().is_empty()); // [MQTT-4.4.0-2]
}

#[test]
fn aliases_stay_within_what_the_server_takes() {
    for (maximum, topics) in [(None, ["a", "b", "a", "b"]), (Some(1), ["a", "b", "", "b"])] {
        let mut b = Bench::new(config());
        b.open();
        b.connack(false, limits(|p| p.topic_alias_maximum = maximum));
        for topic in ["a", "b", "a", "b"] {
            b.publish_with(Qos::AtMostOnce, |p| p.topic = TopicName::new(topic).unwrap());
        }
        let sent: Vec<Publish> = b
            .sent
            .drain(..)
            .filter_map(|packet| if let Packet::Publish(publish) = packet { Some(publish) } else { None })
            .collect();
        let alias =
            |p: &Publish| p.properties.as_ref().and_then(|p| p.topic_alias).map_or(0, NonZeroU16::get);
        // [MQTT-3.2.2-17] [MQTT-3.2.2-18] [MQTT-3.3.2-9]
        assert!(sent.iter().all(|p| alias(p) <= maximum.unwrap_or(0)), "{sent:?}");
        assert_eq!(sent.iter().map(|p| p.topic.as_str()).collect::<Vec<_>>(), topics);
    }
}

#[test]
fn the_last_word_is_disconnect_and_then_the_link_is_closed() {
    let mut b = Bench::new(config());
    b.connect(false);
    b.publish(Qos::AtLeastOnce);
    b.words();
    b.engine.close(Duration::ZERO, b.now());
    b.drain();
    assert_eq!((b.words(), b.closed), (vec!["DISCONNECT 0x00".to_owned()], 1)); // [MQTT-3.14.4-2]
    b.puback(1, ReasonCode::SUCCESS);
    b.deliver(Qos::AtLeastOnce, 1, false, "late");
    b.pass(Duration::from_secs(100));
    assert!(b.words().is_empty()); // [MQTT-3.14.4-1]
}

#[test]
fn disconnect_gives_a_session_no_life_that_connect_did_not() {
    for (lasts, said) in [(Duration::ZERO, None), (Duration::from_secs(300), Some(0))] {
        let mut config = config();
        config.session.mode = SessionMode::Fresh { linger: lasts };
        let mut b = Bench::new(config);
        b.connect(false);
        b.engine.close(Duration::ZERO, b.now());
        b.drain();
        let goodbye = b.sent.iter().find_map(|packet| match packet {
            Packet::Disconnect(disconnect) => Some(disconnect.session_expiry),
            _ => None,
        });
        assert_eq!(goodbye, Some(said)); // [u5-3.14.2.2.2]
    }
}

#[test]
fn at_3_1_1_a_clean_session_leaves_nothing_to_the_next() {
    let mut b = Bench::new(v311(config()));
    assert!(b.open().clean_start);
    b.connack(false, ConnAckProperties::default());
    b.publish(Qos::AtLeastOnce);
    b.deliver(Qos::ExactlyOnce, 5, false, "first");
    let first = b.messages().remove(0);
    b.words();
    b.lose();
    assert!(b.open().clean_start);
    b.connack(false, ConnAckProperties::default());
    // [MQTT311-3.1.2-6] [MQTT-3.1.2-4]
    assert_eq!(b.words(), ["PUBLISH 2 q1 1"], "a new exchange, without DUP");
    b.ack(first.id.unwrap());
    assert!(b.words().is_empty(), "nothing is owed to the new session");
    b.deliver(Qos::ExactlyOnce, 5, true, "first");
    assert_eq!(b.messages().len(), 1, "the identifier means nothing any more");
}

#[test]
fn at_3_1_1_a_kept_session_is_taken_up_again() {
    let mut b = Bench::new(v311(kept()));
    assert!(!b.open().clean_start);
    b.connack(false, ConnAckProperties::default());
    b.publish(Qos::ExactlyOnce);
    b.words();
    b.lose();
    assert!(!b.open().clean_start); // [MQTT311-3.1.2-4]
    b.connack(true, ConnAckProperties::default());
    assert_eq!(b.words(), ["PUBLISH 1 q2 dup 1"]);
}

#[test]
fn at_3_1_1_there_is_no_kept_session_without_an_id() {
    let mut anonymous = v311(kept());
    anonymous.client_id = Text::default();
    let refused = Engine::new(anonymous, Recovered::default(), 1, Now::new(Timestamp::ZERO, 0)).is_err();
    assert!(refused); // [MQTT311-3.1.3-7]
}

#[test]
fn a_ping_leaves_in_time_even_while_an_earlier_one_is_unanswered() {
    let mut b = Bench::new(config());
    b.connect(false);
    // The answer to the ping stands behind all that the server has to say first.
    for _ in 0..90 {
        b.pass(Duration::from_secs(1));
        b.deliver(Qos::AtMostOnce, 0, false, "backlog");
    }
    assert_eq!(b.words(), ["PINGREQ"; 6], "the server hears from us"); // [MQTT-3.1.2-20] [MQTT-3.1.2-22]
    assert_eq!(b.closed, 0);
    for _ in 0..6 {
        b.receive(&Packet::PingResp);
    }
    b.pass(Duration::from_secs(20));
    assert_eq!(
        *b.last_closed(),
        LossCause::PingTimeout(Duration::from_secs(5)),
        "late answers teach nothing"
    );
}

#[test]
fn requests_are_cut_to_the_largest_packet_of_the_server() {
    let offer = || {
        limits(|p| {
            p.maximum_packet_size = Some(60);
            p.subscription_ids_available = Some(false);
        })
    };
    let mut b = Bench::new(kept());
    for n in 1..=20 {
        b.subscribe(n, &format!("filter/{n}"));
    }
    b.subscribe(21, &"long/".repeat(20));
    b.open();
    b.connack(false, offer());
    let size = |packet: &Packet| codec::encoded_len(packet, Version::V5);
    // [MQTT-3.2.2-15]
    assert!(b.sent.iter().all(|packet| size(packet) <= 60), "{:?}", b.sent);
    let asked: usize =
        b.sent.iter().map(|p| if let Packet::Subscribe(s) = p { s.filters.len() } else { 0 }).sum();
    assert_eq!(asked, 20);
    let refused = SubscribeResult::Rejected(Rejected::TooLarge { size: 108, limit: 60 });
    assert!(b.events.contains(&Event::Subscribed { id: SubscriptionId(21), result: refused }));
    for packet in std::mem::take(&mut b.sent) {
        let Packet::Subscribe(subscribe) = packet else { continue };
        let reasons = vec![ReasonCode::GRANTED_QOS_1; subscribe.filters.len()];
        let packet_id = subscribe.packet_id;
        b.receive(&Packet::SubAck(SubAck { packet_id, properties: None, reasons }));
    }
    b.lose();
    for n in 1..=20 {
        b.engine.unsubscribe(SubscriptionId(n), b.now());
    }
    b.open();
    b.connack(true, offer());
    assert!(b.sent.iter().all(|packet| size(packet) <= 60), "{:?}", b.sent);
    let ended: usize =
        b.sent.iter().map(|p| if let Packet::Unsubscribe(u) = p { u.filters.len() } else { 0 }).sum();
    assert_eq!(ended, 20);
}
