//! `--report-stored`: which lines need not be fed again, whatever happens to this process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rejoin::{Delivery, Stored};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::exit::Failure;
use crate::journal::Journal;
use crate::output::{Line, Teller, Weight};

/// At the end all is stored or answered for: only a reader that reads nothing is waited for, and not for long.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Where numbers go.
pub(crate) struct Report(Journal);

/// Numbers on their way.
#[derive(Debug)]
pub(crate) struct Reporting {
    lines: UnboundedSender<(u64, Arc<Delivery>)>,
    done: oneshot::Receiver<()>,
}

impl Report {
    /// Opens a file, or an open descriptor named `fd:N`.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        Journal::open(path, "stored lines").map(Self).map_err(Failure::local)
    }

    /// Begins to report, on a thread of its own: a pipe that is not read blocks nobody else.
    pub(crate) fn start(self, teller: Teller) -> Result<Reporting, Failure> {
        let (lines, waiting) = unbounded_channel();
        let (sender, done) = oneshot::channel();
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new()
            .name("stored-lines".to_owned())
            .spawn(move || {
                runtime.block_on(tell(waiting, self.0, teller));
                let _ = sender.send(());
            })
            .map_err(|error| Failure::local(format!("no thread to report stored lines: {error}")))?;
        Ok(Reporting { lines, done })
    }
}

impl Reporting {
    /// Reports this line once it is stored.
    pub(crate) fn wait_for(&self, line: u64, delivery: Arc<Delivery>) {
        let _ = self.lines.send((line, delivery));
    }

    /// Waits for the last number.
    pub(crate) async fn finish(self) {
        drop(self.lines);
        let _ = timeout(LAST_LINES, self.done).await;
    }
}

/// Messages are stored in the order in which they were handed over, so the oldest is the next.
async fn tell(mut waiting: UnboundedReceiver<(u64, Arc<Delivery>)>, mut journal: Journal, teller: Teller) {
    let mut text = String::new();
    while let Some((line, delivery)) = waiting.recv().await {
        // What a client with a broken disk keeps in memory, and what failed, is not reported.
        if let Ok(Stored::OnDisk | Stored::Delivered) = delivery.stored().await {
            text.push_str(&format!("{line}\n"));
        }
        // One write for a commit's worth of lines.
        if (waiting.is_empty() || text.len() > 4096)
            && let Some(trouble) = journal.write(std::mem::take(&mut text))
        {
            teller.tell(&Line::state("note", "report-failed", trouble).weighing(Weight::Error));
        }
    }
}
