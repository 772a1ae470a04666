//! A disk that forgets what was not synced. Batches are atomic, in order, and durable when their sync is over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fastrand::Rng;
use rejoin_core::{MessageId, Now, Publication, PublishId, Record, Recovered, Ticket};

use super::oracle::Alarm;
use super::queue::Queue;
use super::world::Ruling;

/// Records above which what is answered for is thrown away.
const COMPACT_AT: usize = 4096;

/// What a client does whose disk takes nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// It accepts nothing more, and what must not be forgotten waits for the next process.
    Refuses,
    /// It goes on as if it had no store.
    GoesOn,
}

/// The disk of one client; it outlives the process.
#[derive(Debug, Default)]
pub(super) struct Disk {
    synced: Vec<Record>,
    unsynced: VecDeque<(u64, Ticket, Vec<Record>)>,
    /// Bodies that may be asked for, synced or on their way.
    bodies: BTreeMap<PublishId, Publication>,
    loads: VecDeque<(u64, Vec<PublishId>)>,
    compact_at: usize,
    /// The last ticket it was given.
    issued: Ticket,
    /// It takes nothing more, until the process is another one.
    failed: Option<Failed>,
    /// The queue that users have, where the case asks for it: everything safe is committed to it as well, and a new
    /// process begins with what it gives back.
    queue: Option<Queue>,
    /// What the queue did wrong.
    flaw: Option<Alarm>,
    /// No sync ends before that: the disk is full, or busy.
    pub(super) stuck_until: u64,
}

impl Disk {
    /// A disk with the queue that users have on it.
    pub(super) fn with_queue(seed: u64) -> Self {
        match Queue::begin(seed) {
            Ok(queue) => Self { queue: Some(queue), ..Self::default() },
            Err(flaw) => Self { flaw: Some(Alarm::new("O14", flaw)), ..Self::default() },
        }
    }

    /// Tells what the queue did wrong, once.
    pub(super) fn is_sound(&mut self, c: usize) -> Ruling {
        self.flaw.take().map_or(Ok(()), |flaw| Err(Alarm::new(flaw.oracle, format!("c{c}: {}", flaw.what))))
    }

    /// What the clocks of the machine show.
    pub(super) fn set_clock(&self, now: Now) {
        if let Some(queue) = &self.queue {
            queue.set_clock(now);
        }
    }

    fn note<T>(&mut self, result: Result<T, String>) -> Option<T> {
        result.map_err(|flaw| self.flaw = Some(Alarm::new("O14", flaw))).ok()
    }

    /// A batch is written; it is safe when its sync is over.
    pub(super) fn write(&mut self, ticket: Ticket, records: Vec<Record>, due: u64) {
        self.issued = ticket;
        if self.failed.is_some() {
            return;
        }
        for record in &records {
            match record {
                Record::Enqueued { id, publication, .. } => {
                    self.bodies.insert(*id, publication.clone());
                }
                Record::Done { id } | Record::Parked { id, .. } => {
                    self.bodies.remove(id);
                }
                _ => {}
            }
        }
        let due = self.unsynced.back().map_or(due, |(at, ..)| due.max(*at));
        self.unsynced.push_back((due, ticket, records));
    }

    pub(super) fn next_sync(&self) -> Option<u64> {
        self.unsynced.front().map(|(at, ..)| (*at).max(self.stuck_until))
    }

    /// The sync of the oldest batches is over; one sync takes all that wait by then. Gives the ticket they are safe up to.
    pub(super) fn sync(&mut self, now: u64) -> Option<(Ticket, usize)> {
        let mut safe = None;
        let before = self.synced.len();
        while let Some((_, ticket, records)) = self.unsynced.pop_front_if(|(at, ..)| *at <= now) {
            safe = Some(ticket);
            self.synced.extend(records);
        }
        if let (Some(queue), true) = (&mut self.queue, self.synced.len() > before) {
            let committed = queue.commit(&self.synced[before..]);
            let kept = |records: &[Record]| Recovered::replay(records.iter().cloned());
            let grown = queue.check_file(|| [kept(&self.synced[..before]), kept(&self.synced)]);
            self.note(committed);
            self.flaw = self.flaw.take().or_else(|| grown.err().map(|flaw| Alarm::new("O20", flaw)));
        }
        safe.map(|ticket| (ticket, self.synced.len() - before))
    }

    /// The records that became safe by the last sync.
    pub(super) fn last(&self, count: usize) -> &[Record] {
        &self.synced[self.synced.len() - count..]
    }

    /// Messages on their way to it.
    pub(super) fn storing(&self) -> usize {
        let accepted = |record: &&Record| matches!(record, Record::Enqueued { .. });
        self.unsynced.iter().flat_map(|(_, _, records)| records).filter(accepted).count()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.unsynced.is_empty()
    }

    pub(super) fn ask(&mut self, ids: Vec<PublishId>, due: u64) {
        self.loads.push_back((due, ids));
    }

    pub(super) fn next_load(&self) -> Option<u64> {
        self.loads.front().map(|(at, _)| (*at).max(self.stuck_until))
    }

    pub(super) fn load(&mut self) -> Vec<(PublishId, Option<Publication>)> {
        let Some((_, ids)) = self.loads.pop_front() else { return Vec::new() };
        if let Some(queue) = &mut self.queue {
            let loaded = queue.load(&ids);
            let loaded = self.note(loaded).unwrap_or_default();
            // What waits for its sync is given back from memory.
            let body = |(id, body): (PublishId, Option<Publication>)| {
                (id, body.or_else(|| self.bodies.get(&id).cloned()))
            };
            return ids.into_iter().zip(loaded).map(body).collect();
        }
        ids.into_iter().map(|id| (id, self.bodies.get(&id).cloned())).collect()
    }

    /// The process died: any number of the batches under way reached the disk, the later ones only with the earlier.
    pub(super) fn crash(&mut self, rng: &mut Rng) {
        let keep = rng.usize(0..=self.unsynced.len());
        let before = self.synced.len();
        for (_, _, records) in self.unsynced.drain(..keep) {
            self.synced.extend(records);
        }
        let under_way = self.unsynced.pop_front().map(|(_, _, records)| records).unwrap_or_default();
        self.unsynced.clear();
        self.cut_power(before, under_way);
        self.loads.clear();
        self.stuck_until = 0;
        self.read_bodies();
    }

    /// What is safe is all there is.
    fn read_bodies(&mut self) {
        self.bodies.clear();
        for record in &self.synced {
            match record {
                Record::Enqueued { id, publication, .. } => {
                    self.bodies.insert(*id, publication.clone());
                }
                Record::Done { id } | Record::Parked { id, .. } => {
                    self.bodies.remove(id);
                }
                _ => {}
            }
        }
    }

    pub(super) const fn failed(&self) -> Option<Failed> {
        self.failed
    }

    pub(super) const fn issued(&self) -> Ticket {
        self.issued
    }

    /// A sync fails, and nothing is taken any more. The batch under way may be on the disk all the same, though nobody
    /// will say so. Gives the bodies that were not reported as safe.
    pub(super) fn fail(&mut self, how: Failed, rng: &mut Rng) -> Vec<(PublishId, Publication)> {
        let mut lost = Vec::new();
        let before = self.synced.len();
        let mut landed = rng.bool();
        for (_, _, records) in std::mem::take(&mut self.unsynced) {
            lost.extend(records.iter().filter_map(|record| match record {
                Record::Enqueued { id, publication, .. } => Some((*id, publication.clone())),
                _ => None,
            }));
            if std::mem::take(&mut landed) {
                self.synced.extend(records);
            }
        }
        if let (Some(queue), true) = (&mut self.queue, self.synced.len() > before) {
            let committed = queue.commit(&self.synced[before..]);
            self.note(committed);
        }
        self.read_bodies();
        self.failed = Some(how);
        lost
    }

    /// The power goes while the queue writes what was under way.
    fn cut_power(&mut self, before: usize, under_way: Vec<Record>) {
        let Some(queue) = &mut self.queue else { return };
        let committed =
            if self.synced.len() > before { queue.commit(&self.synced[before..]) } else { Ok(()) };
        let landed = committed.and_then(|()| queue.cut(&self.synced, &under_way));
        if self.note(landed) == Some(true) {
            self.synced.extend(under_way);
        }
    }

    /// The process ended in peace: the store was closed.
    pub(super) fn flush(&mut self) -> Option<(Ticket, usize)> {
        self.loads.clear();
        self.stuck_until = 0;
        self.sync(u64::MAX)
    }

    pub(super) fn synced(&self) -> &[Record] {
        &self.synced
    }

    /// Whether a message is on it and not answered for.
    pub(super) fn has(&self, id: PublishId) -> bool {
        self.bodies.contains_key(&id)
    }

    /// What the records add up to.
    pub(super) fn recover(&self) -> Recovered {
        Recovered::replay(self.synced.iter().cloned())
    }

    /// What they will add up to when all that was handed over is safe.
    pub(super) fn recover_all(&self) -> Recovered {
        let on_their_way = self.unsynced.iter().flat_map(|(_, _, records)| records);
        Recovered::replay(self.synced.iter().chain(on_their_way).cloned())
    }

    /// What a new process finds.
    pub(super) fn reopen(&mut self) -> Recovered {
        self.failed = None;
        let Some(queue) = &mut self.queue else { return self.recover() };
        let found = queue.recover();
        self.note(found).unwrap_or_default()
    }

    /// Throws away what is answered for, as a store does; else a long run drowns in its past.
    pub(super) fn compact(&mut self) {
        if self.synced.len() < COMPACT_AT.max(self.compact_at) {
            return;
        }
        let mut done = BTreeSet::new();
        let (mut taken, mut freed) = (BTreeSet::new(), BTreeSet::new());
        for record in &self.synced {
            match record {
                Record::Done { id } | Record::Parked { id, .. } => {
                    done.insert(*id);
                }
                Record::Taken { id, .. } => {
                    taken.insert(*id);
                }
                Record::Freed { id } => {
                    freed.insert(*id);
                }
                _ => {}
            }
        }
        // What a lease that ended said of a message that was lowered meanwhile still counts.
        let recovered = self.recover();
        let under_way = recovered.sent.iter().map(|sent| sent.packet_id);
        let leased: BTreeSet<_> = recovered.leased.iter().copied().chain(under_way).collect();
        let over = |id: &MessageId| taken.contains(id) && freed.contains(id);
        let newest = self.synced.iter().rev().find_map(|record| match record {
            Record::Held { id, .. } => Some(*id),
            _ => None,
        });
        self.synced.retain(|record| match record {
            Record::Enqueued { id, .. }
            | Record::Assigned { id, .. }
            | Record::Received { id }
            | Record::Asked { id }
            | Record::Requeued { id }
            | Record::Lowered { id }
            | Record::MayRepeat { id }
            | Record::Done { id }
            | Record::Parked { id, .. } => !done.contains(id),
            // The highest name must not be forgotten.
            Record::Held { id, .. } | Record::Taken { id, .. } | Record::Freed { id } => {
                !over(id) || Some(*id) == newest
            }
            Record::Leased { packet_id } | Record::LeaseEnded { packet_id } => leased.contains(packet_id),
            _ => true,
        });
        self.compact_at = self.synced.len() * 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rejoin_core::{Message, Qos, Text};

    #[test]
    fn what_is_on_its_way_counts_for_what_is_left_and_not_for_the_next_process() {
        let mut disk = Disk::default();
        let message = |id| Message {
            id: Some(id),
            topic: Text::from_static("e/0"),
            payload: bytes::Bytes::new(),
            qos: Qos::ExactlyOnce,
            retain: true,
            dup: false,
            properties: None,
        };
        let id = MessageId(7);
        let packet_id = rejoin_core::codec::packet::PacketId::MIN;
        disk.write(Ticket(1), vec![Record::Held { id, packet_id, message: message(id) }], 10);
        disk.write(Ticket(2), vec![Record::Freed { id }], 10);
        disk.sync(10);
        assert_eq!(disk.recover_all().held.len(), 1, "nobody took it, and nothing says so");
        disk.write(Ticket(3), vec![Record::Taken { id, digest: None }], 20);
        assert_eq!(disk.recover_all().held.len(), 0);
        assert_eq!(disk.recover().held.len(), 1, "a process that dies now has it again");
    }
}
