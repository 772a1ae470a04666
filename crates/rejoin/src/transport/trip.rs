//! The way of one attempt: which stage it is at, how long each took, and the limit of each.

use std::future::Future;

use rejoin_core::{Stage, TransportError, TransportErrorKind};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, timeout_at};

use super::OpenError;
use crate::stages::Stages;

/// The way of one attempt.
pub(crate) struct Trip {
    pub(crate) stages: Stages,
    progress: UnboundedSender<Stage>,
}

impl Trip {
    pub(crate) fn new(progress: UnboundedSender<Stage>) -> Self {
        Self { stages: Stages::default(), progress }
    }

    /// Does the work of a stage, tells that it began, books its time, and ends it at its limit.
    pub(crate) async fn within<T>(
        &mut self,
        stage: Stage,
        until: Instant,
        work: impl Future<Output = Result<T, TransportError>>,
    ) -> Result<T, OpenError> {
        // Nobody listens when the attempt was withdrawn; then this task is about to end, too.
        let _ = self.progress.send(stage);
        let begin = Instant::now();
        let done = timeout_at(until, work).await;
        self.stages.add(stage, begin.elapsed());
        match done {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(OpenError { stage, error }),
            Err(_) => {
                let detail = format!("no answer within {:.1?}", begin.elapsed());
                Err(OpenError::new(stage, TransportErrorKind::TimedOut, detail))
            }
        }
    }
}
