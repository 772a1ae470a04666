//! Signs of life during long work, on stderr: nothing in the first second; then a line that is rewritten on a terminal,
//! and elsewhere a line of its own every five seconds.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::quantity::{count, short};

/// What is over within this is not told.
const SILENT: Duration = Duration::from_secs(1);
const ON_TERMINAL: Duration = Duration::from_millis(200);
const ELSEWHERE: Duration = Duration::from_secs(5);

/// Work under way.
pub(super) struct Progress {
    done: Arc<Done>,
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Done {
    count: AtomicU64,
    /// 0: nobody knows.
    of: AtomicU64,
}

impl Progress {
    /// Begins; `what` is a verb with its object, as in `checking rows`.
    pub(super) fn of(what: &'static str) -> Self {
        let done = Arc::new(Done::default());
        let (end, ended) = channel();
        let counts = Arc::clone(&done);
        let tell = move || {
            let begin = Instant::now();
            let terminal = std::io::stderr().is_terminal();
            let mut pause = SILENT;
            let mut told = false;
            while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                let text = counts.text(what, begin.elapsed());
                let text = if terminal { format!("\r\x1b[K{text}") } else { format!("{text}\n") };
                let _ = std::io::stderr().lock().write_all(text.as_bytes());
                told = true;
                pause = if terminal { ON_TERMINAL } else { ELSEWHERE };
            }
            if told && terminal {
                let _ = std::io::stderr().lock().write_all(b"\r\x1b[K");
            }
        };
        // Without a thread there are no signs of life, and the work goes on.
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(tell).ok();
        Self { done, end: Some(end), thread }
    }

    /// So much is done, of so much (0: nobody knows).
    pub(super) fn at(&self, count: u64, of: u64) {
        self.done.count.store(count, Ordering::Relaxed);
        self.done.of.store(of, Ordering::Relaxed);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Done {
    fn text(&self, what: &str, took: Duration) -> String {
        let (done, of) = (self.count.load(Ordering::Relaxed), self.of.load(Ordering::Relaxed));
        let took = short(took);
        match (done, of) {
            (0, 0) => format!("{what}, {took}"),
            (done, 0) => format!("{what}: {}, {took}", count(done)),
            (done, of) => format!("{what}: {} of {}, {took}", count(done), count(of)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_of_life_says_how_far_it_is() {
        let done = Done::default();
        let text = |done: &Done| done.text("checking rows", Duration::from_secs(2));
        assert_eq!(text(&done), "checking rows, 2.0s");
        done.count.store(12_000, Ordering::Relaxed);
        assert_eq!(text(&done), "checking rows: 12,000, 2.0s");
        done.of.store(40_000, Ordering::Relaxed);
        assert_eq!(text(&done), "checking rows: 12,000 of 40,000, 2.0s");
    }
}
