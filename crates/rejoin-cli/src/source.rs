//! Where the messages of `pub` come from.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::exit::Failure;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// `-m` and `-n`.
    Given(Bytes),
    /// `-f`.
    File(PathBuf),
    /// `-s`.
    Stdin,
    /// `-l`.
    Lines,
}

/// The largest payload a packet can carry is a little below this; a file above it is not even read.
const MOST: u64 = 268_435_455;

/// Lines read ahead of the outbox.
const LINES_PER_BATCH: usize = 256;

/// Bytes of lines read ahead of the outbox; a longer line goes alone.
const BYTES_PER_BATCH: usize = 256 * 1024;

/// One message and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// Line number on stdin, from 1; 0 where there are no lines.
    pub(crate) line: u64,
    /// The payload.
    pub(crate) payload: Bytes,
    /// Its size in bytes, where MQTT cannot carry it; then the payload was not kept.
    pub(crate) too_long: Option<u64>,
}

/// How messages about an item begin.
pub(crate) fn name(line: u64) -> String {
    if line == 0 { "the message".to_owned() } else { format!("line {line}") }
}

type Batch = Result<Vec<Item>, Failure>;

/// Messages as they come.
#[derive(Debug)]
pub(crate) struct Items {
    batches: mpsc::Receiver<Batch>,
    taken: Arc<AtomicU64>,
}

impl Items {
    /// The next ones; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Batch> {
        self.batches.recv().await
    }

    /// Ends the reading. Gives the number of the last line taken from stdin, which may be one that never came here.
    pub(crate) fn close(&mut self) -> u64 {
        self.batches.close();
        self.taken.load(Ordering::Acquire)
    }
}

impl Source {
    /// Payload of `-m`, taken as the bytes that were typed.
    pub(crate) fn message(text: OsString) -> Self {
        Self::Given(Bytes::from(text.into_encoded_bytes()))
    }

    /// Checks what can be checked before anything is connected.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let Self::File(path) = self else { return Ok(()) };
        let size = std::fs::metadata(path).map_err(|e| cannot_read(path, &e))?;
        if size.is_dir() {
            return Err(Failure::local(format!("cannot read {}: it is a folder", path.display())));
        }
        if size.len() > MOST {
            return Err(Failure::local(format!(
                "{} has {} bytes, MQTT can carry {MOST}; split it or use -l",
                path.display(),
                size.len()
            )));
        }
        Ok(())
    }

    /// Begins to read, on a thread of its own: a read of stdin cannot be interrupted, and must not hold up the
    /// end of the process.
    pub(crate) fn open(self) -> Items {
        let (sender, batches) = mpsc::channel(2);
        let spare = sender.clone();
        let taken = Arc::new(AtomicU64::new(0));
        let items = Items { batches, taken: Arc::clone(&taken) };
        let reading = move || match self {
            Self::Given(payload) => {
                drop(sender.blocking_send(Ok(vec![Item { line: 0, payload, too_long: None }])))
            }
            Self::File(path) => {
                let read = std::fs::File::open(&path).and_then(|file| whole(file, MOST));
                let read = read.map_err(|e| cannot_read(&path, &e));
                drop(
                    sender.blocking_send(read.map(|payload| vec![Item { line: 0, payload, too_long: None }])),
                );
            }
            Self::Stdin => {
                let read = whole(std::io::stdin(), MOST);
                let read = read.map_err(|e| Failure::local(format!("cannot read stdin: {e}")));
                drop(
                    sender.blocking_send(read.map(|payload| vec![Item { line: 0, payload, too_long: None }])),
                );
            }
            Self::Lines => lines(std::io::stdin(), &sender, &taken),
        };
        if let Err(error) = std::thread::Builder::new().name("input".to_owned()).spawn(reading) {
            let _ = spare.try_send(Err(Failure::local(format!("no thread to read the input: {error}"))));
        }
        items
    }
}

fn cannot_read(path: &Path, error: &std::io::Error) -> Failure {
    Failure::local(format!("cannot read {}: {error}", path.display()))
}

fn whole(from: impl Read, most: u64) -> std::io::Result<Bytes> {
    let mut payload = Vec::new();
    from.take(most + 1).read_to_end(&mut payload)?;
    if payload.len() as u64 > most {
        return Err(std::io::Error::other(format!("more than {most} bytes, which is all MQTT can carry")));
    }
    Ok(Bytes::from(payload))
}

/// Sends lines in batches: whatever is there already, up to a bound; what would have to be waited for holds nothing
/// up. A line ends with `\n` or `\r\n`.
fn lines(from: impl Read, sender: &mpsc::Sender<Batch>, taken: &AtomicU64) {
    let mut from = BufReader::with_capacity(BYTES_PER_BATCH, from);
    let mut number = 0;
    let mut batch = Vec::new();
    let mut batch_bytes = 0;
    let failure = loop {
        match line(&mut from, number + 1) {
            Ok(None) => break None,
            Ok(Some(item)) => {
                number += 1;
                batch_bytes += item.payload.len();
                batch.push(item);
            }
            Err(error) => {
                break Some(Failure::local(format!("cannot read stdin after line {number}: {error}")));
            }
        }
        let more = from.buffer().contains(&b'\n');
        if !more || batch.len() >= LINES_PER_BATCH || batch_bytes >= BYTES_PER_BATCH {
            batch_bytes = 0;
            // Lines read ahead are gone from stdin, too.
            let ahead = from.buffer().iter().filter(|byte| **byte == b'\n').count();
            taken.store(number + ahead as u64, Ordering::Release);
            if sender.blocking_send(Ok(std::mem::take(&mut batch))).is_err() {
                return;
            }
        }
    };
    let _ = sender.blocking_send(Ok(batch));
    if let Some(failure) = failure {
        let _ = sender.blocking_send(Err(failure));
    }
}

fn line(from: &mut impl BufRead, number: u64) -> std::io::Result<Option<Item>> {
    let mut payload = Vec::new();
    if from.by_ref().take(MOST + 2).read_until(b'\n', &mut payload)? == 0 {
        return Ok(None);
    }
    let mut ended = payload.last() == Some(&b'\n');
    if ended {
        payload.pop();
        if payload.last() == Some(&b'\r') {
            payload.pop();
        }
    }
    let mut size = payload.len() as u64;
    if size <= MOST {
        return Ok(Some(Item { line: number, payload: Bytes::from(payload), too_long: None }));
    }
    // The rest of the line is passed over, so that the next one keeps its number.
    while !ended {
        let chunk = from.fill_buf()?;
        let (used, end) = match chunk.iter().position(|b| *b == b'\n') {
            Some(at) => (at + 1, true),
            None => (chunk.len(), chunk.is_empty()),
        };
        from.consume(used);
        size += used as u64;
        ended = end;
    }
    Ok(Some(Item { line: number, payload: Bytes::new(), too_long: Some(size) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(from: impl Read + Send + 'static) -> Vec<Result<Vec<Item>, Failure>> {
        let (sender, mut items) = mpsc::channel(1);
        let reading = std::thread::spawn(move || lines(from, &sender, &AtomicU64::new(0)));
        let mut all = Vec::new();
        while let Some(batch) = items.blocking_recv() {
            all.push(batch);
        }
        reading.join().unwrap();
        all
    }

    fn texts(from: &'static str) -> Vec<(u64, String)> {
        read(from.as_bytes())
            .into_iter()
            .flat_map(Result::unwrap)
            .map(|item| (item.line, String::from_utf8(item.payload.to_vec()).unwrap()))
            .collect()
    }

    #[test]
    fn every_line_is_a_message_and_the_last_needs_no_end() {
        let expected = [(1, "a"), (2, ""), (3, "b"), (4, "c\rd")].map(|(n, t)| (n, t.to_owned()));
        assert_eq!(texts("a\n\nb\r\nc\rd"), expected);
        assert_eq!(texts("a\n\nb\r\nc\rd\n"), expected);
        assert_eq!(texts(""), []);
    }

    #[test]
    fn a_line_does_not_wait_for_the_next_one() {
        /// Gives one line, and then fails the test if it is asked before the line was taken.
        struct OneThenPanic(bool);
        impl Read for OneThenPanic {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                if std::mem::replace(&mut self.0, true) {
                    return Err(std::io::Error::other("gone"));
                }
                buffer[..4].copy_from_slice(b"abc\n");
                Ok(4)
            }
        }
        let all = read(OneThenPanic(false));
        assert_eq!(all[0].as_ref().unwrap()[0].payload, "abc");
        let failure = all.last().unwrap().as_ref().unwrap_err();
        assert!(failure.message.contains("after line 1"), "{failure:?}");
    }

    #[test]
    fn lines_that_were_read_ahead_count_as_taken() {
        let (sender, batches) = mpsc::channel(1);
        let mut items = Items { batches, taken: Arc::default() };
        let taken = Arc::clone(&items.taken);
        // More than a batch, and less than is read at once: the reader waits with its second batch in hand.
        let text = "x\n".repeat(3 * LINES_PER_BATCH);
        let reading = std::thread::spawn(move || lines(text.as_bytes(), &sender, &taken));
        assert_eq!(items.batches.blocking_recv().unwrap().unwrap().len(), LINES_PER_BATCH);
        assert_eq!(items.close(), 3 * LINES_PER_BATCH as u64);
        reading.join().unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_before_anything_is_connected() {
        let failure = Source::File(PathBuf::from("/nonexistent/file")).check().unwrap_err();
        assert!(failure.message.contains("/nonexistent/file"), "{failure:?}");
        assert!(Source::File(PathBuf::from("/")).check().is_err());
    }
}
