//! `--events`: the same facts as on stderr, as JSON lines with stable names and units in them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::apart::Lines;

/// The fields of one line, in order.
pub(crate) type Fields = Map<String, Value>;

/// Where JSON lines go. Lines are appended, so that a restart does not erase what led to it.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    name: PathBuf,
    what: &'static str,
    /// A failing disk is told once and stops nothing.
    broken: bool,
}

impl Journal {
    /// Opens a file, or an open descriptor named `fd:N`; `what` is what goes there.
    pub(crate) fn open(path: &Path, what: &'static str) -> Result<Self, String> {
        let real = match path.to_str().and_then(|name| name.strip_prefix("fd:")) {
            None => path.to_owned(),
            Some(number) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => {
                PathBuf::from("/dev/fd").join(number)
            }
            Some(number) => return Err(format!("`fd:{number}` is no descriptor; write fd:3")),
        };
        match OpenOptions::new().append(true).create(true).open(&real) {
            Ok(file) => Ok(Self { file, name: path.to_owned(), what, broken: false }),
            Err(error) => Err(format!("cannot write {what} to {}: {error}", path.display())),
        }
    }

    /// The same, written by a thread of its own.
    pub(crate) fn aside(self) -> Result<Aside, String> {
        Aside::start(self)
    }

    /// Appends one line. Returns what to tell when it fails for the first time.
    pub(crate) fn write(&mut self, line: impl AsRef<[u8]>) -> Option<String> {
        if self.broken {
            return None;
        }
        match self.file.write_all(line.as_ref()) {
            Ok(()) => None,
            Err(error) => {
                self.broken = true;
                Some(format!("cannot write {} to {}: {error}; they end here", self.what, self.name.display()))
            }
        }
    }
}

/// How long the end waits for the last lines: a disk may stand still for seconds, a pipe that nobody reads for ever.
const END: Duration = Duration::from_secs(5);

/// A journal that a thread of its own writes: a pipe that nobody reads keeps nothing else from going on.
#[derive(Debug)]
pub(crate) struct Aside {
    lines: Lines,
    /// The same file, to hand it to the disk at the end.
    file: Option<File>,
    trouble: Receiver<String>,
}

impl Aside {
    fn start(journal: Journal) -> Result<Self, String> {
        let (tell, trouble) = channel();
        let file = journal.file.try_clone().ok();
        let missing = |lines| {
            let mut fields = Fields::new();
            fields.insert("lines".to_owned(), Value::from(lines));
            fields.insert("why".to_owned(), Value::from("these lines were not read"));
            line(Timestamp::now(), "missing", &fields)
        };
        let lines = Lines::start(Pen { journal, tell }, missing)
            .map_err(|error| format!("no thread to write events: {error}"))?;
        Ok(Self { lines, file, trouble })
    }

    /// Hands a line over, its end included.
    pub(crate) fn push(&self, line: &str) {
        self.lines.push(line);
    }

    /// What to tell when a line could not be written for the first time.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.try_recv().ok()
    }

    /// Waits for the last line, for [`END`] at most, and hands it to the disk.
    pub(crate) fn finish(&self) {
        self.lines.finish_within(END);
        if let Some(file) = &self.file {
            // A pipe cannot be synced, and a file that cannot was told about at the write.
            let _: io::Result<()> = file.sync_data();
        }
    }
}

/// Writes for [`Aside`], and says what went wrong to whoever tells it.
struct Pen {
    journal: Journal,
    tell: Sender<String>,
}

impl Write for Pen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(trouble) = self.journal.write(bytes) {
            // Nobody tells it after the end.
            let _ = self.tell.send(trouble);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One JSON line, its end included: `{"time":..., "event":..., fields}`.
pub(crate) fn line(at: Timestamp, event: &str, fields: &Fields) -> String {
    let mut object = Fields::new();
    object.insert("time".to_owned(), Value::from(format!("{at:.3}")));
    object.insert("event".to_owned(), Value::from(event));
    for (name, value) in fields {
        object.insert(name.clone(), value.clone());
    }
    let mut text = Value::Object(object).to_string();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_begins_with_time_and_event() {
        let mut fields = Fields::new();
        fields.insert("lasted_ms".to_owned(), 12.into());
        let at: Timestamp = "2026-11-24T09:15:33.8764Z".parse().unwrap();
        assert_eq!(
            line(at, "closed", &fields),
            "{\"time\":\"2026-11-24T09:15:33.876Z\",\"event\":\"closed\",\"lasted_ms\":12}\n"
        );
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let error = Journal::open(Path::new("/nonexistent/folder/file"), "events").unwrap_err();
        assert!(error.contains("/nonexistent/folder/file"), "{error}");
        assert!(Journal::open(Path::new("fd:x"), "events").unwrap_err().contains("fd:3"));
    }
}
