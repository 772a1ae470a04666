//! `--report-stored`: which lines need not be fed again, whatever happens to this process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rejoin::{Delivery, Stored};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
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
    task: JoinHandle<()>,
}

impl Report {
    /// Opens a file, or an open descriptor named `fd:N`.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        Journal::open(path, "stored lines").map(Self).map_err(Failure::local)
    }

    /// Begins to report.
    pub(crate) fn start(self, teller: Teller) -> Reporting {
        let (lines, waiting) = unbounded_channel();
        Reporting { lines, task: tokio::spawn(tell(waiting, self.0, teller)) }
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
        let _ = timeout(LAST_LINES, self.task).await;
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
            && let Some(trouble) = journal.write(&std::mem::take(&mut text))
        {
            teller.tell(&Line::state("note", "report-failed", trouble).weighing(Weight::Error));
        }
    }
}
