//! The queue that users have, under a client of the simulation: redb on a disk whose power is cut within a commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fastrand::Rng;
use rejoin::store::{Clock, Folder, FolderOptions, Identity, Moment, PARKED_MOST, Store, StoreError};
use rejoin_core::{Message, Now, Publication, PublishId, Record, Recovered};

use crate::store::{Disk, Survivors, difference};

/// Operations of the disk within which the power goes: a commit of the simulation has about half as many.
const CUT_WITHIN: u64 = 16;
/// Times of expiry are counted by the queue's own clock, which no jump of the wall clock moves: they are not compared.
const ANY_EXPIRY: u64 = u64::MAX;

/// Bytes a file may have whatever is in it: a new one has 72 KiB, and pages that were freed are used again two commits later.
const FILE_FLOOR: u64 = 256 * 1024;
/// Beyond that, so many for each byte that was ever to be kept at once: docs/queue.md says so.
const FILE_FACTOR: u64 = 2;
/// Bytes that are kept of a message beside topic and payload.
const ROW: u64 = 128;
/// A parked message has no more bytes than this.
const PARKED: u64 = 512;

/// Bytes that a store has to keep.
fn content(kept: &Recovered) -> u64 {
    let waiting = kept.waiting.iter().map(|waits| waits.size_bytes);
    let sent = kept.sent.iter().map(|sent| sent.publication.size_bytes());
    let undecided = kept.undecided.iter().map(|(_, publication)| publication.size_bytes());
    let of_message = |message: &Message| (message.topic.len() + message.payload.len()) as u64;
    let held = kept.held.iter().map(|held| held.message.as_ref().map_or(0, of_message));
    let leased = kept.leased.iter().map(|_| 0);
    waiting.chain(sent).chain(undecided).chain(held).chain(leased).map(|bytes| bytes + ROW).sum()
}

/// The clocks of the simulated machine.
#[derive(Clone, Debug, Default)]
struct Machine(Arc<(AtomicU64, AtomicU64)>);

impl Clock for Machine {
    fn now(&self) -> Moment {
        let (wall_ms, uptime_ms) = (self.0.0.load(Ordering::Relaxed), self.0.1.load(Ordering::Relaxed));
        Moment { wall_ms, uptime_ms: Some(uptime_ms), boot_id: [9; 16] }
    }
}

/// A queue, the disk below it, and chance of its own, so that the world's dice fall as they do without it.
#[derive(Debug)]
pub(super) struct Queue {
    disk: Disk,
    folder: Option<Folder>,
    machine: Machine,
    chance: Rng,
    /// Bytes of the file, at most.
    file: u64,
    /// Bytes that were to be kept when the file grew, at most.
    content: u64,
    /// Messages that were parked.
    parked: usize,
}

impl Queue {
    /// Judges the file after a commit (O20): where it grew, what there was and is to keep says whether it may. `kept` is what
    /// the records add up to, before the commit and behind it.
    pub(super) fn check_file(&mut self, kept: impl FnOnce() -> [Recovered; 2]) -> Result<(), String> {
        let file = self.disk.len_bytes() as u64;
        if file <= self.file {
            return Ok(());
        }
        self.file = file;
        let parked = self.parked.min(PARKED_MOST) as u64 * PARKED;
        self.content = kept().iter().map(|kept| content(kept) + parked).fold(self.content, u64::max);
        let bound = FILE_FLOOR + FILE_FACTOR * self.content;
        if file > bound {
            return Err(format!(
                "the queue has {file} B for {} B at most, {bound} B are enough",
                self.content
            ));
        }
        Ok(())
    }

    pub(super) fn begin(seed: u64) -> Result<Self, String> {
        let machine = Machine::default();
        let mut queue = Self {
            disk: Disk::new(),
            folder: None,
            machine,
            chance: Rng::with_seed(seed),
            file: 0,
            content: 0,
            parked: 0,
        };
        queue.open().map_err(|error| format!("a new queue does not open: {error}"))?;
        // It is begun under another name and counts once that is complete.
        queue.disk.power_on(Survivors::All, &mut queue.chance);
        queue.open().map_err(|error| format!("a new queue does not open again: {error}"))?;
        Ok(queue)
    }

    /// What the clocks show.
    pub(super) fn set_clock(&self, now: Now) {
        self.machine.0.0.store(now.wall_ms, Ordering::Relaxed);
        self.machine.0.1.store(now.mono.as_micros() / 1000, Ordering::Relaxed);
    }

    fn open(&mut self) -> Result<&mut Folder, StoreError> {
        // The file is closed before it is opened again.
        self.folder = None;
        let options = FolderOptions { cache_bytes: 1 << 20, ..FolderOptions::default() };
        let folder = Folder::on(self.disk.clone(), &Identity::default(), options, self.machine.clone())?;
        Ok(self.folder.insert(folder))
    }

    pub(super) fn commit(&mut self, records: &[Record]) -> Result<(), String> {
        self.parked += records.iter().filter(|record| matches!(record, Record::Parked { .. })).count();
        let Some(folder) = &mut self.folder else { return Err("the queue is closed".to_owned()) };
        folder.commit(records).map_err(|error| format!("a commit on a sound disk: {error}"))
    }

    pub(super) fn load(&mut self, ids: &[PublishId]) -> Result<Vec<Option<Publication>>, String> {
        let Some(folder) = &mut self.folder else { return Err("the queue is closed".to_owned()) };
        folder.load(ids).map_err(|error| format!("a body on a sound disk: {error}"))
    }

    /// The power goes while this is written, or right after all that is safe. Gives whether it is there all the same.
    pub(super) fn cut(&mut self, safe: &[Record], under_way: &[Record]) -> Result<bool, String> {
        self.disk.cut_power_at(self.chance.u64(1..=CUT_WITHIN));
        let returned = match &mut self.folder {
            Some(folder) => !under_way.is_empty() && folder.commit(under_way).is_ok(),
            None => false,
        };
        self.folder = None;
        let survivors = match self.chance.u8(..6) {
            0 => Survivors::All,
            1 => Survivors::None,
            2 => Survivors::Prefix(self.chance.usize(..8)),
            3 => Survivors::Subset,
            4 => Survivors::Shuffled,
            _ => Survivors::Torn,
        };
        self.disk.power_on(survivors, &mut self.chance);
        let found = self.recover().map_err(|error| format!("after a power cut, {survivors:?}: {error}"))?;
        let lost = difference(&found, &Recovered::replay(safe.iter().cloned()), ANY_EXPIRY);
        if lost.is_none() && (!returned || under_way.is_empty()) {
            return Ok(false);
        }
        let whole = safe.iter().chain(under_way).cloned();
        match difference(&found, &Recovered::replay(whole), ANY_EXPIRY) {
            None => Ok(true),
            Some(other) => {
                let lost = lost.unwrap_or_default();
                Err(format!(
                    "a power cut, {survivors:?}, commit returned {returned}: {lost}; nor whole: {other}"
                ))
            }
        }
    }

    /// What a new process finds.
    pub(super) fn recover(&mut self) -> Result<Recovered, String> {
        let folder = self.open().map_err(|error| format!("the queue does not open: {error}"))?;
        folder.recover().map_err(|error| format!("the queue cannot be read: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rejoin_core::{Qos, TopicName};

    /// Twelve messages, each in a commit of its own, and a thirteenth under way when the power goes.
    fn life(seed: u64, lies: bool) -> Result<bool, String> {
        let mut queue = Queue::begin(seed)?;
        if lies {
            queue.disk.ignore_syncs();
        }
        let mut publication = Publication::new(TopicName::try_from("a").map_err(|e| e.to_string())?, "body");
        publication.qos = Qos::AtLeastOnce;
        let accepted =
            |n| Record::Enqueued { id: PublishId(n), publication: publication.clone(), accepted_wall_ms: 0 };
        let safe: Vec<Record> = (1..=12).map(accepted).collect();
        for record in &safe {
            queue.commit(std::slice::from_ref(record))?;
        }
        queue.cut(&safe, &[accepted(13)])
    }

    #[test]
    fn a_file_that_keeps_what_is_done_with_is_found_out() {
        let accepted = |n| {
            let topic = TopicName::try_from("a").expect("a topic");
            Record::Enqueued {
                id: PublishId(n),
                publication: Publication::new(topic, vec![7; 400]),
                accepted_wall_ms: 0,
            }
        };
        let records: Vec<Record> = (1..=2000).map(accepted).collect();
        let mut queue = Queue::begin(1).expect("a new queue");
        queue.commit(&records).expect("a sound disk");
        let kept = || [Recovered::default(), Recovered::replay(records.iter().cloned())];
        assert_eq!(queue.check_file(kept), Ok(()), "it has to keep all that");
        let mut other = Queue::begin(1).expect("a new queue");
        other.commit(&records).expect("a sound disk");
        assert!(other.check_file(Default::default).is_err(), "nothing is to be kept");
    }

    #[test]
    fn what_was_committed_survives_and_a_disk_that_lies_is_found_out() {
        let landed = (0..60).filter(|seed| life(*seed, false).expect("a sound disk loses nothing")).count();
        assert!(
            (1..60).contains(&landed),
            "some are there whole though their commit did not return: {landed}"
        );
        let found_out = (0..60).filter(|seed| life(*seed, true).is_err()).count();
        assert!(found_out > 20, "{found_out} of 60");
    }
}
