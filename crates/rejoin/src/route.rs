//! The way of messages from the driver to one stream.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use rejoin_core::codec::packet::{PublishProperties, Qos};
use rejoin_core::text::Text;
use rejoin_core::{Message, MessageId};

use crate::health::Gap;
use crate::metrics::Count;
use crate::sync::lock;

/// How many unread messages a stream holds before QoS 0 is dropped, unless `capacity` says otherwise.
pub(crate) const DEFAULT_CAPACITY: usize = 16_384;

/// How many bytes of unread messages a stream holds before QoS 0 is dropped.
const CAPACITY_BYTES: usize = 64 * 1024 * 1024;

/// A stream with this many unread messages, or bytes of them, is behind: what comes next in small batches is copied. What
/// it was read into has up to 64 KiB, and one small message would keep all of them. Before that, nothing is copied.
const BEHIND: usize = 1_024;
const BEHIND_BYTES: usize = 1024 * 1024;

/// A batch of fewer bytes is small. A larger one keeps no more than four times its size.
const SMALL_BATCH_BYTES: usize = 16 * 1024;

/// One stream's end of the driver.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) id: u64,
    /// The application acknowledges each message itself.
    pub(crate) manual: bool,
    capacity: usize,
    inner: Mutex<Inner>,
    /// How many of the messages that want an acknowledgement the application took, in order.
    taken: AtomicU64,
    /// QoS 0 messages dropped because the stream was full.
    dropped: AtomicU64,
    /// How many messages the driver gave, and how many the application has seen.
    given: Count,
    pub(crate) handed_out: Count,
    /// How many messages that want an acknowledgement were given, and how many of them the application acknowledged.
    wanted: AtomicU64,
    acked: AtomicU64,
    /// What it has in hand, at QoS 1 and 2; `None` where it does not acknowledge itself.
    in_hand: Option<Box<Mutex<[InHand; 2]>>>,
    filters: OnceLock<String>,
    has_gaps: AtomicBool,
}

/// Messages the application has in hand, as long as their acknowledgement means anything.
#[derive(Clone, Copy, Debug, Default)]
struct InHand {
    count: u64,
    /// How often they came to mean nothing.
    voided: u64,
}

/// Where a message of a QoS above 0 is counted.
const fn place(qos: Qos) -> usize {
    match qos {
        Qos::ExactlyOnce => 1,
        _ => 0,
    }
}

/// Most gaps of one stream that wait to be read; of more the last two become one.
const GAPS_MAX: usize = 64;

/// What is known of a stream from outside.
#[derive(Clone, Debug)]
pub(crate) struct StreamFigures {
    pub(crate) id: u64,
    pub(crate) filters: String,
    /// Messages the application is done with, of those that want an acknowledgement.
    pub(crate) done: u64,
    /// And that it is not done with.
    pub(crate) waiting: u64,
}

#[derive(Debug, Default)]
struct Inner {
    queue: VecDeque<Message>,
    bytes: usize,
    waker: Option<Waker>,
    ended: bool,
    /// The driver slowed down for this stream and wants to know when it was read.
    crowded: bool,
    /// Where the last message that came again was: the next one is behind it.
    replaced: usize,
    /// The first message that wants an acknowledgement since the stream last took everything unread.
    oldest: Option<MessageId>,
    /// Gaps, each after so many messages given.
    gaps: VecDeque<(u64, Gap)>,
}

impl Inner {
    /// One by one, and says how many were dropped. `small`: the batch is a small part of what it was read into.
    fn append(&mut self, batch: &mut VecDeque<Message>, small: bool, capacity: usize) -> u64 {
        let mut dropped = 0;
        let (behind, from) = (self.queue.len() >= BEHIND || self.bytes >= BEHIND_BYTES, self.queue.len());
        for message in batch.drain(..) {
            let full = self.queue.len() >= capacity || self.bytes >= CAPACITY_BYTES;
            if full && message.id.is_none() {
                dropped += 1;
                continue;
            }
            self.bytes += size(&message);
            self.queue.push_back(message);
        }
        if behind && small {
            self.queue.range_mut(from..).for_each(unshare);
        }
        dropped
    }
}

/// Copies a message out of what it was read into.
#[cold]
fn unshare(message: &mut Message) {
    let copy = |bytes: &mut Bytes| *bytes = Bytes::copy_from_slice(bytes);
    let copy_text = |text: &mut Text| {
        // It was a text before.
        if let Ok(copy) = Text::new(Bytes::copy_from_slice(text.as_bytes())) {
            *text = copy;
        }
    };
    copy_text(&mut message.topic);
    copy(&mut message.payload);
    let Some(properties) = &mut message.properties else { return };
    properties.response_topic.iter_mut().chain(&mut properties.content_type).for_each(copy_text);
    properties.user_properties.iter_mut().for_each(|(name, value)| {
        copy_text(name);
        copy_text(value);
    });
    properties.correlation_data.iter_mut().for_each(copy);
}

/// What an unread message counts, in bytes.
fn size(message: &Message) -> usize {
    message.topic.len() + message.payload.len()
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Given {
    pub(crate) dropped: u64,
    /// More than half full of what may be dropped.
    pub(crate) crowded: bool,
}

impl Route {
    pub(crate) fn new(id: u64, manual: bool, capacity: usize) -> Self {
        Self {
            id,
            manual,
            capacity: capacity.max(1),
            inner: Mutex::default(),
            taken: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            wanted: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            in_hand: manual.then(Box::default),
            filters: OnceLock::new(),
            has_gaps: AtomicBool::new(false),
            given: Count::default(),
            handed_out: Count::default(),
        }
    }

    /// Appends a batch under one lock, with one wake. QoS 0 beyond the bound is dropped; what is to be acknowledged
    /// is bounded by our Receive Maximum and never dropped.
    pub(crate) fn give(&self, batch: &mut VecDeque<Message>) -> Given {
        let offered = batch.len() as u64;
        let wanted = batch.iter().filter(|message| message.id.is_some()).count() as u64;
        let (given, waker) = {
            let mut inner = lock(&self.inner);
            let mut given = Given::default();
            inner.oldest = inner.oldest.or_else(|| batch.iter().find_map(|message| message.id));
            let bytes = batch.iter().map(size).sum::<usize>();
            let fits = batch.len() <= self.capacity && bytes <= CAPACITY_BYTES;
            if inner.queue.is_empty() && fits {
                // The stream keeps up: nothing is moved but the batch as a whole.
                std::mem::swap(&mut inner.queue, batch);
                inner.bytes = bytes;
            } else {
                given.dropped = inner.append(batch, bytes < SMALL_BATCH_BYTES, self.capacity);
            }
            given.crowded = inner.queue.len() > self.capacity / 2 || inner.bytes > CAPACITY_BYTES / 2;
            inner.crowded = given.crowded;
            (given, inner.waker.take())
        };
        self.given.add(offered - given.dropped);
        if wanted > 0 {
            self.wanted.fetch_add(wanted, Ordering::Relaxed);
        }
        if given.dropped > 0 {
            self.dropped.fetch_add(given.dropped, Ordering::Relaxed);
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        given
    }

    /// Puts a message that came again in the place of its earlier copy, if that one is unread and says the same; else
    /// gives it back.
    pub(crate) fn replace(&self, earlier: MessageId, message: Message) -> Result<(), Message> {
        let mut inner = lock(&self.inner);
        // What came before the stream took everything unread is not here.
        if inner.oldest.is_none_or(|oldest| earlier < oldest) {
            return Err(message);
        }
        let from = inner.replaced.min(inner.queue.len());
        // They come again in the order in which they came, so the next one is the nearest.
        let behind = inner.queue.range(from..).position(|m| m.id == Some(earlier)).map(|n| from + n);
        let place = behind.or_else(|| inner.queue.range(..from).position(|m| m.id == Some(earlier)));
        let Some(place) = place else { return Err(message) };
        let Some(unread) = inner.queue.get_mut(place) else { return Err(message) };
        if !says_the_same(unread, &message) {
            return Err(message);
        }
        *unread = message;
        inner.replaced = place + 1;
        Ok(())
    }

    /// Swaps everything unread into an empty `local`. The flag says that the driver waits for this.
    pub(crate) fn poll_swap(&self, local: &mut VecDeque<Message>, cx: &Context<'_>) -> Poll<Option<bool>> {
        let mut inner = lock(&self.inner);
        if inner.queue.is_empty() {
            if inner.ended {
                return Poll::Ready(None);
            }
            match &mut inner.waker {
                Some(known) => known.clone_from(cx.waker()),
                slot => *slot = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        std::mem::swap(&mut inner.queue, local);
        (inner.bytes, inner.replaced, inner.oldest) = (0, 0, None);
        Poll::Ready(Some(std::mem::take(&mut inner.crowded)))
    }

    /// Nothing happens for a while: gives back the room that a burst took.
    pub(crate) fn rest(&self) {
        let mut inner = lock(&self.inner);
        if inner.queue.is_empty() {
            inner.queue.shrink_to_fit();
        }
    }

    /// Puts back what a stream swapped out and did not hand to the application.
    pub(crate) fn put_back(&self, mut local: VecDeque<Message>) {
        let mut inner = lock(&self.inner);
        local.append(&mut inner.queue);
        inner.queue = local;
    }

    /// How many messages wait for the application.
    pub(crate) fn unread(&self) -> u64 {
        self.given.get().saturating_sub(self.handed_out.get())
    }

    /// Everything unread, when the stream went away.
    pub(crate) fn take_unread(&self) -> VecDeque<Message> {
        let mut inner = lock(&self.inner);
        inner.bytes = 0;
        std::mem::take(&mut inner.queue)
    }

    /// No message follows.
    pub(crate) fn end(&self) {
        let waker = {
            let mut inner = lock(&self.inner);
            inner.ended = true;
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Messages may be missing between what was given and what follows.
    pub(crate) fn gap(&self, gap: Gap) {
        let waker = {
            let mut inner = lock(&self.inner);
            if inner.gaps.len() >= GAPS_MAX
                && let Some((_, last)) = inner.gaps.back_mut()
            {
                last.to = gap.to;
            } else {
                inner.gaps.push_back((self.given.get(), gap));
            }
            self.has_gaps.store(true, Ordering::Release);
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The gap that comes next, if every message before it was handed out.
    pub(crate) fn take_gap(&self) -> Option<Gap> {
        if !self.has_gaps.load(Ordering::Acquire) {
            return None;
        }
        let mut inner = lock(&self.inner);
        let gap = inner.gaps.pop_front_if(|(after, _)| *after <= self.handed_out.get());
        self.has_gaps.store(!inner.gaps.is_empty(), Ordering::Release);
        gap.map(|(_, gap)| gap)
    }

    /// What the stream is for, in words.
    pub(crate) fn name(&self, filters: String) {
        let _ = self.filters.set(filters);
    }

    /// A message that the application acknowledges itself is in its hands. Gives what [`Route::acknowledged`] wants.
    pub(crate) fn handed_out_to_answer(&self, qos: Qos) -> u64 {
        let Some(in_hand) = &self.in_hand else { return 0 };
        let in_hand = &mut lock(in_hand)[place(qos)];
        in_hand.count += 1;
        in_hand.voided
    }

    /// The application acknowledged a message itself. One that means nothing any more is not counted again.
    pub(crate) fn acknowledged(&self, qos: Qos, voided: u64) {
        let Some(in_hand) = &self.in_hand else { return };
        let in_hand = &mut lock(in_hand)[place(qos)];
        if in_hand.voided == voided {
            in_hand.count -= 1;
            self.acked.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What the application has in hand at this QoS is not waited for any more: if it comes again, it comes as another one.
    pub(crate) fn void(&self, qos: Qos) {
        let Some(in_hand) = &self.in_hand else { return };
        let in_hand = &mut lock(in_hand)[place(qos)];
        in_hand.voided += 1;
        self.wanted.fetch_sub(std::mem::take(&mut in_hand.count), Ordering::Relaxed);
    }

    pub(crate) fn figures(&self) -> StreamFigures {
        let done = self.taken() + self.acked.load(Ordering::Relaxed);
        let waiting = self.wanted.load(Ordering::Relaxed).saturating_sub(done);
        let filters = self.filters.get().cloned().unwrap_or_else(|| "what no subscription wants".to_owned());
        StreamFigures { id: self.id, filters, done, waiting }
    }

    /// The application took one more message that wants an acknowledgement.
    pub(crate) fn take_one(&self) {
        self.taken.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Whether two messages are one for the application. What a server sets for each sending may differ.
fn says_the_same(one: &Message, other: &Message) -> bool {
    let told = |message: &Message| PublishProperties {
        message_expiry: None,
        topic_alias: None,
        subscription_ids: Vec::new(),
        ..message.properties.as_deref().cloned().unwrap_or_default()
    };
    (&one.topic, &one.payload, one.qos) == (&other.topic, &other.payload, other.qos)
        && told(one) == told(other)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use super::*;

    /// At QoS 1 with a name, at QoS 0 without.
    pub(crate) fn message(id: Option<u64>) -> Message {
        Message {
            id: id.map(MessageId),
            topic: Text::from_static("t"),
            payload: Bytes::from_static(b"x"),
            qos: if id.is_some() { Qos::AtLeastOnce } else { Qos::AtMostOnce },
            retain: false,
            dup: false,
            properties: None,
        }
    }

    #[test]
    fn only_qos_0_is_dropped_and_every_drop_is_counted() {
        let route = Route::new(1, false, 4);
        let given = route.give(&mut VecDeque::from([message(None), message(None), message(None)]));
        assert!(given.crowded && given.dropped == 0);
        let given = route.give(&mut VecDeque::from([message(Some(1)), message(None), message(Some(2))]));
        assert_eq!(given.dropped, 1);
        assert_eq!(route.dropped(), 1);
        assert_eq!(route.take_unread().len(), 5);
    }

    impl Route {
        pub(crate) fn room(&self) -> usize {
            lock(&self.inner).queue.capacity()
        }
    }

    /// What a message was read into, alive as long as it is counted.
    struct Buffer {
        _alive: Arc<()>,
        bytes: Vec<u8>,
    }

    impl AsRef<[u8]> for Buffer {
        fn as_ref(&self) -> &[u8] {
            &self.bytes
        }
    }

    /// In a buffer of its own, as if read alone.
    fn read_alone(alive: &Arc<()>, payload: usize) -> Message {
        let bytes = vec![b'x'; 64 * 1024];
        let buffer = Bytes::from_owner(Buffer { _alive: Arc::clone(alive), bytes });
        let text = |length| Text::new(buffer.slice(..length)).unwrap();
        let properties = PublishProperties {
            response_topic: Some(text(3)),
            content_type: Some(text(4)),
            correlation_data: Some(buffer.slice(..5)),
            user_properties: vec![(text(1), text(2))],
            ..Default::default()
        };
        let payload = buffer.slice(9..9 + payload);
        Message { topic: text(9), payload, properties: Some(Box::new(properties)), ..message(None) }
    }

    #[test]
    fn a_stream_that_is_behind_does_not_keep_a_whole_buffer_for_each_small_message() {
        let small = SMALL_BATCH_BYTES - 10;
        for (payload, kept) in
            [(41, BEHIND), (small, BEHIND_BYTES.div_ceil(small)), (small + 1, BEHIND + 100)]
        {
            let (route, alive) = (Route::new(1, false, 2 * BEHIND), Arc::new(()));
            for _ in 0..BEHIND + 100 {
                let message = read_alone(&alive, payload);
                route.give(&mut VecDeque::from([message.clone()]));
                assert_eq!(lock(&route.inner).queue.back(), Some(&message));
            }
            assert_eq!(Arc::strong_count(&alive) - 1, kept, "buffers, at {payload} bytes");
        }
    }

    #[test]
    fn what_is_in_hand_waits_as_long_as_an_answer_to_it_means_anything() {
        let route = Route::new(1, true, 4);
        let give = |qos| {
            route.give(&mut VecDeque::from([Message { qos, ..message(Some(1)) }]));
            route.handed_out_to_answer(qos)
        };
        let (first, second) = (give(Qos::AtLeastOnce), give(Qos::AtLeastOnce));
        let held = give(Qos::ExactlyOnce);
        route.acknowledged(Qos::AtLeastOnce, first);
        assert_eq!((route.figures().done, route.figures().waiting), (1, 2));
        // The link is lost: of QoS 1 only the copy counts. QoS 2 has no copy.
        route.void(Qos::AtLeastOnce);
        assert_eq!(route.figures().waiting, 1);
        let copy = give(Qos::AtLeastOnce);
        route.acknowledged(Qos::AtLeastOnce, second);
        assert_eq!(route.figures().waiting, 2, "too late to mean anything");
        route.acknowledged(Qos::AtLeastOnce, copy);
        route.acknowledged(Qos::ExactlyOnce, held);
        assert_eq!((route.figures().done, route.figures().waiting), (3, 0));
        give(Qos::ExactlyOnce);
        route.void(Qos::ExactlyOnce);
        assert_eq!(route.figures().waiting, 0);
    }

    #[test]
    fn what_is_put_back_comes_first() {
        let route = Route::new(1, false, 4);
        route.give(&mut VecDeque::from([message(Some(2))]));
        route.put_back(VecDeque::from([message(Some(1))]));
        let ids: Vec<_> = route.take_unread().into_iter().filter_map(|m| m.id).collect();
        assert_eq!(ids, [MessageId(1), MessageId(2)]);
    }

    #[test]
    fn what_comes_again_takes_the_place_of_its_unread_copy() {
        let route = Route::new(1, false, 4);
        route.give(&mut VecDeque::from([
            message(Some(1)),
            message(None),
            message(Some(2)),
            message(Some(3)),
        ]));
        for (earlier, id) in [(1, 11), (3, 13), (2, 12)] {
            assert_eq!(route.replace(MessageId(earlier), message(Some(id))), Ok(()));
        }
        // One that was read, and one that says something else.
        assert!(route.replace(MessageId(9), message(Some(19))).is_err());
        let other = Message { payload: Bytes::from_static(b"other"), ..message(Some(21)) };
        assert!(route.replace(MessageId(11), other).is_err());
        let properties =
            PublishProperties { correlation_data: Some(Bytes::from_static(b"1")), ..Default::default() };
        let other = Message { properties: Some(Box::new(properties)), ..message(Some(21)) };
        assert!(route.replace(MessageId(11), other).is_err());
        let properties = PublishProperties { message_expiry: Some(7), ..Default::default() };
        let same = Message { properties: Some(Box::new(properties)), ..message(Some(11)) };
        assert!(route.replace(MessageId(11), same).is_ok());
        let ids: Vec<_> = route.take_unread().into_iter().map(|m| m.id.map(|id| id.0)).collect();
        assert_eq!(ids, [Some(11), None, Some(12), Some(13)]);
    }
}
