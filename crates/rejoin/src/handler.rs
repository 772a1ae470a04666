//! Messages by callback: the user's code runs on its own task, and what it does wrong stays there.

use std::future::{Future, IntoFuture};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rejoin_core::codec::packet::Qos;
use tokio::sync::oneshot;

use crate::command::{Command, Shared};
use crate::error::SubscribeError;
use crate::message::Message;
use crate::seldom::Seldom;
use crate::status::State;
use crate::subscription::{DEFAULT_SUBSCRIBE_LIMIT, SubscribeBuilder, Subscription};

/// A function that deals with one message; implemented for functions that return a future of `Result<(), E>`. That is
/// `async |message| ...` where it captures nothing. What captures something clones it for each message:
///
/// ```no_run
/// # async fn example(client: rejoin::Client) -> rejoin::Result<()> {
/// let (jobs, taken) = tokio::sync::mpsc::channel(16);
/// let hand_on = move |job: rejoin::Message| {
///     let jobs = jobs.clone();
///     async move { jobs.send(job).await }
/// };
/// client.handle("jobs/#", rejoin::Qos::AtLeastOnce, hand_on).await?;
/// # drop(taken);
/// # Ok(()) }
/// ```
pub trait Handler: Send + Sync + 'static {
    /// Deals with one message; the words of the error when it failed.
    fn call(&self, message: Message) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>>;
}

impl<F, Fut, E> Handler for F
where
    F: Fn(Message) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
    E: std::fmt::Display,
{
    fn call(&self, message: Message) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        let answer = self(message);
        Box::pin(async move { answer.await.map_err(|error| error.to_string()) })
    }
}

/// What happens to a message whose handler failed, panicked or took too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// It is acknowledged and counted: one bad message holds nothing up.
    #[default]
    Ack,
    /// It stays unacknowledged and the link is restarted, so that the broker sends it again. At QoS 2 a broker sends
    /// nothing again that has arrived: there the handler is called again by the client, with the same message, once the
    /// next link is open, and what came after it waits. A message that always fails comes for ever.
    Reconnect,
}

/// A handler to be registered. Awaited, it waits for the broker's answer; [`HandleBuilder::declare`] does not.
///
/// A handler does not keep the client alive, unless it captures a [`Client`](crate::Client); a
/// [`WeakClient`](crate::WeakClient) does not.
///
/// ```no_run
/// # async fn example(client: rejoin::Client) -> rejoin::Result<()> {
/// client
///     .handle("jobs/#", rejoin::Qos::AtLeastOnce, async |job: rejoin::Message| {
///         println!("{}", job.topic);
///         Ok::<(), std::io::Error>(())
///     })
///     .await?;
/// # Ok(()) }
/// ```
#[must_use = "nothing is asked for until this is awaited or declared"]
pub struct HandleBuilder<H> {
    shared: Arc<Shared>,
    subscribe: SubscribeBuilder,
    handler: H,
    on_error: OnError,
    time_limit: Option<Duration>,
    within: Duration,
}

impl<H> std::fmt::Debug for HandleBuilder<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandleBuilder").field("subscribe", &self.subscribe).finish_non_exhaustive()
    }
}

impl<H: Handler> HandleBuilder<H> {
    pub(crate) const fn new(shared: Arc<Shared>, subscribe: SubscribeBuilder, handler: H) -> Self {
        Self {
            shared,
            subscribe,
            handler,
            on_error: OnError::Ack,
            time_limit: None,
            within: DEFAULT_SUBSCRIBE_LIMIT,
        }
    }

    /// What happens to a message whose handler failed. Default: acknowledge and count.
    pub const fn on_error(mut self, policy: OnError) -> Self {
        self.on_error = policy;
        self
    }

    /// A handler that takes longer is dropped at its next await and counts as failed. Default: no limit. Until it
    /// ends, its message holds back the acknowledgements of all that came later [MQTT-4.6.0-2].
    pub const fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = Some(limit);
        self
    }

    /// How long an awaited registration waits for the answer. Default 30 s.
    pub const fn within(mut self, limit: Duration) -> Self {
        self.within = limit;
        self
    }

    /// Options of the subscription, such as [`SubscribeBuilder::no_local`].
    pub fn options(mut self, change: impl FnOnce(SubscribeBuilder) -> SubscribeBuilder) -> Self {
        self.subscribe = change(self.subscribe).manual_ack();
        self
    }

    /// Registers at once, link or no link.
    ///
    /// # Errors
    /// A filter that is not one, or a stopped client.
    pub fn declare(self) -> Result<Handling, SubscribeError> {
        let subscription = self.subscribe.declare_unowned()?;
        Ok(start(self.shared, subscription, self.handler, self.on_error, self.time_limit))
    }
}

impl<H: Handler> IntoFuture for HandleBuilder<H> {
    type Output = Result<Handling, SubscribeError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let mut subscription = self.subscribe.declare_unowned()?;
            subscription.wait_granted(self.within).await?;
            Ok(start(self.shared, subscription, self.handler, self.on_error, self.time_limit))
        })
    }
}

/// A registered handler. Dropping this changes nothing; [`Handling::stop`] ends it.
#[derive(Debug)]
pub struct Handling {
    stop: oneshot::Sender<()>,
}

impl Handling {
    /// No further message is handed to the handler; the one in its hands is finished. The subscription ends as by
    /// dropping a [`Subscription`].
    pub fn stop(self) {
        let _ = self.stop.send(());
    }
}

fn start<H: Handler>(
    shared: Arc<Shared>,
    subscription: Subscription,
    handler: H,
    on_error: OnError,
    time_limit: Option<Duration>,
) -> Handling {
    let (stop, stopped) = oneshot::channel();
    let runtime = shared.runtime.clone();
    runtime.spawn(serve(shared, subscription, handler, on_error, time_limit, stopped));
    Handling { stop }
}

async fn serve<H: Handler>(
    shared: Arc<Shared>,
    mut subscription: Subscription,
    handler: H,
    on_error: OnError,
    time_limit: Option<Duration>,
    stopped: oneshot::Receiver<()>,
) {
    // A dropped `Handling` is not a wish to stop.
    let mut stopped = pin!(async move {
        if stopped.await.is_err() {
            std::future::pending::<()>().await;
        }
    });
    let mut again: Option<Message> = None;
    let mut log = Seldom::default();
    loop {
        let message =
            std::future::poll_fn(|cx| poll_task(&mut subscription, &mut again, stopped.as_mut(), cx));
        let Some(message) = message.await else { return };
        let mut receipt = message.clone();
        let Err(failure) = attempt(&handler, message, time_limit).await else {
            receipt.ack();
            continue;
        };
        failure.note(&shared, &mut log);
        match on_error {
            OnError::Ack => receipt.ack(),
            OnError::Reconnect => {
                let link = shared.state.look(State::open_since);
                shared.push_always(Command::RestartLink);
                if receipt.qos != Qos::ExactlyOnce {
                    receipt.leave_to_its_copy();
                    continue;
                }
                match next_try(&shared, link, stopped.as_mut()).await {
                    NextTry::Now => {
                        receipt.dup = true;
                        again = Some(receipt);
                    }
                    // Unacknowledged: a store keeps it for the next process.
                    NextTry::Never => {}
                    NextTry::Stopped => return subscription.put_back(receipt),
                }
            }
        }
    }
}

/// What the handler is called with next: a message it failed with, or a new one. `None` when it was taken away, or
/// nothing follows.
fn poll_task(
    subscription: &mut Subscription,
    again: &mut Option<Message>,
    stopped: Pin<&mut impl Future<Output = ()>>,
    cx: &mut Context<'_>,
) -> Poll<Option<Message>> {
    let failed = again.take();
    if stopped.poll(cx).is_ready() {
        // Unread again: unacknowledged and in nobody's hands it would hold back all that come after it.
        if let Some(failed) = failed {
            subscription.put_back(failed);
        }
        return Poll::Ready(None);
    }
    match failed {
        Some(failed) => Poll::Ready(Some(failed)),
        None => pin!(subscription.next()).poll(cx),
    }
}

/// When a handler that failed is called again.
enum NextTry {
    Now,
    /// The client has stopped.
    Never,
    /// The handler was taken away.
    Stopped,
}

/// Waits for a link that was not opened at this time.
async fn next_try(
    shared: &Shared,
    link: Option<Instant>,
    mut stopped: Pin<&mut impl Future<Output = ()>>,
) -> NextTry {
    let is_another = |state: &State| state.open_since().is_some_and(|since| Some(since) != link);
    let mut waiting = pin!(shared.state.wait_for(|state| is_another(state) || !state.is_connected()));
    std::future::poll_fn(|cx| {
        if stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(NextTry::Stopped);
        }
        waiting.as_mut().poll(cx).map(|found| match found {
            state if state.is_connected() => NextTry::Now,
            _ => NextTry::Never,
        })
    })
    .await
}

async fn attempt<H: Handler>(handler: &H, message: Message, limit: Option<Duration>) -> Result<(), Failure> {
    let call = CatchPanic(Box::pin(async move { handler.call(message).await }));
    match limit {
        None => call.await,
        Some(limit) => tokio::time::timeout(limit, call).await.unwrap_or(Err(Failure::TookTooLong(limit))),
    }
}

/// Why a handler did not deal with a message.
enum Failure {
    Error(String),
    TookTooLong(Duration),
    Panicked,
}

impl Failure {
    /// Counts it, and tells it unless the log is to stay quiet: a handler that always fails does so with every message.
    fn note(&self, shared: &Shared, log: &mut Seldom) {
        let counters = &shared.counters;
        counters.handler_errors.fetch_add(1, Ordering::Relaxed);
        if matches!(self, Self::Panicked) {
            counters.handler_panics.fetch_add(1, Ordering::Relaxed);
        }
        let Some(untold) = log.turn(Instant::now()) else { return };
        match self {
            Self::Error(error) => tracing::warn!(target: "rejoin", %error, untold, "a handler failed"),
            Self::TookTooLong(limit) => {
                tracing::warn!(target: "rejoin", ?limit, untold, "a handler took too long and was dropped");
            }
            Self::Panicked => tracing::warn!(target: "rejoin", untold, "a handler panicked"),
        }
    }
}

/// Turns a panic of a future into a value: user code must not end the task that serves it.
struct CatchPanic<'a>(Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>);

impl Future for CatchPanic<'_> {
    type Output = Result<(), Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // The future is not polled again after a panic, so nothing sees a value it left half changed.
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(answer) => answer.map_err(Failure::Error),
            Err(_) => Poll::Ready(Err(Failure::Panicked)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use rejoin_core::MessageId;

    use super::*;
    use crate::route::Route;
    use crate::route::tests::message;

    /// The next link is there and the handler is taken away, between two looks.
    #[tokio::test]
    async fn a_message_that_waits_for_another_try_is_unread_again_when_its_handler_is_taken_away() {
        let route = Arc::new(Route::new(1, true, 64));
        let shared = Shared::for_tests(tokio::runtime::Handle::current());
        let mut subscription = Subscription::new(shared, None, Arc::clone(&route), Vec::new());
        let mut again = Some(Message::new(message(Some(7)), None));
        let cx = &mut Context::from_waker(Waker::noop());
        let stopped = pin!(std::future::ready(()));
        assert!(matches!(poll_task(&mut subscription, &mut again, stopped, cx), Poll::Ready(None)));
        drop(subscription);
        assert_eq!(route.take_unread().pop_front().and_then(|message| message.id), Some(MessageId(7)));
    }
}
