//! Settings of the health watch: what silence, or a message that does not come back, makes of a link.

use std::time::Duration;

use rejoin_core::{TopicError, TopicFilter, TopicName};

/// A link can be open and of no use: a broker that answers pings and routes nothing. Given to
/// [`Builder::health_watch`](crate::Builder::health_watch).
///
/// ```
/// use std::time::Duration;
/// use rejoin::health::HealthWatch;
///
/// # fn example() -> Result<HealthWatch, rejoin::TopicError> {
/// // No message on either filter for a minute restarts the link; a message to ourselves is to be back within 2 s.
/// let watch = HealthWatch::after(Duration::from_secs(60))
///     .on("plant/+/temp")?
///     .on("plant/+/alive")?
///     .loopback(Duration::from_secs(30), Duration::from_secs(2));
/// # Ok(watch) }
/// # example().unwrap();
/// ```
#[derive(Clone, Debug)]
#[must_use = "give it to Builder::health_watch"]
pub struct HealthWatch {
    pub(crate) silence: Option<Duration>,
    pub(crate) filters: Vec<TopicFilter>,
    pub(crate) restarts: bool,
    pub(crate) loopback: Option<(Duration, Duration)>,
    pub(crate) topic: Option<TopicName>,
}

impl From<Duration> for HealthWatch {
    fn from(silence: Duration) -> Self {
        Self::after(silence)
    }
}

impl HealthWatch {
    /// When no message came for this long, the link is restarted, at most once per that time. A PINGRESP is not news.
    ///
    /// While the application has ten messages above QoS 0 that it is not done with, or as many as
    /// [`Builder::receive_maximum`](crate::Builder::receive_maximum) allows if those are fewer, nothing is held against the
    /// link: the broker may not be allowed to send more. The time begins anew when it is done with enough of them. Fewer
    /// change nothing: one that is never acknowledged does not switch the watch off.
    pub const fn after(silence: Duration) -> Self {
        Self { silence: Some(silence), filters: Vec::new(), restarts: true, loopback: None, topic: None }
    }

    /// Silence does not matter; only the message to ourselves does.
    pub const fn only_loopback(every: Duration, within: Duration) -> Self {
        Self {
            silence: None,
            filters: Vec::new(),
            restarts: true,
            loopback: Some((every, within)),
            topic: None,
        }
    }

    /// Only messages that match this filter, or another one that was named, break the silence. Default: all do.
    ///
    /// # Errors
    /// It is no topic filter.
    pub fn on<T>(mut self, filter: T) -> Result<Self, TopicError>
    where
        T: TryInto<TopicFilter>,
        T::Error: Into<TopicError>,
    {
        self.filters.push(filter.try_into().map_err(Into::into)?);
        Ok(self)
    }

    /// Sends a message at QoS 0 to a topic of our own this often and expects it back within this time. How long it took
    /// is in the check `latency` of [`Client::health`](crate::Client::health). The broker has to allow the topic: where it
    /// refuses the subscription no message is sent, and the check says so.
    ///
    /// It is in nobody's way: it waits while more than 16 KiB of messages wait or are unanswered, and nothing is evicted for
    /// it. The time begins when it left, and again while other messages come in before it. One that does not come back
    /// restarts the link; when that did not help the next restart waits for twice as long, up to 1 h. What comes on this
    /// topic breaks no silence and is in no baseline; counters of packets count it.
    pub const fn loopback(mut self, every: Duration, within: Duration) -> Self {
        self.loopback = Some((every, within));
        self
    }

    /// The topic of the message to ourselves. Default: `rejoin/loopback/` and the client id.
    ///
    /// # Errors
    /// It is no topic name.
    pub fn loopback_topic<T>(mut self, topic: T) -> Result<Self, TopicError>
    where
        T: TryInto<TopicName>,
        T::Error: Into<TopicError>,
    {
        self.topic = Some(topic.try_into().map_err(Into::into)?);
        Ok(self)
    }

    /// Only tells, by [`Event::Silent`](crate::Event::Silent); the link stays. Default: it is restarted.
    pub const fn only_tell(mut self) -> Self {
        self.restarts = false;
        self
    }
}
