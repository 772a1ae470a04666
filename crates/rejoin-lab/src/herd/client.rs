//! One member of the herd: rejoin's engine, or somebody's rule.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use rejoin_core::{Config, Engine, Input, Now, Output, Text, Timestamp, TransportError, TransportErrorKind};

use super::rules::{Past, Rule};
use super::{CUT_AT, SECOND};

/// CONNACK with success: fresh, and with the session.
const CONNACK_FRESH: [u8; 5] = [0x20, 0x03, 0x00, 0x00, 0x00];
const CONNACK_PRESENT: [u8; 5] = [0x20, 0x03, 0x01, 0x00, 0x00];
/// CONNACK with 0x9F, connection rate exceeded.
const CONNACK_BUSY: [u8; 5] = [0x20, 0x03, 0x00, 0x9F, 0x00];
const PINGREQ: u8 = 0xC0;
const PINGRESP: [u8; 2] = [0xD0, 0x00];

/// What the world tells a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The moment it asked to be woken at.
    Wake,
    /// Its link was reset.
    Cut,
    /// Nobody listens.
    Refused,
    /// The transport is open.
    Opened,
    /// CONNACK with 0x9F.
    Busy,
    /// CONNACK with success.
    Connack,
}

/// What a client wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Open a transport.
    Dial,
    /// Leave the attempt that is under way.
    HangUp,
    /// No more attempts, for ever.
    Never,
}

/// A client of the herd.
pub trait Client {
    /// One thing happened at this moment, in microseconds. Gives what is to be done, in order.
    fn tell(&mut self, news: News, at: u64) -> VecDeque<Want>;
    /// When to be told [`News::Wake`]; `None` while there is nothing to wait for.
    fn wake(&self) -> Option<u64>;
}

/// rejoin itself: the engine that the driver runs, with a link that was stable before the cut.
#[derive(Debug)]
pub struct EngineClient {
    engine: Engine,
}

impl EngineClient {
    /// An engine that connected at the origin of time and has been idle until [`CUT_AT`].
    pub fn connected(settings: &Config, seed: u64) -> Self {
        let mut config = settings.clone();
        config.client_id = Text::from_static("herd");
        let engine = Engine::new(config, rejoin_core::Recovered::default(), seed, moment(0));
        let mut client = Self { engine: engine.expect("the settings of a herd are checked by its author") };
        client.drive(Input::Tick, 0);
        client.drive(Input::Opened, 0);
        client.drive(Input::Received(Bytes::from_static(&CONNACK_FRESH)), 0);
        while let Some(at) = client.wake().filter(|&at| at < CUT_AT) {
            client.drive(Input::Tick, at);
        }
        client
    }

    fn drive(&mut self, input: Input, at: u64) -> VecDeque<Want> {
        let mut wants = VecDeque::new();
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.engine.handle(input, moment(at));
            while let Some(output) = self.engine.poll() {
                match output {
                    Output::Open { .. } => wants.push_back(Want::Dial),
                    Output::Close { .. } => wants.push_back(Want::HangUp),
                    Output::Transmit(bytes) => {
                        inputs.push_back(Input::Written(bytes.len()));
                        if bytes.first() == Some(&PINGREQ) {
                            inputs.push_back(Input::Received(Bytes::from_static(&PINGRESP)));
                        }
                    }
                    Output::Persist { .. } | Output::Load(_) | Output::Event(_) => {}
                }
            }
        }
        wants
    }
}

impl Client for EngineClient {
    fn tell(&mut self, news: News, at: u64) -> VecDeque<Want> {
        let error = |kind| TransportError::new(kind, String::new());
        let input = match news {
            News::Wake => Input::Tick,
            News::Cut => Input::Lost(error(TransportErrorKind::Reset)),
            News::Refused => Input::OpenFailed {
                stage: rejoin_core::Stage::Tcp,
                error: error(TransportErrorKind::Refused),
            },
            News::Opened => Input::Opened,
            News::Busy => Input::Received(Bytes::from_static(&CONNACK_BUSY)),
            News::Connack => Input::Received(Bytes::from_static(&CONNACK_PRESENT)),
        };
        self.drive(input, at)
    }

    fn wake(&self) -> Option<u64> {
        self.engine.deadline().map(|(at, _)| at.as_micros())
    }
}

fn moment(at: u64) -> Now {
    Now::new(Timestamp::from_micros(at), 1_700_000_000_000 + at / 1_000)
}

/// A client that follows one of the [`super::rules`]. One clock covers the whole attempt, as those clients have it.
#[derive(Clone, Debug)]
pub struct RuleClient {
    rule: Rule,
    chance: fastrand::Rng,
    time_out: u64,
    past: Past,
    wake: Option<u64>,
    dialling: bool,
}

impl RuleClient {
    /// A client that is connected when the herd begins. `time_out` is the limit of one attempt.
    pub fn connected(rule: Rule, time_out: Duration, seed: u64) -> Self {
        let time_out = u64::try_from(time_out.as_micros()).unwrap_or(u64::MAX);
        let chance = fastrand::Rng::with_seed(seed);
        Self { rule, chance, time_out, past: Past::default(), wake: None, dialling: false }
    }

    fn wait(&mut self, at: u64) -> VecDeque<Want> {
        self.dialling = false;
        let next = self.rule.next(&self.past, at, &mut self.chance);
        self.past.failures = self.past.failures.saturating_add(1);
        self.past.waited = next.map_or(0, |next| next - at);
        self.wake = next;
        if next.is_none() { VecDeque::from([Want::Never]) } else { VecDeque::new() }
    }

    fn wait_for_the_overloaded(&mut self, at: u64) -> VecDeque<Want> {
        self.past.overloads = self.past.overloads.saturating_add(1);
        self.past.overloaded = true;
        let wants = self.wait(at);
        self.past.overloaded = false;
        wants
    }
}

impl Client for RuleClient {
    fn tell(&mut self, news: News, at: u64) -> VecDeque<Want> {
        match news {
            News::Cut | News::Refused => self.wait(at),
            News::Busy => self.wait_for_the_overloaded(at),
            News::Wake if self.dialling => {
                let mut wants = self.wait_for_the_overloaded(at);
                self.time_out = self.rule.time_out_after(self.time_out);
                wants.push_front(Want::HangUp);
                wants
            }
            News::Wake => {
                self.dialling = true;
                self.past.started = at;
                self.wake = Some(at + self.time_out.min(GIVE_UP_DIALLING));
                VecDeque::from([Want::Dial])
            }
            News::Opened => VecDeque::new(),
            News::Connack => {
                self.wake = None;
                VecDeque::new()
            }
        }
    }

    fn wake(&self) -> Option<u64> {
        self.wake
    }
}

/// The kernel's own limit of a connect, for whoever sets none.
const GIVE_UP_DIALLING: u64 = 127 * SECOND;
