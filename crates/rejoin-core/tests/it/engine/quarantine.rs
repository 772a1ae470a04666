//! One message the broker cuts the link over must not hold up the others, and no good message is ever parked.

use std::time::Duration;

use rejoin_core::codec::packet::Packet;
use rejoin_core::*;

use super::bench::{Bench, kept};

/// A broker that acknowledges everything but closes on the payload `poison`.
pub(super) fn serve(b: &mut Bench, poison: &str, seconds: u64) {
    serve_until_it_breaks(b, poison, seconds, TransportErrorKind::Reset);
}

/// The same, where the link breaks in this way.
fn serve_until_it_breaks(b: &mut Bench, poison: &str, seconds: u64, how: TransportErrorKind) {
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
                Packet::Publish(p) if p.payload == poison.as_bytes() => {
                    b.lose_by(how);
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
