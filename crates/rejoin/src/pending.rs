//! Accepted messages that are not answered for, by their ascending name.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rejoin_core::codec::packet::Qos;
use rejoin_core::{PublishId, Timestamp};

use crate::delivery::{Cell, Stored};

/// What is known of one message here.
pub(crate) struct Entry {
    /// `None` when nobody holds the delivery any more, or it was accepted by an earlier process.
    pub(crate) cell: Option<Arc<Cell>>,
    pub(crate) accepted: Timestamp,
    /// [`Timestamp::NEVER`] until it was sent.
    pub(crate) first_sent: Timestamp,
    /// Room it takes in the queue. No message is larger than a packet, so 32 bits are enough.
    pub(crate) bytes: u32,
    /// How often it was sent; stays at the highest number there is.
    pub(crate) attempts: u16,
    pub(crate) qos: Qos,
    pub(crate) kept: Kept,
}

/// Where a message is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    InMemory,
    /// A store is about to have it.
    Recorded,
    /// A store has it.
    Stored,
    /// A store has it from an earlier process.
    Found,
}

impl Entry {
    /// A store has it.
    pub(crate) const fn is_stored(&self) -> bool {
        matches!(self.kept, Kept::Stored | Kept::Found)
    }

    /// How long ago it was accepted, in µs; `None` where that was in an earlier process.
    pub(crate) fn took_micros(&self, now: Timestamp) -> Option<u64> {
        let micros = now.as_micros().saturating_sub(self.accepted.as_micros());
        (self.kept != Kept::Found).then_some(micros)
    }

    /// A store has it or is about to.
    pub(crate) const fn is_recorded(&self) -> bool {
        !matches!(self.kept, Kept::InMemory)
    }

    /// Without a delivery nobody can be told anything.
    pub(crate) fn drop_cell(&mut self) {
        self.cell = self.cell.take().filter(|cell| Arc::strong_count(cell) > 1);
    }
}

/// An accepted message that is not answered for. See [`crate::Client::pending`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PendingMessage {
    /// Its name; events that report its end use it too.
    pub id: PublishId,
    /// Its QoS.
    pub qos: Qos,
    /// Room it takes in the queue, in bytes.
    pub queue_bytes: u64,
    /// How often it was sent by this process.
    pub attempts: u32,
    /// It survives this process.
    pub stored: bool,
    /// It was accepted by an earlier process.
    pub recovered: bool,
    /// The session was lost after it was sent, and it waits for [`crate::Client::decide`]; nothing else ends it.
    pub undecided: bool,
}

/// A window over ascending names, because most messages end in about the order they came; the few that stay far
/// behind move to a map, so that one of them cannot make the window grow for ever.
#[derive(Default)]
pub(crate) struct Pending {
    base: u64,
    window: VecDeque<Option<Entry>>,
    /// Entries in the window.
    live: usize,
    stragglers: BTreeMap<u64, Entry>,
    /// Those that the application must decide on.
    undecided: BTreeSet<PublishId>,
    /// Deliveries that were dropped when it was last looked whose.
    forgotten: u64,
}

/// Looking whose delivery was dropped is worth it for so many at least.
const FORGOTTEN_FROM: u64 = 4096;
/// And for one in so many messages: each look goes through all.
const FORGOTTEN_SHARE: u64 = 16;

/// Windows shorter than this are never thinned out.
const THIN_FROM: usize = 4096;

impl Pending {
    /// `id` must be above all before it.
    pub(crate) fn insert(&mut self, id: PublishId, entry: Entry) {
        if self.window.is_empty() {
            self.base = id.0;
        }
        let gap = id.0.saturating_sub(self.base + self.window.len() as u64);
        let length = gap + self.window.len() as u64;
        if length > THIN_FROM as u64 && (self.live as u64) < length / 4 {
            // A restart leaves names out, a mended header billions of them.
            let window = std::mem::take(&mut self.window).into_iter().zip(self.base..);
            self.stragglers.extend(window.filter_map(|(slot, id)| Some((id, slot?))));
            (self.base, self.live) = (id.0, 0);
        }
        while self.base + (self.window.len() as u64) < id.0 {
            self.window.push_back(None);
        }
        if self.window.len() == self.window.capacity() && self.window.len() > THIN_FROM {
            // As much again would be empty for long: a backlog is mostly what it holds.
            self.window.reserve_exact(self.window.len() / 8);
        }
        self.window.push_back(Some(entry));
        self.live += 1;
        if self.window.len() > THIN_FROM && self.live < self.window.len() / 4 {
            self.thin_out();
        }
    }

    pub(crate) fn get_mut(&mut self, id: PublishId) -> Option<&mut Entry> {
        match self.slot(id) {
            Some(slot) => self.window.get_mut(slot)?.as_mut(),
            None => self.stragglers.get_mut(&id.0),
        }
    }

    /// Nothing happens for a while: gives back the room that messages took.
    pub(crate) fn rest(&mut self) {
        if self.window.is_empty() {
            self.window.shrink_to_fit();
        }
    }

    /// The application must decide on it.
    pub(crate) fn ask(&mut self, id: PublishId) {
        self.undecided.insert(id);
    }

    /// The application did.
    pub(crate) fn decided(&mut self, id: PublishId) {
        self.undecided.remove(&id);
    }

    /// A store has it.
    pub(crate) fn stored(&mut self, id: PublishId) {
        let Some(entry) = self.get_mut(id) else { return };
        if entry.kept != Kept::Found {
            entry.kept = Kept::Stored;
        }
        if let Some(cell) = &entry.cell {
            cell.stored(Stored::OnDisk);
        }
        entry.drop_cell();
    }

    /// When nobody holds a delivery any more, what would have told it is not kept either. `forgotten`: how many were
    /// dropped so far.
    pub(crate) fn drop_cells(&mut self, forgotten: u64) {
        let all = (self.live + self.stragglers.len()) as u64;
        if forgotten - self.forgotten < FORGOTTEN_FROM.max(all / FORGOTTEN_SHARE) {
            return;
        }
        self.forgotten = forgotten;
        let all = self.window.iter_mut().flatten().chain(self.stragglers.values_mut());
        all.for_each(Entry::drop_cell);
    }

    /// The store is lost: what it does not have is in memory only.
    pub(crate) fn kept_in_memory(&self) {
        for (_, entry) in self.iter() {
            if let (Some(cell), false) = (&entry.cell, entry.is_stored()) {
                cell.stored(Stored::InMemory);
            }
        }
    }

    pub(crate) fn remove(&mut self, id: PublishId) -> Option<Entry> {
        self.undecided.remove(&id);
        let Some(slot) = self.slot(id) else { return self.stragglers.remove(&id.0) };
        let entry = self.window.get_mut(slot)?.take()?;
        self.live -= 1;
        self.trim();
        Some(entry)
    }

    /// The lowest name not answered for.
    pub(crate) fn oldest(&self) -> Option<PublishId> {
        let straggler = self.stragglers.keys().next().copied();
        // The front of the window is never empty.
        straggler.or_else(|| (!self.window.is_empty()).then_some(self.base)).map(PublishId)
    }

    /// When the oldest message not answered for was accepted.
    pub(crate) fn oldest_accepted(&self) -> Option<Timestamp> {
        let oldest = self.stragglers.values().next().or_else(|| self.window.front()?.as_ref());
        oldest.map(|entry| entry.accepted)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PublishId, &Entry)> {
        let stragglers = self.stragglers.iter().map(|(id, entry)| (PublishId(*id), entry));
        let window = self.window.iter().zip(self.base..);
        stragglers.chain(window.filter_map(|(slot, id)| Some((PublishId(id), slot.as_ref()?))))
    }

    /// Everything that is pending, oldest first.
    pub(crate) fn list(&self) -> Vec<PendingMessage> {
        let of = |(id, entry): (PublishId, &Entry)| PendingMessage {
            id,
            qos: entry.qos,
            queue_bytes: entry.bytes.into(),
            attempts: entry.attempts.into(),
            stored: entry.is_stored(),
            recovered: entry.kept == Kept::Found,
            undecided: self.undecided.contains(&id),
        };
        self.iter().map(of).collect()
    }

    /// The highest name not answered for.
    pub(crate) fn newest(&self) -> Option<PublishId> {
        self.iter().last().map(|(id, _)| id)
    }

    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = (PublishId, Entry)> {
        self.live = 0;
        let stragglers = std::mem::take(&mut self.stragglers).into_iter();
        let window = (self.base..).zip(std::mem::take(&mut self.window));
        let window = window.filter_map(|(id, slot)| Some((id, slot?)));
        stragglers.chain(window).map(|(id, entry)| (PublishId(id), entry))
    }

    fn slot(&self, id: PublishId) -> Option<usize> {
        id.0.checked_sub(self.base).and_then(|slot| usize::try_from(slot).ok())
    }

    fn trim(&mut self) {
        while let Some(None) = self.window.front() {
            self.window.pop_front();
            self.base += 1;
        }
        if self.window.is_empty() && self.window.capacity() > 2 * THIN_FROM {
            self.window.shrink_to(THIN_FROM);
        }
    }

    fn thin_out(&mut self) {
        let half = self.window.len() / 2;
        for slot in self.window.iter_mut().take(half) {
            if let Some(entry) = slot.take() {
                self.stragglers.insert(self.base, entry);
                self.live -= 1;
            }
            self.base += 1;
        }
        self.window.drain(..half);
        self.trim();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u64) -> Entry {
        Entry {
            cell: None,
            bytes: u32::try_from(n).unwrap(),
            qos: Qos::AtLeastOnce,
            accepted: Timestamp::ZERO,
            first_sent: Timestamp::NEVER,
            attempts: 0,
            kept: Kept::InMemory,
        }
    }

    #[test]
    fn one_straggler_does_not_make_the_window_grow() {
        let mut pending = Pending::default();
        pending.insert(PublishId(1), entry(1));
        for n in 2..200_000 {
            pending.insert(PublishId(n), entry(n));
            assert_eq!(pending.remove(PublishId(n)).map(|e| u64::from(e.bytes)), Some(n));
            assert!(pending.window.len() <= THIN_FROM + 1);
        }
        assert_eq!(pending.oldest(), Some(PublishId(1)));
        assert!(pending.get_mut(PublishId(1)).is_some());
        assert_eq!(pending.remove(PublishId(1)).map(|e| e.bytes), Some(1));
        assert_eq!(pending.oldest(), None);
        assert!(pending.remove(PublishId(1)).is_none());
    }

    #[test]
    fn names_that_were_left_out_cost_nothing() {
        let mut pending = Pending::default();
        let mut name = 1000;
        pending.insert(PublishId(name), entry(1));
        for restart in 2..50 {
            name += 65_536;
            pending.insert(PublishId(name), entry(restart));
            assert!(pending.window.capacity() <= 2 * THIN_FROM, "{}", pending.window.capacity());
        }
        name += 1 << 32;
        pending.insert(PublishId(name), entry(50));
        pending.insert(PublishId(name + 1), entry(51));
        assert!(pending.window.capacity() <= 2 * THIN_FROM, "{}", pending.window.capacity());
        let all: Vec<_> = pending.iter().map(|(_, entry)| u64::from(entry.bytes)).collect();
        assert_eq!(all, (1..=51).collect::<Vec<_>>(), "in order, and none is missing");
        assert_eq!((pending.oldest(), pending.newest()), (Some(PublishId(1000)), Some(PublishId(name + 1))));
        assert_eq!(pending.remove(PublishId(1000)).map(|entry| entry.bytes), Some(1));
        assert_eq!(pending.remove(PublishId(name)).map(|entry| entry.bytes), Some(50));
        assert_eq!(pending.list().len(), 49);
    }

    #[test]
    fn a_message_costs_four_words() {
        assert_eq!(size_of::<Option<Entry>>(), 32);
    }

    #[test]
    fn a_dropped_delivery_leaves_no_cell_behind() {
        let mut pending = Pending::default();
        let held: Vec<_> = (1..=10_000)
            .map(|n| {
                let cell = Arc::new(Cell::default());
                pending.insert(PublishId(n), Entry { cell: Some(Arc::clone(&cell)), ..entry(n) });
                pending.stored(PublishId(n));
                cell
            })
            .collect();
        let cells = |pending: &Pending| pending.iter().filter(|(_, entry)| entry.cell.is_some()).count();
        assert_eq!(cells(&pending), 10_000, "somebody holds them");
        drop(held);
        pending.drop_cells(FORGOTTEN_FROM - 1);
        assert_eq!(cells(&pending), 10_000, "too few to look for");
        pending.drop_cells(FORGOTTEN_FROM);
        assert_eq!(cells(&pending), 0);
    }

    #[test]
    fn entries_are_found_in_any_order() {
        let mut pending = Pending::default();
        for n in [3, 4, 9, 10] {
            pending.insert(PublishId(n), entry(n));
        }
        assert!(pending.get_mut(PublishId(5)).is_none());
        assert_eq!(pending.remove(PublishId(9)).map(|e| e.bytes), Some(9));
        assert_eq!(pending.oldest(), Some(PublishId(3)));
        assert_eq!(pending.remove(PublishId(3)).map(|e| e.bytes), Some(3));
        assert_eq!(pending.oldest(), Some(PublishId(4)));
        let all: Vec<_> = pending.take_all().map(|(id, entry)| (id.0, entry.bytes)).collect();
        assert_eq!(all, [(4, 4), (10, 10)]);
        assert_eq!(pending.oldest(), None);
    }
}
