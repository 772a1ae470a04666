use std::sync::mpsc;
use std::time::Duration;

use bytes::BytesMut;

use super::*;
use crate::codec::encode;
use crate::codec::packet::{Packet, Publish, Qos, Version};
use crate::config::{Config, SessionMode};
use crate::event::Event;
use crate::flight::{Flight, Replayed, replay};
use crate::interface::{Input, Output};
use crate::session::WasHeld;
use crate::text::Text;
use crate::time::Now;
use crate::topic::PublishTopic;

const TAKEN: (&str, &str) = ("lamp/7", "off");

/// What a store has of a message that was taken: its server may send it again under identifier 7.
fn kept() -> Recovered {
    let digest = Some(Digest::of(TAKEN.0, TAKEN.1.as_bytes()));
    let held = WasHeld { id: MessageId(9), packet_id: PacketId::new(7), message: None, digest };
    Recovered {
        held: vec![held],
        epoch: 1,
        server: Some("broker".to_owned()),
        last_message: MessageId(9),
        ..Recovered::default()
    }
}

fn publish(topic: &'static str, payload: &'static str) -> Vec<u8> {
    let packet = Packet::Publish(Publish {
        dup: true,
        qos: Qos::ExactlyOnce,
        retain: false,
        topic: PublishTopic::from_static(topic),
        packet_id: PacketId::new(7),
        properties: None,
        payload: payload.into(),
    });
    let mut bytes = BytesMut::new();
    encode(&packet, Version::V5, &mut bytes).unwrap();
    bytes.to_vec()
}

/// The tape of a process that begins with that and is sent a message, in two pieces; and how many it hands over.
fn tape((topic, payload): (&'static str, &'static str)) -> (String, usize) {
    let (sink, tape) = mpsc::channel();
    let write = move |line: &str| sink.send(format!("{line}\n")).is_ok();
    let mut config = Config::new(Text::from_static("id"), Text::from_static("broker"));
    config.session.durable = true;
    config.session.mode = SessionMode::Kept(Duration::from_secs(3600));
    let mut flight = Flight::recorded(config, kept(), 42, Now::default(), Box::new(write)).unwrap();
    let mut handed_over = 0;
    let mut input = |input: Input| {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            flight.handle(input, Now::default());
            while let Some(output) = flight.poll() {
                match output {
                    Output::Persist { ticket, .. } => next = Some(Input::Persisted(ticket)),
                    Output::Event(Event::Message(_)) => handed_over += 1,
                    _ => {}
                }
            }
        }
    };
    input(Input::Tick);
    input(Input::Opened);
    // CONNACK: the server has the session.
    input(Input::Received(Bytes::from_static(&[0x20, 3, 1, 0, 0])));
    let packet = publish(topic, payload);
    let (first, second) = packet.split_at(packet.len() - 1);
    input(Input::Received(Bytes::copy_from_slice(first)));
    input(Input::Received(Bytes::copy_from_slice(second)));
    drop(flight);
    (tape.iter().collect(), handed_over)
}

fn replayed(text: &str) -> Replayed {
    replay(text, |_, _, _, _| {}).unwrap()
}

#[test]
fn a_copy_and_another_message_are_told_apart_by_a_replay_too_and_neither_is_told() {
    for (message, copies) in [(TAKEN, 1), (("lamp/7", "on!"), 0), (("lamp/8", TAKEN.1), 0)] {
        let (text, handed_over) = tape(message);
        assert_eq!(handed_over, 1 - copies, "{message:?}");
        assert_eq!(text.lines().filter(|line| line.starts_with(MARK)).count(), copies, "{text}");
        let found = replayed(&text);
        assert!(found.difference.is_none() && found.inputs > 4, "{message:?}: {found:?}\n{text}");
        let secret = Digest::of(TAKEN.0, TAKEN.1.as_bytes()).0;
        for secret in [format!("{secret:x}"), secret.to_string(), "6f6666".to_owned()] {
            assert!(!text.contains(&secret), "{secret} is in the recording:\n{text}");
        }
    }
}

#[test]
fn a_replay_needs_to_be_told_of_the_copy() {
    let (text, _) = tape(TAKEN);
    let silent: String =
        text.lines().filter(|line| !line.starts_with(MARK)).map(|line| format!("{line}\n")).collect();
    assert!(replayed(&silent).difference.is_some(), "it takes it for another message");
}

#[test]
fn a_line_that_cannot_be_read_is_refused() {
    let (text, _) = tape(TAKEN);
    for line in ["= copy id=9", "= copy id=9 digest=xyz", "= copy digest=1", "= other id=9 digest=1"] {
        let refused = replay(&format!("{text}{line}\n"), |_, _, _, _| {}).unwrap_err();
        assert_eq!(refused.line, text.lines().count() + 1, "{line}");
    }
}
