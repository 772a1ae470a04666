//! Flights of a client that does what it must, over servers that do not: nothing is held against it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use rejoin_core::codec::encode;
use rejoin_core::codec::packet::{Ack, ConnAck, ConnAckProperties, Disconnect, Packet, PacketId};
use rejoin_core::flight::Flight;
use rejoin_core::{
    Config, Input, Now, Output, Publication, PublishId, Qos, ReasonCode, Recovered, SessionMode, Stage, Text,
    Timestamp, TopicName, Version,
};
use rejoin_lab::flight::{Judgement, judge};

/// An engine that is recorded, with a clock and a broker played by hand.
struct Recording {
    flight: Flight,
    tape: Arc<Mutex<String>>,
    at_ms: u64,
    published: u64,
}

impl Recording {
    fn begin() -> Self {
        let mut config = Config::new(Text::from_static("c"), Text::from_static("a"));
        config.session.mode = SessionMode::Kept(Duration::from_secs(3600));
        let tape = Arc::new(Mutex::new(String::new()));
        let sink = Arc::clone(&tape);
        let write = move |line: &str| {
            let mut tape = sink.lock().unwrap();
            tape.push_str(line);
            tape.push('\n');
            true
        };
        let start = Now::new(Timestamp::ZERO, 1_000_000);
        let flight = Flight::recorded(config, Recovered::default(), 7, start, Box::new(write)).unwrap();
        let mut recording = Self { flight, tape, at_ms: 0, published: 0 };
        recording.drain();
        recording
    }

    fn now(&self) -> Now {
        Now::new(Timestamp::from_micros(self.at_ms * 1000), 1_000_000 + self.at_ms)
    }

    fn drain(&mut self) -> bool {
        let mut opens = false;
        while let Some(output) = self.flight.poll() {
            opens |= matches!(output, Output::Open { .. });
        }
        opens
    }

    fn input(&mut self, input: Input) -> bool {
        self.flight.handle(input, self.now());
        self.drain()
    }

    /// Lets time pass until the engine opens a transport.
    fn until_it_opens(&mut self) {
        while !self.input(Input::Tick) {
            self.at_ms += 1;
            assert!(self.at_ms < 1_000_000, "it never tries again");
        }
    }

    fn receives(&mut self, packets: &[Packet]) {
        let mut bytes = BytesMut::new();
        for packet in packets {
            encode(packet, Version::V5, &mut bytes).unwrap();
        }
        self.input(Input::Received(bytes.freeze()));
    }

    fn connack(&mut self, session_present: bool, receive_maximum: Option<u16>) {
        let properties = ConnAckProperties {
            receive_maximum: receive_maximum.and_then(std::num::NonZeroU16::new),
            ..ConnAckProperties::default()
        };
        let (reason, v311_form) = (ReasonCode::SUCCESS, false);
        let connack = ConnAck { session_present, reason, v311_form, properties };
        self.receives(&[Packet::ConnAck(Box::new(connack))]);
    }

    fn opened(&mut self, session_present: bool, receive_maximum: Option<u16>) {
        self.input(Input::Opened);
        self.connack(session_present, receive_maximum);
    }

    /// The link ends and the next one, of the same session, is up.
    fn next_link(&mut self, receive_maximum: Option<u16>) {
        self.flight.restart_link(self.now());
        if !self.drain() {
            self.until_it_opens();
        }
        self.opened(true, receive_maximum);
    }

    fn publishes(&mut self, qos: Qos) {
        self.published += 1;
        let mut publication = Publication::new(TopicName::new("t").unwrap(), "x");
        publication.qos = qos;
        self.flight.publish(PublishId(self.published), publication, self.now()).unwrap();
        self.drain();
    }

    fn judged(&self) -> Judgement {
        judge(&self.tape.lock().unwrap()).unwrap()
    }

    fn tells(&self, what: &str) -> bool {
        self.tape.lock().unwrap().contains(what)
    }
}

fn ack(id: u16, reason: ReasonCode) -> Ack {
    Ack::new(PacketId::new(id).unwrap(), reason)
}

#[test]
fn the_budget_counts_from_the_first_handshake_and_not_from_connect() {
    let mut recording = Recording::begin();
    // The first TLS handshake takes 800 ms, the second 40.
    for (handshake_ms, present) in [(800, false), (40, true)] {
        recording.at_ms += 1;
        recording.input(Input::Reached(Stage::Tls));
        recording.at_ms += handshake_ms;
        recording.opened(present, None);
        recording.at_ms += 1;
        recording.flight.restart_link(recording.now());
        if !recording.drain() {
            recording.until_it_opens();
        }
    }
    let judged = recording.judged();
    assert_eq!(judged.broken, None);
    assert_eq!((judged.links, judged.is_clean()), (2, true));
}

type Script = fn(&mut Recording);

/// An acknowledgement that is none of any exchange, before the next link.
const STRAY: &[(&str, Script)] = &[
    ("PUBCOMP for a QoS 1 message", |recording| {
        recording.publishes(Qos::AtLeastOnce);
        recording.receives(&[Packet::PubComp(ack(1, ReasonCode::SUCCESS))]);
    }),
    ("a refusal by PUBREC for a QoS 1 message", |recording| {
        recording.publishes(Qos::AtLeastOnce);
        recording.receives(&[Packet::PubRec(ack(1, ReasonCode::NOT_AUTHORIZED))]);
    }),
    ("PUBCOMP for a PUBLISH that waits for PUBREC", |recording| {
        recording.publishes(Qos::ExactlyOnce);
        recording.receives(&[Packet::PubComp(ack(1, ReasonCode::SUCCESS))]);
    }),
    ("PUBACK for QoS 2 where PUBREC was given to another", |recording| {
        recording.publishes(Qos::ExactlyOnce);
        recording.publishes(Qos::ExactlyOnce);
        recording.receives(&[
            Packet::PubRec(ack(2, ReasonCode::SUCCESS)),
            Packet::PubAck(ack(1, ReasonCode::SUCCESS)),
        ]);
    }),
    ("PUBACK for what was not sent on this link yet", |recording| {
        recording.publishes(Qos::AtLeastOnce);
        recording.publishes(Qos::AtLeastOnce);
        recording.next_link(Some(1));
        recording.receives(&[
            Packet::PubAck(ack(2, ReasonCode::SUCCESS)),
            Packet::PubAck(ack(1, ReasonCode::SUCCESS)),
        ]);
    }),
    ("PUBACK behind the DISCONNECT", |recording| {
        recording.publishes(Qos::AtLeastOnce);
        recording.receives(&[
            Packet::Disconnect(Disconnect::new(ReasonCode::SERVER_SHUTTING_DOWN)),
            Packet::PubAck(ack(1, ReasonCode::SUCCESS)),
        ]);
        recording.until_it_opens();
        recording.opened(true, None);
    }),
];

#[test]
fn what_is_sent_again_after_an_acknowledgement_of_nothing_is_no_fault() {
    for (what, script) in STRAY {
        let mut recording = Recording::begin();
        recording.opened(false, None);
        script(&mut recording);
        recording.next_link(None);
        assert!(recording.tells("+dup"), "{what}: nothing was sent again");
        assert_eq!(recording.judged().broken, None, "{what}");
    }
}
