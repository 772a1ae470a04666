//! The flight recorder: everything that goes into an engine and everything that comes out, one line each.
//!
//! The engine is a pure function of its inputs, so a file of them is the whole story: [`replay()`] rebuilds the engine
//! and sees the same outputs at the same times, on any machine. A user's report becomes a test by copying a file.
//!
//! Payloads, the login and authentication data are blanked on the way, byte for byte, by the letter `x`: the engine
//! never looks inside, so the story stays the same. Of QoS 2 messages it compares the payload with the one that came
//! under the same identifier before, so the last letter of theirs says whether it is another one. Topics, client id and properties are in it; whoever sends a flight
//! sends those.
//!
//! ```
//! use rejoin_core::flight::{Flight, replay};
//! use rejoin_core::{Config, Input, Now, Text};
//!
//! let tape = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
//! let sink = std::sync::Arc::clone(&tape);
//! let write = move |line: &str| {
//!     if let Ok(mut tape) = sink.lock() {
//!         tape.push_str(line);
//!         tape.push('\n');
//!     }
//!     true
//! };
//! let config = Config::new(Text::from_static("id"), Text::from_static("broker"));
//! let mut flight = Flight::recorded(config, Default::default(), 42, Now::default(), Box::new(write))?;
//! flight.handle(Input::Tick, Now::default());
//! while flight.poll().is_some() {}
//!
//! let text = tape.lock().map(|tape| tape.clone()).unwrap_or_default();
//! let found = replay(&text, |_line, _now, _step, _engine| {})?;
//! assert!(found.difference.is_none() && found.outputs > 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod alike;
mod blank;
mod call;
mod line;
mod replay;
mod settings;
mod taken;
mod told;
mod weight;

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use bytes::Bytes;

use self::alike::Alike;
use self::blank::Blanker;
pub use self::call::Call;
use self::line::Line;
pub use self::replay::{Difference, Replayed, Step, Unreadable, replay};
use self::taken::Untold;
use self::told::Teller;
use crate::codec::packet::Version;
use crate::codec::reason::ReasonCode;
use crate::config::{Config, Login};
use crate::engine::Engine;
use crate::error::{ConfigError, Rejected, TransportError};
use crate::event::{MessageId, Publication, PublishId, SubscribeRequest, SubscriptionId};
use crate::interface::{Input, Output};
use crate::session::Recovered;
use crate::time::{Now, Timestamp};

/// The version of the format.
const VERSION: &str = "1";

/// Takes one line, without its end. `false`: it takes no more, and the recording is over.
pub type Sink = Box<dyn FnMut(&str) -> bool + Send>;

/// An [`Engine`], recorded or not. It has the engine's functions; what only looks is reached through it.
#[derive(Debug)]
pub struct Flight {
    engine: Engine,
    tape: Option<Box<Tape>>,
}

struct Tape {
    sink: Sink,
    told: Teller,
    down: Blanker,
    alike: Alike,
    untold: Untold,
    /// The last line says that nothing more came out.
    idle: bool,
    ended: bool,
}

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tape").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Tape {
    fn write(&mut self, line: &str) {
        self.ended = self.ended || !(self.sink)(line);
    }

    fn call(&mut self, now: Now, line: Option<String>) {
        if self.ended {
            return;
        }
        self.idle = false;
        match line {
            Some(line) => self.write(&format!("< {} {} {line}", now.mono.as_micros(), now.wall_ms)),
            None => {
                self.write("# an input has no form on this tape");
                self.ended = true;
            }
        }
    }

    fn output(&mut self, output: Option<&Output>) {
        if self.ended {
            return;
        }
        match output {
            Some(output) => {
                self.idle = false;
                if matches!(output, Output::Open { .. }) {
                    self.down = Blanker::new(Version::V5);
                }
                let line = self.told.line(output);
                self.down.set_version(self.told.version());
                self.write(&format!("> {line}"));
            }
            None if !std::mem::replace(&mut self.idle, true) => self.write("."),
            None => {}
        }
    }
}

impl Flight {
    /// An engine that is not recorded.
    pub const fn new(engine: Engine) -> Self {
        Self { engine, tape: None }
    }

    /// An engine and the recording of it, from its settings and state on.
    ///
    /// # Errors
    /// As [`Engine::new`].
    pub fn recorded(
        config: Config,
        kept: Recovered,
        seed: u64,
        now: Now,
        mut sink: Sink,
    ) -> Result<Self, ConfigError> {
        let mut ended = !sink(&format!("rejoin-flight {VERSION} rejoin={}", env!("CARGO_PKG_VERSION")));
        for line in settings::write(&config) {
            ended = ended || !sink(&line);
        }
        match call::kept(&kept) {
            Some(lines) => lines.iter().for_each(|line| ended = ended || !sink(line)),
            None => {
                // Nothing follows a line that says why nothing follows.
                if !std::mem::replace(&mut ended, true) {
                    sink("# the state the client began with has no form on this tape");
                }
            }
        }
        let mut alike = Alike::default();
        for (packet_id, message) in
            kept.held.iter().filter_map(|held| held.packet_id.zip(held.message.as_ref()))
        {
            alike.letter(packet_id.get(), alike::sum(&message.payload));
        }
        let start = Line::new("start").with("seed", seed).with("mono", now.mono.as_micros());
        ended = ended || !sink(&start.with("wall_ms", now.wall_ms).finish());
        let untold = Untold::of(&kept);
        let engine = Engine::new(config, kept, seed, now)?;
        let down = Blanker::new(Version::V5);
        let tape = Tape { sink, told: Teller::new(), down, alike, untold, idle: false, ended };
        Ok(Self { engine, tape: Some(Box::new(tape)) })
    }

    fn note(&mut self, now: Now, line: impl FnOnce() -> Option<String>) {
        if let Some(tape) = self.tape.as_deref_mut().filter(|tape| !tape.ended) {
            tape.call(now, line());
        }
    }

    /// The calls that take no time of their own: the engine goes on with the time it has.
    fn note_untimed(&mut self, line: impl FnOnce() -> Option<String>) {
        let now = self.engine.now();
        self.note(now, line);
    }

    /// Whether a line would be taken.
    fn is_recording(&self) -> bool {
        self.tape.as_deref().is_some_and(|tape| !tape.ended)
    }

    /// To an engine that refuses it, a request is a look at the clock.
    fn note_accepted(&mut self, now: Now, line: Option<Option<String>>, accepted: bool) {
        if let Some(line) = line {
            self.note(now, || if accepted { line } else { Some("tick".to_owned()) });
        }
    }

    /// [`Engine::handle`].
    pub fn handle(&mut self, input: Input, now: Now) {
        if let Some(tape) = self.tape.as_deref_mut().filter(|tape| !tape.ended) {
            let received = match &input {
                Input::Received(bytes) => tape.down.blank_inbound(bytes, &mut tape.alike),
                _ => Vec::new(),
            };
            tape.call(now, call::input(&input, &received));
        }
        self.engine.handle(input, now);
        if let Some(tape) = self.tape.as_deref_mut().filter(|tape| !tape.ended) {
            for line in tape.untold.lines(&self.engine, &mut tape.alike) {
                tape.write(&line);
            }
        }
    }

    /// [`Engine::poll`].
    pub fn poll(&mut self) -> Option<Output> {
        let output = self.engine.poll();
        if let Some(tape) = self.tape.as_deref_mut() {
            tape.output(output.as_ref());
        }
        output
    }

    /// [`Engine::publish`].
    ///
    /// # Errors
    /// As there.
    pub fn publish(&mut self, id: PublishId, publication: Publication, now: Now) -> Result<(), Rejected> {
        let line = self.is_recording().then(|| call::publish(id, &publication));
        let result = self.engine.publish(id, publication, now);
        self.note_accepted(now, line, result.is_ok());
        result
    }

    /// [`Engine::subscribe`].
    ///
    /// # Errors
    /// As there.
    pub fn subscribe(&mut self, request: SubscribeRequest, now: Now) -> Result<(), Rejected> {
        let line = self.is_recording().then(|| call::subscribe(&request));
        let result = self.engine.subscribe(request, now);
        self.note_accepted(now, line, result.is_ok());
        result
    }

    /// [`Engine::unsubscribe`].
    pub fn unsubscribe(&mut self, id: SubscriptionId, now: Now) {
        self.note(now, || Some(Line::new("unsubscribe").with("id", id.0).finish()));
        self.engine.unsubscribe(id, now);
    }

    /// [`Engine::detach`].
    pub fn detach(&mut self, id: SubscriptionId) {
        self.note_untimed(|| Some(Line::new("detach").with("id", id.0).finish()));
        self.engine.detach(id);
    }

    /// [`Engine::ack`].
    pub fn ack(&mut self, id: MessageId, reason: ReasonCode, now: Now) {
        self.note(now, || Some(Line::new("ack").with("id", id.0).with("reason", reason.0).finish()));
        self.engine.ack(id, reason, now);
    }

    /// [`Engine::leave`].
    pub fn leave(&mut self, id: MessageId, forget: bool, now: Now) -> bool {
        self.note(now, || Some(Line::new("leave").with("id", id.0).flag("forget", forget).finish()));
        self.engine.leave(id, forget, now)
    }

    /// [`Engine::cancel`].
    pub fn cancel(&mut self, id: PublishId, now: Now) -> bool {
        self.note(now, || Some(Line::new("cancel").with("id", id.0).finish()));
        self.engine.cancel(id, now)
    }

    /// [`Engine::evict_oldest`].
    pub fn evict_oldest(&mut self, now: Now) -> Option<PublishId> {
        self.note(now, || Some("evict-oldest".to_owned()));
        self.engine.evict_oldest(now)
    }

    /// [`Engine::decide`].
    pub fn decide(&mut self, id: PublishId, resend: bool, now: Now) {
        self.note(now, || Some(Line::new("decide").with("id", id.0).flag("resend", resend).finish()));
        self.engine.decide(id, resend, now);
    }

    /// [`Engine::set_login`]. The length of the login is recorded, nothing else of it.
    pub fn set_login(&mut self, login: Login) {
        self.note_untimed(|| Some(call::login(&login)));
        self.engine.set_login(login);
    }

    /// [`Engine::set_auth_data`]. Its length is recorded, and that of all authentication data below.
    pub fn set_auth_data(&mut self, data: Option<Bytes>) {
        self.note_untimed(|| Some(call::data("auth-data", data.as_ref())));
        self.engine.set_auth_data(data);
    }

    /// [`Engine::authenticate`].
    pub fn authenticate(&mut self, data: Option<Bytes>, now: Now) {
        self.note(now, || Some(call::data("authenticate", data.as_ref())));
        self.engine.authenticate(data, now);
    }

    /// [`Engine::reauthenticate`].
    pub fn reauthenticate(&mut self, data: Option<Bytes>, now: Now) -> bool {
        self.note(now, || Some(call::data("reauthenticate", data.as_ref())));
        self.engine.reauthenticate(data, now)
    }

    /// [`Engine::auth_failed`].
    pub fn auth_failed(&mut self, error: TransportError, now: Now) {
        self.note(now, || Some(call::failed(Line::new("auth-failed"), &error).finish()));
        self.engine.auth_failed(error, now);
    }

    /// [`Engine::credentials_end`].
    pub fn credentials_end(&mut self, good_for: Option<Duration>, now: Now) {
        self.note(now, || Some(call::credentials_end(good_for)));
        self.engine.credentials_end(good_for, now);
    }

    /// [`Engine::renewed`]. The length of the login is recorded, nothing else of it.
    pub fn renewed(&mut self, login: Option<Login>, good_for: Option<Duration>, now: Now) {
        self.note(now, || Some(call::renewed(login.as_ref(), good_for)));
        self.engine.renewed(login, good_for, now);
    }

    /// [`Engine::renewal_failed`].
    pub fn renewal_failed(&mut self, now: Now) -> bool {
        self.note(now, || Some("renewal-failed".to_owned()));
        self.engine.renewal_failed(now)
    }

    /// [`Engine::nudge`].
    pub fn nudge(&mut self, now: Now) -> Option<Timestamp> {
        self.note(now, || Some("nudge".to_owned()));
        self.engine.nudge(now)
    }

    /// [`Engine::restart_link`].
    pub fn restart_link(&mut self, now: Now) {
        self.note(now, || Some("restart-link".to_owned()));
        self.engine.restart_link(now);
    }

    /// [`Engine::unwell`].
    pub fn unwell(&mut self, waited: Duration, now: Now) {
        self.note(now, || Some(Line::new("unwell").with("waited", line::Seconds(waited)).finish()));
        self.engine.unwell(waited, now);
    }

    /// Ends the recording, if there is one: its lines are on their way to where they belong, and none follows.
    pub fn end_recording(&mut self) {
        self.tape = None;
    }

    /// [`Engine::rest`]. Not recorded: nothing follows from it.
    pub fn rest(&mut self) {
        self.engine.rest();
    }

    /// [`Engine::close`].
    pub fn close(&mut self, within: Duration, now: Now) {
        self.note(now, || Some(Line::new("close").with("within", line::Seconds(within)).finish()));
        self.engine.close(within, now);
    }
}

impl Deref for Flight {
    type Target = Engine;
    fn deref(&self) -> &Engine {
        &self.engine
    }
}
