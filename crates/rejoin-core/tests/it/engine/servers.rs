//! Other servers: named by the broker, and what becomes of the session on them.

use rejoin_core::codec::packet::{ConnAck, ConnAckProperties, Disconnect, Packet};
use rejoin_core::*;

use super::bench::{Bench, config, kept};

fn named(follow: Follow) -> Bench {
    let mut config = config();
    config.recovery.follow = follow;
    Bench::new(config)
}

fn listed(hosts: &[&'static str]) -> Follow {
    let mut follow = Follow::default();
    if !hosts.is_empty() {
        follow = Follow::Listed(hosts.iter().map(|host| Text::from_static(host)).collect());
    }
    follow
}

fn refuse(b: &mut Bench, reason: ReasonCode, reference: &'static str) {
    b.open();
    let properties =
        ConnAckProperties { server_reference: Some(Text::from_static(reference)), ..Default::default() };
    let packet = ConnAck { session_present: false, reason, v311_form: false, properties };
    b.receive(&Packet::ConnAck(Box::new(packet)));
}

fn added(b: &Bench) -> Vec<String> {
    let names = b.events.iter().filter_map(|event| match event {
        Event::ServerAdded { server, name, by } => Some(format!("{server} {name} by {by}")),
        _ => None,
    });
    names.collect()
}

fn last_verdict(b: &Bench) -> Verdict {
    let last = b.events.iter().rev().find_map(|event| match event {
        Event::AttemptFailed { verdict, .. } => Some(*verdict),
        _ => None,
    });
    last.expect("an attempt failed")
}

#[test]
fn no_reference_is_followed_unasked() {
    // [u5-3.2.2.2] [u5-4.11]
    let mut b = named(listed(&[]));
    refuse(&mut b, ReasonCode::USE_ANOTHER_SERVER, "evil.example:1883");
    assert!(added(&b).is_empty());
    assert_eq!(last_verdict(&b), Verdict::Overloaded);
    let mut b = named(listed(&["good.example", ".far.example"]));
    for evil in ["evil.example", "good.example.evil", "notfar.example", "xgood.example:1883"] {
        refuse(&mut b, ReasonCode::USE_ANOTHER_SERVER, evil);
        assert!(added(&b).is_empty(), "{evil}");
        assert_eq!(last_verdict(&b), Verdict::Overloaded, "{evil}");
    }
}

#[test]
fn a_listed_reference_is_followed_and_remembered_once() {
    let mut b = named(listed(&["good.example", ".far.example"]));
    refuse(&mut b, ReasonCode::USE_ANOTHER_SERVER, "evil.example GOOD.example:1884");
    assert_eq!(added(&b), ["1 GOOD.example:1884 by 0"]);
    assert_eq!((last_verdict(&b), b.engine.status().server), (Verdict::Redirected, 0));
    refuse(&mut b, ReasonCode::SERVER_MOVED, "a.b.far.example");
    assert_eq!(added(&b).last().unwrap(), "2 a.b.far.example by 1");
    refuse(&mut b, ReasonCode::USE_ANOTHER_SERVER, "good.example:1884");
    assert_eq!(added(&b).len(), 2, "known by now");
    assert_eq!(last_verdict(&b), Verdict::Redirected);
}

#[test]
fn no_more_servers_are_remembered_than_there_is_room_for() {
    let mut b = named(listed(&[".far.example"]));
    for n in 0..40 {
        b.open();
        let name = Text::try_from(format!("n{n}.far.example")).unwrap();
        let properties = ConnAckProperties { server_reference: Some(name), ..Default::default() };
        let reason = ReasonCode::USE_ANOTHER_SERVER;
        let packet = ConnAck { session_present: false, reason, v311_form: false, properties };
        b.receive(&Packet::ConnAck(Box::new(packet)));
    }
    assert!(added(&b).len() <= Follow::SERVERS, "{:?}", added(&b));
}

#[test]
fn a_session_that_cannot_follow_is_told() {
    for clustered in [false, true] {
        let mut config = kept();
        config.servers.push(Text::from_static("second"));
        config.session.clustered = clustered;
        let mut b = Bench::new(config);
        b.connect(false);
        refuse_while_open(&mut b);
        b.connect(clustered);
        let told = b.events.iter().any(|event| matches!(event, Event::SessionLeftBehind { server: 1, .. }));
        assert_eq!(told, !clustered);
    }
}

/// The server in use goes down politely, so the other one is next.
fn refuse_while_open(b: &mut Bench) {
    let goodbye = Disconnect::new(ReasonCode::SERVER_SHUTTING_DOWN);
    b.pass(std::time::Duration::from_secs(40));
    b.receive(&Packet::PingResp);
    b.receive(&Packet::Disconnect(goodbye));
}

fn durable_on_two() -> Config {
    let mut config = kept();
    config.session.durable = true;
    config.recovery.budget = None;
    config.servers.push(Text::from_static("second"));
    config
}

fn first_is_closed(b: &mut Bench) {
    b.until_open();
    assert_eq!(b.engine.status().server, 0);
    b.opening = false;
    let error = TransportError::new(TransportErrorKind::Refused, "refused");
    b.input(Input::OpenFailed { stage: Stage::Tcp, error });
}

#[test]
fn a_new_process_begins_where_its_session_is() {
    let mut b = Bench::new(durable_on_two());
    first_is_closed(&mut b);
    b.connect(false);
    assert_eq!(b.engine.status().server, 1);
    for policy in [ServerPolicy::Sticky, ServerPolicy::Shuffled, ServerPolicy::Ordered] {
        let mut config = durable_on_two();
        config.recovery.servers = policy;
        let mut next = Bench::restored(config, b.records.clone());
        let clean_start = next.open().clean_start;
        let expected = if policy == ServerPolicy::Ordered { (0, true) } else { (1, false) };
        assert_eq!((next.engine.status().server, clean_start), expected, "{policy:?}");
    }
    // A list that no longer has it begins at its top.
    let mut config = durable_on_two();
    config.servers.pop();
    let mut next = Bench::restored(config, b.records);
    assert!(next.open().clean_start);
}

#[test]
fn a_session_that_was_adopted_belongs_to_its_server_in_the_next_process_too() {
    let adopts = || {
        let mut config = durable_on_two();
        config.session.adopt = true;
        config
    };
    let mut b = Bench::new(adopts());
    b.connect(true);
    b.publish(Qos::ExactlyOnce);
    b.pubrec(1, ReasonCode::SUCCESS);
    let mut next = Bench::restored(adopts(), b.records);
    first_is_closed(&mut next);
    assert!(next.open().clean_start, "the other server never had that message");
    assert_eq!(next.engine.status().server, 1);
}

#[test]
fn a_session_that_was_adopted_belongs_to_its_server() {
    let mut config = durable_on_two();
    config.session.adopt = true;
    let mut b = Bench::new(config);
    b.connect(true);
    b.lose();
    first_is_closed(&mut b);
    assert!(b.open().clean_start);
    assert_eq!(b.engine.status().server, 1);
}
