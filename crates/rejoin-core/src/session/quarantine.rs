//! One message or subscription the broker cuts the link over must not hold up the others for ever [MQTT311-3.3.5-2].
//!
//! Two links in a row that the *peer* cut with messages or wishes unanswered, and not one message acknowledged on them,
//! start the isolation: the next link is proven by a ping, shows that it lives with nothing sent, and then
//! carries one wish or message at a time, wishes first. What was the only one when the link was cut, twice, is set
//! aside. Any acknowledgement of a message clears all suspicion. Time-outs never count: they speak about the network.

use std::time::Duration;

use crate::event::{PublishId, SubscriptionId};
use crate::time::Timestamp;

/// Cuts in a row without an acknowledgement that start the isolation.
const CUTS_TO_ISOLATE: u32 = 2;
/// Cuts as the only message or wish on the wire that set it aside.
const CUTS_TO_PARK: u32 = 2;
/// A control link is never asked to live longer than this with nothing sent.
const CONTROL_LONGEST: Duration = Duration::from_secs(30);
/// Nor shorter: a link that lives this long with nothing sent was not cut for nothing.
const CONTROL_SHORTEST: Duration = Duration::from_millis(100);

/// What may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Everything the window allows.
    Open,
    /// No PUBLISH above QoS 0, and no wish.
    Shut,
    /// One PUBLISH or one wish, and nothing else unacknowledged beside it.
    One,
}

/// Watches the cuts.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    cuts_in_a_row: u32,
    isolating: bool,
    suspect: Option<Suspect>,
    /// The longest a link lived after the first message or wish on it, among the cuts that raised suspicion.
    longest_to_cut: Duration,
    /// How long a link of this isolation lived with nothing sent.
    control_lived: Duration,
    link: OnLink,
}

/// What a link may be cut over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Culprit {
    /// A PUBLISH above QoS 0.
    Message(PublishId),
    /// A SUBSCRIBE or UNSUBSCRIBE for one filter.
    Wish(SubscriptionId),
}

#[derive(Clone, Copy, Debug)]
struct Suspect {
    culprit: Culprit,
    cuts: u32,
}

/// What happened on the present link; a new link begins with a new value.
#[derive(Debug, Default)]
struct OnLink {
    proven: bool,
    /// When the link has lived long enough with nothing sent, and how long that is.
    control: Option<(Timestamp, Duration)>,
    first_sent: Option<Timestamp>,
    acknowledged: bool,
}

/// How a link ended, as far as suspicion goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// The peer ended it: FIN, RST or a DISCONNECT that speaks of a packet.
    pub(crate) by_peer: bool,
    /// The broker's code names a bad PUBLISH: no need to see it twice.
    pub(crate) names_publish: bool,
    /// Messages and wishes without an answer.
    pub(crate) unacknowledged: usize,
    /// The only one of them.
    pub(crate) sole: Option<Culprit>,
}

impl Quarantine {
    /// Whether the next link must be proven by a ping first.
    pub(crate) fn wants_proof(&self) -> bool {
        self.isolating && !self.link.proven
    }

    /// PINGRESP came: the link lives.
    pub(crate) fn proven(&mut self, now: Timestamp) {
        if self.isolating && !self.link.proven {
            self.link.proven = true;
            let wait = (self.longest_to_cut * 2).clamp(CONTROL_SHORTEST, CONTROL_LONGEST);
            self.link.control = Some((now + wait, wait));
        }
    }

    /// When the control link has lived long enough.
    pub(crate) fn control_until(&self) -> Option<Timestamp> {
        self.link.control.map(|(until, _)| until)
    }

    /// What may be sent now.
    pub(crate) fn gate(&mut self, now: Timestamp) -> Gate {
        if !self.isolating {
            return Gate::Open;
        }
        if let Some((until, lived)) = self.link.control
            && until <= now
        {
            self.link.control = None;
            self.control_lived = lived;
        }
        if self.link.proven && self.link.control.is_none() { Gate::One } else { Gate::Shut }
    }

    /// A PUBLISH above QoS 0, or a wish as the one thing on the link, was sent.
    pub(crate) fn sent(&mut self, now: Timestamp) {
        self.link.first_sent.get_or_insert(now);
    }

    /// Any acknowledgement of a message clears all suspicion. `backlog`: messages of an earlier link are still unsent.
    pub(crate) fn acknowledged(&mut self, backlog: bool) {
        self.link.acknowledged = true;
        self.link.first_sent = None;
        self.suspect = None;
        self.cuts_in_a_row = 0;
        if !backlog {
            self.end_isolation();
        }
    }

    /// A wish was answered, which says nothing for a message, nor for another wish. `all`: every wish was, and no message
    /// is to be delivered.
    pub(crate) fn wish_answered(&mut self, all: bool) {
        if self.isolating {
            self.link.first_sent = None;
        }
        if all {
            self.suspect = None;
            self.cuts_in_a_row = 0;
            self.end_isolation();
        }
    }

    fn end_isolation(&mut self) {
        self.isolating = false;
        self.link.control = None;
        self.control_lived = Duration::ZERO;
        self.longest_to_cut = Duration::ZERO;
    }

    /// The link is gone. Gives what to set aside and how often it was the only one.
    pub(crate) fn link_lost(&mut self, cut: Cut, now: Timestamp) -> Option<(Culprit, u32)> {
        let link = std::mem::take(&mut self.link);
        if !cut.by_peer {
            return None;
        }
        let to_cut = link.first_sent.map(|at| now.since(at));
        if self.isolating && link.proven {
            return self.isolated_cut(cut, to_cut);
        }
        if link.acknowledged || cut.unacknowledged == 0 {
            if !self.isolating {
                self.cuts_in_a_row = 0;
                self.longest_to_cut = Duration::ZERO;
            }
            return None;
        }
        self.longest_to_cut = self.longest_to_cut.max(to_cut.unwrap_or_default());
        self.cuts_in_a_row += if cut.names_publish { CUTS_TO_ISOLATE } else { 1 };
        self.isolating |= self.cuts_in_a_row >= CUTS_TO_ISOLATE;
        None
    }

    fn isolated_cut(&mut self, cut: Cut, to_cut: Option<Duration>) -> Option<(Culprit, u32)> {
        let Some(culprit) = cut.sole else {
            if to_cut.is_none() {
                // Cut with nothing sent: the link is bad by itself, nothing that is sent is to blame.
                *self = Self::default();
            }
            return None;
        };
        let to_cut = to_cut.unwrap_or_default();
        self.longest_to_cut = self.longest_to_cut.max(to_cut);
        // Only a link that lived well longer without it than with it speaks against it.
        let blamed = u32::from(to_cut * 2 <= self.control_lived);
        let cuts = self.suspect.filter(|s| s.culprit == culprit).map_or(0, |s| s.cuts) + blamed;
        if cuts < CUTS_TO_PARK {
            self.suspect = Some(Suspect { culprit, cuts });
            return None;
        }
        self.suspect = None;
        Some((culprit, cuts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: Culprit = Culprit::Message(PublishId(1));

    const fn message(n: u64) -> Culprit {
        Culprit::Message(PublishId(n))
    }

    const fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    const fn at(n: u64) -> Timestamp {
        Timestamp::from_micros(n * 1000)
    }

    /// The peer cut a link with so many unacknowledged.
    fn cut(unacknowledged: usize) -> Cut {
        let sole = (unacknowledged == 1).then_some(MESSAGE);
        Cut { by_peer: true, names_publish: false, unacknowledged, sole }
    }

    /// A link that the peer cut so long after its first message.
    fn cut_after(quarantine: &mut Quarantine, lived: Duration) {
        quarantine.sent(at(0));
        quarantine.sent(at(0) + lived);
        assert_eq!(quarantine.link_lost(cut(2), at(0) + lived), None);
    }

    fn isolating(lived: Duration) -> Quarantine {
        let mut quarantine = Quarantine::default();
        for _ in 0..2 {
            assert!(!quarantine.wants_proof());
            assert_eq!(quarantine.gate(at(0)), Gate::Open);
            cut_after(&mut quarantine, lived);
        }
        assert!(quarantine.wants_proof());
        quarantine
    }

    /// A link that is proven, lives long enough, and is cut so long after the one message it carried.
    fn cut_alone(quarantine: &mut Quarantine, culprit: Culprit, lived: Duration) -> Option<(Culprit, u32)> {
        quarantine.proven(at(0));
        let until = quarantine.control_until().expect("a control link");
        assert_eq!(quarantine.gate(until), Gate::One);
        quarantine.sent(until);
        quarantine.link_lost(Cut { sole: Some(culprit), ..cut(1) }, until + lived)
    }

    #[test]
    fn a_link_with_nothing_sent_has_to_live_twice_as_long_as_those_that_were_cut() {
        for (lived, control) in
            [(0, 100), (50, 100), (51, 102), (1000, 2000), (15_000, 30_000), (16_000, 30_000)]
        {
            let mut quarantine = isolating(millis(lived));
            assert_eq!(quarantine.gate(at(5)), Gate::Shut, "not before PINGRESP");
            assert_eq!(quarantine.control_until(), None);
            quarantine.proven(at(10));
            assert!(!quarantine.wants_proof());
            let until = at(10 + control);
            assert_eq!(quarantine.control_until(), Some(until), "{lived} ms");
            assert_eq!(quarantine.gate(at(9 + control)), Gate::Shut);
            assert_eq!(quarantine.gate(until), Gate::One);
            // A later PINGRESP proves nothing new.
            quarantine.proven(until);
            assert_eq!((quarantine.control_until(), quarantine.gate(until)), (None, Gate::One));
        }
        // The longest of the two counts.
        let mut quarantine = Quarantine::default();
        cut_after(&mut quarantine, millis(1000));
        cut_after(&mut quarantine, millis(300));
        quarantine.proven(at(0));
        assert_eq!(quarantine.control_until(), Some(at(2000)));
    }

    #[test]
    fn a_ping_on_a_link_without_suspicion_shuts_nothing() {
        let mut quarantine = Quarantine::default();
        quarantine.proven(at(0));
        assert_eq!((quarantine.control_until(), quarantine.gate(at(0))), (None, Gate::Open));
    }

    #[test]
    fn only_a_message_that_cuts_links_well_before_their_time_is_parked() {
        let mut quarantine = isolating(millis(1000));
        // The link lived 2 s without it and more than half of that with it: it may be the link.
        assert_eq!(cut_alone(&mut quarantine, MESSAGE, millis(1001)), None);
        // Now 2,002 ms without it.
        assert_eq!(cut_alone(&mut quarantine, MESSAGE, millis(1001)), None);
        assert_eq!(cut_alone(&mut quarantine, MESSAGE, millis(1001)), Some((MESSAGE, 2)));
        // What comes next begins with a clean sheet.
        assert_eq!(cut_alone(&mut quarantine, message(2), millis(10)), None);
        assert_eq!(cut_alone(&mut quarantine, message(2), millis(10)), Some((message(2), 2)));
        // And nobody answers for another.
        assert_eq!(cut_alone(&mut quarantine, message(3), millis(10)), None);
        assert_eq!(cut_alone(&mut quarantine, message(4), millis(10)), None);
        assert_eq!(cut_alone(&mut quarantine, message(3), millis(10)), None);
        assert_eq!(cut_alone(&mut quarantine, message(3), millis(10)), Some((message(3), 2)));
    }

    #[test]
    fn a_proven_link_cut_with_nothing_sent_clears_every_message() {
        let mut quarantine = isolating(millis(1000));
        quarantine.proven(at(0));
        assert_eq!(quarantine.link_lost(cut(0), at(5)), None);
        assert_eq!(quarantine.gate(at(5)), Gate::Open);
        // With something sent, but not alone, nobody is cleared and nobody is blamed.
        let mut quarantine = isolating(millis(1000));
        quarantine.proven(at(0));
        quarantine.sent(at(3000));
        assert_eq!(quarantine.link_lost(cut(2), at(3001)), None);
        assert!(quarantine.wants_proof());
    }

    #[test]
    fn an_acknowledgement_opens_the_gate_once_nothing_is_left_of_an_earlier_link() {
        let mut quarantine = isolating(millis(1000));
        quarantine.proven(at(0));
        assert_eq!(quarantine.gate(at(2000)), Gate::One);
        quarantine.sent(at(2000));
        quarantine.acknowledged(true);
        assert_eq!(quarantine.gate(at(2001)), Gate::One, "one at a time while there is a backlog");
        quarantine.acknowledged(false);
        assert_eq!((quarantine.gate(at(2002)), quarantine.wants_proof()), (Gate::Open, false));
        // All is forgotten: the row of cuts, and how long the links lived.
        assert_eq!(quarantine.link_lost(cut(2), at(3000)), None);
        assert!(!quarantine.wants_proof(), "that link acknowledged something");
        let mut again = quarantine;
        cut_after(&mut again, millis(0));
        assert!(!again.wants_proof());
        cut_after(&mut again, millis(0));
        again.proven(at(0));
        assert_eq!(again.control_until(), Some(at(100)));
    }

    #[test]
    fn an_acknowledgement_takes_the_blame_off_the_message_before() {
        let mut quarantine = isolating(millis(0));
        assert_eq!(cut_alone(&mut quarantine, MESSAGE, millis(10)), None);
        quarantine.proven(at(0));
        quarantine.gate(at(100));
        quarantine.sent(at(100));
        quarantine.acknowledged(true);
        assert_eq!(quarantine.link_lost(Cut { by_peer: false, ..cut(0) }, at(200)), None);
        assert_eq!(cut_alone(&mut quarantine, MESSAGE, millis(10)), None, "once is not twice");
        assert_eq!(cut_alone(&mut quarantine, MESSAGE, millis(10)), Some((MESSAGE, 2)));
    }

    #[test]
    fn only_cuts_in_a_row_by_the_peer_with_something_unacknowledged_count() {
        let suspicious = |between: &dyn Fn(&mut Quarantine)| {
            let mut quarantine = Quarantine::default();
            cut_after(&mut quarantine, millis(1000));
            between(&mut quarantine);
            cut_after(&mut quarantine, millis(0));
            quarantine
        };
        let lost =
            |cut| move |quarantine: &mut Quarantine| assert_eq!(quarantine.link_lost(cut, at(1)), None);
        assert!(suspicious(&|_| {}).wants_proof());
        // A time-out says nothing, neither way.
        assert!(suspicious(&lost(Cut { by_peer: false, ..cut(2) })).wants_proof());
        assert!(!Quarantine::default().wants_proof());
        // A link that was cut with nothing to answer, or after an answer, ends the row.
        assert!(!suspicious(&lost(cut(0))).wants_proof());
        let answered = |quarantine: &mut Quarantine| {
            quarantine.acknowledged(true);
            assert_eq!(quarantine.link_lost(cut(2), at(1)), None);
        };
        let mut quarantine = suspicious(&answered);
        assert!(!quarantine.wants_proof());
        cut_after(&mut quarantine, millis(0));
        quarantine.proven(at(0));
        assert_eq!(
            quarantine.control_until(),
            Some(at(100)),
            "how long links of an earlier row lived is no matter"
        );
        // A code that names a bad PUBLISH need not be seen twice.
        let mut quarantine = Quarantine::default();
        assert_eq!(quarantine.link_lost(Cut { names_publish: true, ..cut(2) }, at(1)), None);
        assert!(quarantine.wants_proof());
    }

    #[test]
    fn a_link_cut_before_it_is_proven_ends_no_isolation() {
        let mut quarantine = isolating(millis(1000));
        assert_eq!(quarantine.link_lost(cut(0), at(1)), None);
        assert!(quarantine.wants_proof());
        assert_eq!(quarantine.link_lost(cut(1), at(1)), None, "nothing was sent on it");
        quarantine.proven(at(0));
        assert_eq!(quarantine.control_until(), Some(at(2000)));
    }

    #[test]
    fn an_answer_to_a_wish_takes_no_blame_off_another_and_ends_the_isolation_only_where_nothing_is_left() {
        let [bad, good] = [2, 1].map(|n| Culprit::Wish(SubscriptionId(n)));
        let mut quarantine = isolating(millis(1000));
        let on_a_link = |quarantine: &mut Quarantine| {
            quarantine.proven(at(0));
            assert_eq!(quarantine.gate(at(2000)), Gate::One);
            quarantine.sent(at(2000));
            // Answered late, so the time of the other begins anew.
            quarantine.wish_answered(false);
            quarantine.sent(at(4000));
            quarantine.link_lost(Cut { sole: Some(bad), ..cut(1) }, at(4010))
        };
        assert_eq!((on_a_link(&mut quarantine), on_a_link(&mut quarantine)), (None, Some((bad, 2))));
        assert!(quarantine.wants_proof(), "a message may be left");
        // In a row means that it was not answered in between.
        assert_eq!(cut_alone(&mut quarantine, good, millis(10)), None);
        quarantine.wish_answered(true);
        assert_eq!((quarantine.gate(at(0)), quarantine.wants_proof()), (Gate::Open, false));
        assert_eq!(quarantine.link_lost(cut(1), at(0)), None);
        assert!(!quarantine.wants_proof(), "the row of cuts is forgotten");
    }
}
