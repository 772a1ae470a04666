//! A test bench: one engine, virtual time, and a broker played by hand.

use std::time::Duration;

use bytes::BytesMut;
use rejoin_core::codec::packet::{
    Ack, ConnAck, ConnAckProperties, Connect, Packet, PacketId, Publish, SubAck,
};
use rejoin_core::codec::{Decoded, Decoder, Limits, Sender, encode};
use rejoin_core::*;

pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) at: u64,
    /// Packets of the present link that were not looked at yet.
    pub(crate) sent: Vec<Packet>,
    pub(crate) events: Vec<Event>,
    pub(crate) outcomes: Vec<(u64, Outcome)>,
    pub(crate) records: Vec<Record>,
    /// The records this engine was restored from.
    stored: Vec<Record>,
    pub(crate) connects: Vec<Connect>,
    pub(crate) opening: bool,
    pub(crate) closed: usize,
    /// Tickets are answered at once.
    pub(crate) fast_disk: bool,
    /// Bytes are taken by the transport at once.
    pub(crate) fast_socket: bool,
    pub(crate) last_ticket: Ticket,
    before: Vec<Packet>,
    unwritten: usize,
    decoder: Decoder,
    version: Version,
    next: u64,
}

pub(crate) fn config() -> Config {
    Config::new(Text::from_static("c"), Text::from_static("a"))
}

pub(crate) fn kept() -> Config {
    let mut config = config();
    config.session.mode = SessionMode::Kept(Duration::from_secs(3600));
    config
}

pub(crate) fn id(n: u16) -> PacketId {
    PacketId::new(n).unwrap()
}

impl Bench {
    pub(crate) fn new(config: Config) -> Self {
        Self::restored(config, Vec::new())
    }

    pub(crate) fn restored(config: Config, records: Vec<Record>) -> Self {
        let stored = records.clone();
        let kept = Recovered::replay(records);
        let engine = Engine::new(config, kept, 7, Now::new(Timestamp::from_micros(0), 1_000_000)).unwrap();
        Self {
            engine,
            at: 0,
            sent: Vec::new(),
            events: Vec::new(),
            outcomes: Vec::new(),
            records: Vec::new(),
            stored,
            connects: Vec::new(),
            opening: false,
            closed: 0,
            fast_disk: true,
            fast_socket: true,
            last_ticket: Ticket(0),
            before: Vec::new(),
            unwritten: 0,
            decoder: Decoder::new(Version::V5, Sender::Client, Limits::default()),
            version: Version::V5,
            next: 0,
        }
    }

    pub(crate) fn now(&self) -> Now {
        Now::new(Timestamp::from_micros(self.at), 1_000_000 + self.at / 1000)
    }

    /// What the store gives back: the records of this engine and of those it was restored from.
    fn bodies(&self, ids: &[PublishId]) -> Vec<(PublishId, Option<Publication>)> {
        let find = |wanted: &PublishId| {
            self.stored.iter().chain(&self.records).find_map(|record| match record {
                Record::Enqueued { id, publication, .. } if id == wanted => Some(publication.clone()),
                _ => None,
            })
        };
        ids.iter().map(|id| (*id, find(id))).collect()
    }

    /// The body of a message as the store has it.
    pub(crate) fn stored_body(&self, n: u64) -> Publication {
        self.bodies(&[PublishId(n)]).remove(0).1.expect("it is on the store")
    }

    pub(crate) fn input(&mut self, input: Input) {
        self.engine.handle(input, self.now());
        self.drain();
    }

    pub(crate) fn drain(&mut self) {
        let mut again = Vec::new();
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Open { .. } => {
                    self.opening = true;
                    self.before = std::mem::take(&mut self.sent);
                    self.unwritten = 0;
                    self.decoder = Decoder::new(Version::V5, Sender::Client, Limits::default());
                }
                Output::Transmit(bytes) => {
                    self.unwritten += bytes.len();
                    self.decoder.push(bytes);
                    while let Some(Decoded::Packet(packet)) = self.decoder.next().expect("valid packets") {
                        if let Packet::Connect(connect) = &packet {
                            self.version = connect.version;
                            self.connects.push((**connect).clone());
                        }
                        self.sent.push(packet);
                    }
                }
                Output::Close { .. } => {
                    self.closed += 1;
                    self.opening = false;
                    self.unwritten = 0;
                }
                Output::Persist { ticket, records } => {
                    self.records.extend(records);
                    self.last_ticket = ticket;
                    again.push(Input::Persisted(ticket));
                }
                Output::Load(ids) => again.push(Input::Loaded(self.bodies(&ids))),
                Output::Event(Event::Finished { id, outcome }) => self.outcomes.push((id.0, outcome)),
                Output::Event(event) => self.events.push(event),
            }
        }
        if self.fast_disk {
            for input in again {
                self.input(input);
            }
        }
        if self.fast_socket && self.unwritten > 0 {
            let bytes = std::mem::take(&mut self.unwritten);
            self.input(Input::Written(bytes));
        }
    }

    /// Lets virtual time pass, waking the engine at each of its deadlines.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.at + u64::try_from(time.as_micros()).unwrap();
        while let Some((due, _)) = self.engine.deadline()
            && due.as_micros() <= end
        {
            self.at = self.at.max(due.as_micros());
            self.input(Input::Tick);
        }
        self.at = end;
        self.input(Input::Tick);
    }

    /// Passes time until an attempt is under way.
    pub(crate) fn until_open(&mut self) {
        for _ in 0..10_000 {
            if self.opening {
                return;
            }
            let Some((due, _)) = self.engine.deadline() else { break };
            self.at = self.at.max(due.as_micros());
            self.input(Input::Tick);
        }
        assert!(self.opening, "no attempt: {:?}", self.engine.status());
    }

    pub(crate) fn receive(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        encode(packet, self.version, &mut bytes).unwrap();
        self.input(Input::Received(bytes.freeze()));
    }

    /// Opens the transport and gives the CONNECT that was sent.
    pub(crate) fn open(&mut self) -> Connect {
        self.input(Input::Tick);
        self.until_open();
        self.opening = false;
        self.input(Input::Opened);
        self.sent.clear();
        self.connects.last().cloned().expect("CONNECT is the first packet")
    }

    pub(crate) fn connack(&mut self, session_present: bool, properties: ConnAckProperties) {
        self.receive(&Packet::ConnAck(Box::new(ConnAck {
            session_present,
            reason: ReasonCode::SUCCESS,
            v311_form: false,
            properties,
        })));
    }

    /// Connects with the limits of the protocol.
    pub(crate) fn connect(&mut self, session_present: bool) {
        self.open();
        self.connack(session_present, ConnAckProperties::default());
    }

    pub(crate) fn lose(&mut self) {
        self.lose_by(TransportErrorKind::Reset);
    }

    pub(crate) fn lose_by(&mut self, kind: TransportErrorKind) {
        self.input(Input::Lost(TransportError::new(kind, "scripted")));
    }

    pub(crate) fn publish(&mut self, qos: Qos) -> u64 {
        self.publish_with(qos, |_| {})
    }

    pub(crate) fn publish_with(&mut self, qos: Qos, change: impl FnOnce(&mut Publication)) -> u64 {
        self.next += 1;
        let topic = TopicName::new("t").unwrap();
        let mut publication = Publication::new(topic, self.next.to_string());
        publication.qos = qos;
        change(&mut publication);
        self.engine.publish(PublishId(self.next), publication, self.now()).unwrap();
        self.drain();
        self.next
    }

    pub(crate) fn subscribe(&mut self, n: u32, filter: &str) {
        let request = SubscribeRequest {
            id: SubscriptionId(n),
            filter: TopicFilter::try_from(filter).unwrap(),
            options: SubscriptionOptions { qos: Qos::ExactlyOnce, ..Default::default() },
            user_properties: Vec::new(),
        };
        self.engine.subscribe(request, self.now()).unwrap();
        self.drain();
    }

    pub(crate) fn ack(&mut self, message: MessageId) {
        self.engine.ack(message, ReasonCode::SUCCESS, self.now());
        self.drain();
    }

    pub(crate) fn refuse(&mut self, message: MessageId) {
        self.engine.ack(message, ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR, self.now());
        self.drain();
    }

    /// What was sent since the last look, in short words such as `PUBLISH 1 dup`.
    pub(crate) fn words(&mut self) -> Vec<String> {
        self.sent.drain(..).map(|p| word(&p)).collect()
    }

    /// What was sent last on the link before the present attempt.
    pub(crate) fn last_words(&mut self) -> Vec<String> {
        self.before.drain(..).map(|p| word(&p)).collect()
    }

    /// Lets time pass and answers pings.
    pub(crate) fn live(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.pass(Duration::from_secs(1));
            if self.sent.contains(&Packet::PingReq) {
                self.sent.retain(|p| *p != Packet::PingReq);
                self.receive(&Packet::PingResp);
            }
        }
    }

    pub(crate) fn puback(&mut self, n: u16, reason: ReasonCode) {
        self.receive(&Packet::PubAck(Ack::new(id(n), reason)));
    }

    pub(crate) fn pubrec(&mut self, n: u16, reason: ReasonCode) {
        self.receive(&Packet::PubRec(Ack::new(id(n), reason)));
    }

    pub(crate) fn pubcomp(&mut self, n: u16) {
        self.pubcomp_saying(n, ReasonCode::SUCCESS);
    }

    pub(crate) fn pubcomp_saying(&mut self, n: u16, reason: ReasonCode) {
        self.receive(&Packet::PubComp(Ack::new(id(n), reason)));
    }

    pub(crate) fn pubrel(&mut self, n: u16) {
        self.receive(&Packet::PubRel(Ack::new(id(n), ReasonCode::SUCCESS)));
    }

    pub(crate) fn suback(&mut self, n: u16, reason: ReasonCode) {
        self.receive(&Packet::SubAck(SubAck { packet_id: id(n), properties: None, reasons: vec![reason] }));
    }

    /// The broker delivers a message with this packet id.
    pub(crate) fn deliver(&mut self, qos: Qos, n: u16, dup: bool, payload: &'static str) {
        self.receive(&Packet::Publish(Publish {
            dup,
            qos,
            retain: false,
            topic: PublishTopic::from_static("t"),
            packet_id: (qos != Qos::AtMostOnce).then(|| id(n)),
            properties: None,
            payload: payload.into(),
        }));
    }

    /// Messages handed to the application since the last look.
    pub(crate) fn messages(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        self.events.retain(|event| match event {
            Event::Message(message) => {
                messages.push(message.clone());
                false
            }
            _ => true,
        });
        messages
    }

    pub(crate) fn outcome(&self, n: u64) -> &Outcome {
        let all: Vec<_> = self.outcomes.iter().filter(|(id, _)| *id == n).collect();
        assert_eq!(all.len(), 1, "exactly one outcome for {n}: {all:?}");
        &all[0].1
    }

    pub(crate) fn is_delivered(&self, n: u64) -> bool {
        matches!(self.outcome(n), Outcome::Delivered(_))
    }

    pub(crate) fn last_closed(&self) -> &LossCause {
        let closed = self.events.iter().rev().find_map(|e| match e {
            Event::Closed { cause, .. } => Some(cause),
            _ => None,
        });
        closed.expect("a link was lost")
    }
}

fn word(packet: &Packet) -> String {
    match packet {
        Packet::Publish(p) => {
            let n = p.packet_id.map_or_else(|| "-".to_owned(), |id| id.to_string());
            let payload = String::from_utf8_lossy(&p.payload);
            format!("PUBLISH {n} q{}{} {payload}", p.qos as u8, if p.dup { " dup" } else { "" })
        }
        Packet::PubAck(a) | Packet::PubRec(a) | Packet::PubRel(a) | Packet::PubComp(a) => {
            if a.reason == ReasonCode::SUCCESS {
                format!("{} {}", packet.name(), a.packet_id)
            } else {
                format!("{} {} {:#04x}", packet.name(), a.packet_id, a.reason.0)
            }
        }
        Packet::Subscribe(s) => {
            let filters: Vec<_> = s.filters.iter().map(|(f, _)| f.as_str()).collect();
            format!("SUBSCRIBE {} {}", s.packet_id, filters.join(","))
        }
        Packet::Unsubscribe(s) => {
            let filters: Vec<_> = s.filters.iter().map(Text::as_str).collect();
            format!("UNSUBSCRIBE {} {}", s.packet_id, filters.join(","))
        }
        Packet::Disconnect(d) => format!("DISCONNECT {:#04x}", d.reason.0),
        other => other.name().to_owned(),
    }
}
