//! What is known by its packet identifier. Each message is looked up in here several times, so that finding is two
//! steps: to the page of the identifier's upper byte, and there to its place.

use crate::codec::packet::PacketId;

/// Identifiers that share a page.
const PAGE: usize = 256;

/// A table by packet identifier. It takes room for the pages and the entries that are in use.
#[derive(Debug)]
pub(crate) struct ByPacketId<T> {
    pages: Vec<Option<Box<Page>>>,
    /// The page that came free last: identifiers go round, so another one is needed soon.
    spare: Option<Box<Page>>,
    entries: Vec<Option<T>>,
    /// Places in `entries` that are free.
    free: Vec<u16>,
}

#[derive(Debug)]
struct Page {
    used: usize,
    /// One more than the place in `entries`; 0 for none. There are as many places as identifiers, so this is enough.
    places: [u16; PAGE],
}

/// Which page, and where in it.
fn parts(id: PacketId) -> (usize, usize) {
    let [page, within] = id.get().to_be_bytes();
    (usize::from(page), usize::from(within))
}

impl<T> Default for ByPacketId<T> {
    fn default() -> Self {
        Self { pages: Vec::new(), spare: None, entries: Vec::new(), free: Vec::new() }
    }
}

impl<T> ByPacketId<T> {
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    fn place(&self, id: PacketId) -> Option<usize> {
        let (page, within) = parts(id);
        usize::from(self.pages.get(page)?.as_ref()?.places[within]).checked_sub(1)
    }

    pub(crate) fn get(&self, id: PacketId) -> Option<&T> {
        self.entries.get(self.place(id)?)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: PacketId) -> Option<&mut T> {
        let place = self.place(id)?;
        self.entries.get_mut(place)?.as_mut()
    }

    /// Puts an entry in the place of one that may be there.
    pub(crate) fn insert(&mut self, id: PacketId, entry: T) {
        if let Some(place) = self.place(id) {
            self.entries[place] = Some(entry);
            return;
        }
        let (page, within) = parts(id);
        if page >= self.pages.len() {
            self.pages.resize_with(page + 1, || None);
        }
        let spare = &mut self.spare;
        let empty = || spare.take().unwrap_or_else(|| Box::new(Page { used: 0, places: [0; PAGE] }));
        let page = self.pages[page].get_or_insert_with(empty);
        page.used += 1;
        if let Some(place) = self.free.pop() {
            self.entries[usize::from(place)] = Some(entry);
            page.places[within] = place + 1;
        } else {
            self.entries.push(Some(entry));
            page.places[within] = self.entries.len() as u16;
        }
    }

    pub(crate) fn remove(&mut self, id: PacketId) -> Option<T> {
        let (page, within) = parts(id);
        let slot = self.pages.get_mut(page)?;
        let page = slot.as_mut()?;
        let place = std::mem::take(&mut page.places[within]).checked_sub(1)?;
        page.used -= 1;
        if page.used == 0 {
            self.spare = slot.take();
        }
        self.free.push(place);
        self.entries[usize::from(place)].take()
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

#[cfg(test)]
mod tests {
    use super::*;

    const fn id(n: u16) -> PacketId {
        PacketId::new(n).unwrap()
    }

    #[test]
    fn an_entry_keeps_its_place_and_a_free_place_is_used_again() {
        let mut all = ByPacketId::default();
        for n in 1..=3 {
            all.insert(id(n), n);
        }
        assert_eq!((all.remove(id(2)), all.remove(id(2)), all.len()), (Some(2), None, 2));
        all.insert(id(9), 90);
        all.insert(id(9), 91);
        assert_eq!((all.entries.len(), all.len()), (3, 3));
        all.insert(id(4), 4);
        if let Some(entry) = all.get_mut(id(1)) {
            *entry = 10;
        }
        all.values_mut().for_each(|entry| *entry += 1);
        assert_eq!(all.values().copied().collect::<Vec<u16>>(), [11, 92, 4, 5]);
        assert_eq!((all.get(id(9)).copied(), all.get_mut(id(2)).copied()), (Some(92), None));
        all.clear();
        assert_eq!((all.len(), all.values().count(), all.get(id(1))), (0, 0, None));
    }

    #[test]
    fn every_identifier_has_an_entry_of_its_own() {
        let mut all = ByPacketId::default();
        for n in 1..=u16::MAX {
            all.insert(id(n), n);
        }
        assert_eq!(all.len(), usize::from(u16::MAX));
        for n in 1..=u16::MAX {
            assert_eq!(all.get(id(n)), Some(&n));
        }
        for n in 1..=u16::MAX {
            assert_eq!(all.remove(id(n)), Some(n));
        }
        assert_eq!((all.len(), all.remove(id(1)), all.get(id(u16::MAX))), (0, None, None));
    }

    #[test]
    fn pages_that_came_free_are_given_back_but_for_one() {
        let mut all = ByPacketId::default();
        for n in 1..=u16::MAX {
            all.insert(id(n), ());
            if n > 100 {
                all.remove(id(n - 100));
            }
            assert!(all.pages.iter().flatten().count() <= 2, "{n}");
        }
        assert_eq!(all.entries.len(), 101);
    }
}
