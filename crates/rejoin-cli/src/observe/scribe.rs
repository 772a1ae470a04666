//! Writes a recording from a thread of its own: a disk that hangs holds up nobody but that thread, and is told.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::recording::Recording;
use super::update::Update;

/// Updates that wait for the disk at most: a minute at four a second, 13 s at the fastest. A disk that takes longer is
/// taken to be gone, and the recording ends.
pub(crate) const WAITING_MAX: usize = 256;

/// How long the end waits for what is not written yet.
pub(crate) const END: Duration = Duration::from_secs(2);

/// Where a scribe writes.
pub(crate) trait Paper: Send + 'static {
    /// Adds one update.
    fn append(&mut self, update: &Update) -> io::Result<()>;
    /// Hands everything to the disk.
    fn finish(&mut self) -> io::Result<()>;
}

impl Paper for Recording {
    fn append(&mut self, update: &Update) -> io::Result<()> {
        Self::append(self, update)
    }

    fn finish(&mut self) -> io::Result<()> {
        Self::finish(self)
    }
}

/// A recording that is written elsewhere.
#[derive(Debug)]
pub(crate) struct Scribe {
    path: PathBuf,
    updates: mpsc::Sender<Update>,
    ended: oneshot::Receiver<io::Result<()>>,
}

impl Scribe {
    /// Begins.
    ///
    /// # Errors
    /// There is no thread.
    pub(crate) fn start(path: &Path, mut paper: impl Paper) -> io::Result<Self> {
        let (updates, mut waiting) = mpsc::channel::<Update>(WAITING_MAX);
        let (end, ended) = oneshot::channel();
        std::thread::Builder::new().name("recording".to_owned()).spawn(move || {
            let mut written = Ok(());
            while let Some(update) = waiting.blocking_recv() {
                written = paper.append(&update);
                if written.is_err() {
                    break;
                }
            }
            // Before the queue goes, so that whoever finds it gone finds out why. Nobody may ask any more.
            let _ = end.send(written.and_then(|()| paper.finish()));
        })?;
        Ok(Self { path: path.to_owned(), updates, ended })
    }

    /// Hands over an update; never waits.
    ///
    /// # Errors
    /// In words why the recording ends here.
    pub(crate) fn append(&mut self, update: &Update) -> Result<(), String> {
        let why = match self.updates.try_send(update.clone()) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(_)) => format!("the disk is {WAITING_MAX} updates behind"),
            Err(TrySendError::Closed(_)) => match self.ended.try_recv() {
                Ok(Err(error)) => error.to_string(),
                _ => "its thread is gone".to_owned(),
            },
        };
        Err(self.lost(&why))
    }

    /// Waits until all of it is on the disk, for [`END`] at most.
    ///
    /// # Errors
    /// In words why the recording is not whole.
    pub(crate) async fn finish(self) -> Result<(), String> {
        let Self { path, updates, ended } = self;
        drop(updates);
        let why = match timeout(END, ended).await {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(_)) => "its thread is gone".to_owned(),
            Err(_) => format!("the disk did not take the end within {} s", END.as_secs()),
        };
        Err(told(&path, &why))
    }

    fn lost(&self, why: &str) -> String {
        told(&self.path, why)
    }
}

fn told(path: &Path, why: &str) -> String {
    format!("cannot write {}: {why}; the recording ends before the run", path.display())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc as blocking;
    use std::time::Instant;

    use super::*;

    /// A disk that takes nothing until it is let go.
    struct Hung(blocking::Receiver<()>);

    impl Paper for Hung {
        fn append(&mut self, _: &Update) -> io::Result<()> {
            let _ = self.0.recv();
            Ok(())
        }

        fn finish(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Full;

    impl Paper for Full {
        fn append(&mut self, _: &Update) -> io::Result<()> {
            Err(io::Error::from(io::ErrorKind::StorageFull))
        }

        fn finish(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_disk_that_hangs_ends_the_recording_and_holds_up_nobody() {
        let (release, hung) = blocking::channel();
        let mut scribe = Scribe::start(Path::new("run.jsonl"), Hung(hung)).unwrap();
        let begun = Instant::now();
        let lost = (0..=WAITING_MAX + 1).find_map(|_| scribe.append(&Update::default()).err());
        let lost = lost.expect("the limit is reached");
        assert!(lost.contains("run.jsonl") && lost.contains("256 updates behind"), "{lost}");
        let lost = scribe.finish().await.expect_err("not whole");
        assert!(lost.contains("within 2 s"), "{lost}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        drop(release);
    }

    #[tokio::test]
    async fn a_disk_that_is_full_is_named() {
        let mut scribe = Scribe::start(Path::new("run.jsonl"), Full).unwrap();
        // Taken before the thread looked at it; what became of it is told at the end at the latest.
        let first = scribe.append(&Update::default());
        let told = match first {
            Err(told) => told,
            Ok(()) => scribe.finish().await.expect_err("the disk is full"),
        };
        assert!(told.contains("run.jsonl") && told.contains("ends before the run"), "{told}");
    }
}
