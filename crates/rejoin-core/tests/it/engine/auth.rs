//! Enhanced authentication: the order of the exchange, before CONNACK and on an open link.

use std::time::Duration;

use bytes::Bytes;
use rejoin_core::codec::packet::{Auth, ConnAck, ConnAckProperties, Packet};
use rejoin_core::*;

use super::bench::{Bench, config};

fn bench() -> Bench {
    let mut config = config();
    // No ping comes in between.
    (config.link.keep_alive, config.link.ping_after) = (Duration::ZERO, Duration::MAX);
    config.authentication = Some(Box::new(Authentication { method: Text::from_static("SCRAM"), data: None }));
    let mut bench = Bench::new(config);
    bench.engine.set_auth_data(Some(Bytes::from_static(b"first")));
    bench
}

/// A link that opened without a challenge.
fn opened() -> Bench {
    let mut bench = bench();
    bench.open();
    connack(&mut bench, Some("SCRAM"));
    bench
}

fn begin_anew(b: &mut Bench) {
    let now = b.now();
    assert!(b.engine.reauthenticate(None, now));
    b.drain();
}

fn auth(reason: ReasonCode, method: &'static str, data: &'static [u8]) -> Packet {
    let method = Some(Text::from_static(method));
    Packet::Auth(Auth { reason, method, data: Some(Bytes::from_static(data)), properties: None })
}

fn connack(b: &mut Bench, method: Option<&'static str>) {
    let properties = ConnAckProperties {
        authentication_method: method.map(Text::from_static),
        authentication_data: method.map(|_| Bytes::from_static(b"proof")),
        ..Default::default()
    };
    b.connack(false, properties);
}

fn sent(b: &mut Bench) -> Vec<(ReasonCode, Option<Bytes>)> {
    let packets = std::mem::take(&mut b.sent);
    let auths = packets.into_iter().filter_map(|packet| match packet {
        Packet::Auth(auth) => Some((auth.reason, auth.data)),
        _ => None,
    });
    auths.collect()
}

fn asked(b: &Bench) -> usize {
    b.events.iter().filter(|event| matches!(event, Event::AuthChallenge { .. })).count()
}

fn broke_the_protocol(b: &Bench) -> bool {
    matches!(b.engine.status().last_loss, Some(LossCause::Protocol(_)))
}

#[test]
fn a_challenge_is_answered_and_the_proof_is_told() {
    let mut b = bench();
    let connect = b.open();
    assert_eq!(connect.properties.authentication_method.as_deref(), Some("SCRAM"));
    assert_eq!(connect.properties.authentication_data.as_deref(), Some(&b"first"[..]));
    for step in 1..=2 {
        b.receive(&auth(ReasonCode::CONTINUE_AUTHENTICATION, "SCRAM", b"challenge"));
        assert_eq!(asked(&b), step);
        let now = b.now();
        b.engine.authenticate(Some(Bytes::from_static(b"answer")), now);
        b.drain();
        // [MQTT-4.12.0-3]
        assert_eq!(sent(&mut b), [(ReasonCode::CONTINUE_AUTHENTICATION, Some("answer".into()))]);
        b.engine.authenticate(Some(Bytes::from_static(b"unasked")), now);
        b.drain();
        assert!(sent(&mut b).is_empty());
    }
    connack(&mut b, Some("SCRAM"));
    assert_eq!(b.engine.status().link, LinkState::Open);
    let proof = AuthData(Some(Bytes::from_static(b"proof")));
    assert!(b.events.contains(&Event::AuthProof { data: proof, again: false }));
    assert!(!format!("{:?}", b.events).contains("proof\""), "never printed");
}

#[test]
fn an_open_link_authenticates_anew_once_at_a_time() {
    let mut b = opened();
    let now = b.now();
    assert!(b.engine.reauthenticate(Some(Bytes::from_static(b"again")), now));
    assert!(!b.engine.reauthenticate(None, now), "one exchange at a time");
    b.drain();
    assert_eq!(sent(&mut b), [(ReasonCode::REAUTHENTICATE, Some("again".into()))]); // [MQTT-4.12.1-1]
    b.receive(&auth(ReasonCode::CONTINUE_AUTHENTICATION, "SCRAM", b"challenge"));
    b.engine.authenticate(None, now);
    b.drain();
    b.receive(&auth(ReasonCode::SUCCESS, "SCRAM", b"fine"));
    assert_eq!(b.engine.status().link, LinkState::Open);
    assert!(b.engine.reauthenticate(None, now), "the next one may begin");
    // Content before its challenge was answered, the server may ask again the next time.
    b.receive(&auth(ReasonCode::CONTINUE_AUTHENTICATION, "SCRAM", b"challenge"));
    b.receive(&auth(ReasonCode::SUCCESS, "SCRAM", b"fine"));
    assert!(b.engine.reauthenticate(None, now));
    b.receive(&auth(ReasonCode::CONTINUE_AUTHENTICATION, "SCRAM", b"challenge"));
    assert_eq!(b.engine.status().link, LinkState::Open);
}

#[test]
fn what_is_out_of_turn_ends_the_link() {
    // Before CONNACK: success, another method [MQTT-4.12.0-5], a second challenge before the answer to the first.
    for packets in [
        vec![auth(ReasonCode::SUCCESS, "SCRAM", b"x")],
        vec![auth(ReasonCode::CONTINUE_AUTHENTICATION, "other", b"x")],
        vec![auth(ReasonCode::CONTINUE_AUTHENTICATION, "SCRAM", b"x"); 2],
    ] {
        let mut b = bench();
        b.open();
        for packet in &packets {
            b.receive(packet);
        }
        assert!(broke_the_protocol(&b), "{packets:?}");
    }
    // A CONNACK without the method [MQTT-4.12.0-5] [u5-4.12], or with one though none was named [MQTT-4.12.0-6].
    let mut b = bench();
    b.open();
    connack(&mut b, None);
    assert!(broke_the_protocol(&b));
    let mut b = Bench::new(config());
    b.open();
    connack(&mut b, Some("SCRAM"));
    assert!(broke_the_protocol(&b));
    // On an open link nobody asked for it.
    let mut b = opened();
    b.receive(&auth(ReasonCode::CONTINUE_AUTHENTICATION, "SCRAM", b"x"));
    assert!(broke_the_protocol(&b));
}

#[test]
fn whoever_cannot_answer_or_does_not_believe_ends_the_link() {
    let mut b = opened();
    let now = b.now();
    let error = TransportError::new(TransportErrorKind::Credentials, "the proof is wrong");
    b.engine.auth_failed(error.clone(), now);
    b.drain();
    assert_eq!(b.engine.status().last_loss, Some(LossCause::Open { stage: Stage::Credentials, error }));
    assert_eq!(b.closed, 1); // [MQTT-4.12.1-2]
    assert_eq!(b.words(), ["DISCONNECT 0x80"]);
}

#[test]
fn a_challenge_that_connack_overtook_is_over() {
    let mut b = bench();
    b.open();
    b.receive(&auth(ReasonCode::CONTINUE_AUTHENTICATION, "SCRAM", b"challenge"));
    connack(&mut b, Some("SCRAM"));
    let now = b.now();
    sent(&mut b);
    b.engine.authenticate(Some(Bytes::from_static(b"late")), now);
    b.drain();
    assert!(sent(&mut b).is_empty(), "nobody asks any more");
    begin_anew(&mut b);
    b.receive(&auth(ReasonCode::CONTINUE_AUTHENTICATION, "SCRAM", b"challenge"));
    assert_eq!(b.engine.status().link, LinkState::Open, "the first challenge of another exchange");
}

#[test]
fn a_server_that_leaves_an_exchange_where_it_is_costs_its_link_and_a_slow_application_does_not() {
    let limit = config().link.connack_timeout;
    let timed_out = |b: &Bench| matches!(b.engine.status().last_loss, Some(LossCause::Open { .. }));
    // Nothing comes behind AUTH 0x19, or behind the answer to its challenge.
    for challenged in [false, true] {
        let mut b = opened();
        begin_anew(&mut b);
        if challenged {
            b.receive(&auth(ReasonCode::CONTINUE_AUTHENTICATION, "SCRAM", b"challenge"));
            b.pass(limit * 2);
            assert_eq!(b.engine.status().link, LinkState::Open, "it is the application's turn");
            let now = b.now();
            b.engine.authenticate(None, now);
            b.drain();
        }
        b.pass(limit - Duration::from_millis(1));
        assert!(!timed_out(&b));
        b.pass(Duration::from_millis(1));
        assert!(timed_out(&b), "{:?}", b.engine.status());
        assert!(b.engine.status().last_loss.unwrap().to_string().contains("no answer to AUTH"));
    }
    // What is answered in time costs nothing.
    let mut b = opened();
    begin_anew(&mut b);
    b.receive(&auth(ReasonCode::SUCCESS, "SCRAM", b"fine"));
    b.pass(limit * 2);
    assert_eq!(b.engine.status().link, LinkState::Open);
}

#[test]
fn a_refusal_in_the_middle_of_the_exchange_ends_the_attempt() {
    let mut b = bench();
    b.open();
    b.receive(&auth(ReasonCode::CONTINUE_AUTHENTICATION, "SCRAM", b"challenge"));
    b.receive(&Packet::ConnAck(Box::new(ConnAck {
        session_present: false,
        reason: ReasonCode::NOT_AUTHORIZED,
        v311_form: false,
        properties: ConnAckProperties::default(),
    })));
    // [MQTT-4.12.0-4]
    assert!(matches!(
        b.engine.status().last_loss,
        Some(LossCause::Refused { reason: ReasonCode::NOT_AUTHORIZED, .. })
    ));
    let now = b.now();
    b.engine.authenticate(Some(Bytes::from_static(b"late")), now);
    b.drain();
    assert!(sent(&mut b).is_empty());
}

#[test]
fn an_answer_larger_than_the_server_takes_is_not_sent() {
    let mut b = bench();
    b.open();
    let properties = ConnAckProperties {
        authentication_method: Some(Text::from_static("SCRAM")),
        maximum_packet_size: Some(100),
        ..Default::default()
    };
    b.connack(false, properties);
    let now = b.now();
    assert!(b.engine.reauthenticate(Some(vec![0; 200].into()), now));
    b.drain();
    assert!(sent(&mut b).is_empty()); // [MQTT-3.2.2-15]
    assert!(matches!(b.engine.status().last_loss, Some(LossCause::Open { stage: Stage::Credentials, .. })));
}

#[test]
fn there_is_no_fall_back_to_a_version_without_it() {
    let mut b = bench();
    for _ in 0..4 {
        b.open();
        b.input(Input::Lost(TransportError::new(TransportErrorKind::Closed, "scripted")));
    }
    assert!(b.connects.iter().all(|connect| connect.version == Version::V5));
}
