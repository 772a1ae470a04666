//! Times in which messages may be missing: who has to know fetches them elsewhere.

use std::collections::{BTreeMap, BTreeSet};
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
    /// Everything that was asked for was answered, and the gap of all told.
    told: bool,
    /// And nobody has a gap to hear of: what had been granted is granted again.
    all: bool,
}

/// What may be missing, and since when.
#[derive(Clone, Copy, Debug)]
struct Missing {
    from: Option<SystemTime>,
    cause: Option<GapCause>,
}

/// A gap that every subscription has but those that heard of it.
#[derive(Debug)]
struct Owed {
    missing: Missing,
    /// Who heard of it, and what of later links it did not hear of.
    heard: BTreeMap<SubscriptionId, Option<Missing>>,
}

impl OnLink {
    /// What the next link has to tell.
    fn into_owed(self) -> Owed {
        let ours = Missing { from: self.from, cause: self.cause };
        let with_ours = |before: Missing| Missing { cause: before.cause.or(ours.cause), ..before };
        let (missing, mut heard) = match self.owed {
            Some(Owed { missing, heard }) => (with_ours(missing), heard),
            None => (ours, BTreeMap::new()),
        };
        heard.values_mut().for_each(|later| *later = Some(later.map_or(ours, with_ours)));
        heard.extend(self.answered.into_iter().map(|id| (id, None)));
        Owed { missing, heard }
    }

    /// What a subscription did not hear of.
    fn missing(&self, id: SubscriptionId) -> Missing {
        let ours = Missing { from: self.from, cause: self.cause };
        let before = match &self.owed {
            None => None,
            Some(owed) => owed.heard.get(&id).copied().unwrap_or(Some(owed.missing)),
        };
        // What this link says of the session is graver than what another did, or the same.
        before.map_or(ours, |before| Missing { cause: ours.cause.or(before.cause), ..before })
    }

    /// It has to tell what an earlier process missed.
    fn is_of_an_earlier_process(&self) -> bool {
        self.from.is_none() || self.owed.as_ref().is_some_and(|owed| owed.missing.from.is_none())
    }
}

/// What of that which is wanted is not granted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Refused {
    /// Something is not.
    pub(crate) any: bool,
    /// Something is not that had been.
    pub(crate) granted_before: bool,
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
    pub(crate) fn opened(&mut self, session: SessionState, kept: bool, wanted: &BTreeSet<SubscriptionId>) {
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
        let mut owed = untold.map(|untold| untold.into_owed());
        if let Some(owed) = &mut owed {
            owed.heard.retain(|id, _| wanted.contains(id));
        }
        let answered = BTreeSet::new();
        let link = OnLink { from: self.heard, cause, answered, gravest, owed, told: false, all: false };
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
        let Missing { from, cause } = link.missing(id);
        let cause = cause.or_else(|| qos0.then_some(GapCause::QosZero))?;
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

    /// Every subscription was answered, though perhaps with a refusal: the gap of all of them, once. Who is refused has its
    /// gap still to hear of, on this link or on another.
    pub(crate) fn all_answered(&mut self, refused: Refused, now: SystemTime) -> Option<Gap> {
        let link = self.link.as_mut()?;
        link.told = true;
        link.all = !(refused.granted_before || refused.any && link.is_of_an_earlier_process());
        Some(Gap { to: now, ..link.gravest.take()? })
    }

    /// Whether the gap of all was told on this link: what is granted from now on has one of its own.
    pub(crate) fn is_told(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.told)
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
        gaps.open(SessionState::New);
        gaps.closed(at(10));
        gaps.open(LOST);
        gaps
    }

    impl Gaps {
        /// A kept session, for both.
        fn open(&mut self, session: SessionState) {
            self.opened(session, true, &BTreeSet::from([A, B]));
        }

        fn all_granted(&mut self, now: SystemTime) -> Option<Gap> {
            self.all_answered(Refused::default(), now)
        }
    }

    fn gap(from: u64, to: u64, cause: GapCause) -> Option<Gap> {
        Some(Gap { from: Some(at(from)), to: at(to), cause })
    }

    #[test]
    fn what_a_link_did_not_live_to_tell_the_next_one_tells() {
        for (session, cause) in [(SessionState::Kept, GapCause::SessionLost), (LOST, GapCause::SessionLost)] {
            let mut gaps = broken_off();
            gaps.closed(at(21));
            gaps.open(session);
            assert_eq!(gaps.granted(A, true, false, at(30)), gap(10, 30, cause));
            assert_eq!(gaps.all_granted(at(31)), gap(10, 31, cause));
            // And once.
            gaps.closed(at(40));
            gaps.open(SessionState::Kept);
            assert_eq!(gaps.granted(A, true, false, at(50)), None);
            assert_eq!(gaps.granted(B, true, true, at(50)), gap(40, 50, GapCause::QosZero));
        }
    }

    #[test]
    fn over_several_such_links_nothing_is_forgotten() {
        let mut gaps = broken_off();
        for second in 21..25 {
            gaps.closed(at(second));
            gaps.open(SessionState::Kept);
        }
        assert_eq!(gaps.granted(A, true, true, at(30)), gap(10, 30, GapCause::SessionLost));
        assert_eq!(gaps.all_granted(at(31)), gap(10, 31, GapCause::SessionLost));
    }

    #[test]
    fn who_heard_of_a_gap_does_not_hear_of_it_again() {
        let mut gaps = broken_off();
        assert_eq!(gaps.granted(A, true, false, at(20)), gap(10, 20, GapCause::SessionLost));
        gaps.closed(at(21));
        gaps.open(SessionState::Kept);
        assert_eq!(gaps.granted(A, true, false, at(30)), None);
        assert_eq!(gaps.granted(B, true, false, at(30)), gap(10, 30, GapCause::SessionLost));
        assert_eq!(gaps.all_granted(at(31)), gap(10, 31, GapCause::SessionLost));
    }

    #[test]
    fn of_all_even_if_only_the_first_of_two_links_had_something_to_tell() {
        let mut gaps = broken_off();
        assert_eq!(gaps.granted(A, true, false, at(20)), gap(10, 20, GapCause::SessionLost));
        gaps.closed(at(21));
        gaps.open(SessionState::Kept);
        assert_eq!(gaps.granted(A, true, false, at(30)), None);
        assert_eq!(gaps.all_granted(at(31)), gap(10, 31, GapCause::SessionLost));
    }

    #[test]
    fn at_qos_0_both_outages_are_one_gap() {
        let mut gaps = Gaps::default();
        gaps.open(SessionState::New);
        for second in [10, 21] {
            gaps.closed(at(second));
            gaps.open(SessionState::Kept);
        }
        assert_eq!(gaps.granted(A, true, false, at(30)), None);
        assert_eq!(gaps.granted(B, true, true, at(30)), gap(10, 30, GapCause::QosZero));
    }

    #[test]
    fn what_an_earlier_process_missed_is_told_though_its_link_breaks_off() {
        let mut gaps = Gaps::default();
        gaps.open(LOST);
        gaps.closed(at(10));
        gaps.open(SessionState::Kept);
        let told = gaps.granted(A, false, false, at(20));
        assert_eq!(told, Some(Gap { from: None, to: at(20), cause: GapCause::SessionLost }));
    }

    /// The broker refuses what it had granted, and grants it again on a later link.
    #[test]
    fn who_was_refused_on_the_link_that_found_the_gap_hears_of_it_when_it_is_granted() {
        let refused = Refused { any: true, granted_before: true };
        let mut gaps = broken_off();
        assert_eq!(gaps.granted(B, true, false, at(12)), gap(10, 12, GapCause::SessionLost));
        assert_eq!(gaps.all_answered(refused, at(13)), gap(10, 13, GapCause::SessionLost));
        for second in [20, 22] {
            gaps.closed(at(second));
            gaps.open(SessionState::Kept);
            assert_eq!(gaps.granted(B, true, false, at(second + 1)), None, "heard of it");
            assert_eq!(gaps.all_answered(refused, at(second + 1)), None);
        }
        gaps.closed(at(24));
        gaps.open(SessionState::Kept);
        assert_eq!(gaps.granted(B, true, false, at(25)), None);
        assert_eq!(gaps.granted(A, true, false, at(30)), gap(10, 30, GapCause::SessionLost));
        assert_eq!(gaps.all_granted(at(31)), gap(10, 31, GapCause::SessionLost));
        gaps.closed(at(40));
        gaps.open(SessionState::Kept);
        assert_eq!(gaps.granted(A, true, false, at(50)), None, "once");
    }

    #[test]
    fn what_is_granted_late_on_the_same_link_has_its_gap_told_then() {
        let mut gaps = broken_off();
        assert!(!gaps.is_told());
        assert_eq!(gaps.all_answered(Refused { any: true, granted_before: true }, at(13)), None);
        assert!(gaps.is_told());
        assert_eq!(gaps.granted(A, true, false, at(20)), gap(10, 20, GapCause::SessionLost));
        assert_eq!(gaps.all_granted(at(20)), gap(10, 20, GapCause::SessionLost));
    }

    #[test]
    fn what_was_never_granted_misses_nothing_but_what_an_earlier_process_may_have() {
        let refused = Refused { any: true, granted_before: false };
        let mut gaps = broken_off();
        assert_eq!(gaps.all_answered(refused, at(13)), None);
        gaps.closed(at(20));
        gaps.open(SessionState::Kept);
        assert_eq!(gaps.granted(A, true, false, at(30)), None);
        let mut gaps = Gaps::default();
        gaps.open(LOST);
        assert_eq!(gaps.all_answered(refused, at(13)), None);
        gaps.closed(at(20));
        gaps.open(SessionState::Kept);
        let told = gaps.granted(A, false, false, at(30));
        assert_eq!(told, Some(Gap { from: None, to: at(30), cause: GapCause::SessionLost }));
    }

    #[test]
    fn who_heard_of_a_gap_hears_only_of_what_came_after_it_over_several_links() {
        let heard_of_the_first = || {
            let mut gaps = broken_off();
            assert_eq!(gaps.granted(B, true, true, at(12)), gap(10, 12, GapCause::SessionLost));
            gaps.closed(at(20));
            gaps
        };
        for (session, qos0, told) in [
            (SessionState::Kept, false, None),
            (SessionState::Kept, true, gap(20, 30, GapCause::QosZero)),
            (LOST, false, gap(20, 30, GapCause::SessionLost)),
        ] {
            let mut gaps = heard_of_the_first();
            for second in [22, 24] {
                gaps.open(session);
                gaps.closed(at(second));
            }
            gaps.open(SessionState::Kept);
            assert_eq!(gaps.granted(B, true, qos0, at(30)), told, "{session:?}");
        }
        // One that is gone is not remembered.
        let mut gaps = heard_of_the_first();
        gaps.opened(SessionState::Kept, true, &BTreeSet::from([A]));
        assert!(gaps.link.unwrap().owed.unwrap().heard.is_empty());
    }

    #[test]
    fn nobody_misses_what_came_before_anybody_wanted_anything() {
        let mut gaps = Gaps::default();
        gaps.open(SessionState::New);
        gaps.closed(at(10));
        gaps.opened(LOST, true, &BTreeSet::new());
        assert_eq!(gaps.granted(A, false, false, at(15)), None, "asked for on this link");
        gaps.closed(at(20));
        gaps.open(SessionState::Kept);
        assert_eq!(gaps.granted(A, true, true, at(30)), gap(20, 30, GapCause::QosZero));
    }
}
