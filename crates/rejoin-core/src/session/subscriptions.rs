//! What the application wants to receive, and what the broker has granted on the present link.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::codec::encoded_len;
use crate::codec::packet::{Packet, PacketId, Qos, RetainHandling, SubAck, Subscribe, Unsubscribe, Version};
use crate::codec::reason::ReasonCode;
use crate::error::{ProtocolError, Rejected};
use crate::event::{SubscribeRequest, SubscribeResult, SubscriptionId};
use crate::held::HeldCounts;
use crate::session::earlier;
use crate::text::Text;
use crate::time::Timestamp;

/// Filters in one packet where they may share one. Keeps a SUBSCRIBE of long filters within common limits.
const FILTERS_PER_PACKET: usize = 64;

/// Fixed header, packet identifier and no properties, in bytes, at most.
const HEAD_SIZE_MOST: usize = 11;

/// What the server offers on this link; the engine copies it from the agreement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    pub(crate) wildcard: bool,
    pub(crate) shared: bool,
    pub(crate) subscription_ids: bool,
    /// 5.0 is spoken: codes of SUBACK tell a passing refusal from a final one.
    pub(crate) v5: bool,
    /// The server said it has the session: retained messages are wanted only for what is new to it.
    pub(crate) session_present: bool,
    /// Bytes of the largest packet the server takes; `None` is the limit of the protocol.
    pub(crate) packet_size_max: Option<u32>,
}

impl Offer {
    /// Whether a packet stays within the server's limit with this filter behind those it holds already
    /// [MQTT-3.2.2-15]. `size` counts them.
    fn has_room(self, size: usize) -> bool {
        self.packet_size_max.is_none_or(|max| size as u64 <= u64::from(max))
    }

    /// Whether an UNSUBSCRIBE for this filter alone can be sent.
    fn has_room_to_end(self, filter: &Text) -> bool {
        let packet = Packet::Unsubscribe(Unsubscribe {
            packet_id: PacketId::MAX,
            user_properties: Vec::new(),
            filters: vec![filter.clone()],
        });
        self.has_room(encoded_len(&packet, if self.v5 { Version::V5 } else { Version::V311 }))
    }

    /// Why not even a packet for this filter alone can be sent.
    fn too_large(self, request: &SubscribeRequest) -> Option<Rejected> {
        let limit = u64::from(self.packet_size_max?);
        let packet = Packet::Subscribe(Subscribe {
            packet_id: PacketId::MAX,
            subscription_id: self.subscription_ids.then_some(request.id.0),
            user_properties: request.user_properties.clone(),
            filters: vec![(request.filter.text().clone(), request.options)],
        });
        let size = encoded_len(&packet, if self.v5 { Version::V5 } else { Version::V311 }) as u64;
        (size > limit).then_some(Rejected::TooLarge { size, limit })
    }
}

#[derive(Debug)]
struct Wish {
    request: SubscribeRequest,
    state: Wanted,
    /// It was granted before, so retained messages were sent before.
    was_granted: bool,
    refusals: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Unasked,
    Asked,
    Granted,
    /// Refused; `Some`: asked again then. Else on the next link.
    Refused(Option<Timestamp>),
    /// Refused for good by evidence: the broker cut the link over it.
    Barred,
}

#[derive(Debug)]
struct Leaving {
    id: SubscriptionId,
    filter: Text,
    /// The server has it, as far as we know.
    was_granted: bool,
    asked: bool,
}

/// In the place of a wish that was replaced after it was asked for; no wish is called so [u5-3.8.2.1.2].
const NOBODY: SubscriptionId = SubscriptionId(0);

#[derive(Debug)]
enum Pending {
    Subscribe(Vec<SubscriptionId>),
    Unsubscribe(Vec<SubscriptionId>),
}

/// All wishes. They belong to the application and survive every link and session.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    wishes: BTreeMap<SubscriptionId, Wish>,
    leaving: Vec<Leaving>,
    pending: BTreeMap<PacketId, Pending>,
    tally: Tally,
    /// Ask for one filter at a time, until all were answered: the broker cut the link over one of several.
    singly: bool,
}

/// The wishes by their state, counted when one changes: each turn asks, and there may be thousands.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    unasked: usize,
    asked: usize,
    granted: usize,
    /// When the first refused wish is asked for again.
    redo_at: Option<Timestamp>,
}

/// How the broker answered one wish.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SubscriptionAnswer {
    Subscribed(SubscriptionId, SubscribeResult),
    Unsubscribed(SubscriptionId, ReasonCode),
}

impl Subscriptions {
    /// Adds or replaces a wish. Gives those that were to end at the broker and need not any more, because it is asked
    /// for the same filter.
    pub(crate) fn want(&mut self, request: SubscribeRequest) -> Vec<SubscriptionId> {
        let mut ended = Vec::new();
        self.leaving.retain(|leaving| {
            let stays = leaving.asked || leaving.filter != *request.filter.text();
            if !stays {
                ended.push(leaving.id);
            }
            stays
        });
        // An answer that is still to come is about the wish as it was.
        for pending in self.pending.values_mut() {
            if let Pending::Subscribe(ids) = pending {
                ids.iter_mut().filter(|id| **id == request.id).for_each(|id| *id = NOBODY);
            }
        }
        let wish = Wish { request, state: Wanted::Unasked, was_granted: false, refusals: 0 };
        self.wishes.insert(wish.request.id, wish);
        self.count();
        ended
    }

    /// Ends a wish. `Some`: it ended without the wire.
    pub(crate) fn unwant(&mut self, id: SubscriptionId) -> Option<ReasonCode> {
        let Some(wish) = self.wishes.remove(&id) else { return Some(ReasonCode::NO_SUBSCRIPTION_EXISTED) };
        self.count();
        let filter = wish.request.filter.text().clone();
        if self.wishes.values().any(|w| *w.request.filter.text() == filter) {
            return Some(ReasonCode::SUCCESS);
        }
        if wish.state == Wanted::Barred && !wish.was_granted {
            // The server ended the link over it; asked to end it, it might again.
            return Some(ReasonCode::SUCCESS);
        }
        self.leaving.push(Leaving { id, filter, was_granted: wish.was_granted, asked: false });
        None
    }

    /// Filters that are to end, and for which no packet is small enough. Gives each with what it is told: success where
    /// it never was granted [MQTT-3.2.2-15].
    pub(crate) fn keep_what_is_too_large(&mut self, offer: Offer) -> Vec<(SubscriptionId, ReasonCode)> {
        let mut kept = Vec::new();
        if offer.packet_size_max.is_some() {
            self.leaving.retain(|leaving| {
                let fits = leaving.asked || offer.has_room_to_end(&leaving.filter);
                if !fits {
                    let reason =
                        if leaving.was_granted { ReasonCode::PACKET_TOO_LARGE } else { ReasonCode::SUCCESS };
                    kept.push((leaving.id, reason));
                }
                fits
            });
        }
        kept
    }

    /// Forgets a wish here; the broker keeps the subscription.
    pub(crate) fn detach(&mut self, id: SubscriptionId) {
        self.wishes.remove(&id);
        self.count();
    }

    fn count(&mut self) {
        let mut tally = Tally::default();
        for wish in self.wishes.values() {
            match wish.state {
                Wanted::Unasked => tally.unasked += 1,
                Wanted::Asked => tally.asked += 1,
                Wanted::Granted => tally.granted += 1,
                Wanted::Refused(at) => tally.redo_at = earlier(tally.redo_at, at),
                Wanted::Barred => {}
            }
        }
        self.tally = tally;
    }

    /// See [`HeldCounts`].
    pub(crate) fn count_held(&self, held: &mut HeldCounts) {
        held.subscriptions = self.wishes.len() + self.leaving.len();
        held.subscriptions_asked = self.pending.len();
    }

    /// Answers the server still owes on this link.
    pub(crate) fn awaiting(&self) -> usize {
        self.pending.len()
    }

    /// Whether every wish was answered on this link.
    pub(crate) fn all_answered(&self) -> bool {
        self.tally.unasked == 0 && self.tally.asked == 0
    }

    /// Granted and refused wishes.
    pub(crate) fn tally(&self) -> (usize, usize) {
        (self.tally.granted, self.wishes.len() - self.tally.granted)
    }

    /// Whether every wish is granted on this link.
    pub(crate) fn all_granted(&self) -> bool {
        let early = if defect!(ReadyBeforeSuback) { self.tally.asked } else { 0 };
        self.tally.granted + early == self.wishes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.wishes.is_empty()
    }

    /// The link is gone; what the broker has is unknown. What it did not answer is asked again [MQTT-3.8.4-1]
    /// [MQTT-3.10.4-4].
    /// Gives the packet identifiers that nobody will answer any more, and wishes that ended with the link: an
    /// UNSUBSCRIBE sent again would end a newer subscription to the same filter.
    pub(crate) fn link_down(&mut self) -> (Vec<PacketId>, Vec<SubscriptionId>) {
        let open = std::mem::take(&mut self.pending).into_keys().collect();
        for wish in self.wishes.values_mut().filter(|w| w.state == Wanted::Asked) {
            wish.state = Wanted::Unasked;
        }
        let wishes = &self.wishes;
        let wanted = |filter: &Text| wishes.values().any(|w| *w.request.filter.text() == *filter);
        let mut ended = Vec::new();
        self.leaving.retain_mut(|leaving| {
            leaving.asked &= defect!(UnsubscribeForgotten);
            if wanted(&leaving.filter) {
                ended.push(leaving.id);
                return false;
            }
            true
        });
        self.count();
        (open, ended)
    }

    /// A link is up. `again`: ask for everything, whatever the broker says it has.
    pub(crate) fn link_up(&mut self, again: bool) {
        for wish in self.wishes.values_mut() {
            let ask = match wish.state {
                Wanted::Granted => again,
                Wanted::Refused(_) => true,
                Wanted::Unasked | Wanted::Asked => true,
                Wanted::Barred => false,
            };
            if ask {
                wish.state = Wanted::Unasked;
            }
        }
        self.count();
    }

    /// The broker has no session: it has none of the subscriptions, and none is left to end.
    pub(crate) fn session_lost(&mut self) -> Vec<SubscriptionId> {
        for wish in self.wishes.values_mut() {
            wish.was_granted = false;
        }
        self.link_up(!defect!(NotResubscribed));
        self.leaving.drain(..).map(|l| l.id).collect()
    }

    /// When a refused filter is asked for again.
    pub(crate) fn next_redo(&self) -> Option<Timestamp> {
        self.tally.redo_at
    }

    /// Asks again for what is due.
    pub(crate) fn redo(&mut self, now: Timestamp) {
        if self.tally.redo_at.is_none_or(|at| at > now) {
            return;
        }
        for wish in self.wishes.values_mut() {
            if matches!(wish.state, Wanted::Refused(Some(at)) if at <= now) {
                wish.state = Wanted::Unasked;
            }
        }
        self.count();
    }

    /// The only wish on the wire, whether it is to begin or to end.
    pub(crate) fn sole(&self) -> Option<SubscriptionId> {
        let (Pending::Subscribe(ids) | Pending::Unsubscribe(ids)) = self.pending.values().next()?;
        let &[id] = ids.as_slice() else { return None };
        (self.pending.len() == 1).then_some(id)
    }

    /// The broker cut the link over a filter. The only one on the wire is the culprit; of several, the next link sends one at
    /// a time. Gives how the culprit ends.
    pub(crate) fn suspect(&mut self, code: ReasonCode) -> Option<SubscriptionAnswer> {
        if self.pending.is_empty() {
            return None;
        }
        let sole = self.sole();
        self.singly = sole.is_none();
        let id = sole?;
        if let Some(wish) = self.wishes.get_mut(&id).filter(|wish| wish.state == Wanted::Asked) {
            wish.state = Wanted::Barred;
            self.count();
            return Some(SubscriptionAnswer::Subscribed(id, SubscribeResult::Refused(code)));
        }
        // It was withdrawn meanwhile, and asked to end it, the broker might cut the link again. One that was replaced bars
        // nobody.
        let at = self.leaving.iter().position(|leaving| leaving.id == id)?;
        self.leaving.remove(at);
        Some(SubscriptionAnswer::Unsubscribed(id, code))
    }

    /// Wishes the server does not offer, or has no room for in a packet; they are refused without asking
    /// [u5-3.2.2.3.11] [u5-3.2.2.3.13].
    pub(crate) fn reject_unavailable(&mut self, offer: Offer) -> Vec<(SubscriptionId, Rejected)> {
        if self.tally.unasked == 0 || (offer.wildcard && offer.shared && offer.packet_size_max.is_none()) {
            return Vec::new();
        }
        let mut rejected = Vec::new();
        for wish in self.wishes.values_mut().filter(|w| w.state == Wanted::Unasked) {
            let filter = &wish.request.filter;
            let why = if !offer.shared && filter.is_shared() {
                Rejected::NotAvailable("shared subscriptions")
            } else if !offer.wildcard && filter.has_wildcard() {
                Rejected::NotAvailable("wildcard subscriptions")
            } else if let Some(too_large) = offer.too_large(&wish.request) {
                too_large
            } else {
                continue;
            };
            wish.state = Wanted::Refused(None);
            rejected.push((wish.request.id, why));
        }
        self.count();
        rejected
    }

    /// Whether a SUBSCRIBE or UNSUBSCRIBE is due. `singly`: one at a time.
    pub(crate) fn has_next(&self, singly: bool) -> bool {
        if (singly || self.singly) && !self.pending.is_empty() {
            return false;
        }
        self.tally.unasked > 0 || self.leaving.iter().any(|l| !l.asked)
    }

    /// The next SUBSCRIBE or UNSUBSCRIBE, under this identifier.
    pub(crate) fn next_packet(&mut self, packet_id: PacketId, offer: Offer, singly: bool) -> Option<Packet> {
        let most = if singly || self.singly { 1 } else { FILTERS_PER_PACKET };
        if self.tally.unasked > 0 {
            return self.next_subscribe(packet_id, offer, most);
        }
        let mut ids = Vec::new();
        let mut filters = Vec::new();
        let mut size = HEAD_SIZE_MOST;
        for leaving in self.leaving.iter_mut().filter(|l| !l.asked).take(most) {
            size += 2 + leaving.filter.len();
            if !offer.has_room(size) && !ids.is_empty() {
                break;
            }
            leaving.asked = true;
            ids.push(leaving.id);
            filters.push(leaving.filter.clone());
        }
        if filters.is_empty() {
            return None;
        }
        self.pending.insert(packet_id, Pending::Unsubscribe(ids));
        Some(Packet::Unsubscribe(Unsubscribe { packet_id, user_properties: Vec::new(), filters }))
    }

    fn next_subscribe(&mut self, packet_id: PacketId, offer: Offer, most: usize) -> Option<Packet> {
        let mut packet =
            Subscribe { packet_id, subscription_id: None, user_properties: Vec::new(), filters: Vec::new() };
        let mut ids = Vec::new();
        let mut size = HEAD_SIZE_MOST;
        for (id, wish) in self.wishes.iter_mut().filter(|(_, w)| w.state == Wanted::Unasked) {
            let own_packet = offer.subscription_ids || !wish.request.user_properties.is_empty();
            size += 3 + wish.request.filter.text().len();
            if (own_packet || !offer.has_room(size)) && !ids.is_empty() {
                break;
            }
            let mut options = wish.request.options;
            // The broker has sent its retained messages for this filter; they are wanted again only if the
            // subscription is new to it after all.
            if wish.was_granted && offer.session_present && options.retain_handling == RetainHandling::Send {
                options.retain_handling = RetainHandling::SendIfNew;
            }
            packet.filters.push((wish.request.filter.text().clone(), options));
            packet.user_properties.extend(wish.request.user_properties.iter().cloned());
            wish.state = Wanted::Asked;
            ids.push(*id);
            // [u5-3.2.2.3.12]
            if offer.subscription_ids {
                packet.subscription_id = Some(id.0);
            }
            if own_packet || ids.len() >= most {
                break;
            }
        }
        self.count();
        if ids.is_empty() {
            return None;
        }
        self.pending.insert(packet_id, Pending::Subscribe(ids));
        Some(Packet::Subscribe(packet))
    }

    /// SUBACK [MQTT-3.8.4-2]: one code for each filter, in their order [MQTT-3.9.3-1] [MQTT-3.8.4-7].
    pub(crate) fn suback(
        &mut self,
        ack: &SubAck,
        offer: Offer,
        pause: Duration,
        now: Timestamp,
    ) -> Result<Vec<SubscriptionAnswer>, ProtocolError> {
        let ids = match self.pending.remove(&ack.packet_id) {
            Some(Pending::Subscribe(ids)) => ids,
            other => return Err(unmatched("SUBACK", ack.packet_id, other, &mut self.pending)),
        };
        if ids.len() != ack.reasons.len() {
            // [MQTT-3.8.4-6]
            return Err(miscounted("SUBACK", ids.len(), ack.reasons.len()));
        }
        let mut answers = Vec::with_capacity(ids.len());
        for (id, reason) in ids.into_iter().zip(ack.reasons.iter().copied()) {
            let Some(wish) = self.wishes.get_mut(&id) else { continue };
            if let (false, Some(qos)) = (reason.is_error(), Qos::from_u8(reason.0)) {
                wish.state = Wanted::Granted;
                wish.was_granted = true;
                wish.refusals = 0;
                answers.push(SubscriptionAnswer::Subscribed(id, SubscribeResult::Granted(qos)));
                continue;
            }
            let again = offer.v5 && is_passing(reason);
            let wait = pause.saturating_mul(1 << wish.refusals.min(5));
            wish.refusals += 1;
            wish.state = Wanted::Refused(again.then(|| now + wait));
            answers.push(SubscriptionAnswer::Subscribed(id, SubscribeResult::Refused(reason)));
        }
        self.count();
        self.end_of_round();
        Ok(answers)
    }

    /// The broker that answers all that was asked has nothing against any of it, or no more.
    fn end_of_round(&mut self) {
        self.singly &= self.has_next(false) || !self.pending.is_empty();
    }

    /// UNSUBACK [MQTT-3.10.4-5].
    pub(crate) fn unsuback(&mut self, ack: &SubAck) -> Result<Vec<SubscriptionAnswer>, ProtocolError> {
        let ids = match self.pending.remove(&ack.packet_id) {
            Some(Pending::Unsubscribe(ids)) => ids,
            other => return Err(unmatched("UNSUBACK", ack.packet_id, other, &mut self.pending)),
        };
        // An UNSUBACK of 3.1.1 has no codes.
        if !ack.reasons.is_empty() && ids.len() != ack.reasons.len() {
            return Err(miscounted("UNSUBACK", ids.len(), ack.reasons.len())); // [MQTT-3.11.3-1]
        }
        self.leaving.retain(|l| !ids.contains(&l.id));
        self.end_of_round();
        let reason = |at: usize| ack.reasons.get(at).copied().unwrap_or(ReasonCode::SUCCESS);
        let answers = ids.iter().enumerate();
        Ok(answers.map(|(at, id)| SubscriptionAnswer::Unsubscribed(*id, reason(at))).collect())
    }
}

/// Whether asking again on the same link can help.
fn is_passing(reason: ReasonCode) -> bool {
    matches!(
        reason,
        ReasonCode::UNSPECIFIED_ERROR
            | ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR
            | ReasonCode::QUOTA_EXCEEDED
            | ReasonCode::PACKET_IDENTIFIER_IN_USE
    )
}

/// [MQTT-2.2.1-6]
fn unmatched(
    name: &str,
    id: PacketId,
    other: Option<Pending>,
    pending: &mut BTreeMap<PacketId, Pending>,
) -> ProtocolError {
    if let Some(other) = other {
        pending.insert(id, other);
    }
    ProtocolError::new(ReasonCode::PROTOCOL_ERROR, format!("{name} for packet id {id}, which waits for none"))
}

fn miscounted(name: &str, asked: usize, answered: usize) -> ProtocolError {
    let detail = format!("{name} with {answered} codes for {asked} filters");
    ProtocolError::new(ReasonCode::PROTOCOL_ERROR, detail)
}
