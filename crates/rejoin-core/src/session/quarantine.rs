//! One message the broker cuts the link over must not hold up the others for ever [MQTT311-3.3.5-2].
//!
//! Two links in a row that the *peer* cut with messages unacknowledged, and not one acknowledgement on them,
//! start the isolation: the next link is proven by a ping, shows that it lives with nothing sent, and then
//! carries one message at a time. A message that was the only one when the link was cut, twice, is parked.
//! Any acknowledgement clears all suspicion. Time-outs never count: they speak about the network.

use std::time::Duration;

use crate::event::PublishId;
use crate::time::Timestamp;

/// Cuts in a row without an acknowledgement that start the isolation.
const CUTS_TO_ISOLATE: u32 = 2;
/// Cuts as the only message on the wire that park it.
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
    /// No PUBLISH above QoS 0.
    Shut,
    /// One PUBLISH, and nothing else unacknowledged beside it.
    One,
}

/// Watches the cuts.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    cuts_in_a_row: u32,
    isolating: bool,
    suspect: Option<Suspect>,
    /// The longest a link lived after the first message on it, among the cuts that raised suspicion.
    longest_to_cut: Duration,
    /// How long a link of this isolation lived with nothing sent.
    control_lived: Duration,
    link: OnLink,
}

#[derive(Clone, Copy, Debug)]
struct Suspect {
    id: PublishId,
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
    pub(crate) unacknowledged: usize,
    /// The only unacknowledged PUBLISH, if it was the only packet.
    pub(crate) sole: Option<PublishId>,
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

    /// A PUBLISH above QoS 0 was sent.
    pub(crate) fn sent(&mut self, now: Timestamp) {
        self.link.first_sent.get_or_insert(now);
    }

    /// Any acknowledgement clears all suspicion. `backlog`: messages of an earlier link are still unsent.
    pub(crate) fn acknowledged(&mut self, backlog: bool) {
        self.link.acknowledged = true;
        self.link.first_sent = None;
        self.suspect = None;
        self.cuts_in_a_row = 0;
        if !backlog {
            self.isolating = false;
            self.link.control = None;
            self.control_lived = Duration::ZERO;
            self.longest_to_cut = Duration::ZERO;
        }
    }

    /// The link is gone. Gives the message to park and how often it was the only one.
    pub(crate) fn link_lost(&mut self, cut: Cut, now: Timestamp) -> Option<(PublishId, u32)> {
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

    fn isolated_cut(&mut self, cut: Cut, to_cut: Option<Duration>) -> Option<(PublishId, u32)> {
        let Some(id) = cut.sole else {
            if to_cut.is_none() {
                // Cut with nothing sent: the link is bad by itself, no message is to blame.
                *self = Self::default();
            }
            return None;
        };
        let to_cut = to_cut.unwrap_or_default();
        self.longest_to_cut = self.longest_to_cut.max(to_cut);
        // Only a link that lived well longer without the message than with it speaks against the message.
        let blamed = u32::from(to_cut * 2 <= self.control_lived);
        let cuts = self.suspect.filter(|s| s.id == id).map_or(0, |s| s.cuts) + blamed;
        if cuts < CUTS_TO_PARK {
            self.suspect = Some(Suspect { id, cuts });
            return None;
        }
        self.suspect = None;
        Some((id, cuts))
    }
}
