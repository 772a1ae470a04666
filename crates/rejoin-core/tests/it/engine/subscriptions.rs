//! Wishes: asked for on every link, every answer checked, refusals told.

use std::time::Duration;

use rejoin_core::codec::packet::{ConnAck, ConnAckProperties, Packet, SubAck};
use rejoin_core::*;

use super::bench::{Bench, config, id, kept};

fn retain_handling(b: &Bench) -> Vec<RetainHandling> {
    let of = |p: &Packet| match p {
        Packet::Subscribe(s) => Some(s.filters[0].1.retain_handling),
        _ => None,
    };
    b.sent.iter().filter_map(of).collect()
}

#[test]
fn subscriptions_are_asked_for_after_every_reconnect() {
    let mut b = Bench::new(kept());
    b.subscribe(1, "a/#");
    b.subscribe(2, "b");
    b.connect(false);
    assert_eq!(b.words(), ["SUBSCRIBE 1 a/#", "SUBSCRIBE 2 b"]);
    assert!(!b.engine.status().ready);
    b.suback(1, ReasonCode::GRANTED_QOS_2);
    b.suback(2, ReasonCode::GRANTED_QOS_1);
    assert!(b.engine.status().ready);
    b.lose();
    assert!(!b.engine.status().ready);
    b.connect(true);
    assert_eq!(retain_handling(&b), [RetainHandling::SendIfNew; 2], "the broker says it has them");
    assert_eq!(b.words().len(), 2);
    b.lose();
    b.connect(false);
    assert_eq!(retain_handling(&b), [RetainHandling::Send; 2], "retained messages are wanted again");
}

#[test]
fn only_when_absent_is_an_option_that_a_missed_connack_overrules() {
    let mut config = kept();
    config.session.resubscribe = Resubscribe::WhenAbsent;
    let mut b = Bench::new(config);
    b.subscribe(1, "a");
    b.connect(false);
    b.suback(1, ReasonCode::GRANTED_QOS_2);
    b.lose();
    b.connect(true);
    assert!(b.words().is_empty());
    assert!(b.engine.status().ready);
    b.lose();
    b.open();
    b.lose();
    b.connect(true);
    assert_eq!(b.words().len(), 1);
}

#[test]
fn a_clean_start_that_was_refused_says_nothing_of_a_missed_connack_before_it() {
    let mut config = kept();
    config.session.resubscribe = Resubscribe::WhenAbsent;
    config.servers.push(Text::from_static("b"));
    let mut b = Bench::new(config);
    b.subscribe(1, "a");
    b.connect(false);
    b.suback(1, ReasonCode::GRANTED_QOS_2);
    b.lose();
    // The first server begins another session and its CONNACK is lost; the second has none of ours and refuses.
    assert!(!b.open().clean_start);
    b.lose();
    let mut refusals = 0;
    while b.open().clean_start {
        b.receive(&Packet::ConnAck(Box::new(ConnAck {
            session_present: false,
            reason: ReasonCode::SERVER_UNAVAILABLE,
            v311_form: false,
            properties: ConnAckProperties::default(),
        })));
        refusals += 1;
    }
    assert_eq!(refusals, 1);
    b.words();
    b.connack(true, ConnAckProperties::default());
    assert_eq!(b.words(), ["SUBSCRIBE 2 a"], "that session may be the one it began then");
}

#[test]
fn an_unanswered_subscribe_is_repeated_and_its_identifier_is_free() {
    let mut config = kept();
    config.session.packet_id_max = 1;
    let mut b = Bench::new(config);
    b.subscribe(1, "a");
    b.connect(false);
    b.words();
    b.lose();
    b.connect(true);
    assert_eq!(b.words(), ["SUBSCRIBE 1 a"]); // [MQTT-3.8.4-1]
}

#[test]
fn a_refusal_is_told_and_asked_again_where_that_can_help() {
    let mut b = Bench::new(config());
    b.subscribe(1, "a");
    b.subscribe(2, "b");
    b.connect(false);
    b.words();
    b.suback(1, ReasonCode::NOT_AUTHORIZED);
    b.suback(2, ReasonCode::QUOTA_EXCEEDED);
    assert_eq!(b.closed, 0, "the link is not torn down");
    assert!(b.events.contains(&Event::Subscribed {
        id: SubscriptionId(1),
        result: SubscribeResult::Refused(ReasonCode::NOT_AUTHORIZED)
    }));
    assert!(!b.engine.status().ready);
    b.pass(Duration::from_secs(10));
    assert_eq!(b.words(), ["SUBSCRIBE 3 b"], "a passing refusal is asked again on the same link");
}

#[test]
fn what_the_server_does_not_offer_is_refused_without_asking() {
    let mut b = Bench::new(config());
    b.subscribe(1, "a/+");
    b.subscribe(2, "$share/g/a");
    b.subscribe(3, "a");
    b.open();
    let offer = ConnAckProperties {
        wildcard_available: Some(false),
        shared_available: Some(false),
        subscription_ids_available: Some(false),
        ..Default::default()
    };
    b.connack(false, offer);
    assert_eq!(b.words(), ["SUBSCRIBE 1 a"]); // [u5-3.2.2.3.11] [u5-3.2.2.3.12] [u5-3.2.2.3.13]
    let rejected = b
        .events
        .iter()
        .filter(|e| matches!(e, Event::Subscribed { result: SubscribeResult::Rejected(_), .. }));
    assert_eq!(rejected.count(), 2);
}

#[test]
fn without_subscription_ids_filters_share_packets() {
    let mut b = Bench::new(config());
    for n in 1..=100 {
        b.subscribe(n, &format!("f/{n}"));
    }
    b.open();
    b.connack(false, ConnAckProperties { subscription_ids_available: Some(false), ..Default::default() });
    assert_eq!(b.words().len(), 2);
}

#[test]
fn answers_that_do_not_fit_are_protocol_errors() {
    let mut b = Bench::new(config());
    b.subscribe(1, "a");
    b.connect(false);
    b.suback(9, ReasonCode::GRANTED_QOS_1); // [MQTT-2.2.1-6]
    assert!(matches!(b.last_closed(), LossCause::Protocol(_)));
    let mut b = Bench::new(config());
    b.subscribe(1, "a");
    b.connect(false);
    let reasons = vec![ReasonCode::GRANTED_QOS_1; 2];
    b.receive(&Packet::SubAck(SubAck { packet_id: id(1), properties: None, reasons })); // [MQTT-3.8.4-6]
    assert!(matches!(b.last_closed(), LossCause::Protocol(_)));
}

#[test]
fn an_unconfirmed_unsubscribe_is_sent_again() {
    let mut b = Bench::new(kept());
    b.subscribe(1, "a");
    b.connect(false);
    b.suback(1, ReasonCode::GRANTED_QOS_2);
    b.words();
    b.engine.unsubscribe(SubscriptionId(1), b.now());
    b.drain();
    assert_eq!(b.words(), ["UNSUBSCRIBE 2 a"]);
    b.lose();
    b.connect(true);
    assert_eq!(b.words().len(), 1, "UNSUBSCRIBE again"); // [MQTT-3.10.4-4]
    b.lose();
    b.connect(false);
    assert_eq!(b.words(), ["PINGREQ"], "a new session has nothing to end");
    assert!(b.events.iter().any(|e| matches!(e, Event::Unsubscribed { .. })));
}

#[test]
fn a_filter_the_broker_cuts_the_link_over_is_barred_alone() {
    let mut b = Bench::new(kept());
    b.subscribe(1, "good");
    b.subscribe(2, "bad");
    b.connect(false);
    b.words();
    let cut = |b: &mut Bench| {
        let reason = ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED;
        b.receive(&Packet::Disconnect(codec::packet::Disconnect::new(reason)));
    };
    cut(&mut b);
    b.connect(true);
    assert_eq!(b.words(), ["SUBSCRIBE 3 good"], "one at a time");
    b.suback(3, ReasonCode::GRANTED_QOS_2);
    assert_eq!(b.words(), ["SUBSCRIBE 4 bad"]);
    cut(&mut b);
    b.connect(true);
    assert_eq!(b.words(), ["SUBSCRIBE 5 good"]);
    b.suback(5, ReasonCode::GRANTED_QOS_2);
    assert!(b.words().is_empty());
}

#[test]
fn filters_share_packets_again_on_the_link_after_one_that_answered_each_alone() {
    let mut b = Bench::new(kept());
    for (n, filter) in (1..).zip(["a", "b", "c"]) {
        b.subscribe(n, filter);
    }
    let connect = |b: &mut Bench, session_present| {
        b.open();
        let properties = ConnAckProperties { subscription_ids_available: Some(false), ..Default::default() };
        b.connack(session_present, properties);
    };
    connect(&mut b, false);
    assert_eq!(b.words(), ["SUBSCRIBE 1 a,b,c"]);
    let cut = codec::packet::Disconnect::new(ReasonCode::TOPIC_FILTER_INVALID);
    b.receive(&Packet::Disconnect(cut));
    // Whatever the server had against one of them, it has it no more.
    connect(&mut b, true);
    b.engine.unsubscribe(SubscriptionId(3), b.now());
    b.drain();
    for (n, asked) in [(2, "SUBSCRIBE 2 a"), (3, "SUBSCRIBE 3 b"), (4, "UNSUBSCRIBE 4 c")] {
        assert_eq!(b.words(), [asked], "one at a time until the last");
        let ack = SubAck { packet_id: id(n), properties: None, reasons: vec![ReasonCode::SUCCESS] };
        b.receive(&if n == 4 { Packet::UnsubAck(ack) } else { Packet::SubAck(ack) });
    }
    b.lose();
    connect(&mut b, true);
    assert_eq!(b.words(), ["SUBSCRIBE 5 a,b"]);
}

#[test]
fn an_old_unsubscribe_does_not_end_a_new_subscription() {
    let mut b = Bench::new(kept());
    b.subscribe(1, "a");
    b.connect(false);
    b.suback(1, ReasonCode::GRANTED_QOS_2);
    b.engine.unsubscribe(SubscriptionId(1), b.now());
    b.drain();
    b.subscribe(2, "a");
    b.words();
    b.lose();
    b.connect(true);
    assert_eq!(
        b.words(),
        ["SUBSCRIBE 4 a"],
        "the wish of today is asked for, the one of yesterday forgotten"
    );
    assert!(b.events.iter().any(|e| matches!(e, Event::Unsubscribed { id: SubscriptionId(1), .. })));
}
