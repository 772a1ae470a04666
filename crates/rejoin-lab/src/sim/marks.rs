//! Places a soak must have been to: a simulation that never goes there proves nothing about them.

use std::collections::BTreeMap;

/// Situations seen, with how often.
#[derive(Clone, Debug, Default)]
pub struct Marks(BTreeMap<&'static str, u64>);

impl Marks {
    pub(super) fn hit(&mut self, mark: &'static str) {
        *self.0.entry(mark).or_default() += 1;
    }

    /// Adds what another run saw.
    pub fn add(&mut self, other: &Self) {
        for (mark, count) in &other.0 {
            *self.0.entry(mark).or_default() += count;
        }
    }

    /// What was seen, with how often.
    pub fn seen(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().map(|(mark, count)| (*mark, *count))
    }

    /// What a soak must hit and these did not.
    pub fn missing(&self) -> Vec<&'static str> {
        let faults = super::faults::FaultKind::ALL.into_iter().map(super::faults::FaultKind::name);
        MUST.into_iter().chain(faults).filter(|mark| !self.0.contains_key(mark)).collect()
    }

    /// How many a soak must hit.
    pub fn wanted() -> usize {
        MUST.len() + super::faults::FaultKind::ALL.len()
    }
}

/// Besides one mark for each kind of fault.
const MUST: [&str; 97] = [
    "answer: sent",
    "answer: delivered, perhaps twice",
    "answer: delivered after a refusal",
    "answer: delivered",
    "answer: refused",
    "answer: expired",
    "answer: dropped",
    "answer: too large",
    "answer: not supported",
    "answer: unknown, released",
    "answer: unknown",
    "answer: parked",
    "answer: cancelled",
    "answer: superseded",
    "answer: evicted",
    "answer: stopped",
    "verdict now",
    "verdict spread",
    "verdict absent",
    "verdict overloaded",
    "verdict adapt",
    "verdict quarantine",
    "verdict takeover",
    "verdict banned",
    "verdict administrative",
    "verdict unauthorized",
    "verdict slow-lane",
    "lost: connection-refused",
    "lost: connect-timeout",
    "lost: connack-timeout",
    "lost: closed-before-connack",
    "lost: refused",
    "lost: peer-closed",
    "lost: reset",
    "lost: server-disconnect",
    "lost: ping-timeout",
    "lost: write-stall",
    "lost: ack-timeout",
    "lost: protocol-error",
    "lost: restart",
    "lost: foreign-session",
    "lost: renewal",
    "lost: name-not-found",
    "lost: resolver-failed",
    "lost: unreachable",
    "lost: out-of-resources",
    "lost: certificate-not-accepted",
    "lost: client-certificate-refused",
    "lost: handshake-failed",
    "lost: unauthorized",
    "lost: proxy-failed",
    "opening: handshakes",
    "verdict untrusted",
    "verdict redirected",
    "verdict credentials",
    "overrun noticed: receive maximum",
    "overrun noticed: packet size",
    "overrun noticed: packet size at 3.1.1",
    "overrun noticed: topic alias",
    "store lost, going on in memory",
    "store lost, refusing",
    "no new credentials at first",
    "packed messages unpacked",
    "QoS 2 taken as QoS 1",
    "QoS 2 sent as QoS 1",
    "QoS 2 begun anew as QoS 1",
    "QoS 2 sent again as QoS 1",
    "PUBLISH comes again on its link",
    "topic alias in place of a topic, to the broker",
    "session new",
    "session kept",
    "session lost",
    "session begun at another server",
    "client id chosen by the server",
    "held by budget",
    "suspect and trusted again",
    "undecided",
    "fell back to 3.1.1",
    "conflict named",
    "PUBLISH resent after a crash",
    "PUBREL resent after a crash",
    "PUBREL resent",
    "PUBLISH resent with DUP",
    "body loaded from the store",
    "message told again after a crash",
    "subscription refused",
    "late acknowledgement of the application",
    "message left for later",
    "message left to the broker",
    "recovered",
    "challenged",
    "proved on an open link",
    "challenge not answered",
    "challenge answered wrongly",
    "right answer refused",
    "content before the answer",
    "AUTH withheld",
];
