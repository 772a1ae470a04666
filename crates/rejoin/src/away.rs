//! What the broker keeps for a client that is away, and what it says of one that does not come back.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use rejoin_core::codec::packet::{Qos, Will as CoreWill};
use rejoin_core::text::Text;
use rejoin_core::{ConfigError, SessionMode, TopicError, TopicName};

/// Whether the broker keeps the session while this client is away.
///
/// ```no_run
/// # fn example() -> Result<(), rejoin::BuildError> {
/// use std::time::Duration;
/// use rejoin::{Client, Session};
/// let client = Client::builder("mqtt://localhost")
///     .client_id("gw-17")
///     .session(Session::kept_for(Duration::from_secs(24 * 3600)))
///     .start()?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session(pub(crate) SessionMode);

impl Session {
    /// A new session for this process. At 5.0 it is kept for 5 minutes across cuts of the link, else each cut would
    /// be a session loss; at 3.1.1 each connection has its own.
    pub const fn fresh() -> Self {
        Self(SessionMode::Fresh { linger: Duration::from_secs(300) })
    }

    /// The broker keeps the session for this long after the link is gone, so that the next process finds it. At
    /// 3.1.1 the broker decides how long. Needs a client id.
    pub const fn kept_for(time: Duration) -> Self {
        Self(SessionMode::Kept(time))
    }

    /// The broker keeps the session until it is asked to forget it.
    pub const fn kept_forever() -> Self {
        Self(SessionMode::Kept(Duration::MAX))
    }
}

/// The message the broker publishes when this client goes away without saying goodbye.
///
/// ```no_run
/// # fn example() -> Result<(), rejoin::BuildError> {
/// use std::time::Duration;
/// use rejoin::{Client, Qos, Will};
/// let gone = Will::new("gw-17/state", "gone").qos(Qos::AtLeastOnce).retain().delay(Duration::from_secs(30));
/// let client = Client::builder("mqtt://localhost").will(gone).start()?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Will {
    topic: Result<TopicName, TopicError>,
    payload: Bytes,
    qos: Qos,
    retain: bool,
    delay: Option<Duration>,
}

impl fmt::Debug for Will {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Will")
            .field("topic", &self.topic)
            .field("payload_bytes", &self.payload.len())
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .finish_non_exhaustive()
    }
}

impl Will {
    /// A will. A topic that is not one is an error of the builder.
    pub fn new<T>(topic: T, payload: impl Into<Bytes>) -> Self
    where
        T: TryInto<TopicName>,
        T::Error: Into<TopicError>,
    {
        Self {
            topic: topic.try_into().map_err(Into::into),
            payload: payload.into(),
            qos: Qos::AtMostOnce,
            retain: false,
            delay: None,
        }
    }

    /// QoS. Default 0.
    #[must_use]
    pub const fn qos(mut self, qos: Qos) -> Self {
        self.qos = qos;
        self
    }

    /// The broker keeps it. Default off.
    #[must_use]
    pub const fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    /// The broker waits this long for us to come back before it publishes (5.0), in whole seconds, or until
    /// the session ends, if that is sooner: a longer delay makes the will a sign that the session is gone. Default: at once.
    #[must_use]
    pub const fn delay(mut self, time: Duration) -> Self {
        self.delay = Some(time);
        self
    }

    pub(crate) fn into_core(self) -> Result<CoreWill, ConfigError> {
        let topic = self.topic.map_err(|error| ConfigError::new("will", error.to_string()))?;
        if self.payload.len() > Text::MAX_BYTES {
            return Err(ConfigError::new("will", "the payload must not be above 65,535 bytes"));
        }
        Ok(CoreWill {
            topic: topic.text().clone(),
            payload: self.payload,
            qos: self.qos,
            retain: self.retain,
            delay: self.delay.map(|time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX)),
            properties: Default::default(),
        })
    }
}
