//! The flight recorder of a client: lines of `rejoin_core::flight` on their way to a file, by a thread of their own.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rejoin_core::flight::Sink;

use crate::error::BuildError;
use crate::sync::lock;

/// Writes down everything that goes into the client's engine and comes out of it, so that `rejoin replay` can play it
/// again on any machine.
///
/// Payloads, login and authentication data are not in it; topics, client id and properties are. A busy client writes
/// some hundred bytes for each message. It is for finding out, not for every day: the recording ends by itself, and
/// says so in its last line, when the file is as large as it may become, or when the disk cannot keep up. The client is
/// never held up by it.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use rejoin::{Client, FlightRecorder};
///
/// let recorder = FlightRecorder::to("gateway-17.flight").max_bytes(16 * 1024 * 1024);
/// let client = Client::builder("mqtt://localhost").flight_recorder(recorder).start()?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "give it to Builder::flight_recorder"]
pub struct FlightRecorder {
    path: PathBuf,
    max_bytes: u64,
}

impl FlightRecorder {
    /// The size at which a recording ends: 64 MiB, some hundred thousand messages.
    pub const DEFAULT_MAX_BYTES: u64 = 64 * 1024 * 1024;

    /// A recording in this file, which must not exist: a flight begins with its client, and an old one is not lost.
    pub fn to(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), max_bytes: Self::DEFAULT_MAX_BYTES }
    }

    /// The size at which the recording ends, in bytes. Default [`FlightRecorder::DEFAULT_MAX_BYTES`].
    pub const fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Creates the file and starts its thread.
    pub(crate) fn begin(self) -> Result<Sink, BuildError> {
        let file =
            OpenOptions::new().write(true).create_new(true).open(&self.path).map_err(|error| {
                BuildError::Recorder { path: self.path.clone(), error: error.to_string() }
            })?;
        let belt = Arc::new(Belt::default());
        let other_end = Arc::clone(&belt);
        let path = self.path.clone();
        std::thread::Builder::new()
            .name("rejoin-flight".to_owned())
            .spawn(move || carry(&other_end, file, &path))
            .map_err(|error| BuildError::NoThread(error.to_string()))?;
        let mut tape = Tape { belt, room: self.max_bytes, max_bytes: self.max_bytes };
        Ok(Box::new(move |line| tape.write(line)))
    }
}

/// Lines waiting for the disk. A disk that is so far behind is given up.
const MOST_WAITING: usize = 4 * 1024 * 1024;
/// How long the end of a client waits for the disk.
const LAST_LINES: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Belt {
    state: Mutex<OnBelt>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct OnBelt {
    lines: String,
    /// No line follows.
    ended: bool,
    /// The file takes no more.
    broken: bool,
    /// The thread is through.
    done: bool,
}

/// The driver's end.
#[derive(Debug)]
struct Tape {
    belt: Arc<Belt>,
    room: u64,
    max_bytes: u64,
}

impl Tape {
    fn write(&mut self, line: &str) -> bool {
        let mut state = lock(&self.belt.state);
        if state.broken {
            return false;
        }
        let size = line.len() as u64 + 1;
        let full = (size > self.room).then(|| format!("the limit of {} bytes is reached", self.max_bytes));
        let late = || (state.lines.len() > MOST_WAITING).then(|| "the disk did not keep up".to_owned());
        let why = full.or_else(late);
        let wake = state.lines.is_empty();
        match &why {
            None => {
                self.room -= size;
                state.lines.push_str(line);
            }
            Some(why) => {
                state.lines.push_str("# ");
                state.lines.push_str(why);
                state.ended = true;
            }
        }
        state.lines.push('\n');
        drop(state);
        if wake {
            self.belt.moved.notify_all();
        }
        why.is_none()
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        let mut state = lock(&self.belt.state);
        state.ended = true;
        self.belt.moved.notify_all();
        // The last lines are those one wants most; whoever waits here is the driver of a client that has ended.
        while !state.done {
            let (back, waited) = self
                .belt
                .moved
                .wait_timeout(state, LAST_LINES)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            state = back;
            if waited.timed_out() {
                break;
            }
        }
    }
}

/// The thread's end.
fn carry(belt: &Belt, mut file: File, path: &Path) {
    let mut lines = String::new();
    let mut state = lock(&belt.state);
    loop {
        while state.lines.is_empty() && !state.ended {
            state = belt.moved.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        if state.lines.is_empty() {
            break;
        }
        std::mem::swap(&mut lines, &mut state.lines);
        drop(state);
        let written = file.write_all(lines.as_bytes());
        lines.clear();
        state = lock(&belt.state);
        if let Err(error) = written {
            tracing::warn!(target: "rejoin", path = %path.display(), %error, "the flight recorder ends here");
            state.broken = true;
            break;
        }
    }
    state.done = true;
    drop(state);
    belt.moved.notify_all();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> PathBuf {
        let place = std::env::temp_dir().join(format!("rejoin-flight-{}-{name}", std::process::id()));
        // Left by an earlier process of the same number.
        let _ = std::fs::remove_file(&place);
        place
    }

    #[test]
    fn every_line_is_in_the_file_when_the_client_is_gone() {
        let place = place("whole");
        let mut sink = FlightRecorder::to(&place).begin().unwrap();
        for number in 0..10_000 {
            assert!(sink(&format!("line {number}")));
        }
        drop(sink);
        let text = std::fs::read_to_string(&place).unwrap();
        assert_eq!(text.lines().count(), 10_000);
        assert!(text.ends_with("line 9999\n"));
        std::fs::remove_file(place).unwrap();
    }

    #[test]
    fn a_full_recording_says_so_and_takes_no_more() {
        let place = place("full");
        let mut sink = FlightRecorder::to(&place).max_bytes(20).begin().unwrap();
        assert!(sink("123456789"));
        assert!(sink("123456789"));
        assert!(!sink("1"));
        drop(sink);
        let text = std::fs::read_to_string(&place).unwrap();
        assert_eq!(text, "123456789\n123456789\n# the limit of 20 bytes is reached\n");
        std::fs::remove_file(place).unwrap();
    }

    #[test]
    fn an_old_recording_is_not_overwritten() {
        let place = place("old");
        std::fs::write(&place, "old").unwrap();
        let Err(error) = FlightRecorder::to(&place).begin() else { panic!("it was") };
        assert!(
            error.to_string().contains("rejoin-flight") && error.to_string().contains("another"),
            "{error}"
        );
        assert_eq!(std::fs::read_to_string(&place).unwrap(), "old");
        std::fs::remove_file(place).unwrap();
    }

    #[test]
    fn a_disk_that_does_not_keep_up_ends_the_recording_and_not_the_client() {
        // Nobody carries lines from this belt.
        let belt = Arc::new(Belt::default());
        let mut tape = Tape { belt: Arc::clone(&belt), room: u64::MAX, max_bytes: u64::MAX };
        let line = "x".repeat(1024);
        let taken = (0..2 * MOST_WAITING / line.len()).take_while(|_| tape.write(&line)).count();
        assert!(taken * line.len() <= MOST_WAITING + line.len(), "{taken}");
        assert!(lock(&belt.state).lines.ends_with("# the disk did not keep up\n"));
        lock(&belt.state).done = true;
    }
}
