//! Accepted messages that are not answered for, by their ascending name.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rejoin_core::codec::packet::Qos;
use rejoin_core::{PublishId, Timestamp};

use crate::delivery::Cell;

/// What is known of one message here.
pub(crate) struct Entry {
    pub(crate) cell: Arc<Cell>,
    pub(crate) bytes: u64,
    pub(crate) qos: Qos,
    pub(crate) accepted: Timestamp,
    pub(crate) first_sent: Option<Timestamp>,
    pub(crate) attempts: u32,
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
}

/// Windows shorter than this are never thinned out.
const THIN_FROM: usize = 4096;

impl Pending {
    /// `id` must be above all before it.
    pub(crate) fn insert(&mut self, id: PublishId, entry: Entry) {
        if self.window.is_empty() {
            self.base = id.0;
        }
        while self.base + (self.window.len() as u64) < id.0 {
            self.window.push_back(None);
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

    pub(crate) fn remove(&mut self, id: PublishId) -> Option<Entry> {
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

    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = Entry> {
        self.live = 0;
        let stragglers = std::mem::take(&mut self.stragglers).into_values();
        stragglers.chain(std::mem::take(&mut self.window).into_iter().flatten())
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
            cell: Arc::default(),
            bytes: n,
            qos: Qos::AtLeastOnce,
            accepted: Timestamp::ZERO,
            first_sent: None,
            attempts: 0,
        }
    }

    #[test]
    fn one_straggler_does_not_make_the_window_grow() {
        let mut pending = Pending::default();
        pending.insert(PublishId(1), entry(1));
        for n in 2..200_000 {
            pending.insert(PublishId(n), entry(n));
            assert_eq!(pending.remove(PublishId(n)).map(|e| e.bytes), Some(n));
            assert!(pending.window.len() <= THIN_FROM + 1);
        }
        assert_eq!(pending.oldest(), Some(PublishId(1)));
        assert!(pending.get_mut(PublishId(1)).is_some());
        assert_eq!(pending.remove(PublishId(1)).map(|e| e.bytes), Some(1));
        assert_eq!(pending.oldest(), None);
        assert!(pending.remove(PublishId(1)).is_none());
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
        assert_eq!(pending.take_all().map(|e| e.bytes).collect::<Vec<_>>(), [4, 10]);
        assert_eq!(pending.oldest(), None);
    }
}
