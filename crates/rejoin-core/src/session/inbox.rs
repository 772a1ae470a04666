//! What the server sent and is owed an answer for, and the QoS 2 identifiers that must not be delivered twice.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::codec::packet::{Ack, AckKind, PacketId, Publish, Qos};
use crate::codec::reason::ReasonCode;
use crate::config::LinkConfig;
use crate::event::{Message, MessageId};
use crate::held::HeldCounts;
use crate::interface::Ticket;
use crate::session::by_packet_id::ByPacketId;
use crate::session::{Digest, WasHeld};
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
    /// QoS 1 messages that the application had not taken when their link ended, or that may not be answered on the present
    /// one any more, by the identifier under which the server has to send them again.
    unanswered: BTreeMap<PacketId, MessageId>,
    /// The server counts its identifiers by itself, whatever ours are [MQTT-2.2.1-4].
    held: ByPacketId<Held>,
    /// The application was given the message and has not taken it. `None`: the identifier means nothing any more, and
    /// only the store still knows of the message. Names ascend.
    untaken: VecDeque<(MessageId, Option<PacketId>)>,
    /// How many of the answers owed nothing waits for.
    left: usize,
}

#[derive(Debug)]
struct Owed {
    message: MessageId,
    packet_id: PacketId,
    /// `None` while the application has not taken it.
    answer: Option<ReasonCode>,
    /// Nothing waits for it: see [`Inbox::leave`].
    left: bool,
    needs: Ticket,
}

/// A QoS 2 identifier between PUBLISH and PUBREL.
#[derive(Debug)]
struct Held {
    message: MessageId,
    /// What PUBREC says, or says again; `None` while the application has not taken it and no store has it.
    answer: Option<ReasonCode>,
    /// PUBREC was sent, so PUBREL may come.
    recorded: bool,
    /// A copy came behind it, so another is owed.
    owed_again: bool,
    /// Nobody is there to take it, so nothing waits for its answer.
    left: bool,
    /// It came on an earlier link, and not again on this one. A server that still has the exchange sends it again
    /// [MQTT-3.3.1-1]; one that does not, because it came back with an older session or began another one, uses the
    /// identifier for another message.
    earlier: bool,
    /// A session we cannot vouch for lies in between: the server may not know of it.
    doubtful: bool,
    /// What must be on the store before PUBREC leaves, on whatever link.
    needs: Ticket,
    /// What it was, to tell a copy from another message; `None` where an earlier process kept nothing of it.
    content: Option<Content>,
}

impl Held {
    /// Whether this PUBLISH is another message under the same identifier. Mosquitto, come back with an older
    /// session, sends what it already sent without DUP, so the flag alone does not tell; the content does.
    fn is_reused_by(&self, publish: &Publish) -> bool {
        self.earlier
            && !defect!(HeldTakenForCopy)
            && match &self.content {
                Some(content) => !content.is_of(publish),
                None => self.doubtful && !publish.dup,
            }
    }
}

/// What a message was that is held.
#[derive(Debug)]
pub(crate) enum Content {
    Whole(Text, Bytes),
    /// An earlier process took it, and nothing else of it was kept.
    Digest(Digest),
}

impl Content {
    fn of(publish: &Publish) -> Self {
        Self::Whole(publish.topic.text().clone(), publish.payload.clone())
    }

    fn is_of(&self, publish: &Publish) -> bool {
        match self {
            Self::Whole(topic, payload) => topic == publish.topic.text() && *payload == publish.payload,
            Self::Digest(digest) => *digest == Digest::of(&publish.topic, &publish.payload),
        }
    }

    fn digest(&self) -> Digest {
        match self {
            Self::Whole(topic, payload) => Digest::of(topic, payload),
            Self::Digest(digest) => *digest,
        }
    }
}

/// A message that the application took or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Nobody keeps anything of it.
    AtQos1,
    /// A store may keep it. Under this identifier it is held, if at all.
    AtQos2(Option<PacketId>),
}

/// What to do with a PUBLISH that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Hand it over.
    New {
        /// Under this name.
        id: Option<MessageId>,
        /// The identifier belonged to this message until now.
        instead_of: Option<MessageId>,
        /// The server sends this one again: it came on an earlier link, and its answer was lost or never given; or it was
        /// left.
        again: Option<MessageId>,
    },
    /// A copy of a message that was handed over before: of QoS 2, or of QoS 1 before its PUBACK.
    Copy,
}

/// An answer that leaves.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) kind: AckKind,
    pub(crate) ack: Ack,
    /// The server gets one back of its receive maximum.
    pub(crate) frees_window: bool,
    /// The identifier of this QoS 2 message is free by this answer.
    pub(crate) frees: Option<MessageId>,
}

impl Inbox {
    /// Answers the server waits for on this link, without those that nothing here waits for.
    pub(crate) fn owed(&self) -> usize {
        self.pubacks.len() + self.pubrecs.len() - self.left
    }

    /// Whether the application has so many messages it has not taken that the server may be at the end of what it may send;
    /// `window` is what we allow it. One of many that is never taken says nothing of the server.
    pub(crate) fn awaits_application(&self, window: u16) -> bool {
        // What is answered waits for what came before it; at QoS 2 it may also wait for the store, which is not meant.
        let from_first_open = |queue: &VecDeque<Owed>| {
            queue.iter().position(|owed| owed.answer.is_none()).map_or(0, |first| queue.len() - first)
        };
        let unanswered = from_first_open(&self.pubacks) + from_first_open(&self.pubrecs);
        // What is left may stay for good: it counts only where there is no room beside it.
        unanswered.saturating_sub(self.left) >= usize::from(window.min(LinkConfig::SMALL_WINDOW))
            || unanswered >= usize::from(window)
    }

    /// See [`crate::Engine::rest`].
    pub(crate) fn rest(&mut self) {
        if self.pubacks.is_empty() {
            self.pubacks.shrink_to_fit();
        }
        if self.pubrecs.is_empty() {
            self.pubrecs.shrink_to_fit();
        }
        if self.pubcomps.is_empty() {
            self.pubcomps.shrink_to_fit();
        }
        if self.held.len() == 0 {
            self.held.clear();
        }
        if self.untaken.is_empty() {
            self.untaken.shrink_to_fit();
        }
    }

    /// See [`HeldCounts`].
    pub(crate) fn count(&self, held: &mut HeldCounts) {
        held.answers_owed = self.pubacks.len() + self.pubrecs.len() + self.pubcomps.len();
        held.ids_held = self.held.len();
        held.untaken = self.untaken.len();
    }

    fn name(&mut self) -> MessageId {
        self.next += 1;
        MessageId(self.next)
    }

    /// A PUBLISH came; its QoS says what is owed for it, wanted or not [MQTT-3.3.4-1] [MQTT-4.5.0-2] [MQTT-3.10.4-3]
    /// [MQTT-3.3.4-5]. `stored`: a store keeps QoS 2 messages, so they are safe without the application; `most_untaken`
    /// bounds how many of them wait for it.
    pub(crate) fn publish(&mut self, publish: &Publish, stored: bool, most_untaken: usize) -> Arrival {
        let Some(packet_id) = publish.packet_id else {
            return Arrival::New { id: None, instead_of: None, again: None };
        };
        if publish.qos == Qos::AtLeastOnce {
            return self.publish_at_qos_1(publish, packet_id, stored);
        }
        let mut instead_of = None;
        if let Some(held) = self.held.get_mut(packet_id) {
            if !held.is_reused_by(publish) {
                held.earlier = false;
                // At hand again, for the next comparison and for a flight.
                if let Some(content @ Content::Digest(_)) = &mut held.content {
                    *content = Content::of(publish);
                }
                let (message, answer) = (held.message, held.answer);
                let needs = if defect!(PubrecAgainBeforeDurable) { Ticket::default() } else { held.needs };
                if !self.pubrecs.iter().any(|o| o.packet_id == packet_id) {
                    held.owed_again = held.recorded;
                    let left = held.left && answer.is_none();
                    self.left += usize::from(left);
                    self.pubrecs.push_back(Owed { message, packet_id, answer, left, needs });
                    self.pass_left();
                }
                return Arrival::Copy; // [MQTT-4.3.3-10]
            }
            let old = held.message;
            instead_of = Some(old);
            self.orphan(old, stored);
        }
        let message = self.name();
        let content = Some(Content::of(publish));
        let answer_at_once = stored && self.untaken.len() < most_untaken || defect!(PubrecBeforeTaken);
        let answer = answer_at_once.then_some(ReasonCode::SUCCESS);
        let needs = Ticket::default();
        self.held.insert(
            packet_id,
            Held {
                message,
                answer,
                recorded: false,
                owed_again: false,
                left: false,
                earlier: false,
                doubtful: false,
                needs,
                content,
            },
        );
        self.untaken.push_back((message, Some(packet_id)));
        self.pubrecs.push_back(Owed { message, packet_id, answer, left: false, needs });
        if answer_at_once {
            self.pass_left();
        }
        Arrival::New { id: Some(message), instead_of, again: None }
    }

    /// After PUBACK the same identifier is a new message, whatever DUP says [MQTT-4.3.2-5]. Before it a copy is the same
    /// one, and a second PUBACK might confirm the next message under the identifier.
    fn publish_at_qos_1(&mut self, publish: &Publish, packet_id: PacketId, stored: bool) -> Arrival {
        let mut left = None;
        if let Some(at) = self.owed_under(publish) {
            if !self.pubacks[at].left {
                return Arrival::Copy;
            }
            // Nobody had it, so the copy takes its place.
            left = self.pubacks.remove(at).map(|owed| owed.message);
            self.left -= 1;
        }
        let message = self.name();
        self.pubacks.push_back(Owed {
            message,
            packet_id,
            answer: defect!(PubackBeforeTaken).then_some(ReasonCode::SUCCESS),
            left: false,
            needs: Ticket::default(),
        });
        // Without DUP the identifier has a new meaning.
        let again = self.unanswered.remove(&packet_id).filter(|_| publish.dup).or(left);
        let instead_of = self.end_of_exchange_under(packet_id, stored);
        Arrival::New { id: Some(message), instead_of, again }
    }

    /// Whether this PUBLISH is a copy of one that came on this link and is not over: some servers send what is not answered
    /// again on a live link. It is no further message under way.
    #[inline]
    pub(crate) fn is_under_way(&self, publish: &Publish) -> bool {
        match publish.qos {
            Qos::AtMostOnce => false,
            Qos::AtLeastOnce => self.owed_under(publish).is_some(),
            Qos::ExactlyOnce => {
                publish.packet_id.and_then(|id| self.held.get(id)).is_some_and(|held| !held.earlier)
            }
        }
    }

    /// The place of the QoS 1 message that this one is a copy of. Copies are rare, so a search will do.
    fn owed_under(&self, publish: &Publish) -> Option<usize> {
        if !publish.dup || defect!(CopyAnsweredApart) {
            return None;
        }
        self.pubacks.iter().position(|owed| Some(owed.packet_id) == publish.packet_id)
    }

    /// The server uses an identifier for a message of QoS 1, so it has no QoS 2 exchange under it: one of an earlier link,
    /// of a session that ended or was replaced without our knowledge, will never be released. Held for ever it would
    /// make a later message of the same content a copy.
    fn end_of_exchange_under(&mut self, packet_id: PacketId, stored: bool) -> Option<MessageId> {
        let held = self.held.get_mut(packet_id)?;
        if !held.earlier || defect!(HeldThoughReused) {
            return None;
        }
        let message = self.held.remove(packet_id)?.message;
        self.orphan(message, stored);
        Some(message)
    }

    /// The identifier of a message means nothing any more. A store still has to hear when the application took it.
    fn orphan(&mut self, message: MessageId, stored: bool) {
        let Ok(at) = self.find_untaken(message) else { return };
        if stored {
            self.untaken[at].1 = None;
        } else {
            self.untaken.remove(at);
        }
    }

    /// Where it is among the messages the application has not taken, or where it would be.
    fn find_untaken(&self, message: MessageId) -> Result<usize, usize> {
        let guess = guess(self.untaken.front().map(|(first, _)| *first), message);
        match self.untaken.get(guess) {
            Some((untaken, _)) if *untaken == message => Ok(guess),
            _ => self.untaken.binary_search_by_key(&message, |(untaken, _)| *untaken),
        }
    }

    /// The answer to the last QoS 2 message must wait for the store.
    pub(crate) fn last_needs(&mut self, ticket: Ticket) {
        if let Some(owed) = self.pubrecs.back_mut() {
            owed.needs = ticket;
            if let Some(held) = self.held.get_mut(owed.packet_id) {
                held.needs = ticket;
            }
        }
    }

    /// The store takes nothing more: of what it has not reported up to here, the application alone keeps the messages.
    pub(crate) fn store_lost(&mut self, durable: Ticket) {
        if defect!(PubrecBeforeTakenInMemory) {
            return;
        }
        let untaken = &self.untaken;
        let is_untaken = |message| untaken.binary_search_by_key(&message, |(id, _)| *id).is_ok();
        for owed in self.pubrecs.iter_mut() {
            if owed.needs > durable && is_untaken(owed.message) {
                owed.answer = None;
            }
        }
        for held in self.held.values_mut() {
            if held.needs > durable && is_untaken(held.message) {
                held.answer = None;
            }
        }
    }

    /// The store will have no more than up to here, so what needs more is not answered in this process: on this link it is
    /// owed no longer, as what [`Inbox::leave`] is about.
    pub(crate) fn drop_unanswerable(&mut self, durable: Ticket) {
        self.pubrecs.retain(|owed| owed.answer.is_none() || owed.needs <= durable || owed.left);
    }

    /// Names of new messages begin behind `last`.
    pub(crate) fn begin_behind(&mut self, last: MessageId) {
        self.next = self.next.max(last.0);
    }

    /// A message of an earlier process.
    pub(crate) fn restore(&mut self, was: &WasHeld) {
        let (message, packet_id, taken) = (was.id, was.packet_id, was.message.is_none());
        let digest = was.digest.filter(|_| !defect!(HeldDigestForgotten)).map(Content::Digest);
        let whole = |m: &Message| Content::Whole(m.topic.clone(), m.payload.clone());
        let content = was.message.as_ref().map(whole).or(digest);
        if let Some(packet_id) = packet_id.filter(|_| !defect!(InboundIdsForgottenOnRestart)) {
            let needs = Ticket::default();
            let held = Held {
                message,
                // Why it was refused, if it was, is not on the store: who refused it had it, as who took it.
                answer: Some(ReasonCode::SUCCESS),
                recorded: true,
                owed_again: false,
                left: false,
                earlier: true,
                doubtful: false,
                needs,
                content,
            };
            self.held.insert(packet_id, held);
        }
        if !taken && let Err(at) = self.find_untaken(message) {
            self.untaken.insert(at, (message, packet_id));
        }
    }

    /// The application took a message [MQTT-4.3.2-4] [MQTT-4.3.3-8], or refused it with a code of 0x80 or above. `Err`: the
    /// acknowledgement comes too late to mean anything.
    pub(crate) fn ack(&mut self, message: MessageId, reason: ReasonCode) -> Result<Taken, ()> {
        if answer(&mut self.pubacks, message, reason) {
            self.pass_left();
            return Ok(Taken::AtQos1);
        }
        let found = self.find_untaken(message).ok().and_then(|at| self.untaken.remove(at));
        let Some((_, packet_id)) = found else { return Err(()) };
        let Some(held_under) = packet_id else { return Ok(Taken::AtQos2(None)) };
        answer(&mut self.pubrecs, message, reason);
        self.pass_left();
        if let Some(held) = self.held.get_mut(held_under)
            && held.message == message
        {
            // What was said once stands.
            held.answer.get_or_insert(reason);
        }
        Ok(Taken::AtQos2(packet_id))
    }

    /// What is known of a message, if it is held under this identifier. `Some(None)`: it is held, and nothing is known.
    pub(crate) fn content(&self, packet_id: PacketId, message: MessageId) -> Option<Option<&Content>> {
        let held = self.held.get(packet_id).filter(|held| held.message == message)?;
        Some(held.content.as_ref())
    }

    /// What a store keeps of a message that was taken, as long as it is held under this identifier.
    pub(crate) fn digest(&self, packet_id: PacketId, message: MessageId) -> Option<Digest> {
        self.content(packet_id, message)?.map(Content::digest)
    }

    /// Nobody is there to take a message, and it is not known when somebody will be: what came behind it does not wait for
    /// it. It is still answered if it is taken before something behind it is. If not, it is not answered on this link,
    /// because what is sent keeps the order of what came [MQTT-4.6.0-2] [MQTT-4.6.0-3]; and only who accepted a message
    /// owes an answer [MQTT-4.3.2-4] [MQTT-4.3.3-8]. The server sends it again on the next link.
    pub(crate) fn leave(&mut self, message: MessageId) {
        for queue in [&mut self.pubacks, &mut self.pubrecs] {
            if let Some(owed) = place(queue, message).and_then(|at| queue.get_mut(at))
                && owed.answer.is_none()
            {
                self.left += usize::from(!owed.left);
                owed.left = true;
            }
        }
        if let Some(packet_id) = self.untaken_under(message)
            && let Some(held) = self.held.get_mut(packet_id)
            && held.message == message
        {
            held.left = true;
        }
        self.pass_left();
    }

    /// The same of a message that nobody keeps either: the copy that comes is a new one. Gives its QoS, or `None` where
    /// that would lose it, because it was answered or is not owed an answer.
    pub(crate) fn forget(&mut self, message: MessageId) -> Option<Qos> {
        if place(&self.pubacks, message).is_some() {
            return remove_open(&mut self.pubacks, message, &mut self.left).then_some(Qos::AtLeastOnce);
        }
        let packet_id = self.untaken_under(message)?;
        self.held.get_mut(packet_id).filter(|held| {
            held.message == message && (held.answer.is_none() || defect!(AnsweredForgotten))
        })?;
        self.held.remove(packet_id);
        self.orphan(message, false);
        remove_open(&mut self.pubrecs, message, &mut self.left);
        Some(Qos::ExactlyOnce)
    }

    /// The identifier of a message the application has not taken.
    fn untaken_under(&self, message: MessageId) -> Option<PacketId> {
        self.untaken[self.find_untaken(message).ok()?].1
    }

    /// After something was answered: what is left and has an answer is left no more, and what is left before an answer is
    /// not answered any more.
    #[inline]
    fn pass_left(&mut self) {
        if self.left > 0 {
            self.pass_what_is_left();
        }
    }

    #[cold]
    fn pass_what_is_left(&mut self) {
        for (queue, mut unanswered) in
            [(&mut self.pubacks, Some(&mut self.unanswered)), (&mut self.pubrecs, None)]
        {
            for owed in queue.iter_mut().filter(|owed| owed.left && owed.answer.is_some()) {
                owed.left = false;
                self.left -= 1;
            }
            if defect!(LeftAnsweredLate) {
                queue.make_contiguous().sort_by_key(|owed| owed.answer.is_none());
            }
            let Some(answered) = queue.iter().rposition(|owed| owed.answer.is_some()) else { continue };
            let (before, mut place) = (queue.len(), 0..);
            queue.retain(|owed| {
                let stays = place.next().is_some_and(|at| at > answered) || !owed.left;
                if let (false, Some(unanswered)) = (stays, &mut unanswered) {
                    unanswered.insert(owed.packet_id, owed.message);
                }
                stays
            });
            self.left -= before - queue.len();
        }
    }

    /// PUBREL came. Gives the message whose identifier was held and is free now.
    pub(crate) fn pubrel(&mut self, packet_id: PacketId, stored: bool) -> Option<MessageId> {
        // A PUBREL may only follow our PUBREC; one that overtakes it would free an identifier we still owe.
        self.held.get_mut(packet_id).filter(|held| held.recorded)?;
        // [MQTT-4.3.3-12]
        let Held { message, owed_again, .. } = self.held.remove(packet_id)?;
        if owed_again {
            // The server has one PUBREC already. After our PUBCOMP another would confirm the next message under the
            // identifier, which nobody has.
            self.pubrecs.retain(|owed| owed.message != message);
        }
        self.orphan(message, stored);
        Some(message)
    }

    /// PUBCOMP is owed once `needs` is on the store.
    pub(crate) fn owe_pubcomp(&mut self, packet_id: PacketId, reason: ReasonCode, needs: Ticket) {
        self.pubcomps.push_back((packet_id, reason, needs));
    }

    /// The next answer that may leave, under the identifier of what it answers [MQTT-2.2.1-5]. None carries text, so none
    /// passes a limit [MQTT-3.4.2-2] [MQTT-3.4.2-3] [MQTT-3.5.2-2] [MQTT-3.5.2-3] [MQTT-3.7.2-2] [MQTT-3.7.2-3].
    pub(crate) fn next_answer(&mut self, durable: Ticket, can_refuse: bool) -> Option<Answer> {
        // 3.1.1 has no word for a refusal, and what is not answered would hold up all that follows.
        let as_said = |reason| if can_refuse { reason } else { ReasonCode::SUCCESS };
        if let Some(Owed { packet_id, answer: Some(reason), .. }) = self.pubacks.front() {
            let ack = Ack::new(*packet_id, as_said(*reason));
            self.pubacks.pop_front();
            return Some(Answer { kind: AckKind::PubAck, ack, frees_window: true, frees: None });
        }
        if let Some(Owed { packet_id, answer: Some(reason), needs, .. }) = self.pubrecs.front()
            && *needs <= durable
        {
            let (packet_id, reason) = (*packet_id, as_said(*reason));
            self.pubrecs.pop_front();
            let mut frees = None;
            if reason.is_error() {
                // The identifier is free and a later PUBLISH with it is new [MQTT-4.3.3-9].
                frees = self.held.remove(packet_id).map(|held| held.message);
            } else if let Some(held) = self.held.get_mut(packet_id) {
                held.recorded = true;
            }
            let (kind, ack) = (AckKind::PubRec, Ack::new(packet_id, reason));
            return Some(Answer { kind, ack, frees_window: reason.is_error(), frees });
        }
        if let Some((packet_id, reason, needs)) = self.pubcomps.front().copied()
            && needs <= durable
        {
            self.pubcomps.pop_front();
            let (kind, ack) = (AckKind::PubComp, Ack::new(packet_id, reason));
            return Some(Answer { kind, ack, frees_window: true, frees: None });
        }
        None
    }

    /// The server has the session, and it may be another life of it.
    pub(crate) fn doubt(&mut self) {
        self.held.values_mut().for_each(|held| held.doubtful = true);
    }

    /// Whether an identifier is held that may mean nothing to the server.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.held.values().any(|held| held.doubtful)
    }

    /// The link is gone. QoS 1 answers die with it; QoS 2 identifiers live as long as the session.
    pub(crate) fn link_down(&mut self) {
        if defect!(InboundIdsForgotten) {
            self.held.clear();
        }
        let unanswered = self.pubacks.iter().filter(|owed| owed.answer.is_none());
        self.unanswered.extend(unanswered.map(|owed| (owed.packet_id, owed.message)));
        if !defect!(StaleAckSent) {
            self.pubacks.clear();
        }
        self.pubrecs.clear();
        self.pubcomps.clear();
        self.left = self.pubacks.iter().filter(|owed| owed.left).count();
        for held in self.held.values_mut() {
            held.earlier = true;
            held.owed_again = false;
        }
    }

    /// The session is gone, and the server's identifiers with it.
    pub(crate) fn session_lost(&mut self, stored: bool) {
        self.link_down();
        self.unanswered.clear();
        self.held.clear();
        if stored {
            self.untaken.iter_mut().for_each(|(_, packet_id)| *packet_id = None);
        } else {
            self.untaken.clear();
        }
    }
}

/// Where a message is among names that ascend, if none of another QoS came in between: as far from the first as its name
/// is.
fn guess(first: Option<MessageId>, message: MessageId) -> usize {
    first.map_or(0, |first| message.0.wrapping_sub(first.0) as usize)
}

fn place(queue: &VecDeque<Owed>, message: MessageId) -> Option<usize> {
    let guess = guess(queue.front().map(|first| first.message), message);
    match queue.get(guess) {
        Some(owed) if owed.message == message => Some(guess),
        // Names ascend in order of arrival; only a copy of an older message breaks that, and is rare.
        _ => queue
            .binary_search_by_key(&message, |o| o.message)
            .ok()
            .or_else(|| queue.iter().position(|o| o.message == message)),
    }
}

fn answer(queue: &mut VecDeque<Owed>, message: MessageId, reason: ReasonCode) -> bool {
    match place(queue, message).and_then(|at| queue.get_mut(at)) {
        Some(owed) if owed.answer.is_none() => {
            owed.answer = Some(reason);
            true
        }
        _ => false,
    }
}

/// Takes an answer out that was not given. False where it was.
fn remove_open(queue: &mut VecDeque<Owed>, message: MessageId, left: &mut usize) -> bool {
    let Some(at) = place(queue, message).filter(|at| queue[*at].answer.is_none()) else { return false };
    *left -= queue.remove(at).map_or(0, |owed| usize::from(owed.left));
    true
}
