//! Messages that wait to be sent for the first time in the present session.
//!
//! ```text
//!                                    ┌── unpacked ◄── packed: as small as can be ◄── accepted, no store
//!   sent next ◄── near: as sent  ◄───┤
//!                                    └── fetched  ◄── far: bodies on the store   ◄── accepted, with a store
//! ```
//! Without a store, what is accepted while there is no link is packed, and so is what comes behind it. With one, bodies
//! beyond the memory window stay on the store, and what is kept of such a message is a few words.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::outbox::Entry;
use super::packed::Packed;
use crate::event::{Publication, PublishId};
use crate::held::HeldCounts;
use crate::text::Text;
use crate::time::Timestamp;

/// Places start in the middle, so that messages can be put in front of all others.
const FIRST_PLACE: u64 = 1 << 62;
/// Places lie this far apart, in front as well, so that others fit in between: more than memory has room for.
const STRIDE: u64 = 1 << 24;
/// Room for so many messages is kept when a burst is over.
const KEEP_ROOM: usize = 4096;
/// Most bodies fetched at once.
const FETCH_MOST: usize = 4096;
/// Messages unpacked at once: they come when those before are sent.
const UNPACK_MOST: usize = 64;
/// Queues from this length on grow by an eighth, not by as much again: a backlog is mostly what it holds.
const SPARING_FROM: usize = 4096;

/// What is kept of a message whose body is on the store, in three words: a queue may have millions of them.
#[derive(Debug)]
pub(crate) struct Far {
    pub(crate) id: PublishId,
    /// [`Timestamp::NEVER`]: it does not expire.
    pub(crate) expires: Timestamp,
    /// The place, whose bits below [`STRIDE`] are zero, and in them what the methods below tell.
    packed: u64,
}

impl Far {
    const SENT: u64 = 1 << 17;
    const POSSIBLE_DUPLICATE: u64 = 1 << 16;
    const REPLACEABLE: u64 = 1 << 15;
    /// The size to ten digits of binary, and how many were left out, below.
    const SIZE_DIGITS: u32 = 10;
    const SHIFT_BITS: u32 = 5;

    pub(crate) const fn new(id: PublishId, expires: Option<Timestamp>, size_bytes: u64) -> Self {
        let expires = match expires {
            Some(at) => at,
            None => Timestamp::NEVER,
        };
        let digits = u64::BITS - size_bytes.leading_zeros();
        let shift = digits.saturating_sub(Self::SIZE_DIGITS);
        Self { id, expires, packed: (size_bytes >> shift) << Self::SHIFT_BITS | shift as u64 }
    }

    const fn place(&self) -> u64 {
        self.packed & !(STRIDE - 1)
    }

    const fn set_place(&mut self, place: u64) {
        self.packed = place & !(STRIDE - 1) | self.packed & (STRIDE - 1);
    }

    /// About the bytes of topic and payload: at most one in 512 less.
    const fn size_bytes(&self) -> u64 {
        let low = self.packed & (Self::REPLACEABLE - 1);
        (low >> Self::SHIFT_BITS) << (low & ((1 << Self::SHIFT_BITS) - 1))
    }

    pub(crate) const fn possible_duplicate(&self) -> bool {
        self.packed & Self::POSSIBLE_DUPLICATE != 0
    }

    pub(crate) const fn set_possible_duplicate(&mut self, it_is: bool) {
        self.packed = self.packed & !Self::POSSIBLE_DUPLICATE | (it_is as u64) << 16;
    }

    /// It was sent, and its session was lost: nobody can say that the broker has it not.
    pub(crate) const fn was_sent(&self) -> bool {
        self.packed & Self::SENT != 0
    }

    pub(crate) const fn set_sent(&mut self, it_was: bool) {
        self.packed = self.packed & !Self::SENT | (it_was as u64) << 17;
    }

    /// The message with its body.
    fn entry(&self, publication: Publication) -> Entry {
        let expires = (self.expires != Timestamp::NEVER).then_some(self.expires);
        let mut entry = Entry::new(self.id, publication, expires);
        entry.place = self.place();
        entry.possible_duplicate = self.possible_duplicate();
        entry.attempts = u32::from(self.was_sent());
        entry
    }

    /// A newer message to its topic takes its place.
    const fn is_replaceable(&self) -> bool {
        self.packed & Self::REPLACEABLE != 0
    }

    const fn set_replaceable(&mut self, it_is: bool) {
        self.packed = self.packed & !Self::REPLACEABLE | (it_is as u64) << 15;
    }
}

/// The queue of messages not yet sent.
#[derive(Debug)]
pub(crate) struct Waiting {
    near: VecDeque<Entry>,
    /// Without a store: behind `near`, never sent.
    packed: VecDeque<Packed>,
    far: VecDeque<Far>,
    near_bytes: u64,
    /// Bytes of bodies above which new messages stay on the store; `None` without a store.
    window_bytes: Option<u64>,
    /// Bodies were asked for and have not come.
    fetching: bool,
    next_place: u64,
    latest: Latest,
    next_expiry: Option<Timestamp>,
}

/// Where the waiting message of a topic is, for topics of which only the latest message counts.
#[derive(Debug, Default)]
struct Latest {
    places: BTreeMap<Text, u64>,
    topics: BTreeMap<u64, Text>,
}

impl Latest {
    fn note(&mut self, topic: Text, place: u64) {
        self.topics.insert(place, topic.clone());
        self.places.insert(topic, place);
    }

    fn forget(&mut self, place: u64) {
        if let Some(topic) = self.topics.remove(&place) {
            self.places.remove(&topic);
        }
    }
}

impl Waiting {
    pub(crate) fn new(window_bytes: Option<u64>) -> Self {
        Self {
            near: VecDeque::new(),
            packed: VecDeque::new(),
            far: VecDeque::new(),
            near_bytes: 0,
            window_bytes,
            fetching: false,
            next_place: FIRST_PLACE,
            latest: Latest::default(),
            next_expiry: None,
        }
    }

    /// See [`crate::Engine::rest`].
    pub(crate) fn rest(&mut self) {
        if self.near.is_empty() {
            self.near.shrink_to_fit();
        }
        if self.packed.is_empty() {
            self.packed.shrink_to_fit();
        }
        if self.far.is_empty() {
            self.far.shrink_to_fit();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.near.len() + self.packed.len() + self.far.len()
    }

    /// See [`HeldCounts`].
    pub(crate) fn count(&self, held: &mut HeldCounts) {
        held.waiting_near = self.near.len();
        held.waiting_near_bytes = self.near_bytes;
        held.waiting_packed = self.packed.len();
        held.waiting_far = self.far.len();
        held.waiting_latest = self.latest.places.len().max(self.latest.topics.len());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.near.is_empty() && self.packed.is_empty() && self.far.is_empty()
    }

    /// A message was accepted; `may_go` tells whether a link is there to send it. Gives the older message whose place it
    /// took, if only the latest of its topic counts.
    pub(crate) fn accept(&mut self, entry: Entry, may_go: bool) -> Option<PublishId> {
        self.note_expiry(entry.expires);
        let latest_of = entry.publication.latest_only.then(|| entry.publication.topic.text().clone());
        let older = latest_of.as_ref().and_then(|topic| self.latest.places.get(topic).copied());
        if let Some(place) = older {
            return self.replace(place, entry);
        }
        let place = self.put_last(entry, may_go);
        if let Some(topic) = latest_of {
            self.latest.note(topic, place);
        }
        None
    }

    /// Gives the place it got.
    fn put_last(&mut self, mut entry: Entry, may_go: bool) -> u64 {
        if self.window_bytes.is_none() && (!may_go || !self.packed.is_empty()) {
            return self.put_packed(entry);
        }
        let stored = entry.publication.is_queued();
        if !stored && !self.far.is_empty() {
            // It cannot wait among those whose bodies a store has.
            return self.push_again(entry);
        }
        entry.place = self.take_place();
        let place = entry.place;
        if !stored || self.has_room_near(entry.publication.size_bytes()) {
            self.push_near(entry);
        } else {
            push_sparingly(&mut self.far, far(&entry));
        }
        place
    }

    /// Gives the place it got. Apart, so that a message for which a link is there does not pass by all this.
    #[inline(never)]
    fn put_packed(&mut self, mut entry: Entry) -> u64 {
        entry.place = self.take_place();
        let place = entry.place;
        push_sparingly(&mut self.packed, Packed::new(entry));
        place
    }

    /// A message that a store kept without its body at hand.
    pub(crate) fn restore_far(&mut self, mut far: Far, latest_of: Option<Text>) {
        let place = self.take_place();
        far.set_place(place);
        if far.expires != Timestamp::NEVER {
            self.note_expiry(Some(far.expires));
        }
        if let Some(topic) = latest_of {
            far.set_replaceable(true);
            self.latest.note(topic, place);
        }
        push_sparingly(&mut self.far, far);
    }

    fn take_place(&mut self) -> u64 {
        self.next_place += STRIDE;
        self.next_place - STRIDE
    }

    fn has_room_near(&self, size_bytes: u64) -> bool {
        match self.window_bytes {
            None => true,
            Some(_) if defect!(MemoryWindowIgnored) => self.far.is_empty(),
            Some(window) => {
                self.far.is_empty() && (self.near.is_empty() || self.near_bytes + size_bytes <= window)
            }
        }
    }

    fn push_near(&mut self, entry: Entry) {
        self.near_bytes += entry.publication.size_bytes();
        self.near.push_back(entry);
    }

    /// Before what was accepted later.
    fn insert_near(&mut self, entry: Entry) {
        if self.near.back().is_none_or(|last| last.place < entry.place) {
            return self.push_near(entry);
        }
        let at = self.near.partition_point(|near| near.place < entry.place);
        self.near_bytes += entry.publication.size_bytes();
        self.near.insert(at, entry);
    }

    fn replace(&mut self, place: u64, mut entry: Entry) -> Option<PublishId> {
        entry.place = place;
        if let Ok(at) = self.near.binary_search_by_key(&place, |e| e.place) {
            let old = std::mem::replace(&mut self.near[at], entry);
            self.near_bytes += self.near[at].publication.size_bytes();
            self.near_bytes -= old.publication.size_bytes();
            return Some(old.id);
        }
        if let Ok(at) = self.packed.binary_search_by_key(&place, |packed| packed.place) {
            return Some(std::mem::replace(&mut self.packed[at], Packed::new(entry)).id);
        }
        let at = self.far.binary_search_by_key(&place, Far::place).ok();
        if let (Some(at), Some(_)) = (at, self.window_bytes) {
            if at == 0
                && self.fetching
                && let Some(old) = self.far.pop_front()
            {
                // It is the one whose body is asked for. With another body each time none would ever come, nor any
                // behind it.
                self.push_near(entry);
                return Some(old.id);
            }
            if entry.publication.is_queued() {
                return Some(std::mem::replace(&mut self.far[at], far(&entry)).id);
            }
        }
        // Whatever became of the older one, the newer is accepted and waits.
        let old = at.and_then(|at| self.far.remove(at)).map(|far| far.id);
        self.latest.forget(place);
        let topic = entry.publication.topic.text().clone();
        let place = self.put_last(entry, true);
        self.latest.note(topic, place);
        old
    }

    /// A message of a lost session goes out again before all others.
    pub(crate) fn push_front(&mut self, mut entry: Entry) {
        let first = self.near.front().map(|e| e.place).into_iter().chain(self.first_behind()).min();
        entry.place = first.unwrap_or(self.next_place).saturating_sub(STRIDE);
        if entry.attempts == 0 {
            // It never left, because the store did not have its identifier.
            self.note_expiry(entry.expires);
        }
        self.near_bytes += entry.publication.size_bytes();
        self.near.push_front(entry);
    }

    /// A message that was refused for now, or that the application decided to send again, goes out behind those at
    /// hand: it is out of order already. Gives its place.
    pub(crate) fn push_again(&mut self, mut entry: Entry) -> u64 {
        entry.place = match (self.near.back(), self.first_behind()) {
            (Some(last), Some(_)) => last.place + 1,
            (None, Some(first)) => first - STRIDE / 2,
            (_, None) => self.take_place(),
        };
        let place = entry.place;
        self.push_near(entry);
        place
    }

    /// The place of the first message that is not near. What a lost store keeps to itself lies before what was accepted
    /// since, near or packed.
    fn first_behind(&self) -> Option<u64> {
        let packed = self.packed.front().map(|packed| packed.place);
        packed.into_iter().chain(self.far.front().map(Far::place)).min()
    }

    /// The message to send next.
    pub(crate) fn front(&mut self) -> Option<&Entry> {
        if self.near.is_empty() && !self.packed.is_empty() {
            self.unpack_next();
        }
        self.near.front()
    }

    /// What is packed comes near when nothing else is.
    #[inline(never)]
    fn unpack_next(&mut self) {
        for _ in 0..UNPACK_MOST {
            let next =
                if defect!(UnpackedReversed) { self.packed.pop_back() } else { self.packed.pop_front() };
            let Some(packed) = next else { break };
            self.push_near(packed.unpack());
        }
        if self.packed.is_empty() && self.packed.capacity() > 2 * KEEP_ROOM {
            self.packed.shrink_to(KEEP_ROOM);
        }
    }

    /// Takes out what [`Waiting::front`] shows.
    #[inline]
    pub(crate) fn pop_front(&mut self) -> Option<Entry> {
        let entry = self.near.pop_front()?;
        self.left(&entry);
        if self.near.is_empty() && self.near.capacity() > 2 * KEEP_ROOM {
            self.near.shrink_to(KEEP_ROOM);
        }
        Some(entry)
    }

    /// The entry is no longer in the queue.
    fn left(&mut self, entry: &Entry) {
        self.near_bytes -= entry.publication.size_bytes();
        if entry.publication.latest_only {
            self.latest.forget(entry.place);
        }
    }

    fn packed_left(latest: &mut Latest, packed: &Packed) {
        if packed.is_latest_only() {
            latest.forget(packed.place);
        }
    }

    fn far_left(latest: &mut Latest, far: &Far) {
        if far.is_replaceable() {
            latest.forget(far.place());
        }
    }

    /// Bodies to ask the store for now: those that come next, up to half of the window.
    pub(crate) fn fetch(&mut self) -> Vec<PublishId> {
        let Some(window) = self.window_bytes else { return Vec::new() };
        if self.fetching || self.far.is_empty() || self.near_bytes > window / 2 {
            return Vec::new();
        }
        let mut left = window / 2;
        let mut ids = Vec::new();
        for far in self.far.iter().take(FETCH_MOST) {
            let size = far.size_bytes();
            if size > left && !ids.is_empty() {
                break;
            }
            left = left.saturating_sub(size);
            ids.push(far.id);
        }
        self.fetching = true;
        ids
    }

    /// Bodies came. Gives those that could not be read; the others are near now. What was withdrawn or replaced in
    /// the meantime is passed over.
    pub(crate) fn fetched(&mut self, bodies: Vec<(PublishId, Option<Publication>)>) -> Vec<PublishId> {
        self.fetching = false;
        let mut unreadable = Vec::new();
        for (id, body) in bodies {
            let Some(far) = self.far.pop_front_if(|far| far.id == id) else { continue };
            let Some(publication) = body else {
                Self::far_left(&mut self.latest, &far);
                unreadable.push(id);
                continue;
            };
            self.insert_near(far.entry(publication));
        }
        if self.far.is_empty() && self.far.capacity() > 2 * KEEP_ROOM {
            self.far.shrink_to(KEEP_ROOM);
        }
        unreadable
    }

    /// The store is lost: bodies it never wrote come back, and nothing is left to it any more.
    pub(crate) fn take_back(&mut self, bodies: Vec<(PublishId, Publication)>) {
        self.window_bytes = None;
        // It answers nothing any more.
        self.fetching = false;
        let mut bodies: BTreeMap<PublishId, Publication> = bodies.into_iter().collect();
        let mut back = Vec::new();
        self.far.retain(|far| match bodies.remove(&far.id) {
            None => true,
            Some(publication) => {
                back.push(far.entry(publication));
                false
            }
        });
        for entry in back {
            self.insert_near(entry);
        }
    }

    /// Withdraws a message that was never sent.
    pub(crate) fn cancel(&mut self, id: PublishId) -> bool {
        if let Some(at) = self.near.iter().position(|e| e.id == id && e.attempts == 0) {
            if let Some(entry) = self.near.remove(at) {
                self.left(&entry);
            }
            return true;
        }
        if let Some(at) = self.packed.iter().position(|packed| packed.id == id) {
            if let Some(packed) = self.packed.remove(at) {
                Self::packed_left(&mut self.latest, &packed);
            }
            return true;
        }
        let Some(at) = self.far.iter().position(|f| f.id == id && !f.was_sent()) else { return false };
        if let Some(far) = self.far.remove(at) {
            Self::far_left(&mut self.latest, &far);
        }
        true
    }

    /// Takes out the message that waits longest and was never sent; not the last of them, for which room is made.
    pub(crate) fn evict_oldest(&mut self) -> Option<PublishId> {
        let near = self.near.iter().filter(|e| e.attempts == 0).map(|e| e.id);
        let packed = self.packed.iter().map(|packed| packed.id);
        let far = self.far.iter().filter(|far| !far.was_sent()).map(|far| far.id);
        let mut unsent = near.chain(packed).chain(far);
        let (oldest, _) = unsent.next().zip(unsent.next())?;
        self.cancel(oldest).then_some(oldest)
    }

    /// Takes out QoS 0 messages that do not wait for a link.
    pub(crate) fn drop_unqueued(&mut self) -> Vec<PublishId> {
        let mut dropped = Vec::new();
        self.retain_near(|e| {
            let keep = e.publication.is_queued();
            if !keep {
                dropped.push(e.id);
            }
            keep
        });
        self.retain_packed(|packed| {
            let keep = packed.is_queued();
            if !keep {
                dropped.push(packed.id);
            }
            keep
        });
        dropped
    }

    fn retain_near(&mut self, mut keep: impl FnMut(&Entry) -> bool) {
        let Self { near, near_bytes, latest, .. } = self;
        near.retain(|entry| {
            let kept = keep(entry);
            if !kept {
                *near_bytes -= entry.publication.size_bytes();
                if entry.publication.latest_only {
                    latest.forget(entry.place);
                }
            }
            kept
        });
    }

    fn retain_packed(&mut self, mut keep: impl FnMut(&Packed) -> bool) {
        let Self { packed, latest, .. } = self;
        packed.retain(|packed| {
            let kept = keep(packed);
            if !kept {
                Self::packed_left(latest, packed);
            }
            kept
        });
    }

    fn note_expiry(&mut self, expires: Option<Timestamp>) {
        if let Some(at) = expires {
            self.next_expiry = Some(self.next_expiry.map_or(at, |next| next.min(at)));
        }
    }

    /// When the next message expires.
    pub(crate) const fn next_expiry(&self) -> Option<Timestamp> {
        self.next_expiry
    }

    /// Takes out what expired.
    pub(crate) fn expire(&mut self, now: Timestamp) -> Vec<PublishId> {
        if self.next_expiry.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let mut expired = Vec::new();
        let mut next = Timestamp::NEVER;
        self.retain_near(|entry| {
            if entry.is_expired(now) {
                expired.push(entry.id);
                return false;
            }
            if let (0, Some(at)) = (entry.attempts, entry.expires) {
                next = next.min(at);
            }
            true
        });
        self.retain_packed(|packed| {
            if packed.expires <= now {
                expired.push(packed.id);
                return false;
            }
            next = next.min(packed.expires);
            true
        });
        let Self { far, latest, .. } = self;
        far.retain(|far| {
            if far.was_sent() {
                return true;
            }
            if far.expires > now {
                next = next.min(far.expires);
                return true;
            }
            Self::far_left(latest, far);
            expired.push(far.id);
            false
        });
        // Looking through the whole queue again is worth it at most every 50 ms.
        self.next_expiry = (next != Timestamp::NEVER).then(|| next.max(now + Duration::from_millis(50)));
        expired
    }

    /// Takes everything out: the names, and whether each was sent before.
    pub(crate) fn drain(&mut self) -> Vec<(PublishId, bool)> {
        self.near_bytes = 0;
        self.latest = Latest::default();
        let near = self.near.drain(..).map(|e| (e.id, e.attempts > 0));
        let packed = self.packed.drain(..).map(|packed| (packed.id, false));
        near.chain(packed).chain(self.far.drain(..).map(|f| (f.id, f.possible_duplicate()))).collect()
    }
}

fn push_sparingly<T>(queue: &mut VecDeque<T>, last: T) {
    if queue.len() == queue.capacity() && queue.len() >= SPARING_FROM {
        queue.reserve_exact(queue.len() / 8);
    }
    queue.push_back(last);
}

fn far(entry: &Entry) -> Far {
    let mut far = Far::new(entry.id, entry.expires, entry.publication.size_bytes());
    far.set_place(entry.place);
    far.set_possible_duplicate(entry.possible_duplicate);
    far.set_sent(entry.attempts > 0);
    far.set_replaceable(entry.publication.latest_only && entry.attempts == 0);
    far
}

#[cfg(test)]
mod tests;
