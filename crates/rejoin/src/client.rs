//! The handle: clone it freely, it stands for one client and its one driver.

use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rejoin_core::codec::packet::Qos;
use rejoin_core::{Publication, PublishId, TopicError, TopicFilter, TopicName};
use tokio::sync::{oneshot, watch};

use crate::alerts::{AlertStatus, BaselineStatus};
use crate::builder::Builder;
use crate::command::{Command, Shared};
use crate::error::{ConnectError, SubscribeError, WaitError};
use crate::events::Events;
use crate::handler::{HandleBuilder, Handler};
use crate::health::Health;
use crate::health::observer;
use crate::metrics::{self, MetricsReader, MetricsSnapshot};
use crate::pending::PendingMessage;
use crate::publish::PublishBuilder;
use crate::route::DEFAULT_CAPACITY;
use crate::shutdown::Shutdown;
use crate::state_watch::StateWatch;
use crate::status::{CONNECT_WITHIN, Link, Outlook, State};
use crate::subscription::{SubscribeBuilder, Subscription};
use crate::sync::lock;
use crate::url::ServerUrl;

/// How long the driver drains after the last handle was dropped.
const DROP_WITHIN: Duration = Duration::from_secs(2);

/// An MQTT client. Clones share one link, one session and one queue.
///
/// Dropping the last clone (subscriptions count as one) shuts the client down as well as it can without anybody
/// waiting; [`Client::shutdown`] is the way that reports. A queue folder is free for another client when the shutdown
/// returned; after a drop it stays in use for a while.
///
/// ```no_run
/// use rejoin::{Client, Qos::AtLeastOnce};
///
/// #[tokio::main]
/// async fn main() -> rejoin::Result<()> {
///     let client = Client::connect("mqtt://localhost").await?;
///     let mut rooms = client.subscribe("room/+/temp", AtLeastOnce).await?;
///     client.publish("room/1/temp", "21.5").qos(AtLeastOnce).await?;
///     let msg = rooms.next().await.expect("the client runs");
///     println!("{} = {}", msg.topic, msg.text()?);
///     client.shutdown().within_secs(5).await.into_result()
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    owner: Arc<Owner>,
}

/// What keeps the driver alive: clients and subscriptions, not deliveries and events.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) shared: Arc<Shared>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        let (was_open, messages) = self.shared.close_inbox();
        if was_open {
            if messages > 0 {
                tracing::warn!(
                    target: "rejoin",
                    messages,
                    "the last handle was dropped with messages pending; use shutdown() to wait for them"
                );
            }
            self.shared.push_always(Command::Close { within: DROP_WITHIN });
        }
    }
}

/// Counters of one client; they only grow.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// What the engine counts.
    pub engine: rejoin_core::Stats,
    /// Messages received that no subscription wanted: acknowledged and dropped.
    pub unrouted: u64,
    /// QoS 0 messages dropped because a stream was not read fast enough.
    pub dropped_qos0: u64,
    /// Panics caught in handlers.
    pub handler_panics: u64,
    /// Errors returned by message handlers, panics and time-outs included.
    pub handler_errors: u64,
}

impl Client {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { owner: Arc::new(Owner { shared }) }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.owner.shared
    }

    /// Starts a client with default settings and waits for its first CONNACK, at most 30 s.
    ///
    /// # Errors
    /// A URL that does not parse, a refusal that trying again does not help, or no connection in time.
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        Self::builder(url).connect().await
    }

    /// A client with settings of its own; see [`Builder`].
    pub fn builder(url: &str) -> Builder {
        Builder::new(url)
    }

    /// A client of these servers, in the order of preference.
    pub fn builder_for(servers: impl IntoIterator<Item = ServerUrl>) -> Builder {
        servers.into_iter().fold(Builder::empty(), Builder::server_url)
    }

    /// Waits for the first link of a client just started; one that has none is gone before the error is there, its store
    /// closed: who tries again finds it free.
    pub(crate) async fn first_link(self) -> Result<Self, ConnectError> {
        let until = tokio::time::Instant::now() + CONNECT_WITHIN;
        let decided = self.shared().state.wait_for(|state| {
            state.is_connection_open()
                || matches!(state.link, Link::Stopped { .. } | Link::Waiting { slow_lane: true, .. })
        });
        let state = tokio::time::timeout_at(until, decided).await.unwrap_or_else(|_| self.state());
        let error = match state.link {
            Link::Open { .. } => return Ok(self),
            Link::Stopped { reason } => ConnectError::Stopped(reason),
            Link::Waiting { slow_lane: true, last_error: Some(cause), .. } => ConnectError::Refused(cause),
            _ => ConnectError::Elapsed { within: CONNECT_WITHIN, last: state.last_loss },
        };
        self.shutdown().within(Duration::ZERO).await;
        Err(error)
    }

    /// A message to `topic`: await it, or [`PublishBuilder::enqueue`] it.
    pub fn publish<T>(&self, topic: T, payload: impl Into<Bytes>) -> PublishBuilder
    where
        T: TryInto<TopicName>,
        T::Error: Into<TopicError>,
    {
        PublishBuilder::new(Arc::clone(self.shared()), topic.try_into().map_err(Into::into), payload.into())
    }

    /// A message built elsewhere, or given back by an error.
    pub fn publish_again(&self, publication: Publication) -> PublishBuilder {
        PublishBuilder::from_publication(Arc::clone(self.shared()), publication)
    }

    /// A stream of the messages that match `filter`. Subscriptions are made again after each reconnect. Streams with equal
    /// filters share one subscription, at the highest QoS any of them asks for; each gets every message.
    pub fn subscribe<T>(&self, filter: T, qos: Qos) -> SubscribeBuilder
    where
        T: TryInto<TopicFilter>,
        T::Error: Into<TopicError>,
    {
        let filter = filter.try_into().map_err(Into::into);
        SubscribeBuilder::new(Arc::clone(&self.owner), filter.map(|filter| vec![(filter, qos)]))
    }

    /// One stream for several filters. A message that matches more than one comes once.
    pub fn subscribe_many<T>(&self, filters: impl IntoIterator<Item = (T, Qos)>) -> SubscribeBuilder
    where
        T: TryInto<TopicFilter>,
        T::Error: Into<TopicError>,
    {
        let filters = filters
            .into_iter()
            .map(|(filter, qos)| Ok((filter.try_into().map_err(Into::into)?, qos)))
            .collect();
        SubscribeBuilder::new(Arc::clone(&self.owner), filters)
    }

    /// Calls `handler` for each message that matches `filter`, one at a time, on a task of its own. A message is
    /// acknowledged when its handler returned; one that failed is counted, too, and told in the log.
    /// [`HandleBuilder::on_error`] with [`crate::OnError::Reconnect`] has it sent again instead.
    pub fn handle<T, H>(&self, filter: T, qos: Qos, handler: H) -> HandleBuilder<H>
    where
        T: TryInto<TopicFilter>,
        T::Error: Into<TopicError>,
        H: Handler,
    {
        HandleBuilder::new(Arc::clone(self.shared()), self.subscribe(filter, qos).manual_ack(), handler)
    }

    /// A stream of the messages that no subscription wants, such as those a former process subscribed to on a kept
    /// session. Without it they are acknowledged and counted. A second call replaces the first.
    ///
    /// # Errors
    /// The client is stopped.
    pub fn unrouted(&self) -> Result<Subscription, SubscribeError> {
        let shared = self.shared();
        let route = shared.new_route(false, DEFAULT_CAPACITY);
        shared.push(Command::Unrouted(Arc::clone(&route))).map_err(|_| SubscribeError::Stopped)?;
        Ok(Subscription::new(Arc::clone(shared), Some(Arc::clone(&self.owner)), route, Vec::new()))
    }

    /// Facts from now on, in order. Nobody who does not read holds anything up.
    pub fn events(&self) -> Events {
        self.shared().events.subscribe()
    }

    /// The present, as one snapshot.
    pub fn state(&self) -> State {
        self.shared().state()
    }

    /// A watch of the snapshot, for loops and `select!`. What is there now counts as seen.
    pub fn state_watch(&self) -> StateWatch {
        StateWatch::new(Arc::clone(self.shared()))
    }

    /// Is the link open now? See [`State`] for the truth table.
    pub fn link(&self) -> Link {
        self.state().link
    }

    /// Will what is handed over now be delivered in the end? See [`State`] for the truth table.
    pub fn outlook(&self) -> Outlook {
        self.state().outlook()
    }

    /// Paho's `IsConnected`: up now, or will be again by itself; false only when stopped for good. See [`State`].
    pub fn is_connected(&self) -> bool {
        self.shared().state.look(State::is_connected)
    }

    /// Paho's `IsConnectionOpen`: exactly [`Link::Open`]. See [`State`].
    pub fn is_connection_open(&self) -> bool {
        self.shared().state.look(State::is_connection_open)
    }

    /// Whether the link is open and every subscription granted on it.
    pub fn ready(&self) -> bool {
        self.shared().state.look(State::ready)
    }

    /// Waits until the snapshot changes after this call, and returns the new one; at once when the client has stopped,
    /// because nothing changes after that. Loops that must not miss a change use [`Client::state_watch`].
    pub fn changed(&self) -> impl Future<Output = State> + Send + use<> {
        let shared = Arc::clone(self.shared());
        let before = shared.state.look(|state| state.revision);
        async move {
            shared.state.wait_for(|state| state.revision != before || !state.is_connected()).await;
            shared.state()
        }
    }

    /// Waits until the link is open.
    ///
    /// # Errors
    /// Not within the limit, or the client stopped for good.
    pub async fn wait_open(&self, within: Duration) -> Result<State, WaitError> {
        self.wait_for(within, State::is_connection_open).await
    }

    /// Waits until the link is open and every subscription granted on it.
    ///
    /// # Errors
    /// Not within the limit, or the client stopped for good.
    pub async fn wait_ready(&self, within: Duration) -> Result<State, WaitError> {
        self.wait_for(within, State::ready).await
    }

    async fn wait_for(&self, within: Duration, good: fn(&State) -> bool) -> Result<State, WaitError> {
        let ended = |state: &State| matches!(state.link, Link::Stopped { .. });
        let decided = self.shared().state.wait_for(|state| good(state) || ended(state));
        let Ok(state) = tokio::time::timeout(within, decided).await else {
            return Err(WaitError::Elapsed { within, last: self.state().last_loss });
        };
        let state = self.shared().complete(state);
        match state.link {
            Link::Stopped { reason } => Err(WaitError::Stopped(reason)),
            _ => Ok(state),
        }
    }

    /// Every figure of this client now, as plain data: counters, queue, durations. See [`crate::metrics`].
    pub fn metrics(&self) -> MetricsSnapshot {
        metrics::take(self.shared())
    }

    /// Reads the same later and elsewhere, without keeping the client alive.
    pub fn metrics_reader(&self) -> MetricsReader {
        MetricsReader::new(self.shared())
    }

    /// How this client is: a status, and a check for each thing that can be wrong. Always there; looking costs something,
    /// not being looked at nothing. See [`crate::health`].
    pub fn health(&self) -> Health {
        self.shared().health()
    }

    /// A watch of the health for `select!`. The first call, unless [`Builder::health`] or [`Builder::alerts`] did, starts
    /// the one task that looks: at each event that matters, and every 5 s.
    pub fn health_watch(&self) -> watch::Receiver<Health> {
        observer::start(self.shared(), None).subscribe()
    }

    /// Where every rule of [`Builder::alerts`] stands, as of the last look; empty without rules.
    pub fn alerts(&self) -> Vec<AlertStatus> {
        self.shared().ward.watching.get().map(|watching| watching.alerts()).unwrap_or_default()
    }

    /// What is usual for every signal, as of the last look; empty without [`Builder::alerts`].
    pub fn baselines(&self) -> Vec<BaselineStatus> {
        self.shared().ward.watching.get().map(|watching| watching.baselines()).unwrap_or_default()
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        let shared = self.shared();
        let counters = &shared.counters;
        Stats {
            engine: *lock(&shared.stats),
            unrouted: counters.unrouted.load(Ordering::Relaxed),
            dropped_qos0: counters.dropped_qos0.load(Ordering::Relaxed),
            handler_panics: counters.handler_panics.load(Ordering::Relaxed),
            handler_errors: counters.handler_errors.load(Ordering::Relaxed),
        }
    }

    /// How many accepted messages are not answered for.
    pub fn pending_count(&self) -> u64 {
        self.state().ahead
    }

    /// The accepted messages that are not answered for, oldest first, those an earlier process left in the queue on disk
    /// among them. Empty once the client is stopped. What becomes of them is told by [`Events::with_deliveries`], under
    /// the same ids. Those that are `undecided` wait for [`Client::decide`].
    pub fn pending(&self) -> impl Future<Output = Vec<PendingMessage>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        self.shared().push_always(Command::List { reply });
        async move { answer.await.unwrap_or_default() }
    }

    /// Answers [`crate::Event::Undecided`]: sends the message again as new, or ends it as
    /// [`crate::PublishError::Unknown`]. By its name, so also where nobody holds its [`crate::Delivery`]: it is awaited, was
    /// dropped, or was accepted by an earlier process. Nothing happens where there is nothing to decide.
    ///
    /// ```no_run
    /// # async fn example(client: rejoin::Client) {
    /// // At the start, what an earlier process was asked; later, `Event::Undecided` tells of each.
    /// for message in client.pending().await {
    ///     if message.undecided {
    ///         client.decide(message.id, true);
    ///     }
    /// }
    /// # }
    /// ```
    pub fn decide(&self, id: PublishId, resend: bool) {
        self.shared().push_always(Command::Decide { id, resend });
    }

    /// Figures of the store; `None` with the queue in memory.
    pub fn store_stats(&self) -> Option<crate::store::StoreStats> {
        lock(&self.shared().store_stats).as_deref().copied()
    }

    /// Waits until everything accepted so far was answered for, one way or the other; what is undecided is not, until
    /// [`Client::decide`].
    ///
    /// # Errors
    /// Not within the limit.
    pub async fn flush(&self, within: Duration) -> Result<(), WaitError> {
        let (reply, answered) = oneshot::channel();
        if self.shared().push(Command::Flush { reply }).is_err() {
            // The driver answered for everything when it ended.
            return Ok(());
        }
        match tokio::time::timeout(within, answered).await {
            Ok(_) => Ok(()),
            Err(_) => Err(WaitError::Elapsed { within, last: self.state().last_loss }),
        }
    }

    /// The network may be back: stop waiting and try now. The future tells until when the budget of attempts holds
    /// the attempt back, if it does; dropping it is fine.
    pub fn nudge(&self) -> impl Future<Output = Option<Instant>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        self.shared().push_always(Command::Nudge { reply });
        async move { answer.await.ok().flatten() }
    }

    /// Closes the link and opens a new one, for a caller that knows better than pings that it is of no use.
    pub fn restart_link(&self) {
        self.shared().push_always(Command::RestartLink);
    }

    /// Authenticates anew on the open link, by [`crate::Authentication`]: before a token expires, for example.
    /// [`crate::Event::Authenticated`] tells that it worked; a failure ends the link. Without an open link, without
    /// enhanced authentication, or while an exchange is under way, nothing happens.
    pub fn reauthenticate(&self) {
        self.shared().push_always(Command::Reauthenticate);
    }

    /// The same client, not kept alive by this handle.
    pub fn downgrade(&self) -> WeakClient {
        WeakClient { owner: Arc::downgrade(&self.owner) }
    }

    /// Stops accepting, drains, sends DISCONNECT, and reports. Of a client that was prepared and is not started, it waits
    /// until its [`crate::Prepared`] is started or dropped.
    pub fn shutdown(&self) -> Shutdown {
        Shutdown::new(Arc::clone(self.shared()))
    }
}

/// A [`Client`] that does not keep itself alive: for handlers, callbacks and tasks that are to end with the others' last
/// handle. Made by [`Client::downgrade`].
///
/// ```no_run
/// # async fn example(client: rejoin::Client) -> rejoin::Result<()> {
/// use rejoin::{Message, Qos::AtLeastOnce};
/// let weak = client.downgrade();
/// let echo = move |asked: Message| {
///     let client = weak.upgrade();
///     async move {
///         let Some(client) = client else { return Ok(()) };
///         client.publish("answers", asked.payload).qos(AtLeastOnce).await.map(drop)
///     }
/// };
/// client.handle("questions", AtLeastOnce, echo).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct WeakClient {
    owner: Weak<Owner>,
}

impl WeakClient {
    /// The client, while somebody else has a handle of it; `None` from then on.
    pub fn upgrade(&self) -> Option<Client> {
        self.owner.upgrade().map(|owner| Client { owner })
    }
}
