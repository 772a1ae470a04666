//! A recording: the head of the document in the first line, then the updates as they are streamed, one in a line.
//! Whatever ended the program, what is in the file can be read.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use super::document::{Document, SCHEMA};
use super::update::Update;

/// Bytes of one line at most, when it is read: many times the longest that is written.
pub(crate) const LINE_MAX: u64 = 64 << 20;

/// A recording that is being written.
#[derive(Debug)]
pub(crate) struct Recording {
    file: File,
    path: PathBuf,
}

impl Recording {
    /// Begins one; a file that is there is replaced.
    ///
    /// The document may be that of any moment: what it holds already is written with it.
    pub(crate) fn create(path: &Path, document: &Document) -> io::Result<Self> {
        let mut recording = Self { file: File::create(path)?, path: path.to_owned() };
        recording.line(&serde_json::to_vec(document)?)?;
        Ok(recording)
    }

    /// Adds an update, as it is streamed.
    pub(crate) fn append(&mut self, update: &Update) -> io::Result<()> {
        self.line(&serde_json::to_vec(update)?)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Hands it to the disk.
    pub(crate) fn finish(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn line(&mut self, json: &[u8]) -> io::Result<()> {
        // One write for a line, so that a program that is killed tears at most the last.
        let mut line = Vec::with_capacity(json.len() + 1);
        line.extend_from_slice(json);
        line.push(b'\n');
        self.file.write_all(&line)
    }
}

/// Reads a recording as the document at its end. A torn last line is left out; anything else that does not fit is
/// an error that names the line.
pub(crate) fn read(path: &Path) -> Result<Document, String> {
    let place = path.display();
    let file = File::open(path).map_err(|e| format!("cannot read {place}: {e}"))?;
    read_from(BufReader::new(file)).map_err(|what| format!("{place}: {what}"))
}

fn read_from(mut from: impl BufRead) -> Result<Document, String> {
    let mut document: Option<Document> = None;
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let more = io::Read::take(&mut from, LINE_MAX).read_until(b'\n', &mut line);
        if more.map_err(|e| format!("line {number}: {e}"))? == 0 {
            break;
        }
        let whole = line.ends_with(b"\n");
        if !whole && line.len() as u64 >= LINE_MAX {
            return Err(format!(
                "line {number} is longer than {LINE_MAX} bytes; this is no recording of rejoin"
            ));
        }
        match &mut document {
            None => document = Some(head(&line)?),
            Some(document) => match serde_json::from_slice::<Update>(&line) {
                Ok(update) => update.apply(document),
                Err(_) if !whole => break,
                Err(error) => return Err(format!("line {number} is no update: {error}")),
            },
        }
    }
    document.ok_or_else(|| "the file is empty; record a run with rejoin watch --record".to_owned())
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
