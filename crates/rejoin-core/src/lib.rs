//! The sans-IO heart of rejoin: MQTT 3.1.1 and 5.0 as pure state machines.
//!
//! [`Engine`] is a complete client without IO: it takes [`Input`]s and gives [`Output`]s. The same inputs at the
//! same times with the same seed give the same outputs, so a run can be repeated to the byte.
//!
//! # The run loop
//!
//! ```no_run
//! # use rejoin_core::{Config, Engine, Input, Now, Output, Text, Timestamp};
//! # fn now() -> Now { Now::default() }
//! # fn wait(_deadline: Option<Timestamp>) -> Input { Input::Tick }
//! # let config = Config::new(Text::from_static("id"), Text::from_static("broker"));
//! let mut engine = Engine::new(config, Default::default(), 42, now())?;
//! let mut input = Input::Tick;
//! loop {
//!     engine.handle(input, now());                       // 1. one call in
//!     while let Some(output) = engine.poll() {           // 2. drain, in order
//!         match output {
//!             Output::Open { server, limit, .. } => { /* dial; answer Opened or OpenFailed */ }
//!             Output::Transmit(bytes) => { /* write; answer Written as the transport takes them */ }
//!             Output::Close { graceful } => { /* drop the transport */ }
//!             Output::Persist { ticket, records } => { /* start; answer Persisted when it is on the disk */ }
//!             Output::Load(ids) => { /* only with a store: read bodies back; answer Loaded */ }
//!             Output::Event(event) => { /* tell the application */ }
//!         }
//!     }
//!     input = wait(engine.deadline().map(|(at, _why)| at)); // 3. wait for the world, or the time
//! }
//! # #[allow(unreachable_code)] Ok::<(), rejoin_core::ConfigError>(())
//! ```
//!
//! # The map
//!
//! [`Engine`] is the only place where three machines meet that do not know each other: the *session* (what
//! survives a link), the *link* (one network connection) and the [`recovery`] (what happens between links).
//! [`codec`] turns bytes into packets and back.

#[cfg(not(rejoin_defects))]
#[macro_use]
mod defect;
#[cfg(rejoin_defects)]
#[macro_use]
pub mod defect;

mod attempt;
pub mod codec;
mod common;
pub mod config;
mod engine;
pub mod error;
pub mod event;
pub mod flight;
mod held;
pub mod interface;
mod link;
mod plain;
pub mod recovery;
mod session;
pub mod text;
pub mod time;
pub mod topic;

pub use codec::packet::{
    PublishProperties, Qos, RetainHandling, SubscriptionOptions, UserProperties, Version, Will,
};
pub use codec::reason::ReasonCode;
pub use common::Common;
pub use config::{
    Authentication, Budget, Config, Follow, LinkConfig, Login, RecoveryConfig, Resubscribe, ServerPolicy,
    SessionConfig, SessionLossPolicy, SessionMode, VersionPolicy, Window,
};
pub use engine::Engine;
pub use error::{
    ConfigError, LocalCause, LossCause, ProtocolError, Rejected, Stage, TransportError, TransportErrorKind,
};
pub use event::{
    AuthData, Event, LinkState, Message, MessageId, OutageBill, Outcome, Publication, PublishId, Receipt,
    SessionLoss, SessionState, Stats, Status, StopReason, SubscribeRequest, SubscribeResult, SubscriptionId,
};
pub use held::HeldCounts;
pub use interface::{Input, Output, Ticket};
pub use recovery::Verdict;
pub use session::{Digest, Parking, Record, Recovered, Waits, WasHeld, WasSent};
pub use text::{Text, TextError};
pub use time::{Now, TimerKind, Timestamp};
pub use topic::{PublishTopic, TopicError, TopicErrorKind, TopicFilter, TopicName};
