//! Credentials that end: new ones in time, and a change-over that loses nothing.

use std::time::Duration;

use bytes::Bytes;
use rejoin_core::codec::packet::{Auth, ConnAckProperties, Disconnect, Packet};
use rejoin_core::*;

use super::bench::{Bench, config, kept};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn token(name: &'static str) -> Login {
    Login { user_name: None, password: Some(Bytes::from_static(name.as_bytes())) }
}

/// Opens a link with credentials that are good for this long.
fn connect(b: &mut Bench, good_for: Option<Duration>, session_present: bool) {
    b.input(Input::Tick);
    b.until_open();
    b.engine.credentials_end(good_for, b.now());
    b.connect(session_present);
}

fn due(b: &mut Bench) -> usize {
    let count = b.events.iter().filter(|event| **event == Event::RenewalDue).count();
    b.events.retain(|event| *event != Event::RenewalDue);
    count
}

fn renew(b: &mut Bench, good_for: Duration) {
    b.engine.renewed(Some(token("new")), Some(good_for), b.now());
    b.drain();
}

fn last_verdict(b: &Bench) -> Verdict {
    let closed = b.events.iter().rev().find_map(|event| match event {
        Event::Closed { verdict, .. } => Some(*verdict),
        _ => None,
    });
    closed.expect("a link was lost")
}

#[test]
fn before_the_end_a_link_with_new_credentials_takes_over() {
    let mut b = Bench::new(kept());
    connect(&mut b, Some(secs(600)), false);
    b.live(569);
    assert_eq!(due(&mut b), 0);
    b.live(1);
    assert_eq!(due(&mut b), 1, "30 s before the end");
    let first = b.publish(Qos::AtLeastOnce);
    renew(&mut b, secs(600));
    let held_back = b.publish(Qos::AtLeastOnce);
    assert_eq!(b.words(), ["PUBLISH 1 q1 1"], "what is under way is answered first, nothing new begins");
    b.puback(1, ReasonCode::SUCCESS);
    assert_eq!(b.last_words(), ["DISCONNECT 0x00"], "in order, so the will is not sent");
    assert!(b.is_delivered(first));
    assert_eq!(*b.last_closed(), LossCause::Local(LocalCause::Renewal));
    assert_eq!(last_verdict(&b), Verdict::Now);
    assert!(b.opening, "at once");
    connect(&mut b, Some(secs(600)), true);
    assert_eq!(b.connects.last().unwrap().password.as_deref(), Some(&b"new"[..]));
    assert_eq!(b.words(), ["PUBLISH 2 q1 2"], "for the first time");
    b.puback(2, ReasonCode::SUCCESS);
    assert!(b.is_delivered(held_back));
}

#[test]
fn a_broker_that_does_not_acknowledge_holds_the_change_over_up_for_a_second() {
    let mut b = Bench::new(kept());
    connect(&mut b, Some(secs(600)), false);
    b.live(570);
    b.publish(Qos::ExactlyOnce);
    renew(&mut b, secs(600));
    b.pass(Duration::from_millis(990));
    assert_eq!(b.closed, 0);
    b.pass(Duration::from_millis(10));
    assert_eq!(*b.last_closed(), LossCause::Local(LocalCause::Renewal));
    connect(&mut b, Some(secs(600)), true);
    assert_eq!(b.words(), ["PUBLISH 1 q2 dup 1"]);
}

#[test]
fn a_release_that_waits_for_the_store_holds_the_change_over_up() {
    let mut config = kept();
    config.session.durable = true;
    let mut b = Bench::new(config);
    connect(&mut b, Some(secs(600)), false);
    b.live(570);
    b.publish(Qos::ExactlyOnce);
    b.fast_disk = false;
    b.pubrec(1, ReasonCode::SUCCESS);
    renew(&mut b, secs(600));
    assert_eq!(b.closed, 0, "a PUBREL is still to be sent");
    b.input(Input::Persisted(b.last_ticket));
    assert_eq!(b.words(), ["PUBLISH 1 q2 1", "PUBREL 1"]);
    b.fast_disk = true;
    b.pubcomp(1);
    assert_eq!(*b.last_closed(), LossCause::Local(LocalCause::Renewal));
}

#[test]
fn an_answer_that_comes_while_the_client_closes_is_used_where_the_last_link_is_lost() {
    let mut b = Bench::new(kept());
    connect(&mut b, Some(secs(600)), false);
    b.live(570);
    assert_eq!(due(&mut b), 1);
    b.publish(Qos::AtLeastOnce);
    b.engine.close(secs(30), b.now());
    renew(&mut b, secs(600));
    assert_eq!((b.words(), b.closed), (vec!["PUBLISH 1 q1 1".to_owned()], 0), "nothing takes over");
    b.lose();
    connect(&mut b, Some(secs(600)), true);
    assert_eq!(b.connects.last().unwrap().password.as_deref(), Some(&b"new"[..]));
}

#[test]
fn credentials_without_a_known_end_are_not_renewed() {
    let mut b = Bench::new(kept());
    connect(&mut b, None, false);
    b.live(4000);
    assert_eq!((due(&mut b), b.closed), (0, 0));
    // Nor are those that had ended before they were used: it is the clocks that are wrong.
    let mut b = Bench::new(kept());
    connect(&mut b, Some(Duration::ZERO), false);
    b.live(600);
    assert_eq!((due(&mut b), b.closed), (0, 0));
}

#[test]
fn a_provider_that_fails_or_repeats_itself_is_asked_again_and_costs_no_link() {
    for repeats in [false, true] {
        let mut b = Bench::new(kept());
        connect(&mut b, Some(secs(600)), false);
        let mut asked = Vec::new();
        for second in 1..600 {
            b.live(1);
            if due(&mut b) > 0 {
                asked.push(second);
                if repeats {
                    renew(&mut b, secs(600 - second));
                } else {
                    assert!(b.engine.renewal_failed(b.now()));
                    assert!(!b.engine.renewal_failed(b.now()), "nobody asked");
                    b.drain();
                }
            }
        }
        assert_eq!(asked[..3], [570, 578, 593], "7.5 s, 15 s, 30 s");
        assert_eq!(b.closed, 0);
    }
}

#[test]
fn a_link_closed_at_the_known_end_is_no_failure_of_the_broker() {
    let expired = Packet::Disconnect(Disconnect::new(ReasonCode::NOT_AUTHORIZED));
    for told in [None, Some(expired)] {
        let mut config = kept();
        config.recovery.budget = None;
        let mut b = Bench::new(config);
        for turn in 0..20 {
            connect(&mut b, Some(secs(5)), turn > 0);
            b.live(5);
            match &told {
                Some(packet) => b.receive(packet),
                None => b.input(Input::Lost(TransportError::new(TransportErrorKind::Closed, "closed"))),
            }
            assert_eq!(last_verdict(&b), Verdict::Credentials, "turn {turn}");
            assert!(b.opening, "at once");
        }
        assert!(!b.events.iter().any(|event| matches!(event, Event::Conflict { .. })));
        // Without a known end it is what it always was.
        connect(&mut b, None, true);
        b.live(5);
        b.lose();
        assert_eq!(last_verdict(&b), Verdict::Overloaded);
        // Nor does a link that breaks long before the end or long after it break because of it.
        for (good_for, at) in [(600, 5), (5, 66)] {
            b.until_open();
            connect(&mut b, Some(secs(good_for)), true);
            b.live(at);
            b.lose();
            assert_ne!(last_verdict(&b), Verdict::Credentials, "{good_for} s, after {at} s");
        }
    }
}

/// A broker that closes when the credentials end, a provider that answers at once, and the true budget.
#[test]
fn a_token_of_five_seconds_just_fits_the_budget() {
    let mut b = Bench::new(kept());
    let (mut reached, mut open_us) = (Vec::new(), 0);
    connect(&mut b, Some(secs(5)), false);
    reached.push(b.at);
    while b.at < 600_000_000 {
        let (opened, end) = (b.at, reached[reached.len() - 1] + 5_000_000);
        let losses = b.engine.stats().losses;
        while b.engine.stats().losses == losses {
            if due(&mut b) > 0 {
                renew(&mut b, secs(5));
                continue;
            }
            let next = b.engine.deadline().map_or(end, |(at, _)| at.as_micros()).clamp(b.at, end);
            let left = Duration::from_micros(next - b.at);
            b.pass(left);
            if b.at == end && b.engine.stats().losses == losses {
                b.input(Input::Lost(TransportError::new(TransportErrorKind::Closed, "closed")));
            }
        }
        open_us += b.at - opened;
        connect(&mut b, Some(secs(5)), true);
        reached.push(b.at);
    }
    for window in reached.windows(13) {
        assert!(window[12] - window[0] >= 60_000_000, "more than 12 in a minute");
    }
    let share = open_us * 100 / b.at;
    assert!(share >= 95, "{share} % of the time open, with {} links", reached.len());
}

/// A link with a method of enhanced authentication, whose credentials are good for ten minutes.
fn with_a_method(mut config: Config) -> (Bench, Option<Text>) {
    let method = Text::from_static("JWT");
    config.authentication = Some(Box::new(Authentication { method: method.clone(), data: None }));
    let mut b = Bench::new(config);
    b.input(Input::Tick);
    b.until_open();
    b.engine.credentials_end(Some(secs(600)), b.now());
    b.open();
    let method = Some(method);
    b.connack(false, ConnAckProperties { authentication_method: method.clone(), ..Default::default() });
    (b, method)
}

#[test]
fn a_link_with_a_method_stays_and_proves_the_new_ones() {
    let (mut b, method) = with_a_method(config());
    for turn in 0..3 {
        b.live(570);
        assert_eq!(due(&mut b), 1, "turn {turn}");
        renew(&mut b, secs(600));
        assert_eq!(b.events.pop(), Some(Event::ReauthenticationDue));
        assert!(b.engine.reauthenticate(Some(Bytes::from_static(b"new")), b.now()));
        b.drain();
        let (reason, data) = (ReasonCode::SUCCESS, None);
        b.receive(&Packet::Auth(Auth { reason, method: method.clone(), data, properties: None }));
        b.events.clear();
    }
    assert_eq!((b.closed, b.engine.stats().losses), (0, 0));
}

#[test]
fn who_never_reconnects_does_not_renew_by_reconnecting() {
    let mut config = kept();
    config.recovery.reconnect = false;
    let mut b = Bench::new(config);
    connect(&mut b, Some(secs(60)), false);
    b.live(120);
    assert_eq!((due(&mut b), b.closed), (0, 0));
}

#[test]
fn a_close_ends_the_change_over_and_sends_what_it_held_back() {
    let mut b = Bench::new(kept());
    connect(&mut b, Some(secs(600)), false);
    b.live(570);
    b.publish(Qos::AtLeastOnce);
    renew(&mut b, secs(600));
    let held_back = b.publish(Qos::AtLeastOnce);
    assert_eq!(b.words(), ["PUBLISH 1 q1 1"]);
    b.engine.close(secs(5), b.now());
    b.drain();
    b.puback(1, ReasonCode::SUCCESS);
    assert_eq!(b.words(), ["PUBLISH 2 q1 2"]);
    b.puback(2, ReasonCode::SUCCESS);
    assert!(b.is_delivered(held_back));
}

#[test]
fn a_server_that_never_answers_auth_loses_the_link_to_a_new_one_with_the_new_credentials() {
    let mut config = kept();
    // Else the link would be left before new credentials are due.
    config.link.connack_timeout = secs(3600);
    let (mut b, _) = with_a_method(config);
    b.live(570);
    renew(&mut b, secs(600));
    assert!(b.engine.reauthenticate(Some(Bytes::from_static(b"new")), b.now()));
    b.drain();
    // Pings are answered, AUTH is not.
    b.live(590);
    assert_eq!(due(&mut b), 2, "asked once more before the end");
    renew(&mut b, secs(600));
    b.live(5);
    assert_eq!(*b.last_closed(), LossCause::Local(LocalCause::Renewal));
}
