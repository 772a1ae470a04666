//! Facts in the order they happened, for whoever reads them; nobody who does not read holds anything up.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use futures_core::Stream;
use rejoin_core::codec::packet::Version;
use rejoin_core::codec::reason::ReasonCode;
use rejoin_core::recovery::Verdict;
use rejoin_core::text::Text;
use rejoin_core::{LossCause, OutageBill, PublishId, SessionState, StopReason};

use crate::alerts::AlertStatus;
use crate::delivery::Receipt;
use crate::error::{PublishError, SubscribeError};
use crate::health::{GapCause, HealthStatus};
use crate::stages::Stages;
use crate::store::StoreError;
use crate::sync::lock;

/// How many unread events a reader holds before it begins to lose them.
pub const EVENT_CAPACITY: usize = 65_536;

/// A fact.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// An attempt begins.
    Attempt {
        /// Consecutive attempts since the last link, from 1.
        attempt: u32,
        /// Index of the server.
        server: usize,
    },
    /// An attempt failed.
    AttemptFailed {
        /// Which one.
        attempt: u32,
        /// Index of the server.
        server: usize,
        /// Why.
        cause: LossCause,
        /// What the policy makes of it.
        verdict: Verdict,
        /// Until the next one; `None` when the client stopped.
        next_in: Option<Duration>,
        /// The budget of attempts, not the back-off, decides when.
        held_by_budget: bool,
        /// How many attempts in a row now failed for a cause of the same name.
        repeated: u32,
        /// How long the stages took that were gone through, the last one unfinished.
        stages: Box<Stages>,
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
        /// Where that time went, and what was found on the way.
        stages: Box<Stages>,
        /// The session.
        session: SessionState,
        /// How long there was no link; `None` for the first one.
        outage: Option<Duration>,
        /// Messages sent again with DUP.
        resending: usize,
    },
    /// A ping is late: open by the book, unproven.
    Suspect {
        /// How long nothing was heard.
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
        /// Until the next attempt; `None` when the client stopped.
        next_in: Option<Duration>,
        /// The budget of attempts, not the back-off, decides when.
        held_by_budget: bool,
    },
    /// Every subscription was answered on this link.
    Resubscribed {
        /// Granted.
        granted: usize,
        /// Refused.
        refused: usize,
    },
    /// The broker refused a subscription that was declared or had been granted before. `ready()` is false.
    SubscriptionRefused {
        /// Its filter.
        filter: Text,
        /// Why.
        why: SubscribeError,
    },
    /// Subscriptions answered and the backlog of the outage answered for.
    Recovered {
        /// Where the time went.
        bill: OutageBill,
        /// Messages of the backlog that were answered for.
        drained: usize,
    },
    /// A message ended well. Only for readers that asked with [`Events::with_deliveries`].
    Delivered {
        /// Which.
        id: PublishId,
        /// How.
        receipt: Receipt,
    },
    /// A message ended otherwise. Only for readers that asked with [`Events::with_deliveries`].
    Failed {
        /// Which.
        id: PublishId,
        /// Why.
        why: Box<PublishError>,
    },
    /// The broker refused a message for now; it is sent again later, behind others.
    Retrying {
        /// Which.
        id: PublishId,
        /// The code.
        reason: ReasonCode,
        /// Until it is sent again.
        again_in: Duration,
    },
    /// The session was lost after the message was sent, and the policy is [`crate::SessionLossPolicy::Ask`]: it waits until
    /// [`crate::Client::decide`], or [`crate::Delivery::decide`], says what becomes of it. Told again by the next start of a
    /// client that keeps its queue; [`crate::Client::pending`] lists those that wait.
    Undecided {
        /// Which.
        id: PublishId,
    },
    /// Messages of subscriptions may be missing: told once every subscription was answered on the new link. Each stream
    /// has its own by [`crate::Subscription::with_gaps`].
    Gap {
        /// When the broker was last heard before it. `None`: an earlier process heard it.
        from: Option<SystemTime>,
        /// When the subscriptions were granted again.
        to: SystemTime,
        /// Why.
        cause: GapCause,
    },
    /// The queue is nearly full: at 80 %, or what [`crate::health::HealthRules`] says. Told once, until
    /// [`Event::QueueOk`].
    QueueHigh {
        /// Messages in it.
        messages: u64,
        /// Bytes in it.
        bytes: u64,
        /// Room for how many bytes.
        limit_bytes: u64,
    },
    /// The health watch found a link that does not do what it is for. See [`crate::health::HealthWatch`].
    Silent {
        /// What was missed, in words.
        what: String,
        /// For how long.
        silent_for: Duration,
        /// The link is restarted for it.
        restarts: bool,
    },
    /// The health changed. Only while somebody watches it: see [`crate::Builder::health`].
    Health {
        /// How it is now.
        status: HealthStatus,
        /// How it was.
        before: HealthStatus,
        /// What is not healthy, in words; empty when all is.
        why: String,
    },
    /// The state of an alert changed. See [`crate::Builder::alerts`].
    Alert {
        /// Where its rule stands now, with evidence and a hint.
        alert: Box<AlertStatus>,
    },
    /// A message was given back because the queue is full.
    QueueFull,
    /// A quarter of the queue is free again, after it was full or high.
    QueueOk,
    /// The queue on disk cannot take messages: now, or for good. `refusing`: what is handed over is given back until
    /// [`Event::StoreWell`] or the next start; otherwise the client goes on in memory, as it was told to.
    StoreTrouble {
        /// What is wrong.
        error: StoreError,
        /// Nothing is accepted meanwhile.
        refusing: bool,
    },
    /// The queue on disk takes messages again.
    StoreWell,
    /// Messages accepted by an earlier process were found in the queue on disk. [`crate::Client::pending`] lists them.
    Found {
        /// How many.
        messages: u64,
    },
    /// An inbound message was larger than our limit; skipped, acknowledged and counted (3.1.1).
    Oversized {
        /// Its topic.
        topic: Text,
        /// Size of the packet in bytes.
        size: u32,
    },
    /// Another client uses our id, or it looks like it.
    TakenOver {
        /// What speaks for it, in words.
        evidence: String,
    },
    /// The server spoke only 3.1.1; so do we from now on.
    FellBack {
        /// Index of the server.
        server: usize,
    },
    /// A broker named a server that was not in the list and is followed to.
    ServerAdded {
        /// Its index from now on.
        server: usize,
        /// Where it is.
        name: Text,
        /// Index of the server that named it.
        by: usize,
    },
    /// The link is on a server that does not share sessions with the one before: the session stays there, and what the
    /// broker keeps for us in it. Servers that share their sessions are told by [`crate::Builder::clustered`].
    SessionLeftBehind {
        /// Index of the server in use now.
        server: usize,
        /// The server that has the session.
        at: String,
    },
    /// Enhanced authentication came to its end, and whoever answers for it believes the broker.
    Authenticated {
        /// On an open link.
        again: bool,
    },
    /// The broker answers QoS 2 with PUBACK, or offers no more than QoS 1 ([`crate::Builder::lower_qos`]): what it takes that way is delivered at least once, not exactly once, and each
    /// receipt says so ([`crate::Receipt::downgraded`]). Told once a link, with the first such message.
    Downgraded {
        /// Which.
        id: PublishId,
    },
    /// QoS 2 at 3.1.1 without a kept session: may repeat after a cut. Told once.
    Qos2MayRepeat,
    /// The client stopped for good. The last event.
    Stopped {
        /// Why.
        reason: StopReason,
    },
    /// This reader fell behind and lost so many events.
    Lagged(u64),
}

impl Event {
    /// A short stable name, for scripts and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Attempt { .. } => "attempt",
            Self::AttemptFailed { .. } => "attempt-failed",
            Self::Opened { .. } => "opened",
            Self::Suspect { .. } => "suspect",
            Self::Trusted => "trusted",
            Self::Closed { .. } => "closed",
            Self::Resubscribed { .. } => "resubscribed",
            Self::SubscriptionRefused { .. } => "subscription-refused",
            Self::Recovered { .. } => "recovered",
            Self::Delivered { .. } => "delivered",
            Self::Failed { .. } => "failed",
            Self::Retrying { .. } => "retrying",
            Self::Undecided { .. } => "undecided",
            Self::Gap { .. } => "gap",
            Self::QueueHigh { .. } => "queue-high",
            Self::Silent { .. } => "silent",
            Self::Health { .. } => "health",
            Self::Alert { .. } => "alert",
            Self::QueueFull => "queue-full",
            Self::QueueOk => "queue-ok",
            Self::StoreTrouble { .. } => "store-trouble",
            Self::StoreWell => "store-well",
            Self::Found { .. } => "found",
            Self::Oversized { .. } => "oversized",
            Self::TakenOver { .. } => "taken-over",
            Self::FellBack { .. } => "fell-back",
            Self::ServerAdded { .. } => "server-added",
            Self::SessionLeftBehind { .. } => "session-left-behind",
            Self::Authenticated { .. } => "authenticated",
            Self::Downgraded { .. } => "downgraded",
            Self::Qos2MayRepeat => "qos2-may-repeat",
            Self::Stopped { .. } => "stopped",
            Self::Lagged(_) => "lagged",
        }
    }
}

/// The inbox of one reader.
#[derive(Default)]
struct Reader {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    events: VecDeque<Event>,
    lost: u64,
    deliveries: bool,
    ended: bool,
    waker: Option<Waker>,
}

/// A stream of [`Event`]s, from the moment it was made. Ends after [`Event::Stopped`].
///
/// ```no_run
/// # async fn example(client: rejoin::Client) {
/// use rejoin::Event;
/// let mut events = client.events();
/// while let Some(event) = events.next().await {
///     match event {
///         Event::Closed { cause, next_in, .. } => println!("lost: {cause}; again in {next_in:?}"),
///         Event::Recovered { drained, .. } => println!("back, with {drained} messages that waited"),
///         Event::Gap { from, to, .. } => println!("messages may be missing, {from:?} to {to:?}"),
///         _ => {}
///     }
/// }
/// # }
/// ```
///
/// Holds [`EVENT_CAPACITY`] unread events without loss; beyond that it yields [`Event::Lagged`] with the count.
#[must_use = "a reader that is not read only fills its inbox"]
pub struct Events {
    reader: Arc<Reader>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = lock(&self.reader.inner);
        f.debug_struct("Events")
            .field("unread", &inner.events.len())
            .field("lost", &inner.lost)
            .finish_non_exhaustive()
    }
}

impl Events {
    /// Also yields [`Event::Delivered`] and [`Event::Failed`]: one event for each message published from now on.
    /// Off by default, because at high rates they would push the rest out.
    pub fn with_deliveries(self) -> Self {
        lock(&self.reader.inner).deliveries = true;
        self
    }

    /// The next event, or `None` after the last.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    /// An event that is there already.
    pub fn try_next(&mut self) -> Option<Event> {
        pop(&mut lock(&self.reader.inner))
    }

    fn poll_event(&self, cx: &Context<'_>) -> Poll<Option<Event>> {
        let mut inner = lock(&self.reader.inner);
        match pop(&mut inner) {
            Some(event) => Poll::Ready(Some(event)),
            None if inner.ended => Poll::Ready(None),
            None => {
                inner.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

fn pop(inner: &mut Inner) -> Option<Event> {
    // What was lost is older than everything in the inbox, because the oldest go first.
    if inner.lost > 0 {
        return Some(Event::Lagged(std::mem::take(&mut inner.lost)));
    }
    inner.events.pop_front()
}

impl Stream for Events {
    type Item = Event;
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_event(cx)
    }
}

/// All readers of one client.
#[derive(Default)]
pub(crate) struct Readers {
    readers: Mutex<Registry>,
}

#[derive(Default)]
struct Registry {
    readers: Vec<Weak<Reader>>,
    ended: bool,
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").finish_non_exhaustive()
    }
}

impl Readers {
    /// A new reader, from now on.
    pub(crate) fn subscribe(&self) -> Events {
        let mut registry = lock(&self.readers);
        registry.readers.retain(|reader| reader.strong_count() > 0);
        let reader = Arc::new(Reader::default());
        lock(&reader.inner).ended = registry.ended;
        registry.readers.push(Arc::downgrade(&reader));
        Events { reader }
    }

    /// Tells every reader.
    pub(crate) fn tell(&self, event: &Event) {
        lock(&self.readers).readers.retain(|weak| {
            let Some(reader) = weak.upgrade() else { return false };
            give(&reader, event);
            true
        });
    }

    /// Tells the readers that asked for deliveries. `event` is made only if there is one.
    pub(crate) fn tell_delivery(&self, event: impl Fn() -> Event) {
        let registry = lock(&self.readers);
        for reader in registry.readers.iter().filter_map(Weak::upgrade) {
            if lock(&reader.inner).deliveries {
                give(&reader, &event());
            }
        }
    }

    /// Tells the last event. Who tells one beside us tells it before, or nobody.
    pub(crate) fn end(&self, last: &Event) {
        let mut registry = lock(&self.readers);
        registry.ended = true;
        for reader in registry.readers.drain(..).filter_map(|weak| weak.upgrade()) {
            give(&reader, last);
            let waker = {
                let mut inner = lock(&reader.inner);
                inner.ended = true;
                inner.waker.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

fn give(reader: &Reader, event: &Event) {
    let waker = {
        let mut inner = lock(&reader.inner);
        if inner.events.len() >= EVENT_CAPACITY {
            inner.events.pop_front();
            inner.lost += 1;
        }
        inner.events.push_back(event.clone());
        inner.waker.take()
    };
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_falls_behind_is_told_how_much_it_lost() {
        let readers = Readers::default();
        let mut slow = readers.subscribe();
        let mut quick = readers.subscribe();
        for n in 0..EVENT_CAPACITY + 10 {
            readers.tell(&Event::FellBack { server: n });
            assert!(matches!(quick.try_next(), Some(Event::FellBack { server }) if server == n));
        }
        assert!(matches!(slow.try_next(), Some(Event::Lagged(10))));
        for n in 10..EVENT_CAPACITY + 10 {
            assert!(matches!(slow.try_next(), Some(Event::FellBack { server }) if server == n));
        }
        assert!(slow.try_next().is_none());
    }

    /// While nothing happens, nothing is told.
    #[test]
    fn readers_that_are_dropped_leave_nothing_behind() {
        let readers = Readers::default();
        let kept = readers.subscribe();
        (0..100).for_each(|_| drop(readers.subscribe()));
        assert!(lock(&readers.readers).readers.len() <= 2);
        drop(kept);
    }

    #[test]
    fn deliveries_reach_only_those_who_asked() {
        let readers = Readers::default();
        let mut plain = readers.subscribe();
        let mut full = readers.subscribe().with_deliveries();
        readers.tell_delivery(|| Event::Failed { id: PublishId(1), why: Box::new(PublishError::Expired) });
        assert!(plain.try_next().is_none());
        assert!(matches!(full.try_next(), Some(Event::Failed { .. })));
    }
}
