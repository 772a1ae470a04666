//! One error for each operation, all convertible into one [`Error`].

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use rejoin_core::codec::reason::ReasonCode;
use rejoin_core::{ConfigError, LossCause, Publication, Rejected, StopReason, TopicError};

use crate::shutdown::ShutdownReport;
use crate::store::StoreError;
use crate::url::UrlError;

/// The result of anything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any error of this crate, for programs that pass errors on.
///
/// ```no_run
/// # async fn example() {
/// if let Err(error) = run().await {
///     let advice = if error.is_transient() { "try again later" } else { "mend it first" };
///     eprintln!("{error} ({:?}); {advice}", error.reason_code());
/// }
/// # }
/// # async fn run() -> rejoin::Result<()> { Ok(()) }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The client could not be built: fix the program or the flag it names.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// No connection within the time given.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A wait for a state ended without it.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// A message will not be delivered, or nobody can know whether it was.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// A message was not accepted.
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
    /// A subscription was not granted.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    /// The client was shut down before everything accepted was answered for.
    #[error(transparent)]
    Shutdown(#[from] ShutdownError),
    /// A topic name or filter is not valid.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// A payload is not UTF-8 text.
    #[error("the payload is not text: {0}; read it as bytes")]
    NotText(#[from] std::str::Utf8Error),
}

impl Error {
    /// The reason code the broker gave, where it gave one.
    pub fn reason_code(&self) -> Option<ReasonCode> {
        match self {
            Self::Connect(error) => error.reason_code(),
            Self::Publish(error) => error.reason_code(),
            Self::Subscribe(error) => error.reason_code(),
            _ => None,
        }
    }

    /// Whether the same call may succeed later without a change to the program or its settings.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_transient(),
            Self::Wait(error) => matches!(error, WaitError::Elapsed { .. }),
            Self::Publish(error) => error.is_transient(),
            Self::Enqueue(error) => error.is_transient(),
            Self::Subscribe(error) => error.is_transient(),
            Self::Build(_) | Self::Shutdown(_) | Self::Topic(_) | Self::NotText(_) => false,
        }
    }
}

/// Why a client could not be built.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The URL does not parse.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// Settings that cannot work together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The queue cannot be opened or read. Nothing in it was touched.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Not called inside a tokio runtime.
    #[error("no tokio runtime here; call this inside one with its io and time drivers enabled")]
    NoRuntime,
    /// The system gave no thread.
    #[error("no thread for the client: {0}")]
    NoThread(String),
    /// The file of the flight recorder cannot be made.
    #[error("flight recorder: cannot make {}: {error}; name another file, one that does not exist", .path.display())]
    Recorder {
        /// The file.
        path: std::path::PathBuf,
        /// The system's words.
        error: String,
    },
}

/// Why [`crate::Client::connect`] gave up.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The client could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// No CONNACK within the time given. `last` is what ended the last attempt.
    #[error("no connection within {within:?}{}", because(last.as_ref()))]
    Elapsed {
        /// The limit.
        within: Duration,
        /// Why the last attempt failed, if one ended.
        last: Option<LossCause>,
    },
    /// The broker refused, and trying again does not help by itself.
    #[error("{0}{hint}", hint = hint_of(.0))]
    Refused(LossCause),
    /// The client stopped for good.
    #[error("{}", stopped(.0))]
    Stopped(StopReason),
}

impl ConnectError {
    /// What ended the last attempt.
    pub const fn cause(&self) -> Option<&LossCause> {
        match self {
            Self::Elapsed { last, .. } => last.as_ref(),
            Self::Refused(cause) => Some(cause),
            Self::Stopped(StopReason::NoReconnect(cause) | StopReason::GaveUp(cause)) => Some(cause),
            Self::Stopped(_) | Self::Build(_) => None,
        }
    }

    /// The code of CONNACK or DISCONNECT, where there was one.
    pub fn reason_code(&self) -> Option<ReasonCode> {
        self.cause().and_then(LossCause::reason_code)
    }

    /// Whether trying again may help.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Elapsed { .. })
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        self.cause().and_then(crate::hint::hint)
    }
}

/// Why a wait for a state ended without it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The time was over.
    #[error("not within {within:?}{}", because(last.as_ref()))]
    Elapsed {
        /// The limit.
        within: Duration,
        /// Why the last link or attempt ended, if one did.
        last: Option<LossCause>,
    },
    /// The client stopped for good.
    #[error("{}", stopped(.0))]
    Stopped(StopReason),
}

/// Why a message will not be delivered, or why nobody can know whether it was. Final: nothing of it follows.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// It was not accepted; the message is given back inside.
    #[error(transparent)]
    NotAccepted(Box<EnqueueError>),
    /// It can never be sent as it is.
    #[error(transparent)]
    Rejected(Rejected),
    /// The broker refused it with this code.
    #[error("the broker refused the message: {reason}{}", quoted(text.as_deref()))]
    Refused {
        /// The code of PUBACK or PUBREC.
        reason: ReasonCode,
        /// The broker's own words.
        text: Option<String>,
    },
    /// Its time was over before it was ever sent.
    #[error("the message expired before it was sent")]
    Expired,
    /// QoS 0 while the link was down.
    #[error("the link is down and QoS 0 is not queued; use QoS 1 or queue_qos0()")]
    Dropped,
    /// Larger than the server accepts. It was never sent.
    #[error("the packet has {size} bytes, the server accepts {limit}; split the payload")]
    TooLarge {
        /// Size of the packet in bytes.
        size: u64,
        /// The server's Maximum Packet Size in bytes.
        limit: u64,
    },
    /// The server does not offer what the message needs. It was never sent.
    #[error("the server does not offer {0}")]
    NotSupported(&'static str),
    /// It was sent, or may have been by an earlier process, no answer came, and it cannot be sent again, because the server
    /// takes less than it did. The broker may have it: published again in a form that the server takes, it may arrive twice.
    #[error("{0}; it may have been sent before, so the broker may have it")]
    NotSentAgain(Rejected),
    /// The session was lost after it was sent, and the policy was not to send it again; or (`released`) the
    /// broker owned it once and may have lost it, with the session or without.
    #[error("the broker forgot what was under way, nobody can know whether the message was delivered")]
    Unknown {
        /// QoS 2 had passed PUBREC: sending it again would risk a duplicate.
        released: bool,
    },
    /// The broker cut the link each time this message was sent. Set aside; it may have been delivered.
    #[error(
        "the broker cut the link {cuts} times when only this message was unacknowledged; it is set aside"
    )]
    Parked {
        /// On how many links.
        cuts: u32,
    },
    /// Withdrawn before it was ever sent.
    #[error("withdrawn before it was sent")]
    Cancelled,
    /// A newer message to its topic took its place before it was ever sent, as [`crate::Queue::latest_only`] asks.
    #[error("a newer message to its topic took its place before it was sent")]
    Superseded,
    /// The queue was full and its policy, [`crate::WhenFull`], gave this message up before it was ever sent.
    #[error("the queue was full and gave this message up before it was sent; raise its limit or send less")]
    Evicted,
    /// The queue on disk could not give the message back. What is left of it is kept: `rejoin queue ls` shows it.
    #[error("the queue on disk could not give the message back; `rejoin queue ls` shows what is left of it")]
    Unreadable,
    /// The client stopped first. The message is safe in the queue on disk and goes out with the next start; it is
    /// answered for there, under the same id.
    #[error("the client stopped first; the message is safe in the queue and goes out with the next start")]
    StillQueued {
        /// It was sent, so the broker may have it already.
        maybe_delivered: bool,
    },
    /// The client stopped first.
    #[error("the client stopped first{}", if *maybe_delivered { "; the broker may have the message" } else { "; the message was never sent" })]
    Stopped {
        /// It was sent, so the broker may have it. Or the queue's disk had not written it: a shutdown
        /// waits 10 s for that, a runtime that is dropped not at all. It may still be written, and sent by the next start.
        maybe_delivered: bool,
    },
}

impl PublishError {
    /// The code the broker gave, where it gave one.
    pub const fn reason_code(&self) -> Option<ReasonCode> {
        match self {
            Self::Refused { reason, .. } => Some(*reason),
            _ => None,
        }
    }

    /// Whether the same message may go through later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NotAccepted(error) => error.is_transient(),
            Self::Dropped | Self::Evicted => true,
            Self::Refused { reason, .. } => {
                matches!(*reason, ReasonCode::QUOTA_EXCEEDED | ReasonCode::MESSAGE_RATE_TOO_HIGH)
            }
            _ => false,
        }
    }

    /// Whether the broker may have the message all the same.
    pub const fn maybe_delivered(&self) -> bool {
        matches!(
            self,
            Self::Unknown { .. }
                | Self::NotSentAgain(_)
                | Self::Parked { .. }
                | Self::Stopped { maybe_delivered: true }
                | Self::StillQueued { maybe_delivered: true }
        )
    }

    /// A short stable name of the class, for scripts and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NotAccepted(_) => "not-accepted",
            Self::Rejected(_) => "rejected",
            Self::Refused { .. } => "refused",
            Self::Expired => "expired",
            Self::Dropped => "dropped",
            Self::TooLarge { .. } => "too-large",
            Self::NotSupported(_) => "not-supported",
            Self::NotSentAgain(_) => "not-sent-again",
            Self::Unknown { .. } => "unknown",
            Self::Parked { .. } => "parked",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
            Self::Evicted => "evicted",
            Self::Unreadable => "unreadable",
            Self::StillQueued { .. } => "still-queued",
            Self::Stopped { .. } => "stopped",
        }
    }
}

impl From<EnqueueError> for PublishError {
    fn from(error: EnqueueError) -> Self {
        Self::NotAccepted(Box::new(error))
    }
}

/// A message was not accepted; nothing of it was done, and it is given back. Printed, it shows no payload.
///
/// ```no_run
/// # async fn example(client: rejoin::Client) -> rejoin::Result<()> {
/// let accepted = match client.publish("room/1/temp", "21.5").qos(rejoin::Qos::AtLeastOnce).enqueue() {
///     Err(error) if error.is_transient() => match error.into_publication() {
///         Some(message) => client.publish_again(message).enqueue_when_room().await?,
///         None => return Ok(()), // the topic was none
///     },
///     accepted => accepted?,
/// };
/// # drop(accepted);
/// # Ok(()) }
/// ```
#[derive(Clone, thiserror::Error)]
#[error("{reason}")]
pub struct EnqueueError {
    reason: NotAccepted,
    publication: Option<Box<Publication>>,
    payload: Bytes,
}

impl fmt::Debug for EnqueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnqueueError")
            .field("reason", &self.reason)
            .field("publication", &self.publication)
            .field("payload_bytes", &self.payload.len())
            .finish()
    }
}

/// Why a message was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAccepted {
    /// The queue is full: wait for space or raise the limit.
    #[error("the queue is full ({messages} messages, {bytes} bytes of {limit_bytes}); wait for space")]
    QueueFull {
        /// Messages in the queue.
        messages: u64,
        /// Bytes they take.
        bytes: u64,
        /// The limit in bytes.
        limit_bytes: u64,
    },
    /// The message alone is larger than the queue.
    #[error("the message takes {bytes} bytes, the whole queue has {limit_bytes}; raise Queue::max_bytes")]
    LargerThanQueue {
        /// Bytes it takes.
        bytes: u64,
        /// The limit in bytes.
        limit_bytes: u64,
    },
    /// The topic is not one.
    #[error(transparent)]
    InvalidTopic(TopicError),
    /// A property is not valid.
    #[error("{property}: {what}")]
    InvalidProperty {
        /// Its name.
        property: &'static str,
        /// What is wrong.
        what: String,
    },
    /// The store cannot take it now ([`StoreError::NoSpace`], [`StoreError::Behind`]) or any more.
    #[error(transparent)]
    Store(Box<StoreError>),
    /// The client is stopped or being shut down.
    #[error("the client is stopped; make a new one")]
    Stopped,
}

impl EnqueueError {
    pub(crate) fn new(reason: NotAccepted, publication: Publication) -> Self {
        let payload = publication.payload.clone();
        Self { reason, publication: Some(Box::new(publication)), payload }
    }

    pub(crate) const fn invalid(reason: NotAccepted, payload: Bytes) -> Self {
        Self { reason, publication: None, payload }
    }

    /// Why.
    pub const fn reason(&self) -> &NotAccepted {
        &self.reason
    }

    /// The message, unless its topic or a property was not valid.
    pub fn into_publication(self) -> Option<Publication> {
        self.publication.map(|boxed| *boxed)
    }

    /// The payload, in any case.
    pub fn into_payload(self) -> Bytes {
        self.payload
    }

    /// Whether waiting helps.
    pub const fn is_transient(&self) -> bool {
        match &self.reason {
            NotAccepted::QueueFull { .. } => true,
            NotAccepted::Store(error) => !error.is_fatal(),
            _ => false,
        }
    }
}

/// Why a subscription was not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The filter is not one.
    #[error(transparent)]
    InvalidFilter(#[from] TopicError),
    /// The broker refused it with this code.
    #[error("the broker refused the subscription to `{filter}`: {reason}")]
    Refused {
        /// The filter.
        filter: String,
        /// The code of SUBACK.
        reason: ReasonCode,
    },
    /// The server does not offer it, or the standard forbids it.
    #[error("the subscription to `{filter}` was not asked for: {why}")]
    Rejected {
        /// The filter.
        filter: String,
        /// Why.
        why: Rejected,
    },
    /// No answer within the limit. A wish to subscribe is withdrawn as by dropping its stream: on a kept session it is
    /// detached, so that the broker may have the subscription all the same. `declare()` keeps one for as long as it takes.
    #[error(
        "no answer from the broker for `{filter}` within {within:?}; use declare() to subscribe without a wait"
    )]
    Elapsed {
        /// The filter.
        filter: String,
        /// The limit.
        within: Duration,
    },
    /// The client is stopped.
    #[error("the client is stopped; make a new one")]
    Stopped,
}

impl SubscribeError {
    /// The code of SUBACK, where there was one.
    pub const fn reason_code(&self) -> Option<ReasonCode> {
        match self {
            Self::Refused { reason, .. } => Some(*reason),
            _ => None,
        }
    }

    /// Whether the same call may succeed later.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Elapsed { .. })
    }
}

/// A shutdown that could not answer for everything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} accepted messages were not acknowledged before the client stopped ({} of them may have arrived)", .0.lost, .0.maybe_delivered)]
pub struct ShutdownError(pub ShutdownReport);

fn because(last: Option<&LossCause>) -> String {
    last.map(|cause| format!(": {cause}{}", hint_of(cause))).unwrap_or_default()
}

fn hint_of(cause: &LossCause) -> String {
    crate::hint::hint(cause).map(|hint| format!("; {hint}")).unwrap_or_default()
}

fn quoted(text: Option<&str>) -> String {
    text.map(|text| format!(": \"{}\"", text.escape_debug())).unwrap_or_default()
}

fn stopped(reason: &StopReason) -> String {
    match reason {
        StopReason::NoReconnect(cause) => format!("stopped, reconnecting is off: {cause}{}", hint_of(cause)),
        StopReason::GaveUp(cause) => format!("gave up: {cause}{}", hint_of(cause)),
        _ => "the client is stopped; make a new one".to_owned(),
    }
}
