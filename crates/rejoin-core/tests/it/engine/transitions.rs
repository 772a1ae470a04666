//! What the state of the link may become after what: every state with every event, as one table.

use std::time::Duration;

use rejoin_core::codec::packet::{ConnAck, ConnAckProperties, Disconnect, Packet, PacketId, SubAck};
use rejoin_core::*;

use super::bench::*;

/// Each line is a state, each column what happens in it; the entry is the state right after. `.` means no change.
const TABLE: &str = "
state        due        opened     failed     connack    busy       bad-login  pong       reset      taken-over late       too-late   nudge      restart    unwell     close
waiting      connecting .          .          .          .          .          .          .          .          .          .          connecting .          .          stopped
slow-lane    connecting .          .          .          .          .          .          .          .          .          .          connecting .          .          stopped
connecting   waiting    handshake  waiting    waiting    waiting    waiting    waiting    waiting    waiting    .          .          .          .          .          stopped
handshake    waiting    .          waiting    open       waiting    slow-lane  waiting    waiting    waiting    .          .          .          .          .          stopped
open         .          .          waiting    waiting    waiting    waiting    .          waiting    waiting    suspect    waiting    .          waiting    waiting    stopped
suspect      waiting    .          waiting    waiting    waiting    waiting    open       waiting    waiting    connecting waiting    .          connecting waiting    stopped
stopped      .          .          .          .          .          .          .          .          .          .          .          .          .          .          .
";

fn bench_in(state: &str) -> Bench {
    let mut b = Bench::new(config());
    match state {
        "waiting" => {
            b.connect(false);
            b.lose();
            // After a link that was too short to be stable there is a wait.
            b.drain();
        }
        "slow-lane" => {
            b.open();
            b.receive(&refused(ReasonCode::BAD_USER_NAME_OR_PASSWORD));
        }
        "connecting" => {
            b.input(Input::Tick);
            b.until_open();
        }
        "handshake" => {
            b.open();
        }
        "open" => b.connect(false),
        "suspect" => {
            b.connect(false);
            b.pass(Duration::from_secs(18));
        }
        _ => {
            b.engine.close(Duration::ZERO, b.now());
            b.drain();
        }
    }
    assert_eq!(shown(&b), state, "the bench is where the row begins");
    b
}

fn refused(reason: ReasonCode) -> Packet {
    let properties = ConnAckProperties::default();
    Packet::ConnAck(Box::new(ConnAck { session_present: false, reason, v311_form: false, properties }))
}

fn shown(b: &Bench) -> &'static str {
    match b.engine.status().link {
        LinkState::Waiting { slow_lane: true, .. } => "slow-lane",
        LinkState::Waiting { .. } => "waiting",
        LinkState::Connecting { stage: Stage::Connack, .. } => "handshake",
        LinkState::Connecting { .. } => "connecting",
        LinkState::Open => "open",
        LinkState::Suspect => "suspect",
        LinkState::Stopped(_) => "stopped",
    }
}

fn happens(b: &mut Bench, event: &str) {
    let error = || TransportError::new(TransportErrorKind::Refused, "refused");
    match event {
        // Whatever the engine waits for next.
        "due" => {
            let due = b.engine.deadline().map_or(b.at, |(at, _)| at.as_micros());
            b.pass(Duration::from_micros(due.saturating_sub(b.at)));
        }
        "opened" => b.input(Input::Opened),
        "failed" => b.input(Input::OpenFailed { stage: Stage::Tcp, error: error() }),
        "connack" => b.connack(false, ConnAckProperties::default()),
        "busy" => b.receive(&refused(ReasonCode::SERVER_BUSY)),
        "bad-login" => b.receive(&refused(ReasonCode::BAD_USER_NAME_OR_PASSWORD)),
        "pong" => b.receive(&Packet::PingResp),
        "reset" => b.lose(),
        "taken-over" => b.receive(&Packet::Disconnect(Disconnect::new(ReasonCode::SESSION_TAKEN_OVER))),
        // A ping after 15 s of silence is late after 2 s more, and too late after 5.
        "late" => b.pass(Duration::from_secs(18)),
        "too-late" => b.pass(Duration::from_millis(20_200)),
        // When the budget of one attempt per second allows it.
        "nudge" => {
            b.pass(Duration::from_secs(1));
            b.engine.nudge(b.now());
            b.input(Input::Tick);
        }
        "restart" => {
            b.engine.restart_link(b.now());
            b.drain();
        }
        "unwell" => {
            b.engine.unwell(Duration::from_secs(1), b.now());
            b.drain();
        }
        "close" => {
            b.engine.close(Duration::ZERO, b.now());
            b.drain();
        }
        other => panic!("{other}"),
    }
}

#[test]
fn every_state_becomes_what_the_table_says_after_every_event() {
    let mut lines = TABLE.trim().lines();
    let events: Vec<&str> = lines.next().unwrap().split_whitespace().skip(1).collect();
    let mut found = String::from("\nstate       ");
    events.iter().for_each(|event| found.push_str(&format!(" {event:<10}")));
    let mut found = found.trim_end().to_owned() + "\n";
    for line in lines {
        let state = line.split_whitespace().next().unwrap();
        let mut row = format!("{state:<12}");
        for event in &events {
            let mut b = bench_in(state);
            happens(&mut b, event);
            let after = shown(&b);
            row.push_str(&format!(" {:<10}", if after == state { "." } else { after }));
        }
        found.push_str(row.trim_end());
        found.push('\n');
    }
    assert!(found == TABLE, "the states moved; the table should be\n{found}");
}

#[test]
fn the_state_is_the_one_that_an_event_tells_of() {
    let mut b = Bench::new(kept());
    b.open();
    let packet = Packet::ConnAck(Box::new(ConnAck {
        session_present: false,
        reason: ReasonCode::SUCCESS,
        v311_form: false,
        properties: ConnAckProperties::default(),
    }));
    let mut bytes = bytes::BytesMut::new();
    codec::encode(&packet, Version::V5, &mut bytes).unwrap();
    let now = b.now();
    b.engine.handle(Input::Received(bytes.freeze()), now);
    let mut opened = 0;
    while let Some(output) = b.engine.poll() {
        if matches!(output, Output::Event(Event::Opened { .. })) {
            opened += 1;
            assert!(matches!(b.engine.status().link, LinkState::Open), "{:?}", b.engine.status().link);
        }
    }
    assert_eq!(opened, 1);
    // A wish that is granted makes the client ready.
    b.subscribe(1, "a");
    assert!(!b.engine.status().ready);
    let packet_id = PacketId::MIN;
    let packet = Packet::SubAck(SubAck { packet_id, properties: None, reasons: vec![ReasonCode(0)] });
    let mut bytes = bytes::BytesMut::new();
    codec::encode(&packet, Version::V5, &mut bytes).unwrap();
    b.engine.handle(Input::Received(bytes.freeze()), now);
    let mut granted = 0;
    while let Some(output) = b.engine.poll() {
        if matches!(output, Output::Event(Event::Subscribed { .. })) {
            granted += 1;
            assert!(b.engine.status().ready);
        }
    }
    assert_eq!(granted, 1);
}
