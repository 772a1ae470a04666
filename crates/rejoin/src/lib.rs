//! An MQTT 3.1.1 and 5.0 client for tokio that recovers its connection and tells the truth about it.
//!
//! What was accepted is delivered or answered for, whatever happens to the link:
//!
//! ```no_run
//! use rejoin::{Client, Qos::AtLeastOnce};
//!
//! #[tokio::main]
//! async fn main() -> rejoin::Result<()> {
//!     let client = Client::connect("mqtt://localhost").await?; // waits for the first CONNACK, at most 30 s
//!     let mut rooms = client.subscribe("room/+/temp", AtLeastOnce).await?;
//!     client.publish("room/1/temp", "21.5").qos(AtLeastOnce).await?; // done = the broker has it
//!     let msg = rooms.next().await.expect("open");
//!     println!("{} = {}", msg.topic, msg.text()?);
//!     client.shutdown().within_secs(5).await.into_result()
//! }
//! ```
//!
//! # The map
//!
//! - [`Client`] is the handle, [`Builder`] its settings; [`Client::connect`] waits for the first link,
//!   [`Builder::start`] never needs the network.
//! - [`PublishBuilder`] hands a message over, [`Delivery`] answers for it, exactly once and with the truth.
//! - [`Subscription`] is a stream of [`Message`]s; [`Client::handle`] the form with a callback.
//! - [`State`] answers *is the link open* ([`Link`]), *will it be delivered* ([`Outlook`]) and *is everything back*
//!   from one snapshot; [`Events`] tells what happened.
//! - [`Client::metrics`] has the figures, [`metrics`] what they mean.
//! - [`ShutdownReport`] says what became of the rest.
//!
//! Those who know another client find its words in `docs/coming-from.md`.
//!
//! # Features
//!
//! None is on by default; each adds items and changes nothing else.
//!
//! | Feature | Adds |
//! |---|---|
//! | `store-redb` | the queue in a folder, `Queue::in_dir` and `store::Folder` |
//! | `tls` | `mqtts://` and `wss://`, `Tls`; by rustls with ring |
//! | `aws-lc` | the same with the cryptography of aws-lc-rs, which needs a C compiler |
//! | `ws` | `ws://`, and with `tls` `wss://` |
//! | `prometheus`, `metrics`, `otel` | exporters of the figures: for prometheus-client, the facade `metrics`, OpenTelemetry |
//! | `axum` | `web::router`: livez, readyz and health |
//!
//! One task per client drives the engine of `rejoin-core` and decides nothing. Handlers and callbacks run elsewhere:
//! however slow or panicking, they delay neither keep-alive nor recovery.

pub mod alerts;
mod authentication;
mod away;
mod board;
mod builder;
mod callbacks;
mod client;
mod command;
mod credentials;
mod delivery;
mod driver;
mod error;
mod events;
mod handler;
pub mod health;
mod hint;
mod message;
pub mod metrics;
mod news;
mod pending;
mod publish;
mod queue;
mod recorder;
mod renewal;
mod reservation;
mod route;
mod routes;
mod secret;
mod seldom;
mod servers;
mod shutdown;
mod stages;
mod state_watch;
mod status;
mod storage;
pub mod store;
mod subscription;
mod sync;
mod translate;
mod transport;
mod url;
mod vigil;
mod ways;
#[cfg(feature = "axum")]
pub mod web;
mod wire;
mod with_gaps;

pub use authentication::{AuthStep, Authentication};
pub use away::{Session, Will};
pub use builder::{Builder, Prepared};
pub use client::{Client, Stats, WeakClient};
pub use credentials::{CredentialSource, Credentials};
pub use delivery::{Delivery, Receipt, Stored};
pub use error::{
    BuildError, ConnectError, EnqueueError, Error, NotAccepted, PublishError, Result, ShutdownError,
    SubscribeError, WaitError,
};
pub use events::{EVENT_CAPACITY, Event, Events};
pub use handler::{HandleBuilder, Handler, Handling, OnError};
pub use hint::hint;
pub use message::Message;
pub use metrics::MetricsSnapshot;
pub use pending::PendingMessage;
pub use publish::{PublishBuilder, Publishing};
pub use queue::{Queue, WhenFull, WhenStoreFails};
pub use recorder::FlightRecorder;
pub use secret::Secret;
pub use shutdown::{DEFAULT_SHUTDOWN, Shutdown, ShutdownReport};
pub use stages::{Stages, TlsFacts};
pub use state_watch::StateWatch;
pub use status::{Link, Obstacle, Outlook, State};
pub use subscription::{DEFAULT_SUBSCRIBE_LIMIT, SubscribeBuilder, Subscription};
pub use transport::limits::StageLimits;
#[cfg(feature = "tls")]
pub use transport::tls::{Tls, TlsVersion};
pub use transport::{Proxy, ProxyError};
pub use url::{Scheme, ServerUrl, UrlError};
pub use with_gaps::{Item, WithGaps};

pub use rejoin_core::codec::packet::{PublishProperties, Qos, RetainHandling, UserProperties, Version};
pub use rejoin_core::codec::reason::ReasonCode;
pub use rejoin_core::recovery::Verdict;
pub use rejoin_core::text::Text;
pub use rejoin_core::{
    Budget, Config, ConfigError, Follow, LossCause, MessageId, OutageBill, Publication, PublishId, Rejected,
    ServerPolicy, SessionLoss, SessionLossPolicy, SessionState, Stage, StopReason, TopicError, TopicFilter,
    TopicName, TransportErrorKind, VersionPolicy, Window,
};
