//! The engine under any inputs and commands in any order: it never panics and ends each message once. Where the inputs
//! keep to what a driver may tell (nothing from a transport that is not open, nothing of a store that failed), what it
//! writes is a legal stream of a client.

mod client;
mod drawn;
mod server;
mod setting;
mod store;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use rejoin_core::codec::packet::Packet;
use rejoin_core::codec::{Decoded, Decoder, Limits, Sender};
use rejoin_core::{
    Config, Engine, Event, Input, MessageId, Now, Output, Recovered, Stage, Timestamp, Version, VersionPolicy,
};

use super::input::Choices;
use store::Store;

const OPERATIONS_MAX: usize = 2_000;
/// Outputs of one input; an engine that gives more without another input is in a loop.
const OUTPUTS_MAX: usize = 100_000;
/// Each reads all records there are.
const RESTARTS_MAX: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    None,
    Opening,
    Open,
}

/// How the store is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Standing {
    #[default]
    Well,
    /// It failed, and the client goes on without.
    InMemory,
    /// It failed, and what needs it waits for the next process.
    Refusing,
}

struct World {
    engine: Engine,
    /// Of the next process.
    config: Config,
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
    store: Store,
    restarts: usize,
}

/// Operations from bytes.
pub fn engine(data: &[u8]) {
    let mut choices = Choices::new(data);
    let lawful = choices.byte() < 192;
    let (config, records) = setting::config(&mut choices);
    if config.check().is_err() {
        // The target `settings` looks at these.
        return;
    }
    let store = match config.session.durable {
        true => {
            Store { kept: (0..records).map(|_| store::record(&mut choices)).collect(), ..Store::default() }
        }
        false => Store::default(),
    };
    let start = Now::new(Timestamp::ZERO, 1_000);
    let engine = Engine::new(config.clone(), Recovered::default(), 7, start);
    let mut world = World {
        engine: engine.expect("these settings are possible"),
        config,
        lawful,
        transport: Transport::None,
        at: 0,
        wall: start.wall_ms,
        version: Version::V5,
        written: None,
        greeted: false,
        ended: BTreeMap::new(),
        next: 1,
        unwritten: 0,
        messages: Vec::new(),
        store,
        restarts: 0,
    };
    world.begin();
    for _ in 0..OPERATIONS_MAX {
        if choices.is_over() {
            break;
        }
        world.operate(&mut choices);
    }
    world.finish();
}

impl World {
    const fn now(&self) -> Now {
        Now::new(Timestamp::from_micros(self.at), self.wall)
    }

    /// A process begins with what the store kept.
    fn begin(&mut self) {
        let kept = std::mem::take(&mut self.store.kept);
        let (recovered, names) = store::recover(&kept);
        self.next = self.next.max(recovered.last_publish.0 + 1);
        self.ended = names.into_iter().map(|name| (name, 0)).collect();
        self.messages.clear();
        self.store = Store { kept, ..Store::default() };
        self.transport = Transport::None;
        (self.written, self.greeted, self.unwritten) = (None, false, 0);
        let only_311 = self.config.version == VersionPolicy::Only311;
        self.version = if only_311 { Version::V311 } else { Version::V5 };
        let engine = Engine::new(self.config.clone(), recovered, 7, self.now());
        self.engine = engine.expect("these settings are possible");
        self.input(Input::Tick);
    }

    /// The first numbers, over and over, were all there was once: so older inputs mean what they meant.
    fn operate(&mut self, choices: &mut Choices<'_>) {
        let choice = choices.byte();
        match choice {
            216..=223 => self.input(Input::Reached(drawn::stage(choices))),
            224..=225 => {
                let (stage, error) = (drawn::stage(choices), drawn::error(choices, "no"));
                self.input(Input::OpenFailed { stage, error });
            }
            226..=228 => self.store_fails(choices),
            229..=230 if self.restarts < RESTARTS_MAX => {
                self.restarts += 1;
                self.restart(choices);
            }
            229..=243 => self.receive_full(choices),
            244..=255 => self.rare_command(choices),
            _ => self.operate_often(choice % 24, choices),
        }
    }

    fn operate_often(&mut self, choice: u8, choices: &mut Choices<'_>) {
        match choice {
            0 => self.input(Input::Opened),
            1 => {
                let error = drawn::error(choices, "no");
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
                let error = drawn::error(choices, "gone");
                self.input(Input::Lost(error));
            }
            11 => self.store_answers(choices),
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
                Output::Open { server, .. } => {
                    assert!(self.transport == Transport::None || !self.lawful, "two transports at a time");
                    assert!(server < self.engine.config().servers.len(), "no such server");
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
                Output::Persist { ticket, records } => self.given_to_store(ticket, records),
                Output::Load(ids) => self.store.loads.push(ids),
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
