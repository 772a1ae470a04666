//! Times in which messages may be missing: who has to know fetches them elsewhere.

use std::collections::BTreeSet;
use std::time::SystemTime;

use rejoin_core::{SessionState, SubscriptionId};

/// Why messages may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GapCause {
    /// The broker should have kept the session and did not: what it collected for us is lost.
    SessionLost,
    /// The session was not to be kept while the link was down (a fresh session at MQTT 3.1.1).
    SessionNotKept,
    /// At QoS 0 nothing is kept for a client that is away, whatever becomes of the session.
    QosZero,
}

impl GapCause {
    /// A short stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SessionLost => "session-lost",
            Self::SessionNotKept => "session-not-kept",
            Self::QosZero => "qos-0",
        }
    }
}

/// A time in which messages may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// When the broker was last heard before it. `None`: an earlier process heard it.
    pub from: Option<SystemTime>,
    /// When the subscription was granted again: what is published from then on comes.
    pub to: SystemTime,
    /// Why.
    pub cause: GapCause,
}

/// Which subscriptions have a gap: from the loss of a link to the answers on the next.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    /// When the broker was last heard on the link before.
    heard: Option<SystemTime>,
    /// On this link: what the session says, and since when.
    link: Option<(Option<SystemTime>, Option<GapCause>)>,
    /// Subscriptions the broker answered on this link.
    answered: BTreeSet<SubscriptionId>,
    /// Of their gaps: the gravest.
    gravest: Option<Gap>,
}

impl Gaps {
    /// The link was lost; the broker was last heard then.
    pub(crate) fn closed(&mut self, heard: SystemTime) {
        self.heard = Some(heard);
        self.link = None;
    }

    /// The link is open. `kept`: the session is one that outlives links.
    pub(crate) fn opened(&mut self, session: SessionState, kept: bool) {
        let cause = match session {
            SessionState::Lost(_) if kept => Some(GapCause::SessionLost),
            SessionState::Lost(_) => Some(GapCause::SessionNotKept),
            // A first link of all: nothing can be missing.
            SessionState::New if self.heard.is_none() => {
                self.link = None;
                return;
            }
            SessionState::New => Some(GapCause::SessionNotKept),
            SessionState::Kept if self.heard.is_none() => {
                self.link = None;
                return;
            }
            SessionState::Kept => None,
        };
        self.answered.clear();
        self.gravest = None;
        self.link = Some((self.heard, cause));
    }

    /// The broker granted a subscription on this link; `before`: it had granted it on an earlier one. Gives its gap.
    pub(crate) fn granted(
        &mut self,
        id: SubscriptionId,
        before: bool,
        qos0: bool,
        now: SystemTime,
    ) -> Option<Gap> {
        let (from, cause) = self.link?;
        let first_answer = self.answered.insert(id);
        let cause = cause.or(qos0.then_some(GapCause::QosZero))?;
        // What an earlier process asked for is not known; it asked for what this one asks for, most likely.
        if !first_answer || !(before || from.is_none()) {
            return None;
        }
        let gap = Gap { from, to: now, cause };
        // A lost session says more than QoS 0.
        if self.gravest.is_none_or(|gravest| gravest.cause == GapCause::QosZero) {
            self.gravest = Some(gap);
        }
        Some(gap)
    }

    /// Every subscription was answered: the gap of all of them, once.
    pub(crate) fn all_answered(&mut self, now: SystemTime) -> Option<Gap> {
        self.gravest.take().map(|gap| Gap { to: now, ..gap })
    }
}
