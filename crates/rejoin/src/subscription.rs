//! Receiving: a stream of messages, a callback, and what becomes of the wish when either goes away.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use rejoin_core::codec::packet::{Qos, RetainHandling, SubscriptionOptions, UserProperties};
use rejoin_core::codec::reason::ReasonCode;
use rejoin_core::text::Text;
use rejoin_core::{SubscribeResult, TopicError, TopicFilter};
use tokio::sync::{oneshot, watch};

use crate::client::Owner;
use crate::command::{Command, Leave, Leaving, Shared, Wish, Wishes, from_now};
use crate::error::SubscribeError;
use crate::message::Message;
use crate::route::{DEFAULT_CAPACITY, Route};
use crate::with_gaps::{Item, WithGaps};

/// Work of a stream before it lets other tasks run: on a runtime of one thread the driver is one of them, and what
/// was taken so far can be acknowledged while the rest is dealt with.
const STRETCH: u32 = 1024;
/// Messages of one stretch that want an acknowledgement, at most.
const ACKED_MOST: u32 = 128;

/// How long an awaited subscription waits for the broker's answer.
pub const DEFAULT_SUBSCRIBE_LIMIT: Duration = Duration::from_secs(30);

/// A subscription to be made. Awaited, it waits for the broker's answer; [`SubscribeBuilder::declare`] does not.
///
/// ```no_run
/// # async fn example(client: rejoin::Client) -> rejoin::Result<()> {
/// let mut jobs = client
///     .subscribe("$share/workers/jobs/#", rejoin::Qos::AtLeastOnce)
///     .manual_ack()
///     .await?;
/// while let Some(job) = jobs.next().await {
///     println!("{}: {} bytes", job.topic, job.payload.len());
///     job.ack();
/// }
/// # Ok(()) }
/// ```
#[must_use = "nothing is asked for until this is awaited or declared"]
pub struct SubscribeBuilder {
    owner: Arc<Owner>,
    filters: Result<Vec<(TopicFilter, Qos)>, TopicError>,
    options: SubscriptionOptions,
    user_properties: UserProperties,
    manual: bool,
    capacity: usize,
    within: Duration,
}

impl fmt::Debug for SubscribeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscribeBuilder").field("filters", &self.filters).finish_non_exhaustive()
    }
}

impl SubscribeBuilder {
    pub(crate) fn new(owner: Arc<Owner>, filters: Result<Vec<(TopicFilter, Qos)>, TopicError>) -> Self {
        Self {
            owner,
            filters,
            options: SubscriptionOptions::default(),
            user_properties: Vec::new(),
            manual: false,
            capacity: DEFAULT_CAPACITY,
            within: DEFAULT_SUBSCRIBE_LIMIT,
        }
    }

    /// Do not send back what this client published (5.0). Not with `$share`. It counts for every stream of this client with
    /// an equal filter: the broker has one subscription for them all.
    pub const fn no_local(mut self) -> Self {
        self.options.no_local = true;
        self
    }

    /// Keep the retain flag as it was published (5.0).
    pub const fn retain_as_published(mut self) -> Self {
        self.options.retain_as_published = true;
        self
    }

    /// What to do with retained messages when the subscription is made (5.0). Default: send them. A stream that comes to an
    /// equal filter gets them, too; those that had it before get them again.
    pub const fn retain_handling(mut self, handling: RetainHandling) -> Self {
        self.options.retain_handling = handling;
        self
    }

    /// A user property of SUBSCRIBE (5.0). A pair that is not an MQTT string is left out.
    pub fn user_property(mut self, name: &str, value: &str) -> Self {
        if let (Ok(name), Ok(value)) = (Text::try_from(name), Text::try_from(value)) {
            self.user_properties.push((name, value));
        }
        self
    }

    /// How many unread messages the stream holds. Default 16,384. QoS 0 beyond it is dropped and counted; at QoS 1
    /// and 2 the bound is the Receive Maximum, because acknowledgements are withheld.
    pub const fn capacity(mut self, messages: usize) -> Self {
        self.capacity = messages;
        self
    }

    /// The application acknowledges each message with [`Message::ack`]. Acknowledgements leave in the order of
    /// arrival [MQTT-4.6.0-2], so one that is never given holds back all after it.
    pub const fn manual_ack(mut self) -> Self {
        self.manual = true;
        self
    }

    /// How long an awaited subscription waits for the answer. Default 30 s.
    pub const fn within(mut self, limit: Duration) -> Self {
        self.within = limit;
        self
    }

    /// Notes the wish and returns the stream at once, link or no link. A refusal comes as
    /// [`crate::Event::SubscriptionRefused`] and makes `ready()` false.
    ///
    /// # Errors
    /// A filter that is not one, or a stopped client.
    pub fn declare(self) -> Result<Subscription, SubscribeError> {
        let owner = Arc::clone(&self.owner);
        self.make(Some(owner))
    }

    fn make(self, owner: Option<Arc<Owner>>) -> Result<Subscription, SubscribeError> {
        let shared = Arc::clone(&self.owner.shared);
        let route = shared.new_route(self.manual, self.capacity);
        let mut wishes = Vec::new();
        let mut names = Vec::new();
        let mut granted = Vec::new();
        for (filter, qos) in self.filters? {
            let (sender, receiver) = watch::channel(None);
            names.push(filter.to_string());
            granted.push((filter.clone(), receiver));
            wishes.push(Wish {
                filter,
                options: SubscriptionOptions { qos, ..self.options },
                granted: sender,
            });
        }
        route.name(names.join(", "));
        let wishes =
            Wishes { route: Arc::clone(&route), filters: wishes, user_properties: self.user_properties };
        shared.push(Command::Subscribe(Box::new(wishes))).map_err(|_| SubscribeError::Stopped)?;
        Ok(Subscription::new(shared, owner, route, granted))
    }

    /// For a task of the client itself, which must not keep the client alive.
    pub(crate) fn declare_unowned(self) -> Result<Subscription, SubscribeError> {
        self.make(None)
    }
}

impl IntoFuture for SubscribeBuilder {
    type Output = Result<Subscription, SubscribeError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let within = self.within;
            let mut subscription = self.declare()?;
            subscription.wait_granted(within).await?;
            Ok(subscription)
        })
    }
}

/// A stream of messages.
///
/// ```no_run
/// # async fn example(client: rejoin::Client) -> rejoin::Result<()> {
/// let mut rooms = client.subscribe("room/+/temp", rejoin::Qos::AtLeastOnce).await?;
/// while let Some(message) = rooms.next().await {
///     println!("{} = {}", message.topic, message.text()?);
///     if &message.payload[..] == b"enough" {
///         rooms.unsubscribe().await?;
///         break;
///     }
/// }
/// # Ok(()) }
/// ```
///
/// A message at QoS 1 or 2 counts as taken, and is acknowledged, when the next one is asked for (or, with
/// `manual_ack()`, by [`Message::ack`]). One that was handed out is taken when the stream is dropped, except in a
/// panic.
///
/// Dropping it on a kept session *detaches*: the broker goes on collecting for the next process, and what was not
/// read is not acknowledged for a while (see [`crate::Builder::unrouted_after`]). On a fresh session dropping it
/// unsubscribes. [`Subscription::unsubscribe`] and [`Subscription::detach`] say which.
#[must_use = "dropping a subscription ends it"]
pub struct Subscription {
    shared: Arc<Shared>,
    _owner: Option<Arc<Owner>>,
    route: Arc<Route>,
    granted: Vec<(TopicFilter, watch::Receiver<Option<SubscribeResult>>)>,
    local: VecDeque<rejoin_core::Message>,
    /// The message handed out last wants an acknowledgement.
    handed_out: bool,
    /// How far the present stretch of work is.
    stretch: u32,
    /// What a message that wants an acknowledgement counts in it; any other counts one.
    acked_counts: u32,
    left: bool,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("filters", &self.filters().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Subscription {
    pub(crate) fn new(
        shared: Arc<Shared>,
        owner: Option<Arc<Owner>>,
        route: Arc<Route>,
        granted: Vec<(TopicFilter, watch::Receiver<Option<SubscribeResult>>)>,
    ) -> Self {
        let acked_counts = STRETCH / acked_in_a_stretch(shared.receive_maximum);
        Self {
            shared,
            _owner: owner,
            route,
            granted,
            local: VecDeque::new(),
            handed_out: false,
            stretch: 0,
            acked_counts,
            left: false,
        }
    }

    /// The next message; `None` when the client stopped and everything was read.
    pub async fn next(&mut self) -> Option<Message> {
        std::future::poll_fn(|cx| self.poll_message(cx)).await
    }

    /// The same stream with the times in which messages may be missing, each in its place: after a lost session, for
    /// example. Without it they are told by [`crate::Event::Gap`] alone.
    pub const fn with_gaps(self) -> WithGaps {
        WithGaps::new(self)
    }

    /// The next message, or a gap before it.
    pub(crate) fn poll_item(&mut self, cx: &Context<'_>) -> Poll<Option<Item>> {
        self.take_handed_out();
        // First what came, then the gaps: one before it is known by then, and it stands before it.
        let filled = self.poll_fill(cx);
        if let Some(gap) = self.route.take_gap() {
            return Poll::Ready(Some(Item::Gap(gap)));
        }
        filled.map(|filled| filled.and_then(|()| self.hand_out()).map(Item::Message))
    }

    /// The filters.
    pub fn filters(&self) -> impl Iterator<Item = &TopicFilter> {
        self.granted.iter().map(|(filter, _)| filter)
    }

    /// The lowest QoS the broker granted over all filters; `None` until it answered, or if it refused one.
    pub fn granted(&self) -> Option<Qos> {
        let mut lowest = Some(Qos::ExactlyOnce);
        for (_, answer) in &self.granted {
            lowest = match &*answer.borrow() {
                Some(SubscribeResult::Granted(qos)) => lowest.min(Some(*qos)),
                _ => None,
            };
        }
        lowest
    }

    /// QoS 0 messages dropped because this stream was not read fast enough.
    pub fn dropped(&self) -> u64 {
        self.route.dropped()
    }

    /// Waits until the broker answered every filter.
    ///
    /// # Errors
    /// A refusal, no answer within the limit, or a stopped client.
    pub async fn wait_granted(&mut self, within: Duration) -> Result<(), SubscribeError> {
        let until = from_now(within);
        for (filter, answer) in &mut self.granted {
            let waited = tokio::time::timeout_at(until, answer.wait_for(Option::is_some)).await;
            let filter = || filter.as_str().to_owned();
            let answer = match waited {
                Err(_) => return Err(SubscribeError::Elapsed { filter: filter(), within }),
                Ok(Err(_)) => return Err(SubscribeError::Stopped),
                Ok(Ok(answer)) => answer.clone(),
            };
            if let Some(error) = answer.and_then(|answer| refusal(&answer, filter)) {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Ends the subscription on the broker and waits for its answer, at most 30 s. The wish to end it stays: the
    /// client asks again after a reconnect, until the broker answered. Messages that were not read are dropped.
    ///
    /// # Errors
    /// No answer in time, or the client stopped first.
    pub async fn unsubscribe(mut self) -> Result<ReasonCode, SubscribeError> {
        let (reply, answer) = oneshot::channel();
        self.leave(Leaving::Unsubscribe(Some(reply)));
        let within = DEFAULT_SUBSCRIBE_LIMIT;
        match tokio::time::timeout(within, answer).await {
            Ok(answer) => answer.map_err(|_| SubscribeError::Stopped),
            Err(_) => {
                let filter = self.filters().next().map_or_else(String::new, |filter| filter.to_string());
                Err(SubscribeError::Elapsed { filter, within })
            }
        }
    }

    /// Ends the stream and leaves the subscription on the broker, which goes on collecting for a kept session.
    pub fn detach(mut self) {
        self.leave(Leaving::Detach);
    }

    fn leave(&mut self, how: Leaving) {
        self.left = true;
        // In a panic the message in hand was perhaps not dealt with; elsewhere whoever got it has dealt with it.
        if !std::thread::panicking() {
            self.take_handed_out();
        }
        self.route.put_back(std::mem::take(&mut self.local));
        let leave = Leave { route: Arc::clone(&self.route), how };
        self.shared.push_always(Command::Leave(Box::new(leave)));
    }

    fn take_handed_out(&mut self) {
        if std::mem::take(&mut self.handed_out) {
            self.route.take_one();
            self.shared.mark();
        }
    }

    /// A message that was handed out and not dealt with is unread again.
    pub(crate) fn put_back(&mut self, message: Message) {
        self.local.push_front(message.into_core());
    }

    fn poll_message(&mut self, cx: &Context<'_>) -> Poll<Option<Message>> {
        self.take_handed_out();
        self.poll_fill(cx).map(|filled| filled.and_then(|()| self.hand_out()))
    }

    /// Ready when there is a message to hand out, or with `None` when none follows.
    fn poll_fill(&mut self, cx: &Context<'_>) -> Poll<Option<()>> {
        if self.stretch >= STRETCH {
            self.stretch = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.local.is_empty() {
            let swapped = self.route.poll_swap(&mut self.local, cx);
            if swapped.is_pending() {
                self.stretch = 0;
            }
            match ready!(swapped) {
                None => return Poll::Ready(None),
                Some(true) => self.shared.mark(),
                Some(false) => {}
            }
        }
        Poll::Ready(Some(()))
    }

    #[inline(always)]
    fn hand_out(&mut self) -> Option<Message> {
        let message = self.local.pop_front()?;
        self.route.handed_out.add(1);
        self.stretch += if message.id.is_some() { self.acked_counts } else { 1 };
        self.handed_out = message.id.is_some() && !self.route.manual;
        Some(Message::new(message, self.route.manual.then_some((&self.shared, &self.route))))
    }
}

impl Stream for Subscription {
    type Item = Message;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.poll_message(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if !self.left {
            let kept = self.shared.session_kept;
            self.leave(if kept { Leaving::Detach } else { Leaving::Unsubscribe(None) });
        }
    }
}

/// Half of what the broker may send before it must wait: while one half is dealt with, it sends the other.
fn acked_in_a_stretch(receive_maximum: u16) -> u32 {
    u32::from(receive_maximum / 2).clamp(1, ACKED_MOST)
}

/// The error of a refusal.
pub(crate) fn refusal(answer: &SubscribeResult, filter: impl Fn() -> String) -> Option<SubscribeError> {
    match answer {
        SubscribeResult::Granted(_) => None,
        SubscribeResult::Refused(reason) => {
            Some(SubscribeError::Refused { filter: filter(), reason: *reason })
        }
        SubscribeResult::Rejected(why) => {
            Some(SubscribeError::Rejected { filter: filter(), why: why.clone() })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::health::{Gap, GapCause};
    use crate::route::tests::message;

    /// Each gap is given just before its message, while the reader looks all the time.
    #[tokio::test]
    async fn a_gap_comes_before_the_message_that_followed_it() {
        const TIMES: u64 = 20_000;
        let shared = Shared::for_tests(tokio::runtime::Handle::current());
        let route = Arc::new(Route::new(1, false, 64));
        let mut stream = Subscription::new(shared, None, Arc::clone(&route), Vec::new());
        let driver = std::thread::spawn(move || {
            let now = std::time::SystemTime::now();
            for n in 0..TIMES {
                route.gap(Gap { from: None, to: now, cause: GapCause::QosZero });
                route.give(&mut VecDeque::from([message(None)]));
                while route.unread() > 0 {
                    std::thread::yield_now();
                }
                // Not always at the same moment of the reader.
                (0..n % 64).for_each(|_| std::hint::spin_loop());
            }
            route.end();
        });
        let cx = Context::from_waker(Waker::noop());
        let (mut gaps, mut messages) = (0u64, 0u64);
        loop {
            match stream.poll_item(&cx) {
                Poll::Pending => {}
                Poll::Ready(Some(Item::Gap(_))) => gaps += 1,
                Poll::Ready(Some(Item::Message(_))) => {
                    messages += 1;
                    assert_eq!(gaps, messages, "a message before its gap");
                }
                Poll::Ready(None) => break,
            }
        }
        driver.join().unwrap();
        assert_eq!(messages, TIMES);
    }

    #[test]
    fn a_stretch_is_half_of_the_window_and_never_nothing() {
        let of = |maximum| (acked_in_a_stretch(maximum), STRETCH / acked_in_a_stretch(maximum));
        assert_eq!(of(64), (32, 32));
        assert_eq!(of(100), (50, 20));
        assert_eq!((of(0), of(1), of(3)), ((1, STRETCH), (1, STRETCH), (1, STRETCH)));
        assert_eq!(of(u16::MAX), (ACKED_MOST, 8));
    }

    /// The rest of the window is handed out at the next look, when others had their turn.
    #[tokio::test]
    async fn a_stream_lets_others_run_after_half_of_the_window() {
        let shared = Shared::for_tests(tokio::runtime::Handle::current());
        let window = u64::from(shared.receive_maximum);
        for (id, expected) in [(Some(1), window / 2), (None, window)] {
            let route = Arc::new(Route::new(1, false, 64));
            let mut stream = Subscription::new(Arc::clone(&shared), None, Arc::clone(&route), Vec::new());
            route.give(&mut (0..window).map(|_| message(id)).collect());
            let cx = Context::from_waker(Waker::noop());
            let looks = std::iter::repeat_with(|| stream.poll_message(&cx));
            assert_eq!(looks.take_while(Poll::is_ready).count() as u64, expected, "{id:?}");
        }
    }
}
