//! A message received.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rejoin_core::MessageId;
use rejoin_core::codec::packet::{PublishProperties, Qos};
use rejoin_core::codec::reason::ReasonCode;
use rejoin_core::text::Text;

use crate::command::{Command, Shared};
use crate::route::Route;

/// A message received. Cloning shares topic and payload.
///
/// ```no_run
/// # async fn example(client: rejoin::Client) -> rejoin::Result<()> {
/// use rejoin::{Qos::AtLeastOnce, ReasonCode};
/// let mut jobs = client.subscribe("jobs/#", AtLeastOnce).manual_ack().await?;
/// while let Some(job) = jobs.next().await {
///     match job.text() {
///         Ok(text) => {
///             println!("{text}");
///             job.ack();
///         }
///         Err(_) => job.reject(ReasonCode::PAYLOAD_FORMAT_INVALID),
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Message {
    /// Topic name.
    pub topic: Text,
    /// Payload. It shares the buffer it was read into: keep a copy of a small part rather than the whole.
    pub payload: Bytes,
    /// QoS it was delivered with.
    pub qos: Qos,
    /// RETAIN: it was kept by the broker from before, unless retain-as-published was asked for.
    pub retain: bool,
    /// DUP: the broker sent it before, which does not mean that it arrived before. Also set when a handler that failed
    /// is called again with it.
    pub dup: bool,
    /// Properties (5.0), where there are any.
    pub properties: Option<Box<PublishProperties>>,
    id: Option<MessageId>,
    /// Shared by all clones: whichever acknowledges first does.
    ack: Option<Arc<AckHandle>>,
}

struct AckHandle {
    id: MessageId,
    qos: Qos,
    shared: Arc<Shared>,
    route: Arc<Route>,
    /// See [`Route::handed_out_to_answer`].
    voided: u64,
    /// It was acknowledged, refused, or left to its copy.
    done: AtomicBool,
}

impl AckHandle {
    /// Apart from what a message of every other stream takes.
    #[inline(never)]
    fn of((id, qos): (MessageId, Qos), shared: &Arc<Shared>, route: &Arc<Route>) -> Arc<Self> {
        let voided = route.handed_out_to_answer(qos);
        let (shared, route) = (Arc::clone(shared), Arc::clone(route));
        Arc::new(Self { id, qos, shared, route, voided, done: AtomicBool::new(false) })
    }

    /// True for the first who is done with the message: another stream may wait for the same one, and what is done twice
    /// here would be done in its name.
    fn finish(&self) -> bool {
        let first = !self.done.swap(true, Ordering::Relaxed);
        if first {
            self.route.acknowledged(self.qos, self.voided);
        }
        first
    }
}

impl Message {
    #[inline]
    pub(crate) fn new(core: rejoin_core::Message, acks_to: Option<(&Arc<Shared>, &Arc<Route>)>) -> Self {
        let ack = match (core.id, acks_to) {
            (Some(id), Some((shared, route))) => Some(AckHandle::of((id, core.qos), shared, route)),
            _ => None,
        };
        Self {
            topic: core.topic,
            payload: core.payload,
            qos: core.qos,
            retain: core.retain,
            dup: core.dup,
            properties: core.properties,
            id: core.id,
            ack,
        }
    }

    /// Our own name of it; `None` at QoS 0. With a queue on disk the name of a QoS 2 message stays the same over a crash:
    /// a handler that was interrupted recognises by it what it may have done already.
    pub const fn id(&self) -> Option<MessageId> {
        self.id
    }

    /// The payload as text.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn text(&self) -> Result<&str, std::str::Utf8Error> {
        std::str::from_utf8(&self.payload)
    }

    /// Acknowledges a message of a subscription with `manual_ack()`; nothing to do for any other and at QoS 0. The first
    /// answer counts, of all clones of a message: another one after it does nothing.
    ///
    /// After a reconnect an acknowledgement of QoS 1 is stale: the broker sends the message again, and the late
    /// call is counted and ignored. At QoS 2 it holds as long as the session.
    pub fn ack(&self) {
        self.answer(ReasonCode::SUCCESS);
    }

    /// Refuses a message of a subscription with `manual_ack()`: the broker is told with this code (0x80 or above,
    /// anything else becomes 0x80) and does not send it again, on a shared subscription to nobody else of the group
    /// either [MQTT-4.8.2-6]. MQTT 3.1.1 has no refusals; there it is an acknowledgement.
    pub fn reject(&self, code: ReasonCode) {
        self.answer(if code.is_error() { code } else { ReasonCode::UNSPECIFIED_ERROR });
    }

    /// Nothing is acknowledged: the copy that the broker sends will be.
    pub(crate) fn leave_to_its_copy(&self) {
        if let Some(ack) = &self.ack {
            ack.finish();
        }
    }

    /// As the core has it.
    pub(crate) fn into_core(self) -> rejoin_core::Message {
        let Self { topic, payload, qos, retain, dup, properties, id, ack: _ } = self;
        rejoin_core::Message { id, topic, payload, qos, retain, dup, properties }
    }

    fn answer(&self, reason: ReasonCode) {
        if let Some(ack) = &self.ack
            && ack.finish()
        {
            ack.shared.push_always(Command::Ack { id: ack.id, reason });
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("topic", &self.topic)
            .field("payload_len", &self.payload.len())
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .field("dup", &self.dup)
            .finish_non_exhaustive()
    }
}
