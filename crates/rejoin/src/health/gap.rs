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
    /// `None` on a link on which nothing can be missing.
    link: Option<Box<OnLink>>,
}

#[derive(Debug)]
struct OnLink {
    /// What the session says, and since when.
    from: Option<SystemTime>,
    cause: Option<GapCause>,
    /// Subscriptions the broker answered.
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
            SessionState::New | SessionState::Kept if self.heard.is_none() => {
                self.link = None;
                return;
            }
            SessionState::New => Some(GapCause::SessionNotKept),
            SessionState::Kept => None,
        };
        let link = OnLink { from: self.heard, cause, answered: BTreeSet::new(), gravest: None };
        self.link = Some(Box::new(link));
    }

    /// The broker granted a subscription on this link; `before`: it had granted it on an earlier one. Gives its gap.
    pub(crate) fn granted(
        &mut self,
        id: SubscriptionId,
        before: bool,
        qos0: bool,
        now: SystemTime,
    ) -> Option<Gap> {
        let link = self.link.as_mut()?;
        let first_answer = link.answered.insert(id);
        let cause = link.cause.or_else(|| qos0.then_some(GapCause::QosZero))?;
        // What an earlier process asked for is not known; it asked for what this one asks for, most likely.
        if !first_answer || !(before || link.from.is_none()) {
            return None;
        }
        let gap = Gap { from: link.from, to: now, cause };
        // A lost session says more than QoS 0.
        if link.gravest.is_none_or(|gravest| gravest.cause == GapCause::QosZero) {
            link.gravest = Some(gap);
        }
        Some(gap)
    }

    /// Every subscription was answered: the gap of all of them, once.
    pub(crate) fn all_answered(&mut self, now: SystemTime) -> Option<Gap> {
        let gravest = self.link.as_mut()?.gravest.take()?;
        Some(Gap { to: now, ..gravest })
    }
}
