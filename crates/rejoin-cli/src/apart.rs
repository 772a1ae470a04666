//! Lines that a thread of their own writes: a pipe that nobody reads keeps nothing else from going on.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes of lines that wait to be written: much more than a terminal lags behind that is read at all.
const MOST: usize = 1024 * 1024;
/// How long a line waits for room, and the end for the last line. Once a line waited in vain, others wait no more until
/// something was written.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where lines wait for their writer.
#[derive(Debug)]
pub(crate) struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    text: String,
    /// Taken from here, and not written yet.
    writing: bool,
    /// Nobody reads.
    stuck: bool,
    /// Lines that found no room.
    missing: u64,
    ended: bool,
}

impl Waiting {
    fn is_idle(&self) -> bool {
        self.text.is_empty() && !self.writing
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while this holds, but not for ever.
    fn patiently<'a>(
        &self,
        state: MutexGuard<'a, Waiting>,
        limit: Duration,
        while_it: impl FnMut(&mut Waiting) -> bool,
    ) -> MutexGuard<'a, Waiting> {
        let waited = self.changed.wait_timeout_while(state, limit, while_it);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Lines {
    /// Begins to write; `missing` is the line that tells how many found no room.
    pub(crate) fn start(
        out: impl Write + Send + 'static,
        missing: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        std::thread::Builder::new().name("lines".to_owned()).spawn(move || write(&writer, out, missing))?;
        Ok(Self(shared))
    }

    /// Hands a line over, its end included. Where nobody reads it is counted, and told of when somebody does.
    pub(crate) fn push(&self, line: &str) {
        let mut state = self.0.state();
        let full = |state: &mut Waiting| state.text.len() >= MOST;
        if full(&mut state) && !state.stuck {
            state = self.0.patiently(state, PATIENCE, full);
        }
        if full(&mut state) {
            state.stuck = true;
            state.missing += 1;
            return;
        }
        state.text.push_str(line);
        self.0.changed.notify_all();
    }

    /// Waits for the last line, but not for a pipe that nobody reads.
    pub(crate) fn finish(&self) {
        self.finish_within(PATIENCE);
    }

    /// The same for a place that may take its time, as a disk does.
    pub(crate) fn finish_within(&self, limit: Duration) {
        let state = self.0.state();
        if !state.stuck {
            drop(self.0.patiently(state, limit, |state| !state.is_idle()));
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.0.state().ended = true;
        self.0.changed.notify_all();
    }
}

fn write(shared: &Shared, mut out: impl Write, missing: impl Fn(u64) -> String) {
    loop {
        let mut state = shared.state();
        while state.text.is_empty() && !state.ended {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.text.is_empty() {
            return;
        }
        let mut text = std::mem::take(&mut state.text);
        // They came when this was full.
        let count = std::mem::take(&mut state.missing);
        state.writing = true;
        drop(state);
        shared.changed.notify_all();
        if count > 0 {
            text.push_str(&missing(count));
        }
        // A place that takes nothing has nobody to tell.
        let _: io::Result<()> = out.write_all(text.as_bytes());
        let mut state = shared.state();
        (state.writing, state.stuck) = (false, false);
        drop(state);
        shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Tells what it is given, and takes it when it is let.
    struct Gate(Receiver<()>, Sender<String>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.1.send(String::from_utf8_lossy(bytes).into_owned());
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated() -> (Lines, Sender<()>, Receiver<String>) {
        let ((open, gate), (tell, told)) = (channel(), channel());
        let missing = |count| format!("{count} missing\n");
        (Lines::start(Gate(gate, tell), missing).unwrap(), open, told)
    }

    #[test]
    fn what_finds_no_room_is_counted_and_told() {
        let (lines, open, told) = gated();
        lines.push("first\n");
        assert_eq!(told.recv().unwrap(), "first\n", "the writer is at work");
        let line = format!("{:1023}\n", "x");
        let room = MOST / line.len();
        let begin = std::time::Instant::now();
        for _ in 0..room + 5 {
            lines.push(&line);
        }
        lines.finish();
        assert!(begin.elapsed() < 3 * PATIENCE, "one wait for room, none at the end: {:?}", begin.elapsed());
        drop(open);
        drop(lines);
        let all: String = told.iter().collect();
        assert_eq!(all.matches('x').count(), room);
        assert!(all.ends_with("5 missing\n"), "{}", &all[all.len() - 20..]);
    }

    #[test]
    fn the_end_waits_for_the_last_line() {
        let (lines, open, told) = gated();
        lines.push("one\n");
        lines.push("two\n");
        drop(open);
        lines.finish();
        let all: String = told.try_iter().collect();
        assert_eq!(all, "one\ntwo\n");
    }
}
