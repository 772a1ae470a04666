//! Flights of users, replayed and judged: the rules of the simulation that need no broker's ledger to be seen broken.

use std::collections::{BTreeMap, BTreeSet};

use rejoin_core::codec::packet::{Packet, PacketId, Publish, Qos};
use rejoin_core::codec::{Decoded, Decoder, Limits, Sender};
use rejoin_core::flight::{Call, Replayed, Step, Unreadable, replay};
use rejoin_core::{Engine, Event, Input, Now, Output, PublishId, ReasonCode, Timestamp, Version};

use crate::sim::{Alarm, Marks, Watch};

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

/// The exchanges of one session, as the wire shows them.
#[derive(Debug, Default)]
struct Exchanges {
    /// Identifiers in use.
    open: BTreeMap<PacketId, Exchange>,
    /// Those that came to their end.
    ended: BTreeSet<PacketId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Exchange {
    qos: Qos,
    /// PUBREL was sent.
    released: bool,
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
    clean_start: bool,
    window: usize,
    unanswered: BTreeSet<PacketId>,
}

impl Wire {
    fn new() -> Self {
        let limits = Limits { max_packet_size: u32::MAX, max_user_properties: usize::MAX };
        Self {
            up: Decoder::new(Version::V5, Sender::Client, limits),
            down: Decoder::new(Version::V5, Sender::Server, limits),
            clean_start: false,
            window: usize::from(u16::MAX),
            unanswered: BTreeSet::new(),
        }
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
            Step::In(Call::Handle(Input::Received(bytes))) => self.received(bytes),
            Step::Out(Output::Open { .. }) => self.wire = Some(Wire::new()),
            Step::Out(Output::Transmit(bytes)) => self.transmitted(bytes, engine, at)?,
            Step::Out(Output::Event(event)) => self.event(event, engine, at)?,
            _ => {}
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
                    self.exchanges.end(ack.packet_id);
                }
                Packet::PubRec(ack) if ack.reason.is_error() => {
                    wire.unanswered.remove(&ack.packet_id);
                    self.exchanges.end(ack.packet_id);
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
                        wire.clean_start = connect.clean_start;
                        wire.down.set_version(connect.version);
                        self.watch.connects(&engine.config().recovery, at)?;
                    }
                    Packet::Publish(publish) => self.exchanges.publish(&publish, wire)?,
                    Packet::PubRel(ack) => {
                        self.exchanges.pubrel(ack.packet_id);
                    }
                    _ => {}
                },
                other => return Err(Alarm::new("O8", format!("the client wrote {other:?}"))),
            }
        }
    }
}

impl Exchanges {
    fn end(&mut self, id: PacketId) {
        self.open.remove(&id);
        self.ended.insert(id);
    }

    /// A server that makes QoS 1 of QoS 2 answers so; as a refusal of a QoS 2 message it means nothing, and ends nothing.
    fn puback(&mut self, id: PacketId, reason: ReasonCode) {
        let of_qos_2 = self.open.get(&id).is_some_and(|exchange| exchange.qos == Qos::ExactlyOnce);
        if !(of_qos_2 && reason.is_error()) {
            self.end(id);
        }
    }

    fn pubrel(&mut self, id: PacketId) {
        self.open.insert(id, Exchange { qos: Qos::ExactlyOnce, released: true });
    }

    fn publish(&mut self, publish: &Publish, wire: &mut Wire) -> Ruling {
        let Some(id) = publish.packet_id else { return Ok(()) };
        let before = self.open.insert(id, Exchange { qos: publish.qos, released: false });
        if publish.qos == Qos::ExactlyOnce && before.is_some_and(|exchange| exchange.released) {
            // [MQTT-4.3.3-6]
            return Err(Alarm::new("O13", format!("PUBLISH {id} leaves again after its PUBREL")));
        }
        if publish.dup && before.is_none() && self.ended.contains(&id) {
            return Err(Alarm::new("O11", format!("PUBLISH {id} has DUP, and its exchange had ended")));
        }
        if !publish.dup && before.is_some() {
            // [MQTT-2.2.1-3]
            return Err(Alarm::new("O8", format!("PUBLISH {id} is new under an identifier in use")));
        }
        self.ended.remove(&id);
        wire.unanswered.insert(id);
        if wire.unanswered.len() > wire.window {
            let (n, most) = (wire.unanswered.len(), wire.window);
            return Err(Alarm::new("O9", format!("{n} messages in flight, the server allows {most}")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rejoin_core::{Text, codec::packet::Publish};

    use super::*;

    fn publish(id: u16, dup: bool, qos: Qos) -> Publish {
        Publish {
            dup,
            qos,
            retain: false,
            topic: Text::from_static("a"),
            packet_id: PacketId::new(id),
            properties: None,
            payload: bytes::Bytes::new(),
        }
    }

    fn id(id: u16) -> PacketId {
        PacketId::new(id).expect("not zero")
    }

    fn oracle(ruling: Ruling) -> &'static str {
        ruling.expect_err("a rule is broken").oracle
    }

    #[test]
    fn each_rule_of_the_wire_is_seen_broken() {
        let mut exchanges = Exchanges::default();
        let mut wire = Wire { window: 2, ..Wire::new() };
        exchanges.publish(&publish(1, false, Qos::AtLeastOnce), &mut wire).expect("new");
        exchanges.publish(&publish(1, true, Qos::AtLeastOnce), &mut wire).expect("again, as it must be");
        assert_eq!(oracle(exchanges.publish(&publish(1, false, Qos::AtLeastOnce), &mut wire)), "O8");
        exchanges.end(id(1));
        wire.unanswered.clear();
        assert_eq!(oracle(exchanges.publish(&publish(1, true, Qos::AtLeastOnce), &mut wire)), "O11");
        exchanges.publish(&publish(2, false, Qos::ExactlyOnce), &mut wire).expect("new");
        exchanges.pubrel(id(2));
        assert_eq!(oracle(exchanges.publish(&publish(2, true, Qos::ExactlyOnce), &mut wire)), "O13");
        exchanges.publish(&publish(3, false, Qos::AtLeastOnce), &mut wire).expect("the second");
        assert_eq!(oracle(exchanges.publish(&publish(4, false, Qos::AtLeastOnce), &mut wire)), "O9");
    }
    #[test]
    fn a_puback_that_refuses_a_qos_2_message_ends_nothing() {
        let mut exchanges = Exchanges::default();
        let mut wire = Wire::new();
        let refusal = ReasonCode::TOPIC_NAME_INVALID;
        exchanges.publish(&publish(3, false, Qos::ExactlyOnce), &mut wire).expect("new");
        exchanges.puback(id(3), refusal);
        exchanges.publish(&publish(3, true, Qos::ExactlyOnce), &mut wire).expect("it has no answer yet");
        exchanges.puback(id(3), ReasonCode::SUCCESS);
        assert_eq!(oracle(exchanges.publish(&publish(3, true, Qos::ExactlyOnce), &mut wire)), "O11");
        exchanges.publish(&publish(4, false, Qos::AtLeastOnce), &mut wire).expect("new");
        exchanges.puback(id(4), refusal);
        assert_eq!(oracle(exchanges.publish(&publish(4, true, Qos::AtLeastOnce), &mut wire)), "O11");
    }
}
