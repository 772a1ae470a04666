//! One engine in a world of faults, in virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use rejoin_core::codec::packet::Packet;
use rejoin_core::codec::{Decoded, Decoder, Limits, Sender};
use rejoin_core::*;
use rejoin_lab::broker::{Output as BrokerOutput, Snapshot};
use rejoin_lab::{Broker, ConnectionId, Ending, Forward, Manners, PacketKind, Refusal, Times, Violation};

use crate::oracle::{Account, Application, number};

const FAULTS_FOR: u64 = 600_000_000;
const HEALED_FOR: u64 = 900_000_000;

pub(crate) struct World {
    seed: u64,
    rng: fastrand::Rng,
    at: u64,
    config: Config,
    engine: Engine,
    broker: Broker,
    account: Account,
    app: Application,
    link: Option<Wire>,
    /// The engine asked for a transport; it opens or fails then.
    opening: Option<(u64, bool)>,
    /// The disk: what is synced, and what waits for its sync.
    disk: Vec<Record>,
    unsynced: VecDeque<(u64, Ticket, Vec<Record>)>,
    /// Bodies asked for, with the time they come.
    loads: VecDeque<(u64, Vec<PublishId>)>,
    acks: Vec<(u64, MessageId)>,
    snapshot: Option<Snapshot>,
    faults: Faults,
    next: u64,
    lives: u64,
    sniffer: Decoder,
    hash: u64,
    steps: u64,
    log: VecDeque<String>,
}

/// Bytes under way, in order, with the time each chunk arrives.
struct Wire {
    id: ConnectionId,
    up: VecDeque<(u64, Bytes)>,
    down: VecDeque<(u64, Chunk)>,
    /// Nothing passes in this direction any more; nobody is told.
    up_dead: bool,
    down_dead: bool,
    /// The engine was told that the link ended.
    over: bool,
}

enum Chunk {
    Bytes(Bytes),
    End,
}

/// How often each fault comes, drawn per seed; zero switches it off.
#[derive(Debug)]
struct Faults {
    mean_gap: u64,
    kinds: Vec<u8>,
    refuse_percent: u8,
    delay: u64,
    sync: u64,
    durable: bool,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut config = Config::new(Text::from_static("c"), Text::from_static("a"));
        config.version = if rng.u8(..4) == 0 { VersionPolicy::Only311 } else { VersionPolicy::Only5 };
        config.recovery = RecoveryConfig::default().divided_by(10);
        config.session.mode = match rng.u8(..3) {
            0 => SessionMode::Fresh { linger: Duration::from_secs(300) },
            _ => SessionMode::Kept(Duration::from_secs(3600)),
        };
        config.session.packet_id_max = if rng.bool() { rng.u16(2..40) } else { u16::MAX };
        config.session.in_flight_max = if rng.bool() { Some(rng.u16(1..30)) } else { None };
        config.link.receive_maximum = rng.u16(1..30);
        config.link.receive_overrun = 0;
        config.link.write_buffer = if rng.bool() { 200 } else { 256 * 1024 };
        config.session.resubscribe = if rng.bool() { Resubscribe::Always } else { Resubscribe::WhenAbsent };
        config.session.durable = rng.bool();
        config.session.memory_window_bytes = if rng.bool() { 40 } else { 4 * 1024 * 1024 };
        let kinds = (0..14).filter(|_| rng.bool()).collect();
        let faults = Faults {
            mean_gap: [3_000_000, 10_000_000, 30_000_000][rng.usize(..3)],
            kinds,
            refuse_percent: [0, 20, 60][rng.usize(..3)],
            delay: rng.u64(1_000..200_000),
            sync: rng.u64(100..50_000),
            durable: config.session.durable,
        };
        let account = Account::default();
        let at_pubrel = rng.bool();
        let mut broker = Broker::new(manners(at_pubrel));
        broker.add_ledger(account.ledger());
        let engine = Engine::new(config.clone(), Recovered::default(), seed, Now::default()).unwrap();
        let mut world = Self {
            seed,
            rng,
            at: 0,
            config,
            engine,
            broker,
            account,
            app: Application { qos2_at_pubrel: at_pubrel, ..Application::default() },
            link: None,
            opening: None,
            disk: Vec::new(),
            unsynced: VecDeque::new(),
            loads: VecDeque::new(),
            acks: Vec::new(),
            snapshot: None,
            faults,
            next: 0,
            lives: 0,
            sniffer: Decoder::new(Version::V5, Sender::Client, Limits::default()),
            hash: 0xcbf2_9ce4_8422_2325,
            steps: 0,
            log: VecDeque::new(),
        };
        world.subscribe();
        world
    }

    pub(crate) fn trace(&self) -> u64 {
        self.hash
    }

    fn note(&mut self, line: String) {
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.log.push_back(format!("{:>12} {line}", self.at));
        if self.log.len() > 400 {
            self.log.pop_front();
        }
    }

    fn now(&self) -> Now {
        Now::new(Timestamp::from_micros(self.at), 1_000_000 + self.at / 1000)
    }

    fn mono(&self) -> Timestamp {
        Timestamp::from_micros(self.at)
    }

    fn subscribe(&mut self) {
        let request = SubscribeRequest {
            id: SubscriptionId(1),
            filter: TopicFilter::try_from("t/#").unwrap(),
            options: SubscriptionOptions { qos: Qos::ExactlyOnce, ..Default::default() },
            user_properties: Vec::new(),
        };
        self.engine.subscribe(request, self.now()).unwrap();
    }

    pub(crate) fn run(&mut self) -> Result<(), String> {
        let result = self.live();
        if result.is_err() && std::env::var("REJOIN_TRACE").is_ok() {
            let tail: Vec<_> = self.log.iter().rev().take(120).rev().cloned().collect();
            eprintln!("seed {} {:?}\n{}", self.seed, self.faults, tail.join("\n"));
        }
        result
    }

    fn live(&mut self) -> Result<(), String> {
        let mut next_fault = self.rng.u64(..self.faults.mean_gap * 2);
        let mut next_publish = 0;
        while self.at < FAULTS_FOR {
            self.step(next_fault.min(next_publish).min(FAULTS_FOR))?;
            if self.at >= next_publish {
                self.publish()?;
                next_publish = self.at + self.rng.u64(10_000..400_000);
            }
            if self.at >= next_fault {
                self.fault()?;
                next_fault = self.at + self.rng.u64(..self.faults.mean_gap * 2);
            }
        }
        self.heal();
        while self.at < FAULTS_FOR + HEALED_FOR {
            self.step(self.at + 1_000_000)?;
            let status = self.engine.status();
            if status.queued + status.in_flight == 0 && status.ready && self.unsynced.is_empty() {
                break;
            }
        }
        let status = self.engine.status();
        // A strict 3.1.1 broker answers the excused reuse of an identifier by closing, for ever.
        if self.app.crashed && self.broker.violations().next().is_some() {
            return Ok(());
        }
        if status.queued + status.in_flight > 0 || !status.ready {
            return Err(format!("not drained 15 minutes after the last fault: {status:?}"));
        }
        self.step(self.at + 60_000_000)?;
        self.app.judge(&self.account)
    }

    fn publish(&mut self) -> Result<(), String> {
        self.next += 1;
        let (qos, lane) = (Qos::from_u8(self.rng.u8(..3)).unwrap(), self.rng.u8(..2));
        let topic = TopicName::try_from(format!("t/{lane}")).unwrap();
        let mut publication = Publication::new(topic, self.next.to_string());
        publication.qos = qos;
        self.app.published.insert(self.next, (qos, lane));
        self.engine.publish(PublishId(self.next), publication, self.now()).map_err(|e| e.to_string())?;
        self.drain()
    }

    /// Lets things happen until `until`, one at a time.
    fn step(&mut self, until: u64) -> Result<(), String> {
        loop {
            let engine = self.engine.deadline().map(|(at, _)| at.as_micros());
            let broker = self.broker.next_deadline().map(Timestamp::as_micros);
            let wire = self.link.as_ref().and_then(|w| {
                let up = w.up.front().map(|(at, _)| *at);
                let down = w.down.front().map(|(at, _)| *at);
                [up, down].into_iter().flatten().min()
            });
            let disk = self.unsynced.front().map(|(at, ..)| *at);
            let loads = self.loads.front().map(|(at, ..)| *at);
            let acks = self.acks.iter().map(|(at, _)| *at).min();
            let opening = self.opening.map(|(at, _)| at);
            let due = [engine, broker, wire, disk, loads, acks, opening].into_iter().flatten().min();
            let Some(due) = due.filter(|at| *at <= until) else {
                self.at = self.at.max(until);
                return Ok(());
            };
            self.steps = if due > self.at { 0 } else { self.steps + 1 };
            if self.steps > 10_000 {
                return Err(format!("10,000 steps at one moment; deadline {:?}", self.engine.deadline()));
            }
            self.at = self.at.max(due);
            self.happen(engine, broker)?;
            // QoS 1 does not wait for its identifier to be on the disk, so a crash may use one again.
            let excused = |v: &&Violation| self.app.crashed && v.clause == "MQTT-2.2.1-3";
            if let Some(violation) = self.broker.violations().find(|v| !excused(v)) {
                return Err(format!("the broker objects: {violation:?}"));
            }
        }
    }

    fn happen(&mut self, engine: Option<u64>, broker: Option<u64>) -> Result<(), String> {
        if let Some((at, ok)) = self.opening
            && at <= self.at
        {
            self.opening = None;
            return self.transport(ok);
        }
        if let Some((at, ticket, _)) = self.unsynced.front()
            && *at <= self.at
        {
            let ticket = *ticket;
            if let Some((_, _, records)) = self.unsynced.pop_front() {
                self.disk.extend(records);
            }
            return self.input(Input::Persisted(ticket));
        }
        if let Some((at, ids)) = self.loads.front()
            && *at <= self.at
        {
            let bodies = self.bodies(ids);
            self.loads.pop_front();
            return self.input(Input::Loaded(bodies));
        }
        if let Some(i) = self.acks.iter().position(|(at, _)| *at <= self.at) {
            let (_, id) = self.acks.swap_remove(i);
            self.engine.ack(id, ReasonCode::SUCCESS, self.now());
            return self.drain();
        }
        self.wire()?;
        if broker.is_some_and(|at| at <= self.at) {
            self.broker.tick(self.mono());
            self.collect();
        }
        if engine.is_some_and(|at| at <= self.at) {
            self.input(Input::Tick)?;
        }
        Ok(())
    }

    fn transport(&mut self, ok: bool) -> Result<(), String> {
        if !ok {
            let error = TransportError::new(TransportErrorKind::Refused, "refused");
            return self.input(Input::OpenFailed { stage: Stage::Tcp, error });
        }
        let id = self.broker.opened(self.mono());
        self.link = Some(Wire {
            id,
            up: VecDeque::new(),
            down: VecDeque::new(),
            up_dead: false,
            down_dead: false,
            over: false,
        });
        self.input(Input::Opened)
    }

    fn wire(&mut self) -> Result<(), String> {
        let at = self.at;
        let Some(wire) = self.link.as_mut() else { return Ok(()) };
        if wire.up.front().is_some_and(|(due, _)| *due <= at)
            && let Some((_, bytes)) = wire.up.pop_front()
        {
            let (id, dead, over, size) = (wire.id, wire.up_dead, wire.over, bytes.len());
            if !dead {
                self.broker.received(id, bytes, Timestamp::from_micros(at));
                self.collect();
            }
            // The kernel takes bytes whether or not anybody will ever read them, up to its buffer.
            return if over { Ok(()) } else { self.input(Input::Written(size)) };
        }
        if wire.down.front().is_some_and(|(due, _)| *due <= at)
            && let Some((_, chunk)) = wire.down.pop_front()
        {
            if wire.down_dead || wire.over {
                return Ok(());
            }
            return match chunk {
                Chunk::Bytes(bytes) => self.input(Input::Received(bytes)),
                Chunk::End => {
                    wire.over = true;
                    self.input(Input::Lost(TransportError::new(TransportErrorKind::Closed, "closed")))
                }
            };
        }
        Ok(())
    }

    /// Takes what the broker wants to send.
    fn collect(&mut self) {
        for id in self.broker.take_dirty() {
            while let Some(output) = self.broker.take_output(id) {
                let delay = self.rng.u64(1..=self.faults.delay);
                let Some(wire) = self.link.as_mut().filter(|w| w.id == id) else {
                    if matches!(output, BrokerOutput::Close(_)) {
                        self.broker.closed(id, Timestamp::from_micros(self.at));
                        break;
                    }
                    continue;
                };
                let after = wire.down.back().map_or(0, |(at, _)| *at);
                let due = after.max(self.at + delay);
                match output {
                    BrokerOutput::Send(bytes) => {
                        let cut = self.rng.usize(0..=bytes.len());
                        wire.down.push_back((due, Chunk::Bytes(bytes.slice(..cut))));
                        wire.down.push_back((due, Chunk::Bytes(bytes.slice(cut..))));
                    }
                    BrokerOutput::Close(ending) => {
                        if ending == Ending::Rst {
                            wire.down.clear();
                        }
                        wire.down.push_back((self.at + delay, Chunk::End));
                        wire.up.clear();
                        self.broker.closed(id, Timestamp::from_micros(self.at));
                        break;
                    }
                }
            }
        }
    }

    fn input(&mut self, input: Input) -> Result<(), String> {
        self.engine.handle(input, self.now());
        self.drain()
    }

    fn drain(&mut self) -> Result<(), String> {
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Open { .. } => {
                    self.sniffer = Decoder::new(Version::V5, Sender::Client, Limits::default());
                    let ok = self.rng.u8(..100) >= self.faults.refuse_percent;
                    self.opening = Some((self.at + self.rng.u64(1..=self.faults.delay), ok));
                }
                Output::Transmit(bytes) => self.transmit(bytes),
                Output::Close { .. } => self.close(),
                Output::Persist { ticket, records } => {
                    let due = self.unsynced.back().map_or(0, |(at, ..)| *at);
                    let due = due.max(self.at + self.rng.u64(1..=self.faults.sync));
                    self.unsynced.push_back((due, ticket, records));
                }
                Output::Load(ids) => {
                    self.loads.push_back((self.at + self.rng.u64(1..=self.faults.sync), ids))
                }
                Output::Event(event) => self.event(event)?,
            }
        }
        Ok(())
    }

    /// What the disk gives back, or the records on their way to it.
    fn bodies(&self, ids: &[PublishId]) -> Vec<(PublishId, Option<Publication>)> {
        let records =
            || self.disk.iter().chain(self.unsynced.iter().flat_map(|(_, _, records)| records)).rev();
        let find = |wanted: &PublishId| {
            records().find_map(|record| match record {
                Record::Enqueued { id, publication, .. } if id == wanted => Some(publication.clone()),
                _ => None,
            })
        };
        ids.iter().map(|id| (*id, find(id))).collect()
    }

    fn transmit(&mut self, bytes: Bytes) {
        self.sniffer.push(bytes.clone());
        while let Ok(Some(Decoded::Packet(packet))) = self.sniffer.next() {
            self.note(format!("  {}", words(&packet)));
        }
        let delay = self.rng.u64(1..=self.faults.delay);
        let Some(wire) = self.link.as_mut() else { return };
        let due = wire.up.back().map_or(0, |(at, _)| *at).max(self.at + delay);
        let cut = self.rng.usize(0..=bytes.len());
        for part in [bytes.slice(..cut), bytes.slice(cut..)] {
            if !part.is_empty() {
                wire.up.push_back((due, part));
            }
        }
    }

    fn close(&mut self) {
        self.opening = None;
        if let Some(wire) = self.link.take() {
            // What was handed to the kernel may still arrive.
            if !wire.up_dead && self.rng.bool() {
                for (_, bytes) in wire.up {
                    self.broker.received(wire.id, bytes, Timestamp::from_micros(self.at));
                }
            }
            if !wire.over && !wire.up_dead {
                self.broker.closed(wire.id, Timestamp::from_micros(self.at));
            }
            self.collect();
        }
    }

    fn event(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Message(message) => {
                let n = number(&message.payload).ok_or("an invented payload")?;
                if !self.app.published.contains_key(&n) {
                    return Err(format!("{n} was never published"));
                }
                *self.app.received.entry(n).or_default() += 1;
                if let Some(id) = message.id {
                    self.acks.push((self.at + self.rng.u64(1..3_000_000), id));
                }
                self.note(format!("message {n} {:?}", message.qos));
            }
            Event::Finished { id, outcome } => {
                self.note(format!("finished {} {outcome:?}", id.0));
                if matches!(outcome, Outcome::Parked { .. }) {
                    return Err(format!("{} was parked, and no message is poison", id.0));
                }
                self.app.answered(id, outcome, &self.account)?;
            }
            Event::Opened { session, resending, .. } => {
                self.note(format!("opened {session:?} resending {resending}"));
                self.app.sessions_lost += u32::from(matches!(session, SessionState::Lost(_)));
            }
            Event::Closed { cause, verdict, .. } => self.note(format!("closed {cause} {verdict:?}")),
            Event::AttemptFailed { cause, verdict, .. } => self.note(format!("failed {cause} {verdict:?}")),
            _ => {}
        }
        Ok(())
    }

    fn fault(&mut self) -> Result<(), String> {
        let Some(kind) = self.rng.choice(&self.faults.kinds).copied() else { return Ok(()) };
        self.note(format!("fault {kind}"));
        let manners = self.broker.manners_mut();
        match kind {
            0 => self.cut(Ending::Fin)?,
            1 => self.cut(Ending::Rst)?,
            2 => self.broker.restart(true),
            3 => {
                self.broker.restart(false);
                self.app.sessions_lost += 1;
            }
            4 | 5 => {
                if let Some(wire) = self.link.as_mut() {
                    wire.up_dead |= kind == 4;
                    wire.down_dead |= kind == 5;
                }
            }
            6 => manners.withhold_connack = Times::Count(2),
            7 => manners.close_on_connect = Times::Count(2),
            8 => {
                let kinds = [
                    PacketKind::PubAck,
                    PacketKind::PubRec,
                    PacketKind::PubComp,
                    PacketKind::SubAck,
                    PacketKind::PubRel,
                    PacketKind::PingResp,
                ];
                // What is lost between a live broker and a live client is lost with the link.
                let kind = kinds[self.rng.usize(..kinds.len())];
                self.broker.manners_mut().lose(kind, Times::Count(3));
                self.broker.manners_mut().path_loses_packets = true;
            }
            9 => manners.receive_maximum = Some(self.rng.u16(1..20)),
            10 => manners.ack_delay = Duration::from_millis(self.rng.u64(0..3_000)),
            11 => manners.swap_acks = self.rng.bool(),
            12 => {
                let codes = [0x80, 0x88, 0x89, 0x97, 0x9F, 0x83];
                let code = ReasonCode(codes[self.rng.usize(..codes.len())]);
                manners.refuse_connect = Some(Refusal::new(code).times(2));
            }
            _ if self.faults.durable => self.crash()?,
            _ => {}
        }
        self.collect();
        Ok(())
    }

    /// The connection ends for both sides, in the middle of whatever is under way.
    fn cut(&mut self, ending: Ending) -> Result<(), String> {
        let Some(wire) = self.link.as_mut() else { return Ok(()) };
        wire.over = true;
        let id = wire.id;
        if ending == Ending::Fin && !wire.up_dead {
            for (_, bytes) in std::mem::take(&mut wire.up) {
                self.broker.received(id, bytes, Timestamp::from_micros(self.at));
            }
        }
        self.broker.closed(id, Timestamp::from_micros(self.at));
        let kind = match ending {
            Ending::Fin => TransportErrorKind::Closed,
            Ending::Rst => TransportErrorKind::Reset,
        };
        self.input(Input::Lost(TransportError::new(kind, "cut")))
    }

    /// The process dies; what was not synced is gone.
    fn crash(&mut self) -> Result<(), String> {
        self.note("crash".into());
        let keep = self.rng.usize(0..=self.unsynced.len());
        for (_, _, records) in self.unsynced.drain(..).take(keep) {
            self.disk.extend(records);
        }
        self.unsynced.clear();
        self.loads.clear();
        self.acks.clear();
        self.opening = None;
        if let Some(wire) = self.link.take() {
            self.broker.closed(wire.id, Timestamp::from_micros(self.at));
        }
        let stored: BTreeMap<u64, ()> = self
            .disk
            .iter()
            .filter_map(|r| if let Record::Enqueued { id, .. } = r { Some((id.0, ())) } else { None })
            .collect();
        // What was accepted but not yet stored may be lost with the process: nobody was told otherwise.
        let forgotten: Vec<u64> =
            self.app.published.keys().copied().filter(|n| !stored.contains_key(n)).collect();
        self.app.forgotten.extend(forgotten);
        self.app.crashed = true;
        self.lives += 1;
        let seed = self.seed ^ (self.lives << 32);
        let kept = Recovered::replay(self.disk.iter().cloned());
        self.engine = Engine::new(self.config.clone(), kept, seed, self.now()).unwrap();
        self.subscribe();
        self.input(Input::Tick)
    }

    fn heal(&mut self) {
        self.note("heal".into());
        let receive_maximum = self.broker.manners_mut().receive_maximum;
        *self.broker.manners_mut() =
            Manners { receive_maximum, path_loses_packets: true, ..manners(self.app.qos2_at_pubrel) };
        self.faults.refuse_percent = 0;
        self.snapshot = None;
    }
}

fn manners(qos2_at_pubrel: bool) -> Manners {
    let forwards_qos2 = if qos2_at_pubrel { Forward::AtPubrel } else { Forward::AtPublish };
    Manners { forwards_qos2, ..Manners::default() }
}

fn words(packet: &Packet) -> String {
    match packet {
        Packet::Publish(p) => {
            let payload = String::from_utf8_lossy(&p.payload);
            format!("PUBLISH {:?} q{} dup {} {payload}", p.packet_id, p.qos as u8, p.dup)
        }
        Packet::PubAck(a) | Packet::PubRec(a) | Packet::PubRel(a) | Packet::PubComp(a) => {
            format!("{} {}", packet.name(), a.packet_id)
        }
        Packet::Connect(c) => format!("CONNECT clean {}", c.clean_start),
        other => other.name().to_owned(),
    }
}
