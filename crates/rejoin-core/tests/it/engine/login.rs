//! What proves who we are goes with every CONNECT or no CONNECT goes; and nobody is blamed for what the application gives.

use std::time::Duration;

use bytes::Bytes;
use rejoin_core::codec::packet::{ConnAck, ConnAckProperties, Packet, PublishProperties, Will};
use rejoin_core::*;

use super::bench::{Bench, config};

fn token() -> Login {
    Login { user_name: None, password: Some(Bytes::from_static(b"token")) }
}

fn named() -> Login {
    Login { user_name: Some(Text::from_static("me")), ..token() }
}

fn nameless() -> Config {
    let mut config = config();
    config.login = token();
    config
}

/// The server ends the connection without a word.
fn close(b: &mut Bench) {
    b.input(Input::Lost(TransportError::new(TransportErrorKind::Closed, "scripted")));
}

fn speaks_only_3_1_1(b: &mut Bench) {
    b.receive(&Packet::ConnAck(Box::new(ConnAck {
        session_present: false,
        reason: ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
        v311_form: true,
        properties: ConnAckProperties::default(),
    })));
}

fn last_failure(b: &Bench) -> (&LossCause, Verdict) {
    let last = b.events.iter().rev().find_map(|event| match event {
        Event::AttemptFailed { cause, verdict, .. } => Some((cause, *verdict)),
        _ => None,
    });
    last.expect("an attempt failed")
}

#[test]
fn a_token_without_a_user_name_is_sent_each_time_however_often_5_0_is_closed() {
    let mut b = Bench::new(nameless());
    for attempt in 1..=10 {
        let connect = b.open();
        assert_eq!(
            (connect.version, connect.password.as_deref()),
            (Version::V5, Some(&b"token"[..])),
            "attempt {attempt}"
        );
        close(&mut b);
        assert_eq!(last_failure(&b), (&LossCause::ClosedBeforeConnack, Verdict::Overloaded));
    }
    // With a name the third is one of 3.1.1.
    let mut config = config();
    config.login = named();
    let mut b = Bench::new(config);
    for version in [Version::V5, Version::V5, Version::V311] {
        let connect = b.open();
        assert_eq!((connect.version, connect.password.is_some()), (version, true));
        close(&mut b);
    }
}

#[test]
fn a_broker_of_3_1_1_gets_no_anonymous_connect_in_place_of_the_token() {
    let mut b = Bench::new(nameless());
    for _ in 0..3 {
        let connect = b.open();
        assert_eq!((connect.version, connect.password.is_some()), (Version::V5, true));
        speaks_only_3_1_1(&mut b);
        let (cause, verdict) = last_failure(&b);
        assert_eq!(cause.reason_code(), Some(ReasonCode::UNSUPPORTED_PROTOCOL_VERSION));
        assert_eq!(verdict, Verdict::SlowLane, "a person must give a user name");
    }
    assert!(!b.events.iter().any(|event| matches!(event, Event::FellBack { .. })));
}

#[test]
fn a_token_asked_for_is_said_at_5_0_to_a_server_known_for_3_1_1() {
    let mut b = Bench::new(config());
    b.engine.set_login(named());
    b.open();
    speaks_only_3_1_1(&mut b);
    assert_eq!(b.open().version, Version::V311);
    close(&mut b);
    // The provider has something else now.
    b.input(Input::Tick);
    b.until_open();
    b.engine.set_login(token());
    let connect = b.open();
    assert_eq!((connect.version, connect.password.is_some()), (Version::V5, true)); // [MQTT311-3.1.2-22]
    b.connack(false, ConnAckProperties::default());
    assert_eq!((b.engine.status().link, b.engine.status().version), (LinkState::Open, Some(Version::V5)));
    // It speaks 5.0, then: whatever comes next is said at 5.0, too.
    b.lose();
    b.engine.set_login(named());
    assert_eq!(b.open().version, Version::V5);
}

#[test]
fn a_token_asked_for_where_only_3_1_1_may_be_spoken_opens_nothing_and_blames_no_server() {
    let mut config = config();
    config.version = VersionPolicy::Only311;
    let mut b = Bench::new(config);
    b.input(Input::Tick);
    b.until_open();
    b.engine.set_login(token());
    b.opening = false;
    b.input(Input::Opened);
    assert!(b.connects.is_empty(), "{:?}", b.connects);
    let (cause, verdict) = last_failure(&b);
    assert_eq!((cause.name(), verdict), ("no-credentials", Verdict::Absent));
    assert!(cause.to_string().contains("give a user name"), "{cause}");
    b.engine.set_login(named());
    assert_eq!(b.open().version, Version::V311, "and the next goes on");
}

#[test]
fn what_cannot_be_written_in_connect_or_auth_is_told_and_not_left_out() {
    let long = || Some(Bytes::from(vec![b'x'; 70_000]));
    let mut b = Bench::new(config());
    b.input(Input::Tick);
    b.until_open();
    b.engine.set_login(Login { user_name: None, password: long() });
    b.opening = false;
    b.input(Input::Opened);
    assert!(b.connects.is_empty());
    let (cause, _) = last_failure(&b);
    assert!(cause.to_string().contains("password is longer than 65,535 bytes"), "{cause}");
    // Nothing of the session is in doubt: the next CONNECT is the first.
    b.engine.set_login(Login::default());
    assert!(b.open().clean_start);

    let mut config = config();
    config.authentication = Some(Box::new(Authentication { method: Text::from_static("M"), data: None }));
    let mut b = Bench::new(config);
    b.open();
    b.connack(
        false,
        ConnAckProperties { authentication_method: Some(Text::from_static("M")), ..Default::default() },
    );
    assert!(b.engine.may_reauthenticate());
    let now = b.now();
    b.engine.reauthenticate(long(), now);
    b.drain();
    assert_eq!((b.words(), b.closed), (vec!["DISCONNECT 0x80".to_owned()], 1));
    assert!(b.last_closed().to_string().contains("data is longer than 65,535 bytes"), "{}", b.last_closed());
}

#[test]
fn correlation_data_that_cannot_be_written_is_refused_at_once() {
    let mut b = Bench::new(config());
    b.connect(false);
    for (n, qos) in (1..).zip([Qos::AtMostOnce, Qos::AtLeastOnce]) {
        for (length, fits) in [(65_535, true), (65_536, false)] {
            let mut publication = Publication::new(TopicName::new("t").unwrap(), "");
            publication.qos = qos;
            let correlation_data = Some(Bytes::from(vec![b'x'; length]));
            publication.properties =
                Some(Box::new(PublishProperties { correlation_data, ..PublishProperties::default() }));
            let id = PublishId(n * 100_000 + length as u64);
            let taken = b.engine.publish(id, publication, b.now());
            assert_eq!(taken.is_ok(), fits, "{taken:?}");
            b.drain();
        }
    }
    assert_eq!((b.words().len(), b.outcomes.len()), (2, 1));
}

#[test]
fn the_properties_of_a_message_count_for_the_largest_packet_there_is() {
    let mut b = Bench::new(config());
    let long = Text::try_from("x".repeat(65_535)).unwrap();
    // Texts share their bytes, so that this costs no memory.
    let user_properties = vec![(long.clone(), long); 2_050];
    let mut publication = Publication::new(TopicName::new("t").unwrap(), "");
    publication.properties =
        Some(Box::new(PublishProperties { user_properties, ..PublishProperties::default() }));
    let taken = b.engine.publish(PublishId(1), publication, b.now());
    assert!(matches!(taken, Err(Rejected::TooLarge { .. })), "{taken:?}");
}

#[test]
fn settings_that_cannot_mean_what_they_say_are_refused_by_name() {
    let refused = |change: &dyn Fn(&mut Config)| {
        let mut config = config();
        change(&mut config);
        config.check().err().map(|error| error.field)
    };
    let will = |delay| Will {
        topic: Text::from_static("w"),
        payload: Bytes::new(),
        qos: Qos::AtMostOnce,
        retain: false,
        delay: Some(delay),
        properties: PublishProperties::default(),
    };
    assert_eq!(refused(&|c| c.link.receive_maximum = 0), Some("link.receive_maximum"));
    assert_eq!(refused(&|c| c.link.receive_maximum = 1), None);
    for (millis, wrong) in [(0, false), (500, true), (1_000, false), (65_535_000, false), (65_536_000, true)]
    {
        let field = refused(&|c| c.link.keep_alive = Duration::from_millis(millis));
        assert_eq!(field, wrong.then_some("link.keep_alive"), "{millis} ms");
    }
    // A session of this process is kept for five minutes: a will delayed for longer tells of its end (5.0, 3.1.2.5).
    for delay in [300, 301, u32::MAX] {
        assert_eq!(refused(&|c| c.will = Some(Box::new(will(delay)))), None, "{delay} s");
    }
    let long = || Some(Bytes::from(vec![b'x'; 65_536]));
    assert_eq!(refused(&|c| c.login.password = long()), Some("password"));
    let method = Text::from_static("M");
    let authentication = |data| Some(Box::new(Authentication { method: method.clone(), data }));
    assert_eq!(refused(&|c| c.authentication = authentication(long())), Some("authentication data"));
    assert_eq!(
        refused(&|c| c.will = Some(Box::new(Will { topic: Text::default(), ..will(0) }))),
        Some("will topic")
    );
}

#[test]
fn no_clock_of_a_server_runs_while_the_application_is_asked_for_credentials() {
    let mut b = Bench::new(config());
    b.input(Input::Tick);
    b.until_open();
    b.input(Input::Reached(Stage::Credentials));
    b.pass(Duration::from_secs(25));
    assert_eq!(b.closed, 0, "{:?}", b.engine.status().last_loss);
    b.input(Input::Reached(Stage::Tcp));
    b.pass(Duration::from_millis(9_999));
    assert_eq!(b.closed, 0, "the whole of the connect clock is the server's");
    b.pass(Duration::from_millis(1));
    assert_eq!(*last_failure(&b).0, LossCause::ConnectTimeout(Duration::from_secs(10)));
}
