//! The engine under any inputs in any order: it never panics and ends each message once. Where the inputs keep to
//! what a driver may tell (nothing from a transport that is not open), what it writes is a legal stream of a client.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rejoin_core::codec::packet::{
    Ack, ConnAck, ConnAckProperties, Disconnect, Packet, PacketId, Publish, SubAck,
};
use rejoin_core::codec::{Decoded, Decoder, Limits, Sender, encode};
use rejoin_core::{
    Config, Engine, Event, Input, MessageId, Now, Output, Publication, PublishId, Qos, ReasonCode,
    SessionLossPolicy, SessionMode, Stage, SubscribeRequest, SubscriptionId, SubscriptionOptions, Text,
    Ticket, Timestamp, TopicFilter, TopicName, TransportError, TransportErrorKind, Version, VersionPolicy,
};

use super::input::Choices;

const OPERATIONS_MAX: usize = 2_000;
/// Outputs of one input; an engine that gives more without another input is in a loop.
const OUTPUTS_MAX: usize = 100_000;
const TOPICS: [&str; 4] = ["a", "a/b", "c", "$x/y"];
const CODES: [u8; 12] = [0x00, 0x10, 0x80, 0x81, 0x87, 0x89, 0x8B, 0x8E, 0x91, 0x92, 0x97, 0x98];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    None,
    Opening,
    Open,
}

struct World {
    engine: Engine,
    /// Inputs that no driver gives are left out.
    lawful: bool,
    transport: Transport,
    at: u64,
    wall: u64,
    version: Version,
    /// The stream we write on the present transport.
    written: Option<Decoder>,
    greeted: bool,
    ended: BTreeMap<u64, u32>,
    next: u64,
    unwritten: usize,
    messages: Vec<MessageId>,
    tickets: Vec<Ticket>,
    loads: Vec<Vec<PublishId>>,
}

/// Operations from bytes.
pub fn engine(data: &[u8]) {
    let mut choices = Choices::new(data);
    let lawful = choices.byte() < 192;
    let config = config(&mut choices);
    let version = if config.version == VersionPolicy::Only311 { Version::V311 } else { Version::V5 };
    let engine = Engine::new(config, rejoin_core::Recovered::default(), 7, Now::new(Timestamp::ZERO, 1_000));
    let mut world = World {
        engine: engine.expect("these settings are possible"),
        lawful,
        transport: Transport::None,
        at: 0,
        wall: 1_000,
        version,
        written: None,
        greeted: false,
        ended: BTreeMap::new(),
        next: 1,
        unwritten: 0,
        messages: Vec::new(),
        tickets: Vec::new(),
        loads: Vec::new(),
    };
    world.input(Input::Tick);
    for _ in 0..OPERATIONS_MAX {
        if choices.is_over() {
            break;
        }
        world.operate(&mut choices);
    }
    world.finish();
}

fn config(choices: &mut Choices<'_>) -> Config {
    let mut config = Config::new(Text::from_static("c"), Text::from_static("b"));
    let flags = choices.byte();
    config.version = if flags & 1 == 1 { VersionPolicy::Only311 } else { VersionPolicy::Prefer5 };
    if flags & 2 == 2 {
        config.session.mode = SessionMode::Kept(Duration::from_secs(3600));
    }
    config.session.durable = flags & 4 == 4;
    config.session.adopt = flags & 8 == 8;
    config.session.packet_id_max = if flags & 16 == 16 { 5 } else { u16::MAX };
    config.session.in_flight_max = (flags & 32 == 32).then_some(3);
    config.session.on_loss = [
        SessionLossPolicy::Resend,
        SessionLossPolicy::Fail,
        SessionLossPolicy::Ask,
        SessionLossPolicy::Resend,
    ][usize::from(flags >> 6)];
    let second = choices.byte();
    config.link.topic_alias_maximum = u16::from(second & 3);
    config.link.receive_maximum = u16::from((second >> 2) & 3) + 1;
    config.link.receive_overrun = u32::from((second >> 4) & 3);
    config.recovery.budget = None;
    config
}

impl World {
    const fn now(&self) -> Now {
        Now::new(Timestamp::from_micros(self.at), self.wall)
    }

    fn operate(&mut self, choices: &mut Choices<'_>) {
        match choices.byte() % 24 {
            0 => self.input(Input::Opened),
            1 => {
                let error = TransportError::new(kind(choices), "no");
                self.input(Input::OpenFailed { stage: Stage::Tcp, error });
            }
            2 => {
                let bytes = choices.bytes(64);
                self.input(Input::Received(bytes));
            }
            3 | 4 => self.greet(choices),
            5..=8 => self.receive(choices),
            9 => {
                let given = usize::from(choices.byte());
                let taken = if choices.flag() || self.lawful { given.min(self.unwritten) } else { given };
                self.unwritten = self.unwritten.saturating_sub(taken);
                self.input(Input::Written(taken));
            }
            10 => {
                let error = TransportError::new(kind(choices), "gone");
                self.input(Input::Lost(error));
            }
            11 if !self.loads.is_empty() => {
                // Some bodies come back, some do not.
                let topic = TopicName::new("f").expect("a topic name");
                let body = choices.flag().then(|| Publication::new(topic, "body"));
                let ids = self.loads.remove(0);
                self.input(Input::Loaded(ids.into_iter().map(|id| (id, body.clone())).collect()));
            }
            11 => {
                let ticket = match self.tickets.pop() {
                    Some(ticket) => ticket,
                    None if self.lawful => return,
                    None => Ticket(u64::from(choices.byte())),
                };
                self.input(Input::Persisted(ticket));
            }
            12 | 13 => self.tick(),
            14 => {
                self.at += u64::from(choices.number()) * 10_000;
                self.wall = self.wall.wrapping_add(u64::from(choices.number())) >> (choices.byte() % 2);
                self.input(Input::Tick);
            }
            15 | 16 => self.publish(choices),
            _ => self.command(choices),
        }
    }

    fn command(&mut self, choices: &mut Choices<'_>) {
        let (now, name) = (self.now(), u64::from(choices.byte()));
        match choices.byte() % 10 {
            0 | 1 => self.subscribe(choices),
            2 => self.engine.unsubscribe(SubscriptionId(name as u32 % 8), now),
            3 => self.engine.detach(SubscriptionId(name as u32 % 8)),
            4 | 5 => {
                let id = self.messages.pop().unwrap_or(MessageId(name));
                self.engine.ack(id, code(choices), now);
            }
            6 => {
                let _ = self.engine.cancel(PublishId(name), now);
            }
            7 => self.engine.decide(PublishId(name), choices.flag(), now),
            8 => {
                let _ = self.engine.nudge(now);
                if choices.flag() {
                    self.engine.restart_link(now);
                }
            }
            _ if name == 0 => self.engine.close(Duration::from_secs(u64::from(choices.byte())), now),
            _ => {
                let id = self.messages.pop().unwrap_or(MessageId(name));
                let _ = self.engine.leave(id, name % 2 == 0, now);
            }
        }
        self.drain();
    }

    fn publish(&mut self, choices: &mut Choices<'_>) {
        let mut message = Publication::new(topic(choices), choices.bytes(40));
        message.qos = qos(choices.byte());
        message.queue_qos0 = choices.flag();
        message.expires_after = choices.flag().then(|| Duration::from_millis(u64::from(choices.number())));
        let id = PublishId(self.next);
        if self.engine.publish(id, message, self.now()).is_ok() {
            self.next += 1;
            self.ended.insert(id.0, 0);
        }
        self.drain();
    }

    fn subscribe(&mut self, choices: &mut Choices<'_>) {
        let filter = ["a", "#", "+/b", "$share/g/c"][usize::from(choices.byte() % 4)];
        let request = SubscribeRequest {
            id: SubscriptionId(u32::from(choices.byte() % 8)),
            filter: TopicFilter::try_from(filter).expect("these are filters"),
            options: SubscriptionOptions { qos: qos(choices.byte()), ..SubscriptionOptions::default() },
            user_properties: Vec::new(),
        };
        let _ = self.engine.subscribe(request, self.now());
    }

    fn greet(&mut self, choices: &mut Choices<'_>) {
        let mut properties = ConnAckProperties::default();
        if self.version == Version::V5 {
            let limits = choices.byte();
            properties.receive_maximum = std::num::NonZeroU16::new(u16::from(limits & 3));
            properties.topic_alias_maximum = (limits & 4 == 4).then_some(2);
            properties.maximum_qos = (limits & 8 == 8).then_some(Qos::AtLeastOnce);
            properties.server_keep_alive = (limits & 16 == 16).then_some(u16::from(choices.byte()));
        }
        let reason = if choices.byte() < 200 { ReasonCode::SUCCESS } else { code(choices) };
        let connack = ConnAck { session_present: choices.flag(), reason, v311_form: false, properties };
        self.packet(&Packet::ConnAck(Box::new(connack)));
    }

    fn receive(&mut self, choices: &mut Choices<'_>) {
        let id = PacketId::new(u16::from(choices.byte() % 8)).unwrap_or(PacketId::MIN);
        let ack = Ack { packet_id: id, reason: code(choices), properties: None };
        let packet = match choices.byte() % 10 {
            0 | 1 => Packet::PubAck(ack),
            2 => Packet::PubRec(ack),
            3 => Packet::PubRel(ack),
            4 => Packet::PubComp(ack),
            5 | 6 => {
                let qos = qos(choices.byte());
                Packet::Publish(Publish {
                    dup: choices.flag() && qos != Qos::AtMostOnce,
                    qos,
                    retain: false,
                    topic: topic(choices).into(),
                    packet_id: (qos != Qos::AtMostOnce).then_some(id),
                    properties: None,
                    payload: choices.bytes(30),
                })
            }
            7 => Packet::SubAck(SubAck { packet_id: id, reasons: vec![ack.reason], properties: None }),
            8 => Packet::PingResp,
            _ => Packet::Disconnect(Disconnect::new(ack.reason)),
        };
        self.packet(&packet);
    }

    fn packet(&mut self, packet: &Packet) {
        let mut out = BytesMut::new();
        if encode(packet, self.version, &mut out).is_ok() {
            self.input(Input::Received(out.freeze()));
        }
    }

    fn tick(&mut self) {
        if let Some((due, _)) = self.engine.deadline().filter(|(due, _)| *due < Timestamp::NEVER) {
            self.at = self.at.max(due.as_micros());
        }
        self.input(Input::Tick);
    }

    fn input(&mut self, input: Input) {
        let needs = match input {
            Input::Reached(_) | Input::Opened | Input::OpenFailed { .. } => Some(Transport::Opening),
            Input::Received(_) | Input::Written(_) | Input::Lost(_) => Some(Transport::Open),
            Input::Persisted(_)
            | Input::SessionPersisted(_)
            | Input::Loaded(_)
            | Input::StoreLost(_)
            | Input::Tick => None,
        };
        if self.lawful && needs.is_some_and(|needs| needs != self.transport) {
            return;
        }
        match input {
            Input::Opened => self.transport = Transport::Open,
            Input::OpenFailed { .. } | Input::Lost(_) => self.transport = Transport::None,
            _ => {}
        }
        self.engine.handle(input, self.now());
        self.drain();
    }

    fn drain(&mut self) {
        for _ in 0..OUTPUTS_MAX {
            let Some(output) = self.engine.poll() else { return };
            match output {
                Output::Open { .. } => {
                    assert!(self.transport == Transport::None || !self.lawful, "two transports at a time");
                    self.transport = Transport::Opening;
                    self.written = Some(Decoder::new(self.version, Sender::Client, Limits::default()));
                    self.greeted = false;
                    self.unwritten = 0;
                }
                Output::Transmit(bytes) => self.transmitted(bytes),
                Output::Close { .. } => {
                    self.transport = Transport::None;
                    self.written = None;
                }
                Output::Persist { ticket, .. } => self.tickets.insert(0, ticket),
                Output::Load(ids) => self.loads.push(ids),
                Output::Event(event) => self.event(event),
            }
        }
        panic!("no end of outputs");
    }

    /// Whatever came in, we write what a server has to accept, and CONNECT first.
    fn transmitted(&mut self, bytes: Bytes) {
        self.unwritten += bytes.len();
        if !self.lawful {
            return;
        }
        assert!(self.transport == Transport::Open, "bytes for a transport that is not open");
        let Some(decoder) = &mut self.written else { return };
        decoder.push(bytes);
        loop {
            match decoder.next() {
                Ok(Some(Decoded::Packet(packet))) => {
                    let is_connect = matches!(packet, Packet::Connect(_));
                    assert_eq!(is_connect, !self.greeted, "CONNECT comes first and once: {packet:?}");
                    self.greeted = true;
                    self.version = decoder.version();
                }
                Ok(Some(other)) => panic!("we wrote {other:?}"),
                Ok(None) => return,
                Err(error) => panic!("we wrote what nobody can read: {error}"),
            }
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Finished { id, .. } => {
                let times = self.ended.get_mut(&id.0).expect("only what was accepted ends");
                *times += 1;
                assert_eq!(*times, 1, "message {} ended twice", id.0);
            }
            Event::Message(message) => self.messages.extend(message.id),
            _ => {}
        }
    }

    /// The end comes within its time, and everything accepted has its answer.
    fn finish(&mut self) {
        self.engine.close(Duration::from_secs(1), self.now());
        self.drain();
        self.at += 1_000_000;
        self.input(Input::Tick);
        for (id, times) in &self.ended {
            assert_eq!(*times, 1, "message {id} has no answer after the end");
        }
        assert!(self.engine.deadline().is_none(), "a stopped engine wants nothing");
    }
}

fn kind(choices: &mut Choices<'_>) -> TransportErrorKind {
    use TransportErrorKind as T;
    [T::Refused, T::TimedOut, T::Reset, T::Closed][usize::from(choices.byte() % 4)]
}

fn code(choices: &mut Choices<'_>) -> ReasonCode {
    let choice = choices.byte();
    if choice < 128 { ReasonCode::SUCCESS } else { ReasonCode(CODES[usize::from(choice) % CODES.len()]) }
}

const fn qos(choice: u8) -> Qos {
    match choice % 3 {
        0 => Qos::AtMostOnce,
        1 => Qos::AtLeastOnce,
        _ => Qos::ExactlyOnce,
    }
}

fn topic(choices: &mut Choices<'_>) -> TopicName {
    TopicName::try_from(TOPICS[usize::from(choices.byte() % 4)]).expect("these are topics")
}
