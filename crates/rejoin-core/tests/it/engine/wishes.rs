//! Subscriptions in numbers: what shares a packet, what is asked for when, and what counts as answered.

use rejoin_core::codec::packet::{ConnAckProperties, Packet, SubAck};
use rejoin_core::*;

use super::bench::{Bench, config, id, kept};

fn offer(change: impl FnOnce(&mut ConnAckProperties)) -> ConnAckProperties {
    let mut properties = ConnAckProperties { subscription_ids_available: Some(false), ..Default::default() };
    change(&mut properties);
    properties
}

/// So many wishes with filters of four bytes.
fn wishing(wishes: u32) -> Bench {
    let mut b = Bench::new(kept());
    for n in 1..=wishes {
        b.subscribe(n, &format!("f/{n:02}"));
    }
    b.open();
    b
}

/// How many filters each packet has.
fn shares(b: &mut Bench) -> Vec<usize> {
    let of = |packet: Packet| match packet {
        Packet::Subscribe(s) => Some(s.filters.len()),
        Packet::Unsubscribe(u) => Some(u.filters.len()),
        _ => None,
    };
    b.sent.drain(..).filter_map(of).collect()
}

fn grant(b: &mut Bench, n: u16, filters: usize) {
    let reasons = vec![ReasonCode::GRANTED_QOS_1; filters];
    b.receive(&Packet::SubAck(SubAck { packet_id: id(n), properties: None, reasons }));
}

fn unsubscribe(b: &mut Bench, n: u32) {
    b.engine.unsubscribe(SubscriptionId(n), b.now());
    b.drain();
}

fn result_of(b: &Bench, n: u32) -> Vec<SubscribeResult> {
    let of = |event: &Event| match event {
        Event::Subscribed { id, result } if id.0 == n => Some(result.clone()),
        _ => None,
    };
    b.events.iter().filter_map(of).collect()
}

#[test]
fn a_packet_holds_as_many_filters_as_the_server_and_we_bear() {
    for (most, shared) in [(31, [2, 2, 2, 1].as_slice()), (32, &[3, 3, 1]), (1000, &[7])] {
        let mut b = wishing(7);
        b.connack(false, offer(|p| p.maximum_packet_size = Some(most)));
        assert_eq!(shares(&mut b), shared, "{most} bytes");
    }
    // UNSUBSCRIBE has a byte less for each.
    for (most, shared) in [(28, [2, 2, 2, 1].as_slice()), (29, &[3, 3, 1])] {
        let mut b = wishing(7);
        b.connack(false, offer(|_| {}));
        grant(&mut b, 1, 7);
        b.lose();
        for n in 1..=7 {
            unsubscribe(&mut b, n);
        }
        b.open();
        b.connack(true, offer(|p| p.maximum_packet_size = Some(most)));
        assert_eq!(shares(&mut b), shared, "{most} bytes");
    }
    let mut b = wishing(130);
    b.connack(false, offer(|_| {}));
    assert_eq!(shares(&mut b), [64, 64, 2]);
    for (n, filters) in [(1, 64), (2, 64), (3, 2)] {
        grant(&mut b, n, filters);
    }
    b.lose();
    for n in 1..=130 {
        unsubscribe(&mut b, n);
    }
    b.open();
    b.connack(true, offer(|_| {}));
    assert_eq!(shares(&mut b), [64, 64, 2]);
}

#[test]
fn a_filter_for_which_no_packet_is_large_enough_is_refused_alone() {
    // Two bytes of header, two of identifier, one for no properties, seven for the filter.
    for (most, refused) in [(12, false), (11, true)] {
        let mut b = wishing(1);
        b.connack(false, offer(|p| p.maximum_packet_size = Some(most)));
        assert_eq!(shares(&mut b).len(), usize::from(!refused), "{most} bytes");
        let too_large = SubscribeResult::Rejected(Rejected::TooLarge { size: 12, limit: 11 });
        assert_eq!(result_of(&b, 1), if refused { vec![too_large] } else { Vec::new() });
    }
    // With a subscription identifier it is two more.
    let mut b = wishing(1);
    b.connack(false, ConnAckProperties { maximum_packet_size: Some(13), ..Default::default() });
    let too_large = SubscribeResult::Rejected(Rejected::TooLarge { size: 14, limit: 13 });
    assert_eq!(result_of(&b, 1), [too_large]);
    assert!(!b.engine.status().ready);
}

#[test]
fn only_what_the_server_does_not_offer_is_refused() {
    for (wildcard, shared) in [(true, false), (false, true)] {
        let mut b = Bench::new(kept());
        for (n, filter) in [(1, "a/+"), (2, "$share/g/a"), (3, "a")] {
            b.subscribe(n, filter);
        }
        b.open();
        b.connack(
            false,
            offer(|p| (p.wildcard_available, p.shared_available) = (Some(wildcard), Some(shared))),
        );
        assert_eq!(shares(&mut b), [2]);
        assert_eq!(
            [result_of(&b, 1).len(), result_of(&b, 2).len()],
            [usize::from(!wildcard), usize::from(!shared)]
        );
    }
}

#[test]
fn a_wish_with_properties_of_its_own_has_a_packet_of_its_own() {
    let mut b = Bench::new(kept());
    for n in 1..=4 {
        let request = SubscribeRequest {
            id: SubscriptionId(n),
            filter: TopicFilter::try_from(format!("f/{n}").as_str()).unwrap(),
            options: SubscriptionOptions { retain_handling: RetainHandling::Never, ..Default::default() },
            user_properties: if n == 3 {
                vec![("k".try_into().unwrap(), "v".try_into().unwrap())]
            } else {
                Vec::new()
            },
        };
        b.engine.subscribe(request, b.now()).unwrap();
    }
    b.open();
    b.connack(false, offer(|_| {}));
    let properties = |b: &Bench| {
        let of = |p: &Packet| match p {
            Packet::Subscribe(s) => Some((s.filters.len(), s.user_properties.len())),
            _ => None,
        };
        b.sent.iter().filter_map(of).collect::<Vec<_>>()
    };
    assert_eq!(properties(&b), [(2, 0), (1, 1), (1, 0)]);
    for (n, filters) in [(1, 2), (2, 1), (3, 1)] {
        grant(&mut b, n, filters);
    }
    b.lose();
    b.connect(true);
    let never = |p: &Packet| matches!(p, Packet::Subscribe(s) if s.filters[0].1.retain_handling == RetainHandling::Never);
    assert!(b.sent.iter().all(never), "no retained messages means none, whatever the session");
}

#[test]
fn each_pause_of_a_passing_refusal_is_twice_the_last_up_to_a_limit() {
    let mut b = Bench::new(kept());
    b.subscribe(1, "a");
    b.connect(false);
    b.words();
    for (n, pause) in (1..).zip([10, 20, 40, 80, 160, 320, 320]) {
        b.suback(n, ReasonCode::QUOTA_EXCEEDED);
        b.live(pause - 1);
        assert!(b.words().is_empty(), "{pause} s");
        b.live(1);
        assert_eq!(b.words(), [format!("SUBSCRIBE {} a", n + 1)], "{pause} s");
    }
    // Granted once, the next refusal begins with a short pause again.
    b.suback(8, ReasonCode::GRANTED_QOS_1);
    b.lose();
    b.connect(true);
    b.suback(9, ReasonCode::QUOTA_EXCEEDED);
    b.words();
    b.live(10);
    assert_eq!(b.words(), ["SUBSCRIBE 10 a"]);
}

#[test]
fn refused_filters_are_asked_for_each_in_its_time() {
    let mut b = Bench::new(kept());
    b.subscribe(1, "a");
    b.connect(false);
    b.suback(1, ReasonCode::QUOTA_EXCEEDED);
    b.live(4);
    b.subscribe(2, "b");
    b.suback(2, ReasonCode::QUOTA_EXCEEDED);
    b.words();
    b.live(6);
    assert_eq!(b.words(), ["SUBSCRIBE 3 a"]);
    b.live(4);
    assert_eq!(b.words(), ["SUBSCRIBE 4 b"]);
}

#[test]
fn only_a_passing_refusal_is_asked_about_again_on_the_same_link() {
    for (reason, again) in [
        (ReasonCode::UNSPECIFIED_ERROR, true),
        (ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR, true),
        (ReasonCode::PACKET_IDENTIFIER_IN_USE, true),
        (ReasonCode::QUOTA_EXCEEDED, true),
        (ReasonCode::NOT_AUTHORIZED, false),
        (ReasonCode::TOPIC_FILTER_INVALID, false),
    ] {
        let mut b = Bench::new(kept());
        b.subscribe(1, "a");
        b.connect(false);
        b.suback(1, reason);
        b.words();
        b.live(10);
        assert_eq!(!b.words().is_empty(), again, "{reason:?}");
        b.lose();
        b.connect(true);
        assert_eq!(b.words().len(), 1, "on the next link every refused one is");
    }
    // 3.1.1 has one code for all of them.
    let mut config = kept();
    config.version = VersionPolicy::Only311;
    let mut b = Bench::new(config);
    b.subscribe(1, "a");
    b.connect(false);
    b.suback(1, ReasonCode::UNSPECIFIED_ERROR);
    assert_eq!(result_of(&b, 1).len(), 1);
    b.words();
    b.live(60);
    assert!(b.words().is_empty());
}

#[test]
fn a_link_is_resubscribed_when_every_wish_is_answered_and_ready_when_all_are_granted() {
    let resubscribed = |b: &Bench| {
        let of = |event: &Event| match event {
            Event::Resubscribed { granted, refused } => Some((*granted, *refused)),
            _ => None,
        };
        b.events.iter().filter_map(of).collect::<Vec<_>>()
    };
    let mut b = Bench::new(kept());
    for (n, filter) in [(1, "a"), (2, "b"), (3, "c")] {
        b.subscribe(n, filter);
    }
    b.connect(false);
    b.suback(1, ReasonCode::GRANTED_QOS_1);
    b.suback(2, ReasonCode::NOT_AUTHORIZED);
    assert!(resubscribed(&b).is_empty());
    b.suback(3, ReasonCode(0));
    assert_eq!(resubscribed(&b), [(2, 1)]);
    assert!(!b.engine.status().ready);
    b.engine.detach(SubscriptionId(2));
    b.drain();
    assert!(b.engine.status().ready, "what is left is granted");
    assert_eq!(b.words().len(), 3, "the server was told nothing of it");
    b.lose();
    b.connect(true);
    assert_eq!(b.words(), ["SUBSCRIBE 4 a", "SUBSCRIBE 5 c"]);
    assert_eq!(resubscribed(&b).len(), 1);
    b.suback(4, ReasonCode(0));
    b.suback(5, ReasonCode(0));
    assert_eq!(resubscribed(&b), [(2, 1), (2, 0)]);
}

#[test]
fn a_wish_that_ends_without_the_wire_is_answered_at_once() {
    let mut b = Bench::new(config());
    b.subscribe(1, "a");
    b.subscribe(2, "a");
    b.connect(false);
    b.words();
    unsubscribe(&mut b, 9);
    unsubscribe(&mut b, 2);
    let ended = |n, reason| Event::Unsubscribed { id: SubscriptionId(n), reason };
    assert!(b.events.contains(&ended(9, ReasonCode::NO_SUBSCRIPTION_EXISTED)), "there is no such wish");
    assert!(b.events.contains(&ended(2, ReasonCode::SUCCESS)), "the other one goes on");
    assert!(b.words().is_empty());
    // An answer for one that has ended meanwhile is nobody's.
    b.suback(2, ReasonCode::GRANTED_QOS_1);
    assert_eq!((result_of(&b, 2).len(), b.closed), (0, 0));
    unsubscribe(&mut b, 1);
    assert_eq!(b.words(), ["UNSUBSCRIBE 3 a"]);
    let not_yet = b.events.iter().filter(|event| matches!(event, Event::Unsubscribed { .. })).count();
    assert_eq!(not_yet, 2);
    b.receive(&Packet::UnsubAck(SubAck {
        packet_id: id(3),
        properties: None,
        reasons: vec![ReasonCode::NO_SUBSCRIPTION_EXISTED],
    }));
    assert!(b.events.contains(&ended(1, ReasonCode::NO_SUBSCRIPTION_EXISTED)));
    assert_eq!(b.engine.held().subscriptions, 0);
}

#[test]
fn what_ends_on_the_wire_is_each_told_with_its_own_code() {
    let mut b = wishing(3);
    b.connack(false, offer(|_| {}));
    grant(&mut b, 1, 3);
    b.lose();
    unsubscribe(&mut b, 1);
    unsubscribe(&mut b, 3);
    b.open();
    b.connack(true, offer(|_| {}));
    assert_eq!(b.words(), ["SUBSCRIBE 2 f/02", "UNSUBSCRIBE 3 f/01,f/03"]);
    unsubscribe(&mut b, 2);
    assert_eq!(b.words(), ["UNSUBSCRIBE 4 f/02"], "only what was not asked yet");
    let reasons = vec![ReasonCode::NO_SUBSCRIPTION_EXISTED, ReasonCode::SUCCESS];
    b.receive(&Packet::UnsubAck(SubAck { packet_id: id(3), properties: None, reasons }));
    for (n, reason) in [(1, ReasonCode::NO_SUBSCRIPTION_EXISTED), (3, ReasonCode::SUCCESS)] {
        assert!(b.events.contains(&Event::Unsubscribed { id: SubscriptionId(n), reason }), "{n}");
    }
    assert_eq!(b.engine.held().subscriptions, 1, "the last one is still asked for");
}

#[test]
fn at_3_1_1_an_unsuback_has_no_codes_and_means_success() {
    let mut config = kept();
    config.version = VersionPolicy::Only311;
    let mut b = Bench::new(config);
    b.subscribe(1, "a");
    b.connect(false);
    b.suback(1, ReasonCode::GRANTED_QOS_1);
    unsubscribe(&mut b, 1);
    b.receive(&Packet::UnsubAck(SubAck { packet_id: id(2), properties: None, reasons: Vec::new() }));
    assert!(b.events.contains(&Event::Unsubscribed { id: SubscriptionId(1), reason: ReasonCode::SUCCESS }));
    assert_eq!(b.closed, 0);
}

#[test]
fn an_answer_of_the_wrong_kind_leaves_the_identifier_to_the_next_link() {
    let mut config = kept();
    config.session.packet_id_max = 1;
    let mut b = Bench::new(config);
    b.subscribe(1, "a");
    b.connect(false);
    b.suback(1, ReasonCode::GRANTED_QOS_1);
    unsubscribe(&mut b, 1);
    b.suback(1, ReasonCode::GRANTED_QOS_1);
    assert!(matches!(b.last_closed(), LossCause::Protocol(_)));
    b.connect(true);
    assert_eq!(b.words(), ["UNSUBSCRIBE 1 a"]);
    b.receive(&Packet::UnsubAck(SubAck {
        packet_id: id(1),
        properties: None,
        reasons: vec![ReasonCode::SUCCESS],
    }));
    b.subscribe(2, "b");
    assert_eq!(b.words(), ["SUBSCRIBE 1 b"]);
    b.receive(&Packet::UnsubAck(SubAck {
        packet_id: id(1),
        properties: None,
        reasons: vec![ReasonCode::SUCCESS],
    }));
    assert!(matches!(b.last_closed(), LossCause::Protocol(_)));
    b.connect(true);
    assert_eq!(b.words(), ["SUBSCRIBE 1 b"]);
}

#[test]
fn an_acknowledgement_for_a_wish_is_waited_for() {
    let mut b = Bench::new(kept());
    b.connect(false);
    b.subscribe(1, "a");
    b.live(20);
    assert!(matches!(b.last_closed(), LossCause::AckTimeout(_)));
    b.connect(true);
    b.suback(2, ReasonCode::GRANTED_QOS_1);
    b.live(60);
    assert_eq!(b.closed, 1);
}

#[test]
fn while_filters_are_asked_for_singly_each_waits_for_the_answer_before() {
    let mut b = Bench::new(kept());
    for n in 1..=3 {
        b.subscribe(n, &format!("f/{n}"));
    }
    b.open();
    b.connack(false, offer(|_| {}));
    assert_eq!(shares(&mut b), [3]);
    let reason = ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED;
    b.receive(&Packet::Disconnect(codec::packet::Disconnect::new(reason)));
    b.open();
    b.connack(true, offer(|_| {}));
    for (n, filter) in [(2, "f/1"), (3, "f/2"), (4, "f/3")] {
        assert_eq!(b.words(), [format!("SUBSCRIBE {n} {filter}")]);
        grant(&mut b, n, 1);
    }
    assert!(b.engine.status().ready);
}

const INVALID: ReasonCode = ReasonCode::TOPIC_FILTER_INVALID;

/// The server cuts the link over a filter.
fn cut(b: &mut Bench) {
    b.receive(&Packet::Disconnect(codec::packet::Disconnect::new(INVALID)));
    b.open();
}

fn ends_of(b: &Bench, n: u32) -> Vec<ReasonCode> {
    let of = |event: &Event| match event {
        Event::Unsubscribed { id, reason } if id.0 == n => Some(*reason),
        _ => None,
    };
    b.events.iter().filter_map(of).collect()
}

#[test]
fn a_cut_over_a_filter_that_was_withdrawn_bars_no_other() {
    let mut b = Bench::new(kept());
    b.subscribe(1, "bad");
    b.subscribe(2, "good");
    b.connect(false);
    assert_eq!(b.words(), ["SUBSCRIBE 1 bad", "SUBSCRIBE 2 good"]);
    unsubscribe(&mut b, 1);
    assert_eq!(b.words(), ["UNSUBSCRIBE 3 bad"]);
    cut(&mut b);
    b.connack(true, ConnAckProperties::default());
    assert_eq!(b.words(), ["SUBSCRIBE 4 good"], "one at a time");
    b.suback(4, ReasonCode::GRANTED_QOS_1);
    assert!(b.engine.status().ready && result_of(&b, 2).len() == 1);
    // It cannot be ended at this server either, which does not have it.
    assert_eq!(b.words(), ["UNSUBSCRIBE 5 bad"]);
    cut(&mut b);
    assert_eq!(ends_of(&b, 1), [INVALID]);
    b.connack(true, ConnAckProperties::default());
    assert_eq!(b.words(), ["SUBSCRIBE 6 good"]);
    b.suback(6, ReasonCode::GRANTED_QOS_1);
    assert!(b.engine.status().ready && b.words().is_empty(), "and nothing else");
}

#[test]
fn of_several_filters_that_are_to_end_each_is_tried_alone() {
    let mut b = wishing(3);
    b.connack(false, offer(|_| {}));
    grant(&mut b, 1, 3);
    b.lose();
    (1..=3).for_each(|n| unsubscribe(&mut b, n));
    b.open();
    b.connack(true, offer(|_| {}));
    assert_eq!(b.words(), ["UNSUBSCRIBE 2 f/01,f/02,f/03"]);
    cut(&mut b);
    b.connack(true, offer(|_| {}));
    let done = |b: &mut Bench, n| {
        b.receive(&Packet::UnsubAck(SubAck {
            packet_id: id(n),
            properties: None,
            reasons: vec![ReasonCode(0)],
        }));
    };
    assert_eq!(b.words(), ["UNSUBSCRIBE 3 f/01"]);
    done(&mut b, 3);
    assert_eq!(b.words(), ["UNSUBSCRIBE 4 f/02"]);
    cut(&mut b);
    b.connack(true, offer(|_| {}));
    assert_eq!(b.words(), ["UNSUBSCRIBE 5 f/03"]);
    done(&mut b, 5);
    assert_eq!([1, 2, 3].map(|n| ends_of(&b, n)), [vec![ReasonCode(0)], vec![INVALID], vec![ReasonCode(0)]]);
}

#[test]
fn a_filter_alone_on_the_wire_is_the_one_a_cut_is_about_and_one_that_was_replaced_bars_nobody() {
    // Withdrawn while it is alone.
    let mut config = kept();
    config.session.packet_id_max = 1;
    let mut b = Bench::new(config.clone());
    b.subscribe(1, "bad");
    b.connect(false);
    unsubscribe(&mut b, 1);
    cut(&mut b);
    assert_eq!(ends_of(&b, 1), [INVALID]);
    b.connack(true, ConnAckProperties::default());
    assert!(b.words().is_empty());
    // Replaced: what takes its place was not asked for yet.
    let mut b = Bench::new(config);
    b.subscribe(1, "bad");
    b.connect(false);
    b.subscribe(1, "good");
    cut(&mut b);
    assert!(result_of(&b, 1).is_empty());
    b.connack(true, ConnAckProperties::default());
    assert_eq!(b.words(), ["SUBSCRIBE 1 good"]);
    // Asked for behind it: of two, neither is blamed before it is alone.
    let mut b = Bench::new(kept());
    b.subscribe(1, "bad");
    b.connect(false);
    b.subscribe(1, "good");
    assert_eq!(b.words(), ["SUBSCRIBE 1 bad", "SUBSCRIBE 2 good"]);
    cut(&mut b);
    assert!(result_of(&b, 1).is_empty());
    b.connack(true, ConnAckProperties::default());
    assert_eq!(b.words(), ["SUBSCRIBE 3 good"]);
    // One that is granted is not to blame for the one alone on the wire.
    b.suback(3, ReasonCode::GRANTED_QOS_1);
    b.subscribe(2, "bad");
    cut(&mut b);
    assert_eq!(result_of(&b, 2), [SubscribeResult::Refused(INVALID)]);
}

#[test]
fn a_new_wish_ends_no_unsubscribe_but_one_for_the_same_filter_that_was_not_asked_for_yet() {
    for (filter, ended) in [("a", true), ("b", false)] {
        let mut b = Bench::new(kept());
        b.subscribe(1, "a");
        b.connect(false);
        b.suback(1, ReasonCode::GRANTED_QOS_1);
        b.lose();
        unsubscribe(&mut b, 1);
        b.subscribe(2, filter);
        let answered = Event::Unsubscribed { id: SubscriptionId(1), reason: ReasonCode::SUCCESS };
        assert_eq!(b.events.contains(&answered), ended, "{filter}");
        b.connect(true);
        assert_eq!(b.words().contains(&"UNSUBSCRIBE 3 a".to_owned()), !ended);
    }
    // One that is on its way is waited for.
    let mut b = Bench::new(kept());
    b.subscribe(1, "a");
    b.connect(false);
    b.suback(1, ReasonCode::GRANTED_QOS_1);
    unsubscribe(&mut b, 1);
    b.subscribe(2, "a");
    assert_eq!(b.words(), ["SUBSCRIBE 1 a", "UNSUBSCRIBE 2 a", "SUBSCRIBE 3 a"]);
    assert!(!b.events.iter().any(|event| matches!(event, Event::Unsubscribed { .. })));
}

#[test]
fn what_was_granted_is_asked_for_again_in_a_new_session_whatever_the_setting() {
    for resubscribe in [Resubscribe::Always, Resubscribe::WhenAbsent] {
        let mut config = kept();
        config.session.resubscribe = resubscribe;
        let mut b = Bench::new(config);
        b.subscribe(1, "a");
        b.connect(false);
        b.suback(1, ReasonCode::GRANTED_QOS_1);
        b.words();
        b.lose();
        b.connect(false);
        assert_eq!(b.words(), ["SUBSCRIBE 2 a"], "{resubscribe:?}");
    }
}

#[test]
fn an_answer_to_a_message_is_none_to_a_wish() {
    let mut b = Bench::new(kept());
    b.connect(false);
    b.subscribe(1, "a");
    b.publish(Qos::AtLeastOnce);
    b.puback(2, ReasonCode::SUCCESS);
    b.live(20);
    assert!(matches!(b.last_closed(), LossCause::AckTimeout(_)), "SUBSCRIBE is still unanswered");
}

#[test]
fn who_wishes_nothing_is_told_nothing_of_resubscribing() {
    let mut b = Bench::new(kept());
    b.connect(false);
    assert!(!b.events.iter().any(|event| matches!(event, Event::Resubscribed { .. })));
    assert!(b.engine.status().ready);
}

#[test]
fn a_refused_filter_wakes_the_engine_and_is_asked_for_by_a_late_one_too() {
    let mut b = Bench::new(kept());
    b.subscribe(1, "a");
    b.connect(false);
    b.suback(1, ReasonCode::QUOTA_EXCEEDED);
    b.words();
    let due = Timestamp::from_micros(b.at + 10_000_000);
    assert_eq!(b.engine.deadline(), Some((due, TimerKind::Redo)));
    b.at += 11_000_000;
    b.input(Input::Tick);
    assert_eq!(b.words(), ["SUBSCRIBE 2 a"]);
}

#[test]
fn a_filter_too_large_for_a_packet_is_not_sent_to_end_it_either() {
    let mut b = wishing(2);
    b.connack(false, offer(|p| p.maximum_packet_size = Some(10)));
    assert!(shares(&mut b).is_empty() && !result_of(&b, 1).is_empty());
    unsubscribe(&mut b, 1);
    assert!(shares(&mut b).is_empty(), "refused here, the server never heard of it");
    assert!(b.events.contains(&Event::Unsubscribed { id: SubscriptionId(1), reason: ReasonCode::SUCCESS }));

    // One that was granted by a server whose limit shrank since.
    let mut b = wishing(2);
    b.connack(false, offer(|_| {}));
    grant(&mut b, 1, 2);
    b.lose();
    b.open();
    b.connack(true, offer(|p| p.maximum_packet_size = Some(10)));
    b.words();
    unsubscribe(&mut b, 1);
    unsubscribe(&mut b, 2);
    assert!(shares(&mut b).is_empty(), "it would cut the link over it");
    for n in [1, 2] {
        let id = SubscriptionId(n);
        let told = |event: &&Event| matches!(event, Event::Unsubscribed { id: of, .. } if *of == id);
        assert_eq!(b.events.iter().filter(told).count(), 1);
    }
    b.pass(std::time::Duration::from_secs(1));
    assert!(shares(&mut b).is_empty());
}

#[test]
fn the_answer_to_a_wish_that_was_replaced_is_none_to_the_new_one() {
    let mut b = wishing(1);
    b.connack(false, offer(|_| {}));
    assert_eq!(shares(&mut b), [1]);
    b.subscribe(1, "f/01");
    assert_eq!(shares(&mut b), [1], "asked for anew");
    grant(&mut b, 1, 1);
    assert!(result_of(&b, 1).is_empty() && !b.engine.status().ready, "of the one before");
    grant(&mut b, 2, 1);
    assert_eq!(result_of(&b, 1).len(), 1);
    assert!(b.engine.status().ready);
}

#[test]
fn a_filter_the_server_cut_the_link_over_is_ended_on_the_wire_only_if_it_has_it() {
    let mut config = kept();
    config.session.resubscribe = Resubscribe::Always;
    for was_granted in [true, false] {
        let mut b = Bench::new(config.clone());
        b.subscribe(1, "bad");
        b.connect(false);
        if was_granted {
            b.suback(1, ReasonCode::GRANTED_QOS_1);
            b.lose();
            b.connect(true);
        }
        cut(&mut b);
        b.connack(true, ConnAckProperties::default());
        assert!(b.words().is_empty(), "it is barred");
        unsubscribe(&mut b, 1);
        let (word, ends): (&[&str], &[ReasonCode]) =
            if was_granted { (&["UNSUBSCRIBE 3 bad"], &[]) } else { (&[], &[ReasonCode::SUCCESS]) };
        assert_eq!(
            (b.words(), ends_of(&b, 1)),
            (word.iter().map(|w| (*w).to_owned()).collect(), ends.to_vec())
        );
    }
}
