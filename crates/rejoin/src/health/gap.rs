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

/// Which subscriptions have a gap: from the loss of a link to the answers on the next, or on the first after it that lives
/// long enough to hear them.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    /// When the broker was last heard on the link before.
    heard: Option<SystemTime>,
    /// `None` on a link on which nothing can be missing.
    link: Option<Box<OnLink>>,
    /// The link before, if it was lost before every subscription was answered: what it did not tell is told on the next.
    untold: Option<Box<OnLink>>,
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
    /// What links before this one did not tell.
    owed: Option<Owed>,
    /// Everything was answered.
    all: bool,
}

/// A gap that every subscription has but those that heard of it.
#[derive(Debug)]
struct Owed {
    from: Option<SystemTime>,
    cause: Option<GapCause>,
    heard: BTreeSet<SubscriptionId>,
}

impl OnLink {
    /// What the next link has to tell. After more than one such link who heard of it on an earlier one hears of it again:
    /// better twice than not at all.
    fn into_owed(self) -> Owed {
        let (from, cause) = match self.owed {
            Some(owed) => (owed.from, owed.cause.or(self.cause)),
            None => (self.from, self.cause),
        };
        Owed { from, cause, heard: self.answered }
    }
}

impl Gaps {
    /// The link was lost; the broker was last heard then.
    pub(crate) fn closed(&mut self, heard: SystemTime) {
        self.heard = Some(heard);
        if let Some(link) = self.link.take() {
            self.untold = Some(link).filter(|link| !link.all);
        }
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
        let untold = self.untold.take();
        let gravest = untold.as_ref().and_then(|untold| untold.gravest);
        let owed = untold.map(|untold| untold.into_owed());
        let answered = BTreeSet::new();
        let link = OnLink { from: self.heard, cause, answered, gravest, owed, all: false };
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
        let (from, owed) = match &link.owed {
            Some(owed) if !owed.heard.contains(&id) => (owed.from, owed.cause),
            _ => (link.from, None),
        };
        let cause = link.cause.or(owed).or_else(|| qos0.then_some(GapCause::QosZero))?;
        // What an earlier process asked for is not known; it asked for what this one asks for, most likely.
        if !first_answer || !(before || from.is_none()) {
            return None;
        }
        let gap = Gap { from, to: now, cause };
        link.gravest = Some(match link.gravest {
            None => gap,
            // A lost session says more than QoS 0.
            Some(other) if other.cause == GapCause::QosZero => Gap { from: other.from.min(from), ..gap },
            Some(other) => Gap { from: other.from.min(from), ..other },
        });
        Some(gap)
    }

    /// Every subscription was answered: the gap of all of them, once.
    pub(crate) fn all_answered(&mut self, now: SystemTime) -> Option<Gap> {
        let link = self.link.as_mut()?;
        link.all = true;
        Some(Gap { to: now, ..link.gravest.take()? })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rejoin_core::SessionLoss;

    use super::*;

    const A: SubscriptionId = SubscriptionId(1);
    const B: SubscriptionId = SubscriptionId(2);
    const LOST: SessionState = SessionState::Lost(SessionLoss { requeued: 0, unknown: 0 });

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// A first link ended at 10 s; on the second the session is lost, and no SUBACK came yet.
    fn broken_off() -> Gaps {
        let mut gaps = Gaps::default();
        gaps.opened(SessionState::New, true);
        gaps.closed(at(10));
        gaps.opened(LOST, true);
        gaps
    }

    fn gap(from: u64, to: u64, cause: GapCause) -> Option<Gap> {
        Some(Gap { from: Some(at(from)), to: at(to), cause })
    }

    #[test]
    fn what_a_link_did_not_live_to_tell_the_next_one_tells() {
        for (session, cause) in [(SessionState::Kept, GapCause::SessionLost), (LOST, GapCause::SessionLost)] {
            let mut gaps = broken_off();
            gaps.closed(at(21));
            gaps.opened(session, true);
            assert_eq!(gaps.granted(A, true, false, at(30)), gap(10, 30, cause));
            assert_eq!(gaps.all_answered(at(31)), gap(10, 31, cause));
            // And once.
            gaps.closed(at(40));
            gaps.opened(SessionState::Kept, true);
            assert_eq!(gaps.granted(A, true, false, at(50)), None);
            assert_eq!(gaps.granted(B, true, true, at(50)), gap(40, 50, GapCause::QosZero));
        }
    }

    #[test]
    fn over_several_such_links_nothing_is_forgotten() {
        let mut gaps = broken_off();
        for second in 21..25 {
            gaps.closed(at(second));
            gaps.opened(SessionState::Kept, true);
        }
        assert_eq!(gaps.granted(A, true, true, at(30)), gap(10, 30, GapCause::SessionLost));
        assert_eq!(gaps.all_answered(at(31)), gap(10, 31, GapCause::SessionLost));
    }

    #[test]
    fn who_heard_of_a_gap_does_not_hear_of_it_again() {
        let mut gaps = broken_off();
        assert_eq!(gaps.granted(A, true, false, at(20)), gap(10, 20, GapCause::SessionLost));
        gaps.closed(at(21));
        gaps.opened(SessionState::Kept, true);
        assert_eq!(gaps.granted(A, true, false, at(30)), None);
        assert_eq!(gaps.granted(B, true, false, at(30)), gap(10, 30, GapCause::SessionLost));
        assert_eq!(gaps.all_answered(at(31)), gap(10, 31, GapCause::SessionLost));
    }

    #[test]
    fn of_all_even_if_only_the_first_of_two_links_had_something_to_tell() {
        let mut gaps = broken_off();
        assert_eq!(gaps.granted(A, true, false, at(20)), gap(10, 20, GapCause::SessionLost));
        gaps.closed(at(21));
        gaps.opened(SessionState::Kept, true);
        assert_eq!(gaps.granted(A, true, false, at(30)), None);
        assert_eq!(gaps.all_answered(at(31)), gap(10, 31, GapCause::SessionLost));
    }

    #[test]
    fn at_qos_0_both_outages_are_one_gap() {
        let mut gaps = Gaps::default();
        gaps.opened(SessionState::New, true);
        for second in [10, 21] {
            gaps.closed(at(second));
            gaps.opened(SessionState::Kept, true);
        }
        assert_eq!(gaps.granted(A, true, false, at(30)), None);
        assert_eq!(gaps.granted(B, true, true, at(30)), gap(10, 30, GapCause::QosZero));
    }

    #[test]
    fn what_an_earlier_process_missed_is_told_though_its_link_breaks_off() {
        let mut gaps = Gaps::default();
        gaps.opened(LOST, true);
        gaps.closed(at(10));
        gaps.opened(SessionState::Kept, true);
        let told = gaps.granted(A, false, false, at(20));
        assert_eq!(told, Some(Gap { from: None, to: at(20), cause: GapCause::SessionLost }));
    }
}
