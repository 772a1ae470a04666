//! One message the broker cuts the link over must not hold up the others, and no good message is ever parked.

use std::time::Duration;

use rejoin_core::codec::packet::{Disconnect, Packet};
use rejoin_core::*;

use super::bench::{Bench, kept};

/// A broker that acknowledges everything but closes on the payload `poison`.
pub(super) fn serve(b: &mut Bench, poison: &str, seconds: u64) {
    serve_until_it_breaks(b, poison, seconds, TransportErrorKind::Reset);
}

/// The same, where the link breaks in this way.
fn serve_until_it_breaks(b: &mut Bench, poison: &str, seconds: u64, how: TransportErrorKind) {
    let is_poison = |packet: &Packet| matches!(packet, Packet::Publish(p) if p.payload == poison.as_bytes());
    serve_and_cut(b, is_poison, |b| b.lose_by(how), seconds);
}

/// A broker that acknowledges everything in order, but cuts the link at certain packets.
fn serve_and_cut(b: &mut Bench, cuts_at: impl Fn(&Packet) -> bool, cut: impl Fn(&mut Bench), seconds: u64) {
    let mut connected = false;
    for _ in 0..seconds * 10 {
        if b.opening {
            b.opening = false;
            b.input(Input::Opened);
            connected = true;
            let first = b.connects.len() == 1;
            b.sent.clear();
            b.connack(!first, Default::default());
        }
        let sent: Vec<Packet> = b.sent.drain(..).collect();
        for packet in sent {
            match packet {
                packet if cuts_at(&packet) => {
                    cut(b);
                    connected = false;
                    break;
                }
                Packet::Publish(p) if connected => b.puback(p.packet_id.unwrap().get(), ReasonCode::SUCCESS),
                Packet::PingReq if connected => b.receive(&Packet::PingResp),
                Packet::Subscribe(s) if connected => {
                    b.suback(s.packet_id.get(), ReasonCode::GRANTED_QOS_1);
                }
                _ => {}
            }
        }
        b.pass(Duration::from_millis(100));
    }
}

#[test]
fn a_poison_message_is_parked_and_the_rest_flows() {
    // [MQTT311-3.3.5-2]
    for poison in 1..=5 {
        let mut config = kept();
        config.session.durable = true;
        config.recovery = config.recovery.divided_by(10);
        let mut b = Bench::new(config);
        for _ in 0..5 {
            b.publish(Qos::AtLeastOnce);
        }
        b.input(Input::Tick);
        serve(&mut b, &poison.to_string(), 120);
        for n in 1..=5 {
            if n == poison {
                assert!(matches!(b.outcome(n), Outcome::Parked { cuts } if *cuts >= 2), "{:?}", b.outcome(n));
                let kept =
                    |r: &Record| matches!(r, Record::Parked { id, why: Parking::Cut { .. } } if id.0 == n);
                assert!(b.records.iter().any(kept), "a store keeps it for a person to look at");
            } else {
                assert!(b.is_delivered(n), "message {n} with {poison} as the poison: {:?}", b.outcome(n));
            }
        }
    }
}

#[test]
fn a_broker_that_cuts_every_link_parks_nothing() {
    let mut b = Bench::new(kept());
    b.publish(Qos::AtLeastOnce);
    for _ in 0..20 {
        b.connect(b.connects.len() > 1 || !b.connects.is_empty());
        if b.words().contains(&"PINGREQ".to_owned()) {
            b.receive(&Packet::PingResp);
        }
        b.pass(Duration::from_millis(20));
        b.lose();
    }
    assert!(b.outcomes.is_empty(), "the links are bad, not the message: {:?}", b.outcomes);
}

#[test]
fn time_outs_raise_no_suspicion() {
    let mut b = Bench::new(kept());
    b.connect(false);
    b.publish(Qos::AtLeastOnce);
    for _ in 0..6 {
        b.pass(Duration::from_secs(25));
        b.connect(true);
        assert!(b.words().iter().any(|w| w.starts_with("PUBLISH 1")), "sent at once on every link");
    }
    assert!(b.outcomes.is_empty());
}

#[test]
fn a_link_that_breaks_without_an_end_of_the_peer_speaks_against_no_message() {
    use TransportErrorKind as Kind;
    for how in [Kind::TimedOut, Kind::Unreachable, Kind::Resources, Kind::Other] {
        let mut config = kept();
        config.recovery = config.recovery.divided_by(10);
        let mut b = Bench::new(config);
        b.publish(Qos::AtLeastOnce);
        b.input(Input::Tick);
        // A path that lets small packets through and swallows this one: the kernel gives up on it each time.
        serve_until_it_breaks(&mut b, "1", 240, how);
        assert!(b.outcomes.is_empty(), "{how:?}: {:?}", b.outcomes);
        assert!(b.engine.stats().losses > 10, "{how:?}");
    }
}

#[test]
fn an_answered_subscription_says_nothing_for_a_message() {
    let mut config = kept();
    config.recovery = config.recovery.divided_by(10);
    let mut b = Bench::new(config);
    b.subscribe(1, "a");
    for _ in 0..5 {
        b.publish(Qos::AtLeastOnce);
    }
    b.input(Input::Tick);
    // The broker answers SUBSCRIBE on each link before it closes on the second message.
    serve(&mut b, "2", 120);
    assert!(matches!(b.outcome(2), Outcome::Parked { .. }));
    for n in [1, 3, 4, 5] {
        assert!(b.is_delivered(n), "message {n}");
    }
}

fn is_forbidden(packet: &Packet) -> bool {
    matches!(packet, Packet::Subscribe(s) if s.filters.iter().any(|(filter, _)| filter.as_str() == "forbidden"))
}

/// Closes without a word, as 3.1.1 has it.
fn close(b: &mut Bench) {
    b.input(Input::Lost(TransportError::new(TransportErrorKind::Closed, "closed")));
}

fn not_authorized(b: &mut Bench) {
    b.receive(&Packet::Disconnect(Disconnect::new(ReasonCode::NOT_AUTHORIZED)));
}

fn results(b: &Bench, n: u32) -> Vec<SubscribeResult> {
    let of = |event: &Event| match event {
        Event::Subscribed { id, result } if id.0 == n => Some(result.clone()),
        _ => None,
    };
    b.events.iter().filter_map(of).collect()
}

#[test]
fn a_subscription_the_broker_closes_at_is_refused_and_holds_up_nothing() {
    let ways: [(fn(&mut Bench), _, _); 3] = [
        (close, VersionPolicy::Only311, ReasonCode::UNSPECIFIED_ERROR),
        (Bench::lose, VersionPolicy::Only5, ReasonCode::UNSPECIFIED_ERROR),
        (not_authorized, VersionPolicy::Only5, ReasonCode::NOT_AUTHORIZED),
    ];
    for (cut, version, code) in ways {
        for (others, messages) in [(true, 5), (false, 5), (true, 0), (false, 0)] {
            let mut config = kept();
            config.version = version;
            config.recovery = config.recovery.divided_by(10);
            let mut b = Bench::new(config);
            b.subscribe(2, "forbidden");
            if others {
                b.subscribe(1, "a");
                b.subscribe(3, "z");
            }
            for _ in 0..messages {
                b.publish(Qos::AtLeastOnce);
            }
            b.input(Input::Tick);
            serve_and_cut(&mut b, is_forbidden, cut, 120);
            let context = format!("{version:?}, {code:?}, {others}, {messages}: {:?}", b.events);
            assert_eq!(results(&b, 2), [SubscribeResult::Refused(code)], "{context}");
            assert_eq!(b.engine.status().link, LinkState::Open, "{context}");
            for n in 1..=messages {
                assert!(b.is_delivered(n), "message {n}, {context}");
            }
            if others {
                let is_granted = |n| matches!(results(&b, n).last(), Some(SubscribeResult::Granted(_)));
                assert!(is_granted(1) && is_granted(3), "{context}");
            }
        }
    }
}

#[test]
fn a_broker_that_cuts_every_link_bars_nothing() {
    let mut b = Bench::new(kept());
    b.subscribe(1, "a");
    b.publish(Qos::AtLeastOnce);
    for _ in 0..20 {
        b.connect(!b.connects.is_empty());
        if b.words().contains(&"PINGREQ".to_owned()) {
            b.receive(&Packet::PingResp);
        }
        b.pass(Duration::from_millis(20));
        b.lose();
    }
    assert_eq!((results(&b, 1).len(), b.outcomes.len()), (0, 0), "the links are bad");
}

#[test]
fn time_outs_bar_no_subscription() {
    let mut b = Bench::new(kept());
    b.subscribe(1, "a");
    for n in 1..=6 {
        b.connect(n > 1);
        assert_eq!(b.words(), [format!("SUBSCRIBE {n} a")], "asked for at once on every link");
        b.live(1000);
        assert!(matches!(b.last_closed(), LossCause::AckTimeout(_)));
    }
    assert!(results(&b, 1).is_empty());
}

#[test]
fn of_a_subscription_and_a_message_that_are_cut_together_the_one_to_blame_is_found() {
    let mut config = kept();
    config.recovery = config.recovery.divided_by(10);
    let mut b = Bench::new(config);
    b.subscribe(1, "a");
    for _ in 0..3 {
        b.publish(Qos::AtLeastOnce);
    }
    b.input(Input::Tick);
    // What the broker had answered before is lost with the link.
    let mut present = false;
    for _ in 0..1200 {
        if b.opening {
            b.opening = false;
            b.input(Input::Opened);
            b.sent.clear();
            b.connack(std::mem::replace(&mut present, true), Default::default());
        }
        if b.sent.iter().any(|packet| matches!(packet, Packet::Publish(p) if &p.payload[..] == b"2")) {
            b.sent.clear();
            b.lose();
        }
        for packet in std::mem::take(&mut b.sent) {
            match packet {
                Packet::Publish(p) => b.puback(p.packet_id.unwrap().get(), ReasonCode::SUCCESS),
                Packet::PingReq => b.receive(&Packet::PingResp),
                Packet::Subscribe(s) => b.suback(s.packet_id.get(), ReasonCode::GRANTED_QOS_1),
                _ => {}
            }
        }
        b.pass(Duration::from_millis(100));
    }
    assert!(matches!(b.outcome(2), Outcome::Parked { .. }));
    assert!(b.is_delivered(1) && b.is_delivered(3) && b.engine.status().ready);
    assert!(results(&b, 1).iter().all(|result| matches!(result, SubscribeResult::Granted(_))));
}

#[test]
fn cuts_that_hit_a_subscription_by_chance_hold_up_the_next_only_for_a_moment() {
    let mut b = Bench::new(kept());
    for n in 1..=3 {
        b.subscribe(n, &format!("f/{n}"));
    }
    for _ in 0..2 {
        b.connect(!b.connects.is_empty());
        assert_eq!(b.words().len(), 3, "all at once");
        b.lose();
    }
    b.connect(true);
    assert_eq!(b.words(), ["PINGREQ"], "first the link has to live without");
    b.receive(&Packet::PingResp);
    b.pass(Duration::from_millis(100));
    for n in 7..=9 {
        assert_eq!(b.words(), [format!("SUBSCRIBE {n} f/{}", n - 6)], "one at a time");
        b.suback(n, ReasonCode::GRANTED_QOS_1);
    }
    assert!(b.engine.status().ready);
    let id = b.publish(Qos::AtLeastOnce);
    b.publish(Qos::AtLeastOnce);
    assert_eq!(b.words().len(), 2, "and that is over");
    b.puback(10, ReasonCode::SUCCESS);
    assert!(b.is_delivered(id));
    b.lose();
    b.connect(true);
    assert!(b.words().len() >= 4, "all at once again");
}
