//! Publishing: a builder that is a future.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use rejoin_core::codec::packet::{PublishProperties, Qos};
use rejoin_core::text::Text;
use rejoin_core::{Publication, SessionLossPolicy, TopicError, TopicName};
use tokio::time::Instant;

use crate::command::Shared;
use crate::delivery::{Delivery, Receipt};
use crate::error::{EnqueueError, NotAccepted, PublishError};
use crate::news;
use crate::reservation::cost;

/// A message to be published. Awaited, it resolves with the broker's answer; [`PublishBuilder::enqueue`] returns at
/// once with a [`Delivery`].
///
/// | You write | Resolves when | An error means |
/// |---|---|---|
/// | `.await` at QoS 1 and 2 | acknowledged | it will not be delivered, and says why |
/// | `.await` at QoS 0 | handed to the socket of an open link | not sent |
/// | `.enqueue()?` | at once: accepted into the queue | not accepted; the message is given back |
///
/// A lost link never resolves the future. Dropping it does not withdraw a message that was accepted. With
/// [`WhenFull::Block`](crate::WhenFull::Block) a message may still wait for room when the future is dropped, by a time-out for
/// example: that one was never accepted and is gone, counted in
/// [`not_accepted`](crate::MetricsSnapshot::not_accepted). [`PublishBuilder::enqueue_within`] is the time-out that gives it
/// back.
///
/// ```no_run
/// # async fn example(client: rejoin::Client) -> rejoin::Result<()> {
/// use std::time::Duration;
/// client
///     .publish("room/1/temp", "21.5")
///     .qos(rejoin::Qos::AtLeastOnce)
///     .retain()
///     .expires_after(Duration::from_secs(3600))
///     .content_type("text/plain")
///     .await?;
/// # Ok(()) }
/// ```
#[must_use = "a message is handed over when this is awaited or enqueued"]
pub struct PublishBuilder {
    shared: Arc<Shared>,
    draft: Result<Publication, (NotAccepted, Bytes)>,
}

impl fmt::Debug for PublishBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topic = self.draft.as_ref().ok().map(|draft| &draft.topic);
        f.debug_struct("PublishBuilder").field("topic", &topic).finish_non_exhaustive()
    }
}

impl PublishBuilder {
    pub(crate) fn new(shared: Arc<Shared>, topic: Result<TopicName, TopicError>, payload: Bytes) -> Self {
        let draft = match topic {
            Ok(topic) => Ok(Publication::new(topic, payload)),
            Err(error) => Err((NotAccepted::InvalidTopic(error), payload)),
        };
        Self { shared, draft }
    }

    /// A message built elsewhere, or given back by an error.
    pub(crate) const fn from_publication(shared: Arc<Shared>, publication: Publication) -> Self {
        Self { shared, draft: Ok(publication) }
    }

    /// QoS. Default 0.
    pub fn qos(self, qos: Qos) -> Self {
        self.edit(|draft| draft.qos = qos)
    }

    /// The broker keeps it for those who subscribe later. Default off.
    pub fn retain(self) -> Self {
        self.edit(|draft| draft.retain = true)
    }

    /// Ends as expired if it was not sent within this time; at 5.0 the broker gets what is left as Message Expiry
    /// Interval. Default: never. A message once sent does not expire here [MQTT-4.3.3-7].
    pub fn expires_after(self, time: Duration) -> Self {
        self.edit(|draft| draft.expires_after = Some(time))
    }

    /// A QoS 0 message waits for the link instead of ending as dropped while it is down. Default off.
    pub fn queue_qos0(self) -> Self {
        self.edit(|draft| draft.queue_qos0 = true)
    }

    /// Only the latest message of its topic counts: while it was never sent, a newer one that says the same takes its
    /// place in the queue, and this one ends as [`PublishError::Superseded`]. Default: the client's setting, off.
    pub fn latest_only(self) -> Self {
        self.edit(|draft| draft.latest_only = true)
    }

    /// What happens to it if it was sent, not acknowledged, and the server lost the session. Default: the client's
    /// policy.
    pub fn on_session_loss(self, policy: SessionLossPolicy) -> Self {
        self.edit(|draft| draft.on_loss = Some(policy))
    }

    /// Content Type (5.0).
    pub fn content_type(self, value: &str) -> Self {
        self.text("content type", value, |properties, text| properties.content_type = Some(text))
    }

    /// Response Topic (5.0): where an answer is expected. Without wildcards [MQTT-3.3.2-14].
    pub fn response_topic(self, value: &str) -> Self {
        if let Err(error) = TopicName::try_from(value) {
            return self.refuse("response topic", error.to_string());
        }
        self.text("response topic", value, |properties, text| properties.response_topic = Some(text))
    }

    /// Correlation Data (5.0), at most 65,535 bytes.
    pub fn correlation_data(self, value: impl Into<Bytes>) -> Self {
        let value = value.into();
        if value.len() > Text::MAX_BYTES {
            return self.refuse("correlation data", format!("{} bytes, the limit is 65535", value.len()));
        }
        self.edit(|draft| properties(draft).correlation_data = Some(value))
    }

    /// A user property (5.0). May be called again; the order is kept.
    pub fn user_property(self, name: &str, value: &str) -> Self {
        match (Text::try_from(name), Text::try_from(value)) {
            (Ok(name), Ok(value)) => self.edit(|draft| properties(draft).user_properties.push((name, value))),
            (Err(error), _) | (_, Err(error)) => self.refuse("user property", error.to_string()),
        }
    }

    /// Payload Format Indicator (5.0): the payload is UTF-8 text. A payload that is not is refused.
    pub fn payload_is_utf8(self) -> Self {
        match &self.draft {
            Ok(draft) if std::str::from_utf8(&draft.payload).is_err() => {
                self.refuse("payload format", "the payload is not UTF-8".to_owned())
            }
            _ => self.edit(|draft| properties(draft).payload_is_utf8 = Some(true)),
        }
    }

    /// Hands the message over without waiting for anything.
    ///
    /// # Errors
    /// The queue is full, the topic or a property is not valid, or the client is stopped; the message is inside.
    pub fn enqueue(self) -> Result<Delivery, EnqueueError> {
        match self.draft {
            Ok(publication) => self.shared.enqueue(publication),
            Err((reason, payload)) => Err(EnqueueError::invalid(reason, payload)),
        }
    }

    /// Waits for room in the queue, then hands the message over. Programs that read from a pipe slow down this way
    /// instead of dropping lines. Dropped before that, the message is not accepted and gone; see
    /// [`PublishBuilder::enqueue_within`].
    ///
    /// # Errors
    /// As [`PublishBuilder::enqueue`], but never because the queue is full.
    pub async fn enqueue_when_room(self) -> Result<Delivery, EnqueueError> {
        self.wait_for_room(None).await
    }

    /// Waits for room in the queue for at most this long, then hands the message over, or gives it back.
    ///
    /// ```no_run
    /// # async fn example(client: rejoin::Client) {
    /// use std::time::Duration;
    /// let message = client.publish("room/1/temp", "21.5").qos(rejoin::Qos::AtLeastOnce);
    /// match message.enqueue_within(Duration::from_secs(2)).await {
    ///     Ok(delivery) => println!("accepted as {:?}", delivery.id()),
    ///     Err(full) => {
    ///         println!("{full}");
    ///         let still_mine = full.into_publication();
    /// #       drop(still_mine);
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`PublishBuilder::enqueue`]; the message is inside.
    pub async fn enqueue_within(self, limit: Duration) -> Result<Delivery, EnqueueError> {
        // A limit beyond all clocks is none.
        self.wait_for_room(Instant::now().checked_add(limit)).await
    }

    async fn wait_for_room(self, until: Option<Instant>) -> Result<Delivery, EnqueueError> {
        let mut publication = match self.draft {
            Ok(publication) => publication,
            Err((reason, payload)) => return Err(EnqueueError::invalid(reason, payload)),
        };
        let bytes = cost(&publication);
        let mut entrant = Entrant { shared: &self.shared, accepted: false };
        loop {
            // Tried before waiting: a queue with room costs one lock, not two.
            let (reason, back) = match self.shared.try_enqueue(publication, false) {
                Ok(delivery) => {
                    entrant.accepted = true;
                    return Ok(delivery);
                }
                Err(refused) => *refused,
            };
            let may_wait = until.is_none_or(|until| Instant::now() < until);
            if !(matches!(reason, NotAccepted::QueueFull { .. }) && may_wait) {
                return Err(EnqueueError::new(reason, back));
            }
            publication = back;
            let room = news::found(self.shared.room(), || self.shared.has_room(bytes).then_some(()));
            match until {
                None => room.await,
                // Looked for once more, whoever came first.
                Some(until) => tokio::time::timeout_at(until, room).await.unwrap_or_default(),
            }
        }
    }

    fn edit(mut self, change: impl FnOnce(&mut Publication)) -> Self {
        if let Ok(draft) = &mut self.draft {
            change(draft);
        }
        self
    }

    fn text(
        self,
        property: &'static str,
        value: &str,
        set: impl FnOnce(&mut PublishProperties, Text),
    ) -> Self {
        match Text::try_from(value) {
            Ok(text) => self.edit(|draft| set(properties(draft), text)),
            Err(error) => self.refuse(property, error.to_string()),
        }
    }

    fn refuse(mut self, property: &'static str, what: String) -> Self {
        if let Ok(draft) = &self.draft {
            self.draft = Err((NotAccepted::InvalidProperty { property, what }, draft.payload.clone()));
        }
        self
    }
}

/// A message that may have to wait for room. Counted as not accepted if it is refused, or if nobody waits any more.
struct Entrant<'a> {
    shared: &'a Shared,
    accepted: bool,
}

impl Drop for Entrant<'_> {
    fn drop(&mut self) {
        if !self.accepted {
            self.shared.counters.not_accepted.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn properties(draft: &mut Publication) -> &mut PublishProperties {
    draft.properties.get_or_insert_default()
}

impl IntoFuture for PublishBuilder {
    type Output = Result<Receipt, PublishError>;
    type IntoFuture = Publishing;

    fn into_future(self) -> Publishing {
        if self.shared.waits_for_room() {
            return Publishing { state: State::Waiting(Box::pin(self.enqueue_when_room())) };
        }
        Publishing { state: self.enqueue().map_or_else(|e| State::Refused(Some(e)), State::Accepted) }
    }
}

enum State {
    /// For room, as [`crate::WhenFull::Block`] asks.
    Waiting(Pin<Box<dyn Future<Output = Result<Delivery, EnqueueError>> + Send>>),
    Accepted(Delivery),
    Refused(Option<EnqueueError>),
}

/// The future of an awaited [`PublishBuilder`].
pub struct Publishing {
    state: State,
}

impl fmt::Debug for Publishing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Waiting(_) => "waiting for room",
            State::Accepted(_) => "accepted",
            State::Refused(_) => "refused",
        };
        f.debug_tuple("Publishing").field(&state).finish()
    }
}

impl Future for Publishing {
    type Output = Result<Receipt, PublishError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let State::Waiting(waiting) = &mut self.state {
            let Poll::Ready(handed) = waiting.as_mut().poll(cx) else { return Poll::Pending };
            self.state = handed.map_or_else(|e| State::Refused(Some(e)), State::Accepted);
        }
        match &mut self.state {
            State::Accepted(delivery) => Pin::new(delivery).poll(cx),
            State::Refused(error) => match error.take() {
                Some(error) => Poll::Ready(Err(error.into())),
                None => Poll::Pending,
            },
            State::Waiting(_) => Poll::Pending,
        }
    }
}
