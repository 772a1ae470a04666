//! Packet identifiers: one space for PUBLISH, SUBSCRIBE and UNSUBSCRIBE [MQTT-2.2.1-3].

use crate::codec::packet::PacketId;

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

    const fn id(n: u16) -> PacketId {
        PacketId::new(n).unwrap()
    }

    #[test]
    fn what_is_given_back_is_free_once_and_nothing_else_is() {
        let mut ids = PacketIds::new(200);
        while ids.take().is_some() {}
        assert_eq!(ids.in_use(), 200);
        for n in [1, 63, 64, 65, 127, 128, 200] {
            ids.free(id(n));
            ids.free(id(n));
            assert_eq!(ids.in_use(), 199, "{n}");
            assert_eq!(ids.take(), Some(id(n)));
            assert_eq!(ids.take(), None);
        }
        ids.free(id(500));
        assert_eq!(ids.in_use(), 200);
        ids.clear();
        assert_eq!((ids.in_use(), ids.take()), (0, Some(id(1))));
    }

    #[test]
    fn new_identifiers_begin_behind_those_of_an_earlier_process() {
        let mut ids = PacketIds::new(3);
        ids.claim(id(2));
        ids.claim(id(2));
        assert_eq!(ids.in_use(), 1);
        assert_eq!([ids.take(), ids.take(), ids.take()], [Some(id(3)), Some(id(1)), None]);
        // One that our limit of today would not give out is taken all the same.
        let mut ids = PacketIds::new(3);
        ids.claim(id(70));
        assert_eq!((ids.in_use(), ids.take()), (1, Some(id(1))));
        ids.free(id(70));
        assert_eq!(ids.in_use(), 1);
        let mut ids = PacketIds::new(3);
        ids.begin_behind(5);
        assert_eq!(ids.take(), Some(id(3)));
    }
}
