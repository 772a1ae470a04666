//! The values of labels: closed sets, so that a label never grows and a rule can rely on a name.

use rejoin_core::{LossCause, SessionState};

use crate::error::PublishError;

/// The states of the link, as [`crate::Link::name`] tells them.
pub(super) const STATES: [&str; 5] = ["open", "suspect", "connecting", "waiting", "stopped"];

/// The stages of opening a link, as [`rejoin_core::Stage::name`] tells them.
pub(super) const STAGES: [&str; 7] = ["credentials", "dns", "tcp", "proxy", "tls", "websocket", "connack"];

/// How an attempt ended.
pub(super) const OUTCOMES: [&str; 2] = ["opened", "failed"];

/// Why links ended: [`LossCause::ENDS_OF_LINKS`], and what a newer core may add.
pub(super) const LINK_ENDS: [&str; LossCause::ENDS_OF_LINKS.len() + 1] = {
    let mut all = ["other"; LossCause::ENDS_OF_LINKS.len() + 1];
    let mut n = 0;
    while n < LossCause::ENDS_OF_LINKS.len() {
        all[n] = LossCause::ENDS_OF_LINKS[n];
        n += 1;
    }
    all
};

pub(super) fn link_end(cause: &LossCause) -> usize {
    let found = LossCause::ENDS_OF_LINKS.iter().position(|name| *name == cause.name());
    found.unwrap_or(LINK_ENDS.len() - 1)
}

/// What became of the session when a link opened.
pub(super) const SESSIONS: [&str; 3] = ["kept", "lost", "new"];

pub(super) const fn session(state: SessionState) -> usize {
    match state {
        SessionState::Kept => 0,
        SessionState::Lost(_) => 1,
        SessionState::New => 2,
    }
}

/// Where the time of an outage went, as [`rejoin_core::OutageBill`] has it.
pub(super) const PHASES: [&str; 6] = ["detect", "refused", "waited", "connect", "resubscribe", "drain"];

/// The QoS, where all three can be, and where there is an acknowledgement.
pub(super) const QOS: [&str; 3] = ["0", "1", "2"];
pub(super) const QOS_ACKED: [&str; 2] = ["1", "2"];

pub(super) const DUP: [&str; 2] = ["false", "true"];

/// Why an accepted message was not delivered.
pub(super) const FAILURES: [&str; 15] = [
    "refused",
    "expired",
    "dropped",
    "cancelled",
    "rejected",
    "too-large",
    "not-supported",
    "unknown",
    "parked",
    "superseded",
    "evicted",
    "unreadable",
    "stopped",
    "not-sent-again",
    "other",
];

pub(super) const EVICTED: usize = 10;
pub(super) const STOPPED: usize = 12;

/// `None`: it is safe in the queue on disk, which is no failure.
pub(super) const fn failure(why: &PublishError) -> Option<usize> {
    Some(match why {
        PublishError::StillQueued { .. } => return None,
        PublishError::Refused { .. } => 0,
        PublishError::Expired => 1,
        PublishError::Dropped => 2,
        PublishError::Cancelled => 3,
        PublishError::Rejected(_) => 4,
        PublishError::TooLarge { .. } => 5,
        PublishError::NotSupported(_) => 6,
        PublishError::Unknown { .. } => 7,
        PublishError::Parked { .. } => 8,
        PublishError::Superseded => 9,
        PublishError::Evicted => EVICTED,
        PublishError::Unreadable => 11,
        PublishError::Stopped { .. } => STOPPED,
        PublishError::NotSentAgain(_) => 13,
        _ => 14,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rejoin_core::Stage;

    #[test]
    fn names_are_those_that_events_and_states_use() {
        assert_eq!(Stage::ALL.map(Stage::name), STAGES);
        assert_eq!(LINK_ENDS.last(), Some(&"other"));
        assert_eq!(LINK_ENDS[link_end(&LossCause::PeerClosed)], "peer-closed");
        assert_eq!(LINK_ENDS[link_end(&LossCause::ClosedBeforeConnack)], "other");
    }

    #[test]
    fn each_failure_has_its_name() {
        let named = |why: PublishError| failure(&why).map(|index| FAILURES[index]);
        assert_eq!(named(PublishError::Expired), Some("expired"));
        assert_eq!(named(PublishError::Dropped), Some("dropped"));
        assert_eq!(named(PublishError::Cancelled), Some("cancelled"));
        assert_eq!(named(PublishError::TooLarge { size: 2, limit: 1 }), Some("too-large"));
        assert_eq!(named(PublishError::NotSupported("")), Some("not-supported"));
        let why = rejoin_core::Rejected::NotAvailable("");
        assert_eq!(named(PublishError::NotSentAgain(why)), Some("not-sent-again"));
        assert_eq!(named(PublishError::Unknown { released: true }), Some("unknown"));
        assert_eq!(named(PublishError::Parked { cuts: 1 }), Some("parked"));
        assert_eq!(named(PublishError::Superseded), Some("superseded"));
        assert_eq!(named(PublishError::Evicted), Some("evicted"));
        assert_eq!(named(PublishError::Unreadable), Some("unreadable"));
        assert_eq!(named(PublishError::Stopped { maybe_delivered: true }), Some("stopped"));
        assert_eq!(named(PublishError::StillQueued { maybe_delivered: true }), None);
    }
}
