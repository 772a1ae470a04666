//! What a handle may ask of the driver, and the one place where both meet.
//!
//! A handle pushes under a lock and wakes the driver only when it sleeps; the driver swaps the whole batch out.
//! There is no channel send per message.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

use rejoin_core::codec::packet::{SubscriptionOptions, UserProperties};
use rejoin_core::codec::reason::ReasonCode;
use rejoin_core::text::Text;
use rejoin_core::{MessageId, Now, Publication, PublishId, Stats, SubscribeResult, Timestamp, TopicFilter};
use tokio::sync::{Notify, oneshot, watch};

use crate::board::Board;
use crate::delivery::{Cell, Delivery};
use crate::error::{EnqueueError, NotAccepted, PublishError};
use crate::events::{Event, Readers};
use crate::health::Ward;
use crate::metrics::Meters;
use crate::pending::PendingMessage;
use crate::queue::WhenFull;
use crate::reservation::{Reservation, cost};
use crate::route::{Route, StreamFigures};
use crate::shutdown::Ending;
use crate::status::State;
use crate::store::{StoreError, StoreStats};
use crate::sync::lock;

/// What a handle asks of the driver.
pub(crate) enum Command {
    Publish {
        id: PublishId,
        publication: Publication,
        cell: Arc<Cell>,
        accepted: Timestamp,
    },
    Subscribe(Box<Wishes>),
    /// The application's stream of what no route wants.
    Unrouted(Arc<Route>),
    Leave(Box<Leave>),
    Ack {
        id: MessageId,
        reason: ReasonCode,
    },
    Cancel(PublishId),
    Decide {
        id: PublishId,
        resend: bool,
    },
    /// Wake `reply` when everything accepted before was answered for.
    Flush {
        reply: oneshot::Sender<()>,
    },
    /// Tell what is pending.
    List {
        reply: oneshot::Sender<Vec<PendingMessage>>,
    },
    Nudge {
        reply: oneshot::Sender<Option<Instant>>,
    },
    RestartLink,
    /// The link does not do what it is for: restart it, and say so.
    Unwell(Duration),
    /// Nothing to do: answered by being at work.
    Pulse,
    Reauthenticate,
    Close {
        within: Duration,
    },
}

/// Filters somebody wants, all for one route.
pub(crate) struct Wishes {
    pub(crate) route: Arc<Route>,
    pub(crate) filters: Vec<Wish>,
    pub(crate) user_properties: UserProperties,
}

/// One filter somebody wants.
pub(crate) struct Wish {
    pub(crate) filter: TopicFilter,
    pub(crate) options: SubscriptionOptions,
    pub(crate) granted: watch::Sender<Option<SubscribeResult>>,
}

/// A stream goes away.
pub(crate) struct Leave {
    pub(crate) route: Arc<Route>,
    pub(crate) how: Leaving,
}

/// What becomes of the subscription when its stream goes away.
pub(crate) enum Leaving {
    /// The broker keeps it.
    Detach,
    /// The broker forgets it; told when it has.
    Unsubscribe(Option<oneshot::Sender<ReasonCode>>),
}

/// The two clocks of this process, as the core wants them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: tokio::time::Instant,
}

/// Farther than any wait of this crate, near enough that no clock overflows.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// The moment this long from now; a limit beyond all clocks is none.
pub(crate) fn from_now(limit: Duration) -> tokio::time::Instant {
    tokio::time::Instant::now() + limit.min(FAR)
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: tokio::time::Instant::now() }
    }

    pub(crate) fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now::new(self.timestamp(), u64::try_from(wall.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn timestamp(&self) -> Timestamp {
        Timestamp::ZERO + self.origin.elapsed()
    }

    pub(crate) fn timer(&self, at: Timestamp) -> tokio::time::Instant {
        self.origin + at.since(Timestamp::ZERO).min(FAR)
    }

    pub(crate) fn instant(&self, at: Timestamp) -> Instant {
        self.timer(at).into_std()
    }
}

/// What the client counts beside the engine; they only grow.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) unrouted: AtomicU64,
    pub(crate) dropped_qos0: AtomicU64,
    pub(crate) handler_panics: AtomicU64,
    pub(crate) handler_errors: AtomicU64,
    /// Messages given back, or dropped by who no longer waited for room.
    pub(crate) not_accepted: AtomicU64,
}

/// How the store stands, as far as handles must know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    /// What is accepted is kept on a store.
    pub(crate) durable: bool,
    /// What is wrong with it.
    pub(crate) error: Option<Box<StoreError>>,
    /// Nothing is accepted because of that.
    pub(crate) refusing: bool,
}

/// What the settings of the queue say to each message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) when_full: WhenFull,
    pub(crate) expires_after: Option<Duration>,
    pub(crate) latest_only: bool,
}

/// Everything handles and driver share.
#[derive(Debug)]
pub(crate) struct Shared {
    inbox: Mutex<Inbox>,
    /// The queue has room again, or something else is to be said to who waits for it. Made when the first one does.
    room: OnceLock<Box<Notify>>,
    /// A consumer marked messages as taken or made room since the driver last looked.
    marks: AtomicBool,
    heard: AtomicU64,
    /// Deliveries dropped so far.
    forgotten: AtomicU64,
    pub(crate) state: Board,
    pub(crate) stats: Mutex<Stats>,
    /// `None` where there is no store.
    pub(crate) store_stats: Mutex<Option<Box<StoreStats>>>,
    pub(crate) counters: Counters,
    pub(crate) meters: Meters,
    /// Every stream there is.
    routes: Mutex<Vec<Weak<Route>>>,
    pub(crate) events: Readers,
    pub(crate) ending: Ending,
    pub(crate) clock: Clock,
    /// Dropping a subscription detaches it, because the session is meant to outlive this process.
    pub(crate) session_kept: bool,
    /// Where the user's handlers run.
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) ward: Ward,
    /// How many messages the broker may have unacknowledged towards us.
    pub(crate) receive_maximum: u16,
    terms: Terms,
}

struct Inbox {
    commands: VecDeque<Command>,
    room: Reservation,
    store: Standing,
    last_publish: u64,
    last_route: u64,
    stamp: Stamp,
    /// Messages accepted, by QoS, and how many of them were given up at once.
    accepted: [u64; 3],
    evicted: u64,
    /// What became of the queue and is not told yet, in order; and whether somebody is telling it.
    notices: VecDeque<Event>,
    telling: bool,
    /// Nothing more is accepted.
    closed: bool,
    /// The driver is gone.
    ended: bool,
    /// The waker of a sleeping driver.
    driver: Option<Waker>,
}

/// When messages were accepted. Reading the clock for each would cost more than all else that is done here: the first
/// of those that wait for the driver reads it, and every [`STAMP_SHARE`]th after it.
#[derive(Debug, Default)]
struct Stamp {
    at: Timestamp,
    used: u32,
}

/// Messages accepted in a row that may share one look at the clock.
const STAMP_SHARE: u32 = 64;

/// What is known of the queue on the side of the handles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueFigures {
    pub(crate) accepted: [u64; 3],
    pub(crate) evicted: u64,
    pub(crate) limit_bytes: u64,
    pub(crate) limit_messages: Option<u64>,
    pub(crate) full: bool,
}

impl Inbox {
    fn stamp(&mut self, clock: &Clock) -> Timestamp {
        if self.commands.is_empty() || self.stamp.used >= STAMP_SHARE {
            self.stamp = Stamp { at: clock.timestamp(), used: 0 };
        }
        self.stamp.used += 1;
        self.stamp.at
    }

    fn next_publish(&mut self) -> PublishId {
        self.last_publish += 1;
        PublishId(self.last_publish)
    }

    fn make_room(&mut self, bytes: u64, when_full: WhenFull) -> Result<(), NotAccepted> {
        match self.room.take(bytes) {
            // The driver gives up as many of the oldest.
            Err(NotAccepted::QueueFull { .. }) if when_full == WhenFull::DropOldest => {
                self.room.overdraw(bytes)
            }
            taken => taken,
        }
    }
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox")
            .field("commands", &self.commands.len())
            .field("room", &self.room)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Shared {
    pub(crate) fn new(
        state: State,
        clock: Clock,
        session_kept: bool,
        queue: (Reservation, Standing, Terms, PublishId),
        (ward, receive_maximum): (Ward, u16),
        runtime: tokio::runtime::Handle,
    ) -> Self {
        let (room, store, terms, last_publish) = queue;
        Self {
            inbox: Mutex::new(Inbox {
                commands: VecDeque::new(),
                room,
                store,
                last_publish: last_publish.0,
                last_route: 0,
                stamp: Stamp::default(),
                accepted: [0; 3],
                evicted: 0,
                notices: VecDeque::new(),
                telling: false,
                closed: false,
                ended: false,
                driver: None,
            }),
            room: OnceLock::new(),
            marks: AtomicBool::new(false),
            heard: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
            state: Board::new(state),
            stats: Mutex::default(),
            store_stats: Mutex::default(),
            counters: Counters::default(),
            meters: Meters::default(),
            routes: Mutex::default(),
            events: Readers::default(),
            ending: Ending::default(),
            clock,
            session_kept,
            runtime,
            ward,
            receive_maximum,
            terms,
        }
    }

    /// Whether an awaited publish waits for room.
    pub(crate) fn waits_for_room(&self) -> bool {
        self.terms.when_full == WhenFull::Block
    }

    /// Accepts a message or gives it back.
    pub(crate) fn enqueue(self: &Arc<Self>, publication: Publication) -> Result<Delivery, EnqueueError> {
        self.try_enqueue(publication, true).map_err(|refused| {
            self.counters.not_accepted.fetch_add(1, Ordering::Relaxed);
            EnqueueError::new(refused.0, refused.1)
        })
    }

    /// The same; `tell` says whether a full queue is news.
    pub(crate) fn try_enqueue(
        self: &Arc<Self>,
        mut publication: Publication,
        tell: bool,
    ) -> Result<Delivery, Box<(NotAccepted, Publication)>> {
        publication.expires_after = publication.expires_after.or(self.terms.expires_after);
        publication.latest_only |= self.terms.latest_only;
        let bytes = cost(&publication);
        let mut inbox = lock(&self.inbox);
        if inbox.closed {
            return Err(Box::new((NotAccepted::Stopped, publication)));
        }
        if inbox.store.refusing
            && let Some(error) = inbox.store.error.clone()
        {
            return Err(Box::new((NotAccepted::Store(error), publication)));
        }
        let kept = inbox.store.durable && publication.is_queued();
        let accepted = inbox.stamp(&self.clock);
        let cell = Arc::new(Cell::accepted(kept));
        if let Err(reason) = inbox.make_room(bytes, self.terms.when_full) {
            if matches!(reason, NotAccepted::QueueFull { .. }) && self.terms.when_full == WhenFull::DropNewest
            {
                let id = inbox.next_publish();
                inbox.accepted[publication.qos as usize] += 1;
                inbox.evicted += 1;
                drop(inbox);
                self.evicted(id, &cell);
                return Ok(Delivery::new(cell, Arc::clone(self), id));
            }
            let tell = tell && matches!(reason, NotAccepted::QueueFull { .. }) && inbox.room.tell_full();
            inbox.notices.extend(tell.then_some(Event::QueueFull));
            drop(inbox);
            if tell {
                self.tell_notices();
            }
            return Err(Box::new((reason, publication)));
        }
        let id = inbox.next_publish();
        inbox.accepted[publication.qos as usize] += 1;
        inbox.commands.push_back(Command::Publish { id, publication, cell: Arc::clone(&cell), accepted });
        let driver = inbox.driver.take();
        let high = inbox.room.tell_high();
        if let Some((messages, bytes, limit_bytes)) = high {
            inbox.notices.push_back(Event::QueueHigh { messages, bytes, limit_bytes });
        }
        drop(inbox);
        wake(driver);
        if high.is_some() {
            self.tell_notices();
        }
        Ok(Delivery::new(cell, Arc::clone(self), id))
    }

    /// Accepts a message of the client itself, which must be in nobody's way: only while no more than `behind_max` bytes
    /// wait or are unanswered. `None`: not now. It neither evicts anything nor is it kept.
    pub(crate) fn enqueue_beside(
        self: &Arc<Self>,
        publication: Publication,
        behind_max: u64,
    ) -> Result<Option<Delivery>, NotAccepted> {
        let bytes = cost(&publication);
        let mut inbox = lock(&self.inbox);
        if inbox.closed {
            return Err(NotAccepted::Stopped);
        }
        if inbox.room.bytes() > behind_max || inbox.room.take(bytes).is_err() {
            return Ok(None);
        }
        let accepted = inbox.stamp(&self.clock);
        let cell = Arc::new(Cell::accepted(false));
        let id = inbox.next_publish();
        inbox.accepted[publication.qos as usize] += 1;
        inbox.commands.push_back(Command::Publish { id, publication, cell: Arc::clone(&cell), accepted });
        let driver = inbox.driver.take();
        drop(inbox);
        wake(driver);
        Ok(Some(Delivery::new(cell, Arc::clone(self), id)))
    }

    /// The newest message is given up because the queue is full.
    fn evicted(&self, id: PublishId, cell: &Cell) {
        let why = Box::new(PublishError::Evicted);
        self.events.tell_delivery(|| Event::Failed { id, why: why.clone() });
        cell.finish(Err(why));
    }

    /// Tells what became of the queue in the order in which it did, without the lock: one at a time, whoever comes.
    fn tell_notices(&self) {
        loop {
            let notice = {
                let mut inbox = lock(&self.inbox);
                if inbox.telling {
                    return;
                }
                let Some(notice) = inbox.notices.pop_front() else { return };
                inbox.telling = true;
                notice
            };
            self.events.tell(&notice);
            lock(&self.inbox).telling = false;
        }
    }

    /// How far the queue is beyond its limits, in bytes and messages.
    pub(crate) fn overdraft(&self) -> (u64, u64) {
        match self.terms.when_full {
            WhenFull::DropOldest => lock(&self.inbox).room.overdraft(),
            _ => (0, 0),
        }
    }

    /// The client id, for the log: a layer of the user's runs there, and no lock may be held across it.
    pub(crate) fn client_id(&self) -> Text {
        self.state.look(|state| state.client_id.clone())
    }

    /// The store stands differently now.
    pub(crate) fn set_store(&self, standing: Standing) {
        lock(&self.inbox).store = standing;
        // Who waits for room hears of it, for better or worse.
        self.tell_of_room();
    }

    /// Where those wait who wait for room.
    pub(crate) fn room(&self) -> &Notify {
        self.room.get_or_init(Box::default)
    }

    fn tell_of_room(&self) {
        // Who comes to wait now looks behind the lock under which there was room made, and sees it.
        if let Some(room) = self.room.get() {
            room.notify_waiters();
        }
    }

    /// Whether a message of this size need not wait for [`Shared::room`]: it would be accepted now, or waiting does not
    /// help.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        let inbox = lock(&self.inbox);
        let is_full = || matches!(inbox.room.fits(bytes), Err(NotAccepted::QueueFull { .. }));
        inbox.closed || inbox.store.refusing || !is_full()
    }

    /// Gives room back, once for a whole batch.
    pub(crate) fn give_back(&self, bytes: u64, messages: u64) {
        let no_longer_full = {
            let mut inbox = lock(&self.inbox);
            let no_longer_full = inbox.room.give_back(bytes, messages);
            inbox.notices.extend(no_longer_full.then_some(Event::QueueOk));
            no_longer_full
        };
        self.tell_of_room();
        if no_longer_full {
            self.tell_notices();
        }
    }

    /// Hands a command over; gives it back when the driver is gone.
    pub(crate) fn push(&self, command: Command) -> Result<(), Command> {
        let mut inbox = lock(&self.inbox);
        if inbox.ended {
            return Err(command);
        }
        inbox.commands.push_back(command);
        let driver = inbox.driver.take();
        drop(inbox);
        wake(driver);
        Ok(())
    }

    /// Hands over a command that means nothing once the driver is gone.
    pub(crate) fn push_always(&self, command: Command) {
        let _ = self.push(command);
    }

    pub(crate) fn new_route(&self, manual: bool, capacity: usize) -> Arc<Route> {
        let id = {
            let mut inbox = lock(&self.inbox);
            inbox.last_route += 1;
            inbox.last_route
        };
        let route = Arc::new(Route::new(id, manual, capacity));
        let mut routes = lock(&self.routes);
        routes.retain(|route| route.strong_count() > 0);
        routes.push(Arc::downgrade(&route));
        route
    }

    /// How many messages wait for the application, over all streams.
    pub(crate) fn unread(&self) -> u64 {
        lock(&self.routes).iter().filter_map(Weak::upgrade).map(|route| route.unread()).sum()
    }

    /// Every stream, with what it holds.
    pub(crate) fn streams(&self) -> Vec<StreamFigures> {
        lock(&self.routes).iter().filter_map(Weak::upgrade).map(|route| route.figures()).collect()
    }

    pub(crate) fn queue_figures(&self) -> QueueFigures {
        let inbox = lock(&self.inbox);
        let (limit_bytes, limit_messages) = inbox.room.limits();
        QueueFigures {
            accepted: inbox.accepted,
            evicted: inbox.evicted,
            limit_bytes,
            limit_messages: Some(limit_messages).filter(|limit| *limit != u64::MAX),
            full: self.is_full(&inbox),
        }
    }

    /// From here on nothing is accepted; returns whether it was open, and how many messages are unanswered.
    pub(crate) fn close_inbox(&self) -> (bool, u64) {
        let (was_open, messages) = {
            let mut inbox = lock(&self.inbox);
            (!std::mem::replace(&mut inbox.closed, true), inbox.room.messages())
        };
        self.tell_of_room();
        (was_open, messages)
    }

    /// Swaps the whole batch of commands out, into an empty `batch`. When none came, neither of the two keeps more than
    /// `room` of what a burst needed.
    pub(crate) fn take_commands(&self, batch: &mut VecDeque<Command>, room: usize) {
        let mut inbox = lock(&self.inbox);
        if inbox.commands.is_empty() {
            inbox.commands.shrink_to(room);
            batch.shrink_to(room);
        } else {
            std::mem::swap(&mut inbox.commands, batch);
            inbox.room.looked();
        }
    }

    /// Nothing happens for a while: gives back the room that commands took.
    pub(crate) fn rest(&self) {
        let mut inbox = lock(&self.inbox);
        if inbox.commands.is_empty() {
            inbox.commands.shrink_to_fit();
        }
    }

    /// The driver goes to sleep, unless there is work. Returns whether it may.
    pub(crate) fn sleep(&self, waker: &Waker) -> bool {
        let mut inbox = lock(&self.inbox);
        if !inbox.commands.is_empty() {
            return false;
        }
        match &mut inbox.driver {
            Some(known) => known.clone_from(waker),
            slot => *slot = Some(waker.clone()),
        }
        // A consumer sets the mark before it takes this lock: it finds our waker, or we find its mark.
        if self.marks.load(Ordering::SeqCst) {
            inbox.driver = None;
            return false;
        }
        true
    }

    /// A consumer took messages or made room. Wakes the driver at most once until it looked.
    pub(crate) fn mark(&self) {
        if !self.marks.swap(true, Ordering::SeqCst) {
            let driver = lock(&self.inbox).driver.take();
            wake(driver);
        }
    }

    pub(crate) fn take_mark(&self) -> bool {
        self.marks.swap(false, Ordering::SeqCst)
    }

    /// The driver is gone: what it did not take is returned, to be answered for.
    pub(crate) fn end(&self) -> VecDeque<Command> {
        let commands = {
            let mut inbox = lock(&self.inbox);
            inbox.closed = true;
            inbox.ended = true;
            inbox.driver = None;
            std::mem::take(&mut inbox.commands)
        };
        self.tell_of_room();
        commands
    }

    pub(crate) fn note_heard(&self, at: Timestamp) {
        self.heard.store(at.as_micros(), Ordering::Relaxed);
    }

    /// When the last byte came, in µs of our clock.
    pub(crate) fn heard_micros(&self) -> Option<u64> {
        Some(self.heard.load(Ordering::Relaxed)).filter(|micros| *micros > 0)
    }

    /// A delivery is dropped; the driver finds out which when so many were that looking through all is worth it.
    pub(crate) fn note_forgotten(&self) {
        self.forgotten.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    /// A queue that gives up the oldest takes every message.
    fn is_full(&self, inbox: &Inbox) -> bool {
        inbox.room.is_full() && self.terms.when_full != WhenFull::DropOldest
    }

    /// The snapshot, completed with what changes too often to be published.
    pub(crate) fn complete(&self, state: State) -> State {
        let heard = self.heard_micros().map(|micros| self.clock.instant(Timestamp::from_micros(micros)));
        let inbox = lock(&self.inbox);
        let mut state = state.heard_at(heard);
        state.unverified = self.state.look(|state| state.unverified);
        state.ahead = inbox.room.messages();
        state.queue_bytes = inbox.room.bytes();
        state.queue_full = self.is_full(&inbox);
        state.durable = inbox.store.durable;
        state.store_error.clone_from(&inbox.store.error);
        state.refusing = inbox.store.refusing;
        state.closing = inbox.closed;
        state
    }

    pub(crate) fn state(&self) -> State {
        let state = self.state.look(State::clone);
        self.complete(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Shared {
        /// Without a driver, and with a queue of ten messages that is high with the first one.
        pub(crate) fn for_tests(runtime: tokio::runtime::Handle) -> Arc<Self> {
            let mut room = Reservation::new(10_000, 10);
            room.high_from(10);
            let terms = Terms { when_full: WhenFull::Reject, expires_after: None, latest_only: false };
            let queue = (room, Standing::default(), terms, PublishId(0));
            let ward = (Ward::new(Arc::default(), None), 64);
            Arc::new(Self::new(State::for_tests(), Clock::start(), false, queue, ward, runtime))
        }
    }

    /// A driver that answers for everything the moment it is woken: before the sender told that the queue is high.
    struct Quick(Weak<Shared>);

    impl std::task::Wake for Quick {
        fn wake(self: Arc<Self>) {
            if let Some(shared) = self.0.upgrade() {
                shared.give_back(10_000, 10);
            }
        }
    }

    #[tokio::test]
    async fn that_a_queue_has_room_again_is_never_told_before_that_it_was_high() {
        let shared = Shared::for_tests(tokio::runtime::Handle::current());
        let mut events = shared.events.subscribe();
        assert!(shared.sleep(&Waker::from(Arc::new(Quick(Arc::downgrade(&shared))))));
        let topic = rejoin_core::TopicName::try_from("a").unwrap();
        assert!(shared.enqueue(Publication::new(topic, "1")).is_ok());
        let told = [events.try_next(), events.try_next()].map(|event| event.map(|event| event.name()));
        assert_eq!(told, [Some("queue-high"), Some("queue-ok")]);
    }

    #[test]
    fn a_far_moment_does_not_overflow() {
        let clock = Clock::start();
        assert!(clock.instant(Timestamp::NEVER) > clock.instant(Timestamp::ZERO));
    }
}
