//! Flights of users, replayed and judged: the rules of the simulation that need no broker's ledger to be seen broken.

mod exchanges;

use std::collections::BTreeSet;

use rejoin_core::codec::packet::{Packet, PacketId};
use rejoin_core::codec::{Decoded, Decoder, Limits, Sender};
use rejoin_core::flight::{Call, Replayed, Step, Unreadable, replay};
use rejoin_core::{Engine, Event, Input, LinkState, Now, Output, PublishId, Stage, Timestamp, Version};

use crate::sim::{Alarm, Marks, Watch};
use exchanges::Exchanges;

/// What was found in a flight.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Judgement {
    /// The replay: how much was the same, and where this build goes another way.
    pub replayed: Replayed,
    /// The first rule that was broken, and where.
    pub broken: Option<Broken>,
    /// Links that were opened.
    pub links: u64,
    /// Messages that were handed over.
    pub published: u64,
    /// Of those, how many were answered for.
    pub answered: u64,
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The line of the flight, from 1.
    pub line: usize,
    /// When, on the clock of the flight.
    pub at: Timestamp,
    /// Which rule, and how.
    pub alarm: Alarm,
}

impl Judgement {
    /// Nothing speaks against the client: every rule held, and this build does what was recorded.
    pub const fn is_clean(&self) -> bool {
        self.broken.is_none() && self.replayed.difference.is_none()
    }
}

/// Replays a flight and judges it. The rules, by the names of docs/simulation.md: one answer per message (O6), windows
/// and identifiers of the standard (O9, O11, O13), a legal word of states that the status agrees with (O15), and waits
/// within their windows and the budget (O17).
///
/// # Errors
/// The file cannot be read as a flight.
pub fn judge(text: &str) -> Result<Judgement, Unreadable> {
    let mut court = Court::default();
    let replayed = replay(text, |line, now, step, engine| {
        if court.broken.is_none()
            && let Err(alarm) = court.hear(now, &step, engine)
        {
            court.broken = Some(Broken { line, at: now.mono, alarm });
        }
    })?;
    let Court { broken, links, published, answered, .. } = court;
    Ok(Judgement { replayed, broken, links, published: published.len() as u64, answered })
}

#[derive(Debug, Default)]
struct Court {
    watch: Watch,
    marks: Marks,
    wire: Option<Wire>,
    exchanges: Exchanges,
    published: BTreeSet<PublishId>,
    /// Finished, and not to be finished again.
    finished: BTreeSet<PublishId>,
    answered: u64,
    links: u64,
    revision: u64,
    broken: Option<Broken>,
}

#[derive(Debug)]
struct Wire {
    up: Decoder,
    down: Decoder,
    /// The broker was reached before CONNECT: by the first handshake of TLS or WebSocket.
    reached: bool,
    window: usize,
    unanswered: BTreeSet<PacketId>,
}

impl Wire {
    fn new() -> Self {
        let limits = Limits { max_packet_size: u32::MAX, max_user_properties: usize::MAX };
        Self {
            up: Decoder::new(Version::V5, Sender::Client, limits),
            down: Decoder::new(Version::V5, Sender::Server, limits),
            reached: false,
            window: usize::from(u16::MAX),
            unanswered: BTreeSet::new(),
        }
    }

    /// A PUBLISH left; above QoS 0 it takes one of the window.
    fn sent(&mut self, id: Option<PacketId>) -> Ruling {
        self.unanswered.extend(id);
        if self.unanswered.len() > self.window {
            let (n, most) = (self.unanswered.len(), self.window);
            return Err(Alarm::new("O9", format!("{n} messages in flight, the server allows {most}")));
        }
        Ok(())
    }
}

type Ruling = Result<(), Alarm>;

impl Court {
    fn hear(&mut self, now: Now, step: &Step<'_>, engine: &Engine) -> Ruling {
        let at = now.mono.as_micros();
        match step {
            Step::In(Call::Publish { id, .. }) => {
                self.published.insert(*id);
            }
            Step::In(Call::Nudge) => self.watch.nudged(),
            Step::In(Call::Handle(Input::Reached(stage))) => self.reached(*stage, engine, at)?,
            Step::In(Call::Handle(Input::Received(bytes))) => self.received(bytes),
            Step::Out(Output::Open { .. }) => {
                self.wire = Some(Wire::new());
                self.exchanges.link_begins();
            }
            Step::Out(Output::Transmit(bytes)) => self.transmitted(bytes, engine, at)?,
            Step::Out(Output::Event(event)) => self.event(event, engine, at)?,
            _ => {}
        }
        if matches!(step, Step::Idle) {
            self.exchanges.at_rest();
        }
        // Events first: the status is ahead of those still on their way, and an input may come between two of them.
        if matches!(step, Step::Idle) && engine.status_revision() != self.revision {
            self.revision = engine.status_revision();
            self.watch.status(&engine.status().link)?;
        }
        Ok(())
    }

    fn event(&mut self, event: &Event, engine: &Engine, at: u64) -> Ruling {
        self.watch.event(event, &engine.config().recovery, at, &mut self.marks)?;
        match event {
            Event::Opened { .. } => self.links += 1,
            Event::Closed { .. } => self.exchanges.link_ends(),
            Event::Finished { id, .. } => {
                if !self.finished.insert(*id) {
                    return Err(Alarm::new("O6", format!("message {} is answered for twice", id.0)));
                }
                self.answered += u64::from(self.published.contains(id));
            }
            Event::Stopped { .. } => {
                let open = self.published.difference(&self.finished).count();
                if open > 0 && !engine.config().session.durable {
                    return Err(Alarm::new("O6", format!("stopped, and {open} messages have no answer")));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Opening came to a stage. The first handshake costs the broker something, and is what the budget counts.
    fn reached(&mut self, stage: Stage, engine: &Engine, at: u64) -> Ruling {
        let opening = matches!(engine.status().link, LinkState::Connecting { .. });
        let Some(wire) = self.wire.as_mut().filter(|_| opening) else { return Ok(()) };
        if stage.is_handshake() && !std::mem::replace(&mut wire.reached, true) {
            self.watch.connects(&engine.config().recovery, at)?;
        }
        Ok(())
    }

    fn received(&mut self, bytes: &bytes::Bytes) {
        let Some(wire) = &mut self.wire else { return };
        wire.down.push(bytes.clone());
        // What cannot be read is the peer's fault, and the client's to find out.
        while let Ok(Some(Decoded::Packet(packet))) = wire.down.next() {
            match packet {
                Packet::ConnAck(connack) if !connack.reason.is_error() => {
                    if let Some(most) = connack.properties.receive_maximum {
                        wire.window = usize::from(most.get());
                    }
                    if !connack.session_present {
                        self.exchanges = Exchanges::default();
                    }
                }
                Packet::PubAck(ack) => {
                    wire.unanswered.remove(&ack.packet_id);
                    self.exchanges.puback(ack.packet_id, ack.reason);
                }
                Packet::PubComp(ack) => {
                    wire.unanswered.remove(&ack.packet_id);
                    self.exchanges.pubcomp(ack.packet_id);
                }
                Packet::PubRec(ack) => {
                    if ack.reason.is_error() {
                        wire.unanswered.remove(&ack.packet_id);
                    }
                    self.exchanges.pubrec(ack.packet_id, ack.reason);
                }
                _ => {}
            }
        }
    }

    fn transmitted(&mut self, bytes: &bytes::Bytes, engine: &Engine, at: u64) -> Ruling {
        let Some(wire) = &mut self.wire else {
            return Err(Alarm::new("O8", "bytes leave without a link"));
        };
        wire.up.push(bytes.clone());
        loop {
            match wire.up.next() {
                Ok(None) => return Ok(()),
                Ok(Some(Decoded::Packet(packet))) => match packet {
                    Packet::Connect(connect) => {
                        wire.down.set_version(connect.version);
                        if !std::mem::replace(&mut wire.reached, true) {
                            self.watch.connects(&engine.config().recovery, at)?;
                        }
                    }
                    Packet::Publish(publish) => {
                        self.exchanges.publish(&publish)?;
                        wire.sent(publish.packet_id)?;
                    }
                    Packet::PubRel(ack) => self.exchanges.pubrel(ack.packet_id),
                    _ => {}
                },
                other => return Err(Alarm::new("O8", format!("the client wrote {other:?}"))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rejoin_core::codec::packet::Publish;
    use rejoin_core::{Config, Qos, Recovered, Text};

    use super::*;

    #[test]
    fn a_resend_of_what_was_acknowledged_before_the_link_ended_is_seen() {
        let config = Config::new(Text::from_static("c"), Text::from_static("a"));
        let engine = Engine::new(config, Recovered::default(), 1, Now::default()).expect("it begins");
        let revision = engine.status_revision();
        let mut court = Court { wire: Some(Wire::new()), revision, ..Court::default() };
        let publish = |dup| Publish {
            dup,
            qos: Qos::AtLeastOnce,
            retain: false,
            topic: rejoin_core::PublishTopic::from_static("a"),
            packet_id: PacketId::new(1),
            properties: None,
            payload: bytes::Bytes::new(),
        };
        court.exchanges.publish(&publish(false)).expect("new");
        let puback = Call::Handle(Input::Received(bytes::Bytes::from_static(&[0x40, 2, 0, 1])));
        for step in [Step::In(&puback), Step::Idle, Step::In(&Call::Handle(Input::Tick))] {
            court.hear(Now::default(), &step, &engine).expect("nothing is wrong yet");
        }
        court.exchanges.link_ends();
        court.exchanges.link_begins();
        assert_eq!(court.exchanges.publish(&publish(true)).expect_err("it had ended").oracle, "O11");
    }

    #[test]
    fn a_window_that_is_overrun_is_seen() {
        let mut wire = Wire { window: 2, ..Wire::new() };
        for id in [1, 2, 1] {
            wire.sent(PacketId::new(id)).expect("two at a time");
        }
        wire.sent(None).expect("QoS 0 takes none of it");
        assert_eq!(wire.sent(PacketId::new(3)).expect_err("a third").oracle, "O9");
    }
}
