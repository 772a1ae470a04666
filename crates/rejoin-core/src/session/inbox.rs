//! What the server sent and is owed an answer for, and the QoS 2 identifiers that must not be delivered twice.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::codec::packet::{Ack, Packet, PacketId, Publish, Qos};
use crate::codec::reason::ReasonCode;
use crate::event::MessageId;
use crate::interface::Ticket;
use crate::text::Text;

/// Answers owed and identifiers held.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    next: u64,
    /// QoS 1 messages of the present link, in order of arrival [MQTT-4.6.0-2].
    pubacks: VecDeque<Owed>,
    /// QoS 2 messages of the present link, in order of arrival [MQTT-4.6.0-3].
    pubrecs: VecDeque<Owed>,
    pubcomps: VecDeque<(PacketId, ReasonCode, Ticket)>,
    held: BTreeMap<PacketId, Held>,
    /// The application was given the message and has not taken it.
    untaken: BTreeMap<MessageId, PacketId>,
}

#[derive(Debug)]
struct Owed {
    message: MessageId,
    packet_id: PacketId,
    /// `None` while the application has not taken it.
    answer: Option<ReasonCode>,
    needs: Ticket,
}

/// A QoS 2 identifier between PUBLISH and PUBREL.
#[derive(Debug)]
struct Held {
    message: MessageId,
    /// PUBREC may be sent, or sent again.
    answered: bool,
    /// PUBREC was sent, so PUBREL may come.
    recorded: bool,
    /// It came on an earlier link. A server that still has the exchange sends it again with DUP [MQTT-3.3.1-1]; one
    /// that does not, because it came back with an older session, uses the identifier for another message.
    earlier: bool,
    /// What it was, to tell a copy without DUP from another message; `None` after a restart.
    content: Option<(Text, Bytes)>,
}

impl Held {
    /// Whether this PUBLISH is another message under the same identifier. Mosquitto, come back with an older
    /// session, sends what it already sent without DUP, so the flag alone does not tell.
    fn is_reused_by(&self, publish: &Publish) -> bool {
        let same = |(topic, payload): &(Text, Bytes)| *topic == publish.topic && *payload == publish.payload;
        self.earlier && !publish.dup && !self.content.as_ref().is_none_or(same)
    }
}

/// What to do with a PUBLISH that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Hand it over under this name.
    New(Option<MessageId>),
    /// A copy of a QoS 2 message that was handed over before.
    Copy,
}

/// An answer that leaves.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) packet: Packet,
    /// The server gets one back of its receive maximum.
    pub(crate) frees_window: bool,
}

impl Inbox {
    /// Answers the server waits for on this link.
    pub(crate) fn owed(&self) -> usize {
        self.pubacks.len() + self.pubrecs.len()
    }

    fn name(&mut self) -> MessageId {
        self.next += 1;
        MessageId(self.next)
    }

    /// A PUBLISH came. `answer_at_once`: the message is safe without the application (a durable inbox).
    pub(crate) fn publish(&mut self, publish: &Publish, answer_at_once: bool) -> Arrival {
        let Some(packet_id) = publish.packet_id else { return Arrival::New(None) };
        if publish.qos == Qos::AtLeastOnce {
            // After PUBACK the same identifier is a new message, whatever DUP says [MQTT-4.3.2-5].
            let message = self.name();
            self.pubacks.push_back(Owed { message, packet_id, answer: None, needs: Ticket::default() });
            return Arrival::New(Some(message));
        }
        if let Some(held) = self.held.get_mut(&packet_id) {
            if !held.is_reused_by(publish) {
                let (message, answered) = (held.message, held.answered);
                if !self.pubrecs.iter().any(|o| o.packet_id == packet_id) {
                    let answer = answered.then_some(ReasonCode::SUCCESS);
                    self.pubrecs.push_back(Owed { message, packet_id, answer, needs: Ticket::default() });
                }
                return Arrival::Copy; // [MQTT-4.3.3-10]
            }
            let old = held.message;
            self.untaken.remove(&old);
        }
        let message = self.name();
        let content = Some((publish.topic.clone(), publish.payload.clone()));
        let answered = answer_at_once;
        self.held.insert(packet_id, Held { message, answered, recorded: false, earlier: false, content });
        self.untaken.insert(message, packet_id);
        let answer = answer_at_once.then_some(ReasonCode::SUCCESS);
        self.pubrecs.push_back(Owed { message, packet_id, answer, needs: Ticket::default() });
        Arrival::New(Some(message))
    }

    /// The answer to the last QoS 2 message must wait for the store.
    pub(crate) fn last_needs(&mut self, ticket: Ticket) {
        if let Some(owed) = self.pubrecs.back_mut() {
            owed.needs = ticket;
        }
    }

    /// A message of an earlier process that the application never took.
    pub(crate) fn restore(&mut self, packet_id: PacketId, taken: bool) -> Option<MessageId> {
        let message = self.name();
        self.held.insert(
            packet_id,
            Held { message, answered: true, recorded: true, earlier: true, content: None },
        );
        if taken {
            return None;
        }
        self.untaken.insert(message, packet_id);
        Some(message)
    }

    /// The application took a message, or refused it with a code of 0x80 or above. Gives the QoS 2 identifier
    /// where there is one, and `Err` when the acknowledgement comes too late to mean anything.
    pub(crate) fn ack(&mut self, message: MessageId, reason: ReasonCode) -> Result<Option<PacketId>, ()> {
        if answer(&mut self.pubacks, message, reason) {
            return Ok(None);
        }
        let Some(packet_id) = self.untaken.remove(&message) else { return Err(()) };
        answer(&mut self.pubrecs, message, reason);
        match self.held.get_mut(&packet_id) {
            Some(held) if held.message == message => {
                held.answered = true;
                Ok(Some(packet_id))
            }
            _ => Err(()),
        }
    }

    /// PUBREL came. `known`: the identifier was held.
    pub(crate) fn pubrel(&mut self, packet_id: PacketId) -> bool {
        // A PUBREL may only follow our PUBREC; one that overtakes it would free an identifier we still owe.
        let recorded = self.held.get(&packet_id).is_some_and(|held| held.recorded);
        recorded && self.held.remove(&packet_id).is_some()
    }

    /// PUBCOMP is owed once `needs` is on the store.
    pub(crate) fn owe_pubcomp(&mut self, packet_id: PacketId, reason: ReasonCode, needs: Ticket) {
        self.pubcomps.push_back((packet_id, reason, needs));
    }

    /// The next answer that may leave.
    pub(crate) fn next_answer(&mut self, durable: Ticket) -> Option<Answer> {
        if let Some(Owed { packet_id, answer: Some(reason), .. }) = self.pubacks.front() {
            let packet = Packet::PubAck(Ack::new(*packet_id, *reason));
            self.pubacks.pop_front();
            return Some(Answer { packet, frees_window: true });
        }
        if let Some(Owed { packet_id, answer: Some(reason), needs, .. }) = self.pubrecs.front()
            && *needs <= durable
        {
            let (packet_id, reason) = (*packet_id, *reason);
            self.pubrecs.pop_front();
            if reason.is_error() {
                // The identifier is free and a later PUBLISH with it is new [MQTT-4.3.3-9].
                self.held.remove(&packet_id);
            } else if let Some(held) = self.held.get_mut(&packet_id) {
                held.recorded = true;
            }
            let packet = Packet::PubRec(Ack::new(packet_id, reason));
            return Some(Answer { packet, frees_window: reason.is_error() });
        }
        if let Some((packet_id, reason, needs)) = self.pubcomps.front().copied()
            && needs <= durable
        {
            self.pubcomps.pop_front();
            return Some(Answer { packet: Packet::PubComp(Ack::new(packet_id, reason)), frees_window: true });
        }
        None
    }

    /// The link is gone. QoS 1 answers die with it; QoS 2 identifiers live as long as the session.
    pub(crate) fn link_down(&mut self) {
        self.pubacks.clear();
        self.pubrecs.clear();
        self.pubcomps.clear();
        for held in self.held.values_mut() {
            held.earlier = true;
        }
    }

    /// The session is gone, and the server's identifiers with it.
    pub(crate) fn session_lost(&mut self) {
        self.link_down();
        self.held.clear();
        self.untaken.clear();
    }
}

fn answer(queue: &mut VecDeque<Owed>, message: MessageId, reason: ReasonCode) -> bool {
    // Names ascend in order of arrival; only a copy of an older message breaks that, and is rare.
    let at = queue
        .binary_search_by_key(&message, |o| o.message)
        .ok()
        .or_else(|| queue.iter().position(|o| o.message == message));
    match at.and_then(|at| queue.get_mut(at)) {
        Some(owed) if owed.answer.is_none() => {
            owed.answer = Some(reason);
            true
        }
        _ => false,
    }
}
