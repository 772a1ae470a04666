//! The end of a client: everything is answered for, then the last event is told.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rejoin_core::{LinkState, PublishId, StopReason};

use super::Driver;
use crate::command::Command;
use crate::delivery::Cell;
use crate::error::PublishError;
use crate::events::Event;
use crate::reservation::cost;
use crate::status::Link;
use crate::storage::Storage;
use crate::wire::Wire;

impl Driver {
    /// After the engine stopped: waits for the transport to end in order. True when it is time to go.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> bool {
        if self.last_event.is_none() {
            return false;
        }
        if let Some(lingering) = &mut self.lingering {
            let Poll::Ready(clean) = Pin::new(lingering).poll(cx) else { return false };
            self.lingering = None;
            self.report.clean = clean.unwrap_or(false);
        }
        self.poll_closing_storage(cx)
    }

    /// Waits for a moment after the engine stopped.
    pub(crate) fn poll_timer_at(&mut self, at: tokio::time::Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        timer.as_mut().reset(at);
        timer.as_mut().poll(cx)
    }

    /// Every handle gets its answer, also when the runtime is dropped under the client.
    pub(super) fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.wire = Wire::None;
        for command in std::mem::take(&mut self.commands).into_iter().chain(self.shared.end()) {
            match command {
                Command::Publish { id, cell, publication, .. } => {
                    self.count_lost(false);
                    let why = PublishError::Stopped { maybe_delivered: false };
                    self.fail_at_the_end(id, why, cost(&publication), Some(cell));
                }
                Command::Subscribe(wishes) => wishes.route.end(),
                Command::Unrouted(route) => route.end(),
                _ => {}
            }
        }
        let mut pending = std::mem::take(&mut self.pending);
        // It goes on writing what it was given, and the next start sends it.
        let writes = self.storage.as_deref().is_some_and(Storage::is_keeping);
        for (id, entry) in pending.take_all() {
            let maybe_delivered = entry.attempts > 0 || (entry.is_recorded() && writes);
            let why = if entry.is_stored() {
                self.count_still_queued();
                PublishError::StillQueued { maybe_delivered }
            } else {
                self.count_lost(maybe_delivered);
                PublishError::Stopped { maybe_delivered }
            };
            self.fail_at_the_end(id, why, entry.bytes.into(), entry.cell);
        }
        self.routes.end(&self.shared.counters);
        // Nothing is pending any more, and who looks finds that.
        self.settle();
        self.shared.meters.oldest.set(0);
        self.shared.meters.in_flight.set(0);
        let last = self.last_event.take().unwrap_or_else(|| Box::new(self.stopped_by_the_runtime()));
        // Whoever waits for the end may leave with it, and the last lines of a recording are those one wants most.
        self.engine.end_recording();
        self.shared.events.end(&last);
        self.shared.ending.tell(self.report);
    }

    fn fail_at_the_end(&mut self, id: PublishId, why: PublishError, bytes: u64, cell: Option<Arc<Cell>>) {
        self.freed_bytes += bytes;
        self.freed_messages += 1;
        self.recorder.failed(&why, &self.shared.meters);
        let why = Box::new(why);
        self.shared.events.tell_delivery(|| Event::Failed { id, why: why.clone() });
        if let Some(cell) = cell {
            cell.finish(Err(why));
        }
    }

    /// The engine did not stop, and goes all the same.
    fn stopped_by_the_runtime(&self) -> Event {
        self.shared.ward.driver_gone();
        let reason = match self.engine.status().link {
            LinkState::Stopped(reason) => reason,
            _ => StopReason::Shutdown,
        };
        self.shared.state.change(|state| {
            state.link = Link::Stopped { reason: reason.clone() };
            state.ready = false;
            state.revision += 1;
        });
        Event::Stopped { reason }
    }
}
