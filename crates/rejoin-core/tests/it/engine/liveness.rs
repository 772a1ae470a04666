//! Is the peer alive: the true defaults, held in virtual time.

use std::time::Duration;

use rejoin_core::codec::packet::{ConnAckProperties, Disconnect, Packet};
use rejoin_core::*;

use super::bench::{Bench, config, kept};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_silent_link_is_pinged_suspected_and_lost() {
    let mut b = Bench::new(config());
    b.connect(false);
    b.pass(secs(14));
    assert!(b.words().is_empty());
    b.pass(secs(1));
    assert_eq!(b.words(), ["PINGREQ"], "after 15 s of silence");
    b.pass(secs(2));
    assert_eq!(b.engine.status().link, LinkState::Suspect);
    b.pass(secs(3));
    assert_eq!(*b.last_closed(), LossCause::PingTimeout(secs(5))); // [MQTT-3.12.4-1] [u5-3.1.2.10]
}

#[test]
fn an_answered_ping_and_any_byte_keep_the_link() {
    let mut b = Bench::new(config());
    b.connect(false);
    for _ in 0..100 {
        b.pass(secs(15));
        assert_eq!(b.words(), ["PINGREQ"]);
        b.receive(&Packet::PingResp);
    }
    b.pass(secs(17));
    assert_eq!(b.engine.status().link, LinkState::Suspect);
    b.deliver(Qos::AtMostOnce, 0, false, "any byte is life");
    assert_eq!(b.engine.status().link, LinkState::Open);
    assert_eq!(b.closed, 0);
}

#[test]
fn the_keep_alive_of_the_server_rules() {
    let mut b = Bench::new(config());
    b.open();
    b.connack(false, ConnAckProperties { server_keep_alive: Some(8), ..Default::default() });
    b.pass(secs(6)); // [MQTT-3.1.2-21] [MQTT-3.2.2-21] [MQTT-3.1.2-22]: three quarters of 8 s
    assert_eq!(b.words(), ["PINGREQ"]);
}

#[test]
fn a_keep_alive_of_zero_leaves_our_own_probe_on() {
    let mut b = Bench::new(config());
    b.open();
    b.connack(false, ConnAckProperties { server_keep_alive: Some(0), ..Default::default() });
    b.pass(secs(15));
    assert_eq!(b.words(), ["PINGREQ"]);
    b.pass(secs(5));
    assert_eq!(*b.last_closed(), LossCause::PingTimeout(secs(5)));
}

#[test]
fn a_ping_goes_out_when_only_one_direction_is_idle() {
    let mut b = Bench::new(config());
    b.connect(false);
    for _ in 0..15 {
        b.pass(secs(1));
        b.publish(Qos::AtMostOnce);
    }
    assert!(b.words().contains(&"PINGREQ".to_owned()), "nothing was heard for 15 s");
}

#[test]
fn publishing_into_a_frozen_link_does_not_hide_its_silence() {
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        let mut b = Bench::new(config());
        b.connect(false);
        // The kernel takes every byte, nobody answers.
        for _ in 0..17 {
            b.pass(secs(1));
            b.publish(qos);
        }
        assert_eq!(b.engine.status().link, LinkState::Suspect, "{qos:?}");
        for _ in 0..3 {
            b.pass(secs(1));
            b.publish(qos);
        }
        assert_eq!(*b.last_closed(), LossCause::PingTimeout(secs(5)), "{qos:?}");
    }
}

#[test]
fn a_full_socket_that_drains_is_no_silence() {
    let mut b = Bench::new(config());
    b.connect(false);
    b.pass(secs(15));
    assert_eq!(b.words(), ["PINGREQ"]);
    // The ping stands behind a backlog in the kernel, and bytes of QoS 0 are answered by nobody.
    b.fast_socket = false;
    b.publish_with(Qos::AtMostOnce, |p| p.payload = vec![0; 100_000].into());
    for _ in 0..100 {
        b.pass(secs(1));
        b.input(Input::Written(1_000));
    }
    b.input(Input::Written(10_000));
    b.pass(secs(4));
    assert_eq!(b.closed, 0, "the peer made room until now");
    b.pass(secs(1));
    assert_eq!(*b.last_closed(), LossCause::PingTimeout(secs(5)));
}

#[test]
fn a_slow_round_trip_gets_more_patience() {
    let mut b = Bench::new(config());
    b.connect(false);
    let until_ping = |b: &mut Bench| {
        while b.words().is_empty() {
            b.pass(Duration::from_millis(100));
        }
    };
    for _ in 0..30 {
        until_ping(&mut b);
        b.pass(secs(2));
        b.receive(&Packet::PingResp);
    }
    until_ping(&mut b);
    b.pass(secs(10));
    assert_eq!(b.closed, 0, "at 2 s of latency 10 s of silence are no death");
    b.pass(secs(10));
    assert_eq!(b.closed, 1);
}

#[test]
fn a_socket_that_takes_nothing_is_lost() {
    let mut b = Bench::new(config());
    b.connect(false);
    b.fast_socket = false;
    b.publish_with(Qos::AtLeastOnce, |p| p.payload = vec![0; 100_000].into());
    b.pass(secs(4));
    b.input(Input::Written(10));
    b.pass(secs(4));
    assert_eq!(b.closed, 0, "progress is life");
    b.pass(secs(1));
    assert_eq!(*b.last_closed(), LossCause::WriteStall(secs(5)));
}

#[test]
fn acknowledgements_that_never_come_restart_the_link() {
    let mut b = Bench::new(config());
    b.connect(false);
    b.publish(Qos::AtLeastOnce);
    b.live(19);
    assert_eq!(b.closed, 0);
    b.live(1);
    assert_eq!(*b.last_closed(), LossCause::AckTimeout(secs(20)));
    b.connect(true);
    assert!(b.words().contains(&"PUBLISH 1 q1 dup 1".to_owned()));
    b.live(39);
    assert_eq!(b.closed, 1, "patience doubles on repeat");
    b.live(1);
    assert_eq!(*b.last_closed(), LossCause::AckTimeout(secs(40)));
    b.connect(true);
    b.puback(1, ReasonCode::SUCCESS);
    b.publish(Qos::AtLeastOnce);
    b.live(20);
    assert_eq!(*b.last_closed(), LossCause::AckTimeout(secs(20)), "an acknowledgement resets it");
}

#[test]
fn an_answer_to_a_wish_does_not_shorten_the_patience_with_messages() {
    let mut b = Bench::new(kept());
    b.subscribe(1, "a");
    b.connect(false);
    b.suback(1, ReasonCode::GRANTED_QOS_1);
    b.publish(Qos::AtLeastOnce);
    // Each link asks for the subscription again, and the server answers that at once.
    for (patience, suback) in [(20, 3), (40, 4), (80, 5)] {
        b.live(patience - 1);
        assert_eq!(b.engine.status().link, LinkState::Open);
        b.live(1);
        assert_eq!(*b.last_closed(), LossCause::AckTimeout(secs(patience)));
        b.connect(true);
        b.suback(suback, ReasonCode::GRANTED_QOS_1);
    }
    b.puback(2, ReasonCode::SUCCESS);
    b.publish(Qos::AtLeastOnce);
    b.live(20);
    assert_eq!(*b.last_closed(), LossCause::AckTimeout(secs(20)), "that of a message resets it");
}

#[test]
fn the_patience_of_who_only_receives_is_reset_by_what_answers_a_wish() {
    let mut b = Bench::new(kept());
    b.subscribe(1, "a");
    b.connect(false);
    b.live(20);
    assert_eq!(*b.last_closed(), LossCause::AckTimeout(secs(20)));
    b.connect(true);
    b.live(39);
    b.suback(2, ReasonCode::GRANTED_QOS_1);
    b.subscribe(2, "b");
    b.live(20);
    assert_eq!(b.closed, 2);
    assert_eq!(*b.last_closed(), LossCause::AckTimeout(secs(20)));
}

#[test]
fn any_acknowledgement_is_progress() {
    let mut b = Bench::new(config());
    b.connect(false);
    for _ in 0..10 {
        b.publish(Qos::AtLeastOnce);
    }
    for n in 2..=10 {
        b.live(14);
        b.puback(n, ReasonCode::SUCCESS);
    }
    assert_eq!(b.closed, 0, "the first message is late, the broker is not dead");
}

#[test]
fn the_health_watch_restarts_a_link_without_messages() {
    let mut config = config();
    config.link.health_watch = Some(secs(60));
    let mut b = Bench::new(config);
    b.connect(false);
    b.live(50);
    b.deliver(Qos::AtMostOnce, 0, false, "news");
    b.live(59);
    assert_eq!(b.closed, 0);
    b.live(1);
    assert_eq!(*b.last_closed(), LossCause::HealthWatch(secs(60)), "a PINGRESP is no news");
}

#[test]
fn the_health_watch_on_named_filters_is_not_calmed_by_other_messages() {
    let mut config = config();
    config.link.health_watch = Some(secs(60));
    config.link.health_watch_filters = vec![TopicFilter::try_from("plant/+/temp").unwrap()];
    let mut b = Bench::new(config);
    b.connect(false);
    b.live(50);
    b.deliver(Qos::AtMostOnce, 0, false, "other");
    b.live(9);
    assert_eq!(b.closed, 0);
    b.live(1);
    assert_eq!(*b.last_closed(), LossCause::HealthWatch(secs(60)));
}

#[test]
fn the_health_watch_is_not_calmed_by_what_we_sent_ourselves() {
    let mut config = config();
    config.link.health_watch = Some(secs(60));
    config.link.health_watch_ignored = vec![TopicFilter::try_from("t").unwrap()];
    let mut b = Bench::new(config);
    b.connect(false);
    b.live(50);
    b.deliver(Qos::AtMostOnce, 0, false, "our own");
    b.live(9);
    assert_eq!(b.closed, 0);
    b.live(1);
    assert_eq!(*b.last_closed(), LossCause::HealthWatch(secs(60)));
}

#[test]
fn a_health_watch_that_only_tells_tells_again_each_time_and_keeps_the_link() {
    let mut config = config();
    config.link.health_watch = Some(secs(60));
    config.link.health_watch_only_tells = true;
    let mut b = Bench::new(config);
    b.connect(false);
    b.live(121);
    let told =
        b.events.iter().filter(|e| matches!(e, Event::Silent { silent_for } if *silent_for == secs(60)));
    assert_eq!((told.count(), b.closed), (2, 0));
}

#[test]
fn opening_has_its_limits_and_they_grow() {
    let mut b = Bench::new(config());
    b.input(Input::Tick);
    b.pass(secs(10));
    assert!(matches!(
        b.events.last(),
        Some(Event::AttemptFailed { cause: LossCause::ConnectTimeout(d), .. }) if *d == secs(10)
    ));
    b.opening = false;
    b.open();
    b.pass(secs(30));
    assert!(b.events.iter().any(|e| matches!(
        e,
        Event::AttemptFailed { cause: LossCause::ConnackTimeout(d), .. } if *d == secs(30) // [u5-3.2]
    )));
    b.open();
    b.events.clear();
    b.pass(secs(59));
    assert!(b.events.is_empty(), "the next limit is longer");
    b.pass(secs(1));
    assert!(!b.events.is_empty());
}

#[test]
fn a_jump_of_the_wall_clock_fires_nothing() {
    let mut b = Bench::new(config());
    b.connect(false);
    b.publish_with(Qos::AtLeastOnce, |p| p.expires_after = Some(secs(3600)));
    let now = Now::new(Timestamp::from_micros(b.at), 50 * 365 * 86_400_000);
    b.engine.handle(Input::Tick, now);
    b.drain();
    assert_eq!((b.closed, b.outcomes.len()), (0, 0));
}

#[test]
fn one_clock_runs_from_the_first_handshake_to_connack() {
    let mut b = Bench::new(config());
    b.input(Input::Tick);
    b.pass(secs(9));
    assert!(matches!(b.engine.status().link, LinkState::Connecting { stage: Stage::Tcp, .. }));
    b.input(Input::Reached(Stage::Tls));
    assert!(matches!(b.engine.status().link, LinkState::Connecting { stage: Stage::Tls, .. }));
    b.pass(secs(20));
    assert_eq!(b.closed, 0, "the clock of TCP is over, that of the handshakes is not");
    b.input(Input::Reached(Stage::WebSocket));
    b.input(Input::Opened);
    b.pass(secs(9));
    assert_eq!(b.closed, 0);
    b.pass(secs(1));
    assert_eq!(b.engine.status().last_loss, Some(LossCause::ConnackTimeout(secs(30))));
}

#[test]
fn a_handshake_without_an_end_is_named_by_its_stage() {
    let mut b = Bench::new(config());
    b.input(Input::Tick);
    b.input(Input::Reached(Stage::Tls));
    b.pass(secs(30));
    let Some(LossCause::Open { stage, error }) = b.engine.status().last_loss else { panic!("no cause") };
    assert_eq!((stage, error.kind), (Stage::Tls, TransportErrorKind::TimedOut));
}

#[test]
fn a_certificate_refused_after_connect_is_no_broken_link() {
    let mut b = Bench::new(config());
    b.open();
    let error = TransportError::new(TransportErrorKind::CertificateRefused, "scripted");
    b.input(Input::Lost(error.clone()));
    assert_eq!(b.engine.status().last_loss, Some(LossCause::Open { stage: Stage::Tls, error }));
}

/// Says that our pings come late, on so many links.
fn blame_our_pings(b: &mut Bench, links: usize) {
    for link in 0..links {
        b.connect(link > 0);
        b.pass(Duration::from_millis(10));
        b.receive(&Packet::Disconnect(Disconnect::new(ReasonCode::KEEP_ALIVE_TIMEOUT)));
        b.pass(Duration::from_secs(120));
        b.until_open();
    }
}

#[test]
fn pings_come_more_often_within_reason_where_the_server_says_that_they_are_late() {
    let mut b = Bench::new(kept());
    b.input(Input::Tick);
    b.until_open();
    blame_our_pings(&mut b, 80);
    b.connect(true);
    b.words();
    for _ in 0..60 {
        b.pass(Duration::from_secs(1));
        b.receive(&Packet::PingResp);
    }
    let pings = b.words().len();
    assert!((2..=60).contains(&pings), "{pings} in a minute");
}

/// The seconds at which PINGREQ comes on the next link, of so many.
fn seconds_of_pings(b: &mut Bench, of: u64) -> Vec<u64> {
    b.connect(true);
    b.words();
    let mut at = Vec::new();
    for second in 1..=of {
        b.pass(Duration::from_secs(1));
        if !b.words().is_empty() {
            at.push(second);
            b.receive(&Packet::PingResp);
        }
    }
    at
}

#[test]
fn pings_come_more_often_than_the_server_found_too_rare_whatever_set_their_pace() {
    // Three quarters of the keep-alive are 7.5 s; three quarters of those, 5.625 s.
    let mut config = kept();
    config.link.keep_alive = secs(10);
    let mut b = Bench::new(config);
    b.input(Input::Tick);
    b.until_open();
    blame_our_pings(&mut b, 1);
    assert_eq!(seconds_of_pings(&mut b, 12), [6, 12]);
    // Our own pings are off, and the keep-alive asks for one after 45 s; now after 33.75 s.
    let mut config = kept();
    config.link.ping_after = Duration::MAX;
    config.link.ping_timeout = Duration::MAX;
    let mut b = Bench::new(config);
    b.input(Input::Tick);
    b.until_open();
    blame_our_pings(&mut b, 1);
    assert_eq!(seconds_of_pings(&mut b, 60), [34]);
}

#[test]
fn pings_come_as_rarely_as_before_when_links_hold_again() {
    let mut b = Bench::new(kept());
    b.input(Input::Tick);
    b.until_open();
    blame_our_pings(&mut b, 2);
    let first_ping = |b: &mut Bench| {
        let first = seconds_of_pings(b, 150)[0];
        b.lose();
        first
    };
    // 8.4 s, 11.25 s and the setting, on links that live twice as long as the longest wait before them.
    assert_eq!([(); 4].map(|()| first_ping(&mut b)), [9, 12, 15, 15]);
}

#[test]
fn pings_that_are_off_stay_off() {
    let mut config = kept();
    config.link.ping_after = Duration::MAX;
    config.link.ping_timeout = Duration::MAX;
    config.link.keep_alive = Duration::ZERO;
    let mut b = Bench::new(config);
    b.input(Input::Tick);
    b.until_open();
    blame_our_pings(&mut b, 2);
    b.connect(true);
    b.words();
    b.pass(Duration::from_secs(600));
    let words = b.words();
    assert!(words.is_empty(), "{words:?}");
}

/// The broker stops at its window; that is no sign that it is dead.
#[test]
fn the_health_watch_waits_while_the_application_has_messages_it_did_not_take() {
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        for tells in [false, true] {
            let mut config = config();
            config.link.health_watch = Some(secs(60));
            config.link.health_watch_only_tells = tells;
            let mut b = Bench::new(config);
            b.connect(false);
            b.pass(Duration::from_millis(10));
            for n in 1..=64 {
                b.deliver(qos, n, false, "m");
            }
            let messages = b.messages();
            b.live(300);
            assert_eq!(b.closed, 0, "it is up to us");
            assert!(!b.events.iter().any(|event| matches!(event, Event::Silent { .. })));
            for message in messages {
                b.ack(message.id.unwrap());
            }
            b.live(59);
            assert_eq!(b.closed, 0, "counted from when the broker may send again");
            b.live(2);
            let told = b.events.iter().any(|event| matches!(event, Event::Silent { .. }));
            assert_eq!((b.closed == 1, told), (!tells, tells));
        }
    }
}

/// One message that an application keeps for itself does not switch the watch off.
#[test]
fn the_health_watch_goes_on_while_the_server_may_still_send() {
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        for (unanswered, leaves) in [(1, false), (1, true), (9, false), (63, true)] {
            let mut config = config();
            config.link.health_watch = Some(secs(60));
            let mut b = Bench::new(config);
            b.connect(false);
            for n in 1..=unanswered {
                b.deliver(qos, n, false, "m");
            }
            for message in b.messages().into_iter().filter(|_| leaves) {
                b.engine.leave(message.id.unwrap(), false, b.now());
            }
            b.live(61);
            assert_eq!(b.closed, 1, "{unanswered} at {qos:?}, left: {leaves}");
            assert_eq!(*b.last_closed(), LossCause::HealthWatch(secs(60)));
        }
    }
}

/// 64 unless the settings say otherwise; and 10 where the server may have a smaller window of its own.
#[test]
fn the_health_watch_waits_at_the_windows_end_and_at_that_of_a_small_one() {
    for (window, unanswered, leaves) in [(64, 10, false), (3, 3, false), (64, 64, true)] {
        let mut config = config();
        config.link.health_watch = Some(secs(60));
        config.link.receive_maximum = window;
        let mut b = Bench::new(config);
        b.connect(false);
        for n in 1..=unanswered {
            b.deliver(Qos::AtLeastOnce, n, false, "m");
        }
        let messages = b.messages();
        for message in messages.iter().filter(|_| leaves) {
            b.engine.leave(message.id.unwrap(), false, b.now());
        }
        // Answered behind one that is not, they are not acknowledged either.
        for message in messages.iter().skip(1).filter(|_| !leaves) {
            b.ack(message.id.unwrap());
        }
        b.live(300);
        assert_eq!(b.closed, 0, "{unanswered} of {window}, left: {leaves}");
    }
}

#[test]
fn the_health_watch_goes_on_while_answers_wait_for_the_store() {
    let mut config = config();
    config.session.mode = SessionMode::Kept(secs(3600));
    config.session.durable = true;
    config.link.health_watch = Some(secs(60));
    (config.link.receive_maximum, config.link.receive_overrun) = (2, 1);
    let mut b = Bench::new(config);
    b.connect(false);
    b.fast_disk = false;
    // The third waits for the application, which has two already.
    for n in 1..=3 {
        b.deliver(Qos::ExactlyOnce, n, false, "m");
    }
    b.live(61);
    assert_eq!((b.closed, b.last_closed()), (1, &LossCause::HealthWatch(secs(60))));
}

#[test]
fn one_clock_runs_from_the_look_up_of_the_name_to_the_first_handshake() {
    let mut b = Bench::new(config());
    b.input(Input::Tick);
    b.input(Input::Reached(Stage::Dns));
    b.pass(secs(6));
    b.input(Input::Reached(Stage::Tcp));
    b.pass(secs(3));
    b.input(Input::Reached(Stage::Proxy));
    assert_eq!(b.closed, 0);
    b.pass(secs(1));
    assert_eq!(b.engine.status().last_loss, Some(LossCause::ConnectTimeout(secs(10))));
}
