//! Packet identifiers: one space for PUBLISH, SUBSCRIBE and UNSUBSCRIBE [MQTT-2.2.1-3].

use std::collections::BTreeMap;

use crate::codec::packet::PacketId;

/// What is known by its packet identifier, where an entry is so large that moving it within a tree costs more than all
/// else: the tree holds its place alone.
#[derive(Debug)]
pub(crate) struct ByPacketId<T> {
    places: BTreeMap<PacketId, usize>,
    entries: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for ByPacketId<T> {
    fn default() -> Self {
        Self { places: BTreeMap::new(), entries: Vec::new(), free: Vec::new() }
    }
}

impl<T> ByPacketId<T> {
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn get_mut(&mut self, id: PacketId) -> Option<&mut T> {
        self.entries.get_mut(*self.places.get(&id)?)?.as_mut()
    }

    pub(crate) fn insert(&mut self, id: PacketId, entry: T) {
        let place = self.places.get(&id).copied().or_else(|| self.free.pop()).unwrap_or(self.entries.len());
        self.places.insert(id, place);
        match self.entries.get_mut(place) {
            Some(slot) => *slot = Some(entry),
            None => self.entries.push(Some(entry)),
        }
    }

    pub(crate) fn remove(&mut self, id: PacketId) -> Option<T> {
        let place = self.places.remove(&id)?;
        self.free.push(place);
        self.entries.get_mut(place)?.take()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().flatten()
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().flatten()
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Hands out identifiers round-robin, so that an identifier rests as long as possible before it is used again.
#[derive(Debug)]
pub(crate) struct PacketIds {
    max: u16,
    last: u16,
    in_use: usize,
    /// One bit per identifier, grown to the highest one used.
    used: Vec<u64>,
}

impl PacketIds {
    pub(crate) fn new(max: u16) -> Self {
        Self { max, last: 0, in_use: 0, used: Vec::new() }
    }

    /// Begins handing out behind `last`; for a session another process may have left exchanges in.
    pub(crate) fn begin_behind(&mut self, last: u16) {
        self.last = last % self.max;
    }

    /// Identifiers taken.
    pub(crate) const fn in_use(&self) -> usize {
        self.in_use
    }

    /// An identifier that nothing in flight uses, or `None` when all are taken.
    pub(crate) fn take(&mut self) -> Option<PacketId> {
        if self.in_use >= usize::from(self.max) {
            return None;
        }
        let mut id = self.last;
        loop {
            id = if id >= self.max { 1 } else { id + 1 };
            if !self.is_used(id) || defect!(IdReusedInFlight) {
                self.last = id;
                self.mark(id);
                return PacketId::new(id);
            }
        }
    }

    /// Takes this very identifier; used when a session is restored.
    pub(crate) fn claim(&mut self, id: PacketId) {
        if !self.is_used(id.get()) {
            self.mark(id.get());
            self.last = self.last.max(id.get()).min(self.max);
        }
    }

    /// Gives an identifier back after the packet that ends its exchange [MQTT311-2.3.1-3].
    pub(crate) fn free(&mut self, id: PacketId) {
        if self.is_used(id.get()) {
            self.used[usize::from(id.get() / 64)] &= !(1 << (id.get() % 64));
            self.in_use -= 1;
        }
    }

    /// Forgets all of them: the session they belonged to is gone.
    pub(crate) fn clear(&mut self) {
        self.used.clear();
        self.in_use = 0;
    }

    fn is_used(&self, id: u16) -> bool {
        self.used.get(usize::from(id / 64)).is_some_and(|word| word & (1 << (id % 64)) != 0)
    }

    fn mark(&mut self, id: u16) {
        let word = usize::from(id / 64);
        if word >= self.used.len() {
            self.used.resize(word + 1, 0);
        }
        self.used[word] |= 1 << (id % 64);
        self.in_use += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_zero_never_twice_and_all_of_the_space() {
        for max in [1, 3, 63, 64, 65, u16::MAX] {
            let mut ids = PacketIds::new(max);
            let mut seen = std::collections::BTreeSet::new();
            while let Some(id) = ids.take() {
                assert!(seen.insert(id), "{id} twice");
            }
            assert_eq!(seen.len(), usize::from(max));
            assert_eq!(seen.last().map(|id| id.get()), Some(max));
        }
    }

    #[test]
    fn a_freed_identifier_rests_before_it_is_used_again() {
        let mut ids = PacketIds::new(3);
        let first = ids.take().unwrap();
        ids.free(first);
        assert_eq!(ids.take().unwrap().get(), 2);
        assert_eq!(ids.take().unwrap().get(), 3);
        assert_eq!(ids.take().unwrap().get(), 1);
        assert_eq!(ids.take(), None);
    }
}
