//! The end, with a report.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;

use crate::command::{Command, Shared};
use crate::error::ShutdownError;
use crate::news;

/// How long a shutdown drains when no other time is given.
pub const DEFAULT_SHUTDOWN: Duration = Duration::from_secs(5);

/// What a shutdown could and could not do.
///
/// ```no_run
/// # async fn example(client: rejoin::Client) -> rejoin::Result<()> {
/// let report = client.shutdown().within_secs(10).await;
/// println!("{} went out, {} wait for the next start", report.delivered, report.still_queued);
/// report.into_result() // an error that says what was lost, if anything was
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Messages that ended well (acknowledged, or at QoS 0 sent) since the shutdown was asked for.
    pub delivered: u64,
    /// Messages that are safe in a store for the next start. Zero with the memory queue.
    pub still_queued: u64,
    /// Accepted messages that are gone with this client without an acknowledgement.
    pub lost: u64,
    /// How many of `lost` were sent, so that the broker may have them, or were being written by a disk that did not answer,
    /// so that the next start may send them.
    pub maybe_delivered: u64,
    /// DISCONNECT was written and the broker closed the connection in order.
    pub clean: bool,
}

impl ShutdownReport {
    /// An error if anything accepted was lost.
    ///
    /// # Errors
    /// [`ShutdownError`] with this report.
    pub fn into_result(self) -> crate::Result<()> {
        if self.lost == 0 { Ok(()) } else { Err(ShutdownError(self).into()) }
    }
}

/// The end of a client, for all who wait for it. A `watch` would do the same with ten times the memory, in every client.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    report: OnceLock<ShutdownReport>,
    came: Notify,
}

impl Ending {
    /// It came. Once.
    pub(crate) fn tell(&self, report: ShutdownReport) {
        let _ = self.report.set(report);
        self.came.notify_waiters();
    }

    async fn wait(&self) -> ShutdownReport {
        news::found(&self.came, || self.report.get().copied()).await
    }
}

/// A shutdown, begun when it is awaited. See [`crate::Client::shutdown`].
///
/// The limit is kept by the client's task: without one, that is between [`crate::Builder::prepare`] and
/// [`crate::Prepared::start`], nothing ends it.
#[must_use = "a shutdown begins when it is awaited"]
#[derive(Debug)]
pub struct Shutdown {
    shared: Arc<Shared>,
    within: Duration,
}

impl Shutdown {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared, within: DEFAULT_SHUTDOWN }
    }

    /// Drains for at most this long. Default 5 s.
    pub const fn within(mut self, limit: Duration) -> Self {
        self.within = limit;
        self
    }

    /// Drains for at most this many seconds.
    pub const fn within_secs(self, seconds: u64) -> Self {
        self.within(Duration::from_secs(seconds))
    }
}

impl IntoFuture for Shutdown {
    type Output = ShutdownReport;
    type IntoFuture = Pin<Box<dyn Future<Output = ShutdownReport> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.shared.close_inbox();
            self.shared.push_always(Command::Close { within: self.within });
            let report = self.shared.ending.wait().await;
            if self.shared.ward.watching.get().is_some() {
                // What was learned is for the next start, which may come at once. On the client's runtime, because who
                // waits here need not have one.
                let shared = Arc::clone(&self.shared);
                let written = async move {
                    if let Some(watching) = shared.ward.watching.get() {
                        watching.written().await;
                    }
                };
                let _ = self.shared.runtime.spawn(written).await;
            }
            report
        })
    }
}
