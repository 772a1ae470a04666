//! The end: drain, say goodbye, answer for what is left.

use std::time::Duration;

use super::Engine;
use crate::codec::packet::{Disconnect, Version};
use crate::codec::reason::ReasonCode;
use crate::config::SessionMode;
use crate::event::{Event, Outcome, StopReason};
use crate::interface::Output;
use crate::link::Link;
use crate::time::Now;

impl Engine {
    /// Shuts down: accepts nothing more, waits at most `within` for what was accepted, writes DISCONNECT, ends
    /// every message and tells [`Event::Stopped`]. With nothing left to wait for it is over at once.
    pub fn close(&mut self, within: Duration, now: Now) {
        self.advance(now);
        if self.stopped.is_none() {
            let by = now.mono + within;
            self.closing = Some(self.closing.map_or(by, |before| before.min(by)));
            // No other link takes over, so nothing is held back for it.
            self.renewal.closing();
        }
    }

    pub(super) fn check_closing(&mut self) {
        let Some(by) = self.closing else { return };
        let now = self.now.mono;
        let handed_over = self.link.as_ref().is_none_or(|l| l.liveness.unwritten() == 0);
        let drained = self.session.outbox.is_drained() && (handed_over || !self.is_up());
        if !drained && now < by {
            return;
        }
        if self.is_up() {
            let mut goodbye = Disconnect::new(ReasonCode::SUCCESS);
            let fresh = matches!(self.config.session.mode, SessionMode::Fresh { .. });
            let lingers = self.config.session.mode.expiry_seconds() > 0;
            let v5 = self.link.as_ref().is_some_and(|l| l.version() == Version::V5);
            // A session for this process ends with it. One that CONNECT gave no life gets none [u5-3.14.2.2.2].
            goodbye.session_expiry = (v5 && fresh && lingers).then_some(0);
            self.disconnect(goodbye);
            self.flush();
            self.outputs.push_back(Output::Close { graceful: true }); // [MQTT-3.14.4-2]
        } else if self.link.is_some() {
            self.outputs.push_back(Output::Close { graceful: false });
        }
        // QoS 0 messages the transport has not taken: the orderly close may still write them.
        let unsent: Vec<_> = self.link.take().iter_mut().flat_map(Link::never_sent).collect();
        for (id, _) in unsent {
            // One that would have waited stays on the store.
            self.end(id, Outcome::Stopped { maybe_delivered: true });
        }
        self.stop(StopReason::Shutdown);
    }

    /// For good: every message gets its answer.
    pub(super) fn stop(&mut self, reason: StopReason) {
        if self.stopped.is_some() {
            return;
        }
        self.recovery.stop();
        let ended = self.session.outbox.stop();
        if self.journal.enabled {
            // They stay on the store: the next process answers for them.
            for (id, outcome) in ended {
                self.stats.failed += 1;
                self.tell(Event::Finished { id, outcome });
            }
        } else {
            for (id, outcome) in ended {
                if !defect!(NoAnswerAtShutdown) {
                    self.finish(id, outcome);
                }
            }
        }
        for id in self.session.link_down() {
            self.tell(Event::Unsubscribed { id, reason: ReasonCode::SUCCESS });
        }
        self.wire.clear();
        self.stopped = Some(Box::new(reason.clone()));
        self.tell(Event::Stopped { reason });
        self.refresh_status();
    }
}
