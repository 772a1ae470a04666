//! The yardstick: what a disk costs if nothing but the bytes is written. A queue needs more than this can do.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// A file that has reached this many bytes gets no more.
const FILE_MOST: u64 = 16 << 20;
/// Length of what follows the head, CRC-32 over that, name. The uppermost bit of the length says that it goes.
const HEAD: usize = 16;
const GONE: u32 = 1 << 31;

pub(super) struct Log {
    folder: PathBuf,
    file: File,
    /// Number and length of the file that grows.
    number: u64,
    len: u64,
    /// What the next commit writes.
    buffer: Vec<u8>,
    /// The file each pending message is in.
    places: HashMap<u64, u64>,
    /// Pending messages by file.
    live: BTreeMap<u64, u64>,
}

impl Log {
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut numbers = Vec::new();
        for entry in fs::read_dir(folder)? {
            numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        let number = numbers.last().map_or(0, |last| last + 1);
        let file = File::create_new(folder.join(number.to_string()))?;
        File::open(folder)?.sync_all()?;
        let (places, live) = (HashMap::new(), BTreeMap::from([(number, 0)]));
        let mut log =
            Self { folder: folder.to_owned(), file, number, len: 0, buffer: Vec::new(), places, live };
        for number in numbers {
            log.read(number)?;
        }
        Ok(log)
    }

    fn read(&mut self, number: u64) -> io::Result<()> {
        let mut bytes = Vec::new();
        File::open(self.folder.join(number.to_string()))?.read_to_end(&mut bytes)?;
        self.live.insert(number, 0);
        let mut rest = bytes.as_slice();
        while let Some((head, after)) = rest.split_at_checked(HEAD) {
            let word = |at| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            let (len, sum) = (word(0), word(4));
            let Some((body, after)) = after.split_at_checked((len & !GONE) as usize) else { break };
            // A torn tail ends the file.
            if checksum(&head[8..], &[body]) != sum {
                break;
            }
            let id = u64::from(word(8)) | u64::from(word(12)) << 32;
            if len & GONE == 0 {
                self.note(id, number)
            } else {
                self.forget(id)
            }
            rest = after;
        }
        Ok(())
    }

    pub(super) fn put(&mut self, id: u64, body: &[&[u8]]) {
        let len: usize = body.iter().map(|part| part.len()).sum();
        self.head(id, len as u32, body);
        body.iter().for_each(|part| self.buffer.extend_from_slice(part));
        self.note(id, self.number);
    }

    pub(super) fn remove(&mut self, id: u64) {
        self.head(id, GONE, &[]);
        self.forget(id);
    }

    fn head(&mut self, id: u64, len: u32, body: &[&[u8]]) {
        let id = id.to_le_bytes();
        self.buffer.extend_from_slice(&len.to_le_bytes());
        self.buffer.extend_from_slice(&checksum(&id, body).to_le_bytes());
        self.buffer.extend_from_slice(&id);
    }

    fn note(&mut self, id: u64, number: u64) {
        self.places.insert(id, number);
        *self.live.entry(number).or_default() += 1;
    }

    fn forget(&mut self, id: u64) {
        let Some(number) = self.places.remove(&id) else { return };
        self.live.entry(number).and_modify(|live| *live -= 1);
    }

    pub(super) fn commit(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.file.sync_data()?;
        self.len += self.buffer.len() as u64;
        self.buffer.clear();
        if self.len < FILE_MOST {
            return Ok(());
        }
        self.number += 1;
        self.len = 0;
        self.live.insert(self.number, 0);
        self.file = File::create_new(self.folder.join(self.number.to_string()))?;
        // From the front only: what says that a message is gone must not go before the message.
        while let Some(first) =
            self.live.first_entry().filter(|first| *first.get() == 0 && *first.key() < self.number)
        {
            fs::remove_file(self.folder.join(first.remove_entry().0.to_string()))?;
        }
        File::open(&self.folder)?.sync_all()
    }

    pub(super) fn pending(&self) -> u64 {
        self.places.len() as u64
    }
}

fn checksum(id: &[u8], body: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(id);
    body.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}
