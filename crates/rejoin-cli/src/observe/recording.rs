//! A recording: the head of the document in the first line, then the updates as they are streamed, one in a line.
//! Whatever ended the program, what is in the file can be read.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::document::{Document, SCHEMA};
use super::update::Update;

/// Bytes of one line at most, when it is read: many times the longest that is written.
pub(crate) const LINE_MAX: u64 = 64 << 20;

/// Bytes of a recording. At the limit it is written anew, with the document of that moment as its first line: what is
/// older than the document keeps is gone from both. 64 MiB are about four hours of every update.
pub(crate) const BYTES_MAX: u64 = 64 << 20;

/// A recording that is being written.
#[derive(Debug)]
pub(crate) struct Recording {
    file: File,
    path: PathBuf,
    /// What a reader of the file has at its end.
    document: Document,
    bytes: u64,
    limit: u64,
}

impl Recording {
    /// Begins one of at most [`BYTES_MAX`]; a file that is there is replaced.
    ///
    /// The document may be that of any moment: what it holds already is written with it.
    pub(crate) fn create(path: &Path, document: &Document) -> io::Result<Self> {
        Self::within(path, document, BYTES_MAX)
    }

    /// Begins one of at most so many bytes, or twice its first line where that is more.
    pub(super) fn within(path: &Path, document: &Document, limit: u64) -> io::Result<Self> {
        let file = File::create(path)?;
        // A pipe or a terminal keeps nothing, and there is nothing to put in its place.
        let limit = if file.metadata()?.is_file() { limit } else { u64::MAX };
        // What a symbolic link points to is written anew, not the link.
        let path = if limit == u64::MAX { path.to_owned() } else { fs::canonicalize(path)? };
        let mut recording = Self { file, path, document: document.clone(), bytes: 0, limit };
        recording.begin()?;
        Ok(recording)
    }

    /// Adds an update, as it is streamed.
    pub(crate) fn append(&mut self, update: &Update) -> io::Result<()> {
        self.bytes += write_line(&mut self.file, &serde_json::to_vec(update)?)?;
        update.clone().apply(&mut self.document);
        if self.bytes > self.limit { self.renew() } else { Ok(()) }
    }

    /// Hands it to the disk, where there is one behind it.
    pub(crate) fn finish(&self) -> io::Result<()> {
        if self.limit == u64::MAX { Ok(()) } else { self.file.sync_data() }
    }

    fn begin(&mut self) -> io::Result<()> {
        self.bytes = write_line(&mut self.file, &serde_json::to_vec(&self.document)?)?;
        // A long document must not make each update write it again.
        self.limit = self.limit.max(self.bytes.saturating_mul(2));
        Ok(())
    }

    /// Puts a file that begins with the document of now in the place of this one. At each moment one of the two is
    /// there whole.
    fn renew(&mut self) -> io::Result<()> {
        let mut beside = OsString::from(&self.path);
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let renewed = self.renew_by(&beside);
        if renewed.is_err() {
            let _ = fs::remove_file(&beside);
        }
        renewed
    }

    fn renew_by(&mut self, beside: &Path) -> io::Result<()> {
        match fs::remove_file(beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let permissions = self.file.metadata()?.permissions();
        let file = OpenOptions::new().write(true).create_new(true).open(beside)?;
        file.set_permissions(permissions)?;
        let before = std::mem::replace(&mut self.file, file);
        let begun =
            self.begin().and_then(|()| self.file.sync_data()).and_then(|()| fs::rename(beside, &self.path));
        if begun.is_err() {
            self.file = before;
        }
        begun
    }
}

/// One write for a line, so that a program that is killed tears at most the last. Gives its bytes.
fn write_line(file: &mut File, json: &[u8]) -> io::Result<u64> {
    let mut line = Vec::with_capacity(json.len() + 1);
    line.extend_from_slice(json);
    line.push(b'\n');
    file.write_all(&line)?;
    Ok(line.len() as u64)
}

/// Reads a recording as the document at its end. A torn last line is left out; anything else that does not fit is
/// an error that names the line.
#[cfg(test)]
pub(crate) fn read(path: &Path) -> Result<Document, String> {
    let place = path.display();
    let file = File::open(path).map_err(|e| format!("cannot read {place}: {e}"))?;
    read_from(BufReader::new(file)).map_err(|what| format!("{place}: {what}"))
}

/// Reads a recording, or a document that stands in the file alone, as `--json` writes it. The first line decides: one
/// that is JSON is a document, in one line or the head of a recording. At most one line is in memory at a time.
pub(crate) fn read_any(path: &Path) -> Result<Value, String> {
    let place = path.display();
    let file = File::open(path).map_err(|e| format!("cannot read {place}: {e}"))?;
    read_any_from(BufReader::new(file)).map_err(|what| format!("{place}: {what}"))
}

fn read_any_from(mut from: impl BufRead) -> Result<Value, String> {
    let mut first = Vec::new();
    read_line(&mut from, &mut first, 1)?;
    if let Ok(document) = serde_json::from_slice::<Value>(&first) {
        if from.fill_buf().map_err(|e| format!("line 2: {e}"))?.is_empty() {
            return Ok(document);
        }
        let document = follow(head(&first)?, from)?;
        return serde_json::to_value(document).map_err(|e| e.to_string());
    }
    // Indented: the whole file is one document, and no longer than a line may be.
    let mut whole = first.clone();
    let rest = LINE_MAX.saturating_sub(whole.len() as u64);
    from.take(rest).read_to_end(&mut whole).map_err(|e| e.to_string())?;
    match serde_json::from_slice(&whole) {
        Ok(document) => Ok(document),
        Err(_) if whole.is_empty() => Err(EMPTY.to_owned()),
        Err(_) => head(&first).map(|_| Value::Null),
    }
}

const EMPTY: &str = "the file is empty; record a run with rejoin watch --record";

#[cfg(test)]
fn read_from(mut from: impl BufRead) -> Result<Document, String> {
    let mut line = Vec::new();
    if read_line(&mut from, &mut line, 1)? == 0 {
        return Err(EMPTY.to_owned());
    }
    follow(head(&line)?, from)
}

/// The document after all updates that follow.
fn follow(mut document: Document, mut from: impl BufRead) -> Result<Document, String> {
    let mut line = Vec::new();
    for number in 2_u64.. {
        if read_line(&mut from, &mut line, number)? == 0 {
            break;
        }
        match serde_json::from_slice::<Update>(&line) {
            Ok(update) => update.apply(&mut document),
            Err(_) if !line.ends_with(b"\n") => break,
            Err(error) => return Err(format!("line {number} is no update: {error}")),
        }
    }
    Ok(document)
}

fn read_line(from: &mut impl BufRead, line: &mut Vec<u8>, number: u64) -> Result<usize, String> {
    line.clear();
    let read =
        Read::take(from, LINE_MAX).read_until(b'\n', line).map_err(|e| format!("line {number}: {e}"))?;
    if !line.ends_with(b"\n") && line.len() as u64 >= LINE_MAX {
        return Err(format!("line {number} is longer than {LINE_MAX} bytes; this is no recording of rejoin"));
    }
    Ok(read)
}

fn head(line: &[u8]) -> Result<Document, String> {
    let document: Document = serde_json::from_slice(line)
        .map_err(|e| format!("line 1 is no run of rejoin ({e}); record one with rejoin watch --record"))?;
    if document.schema == SCHEMA {
        Ok(document)
    } else {
        let found = document.schema.escape_debug();
        Err(format!("the form is `{found}`, this rejoin reads {SCHEMA}; use the rejoin that wrote it"))
    }
}
