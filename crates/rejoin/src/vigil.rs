//! What the driver notes for those who watch over a client: gaps of subscriptions, and what the broker grants.

use std::time::SystemTime;

use rejoin_core::codec::packet::{Qos, Version};
use rejoin_core::text::Text;
use rejoin_core::{Event as Core, SessionState, SubscribeResult, SubscriptionId};

use crate::driver::Driver;
use crate::events::Event;
use crate::health::Gap;

impl Driver {
    /// A link came or went, or everything was asked for again on it.
    pub(crate) fn note_gaps(&mut self, event: &Core) {
        match event {
            Core::Closed { .. } => {
                // A late acknowledgement of QoS 1 is stale.
                self.routes.void(Qos::AtLeastOnce);
                let silent = self.shared.state().heard().map(|at| at.elapsed()).unwrap_or_default();
                let now = SystemTime::now();
                self.gaps.closed(now.checked_sub(silent).unwrap_or(now));
            }
            Core::Opened { session, version, .. } => {
                // At 5.0 a fresh session outlives links, too.
                let kept = self.shared.session_kept || *version == Version::V5;
                self.gaps.opened(*session, kept, &self.routes.ids());
                if *session != SessionState::Kept {
                    self.routes.void(Qos::ExactlyOnce);
                }
            }
            Core::Resubscribed { .. } => self.tell_gaps(),
            _ => {}
        }
    }

    fn tell_gaps(&mut self) {
        let now = SystemTime::now();
        // Those the broker was not asked for again, because it kept the session.
        for (id, qos) in self.routes.granted() {
            if let Some(gap) = self.gaps.granted(id, true, qos == Qos::AtMostOnce, now) {
                self.routes.gap(id, gap, &self.shared.counters);
            }
        }
        self.tell_gap_of_all(now);
    }

    fn tell_gap_of_all(&mut self, now: SystemTime) {
        if let Some(Gap { from, to, cause }) = self.gaps.all_answered(self.routes.refused(), now) {
            self.publish_event(&Event::Gap { from, to, cause });
        }
    }

    /// The broker answered a filter.
    pub(crate) fn note_answer(&mut self, id: SubscriptionId, filter: &Text, result: &SubscribeResult) {
        let SubscribeResult::Granted(qos) = result else { return };
        self.shared.ward.granted(filter);
        let (before, now) = (self.routes.was_granted(id), SystemTime::now());
        if let Some(gap) = self.gaps.granted(id, before, *qos == Qos::AtMostOnce, now) {
            self.routes.gap(id, gap, &self.shared.counters);
        }
        // Refused at first, and granted when it was asked for again.
        if self.gaps.is_told() {
            self.tell_gap_of_all(now);
        }
    }
}
