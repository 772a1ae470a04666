//! A server that overruns what we announced is told so and left, and no other is (O10).

use std::collections::BTreeSet;

use rejoin_core::codec::encoded_len;
use rejoin_core::codec::packet::{Packet, PacketId, Qos};
use rejoin_core::{Event, LinkConfig, LossCause, ReasonCode, Verdict, Version};

use super::Alarm;
use crate::sim::marks::Marks;
use crate::sim::overrun::is_code_of_overrun;
use crate::sim::world::Ruling;

/// Counts for itself, at the client's end of the wire.
#[derive(Debug)]
pub(super) struct Overruns {
    receive_maximum: i64,
    packet_size: usize,
    aliases: u16,
    /// Messages of the server without an answer of ours on this link; a release of an earlier one counts as well.
    unanswered: i64,
    /// The identifiers of those that came on this link: a copy is no further one.
    under_way: BTreeSet<PacketId>,
    /// The limit it overran first on this link.
    overrun: Option<ReasonCode>,
    /// What DISCONNECT said on this link.
    said: Option<ReasonCode>,
    /// Too large a packet was sent on this link, and it may not have come completely.
    large: bool,
    /// At 3.1.1, too large packets that came, in this process.
    skipped: u64,
}

impl Overruns {
    pub(super) fn new(link: &LinkConfig) -> Self {
        Self {
            receive_maximum: i64::from(link.receive_maximum) + i64::from(link.receive_overrun),
            packet_size: link.maximum_packet_size as usize,
            aliases: link.topic_alias_maximum,
            unanswered: 0,
            under_way: BTreeSet::new(),
            overrun: None,
            said: None,
            large: false,
            skipped: 0,
        }
    }

    pub(super) fn opened(&mut self) {
        self.unanswered = 0;
        self.under_way.clear();
        self.overrun = None;
        self.said = None;
        self.large = false;
    }

    pub(super) const fn new_process(&mut self) {
        self.skipped = 0;
    }

    /// The broker sent too large a packet; the first bytes of it may be all that comes.
    pub(super) const fn sent_large(&mut self) {
        self.large = true;
    }

    /// Whether this packet is answered unseen.
    pub(super) fn skips(&self, packet: &Packet, version: Version) -> bool {
        version == Version::V311 && encoded_len(packet, version) > self.packet_size
    }

    /// A packet of the server reached the client.
    pub(super) fn receives(&mut self, packet: &Packet, version: Version) {
        let Packet::Publish(publish) = packet else { return };
        if self.skips(packet, version) {
            self.skipped += 1;
            return;
        }
        if encoded_len(packet, version) > self.packet_size {
            self.overrun.get_or_insert(ReasonCode::PACKET_TOO_LARGE);
            return;
        }
        if version == Version::V311 {
            return;
        }
        let alias = publish.properties.as_ref().and_then(|properties| properties.topic_alias);
        if alias.is_some_and(|alias| alias.get() > self.aliases) {
            self.overrun.get_or_insert(ReasonCode::TOPIC_ALIAS_INVALID);
        }
        let Some(id) = publish.packet_id else { return };
        // At QoS 1 only DUP tells a copy from a new message.
        if !self.under_way.insert(id) && (publish.dup || publish.qos == Qos::ExactlyOnce) {
            return;
        }
        self.unanswered += 1;
        if self.unanswered > self.receive_maximum {
            self.overrun.get_or_insert(ReasonCode::RECEIVE_MAXIMUM_EXCEEDED);
        }
    }

    /// A packet of the client leaves.
    pub(super) fn answers(&mut self, packet: &Packet) {
        match packet {
            Packet::PubAck(ack) | Packet::PubComp(ack) => self.answered(ack.packet_id),
            Packet::PubRec(ack) if ack.reason.is_error() => self.answered(ack.packet_id),
            Packet::Disconnect(disconnect) => self.said = Some(disconnect.reason),
            _ => {}
        }
    }

    fn answered(&mut self, id: PacketId) {
        self.unanswered -= 1;
        self.under_way.remove(&id);
    }

    /// The client took what came. `oversized`: what it counted at 3.1.1 and above.
    pub(super) fn is_noticed(&self, is_up: bool, oversized: u64) -> Ruling {
        if let (Some(reason), true) = (self.overrun, is_up) {
            return Err(Alarm::new("O10", format!("{reason:?} is right, and the link goes on")));
        }
        if oversized < self.skipped {
            let what = format!("{} packets were too large, {oversized} are counted", self.skipped);
            return Err(Alarm::new("O10", what));
        }
        Ok(())
    }

    /// The client tells of the end of its link: the code is the right one, was said, and is no reason not to come back.
    pub(super) fn event(&self, event: &Event, version: Version, marks: &mut Marks) -> Ruling {
        if let Event::Oversized { .. } = event {
            marks.hit("overrun noticed: packet size at 3.1.1");
        }
        let Event::Closed { cause: LossCause::Protocol(error), verdict, .. } = event else { return Ok(()) };
        let reason = error.reason;
        if !is_code_of_overrun(reason) {
            return Ok(());
        }
        let is_true = self.overrun == Some(reason) || reason == ReasonCode::PACKET_TOO_LARGE && self.large;
        if !is_true {
            let what = format!("the server is accused of {reason:?}, it did {:?}", self.overrun);
            return Err(Alarm::new("O10", what));
        }
        if version == Version::V5 && self.said != Some(reason) {
            return Err(Alarm::new("O10", format!("DISCONNECT said {:?}, {reason:?} is right", self.said)));
        }
        let comes_back =
            matches!(verdict, Verdict::Now | Verdict::Spread | Verdict::Overloaded | Verdict::Credentials);
        if !comes_back {
            return Err(Alarm::new("O10", format!("{verdict:?} after {reason:?} of the server")));
        }
        marks.hit(match reason {
            ReasonCode::RECEIVE_MAXIMUM_EXCEEDED => "overrun noticed: receive maximum",
            ReasonCode::PACKET_TOO_LARGE => "overrun noticed: packet size",
            _ => "overrun noticed: topic alias",
        });
        Ok(())
    }
}
