//! What the engine tells: facts as events, the present as status, answers as outcomes.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::codec::packet::{PublishProperties, Qos, SubscriptionOptions, Version};
use crate::codec::reason::ReasonCode;
use crate::error::{LossCause, Rejected, Stage};
use crate::recovery::Verdict;
use crate::text::Text;
use crate::time::Timestamp;
use crate::topic::{TopicFilter, TopicName};

/// Our own name of a publish, for ever; not the 16-bit identifier of the wire, which is reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublishId(pub u64);

/// Our own name of a wish to receive; on the wire it is the Subscription Identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(pub u32);

/// Names one received message towards [`crate::Engine::ack`]. Never reused; of a QoS 2 message that a store keeps it
/// is the same after a restart, so that a repeat can be recognised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u64);

/// A message the application hands over. Printed, it shows its size and not what it says.
#[derive(Clone, PartialEq, Eq)]
pub struct Publication {
    /// Where to.
    pub topic: TopicName,
    /// What.
    pub payload: Bytes,
    /// QoS.
    pub qos: Qos,
    /// Retain flag.
    pub retain: bool,
    /// Properties of 5.0; left out at 3.1.1, which has none.
    pub properties: Option<Box<PublishProperties>>,
    /// Dropped as [`Outcome::Expired`] if not sent within this time; at 5.0 what is left is written as Message
    /// Expiry Interval.
    pub expires_after: Option<Duration>,
    /// A QoS 0 message waits for the link instead of being dropped while it is down.
    pub queue_qos0: bool,
    /// What to do if the session is lost; `None` uses the session's policy.
    pub on_loss: Option<crate::config::SessionLossPolicy>,
    /// Only the latest message of its topic counts: while it was never sent, a newer one that says the same takes its
    /// place in the queue, and this one ends as [`Outcome::Superseded`].
    pub latest_only: bool,
}

impl fmt::Debug for Publication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publication")
            .field("topic", &self.topic)
            .field("payload_bytes", &self.payload.len())
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .finish_non_exhaustive()
    }
}

impl Publication {
    /// A QoS 0 message without options.
    pub fn new(topic: TopicName, payload: impl Into<Bytes>) -> Self {
        Self {
            topic,
            payload: payload.into(),
            qos: Qos::AtMostOnce,
            retain: false,
            properties: None,
            expires_after: None,
            queue_qos0: false,
            on_loss: None,
            latest_only: false,
        }
    }

    /// Bytes of topic and payload.
    pub fn size_bytes(&self) -> u64 {
        (self.topic.text().len() + self.payload.len()) as u64
    }

    /// Whether it waits for a link; QoS 0 does so only on request.
    pub const fn is_queued(&self) -> bool {
        self.queue_qos0 || !matches!(self.qos, Qos::AtMostOnce)
    }

    /// When it expires if it was accepted then, both in milliseconds since the Unix epoch.
    pub fn expires_wall_ms(&self, accepted_wall_ms: u64) -> Option<u64> {
        let after = self.expires_after?;
        Some(accepted_wall_ms.saturating_add(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// A message received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Names it towards `ack`; `None` at QoS 0, which needs no acknowledgement.
    pub id: Option<MessageId>,
    /// Topic name, any alias already resolved.
    pub topic: Text,
    /// Payload.
    pub payload: Bytes,
    /// QoS it was delivered with.
    pub qos: Qos,
    /// RETAIN.
    pub retain: bool,
    /// DUP: the server sent it before, which does not mean that it arrived before.
    pub dup: bool,
    /// Properties (5.0), subscription identifiers included.
    pub properties: Option<Box<PublishProperties>>,
}

/// What the broker said of a delivered message, and how it got there.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The code of PUBACK or PUBCOMP; 0x10 (no matching subscribers) is a success.
    pub reason: ReasonCode,
    /// How often the PUBLISH was written.
    pub attempts: u32,
    /// It may have arrived twice: sent again as new after a lost session, or under doubt.
    pub possible_duplicate: bool,
    /// How often the broker refused it with a passing reason before, and it was sent again out of order.
    pub refusals: u32,
    /// It was published at QoS 2, and the broker took it with a PUBACK, as one of QoS 1, or was sent it as one: it has the
    /// message, but may pass it on more than once.
    pub downgraded: bool,
}

/// Shows what is rare only where it is so: recordings of earlier versions compare with these words.
impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Receipt");
        shown.field("reason", &self.reason).field("attempts", &self.attempts);
        shown.field("possible_duplicate", &self.possible_duplicate).field("refusals", &self.refusals);
        if self.downgraded {
            shown.field("downgraded", &true);
        }
        shown.finish()
    }
}

/// The one final answer for a [`PublishId`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// QoS 0: handed to the transport of an open link. Nobody acknowledges it.
    Sent,
    /// QoS 1 and 2: the broker has it.
    Delivered(Receipt),
    /// The broker refused it with this code. It will not be sent again.
    Refused {
        /// The code of PUBACK or PUBREC.
        reason: ReasonCode,
        /// The broker's own words.
        text: Option<String>,
    },
    /// Its time was over before it was ever sent.
    Expired,
    /// QoS 0 while the link was down, and it was not to be queued.
    Dropped,
    /// The packet is larger than the server accepts, in bytes. It was never sent.
    TooLarge {
        /// Size of the packet in bytes.
        size: u64,
        /// The server's Maximum Packet Size in bytes.
        limit: u64,
    },
    /// The server does not offer what the message needs (its QoS, the retain flag). For QoS 2, [`crate::SessionConfig::lower_qos`]
    /// is the way to have it sent all the same. It was never sent.
    NotSupported(&'static str),
    /// It was sent, or may have been by an earlier process, no answer came, and it cannot be sent again, because the server
    /// takes less than it did. The broker may have it.
    NotSentAgain(Rejected),
    /// The session was lost, or the server had forgotten the exchange when the first PUBREL came, and nobody can know whether
    /// it was delivered.
    Unknown {
        /// QoS 2 had passed PUBREC: the broker owned it once, sending it again would risk a duplicate.
        released: bool,
    },
    /// The broker cut the link each time this message was sent. Set aside; it may have been delivered.
    Parked {
        /// On how many links it was the only unacknowledged packet when the link was cut.
        cuts: u32,
    },
    /// Withdrawn by the application before it was ever sent.
    Cancelled,
    /// Only the latest message of its topic counts, and a newer one came before it was ever sent.
    Superseded,
    /// The queue was full and its policy gives up the oldest message that was never sent.
    Evicted,
    /// The store could not give the body back, or gave one that MQTT cannot carry. What is left of it stays there for a person
    /// to look at.
    Unreadable,
    /// The client stopped first.
    Stopped {
        /// It was sent, so the broker may have it.
        maybe_delivered: bool,
    },
}

impl Outcome {
    /// Whether the message is where it was meant to go, as far as its QoS can tell.
    pub const fn is_success(&self) -> bool {
        matches!(self, Self::Sent | Self::Delivered(_))
    }
}

/// What became of the session when a link opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// A first session, or one asked to be new.
    New,
    /// The server had the session.
    Kept,
    /// The server should have had the session and did not.
    Lost(SessionLoss),
}

/// How many messages a lost session put in which class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionLoss {
    /// Sent, unacknowledged, now queued again as new.
    pub requeued: usize,
    /// Ended as [`Outcome::Unknown`] or waiting for a decision.
    pub unknown: usize,
}

/// The answer of the broker to one filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscribeResult {
    /// Granted with this maximum QoS.
    Granted(Qos),
    /// Refused with this code; asked again by itself where that can help.
    Refused(ReasonCode),
    /// Not asked: the server does not offer it.
    Rejected(Rejected),
}

/// The parts of an outage a client can know by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutageBill {
    /// From the last byte heard to the loss.
    pub detect: Duration,
    /// Time spent in attempts that failed.
    pub refused: Duration,
    /// Time waited between attempts.
    pub waited: Duration,
    /// Duration of the attempt that succeeded.
    pub connect: Duration,
    /// From CONNACK until every subscription was answered.
    pub resubscribe: Duration,
    /// From CONNACK until the backlog of that moment was answered for.
    pub drain: Duration,
    /// From the loss to the end of the drain.
    pub total: Duration,
}

/// Authentication Data. Never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AuthData(pub Option<Bytes>);

impl fmt::Debug for AuthData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "***" } else { "none" })
    }
}

/// A fact, in the order it happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// An attempt begins.
    Attempt {
        /// Consecutive attempts since the last link, from 1.
        attempt: u32,
        /// Index of the server.
        server: usize,
    },
    /// The attempt failed.
    AttemptFailed {
        /// Which one.
        attempt: u32,
        /// Index of the server.
        server: usize,
        /// Why.
        cause: LossCause,
        /// What the policy makes of it.
        verdict: Verdict,
        /// When the next one is due; `None` when the client stopped.
        retry_at: Option<Timestamp>,
        /// The budget, not the back-off, decides when.
        held_by_budget: bool,
    },
    /// CONNACK came: the link is open.
    Opened {
        /// Index of the server.
        server: usize,
        /// Version spoken.
        version: Version,
        /// Which attempt it was.
        attempt: u32,
        /// From the start of the attempt to CONNACK.
        took: Duration,
        /// The session.
        session: SessionState,
        /// How long there was no link; `None` for the first one.
        outage: Option<Duration>,
        /// Packets sent again: PUBLISH without an answer, and PUBREL.
        resending: usize,
    },
    /// A ping is late: open by the book, unproven.
    Suspect {
        /// How long nothing was heard.
        silent_for: Duration,
    },
    /// No message for the time of the health watch, which only tells.
    Silent {
        /// For how long.
        silent_for: Duration,
    },
    /// A suspect link spoke again.
    Trusted,
    /// The link is gone.
    Closed {
        /// Why.
        cause: LossCause,
        /// What the policy makes of it.
        verdict: Verdict,
        /// How long it was open.
        lasted: Duration,
        /// Messages sent and unacknowledged.
        in_flight: usize,
        /// Messages not yet sent.
        queued: usize,
        /// When the next attempt is due; `None` when the client stopped.
        retry_at: Option<Timestamp>,
        /// The budget, not the back-off, decides when.
        held_by_budget: bool,
    },
    /// Every subscription was answered on this link.
    Resubscribed {
        /// Granted.
        granted: usize,
        /// Refused.
        refused: usize,
    },
    /// Subscriptions answered and the backlog of the outage answered for.
    Recovered {
        /// Where the time went.
        bill: OutageBill,
        /// Messages of the backlog that were answered for.
        drained: usize,
    },
    /// The broker answered one filter.
    Subscribed {
        /// Which wish.
        id: SubscriptionId,
        /// How.
        result: SubscribeResult,
    },
    /// The broker answered UNSUBSCRIBE, or the wish ended without the wire.
    Unsubscribed {
        /// Which wish.
        id: SubscriptionId,
        /// The code; success at 3.1.1.
        reason: ReasonCode,
    },
    /// The [`Event::Message`] that follows came at QoS 1 on an earlier link too, and was not acknowledged there: where
    /// that copy is unread, this one can take its place. Compare the contents: a server that came back with an older
    /// session may use the identifier for something else.
    Again {
        /// The name of the earlier copy. An acknowledgement of it means nothing any more.
        earlier: MessageId,
    },
    /// A message came.
    Message(Message),
    /// An inbound message was larger than our limit; skipped, acknowledged and counted (3.1.1).
    Oversized {
        /// Its topic.
        topic: Text,
        /// Size of the packet in bytes.
        size: u32,
    },
    /// The PUBLISH was handed to the transport, for the first time or again.
    Transmitted {
        /// Which.
        id: PublishId,
        /// How often now.
        attempts: u32,
    },
    /// The store has it: it survives this process.
    Stored {
        /// Which.
        id: PublishId,
    },
    /// The broker refused it for now; it is sent again later, behind others.
    Retrying {
        /// Which.
        id: PublishId,
        /// The code.
        reason: ReasonCode,
        /// When.
        at: Timestamp,
    },
    /// The session was lost and the policy is to ask: call [`crate::Engine::decide`].
    Undecided {
        /// Which.
        id: PublishId,
    },
    /// The final answer for one publish.
    Finished {
        /// Which.
        id: PublishId,
        /// How it ended.
        outcome: Outcome,
    },
    /// Another client uses our id, or it looks like it.
    Conflict {
        /// What speaks for it, in words.
        evidence: String,
    },
    /// The server spoke only 3.1.1; so do we from now on.
    FellBack {
        /// Index of the server.
        server: usize,
    },
    /// The broker asks for the next step of enhanced authentication: answer with [`crate::Engine::authenticate`] or
    /// [`crate::Engine::auth_failed`], before CONNACK within its limit.
    AuthChallenge {
        /// Authentication Data.
        data: AuthData,
    },
    /// Enhanced authentication came to its end: what the broker says for itself. Who does not believe it calls
    /// [`crate::Engine::auth_failed`].
    AuthProof {
        /// Authentication Data.
        data: AuthData,
        /// It was a re-authentication on an open link.
        again: bool,
    },
    /// The credentials of the link are about to end. Get new ones and call [`crate::Engine::renewed`] or
    /// [`crate::Engine::renewal_failed`].
    RenewalDue,
    /// The link stays and must prove anew who we are: call [`crate::Engine::reauthenticate`].
    ReauthenticationDue,
    /// A broker named a server that was not in the list and may be followed.
    ServerAdded {
        /// Its index from now on.
        server: usize,
        /// As it was named: `host` or `host:port`.
        name: Text,
        /// Index of the server that named it.
        by: usize,
    },
    /// The link is on a server that does not share sessions with the one before: the session stays there.
    SessionLeftBehind {
        /// Index of the server in use now.
        server: usize,
        /// The server that has the session.
        at: String,
    },
    /// The broker answers QoS 2 with PUBACK: what it takes that way is delivered at least once, not exactly once. Told
    /// once a link, with the first such message.
    Downgraded {
        /// Which.
        id: PublishId,
    },
    /// QoS 2 at 3.1.1 without a kept session: may repeat after a cut. Told once.
    Qos2MayRepeat,
    /// The client stopped for good.
    Stopped {
        /// Why.
        reason: StopReason,
    },
}

/// Why a client stopped for good.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// Asked for.
    Shutdown,
    /// The link ended and reconnecting is off.
    NoReconnect(LossCause),
    /// Retrying cannot help, and the policy is to give up.
    GaveUp(LossCause),
}

/// The present state of the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// An attempt is under way.
    Connecting {
        /// Which, from 1.
        attempt: u32,
        /// How far it is.
        stage: Stage,
    },
    /// CONNACK came and nothing speaks against the link.
    Open,
    /// A ping is late.
    Suspect,
    /// Between attempts.
    Waiting {
        /// The attempt that comes next, from 1.
        attempt: u32,
        /// When it is due.
        until: Timestamp,
        /// The budget, not the back-off, decides when.
        held_by_budget: bool,
        /// Retrying is not expected to help by itself: minutes to an hour between attempts.
        slow_lane: bool,
    },
    /// For good.
    Stopped(StopReason),
}

/// The present, overwritten at each change; every question about the link is answered from one such value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Grows with every change of this value but `heard`, `queued` and `in_flight`.
    pub revision: u64,
    /// The link.
    pub link: LinkState,
    /// Since when it is so.
    pub since: Timestamp,
    /// When the last byte came from the broker.
    pub heard: Option<Timestamp>,
    /// Why the last link or attempt ended.
    pub last_loss: Option<LossCause>,
    /// The link is open and every subscription is granted on it.
    pub ready: bool,
    /// Index of the server in use or last tried.
    pub server: usize,
    /// Version spoken, once a link was open.
    pub version: Option<Version>,
    /// The session on the present or last link.
    pub session: Option<SessionState>,
    /// The client id in use; the assigned one, where the server assigned it.
    pub client_id: Text,
    /// The server's Maximum Packet Size in bytes, on the present or last link.
    pub maximum_packet_size: Option<u32>,
    /// Messages not yet sent.
    pub queued: usize,
    /// Messages sent and unacknowledged.
    pub in_flight: usize,
}

/// What the application wants to receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeRequest {
    /// Names it; also its Subscription Identifier at 5.0, so from 1 to 268,435,455.
    pub id: SubscriptionId,
    /// The filter.
    pub filter: TopicFilter,
    /// Its options.
    pub options: SubscriptionOptions,
    /// User properties of SUBSCRIBE (5.0).
    pub user_properties: crate::codec::packet::UserProperties,
}

/// Plain counters; they only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Attempts begun.
    pub attempts: u64,
    /// Links opened.
    pub links: u64,
    /// Links lost.
    pub losses: u64,
    /// Sessions lost by the server.
    pub sessions_lost: u64,
    /// Publishes accepted.
    pub accepted: u64,
    /// Publishes answered for with success.
    pub delivered: u64,
    /// Publishes answered for otherwise.
    pub failed: u64,
    /// PUBLISH packets sent again.
    pub resent: u64,
    /// Messages received, without the copies that were recognised.
    pub received: u64,
    /// Copies recognised and not handed over again: of QoS 2, and of QoS 1 before their PUBACK.
    pub duplicates_suppressed: u64,
    /// Acknowledgements of the application that came too late to be sent.
    pub stale_acks: u64,
    /// Acknowledgements from the server for identifiers not in use.
    pub unexpected_acks: u64,
    /// Bytes handed to the transport.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// PINGREQs sent.
    pub pings: u64,
    /// PINGREQs whose answer came on the same link and was read when it came. One that was read late because the application took
    /// no messages meanwhile, or that may answer an earlier PINGREQ, is not counted: it says nothing of the round trip.
    pub pings_answered: u64,
    /// From these PINGREQs to their answers, all in all: the round trip of one is the difference it makes.
    pub pings_took: Duration,
    /// Messages the server sent beyond our Receive Maximum.
    pub receive_overruns: u64,
    /// Inbound messages above our size limit.
    pub oversized: u64,
}
