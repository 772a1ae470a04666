//! A disk in memory whose power can be cut: what was not synced survives as chance has it.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rejoin::store::{Backend, Medium};

/// The unit that a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

/// Which of the writes that were not synced are found after the power came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survivors {
    /// All of them.
    All,
    /// None.
    None,
    /// The first so many, in order.
    Prefix(usize),
    /// Each with even chances, in order.
    Subset,
    /// Each with even chances, in any order.
    Shuffled,
    /// Each sector of each with even chances, in any order.
    Torn,
}

/// A disk; clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<Platter>>);

#[derive(Clone, Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Debug, Default)]
struct Platter {
    /// What survives everything.
    synced: Vec<u8>,
    /// What is read.
    seen: Vec<u8>,
    pending: Vec<Change>,
    /// Calls of write, set_len and sync since the power came.
    operations: u64,
    /// All calls since the power came, reads too.
    calls: u64,
    cut_before: Option<u64>,
    fail_call: Option<(u64, ErrorKind)>,
    /// Bytes the disk has room for.
    room: Option<usize>,
    is_off: bool,
    ignores_sync: bool,
    trace: Option<Vec<Step>>,
}

/// One operation of a run that was traced, and the disk before it.
#[derive(Clone, Debug)]
pub struct Step {
    synced: Arc<Vec<u8>>,
    pending: Vec<Change>,
}

impl Step {
    /// Writes that were not synced.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// A disk on which the power was cut at this moment.
    pub fn disk(&self, survivors: Survivors, chance: &mut fastrand::Rng) -> Disk {
        let mut platter = Platter {
            synced: self.synced.as_ref().clone(),
            pending: self.pending.clone(),
            ..Platter::default()
        };
        platter.power_on(survivors, chance);
        Disk(Arc::new(Mutex::new(platter)))
    }
}

impl Disk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The power goes before operation number `operation` from now on (the next one is 1) has done its work. An
    /// operation is a write, a change of length or a sync.
    pub fn cut_power_at(&self, operation: u64) {
        let mut platter = self.platter();
        platter.cut_before = Some(platter.operations + operation);
    }

    /// Whether the power is gone.
    pub fn is_off(&self) -> bool {
        self.platter().is_off
    }

    /// Cuts the power if it is not gone, and brings it back.
    pub fn power_on(&self, survivors: Survivors, chance: &mut fastrand::Rng) {
        self.platter().power_on(survivors, chance);
    }

    /// Call number `call` from now on (the next one is 1) fails with this error, once. Reads count too.
    pub fn fail_call(&self, call: u64, kind: ErrorKind) {
        let mut platter = self.platter();
        platter.fail_call = Some((platter.calls + call, kind));
    }

    /// Calls since the power came.
    pub fn calls(&self) -> u64 {
        self.platter().calls
    }

    /// Operations since the power came.
    pub fn operations(&self) -> u64 {
        self.platter().operations
    }

    /// The disk has room for so many bytes; `None`: no limit.
    pub fn set_room(&self, bytes: Option<usize>) {
        self.platter().room = bytes;
    }

    /// Its size in bytes.
    pub fn len_bytes(&self) -> usize {
        self.platter().seen.len()
    }

    /// A sync returns without doing anything: a disk that lies, to see that tests notice.
    pub fn ignore_syncs(&self) {
        self.platter().ignores_sync = true;
    }

    /// Turns over one bit of what is on the disk.
    pub fn flip_bit(&self, bit: usize) {
        let mut platter = self.platter();
        if let Some(byte) = platter.seen.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
        platter.synced = platter.seen.clone();
        platter.pending.clear();
    }

    /// Cuts the end off, or writes zeros behind it.
    pub fn resize(&self, bytes: usize) {
        let mut platter = self.platter();
        platter.seen.resize(bytes, 0);
        platter.synced = platter.seen.clone();
        platter.pending.clear();
    }

    /// A copy that is a disk of its own, all of it synced.
    pub fn copy(&self) -> Self {
        let seen = self.platter().seen.clone();
        Self(Arc::new(Mutex::new(Platter { synced: seen.clone(), seen, ..Platter::default() })))
    }

    /// Keeps the disk as it is before each operation, from now on.
    pub fn trace(&self) {
        self.platter().trace = Some(Vec::new());
    }

    /// How many operations were traced.
    pub fn traced(&self) -> usize {
        self.platter().trace.as_ref().map_or(0, Vec::len)
    }

    /// What was traced.
    pub fn take_trace(&self) -> Vec<Step> {
        self.platter().trace.take().unwrap_or_default()
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Length(len) => bytes.resize(*len, 0),
        Change::Write { at, bytes: new } => {
            if bytes.len() < at + new.len() {
                bytes.resize(at + new.len(), 0);
            }
            bytes[*at..at + new.len()].copy_from_slice(new);
        }
    }
}

/// A write as the sectors it touches.
fn sectors(change: Change) -> Vec<Change> {
    let Change::Write { at, bytes } = change else { return vec![change] };
    let mut pieces = Vec::new();
    let mut from = 0;
    while from < bytes.len() {
        let to_border = SECTOR - (at + from) % SECTOR;
        let to = bytes.len().min(from + to_border);
        pieces.push(Change::Write { at: at + from, bytes: bytes[from..to].to_vec() });
        from = to;
    }
    pieces
}

impl Platter {
    fn power_on(&mut self, survivors: Survivors, chance: &mut fastrand::Rng) {
        let mut pending = std::mem::take(&mut self.pending);
        match survivors {
            Survivors::All => {}
            Survivors::None => pending.clear(),
            Survivors::Prefix(len) => pending.truncate(len),
            Survivors::Subset => pending.retain(|_| chance.bool()),
            Survivors::Shuffled => {
                pending.retain(|_| chance.bool());
                chance.shuffle(&mut pending);
            }
            Survivors::Torn => {
                pending = pending.into_iter().flat_map(sectors).filter(|_| chance.bool()).collect();
                chance.shuffle(&mut pending);
            }
        }
        for change in &pending {
            apply(&mut self.synced, change);
        }
        self.seen.clone_from(&self.synced);
        self.operations = 0;
        self.calls = 0;
        self.cut_before = None;
        self.fail_call = None;
        self.is_off = false;
    }

    /// Counts a call and gives the error it meets.
    fn call(&mut self) -> io::Result<()> {
        self.calls += 1;
        if self.is_off {
            return Err(io::Error::other("the power is off"));
        }
        match self.fail_call {
            Some((call, kind)) if call == self.calls => Err(io::Error::from(kind)),
            _ => Ok(()),
        }
    }

    fn operation(&mut self) -> io::Result<()> {
        self.call()?;
        self.operations += 1;
        if let Some(trace) = &mut self.trace {
            // Most steps share what is synced; only a sync makes it new.
            let synced = match trace.last() {
                Some(last) if *last.synced == self.synced => Arc::clone(&last.synced),
                _ => Arc::new(self.synced.clone()),
            };
            trace.push(Step { synced, pending: self.pending.clone() });
        }
        Ok(())
    }

    fn has_power(&mut self) -> io::Result<()> {
        if self.cut_before.is_some_and(|at| self.operations >= at) {
            self.is_off = true;
            return Err(io::Error::other("the power goes"));
        }
        Ok(())
    }

    /// The change is under way when the power goes, so it may survive too.
    fn change(&mut self, change: Change) -> io::Result<()> {
        apply(&mut self.seen, &change);
        self.pending.push(change);
        self.has_power()
    }

    fn has_room(&self, bytes: usize) -> io::Result<()> {
        match self.room {
            Some(room) if bytes > room => Err(io::Error::from(ErrorKind::StorageFull)),
            _ => Ok(()),
        }
    }
}

impl Medium for Disk {
    fn open(&mut self) -> io::Result<Box<dyn Backend>> {
        Ok(Box::new(self.clone()))
    }
}

impl Backend for Disk {
    fn len(&self) -> io::Result<u64> {
        let mut platter = self.platter();
        platter.call()?;
        Ok(platter.seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut platter = self.platter();
        platter.call()?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = from.checked_add(out.len()).and_then(|to| platter.seen.get(from..to));
        out.copy_from_slice(found.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut platter = self.platter();
        platter.operation()?;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        platter.has_room(len)?;
        platter.change(Change::Length(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.platter();
        platter.operation()?;
        platter.has_power()?;
        if !platter.ignores_sync {
            for change in std::mem::take(&mut platter.pending) {
                apply(&mut platter.synced, &change);
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.platter();
        platter.operation()?;
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        platter.has_room(at.saturating_add(data.len()))?;
        platter.change(Change::Write { at, bytes: data.to_vec() })
    }
}
